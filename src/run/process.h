/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes under the driver: how each begins, and what it does when another one goes away.
 *
 *               driver dies        parent dies          syncer dies      Postgres goes
 *   parent      SIGTERM by the     -                    recovers its     notices nothing:
 *               kernel: ends all,                       seat, starts     never talks to it
 *               leaves                                  a new one
 *   syncer      as its parent      SIGKILL by the       -                reconnects with
 *                                  kernel                                backoff
 *   worker      as its parent      SIGKILL by the       goes on; waits   shm: goes on; pgtx:
 *                                  kernel               when its event   reopens with backoff
 *                                                       ring is full
 *   standby     as its parent      SIGKILL by the       nothing          as worker, once
 *                                  kernel                                it has the go
 *   driver      -                  starts a successor,  enqueues until   shm: enqueues until
 *                                  which takes over     the segment is   full, then waits;
 *                                                       full, then waits pgtx: counts failures
 *
 * The same table with the tests that hold it is in doc/processes.md.
 */
#ifndef QB_RUN_PROCESS_H
#define QB_RUN_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "shm/event.h"
#include "shm/segment.h"

struct qb_process {
	const struct qb_seg *seg;
	uint32_t seat;
	uint32_t incarnation;
	uint32_t role;                  /* enum qb_role at birth */
	pid_t parent;
	const char *conninfo;
	struct qb_event_writer log;
};

/*
 * First thing in a forked child: dies with its parent, closes every other descriptor, takes its seat,
 * faults its memory in. 0, or QB_EFENCED: leave without touching the segment.
 */
int qb_process_begin(struct qb_process *p);

/* Record PROCESS_READY under that role and stamp the seat. */
void qb_process_ready(struct qb_process *p, uint32_t role);

/* Write one PROCESS event; seat is the one that it is about. */
void qb_process_note(struct qb_event_writer *log, uint16_t type, uint32_t role, uint32_t seat, uint64_t arg0,
		     uint64_t arg1);

/* With --enable-fault-points: arms QBENCH_FAULT in processes of the role that QBENCH_FAULT_ROLE names (default worker). */
void qb_process_arm_faults(uint32_t role);

/* The loop of a worker (or of a standby until its go, then of a worker). Returns the exit status. */
int qb_worker_main(struct qb_process *p);

/* The syncer process. */
int qb_syncer_process_main(struct qb_process *p);

/* The environment variable in which a parent is handed the conninfo: not on a command line, where others could read it. */
#define QB_CONNINFO_ENV "QBENCH_INTERNAL_CONNINFO"
/* And the settings of the queue. */
#define QB_OPTIONS_ENV "QBENCH_INTERNAL_QUEUE_OPTIONS"

#endif
