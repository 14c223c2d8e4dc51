/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of the job word, one at a time, on constructed words. */
#include <check.h>
#include <stdlib.h>

#include "shm/block.h"
#include "shm/hint.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define SUBMITTER 1u
#define WORKER 2u

static struct qb_seg seg;
static struct qb_held held;

static void setup(void)
{
	qb_test_segment(&seg);
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static struct qb_held submit(uint64_t job_id)
{
	struct qb_submit what = qb_test_submit(job_id);
	struct qb_held ref;

	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_OK);
	return ref;
}

static void claim(void)
{
	ck_assert_int_eq(qb_job_claim(&seg, WORKER, &held), QB_OK);
}

static void expect_word(uint32_t slot_idx, uint64_t word)
{
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, word);
}

START_TEST(word_keeps_each_field_apart)
{
	uint64_t w = qb_word(0x3ffffff, 0, 0xfff, 0, 0x3f);

	ck_assert_uint_eq(qb_word_gen(w), 0x3ffffff);
	ck_assert_uint_eq(qb_word_attempt(w), 0);
	ck_assert_uint_eq(qb_word_seat(w), 0xfff);
	ck_assert_uint_eq(qb_word_failures(w), 0);
	ck_assert_uint_eq(qb_word_state(w), 0x3f);
	w = qb_word(0, 0xffff, 0, 0xf, 0);
	ck_assert_uint_eq(qb_word_gen(w), 0);
	ck_assert_uint_eq(qb_word_attempt(w), 0xffff);
	ck_assert_uint_eq(qb_word_seat(w), 0);
	ck_assert_uint_eq(qb_word_failures(w), 0xf);
	ck_assert_uint_eq(qb_word_state(w), 0);
	/* One too many comes out as zero and touches no neighbour. */
	ck_assert_uint_eq(qb_word(1u << 26, 1u << 16, 1u << 12, 1u << 4, 1u << 6), 0);
}
END_TEST

START_TEST(submitted_job_is_ready_dirty_and_in_the_ring)
{
	struct qb_submit what = { .job_id = 77, .submitted_raw = 5, .work_us = 6, .tenant = 7, .kind = 8,
				  .error_class = 9, .max_attempts = 4, .effect_class = QB_EFFECT_OPAQUE,
				  .payload = "abc", .payload_bytes = 3 };
	struct qb_held ref;
	char back[8];

	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_OK);
	struct qb_job_shm *job = &seg.jobs[ref.slot_idx];

	expect_word(ref.slot_idx, qb_word(0, 0, 0, 0, QB_JOB_READY));
	ck_assert_uint_eq(ref.word, job->word.v);
	ck_assert_uint_eq(job->job_id, 77);
	ck_assert_uint_eq(job->submitted_raw, 5);
	ck_assert_uint_eq(job->work_us, 6);
	ck_assert_uint_eq(job->tenant, 7);
	ck_assert_uint_eq(job->kind, 8);
	ck_assert_uint_eq(job->error_class, 9);
	ck_assert_uint_eq(job->max_attempts, 4);
	ck_assert_uint_eq(job->effect_class, QB_EFFECT_OPAQUE);
	ck_assert_int_eq(qb_job_payload(&seg, ref.slot_idx, 0, back, sizeof(back)), 3);
	ck_assert_int_eq(memcmp(back, "abc", 3), 0);
	ck_assert_int_eq(qb_job_payload(&seg, ref.slot_idx, 0, back, 2), QB_ETOOBIG);
	ck_assert(qb_test_bit(seg.dirty_map, ref.slot_idx));
	ck_assert(!qb_test_bit(seg.free_map, ref.slot_idx));
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 1);
	ck_assert_uint_ge(seg.hdr->high_water.v, ref.slot_idx + 1);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_SUBMITTED), 1);
}
END_TEST

