/* SPDX-License-Identifier: Apache-2.0 */
/*
 * River's protocol in C: what the files river*.c share.  Not for other rooms.  doc/river.md says what is
 * implemented, under River's own names, and where it deviates.
 *
 * Lives in: process memory and the tables of one schema.  Writers and readers: a client belongs to the
 * thread that opened it, except for its control (mutex), its completer and its leader (threads of their own,
 * each with a connection of its own).
 * Progress: may block, each statement at most RIVER_HOT_OPERATION_TIMEOUT_NS.
 * Crash: what a worker had fetched, finished and not yet flushed stays "running" in the table until
 * a leader rescues it.
 */
#ifndef QB_QUEUE_RIVER_H
#define QB_QUEUE_RIVER_H

#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/rng.h"
#include "queue/queue.h"

/* ---- River's constants; the name behind each is River's own ---- */

#define RIVER_KIND "benchmark.job"                              /* the benchmark's one kind */
#define RIVER_QUEUE "default"                                   /* QueueDefault */
#define RIVER_ALL_QUEUES "*"                                    /* AllQueuesString */
#define RIVER_PRIORITY 1                                        /* PriorityDefault */
#define RIVER_MIGRATION_MIN 6
#define RIVER_MIGRATION_OURS 7
#define RIVER_MIGRATION_KNOWN 8                                 /* a no-op on Postgres */
#define RIVER_UNIQUE_STATES 245                                 /* uniqueOptsByStateDefault as bit(8) */
#define RIVER_ADDRESS_STATES 241                                /* ours: the same without completed */

#define RIVER_FETCH_COOLDOWN "100ms"                            /* FetchCooldownDefault */
#define RIVER_FETCH_COOLDOWN_MIN_NS QB_NS_PER_MS                /* FetchCooldownMin */
#define RIVER_FETCH_POLL_INTERVAL "1s"                          /* FetchPollIntervalDefault */
#define RIVER_FETCH_POLL_INTERVAL_MIN_NS QB_NS_PER_MS           /* FetchPollIntervalMin */
#define RIVER_FETCH_POLL_JITTER_MIN_NS (10 * QB_NS_PER_MS)      /* jitteredFetchPollInterval */
#define RIVER_QUEUE_NUM_WORKERS_MAX 10000                       /* QueueNumWorkersMax */
#define RIVER_ATTEMPTED_BY_MAX 100                              /* maxAttemptedBy */
#define RIVER_QUEUE_REPORT_INTERVAL_NS (600 * QB_NS_PER_S)      /* queueReportIntervalDefault */
#define RIVER_CONTROL_CHAN_MAX 100                              /* queueControlCh */
#define RIVER_CANCEL_CHAN_MAX 1000                              /* cancelCh */
#define RIVER_HOT_OPERATION_TIMEOUT_NS (10 * QB_NS_PER_S)       /* HotOperationTimeout */
#define RIVER_NOTIFIER_PING_NS (5 * QB_NS_PER_S)                /* notifier: keep-alive */
#define RIVER_NOTIFIER_BACKOFF_MAX_NS (64 * QB_NS_PER_S)
#define RIVER_SCHEDULER_INTERVAL_NS (5 * QB_NS_PER_S)           /* JobSchedulerIntervalDefault */
#define RIVER_CLIENT_ID_BYTES 101                               /* at most 100 characters */
#define RIVER_HOST_BYTES_MAX 60                                 /* maxHostLength */

#define RIVER_COMPLETER_TICK_NS (50 * QB_NS_PER_MS)             /* ticker of BatchCompleter.Start */
#define RIVER_COMPLETER_TICKS_PER_FLUSH 5
#define RIVER_COMPLETER_START_THRESHOLD 100                     /* batchCompleterStartThreshold */
#define RIVER_COMPLETION_MAX_SIZE 5000                          /* completionMaxSize */
#define RIVER_BACKLOG_WAIT_THRESHOLD (2 * RIVER_COMPLETION_MAX_SIZE)    /* backlogWaitThreshold */
#define RIVER_MAX_BACKLOG 20000                                 /* maxBacklog: a warning */
#define RIVER_COMPLETER_TRIES 3                                 /* numRetries; pauses of 1, 2, 4 s */

/* ---- settings ---- */

enum qb_river_completer_kind { RIVER_COMPLETER_BATCH, RIVER_COMPLETER_SYNC };
enum qb_river_fence { RIVER_FENCE_LIBRARY, RIVER_FENCE_FIXED };
enum qb_river_elect { RIVER_ELECT_ON, RIVER_ELECT_OFF };
enum qb_river_rescue { RIVER_RESCUE_FIXED, RIVER_RESCUE_LIBRARY };

struct qb_river_options {
	uint64_t fetch_cooldown_ns;
	uint64_t fetch_poll_interval_ns;
	uint64_t lease_ns;                      /* RescueStuckJobsAfter, and JobTimeout */
	enum qb_river_completer_kind completer;
	enum qb_river_fence fence;
	enum qb_river_elect elect;              /* off: never stands for election, as LeaderElectionDisabled */
	enum qb_river_rescue rescue;            /* library: by id only, as before River's fix of its issue 1302 */
};

