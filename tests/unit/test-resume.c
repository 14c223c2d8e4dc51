/* SPDX-License-Identifier: Apache-2.0 */
/* Time to resume: which kill gets which sample, and which none. */
#include "trace-builder.h"

#include "shm/status.h"

static struct builder b;

static const struct qb_resume *class(unsigned cls)
{
	return &b.out.resume[cls];
}

/* kills, resumed, censored, taken by survivors */
static void assert_class(unsigned cls, unsigned kills, unsigned resumed, unsigned censored,
			 unsigned survivors)
{
	const struct qb_resume *r = class(cls);
	const char *name = qb_resume_class_name(cls);

	ck_assert_msg(r->kills == kills, "%s: %llu kills", name, (unsigned long long)r->kills);
	ck_assert_msg(r->ns.count == resumed, "%s: %llu resumed", name,
		      (unsigned long long)r->ns.count);
	ck_assert_msg(r->censored == censored, "%s: %llu censored", name,
		      (unsigned long long)r->censored);
	ck_assert_msg(r->by_survivors == survivors, "%s: %llu by survivors", name,
		      (unsigned long long)r->by_survivors);
}

/*
 * One worker, killed at 100 with job 1 in hand, job 2 queued, job 3 waiting for its retry; ready
 * again at 110; job 4 comes at 120.
 */
static void one_kill(void)
{
	builder_init(&b, 4);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 20, 2);
	submit(&b, 10, 3);
	started(&b, 30, W(1), 3, 1);
	failed(&b, 31, W(1), 3, 1);
	started(&b, 40, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	recovered(&b, 101, W(1), QB_ROLE_WORKER, MS / 2);
	recovered(&b, 101, SYNCER, QB_ROLE_SYNCER, MS / 4);     /* leaves no job to be decided */
	ambiguous(&b, 101, W(1), 1, 1, 0);
	worker(&b, 110, W(1));
	run_job(&b, 112, 113, W(1), 1, 2);
	run_job(&b, 114, 115, W(1), 2, 1);
	run_job(&b, 116, 117, W(1), 3, 2);
	submit(&b, 120, 4);
	run_job(&b, 121, 122, W(1), 4, 1);
}

START_TEST(each_class_has_its_own_time)
{
	one_kill();
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 1, 1, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_LAST, 1, 1, 0, 0);
	assert_class(QB_RESUME_RETRY_WAITING, 1, 1, 0, 0);
	assert_class(QB_RESUME_ENQUEUED_AFTER, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 12 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns, 12 * MS);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->median_ns, 14 * MS);
	ck_assert_uint_eq(class(QB_RESUME_RETRY_WAITING)->max_ns, 16 * MS);
	ck_assert_uint_eq(class(QB_RESUME_ENQUEUED_AFTER)->ns.p50_ns, 21 * MS);
	ck_assert_uint_eq(b.out.spawn.count, 1);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 10 * MS);
	ck_assert_uint_eq(b.out.verdict.count, 1);
	ck_assert_uint_eq(b.out.verdict.p50_ns, MS / 2);
	ck_assert_uint_eq(b.out.sync_resume.kills, 0);
	ck_assert_str_eq(qb_resume_class_name(QB_RESUME_RETRY_WAITING), "retry_waiting");
	ck_assert_str_eq(qb_resume_class_name(QB_RESUME_CLASS_COUNT), "?");
}
END_TEST

START_TEST(a_kill_without_jobs_of_a_class_gives_no_sample)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	worker(&b, 110, W(1));
	assert_verified(&b);
	for (unsigned i = 0; i < QB_RESUME_CLASS_COUNT; i++) {
		assert_class(i, 0, 0, 0, 0);
		ck_assert_uint_eq(class(i)->median_ns, 0);
	}
	ck_assert_uint_eq(b.out.spawn.count, 1);
}
END_TEST

