/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue did with the same keys asked for by several processes (base/keyset.h): a row for each phase. Plain
 * values; part of struct qb_summary.
 *
 * An execution is an effect of the job: the effect words or rows, the ground truth; where nobody could read them at
 * the end, a completion on record.  It counts in the row of the request that was accepted, whenever it ran.
 */
#ifndef QB_STATS_KEYTABLE_H
#define QB_STATS_KEYTABLE_H

#include <stdint.h>

#include "base/keyset.h"

struct qb_key_row {
	uint64_t requests;              /* = accepted + refused + errors + unanswered */
	uint64_t accepted, refused, errors, unanswered;
	uint64_t accepted_keys;         /* of which at least one request was accepted */
	uint64_t accepted_max;          /* requests of one key */
	uint64_t executions;            /* of what was accepted in this row */
	uint64_t executed_keys, executed_max;
	uint64_t unfinished_keys;       /* accepted, without an execution, and not finished (lost ones too) */
	uint64_t spread_ns_median, spread_ns_max;       /* of a key: from its first request to its last */
};

struct qb_key_table {
	struct qb_keyset set;           /* zeros: the run was none of this kind */
	struct qb_key_row row[QB_KEY_PHASES];
	/* The last row's keys: what became of the jobs that had them before. */
	uint64_t holders;               /* jobs */
	uint64_t killed;                /* of them, whose worker was killed while it ran them */
	uint64_t again;                 /* of those, run again after the kill */
	uint64_t holder_executions;     /* of all holders */
	uint64_t blocked;               /* keys of killed holders: not run again, and all requests were refused */
	uint64_t overlapped;            /* keys of killed holders of which another job was accepted: two jobs, one key */
	uint64_t again_ns_median, again_ns_max; /* from the kill to the next start; of those that ran again */
	uint64_t watch_ns_min, watch_ns_max;    /* how long the others were watched */
	uint64_t out_of_phase;          /* requests made while their key was not as the phase says: must be 0 */
	uint64_t refused_and_run;       /* jobs that were refused and yet begun or executed: must be 0 */
};

#endif
