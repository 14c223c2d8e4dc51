/* SPDX-License-Identifier: Apache-2.0 */
/* River's tables, its insert path and its fetch path. */
#include "shm/crc.h"
#include "tests/pg/riverbench.h"

char *pgtest_base;

/* ---- tables ---- */

static int set_up(struct bench *b, struct qb_err *err)
{
	memset(err, 0, sizeof(*err));
	return b->ops->setup(&b->env, err);
}

START_TEST(tables_are_those_of_rivers_last_migration)
{
	static const char *const indexes[] = {
		"river_job_pkey", "river_job_kind", "river_job_state_and_finalized_at_index",
		"river_job_prioritized_fetching_index", "river_job_args_index", "river_job_metadata_index",
		"river_job_unique_idx",
	};
	struct bench b;

	river_open(&b, "tables", NULL, 1);
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(*) from qbench_river.river_migration where line = 'main'"
				    " and version between 1 and 7"), 7);
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(*) from pg_indexes where tablename = 'river_job'"), 7);
	for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
		char *text = qb_xasprintf("select count(*) from pg_indexes where schemaname = 'qbench_river'"
					  " and indexname = '%s'", indexes[i]);

		ck_assert_msg(pgtest_i64(b.w.db, text) == 1, "no index %s", indexes[i]);
		free(text);
	}
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(*) from pg_class where relname = 'river_leader'"
				    " and relpersistence = 'u'"), 1);
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(*) from pg_trigger where not tgisinternal"
				    " and tgrelid = 'qbench_river.river_job'::regclass"), 0);
	/* Bit 0 is the leftmost, and 245 leaves out cancelled, discarded. */
	ck_assert_int_eq(pgtest_i64(b.w.db, "select sum((1 << (8 - ord)::int) *"
				    " qbench_river.river_job_state_in_bitmask(245::bit(8), s::qbench_river.river_job_state)::int)"
				    " from unnest(array['scheduled', 'running', 'retryable', 'pending', 'discarded',"
				    " 'completed', 'cancelled', 'available']) with ordinality as t (s, ord)"), 245);
	/* finalized_at goes with the three final states, in both directions. */
	ck_assert_int_lt(qb_pg_exec(b.w.db, "insert into " JOBS " (kind, args, state) values ('k', '{}', 'completed')", NULL), 0);
	ck_assert_int_lt(qb_pg_exec(b.w.db, "insert into " JOBS " (kind, args, finalized_at) values ('k', '{}', now())", NULL), 0);
	bench_close(&b);
}
END_TEST

START_TEST(tables_that_river_made_are_kept_and_only_our_queue_is_emptied)
{
	struct bench b;
	struct qb_err err;

	river_open(&b, "kept", NULL, 1);
	enqueue(&b, 1, 3);
	ck_assert_int_eq(set_up(&b, &err), 0);
	ck_assert_int_eq(rows(&b, "true"), 0);
	/* Those tables are gone. */
	b.ops->close(b.driver);
	ck_ok(b.ops->open(&b.env, &b.driver, &err), err);
	/* Without our mark on the schema it is somebody else's. */
	pgtest_exec(b.w.db, "comment on schema qbench_river is null");
	enqueue(&b, 1, 3);
	add_row(&b, 2, "queue", "'another'");
	ck_assert_int_eq(set_up(&b, &err), 0);
	ck_assert_int_eq(rows(&b, "true"), 1);
	ck_assert_int_eq(rows(&b, "queue = 'another'"), 1);
	/* Newer than we know: accepted. */
	pgtest_exec(b.w.db, "insert into qbench_river.river_migration values ('main', 8), ('main', 12), ('pro', 99)");
	ck_ok(set_up(&b, &err), err);
	ck_assert_int_eq(rows(&b, "queue = 'another'"), 1);
	/* Without bookkeeping: by what the tables have. */
	pgtest_exec(b.w.db, "alter table qbench_river.river_migration rename to moved");
	ck_ok(set_up(&b, &err), err);
	pgtest_exec(b.w.db, "alter table qbench_river.moved rename to river_migration;"
		    " delete from qbench_river.river_migration where line = 'main' and version > 5");
	ck_assert_int_eq(set_up(&b, &err), QB_EVERSION);
	ck_has(err.text, "at migration 5");
	ck_has(err.text, "migrate-up");
	pgtest_exec(b.w.db, "alter table qbench_river.river_migration drop column line cascade");
	ck_assert_int_eq(set_up(&b, &err), QB_EVERSION);
	ck_assert_int_eq(rows(&b, "queue = 'another'"), 1);
	bench_close(&b);
}
END_TEST

