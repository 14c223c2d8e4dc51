/* SPDX-License-Identifier: Apache-2.0 */
/* A job from submit to free, as the programs that measure the engine need it. */
#ifndef QB_BENCH_JOBS_H
#define QB_BENCH_JOBS_H

#include "shm/hint.h"
#include "shm/job.h"
#include "tests/bench/bench.h"

/* Waits while the table is full: somebody frees. */
static inline void bench_submit(const struct qb_seg *seg, uint32_t seat, uint64_t id,
				const void *payload, uint32_t bytes)
{
	const struct qb_submit what = {
		.job_id = id, .submitted_raw = 1, .work_us = 10, .tenant = 3, .kind = 1,
		.max_attempts = 3, .effect_class = QB_EFFECT_IDEMPOTENT,
		.payload = payload, .payload_bytes = bytes,
	};
	struct qb_held ref;
	unsigned spins = 0;
	int rc;

	while ((rc = qb_job_submit(seg, seat, &what, &ref)) == QB_FULL)
		bench_relax(&spins);
	if (rc != QB_OK)
		bench_die("a submit was refused: %s", qb_strerror(rc));
}

/* Waits while there is none. */
static inline void bench_claim(const struct qb_seg *seg, uint32_t seat, struct qb_held *held)
{
	unsigned spins = 0;
	int rc;

	while ((rc = qb_job_claim(seg, seat, held)) == QB_EMPTY)
		bench_relax(&spins);
	if (rc != QB_OK)
		bench_die("a claim failed: %s", qb_strerror(rc));
}

/* What the syncer does when the outcome is durable. */
static inline void bench_free(const struct qb_seg *seg, const struct qb_held *held)
{
	qb_hint_clear(seg->dirty_map, held->slot_idx);
	qb_job_free(seg, held->slot_idx, held->word);
}

/* Claims a job, if there is one, and takes it to its end. 1; 0 when there was none; -1 refused. */
static inline int bench_live_once(const struct qb_seg *seg, uint32_t seat)
{
	struct qb_held held;

	if (qb_job_claim(seg, seat, &held) != QB_OK)
		return 0;
	if (qb_job_start(seg, &held) < 0 || qb_job_complete(seg, seat, &held, NULL, 0) < 0)
		return -1;
	bench_free(seg, &held);
	return 1;
}

#endif
