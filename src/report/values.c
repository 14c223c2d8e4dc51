/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of a run that the table shows and that are no plain member of its summary. NAN: it has none. */
#include "report/model.h"

#include <math.h>
#include <string.h>
#include <stdlib.h>

/* Below it nobody waits for a retry, and what is late is the queue's latency. */
#define WAITS_NS 100000000ull

int qb_retries_wait(const struct qb_report_entry *e)
{
	const struct qb_summary *s = e->summary;

	/* A library that waits by a policy of its own does so in every scenario; here it is of interest where it was asked for. */
	if (strcmp(e->meta->backoff, "pow4") != 0)
		return 0;
	for (uint32_t i = 0; i < s->retries.rounds_count && i < QB_RETRY_ROUNDS; i++)
		if (s->retries.rounds[i].policy.max_ns >= WAITS_NS)
			return 1;
	return 0;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : NAN;
}

/* The median over the runs of the fewest processes in the section. 0: none. */
static double base_rate(const struct qb_section *s, uint32_t *processes)
{
	const struct qb_group *base = NULL;

	for (size_t g = 0; g < s->groups_count; g++)
		if (!base || s->groups[g].runs[0]->summary->share.processes < base->runs[0]->summary->share.processes)
			base = &s->groups[g];
	if (!base)
		return 0;
	double *values = qb_xcalloc(base->runs_count, sizeof(*values)), rate = 0;
	size_t n = 0;

	*processes = base->runs[0]->summary->share.processes;
	for (size_t i = 0; i < base->runs_count; i++)
		if (base->runs[i]->summary->share.window_ns)
			values[n++] = base->runs[i]->summary->share.throughput_per_s;
	if (n)
		rate = qb_over_runs(values, n).median;
	free(values);
	return rate;
}

static double scaling(const struct qb_section *s, const struct qb_share *h)
{
	uint32_t fewest = 0;
	/* Against itself alone everything scales. */
	double base = h->processes && s->groups_count > 1 ? base_rate(s, &fewest) : 0;

	return base > 0 && fewest ? h->throughput_per_s * fewest / (base * h->processes) : NAN;
}

static double of_retries(enum qb_value which, const struct qb_retries *r)
{
	switch (which) {
	case QB_VALUE_RETRIES:
		return (double)r->count;
	case QB_VALUE_RETRIES_EARLY:
		return (double)r->early;
	case QB_VALUE_RETRIES_MISSING:
		return (double)r->missing;
	case QB_VALUE_LATE_P50:
		return (double)r->late.p50_ns;
	case QB_VALUE_LATE_P95:
		return (double)r->late.p95_ns;
	case QB_VALUE_LATE_MAX:
		return (double)r->late.max_ns;
	case QB_VALUE_MOST_FIRST:
		return (double)r->rounds[0].most_in_window;
	case QB_VALUE_MOST_FIRST_DUE:
		return (double)r->rounds[0].most_due_in_window;
	case QB_VALUE_MOST_SECOND:
		return (double)r->rounds[1].most_in_window;
	default:
		return (double)r->rounds[1].most_due_in_window;
	}
}

static double of_burst(enum qb_value which, const struct qb_backlog *b)
{
	switch (which) {
	case QB_VALUE_BACKLOG_MAX:
		return (double)b->max;
	case QB_VALUE_BACKLOG_AT_END:
		return (double)b->at_end;
	default:
		return b->drain_ns == QB_BEYOND_WATCH ? INFINITY : (double)b->drain_ns;
	}
}

static double of_share(enum qb_value which, const struct qb_section *s, const struct qb_share *h)
{
	switch (which) {
	case QB_VALUE_SHARED_RATE:
		return h->throughput_per_s;
	case QB_VALUE_SCALING:
		return scaling(s, h);
	case QB_VALUE_LEAST_SHARE:
		return percent(h->least, h->jobs);
	case QB_VALUE_MOST_SHARE:
		return percent(h->most, h->jobs);
	default:
		return h->fairness > 0 ? h->fairness : NAN;
	}
}

double qb_value(enum qb_value which, const struct qb_section *s, const struct qb_report_entry *e)
{
	const struct qb_summary *sum = e->summary;
	const struct qb_share *h = &sum->share;

	/* Of the starts of which the queue says how they came to be. */
	if (which == QB_VALUE_WOKEN)
		return percent(h->woken, h->woken + h->polled + h->busy);
	if (which >= QB_VALUE_SHARED_RATE)
		return h->window_ns ? of_share(which, s, h) : NAN;
	if (which >= QB_VALUE_RETRIES)
		return qb_retries_wait(e) ? of_retries(which, &sum->retries) : NAN;
	return sum->backlog.has_burst ? of_burst(which, &sum->backlog) : NAN;
}
