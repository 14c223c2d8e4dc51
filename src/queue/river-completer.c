/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch completer: keeps what became of attempts in memory, and ends many of them in one statement.
 * A worker's slot is free as soon as its result is here, before it is in the database: what is here when
 * the process is killed is lost, and those jobs stay "running".
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/river-tables.h"

#define CONNECT_NS RIVER_HOT_OPERATION_TIMEOUT_NS

struct ends {
	struct qb_river_end *at;
	size_t count, cap;
};

struct qb_river_completer {
	const struct qb_river_client *client;
	PGconn *conn;                   /* the thread's, as are setter, batch, turns and rng */
	struct qb_river_setter *setter;
	struct ends batch;
	uint64_t turns;
	struct qb_rng rng;
	bool hurry;
	uint64_t statements;            /* atomic */

	pthread_mutex_t lock;           /* of what follows */
	pthread_cond_t wake, resume;
	struct ends waiting;
	uint64_t seq;
	bool batch_ready, gate, stop, running;
	pthread_t thread;
};

static void drop_connection(struct qb_river_completer *c)
{
	qb_river_setter_close(c->setter);
	PQfinish(c->conn);
	c->setter = NULL;
	c->conn = NULL;
}

static int connect_completer(struct qb_river_completer *c, struct qb_err *err)
{
	int rc = qb_pg_connect(c->client->conninfo, "qbench completer", CONNECT_NS, &c->conn, err);

	if (rc == 0)
		rc = qb_pg_exec(c->conn, "set statement_timeout = '10s'", err);
	if (rc == 0)
		rc = qb_river_setter_open(c->conn, c->client, &c->setter, err);
	if (rc < 0)
		drop_connection(c);
	return rc;
}

int qb_river_completer_open(const struct qb_river_client *client, struct qb_river_completer **out, struct qb_err *err)
{
	struct qb_river_completer *c = qb_xcalloc(1, sizeof(*c));
	pthread_condattr_t monotonic;

	c->client = client;
	qb_rng_init(&c->rng, client->seed, "river completer");
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &monotonic);
	pthread_cond_init(&c->resume, &monotonic);
	pthread_condattr_destroy(&monotonic);
	int rc = connect_completer(c, err);

	if (rc < 0) {
		qb_river_completer_close(c);
		return qb_err_context(err, "completer");
	}
	*out = c;
	return 0;
}

static void append(struct ends *e, const struct qb_river_end *what)
{
	if (e->count == e->cap) {
		e->cap = e->cap ? 2 * e->cap : 64;
		e->at = qb_xrealloc(e->at, e->cap * sizeof(*e->at));
	}
	e->at[e->count++] = *what;
}

void qb_river_completer_put(struct qb_river_completer *c, const struct qb_river_end *end)
{
	pthread_mutex_lock(&c->lock);
	while (c->gate)
		pthread_cond_wait(&c->resume, &c->lock);
	/* The one that closes the gate still passes. */
	if (c->waiting.count >= RIVER_BACKLOG_WAIT_THRESHOLD) {
		c->gate = true;
		if (c->waiting.count >= RIVER_MAX_BACKLOG)
			qb_log(QB_LOG_WARNING, "river: %zu results wait to be written", c->waiting.count);
	}
	append(&c->waiting, end);
	c->waiting.at[c->waiting.count - 1].seq = ++c->seq;
	if (c->waiting.count >= RIVER_COMPLETION_MAX_SIZE) {
		c->batch_ready = true;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
}

static void open_gate_locked(struct qb_river_completer *c)
{
	if (!c->gate || c->waiting.count >= RIVER_BACKLOG_WAIT_THRESHOLD / 2)
		return;
	c->gate = false;
	pthread_cond_broadcast(&c->resume);
}

/* A failed batch goes back, except jobs that have something newer there by now, which one_per_job() sees to. */
static void put_back(struct qb_river_completer *c)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->batch.count; i++)
		append(&c->waiting, &c->batch.at[i]);
	open_gate_locked(c);
	/* A turn for it comes soon in any case; with a whole batch there, at once. */
	if (c->waiting.count >= RIVER_COMPLETION_MAX_SIZE)
		c->batch_ready = true;
	pthread_mutex_unlock(&c->lock);
}

