/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "pgtx": the textbook queue. One table; a worker takes a row with FOR UPDATE SKIP LOCKED and keeps
 * the row lock in an open transaction while the job runs; completion marks the row and commits.
 *
 * When a worker is killed the server sees its socket close, rolls back, and the row is free
 * again: nothing to recover, no lease. The price: an idle transaction per running job, and a
 * table that cannot tell how often a job was begun, because the attempt rolls back as well.
 *
 * A unique key is a column with a unique index over the rows that are not finished: taken while its job is queued,
 * waits for a retry or runs, free once it is done or discarded. Who inserts the second row waits for the commit of
 * the first and is refused.
 *
 * A worker with one slot listens on the connection that it works on (notifications wait while a
 * transaction is open, and then nobody needs them); one with several has a connection for each lane
 * and one more to listen.
 */
#include "queue/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "shm/crc.h"
#include "sync/effect.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define CHANNEL "qbench_pgtx"

enum row_state { ROW_QUEUED = 0, ROW_DONE = 1, ROW_DISCARDED = 2 };

struct qb_queue {
	struct qb_queue_env env;
	unsigned lanes;
	PGconn **lane;          /* consumer: one per slot; producer: lane[0] */
	PGconn *listener;       /* lane[0] when there is one lane */
	int64_t run_no;         /* with cfg.ledger */
	int woken;              /* the last wait ended by a notification */
};

static const char setup_sql[] =
	"begin;"
	"drop schema if exists qbench_pgtx cascade;"
	"create schema qbench_pgtx;"
	"create table qbench_pgtx.job ("
	"  job_id bigint primary key, state smallint not null default 0, attempts int not null default 0,"
	"  failures int not null default 0, due_at timestamptz not null default now(),"
	"  tenant int not null, kind smallint not null, error_class smallint not null,"
	"  max_attempts smallint not null, work_us int not null, payload bytea not null, unique_key text)"
	"  with (fillfactor = 70);"
	"create index job_queued on qbench_pgtx.job (job_id) where state = 0;"
	"create unique index job_unique on qbench_pgtx.job (unique_key) where state = 0 and unique_key is not null;"
	"commit";

static const char enqueue_sql[] =
	"with new as (insert into qbench_pgtx.job (job_id, tenant, kind, error_class, max_attempts, work_us, payload)"
	" values ($1::bigint, $2::int, $3::int, $4::int, $5::int, $6::int, $7::bytea) returning 1)"
	" select pg_notify('" CHANNEL "', '') from new";

static const char enqueue_unique_sql[] =
	"with new as (insert into qbench_pgtx.job (job_id, tenant, kind, error_class, max_attempts, work_us, payload,"
	" unique_key) values ($1::bigint, $2::int, $3::int, $4::int, $5::int, $6::int, $7::bytea, $8::text)"
	" on conflict (unique_key) where state = 0 and unique_key is not null do nothing returning 1)"
	" select pg_notify('" CHANNEL "', '') from new";

static const char claim_sql[] =
	"select job_id, tenant, kind, error_class, max_attempts, work_us, payload, attempts, failures"
	" from qbench_pgtx.job where state = 0 and due_at <= now()"
	" order by job_id limit 1 for update skip locked";

static const char complete_sql[] =
	"update qbench_pgtx.job set state = 1, attempts = attempts + 1 where job_id = $1::bigint";

/* Not now(), which is when the job was claimed. */
static const char fail_sql[] =
	"update qbench_pgtx.job set state = $2::int, attempts = attempts + 1, failures = failures + 1,"
	" due_at = clock_timestamp() + $3::bigint * interval '1 microsecond' where job_id = $1::bigint";

static int run(PGconn *conn, const char *name, const struct qb_sql_args *a, PGresult **res, struct qb_err *err)
{
	return qb_pg_exec_prepared(conn, name, a->n, a->values, a->lengths, a->formats, 1, res, err);
}

