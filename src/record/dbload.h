/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run cost its database: the difference of two readings of the server's own counters, one before the first
 * session of the run and one after its last.  doc/method.md says how exact it is.
 *
 * Lives in: the record, with what became of the jobs (see ends.h).
 */
#ifndef QB_RECORD_DBLOAD_H
#define QB_RECORD_DBLOAD_H

#include <stdint.h>

/* The server could not be asked, or it crashed in between and counts from nothing again. Never shown as 0. */
#define QB_NOT_KNOWN UINT64_MAX

struct qb_db_load {
	uint64_t commits, rollbacks;            /* transactions of every session of the run */
	uint64_t inserted, updated, deleted;    /* tuples, those of rolled back transactions among them */
	uint64_t dead_left;                     /* dead tuples that no vacuum and no pruning has removed by the end */
	uint64_t vacuums;                       /* of tables, meanwhile */
	uint64_t wal_bytes;                     /* of the whole server; a crash does not lose count of it */
	uint64_t statements;                    /* as pg_stat_statements counts; begin and commit are some, too */
	/* Other sessions in that database, which are counted as well; 0 and a server that publishes at once: exact. */
	uint64_t strangers;
	uint64_t delayed;                       /* 1: the server publishes counts with a delay (before 15) */
};

static inline struct qb_db_load qb_db_load_unknown(void)
{
	return (struct qb_db_load){
		.commits = QB_NOT_KNOWN, .rollbacks = QB_NOT_KNOWN, .inserted = QB_NOT_KNOWN, .updated = QB_NOT_KNOWN,
		.deleted = QB_NOT_KNOWN, .dead_left = QB_NOT_KNOWN, .vacuums = QB_NOT_KNOWN, .wal_bytes = QB_NOT_KNOWN,
		.statements = QB_NOT_KNOWN, .strangers = QB_NOT_KNOWN, .delayed = QB_NOT_KNOWN,
	};
}

/* Commits and rollbacks, or QB_NOT_KNOWN. */
static inline uint64_t qb_db_load_transactions(const struct qb_db_load *l)
{
	return l->commits == QB_NOT_KNOWN || l->rollbacks == QB_NOT_KNOWN ? QB_NOT_KNOWN : l->commits + l->rollbacks;
}

#endif
