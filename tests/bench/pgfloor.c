/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/pgfloor.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "tests/bench/bench.h"

#define CONNECT_NS 10000000000ull
/* Any; the engine's rows have the number of the run here. */
#define RUN_NO 1

/* The columns of a live job behind its run's number; no due_at, as in a job that does not wait, and no key. */
static const struct {
	const char *name, *type;
	unsigned oid;
	int bytes;              /* -1: NULL, 0: the payload */
} column[PGFLOOR_COLUMNS] = {
	{ "job_id", "bigint", QB_PG_INT8, 8 },
	{ "state", "smallint", QB_PG_INT2, 2 },
	{ "attempt", "int", QB_PG_INT4, 4 },
	{ "failures", "smallint", QB_PG_INT2, 2 },
	{ "due_at", "timestamptz", QB_PG_TIMESTAMPTZ, -1 },
	{ "tenant", "int", QB_PG_INT4, 4 },
	{ "kind", "smallint", QB_PG_INT2, 2 },
	{ "error_class", "smallint", QB_PG_INT2, 2 },
	{ "max_attempts", "smallint", QB_PG_INT2, 2 },
	{ "effect_class", "smallint", QB_PG_INT2, 2 },
	{ "work_us", "int", QB_PG_INT4, 4 },
	{ "payload", "bytea", QB_PG_BYTEA, 0 },
	{ "key", "bytea", QB_PG_BYTEA, -1 },
};

static const char create_sql[] =
	"drop schema if exists floor cascade; create schema floor;"
	"create table floor.job (run_no bigint not null, job_id bigint not null,"
	" state smallint not null, attempt int not null, failures smallint not null,"
	" due_at timestamptz, tenant int not null, kind smallint not null,"
	" error_class smallint not null, max_attempts smallint not null,"
	" effect_class smallint not null, work_us int not null, payload bytea not null,"
	" accepted_at timestamptz not null default now(), key bytea,"
	" primary key (run_no, job_id)) with (fillfactor = 70);"
	"create table floor.outcome (run_no bigint not null, job_id bigint not null,"
	" state smallint not null, attempt int not null, failures smallint not null,"
	" seat smallint not null, result bytea, finished_at timestamptz not null default now(),"
	" primary key (run_no, job_id))";

#define TARGET \
	"floor.job (run_no, job_id, state, attempt, failures, due_at, tenant, kind, error_class," \
	" max_attempts, effect_class, work_us, payload, key)"

static const char unnest_sql[] =
	"insert into " TARGET " select 1, u.* from unnest($1::bigint[], $2::smallint[],"
	" $3::int[], $4::smallint[], $5::timestamptz[], $6::int[], $7::smallint[],"
	" $8::smallint[], $9::smallint[], $10::smallint[], $11::int[], $12::bytea[], $13::bytea[]) u";
static const char single_sql[] =
	"insert into " TARGET " values (1, $1::bigint, $2::smallint, $3::int, $4::smallint,"
	" $5::timestamptz, $6::int, $7::smallint, $8::smallint, $9::smallint, $10::smallint,"
	" $11::int, $12::bytea, $13::bytea)";
static const char finish_sql[] =
	"with del as (delete from floor.job j using unnest($1::bigint[]) u(job_id)"
	" where j.run_no = 1 and j.job_id = u.job_id)"
	" insert into floor.outcome (run_no, job_id, state, attempt, failures, seat)"
	" select 1, u, 5, 1, 0, 2 from unnest($1::bigint[]) u";
static const char copy_sql[] = "copy " TARGET " from stdin (format binary)";

static void need(int rc, const struct qb_err *err)
{
	if (rc < 0)
		bench_die("%s", err->text);
}

void pgfloor_sql(struct pgfloor *f, const char *sql)
{
	struct qb_err err = { 0 };

	need(qb_pg_exec(f->conn, sql, &err), &err);
}

void pgfloor_open(struct pgfloor *f, const char *conninfo)
{
	struct qb_err err = { 0 };

	memset(f, 0, sizeof(*f));
	f->next_id = f->oldest_id = 1;
	memset(f->payload, 0xa5, sizeof(f->payload));
	need(qb_pg_connect(conninfo, "qbench bench", CONNECT_NS, &f->conn, &err), &err);
	pgfloor_sql(f, "set client_min_messages = error");
	pgfloor_sql(f, create_sql);
	need(qb_pg_prepare(f->conn, "floor_unnest", unnest_sql, 0, NULL, &err), &err);
	need(qb_pg_prepare(f->conn, "floor_single", single_sql, 0, NULL, &err), &err);
	need(qb_pg_prepare(f->conn, "floor_finish", finish_sql, 0, NULL, &err), &err);
	for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++)
		qb_pg_array_init(&f->col[c], column[c].oid);
}

void pgfloor_close(struct pgfloor *f)
{
	for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++)
		qb_pg_array_free(&f->col[c]);
	free(f->copy);
	PQfinish(f->conn);
	memset(f, 0, sizeof(*f));
}

static int64_t value_of(const struct pgfloor *f, unsigned c)
{
	return c == 0 ? f->next_id : 3;
}

static void add_value(struct pgfloor *f, unsigned c)
{
	struct qb_pg_array *a = &f->col[c];

	switch (column[c].bytes) {
	case -1:
		qb_pg_array_add_null(a);
		break;
	case 0:
		qb_pg_array_add_bytea(a, f->payload, sizeof(f->payload));
		break;
	case 2:
		qb_pg_array_add_i16(a, (int16_t)value_of(f, c));
		break;
	case 4:
		qb_pg_array_add_i32(a, (int32_t)value_of(f, c));
		break;
	default:
		qb_pg_array_add_i64(a, value_of(f, c));
		break;
	}
}

