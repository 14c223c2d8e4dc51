/* SPDX-License-Identifier: Apache-2.0 */
/* What must add up, and that it is noticed when it does not. */
#include "trace-builder.h"

#include "shm/status.h"

static struct builder b;

START_TEST(an_unreported_ambiguity_breaks_the_identity)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	run_job(&b, 23, 30, W(2), 1, 2);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "ambiguous attempts on record");
	ck_assert_int_eq(identity_of(&b, "ambiguous attempts")->left, 1);
	ck_assert_int_eq(identity_of(&b, "ambiguous attempts")->right, 0);
	/* For a queue that reports nothing the same trace is in order. */
	b.in.reports_ambiguity = 0;
	assert_verified(&b);
	ck_assert_uint_eq(b.out.ambiguous, 1);
}
END_TEST

START_TEST(a_report_against_an_outcome_breaks_the_identity)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "ambiguous attempts on record");
	ck_assert_uint_eq(b.out.ambiguous, 0);
}
END_TEST

START_TEST(a_report_about_a_living_process_breaks_the_identity)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 12, W(1), 1, 1);
	ambiguous(&b, 20, W(1), 1, 1, 0);
	run_job(&b, 23, 30, W(2), 1, 2);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "ambiguous attempts on record");
	ck_assert_uint_eq(b.out.ambiguous, 0);
	ck_assert_uint_eq(b.out.abandoned, 1);
}
END_TEST

START_TEST(lost_is_acknowledged_and_nowhere)
{
	builder_init(&b, 5);
	start_processes(&b, 1);
	for (unsigned i = 1; i <= 4; i++)
		submit(&b, 10, i);
	run_job(&b, 12, 15, W(1), 1, 1);
	end(&b, 2, QB_OUTCOME_QUEUED, 0, 0);
	end(&b, 3, QB_OUTCOME_WAITING, 1, 0);
	started(&b, 16, W(1), 3, 1);
	failed(&b, 17, W(1), 3, 1);
	/* Job 4: the queue knows nothing. Job 5 was never acknowledged: nothing was promised. */
	job_event(&b, 20, QB_EV_JOB_SUBMITTED, DRIVER, 5, 0, ZERO_NS, 0);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_uint_eq(b.out.lost, 1);
	ck_assert_uint_eq(b.out.queued, 1);
	ck_assert_uint_eq(b.out.waiting, 1);
	ck_assert_uint_eq(b.out.completed, 1);
	ck_assert_uint_eq(b.out.unacknowledged, 1);
	ck_assert_uint_eq(b.out.unacknowledged_known, 0);
	/* It turns up: held by a worker that lives. */
	started(&b, 18, W(1), 4, 1);
	end(&b, 4, QB_OUTCOME_HELD, 1, 0);
	end(&b, 5, QB_OUTCOME_QUEUED, 0, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.held, 1);
	ck_assert_uint_eq(b.out.stranded, 0);
	ck_assert_uint_eq(b.out.unfinished, 1);
	ck_assert_uint_eq(b.out.unacknowledged_known, 1);
}
END_TEST

START_TEST(stranded_is_held_by_the_dead)
{
	builder_init(&b, 3);
	b.in.reports_ambiguity = 0;
	start_processes(&b, 2);
	for (unsigned i = 1; i <= 3; i++)
		submit(&b, 10, i);
	started(&b, 12, W(1), 1, 1);
	kill_worker(&b, 20, W(1), 1);
	worker(&b, 22, W(1));
	end(&b, 1, QB_OUTCOME_HELD, 1, 0);
	/* The same seat, another process: job 2 is held by a living one. */
	started(&b, 30, W(1), 2, 1);
	end(&b, 2, QB_OUTCOME_HELD, 1, 0);
	run_job(&b, 23, 25, W(2), 3, 1);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_uint_eq(b.out.held, 2);
	ck_assert_uint_eq(b.out.stranded, 1);
	ck_assert_uint_eq(b.out.lost, 0);
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

START_TEST(claimed_by_a_dead_process_is_stranded_too)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	end(&b, 1, QB_OUTCOME_HELD, 1, 0);
	/* Nobody died: caught between claim and start. */
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.stranded, 0);
	kill_worker(&b, 20, W(1), 1);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.stranded, 1);
	ck_assert_uint_eq(b.out.ambiguous, 0);
}
END_TEST

/* A queue that deletes what is done, reports nothing, and lost its worker after the effect. */
START_TEST(a_vanished_ambiguous_job_is_not_called_lost)
{
	builder_init(&b, 2);
	b.in.reports_ambiguity = 0;
	b.in.forgets = 1;
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 12, W(1), 1, 1);
	started(&b, 12, W(2), 2, 1);
	killed(&b, 20, W(1), QB_ROLE_WORKER, 1);
	killed(&b, 20, W(2), QB_ROLE_WORKER, 1);
	died(&b, 20, PARENT, W(1), QB_ROLE_WORKER);
	died(&b, 20, PARENT, W(2), QB_ROLE_WORKER);
	end(&b, 1, QB_OUTCOME_NONE, 0, 1);
	end(&b, 2, QB_OUTCOME_NONE, 0, 0);      /* its effect never happened: this one is lost */
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_uint_eq(b.out.ambiguous, 2);
	ck_assert_uint_eq(b.out.ambiguous_gone, 1);
	ck_assert_uint_eq(b.out.lost, 1);
	/* A queue that keeps what is finished has no such excuse. */
	b.in.forgets = 0;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.lost, 2);
}
END_TEST

