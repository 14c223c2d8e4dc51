/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: claims, runs, ends; one thread, up to `slots` jobs at a time, because synthetic work is a
 * deadline.  It measures in the same way for every queue: the queue's functions are called, and
 * around them the events are written.
 */
#include "run/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "queue/queue.h"
#include "record/format.h"
#include "run/cachework.h"
#include "run/gate.h"
#include "shm/fault.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "workload/scenario.h"

#define WAIT_MAX_NS (100 * QB_NS_PER_MS)
#define REOPEN_MIN_NS (10 * QB_NS_PER_MS)
#define REOPEN_MAX_NS QB_NS_PER_S
/* How often a worker looks whether a job that is held back may go on. */
#define HOLD_LOOK_NS QB_NS_PER_MS

/* What a job returns: enough to see later that it was this job and this payload. */
struct result {
	uint64_t job_id;
	uint32_t payload_crc;
	uint32_t attempt;
};

struct lane {
	int busy;
	int effect_done;
	int found;                      /* the item that it was to make is there already */
	int not_put;                    /* it could not be stored: the job fails, for good */
	uint64_t started_ns, effect_ns, end_ns;
	struct qb_queue_job job;
};

struct worker {
	struct qb_process *p;
	const struct qb_queue_ops *ops;
	struct qb_queue *q;
	struct qb_queue_env env;
	struct qb_rng rng;
	struct qb_gate gate;
	struct qb_cachework *cache;     /* NULL: its jobs make no items */
	unsigned lanes, busy;
	enum qb_found found;            /* how it came to look for the next job */
	struct lane *lane;
};

static void note_job(struct worker *w, uint16_t type, const struct qb_queue_job *job, uint64_t arg0, uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin(&w->p->log);

	if (!e)
		return;
	e->job_id = job->job_id;
	e->token = job->token;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = job->slot_idx;
	e->tenant = job->tenant;
	e->type = type;
	e->kind = (uint8_t)job->kind;
	e->error_class = (uint8_t)job->error_class;
	e->attempt = job->attempt;
	qb_event_commit(&w->p->log, e);
}

/* When the next attempt is due after `failures` failures: at once, or failures^4 s with jitter. */
static uint64_t next_attempt_ns(struct worker *w, unsigned failures)
{
	const struct qb_config_shm *cfg = &w->p->seg->cfg;
	uint64_t delay = (uint64_t)failures * failures * failures * failures * QB_NS_PER_S;

	if (cfg->backoff != QB_BACKOFF_POW4)
		return 0;
	if (cfg->jitter_permille) {
		double j = (qb_rng_unit(&w->rng) * 2 - 1) * cfg->jitter_permille / 1000.0;

		delay = (uint64_t)((double)delay * (1.0 + j));
	}
	return qb_now_ns() + delay;
}

static int end_failed(struct worker *w, struct lane *l, struct qb_err *err)
{
	int final = 0;
	uint64_t work_ns = qb_now_ns() - l->started_ns;
	uint64_t due_ns = next_attempt_ns(w, l->job.failures + 1u);
	int permanent = l->job.error_class == QB_ERROR_CLASS_PERMANENT || l->not_put;
	int rc = w->cache ? qb_cachework_fail(w->cache, &w->p->log, &l->job, err) : 0;

	if (rc < 0)
		return rc;
	rc = w->ops->fail(w->q, &l->job, permanent, &due_ns, &final, err);

	QB_FAULT("worker.fail.after-call");
	if (rc == QB_EFENCED) {
		note_job(w, QB_EV_JOB_FENCED, &l->job, l->job.token, 0);
		return 0;
	}
	if (rc < 0)
		return rc;
	note_job(w, QB_EV_JOB_FAILED, &l->job, work_ns, final ? 0 : due_ns ? due_ns : qb_now_ns());
	if (final)
		note_job(w, QB_EV_JOB_DISCARDED, &l->job, 0, 0);
	return 0;
}

