/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of River's jobs: states, the batch completer, kills, and results that come too late. */
#include "tests/pg/riverbench.h"

char *pgtest_base;

/* ---- states ---- */

static uint64_t fail_one(struct qb_river_worker *w, struct qb_queue_job *job, int permanent, int want_final)
{
	uint64_t due_ns = 1;
	struct qb_err err = { 0 };
	int final = -1;

	river_start(w, 0, job);
	ck_ok(qb_river_worker_fail(w, job, permanent, &due_ns, &final, &err), err);
	ck_assert_int_eq(final, want_final);
	ck_assert_int_eq(due_ns == 0, want_final);
	return due_ns ? due_ns - qb_now_ns() : 0;
}

static void make_due(struct bench *b)
{
	pgtest_exec(b->w.db, "update " JOBS " set state = 'available', scheduled_at = now() - interval '1 minute'"
		    " where state in ('available', 'retryable')");
}

/* The n-th element of errors belongs to attempt n and has what River's has. */
#define ERRORS(n) "array_length(errors, 1) = " #n " and errors[" #n "]->>'attempt' = '" #n "'" \
	" and errors[" #n "]->>'error' like '%rate_limit' and errors[" #n "]->>'trace' = ''" \
	" and (errors[" #n "]->>'at')::timestamptz between now() - interval '1 minute' and now()"
#define DUE(seconds) "extract(epoch from scheduled_at - now()) between " #seconds " * 0.9 - 5 and " #seconds " * 1.1"

