/* SPDX-License-Identifier: Apache-2.0 */
/* Pause and resume, cancel, retry: what they do to rows, and who hears of it in another process. */
#include <errno.h>
#include <sys/wait.h>

#include "queue/river-control.h"
#include "tests/pg/rivertest.h"

char *pgtest_base;

/* The next thing that the control was told: the id of a job, 0 for resume, -1 for pause. */
static int64_t told(struct client *k)
{
	bool paused = false;
	int64_t id = 0;

	ck_until(qb_river_control_take(k->c.control, &id, &paused), 10);
	return id ? id : paused ? -1 : 0;
}

/* A client that hears, and knows that it hears: a first resume has arrived. */
static void start_hearing(struct client *k, const struct river *r)
{
	struct qb_err err = { 0 };
	bool paused = true;
	int64_t id;

	client_init(k, r, "hears");
	k->c.opt.elect = RIVER_ELECT_OFF;
	ck_ok(qb_river_control_open(&k->c.control, &err), err);
	client_start(k, r);
	ck_until(qb_river_queue_resume(r->db, r->schema, "*", &err) == 0 &&
		 qb_river_control_take(k->c.control, &id, &paused), 10);
	ck_assert(!paused);
	/* Those that were sent in vain came with it or never. */
	ck_ok(qb_river_queue_pause(r->db, r->schema, "*", &err), err);
	while (told(k) != -1)
		;
}

static void stop_hearing(struct client *k)
{
	qb_river_leader_stop(k->l);
	qb_river_control_close(k->c.control);
}

#define QUEUE "insert into $S.river_queue (name, created_at, updated_at) values "
#define INSERT "insert into $S.river_job (kind, args, max_attempts, queue, state, attempt, scheduled_at," \
	" attempted_at, finalized_at) values "

START_TEST(pause_and_resume_reach_another_process)
{
	struct client k;
	struct river r;
	int status;

	river_begin(&r, "pause");
	river_sql(&r, QUEUE "('default', now(), '2001-01-01'), ('other', now(), '2001-01-01')");
	start_hearing(&k, &r);
	river_sql(&r, "update $S.river_queue set paused_at = null, updated_at = '2001-01-01'");
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		PGconn *db = pgtest_connect(r.cluster);
		struct qb_err err = { 0 };
		int rc = qb_river_queue_pause(db, r.schema, "other", &err);

		rc = rc ? rc : qb_river_queue_pause(db, r.schema, "default", &err);
		rc = rc ? rc : qb_river_queue_resume(db, r.schema, "default", &err);
		rc = rc ? rc : qb_river_queue_pause(db, r.schema, "*", &err);
		_exit(rc ? 1 : 0);
	}
	/* The one of the other queue is not for this client. */
	ck_assert_int_eq(told(&k), -1);
	ck_assert_int_eq(told(&k), 0);
	ck_assert_int_eq(told(&k), -1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_river(&r, "select count(*) from $S.river_queue where paused_at is not null and updated_at > '2002-01-01'", "2");
	stop_hearing(&k);
	river_end(&r);
}
END_TEST

START_TEST(pausing_twice_keeps_the_first_time)
{
	struct qb_err err = { 0 };
	struct river r;

	river_begin(&r, "twice");
	river_sql(&r, QUEUE "('q', now(), now())");
	river_sql(&r, "update $S.river_queue set paused_at = '2001-01-01', updated_at = '2001-01-01'");
	ck_ok(qb_river_queue_pause(r.db, r.schema, "q", &err), err);
	ck_river(&r, "select paused_at = updated_at from $S.river_queue where paused_at = '2001-01-01'", "t");
	ck_ok(qb_river_queue_resume(r.db, r.schema, "q", &err), err);
	ck_river(&r, "select paused_at is null and updated_at > '2002-01-01' from $S.river_queue", "t");
	river_sql(&r, "update $S.river_queue set updated_at = '2001-01-01'");
	ck_ok(qb_river_queue_resume(r.db, r.schema, "q", &err), err);
	ck_river(&r, "select count(*) from $S.river_queue where updated_at = '2001-01-01'", "1");
	river_end(&r);
}
END_TEST

START_TEST(queue_that_is_not_there_is_an_error_and_all_of_none_is_not)
{
	struct qb_err err = { 0 };
	struct river r;

	river_begin(&r, "none");
	PGconn *listener = river_listen(&r, "control");

	ck_assert_int_eq(qb_river_queue_pause(r.db, r.schema, "q", &err), -ENOENT);
	ck_has(err.text, "\"q\"");
	ck_assert_int_eq(qb_river_queue_resume(r.db, r.schema, "q", &err), -ENOENT);
	ck_assert_int_eq(qb_river_queue_set_metadata(r.db, r.schema, "q", "{}", &err), -ENOENT);
	heard_nothing(&r, listener, "control");
	ck_ok(qb_river_queue_pause(r.db, r.schema, "*", &err), err);
	char *payload = heard(listener, 1);

	ck_assert_str_eq(payload, "{\"action\":\"pause\",\"queue\":\"*\"}");
	free(payload);
	PQfinish(listener);
	river_end(&r);
}
END_TEST

