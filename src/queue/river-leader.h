/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The elected leader of a River database, and what it does for all clients.  Not for other rooms.
 *
 * Lives in: two threads of each client (three in the leader), each with a connection of its own; one row of
 * the unlogged table river_leader.
 *	elector     listens (control, leadership), stands for election, renews, resigns
 *	maintainer  while this client leads: scheduler, rescuer, cleaners, periodic enqueuer
 *	reindexer   while this client leads: sleeps until midnight
 * Crash: a SIGKILL of the leader leaves its row; nobody leads until the row has run out (10 to 15 s) and a
 * follower has looked (up to 6 s).  A crash of the server empties the table.
 *
 * River has a task for each service; here the services of the maintainer take turns, so that one long
 * statement (30 s at most) can delay another service's round.
 */
#ifndef QB_QUEUE_RIVER_LEADER_H
#define QB_QUEUE_RIVER_LEADER_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "queue/river.h"

/* How long things take and how much they take at once; River's values in qb_river_upkeep_default. */
struct qb_river_upkeep {
	uint64_t elect_ns;              /* electIntervalDefault: between two renewals, or two attempts */
	uint64_t elect_jitter_ns;       /* electIntervalJitterDefault: added to an attempt's, uniform */
	uint64_t ttl_padding_ns;        /* electIntervalTTLPaddingDefault: TTL = elect_ns and this */
	uint64_t trust_margin_ns;       /* leaderLocalDeadlineSafetyMargin: so much before the TTL it steps down */
	uint64_t resigned_jitter_ns;    /* after another one's resignation, uniform */
	uint64_t backoff_ns;            /* first pause after an error; doubles up to 64 times that, +-10 % */

	uint64_t stagger_ns;            /* StaggerStart: before the start of each service, uniform */
	uint64_t batch_pause_min_ns;    /* BatchBackoffMin, BatchBackoffMax: after a full batch */
	uint64_t batch_pause_max_ns;
	uint32_t batch;                 /* BatchSizeDefault */
	uint32_t batch_reduced;         /* BatchSizeReduced: of a service after three time-outs within ten minutes */
	uint32_t timeout_ms;            /* TimeoutDefault: of each statement */

	uint64_t schedule_ns;           /* JobSchedulerIntervalDefault: period, and how far it looks ahead */
	uint64_t rescue_ns;             /* JobRescuerIntervalDefault */
	uint64_t clean_ns;              /* JobCleanerIntervalDefault */
	uint64_t clean_queues_ns;       /* queueCleanerIntervalDefault */
	uint64_t reindex_ns;            /* at multiples of this since 1970, UTC: a day is midnight */

	uint64_t keep_completed_ns;     /* CompletedJobRetentionPeriodDefault */
	uint64_t keep_cancelled_ns;     /* CancelledJobRetentionPeriodDefault */
	uint64_t keep_discarded_ns;     /* DiscardedJobRetentionPeriodDefault */
	uint64_t keep_queue_ns;         /* QueueRetentionPeriodDefault */

	const struct qb_river_periodic *periodic;       /* PeriodicJobs; the benchmark has none */
	uint32_t periodic_count;
};

extern const struct qb_river_upkeep qb_river_upkeep_default;

/* A job that the leader inserts again and again; kept in memory: each term begins a new period. */
struct qb_river_periodic {
	const char *id;                 /* goes into metadata; NULL: none */
	const char *kind, *args, *queue;
	uint64_t every_ns;
	bool run_on_start;              /* RunOnStart: also at the beginning of each term */
};

enum qb_river_service {
	RIVER_SCHEDULER,
	RIVER_RESCUER,
	RIVER_JOB_CLEANER,
	RIVER_QUEUE_CLEANER,
	RIVER_PERIODIC_ENQUEUER,
	RIVER_REINDEXER,
	RIVER_SERVICES
};

/* Since the start; read by qb_river_leader_status(). */
struct qb_river_status {
	bool leading;
	uint64_t terms;                         /* elections won */
	uint64_t denied;                        /* attempts while another one led */
	uint64_t renewed;
	uint64_t rounds[RIVER_SERVICES];        /* completed */
	bool reduced[RIVER_SERVICES];           /* has gone over to smaller batches */
	uint64_t errors;
	uint64_t scheduled, conflicts;          /* jobs: made available; discarded by the scheduler */
	uint64_t rescued[3];                    /* retryable, discarded, cancelled: decided, as River counts them */
	uint64_t jobs_deleted, queues_deleted, enqueued, reindexed;
	char last_error[256];
};