START_TEST(failure_is_available_then_retryable_then_discarded)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "states", SOON ":completer=sync", 1);
	enqueue(&b, 1, 3);
	struct qb_river_worker *w = river_worker(&b);
	uint64_t due = fail_one(w, &job, 0, 0);

	ck_assert_uint_eq(job.failures, 0);
	ck_assert_uint_le(due, 1100 * QB_NS_PER_MS);
	/* Due before the scheduler looks again: available, and not retryable. */
	ck_assert_int_eq(rows(&b, "state = 'available' and attempt = 1 and finalized_at is null and " ERRORS(1)
			      " and scheduled_at <= now() + interval '1.1 s' and scheduled_at > attempted_at"
			      " + interval '0.9 s'"), 1);
	/* Unless the machine stood still for a second. */
	ck_assert(count_of(&b, QB_OUTCOME_WAITING) == 1 || rows(&b, "scheduled_at <= now()") == 1);
	make_due(&b);
	due = fail_one(w, &job, 0, 0);
	ck_assert_uint_eq(job.failures, 1);
	ck_assert_uint_eq(job.attempt, 2);
	ck_assert_uint_le(due, 17600 * QB_NS_PER_MS);
	ck_assert_int_eq(rows(&b, "state = 'retryable' and attempt = 2 and finalized_at is null and " ERRORS(2) " and "
			      DUE(16)), 1);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING), 1);
	make_due(&b);
	fail_one(w, &job, 0, 1);
	ck_assert_int_eq(rows(&b, "state = 'discarded' and attempt = 3 and finalized_at is not null and " ERRORS(3)), 1);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_DISCARDED), 1);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(errors_count_for_the_pause_and_attempts_for_the_end)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "counts", SOON ":completer=sync", 1);
	/* Snoozed or interrupted often: eight attempts, one error. */
	pgtest_exec(b.w.db, "insert into " JOBS " (kind, args, max_attempts, attempt, errors) values ('benchmark.job',"
		    " '{\"job_id\": 1, \"payload\": {\"fail_with_error\": \"transient\"}}', 9, 7, array['{\"e\": 1}'::jsonb])");
	struct qb_river_worker *w = river_worker(&b);

	fail_one(w, &job, 0, 0);
	ck_assert_uint_eq(job.attempt, 8);
	ck_assert_uint_eq(job.failures, 1);
	ck_assert_int_eq(rows(&b, "state = 'retryable' and " DUE(16)), 1);
	make_due(&b);
	fail_one(w, &job, 0, 1);
	ck_assert_int_eq(rows(&b, "state = 'discarded' and attempt = 9"), 1);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(permanent_failure_and_cancellation_end_in_cancelled)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	river_open(&b, "cancelled", SOON ":completer=sync", 1);
	struct qb_river_worker *w = river_worker(&b);

	enqueue(&b, 1, 3);
	fail_one(w, &job, 1, 1);
	ck_assert_int_eq(rows(&b, "state = 'cancelled' and attempt = 1 and finalized_at is not null"
			      " and errors[1]->>'error' like 'JobCancelError: %'"), 1);
	/* Told while it runs: its result does not count. */
	enqueue(&b, 2, 3);
	river_start(w, 0, &job);
	qb_river_cancel(qb_river_worker_control(w), "default", (int64_t)job.token);
	ck_assert_int_eq(river_complete(w, &job), QB_EFENCED);
	ck_assert_int_eq(rows(&b, "state = 'cancelled' and errors[1]->>'error' = 'JobCancelError: job cancelled remotely'"), 1);
	/* Told between claim and start: user code does not run. */
	enqueue(&b, 3, 3);
	ck_assert_int_eq(river_claim(w, 0, &job, 20 * QB_NS_PER_S), QB_OK);
	qb_river_cancel(qb_river_worker_control(w), "default", (int64_t)job.token);
	ck_assert_int_eq(qb_river_worker_start(w, &job, &err), QB_EFENCED);
	/* Not told, but marked in the row: a failure that would be tried again is the end, a success is one. */
	enqueue(&b, 4, 3);
	pgtest_exec(b.w.db, "update " JOBS " set state = 'available', attempt = 0, finalized_at = null, errors = array["
		    "'{\"e\": 1}']::jsonb[] where args->>'job_id' = '3'");
	for (unsigned n = 0; n < 2; n++) {
		uint64_t due_ns = 0;
		int final;

		river_start(w, 0, &job);
		pgtest_exec(b.w.db, "update " JOBS " set metadata = '{\"cancel_attempted_at\": \"now\"}' where state = 'running'");
		if (job.job_id == 3)
			ck_ok(qb_river_worker_fail(w, &job, 0, &due_ns, &final, &err), err);
		else
			ck_assert_int_eq(river_complete(w, &job), 0);
	}
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "args->>'job_id' = '3' and state = 'cancelled' and array_length(errors, 1) = 2"
			      " and finalized_at is not null"), 1);
	ask(&b, &t);
	for (unsigned id = 1; id <= 4; id++)
		ck_assert_uint_eq(t.outcome[id], id == 4 ? QB_OUTCOME_COMPLETED : QB_OUTCOME_DISCARDED);
	bench_close(&b);
}
END_TEST

START_TEST(job_that_is_not_ours_fails_its_attempt)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "strange", SOON ":completer=sync", 1);
	pgtest_exec(b.w.db, "insert into " JOBS " (kind, args, max_attempts) values ('another', '{\"job_id\": 1}', 3),"
		    " ('benchmark.job', '{\"payload\": {\"bytes\": \"*\"}}', 3)");
	struct qb_river_worker *w = river_worker(&b);

	for (unsigned n = 0; n < 2; n++) {
		fail_one(w, &job, 0, 0);
		ck_assert_uint_ne(job.error_class, 0);
	}
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "attempt = 1 and array_length(errors, 1) = 1 and errors[1]->>'error' like 'neither%'"), 2);
	bench_close(&b);
}
END_TEST

START_TEST(job_that_was_not_begun_goes_back_with_its_attempt)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	river_open(&b, "back", ONCE, 4);
	for (uint64_t id = 1; id <= 4; id++)
		enqueue(&b, id, 3);
	struct qb_river_worker *w = river_worker(&b);

	river_start(w, 0, &job);
	ck_assert_int_eq(river_complete(w, &job), 0);
	ck_assert_int_eq(qb_river_worker_claim(w, 1, &job, &err), QB_OK);
	ck_ok(qb_river_worker_release(w, &job, &err), err);
	ck_assert_int_eq(rows(&b, "state = 'running'"), 4);
	/* Two more were fetched and never claimed. */
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "state = 'completed' and attempt = 1"), 1);
	ck_assert_int_eq(rows(&b, "state = 'available' and attempt = 0 and scheduled_at <= now() and errors is null"), 3);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 3);
	bench_close(&b);
}
END_TEST

