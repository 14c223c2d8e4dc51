/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "platlib": rsqueue of platform-lib on the tables of the original benchmark's adapter, as one agent per worker
 * process: one Get at a time, up to `slots` jobs in lanes.
 *
 * Get pops; when there is nothing it subscribes and waits for one work-ready notification, or for the end of a job of
 * this process, and pops again. It does not poll, and what is notified between the empty pop and the subscription
 * is lost ("fixed" is otherwise).  A caller that asks more often does not make it pop more often.
 *
 * Crash: a popped row keeps its permit until the sweeper takes it away ("published": for ever).  Kill after the
 * row was deleted: its permit stays, harmless.  A retry with a pause waits in this process and dies with it, unless
 * retry=durable.  Kill between the push of a retry and the delete of the old row leaves both.  See doc/platlib.md.
 */
#include "queue/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/platlib.h"
#include "queue/platlib-inside.h"
#include "queue/platlib-timer.h"
#include "shm/crc.h"
#include "shm/seat.h"
#include "sync/effect.h"
#include "sync/schema.h"
#include "workload/scenario.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

struct qb_platlib_fixed qb_platlib_fixed = {
	.beat_ns = 5 * QB_NS_PER_S, .address_tick_ns = 5 * QB_NS_PER_S, .group_poll_ns = 2 * QB_NS_PER_S,
	.error_pause_ns = 100 * QB_NS_PER_MS, .forget_ns = 60 * QB_NS_PER_S,
};

static const char *const adapters[] = { "published", "library", "fixed", NULL };
static const char *const retries[] = { "push", "durable", NULL };

enum { ADAPTER, LEASE, SWEEP_INTERVAL, POLL, RETRY, LEADER_TIMEOUT };

static const struct qb_queue_option options[] = {
	[ADAPTER] = { .name = "adapter", .type = QB_QUEUE_CHOICE, .choices = adapters, .preset = "library",
		      .help = "published: as the original adapter, nobody sweeps; library: heartbeats, monitor and sweeper as "
			      "rsqueue means them; fixed: and no wake-up is lost" },
	[LEASE] = { .name = QB_QUEUE_LEASE_OPTION, .type = QB_QUEUE_DURATION, .min = QB_NS_PER_MS,
		    .max = 24 * 3600 * QB_NS_PER_S, .preset = "60s",
		    .help = "SweepFor: a permit without a heartbeat for so long is taken away; the library has no default" },
	[SWEEP_INTERVAL] = { .name = "sweep-interval", .type = QB_QUEUE_DURATION, .min = QB_NS_PER_MS,
			     .max = 24 * 3600 * QB_NS_PER_S, .preset = "30s",
			     .help = "how often the leader sweeps; the library has no default" },
	[POLL] = { .name = "poll", .type = QB_QUEUE_DURATION, .min = QB_NS_PER_MS, .max = 3600 * QB_NS_PER_S, .preset = "1s",
		   .help = "adapter=fixed: how often an idle worker looks without being told" },
	[RETRY] = { .name = "retry", .type = QB_QUEUE_CHOICE, .choices = retries, .preset = "push",
		    .help = "push: a new row, and with --backoff a timer in the worker's memory, as the original; durable: the "
			    "same row, not before its time" },
	[LEADER_TIMEOUT] = { .name = "leader-timeout", .type = QB_QUEUE_DURATION, .min = 4 * QB_NS_PER_MS,
			     .max = 3600 * QB_NS_PER_S, .preset = "5s",
			     .help = "a worker that hears no leader for so long asks to lead; the library has no default" },
	{ .name = NULL },
};

struct lane {
	int64_t permit, type;
	char *address;
	uint8_t *payload;
	struct qb_platlib_item item;
	int64_t code;                   /* of the failure that its runner returns, if it said so */
	char *message;
};

