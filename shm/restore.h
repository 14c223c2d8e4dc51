/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting the jobs of a lost segment into a new one.
 *
 * Lives in: a segment that nobody but its creator has attached to yet; a creator that is killed leaves a
 * segment that must not be used, and one more has to be made.
 * What is known of a job is a row that was written some time before the loss.  Whether the job was claimed or
 * started since, nobody wrote down.  So a job that has not ended may have been started, whatever its row says,
 * with one exception: a job that waits for a time which has not come yet.
 *
 * Lives of a run.  Each segment that a run has is a life of it, counted from 0.  The fence of the syncers
 * (run.epoch) holds the life in its upper half, so that a syncer of an earlier life, on whatever host it may still
 * be alive, never gets the epoch again.  The attempts of a life are QB_LIFE_ATTEMPTS above those of the one before:
 * (job, attempt) is a fence token, and the attempts that ran since the row was written are not known.
 */
#ifndef QB_SHM_RESTORE_H
#define QB_SHM_RESTORE_H

#include "shm/job.h"
#include "shm/segment.h"

/*
 * More than a job can be claimed in one life: max_claims (100) ends those whose workers die, max_attempts (15)
 * those that fail, and each orderly stop gives back a claim at most once.
 */
#define QB_LIFE_ATTEMPTS 256u
/* The attempt has 16 bits. */
#define QB_LIFE_MAX 254u

static inline uint32_t qb_life_of(uint64_t epoch) { return (uint32_t)(epoch >> 32); }
static inline uint64_t qb_life_first_epoch(uint32_t life) { return (uint64_t)life << 32; }

/* A waiting job whose time is nearer than this may have been started: two hosts' clocks differ. */
#define QB_RESTORE_CLOCK_NS 10000000000ull

/* What became of it in the new segment. */
enum qb_restored {
	QB_RESTORED_AGAIN,              /* idempotent: runs, perhaps for a second time */
	QB_RESTORED_WAITING,            /* cannot have been started: waits for its time */
	QB_RESTORED_PARKED,             /* opaque: ambiguous, for a person to decide */
	QB_RESTORED_IN_DOUBT,           /* transactional: ambiguous until the syncer has asked Postgres */
	QB_RESTORED_COUNT,
};

struct qb_restore_job {
	struct qb_submit what;          /* as it was accepted, with its key */
	uint32_t state;                 /* of the row: QB_JOB_READY, _WAITING or _AMBIGUOUS */
	uint32_t attempt;               /* greater than any that can have run, and durable as such */
	uint32_t failures;
	uint64_t due_ns;                /* of a waiting one; CLOCK_MONOTONIC of this boot */
};

/*
 * Put that job into the free slot slot_idx, known to Postgres. now_ns: CLOCK_MONOTONIC. Its key is found in the index only
 * after qb_key_rebuild(), for which the last one is early enough.
 * 0 with *how; QB_FULL: the segment has no room for its payload; QB_ETOOBIG: no segment has; QB_ECORRUPT: no job
 * can be so; QB_EUSAGE: the slot is not free. After an error the slot holds no job.
 */
int qb_job_restore(const struct qb_seg *seg, uint32_t slot_idx, const struct qb_restore_job *job, uint64_t now_ns,
		   enum qb_restored *how);

/* The first record of that seat is to have sequence next + 1: those before are durable, or were lost. */
void qb_restore_events(const struct qb_seg *seg, uint32_t seat, uint64_t next);

#endif
