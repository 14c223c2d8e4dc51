/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that go by time: what is a finding there and a failure elsewhere, what ran twice and why, and how long the
 * jobs of the dead were waited for.
 */
#include "trace-builder.h"

#include "shm/status.h"

static struct builder b;

/* A queue with a lease, which answers before it records, watched for a minute. */
static void loose(unsigned jobs, unsigned workers)
{
	builder_init(&b, jobs);
	b.in.reports_ambiguity = 0;
	b.in.leased = b.in.may_lose = 1;
	b.in.watch_end_ns = ZERO_NS + 60000 * MS;
	start_processes(&b, workers);
	for (unsigned i = 1; i <= jobs; i++)
		submit(&b, 10, i);
}

static void strict(void)
{
	b.in.leased = b.in.may_lose = 0;
	ck_assert_int_eq(summarize(&b), 0);
}

static const struct qb_resume *class(unsigned cls)
{
	return &b.out.resume[cls];
}

START_TEST(held_by_the_dead_is_a_finding_where_time_decides)
{
	loose(2, 2);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	end(&b, 1, QB_OUTCOME_HELD, 1, 0);
	end(&b, 2, QB_OUTCOME_HELD, 1, 0);      /* claimed and not begun */
	assert_verified(&b);
	ck_assert_int_eq(b.out.leased, 1);
	ck_assert_uint_eq(b.out.held, 2);
	ck_assert_uint_eq(b.out.stranded, 2);
	/* A lease is no excuse for losing anything. */
	b.in.may_lose = 0;
	end(&b, 2, QB_OUTCOME_NONE, 0, 0);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_uint_eq(b.out.lost, 1);
	end(&b, 2, QB_OUTCOME_HELD, 1, 0);
	strict();
	assert_only_broken(&b, "");
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

START_TEST(lost_is_a_finding_where_memory_may_be_lost)
{
	loose(1, 2);
	started(&b, 12, W(1), 1, 1);
	failed(&b, 13, W(1), 1, 1);             /* its retry is a timer of the worker's */
	kill_worker(&b, 20, W(1), 1);
	b.in.leased = 0;
	assert_verified(&b);
	ck_assert_uint_eq(b.out.lost, 1);
	/* And no excuse for what is stranded. */
	end(&b, 1, QB_OUTCOME_HELD, 1, 0);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(b.out.verified, 0);
	end(&b, 1, QB_OUTCOME_NONE, 0, 0);
	strict();
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

/* Completed at 18, its worker killed at 20, begun again after the lease. */
static void lost_result(void)
{
	loose(1, 2);
	run_job(&b, 12, 18, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	worker(&b, 25, W(1));
	run_job(&b, 10020, 10030, W(2), 1, 2);
}

START_TEST(a_result_that_died_with_its_worker_explains_a_duplicate)
{
	lost_result();
	assert_verified(&b);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.completions, 2);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.duplicates_unrecorded, 1);
	ck_assert_uint_eq(b.out.results_lost, 1);
	ck_assert_uint_eq(b.out.results_lost_alive, 0);
	ck_assert_uint_eq(b.out.result_age_ns_max, 2 * MS);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	ck_assert_uint_eq(b.out.repeated_effects, 1);
	ck_assert_uint_eq(b.out.ambiguous, 0);
	ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->kills, 1);
	ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->median_ns, 10000 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->kills, 0);
	/* One that has no memory to lose has no such excuse. */
	strict();
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_int_eq(identity_of(&b, "completions whose job was begun again")->left, 1);
	ck_assert_int_eq(identity_of(&b, "completions whose job was begun again")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "repeated_effects <=")->holds, 0);
}
END_TEST

START_TEST(a_result_can_be_missing_at_the_end)
{
	static const enum qb_outcome ends[] = { QB_OUTCOME_HELD, QB_OUTCOME_QUEUED, QB_OUTCOME_WAITING };

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		loose(1, 2);
		run_job(&b, 12, 18, W(1), 1, 1);
		kill_worker(&b, 20, W(1), 1);
		end(&b, 1, ends[i], 1, 1);
		assert_verified(&b);
		ck_assert_uint_eq(b.out.completed, 1);
		ck_assert_uint_eq(b.out.results_lost, 1);
		ck_assert_uint_eq(b.out.duplicates, 0);
		ck_assert_uint_eq(b.out.held + b.out.queued + b.out.waiting + b.out.stranded, 0);
		ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->censored, 1);
		ck_assert(class(QB_RESUME_UNRECORDED)->median_ns == QB_BEYOND_WATCH);
		ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->watch_ns_max, 59980 * MS);
	}
	/* Given up by the queue, though it was done: it will not run again. */
	end(&b, 1, QB_OUTCOME_DISCARDED, 1, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.results_lost, 1);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.discarded, 0);
	ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->kills, 0);
	strict();
	assert_only_broken(&b, "finished jobs that the queue");
	/* Kept, or forgotten because it is done: nothing is missing. */
	loose(1, 1);
	run_job(&b, 12, 18, W(1), 1, 1);
	end(&b, 1, QB_OUTCOME_NONE, 0, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.results_lost, 0);
	ck_assert_uint_eq(b.out.completed, 1);
}
END_TEST