struct qb_queue {
	struct qb_queue_env env;
	struct qb_platlib_settings s;
	PGconn *conn;
	int64_t run_no;                 /* with cfg.ledger */
	/* Consumer. */
	PGconn *listener;
	unsigned lanes;
	struct lane *lane;
	struct qb_platlib_keeper *keeper;
	struct qb_platlib_timers timers;
	int waiting, woken;             /* Get: subscribed after an empty pop; something has ended the wait */
	uint64_t look_ns;               /* it ends by itself then; 0: never */
	unsigned errors;                /* of Get, in a row */
	uint64_t pause_ns;              /* until then, after an error */
	/* Producer. */
	struct qb_platlib_caller caller;
};

PGconn *qb_platlib_listener(const struct qb_queue *q) { return q->listener; }
struct qb_platlib_keeper *qb_platlib_keeper_of(const struct qb_queue *q) { return q->keeper; }
struct qb_platlib_caller *qb_platlib_caller_of(struct qb_queue *q) { return &q->caller; }

static int read_settings(const struct qb_queue_env *env, struct qb_platlib_settings *s, struct qb_err *err)
{
	uint64_t v[QB_QUEUE_OPTIONS_MAX];
	int rc = qb_queue_options_parse(&qb_queue_platlib, env->options, v, err);

	if (rc < 0)
		return rc;
	*s = (struct qb_platlib_settings){
		.adapter = (enum qb_platlib_adapter)v[ADAPTER], .lease_ns = v[LEASE], .sweep_interval_ns = v[SWEEP_INTERVAL],
		.poll_ns = v[POLL], .durable = (int)v[RETRY], .leader_timeout_ns = v[LEADER_TIMEOUT],
	};
	return 0;
}

static int platlib_setup(const struct qb_queue_env *env, struct qb_err *err)
{
	struct qb_platlib_settings s;
	PGconn *conn;
	int rc = read_settings(env, &s, err);

	if (rc == 0)
		rc = qb_pg_connect(env->conninfo, "qbench setup", CONNECT_NS, &conn, err);
	if (rc < 0)
		return rc;
	rc = qb_platlib_create_tables(conn, &s, err);
	/* The ledger is in the other schema, and its rows are of a run. */
	if (rc == 0 && env->seg->cfg.ledger) {
		rc = qb_schema_install(conn, err);
		if (rc == 0)
			rc = qb_schema_run_begin(conn, env->seg->hdr->run_id, NULL, 0, err);
		if (rc == 0)
			rc = qb_schema_prune(conn, env->seg->hdr->run_id, err);
	}
	PQfinish(conn);
	return rc < 0 ? qb_err_context(err, "could not create the tables of platlib") : 0;
}

static void clear_lane(struct qb_queue *q, unsigned i)
{
	struct lane *l = &q->lane[i];

	if (q->keeper)
		qb_platlib_keeper_hold(q->keeper, i, 0);
	free(l->address);
	free(l->payload);
	free(l->message);
	*l = (struct lane){ 0 };
}

static void platlib_close(struct qb_queue *q)
{
	for (unsigned i = 0; q->lane && i < q->lanes; i++)
		clear_lane(q, i);
	qb_platlib_keeper_stop(q->keeper);
	if (q->lane)
		qb_platlib_timers_close(&q->timers);
	qb_platlib_poller_close(q->caller.poller);
	PQfinish(q->listener);
	PQfinish(q->conn);
	free(q->lane);
	free(q);
}

static int open_consumer(struct qb_queue *q, struct qb_err *err)
{
	int rc = qb_pg_connect(q->env.conninfo, "qbench listener", CONNECT_NS, &q->listener, err);

	if (rc == 0)
		rc = qb_pg_listen(q->listener, QB_PLATLIB_MESSAGES, err);
	if (rc == 0 && q->env.seg->cfg.ledger)
		rc = qb_schema_run(q->conn, q->env.seg->hdr->run_id, &q->run_no, err);
	if (rc == 0 && q->env.seg->cfg.ledger)
		rc = qb_effect_prepare(q->conn, err);
	if (rc < 0)
		return rc;
	q->lanes = q->env.seg->cfg.slots_per_worker;
	q->lane = qb_xcalloc(q->lanes, sizeof(*q->lane));
	qb_platlib_timers_open(&q->timers, q->env.seg, q->env.seat);
	if (q->s.adapter == QB_PLATLIB_PUBLISHED)
		return 0;
	return qb_platlib_keeper_start(q->env.conninfo, &q->s, q->lanes, &q->keeper, err);
}

