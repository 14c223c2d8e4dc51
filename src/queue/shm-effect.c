/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/shm-effect.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "pg/conn.h"
#include "shm/fault.h"
#include "shm/seat.h"
#include "sync/effect.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define BACKOFF_MIN_NS (10 * QB_NS_PER_MS)
#define BACKOFF_MAX_NS QB_NS_PER_S

/* The result that an earlier attempt was marked with. */
struct earlier {
	uint64_t job_id;
	void *result;
	uint32_t bytes;
};

struct qb_shm_effects {
	struct qb_queue_env env;
	struct earlier *earlier;        /* by lane; job_id 0: none */
	PGconn *conn;
	int64_t run_no;
	struct qb_rng rng;
	uint64_t backoff_ns;            /* the next pause */
};

static void disconnect(struct qb_shm_effects *e)
{
	PQfinish(e->conn);
	e->conn = NULL;
	qb_store_relaxed32(&e->env.seg->seats[e->env.seat].backend_pid, 0);
}

/* A session that answers before its commits are safe would lose an effect that the segment takes for done. */
static const char safe_commits_sql[] =
	"select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'";

static int connect_once(struct qb_shm_effects *e, struct qb_err *err)
{
	const struct qb_seg *seg = e->env.seg;
	int rc = qb_pg_connect(e->env.conninfo, "qbench worker", CONNECT_NS, &e->conn, err);

	if (rc < 0)
		return rc;
	qb_store_relaxed32(&seg->seats[e->env.seat].backend_pid, (uint32_t)PQbackendPID(e->conn));
	rc = qb_pg_exec(e->conn, safe_commits_sql, err);
	if (rc == 0)
		rc = qb_schema_run(e->conn, seg->hdr->run_id, &e->run_no, err);
	if (rc == 0)
		rc = qb_effect_prepare(e->conn, err);
	if (rc < 0)
		disconnect(e);
	return rc;
}

int qb_shm_effects_open(const struct qb_queue_env *env, struct qb_shm_effects **out, struct qb_err *err)
{
	struct qb_shm_effects *e = calloc(1, sizeof(*e));

	if (!e)
		return qb_err_set(err, -ENOMEM, "out of memory");
	e->env = *env;
	e->earlier = calloc(env->seg->cfg.slots_per_worker, sizeof(*e->earlier));
	e->backoff_ns = BACKOFF_MIN_NS;
	qb_rng_init(&e->rng, env->seg->cfg.seed * 4096 + env->seat, "effect backoff");
	int rc = e->earlier ? connect_once(e, err) : qb_err_set(err, -ENOMEM, "out of memory");

	if (rc < 0) {
		qb_shm_effects_close(e);
		return qb_err_context(err, "effects");
	}
	*out = e;
	return 0;
}

void qb_shm_effects_close(struct qb_shm_effects *e)
{
	if (!e)
		return;
	disconnect(e);
	for (uint32_t i = 0; e->earlier && i < e->env.seg->cfg.slots_per_worker; i++)
		free(e->earlier[i].result);
	free(e->earlier);
	free(e);
}

/* 0, or QB_ETIMEOUT: told to leave. */
static int back_off(struct qb_shm_effects *e, const struct qb_queue_job *job, struct qb_err *why)
{
	if (qb_load_relaxed32(&e->env.seg->hdr->stop) >= QB_STOP_NOW)
		return qb_err_set(why, QB_ETIMEOUT, "told to leave before the effect of job %llu could be made",
				  (unsigned long long)job->job_id);
	qb_log(e->backoff_ns == BACKOFF_MIN_NS ? QB_LOG_WARNING : QB_LOG_DEBUG, "the effect of job %llu: %s; trying again",
	       (unsigned long long)job->job_id, why->text);
	qb_sleep_ns(e->backoff_ns / 2 + qb_rng_below(&e->rng, e->backoff_ns));
	e->backoff_ns = e->backoff_ns * 2 < BACKOFF_MAX_NS ? e->backoff_ns * 2 : BACKOFF_MAX_NS;
	qb_err_clear(why);
	return 0;
}