START_TEST(a_job_that_was_never_picked_up_is_censored)
{
	builder_init(&b, 3);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 11, 2);
	started(&b, 20, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	ambiguous(&b, 101, W(1), 1, 1, 0);
	worker(&b, 110, W(1));
	submit(&b, 120, 3);
	for (unsigned i = 1; i <= 3; i++)
		end(&b, i, QB_OUTCOME_QUEUED, 0, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 1, 0, 1, 0);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 0, 1, 0);
	assert_class(QB_RESUME_IN_FLIGHT_LAST, 1, 0, 1, 0);
	assert_class(QB_RESUME_RETRY_WAITING, 0, 0, 0, 0);
	assert_class(QB_RESUME_ENQUEUED_AFTER, 1, 0, 1, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->watch_ns_max, 9900 * MS);
	ck_assert(class(QB_RESUME_NEVER_STARTED)->median_ns == QB_BEYOND_WATCH);
	ck_assert(class(QB_RESUME_NEVER_STARTED)->max_ns == QB_BEYOND_WATCH);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->ns.max_ns, 0);
}
END_TEST

/* Three kills; the job in hand runs again 10 and 20 ms after two, and never after the last. */
START_TEST(censored_kills_count_in_the_ranks)
{
	builder_init(&b, 3);
	start_processes(&b, 1);
	for (unsigned i = 1; i <= 3; i++) {
		unsigned t = 100 * i;

		submit(&b, t, i);
		started(&b, t + 1, W(1), i, 1);
		kill_worker(&b, t + 10, W(1), i);
		ambiguous(&b, t + 11, W(1), i, 1, 0);
		worker(&b, t + 15, W(1));
		if (i < 3)
			run_job(&b, t + 10 + 10 * i, t + 40, W(1), i, 2);
	}
	end(&b, 3, QB_OUTCOME_QUEUED, 1, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 3, 2, 1, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 20 * MS);
	ck_assert(class(QB_RESUME_IN_FLIGHT_FIRST)->p95_ns == QB_BEYOND_WATCH);
	ck_assert(class(QB_RESUME_IN_FLIGHT_FIRST)->max_ns == QB_BEYOND_WATCH);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->ns.max_ns, 20 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->watch_ns_max, 9690 * MS);
}
END_TEST

START_TEST(first_and_last_in_flight_are_told_apart)
{
	builder_init(&b, 3);
	start_processes(&b, 2);
	for (unsigned i = 1; i <= 3; i++) {
		submit(&b, 10, i);
		started(&b, 20, W(1), i, 1);
	}
	kill_worker(&b, 100, W(1), 1);
	for (unsigned i = 1; i <= 3; i++)
		ambiguous(&b, 101, W(1), i, 1, 0);
	worker(&b, 150, W(1));
	/* By any process: survivors too. */
	run_job(&b, 104, 105, W(2), 2, 2);
	run_job(&b, 190, 195, W(1), 3, 2);
	run_job(&b, 130, 135, W(2), 1, 2);
	assert_verified(&b);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_LAST, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 4 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns, 90 * MS);
	assert_class(QB_RESUME_NEVER_STARTED, 0, 0, 0, 0);
}
END_TEST

START_TEST(the_last_in_flight_is_censored_when_one_is_missing)
{
	builder_init(&b, 2);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 20, W(1), 1, 1);
	started(&b, 20, W(1), 2, 1);
	kill_worker(&b, 100, W(1), 1);
	ambiguous(&b, 101, W(1), 1, 1, 0);
	ambiguous(&b, 101, W(1), 2, 1, 0);
	run_job(&b, 104, 105, W(2), 1, 2);
	end(&b, 2, QB_OUTCOME_QUEUED, 1, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_LAST, 1, 0, 1, 0);
}
END_TEST