START_TEST(metadata_of_a_queue_is_told_with_its_value)
{
	struct qb_err err = { 0 };
	struct river r;

	river_begin(&r, "metadata");
	river_sql(&r, QUEUE "('q', now(), now())");
	PGconn *listener = river_listen(&r, "control");

	ck_ok(qb_river_queue_set_metadata(r.db, r.schema, "q", "{\"a\":[1]}", &err), err);
	char *payload = heard(listener, 1);

	ck_assert_str_eq(payload, "{\"action\":\"metadata_changed\",\"metadata\":{\"a\": [1]},\"queue\":\"q\"}");
	free(payload);
	ck_river(&r, "select metadata from $S.river_queue", "{\"a\": [1]}");
	PQfinish(listener);
	river_end(&r);
}
END_TEST

START_TEST(cancel_ends_what_does_not_run_and_marks_what_does)
{
	static const char *const after[] = { "cancelled", "cancelled", "cancelled", "cancelled", "running", "completed",
					     "discarded", "cancelled" };
	struct qb_err err = { 0 };
	char state[QB_RIVER_STATE_BYTES];
	struct river r;

	river_begin(&r, "cancel");
	river_sql(&r, INSERT
		  "('x', '{}', 25, 'q', 'available', 0, now(), null, null),"
		  "('x', '{}', 25, 'q', 'scheduled', 0, now(), null, null),"
		  "('x', '{}', 25, 'q', 'retryable', 1, now(), now(), null),"
		  "('x', '{}', 25, 'q', 'pending', 0, now(), null, null),"
		  "('x', '{}', 25, 'q', 'running', 1, now(), now(), null),"
		  "('x', '{}', 25, 'q', 'completed', 1, now(), now(), '2001-01-01'),"
		  "('x', '{}', 25, 'q', 'discarded', 1, now(), now(), '2001-01-01'),"
		  "('x', '{}', 25, 'q', 'cancelled', 1, now(), now(), '2001-01-01')");
	river_sql(&r, "update $S.river_job set metadata = '{\"mine\": 1}'");
	PGconn *listener = river_listen(&r, "control");

	for (int64_t id = 1; id <= 8; id++) {
		ck_ok(qb_river_job_cancel(r.db, r.schema, id, state, &err), err);
		ck_assert_str_eq(state, after[id - 1]);
	}
	ck_river(&r, "select state from $S.river_job order by id",
		 "cancelled cancelled cancelled cancelled running completed discarded cancelled");
	ck_river(&r, "select id from $S.river_job where finalized_at > '2002-01-01' order by id", "1 2 3 4");
	ck_river(&r, "select id from $S.river_job where (metadata ->> 'cancel_attempted_at')::timestamptz between"
		 " now() - interval '1 min' and now() and metadata ? 'mine' order by id", "1 2 3 4 5");
	ck_assert_int_eq(qb_river_job_cancel(r.db, r.schema, 9, state, &err), -ENOENT);
	char *payload = heard(listener, 5);

	ck_has(payload, "{\"action\" : \"cancel\", \"job_id\" : 5, \"queue\" : \"q\"}");
	free(payload);
	heard_nothing(&r, listener, "control");
	PQfinish(listener);
	river_end(&r);
}
END_TEST

/* It is told by id and queue; the end of its attempt is then written as cancelled, unless it was a success. */
START_TEST(running_job_that_was_cancelled_elsewhere_ends_cancelled)
{
	struct qb_river_end ends[2] = {
		{ .id = 1, .attempt = 1, .new_attempt = -1, .state = RIVER_RETRYABLE,
		  .scheduled_wall_ns = qb_wall_ns() + 60 * QB_NS_PER_S, .error = "{\"attempt\": 1}" },
		{ .id = 2, .attempt = 1, .new_attempt = -1, .state = RIVER_COMPLETED, .finalized_wall_ns = qb_wall_ns() },
	};
	struct qb_river_setter *setter;
	struct qb_err err = { 0 };
	char state[QB_RIVER_STATE_BYTES];
	struct client k;
	struct river r;

	river_begin(&r, "remote");
	start_hearing(&k, &r);
	river_sql(&r, INSERT "('x', '{}', 25, 'default', 'running', 1, now(), now(), null),"
		  " ('x', '{}', 25, 'default', 'running', 1, now(), now(), null)");
	for (int64_t id = 1; id <= 2; id++) {
		ck_ok(qb_river_job_cancel(r.db, r.schema, id, state, &err), err);
		ck_assert_int_eq(told(&k), id);
	}
	ck_ok(qb_river_setter_open(r.db, &k.c, &setter, &err), err);
	ck_ok(qb_river_set_states(setter, ends, 2, &err), err);
	qb_river_setter_close(setter);
	ck_river(&r, "select state from $S.river_job order by id", "cancelled completed");
	ck_river(&r, "select finalized_at is not null from $S.river_job order by id", "t t");
	stop_hearing(&k);
	river_end(&r);
}
END_TEST

