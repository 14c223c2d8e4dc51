/* SPDX-License-Identifier: Apache-2.0 */
/* Binary values of results. */
#include <endian.h>
#include <string.h>

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
