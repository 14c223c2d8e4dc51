/* SPDX-License-Identifier: Apache-2.0 */
/* Addressed work on platlib: push, await and end by one address; what its test programs share. */
#ifndef QB_TESTS_PG_PLATLIBADDRESS_H
#define QB_TESTS_PG_PLATLIBADDRESS_H

#include "tests/pg/platlibtest.h"

#define LIBRARY "adapter=library"
#define FIXED "adapter=fixed"
#define ADDRESS "item-1"
#define NEVER_NS (3600 * QB_NS_PER_S)
#define LONG_NS (50 * QB_NS_PER_S)
/* The library's Get may miss what comes while it looks; here it looks when there is something. */
#define WAITING ROWS " where permit = 0"
#define FAILURES "select count(*) from qbench_platlib.queue_failure"

static const char *const adapters[] = { LIBRARY NEVER, FIXED NEVER };

static inline int push_by(struct bench *b, struct qb_queue *q, uint64_t id, struct qb_address_run *run)
{
	struct qb_submit what = { .job_id = id, .kind = 2, .max_attempts = 3, .payload = "p", .payload_bytes = 1 };
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	int rc = b->ops->addressed->push(q, &what, ADDRESS, &ticket, run, &err);

	ck_ok(rc, err);
	ck_assert_uint_eq(run->job_id, rc == QB_OK ? id : 0);
	return rc;
}

static inline int push(struct bench *b, uint64_t id, struct qb_address_run *run)
{
	return push_by(b, b->driver, id, run);
}

static inline struct qb_address_end await_by(struct bench *b, struct qb_queue *q, const struct qb_address_run *run, uint64_t ns)
{
	struct qb_address_end end;
	struct qb_err err = { 0 };

	ck_ok(b->ops->addressed->await(q, ADDRESS, run, qb_now_ns() + ns, &end, &err), err);
	return end;
}

/* An end that is there already, or is to come before the watchdog; "not yet" is asked for with a short time. */
#define ck_await(b, run, what) ck_assert_int_eq(await_by(b, (b)->driver, run, LONG_NS).state, what)
#define ck_not_yet(b, run) \
	ck_assert_int_eq(await_by(b, (b)->driver, run, 50 * QB_NS_PER_MS).state, QB_ADDRESS_NOT_YET)

static inline void ck_failed(struct bench *b, const struct qb_address_run *run, uint64_t id, const char *message)
{
	struct qb_address_end end = await_by(b, b->driver, run, LONG_NS);

	ck_assert_int_eq(end.state, QB_ADDRESS_FAILED);
	ck_assert_uint_eq(end.failed_run, id);
	ck_assert_str_eq(end.message, message);
}

/* What the runner of a cache does at the end. */
static inline void end_with(struct bench *b, struct qb_queue *q, struct qb_queue_job *job, const char *failure)
{
	struct qb_err err = { 0 };

	ck_ok(b->ops->addressed->record(q, job, ADDRESS, failure, &err), err);
	if (failure)
		ck_assert_int_eq(fail_it(b, q, job, 1, 0), 1);
	else
		end(b, q, job);
}

static inline void run_one(struct bench *b, struct qb_queue *q, uint64_t id, const char *failure)
{
	struct qb_queue_job job;

	get(b, q, &job);
	ck_assert_uint_eq(job.job_id, id);
	end_with(b, q, &job, failure);
}

#endif
