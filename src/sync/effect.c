/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/effect.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pg/array.h"
#include "pg/conn.h"
#include "shm/fault.h"
#include "shm/status.h"

static const char record_sql[] =
	"insert into qbench.ledger (run_no, job_id, attempt, seat) values ($1, $2, $3, $4)";

/* No row: there is a mark already, or a fence at or behind this attempt. */
static const char mark_sql[] =
	"insert into qbench.effect as e (run_no, job_id, fence, done_attempt, result) values ($1, $2, 0, $3, $4)"
	" on conflict (run_no, job_id) do update set done_attempt = excluded.done_attempt, result = excluded.result"
	" where e.done_attempt is null and e.fence < excluded.done_attempt returning 1";

static const char look_sql[] =
	"select result from qbench.effect where run_no = $1 and job_id = $2 and done_attempt is not null";

/* Binary parameters: bigints, then ints, then bytes. */
struct params {
	uint64_t i64[2];
	uint32_t i32[2];
	const char *values[5];
	int lengths[5], formats[5], n;
};

static void put_i64(struct params *p, int64_t v)
{
	uint64_t *at = &p->i64[p->n];

	*at = htobe64((uint64_t)v);
	p->values[p->n] = (const char *)at;
	p->lengths[p->n] = 8;
	p->formats[p->n++] = 1;
}

/* Behind two bigints. */
static void put_i32(struct params *p, uint32_t v)
{
	uint32_t *at = &p->i32[p->n - 2];

	*at = htobe32(v);
	p->values[p->n] = (const char *)at;
	p->lengths[p->n] = 4;
	p->formats[p->n++] = 1;
}

static void put_bytes(struct params *p, const void *data, uint32_t bytes)
{
	p->values[p->n] = bytes ? data : "";
	p->lengths[p->n] = (int)bytes;
	p->formats[p->n++] = 1;
}

static int run(PGconn *conn, const char *name, const struct params *p, PGresult **res, struct qb_err *err)
{
	return qb_pg_exec_prepared(conn, name, p->n, p->values, p->lengths, p->formats, 1, res, err);
}

static void name_attempt(struct params *p, const struct qb_attempt *a)
{
	p->n = 0;
	put_i64(p, a->run_no);
	put_i64(p, (int64_t)a->job_id);
	put_i32(p, a->attempt);
}

int qb_effect_prepare(PGconn *conn, struct qb_err *err)
{
	const Oid record[] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT4, QB_PG_INT4 };
	const Oid mark[] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT4, QB_PG_BYTEA };
	int rc = qb_pg_prepare(conn, "effect_record", record_sql, 4, record, err);

	if (rc == 0)
		rc = qb_pg_prepare(conn, "effect_mark", mark_sql, 4, mark, err);
	if (rc == 0)
		rc = qb_pg_prepare(conn, "effect_look", look_sql, 2, mark, err);
	return rc;
}

int qb_effect_record(PGconn *conn, const struct qb_attempt *a, struct qb_err *err)
{
	struct params p;

	name_attempt(&p, a);
	put_i32(&p, a->seat);
	return run(conn, "effect_record", &p, NULL, err);
}

/* 1: marked; 0: refused. */
static int mark(PGconn *conn, const struct qb_attempt *a, const void *result, uint32_t bytes, struct qb_err *err)
{
	PGresult *res = NULL;
	struct params p;

	name_attempt(&p, a);
	put_bytes(&p, result, bytes);
	int rc = run(conn, "effect_mark", &p, &res, err);

	if (rc == 0)
		rc = PQntuples(res) == 1;
	PQclear(res);
	return rc;
}

/* Why the mark was refused. 0: it is there, from before; QB_EFENCED: there is only the fence. */
static int look(PGconn *conn, const struct qb_attempt *a, void **stored, uint32_t *stored_bytes, struct qb_err *err)
{
	PGresult *res = NULL;
	const void *data = NULL;
	size_t bytes = 0;
	struct params p;

	name_attempt(&p, a);
	p.n = 2;
	int rc = run(conn, "effect_look", &p, &res, err);

	if (rc == 0 && PQntuples(res) == 0)
		rc = qb_err_set(err, QB_EFENCED, "attempt %u of job %llu is over", a->attempt,
				(unsigned long long)a->job_id);
	else if (rc == 0 && qb_pg_get_bytea(res, 0, 0, &data, &bytes) < 0)
		rc = qb_err_set(err, QB_ECORRUPT, "a row of qbench.effect has other types than it should");
	if (rc == 0) {
		*stored = malloc(bytes + 1);
		*stored_bytes = (uint32_t)bytes;
		if (*stored && bytes)
			memcpy(*stored, data, bytes);
		rc = *stored ? 0 : qb_err_set(err, -ENOMEM, "out of memory");
	}
	PQclear(res);
	return rc;
}

int qb_effect_make(PGconn *conn, const struct qb_attempt *a, const void *result, uint32_t bytes, void **stored,
		   uint32_t *stored_bytes, struct qb_err *err)
{
	*stored = NULL;
	*stored_bytes = 0;
	/* Whatever the server's default: the mark must see what the transaction that it waited for has left. */
	int rc = qb_pg_exec(conn, "begin isolation level read committed", err), marked = 0;

	if (rc == 0)
		rc = marked = mark(conn, a, result, bytes, err);
	QB_FAULT("effect.make.after-mark");
	if (rc == 1)
		rc = qb_effect_record(conn, a, err);
	else if (rc == 0)
		rc = look(conn, a, stored, stored_bytes, err);
	QB_FAULT("effect.make.before-commit");
	if (rc == 0 && marked)
		rc = qb_pg_exec(conn, "commit", err);
	else
		qb_pg_exec(conn, "rollback", NULL);
	QB_FAULT("effect.make.after-commit");
	return rc;
}

int qb_effect_counts(PGconn *conn, const char *run_id, qb_effect_fn fn, void *ctx, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	PGresult *res = NULL;
	int rc = qb_pg_exec(conn, "begin; lock table qbench.ledger in share mode; commit", err);

	if (rc == 0)
		rc = qb_pg_query(conn, "select l.job_id, count(*) from qbench.ledger l join qbench.run r using (run_no)"
				 " where r.run_id = $1 group by l.job_id", 1, oids, values, NULL, NULL, 1, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t job_id, effects;

		if (qb_pg_get_i64(res, i, 0, &job_id) || qb_pg_get_i64(res, i, 1, &effects))
			rc = qb_err_set(err, QB_ECORRUPT, "a row of the ledger has other types than it should");
		else
			fn(ctx, (uint64_t)job_id, (uint64_t)effects);
	}
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not read the ledger of effects") : 0;
}