static int by_id_and_seq(const void *a, const void *b)
{
	const struct qb_river_end *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* One statement must not have a job twice; the newest counts. */
static void one_per_job(struct ends *e)
{
	size_t kept = 0;

	qsort(e->at, e->count, sizeof(*e->at), by_id_and_seq);
	for (size_t i = 0; i < e->count; i++)
		if (i + 1 == e->count || e->at[i + 1].id != e->at[i].id)
			e->at[kept++] = e->at[i];
	e->count = kept;
}

/* 1, 2, 4 s, +-10 % (ExponentialBackoff). */
static void pause_after(struct qb_river_completer *c, unsigned tries)
{
	double s = (double)(1u << (tries - 1));

	if (!c->hurry)
		qb_sleep_ns((uint64_t)((s + s * (qb_rng_unit(&c->rng) * 0.2 - 0.1)) * (double)QB_NS_PER_S));
}

static int set_with_retries(struct qb_river_completer *c, const struct qb_river_end *ends, size_t count,
			    struct qb_err *err)
{
	int rc = 0;

	for (unsigned tries = 1; tries <= RIVER_COMPLETER_TRIES; tries++) {
		rc = 0;
		if (c->conn && PQstatus(c->conn) == CONNECTION_BAD)
			drop_connection(c);
		if (!c->conn)
			rc = connect_completer(c, err);
		if (rc == 0) {
			__atomic_add_fetch(&c->statements, 1, __ATOMIC_RELAXED);
			rc = qb_river_set_states(c->setter, ends, count, err);
		}
		if (rc >= 0)
			return rc;
		qb_log(tries == RIVER_COMPLETER_TRIES ? QB_LOG_WARNING : QB_LOG_DEBUG, "river: %zu results could not be written: %s", count,
		       err->text);
		pause_after(c, tries);
	}
	return rc;
}

int qb_river_completer_flush(struct qb_river_completer *c, struct qb_err *err)
{
	struct qb_err why = { 0 };
	int rc = 0, changed = 0;

	pthread_mutex_lock(&c->lock);
	struct ends taken = c->waiting;

	c->batch.count = 0;
	c->waiting = c->batch;
	c->batch = taken;
	pthread_mutex_unlock(&c->lock);
	if (taken.count == 0)
		return 0;
	one_per_job(&c->batch);
	for (size_t from = 0; rc >= 0 && from < c->batch.count; from += RIVER_COMPLETION_MAX_SIZE) {
		size_t left = c->batch.count - from;

		rc = set_with_retries(c, c->batch.at + from,
				      left < RIVER_COMPLETION_MAX_SIZE ? left : RIVER_COMPLETION_MAX_SIZE, &why);
		changed += rc > 0 ? rc : 0;
	}
	if (rc < 0) {
		put_back(c);
		return qb_err_set(err, rc, "%s", why.text);
	}
	pthread_mutex_lock(&c->lock);
	open_gate_locked(c);
	pthread_mutex_unlock(&c->lock);
	return changed;
}

size_t qb_river_completer_backlog(struct qb_river_completer *c)
{
	pthread_mutex_lock(&c->lock);
	size_t count = c->waiting.count;

	pthread_mutex_unlock(&c->lock);
	return count;
}

uint64_t qb_river_completer_statements(const struct qb_river_completer *c)
{
	return __atomic_load_n(&c->statements, __ATOMIC_RELAXED);
}

void qb_river_completer_hurry(struct qb_river_completer *c)
{
	c->hurry = true;
}

void qb_river_completer_turn(struct qb_river_completer *c)
{
	uint64_t turn = c->turns++;

	/* The first turn, and every fifth, takes whatever there is. */
	if (qb_river_completer_backlog(c) < RIVER_COMPLETER_START_THRESHOLD && turn % RIVER_COMPLETER_TICKS_PER_FLUSH)
		return;
	do
		qb_river_completer_flush(c, NULL);
	while (qb_river_completer_backlog(c) >= RIVER_COMPLETER_START_THRESHOLD);
}

static void *completer_main(void *opaque)
{
	struct qb_river_completer *c = opaque;
	uint64_t tick = qb_now_ns() + RIVER_COMPLETER_TICK_NS;

	for (;;) {
		struct timespec until = { .tv_sec = (time_t)(tick / QB_NS_PER_S), .tv_nsec = (long)(tick % QB_NS_PER_S) };
		int timed_out = 0;

		pthread_mutex_lock(&c->lock);
		while (!c->stop && !c->batch_ready && !timed_out)
			timed_out = pthread_cond_timedwait(&c->wake, &c->lock, &until) == ETIMEDOUT;
		bool stop = c->stop;

		/* Like a ticker in Go: what is missed while a batch is written is one tick, and the beat stays. */
		if (!c->batch_ready) {
			uint64_t now = qb_now_ns();

			if (now >= tick)
				tick += RIVER_COMPLETER_TICK_NS * (1 + (now - tick) / RIVER_COMPLETER_TICK_NS);
		}
		c->batch_ready = false;
		pthread_mutex_unlock(&c->lock);
		if (stop)
			return NULL;
		qb_river_completer_turn(c);
	}
}

int qb_river_completer_start(struct qb_river_completer *c, struct qb_err *err)
{
	sigset_t all, old;

	/* Signals are for the worker's own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&c->thread, NULL, completer_main, c);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	c->running = rc == 0;
	return rc ? qb_err_errno(err, rc, "could not start the completer") : 0;
}

void qb_river_completer_close(struct qb_river_completer *c)
{
	struct qb_err err = { 0 };

	if (!c)
		return;
	if (c->running) {
		pthread_mutex_lock(&c->lock);
		c->stop = true;
		pthread_cond_signal(&c->wake);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->thread, NULL);
	}
	if (c->waiting.count && qb_river_completer_flush(c, &err) < 0)
		qb_log(QB_LOG_ERROR, "river: %zu results are lost: %s", c->waiting.count, err.text);
	drop_connection(c);
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->resume);
	pthread_mutex_destroy(&c->lock);
	free(c->waiting.at);
	free(c->batch.at);
	free(c);
}
