/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "shm": our engine. Jobs live in the segment, the syncer makes them durable, recovery of the
 * segment decides what a killed worker held.
 */
#include "queue/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/conn.h"
#include "pg/standby.h"
#include "queue/shm-address.h"
#include "queue/shm-effect.h"
#include "queue/shm-unique.h"
#include "shm/hint.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

struct qb_queue {
	struct qb_queue_env env;
	uint8_t *payload;
	PGconn *conn;           /* driver only, opened when it first asks for outcomes */
	struct qb_shm_effects *effects; /* worker only, with cfg.ledger */
	int woken;              /* the last wait ended before its time */
};

/* A run that would wait for them for ever does not begin. */
static int check_standbys(PGconn *conn, uint32_t wanted, struct qb_err *err)
{
	struct qb_pg_standbys standbys;
	int rc = qb_pg_standbys(conn, wanted, &standbys, err);

	if (rc == 0 && standbys.held_lsn == 0)
		rc = qb_err_set(err, QB_EUSAGE, "--replicas=%u: %u standby server%s connected to this one", wanted,
				standbys.count, standbys.count == 1 ? " is" : "s are");
	return rc;
}

static int shm_setup(const struct qb_queue_env *env, struct qb_err *err)
{
	PGconn *conn;
	int64_t run_no;
	uint32_t meta_bytes;
	const void *meta = qb_seg_meta(env->seg, &meta_bytes);
	int rc = qb_pg_connect(env->conninfo, "qbench setup", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_schema_install(conn, err);
	/* One that had a parent, or was made by somebody else, is being recovered, and has its row. */
	int is_new = qb_load_relaxed32(&env->seg->hdr->parent_seat) == 0 && env->seg->hdr->creator_pid == (uint32_t)getpid();

	if (rc == 0 && env->seg->cfg.replicas > 0 && is_new)
		rc = check_standbys(conn, env->seg->cfg.replicas, err);
	if (rc == 0)
		rc = is_new ?
			qb_schema_run_begin(conn, env->seg->hdr->run_id, meta, meta_bytes, err) :
			qb_schema_run(conn, env->seg->hdr->run_id, &run_no, err);
	if (rc == 0)
		rc = qb_schema_prune(conn, env->seg->hdr->run_id, err);
	PQfinish(conn);
	return rc;
}

static void shm_close(struct qb_queue *q)
{
	qb_shm_effects_close(q->effects);
	PQfinish(q->conn);
	free(q->payload);
	free(q);
}

static int shm_open(const struct qb_queue_env *env, struct qb_queue **out, struct qb_err *err)
{
	struct qb_queue *q = calloc(1, sizeof(*q));

	if (q)
		q->payload = malloc(QB_PAYLOAD_BYTES_MAX);
	if (!q || !q->payload) {
		free(q);
		return qb_err_set(err, -ENOMEM, "out of memory");
	}
	q->env = *env;
	if (env->role == QB_ROLE_WORKER && env->seg->cfg.ledger) {
		int rc = qb_shm_effects_open(env, &q->effects, err);

		if (rc < 0) {
			shm_close(q);
			return rc;
		}
	}
	*out = q;
	return 0;
}

static int shm_enqueue(struct qb_queue *q, const struct qb_submit *job, struct qb_queue_ticket *ticket,
		       struct qb_err *err)
{
	struct qb_held ref;
	int rc = qb_job_submit(q->env.seg, q->env.seat, job, &ref);

	if (rc < 0)
		return qb_err_set(err, rc, "job %llu: %s", (unsigned long long)job->job_id, qb_strerror(rc));
	if (rc == QB_OK)
		*ticket = (struct qb_queue_ticket){ .a = ref.slot_idx, .b = ref.word };
	return rc;
}

static int shm_enqueue_unique(struct qb_queue *q, const struct qb_submit *job, const char *key,
			      struct qb_queue_ticket *ticket, struct qb_err *err)
{
	return qb_shm_enqueue_unique(&q->env, job, key, ticket, err);
}

static int shm_push(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		    struct qb_address_run *run, struct qb_err *err)
{
	return qb_shm_address_push(&q->env, job, address, ticket, run, err);
}

static int shm_await(struct qb_queue *q, const char *address, const struct qb_address_run *run, uint64_t deadline_ns,
		     struct qb_address_end *end, struct qb_err *err)
{
	(void)address;
	(void)err;
	return qb_shm_address_await(&q->env, run, deadline_ns, end);
}

static const struct qb_address_ops shm_addressed = { .push = shm_push, .await = shm_await };

static int shm_acknowledged(struct qb_queue *q, const struct qb_queue_ticket *ticket)
{
	struct qb_held ref = { .slot_idx = (uint32_t)ticket->a, .word = ticket->b };

	return q->env.seg->cfg.ack_mode == QB_ACK_SHM || qb_job_is_durable(q->env.seg, &ref);
}

static int shm_claim(struct qb_queue *q, unsigned lane, struct qb_queue_job *job, struct qb_err *err)
{
	const struct qb_seg *seg = q->env.seg;
	struct qb_held held;
	int final, rc = qb_job_claim(seg, q->env.seat, &held);

	if (rc == QB_ECORRUPT)
		return qb_err_set(err, rc, "the inbox of the segment is damaged");
	if (rc != QB_OK)
		return rc;
	const struct qb_job_shm *j = &seg->jobs[held.slot_idx];
	int bytes = qb_job_payload(seg, held.slot_idx, qb_word_gen(held.word), q->payload, QB_PAYLOAD_BYTES_MAX);

	job->job_id = j->job_id;
	job->token = held.word;
	job->slot_idx = held.slot_idx;
	job->work_us = j->work_us;
	job->tenant = j->tenant;
	job->kind = j->kind;
	job->error_class = j->error_class;
	job->attempt = (uint16_t)qb_word_attempt(held.word);
	job->failures = (uint16_t)qb_word_failures(held.word);
	job->max_attempts = j->max_attempts;
	job->lane = (uint16_t)lane;
	job->payload_bytes = bytes < 0 ? 0 : (uint32_t)bytes;
	job->payload_crc = j->payload_crc;
	if (bytes >= 0)
		return QB_OK;
	/* Nobody can run it, now or later: failed for good, and the claim goes on. */
	qb_log(QB_LOG_ERROR, "job %llu: its payload is damaged", (unsigned long long)j->job_id);
	if (qb_job_start(seg, &held) == 0)
		qb_job_fail(seg, q->env.seat, &held, 1, 0, &final);
	return QB_EMPTY;
}

static struct qb_held held_of(const struct qb_queue_job *job)
{
	return (struct qb_held){ .slot_idx = job->slot_idx, .word = job->token };
}

static int shm_start(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_held held = held_of(job);
	int rc = qb_job_start(q->env.seg, &held);

	(void)err;
	job->token = held.word;
	return rc;
}

static int shm_effect(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
		      struct qb_err *err)
{
	return qb_shm_effects_make(q->effects, job, result, bytes, err);
}

static int shm_complete(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			struct qb_err *err)
{
	struct qb_held held = held_of(job);

	if (q->effects)
		result = qb_shm_effects_result(q->effects, job, result, &bytes);
	int rc = qb_job_complete(q->env.seg, q->env.seat, &held, result, bytes);

	/* Earlier results wait for the syncer: back-pressure. */
	while (rc == QB_FULL && qb_load_relaxed32(&q->env.seg->hdr->stop) < QB_STOP_NOW) {
		qb_count(q->env.seg, q->env.seat, QB_COUNT_RESULT_WAIT, 1);
		qb_wake_seat(q->env.seg, qb_load_relaxed32(&q->env.seg->hdr->syncer_seat));
		qb_sleep_ns(QB_NS_PER_MS);
		rc = qb_job_complete(q->env.seg, q->env.seat, &held, result, bytes);
	}
	job->token = held.word;
	if (rc == QB_FULL)
		return qb_err_set(err, QB_ETIMEOUT, "told to leave before there was room for the result of job %llu",
				  (unsigned long long)job->job_id);
	if (rc < 0 && rc != QB_EFENCED)
		return qb_err_set(err, rc, "job %llu: %s", (unsigned long long)job->job_id, qb_strerror(rc));
	return rc;
}

static int shm_fail(struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
		    struct qb_err *err)
{
	struct qb_held held = held_of(job);
	int rc = qb_job_fail(q->env.seg, q->env.seat, &held, permanent, *due_ns, final);

	(void)err;
	job->token = held.word;
	return rc;
}

static int shm_release(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_held held = held_of(job);

	(void)err;
	return qb_job_release(q->env.seg, &held);
}

static int something_to_take(const struct qb_seg *seg)
{
	return qb_ring_depth(seg, QB_RING_NORMAL) + qb_ring_depth(seg, QB_RING_URGENT) > 0;
}

static int shm_wait(struct qb_queue *q, uint64_t deadline_ns, int takes_jobs, struct qb_err *err)
{
	const struct qb_seg *seg = q->env.seg;
	uint64_t now = qb_now_ns(), spin_end = now + seg->cfg.spin_ns;

	(void)err;
	q->woken = 1;
	while (takes_jobs && now < spin_end && now < deadline_ns) {
		if (something_to_take(seg))
			return 0;
		qb_cpu_pause();
		now = qb_now_ns();
	}
	qb_park_prepare(seg, q->env.seat, takes_jobs);
	uint64_t until = deadline_ns;

	if (takes_jobs) {
		uint64_t due = qb_load_relaxed64(&seg->hdr->next_due_ns);

		until = due < until ? due : until;
		if (now + q->env.poll_ns < until)
			until = now + q->env.poll_ns;
	}
	if (until <= now || qb_load_relaxed32(&seg->hdr->stop) >= QB_STOP_NOW ||
	    (takes_jobs && something_to_take(seg))) {
		q->woken = takes_jobs && until > now;
		qb_park_cancel(seg, q->env.seat);
		return 0;
	}
	qb_park(seg, q->env.seat, until - now);
	/* By whoever published a job, or a look at the ring in vain: both before the time was over. */
	q->woken = qb_now_ns() < until;
	return 0;
}

static int shm_woken(struct qb_queue *q)
{
	return q->woken;
}

static enum qb_outcome outcome_of_state(uint32_t state)
{
	switch (state) {
	case QB_JOB_FILLING:
	case QB_JOB_READY:
		return QB_OUTCOME_QUEUED;
	case QB_JOB_WAITING:
		return QB_OUTCOME_WAITING;
	case QB_JOB_AMBIGUOUS:
		return QB_OUTCOME_AMBIGUOUS;
	case QB_JOB_CLAIMED:
	case QB_JOB_STARTED:
		return QB_OUTCOME_HELD;
	case QB_JOB_DONE:
	case QB_JOB_SYNCED:
		return QB_OUTCOME_COMPLETED;
	case QB_JOB_FAILED:
	case QB_JOB_DEAD:
		return QB_OUTCOME_DISCARDED;
	default:
		return QB_OUTCOME_NONE;
	}
}

/*
 * A finished job counts as held until its outcome is durable, one in doubt until somebody has asked: the run is not
 * over before that.
 */
static int shm_census(struct qb_queue *q, struct qb_queue_census *out, struct qb_err *err)
{
	const struct qb_seg *seg = q->env.seg;
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	(void)err;
	*out = (struct qb_queue_census){ 0 };
	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		enum qb_outcome o = outcome_of_state(qb_word_state(qb_load_acquire64(&seg->jobs[i].word)));

		if (o == QB_OUTCOME_COMPLETED || o == QB_OUTCOME_DISCARDED ||
		    (o == QB_OUTCOME_AMBIGUOUS && seg->jobs[i].effect_class == QB_EFFECT_TRANSACTIONAL))
			o = QB_OUTCOME_HELD;
		out->by_outcome[o]++;
	}
	return 0;
}

