/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run adds up to: every number that a report shows, computed from the trace of one run of
 * one library and from what the queue said at the end. Plain values; nothing to free.
 *
 * Definitions (doc/method.md says the same at length):
 *   acknowledged      jobs whose enqueue was acknowledged
 *   completed         jobs with at least one completion, logged by a worker or told by the queue
 *   discarded         jobs that failed for good
 *   duplicates        jobs with more than one completion
 *   repeated_starts   jobs with a start that no recorded failure of the attempt before explains
 *   repeated_effects  jobs whose effect happened more than once (effect words: the ground truth)
 *   silent_effects    of those, jobs that were never reported as ambiguous: must be 0 for a queue
 *                     that reports; for a queue that reports nothing this equals repeated_effects
 *   ambiguous         jobs that a process had started when it died, with no outcome on record
 *   in_doubt          attempts of which the same was true until Postgres was asked (transactional jobs)
 *   lost              acknowledged, and at the end neither finished nor in the queue
 *   stranded          at the end still held by a process that is dead
 *   results_lost      completions on record that the queue did not keep: the job was begun again after
 *                     it, or is not finished at the end
 *   fenced            completions that came too late and were refused
 */
#ifndef QB_STATS_SUMMARY_H
#define QB_STATS_SUMMARY_H

#include <stdint.h>

#include "base/err.h"
#include "base/outcome.h"
#include "record/ends.h"
#include "record/load.h"
#include "record/meta.h"
#include "stats/backlog.h"
#include "stats/cachetable.h"
#include "stats/keytable.h"
#include "stats/percentile.h"
#include "stats/retry.h"
#include "stats/share.h"

/*
 * Time to resume: from a kill to the first pick-up (job_started) of a job of that class by a
 * process that began to serve after the kill (for jobs of the victim's: by any process).  One sample per
 * kill; a kill without jobs of a class gives none; one whose jobs were not picked up by the end of
 * the watch is censored: counted, and its time is "> watch", never 0 and never left out.  Where the
 * processes that the kill spared took every job of the class before a new one could, nothing had
 * to resume: counted in by_survivors.  kills = ns.count + censored + by_survivors.
 */
enum qb_resume_class {
	QB_RESUME_NEVER_STARTED,        /* enqueued before the kill, not started by then */
	QB_RESUME_IN_FLIGHT_FIRST,      /* held by the victim: the first of them that ran again */
	QB_RESUME_IN_FLIGHT_LAST,       /* the last of them that ran again */
	QB_RESUME_RETRY_WAITING,        /* had failed, waited for its next attempt */
	QB_RESUME_ENQUEUED_AFTER,       /* enqueued after the victim's successor was ready */
	QB_RESUME_UNRECORDED,           /* completed by the victim, not kept by the queue: begun again */
	QB_RESUME_CLASS_COUNT,
};

#define QB_BEYOND_WATCH UINT64_MAX

struct qb_resume {
	uint64_t kills;                 /* kills that had jobs of the class */
	uint64_t censored;
	uint64_t by_survivors;
	uint64_t watch_ns_min, watch_ns_max;    /* how long the censored ones were watched */
	/*
	 * Nearest rank over the resumed and the censored together, a censored one being longer than
	 * any; QB_BEYOND_WATCH when the rank falls on a censored one, 0 when there are none at all.
	 */
	uint64_t median_ns, p95_ns, max_ns;
	struct qb_percentiles ns;       /* of those that resumed */
};

struct qb_identity {
	char name[112];                 /* "acknowledged = completed + ...": left, then right */
	int64_t left, right;
	int holds;
};
#define QB_IDENTITIES_MAX 48

