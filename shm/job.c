/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/job.h"

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/crc.h"
#include "shm/fault.h"
#include "shm/hint.h"
#include "shm/join.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"

void qb_job_mark_dirty(const struct qb_seg *seg, uint32_t slot_idx)
{
	qb_hint_set(seg->dirty_map, slot_idx);
	qb_wake_seat(seg, qb_load_relaxed32(&seg->hdr->syncer_seat));
}

void qb_job_offer_later(const struct qb_seg *seg, uint32_t slot_idx)
{
	qb_hint_set(seg->wait_map, slot_idx);
	qb_lower64(&seg->hdr->next_due_ns, 0);
}

/*
 * Offer a ready job, whatever the rings seem to hold already: an extra entry is dropped when it is met. A ring has
 * room for two entries of every job; it can be full only of extra ones, which takers that were killed over and over
 * have left. Then the job is offered again by the next promotion: nobody waits and nothing is lost.
 */
static void offer(const struct qb_seg *seg, uint32_t ring_idx, uint32_t slot_idx, uint64_t word)
{
	if (qb_ring_push(seg, ring_idx, slot_idx, qb_word_gen(word)) != QB_OK)
		qb_job_offer_later(seg, slot_idx);
	qb_wake_worker(seg);
}

/* ---- submit ---- */

static int take_slot(const struct qb_seg *seg, uint32_t seat, uint32_t *slot_idx, uint64_t *word)
{
	for (;;) {
		uint32_t idx = qb_hint_find(seg->free_map, &seg->hdr->free_from, seg->cfg.job_count);

		if (idx == QB_HINT_NONE)
			return QB_FULL;
		qb_au64 *at = &seg->jobs[idx].word;
		/* [job.R7] Sees: the end of the generation before. Pairs with: [job.W7], [job.W9], [recovery.W1]. */
		uint64_t w = qb_load_acquire64(at);
		int mine = 0;

		if (qb_word_state(w) == QB_JOB_FREE) {
			uint64_t filling = qb_word(qb_word_gen(w), 0, seat, 0, QB_JOB_FILLING);

			qb_raise32(&seg->hdr->high_water, idx + 1);
			qb_seat_recent(seg, seat, idx);
			/*
			 * [job.W1] Publishes: "this slot is mine to fill". Pairs with: [job.R7], [block.R4].
			 * Killed after this: recovery frees the slot under the next generation.
			 */
			mine = qb_cas_acq_rel64(at, &w, filling);
			w = filling;
		}
		QB_FAULT("job.submit.after-filling");
		qb_hint_clear(seg->free_map, idx);
		if (mine) {
			*slot_idx = idx;
			*word = w;
			return QB_OK;
		}
		/* [hint.R1] The bit of a slot that was freed between our look and our clearing is put back. */
		if (qb_word_state(qb_load_acquire64(at)) == QB_JOB_FREE)
			qb_hint_set(seg->free_map, idx);
	}
}

void qb_job_give_back(const struct qb_seg *seg, uint32_t slot_idx, uint64_t filling, uint32_t first)
{
	/* [job.W9] Publishes: the end of this generation. Pairs with: [job.R7]. Killed before: recovery does the same. */
	qb_cas_acq_rel64(&seg->jobs[slot_idx].word, &filling,
			 qb_word(qb_word_gen(filling) + 1, 0, 0, 0, QB_JOB_FREE));
	qb_block_free(seg, slot_idx, qb_word_gen(filling), first);
	qb_hint_give(seg->free_map, &seg->hdr->free_from, slot_idx);
}

void qb_job_describe(struct qb_job_shm *job, const struct qb_submit *what, uint32_t first)
{
	job->submitted_raw = what->submitted_raw;
	job->work_us = what->work_us;
	job->tenant = what->tenant;
	job->kind = what->kind;
	job->error_class = what->error_class;
	job->max_attempts = what->max_attempts;
	job->effect_class = what->effect_class;
	job->payload_bytes = what->payload_bytes;
	job->payload_crc = qb_crc32c(0, what->payload, what->payload_bytes);
	job->block_first = first;
	job->result_bytes = 0;
	job->result_pos = 0;
	job->result_crc = 0;
	/*
	 * [job.W14] Publishes: that the slot is of this generation, to who reads its key or id, late or not.
	 * Pairs with: [key.R2], which then sees a word of this generation and drops them.
	 */
	qb_store_release64((qb_au64 *)(void *)&job->job_id, what->job_id);
	qb_store_release64(&job->key_hi, what->key.hi);
	qb_store_release64(&job->key_lo, what->key.lo);
}

