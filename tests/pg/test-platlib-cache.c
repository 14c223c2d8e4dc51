/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platlib: addressed work, as a cache on it needs it. Each weakness of the library is constructed, and absent with
 * adapter=fixed; the last cases have src/cache on top.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "cache/cache.h"
#include "tests/pg/platlibaddress.h"
#include "tests/lib/testdir.h"

char *pgtest_base;

/* ---- whose failure ---- */

START_TEST(old_failure_is_told_at_once_by_the_library_and_not_by_fixed)
{
	struct qb_address_run run;
	struct bench b;
	bool fixed = _i;

	plat_open(&b, "stale", adapters[_i]);
	ck_assert_int_eq(b.ops->addressed->is_faithful(b.driver), !fixed);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(push(&b, 11, &run), QB_OK);
	run_one(&b, q, 11, "first");
	/* Of its own run, by either. */
	ck_failed(&b, &run, 11, "first");
	ck_assert_int_eq(push(&b, 12, &run), QB_OK);
	ck_assert_int_eq(count_rows(&b, WAITING), 1);
	if (fixed)
		ck_not_yet(&b, &run);
	else
		ck_failed(&b, &run, 11, "first");
	run_one(&b, q, 12, "second");
	ck_failed(&b, &run, 12, "second");
	ck_assert_int_eq(push(&b, 13, &run), QB_OK);
	run_one(&b, q, 13, NULL);
	ck_await(&b, &run, QB_ADDRESS_DONE);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(record_reaches_the_table_with_the_end_of_the_job_and_a_success_clears_it)
{
	struct qb_address_run run;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "record", adapters[_i]);
	struct qb_queue *q = consumer(&b);

	for (uint64_t id = 31; id <= 32; id++) {
		char *want = qb_xasprintf("select count(*) from qbench_platlib.queue_failure where address = '" ADDRESS "' and"
					  " error = '{\"code\":%llu,\"message\":\"no \\\"%llu\\\"\"}'",
					  (unsigned long long)id, (unsigned long long)id);
		char *message = qb_xasprintf("no \"%llu\"", (unsigned long long)id);

		ck_assert_int_eq(push(&b, id, &run), QB_OK);
		get(&b, q, &job);
		ck_ok(b.ops->addressed->record(q, &job, ADDRESS, message, &err), err);
		/* Nothing is told before the job ends. */
		ck_assert_int_eq(count_rows(&b, want), 0);
		ck_assert_int_eq(fail_it(&b, q, &job, 1, 0), 1);
		ck_assert_int_eq(count_rows(&b, want), 1);
		ck_assert_int_eq(count_rows(&b, FAILURES), 1);
		free(message);
		free(want);
	}
	/* A job has nothing of the one before it in its lane, and what was recorded is withdrawn by what comes after it. */
	ck_assert_int_eq(enqueue_at(&b, 33, ADDRESS, 3), QB_OK);
	ck_assert_int_eq(push(&b, 35, &run), QB_DUPLICATE);
	get(&b, q, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 1, 0), 1);
	ck_failed(&b, &run, 0, "permanent");
	ck_assert_int_eq(push(&b, 34, &run), QB_OK);
	get(&b, q, &job);
	ck_ok(b.ops->addressed->record(q, &job, ADDRESS, "not this", &err), err);
	end_with(&b, q, &job, NULL);
	ck_assert_int_eq(count_rows(&b, FAILURES), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(push_joins_while_the_row_is_there_and_is_accepted_when_it_is_gone)
{
	struct qb_address_run run;
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "gone", adapters[_i]);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(push(&b, 41, &run), QB_OK);
	ck_assert_int_eq(push(&b, 42, &run), QB_DUPLICATE);
	get(&b, q, &job);
	ck_assert_int_eq(push(&b, 43, &run), QB_DUPLICATE);
	ck_not_yet(&b, &run);
	end_with(&b, q, &job, NULL);
	/* Who looked before that end and pushes behind it starts a second run. */
	ck_assert_int_eq(push(&b, 44, &run), QB_OK);
	ck_assert_int_eq(count_rows(&b, ROWS), 1);
	ck_not_yet(&b, &run);
	run_one(&b, q, 44, NULL);
	ck_await(&b, &run, QB_ADDRESS_DONE);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* ---- the tick ---- */

static struct bench *hook_bench;
static struct qb_queue *hook_queue;
static struct qb_queue_job *hook_job;
static unsigned looks;

static bool has_come(PGconn *conn)
{
	static const char want[] = "\"Address\":\"" ADDRESS "\"";
	char buf[4096];
	ssize_t n = recv(PQsocket(conn), buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);

	return n > 0 && memmem(buf, (size_t)n, want, strlen(want));
}

/* Until the notification lies on the waiter's own connection, unread. */
static void end_in_the_gap(enum qb_platlib_point point)
{
	if (point != QB_PLATLIB_AFTER_ADDRESS_LOOK || looks++)
		return;
	end_with(hook_bench, hook_queue, hook_job, NULL);
	ck_until(has_come(qb_platlib_poller_listener(qb_platlib_caller_of(hook_bench->driver)->poller)), 20);
}

START_TEST(end_between_look_and_subscription_costs_the_library_a_tick_and_fixed_nothing)
{
	struct qb_address_run run;
	struct qb_address_end end;
	struct qb_queue_job job;
	struct bench b;
	bool fixed = _i;

	/* With none to come the end of the wait can only be the notification's. */
	qb_platlib_fixed.address_tick_ns = fixed ? NEVER_NS : 200 * QB_NS_PER_MS;
	plat_open(&b, "gap", adapters[_i]);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(push(&b, 51, &run), QB_OK);
	get(&b, q, &job);
	hook_bench = &b;
	hook_queue = q;
	hook_job = &job;
	looks = 0;
	qb_platlib_fixed.at = end_in_the_gap;
	end = await_by(&b, b.driver, &run, LONG_NS);
	qb_platlib_fixed.at = NULL;
	ck_assert_int_eq(end.state, QB_ADDRESS_DONE);
	ck_assert_int_eq(end.by_tick, !fixed);
	/* What is found over at the first look has cost none. */
	ck_assert_int_eq(await_by(&b, b.driver, &run, LONG_NS).by_tick, 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* ---- several who wait ---- */

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

	w->end = await_by(w->b, w->q, &w->run, LONG_NS);
	return NULL;
}

static int waiter_push(struct waiter *w, struct bench *b, uint64_t id)
{
	struct qb_err err = { 0 };

	*w = (struct waiter){ .b = b };
	ck_ok(b->ops->open(&b->env, &w->q, &err), err);
	return push_by(b, w->q, id, &w->run);
}

static void waiter_start(struct waiter *w)
{
	ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_main, w), 0);
}

