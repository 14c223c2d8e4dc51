/* SPDX-License-Identifier: Apache-2.0 */
/* What River's leader does for all: due jobs, stuck jobs, old rows, periodic jobs, indexes. */
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/pg/rivertest.h"

char *pgtest_base;

#define INSERT "insert into $S.river_job (kind, args, max_attempts, queue, state, "
#define STATES "select state from $S.river_job order by id"

/* ---- scheduler ---- */

/* Five seconds ahead, and a notification only for what is due by then: the rest is found by a poll. */
START_TEST(scheduler_looks_five_seconds_ahead)
{
	struct client k;
	struct river r;

	river_begin(&r, "ahead");
	r.u.schedule_ns = qb_river_upkeep_default.schedule_ns;
	river_sql(&r, INSERT "scheduled_at) values"
		  " ('x', '{}', 25, 'now', 'retryable', now() - interval '1 s'),"
		  " ('x', '{}', 25, 'now', 'scheduled', now() - interval '1 s'),"
		  " ('x', '{}', 25, 'soon', 'scheduled', now() + interval '3 s'),"
		  " ('x', '{}', 25, 'later', 'retryable', now() + interval '1 hour'),"
		  " ('x', '{}', 25, 'later', 'pending', now()),"
		  " ('x', '{}', 25, 'held', 'scheduled', now())");
	river_sql(&r, "create table $S.before as select id, scheduled_at from $S.river_job");
	PGconn *listener = river_listen(&r, "insert");

	client_init(&k, &r, "a");
	k.limiter.wait_ns = DAY;
	qb_river_limiter_take(&k.limiter, "held", qb_now_ns());
	client_lead_once(&k, &r, RIVER_SCHEDULER);
	char *payload = heard(listener, 1);

	ck_assert_str_eq(payload, "{\"queue\": \"now\"}");
	free(payload);
	heard_nothing(&r, listener, "insert");
	ck_river(&r, STATES, "available available available retryable pending available");
	ck_river(&r, "select count(*) from $S.river_job join $S.before using (id, scheduled_at)", "6");
	ck_river(&r, "select count(*) from $S.river_job where finalized_at is not null or attempt <> 0", "0");
	ck_assert_uint_eq(k.s.scheduled, 4);
	PQfinish(listener);
	river_end(&r);
}
END_TEST

/* States 213: not held while retryable. */
#define UNIQUE(key) "'\\x" key "', 213::bit(8))"

START_TEST(scheduler_discards_what_lost_its_unique_key)
{
	struct client k;
	struct river r;

	river_begin(&r, "conflict");
	river_sql(&r, INSERT "scheduled_at, attempted_at, finalized_at, unique_key, unique_states) values"
		  " ('running', '{}', 25, 'q', 'running', now(), now(), null, " UNIQUE("01") ","
		  " ('loses to it', '{}', 25, 'q', 'retryable', now(), now(), null, " UNIQUE("01") ","
		  " ('second', '{}', 25, 'q', 'retryable', now(), now(), null, " UNIQUE("02") ","
		  " ('first', '{}', 25, 'q', 'retryable', now() - interval '1 s', now(), null, " UNIQUE("02") ","
		  " ('alone', '{}', 25, 'q', 'retryable', now(), now(), null, " UNIQUE("03") ","
		  " ('cancelled', '{}', 25, 'q', 'cancelled', now(), now(), now(), " UNIQUE("04") ","
		  " ('free again', '{}', 25, 'q', 'retryable', now(), now(), null, " UNIQUE("04") ","
		  " ('no key', '{}', 25, 'q', 'retryable', now(), now(), null, null, null)");
	river_sql(&r, "update $S.river_job set metadata = '{\"mine\": 1}'");
	client_init(&k, &r, "a");
	client_lead_once(&k, &r, RIVER_SCHEDULER);
	ck_river(&r, STATES, "running discarded discarded available available cancelled available available");
	ck_river(&r, "select kind from $S.river_job where finalized_at is not null and metadata ="
		 " '{\"mine\": 1, \"unique_key_conflict\": \"scheduler_discarded\"}' order by id", "loses to it second");
	ck_river(&r, "select count(*) from $S.river_job where metadata = '{\"mine\": 1}'", "6");
	ck_assert_uint_eq(k.s.conflicts, 2);
	ck_assert_uint_eq(k.s.scheduled, 4);
	river_end(&r);
}
END_TEST

