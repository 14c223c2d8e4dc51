/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault plan: who is killed when, fixed by the seed before the run, and its execution.
 *
 * The instants are uniform in the scenario's fault window.  A kill is a SIGKILL through a pidfd whose
 * identity was checked; its event is written right before, so that nothing that follows from it can
 * have an earlier record.  When no victim of the role is there yet (it is still being replaced) the kill waits.
 */
#ifndef QB_RUN_FAULTS_H
#define QB_RUN_FAULTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"
#include "shm/event.h"
#include "shm/segment.h"
#include "workload/scenario.h"

struct qb_faults {
	const struct qb_seg *seg;
	struct qb_event_writer *log;
	uint32_t victim;                /* enum qb_victim */
	struct qb_rng rng;
	uint64_t *at_ns;                /* ascending, from the start of the run */
	uint32_t *killed;               /* by seat: incarnation that was killed last; it may take a while to die */
	size_t count, done;
	uint64_t late_ns_max;           /* the longest that a kill waited for a victim */
};

/* f->seg and f->log are set. */
void qb_faults_plan(struct qb_faults *f, const struct qb_scenario *sc);
void qb_faults_free(struct qb_faults *f);

/* When the next kill is due, from the start; UINT64_MAX when there is none left. */
uint64_t qb_faults_next_ns(const struct qb_faults *f);

/* Do what is due at elapsed_ns. Returns the processes killed now. */
unsigned qb_faults_poll(struct qb_faults *f, uint64_t elapsed_ns);

#endif
