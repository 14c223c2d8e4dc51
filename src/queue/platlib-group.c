/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: rows that wait until their group has started, and the runner that starts it, looks whether they are gone,
 * and pushes what ends it.  Its jobs are rows of a queue of their own; one runs at a time here.
 */
#include "queue/platlib.h"

#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "queue/platlib-inside.h"
#include "shm/status.h"

static const char *const flags[] = { "START", "END", "CANCEL", "ABORT" };

/* One statement with the group's number, or with a text in its place, and maybe another. */
static int run(PGconn *conn, const char *sql, const struct qb_sql_args *a, int64_t *n, struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, sql, a->n, NULL, a->values, a->lengths, a->formats, 1, &res, err);

	if (rc == 0 && n && (PQntuples(res) != 1 || qb_pg_get_i64(res, 0, 0, n)))
		rc = qb_err_set(err, QB_ECORRUPT, "no such group");
	PQclear(res);
	return rc;
}

static int run_id(PGconn *conn, const char *sql, int64_t id, int64_t *n, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_i64(&a, id);
	return run(conn, sql, &a, n, err);
}

int qb_platlib_group_new(PGconn *conn, const char *name, int64_t *id, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, name);
	return run(conn, "insert into qbench_platlib.queue_group (name) values ($1) returning id", &a, id, err);
}

static int notify_ready(PGconn *conn, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char note[QB_PLATLIB_NOTE_BYTES];

	qb_arg_text(&a, qb_platlib_note_ready(note, 1));
	return run(conn, "select pg_notify('" QB_PLATLIB_MESSAGES "', $1)", &a, NULL, err);
}

int qb_platlib_group_push(PGconn *conn, int64_t id, int64_t type, const char *item, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_i64(&a, id);
	qb_arg_i64(&a, type);
	qb_arg_bytes(&a, item, (uint32_t)strlen(item));
	int rc = run(conn, "insert into qbench_platlib.queue (name, priority, item, group_id, type)"
		     " values ('benchmark', 10, $3::bytea, $1::bigint, $2::bigint)", &a, NULL, err);

	return rc < 0 ? rc : notify_ready(conn, err);
}

int qb_platlib_group_start(PGconn *conn, int64_t id, struct qb_err *err)
{
	int64_t same;
	int rc = qb_pg_exec(conn, "begin", err);

	if (rc == 0)
		rc = run_id(conn, "update qbench_platlib.queue_group set started = true where id = $1::bigint returning id", id,
			    &same, err);
	if (rc == 0)
		rc = notify_ready(conn, err);
	int ended = qb_pg_exec(conn, rc == 0 ? "commit" : "rollback", rc == 0 ? err : NULL);

	return rc < 0 ? rc : ended;
}

int qb_platlib_group_complete(PGconn *conn, int64_t id, int *cancelled, struct qb_err *err)
{
	int64_t left = 0, was = 0;
	int rc = qb_pg_exec(conn, "begin", err);

	if (rc == 0)
		rc = run_id(conn, "select count(*) from qbench_platlib.queue where group_id = $1::bigint", id, &left, err);
	if (rc == 0 && left == 0)
		rc = run_id(conn, "delete from qbench_platlib.queue_group where id = $1::bigint returning cancelled::int::bigint",
			    id, &was, err);
	int ended = qb_pg_exec(conn, rc == 0 ? "commit" : "rollback", rc == 0 ? err : NULL);

	*cancelled = (int)was;
	return rc < 0 ? rc : ended < 0 ? ended : left == 0;
}

int qb_platlib_group_cancel(PGconn *conn, int64_t id, struct qb_err *err)
{
	int64_t same;

	return run_id(conn, "update qbench_platlib.queue_group set cancelled = true where id = $1::bigint returning id", id,
		      &same, err);
}

int qb_platlib_group_clear(PGconn *conn, int64_t id, struct qb_err *err)
{
	return run_id(conn, "delete from qbench_platlib.queue where group_id = $1::bigint", id, NULL, err);
}

/* ---- the runner ---- */

int qb_platlib_group_push_job(PGconn *conn, int64_t id, enum qb_platlib_group_flag flag, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	struct qb_strbuf item = { 0 };

	qb_strbuf_printf(&item, "{\"group_id\":%lld,\"flag\":\"%s\"}", (long long)id, flags[flag]);
	qb_arg_bytes(&a, item.data, (uint32_t)item.bytes);
	qb_arg_i64(&a, qb_platlib_type_of_name("group"));
	int rc = run(conn, "insert into qbench_platlib.queue (name, priority, item, type)"
		     " values ('groups', 0, $1::bytea, $2::bigint)", &a, NULL, err);

	qb_strbuf_free(&item);
	return rc < 0 ? rc : notify_ready(conn, err);
}

