/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addressed work: at most one job of an address is in the queue, and whoever asks for more of it joins that one.
 *
 * What a cache needs of a queue (src/cache): push work for an address, wait until the run of that address has ended, and
 * tell how it ended.  A run is one job, however often it is begun: what a killed worker had begun is the same run.
 * Part of struct qb_queue_ops; NULL there where a queue has none.  A handle belongs to one thread, as everything of it.
 *
 * Order: whoever is told DONE sees what the runner did before it ended the job, in the file system too.
 * Crash: a run whose worker was killed has not ended; when it goes on is the queue's own rule.  Nobody who waits hangs on
 * something that a dead process owed it: a wake-up that never comes costs a tick.
 */
#ifndef QB_QUEUE_ADDRESS_H
#define QB_QUEUE_ADDRESS_H

#include <stdint.h>

#include "base/err.h"

struct qb_queue;
struct qb_queue_job;
struct qb_queue_ticket;
struct qb_submit;

/* Bytes of an address with its NUL; [a-z0-9-], not empty. */
#define QB_ADDRESS_BYTES 48
#define QB_ADDRESS_MESSAGE_BYTES 256

/* Which run is waited for: the queue's own words, and its job's id; 0 where the queue cannot tell of one that was joined. */
struct qb_address_run { uint64_t a, b, job_id; };

enum qb_address_state {
	QB_ADDRESS_NOT_YET,             /* the deadline came first */
	QB_ADDRESS_DONE,                /* it is over; without keeps_failures, also when it failed */
	QB_ADDRESS_FAILED,              /* what the queue has on record for the address */
};

struct qb_address_end {
	enum qb_address_state state;
	int by_tick;                    /* it was a tick that found it over, and no notification */
	uint64_t failed_run;            /* of FAILED: the job_id that record() was given */
	char message[QB_ADDRESS_MESSAGE_BYTES];         /* of FAILED */
};

struct qb_address_ops {
	/*
	 * Producer. QB_OK: accepted, *ticket as of enqueue(); QB_DUPLICATE: somebody else's run is in the queue, joined;
	 * QB_FULL; negative. *run (of the first two) is what await() is to wait for.
	 */
	int (*push)(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		    struct qb_address_run *run, struct qb_err *err);
	/* Producer. Until that run has ended, or deadline_ns (CLOCK_MONOTONIC). 0 with *end, or negative. */
	int (*await)(struct qb_queue *q, const char *address, const struct qb_address_run *run, uint64_t deadline_ns,
		     struct qb_address_end *end, struct qb_err *err);
	/*
	 * Worker, just before complete() (message NULL) or a final fail() of an addressed job: what whoever waits is to be
	 * told. Told together with the end of the job or before it, as the queue does. NULL: there is nothing to do.
	 * 0 or negative.
	 */
	int (*record)(struct qb_queue *q, const struct qb_queue_job *job, const char *address, const char *message,
		      struct qb_err *err);
	/*
	 * 1: this handle follows a library whose cache has known weaknesses, and the cache on it is to have them, as
	 * doc/cache.md lists them. NULL: 0.
	 */
	int (*is_faithful)(struct qb_queue *q);
	/*
	 * 1: what record() was given is kept, and await() says FAILED with it. 0: await() says DONE of every end, and the
	 * failures are the cache's to keep; record() may still be what wakes those who wait.
	 */
	int keeps_failures;
};

#endif
