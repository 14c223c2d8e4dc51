/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/recovery.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/block.h"
#include "shm/fault.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/join.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"

int qb_recovery_open(struct qb_recovery *r, const struct qb_seg *seg)
{
	memset(r, 0, sizeof(*r));
	r->seg = seg;
	r->seen = calloc((seg->cfg.job_count + 63) / 64, sizeof(*r->seen));
	return r->seen ? 0 : -ENOMEM;
}

void qb_recovery_close(struct qb_recovery *r)
{
	free(r->seen);
	memset(r, 0, sizeof(*r));
}

static void offer(struct qb_recovery *r, uint32_t ring_idx, uint32_t slot_idx, uint64_t word)
{
	if (qb_ring_push(r->seg, ring_idx, slot_idx, qb_word_gen(word)) != QB_OK) {
		r->ring_full++;
		qb_job_offer_later(r->seg, slot_idx);
	}
	QB_FAULT("recovery.offer.after-push");
	qb_wake_worker(r->seg);
}

/* What becomes of a word that the dead seat owned; the same word = leave it. */
static uint64_t decide(const struct qb_seg *seg, const struct qb_job_shm *job, uint64_t w, enum qb_verdict *verdict)
{
	uint32_t gen = qb_word_gen(w), attempt = qb_word_attempt(w), failures = qb_word_failures(w);
	int started = qb_word_state(w) == QB_JOB_STARTED;

	switch (qb_word_state(w)) {
	case QB_JOB_FILLING:
		*verdict = QB_VERDICT_NEVER_ACCEPTED;
		return qb_word(gen + 1, 0, 0, 0, QB_JOB_FREE);
	case QB_JOB_CLAIMED:
	case QB_JOB_STARTED:
		if (started && job->effect_class != QB_EFFECT_IDEMPOTENT) {
			*verdict = job->effect_class == QB_EFFECT_TRANSACTIONAL ? QB_VERDICT_IN_DOUBT : QB_VERDICT_PARKED;
			return qb_word(gen, attempt, qb_word_seat(w), failures, QB_JOB_AMBIGUOUS);
		}
		if (attempt >= seg->cfg.max_claims) {
			*verdict = QB_VERDICT_GIVEN_UP;
			return qb_word(gen, attempt, qb_word_seat(w), failures, QB_JOB_DEAD);
		}
		*verdict = started ? QB_VERDICT_RETRIED : QB_VERDICT_NEVER_STARTED;
		return qb_word(gen, attempt, 0, failures, QB_JOB_READY);
	default:
		*verdict = QB_VERDICT_FINISHED;
		return w;
	}
}

/* Words that a seat's death can change or leave without their event; the others keep a seat only as evidence. */
static int undecided(uint64_t w)
{
	uint32_t state = qb_word_state(w);

	return state == QB_JOB_FILLING || state == QB_JOB_CLAIMED || state == QB_JOB_STARTED ||
	       state == QB_JOB_DONE || state == QB_JOB_FAILED || state == QB_JOB_WAITING;
}

static void recover_word(struct qb_recovery *r, uint32_t i, uint64_t w, qb_verdict_fn fn, void *ctx)
{
	const struct qb_seg *seg = r->seg;
	struct qb_job_shm *job = &seg->jobs[i];
	enum qb_verdict verdict;
	uint64_t next = decide(seg, job, w, &verdict);
	/*
	 * A process stores an outcome, then logs it, then goes on: only its last outcome can lack the event.
	 * The others may be older than its event ring.
	 */
	int told = verdict != QB_VERDICT_FINISHED ||
		   qb_load_relaxed64(&seg->seats[qb_word_seat(w)].ending) == qb_ending(i, w);

	if (fn && told)
		fn(ctx, verdict, i, w);
	QB_FAULT("recovery.word.after-report");
	r->verdicts[verdict]++;
	if (verdict == QB_VERDICT_FINISHED) {
		if (qb_word_state(w) == QB_JOB_WAITING) {
			qb_hint_set(seg->wait_map, i);
			qb_lower64(&seg->hdr->next_due_ns, 0);
		}
		qb_hint_set(seg->dirty_map, i);
		return;
	}
	/* Killed behind the verdict, before the wake-up: the next recovery of this seat finds here who is to be woken. */
	if (qb_word_state(next) == QB_JOB_DEAD)
		qb_seat_recent(seg, qb_word_seat(w), i);
	/*
	 * [recovery.W1] Publishes: the verdict. Pairs with: [job.R1] for READY, [job.R2] for the others.
	 * Killed before this: the next recoverer decides the same. It fails only if somebody who is
	 * not dead changed the word, and then that counts.
	 */
	if (!qb_cas_acq_rel64(&job->word, &w, next)) {
		/* Somebody who lives admitted the job, which had asked for its key; to offer it was the dead one's part. */
		if (qb_word_state(w) != QB_JOB_READY)
			return;
		next = w;
	}
	QB_FAULT("recovery.word.after-cas");
	switch (qb_word_state(next)) {
	case QB_JOB_READY:
		/*
		 * Always, whether or not the ring seems to hold it: a live taker may have seen the word while
		 * it was claimed and be about to drop the old entry. An extra entry is harmless.
		 */
		offer(r, QB_RING_URGENT, i, next);
		break;
	case QB_JOB_FREE:
		qb_hint_give(seg->free_map, &seg->hdr->free_from, i);
		break;
	case QB_JOB_DEAD:
		qb_join_repair(seg, i);
		break;
	default:
		break;
	}
	qb_hint_set(seg->dirty_map, i);
}

