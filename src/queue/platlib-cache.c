/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rscache asks of rsqueue: AddressedPush, PollAddress, RecordFailure.  With adapter=fixed a wait misses no
 * notification, and an earlier run's failure is not told: runs of an address do not overlap, each replaces what is on
 * record before it ends, and what was on record before the push is known.
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

/* run->a: the code of the failure that is on record before the push, which is the id of the job that failed; 0: none. */
static int push(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		struct qb_address_run *run, struct qb_err *err)
{
	struct qb_platlib_failure failure = { 0 };
	int rc = is_fixed(q) ? qb_platlib_recorded_failure(qb_platlib_caller_of(q)->conn, address, &failure, err) : 0;

	*run = (struct qb_address_run){ .a = (uint64_t)failure.code };
	if (rc < 0)
		return rc;
	rc = qb_platlib_push_addressed(q, job, address, ticket, err);
	run->job_id = rc == QB_OK ? job->job_id : 0;
	return rc;
}

static int await(struct qb_queue *q, const char *address, const struct qb_address_run *run, uint64_t deadline_ns,
		 struct qb_address_end *end, struct qb_err *err)
{
	struct qb_platlib_caller *c = qb_platlib_caller_of(q);
	struct qb_platlib_failure failure = { 0 };
	int rc = c->poller ? 0 : qb_platlib_poller_open(c->conninfo, c->conn, &c->poller, err);

	if (rc == 0)
		rc = is_fixed(q) ?
			qb_platlib_poll_mended(c->poller, address, (int64_t)run->a, deadline_ns, &failure, err) :
			qb_platlib_poll_address(c->poller, address, deadline_ns, &failure, err);
	if (rc < 0)
		return rc;
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
