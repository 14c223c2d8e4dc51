/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of unique keys share: jobs with keys, an index that is crowded, what must not be left behind. */
#ifndef QB_TESTS_CRASH_KEYS_H
#define QB_TESTS_CRASH_KEYS_H

#include <string.h>

#include "shm/block.h"
#include "shm/job.h"
#include "tests/lib/shm-fixture.h"

/* The first three share a bucket. */
#define KEYS 4u
#define KEYS_PAYLOAD 150u
#define KEYS_BUCKET 5u
#define KEYS_CROWD 40u                  /* first slot of the crowd */

static inline struct qb_key keys_key(unsigned key)
{
	return (struct qb_key){ .hi = key, .lo = key == KEYS ? KEYS_BUCKET + 1 : KEYS_BUCKET };
}

static inline struct qb_submit keys_job(uint64_t id, unsigned key, uint8_t payload[KEYS_PAYLOAD])
{
	struct qb_submit what = qb_test_submit(id);

	memset(payload, (int)(id & 0xff), KEYS_PAYLOAD);
	what.payload = payload;
	what.payload_bytes = KEYS_PAYLOAD;
	what.effect_class = QB_EFFECT_IDEMPOTENT;
	what.key = keys_key(key);
	return what;
}

static inline int keys_payload_is_right(const struct qb_seg *seg, const struct qb_held *held, uint64_t id)
{
	uint8_t payload[KEYS_PAYLOAD] = { 0 };

	return qb_job_payload(seg, held->slot_idx, qb_word_gen(held->word), payload, sizeof(payload)) ==
		       (int)KEYS_PAYLOAD && payload[0] == (uint8_t)id && payload[KEYS_PAYLOAD - 1] == (uint8_t)id;
}

/* All cells of the bucket in use: by jobs that are over, or (but one) by jobs that live and that nobody runs. */
static inline void keys_crowd(const struct qb_seg *seg, int live)
{
	struct qb_key_bucket_shm *bucket = &seg->keys[KEYS_BUCKET];

	for (uint32_t i = 0; i < QB_KEY_CELLS - (live ? 1 : 0); i++) {
		uint32_t slot = KEYS_CROWD + i;

		bucket->cell[i].v = 1ull << 63 | 7ull << 20 | slot;
		seg->jobs[slot].word.v = qb_word(8, 0, 0, 0, QB_JOB_FREE);
		if (!live)
			continue;
		qb_test_ready(seg, slot, 7, 1000 + i);
		seg->jobs[slot].word.v = qb_word(7, 1, 0, 0, QB_JOB_AMBIGUOUS);
		seg->jobs[slot].effect_class = QB_EFFECT_OPAQUE;
		seg->jobs[slot].key_hi.v = 100 + i;
		seg->jobs[slot].key_lo.v = KEYS_BUCKET;
	}
}

/* Cells of the bucket that are not in use by a job of the crowd. */
static inline unsigned keys_room(const struct qb_seg *seg)
{
	unsigned room = QB_KEY_CELLS;

	for (uint32_t i = 0; i < QB_KEY_CELLS; i++)
		room -= qb_word_state(seg->jobs[KEYS_CROWD + i].word.v) == QB_JOB_AMBIGUOUS;
	return room;
}

/* Slots and blocks that are not free and not the crowd's. */
static inline int keys_leaked(const struct qb_seg *seg)
{
	for (uint32_t i = 0; i < seg->cfg.job_count; i++) {
		uint32_t state = qb_word_state(seg->jobs[i].word.v);

		if (state != QB_JOB_AMBIGUOUS && (state != QB_JOB_FREE || !qb_test_bit(seg->free_map, i)))
			return 1;
	}
	for (uint32_t i = 0; i < seg->cfg.block_count; i++)
		if (qb_seg_block(seg, i)->tag.v != 0 || !qb_test_bit(seg->block_map, i))
			return 1;
	return 0;
}

/* keys-kills.c: real processes, or threads, for that long. */
struct keys_found {
	uint64_t kills, accepted, refused;
	uint64_t least;                 /* accepted of the key that was accepted least */
	uint64_t lost;                  /* accepted and not done */
	uint64_t wrong;                 /* the line of the first check that failed, 0 = none */
};
struct keys_found keys_stress(unsigned seconds);
struct keys_found keys_threads(unsigned seconds);

#endif