int qb_job_fill(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *filling)
{
	uint32_t idx, first;
	uint64_t word;

	/* More than all blocks hold would be "full" for ever. */
	if (what->payload_bytes > QB_PAYLOAD_BYTES_MAX ||
	    what->payload_bytes > (uint64_t)seg->cfg.block_count * seg->block_data_bytes)
		return QB_ETOOBIG;
	if (what->job_id == 0 || what->max_attempts < 1 || what->max_attempts > 15)
		return QB_EUSAGE;
	if (take_slot(seg, seat, &idx, &word) != QB_OK) {
		qb_count(seg, seat, QB_COUNT_SUBMIT_FULL, 1);
		return QB_FULL;
	}
	struct qb_job_shm *job = &seg->jobs[idx];

	if (qb_block_store(seg, idx, qb_word_gen(word), what->payload, what->payload_bytes, &first) != QB_OK) {
		qb_job_give_back(seg, idx, word, QB_NO_BLOCK);
		qb_count(seg, seat, QB_COUNT_SUBMIT_FULL, 1);
		return QB_FULL;
	}
	QB_FAULT("job.submit.after-payload");
	qb_job_describe(job, what, first);
	qb_store_relaxed64(&job->due_ns, 0);
	QB_FAULT("job.submit.after-fields");
	*filling = (struct qb_held){ .slot_idx = idx, .word = word };
	return QB_OK;
}

void qb_job_accepted(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t ready)
{
	offer(seg, QB_RING_NORMAL, slot_idx, ready);
	QB_FAULT("job.submit.after-push");
	qb_job_mark_dirty(seg, slot_idx);
	qb_count(seg, seat, QB_COUNT_SUBMITTED, 1);
}

int qb_job_submit(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *ref)
{
	struct qb_held filling;

	if (what->key.hi || what->key.lo)
		return QB_EUSAGE;
	int rc = qb_job_fill(seg, seat, what, &filling);

	if (rc != QB_OK)
		return rc;
	ref->slot_idx = filling.slot_idx;
	ref->word = qb_word(qb_word_gen(filling.word), 0, 0, 0, QB_JOB_READY);
	/*
	 * [job.W2] Publishes: descriptor and payload; the job is accepted. Pairs with: [job.R1].
	 * Killed before this: never accepted. After: accepted, recovery gives it its ring entry.
	 * It cannot fail: only this seat's recovery changes a FILLING word.
	 */
	if (!qb_cas_acq_rel64(&seg->jobs[ref->slot_idx].word, &filling.word, ref->word))
		return QB_EFENCED;
	QB_FAULT("job.submit.after-ready");
	qb_job_accepted(seg, seat, ref->slot_idx, ref->word);
	return QB_OK;
}

int qb_job_is_durable(const struct qb_seg *seg, const struct qb_held *ref)
{
	struct qb_job_shm *job = qb_seg_job(seg, ref->slot_idx);

	if (!job)
		return 0;
	/* [job.R3] Sees: that the batch with this job has committed. Pairs with: the syncer's release of sync, [job.W7]. */
	uint64_t s = qb_load_acquire64(&job->sync);

	if (qb_sync_gen(s) == qb_word_gen(ref->word) && qb_sync_stage_of(s) >= QB_SYNC_ACCEPTED)
		return 1;
	/* Only the syncer ends a generation, and only when its outcome is durable. */
	return qb_word_gen(qb_load_acquire64(&job->word)) != qb_word_gen(ref->word);
}

/* ---- claim, start, end ---- */

/*
 * An entry was dropped because its job was not ready.  Somebody may have made the job ready in the
 * meantime and been killed before the push; its recovery, seeing that entry, will not push either.
 */
static void offer_again(const struct qb_seg *seg, uint32_t slot_idx, uint64_t slot)
{
	/*
	 * [job.R6] Orders: the entry's end before this second look at the word. Pairs with: [job.W6],
	 * [job.W10], [recovery.W1] (word, then the scan of the ring by the recovery that follows).
	 * Killed before this: the recovery of this seat finds no entry and pushes.
	 */
	qb_fence_seq_cst();
	uint64_t w = qb_load_acquire64(&seg->jobs[slot_idx].word);

	if (qb_word_state(w) == QB_JOB_READY && (qb_word_gen(w) & 0x7ffff) == qb_slot_gen(slot))
		offer(seg, QB_RING_URGENT, slot_idx, w);
}

