/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rsqueue (platform-lib) knows beside jobs: addresses, their last failures, and groups.
 *
 * Lives in: the schema qbench_platlib.  Writers and readers: any process, one thread per connection or handle.
 * Progress: may block, as pg/conn.h says.
 * Crash: RecordFailure and Delete are statements of their own, as in the library: a kill between them leaves a
 * failure that is told while the row is still there.  The row of a killed worker keeps its address taken until the
 * sweeper frees it ("published": for ever).
 *
 * An address is in the queue at most once, waiting or running.  Afterwards it is free; there is no memory of a
 * success, only of the last failure, and that one is told to whoever asks, even while a new run is queued, until the
 * new run ends.  doc/platlib.md has the rest.
 */
#ifndef QB_QUEUE_PLATLIB_H
#define QB_QUEUE_PLATLIB_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* ---- addresses and failures ---- */

struct qb_platlib_failure {
	int64_t code;                   /* 0: none */
	char message[512];              /* cut off behind that */
};

/*
 * RecordFailure: replaces what is recorded for that address, or with message NULL clears it. Two statements, not in
 * a transaction. 0 or negative.
 */
int qb_platlib_record_failure(PGconn *conn, const char *address, int64_t code, const char *message, struct qb_err *err);
/* IsAddressInQueue: 1: a row with it exists, waiting or running; 0: none; negative. */
int qb_platlib_address_in_queue(PGconn *conn, const char *address, struct qb_err *err);

enum qb_platlib_address {
	QB_PLATLIB_PENDING = 0,
	QB_PLATLIB_DONE = 1,            /* no row, no failure */
	QB_PLATLIB_FAILED = 2,          /* a failure is recorded, whatever is queued now */
	QB_PLATLIB_NOT_YET = 3,         /* of poll_address: the deadline came first */
};

/* What is recorded for it. 1 with *failure (may be NULL); 0: nothing; negative. */
int qb_platlib_recorded_failure(PGconn *conn, const char *address, struct qb_platlib_failure *failure, struct qb_err *err);

/* IsQueueAddressComplete. enum qb_platlib_address, *failure with FAILED (may be NULL); or negative. */
int qb_platlib_address_state(PGconn *conn, const char *address, struct qb_platlib_failure *failure, struct qb_err *err);

/* One who waits for addresses; has a connection to listen, and one to look unless it borrows the caller's (conn not NULL). */
struct qb_platlib_poller;
int qb_platlib_poller_open(const char *conninfo, PGconn *conn, struct qb_platlib_poller **out, struct qb_err *err);
void qb_platlib_poller_close(struct qb_platlib_poller *p);
/*
 * PollAddress: look, and when it is not complete wait for its work-complete notification or the tick of 5 s, and look
 * again. What is notified between the look and the waiting is missed, as in the library, and costs the rest of a tick.
 * The library waits without bound; deadline_ns (CLOCK_MONOTONIC) is ours. As address_state, or NOT_YET.
 */
int qb_platlib_poll_address(struct qb_platlib_poller *p, const char *address, uint64_t deadline_ns,
			    struct qb_platlib_failure *failure, struct qb_err *err);
/*
 * "fixed": until the row with the id `run` is gone. Nothing that is notified is missed, and a failure is told only behind the
 * row, if it is of that run or of a later one of the address.
 */
int qb_platlib_poll_run(struct qb_platlib_poller *p, const char *address, int64_t run, uint64_t deadline_ns,
			   struct qb_platlib_failure *failure, struct qb_err *err);
/* Was it a tick, and no notification, behind which the last poll found what it returned? */
int qb_platlib_poller_by_tick(const struct qb_platlib_poller *p);
/* QueueNotificationMiss: how often it was a tick, and no notification, after which an address was found done. */
uint64_t qb_platlib_poller_misses(const struct qb_platlib_poller *p);

/* ---- groups: rows that may be popped once their group has started ("library" and "fixed") ---- */

enum qb_platlib_group_flag { QB_PLATLIB_GROUP_START, QB_PLATLIB_GROUP_END, QB_PLATLIB_GROUP_CANCEL, QB_PLATLIB_GROUP_ABORT };

/* A group of that name, which no other has. 0 and *id; negative. */
int qb_platlib_group_new(PGconn *conn, const char *name, int64_t *id, struct qb_err *err);
/* One row of it: 0 or negative. type is the runner's, item its JSON. */
int qb_platlib_group_push(PGconn *conn, int64_t id, int64_t type, const char *item, struct qb_err *err);
/* QueueGroupStart: its rows may be popped; notifies. */
int qb_platlib_group_start(PGconn *conn, int64_t id, struct qb_err *err);
/* QueueGroupComplete: 1: no row is left, *cancelled is known and the group is gone; 0: not yet; negative. */
int qb_platlib_group_complete(PGconn *conn, int64_t id, int *cancelled, struct qb_err *err);
/* QueueGroupCancel marks it, QueueGroupClear deletes its rows, those that run included. */
int qb_platlib_group_cancel(PGconn *conn, int64_t id, struct qb_err *err);
int qb_platlib_group_clear(PGconn *conn, int64_t id, struct qb_err *err);

/* A job for the group runner, in a queue of its own. 0 or negative. */
int qb_platlib_group_push_job(PGconn *conn, int64_t id, enum qb_platlib_group_flag flag, struct qb_err *err);
/*
 * The group runner: takes one such job and does what its flag says. START starts the group, looks every 2 s whether
 * its rows are gone, then pushes END, or ABORT when it was cancelled; CANCEL cancels and clears; END and ABORT
 * are the application's, and over.  1 and *flag, *id: one was done; 0: there was none; QB_ETIMEOUT: the group was not
 * complete at deadline_ns (the library waits without bound), its START job is back in the queue; negative.
 */
int qb_platlib_group_run(PGconn *conn, uint64_t deadline_ns, enum qb_platlib_group_flag *flag, int64_t *id,
			 struct qb_err *err);

#endif
