/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schema "qbench": created and versioned by us.
 *
 *   meta     one row: the version of these tables
 *   run      one row per run: its number, and the fence of its syncer (epoch, batch)
 *   job      live jobs only: inserted when accepted, deleted when finished
 *   outcome  one row per finished job, append-only
 *   event    the flight recorder, append-only
 *   effect   transactional jobs: the fence against late workers, and the done-mark with its result
 *   ledger   one row per side effect that happened, without a key: two rows are two effects
 */
#ifndef QB_SYNC_SCHEMA_H
#define QB_SYNC_SCHEMA_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"

#define QB_SCHEMA_VERSION 3

/*
 * Make the schema exist in this version; several processes may do so at once. 0; QB_EVERSION when a
 * newer qbench made it, and then nothing was changed; QB_EPG.
 */
int qb_schema_install(PGconn *conn, struct qb_err *err);

/* Remove the rows of runs that have ended (or are a week old), but not of that one. 0 or QB_EPG. */
int qb_schema_prune(PGconn *conn, const char *run_id, struct qb_err *err);

/* Number of the run, registered if it is new. 0 or QB_EPG. */
int qb_schema_run(PGconn *conn, const char *run_id, int64_t *run_no, struct qb_err *err);

/* 1 when a run of that name is registered, 0, or QB_EPG. */
int qb_schema_run_is_known(PGconn *conn, const char *run_id, struct qb_err *err);

/*
 * Register a run that begins now, with its description (packed; 0 bytes: none): what a new segment is made from
 * when this one is lost. 0; QB_EBUSY when there is one of that name; QB_EPG.
 */
int qb_schema_run_begin(PGconn *conn, const char *run_id, const void *meta, size_t meta_bytes, struct qb_err *err);

/*
 * Be at work on the run, until the connection ends: as one of its syncers, or alone, to take it over. 1; 0: another
 * session is in the way (alone: *holder, if not NULL, is the server process of one of them); QB_EPG. Never waits.
 */
int qb_schema_run_attend(PGconn *conn, int64_t run_no, int alone, int64_t *holder, struct qb_err *err);

/* The run is over: its rows may go when the next one begins. */
int qb_schema_run_ended(PGconn *conn, const char *run_id, struct qb_err *err);

/* System identifier of the cluster: the same as in pg_controldata. */
int qb_schema_cluster_id(PGconn *conn, uint64_t *id, struct qb_err *err);

#endif
