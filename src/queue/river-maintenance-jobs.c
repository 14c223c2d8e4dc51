/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that only the leader moves: due ones become available, stuck ones are rescued, old ones go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-leader.h"
#include "queue/river-tables.h"
#include "shm/status.h"

/* Of what becomes available now, who is due within this is told of. */
#define NOTIFY_HORIZON_NS (5 * QB_NS_PER_MS)
/* River's words: people search for them. */
#define RESCUE_ERROR "Stuck job rescued by JobRescuer"

static void arg_wall(struct qb_sql_args *a, uint64_t wall_ns)
{
	qb_arg_i64(a, (int64_t)(wall_ns / QB_NS_PER_US) - QB_PG_EPOCH_US);
}

/* An instant before now; with a clock near 1970 the first one. */
static void arg_before(struct qb_sql_args *a, uint64_t wall_ns, uint64_t ago_ns)
{
	arg_wall(a, wall_ns > ago_ns ? wall_ns - ago_ns : 0);
}

/* A full batch: there may be more, and the server gets its breath. False: the term is over. */
static bool pause_between_batches(struct qb_river_hand *h)
{
	const struct qb_river_upkeep *u = &h->l->u;

	return qb_river_sleep_until(h, qb_now_ns() + qb_river_between(&h->rng, u->batch_pause_min_ns,
								      u->batch_pause_max_ns));
}

int qb_river_hand_notify(struct qb_river_hand *h, const char *queue, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[128];

	if (h->l->c->limiter && !qb_river_limiter_take(h->l->c->limiter, queue, qb_now_ns()))
		return 0;
	qb_arg_text(&a, qb_river_channel(h->l->c->schema, "insert", channel, sizeof(channel)));
	qb_arg_text(&a, queue);
	return qb_river_hand_query(h, "select pg_notify($1::text, '{\"queue\": ' || to_json($2::text)::text || '}')", &a,
				   NULL, err);
}

/* ---- scheduler ---- */

/*
 * Of several due jobs with one unique key the first becomes available and the others are discarded; all of them are
 * when any job holds that key, be it one of their own.  $1 is ahead of now, and River puts it into finalized_at, too.
 */
static const char schedule_sql[] =
	"with due as (select id, unique_key, unique_states, priority, scheduled_at from $S.river_job"
	"   where state in ('retryable', 'scheduled') and scheduled_at <= $1::timestamptz"
	"   order by priority, scheduled_at, id limit $2::bigint for update),"
	" ranked as (select id, unique_key, row_number() over (partition by unique_key"
	"     order by priority, scheduled_at, id) as place"
	"   from due where unique_key is not null and unique_states is not null),"
	" taken as (select o.unique_key from $S.river_job o"
	"   join ranked r on r.unique_key = o.unique_key and r.id <> o.id"
	"   where o.unique_states is not null and $S.river_job_state_in_bitmask(o.unique_states, o.state)),"
	" losers as (select id from ranked where place > 1 or unique_key in (select unique_key from taken))"
	" update $S.river_job j set"
	"   state = case when l.id is null then 'available' else 'discarded' end::$S.river_job_state,"
	"   finalized_at = case when l.id is null then j.finalized_at else $1::timestamptz end,"
	"   metadata = case when l.id is null then j.metadata"
	"     else j.metadata || '{\"unique_key_conflict\": \"scheduler_discarded\"}' end"
	" from due left join losers l on l.id = due.id where j.id = due.id"
	" returning j.queue, j.scheduled_at, l.id is not null";

/* Each queue once. */
static int notify_due(struct qb_river_hand *h, const PGresult *res, uint64_t *conflicts, struct qb_err *err)
{
	uint64_t horizon_ns = qb_wall_ns() + NOTIFY_HORIZON_NS;
	char told[RIVER_LIMITER_QUEUES][128];
	unsigned told_count = 0;
	int rc = 0;

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		const char *queue;
		size_t bytes;
		uint64_t due_ns;
		bool conflict;
		unsigned k = 0;

		if (qb_pg_get_text(res, i, 0, &queue, &bytes) || qb_pg_get_timestamptz(res, i, 1, &due_ns) ||
		    qb_pg_get_bool(res, i, 2, &conflict) || bytes >= sizeof(told[0]))
			return qb_err_set(err, QB_ECORRUPT, "a scheduled job has other values than it should");
		*conflicts += conflict;
		while (k < told_count && (strlen(told[k]) != bytes || memcmp(told[k], queue, bytes) != 0))
			k++;
		if (due_ns > horizon_ns || k < told_count || k == RIVER_LIMITER_QUEUES)
			continue;
		memcpy(told[k], queue, bytes);
		told[k][bytes] = '\0';
		told_count++;
		rc = qb_river_hand_notify(h, told[k], err);
	}
	return rc;
}

