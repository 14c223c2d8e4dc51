/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The feeder: enqueues the plan in open loop, and notices the acknowledgements.
 *
 * A job's time counts from when it ought to be enqueued, whatever the queue is doing then: a queue
 * that is full or slow makes the feeder late, and that shows.
 */
#ifndef QB_RUN_FEEDER_H
#define QB_RUN_FEEDER_H

#include <stdint.h>

#include "base/err.h"
#include "queue/queue.h"
#include "shm/event.h"
#include "workload/plan.h"

struct qb_feeder {
	const struct qb_plan *plan;
	const struct qb_queue_ops *ops;
	struct qb_queue_env env;
	struct qb_queue *q;             /* NULL while the queue cannot be reached */
	struct qb_event_writer *log;
	uint16_t max_attempts, effect_class;
	uint64_t start_ns;
	size_t next;                    /* first job that was not accepted yet */
	size_t limit;                   /* jobs from here on are held back; plan->count: none */
	int next_is_logged;             /* its JOB_SUBMITTED is written: it was refused as full before */
	uint64_t next_submitted_ns;
	uint8_t *payload;
	struct qb_waiting_ack *waiting;
	size_t waiting_count, waiting_cap;
	struct qb_enqueuers *enqueuers; /* for a queue whose enqueue waits, else NULL */
	size_t open_max;                /* requests that may be open there, as many as the original's channel holds */
	uint64_t submitted, acknowledged, failed, full_waits;
	uint64_t reopen_after_ns;
};

/* Opens the queue as its producer. 0 or negative with err. */
int qb_feeder_open(struct qb_feeder *f, struct qb_err *err);
void qb_feeder_close(struct qb_feeder *f);

/* Enqueue what is due, as far as there is room; notice acknowledgements. Never waits for room. */
void qb_feeder_poll(struct qb_feeder *f);

/* When the next job is due (monotonic), UINT64_MAX when all are enqueued. */
uint64_t qb_feeder_next_ns(const struct qb_feeder *f);

/* Jobs that are submitted and neither acknowledged nor failed. */
size_t qb_feeder_unsettled(const struct qb_feeder *f);

/* Would a poll find an acknowledgement? */
int qb_feeder_has_news(const struct qb_feeder *f);

#endif
