/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the events of a run say, put in order: one element per job, per attempt, per process and
 * per kill.  Private to this room.
 *
 * Built in one pass over the events in the order of time; everything that depends on what came
 * later (was this process killed? did that attempt end?) is asked after the pass.  An attempt is
 * known by its job, its number and the process that ran it: a queue that rolls its counter back
 * with a dead worker's transaction gives the same number twice.
 */
#ifndef QB_STATS_TALLY_H
#define QB_STATS_TALLY_H

#include <stdint.h>

#include "base/err.h"
#include "stats/summary.h"

#define QB_NO_IDX UINT32_MAX
#define QB_NEVER_NS UINT64_MAX
#define QB_TALLY_JOBS_MAX (1u << 24)

enum qb_tally_job_flag {
	QB_TJOB_SUBMITTED = 1,
	QB_TJOB_ACKED = 2,
	QB_TJOB_REFUSED = 4,            /* its enqueue failed */
	QB_TJOB_DISCARDED = 8,
	QB_TJOB_DUPLICATE = 32,         /* it was refused because of its unique key */
	QB_TJOB_FAILS = 16,             /* it carries an error: no attempt of it has an effect */
};

struct qb_tally_job {
	uint64_t submitted_ns, intended_ns;
	uint64_t answered_ns;           /* acknowledged, refused or failed; 0: nothing on record */
	uint64_t discarded_ns;
	uint32_t first, last;           /* attempts in the order in which they were seen */
	uint32_t flags;                 /* enum qb_tally_job_flag */
	uint32_t pad;
};

enum qb_try_outcome { QB_TRY_OPEN, QB_TRY_COMPLETED, QB_TRY_FAILED, QB_TRY_FENCED };

enum qb_try_flag {
	QB_TRY_LOGGED = 1,              /* its start is on record */
	QB_TRY_STARTED = 2,             /* it started: on record, or proved by what followed */
	QB_TRY_TOLD = 4,                /* the outcome was told by recovery or the queue */
	QB_TRY_REPORTED = 8,            /* reported as ambiguous */
	QB_TRY_PARKED = 16,
	QB_TRY_REQUEUED = 32,
	QB_TRY_TWO_ENDS = 64,           /* records of two different outcomes */
	QB_TRY_IN_DOUBT = 128,          /* reported as one that Postgres is to be asked about */
};

struct qb_try {                         /* one attempt of one job */
	uint64_t start_ns;              /* 0: no start on record */
	uint64_t end_ns;                /* of the outcome; 0: none, or at an unknown time */
	uint32_t job;                   /* index = job id - 1 */
	uint32_t proc;                  /* who ran it, or QB_NO_IDX */
	uint32_t prev, next;            /* of the same job */
	uint16_t attempt;
	uint8_t outcome;                /* enum qb_try_outcome */
	uint8_t flags;                  /* enum qb_try_flag */
	uint32_t failures;              /* of the job before it, as its start says (a queue that reports) */
	uint64_t due_ns;                /* of the attempt after this one, which failed; 0: none, or not on record */
	uint32_t found;                 /* enum qb_found */
	uint32_t pad;
};

struct qb_proc {                        /* one incarnation of a seat */
	uint32_t seat, pid;             /* pid 0: seen at work only, its records are missing */
	uint32_t role;                  /* enum qb_role; a standby that was activated is a worker */
	uint32_t before;                /* the seat's incarnation before this one */
	uint32_t spawner;               /* its parent; of a parent: the parent before it */
	uint32_t group;                 /* the kill that it fell to */
	uint64_t born_ns;
	uint64_t serve_ns;              /* ready to do its work; 0: never, or not on record */
	uint64_t killed_ns;             /* by the fault plan */
	uint64_t died_ns;
	int stopped;                    /* ended by itself, orderly */
	int dead;                       /* set by qb_tally_deaths() */
};

struct qb_kill {
	uint64_t t_ns;
	uint64_t number;
	uint32_t role;                  /* of the first victim */
	uint32_t planned;
	uint32_t victims, workers, syncers;
	uint32_t was;                   /* index before sorting */
};

struct qb_tally {
	const struct qb_summary_input *in;
	uint64_t jobs_count;
	struct qb_tally_job *jobs;
	uint32_t tries_count, tries_max;
	struct qb_try *tries;
	uint32_t procs_count, procs_max;
	struct qb_proc *procs;
	uint32_t kills_count;           /* at most procs_max */
	struct qb_kill *kills;          /* by time, after qb_tally_deaths() */
	uint32_t *kill_place;           /* where sorting put them */
	uint32_t current[QB_SEAT_MAX + 1];      /* incarnation that sits there, or QB_NO_IDX */
	uint32_t parent;                /* the newest parent process */
	uint64_t fenced, takeovers, commits, commit_rows;
	uint64_t stops, server_kills;
};

