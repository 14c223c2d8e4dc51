/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/river-worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "pg/conn.h"
#include "sync/effect.h"
#include "sync/schema.h"
#include "workload/scenario.h"

#define CONNECT_NS RIVER_HOT_OPERATION_TIMEOUT_NS

/* A job in its lane. */
struct slot {
	bool busy, cancelled, strange;
	int64_t id;
	unsigned attempt, max_attempts, errors;
	uint64_t started_wall_ns;
};

struct qb_river_worker {
	struct qb_queue_env env;
	struct qb_river_client client;
	struct qb_river_limiter limiter;
	struct qb_river_control *control;
	struct qb_river_completer *completer;
	struct qb_river_leader *leader;
	struct qb_rng rng;
	PGconn *conn;                   /* NULL: to be made again when it is needed */
	int64_t run_no;                 /* with cfg.ledger */
	bool fetch_fails;

	PGconn *listener;               /* NULL: lost, and tried again at listener_ns */
	unsigned listener_tries;
	uint64_t listener_ns;           /* next ping, or next try */
	char channel[128];

	struct qb_river_debounce debounce;
	uint64_t poll_ns, report_ns;
	bool paused;
	bool notified;                  /* since the last fetch */
	bool when_slots;                /* fetchWhenSlotsAreAvailable */
	unsigned lanes, active;         /* active: in lanes, or fetched and not claimed yet */
	struct slot *slot;
	struct qb_river_fetched *fetched;
	unsigned fetched_count, fetched_next;
	uint8_t *payload;               /* of the row that is being read */
};

static const char *const kinds[] = { RIVER_KIND, NULL };

/* ---- connections ---- */

static int connect_worker(struct qb_river_worker *w, struct qb_err *err)
{
	if (w->conn && PQstatus(w->conn) == CONNECTION_OK)
		return 0;
	PQfinish(w->conn);
	w->conn = NULL;
	int rc = qb_pg_connect(w->env.conninfo, "qbench worker", CONNECT_NS, &w->conn, err);

	if (rc == 0)
		rc = qb_river_fetch_prepare(w->conn, w->client.schema, err);
	if (rc == 0 && w->env.seg->cfg.ledger)
		rc = qb_schema_run(w->conn, w->env.seg->hdr->run_id, &w->run_no, err);
	if (rc == 0 && w->env.seg->cfg.ledger)
		rc = qb_effect_prepare(w->conn, err);
	if (rc < 0) {
		PQfinish(w->conn);
		w->conn = NULL;
	}
	return rc;
}

static int connect_listener(struct qb_river_worker *w, struct qb_err *err)
{
	int rc = qb_pg_connect(w->env.conninfo, "qbench listener", CONNECT_NS, &w->listener, err);

	if (rc == 0)
		rc = qb_pg_listen(w->listener, w->channel, err);
	if (rc == 0) {
		w->listener_tries = 0;
		w->listener_ns = qb_now_ns() + RIVER_NOTIFIER_PING_NS;
		return 0;
	}
	PQfinish(w->listener);
	w->listener = NULL;
	return rc;
}

/* Tried again after 1, 2, 4 .. 64 s, +-10 %; until then the poll alone finds work. */
static void lose_listener(struct qb_river_worker *w, const struct qb_err *err)
{
	double s = (double)(1u << w->listener_tries % 7);

	s += s * (qb_rng_unit(&w->rng) * 0.2 - 0.1);
	/* A server that restarts is back by the second try, and the fetch has said what there is to say. */
	qb_log(w->listener_tries == 1 ? QB_LOG_WARNING : QB_LOG_DEBUG, "river: no notifications: %s", err->text);
	PQfinish(w->listener);
	w->listener = NULL;
	w->listener_tries++;
	w->listener_ns = qb_now_ns() + (uint64_t)(s * (double)QB_NS_PER_S);
}

/* Would River's pool, which opens another connection for the next statement, go on after this? */
static bool passes(const struct qb_river_worker *w, int rc)
{
	const char *state = qb_pg_sqlstate();

	/* 57014: it ran into the time-out of 10 s. */
	return rc == QB_ETIMEOUT || (rc == QB_EPG && (qb_pg_is_transient(w->conn, state) || strcmp(state, "57014") == 0));
}

/* ---- open and close ---- */

static uint64_t next_poll_ns(struct qb_river_worker *w)
{
	uint64_t every = w->client.opt.fetch_poll_interval_ns, range = every / 10;

	if (range < RIVER_FETCH_POLL_JITTER_MIN_NS)
		range = RIVER_FETCH_POLL_JITTER_MIN_NS;
	return qb_now_ns() + every + qb_rng_below(&w->rng, range);
}

