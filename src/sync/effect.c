/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/effect.h"

#include <endian.h>

#include "pg/array.h"
#include "pg/conn.h"
#include "shm/status.h"

static const char record_sql[] =
	"insert into qbench.ledger (run_no, job_id, attempt, seat) values ($1, $2, $3, $4)";

/* Binary parameters: bigints, then ints. */
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

static void name_attempt(struct params *p, const struct qb_attempt *a)
{
	p->n = 0;
	put_i64(p, a->run_no);
	put_i64(p, (int64_t)a->job_id);
	put_i32(p, a->attempt);
}

int qb_effect_prepare(PGconn *conn, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT4, QB_PG_INT4 };

	return qb_pg_prepare(conn, "effect_record", record_sql, 4, oids, err);
}

int qb_effect_record(PGconn *conn, const struct qb_attempt *a, struct qb_err *err)
{
	struct params p;

	name_attempt(&p, a);
	put_i32(&p, a->seat);
	return qb_pg_exec_prepared(conn, "effect_record", p.n, p.values, p.lengths, p.formats, 1, NULL, err);
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