START_TEST(submit_refuses_what_cannot_be)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held ref;

	what.payload_bytes = QB_PAYLOAD_BYTES_MAX + 1;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_ETOOBIG);
	what.payload_bytes = 0;
	what.job_id = 0;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_EUSAGE);
	what.job_id = 1;
	what.max_attempts = 0;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_EUSAGE);
	what.max_attempts = 16;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_EUSAGE);
	ck_assert_uint_eq(seg.hdr->high_water.v, 0);
}
END_TEST

START_TEST(payload_that_would_never_fit_is_too_big_and_not_full)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held ref;
	uint32_t all = seg.cfg.block_count * seg.block_data_bytes;
	void *payload = calloc(1, all + 1);

	what.payload = payload;
	what.payload_bytes = all + 1;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_ETOOBIG);
	what.payload_bytes = all;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_OK);
	free(payload);
}
END_TEST

START_TEST(full_table_refuses_and_the_first_freed_slot_is_used_again)
{
	struct qb_submit what = qb_test_submit(1000);
	struct qb_held ref;

	for (uint32_t i = 0; i < seg.cfg.job_count; i++)
		submit(i + 1);
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_FULL);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_SUBMIT_FULL), 1);
	claim();
	qb_job_start(&seg, &held);
	ck_assert_int_eq(qb_job_complete(&seg, WORKER, &held, "r", 1), 0);
	qb_job_free(&seg, held.slot_idx, held.word);
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_OK);
	ck_assert_uint_eq(ref.slot_idx, held.slot_idx);
	ck_assert_uint_eq(qb_word_gen(ref.word), 1);
}
END_TEST

START_TEST(job_without_blocks_is_refused_and_leaves_no_trace)
{
	char payload[4096] = "x";
	struct qb_submit what = qb_test_submit(1);
	struct qb_held ref;
	uint32_t taken = 0;

	what.payload = payload;
	what.payload_bytes = sizeof(payload);
	while (qb_job_submit(&seg, SUBMITTER, &what, &ref) == QB_OK)
		taken++;
	ck_assert_uint_eq(taken, 128 / 37);
	/* The slot that was tried is free again, under the next generation, and so are its blocks. */
	expect_word(taken, qb_word(1, 0, 0, 0, QB_JOB_FREE));
	ck_assert(qb_test_bit(seg.free_map, taken));
	for (uint32_t i = 37 * taken; i < 128; i++)
		ck_assert_uint_eq(qb_seg_block(&seg, i)->tag.v, 0);
	what.payload_bytes = (128 - 37 * taken) * seg.block_data_bytes;
	ck_assert_int_eq(qb_job_submit(&seg, SUBMITTER, &what, &ref), QB_OK);
	ck_assert_uint_eq(qb_word_gen(ref.word), 1);
}
END_TEST

START_TEST(stale_free_bits_are_passed_over_and_cleared)
{
	qb_test_ready(&seg, 0, 0, 1);
	qb_test_ready(&seg, 1, 0, 2);
	qb_hint_set(seg.free_map, 0);
	qb_hint_set(seg.free_map, 1);
	ck_assert_uint_eq(submit(3).slot_idx, 2);
	ck_assert(!qb_test_bit(seg.free_map, 0));
	ck_assert(!qb_test_bit(seg.free_map, 1));
}
END_TEST

START_TEST(generation_goes_round_after_67_million_uses_of_a_slot)
{
	seg.jobs[0].word.v = qb_word(QB_GEN_MASK, 0, 0, 0, QB_JOB_FREE);
	struct qb_held ref = submit(1);

	ck_assert_uint_eq(qb_word_gen(ref.word), QB_GEN_MASK);
	claim();
	qb_job_start(&seg, &held);
	qb_job_complete(&seg, WORKER, &held, NULL, 0);
	qb_job_free(&seg, 0, held.word);
	expect_word(0, qb_word(0, 0, 0, 0, QB_JOB_FREE));
	ck_assert(qb_job_is_durable(&seg, &ref));
}
END_TEST

START_TEST(claim_on_empty_ring_returns_empty)
{
	ck_assert_int_eq(qb_job_claim(&seg, WORKER, &held), QB_EMPTY);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_CLAIM_EMPTY), 1);
}
END_TEST

