/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hint maps: one bit per slot, so that nobody has to scan a table.
 *
 * Lives in: the segment (free, dirty and waiting jobs; free blocks).
 * A bit says "look here"; the word of the slot says what is true.  Setting a bit twice is setting
 * it once, so recovery may set whatever it finds missing, any number of times: that is why these
 * are maps and not queues.  Rule: change the word first, then the bit; after clearing a bit look at
 * the word once more.
 * Progress: wait-free.
 * Crash: a kill between word and bit leaves a missing or a stale bit; recovery sets the missing
 * ones, whoever meets a stale one clears it.
 */
#ifndef QB_SHM_HINT_H
#define QB_SHM_HINT_H

#include "shm/atomic.h"

/*
 * [hint.W1] Publishes: the word that was changed before, to whoever sees the bit.
 * Pairs with: [hint.R1]. seq_cst, because the reader clears the bit and then loads the word
 * while the writer stored the word and then sets the bit: one of them must see the other.
 * Killed before this: recovery sets the bit.
 */
static inline void qb_hint_set(qb_au64 *map, uint32_t idx)
{
	qb_or_seq_cst64(&map[idx / 64], 1ull << (idx % 64));
}

/* [hint.R1] Returns whether the bit was set. Pairs with: [hint.W1]. */
static inline int qb_hint_clear(qb_au64 *map, uint32_t idx)
{
	uint64_t bit = 1ull << (idx % 64);

	return (qb_and_seq_cst64(&map[idx / 64], ~bit) & bit) != 0;
}

/* Relaxed: a hint may be old. */
static inline int qb_hint_test(const qb_au64 *map, uint32_t idx)
{
	return (qb_load_relaxed64(&map[idx / 64]) >> (idx % 64) & 1) != 0;
}

#define QB_HINT_NONE 0xffffffffu

/* First set bit at or after from and below count, or QB_HINT_NONE. */
static inline uint32_t qb_hint_next(const qb_au64 *map, uint32_t from, uint32_t count)
{
	while (from < count) {
		uint64_t bits = qb_load_relaxed64(&map[from / 64]) >> (from % 64);

		if (bits) {
			from += (uint32_t)__builtin_ctzll(bits);
			return from < count ? from : QB_HINT_NONE;
		}
		from = (from / 64 + 1) * 64;
	}
	return QB_HINT_NONE;
}

/*
 * A set bit near the lowest one, or QB_HINT_NONE when there is none at all.  `from` spares the scan of
 * a long full beginning.  It is a guess: whoever finds nothing behind it looks before it, too.
 */
static inline uint32_t qb_hint_find(const qb_au64 *map, qb_au32 *from, uint32_t count)
{
	uint32_t start = qb_load_relaxed32(from), idx = qb_hint_next(map, start, count);

	if (idx == QB_HINT_NONE && start > 0)
		idx = qb_hint_next(map, 0, start < count ? start : count);
	/* Relaxed: any value is allowed. */
	if (idx != QB_HINT_NONE && idx != start)
		qb_store_relaxed32(from, idx);
	return idx;
}

/* Set the bit of something that is free again, and let the next search begin there if it is lower. */
static inline void qb_hint_give(qb_au64 *map, qb_au32 *from, uint32_t idx)
{
	qb_hint_set(map, idx);
	/* Relaxed, and not a compare-and-swap: a guess that gets lost costs a slot that is found later. */
	if (idx < qb_load_relaxed32(from))
		qb_store_relaxed32(from, idx);
}

/* Raise a high-water mark to at least v. */
static inline void qb_raise32(qb_au32 *mark, uint32_t v)
{
	uint32_t old = qb_load_relaxed32(mark);

	/* [hint.W2] Publishes: nothing; the mark only grows, and is raised before the slot is used.
	 * Pairs with: every scan below the mark. Killed before this: the slot was not used yet. */
	while (old < v && !qb_cas_acq_rel32(mark, &old, v))
		;
}

/* Lower a deadline to at most v; 1 when it was lowered. */
static inline int qb_lower64(qb_au64 *mark, uint64_t v)
{
	uint64_t old = qb_load_relaxed64(mark);

	while (old > v) {
		/* [hint.W3] Publishes: the wait bit set before. Pairs with: [job.R4]. */
		if (qb_cas_acq_rel64(mark, &old, v))
			return 1;
	}
	return 0;
}

#endif
