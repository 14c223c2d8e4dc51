/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/schema.h"

#include <endian.h>
#include <string.h>

#include "pg/conn.h"
#include "shm/status.h"

/* Any number will do as long as nobody else uses it: "qbench" in ASCII. */
#define INSTALL_BEGIN "begin; select pg_advisory_xact_lock(124601012937576)"

static const char create_sql[] =
	"create schema if not exists qbench;"
	"create table if not exists qbench.meta (version int not null);"
	"insert into qbench.meta select 3 where not exists (select from qbench.meta);"
	"create table if not exists qbench.run ("
	"  run_no bigint generated always as identity primary key,"
	"  run_id text not null unique,"
	"  epoch bigint not null default 0,"
	"  batch bigint not null default 0,"
	"  created_at timestamptz not null default now(),"
	"  ended_at timestamptz);"
	"create table if not exists qbench.job ("
	"  run_no bigint not null, job_id bigint not null,"
	"  state smallint not null, attempt int not null, failures smallint not null,"
	"  due_at timestamptz,"
	"  tenant int not null, kind smallint not null, error_class smallint not null,"
	"  max_attempts smallint not null, effect_class smallint not null, work_us int not null,"
	"  payload bytea not null, accepted_at timestamptz not null default now(),"
	"  primary key (run_no, job_id)) with (fillfactor = 70);"
	"create table if not exists qbench.outcome ("
	"  run_no bigint not null, job_id bigint not null,"
	"  state smallint not null, attempt int not null, failures smallint not null, seat smallint not null,"
	"  result bytea, finished_at timestamptz not null default now(),"
	"  primary key (run_no, job_id));"
	"create table if not exists qbench.event ("
	"  run_no bigint not null, seat smallint not null, seq bigint not null,"
	"  type smallint not null, at_ns bigint not null, job_id bigint not null, attempt int not null,"
	"  slot int not null, kind smallint not null, error_class smallint not null,"
	"  arg0 bigint not null, arg1 bigint not null,"
	"  primary key (run_no, seat, seq));"
	/* Since version 2. */
	"alter table qbench.run add column if not exists meta bytea;"
	"create table if not exists qbench.effect ("
	"  run_no bigint not null, job_id bigint not null,"
	"  fence int not null, done_attempt int, result bytea,"
	"  primary key (run_no, job_id)) with (fillfactor = 70);"
	"create table if not exists qbench.ledger ("
	"  run_no bigint not null, job_id bigint not null, attempt int not null, seat smallint not null,"
	"  at timestamptz not null default clock_timestamp());"
	/* Since version 3. */
	"alter table qbench.job add column if not exists key bytea;"
	"update qbench.meta set version = 3;";

static const char prune_sql[] =
	"with old as (delete from qbench.run where run_id <> $1"
	"  and (ended_at is not null or created_at < now() - interval '7 days') returning run_no),"
	" j as (delete from qbench.job using old where job.run_no = old.run_no),"
	" o as (delete from qbench.outcome using old where outcome.run_no = old.run_no),"
	" f as (delete from qbench.effect using old where effect.run_no = old.run_no),"
	" l as (delete from qbench.ledger using old where ledger.run_no = old.run_no)"
	" delete from qbench.event using old where event.run_no = old.run_no";

/* 0 when there is none. */
static int find_version(PGconn *conn, int64_t *version, struct qb_err *err)
{
	int64_t there = 0;
	int rc = qb_pg_query_i64(conn, "select (to_regclass('qbench.meta') is not null)::int::bigint", &there, err);

	*version = 0;
	if (rc == 0 && there)
		rc = qb_pg_query_i64(conn, "select coalesce(max(version), 0)::bigint from qbench.meta", version, err);
	return rc < 0 ? qb_err_context(err, "could not read the version of schema \"qbench\"") : 0;
}

/* Under the lock. A newer schema is left as it is, to the last table; one of ours needs no right to create. */
static int bring_up_to_date(PGconn *conn, struct qb_err *err)
{
	int64_t version;
	int rc = find_version(conn, &version, err);

	if (rc < 0)
		return rc;
	if (version > QB_SCHEMA_VERSION)
		return qb_err_set(err, QB_EVERSION, "schema \"qbench\" has version %lld, made by a newer qbench; "
				  "this one knows %d: use another database, or drop the schema",
				  (long long)version, QB_SCHEMA_VERSION);
	if (version == QB_SCHEMA_VERSION)
		return 0;
	rc = qb_pg_exec(conn, create_sql, err);
	return rc < 0 ? qb_err_context(err, "could not create the tables of schema \"qbench\"") : 0;
}

int qb_schema_install(PGconn *conn, struct qb_err *err)
{
	int rc = qb_pg_exec(conn, INSTALL_BEGIN, err);

	if (rc < 0)
		return qb_err_context(err, "could not lock schema \"qbench\"");
	rc = bring_up_to_date(conn, err);
	if (rc < 0) {
		qb_pg_exec(conn, "rollback", NULL);
		return rc;
	}
	rc = qb_pg_exec(conn, "commit", err);
	return rc < 0 ? qb_err_context(err, "could not create the tables of schema \"qbench\"") : 0;
}