START_TEST(claimed_job_names_the_worker_and_the_next_attempt)
{
	submit(1);
	claim();
	ck_assert_uint_eq(held.word, qb_word(0, 1, WORKER, 0, QB_JOB_CLAIMED));
	expect_word(held.slot_idx, held.word);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 0);
}
END_TEST

START_TEST(urgent_jobs_are_claimed_before_normal_ones)
{
	qb_test_ready(&seg, 0, 0, 1);
	qb_test_ready(&seg, 1, 0, 2);
	qb_ring_push(&seg, QB_RING_NORMAL, 0, 0);
	qb_ring_push(&seg, QB_RING_URGENT, 1, 0);
	claim();
	ck_assert_uint_eq(held.slot_idx, 1);
	claim();
	ck_assert_uint_eq(held.slot_idx, 0);
}
END_TEST

START_TEST(entries_for_jobs_that_are_not_ready_are_dropped_on_the_way)
{
	static const uint32_t states[] = { QB_JOB_FREE, QB_JOB_FILLING, QB_JOB_CLAIMED, QB_JOB_STARTED, QB_JOB_DONE,
					   QB_JOB_FAILED, QB_JOB_AMBIGUOUS, QB_JOB_SYNCED, QB_JOB_WAITING, QB_JOB_DEAD };

	for (uint32_t i = 0; i < QB_ARRAY_COUNT(states); i++) {
		qb_test_ready(&seg, i, 3, i + 1);
		seg.jobs[i].word.v = qb_word(3, 1, 5, 0, states[i]);
		qb_ring_push(&seg, QB_RING_NORMAL, i, 3);
	}
	qb_test_ready(&seg, 20, 4, 21);
	qb_ring_push(&seg, QB_RING_NORMAL, 20, 3);      /* another generation */
	qb_ring_push(&seg, QB_RING_NORMAL, 0xfffff, 4); /* no such slot */
	qb_ring_push(&seg, QB_RING_NORMAL, 20, 4);
	claim();
	ck_assert_uint_eq(held.slot_idx, 20);
	ck_assert_int_eq(qb_job_claim(&seg, WORKER, &held), QB_EMPTY);
	for (uint32_t i = 0; i < QB_ARRAY_COUNT(states); i++)
		expect_word(i, qb_word(3, 1, 5, 0, states[i]));
}
END_TEST

START_TEST(second_entry_of_a_claimed_job_gives_it_to_nobody)
{
	qb_test_ready(&seg, 4, 9, 1);
	qb_ring_push(&seg, QB_RING_NORMAL, 4, 9);
	qb_ring_push(&seg, QB_RING_NORMAL, 4, 9);
	claim();
	ck_assert_int_eq(qb_job_claim(&seg, WORKER + 1, &held), QB_EMPTY);
	expect_word(4, qb_word(9, 1, WORKER, 0, QB_JOB_CLAIMED));
}
END_TEST

START_TEST(completed_job_carries_its_result)
{
	submit(1);
	claim();
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_uint_eq(held.word, qb_word(0, 1, WORKER, 0, QB_JOB_STARTED));
	seg.dirty_map[0].v = 0;
	ck_assert_int_eq(qb_job_complete(&seg, WORKER, &held, "result", 6), 0);
	ck_assert_uint_eq(held.word, qb_word(0, 1, WORKER, 0, QB_JOB_DONE));
	ck_assert_uint_eq(seg.jobs[held.slot_idx].result_bytes, 6);
	ck_assert(qb_test_bit(seg.dirty_map, held.slot_idx));
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_COMPLETED), 1);
}
END_TEST

