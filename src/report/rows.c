/* SPDX-License-Identifier: Apache-2.0 */
/* Which numbers the table shows, and how a cell is written. */
#include "report/cachetable.h"
#include "report/keytable.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define LEASE_LABEL "a silent worker is believed for"

enum row_kind {
	ROW_HEADING,
	ROW_COUNT,                      /* a count of the summary */
	ROW_FAULT,                      /* a count that ought to be 0 */
	ROW_P50, ROW_P95, ROW_P99,      /* of percentiles of the summary */
	ROW_SPREAD,                     /* median and maximum of percentiles */
	ROW_RESUME,
	ROW_RATE,
	ROW_VALUE, ROW_VALUE_RATE, ROW_VALUE_TIME, ROW_VALUE_PERCENT, ROW_VALUE_COUNT,
	ROW_LOAD, ROW_LOAD_BYTES,       /* a member of the database load, per completed job */
	ROW_KILLS,
	ROW_VERIFIED,
	ROW_TRACK, ROW_LEASE,           /* texts of the settings */
};

/* Where in the summary it is, and whether to leave out a row that is empty for every library. */
static const struct row_def {
	const char *label;
	enum row_kind kind;
	size_t off;                     /* of the kinds of VALUE: enum qb_value */
	int only_if_any;
} defs[] = {
#define AT(member) offsetof(struct qb_summary, member)
#define LOAD(member) offsetof(struct qb_db_load, member)
#define LOAD_TRANSACTIONS SIZE_MAX      /* a sum of two members */
	{ "track", ROW_TRACK, 0, 1 },
	{ LEASE_LABEL, ROW_LEASE, 0, 1 },
	{ "jobs acknowledged", ROW_COUNT, AT(acknowledged), 0 },
	{ "completed", ROW_COUNT, AT(completed), 0 },
	{ "discarded (failed for good)", ROW_COUNT, AT(discarded), 1 },
	{ "  of them died, and not failed", ROW_FAULT, AT(given_up), 1 },
	{ "not finished at the end", ROW_COUNT, AT(queued), 1 },
	{ "kills", ROW_KILLS, AT(kills), 0 },
	{ "workers stopped for a while", ROW_COUNT, AT(stops), 1 },
	{ "kills of the server", ROW_COUNT, AT(server_kills), 1 },
	{ "deaths that nobody planned", ROW_FAULT, AT(deaths_unplanned), 1 },
	{ "duplicates (completed twice)", ROW_FAULT, AT(duplicates), 0 },
	{ "  of them not recorded in time", ROW_COUNT, AT(duplicates_unrecorded), 1 },
	{ "results lost with a worker", ROW_FAULT, AT(results_lost), 1 },
	{ "begun again without a failure", ROW_COUNT, AT(repeated_starts), 1 },
	{ "effects that happened twice", ROW_COUNT, AT(repeated_effects), 0 },
	{ "  of them without a warning", ROW_COUNT, AT(silent_effects), 1 },
	{ "ambiguous (done or not?)", ROW_COUNT, AT(ambiguous), 0 },
	{ "  of them parked for a person", ROW_COUNT, AT(ambiguous_parked), 1 },
	{ "  of them gone from the queue", ROW_COUNT, AT(ambiguous_gone), 1 },
	{ "in doubt, and Postgres knew", ROW_COUNT, AT(in_doubt), 1 },
	{ "lost", ROW_FAULT, AT(lost), 0 },
	{ "stranded with a dead process", ROW_FAULT, AT(stranded), 0 },
	{ "late completions refused", ROW_COUNT, AT(fenced), 1 },
	{ "time to resume, median / longest", ROW_HEADING, 0, 1 },
	{ "  queued, never started", ROW_RESUME, AT(resume[QB_RESUME_NEVER_STARTED]), 1 },
	{ "  in hand, the first again", ROW_RESUME, AT(resume[QB_RESUME_IN_FLIGHT_FIRST]), 1 },
	{ "  in hand, the last again", ROW_RESUME, AT(resume[QB_RESUME_IN_FLIGHT_LAST]), 1 },
	{ "  done and not recorded, again", ROW_RESUME, AT(resume[QB_RESUME_UNRECORDED]), 1 },
	{ "  waiting for a retry", ROW_RESUME, AT(resume[QB_RESUME_RETRY_WAITING]), 1 },
	{ "  enqueued after the restart", ROW_RESUME, AT(resume[QB_RESUME_ENQUEUED_AFTER]), 1 },
	{ "  commits, after a syncer's death", ROW_RESUME, AT(sync_resume), 1 },
	{ "successor ready, median / longest", ROW_SPREAD, AT(spawn), 1 },
	{ "verdict on its jobs", ROW_SPREAD, AT(verdict), 1 },
	{ "worker's death to verdict", ROW_SPREAD, AT(death_verdict), 1 },
	{ "parent's death to pick-up", ROW_SPREAD, AT(death_pickup), 1 },
	{ "every process at work", ROW_HEADING, 0, 1 },
	{ "  throughput, jobs/s", ROW_VALUE_RATE, QB_VALUE_SHARED_RATE, 1 },
	{ "  of it per process, fewest = 1", ROW_VALUE, QB_VALUE_SCALING, 1 },
	{ "  least share of a process", ROW_VALUE_PERCENT, QB_VALUE_LEAST_SHARE, 1 },
	{ "  largest share", ROW_VALUE_PERCENT, QB_VALUE_MOST_SHARE, 1 },
	{ "  fairness (1: all the same)", ROW_VALUE, QB_VALUE_FAIRNESS, 1 },
	{ "one job at a time", ROW_HEADING, 0, 1 },
	{ "  pick-up p50", ROW_P50, AT(share.pickup), 1 },
	{ "  pick-up p95", ROW_P95, AT(share.pickup), 1 },
	{ "  by a process that was woken", ROW_VALUE_PERCENT, QB_VALUE_WOKEN, 1 },
	{ "retries", ROW_HEADING, 0, 1 },
	{ "  begun", ROW_VALUE_COUNT, QB_VALUE_RETRIES, 1 },
	{ "  late, p50", ROW_VALUE_TIME, QB_VALUE_LATE_P50, 1 },
	{ "  late, p95", ROW_VALUE_TIME, QB_VALUE_LATE_P95, 1 },
	{ "  late, the latest", ROW_VALUE_TIME, QB_VALUE_LATE_MAX, 1 },
	{ "  begun before they were due", ROW_VALUE_COUNT, QB_VALUE_RETRIES_EARLY, 1 },
	{ "  due and not begun", ROW_VALUE_COUNT, QB_VALUE_RETRIES_MISSING, 1 },
	{ "  most within 100 ms, first retry", ROW_VALUE_COUNT, QB_VALUE_MOST_FIRST, 1 },
	{ "    due so", ROW_VALUE_COUNT, QB_VALUE_MOST_FIRST_DUE, 1 },
	{ "  most within 100 ms, second retry", ROW_VALUE_COUNT, QB_VALUE_MOST_SECOND, 1 },
	{ "    due so", ROW_VALUE_COUNT, QB_VALUE_MOST_SECOND_DUE, 1 },
	{ "the burst", ROW_HEADING, 0, 1 },
	{ "  most jobs due and not finished", ROW_VALUE_COUNT, QB_VALUE_BACKLOG_MAX, 1 },
	{ "  at its end", ROW_VALUE_COUNT, QB_VALUE_BACKLOG_AT_END, 1 },
	{ "  from there to the usual number", ROW_VALUE_TIME, QB_VALUE_DRAIN, 1 },
	{ "  pick-up p95 before it", ROW_P95, AT(backlog.pickup_before), 1 },
	{ "  pick-up p95 during it", ROW_P95, AT(backlog.pickup_during), 1 },
	{ "  pick-up p95 after it", ROW_P95, AT(backlog.pickup_after), 1 },
	{ "throughput, jobs/s", ROW_RATE, AT(throughput_per_s), 0 },
	{ "pick-up p50", ROW_P50, AT(pickup), 0 },
	{ "pick-up p95", ROW_P95, AT(pickup), 0 },
	{ "pick-up p99", ROW_P99, AT(pickup), 0 },
	{ "end to end p95", ROW_P95, AT(end_to_end), 0 },
	{ "database, per completed job", ROW_HEADING, 0, 1 },
	{ "  transactions", ROW_LOAD, LOAD_TRANSACTIONS, 0 },
	{ "  statements", ROW_LOAD, LOAD(statements), 1 },
	{ "  tuples inserted", ROW_LOAD, LOAD(inserted), 1 },
	{ "  tuples updated", ROW_LOAD, LOAD(updated), 1 },
	{ "  tuples deleted", ROW_LOAD, LOAD(deleted), 1 },
	{ "  dead tuples left", ROW_LOAD, LOAD(dead_left), 1 },
	{ "  log written (WAL)", ROW_LOAD_BYTES, LOAD(wal_bytes), 1 },
	{ "the account adds up", ROW_VERIFIED, 0, 0 },
#undef AT
#undef LOAD
};

