/* SPDX-License-Identifier: Apache-2.0 */
/* What the numbers of a run mean, one constructed trace per definition. */
#include "trace-builder.h"

#include "shm/status.h"

static struct builder b;

START_TEST(a_run_without_faults_adds_up)
{
	builder_init(&b, 3);
	start_processes(&b, 2);
	for (unsigned i = 1; i <= 3; i++)
		submit(&b, 10 * i, i);
	run_job(&b, 12, 20, W(1), 1, 1);
	run_job(&b, 25, 40, W(2), 2, 1);
	run_job(&b, 31, 110, W(1), 3, 1);
	assert_verified(&b);
	ck_assert_str_eq(b.out.lib, "shm");
	ck_assert_str_eq(b.out.run_id, "shm-crash_recovery-1");
	ck_assert_str_eq(b.out.scenario, "crash_recovery");
	ck_assert_uint_eq(b.out.planned, 3);
	ck_assert_uint_eq(b.out.submitted, 3);
	ck_assert_uint_eq(b.out.acknowledged, 3);
	ck_assert_uint_eq(b.out.completed, 3);
	ck_assert_uint_eq(b.out.completions, 3);
	ck_assert_uint_eq(b.out.starts, 3);
	ck_assert_uint_eq(b.out.duplicates + b.out.repeated_starts + b.out.repeated_effects, 0);
	ck_assert_uint_eq(b.out.ambiguous + b.out.lost + b.out.stranded + b.out.kills, 0);
	ck_assert_uint_eq(b.out.deaths_unplanned, 0);
	ck_assert_uint_eq(b.out.events, b.trace.events_count);
	/* pick-up 2, 5, 1; work 8, 15, 79; end to end 10, 20, 80 */
	ck_assert_uint_eq(b.out.pickup.count, 3);
	ck_assert_uint_eq(b.out.pickup.p50_ns, 2 * MS);
	ck_assert_uint_eq(b.out.pickup.max_ns, 5 * MS);
	ck_assert_uint_eq(b.out.work.p50_ns, 15 * MS);
	ck_assert_uint_eq(b.out.end_to_end.max_ns, 80 * MS);
	ck_assert_uint_eq(b.out.elapsed_ns, 100 * MS);
	ck_assert_double_eq_tol(b.out.throughput_per_s, 30.0, 1e-9);
}
END_TEST

START_TEST(times_count_from_where_they_say)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	/* Due at 100, the call began at 130 and took 40, picked up at 150. */
	job_event(&b, 130, QB_EV_JOB_SUBMITTED, DRIVER, 1, 0, ZERO_NS + 100 * MS, 0);
	job_event(&b, 170, QB_EV_JOB_ENQUEUED, DRIVER, 1, 0, ZERO_NS + 100 * MS, 40 * MS);
	run_job(&b, 150, 160, W(1), 1, 1);
	event(&b, 165, QB_EV_SYNC_COMMITTED, SYNCER)->arg0 = 3;
	b.events[b.trace.events_count - 1].ev.arg1 = 7 * MS;
	event(&b, 166, QB_EV_SYNC_COMMITTED, SYNCER)->arg0 = 2;
	b.events[b.trace.events_count - 1].ev.arg1 = 9 * MS;
	assert_verified(&b);
	ck_assert_uint_eq(b.out.pickup.p50_ns, 50 * MS);
	ck_assert_uint_eq(b.out.pickup_submit.p50_ns, 20 * MS);
	ck_assert_uint_eq(b.out.enqueue_call.p50_ns, 40 * MS);
	ck_assert_uint_eq(b.out.work.p50_ns, 10 * MS);
	ck_assert_uint_eq(b.out.end_to_end.p50_ns, 60 * MS);
	ck_assert_uint_eq(b.out.commits, 2);
	ck_assert_uint_eq(b.out.commit_rows, 5);
	ck_assert_uint_eq(b.out.commit.p50_ns, 7 * MS);
	ck_assert_uint_eq(b.out.commit.max_ns, 9 * MS);
}
END_TEST

