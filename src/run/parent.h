/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent of the system under test: starts processes, sees them die, decides their jobs, starts
 * others. Small on purpose (a fork from a fat process takes milliseconds); never touches a payload,
 * never talks to Postgres.
 *
 * One parent at a time: it holds a lock on the segment file, which the kernel drops at its death and
 * which forked children do not inherit. A parent that finds processes of an earlier one takes over.
 */
#ifndef QB_RUN_PARENT_H
#define QB_RUN_PARENT_H

#include "base/err.h"
#include "shm/segment.h"

/* Parent in this process, on an attached segment, until it was told to stop. 0, or negative with err. */
int qb_parent_run(struct qb_seg *seg, const char *conninfo, struct qb_err *err);

#endif
