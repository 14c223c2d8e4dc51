/* SPDX-License-Identifier: Apache-2.0 */
/* The Postgres of a run, seen by the driver; what the command line needs of it is in run.h. */
#ifndef QB_RUN_SERVER_H
#define QB_RUN_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "pg/stats.h"
#include "run/run.h"

uint64_t qb_server_cluster_id(const struct qb_server *s);       /* 0 = not known */
pid_t qb_server_pid(const struct qb_server *s);                 /* of a private one, else 0 */

/*
 * SIGKILL for the postmaster of a private server, and a new one on the same data as soon as Postgres lets it
 * start (orphan backends may be in the way). By a thread of its own: returns at once. 0; QB_EBUSY while it is away
 * already; QB_EUSAGE when it is not ours; -errno.
 */
int qb_server_kill(struct qb_server *s);
/* From the kill until it serves again, or does not. Its process and orphans are not to be collected meanwhile. */
int qb_server_is_away(struct qb_server *s);
/* It was killed and did not come back: its code, with err. 0 otherwise. */
int qb_server_failed(struct qb_server *s, struct qb_err *err);

/* Is there a run of that name in its tables? 0 also when it cannot be asked. */
int qb_server_knows_run(struct qb_server *s, const char *run_id);

/*
 * The counters of its database when every session but the driver's has ended, as far as that is waited for: three
 * seconds for those of ours, less for others. 0, or QB_EPG when the server cannot be asked.
 */
int qb_server_stats(struct qb_server *s, struct qb_pg_stats *out);

#endif
