/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of platlib share.  Private to them and their tests.
 *
 *   platlib.c          the vtable: one worker's Get and lanes
 *   platlib-store.c    the statements of the store: push, pop, delete, permits
 *   platlib-state.c    where the jobs are
 *   platlib-timer.c    retries that wait in memory
 *   platlib-item.c     a job as the JSON of a row
 *   platlib-note.c     notifications: texts, and waiting for them
 *   platlib-monitor.c  heartbeats in memory, and the sweep that asks it
 *   platlib-keeper.c   the thread beside a worker: sends heartbeats, stands for election, leads
 *   platlib-address.c, platlib-group.c    see platlib.h
 *   platlib-cache.c    addressed work, as rscache asks for it
 */
#ifndef QB_QUEUE_PLATLIB_INSIDE_H
#define QB_QUEUE_PLATLIB_INSIDE_H

#include <libpq-fe.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "queue/queue.h"

enum qb_platlib_adapter { QB_PLATLIB_PUBLISHED, QB_PLATLIB_LIBRARY, QB_PLATLIB_FIXED };

struct qb_platlib_settings {
	enum qb_platlib_adapter adapter;
	uint64_t lease_ns;              /* SweepFor */
	uint64_t sweep_interval_ns;
	uint64_t poll_ns;               /* of "fixed" */
	uint64_t leader_timeout_ns;
	int durable;                    /* retry=durable */
};

/* Where a test steps in; in the order of one Get, then of one failure, then of one who waits for an address. */
enum qb_platlib_point {
	QB_PLATLIB_AFTER_EMPTY_POP,     /* nothing found, not yet subscribed */
	QB_PLATLIB_AFTER_REPUSH,        /* the retry is a row of its own, the old one is still there */
	QB_PLATLIB_AFTER_RECORD,        /* the outcome is told, the row is there; not of "fixed", where both are one step */
	QB_PLATLIB_AFTER_DELETE_ROW,    /* its permit is still there */
	QB_PLATLIB_AFTER_DUPLICATE,     /* "fixed": a push was refused; whose row it was is not yet known */
	QB_PLATLIB_AFTER_ADDRESS_LOOK,  /* PollAddress has looked, and is not yet subscribed */
};

/* Constants of the library; only tests change them, before they open anything. */
struct qb_platlib_fixed {
	uint64_t beat_ns;               /* agent.go: Extend while a job runs: 5 s */
	uint64_t address_tick_ns;       /* queue.go: PollAddress: 5 s */
	uint64_t group_poll_ns;         /* provider.go: 2 s */
	uint64_t error_pause_ns;        /* agent.go: 100 ms x 2^n after an error of Get, at most 1000 x 100 ms */
	uint64_t forget_ns;             /* monitor.go: every minute it forgets old entries */
	void (*at)(enum qb_platlib_point point);        /* NULL, or called there */
};

extern struct qb_platlib_fixed qb_platlib_fixed;

static inline void qb_platlib_at(enum qb_platlib_point point)
{
	if (qb_platlib_fixed.at)
		qb_platlib_fixed.at(point);
}

/* ---- platlib-item.c ---- */

#define QB_PLATLIB_KINDS 8              /* QB_SCENARIO_KINDS_MAX; the runner has all of them registered */

struct qb_platlib_item {
	uint64_t job_id;
	uint32_t tenant, work_us;
	uint16_t kind, attempt, error_class, max_attempts;
	const void *payload;
	uint32_t payload_bytes;
};

/* "kind-N", and what a runner is found by: FNV-1a of that name, as bigint. */
int64_t qb_platlib_type(uint16_t kind);
int64_t qb_platlib_type_of_name(const char *name);
void qb_platlib_item_write(const struct qb_platlib_item *item, struct qb_strbuf *out);
/* 0 and *item, whose payload is malloc'ed in *buf (caller: free); QB_ECORRUPT. */
int qb_platlib_item_read(const void *json, size_t bytes, struct qb_platlib_item *item, uint8_t **buf);

/*
 * The value of a member of one JSON object, as its text (a string: without its quotes, escapes as they are).
 * 0; QB_ECORRUPT when there is none or the text is no object so far.
 */
