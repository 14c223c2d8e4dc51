/* SPDX-License-Identifier: Apache-2.0 */
/* platlib: whose end is told to whom: runs that follow each other, workers that were swept or killed as they ended one. */
#include "tests/pg/platlibaddress.h"

char *pgtest_base;

START_TEST(fixed_tells_the_failure_of_the_run_that_was_joined_however_late_one_looks)
{
	struct qb_address_run run, joined, next;
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "whose", FIXED NEVER);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(push(&b, 21, &run), QB_OK);
	get(&b, q, &job);
	ck_assert_int_eq(push(&b, 22, &joined), QB_DUPLICATE);
	end_with(&b, q, &job, "first");
	/* The next run is queued, then runs: those of the first are told theirs, and those of the second nothing. */
	ck_assert_int_eq(push(&b, 23, &next), QB_OK);
	ck_failed(&b, &run, 21, "first");
	ck_failed(&b, &joined, 21, "first");
	ck_not_yet(&b, &next);
	get(&b, q, &job);
	ck_not_yet(&b, &next);
	ck_failed(&b, &joined, 21, "first");
	ck_assert_int_eq(push(&b, 24, &joined), QB_DUPLICATE);
	end_with(&b, q, &job, NULL);
	ck_await(&b, &next, QB_ADDRESS_DONE);
	ck_await(&b, &joined, QB_ADDRESS_DONE);
	ck_assert_int_eq(count_rows(&b, FAILURES), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(row_that_somebody_removes_is_over_and_the_failure_before_it_is_not_its_own)
{
	struct qb_address_run first, run;
	struct bench b;

	plat_open(&b, "removed", FIXED NEVER);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(push(&b, 25, &first), QB_OK);
	run_one(&b, q, 25, "first");
	ck_assert_int_eq(push(&b, 26, &run), QB_OK);
	ck_not_yet(&b, &run);
	sql(b.w.db, "delete from qbench_platlib.queue");
	ck_await(&b, &run, QB_ADDRESS_DONE);
	ck_failed(&b, &first, 25, "first");
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(late_hand_of_a_swept_worker_changes_no_record_of_fixed_and_that_of_the_library)
{
	struct qb_address_run run, next;
	struct qb_queue_job late, job;
	struct qb_err err = { 0 };
	struct bench b;
	bool fixed = _i;

	plat_open(&b, "late", adapters[_i]);
	struct qb_queue *a = consumer(&b), *q = consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER));

	ck_assert_int_eq(push(&b, 31, &run), QB_OK);
	get(&b, a, &late);
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, NULL, 3600 * QB_NS_PER_S, &err), 1);
	run_one(&b, q, 31, NULL);
	ck_await(&b, &run, QB_ADDRESS_DONE);
	ck_assert_int_eq(push(&b, 32, &next), QB_OK);
	run_one(&b, q, 32, "second");
	/* It goes on, and ends what is not its own any more. */
	end_with(&b, a, &late, NULL);
	if (fixed)
		ck_failed(&b, &next, 32, "second");
	else
		ck_await(&b, &next, QB_ADDRESS_DONE);
	/* Nor with a failure of its own, while somebody else has the row. */
	ck_assert_int_eq(push(&b, 33, &run), QB_OK);
	get(&b, a, &late);
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, NULL, 3600 * QB_NS_PER_S, &err), 1);
	get(&b, q, &job);
	end_with(&b, a, &late, "late");
	if (fixed)
		ck_not_yet(&b, &run);
	else
		ck_failed(&b, &run, 33, "late");
	end_with(&b, q, &job, NULL);
	ck_await(&b, &run, QB_ADDRESS_DONE);
	b.ops->close(a);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

static struct bench *gap_bench;
static struct qb_queue *gap_queue;
static struct qb_queue_job *gap_job;

static void end_in_the_refusal(enum qb_platlib_point point)
{
	if (point == QB_PLATLIB_AFTER_DUPLICATE)
		end_with(gap_bench, gap_queue, gap_job, NULL);
}

START_TEST(run_that_ends_while_its_joiner_asks_whose_it_is_is_over)
{
	struct qb_address_run run, joined;
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "refused", FIXED NEVER);
	gap_bench = &b;
	gap_queue = consumer(&b);
	gap_job = &job;
	ck_assert_int_eq(push(&b, 61, &run), QB_OK);
	get(&b, gap_queue, &job);
	qb_platlib_fixed.at = end_in_the_refusal;
	ck_assert_int_eq(push(&b, 62, &joined), QB_DUPLICATE);
	qb_platlib_fixed.at = NULL;
	/* What comes after it is not waited for. */
	ck_assert_int_eq(push(&b, 63, &run), QB_OK);
	ck_await(&b, &joined, QB_ADDRESS_DONE);
	ck_not_yet(&b, &run);
	b.ops->close(gap_queue);
	bench_close(&b);
}
END_TEST

