/* SPDX-License-Identifier: Apache-2.0 */
/*
 * River's tables, and the statements that insert, fetch and end jobs.  Private to river*.c.
 *
 * Lives in: one schema of Postgres.  Progress: a round trip each, without a retry unless it says so.
 * Crash: each statement, or transaction, happened or did not.
 */
#ifndef QB_QUEUE_RIVER_TABLES_H
#define QB_QUEUE_RIVER_TABLES_H

#include "base/strbuf.h"
#include "pg/array.h"
#include "queue/river.h"

/* Of the unique index; an insert has to repeat it. */
#define RIVER_UNIQUE_PREDICATE \
	" where unique_key is not null and unique_states is not null" \
	" and $S.river_job_state_in_bitmask(unique_states, state)"

/* River's statements return whole rows, and so do ours: the price belongs to the protocol. */
#define RIVER_JOB_COLUMNS(of) \
	of "id, " of "args, " of "attempt, " of "attempted_at, " of "attempted_by, " of "created_at, " of "errors, " \
	of "finalized_at, " of "kind, " of "max_attempts, " of "metadata, " of "priority, " of "queue, " of "state, " \
	of "scheduled_at, " of "tags, " of "unique_key, " of "unique_states"

enum qb_river_column {
	RIVER_COL_ID, RIVER_COL_ARGS, RIVER_COL_ATTEMPT, RIVER_COL_ATTEMPTED_AT, RIVER_COL_ATTEMPTED_BY,
	RIVER_COL_CREATED_AT, RIVER_COL_ERRORS, RIVER_COL_FINALIZED_AT, RIVER_COL_KIND, RIVER_COL_MAX_ATTEMPTS,
	RIVER_COL_METADATA, RIVER_COL_PRIORITY, RIVER_COL_QUEUE, RIVER_COL_STATE, RIVER_COL_SCHEDULED_AT,
	RIVER_COL_TAGS, RIVER_COL_UNIQUE_KEY, RIVER_COL_UNIQUE_STATES, RIVER_COLS,
};

/*
 * Make the tables, or make what we made before empty; tables that River made stay, and only the jobs of our queue
 * go. 0; QB_EVERSION: River's tables, of a migration that is too old; QB_EPG.
 */
int qb_river_schema_setup(PGconn *conn, const char *schema, struct qb_err *err);

/* ---- river-args.c: the benchmark's arguments ---- */

/* args of that job as Go's encoder would write them; key (may be NULL) is one more member. */
void qb_river_args_write(struct qb_strbuf *out, const struct qb_submit *job, const char *key);
/* The members that are ours, out of args as jsonb prints them; payload has room for QB_PAYLOAD_BYTES_MAX. 0 or QB_EPARSE. */
int qb_river_args_read(const char *args, size_t bytes, struct qb_queue_job *job, uint8_t *payload, struct qb_err *err);

/* ---- river-insert.c ---- */

/* One row to insert; what is 0 or NULL is as River has it by default. */
struct qb_river_row {
	const char *args;
	const char *kind, *queue, *metadata, *tags;     /* tags: joined by commas */
	int max_attempts, priority;
	uint64_t scheduled_wall_ns;                     /* 0: available now; else scheduled, even in the past */
	bool pending;
	const uint8_t *unique_key;                      /* 32 bytes */
	int unique_states;
	/* out */
	int64_t id;                                     /* of the new row, or of the one that is there already */
	bool duplicate;                                 /* UniqueSkippedAsDuplicate */
};

struct qb_river_inserter;

/* Prepares the statement on conn, which stays the caller's and may be replaced only together with the inserter. */
int qb_river_inserter_open(PGconn *conn, const char *schema, struct qb_river_limiter *limiter,
			   struct qb_river_inserter **out, struct qb_err *err);
void qb_river_inserter_close(struct qb_river_inserter *in);
/*
 * InsertMany: one statement and the notifications that the limiter lets pass, in one transaction. 0 or negative, and
 * then nothing was inserted, unless the connection broke during the commit.
 */
int qb_river_insert(struct qb_river_inserter *in, struct qb_river_row *rows, size_t count, struct qb_err *err);

/* ---- river-completer.c ---- */

enum qb_river_state {
	RIVER_AVAILABLE, RIVER_CANCELLED, RIVER_COMPLETED, RIVER_DISCARDED, RIVER_PENDING, RIVER_RETRYABLE, RIVER_RUNNING,
	RIVER_SCHEDULED, RIVER_STATES,
};
const char *qb_river_state_name(enum qb_river_state state);

#define RIVER_ERROR_BYTES 256

/* What became of an attempt (JobSetStateIfRunningParams). */
struct qb_river_end {
	int64_t id;
	uint64_t seq;                           /* the completer's: of two for one job the later one counts */
	uint64_t finalized_wall_ns, scheduled_wall_ns;  /* 0: unchanged */
	int attempt;                            /* that had the job */
	int new_attempt;                        /* -1: unchanged */
	enum qb_river_state state;
	char error[RIVER_ERROR_BYTES];          /* one element of errors, as JSON; "" for none */
};

/* The statement (JobSetStateIfRunningMany) on a connection; ends differ in id. */
struct qb_river_setter;
int qb_river_setter_open(PGconn *conn, const struct qb_river_client *client, struct qb_river_setter **out,
			 struct qb_err *err);