/* ---- insert ---- */

START_TEST(row_is_as_river_writes_it)
{
	struct bench b;

	river_open(&b, "row", NULL, 1);
	enqueue(&b, 42, 3);
	ck_assert_int_eq(rows(&b, "state = 'available' and attempt = 0 and max_attempts = 3 and priority = 1 and queue = 'default'"
			      " and kind = 'benchmark.job' and metadata = '{}' and tags = '{}' and unique_key is null"
			      " and unique_states is null and errors is null and attempted_by is null"
			      " and scheduled_at = created_at and finalized_at is null"
			      " and abs(extract(epoch from now() - created_at)) < 60"), 1);
	ck_assert_int_eq(rows(&b, "args = '{\"tenant_id\": \"tenant-9\", \"kind\": \"kind-2\", \"payload\": {\"work_millis\": 1,"
			      " \"bytes\": \"cGF5bG9hZA==\", \"fail_with_error\": \"rate_limit\"}, \"job_id\": 42,"
			      " \"work_us\": 1500}'"), 1);
	bench_close(&b);
}
END_TEST

struct heard {
	unsigned count;
	bool mark;
	char text[512];
};

static void on_heard(void *opaque, const char *channel, const char *payload)
{
	struct heard *h = opaque;
	size_t used = strlen(h->text);

	if (strcmp(channel, "mark") == 0) {
		h->mark = true;
		return;
	}
	h->count++;
	snprintf(h->text + used, sizeof(h->text) - used, "%s %s;", channel, payload);
}

/* Everything that was sent since the last time: a mark of our own comes behind it. */
static struct heard hear(PGconn *db)
{
	struct heard h = { .mark = false };
	struct qb_err err = { 0 };

	pgtest_exec(db, "notify mark");
	while (!h.mark)
		ck_assert_int_gt(qb_river_wait(db, qb_now_ns() + 10 * QB_NS_PER_S, -1, on_heard, &h, &err), 0);
	return h;
}

START_TEST(notification_goes_with_the_insert_and_once_per_cooldown_for_all_handles)
{
	struct qb_queue *other, *first;
	struct qb_err err = { 0 };
	struct bench b;

	river_open(&b, "notify", ONCE, 1);
	pgtest_exec(b.w.db, "listen \"qbench_river.river_insert\"; listen mark");
	ck_ok(b.ops->open(&b.env, &other, &err), err);
	first = b.driver;
	enqueue(&b, 1, 3);
	enqueue(&b, 2, 3);
	b.driver = other;
	enqueue(&b, 3, 3);
	b.driver = first;
	ck_assert_uint_eq(hear(b.w.db).count, 1);
	/* A new run is a new client. */
	ck_ok(b.ops->setup(&b.env, &err), err);
	b.ops->close(b.driver);
	ck_ok(b.ops->open(&b.env, &b.driver, &err), err);
	enqueue(&b, 1, 3);
	ck_assert_uint_eq(hear(b.w.db).count, 1);
	b.ops->close(other);
	bench_close(&b);
}
END_TEST

