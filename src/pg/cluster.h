/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private Postgres server: made in a temporary directory, reached through a Unix socket in it,
 * durable like a real one (fsync and synchronous_commit on), removed at the end.
 *
 * Lives in: a directory "qbench-pg-XXXXXX" (0700), the postmaster as a direct child, this handle.
 * Writers and readers: the process and thread that called qb_cluster_start.
 * Progress: may block; every wait has a time-out.
 * Crash: the postmaster is told by the kernel (PDEATHSIG) when that *thread* ends and shuts down at
 * once, without a checkpoint; what stays is the directory, which the next qb_cluster_sweep() removes.  It knows by the
 * file "owner" (pid, start time, boot id) that the maker is dead.
 *
 * When qbench is root, initdb and postgres run as user postgres, or nobody, and the directory is
 * theirs.  Root and that user get in through the mode of the directory, nobody else.
 * No other server is ever touched.
 */
#ifndef QB_PG_CLUSTER_H
#define QB_PG_CLUSTER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct qb_cluster;

struct qb_cluster_config {
	const char *bindir;     /* NULL: see qb_cluster_find_bindir() */
	/*
	 * Where the directory is made.  NULL: $TMPDIR, else /tmp; a $TMPDIR that cannot serve (not
	 * writable, path too long for a socket, not reachable for the server's user) gives a
	 * warning and /tmp.  Named here, such a folder is an error.
	 */
	const char *base_dir;
	/* Tests that do not measure: fsync, synchronous_commit and full_page_writes off. */
	bool not_durable;
	/* Lines for postgresql.conf after ours ("name = value"), NULL-terminated, or NULL. */
	const char *const *settings;
	/*
	 * The conninfo of a running one: the new one begins as its standby server (pg_basebackup),
	 * streams from it, and can be made a primary with pg_promote().  Its settings are copied, too.
	 */
	const char *standby_of;
	/* Looked at while waiting; nonzero ends the start with QB_EINTR. May be NULL. */
	const volatile sig_atomic_t *interrupted;
};

enum qb_cluster_stop {
	QB_CLUSTER_FAST,        /* SIGINT: sessions end, a checkpoint is written */
	QB_CLUSTER_IMMEDIATE,   /* SIGQUIT: no checkpoint, the next start recovers from the log */
	QB_CLUSTER_KILL,        /* SIGKILL of the postmaster alone: busy backends live on */
};

/*
 * initdb, start, and wait until it answers.  0 and *out (caller: qb_cluster_destroy), or negative
 * with nothing left behind: QB_EUSAGE (no server programs, unusable base_dir), QB_ECHILD
 * (a server program failed; the text quotes the end of its log and says what to do), QB_ETIMEOUT,
 * QB_EINTR, -errno.
 */
int qb_cluster_start(const struct qb_cluster_config *config, struct qb_cluster **out,
		     struct qb_err *err);

/* For libpq, and for programs that speak its "keyword=value" strings. Owned by the cluster. */
const char *qb_cluster_conninfo(const struct qb_cluster *c);
const char *qb_cluster_dir(const struct qb_cluster *c);
const char *qb_cluster_log_path(const struct qb_cluster *c);
/* May a standby server be made with the programs in bindir (NULL: as above)? */
bool qb_cluster_has_standby(const char *bindir);
const char *qb_cluster_bindir(const struct qb_cluster *c);
/* As "postgres --version" has it: "postgres (PostgreSQL) 15.4". */
const char *qb_cluster_version(const struct qb_cluster *c);
/* The postmaster; 0 when stopped by us. It may have died since: see qb_cluster_alive. */
pid_t qb_cluster_pid(const struct qb_cluster *c);
bool qb_cluster_alive(const struct qb_cluster *c);

/*
 * Signal exactly that postmaster and wait for its death; a mode that does not work within its time
 * (20 s, 10 s, 10 s) is followed by the next harder one.  0 (also when it was dead), QB_ETIMEOUT.
 */
int qb_cluster_stop(struct qb_cluster *c, enum qb_cluster_stop mode, struct qb_err *err);

/*
 * Start again on the same data, after a stop or any other death.  Postgres refuses while backends
 * of the dead postmaster live; the start is then repeated, up to a minute in all.  Not interruptible.
 * 0, QB_EBUSY when it still runs, or as qb_cluster_start (the data stays).
 */
int qb_cluster_restart(struct qb_cluster *c, struct qb_err *err);

/*
 * Stop, copy the server's log to log_copy (unless NULL), remove everything, free c (NULL: nothing).
 * 0, or negative when something could not be removed or copied; c is gone in any case.
 */
int qb_cluster_destroy(struct qb_cluster *c, const char *log_copy, struct qb_err *err);

/* After fork, in the child: forget the server without touching it. Frees c. */
void qb_cluster_abandon_in_child(struct qb_cluster *c);

/*
 * Remove what dead owners left under base_dir (NULL: $TMPDIR and /tmp).  Server processes that
 * still run in such a directory are ended first.  Only directories of our own user, or of the
 * server's when we are root; never one whose owner lives or cannot be judged from here (another
 * host or pid name space); links are not followed.
 * The number of directories removed, or -errno when base_dir cannot be read; a directory that
 * resists is a warning.
 */
int qb_cluster_sweep(const char *base_dir, struct qb_err *err);

/*
 * Directory with both initdb and postgres: bindir if given, else the first of: configure's
 * --with-postgres-bindir, $PATH, pg_config --bindir, the newest of /usr/lib/postgresql/VERSION/bin
 * and /usr/pgsql-VERSION/bin.  0 and *out (malloc'ed), or QB_EUSAGE with what to install.
 */
int qb_cluster_find_bindir(const char *bindir, char **out, struct qb_err *err);

#endif
