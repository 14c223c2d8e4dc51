/* SPDX-License-Identifier: Apache-2.0 */
/* The Postgres of a run, seen by the driver; what the command line needs of it is in run.h. */
#ifndef QB_RUN_SERVER_H
#define QB_RUN_SERVER_H

#include <stdint.h>
#include <sys/types.h>

#include "run/run.h"

uint64_t qb_server_cluster_id(const struct qb_server *s);       /* 0 = not known */
pid_t qb_server_pid(const struct qb_server *s);                 /* of a private one, else 0 */

/* Is there a run of that name in its tables? 0 also when it cannot be asked. */
int qb_server_knows_run(struct qb_server *s, const char *run_id);

/* WAL position in bytes and committed transactions so far. 0, or QB_EPG when the server cannot be asked. */
int qb_server_load(struct qb_server *s, uint64_t *wal_bytes, uint64_t *commits);

#endif