/* Started by a worker that is dead now, and reported as one that Postgres knows about. */
static void in_doubt(uint64_t t_ms, unsigned seat, unsigned job, unsigned attempt)
{
	job_event(&b, t_ms, QB_EV_JOB_AMBIGUOUS, PARENT, job, attempt, qb_word(1, attempt, seat, 0, QB_JOB_STARTED), 2);
}

/* Three attempts die: one was done, one was not and runs again, one was not and is given up. */
static void asked_about(void)
{
	builder_init(&b, 3);
	b.in.resolves = 1;
	start_processes(&b, 4);
	for (unsigned i = 1; i <= 3; i++) {
		submit(&b, 10, i);
		started(&b, 12, W(i), i, 1);
		killed(&b, 20, W(i), QB_ROLE_WORKER, 1);
		died(&b, 20, PARENT, W(i), QB_ROLE_WORKER);
		in_doubt(21, W(i), i, 1);
	}
	job_event(&b, 25, QB_EV_JOB_COMPLETED, SYNCER, 1, 1, 0, 1);
	end(&b, 1, QB_OUTCOME_COMPLETED, 1, 1);
	job_event(&b, 25, QB_EV_JOB_REQUEUED, SYNCER, 2, 1, 0, 0);
	run_job(&b, 30, 35, W(4), 2, 2);
	job_event(&b, 25, QB_EV_JOB_DISCARDED, SYNCER, 3, 1, 0, 0);
	end(&b, 3, QB_OUTCOME_DISCARDED, 1, 0);
}

START_TEST(what_postgres_was_asked_about_is_not_ambiguous)
{
	asked_about();
	/* The syncer was killed in between: told twice is counted once. */
	job_event(&b, 26, QB_EV_JOB_REQUEUED, SYNCER, 2, 1, 0, 0);
	job_event(&b, 26, QB_EV_JOB_COMPLETED, SYNCER, 1, 1, 0, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.in_doubt, 3);
	ck_assert_uint_eq(b.out.in_doubt_done, 1);
	ck_assert_uint_eq(b.out.in_doubt_undone, 2);
	ck_assert_uint_eq(b.out.ambiguous + b.out.ambiguous_attempts + b.out.ambiguous_parked, 0);
	ck_assert_uint_eq(b.out.completed, 2);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.requeued, 1);
	ck_assert_uint_eq(b.out.starts, 4);
	/* Without the event the queue's own word does. */
	asked_about();
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_JOB_COMPLETED && b.events[i].ev.job_id == 1)
			b.events[i].ev.type = QB_EV_RESOURCE_SAMPLE;
	assert_verified(&b);
	ck_assert_uint_eq(b.out.in_doubt_done, 1);
}
END_TEST

START_TEST(nobody_asked_about_it)
{
	asked_about();
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_JOB_REQUEUED)
			b.events[i].ev.type = QB_EV_RESOURCE_SAMPLE;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_int_eq(identity_of(&b, "attempts in doubt = found")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "ambiguous attempts = 0")->left, 1);
	ck_assert_uint_eq(b.out.in_doubt, 3);
	ck_assert_uint_eq(b.out.in_doubt_undone, 1);
	ck_assert_uint_eq(b.out.ambiguous, 1);
}
END_TEST

/* The resolver said "not done" of an attempt whose effect happened. */
START_TEST(wrong_answer_about_an_effect_is_found)
{
	asked_about();
	b.ends[1].effects = 2;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(b.out.verified, 0);
	ck_assert_uint_eq(b.out.repeated_effects, 1);
	/* Being in doubt once is no excuse. */
	ck_assert_uint_eq(b.out.silent_effects, 1);
	ck_assert_int_eq(identity_of(&b, "effects beyond")->left, 1);
	ck_assert_int_eq(identity_of(&b, "repeated_effects = 0")->holds, 0);
	asked_about();
	b.ends[2].effects = 1;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "effects beyond");
	/* And "done" of one whose effect did not. */
	asked_about();
	b.ends[0].effects = 0;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "completions without an effect");
}
END_TEST

