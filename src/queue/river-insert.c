/* SPDX-License-Identifier: Apache-2.0 */
/* The insert path: rows, and the notification that River's clients send themselves, in one transaction. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-tables.h"

#define JSONB_OID 3802
#define JSONB_VERSION 1

enum column {
	IN_ID, IN_ARGS, IN_CREATED_AT, IN_KIND, IN_MAX_ATTEMPTS, IN_METADATA, IN_PRIORITY, IN_QUEUE, IN_SCHEDULED_AT, IN_STATE,
	IN_TAGS, IN_UNIQUE_KEY, IN_UNIQUE_STATES, IN_COLUMNS,
};

struct qb_river_inserter {
	PGconn *conn;
	const char *schema;
	struct qb_river_limiter *limiter;
	struct qb_pg_array column[IN_COLUMNS];
	struct qb_strbuf json;
};

/* A conflict sets a column to itself: something has to be updated for the row to be returned. */
static const char insert_sql[] =
	"insert into $S.river_job (id, args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state,"
	" tags, unique_key, unique_states)"
	" select coalesce(nullif(n.id, 0), nextval('$S.river_job_id_seq'::regclass)), n.args, n.created_at, n.kind,"
	" n.max_attempts, n.metadata, n.priority, n.queue, n.scheduled_at, n.state::$S.river_job_state,"
	" string_to_array(n.tags, ',')::varchar(255)[], nullif(n.unique_key, ''), nullif(n.unique_states, 0)::bit(8)"
	" from unnest($1::bigint[], $2::jsonb[], $3::timestamptz[], $4::text[], $5::smallint[], $6::jsonb[],"
	" $7::smallint[], $8::text[], $9::timestamptz[], $10::text[], $11::text[], $12::bytea[], $13::integer[])"
	" as n (id, args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags, unique_key,"
	" unique_states)"
	" on conflict (unique_key)" RIVER_UNIQUE_PREDICATE
	" do update set kind = river_job.kind"
	" returning " RIVER_JOB_COLUMNS("river_job.") ", xmax <> 0";

static const char notify_sql[] = "select pg_notify($1::text, payload) from unnest($2::text[]) as n (payload)";

int qb_river_inserter_open(PGconn *conn, const char *schema, struct qb_river_limiter *limiter,
			   struct qb_river_inserter **out, struct qb_err *err)
{
	static const uint32_t type[IN_COLUMNS] = {
		QB_PG_INT8, JSONB_OID, QB_PG_TIMESTAMPTZ, QB_PG_TEXT, QB_PG_INT2, JSONB_OID, QB_PG_INT2, QB_PG_TEXT,
		QB_PG_TIMESTAMPTZ, QB_PG_TEXT, QB_PG_TEXT, QB_PG_BYTEA, QB_PG_INT4,
	};
	struct qb_river_inserter *in = qb_xcalloc(1, sizeof(*in));
	char *sql = qb_river_sql(schema, insert_sql);
	int rc = qb_pg_prepare(conn, "insert", sql, 0, NULL, err);

	free(sql);
	in->conn = conn;
	in->schema = schema;
	in->limiter = limiter;
	for (unsigned i = 0; i < IN_COLUMNS; i++)
		qb_pg_array_init(&in->column[i], type[i]);
	if (rc == 0)
		rc = qb_pg_prepare(conn, "notify", notify_sql, 0, NULL, err);
	if (rc < 0)
		qb_river_inserter_close(in);
	else
		*out = in;
	return rc;
}

void qb_river_inserter_close(struct qb_river_inserter *in)
{
	if (!in)
		return;
	for (unsigned i = 0; i < IN_COLUMNS; i++)
		qb_pg_array_free(&in->column[i]);
	qb_strbuf_free(&in->json);
	free(in);
}

static void add_text(struct qb_pg_array *a, const char *text)
{
	qb_pg_array_add_text(a, text, strlen(text));
}

static void add_jsonb(struct qb_river_inserter *in, enum column column, const char *text)
{
	const char version = JSONB_VERSION;

	qb_strbuf_clear(&in->json);
	qb_strbuf_add_bytes(&in->json, &version, 1);
	qb_strbuf_add(&in->json, text);
	qb_pg_array_add_bytea(&in->column[column], in->json.data, in->json.bytes);
}

static const char *queue_of(const struct qb_river_row *r)
{
	return r->queue ? r->queue : RIVER_QUEUE;
}

static enum qb_river_state state_of(const struct qb_river_row *r)
{
	return r->pending ? RIVER_PENDING : r->scheduled_wall_ns ? RIVER_SCHEDULED : RIVER_AVAILABLE;
}