struct qb_river_leader {
	const struct qb_river_client *c;
	struct qb_river_upkeep u;
	pthread_t elector, maintainer;
	bool elector_runs, maintainer_runs;
	int wake_fd;                    /* eventfd: the elector looks at stop_elector */

	pthread_mutex_t lock;           /* of what follows */
	pthread_cond_t changed;         /* term, stop */
	bool stop_maintainer, stop_elector;
	uint64_t term;                  /* counts; 0: none yet */
	uint64_t trusted_until_ns;      /* CLOCK_MONOTONIC; 0: does not lead */
	int busy_fd[2];                 /* sockets to cut when the term ends: maintainer's, reindexer's; -1: none */
	struct qb_river_status status;
};

/* As qb_river_leader_start(), with other times. u is copied, its periodic jobs are not. */
int qb_river_leader_start_with(const struct qb_river_client *c, const struct qb_river_upkeep *u,
			       struct qb_river_leader **out, struct qb_err *err);
void qb_river_leader_status(struct qb_river_leader *l, struct qb_river_status *out);

/* ---- between river-leader.c and river-maintenance*.c ---- */

/* A thread that works for a term: its connection, which is opened when needed. */
struct qb_river_hand {
	struct qb_river_leader *l;
	uint64_t term;
	unsigned idx;                   /* in busy_fd[] */
	PGconn *conn;
	struct qb_rng rng;
	uint32_t batch;                 /* of the service that it runs */
};

/* Does the term last, and is the lease trusted? Asked before each statement. */
bool qb_river_leads(struct qb_river_leader *l, uint64_t term);
/* Sleep until then, or until the term ends: as qb_river_leads(). */
bool qb_river_sleep_until(struct qb_river_hand *h, uint64_t deadline_ns);
/* [min, max), uniform. */
uint64_t qb_river_between(struct qb_rng *rng, uint64_t min_ns, uint64_t max_ns);
/* 1, 2, 4 ... 64 times unit, +-10 %, then from the start (ExponentialBackoff). attempt from 1. */
uint64_t qb_river_backoff(struct qb_rng *rng, uint64_t unit_ns, unsigned attempt);
void qb_river_note_error(struct qb_river_leader *l, const struct qb_err *err);

/* Connects with that statement_timeout; who ends the term can cut it. 0 or negative; the caller closes in any case. */
int qb_river_hand_open(struct qb_river_hand *h, const char *application_name, unsigned timeout_ms,
		       struct qb_err *err);
void qb_river_hand_close(struct qb_river_hand *h);
/* A statement with "$S." and parameters; rows in binary. 0 and *out (may be NULL), or negative. */
struct qb_sql_args;
int qb_river_hand_query(struct qb_river_hand *h, const char *sql, const struct qb_sql_args *a, PGresult **out,
			struct qb_err *err);

/* The thread of the maintainer: waits for terms until stop_maintainer. */
void *qb_river_maintainer_main(void *leader);

/* One round of a service: 0 or negative. */
int qb_river_schedule_jobs(struct qb_river_hand *h, struct qb_err *err);
int qb_river_rescue_jobs(struct qb_river_hand *h, struct qb_err *err);
int qb_river_clean_jobs(struct qb_river_hand *h, struct qb_err *err);
int qb_river_clean_queues(struct qb_river_hand *h, struct qb_err *err);
int qb_river_reindex(struct qb_river_hand *h, struct qb_err *err);

/*
 * Inserts what is due, and gives the next time that something is. next_ns: of each periodic job, 0 at the beginning of
 * a term; CLOCK_REALTIME. 0 or negative.
 */
int qb_river_periodic_run(struct qb_river_hand *h, uint64_t *next_ns, uint64_t *soonest_ns, struct qb_err *err);

/* pg_notify of the insert topic for those queues that the limiter lets through; within the caller's transaction. */
int qb_river_hand_notify(struct qb_river_hand *h, const char *queue, struct qb_err *err);

#endif
