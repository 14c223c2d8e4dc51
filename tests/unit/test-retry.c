/* SPDX-License-Identifier: Apache-2.0 */
/* When retries were due and when they began, out of traces made by hand. */
#include "trace-builder.h"

static struct builder b;

static void begin(unsigned jobs)
{
	builder_init(&b, jobs);
	start_processes(&b, 2);
}

/* A failure after which the next attempt is due then; 0: it was the last. */
static void fails(uint64_t t_ms, unsigned n, unsigned attempt, uint64_t due_ms)
{
	started(&b, t_ms, W(1), n, attempt);
	job_event(&b, t_ms, QB_EV_JOB_FAILED, W(1), n, attempt, 0, due_ms ? ZERO_NS + due_ms * MS : 0);
}

static const struct qb_retries *retries(void)
{
	ck_assert_msg(summarize(&b) == 0, "%s", b.err.text);
	return &b.out.retries;
}

START_TEST(lateness_counts_from_what_the_queue_said)
{
	const struct qb_retries *o;

	begin(2);
	for (unsigned n = 1; n <= 2; n++)
		submit(&b, 0, n);
	fails(10, 1, 1, 1010);
	fails(20, 2, 1, 1020);
	run_job(&b, 1040, 1050, W(2), 1, 2);            /* 30 ms late */
	fails(1025, 2, 2, 17025);                       /* 5 ms late */
	run_job(&b, 17125, 17130, W(1), 2, 3);          /* 100 ms late, after its second failure */
	b.in.watch_end_ns = ZERO_NS + 20000 * MS;
	o = retries();
	ck_assert_uint_eq(o->count, 3);
	ck_assert_uint_eq(o->rounds_count, 2);
	ck_assert_uint_eq(o->rounds[0].count, 2);
	ck_assert_uint_eq(o->rounds[1].count, 1);
	ck_assert_uint_eq(o->late.min_ns, 5 * MS);
	ck_assert_uint_eq(o->late.p50_ns, 30 * MS);
	ck_assert_uint_eq(o->late.max_ns, 100 * MS);
	ck_assert_uint_eq(o->rounds[0].policy.max_ns, 1000 * MS);
	ck_assert_uint_eq(o->rounds[0].spacing.min_ns, 1005 * MS);
	ck_assert_uint_eq(o->rounds[0].spacing.max_ns, 1030 * MS);
	ck_assert_uint_eq(o->rounds[1].policy.p50_ns, 16000 * MS);
	ck_assert_uint_eq(o->rounds[1].spacing.p50_ns, 16100 * MS);
	ck_assert_uint_eq(o->early + o->missing, 0);
}
END_TEST

START_TEST(last_failure_expects_no_retry)
{
	begin(1);
	submit(&b, 0, 1);
	fails(10, 1, 1, 0);
	job_event(&b, 10, QB_EV_JOB_DISCARDED, W(1), 1, 1, 0, 0);
	end(&b, 1, QB_OUTCOME_DISCARDED, 1, 0);
	ck_assert_uint_eq(retries()->count, 0);
	ck_assert_uint_eq(retries()->missing, 0);
	ck_assert_uint_eq(retries()->rounds_count, 0);
}
END_TEST

START_TEST(retry_before_its_time_is_early_and_not_negative)
{
	begin(1);
	submit(&b, 0, 1);
	fails(10, 1, 1, 1010);
	run_job(&b, 500, 510, W(2), 1, 2);
	ck_assert_uint_eq(retries()->early, 1);
	ck_assert_uint_eq(retries()->late.max_ns, 0);
	ck_assert_uint_eq(retries()->rounds[0].spacing.p50_ns, 490 * MS);
}
END_TEST

START_TEST(retry_that_was_due_and_did_not_begin_is_missing)
{
	begin(2);
	submit(&b, 0, 1);
	submit(&b, 0, 2);
	fails(10, 1, 1, 1010);
	fails(10, 2, 1, 16010);
	end(&b, 1, QB_OUTCOME_WAITING, 1, 0);
	end(&b, 2, QB_OUTCOME_WAITING, 1, 0);
	b.in.watch_end_ns = ZERO_NS + 5000 * MS;
	/* The other one is not due yet. */
	ck_assert_uint_eq(retries()->missing, 1);
	ck_assert_uint_eq(retries()->count, 0);
}
END_TEST

START_TEST(window_holds_what_begins_within_100_ms)
{
	const struct qb_retries *o;
	/* 950 | 1000 1050 1099 | 1100: four within less than 100 ms of the second. */
	static const uint64_t at[] = { 950, 1000, 1050, 1099, 1100, 1500 };

	begin(6);
	for (unsigned n = 1; n <= 6; n++) {
		submit(&b, 0, n);
		fails(10, n, 1, 900 + n);
		run_job(&b, at[n - 1], at[n - 1] + 1, W(2), n, 2);
	}
	o = retries();
	ck_assert_uint_eq(o->most_due_in_window, 6);
	ck_assert_uint_eq(o->most_in_window, 3);
	ck_assert_uint_eq(o->rounds[0].most_in_window, 3);
}
END_TEST

START_TEST(every_retry_is_in_a_bin)
{
	const struct qb_retry_round *r;
	unsigned due = 0, begun = 0;

	begin(100);
	for (unsigned n = 1; n <= 100; n++) {
		submit(&b, 0, n);
		fails(10, n, 1, 910 + 2 * n);
		run_job(&b, 915 + 3 * n, 920 + 3 * n, W(2), n, 2);
	}
	r = &retries()->rounds[0];
	/* From 902 to 1205 ms: 304 ms in at most 12 steps are steps of 50. */
	ck_assert_uint_eq(r->width_ns, 50 * MS);
	ck_assert_uint_eq(r->from_ns, 900 * MS);
	ck_assert_uint_eq(r->bins_count, 7);
	for (unsigned i = 0; i < QB_RETRY_BINS; i++) {
		due += r->policy_bins[i];
		begun += r->spacing_bins[i];
	}
	ck_assert_uint_eq(due, 100);
	ck_assert_uint_eq(begun, 100);
	/* Due after 902, 904 ... 948 ms; begun after 908, 911 ... 947. */
	ck_assert_uint_eq(r->policy_bins[0], 24);
	ck_assert_uint_eq(r->spacing_bins[0], 14);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("retry");
	TCase *tc = tcase_create("retry");

	tcase_add_test(tc, lateness_counts_from_what_the_queue_said);
	tcase_add_test(tc, last_failure_expects_no_retry);
	tcase_add_test(tc, retry_before_its_time_is_early_and_not_negative);
	tcase_add_test(tc, retry_that_was_due_and_did_not_begin_is_missing);
	tcase_add_test(tc, window_holds_what_begins_within_100_ms);
	tcase_add_test(tc, every_retry_is_in_a_bin);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed_count = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed_count != 0;
}