static int claim_from(const struct qb_seg *seg, uint32_t ring_idx, uint32_t seat, struct qb_held *held)
{
	struct qb_ring_entry entry;
	int rc;

	while ((rc = qb_ring_peek(seg, ring_idx, &entry)) == QB_OK) {
		uint32_t idx = qb_slot_job(entry.slot);
		struct qb_job_shm *job = qb_seg_job(seg, idx);
		int got = 0;

		if (job) {
			/* [job.R1] Sees: the job as its submitter or last holder left it. Pairs with: [job.W2], [job.W6]. */
			uint64_t w = qb_load_acquire64(&job->word);

			if (qb_word_state(w) == QB_JOB_READY &&
			    (qb_word_gen(w) & 0x7ffff) == qb_slot_gen(entry.slot)) {
				held->slot_idx = idx;
				held->word = qb_word(qb_word_gen(w), qb_word_attempt(w) + 1, seat,
						     qb_word_failures(w), QB_JOB_CLAIMED);
				qb_seat_recent(seg, seat, idx);
				/*
				 * [job.W3] Publishes: the new owner, in place, before the entry leaves the ring.
				 * Pairs with: [job.R1] of the others.
				 * Killed after this: never started; recovery makes it ready again.
				 */
				got = qb_cas_acq_rel64(&job->word, &w, held->word);
			}
		}
		QB_FAULT("job.claim.after-cas");
		qb_ring_drop(seg, ring_idx, &entry);
		if (got)
			return QB_OK;
		if (job)
			offer_again(seg, idx, entry.slot);
	}
	return rc;
}

int qb_job_claim(const struct qb_seg *seg, uint32_t seat, struct qb_held *held)
{
	/* Relaxed: a hint; the clock is read only when some job waits for its time. */
	if (qb_load_relaxed64(&seg->hdr->next_due_ns) != UINT64_MAX)
		qb_job_promote_due(seg, qb_mono_ns());
	int rc = claim_from(seg, QB_RING_URGENT, seat, held);

	if (rc == QB_EMPTY)
		rc = claim_from(seg, QB_RING_NORMAL, seat, held);
	qb_count(seg, seat, rc == QB_OK ? QB_COUNT_CLAIMED : QB_COUNT_CLAIM_EMPTY, 1);
	return rc;
}

int qb_job_payload(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen, void *data, uint32_t cap)
{
	struct qb_job_shm *job = qb_seg_job(seg, slot_idx);

	if (!job || job->payload_bytes > QB_PAYLOAD_BYTES_MAX)
		return QB_ECORRUPT;
	uint32_t bytes = job->payload_bytes;

	if (bytes > cap)
		return QB_ETOOBIG;
	if (qb_block_load(seg, slot_idx, gen, job->block_first, data, bytes) < 0 ||
	    qb_crc32c(0, data, bytes) != job->payload_crc)
		return QB_ECORRUPT;
	return (int)bytes;
}

/* The same word with another state. */
static uint64_t with_state(uint64_t w, uint32_t state)
{
	return (w & ~(uint64_t)0x3f) | state;
}

static int step(const struct qb_seg *seg, struct qb_held *held, uint64_t next)
{
	uint64_t expected = held->word;

	/* What it publishes stands at each caller: [job.W4], [job.W5], [job.W6], [job.W8]. */
	if (!qb_cas_acq_rel64(&seg->jobs[held->slot_idx].word, &expected, next)) {
		held->word = expected;
		return QB_EFENCED;
	}
	held->word = next;
	return 0;
}

int qb_job_start(const struct qb_seg *seg, struct qb_held *held)
{
	/*
	 * [job.W4] Publishes: user code may have run. Pairs with: [recovery.R1].
	 * Killed before this: never started. After: ambiguous, until an outcome is stored.
	 */
	int rc = step(seg, held, with_state(held->word, QB_JOB_STARTED));

	QB_FAULT("job.start.after-cas");
	return rc;
}

/* Read while the job is the caller's: behind its end the slot may be another's. */
static int has_key(const struct qb_job_shm *job)
{
	return (qb_load_relaxed64(&job->key_hi) | qb_load_relaxed64(&job->key_lo)) != 0;
}

