/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/block.h"

#include <string.h>

#include "shm/fault.h"
#include "shm/hint.h"

/* 1 when this call freed it. */
static uint32_t release(const struct qb_seg *seg, uint32_t idx, uint64_t tag)
{
	/* [block.W2] Publishes: a free block. Pairs with: [block.W1]. Killed before this: garbage, swept later. */
	if (!qb_cas_acq_rel64(&qb_seg_block(seg, idx)->tag, &tag, 0))
		return 0;
	QB_FAULT("block.release.after-cas");
	qb_hint_give(seg->block_map, &seg->hdr->block_from, idx);
	return 1;
}

static uint32_t take(const struct qb_seg *seg, uint64_t tag)
{
	for (;;) {
		uint32_t idx = qb_hint_find(seg->block_map, &seg->hdr->block_from, seg->cfg.block_count);

		if (idx == QB_HINT_NONE)
			return QB_NO_BLOCK;
		struct qb_block_shm *b = qb_seg_block(seg, idx);
		uint64_t old = 0;

		qb_raise32(&seg->hdr->block_high_water, idx + 1);
		/*
		 * [block.W1] Publishes: the block's owner, before a byte of it is written.
		 * Pairs with: [block.W2], [block.R1].
		 * Killed after this: tagged with a generation that recovery ends.
		 */
		int mine = qb_cas_acq_rel64(&b->tag, &old, tag);

		QB_FAULT("block.take.after-cas");
		qb_hint_clear(seg->block_map, idx);
		/* Whoever cleared the bit of a block that was freed meanwhile puts it back. */
		if (!mine && qb_load_acquire64(&b->tag) == 0)
			qb_hint_set(seg->block_map, idx);
		if (mine)
			return idx;
	}
}

int qb_block_store(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, const void *data, uint32_t bytes,
		   uint32_t *first)
{
	uint64_t tag = qb_block_tag(job_idx, gen);
	const uint8_t *from = data;
	uint32_t room = seg->block_data_bytes;
	struct qb_block_shm *previous = NULL;

	*first = QB_NO_BLOCK;
	for (uint32_t done = 0; done < bytes; done += room) {
		uint32_t n = bytes - done < room ? bytes - done : room;
		uint32_t idx = take(seg, tag);

		if (idx == QB_NO_BLOCK) {
			qb_block_free(seg, job_idx, gen, *first);
			*first = QB_NO_BLOCK;
			return QB_FULL;
		}
		struct qb_block_shm *b = qb_seg_block(seg, idx);

		/* Relaxed: the chain is published by the job's READY word, [job.W2]. */
		qb_store_relaxed32(&b->next, QB_NO_BLOCK);
		memcpy(qb_block_data(b), from + done, n);
		if (previous)
			qb_store_relaxed32(&previous->next, idx);
		else
			*first = idx;
		previous = b;
		QB_FAULT("block.store.after-link");
	}
	return QB_OK;
}

int qb_block_load(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, uint32_t first, void *data, uint32_t bytes)
{
	uint64_t tag = qb_block_tag(job_idx, gen);
	uint8_t *to = data;
	uint32_t room = seg->block_data_bytes;

	for (uint32_t done = 0, idx = first; done < bytes; done += room) {
		uint32_t n = bytes - done < room ? bytes - done : room;
		struct qb_block_shm *b = qb_seg_block(seg, idx);

		/* [block.R1] Sees: the block's bytes, published by the job's READY word. Pairs with: [job.W2]. */
		if (!b || qb_load_acquire64(&b->tag) != tag)
			return QB_ECORRUPT;
		memcpy(to + done, qb_block_data(b), n);
		idx = qb_load_relaxed32(&b->next);
	}
	return 0;
}

/* From that block on; returns how many this call freed. */
static uint32_t free_chain(const struct qb_seg *seg, uint64_t tag, uint32_t first)
{
	uint32_t freed = 0;

	/* A chain is no longer than the largest payload, whatever the links say. */
	for (uint32_t i = 0, idx = first; i <= QB_PAYLOAD_BYTES_MAX / seg->block_data_bytes + 1; i++) {
		struct qb_block_shm *b = qb_seg_block(seg, idx);

		/* [block.R2] Sees: a block that is still this chain's. Pairs with: [block.W2] of the sweep. */
		if (!b || qb_load_acquire64(&b->tag) != tag)
			break;
		/* Relaxed: of somebody else's chain, if the sweep was faster; then the next tag is not ours. */
		uint32_t next = qb_load_relaxed32(&b->next);

		freed += release(seg, idx, tag);
		idx = next;
	}
	return freed;
}

void qb_block_free(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, uint32_t first)
{
	free_chain(seg, qb_block_tag(job_idx, gen), first);
}

uint32_t qb_block_sweep(const struct qb_seg *seg)
{
	/* [block.R3] Sees: every block that a dead process had taken. Pairs with: [hint.W2]. */
	uint32_t end = qb_load_acquire32(&seg->hdr->block_high_water), freed = 0;

	for (uint32_t idx = 0; idx < end && idx < seg->cfg.block_count; idx++) {
		uint64_t tag = qb_load_acquire64(&qb_seg_block(seg, idx)->tag);

		if (tag == 0) {
			if (!qb_hint_test(seg->block_map, idx))
				qb_hint_set(seg->block_map, idx);
			continue;
		}
		struct qb_job_shm *job = qb_seg_job(seg, qb_block_tag_job(tag));

		/* [block.R4] Sees: a word at least as new as the tag, which was stored after FILLING. Pairs with: [job.W1]. */
		uint64_t w = job ? qb_load_acquire64(&job->word) : 0;

		if (job && qb_word_gen(w) == qb_block_tag_gen(tag) && qb_word_state(w) != QB_JOB_FREE)
			continue;
		/*
		 * With the rest of its chain: the sweep may have passed that before the generation ended, and
		 * the syncer, which frees from the front, stops at a block that is gone.
		 */
		freed += free_chain(seg, tag, idx);
	}
	return freed;
}
