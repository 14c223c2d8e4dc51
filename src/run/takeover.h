/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding the jobs of the dead, with their events; and taking over a segment whose parent is gone.
 */
#ifndef QB_RUN_TAKEOVER_H
#define QB_RUN_TAKEOVER_H

#include "base/err.h"
#include "shm/event.h"
#include "shm/recovery.h"
#include "shm/segment.h"

/* The lock that makes a process the parent of the segment. 0, QB_EBUSY, or -errno. */
int qb_parent_lock(const struct qb_seg *seg);

/*
 * A seat for the process that holds the lock. When all are taken, those of parents that died before they got as far as
 * freeing their predecessors' are freed first; they held nothing. The seat, or QB_ENOSEAT.
 */
int qb_take_parent_seat(struct qb_recovery *r);

/*
 * Let the readers of the parent's ring catch up before it writes what must not be missing. Bounded: half a
 * second once; then records are dropped and counted, until there is room again.
 */
void qb_await_room(struct qb_event_writer *log);

/* Does the process in that seat live? A dead one that nobody has collected does not. */
int qb_seat_lives(const struct qb_seg *seg, uint32_t seat);

/*
 * Recover a seat whose process is confirmed dead, and write what was decided to log. noticed_ns is
 * when its death was noticed; own_seat is the caller's.
 */
void qb_decide_seat(struct qb_recovery *r, struct qb_event_writer *log, uint32_t own_seat, uint32_t seat,
		    uint64_t noticed_ns);

/*
 * Prove that every process of the segment but this one and living drivers and tools is dead (killing
 * what is not), decide their jobs, free their seats. The caller holds the lock.
 * Returns how many were proved dead, or QB_EBUSY when the old parent cannot be killed; another that
 * cannot be is reported and keeps its jobs.
 */
int qb_take_over(struct qb_recovery *r, struct qb_event_writer *log, uint32_t own_seat, struct qb_err *err);

#endif
