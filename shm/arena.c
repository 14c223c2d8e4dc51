/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/arena.h"

#include <string.h>

#include "shm/crc.h"
#include "shm/fault.h"

#define HEAD_BYTES ((uint32_t)sizeof(struct qb_arena_entry_shm))

static uint64_t entry_bytes(uint32_t bytes)
{
	return QB_ROUND_UP((uint64_t)HEAD_BYTES + bytes, 8);
}

static struct qb_arena_entry_shm *entry_at(const struct qb_seg *seg, struct qb_arena_shm *arena, uint64_t pos)
{
	return (struct qb_arena_entry_shm *)((uint8_t *)(arena + 1) + (pos & (seg->cfg.arena_bytes - 1)));
}

/* Same slot, generation and attempt: the token of an entry against the job's present word. */
static int same_attempt(uint64_t a, uint64_t b)
{
	return a >> 22 == b >> 22;      /* gen and attempt */
}

static int needed(const struct qb_seg *seg, const struct qb_arena_entry_shm *e)
{
	struct qb_job_shm *job = qb_seg_job(seg, e->slot_idx);

	if (!job)
		return 0;
	/* [arena.R1] Sees: the job's attempt; too old an answer is "needed". Pairs with: [job.W7]. */
	uint64_t w = qb_load_acquire64(&job->word);
	uint32_t state = qb_word_state(w);

	return same_attempt(w, e->token) &&
	       (state == QB_JOB_STARTED || state == QB_JOB_DONE || state == QB_JOB_FAILED);
}

/* Move tail over what nobody needs any more. Only the owner of the seat calls this. */
static uint64_t reclaim(const struct qb_seg *seg, struct qb_arena_shm *arena, uint64_t head)
{
	uint64_t tail = qb_load_relaxed64(&arena->tail);

	while (tail < head) {
		uint64_t left = seg->cfg.arena_bytes - (tail & (seg->cfg.arena_bytes - 1));

		/* Too little for a head: the writer skipped to the start. */
		if (left < HEAD_BYTES) {
			tail += left;
			continue;
		}
		const struct qb_arena_entry_shm *e = entry_at(seg, arena, tail);

		if (e->slot_idx == QB_NO_BLOCK) {
			tail += left;
			continue;
		}
		if (e->bytes > QB_RESULT_BYTES_MAX || needed(seg, e))
			break;
		tail += entry_bytes(e->bytes);
	}
	/* Relaxed: only the owner of the seat reads it back. */
	qb_store_relaxed64(&arena->tail, tail);
	return tail;
}

int qb_arena_write(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t token, const void *data,
		   uint32_t bytes, uint64_t *pos)
{
	struct qb_arena_shm *arena = qb_seg_arena(seg, seat);
	uint64_t size = seg->cfg.arena_bytes, need = entry_bytes(bytes);

	*pos = 0;
	if (bytes > QB_RESULT_BYTES_MAX || need > size / 4)
		return QB_ETOOBIG;
	if (bytes == 0)
		return QB_OK;
	uint64_t head = qb_load_relaxed64(&arena->head);
	uint64_t left = size - (head & (size - 1));
	uint64_t skip = left < need ? left : 0;
	uint64_t tail = qb_load_relaxed64(&arena->tail);

	/* Nobody but this seat writes them: a stray store; reclaiming would go on for ever. */
	if (head - tail > size || (head & 7) || (tail & 7))
		return QB_ECORRUPT;
	if (head + skip + need - tail > size) {
		tail = reclaim(seg, arena, head);
		if (head + skip + need - tail > size)
			return QB_FULL;
	}
	if (skip) {
		if (left >= HEAD_BYTES)
			entry_at(seg, arena, head)->slot_idx = QB_NO_BLOCK;
		head += skip;
	}
	struct qb_arena_entry_shm *e = entry_at(seg, arena, head);

	e->token = token;
	e->slot_idx = slot_idx;
	e->bytes = bytes;
	e->crc = qb_crc32c(0, data, bytes);
	e->pad = 0;
	memcpy(e + 1, data, bytes);
	QB_FAULT("arena.write.after-copy");
	*pos = head;
	/*
	 * [arena.W1] Publishes: a whole entry, to the next owner of the seat; the syncer learns of it
	 * through the job word. Pairs with: [job.W5].
	 * Killed before this: the next owner overwrites it.
	 */
	qb_store_release64(&arena->head, head + need);
	QB_FAULT("arena.write.after-head");
	return QB_OK;
}

const uint8_t *qb_arena_read(const struct qb_seg *seg, const struct qb_job_shm *job, uint32_t slot_idx, uint64_t word,
			     uint32_t *bytes)
{
	struct qb_arena_shm *arena = qb_seg_arena(seg, qb_word_seat(word));
	uint64_t pos = job->result_pos, size = seg->cfg.arena_bytes;
	uint32_t n = job->result_bytes;

	*bytes = 0;
	if (!arena || n == 0 || n > QB_RESULT_BYTES_MAX || (pos & 7) ||
	    size - (pos & (size - 1)) < entry_bytes(n))
		return NULL;
	const struct qb_arena_entry_shm *e = entry_at(seg, arena, pos);

	if (!same_attempt(e->token, word) || e->slot_idx != slot_idx || e->bytes != n ||
	    e->crc != job->result_crc || qb_crc32c(0, e + 1, n) != e->crc)
		return NULL;
	*bytes = n;
	return (const uint8_t *)(e + 1);
}
