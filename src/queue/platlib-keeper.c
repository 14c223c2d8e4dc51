/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread beside a worker, on a connection of its own: sends a heartbeat for each running job every 5 s, and
 * stands for election.  The leader pings, runs the monitor and sweeps.
 *
 * Election.  As in rselection a follower that has heard no ping for its time-out asks for the leadership.  There a job
 * in a queue of the application's decides who gets it; here an advisory lock of the session does, which the server
 * takes back from the dead.  The time until somebody notices is the same; two leaders at a time cannot be.
 *
 * Crash: the successor's monitor starts empty, and grants every permit a whole SweepFor from its start.
 */
#include "queue/platlib-inside.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "shm/status.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
/* pgxlistener.go */
#define RECONNECT_NS QB_NS_PER_S
/* Longest sleep: what the worker took meanwhile is seen long before its first heartbeat. */
#define LOOK(k) (qb_platlib_fixed.beat_ns / 10 < (k)->s.leader_timeout_ns / 4 ? qb_platlib_fixed.beat_ns / 10 : \
		 (k)->s.leader_timeout_ns / 4)
/* The leader pings so often within a follower's time-out. */
#define PINGS 5
/* "plat". Such locks belong to a database, as the tables do. */
#define LOCK_SQL "select pg_try_advisory_lock(1886151028, 1)::int::bigint"

struct held { int64_t permit; uint64_t next_ns; };

struct qb_platlib_keeper {
	char *conninfo, address[64];
	struct qb_platlib_settings s;
	pthread_t thread;
	int stop_fd, leads;             /* leads: atomic */
	pthread_mutex_t lock;           /* of held */
	unsigned lanes;
	struct held *held;
	/* The thread's own. */
	PGconn *conn;
	uint64_t pinged_ns;             /* last heard as a follower, next to send as a leader */
	uint64_t sweep_ns;
	struct qb_platlib_monitor monitor;
};

void qb_platlib_keeper_hold(struct qb_platlib_keeper *k, unsigned lane, int64_t permit)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->held[lane] = (struct held){ .permit = permit, .next_ns = qb_now_ns() + qb_platlib_fixed.beat_ns };
	pthread_mutex_unlock(&k->lock);
}

int qb_platlib_keeper_leads(const struct qb_platlib_keeper *k)
{
	return __atomic_load_n(&k->leads, __ATOMIC_ACQUIRE);
}

static int notify(struct qb_platlib_keeper *k, const char *channel, const char *note, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, channel);
	qb_arg_text(&a, note);
	return qb_pg_query(k->conn, "select pg_notify($1, $2)", a.n, NULL, a.values, a.lengths, a.formats, 1, NULL, err);
}

/* Extend for each job whose time has come. Each is a notification of its own, as each has a ticker of its own there. */
static int send_beats(struct qb_platlib_keeper *k, uint64_t *next_ns, struct qb_err *err)
{
	char note[QB_PLATLIB_NOTE_BYTES];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < k->lanes; i++) {
		uint64_t now = qb_now_ns();
		int64_t permit = 0;

		pthread_mutex_lock(&k->lock);
		if (k->held[i].permit && k->held[i].next_ns <= now) {
			permit = k->held[i].permit;
			k->held[i].next_ns += qb_platlib_fixed.beat_ns;
		}
		if (k->held[i].permit && k->held[i].next_ns < *next_ns)
			*next_ns = k->held[i].next_ns;
		pthread_mutex_unlock(&k->lock);
		if (permit)
			rc = notify(k, QB_PLATLIB_LEADER, qb_platlib_note_extend(note, (uint64_t)permit), err);
	}
	return rc;
}

static void on_note(void *opaque, const struct qb_platlib_note *note)
{
	struct qb_platlib_keeper *k = opaque;

	if (note->type == QB_PLATLIB_PERMIT_EXTEND && k->monitor.running)
		qb_platlib_monitor_beat(&k->monitor, note->permit, qb_now_ns());
	else if (note->type == QB_PLATLIB_PING && !k->leads)
		k->pinged_ns = qb_now_ns();
}

/* The heartbeats from before the list of permits are on their way when it is read. */
static int begin_to_lead(struct qb_platlib_keeper *k, struct qb_err *err)
{
	int rc = qb_pg_listen(k->conn, QB_PLATLIB_LEADER, err);

	if (rc == 0)
		rc = qb_platlib_monitor_start(&k->monitor, k->conn, err);
	if (rc < 0)
		return rc;
	qb_log(QB_LOG_DEBUG, "platlib: %s leads", k->address);
	k->pinged_ns = 0;
	k->sweep_ns = qb_now_ns() + k->s.sweep_interval_ns;
	__atomic_store_n(&k->leads, 1, __ATOMIC_RELEASE);
	return 0;
}

static int follow(struct qb_platlib_keeper *k, struct qb_err *err)
{
	int64_t got = 0;

	if (qb_now_ns() - k->pinged_ns < k->s.leader_timeout_ns)
		return 0;
	int rc = qb_pg_query_i64(k->conn, LOCK_SQL, &got, err);

	/* Somebody else was faster, or lives and was not heard: asked again after another time-out. */
	k->pinged_ns = qb_now_ns();
	return rc < 0 || !got ? rc : begin_to_lead(k, err);
}

