/* SPDX-License-Identifier: Apache-2.0 */
#include "run/callers.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "cache/cache.h"
#include "record/format.h"
#include "run/cachework.h"
#include "run/process.h"
#include "shm/seat.h"
#include "shm/wait.h"

/* An acknowledgement that does not come. */
#define PATIENCE_NS (20 * QB_NS_PER_S)
#define ACK_PAUSE_NS (100 * QB_NS_PER_US)
/* rscache's example waits this long for an item to become visible. */
#define VISIBLE_NS (65 * QB_NS_PER_S)

/* One of the processes, from the inside. */
struct process {
	const struct qb_callers *all;
	struct qb_store *store;
	struct qb_cache_memory *memory;
};

struct caller {
	struct process *home;
	uint32_t number;                /* of all callers */
	int is_first;                   /* of its process */
	struct qb_process self;
	struct qb_queue_env env;
	struct qb_queue *q;
	struct qb_cache *cache;
	uint8_t *payload;
	pthread_t thread;
	/* Of the present Get. */
	uint64_t id;
	int in_round, has_pushed, accepted;
	struct qb_queue_ticket ticket;
	uint64_t called_ns, settled_ns;
	unsigned complaints;            /* the first of each caller is told, the others are counted in the report */
};

static struct qb_event_shm *begin(struct caller *c, uint16_t type)
{
	const struct qb_plan_job *j = &c->home->all->plan->jobs[c->id - 1];
	struct qb_event_shm *e = qb_event_begin(&c->self.log);

	if (!e)
		return NULL;
	e->job_id = c->id;
	e->token = 0;
	e->arg0 = 0;
	e->arg1 = 0;
	e->slot_idx = 0;
	e->tenant = j->tenant;
	e->type = type;
	e->kind = (uint8_t)j->kind;
	e->error_class = (uint8_t)j->error_class;
	e->attempt = 0;
	return e;
}

static void note(struct caller *c, uint16_t type, uint64_t arg0, uint64_t arg1)
{
	struct qb_event_shm *e = begin(c, type);

	if (!e)
		return;
	e->arg0 = arg0;
	e->arg1 = arg1;
	qb_event_commit(&c->self.log, e);
}

static void note_answer(struct caller *c, const struct qb_cache_return *ret, uint64_t took_ns)
{
	struct qb_cache_answer a = {
		.way = (uint8_t)ret->way, .fault = (uint8_t)ret->fault, .from_memory = (uint8_t)ret->from_memory,
		.ticks = ret->ticks < UINT16_MAX ? (uint16_t)ret->ticks : UINT16_MAX,
		.pushes = ret->pushes < UINT16_MAX ? (uint16_t)ret->pushes : UINT16_MAX,
	};
	struct qb_event_shm *e = begin(c, QB_EV_CACHE_REQUEST);

	if (!e)
		return;
	e->slot_idx = e->tenant;
	e->tenant = c->number;
	e->token = ret->failed_run;
	e->arg0 = took_ns;
	e->arg1 = qb_cache_answer_pack(&a);
	qb_event_commit(&c->self.log, e);
}

/* ---- one Get ---- */

static void settle(struct caller *c)
{
	if (c->in_round && !c->has_pushed)
		qb_board_has_pushed(c->home->all->board);
	c->has_pushed = 1;
}

/* The cache is about to push. Once on record, whatever comes of it: a hit never is. */
static void before_push(void *opaque)
{
	struct caller *c = opaque;

	if (c->called_ns)
		return;
	c->called_ns = qb_now_ns();
	note(c, QB_EV_JOB_SUBMITTED, c->called_ns, c->home->all->plan->jobs[c->id - 1].payload_bytes);
}

static void on_push(void *opaque, int rc, const struct qb_queue_ticket *ticket)
{
	struct caller *c = opaque;

	if (rc == QB_OK) {
		c->accepted = 1;
		c->ticket = *ticket;
	}
	c->settled_ns = qb_now_ns();
	settle(c);
}

