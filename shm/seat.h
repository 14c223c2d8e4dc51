/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seats: the places of attached processes.
 *
 * Lives in: the segment.  A job word names a seat, not a pid; the seat says who sits there.
 * A seat is refilled only after the recovery of its last process has ended: that is what makes a
 * seat number in a job word enough (free -> taken -> recovering -> free).
 * Writers: whoever takes a seat, by compare-and-swap; then its owner; after its confirmed death the parent.
 * Progress: wait-free (one pass over the seats).
 * Who sits there is one word of {incarnation, pid}, written once per incarnation: by whoever sits down (or its
 * parent), or by a recoverer that closes it. Of a child that comes late and its recoverer exactly one wins: the child
 * is on record and its death is waited for, or it may not sit down. A name of a later incarnation is never overwritten.
 * Crash: a taken seat without a name belongs to a process that was about to be forked, or to take a name.
 */
#ifndef QB_SHM_SEAT_H
#define QB_SHM_SEAT_H

#include "shm/segment.h"

/* Take a free seat for a process of that role, to be forked or this one. Seat number, or QB_ENOSEAT. */
int qb_seat_take(const struct qb_seg *seg, uint32_t role);

/*
 * Called by the process that will sit there, before it touches anything else in the segment: puts its name on the
 * seat as it was taken. 0, or QB_EFENCED when a successor of its parent has begun to recover the seat, or somebody
 * else sits there by now: then it must leave without touching anything.
 */
int qb_seat_sit(const struct qb_seg *seg, uint32_t seat, uint32_t incarnation, uint32_t pid, uint64_t start_ticks);

/*
 * The parent, which has taken the seat, writes the same as soon as fork() returned, so that a child killed early has a
 * name. It must be one that nobody succeeds as long as it lives. 0 or QB_EFENCED.
 */
int qb_seat_name(const struct qb_seg *seg, uint32_t seat, uint32_t pid, uint64_t start_ticks);

/*
 * Who sits there: pid, and its start time when start_ticks is not NULL. 0: nobody is on record. The two belong
 * together and to the present incarnation; the process may be dead.
 */
uint32_t qb_seat_who(const struct qb_seg *seg, uint32_t seat, uint64_t *start_ticks);

/* Whoever took this seat and has no name yet gets none. Afterwards qb_seat_who() is final for this incarnation. */
void qb_seat_close(const struct qb_seg *seg, uint32_t seat);

/* Give the taken seat another role (standby -> worker). 0 or QB_EFENCED. */
int qb_seat_set_role(const struct qb_seg *seg, uint32_t seat, uint32_t role);

/*
 * Taken (or already recovering) -> recovering, and closed. 0, or QB_EFENCED when it is free or does not exist.
 * Afterwards qb_seat_who() is final.
 */
int qb_seat_begin_recovery(const struct qb_seg *seg, uint32_t seat);

/* Recovering (or taken, by its own process that holds nothing) -> free. */
void qb_seat_free(const struct qb_seg *seg, uint32_t seat);

/* Single-writer counter of a seat. */
static inline void qb_count(const struct qb_seg *seg, uint32_t seat, enum qb_seat_counter which, uint64_t n)
{
	qb_au64 *c = &seg->seats[seat].counter[which];

	/* Relaxed: one writer, and a reader takes any recent value. */
	qb_store_relaxed64(c, qb_load_relaxed64(c) + n);
}

/*
 * That slot is about to be this seat's. Relaxed: a hint for its recovery, ordered by the compare-and-swap that
 * follows; what is not found here is found in the table.
 */
static inline void qb_seat_recent(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx)
{
	qb_store_relaxed32(&seg->seats[seat].recent[slot_idx % QB_SEAT_RECENT], slot_idx + 1);
}

/* Sum of a counter over all seats. */
uint64_t qb_count_sum(const struct qb_seg *seg, enum qb_seat_counter which);

#endif