static int pgtx_setup(const struct qb_queue_env *env, struct qb_err *err)
{
	PGconn *conn;
	int rc = qb_pg_connect(env->conninfo, "qbench setup", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_pg_exec(conn, setup_sql, err);
	/* The ledger is in the other schema, and its rows are of a run. */
	if (rc == 0 && env->seg->cfg.ledger) {
		rc = qb_schema_install(conn, err);
		if (rc == 0)
			rc = qb_schema_run_begin(conn, env->seg->hdr->run_id, NULL, 0, err);
		if (rc == 0)
			rc = qb_schema_prune(conn, env->seg->hdr->run_id, err);
	}
	PQfinish(conn);
	return rc < 0 ? qb_err_context(err, "could not create the table of pgtx") : 0;
}

static void pgtx_close(struct qb_queue *q)
{
	if (q->listener && (q->lanes == 0 || q->listener != q->lane[0]))
		PQfinish(q->listener);
	for (unsigned i = 0; q->lane && i < q->lanes; i++)
		PQfinish(q->lane[i]);
	free(q->lane);
	free(q);
}

static int open_lane(struct qb_queue *q, unsigned i, struct qb_err *err)
{
	int producer = q->env.role == QB_ROLE_DRIVER;
	int rc = qb_pg_connect(q->env.conninfo, producer ? "qbench driver" : "qbench worker", CONNECT_NS, &q->lane[i],
			       err);

	if (rc == 0 && producer)
		rc = qb_pg_prepare(q->lane[i], "enqueue", enqueue_sql, 0, NULL, err);
	if (rc == 0 && producer)
		return qb_pg_prepare(q->lane[i], "enqueue_unique", enqueue_unique_sql, 0, NULL, err);
	if (rc == 0)
		rc = qb_pg_prepare(q->lane[i], "claim", claim_sql, 0, NULL, err);
	if (rc == 0)
		rc = qb_pg_prepare(q->lane[i], "complete", complete_sql, 0, NULL, err);
	if (rc == 0)
		rc = qb_pg_prepare(q->lane[i], "fail", fail_sql, 0, NULL, err);
	if (rc == 0 && q->env.seg->cfg.ledger)
		rc = qb_schema_run(q->lane[i], q->env.seg->hdr->run_id, &q->run_no, err);
	if (rc == 0 && q->env.seg->cfg.ledger)
		rc = qb_effect_prepare(q->lane[i], err);
	return rc;
}

static int pgtx_open(const struct qb_queue_env *env, struct qb_queue **out, struct qb_err *err)
{
	struct qb_queue *q = calloc(1, sizeof(*q));
	int rc = 0;

	if (!q)
		return qb_err_set(err, -ENOMEM, "out of memory");
	q->env = *env;
	q->lanes = env->role == QB_ROLE_DRIVER ? 1 : env->seg->cfg.slots_per_worker;
	q->lane = calloc(q->lanes, sizeof(*q->lane));
	if (!q->lane)
		rc = qb_err_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; rc == 0 && i < q->lanes; i++)
		rc = open_lane(q, i, err);
	if (rc == 0 && env->role != QB_ROLE_DRIVER) {
		if (q->lanes == 1)
			q->listener = q->lane[0];
		else
			rc = qb_pg_connect(env->conninfo, "qbench listener", CONNECT_NS, &q->listener, err);
		if (rc == 0)
			rc = qb_pg_listen(q->listener, CHANNEL, err);
	}
	if (rc < 0) {
		pgtx_close(q);
		return qb_err_context(err, "pgtx");
	}
	*out = q;
	return 0;
}

static void put_job(struct qb_sql_args *a, const struct qb_submit *job, struct qb_queue_ticket *ticket)
{
	qb_arg_i64(a, (int64_t)job->job_id);
	qb_arg_i32(a, (int32_t)job->tenant);
	qb_arg_i32(a, job->kind);
	qb_arg_i32(a, job->error_class);
	qb_arg_i32(a, job->max_attempts);
	qb_arg_i32(a, (int32_t)job->work_us);
	qb_arg_bytes(a, job->payload, job->payload_bytes);
	ticket->a = job->job_id;
	ticket->b = 0;
}

static int pgtx_enqueue(struct qb_queue *q, const struct qb_submit *job, struct qb_queue_ticket *ticket,
			struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	put_job(&a, job, ticket);
	return run(q->lane[0], "enqueue", &a, NULL, err);
}

