/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache on a real shm queue and a real store.  Races are stepped through: what others do just before and just after a push
 * happens in the two callbacks of the push, on the same thread.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cache/cache.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"
#include "tests/lib/testdir.h"

#define ADDRESS "item-1"
#define LONG_NS (10 * QB_NS_PER_S)
#define CALLERS 8u

enum outcome { PUT, FAIL, NOTHING };

static struct qb_seg seg;
static struct qb_store *store;
static struct qb_queue *worker_q, *other_q;
static struct qb_cache *worker_cache;
static struct qb_queue_ops ops;
static struct qb_address_ops addressed;
static uint32_t executions, pushing_calls, pushed_calls;
static void (*before_push)(uint32_t nth), (*after_push)(uint32_t nth);
static uint64_t next_id = 1000;

static int always(struct qb_queue *q)
{
	(void)q;
	return 1;
}

static struct qb_queue *open_queue(uint32_t seat, uint32_t role)
{
	const struct qb_queue_env env = { .seg = &seg, .seat = seat, .role = role };
	struct qb_err err = { 0 };
	struct qb_queue *q = NULL;

	ck_assert_int_eq(qb_queue_shm.open(&env, &q, &err), 0);
	return q;
}

static struct qb_queue *seated(uint32_t role)
{
	int seat = qb_seat_take(&seg, role);

	ck_assert_int_ge(seat, 0);
	return open_queue((uint32_t)seat, role);
}

static void pushing(void *ctx)
{
	(void)ctx;
	if (before_push)
		before_push(++pushing_calls);
}

static void pushed(void *ctx, int rc, const struct qb_queue_ticket *ticket)
{
	(void)ctx;
	(void)rc;
	(void)ticket;
	if (after_push)
		after_push(++pushed_calls);
}

static struct qb_cache *open_cache(struct qb_queue *q, int stale, uint64_t deadline_ns)
{
	const struct qb_cache_config cfg = { .store = store, .ops = &ops, .q = q, .deadline_ns = deadline_ns,
					     .stale_errors = stale, .pushing = pushing, .pushed = pushed };
	struct qb_err err = { 0 };
	struct qb_cache *c;

	ck_assert_int_eq(qb_cache_open(&cfg, &c, &err), 0);
	return c;
}

static void begin(int faithful)
{
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };

	qb_test_config(&cfg);
	cfg.seat_count = 16;
	qb_test_create(&seg, &cfg);
	qb_test_dir_empty();
	ck_assert_int_eq(qb_store_open(qb_test_dir, &(struct qb_store_config){ 0 }, &store, &err), 0);
	ops = qb_queue_shm;
	addressed = *ops.addressed;
	if (faithful)
		addressed.is_faithful = always;
	ops.addressed = &addressed;
	worker_q = seated(QB_ROLE_WORKER);
	other_q = seated(QB_ROLE_DRIVER);
	worker_cache = open_cache(worker_q, 0, LONG_NS);
}

static void setup(void)
{
	begin(0);
}

static void setup_faithful(void)
{
	begin(1);
}

static void teardown(void)
{
	qb_cache_close(worker_cache);
	ops.close(worker_q);
	ops.close(other_q);
	qb_store_close(store);
	qb_seg_detach(&seg);
}

static const struct qb_cache_spec spec = { .dir = "d", .address = ADDRESS };

/* Takes the next job to its end, or as far as a kill lets it. 0: there was none. */
static int work_at(struct qb_queue *q, struct qb_cache *c, enum outcome how, int die_at)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	uint64_t due = 0;
	int final;

	if (ops.claim(q, 0, &job, &err) != QB_OK)
		return 0;
	ck_assert_int_eq(ops.start(q, &job, &err), 0);
	int found = qb_cache_runner_found(c, &job, &spec, &err);

	ck_assert_int_ge(found, 0);
	__atomic_fetch_add(&executions, !found, __ATOMIC_RELAXED);
	if (die_at == 1)
		raise(SIGKILL);
	if (how == FAIL && !found) {
		ck_assert_int_eq(qb_cache_runner_fail(c, &job, &spec, "no luck", &err), 0);
		ck_assert_int_eq((ops.fail)(q, &job, 1, &due, &final, &err), 0);
		return 1;
	}
	if (how == PUT && !found)
		ck_assert_int_eq(qb_cache_runner_put(c, &job, &spec, "content", 7, &err), 0);
	if (die_at == 2)
		raise(SIGKILL);
	ck_assert_int_eq(ops.complete(q, &job, NULL, 0, &err), 0);
	return 1;
}

static void work(enum outcome how)
{
	ck_assert_int_eq(work_at(worker_q, worker_cache, how, 0), 1);
}

static struct qb_submit submission(void)
{
	struct qb_submit what = qb_test_submit(__atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED));

	what.effect_class = QB_EFFECT_IDEMPOTENT;
	return what;
}

