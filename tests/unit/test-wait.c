/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parking and waking. The futex system call is replaced here, so that each one is counted and a test
 * can act at the very moment in which a process falls asleep.
 */
#include <check.h>
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/seat.h"
#include "shm/wait.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static unsigned waits, wakes;
static uint32_t *last_word, last_expected;
static uint64_t last_timeout_ns;
static void (*while_asleep)(void);

/* The linker finds this one before libc's. Nothing else in this program calls syscall(). */
long syscall(long number, ...)
{
	va_list ap;

	ck_assert_int_eq(number, SYS_futex);
	va_start(ap, number);
	uint32_t *word = va_arg(ap, uint32_t *);
	int op = va_arg(ap, int);
	uint32_t value = va_arg(ap, uint32_t);
	const struct timespec *t = va_arg(ap, const struct timespec *);

	va_end(ap);
	if (op == FUTEX_WAKE) {
		wakes++;
		last_word = word;
		return 0;
	}
	/* Not the private kind: the sleeper maps the word at another address. */
	ck_assert_int_eq(op, FUTEX_WAIT);
	ck_assert_ptr_nonnull(t);
	waits++;
	last_word = word;
	last_expected = value;
	last_timeout_ns = (uint64_t)t->tv_sec * 1000000000ull + (uint64_t)t->tv_nsec;
	if (while_asleep)
		while_asleep();
	errno = __atomic_load_n(word, __ATOMIC_RELAXED) == value ? ETIMEDOUT : EAGAIN;
	return -1;
}

static void setup(void)
{
	struct qb_config_shm cfg;

	qb_test_config(&cfg);
	cfg.seat_count = 200;
	qb_test_create(&seg, &cfg);
	waits = wakes = 0;
	while_asleep = NULL;
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static int sleeper_bit(uint32_t seat)
{
	return qb_test_bit(seg.hdr->sleepers, seat);
}

START_TEST(waking_when_nobody_sleeps_makes_no_system_call)
{
	for (uint32_t seat = 0; seat < 202; seat++)
		ck_assert_int_eq(qb_wake_seat(&seg, seat), 0);
	ck_assert_int_eq(qb_wake_worker(&seg), 0);
	qb_wake_all(&seg);
	ck_assert_uint_eq(wakes, 0);
}
END_TEST

START_TEST(submit_claim_complete_and_free_make_no_system_call_when_nobody_sleeps)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held held;

	seg.hdr->syncer_seat.v = 9;
	ck_assert_int_eq(qb_job_submit(&seg, 1, &what, &held), QB_OK);
	ck_assert_int_eq(qb_job_claim(&seg, 2, &held), QB_OK);
	qb_job_start(&seg, &held);
	qb_job_complete(&seg, 2, &held, "r", 1);
	qb_job_free(&seg, held.slot_idx, held.word);
	ck_assert_uint_eq(waits + wakes, 0);
}
END_TEST

START_TEST(submit_wakes_one_worker_and_the_syncer)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held held;

	seg.hdr->syncer_seat.v = 9;
	qb_park_prepare(&seg, 9, 0);
	qb_park_prepare(&seg, 4, 1);
	qb_park_prepare(&seg, 5, 1);
	ck_assert_int_eq(qb_job_submit(&seg, 1, &what, &held), QB_OK);
	ck_assert_uint_eq(wakes, 2);
	ck_assert_uint_eq(seg.seats[9].asleep.v, 0);
	ck_assert_uint_eq(seg.seats[4].asleep.v + seg.seats[5].asleep.v, 1);
}
END_TEST

START_TEST(parked_process_is_announced_and_ends_its_announcement)
{
	qb_park_prepare(&seg, 70, 1);
	ck_assert_uint_eq(seg.seats[70].asleep.v, 1);
	ck_assert(sleeper_bit(70));
	qb_park(&seg, 70, 1234567890123ull);
	ck_assert_uint_eq(waits, 1);
	ck_assert_ptr_eq(last_word, &seg.seats[70].asleep.v);
	ck_assert_uint_eq(last_expected, 1);
	ck_assert_uint_eq(last_timeout_ns, 1234567890123ull);
	ck_assert_uint_eq(seg.seats[70].asleep.v, 0);
	ck_assert(!sleeper_bit(70));
}
END_TEST

START_TEST(process_that_takes_no_jobs_is_not_found_by_job_wakers)
{
	qb_park_prepare(&seg, 3, 0);
	ck_assert(!sleeper_bit(3));
	ck_assert_int_eq(qb_wake_worker(&seg), 0);
	ck_assert_int_eq(qb_wake_seat(&seg, 3), 1);
	ck_assert_int_eq(qb_wake_seat(&seg, 3), 0);
	ck_assert_uint_eq(wakes, 1);
}
END_TEST

START_TEST(one_wake_up_for_each_sleeper_and_no_more)
{
	static const uint32_t sleepers[] = { 1, 63, 64, 130, 199 };

	for (size_t i = 0; i < QB_ARRAY_COUNT(sleepers); i++)
		qb_park_prepare(&seg, sleepers[i], 1);
	for (size_t i = 0; i < QB_ARRAY_COUNT(sleepers); i++) {
		ck_assert_int_eq(qb_wake_worker(&seg), 1);
		ck_assert_ptr_eq(last_word, &seg.seats[sleepers[i]].asleep.v);
		ck_assert(!sleeper_bit(sleepers[i]));
	}
	ck_assert_int_eq(qb_wake_worker(&seg), 0);
	ck_assert_uint_eq(wakes, QB_ARRAY_COUNT(sleepers));
}
END_TEST

