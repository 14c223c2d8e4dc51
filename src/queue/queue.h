/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vtable for every queue under test.
 *
 * A queue moves jobs; it does not measure.  Whoever calls it (src/run) stamps, records and counts,
 * in the same way for every queue; a queue cannot see statistics or records, and prints nothing.
 *
 * Processes.  The driver enqueues and looks at the end; it is never killed.  Each worker process
 * claims, starts and ends jobs, up to `slots` at a time in lanes 0..slots-1, and may be SIGKILLed
 * at any instruction: a queue must not need close() to be called.  The parent forks workers and
 * never calls a queue.  Where QB_QUEUE_NEEDS_SYNCER is set a syncer process runs as well.
 * A handle belongs to the process and thread that opened it; connections are opened in open(),
 * never before a fork.  With QB_QUEUE_ENQUEUE_WAITS several threads of the driver have a handle each.
 *
 * Life of a job, as the caller drives it:
 *   driver   enqueue -> (acknowledged, at once or later)
 *   worker   claim -> start -> [the work; effect, where that is a row in Postgres] -> complete | fail
 *            claim -> release when it was told to stop before start
 * start() says whether user code may run: the last moment at which a job can still be refused.
 * complete() and fail() return QB_EFENCED when somebody else has decided the job meanwhile.
 *
 * Times are CLOCK_MONOTONIC nanoseconds.  Functions return 0 or a positive enum qb_result, or a
 * negative code with err set.  After a negative code from a consumer call the worker closes the
 * handle, waits a little, and opens it again; jobs that it held are then the queue's to recover by
 * its own protocol.
 */
#ifndef QB_QUEUE_QUEUE_H
#define QB_QUEUE_QUEUE_H

#include <stdint.h>

#include "base/err.h"
#include "base/outcome.h"
#include "queue/address.h"
#include "queue/options.h"
#include "shm/job.h"
#include "shm/segment.h"

#define QB_QUEUE_ABI 3

enum qb_queue_flag {
	QB_QUEUE_NEEDS_SYNCER = 1,      /* jobs live in the segment; a syncer makes them durable */
	QB_QUEUE_IN_SEGMENT = 2,        /* recovery of the segment decides its jobs */
	QB_QUEUE_ENQUEUE_WAITS = 4,     /* enqueue() is a round trip and its own acknowledgement: the driver uses threads */
	QB_QUEUE_OWN_RETRIES = 8,       /* fail() decides by the queue's own policy when the next attempt is due */
	QB_QUEUE_LEASED = 16,           /* jobs of a dead worker come back by a time-out of the queue's, or never: what is
					 * still held at the end is a finding, and no failure of the run */
	QB_QUEUE_MAY_LOSE = 32,         /* keeps something in memory that a kill takes with it: a lost job is a finding, too */
	QB_QUEUE_FORGETS = 64,          /* what is finished is deleted: outcomes() has nothing to say of it */
};

/* What every process that opens a queue is given. Outlives the handle. */
struct qb_queue_env {
	const struct qb_seg *seg;       /* flight recorder of the run; its cfg has slots, ack mode, seed ... */
	uint32_t seat;                  /* of the calling process */
	uint32_t role;                  /* QB_ROLE_DRIVER: producer; QB_ROLE_WORKER: consumer */
	const char *conninfo;           /* Postgres */
	uint64_t poll_ns;               /* longest sleep of a consumer without looking */
	const char *options;            /* the queue's own settings, see options.h; NULL is "" */
};

/* A claimed job. The first part is the queue's to fill at claim; token and slot_idx are for the record. */
struct qb_queue_job {
	uint64_t job_id;
	uint64_t token;
	uint32_t slot_idx;
	uint32_t work_us;
	uint32_t tenant;
	uint16_t kind;
	uint16_t error_class;
	uint16_t attempt;               /* 1-based: how often it was claimed, this time included */
	uint16_t failures;              /* recorded failures before this attempt */
	uint16_t max_attempts;          /* failures after which it is discarded */
	uint16_t lane;                  /* the caller's */
	uint32_t payload_bytes;
	uint32_t payload_crc;           /* CRC-32C of the payload as it was read back */
};

struct qb_queue_ticket { uint64_t a, b; };

/* Jobs by where they are now; as of one moment, as well as the queue can tell. */
struct qb_queue_census { uint64_t by_outcome[QB_OUTCOME_COUNT]; };

typedef void (*qb_outcome_fn)(void *ctx, uint64_t job_id, enum qb_outcome outcome, uint32_t attempt);

struct qb_queue;