/* Somebody else decided: no word, no field and no arena byte may change. */
START_TEST(late_caller_is_refused_and_writes_nothing)
{
	submit(1);
	claim();
	qb_job_start(&seg, &held);
	struct qb_job_shm *job = &seg.jobs[held.slot_idx], before;
	uint64_t moved = qb_word(0, 2, 3, 0, QB_JOB_STARTED);
	struct qb_held late = held;
	int final;

	job->word.v = moved;
	before = *job;
	ck_assert_int_eq(qb_job_complete(&seg, WORKER, &late, "late", 4), QB_EFENCED);
	ck_assert_uint_eq(late.word, moved);
	late = held;
	ck_assert_int_eq(qb_job_fail(&seg, WORKER, &late, 0, 99, &final), QB_EFENCED);
	ck_assert_uint_eq(late.word, moved);
	late = held;
	ck_assert_int_eq(qb_job_start(&seg, &late), QB_EFENCED);
	ck_assert_uint_eq(late.word, moved);
	late = held;
	ck_assert_int_eq(qb_job_release(&seg, &late), QB_EFENCED);
	ck_assert_int_eq(memcmp(job, &before, sizeof(before)), 0);
	ck_assert_uint_eq(qb_seg_arena(&seg, WORKER)->head.v, 0);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_FENCED), 2);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_URGENT), 0);
}
END_TEST

START_TEST(only_a_claimed_job_can_be_released)
{
	static const uint32_t others[] = { QB_JOB_STARTED, QB_JOB_DONE, QB_JOB_FAILED, QB_JOB_SYNCED, QB_JOB_WAITING };

	submit(1);
	claim();
	for (unsigned i = 0; i < QB_ARRAY_COUNT(others); i++) {
		uint64_t word = qb_word(0, 1, WORKER, 0, others[i]);
		struct qb_held found = { .slot_idx = held.slot_idx, .word = word };

		/* As after a refused start, which tells the word that it found. */
		seg.jobs[held.slot_idx].word.v = word;
		ck_assert_int_eq(qb_job_release(&seg, &found), QB_EFENCED);
		ck_assert_uint_eq(seg.jobs[held.slot_idx].word.v, word);
	}
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_URGENT), 0);
}
END_TEST

START_TEST(released_job_is_offered_again_as_urgent)
{
	submit(1);
	claim();
	ck_assert_int_eq(qb_job_release(&seg, &held), 0);
	expect_word(held.slot_idx, qb_word(0, 1, 0, 0, QB_JOB_READY));
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_URGENT), 1);
	claim();
	ck_assert_uint_eq(qb_word_attempt(held.word), 2);
}
END_TEST

START_TEST(failed_job_waits_and_is_promoted_when_its_time_comes)
{
	int final = 9;

	submit(1);
	claim();
	qb_job_start(&seg, &held);
	seg.dirty_map[0].v = 0;
	ck_assert_int_eq(qb_job_fail(&seg, WORKER, &held, 0, 5000, &final), 0);
	ck_assert_int_eq(final, 0);
	expect_word(held.slot_idx, qb_word(0, 1, WORKER, 1, QB_JOB_WAITING));
	ck_assert(qb_test_bit(seg.wait_map, held.slot_idx));
	ck_assert(qb_test_bit(seg.dirty_map, held.slot_idx));
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, 5000);
	ck_assert_uint_eq(qb_job_promote_due(&seg, 4999), 0);
	expect_word(held.slot_idx, qb_word(0, 1, WORKER, 1, QB_JOB_WAITING));
	ck_assert_uint_eq(qb_job_promote_due(&seg, 5000), 1);
	expect_word(held.slot_idx, qb_word(0, 1, 0, 1, QB_JOB_READY));
	ck_assert(!qb_test_bit(seg.wait_map, held.slot_idx));
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, UINT64_MAX);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_URGENT), 1);
	claim();
	ck_assert_uint_eq(held.word, qb_word(0, 2, WORKER, 1, QB_JOB_CLAIMED));
}
END_TEST

START_TEST(job_that_may_retry_at_once_is_found_by_the_next_claim)
{
	int final;

	submit(1);
	claim();
	qb_job_start(&seg, &held);
	qb_job_fail(&seg, WORKER, &held, 0, 0, &final);
	claim();
	ck_assert_uint_eq(qb_word_attempt(held.word), 2);
	ck_assert_uint_eq(qb_word_failures(held.word), 1);
}
END_TEST