START_TEST(only_the_first_start_is_a_pickup)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	failed(&b, 13, W(1), 1, 1);
	run_job(&b, 500, 510, W(1), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.pickup.count, 1);
	ck_assert_uint_eq(b.out.pickup.max_ns, 2 * MS);
	/* The attempt that completed, and the whole. */
	ck_assert_uint_eq(b.out.work.p50_ns, 10 * MS);
	ck_assert_uint_eq(b.out.end_to_end.p50_ns, 500 * MS);
}
END_TEST

START_TEST(a_pickup_is_never_negative)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	job_event(&b, 10, QB_EV_JOB_SUBMITTED, DRIVER, 1, 0, ZERO_NS + 10 * MS + 40000, 0);
	job_event(&b, 10, QB_EV_JOB_ENQUEUED, DRIVER, 1, 0, 0, 0);
	run_job(&b, 10, 20, W(1), 1, 1);
	/* 40 us: the conversion of stamps may be so far off. */
	assert_verified(&b);
	ck_assert_uint_eq(b.out.pickup.count, 1);
	ck_assert_uint_eq(b.out.pickup.max_ns, 0);
	/* 60 us may not. */
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_JOB_SUBMITTED)
			b.events[i].ev.arg0 += 20000;
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(b.err.text, "job 1"));
	/* Where stamps cannot be converted at all, the result is not verified. */
	b.trace.clock_rough = 1;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "clock readings");
}
END_TEST

START_TEST(a_failed_attempt_explains_the_next_start)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 11, W(1), 1, 1);
	failed(&b, 12, W(1), 1, 1);
	run_job(&b, 20, 21, W(1), 1, 2);
	/* Three failures, then discarded; attempt 3 was claimed and given back unstarted. */
	started(&b, 30, W(1), 2, 1);
	failed(&b, 31, W(1), 2, 1);
	started(&b, 32, W(1), 2, 2);
	failed(&b, 33, W(1), 2, 2);
	started(&b, 34, W(1), 2, 4);
	failed(&b, 35, W(1), 2, 4);
	job_event(&b, 35, QB_EV_JOB_DISCARDED, W(1), 2, 4, 0, 0);
	end(&b, 2, QB_OUTCOME_DISCARDED, 4, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.repeated_starts, 0);
	ck_assert_uint_eq(b.out.failed_attempts, 4);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.starts, 5);
}
END_TEST

START_TEST(a_start_after_a_death_is_a_repeated_start)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	b.ends[0].effects = 1;                  /* it happened, and then the worker died */
	kill_worker(&b, 20, W(1), 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	worker(&b, 22, W(1));
	run_job(&b, 23, 30, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	ck_assert_uint_eq(b.out.repeated_effects, 1);
	ck_assert_uint_eq(b.out.silent_effects, 0);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.ambiguous_attempts, 1);
	ck_assert_uint_eq(b.out.requeued, 1);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.duplicates, 0);
	ck_assert_uint_eq(b.out.kills, 1);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_WORKER], 1);
}
END_TEST

START_TEST(a_verdict_told_twice_counts_once)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	/* The parent is killed inside recovery; its successor proves it and tells it all again. */
	killed(&b, 21, PARENT, QB_ROLE_PARENT, 2);
	spawn(&b, 22, DRIVER, 60, QB_ROLE_PARENT);
	ready(&b, 22, 60, QB_ROLE_PARENT);
	died(&b, 22, 60, W(1), QB_ROLE_WORKER);
	died(&b, 22, 60, W(2), QB_ROLE_WORKER);
	died(&b, 22, 60, SYNCER, QB_ROLE_SYNCER);
	event(&b, 22, QB_EV_TAKEN_OVER, 60)->arg0 = MS;
	ambiguous(&b, 22, W(1), 1, 1, 0);
	spawn(&b, 23, 60, W(2), QB_ROLE_WORKER);
	ready(&b, 23, W(2), QB_ROLE_WORKER);
	run_job(&b, 24, 30, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.ambiguous_attempts, 1);
	ck_assert_uint_eq(b.out.requeued, 1);
	ck_assert_uint_eq(b.out.kills, 2);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_PARENT], 1);
	ck_assert_uint_eq(b.out.deaths_unplanned, 0);
	ck_assert_uint_eq(b.out.takeovers, 1);
}
END_TEST

