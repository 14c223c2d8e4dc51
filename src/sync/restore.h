/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Postgres -> a new segment, when the one of a run is lost with its host.
 *
 *   open    find the run; make sure that no syncer of it is connected
 *   take    begin the run's next life: what earlier lives still send is refused, and what runs is waited for
 *   load    its live jobs into a new segment
 *   publish the segment may make things durable
 *
 * What it rests on: an accepted job is a row of qbench.job until the batch that inserts its outcome deletes it.  So
 * the two tables together hold every job whose acceptance was durable, once.
 * Crash: killed before take commits, nothing happened; after it, the next one begins one more life.  A segment that
 * was not published belongs to no life: its syncer would be fenced.
 * See doc/sync.md and shm/restore.h.
 */
#ifndef QB_SYNC_RESTORE_H
#define QB_SYNC_RESTORE_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "shm/restore.h"
#include "shm/segment.h"

struct qb_restore {
	PGconn *conn;
	char run_id[96];
	int64_t run_no;
	uint64_t epoch;                 /* as it was found; after take: the first of the new life */
	uint32_t life;                  /* the same */
	void *meta;                     /* description of the run, malloc'ed */
	size_t meta_bytes;
	/* After take: what there is to load, and what need not be. */
	uint64_t jobs, payload_blocks;  /* blocks of the data size that take was given */
	uint64_t finished;              /* outcomes that are durable */
	/* After load. */
	uint64_t how[QB_RESTORED_COUNT];
};

/*
 * Find the run, and keep its syncers away. Nothing is changed. 0; QB_EUSAGE: there is no such run, or it has ended, or it has
 * no description (the text names the runs that are unfinished); QB_EBUSY: a syncer of it is connected; QB_EVERSION;
 * QB_EPG. r is to be closed in any case.
 */
int qb_restore_open(struct qb_restore *r, const char *conninfo, const char *run_id, struct qb_err *err);

/* Begin the next life. block_data_bytes is for the count of blocks. 0; QB_ETOOBIG: it had too many; QB_EPG. */
int qb_restore_take(struct qb_restore *r, uint32_t block_data_bytes, struct qb_err *err);

/*
 * All live jobs into a new segment, which nobody else has attached, and its index of keys made anew: those that have a key
 * hold it, two also where two rows have the same one. 0; QB_ETOOBIG; QB_ECORRUPT; QB_EPG; QB_EINTR when *stop.
 */
int qb_restore_load(struct qb_restore *r, const struct qb_seg *seg, const volatile int *stop, struct qb_err *err);

/* The segment is of the run's present life from here on. */
void qb_restore_publish(const struct qb_restore *r, const struct qb_seg *seg);

/* Lets syncers in. */
void qb_restore_close(struct qb_restore *r);

/*
 * Is that segment of the run's present life? 0; QB_EFENCED: the run was rebuilt from Postgres since, and what this
 * segment holds is evidence; QB_EPG.
 */
int qb_restore_is_current(const char *conninfo, const struct qb_seg *seg, struct qb_err *err);

/*
 * The runs of that database that have not ended, newest first, in one line; "" when there are none.
 * 0, or QB_EPG.
 */
int qb_restore_list(PGconn *conn, struct qb_strbuf *out, struct qb_err *err);

#endif
