/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest rank: which of count ascending samples is the percentile. */
#ifndef QB_STATS_PERCENTILE_H
#define QB_STATS_PERCENTILE_H

#include <stdint.h>

/* Index of the sample, 0 when count is 0. permille 0..1000: 950 is p95. */
uint64_t qb_rank(uint64_t count, unsigned permille);

#endif