static struct result result_of(const struct qb_queue_job *job)
{
	return (struct result){ .job_id = job->job_id, .payload_crc = job->payload_crc, .attempt = job->attempt };
}

/* 0; 1: there is none, the job has to fail; QB_EFENCED: the job is over for this worker; negative: the queue is broken. */
static int make_effect(struct worker *w, struct lane *l, struct qb_err *err)
{
	struct result result = result_of(&l->job);
	int rc = w->cache && !l->found ? qb_cachework_put(w->cache, &w->p->log, &l->job, err) : 0;

	l->not_put = rc > 0;
	if (rc)
		return rc;
	if (w->p->seg->cfg.ledger)
		rc = w->ops->effect(w->q, &l->job, &result, sizeof(result), err);
	/* The run that has put an item that was found may have been killed before it could say so. */
	else if (!l->found || qb_effect_count(w->p->seg, l->job.job_id) == 0)
		qb_effect_bump(w->p->seg, l->job.job_id);
	QB_FAULT("worker.effect.after-bump");
	l->effect_done = 1;
	if (rc == QB_EFENCED)
		note_job(w, QB_EV_JOB_FENCED, &l->job, l->job.token, 0);
	return rc;
}

static int end_completed(struct worker *w, struct lane *l, struct qb_err *err)
{
	struct result result = result_of(&l->job);
	uint64_t work_ns = qb_now_ns() - l->started_ns;
	int rc = w->ops->complete(w->q, &l->job, &result, sizeof(result), err);

	QB_FAULT("worker.complete.after-call");
	if (rc == QB_EFENCED) {
		note_job(w, QB_EV_JOB_FENCED, &l->job, l->job.token, 0);
		return 0;
	}
	if (rc < 0)
		return rc;
	note_job(w, QB_EV_JOB_COMPLETED, &l->job, work_ns, 0);
	return 0;
}

/* Not beyond the orderly end: there everybody finishes what was begun. */
static int is_held(const struct worker *w, const struct lane *l)
{
	int held = qb_gate_holds(&w->gate, l->job.job_id) || qb_cachework_holds(w->cache, &l->job);

	return held && qb_load_relaxed32(&w->p->seg->hdr->stop) == QB_STOP_NO;
}

/* The effects and ends that are due. 0, or negative: the queue is broken. */
static int serve_lanes(struct worker *w, struct qb_err *err)
{
	uint64_t now = qb_now_ns();

	for (unsigned i = 0; i < w->lanes && w->busy; i++) {
		struct lane *l = &w->lane[i];
		int rc = 0;

		if (!l->busy || is_held(w, l))
			continue;
		int fails = (l->job.error_class != QB_ERROR_CLASS_NONE && !l->found) || l->not_put;

		/* Half-way: a kill before it leaves a started job without effect, one after it a job with one. */
		if (!fails && !l->effect_done && now >= l->effect_ns)
			rc = make_effect(w, l, err);
		fails |= rc > 0;
		if (rc == 0 && now < l->end_ns)
			continue;
		if (rc >= 0)
			rc = fails ? end_failed(w, l, err) : end_completed(w, l, err);
		l->busy = 0;
		w->busy--;
		if (rc < 0 && rc != QB_EFENCED)
			return rc;
	}
	return 0;
}

static struct lane *free_lane(struct worker *w)
{
	for (unsigned i = 0; i < w->lanes; i++)
		if (!w->lane[i].busy)
			return &w->lane[i];
	return NULL;
}

/* When it has its effect, and when it ends. Returns how long it works. */
static uint64_t set_times(const struct worker *w, struct lane *l)
{
	/* A job that fails does so at once, without its work: the original's rule. An item is put when it is made. */
	int at_once = w->cache ? l->found : l->job.error_class != QB_ERROR_CLASS_NONE;
	uint64_t work_ns = at_once ? 0 : l->job.work_us * QB_NS_PER_US;

	l->effect_ns = l->started_ns + (w->cache ? work_ns : work_ns / 2);
	l->end_ns = l->started_ns + work_ns;
	return work_ns;
}

