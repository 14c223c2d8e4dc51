/* SPDX-License-Identifier: Apache-2.0 */
/* The Postgres of a run: the user's, or a private one. */
#include "run/run.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pg/cluster.h"
#include "pg/conn.h"
#include "run/server.h"
#include "shm/status.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define SESSIONS_NS (3 * QB_NS_PER_S)
#define STRANGERS_NS (300 * QB_NS_PER_MS)

struct qb_server {
	struct qb_cluster *cluster;     /* NULL: the user's */
	char *url;
	char version[64];
	uint64_t cluster_id;
	PGconn *conn;                   /* for the load figures; opened when first asked */
	int64_t own;                    /* statements sent on it since the first of those figures */

	/*
	 * Who kills it and starts it again, so that the driver goes on meanwhile. A thread that lives as long as
	 * the server: the kernel tells a postmaster when the thread that started it ends.
	 */
	pthread_t keeper;
	int has_keeper;
	pthread_mutex_t lock;           /* for what follows */
	pthread_cond_t changed;
	int wanted, leaves;             /* a kill; the end */
	int away;                       /* from the kill until it serves again */
	struct qb_err failure;          /* why it did not come back; code 0: it did */
};

static int ask(struct qb_server *s, struct qb_err *err)
{
	PGresult *res = NULL;
	int64_t id = 0;
	int rc = qb_pg_connect(qb_server_conninfo(s), "qbench driver", CONNECT_NS, &s->conn, err);

	if (rc < 0)
		return rc;
	int number = PQserverVersion(s->conn);

	snprintf(s->version, sizeof(s->version), "%d.%d", number / 10000, number % 10000);
	if (number < 120000)
		return qb_err_set(err, QB_EUSAGE, "this server is Postgres %s; 12 or newer is needed", s->version);
	rc = qb_pg_query(s->conn, "select system_identifier from pg_control_system()", 0, NULL, NULL, NULL, NULL, 1, &res,
			 NULL);
	/* Only for those who may ask; without it a segment cannot be told from another cluster's. */
	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &id) == 0)
		s->cluster_id = (uint64_t)id;
	PQclear(res);
	return 0;
}

/* Every worker may hold a connection for each slot and one to listen; the driver and others need a few. */
static int start_private(const struct qb_run_config *cfg, struct qb_server *s, uint64_t connections, struct qb_err *err)
{
	char max_connections[64];
	const char *const settings[] = { max_connections, NULL };
	struct qb_cluster_config cc = { .settings = settings, .interrupted = &qb_interrupted };

	(void)cfg;
	snprintf(max_connections, sizeof(max_connections), "max_connections = %llu",
		 (unsigned long long)(connections < 100 ? 100 : connections));
	struct qb_err sweep_err = { 0 };

	qb_cluster_sweep(NULL, &sweep_err);
	return qb_cluster_start(&cc, &s->cluster, err);
}

/*
 * pg_stat_statements in the private server, where its package is installed: it has to be loaded when the server starts,
 * and only a running one can tell whether it is there.
 */
static int count_statements(struct qb_server *s, struct qb_err *err)
{
	int64_t available = 0;
	int rc = qb_pg_query_i64(s->conn, "select count(*) from pg_available_extensions where name = 'pg_stat_statements'",
				 &available, err);

	if (rc < 0 || !available)
		return rc;
	rc = qb_pg_exec(s->conn, "alter system set shared_preload_libraries = 'pg_stat_statements'", err);
	PQfinish(s->conn);
	s->conn = NULL;
	if (rc == 0)
		rc = qb_cluster_stop(s->cluster, QB_CLUSTER_FAST, err);
	if (rc == 0)
		rc = qb_cluster_restart(s->cluster, err);
	if (rc == 0)
		rc = ask(s, err);
	if (rc == 0)
		rc = qb_pg_exec(s->conn, "create extension pg_stat_statements schema public", err);
	return rc < 0 ? qb_err_context(err, "could not make the private server count statements") : 0;
}

/* ---- killed and started again ---- */

static void kill_and_restart(struct qb_server *s, struct qb_err *err)
{
	int rc = qb_cluster_stop(s->cluster, QB_CLUSTER_KILL, err);

	if (rc == 0)
		rc = qb_cluster_restart(s->cluster, err);
	if (rc < 0)
		qb_err_context(err, "the private server was killed by the fault plan and did not come back");
}