START_TEST(full_batch_is_followed_by_another)
{
	struct client k;
	struct river r;

	river_begin(&r, "batches");
	r.u.batch = 2;
	river_sql(&r, INSERT "scheduled_at) select 'x', '{}', 25, 'q', 'retryable', now() from generate_series(1, 5)");
	client_init(&k, &r, "a");
	client_lead_once(&k, &r, RIVER_SCHEDULER);
	ck_assert_uint_eq(k.s.scheduled, 5);
	river_sql(&r, "update $S.river_job set state = 'running', attempted_at = now() - interval '1 day'");
	client_lead_once(&k, &r, RIVER_RESCUER);
	ck_assert_uint_eq(k.s.rescued[1], 5);
	ck_river(&r, "select count(*) from $S.river_job where state = 'discarded' and array_length(errors, 1) = 1", "5");
	river_sql(&r, "update $S.river_job set finalized_at = now() - interval '8 days'");
	client_lead_once(&k, &r, RIVER_JOB_CLEANER);
	ck_assert_uint_eq(k.s.jobs_deleted, 5);
	river_end(&r);
}
END_TEST

/* The scheduler alone runs into its time-out, again and again; the others go on as before. */
START_TEST(service_that_times_out_three_times_takes_smaller_batches)
{
	struct client k;
	struct river r;

	river_begin(&r, "breaker");
	r.u.timeout_ms = 400;
	r.u.schedule_ns = r.u.rescue_ns = 20 * QB_NS_PER_MS;
	r.u.batch = 3;
	r.u.batch_reduced = 1;
	river_sql(&r, INSERT "scheduled_at) values ('x', '{}', 25, 'q', 'scheduled', now())");
	river_sql(&r, "begin; select 1 from $S.river_job for update");
	client_init(&k, &r, "a");
	client_start(&k, &r);
	ck_until(look(&k)->reduced[RIVER_SCHEDULER], 20);
	ck_assert_uint_ge(k.s.errors, 3);
	ck_has(k.s.last_error, "57014");
	ck_assert_uint_eq(k.s.rounds[RIVER_SCHEDULER], 0);
	ck_until(look(&k)->rounds[RIVER_RESCUER] >= 3, 20);
	ck_assert(!k.s.reduced[RIVER_RESCUER]);
	river_sql(&r, "rollback");
	ck_until(look(&k)->scheduled == 1, 20);
	qb_river_leader_stop(k.l);
	river_end(&r);
}
END_TEST

/* ---- rescuer ---- */

#define STUCK INSERT "attempt, attempted_at, created_at, scheduled_at, metadata, errors) values "
#define ERR "array['{\"attempt\": 1}'::jsonb]"

