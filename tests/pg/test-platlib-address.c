/* SPDX-License-Identifier: Apache-2.0 */
/* platlib: addresses, recorded failures, PollAddress, groups, and a job as JSON. */
#include "tests/pg/platlibtest.h"

char *pgtest_base;

#define OPTIONS "adapter=library" NEVER

START_TEST(address_is_unique_while_its_job_is_queued_or_runs_and_no_longer)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "unique", OPTIONS);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(qb_platlib_address_in_queue(b.w.db, "a", &err), 0);
	ck_assert_int_eq(enqueue_at(&b, 1, "a", 0), QB_OK);
	ck_assert_int_eq(enqueue_at(&b, 2, "a", 0), QB_DUPLICATE);
	ck_assert_int_eq(enqueue_at(&b, 3, "b", 0), QB_OK);
	/* What is refused has changed nothing, and one without an address is no duplicate of anything. */
	enqueue(&b, 4, 3);
	enqueue(&b, 5, 3);
	ck_assert_int_eq(count_rows(&b, ROWS), 4);
	start(&b, q, 0, &job);
	ck_assert_uint_eq(job.job_id, 1);
	ck_assert_int_eq(enqueue_at(&b, 6, "a", 0), QB_DUPLICATE);
	ck_assert_int_eq(qb_platlib_address_in_queue(b.w.db, "a", &err), 1);
	end(&b, q, &job);
	/* There is no memory of a success: the same address runs again. */
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", NULL, &err), QB_PLATLIB_DONE);
	ck_assert_int_eq(enqueue_at(&b, 7, "a", 0), QB_OK);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(retry_by_push_gives_up_the_address_and_a_durable_one_keeps_it)
{
	struct qb_queue_job job;
	struct bench b;

	plat_open(&b, "retried", _i ? OPTIONS ":retry=durable" : OPTIONS);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(enqueue_at(&b, 1, "a", 1), QB_OK);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 0, 0), 0);
	ck_assert_int_eq(count_rows(&b, ROWS " where permit = 0"), 1);
	ck_assert_int_eq(enqueue_at(&b, 2, "a", 0), _i ? QB_DUPLICATE : QB_OK);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

static void error_is(const struct bench *b, const char *want)
{
	PGresult *res = pgtest_query(b->w.db, "select error from qbench_platlib.queue_failure", 0);

	ck_assert_int_eq(PQntuples(res), 1);
	ck_assert_str_eq(PQgetvalue(res, 0, 0), want);
	PQclear(res);
}

START_TEST(failure_is_recorded_told_while_a_new_run_is_queued_and_cleared_by_its_end)
{
	struct qb_platlib_failure f;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "failure", OPTIONS);
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(enqueue_at(&b, 1, "a", 3), QB_OK);
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", NULL, &err), QB_PLATLIB_PENDING);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 1, 0), 1);
	error_is(&b, "{\"message\":\"permanent\"}");
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", &f, &err), QB_PLATLIB_FAILED);
	ck_assert_str_eq(f.message, "permanent");
	ck_assert_int_eq(f.code, 0);
	/* A new waiter gets the old error at once. */
	ck_assert_int_eq(enqueue_at(&b, 2, "a", 0), QB_OK);
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", NULL, &err), QB_PLATLIB_FAILED);
	start(&b, q, 0, &job);
	end(&b, q, &job);
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", NULL, &err), QB_PLATLIB_DONE);
	ck_assert_int_eq(count_rows(&b, "select count(*) from qbench_platlib.queue_failure"), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(recorded_failure_is_replaced_and_keeps_its_text)
{
	struct qb_platlib_failure f;
	struct qb_err err = { 0 };
	struct bench b;

	plat_open(&b, "record", OPTIONS);
	ck_ok(qb_platlib_record_failure(b.w.db, "a", 0, "first", &err), err);
	ck_ok(qb_platlib_record_failure(b.w.db, "a", 7, "a \"b\"\n\\ <c>", &err), err);
	error_is(&b, "{\"code\":7,\"message\":\"a \\\"b\\\"\\u000a\\\\ \\u003cc\\u003e\"}");
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", &f, &err), QB_PLATLIB_FAILED);
	ck_assert_int_eq(f.code, 7);
	ck_assert_str_eq(f.message, "a \"b\"\n\\ <c>");
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "other", &f, &err), QB_PLATLIB_DONE);
	ck_ok(qb_platlib_record_failure(b.w.db, "a", 0, NULL, &err), err);
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", NULL, &err), QB_PLATLIB_DONE);
	/* What somebody else wrote, and is no such JSON. */
	sql(b.w.db, "insert into qbench_platlib.queue_failure values ('a', 'plain text')");
	ck_assert_int_eq(qb_platlib_address_state(b.w.db, "a", &f, &err), QB_PLATLIB_FAILED);
	ck_assert_str_eq(f.message, "plain text");
	bench_close(&b);
}
END_TEST