START_TEST(jobs_that_are_not_to_run_again_are_not_waited_for)
{
	builder_init(&b, 3);
	start_processes(&b, 1);
	for (unsigned i = 1; i <= 3; i++) {
		submit(&b, 10, i);
		started(&b, 20, W(1), i, 1);
	}
	kill_worker(&b, 100, W(1), 1);
	ambiguous(&b, 101, W(1), 1, 1, 1);                              /* parked */
	end(&b, 1, QB_OUTCOME_AMBIGUOUS, 1, 0);
	job_event(&b, 101, QB_EV_JOB_COMPLETED, PARENT, 2, 1, 0, 1);    /* was done */
	end(&b, 2, QB_OUTCOME_COMPLETED, 1, 1);
	ambiguous(&b, 101, W(1), 3, 1, 0);                              /* given up */
	job_event(&b, 101, QB_EV_JOB_DISCARDED, PARENT, 3, 1, 0, 0);
	end(&b, 3, QB_OUTCOME_DISCARDED, 1, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 0, 0, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_LAST, 0, 0, 0, 0);
	assert_class(QB_RESUME_NEVER_STARTED, 0, 0, 0, 0);
	ck_assert_uint_eq(b.out.discarded, 1);
	ck_assert_uint_eq(b.out.ambiguous, 2);
}
END_TEST

START_TEST(survivors_take_no_sample_of_a_new_process)
{
	builder_init(&b, 3);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	submit(&b, 11, 2);
	kill_worker(&b, 100, W(1), 1);
	run_job(&b, 102, 103, W(2), 1, 1);
	worker(&b, 110, W(1));
	run_job(&b, 115, 116, W(1), 2, 1);
	/* And a job after the restart that a survivor takes. */
	submit(&b, 120, 3);
	run_job(&b, 121, 122, W(2), 3, 1);
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->median_ns, 15 * MS);
	assert_class(QB_RESUME_ENQUEUED_AFTER, 1, 0, 0, 1);
}
END_TEST

START_TEST(a_pool_kill_is_one_kill)
{
	builder_init(&b, 3);
	start_processes(&b, 3);
	for (unsigned i = 1; i <= 3; i++) {
		submit(&b, 10, i);
		started(&b, 20, W(i), i, 1);
	}
	for (unsigned i = 1; i <= 3; i++) {
		killed(&b, 100 + i, W(i), QB_ROLE_WORKER, 7);
		died(&b, 104, PARENT, W(i), QB_ROLE_WORKER);
		ambiguous(&b, 105, W(i), i, 1, 0);
	}
	worker(&b, 111, W(1));
	run_job(&b, 121, 122, W(1), 1, 2);
	run_job(&b, 131, 132, W(1), 2, 2);
	run_job(&b, 141, 142, W(1), 3, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.kills, 1);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_WORKER], 1);
	ck_assert_uint_eq(b.out.ambiguous, 3);
	/* From the first of the kills. */
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 20 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns, 40 * MS);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 10 * MS);
}
END_TEST

/*
 * The parent is killed: its workers and the syncer die with it, without a kill of their own.  Its
 * victims are the workers; worker 3 is the child of the dead one although born after the stamp.
 */
START_TEST(the_workers_of_a_killed_parent_are_its_victims)
{
	builder_init(&b, 4);
	start_processes(&b, 2);
	for (unsigned i = 1; i <= 4; i++)
		submit(&b, 10, i);
	started(&b, 20, W(1), 1, 1);
	started(&b, 21, W(2), 2, 1);
	killed(&b, 100, PARENT, QB_ROLE_PARENT, 1);
	worker(&b, 101, W(3));
	started(&b, 102, W(3), 4, 1);           /* before the death of its parent reached it */
	died(&b, 103, DRIVER, PARENT, QB_ROLE_PARENT);
	spawn(&b, 104, DRIVER, 60, QB_ROLE_PARENT);
	ready(&b, 104, 60, QB_ROLE_PARENT);
	for (unsigned i = 1; i <= 3; i++)
		died(&b, 105, 60, W(i), QB_ROLE_WORKER);
	died(&b, 105, 60, SYNCER, QB_ROLE_SYNCER);
	event(&b, 106, QB_EV_TAKEN_OVER, 60);
	ambiguous(&b, 106, W(1), 1, 1, 0);
	ambiguous(&b, 106, W(2), 2, 1, 0);
	ambiguous(&b, 106, W(3), 4, 1, 0);
	spawn(&b, 110, 60, SYNCER, QB_ROLE_SYNCER);
	ready(&b, 112, SYNCER, QB_ROLE_SYNCER);
	event(&b, 118, QB_EV_SYNC_COMMITTED, SYNCER);
	spawn(&b, 110, 60, W(1), QB_ROLE_WORKER);
	ready(&b, 120, W(1), QB_ROLE_WORKER);
	run_job(&b, 125, 126, W(1), 2, 2);
	run_job(&b, 127, 128, W(1), 3, 1);
	run_job(&b, 129, 130, W(1), 1, 2);
	run_job(&b, 131, 132, W(1), 4, 2);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.kills, 1);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_PARENT], 1);
	ck_assert_uint_eq(b.out.deaths_unplanned, 0);
	ck_assert_uint_eq(b.out.takeovers, 1);
	ck_assert_uint_eq(b.out.ambiguous, 3);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 25 * MS);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_LAST)->median_ns, 31 * MS);
	/* Job 4 was in hand, not unstarted: only job 3 is of this class. */
	assert_class(QB_RESUME_NEVER_STARTED, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->median_ns, 27 * MS);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 20 * MS); /* worker 3 fell to the same kill */
	ck_assert_uint_eq(b.out.sync_resume.kills, 1);
	ck_assert_uint_eq(b.out.sync_resume.median_ns, 18 * MS);
}
END_TEST