static void add_row(struct qb_river_inserter *in, const struct qb_river_row *r)
{
	struct qb_pg_array *c = in->column;
	/* The inserting client's clock, as River's driver does it. */
	uint64_t now = qb_wall_ns();

	qb_pg_array_add_i64(&c[IN_ID], 0);
	add_jsonb(in, IN_ARGS, r->args);
	qb_pg_array_add_timestamptz(&c[IN_CREATED_AT], now);
	add_text(&c[IN_KIND], r->kind ? r->kind : RIVER_KIND);
	qb_pg_array_add_i16(&c[IN_MAX_ATTEMPTS], (int16_t)r->max_attempts);
	add_jsonb(in, IN_METADATA, r->metadata ? r->metadata : "{}");
	qb_pg_array_add_i16(&c[IN_PRIORITY], (int16_t)(r->priority ? r->priority : RIVER_PRIORITY));
	add_text(&c[IN_QUEUE], queue_of(r));
	qb_pg_array_add_timestamptz(&c[IN_SCHEDULED_AT], r->scheduled_wall_ns ? r->scheduled_wall_ns : now);
	add_text(&c[IN_STATE], qb_river_state_name(state_of(r)));
	add_text(&c[IN_TAGS], r->tags ? r->tags : "");
	qb_pg_array_add_bytea(&c[IN_UNIQUE_KEY], r->unique_key, r->unique_key ? 32 : 0);
	qb_pg_array_add_i32(&c[IN_UNIQUE_STATES], r->unique_key ? r->unique_states : 0);
}

/*
 * Rows come back in the order in which they went in, as River takes them to.
 */
static int read_rows(const PGresult *res, struct qb_river_row *rows, size_t count, struct qb_err *err)
{
	if ((size_t)PQntuples(res) != count)
		return qb_err_set(err, QB_ECORRUPT, "%d rows came back of %zu that were inserted", PQntuples(res), count);
	for (size_t i = 0; i < count; i++)
		if (qb_pg_get_i64(res, (int)i, RIVER_COL_ID, &rows[i].id) ||
		    qb_pg_get_bool(res, (int)i, RIVER_COLS, &rows[i].duplicate))
			return qb_err_set(err, QB_ECORRUPT, "a job row has other types than it should");
	return 0;
}

static int insert_rows(struct qb_river_inserter *in, struct qb_river_row *rows, size_t count, struct qb_err *err)
{
	struct qb_sql_args a = { .n = IN_COLUMNS };
	PGresult *res = NULL;
	int rc = 0;

	for (unsigned i = 0; i < IN_COLUMNS; i++)
		qb_pg_array_reset(&in->column[i]);
	for (size_t i = 0; i < count; i++)
		add_row(in, &rows[i]);
	for (unsigned i = 0; i < IN_COLUMNS && rc == 0; i++) {
		a.formats[i] = 1;
		rc = qb_pg_array_finish(&in->column[i], &a.values[i], &a.lengths[i]);
	}
	if (rc < 0)
		return qb_err_set(err, rc, "too much for one insert");
	rc = qb_pg_exec_prepared(in->conn, "insert", a.n, a.values, a.lengths, a.formats, 1, &res, err);
	if (rc == 0)
		rc = read_rows(res, rows, count, err);
	PQclear(res);
	return rc;
}

/* Of the queues that got available rows, those that the limiter lets pass; a duplicate counts as one that did. */
static int notify(struct qb_river_inserter *in, const struct qb_river_row *rows, size_t count, struct qb_err *err)
{
	struct qb_pg_array payloads;
	struct qb_sql_args a = { .n = 0 };
	char channel[128];
	int rc = 0;

	qb_pg_array_init(&payloads, QB_PG_TEXT);
	qb_pg_array_reset(&payloads);
	for (size_t i = 0; i < count; i++) {
		size_t earlier = 0;

		while (earlier < i && (state_of(&rows[earlier]) != RIVER_AVAILABLE ||
				       strcmp(queue_of(&rows[earlier]), queue_of(&rows[i])) != 0))
			earlier++;
		if (earlier < i || state_of(&rows[i]) != RIVER_AVAILABLE ||
		    !qb_river_limiter_take(in->limiter, queue_of(&rows[i]), qb_now_ns()))
			continue;
		qb_strbuf_clear(&in->json);
		qb_strbuf_printf(&in->json, "{\"queue\": \"%s\"}", queue_of(&rows[i]));
		add_text(&payloads, in->json.data);
	}
	if (payloads.count) {
		qb_arg_text(&a, qb_river_channel(in->schema, "insert", channel, sizeof(channel)));
		a.formats[a.n] = 1;
		rc = qb_pg_array_finish(&payloads, &a.values[a.n], &a.lengths[a.n]);
		a.n++;
		if (rc == 0)
			rc = qb_pg_exec_prepared(in->conn, "notify", a.n, a.values, a.lengths, a.formats, 1, NULL, err);
	}
	qb_pg_array_free(&payloads);
	return rc;
}

int qb_river_insert(struct qb_river_inserter *in, struct qb_river_row *rows, size_t count, struct qb_err *err)
{
	int rc = qb_pg_exec(in->conn, "begin", err);

	if (rc == 0)
		rc = insert_rows(in, rows, count, err);
	if (rc == 0)
		rc = notify(in, rows, count, err);
	if (rc == 0)
		rc = qb_pg_exec(in->conn, "commit", err);
	if (rc < 0 && PQtransactionStatus(in->conn) > PQTRANS_IDLE)
		qb_pg_exec(in->conn, "rollback", NULL);
	return rc;
}
