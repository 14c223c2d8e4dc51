/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces made by hand: a line per event, times in milliseconds from the start of the run.  Seat 1
 * is the driver, 2 the parent, 3 the syncer, workers sit on 4 and above; a process's pid is
 * seat * 100 + its incarnation.
 */
#ifndef QB_TESTS_TRACE_BUILDER_H
#define QB_TESTS_TRACE_BUILDER_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "stats/summary.h"

#define MS 1000000ull
#define ZERO_NS (5000 * MS)             /* monotonic time at which the run starts */
#define BUILDER_EVENTS_MAX 4096
#define BUILDER_JOBS_MAX 1024
#define DRIVER 1
#define PARENT 2
#define SYNCER 3
#define W(n) (3 + (n))                  /* W(1) is the first worker's seat */

struct builder {
	struct qb_trace trace;
	struct qb_trace_event events[BUILDER_EVENTS_MAX];
	struct qb_job_end ends[BUILDER_JOBS_MAX];
	struct qb_summary_input in;
	struct qb_summary out;
	struct qb_err err;
	unsigned incarnation[QB_SEAT_MAX + 1];
};

static inline void builder_init(struct builder *b, unsigned jobs)
{
	memset(b, 0, sizeof(*b));
	ck_assert_uint_le(jobs, BUILDER_JOBS_MAX);
	b->trace.events = b->events;
	strcpy(b->trace.meta.lib, "shm");
	strcpy(b->trace.meta.run_id, "shm-crash_recovery-1");
	strcpy(b->trace.meta.scenario, "crash_recovery");
	b->in.trace = &b->trace;
	b->in.ends = b->ends;
	b->in.jobs_count = jobs;
	b->in.reports_ambiguity = 1;
	b->in.watch_end_ns = ZERO_NS + 10000 * MS;
	for (unsigned i = 0; i < jobs; i++)
		b->ends[i].job_id = i + 1;
}

static inline struct qb_event_shm *event(struct builder *b, uint64_t t_ms, unsigned type,
					 unsigned seat)
{
	struct qb_trace_event *e = &b->events[b->trace.events_count++];

	ck_assert_uint_le(b->trace.events_count, BUILDER_EVENTS_MAX);
	e->t_ns = ZERO_NS + t_ms * MS;
	e->ev.type = (uint16_t)type;
	e->ev.seat = (uint16_t)seat;
	return &e->ev;
}

static inline void process_event(struct builder *b, uint64_t t_ms, unsigned type, unsigned writer,
				 unsigned seat, unsigned role, uint64_t arg1)
{
	struct qb_event_shm *ev = event(b, t_ms, type, writer);

	ev->slot_idx = seat;
	ev->kind = (uint8_t)role;
	ev->arg0 = seat * 100 + b->incarnation[seat];
	ev->arg1 = arg1;
}

static inline void spawn(struct builder *b, uint64_t t_ms, unsigned parent, unsigned seat,
			 unsigned role)
{
	b->incarnation[seat]++;
	process_event(b, t_ms, QB_EV_PROCESS_SPAWNED, parent, seat, role, b->incarnation[seat]);
}

static inline void ready(struct builder *b, uint64_t t_ms, unsigned seat, unsigned role)
{
	process_event(b, t_ms, QB_EV_PROCESS_READY, seat, seat, role, 0);
}

/* Spawned by the parent on seat 2 and ready in the same moment. */
static inline void worker(struct builder *b, uint64_t t_ms, unsigned seat)
{
	spawn(b, t_ms, PARENT, seat, QB_ROLE_WORKER);
	ready(b, t_ms, seat, QB_ROLE_WORKER);
}

/* Parent, syncer and that many workers. */
static inline void start_processes(struct builder *b, unsigned workers)
{
	spawn(b, 0, DRIVER, PARENT, QB_ROLE_PARENT);
	ready(b, 0, PARENT, QB_ROLE_PARENT);
	spawn(b, 0, PARENT, SYNCER, QB_ROLE_SYNCER);
	ready(b, 0, SYNCER, QB_ROLE_SYNCER);
	for (unsigned i = 1; i <= workers; i++)
		worker(b, 0, W(i));
}

static inline void killed(struct builder *b, uint64_t t_ms, unsigned seat, unsigned role,
			  unsigned number)
{
	process_event(b, t_ms, QB_EV_PROCESS_KILLED, DRIVER, seat, role, number);
}

static inline void died(struct builder *b, uint64_t t_ms, unsigned writer, unsigned seat,
			unsigned role)
{
	process_event(b, t_ms, QB_EV_PROCESS_DIED, writer, seat, role, 9);
}

/* The verdict on all jobs of a dead process took so long. */
static inline void recovered(struct builder *b, uint64_t t_ms, unsigned seat, unsigned role,
			     uint64_t ns)
{
	process_event(b, t_ms, QB_EV_RECOVERED, PARENT, seat, role, 0);
	b->events[b->trace.events_count - 1].ev.arg0 = ns;
}

