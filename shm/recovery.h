/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: decide every job of a seat whose process is confirmed dead.
 *
 * Lives in: the segment; the handle holds one scratch map of job_count bits.
 * Writers: one recoverer at a time (the parent, or a tool that holds the parent's lock).
 * Everybody else goes on working meanwhile.
 * Progress: first what the dead one took last, then one pass over the used part of the job table; only CAS on words, setting of hint bits
 * and ring pushes, so it may itself be killed anywhere and run again with the same answer.
 * "Confirmed dead" means: reaped, or its pidfd readable. Never a time-out.
 */
#ifndef QB_SHM_RECOVERY_H
#define QB_SHM_RECOVERY_H

#include "shm/segment.h"

enum qb_verdict {
	QB_VERDICT_NEVER_ACCEPTED,      /* died while it submitted; the slot is free again */
	QB_VERDICT_NEVER_STARTED,       /* claimed only: ready again */
	QB_VERDICT_RETRIED,             /* started, no outcome, idempotent: ready again, reported as ambiguous */
	QB_VERDICT_PARKED,              /* started, no outcome, opaque: ambiguous until a person decides */
	QB_VERDICT_IN_DOUBT,            /* started, no outcome, transactional: ambiguous until the syncer has asked Postgres */
	QB_VERDICT_GIVEN_UP,            /* claimed or started max_claims times: dead */
	QB_VERDICT_FINISHED,            /* an outcome was stored; told only of the last one, whose event may be missing */
	QB_VERDICT_COUNT,
};

/*
 * Told of each verdict BEFORE the word is changed, so that a kill in between leaves a report too many and never
 * one too few (the same (job, attempt) may then be told again by the next recoverer). `before` is the word.
 */
typedef void (*qb_verdict_fn)(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before);

struct qb_recovery {
	const struct qb_seg *seg;
	uint64_t *seen;                 /* scratch */
	uint32_t verdicts[QB_VERDICT_COUNT];
	uint32_t repushed;              /* ready jobs that had no ring entry */
	uint32_t blocks_freed;
	uint32_t ring_full;             /* pushes refused, to be made by the next promotion */
};

/* Allocates the scratch map; the only allocation. 0 or -ENOMEM. */
int qb_recovery_open(struct qb_recovery *r, const struct qb_seg *seg);
void qb_recovery_close(struct qb_recovery *r);

/*
 * Decide all jobs of `seat`, repair hints, free the seat. The counts in r are added to.
 * 0, or QB_EFENCED when the seat is free.
 */
int qb_recover_seat(struct qb_recovery *r, uint32_t seat, qb_verdict_fn fn, void *ctx);

#endif
