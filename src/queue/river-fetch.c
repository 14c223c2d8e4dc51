/* SPDX-License-Identifier: Apache-2.0 */
/* The fetch path: when to fetch, the statement, and what a row says. */
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-tables.h"
#include "workload/scenario.h"

/* ---- when: DebouncedChan ---- */

static void expire(struct qb_river_debounce *d, uint64_t now_ns)
{
	while (d->timer_ns && now_ns >= d->timer_ns) {
		if (!d->again) {
			d->timer_ns = 0;
			return;
		}
		d->again = false;
		d->fired = true;
		d->timer_ns += d->cooldown_ns;
	}
}

void qb_river_debounce_call(struct qb_river_debounce *d, uint64_t now_ns)
{
	expire(d, now_ns);
	if (d->timer_ns) {
		d->again = true;
		return;
	}
	d->fired = true;
	d->timer_ns = now_ns + d->cooldown_ns;
}

int qb_river_debounce_take(struct qb_river_debounce *d, uint64_t now_ns)
{
	int fired;

	expire(d, now_ns);
	fired = d->fired;
	d->fired = false;
	return fired;
}

uint64_t qb_river_debounce_next(const struct qb_river_debounce *d)
{
	if (d->fired)
		return 0;
	return d->timer_ns && d->again ? d->timer_ns : UINT64_MAX;
}

/* ---- the statement ---- */

/* Beyond the largest number of names the oldest goes. */
static const char fetch_sql[] =
	"with l as (select * from $S.river_job where state = 'available' and queue = $1::text and scheduled_at <= now()"
	" order by priority, scheduled_at, id limit $2::integer for update skip locked)"
	" update $S.river_job set state = 'running', attempt = river_job.attempt + 1, attempted_at = now(),"
	" attempted_by = array_append(river_job.attempted_by["
	"greatest(coalesce(array_length(river_job.attempted_by, 1), 0) + 2 - $4::integer, 1):], $3::text)"
	" from l where river_job.id = l.id returning " RIVER_JOB_COLUMNS("river_job.");

static const char queue_sql[] =
	"insert into $S.river_queue (name, created_at, metadata, updated_at) values ($1::text, now(), '{}', now())"
	" on conflict (name) do update set updated_at = excluded.updated_at"
	" returning name, created_at, metadata, paused_at is not null, updated_at";

static int prepare(PGconn *conn, const char *name, const char *schema, const char *sql, struct qb_err *err)
{
	char *text = qb_river_sql(schema, sql);
	int rc = qb_pg_prepare(conn, name, text, 0, NULL, err);

	free(text);
	return rc;
}

int qb_river_fetch_prepare(PGconn *conn, const char *schema, struct qb_err *err)
{
	int rc = qb_pg_exec(conn, "set statement_timeout = '10s'", err);

	if (rc == 0)
		rc = prepare(conn, "fetch", schema, fetch_sql, err);
	return rc == 0 ? prepare(conn, "queue", schema, queue_sql, err) : rc;
}

/* Elements of a one-dimensional array in binary form; 0 when it is NULL or empty. */
static unsigned array_count(const PGresult *res, int row, int col)
{
	const char *value = PQgetvalue(res, row, col);
	uint32_t dims, count;

	if (PQgetlength(res, row, col) < QB_PG_ARRAY_HEADER_BYTES)
		return 0;
	memcpy(&dims, value, sizeof(dims));
	memcpy(&count, value + 12, sizeof(count));
	return be32toh(dims) == 1 ? be32toh(count) : 0;
}

static int read_row(const PGresult *res, int row, struct qb_river_fetched *out, uint8_t *payload, struct qb_err *err)
{
	int16_t attempt, max_attempts;
	const char *args, *kind;
	size_t args_bytes, kind_bytes;
	struct qb_err why = { 0 };

	/* The first byte of a jsonb is its version. */
	if (qb_pg_get_i64(res, row, RIVER_COL_ID, &out->id) || qb_pg_get_i16(res, row, RIVER_COL_ATTEMPT, &attempt) ||
	    qb_pg_get_i16(res, row, RIVER_COL_MAX_ATTEMPTS, &max_attempts) ||
	    qb_pg_get_text(res, row, RIVER_COL_ARGS, &args, &args_bytes) || args_bytes < 1 ||
	    qb_pg_get_text(res, row, RIVER_COL_KIND, &kind, &kind_bytes))
		return qb_err_set(err, QB_ECORRUPT, "a job row has other types than it should");
	struct qb_queue_job *job = &out->job;

	memset(job, 0, sizeof(*job));
	int bad = qb_river_args_read(args + 1, args_bytes - 1, job, payload, &why);

	/* There is no filter on kind: what this client does not know, or cannot read, is a failed attempt. */
	out->cancelled = false;
	out->strange = bad < 0 || kind_bytes != strlen(RIVER_KIND) || memcmp(kind, RIVER_KIND, kind_bytes) != 0;
	if (out->strange)
		job->error_class = QB_ERROR_CLASS_TRANSIENT;
	job->token = (uint64_t)out->id;
	job->attempt = (uint16_t)attempt;
	job->max_attempts = (uint16_t)max_attempts;
	job->failures = (uint16_t)array_count(res, row, RIVER_COL_ERRORS);
	return 0;
}

int qb_river_fetch(PGconn *conn, const char *client_id, unsigned limit, struct qb_river_fetched *out, uint8_t *payload,
		   struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res;

	qb_arg_text(&a, RIVER_QUEUE);
	qb_arg_i32(&a, (int32_t)limit);
	qb_arg_text(&a, client_id);
	qb_arg_i32(&a, RIVER_ATTEMPTED_BY_MAX);
	int rc = qb_pg_exec_prepared(conn, "fetch", a.n, a.values, a.lengths, a.formats, 1, &res, err);

	if (rc < 0)
		return rc;
	int count = PQntuples(res);

	for (int i = 0; i < count && rc == 0; i++)
		rc = read_row(res, i, &out[i], payload, err);
	PQclear(res);
	return rc < 0 ? rc : count;
}

int qb_river_queue_report(PGconn *conn, bool *paused, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res;

	qb_arg_text(&a, RIVER_QUEUE);
	int rc = qb_pg_exec_prepared(conn, "queue", a.n, a.values, a.lengths, a.formats, 1, &res, err);

	if (rc == 0 && qb_pg_get_bool(res, 0, 3, paused))
		rc = qb_err_set(err, QB_ECORRUPT, "the row of the queue has other types than it should");
	if (rc == 0)
		PQclear(res);
	return rc;
}

/* ---- the retry policy ---- */

uint64_t qb_river_retry_ns(unsigned errors, struct qb_rng *rng)
{
	const double most = (double)INT64_MAX / (double)QB_NS_PER_S;
	double n = errors + 1.0, seconds = n * n * n * n;

	if (seconds >= most)
		return INT64_MAX;
	seconds += seconds * (qb_rng_unit(rng) * 0.2 - 0.1);
	return seconds >= most ? INT64_MAX : (uint64_t)(seconds * (double)QB_NS_PER_S);
}