static int pgtx_enqueue_unique(struct qb_queue *q, const struct qb_submit *job, const char *key,
			       struct qb_queue_ticket *ticket, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;

	put_job(&a, job, ticket);
	qb_arg_text(&a, key);
	int rc = run(q->lane[0], "enqueue_unique", &a, &res, err);
	int inserted = rc == 0 && PQntuples(res) == 1;

	PQclear(res);
	return rc < 0 ? rc : inserted ? QB_OK : QB_DUPLICATE;
}

/* The insert had committed when enqueue() returned. */
static int pgtx_acknowledged(struct qb_queue *q, const struct qb_queue_ticket *ticket)
{
	(void)q;
	(void)ticket;
	return 1;
}

static int read_row(const PGresult *res, struct qb_queue_job *job)
{
	int64_t id;
	int32_t tenant, work, attempts, failures;
	int16_t kind, error_class, max_attempts;
	const void *payload;
	size_t bytes;

	if (qb_pg_get_i64(res, 0, 0, &id) || qb_pg_get_i32(res, 0, 1, &tenant) || qb_pg_get_i16(res, 0, 2, &kind) ||
	    qb_pg_get_i16(res, 0, 3, &error_class) || qb_pg_get_i16(res, 0, 4, &max_attempts) ||
	    qb_pg_get_i32(res, 0, 5, &work) || qb_pg_get_bytea(res, 0, 6, &payload, &bytes) ||
	    qb_pg_get_i32(res, 0, 7, &attempts) || qb_pg_get_i32(res, 0, 8, &failures))
		return QB_ECORRUPT;
	job->job_id = (uint64_t)id;
	job->token = 0;
	job->slot_idx = 0;
	job->work_us = (uint32_t)work;
	job->tenant = (uint32_t)tenant;
	job->kind = (uint16_t)kind;
	job->error_class = (uint16_t)error_class;
	job->attempt = (uint16_t)(attempts + 1);
	job->failures = (uint16_t)failures;
	job->max_attempts = (uint16_t)max_attempts;
	job->payload_bytes = (uint32_t)bytes;
	job->payload_crc = qb_crc32c(0, payload, bytes);
	return 0;
}

static int pgtx_claim(struct qb_queue *q, unsigned lane, struct qb_queue_job *job, struct qb_err *err)
{
	PGconn *conn = q->lane[lane];
	struct qb_sql_args none = { .n = 0 };
	PGresult *res = NULL;
	int rc = qb_pg_exec(conn, "begin", err);

	if (rc == 0)
		rc = run(conn, "claim", &none, &res, err);
	if (rc < 0)
		return rc;
	if (PQntuples(res) == 0) {
		PQclear(res);
		rc = qb_pg_exec(conn, "commit", err);
		return rc < 0 ? rc : QB_EMPTY;
	}
	rc = read_row(res, job);
	PQclear(res);
	job->lane = (uint16_t)lane;
	if (rc < 0)
		return qb_err_set(err, rc, "a job row has other types than it should");
	return QB_OK;
}

/* The row lock is held: nobody else can have it. */
static int pgtx_start(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	(void)q;
	(void)job;
	(void)err;
	return 0;
}

/* In the transaction that holds the job: it is gone with it when the worker is killed. */
static int pgtx_effect(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
		       struct qb_err *err)
{
	struct qb_attempt a = { .run_no = q->run_no, .job_id = job->job_id, .attempt = job->attempt,
				.seat = q->env.seat };

	(void)result;
	(void)bytes;
	return qb_effect_record(q->lane[job->lane], &a, err);
}

static int pgtx_complete(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			 struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	(void)result;           /* the textbook table has no room for one */
	(void)bytes;
	qb_arg_i64(&a, (int64_t)job->job_id);
	int rc = run(q->lane[job->lane], "complete", &a, NULL, err);

	return rc < 0 ? rc : qb_pg_exec(q->lane[job->lane], "commit", err);
}

static int pgtx_fail(struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
		     struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	uint64_t now = qb_now_ns();

	*final = permanent || job->failures + 1 >= job->max_attempts;
	qb_arg_i64(&a, (int64_t)job->job_id);
	qb_arg_i32(&a, *final ? ROW_DISCARDED : ROW_QUEUED);
	qb_arg_i64(&a, *due_ns > now ? (int64_t)((*due_ns - now) / QB_NS_PER_US) : 0);
	int rc = run(q->lane[job->lane], "fail", &a, NULL, err);

	return rc < 0 ? rc : qb_pg_exec(q->lane[job->lane], "commit", err);
}

