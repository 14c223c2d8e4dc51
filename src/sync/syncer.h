/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syncer: segment -> Postgres.
 *
 * One connection, one batch in flight; the next one gathers meanwhile and is sent when the commit
 * returns (group commit without a timer: a lone job pays one commit, load makes the batches larger).
 * New jobs, changes, outcomes and events of a batch are one statement, together with the
 * compare-and-swap of the run's (epoch, batch): see doc/sync.md.
 *
 * Progress: blocks on Postgres only. While Postgres is away the segment absorbs, until it is full;
 * then enqueue blocks. Nothing is dropped.
 * Crash: may be killed anywhere. Its successor takes a new epoch, which waits for a statement of the dead
 * one that is still running and shuts out one that comes later; then it looks at every word.
 */
#ifndef QB_SYNC_SYNCER_H
#define QB_SYNC_SYNCER_H

#include <stdint.h>

#include "base/err.h"
#include "shm/event.h"
#include "shm/segment.h"

struct qb_syncer;

/*
 * Allocates; does not connect. conninfo and log outlive it; log is the writer of that seat's ring (one writer
 * each!) and must drop and not wait, because its reader is this syncer. 0 or -ENOMEM.
 */
int qb_syncer_open(const struct qb_seg *seg, uint32_t seat, const char *conninfo, struct qb_event_writer *log,
		   struct qb_syncer **out);
void qb_syncer_close(struct qb_syncer *s);

/* Connect (again), take a new epoch, rescan the segment. One try. 0, or negative with err. */
int qb_syncer_connect(struct qb_syncer *s, struct qb_err *err);

/* One batch, if there is news (all: also a few events). Rows committed, 0 = no news, or negative: not connected any more. */
int qb_syncer_step(struct qb_syncer *s, int all, struct qb_err *err);

/* Nothing in the segment is newer than Postgres (events included). */
int qb_syncer_is_clean(struct qb_syncer *s);

/*
 * The process: until the segment says QB_STOP_FINISH and everything is durable, or QB_STOP_NOW. Reconnects
 * with backoff. Returns 0; QB_EPG when it was told to leave with news that is not durable; QB_EFENCED when
 * another syncer has taken the run over.
 */
int qb_syncer_main(struct qb_syncer *s);

#endif