/* Somebody else asks first. */
static void other_pushes(void)
{
	struct qb_submit what = submission();
	struct qb_queue_ticket ticket;
	struct qb_address_run run;
	struct qb_err err = { 0 };

	ck_assert_int_eq(ops.addressed->push(other_q, &what, ADDRESS, &ticket, &run, &err), QB_OK);
}

static void uncache(void)
{
	struct qb_err err = { 0 };

	ck_assert_int_eq(qb_cache_uncache(worker_cache, &spec, &err), 1);
}

static struct qb_cache_return get_with(struct qb_queue *q, int stale, uint64_t deadline_ns)
{
	struct qb_cache *c = open_cache(q, stale, deadline_ns);
	struct qb_submit what = submission();
	struct qb_cache_spec s = spec;
	struct qb_cache_return ret;
	struct qb_err err = { 0 };

	s.work = &what;
	ck_assert_int_eq(qb_cache_get(c, &s, &ret, &err), 0);
	ck_assert_int_eq(ret.fault == QB_CACHE_OK, ret.data != NULL);
	if (ret.data) {
		ck_assert_uint_eq(ret.info.bytes, 7);
		ck_assert_int_eq(memcmp(ret.data, "content", 7), 0);
	}
	free(ret.data);
	qb_cache_close(c);
	return ret;
}

static struct qb_cache_return get(int stale)
{
	pushing_calls = pushed_calls = 0;
	return get_with(other_q, stale, LONG_NS);
}

static void expect(struct qb_cache_return ret, enum qb_cache_way way, enum qb_cache_fault fault, uint32_t pushes)
{
	ck_assert_msg(ret.fault == fault && ret.way == way && ret.pushes == pushes, "fault %d way %d pushes %u: %s", ret.fault,
		      ret.way, ret.pushes, ret.message);
}

/* ---- what others do ---- */

static void succeed(uint32_t nth) { (void)nth; work(PUT); }
static void fail_it(uint32_t nth) { (void)nth; work(FAIL); }
static void leave_nothing(uint32_t nth) { (void)nth; work(NOTHING); }
static void ask_first(uint32_t nth) { if (nth == 1) other_pushes(); }
static void compute_first(uint32_t nth) { if (nth == 1) { other_pushes(); work(PUT); } }
static void remove_first(uint32_t nth) { work(PUT); if (nth == 1) uncache(); }

START_TEST(a_miss_is_executed_and_then_hit)
{
	after_push = succeed;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	expect(get(0), QB_CACHE_HIT, QB_CACHE_OK, 0);
	ck_assert_uint_eq(executions, 1);
	uncache();
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 2);
}
END_TEST

START_TEST(who_joins_gets_the_item_of_that_run)
{
	before_push = ask_first;
	after_push = succeed;
	expect(get(0), QB_CACHE_JOINED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 1);
}
END_TEST

/* The look misses, the run ends, the push is accepted. */
START_TEST(the_runner_finds_what_the_push_has_missed)
{
	before_push = compute_first;
	after_push = succeed;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 1);
}
END_TEST

START_TEST(a_faithful_runner_computes_it_again)
{
	before_push = compute_first;
	after_push = succeed;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 2);
}
END_TEST

START_TEST(a_failure_is_of_those_who_waited_for_it)
{
	before_push = ask_first;
	after_push = fail_it;
	struct qb_cache_return ret = get(0);

	expect(ret, QB_CACHE_JOINED, QB_CACHE_FAILURE, 1);
	ck_assert_str_eq(ret.message, "no luck");
	uint64_t first = ret.failed_run;

	before_push = NULL;
	ret = get(0);
	expect(ret, QB_CACHE_EXECUTED, QB_CACHE_FAILURE, 1);
	ck_assert_uint_ne(ret.failed_run, first);
	/* Neither of a run that leaves nothing, nor of one that succeeds. */
	after_push = leave_nothing;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_NOT_FOUND, 1);
	after_push = succeed;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
}
END_TEST

/* It has recorded its failure and not ended: who joins it now waits for it as well. */
static struct qb_queue_job recorded;

static void end_recorded(uint32_t nth)
{
	struct qb_err err = { 0 };
	uint64_t due = 0;
	int final;

	if (nth == 1)
		ck_assert_int_eq((ops.fail)(worker_q, &recorded, 1, &due, &final, &err), 0);
}

START_TEST(who_joins_between_record_and_end_is_told)
{
	struct qb_err err = { 0 };

	other_pushes();
	ck_assert_int_eq(ops.claim(worker_q, 0, &recorded, &err), QB_OK);
	ck_assert_int_eq(ops.start(worker_q, &recorded, &err), 0);
	ck_assert_int_eq(qb_cache_runner_fail(worker_cache, &recorded, &spec, "no luck", &err), 0);
	after_push = end_recorded;
	struct qb_cache_return ret = get(0);

	expect(ret, QB_CACHE_JOINED, QB_CACHE_FAILURE, 1);
	ck_assert_uint_eq(ret.failed_run, recorded.job_id);
}
END_TEST

