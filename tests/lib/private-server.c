/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Postgres server for a shell test, in a directory of its own.
 *
 *	private-server DIRECTORY
 *
 * Prints its connection string when it is ready, then reads commands, a line each, and answers each
 * with its output, if any, and a line "." (or "error: ..."):
 *
 *	sql TEXT        run it; rows one a line, columns separated by "|"
 *	stop MODE       fast, immediate or kill (the postmaster alone)
 *	restart         start it again on the same data
 *	standby         make a standby server of it; prints a connection string for whichever can be written to
 *	standby-sql TEXT        run it there
 *	failover        kill the postmaster, promote the standby server: from now on that is the server
 *
 * At the end of its input, also when the test was killed, the server is stopped and removed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pg/cluster.h"
#include "pg/conn.h"

/* The server, and its standby server or NULL. */
static struct qb_cluster *primary, *standby;
static const char *base_dir;

static int run_sql(const struct qb_cluster *c, const char *text, struct qb_err *err)
{
	PGresult *res;
	PGconn *conn;
	int rc = qb_pg_connect(qb_cluster_conninfo(c), "test", 10 * QB_NS_PER_S, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_pg_query(conn, text, 0, NULL, NULL, NULL, NULL, 0, &res, err);
	for (int row = 0; rc == 0 && row < PQntuples(res); row++) {
		for (int col = 0; col < PQnfields(res); col++)
			printf("%s%s", col ? "|" : "", PQgetvalue(res, row, col));
		putchar('\n');
	}
	if (rc == 0)
		PQclear(res);
	PQfinish(conn);
	return rc;
}

static int make_standby(struct qb_err *err)
{
	struct qb_cluster_config config = { .base_dir = base_dir, .standby_of = qb_cluster_conninfo(primary) };
	int rc;

	if (standby)
		return qb_err_set(err, -1, "there is a standby server");
	rc = qb_cluster_start(&config, &standby, err);
	if (rc == 0)
		printf("host=%s,%s port=5432,5432 user=qbench dbname=postgres target_session_attrs=read-write\n",
		       qb_cluster_dir(primary), qb_cluster_dir(standby));
	return rc;
}

static int fail_over(struct qb_err *err)
{
	int rc;

	if (!standby)
		return qb_err_set(err, -1, "there is no standby server");
	rc = qb_cluster_stop(primary, QB_CLUSTER_KILL, err);
	if (rc == 0)
		rc = run_sql(standby, "select pg_promote(true, 60)", err);
	if (rc == 0)
		rc = qb_cluster_destroy(primary, NULL, err);
	if (rc == 0) {
		primary = standby;
		standby = NULL;
	}
	return rc;
}

static int obey(struct qb_cluster *c, char *line, struct qb_err *err)
{
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, "standby") == 0)
		return make_standby(err);
	if (strncmp(line, "standby-sql ", 12) == 0)
		return standby ? run_sql(standby, line + 12, err) : qb_err_set(err, -1, "there is no standby server");
	if (strcmp(line, "failover") == 0)
		return fail_over(err);
	if (strncmp(line, "sql ", 4) == 0)
		return run_sql(c, line + 4, err);
	if (strcmp(line, "stop fast") == 0)
		return qb_cluster_stop(c, QB_CLUSTER_FAST, err);
	if (strcmp(line, "stop immediate") == 0)
		return qb_cluster_stop(c, QB_CLUSTER_IMMEDIATE, err);
	if (strcmp(line, "stop kill") == 0)
		return qb_cluster_stop(c, QB_CLUSTER_KILL, err);
	if (strcmp(line, "restart") == 0)
		return qb_cluster_restart(c, err);
	return qb_err_set(err, -1, "no such command: %s", line);
}

int main(int argc, char **argv)
{
	const char *const settings[] = { "max_connections = 200", NULL };
	struct qb_cluster_config config = { .base_dir = argc == 2 ? argv[1] : NULL, .settings = settings };
	struct qb_err err = { 0 };
	char line[8192];

	if (argc != 2) {
		fputs("usage: private-server DIRECTORY\n", stderr);
		return 2;
	}
	base_dir = argv[1];
	/* A Ctrl-C is for the test: it closes our input. */
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (qb_cluster_start(&config, &primary, &err) < 0) {
		fprintf(stderr, "private-server: %s\n", err.text);
		return 1;
	}
	printf("%s\n", qb_cluster_conninfo(primary));
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		qb_err_clear(&err);
		if (obey(primary, line, &err) < 0)
			printf("error: %s\n", err.text);
		else
			puts(".");
		fflush(stdout);
	}
	if (qb_cluster_destroy(standby, NULL, &err) < 0 || qb_cluster_destroy(primary, NULL, &err) < 0) {
		fprintf(stderr, "private-server: %s\n", err.text);
		return 1;
	}
	return 0;
}
