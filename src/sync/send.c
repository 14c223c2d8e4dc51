/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/send.h"

#include <endian.h>
#include <string.h>

#include "pg/conn.h"
#include "shm/status.h"

/*
 * Every part asks the gate, so that a batch that lost the compare-and-swap does nothing at all. All parts see the
 * same snapshot: a job is never inserted and finished in one batch, the batch holds the net effect.
 */
#define BATCH_SQL(again) \
	"with cas as (update qbench.run set batch = $3 + 1 where run_no = $1 and epoch = $2 and batch = $3 returning 1)," \
	" gate as materialized (select count(*) = 1 as open from cas)," \
	" ins as (insert into qbench.job (run_no, job_id, state, attempt, failures, due_at, tenant, kind, error_class," \
	"   max_attempts, effect_class, work_us, payload, key)" \
	"  select $1, u.* from unnest($4::bigint[], $5::smallint[], $6::int[], $7::smallint[], $8::timestamptz[]," \
	"   $9::int[], $10::smallint[], $11::smallint[], $12::smallint[], $13::smallint[], $14::int[], $15::bytea[]," \
	"   $16::bytea[]) u, gate where gate.open " again ")," \
	" upd as (update qbench.job j set state = u.state, attempt = u.attempt, failures = u.failures, due_at = u.due_at" \
	"  from unnest($17::bigint[], $18::smallint[], $19::int[], $20::smallint[], $21::timestamptz[])" \
	"   u(job_id, state, attempt, failures, due_at), gate" \
	"  where gate.open and j.run_no = $1 and j.job_id = u.job_id)," \
	" outc as (insert into qbench.outcome (run_no, job_id, state, attempt, failures, seat, result)" \
	"  select $1, u.* from unnest($22::bigint[], $23::smallint[], $24::int[], $25::smallint[], $26::smallint[]," \
	"   $27::bytea[]) u, gate where gate.open " again ")," \
	" del as (delete from qbench.job j using unnest($22::bigint[]) u(job_id), gate" \
	"  where gate.open and j.run_no = $1 and j.job_id = u.job_id)," \
	" ev as (insert into qbench.event (run_no, seat, seq, type, at_ns, job_id, attempt, slot, kind, error_class, arg0," \
	"   arg1) select $1, u.* from unnest($28::smallint[], $29::bigint[], $30::smallint[], $31::bigint[]," \
	"   $32::bigint[], $33::int[], $34::int[], $35::smallint[], $36::smallint[], $37::bigint[], $38::bigint[]) u," \
	"   gate where gate.open " again ")" \
	" select open from gate"

/*
 * Looking for a row that may be there already costs a quarter of the throughput, and only what an
 * earlier connection sent and had no answer for may be.
 */
static const char batch_sql[] = BATCH_SQL("");
static const char batch_again_sql[] = BATCH_SQL("on conflict do nothing");

#define PARAMS (3 + QB_COL_COUNT)

int qb_batch_prepare(PGconn *conn, struct qb_err *err)
{
	Oid oids[PARAMS] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT8 };
	/* The arrays differ from batch to batch and the best plan does not: to make it anew costs more than to run it. */
	int rc = qb_pg_exec(conn, "set plan_cache_mode = force_generic_plan", err);

	if (rc == 0)
		rc = qb_pg_prepare(conn, "batch", batch_sql, 3, oids, err);
	if (rc == 0)
		rc = qb_pg_prepare(conn, "batch_again", batch_again_sql, 3, oids, err);
	return rc;
}

int qb_batch_send(PGconn *conn, struct qb_batch *b, int64_t run_no, int64_t epoch, int64_t batch_no, int *again,
		  struct qb_err *err)
{
	const char *values[PARAMS];
	int lengths[PARAMS], formats[PARAMS];
	uint64_t head[3] = { htobe64((uint64_t)run_no), htobe64((uint64_t)epoch), htobe64((uint64_t)batch_no) };
	PGresult *res = NULL;
	bool open = false;

	for (unsigned i = 0; i < PARAMS; i++) {
		formats[i] = 1;
		if (i < 3) {
			values[i] = (const char *)&head[i];
			lengths[i] = 8;
		} else if (qb_pg_array_finish(&b->col[i - 3], &values[i], &lengths[i]) < 0) {
			return qb_err_set(err, QB_ETOOBIG, "a batch does not fit into one statement");
		}
	}
	int rc = qb_pg_exec_prepared(conn, *again ? "batch_again" : "batch", PARAMS, values, lengths, formats, 1, &res, err);

	if (rc == QB_EPG && !*again && strcmp(qb_pg_sqlstate(), "23505") == 0) {
		/* Nothing of it was done: the statement is one transaction. */
		*again = 1;
		qb_err_clear(err);
		rc = qb_pg_exec_prepared(conn, "batch_again", PARAMS, values, lengths, formats, 1, &res, err);
	}
	if (rc == 0 && (qb_pg_get_bool(res, 0, 0, &open) != 0 || !open))
		rc = qb_err_set(err, QB_EFENCED, "another syncer has taken over this run");
	PQclear(res);
	return rc;
}
