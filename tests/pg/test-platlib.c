/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platlib: waking up, pop, the sweeper, retries.  Each weakness of rsqueue that doc/platlib.md names is constructed
 * here, not raced: seen where it belongs, and absent where the setting says so.
 */
#include "tests/pg/platlibtest.h"

char *pgtest_base;

static const char *const adapters[] = { "adapter=published" NEVER, "adapter=library" NEVER, "adapter=fixed" NEVER };
enum { PUBLISHED, LIBRARY, FIXED };

/* ---- waking up ---- */

static struct bench *hook_bench;
static struct qb_queue *hook_queue;

/* Pushed, and its notification has come, between the empty pop and the subscription. */
static void push_in_the_gap(enum qb_platlib_point point)
{
	struct pollfd p = { .fd = PQsocket(qb_platlib_listener(hook_queue)), .events = POLLIN };

	if (point != QB_PLATLIB_AFTER_EMPTY_POP)
		return;
	qb_platlib_fixed.at = NULL;
	enqueue(hook_bench, 1, 3);
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
}

START_TEST(push_between_the_empty_pop_and_the_subscription_is_missed_unless_fixed)
{
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "gap", adapters[_i]);
	hook_bench = &b;
	struct qb_queue *q = hook_queue = consumer(&b);

	qb_platlib_fixed.at = push_in_the_gap;
	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 1);
	if (_i == FIXED) {
		ck_assert_int_eq(claim(&b, q, 0, &job), QB_OK);
	} else {
		/* It lies there, with an idle worker. */
		get_nothing(&b, q, &job);
		ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 1);
		/* Until the next push comes. */
		enqueue(&b, 2, 3);
		get(&b, q, &job);
	}
	ck_assert_uint_eq(job.job_id, 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(end_of_a_job_of_its_own_ends_the_wait_of_get)
{
	struct qb_queue_job job[2];
	struct bench b;

	plat_open(&b, "hint", adapters[LIBRARY]);
	b.w.seg.cfg.slots_per_worker = 2;
	hook_bench = &b;
	struct qb_queue *q = hook_queue = consumer(&b);

	enqueue(&b, 7, 3);
	start(&b, q, 0, &job[0]);
	qb_platlib_fixed.at = push_in_the_gap;
	ck_assert_int_eq(claim(&b, q, 1, &job[1]), QB_EMPTY);
	end(&b, q, &job[0]);
	/* At once, and not when its own notification has made its way. */
	ck_assert_int_eq(claim(&b, q, 1, &job[1]), QB_OK);
	ck_assert_uint_eq(job[1].job_id, 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(only_fixed_finds_a_row_that_nobody_told_of)
{
	static const char *const settings[] = { "adapter=published" NEVER, "adapter=library" NEVER, "adapter=fixed:poll=20ms" };
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "poll", settings[_i]);
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	get_nothing(&b, q, &job);
	/* As if its push had been notified into a gap of the listener. */
	sql(b.w.db, "update qbench_platlib.queue set permit = 0");
	if (_i == FIXED)
		get(&b, q, &job);
	else
		get_nothing(&b, q, &job);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(pop_takes_the_most_urgent_then_the_oldest_and_none_that_is_held)
{
	static const uint64_t want[] = { 4, 1, 3, 5 };
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "order", adapters[_i]);
	for (uint64_t id = 1; id <= 5; id++)
		enqueue(&b, id, 3);
	sql(b.w.db, "update qbench_platlib.queue set priority = 3 where id = 4");
	sql(b.w.db, "update qbench_platlib.queue set permit = 999 where id = 2");
	struct qb_queue *q = consumer(&b);

	for (unsigned i = 0; i < 4; i++) {
		start(&b, q, 0, &job);
		ck_assert_uint_eq(job.job_id, want[i]);
		end(&b, q, &job);
	}
	get_nothing(&b, q, &job);
	ck_assert_int_eq(count_rows(&b, ROWS), 1);
	ck_assert_int_eq(count_rows(&b, PERMITS), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(error_of_get_makes_a_pause_and_not_an_end)
{
	struct qb_queue_job job;
	struct bench b;

	qb_platlib_fixed.error_pause_ns = 30 * QB_NS_PER_MS;
	plat_open(&b, "error", adapters[LIBRARY]);
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	sql(b.w.db, "alter table qbench_platlib.queue_permits rename to away");
	uint64_t from = qb_now_ns();

	/* Three errors: after 0, 30 and 90 ms; the pause after the third ends at 210 ms. */
	while (qb_now_ns() < from + 100 * QB_NS_PER_MS)
		ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	sql(b.w.db, "alter table qbench_platlib.away rename to queue_permits");
	get(&b, q, &job);
	ck_assert_uint_ge(qb_now_ns() - from, 100 * QB_NS_PER_MS);
	ck_assert_uint_eq(job.job_id, 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(row_that_is_no_job_is_dropped_and_does_not_stop_the_others)
{
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "garbage", adapters[LIBRARY]);
	enqueue(&b, 1, 3);
	sql(b.w.db, "update qbench_platlib.queue set item = '{\"work_id\":'");
	enqueue(&b, 2, 3);
	struct qb_queue *q = consumer(&b);

	get(&b, q, &job);
	ck_assert_uint_eq(job.job_id, 2);
	ck_assert_int_eq(count_rows(&b, ROWS), 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* ---- permits ---- */

START_TEST(sweeper_without_a_monitor_frees_live_work_which_runs_twice)
{
	struct qb_queue_job first, second;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "no-monitor", adapters[LIBRARY]);
	struct qb_queue *a = consumer(&b), *q = consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER));

	enqueue(&b, 1, 3);
	start(&b, a, 0, &first);
	/* It has just begun, and SweepFor is an hour. */
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, NULL, 3600 * QB_NS_PER_S, &err), 1);
	start(&b, q, 0, &second);
	ck_assert_uint_eq(second.job_id, 1);
	ck_assert_uint_eq(second.attempt, first.attempt);
	/* The late Delete matches no row, and nobody is told. */
	end(&b, a, &first);
	ck_assert_int_eq(count_rows(&b, ROWS " where permit <> 0"), 1);
	end(&b, q, &second);
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	b.ops->close(a);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(fresh_monitor_grants_a_whole_sweep_for_and_a_beat_another)
{
	const uint64_t lease = 30 * QB_NS_PER_S;
	struct qb_platlib_monitor m;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "fresh", adapters[LIBRARY]);
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	int64_t permit = pgtest_i64(b.w.db, "select permit from qbench_platlib.queue");

	/* The permit alone is proof enough while it is young. */
	ck_ok(qb_platlib_monitor_start(&m, b.w.db, &err), err);
	m.started_ns -= 2 * lease;
	m.count = 0;
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, &m, lease, &err), 0);
	/* An old one, whose beats the new monitor has never heard. */
	sql(b.w.db, "update qbench_platlib.queue_permits set created_at = now() - interval '1 hour'");
	m.started_ns = qb_now_ns();
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, &m, lease, &err), 0);
	m.started_ns -= 2 * lease;
	qb_platlib_monitor_beat(&m, (uint64_t)permit, qb_now_ns() - lease / 2);
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, &m, lease, &err), 0);
	/* What was listed when it started counts as a beat at that moment. */
	qb_platlib_monitor_stop(&m);
	ck_ok(qb_platlib_monitor_start(&m, b.w.db, &err), err);
	m.started_ns -= 2 * lease;
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, &m, lease, &err), 0);
	ck_assert_int_eq(count_rows(&b, ROWS " where permit <> 0"), 1);
	qb_platlib_monitor_beat(&m, (uint64_t)permit, qb_now_ns() - lease - 1);
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, &m, lease, &err), 1);
	ck_assert_int_eq(count_rows(&b, ROWS " where permit = 0"), 1);
	ck_assert_int_eq(count_rows(&b, PERMITS), 0);
	/* Entries are forgotten when they are older than SweepAge, once a minute. */
	m.forget_ns = 0;
	qb_platlib_monitor_forget(&m, qb_now_ns(), lease);
	ck_assert_uint_eq(m.count, 0);
	qb_platlib_monitor_stop(&m);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

