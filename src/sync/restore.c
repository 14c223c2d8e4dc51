/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/restore.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/conn.h"
#include "shm/fault.h"
#include "shm/key.h"
#include "shm/status.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
/* The backend of a syncer that was killed needs a moment to notice. */
#define ALONE_NS (5 * QB_NS_PER_S)
#define ALONE_EVERY_NS (50 * QB_NS_PER_MS)
#define ROWS_MAX 256

/* Parameters that are bigint. */
struct numbers {
	uint64_t be[3];
	const char *value[3];
	int length[3], format[3];
	Oid oid[3];
};

static void set_numbers(struct numbers *n, int64_t a, int64_t b, int64_t c)
{
	const int64_t v[3] = { a, b, c };

	for (int i = 0; i < 3; i++) {
		n->be[i] = htobe64((uint64_t)v[i]);
		n->value[i] = (const char *)&n->be[i];
		n->length[i] = 8;
		n->format[i] = 1;
		n->oid[i] = QB_PG_INT8;
	}
}

static int ask(PGconn *conn, const char *sql, int nparams, const struct numbers *n, PGresult **res, struct qb_err *err)
{
	return qb_pg_query(conn, sql, nparams, n->oid, n->value, n->length, n->format, 1, res, err);
}

/* ---- open ---- */

static int has_runs(PGconn *conn, struct qb_err *err)
{
	int64_t there = 0;
	int rc = qb_pg_query_i64(conn, "select (to_regclass('qbench.run') is not null)::int::bigint", &there, err);

	return rc < 0 ? rc : there != 0;
}

int qb_restore_list(PGconn *conn, struct qb_strbuf *out, struct qb_err *err)
{
	PGresult *res;
	int rc = has_runs(conn, err);

	if (rc <= 0)
		return rc;
	rc = qb_pg_query(conn, "select r.run_id, to_char(r.created_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'),"
			 " (select count(*) from qbench.job j where j.run_no = r.run_no)::text,"
			 " (select count(*) from qbench.outcome o where o.run_no = r.run_no)::text"
			 " from qbench.run r where ended_at is null and meta is not null order by run_no desc limit 20", 0, NULL, NULL, NULL, NULL, 0,
			 &res, err);
	if (rc < 0)
		return qb_err_context(err, "could not list the runs");
	for (int i = 0; i < PQntuples(res); i++)
		qb_strbuf_printf(out, "%s%s (begun %s UTC, %s jobs live, %s finished)", i ? ", " : "", PQgetvalue(res, i, 0),
				 PQgetvalue(res, i, 1), PQgetvalue(res, i, 2), PQgetvalue(res, i, 3));
	PQclear(res);
	return 0;
}

int qb_restore_is_current(const char *conninfo, const struct qb_seg *seg, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { seg->hdr->run_id };
	uint32_t life = qb_life_of(qb_load_relaxed64(&seg->hdr->mark_epoch));
	int64_t epoch = 0;
	PGresult *res = NULL;
	PGconn *conn;
	int rc = qb_pg_connect(conninfo, "qbench restore", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_pg_query(conn, "select epoch from qbench.run where run_id = $1", 1, oids, values, NULL, NULL, 1, &res, err);
	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &epoch) != 0)
		rc = qb_err_set(err, QB_EPG, "the row of this run is gone");
	if (rc == 0 && qb_life_of((uint64_t)epoch) != life)
		rc = qb_err_set(err, QB_EFENCED, "this run was rebuilt from Postgres: it is in life %u, and this segment, of life "
				"%u, is evidence", qb_life_of((uint64_t)epoch), life);
	PQclear(res);
	PQfinish(conn);
	return rc;
}

static int no_such_run(PGconn *conn, const char *run_id, const char *why, struct qb_err *err)
{
	struct qb_strbuf list = { 0 };
	int rc = qb_restore_list(conn, &list, err);

	if (rc == 0 && list.bytes)
		rc = qb_err_set(err, QB_EUSAGE, "run \"%.95s\" %s; unfinished there: %.700s", run_id, why, list.data);
	else if (rc == 0)
		rc = qb_err_set(err, QB_EUSAGE, "run \"%.95s\" %s, and no other is unfinished there", run_id, why);
	qb_strbuf_free(&list);
	return rc;
}