/* What a Get has read before a removal does not come back into memory behind it. */
START_TEST(what_was_read_before_a_removal_is_not_remembered)
{
	struct qb_cache_memory *m = qb_cache_memory_new(&(struct qb_cache_memory_config){ .bytes_max = 1 << 16 });
	struct qb_store_info info = { .bytes = 7 };
	uint64_t before = qb_cache_memory_removals(m);

	ck_assert_int_eq(qb_cache_memory_remove(m, "d", ADDRESS), 0);
	qb_cache_memory_put(m, "d", ADDRESS, before, 1, "content", &info);
	ck_assert_int_eq(qb_cache_memory_get(m, "d", ADDRESS, 1, NULL, &info), 0);
	qb_cache_memory_put(m, "d", ADDRESS, qb_cache_memory_removals(m), 1, "content", &info);
	ck_assert_int_eq(qb_cache_memory_get(m, "d", ADDRESS, 1, NULL, &info), 1);
	qb_cache_memory_free(m);
}
END_TEST

START_TEST(the_trap_tells_an_old_failure)
{
	after_push = fail_it;
	struct qb_cache_return ret = get(1), old;

	expect(ret, QB_CACHE_EXECUTED, QB_CACHE_FAILURE, 1);
	after_push = NULL;
	old = get(1);
	expect(old, QB_CACHE_EXECUTED, QB_CACHE_FAILURE, 1);
	ck_assert_uint_eq(old.failed_run, ret.failed_run);
	/* The success of the new run withdraws it. */
	work(PUT);
	uncache();
	after_push = succeed;
	expect(get(1), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
}
END_TEST

START_TEST(removed_before_a_joiner_looks_it_is_pushed_again)
{
	before_push = ask_first;
	after_push = remove_first;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 2);
	ck_assert_uint_eq(executions, 2);
}
END_TEST

START_TEST(removed_before_its_own_runs_caller_looks_it_is_not_found)
{
	after_push = remove_first;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_NOT_FOUND, 1);
}
END_TEST

START_TEST(a_faithful_joiner_never_pushes_again)
{
	before_push = ask_first;
	after_push = remove_first;
	struct qb_cache_return ret = get(0);

	expect(ret, QB_CACHE_JOINED, QB_CACHE_NOT_FOUND, 1);
	ck_assert_str_eq(ret.message, "reported address " ADDRESS " complete, but item was not found in cache");
}
END_TEST

START_TEST(nobody_works_and_the_deadline_ends_the_wait)
{
	expect(get_with(other_q, 0, 30 * QB_NS_PER_MS), QB_CACHE_EXECUTED, QB_CACHE_DEADLINE, 1);
	expect(get_with(other_q, 0, 30 * QB_NS_PER_MS), QB_CACHE_JOINED, QB_CACHE_DEADLINE, 1);
}
END_TEST

/* A worker process that is killed there, and proven dead. */
static void killed_at(int where)
{
	int seat = qb_seat_take(&seg, QB_ROLE_WORKER), status;
	struct qb_recovery r;

	ck_assert_int_ge(seat, 0);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct qb_queue *q = open_queue((uint32_t)seat, QB_ROLE_WORKER);

		work_at(q, open_cache(q, 0, 0), PUT, where);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(qb_recovery_open(&r, &seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, (uint32_t)seat, NULL, NULL), 0);
	qb_recovery_close(&r);
}

static void killed_at_work(uint32_t nth) { (void)nth; killed_at(1); work(PUT); }
static void killed_after_put(uint32_t nth) { (void)nth; killed_at(2); work(PUT); }

/* The execution of the killed one was counted in its own memory: what is counted here is the second one. */
START_TEST(killed_at_work_it_is_executed_once_more)
{
	after_push = killed_at_work;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 1);
	ck_assert_int_eq(work_at(worker_q, worker_cache, PUT, 0), 0);
}
END_TEST

START_TEST(killed_after_its_put_it_is_not_executed_again)
{
	after_push = killed_after_put;
	expect(get(0), QB_CACHE_EXECUTED, QB_CACHE_OK, 1);
	ck_assert_uint_eq(executions, 0);
	ck_assert_int_eq(work_at(worker_q, worker_cache, PUT, 0), 0);
}
END_TEST