/* Killed by plan, and reaped in the same moment. */
static inline void kill_worker(struct builder *b, uint64_t t_ms, unsigned seat, unsigned number)
{
	killed(b, t_ms, seat, QB_ROLE_WORKER, number);
	died(b, t_ms, PARENT, seat, QB_ROLE_WORKER);
}

static inline void job_event(struct builder *b, uint64_t t_ms, unsigned type, unsigned seat,
			     unsigned job, unsigned attempt, uint64_t arg0, uint64_t arg1)
{
	struct qb_event_shm *ev = event(b, t_ms, type, seat);

	ev->job_id = job;
	ev->attempt = (uint16_t)attempt;
	ev->arg0 = arg0;
	ev->arg1 = arg1;
}

/* Due, called and acknowledged in the same moment. */
static inline void submit(struct builder *b, uint64_t t_ms, unsigned job)
{
	job_event(b, t_ms, QB_EV_JOB_SUBMITTED, DRIVER, job, 0, ZERO_NS + t_ms * MS, 100);
	job_event(b, t_ms, QB_EV_JOB_ENQUEUED, DRIVER, job, 0, ZERO_NS + t_ms * MS, 0);
}

static inline void started(struct builder *b, uint64_t t_ms, unsigned seat, unsigned job,
			   unsigned attempt)
{
	job_event(b, t_ms, QB_EV_JOB_STARTED, seat, job, attempt, 0, 0);
}

static inline void failed(struct builder *b, uint64_t t_ms, unsigned seat, unsigned job,
			  unsigned attempt)
{
	job_event(b, t_ms, QB_EV_JOB_FAILED, seat, job, attempt, 0, 0);
}

static inline void end(struct builder *b, unsigned job, enum qb_outcome outcome, unsigned attempt,
		       unsigned effects)
{
	b->ends[job - 1].outcome = (uint8_t)outcome;
	b->ends[job - 1].attempt = attempt;
	b->ends[job - 1].effects = effects;
}

/* Logged by the worker; the queue says the same; one effect more. */
static inline void completed(struct builder *b, uint64_t t_ms, unsigned seat, unsigned job,
			     unsigned attempt)
{
	job_event(b, t_ms, QB_EV_JOB_COMPLETED, seat, job, attempt, 0, 0);
	end(b, job, QB_OUTCOME_COMPLETED, attempt, b->ends[job - 1].effects + 1);
}

static inline void run_job(struct builder *b, uint64_t from_ms, uint64_t to_ms, unsigned seat,
			   unsigned job, unsigned attempt)
{
	started(b, from_ms, seat, job, attempt);
	completed(b, to_ms, seat, job, attempt);
}

/* Recovery by the parent: a job of that (dead) seat was started and is to run again, or parked. */
static inline void ambiguous(struct builder *b, uint64_t t_ms, unsigned seat, unsigned job,
			     unsigned attempt, int parked)
{
	job_event(b, t_ms, QB_EV_JOB_AMBIGUOUS, PARENT, job, attempt,
		  qb_word(1, attempt, seat, 0, QB_JOB_STARTED), (uint64_t)parked);
	if (!parked)
		job_event(b, t_ms, QB_EV_JOB_REQUEUED, PARENT, job, attempt,
			  qb_word(1, attempt, seat, 0, QB_JOB_STARTED), 0);
}

/* Stable: of one moment, in the order of the lines. */
static inline void sort_events(struct builder *b)
{
	for (size_t i = 1; i < b->trace.events_count; i++) {
		struct qb_trace_event e = b->events[i];
		size_t k = i;

		for (; k > 0 && b->events[k - 1].t_ns > e.t_ns; k--)
			b->events[k] = b->events[k - 1];
		b->events[k] = e;
	}
}

static inline int summarize(struct builder *b)
{
	sort_events(b);
	return qb_summarize(&b->in, &b->out, &b->err);
}

/* The identity whose name begins so; the test fails when there is none. */
static inline const struct qb_identity *identity_of(const struct builder *b, const char *name)
{
	for (unsigned i = 0; i < b->out.identities_count; i++)
		if (strncmp(b->out.identity[i].name, name, strlen(name)) == 0)
			return &b->out.identity[i];
	ck_abort_msg("no identity begins with \"%s\"", name);
	return NULL;
}

/* It adds up, but for the identities whose names begin so ("" for no exception). */
static inline void assert_only_broken(const struct builder *b, const char *name)
{
	for (unsigned i = 0; i < b->out.identities_count; i++) {
		const struct qb_identity *id = &b->out.identity[i];
		int expected = *name && strncmp(id->name, name, strlen(name)) == 0;

		ck_assert_msg(id->holds == !expected, "\"%s\": %lld and %lld", id->name,
			      (long long)id->left, (long long)id->right);
	}
	if (*name)
		ck_assert_int_eq(b->out.verified, 0);
}

static inline void assert_verified(struct builder *b)
{
	ck_assert_msg(summarize(b) == 0, "%s", b->err.text);
	assert_only_broken(b, "");
	ck_assert_int_eq(b->out.verified, 1);
}

#endif