static int pgtx_release(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	return qb_pg_exec(q->lane[job->lane], "rollback", err);
}

static int pgtx_wait(struct qb_queue *q, uint64_t deadline_ns, int takes_jobs, struct qb_err *err)
{
	uint64_t now = qb_now_ns(), until = deadline_ns;

	q->woken = 0;
	if (!takes_jobs) {
		qb_sleep_until_ns(deadline_ns);
		return 0;
	}
	if (now + q->env.poll_ns < until)
		until = now + q->env.poll_ns;
	int rc = qb_pg_wait(q->listener, until, -1, NULL, err);

	q->woken = rc > 0 && (rc & QB_PG_WAKE_NOTIFY);
	return rc < 0 ? rc : 0;
}

static int pgtx_woken(struct qb_queue *q)
{
	return q->woken;
}

static int pgtx_census(struct qb_queue *q, struct qb_queue_census *out, struct qb_err *err)
{
	PGresult *res = NULL;
	int64_t n[4];
	int rc = qb_pg_query(q->lane[0],
			     "select count(*) filter (where state = 0 and due_at <= now()),"
			     " count(*) filter (where state = 0 and due_at > now()),"
			     " count(*) filter (where state = 1), count(*) filter (where state = 2)"
			     " from qbench_pgtx.job", 0, NULL, NULL, NULL, NULL, 1, &res, err);

	*out = (struct qb_queue_census){ 0 };
	for (int i = 0; rc == 0 && i < 4; i++)
		if (qb_pg_get_i64(res, 0, i, &n[i]))
			rc = qb_err_set(err, QB_ECORRUPT, "the census has other types than it should");
	PQclear(res);
	if (rc < 0)
		return qb_err_context(err, "could not count the jobs of pgtx");
	out->by_outcome[QB_OUTCOME_QUEUED] = (uint64_t)n[0];
	out->by_outcome[QB_OUTCOME_WAITING] = (uint64_t)n[1];
	out->by_outcome[QB_OUTCOME_COMPLETED] = (uint64_t)n[2];
	out->by_outcome[QB_OUTCOME_DISCARDED] = (uint64_t)n[3];
	return 0;
}

static int pgtx_outcomes(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	static const enum qb_outcome by_state[] = { QB_OUTCOME_QUEUED, QB_OUTCOME_COMPLETED, QB_OUTCOME_DISCARDED };
	PGresult *res = NULL;
	int rc = qb_pg_query(q->lane[0], "select job_id, state, attempts, due_at > now() from qbench_pgtx.job", 0, NULL,
			     NULL, NULL, NULL, 1, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t id;
		int16_t state;
		int32_t attempts;
		bool later;

		if (qb_pg_get_i64(res, i, 0, &id) || qb_pg_get_i16(res, i, 1, &state) ||
		    qb_pg_get_i32(res, i, 2, &attempts) || qb_pg_get_bool(res, i, 3, &later) || state < 0 || state > 2)
			rc = qb_err_set(err, QB_ECORRUPT, "a job row has other values than it should");
		else
			fn(ctx, (uint64_t)id, state == ROW_QUEUED && later ? QB_OUTCOME_WAITING : by_state[state],
			   (uint32_t)attempts);
	}
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not read the jobs of pgtx") : 0;
}

const struct qb_queue_ops qb_queue_pgtx = {
	.abi = QB_QUEUE_ABI,
	.name = "pgtx",
	.summary = "the textbook queue: row lock in an open transaction while the job runs",
	.flags = QB_QUEUE_ENQUEUE_WAITS,
	.setup = pgtx_setup,
	.open = pgtx_open,
	.close = pgtx_close,
	.enqueue = pgtx_enqueue,
	.enqueue_unique = pgtx_enqueue_unique,
	.acknowledged = pgtx_acknowledged,
	.claim = pgtx_claim,
	.start = pgtx_start,
	.effect = pgtx_effect,
	.complete = pgtx_complete,
	.fail = pgtx_fail,
	.release = pgtx_release,
	.wait = pgtx_wait,
	.woken = pgtx_woken,
	.census = pgtx_census,
	.outcomes = pgtx_outcomes,
};