static int schedule_batch(struct qb_river_hand *h, uint32_t *count, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	uint64_t conflicts = 0;
	PGresult *res = NULL;
	int rc = qb_pg_exec(h->conn, "begin", err);

	arg_wall(&a, qb_wall_ns() + h->l->u.schedule_ns);
	qb_arg_i64(&a, h->batch);
	if (rc == 0)
		rc = qb_river_hand_query(h, schedule_sql, &a, &res, err);
	if (rc == 0)
		rc = notify_due(h, res, &conflicts, err);
	*count = (uint32_t)PQntuples(res);
	PQclear(res);
	if (rc == 0)
		rc = qb_pg_exec(h->conn, "commit", err);
	if (rc < 0)
		return qb_err_context(err, "could not schedule jobs");
	pthread_mutex_lock(&h->l->lock);
	h->l->status.scheduled += *count - conflicts;
	h->l->status.conflicts += conflicts;
	pthread_mutex_unlock(&h->l->lock);
	return 0;
}

int qb_river_schedule_jobs(struct qb_river_hand *h, struct qb_err *err)
{
	uint32_t count, limit;
	int rc;

	do {
		limit = h->batch;
		rc = schedule_batch(h, &count, err);
	} while (rc == 0 && count >= limit && pause_between_batches(h));
	return rc;
}

/* ---- rescuer ---- */

enum { RETRYABLE, DISCARDED, CANCELLED };
static const char *const rescue_states[] = { "retryable", "discarded", "cancelled" };

static const char stuck_sql[] =
	"select id, attempt, max_attempts, kind, scheduled_at, metadata ->> 'cancel_attempted_at' is not null,"
	" coalesce(array_length(errors, 1), 0) from $S.river_job"
	" where state = 'running' and id > $1::bigint and attempted_at < $2::timestamptz order by id limit $3::bigint";

#define RESCUE_SQL \
	"update $S.river_job j set errors = array_append(j.errors, r.error::jsonb)," \
	" state = r.state::$S.river_job_state, finalized_at = r.finalized_at, scheduled_at = r.scheduled_at," \
	" metadata = j.metadata || jsonb_build_object('river:rescue_count', 1 + coalesce(" \
	"   case when jsonb_typeof(j.metadata -> 'river:rescue_count') = 'number'" \
	"   then (j.metadata ->> 'river:rescue_count')::int end, 0))" \
	" from unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::text[])" \
	"   as r (id, error, finalized_at, scheduled_at, state) where j.id = r.id"

/* What was decided may be over when it is written: with this a job that has ended meanwhile stays ended. */
static const char rescue_library_sql[] = RESCUE_SQL;
static const char rescue_fixed_sql[] = RESCUE_SQL " and j.state = 'running' and j.attempted_at < $6::timestamptz";

struct rescue {
	struct qb_pg_array id, error, finalized_at, scheduled_at, state;
	uint64_t counts[3];
};

static void rescue_begin(struct rescue *r)
{
	memset(r->counts, 0, sizeof(r->counts));
	qb_pg_array_init(&r->id, QB_PG_INT8);
	qb_pg_array_init(&r->error, QB_PG_TEXT);
	qb_pg_array_init(&r->finalized_at, QB_PG_TIMESTAMPTZ);
	qb_pg_array_init(&r->scheduled_at, QB_PG_TIMESTAMPTZ);
	qb_pg_array_init(&r->state, QB_PG_TEXT);
}

