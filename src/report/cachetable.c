/* SPDX-License-Identifier: Apache-2.0 */
#include "report/cachetable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

int qb_section_has_cache(const struct qb_section *s)
{
	for (size_t g = 0; g < s->groups_count; g++)
		for (size_t i = 0; i < s->groups[g].runs_count; i++)
			if (s->groups[g].runs[i]->summary->cache.set.callers)
				return 1;
	return 0;
}

/* ---- several runs as one ---- */

static const size_t times_of_row[] = {
	offsetof(struct qb_cache_row, way[QB_CACHE_HIT]), offsetof(struct qb_cache_row, way[QB_CACHE_JOINED]),
	offsetof(struct qb_cache_row, way[QB_CACHE_EXECUTED]), offsetof(struct qb_cache_row, fault),
	offsetof(struct qb_cache_row, release), offsetof(struct qb_cache_row, released), offsetof(struct qb_cache_row, again_ns),
};

static struct qb_percentiles *times_at(struct qb_cache_row *row, size_t off)
{
	return (struct qb_percentiles *)(void *)((char *)row + off);
}

static uint64_t median_of(double *values, size_t n)
{
	return n ? (uint64_t)qb_over_runs(values, n).median : 0;
}

/* Of one row: p50, p95 and p99 the medians over the runs that have any, the longest the longest of all. */
static void merge_times(const struct qb_group *g, unsigned row, size_t off, struct qb_percentiles *out)
{
	double *values = qb_xcalloc(3 * g->runs_count, sizeof(*values));
	double *p95 = values + g->runs_count, *p99 = p95 + g->runs_count;
	size_t n = 0;

	*out = (struct qb_percentiles){ 0 };
	for (size_t i = 0; i < g->runs_count; i++) {
		struct qb_cache_row r = g->runs[i]->summary->cache.row[row];
		const struct qb_percentiles *p = times_at(&r, off);

		if (p->count == 0)
			continue;
		values[n] = (double)p->p50_ns;
		p95[n] = (double)p->p95_ns;
		p99[n++] = (double)p->p99_ns;
		out->count += p->count;
		out->max_ns = p->max_ns > out->max_ns ? p->max_ns : out->max_ns;
	}
	out->p50_ns = median_of(values, n);
	out->p95_ns = median_of(p95, n);
	out->p99_ns = median_of(p99, n);
	free(values);
}

void qb_cache_total(const struct qb_group *g, struct qb_cache_table *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_cache_table *t = &g->runs[i]->summary->cache;

		if (t->set.callers == 0)
			continue;
		out->set = t->set;
		out->processes = t->processes;
		out->deadline_ns = t->deadline_ns;
		out->faithful = t->faithful;
		out->stale_errors = t->stale_errors;
		out->refused_and_run += t->refused_and_run;
		qb_cache_row_add(&out->total, &t->total);
		for (unsigned row = 0; row < QB_CACHE_PHASES; row++)
			qb_cache_row_add(&out->row[row], &t->row[row]);
	}
	for (unsigned row = 0; out->set.callers && row < QB_CACHE_PHASES; row++)
		for (size_t i = 0; i < sizeof(times_of_row) / sizeof(times_of_row[0]); i++)
			merge_times(g, row, times_of_row[i], times_at(&out->row[row], times_of_row[i]));
}

/* ---- the tables ---- */

static const char *const headings[QB_CACHE_GRIDS][12] = {
	[QB_CACHE_COUNTS] = { "phase", "requests", "hits", "joined", "executed", "failed", "stale", "executions", "leaks",
			      "hit rate", "saved" },
	[QB_CACHE_TIMES] = { "p50 / p99 of", "hit", "joined", "executed", "failed", "put to last answer", "ticks" },
};

unsigned qb_cache_columns(enum qb_cache_grid grid)
{
	unsigned n = 0;

	while (headings[grid][n])
		n++;
	return n;
}

const char *qb_cache_heading(enum qb_cache_grid grid, unsigned column)
{
	return headings[grid][column];
}

