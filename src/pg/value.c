/* SPDX-License-Identifier: Apache-2.0 */
/* Binary values of results, and the statistics snapshot that is read with them. */
#include <endian.h>
#include <string.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "shm/status.h"

/* 0, QB_PG_NULL or QB_ECORRUPT. bytes 0: any size. */
static int find_value(const PGresult *res, int row, int col, size_t bytes, const char **value)
{
	if (row < 0 || col < 0 || row >= PQntuples(res) || col >= PQnfields(res))
		return QB_ECORRUPT;
	if (PQgetisnull(res, row, col))
		return QB_PG_NULL;
	if (PQfformat(res, col) != 1)
		return QB_ECORRUPT;
	if (bytes && (size_t)PQgetlength(res, row, col) != bytes)
		return QB_ECORRUPT;
	*value = PQgetvalue(res, row, col);
	return 0;
}

int qb_pg_get_i16(const PGresult *res, int row, int col, int16_t *out)
{
	const char *value;
	uint16_t be;
	int ret = find_value(res, row, col, sizeof(be), &value);

	if (ret)
		return ret;
	memcpy(&be, value, sizeof(be));
	*out = (int16_t)be16toh(be);
	return 0;
}

int qb_pg_get_i32(const PGresult *res, int row, int col, int32_t *out)
{
	const char *value;
	uint32_t be;
	int ret = find_value(res, row, col, sizeof(be), &value);

	if (ret)
		return ret;
	memcpy(&be, value, sizeof(be));
	*out = (int32_t)be32toh(be);
	return 0;
}

int qb_pg_get_i64(const PGresult *res, int row, int col, int64_t *out)
{
	const char *value;
	uint64_t be;
	int ret = find_value(res, row, col, sizeof(be), &value);

	if (ret)
		return ret;
	memcpy(&be, value, sizeof(be));
	*out = (int64_t)be64toh(be);
	return 0;
}

int qb_pg_get_bool(const PGresult *res, int row, int col, bool *out)
{
	const char *value;
	int ret = find_value(res, row, col, 1, &value);

	if (ret)
		return ret;
	*out = *value;
	return 0;
}

int qb_pg_get_timestamptz(const PGresult *res, int row, int col, uint64_t *unix_ns)
{
	int64_t us;
	int ret = qb_pg_get_i64(res, row, col, &us);

	if (ret)
		return ret;
	/* Before 1970, after 64 bits of ns (the year 2554) and "infinity" have no such number. */
	if (us < -QB_PG_EPOCH_US || us > (int64_t)(UINT64_MAX / 1000) - QB_PG_EPOCH_US)
		return QB_ECORRUPT;
	*unix_ns = (uint64_t)(us + QB_PG_EPOCH_US) * 1000;
	return 0;
}

int qb_pg_get_bytea(const PGresult *res, int row, int col, const void **data, size_t *bytes)
{
	const char *value;
	int ret = find_value(res, row, col, 0, &value);

	if (ret)
		return ret;
	*data = value;
	*bytes = (size_t)PQgetlength(res, row, col);
	return 0;
}

int qb_pg_get_text(const PGresult *res, int row, int col, const char **text, size_t *bytes)
{
	const char *value;
	int ret = find_value(res, row, col, 0, &value);

	if (ret)
		return ret;
	*text = value;
	*bytes = (size_t)PQgetlength(res, row, col);
	return 0;
}

int qb_pg_stats_read(PGconn *conn, struct qb_pg_stats *out, struct qb_err *err)
{
	static const char sql[] =
		"SELECT xact_commit, xact_rollback, tup_inserted, tup_updated, tup_deleted, "
		"tup_fetched,"
		" blks_read, blks_hit, deadlocks, pg_catalog.pg_wal_lsn_diff("
		"CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()"
		" ELSE pg_catalog.pg_current_wal_insert_lsn() END, '0/0')::bigint"
		" FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()";
	struct qb_pg_stats s = { 0 };
	int64_t *const fields[] = {
		&s.commits_count, &s.rollbacks_count, &s.inserted_count, &s.updated_count,
		&s.deleted_count, &s.fetched_count, &s.blocks_read_count, &s.blocks_hit_count,
		&s.deadlocks_count, &s.wal_bytes,
	};
	PGresult *res;
	size_t i;
	int ret;

	ret = qb_pg_query(conn, sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);
	if (ret < 0) {
		qb_err_context(err, "could not read the database statistics");
		return ret;
	}
	s.at_ns = qb_now_ns();
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (qb_pg_get_i64(res, 0, (int)i, fields[i])) {
			ret = qb_err_set(err, QB_ECORRUPT,
					 "could not read the database statistics: column %s is "
					 "not a bigint",
					 PQfname(res, (int)i) ? PQfname(res, (int)i) : "?");
			break;
		}
	}
	PQclear(res);
	if (!ret)
		*out = s;
	return ret;
}

struct qb_pg_stats qb_pg_stats_diff(const struct qb_pg_stats *before,
				    const struct qb_pg_stats *after)
{
	struct qb_pg_stats d = {
		.at_ns = after->at_ns - before->at_ns,
		.commits_count = after->commits_count - before->commits_count,
		.rollbacks_count = after->rollbacks_count - before->rollbacks_count,
		.inserted_count = after->inserted_count - before->inserted_count,
		.updated_count = after->updated_count - before->updated_count,
		.deleted_count = after->deleted_count - before->deleted_count,
		.fetched_count = after->fetched_count - before->fetched_count,
		.blocks_read_count = after->blocks_read_count - before->blocks_read_count,
		.blocks_hit_count = after->blocks_hit_count - before->blocks_hit_count,
		.deadlocks_count = after->deadlocks_count - before->deadlocks_count,
		.wal_bytes = after->wal_bytes - before->wal_bytes,
	};

	return d;
}