extern const struct qb_queue_option qb_river_option_table[];
/* 0 or QB_EUSAGE. */
int qb_river_options_read(const char *text, struct qb_river_options *out, struct qb_err *err);

/* ---- names ---- */

/* The schema of all tables and the prefix of all channels: "qbench_river", or what $QB_RIVER_SCHEMA says. Static. */
const char *qb_river_schema(void);
/* The statement with each "$S." as that schema, quoted, and a dot. malloc'ed; never NULL. */
char *qb_river_sql(const char *schema, const char *sql);
/* "SCHEMA.river_TOPIC", a channel: topic is "insert", "control" or "leadership". Returns buf. */
const char *qb_river_channel(const char *schema, const char *topic, char *buf, size_t cap);
/* "HOST_YYYY_MM_DDTHH_MM_SS_ffffff" (defaultClientID). Returns buf, of RIVER_CLIENT_ID_BYTES. */
const char *qb_river_client_id(char *buf, const char *host, uint64_t wall_ns);

/* ---- JSON as far as the protocol needs it ---- */

/*
 * The raw value of a member of the object in text[0..bytes), without the space around it: *value, *value_bytes.
 * 1; 0: no such member, or no object, and then both are undefined.  The last one of the same name counts, as in Go.
 */
int qb_river_json_get(const char *text, size_t bytes, const char *name, const char **value, size_t *value_bytes);
/* A raw value as a whole number or as a string (escapes resolved, cut at cap - 1, NUL-terminated). 1, or 0: it is none. */
int qb_river_json_i64(const char *value, size_t bytes, int64_t *out);
int qb_river_json_string(const char *value, size_t bytes, char *buf, size_t cap);

/* ---- notifications ---- */

/*
 * Wait on conn (NULL: none) until a notification, a readable extra_fd (-1: none), a signal or deadline_ns; fn for each
 * notification that came.  Returns a set of enum qb_pg_wake, or QB_EPG: the connection is lost.
 */
typedef void (*qb_river_notify_fn)(void *ctx, const char *channel, const char *payload);
int qb_river_wait(PGconn *conn, uint64_t deadline_ns, int extra_fd, qb_river_notify_fn fn, void *ctx, struct qb_err *err);

/* At most one per queue in wait_ns, strictly; one for all connections of a client. Thread-safe. */
#define RIVER_LIMITER_QUEUES 16
struct qb_river_limiter {
	pthread_mutex_t lock;
	uint64_t wait_ns;
	unsigned count;
	struct {
		char queue[128];
		uint64_t sent_ns;
	} topic[RIVER_LIMITER_QUEUES];
};

#define QB_RIVER_LIMITER_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }
/* May this client notify that queue now? 1 takes the turn (ShouldTrigger). now_ns: CLOCK_MONOTONIC. */
int qb_river_limiter_take(struct qb_river_limiter *l, const char *queue, uint64_t now_ns);

/* ---- the client: a worker process (or the driver, which only inserts) ---- */

struct qb_river_control;

/* Filled before the leader is started, unchanged until it has stopped. */
struct qb_river_client {
	const char *conninfo;
	const char *schema;
	char id[RIVER_CLIENT_ID_BYTES];
	struct qb_river_options opt;
	const char *const *kinds;               /* that this client has workers for; NULL at the end */
	struct qb_river_limiter *limiter;       /* for pg_notify of whatever this client makes available */
	struct qb_river_control *control;
	uint64_t seed;                          /* of this process; for jitter */
};

/*
 * What control notifications do, whoever receives them. Thread-safe; they wake the worker. queue is a name or "*".
 * A pause or cancel beyond what fits is dropped, as by River.
 */
void qb_river_set_paused(struct qb_river_control *control, const char *queue, bool paused);
/* The row of a job that may be running here: at its end it becomes cancelled. */
void qb_river_cancel(struct qb_river_control *control, const char *queue, int64_t id);

/* ---- river-leader.c, river-maintenance.c, river-control.c: election, maintenance, control notifications ---- */

struct qb_river_leader;

/*
 * Starts the thread (or threads) with connections of its own: listens for control and leadership, stands for election, and runs all
 * maintenance while it is leader. 0 or negative. c outlives it.
 */
int qb_river_leader_start(const struct qb_river_client *c, struct qb_river_leader **out, struct qb_err *err);
/* Resigns, and ends the threads. NULL is fine. */
void qb_river_leader_stop(struct qb_river_leader *l);

/* ---- river-unique.c ---- */

/* UniqueOpts of one insert, and what they look at. */
struct qb_river_unique {
	const char *kind;                       /* of the job */
	bool exclude_kind;                      /* ExcludeKind */
	bool by_args;                           /* ByArgs */
	const char *args;                       /* the encoded arguments, as Go's encoder writes them */
	const char *const *fields;              /* those marked unique, "a" or "a.b"; NULL: all */
	size_t fields_count;
	uint64_t by_period_ns;                  /* ByPeriod; 0: not */
	uint64_t at_wall_ns;                    /* the time that by_period cuts, Unix */
	bool by_queue;                          /* ByQueue */
	const char *queue;
};

/* The 32 bytes of unique_key. 0; QB_EPARSE when args are no JSON object; QB_EUSAGE. */
int qb_river_unique_key(const struct qb_river_unique *u, uint8_t key[32], struct qb_err *err);

#endif