int qb_platlib_json_find(const char *json, size_t bytes, const char *name, const char **value, size_t *value_bytes);
int qb_platlib_json_u64(const char *json, size_t bytes, const char *name, uint64_t *out);
/* A JSON string, quotes included. */
void qb_platlib_json_string(struct qb_strbuf *out, const char *text);
/* The text of a string value with its escapes undone (\u only below 0x80), cut to cap with a NUL. */
void qb_platlib_json_text(const char *value, size_t bytes, char *out, size_t cap);

/* ---- platlib-note.c ---- */

#define QB_PLATLIB_MESSAGES "qbench_platlib_messages"
#define QB_PLATLIB_LEADER "qbench_platlib_leader"
#define QB_PLATLIB_FOLLOWER "qbench_platlib_follower"

enum qb_platlib_note_type {
	QB_PLATLIB_WORK_READY = 1, QB_PLATLIB_WORK_COMPLETE = 2, QB_PLATLIB_CHUNK = 3, QB_PLATLIB_PERMIT_EXTEND = 4,
	QB_PLATLIB_PING = 255,
};

struct qb_platlib_note {
	unsigned type;                  /* 0: none that we know */
	uint64_t permit;                /* of PERMIT_EXTEND */
	char address[256];              /* of WORK_COMPLETE; of PING: whose */
};

#define QB_PLATLIB_NOTE_BYTES 512
/* The payloads. with_guid 0: as the published adapter writes work-ready. Return buf. */
const char *qb_platlib_note_ready(char buf[QB_PLATLIB_NOTE_BYTES], int with_guid);
const char *qb_platlib_note_extend(char buf[QB_PLATLIB_NOTE_BYTES], uint64_t permit);
const char *qb_platlib_note_ping(char buf[QB_PLATLIB_NOTE_BYTES], const char *address);
void qb_platlib_note_complete(struct qb_strbuf *out, const char *address);
void qb_platlib_note_read(const char *payload, struct qb_platlib_note *note);

/* fn for each notification that is there, none of which stays. 0 or QB_EPG: the connection is lost. Never blocks. */
typedef void (*qb_platlib_note_fn)(void *ctx, const struct qb_platlib_note *note);
int qb_platlib_take_notes(PGconn *conn, qb_platlib_note_fn fn, void *ctx, struct qb_err *err);
/* Until there may be something to take, extra_fd (or -1) is readable, or the deadline. 0 or -errno. */
int qb_platlib_await(PGconn *conn, int extra_fd, uint64_t deadline_ns, struct qb_err *err);

/* ---- platlib-store.c ---- */

struct qb_platlib_work {
	int64_t permit, type;
	char *address;                  /* malloc'ed, "" without; as item */
	char *item;
	size_t item_bytes;
	uint64_t next_due_ns;           /* with QB_EMPTY and retry=durable: when something becomes due; 0: nothing */
};

int qb_platlib_create_tables(PGconn *conn, const struct qb_platlib_settings *s, struct qb_err *err);
/* Once per connection, before the others. */
int qb_platlib_prepare(PGconn *conn, const struct qb_platlib_settings *s, struct qb_err *err);
/* QueuePush, and with an address QueuePushAddressed, which may return QB_DUPLICATE. QB_OK and *row (may be NULL); negative. */
int qb_platlib_push(PGconn *conn, const struct qb_platlib_settings *s, const char *address, int64_t type,
		    const struct qb_strbuf *item, int64_t *row, struct qb_err *err);
/* "fixed": *row: which one has that address now; 0: none. 0 or negative. */
int qb_platlib_row_of(PGconn *conn, const char *address, int64_t *row, struct qb_err *err);
/* QueuePop. QB_OK; QB_EMPTY (sql.ErrNoRows); negative. */
int qb_platlib_pop(PGconn *conn, struct qb_platlib_work *work, struct qb_err *err);
/* QueueDelete: the row, then the permit, then work-ready. *rows: how many rows the permit had (may be NULL). */
int qb_platlib_delete(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, int *rows, struct qb_err *err);
/*
 * "fixed", the end of an addressed job in one statement: the row goes, the failures of its run and of those before with it,
 * `failure` (JSON, or NULL) is recorded as its run's, and who waits is told. Nothing of it when the permit was taken away.
 * Then the permit. 0 or negative.
 */
int qb_platlib_delete_run(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, const char *address,
			  const char *failure, struct qb_err *err);
/* Back into the queue under its old id, with a new item, not before now + delay_ns; ours. */
int qb_platlib_requeue(PGconn *conn, const struct qb_platlib_settings *s, int64_t permit, const struct qb_strbuf *item,
		       uint64_t delay_ns, int *rows, struct qb_err *err);