struct heard { uint64_t permit; unsigned times; };

static void hear(void *opaque, const struct qb_platlib_note *note)
{
	struct heard *h = opaque;

	h->times += note->type == QB_PLATLIB_PERMIT_EXTEND && note->permit == h->permit;
}

START_TEST(running_job_sends_heartbeats_unless_published)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	qb_platlib_fixed.beat_ns = 30 * QB_NS_PER_MS;
	plat_open(&b, "beats", adapters[_i]);
	ck_ok(qb_pg_listen(b.w.db, QB_PLATLIB_LEADER, &err), err);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(qb_platlib_keeper_of(q) == NULL, _i == PUBLISHED);
	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	struct heard h = { .permit = (uint64_t)pgtest_i64(b.w.db, "select permit from qbench_platlib.queue") };
	uint64_t until = qb_now_ns() + (_i == PUBLISHED ? 300 * QB_NS_PER_MS : 20 * QB_NS_PER_S);

	while (h.times < 3 && qb_now_ns() < until) {
		ck_ok(qb_platlib_await(b.w.db, -1, until, &err), err);
		ck_ok(qb_platlib_take_notes(b.w.db, hear, &h, &err), err);
	}
	ck_assert_uint_eq(h.times, _i == PUBLISHED ? 0 : h.times > 3 ? h.times : 3);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* The whole chain, with a real SIGKILL: of the leader, which holds a job under an address. */
