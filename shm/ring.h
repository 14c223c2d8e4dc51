/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inbox rings: the order in which ready jobs are offered. A hint, never the truth.
 *
 * Lives in: the segment; two of them, urgent (put back by recovery, retries) before normal.
 * Writers and readers: anybody with a seat, any number at once.
 * Progress: lock-free. A slot word carries its lap, so whoever finds a slot or an index left
 * behind by a dead process finishes it: nobody waits for another to complete a step.
 * Crash: a kill leaves at most a filled slot with a late tail, an emptied slot with a late head,
 * an entry for a job that is no longer ready (dropped when it is met), or a ready job without an
 * entry (recovery pushes it).  A ring has at least twice as many slots as there are jobs, so that
 * a push does not find it full.
 *
 * Synchronisation: every pair of operations may run at the same time.
 */
#ifndef QB_SHM_RING_H
#define QB_SHM_RING_H

#include "shm/segment.h"

/* Slot word: lap:24 | full:1 | gen:19 | job:20. */
static inline uint64_t qb_slot_word(uint64_t lap, unsigned full, uint32_t gen, uint32_t job_idx)
{
	return (lap & 0xffffff) << 40 | (uint64_t)(full & 1) << 39 | (uint64_t)(gen & 0x7ffff) << 20 |
	       (job_idx & 0xfffff);
}
static inline uint32_t qb_slot_lap(uint64_t s) { return (uint32_t)(s >> 40); }
static inline unsigned qb_slot_full(uint64_t s) { return (unsigned)(s >> 39 & 1); }
static inline uint32_t qb_slot_gen(uint64_t s) { return (uint32_t)(s >> 20) & 0x7ffff; }
static inline uint32_t qb_slot_job(uint64_t s) { return (uint32_t)s & 0xfffff; }

struct qb_ring_entry {
	uint64_t pos;           /* position in the ring */
	uint64_t slot;          /* slot word that was seen there */
};

/* QB_OK; QB_FULL; QB_ECORRUPT when the ring makes no sense. */
int qb_ring_push(const struct qb_seg *seg, uint32_t ring_idx, uint32_t job_idx, uint32_t gen);

/* The oldest entry, left in place. QB_OK, QB_EMPTY, or QB_ECORRUPT. */
int qb_ring_peek(const struct qb_seg *seg, uint32_t ring_idx, struct qb_ring_entry *entry);

/* Take that entry out, whoever of several callers does it first. */
void qb_ring_drop(const struct qb_seg *seg, uint32_t ring_idx, const struct qb_ring_entry *entry);

/* Entries between head and tail, stale ones included; a snapshot. */
uint64_t qb_ring_depth(const struct qb_seg *seg, uint32_t ring_idx);

/*
 * Sets a bit in `seen` (job_count bits) for each entry whose generation is its job's present one.
 * Concurrent use is allowed; the answer is then a hint like everything here.
 */
void qb_ring_mark(const struct qb_seg *seg, uint32_t ring_idx, uint64_t *seen);

#endif
