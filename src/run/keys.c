/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same keys asked for by several processes, in five phases.
 *
 * Nothing here waits for a time: a phase begins when the record, or the queue, says that the one before is over.
 * A round is one key, asked for by all producers at one instant.
 *   race       there is no worker yet: none has opened the queue
 *   queued     the same; what was accepted waits
 *   running    a round begins when a worker has recorded that it runs a job of the key, and that job does not end
 *              before the round is answered
 *   completed  every job has ended on record, and the queue says that it has nothing left; what is accepted now does
 *              not end before its own round is answered
 *   killed     other keys, one after the other: given to one job, whose worker is killed when it runs it; the round
 *              begins at once
 */
#include "run/keys.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "run/producers.h"
#include "shm/seat.h"

/* Without anything happening. */
#define STALL_NS (30 * QB_NS_PER_S)
#define CENSUS_EVERY_NS (20 * QB_NS_PER_MS)

struct key {
	uint32_t seat, pid;             /* the worker that runs a job of it; 0: none, or it has ended */
	uint64_t running_id;
	uint64_t accepted, ended;       /* jobs */
	int asked;                      /* in the present phase */
	int killed;                     /* its first job's worker */
};

struct keys_run {
	struct qb_driver *d;
	struct qb_keyset set;
	struct qb_producers producers;
	struct key *key;                /* by qb_keyset_index() */
	uint8_t *has_ended;             /* by job id */
	uint64_t accepted, ended;
	uint32_t round;
	uint64_t news_ns;               /* when something was seen last */
	int drained;                    /* by the queue's own word, at the end of the watch */
	const char *phase;
};

static struct key *key_of(struct keys_run *r, enum qb_key_phase phase, uint32_t key)
{
	struct qb_key_place at = { .phase = phase, .key = key };

	return &r->key[qb_keyset_index(&r->set, &at)];
}

/* Called for each event as it goes into the record. */
static void on_event(void *opaque, const struct qb_event_shm *ev)
{
	struct keys_run *r = opaque;
	struct qb_key_place at;

	if (ev->type < QB_EV_JOB_SUBMITTED || ev->type > QB_EV_JOB_AMBIGUOUS || qb_keyset_place(&r->set, ev->job_id, &at) < 0)
		return;
	struct key *k = key_of(r, at.phase, at.key);

	r->news_ns = qb_now_ns();
	switch (ev->type) {
	case QB_EV_JOB_ENQUEUED:
		k->accepted++;
		r->accepted++;
		break;
	case QB_EV_JOB_STARTED:
		k->seat = ev->seat;
		k->pid = qb_seat_who(&r->d->seg, ev->seat, NULL);
		k->running_id = ev->job_id;
		break;
	case QB_EV_JOB_COMPLETED:
	case QB_EV_JOB_DISCARDED:
		if (k->running_id == ev->job_id)
			k->seat = 0;
		if (r->has_ended[ev->job_id])
			break;
		r->has_ended[ev->job_id] = 1;
		k->ended++;
		r->ended++;
		break;
	default:
		break;
	}
}

/* One turn of everything; fails when nothing has happened for long. */
static int turn(struct keys_run *r, struct qb_err *err)
{
	int rc = qb_drive_step(r->d, r->phase, err);

	if (rc == 0)
		rc = qb_producers_check(&r->producers, err);
	if (rc == 0 && qb_now_ns() - r->news_ns > STALL_NS)
		rc = qb_err_set(err, QB_ETIMEOUT, "nothing has happened for %u s in the phase \"%s\"",
				(unsigned)(STALL_NS / QB_NS_PER_S), r->phase);
	return rc;
}

static int start_producers(struct keys_run *r, struct qb_err *err)
{
	struct qb_driver *d = r->d;
	int rc, ready;

	r->producers = (struct qb_producers){
		.seg = &d->seg, .ops = d->ops, .env = d->env, .plan = &d->plan, .gate = &d->gate,
		.max_attempts = d->feeder.max_attempts, .effect_class = d->feeder.effect_class,
	};
	/* A parent that takes over clears the seats of those who have not sat down yet. */
	while (!qb_tend_parent_is_ready(d)) {
		rc = turn(r, err);
		if (rc < 0)
			return rc;
	}
	rc = qb_producers_start(&r->producers, err);
	while (rc == 0 && (ready = qb_gate_ready(&d->gate)) < (int)r->set.processes) {
		if (ready < 0)
			return qb_err_set(err, QB_ECHILD, "a producer could not open the queue; see the messages above");
		rc = turn(r, err);
	}
	return rc;
}