static const struct qb_cache_row *row_of(const struct qb_cache_table *t, unsigned row)
{
	return row < QB_CACHE_PHASES ? &t->row[row] : &t->total;
}

int qb_cache_shows(const struct qb_cache_table *t, enum qb_cache_grid grid, unsigned row)
{
	return row_of(t, row)->requests > 0 && (grid == QB_CACHE_COUNTS || row < QB_CACHE_PHASES);
}

static void put_share(char cell[QB_CELL_BYTES], uint64_t part, uint64_t of)
{
	if (of == 0)
		snprintf(cell, QB_CELL_BYTES, "-");
	else
		snprintf(cell, QB_CELL_BYTES, "%.1f %%", 100.0 * (double)part / (double)of);
}

static void put_times(char cell[QB_CELL_BYTES], const struct qb_percentiles *p)
{
	char p50[24], p99[24];

	if (p->count == 0)
		snprintf(cell, QB_CELL_BYTES, "-");
	else
		snprintf(cell, QB_CELL_BYTES, "%s / %s", qb_format_duration(p50, sizeof(p50), p->p50_ns),
			 qb_format_duration(p99, sizeof(p99), p->p99_ns));
}

static void count_cell(const struct qb_cache_row *r, unsigned column, char cell[QB_CELL_BYTES])
{
	const uint64_t counts[] = { 0, r->requests, r->hits, r->joined, r->executed, r->failed, r->stale, r->executions, r->leaks };

	if (column < sizeof(counts) / sizeof(counts[0]))
		snprintf(cell, QB_CELL_BYTES, "%llu", (unsigned long long)counts[column]);
	else if (column == sizeof(counts) / sizeof(counts[0]))
		put_share(cell, r->hits, r->requests);
	else
		put_share(cell, r->executions < r->requests ? r->requests - r->executions : 0, r->requests);
}

static void time_cell(const struct qb_cache_row *r, unsigned column, char cell[QB_CELL_BYTES])
{
	if (column <= QB_CACHE_WAYS)
		put_times(cell, &r->way[column - 1]);
	else if (column == QB_CACHE_WAYS + 1)
		put_times(cell, &r->fault);
	else if (column == QB_CACHE_WAYS + 2)
		put_times(cell, &r->release);
	else
		snprintf(cell, QB_CELL_BYTES, "%llu of %llu", (unsigned long long)r->ticks, (unsigned long long)r->waits);
}

void qb_cache_cell(const struct qb_cache_table *t, enum qb_cache_grid grid, unsigned row, unsigned column,
		   char cell[QB_CELL_BYTES])
{
	const struct qb_cache_row *r = row_of(t, row);

	if (column == 0)
		snprintf(cell, QB_CELL_BYTES, "%s", row < QB_CACHE_PHASES ? qb_cache_phase_name((enum qb_cache_phase)row) : "all");
	else if (grid == QB_CACHE_COUNTS)
		count_cell(r, column, cell);
	else
		time_cell(r, column, cell);
}

/* ---- sentences ---- */

static unsigned long long ull(uint64_t n)
{
	return n;
}

static void put_ns(struct qb_strbuf *out, uint64_t ns)
{
	char buf[32];

	qb_strbuf_add(out, qb_format_duration(buf, sizeof(buf), ns));
}

/* "1 caller", "3 callers". */
static void put_count(struct qb_strbuf *out, uint64_t n, const char *what)
{
	qb_strbuf_printf(out, "%llu %s%s", ull(n), what, n == 1 ? "" : "s");
}

static void put_executions(const struct qb_cache_row *all, struct qb_strbuf *out)
{
	if (all->leaks) {
		put_count(out, all->leaks, "execution");
		qb_strbuf_add(out, " beyond one for each item, which no kill explains: its work was pushed again behind the end of a "
			      "run, or done by two at a time.");
	} else {
		qb_strbuf_add(out, "No item was made twice, but for kills and failures.");
	}
	if (all->found) {
		qb_strbuf_add(out, " ");
		put_count(out, all->found, "run");
		qb_strbuf_add(out, " found the item there and did nothing.");
	}
}