int qb_job_complete(const struct qb_seg *seg, uint32_t seat, struct qb_held *held, const void *result, uint32_t bytes)
{
	struct qb_job_shm *job = &seg->jobs[held->slot_idx];
	uint64_t pos;

	/* [job.R8] A late caller must not write the fields of the present holder. Pairs with: [recovery.W1]. */
	uint64_t w = qb_load_acquire64(&job->word);

	if (w != held->word) {
		qb_count(seg, seat, QB_COUNT_FENCED, 1);
		held->word = w;
		return QB_EFENCED;
	}
	int rc = qb_arena_write(seg, seat, held->slot_idx, held->word, result, bytes, &pos);

	if (rc != QB_OK)
		return rc;
	job->result_pos = pos;
	job->result_bytes = bytes;
	job->result_crc = qb_crc32c(0, result, bytes);
	int joinable = has_key(job);

	/* Relaxed: read after this process is dead; program order is enough. */
	qb_store_relaxed64(&seg->seats[seat].ending, qb_ending(held->slot_idx, held->word));
	QB_FAULT("job.complete.after-result");
	/*
	 * [job.W5] Publishes: the result. Pairs with: [job.R2].
	 * Killed before this: ambiguous. After: completed; recovery supplies the event and the dirty bit.
	 */
	rc = step(seg, held, with_state(held->word, QB_JOB_DONE));
	QB_FAULT("job.complete.after-cas");
	if (rc < 0) {
		qb_count(seg, seat, QB_COUNT_FENCED, 1);
		return rc;
	}
	if (joinable)
		qb_join_release(seg, held->slot_idx);
	qb_job_mark_dirty(seg, held->slot_idx);
	qb_count(seg, seat, QB_COUNT_COMPLETED, 1);
	return 0;
}

int qb_job_fail(const struct qb_seg *seg, uint32_t seat, struct qb_held *held, int permanent, uint64_t due_ns,
		int *final)
{
	struct qb_job_shm *job = &seg->jobs[held->slot_idx];
	uint64_t w = held->word;
	uint32_t failures = qb_word_failures(w) + 1;

	*final = 0;
	/* [job.R8] As above. */
	held->word = qb_load_acquire64(&job->word);
	if (held->word != w) {
		qb_count(seg, seat, QB_COUNT_FENCED, 1);
		return QB_EFENCED;
	}
	*final = permanent || failures >= job->max_attempts;
	int joinable = *final && has_key(job);

	qb_store_relaxed64(&job->due_ns, due_ns);
	job->result_bytes = 0;
	/* Relaxed: read after this process is dead; program order is enough. */
	qb_store_relaxed64(&seg->seats[seat].ending, qb_ending(held->slot_idx, w));
	QB_FAULT("job.fail.after-due");
	uint64_t next = qb_word(qb_word_gen(w), qb_word_attempt(w), qb_word_seat(w), failures > 15 ? 15 : failures,
				*final ? QB_JOB_FAILED : QB_JOB_WAITING);
	/*
	 * [job.W8] Publishes: due_ns and the failure count. Pairs with: [job.R4].
	 * Killed before this: ambiguous. After: waiting or failed; recovery supplies bits and event.
	 */
	int rc = step(seg, held, next);

	QB_FAULT("job.fail.after-cas");
	if (rc < 0) {
		qb_count(seg, seat, QB_COUNT_FENCED, 1);
		return rc;
	}
	qb_count(seg, seat, QB_COUNT_FAILED, 1);
	if (!*final) {
		qb_hint_set(seg->wait_map, held->slot_idx);
		QB_FAULT("job.fail.after-wait-bit");
		/* [job.W12] Orders: the wait bit before the look at the deadline. Pairs with: [job.R5], a Dekker pair. */
		qb_fence_seq_cst();
		/* Somebody who sleeps until a later time must hear of the earlier one. */
		if (qb_lower64(&seg->hdr->next_due_ns, due_ns))
			qb_wake_worker(seg);
		QB_FAULT("job.fail.after-next-due");
	}
	if (joinable)
		qb_join_release(seg, held->slot_idx);
	qb_job_mark_dirty(seg, held->slot_idx);
	return 0;
}

int qb_job_release(const struct qb_seg *seg, struct qb_held *held)
{
	uint64_t w = held->word;

	/* After a refused start the caller holds the word that was found there: somebody else's, or finished. */
	if (qb_word_state(w) != QB_JOB_CLAIMED)
		return QB_EFENCED;
	/* [job.W6] Publishes: ready again. Pairs with: [job.R1]. Killed before: recovery does it. */
	int rc = step(seg, held, qb_word(qb_word_gen(w), qb_word_attempt(w), 0, qb_word_failures(w), QB_JOB_READY));

	QB_FAULT("job.release.after-cas");
	if (rc == 0)
		offer(seg, QB_RING_URGENT, held->slot_idx, held->word);
	return rc;
}