/* All producers ask for that key at one instant; until each has its answer. */
static int ask(struct keys_run *r, enum qb_key_phase phase, uint32_t key, struct qb_err *err)
{
	struct qb_gate_round round = { .number = ++r->round, .phase = phase, .key = key };
	int rc = 0;

	qb_gate_start_round(&r->d->gate, &round);
	while (rc == 0 && qb_gate_answered(&r->d->gate) < r->set.processes)
		rc = turn(r, err);
	r->news_ns = qb_now_ns();
	if (phase != QB_KEY_HOLDER)
		key_of(r, phase, key)->asked = 1;
	return rc;
}

static void begin_phase(struct keys_run *r, enum qb_key_phase phase)
{
	r->phase = qb_key_phase_name(phase);
	r->news_ns = qb_now_ns();
	for (uint32_t i = 0; i < 2 * r->set.keys; i++)
		r->key[i].asked = 0;
}

static int ask_and_let_end(struct keys_run *r, enum qb_key_phase phase, uint32_t key, struct qb_err *err)
{
	int rc = ask(r, phase, key, err);

	qb_gate_let_end(&r->d->gate, phase, key);
	return rc;
}

/* In order, whatever the keys are doing; jobs that this accepts may end when the key was asked for by all. */
static int ask_each(struct keys_run *r, enum qb_key_phase phase, struct qb_err *err)
{
	int rc = 0;

	begin_phase(r, phase);
	for (uint32_t i = 0; rc == 0 && i < r->set.keys; i++) {
		rc = phase == QB_KEY_DONE ? ask_and_let_end(r, phase, i, err) : ask(r, phase, i, err);
	}
	return rc;
}

/* A key that was not asked for yet and whose job somebody runs; or -1. */
static int64_t find_running(struct keys_run *r)
{
	for (uint32_t i = 0; i < r->set.keys; i++) {
		const struct key *k = key_of(r, QB_KEY_RUNNING, i);

		if (!k->asked && k->seat)
			return i;
	}
	return -1;
}

/* Keys that will run: something was accepted, and they were not asked for yet. */
static uint32_t count_expected(struct keys_run *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->set.keys; i++)
		n += !key_of(r, QB_KEY_RUNNING, i)->asked && key_of(r, QB_KEY_RUNNING, i)->accepted > 0;
	return n;
}

static int ask_running(struct keys_run *r, struct qb_err *err)
{
	int rc = 0;

	begin_phase(r, QB_KEY_RUNNING);
	while (rc == 0 && count_expected(r)) {
		int64_t key = find_running(r);

		rc = key < 0 ? turn(r, err) : ask_and_let_end(r, QB_KEY_RUNNING, (uint32_t)key, err);
	}
	/* Where nothing was accepted nothing runs: asked for all the same, for the account. */
	for (uint32_t i = 0; rc == 0 && i < r->set.keys; i++)
		if (!key_of(r, QB_KEY_RUNNING, i)->asked)
			rc = ask_and_let_end(r, QB_KEY_RUNNING, i, err);
	return rc;
}

/*
 * One key after the other, so that the job of a dead worker finds idle ones and its time is the queue's own: give it
 * to a job, wait until that runs, kill its worker, ask.
 */
static int kill_each(struct keys_run *r, struct qb_err *err)
{
	int rc = 0;

	begin_phase(r, QB_KEY_KILLED);
	for (uint32_t i = 0; rc == 0 && i < r->set.keys; i++) {
		struct key *k = key_of(r, QB_KEY_KILLED, i);

		rc = ask(r, QB_KEY_HOLDER, i, err);
		/* Whether it was accepted is on record now. */
		if (rc == 0)
			rc = qb_recorder_poll(&r->d->recorder, err);
		while (rc == 0 && k->accepted && !k->killed) {
			/* One that has died by itself is no victim: whoever runs the job next is. */
			k->killed = k->seat && qb_seat_who(&r->d->seg, k->seat, NULL) == k->pid &&
				    qb_faults_kill_now(&r->d->faults, k->seat, QB_ROLE_WORKER);
			if (!k->killed)
				rc = turn(r, err);
		}
		if (rc == 0)
			rc = ask_and_let_end(r, QB_KEY_KILLED, i, err);
	}
	return rc;
}