/* What the run promises of an accepted job. */
static int has_promise(struct caller *c)
{
	const struct qb_callers *all = c->home->all;
	uint64_t deadline = qb_now_ns() + PATIENCE_NS;

	while (!all->ops->acknowledged(c->q, &c->ticket)) {
		if (qb_now_ns() > deadline || qb_load_relaxed32(&all->seg->hdr->stop) != QB_STOP_NO)
			return 0;
		qb_sleep_ns(ACK_PAUSE_NS);
	}
	return 1;
}

/* The push on record, behind the answer: nothing stands between the push and the wait. */
static void note_push(struct caller *c)
{
	if (!c->accepted && c->called_ns)
		note(c, QB_EV_ENQUEUE_FAILED, c->settled_ns ? 0 : (uint64_t)-QB_EPG, qb_now_ns() - c->called_ns);
	else if (c->accepted && has_promise(c))
		note(c, QB_EV_JOB_ENQUEUED, c->called_ns, qb_now_ns() - c->called_ns);
}

static int open_caller(struct caller *c, struct qb_err *err)
{
	const struct qb_callers *all = c->home->all;
	const struct qb_board_fixed *fixed = qb_board_fixed(all->board);
	int rc = all->ops->open(&c->env, &c->q, err);

	if (rc < 0) {
		c->q = NULL;
		return rc;
	}
	struct qb_cache_config cfg = {
		.store = c->home->store, .ops = all->ops, .q = c->q, .memory = c->home->memory,
		.deadline_ns = fixed->deadline_ns,
		.visible_ns = VISIBLE_NS, .stale_errors = fixed->stale_errors, .pushing = before_push, .pushed = on_push, .ctx = c,
	};
	return qb_cache_open(&cfg, &c->cache, err);
}

static void close_caller(struct caller *c)
{
	qb_cache_close(c->cache);
	if (c->q)
		c->home->all->ops->close(c->q);
	c->cache = NULL;
	c->q = NULL;
}

static void get(struct caller *c, uint64_t id)
{
	const struct qb_callers *all = c->home->all;
	const struct qb_plan_job *j = &all->plan->jobs[id - 1];
	char address[QB_CACHE_ADDRESS_BYTES];
	struct qb_submit work = {
		.job_id = id, .submitted_raw = qb_stamp(), .work_us = j->work_ms * 1000, .tenant = j->tenant, .kind = j->kind,
		.error_class = j->error_class, .max_attempts = all->max_attempts, .effect_class = all->effect_class,
		.payload = c->payload, .payload_bytes = j->payload_bytes,
	};
	struct qb_cache_spec spec = {
		.dir = "", .address = qb_cacheset_text(j->tenant, address), .work = &work, .in_memory = 1,
	};
	struct qb_cache_return ret;
	struct qb_err err = { 0 };

	c->id = id;
	c->has_pushed = c->accepted = 0;
	c->called_ns = c->settled_ns = 0;
	uint64_t before = qb_now_ns();

	if (!c->cache && open_caller(c, &err) < 0)
		ret = (struct qb_cache_return){ .fault = QB_CACHE_ERROR };
	else if (qb_cache_get(c->cache, &spec, &ret, &err) < 0)
		ret = (struct qb_cache_return){ .fault = QB_CACHE_ERROR };
	uint64_t took_ns = qb_now_ns() - before;

	if (ret.fault == QB_CACHE_OK && !qb_cache_item_is_good(ret.data, ret.info.bytes, j->tenant))
		ret.fault = QB_CACHE_DAMAGED;
	note_answer(c, &ret, took_ns);
	const char *why = ret.fault == QB_CACHE_DAMAGED ? "not what was put" : err.text[0] ? err.text : ret.message;

	if (ret.fault == QB_CACHE_ERROR || ret.fault == QB_CACHE_DAMAGED || ret.fault == QB_CACHE_NOT_FOUND)
		qb_log(c->complaints++ ? QB_LOG_DEBUG : QB_LOG_WARNING, "%s: %s", address, why);
	free(ret.data);
	settle(c);
	if (c->q)
		note_push(c);
	/* A connection that is lost is made again for the next request. */
	if (ret.fault == QB_CACHE_ERROR)
		close_caller(c);
}

