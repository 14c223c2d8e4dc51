/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/ring.h"

#include "shm/fault.h"

/* Only a damaged segment needs more tries than this: every retry means that somebody else moved on. */
#define TRIES_MAX (1u << 22)

static inline uint64_t empty_word(uint64_t pos, uint32_t count)
{
	return qb_slot_word(pos / count, 0, 0, 0);
}

/* [ring.W4] Publishes: nothing, head is a hint. Pairs with: [ring.R3]. Killed before: somebody else advances it. */
static inline void advance(qb_au64 *index, uint64_t from)
{
	qb_cas_acq_rel64(index, &from, from + 1);
}

int qb_ring_push(const struct qb_seg *seg, uint32_t ring_idx, uint32_t job_idx, uint32_t gen)
{
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	qb_au64 *slots = qb_ring_slots(ring);
	uint32_t count = seg->cfg.ring_count;

	for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
		/* [ring.R1] Sees: the slots filled before tail moved. Pairs with: [ring.W2]. */
		uint64_t tail = qb_load_acquire64(&ring->tail);
		qb_au64 *slot = &slots[tail & (count - 1)];
		uint64_t seen = qb_load_acquire64(slot);
		uint64_t lap = tail / count & 0xffffff;

		if (qb_load_acquire64(&ring->tail) != tail)
			continue;
		if (seen == empty_word(tail, count)) {
			/*
			 * [ring.W1] Publishes: the job's READY word, stored before, to [ring.R2].
			 * Pairs with: [ring.R2].
			 * Killed before this: the job is ready and has no entry; recovery pushes it.
			 */
			if (!qb_cas_acq_rel64(slot, &seen, qb_slot_word(lap, 1, gen, job_idx)))
				continue;
			QB_FAULT("ring.push.after-slot-cas");
			/*
			 * [ring.W2] Publishes: the filled slot. Pairs with: [ring.R1].
			 * Killed before this: the next pusher finds the slot full and advances tail.
			 */
			advance(&ring->tail, tail);
			QB_FAULT("ring.push.after-tail-cas");
			return QB_OK;
		}
		if (qb_slot_lap(seen) == ((lap + 1) & 0xffffff) ||
		    (qb_slot_lap(seen) == lap && qb_slot_full(seen))) {
			advance(&ring->tail, tail);     /* help one that died or is slow */
			continue;
		}
		/* The previous lap's entry is still there: full, or a head that nobody advanced. */
		uint64_t head = qb_load_acquire64(&ring->head);
		uint64_t at_head = qb_load_acquire64(&slots[head & (count - 1)]);

		if (tail - head >= count && at_head != empty_word(head + count, count))
			return QB_FULL;
		if (at_head == empty_word(head + count, count))
			advance(&ring->head, head);
	}
	return QB_ECORRUPT;
}

int qb_ring_peek(const struct qb_seg *seg, uint32_t ring_idx, struct qb_ring_entry *entry)
{
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	qb_au64 *slots = qb_ring_slots(ring);
	uint32_t count = seg->cfg.ring_count;

	for (uint32_t tries = 0; tries < TRIES_MAX; tries++) {
		/* [ring.R3] Sees: slots emptied before head moved. Pairs with: [ring.W4]. */
		uint64_t head = qb_load_acquire64(&ring->head);
		/* [ring.R2] Sees: the job that the pusher made ready. Pairs with: [ring.W1]. */
		uint64_t seen = qb_load_acquire64(&slots[head & (count - 1)]);

		if (qb_load_acquire64(&ring->head) != head)
			continue;
		if (seen == empty_word(head, count))
			return QB_EMPTY;
		if (qb_slot_lap(seen) == (head / count & 0xffffff)) {
			entry->pos = head;
			entry->slot = seen;
			return QB_OK;
		}
		advance(&ring->head, head);     /* emptied by one that died before it moved head */
	}
	return QB_ECORRUPT;
}

void qb_ring_drop(const struct qb_seg *seg, uint32_t ring_idx, const struct qb_ring_entry *entry)
{
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	uint32_t count = seg->cfg.ring_count;
	uint64_t seen = entry->slot;

	/*
	 * [ring.W3] Publishes: the slot for the next lap, to pushers.
	 * Pairs with: [ring.R1].
	 * Killed before this: the entry names a job that is no longer ready; the next taker drops it.
	 */
	qb_cas_acq_rel64(&qb_ring_slots(ring)[entry->pos & (count - 1)], &seen,
			 empty_word(entry->pos + count, count));
	QB_FAULT("ring.drop.after-slot-cas");
	advance(&ring->head, entry->pos);
	QB_FAULT("ring.drop.after-head-cas");
}

uint64_t qb_ring_depth(const struct qb_seg *seg, uint32_t ring_idx)
{
	const struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	/* Relaxed: two hints, read one after the other. */
	uint64_t head = qb_load_relaxed64(&ring->head);
	uint64_t tail = qb_load_relaxed64(&ring->tail);

	return tail > head ? tail - head : 0;
}

void qb_ring_mark(const struct qb_seg *seg, uint32_t ring_idx, uint64_t *seen)
{
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	qb_au64 *slots = qb_ring_slots(ring);
	uint32_t count = seg->cfg.ring_count;
	/* [ring.R4] Sees: entries of pushers that died before. Pairs with: [ring.W1]; the word after it: [job.W2]. */
	uint64_t head = qb_load_acquire64(&ring->head);
	/* One beyond tail: a pusher may have died between its slot and tail. */
	uint64_t n = qb_ring_depth(seg, ring_idx) + 1;

	for (uint64_t i = 0; i < n && i < count; i++) {
		uint64_t s = qb_load_acquire64(&slots[(head + i) & (count - 1)]);
		struct qb_job_shm *job = qb_seg_job(seg, qb_slot_job(s));

		if (!qb_slot_full(s) || !job)
			continue;
		if ((qb_word_gen(qb_load_acquire64(&job->word)) & 0x7ffff) == qb_slot_gen(s))
			seen[qb_slot_job(s) / 64] |= 1ull << (qb_slot_job(s) % 64);
	}
}
