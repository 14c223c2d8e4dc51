/* SPDX-License-Identifier: Apache-2.0 */
/* Which jobs are where, by the rows: a finished one has none. */
#include "queue/platlib-inside.h"

#include <stdlib.h>

#include "pg/conn.h"
#include "shm/status.h"

int qb_platlib_census(PGconn *conn, const struct qb_platlib_settings *s, struct qb_queue_census *out, struct qb_err *err)
{
	PGresult *res = NULL;
	int64_t n[3] = { 0 };
	int rc = qb_pg_query(conn, s->durable ?
			     "select count(*) filter (where permit = 0 and (not_before is null or not_before <= now())),"
			     " count(*) filter (where permit = 0 and not_before > now()), count(*) filter (where permit <> 0)"
			     " from qbench_platlib.queue where name = 'benchmark'" :
			     "select count(*) filter (where permit = 0), 0::bigint, count(*) filter (where permit <> 0)"
			     " from qbench_platlib.queue where name = 'benchmark'", 0, NULL, NULL, NULL, NULL, 1, &res, err);

	*out = (struct qb_queue_census){ 0 };
	for (int i = 0; rc == 0 && i < 3; i++)
		if (qb_pg_get_i64(res, 0, i, &n[i]))
			rc = qb_err_set(err, QB_ECORRUPT, "the census has other types than it should");
	PQclear(res);
	if (rc < 0)
		return qb_err_context(err, "could not count the jobs of platlib");
	out->by_outcome[QB_OUTCOME_QUEUED] = (uint64_t)n[0];
	out->by_outcome[QB_OUTCOME_WAITING] = (uint64_t)n[1];
	out->by_outcome[QB_OUTCOME_HELD] = (uint64_t)n[2];
	return 0;
}

struct row { uint64_t job_id; enum qb_outcome outcome; uint32_t attempt; };

/* By job; of two rows of one job the one that may still run comes first, then the later attempt. */
static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->job_id != y->job_id)
		return x->job_id < y->job_id ? -1 : 1;
	if (x->outcome != y->outcome)
		return x->outcome < y->outcome ? -1 : 1;
	return x->attempt > y->attempt ? -1 : x->attempt < y->attempt;
}

static int read_row(const PGresult *res, int i, struct row *r)
{
	int64_t permit;
	const void *item;
	uint64_t attempt;
	size_t bytes;
	bool later;

	if (qb_pg_get_i64(res, i, 0, &permit) || qb_pg_get_bytea(res, i, 1, &item, &bytes) ||
	    qb_pg_get_bool(res, i, 2, &later) || qb_platlib_json_u64(item, bytes, "work_id", &r->job_id) < 0 ||
	    qb_platlib_json_u64(item, bytes, "attempt", &attempt) < 0)
		return QB_ECORRUPT;
	r->outcome = permit ? QB_OUTCOME_HELD : later ? QB_OUTCOME_WAITING : QB_OUTCOME_QUEUED;
	/* That many times claimed: the attempt of a row that waits is the next one. */
	r->attempt = (uint32_t)(permit ? attempt : attempt - 1);
	return 0;
}

int qb_platlib_outcomes(PGconn *conn, const struct qb_platlib_settings *s, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, s->durable ?
			     "select permit, item, coalesce(not_before > now(), false) from qbench_platlib.queue"
			     " where name = 'benchmark'" :
			     "select permit, item, false from qbench_platlib.queue where name = 'benchmark'", 0, NULL, NULL, NULL,
			     NULL, 1, &res, err);

	if (rc < 0)
		return qb_err_context(err, "could not read the jobs of platlib");
	int count = PQntuples(res);
	struct row *rows = qb_xcalloc((size_t)count + 1, sizeof(*rows));

	for (int i = 0; rc == 0 && i < count; i++)
		if (read_row(res, i, &rows[i]) < 0)
			rc = qb_err_set(err, QB_ECORRUPT, "a row of the queue has other values than it should");
	PQclear(res);
	if (rc == 0) {
		qsort(rows, (size_t)count, sizeof(*rows), compare_rows);
		for (int i = 0; i < count; i++)
			if (i == 0 || rows[i].job_id != rows[i - 1].job_id)
				fn(ctx, rows[i].job_id, rows[i].outcome, rows[i].attempt);
	}
	free(rows);
	return rc < 0 ? qb_err_context(err, "platlib") : 0;
}