static int begin(struct qb_river_worker *w, struct qb_err *err)
{
	int rc = qb_river_control_open(&w->control, err);

	w->client.control = w->control;
	if (rc == 0)
		rc = connect_worker(w, err);
	if (rc == 0)
		rc = qb_river_queue_report(w->conn, &w->paused, err);
	if (rc == 0)
		rc = connect_listener(w, err);
	if (rc == 0)
		rc = qb_river_completer_open(&w->client, &w->completer, err);
	if (rc == 0 && w->client.opt.completer == RIVER_COMPLETER_BATCH)
		rc = qb_river_completer_start(w->completer, err);
	if (rc == 0)
		rc = qb_river_leader_start(&w->client, &w->leader, err);
	if (rc < 0)
		return rc;
	if (w->paused)
		qb_log(QB_LOG_WARNING, "river: the queue \"%s\" is paused; nothing is fetched before it is resumed", RIVER_QUEUE);
	w->poll_ns = next_poll_ns(w);
	w->report_ns = qb_now_ns() + qb_rng_below(&w->rng, QB_NS_PER_S) + RIVER_QUEUE_REPORT_INTERVAL_NS;
	qb_river_debounce_call(&w->debounce, qb_now_ns());
	return 0;
}

int qb_river_worker_open(const struct qb_queue_env *env, const struct qb_river_options *opt,
			 struct qb_river_worker **out, struct qb_err *err)
{
	struct qb_river_worker *w = qb_xcalloc(1, sizeof(*w));
	char host[256] = "";

	gethostname(host, sizeof(host) - 1);
	w->env = *env;
	w->limiter = (struct qb_river_limiter)QB_RIVER_LIMITER_INIT;
	w->limiter.wait_ns = opt->fetch_cooldown_ns;
	w->client = (struct qb_river_client){
		.conninfo = env->conninfo, .schema = qb_river_schema(), .opt = *opt, .kinds = kinds, .limiter = &w->limiter,
		.seed = env->seg->cfg.seed * 4096 + env->seat + ((uint64_t)getpid() << 32),
	};
	qb_river_client_id(w->client.id, host, qb_wall_ns());
	qb_rng_init(&w->rng, w->client.seed, "river worker");
	qb_river_channel(w->client.schema, "insert", w->channel, sizeof(w->channel));
	w->debounce.cooldown_ns = opt->fetch_cooldown_ns;
	w->lanes = env->seg->cfg.slots_per_worker;
	w->slot = qb_xcalloc(w->lanes, sizeof(*w->slot));
	w->fetched = qb_xcalloc(w->lanes, sizeof(*w->fetched));
	w->payload = qb_xmalloc(QB_PAYLOAD_BYTES_MAX);
	int rc = begin(w, err);