static const void *member(const struct qb_report_entry *e, const struct row_def *d)
{
	return (const char *)e->summary + d->off;
}

static uint64_t load_member(const struct qb_report_entry *e, const struct row_def *d)
{
	uint64_t n = qb_db_load_transactions(&e->load);

	if (d->off != LOAD_TRANSACTIONS)
		memcpy(&n, (const char *)&e->load + d->off, sizeof(n));
	return n;
}

/* In a run of the group, even if it completed no job by which to divide. */
static int is_known(const struct qb_group *g, const struct row_def *d)
{
	for (size_t i = 0; i < g->runs_count; i++)
		if (load_member(g->runs[i], d) != QB_NOT_KNOWN)
			return 1;
	return 0;
}

static double load_of(const struct qb_report_entry *e, const struct row_def *d)
{
	uint64_t n = load_member(e, d), jobs = e->summary->completed;

	return n == QB_NOT_KNOWN || jobs == 0 ? NAN : (double)n / (double)jobs;
}

/* The number of one run, NAN when it has none. */
static double value_of(const struct qb_section *s, const struct qb_report_entry *e, const struct row_def *d)
{
	if (d->kind >= ROW_VALUE && d->kind <= ROW_VALUE_COUNT)
		return qb_value((enum qb_value)d->off, s, e);
	const struct qb_percentiles *p = d->kind == ROW_LOAD || d->kind == ROW_LOAD_BYTES ? NULL : member(e, d);

	switch (d->kind) {
	case ROW_COUNT:
	case ROW_FAULT:
	case ROW_KILLS:
		if (d->off == offsetof(struct qb_summary, queued))
			return (double)(e->summary->queued + e->summary->waiting +
					e->summary->held + e->summary->unknown_end);
		return (double)*(const uint64_t *)member(e, d);
	case ROW_RATE:
		return *(const double *)member(e, d);
	case ROW_P50:
	case ROW_SPREAD:
		return p->count ? (double)p->p50_ns : NAN;
	case ROW_P95:
		return p->count ? (double)p->p95_ns : NAN;
	case ROW_P99:
		return p->count ? (double)p->p99_ns : NAN;
	case ROW_LOAD:
	case ROW_LOAD_BYTES:
		return load_of(e, d);
	default:
		return NAN;
	}
}

