/* SPDX-License-Identifier: Apache-2.0 */
/* What is in a job's hand or in a full ring is not forgotten: offers without room, and what recovery looks at first. */
#include <check.h>

#include "shm/hint.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_recovery rec;
static uint32_t driver, worker, told[8];
static unsigned told_count;

static void setup(void)
{
	qb_test_segment(&seg);
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	driver = (uint32_t)qb_seat_take(&seg, QB_ROLE_DRIVER);
	worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	told_count = 0;
}

static void teardown(void)
{
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

/* Entries of jobs that are long gone, as killed takers leave them. */
static void fill_ring(uint32_t ring_idx)
{
	while (qb_ring_push(&seg, ring_idx, 63, 5) == QB_OK)
		;
	ck_assert_uint_eq(qb_ring_depth(&seg, ring_idx), seg.cfg.ring_count);
}

static struct qb_held submit(uint64_t id)
{
	struct qb_submit what = qb_test_submit(id);
	struct qb_held held;

	ck_assert_int_eq(qb_job_submit(&seg, driver, &what, &held), QB_OK);
	return held;
}

/* A taker drops the dead entries, and with the next look the job is there. */
static void expect_claimed_soon(uint32_t slot_idx)
{
	struct qb_held held;
	int rc = qb_job_claim(&seg, worker, &held);

	if (rc == QB_EMPTY)
		rc = qb_job_claim(&seg, worker, &held);
	ck_assert_int_eq(rc, QB_OK);
	ck_assert_uint_eq(held.slot_idx, slot_idx);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_EMPTY);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_EMPTY);
	ck_assert(!qb_test_bit(seg.wait_map, slot_idx));
}

START_TEST(submitted_job_that_found_no_room_is_offered_again)
{
	fill_ring(QB_RING_NORMAL);
	expect_claimed_soon(submit(1).slot_idx);
}
END_TEST

START_TEST(released_job_that_found_no_room_is_offered_again)
{
	uint32_t slot_idx = submit(1).slot_idx;
	struct qb_held held;

	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	fill_ring(QB_RING_URGENT);
	ck_assert_int_eq(qb_job_release(&seg, &held), 0);
	expect_claimed_soon(slot_idx);
}
END_TEST

/* Both rings are full when its time has come: the promotion itself finds no room. */
START_TEST(promoted_job_that_found_no_room_is_offered_again)
{
	uint32_t slot_idx = submit(1).slot_idx;
	struct qb_held held;
	int final;

	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_int_eq(qb_job_fail(&seg, worker, &held, 0, UINT64_MAX - 1, &final), 0);
	fill_ring(QB_RING_URGENT);
	ck_assert_uint_eq(qb_job_promote_due(&seg, UINT64_MAX - 1), 1);
	ck_assert_uint_eq(qb_job_promote_due(&seg, UINT64_MAX - 1), 0);
	expect_claimed_soon(slot_idx);
}
END_TEST

START_TEST(recovered_job_that_found_no_room_is_offered_again)
{
	uint32_t slot_idx = submit(1).slot_idx;
	uint32_t dead = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	struct qb_held held;

	ck_assert_int_eq(qb_job_claim(&seg, dead, &held), QB_OK);
	fill_ring(QB_RING_URGENT);
	fill_ring(QB_RING_NORMAL);
	ck_assert_int_eq(qb_recover_seat(&rec, dead, NULL, NULL), 0);
	ck_assert_uint_gt(rec.ring_full, 0);
	expect_claimed_soon(slot_idx);
}
END_TEST

static void tell(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	(void)ctx;
	(void)verdict;
	(void)before;
	ck_assert_uint_lt(told_count, QB_ARRAY_COUNT(told));
	told[told_count++] = slot_idx;
}

static void hold(uint32_t slot_idx, uint64_t id, uint32_t seat, uint32_t state)
{
	qb_test_ready(&seg, slot_idx, 0, id);
	seg.jobs[slot_idx].word.v = qb_word(0, 1, seat, 0, state);
}

START_TEST(jobs_in_hand_are_decided_before_the_table_is_looked_through)
{
	uint32_t dead = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);

	hold(3, 1, dead, QB_JOB_CLAIMED);
	hold(40, 2, dead, QB_JOB_STARTED);
	hold(50, 3, worker, QB_JOB_STARTED);
	/* One is noted twice, one is not noted, one is somebody else's, one does not exist. */
	qb_seat_recent(&seg, dead, 40);
	seg.seats[dead].recent[1].v = 41;
	qb_seat_recent(&seg, dead, 50);
	seg.seats[dead].recent[5].v = 0xffffffff;
	ck_assert_int_eq(qb_recover_seat(&rec, dead, tell, NULL), 0);
	ck_assert_uint_eq(told_count, 2);
	ck_assert_uint_eq(told[0], 40);
	ck_assert_uint_eq(told[1], 3);
	ck_assert_uint_eq(qb_word_state(seg.jobs[50].word.v), QB_JOB_STARTED);
}
END_TEST

START_TEST(what_a_process_takes_is_noted)
{
	struct qb_held held = submit(1);

	ck_assert_uint_eq(seg.seats[driver].recent[held.slot_idx % QB_SEAT_RECENT].v, held.slot_idx + 1);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(seg.seats[worker].recent[held.slot_idx % QB_SEAT_RECENT].v, held.slot_idx + 1);
}
END_TEST

/* It would be logged a second time by whoever supplies the missing event. */
START_TEST(outcome_is_told_once_although_it_was_in_hand)
{
	uint32_t dead = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	struct qb_held held;

	submit(1);
	ck_assert_int_eq(qb_job_claim(&seg, dead, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_int_eq(qb_job_complete(&seg, dead, &held, NULL, 0), 0);
	ck_assert_int_eq(qb_recover_seat(&rec, dead, tell, NULL), 0);
	ck_assert_uint_eq(told_count, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("offer");
	TCase *tc = tcase_create("offer");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, submitted_job_that_found_no_room_is_offered_again);
	tcase_add_test(tc, released_job_that_found_no_room_is_offered_again);
	tcase_add_test(tc, promoted_job_that_found_no_room_is_offered_again);
	tcase_add_test(tc, recovered_job_that_found_no_room_is_offered_again);
	tcase_add_test(tc, jobs_in_hand_are_decided_before_the_table_is_looked_through);
	tcase_add_test(tc, what_a_process_takes_is_noted);
	tcase_add_test(tc, outcome_is_told_once_although_it_was_in_hand);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