static void remove_items(struct caller *c, enum qb_cache_phase phase)
{
	const struct qb_cacheset *set = &c->home->all->board->set;
	uint32_t first = qb_cacheset_first_address(set, phase), n = qb_cacheset_addresses(set, phase);
	struct qb_err lost = { 0 };

	/* Its last request may have broken its queue. */
	if (!c->cache && open_caller(c, &lost) < 0) {
		qb_log(QB_LOG_ERROR, "the items stay: %s", lost.text);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		char address[QB_CACHE_ADDRESS_BYTES];
		struct qb_cache_spec spec = { .dir = "", .address = qb_cacheset_text(first + i, address), .in_memory = 1 };
		struct qb_err err = { 0 };

		if (qb_cache_uncache(c->cache, &spec, &err) < 0)
			qb_log(QB_LOG_WARNING, "%s", err.text);
	}
}

/* Drawn before the request, so that nothing but the call lies behind it. */
static void draw(struct caller *c, uint64_t id)
{
	qb_plan_payload(c->home->all->plan, id - 1, c->payload);
}

static void do_step(struct caller *c, const struct qb_step *s)
{
	struct qb_board *board = c->home->all->board;
	uint64_t first = qb_cacheset_first_id(&board->set, s->phase), n = qb_cacheset_requests(&board->set, s->phase), i;

	c->in_round = s->kind == QB_STEP_ROUND;
	switch (s->kind) {
	case QB_STEP_UNCACHE:
		if (c->is_first)
			remove_items(c, s->phase);
		break;
	case QB_STEP_TAKE:
		while ((i = qb_board_take(board)) < n && !qb_board_is_over(board)) {
			draw(c, first + i);
			get(c, first + i);
		}
		break;
	case QB_STEP_ROUND:
		i = first + (uint64_t)s->round * board->set.callers + c->number;
		draw(c, i);
		qb_board_meet(board, s);
		get(c, i);
		break;
	}
}

/* ---- a caller, a process ---- */

static void *caller_main(void *opaque)
{
	struct caller *c = opaque;
	const struct qb_callers *all = c->home->all;
	struct qb_step s = { 0 };
	struct qb_err err = { 0 };
	int rc = open_caller(c, &err);

	qb_board_report(all->board, rc == 0);
	if (rc < 0)
		qb_log(QB_LOG_ERROR, "%s", err.text);
	while (rc == 0 && qb_board_next(all->board, s.number, &s)) {
		do_step(c, &s);
		qb_board_answer(all->board);
		qb_wake_seat(all->seg, all->env.seat);
	}
	close_caller(c);
	return NULL;
}

static int open_home(struct process *home, struct qb_err *err)
{
	const struct qb_board_fixed *fixed = qb_board_fixed(home->all->board);
	struct qb_store_config cfg = { .durable = fixed->durable };
	struct qb_cache_memory_config memory = { .bytes_max = fixed->memory_bytes };

	if (fixed->memory_bytes)
		home->memory = qb_cache_memory_new(&memory);
	return qb_store_open(fixed->items, &cfg, &home->store, err);
}

/* Its seat names this process, as those of all its callers do. */
static int sit(struct caller *c)
{
	if (qb_seat_sit(c->self.seg, c->self.seat, c->self.incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())) < 0)
		return QB_EFENCED;
	qb_event_open(&c->self.log, c->self.seg, c->self.seat, c->self.seg->cfg.event_overflow);
	return 0;
}