/* 0, or QB_ETIMEOUT: told to leave while Postgres was away. */
static int be_connected(struct qb_shm_effects *e, const struct qb_queue_job *job, struct qb_err *err)
{
	int rc = 0;

	/* A connection that was cut while it lay idle is found out before something is sent into it. */
	if (e->conn && (!PQconsumeInput(e->conn) || PQstatus(e->conn) != CONNECTION_OK))
		disconnect(e);
	while (!e->conn && rc == 0)
		if (connect_once(e, err) < 0)
			rc = back_off(e, job, err);
	return rc;
}

static struct qb_attempt attempt_of(const struct qb_shm_effects *e, const struct qb_queue_job *job)
{
	return (struct qb_attempt){ .run_no = e->run_no, .job_id = job->job_id, .attempt = job->attempt,
				    .seat = e->env.seat };
}

/*
 * An effect that is nobody's transaction, as most are: refused, it did not happen and is tried again; with the
 * answer lost nobody knows, and the attempt is given up as one that is ambiguous.
 */
static int make_plain(struct qb_shm_effects *e, const struct qb_queue_job *job, struct qb_err *err)
{
	for (;;) {
		int rc = be_connected(e, job, err);

		if (rc < 0)
			return rc;
		struct qb_attempt a = attempt_of(e, job);

		rc = qb_effect_record(e->conn, &a, err);
		QB_FAULT("effect.plain.after-record");
		if (rc == 0)
			return 0;
		if (PQstatus(e->conn) != CONNECTION_OK) {
			disconnect(e);
			return qb_err_context(err, "nobody knows whether the effect of job %llu happened",
					      (unsigned long long)job->job_id);
		}
		rc = back_off(e, job, err);
		if (rc < 0)
			return rc;
	}
}

/* Effect and done-mark in one transaction: with the answer lost the same attempt asks again, and finds its mark. */
static int make_transactional(struct qb_shm_effects *e, const struct qb_queue_job *job, const void *result,
			      uint32_t bytes, struct qb_err *err)
{
	struct earlier *earlier = &e->earlier[job->lane];

	free(earlier->result);
	*earlier = (struct earlier){ 0 };
	/* A mark with a result that complete() will refuse could never be resolved. */
	if (bytes > QB_RESULT_BYTES_MAX)
		return qb_err_set(err, QB_ETOOBIG, "job %llu: its result of %u bytes is too long",
				  (unsigned long long)job->job_id, bytes);
	for (;;) {
		int rc = be_connected(e, job, err);

		if (rc < 0)
			return rc;
		struct qb_attempt a = attempt_of(e, job);

		rc = qb_effect_make(e->conn, &a, result, bytes, &earlier->result, &earlier->bytes, err);
		if (rc == 0)
			earlier->job_id = earlier->result ? job->job_id : 0;
		if (rc == 0 || rc == QB_EFENCED)
			return rc;
		if (PQstatus(e->conn) != CONNECTION_OK)
			disconnect(e);
		rc = back_off(e, job, err);
		if (rc < 0)
			return rc;
	}
}

/* Refused in Postgres: then the word must say so as well. */
static int refused(struct qb_shm_effects *e, struct qb_queue_job *job, struct qb_err *err)
{
	uint64_t word = qb_load_acquire64(&e->env.seg->jobs[job->slot_idx].word);

	/* Its attempts were counted from a copy that was older than the fence: recovery and the next attempt repair it. */
	if (word == job->token)
		return qb_err_set(err, QB_ECORRUPT, "attempt %u of job %llu is over in Postgres and not in the segment",
				  job->attempt, (unsigned long long)job->job_id);
	job->token = word;
	qb_count(e->env.seg, e->env.seat, QB_COUNT_FENCED, 1);
	return QB_EFENCED;
}

int qb_shm_effects_make(struct qb_shm_effects *e, struct qb_queue_job *job, const void *result, uint32_t bytes,
			struct qb_err *err)
{
	int rc = e->env.seg->jobs[job->slot_idx].effect_class == QB_EFFECT_TRANSACTIONAL ?
		make_transactional(e, job, result, bytes, err) : make_plain(e, job, err);

	if (rc == 0)
		e->backoff_ns = BACKOFF_MIN_NS;
	return rc == QB_EFENCED ? refused(e, job, err) : rc;
}

const void *qb_shm_effects_result(const struct qb_shm_effects *e, const struct qb_queue_job *job, const void *result,
				  uint32_t *bytes)
{
	const struct earlier *earlier = &e->earlier[job->lane];

	if (earlier->job_id != job->job_id)
		return result;
	*bytes = earlier->bytes;
	return earlier->result;
}
