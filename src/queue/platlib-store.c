/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statements of the original benchmark's store, in its order and with its transactions: enqueue is one statement;
 * pop counts first, then a transaction takes a permit and a row; delete is two statements and no transaction.
 * The notification rides on the last statement of each, so that the number of round trips is the original's, whose
 * notifications stayed in its process.
 */
#include "queue/platlib-inside.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "pg/array.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "shm/status.h"

/* adapter.go, constants.go */
#define QUEUE_NAME "benchmark"
#define PRIORITY 10
#define MAX_PRIORITY INT32_MAX

static const char tables_sql[] =
	"begin;"
	"drop schema if exists qbench_platlib cascade;"
	"create schema qbench_platlib;"
	"create table qbench_platlib.queue ("
	"  id bigserial primary key, created_at timestamptz not null default now(),"
	"  updated_at timestamptz not null default now(), name text not null, priority bigint not null,"
	"  permit bigint not null default 0, item bytea not null, group_id bigint, type bigint not null,"
	"  address text unique, carrier bytea);"
	"create index idx_queue_name_pri_permit_type on qbench_platlib.queue (name, priority, permit, type);"
	"create table qbench_platlib.queue_permits ("
	"  id bigserial primary key, created_at timestamptz not null default now());"
	"create table qbench_platlib.queue_failure (address text not null, error text not null);"
	"create index idx_queue_failure_address on qbench_platlib.queue_failure (address);";

/* What the adapter leaves out. */
static const char groups_sql[] =
	"create table qbench_platlib.queue_group ("
	"  id bigserial primary key, name text not null unique, cancelled boolean not null default false,"
	"  started boolean not null default false);";

static const char durable_sql[] =
	"alter table qbench_platlib.queue add column not_before timestamptz;"
	"create index queue_not_before on qbench_platlib.queue (not_before) where not_before is not null;";

/* Whose failure it is: the id of its row. */
static const char run_sql[] = "alter table qbench_platlib.queue_failure add column run bigint;";

static const char push_sql[] =
	"with new as (insert into qbench_platlib.queue (name, priority, item, group_id, type, address, carrier)"
	" values ('" QUEUE_NAME "', $1::bigint, $2::bytea, null, $3::bigint, $4::text, '') returning id)"
	" select id, pg_notify('" QB_PLATLIB_MESSAGES "', $5) from new";

/* $1: the largest priority number; $2: types. */
#define ELIGIBLE " where name = '" QUEUE_NAME "' and priority <= $1::bigint and permit = 0 and type = any($2::bigint[])"
#define GROUP_STARTED " and (group_id is null or exists (select from qbench_platlib.queue_group g" \
	" where g.id = group_id and g.started))"
#define IS_DUE " and (not_before is null or not_before <= now())"

static const char count_sql[] = "select count(*), null::bigint from qbench_platlib.queue" ELIGIBLE;
static const char count_due_sql[] =
	"select count(*), (select (extract(epoch from min(not_before) - now()) * 1000000)::bigint"
	" from qbench_platlib.queue where not_before > now() and permit = 0) from qbench_platlib.queue" ELIGIBLE;

static const char permit_sql[] = "insert into qbench_platlib.queue_permits default values returning id";

static const char pop_begin_sql[] =
	"update qbench_platlib.queue set permit = $3::bigint, updated_at = now() where id = ("
	"select id from qbench_platlib.queue" ELIGIBLE;
static const char pop_end_sql[] =
	" order by priority asc, id asc limit 1 for update skip locked)"
	" returning coalesce(address, ''), type, item, coalesce(carrier, '')";

static const char unpermit_sql[] = "delete from qbench_platlib.queue_permits where id = $1::bigint";

static const char delete_row_sql[] =
	"with gone as (delete from qbench_platlib.queue where permit = $1::bigint returning 1) select count(*) from gone";
/* The work-ready notification goes out whether there was a permit or not. */
static const char delete_permit_sql[] =
	"with gone as (delete from qbench_platlib.queue_permits where id = $1::bigint)"
	" select pg_notify('" QB_PLATLIB_MESSAGES "', $2)";