START_TEST(last_attempt_and_permanent_errors_fail_for_good)
{
	int final = 0;

	submit(1);
	for (uint32_t k = 1; k <= 3; k++) {
		claim();
		qb_job_start(&seg, &held);
		ck_assert_int_eq(qb_job_fail(&seg, WORKER, &held, 0, 0, &final), 0);
		ck_assert_int_eq(final, k == 3);
	}
	expect_word(held.slot_idx, qb_word(0, 3, WORKER, 3, QB_JOB_FAILED));
	submit(2);
	claim();
	qb_job_start(&seg, &held);
	ck_assert_int_eq(qb_job_fail(&seg, WORKER, &held, 1, 0, &final), 0);
	ck_assert_int_eq(final, 1);
	expect_word(held.slot_idx, qb_word(0, 1, WORKER, 1, QB_JOB_FAILED));
	ck_assert_uint_eq(qb_job_promote_due(&seg, UINT64_MAX), 0);
}
END_TEST

START_TEST(promotion_keeps_the_earliest_deadline_of_those_that_stay)
{
	static const uint64_t due[] = { 900, 300, 100, 700, 301 };

	for (uint32_t i = 0; i < 5; i++) {
		qb_test_ready(&seg, 10 * i, 2, i + 1);
		seg.jobs[10 * i].word.v = qb_word(2, 1, WORKER, 1, QB_JOB_WAITING);
		seg.jobs[10 * i].due_ns.v = due[i];
		qb_hint_set(seg.wait_map, 10 * i);
	}
	qb_hint_set(seg.wait_map, 33);          /* stale: that job waits for nothing */
	seg.hdr->next_due_ns.v = 0;
	ck_assert_uint_eq(qb_job_promote_due(&seg, 300), 2);
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, 301);
	ck_assert(!qb_test_bit(seg.wait_map, 33));
	ck_assert(qb_test_bit(seg.wait_map, 40));
	ck_assert_uint_eq(qb_job_promote_due(&seg, 1000), 3);
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, UINT64_MAX);
}
END_TEST

START_TEST(freed_job_gives_back_slot_and_blocks)
{
	char payload[300] = "p";
	struct qb_submit what = qb_test_submit(1);
	struct qb_held ref;

	what.payload = payload;
	what.payload_bytes = sizeof(payload);
	qb_job_submit(&seg, SUBMITTER, &what, &ref);
	claim();
	qb_job_start(&seg, &held);
	qb_job_complete(&seg, WORKER, &held, NULL, 0);
	qb_job_free(&seg, held.slot_idx, held.word ^ 1);        /* not the present word: nothing happens */
	expect_word(held.slot_idx, held.word);
	qb_job_free(&seg, held.slot_idx, held.word);
	expect_word(held.slot_idx, qb_word(1, 0, 0, 0, QB_JOB_FREE));
	ck_assert(qb_test_bit(seg.free_map, held.slot_idx));
	for (uint32_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(qb_seg_block(&seg, i)->tag.v, 0);
		ck_assert(qb_test_bit(seg.block_map, i));
	}
}
END_TEST

START_TEST(rescan_finishes_what_a_killed_syncer_left)
{
	struct qb_held ref = submit(1);

	claim();
	qb_job_start(&seg, &held);
	qb_job_complete(&seg, WORKER, &held, NULL, 0);
	seg.jobs[ref.slot_idx].word.v = qb_word(0, 1, WORKER, 0, QB_JOB_SYNCED);
	submit(2);
	seg.dirty_map[0].v = 0;
	qb_job_rescan(&seg);
	expect_word(ref.slot_idx, qb_word(1, 0, 0, 0, QB_JOB_FREE));
	ck_assert_uint_eq(seg.dirty_map[0].v, 1ull << 1);
}
END_TEST