uint32_t qb_job_promote_due(const struct qb_seg *seg, uint64_t now_ns)
{
	qb_au64 *next_due = &seg->hdr->next_due_ns;
	uint32_t promoted = 0, count = seg->cfg.job_count;

	if (qb_load_relaxed64(next_due) > now_ns)
		return 0;
	/*
	 * [job.R4] Orders: "no deadline known", then the scan. A job that begins to wait sets its bit
	 * first and lowers the deadline second, so either the scan meets the bit or the deadline stays.
	 * Pairs with: [hint.W3], [job.W8].
	 * Killed after this: the deadline is lost; recovery calls this function with it set to 0.
	 */
	qb_xchg_acq_rel64(next_due, UINT64_MAX);
	QB_FAULT("job.promote.after-xchg");
	/* [job.R5] Orders: the deadline's end before the look at the wait bits. Pairs with: [job.W12]. */
	qb_fence_seq_cst();
	for (uint32_t i = qb_hint_next(seg->wait_map, 0, count); i != QB_HINT_NONE;
	     i = qb_hint_next(seg->wait_map, i + 1, count)) {
		struct qb_job_shm *job = &seg->jobs[i];
		uint64_t w = qb_load_acquire64(&job->word);

		/* Relaxed: published by the WAITING word; of another attempt if the word has moved on, then the CAS fails. */
		uint64_t due_ns = qb_load_relaxed64(&job->due_ns);

		if (qb_word_state(w) == QB_JOB_WAITING && due_ns > now_ns) {
			qb_lower64(next_due, due_ns);
			continue;
		}
		/* Ready with its bit: a ring had no room for it. */
		uint64_t ready = qb_word_state(w) == QB_JOB_READY ? w : 0;

		if (qb_word_state(w) == QB_JOB_WAITING) {
			uint64_t next = qb_word(qb_word_gen(w), qb_word_attempt(w), 0, qb_word_failures(w), QB_JOB_READY);
			/* [job.W10] Publishes: ready again. Pairs with: [job.R1]. Killed after: recovery pushes it. */
			if (qb_cas_acq_rel64(&job->word, &w, next)) {
				QB_FAULT("job.promote.after-ready");
				ready = next;
				promoted++;
			}
		}
		qb_hint_clear(seg->wait_map, i);
		/* It may have failed again between the CAS and the clearing. */
		w = qb_load_acquire64(&job->word);
		if (qb_word_state(w) == QB_JOB_WAITING)
			qb_job_offer_later(seg, i);
		/* Behind the clearing: without room the bit is set once more. */
		if (ready)
			offer(seg, QB_RING_URGENT, i, ready);
	}
	return promoted;
}

/* ---- the syncer's side ---- */

int qb_job_resolve(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t ambiguous, uint32_t to,
		   const void *result, uint32_t bytes)
{
	struct qb_job_shm *job = &seg->jobs[slot_idx];
	uint32_t gen = qb_word_gen(ambiguous), attempt = qb_word_attempt(ambiguous);
	/* [job.R11] Its fields are the resolver's to write as long as the word says ambiguous. Pairs with: [recovery.W1]. */
	uint64_t w = qb_load_acquire64(&job->word), next, pos;
	int rc;

	if (qb_word_state(ambiguous) != QB_JOB_AMBIGUOUS)
		return QB_EUSAGE;
	if (w != ambiguous)
		return QB_EFENCED;
	switch (to) {
	case QB_JOB_DONE:
		/* The worker's own result died with it: the resolver writes the same bytes under its own seat. */
		next = qb_word(gen, attempt, seat, qb_word_failures(w), QB_JOB_DONE);
		rc = qb_arena_write(seg, seat, slot_idx, with_state(next, QB_JOB_STARTED), result, bytes, &pos);
		if (rc != QB_OK)
			return rc;
		job->result_pos = pos;
		job->result_bytes = bytes;
		job->result_crc = qb_crc32c(0, result, bytes);
		break;
	case QB_JOB_READY:
		next = attempt >= seg->cfg.max_claims ? with_state(w, QB_JOB_DEAD) :
			qb_word(gen, attempt, 0, qb_word_failures(w), QB_JOB_READY);
		break;
	case QB_JOB_DEAD:
		next = with_state(w, QB_JOB_DEAD);
		break;
	default:
		return QB_EUSAGE;
	}
	int over = qb_word_state(next) != QB_JOB_READY, joinable = over && has_key(job);

	/* Relaxed: read after this process is dead; program order is enough. */
	if (over)
		qb_store_relaxed64(&seg->seats[seat].ending, qb_ending(slot_idx, next));
	QB_FAULT("job.resolve.after-result");
	/*
	 * [job.W13] Publishes: the answer, and for DONE the result. Pairs with: [job.R1] for READY, [job.R2] for the others.
	 * Killed before this: ambiguous, resolved again. After: recovery pushes it, or the next syncer finds it.
	 */
	if (!qb_cas_acq_rel64(&job->word, &w, next))
		return QB_EFENCED;
	QB_FAULT("job.resolve.after-cas");
	if (qb_word_state(next) == QB_JOB_READY)
		offer(seg, QB_RING_URGENT, slot_idx, next);
	if (joinable)
		qb_join_release(seg, slot_idx);
	qb_job_mark_dirty(seg, slot_idx);
	return 0;
}

