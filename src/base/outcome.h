/* SPDX-License-Identifier: Apache-2.0 */
/* Where a job is at the end of a run: the word that queue, record and statistics share. */
#ifndef QB_BASE_OUTCOME_H
#define QB_BASE_OUTCOME_H

enum qb_outcome {
	QB_OUTCOME_NONE = 0,            /* the queue knows no such job (any more) */
	QB_OUTCOME_QUEUED,              /* waits for a worker */
	QB_OUTCOME_WAITING,             /* waits for its next attempt */
	QB_OUTCOME_HELD,                /* a worker has it, or had it when it died */
	QB_OUTCOME_COMPLETED,
	QB_OUTCOME_DISCARDED,           /* failed for good */
	QB_OUTCOME_AMBIGUOUS,           /* parked for a person to decide */
	QB_OUTCOME_COUNT,
};

static inline const char *qb_outcome_name(unsigned outcome)
{
	static const char *const names[QB_OUTCOME_COUNT] = {
		"unknown", "queued", "waiting", "held", "completed", "discarded", "ambiguous",
	};

	return outcome < QB_OUTCOME_COUNT ? names[outcome] : "?";
}

#endif