static int fill_lanes(struct worker *w, struct qb_err *err)
{
	while (w->busy < w->lanes) {
		struct lane *l = free_lane(w);
		uint64_t before = qb_now_ns();
		int rc = w->ops->claim(w->q, (unsigned)(l - w->lane), &l->job, err);

		if (rc == QB_EMPTY)
			return 0;
		if (rc < 0)
			return rc;
		QB_FAULT("worker.claim.after-call");
		/* Told to stop while it claimed: not begun, so it can go back. */
		if (qb_load_relaxed32(&w->p->seg->hdr->stop) >= QB_STOP_DRAIN)
			return w->ops->release(w->q, &l->job, err);
		rc = w->ops->start(w->q, &l->job, err);
		if (rc == QB_EFENCED) {
			note_job(w, QB_EV_JOB_FENCED, &l->job, l->job.token, 0);
			continue;
		}
		if (rc < 0)
			return rc;
		l->started_ns = qb_now_ns();
		note_job(w, QB_EV_JOB_STARTED, &l->job, l->started_ns - before, w->found);
		w->found = w->ops->woken ? QB_FOUND_BUSY : QB_FOUND_UNTOLD;
		qb_count(w->p->seg, w->p->seat, QB_COUNT_STARTED, 1);
		QB_FAULT("worker.start.after-event");
		rc = w->cache ? qb_cachework_found(w->cache, &w->p->log, &l->job, err) : 0;
		if (rc < 0)
			return rc;
		l->found = rc;
		l->not_put = 0;
		l->busy = 1;
		l->effect_done = 0;
		uint64_t work_ns = set_times(w, l);

		w->busy++;
		if (work_ns == 0 && (rc = serve_lanes(w, err)) < 0)
			return rc;
	}
	return 0;
}

static uint64_t next_deadline(const struct worker *w)
{
	uint64_t next = qb_now_ns() + WAIT_MAX_NS;

	for (unsigned i = 0; i < w->lanes; i++) {
		const struct lane *l = &w->lane[i];
		uint64_t t = l->effect_done ? l->end_ns : l->effect_ns;

		if (l->busy && is_held(w, l))
			t = qb_now_ns() + HOLD_LOOK_NS;

		if (l->busy && t < next)
			next = t;
	}
	return next;
}

/* Until told to stop, or the queue breaks (negative). */
static int serve(struct worker *w, struct qb_err *err)
{
	const struct qb_header_shm *h = w->p->seg->hdr;

	for (;;) {
		uint32_t stop = qb_load_relaxed32(&h->stop);
		int rc = serve_lanes(w, err);

		if (rc < 0)
			return rc;
		if (stop == QB_STOP_NO && (rc = fill_lanes(w, err)) < 0)
			return rc;
		if (stop >= QB_STOP_NOW || (stop >= QB_STOP_DRAIN && w->busy == 0))
			return 0;
		int looks = w->busy < w->lanes && stop == QB_STOP_NO;

		rc = w->ops->wait(w->q, next_deadline(w), looks, err);
		if (rc < 0)
			return rc;
		w->found = !w->ops->woken ? QB_FOUND_UNTOLD :
			   looks && w->ops->woken(w->q) ? QB_FOUND_WOKEN : QB_FOUND_BY_TIME;
	}
}

/* 0; 1: no cache can be on this queue. */
static int join_cache(struct worker *w)
{
	struct qb_err err = { 0 };

	if (!w->cache || qb_cachework_on(w->cache, w->ops, w->q, &err) == 0)
		return 0;
	qb_log(QB_LOG_ERROR, "%s", err.text);
	return 1;
}