START_TEST(job_of_a_killed_leader_comes_back_from_its_successor_unless_published)
{
	static const char *const settings[] = { "adapter=published" QUICK, "adapter=library" QUICK, "adapter=fixed" QUICK };
	struct qb_queue_job job;
	struct child c;
	struct bench b;
	int tell;

	/* Heartbeats as long as SweepFor needs them. */
	qb_platlib_fixed.beat_ns = 20 * QB_NS_PER_MS;
	plat_open(&b, "killed", settings[_i]);
	ck_assert_int_eq(enqueue_at(&b, 1, "here", 0), QB_OK);
	uint32_t seat = sit(&b.w.seg, QB_ROLE_WORKER);

	if (spawn(&b, &c, &tell, seat)) {
		struct qb_queue *mine = consumer_at(&b, seat);

		if (_i != PUBLISHED)
			ck_until(qb_platlib_keeper_leads(qb_platlib_keeper_of(mine)), 10);
		start(&b, mine, 0, &job);
		tell_and_wait(tell);
	}
	await_word(&c);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	kill_child(&b, &c);
	if (_i == PUBLISHED) {
		get_nothing(&b, q, &job);
		/* Nor after a restart; and the address is taken for ever. */
		b.ops->close(q);
		q = consumer(&b);
		get_nothing(&b, q, &job);
		ck_assert_uint_eq(count_of(&b, QB_OUTCOME_HELD), 1);
		ck_assert_int_eq(enqueue_at(&b, 2, "here", 0), QB_DUPLICATE);
	} else {
		get(&b, q, &job);
		ck_assert_uint_eq(job.job_id, 1);
		ck_assert_uint_eq(job.attempt, 1);
		ck_assert_int_eq(enqueue_at(&b, 2, "here", 0), QB_DUPLICATE);
		end(&b, q, &job);
		ck_assert_int_eq(enqueue_at(&b, 3, "here", 0), QB_OK);
	}
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(one_of_two_leads_and_the_other_after_it)
{
	struct bench b;

	plat_open(&b, "leader", "adapter=library" QUICK);
	struct qb_queue *q[2] = { consumer(&b), consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER)) };
	struct qb_platlib_keeper *k[2] = { qb_platlib_keeper_of(q[0]), qb_platlib_keeper_of(q[1]) };

	ck_until(qb_platlib_keeper_leads(k[0]) || qb_platlib_keeper_leads(k[1]), 10);
	for (int i = 0; i < 30; i++) {
		ck_assert_int_eq(qb_platlib_keeper_leads(k[0]) + qb_platlib_keeper_leads(k[1]), 1);
		qb_sleep_ns(10 * QB_NS_PER_MS);
	}
	int first = qb_platlib_keeper_leads(k[0]) ? 0 : 1;

	/* Its session is cut: it leads no more, and somebody does again. */
	sql(b.w.db, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'qbench keeper'");
	ck_until(!qb_platlib_keeper_leads(k[first]), 10);
	ck_until(qb_platlib_keeper_leads(k[0]) || qb_platlib_keeper_leads(k[1]), 20);
	b.ops->close(q[first]);
	ck_until(qb_platlib_keeper_leads(k[!first]), 20);
	b.ops->close(q[!first]);
	bench_close(&b);
}
END_TEST

/* ---- retries ---- */

START_TEST(retry_in_a_memory_timer_dies_with_the_worker_and_a_durable_one_does_not)
{
	struct qb_queue_job job;
	struct told t;
	struct child c;
	struct bench b;
	int tell, durable = _i;

	plat_open(&b, "timer", durable ? "adapter=library:retry=durable" NEVER : "adapter=library:retry=push" NEVER);
	enqueue(&b, 1, 3);
	uint32_t seat = sit(&b.w.seg, QB_ROLE_WORKER);

	if (spawn(&b, &c, &tell, seat)) {
		struct qb_queue *mine = consumer_at(&b, seat);

		start(&b, mine, 0, &job);
		ck_assert_int_eq(fail_it(&b, mine, &job, 0, qb_now_ns() + (durable ? 1 : 3600) * QB_NS_PER_S), 0);
		tell_and_wait(tell);
	}
	await_word(&c);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING) + durable * count_of(&b, QB_OUTCOME_QUEUED), 1);
	ck_assert_int_eq(count_rows(&b, ROWS), durable);
	kill_child(&b, &c);
	ask(&b, &t);
	ck_assert_uint_eq(t.times[1], durable);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING) + count_of(&b, QB_OUTCOME_QUEUED), durable);
	if (durable) {
		struct qb_queue *q = consumer(&b);

		get(&b, q, &job);
		ck_assert_uint_eq(job.job_id, 1);
		ck_assert_uint_eq(job.attempt, 2);
		ck_assert_uint_eq(job.failures, 1);
		b.ops->close(q);
	}
	bench_close(&b);
}
END_TEST

