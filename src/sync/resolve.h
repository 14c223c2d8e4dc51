/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs in doubt: transactional ones whose worker died after it had started them.  Postgres knows whether the
 * effect happened; the syncer asks, and no job stays ambiguous.
 *
 * Lives in: the syncer's process; nothing of it is in the segment.  One statement for many jobs puts a fence
 * behind each attempt and returns what was there: it waits for a transaction of a dead worker that is
 * still running, and shuts out one that comes later.  Only when the fence has committed is the answer final,
 * and only then does the word change: DONE with the result that was stored, or READY for the next attempt.
 *
 * Progress: a transaction that does not end holds up its own job and, for LOCK_TIMEOUT at a time, the
 * batches.  While Postgres is away jobs stay in doubt.
 * Crash: killed anywhere the word is ambiguous as before, and the next syncer asks again (the same fence twice
 * is one fence), or it is resolved.  A fence set by a zombie shuts out only attempts that are over:
 * see doc/effects.md.
 */
#ifndef QB_SYNC_RESOLVE_H
#define QB_SYNC_RESOLVE_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"
#include "pg/array.h"
#include "shm/event.h"
#include "shm/segment.h"

#define QB_RESOLVE_MAX 256      /* jobs of one statement */

struct qb_resolve_job {
	uint64_t job_id;
	uint64_t word;          /* ambiguous, as it was read */
	uint32_t slot_idx;
};

struct qb_resolve {
	const struct qb_seg *seg;
	uint32_t seat;
	struct qb_event_writer *log;
	uint64_t *pending;              /* bit per slot: in doubt, as far as we know */
	uint32_t pending_count;
	uint32_t first_slot, next_slot; /* where this statement began, and the next one will: nobody starves */
	uint32_t limit;                 /* jobs of the next statement: fewer after one that was held up */
	uint64_t due_ns;                /* not before */
	uint64_t cramped_ns;            /* since when there is no room for their events, 0 = there is */
	uint64_t held_up_ns;            /* since when a statement has not come through, 0 = it has */
	uint32_t jobs_count;
	struct qb_resolve_job jobs[QB_RESOLVE_MAX];
	struct qb_pg_array ids, attempts;
};

/* log is the syncer's own. 0 or -ENOMEM. */
int qb_resolve_open(struct qb_resolve *r, const struct qb_seg *seg, uint32_t seat, struct qb_event_writer *log);
void qb_resolve_close(struct qb_resolve *r);

/* The statement below, once per connection. 0 or QB_EPG. */
int qb_resolve_prepare(PGconn *conn, struct qb_err *err);

/* Is a job with that word in doubt? Then it is remembered here, and is not for the batch. */
int qb_resolve_takes(struct qb_resolve *r, uint32_t slot_idx, uint64_t word);

/* Are there some to be asked about now? */
int qb_resolve_is_due(const struct qb_resolve *r);

/*
 * Ask about as many as are due. Returns how many words changed, 0 also when none is due or a transaction still
 * runs; QB_EFENCED when another syncer has the run; or negative when the connection is to be made anew.
 */
int qb_resolve_step(struct qb_resolve *r, PGconn *conn, int64_t run_no, int64_t epoch, struct qb_err *err);

#endif
