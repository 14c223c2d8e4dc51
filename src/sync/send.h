/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch as one statement, which does all of it or nothing.
 *
 * Lives in: the server; nothing is kept here.  Progress: blocks for the commit.
 * Crash: a statement that was sent may commit after its sender's death; the epoch shuts it out from then on.
 */
#ifndef QB_SYNC_SEND_H
#define QB_SYNC_SEND_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"
#include "sync/batch.h"

/* Once per connection, before the first batch. 0 or QB_EPG. */
int qb_batch_prepare(PGconn *conn, struct qb_err *err);

/*
 * Commit what was gathered, as batch batch_no + 1. *again: rows may be there already, so look; set when
 * they turned out to be.  0; QB_EFENCED: the epoch or the batch number has moved on, and nothing was done; QB_ETOOBIG; or
 * QB_EPG, QB_ETIMEOUT: nobody knows.
 */
int qb_batch_send(PGconn *conn, struct qb_batch *b, int64_t run_no, int64_t epoch, int64_t batch_no, int *again,
		  struct qb_err *err);

#endif
