/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own counters: what the sessions of the current database did since its statistics began.
 *
 * A session publishes its counts when it ends, before it vanishes from the list of sessions; else at most once a
 * second and, idle, up to ten seconds late (Postgres 15; its predecessors pass them through a collector, which answers
 * half a second late).  So two readings tell exactly what was done between them when no other session is there at
 * either.
 */
#ifndef QB_PG_STATS_H
#define QB_PG_STATS_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"

struct qb_pg_stats {
	int64_t commits_count;
	int64_t rollbacks_count;
	int64_t inserted_count;
	int64_t updated_count;
	int64_t deleted_count;
	int64_t dead_count;             /* dead tuples that are there now, of all tables but the catalogs */
	int64_t vacuums_count;
	int64_t statements_count;       /* -1: no pg_stat_statements */
	int64_t wal_bytes;              /* position in the log of the whole server */
	int64_t strangers_count;        /* other sessions of clients in this database, now */
	int64_t own_count;              /* statements of this connection among the above, each a transaction */
	int delayed;                    /* the server publishes late */
	char life[128];                 /* two readings compare only when it is the same: a crash begins a new one */
};

struct qb_pg_sessions {
	int64_t ours;                   /* whose application_name begins with "qbench", but for this one */
	int64_t strangers;
};

/* own counts the statements sent so far on conn; the caller begins with 0 at the connect. 0 or QB_EPG, QB_ECORRUPT ... */
int qb_pg_stats_read(PGconn *conn, int64_t *own, struct qb_pg_stats *out, struct qb_err *err);
int qb_pg_sessions_read(PGconn *conn, int64_t *own, struct qb_pg_sessions *out, struct qb_err *err);

#endif
