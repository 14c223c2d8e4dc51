/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault plan: who is killed when, fixed by the seed before the run, and its execution.
 *
 * The instants are uniform in the scenario's fault window.  A kill is a SIGKILL through a pidfd whose
 * identity was checked; its event is written right before, so that nothing that follows from it can
 * have an earlier record.  When no victim of the role is there yet (it is still being replaced) the kill waits,
 * and those behind it do not.
 *
 * "stop" is no kill: SIGSTOP, and SIGCONT after a time that the seed decides, to that process and no other.
 * What it held stays held meanwhile: nobody acts on a time-out, and whoever kills it (a kill of the plan, the
 * death of its parent, a take-over) makes the late SIGCONT harmless.  "postgres" is the postmaster of the
 * private server, killed and started again by server.c.  Both are on record as VERDICT events.
 *
 * With "any" each kill draws its own victim: at least every tenth a parent, and after every third of those
 * another one right behind, which dies while it takes over.  Any other parent is killed when a worker of its
 * serves, or nothing would ever be done, but does not wait for that too long; another kill that waits too long for its
 * victim hits a worker.
 */
#ifndef QB_RUN_FAULTS_H
#define QB_RUN_FAULTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/rng.h"
#include "shm/event.h"
#include "shm/segment.h"
#include "workload/scenario.h"

struct qb_server;

struct qb_fault {
	uint64_t at_ns;                 /* from the start of the run */
	uint64_t hold_ns;               /* stop: how long */
	uint32_t victim;                /* enum qb_victim, never ANY */
	uint32_t early;                 /* parent: also one that has not taken over yet */
	uint32_t was;                   /* place in the plan before sorting */
	uint32_t done;
};

/* A process that was stopped and is to go on. */
struct qb_stopped {
	int pidfd;
	uint32_t seat, pid;
	uint64_t go_on_ns, number;
};

struct qb_faults {
	const struct qb_seg *seg;
	struct qb_event_writer *log;
	struct qb_server *server;
	int has_syncer;                 /* this queue */
	int any;                        /* victims are drawn */
	struct qb_rng rng;
	struct qb_fault *fault;         /* ascending by time */
	uint32_t *killed;               /* by seat: incarnation that was killed last; it may take a while to die */
	size_t count, done, first;      /* first: all before it are done */
	struct qb_stopped *stopped;
	size_t stopped_count;
	pid_t parent;                   /* the last parent that was killed */
	unsigned stops, server_kills;
	uint64_t server_down_ns;        /* since when the server has been away; 0: it is not */
	uint64_t server_number;
	uint64_t late_ns_max;           /* the longest that a kill waited for a victim */
};

/* f->seg, f->log, f->server and f->has_syncer are set. */
void qb_faults_plan(struct qb_faults *f, const struct qb_scenario *sc);
/* Whoever is still stopped goes on. */
void qb_faults_free(struct qb_faults *f);

/* When something is due next, from the start; UINT64_MAX when there is nothing left. */
uint64_t qb_faults_next_ns(const struct qb_faults *f);

/* Do what is due at elapsed_ns. Returns the processes killed or stopped now. */
unsigned qb_faults_poll(struct qb_faults *f, uint64_t elapsed_ns);

/* Outside the plan: SIGKILL to the process in that seat, on record as a kill of the plan. 1 when there was one. */
int qb_faults_kill_now(struct qb_faults *f, uint32_t seat, uint32_t role);

/* The end of the run: whoever is stopped goes on now. */
void qb_faults_go_on(struct qb_faults *f);

#endif
