/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Postgres holds of a run of shm, against what was promised and reported: read after the end, when every process
 * of the run and its segment are gone, by somebody who shares no memory with them.
 *
 * The promises are the records JOB_ENQUEUED (the caller was told "accepted"), JOB_COMPLETED and JOB_DISCARDED,
 * JOB_AMBIGUOUS (the user was told "done or not?").  The truth is qbench.outcome, qbench.job and qbench.ledger.
 */
#ifndef QB_RUN_TRUTH_H
#define QB_RUN_TRUTH_H

#include <stdint.h>

#include "base/err.h"
#include "record/load.h"

struct qb_truth {
	uint64_t outcomes;              /* rows */
	uint64_t effects;               /* rows of the ledger */
	uint64_t lost;                  /* acknowledged, and Postgres has neither an outcome nor a parked job */
	uint64_t silent;                /* more than one effect, never reported as ambiguous */
	uint64_t wrong;                 /* another outcome than on record, or none; an outcome without a start; an
					 * ambiguous job that was never reported; a job that is live and finished */
	char first[160];                /* the first of them, in words; "" */
};

/* How the effects of a run can be counted. */
enum qb_truth_effects {
	QB_TRUTH_NOT_HERE,              /* they are words in the segment */
	QB_TRUTH_ROWS,                  /* rows of qbench.ledger; two only of a job that was reported */
	QB_TRUTH_EXACT,                 /* the same of transactional jobs: one row for each that is done, never two */
};

/*
 * drained: nothing was left to run when the run ended.
 * 0 with *out, whatever it found; QB_EPG; -ENOMEM.
 */
int qb_truth_of_run(const char *conninfo, const struct qb_trace *trace, int drained,
		    enum qb_truth_effects effects, struct qb_truth *out, struct qb_err *err);

#endif