int qb_schema_prune(PGconn *conn, const char *run_id, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	int rc = qb_pg_query(conn, prune_sql, 1, oids, values, NULL, NULL, 1, NULL, err);

	return rc < 0 ? qb_err_context(err, "could not remove the rows of earlier runs") : 0;
}

int qb_schema_run(PGconn *conn, const char *run_id, int64_t *run_no, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	const int lengths[] = { (int)strlen(run_id) }, formats[] = { 0 };
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, "insert into qbench.run (run_id) values ($1) on conflict do nothing", 1, oids,
			     values, lengths, formats, 1, NULL, err);

	if (rc == 0)
		rc = qb_pg_query(conn, "select run_no from qbench.run where run_id = $1", 1, oids, values, lengths,
				 formats, 1, &res, err);
	if (rc == 0 && qb_pg_get_i64(res, 0, 0, run_no) != 0)
		rc = qb_err_set(err, QB_EPG, "the row of this run is missing");
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not register the run") : 0;
}

/* 1 when the statement has a row for that run, 0, or QB_EPG. */
static int run_row(PGconn *conn, const char *sql, const char *run_id, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	PGresult *res;
	int rc = qb_pg_query(conn, sql, 1, oids, values, NULL, NULL, 1, &res, err);

	if (rc == 0) {
		rc = PQntuples(res) > 0;
		PQclear(res);
	}
	return rc;
}

int qb_schema_run_is_known(PGconn *conn, const char *run_id, struct qb_err *err)
{
	return run_row(conn, "select from qbench.run where run_id = $1", run_id, err);
}

int qb_schema_run_begin(PGconn *conn, const char *run_id, const void *meta, size_t meta_bytes, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_BYTEA };
	const char *values[] = { run_id, meta_bytes ? meta : NULL };
	const int lengths[] = { (int)strlen(run_id), (int)meta_bytes }, formats[] = { 0, 1 };
	PGresult *res = NULL;
	/* One statement: of two that begin at once, one gets the row. */
	int rc = qb_pg_query(conn, "insert into qbench.run (run_id, meta) values ($1, $2) on conflict do nothing returning run_no",
			     2, oids, values, lengths, formats, 1, &res, err);
	int is_new = rc == 0 && PQntuples(res) > 0;

	PQclear(res);
	if (rc == 0 && !is_new)
		return qb_err_set(err, QB_EBUSY, "a run named %s is in this database already: another qbench began in the "
				  "same second; start again", run_id);
	return rc < 0 ? qb_err_context(err, "could not register the run") : 0;
}

/* "qb" in the upper bits: no other number of ours, and hardly anybody else's. */
#define ATTEND_KEY(run_no) (0x7162ll << 48 | ((run_no) & 0xffffffffffffll))

int qb_schema_run_attend(PGconn *conn, int64_t run_no, int alone, int64_t *holder, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8 };
	uint64_t key_be = htobe64((uint64_t)ATTEND_KEY(run_no));
	const char *values[] = { (const char *)&key_be };
	const int lengths[] = { 8 }, formats[] = { 1 };
	PGresult *res = NULL;
	bool got = false;
	int rc = qb_pg_query(conn, alone ? "select pg_try_advisory_lock($1)" : "select pg_try_advisory_lock_shared($1)", 1, oids,
			     values, lengths, formats, 1, &res, err);

	if (rc == 0 && qb_pg_get_bool(res, 0, 0, &got) != 0)
		rc = qb_err_set(err, QB_EPG, "the server does not say whether it gave a lock");
	PQclear(res);
	if (rc < 0 || got || !holder)
		return rc < 0 ? qb_err_context(err, "could not lock the run") : got;
	*holder = 0;
	/* Of a lock on a bigint the two halves are classid and objid. */
	rc = qb_pg_query(conn, "select l.pid::bigint from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1"
			 " and l.database = (select oid from pg_database where datname = current_database())"
			 " and (l.classid::bigint << 32 | l.objid::bigint) = $1 limit 1", 1, oids, values, lengths, formats, 1,
			 &res, err);
	if (rc < 0)
		return rc;
	if (PQntuples(res) == 1)
		qb_pg_get_i64(res, 0, 0, holder);
	PQclear(res);
	return 0;
}

int qb_schema_run_ended(PGconn *conn, const char *run_id, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	const int lengths[] = { (int)strlen(run_id) }, formats[] = { 0 };

	return qb_pg_query(conn, "update qbench.run set ended_at = now() where run_id = $1", 1, oids, values, lengths,
			   formats, 1, NULL, err);
}

int qb_schema_cluster_id(PGconn *conn, uint64_t *id, struct qb_err *err)
{
	int64_t v = 0;
	int rc = qb_pg_query_i64(conn, "select system_identifier from pg_control_system()", &v, err);

	if (rc < 0)
		return qb_err_context(err, "could not read the identity of the Postgres cluster");
	*id = (uint64_t)v;
	return 0;
}