START_TEST(rescuer_decides_as_river_does)
{
	struct client k;
	struct river r;

	river_begin(&r, "rescue");
	river_sql(&r, STUCK
		  "('known.kind', '{}', 25, 'retried', 'running', 1, now() - interval '2 h', now(), '2001-01-01', '{}',"
		  "  null),"
		  "('known.kind', '{}', 25, 'second', 'running', 2, now() - interval '2 h', now(), '2001-01-01',"
		  "  '{\"river:rescue_count\": 3, \"mine\": [1]}', " ERR "),"
		  "('known.kind', '{}', 25, 'not yet', 'running', 1, now() - interval '50 min', now() - interval '9 h',"
		  "  '2001-01-01', '{}', null),"
		  "('known.kind', '{}', 3, 'last', 'running', 3, now() - interval '2 h', now(), '2001-01-01', '{}',"
		  "  null),"
		  "('known.kind', '{}', 25, 'cancel', 'running', 1, now() - interval '2 h', now(), '2001-01-01',"
		  "  '{\"cancel_attempted_at\": \"2026-01-01T00:00:00Z\"}', null),"
		  "('other.kind', '{}', 25, 'unknown', 'running', 1, now() - interval '2 h', now(), '2001-01-01',"
		  "  '{\"river:rescue_count\": \"x\"}', null),"
		  "('other.kind', '{}', 25, 'both', 'running', 1, now() - interval '2 h', now(), '2001-01-01',"
		  "  '{\"cancel_attempted_at\": \"2026-01-01T00:00:00Z\"}', null),"
		  "('known.kind', '{}', 25, 'null', 'running', 1, now() - interval '2 h', now(), '2001-01-01',"
		  "  '{\"cancel_attempted_at\": null}', null),"
		  "('known.kind', '{}', 25, 'done', 'available', 1, now() - interval '2 h', now(), '2001-01-01', '{}',"
		  "  null)");
	client_init(&k, &r, "a");
	client_lead_once(&k, &r, RIVER_RESCUER);
	ck_river(&r, STATES, "retryable retryable running discarded cancelled discarded cancelled retryable available");
	ck_river(&r, "select attempt from $S.river_job order by id", "1 2 1 3 1 1 1 1 1");
	ck_river(&r, "select queue from $S.river_job where finalized_at is not null order by id",
		 "last cancel unknown both");
	/* n^4 of the recorded errors and this one, +-10 %, from the moment of the decision, which is in the error. */
	ck_river(&r, "select extract(epoch from scheduled_at - (errors[array_upper(errors, 1)] ->> 'at')::timestamptz)"
		 " between 0.9 and 1.1 from $S.river_job where queue = 'retried'", "t");
	ck_river(&r, "select extract(epoch from scheduled_at - (errors[array_upper(errors, 1)] ->> 'at')::timestamptz)"
		 " between 14.4 and 17.6 from $S.river_job where queue = 'second'", "t");
	ck_river(&r, "select queue from $S.river_job where scheduled_at = '2001-01-01' order by id",
		 "not yet last cancel unknown both done");
	ck_river(&r, "select coalesce(array_length(errors, 1), 0) from $S.river_job order by id", "1 2 0 1 1 1 1 1 0");
	ck_river(&r, "select (errors[2] ->> 'attempt') || (errors[2] ->> 'error') || '!' || (errors[2] ->> 'trace')"
		 " from $S.river_job where queue = 'second'", "2Stuck job rescued by JobRescuer!");
	ck_river(&r, "select metadata -> 'river:rescue_count' from $S.river_job order by id", "1 4 - 1 1 1 1 1 -");
	ck_river(&r, "select metadata -> 'mine' from $S.river_job where queue = 'second'", "[1]");
	river_end(&r);
}
END_TEST

START_TEST(lease_is_the_horizon_of_the_rescuer)
{
	struct client k;
	struct river r;

	river_begin(&r, "horizon");
	river_sql(&r, STUCK
		  "('known.kind', '{}', 25, 'q', 'running', 1, now() - interval '11 s', now(), now(), '{}', null),"
		  "('known.kind', '{}', 25, 'q', 'running', 1, now() + interval '1 s', now() - interval '1 h', now(),"
		  "  '{}', null)");
	client_init(&k, &r, "a");
	k.c.opt.lease_ns = 10 * QB_NS_PER_S;
	client_lead_once(&k, &r, RIVER_RESCUER);
	ck_river(&r, STATES, "retryable running");
	river_end(&r);
}
END_TEST

/*
 * The rescuer has selected and now waits for the row that its worker is just completing. By id alone (0) the job is
 * brought back from the dead; with the guard (1) it stays what it became.  Also when it became running again.
 */
