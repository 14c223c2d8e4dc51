/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "pg/conn.h"
#include "shm/status.h"

/* How late the collector of older servers may answer. */
#define COLLECTOR_NS QB_NS_PER_S

/* One statement, which is a transaction. */
static int ask(PGconn *conn, const char *sql, int64_t *own, PGresult **res, struct qb_err *err)
{
	int rc = qb_pg_query(conn, sql, 0, NULL, NULL, NULL, NULL, 1, res, err);

	(*own)++;
	return rc;
}

static int read_row(const PGresult *res, int64_t *const *fields, int count, struct qb_err *err)
{
	for (int i = 0; i < count; i++)
		if (qb_pg_get_i64(res, 0, i, fields[i]))
			return qb_err_set(err, QB_ECORRUPT, "column %s of the database statistics is not a bigint",
					  PQfname(res, i) ? PQfname(res, i) : "?");
	return 0;
}

int qb_pg_sessions_read(PGconn *conn, int64_t *own, struct qb_pg_sessions *out, struct qb_err *err)
{
	int64_t *const fields[] = { &out->ours, &out->strangers };
	PGresult *res = NULL;
	int rc = ask(conn, "SELECT count(*) FILTER (WHERE application_name LIKE 'qbench%'),"
		     " count(*) FILTER (WHERE application_name NOT LIKE 'qbench%')"
		     " FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()"
		     /* Of others it is hidden from those who may not see it. */
		     " AND coalesce(backend_type, 'client backend') = 'client backend'"
		     " AND pid <> pg_catalog.pg_backend_pid()", own, &res, err);

	if (rc == 0)
		rc = read_row(res, fields, 2, err);
	PQclear(res);
	return rc;
}

/* What this session did, too. */
static int publish(PGconn *conn, int64_t *own, struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = 0;

	if (PQserverVersion(conn) >= 150000)
		rc = ask(conn, "SELECT pg_catalog.pg_stat_force_next_flush()", own, &res, err);
	else
		qb_sleep_ns(COLLECTOR_NS);
	PQclear(res);
	return rc;
}

/* The view counts its own rows by a function; the extension may be in any schema, and yet not be loaded. */
static int read_statements(PGconn *conn, int64_t *own, int64_t *count, struct qb_err *err)
{
	PGresult *res = NULL;
	const char *schema;
	size_t bytes;
	int rc = ask(conn, "SELECT n.nspname::text FROM pg_catalog.pg_extension e"
		     " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
		     " WHERE e.extname = 'pg_stat_statements'", own, &res, err);

	*count = -1;
	if (rc == 0 && PQntuples(res) == 1 && qb_pg_get_text(res, 0, 0, &schema, &bytes) == 0) {
		char *quoted = PQescapeIdentifier(conn, schema, bytes);
		char *sql = qb_xasprintf("SELECT coalesce(sum(calls), 0)::bigint FROM"
					 " %s.pg_stat_statements(false) WHERE dbid ="
					 " (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
					 " pg_catalog.current_database())", quoted ? quoted : "public");
		PGresult *sum = NULL;
		struct qb_err why = { 0 };

		if (ask(conn, sql, own, &sum, &why) < 0 || qb_pg_get_i64(sum, 0, 0, count))
			*count = -1;
		PQclear(sum);
		free(sql);
		PQfreemem(quoted);
	}
	PQclear(res);
	return rc;
}

static const char stats_sql[] =
	"SELECT d.xact_commit, d.xact_rollback, d.tup_inserted, d.tup_updated, d.tup_deleted,"
	" t.dead::bigint, t.vacuums::bigint, pg_catalog.pg_wal_lsn_diff("
	"CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
	" ELSE pg_catalog.pg_current_wal_insert_lsn() END, '0/0')::bigint,"
	/* A backend that is killed makes all others start again, the checkpointer among them. */
	" pg_catalog.concat_ws(' ', pg_catalog.pg_postmaster_start_time(), d.stats_reset, (SELECT pid FROM"
	" pg_catalog.pg_stat_activity WHERE backend_type = 'checkpointer'))::text"
	" FROM pg_catalog.pg_stat_database d, (SELECT coalesce(sum(n_dead_tup), 0) AS dead,"
	" coalesce(sum(vacuum_count + autovacuum_count), 0) AS vacuums FROM pg_catalog.pg_stat_all_tables"
	" WHERE schemaname NOT IN ('pg_catalog', 'information_schema')) t"
	" WHERE d.datname = pg_catalog.current_database()";

int qb_pg_stats_read(PGconn *conn, int64_t *own, struct qb_pg_stats *out, struct qb_err *err)
{
	struct qb_pg_stats s = { .delayed = PQserverVersion(conn) < 150000 };
	int64_t *const fields[] = {
		&s.commits_count, &s.rollbacks_count, &s.inserted_count, &s.updated_count, &s.deleted_count,
		&s.dead_count, &s.vacuums_count, &s.wal_bytes,
	};
	const int count = (int)(sizeof(fields) / sizeof(fields[0]));
	struct qb_pg_sessions sessions = { 0 };
	PGresult *res = NULL;
	const char *life;
	size_t bytes;
	int64_t before_statements = *own;
	int rc = read_statements(conn, own, &s.statements_count, err);

	/* Two statements of ours were not yet in that sum or came after it: the sum is as of the same count as the rest. */
	if (rc == 0)
		rc = qb_pg_sessions_read(conn, own, &sessions, err);
	if (rc == 0)
		rc = publish(conn, own, err);
	s.own_count = *own;
	if (s.statements_count >= 0)
		s.statements_count += *own - (before_statements + 1);
	s.strangers_count = sessions.ours + sessions.strangers;
	if (rc == 0)
		rc = ask(conn, stats_sql, own, &res, err);
	if (rc == 0)
		rc = read_row(res, fields, count, err);
	if (rc == 0 && qb_pg_get_text(res, 0, count, &life, &bytes))
		rc = qb_err_set(err, QB_ECORRUPT, "the database statistics have other types than they should");
	if (rc == 0) {
		snprintf(s.life, sizeof(s.life), "%.*s", (int)bytes, life);
		*out = s;
	}
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not read the database statistics") : 0;
}