/* 1: one was taken, under *permit; 0: none; negative. */
static int take_job(PGconn *conn, int64_t *permit, int64_t *id, enum qb_platlib_group_flag *flag, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;
	const void *item;
	const char *text;
	size_t bytes, n;
	uint64_t group;
	int rc = run(conn, "insert into qbench_platlib.queue_permits default values returning id", &a, permit, err);

	if (rc < 0)
		return rc;
	qb_arg_i64(&a, *permit);
	rc = qb_pg_query(conn, "update qbench_platlib.queue set permit = $1::bigint, updated_at = now() where id = ("
			 "select id from qbench_platlib.queue where name = 'groups' and permit = 0"
			 " order by priority, id limit 1 for update skip locked) returning item", a.n, NULL, a.values, a.lengths,
			 a.formats, 1, &res, err);
	if (rc == 0 && PQntuples(res) == 0) {
		PQclear(res);
		return run_id(conn, "delete from qbench_platlib.queue_permits where id = $1::bigint", *permit, NULL, err);
	}
	if (rc == 0 && (qb_pg_get_bytea(res, 0, 0, &item, &bytes) || qb_platlib_json_u64(item, bytes, "group_id", &group) < 0 ||
			qb_platlib_json_find(item, bytes, "flag", &text, &n) < 0))
		rc = qb_err_set(err, QB_ECORRUPT, "a job of the group runner cannot be read");
	if (rc == 0) {
		*id = (int64_t)group;
		*flag = QB_PLATLIB_GROUP_ABORT;
		for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (strlen(flags[i]) == n && memcmp(flags[i], text, n) == 0)
				*flag = (enum qb_platlib_group_flag)i;
	}
	PQclear(res);
	return rc < 0 ? rc : 1;
}

static int run_start(PGconn *conn, int64_t id, uint64_t deadline_ns, struct qb_err *err)
{
	int cancelled = 0, rc = qb_platlib_group_start(conn, id, err);

	if (rc < 0)
		return rc;
	while ((rc = qb_platlib_group_complete(conn, id, &cancelled, err)) == 0) {
		uint64_t next = qb_now_ns() + qb_platlib_fixed.group_poll_ns;

		if (qb_now_ns() >= deadline_ns)
			return QB_ETIMEOUT;
		qb_sleep_until_ns(next < deadline_ns ? next : deadline_ns);
	}
	if (rc < 0)
		return rc;
	return qb_platlib_group_push_job(conn, id, cancelled ? QB_PLATLIB_GROUP_ABORT : QB_PLATLIB_GROUP_END, err);
}

static int run_cancel(PGconn *conn, int64_t id, struct qb_err *err)
{
	int rc = qb_platlib_group_cancel(conn, id, err);

	return rc < 0 ? rc : qb_platlib_group_clear(conn, id, err);
}

int qb_platlib_group_run(PGconn *conn, uint64_t deadline_ns, enum qb_platlib_group_flag *flag, int64_t *id,
			 struct qb_err *err)
{
	int64_t permit = 0;
	int rc = take_job(conn, &permit, id, flag, err);

	if (rc <= 0)
		return rc;
	rc = *flag == QB_PLATLIB_GROUP_START ? run_start(conn, *id, deadline_ns, err) :
	     *flag == QB_PLATLIB_GROUP_CANCEL ? run_cancel(conn, *id, err) : 0;
	if (rc == QB_ETIMEOUT) {
		int back = run_id(conn, "update qbench_platlib.queue set permit = 0 where permit = $1::bigint", permit, NULL, err);

		return back < 0 ? back : qb_err_set(err, QB_ETIMEOUT, "the group was not complete in time");
	}
	/* As an agent ends any job: its row goes, whether it failed or not. */
	int gone = run_id(conn, "delete from qbench_platlib.queue where permit = $1::bigint", permit, NULL, rc < 0 ? NULL : err);

	if (gone == 0)
		gone = run_id(conn, "delete from qbench_platlib.queue_permits where id = $1::bigint", permit, NULL,
			      rc < 0 ? NULL : err);
	return rc < 0 ? rc : gone < 0 ? gone : 1;
}