/* Completed, then killed before the record; recovery finds it and says so. */
START_TEST(a_completion_found_by_recovery_is_one_completion)
{
	builder_init(&b, 2);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	job_event(&b, 21, QB_EV_JOB_COMPLETED, PARENT, 1, 1, 0, 1);
	end(&b, 1, QB_OUTCOME_COMPLETED, 1, 1);
	/* The other one is found although its worker had logged it too. */
	run_job(&b, 13, 19, W(2), 2, 1);
	job_event(&b, 21, QB_EV_JOB_COMPLETED, PARENT, 2, 1, 0, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.completed, 2);
	ck_assert_uint_eq(b.out.completions, 2);
	ck_assert_uint_eq(b.out.duplicates, 0);
	ck_assert_uint_eq(b.out.ambiguous, 0);
	/* The time of the finding is no time of work, whichever record comes first. */
	ck_assert_uint_eq(b.out.work.count, 1);
	ck_assert_uint_eq(b.out.work.max_ns, 6 * MS);
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_JOB_COMPLETED && b.events[i].ev.seat == PARENT)
			b.events[i].t_ns = ZERO_NS + 18 * MS;
	assert_verified(&b);
	ck_assert_uint_eq(b.out.completions, 2);
	ck_assert_uint_eq(b.out.work.count, 1);
	ck_assert_uint_eq(b.out.work.max_ns, 6 * MS);
	ck_assert_uint_eq(b.out.end_to_end.count, 2);
}
END_TEST

START_TEST(a_completion_that_only_the_queue_knows_counts)
{
	builder_init(&b, 1);
	b.in.reports_ambiguity = 0;
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	end(&b, 1, QB_OUTCOME_COMPLETED, 1, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.completions, 1);
	ck_assert_uint_eq(b.out.ambiguous, 0);
	ck_assert_uint_eq(b.out.lost, 0);
	ck_assert_uint_eq(b.out.work.count, 0);
}
END_TEST

START_TEST(completions_of_two_attempts_are_a_duplicate)
{
	builder_init(&b, 2);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	run_job(&b, 12, 30, W(1), 1, 1);
	run_job(&b, 14, 31, W(2), 1, 2);
	run_job(&b, 40, 41, W(2), 2, 1);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.completed, 2);
	ck_assert_uint_eq(b.out.completions, 3);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	ck_assert_uint_eq(b.out.repeated_effects, 1);
	ck_assert_uint_eq(b.out.silent_effects, 1);
	ck_assert_int_eq(identity_of(&b, "silent_effects")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "repeated_effects <=")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "completions =")->holds, 1);
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

/* A queue whose attempt counter is rolled back with the dead worker's transaction. */
START_TEST(the_same_attempt_number_twice_is_two_attempts)
{
	builder_init(&b, 2);
	b.in.reports_ambiguity = 0;
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 12, W(1), 1, 1);
	b.ends[0].effects = 1;
	kill_worker(&b, 20, W(1), 1);
	run_job(&b, 25, 30, W(2), 1, 1);
	/* And a job that two processes complete under one number is a duplicate. */
	run_job(&b, 40, 50, W(2), 2, 1);
	worker(&b, 30, W(3));
	run_job(&b, 41, 51, W(3), 2, 1);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.starts, 4);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.repeated_starts, 2);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.repeated_effects, 2);
	ck_assert_uint_eq(b.out.silent_effects, 2);
}
END_TEST

START_TEST(an_attempt_refused_at_its_start_never_began)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	job_event(&b, 12, QB_EV_JOB_FENCED, W(1), 1, 1, 77, 0);
	run_job(&b, 20, 25, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.fenced, 1);
	ck_assert_uint_eq(b.out.starts, 1);
	ck_assert_uint_eq(b.out.repeated_starts, 0);
}
END_TEST

/* A seat is given on after its recovery only, whether or not the death is on record. */
START_TEST(a_seat_that_was_given_on_had_a_dead_owner)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	worker(&b, 22, W(1));
	run_job(&b, 23, 30, W(1), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.abandoned, 0);
	ck_assert_uint_eq(b.out.deaths_unplanned, 1);
}
END_TEST

