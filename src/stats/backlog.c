/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/backlog.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/summary.h"
#include "stats/tally.h"

#define NS_PER_S 1000000000ull

/* A job begins or ends to be open. */
struct change {
	uint64_t t_ns;
	int by;
};

struct sweep {
	const struct qb_tally *t;
	struct change *changes;
	uint64_t *pickups;
	size_t count;
	uint64_t start_ns, end_ns;
};

static int by_time(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	/* Of one moment: first those that come. */
	return y->by - x->by;
}

/* QB_NEVER_NS: it was not finished. One whose completion the queue told without a time was, at the latest, at the end. */
static uint64_t finished_ns(const struct qb_tally *t, const struct qb_tally_job *j)
{
	uint64_t first = j->discarded_ns ? j->discarded_ns : QB_NEVER_NS;

	for (uint32_t i = j->first; i != QB_NO_IDX; i = t->tries[i].next) {
		const struct qb_try *a = &t->tries[i];
		uint64_t at = a->end_ns ? a->end_ns : t->in->watch_end_ns;

		if (a->outcome == QB_TRY_COMPLETED && at < first)
			first = at;
	}
	return first;
}

/* The start of the plan, one tick before its first job. */
static void find_start(struct sweep *s)
{
	uint32_t rate = s->t->in->trace->meta.rate;
	uint64_t first = QB_NEVER_NS;

	for (uint64_t i = 0; i < s->t->jobs_count; i++) {
		const struct qb_tally_job *j = &s->t->jobs[i];

		if ((j->flags & QB_TJOB_SUBMITTED) && j->intended_ns < first)
			first = j->intended_ns;
	}
	uint64_t tick = rate ? NS_PER_S / rate : 0;

	s->start_ns = first != QB_NEVER_NS && first > tick ? first - tick : 0;
	s->end_ns = s->start_ns;
}

static void collect(struct sweep *s)
{
	for (uint64_t i = 0; i < s->t->jobs_count; i++) {
		const struct qb_tally_job *j = &s->t->jobs[i];
		uint64_t done = finished_ns(s->t, j);

		if (!(j->flags & QB_TJOB_SUBMITTED) || (j->flags & QB_TJOB_REFUSED))
			continue;
		s->changes[s->count++] = (struct change){ j->intended_ns, 1 };
		if (j->intended_ns > s->end_ns)
			s->end_ns = j->intended_ns;
		if (done == QB_NEVER_NS)
			continue;
		/* Stamps of two processors may contradict each other by microseconds. */
		if (done < j->intended_ns)
			done = j->intended_ns;
		s->changes[s->count++] = (struct change){ done, -1 };
		if (done > s->end_ns)
			s->end_ns = done;
	}
	qsort(s->changes, s->count, sizeof(*s->changes), by_time);
}

static void note(struct qb_backlog *out, const struct sweep *s, uint64_t t_ns, uint64_t open)
{
	uint64_t at = t_ns - s->start_ns;
	uint32_t idx = (uint32_t)(at / out->step_ns);

	idx = idx < QB_BACKLOG_SAMPLES ? idx : QB_BACKLOG_SAMPLES - 1;
	if (open > out->samples[idx])
		out->samples[idx] = open < UINT32_MAX ? (uint32_t)open : UINT32_MAX;
	if (open > out->max) {
		out->max = open;
		out->max_at_ns = at;
	}
}

/* As many stay open through the steps in which nothing changes. */
static void carry(struct qb_backlog *out, const struct sweep *s, uint64_t from_ns, uint64_t to_ns, uint64_t open)
{
	uint64_t step = (from_ns - s->start_ns) / out->step_ns + 1, until = to_ns - s->start_ns;

	/* By number and not by time, which a record can make as late as there is. */
	for (; step < QB_BACKLOG_SAMPLES && step * out->step_ns < until; step++)
		note(out, s, s->start_ns + step * out->step_ns, open);
}

