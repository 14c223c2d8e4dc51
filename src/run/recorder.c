/* SPDX-License-Identifier: Apache-2.0 */
#include "run/recorder.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"

#define CLOCK_EVERY_NS (200 * QB_NS_PER_MS)

static int write_clock(struct qb_recorder *r, struct qb_err *err)
{
	struct qb_clock_triple first, last;

	qb_seg_clock_update(r->seg);
	qb_seg_clock_get(r->seg, &first, &last);
	r->clock_at_ns = qb_now_ns();
	return qb_record_clock(r->w, &first, &last, err);
}

int qb_recorder_open(struct qb_recorder *r, struct qb_seg *seg, const char *path, const struct qb_meta *meta,
		     struct qb_err *err)
{
	memset(r, 0, sizeof(*r));
	r->seg = seg;
	int rc = qb_record_create(path, &r->w, err);

	if (rc < 0)
		return rc;
	r->source = qb_xcalloc(seg->cfg.seat_count, sizeof(*r->source));
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++)
		qb_event_source_open(&r->source[seat], seg, seat, QB_READER_RECORD);
	rc = qb_record_meta(r->w, meta, err);
	return rc < 0 ? rc : write_clock(r, err);
}

static int copy_ring(struct qb_recorder *r, uint32_t seat, struct qb_err *err)
{
	struct qb_event_source *s = &r->source[seat];

	/* At most twice: the ring's end and its start. */
	for (unsigned part = 0; part < 2; part++) {
		const struct qb_event_shm *first;
		uint32_t n = qb_event_peek(s, &first, r->seg->cfg.event_count);

		if (n == 0)
			return 0;
		int rc = qb_record_events(r->w, seat, s->next + 1, first, n, err);

		if (rc < 0)
			return rc;
		for (uint32_t i = 0; i < n; i++) {
			if (first[i].type < QB_EV_TYPE_COUNT)
				r->tally[first[i].type]++;
			if (r->watch)
				r->watch(r->watch_ctx, &first[i]);
		}
		qb_event_consumed(s, n);
		r->events += n;
	}
	return 0;
}

int qb_recorder_poll(struct qb_recorder *r, struct qb_err *err)
{
	for (uint32_t seat = 1; seat < r->seg->cfg.seat_count; seat++) {
		int rc = copy_ring(r, seat, err);

		if (rc < 0)
			return rc;
	}
	if (qb_now_ns() - r->clock_at_ns >= CLOCK_EVERY_NS)
		return write_clock(r, err);
	return 0;
}

int qb_recorder_close(struct qb_recorder *r, const struct qb_record_counter *counters, size_t count,
		      struct qb_err *err)
{
	int rc = 0;

	if (r->w && counters) {
		rc = qb_recorder_poll(r, err);
		if (rc == 0)
			rc = write_clock(r, err);
		if (rc == 0)
			rc = qb_record_end(r->w, counters, count, err);
	}
	int closed = qb_record_close(r->w, rc == 0 ? err : NULL);

	free(r->source);
	memset(r, 0, sizeof(*r));
	return rc < 0 ? rc : closed;
}
