/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the end of a job that has a key, from any process: those who joined it instead of submitting their own.
 *
 * Lives in: a futex word in the job slot: releases:31 | somebody waits:1.  Nothing of who waits: any number of them, and
 * when one dies nobody has to be told.
 * Writers: who waits sets the bit; whoever ends a job with a key counts one on, clears the bit, and wakes all.
 * Progress: setting and releasing are lock-free, without a system call when nobody waits.
 * Crash: an ender that is killed between the end and the wake-up is made good by the recovery of its seat, which releases
 * the slot of its last outcome.  A killed waiter leaves the bit: one wake-up too many, later.  What no recovery can see
 * (doc/unique-keys.md) costs the rest of QB_JOIN_LOOK_NS, after which a waiter looks by itself.
 */
#ifndef QB_SHM_JOIN_H
#define QB_SHM_JOIN_H

#include "shm/segment.h"

/* The longest sleep without a look at the job. */
#define QB_JOIN_LOOK_NS 100000000ull

enum qb_join_end {
	QB_JOIN_NOT_YET,
	QB_JOIN_ENDED,
	QB_JOIN_FOUND,          /* ended, and it was its own look after QB_JOIN_LOOK_NS that found it: no wake-up came */
};

/*
 * Until that job no longer has its key, or timeout_ns. Acquire: what its worker did before the end is visible.
 * May sleep, never holds anybody up.
 */
enum qb_join_end qb_join_wait(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen, uint64_t timeout_ns);

/* A job in that slot has given up its key: wake those who wait. Called behind the compare-and-swap that ends it. */
void qb_join_release(const struct qb_seg *seg, uint32_t slot_idx);
/* Recovery: whoever ended a job in that slot may have been killed before it had woken all. */
void qb_join_repair(const struct qb_seg *seg, uint32_t slot_idx);

#endif