/* A damaged record may say anything; a double beyond 64 bits has no integer. */
static uint64_t whole(double v)
{
	return v >= 18446744073709551615.0 ? UINT64_MAX : v > 0 ? (uint64_t)v : 0;
}

static void put_value(struct qb_strbuf *out, enum row_kind kind, double v)
{
	char buf[32];

	switch (kind) {
	case ROW_COUNT:
	case ROW_FAULT:
	case ROW_KILLS:
	case ROW_VALUE_COUNT:
		qb_strbuf_printf(out, "%.0f", v);
		break;
	case ROW_RATE:
	case ROW_VALUE_RATE:
		qb_strbuf_printf(out, v < 100 ? "%.1f" : "%.0f", v);
		break;
	case ROW_VALUE:
	case ROW_LOAD:
		qb_strbuf_printf(out, v < 100 ? "%.2f" : "%.0f", v);
		break;
	case ROW_VALUE_PERCENT:
		qb_strbuf_printf(out, "%.1f %%", v);
		break;
	case ROW_LOAD_BYTES:
		qb_strbuf_add(out, qb_format_size(buf, sizeof(buf), whole(v)));
		break;
	default:
		if (isinf(v))
			qb_strbuf_add(out, "not by the end");
		else
			qb_strbuf_add(out, qb_format_duration(buf, sizeof(buf), whole(v)));
		break;
	}
}

