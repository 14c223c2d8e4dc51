/* SPDX-License-Identifier: Apache-2.0 */
/* Ambiguous jobs: how recovery leaves them, and what it means that they are resolved. */
#include <check.h>

#include "shm/arena.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define SYNCER 1u

static struct qb_seg seg;
static struct qb_recovery rec;
static uint32_t worker;
static enum qb_verdict told;
static unsigned told_count;

static void setup(void)
{
	qb_test_segment(&seg);
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_SYNCER), SYNCER);
	worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	told_count = 0;
}

static void teardown(void)
{
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

static void tell(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	(void)ctx;
	(void)slot_idx;
	(void)before;
	told = verdict;
	told_count++;
}

/* A job of that class whose worker died in it; its word. */
static uint64_t interrupted(uint32_t *slot_idx, uint16_t effect_class)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held held;

	what.effect_class = effect_class;
	ck_assert_int_eq(qb_job_submit(&seg, SYNCER, &what, &held), QB_OK);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_int_eq(qb_recover_seat(&rec, worker, tell, NULL), 0);
	*slot_idx = held.slot_idx;
	return seg.jobs[held.slot_idx].word.v;
}

START_TEST(interrupted_transactional_job_is_in_doubt)
{
	uint32_t slot_idx;

	ck_assert_uint_eq(interrupted(&slot_idx, QB_EFFECT_TRANSACTIONAL), qb_word(0, 1, worker, 0, QB_JOB_AMBIGUOUS));
	ck_assert_uint_eq(told_count, 1);
	ck_assert_int_eq(told, QB_VERDICT_IN_DOUBT);
	ck_assert(qb_job_is_dirty(&seg.jobs[slot_idx], seg.jobs[slot_idx].word.v));
}
END_TEST

START_TEST(job_that_had_its_effect_is_done_with_its_result)
{
	uint32_t slot_idx, bytes = 0;
	uint64_t w = interrupted(&slot_idx, QB_EFFECT_TRANSACTIONAL), done = qb_word(0, 1, SYNCER, 0, QB_JOB_DONE);
	const uint8_t *result;

	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_DONE, "result", 6), 0);
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, done);
	result = qb_arena_read(&seg, &seg.jobs[slot_idx], slot_idx, done, &bytes);
	ck_assert_ptr_nonnull(result);
	ck_assert_uint_eq(bytes, 6);
	ck_assert_int_eq(memcmp(result, "result", 6), 0);
	ck_assert(qb_test_bit(seg.dirty_map, slot_idx));
}
END_TEST

START_TEST(job_that_had_none_runs_again)
{
	uint32_t slot_idx;
	uint64_t w = interrupted(&slot_idx, QB_EFFECT_TRANSACTIONAL);
	struct qb_held held;

	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_READY, NULL, 0), 0);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(held.slot_idx, slot_idx);
	ck_assert_uint_eq(held.word, qb_word(0, 2, worker, 0, QB_JOB_CLAIMED));
}
END_TEST

START_TEST(job_that_was_claimed_too_often_is_given_up)
{
	uint32_t slot_idx;
	uint64_t w = interrupted(&slot_idx, QB_EFFECT_OPAQUE);

	seg.cfg.max_claims = 1;
	ck_assert_int_eq(told, QB_VERDICT_PARKED);
	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_READY, NULL, 0), 0);
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, qb_word(0, 1, worker, 0, QB_JOB_DEAD));
}
END_TEST

START_TEST(only_an_ambiguous_job_is_resolved_and_only_once)
{
	uint32_t slot_idx;
	uint64_t w = interrupted(&slot_idx, QB_EFFECT_OPAQUE);

	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, qb_word(0, 1, worker, 0, QB_JOB_STARTED), QB_JOB_DEAD,
					NULL, 0), QB_EUSAGE);
	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_STARTED, NULL, 0), QB_EUSAGE);
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, w);
	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_DEAD, NULL, 0), 0);
	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_READY, NULL, 0), QB_EFENCED);
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, qb_word(0, 1, worker, 0, QB_JOB_DEAD));
}
END_TEST

/* Durable as ambiguous, resolved, run again, interrupted again: that is news. */
START_TEST(second_doubt_about_a_job_is_news)
{
	uint32_t slot_idx;
	uint64_t w = interrupted(&slot_idx, QB_EFFECT_TRANSACTIONAL);
	struct qb_held held;

	seg.jobs[slot_idx].sync.v = qb_sync(0, QB_SYNC_FINAL, 1);
	ck_assert(!qb_job_is_dirty(&seg.jobs[slot_idx], w));
	ck_assert_int_eq(qb_job_resolve(&seg, SYNCER, slot_idx, w, QB_JOB_READY, NULL, 0), 0);
	worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_int_eq(qb_recover_seat(&rec, worker, tell, NULL), 0);
	w = seg.jobs[slot_idx].word.v;
	ck_assert_uint_eq(w, qb_word(0, 2, worker, 0, QB_JOB_AMBIGUOUS));
	ck_assert(qb_job_is_dirty(&seg.jobs[slot_idx], w));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resolve");
	TCase *tc = tcase_create("resolve");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, interrupted_transactional_job_is_in_doubt);
	tcase_add_test(tc, job_that_had_its_effect_is_done_with_its_result);
	tcase_add_test(tc, job_that_had_none_runs_again);
	tcase_add_test(tc, job_that_was_claimed_too_often_is_given_up);
	tcase_add_test(tc, only_an_ambiguous_job_is_resolved_and_only_once);
	tcase_add_test(tc, second_doubt_about_a_job_is_news);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
