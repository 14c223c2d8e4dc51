/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a cache on a queue did with the requests of several processes (base/cacheset.h): a row for each phase. Plain
 * values; part of struct qb_summary.
 *
 * Every request has one answer: hits + joined + executed + failed = requests, unanswered ones (of a run that broke off)
 * beside them. An execution is a run of the work that was begun and did not find the item there already; one that a kill
 * ended counts, too. Executions count in the row of the request that pushed the run.
 */
#ifndef QB_STATS_CACHETABLE_H
#define QB_STATS_CACHETABLE_H

#include <stdint.h>

#include "base/cacheset.h"
#include "stats/percentile.h"

struct qb_cache_row {
	uint64_t requests;              /* planned */
	uint64_t hits, joined, executed;                /* that got the item */
	uint64_t failed;                /* that did not, whatever their way: = the sum of faults[1..] */
	uint64_t unanswered;
	uint64_t from_memory;           /* of hits */
	uint64_t faults[QB_CACHE_FAULTS];               /* [QB_CACHE_OK]: hits + joined + executed */
	uint64_t stale;                 /* of faults[QB_CACHE_FAILURE]: the run that failed had ended before the request was made */
	uint64_t accepted;              /* requests whose push was accepted, failed ones too */
	uint64_t addresses;             /* that were asked for */
	uint64_t unmade;                /* of them, whose item was returned and of which there is no execution: must be 0 */
	uint64_t executions;            /* work begun and not found done */
	uint64_t interrupted;           /* of them, ended by a kill */
	uint64_t found;                 /* runs that found the item there and did nothing */
	uint64_t puts;
	uint64_t leaks;                 /* executions - interrupted beyond one for each address; not of failing */
	uint64_t executions_max;        /* of one address */
	uint64_t pushed_again;          /* requests that pushed more than once */
	uint64_t waits;                 /* requests that waited for work: joined or executed, failed ones too */
	uint64_t ticks;                 /* of waits, those of which a tick ended at least one */
	struct qb_percentiles way[QB_CACHE_WAYS];       /* time of the requests that got the item, by way */
	struct qb_percentiles fault;    /* of those that did not */
	/* In rounds: */
	uint64_t rounds, rounds_exact;  /* exact: one execution, beside those that a kill ended */
	struct qb_percentiles release;  /* of a round with a put: from the first put to the last answer */
	struct qb_percentiles released; /* of a caller that waited: from the put to its answer */
	/* In phases with kills: */
	uint64_t kills, again;          /* workers killed at work; their addresses that were executed again */
	struct qb_percentiles again_ns; /* from the kill to that */
};

struct qb_cache_table {
	struct qb_cacheset set;         /* zeros: the run was none of this kind */
	uint32_t processes;
	uint64_t deadline_ns;
	int stale_errors;               /* the trap was asked for */
	int faithful;                   /* the queue's cache has the weaknesses of the library, see run meta */
	struct qb_cache_row row[QB_CACHE_PHASES];
	struct qb_cache_row total;      /* counts only: no percentiles, maxima of the rows */
	uint64_t refused_and_run;       /* requests whose work was refused and yet begun: must be 0 */
};

/* Adds the counts of a row to those of another; percentiles stay, maxima are maxima. */
void qb_cache_row_add(struct qb_cache_row *sum, const struct qb_cache_row *row);

#endif