START_TEST(batch_is_one_statement_and_a_notification_for_each_queue_with_available_rows)
{
	struct qb_river_limiter limiter = QB_RIVER_LIMITER_INIT;
	struct qb_river_inserter *in;
	uint8_t key[32] = { 7 };
	struct qb_river_row r[7] = {
		{ .args = "{\"n\":0}", .max_attempts = 25, .tags = "a,b" },
		{ .args = "{\"n\":1}", .max_attempts = 25, .priority = 4 },
		{ .args = "{\"n\":2}", .max_attempts = 25, .queue = "other", .metadata = "{\"m\": 1}" },
		{ .args = "{\"n\":3}", .max_attempts = 25, .queue = "later", .scheduled_wall_ns = 1000000000ull * 1000 },
		{ .args = "{\"n\":4}", .max_attempts = 25, .queue = "pends", .pending = true },
		{ .args = "{\"n\":5}", .max_attempts = 25, .unique_key = key, .unique_states = 245 },
		{ .args = "{\"n\":6}", .max_attempts = 25, .unique_key = key, .unique_states = 245 },
	};
	struct qb_err err = { 0 };
	struct heard h;
	struct bench b;
	PGconn *db;

	limiter.wait_ns = 3600 * QB_NS_PER_S;
	river_open(&b, "batch", NULL, 1);
	db = sql_connect(HERE);
	pgtest_exec(b.w.db, "listen \"qbench_river.river_insert\"; listen mark");
	ck_ok(qb_river_inserter_open(db, "qbench_river", &limiter, &in, &err), err);
	/* Twice the same key in one statement is refused by the server, and nothing of it stays. */
	ck_assert_int_lt(qb_river_insert(in, r, 7, &err), 0);
	ck_assert_str_eq(qb_pg_sqlstate(), "21000");
	ck_assert_int_eq(rows(&b, "true"), 0);
	ck_ok(qb_river_insert(in, r, 6, &err), err);
	for (int i = 0; i < 6; i++) {
		char *same = qb_xasprintf("id = %lld and args = '{\"n\": %d}'", (long long)r[i].id, i);

		ck_assert_int_eq(rows(&b, same), 1);
		ck_assert(!r[i].duplicate);
		free(same);
	}
	ck_assert_int_eq(rows(&b, "tags = '{a,b}' and state = 'available'"), 1);
	ck_assert_int_eq(rows(&b, "priority = 4"), 1);
	ck_assert_int_eq(rows(&b, "metadata = '{\"m\": 1}'"), 1);
	/* A time in the past is a time. */
	ck_assert_int_eq(rows(&b, "state = 'scheduled' and scheduled_at = to_timestamp(1000)"), 1);
	ck_assert_int_eq(rows(&b, "state = 'pending'"), 1);
	ck_assert_int_eq(rows(&b, "unique_states = 245::bit(8) and length(unique_key) = 32"), 1);
	/* The duplicate returns the row that is there, and changes nothing of it. */
	ck_ok(qb_river_insert(in, r + 6, 1, &err), err);
	ck_assert(r[6].duplicate);
	ck_assert_int_eq(r[6].id, r[5].id);
	ck_assert_int_eq(rows(&b, "unique_key is not null and args = '{\"n\": 5}'"), 1);
	h = hear(b.w.db);
	ck_assert_str_eq(h.text, "qbench_river.river_insert {\"queue\": \"default\"};"
			 "qbench_river.river_insert {\"queue\": \"other\"};");
	qb_river_inserter_close(in);
	PQfinish(db);
	bench_close(&b);
}
END_TEST

START_TEST(unique_job_is_refused_while_its_key_is_taken)
{
	static const char *const blocks[] = { "available", "scheduled", "retryable", "pending", "running", "completed" };
	struct qb_submit what = { .job_id = 1, .max_attempts = 3, .work_us = 5000 };
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	struct bench b;

	river_open(&b, "unique", NULL, 1);
	ck_assert_int_eq(b.ops->enqueue_unique(b.driver, &what, "k1", &ticket, &err), QB_OK);
	/* &kind=benchmark.job&args={"key":"k1"} */
	ck_assert_int_eq(rows(&b, "unique_key = sha256('&kind=benchmark.job&args={\"key\":\"k1\"}')"), 1);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		char *set = qb_xasprintf("update " JOBS " set state = '%s', finalized_at = %s", blocks[i],
					 i == 5 ? "now()" : "null");

		pgtest_exec(b.w.db, set);
		free(set);
		what.job_id = 2;
		what.work_us = 9000;
		ck_assert_int_eq(b.ops->enqueue_unique(b.driver, &what, "k1", &ticket, &err), QB_DUPLICATE);
	}
	ck_assert_int_eq(rows(&b, "true"), 1);
	what.job_id = 3;
	ck_assert_int_eq(b.ops->enqueue_unique(b.driver, &what, "k2", &ticket, &err), QB_OK);
	pgtest_exec(b.w.db, "update " JOBS " set state = 'discarded', finalized_at = now()");
	ck_assert_int_eq(b.ops->enqueue_unique(b.driver, &what, "k1", &ticket, &err), QB_OK);
	bench_close(&b);
}
END_TEST

