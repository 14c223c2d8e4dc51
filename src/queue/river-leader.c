/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Election: who of all clients of a database does the maintenance.  A row with an end; whoever inserts it leads,
 * renews it every five seconds, and believes in it a second less than it lasts.
 */
#include "queue/river-leader.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-control.h"
#include "shm/status.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define STATEMENT_TIMEOUT_MS 5000       /* deadlineTimeout */
#define RESIGN_TRIES 3                  /* maxNumErrors of attemptResignLoop */
#define S QB_NS_PER_S
#define HOUR (3600 * QB_NS_PER_S)

const struct qb_river_upkeep qb_river_upkeep_default = {
	.elect_ns = 5 * S,
	.elect_jitter_ns = 1 * S,
	.ttl_padding_ns = 10 * S,
	.trust_margin_ns = 1 * S,
	.resigned_jitter_ns = 50 * QB_NS_PER_MS,
	.backoff_ns = 1 * S,
	.stagger_ns = 1 * S,
	.batch_pause_min_ns = 50 * QB_NS_PER_MS,
	.batch_pause_max_ns = 1 * S,
	.batch = 10000,
	.batch_reduced = 1000,
	.timeout_ms = 30000,
	.schedule_ns = RIVER_SCHEDULER_INTERVAL_NS,
	.rescue_ns = 30 * S,
	.clean_ns = 30 * S,
	.clean_queues_ns = 1 * HOUR,
	.reindex_ns = 24 * HOUR,
	.keep_completed_ns = 24 * HOUR,
	.keep_cancelled_ns = 24 * HOUR,
	.keep_discarded_ns = 7 * 24 * HOUR,
	.keep_queue_ns = 24 * HOUR,
};

/* The elector's own; nobody else reads it. */
struct elector {
	struct qb_river_leader *l;
	PGconn *conn;
	struct qb_rng rng;
	char leadership[128], control[128];
	int64_t elected_at;             /* as the server gave it; part of the lease's identity */
	uint64_t trusted_until_ns;      /* 0: follows */
	uint64_t next_ns;               /* when to attempt, or to renew */
	unsigned failed;                /* in a row */
	bool resign_requested;
};

uint64_t qb_river_between(struct qb_rng *rng, uint64_t min_ns, uint64_t max_ns)
{
	return max_ns > min_ns ? min_ns + qb_rng_below(rng, max_ns - min_ns) : min_ns;
}

uint64_t qb_river_backoff(struct qb_rng *rng, uint64_t unit_ns, unsigned attempt)
{
	uint64_t pause = unit_ns << (attempt ? (attempt - 1) % 7 : 0);

	return qb_river_between(rng, pause - pause / 10, pause + pause / 10);
}

void qb_river_note_error(struct qb_river_leader *l, const struct qb_err *err)
{
	pthread_mutex_lock(&l->lock);
	l->status.errors++;
	snprintf(l->status.last_error, sizeof(l->status.last_error), "%.255s", err->text);
	pthread_mutex_unlock(&l->lock);
}

void qb_river_leader_status(struct qb_river_leader *l, struct qb_river_status *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->status;
	pthread_mutex_unlock(&l->lock);
}

/*
 * Whatever runs for the term that has ended is of no use any more. A request to cancel would wait for a server that may
 * hang; who loses its socket is told at once, and the server rolls back.
 */
static void cut_busy_locked(struct qb_river_leader *l)
{
	for (unsigned i = 0; i < 2; i++)
		if (l->busy_fd[i] >= 0)
			shutdown(l->busy_fd[i], SHUT_RDWR);
}