/* ---- PollAddress ---- */

static struct bench *hook_bench;
static struct qb_queue *hook_queue;
static struct qb_queue_job *hook_job;

static void end_in_the_gap(enum qb_platlib_point point)
{
	if (point != QB_PLATLIB_AFTER_ADDRESS_LOOK || !hook_job)
		return;
	end(hook_bench, hook_queue, hook_job);
	hook_job = NULL;
	/* Its notification comes before the one of ours that is seen here. */
	struct qb_err err = { 0 };
	PGconn *conn = sql_connect(HERE);

	ck_ok(qb_pg_listen(conn, QB_PLATLIB_MESSAGES, &err), err);
	ck_ok(qb_platlib_notify_complete(hook_bench->w.db, "another", &err), err);
	ck_assert_int_eq(qb_pg_wait(conn, qb_now_ns() + 10 * QB_NS_PER_S, -1, NULL, &err), QB_PG_WAKE_NOTIFY);
	PQfinish(conn);
	qb_sleep_ns(50 * QB_NS_PER_MS);
}

START_TEST(poll_that_misses_its_notification_waits_for_the_tick_and_counts_it)
{
	struct qb_platlib_poller *p;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	qb_platlib_fixed.address_tick_ns = 150 * QB_NS_PER_MS;
	plat_open(&b, "miss", OPTIONS);
	struct qb_queue *q = consumer(&b);

	ck_ok(qb_platlib_prepare(b.w.db, &(struct qb_platlib_settings){ .adapter = QB_PLATLIB_LIBRARY }, &err), err);
	ck_ok(qb_platlib_poller_open(HERE, NULL, &p, &err), err);
	ck_assert_int_eq(enqueue_at(&b, 1, "a", 0), QB_OK);
	start(&b, q, 0, &job);
	hook_bench = &b;
	hook_queue = q;
	hook_job = &job;
	qb_platlib_fixed.at = end_in_the_gap;
	ck_assert_int_eq(qb_platlib_poll_address(p, "a", qb_now_ns() + 20 * QB_NS_PER_S, NULL, &err), QB_PLATLIB_DONE);
	ck_assert_uint_eq(qb_platlib_poller_misses(p), 1);
	/* Nothing to wait for: no tick, and no miss. */
	ck_assert_int_eq(qb_platlib_poll_address(p, "a", qb_now_ns() + 20 * QB_NS_PER_S, NULL, &err), QB_PLATLIB_DONE);
	ck_assert_uint_eq(qb_platlib_poller_misses(p), 1);
	qb_platlib_poller_close(p);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(poll_ends_with_its_notification_and_with_no_other)
{
	struct qb_platlib_failure f;
	struct qb_platlib_poller *p;
	struct qb_err err = { 0 };
	struct bench b;
	struct child c;
	int tell;

	qb_platlib_fixed.address_tick_ns = 3600 * QB_NS_PER_S;
	plat_open(&b, "polled", OPTIONS);
	ck_assert_int_eq(enqueue_at(&b, 1, "a", 2), QB_OK);
	ck_assert_int_eq(enqueue_at(&b, 2, "b", 0), QB_OK);
	ck_ok(qb_platlib_poller_open(HERE, NULL, &p, &err), err);
	ck_assert_int_eq(qb_platlib_poll_address(p, "a", qb_now_ns() + 50 * QB_NS_PER_MS, NULL, &err), QB_PLATLIB_NOT_YET);
	uint32_t seat = sit(&b.w.seg, QB_ROLE_WORKER);

	if (spawn(&b, &c, &tell, seat)) {
		struct qb_queue *mine = consumer_at(&b, seat);
		struct qb_queue_job job;
		PGconn *conn = sql_connect(HERE);

		qb_platlib_prepare(conn, &(struct qb_platlib_settings){ .adapter = QB_PLATLIB_LIBRARY }, &err);
		start(&b, mine, 0, &job);
		fail_it(&b, mine, &job, 1, 0);
		/* Again and again: nobody knows when the other one has subscribed. */
		for (;;) {
			qb_platlib_notify_complete(conn, "a", &err);
			qb_sleep_ns(50 * QB_NS_PER_MS);
		}
	}
	ck_assert_int_eq(qb_platlib_poll_address(p, "a", qb_now_ns() + 20 * QB_NS_PER_S, &f, &err), QB_PLATLIB_FAILED);
	ck_assert_str_eq(f.message, "transient");
	ck_assert_uint_eq(qb_platlib_poller_misses(p), 0);
	/* That "a" is complete ends no wait for "b". */
	ck_assert_int_eq(qb_platlib_poll_address(p, "b", qb_now_ns() + 200 * QB_NS_PER_MS, NULL, &err), QB_PLATLIB_NOT_YET);
	kill_child(&b, &c);
	qb_platlib_poller_close(p);
	bench_close(&b);
}
END_TEST

/* ---- groups ---- */

static const char job_text[] = "{\"work_id\":9,\"tenant_id\":\"00000000-0000-4000-8000-000000000001\",\"kind\":\"kind-2\","
			       "\"attempt\":1,\"payload\":{\"work_millis\":1,\"bytes\":null}}";

static void group_with_one(struct bench *b, const char *name, int64_t *id)
{
	struct qb_err err = { 0 };

	ck_ok(qb_platlib_group_new(b->w.db, name, id, &err), err);
	ck_ok(qb_platlib_group_push(b->w.db, *id, qb_platlib_type(2), job_text, &err), err);
}

/* A child that runs one job of the group runner. */
static void spawn_runner(struct bench *b, struct child *c)
{
	enum qb_platlib_group_flag flag;
	struct qb_err err = { 0 };
	int64_t id;
	int tell;

	if (!spawn(b, c, &tell, sit(&b->w.seg, QB_ROLE_WORKER)))
		return;
	PGconn *conn = sql_connect(HERE);

	_exit(qb_platlib_group_run(conn, qb_now_ns() + 20 * QB_NS_PER_S, &flag, &id, &err) == 1 ? 0 : 1);
}

static void runs_one(struct bench *b, enum qb_platlib_group_flag want, int64_t want_id)
{
	enum qb_platlib_group_flag flag;
	struct qb_err err = { 0 };
	int64_t id;

	ck_assert_int_eq(qb_platlib_group_run(b->w.db, qb_now_ns() + 20 * QB_NS_PER_S, &flag, &id, &err), 1);
	ck_assert_int_eq(flag, want);
	ck_assert_int_eq(id, want_id);
}

START_TEST(rows_of_a_group_wait_for_its_start_and_its_end_follows_the_last)
{
	enum qb_platlib_group_flag flag;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct child c;
	struct bench b;
	int64_t id, other;

	qb_platlib_fixed.group_poll_ns = 20 * QB_NS_PER_MS;
	plat_open(&b, "group", OPTIONS);
	struct qb_queue *q = consumer(&b);

	ck_ok(qb_platlib_group_new(b.w.db, "other", &other, &err), err);
	group_with_one(&b, "one", &id);
	get_nothing(&b, q, &job);
	/* Nor does it hold up what is in no group. */
	enqueue(&b, 1, 3);
	get(&b, q, &job);
	ck_assert_uint_eq(job.job_id, 1);
	end(&b, q, &job);
	ck_assert_int_eq(qb_platlib_group_run(b.w.db, 0, &flag, &id, &err), 0);
	ck_ok(qb_platlib_group_push_job(b.w.db, id, QB_PLATLIB_GROUP_START, &err), err);
	spawn_runner(&b, &c);
	get(&b, q, &job);
	ck_assert_uint_eq(job.job_id, 9);
	/* It runs: no end yet. */
	ck_assert_int_eq(qb_platlib_group_run(b.w.db, 0, &flag, &other, &err), 0);
	end(&b, q, &job);
	ck_assert_int_eq(reap(c.pid, 20), 0);
	runs_one(&b, QB_PLATLIB_GROUP_END, id);
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	ck_assert_int_eq(count_rows(&b, PERMITS), 0);
	/* It is gone, and its name is free. */
	ck_assert_int_eq(count_rows(&b, "select count(*) from qbench_platlib.queue_group"), 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(cancelled_group_is_cleared_and_aborted)
{
	struct qb_err err = { 0 };
	struct child c;
	struct bench b;
	int64_t id;

	qb_platlib_fixed.group_poll_ns = 20 * QB_NS_PER_MS;
	plat_open(&b, "cancel", OPTIONS);
	group_with_one(&b, "one", &id);
	ck_ok(qb_platlib_group_push_job(b.w.db, id, QB_PLATLIB_GROUP_START, &err), err);
	spawn_runner(&b, &c);
	ck_until(count_rows(&b, "select count(*) from qbench_platlib.queue_group where started") == 1, 10);
	ck_ok(qb_platlib_group_push_job(b.w.db, id, QB_PLATLIB_GROUP_CANCEL, &err), err);
	runs_one(&b, QB_PLATLIB_GROUP_CANCEL, id);
	ck_assert_int_eq(reap(c.pid, 20), 0);
	runs_one(&b, QB_PLATLIB_GROUP_ABORT, id);
	ck_assert_int_eq(count_rows(&b, ROWS), 0);
	bench_close(&b);
}
END_TEST

START_TEST(group_that_does_not_end_gives_its_start_back)
{
	enum qb_platlib_group_flag flag;
	struct qb_err err = { 0 };
	struct bench b;
	int64_t id, got;

	qb_platlib_fixed.group_poll_ns = 20 * QB_NS_PER_MS;
	plat_open(&b, "endless", OPTIONS);
	group_with_one(&b, "one", &id);
	ck_ok(qb_platlib_group_push_job(b.w.db, id, QB_PLATLIB_GROUP_START, &err), err);
	ck_assert_int_eq(qb_platlib_group_run(b.w.db, qb_now_ns() + 60 * QB_NS_PER_MS, &flag, &got, &err), QB_ETIMEOUT);
	ck_assert_int_eq(count_rows(&b, ROWS " where name = 'groups' and permit = 0"), 1);
	bench_close(&b);
}
END_TEST

/* ---- a job as JSON ---- */

START_TEST(item_reads_as_it_was_written_and_a_part_of_it_as_nothing)
{
	static const char want[] =
		"{\"work_id\":77,\"tenant_id\":\"00000000-0000-4000-8000-000000000bad\",\"kind\":\"kind-3\",\"attempt\":2,"
		"\"payload\":{\"work_millis\":12,\"bytes\":\"AAH/\",\"fail_with_error\":\"rate_limit\"}}";
	struct qb_platlib_item item = { .job_id = 77, .tenant = 0xbad, .kind = 3, .attempt = 2, .work_us = 12000, .error_class = 1,
					.max_attempts = 3, .payload = "\x00\x01\xff", .payload_bytes = 3 }, got;
	struct qb_strbuf text = { 0 };
	uint8_t *buf;

	qb_platlib_item_write(&item, &text);
	ck_assert_str_eq(text.data, want);
	for (uint32_t n = 0; n <= 3; n++) {
		qb_strbuf_clear(&text);
		item.payload_bytes = n;
		item.work_us = 12000 + n;
		item.max_attempts = (uint16_t)(n + 1);
		qb_platlib_item_write(&item, &text);
		ck_assert_int_eq(qb_platlib_item_read(text.data, text.bytes, &got, &buf), 0);
		ck_assert(got.job_id == 77 && got.tenant == 0xbad && got.kind == 3 && got.attempt == 2 && got.error_class == 1);
		ck_assert_uint_eq(got.work_us, 12000 + n);
		ck_assert_uint_eq(got.max_attempts, n + 1);
		ck_assert_uint_eq(got.payload_bytes, n);
		ck_assert(n == 0 || memcmp(got.payload, item.payload, n) == 0);
		free(buf);
	}
	/* In memory of its own size, so that a sanitizer sees a byte too much. */
	for (size_t n = 0; n + 2 < text.bytes; n++) {
		char *part = malloc(n + 1);

		memcpy(part, text.data, n);
		ck_assert_int_eq(qb_platlib_item_read(part, n, &got, &buf), QB_ECORRUPT);
		ck_assert_ptr_null(buf);
		free(part);
	}
	/* FNV-1a's own vectors. */
	ck_assert_int_eq(qb_platlib_type_of_name(""), (int64_t)0xcbf29ce484222325ull);
	ck_assert_int_eq(qb_platlib_type_of_name("a"), (int64_t)0xaf63dc4c8601ec8cull);
	ck_assert_int_eq(qb_platlib_type_of_name("foobar"), (int64_t)0x85944171f73967e8ull);
	qb_strbuf_free(&text);
}
END_TEST

START_TEST(notifications_have_the_members_of_the_library)
{
	char buf[QB_PLATLIB_NOTE_BYTES];
	struct qb_platlib_note note;
	struct qb_strbuf text = { 0 };

	ck_assert_str_eq(qb_platlib_note_ready(buf, 0), "{\"NotifyType\":1}");
	ck_has(qb_platlib_note_ready(buf, 1), "\",\"NotifyType\":1}");
	ck_assert_int_eq(strncmp(buf, "{\"NotifyGuid\":\"", 15), 0);
	ck_assert_uint_eq(strlen(buf), 15 + 36 + 17);
	qb_platlib_note_extend(buf, 12345678901234567ull);
	ck_assert_int_eq(strncmp(buf, "{\"PermitID\":12345678901234567,\"GuidVal\":\"", 41), 0);
	ck_has(buf, "\"MessageType\":4}");
	qb_platlib_note_read(buf, &note);
	ck_assert(note.type == QB_PLATLIB_PERMIT_EXTEND && note.permit == 12345678901234567ull);
	qb_platlib_note_complete(&text, "a/b\"c");
	ck_has(text.data, "\"NotifyType\":2,\"Address\":\"a/b\\\"c\"}");
	qb_platlib_note_read(text.data, &note);
	ck_assert_uint_eq(note.type, QB_PLATLIB_WORK_COMPLETE);
	ck_assert_str_eq(note.address, "a/b\"c");
	static const char *const strange[] = { "", "{", "[]", "{}", "{\"NotifyType\":\"x\"}", "{\"NotifyType\"", "hello",
					       "{\"MessageType\":4}", "{\"NotifyType\":99999999999999999999}" };

	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		qb_platlib_note_read(strange[i], &note);
		ck_assert_uint_eq(note.type, 0);
	}
	qb_strbuf_free(&text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("platlib-address");
	TCase *tc = tcase_create("platlib-address");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, address_is_unique_while_its_job_is_queued_or_runs_and_no_longer);
	tcase_add_loop_test(tc, retry_by_push_gives_up_the_address_and_a_durable_one_keeps_it, 0, 2);
	tcase_add_test(tc, failure_is_recorded_told_while_a_new_run_is_queued_and_cleared_by_its_end);
	tcase_add_test(tc, recorded_failure_is_replaced_and_keeps_its_text);
	tcase_add_test(tc, poll_that_misses_its_notification_waits_for_the_tick_and_counts_it);
	tcase_add_test(tc, poll_ends_with_its_notification_and_with_no_other);
	tcase_add_test(tc, rows_of_a_group_wait_for_its_start_and_its_end_follows_the_last);
	tcase_add_test(tc, cancelled_group_is_cleared_and_aborted);
	tcase_add_test(tc, group_that_does_not_end_gives_its_start_back);
	tcase_add_test(tc, item_reads_as_it_was_written_and_a_part_of_it_as_nothing);
	tcase_add_test(tc, notifications_have_the_members_of_the_library);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