/* ---- fetch ---- */

START_TEST(job_comes_out_as_it_went_in)
{
	static uint8_t large[QB_PAYLOAD_BYTES_MAX];
	static const uint32_t sizes[] = { 0, 1, 256, sizeof(large) };
	struct qb_queue_ticket ticket;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 31 + i / 256);
	river_open(&b, "once", SOON, 1);
	for (uint64_t n = 0; n < 4; n++)
		ck_ok(try_enqueue(&b, n + 1, sizes[n] ? large : NULL, sizes[n], 3, &ticket, &err), err);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 4);
	struct qb_river_worker *w = river_worker(&b);

	for (uint64_t n = 0; n < 4; n++) {
		river_start(w, 0, &job);
		ck_assert_uint_eq(job.job_id, n + 1);
		ck_assert_uint_eq(job.work_us, 1500);
		ck_assert_uint_eq(job.tenant, 9);
		ck_assert_uint_eq(job.kind, 2);
		ck_assert_uint_eq(job.error_class, 1);
		ck_assert_uint_eq(job.attempt, 1);
		ck_assert_uint_eq(job.failures, 0);
		ck_assert_uint_eq(job.max_attempts, 3);
		ck_assert_uint_eq(job.payload_bytes, sizes[n]);
		ck_assert_uint_eq(job.payload_crc, qb_crc32c(0, large, sizes[n]));
		ck_assert_int_eq(river_complete(w, &job), 0);
	}
	qb_river_worker_close(w);
	ask(&b, &t);
	for (unsigned id = 1; id <= 4; id++) {
		ck_assert_uint_eq(t.times[id], 1);
		ck_assert_uint_eq(t.outcome[id], QB_OUTCOME_COMPLETED);
		ck_assert_uint_eq(t.attempt[id], 1);
	}
	bench_close(&b);
}
END_TEST

START_TEST(order_is_priority_then_time_then_id)
{
	static const uint64_t want[] = { 4, 3, 2, 5, 1 };
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "order", SOON, 1);
	add_row(&b, 1, "priority", "2");
	add_row(&b, 2, "scheduled_at", "'2001-01-01'");
	add_row(&b, 3, "scheduled_at", "'2000-01-01'");
	add_row(&b, 4, "scheduled_at", "'1999-01-01'");
	add_row(&b, 5, "scheduled_at", "'2001-01-01'");
	/* Not these. */
	add_row(&b, 6, "scheduled_at", "now() + interval '1 hour'");
	add_row(&b, 7, "state, scheduled_at", "'scheduled', '1999-01-01'");
	add_row(&b, 8, "queue", "'another'");
	add_row(&b, 9, "state", "'pending'");
	struct qb_river_worker *w = river_worker(&b);

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		river_start(w, 0, &job);
		ck_assert_uint_eq(job.job_id, want[i]);
		ck_assert_int_eq(river_complete(w, &job), 0);
	}
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 20), QB_EMPTY);
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "state = 'completed'"), 5);
	bench_close(&b);
}
END_TEST