	if (rc < 0) {
		qb_river_worker_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

/* A job that was not begun, as by a client that stops (JobSetStateInterrupted): the attempt is given back. */
static void give_back(struct qb_river_worker *w, int64_t id, unsigned attempt)
{
	struct qb_river_end e = {
		.id = id, .attempt = (int)attempt, .new_attempt = (int)attempt - 1, .state = RIVER_AVAILABLE,
		.scheduled_wall_ns = qb_wall_ns(),
	};

	qb_river_completer_put(w->completer, &e);
}

void qb_river_worker_close(struct qb_river_worker *w)
{
	if (!w)
		return;
	for (; w->fetched_next < w->fetched_count; w->fetched_next++)
		give_back(w, w->fetched[w->fetched_next].id, w->fetched[w->fetched_next].job.attempt);
	qb_river_completer_close(w->completer);
	qb_river_leader_stop(w->leader);
	qb_river_control_close(w->control);
	PQfinish(w->listener);
	PQfinish(w->conn);
	free(w->slot);
	free(w->fetched);
	free(w->payload);
	free(w);
}

/* ---- what happens beside the jobs ---- */

static void cancel(struct qb_river_worker *w, int64_t id)
{
	for (unsigned i = 0; i < w->lanes; i++)
		if (w->slot[i].busy && w->slot[i].id == id)
			w->slot[i].cancelled = true;
	for (unsigned i = w->fetched_next; i < w->fetched_count; i++)
		if (w->fetched[i].id == id)
			w->fetched[i].cancelled = true;
}

static void obey(struct qb_river_worker *w)
{
	bool paused;
	int64_t id;

	while (qb_river_control_take(w->control, &id, &paused)) {
		if (id) {
			cancel(w, id);
			continue;
		}
		if (w->paused && !paused)
			qb_river_debounce_call(&w->debounce, qb_now_ns());
		w->paused = paused;
	}
}

static void look_after_listener(struct qb_river_worker *w)
{
	struct qb_err err = { 0 };
	int rc = w->listener ? qb_pg_exec(w->listener, "select 1", &err) : connect_listener(w, &err);

	if (rc < 0)
		lose_listener(w, &err);
	else
		w->listener_ns = qb_now_ns() + RIVER_NOTIFIER_PING_NS;
}

static void look(struct qb_river_worker *w)
{
	uint64_t now = qb_now_ns();

	obey(w);
	if (now >= w->poll_ns) {
		qb_river_debounce_call(&w->debounce, now);
		w->poll_ns = next_poll_ns(w);
	}
	if (now >= w->report_ns) {
		struct qb_err err = { 0 };
		bool paused;

		if (connect_worker(w, &err) < 0 || qb_river_queue_report(w->conn, &paused, &err) < 0)
			qb_log(QB_LOG_WARNING, "river: the queue could not be reported: %s", err.text);
		w->report_ns = now + RIVER_QUEUE_REPORT_INTERVAL_NS;
	}
	if (now >= w->listener_ns)
		look_after_listener(w);
}

static void on_notify(void *opaque, const char *channel, const char *payload)
{
	struct qb_river_worker *w = opaque;
	const char *value;
	char queue[128];
	size_t bytes;

	if (strcmp(channel, w->channel) != 0 || !qb_river_json_get(payload, strlen(payload), "queue", &value, &bytes) ||
	    !qb_river_json_string(value, bytes, queue, sizeof(queue)) || strcmp(queue, RIVER_QUEUE) != 0)
		return;
	w->notified = true;
	qb_river_debounce_call(&w->debounce, qb_now_ns());
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int qb_river_worker_wait(struct qb_river_worker *w, uint64_t deadline_ns, int takes_jobs, struct qb_err *err)
{
	uint64_t until = earliest(deadline_ns, earliest(w->poll_ns, earliest(w->report_ns, w->listener_ns)));
	struct qb_err why = { 0 };

	(void)err;
	look(w);
	/* It is time to fetch and there is no slot: to be made good as soon as there is one. */
	if (w->active == w->lanes && qb_river_debounce_take(&w->debounce, qb_now_ns()))
		w->when_slots = true;
	until = earliest(until, takes_jobs || w->active == w->lanes ? qb_river_debounce_next(&w->debounce) : UINT64_MAX);
	int rc = qb_river_wait(w->listener, until, qb_river_control_fd(w->control), on_notify, w, &why);

	if (rc < 0)
		lose_listener(w, &why);
	if (rc > 0 && rc & QB_PG_WAKE_FD)
		qb_river_control_quiet(w->control);
	if (rc > 0 && rc & QB_PG_WAKE_NOTIFY)
		w->listener_ns = qb_now_ns() + RIVER_NOTIFIER_PING_NS;
	look(w);
	return 0;
}

int qb_river_worker_woken(const struct qb_river_worker *w)
{
	return w->notified;
}

/* ---- fetching ---- */

static int fetch(struct qb_river_worker *w, struct qb_err *err)
{
	unsigned limit = w->lanes - w->active;

	w->notified = false;
	if (w->paused)
		return 0;
	if (limit == 0) {
		w->when_slots = true;
		return 0;
	}
	int rc = connect_worker(w, err);

	if (rc == 0)
		rc = qb_river_fetch(w->conn, w->client.id, limit, w->fetched, w->payload, err);
	if (rc < 0 && passes(w, rc)) {
		qb_log(w->fetch_fails ? QB_LOG_DEBUG : QB_LOG_WARNING, "river: could not fetch: %s", err->text);
		w->fetch_fails = true;
		return 0;
	}
	if (rc < 0)
		return rc;
	w->fetch_fails = false;
	w->fetched_count = (unsigned)rc;
	w->fetched_next = 0;
	w->active += (unsigned)rc;
	/* As many as were asked for: there may be more. */
	if ((unsigned)rc == limit)
		w->when_slots = true;
	return 0;
}

int qb_river_worker_claim(struct qb_river_worker *w, unsigned lane, struct qb_queue_job *job, struct qb_err *err)
{
	struct slot *s = &w->slot[lane];

	look(w);
	if (w->fetched_next == w->fetched_count && qb_river_debounce_take(&w->debounce, qb_now_ns())) {
		int rc = fetch(w, err);

		if (rc < 0)
			return rc;
	}
	if (w->fetched_next == w->fetched_count)
		return QB_EMPTY;
	const struct qb_river_fetched *f = &w->fetched[w->fetched_next++];

	*job = f->job;
	job->lane = (uint16_t)lane;
	*s = (struct slot){
		.busy = true, .cancelled = f->cancelled, .strange = f->strange, .id = f->id, .attempt = job->attempt,
		.max_attempts = job->max_attempts, .errors = job->failures, .started_wall_ns = qb_wall_ns(),
	};
	return QB_OK;
}

/* ---- the ends ---- */

/* The slot is free when the completer has the result, or, with completer=sync, when it is written. */
static int end(struct qb_river_worker *w, struct slot *s, struct qb_river_end *e, struct qb_err *err)
{
	int rc = 1;

	e->id = s->id;
	e->attempt = (int)s->attempt;
	s->busy = false;
	w->active--;
	qb_river_completer_put(w->completer, e);
	if (w->client.opt.completer == RIVER_COMPLETER_SYNC)
		rc = qb_river_completer_flush(w->completer, err);
	if (w->when_slots) {
		w->when_slots = false;
		qb_river_debounce_call(&w->debounce, qb_now_ns());
	}
	return rc < 0 ? rc : rc == 0 ? QB_EFENCED : 0;
}

static void write_error(const struct slot *s, const char *text, const char *more, struct qb_river_end *e)
{
	char at[40];

	qb_format_rfc3339(at, s->started_wall_ns);
	snprintf(e->error, sizeof(e->error), "{\"at\":\"%s\",\"attempt\":%u,\"error\":\"%s%s\",\"trace\":\"\"}", at, s->attempt,
		 text, more);
}

/* Cancelled from outside while it was here; whatever it has come to does not count. */
static int end_cancelled(struct qb_river_worker *w, struct slot *s, struct qb_err *err)
{
	struct qb_river_end e = { .new_attempt = -1, .state = RIVER_CANCELLED, .finalized_wall_ns = qb_wall_ns() };

	write_error(s, "JobCancelError: job cancelled remotely", "", &e);
	int rc = end(w, s, &e, err);

	return rc < 0 ? rc : QB_EFENCED;
}

int qb_river_worker_start(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err)
{
	struct slot *s = &w->slot[job->lane];

	obey(w);
	return s->cancelled ? end_cancelled(w, s, err) : 0;
}

/* On its own, before the result is even in memory: killed in between, the job will have another. */
int qb_river_worker_effect(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_attempt a = { .run_no = w->run_no, .job_id = job->job_id, .attempt = job->attempt,
				.seat = w->env.seat };
	int rc = connect_worker(w, err);

	return rc < 0 ? rc : qb_effect_record(w->conn, &a, err);
}

/* Whoever waits looks as well: when the server is away the job ends all the same, and they hear of it later. */
int qb_river_worker_tell(struct qb_river_worker *w, const struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_err why = { 0 };
	int rc = connect_worker(w, &why);

	if (rc == 0)
		rc = qb_river_tell(w->conn, w->client.schema, (int64_t)job->token, &why);
	if (rc == 0)
		return 0;
	if (!passes(w, rc))
		return qb_err_set(err, rc, "%s", why.text);
	qb_log(QB_LOG_WARNING, "river: could not tell of the end of job %llu: %s", (unsigned long long)job->job_id, why.text);
	return 0;
}

int qb_river_worker_complete(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err)
{
	struct qb_river_end e = { .new_attempt = -1, .state = RIVER_COMPLETED, .finalized_wall_ns = qb_wall_ns() };
	struct slot *s = &w->slot[job->lane];

	obey(w);
	return s->cancelled ? end_cancelled(w, s, err) : end(w, s, &e, err);
}

int qb_river_worker_fail(struct qb_river_worker *w, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
			 struct qb_err *err)
{
	struct slot *s = &w->slot[job->lane];
	struct qb_river_end e = { .new_attempt = -1 };
	uint64_t now = qb_now_ns(), wall = qb_wall_ns();

	obey(w);
	if (s->cancelled)
		return end_cancelled(w, s, err);
	if (s->strange)
		write_error(s, "neither the kind nor the arguments of a benchmark job", "", &e);
	else
		write_error(s, permanent ? "JobCancelError: simulated error: " : "simulated error: ",
			    qb_error_class_name(job->error_class), &e);
	*final = permanent || s->attempt >= s->max_attempts;
	*due_ns = 0;
	if (*final) {
		e.state = permanent ? RIVER_CANCELLED : RIVER_DISCARDED;
		e.finalized_wall_ns = wall;
	} else {
		uint64_t delay = qb_river_retry_ns(s->errors, &w->rng);

		/* What is due before the scheduler would see it need not wait for the scheduler. */
		e.state = delay <= RIVER_SCHEDULER_INTERVAL_NS ? RIVER_AVAILABLE : RIVER_RETRYABLE;
		e.scheduled_wall_ns = wall + delay;
		*due_ns = now + delay;
	}
	return end(w, s, &e, err);
}

int qb_river_worker_release(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err)
{
	struct slot *s = &w->slot[job->lane];
	struct qb_river_end e = {
		.new_attempt = (int)s->attempt - 1, .state = RIVER_AVAILABLE, .scheduled_wall_ns = qb_wall_ns(),
	};

	return end(w, s, &e, err);
}

struct qb_river_control *qb_river_worker_control(struct qb_river_worker *w)
{
	return w->control;
}

struct qb_river_completer *qb_river_worker_completer(struct qb_river_worker *w)
{
	return w->completer;
}