/* Median over the runs, and the range unless all are the same. Returns 0 when there is no value. */
static int put_values(struct qb_strbuf *out, const struct qb_section *s, const struct qb_group *g,
		      const struct row_def *d, struct qb_over_runs *o)
{
	double *values = qb_xcalloc(g->runs_count, sizeof(*values));
	size_t n = 0;

	for (size_t i = 0; i < g->runs_count; i++) {
		double v = value_of(s, g->runs[i], d);

		if (!isnan(v))
			values[n++] = v;
	}
	if (n) {
		*o = qb_over_runs(values, n);
		put_value(out, d->kind, o->median);
		if (o->min < o->max) {
			qb_strbuf_add(out, " (");
			put_value(out, d->kind, o->min);
			qb_strbuf_add(out, " - ");
			put_value(out, d->kind, o->max);
			qb_strbuf_add(out, ")");
		}
	}
	free(values);
	return n > 0;
}

void qb_put_resume_ns(struct qb_strbuf *out, uint64_t ns, uint64_t watch_ns)
{
	char buf[32];

	if (ns == QB_BEYOND_WATCH)
		qb_strbuf_printf(out, "> %s", qb_format_duration(buf, sizeof(buf), watch_ns));
	else
		qb_strbuf_add(out, qb_format_duration(buf, sizeof(buf), ns));
}

static int by_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median over the runs of their medians / the longest of all; of a run censored counts too. */
static int put_resume(struct qb_strbuf *out, const struct qb_group *g, const struct row_def *d)
{
	uint64_t *medians = qb_xcalloc(g->runs_count, sizeof(*medians));
	uint64_t kills = 0, censored = 0, watch_min = UINT64_MAX, watch_max = 0, longest = 0;
	size_t n = 0;

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_resume *r = member(g->runs[i], d);

		kills += r->kills;
		censored += r->censored;
		if (r->censored && r->watch_ns_min < watch_min)
			watch_min = r->watch_ns_min;
		if (r->watch_ns_max > watch_max)
			watch_max = r->watch_ns_max;
		if (r->ns.count + r->censored == 0)
			continue;
		medians[n++] = r->median_ns;
		if (r->max_ns > longest)
			longest = r->max_ns;
	}
	if (n) {
		qsort(medians, n, sizeof(*medians), by_ns);
		qb_put_resume_ns(out, medians[n / 2], watch_min);
		qb_strbuf_add(out, " / ");
		qb_put_resume_ns(out, longest, watch_max);
		if (censored)
			qb_strbuf_printf(out, " (%llu of %llu)", (unsigned long long)censored,
					 (unsigned long long)kills);
	} else if (kills) {
		qb_strbuf_add(out, "by survivors");
	}
	free(medians);
	return kills > 0;
}

/* What the plan was to kill; NULL when the record does not say. */
static const char *planned_victim(const struct qb_group *g)
{
	const struct qb_meta *m = g->runs[0]->meta;

	for (uint32_t i = 0; m && i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, "victim planned") == 0)
			return m->settings[i].value;
	return NULL;
}

/* " (pool)" as planned, else " (worker)" when every kill hit the same role. */
static void put_role(struct qb_strbuf *out, const struct qb_group *g)
{
	const char *planned = planned_victim(g);

	static const char *const names[8] = {
		[QB_ROLE_PARENT] = "parent", [QB_ROLE_SYNCER] = "syncer",
		[QB_ROLE_WORKER] = "worker", [QB_ROLE_STANDBY] = "standby",
	};
	uint64_t by_role[8] = { 0 };
	unsigned roles = 0, which = 0;

	for (size_t i = 0; i < g->runs_count; i++)
		for (unsigned r = 0; r < 8; r++)
			by_role[r] += g->runs[i]->summary->kills_by_role[r];
	for (unsigned r = 0; r < 8; r++)
		if (by_role[r]) {
			roles++;
			which = r;
		}
	if (planned && roles)
		qb_strbuf_printf(out, " (%s)", planned);
	else if (roles == 1 && names[which])
		qb_strbuf_printf(out, " (%s)", names[which]);
}

