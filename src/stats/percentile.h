/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest rank: which of count ascending samples is the percentile. */
#ifndef QB_STATS_PERCENTILE_H
#define QB_STATS_PERCENTILE_H

#include <stdint.h>

/*
 * Nearest rank, as in the original: index ceil(p * n) - 1 of the ascending samples. All 0 when
 * count is 0.
 */
struct qb_percentiles {
	uint64_t count;
	uint64_t min_ns, p50_ns, p90_ns, p95_ns, p99_ns, p999_ns, max_ns;
	double mean_ns;
};

/* Index of the sample, 0 when count is 0. permille 0..1000: 950 is p95. */
uint64_t qb_rank(uint64_t count, unsigned permille);

/* Sorts the samples in place. */
void qb_percentiles_of(uint64_t *samples_ns, uint64_t count, struct qb_percentiles *out);

#endif
