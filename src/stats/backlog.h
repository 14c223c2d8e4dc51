/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many jobs were due and not finished, over time; and how a queue comes through a burst.  Plain values.
 *
 * A job is open from the moment at which it ought to be enqueued (open loop) to its first completion or its discard.
 * Times are from the start of the run.
 */
#ifndef QB_STATS_BACKLOG_H
#define QB_STATS_BACKLOG_H

#include <stdint.h>

#include "stats/percentile.h"

#define QB_BACKLOG_SAMPLES 60

struct qb_backlog {
	uint64_t step_ns;               /* of a sample; 0: no jobs */
	uint32_t samples_count;
	uint32_t samples[QB_BACKLOG_SAMPLES];   /* the most that were open at a time within the step */
	uint64_t max, max_at_ns;
	int has_burst;                  /* what follows is of it */
	uint64_t burst_start_ns, burst_end_ns;
	uint64_t before;                /* open on average before it, rounded up: what counts as drained afterwards */
	uint64_t at_end;                /* open when it ended */
	uint64_t drain_ns;              /* from then until no more than before; QB_BEYOND_WATCH: not by the end */
	struct qb_percentiles pickup_before, pickup_during, pickup_after;       /* of jobs that were due then */
};

struct qb_tally;

/* 0 or -ENOMEM. */
int qb_backlog_of(const struct qb_tally *t, struct qb_backlog *out);

#endif