/* The kill is stamped before it strikes: what the victim still began was in its hand. */
START_TEST(a_start_between_stamp_and_death_is_in_flight)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	killed(&b, 100, W(1), QB_ROLE_WORKER, 1);
	started(&b, 101, W(1), 1, 1);
	died(&b, 102, PARENT, W(1), QB_ROLE_WORKER);
	ambiguous(&b, 103, W(1), 1, 1, 0);
	worker(&b, 110, W(1));
	run_job(&b, 115, 116, W(1), 1, 2);
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 0, 0, 0, 0);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 15 * MS);
}
END_TEST

/* A standby was ready long ago; what counts is when it was told to go. */
START_TEST(a_standby_serves_from_its_activation)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	spawn(&b, 0, PARENT, W(2), QB_ROLE_STANDBY);
	ready(&b, 1, W(2), QB_ROLE_STANDBY);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	started(&b, 20, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	ready(&b, 102, W(2), QB_ROLE_WORKER);
	ambiguous(&b, 103, W(1), 1, 1, 0);
	run_job(&b, 104, 105, W(2), 1, 2);
	run_job(&b, 106, 107, W(2), 2, 1);
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->median_ns, 6 * MS);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 2 * MS);
}
END_TEST

START_TEST(an_unplanned_death_is_measured_like_a_kill)
{
	builder_init(&b, 1);
	start_processes(&b, 2);
	submit(&b, 10, 1);
	started(&b, 20, W(1), 1, 1);
	died(&b, 100, PARENT, W(1), QB_ROLE_WORKER);
	ambiguous(&b, 101, W(1), 1, 1, 0);
	worker(&b, 105, W(1));
	run_job(&b, 130, 131, W(1), 1, 2);
	/* The tidying up after the watch is no accident, and an orderly end is no death. */
	died(&b, 10001, PARENT, W(2), QB_ROLE_WORKER);
	process_event(&b, 9000, QB_EV_PROCESS_STOPPED, SYNCER, SYNCER, QB_ROLE_SYNCER, 0);
	died(&b, 9001, PARENT, SYNCER, QB_ROLE_SYNCER);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.deaths_unplanned, 1);
	ck_assert_uint_eq(b.out.kills, 0);
	ck_assert_uint_eq(b.out.ambiguous, 1);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 30 * MS);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 5 * MS);
}
END_TEST

START_TEST(a_later_kill_does_not_hide_a_resume)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 11, 2);
	started(&b, 20, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	ambiguous(&b, 101, W(1), 1, 1, 0);
	worker(&b, 110, W(1));
	/* Dead again before it took anything. */
	kill_worker(&b, 120, W(1), 2);
	worker(&b, 130, W(1));
	run_job(&b, 140, 141, W(1), 1, 2);
	run_job(&b, 142, 143, W(1), 2, 1);
	assert_verified(&b);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_IN_FLIGHT_FIRST)->median_ns, 40 * MS);
	/* Job 2 waited for both. */
	assert_class(QB_RESUME_NEVER_STARTED, 2, 2, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->ns.min_ns, 22 * MS);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->ns.max_ns, 42 * MS);
	ck_assert_uint_eq(b.out.spawn.count, 2);
}
END_TEST