START_TEST(census_and_outcomes_agree_with_the_states)
{
	static const uint8_t want[] = {
		0, QB_OUTCOME_QUEUED, QB_OUTCOME_WAITING, QB_OUTCOME_WAITING, QB_OUTCOME_QUEUED, QB_OUTCOME_WAITING,
		QB_OUTCOME_QUEUED, QB_OUTCOME_HELD, QB_OUTCOME_COMPLETED, QB_OUTCOME_DISCARDED, QB_OUTCOME_DISCARDED,
	};
	uint64_t count[QB_OUTCOME_COUNT] = { 0 };
	struct told t;
	struct bench b;

	river_open(&b, "census", NULL, 1);
	add_row(&b, 1, "attempt", "2");
	add_row(&b, 2, "scheduled_at", "now() + interval '1 hour'");
	add_row(&b, 3, "state, scheduled_at", "'retryable', '2000-01-01'");
	add_row(&b, 4, "state, scheduled_at", "'scheduled', '2000-01-01'");
	add_row(&b, 5, "state, scheduled_at", "'scheduled', now() + interval '1 hour'");
	add_row(&b, 6, "state", "'pending'");
	add_row(&b, 7, "state", "'running'");
	add_row(&b, 8, "state, finalized_at", "'completed', now()");
	add_row(&b, 9, "state, finalized_at", "'discarded', now()");
	add_row(&b, 10, "state, finalized_at", "'cancelled', now()");
	add_row(&b, 11, "queue", "'another'");
	ask(&b, &t);
	for (unsigned id = 1; id <= 10; id++) {
		ck_assert_uint_eq(t.times[id], 1);
		ck_assert_uint_eq(t.outcome[id], want[id]);
		count[want[id]]++;
	}
	ck_assert_uint_eq(t.times[11], 0);
	ck_assert_uint_eq(t.attempt[1], 2);
	for (unsigned o = QB_OUTCOME_QUEUED; o < QB_OUTCOME_COUNT; o++)
		ck_assert_uint_eq(count_of(&b, o), count[o]);
	bench_close(&b);
}
END_TEST

/* ---- the completer ---- */

struct completer {
	struct bench b;
	struct qb_river_client client;
	struct qb_river_completer *c;
};

/* Not started: the case takes its turns. */
static void completer_open(struct completer *t, const char *name)
{
	struct qb_err err = { 0 };

	memset(t, 0, sizeof(*t));
	river_open(&t->b, name, NULL, 1);
	t->client = (struct qb_river_client){ .conninfo = HERE, .schema = "qbench_river", .id = "me" };
	ck_ok(qb_river_completer_open(&t->client, &t->c, &err), err);
	qb_river_completer_hurry(t->c);
}

static void completer_close(struct completer *t)
{
	qb_river_completer_close(t->c);
	bench_close(&t->b);
}

/* Running rows with these ids. */
static void add_running(struct bench *b, unsigned from, unsigned to)
{
	char *text = qb_xasprintf("insert into " JOBS " (id, kind, args, state, attempt, attempted_by)"
				  " select n, 'benchmark.job', jsonb_build_object('job_id', n), 'running', 1, '{me}'"
				  " from generate_series(%u, %u) n", from, to);

	pgtest_exec(b->w.db, text);
	free(text);
}

static void put(struct completer *t, unsigned from, unsigned to)
{
	for (unsigned id = from; id <= to; id++) {
		struct qb_river_end e = {
			.id = id, .attempt = 1, .new_attempt = -1, .state = RIVER_COMPLETED, .finalized_wall_ns = qb_wall_ns(),
		};

		qb_river_completer_put(t->c, &e);
	}
}