static const char delete_run_sql[] =
	"with gone as (delete from qbench_platlib.queue where permit = $1::bigint returning id, address),"
	" old as (delete from qbench_platlib.queue_failure f using gone where f.address = gone.address and f.run <= gone.id),"
	" told as (insert into qbench_platlib.queue_failure (address, error, run)"
	" select address, $2::text, id from gone where $2::text is not null)"
	" select pg_notify('" QB_PLATLIB_MESSAGES "', $3) from gone";

static const char requeue_sql[] =
	"with back as (update qbench_platlib.queue set permit = 0, updated_at = now(), item = $2::bytea,"
	" not_before = now() + $3::bigint * interval '1 microsecond' where permit = $1::bigint returning 1)"
	" select count(*) from back";

static const char row_of_sql[] = "select id from qbench_platlib.queue where address = $1::text";

static const char notify_sql[] = "select pg_notify('" QB_PLATLIB_MESSAGES "', $1)";

int qb_platlib_create_tables(PGconn *conn, const struct qb_platlib_settings *s, struct qb_err *err)
{
	int rc = qb_pg_exec(conn, tables_sql, err);

	if (rc == 0 && s->adapter != QB_PLATLIB_PUBLISHED)
		rc = qb_pg_exec(conn, groups_sql, err);
	if (rc == 0 && s->durable)
		rc = qb_pg_exec(conn, durable_sql, err);
	if (rc == 0 && s->adapter == QB_PLATLIB_FIXED)
		rc = qb_pg_exec(conn, run_sql, err);
	return rc < 0 ? rc : qb_pg_exec(conn, "commit", err);
}

static int prepare_pop(PGconn *conn, const struct qb_platlib_settings *s, struct qb_err *err)
{
	const char *group = s->adapter == QB_PLATLIB_PUBLISHED ? "" : GROUP_STARTED;
	const char *due = s->durable ? IS_DUE : "";
	struct qb_strbuf count = { 0 }, pop = { 0 };
	int rc;

	qb_strbuf_add(&count, s->durable ? count_due_sql : count_sql);
	qb_strbuf_add(&count, group);
	qb_strbuf_add(&count, due);
	qb_strbuf_add(&pop, pop_begin_sql);
	qb_strbuf_add(&pop, group);
	qb_strbuf_add(&pop, due);
	qb_strbuf_add(&pop, pop_end_sql);
	rc = qb_pg_prepare(conn, "count", count.data, 0, NULL, err);
	if (rc == 0)
		rc = qb_pg_prepare(conn, "pop", pop.data, 0, NULL, err);
	qb_strbuf_free(&count);
	qb_strbuf_free(&pop);
	return rc;
}

int qb_platlib_prepare(PGconn *conn, const struct qb_platlib_settings *s, struct qb_err *err)
{
	const struct { const char *name, *sql; } all[] = {
		{ "push", push_sql }, { "permit", permit_sql }, { "unpermit", unpermit_sql },
		{ "delete-row", delete_row_sql }, { "delete-permit", delete_permit_sql }, { "notify", notify_sql },
	};
	int rc = prepare_pop(conn, s, err);

	for (size_t i = 0; rc == 0 && i < sizeof(all) / sizeof(all[0]); i++)
		rc = qb_pg_prepare(conn, all[i].name, all[i].sql, 0, NULL, err);
	if (rc == 0 && s->durable)
		rc = qb_pg_prepare(conn, "requeue", requeue_sql, 0, NULL, err);
	if (rc == 0 && s->adapter == QB_PLATLIB_FIXED)
		rc = qb_pg_prepare(conn, "delete-run", delete_run_sql, 0, NULL, err);
	if (rc == 0 && s->adapter == QB_PLATLIB_FIXED)
		rc = qb_pg_prepare(conn, "row-of", row_of_sql, 0, NULL, err);
	return rc;
}

static int run(PGconn *conn, const char *name, const struct qb_sql_args *a, PGresult **res, struct qb_err *err)
{
	return qb_pg_exec_prepared(conn, name, a->n, a->values, a->lengths, a->formats, 1, res, err);
}

