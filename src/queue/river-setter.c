/* SPDX-License-Identifier: Apache-2.0 */
/* The statement that ends attempts (JobSetStateIfRunningMany): only rows that are still running change. */
#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-tables.h"

#define JSONB_OID 3802
#define JSONB_VERSION 1

enum column {
	SET_ID, SET_ATTEMPT_DO, SET_ATTEMPT, SET_ERRORS_DO, SET_ERRORS, SET_FINALIZED_DO, SET_FINALIZED, SET_METADATA_DO,
	SET_METADATA, SET_SCHEDULED_DO, SET_SCHEDULED, SET_STATE, SET_FENCE, SET_COLUMNS,
};

struct qb_river_setter {
	PGconn *conn;
	enum qb_river_fence fence;
	char client_id[RIVER_CLIENT_ID_BYTES];
	struct qb_pg_array column[SET_COLUMNS];
};

/* Of the row as it is once it is locked, which may be later than the statement's snapshot. */
#define RUNS "river_job.state = 'running'"
/* The failure of a job that was cancelled meanwhile cancels it. */
#define CANCELS "(i.state in ('retryable', 'scheduled') and river_job.metadata ? 'cancel_attempted_at')"
#define NAMES "id, attempt_do, attempt, errors_do, errors, finalized_do, finalized_at, metadata_do, metadata, scheduled_do," \
	" scheduled_at"
/* The fixed fence: not the next attempt, nor somebody else's. */
#define SAME_ATTEMPT " and river_job.attempt = i.fence" \
	" and river_job.attempted_by[array_upper(river_job.attempted_by, 1)] = $14::text"

/* Metadata is merged even into a row that is not running any more. The last column says whether the row changed. */
#define SET_SQL(fence, fence_param, fence_name) \
	"with i as (select " NAMES ", state::$S.river_job_state as state" fence_name \
	" from unnest($1::bigint[], $2::boolean[], $3::integer[], $4::boolean[], $5::jsonb[], $6::boolean[]," \
	" $7::timestamptz[], $8::boolean[], $9::jsonb[], $10::boolean[], $11::timestamptz[], $12::text[]" fence_param ")" \
	" as n (" NAMES ", state" fence_name "))," \
	" u as (update $S.river_job set" \
	" attempt = case when " RUNS " and not " CANCELS " and i.attempt_do then i.attempt else river_job.attempt end," \
	" errors = case when " RUNS " and i.errors_do then array_append(river_job.errors, i.errors)" \
	"  else river_job.errors end," \
	" finalized_at = case when " RUNS " and " CANCELS " then now()" \
	"  when " RUNS " and i.finalized_do then i.finalized_at else river_job.finalized_at end," \
	" metadata = case when i.metadata_do then river_job.metadata || i.metadata else river_job.metadata end," \
	" scheduled_at = case when " RUNS " and not " CANCELS " and i.scheduled_do then i.scheduled_at" \
	"  else river_job.scheduled_at end," \
	" state = case when " RUNS " and " CANCELS " then 'cancelled' when " RUNS " then i.state" \
	"  else river_job.state end" \
	" from i where river_job.id = i.id and (" RUNS " or i.metadata_do)" fence \
	" returning " RIVER_JOB_COLUMNS("river_job.") ")" \
	" select " RIVER_JOB_COLUMNS("river_job.") ", false from $S.river_job join i on river_job.id = i.id" \
	" where not exists (select from u where u.id = river_job.id)" \
	" union all select " RIVER_JOB_COLUMNS("u.") ", true from u order by id"

static const char library_sql[] = SET_SQL("", "", "");
static const char fixed_sql[] = SET_SQL(SAME_ATTEMPT, ", $13::integer[]", ", fence");

const char *qb_river_state_name(enum qb_river_state state)
{
	static const char *const names[RIVER_STATES] = {
		"available", "cancelled", "completed", "discarded", "pending", "retryable", "running", "scheduled",
	};

	return names[state];
}

int qb_river_setter_open(PGconn *conn, const struct qb_river_client *client, struct qb_river_setter **out,
			 struct qb_err *err)
{
	static const uint32_t type[SET_COLUMNS] = {
		QB_PG_INT8, QB_PG_BOOL, QB_PG_INT4, QB_PG_BOOL, JSONB_OID, QB_PG_BOOL, QB_PG_TIMESTAMPTZ, QB_PG_BOOL,
		JSONB_OID, QB_PG_BOOL, QB_PG_TIMESTAMPTZ, QB_PG_TEXT, QB_PG_INT4,
	};
	int fixed = client->opt.fence == RIVER_FENCE_FIXED;
	char *sql = qb_river_sql(client->schema, fixed ? fixed_sql : library_sql);
	int rc = qb_pg_prepare(conn, "set", sql, 0, NULL, err);

