/* SPDX-License-Identifier: Apache-2.0 */
#include "run/feeder.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "run/enqueuers.h"
#include "shm/fault.h"

/* After so many enqueues the driver looks after its other duties. */
#define PER_POLL 64
#define REOPEN_NS (100 * QB_NS_PER_MS)
/*
 * Without room for so many records the feeder waits for the readers. One job needs a few; the rest is for
 * the driver's other records, the kills of a whole pool among them, which do not wait.
 */
#define EVENT_ROOM(f) (64 + 4ull * (f)->env.seg->cfg.seat_count)

struct qb_waiting_ack {
	struct qb_queue_ticket ticket;
	uint64_t submitted_ns;
	uint32_t idx;
};

int qb_feeder_open(struct qb_feeder *f, struct qb_err *err)
{
	struct qb_plan_totals totals;

	qb_plan_totals(f->plan, &totals);
	f->limit = f->plan->count;
	f->payload = qb_xmalloc(totals.payload_bytes_max + 1);
	int rc = f->ops->open(&f->env, &f->q, err);

	if (rc == 0 && f->ops->flags & QB_QUEUE_ENQUEUE_WAITS && f->plan->count)
		rc = qb_enqueuers_start(f->ops, &f->env, &f->enqueuers, err);
	return rc;
}

void qb_feeder_close(struct qb_feeder *f)
{
	qb_enqueuers_stop(f->enqueuers);
	f->enqueuers = NULL;
	if (f->q)
		f->ops->close(f->q);
	f->q = NULL;
	free(f->payload);
	free(f->waiting);
	f->payload = NULL;
	f->waiting = NULL;
}

static void note(struct qb_feeder *f, uint16_t type, size_t idx, uint64_t token, uint64_t arg0, uint64_t arg1)
{
	const struct qb_plan_job *j = &f->plan->jobs[idx];
	struct qb_event_shm *e = qb_event_begin(f->log);

	if (!e)
		return;
	e->job_id = idx + 1;
	e->token = token;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = 0;
	e->tenant = j->tenant;
	e->type = type;
	e->kind = (uint8_t)j->kind;
	e->error_class = (uint8_t)j->error_class;
	e->attempt = 0;
	qb_event_commit(f->log, e);
}

static uint64_t intended_ns(const struct qb_feeder *f, size_t idx)
{
	return f->start_ns + f->plan->jobs[idx].at_ns;
}

static void acknowledged(struct qb_feeder *f, size_t idx, uint64_t call_ns)
{
	note(f, QB_EV_JOB_ENQUEUED, idx, 0, intended_ns(f, idx), call_ns);
	f->acknowledged++;
}

static void enqueue_failed(struct qb_feeder *f, size_t idx, int rc, const char *why)
{
	qb_log(f->failed ? QB_LOG_DEBUG : QB_LOG_WARNING, "enqueue: %s", why);
	note(f, QB_EV_ENQUEUE_FAILED, idx, 0, (uint64_t)-rc, 0);
	f->failed++;
}

static void keep_waiting(struct qb_feeder *f, const struct qb_queue_ticket *ticket, size_t idx, uint64_t submitted_ns)
{
	if (f->waiting_count == f->waiting_cap) {
		f->waiting_cap = f->waiting_cap ? 2 * f->waiting_cap : 256;
		f->waiting = qb_xrealloc(f->waiting, f->waiting_cap * sizeof(*f->waiting));
	}
	f->waiting[f->waiting_count++] = (struct qb_waiting_ack){
		.ticket = *ticket, .submitted_ns = submitted_ns, .idx = (uint32_t)idx,
	};
}

static struct qb_submit describe(const struct qb_feeder *f, size_t idx)
{
	const struct qb_plan_job *j = &f->plan->jobs[idx];

	return (struct qb_submit){
		.job_id = idx + 1,
		.submitted_raw = qb_stamp(),
		.work_us = j->work_ms * 1000,
		.tenant = j->tenant,
		.kind = j->kind,
		.error_class = j->error_class,
		.max_attempts = f->max_attempts,
		.effect_class = f->effect_class,
		.payload = f->payload,
		.payload_bytes = j->payload_bytes,
	};
}

/* The first step of a job, once, however often it is refused as full. */
static void begin(struct qb_feeder *f)
{
	if (f->next_is_logged)
		return;
	qb_plan_payload(f->plan, f->next, f->payload);
	/* Before the call: nobody can start the job earlier than this. */
	note(f, QB_EV_JOB_SUBMITTED, f->next, 0, intended_ns(f, f->next), f->plan->jobs[f->next].payload_bytes);
	f->next_submitted_ns = qb_now_ns();
	f->next_is_logged = 1;
	f->submitted++;
}