static int find_run(struct qb_restore *r, const char *run_id, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	bool ended = false;
	const void *meta;
	PGresult *res;
	int rc = qb_pg_query(r->conn, "select run_no, epoch, ended_at is not null, meta from qbench.run where run_id = $1", 1, oids, values, NULL, NULL, 1, &res, err);

	if (rc < 0)
		return rc;
	int known = PQntuples(res) == 1, has_meta = 0;

	if (known && (qb_pg_get_i64(res, 0, 0, &r->run_no) || qb_pg_get_i64(res, 0, 1, (int64_t *)&r->epoch) ||
		      qb_pg_get_bool(res, 0, 2, &ended)))
		rc = qb_err_set(err, QB_ECORRUPT, "the row of the run has other types than it should");
	if (rc == 0 && known && qb_pg_get_bytea(res, 0, 3, &meta, &r->meta_bytes) == 0) {
		has_meta = 1;
		r->meta = qb_xmalloc(r->meta_bytes + 1);
		memcpy(r->meta, meta, r->meta_bytes);
	}
	PQclear(res);
	r->life = qb_life_of(r->epoch);
	if (rc < 0)
		return rc;
	if (!known || ended)
		return no_such_run(r->conn, run_id, known ? "has ended" : "is not in that database", err);
	if (!has_meta)
		return qb_err_set(err, QB_EUSAGE, "run \"%s\" has no description in Postgres (it is not of the library shm), so "
				  "nobody knows how to go on with it; its rows are in qbench.job and qbench.outcome under run_no %lld", run_id,
				  (long long)r->run_no);
	return 0;
}

/* Nobody is at work on it, as far as Postgres knows; and until the connection ends no syncer gets in. */
static int keep_away(struct qb_restore *r, struct qb_err *err)
{
	uint64_t deadline = qb_now_ns() + ALONE_NS;
	int64_t holder = 0;
	int rc;

	while ((rc = qb_schema_run_attend(r->conn, r->run_no, 1, &holder, err)) == 0 && qb_now_ns() < deadline)
		qb_sleep_ns(ALONE_EVERY_NS);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	return qb_err_set(err, QB_EBUSY, "a syncer of this run is connected (server process %lld): the run lives; if its host is "
			  "lost and the server has not noticed, end that session with pg_terminate_backend(%lld) first",
			  (long long)holder, (long long)holder);
}

int qb_restore_open(struct qb_restore *r, const char *conninfo, const char *run_id, struct qb_err *err)
{
	memset(r, 0, sizeof(*r));
	int rc = qb_pg_connect(conninfo, "qbench restore", CONNECT_NS, &r->conn, err);

	if (rc < 0)
		return rc;
	rc = has_runs(r->conn, err);
	if (rc == 0)
		return qb_err_set(err, QB_EUSAGE, "there is no run in that database: it has no schema \"qbench\"");
	if (rc > 0)
		rc = qb_schema_install(r->conn, err);
	if (rc == 0)
		rc = find_run(r, run_id, err);
	if (rc < 0)
		return rc;
	if (strlen(run_id) >= sizeof(r->run_id))
		return qb_err_set(err, QB_EUSAGE, "the name of the run is too long");
	strcpy(r->run_id, run_id);
	return keep_away(r, err);
}

void qb_restore_close(struct qb_restore *r)
{
	PQfinish(r->conn);
	free(r->meta);
	r->conn = NULL;
	r->meta = NULL;
}

/* ---- take ---- */

static int count_what_there_is(struct qb_restore *r, uint32_t block_data_bytes, struct qb_err *err)
{
	struct numbers n;
	PGresult *res;

	set_numbers(&n, r->run_no, block_data_bytes, 0);
	int rc = ask(r->conn, "select count(*), coalesce(sum((octet_length(payload) + $2 - 1) / $2), 0)::bigint,"
		     " (select count(*) from qbench.outcome where run_no = $1)"
		     " from qbench.job where run_no = $1", 2, &n, &res, err);

	if (rc < 0)
		return rc;
	if (qb_pg_get_i64(res, 0, 0, (int64_t *)&r->jobs) || qb_pg_get_i64(res, 0, 1, (int64_t *)&r->payload_blocks) ||
	    qb_pg_get_i64(res, 0, 2, (int64_t *)&r->finished))
		rc = qb_err_set(err, QB_ECORRUPT, "the jobs of the run cannot be counted");
	PQclear(res);
	return rc;
}

/*
 * Two statements, because the first waits for a batch that is still running, and what that one inserts is not
 * in the snapshot of a statement that began before.  One transaction, because a life without its step
 * would use the attempts of the one before again.
 */
