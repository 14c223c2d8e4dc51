/* SPDX-License-Identifier: Apache-2.0 */
/* river: addressed work, as a cache on it needs it: keys, notifications, looks, kills. */
#include <pthread.h>

#include "queue/river-leader.h"
#include "queue/river-unique.h"
#include "tests/pg/riverbench.h"

char *pgtest_base;

#define SYNC SOON ":completer=sync:elect=off"
#define NEVER_NS (3600 * QB_NS_PER_S)

static void only_notifications(void)
{
	qb_river_looks.soon_ns = qb_river_looks.tick_ns = NEVER_NS;
}

static int push_of(struct bench *b, struct qb_queue *q, uint64_t id, uint16_t max_attempts, struct qb_address_run *run)
{
	struct qb_submit what = { .job_id = id, .kind = 2, .max_attempts = max_attempts, .payload = "p", .payload_bytes = 1 };
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	int rc = b->ops->addressed->push(q, &what, "item-1", &ticket, run, &err);

	ck_ok(rc, err);
	ck_assert_uint_eq(ticket.a, id);
	return rc;
}

static int push(struct bench *b, uint64_t id, struct qb_address_run *run)
{
	return push_of(b, b->driver, id, 3, run);
}

static struct qb_address_end await(struct bench *b, struct qb_queue *q, const struct qb_address_run *run, uint64_t ns)
{
	struct qb_address_end end;
	struct qb_err err = { 0 };

	ck_ok(b->ops->addressed->await(q, "item-1", run, qb_now_ns() + ns, &end, &err), err);
	return end;
}

static void tell(struct bench *b, const struct qb_address_run *run)
{
	struct qb_err err = { 0 };

	ck_ok(qb_river_tell(b->w.db, "qbench_river", (int64_t)run->a, &err), err);
}

static void tell_by_worker(struct qb_river_worker *w, const struct qb_queue_job *job)
{
	struct qb_err err = { 0 };

	ck_ok(qb_river_worker_tell(w, job, &err), err);
}

/* A caller of its own that waits in a thread. */
struct waiter {
	struct bench *b;
	struct qb_queue *q;
	struct qb_address_run run;
	struct qb_address_end end;
	pthread_t thread;
};

static void *wait_main(void *opaque)
{
	struct waiter *w = opaque;

	w->end = await(w->b, w->q, &w->run, 50 * QB_NS_PER_S);
	return NULL;
}

static void waiter_open(struct waiter *w, struct bench *b)
{
	struct qb_err err = { 0 };

	*w = (struct waiter){ .b = b };
	ck_ok(b->ops->open(&b->env, &w->q, &err), err);
}

static void waiter_start(struct waiter *w)
{
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_main, w), 0);
}

static void waiter_end(struct waiter *w, enum qb_address_state state, int by_tick)
{
	ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
	ck_assert_int_eq(w->end.state, state);
	ck_assert_int_eq(w->end.by_tick, by_tick);
	w->b->ops->close(w->q);
}

/* How many have looked once and listen. */
static int64_t have_looked(struct bench *b)
{
	return pgtest_i64(b->w.db, "select count(*) from pg_stat_activity where application_name = 'qbench driver'"
			  " and state = 'idle' and query like 'select finalized_at%'");
}

static bool look_is_blocked(struct bench *b)
{
	return pgtest_i64(b->w.db, "select count(*) from (select pg_stat_clear_snapshot()) s, pg_stat_activity"
			  " where application_name = 'qbench driver' and wait_event_type = 'Lock'") > 0;
}

/* ---- keys ---- */