START_TEST(retry_makes_anything_available_that_does_not_run)
{
	struct qb_err err = { 0 };
	char state[QB_RIVER_STATE_BYTES];
	struct river r;

	river_begin(&r, "retry");
	river_sql(&r, INSERT
		  "('x', '{}', 3, 'q', 'discarded', 3, '2001-01-01', now(), now()),"
		  "('x', '{}', 3, 'q', 'cancelled', 1, '2001-01-01', now(), now()),"
		  "('x', '{}', 3, 'q', 'completed', 1, '2001-01-01', now(), now()),"
		  "('x', '{}', 3, 'q', 'retryable', 1, '2101-01-01', now(), null),"
		  "('x', '{}', 3, 'q', 'available', 1, '2101-01-01', now(), null),"
		  "('x', '{}', 3, 'q', 'available', 0, '2001-01-01', null, null),"
		  "('x', '{}', 3, 'q', 'running', 3, '2001-01-01', now(), null)");
	for (int64_t id = 1; id <= 7; id++) {
		ck_ok(qb_river_job_retry(r.db, r.schema, id, state, &err), err);
		ck_assert_str_eq(state, id == 7 ? "running" : "available");
	}
	ck_river(&r, "select max_attempts from $S.river_job order by id", "4 3 3 3 3 3 3");
	ck_river(&r, "select attempt from $S.river_job order by id", "3 1 1 1 1 0 3");
	ck_river(&r, "select count(*) from $S.river_job where finalized_at is not null", "0");
	ck_river(&r, "select id from $S.river_job where scheduled_at = '2001-01-01' order by id", "6 7");
	ck_river(&r, "select id from $S.river_job where scheduled_at between now() - interval '1 min' and now()"
		 " order by id", "1 2 3 4 5");
	ck_assert_int_eq(qb_river_job_retry(r.db, r.schema, 99, state, &err), -ENOENT);
	river_end(&r);
}
END_TEST

/* Anybody may notify. */
START_TEST(what_says_nothing_is_passed_over)
{
	static const char *const payloads[] = {
		"", "x", "{", "{}", "[]",
		"{\"action\":\"pause\"}",
		"{\"queue\":\"default\"}",
		"{\"action\":7,\"queue\":\"default\"}",
		"{\"action\":\"dance\",\"queue\":\"default\"}",
		"{\"action\":\"cancel\",\"queue\":\"default\"}",
		"{\"action\":\"cancel\",\"queue\":\"default\",\"job_id\":\"x\"}",
		"{\"action\":\"cancel\",\"queue\":\"default\",\"job_id\":99999999999999999999}",
		"{\"action\":\"cancel\",\"queue\":\"other\",\"job_id\":5}",
		"{\"action\":\"metadata_changed\",\"queue\":\"default\",\"metadata\":{}}",
		"{\"action\":\"resigned\"}",
		"{\"action\":\"request_resign\"}",
	};
	char channel[128];
	struct client k;
	struct river r;

	river_begin(&r, "junk");
	start_hearing(&k, &r);
	for (unsigned topic = 0; topic < 2; topic++)
		for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
			struct qb_sql_args a = { .n = 0 };
			struct qb_err err = { 0 };

			qb_river_channel(r.schema, topic ? "leadership" : "control", channel, sizeof(channel));
			qb_arg_text(&a, channel);
			qb_arg_text(&a, payloads[i]);
			ck_ok(qb_pg_query(r.db, "select pg_notify($1::text, $2::text)", a.n, NULL, a.values, a.lengths,
					  a.formats, 0, NULL, &err), err);
		}
	struct qb_err err = { 0 };

	river_sql(&r, INSERT "('x', '{}', 25, 'default', 'running', 1, now(), now(), null)");
	char state[QB_RIVER_STATE_BYTES];

	ck_ok(qb_river_job_cancel(r.db, r.schema, 1, state, &err), err);
	ck_assert_int_eq(told(&k), 1);
	ck_assert_uint_eq(look(&k)->errors, 0);
	stop_hearing(&k);
	river_end(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-control");
	TCase *tc = tcase_create("river-control");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, pause_and_resume_reach_another_process);
	tcase_add_test(tc, pausing_twice_keeps_the_first_time);
	tcase_add_test(tc, queue_that_is_not_there_is_an_error_and_all_of_none_is_not);
	tcase_add_test(tc, metadata_of_a_queue_is_told_with_its_value);
	tcase_add_test(tc, cancel_ends_what_does_not_run_and_marks_what_does);
	tcase_add_test(tc, running_job_that_was_cancelled_elsewhere_ends_cancelled);
	tcase_add_test(tc, retry_makes_anything_available_that_does_not_run);
	tcase_add_test(tc, what_says_nothing_is_passed_over);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
