/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small segments for tests, and the few helpers that construct their bytes.
 *
 * Everything here is plain C on purpose: the crash harness, which does not use Check, includes it
 * as well as the unit tests.
 */
#ifndef QB_TESTS_SHM_FIXTURE_H
#define QB_TESTS_SHM_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/job.h"
#include "shm/ring.h"
#include "shm/segment.h"

/* The smallest segment in which every wrap can be reached: about 100 KiB. */
static inline void qb_test_config(struct qb_config_shm *cfg)
{
	qb_config_default(cfg);
	cfg->job_count = 64;
	cfg->seat_count = 8;
	cfg->ring_count = 128;
	cfg->block_count = 128;
	cfg->block_bytes = 128;
	cfg->arena_bytes = 4096;
	cfg->event_count = 64;
	cfg->effect_count = 256;
	cfg->meta_bytes = 64;
	cfg->max_claims = 5;
}

static inline void qb_test_create(struct qb_seg *seg, const struct qb_config_shm *cfg)
{
	int rc = qb_seg_create_anonymous(cfg, seg);

	if (rc == 0)
		return;
	fprintf(stderr, "cannot create a test segment: %s\n", qb_strerror(rc));
	abort();
}

static inline void qb_test_segment(struct qb_seg *seg)
{
	struct qb_config_shm cfg;

	qb_test_config(&cfg);
	qb_test_create(seg, &cfg);
}

/* The same handle over a copy of the bytes at another address. */
static inline void qb_test_rebase(const struct qb_seg *from, uint8_t *base, struct qb_seg *to)
{
	ptrdiff_t by = base - from->base;

	*to = *from;
	to->base = base;
	to->hdr = (struct qb_header_shm *)((uint8_t *)from->hdr + by);
	to->seats = (struct qb_seat_shm *)((uint8_t *)from->seats + by);
	to->jobs = (struct qb_job_shm *)((uint8_t *)from->jobs + by);
	to->free_map = (qb_au64 *)((uint8_t *)from->free_map + by);
	to->dirty_map = (qb_au64 *)((uint8_t *)from->dirty_map + by);
	to->wait_map = (qb_au64 *)((uint8_t *)from->wait_map + by);
	to->block_map = (qb_au64 *)((uint8_t *)from->block_map + by);
	to->effects = (qb_au64 *)((uint8_t *)from->effects + by);
	to->keys = (struct qb_key_bucket_shm *)((uint8_t *)from->keys + by);
}

static inline struct qb_submit qb_test_submit(uint64_t job_id)
{
	struct qb_submit what = { .job_id = job_id, .work_us = 10, .max_attempts = 3 };

	return what;
}

/* A bare ready job in that slot, with or without its ring entry. */
static inline uint64_t qb_test_ready(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen, uint64_t job_id)
{
	struct qb_job_shm *job = &seg->jobs[slot_idx];

	memset(job, 0, sizeof(*job));
	job->job_id = job_id;
	job->max_attempts = 3;
	job->block_first = QB_NO_BLOCK;
	job->word.v = qb_word(gen, 0, 0, 0, QB_JOB_READY);
	seg->free_map[slot_idx / 64].v &= ~(1ull << (slot_idx % 64));
	if (seg->hdr->high_water.v <= slot_idx)
		seg->hdr->high_water.v = slot_idx + 1;
	return job->word.v;
}

/* A job with a key as its submitter leaves it when he dies after he has asked, announced or not. The word. */
static inline uint64_t qb_test_asking(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what,
				      int announced, struct qb_held *ref)
{
	if (qb_job_fill(seg, seat, what, ref) != QB_OK)
		abort();
	uint32_t gen = qb_word_gen(ref->word);
	struct qb_job_shm *job = &seg->jobs[ref->slot_idx];

	job->holder.v = (uint64_t)gen << 38;
	job->word.v = ref->word = qb_word(gen, 0, seat, QB_FILLING_ASKS, QB_JOB_FILLING);
	if (announced)
		seg->keys[what->key.lo & (seg->sec[QB_SEC_KEYS].count - 1)].pending.v =
			1ull << 63 | (uint64_t)gen << 20 | ref->slot_idx;
	return ref->word;
}

static inline int qb_test_bit(const qb_au64 *map, uint32_t idx)
{
	return (int)(map[idx / 64].v >> (idx % 64) & 1);
}

/* An empty ring whose next position is `pos`, as if that many entries had passed through it. */
static inline void qb_test_ring_at(const struct qb_seg *seg, uint32_t ring_idx, uint64_t pos)
{
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	uint32_t count = seg->cfg.ring_count;

	ring->head.v = ring->tail.v = pos;
	for (uint64_t p = pos; p < pos + count; p++)
		qb_ring_slots(ring)[p & (count - 1)].v = qb_slot_word(p / count, 0, 0, 0);
}

#endif
