/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a record or segment, counted, for a person. */
#include "tools/decode.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/strbuf.h"
#include "base/visible.h"
#include "shm/segment.h"

static void flush_text(struct qb_strbuf *sb, struct qb_out *out)
{
	for (size_t at = 0; at < sb->bytes;) {
		char *p = qb_out_line(out);
		size_t n = sb->bytes - at < QB_OUT_LINE_MAX ? sb->bytes - at : QB_OUT_LINE_MAX;

		memcpy(p, sb->data + at, n);
		qb_out_end(out, p + n);
		at += n;
	}
	qb_strbuf_free(sb);
}

/* Text of the file goes to a terminal: no control characters. */
static void line(struct qb_strbuf *sb, const char *name, const char *value)
{
	size_t len = strlen(name);

	qb_visible_add(sb, name, len);
	qb_strbuf_printf(sb, "%*s ", len < 12 ? (int)(12 - len) : 0, "");
	qb_visible_add(sb, value, strlen(value));
	qb_strbuf_add(sb, "\n");
}

static void source(struct qb_strbuf *sb, const struct qb_trace *t)
{
	const char *from = t->has_record && t->has_segment ? "record and segment" :
			   t->has_record ? "record" : "segment";
	char text[64], span[32];

	line(sb, "run", t->meta.run_id);
	line(sb, "library", t->meta.lib);
	line(sb, "scenario", t->meta.scenario);
	qb_strbuf_printf(sb, "%-12s %s, %s\n", "read from", from,
			 t->ended ? "ended in order" : "no orderly end");
	qb_format_duration(span, sizeof(span),
			   t->events[t->events_count - 1].t_ns - t->events[0].t_ns);
	*qb_put_stamp(text, &(struct qb_stamp){ 0 }, qb_trace_wall_ns(t, t->events[0].t_ns)) = '\0';
	qb_strbuf_printf(sb, "%-12s %s, for %s\n", "first event", text, span);
}

static void types(struct qb_strbuf *sb, const struct qb_trace *t)
{
	uint64_t counts[QB_EV_TYPE_COUNT] = { 0 }, unknown = 0;

	for (size_t i = 0; i < t->events_count; i++) {
		if (t->events[i].ev.type < QB_EV_TYPE_COUNT)
			counts[t->events[i].ev.type]++;
		else
			unknown++;
	}
	qb_strbuf_printf(sb, "\n%-20s %12zu\n", "events", t->events_count);
	for (uint32_t type = 1; type < QB_EV_TYPE_COUNT; type++) {
		if (counts[type])
			qb_strbuf_printf(sb, "  %-18s %12llu\n", qb_event_type_name(type),
					 (unsigned long long)counts[type]);
	}
	if (unknown)
		qb_strbuf_printf(sb, "  %-18s %12llu\n", "of unknown type",
				 (unsigned long long)unknown);
}

static void seats(struct qb_strbuf *sb, const struct qb_trace *t)
{
	uint64_t *counts = qb_xcalloc(QB_SEAT_MAX + 1, sizeof(*counts));

	for (size_t i = 0; i < t->events_count; i++)
		counts[t->events[i].ev.seat]++;
	qb_strbuf_printf(sb, "\n%-6s %-10s %12s %12s\n", "seat", "role", "events", "missing");
	for (uint32_t seat = 1; seat <= QB_SEAT_MAX; seat++) {
		uint64_t missing = t->seat_last_seq[seat] - counts[seat];

		if (counts[seat])
			qb_strbuf_printf(sb, "%-6u %-10s %12llu %12llu\n", seat,
					 qb_role_name(t->seat_role[seat]),
					 (unsigned long long)counts[seat],
					 (unsigned long long)missing);
	}
	free(counts);
}

static void damage(struct qb_strbuf *sb, const struct qb_trace *t)
{
	const struct { const char *name; uint64_t count; } list[] = {
		{ "events that writers dropped", t->dropped_count },
		{ "events found twice", t->duplicates_count },
		{ "events missing", t->damage.missing_count },
		{ "half-written slots", t->damage.unread_count },
		{ "impossible values", t->damage.bad_count },
		{ "bytes of damaged blocks", t->damage.skipped_bytes },
		{ "bytes of a torn end", t->damage.tail_bytes },
	};

	qb_strbuf_add(sb, "\n");
	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		qb_strbuf_printf(sb, "%-30s %12llu\n", list[i].name,
				 (unsigned long long)list[i].count);
}

void qb_decode_summary(const struct qb_trace *t, struct qb_out *out)
{
	struct qb_strbuf sb = { 0 };

	source(&sb, t);
	types(&sb, t);
	seats(&sb, t);
	damage(&sb, t);
	if (t->counters_count > 0)
		qb_strbuf_add(&sb, "\nas counted at the end of the run\n");
	for (uint32_t i = 0; i < t->counters_count; i++) {
		char value[24];

		*qb_put_u64(value, t->counters[i].value) = '\0';
		line(&sb, t->counters[i].name, value);
	}
	flush_text(&sb, out);
}