START_TEST(the_shortest_and_the_longest_watch_are_kept)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 150, 2);
	kill_worker(&b, 100, W(1), 1);
	worker(&b, 110, W(1));
	kill_worker(&b, 200, W(1), 2);
	end(&b, 1, QB_OUTCOME_QUEUED, 0, 0);
	end(&b, 2, QB_OUTCOME_QUEUED, 0, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_NEVER_STARTED, 2, 0, 2, 0);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->watch_ns_min, 9800 * MS);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->watch_ns_max, 9900 * MS);
}
END_TEST

/* Killed between the failure and its record: at the kill the job waited for its retry. */
START_TEST(a_failure_found_after_the_kill_was_waiting_at_the_kill)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	started(&b, 20, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	failed(&b, 101, PARENT, 1, 1);
	worker(&b, 110, W(1));
	run_job(&b, 115, 116, W(1), 1, 2);
	assert_verified(&b);
	assert_class(QB_RESUME_RETRY_WAITING, 1, 1, 0, 0);
	ck_assert_uint_eq(class(QB_RESUME_RETRY_WAITING)->median_ns, 15 * MS);
	assert_class(QB_RESUME_IN_FLIGHT_FIRST, 0, 0, 0, 0);
}
END_TEST

START_TEST(without_a_successor_whatever_comes_later_is_waiting)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	kill_worker(&b, 100, W(1), 1);
	submit(&b, 120, 2);
	end(&b, 2, QB_OUTCOME_QUEUED, 0, 0);
	assert_verified(&b);
	assert_class(QB_RESUME_ENQUEUED_AFTER, 1, 0, 1, 0);
	ck_assert_uint_eq(b.out.spawn.count, 0);
}
END_TEST

START_TEST(a_syncer_kill_says_nothing_about_workers)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	submit(&b, 10, 2);
	run_job(&b, 20, 150, W(1), 1, 1);
	event(&b, 50, QB_EV_SYNC_COMMITTED, SYNCER);
	killed(&b, 100, SYNCER, QB_ROLE_SYNCER, 1);
	died(&b, 101, PARENT, SYNCER, QB_ROLE_SYNCER);
	spawn(&b, 102, PARENT, SYNCER, QB_ROLE_SYNCER);
	ready(&b, 107, SYNCER, QB_ROLE_SYNCER);
	event(&b, 111, QB_EV_SYNC_COMMITTED, SYNCER);
	event(&b, 112, QB_EV_SYNC_COMMITTED, SYNCER);
	run_job(&b, 151, 152, W(1), 2, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.kills_by_role[QB_ROLE_SYNCER], 1);
	for (unsigned i = 0; i < QB_RESUME_CLASS_COUNT; i++)
		assert_class(i, 0, 0, 0, 0);
	ck_assert_uint_eq(b.out.sync_resume.kills, 1);
	ck_assert_uint_eq(b.out.sync_resume.median_ns, 11 * MS);
	ck_assert_uint_eq(b.out.spawn.p50_ns, 7 * MS);
	ck_assert_uint_eq(b.out.ambiguous, 0);
}
END_TEST

static unsigned next_random(unsigned *state)
{
	return (*state = *state * 1103515245 + 12345) / 65536;
}

