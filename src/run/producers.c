/* SPDX-License-Identifier: Apache-2.0 */
#include "run/producers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "run/process.h"
#include "shm/seat.h"
#include "shm/wait.h"

/* A segment that is full, and an acknowledgement that does not come. */
#define PATIENCE_NS (20 * QB_NS_PER_S)
#define FULL_PAUSE_NS QB_NS_PER_MS
#define ACK_PAUSE_NS (100 * QB_NS_PER_US)

/* In the producer. */
struct producer {
	const struct qb_producers *all;
	struct qb_process self;
	uint32_t number;
	struct qb_queue *q;
	struct qb_queue_env env;
	uint8_t *payload;
};

static void note(struct producer *p, uint16_t type, uint64_t id, uint64_t arg0, uint64_t arg1)
{
	const struct qb_plan_job *j = &p->all->plan->jobs[id - 1];
	struct qb_event_shm *e = qb_event_begin(&p->self.log);

	if (!e)
		return;
	e->job_id = id;
	e->token = 0;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = 0;
	e->tenant = j->tenant;
	e->type = type;
	e->kind = (uint8_t)j->kind;
	e->error_class = (uint8_t)j->error_class;
	e->attempt = 0;
	qb_event_commit(&p->self.log, e);
}

/* What the run promises of an accepted job. 0, or QB_ETIMEOUT. */
static int await_promise(struct producer *p, const struct qb_queue_ticket *ticket)
{
	uint64_t deadline = qb_now_ns() + PATIENCE_NS;

	while (!p->all->ops->acknowledged(p->q, ticket)) {
		if (qb_now_ns() > deadline || qb_load_relaxed32(&p->all->seg->hdr->stop) != QB_STOP_NO)
			return QB_ETIMEOUT;
		qb_sleep_ns(ACK_PAUSE_NS);
	}
	return 0;
}

static int call(struct producer *p, const struct qb_submit *what, const char *key, struct qb_err *err)
{
	uint64_t deadline = qb_now_ns() + PATIENCE_NS;
	struct qb_queue_ticket ticket = { 0 };
	int rc = p->q ? 0 : p->all->ops->open(&p->env, &p->q, err);

	if (rc < 0) {
		p->q = NULL;
		return rc;
	}
	for (;;) {
		rc = p->all->ops->enqueue_unique(p->q, what, key, &ticket, err);
		if (rc != QB_FULL || qb_now_ns() > deadline)
			break;
		qb_sleep_ns(FULL_PAUSE_NS);
	}
	if (rc == QB_FULL)
		return qb_err_set(err, QB_ETIMEOUT, "no room for a job");
	/* Accepted, and without the promise it is not acknowledged: that is on record as neither. */
	return rc == QB_OK && await_promise(p, &ticket) < 0 ? QB_FULL : rc;
}

static void ask(struct producer *p, const struct qb_gate_round *r)
{
	const struct qb_keyset *set = &p->all->gate->set;
	struct qb_key_place at = { .phase = r->phase, .key = r->key, .process = p->number };
	uint64_t id = qb_keyset_id(set, r->phase, r->key, p->number), called_ns = qb_now_ns();
	const struct qb_plan_job *j = &p->all->plan->jobs[id - 1];
	char key[QB_KEY_TEXT_BYTES];
	struct qb_err err = { 0 };
	struct qb_submit what = {
		.job_id = id, .submitted_raw = qb_stamp(), .work_us = j->work_ms * 1000, .tenant = j->tenant, .kind = j->kind,
		.error_class = j->error_class, .max_attempts = p->all->max_attempts, .effect_class = p->all->effect_class,
		.payload = p->payload, .payload_bytes = j->payload_bytes,
	};

	/* Due now: nothing is late here. */
	note(p, QB_EV_JOB_SUBMITTED, id, called_ns, j->payload_bytes);
	int rc = call(p, &what, qb_keyset_text(&at, key), &err);

	if (rc == QB_OK)
		note(p, QB_EV_JOB_ENQUEUED, id, called_ns, qb_now_ns() - called_ns);
	else if (rc == QB_DUPLICATE)
		note(p, QB_EV_ENQUEUE_FAILED, id, 0, qb_now_ns() - called_ns);
	else if (rc < 0)
		note(p, QB_EV_ENQUEUE_FAILED, id, (uint64_t)-rc, qb_now_ns() - called_ns);
	if (rc >= 0)
		return;
	qb_log(QB_LOG_WARNING, "%s: %s", key, err.text);
	if (p->q)
		p->all->ops->close(p->q);
	p->q = NULL;
}

