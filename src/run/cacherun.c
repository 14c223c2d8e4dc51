/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache asked by several processes, phase by phase.
 *
 * Nothing here waits for a time: a step is over when all callers have said so.  Where a phase kills workers, the work of
 * some addresses is held at its beginning until the worker that has begun it is dead; who runs it next goes on.  Where work
 * fails or is to succeed again, it is held until all callers of the round have pushed, so that all of them wait for it; and
 * where an old failure is told to whoever comes, until it has been.
 * In the phase "together" nothing is held: what comes of a race is the result.
 */
#include "run/cacherun.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "run/callers.h"
#include "shm/seat.h"

/* Without anything happening, beyond the deadline of the callers. */
#define STALL_NS (30 * QB_NS_PER_S)
/* A killed process is gone by then. */
#define DEATH_NS (5 * QB_NS_PER_S)
/* Work of a phase that its callers have the answers of. */
#define SETTLE_NS (10 * QB_NS_PER_S)

struct cache_run {
	struct qb_driver *d;
	struct qb_cacheset set;
	struct qb_callers callers;
	uint8_t *has_ended;             /* by job id */
	uint64_t accepted, ended;
	uint32_t step;
	uint64_t news_ns;               /* when something was seen last */
	const char *phase;
	/* The work to be killed: who has begun it. */
	struct victim { uint32_t seat, pid; int held; } *victim;        /* by address */
	uint64_t killed_raw[QB_SEAT_MAX + 1];   /* stamp of the last death of a seat's worker by us; 0: none */
};

int qb_cache_run_prepare(struct qb_driver *d, struct qb_err *err)
{
	const struct qb_scenario_cache *c = &d->sc->cache;
	struct qb_cacheset set = qb_scenario_cacheset(d->sc);
	struct qb_board_fixed fixed = {
		.deadline_ns = c->deadline_ns, .memory_bytes = c->memory_bytes, .durable = (int)c->durable,
		.stale_errors = (int)c->stale_errors,
	};
	char *full;

	if (!d->ops->addressed)
		return qb_err_set(err, QB_EUSAGE, "%s takes no work by address", d->ops->name);
	/* Workers may stand elsewhere. */
	full = realpath(d->result->dir, NULL);
	if (!full)
		return qb_err_errno(err, errno, "could not find %s", d->result->dir);
	int len = snprintf(fixed.items, sizeof(fixed.items), "%s/items", full);

	free(full);
	if (len >= (int)sizeof(fixed.items))
		return qb_err_set(err, QB_EUSAGE, "--results-dir is too long");
	snprintf(d->items_path, sizeof(d->items_path), "%s", fixed.items);
	snprintf(d->board_path, sizeof(d->board_path), "%s/" QB_BOARD_NAME, d->segment_dir);
	return qb_board_create(&d->board, d->board_path, &set, &fixed, err);
}

void qb_cache_run_clear(struct qb_driver *d, int keep)
{
	if (d->board_path[0])
		unlink(d->board_path);
	qb_board_close(&d->board);
	if (d->items_path[0] && !keep)
		qb_remove_tree(d->items_path);
}

/* ---- work that is held ---- */

static void hold(struct cache_run *r, uint32_t address)
{
	r->victim[address] = (struct victim){ .held = 1 };
	qb_board_hold(&r->d->board, address, 1);
}

static void let_go(struct cache_run *r, uint32_t address)
{
	r->victim[address].held = 0;
	qb_board_hold(&r->d->board, address, 0);
}