START_TEST(maintenance_rescuer_stale_selection)
{
	static const char *const changes[] = {
		"update $S.river_job set state = 'completed', finalized_at = now()",
		"update $S.river_job set attempt = 2, attempted_at = now()",
	};
	static const char *const expected[2][2] = { { "retryable", "retryable" }, { "completed", "running" } };
	int guard = _i % 2, change = _i / 2;
	char schema[32];
	struct client k;
	struct river r;

	snprintf(schema, sizeof(schema), "stale_%d", _i);
	river_begin(&r, schema);
	river_sql(&r, STUCK
		  "('known.kind', '{}', 25, 'q', 'running', 1, now() - interval '2 h', now(), now(), '{}', null)");
	client_init(&k, &r, "a");
	k.c.opt.rescue = guard ? RIVER_RESCUE_FIXED : RIVER_RESCUE_LIBRARY;
	river_sql(&r, "begin");
	river_sql(&r, changes[change]);
	client_start(&k, &r);
	ck_until(blocked(&r, "qbench maintenance"), 10);
	river_sql(&r, "commit");
	ck_until(look(&k)->rounds[RIVER_RESCUER] == 1, 10);
	qb_river_leader_stop(k.l);
	ck_river(&r, STATES, expected[guard][change]);
	ck_river(&r, "select array_length(errors, 1) from $S.river_job", guard ? "-" : "1");
	river_end(&r);
}
END_TEST

/* ---- cleaners ---- */

START_TEST(cleaners_keep_rows_as_long_as_river)
{
	struct client k;
	struct river r;

	river_begin(&r, "clean");
	river_sql(&r, INSERT "finalized_at) values"
		  " ('x', '{}', 25, 'old', 'completed', now() - interval '25 h'),"
		  " ('x', '{}', 25, 'completed', 'completed', now() - interval '23 h'),"
		  " ('x', '{}', 25, 'old', 'cancelled', now() - interval '25 h'),"
		  " ('x', '{}', 25, 'cancelled', 'cancelled', now() - interval '23 h'),"
		  " ('x', '{}', 25, 'old', 'discarded', now() - interval '169 h'),"
		  " ('x', '{}', 25, 'discarded', 'discarded', now() - interval '167 h'),"
		  " ('x', '{}', 25, 'running', 'running', null)");
	river_sql(&r, "insert into $S.river_queue (name, created_at, updated_at) values"
		  " ('gone', now(), now() - interval '25 h'), ('kept', now() - interval '9 d', now() - interval '23 h')");
	client_init(&k, &r, "a");
	client_start(&k, &r);
	ck_until(look(&k)->rounds[RIVER_JOB_CLEANER] && k.s.rounds[RIVER_QUEUE_CLEANER], 10);
	qb_river_leader_stop(k.l);
	ck_river(&r, "select queue from $S.river_job order by id", "completed cancelled discarded running");
	ck_river(&r, "select name from $S.river_queue", "kept");
	ck_assert_uint_eq(k.s.jobs_deleted, 3);
	ck_assert_uint_eq(k.s.queues_deleted, 1);
	river_end(&r);
}
END_TEST

/* ---- periodic enqueuer ---- */

/* The second is meant for exactly one period after the first, however late it came. */
START_TEST(periodic_jobs_keep_their_schedule)
{
	const struct qb_river_periodic jobs[] = {
		{ .id = "often", .kind = "p", .args = "{\"a\":1}", .queue = "q", .every_ns = 300 * QB_NS_PER_MS,
		  .run_on_start = true },
		{ .kind = "never", .args = "{}", .queue = "q", .every_ns = DAY },
		{ .kind = "once", .args = "{}", .queue = "q2", .every_ns = DAY, .run_on_start = true },
	};
	struct client k;
	struct river r;

	river_begin(&r, "periodic");
	r.u.periodic = jobs;
	r.u.periodic_count = 3;
	PGconn *listener = river_listen(&r, "insert");

	client_init(&k, &r, "a");
	client_start(&k, &r);
	ck_until(look(&k)->enqueued >= 4, 20);
	ck_assert_msg(k.s.errors == 0, "%s", k.s.last_error);
	qb_river_leader_stop(k.l);
	ck_river(&r, "select distinct extract(epoch from scheduled_at - lag)::numeric(9, 6) from (select scheduled_at,"
		 " lag(scheduled_at) over (order by id) as lag from $S.river_job where kind = 'p') x where lag is not null",
		 "0.300000");
	ck_river(&r, "select distinct state || ' ' || queue || ' ' || max_attempts || ' ' || args::text || metadata::text"
		 " from $S.river_job where kind = 'p'",
		 "available q 25 {\"a\": 1}{\"periodic\": true, \"river:periodic_job_id\": \"often\"}");
	ck_river(&r, "select metadata from $S.river_job where kind not in ('p')", "{\"periodic\": true}");
	char *payload = heard(listener, 2);

	ck_assert_str_eq(payload, "{\"queue\": \"q\"} {\"queue\": \"q2\"}");
	free(payload);
	PQfinish(listener);
	river_end(&r);
}
END_TEST

