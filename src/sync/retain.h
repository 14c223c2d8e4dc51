/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --replicas=N: what is committed stays in the segment until N standby servers have it, too.
 *
 * Lives in: the syncer's process.  A finished job keeps its slot, its events their places in the rings; a failover to
 * one of those servers then loses nothing that is not here.
 * Progress: asks the server at most once in QB_RETAIN_POLL_NS, and only while something is kept.
 * Crash: nothing is lost with this process: a slot that was not freed is sent again by the next syncer
 * (it is still DONE, FAILED or DEAD), an event that was not let go is read again.
 */
#ifndef QB_SYNC_RETAIN_H
#define QB_SYNC_RETAIN_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/segment.h"
#include "sync/batch.h"

#define QB_RETAIN_POLL_NS 5000000ull
/* Positions of the log that are told apart; beyond that several batches wait for the same one. */
#define QB_RETAIN_STEPS 64u

struct qb_retain_step {
	uint64_t batch, lsn;            /* all up to that batch lies before that position */
	uint64_t *events;               /* by seat: next event behind it */
};

struct qb_retain {
	const struct qb_seg *seg;
	uint32_t replicas;              /* 0: nothing is kept, and nothing below is used */
	uint64_t *word;                 /* by slot: the outcome that is kept */
	uint64_t *batch_no;             /* by slot: where it was committed */
	uint64_t *map;                  /* bit per slot that is kept */
	uint32_t kept;
	uint64_t last_batch;            /* the newest that is kept */
	struct qb_retain_step step[QB_RETAIN_STEPS];
	uint32_t first, count;          /* of step[], as a ring */
	uint64_t polled_ns, moved_ns;
	int warned;
};

int qb_retain_open(struct qb_retain *r, const struct qb_seg *seg);      /* 0 or -ENOMEM */
void qb_retain_close(struct qb_retain *r);

/* A new connection: everything that is kept will be sent again, and kept anew. */
void qb_retain_forget(struct qb_retain *r);

/* That batch is durable here, and so are the outcomes in it: qb_batch_done() has run. */
void qb_retain_add(struct qb_retain *r, const struct qb_batch *b, uint64_t batch_no);

/* Does anything wait for a standby server? */
static inline int qb_retain_waits(const struct qb_retain *r)
{
	return r->replicas > 0 && r->last_batch > 0;
}

/*
 * Ask, if it is time, and let go what N standby servers have. Jobs freed, or negative: as
 * qb_pg_standbys(). Warns once when no server comes nearer for a second.
 */
int qb_retain_poll(struct qb_retain *r, struct qb_batch *b, PGconn *conn, struct qb_err *err);

#endif