void qb_river_setter_close(struct qb_river_setter *s);
/* How many rows it changed, or negative. */
int qb_river_set_states(struct qb_river_setter *s, const struct qb_river_end *ends, size_t count, struct qb_err *err);

/*
 * BatchCompleter.  put() by the worker's thread; everything else by the completer's, which is the caller's
 * own until start().
 */
struct qb_river_completer;
int qb_river_completer_open(const struct qb_river_client *client, struct qb_river_completer **out, struct qb_err *err);
int qb_river_completer_start(struct qb_river_completer *c, struct qb_err *err);
/* Keeps a copy. Waits while the backlog is too long. */
void qb_river_completer_put(struct qb_river_completer *c, const struct qb_river_end *end);
/* What follows a wake-up of its loop, by the ticker or because a batch is full: one turn. */
void qb_river_completer_turn(struct qb_river_completer *c);
/* One batch now, by the caller. How many rows changed, or negative: it was put back. */
int qb_river_completer_flush(struct qb_river_completer *c, struct qb_err *err);
size_t qb_river_completer_backlog(struct qb_river_completer *c);
uint64_t qb_river_completer_statements(const struct qb_river_completer *c);
/* Ends the thread, flushes the last batch, closes. NULL is fine. */
void qb_river_completer_close(struct qb_river_completer *c);
/* For tests: no pauses between tries. */
void qb_river_completer_hurry(struct qb_river_completer *c);

/* ---- river-fetch.c ---- */

/* DebouncedChan: fires on the leading edge, then at most once per cooldown. Times: CLOCK_MONOTONIC. */
struct qb_river_debounce {
	uint64_t cooldown_ns;
	uint64_t timer_ns;                      /* when the cooldown ends; 0: none runs */
	bool again;                             /* fire when it does */
	bool fired;                             /* and nobody has taken it */
};

void qb_river_debounce_call(struct qb_river_debounce *d, uint64_t now_ns);
/* 1: it has fired since it was last taken. */
int qb_river_debounce_take(struct qb_river_debounce *d, uint64_t now_ns);
/* When it has something to say, at the earliest; UINT64_MAX: not before a call. */
uint64_t qb_river_debounce_next(const struct qb_river_debounce *d);

/* A job as it was fetched. */
struct qb_river_fetched {
	int64_t id;
	bool strange;                           /* of another kind, or its arguments cannot be read */
	bool cancelled;                         /* the worker's: since it was fetched */
	struct qb_queue_job job;
};

/* Prepares fetch and the queue's row on conn. */
int qb_river_fetch_prepare(PGconn *conn, const char *schema, struct qb_err *err);
/* JobGetAvailable: at most limit jobs, now running and this client's. How many, or negative. payload: see args. */
int qb_river_fetch(PGconn *conn, const char *client_id, unsigned limit, struct qb_river_fetched *out, uint8_t *payload,
		   struct qb_err *err);
/* QueueCreateOrSetUpdatedAt of our queue. *paused: has it paused_at? 0 or negative. */
int qb_river_queue_report(PGconn *conn, bool *paused, struct qb_err *err);

/* Pause between an attempt's failure, with so many recorded before it, and the next (DefaultClientRetryPolicy). */
uint64_t qb_river_retry_ns(unsigned errors, struct qb_rng *rng);

/* ---- river-address.c: waiting for the end of a run, which is an application's matter with River ---- */

/* Both ours; tests change them. */
struct qb_river_looks {
	uint64_t soon_ns;                       /* the second look: what had ended before is written by then */
	uint64_t tick_ns;                       /* and the others */
};
extern struct qb_river_looks qb_river_looks;

/* pg_notify of the cache's channel: the work of that row is done, its result is where it belongs. 0 or negative. */
int qb_river_tell(PGconn *conn, const char *schema, int64_t id, struct qb_err *err);

struct qb_river_waiter;
/* conn is for the looks, and stays the caller's. It listens on a connection of its own, which it opens. */
int qb_river_waiter_open(PGconn *conn, const char *conninfo, const char *schema, struct qb_river_waiter **out,
			 struct qb_err *err);
void qb_river_waiter_close(struct qb_river_waiter *w);
/*
 * Until somebody tells of that row, until a look finds it finalized or gone, or deadline_ns: DONE or NOT_YET.
 * 0 or negative. Survives the loss of its listening connection.
 */
int qb_river_wait_for_end(struct qb_river_waiter *w, int64_t id, uint64_t deadline_ns, struct qb_address_end *end,
			  struct qb_err *err);

/* ---- river-pause.c: what others may ask of it, see river.h ---- */

int qb_river_control_open(struct qb_river_control **out, struct qb_err *err);
void qb_river_control_close(struct qb_river_control *control);
/* Readable when something was asked. */
int qb_river_control_fd(const struct qb_river_control *control);
/* Not readable any more, until the next thing is asked. Before taking. */
void qb_river_control_quiet(struct qb_river_control *control);
/* 1: the next thing asked: *id of a job to cancel, or 0 and *paused. 0: nothing left. */
int qb_river_control_take(struct qb_river_control *control, int64_t *id, bool *paused);

#endif