START_TEST(refused_enqueues_are_counted)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	job_event(&b, 20, QB_EV_JOB_SUBMITTED, DRIVER, 2, 0, ZERO_NS, 0);
	job_event(&b, 21, QB_EV_ENQUEUE_FAILED, DRIVER, 2, 0, 5, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.submitted, 2);
	ck_assert_uint_eq(b.out.acknowledged, 1);
	ck_assert_uint_eq(b.out.enqueue_failed, 1);
	ck_assert_uint_eq(b.out.unacknowledged, 0);
	/* Refused and acknowledged cannot both be true. */
	job_event(&b, 22, QB_EV_JOB_ENQUEUED, DRIVER, 2, 0, 0, 0);
	end(&b, 2, QB_OUTCOME_QUEUED, 0, 0);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "submitted = ");
}
END_TEST

START_TEST(effects_must_cover_completions)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	run_job(&b, 12, 15, W(1), 1, 1);
	run_job(&b, 16, 17, W(1), 2, 1);
	b.ends[0].effects = 0;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "completions without an effect");
	/* Jobs beyond the effect words cannot be judged. */
	b.in.effects_count = 1;
	b.ends[0].effects = 1;
	b.ends[1].effects = 0;
	assert_verified(&b);
	/* One effect more than attempts that can have had it. */
	b.ends[0].effects = 2;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(identity_of(&b, "effects beyond")->left, 1);
	ck_assert_int_eq(identity_of(&b, "effects beyond")->holds, 0);
}
END_TEST

START_TEST(a_finished_job_must_not_be_queued)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	b.ends[0].outcome = QB_OUTCOME_QUEUED;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "finished jobs that the queue");
	/* Finished after the watch: the queue was asked before. */
	b.in.watch_end_ns = ZERO_NS + 14 * MS;
	assert_verified(&b);
}
END_TEST

START_TEST(what_was_dropped_is_named)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	b.trace.dropped_count = 2;
	b.trace.damage.missing_count = 1;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "events dropped or missing");
	ck_assert_uint_eq(b.out.events_dropped, 3);
	b.trace.dropped_count = b.trace.damage.missing_count = 0;
	b.trace.damage.tail_bytes = 10;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "damaged places");
}
END_TEST

START_TEST(without_the_ends_nothing_is_called_lost)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	run_job(&b, 12, 15, W(1), 1, 1);
	b.in.ends = NULL;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "jobs whose end nobody");
	ck_assert_uint_eq(b.out.lost, 0);
	ck_assert_uint_eq(b.out.unknown_end, 1);
	ck_assert_uint_eq(b.out.completed, 1);
}
END_TEST

START_TEST(a_kill_without_a_death_breaks_the_identity)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	killed(&b, 20, W(1), QB_ROLE_WORKER, 1);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "processes killed by plan");
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 3);
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(b.err.text, "job 3"));
	builder_init(&b, 2);
	job_event(&b, 10, QB_EV_JOB_STARTED, W(1), 0, 1, 0, 0);
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	builder_init(&b, 2);
	ready(&b, 10, QB_SEAT_MAX, QB_ROLE_WORKER);
	ck_assert_int_eq(summarize(&b), 0);
	b.events[0].ev.slot_idx = QB_SEAT_MAX + 1;
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	builder_init(&b, 2);
	ready(&b, 10, W(1), QB_ROLE_COUNT);
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	builder_init(&b, 2);
	b.ends[1].job_id = 1;
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	builder_init(&b, 2);
	b.ends[1].outcome = QB_OUTCOME_COUNT;
	ck_assert_int_eq(summarize(&b), QB_ECORRUPT);
	builder_init(&b, 0);
	b.in.jobs_count = (1u << 24) + 1;
	ck_assert_int_eq(summarize(&b), QB_ETOOBIG);
	builder_init(&b, 0);
	assert_verified(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("account");
	TCase *tc = tcase_create("identities");
	SRunner *runner;
	int failed_count;

	tcase_add_test(tc, an_unreported_ambiguity_breaks_the_identity);
	tcase_add_test(tc, a_report_against_an_outcome_breaks_the_identity);
	tcase_add_test(tc, a_report_about_a_living_process_breaks_the_identity);
	tcase_add_test(tc, lost_is_acknowledged_and_nowhere);
	tcase_add_test(tc, stranded_is_held_by_the_dead);
	tcase_add_test(tc, claimed_by_a_dead_process_is_stranded_too);
	tcase_add_test(tc, a_vanished_ambiguous_job_is_not_called_lost);
	tcase_add_test(tc, what_postgres_was_asked_about_is_not_ambiguous);
	tcase_add_test(tc, nobody_asked_about_it);
	tcase_add_test(tc, wrong_answer_about_an_effect_is_found);
	tcase_add_test(tc, refused_enqueues_are_counted);
	tcase_add_test(tc, effects_must_cover_completions);
	tcase_add_test(tc, a_finished_job_must_not_be_queued);
	tcase_add_test(tc, what_was_dropped_is_named);
	tcase_add_test(tc, without_the_ends_nothing_is_called_lost);
	tcase_add_test(tc, a_kill_without_a_death_breaks_the_identity);
	tcase_add_test(tc, what_cannot_be_is_refused);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
