/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeping and waking across processes, without a system call when the peer is awake.
 *
 * Lives in: the segment: one futex word per seat, one bit per parked worker.
 * A sleeper announces itself, looks once more, and only then parks; a waker makes the work
 * visible, and only then looks for sleepers.  Between each pair stands a full fence, so one of the
 * two sees the other.
 * Progress: wake-ups are wait-free; parking ends at the latest when its time-out passes, because a
 * waker may be killed between its store and its wake.
 * Crash: a killed sleeper leaves its bit; recovery clears it, and a waker that picks it meanwhile
 * loses one wake-up, which recovery makes good.
 */
#ifndef QB_SHM_WAIT_H
#define QB_SHM_WAIT_H

#include "shm/segment.h"

/* Announce: I am about to sleep. takes_jobs: also be found by qb_wake_worker(). Then look for work once more. */
void qb_park_prepare(const struct qb_seg *seg, uint32_t seat, int takes_jobs);
/* Sleep until woken or timeout_ns passed (or a signal came). Ends the announcement. */
void qb_park(const struct qb_seg *seg, uint32_t seat, uint64_t timeout_ns);
/* There was work after all. A wake-up that was spent on this process meanwhile goes to another. */
void qb_park_cancel(const struct qb_seg *seg, uint32_t seat);

/* Wake the process in that seat if it is parked. Returns 1 when it was. */
int qb_wake_seat(const struct qb_seg *seg, uint32_t seat);
/* Wake one parked worker, if there is one. Returns 1 when there was. */
int qb_wake_worker(const struct qb_seg *seg);
/* Wake every parked process (stop, recovery). */
void qb_wake_all(const struct qb_seg *seg);

/* Let the end come at least that far (enum qb_stop), and wake everybody to see it. */
void qb_raise_stop(const struct qb_seg *seg, uint32_t to);

/* A standby waits for its go word; returns 1 when it was given, 0 at the time-out. */
int qb_wait_go(const struct qb_seg *seg, uint32_t seat, uint64_t timeout_ns);
void qb_give_go(const struct qb_seg *seg, uint32_t seat);

#endif
