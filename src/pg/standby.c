/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/standby.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "pg/conn.h"
#include "shm/status.h"

/* The timeline of what is being written: that of the last checkpoint is the old one for a while after a promotion. */
static const char where_sql[] =
	"select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint";

static const char system_sql[] = "select system_identifier from pg_control_system()";

/*
 * Without synchronous_commit a commit is answered before it is flushed, and only the end of the log lies behind it. That
 * is not taken always: it may lie behind records of others which nobody will flush soon.
 */
static const char standbys_sql[] =
	"with standby as (select flush_lsn - '0/0'::pg_lsn as lsn from pg_stat_replication r"
	"  where flush_lsn is not null and application_name not in ('pg_basebackup', 'pg_receivewal')"
	"  and not exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_type = 'logical'))"
	" select (case when current_setting('synchronous_commit') = 'off' then pg_current_wal_insert_lsn()"
	"   else pg_current_wal_flush_lsn() end - '0/0'::pg_lsn)::bigint,"
	"  coalesce((select lsn from standby order by lsn desc offset $1 - 1 limit 1), 0)::bigint,"
	"  (select count(*) from standby),"
	"  pg_has_role('pg_read_all_stats', 'usage')";

int qb_pg_where(PGconn *conn, struct qb_pg_where *out, struct qb_err *err)
{
	int64_t timeline = 0, id = 0;
	int rc = qb_pg_query_i64(conn, where_sql, &timeline, err);

	if (rc < 0)
		return qb_err_context(err, "could not read the timeline of the server");
	out->timeline = (uint32_t)timeline;
	rc = qb_pg_query_i64(conn, system_sql, &id, err);
	/* Not everybody may ask. */
	if (rc < 0 && strcmp(qb_pg_sqlstate(), "42501") == 0) {
		qb_err_clear(err);
		rc = 0;
		id = 0;
	}
	out->system_id = (uint64_t)id;
	return rc < 0 ? qb_err_context(err, "could not read the identity of the Postgres cluster") : 0;
}

int qb_pg_standbys(PGconn *conn, uint32_t wanted, struct qb_pg_standbys *out, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8 };
	uint64_t wanted_be = htobe64(wanted);
	const char *values[] = { (const char *)&wanted_be };
	const int lengths[] = { 8 }, formats[] = { 1 };
	int64_t lsn = 0, held = 0, count = 0;
	bool may_see = false;
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, standbys_sql, 1, oids, values, lengths, formats, 1, &res, err);

	if (rc == 0 && (qb_pg_get_i64(res, 0, 0, &lsn) || qb_pg_get_i64(res, 0, 1, &held) ||
			qb_pg_get_i64(res, 0, 2, &count) || qb_pg_get_bool(res, 0, 3, &may_see)))
		rc = qb_err_set(err, QB_ECORRUPT, "pg_stat_replication has other columns than it should");
	PQclear(res);
	if (rc < 0)
		return qb_err_context(err, "could not ask how far the standby servers are");
	if (!may_see)
		return qb_err_set(err, QB_EUSAGE, "this user may not see how far the standby servers are, which --replicas "
				  "needs: \"grant pg_monitor to ...\"");
	*out = (struct qb_pg_standbys){ .lsn = (uint64_t)lsn, .held_lsn = (uint64_t)held, .count = (uint32_t)count };
	return 0;
}
