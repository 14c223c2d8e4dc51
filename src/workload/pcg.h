/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator of the original benchmark: PCG with 128 bits of state and the DXSM output, with the
 * draws of Go's math/rand/v2 (the same numbers on a 64-bit machine). Plain values, one thread.
 *
 * The job lists are comparable with the original's only as long as every draw here takes exactly as
 * many outputs as there. Nothing else should draw from it; base/rng.h is for everything else.
 */
#ifndef QB_WORKLOAD_PCG_H
#define QB_WORKLOAD_PCG_H

#include <stdint.h>

struct qb_pcg {
	uint64_t hi, lo;        /* halves of the state */
};

void qb_pcg_init(struct qb_pcg *pcg, uint64_t seed_hi, uint64_t seed_lo);
uint64_t qb_pcg_next(struct qb_pcg *pcg);

/* Uniform in [0, 1): one output. */
double qb_pcg_unit(struct qb_pcg *pcg);

/* Uniform in [0, bound), bound > 0: one output; seldom more, never for a power of two. */
uint64_t qb_pcg_below(struct qb_pcg *pcg, uint64_t bound);

/* As calling qb_pcg_next() count times, in about 64 steps at most. */
void qb_pcg_advance(struct qb_pcg *pcg, uint64_t count);

#endif
