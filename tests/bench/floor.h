/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The baselines: the least that code can do which passes the same bytes, without what makes the
 * engine survive a kill.
 *
 * Lives in: memory shared by fork (bench_shared()).  Nothing here is repaired after a kill.
 */
#ifndef QB_BENCH_FLOOR_H
#define QB_BENCH_FLOOR_H

#include <string.h>

#include "shm/align.h"
#include "shm/atomic.h"

#define FLOOR_COUNT 4096u

/*
 * F: one producer, one consumer, the sequence word in the slot, so that the consumer pulls one
 * cache line for an item and no index.  56 bytes of payload with the word make 64.
 */
struct floor_slot {
	qb_au64 seq;
	uint64_t w[7];
} QB_ALIGNED(64);

struct floor_ring {
	uint64_t tail QB_ALIGNED(128);  /* the producer's */
	uint64_t head QB_ALIGNED(128);  /* the consumer's */
	struct floor_slot slot[FLOOR_COUNT] QB_ALIGNED(128);
};

static inline void floor_ring_init(struct floor_ring *r)
{
	r->tail = r->head = 0;
	for (uint64_t i = 0; i < FLOOR_COUNT; i++)
		qb_store_relaxed64(&r->slot[i].seq, i);
}

/* The record is built in place, as the engine does it. 1, or 0 when full. */
static inline int floor_ring_put(struct floor_ring *r, uint64_t v)
{
	struct floor_slot *s = &r->slot[r->tail & (FLOOR_COUNT - 1)];

	if (qb_load_acquire64(&s->seq) != r->tail)
		return 0;
	for (int i = 0; i < 7; i++)
		s->w[i] = v + (uint64_t)i;
	r->tail++;
	qb_store_release64(&s->seq, r->tail);
	return 1;
}

/* Copies the record out. 1, or 0 when empty. */
static inline int floor_ring_get(struct floor_ring *r, uint64_t out[7])
{
	struct floor_slot *s = &r->slot[r->head & (FLOOR_COUNT - 1)];

	if (qb_load_acquire64(&s->seq) != r->head + 1)
		return 0;
	memcpy(out, s->w, sizeof(s->w));
	qb_store_release64(&s->seq, r->head + FLOOR_COUNT);
	r->head++;
	return 1;
}

/* F with a payload: the same, and 256 bytes copied in and out behind the record. */
#define FLOOR_PAYLOAD_BYTES 256

struct floor_wide_slot {
	qb_au64 seq;
	uint64_t w[7];
	uint8_t payload[FLOOR_PAYLOAD_BYTES];
} QB_ALIGNED(64);

struct floor_wide_ring {
	uint64_t tail QB_ALIGNED(128);
	uint64_t head QB_ALIGNED(128);
	struct floor_wide_slot slot[FLOOR_COUNT] QB_ALIGNED(128);
};

static inline void floor_wide_init(struct floor_wide_ring *r)
{
	r->tail = r->head = 0;
	for (uint64_t i = 0; i < FLOOR_COUNT; i++)
		qb_store_relaxed64(&r->slot[i].seq, i);
}

static inline int floor_wide_put(struct floor_wide_ring *r, uint64_t v, const uint8_t *payload)
{
	struct floor_wide_slot *s = &r->slot[r->tail & (FLOOR_COUNT - 1)];

	if (qb_load_acquire64(&s->seq) != r->tail)
		return 0;
	for (int i = 0; i < 7; i++)
		s->w[i] = v + (uint64_t)i;
	memcpy(s->payload, payload, FLOOR_PAYLOAD_BYTES);
	r->tail++;
	qb_store_release64(&s->seq, r->tail);
	return 1;
}

static inline int floor_wide_get(struct floor_wide_ring *r, uint64_t out[7], uint8_t *payload)
{
	struct floor_wide_slot *s = &r->slot[r->head & (FLOOR_COUNT - 1)];

	if (qb_load_acquire64(&s->seq) != r->head + 1)
		return 0;
	memcpy(out, s->w, sizeof(s->w));
	memcpy(payload, s->payload, FLOOR_PAYLOAD_BYTES);
	qb_store_release64(&s->seq, r->head + FLOOR_COUNT);
	r->head++;
	return 1;
}

/*
 * Owned slots: many producers, many consumers, compare-and-swap on the slot word {ticket, state,
 * owner}; head and tail are hints.  The least that records who has an item, so that a supervisor
 * could decide after a kill.
 */
enum floor_owned_state { FLOOR_FREE, FLOOR_FILLING, FLOOR_READY, FLOOR_TAKEN };

static inline uint64_t floor_owned_word(uint64_t ticket, uint64_t state, uint64_t owner)
{
	return ticket << 24 | state << 22 | owner;
}

struct floor_owned_slot {
	qb_au64 word;
	uint64_t w[7];
} QB_ALIGNED(128);

struct floor_owned_ring {
	qb_au64 tail QB_ALIGNED(128);
	qb_au64 head QB_ALIGNED(128);
	struct floor_owned_slot slot[FLOOR_COUNT] QB_ALIGNED(128);
};

static inline void floor_owned_init(struct floor_owned_ring *r)
{
	qb_store_relaxed64(&r->tail, 0);
	qb_store_relaxed64(&r->head, 0);
	for (uint64_t i = 0; i < FLOOR_COUNT; i++)
		qb_store_relaxed64(&r->slot[i].word, floor_owned_word(i, FLOOR_FREE, 0));
}

static inline int floor_owned_put(struct floor_owned_ring *r, uint64_t owner, uint64_t v)
{
	for (uint64_t t = qb_load_relaxed64(&r->tail), end = t + FLOOR_COUNT; t < end; t++) {
		struct floor_owned_slot *s = &r->slot[t & (FLOOR_COUNT - 1)];
		uint64_t w = qb_load_acquire64(&s->word);

		if (w >> 24 < t)
			return 0;
		if (w != floor_owned_word(t, FLOOR_FREE, 0) ||
		    !qb_cas_acq_rel64(&s->word, &w, floor_owned_word(t, FLOOR_FILLING, owner)))
			continue;
		for (int i = 0; i < 7; i++)
			s->w[i] = v + (uint64_t)i;
		qb_store_release64(&s->word, floor_owned_word(t, FLOOR_READY, owner));
		if (qb_load_relaxed64(&r->tail) <= t)
			qb_store_relaxed64(&r->tail, t + 1);
		return 1;
	}
	return 0;
}

static inline int floor_owned_get(struct floor_owned_ring *r, uint64_t owner, uint64_t out[7])
{
	for (uint64_t h = qb_load_relaxed64(&r->head), end = h + FLOOR_COUNT; h < end; h++) {
		struct floor_owned_slot *s = &r->slot[h & (FLOOR_COUNT - 1)];
		uint64_t w = qb_load_acquire64(&s->word);

		if (w >> 24 < h)
			return 0;
		if (w >> 24 > h || (w >> 22 & 3) == FLOOR_TAKEN)
			continue;       /* another has it; the hint is old */
		/* One that is being filled is waited for: to pass it by would lose it. */
		if ((w >> 22 & 3) != FLOOR_READY)
			return 0;
		if (!qb_cas_acq_rel64(&s->word, &w, floor_owned_word(h, FLOOR_TAKEN, owner)))
			continue;
		memcpy(out, s->w, sizeof(s->w));
		qb_store_release64(&s->word, floor_owned_word(h + FLOOR_COUNT, FLOOR_FREE, 0));
		if (qb_load_relaxed64(&r->head) <= h)
			qb_store_relaxed64(&r->head, h + 1);
		return 1;
	}
	return 0;
}

#endif