/* The definitions once more, kill by kill and job by job, against random traces. */
static void expect(unsigned kills_count, const uint64_t *kill_ms, const uint64_t *serve_ms,
		   unsigned jobs, const uint64_t *submit_ms, const uint64_t *start_ms,
		   const unsigned *by)
{
	unsigned had = 0, resumed = 0, survived = 0;
	uint64_t max = 0;

	for (unsigned k = 0; k < kills_count; k++) {
		uint64_t best = UINT64_MAX;
		int any = 0;

		for (unsigned j = 0; j < jobs; j++) {
			if (submit_ms[j] >= kill_ms[k] || start_ms[j] <= kill_ms[k])
				continue;
			any = 1;
			if (serve_ms[by[j]] > kill_ms[k] && start_ms[j] - kill_ms[k] < best)
				best = start_ms[j] - kill_ms[k];
		}
		had += any;
		survived += any && best == UINT64_MAX;
		if (best != UINT64_MAX) {
			resumed++;
			max = best > max ? best : max;
		}
	}
	assert_class(QB_RESUME_NEVER_STARTED, had, resumed, 0, survived);
	ck_assert_uint_eq(class(QB_RESUME_NEVER_STARTED)->ns.max_ns, max * MS);
}

START_TEST(many_kills_agree_with_the_plain_definition)
{
	uint64_t kill_ms[20], serve_ms[2 + 20] = { 0 }, submit_ms[200], start_ms[200];
	unsigned by[200], random = 12345 + 977 * (unsigned)_i;
	/* Worker 1 lives through all; the other seat is killed again and again. */
	builder_init(&b, 200);
	start_processes(&b, 2);
	for (unsigned k = 0; k < 20; k++) {
		kill_ms[k] = 50 + 50 * k + next_random(&random) % 30;
		serve_ms[2 + k] = kill_ms[k] + 1 + next_random(&random) % 15;
		kill_worker(&b, kill_ms[k], W(2), k + 1);
		worker(&b, serve_ms[2 + k], W(2));
	}
	for (unsigned j = 0; j < 200; j++) {
		uint64_t alive;

		submit_ms[j] = 5 * j;
		start_ms[j] = submit_ms[j] + 1 + next_random(&random) % 90;
		by[j] = 0;
		if (next_random(&random) % 3 == 0)
			for (unsigned k = 0; k <= 20; k++) {
				/* Long enough before its next kill to finish. */
				alive = k < 20 ? kill_ms[k] : UINT64_MAX;
				if (start_ms[j] > serve_ms[1 + k] && start_ms[j] < alive) {
					by[j] = 1 + k;
					break;
				}
			}
		submit(&b, submit_ms[j], j + 1);
		run_job(&b, start_ms[j], start_ms[j], by[j] ? W(2) : W(1), j + 1, 1);
	}
	assert_verified(&b);
	expect(20, kill_ms, serve_ms, 200, submit_ms, start_ms, by);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("resume");
	TCase *tc = tcase_create("time to resume");
	SRunner *runner;
	int failed_count;

	tcase_add_test(tc, each_class_has_its_own_time);
	tcase_add_test(tc, a_kill_without_jobs_of_a_class_gives_no_sample);
	tcase_add_test(tc, a_job_that_was_never_picked_up_is_censored);
	tcase_add_test(tc, censored_kills_count_in_the_ranks);
	tcase_add_test(tc, first_and_last_in_flight_are_told_apart);
	tcase_add_test(tc, the_last_in_flight_is_censored_when_one_is_missing);
	tcase_add_test(tc, jobs_that_are_not_to_run_again_are_not_waited_for);
	tcase_add_test(tc, survivors_take_no_sample_of_a_new_process);
	tcase_add_test(tc, a_pool_kill_is_one_kill);
	tcase_add_test(tc, the_workers_of_a_killed_parent_are_its_victims);
	tcase_add_test(tc, a_start_between_stamp_and_death_is_in_flight);
	tcase_add_test(tc, a_standby_serves_from_its_activation);
	tcase_add_test(tc, an_unplanned_death_is_measured_like_a_kill);
	tcase_add_test(tc, a_later_kill_does_not_hide_a_resume);
	tcase_add_test(tc, the_shortest_and_the_longest_watch_are_kept);
	tcase_add_test(tc, a_failure_found_after_the_kill_was_waiting_at_the_kill);
	tcase_add_test(tc, without_a_successor_whatever_comes_later_is_waiting);
	tcase_add_test(tc, a_syncer_kill_says_nothing_about_workers);
	tcase_add_loop_test(tc, many_kills_agree_with_the_plain_definition, 0, 50);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