/* On record, and by the queue's own word: one may know it before the other. */
static int await_ended(struct keys_run *r, struct qb_err *err)
{
	uint64_t deadline = qb_now_ns() + r->d->cfg->drain_ns, census_ns = 0;
	int rc = 0, drained = 0;

	while (rc == 0 && (r->ended < r->accepted || !drained) && qb_now_ns() < deadline) {
		/* One that was lost is waited for as long as --drain says, and no error. */
		r->news_ns = qb_now_ns();
		rc = turn(r, err);
		if (rc == 0 && r->ended >= r->accepted && qb_now_ns() - census_ns >= CENSUS_EVERY_NS) {
			drained = qb_drive_is_drained(r->d);
			census_ns = qb_now_ns();
		}
	}
	if (rc == 0 && !drained)
		qb_log(QB_LOG_WARNING, "%s: %llu of %llu accepted jobs have ended, and the queue is not empty", r->d->ops->name,
		       (unsigned long long)r->ended, (unsigned long long)r->accepted);
	return rc;
}

/* Has each key whose worker was killed been worked on since, and is nothing else left? */
static int is_over(struct keys_run *r)
{
	for (uint32_t i = 0; i < r->set.keys; i++) {
		const struct key *k = key_of(r, QB_KEY_KILLED, i);

		if (k->killed && k->ended == 0)
			return 0;
	}
	return r->ended >= r->accepted;
}

/* A worker that was killed may have finished another job and not have said so: then only the queue knows. */
static int watch(struct keys_run *r, struct qb_err *err)
{
	uint64_t end_ns = qb_now_ns() + r->d->sc->keys.watch_ns, census_ns = qb_now_ns();
	int rc = 0;

	r->phase = "watch";
	while (rc == 0 && !is_over(r) && !r->drained && qb_now_ns() < end_ns) {
		r->news_ns = qb_now_ns();
		rc = turn(r, err);
		if (rc == 0 && qb_now_ns() - census_ns >= CENSUS_EVERY_NS) {
			r->drained = qb_drive_is_drained(r->d);
			census_ns = qb_now_ns();
		}
	}
	return rc;
}

static int all_phases(struct keys_run *r, struct qb_err *err)
{
	int rc = ask_each(r, QB_KEY_RACE, err);

	if (rc == 0)
		rc = ask_each(r, QB_KEY_QUEUED, err);
	if (rc == 0) {
		qb_gate_open_queue(&r->d->gate);
		rc = qb_tend_wait_ready(r->d, err);
	}
	if (rc == 0)
		rc = ask_running(r, err);
	if (rc == 0)
		rc = await_ended(r, err);
	if (rc == 0)
		rc = ask_each(r, QB_KEY_DONE, err);
	if (rc == 0)
		rc = await_ended(r, err);
	if (rc == 0)
		rc = kill_each(r, err);
	return rc == 0 ? watch(r, err) : rc;
}

int qb_run_keys(struct qb_driver *d, int *all_ended, struct qb_err *err)
{
	struct keys_run r = { .d = d, .set = d->gate.set, .phase = "start", .news_ns = qb_now_ns() };
	int rc;

	r.key = qb_xcalloc(2 * (size_t)r.set.keys, sizeof(*r.key));
	r.has_ended = qb_xcalloc(qb_keyset_jobs(&r.set) + 1, 1);
	d->recorder.watch = on_event;
	d->recorder.watch_ctx = &r;
	rc = start_producers(&r, err);
	if (rc == 0)
		rc = all_phases(&r, err);
	*all_ended = rc == 0 && (is_over(&r) || r.drained);
	/* Held workers are let go by the stop word; those that wait for the gate, too. */
	qb_producers_stop(&r.producers);
	d->feeder.acknowledged = r.accepted;
	d->recorder.watch = NULL;
	free(r.key);
	free(r.has_ended);
	return rc;
}