int qb_job_is_dirty(const struct qb_job_shm *job, uint64_t word)
{
	/* [job.R9] Sees: what the syncer, maybe a dead one, noted as durable. Pairs with: its release of sync. */
	uint64_t s = qb_load_acquire64(&job->sync);
	uint32_t stage = qb_sync_gen(s) == qb_word_gen(word) ? qb_sync_stage_of(s) : QB_SYNC_NONE;

	switch (qb_word_state(word)) {
	case QB_JOB_READY:
	case QB_JOB_CLAIMED:
	case QB_JOB_STARTED:
		return stage < QB_SYNC_ACCEPTED;
	case QB_JOB_WAITING:
		return stage < QB_SYNC_RETRY || qb_sync_attempt(s) != qb_word_attempt(word);
	case QB_JOB_DONE:
	case QB_JOB_FAILED:
	case QB_JOB_DEAD:
	case QB_JOB_SYNCED:
		return 1;
	case QB_JOB_AMBIGUOUS:
		/* One that was resolved and run again may be ambiguous once more. */
		return stage < QB_SYNC_FINAL || qb_sync_attempt(s) != qb_word_attempt(word);
	default:
		return 0;
	}
}

static void finish_synced(const struct qb_seg *seg, uint32_t slot_idx, uint64_t synced)
{
	struct qb_job_shm *job = &seg->jobs[slot_idx];
	uint32_t gen = qb_word_gen(synced), first = job->block_first;

	/*
	 * [job.W7] Publishes: the slot for its next generation. Pairs with: [job.R7], [arena.R1].
	 * Killed before this: SYNCED; the next syncer frees it. After: blocks are garbage, swept.
	 */
	if (!qb_cas_acq_rel64(&job->word, &synced, qb_word(gen + 1, 0, 0, 0, QB_JOB_FREE)))
		return;
	QB_FAULT("job.free.after-free");
	qb_block_free(seg, slot_idx, gen, first);
	QB_FAULT("job.free.after-blocks");
	qb_hint_give(seg->free_map, &seg->hdr->free_from, slot_idx);
}

void qb_job_free(const struct qb_seg *seg, uint32_t slot_idx, uint64_t word)
{
	struct qb_job_shm *job = &seg->jobs[slot_idx];
	uint64_t synced = with_state(word, QB_JOB_SYNCED);

	/* [job.W11] Publishes: durable, about to be freed. Pairs with: [job.R2]. Killed before: synced again, found there. */
	if (!qb_cas_acq_rel64(&job->word, &word, synced))
		return;
	QB_FAULT("job.free.after-synced");
	finish_synced(seg, slot_idx, synced);
}

void qb_job_rescan(const struct qb_seg *seg)
{
	/* [job.R10] Sees: every slot that was ever used. Pairs with: [hint.W2]. */
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		/* [job.R2] Sees: the outcome with its result. Pairs with: [job.W5], [job.W11]. */
		uint64_t w = qb_load_acquire64(&seg->jobs[i].word);

		if (qb_word_state(w) == QB_JOB_SYNCED)
			finish_synced(seg, i, w);
		else if (qb_job_is_dirty(&seg->jobs[i], w))
			qb_hint_set(seg->dirty_map, i);
	}
}