static void rescue_end(struct rescue *r)
{
	qb_pg_array_free(&r->id);
	qb_pg_array_free(&r->error);
	qb_pg_array_free(&r->finalized_at);
	qb_pg_array_free(&r->scheduled_at);
	qb_pg_array_free(&r->state);
}

static bool knows_kind(const struct qb_river_client *c, const char *kind, size_t bytes)
{
	for (const char *const *known = c->kinds; known && *known; known++)
		if (strlen(*known) == bytes && !memcmp(*known, kind, bytes))
			return true;
	return false;
}

struct stuck {
	int64_t id;
	int16_t attempt, max_attempts;
	const char *kind;
	size_t kind_bytes;
	uint64_t scheduled_ns;
	bool cancel;
	int32_t errors;
};

static int read_stuck(const PGresult *res, int row, struct stuck *job, struct qb_err *err)
{
	if (qb_pg_get_i64(res, row, 0, &job->id) || qb_pg_get_i16(res, row, 1, &job->attempt) ||
	    qb_pg_get_i16(res, row, 2, &job->max_attempts) ||
	    qb_pg_get_text(res, row, 3, &job->kind, &job->kind_bytes) ||
	    qb_pg_get_timestamptz(res, row, 4, &job->scheduled_ns) || qb_pg_get_bool(res, row, 5, &job->cancel) ||
	    qb_pg_get_i32(res, row, 6, &job->errors))
		return qb_err_set(err, QB_ECORRUPT, "a stuck job has other values than it should");
	return 0;
}

/*
 * In River's order: a wish to cancel goes before all; a kind that this client has no worker for is discarded; the
 * attempt that was lost counts.  (A worker's own time-out would come in between; the benchmark's has none.)
 */
static void rescue_add(struct qb_river_hand *h, struct rescue *r, const struct stuck *job, uint64_t now_ns)
{
	bool over = job->attempt >= job->max_attempts || !knows_kind(h->l->c, job->kind, job->kind_bytes);
	unsigned to = job->cancel ? CANCELLED : over ? DISCARDED : RETRYABLE;
	uint64_t due_ns = job->scheduled_ns;
	char error[200], at[40];
	int bytes;

	if (to == RETRYABLE)
		due_ns = now_ns + qb_river_retry_ns((unsigned)job->errors, &h->rng);
	qb_format_rfc3339(at, now_ns);
	bytes = snprintf(error, sizeof(error),
			 "{\"at\":\"%s\",\"attempt\":%d,\"error\":\"" RESCUE_ERROR "\",\"trace\":\"\"}", at, job->attempt);
	qb_pg_array_add_i64(&r->id, job->id);
	qb_pg_array_add_text(&r->error, error, (size_t)bytes);
	if (to == RETRYABLE)
		qb_pg_array_add_null(&r->finalized_at);
	else
		qb_pg_array_add_timestamptz(&r->finalized_at, now_ns);
	qb_pg_array_add_timestamptz(&r->scheduled_at, due_ns);
	qb_pg_array_add_text(&r->state, rescue_states[to], strlen(rescue_states[to]));
	r->counts[to]++;
}

static int rescue_write(struct qb_river_hand *h, struct rescue *r, uint64_t now_ns, struct qb_err *err)
{
	struct qb_pg_array *const arrays[] = { &r->id, &r->error, &r->finalized_at, &r->scheduled_at, &r->state };
	struct qb_sql_args a = { .n = 0 };

	for (unsigned i = 0; i < 5; i++) {
		if (qb_pg_array_finish(arrays[i], &a.values[i], &a.lengths[i]) < 0)
			return qb_err_set(err, QB_ETOOBIG, "too many jobs to rescue at once");
		a.formats[i] = 1;
	}
	a.n = 5;
	if (h->l->c->opt.rescue == RIVER_RESCUE_LIBRARY)
		return qb_river_hand_query(h, rescue_library_sql, &a, NULL, err);
	arg_before(&a, now_ns, h->l->c->opt.lease_ns);
	return qb_river_hand_query(h, rescue_fixed_sql, &a, NULL, err);
}