/* 0 open; 1 told to stop first. */
static int open_queue(struct worker *w)
{
	uint64_t pause = REOPEN_MIN_NS;
	struct qb_err err;
	int tries = 0;

	while (!qb_gate_is_open(&w->gate, WAIT_MAX_NS))
		if (qb_load_relaxed32(&w->p->seg->hdr->stop) >= QB_STOP_DRAIN)
			return 1;

	for (;;) {
		qb_err_clear(&err);
		if (w->ops->open(&w->env, &w->q, &err) == 0)
			return join_cache(w);
		if (qb_load_relaxed32(&w->p->seg->hdr->stop) >= QB_STOP_DRAIN)
			return 1;
		qb_log(tries++ ? QB_LOG_DEBUG : QB_LOG_WARNING, "%s; trying again", err.text);
		qb_sleep_ns(pause / 2 + qb_rng_below(&w->rng, pause));
		pause = pause * 2 < REOPEN_MAX_NS ? pause * 2 : REOPEN_MAX_NS;
	}
}

static int wait_for_go(struct qb_process *p)
{
	qb_process_ready(p, QB_ROLE_STANDBY);
	while (qb_load_relaxed32(&p->seg->hdr->stop) == QB_STOP_NO)
		if (qb_wait_go(p->seg, p->seat, QB_NS_PER_S / 2))
			return 1;
	return 0;
}

int qb_worker_main(struct qb_process *p)
{
	struct worker w = {
		.p = p,
		.ops = qb_queue_find(p->seg->cfg.queue),
		.env = {
			.seg = p->seg,
			.seat = p->seat,
			.role = QB_ROLE_WORKER,
			.conninfo = p->conninfo,
			.poll_ns = p->seg->cfg.poll_ns,
			.options = getenv(QB_OPTIONS_ENV),
		},
		.lanes = p->seg->cfg.slots_per_worker,
	};

	w.found = w.ops && w.ops->woken ? QB_FOUND_BUSY : QB_FOUND_UNTOLD;
	struct qb_err why = { 0 };

	if (!w.ops || qb_gate_attach(&w.gate) < 0)
		return 1;
	if (qb_cachework_open(&w.cache, &why) < 0) {
		qb_log(QB_LOG_ERROR, "%s", why.text);
		return 1;
	}
	qb_rng_init(&w.rng, p->seg->cfg.seed * 4096 + p->seat + ((uint64_t)p->incarnation << 32), "worker");
	w.lane = calloc(w.lanes, sizeof(*w.lane));
	if (!w.lane)
		return 1;
	/* A standby has its connections before it is needed. */
	int stopped = open_queue(&w);

	if (!stopped && p->role == QB_ROLE_STANDBY)
		stopped = !wait_for_go(p);
	if (!stopped)
		qb_process_ready(p, QB_ROLE_WORKER);
	while (!stopped) {
		struct qb_err err;

		qb_err_clear(&err);
		if (serve(&w, &err) == 0)
			break;
		/* What it held in the segment is decided when this process is dead, and not before. */
		if (w.ops->flags & QB_QUEUE_IN_SEGMENT) {
			qb_log(QB_LOG_ERROR, "%s; leaving", err.text);
			return 1;
		}
		/* Elsewhere it is the queue's to recover: the transactions are gone with the connection. */
		qb_log(QB_LOG_WARNING, "%s; opening the queue again", err.text);
		if (w.cache)
			qb_cachework_on(w.cache, w.ops, NULL, NULL);
		w.ops->close(w.q);
		w.q = NULL;
		memset(w.lane, 0, w.lanes * sizeof(*w.lane));
		w.busy = 0;
		stopped = open_queue(&w);
	}
	if (w.q)
		w.ops->close(w.q);
	qb_process_note(&p->log, QB_EV_PROCESS_STOPPED, QB_ROLE_WORKER, p->seat, (uint64_t)getpid(), 0);
	free(w.lane);
	qb_cachework_close(w.cache);
	qb_gate_close(&w.gate);
	return 0;
}
