/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enqueuers: threads of the driver, one connection each, for queues whose enqueue is a round trip.
 *
 * The original has four goroutines for this; with one, a commit of 2 ms would cap the load at 500 jobs a second
 * and the queue would be blamed for it.  Requests go in and answers come back through two wait-free
 * queues (liburcu's wfcqueue: in one process, where nobody is killed).  Only the driver's own
 * thread writes events and counters; an enqueuer touches its request and its connection.
 */
#ifndef QB_RUN_ENQUEUERS_H
#define QB_RUN_ENQUEUERS_H

#include <stddef.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>

#include "base/err.h"
#include "queue/queue.h"

#define QB_ENQUEUERS 4

struct qb_enqueue_request {
	struct cds_wfcq_node node;
	struct qb_submit what;          /* its payload lies behind this struct */
	uint64_t submitted_ns;
	/* the answer */
	uint64_t done_ns;
	int rc;                         /* QB_OK or negative */
	char why[160];
};

struct qb_enqueuers;

/* Starts the threads; each opens the queue by itself. 0 or negative with err. */
int qb_enqueuers_start(const struct qb_queue_ops *ops, const struct qb_queue_env *env, struct qb_enqueuers **out,
		       struct qb_err *err);

/* Room for a request with that payload; the caller fills the rest. Owned by the pool once put. */
struct qb_enqueue_request *qb_enqueue_request(const void *payload, uint32_t bytes);
void qb_enqueuers_put(struct qb_enqueuers *p, struct qb_enqueue_request *r);

/* The next answered request, or NULL. The caller frees it. Never waits. */
struct qb_enqueue_request *qb_enqueuers_take(struct qb_enqueuers *p);

/* Those that are put and not taken. */
size_t qb_enqueuers_open_count(const struct qb_enqueuers *p);

/* Requests that nobody has begun are dropped; those under way are finished. NULL is fine. */
void qb_enqueuers_stop(struct qb_enqueuers *p);

#endif