/*
 * What it had in hand is decided first: somebody waits for it, and the table may have a million slots. These are the
 * last slots that it took, as far as it could note them; the pass over the table misses none.
 */
static void recover_recent(struct qb_recovery *r, uint32_t seat, qb_verdict_fn fn, void *ctx)
{
	const struct qb_seg *seg = r->seg;

	for (uint32_t k = 0; k < QB_SEAT_RECENT; k++) {
		/* Relaxed: a hint. 0 is no slot, and becomes one that does not exist. */
		uint32_t i = qb_load_relaxed32(&seg->seats[seat].recent[k]) - 1;
		struct qb_job_shm *job = qb_seg_job(seg, i);
		/* [recovery.R1] As below. */
		uint64_t w = job ? qb_load_acquire64(&job->word) : 0;
		uint32_t state = qb_word_state(w);

		/* An outcome stays as it is, and would be told again below. */
		if (job && qb_word_seat(w) == seat &&
		    (state == QB_JOB_FILLING || state == QB_JOB_CLAIMED || state == QB_JOB_STARTED))
			recover_word(r, i, w, fn, ctx);
	}
}

/* What a dead process may have left undone about words that it no longer owned. */
static void repair_hints(struct qb_recovery *r, uint32_t i, uint64_t w)
{
	const struct qb_seg *seg = r->seg;

	switch (qb_word_state(w)) {
	case QB_JOB_FREE:
		if (!qb_hint_test(seg->free_map, i))
			qb_hint_give(seg->free_map, &seg->hdr->free_from, i);
		return;
	case QB_JOB_READY:
		if (!(r->seen[i / 64] >> (i % 64) & 1)) {
			offer(r, QB_RING_NORMAL, i, w);
			r->repushed++;
		}
		break;
	case QB_JOB_WAITING:
		if (!qb_hint_test(seg->wait_map, i))
			qb_hint_set(seg->wait_map, i);
		break;
	default:
		break;
	}
	if (!qb_hint_test(seg->dirty_map, i) && qb_job_is_dirty(&seg->jobs[i], w))
		qb_hint_set(seg->dirty_map, i);
}

/*
 * The dead one may have been killed between the end of a job and the wake-up of those who wait for it; so may a recoverer
 * of this seat behind a job that it gave up. Before any verdict of this recovery, which notes its own in the same place.
 */
static void wake_joiners(const struct qb_seg *seg, uint32_t seat)
{
	/* Relaxed: their writers are dead. */
	uint64_t ending = qb_load_relaxed64(&seg->seats[seat].ending);

	if (ending)
		qb_join_repair(seg, qb_ending_slot(ending));
	for (uint32_t k = 0; k < QB_SEAT_RECENT; k++)
		qb_join_repair(seg, qb_load_relaxed32(&seg->seats[seat].recent[k]) - 1);
}

int qb_recover_seat(struct qb_recovery *r, uint32_t seat, qb_verdict_fn fn, void *ctx)
{
	const struct qb_seg *seg = r->seg;
	uint32_t end;

	if (qb_seat_begin_recovery(seg, seat) < 0)
		return QB_EFENCED;
	wake_joiners(seg, seat);
	recover_recent(r, seat, fn, ctx);
	memset(r->seen, 0, (seg->cfg.job_count + 63) / 64 * sizeof(*r->seen));
	qb_ring_mark(seg, QB_RING_URGENT, r->seen);
	qb_ring_mark(seg, QB_RING_NORMAL, r->seen);
	/* [recovery.R2] Sees: every slot that the dead one used. Pairs with: [hint.W2]. */
	end = qb_load_acquire32(&seg->hdr->high_water);
	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		/*
		 * [recovery.R1] Sees: the last step of the dead one.
		 * Pairs with: [job.W1], [job.W3], [job.W4], [job.W5], [job.W8].
		 */
		uint64_t w = qb_load_acquire64(&seg->jobs[i].word);

		if (qb_word_seat(w) == seat && undecided(w))
			recover_word(r, i, w, fn, ctx);
		else
			repair_hints(r, i, w);
	}
	r->blocks_freed += qb_block_sweep(seg);
	/* A promotion that was cut short has lost the deadline: look at every waiting job. */
	qb_lower64(&seg->hdr->next_due_ns, 0);
	qb_job_promote_due(seg, qb_mono_ns());
	/*
	 * [recovery.W3] Publishes: no sleeper here. Pairs with: [wait.R3]; a waker that chose it has lost
	 * a wake-up, which is given again below.
	 */
	qb_and_seq_cst64(&seg->hdr->sleepers[seat / 64], ~(1ull << (seat % 64)));
	uint32_t syncer = seat;

	/* [recovery.W2] Publishes: no syncer, unless a new one sat down elsewhere. Pairs with: [wait.W2]. */
	qb_cas_acq_rel32(&seg->hdr->syncer_seat, &syncer, 0);
	QB_FAULT("recovery.seat.before-free");
	qb_seat_free(seg, seat);
	/* A wake-up that went to the dead one is given again. */
	if (qb_ring_depth(seg, QB_RING_NORMAL) + qb_ring_depth(seg, QB_RING_URGENT) > 0)
		qb_wake_worker(seg);
	qb_wake_seat(seg, qb_load_relaxed32(&seg->hdr->syncer_seat));
	return 0;
}