/* trusted_until_ns 0: no more. */
static void publish(struct elector *e, uint64_t trusted_until_ns)
{
	struct qb_river_leader *l = e->l;

	e->trusted_until_ns = trusted_until_ns;
	pthread_mutex_lock(&l->lock);
	if (trusted_until_ns && !l->status.leading) {
		l->term++;
		l->status.terms++;
	}
	if (!trusted_until_ns && l->status.leading)
		cut_busy_locked(l);
	l->trusted_until_ns = trusted_until_ns;
	l->status.leading = trusted_until_ns != 0;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

static int query(struct elector *e, const char *sql, const struct qb_sql_args *a, PGresult **res, struct qb_err *err)
{
	char *text = qb_river_sql(e->l->c->schema, sql);
	int rc = qb_pg_query(e->conn, text, a->n, NULL, a->values, a->lengths, a->formats, 1, res, err);

	free(text);
	return rc;
}

static void arg_ttl(struct qb_sql_args *a, const struct qb_river_upkeep *u)
{
	qb_arg_i64(a, (int64_t)((u->elect_ns + u->ttl_padding_ns) / QB_NS_PER_US));
}

/* Begun before the statement was sent: the lease is the longer one. */
static uint64_t trust_from(const struct qb_river_upkeep *u, uint64_t sent_ns)
{
	uint64_t ttl = u->elect_ns + u->ttl_padding_ns;

	return sent_ns + (ttl > u->trust_margin_ns ? ttl - u->trust_margin_ns : 0);
}

/* 1: elected; 0: another one leads; negative. */
static int attempt_elect(struct elector *e, struct qb_err *err)
{
	struct qb_sql_args none = { .n = 0 }, a = { .n = 0 };
	uint64_t sent_ns = qb_now_ns();
	PGresult *res = NULL;
	int rc = qb_pg_exec(e->conn, "begin", err), won = 0;

	if (rc == 0)
		rc = query(e, "delete from $S.river_leader where expires_at < now()", &none, NULL, err);
	qb_arg_text(&a, e->l->c->id);
	arg_ttl(&a, &e->l->u);
	if (rc == 0)
		rc = query(e,
			   "insert into $S.river_leader (leader_id, elected_at, expires_at)"
			   " values ($1::text, now(), now() + $2::bigint * interval '1 microsecond')"
			   " on conflict (name) do nothing returning elected_at", &a, &res, err);
	if (rc == 0 && PQntuples(res) == 1) {
		won = 1;
		rc = qb_pg_get_i64(res, 0, 0, &e->elected_at);
	}
	PQclear(res);
	if (rc == 0)
		rc = qb_pg_exec(e->conn, "commit", err);
	else if (PQstatus(e->conn) == CONNECTION_OK)
		qb_pg_exec(e->conn, "rollback", NULL);
	if (rc < 0)
		return rc;
	if (won)
		publish(e, trust_from(&e->l->u, sent_ns));
	return won;
}

/* 1: renewed; 0: the lease is another one's, or ran out; negative. */
static int renew(struct elector *e, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	uint64_t sent_ns = qb_now_ns();
	PGresult *res = NULL;

	qb_arg_text(&a, e->l->c->id);
	arg_ttl(&a, &e->l->u);
	qb_arg_i64(&a, e->elected_at);
	int rc = query(e,
		       "update $S.river_leader set expires_at = now() + $2::bigint * interval '1 microsecond'"
		       " where leader_id = $1::text and elected_at = $3::timestamptz and expires_at >= now()"
		       " returning elected_at", &a, &res, err);
	int held = rc == 0 && PQntuples(res) == 1;

	PQclear(res);
	if (rc < 0)
		return rc;
	if (held)
		publish(e, trust_from(&e->l->u, sent_ns));
	return held;
}

/* A pause or resume that was told before this connection listened: the queue's row still says it. */
static int catch_up(struct elector *e, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res;
	bool paused;

	if (!e->l->c->control)
		return 0;
	qb_arg_text(&a, RIVER_QUEUE);
	int rc = query(e, "select paused_at is not null from $S.river_queue where name = $1::text", &a, &res, err);

	if (rc < 0)
		return rc;
	if (PQntuples(res) == 1 && qb_pg_get_bool(res, 0, 0, &paused) == 0)
		qb_river_set_paused(e->l->c->control, RIVER_QUEUE, paused);
	PQclear(res);
	return 0;
}

static int connect_now(struct elector *e, uint64_t timeout_ns, struct qb_err *err)
{
	int rc = qb_pg_connect(e->l->c->conninfo, "qbench leader", timeout_ns, &e->conn, err);
	char timeout[16];

	if (rc < 0)
		return rc;
	snprintf(timeout, sizeof(timeout), "%d", STATEMENT_TIMEOUT_MS);
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, timeout);
	rc = query(e, "select set_config('statement_timeout', $1::text, false)", &a, NULL, err);
	if (rc == 0)
		rc = qb_pg_listen(e->conn, e->control, err);
	if (rc == 0)
		rc = qb_pg_listen(e->conn, e->leadership, err);
	return rc == 0 ? catch_up(e, err) : rc;
}