static uint64_t statements_of_a_turn(struct completer *t)
{
	uint64_t before = qb_river_completer_statements(t->c);

	qb_river_completer_turn(t->c);
	return qb_river_completer_statements(t->c) - before;
}

START_TEST(completer_writes_on_every_fifth_tick_or_when_there_are_a_hundred)
{
	struct completer t;

	completer_open(&t, "ticks");
	add_running(&t.b, 1, 400);
	put(&t, 1, 1);
	ck_assert_uint_eq(statements_of_a_turn(&t), 1);
	/* Turns 1 to 4 leave 99 alone, the fifth does not; nothing at all is no statement. */
	for (unsigned round = 0; round < 3; round++) {
		if (round < 2)
			put(&t, 100 * round + 2, 100 * round + 100);
		for (unsigned n = 1; n <= 4; n++)
			ck_assert_uint_eq(statements_of_a_turn(&t), 0);
		ck_assert_uint_eq(statements_of_a_turn(&t), round < 2);
	}
	put(&t, 301, 399);
	ck_assert_uint_eq(statements_of_a_turn(&t), 0);
	put(&t, 400, 400);
	ck_assert_uint_eq(statements_of_a_turn(&t), 1);
	ck_assert_uint_eq(qb_river_completer_backlog(t.c), 0);
	ck_assert_int_eq(rows(&t.b, "state = 'completed'"), 1 + 2 * 99 + 100);
	/* At most 5000 rows in a statement, whether they are there or not. */
	put(&t, 1001, 6000);
	ck_assert_uint_eq(statements_of_a_turn(&t), 1);
	put(&t, 6001, 11001);
	ck_assert_uint_eq(statements_of_a_turn(&t), 2);
	completer_close(&t);
}
END_TEST