static int platlib_open(const struct qb_queue_env *env, struct qb_queue **out, struct qb_err *err)
{
	struct qb_queue *q = calloc(1, sizeof(*q));
	int producer = env->role == QB_ROLE_DRIVER;

	if (!q)
		return qb_err_set(err, -ENOMEM, "out of memory");
	q->env = *env;
	int rc = read_settings(env, &q->s, err);

	if (rc == 0)
		rc = qb_pg_connect(env->conninfo, producer ? "qbench driver" : "qbench worker", CONNECT_NS, &q->conn, err);
	if (rc == 0)
		rc = qb_platlib_prepare(q->conn, &q->s, err);
	if (rc == 0 && !producer)
		rc = open_consumer(q, err);
	if (rc < 0) {
		platlib_close(q);
		return qb_err_context(err, "platlib");
	}
	q->caller = (struct qb_platlib_caller){ .conn = q->conn, .conninfo = env->conninfo, .adapter = q->s.adapter };
	*out = q;
	return 0;
}

/* ---- producer ---- */

static int push(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		int64_t *row, struct qb_err *err)
{
	struct qb_platlib_item item = {
		.job_id = job->job_id, .tenant = job->tenant, .work_us = job->work_us, .kind = job->kind, .attempt = 1,
		.error_class = job->error_class, .max_attempts = job->max_attempts, .payload = job->payload,
		.payload_bytes = job->payload_bytes,
	};
	struct qb_strbuf json = { 0 };

	if (job->kind >= QB_PLATLIB_KINDS)
		return qb_err_set(err, QB_EUSAGE, "job %llu: no runner is registered for its kind",
				  (unsigned long long)job->job_id);
	ticket->a = job->job_id;
	ticket->b = 0;
	qb_platlib_item_write(&item, &json);
	int rc = qb_platlib_push(q->conn, &q->s, address, qb_platlib_type(job->kind), &json, row, err);

	qb_strbuf_free(&json);
	return rc;
}

static int platlib_enqueue(struct qb_queue *q, const struct qb_submit *job, struct qb_queue_ticket *ticket,
			   struct qb_err *err)
{
	return push(q, job, NULL, ticket, NULL, err);
}

/* AddressedPush: the address is taken while the job is queued or runs. */
int qb_platlib_push_addressed(struct qb_queue *q, const struct qb_submit *job, const char *address,
			      struct qb_queue_ticket *ticket, int64_t *row, struct qb_err *err)
{
	return push(q, job, address, ticket, row, err);
}

static int platlib_enqueue_unique(struct qb_queue *q, const struct qb_submit *job, const char *key,
				  struct qb_queue_ticket *ticket, struct qb_err *err)
{
	return push(q, job, key, ticket, NULL, err);
}

/* The insert had committed when enqueue() returned. */
static int platlib_acknowledged(struct qb_queue *q, const struct qb_queue_ticket *ticket)
{
	(void)q;
	(void)ticket;
	return 1;
}

/* ---- Get ---- */

static void on_note(void *opaque, const struct qb_platlib_note *note)
{
	struct qb_queue *q = opaque;

	/* Who waits hears it; "fixed" has subscribed before it popped. */
	if (note->type == QB_PLATLIB_WORK_READY && (q->waiting || q->s.adapter == QB_PLATLIB_FIXED))
		q->woken = 1;
}

/* The agent's hint that there is room again: heard by a Get that waits. */
static void job_ended(struct qb_queue *q)
{
	if (q->waiting)
		q->woken = 1;
}

/* 1: pop; 0: Get still waits; negative: the connection is lost. */
static int may_pop(struct qb_queue *q, struct qb_err *err)
{
	uint64_t now = qb_now_ns();
	int rc = qb_platlib_take_notes(q->listener, on_note, q, err);

	if (rc < 0)
		return rc;
	if (now < q->pause_ns)
		return 0;
	return !q->waiting || q->woken || (q->look_ns && now >= q->look_ns);
}

