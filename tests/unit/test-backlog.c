/* SPDX-License-Identifier: Apache-2.0 */
/* The backlog over time and a burst, out of traces made by hand. */
#include "trace-builder.h"

static struct builder b;

/* Due at that moment; picked up and done later. The plan's tick is 10 ms: the run starts at -10 ms of the builder. */
static void job(unsigned n, uint64_t due_ms, uint64_t start_ms, uint64_t end_ms)
{
	submit(&b, due_ms, n);
	run_job(&b, start_ms, end_ms, W(1), n, 1);
}

static void begin(unsigned jobs)
{
	builder_init(&b, jobs);
	b.trace.meta.rate = 100;
	start_processes(&b, 1);
}

static const struct qb_backlog *backlog(void)
{
	ck_assert_msg(summarize(&b) == 0, "%s", b.err.text);
	return &b.out.backlog;
}

START_TEST(jobs_are_open_from_due_to_done)
{
	const struct qb_backlog *o;

	begin(3);
	job(1, 0, 10, 100);
	job(2, 50, 100, 200);
	job(3, 60, 200, 590);
	o = backlog();
	ck_assert_uint_eq(o->max, 3);
	/* Since the start of the plan, a tick before the first job. */
	ck_assert_uint_eq(o->max_at_ns, 70 * MS);
	/* 600 ms in 60 steps. */
	ck_assert_uint_ge(o->step_ns, 10 * MS);
	ck_assert_uint_le(o->step_ns, 10 * MS + 1);
	ck_assert_uint_eq(o->samples_count, 60);
	ck_assert_uint_eq(o->samples[3], 1);
	ck_assert_uint_eq(o->samples[7], 3);
	ck_assert_uint_eq(o->samples[15], 2);
	ck_assert_uint_eq(o->samples[40], 1);
	ck_assert_int_eq(o->has_burst, 0);
}
END_TEST

START_TEST(job_that_never_ends_stays_open)
{
	const struct qb_backlog *o;

	begin(2);
	submit(&b, 0, 1);
	end(&b, 1, QB_OUTCOME_QUEUED, 0, 0);
	job(2, 100, 110, 590);
	o = backlog();
	ck_assert_uint_eq(o->max, 2);
	ck_assert_uint_eq(o->samples[5], 1);
	ck_assert_uint_eq(o->samples[o->samples_count - 2], 2);
}
END_TEST

START_TEST(discarded_job_is_no_longer_open)
{
	const struct qb_backlog *o;

	begin(2);
	submit(&b, 0, 1);
	started(&b, 10, W(1), 1, 1);
	failed(&b, 20, W(1), 1, 1);
	job_event(&b, 20, QB_EV_JOB_DISCARDED, W(1), 1, 1, 0, 0);
	end(&b, 1, QB_OUTCOME_DISCARDED, 1, 0);
	job(2, 100, 110, 590);
	o = backlog();
	ck_assert_uint_eq(o->max, 1);
	ck_assert_uint_eq(o->samples[5], 0);
}
END_TEST

/* One job of 100 ms each 100 ms; from 1000 to 1500 ms of the run one more each 50 ms, which wait. */
static void burst(uint64_t last_end_ms)
{
	unsigned n = 0;

	begin(30);
	b.trace.meta.burst_start_ns = 1000 * MS;
	b.trace.meta.burst_end_ns = 1500 * MS;
	for (uint64_t t = 0; t < 1000; t += 100, n++)
		job(n + 1, t, t + 5, t + 90);
	for (uint64_t t = 1000; t < 1490; t += 50, n++)
		job(n + 1, t, t + 300, t < 1400 ? 1600 : last_end_ms);
	for (uint64_t t = 2000; t < 3000; t += 100, n++)
		job(n + 1, t, t + 20, t + 50);
	b.in.jobs_count = n;
}

START_TEST(burst_is_over_when_the_usual_number_is_open)
{
	const struct qb_backlog *o;

	burst(1700);
	o = backlog();
	ck_assert_int_eq(o->has_burst, 1);
	ck_assert_uint_eq(o->before, 1);        /* 0.9 of the time one, rounded up */
	ck_assert_uint_eq(o->at_end, 10);
	ck_assert_uint_eq(o->max, 10);
	/* From 1500 of the run to 1700 of the builder, which is 1710 of the run. */
	ck_assert_uint_eq(o->drain_ns, 210 * MS);
	ck_assert_uint_eq(o->pickup_before.count, 10);
	ck_assert_uint_eq(o->pickup_before.p95_ns, 5 * MS);
	ck_assert_uint_eq(o->pickup_during.count, 10);
	ck_assert_uint_eq(o->pickup_during.p95_ns, 300 * MS);
	ck_assert_uint_eq(o->pickup_after.count, 10);
	ck_assert_uint_eq(o->pickup_after.p95_ns, 20 * MS);
}
END_TEST

START_TEST(burst_that_never_drains_is_beyond_the_watch)
{
	begin(3);
	b.trace.meta.burst_start_ns = 10 * MS;
	b.trace.meta.burst_end_ns = 50 * MS;
	for (unsigned n = 1; n <= 3; n++) {
		submit(&b, 10 * n, n);
		end(&b, n, QB_OUTCOME_QUEUED, 0, 0);
	}
	job_event(&b, 300, QB_EV_JOB_STARTED, W(1), 1, 1, 0, 0);
	const struct qb_backlog *o = backlog();

	ck_assert_uint_eq(o->at_end, 3);
	ck_assert_uint_eq(o->drain_ns, QB_BEYOND_WATCH);
}
END_TEST

START_TEST(run_without_jobs_has_no_samples)
{
	begin(1);
	b.in.jobs_count = 0;
	ck_assert_uint_eq(backlog()->samples_count, 0);
	ck_assert_uint_eq(backlog()->step_ns, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("backlog");
	TCase *tc = tcase_create("backlog");

	tcase_add_test(tc, jobs_are_open_from_due_to_done);
	tcase_add_test(tc, job_that_never_ends_stays_open);
	tcase_add_test(tc, discarded_job_is_no_longer_open);
	tcase_add_test(tc, burst_is_over_when_the_usual_number_is_open);
	tcase_add_test(tc, burst_that_never_drains_is_beyond_the_watch);
	tcase_add_test(tc, run_without_jobs_has_no_samples);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed_count = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed_count != 0;
}