/* Two statements, as River has it: between them the world goes on. All batches of a round have one horizon. */
static int rescue_batch(struct qb_river_hand *h, uint64_t began_ns, int64_t *after, uint32_t *count, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;
	struct rescue r;
	int rc;

	qb_arg_i64(&a, *after);
	arg_before(&a, began_ns, h->l->c->opt.lease_ns);
	qb_arg_i64(&a, h->batch);
	rescue_begin(&r);
	rc = qb_river_hand_query(h, stuck_sql, &a, &res, err);
	*count = (uint32_t)PQntuples(res);
	for (uint32_t i = 0; rc == 0 && i < *count; i++) {
		struct stuck job;

		rc = read_stuck(res, (int)i, &job, err);
		if (rc == 0) {
			rescue_add(h, &r, &job, qb_wall_ns());
			*after = job.id;
		}
	}
	PQclear(res);
	if (rc == 0 && *count && qb_river_leads(h->l, h->term))
		rc = rescue_write(h, &r, began_ns, err);
	rescue_end(&r);
	if (rc < 0)
		return qb_err_context(err, "could not rescue jobs");
	pthread_mutex_lock(&h->l->lock);
	for (unsigned i = 0; i < 3; i++)
		h->l->status.rescued[i] += r.counts[i];
	pthread_mutex_unlock(&h->l->lock);
	return 0;
}

int qb_river_rescue_jobs(struct qb_river_hand *h, struct qb_err *err)
{
	uint64_t began_ns = qb_wall_ns();
	uint32_t count, limit;
	int64_t after = 0;
	int rc;

	do {
		limit = h->batch;
		rc = rescue_batch(h, began_ns, &after, &count, err);
	} while (rc == 0 && count >= limit && pause_between_batches(h));
	return rc;
}

/* ---- cleaners ---- */

/* Rows that a data-changing statement has returned, in batches until one is not full. */
static int delete_batches(struct qb_river_hand *h, const char *sql, const struct qb_sql_args *horizons,
			  uint64_t *deleted, struct qb_err *err)
{
	uint32_t count, limit;
	int rc;

	do {
		struct qb_sql_args a = { .n = 0 };
		PGresult *res = NULL;

		limit = h->batch;
		for (int i = 0; i < horizons->n; i++) {
			int64_t be;

			memcpy(&be, horizons->values[i], sizeof(be));
			qb_arg_i64(&a, (int64_t)be64toh((uint64_t)be));
		}
		qb_arg_i64(&a, limit);
		rc = qb_river_hand_query(h, sql, &a, &res, err);
		count = rc == 0 ? (uint32_t)strtoul(PQcmdTuples(res), NULL, 10) : 0;
		PQclear(res);
		pthread_mutex_lock(&h->l->lock);
		*deleted += count;
		pthread_mutex_unlock(&h->l->lock);
	} while (rc == 0 && count >= limit && pause_between_batches(h));
	return rc;
}

int qb_river_clean_jobs(struct qb_river_hand *h, struct qb_err *err)
{
	const struct qb_river_upkeep *u = &h->l->u;
	struct qb_sql_args a = { .n = 0 };
	uint64_t now_ns = qb_wall_ns();

	arg_before(&a, now_ns, u->keep_completed_ns);
	arg_before(&a, now_ns, u->keep_cancelled_ns);
	arg_before(&a, now_ns, u->keep_discarded_ns);
	int rc = delete_batches(h,
				"delete from $S.river_job where id in (select id from $S.river_job"
				" where (state = 'completed' and finalized_at < $1::timestamptz)"
				" or (state = 'cancelled' and finalized_at < $2::timestamptz)"
				" or (state = 'discarded' and finalized_at < $3::timestamptz)"
				" order by id limit $4::bigint)",
				&a, &h->l->status.jobs_deleted, err);

	return rc < 0 ? qb_err_context(err, "could not delete old jobs") : 0;
}

int qb_river_clean_queues(struct qb_river_hand *h, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	arg_before(&a, qb_wall_ns(), h->l->u.keep_queue_ns);
	int rc = delete_batches(h,
				"delete from $S.river_queue where name in (select name from $S.river_queue"
				" where updated_at < $1::timestamptz order by name limit $2::bigint)",
				&a, &h->l->status.queues_deleted, err);

	return rc < 0 ? qb_err_context(err, "could not delete old queues") : 0;
}