START_TEST(durability_is_what_the_syncer_noted_for_this_generation)
{
	struct qb_held ref = submit(1);
	qb_au64 *sync = &seg.jobs[ref.slot_idx].sync;

	ck_assert(!qb_job_is_durable(&seg, &ref));
	sync->v = qb_sync(7, QB_SYNC_FINAL, 1);         /* of another generation */
	ck_assert(!qb_job_is_durable(&seg, &ref));
	sync->v = qb_sync(0, QB_SYNC_ACCEPTED, 0);
	ck_assert(qb_job_is_durable(&seg, &ref));
	sync->v = 0;
	seg.jobs[ref.slot_idx].word.v = qb_word(1, 0, 0, 0, QB_JOB_FREE);
	ck_assert(qb_job_is_durable(&seg, &ref));
	ref.slot_idx = seg.cfg.job_count;
	ck_assert(!qb_job_is_durable(&seg, &ref));
}
END_TEST

START_TEST(a_word_is_dirty_until_what_it_says_is_durable)
{
	static const struct { uint32_t state, attempt, stage, synced_attempt; int dirty; } want[] = {
		{ QB_JOB_FREE, 0, QB_SYNC_NONE, 0, 0 }, { QB_JOB_FILLING, 0, QB_SYNC_NONE, 0, 0 },
		{ QB_JOB_READY, 0, QB_SYNC_NONE, 0, 1 }, { QB_JOB_READY, 1, QB_SYNC_ACCEPTED, 0, 0 },
		{ QB_JOB_CLAIMED, 1, QB_SYNC_NONE, 0, 1 }, { QB_JOB_STARTED, 1, QB_SYNC_ACCEPTED, 0, 0 },
		{ QB_JOB_WAITING, 1, QB_SYNC_ACCEPTED, 0, 1 }, { QB_JOB_WAITING, 2, QB_SYNC_RETRY, 1, 1 },
		{ QB_JOB_WAITING, 2, QB_SYNC_RETRY, 2, 0 }, { QB_JOB_DONE, 1, QB_SYNC_FINAL, 1, 1 },
		{ QB_JOB_FAILED, 1, QB_SYNC_FINAL, 1, 1 }, { QB_JOB_DEAD, 1, QB_SYNC_FINAL, 1, 1 },
		{ QB_JOB_SYNCED, 1, QB_SYNC_FINAL, 1, 1 }, { QB_JOB_AMBIGUOUS, 1, QB_SYNC_ACCEPTED, 0, 1 },
		{ QB_JOB_AMBIGUOUS, 1, QB_SYNC_FINAL, 1, 0 },
	};
	struct qb_job_shm *job = &seg.jobs[0];

	for (size_t i = 0; i < QB_ARRAY_COUNT(want); i++) {
		uint64_t w = qb_word(5, want[i].attempt, WORKER, 0, want[i].state);

		job->sync.v = qb_sync(5, want[i].stage, want[i].synced_attempt);
		ck_assert_msg(qb_job_is_dirty(job, w) == want[i].dirty, "entry %zu", i);
		if (want[i].state == QB_JOB_FREE || want[i].state == QB_JOB_FILLING)
			continue;
		job->sync.v = qb_sync(4, QB_SYNC_FINAL, want[i].attempt);
		ck_assert_msg(qb_job_is_dirty(job, w), "entry %zu with the sync word of another generation", i);
	}
}
END_TEST

