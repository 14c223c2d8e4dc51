/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rscache asks of rsqueue: AddressedPush, PollAddress, RecordFailure.  With adapter=fixed a wait misses no
 * notification, and is for one run: its row, which a sweep does not change. An earlier run's failure is not told.
 */
#include "queue/platlib.h"

#include <stdio.h>

#include "queue/platlib-inside.h"

static int is_fixed(struct qb_queue *q)
{
	return qb_platlib_caller_of(q)->adapter == QB_PLATLIB_FIXED;
}

static int is_faithful(struct qb_queue *q)
{
	return !is_fixed(q);
}

static void close_poller(struct qb_platlib_caller *c)
{
	qb_platlib_poller_close(c->poller);
	c->poller = NULL;
}

/* run->a, "fixed": the id of the row; 0: it was gone before it could be asked for. */
static int push(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		struct qb_address_run *run, struct qb_err *err)
{
	struct qb_platlib_caller *c = qb_platlib_caller_of(q);
	int64_t row = 0;
	int found = 0, rc = qb_platlib_push_addressed(q, job, address, ticket, &row, err);

	*run = (struct qb_address_run){ .job_id = rc == QB_OK ? job->job_id : 0 };
	if (rc < 0)
		return rc;
	/* Who pushes for a long time and never has to wait is sent what others wait for all the same. */
	if (c->poller && qb_platlib_poller_drain(c->poller, NULL) < 0)
		close_poller(c);
	if (rc == QB_DUPLICATE && is_fixed(q)) {
		qb_platlib_at(QB_PLATLIB_AFTER_DUPLICATE);
		found = qb_platlib_row_of(c->conn, address, &row, err);
	}
	run->a = (uint64_t)row;
	return found < 0 ? found : rc;
}

static int await(struct qb_queue *q, const char *address, const struct qb_address_run *run, uint64_t deadline_ns,
		 struct qb_address_end *end, struct qb_err *err)
{
	struct qb_platlib_caller *c = qb_platlib_caller_of(q);
	struct qb_platlib_failure failure = { 0 };
	int rc;

	*end = (struct qb_address_end){ .state = QB_ADDRESS_DONE };
	if (is_fixed(q) && run->a == 0)
		return 0;
	rc = c->poller ? 0 : qb_platlib_poller_open(c->conninfo, c->conn, &c->poller, err);
	if (rc == 0)
		rc = is_fixed(q) ? qb_platlib_poll_run(c->poller, address, (int64_t)run->a, deadline_ns, &failure, err) :
				   qb_platlib_poll_address(c->poller, address, deadline_ns, &failure, err);
	if (rc < 0) {
		/* The next one gets a connection that hears. */
		close_poller(c);
		return rc;
	}
	*end = (struct qb_address_end){
		.state = rc == QB_PLATLIB_DONE ? QB_ADDRESS_DONE : rc == QB_PLATLIB_FAILED ? QB_ADDRESS_FAILED : QB_ADDRESS_NOT_YET,
		.by_tick = rc != QB_PLATLIB_NOT_YET && qb_platlib_poller_by_tick(c->poller),
	};
	if (end->state == QB_ADDRESS_FAILED) {
		end->failed_run = (uint64_t)failure.code;
		snprintf(end->message, sizeof(end->message), "%.255s", failure.message);
	}
	return 0;
}

static int record(struct qb_queue *q, const struct qb_queue_job *job, const char *address, const char *message,
		  struct qb_err *err)
{
	(void)address;
	(void)err;
	qb_platlib_tell(q, job->lane, (int64_t)job->job_id, message);
	return 0;
}

const struct qb_address_ops qb_platlib_addressed = {
	.push = push,
	.await = await,
	.record = record,
	.is_faithful = is_faithful,
	.keeps_failures = 1,
};
