/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/restore.h"

#include "shm/block.h"
#include "shm/hint.h"
#include "shm/ring.h"

static int is_possible(const struct qb_restore_job *j)
{
	const struct qb_submit *w = &j->what;

	return w->job_id != 0 && w->max_attempts >= 1 && w->max_attempts <= 15 && j->failures <= 15 &&
	       w->effect_class <= QB_EFFECT_TRANSACTIONAL && j->attempt < 0xffff &&
	       (j->state == QB_JOB_READY || j->state == QB_JOB_WAITING || j->state == QB_JOB_AMBIGUOUS);
}

/* The state that it gets here. */
static uint32_t decide(const struct qb_restore_job *j, uint64_t now_ns, enum qb_restored *how)
{
	int cannot_have_begun = j->state == QB_JOB_WAITING && j->due_ns > now_ns + QB_RESTORE_CLOCK_NS;

	if (cannot_have_begun) {
		*how = QB_RESTORED_WAITING;
		return QB_JOB_WAITING;
	}
	switch (j->what.effect_class) {
	case QB_EFFECT_IDEMPOTENT:
		*how = QB_RESTORED_AGAIN;
		/* One that is ambiguous in spite of its class was left so by somebody who had a reason. */
		if (j->state == QB_JOB_AMBIGUOUS)
			*how = QB_RESTORED_PARKED;
		return j->state;
	case QB_EFFECT_TRANSACTIONAL:
		*how = QB_RESTORED_IN_DOUBT;
		return QB_JOB_AMBIGUOUS;
	default:
		*how = QB_RESTORED_PARKED;
		return QB_JOB_AMBIGUOUS;
	}
}

/* What of this word its row says already; the syncer writes the rest. */
static uint64_t known(const struct qb_restore_job *j, uint32_t state)
{
	uint32_t stage = QB_SYNC_ACCEPTED;

	if (state == QB_JOB_WAITING)
		stage = QB_SYNC_RETRY;
	else if (state == QB_JOB_AMBIGUOUS && j->state == QB_JOB_AMBIGUOUS)
		stage = QB_SYNC_FINAL;
	return qb_sync(0, stage, j->attempt);
}

int qb_job_restore(const struct qb_seg *seg, uint32_t slot_idx, const struct qb_restore_job *j, uint64_t now_ns,
		   enum qb_restored *how)
{
	struct qb_job_shm *to = qb_seg_job(seg, slot_idx);
	uint32_t first;

	if (!to || qb_load_relaxed64(&to->word) != 0)
		return QB_EUSAGE;
	if (!is_possible(j))
		return QB_ECORRUPT;
	if (j->what.payload_bytes > QB_PAYLOAD_BYTES_MAX)
		return QB_ETOOBIG;
	uint32_t state = decide(j, now_ns, how);

	if (qb_block_store(seg, slot_idx, 0, j->what.payload, j->what.payload_bytes, &first) != QB_OK)
		return QB_FULL;
	qb_raise32(&seg->hdr->high_water, slot_idx + 1);
	qb_hint_clear(seg->free_map, slot_idx);
	qb_job_describe(to, &j->what, first);
	/* Relaxed, these and the word: nobody attaches before the creator has given the file its name. */
	qb_store_relaxed64(&to->due_ns, state == QB_JOB_WAITING ? j->due_ns : 0);
	qb_store_relaxed64(&to->sync, known(j, state));
	qb_store_relaxed64(&to->word, qb_word(0, j->attempt, 0, j->failures, state));
	if (state == QB_JOB_WAITING) {
		qb_hint_set(seg->wait_map, slot_idx);
		qb_lower64(&seg->hdr->next_due_ns, j->due_ns);
	}
	if (qb_job_is_dirty(to, qb_load_relaxed64(&to->word)))
		qb_hint_set(seg->dirty_map, slot_idx);
	if (state != QB_JOB_READY)
		return 0;
	return qb_ring_push(seg, QB_RING_NORMAL, slot_idx, 0) == QB_OK ? 0 : QB_ECORRUPT;
}

void qb_restore_events(const struct qb_seg *seg, uint32_t seat, uint64_t next)
{
	struct qb_event_ring_shm *ring = qb_seg_event_ring(seg, seat);

	if (!ring)
		return;
	/* Relaxed: as above. */
	qb_store_relaxed64(&ring->tail, next);
	for (unsigned r = 0; r < QB_READER_COUNT; r++)
		qb_store_relaxed64(&ring->reader[r].next, next);
}