static int begin_to_wait(struct qb_queue *q, uint64_t due_ns, struct qb_err *err)
{
	qb_platlib_at(QB_PLATLIB_AFTER_EMPTY_POP);
	/* Nobody had subscribed to what is there by now; "fixed" keeps it. */
	int rc = qb_platlib_take_notes(q->listener, on_note, q, err);

	q->waiting = 1;
	q->look_ns = q->s.adapter == QB_PLATLIB_FIXED ? qb_now_ns() + q->s.poll_ns : 0;
	if (due_ns && (!q->look_ns || due_ns < q->look_ns))
		q->look_ns = due_ns;
	return rc < 0 ? rc : QB_EMPTY;
}

/* The agent sleeps after an error of Get, twice as long each time. A connection that is lost is the caller's. */
static int after_error(struct qb_queue *q, int rc, struct qb_err *err)
{
	uint64_t factor = q->errors < 10 ? 1ull << q->errors : 1000;

	if (PQstatus(q->conn) != CONNECTION_OK)
		return rc;
	qb_log(q->errors ? QB_LOG_DEBUG : QB_LOG_WARNING, "platlib: Get: %s; pausing", err ? err->text : "error");
	q->errors++;
	q->waiting = 0;
	q->pause_ns = qb_now_ns() + factor * qb_platlib_fixed.error_pause_ns;
	return QB_EMPTY;
}

/* 0; QB_EMPTY: it cannot be read, and is over as any job that its runner could not handle. */
static int take(struct qb_queue *q, unsigned i, struct qb_platlib_work *work, struct qb_queue_job *job, struct qb_err *err)
{
	struct lane *l = &q->lane[i];

	/* A job that a caller has given up without a word is not extended any more. */
	clear_lane(q, i);
	int rc = qb_platlib_item_read(work->item, work->item_bytes, &l->item, &l->payload);

	free(work->item);
	l->address = work->address;
	l->permit = work->permit;
	l->type = work->type;
	if (rc < 0) {
		qb_log(QB_LOG_ERROR, "platlib: the row of permit %lld is no job of the benchmark", (long long)work->permit);
		rc = qb_platlib_delete(q->conn, &q->s, work->permit, NULL, err);
		clear_lane(q, i);
		return rc < 0 ? rc : QB_EMPTY;
	}
	if (q->keeper)
		qb_platlib_keeper_hold(q->keeper, i, l->permit);
	*job = (struct qb_queue_job){
		.job_id = l->item.job_id, .work_us = l->item.work_us, .tenant = l->item.tenant, .kind = l->item.kind,
		.error_class = l->item.error_class, .attempt = l->item.attempt, .failures = (uint16_t)(l->item.attempt - 1),
		.max_attempts = l->item.max_attempts, .lane = (uint16_t)i, .payload_bytes = l->item.payload_bytes,
		.payload_crc = qb_crc32c(0, l->payload, l->item.payload_bytes),
	};
	return 0;
}

static int platlib_claim(struct qb_queue *q, unsigned lane, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_platlib_work work;
	int rc = qb_platlib_timers_fire(&q->timers, q->conn, &q->s, err);

	if (rc < 0)
		return rc;
	while ((rc = may_pop(q, err)) > 0) {
		q->waiting = q->woken = 0;
		rc = qb_platlib_pop(q->conn, &work, err);
		if (rc < 0)
			return after_error(q, rc, err);
		q->errors = 0;
		if (rc == QB_EMPTY)
			return begin_to_wait(q, work.next_due_ns, err);
		rc = take(q, lane, &work, job, err);
		if (rc != QB_EMPTY)
			return rc;
	}
	return rc < 0 ? rc : QB_EMPTY;
}

/* The permit is all that says whose it is, and nobody looks at it. */
static int platlib_start(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	(void)q;
	(void)job;
	(void)err;
	return 0;
}

/* ---- the end of a job ---- */