START_TEST(an_ambiguity_without_a_start_on_record_counts)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	/* Killed between the step and its record. */
	kill_worker(&b, 20, W(1), 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	run_job(&b, 23, 30, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.starts, 2);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	/* The pick-up that is on record is the second. */
	ck_assert_uint_eq(b.out.pickup.max_ns, 13 * MS);
}
END_TEST

START_TEST(parked_jobs_are_accounted_for)
{
	builder_init(&b, 2);
	b.in.parks = 1;
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	ambiguous(&b, 20, W(1), 1, 1, 1);
	end(&b, 1, QB_OUTCOME_AMBIGUOUS, 1, 1);
	run_job(&b, 23, 30, W(2), 2, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	ck_assert_uint_eq(b.out.ambiguous_parked, 1);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.requeued, 0);
	/* What is parked may not happen twice, whatever was reported. */
	b.ends[0].effects = 2;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(identity_of(&b, "repeated_effects = 0")->holds, 0);
}
END_TEST

START_TEST(a_late_completion_is_fenced)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	run_job(&b, 20, 25, W(2), 1, 2);
	job_event(&b, 30, QB_EV_JOB_FENCED, W(1), 1, 1, 77, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.fenced, 1);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.duplicates, 0);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	ck_assert_uint_eq(b.out.ambiguous, 0);
}
END_TEST

START_TEST(an_unrecorded_failure_is_known_from_the_queue)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	end(&b, 1, QB_OUTCOME_WAITING, 1, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.failed_attempts, 1);
	ck_assert_uint_eq(b.out.ambiguous, 0);
	ck_assert_uint_eq(b.out.waiting, 1);
}
END_TEST

/* Between the go and the word of it lies a moment, and a kill fits in. */
START_TEST(a_standby_killed_right_after_its_go_counts_as_a_worker)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	spawn(&b, 0, PARENT, W(2), QB_ROLE_STANDBY);
	ready(&b, 1, W(2), QB_ROLE_STANDBY);
	submit(&b, 10, 1);
	kill_worker(&b, 100, W(2), 1);
	run_job(&b, 104, 105, W(1), 1, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_WORKER], 1);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_STANDBY], 0);
}
END_TEST

START_TEST(a_failure_found_by_recovery_is_one_failure)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	failed(&b, 19, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	failed(&b, 21, PARENT, 1, 1);
	run_job(&b, 25, 26, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.failed_attempts, 1);
	ck_assert_uint_eq(b.out.repeated_starts, 0);
	ck_assert_uint_eq(b.out.starts, 2);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("summary");
	TCase *tc = tcase_create("jobs");
	SRunner *runner;
	int failed_count;

	tcase_add_test(tc, a_standby_killed_right_after_its_go_counts_as_a_worker);
	tcase_add_test(tc, a_run_without_faults_adds_up);
	tcase_add_test(tc, times_count_from_where_they_say);
	tcase_add_test(tc, only_the_first_start_is_a_pickup);
	tcase_add_test(tc, a_pickup_is_never_negative);
	tcase_add_test(tc, a_failed_attempt_explains_the_next_start);
	tcase_add_test(tc, a_start_after_a_death_is_a_repeated_start);
	tcase_add_test(tc, a_verdict_told_twice_counts_once);
	tcase_add_test(tc, a_completion_found_by_recovery_is_one_completion);
	tcase_add_test(tc, a_completion_that_only_the_queue_knows_counts);
	tcase_add_test(tc, completions_of_two_attempts_are_a_duplicate);
	tcase_add_test(tc, the_same_attempt_number_twice_is_two_attempts);
	tcase_add_test(tc, an_attempt_refused_at_its_start_never_began);
	tcase_add_test(tc, a_seat_that_was_given_on_had_a_dead_owner);
	tcase_add_test(tc, an_ambiguity_without_a_start_on_record_counts);
	tcase_add_test(tc, parked_jobs_are_accounted_for);
	tcase_add_test(tc, a_late_completion_is_fenced);
	tcase_add_test(tc, an_unrecorded_failure_is_known_from_the_queue);
	tcase_add_test(tc, a_failure_found_by_recovery_is_one_failure);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
