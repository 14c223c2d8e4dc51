/* SPDX-License-Identifier: Apache-2.0 */
/* What a death costs: which one has a sample, and which. And a failure that its worker could not write down. */
#include "trace-builder.h"

#include "record/format.h"
#include "shm/status.h"
#include "stats/death.h"

static struct builder b;

static void times(struct qb_death_times *d)
{
	memset(d, 0, sizeof(*d));
	b.trace.job_id_max = b.in.jobs_count;
	ck_assert_int_eq(qb_death_times_add(d, &b.trace), 0);
}

START_TEST(from_the_kill_to_the_verdict)
{
	struct qb_death_times d;

	builder_init(&b, 1);
	start_processes(&b, 2);
	kill_worker(&b, 100, W(1), 1);
	recovered(&b, 103, W(1), QB_ROLE_WORKER, MS);
	/* Nobody of the plan's. */
	died(&b, 200, PARENT, W(2), QB_ROLE_WORKER);
	recovered(&b, 201, W(2), QB_ROLE_WORKER, MS);
	times(&d);
	ck_assert_uint_eq(d.verdict.count, 1);
	ck_assert_uint_eq(d.verdict.ns[0], 3 * MS);
	ck_assert_uint_eq(d.pickup.count, 0);
	qb_death_times_free(&d);
}
END_TEST

/* A worker is killed, and its parent before the verdict; the parent's successor is killed, too. */
static void two_parents(uint64_t submitted_ms)
{
	builder_init(&b, 2);
	start_processes(&b, 1);
	if (submitted_ms < 100)
		submit(&b, submitted_ms, 1);
	killed(&b, 100, W(1), QB_ROLE_WORKER, 1);
	killed(&b, 101, PARENT, QB_ROLE_PARENT, 2);
	spawn(&b, 110, DRIVER, PARENT, QB_ROLE_PARENT);
	killed(&b, 120, PARENT, QB_ROLE_PARENT, 3);
	spawn(&b, 130, DRIVER, PARENT, QB_ROLE_PARENT);
	recovered(&b, 131, W(1), QB_ROLE_WORKER, MS);
	worker(&b, 135, W(1));
	if (submitted_ms >= 100)
		submit(&b, submitted_ms, 1);
	run_job(&b, 150, 151, W(1), 1, 1);
	submit(&b, 160, 2);
	run_job(&b, 161, 162, W(1), 2, 1);
}

START_TEST(from_the_last_parent_to_the_next_pick_up)
{
	struct qb_death_times d;

	two_parents(50);
	times(&d);
	ck_assert_uint_eq(d.verdict.count, 0);
	ck_assert_uint_eq(d.pickup.count, 1);
	ck_assert_uint_eq(d.pickup.ns[0], 30 * MS);
	qb_death_times_free(&d);
}
END_TEST

START_TEST(no_pick_up_of_a_job_that_came_later)
{
	struct qb_death_times d;

	two_parents(140);
	times(&d);
	ck_assert_uint_eq(d.pickup.count, 0);
	qb_death_times_free(&d);
}
END_TEST

/* A worker that lived on is no new one. */
START_TEST(no_pick_up_by_one_that_served_before)
{
	struct qb_death_times d;

	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 50, 1);
	killed(&b, 100, PARENT, QB_ROLE_PARENT, 1);
	run_job(&b, 101, 102, W(1), 1, 1);
	times(&d);
	ck_assert_uint_eq(d.pickup.count, 0);
	qb_death_times_free(&d);
}
END_TEST

static void act(uint64_t t_ms, enum qb_fault_act what, uint64_t number)
{
	struct qb_event_shm *ev = event(&b, t_ms, QB_EV_VERDICT, DRIVER);

	ev->job_id = number;
	ev->arg0 = what;
}

START_TEST(what_the_plan_did_beside_the_kills)
{
	builder_init(&b, 0);
	start_processes(&b, 1);
	act(10, QB_FAULT_STOPPED, 1);
	act(20, QB_FAULT_WENT_ON, 1);
	act(30, QB_FAULT_STOPPED, 2);
	act(40, QB_FAULT_SERVER_KILLED, 3);
	act(50, QB_FAULT_SERVER_BACK, 3);
	ck_assert_int_eq(qb_summarize(&b.in, &b.out, &b.err), 0);
	ck_assert_uint_eq(b.out.stops, 2);
	ck_assert_uint_eq(b.out.server_kills, 1);
	ck_assert_uint_eq(b.out.kills, 0);
}
END_TEST

/* Started with so many failures behind it, as its word says. */
static void started_with(uint64_t t_ms, unsigned attempt, unsigned failures)
{
	started(&b, t_ms, W(1), 1, attempt);
	b.events[b.trace.events_count - 1].ev.token = qb_word(1, attempt, W(1), failures, QB_JOB_STARTED);
}

/* Killed between the step that makes a failed job ready again and the record of the failure. */
static void killed_after_attempt(unsigned failures_then)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	started_with(20, 1, 0);
	kill_worker(&b, 30, W(1), 1);
	recovered(&b, 31, W(1), QB_ROLE_WORKER, MS);
	worker(&b, 40, W(1));
	started_with(50, 2, failures_then);
	completed(&b, 51, W(1), 1, 2);
	b.ends[0].effects = 1;
	ck_assert_int_eq(qb_summarize(&b.in, &b.out, &b.err), 0);
}

START_TEST(a_failure_without_its_record_is_seen_in_the_next_start)
{
	killed_after_attempt(1);
	ck_assert_uint_eq(b.out.ambiguous_attempts, 0);
	ck_assert_uint_eq(b.out.failed_attempts, 1);
	ck_assert_int_eq(b.out.verified, 1);
}
END_TEST

/* Without a failure in between it was begun twice, and nobody said so. */
START_TEST(a_start_without_a_failure_before_is_a_silent_repeat)
{
	killed_after_attempt(0);
	ck_assert_uint_eq(b.out.ambiguous_attempts, 1);
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("death");
	TCase *tc = tcase_create("death");

	tcase_add_test(tc, from_the_kill_to_the_verdict);
	tcase_add_test(tc, from_the_last_parent_to_the_next_pick_up);
	tcase_add_test(tc, no_pick_up_of_a_job_that_came_later);
	tcase_add_test(tc, no_pick_up_by_one_that_served_before);
	tcase_add_test(tc, what_the_plan_did_beside_the_kills);
	tcase_add_test(tc, a_failure_without_its_record_is_seen_in_the_next_start);
	tcase_add_test(tc, a_start_without_a_failure_before_is_a_silent_repeat);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed != 0;
}
