/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unique keys: a job with a key is in the queue at most once, from the moment it is accepted until it has ended.
 *
 * Lives in: the segment: the hash of its key in each job slot, and an index, which is a hint: an entry {slot, gen}
 * counts only as long as the word of that slot says that this generation lives (qb_word_holds_key()).  So nothing
 * is taken out when a job ends, and nothing is left behind when a process dies.
 * Writers: whoever submits; an admission that somebody left in the middle is finished by the next who comes to its bucket.
 * Progress: lock-free. A bucket has one admission under way at a time, and whoever meets it carries it through.
 * Crash: the word decides, by one compare-and-swap: FILLING that asks -> READY or refused. Killed before: never accepted,
 * the slot is freed by recovery. After: accepted, and offered by recovery.
 * doc/unique-keys.md has the argument.
 *
 * Synchronisation: all may run at the same time, but qb_key_rebuild().
 */
#ifndef QB_SHM_KEY_H
#define QB_SHM_KEY_H

#include "shm/job.h"
#include "shm/segment.h"

/* Who has the key: what a joiner waits for. */
struct qb_key_holder {
	uint32_t slot_idx;
	uint32_t gen;
	uint64_t job_id;        /* 0: it has ended meanwhile, and its slot is somebody else's */
};

/*
 * As qb_job_submit(), for a job with what->key. QB_DUPLICATE, and nothing changed: a job with that key held it at some
 * moment of the call, *holder says which (it may have ended since). QB_FULL also when too many jobs that live share
 * the bucket of the key. QB_EUSAGE without a key.
 */
int qb_job_submit_unique(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *ref,
			 struct qb_key_holder *holder);

/* Who has that key now. QB_OK with *holder, or QB_EMPTY. */
int qb_key_find(const struct qb_seg *seg, const struct qb_key *key, struct qb_key_holder *holder);

/* Does that job still have its key? Once not, never again. */
int qb_key_is_held(const struct qb_seg *seg, const struct qb_key_holder *holder);

/*
 * The index anew, from the job table; nobody else may be at work. QB_OK, or QB_FULL: a bucket has no room for all
 * jobs that live and belong there, and those without an entry can get a second one with their key.
 */
int qb_key_rebuild(const struct qb_seg *seg);

/* Jobs that have a key and no entry, as of one moment; 0 whenever nobody is at work. For tests and inspection. */
uint32_t qb_key_missing(const struct qb_seg *seg);

#endif