static int stored_outcomes(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { q->env.seg->hdr->run_id };
	PGresult *res = NULL;
	int rc = 0;

	if (!q->conn)
		rc = qb_pg_connect(q->env.conninfo, "qbench driver", CONNECT_NS, &q->conn, err);
	if (rc == 0)
		rc = qb_pg_query(q->conn, "select job_id, state, attempt from qbench.outcome join qbench.run using (run_no)"
				 " where run_id = $1", 1, oids, values, NULL, NULL, 1, &res, err);
	if (rc < 0)
		return qb_err_context(err, "could not read the outcomes");
	for (int i = 0; i < PQntuples(res) && rc == 0; i++) {
		int64_t id;
		int16_t state;
		int32_t attempt;

		if (qb_pg_get_i64(res, i, 0, &id) || qb_pg_get_i16(res, i, 1, &state) ||
		    qb_pg_get_i32(res, i, 2, &attempt))
			rc = qb_err_set(err, QB_ECORRUPT, "an outcome row has other types than it should");
		else
			fn(ctx, (uint64_t)id, outcome_of_state((uint32_t)state), (uint32_t)attempt);
	}
	PQclear(res);
	return rc;
}

static int shm_outcomes(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	const struct qb_seg *seg = q->env.seg;
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	/* The segment first: a job that is freed in between is then found in Postgres. */
	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		uint64_t w = qb_load_acquire64(&seg->jobs[i].word);
		enum qb_outcome o = outcome_of_state(qb_word_state(w));

		/* What is being filled is no job yet: its id may be that of the slot's last one. */
		if (o != QB_OUTCOME_NONE && qb_word_state(w) != QB_JOB_FILLING)
			fn(ctx, seg->jobs[i].job_id, o, qb_word_attempt(w));
	}
	return stored_outcomes(q, fn, ctx, err);
}

const struct qb_queue_ops qb_queue_shm = {
	.abi = QB_QUEUE_ABI,
	.name = "shm",
	.summary = "our engine: jobs in shared memory, durable in Postgres in batches",
	.flags = QB_QUEUE_NEEDS_SYNCER | QB_QUEUE_IN_SEGMENT,
	.setup = shm_setup,
	.open = shm_open,
	.close = shm_close,
	.enqueue = shm_enqueue,
	.enqueue_unique = shm_enqueue_unique,
	.acknowledged = shm_acknowledged,
	.claim = shm_claim,
	.start = shm_start,
	.effect = shm_effect,
	.complete = shm_complete,
	.fail = shm_fail,
	.release = shm_release,
	.wait = shm_wait,
	.woken = shm_woken,
	.census = shm_census,
	.outcomes = shm_outcomes,
	.addressed = &shm_addressed,
};