/* The agent's work-complete notification. */
int qb_platlib_notify_complete(PGconn *conn, const char *address, struct qb_err *err);

/* ---- platlib-state.c ---- */

/* As struct qb_queue_ops has them; timers in the memory of workers are not counted. */
int qb_platlib_census(PGconn *conn, const struct qb_platlib_settings *s, struct qb_queue_census *out, struct qb_err *err);
int qb_platlib_outcomes(PGconn *conn, const struct qb_platlib_settings *s, qb_outcome_fn fn, void *ctx, struct qb_err *err);

/* ---- platlib-monitor.c ---- */

struct qb_platlib_beat { uint64_t permit, at_ns; };
struct qb_platlib_monitor {
	int running;
	uint64_t started_ns, forget_ns; /* forget_ns: when it looks for old entries next */
	struct qb_platlib_beat *beats;
	size_t count, cap;
};

/* Lists the permits and stamps them now. 0 or negative. */
int qb_platlib_monitor_start(struct qb_platlib_monitor *m, PGconn *conn, struct qb_err *err);
void qb_platlib_monitor_beat(struct qb_platlib_monitor *m, uint64_t permit, uint64_t now_ns);
/* Once a minute: entries older than sweep_age_ns go. */
void qb_platlib_monitor_forget(struct qb_platlib_monitor *m, uint64_t now_ns, uint64_t sweep_age_ns);
/* Does that permit stay? age_ns: since it was created. */
int qb_platlib_monitor_check(const struct qb_platlib_monitor *m, uint64_t permit, uint64_t age_ns, uint64_t now_ns,
			     uint64_t sweep_for_ns);
void qb_platlib_monitor_stop(struct qb_platlib_monitor *m);
/* One pass of the sweeper, in one transaction. How many permits it took away, or negative. */
int qb_platlib_sweep(PGconn *conn, const struct qb_platlib_monitor *m, uint64_t sweep_for_ns, struct qb_err *err);

/* ---- platlib-keeper.c ---- */

struct qb_platlib_keeper;
int qb_platlib_keeper_start(const char *conninfo, const struct qb_platlib_settings *s, unsigned lanes,
			    struct qb_platlib_keeper **out, struct qb_err *err);
/* Worker's thread: that lane runs a job with this permit; 0: none any more. */
void qb_platlib_keeper_hold(struct qb_platlib_keeper *k, unsigned lane, int64_t permit);
int qb_platlib_keeper_leads(const struct qb_platlib_keeper *k);
void qb_platlib_keeper_stop(struct qb_platlib_keeper *k);

/* ---- for tests ---- */

/* The connection on which that consumer hears of work. */
PGconn *qb_platlib_listener(const struct qb_queue *q);
struct qb_platlib_keeper *qb_platlib_keeper_of(const struct qb_queue *q);

struct qb_platlib_poller;
/* And that on which it hears that work is complete. */
PGconn *qb_platlib_poller_listener(const struct qb_platlib_poller *p);

/* ---- platlib-cache.c, and what it needs of platlib.c ---- */

extern const struct qb_address_ops qb_platlib_addressed;

/* One who asks by address; the poller is opened when it waits first. */
struct qb_platlib_caller {
	PGconn *conn;                   /* the handle's */
	const char *conninfo;
	enum qb_platlib_adapter adapter;
	struct qb_platlib_poller *poller;
};

struct qb_platlib_caller *qb_platlib_caller_of(struct qb_queue *q);
/* As enqueue_unique; *row as qb_platlib_push(). */
int qb_platlib_push_addressed(struct qb_queue *q, const struct qb_submit *job, const char *address,
			      struct qb_queue_ticket *ticket, int64_t *row, struct qb_err *err);
/* What RecordFailure gets when the job of that lane ends; message NULL: nil. */
void qb_platlib_tell(struct qb_queue *q, unsigned lane, int64_t code, const char *message);

/* ---- platlib-address.c ---- */

/* {"code":7,"message":"..."}, the code left out when 0. */
void qb_platlib_failure_write(struct qb_strbuf *out, int64_t code, const char *message);
/* What has come and nobody waits for goes, so that the server need not keep it. 0 or negative. */
int qb_platlib_poller_drain(struct qb_platlib_poller *p, struct qb_err *err);

#endif
