/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a death costs, from its instant on: of a worker until its jobs are decided, of a parent until new workers
 * take work again.
 *
 * The instant is that of the record PROCESS_KILLED, written right before the signal: kills from outside have
 * none, and are not in here.  A worker whose parent was killed before its verdict is one of the parent's
 * children, who wait for its successor, and no sample.  Of parents of which the next is killed before anything is
 * picked up, the last one counts.  A pick-up counts where the job had waited before the new worker was
 * ready: otherwise it was the work that came late.
 */
#ifndef QB_STATS_DEATH_H
#define QB_STATS_DEATH_H

#include <stddef.h>
#include <stdint.h>

#include "record/load.h"

struct qb_samples {
	uint64_t *ns;                   /* malloc'ed */
	size_t count, cap;
};

struct qb_death_times {
	struct qb_samples verdict;      /* worker killed -> its jobs decided */
	struct qb_samples pickup;       /* parent killed -> first pick-up by a worker that began after it */
};

/* Append those of one run; start with zeros. 0 or -ENOMEM. */
int qb_death_times_add(struct qb_death_times *d, const struct qb_trace *trace);
void qb_death_times_free(struct qb_death_times *d);

/* 0 or -ENOMEM. */
int qb_samples_add(struct qb_samples *s, uint64_t ns);

#endif