static void *keeper_main(void *opaque)
{
	struct qb_server *s = opaque;

	pthread_mutex_lock(&s->lock);
	while (!s->leaves) {
		struct qb_err err = { 0 };

		if (!s->wanted) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		s->wanted = 0;
		pthread_mutex_unlock(&s->lock);
		kill_and_restart(s, &err);
		pthread_mutex_lock(&s->lock);
		s->failure = err;
		s->away = 0;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int start_keeper(struct qb_server *s)
{
	sigset_t all, before;

	/* A Ctrl-C is for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&s->keeper, NULL, keeper_main, s);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->has_keeper = rc == 0;
	return -rc;
}

int qb_server_kill(struct qb_server *s)
{
	int rc = 0;

	if (!s->cluster)
		return QB_EUSAGE;
	if (!s->has_keeper && (rc = start_keeper(s)) < 0)
		return rc;
	pthread_mutex_lock(&s->lock);
	if (s->away || s->failure.code)
		rc = QB_EBUSY;
	else
		s->wanted = s->away = 1;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int qb_server_is_away(struct qb_server *s)
{
	pthread_mutex_lock(&s->lock);
	int away = s->away;

	pthread_mutex_unlock(&s->lock);
	return away;
}

int qb_server_failed(struct qb_server *s, struct qb_err *err)
{
	pthread_mutex_lock(&s->lock);
	int rc = s->away ? 0 : s->failure.code;

	if (rc)
		*err = s->failure;
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static void end_keeper(struct qb_server *s)
{
	if (!s->has_keeper)
		return;
	pthread_mutex_lock(&s->lock);
	s->leaves = 1;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->keeper, NULL);
}

static void await_return(struct qb_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->away)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* ---- as the command line sees it ---- */

int qb_server_open(const struct qb_run_config *cfg, uint64_t connections, struct qb_server **out, struct qb_err *err)
{
	struct qb_server *s = qb_xcalloc(1, sizeof(*s));
	int rc = 0;

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);

	if (cfg->postgres_url)
		s->url = qb_xstrdup(cfg->postgres_url);
	else
		rc = start_private(cfg, s, connections, err);
	if (rc == 0)
		rc = ask(s, err);
	if (rc == 0 && s->cluster && cfg->counts_statements)
		rc = count_statements(s, err);
	if (rc < 0) {
		qb_server_close(s, NULL);
		return rc;
	}
	*out = s;
	return 0;
}

const char *qb_server_conninfo(const struct qb_server *s)
{
	return s->cluster ? qb_cluster_conninfo(s->cluster) : s->url;
}

const char *qb_server_version(const struct qb_server *s)
{
	return s->version;
}

int qb_server_is_private(const struct qb_server *s)
{
	return s->cluster != NULL;
}

uint64_t qb_server_cluster_id(const struct qb_server *s)
{
	return s->cluster_id;
}

pid_t qb_server_pid(const struct qb_server *s)
{
	return s->cluster ? qb_cluster_pid(s->cluster) : 0;
}

int qb_server_knows_run(struct qb_server *s, const char *run_id)
{
	int64_t has_table = 0;

	return s->conn &&
	       qb_pg_query_i64(s->conn, "select (to_regclass('qbench.run') is not null)::int::bigint", &has_table,
			       NULL) == 0 &&
	       has_table && qb_schema_run_is_known(s->conn, run_id, NULL) > 0;
}

/* Sessions publish what they did before they vanish from the list. */
static int await_sessions(PGconn *conn, int64_t *own, struct qb_err *err)
{
	uint64_t begin = qb_now_ns();
	struct qb_pg_sessions n;

	for (;;) {
		int rc = qb_pg_sessions_read(conn, own, &n, err);
		uint64_t waited = qb_now_ns() - begin;

		if (rc < 0 || n.ours + n.strangers == 0 || waited > (n.ours ? SESSIONS_NS : STRANGERS_NS))
			return rc;
		qb_sleep_ns(5 * QB_NS_PER_MS);
	}
}

static int read_stats(struct qb_server *s, struct qb_pg_stats *out, struct qb_err *err)
{
	int rc = s->conn ? await_sessions(s->conn, &s->own, err) : QB_EPG;

	return rc < 0 ? rc : qb_pg_stats_read(s->conn, &s->own, out, err);
}

int qb_server_stats(struct qb_server *s, struct qb_pg_stats *out)
{
	struct qb_err err = { 0 };

	if (read_stats(s, out, &err) == 0)
		return 0;
	PQfinish(s->conn);
	s->conn = NULL;
	if (qb_pg_connect(qb_server_conninfo(s), "qbench driver", CONNECT_NS, &s->conn, &err) == 0 &&
	    read_stats(s, out, &err) == 0)
		return 0;
	qb_log(QB_LOG_WARNING, "what the run costs the database is not known: %s", err.text);
	return QB_EPG;
}

void qb_server_close(struct qb_server *s, const char *log_copy)
{
	struct qb_err err = { 0 };

	if (!s)
		return;
	PQfinish(s->conn);
	await_return(s);
	qb_cluster_destroy(s->cluster, log_copy, &err);
	end_keeper(s);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->url);
	free(s);
}