static int serve(struct producer *p)
{
	const struct qb_producers *all = p->all;
	struct qb_gate_round r = { 0 };
	struct qb_err err = { 0 };
	int rc = all->ops->open(&p->env, &p->q, &err);

	qb_gate_report(all->gate, rc == 0);
	if (rc < 0) {
		qb_log(QB_LOG_ERROR, "%s", err.text);
		return 1;
	}
	while (qb_gate_next_round(all->gate, r.number, &r)) {
		uint64_t id = qb_keyset_id(&all->gate->set, r.phase, r.key, p->number);
		int silent = r.phase == QB_KEY_HOLDER && p->number > 0;

		/* Drawn before the meeting, so that nothing but the call lies behind it. */
		if (!silent)
			qb_plan_payload(all->plan, id - 1, p->payload);
		qb_gate_meet(all->gate, &r);
		if (!silent)
			ask(p, &r);
		qb_gate_answer(all->gate);
		qb_wake_seat(all->seg, all->env.seat);
	}
	if (p->q)
		all->ops->close(p->q);
	return 0;
}

static __attribute__((noreturn)) void child_main(const struct qb_producers *all, uint32_t number, uint32_t seat,
						 uint32_t incarnation, pid_t driver)
{
	struct producer p = {
		.all = all, .number = number, .env = all->env,
		.self = { .seg = all->seg, .seat = seat, .incarnation = incarnation, .role = QB_ROLE_TOOL, .parent = driver },
	};
	struct qb_plan_totals totals;
	char name[48];

	/* A Ctrl-C at the terminal is for the driver to handle. */
	setpgid(0, 0);
	if (qb_process_begin(&p.self) < 0)
		_exit(9);
	snprintf(name, sizeof(name), "qbench producer %u", number + 1);
	qb_log_set_name(name);
	qb_plan_totals(all->plan, &totals);
	p.payload = qb_xmalloc(totals.payload_bytes_max + 1);
	p.env.seat = seat;
	_exit(serve(&p));
}

static int start_one(struct qb_producers *p, uint32_t number, struct qb_err *err)
{
	int seat = qb_seat_take(p->seg, QB_ROLE_TOOL);

	if (seat < 0)
		return qb_err_set(err, seat, "no seat for a producer");
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&p->seg->seats[seat].word));
	pid_t self = getpid(), pid = fork();

	if (pid == 0)
		child_main(p, number, (uint32_t)seat, incarnation, self);
	int why = errno;

	if (pid < 0) {
		qb_seat_free(p->seg, (uint32_t)seat);
		return qb_err_errno(err, why, "could not start a producer");
	}
	uint64_t ticks = qb_proc_start_ticks(pid);

	qb_seat_name(p->seg, (uint32_t)seat, (uint32_t)pid, ticks);
	p->seat[number] = (uint32_t)seat;
	p->count = number + 1;
	return qb_child_watch(&p->process[number], pid, ticks, "a producer", err);
}

int qb_producers_start(struct qb_producers *p, struct qb_err *err)
{
	int rc = 0;

	p->process = qb_xcalloc(p->gate->set.processes, sizeof(*p->process));
	p->seat = qb_xcalloc(p->gate->set.processes, sizeof(*p->seat));
	for (uint32_t i = 0; rc == 0 && i < p->gate->set.processes; i++)
		rc = start_one(p, i, err);
	return rc;
}

int qb_producers_check(const struct qb_producers *p, struct qb_err *err)
{
	return qb_children_check(p->process, p->count, "producer", err);
}

void qb_producers_stop(struct qb_producers *p)
{
	if (p->count)
		qb_gate_end_rounds(p->gate);
	qb_children_stop(p->process, p->count);
	for (uint32_t i = 0; i < p->count; i++)
		qb_seat_free(p->seg, p->seat[i]);
	free(p->process);
	free(p->seat);
	p->process = NULL;
	p->seat = NULL;
	p->count = 0;
}
