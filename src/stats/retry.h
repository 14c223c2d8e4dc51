/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retries: when the queue said that the next attempt of a failed job is due, and when it really began.  Plain values.
 *
 * A retry is an attempt that follows a recorded failure which is not the last of its job.
 */
#ifndef QB_STATS_RETRY_H
#define QB_STATS_RETRY_H

#include <stdint.h>

#include "stats/percentile.h"

#define QB_RETRY_ROUNDS 4
#define QB_RETRY_BINS 12
#define QB_RETRY_WINDOW_NS 100000000ull

/* The retries after the nth failure of their job; the last round holds those after any later one, too. */
struct qb_retry_round {
	uint64_t count;
	struct qb_percentiles policy;   /* failure to due */
	struct qb_percentiles spacing;  /* failure to start */
	struct qb_percentiles late;     /* due to start; 0 when it began before */
	uint64_t most_in_window;        /* that began within any QB_RETRY_WINDOW_NS */
	uint64_t most_due_in_window;    /* that were due so */
	uint64_t from_ns, width_ns;     /* bin i: from + i * width <= time < from + (i + 1) * width */
	uint32_t bins_count;
	uint32_t policy_bins[QB_RETRY_BINS], spacing_bins[QB_RETRY_BINS];
};

struct qb_retries {
	uint64_t count;
	uint64_t early;                 /* began more than a millisecond before they were due */
	uint64_t missing;               /* due before the end of the watch, and did not begin */
	struct qb_percentiles late;
	uint64_t most_in_window, most_due_in_window;    /* of all rounds together */
	uint32_t rounds_count;
	struct qb_retry_round rounds[QB_RETRY_ROUNDS];
};

struct qb_tally;

/* 0 or -ENOMEM. */
int qb_retries_of(const struct qb_tally *t, struct qb_retries *out);

#endif