START_TEST(address_is_taken_until_its_run_has_ended_and_free_though_the_row_is_kept)
{
	static const char *const names[] = { "available", "pending", "retryable", "running", "scheduled", NULL };
	static const struct { const char *set; int rc; } states[] = {
		{ "state = 'available'", QB_DUPLICATE }, { "state = 'pending'", QB_DUPLICATE },
		{ "state = 'retryable'", QB_DUPLICATE }, { "state = 'running'", QB_DUPLICATE },
		{ "state = 'scheduled'", QB_DUPLICATE }, { "state = 'completed', finalized_at = now()", QB_OK },
		{ "state = 'cancelled', finalized_at = now()", QB_OK }, { "state = 'discarded', finalized_at = now()", QB_OK },
	};
	struct qb_address_run first, run;
	struct qb_err err = { 0 };
	uint8_t mask;
	struct bench b;

	river_open(&b, "keys", SYNC, 1);
	ck_ok(qb_river_unique_states(names, &mask, &err), err);
	ck_assert_int_eq(mask, RIVER_ADDRESS_STATES);
	for (uint64_t i = 0; i < QB_ARRAY_COUNT(states); i++) {
		pgtest_exec(b.w.db, "delete from " JOBS);
		ck_assert_int_eq(push(&b, 10, &first), QB_OK);
		ck_assert_int_eq(rows(&b, "unique_states = b'11110001' and unique_key ="
				      " sha256('&kind=benchmark.job&args={\"key\":\"item-1\"}')"), 1);
		char *text = qb_xasprintf("update " JOBS " set %s", states[i].set);

		pgtest_exec(b.w.db, text);
		free(text);
		ck_assert_int_eq(push(&b, 11, &run), states[i].rc);
		/* Joined: the row that is there. */
		ck_assert_int_eq(run.a == first.a, states[i].rc == QB_DUPLICATE);
		ck_assert_int_eq(rows(&b, "true"), states[i].rc == QB_DUPLICATE ? 1 : 2);
	}
	bench_close(&b);
}
END_TEST