START_TEST(retry_in_a_memory_timer_outlives_a_lost_connection)
{
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "reopened", adapters[LIBRARY]);
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 0, qb_now_ns() + 300 * QB_NS_PER_MS), 0);
	b.ops->close(q);
	q = consumer(&b);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING) + count_of(&b, QB_OUTCOME_QUEUED), 1);
	get(&b, q, &job);
	ck_assert_uint_eq(job.attempt, 2);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

static enum qb_platlib_point die_at_point;

static void die_here(enum qb_platlib_point point)
{
	if (point == die_at_point)
		kill(getpid(), SIGKILL);
}

/* A child that ends its job and is killed on the way. */
static void end_and_die(struct bench *b, enum qb_platlib_point point, int fails)
{
	uint32_t seat = sit(&b->w.seg, QB_ROLE_WORKER);
	struct qb_queue_job job;
	struct child c;
	int tell;

	if (spawn(b, &c, &tell, seat)) {
		struct qb_queue *mine = consumer_at(b, seat);

		start(b, mine, 0, &job);
		die_at_point = point;
		qb_platlib_fixed.at = die_here;
		if (fails)
			fail_it(b, mine, &job, 0, 0);
		else
			end(b, mine, &job);
		_exit(1);
	}
	ck_assert_int_eq(reap(c.pid, 20), 128 + SIGKILL);
	close(c.told);
}

START_TEST(kill_between_push_and_delete_leaves_two_rows_that_both_run)
{
	struct qb_queue_job job;
	struct told t;
	struct bench b;
	unsigned attempts = 0;

	plat_open(&b, "two-rows", "adapter=library" QUICK);
	enqueue(&b, 1, 3);
	end_and_die(&b, QB_PLATLIB_AFTER_REPUSH, 1);
	ck_assert_int_eq(count_rows(&b, ROWS), 2);
	/* One word for it: it may still run. */
	ask(&b, &t);
	ck_assert_uint_eq(t.times[1], 1);
	ck_assert_uint_eq(t.outcome[1], QB_OUTCOME_QUEUED);
	struct qb_queue *q = consumer(&b);

	for (int i = 0; i < 2; i++) {
		get(&b, q, &job);
		ck_assert_uint_eq(job.job_id, 1);
		attempts |= 1u << job.attempt;
		end(&b, q, &job);
	}
	ck_assert_uint_eq(attempts, 1u << 1 | 1u << 2);
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(kill_between_the_two_deletes_leaves_a_permit_that_harms_nobody)
{
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "permit", adapters[LIBRARY]);
	enqueue(&b, 1, 3);
	end_and_die(&b, QB_PLATLIB_AFTER_DELETE_ROW, 0);
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	ck_assert_int_eq(count_rows(&b, PERMITS), 1);
	ck_assert_int_eq(qb_platlib_sweep(b.w.db, NULL, 0, &err), 0);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("platlib");
	TCase *tc = tcase_create("platlib");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_loop_test(tc, push_between_the_empty_pop_and_the_subscription_is_missed_unless_fixed, 0, 3);
	tcase_add_test(tc, end_of_a_job_of_its_own_ends_the_wait_of_get);
	tcase_add_loop_test(tc, only_fixed_finds_a_row_that_nobody_told_of, 0, 3);
	tcase_add_loop_test(tc, pop_takes_the_most_urgent_then_the_oldest_and_none_that_is_held, 0, 3);
	tcase_add_test(tc, error_of_get_makes_a_pause_and_not_an_end);
	tcase_add_test(tc, row_that_is_no_job_is_dropped_and_does_not_stop_the_others);
	tcase_add_test(tc, sweeper_without_a_monitor_frees_live_work_which_runs_twice);
	tcase_add_test(tc, fresh_monitor_grants_a_whole_sweep_for_and_a_beat_another);
	tcase_add_loop_test(tc, running_job_sends_heartbeats_unless_published, 0, 2);
	tcase_add_loop_test(tc, job_of_a_killed_leader_comes_back_from_its_successor_unless_published, 0, 3);
	tcase_add_test(tc, one_of_two_leads_and_the_other_after_it);
	tcase_add_loop_test(tc, retry_in_a_memory_timer_dies_with_the_worker_and_a_durable_one_does_not, 0, 2);
	tcase_add_test(tc, retry_in_a_memory_timer_outlives_a_lost_connection);
	tcase_add_test(tc, kill_between_push_and_delete_leaves_two_rows_that_both_run);
	tcase_add_test(tc, kill_between_the_two_deletes_leaves_a_permit_that_harms_nobody);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