static int platlib_effect(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			  struct qb_err *err)
{
	struct qb_attempt a = { .run_no = q->run_no, .job_id = job->job_id, .attempt = job->attempt,
				.seat = q->env.seat };

	(void)result;
	(void)bytes;
	return qb_effect_record(q->conn, &a, err);
}

void qb_platlib_tell(struct qb_queue *q, unsigned lane, int64_t code, const char *message)
{
	struct lane *l = &q->lane[lane];

	free(l->message);
	l->message = message ? qb_xstrdup(message) : NULL;
	l->code = message ? code : 0;
}

/* The permit may have been taken away: then it matches no row, and the library does not look. */
static int tell_delete_notify(struct qb_queue *q, const struct lane *l, const char *failure, struct qb_err *err)
{
	int rc = qb_platlib_record_failure(q->conn, l->address, l->code, failure, err);

	if (rc < 0)
		return rc;
	qb_platlib_at(QB_PLATLIB_AFTER_RECORD);
	rc = qb_platlib_delete(q->conn, &q->s, l->permit, NULL, err);
	return rc < 0 ? rc : qb_platlib_notify_complete(q->conn, l->address, err);
}

/* "fixed": all three or none, and none for a permit that was taken away. */
static int end_run(struct qb_queue *q, const struct lane *l, const char *failure, struct qb_err *err)
{
	struct qb_strbuf json = { 0 };

	if (failure)
		qb_platlib_failure_write(&json, l->code, failure);
	int rc = qb_platlib_delete_run(q->conn, &q->s, l->permit, l->address, failure ? json.data : NULL, err);

	qb_strbuf_free(&json);
	return rc;
}

/* What the agent does when a runner returns, in its order. failure NULL: it returned nil. */
static int end_job(struct qb_queue *q, unsigned lane, const char *failure, struct qb_err *err)
{
	struct lane *l = &q->lane[lane];
	int rc;

	if (q->keeper)
		qb_platlib_keeper_hold(q->keeper, lane, 0);
	if (!*l->address)
		rc = qb_platlib_delete(q->conn, &q->s, l->permit, NULL, err);
	else if (q->s.adapter == QB_PLATLIB_FIXED)
		rc = end_run(q, l, failure, err);
	else
		rc = tell_delete_notify(q, l, failure, err);
	clear_lane(q, lane);
	job_ended(q);
	return rc;
}

static int platlib_complete(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			    struct qb_err *err)
{
	(void)result;           /* there is no column for one */
	(void)bytes;
	return end_job(q, job->lane, NULL, err);
}

/* Our variant: the same row, which nobody may have taken meanwhile. */
static int wait_in_row(struct qb_queue *q, unsigned lane, const struct qb_strbuf *item, uint64_t due_ns, struct qb_err *err)
{
	struct lane *l = &q->lane[lane];
	uint64_t now = qb_now_ns();
	int rows = 0, rc = 0;

	/* "fixed": what is recorded is an earlier run's, which nobody who waits for this one is told. */
	if (*l->address && q->s.adapter != QB_PLATLIB_FIXED)
		rc = qb_platlib_record_failure(q->conn, l->address, 0, NULL, err);
	if (rc == 0)
		rc = qb_platlib_requeue(q->conn, &q->s, l->permit, item, due_ns > now ? due_ns - now : 0, &rows, err);
	clear_lane(q, lane);
	job_ended(q);
	return rc < 0 ? rc : rows ? 0 : QB_EFENCED;
}

static int platlib_fail(struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
			struct qb_err *err)
{
	struct lane *l = &q->lane[job->lane];
	struct qb_strbuf item = { 0 };
	int rc = 0;

