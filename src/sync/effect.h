/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Effects that are rows in Postgres: qbench.ledger has one for each side effect that happened, without a
 * key, so that two rows are two effects.  Shared by the queues that make them and by whoever counts.
 * qbench.effect has the done-mark of a transactional job, and the fence that sync/resolve.h puts there.
 *
 * Lives in: the worker's process, on a connection of its own (pgtx: on the one of the job's transaction).
 * Crash: a row is there or not, as its transaction committed or not; a dead client's COMMIT that the server
 * has read goes on without it.  See doc/effects.md.
 */
#ifndef QB_SYNC_EFFECT_H
#define QB_SYNC_EFFECT_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"

/* Which attempt of which job has the effect, and who makes it. */
struct qb_attempt {
	int64_t run_no;
	uint64_t job_id;
	uint32_t attempt;               /* 1-based */
	uint32_t seat;
};

/* The statements below, once per connection. 0 or QB_EPG. */
int qb_effect_prepare(PGconn *conn, struct qb_err *err);

/*
 * The effect happens: in the transaction that is open, or else in one of its own.  0, or negative: after an
 * error with the connection still good it did not happen; with the connection lost, and no transaction open
 * around it, nobody knows.
 */
int qb_effect_record(PGconn *conn, const struct qb_attempt *a, struct qb_err *err);

/*
 * The effect of a transactional job happens, with its done-mark and its result, in one transaction of its own.
 * The mark comes first: it takes the row that the fence of a resolver needs, and is refused behind that fence.
 *
 * 0: done, now; or done before, by this attempt or another one: then *stored is the result that was marked
 * (malloc'ed, maybe of 0 bytes), and NULL otherwise.
 * QB_EFENCED: this attempt is over, nothing was done.  Negative: with the connection still good nothing was
 * done; with the connection lost nobody knows, and to call it again for the same attempt is safe.
 */
int qb_effect_make(PGconn *conn, const struct qb_attempt *a, const void *result, uint32_t bytes, void **stored,
		   uint32_t *stored_bytes, struct qb_err *err);

/*
 * fn for each job of the run that has had an effect, once, with how often. 0 or negative. Waits for the
 * transactions that are about to add to the ledger: a backend may outlive its client.
 */
typedef void (*qb_effect_fn)(void *ctx, uint64_t job_id, uint64_t effects);
int qb_effect_counts(PGconn *conn, const char *run_id, qb_effect_fn fn, void *ctx, struct qb_err *err);

#endif