/* Jobs times ns for which they were open before the burst. */
static double area(const struct sweep *s, const struct qb_backlog *out, uint64_t from_ns, uint64_t to_ns, uint64_t open)
{
	uint64_t burst = s->start_ns + out->burst_start_ns;

	to_ns = to_ns < burst ? to_ns : burst;
	return to_ns > from_ns ? (double)open * (double)(to_ns - from_ns) : 0;
}

/* So many are open when it ends. Whether they are no more than usual. */
static int end_burst(struct qb_backlog *out, uint64_t open, double sum)
{
	out->at_end = open;
	if (out->burst_start_ns)
		out->before = (uint64_t)ceil(sum / (double)out->burst_start_ns);
	out->drain_ns = open <= out->before ? 0 : QB_BEYOND_WATCH;
	return out->drain_ns == 0;
}

static void sweep(struct sweep *s, struct qb_backlog *out)
{
	uint64_t open = 0, last = s->start_ns, burst_end = s->start_ns + out->burst_end_ns;
	double sum = 0;
	int ended = 0, drained = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct change *c = &s->changes[i];

		sum += area(s, out, last, c->t_ns, open);
		if (!ended && c->t_ns >= burst_end) {
			ended = 1;
			drained = end_burst(out, open, sum);
		}
		carry(out, s, last, c->t_ns, open);
		open = c->by > 0 ? open + 1 : open - 1;
		note(out, s, c->t_ns, open);
		last = c->t_ns;
		if (ended && !drained && open <= out->before) {
			drained = 1;
			out->drain_ns = c->t_ns - burst_end;
		}
	}
	if (!ended)
		end_burst(out, open, sum);
}

/* Pick-ups of jobs that were due in [from, to), times of the run. */
static void pickups(struct sweep *s, uint64_t from_ns, uint64_t to_ns, struct qb_percentiles *out)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < s->t->jobs_count; i++) {
		const struct qb_tally_job *j = &s->t->jobs[i];
		uint32_t idx = qb_try_next_start(s->t, j->first);
		uint64_t due = j->intended_ns - s->start_ns;

		if (!(j->flags & QB_TJOB_SUBMITTED) || idx == QB_NO_IDX || due < from_ns || due >= to_ns)
			continue;
		uint64_t start = s->t->tries[idx].start_ns;

		s->pickups[n++] = start > j->intended_ns ? start - j->intended_ns : 0;
	}
	qb_percentiles_of(s->pickups, n, out);
}

int qb_backlog_of(const struct qb_tally *t, struct qb_backlog *out)
{
	const struct qb_meta *m = &t->in->trace->meta;
	struct sweep s = {
		.t = t,
		.changes = malloc((2 * t->jobs_count + 1) * sizeof(struct change)),
		.pickups = malloc((t->jobs_count + 1) * sizeof(uint64_t)),
	};

	memset(out, 0, sizeof(*out));
	if (!s.changes || !s.pickups) {
		free(s.changes);
		free(s.pickups);
		return -ENOMEM;
	}
	find_start(&s);
	collect(&s);
	if (s.count) {
		out->step_ns = (s.end_ns - s.start_ns) / QB_BACKLOG_SAMPLES + 1;
		out->samples_count = (uint32_t)((s.end_ns - s.start_ns) / out->step_ns + 1);
		out->has_burst = m->burst_end_ns > m->burst_start_ns;
		out->burst_start_ns = m->burst_start_ns;
		out->burst_end_ns = m->burst_end_ns;
		sweep(&s, out);
	}
	if (out->has_burst) {
		pickups(&s, 0, m->burst_start_ns, &out->pickup_before);
		pickups(&s, m->burst_start_ns, m->burst_end_ns, &out->pickup_during);
		pickups(&s, m->burst_end_ns, UINT64_MAX, &out->pickup_after);
	}
	free(s.changes);
	free(s.pickups);
	return 0;
}