START_TEST(batch_that_fails_three_times_is_put_back)
{
	struct completer t;
	struct qb_err err = { 0 };

	completer_open(&t, "put-back");
	add_running(&t.b, 1, 3);
	put(&t, 1, 2);
	pgtest_exec(t.b.w.db, "alter table " JOBS " rename to moved");
	ck_assert_int_lt(qb_river_completer_flush(t.c, &err), 0);
	ck_assert_uint_eq(qb_river_completer_statements(t.c), 3);
	ck_assert_uint_eq(qb_river_completer_backlog(t.c), 2);
	/* Meanwhile one of them ended once more: a statement has each once, and the newer result counts. */
	struct qb_river_end newer = { .id = 2, .attempt = 1, .new_attempt = -1, .state = RIVER_DISCARDED,
				      .finalized_wall_ns = qb_wall_ns(), .error = "{\"n\": 1}" };

	qb_river_completer_put(t.c, &newer);
	put(&t, 3, 3);
	pgtest_exec(t.b.w.db, "alter table qbench_river.moved rename to river_job");
	ck_assert_int_eq(qb_river_completer_flush(t.c, &err), 3);
	ck_assert_uint_eq(qb_river_completer_statements(t.c), 4);
	ck_assert_int_eq(rows(&t.b, "state = 'completed' and id in (1, 3)"), 2);
	ck_assert_int_eq(rows(&t.b, "state = 'discarded' and id = 2 and errors = array['{\"n\": 1}']::jsonb[]"), 1);
	/* A connection that is gone is made again, as one of the three tries. */
	add_running(&t.b, 4, 4);
	put(&t, 4, 4);
	pgtest_exec(t.b.w.db, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'qbench completer'");
	ck_assert_int_eq(qb_river_completer_flush(t.c, &err), 1);
	completer_close(&t);
}
END_TEST

static void *put_one_more(void *opaque)
{
	struct completer *t = opaque;

	put(t, 20000, 20000);
	return NULL;
}

START_TEST(worker_waits_while_the_backlog_is_too_long)
{
	struct completer t;
	struct qb_err err = { 0 };
	pthread_t thread;

	completer_open(&t, "backlog");
	/* The one that finds it full closes the gate behind itself. */
	put(&t, 1, RIVER_BACKLOG_WAIT_THRESHOLD + 1);
	ck_assert_uint_eq(qb_river_completer_backlog(t.c), RIVER_BACKLOG_WAIT_THRESHOLD + 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, put_one_more, &t), 0);
	qb_sleep_ns(QB_NS_PER_S / 10);
	ck_assert_uint_eq(qb_river_completer_backlog(t.c), RIVER_BACKLOG_WAIT_THRESHOLD + 1);
	/* No such rows: River takes them for deleted. */
	ck_assert_int_eq(qb_river_completer_flush(t.c, &err), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(qb_river_completer_backlog(t.c), 1);
	completer_close(&t);
}
END_TEST

START_TEST(thread_writes_what_it_is_given_by_itself)
{
	struct completer t;
	struct qb_err err = { 0 };

	completer_open(&t, "thread");
	add_running(&t.b, 1, 6000);
	ck_ok(qb_river_completer_start(t.c, &err), err);
	put(&t, 1, 1);
	ck_until(rows(&t.b, "state = 'completed'") == 1, 10);
	put(&t, 2, 5999);
	ck_until(rows(&t.b, "state = 'completed'") == 5999, 10);
	/* In some hundreds of a second there are few ticks: not a statement for each. */
	ck_assert_uint_lt(qb_river_completer_statements(t.c), 1000);
	put(&t, 6000, 6000);
	qb_river_completer_close(t.c);
	ck_assert_int_eq(rows(&t.b, "state = 'completed'"), 6000);
	bench_close(&t.b);
}
END_TEST

/* ---- kills, and results that come too late ---- */

START_TEST(kill_loses_what_was_not_flushed_and_close_does_not)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "killed", SOON, 2);
	enqueue(&b, 1, 3);
	enqueue(&b, 2, 3);
	for (int killed = 1; killed >= 0; killed--) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			/* Without its thread the completer flushes when it is told to, and at the close. */
			b.env.options = SOON ":completer=sync";
			struct qb_river_options opt;
			struct qb_err err = { 0 };
			struct qb_queue_env env = b.env;
			struct qb_river_worker *w;

			env.role = QB_ROLE_WORKER;
			env.seat = b.w.worker;
			if (qb_river_options_read(env.options, &opt, &err) < 0 ||
			    qb_river_worker_open(&env, &opt, &w, &err) < 0)
				_exit(3);
			for (unsigned lane = 0; lane < 2; lane++) {
				while (qb_river_worker_claim(w, lane, &job, &err) != QB_OK)
					qb_river_worker_wait(w, qb_now_ns() + QB_NS_PER_MS, 1, &err);
				struct qb_river_end e = {
					.id = (int64_t)job.token, .attempt = job.attempt, .new_attempt = -1,
					.state = RIVER_COMPLETED, .finalized_wall_ns = qb_wall_ns(),
				};

				qb_river_completer_put(qb_river_worker_completer(w), &e);
			}
			if (killed)
				kill(getpid(), SIGKILL);
			qb_river_worker_close(w);
			_exit(0);
		}
		ck_assert_int_eq(reap(pid, 30), killed ? 128 + SIGKILL : 0);
		ck_assert_int_eq(rows(&b, "state = 'running' and attempt = 1 and finalized_at is null"), killed ? 2 : 0);
		ck_assert_uint_eq(count_of(&b, killed ? QB_OUTCOME_HELD : QB_OUTCOME_COMPLETED), 2);
		/* Nobody else gets them: only a leader, after the lease. */
		if (killed)
			pgtest_exec(b.w.db, "update " JOBS " set state = 'available', attempt = 0");
	}
	bench_close(&b);
}
END_TEST