static int put_verified(struct qb_strbuf *out, const struct qb_group *g, uint8_t *mood)
{
	size_t good = 0;

	for (size_t i = 0; i < g->runs_count; i++)
		good += g->runs[i]->summary->verified != 0;
	*mood = good == g->runs_count ? QB_CELL_GOOD : QB_CELL_BAD;
	if (good == g->runs_count || good == 0)
		qb_strbuf_add(out, good ? "yes" : "NO");
	else
		qb_strbuf_printf(out, "NO (%zu of %zu do)", good, g->runs_count);
	return 1;
}

static void put_longest(struct qb_strbuf *out, const struct qb_group *g, const struct row_def *d)
{
	uint64_t longest = 0;
	char buf[32];

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_percentiles *p = member(g->runs[i], d);

		longest = p->max_ns > longest ? p->max_ns : longest;
	}
	qb_strbuf_printf(out, " / %s", qb_format_duration(buf, sizeof(buf), longest));
}

/* Returns whether the cell says anything that makes the row worth its line. */
static int put_cell(struct qb_row *row, size_t column, const struct qb_section *s, const struct row_def *d)
{
	const struct qb_group *g = &s->groups[column];
	struct qb_over_runs o = { 0, 0, 0 };
	struct qb_strbuf cell = { 0 };
	int any;

	switch (d->kind) {
	case ROW_HEADING:
		return 0;
	case ROW_RESUME:
		any = put_resume(&cell, g, d);
		break;
	case ROW_VERIFIED:
		any = put_verified(&cell, g, &row->moods[column]);
		break;
	case ROW_TRACK:
	case ROW_LEASE:
		any = qb_put_track(&cell, g, d->kind == ROW_LEASE);
		break;
	default:
		any = put_values(&cell, s, g, d, &o);
		/* A crash took the counters along: that is no zero, and no dash either. */
		if (!any && (d->kind == ROW_LOAD || d->kind == ROW_LOAD_BYTES) && !is_known(g, d))
			qb_strbuf_add(&cell, "not known");
		if (d->kind == ROW_KILLS)
			put_role(&cell, g);
		if (any && d->kind == ROW_SPREAD)
			put_longest(&cell, g, d);
		if (d->kind == ROW_COUNT || d->kind == ROW_FAULT)
			any = o.max > 0;
		if (d->kind == ROW_FAULT && o.max > 0)
			row->moods[column] = QB_CELL_BAD;
		break;
	}
	snprintf(row->cells[column], QB_CELL_BYTES, "%s", cell.bytes ? cell.data : "-");
	qb_strbuf_free(&cell);
	return any;
}

static struct qb_row *add_row(struct qb_table *t, const char *label)
{
	struct qb_row *row;

	t->rows = qb_xrealloc(t->rows, (t->rows_count + 1) * sizeof(*t->rows));
	row = &t->rows[t->rows_count++];
	memset(row, 0, sizeof(*row));
	snprintf(row->label, sizeof(row->label), "%s", label);
	row->cells = qb_xcalloc(t->columns, sizeof(*row->cells));
	row->moods = qb_xcalloc(t->columns, sizeof(*row->moods));
	return row;
}

static void drop_row(struct qb_table *t)
{
	t->rows_count--;
	free(t->rows[t->rows_count].cells);
	free(t->rows[t->rows_count].moods);
}

static int has_row(const struct qb_table *t, const char *label)
{
	for (size_t i = 0; i < t->rows_count; i++)
		if (strcmp(t->rows[i].label, label) == 0)
			return 1;
	return 0;
}

/* The setting of all runs of a library; "differs" when they do not agree. */
static void put_setting(const struct qb_group *g, const char *key, char *out, size_t cap)
{
	char value[QB_SETTING_BYTES], first[QB_SETTING_BYTES];

	qb_setting(g->runs[0]->meta, key, first);
	for (size_t i = 1; i < g->runs_count; i++) {
		qb_setting(g->runs[i]->meta, key, value);
		if (strcmp(value, first) != 0) {
			snprintf(out, cap, "differs");
			return;
		}
	}
	snprintf(out, cap, "%.24s", first);
}

static int is_lease(const struct qb_section *s, const char *key, size_t group)
{
	size_t n = strcspn(s->groups[group].lib, ":");

	return qb_is_queue_setting(s, key, group) > 0 && strcmp(key + n, " lease") == 0;
}