/* Called for each event as it goes into the record. */
static void on_event(void *opaque, const struct qb_event_shm *ev)
{
	struct cache_run *r = opaque;

	r->news_ns = qb_now_ns();
	if (ev->type < QB_EV_JOB_SUBMITTED || ev->type > QB_EV_JOB_AMBIGUOUS || ev->job_id == 0 ||
	    ev->job_id > qb_cacheset_jobs(&r->set))
		return;
	struct victim *v = &r->victim[ev->tenant < qb_cacheset_all_addresses(&r->set) ? ev->tenant : 0];

	switch (ev->type) {
	case QB_EV_JOB_ENQUEUED:
		r->accepted++;
		break;
	case QB_EV_JOB_STARTED:
		if (!v->held)
			break;
		v->seat = ev->seat;
		/* Begun by one that fell to another kill meanwhile: the seat is another's now. */
		v->pid = ev->raw > r->killed_raw[ev->seat] ? qb_seat_who(&r->d->seg, ev->seat, NULL) : 0;
		if (v->pid == 0)
			let_go(r, ev->tenant);
		break;
	case QB_EV_JOB_COMPLETED:
	case QB_EV_JOB_DISCARDED:
		r->ended += !r->has_ended[ev->job_id];
		r->has_ended[ev->job_id] = 1;
		break;
	default:
		break;
	}
}

/* One turn of everything; fails when nothing has happened for long. */
static int turn(struct cache_run *r, struct qb_err *err)
{
	uint64_t patience = STALL_NS + r->d->sc->cache.deadline_ns;
	int rc = qb_drive_step(r->d, r->phase, err);

	if (rc == 0)
		rc = qb_callers_check(&r->callers, err);
	if (rc == 0 && qb_now_ns() - r->news_ns > patience)
		rc = qb_err_set(err, QB_ETIMEOUT, "nothing has happened for %.0f s in the phase \"%s\"", (double)patience / 1e9,
				r->phase);
	return rc;
}

static int start_callers(struct cache_run *r, struct qb_err *err)
{
	struct qb_driver *d = r->d;
	int rc, ready;

	r->callers = (struct qb_callers){
		.seg = &d->seg, .ops = d->ops, .env = d->env, .plan = &d->plan, .board = &d->board,
		.processes = d->sc->cache.processes, .max_attempts = d->feeder.max_attempts, .effect_class = d->feeder.effect_class,
	};
	/* A parent that takes over clears the seats of those who have not sat down yet. */
	while (!qb_tend_parent_is_ready(d)) {
		rc = turn(r, err);
		if (rc < 0)
			return rc;
	}
	rc = qb_callers_start(&r->callers, err);
	while (rc == 0 && (ready = qb_board_ready(&d->board)) < (int)r->set.callers) {
		if (ready < 0)
			return qb_err_set(err, QB_ECHILD, "a caller could not open the queue; see the messages above");
		rc = turn(r, err);
	}
	return rc;
}

/*
 * Kill the worker of that work, and let go all that it had in hand: it is dead before anybody may go on. One that has died
 * by itself was no victim.
 */
static void kill_worker(struct cache_run *r, const struct victim *v, uint32_t first, uint32_t n)
{
	struct victim who = *v;
	uint64_t ticks;
	uint32_t pid = qb_seat_who(&r->d->seg, who.seat, &ticks);

	if (pid != who.pid || !qb_faults_kill_now(&r->d->faults, who.seat, QB_ROLE_WORKER))
		return;
	qb_proc_kill_confirm((pid_t)pid, ticks, DEATH_NS);
	r->killed_raw[who.seat] = qb_stamp();
	for (uint32_t a = first; a < first + n; a++)
		if (r->victim[a].held && r->victim[a].seat == who.seat && r->victim[a].pid == who.pid)
			let_go(r, a);
}

static void kill_holders(struct cache_run *r, enum qb_cache_phase phase)
{
	uint32_t first = qb_cacheset_first_address(&r->set, phase), n = qb_cacheset_addresses(&r->set, phase);

	for (uint32_t a = first; a < first + n; a++)
		if (r->victim[a].held && r->victim[a].seat)
			kill_worker(r, &r->victim[a], first, n);
}

/* ---- steps ---- */