static void execute(struct pgfloor *f, const char *name, int count, const char *const *values,
		    const int *lengths)
{
	static const int formats[PGFLOOR_COLUMNS] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	struct qb_err err = { 0 };

	need(qb_pg_exec_prepared(f->conn, name, count, values, lengths, formats, 1, NULL, &err),
	     &err);
}

void pgfloor_unnest(struct pgfloor *f, unsigned n)
{
	const char *values[PGFLOOR_COLUMNS];
	int lengths[PGFLOOR_COLUMNS];

	for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++)
		qb_pg_array_reset(&f->col[c]);
	for (unsigned i = 0; i < n; i++, f->next_id++) {
		for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++)
			add_value(f, c);
	}
	for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++) {
		if (qb_pg_array_finish(&f->col[c], &values[c], &lengths[c]) < 0)
			bench_die("a batch of %u rows does not fit into an array", n);
	}
	execute(f, "floor_unnest", PGFLOOR_COLUMNS, values, lengths);
}

/* A value in network order, at most 8 bytes. */
static void encode(unsigned char *to, int64_t v, int bytes)
{
	uint64_t be = htobe64((uint64_t)v);

	memcpy(to, (const unsigned char *)&be + 8 - bytes, (size_t)bytes);
}

void pgfloor_single(struct pgfloor *f)
{
	const char *values[PGFLOOR_COLUMNS];
	int lengths[PGFLOOR_COLUMNS];
	unsigned char bytes[PGFLOOR_COLUMNS][8];

	for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++) {
		if (column[c].bytes > 0)
			encode(bytes[c], value_of(f, c), column[c].bytes);
		values[c] = column[c].bytes < 0 ? NULL :
			    (const char *)(column[c].bytes ? bytes[c] : f->payload);
		lengths[c] = column[c].bytes ? column[c].bytes : (int)sizeof(f->payload);
		if (lengths[c] < 0)
			lengths[c] = 0;
	}
	f->next_id++;
	execute(f, "floor_single", PGFLOOR_COLUMNS, values, lengths);
}

static unsigned char *put(unsigned char *to, int64_t v, int bytes)
{
	encode(to, v, bytes);
	return to + bytes;
}

static size_t copy_rows(struct pgfloor *f, unsigned n)
{
	static const char head[] = "PGCOPY\n\377\r\n";  /* its NUL belongs to it */
	size_t cap = 64 + (size_t)n * (64 + PGFLOOR_COLUMNS * 8 + PGFLOOR_PAYLOAD_BYTES);

	if (f->copy_cap < cap) {
		f->copy = realloc(f->copy, cap);
		f->copy_cap = cap;
		if (!f->copy)
			bench_die("out of memory");
	}
	unsigned char *p = f->copy;

	memcpy(p, head, sizeof(head));
	p = put(p + sizeof(head), 0, 8);
	for (unsigned i = 0; i < n; i++, f->next_id++) {
		p = put(p, PGFLOOR_COLUMNS + 1, 2);
		p = put(put(p, 8, 4), RUN_NO, 8);
		for (unsigned c = 0; c < PGFLOOR_COLUMNS; c++) {
			if (column[c].bytes < 0) {
				p = put(p, -1, 4);
			} else if (column[c].bytes == 0) {
				p = put(p, PGFLOOR_PAYLOAD_BYTES, 4);
				memcpy(p, f->payload, PGFLOOR_PAYLOAD_BYTES);
				p += PGFLOOR_PAYLOAD_BYTES;
			} else {
				p = put(put(p, column[c].bytes, 4), value_of(f, c),
					column[c].bytes);
			}
		}
	}
	return (size_t)(put(p, -1, 2) - f->copy);
}

void pgfloor_copy(struct pgfloor *f, unsigned n)
{
	size_t bytes = copy_rows(f, n);
	struct qb_err err = { 0 };

	need(qb_pg_exec(f->conn, copy_sql, &err), &err);
	if (PQputCopyData(f->conn, (const char *)f->copy, (int)bytes) != 1 ||
	    PQputCopyEnd(f->conn, NULL) != 1)
		bench_die("could not send COPY data: %s", PQerrorMessage(f->conn));
	PGresult *res = PQgetResult(f->conn);

	need(qb_pg_check_result(f->conn, res, "COPY", &err), &err);
	PQclear(res);
	while ((res = PQgetResult(f->conn)))
		PQclear(res);
}

void pgfloor_finish(struct pgfloor *f, unsigned n)
{
	struct qb_pg_array *ids = &f->col[0];
	const char *value;
	int bytes;

	qb_pg_array_reset(ids);
	for (unsigned i = 0; i < n; i++)
		qb_pg_array_add_i64(ids, f->oldest_id++);
	if (qb_pg_array_finish(ids, &value, &bytes) < 0)
		bench_die("a batch of %u rows does not fit into an array", n);
	execute(f, "floor_finish", 1, &value, &bytes);
}

void pgfloor_empty(struct pgfloor *f)
{
	/* Not by TRUNCATE: the engine's rows go by DELETE, and a table in use does not grow anew. */
	pgfloor_sql(f, "delete from floor.job");
	pgfloor_sql(f, "vacuum (truncate off) floor.job");
	f->oldest_id = f->next_id;
}

int64_t pgfloor_rows(struct pgfloor *f)
{
	struct qb_err err = { 0 };
	int64_t n = 0;

	need(qb_pg_query_i64(f->conn, "select count(*) from floor.job", &n, &err), &err);
	return n;
}