START_TEST(damaged_payload_is_reported)
{
	char payload[200] = "p", back[256];
	struct qb_submit what = qb_test_submit(1);
	struct qb_held ref;

	what.payload = payload;
	what.payload_bytes = sizeof(payload);
	qb_job_submit(&seg, SUBMITTER, &what, &ref);
	struct qb_job_shm *job = &seg.jobs[ref.slot_idx];

	qb_block_data(qb_seg_block(&seg, 1))[3] ^= 1;
	ck_assert_int_eq(qb_job_payload(&seg, ref.slot_idx, 0, back, sizeof(back)), QB_ECORRUPT);
	qb_block_data(qb_seg_block(&seg, 1))[3] ^= 1;
	ck_assert_int_eq(qb_job_payload(&seg, ref.slot_idx, 0, back, sizeof(back)), 200);
	job->payload_bytes = QB_PAYLOAD_BYTES_MAX + 1;
	ck_assert_int_eq(qb_job_payload(&seg, ref.slot_idx, 0, back, sizeof(back)), QB_ECORRUPT);
	ck_assert_int_eq(qb_job_payload(&seg, seg.cfg.job_count, 0, back, sizeof(back)), QB_ECORRUPT);
}
END_TEST

START_TEST(effects_are_counted_per_job_and_never_out_of_bounds)
{
	ck_assert_uint_eq(qb_effect_bump(&seg, 3), 0);
	ck_assert_uint_eq(qb_effect_bump(&seg, 3), 1);
	ck_assert_uint_eq(qb_effect_count(&seg, 3), 2);
	ck_assert_uint_eq(qb_effect_bump(&seg, 0), 0);
	ck_assert_uint_eq(qb_effect_bump(&seg, seg.cfg.effect_count + 1ull), 0);
	ck_assert_uint_eq(qb_effect_count(&seg, UINT64_MAX), 0);
	ck_assert_uint_eq(qb_effect_count(&seg, seg.cfg.effect_count), 0);
}
END_TEST

static TCase *submitting(void)
{
	TCase *t = tcase_create("submit");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, word_keeps_each_field_apart);
	tcase_add_test(t, submitted_job_is_ready_dirty_and_in_the_ring);
	tcase_add_test(t, submit_refuses_what_cannot_be);
	tcase_add_test(t, payload_that_would_never_fit_is_too_big_and_not_full);
	tcase_add_test(t, full_table_refuses_and_the_first_freed_slot_is_used_again);
	tcase_add_test(t, job_without_blocks_is_refused_and_leaves_no_trace);
	tcase_add_test(t, stale_free_bits_are_passed_over_and_cleared);
	tcase_add_test(t, generation_goes_round_after_67_million_uses_of_a_slot);
	tcase_add_test(t, damaged_payload_is_reported);
	tcase_add_test(t, effects_are_counted_per_job_and_never_out_of_bounds);
	return t;
}

static TCase *running(void)
{
	TCase *t = tcase_create("run");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, claim_on_empty_ring_returns_empty);
	tcase_add_test(t, claimed_job_names_the_worker_and_the_next_attempt);
	tcase_add_test(t, urgent_jobs_are_claimed_before_normal_ones);
	tcase_add_test(t, entries_for_jobs_that_are_not_ready_are_dropped_on_the_way);
	tcase_add_test(t, second_entry_of_a_claimed_job_gives_it_to_nobody);
	tcase_add_test(t, completed_job_carries_its_result);
	tcase_add_test(t, late_caller_is_refused_and_writes_nothing);
	tcase_add_test(t, only_a_claimed_job_can_be_released);
	tcase_add_test(t, released_job_is_offered_again_as_urgent);
	tcase_add_test(t, failed_job_waits_and_is_promoted_when_its_time_comes);
	tcase_add_test(t, job_that_may_retry_at_once_is_found_by_the_next_claim);
	tcase_add_test(t, last_attempt_and_permanent_errors_fail_for_good);
	tcase_add_test(t, promotion_keeps_the_earliest_deadline_of_those_that_stay);
	tcase_add_test(t, freed_job_gives_back_slot_and_blocks);
	tcase_add_test(t, rescan_finishes_what_a_killed_syncer_left);
	tcase_add_test(t, durability_is_what_the_syncer_noted_for_this_generation);
	tcase_add_test(t, a_word_is_dirty_until_what_it_says_is_durable);
	return t;
}

int main(void)
{
	Suite *s = suite_create("job");

	suite_add_tcase(s, submitting());
	suite_add_tcase(s, running());
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