START_TEST(what_two_did_at_a_time_is_no_lost_result)
{
	/* The lease ran out while its worker lived. */
	loose(1, 2);
	started(&b, 12, W(1), 1, 1);
	started(&b, 10012, W(2), 1, 2);
	completed(&b, 10015, W(1), 1, 1);
	completed(&b, 10020, W(2), 1, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.duplicates_unrecorded, 0);
	ck_assert_uint_eq(b.out.results_lost, 0);
	ck_assert_uint_eq(b.out.repeated_starts, 1);
	/* Done, its worker alive, and begun again: lost, and no death explains it. */
	loose(1, 2);
	run_job(&b, 12, 18, W(1), 1, 1);
	run_job(&b, 10020, 10030, W(2), 1, 2);
	kill_worker(&b, 10040, W(1), 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.results_lost, 1);
	ck_assert_uint_eq(b.out.results_lost_alive, 1);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.duplicates_unrecorded, 0);
	ck_assert_uint_eq(b.out.result_age_ns_max, 0);
	ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->kills, 0);
}
END_TEST

/* Killed in the last of its attempts: discarded by a time-out, and nobody failed it. */
START_TEST(a_time_out_is_no_failure_of_the_job)
{
	loose(2, 3);
	started(&b, 12, W(1), 1, 3);
	started(&b, 12, W(2), 2, 1);
	killed(&b, 20, W(1), QB_ROLE_WORKER, 1);
	killed(&b, 20, W(2), QB_ROLE_WORKER, 1);
	died(&b, 20, PARENT, W(1), QB_ROLE_WORKER);
	died(&b, 20, PARENT, W(2), QB_ROLE_WORKER);
	end(&b, 1, QB_OUTCOME_DISCARDED, 3, 1);         /* its effect had happened */
	end(&b, 2, QB_OUTCOME_WAITING, 1, 1);           /* taken from the dead, due in a second */
	assert_verified(&b);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.given_up, 1);
	ck_assert_uint_eq(b.out.failed_attempts, 0);
	ck_assert_uint_eq(b.out.ambiguous_attempts, 2);
	ck_assert_uint_eq(b.out.waiting, 1);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->censored, 1);
	ck_assert_uint_eq(class(QB_RESUME_RETRY_WAITING)->kills, 0);
	/* One that has failed in every attempt is not among them. */
	loose(1, 1);
	started(&b, 12, W(1), 1, 3);
	failed(&b, 13, W(1), 1, 3);
	job_event(&b, 13, QB_EV_JOB_DISCARDED, W(1), 1, 3, 0, 0);
	end(&b, 1, QB_OUTCOME_DISCARDED, 3, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.given_up, 0);
}
END_TEST

/* A queue that deletes rows: what is done, and what has failed for good. */
START_TEST(what_the_queue_forgets_is_known_from_the_record)
{
	loose(5, 3);
	b.in.may_lose = 0;
	b.in.forgets = 1;
	run_job(&b, 12, 15, W(1), 1, 1);
	end(&b, 1, QB_OUTCOME_NONE, 0, 1);
	started(&b, 16, W(1), 2, 3);
	failed(&b, 17, W(1), 2, 3);
	job_event(&b, 17, QB_EV_JOB_DISCARDED, W(1), 2, 3, 0, 0);
	/* Killed between the delete and its record: after an effect, and of a job that fails and so has none. */
	started(&b, 18, W(2), 3, 1);
	end(&b, 3, QB_OUTCOME_NONE, 0, 1);
	started(&b, 18, W(3), 4, 3);
	b.events[b.trace.events_count - 1].ev.error_class = 2;
	killed(&b, 20, W(2), QB_ROLE_WORKER, 1);
	killed(&b, 20, W(3), QB_ROLE_WORKER, 1);
	died(&b, 20, PARENT, W(2), QB_ROLE_WORKER);
	died(&b, 20, PARENT, W(3), QB_ROLE_WORKER);
	/* Or the worker lives, and lost the server before it was told that the delete had worked. */
	started(&b, 18, W(1), 5, 1);
	end(&b, 5, QB_OUTCOME_NONE, 0, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.ambiguous, 2);
	ck_assert_uint_eq(b.out.ambiguous_gone, 3);
	ck_assert_uint_eq(b.out.lost, 0);
	ck_assert_int_eq(identity_of(&b, "acknowledged +")->left, 5);
	/* They are not going to run again, and nobody waits for them. */
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->kills, 0);
	/* A job that would have worked and has had no effect was not done. */
	for (size_t i = 0; i < b.trace.events_count; i++)
		b.events[i].ev.error_class = 0;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.lost, 1);
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->censored, 1);
}
END_TEST