START_TEST(failed_run_is_cancelled_and_the_address_is_free)
{
	struct qb_address_run run, next;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	uint64_t due_ns = 0;
	struct bench b;
	int final = 0;

	river_open(&b, "failing", SYNC, 1);
	struct qb_river_worker *w = river_worker(&b);

	ck_assert_int_eq(push(&b, 1, &run), QB_OK);
	river_start(w, 0, &job);
	tell_by_worker(w, &job);
	ck_ok(qb_river_worker_fail(w, &job, 1, &due_ns, &final, &err), err);
	ck_assert_int_eq(rows(&b, "state = 'cancelled' and array_length(errors, 1) = 1"), 1);
	ck_assert_int_eq(await(&b, b.driver, &run, 20 * QB_NS_PER_S).state, QB_ADDRESS_DONE);
	ck_assert_int_eq(push(&b, 2, &next), QB_OK);
	ck_assert_uint_ne(next.a, run.a);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

/* ---- waiting ---- */

START_TEST(eight_who_wait_for_one_run_are_released_by_its_notification)
{
	struct waiter all[8];
	struct qb_queue_job job;
	unsigned accepted = 0;
	struct bench b;

	only_notifications();
	river_open(&b, "eight", SYNC, 1);
	struct qb_river_worker *w = river_worker(&b);

	for (unsigned i = 0; i < 8; i++) {
		waiter_open(&all[i], &b);
		accepted += push_of(&b, all[i].q, i + 1, 3, &all[i].run) == QB_OK;
		ck_assert_uint_eq(all[i].run.a, all[0].run.a);
		waiter_start(&all[i]);
	}
	ck_assert_uint_eq(accepted, 1);
	river_start(w, 0, &job);
	ck_until(have_looked(&b) == 8, 20);
	/* Somebody else's run. */
	tell(&b, &(struct qb_address_run){ .a = all[0].run.a + 1 });
	tell(&b, &(struct qb_address_run){ .a = all[0].run.a * 10 });
	tell_by_worker(w, &job);
	for (unsigned i = 0; i < 8; i++)
		waiter_end(&all[i], QB_ADDRESS_DONE, 0);
	/* Told by the work, before the row has ended. */
	ck_assert_int_eq(rows(&b, "state = 'running'"), 1);
	ck_assert_int_eq(river_complete(w, &job), 0);
	ck_assert_int_eq(push(&b, 9, &all[0].run), QB_OK);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(notification_between_listening_and_looking_is_not_lost)
{
	struct waiter waits;
	struct bench b;

	only_notifications();
	river_open(&b, "gap", SYNC, 1);
	waiter_open(&waits, &b);
	ck_assert_int_eq(push_of(&b, waits.q, 1, 3, &waits.run), QB_OK);
	PGconn *db = sql_connect(HERE);

	/* His look waits for the lock: it is told while he can do nothing, and the look finds a row that is not over. */
	pgtest_exec(db, "begin; lock table " JOBS " in access exclusive mode");
	waiter_start(&waits);
	ck_until(look_is_blocked(&b), 20);
	tell(&b, &waits.run);
	pgtest_exec(db, "commit");
	waiter_end(&waits, QB_ADDRESS_DONE, 0);
	PQfinish(db);
	bench_close(&b);
}
END_TEST

START_TEST(run_whose_notification_never_came_is_found_over_by_a_tick)
{
	struct waiter waits;
	struct qb_queue_job job;
	struct bench b;

	/* The second look is not the tick's: at least one more comes after it. */
	qb_river_looks = (struct qb_river_looks){ .soon_ns = 20 * QB_NS_PER_MS, .tick_ns = 20 * QB_NS_PER_MS };
	river_open(&b, "tick", SYNC, 1);
	struct qb_river_worker *w = river_worker(&b);

	waiter_open(&waits, &b);
	ck_assert_int_eq(push_of(&b, waits.q, 1, 3, &waits.run), QB_OK);
	river_start(w, 0, &job);
	waiter_start(&waits);
	ck_until(have_looked(&b) == 1, 20);
	ck_assert_int_eq(river_complete(w, &job), 0);
	waiter_end(&waits, QB_ADDRESS_DONE, 1);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(run_that_is_over_or_gone_is_not_waited_for_and_another_until_the_deadline)
{
	struct qb_address_end end;
	struct qb_address_run run;
	struct bench b;

	only_notifications();
	river_open(&b, "over", SYNC, 1);
	ck_assert_int_eq(push(&b, 1, &run), QB_OK);
	ck_assert_int_eq(await(&b, b.driver, &run, 20 * QB_NS_PER_MS).state, QB_ADDRESS_NOT_YET);
	for (unsigned i = 0; i < 2; i++) {
		pgtest_exec(b.w.db, i ? "delete from " JOBS : "update " JOBS " set state = 'discarded', finalized_at = now()");
		end = await(&b, b.driver, &run, 20 * QB_NS_PER_S);
		ck_assert_int_eq(end.state, QB_ADDRESS_DONE);
		ck_assert_int_eq(end.by_tick, 0);
	}
	bench_close(&b);
}
END_TEST

START_TEST(lost_connections_cost_a_look_and_no_job)
{
	struct waiter waits;
	struct qb_queue_job job;
	struct bench b;

	qb_river_looks = (struct qb_river_looks){ .soon_ns = 20 * QB_NS_PER_MS, .tick_ns = 20 * QB_NS_PER_MS };
	river_open(&b, "lost", SYNC, 1);
	struct qb_river_worker *w = river_worker(&b);

	waiter_open(&waits, &b);
	ck_assert_int_eq(push_of(&b, waits.q, 1, 3, &waits.run), QB_OK);
	river_start(w, 0, &job);
	waiter_start(&waits);
	ck_until(have_looked(&b) == 1, 20);
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(pg_terminate_backend(pid)) from pg_stat_activity where"
				    " application_name in ('qbench cache', 'qbench worker')"), 2);
	/* The worker cannot tell; the job ends all the same. */
	tell_by_worker(w, &job);
	ck_assert_int_eq(river_complete(w, &job), 0);
	ck_assert_int_eq(pthread_join(waits.thread, NULL), 0);
	ck_assert_int_eq(waits.end.state, QB_ADDRESS_DONE);
	waits.b->ops->close(waits.q);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

/* ---- kills ---- */

/* A worker that begins the job, tells of its end or not, and is killed then. */
static void run_and_kill(struct bench *b, bool tells)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct qb_river_worker *w = river_worker(b);
		struct qb_queue_job job;

		river_start(w, 0, &job);
		if (tells)
			tell_by_worker(w, &job);
		kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(reap(pid, 30), 128 + SIGKILL);
}

/* One leader for one round of everything, with a lease of 1 ms. */
static void lead_once(enum qb_river_service service)
{
	static const char *const kinds[] = { RIVER_KIND, NULL };
	struct qb_river_limiter limiter = QB_RIVER_LIMITER_INIT;
	struct qb_river_client c = { .conninfo = HERE, .schema = "qbench_river", .id = "leader", .kinds = kinds,
				     .limiter = &limiter, .seed = 1, .opt = { .lease_ns = QB_NS_PER_MS } };
	struct qb_river_upkeep u = qb_river_upkeep_default;
	struct qb_river_status s;
	struct qb_river_leader *l;
	struct qb_err err = { 0 };

	u.stagger_ns = 0;
	ck_ok(qb_river_leader_start_with(&c, &u, &l, &err), err);
	do {
		qb_sleep_ns(QB_NS_PER_MS);
		qb_river_leader_status(l, &s);
	} while (!s.rounds[service] && !s.errors);
	qb_river_leader_stop(l);
	ck_assert_msg(!s.errors, "%s", s.last_error);
}

START_TEST(killed_run_keeps_its_address_until_the_rescue_and_is_the_same_run_then)
{
	struct qb_address_run run, other;
	struct qb_queue_job job;
	struct waiter waits;
	struct bench b;
	bool tells = _i;

	only_notifications();
	river_open(&b, "killed", SYNC, 1);
	waiter_open(&waits, &b);
	ck_assert_int_eq(push_of(&b, waits.q, 1, 3, &waits.run), QB_OK);
	run = waits.run;
	waiter_start(&waits);
	ck_until(have_looked(&b) == 1, 20);
	run_and_kill(&b, tells);
	if (tells)
		waiter_end(&waits, QB_ADDRESS_DONE, 0);
	ck_assert_int_eq(rows(&b, "state = 'running' and attempt = 1"), 1);
	ck_assert_int_eq(push(&b, 2, &other), QB_DUPLICATE);
	ck_assert_uint_eq(other.a, run.a);
	ck_assert_int_eq(await(&b, b.driver, &other, 20 * QB_NS_PER_MS).state, QB_ADDRESS_NOT_YET);
	lead_once(RIVER_RESCUER);
	/* By the leader's scheduler available already, or not yet. */
	ck_assert_int_eq(rows(&b, "state in ('retryable', 'available') and attempt = 1 and array_length(errors, 1) = 1"), 1);
	ck_assert_int_eq(push(&b, 3, &other), QB_DUPLICATE);
	lead_once(RIVER_SCHEDULER);
	struct qb_river_worker *w = river_worker(&b);

	river_start(w, 0, &job);
	ck_assert_uint_eq(job.attempt, 2);
	ck_assert_uint_eq(job.token, run.a);
	tell_by_worker(w, &job);
	ck_assert_int_eq(river_complete(w, &job), 0);
	if (!tells)
		waiter_end(&waits, QB_ADDRESS_DONE, 0);
	ck_assert_int_eq(rows(&b, "state = 'completed' and attempt = 2"), 1);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(run_killed_in_its_last_attempt_is_over_with_the_rescue)
{
	struct waiter waits;
	struct qb_address_run run;
	struct bench b;

	qb_river_looks = (struct qb_river_looks){ .soon_ns = 20 * QB_NS_PER_MS, .tick_ns = 20 * QB_NS_PER_MS };
	river_open(&b, "last", SYNC, 1);
	waiter_open(&waits, &b);
	ck_assert_int_eq(push_of(&b, waits.q, 1, 1, &waits.run), QB_OK);
	waiter_start(&waits);
	ck_until(have_looked(&b) == 1, 20);
	run_and_kill(&b, false);
	lead_once(RIVER_RESCUER);
	waiter_end(&waits, QB_ADDRESS_DONE, 1);
	ck_assert_int_eq(rows(&b, "state = 'discarded'"), 1);
	ck_assert_int_eq(push(&b, 2, &run), QB_OK);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-cache");
	TCase *tc = tcase_create("river-cache");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, address_is_taken_until_its_run_has_ended_and_free_though_the_row_is_kept);
	tcase_add_test(tc, failed_run_is_cancelled_and_the_address_is_free);
	tcase_add_test(tc, eight_who_wait_for_one_run_are_released_by_its_notification);
	tcase_add_test(tc, notification_between_listening_and_looking_is_not_lost);
	tcase_add_test(tc, run_whose_notification_never_came_is_found_over_by_a_tick);
	tcase_add_test(tc, run_that_is_over_or_gone_is_not_waited_for_and_another_until_the_deadline);
	tcase_add_test(tc, lost_connections_cost_a_look_and_no_job);
	tcase_add_loop_test(tc, killed_run_keeps_its_address_until_the_rescue_and_is_the_same_run_then, 0, 2);
	tcase_add_test(tc, run_killed_in_its_last_attempt_is_over_with_the_rescue);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
