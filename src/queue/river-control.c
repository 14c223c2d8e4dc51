/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/river-control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "shm/status.h"

#define CHANNEL_BYTES 128
/* As Go's encoder writes it: without blanks. (What River builds in SQL, a cancellation and "resigned", has them.) */
#define JSON_TEXT(value) "to_json(" value "::text)::text"
#define CONTROL_PAYLOAD "'{\"action\":' || " JSON_TEXT("$2") " || ',\"queue\":' || " JSON_TEXT("$1") " || '}'"

static int query(PGconn *conn, const char *schema, const char *sql, const struct qb_sql_args *a, PGresult **res,
		 struct qb_err *err)
{
	char *text = qb_river_sql(schema, sql);
	int rc = qb_pg_query(conn, text, a->n, NULL, a->values, a->lengths, a->formats, 1, res, err);

	free(text);
	return rc;
}

/* sql changes $1 and then tells, in one statement: one transaction; its rows are the queues that it found. */
static int change_queue(PGconn *conn, const char *schema, const char *sql, struct qb_sql_args *a, const char *queue,
			struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = query(conn, schema, sql, a, &res, err);
	int found = rc == 0 && PQntuples(res) > 0;

	PQclear(res);
	if (rc == 0 && !found && strcmp(queue, RIVER_ALL_QUEUES) != 0)
		return qb_err_set(err, -ENOENT, "there is no queue \"%s\"", queue);
	return rc;
}

static int pause_or_resume(PGconn *conn, const char *schema, const char *sql, const char *action, const char *queue,
			   struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[CHANNEL_BYTES];

	qb_arg_text(&a, queue);
	qb_arg_text(&a, action);
	qb_arg_text(&a, qb_river_channel(schema, "control", channel, sizeof(channel)));
	return change_queue(conn, schema, sql, &a, queue, err);
}

/* For all queues there is one notification, also when there is no queue yet. */
#define TELL \
	" select pg_notify($3::text, " CONTROL_PAYLOAD ")" \
	" where $1::text = '*' or exists (select 1 from changed)"

int qb_river_queue_pause(PGconn *conn, const char *schema, const char *queue, struct qb_err *err)
{
	return pause_or_resume(conn, schema,
			       "with changed as (update $S.river_queue set paused_at = coalesce(paused_at, now()),"
			       "   updated_at = case when paused_at is null then now() else updated_at end"
			       "   where $1::text in ('*', name) returning 1)" TELL, "pause", queue, err);
}

int qb_river_queue_resume(PGconn *conn, const char *schema, const char *queue, struct qb_err *err)
{
	return pause_or_resume(conn, schema,
			       "with changed as (update $S.river_queue set paused_at = null,"
			       "   updated_at = case when paused_at is null then updated_at else now() end"
			       "   where $1::text in ('*', name) returning 1)" TELL, "resume", queue, err);
}

int qb_river_queue_set_metadata(PGconn *conn, const char *schema, const char *queue, const char *metadata,
				struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[CHANNEL_BYTES];

	qb_arg_text(&a, queue);
	qb_arg_text(&a, metadata);
	qb_arg_text(&a, qb_river_channel(schema, "control", channel, sizeof(channel)));
	return change_queue(conn, schema,
			    "with changed as (update $S.river_queue set metadata = $2::jsonb, updated_at = now()"
			    "   where name = $1::text returning name, metadata)"
			    " select pg_notify($3::text, '{\"action\":\"metadata_changed\",\"metadata\":' || $2::text"
			    "   || ',\"queue\":' || " JSON_TEXT("name") " || '}') from changed", &a, queue, err);
}

static int change_job(PGconn *conn, const char *schema, const char *sql, const struct qb_sql_args *a, int64_t id,
		      char state[QB_RIVER_STATE_BYTES], struct qb_err *err)
{
	PGresult *res = NULL;
	const char *text;
	size_t bytes;
	int rc = query(conn, schema, sql, a, &res, err);

	if (rc == 0 && PQntuples(res) == 0)
		rc = qb_err_set(err, -ENOENT, "there is no job %lld", (long long)id);
	else if (rc == 0 && (qb_pg_get_text(res, 0, 0, &text, &bytes) || bytes >= QB_RIVER_STATE_BYTES))
		rc = qb_err_set(err, QB_ECORRUPT, "a job's state has another type than it should");
	if (rc == 0) {
		memcpy(state, text, bytes);
		state[bytes] = '\0';
	}
	PQclear(res);
	return rc;
}

