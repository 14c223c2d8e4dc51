/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people do to queues and jobs that are there: pause and resume, cancel, retry; and how clients hear of
 * it.  Each function is one transaction; the notification arrives when it has committed.
 *
 * Lives in: the tables, and channel SCHEMA.river_control.  Any process with a connection of its own.
 */
#ifndef QB_QUEUE_RIVER_CONTROL_H
#define QB_QUEUE_RIVER_CONTROL_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"
#include "queue/river.h"

/* A job's state has a name of at most that, NUL included. */
#define QB_RIVER_STATE_BYTES 16

/*
 * queue is a name, or RIVER_ALL_QUEUES. Paused: nobody fetches from it, what runs goes on. Pausing twice keeps the
 * first time. 0; -ENOENT: no queue of that name; QB_EPG.
 */
int qb_river_queue_pause(PGconn *conn, const char *schema, const char *queue, struct qb_err *err);
int qb_river_queue_resume(PGconn *conn, const char *schema, const char *queue, struct qb_err *err);

/* Replaces the queue's metadata (a JSON object), and tells the clients. As above. */
int qb_river_queue_set_metadata(PGconn *conn, const char *schema, const char *queue, const char *metadata,
				struct qb_err *err);

/*
 * JobCancel: a job that is neither running nor over is cancelled at once; a running one is marked and its client told,
 * and becomes cancelled when its attempt ends without success, or is rescued; one that is over stays. state: of the
 * job now. 0; -ENOENT; QB_EPG.
 */
int qb_river_job_cancel(PGconn *conn, const char *schema, int64_t id, char state[QB_RIVER_STATE_BYTES],
			struct qb_err *err);

/*
 * JobRetry: any job that is not running becomes available now, with another attempt if it had used all of them;
 * one that is available already keeps its place. As above.
 */
int qb_river_job_retry(PGconn *conn, const char *schema, int64_t id, char state[QB_RIVER_STATE_BYTES],
		       struct qb_err *err);

/* Whoever leads resigns, and may be elected again. 0 or QB_EPG. */
int qb_river_request_resign(PGconn *conn, const char *schema, const char *client_id, struct qb_err *err);

/* A notification of the control topic has come: does what it says. Payloads that say nothing are passed over. */
void qb_river_control_handle(const struct qb_river_client *c, const char *payload);

#endif