static void disconnect(struct elector *e)
{
	PQfinish(e->conn);
	e->conn = NULL;
}

/* The row goes and the others hear of it, in one statement; nothing when the row is not ours any more. */
static int resign_once(struct elector *e, unsigned try, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	int rc = 0;

	if (!e->conn)
		rc = connect_now(e, try * QB_NS_PER_S, err);
	qb_arg_text(&a, e->l->c->id);
	qb_arg_i64(&a, e->elected_at);
	qb_arg_text(&a, e->leadership);
	if (rc == 0)
		rc = query(e,
			   "with gone as (delete from $S.river_leader"
			   "   where leader_id = $1::text and elected_at = $2::timestamptz returning leader_id)"
			   " select pg_notify($3::text,"
			   "   json_build_object('leader_id', leader_id, 'action', 'resigned')::text) from gone",
			   &a, NULL, err);
	if (rc < 0)
		disconnect(e);
	return rc;
}

/* The maintenance has ended, or will; who cannot reach the server leaves the row to run out. */
static void resign(struct elector *e)
{
	struct qb_err err = { 0 };

	publish(e, 0);
	e->resign_requested = false;
	for (unsigned try = 1; try <= RESIGN_TRIES; try++) {
		if (resign_once(e, try, &err) == 0)
			return;
		qb_river_note_error(e->l, &err);
		if (try < RESIGN_TRIES)
			qb_sleep_ns(qb_river_backoff(&e->rng, e->l->u.backoff_ns, try));
	}
}

static void follow(struct elector *e, uint64_t now)
{
	struct qb_err err = { 0 };
	int rc = attempt_elect(e, &err);

	if (rc < 0) {
		qb_river_note_error(e->l, &err);
		e->next_ns = now + qb_river_backoff(&e->rng, e->l->u.backoff_ns, ++e->failed);
		return;
	}
	e->failed = 0;
	if (rc) {
		e->next_ns = now + e->l->u.elect_ns;
		return;
	}
	pthread_mutex_lock(&e->l->lock);
	e->l->status.denied++;
	pthread_mutex_unlock(&e->l->lock);
	e->next_ns = now + qb_river_between(&e->rng, e->l->u.elect_ns, e->l->u.elect_ns + e->l->u.elect_jitter_ns);
}

static void lead(struct elector *e, uint64_t now)
{
	struct qb_err err = { 0 };
	int rc;

	rc = renew(e, &err);
	if (rc < 0) {
		qb_river_note_error(e->l, &err);
		e->next_ns = now + qb_river_backoff(&e->rng, e->l->u.backoff_ns, e->failed % 3 + 1);
		e->failed++;
		return;
	}
	e->failed = 0;
	e->next_ns = now + e->l->u.elect_ns;
	if (!rc) {
		/* Somebody else's already: there is nothing to resign. */
		publish(e, 0);
		e->next_ns = now;
		return;
	}
	pthread_mutex_lock(&e->l->lock);
	e->l->status.renewed++;
	pthread_mutex_unlock(&e->l->lock);
}

/* A leader cares for request_resign, whoever is named in it; a follower for another one's resignation. */
static void on_leadership(struct elector *e, const char *payload)
{
	char action[32], leader_id[RIVER_CLIENT_ID_BYTES + 32];
	const char *value;
	size_t bytes, total = strlen(payload);

	if (!qb_river_json_get(payload, total, "action", &value, &bytes) ||
	    !qb_river_json_string(value, bytes, action, sizeof(action)))
		return;
	if (!strcmp(action, "request_resign") && e->trusted_until_ns) {
		e->resign_requested = true;
		return;
	}
	if (strcmp(action, "resigned") || e->trusted_until_ns)
		return;
	if (qb_river_json_get(payload, total, "leader_id", &value, &bytes) &&
	    qb_river_json_string(value, bytes, leader_id, sizeof(leader_id)) && !strcmp(leader_id, e->l->c->id))
		return;
	e->next_ns = qb_now_ns() + qb_river_between(&e->rng, 0, e->l->u.resigned_jitter_ns);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
	struct elector *e = ctx;

	if (!strcmp(channel, e->leadership))
		on_leadership(e, payload);
	else if (!strcmp(channel, e->control))
		qb_river_control_handle(e->l->c, payload);
}