static void waiter_end(struct waiter *w, enum qb_address_state state)
{
	ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
	ck_assert_int_eq(w->end.state, state);
	w->b->ops->close(w->q);
}

/* How many have looked once, with the row there. */
static int64_t have_looked(struct bench *b)
{
	return pgtest_i64(b->w.db, "select count(*) from pg_stat_activity where application_name = 'qbench driver'"
			  " and state = 'idle' and (query like 'select count(*) from qbench_platlib.queue where address%'"
			  " or query like 'select exists (select from qbench_platlib.queue where id%')");
}

START_TEST(eight_who_wait_for_one_run_are_all_released)
{
	struct waiter all[8];
	struct qb_queue_job job;
	unsigned accepted = 0;
	bool fixed = _i;
	struct bench b;

	/* Only for one that has looked and has not yet subscribed when the run ends. */
	qb_platlib_fixed.address_tick_ns = fixed ? NEVER_NS : 500 * QB_NS_PER_MS;
	plat_open(&b, "eight", adapters[_i]);
	struct qb_queue *q = consumer(&b);

	for (unsigned i = 0; i < 8; i++) {
		accepted += waiter_push(&all[i], &b, 61 + i) == QB_OK;
		waiter_start(&all[i]);
	}
	ck_assert_uint_eq(accepted, 1);
	get(&b, q, &job);
	ck_assert_uint_eq(job.job_id, 61);
	ck_until(have_looked(&b) == 8, 20);
	/* A look of the library, which is two statements, may miss a failure that comes between them. */
	end_with(&b, q, &job, fixed ? "all are told" : NULL);
	for (unsigned i = 0; i < 8; i++) {
		waiter_end(&all[i], fixed ? QB_ADDRESS_FAILED : QB_ADDRESS_DONE);
		if (!fixed)
			continue;
		ck_assert_uint_eq(all[i].end.failed_run, 61);
		ck_assert_str_eq(all[i].end.message, "all are told");
	}
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* ---- a kill ---- */

START_TEST(killed_run_keeps_its_address_until_it_is_swept_and_is_the_same_run_then)
{
	struct qb_address_run run;
	struct waiter waits;
	struct bench b;
	struct child c;

	qb_platlib_fixed.address_tick_ns = _i ? NEVER_NS : 500 * QB_NS_PER_MS;
	plat_open(&b, "killed", adapters[_i]);
	ck_assert_int_eq(waiter_push(&waits, &b, 71), QB_OK);
	spawn_holder(&b, &c, sit(&b.w.seg, QB_ROLE_WORKER));
	waiter_start(&waits);
	ck_until(have_looked(&b) == 1, 20);
	kill_child(&b, &c);
	/* Nobody sweeps. */
	ck_assert_int_eq(push(&b, 72, &run), QB_DUPLICATE);
	ck_not_yet(&b, &run);
	ck_assert_int_eq(count_rows(&b, ROWS " where permit <> 0"), 1);
	b.env.options = _i ? FIXED QUICK : LIBRARY QUICK;
	struct qb_queue *q = consumer(&b);

	ck_until(count_rows(&b, WAITING) == 1, 20);
	run_one(&b, q, 71, NULL);
	waiter_end(&waits, QB_ADDRESS_DONE);
	ck_await(&b, &run, QB_ADDRESS_DONE);
	ck_assert_int_eq(push(&b, 73, &run), QB_OK);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

/* ---- with a cache on it ---- */

struct served {
	struct bench b;
	struct qb_store *store;
	struct qb_queue *q;             /* the runner's */
	struct qb_cache *caller, *runner;
	void (*before_push)(struct served *s), (*after_push)(struct served *s);
	unsigned executions;
	struct qb_cache_return ret;
	pthread_t thread;
};

static const struct qb_submit work = { .job_id = 81, .kind = 2, .max_attempts = 3, .payload = "p", .payload_bytes = 1 };
static const struct qb_cache_spec spec = { .dir = "d", .address = ADDRESS, .work = &work };

static void on_pushing(void *opaque)
{
	struct served *s = opaque;

	if (s->before_push)
		s->before_push(s);
}

static void on_pushed(void *opaque, int rc, const struct qb_queue_ticket *ticket)
{
	struct served *s = opaque;

	(void)ticket;
	ck_assert_int_eq(rc, QB_OK);
	if (s->after_push)
		s->after_push(s);
}

static struct qb_cache *cache_on(struct served *s, struct qb_queue *q)
{
	const struct qb_cache_config cfg = { .store = s->store, .ops = s->b.ops, .q = q, .deadline_ns = LONG_NS,
					     .visible_ns = QB_NS_PER_S, .pushing = on_pushing, .pushed = on_pushed, .ctx = s };
	struct qb_err err = { 0 };
	struct qb_cache *c;

	ck_ok(qb_cache_open(&cfg, &c, &err), err);
	return c;
}

static void serve(struct served *s, const char *name, const char *options)
{
	struct qb_err err = { 0 };

	*s = (struct served){ .executions = 0 };
	plat_open(&s->b, name, options);
	qb_test_dir_empty();
	ck_ok(qb_store_open(qb_test_dir, &(struct qb_store_config){ 0 }, &s->store, &err), err);
	s->q = consumer(&s->b);
	s->caller = cache_on(s, s->b.driver);
	s->runner = cache_on(s, s->q);
}

static void served(struct served *s)
{
	free(s->ret.data);
	qb_cache_close(s->caller);
	qb_cache_close(s->runner);
	qb_store_close(s->store);
	s->b.ops->close(s->q);
	bench_close(&s->b);
}

/* The runner: one job, to its end. */
static void work_on(struct served *s, const char *failure)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };

	get(&s->b, s->q, &job);
	int found = qb_cache_runner_found(s->runner, &job, &spec, &err);

	ck_ok(found, err);
	s->executions += !found;
	if (found) {
		end(&s->b, s->q, &job);
	} else if (failure) {
		ck_ok(qb_cache_runner_fail(s->runner, &job, &spec, failure, &err), err);
		ck_assert_int_eq(fail_it(&s->b, s->q, &job, 1, 0), 1);
	} else {
		ck_ok(qb_cache_runner_put(s->runner, &job, &spec, "item", 4, &err), err);
		end(&s->b, s->q, &job);
	}
}