START_TEST(a_put_without_room_stores_nothing)
{
	const struct rlimit none = { 0, RLIM_INFINITY };
	struct qb_queue_job job = { .job_id = 1 };
	struct rlimit was;
	struct qb_err err = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	int put = qb_cache_runner_put(worker_cache, &job, &spec, "content", 7, &err);
	int fail = qb_cache_runner_fail(worker_cache, &job, &spec, "no luck", &err);

	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
	ck_assert_int_lt(put, 0);
	ck_assert_int_lt(fail, 0);
	ck_assert_int_eq(qb_cache_check(worker_cache, &spec, &err), 0);
}
END_TEST

START_TEST(uncache_clears_memory_and_store)
{
	const struct qb_cache_memory_config bounds = { .bytes_max = 1 << 20 };
	struct qb_cache_memory *memory = qb_cache_memory_new(&bounds);
	const struct qb_cache_config cfg = { .store = store, .ops = &ops, .q = other_q, .memory = memory };
	struct qb_cache_spec s = spec;
	struct qb_cache_return ret;
	struct qb_err err = { 0 };
	struct qb_cache *c;

	s.in_memory = 1;
	ck_assert_int_eq(qb_cache_open(&cfg, &c, &err), 0);
	ck_assert_int_eq(qb_store_put_bytes(store, spec.dir, spec.address, "content", 7, &err), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(qb_cache_get(c, &s, &ret, &err), 0);
		ck_assert_int_eq(ret.fault, QB_CACHE_OK);
		ck_assert_int_eq(ret.from_memory, i);
		free(ret.data);
	}
	ck_assert_int_eq(qb_cache_uncache(c, &s, &err), 1);
	ck_assert_int_eq(qb_cache_check(c, &s, &err), 0);
	ck_assert_int_eq(qb_cache_uncache(c, &s, &err), 0);
	qb_cache_close(c);
	qb_cache_memory_free(memory);
}
END_TEST

static void *ask(void *arg)
{
	struct qb_cache_return *ret = arg;
	int seat = qb_seat_take(&seg, QB_ROLE_DRIVER);

	if (seat < 0)
		abort();
	struct qb_queue *q = open_queue((uint32_t)seat, QB_ROLE_DRIVER);

	*ret = get_with(q, 0, LONG_NS);
	ops.close(q);
	return NULL;
}

START_TEST(of_many_callers_one_executes)
{
	static struct qb_cache_return ret[CALLERS];
	pthread_t id[CALLERS];
	unsigned executed = 0;
	uint64_t until = qb_now_ns() + LONG_NS;

	for (unsigned i = 0; i < CALLERS; i++)
		ck_assert_int_eq(pthread_create(&id[i], NULL, ask, &ret[i]), 0);
	/* Also what found it free after the first run: it finds the item. */
	for (unsigned i = 0; i < CALLERS; ) {
		if (!work_at(worker_q, worker_cache, PUT, 0))
			qb_sleep_ns(100 * QB_NS_PER_US);
		while (i < CALLERS && pthread_tryjoin_np(id[i], NULL) == 0)
			i++;
		ck_assert_uint_lt(qb_now_ns(), until);
	}
	for (unsigned i = 0; i < CALLERS; i++) {
		ck_assert_int_eq(ret[i].fault, QB_CACHE_OK);
		executed += ret[i].way == QB_CACHE_EXECUTED;
	}
	ck_assert_uint_ge(executed, 1);
	ck_assert_uint_eq(executions, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache");
	TCase *t = tcase_create("right");

	tcase_add_unchecked_fixture(t, qb_test_dir_make, qb_test_dir_remove);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_miss_is_executed_and_then_hit);
	tcase_add_test(t, who_joins_gets_the_item_of_that_run);
	tcase_add_test(t, the_runner_finds_what_the_push_has_missed);
	tcase_add_test(t, a_failure_is_of_those_who_waited_for_it);
	tcase_add_test(t, who_joins_between_record_and_end_is_told);
	tcase_add_test(t, what_was_read_before_a_removal_is_not_remembered);
	tcase_add_test(t, the_trap_tells_an_old_failure);
	tcase_add_test(t, removed_before_a_joiner_looks_it_is_pushed_again);
	tcase_add_test(t, removed_before_its_own_runs_caller_looks_it_is_not_found);
	tcase_add_test(t, nobody_works_and_the_deadline_ends_the_wait);
	tcase_add_test(t, killed_at_work_it_is_executed_once_more);
	tcase_add_test(t, killed_after_its_put_it_is_not_executed_again);
	tcase_add_test(t, a_put_without_room_stores_nothing);
	tcase_add_test(t, uncache_clears_memory_and_store);
	tcase_add_test(t, of_many_callers_one_executes);
	suite_add_tcase(s, t);
	t = tcase_create("faithful");
	tcase_add_unchecked_fixture(t, qb_test_dir_make, qb_test_dir_remove);
	tcase_add_checked_fixture(t, setup_faithful, teardown);
	tcase_add_test(t, a_faithful_runner_computes_it_again);
	tcase_add_test(t, a_faithful_joiner_never_pushes_again);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