static void add_setting(struct qb_table *t, const struct qb_section *s, const char *key)
{
	char label[QB_LABEL_BYTES], one[QB_CELL_BYTES], other[QB_CELL_BYTES];
	struct qb_row *row;
	size_t first = 0;
	int differs;

	snprintf(label, sizeof(label), "setting %.36s", key);
	/* What only one library has cannot differ from the others; its track and lease have rows of their own. */
	while (first < s->groups_count && qb_is_queue_setting(s, key, first) < 0)
		first++;
	if (first == s->groups_count || strcmp(key, "track") == 0 || (has_row(t, LEASE_LABEL) && is_lease(s, key, first)))
		return;
	put_setting(&s->groups[first], key, one, sizeof(one));
	differs = strcmp(one, "differs") == 0;
	for (size_t g = first + 1; g < s->groups_count; g++) {
		if (qb_is_queue_setting(s, key, g) < 0)
			continue;
		put_setting(&s->groups[g], key, other, sizeof(other));
		differs |= strcmp(one, other) != 0;
	}
	if (!differs || has_row(t, label))
		return;
	row = add_row(t, label);
	for (size_t g = 0; g < s->groups_count; g++)
		put_setting(&s->groups[g], key, row->cells[g], QB_CELL_BYTES);
}

/* Settings that are not the same for every run stand beside the numbers. */
static void add_settings(struct qb_table *t, const struct qb_section *s)
{
	char key[QB_SETTING_BYTES];

	for (size_t g = 0; g < s->groups_count; g++)
		for (size_t r = 0; r < s->groups[g].runs_count; r++) {
			const struct qb_meta *m = s->groups[g].runs[r]->meta;

			/* What a rebuilt segment needs repeats the others. */
			for (unsigned i = 0; qb_setting_key(m, i, key); i++)
				if (strcmp(key, "segment") != 0)
					add_setting(t, s, key);
		}
}

/* Where jobs are held back on purpose, how fast they are done says nothing. */
static int is_of_load(const struct row_def *d)
{
	return d->kind == ROW_RATE || d->off == offsetof(struct qb_summary, pickup) ||
	       d->off == offsetof(struct qb_summary, end_to_end) ||
	       d->off == offsetof(struct qb_summary, resume[QB_RESUME_NEVER_STARTED]);
}

static int is_of_whole_run(const struct row_def *d)
{
	return d->label[0] != ' ' && (d->kind == ROW_P50 || d->kind == ROW_P95 || d->kind == ROW_P99 || d->kind == ROW_RATE);
}

void qb_table_build(struct qb_table *t, const struct qb_section *s)
{
	int phases = qb_section_has_keys(s) || qb_section_has_cache(s);

	memset(t, 0, sizeof(*t));
	t->columns = s->groups_count;
	for (size_t i = 0; i < sizeof(defs) / sizeof(defs[0]); i++) {
		const struct row_def *d = &defs[i];
		if (phases && is_of_load(d))
			continue;
		/* Where a backlog came first, times from when its jobs were due say how long it was. */
		if (s->lib && is_of_whole_run(d))
			continue;
		/* One over nothing is replaced by the next. */
		if (d->kind == ROW_HEADING && t->rows_count && t->rows[t->rows_count - 1].heading)
			drop_row(t);
		struct qb_row *row = add_row(t, d->label);
		int any = 0;

		row->heading = d->kind == ROW_HEADING;
		for (size_t g = 0; g < s->groups_count; g++)
			any |= put_cell(row, g, s, d);
		if (row->heading)
			continue;
		if (!any && d->only_if_any) {
			drop_row(t);
			continue;
		}
		/* A heading over nothing goes when the first row behind its part arrives. */
		if (t->rows_count > 1 && t->rows[t->rows_count - 2].heading && d->label[0] != ' ') {
			struct qb_row keep = *row;

			free(t->rows[t->rows_count - 2].cells);
			free(t->rows[t->rows_count - 2].moods);
			t->rows[t->rows_count - 2] = keep;
			t->rows_count--;
		}
	}
	add_settings(t, s);
}

void qb_table_free(struct qb_table *t)
{
	while (t->rows_count)
		drop_row(t);
	free(t->rows);
	memset(t, 0, sizeof(*t));
}