static int run_home(struct process *home, uint32_t number, pid_t driver)
{
	const struct qb_callers *all = home->all;
	uint32_t each = all->board->set.callers / all->processes, started = 0;
	struct caller *callers = qb_xcalloc(each, sizeof(*callers));
	struct qb_plan_totals totals;
	struct qb_err err = { 0 };
	int rc = 0;

	qb_plan_totals(all->plan, &totals);
	for (uint32_t i = 0; rc == 0 && i < each; i++) {
		struct caller *c = &callers[i];
		uint32_t seat = all->seat[number * each + i];

		*c = (struct caller){
			.home = home, .number = number * each + i, .is_first = i == 0, .env = all->env,
			.payload = qb_xmalloc(totals.payload_bytes_max + 1),
			.self = {
				.seg = all->seg, .seat = seat, .role = QB_ROLE_TOOL, .parent = driver,
				.incarnation = qb_seat_incarnation(qb_load_acquire64(&all->seg->seats[seat].word)),
			},
		};
		c->env.seat = seat;
		rc = i == 0 ? qb_process_begin(&c->self) : sit(c);
	}
	char title[48];

	snprintf(title, sizeof(title), "qbench callers %u", number + 1);
	qb_log_set_name(title);
	if (rc == 0 && (rc = open_home(home, &err)) < 0)
		qb_log(QB_LOG_ERROR, "%s", err.text);
	while (rc == 0 && started < each && pthread_create(&callers[started].thread, NULL, caller_main, &callers[started]) == 0)
		started++;
	if (started < each)
		qb_board_report(all->board, 0);
	for (uint32_t i = 0; i < started; i++)
		pthread_join(callers[i].thread, NULL);
	for (uint32_t i = 0; i < each; i++)
		free(callers[i].payload);
	free(callers);
	if (home->store)
		qb_store_close(home->store);
	qb_cache_memory_free(home->memory);
	return rc < 0;
}

static int start_one(struct qb_callers *c, uint32_t number, struct qb_err *err)
{
	uint32_t each = c->board->set.callers / c->processes, first = c->seat_count;
	pid_t self = getpid();

	for (uint32_t i = 0; i < each; i++) {
		int seat = qb_seat_take(c->seg, QB_ROLE_TOOL);

		if (seat < 0)
			return qb_err_set(err, seat, "no seat for a caller");
		c->seat[c->seat_count++] = (uint32_t)seat;
	}
	pid_t pid = fork();

	if (pid == 0) {
		struct process home = { .all = c };

		/* A Ctrl-C at the terminal is for the driver to handle. */
		setpgid(0, 0);
		_exit(run_home(&home, number, self));
	}
	if (pid < 0)
		return qb_err_errno(err, errno, "could not start a process of callers");
	uint64_t ticks = qb_proc_start_ticks(pid);

	for (uint32_t i = first; i < c->seat_count; i++)
		qb_seat_name(c->seg, c->seat[i], (uint32_t)pid, ticks);
	c->process_count = number + 1;
	return qb_child_watch(&c->process[number], pid, ticks, "a process of callers", err);
}

int qb_callers_start(struct qb_callers *c, struct qb_err *err)
{
	int rc = 0;

	c->process = qb_xcalloc(c->processes, sizeof(*c->process));
	c->seat = qb_xcalloc(c->board->set.callers, sizeof(*c->seat));
	for (uint32_t i = 0; rc == 0 && i < c->processes; i++)
		rc = start_one(c, i, err);
	return rc;
}

int qb_callers_check(const struct qb_callers *c, struct qb_err *err)
{
	return qb_children_check(c->process, c->process_count, "process of callers", err);
}

void qb_callers_stop(struct qb_callers *c)
{
	if (c->process_count)
		qb_board_end(c->board);
	qb_children_stop(c->process, c->process_count);
	for (uint32_t i = 0; i < c->seat_count; i++)
		qb_seat_free(c->seg, c->seat[i]);
	free(c->process);
	free(c->seat);
	*c = (struct qb_callers){ .process = NULL };
}
