/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: one function for each legal step of the job word.
 *
 *   FREE -> FILLING -> READY -> CLAIMED -> STARTED -> DONE | FAILED -> SYNCED -> FREE(gen+1)
 *                       ^  ^                  |
 *                       |  +---- WAITING <----+  (failed, attempts left)
 *                       +-- recovery of a dead worker: CLAIMED; STARTED if idempotent
 *   recovery only: STARTED -> AMBIGUOUS (opaque, transactional), CLAIMED | STARTED -> DEAD (claimed too often)
 *   resolved:      AMBIGUOUS -> DONE | READY | DEAD
 *
 * Lives in: the segment.  The word is the only truth about a job; it changes by compare-and-swap
 * only, and each one is the linearisation point of its step.  (slot, gen, attempt) is the fence
 * token: a step that comes too late loses its CAS.
 * Writers: see layout.h per field; plain fields belong to whom the word names.
 * Progress: lock-free, no system call except waking a parked peer.
 * Crash: every step may be the last; doc/memory-model.md has the table of what is left, and
 * qb_recover_seat() decides it.
 *
 * Synchronisation (X: the caller must exclude, -: may run at the same time):
 *             submit claim start.. free recover(seat s)
 *   submit      -      -     -      -      -
 *   claim       -      -     -      -      -
 *   start..     -      -     -      -      X if the caller sits in s (it must be dead)
 *   free        -      -     -      X      -
 *   recover     -      -     X      -      X
 * "free" is the syncer's alone.
 */
#ifndef QB_SHM_JOB_H
#define QB_SHM_JOB_H

#include "shm/segment.h"

/* A key by its hash, which the caller makes: 128 bits that are spread evenly. Both 0: no key. */
struct qb_key { uint64_t hi, lo; };

struct qb_submit {
	uint64_t job_id;                /* > 0, unique in the run */
	uint64_t submitted_raw;         /* stamp before the call */
	uint32_t work_us;
	uint32_t tenant;
	uint16_t kind;
	uint16_t error_class;
	uint16_t max_attempts;          /* 1..15 */
	uint16_t effect_class;          /* enum qb_effect_class */
	const void *payload;
	uint32_t payload_bytes;         /* at most QB_PAYLOAD_BYTES_MAX */
	struct qb_key key;              /* for qb_job_submit_unique() only */
};

/* A job that this process holds: which, and the word that proves it. */
struct qb_held {
	uint32_t slot_idx;
	uint64_t word;
};

/*
 * Accept a job. QB_OK: it is ready (and survives every process from here on); QB_FULL: no slot or
 * no blocks, nothing changed; QB_ETOOBIG; QB_EUSAGE for a bad max_attempts or job id, or for a key (see key.h).
 * Order: release; what the caller wrote before is visible to the worker that claims it.
 */
int qb_job_submit(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *ref);

/*
 * The two halves of it, for qb_job_submit_unique() as well: a slot in FILLING with descriptor, payload and key, which is the
 * caller's; same codes. And what follows the word READY.
 */
int qb_job_fill(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *filling);
void qb_job_accepted(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t ready);
/* Or that slot is not to become a job: FILLING -> FREE, with the blocks from `first`. */
void qb_job_give_back(const struct qb_seg *seg, uint32_t slot_idx, uint64_t filling, uint32_t first);

/* The plain fields of a job that the caller owns, as they are before its first attempt; its payload lies in blocks from `first`. */
void qb_job_describe(struct qb_job_shm *job, const struct qb_submit *what, uint32_t first);

/* Is the acceptance of that submitted job durable in Postgres? (Also true once the slot has moved on.) */
int qb_job_is_durable(const struct qb_seg *seg, const struct qb_held *ref);

/* Take the oldest ready job, urgent ones first. QB_OK; QB_EMPTY; QB_ECORRUPT. Acquire: the job's fields are visible. */
int qb_job_claim(const struct qb_seg *seg, uint32_t seat, struct qb_held *held);

