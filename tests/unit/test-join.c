/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for the end of a job with a key: who is woken, by whom, and what the dead leave. */
#include <check.h>
#include <pthread.h>

#include "shm/join.h"
#include "shm/key.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define WATCHDOG_NS 20000000000ull
#define WAITERS 4

static struct qb_seg seg;
static struct qb_recovery rec;
static uint32_t driver, worker;
static struct qb_key_holder holder;
static pthread_t thread[WAITERS];

static void setup(void)
{
	struct qb_config_shm cfg;

	qb_test_config(&cfg);
	cfg.max_claims = 1;
	qb_test_create(&seg, &cfg);
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	driver = (uint32_t)qb_seat_take(&seg, QB_ROLE_DRIVER);
	worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
}

static void teardown(void)
{
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

static struct qb_held submit(uint64_t id)
{
	struct qb_submit what = qb_test_submit(id);
	struct qb_key_holder other;
	struct qb_held ref;

	what.key = (struct qb_key){ .hi = 7, .lo = 3 };
	ck_assert_int_eq(qb_job_submit_unique(&seg, driver, &what, &ref, &other), QB_OK);
	holder = (struct qb_key_holder){ .slot_idx = ref.slot_idx, .gen = qb_word_gen(ref.word), .job_id = id };
	ck_assert_int_eq(qb_job_claim(&seg, worker, &ref), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &ref), 0);
	return ref;
}

static void *waiter_main(void *how)
{
	*(enum qb_join_end *)how = qb_join_wait(&seg, holder.slot_idx, holder.gen, WATCHDOG_NS);
	return NULL;
}

static enum qb_join_end answer[WAITERS];

static void begin_waiting(void)
{
	for (int i = 0; i < WAITERS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, waiter_main, &answer[i]), 0);
	while (!(qb_load_acquire32(&seg.jobs[holder.slot_idx].joined) & 1))
		qb_cpu_pause();
}

/* Nobody by his time, which would be a lost wake-up. */
static void expect_all_released(void)
{
	for (int i = 0; i < WAITERS; i++) {
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
		ck_assert_int_eq(answer[i], QB_JOIN_ENDED);
	}
}

START_TEST(all_who_wait_are_released_by_completion)
{
	struct qb_held held = submit(1);

	begin_waiting();
	ck_assert_int_eq(qb_job_complete(&seg, worker, &held, NULL, 0), 0);
	expect_all_released();
}
END_TEST

START_TEST(final_failure_releases_and_a_retry_does_not)
{
	struct qb_held held = submit(1);
	int final;

	ck_assert_int_eq(qb_job_fail(&seg, worker, &held, 0, UINT64_MAX - 1, &final), 0);
	ck_assert_int_eq(qb_join_wait(&seg, holder.slot_idx, holder.gen, 1000000), QB_JOIN_NOT_YET);
	ck_assert_uint_eq(seg.jobs[holder.slot_idx].joined.v, 1);
	begin_waiting();
	qb_job_promote_due(&seg, UINT64_MAX - 1);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&seg, &held), 0);
	ck_assert_int_eq(qb_job_fail(&seg, worker, &held, 1, 0, &final), 0);
	ck_assert_int_eq(final, 1);
	expect_all_released();
}
END_TEST

START_TEST(who_was_killed_before_the_count_is_made_good)
{
	struct qb_held held = submit(1);

	begin_waiting();
	qb_store_relaxed64(&seg.seats[worker].ending, qb_ending(held.slot_idx, held.word));
	qb_store_release64(&seg.jobs[held.slot_idx].word, (held.word & ~0x3full) | QB_JOB_DONE);
	ck_assert_int_eq(qb_recover_seat(&rec, worker, NULL, NULL), 0);
	expect_all_released();
}
END_TEST

START_TEST(who_was_killed_before_the_wake_up_is_made_good)
{
	struct qb_held held = submit(1);

	begin_waiting();
	qb_store_relaxed64(&seg.seats[worker].ending, qb_ending(held.slot_idx, held.word));
	qb_store_release64(&seg.jobs[held.slot_idx].word, (held.word & ~0x3full) | QB_JOB_DONE);
	qb_store_release32(&seg.jobs[held.slot_idx].joined, 2);
	/* It is freed and used again meanwhile. */
	qb_job_free(&seg, held.slot_idx, (held.word & ~0x3full) | QB_JOB_DONE);
	ck_assert_int_eq(qb_recover_seat(&rec, worker, NULL, NULL), 0);
	expect_all_released();
}
END_TEST

START_TEST(recovery_that_gives_up_releases)
{
	submit(1);
	seg.jobs[holder.slot_idx].effect_class = QB_EFFECT_IDEMPOTENT;
	begin_waiting();
	ck_assert_int_eq(qb_recover_seat(&rec, worker, NULL, NULL), 0);
	ck_assert_int_eq(qb_word_state(seg.jobs[holder.slot_idx].word.v), QB_JOB_DEAD);
	expect_all_released();
}
END_TEST

START_TEST(given_up_by_who_resolves_releases)
{
	struct qb_held held = submit(1);
	uint64_t ambiguous = (held.word & ~0x3full) | QB_JOB_AMBIGUOUS;

	begin_waiting();
	qb_store_release64(&seg.jobs[held.slot_idx].word, ambiguous);
	ck_assert_int_eq(qb_job_resolve(&seg, driver, held.slot_idx, ambiguous, QB_JOB_DEAD, NULL, 0), 0);
	expect_all_released();
}
END_TEST

START_TEST(what_is_over_is_not_waited_for)
{
	struct qb_held held = submit(1);

	ck_assert_int_eq(qb_job_complete(&seg, worker, &held, NULL, 0), 0);
	ck_assert_int_eq(qb_join_wait(&seg, holder.slot_idx, holder.gen, 0), QB_JOIN_ENDED);
	ck_assert_uint_eq(seg.jobs[holder.slot_idx].joined.v, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("join");
	TCase *t = tcase_create("join");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, all_who_wait_are_released_by_completion);
	tcase_add_test(t, final_failure_releases_and_a_retry_does_not);
	tcase_add_test(t, who_was_killed_before_the_count_is_made_good);
	tcase_add_test(t, who_was_killed_before_the_wake_up_is_made_good);
	tcase_add_test(t, recovery_that_gives_up_releases);
	tcase_add_test(t, given_up_by_who_resolves_releases);
	tcase_add_test(t, what_is_over_is_not_waited_for);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