static int begin_life(struct qb_restore *r, struct qb_err *err)
{
	struct numbers n;
	int rc = qb_pg_exec(r->conn, "begin isolation level read committed", err);

	if (rc < 0)
		return rc;
	PGresult *res = NULL;
	uint64_t first = qb_life_first_epoch(r->life + 1);

	set_numbers(&n, r->run_no, (int64_t)first, (int64_t)r->life);
	rc = ask(r->conn, "update qbench.run set epoch = $2 where run_no = $1 and epoch >> 32 = $3 and ended_at is null returning 1",
		 3, &n, &res, err);
	if (rc == 0 && PQntuples(res) != 1)
		rc = qb_err_set(err, QB_EBUSY, "somebody else has taken the run meanwhile");
	PQclear(res);
	res = NULL;
	set_numbers(&n, r->run_no, QB_LIFE_ATTEMPTS, 0);
	if (rc == 0)
		rc = ask(r->conn, "update qbench.job set attempt = attempt + $2 where run_no = $1", 2, &n, NULL, err);
	QB_FAULT("restore.take.before-commit");
	if (rc < 0) {
		qb_pg_exec(r->conn, "rollback", NULL);
		return rc;
	}
	rc = qb_pg_exec(r->conn, "commit", err);
	QB_FAULT("restore.take.after-commit");
	if (rc < 0)
		return rc;
	r->life++;
	r->epoch = first;
	return 0;
}

int qb_restore_take(struct qb_restore *r, uint32_t block_data_bytes, struct qb_err *err)
{
	if (r->life >= QB_LIFE_MAX)
		return qb_err_set(err, QB_ETOOBIG, "this run was rebuilt %u times: its attempts cannot be told apart any more", r->life);
	int rc = begin_life(r, err);

	if (rc == 0)
		rc = count_what_there_is(r, block_data_bytes, err);
	return rc < 0 ? qb_err_context(err, "could not take the run over") : 0;
}

/* ---- load ---- */

/* Both halves in network order; NULL: it has none. */
static int read_key(const PGresult *res, int row, int col, struct qb_key *key)
{
	const void *data;
	uint64_t be[2];
	size_t bytes;
	int rc = qb_pg_get_bytea(res, row, col, &data, &bytes);

	*key = (struct qb_key){ 0 };
	if (rc == QB_PG_NULL)
		return 0;
	if (rc || bytes != sizeof(be))
		return QB_ECORRUPT;
	memcpy(be, data, sizeof(be));
	*key = (struct qb_key){ .hi = be64toh(be[0]), .lo = be64toh(be[1]) };
	return key->hi || key->lo ? 0 : QB_ECORRUPT;
}

static int read_row(const PGresult *res, int row, uint64_t wall_less_mono, struct qb_restore_job *j)
{
	int64_t id;
	int16_t state, failures, kind, error_class, max_attempts, effect_class;
	int32_t attempt, tenant, work_us;
	uint64_t due_wall = 0;
	const void *payload;
	struct qb_key key;
	size_t bytes;

	if (qb_pg_get_i64(res, row, 0, &id) || qb_pg_get_i16(res, row, 1, &state) || qb_pg_get_i32(res, row, 2, &attempt) ||
	    qb_pg_get_i16(res, row, 3, &failures) || qb_pg_get_timestamptz(res, row, 4, &due_wall) < 0 ||
	    qb_pg_get_i32(res, row, 5, &tenant) || qb_pg_get_i16(res, row, 6, &kind) ||
	    qb_pg_get_i16(res, row, 7, &error_class) || qb_pg_get_i16(res, row, 8, &max_attempts) ||
	    qb_pg_get_i16(res, row, 9, &effect_class) || qb_pg_get_i32(res, row, 10, &work_us) ||
	    qb_pg_get_bytea(res, row, 11, &payload, &bytes) || bytes > UINT32_MAX || read_key(res, row, 12, &key))
		return QB_ECORRUPT;
	*j = (struct qb_restore_job){
		.what = {
			.job_id = (uint64_t)id, .submitted_raw = qb_stamp(), .work_us = (uint32_t)work_us,
			.tenant = (uint32_t)tenant, .kind = (uint16_t)kind, .error_class = (uint16_t)error_class,
			.max_attempts = (uint16_t)max_attempts, .effect_class = (uint16_t)effect_class,
			.payload = payload, .payload_bytes = (uint32_t)bytes, .key = key,
		},
		.state = (uint16_t)state, .attempt = (uint32_t)attempt, .failures = (uint16_t)failures,
		/* Of a time before this boot: now. */
		.due_ns = due_wall > wall_less_mono ? due_wall - wall_less_mono : 0,
	};
	return 0;
}