static void *get_main(void *opaque)
{
	struct served *s = opaque;
	struct qb_err err = { 0 };

	ck_ok(qb_cache_get(s->caller, &spec, &s->ret, &err), err);
	return NULL;
}

static void begin_get(struct served *s)
{
	free(s->ret.data);
	s->ret.data = NULL;
	ck_assert_int_eq(pthread_create(&s->thread, NULL, get_main, s), 0);
}

static void end_get(struct served *s, enum qb_cache_way way, enum qb_cache_fault fault)
{
	ck_assert_int_eq(pthread_join(s->thread, NULL), 0);
	ck_assert_msg(s->ret.fault == fault, "fault %d: %s", s->ret.fault, s->ret.message);
	ck_assert_int_eq(s->ret.way, way);
	ck_assert_uint_eq(s->ret.pushes, way == QB_CACHE_HIT ? 0 : 1);
	if (fault == QB_CACHE_OK) {
		ck_assert_uint_eq(s->ret.info.bytes, 4);
		ck_assert_int_eq(memcmp(s->ret.data, "item", 4), 0);
	}
}

/* The whole run before its caller looks. */
static void fail_it_now(struct served *s)
{
	s->after_push = NULL;
	work_on(s, "it failed");
}

START_TEST(cache_on_the_library_tells_the_stale_error_though_the_next_run_puts_the_item)
{
	struct served s;
	bool fixed = _i;

	qb_platlib_fixed.address_tick_ns = fixed ? NEVER_NS : 200 * QB_NS_PER_MS;
	serve(&s, "stale-cache", adapters[_i]);
	s.after_push = fail_it_now;
	begin_get(&s);
	end_get(&s, QB_CACHE_EXECUTED, QB_CACHE_FAILURE);
	ck_assert_uint_eq(s.ret.failed_run, 81);
	begin_get(&s);
	if (!fixed) {
		/* Told before anybody has begun the new run. */
		end_get(&s, QB_CACHE_EXECUTED, QB_CACHE_FAILURE);
		ck_assert_uint_eq(s.ret.failed_run, 81);
		ck_assert_str_eq(s.ret.message, "it failed");
	}
	ck_until(count_rows(&s.b, WAITING) == 1, 20);
	work_on(&s, NULL);
	if (fixed)
		end_get(&s, QB_CACHE_EXECUTED, QB_CACHE_OK);
	begin_get(&s);
	end_get(&s, QB_CACHE_HIT, QB_CACHE_OK);
	ck_assert_uint_eq(s.executions, 2);
	served(&s);
}
END_TEST