static void put_faults(const struct qb_cache_table *t, struct qb_strbuf *out)
{
	const struct qb_cache_row *all = &t->total;

	static const char *const told[QB_CACHE_FAULTS] = {
		[QB_CACHE_FAILURE] = " the error of work that failed", [QB_CACHE_NOT_FOUND] = " that the work was done, and no item",
		[QB_CACHE_DEADLINE] = " nothing within ", [QB_CACHE_ERROR] = " an error of the queue or the store",
		[QB_CACHE_DAMAGED] = " something else than what was put",
	};

	for (unsigned fault = QB_CACHE_OK + 1; fault < QB_CACHE_FAULTS; fault++) {
		if (all->faults[fault] == 0)
			continue;
		qb_strbuf_add(out, " ");
		put_count(out, all->faults[fault], "request");
		qb_strbuf_printf(out, " got%s", told[fault]);
		if (fault == QB_CACHE_DEADLINE) {
			put_ns(out, t->deadline_ns);
			qb_strbuf_add(out, ", the deadline");
		} else if (fault == QB_CACHE_FAILURE) {
			qb_strbuf_printf(out, ", %llu of them of a run that was over before they asked", ull(all->stale));
		}
		qb_strbuf_add(out, ".");
	}
	if (all->ticks)
		qb_strbuf_printf(out, " %llu of %llu waits were ended by a tick, and not by a notification.", ull(all->ticks),
				 ull(all->waits));
	else
		qb_strbuf_printf(out, " None of %llu waits had to be ended by a tick.", ull(all->waits));
}

static void put_kills(const struct qb_cache_table *t, struct qb_strbuf *out)
{
	const struct qb_cache_row *all = &t->total;

	if (all->kills == 0)
		return;
	qb_strbuf_add(out, " Of ");
	put_count(out, all->kills, "execution");
	qb_strbuf_printf(out, " that a kill ended, %llu %s begun again%s", ull(all->again), all->again == 1 ? "was" : "were",
			 all->again < all->kills ? " before the watch was over" : "");
	for (unsigned i = 0; i < QB_CACHE_PHASES; i++)
		if (t->row[i].again_ns.count) {
			qb_strbuf_add(out, ", ");
			put_ns(out, t->row[i].again_ns.p50_ns);
			qb_strbuf_add(out, " later (median; the longest ");
			put_ns(out, t->row[i].again_ns.max_ns);
			qb_strbuf_add(out, ")");
			break;
		}
	qb_strbuf_add(out, ".");
}

static void put_rounds(const struct qb_cache_table *t, struct qb_strbuf *out)
{
	const struct qb_cache_row *r = &t->row[QB_CACHE_TOGETHER];

	if (r->rounds == 0)
		return;
	qb_strbuf_printf(out, " In %llu of %llu rounds the item was made once, at most %llu times in one", ull(r->rounds_exact),
			 ull(r->rounds), ull(r->executions_max));
	if (r->released.count) {
		qb_strbuf_add(out, "; from the put to the answer of one who waited ");
		put_ns(out, r->released.p50_ns);
		qb_strbuf_add(out, " (p50), ");
		put_ns(out, r->released.p99_ns);
		qb_strbuf_add(out, " (p99)");
	}
	qb_strbuf_add(out, ".");
}

void qb_cache_sentences(const struct qb_cache_table *t, const char *lib, struct qb_strbuf *out)
{
	if (t->faithful)
		qb_strbuf_add(out, "rscache on rsqueue as they are, with their weaknesses (doc/cache.md). ");
	else if (strncmp(lib, "river", 5) == 0)
		qb_strbuf_add(out, "An analogue: River has no cache (doc/river.md). ");
	put_executions(&t->total, out);
	put_rounds(t, out);
	put_faults(t, out);
	put_kills(t, out);
}