/* Copy the payload out and check its CRC. Bytes, or QB_ECORRUPT, or QB_ETOOBIG when cap is too small. */
int qb_job_payload(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen, void *data, uint32_t cap);

/* User code is about to run. 0, or QB_EFENCED: no longer ours, do not run it. */
int qb_job_start(const struct qb_seg *seg, struct qb_held *held);

/* Finished well. 0; QB_EFENCED: refused, somebody else decided; QB_FULL: no room for the result now, call again; QB_ETOOBIG; QB_ECORRUPT. */
int qb_job_complete(const struct qb_seg *seg, uint32_t seat, struct qb_held *held, const void *result, uint32_t bytes);

/*
 * The attempt failed. It goes to WAITING until due_ns (CLOCK_MONOTONIC; 0 or past: at once), or
 * with no attempt left or `permanent` to FAILED. 0 with *final set, or QB_EFENCED.
 */
int qb_job_fail(const struct qb_seg *seg, uint32_t seat, struct qb_held *held, int permanent, uint64_t due_ns,
		int *final);

/* Claimed but not to be run after all (orderly stop): back to ready, urgent. 0 or QB_EFENCED. */
int qb_job_release(const struct qb_seg *seg, struct qb_held *held);

/*
 * Make every WAITING job whose time has come ready, and set next_due_ns anew. Returns how many.
 * Anybody may call it at any time; cheap when next_due_ns is in the future.
 */
uint32_t qb_job_promote_due(const struct qb_seg *seg, uint64_t now_ns);

/* A ready job that found no room in a ring, or may have: the next promotion offers it. */
void qb_job_offer_later(const struct qb_seg *seg, uint32_t slot_idx);

/*
 * Syncer (or a tool, when no syncer lives): what became of an ambiguous job is known after all.
 * `ambiguous` is its word as it was read.  to: QB_JOB_DONE with the result of that attempt, written into the
 * caller's arena; QB_JOB_READY: it never happened and cannot happen any more, run it again (or
 * QB_JOB_DEAD when it was claimed max_claims times); QB_JOB_DEAD: give it up.
 * 0; QB_EFENCED: somebody else resolved it; QB_FULL: no room for the result now; QB_EUSAGE; QB_ETOOBIG; QB_ECORRUPT.
 * Crash: killed before the word changed it is ambiguous as before, and to be resolved again.
 */
int qb_job_resolve(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t ambiguous, uint32_t to,
		   const void *result, uint32_t bytes);

/* Syncer: the outcome is durable. `word` is the DONE, FAILED or DEAD word that was synced. Frees slot and blocks. */
void qb_job_free(const struct qb_seg *seg, uint32_t slot_idx, uint64_t word);

/* Syncer, once after it started: finish what a killed one left in SYNCED, mark as dirty whatever may not be durable. */
void qb_job_rescan(const struct qb_seg *seg);

/* Is what the word says newer than what the syncer made durable? */
int qb_job_is_dirty(const struct qb_job_shm *job, uint64_t word);

/* The side effect of the synthetic job happens now. Returns how often it had happened before. */
static inline uint32_t qb_effect_bump(const struct qb_seg *seg, uint64_t job_id)
{
	if (job_id == 0 || job_id > seg->cfg.effect_count)
		return 0;
	/* Relaxed: stands for an act on the outside world, which orders nothing. */
	return (uint32_t)qb_add_relaxed64(&seg->effects[job_id - 1], 1);
}

static inline uint32_t qb_effect_count(const struct qb_seg *seg, uint64_t job_id)
{
	if (job_id == 0 || job_id > seg->cfg.effect_count)
		return 0;
	return (uint32_t)qb_load_relaxed64(&seg->effects[job_id - 1]);
}

/* Tell the syncer that this slot has news. */
void qb_job_mark_dirty(const struct qb_seg *seg, uint32_t slot_idx);

#endif