static int step(struct cache_run *r, enum qb_step_kind kind, enum qb_cache_phase phase, uint32_t round, struct qb_err *err)
{
	struct qb_step s = { .number = ++r->step, .kind = kind, .phase = phase, .round = round };
	uint32_t address = qb_cacheset_first_address(&r->set, phase) + round;
	/* Who falls into the trap has its answer before the work goes on. */
	int traps = phase == QB_CACHE_AFTER && (r->d->sc->cache.stale_errors || qb_run_is_faithful(r->d));
	int until_pushed = phase == QB_CACHE_FAILING || (phase == QB_CACHE_AFTER && !traps);
	int kills = phase == QB_CACHE_KILLED || phase == QB_CACHE_KILLED_TOGETHER, rc = 0;

	if (kind == QB_STEP_ROUND && (until_pushed || traps || kills))
		hold(r, address);
	r->news_ns = qb_now_ns();
	qb_board_start(&r->d->board, &s);
	while (rc == 0 && qb_board_done(&r->d->board) < r->set.callers) {
		if (until_pushed && r->victim[address].held && qb_board_pushed(&r->d->board) == r->set.callers)
			let_go(r, address);
		if (kills)
			kill_holders(r, phase);
		rc = turn(r, err);
	}
	if (kind == QB_STEP_ROUND)
		let_go(r, address);
	return rc;
}

static int take(struct cache_run *r, enum qb_cache_phase phase, struct qb_err *err)
{
	uint32_t first = qb_cacheset_first_address(&r->set, phase), n = qb_cacheset_addresses(&r->set, phase);
	int rc = phase == QB_CACHE_UNCACHED ? step(r, QB_STEP_UNCACHE, phase, 0, err) : 0;

	for (uint32_t i = 0; phase == QB_CACHE_KILLED && i < n; i++)
		if (qb_cacheset_is_victim(&r->set, first + i))
			hold(r, first + i);
	if (rc == 0)
		rc = step(r, QB_STEP_TAKE, phase, 0, err);
	/* Of those that nobody has begun. */
	for (uint32_t i = 0; phase == QB_CACHE_KILLED && i < n; i++)
		let_go(r, first + i);
	return rc;
}

/* Callers may have their answers before the work has ended; the next phase is not to meet it. Kills are waited for by nobody. */
static int settle(struct cache_run *r, enum qb_cache_phase phase, struct qb_err *err)
{
	uint64_t until = qb_now_ns() + SETTLE_NS;
	int rc = qb_recorder_poll(&r->d->recorder, err);

	while (rc == 0 && phase < QB_CACHE_KILLED && r->ended < r->accepted && qb_now_ns() < until)
		rc = turn(r, err);
	return rc;
}

static int all_phases(struct cache_run *r, struct qb_err *err)
{
	int rc = 0;

	for (int p = 0; rc == 0 && p < QB_CACHE_PHASES; p++) {
		enum qb_cache_phase phase = (enum qb_cache_phase)p;
		uint32_t rounds = qb_cacheset_addresses(&r->set, phase);

		r->phase = qb_cache_phase_name(phase);
		if (!qb_cache_in_rounds(phase))
			rc = rounds ? take(r, phase, err) : 0;
		for (uint32_t i = 0; rc == 0 && qb_cache_in_rounds(phase) && i < rounds; i++)
			rc = step(r, QB_STEP_ROUND, phase, i, err);
		if (rc == 0)
			rc = settle(r, phase, err);
	}
	return rc;
}

int qb_cache_run(struct qb_driver *d, int *all_ended, struct qb_err *err)
{
	struct cache_run r = { .d = d, .set = qb_scenario_cacheset(d->sc), .phase = "start", .news_ns = qb_now_ns() };
	int rc;

	r.has_ended = qb_xcalloc(qb_cacheset_jobs(&r.set) + 1, 1);
	r.victim = qb_xcalloc((size_t)qb_cacheset_all_addresses(&r.set) + 1, sizeof(*r.victim));
	d->recorder.watch = on_event;
	d->recorder.watch_ctx = &r;
	rc = start_callers(&r, err);
	if (rc == 0)
		rc = all_phases(&r, err);
	/* Callers who wait for work see the stop word, or their deadline. */
	qb_callers_stop(&r.callers);
	if (rc == 0)
		rc = qb_recorder_poll(&d->recorder, err);
	/* What the dead still hold is the drain's to wait for. */
	*all_ended = rc == 0;
	d->feeder.acknowledged = r.accepted;
	d->recorder.watch = NULL;
	free(r.victim);
	free(r.has_ended);
	return rc;
}