START_TEST(handle_whose_listener_was_cut_off_hears_again)
{
	static const char end_them[] = "do $$ begin perform pg_terminate_backend(pid) from pg_stat_activity"
				       " where application_name = 'qbench listener'; end $$";
	struct qb_address_run run;
	struct qb_address_end end;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "cut", adapters[_i]);
	ck_assert_int_eq(push(&b, 71, &run), QB_OK);
	ck_not_yet(&b, &run);
	sql(b.w.db, end_them);
	ck_until(pgtest_i64(b.w.db, "select count(*) from pg_stat_activity where application_name = 'qbench listener'") == 0, 10);
	ck_assert_int_lt(b.ops->addressed->await(b.driver, ADDRESS, &run, qb_now_ns() + LONG_NS, &end, &err), 0);
	ck_not_yet(&b, &run);
	bench_close(&b);
}
END_TEST

/* ---- kills at the end of a run ---- */

static int dying_fd;
static enum qb_platlib_point dying_at;

static void die_at(enum qb_platlib_point point)
{
	if (point == dying_at)
		tell_and_wait(dying_fd);
}

/* A worker that runs the only job there is, records `failure` for it, and stops at that point for its SIGKILL. */
static void end_and_be_killed(struct bench *b, enum qb_platlib_point point, const char *failure)
{
	uint32_t seat = sit(&b->w.seg, QB_ROLE_WORKER);
	struct qb_queue_job job;
	struct child c;
	int tell;

	if (spawn(b, &c, &tell, seat)) {
		struct qb_queue *q = consumer_at(b, seat);

		get(b, q, &job);
		dying_fd = tell;
		dying_at = point;
		qb_platlib_fixed.at = die_at;
		end_with(b, q, &job, failure);
		_exit(1);
	}
	await_word(&c);
	kill_child(b, &c);
}

START_TEST(kill_after_the_record_tells_the_failure_of_a_run_that_goes_on)
{
	struct qb_address_run run, joined;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "killed-told", LIBRARY NEVER);
	ck_assert_int_eq(push(&b, 81, &run), QB_OK);
	end_and_be_killed(&b, QB_PLATLIB_AFTER_RECORD, "told");
	ck_failed(&b, &run, 81, "told");
	ck_assert_int_eq(push(&b, 82, &joined), QB_DUPLICATE);
	ck_failed(&b, &joined, 81, "told");
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, NULL, 3600 * QB_NS_PER_S, &err), 1);
	struct qb_queue *q = consumer(&b);

	run_one(&b, q, 81, NULL);
	ck_await(&b, &joined, QB_ADDRESS_DONE);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

static void say_that_it_looked(enum qb_platlib_point point)
{
	if (point == QB_PLATLIB_AFTER_ADDRESS_LOOK)
		(void)!write(dying_fd, "s", 1);
}

/* The row is gone, and so is who was to notify: a tick ends the wait. In "fixed" that is one statement. */
START_TEST(kill_after_the_row_is_gone_costs_who_waits_a_tick_and_in_fixed_nothing)
{
	bool fixed = _i;
	uint32_t seat;
	struct qb_address_run run;
	struct bench b;
	struct child c;
	int tell;

	qb_platlib_fixed.address_tick_ns = fixed ? NEVER_NS : 100 * QB_NS_PER_MS;
	plat_open(&b, "killed-gone", adapters[_i]);
	ck_assert_int_eq(push(&b, 91, &run), QB_OK);
	seat = sit(&b.w.seg, QB_ROLE_TOOL);
	if (spawn(&b, &c, &tell, seat)) {
		struct qb_queue_env env = b.env;
		struct qb_err err = { 0 };
		struct qb_queue *q;

		env.seat = seat;
		ck_ok(b.ops->open(&env, &q, &err), err);
		dying_fd = tell;
		qb_platlib_fixed.at = say_that_it_looked;
		struct qb_address_end end = await_by(&b, q, &run, LONG_NS);

		_exit(end.state == QB_ADDRESS_FAILED && end.failed_run == 91 && end.by_tick == !fixed ? 0 : 1);
	}
	await_word(&c);
	end_and_be_killed(&b, QB_PLATLIB_AFTER_DELETE_ROW, "gone");
	ck_assert_int_eq(reap(c.pid, 50), 0);
	close(c.told);
	/* All that is left is a permit without a row. */
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	ck_assert_int_eq(count_rows(&b, PERMITS), 1);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("platlib-run");
	TCase *tc = tcase_create("platlib-run");

	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, fixed_tells_the_failure_of_the_run_that_was_joined_however_late_one_looks);
	tcase_add_test(tc, row_that_somebody_removes_is_over_and_the_failure_before_it_is_not_its_own);
	tcase_add_loop_test(tc, late_hand_of_a_swept_worker_changes_no_record_of_fixed_and_that_of_the_library, 0, 2);
	tcase_add_test(tc, run_that_ends_while_its_joiner_asks_whose_it_is_is_over);
	tcase_add_loop_test(tc, handle_whose_listener_was_cut_off_hears_again, 0, 2);
	tcase_add_test(tc, kill_after_the_record_tells_the_failure_of_a_run_that_goes_on);
	tcase_add_loop_test(tc, kill_after_the_row_is_gone_costs_who_waits_a_tick_and_in_fixed_nothing, 0, 2);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