/* The job of a worker that was thought dead was given to another one; then the first one's result comes. */
START_TEST(late_result_of_a_zombie_is_accepted_by_the_library_and_refused_by_the_fixed_fence)
{
	struct qb_queue_job mine, others;
	struct bench b;
	int fixed = _i;

	river_open(&b, "zombie", fixed ? SOON ":completer=sync:fence=fixed" : SOON ":completer=sync", 1);
	enqueue(&b, 1, 3);
	struct qb_river_worker *zombie = river_worker(&b);

	river_start(zombie, 0, &mine);
	/* Rescued: not running now. No fence is needed for this. */
	pgtest_exec(b.w.db, "update " JOBS " set state = 'available'");
	ck_assert_int_eq(river_complete(zombie, &mine), QB_EFENCED);
	ck_assert_int_eq(rows(&b, "state = 'available' and finalized_at is null"), 1);
	river_start(zombie, 0, &mine);
	pgtest_exec(b.w.db, "update " JOBS " set state = 'available'");
	/* And now somebody else's. */
	struct qb_river_worker *w = river_worker(&b);

	river_start(w, 0, &others);
	ck_assert_uint_eq(others.attempt, mine.attempt + 1);
	ck_assert_int_eq(river_complete(zombie, &mine), fixed ? QB_EFENCED : 0);
	ck_assert_int_eq(rows(&b, "state = 'running'"), fixed);
	ck_assert_int_eq(rows(&b, "state = 'completed'"), !fixed);
	ck_assert_int_eq(river_complete(w, &others), fixed ? 0 : QB_EFENCED);
	ck_assert_int_eq(rows(&b, "state = 'completed'"), 1);
	/* By the same attempt of another client it is refused as well. */
	pgtest_exec(b.w.db, "update " JOBS " set state = 'available', finalized_at = null, attempt = 0");
	river_start(w, 0, &others);
	pgtest_exec(b.w.db, "update " JOBS " set attempted_by = array_append(attempted_by, 'another')");
	ck_assert_int_eq(river_complete(w, &others), fixed ? QB_EFENCED : 0);
	qb_river_worker_close(zombie);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

/* The same within one process: its own next attempt is somebody else, too. */
START_TEST(late_result_of_an_earlier_attempt_in_the_same_process)
{
	struct qb_queue_job first, second;
	struct bench b;
	int fixed = _i;

	river_open(&b, "again", fixed ? SOON ":completer=sync:fence=fixed" : SOON ":completer=sync", 2);
	enqueue(&b, 1, 3);
	struct qb_river_worker *w = river_worker(&b);

	river_start(w, 0, &first);
	pgtest_exec(b.w.db, "update " JOBS " set state = 'available'");
	river_start(w, 1, &second);
	ck_assert_uint_eq(second.token, first.token);
	ck_assert_uint_eq(second.attempt, 2);
	ck_assert_int_eq(river_complete(w, &first), fixed ? QB_EFENCED : 0);
	ck_assert_int_eq(river_complete(w, &second), fixed ? 0 : QB_EFENCED);
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "state = 'completed' and attempt = 2"), 1);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-ends");
	TCase *tc = tcase_create("river-ends");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, failure_is_available_then_retryable_then_discarded);
	tcase_add_test(tc, errors_count_for_the_pause_and_attempts_for_the_end);
	tcase_add_test(tc, permanent_failure_and_cancellation_end_in_cancelled);
	tcase_add_test(tc, job_that_is_not_ours_fails_its_attempt);
	tcase_add_test(tc, job_that_was_not_begun_goes_back_with_its_attempt);
	tcase_add_test(tc, census_and_outcomes_agree_with_the_states);
	tcase_add_test(tc, completer_writes_on_every_fifth_tick_or_when_there_are_a_hundred);
	tcase_add_test(tc, batch_that_fails_three_times_is_put_back);
	tcase_add_test(tc, worker_waits_while_the_backlog_is_too_long);
	tcase_add_test(tc, thread_writes_what_it_is_given_by_itself);
	tcase_add_test(tc, kill_loses_what_was_not_flushed_and_close_does_not);
	tcase_add_loop_test(tc, late_result_of_a_zombie_is_accepted_by_the_library_and_refused_by_the_fixed_fence, 0, 2);
	tcase_add_loop_test(tc, late_result_of_an_earlier_attempt_in_the_same_process, 0, 2);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