/* ---- reindexer ---- */

/* An index with the artifact of a failed build beside it is left alone; one that is not River's, too. */
START_TEST(reindexer_rebuilds_rivers_indexes)
{
	struct client k;
	struct river r;

	river_begin(&r, "reindex");
	r.u.reindex_ns = 700 * QB_NS_PER_MS;
	river_sql(&r, "create index river_job_kind_ccnew on $S.river_job (kind)");
	river_sql(&r, "create index ours on $S.river_job (queue)");
	river_sql(&r, "create table $S.before as select relname, pg_relation_filenode(c.oid) as node from pg_class c"
		  " join pg_namespace n on n.oid = relnamespace where nspname = 'reindex' and relkind = 'i'");
	client_init(&k, &r, "a");
	client_start(&k, &r);
	ck_until(look(&k)->rounds[RIVER_REINDEXER] >= 1, 20);
	qb_river_leader_stop(k.l);
	ck_assert_msg(k.s.errors == 0, "%s", k.s.last_error);
	ck_assert_uint_ge(k.s.reindexed, 6);
	ck_river(&r, "select b.relname from $S.before b, pg_class c join pg_namespace n on n.oid = relnamespace"
		 " where nspname = 'reindex' and c.relname = b.relname and pg_relation_filenode(c.oid) <> b.node"
		 " and c.relname like 'river\\_job\\_%' or c.relname = 'ours' and c.relname = b.relname"
		 " and pg_relation_filenode(c.oid) <> b.node order by 1",
		 "river_job_args_index river_job_metadata_index river_job_pkey river_job_prioritized_fetching_index"
		 " river_job_state_and_finalized_at_index river_job_unique_idx");
	river_end(&r);
}
END_TEST

#define ARTIFACTS "select count(*) from pg_class where relname ~ '_ccnew$' and relnamespace = 'artifact'::regnamespace"

/* Cut off by the end of its term it cleans up: an artifact would keep all later rounds away. */
START_TEST(reindexer_that_is_stopped_leaves_no_artifact)
{
	struct client k;
	struct river r;

	river_begin(&r, "artifact");
	r.u.reindex_ns = 200 * QB_NS_PER_MS;
	/* A transaction that the build has to wait for. */
	PGconn *old = pgtest_connect(r.cluster);

	pgtest_exec(old, "begin; insert into artifact.river_job (kind, args, max_attempts) values ('x', '{}', 25)");
	client_init(&k, &r, "a");
	client_start(&k, &r);
	ck_until(blocked(&r, "qbench reindexer"), 20);
	ck_river(&r, ARTIFACTS, "1");
	/* The stop waits for the drop, and the drop for that transaction: it is over in a moment. */
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		qb_sleep_ns(200 * QB_NS_PER_MS);
		shutdown(PQsocket(old), SHUT_RDWR);
		_exit(0);
	}
	qb_river_leader_stop(k.l);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_river(&r, ARTIFACTS, "0");
	PQfinish(old);
	river_end(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-maintenance");
	TCase *tc = tcase_create("river-maintenance");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, scheduler_looks_five_seconds_ahead);
	tcase_add_test(tc, scheduler_discards_what_lost_its_unique_key);
	tcase_add_test(tc, full_batch_is_followed_by_another);
	tcase_add_test(tc, service_that_times_out_three_times_takes_smaller_batches);
	tcase_add_test(tc, rescuer_decides_as_river_does);
	tcase_add_test(tc, lease_is_the_horizon_of_the_rescuer);
	tcase_add_loop_test(tc, maintenance_rescuer_stale_selection, 0, 4);
	tcase_add_test(tc, cleaners_keep_rows_as_long_as_river);
	tcase_add_test(tc, periodic_jobs_keep_their_schedule);
	tcase_add_test(tc, reindexer_rebuilds_rivers_indexes);
	tcase_add_test(tc, reindexer_that_is_stopped_leaves_no_artifact);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