int qb_river_job_cancel(PGconn *conn, const char *schema, int64_t id, char state[QB_RIVER_STATE_BYTES],
			struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[CHANNEL_BYTES], now[40];

	qb_format_rfc3339(now, qb_wall_ns());
	qb_arg_i64(&a, id);
	qb_arg_text(&a, qb_river_channel(schema, "control", channel, sizeof(channel)));
	qb_arg_text(&a, now);
	/* The row is locked first: whether it runs must not change between the question and the answer. */
	return change_job(conn, schema,
			  "with found as materialized (select id, queue, state::text as was"
			  "   from $S.river_job where id = $1::bigint for update),"
			  " told as materialized (select id, was, pg_notify($2::text,"
			  "     json_build_object('action', 'cancel', 'job_id', id, 'queue', queue)::text)"
			  "   from found where was not in ('cancelled', 'completed', 'discarded')),"
			  " changed as (update $S.river_job j set"
			  "   state = case told.was when 'running' then j.state else 'cancelled' end,"
			  "   finalized_at = case told.was when 'running' then j.finalized_at else now() end,"
			  "   metadata = j.metadata || jsonb_build_object('cancel_attempted_at', $3::text)"
			  "   from told where j.id = told.id returning j.id, j.state::text as is_now)"
			  " select coalesce(changed.is_now, found.was) from found left join changed using (id)",
			  &a, id, state, err);
}

int qb_river_job_retry(PGconn *conn, const char *schema, int64_t id, char state[QB_RIVER_STATE_BYTES],
		       struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_i64(&a, id);
	return change_job(conn, schema,
			  "with found as materialized (select id, state::text as was"
			  "   from $S.river_job where id = $1::bigint for update),"
			  " changed as (update $S.river_job j set state = 'available', finalized_at = null,"
			  "   scheduled_at = now(),"
			  "   max_attempts = j.max_attempts + case when j.attempt = j.max_attempts then 1 else 0 end"
			  "   from found where j.id = found.id and found.was <> 'running'"
			  "   and not (found.was = 'available' and j.scheduled_at < now())"
			  "   returning j.id, j.state::text as is_now)"
			  " select coalesce(changed.is_now, found.was) from found left join changed using (id)",
			  &a, id, state, err);
}

int qb_river_request_resign(PGconn *conn, const char *schema, const char *client_id, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[CHANNEL_BYTES];

	qb_arg_text(&a, qb_river_channel(schema, "leadership", channel, sizeof(channel)));
	qb_arg_text(&a, client_id);
	return query(conn, schema,
		     "select pg_notify($1::text, '{\"action\":\"request_resign\",\"leader_id\":' || " JSON_TEXT("$2")
		     " || '}')", &a, NULL, err);
}

static int member_text(const char *payload, const char *name, char *buf, size_t cap)
{
	const char *value;
	size_t bytes;

	return qb_river_json_get(payload, strlen(payload), name, &value, &bytes) &&
	       qb_river_json_string(value, bytes, buf, cap);
}

void qb_river_control_handle(const struct qb_river_client *c, const char *payload)
{
	char action[32], queue[128];
	const char *value;
	size_t bytes;
	int64_t id;

	if (!c->control || !member_text(payload, "action", action, sizeof(action)) ||
	    !member_text(payload, "queue", queue, sizeof(queue)))
		return;
	if (!strcmp(action, "pause") || !strcmp(action, "resume"))
		qb_river_set_paused(c->control, queue, action[0] == 'p');
	else if (!strcmp(action, "cancel") && qb_river_json_get(payload, strlen(payload), "job_id", &value, &bytes) &&
		 qb_river_json_i64(value, bytes, &id))
		qb_river_cancel(c->control, queue, id);
}
