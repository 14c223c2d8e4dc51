/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record/format.h"
#include "stats/summary.h"
#include "stats/tally.h"

struct share {
	const struct qb_tally *t;
	uint64_t backlog;               /* jobs 1..backlog */
	uint64_t *starts;               /* first starts of theirs */
	size_t starts_count;
	uint64_t *first;                /* of each process; QB_NEVER_NS: none */
	uint64_t *done;                 /* of each process, in the window */
	uint64_t begin_ns, end_ns;
};

static int by_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void find_starts(struct share *s)
{
	for (uint32_t i = 0; i < s->t->procs_count; i++)
		s->first[i] = QB_NEVER_NS;
	for (uint64_t i = 0; i < s->backlog; i++) {
		uint32_t idx = qb_try_next_start(s->t, s->t->jobs[i].first);

		if (idx == QB_NO_IDX)
			continue;
		const struct qb_try *a = &s->t->tries[idx];

		s->starts[s->starts_count++] = a->start_ns;
		if (a->proc != QB_NO_IDX && a->start_ns < s->first[a->proc])
			s->first[a->proc] = a->start_ns;
	}
	qsort(s->starts, s->starts_count, sizeof(*s->starts), by_ns);
}

static void find_window(struct share *s, struct qb_share *out)
{
	uint64_t slots = (uint64_t)out->processes * s->t->in->trace->meta.slots;

	for (uint32_t i = 0; i < s->t->procs_count; i++) {
		if (s->first[i] == QB_NEVER_NS)
			continue;
		out->served++;
		if (s->first[i] > s->begin_ns)
			s->begin_ns = s->first[i];
	}
	/* The start after which only so many of the backlog are left as there are slots. */
	if (out->served && s->backlog > slots && s->starts_count >= s->backlog - slots)
		s->end_ns = s->starts[s->backlog - slots - 1];
	else if (s->starts_count)
		s->end_ns = s->starts[s->starts_count - 1];
	if (s->end_ns > s->begin_ns)
		out->window_ns = s->end_ns - s->begin_ns;
}

static void count_done(struct share *s, struct qb_share *out)
{
	const struct qb_tally *t = s->t;
	double sum = 0, squares = 0;

	for (uint32_t i = 0; i < t->tries_count; i++) {
		const struct qb_try *a = &t->tries[i];

		if (a->outcome != QB_TRY_COMPLETED || a->proc == QB_NO_IDX || a->job >= s->backlog ||
		    a->end_ns <= s->begin_ns || a->end_ns > s->end_ns)
			continue;
		s->done[a->proc]++;
		out->jobs++;
	}
	out->least = QB_NEVER_NS;
	for (uint32_t i = 0; i < t->procs_count; i++) {
		if (s->first[i] == QB_NEVER_NS)
			continue;
		out->least = s->done[i] < out->least ? s->done[i] : out->least;
		out->most = s->done[i] > out->most ? s->done[i] : out->most;
		sum += (double)s->done[i];
		squares += (double)s->done[i] * (double)s->done[i];
	}
	/* One that found none of them had nothing. */
	if (out->served < out->processes)
		out->least = 0;
	out->throughput_per_s = (double)out->jobs * 1e9 / (double)out->window_ns;
	out->fairness = squares > 0 ? sum * sum / (squares * (out->served > out->processes ? out->served : out->processes)) : 0;
}

/* Those that came one by one. */
static void look_at_others(const struct share *s, struct qb_share *out)
{
	const struct qb_tally *t = s->t;
	uint64_t n = 0;

	for (uint64_t i = s->backlog; i < t->jobs_count; i++) {
		const struct qb_tally_job *j = &t->jobs[i];
		uint32_t idx = qb_try_next_start(t, j->first);

		if (!(j->flags & QB_TJOB_SUBMITTED) || idx == QB_NO_IDX)
			continue;
		const struct qb_try *a = &t->tries[idx];

		out->woken += a->found == QB_FOUND_WOKEN;
		out->polled += a->found == QB_FOUND_BY_TIME;
		out->busy += a->found == QB_FOUND_BUSY;
		out->untold += a->found == QB_FOUND_UNTOLD;
		s->starts[n++] = a->start_ns > j->intended_ns ? a->start_ns - j->intended_ns : 0;
	}
	qb_percentiles_of(s->starts, n, &out->pickup);
}

int qb_share_of(const struct qb_tally *t, struct qb_share *out)
{
	const struct qb_meta *m = &t->in->trace->meta;
	struct share s = { .t = t, .backlog = m->backlog < t->jobs_count ? m->backlog : t->jobs_count };

	memset(out, 0, sizeof(*out));
	if (!m->backlog)
		return 0;
	s.starts = malloc((t->jobs_count + 1) * sizeof(*s.starts));
	s.first = malloc((t->procs_count + 1u) * sizeof(*s.first));
	s.done = calloc(t->procs_count + 1u, sizeof(*s.done));
	if (s.starts && s.first && s.done) {
		out->processes = m->workers;
		find_starts(&s);
		find_window(&s, out);
		if (out->window_ns)
			count_done(&s, out);
		look_at_others(&s, out);
	}
	int rc = s.starts && s.first && s.done ? 0 : -ENOMEM;

	free(s.starts);
	free(s.first);
	free(s.done);
	return rc;
}