START_TEST(stale_bit_of_an_awake_process_costs_no_wake_up)
{
	seg.hdr->sleepers[0].v = 1ull << 2 | 1ull << 3;
	seg.seats[3].asleep.v = 1;
	ck_assert_int_eq(qb_wake_worker(&seg), 1);
	ck_assert_uint_eq(wakes, 1);
	ck_assert_ptr_eq(last_word, &seg.seats[3].asleep.v);
	ck_assert_uint_eq(seg.hdr->sleepers[0].v, 0);
}
END_TEST

START_TEST(bit_of_a_seat_that_does_not_exist_is_cleared_and_ignored)
{
	seg.hdr->sleepers[3].v = 1ull << 40;
	seg.hdr->sleepers[0].v = 1;
	ck_assert_int_eq(qb_wake_worker(&seg), 0);
	ck_assert_uint_eq(wakes, 0);
}
END_TEST

static void wake_it(void)
{
	ck_assert_int_eq(qb_wake_worker(&seg), 1);
}

START_TEST(wake_up_between_announcement_and_sleep_is_not_lost)
{
	qb_park_prepare(&seg, 7, 1);
	wake_it();
	qb_park(&seg, 7, 1000000);
	/* The kernel compares: the word is no longer 1, so this sleep has ended before it began. */
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert(!sleeper_bit(7));
}
END_TEST

START_TEST(wake_up_during_the_sleep_ends_it)
{
	while_asleep = wake_it;
	qb_park_prepare(&seg, 7, 1);
	qb_park(&seg, 7, 1000000);
	ck_assert_uint_eq(wakes, 1);
	ck_assert_uint_eq(seg.seats[7].asleep.v, 0);
}
END_TEST

START_TEST(process_that_finds_work_itself_does_not_sleep)
{
	qb_park_prepare(&seg, 7, 1);
	qb_park_cancel(&seg, 7);
	ck_assert_uint_eq(waits + wakes, 0);
	ck_assert_uint_eq(seg.seats[7].asleep.v, 0);
	ck_assert(!sleeper_bit(7));
}
END_TEST

/*
 * Seat 1 announces its sleep, then finds a job by itself.  Meanwhile somebody else's wake-up for
 * another job was spent on it: that must reach seat 2, which still sleeps.
 */
START_TEST(wake_up_spent_on_a_process_that_found_work_itself_is_passed_on)
{
	qb_park_prepare(&seg, 2, 1);
	qb_park_prepare(&seg, 1, 1);
	ck_assert_int_eq(qb_wake_worker(&seg), 1);
	ck_assert_uint_eq(seg.seats[1].asleep.v, 0);
	qb_park_cancel(&seg, 1);
	ck_assert_uint_eq(seg.seats[2].asleep.v, 0);
	ck_assert_uint_eq(wakes, 2);
}
END_TEST

START_TEST(everybody_is_woken_at_once)
{
	for (uint32_t seat = 1; seat < 200; seat += 3)
		qb_park_prepare(&seg, seat, seat % 2);
	qb_wake_all(&seg);
	ck_assert_uint_eq(wakes, 67);
	for (uint32_t seat = 1; seat < 200; seat++)
		ck_assert_uint_eq(seg.seats[seat].asleep.v, 0);
}
END_TEST

START_TEST(stop_only_rises_and_reaches_sleeping_standbys)
{
	qb_park_prepare(&seg, 4, 1);
	seg.seats[5].word.v = qb_seat_word(1, QB_ROLE_STANDBY, QB_SEAT_TAKEN);
	qb_raise_stop(&seg, QB_STOP_FINISH);
	ck_assert_uint_eq(seg.hdr->stop.v, QB_STOP_FINISH);
	ck_assert_uint_eq(wakes, 2);
	ck_assert_ptr_eq(last_word, &seg.seats[5].go.v);
	qb_raise_stop(&seg, QB_STOP_DRAIN);
	ck_assert_uint_eq(seg.hdr->stop.v, QB_STOP_FINISH);
}
END_TEST

static void give_go(void)
{
	qb_give_go(&seg, 6);
}

START_TEST(standby_waits_for_its_go)
{
	ck_assert_int_eq(qb_wait_go(&seg, 6, 5000), 0);
	ck_assert_uint_eq(waits, 1);
	ck_assert_uint_eq(last_timeout_ns, 5000);
	while_asleep = give_go;
	ck_assert_int_eq(qb_wait_go(&seg, 6, 5000), 1);
	ck_assert_int_eq(qb_wait_go(&seg, 6, 5000), 1);
	ck_assert_uint_eq(waits, 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wait");
	TCase *t = tcase_create("wait");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, waking_when_nobody_sleeps_makes_no_system_call);
	tcase_add_test(t, submit_claim_complete_and_free_make_no_system_call_when_nobody_sleeps);
	tcase_add_test(t, submit_wakes_one_worker_and_the_syncer);
	tcase_add_test(t, parked_process_is_announced_and_ends_its_announcement);
	tcase_add_test(t, process_that_takes_no_jobs_is_not_found_by_job_wakers);
	tcase_add_test(t, one_wake_up_for_each_sleeper_and_no_more);
	tcase_add_test(t, stale_bit_of_an_awake_process_costs_no_wake_up);
	tcase_add_test(t, bit_of_a_seat_that_does_not_exist_is_cleared_and_ignored);
	tcase_add_test(t, wake_up_between_announcement_and_sleep_is_not_lost);
	tcase_add_test(t, wake_up_during_the_sleep_ends_it);
	tcase_add_test(t, process_that_finds_work_itself_does_not_sleep);
	tcase_add_test(t, wake_up_spent_on_a_process_that_found_work_itself_is_passed_on);
	tcase_add_test(t, everybody_is_woken_at_once);
	tcase_add_test(t, stop_only_rises_and_reaches_sleeping_standbys);
	tcase_add_test(t, standby_waits_for_its_go);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
