/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a private server's handle, and what is done once before its first start.
 * Not for other rooms.
 */
#ifndef QB_PG_SETUP_H
#define QB_PG_SETUP_H

#include <signal.h>
#include <sys/types.h>

#include "pg/cluster.h"
#include "pg/spawn.h"

#define QB_PG_SOCKET_NAME "/.s.PGSQL.5432"

struct qb_cluster {
	char *bindir;
	char *dir;
	char *data_dir;
	char *log_path;
	char *conninfo;
	char *version;
	struct qb_pg_user user;
	struct qb_pg_child server;      /* pid 0 when stopped */
	off_t log_off;                  /* where the log of this start begins */
	pid_t maker;
	const volatile sig_atomic_t *interrupted;
};

/*
 * Make the directory, sign it, initdb, write the settings; c->bindir and c->user are there.
 * 0, or negative and err; c->dir says whether there is something to remove.
 */
int qb_pg_setup(struct qb_cluster *c, const struct qb_cluster_config *config, struct qb_err *err);

/* A program of the server, working in dir, as the server's user. */
struct qb_pg_program qb_pg_program_of(const struct qb_cluster *c, const char *path,
				      const char *const *argv, const char *dir, int out_fd);

/* pg_basebackup: there, or where the postgres there really lies (a link to it may be all that there is). malloc'ed. */
char *qb_pg_basebackup_path(const char *bindir);

/* The fd (read, append), or -errno. Opened here and handed down: ours, whoever writes it. */
int qb_pg_open_log(const char *path);

/* QB_ECHILD and "WHAT (exit status 1): what to do; its output ends: ...", behind c->log_off. */
int qb_pg_report_child(const struct qb_cluster *c, const char *what, int status, int log_fd,
		       struct qb_err *err);

#endif
