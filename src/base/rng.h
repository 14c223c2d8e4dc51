/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeded random streams (xoshiro256** seeded by splitmix64), split by purpose: the same seed with
 * another purpose name is an independent stream, so that one feature never shifts another's numbers.
 * Not the workload's generator: that one is the original benchmark's PCG, in workload/pcg.h.
 */
#ifndef QB_BASE_RNG_H
#define QB_BASE_RNG_H

#include <stdint.h>

struct qb_rng { uint64_t s[4]; };

void qb_rng_init(struct qb_rng *rng, uint64_t seed, const char *purpose);
uint64_t qb_rng_next(struct qb_rng *rng);
uint64_t qb_rng_below(struct qb_rng *rng, uint64_t bound);      /* uniform, bound > 0 */
double qb_rng_unit(struct qb_rng *rng);                         /* [0, 1) */

#endif