/* tally.c: 0, -ENOMEM, QB_ETOOBIG or QB_ECORRUPT. Free it in any case. */
int qb_tally_build(struct qb_tally *t, const struct qb_summary_input *in, struct qb_err *err);
void qb_tally_free(struct qb_tally *t);

static inline const struct qb_job_end *qb_tally_end(const struct qb_tally *t, uint32_t job)
{
	return t->in->ends ? &t->in->ends[job] : NULL;
}

/* Does its process no longer live, without having ended orderly? */
static inline int qb_try_is_dead(const struct qb_tally *t, const struct qb_try *a)
{
	return a->proc != QB_NO_IDX && t->procs[a->proc].dead;
}

/*
 * Started, its process dead, no outcome on record. A report alone proves the death when nobody
 * knows whose the attempt was.
 */
static inline int qb_try_is_ambiguous(const struct qb_tally *t, const struct qb_try *a)
{
	return a->outcome == QB_TRY_OPEN && (a->flags & QB_TRY_STARTED) &&
	       (qb_try_is_dead(t, a) || (a->proc == QB_NO_IDX && (a->flags & QB_TRY_REPORTED)));
}

/* It was in doubt, and Postgres said that its effect had not happened: so it runs again, or was given up. */
static inline int qb_try_is_undone(const struct qb_tally *t, const struct qb_try *a)
{
	return a->outcome == QB_TRY_OPEN && (a->flags & QB_TRY_IN_DOUBT) &&
	       ((a->flags & QB_TRY_REQUEUED) ||
		(a->next == QB_NO_IDX && (t->jobs[a->job].flags & QB_TJOB_DISCARDED)));
}

/*
 * The queue has forgotten a job, and most likely because it was done: it had its effect, or fails and has none. Of use only
 * for a job with an open attempt, whose worker died or lost the server between the delete and its record.
 */
static inline int qb_job_is_gone(const struct qb_tally *t, uint32_t job, const struct qb_job_end *end)
{
	return t->in->forgets && end->outcome == QB_OUTCOME_NONE &&
	       (end->effects > 0 || (t->jobs[job].flags & QB_TJOB_FAILS));
}

/* The next attempt of the job whose start is on record, or QB_NO_IDX. from itself counts. */
static inline uint32_t qb_try_next_start(const struct qb_tally *t, uint32_t from)
{
	while (from != QB_NO_IDX && !(t->tries[from].flags & QB_TRY_LOGGED))
		from = t->tries[from].next;
	return from;
}

/*
 * Of a completed attempt: its result was not kept. *next is the start that shows it, or QB_NO_IDX when what the
 * queue says at the end does.
 */
int qb_try_lost_its_result(const struct qb_tally *t, const struct qb_try *a, uint32_t *next);

/* Where things may be lost by design, what was lost is a finding and breaks no account. */
static inline int qb_tally_is_loose(const struct qb_tally *t)
{
	return t->in->leased || t->in->may_lose;
}

/* process.c */
int qb_tally_process(struct qb_tally *t, const struct qb_trace_event *e, struct qb_err *err);
/* The incarnation at work on a seat; made up when no record names it. */
uint32_t qb_tally_worker(struct qb_tally *t, uint32_t seat, uint64_t t_ns);
/* After the last event: who died, of which kill, and what nobody planned. */
void qb_tally_deaths(struct qb_tally *t);
static inline uint64_t qb_proc_death_ns(const struct qb_proc *p)
{
	return p->killed_ns ? p->killed_ns : p->died_ns;
}

/* account.c: counts of jobs and attempts, then the identities that must hold. 0 or -ENOMEM. */
void qb_account(const struct qb_tally *t, struct qb_summary *out);

/* keytable.c: of a run on unique keys; nothing of another. 0 or -ENOMEM. */
int qb_key_table_build(const struct qb_tally *t, struct qb_summary *out);

/* cachetable.c: of a run on a cache; nothing of another. 0 or -ENOMEM. */
int qb_cache_table_build(const struct qb_tally *t, struct qb_summary *out);

/* resume.c: the classes, spawn times. 0 or -ENOMEM. */
int qb_resume_times(const struct qb_tally *t, struct qb_summary *out);

#endif