START_TEST(fetch_takes_as_many_as_there_are_slots_and_leaves_the_rest)
{
	struct qb_queue_job job[4];
	struct qb_err err = { 0 };
	struct bench b;

	river_open(&b, "limit", ONCE, 4);
	for (uint64_t id = 1; id <= 10; id++)
		enqueue(&b, id, 3);
	struct qb_river_worker *w = river_worker(&b);

	ck_assert_int_eq(qb_river_worker_claim(w, 0, &job[0], &err), QB_OK);
	ck_assert_int_eq(rows(&b, "state = 'running' and attempt = 1 and attempted_at is not null"
			      " and array_length(attempted_by, 1) = 1"), 4);
	for (unsigned lane = 1; lane < 4; lane++)
		ck_assert_int_eq(qb_river_worker_claim(w, lane, &job[lane], &err), QB_OK);
	/* A slot is free, but the cooldown runs. */
	ck_assert_int_eq(river_complete(w, &job[2]), 0);
	ck_assert_int_eq(river_claim(w, 2, &job[2], QB_NS_PER_S / 20), QB_EMPTY);
	ck_assert_int_eq(rows(&b, "attempt > 0"), 4);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(free_slot_fetches_again_when_the_last_fetch_was_full)
{
	struct qb_queue_job job;
	struct bench b;

	/* No poll and no notification: the slots alone keep it going. */
	river_open(&b, "slots", "fetch-cooldown=10ms:fetch-poll-interval=1h", 2);
	for (uint64_t id = 1; id <= 5; id++)
		add_row(&b, id, "", "");
	struct qb_river_worker *w = river_worker(&b);

	for (unsigned n = 0; n < 5; n++) {
		river_start(w, n % 2, &job);
		ck_assert_int_eq(river_complete(w, &job), 0);
	}
	/* Fewer than were asked for: nothing drives the next fetch. */
	add_row(&b, 6, "", "");
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 5), QB_EMPTY);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(time_to_fetch_that_finds_no_slot_is_made_good)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	river_open(&b, "busy", "fetch-cooldown=10ms:fetch-poll-interval=1h", 1);
	struct qb_river_worker *w = river_worker(&b);

	ck_assert_int_eq(qb_river_worker_claim(w, 0, &job, &err), QB_EMPTY);
	enqueue(&b, 1, 3);
	river_start(w, 0, &job);
	/* Notified while the one slot is busy (the limiter of 10 ms has long let it pass). */
	qb_sleep_ns(20 * QB_NS_PER_MS);
	enqueue(&b, 2, 3);
	for (uint64_t until = qb_now_ns() + QB_NS_PER_S / 10; qb_now_ns() < until;)
		ck_ok(qb_river_worker_wait(w, until, 0, &err), err);
	ck_assert_int_eq(river_complete(w, &job), 0);
	river_start(w, 0, &job);
	ck_assert_uint_eq(job.job_id, 2);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(notification_wakes_and_a_lost_one_is_made_good_by_the_poll)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "wake", "fetch-cooldown=1ms:fetch-poll-interval=1h", 1);
	struct qb_river_worker *w = river_worker(&b);

	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 20), QB_EMPTY);
	enqueue(&b, 1, 3);
	river_start(w, 0, &job);
	ck_assert_int_eq(river_complete(w, &job), 0);
	/* The fetch that this job's slot asked for, and then no other. */
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 20), QB_EMPTY);
	/* For another queue, and no JSON at all. */
	add_row(&b, 2, "", "");
	pgtest_exec(b.w.db, "notify \"qbench_river.river_insert\", '{\"queue\": \"another\"}';"
		    " notify \"qbench_river.river_insert\", '{\"queue\": \"default\"';"
		    " notify \"qbench_river.river_insert\", ''");
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 10), QB_EMPTY);
	qb_river_worker_close(w);
	b.env.options = "fetch-cooldown=1ms:fetch-poll-interval=50ms";
	w = river_worker(&b);
	river_start(w, 0, &job);
	ck_assert_int_eq(river_complete(w, &job), 0);
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 20), QB_EMPTY);
	add_row(&b, 3, "", "");
	river_start(w, 0, &job);
	ck_assert_uint_eq(job.job_id, 3);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(attempted_by_remembers_the_last_hundred)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "by", SOON, 1);
	add_row(&b, 1, "attempted_by", "(select array_agg('c' || n order by n) from generate_series(1, 100) n)");
	add_row(&b, 2, "attempted_by", "array['c1']");
	struct qb_river_worker *w = river_worker(&b);

	for (unsigned n = 0; n < 2; n++) {
		river_start(w, 0, &job);
		ck_assert_int_eq(river_complete(w, &job), 0);
	}
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "array_length(attempted_by, 1) = 100 and attempted_by[1] = 'c2'"
			      " and attempted_by[99] = 'c100' and attempted_by[100] ~ '_[0-9]{4}_'"), 1);
	ck_assert_int_eq(rows(&b, "array_length(attempted_by, 1) = 2 and attempted_by[1] = 'c1'"), 1);
	bench_close(&b);
}
END_TEST