	*final = permanent || job->failures + 1 >= job->max_attempts;
	if (*final)
		return end_job(q, job->lane, l->message ? l->message : qb_error_class_name(job->error_class), err);
	if (q->keeper)
		qb_platlib_keeper_hold(q->keeper, job->lane, 0);
	l->item.attempt++;
	qb_platlib_item_write(&l->item, &item);
	if (q->s.durable) {
		rc = wait_in_row(q, job->lane, &item, *due_ns, err);
		qb_strbuf_free(&item);
		return rc;
	}
	/* The runner pushes, without the address, and returns nil; then the agent ends the job. */
	if (*due_ns > qb_now_ns()) {
		qb_platlib_timers_add(&q->timers, *due_ns, l->type, &item);
	} else {
		rc = qb_platlib_push(q->conn, &q->s, NULL, l->type, &item, NULL, err);
		qb_strbuf_free(&item);
	}
	if (rc < 0)
		return rc;
	qb_platlib_at(QB_PLATLIB_AFTER_REPUSH);
	return end_job(q, job->lane, NULL, err);
}

/* The library has no such thing; this is what its sweeper would do. */
static int platlib_release(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char note[QB_PLATLIB_NOTE_BYTES];

	qb_arg_i64(&a, q->lane[job->lane].permit);
	qb_arg_text(&a, qb_platlib_note_ready(note, q->s.adapter != QB_PLATLIB_PUBLISHED));
	int rc = qb_pg_query(q->conn, "with back as (update qbench_platlib.queue set permit = 0 where permit = $1::bigint),"
			     " gone as (delete from qbench_platlib.queue_permits where id = $1::bigint)"
			     " select pg_notify('" QB_PLATLIB_MESSAGES "', $2)", a.n, NULL, a.values, a.lengths, a.formats, 1,
			     NULL, err);

	clear_lane(q, job->lane);
	q->waiting = 0;
	return rc;
}

static int platlib_wait(struct qb_queue *q, uint64_t deadline_ns, int takes_jobs, struct qb_err *err)
{
	uint64_t until = deadline_ns, due = qb_platlib_timers_next_ns(&q->timers);

	if (due && due < until)
		until = due;
	if (takes_jobs && qb_now_ns() < q->pause_ns)
		until = q->pause_ns < until ? q->pause_ns : until;
	else if (takes_jobs && q->look_ns && q->look_ns < until)
		until = q->look_ns;
	for (;;) {
		/* Always, also when nobody wants them: the server cannot keep them for ever. */
		int rc = qb_platlib_take_notes(q->listener, on_note, q, err);

		if (rc < 0)
			return rc;
		if (qb_now_ns() >= until || (takes_jobs && qb_now_ns() >= q->pause_ns && (q->woken || !q->waiting)))
			break;
		rc = qb_platlib_await(q->listener, -1, until, err);
		if (rc < 0)
			return rc;
	}
	return qb_platlib_timers_fire(&q->timers, q->conn, &q->s, err);
}

static int platlib_woken(struct qb_queue *q)
{
	return q->woken;
}

/* ---- what is where ---- */

static int platlib_census(struct qb_queue *q, struct qb_queue_census *out, struct qb_err *err)
{
	int rc = qb_platlib_census(q->conn, &q->s, out, err);

	out->by_outcome[QB_OUTCOME_WAITING] += qb_platlib_timers_count(q->env.seg);
	return rc;
}

static int platlib_outcomes(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	return qb_platlib_outcomes(q->conn, &q->s, fn, ctx, err);
}

const struct qb_queue_ops qb_queue_platlib = {
	.abi = QB_QUEUE_ABI,
	.name = "platlib",
	.summary = "platform-lib's rsqueue on the tables of the original benchmark's adapter",
	.flags = QB_QUEUE_ENQUEUE_WAITS | QB_QUEUE_LEASED | QB_QUEUE_MAY_LOSE | QB_QUEUE_FORGETS,
	.options = options,
	.setup = platlib_setup,
	.open = platlib_open,
	.close = platlib_close,
	.enqueue = platlib_enqueue,
	.enqueue_unique = platlib_enqueue_unique,
	.acknowledged = platlib_acknowledged,
	.claim = platlib_claim,
	.start = platlib_start,
	.effect = platlib_effect,
	.complete = platlib_complete,
	.fail = platlib_fail,
	.release = platlib_release,
	.wait = platlib_wait,
	.woken = platlib_woken,
	.census = platlib_census,
	.outcomes = platlib_outcomes,
	.addressed = &qb_platlib_addressed,
};
