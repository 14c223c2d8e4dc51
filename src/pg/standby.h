/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server is this, and what of its log do its standby servers have?
 *
 * Lives in: the server; nothing is kept here.  Progress: blocks for one answer.
 */
#ifndef QB_PG_STANDBY_H
#define QB_PG_STANDBY_H

#include <libpq-fe.h>
#include <stdint.h>

#include "base/err.h"

struct qb_pg_where {
	uint64_t system_id;     /* of the cluster; a standby server and what became of it have the same. 0 = not to be known */
	uint32_t timeline;      /* grows with each promotion */
};

/* 0 or QB_EPG (also of a server in recovery: there is no writing to it). */
int qb_pg_where(PGconn *conn, struct qb_pg_where *out, struct qb_err *err);

struct qb_pg_standbys {
	uint64_t lsn;           /* whatever had committed when the question was put lies before it */
	uint64_t held_lsn;      /* that many standby servers have all before it on their disks; 0 = not that many */
	uint32_t count;         /* standby servers that are connected */
};

/*
 * Flushed, not replayed: a standby server replays all that it has before its promotion ends.  Logical
 * subscribers, pg_basebackup and pg_receivewal do not count: nobody can fail over to them.
 * 0; QB_EUSAGE when this user may not see it (needs pg_read_all_stats, which pg_monitor includes); QB_EPG.
 */
int qb_pg_standbys(PGconn *conn, uint32_t wanted, struct qb_pg_standbys *out, struct qb_err *err);

#endif