/* Somebody else's run, from its push to its end, behind this one's look at the store. */
static void run_of_another(struct served *s)
{
	s->before_push = NULL;
	ck_assert_int_eq(enqueue_at(&s->b, 82, ADDRESS, 0), QB_OK);
	work_on(s, NULL);
}

START_TEST(cache_on_the_library_computes_twice_behind_a_push_race_and_fixed_finds_the_item)
{
	struct served s;
	bool fixed = _i;

	qb_platlib_fixed.address_tick_ns = fixed ? NEVER_NS : 200 * QB_NS_PER_MS;
	serve(&s, "race-cache", adapters[_i]);
	s.before_push = run_of_another;
	begin_get(&s);
	ck_until(pgtest_i64(s.b.w.db, ROWS " where item like '%\"work_id\":81,%'") == 1, 20);
	ck_assert_uint_eq(s.executions, 1);
	work_on(&s, NULL);
	end_get(&s, QB_CACHE_EXECUTED, QB_CACHE_OK);
	ck_assert_uint_eq(s.executions, fixed ? 1 : 2);
	served(&s);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("platlib-cache");
	TCase *tc = tcase_create("platlib-cache");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_unchecked_fixture(tc, qb_test_dir_make, qb_test_dir_remove);
	tcase_add_loop_test(tc, old_failure_is_told_at_once_by_the_library_and_not_by_fixed, 0, 2);
	tcase_add_loop_test(tc, record_reaches_the_table_with_the_end_of_the_job_and_a_success_clears_it, 0, 2);
	tcase_add_loop_test(tc, push_joins_while_the_row_is_there_and_is_accepted_when_it_is_gone, 0, 2);
	tcase_add_loop_test(tc, end_between_look_and_subscription_costs_the_library_a_tick_and_fixed_nothing, 0, 2);
	tcase_add_loop_test(tc, eight_who_wait_for_one_run_are_all_released, 0, 2);
	tcase_add_loop_test(tc, killed_run_keeps_its_address_until_it_is_swept_and_is_the_same_run_then, 0, 2);
	tcase_add_loop_test(tc, cache_on_the_library_tells_the_stale_error_though_the_next_run_puts_the_item, 0, 2);
	tcase_add_loop_test(tc, cache_on_the_library_computes_twice_behind_a_push_race_and_fixed_finds_the_item, 0, 2);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