static int lead(struct qb_platlib_keeper *k, uint64_t *next_ns, struct qb_err *err)
{
	uint64_t now = qb_now_ns(), age = k->s.lease_ns > QB_NS_PER_S * 60 ? k->s.lease_ns : QB_NS_PER_S * 60;
	char note[QB_PLATLIB_NOTE_BYTES];
	int rc = 0;

	if (now >= k->pinged_ns) {
		rc = notify(k, QB_PLATLIB_FOLLOWER, qb_platlib_note_ping(note, k->address), err);
		k->pinged_ns = now + k->s.leader_timeout_ns / PINGS;
	}
	qb_platlib_monitor_forget(&k->monitor, now, age);
	if (rc == 0 && now >= k->sweep_ns) {
		rc = qb_platlib_sweep(k->conn, &k->monitor, k->s.lease_ns, err);
		if (rc > 0)
			qb_log(QB_LOG_DEBUG, "platlib: %s has swept %d permits", k->address, rc);
		k->sweep_ns += k->s.sweep_interval_ns;
		if (k->sweep_ns < now)
			k->sweep_ns = now + k->s.sweep_interval_ns;
	}
	if (k->pinged_ns < *next_ns)
		*next_ns = k->pinged_ns;
	if (k->sweep_ns < *next_ns)
		*next_ns = k->sweep_ns;
	return rc < 0 ? rc : 0;
}

/* With the session go the lock and what was listened for: a leader that loses it is one no more. */
static void disconnect(struct qb_platlib_keeper *k)
{
	__atomic_store_n(&k->leads, 0, __ATOMIC_RELEASE);
	qb_platlib_monitor_stop(&k->monitor);
	PQfinish(k->conn);
	k->conn = NULL;
}

static int connect_it(struct qb_platlib_keeper *k, struct qb_err *err)
{
	int rc = qb_pg_connect(k->conninfo, "qbench keeper", CONNECT_NS, &k->conn, err);

	if (rc == 0)
		rc = qb_pg_listen(k->conn, QB_PLATLIB_FOLLOWER, err);
	k->pinged_ns = qb_now_ns();
	return rc;
}

/* 1: told to stop. */
static int pause_until(struct qb_platlib_keeper *k, uint64_t deadline_ns)
{
	uint64_t token;

	if (k->conn)
		qb_platlib_await(k->conn, k->stop_fd, deadline_ns, NULL);
	else
		qb_sleep_until_ns(deadline_ns);
	return read(k->stop_fd, &token, sizeof(token)) == sizeof(token);
}

static void *keeper_main(void *opaque)
{
	struct qb_platlib_keeper *k = opaque;

	for (;;) {
		uint64_t next = qb_now_ns() + LOOK(k);
		struct qb_err err = { 0 };
		int rc = k->conn ? 0 : connect_it(k, &err);

		if (rc == 0)
			rc = qb_platlib_take_notes(k->conn, on_note, k, &err);
		if (rc == 0)
			rc = send_beats(k, &next, &err);
		if (rc == 0)
			rc = k->leads ? lead(k, &next, &err) : follow(k, &err);
		if (rc < 0) {
			qb_log(QB_LOG_DEBUG, "platlib: keeper: %s", err.text);
			disconnect(k);
			/* In pieces, so that a stop is not kept waiting. */
			uint64_t until = qb_now_ns() + RECONNECT_NS;

			while (qb_now_ns() < until)
				if (pause_until(k, qb_now_ns() + 20 * QB_NS_PER_MS))
					goto out;
			continue;
		}
		if (pause_until(k, next))
			break;
	}
out:
	disconnect(k);
	return NULL;
}

static void free_keeper(struct qb_platlib_keeper *k)
{
	if (k->stop_fd >= 0)
		close(k->stop_fd);
	pthread_mutex_destroy(&k->lock);
	free(k->held);
	free(k->conninfo);
	free(k);
}

int qb_platlib_keeper_start(const char *conninfo, const struct qb_platlib_settings *s, unsigned lanes,
			    struct qb_platlib_keeper **out, struct qb_err *err)
{
	struct qb_platlib_keeper *k = qb_xcalloc(1, sizeof(*k));
	sigset_t all, old;
	int rc = 0;

	k->conninfo = qb_xstrdup(conninfo ? conninfo : "");
	k->s = *s;
	k->lanes = lanes;
	k->held = qb_xcalloc(lanes, sizeof(*k->held));
	snprintf(k->address, sizeof(k->address), "worker-%d", (int)getpid());
	pthread_mutex_init(&k->lock, NULL);
	k->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->stop_fd < 0)
		rc = errno;
	/* Signals are the worker's. */
	sigfillset(&all);
	if (rc == 0) {
		pthread_sigmask(SIG_BLOCK, &all, &old);
		rc = pthread_create(&k->thread, NULL, keeper_main, k);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (rc) {
		free_keeper(k);
		return qb_err_errno(err, rc, "could not start the thread beside a worker");
	}
	*out = k;
	return 0;
}

void qb_platlib_keeper_stop(struct qb_platlib_keeper *k)
{
	uint64_t one = 1;

	if (!k)
		return;
	if (write(k->stop_fd, &one, sizeof(one)) < 0)
		qb_log(QB_LOG_DEBUG, "platlib: keeper: eventfd");
	pthread_join(k->thread, NULL);
	free_keeper(k);
}