static int load_rows(struct qb_restore *r, const struct qb_seg *seg, const PGresult *res, uint32_t *slot, int64_t *last,
		     struct qb_err *err)
{
	uint64_t wall_less_mono = qb_wall_ns() - qb_now_ns(), now = qb_now_ns();

	for (int row = 0; row < PQntuples(res); row++) {
		struct qb_restore_job j;
		enum qb_restored how;
		int rc = qb_pg_get_i64(res, row, 0, last) ? QB_ECORRUPT : read_row(res, row, wall_less_mono, &j);

		if (rc == 0)
			rc = *slot < seg->cfg.job_count ? qb_job_restore(seg, *slot, &j, now, &how) : QB_FULL;
		if (rc == QB_FULL)
			return qb_err_set(err, QB_ETOOBIG, "job %lld: no room in the new segment: the rows of the run have grown "
					  "since they were counted", (long long)*last);
		if (rc < 0)
			return qb_err_set(err, rc, "job %lld: its row in qbench.job is none that qbench wrote: %s",
					  (long long)*last, qb_strerror(rc));
		r->how[how]++;
		++*slot;
		QB_FAULT("restore.load.after-job");
	}
	return 0;
}

/* A record is known by (run, seat, sequence): what this life writes must not look like what an earlier one wrote. */
static int go_on_with_events(const struct qb_restore *r, const struct qb_seg *seg, struct qb_err *err)
{
	struct numbers n;
	PGresult *res;

	set_numbers(&n, r->run_no, 0, 0);
	int rc = ask(r->conn, "select seat, max(seq) from qbench.event where run_no = $1 group by seat", 1, &n, &res, err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < PQntuples(res) && rc == 0; i++) {
		int16_t seat;
		int64_t seq;

		if (qb_pg_get_i16(res, i, 0, &seat) || qb_pg_get_i64(res, i, 1, &seq) || seq < 0)
			rc = qb_err_set(err, QB_ECORRUPT, "an event of the run has other types than it should");
		else
			/* A ring holds that many at most that did not come so far. */
			qb_restore_events(seg, (uint16_t)seat, (uint64_t)seq + seg->cfg.event_count);
	}
	PQclear(res);
	return rc;
}

/*
 * A run that cannot be rebuilt would be worse than a key that can be had twice; the smaller table has fewer buckets than
 * the one in which all keys had room.
 */
static void hold_keys(const struct qb_seg *seg)
{
	if (qb_key_rebuild(seg) == QB_FULL)
		qb_log(QB_LOG_WARNING, "%u of the jobs that were restored have no room for their keys: until they have ended, each "
		       "of these keys can be had a second time", qb_key_missing(seg));
}

int qb_restore_load(struct qb_restore *r, const struct qb_seg *seg, const volatile int *stop, struct qb_err *err)
{
	int64_t last = INT64_MIN;
	uint32_t slot = 0;
	int rc = go_on_with_events(r, seg, err), rows = 1;

	memset(r->how, 0, sizeof(r->how));
	while (rc == 0 && rows > 0) {
		struct numbers n;
		PGresult *res;

		if (stop && *stop)
			return qb_err_set(err, QB_EINTR, "interrupted");
		set_numbers(&n, r->run_no, last, ROWS_MAX);
		rc = ask(r->conn, "select job_id, state, attempt, failures, due_at, tenant, kind, error_class, max_attempts,"
			 " effect_class, work_us, payload, key from qbench.job where run_no = $1 and job_id > $2"
			 " order by job_id limit $3", 3, &n, &res, err);
		if (rc < 0)
			break;
		rows = PQntuples(res);
		rc = load_rows(r, seg, res, &slot, &last, err);
		PQclear(res);
	}
	if (rc == 0 && slot != r->jobs)
		rc = qb_err_set(err, QB_EBUSY, "%u jobs were found where %llu had been counted: somebody writes these rows",
				slot, (unsigned long long)r->jobs);
	if (rc == 0)
		hold_keys(seg);
	return rc < 0 ? qb_err_context(err, "could not load the jobs of the run") : 0;
}

void qb_restore_publish(const struct qb_restore *r, const struct qb_seg *seg)
{
	QB_FAULT("restore.publish.before-life");
	/* Relaxed: nobody attaches before the creator has given the file its name. */
	qb_store_relaxed64(&seg->hdr->mark_epoch, r->epoch);
	QB_FAULT("restore.publish.after-life");
}
