/* SPDX-License-Identifier: Apache-2.0 */
/* How processes share a queue, out of traces made by hand. */
#include "trace-builder.h"

#include "record/format.h"

static struct builder b;

static void begin(unsigned jobs, unsigned backlog, unsigned processes)
{
	builder_init(&b, jobs);
	b.trace.meta.workers = processes;
	b.trace.meta.slots = 1;
	b.trace.meta.backlog = backlog;
	for (unsigned n = 1; n <= backlog; n++)
		submit(&b, 0, n);
	start_processes(&b, processes);
}

static const struct qb_share *share(void)
{
	ck_assert_msg(summarize(&b) == 0, "%s", b.err.text);
	return &b.out.share;
}

/* Jobs of 10 ms one after the other from that moment on. */
static unsigned series(unsigned seat, uint64_t t_ms, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		run_job(&b, t_ms + 10 * i, t_ms + 10 * i + 10, seat, first + i, 1);
	return first + count;
}

START_TEST(window_begins_when_all_are_at_work_and_ends_with_the_backlog)
{
	const struct qb_share *o;
	unsigned next;

	begin(40, 40, 2);
	next = series(W(1), 100, 1, 25);                /* 100 .. 350 */
	series(W(2), 200, next, 15);                    /* 200 .. 350 */
	o = share();
	ck_assert_uint_eq(o->processes, 2);
	ck_assert_uint_eq(o->served, 2);
	/* From 200; two slots: when 38 of 40 have begun, which is at 330. */
	ck_assert_uint_eq(o->window_ns, 130 * MS);
	ck_assert_uint_eq(o->jobs, 26);
	ck_assert_uint_eq(o->least, 13);
	ck_assert_uint_eq(o->most, 13);
	ck_assert_double_eq_tol(o->throughput_per_s, 200, 0.001);
	ck_assert_double_eq_tol(o->fairness, 1, 1e-9);
	ck_assert_uint_eq(o->pickup.count, 0);
}
END_TEST

START_TEST(uneven_shares_lower_the_index)
{
	const struct qb_share *o;
	unsigned next;

	begin(44, 44, 2);
	run_job(&b, 100, 105, W(1), 1, 1);
	run_job(&b, 100, 105, W(2), 2, 1);
	/* Thirty against ten: (30 + 10)^2 / (2 * (900 + 100)) = 0.8. */
	next = 3;
	for (unsigned i = 0; i < 30; i++, next++)
		run_job(&b, 110 + 10 * i, 120 + 10 * i, W(1), next, 1);
	for (unsigned i = 0; i < 10; i++, next++)
		run_job(&b, 110 + 10 * i, 120 + 10 * i, W(2), next, 1);
	run_job(&b, 500, 510, W(1), 43, 1);
	run_job(&b, 500, 510, W(2), 44, 1);
	o = share();
	/* Those two jobs at the beginning end within the window, too. */
	ck_assert_uint_eq(o->least, 11);
	ck_assert_uint_eq(o->most, 30);
	ck_assert_double_eq_tol(o->fairness, 41.0 * 41 / (2 * (900.0 + 121)), 1e-9);
}
END_TEST

START_TEST(process_without_a_job_has_the_least)
{
	const struct qb_share *o;

	begin(20, 20, 2);
	series(W(1), 100, 1, 20);
	o = share();
	ck_assert_uint_eq(o->served, 1);
	ck_assert_uint_eq(o->least, 0);
	ck_assert_double_eq_tol(o->fairness, 0.5, 1e-9);
}
END_TEST

START_TEST(other_jobs_say_how_they_were_found)
{
	static const unsigned found[] = { QB_FOUND_WOKEN, QB_FOUND_WOKEN, QB_FOUND_BY_TIME, QB_FOUND_BUSY, QB_FOUND_UNTOLD,
					  77 };
	const struct qb_share *o;

	begin(16, 10, 1);
	series(W(1), 100, 1, 10);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t t = 1000 + 100 * i;

		submit(&b, t, 11 + i);
		job_event(&b, t + 1 + i, QB_EV_JOB_STARTED, W(1), 11 + i, 1, 0, found[i]);
		completed(&b, t + 20, W(1), 11 + i, 1);
	}
	o = share();
	ck_assert_uint_eq(o->woken, 2);
	ck_assert_uint_eq(o->polled, 1);
	ck_assert_uint_eq(o->busy, 1);
	/* What no queue says is as good as untold. */
	ck_assert_uint_eq(o->untold, 2);
	ck_assert_uint_eq(o->pickup.count, 6);
	ck_assert_uint_eq(o->pickup.max_ns, 6 * MS);
}
END_TEST

START_TEST(run_without_backlog_has_no_share)
{
	static const struct qb_share none;

	begin(4, 0, 1);
	for (unsigned n = 1; n <= 4; n++)
		submit(&b, 0, n);
	series(W(1), 100, 1, 4);
	ck_assert_int_eq(memcmp(share(), &none, sizeof(none)), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("share");
	TCase *tc = tcase_create("share");

	tcase_add_test(tc, window_begins_when_all_are_at_work_and_ends_with_the_backlog);
	tcase_add_test(tc, uneven_shares_lower_the_index);
	tcase_add_test(tc, process_without_a_job_has_the_least);
	tcase_add_test(tc, other_jobs_say_how_they_were_found);
	tcase_add_test(tc, run_without_backlog_has_no_share);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed_count = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed_count != 0;
}
