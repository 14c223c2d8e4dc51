/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a failover: what was acknowledged and the new server does not have.
 *
 * Lives in: the syncer's process, between taking the epoch and the first batch; the sums in the segment (loss).
 * What a lost commit leaves is a prefix of the log, so a server is behind exactly when its batch number is behind
 * mark_batch.  Then the rows of all that is still in the segment are looked up, one by one: what is counted is what is
 * missing, never what may be.
 * Crash: the sums count each failover once, whenever the syncer is killed: they are a function of the sync words and the
 * rows, are published together with the epoch that was in force before, and the marks are lowered last.
 */
#ifndef QB_SYNC_REWIND_H
#define QB_SYNC_REWIND_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/segment.h"

struct qb_loss {
	uint64_t rewinds, accepted, changes, outcomes, events, gone_batches, gone;
};

/* The sums over the run. */
void qb_loss_read(const struct qb_seg *seg, struct qb_loss *out);

/* Durable acknowledgements that were lost and sent again. */
static inline uint64_t qb_loss_resent(const struct qb_loss *l)
{
	return l->accepted + l->changes + l->outcomes + l->events;
}

/*
 * The caller has the epoch of the run row, whose batch is below mark_batch.  Counts, says so (log), and puts
 * the sync words and event positions back to what the server has: the next batches send the rest
 * again.  *now: what this server lacked.  0, or negative and nothing changed.
 */
int qb_rewind(const struct qb_seg *seg, PGconn *conn, int64_t run_no, uint64_t batch, struct qb_loss *now,
	      struct qb_err *err);

#endif