struct qb_queue_ops {
	unsigned abi;                   /* QB_QUEUE_ABI */
	const char *name;               /* as in --lib */
	const char *summary;            /* one line for `qbench list` */
	unsigned flags;                 /* enum qb_queue_flag */
	const struct qb_queue_option *options;  /* what can be set of it; NULL: nothing */

	/*
	 * Driver, once per run, before any other process opens the queue: bring the tables into an
	 * empty, known state. Other runs' rows may go. 0 or negative.
	 */
	int (*setup)(const struct qb_queue_env *env, struct qb_err *err);

	/* Any role. 0 and *out, or negative. */
	int (*open)(const struct qb_queue_env *env, struct qb_queue **out, struct qb_err *err);
	void (*close)(struct qb_queue *q);

	/*
	 * Producer. QB_OK: accepted, *ticket is to be asked about; QB_FULL: no room now, nothing changed,
	 * try again; negative: not accepted. Blocks at most for one round trip.
	 */
	int (*enqueue)(struct qb_queue *q, const struct qb_submit *job, struct qb_queue_ticket *ticket,
		       struct qb_err *err);
	/*
	 * Producer; NULL where the queue has no unique keys. As enqueue(), but for a job that is to be there once:
	 * QB_DUPLICATE, and nothing changed, when the queue refuses it because of another one with that key. What counts
	 * as another one (queued, running, done) is the queue's own rule.
	 */
	int (*enqueue_unique)(struct qb_queue *q, const struct qb_submit *job, const char *key,
			      struct qb_queue_ticket *ticket, struct qb_err *err);
	/* Producer. 1: what the run's ack mode promises is true for that job; 0: not yet. Never blocks. */
	int (*acknowledged)(struct qb_queue *q, const struct qb_queue_ticket *ticket);

	/* Consumer. QB_OK with *job; QB_EMPTY; negative. Never waits for work. The lane is free. */
	int (*claim)(struct qb_queue *q, unsigned lane, struct qb_queue_job *job, struct qb_err *err);
	/* 0: run it. QB_EFENCED: do not. */
	int (*start)(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err);
	/*
	 * With cfg.ledger only: the side effect of the job happens now, as a row of qbench.ledger; result is what
	 * complete() will be given. 0: it has happened. QB_EFENCED: refused, somebody else has decided the job; do not
	 * complete it, the lane is free. Negative: it may have happened. Blocks while Postgres is away.
	 */
	int (*effect)(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
		      struct qb_err *err);
	/* 0: recorded as completed. QB_EFENCED: refused. The lane is free afterwards in any case. */
	int (*complete)(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			struct qb_err *err);
	/*
	 * The attempt failed; the next one not before *due_ns (0: at once), which a queue with QB_QUEUE_OWN_RETRIES
	 * replaces by what it made of it. *final: it was the last (permanent, or failures + 1 >= max_attempts).
	 * 0; QB_EFENCED.
	 */
	int (*fail)(struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
		    struct qb_err *err);
	/* Claimed, not started, given back. 0; QB_EFENCED. */
	int (*release)(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err);
	/*
	 * Consumer: sleep until there may be work, until deadline_ns, or until somebody wakes this seat
	 * (qb_wake_seat). takes_jobs 0: only the deadline matters, every lane is busy. May return early.
	 * 0 or negative (connection lost).
	 */
	int (*wait)(struct qb_queue *q, uint64_t deadline_ns, int takes_jobs, struct qb_err *err);

	/*
	 * Consumer; NULL where the queue cannot tell. Did the last wait() end because somebody said that there may be work
	 * (a notification, a hint in memory), and not by its time? 1 or 0.
	 */
	int (*woken)(struct qb_queue *q);

	/* Driver: how many are where. 0 or negative. Called several times a second while draining. */
	int (*census)(struct qb_queue *q, struct qb_queue_census *out, struct qb_err *err);
	/* Driver, at the end: fn for each job of the run that the queue still knows, in any order, each once. */
	int (*outcomes)(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err);

	const struct qb_address_ops *addressed; /* what a cache needs of it, see address.h; NULL: no cache on it */
};

/* registry.c: all of them, NULL at the end; and one by name, or NULL. */
extern const struct qb_queue_ops *const qb_queues[];
const struct qb_queue_ops *qb_queue_find(const char *name);

extern const struct qb_queue_ops qb_queue_shm;
extern const struct qb_queue_ops qb_queue_pgtx;
extern const struct qb_queue_ops qb_queue_platlib;
extern const struct qb_queue_ops qb_queue_river;

#endif