int qb_platlib_push(PGconn *conn, const struct qb_platlib_settings *s, const char *address, int64_t type,
		    const struct qb_strbuf *item, int64_t *row, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;
	char note[QB_PLATLIB_NOTE_BYTES];

	qb_arg_i64(&a, PRIORITY);
	qb_arg_bytes(&a, item->data, (uint32_t)item->bytes);
	qb_arg_i64(&a, type);
	qb_arg_text(&a, address);
	qb_arg_text(&a, qb_platlib_note_ready(note, s->adapter != QB_PLATLIB_PUBLISHED));
	int rc = run(conn, "push", &a, &res, err);

	if (rc < 0 && address && strcmp(qb_pg_sqlstate(), "23505") == 0) {
		qb_err_clear(err);
		return QB_DUPLICATE;
	}
	if (rc == 0 && row && qb_pg_get_i64(res, 0, 0, row))
		rc = qb_err_set(err, QB_ECORRUPT, "the id of a row is no bigint");
	PQclear(res);
	return rc < 0 ? rc : QB_OK;
}

int qb_platlib_row_of(PGconn *conn, const char *address, int64_t *row, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;

	*row = 0;
	qb_arg_text(&a, address);
	int rc = run(conn, "row-of", &a, &res, err);

	if (rc == 0 && PQntuples(res) > 0 && qb_pg_get_i64(res, 0, 0, row))
		rc = qb_err_set(err, QB_ECORRUPT, "the id of a row is no bigint");
	PQclear(res);
	return rc;
}

/* As the runner has them registered: one per kind. */
static void arg_types(struct qb_sql_args *a, struct qb_pg_array *types)
{
	const char *value;
	int bytes;

	qb_pg_array_init(types, QB_PG_INT8);
	qb_pg_array_reset(types);
	for (uint16_t kind = 0; kind < QB_PLATLIB_KINDS; kind++)
		qb_pg_array_add_i64(types, qb_platlib_type(kind));
	qb_pg_array_finish(types, &value, &bytes);
	qb_arg_bytes(a, value, (uint32_t)bytes);
}

/* How many are there; with none of them, when one will be. */
static int count_ready(PGconn *conn, const struct qb_sql_args *a, int64_t *count, uint64_t *next_due_ns, struct qb_err *err)
{
	PGresult *res = NULL;
	int64_t in_us = 0;
	int rc = run(conn, "count", a, &res, err);

	if (rc < 0)
		return rc;
	if (qb_pg_get_i64(res, 0, 0, count))
		rc = qb_err_set(err, QB_ECORRUPT, "the count of the queue is no bigint");
	*next_due_ns = qb_pg_get_i64(res, 0, 1, &in_us) == 0 && in_us >= 0 ?
		qb_now_ns() + (uint64_t)in_us * QB_NS_PER_US + QB_NS_PER_MS : 0;
	PQclear(res);
	return rc;
}

static char *copy_of(const void *data, size_t bytes)
{
	char *copy = qb_xmalloc(bytes + 1);

	memcpy(copy, data, bytes);
	copy[bytes] = 0;
	return copy;
}

static int read_work(const PGresult *res, struct qb_platlib_work *w)
{
	const void *item;
	const char *address;
	size_t address_bytes;

	if (qb_pg_get_text(res, 0, 0, &address, &address_bytes) || qb_pg_get_i64(res, 0, 1, &w->type) ||
	    qb_pg_get_bytea(res, 0, 2, &item, &w->item_bytes))
		return QB_ECORRUPT;
	w->address = copy_of(address, address_bytes);
	w->item = copy_of(item, w->item_bytes);
	return 0;
}

static int reserve_permit(PGconn *conn, int64_t *permit, struct qb_err *err)
{
	struct qb_sql_args none = { .n = 0 };
	PGresult *res = NULL;
	int rc = run(conn, "permit", &none, &res, err);

	if (rc == 0 && qb_pg_get_i64(res, 0, 0, permit))
		rc = qb_err_set(err, QB_ECORRUPT, "a permit is no bigint");
	PQclear(res);
	return rc;
}

