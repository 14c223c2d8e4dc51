/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Event rings: the flight recorder. One ring per seat, one writer each, fixed 64-byte records.
 *
 * Lives in: the segment.  The sequence word inside a record publishes it: one release store.
 * Writers: the owner of the seat.  Readers: up to QB_READER_COUNT, each with a position of its own
 * in the ring; a record is overwritten only when every reader of the configuration has passed it.
 * Progress: append is wait-free; when a reader is a whole ring behind, the writer either waits
 * (back-pressure) or drops the record and counts it, by configuration, never silently.
 * Crash: a kill inside an append leaves a record with sequence 0, which nobody reads and the
 * next owner of the seat overwrites.  A kill between a step and its record leaves a step
 * without record; recovery says so from the job word.  Records already read stay in the ring
 * until they are overwritten, for the post-mortem.
 */
#ifndef QB_SHM_EVENT_H
#define QB_SHM_EVENT_H

#include "shm/segment.h"

/* Process-local. */
struct qb_event_writer {
	struct qb_event_ring_shm *ring;
	struct qb_event_shm *records;
	uint64_t tail;          /* next position */
	uint64_t limit;         /* tail may go up to here without looking at the readers again */
	uint64_t mask;
	uint32_t readers;       /* who holds records back */
	uint32_t overflow;      /* enum qb_overflow */
	uint32_t seat;
	const struct qb_seg *seg;
};

/* Continue behind the last whole record of that seat. The caller sits there. */
void qb_event_open(struct qb_event_writer *w, const struct qb_seg *seg, uint32_t seat, uint32_t overflow);

/* Records that can be written now without waiting. */
uint64_t qb_event_room(struct qb_event_writer *w);

/* The slow half: looks at the readers, waits for them if so configured. 1 when there is room. */
int qb_event_room_slow(struct qb_event_writer *w);

/*
 * Reserve the next record: fill it in place, then commit. NULL: it was dropped and counted.
 * Nothing is visible before the commit. Stamps the record.
 */
static inline struct qb_event_shm *qb_event_begin(struct qb_event_writer *w)
{
	if (__builtin_expect(w->tail >= w->limit, 0) && !qb_event_room_slow(w))
		return NULL;
	struct qb_event_shm *e = &w->records[w->tail & w->mask];

	/*
	 * Relaxed, with a compiler barrier: no live reader looks at this record before the commit; for
	 * the reader after a kill program order is enough, because a killed process leaves a prefix of it.
	 */
	qb_store_relaxed64(&e->seq, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	e->raw = qb_stamp();
	e->seat = (uint16_t)w->seat;
	return e;
}

/* The same, with all about that job of the segment as `word` has it; arg0 and arg1 are 0, for the caller to change. */
struct qb_event_shm *qb_event_begin_job(struct qb_event_writer *w, uint32_t slot_idx, uint64_t word, uint16_t type);

static inline void qb_event_commit(struct qb_event_writer *w, struct qb_event_shm *e)
{
	w->tail++;
	/*
	 * [event.W1] Publishes: the record. Pairs with: [event.R1].
	 * Killed before this: sequence 0, as if it had not been begun.
	 */
	qb_store_release64(&e->seq, w->tail);
	/* Relaxed: a hint for the next owner of the seat and for displays. */
	qb_store_relaxed64(&w->ring->tail, w->tail);
}

/* Process-local; one per ring and reader. */
struct qb_event_source {
	struct qb_event_ring_shm *ring;
	const struct qb_event_shm *records;
	uint64_t next;
	uint64_t mask;
	uint32_t reader;        /* enum qb_event_reader, or QB_READER_COUNT to read without holding back */
};

/*
 * A reader of the configuration goes on where it was. With QB_READER_COUNT it starts at the oldest
 * record and keeps nothing from being overwritten: for rings whose writer is dead, and for copies.
 */

void qb_event_source_open(struct qb_event_source *s, const struct qb_seg *seg, uint32_t seat, uint32_t reader);

/*
 * The records from s->next on that are whole and lie in one piece: sets *first, returns how many (0 = none now).
 * They stay valid until qb_event_consumed().
 */
uint32_t qb_event_peek(struct qb_event_source *s, const struct qb_event_shm **first, uint32_t max);
/* The first n of them may be overwritten now. */
void qb_event_consumed(struct qb_event_source *s, uint32_t n);

/* Is there, among the last records of that seat, one of this type for (job_id, attempt)? Used after its confirmed death. */
int qb_event_logged(const struct qb_seg *seg, uint32_t seat, uint16_t type, uint64_t job_id, uint32_t attempt);

#endif