static void lost_connection(struct elector *e, const struct qb_err *err)
{
	qb_river_note_error(e->l, err);
	disconnect(e);
	e->failed = 0;
	e->next_ns = qb_now_ns();
}

/* Each time something may be due. */
static void act(struct elector *e)
{
	uint64_t now = qb_now_ns();
	struct qb_err err = { 0 };

	if (e->resign_requested || (e->trusted_until_ns && now >= e->trusted_until_ns)) {
		resign(e);
		e->next_ns = now = qb_now_ns();
	}
	if (now < e->next_ns)
		return;
	if (!e->conn && connect_now(e, CONNECT_NS, &err) < 0) {
		qb_river_note_error(e->l, &err);
		disconnect(e);
		e->next_ns = now + qb_river_backoff(&e->rng, e->l->u.backoff_ns, ++e->failed);
		return;
	}
	if (e->l->c->opt.elect == RIVER_ELECT_OFF)
		e->next_ns = UINT64_MAX;
	else if (e->trusted_until_ns)
		lead(e, now);
	else
		follow(e, now);
	if (e->conn && PQstatus(e->conn) != CONNECTION_OK)
		disconnect(e);
}

static bool told_to_stop(struct qb_river_leader *l)
{
	pthread_mutex_lock(&l->lock);
	bool stop = l->stop_elector;

	pthread_mutex_unlock(&l->lock);
	return stop;
}

static void *elector_main(void *leader)
{
	struct elector e = { .l = leader };
	struct qb_err err = { 0 };
	uint64_t until;

	qb_rng_init(&e.rng, e.l->c->seed, "river elector");
	qb_river_channel(e.l->c->schema, "leadership", e.leadership, sizeof(e.leadership));
	qb_river_channel(e.l->c->schema, "control", e.control, sizeof(e.control));
	while (!told_to_stop(e.l)) {
		act(&e);
		until = e.next_ns;
		if (e.trusted_until_ns && e.trusted_until_ns < until)
			until = e.trusted_until_ns;
		if (!e.resign_requested && qb_river_wait(e.conn, until, e.l->wake_fd, on_notify, &e, &err) < 0)
			lost_connection(&e, &err);
	}
	if (e.trusted_until_ns)
		resign(&e);
	disconnect(&e);
	return NULL;
}

/* Signals are the worker's; a thread of ours must not take them. */
static int start_thread(pthread_t *thread, void *(*run)(void *), struct qb_river_leader *l, bool *runs,
			struct qb_err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		return qb_err_errno(err, rc, "could not start a thread");
	*runs = true;
	return 0;
}

int qb_river_leader_start_with(const struct qb_river_client *c, const struct qb_river_upkeep *u,
			       struct qb_river_leader **out, struct qb_err *err)
{
	struct qb_river_leader *l = qb_xcalloc(1, sizeof(*l));
	pthread_condattr_t attr;
	int rc = 0;

	l->c = c;
	l->u = *u;
	l->busy_fd[0] = l->busy_fd[1] = -1;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->changed, &attr);
	pthread_condattr_destroy(&attr);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0)
		rc = qb_err_errno(err, errno, "could not make an eventfd");
	if (rc == 0)
		rc = start_thread(&l->elector, elector_main, l, &l->elector_runs, err);
	if (rc == 0 && c->opt.elect == RIVER_ELECT_ON)
		rc = start_thread(&l->maintainer, qb_river_maintainer_main, l, &l->maintainer_runs, err);
	if (rc < 0) {
		qb_river_leader_stop(l);
		return rc;
	}
	*out = l;
	return 0;
}

int qb_river_leader_start(const struct qb_river_client *c, struct qb_river_leader **out, struct qb_err *err)
{
	return qb_river_leader_start_with(c, &qb_river_upkeep_default, out, err);
}

/* The maintenance first: nobody is elected while this client still does it. */
void qb_river_leader_stop(struct qb_river_leader *l)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop_maintainer = true;
	cut_busy_locked(l);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	if (l->maintainer_runs)
		pthread_join(l->maintainer, NULL);
	pthread_mutex_lock(&l->lock);
	l->stop_elector = true;
	pthread_mutex_unlock(&l->lock);
	if (l->elector_runs) {
		eventfd_write(l->wake_fd, 1);
		pthread_join(l->elector, NULL);
	}
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