/* 1 when that job is on its way (or failed), 0 when it has to be tried again later. */
static int enqueue_one(struct qb_feeder *f)
{
	size_t idx = f->next;
	struct qb_queue_ticket ticket;
	struct qb_err err;

	begin(f);
	struct qb_submit what = describe(f, idx);

	qb_err_clear(&err);
	int rc = f->ops->enqueue(f->q, &what, &ticket, &err);

	if (rc == QB_FULL) {
		f->full_waits++;
		return 0;
	}
	if (rc < 0) {
		enqueue_failed(f, idx, rc, err.text);
		f->ops->close(f->q);
		f->q = NULL;
		f->reopen_after_ns = 0;
	} else if (f->ops->acknowledged(f->q, &ticket)) {
		acknowledged(f, idx, qb_now_ns() - f->next_submitted_ns);
	} else {
		keep_waiting(f, &ticket, idx, f->next_submitted_ns);
	}
	f->next++;
	f->next_is_logged = 0;
	return 1;
}

/* The same by way of the threads. */
static int hand_over(struct qb_feeder *f)
{
	size_t open_max = f->open_max < 64 ? 64 : f->open_max;

	if (qb_enqueuers_open_count(f->enqueuers) >= open_max) {
		f->full_waits++;
		return 0;
	}
	begin(f);
	struct qb_submit what = describe(f, f->next);
	struct qb_enqueue_request *r = qb_enqueue_request(what.payload, what.payload_bytes);

	what.payload = r->what.payload;
	r->what = what;
	r->submitted_ns = f->next_submitted_ns;
	qb_enqueuers_put(f->enqueuers, r);
	f->next++;
	f->next_is_logged = 0;
	return 1;
}

static void look_for_answers(struct qb_feeder *f)
{
	struct qb_enqueue_request *r;

	while (qb_event_room(f->log) >= EVENT_ROOM(f) && (r = qb_enqueuers_take(f->enqueuers))) {
		if (r->rc == QB_OK)
			acknowledged(f, r->what.job_id - 1, r->done_ns - r->submitted_ns);
		else
			enqueue_failed(f, r->what.job_id - 1, r->rc, r->why);
		free(r);
	}
}

static void look_for_acks(struct qb_feeder *f)
{
	for (size_t i = 0; i < f->waiting_count;) {
		struct qb_waiting_ack *a = &f->waiting[i];

		if (qb_event_room(f->log) < EVENT_ROOM(f))
			return;
		if (!f->ops->acknowledged(f->q, &a->ticket)) {
			i++;
			continue;
		}
		acknowledged(f, a->idx, qb_now_ns() - a->submitted_ns);
		*a = f->waiting[--f->waiting_count];
	}
}

static int reachable(struct qb_feeder *f)
{
	uint64_t now = qb_now_ns();
	struct qb_err err;

	if (f->q)
		return 1;
	if (now < f->reopen_after_ns)
		return 0;
	qb_err_clear(&err);
	if (f->ops->open(&f->env, &f->q, &err) == 0)
		return 1;
	f->q = NULL;
	f->reopen_after_ns = now + REOPEN_NS;
	return 0;
}

void qb_feeder_poll(struct qb_feeder *f)
{
	if (!f->enqueuers && !reachable(f))
		return;
	for (unsigned n = 0; n < PER_POLL && f->next < f->limit; n++) {
		if (qb_now_ns() < intended_ns(f, f->next) || qb_event_room(f->log) < EVENT_ROOM(f))
			break;
		if (!f->enqueuers && !f->q)
			break;
		if (!(f->enqueuers ? hand_over(f) : enqueue_one(f)))
			break;
	}
	if (f->enqueuers)
		look_for_answers(f);
	else if (f->q)
		look_for_acks(f);
}

size_t qb_feeder_unsettled(const struct qb_feeder *f)
{
	return f->waiting_count + (f->enqueuers ? qb_enqueuers_open_count(f->enqueuers) : 0);
}

uint64_t qb_feeder_next_ns(const struct qb_feeder *f)
{
	return f->next < f->limit ? intended_ns(f, f->next) : UINT64_MAX;
}

int qb_feeder_has_news(const struct qb_feeder *f)
{
	/* Acknowledgements come in order of submission, but for the swaps above: a few looks are enough for a hint. */
	for (size_t i = 0; f->q && i < f->waiting_count && i < 8; i++)
		if (f->ops->acknowledged(f->q, &f->waiting[i].ticket))
			return 1;
	return 0;
}