static int take_row(PGconn *conn, struct qb_sql_args *a, struct qb_platlib_work *w, struct qb_err *err)
{
	struct qb_sql_args permit = { .n = 0 };
	PGresult *res = NULL;
	int rc = reserve_permit(conn, &w->permit, err);

	if (rc < 0)
		return rc;
	qb_arg_i64(a, w->permit);
	rc = run(conn, "pop", a, &res, err);
	if (rc < 0)
		return rc;
	if (PQntuples(res) == 0) {
		qb_arg_i64(&permit, w->permit);
		rc = run(conn, "unpermit", &permit, NULL, err);
		rc = rc < 0 ? rc : QB_EMPTY;
	} else if (read_work(res, w) < 0) {
		rc = qb_err_set(err, QB_ECORRUPT, "a row of the queue has other types than it should");
	} else {
		rc = QB_OK;
	}
	PQclear(res);
	return rc;
}

int qb_platlib_pop(PGconn *conn, struct qb_platlib_work *work, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	struct qb_pg_array types;
	int64_t count = 0;

	*work = (struct qb_platlib_work){ 0 };
	qb_arg_i64(&a, MAX_PRIORITY);
	arg_types(&a, &types);
	int rc = count_ready(conn, &a, &count, &work->next_due_ns, err);

	if (rc == 0 && count == 0)
		rc = QB_EMPTY;
	else if (rc == 0)
		rc = qb_pg_exec(conn, "begin", err);
	if (rc == 0) {
		rc = take_row(conn, &a, work, err);
		int ended = qb_pg_exec(conn, rc == QB_OK ? "commit" : "rollback", rc < 0 ? NULL : err);

		if (rc >= 0 && ended < 0)
			rc = ended;
	}
	qb_pg_array_free(&types);
	if (rc != QB_OK) {
		free(work->address);
		free(work->item);
		work->address = work->item = NULL;
	}
	return rc;
}

static int read_rows(PGresult *res, int *rows, struct qb_err *err)
{
	int64_t n = 0;
	int rc = qb_pg_get_i64(res, 0, 0, &n) ? qb_err_set(err, QB_ECORRUPT, "a count of rows is no bigint") : 0;

	PQclear(res);
	if (rows)
		*rows = (int)n;
	return rc;
}

static int delete_permit(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char note[QB_PLATLIB_NOTE_BYTES];

	qb_arg_i64(&a, permit);
	qb_arg_text(&a, qb_platlib_note_ready(note, s->adapter != QB_PLATLIB_PUBLISHED));
	return run(conn, "delete-permit", &a, NULL, err);
}

int qb_platlib_delete(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, int *rows, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;

	qb_arg_i64(&a, permit);
	int rc = run(conn, "delete-row", &a, &res, err);

	if (rc == 0)
		rc = read_rows(res, rows, err);
	if (rc < 0)
		return rc;
	qb_platlib_at(QB_PLATLIB_AFTER_DELETE_ROW);
	return delete_permit(conn, s, permit, err);
}

int qb_platlib_delete_run(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, const char *address,
			  const char *failure, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	struct qb_strbuf note = { 0 };

	qb_platlib_note_complete(&note, address);
	qb_arg_i64(&a, permit);
	qb_arg_text(&a, failure);
	qb_arg_text(&a, note.data);
	int rc = run(conn, "delete-run", &a, NULL, err);

	qb_strbuf_free(&note);
	if (rc < 0)
		return rc;
	qb_platlib_at(QB_PLATLIB_AFTER_DELETE_ROW);
	return delete_permit(conn, s, permit, err);
}

int qb_platlib_requeue(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, const struct qb_strbuf *item,
		       uint64_t delay_ns, int *rows, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;

	qb_arg_i64(&a, permit);
	qb_arg_bytes(&a, item->data, (uint32_t)item->bytes);
	qb_arg_i64(&a, (int64_t)(delay_ns / QB_NS_PER_US));
	int rc = run(conn, "requeue", &a, &res, err);

	if (rc == 0)
		rc = read_rows(res, rows, err);
	return rc < 0 ? rc : delete_permit(conn, s, permit, err);
}

int qb_platlib_notify_complete(PGconn *conn, const char *address, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	struct qb_strbuf note = { 0 };

	qb_platlib_note_complete(&note, address);
	qb_arg_text(&a, note.data);
	int rc = run(conn, "notify", &a, NULL, err);

	qb_strbuf_free(&note);
	return rc;
}