START_TEST(paused_queue_is_not_fetched_until_it_is_resumed)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "pause", SOON, 1);
	pgtest_exec(b.w.db, "insert into qbench_river.river_queue (name, paused_at, created_at, updated_at)"
		    " values ('default', now(), '2000-01-01', '2000-01-01')");
	enqueue(&b, 1, 3);
	enqueue(&b, 2, 3);
	struct qb_river_worker *w = river_worker(&b);

	/* Its row says that somebody works on it. */
	ck_assert_int_eq(pgtest_i64(b.w.db, "select count(*) from qbench_river.river_queue where created_at = '2000-01-01'"
				    " and updated_at > now() - interval '1 minute' and paused_at is not null"), 1);
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 10), QB_EMPTY);
	qb_river_set_paused(qb_river_worker_control(w), "default", false);
	river_start(w, 0, &job);
	qb_river_set_paused(qb_river_worker_control(w), "*", true);
	ck_assert_int_eq(river_complete(w, &job), 0);
	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 10), QB_EMPTY);
	qb_river_worker_close(w);
	bench_close(&b);
}
END_TEST

START_TEST(worker_whose_connections_are_cut_goes_on)
{
	struct qb_queue_job job;
	struct bench b;

	river_open(&b, "cut", SOON, 1);
	struct qb_river_worker *w = river_worker(&b);

	ck_assert_int_eq(river_claim(w, 0, &job, QB_NS_PER_S / 20), QB_EMPTY);
	enqueue(&b, 1, 3);
	river_start(w, 0, &job);
	pgtest_exec(b.w.db, "select pg_terminate_backend(pid) from pg_stat_activity"
		    " where application_name in ('qbench worker', 'qbench listener', 'qbench completer')");
	/* It has the job and its result, whatever became of the connections. */
	ck_assert_int_eq(river_complete(w, &job), 0);
	enqueue(&b, 2, 3);
	river_start(w, 0, &job);
	ck_assert_uint_eq(job.job_id, 2);
	ck_assert_int_eq(river_complete(w, &job), 0);
	qb_river_worker_close(w);
	ck_assert_int_eq(rows(&b, "state = 'completed'"), 2);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river");
	TCase *tc = tcase_create("river");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, tables_are_those_of_rivers_last_migration);
	tcase_add_test(tc, tables_that_river_made_are_kept_and_only_our_queue_is_emptied);
	tcase_add_test(tc, row_is_as_river_writes_it);
	tcase_add_test(tc, notification_goes_with_the_insert_and_once_per_cooldown_for_all_handles);
	tcase_add_test(tc, batch_is_one_statement_and_a_notification_for_each_queue_with_available_rows);
	tcase_add_test(tc, unique_job_is_refused_while_its_key_is_taken);
	tcase_add_test(tc, job_comes_out_as_it_went_in);
	tcase_add_test(tc, order_is_priority_then_time_then_id);
	tcase_add_test(tc, fetch_takes_as_many_as_there_are_slots_and_leaves_the_rest);
	tcase_add_test(tc, free_slot_fetches_again_when_the_last_fetch_was_full);
	tcase_add_test(tc, time_to_fetch_that_finds_no_slot_is_made_good);
	tcase_add_test(tc, notification_wakes_and_a_lost_one_is_made_good_by_the_poll);
	tcase_add_test(tc, attempted_by_remembers_the_last_hundred);
	tcase_add_test(tc, paused_queue_is_not_fetched_until_it_is_resumed);
	tcase_add_test(tc, worker_whose_connections_are_cut_goes_on);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
