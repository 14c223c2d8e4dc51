/* SPDX-License-Identifier: Apache-2.0 */
/* One queue in a small engine (synctest.h), with a producer, and consumers as a case needs them. */
#ifndef QB_TESTS_PG_QUEUETEST_H
#define QB_TESTS_PG_QUEUETEST_H

#include "queue/queue.h"
#include "tests/pg/synctest.h"

/* Check's old name for "this case has failed" is a member of the vtable here. */
#undef fail

struct bench {
	struct world w;
	const struct qb_queue_ops *ops;
	struct qb_queue_env env;        /* the driver's */
	struct qb_queue *driver;
};

static inline void bench_open_cfg(struct bench *b, int queue_idx, const char *name, struct qb_config_shm *cfg)
{
	struct qb_config_shm usual;
	struct qb_err err = { 0 };
	char run[64];

	memset(b, 0, sizeof(*b));
	b->ops = qb_queues[queue_idx];
	snprintf(run, sizeof(run), "%s-%s", b->ops->name, name);
	if (!cfg) {
		cfg = &usual;
		world_config(cfg);
	}
	snprintf(cfg->queue, sizeof(cfg->queue), "%s", b->ops->name);
	world_open_cfg(&b->w, HERE, run, cfg);
	b->env = (struct qb_queue_env){
		.seg = &b->w.seg, .seat = b->w.driver, .role = QB_ROLE_DRIVER, .conninfo = HERE, .poll_ns = QB_NS_PER_S,
	};
	/* As if it were being recovered: its run is registered already. */
	qb_store_relaxed32(&b->w.seg.hdr->parent_seat, b->w.driver);
	ck_ok(b->ops->setup(&b->env, &err), err);
	ck_ok(b->ops->open(&b->env, &b->driver, &err), err);
	if (b->ops->flags & QB_QUEUE_NEEDS_SYNCER) {
		qb_event_open(&b->w.log, &b->w.seg, b->w.syncer, QB_OVERFLOW_DROP);
		ck_assert_int_eq(qb_syncer_open(&b->w.seg, b->w.syncer, HERE, &b->w.log, &b->w.s), 0);
		ck_ok(qb_syncer_connect(b->w.s, &err), err);
	}
}

static inline void bench_open(struct bench *b, int queue_idx, const char *name)
{
	bench_open_cfg(b, queue_idx, name, NULL);
}

static inline void bench_close(struct bench *b)
{
	b->ops->close(b->driver);
	world_close(&b->w);
}

static inline struct qb_queue *consumer_at(struct bench *b, uint32_t seat)
{
	struct qb_queue_env env = b->env;
	struct qb_err err = { 0 };
	struct qb_queue *q;

	env.role = QB_ROLE_WORKER;
	env.seat = seat;
	ck_ok(b->ops->open(&env, &q, &err), err);
	return q;
}

static inline struct qb_queue *consumer(struct bench *b)
{
	return consumer_at(b, b->w.worker);
}

/* Whatever else has to run makes progress. */
static inline void pump(struct bench *b)
{
	if (b->w.s)
		drain(&b->w);
}

static inline int try_enqueue(struct bench *b, uint64_t job_id, const void *payload, uint32_t bytes, uint16_t max_attempts,
		       struct qb_queue_ticket *ticket, struct qb_err *err)
{
	struct qb_submit what = {
		.job_id = job_id, .submitted_raw = qb_stamp(), .work_us = 1500, .tenant = 9, .kind = 2, .error_class = 1,
		.max_attempts = max_attempts, .payload = payload, .payload_bytes = bytes,
	};

	return b->ops->enqueue(b->driver, &what, ticket, err);
}

static inline void enqueue(struct bench *b, uint64_t job_id, uint16_t max_attempts)
{
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };

	ck_ok(try_enqueue(b, job_id, "payload", 7, max_attempts, &ticket, &err), err);
	pump(b);
	ck_assert_int_eq(b->ops->acknowledged(b->driver, &ticket), 1);
}

/* QB_OK or QB_EMPTY. */
static inline int claim(struct bench *b, struct qb_queue *q, unsigned lane, struct qb_queue_job *job)
{
	struct qb_err err = { 0 };
	int rc;

	memset(job, 0xa5, sizeof(*job));
	rc = b->ops->claim(q, lane, job, &err);
	ck_ok(rc, err);
	return rc;
}

/* A queue whose consumers wait to be told is told a moment later. */
static inline void start(struct bench *b, struct qb_queue *q, unsigned lane, struct qb_queue_job *job)
{
	struct qb_err err = { 0 };

	ck_until(claim(b, q, lane, job) == QB_OK, 10);
	ck_ok(b->ops->start(q, job, &err), err);
}

static inline void end(struct bench *b, struct qb_queue *q, struct qb_queue_job *job)
{
	struct qb_err err = { 0 };

	ck_ok(b->ops->complete(q, job, "result", 6, &err), err);
}

static inline int fail_it(struct bench *b, struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t due_ns)
{
	struct qb_err err = { 0 };
	int final = -1;

	ck_ok(b->ops->fail(q, job, permanent, &due_ns, &final, &err), err);
	return final;
}

static inline uint64_t count_of(struct bench *b, enum qb_outcome outcome)
{
	struct qb_queue_census c;
	struct qb_err err = { 0 };

	ck_ok(b->ops->census(b->driver, &c, &err), err);
	return c.by_outcome[outcome];
}

/* What the queue says of a job that is over: that, or nothing where it deletes what is finished. */
#define ck_told(b, t, id, what, attempts) \
	do { \
		int forgets_ = ((b)->ops->flags & QB_QUEUE_FORGETS) != 0; \
		ck_assert_uint_eq((t)->times[id], forgets_ ? 0 : 1); \
		ck_assert_uint_eq((t)->outcome[id], forgets_ ? QB_OUTCOME_NONE : (what)); \
		ck_assert_uint_eq((t)->attempt[id], forgets_ ? 0 : (attempts)); \
	} while (0)

struct told {
	uint8_t times[4096], outcome[4096];
	uint32_t attempt[4096];
};

static inline void on_told(void *opaque, uint64_t job_id, enum qb_outcome outcome, uint32_t attempt)
{
	struct told *t = opaque;

	ck_assert_uint_lt(job_id, 4096);
	t->times[job_id]++;
	t->outcome[job_id] = (uint8_t)outcome;
	t->attempt[job_id] = attempt;
}

static inline void ask(struct bench *b, struct told *t)
{
	struct qb_err err = { 0 };

	pump(b);
	memset(t, 0, sizeof(*t));
	ck_ok(b->ops->outcomes(b->driver, on_told, t, &err), err);
}

#endif