	free(sql);
	if (rc < 0)
		return rc;
	struct qb_river_setter *s = qb_xcalloc(1, sizeof(*s));

	s->conn = conn;
	s->fence = client->opt.fence;
	memcpy(s->client_id, client->id, sizeof(s->client_id));
	for (unsigned i = 0; i < SET_COLUMNS; i++)
		qb_pg_array_init(&s->column[i], type[i]);
	*out = s;
	return 0;
}

void qb_river_setter_close(struct qb_river_setter *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SET_COLUMNS; i++)
		qb_pg_array_free(&s->column[i]);
	free(s);
}

static void add_bool(struct qb_pg_array *a, bool value)
{
	uint8_t byte = value;

	qb_pg_array_add_bytea(a, &byte, 1);
}

static void add_time(struct qb_pg_array *a, uint64_t wall_ns)
{
	if (wall_ns)
		qb_pg_array_add_timestamptz(a, wall_ns);
	else
		qb_pg_array_add_null(a);
}

static void add_end(struct qb_river_setter *s, const struct qb_river_end *e)
{
	struct qb_pg_array *c = s->column;
	const char *state = qb_river_state_name(e->state);

	qb_pg_array_add_i64(&c[SET_ID], e->id);
	add_bool(&c[SET_ATTEMPT_DO], e->new_attempt >= 0);
	qb_pg_array_add_i32(&c[SET_ATTEMPT], e->new_attempt >= 0 ? e->new_attempt : 0);
	add_bool(&c[SET_ERRORS_DO], *e->error);
	if (*e->error) {
		char json[1 + RIVER_ERROR_BYTES];
		size_t bytes = strlen(e->error);

		json[0] = JSONB_VERSION;
		memcpy(json + 1, e->error, bytes);
		qb_pg_array_add_bytea(&c[SET_ERRORS], json, 1 + bytes);
	} else {
		qb_pg_array_add_null(&c[SET_ERRORS]);
	}
	add_bool(&c[SET_FINALIZED_DO], e->finalized_wall_ns != 0);
	add_time(&c[SET_FINALIZED], e->finalized_wall_ns);
	/* Nothing that a benchmark job does changes its metadata. */
	add_bool(&c[SET_METADATA_DO], false);
	qb_pg_array_add_null(&c[SET_METADATA]);
	add_bool(&c[SET_SCHEDULED_DO], e->scheduled_wall_ns != 0);
	add_time(&c[SET_SCHEDULED], e->scheduled_wall_ns);
	qb_pg_array_add_text(&c[SET_STATE], state, strlen(state));
	qb_pg_array_add_i32(&c[SET_FENCE], e->attempt);
}

int qb_river_set_states(struct qb_river_setter *s, const struct qb_river_end *ends, size_t count, struct qb_err *err)
{
	struct qb_sql_args a = { .n = s->fence == RIVER_FENCE_FIXED ? SET_COLUMNS : SET_FENCE };
	PGresult *res;
	int rc = 0, changed = 0;

	for (unsigned i = 0; i < SET_COLUMNS; i++)
		qb_pg_array_reset(&s->column[i]);
	for (size_t i = 0; i < count; i++)
		add_end(s, &ends[i]);
	for (int i = 0; i < a.n && rc == 0; i++) {
		a.formats[i] = 1;
		rc = qb_pg_array_finish(&s->column[i], &a.values[i], &a.lengths[i]);
	}
	if (rc < 0)
		return qb_err_set(err, rc, "too much for one statement");
	if (s->fence == RIVER_FENCE_FIXED)
		qb_arg_text(&a, s->client_id);
	rc = qb_pg_exec_prepared(s->conn, "set", a.n, a.values, a.lengths, a.formats, 1, &res, err);
	if (rc < 0)
		return rc;
	for (int i = 0; i < PQntuples(res); i++) {
		bool did = false;

		qb_pg_get_bool(res, i, RIVER_COLS, &did);
		changed += did;
	}
	PQclear(res);
	return changed;
}