struct qb_summary {
	char run_id[96], lib[96], scenario[64];
	uint64_t planned, submitted, acknowledged, enqueue_failed;
	uint64_t refused;                       /* another job with the same unique key was there */
	uint64_t unacknowledged;                /* submitted, neither acknowledged nor refused */
	uint64_t unacknowledged_known;          /* not acknowledged, and yet the queue had them */
	uint64_t completed, completions, failed_attempts, discarded;
	uint64_t starts;                        /* attempts that began */
	uint64_t duplicates, repeated_starts, repeated_effects, silent_effects;
	uint64_t ambiguous, ambiguous_parked, requeued, fenced;
	uint64_t ambiguous_attempts;            /* one job can be ambiguous after several kills */
	uint64_t in_doubt;                      /* attempts; not ambiguous once they are found done or not done */
	uint64_t in_doubt_done, in_doubt_undone;
	uint64_t ambiguous_gone;                /* effect happened, queue forgot the job */
	uint64_t abandoned;                     /* begun again while its process lived */
	uint64_t unfinished;                    /* attempts still under way at the end */
	uint64_t queued, waiting, held;         /* at the end */
	uint64_t unknown_end;                   /* not finished, and nobody asked the queue */
	uint64_t lost, stranded;
	uint64_t results_lost;
	uint64_t results_lost_alive;            /* of them, though their worker lived on */
	uint64_t result_age_ns_max;             /* from such a completion to its worker's death: the longest */
	uint64_t duplicates_unrecorded;         /* duplicates that lost results explain */
	uint64_t given_up;                      /* discarded, and their last attempt had died with its worker */
	uint64_t kills, kills_by_role[8];       /* by the fault plan; enum qb_role */
	uint64_t stops, server_kills;           /* by the fault plan, beside the kills */
	uint64_t deaths_unplanned, takeovers;
	uint64_t failovers_behind;              /* to a server that lacked something that was durable */
	uint64_t failover_resent;               /* acknowledged rows that it lacked, sent again */
	uint64_t failover_gone_batches;         /* that it lacked, and of which nothing was kept */
	uint64_t failover_gone;                 /* outcomes in them, at least: lost for good */
	uint64_t events, events_dropped;
	struct qb_key_table keys;               /* of a run on unique keys */
	struct qb_cache_table cache;            /* of a run on a cache */
	struct qb_resume resume[QB_RESUME_CLASS_COUNT];
	struct qb_resume sync_resume;           /* syncer killed -> first commit after */
	struct qb_percentiles spawn;            /* kill -> successor ready to serve */
	struct qb_percentiles verdict;          /* death noticed -> its jobs decided */
	struct qb_percentiles death_verdict;    /* worker killed -> its jobs decided; see death.h */
	struct qb_percentiles death_pickup;     /* parent killed -> first pick-up by a new worker */
	struct qb_percentiles pickup;           /* intended enqueue -> first start: open loop */
	struct qb_percentiles pickup_submit;    /* submit call -> first start */
	struct qb_percentiles enqueue_call;     /* submit call -> acknowledged */
	struct qb_percentiles work;             /* start -> completion of that attempt */
	struct qb_percentiles end_to_end;       /* intended enqueue time -> completion */
	uint64_t elapsed_ns;                    /* first submit -> last completion or discard */
	double throughput_per_s;                /* completed / elapsed */
	uint64_t commits, commit_rows;
	struct qb_percentiles commit;           /* syncer: time of a commit */
	struct qb_backlog backlog;
	struct qb_retries retries;
	struct qb_share share;
	int reports_ambiguity, parks, resolves, leased, may_lose;       /* as in the input */
	unsigned identities_count;
	struct qb_identity identity[QB_IDENTITIES_MAX];
	int verified;                           /* identities hold, none lost or stranded that should not */
};

struct qb_summary_input {
	const struct qb_trace *trace;
	const struct qb_job_end *ends;  /* by job_id - 1, jobs_count of them; NULL: nobody asked */
	uint64_t jobs_count;            /* planned */
	uint64_t effects_count;         /* job ids 1..this have an effect word; 0: all have */
	uint64_t watch_end_ns;          /* monotonic: when the run stopped watching */
	int reports_ambiguity;          /* the queue tells which jobs are ambiguous (shm) */
	int parks;                      /* --ambiguous=park: no effect may be repeated at all */
	int resolves;                   /* --ambiguous=resolve: and nothing may stay ambiguous */
	int leased;                     /* jobs of the dead come back by a time-out or never: stranded is a finding */
	int may_lose;                   /* a kill takes what was in memory: lost jobs and results are findings */
	int forgets;                    /* what is finished is deleted: the queue has nothing to say of it */
};

/*
 * Fills *out. 0; -ENOMEM; QB_ETOOBIG: more than 2^24 jobs; QB_ECORRUPT: the trace holds what cannot
 * be (a job that was not planned, a start well before its enqueue). An account that does not add up
 * is no error here: verified is 0 and the broken identities say why. Time O(n log n) of the events.
 */
int qb_summarize(const struct qb_summary_input *in, struct qb_summary *out, struct qb_err *err);

const char *qb_resume_class_name(unsigned cls);         /* "never_started"; "?" for none */

#endif
