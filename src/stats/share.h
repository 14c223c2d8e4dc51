/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How several processes share one queue.  Plain values.
 *
 * Of a run that began with a backlog (its description says how many jobs): those jobs were in the queue before the first
 * process was there, so nobody waits for work.  The saturated window is from the moment at which every process has
 * begun one of them to the moment at which fewer are left than there are slots.  The jobs behind the backlog came one by
 * one to idle processes: they tell how a process finds a job.
 */
#ifndef QB_STATS_SHARE_H
#define QB_STATS_SHARE_H

#include <stdint.h>

#include "stats/percentile.h"

struct qb_share {
	uint32_t processes;             /* that were asked for; 0: the run had no backlog, all else is 0 */
	uint32_t served;                /* processes that began a job of the backlog */
	uint64_t window_ns;             /* 0: there was no moment at which all were at work */
	uint64_t jobs;                  /* completed in it */
	double throughput_per_s;
	uint64_t least, most;           /* jobs that one process completed in it */
	double fairness;                /* Jain's index of those: 1 all the same, 1 / processes one has all; 0 unknown */
	/* First starts of the other jobs, by how the process came to look (enum qb_found). */
	uint64_t woken, polled, busy, untold;
	struct qb_percentiles pickup;   /* of them, from the moment at which they ought to be enqueued */
};

struct qb_tally;

/* 0 or -ENOMEM. */
int qb_share_of(const struct qb_tally *t, struct qb_share *out);

#endif