/* Everything that can become of a job, in one account. */
START_TEST(all_of_it_adds_up)
{
	loose(8, 3);
	run_job(&b, 12, 18, W(1), 1, 1);                /* done; result lost; done again */
	run_job(&b, 10050, 10060, W(2), 1, 2);
	run_job(&b, 12, 19, W(1), 2, 1);                /* done; result lost; still held */
	end(&b, 2, QB_OUTCOME_HELD, 1, 1);
	started(&b, 19, W(1), 3, 1);                    /* in hand, ran again */
	run_job(&b, 10100, 10110, W(3), 3, 2);
	b.ends[2].effects = 2;
	started(&b, 19, W(1), 4, 1);                    /* in hand, not back */
	end(&b, 4, QB_OUTCOME_HELD, 1, 0);
	started(&b, 12, W(2), 5, 1);                    /* lost timer */
	failed(&b, 13, W(2), 5, 1);
	end(&b, 6, QB_OUTCOME_QUEUED, 0, 0);
	end(&b, 7, QB_OUTCOME_WAITING, 0, 0);
	started(&b, 14, W(1), 8, 3);                    /* given up */
	end(&b, 8, QB_OUTCOME_DISCARDED, 3, 0);
	kill_worker(&b, 20, W(1), 1);
	assert_verified(&b);
	const struct qb_identity *id = identity_of(&b, "acknowledged =");

	ck_assert_int_eq(id->left, 8);
	ck_assert_int_eq(id->right, 8);
	ck_assert_uint_eq(b.out.completed, 3);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.queued + b.out.waiting, 2);
	ck_assert_uint_eq(b.out.held, 1);
	ck_assert_uint_eq(b.out.stranded, 1);
	ck_assert_uint_eq(b.out.lost, 1);
	ck_assert_uint_eq(b.out.results_lost, 2);
	ck_assert_uint_eq(b.out.duplicates, 1);
	ck_assert_uint_eq(b.out.repeated_effects, 2);
	/* The first of those in hand came back, the last did not. */
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 10080 * MS);
	ck_assert(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns == QB_BEYOND_WATCH);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->watch_ns_max, 59980 * MS);
	ck_assert_uint_eq(class(QB_RESUME_UNRECORDED)->median_ns, 10030 * MS);
}
END_TEST

/* Whoever takes them after the lease began long before the kill. */
START_TEST(jobs_come_back_to_anybody_after_the_lease)
{
	loose(3, 2);
	run_job(&b, 11, 12, W(2), 3, 1);
	started(&b, 15, W(1), 1, 1);
	started(&b, 16, W(1), 2, 1);
	kill_worker(&b, 20, W(1), 1);
	run_job(&b, 12020, 12030, W(2), 1, 2);
	run_job(&b, 30020, 30030, W(2), 2, 2);
	assert_verified(&b);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 12000 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns, 30000 * MS);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->kills, 0);
	/* The watch ended between the two. */
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].t_ns >= ZERO_NS + 30000 * MS)
			b.events[i].ev.type = QB_EV_RESOURCE_SAMPLE;
	b.in.watch_end_ns = ZERO_NS + 20020 * MS;
	end(&b, 2, QB_OUTCOME_HELD, 1, 0);
	assert_verified(&b);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 12000 * MS);
	ck_assert(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns == QB_BEYOND_WATCH);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->watch_ns_max, 20000 * MS);
	ck_assert_uint_eq(b.out.stranded, 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("leased");
	TCase *tc = tcase_create("time-outs");
	SRunner *runner;
	int failed_count;

	tcase_add_test(tc, held_by_the_dead_is_a_finding_where_time_decides);
	tcase_add_test(tc, lost_is_a_finding_where_memory_may_be_lost);
	tcase_add_test(tc, a_result_that_died_with_its_worker_explains_a_duplicate);
	tcase_add_test(tc, a_result_can_be_missing_at_the_end);
	tcase_add_test(tc, what_two_did_at_a_time_is_no_lost_result);
	tcase_add_test(tc, a_time_out_is_no_failure_of_the_job);
	tcase_add_test(tc, what_the_queue_forgets_is_known_from_the_record);
	tcase_add_test(tc, all_of_it_adds_up);
	tcase_add_test(tc, jobs_come_back_to_anybody_after_the_lease);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
