/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "pg/owner.h"
#include "pg/setup.h"
#include "pg/spawn.h"
#include "shm/status.h"

#define READY_TIMEOUT_NS (60 * QB_NS_PER_S)
#define FIRST_STEP_NS (5 * QB_NS_PER_MS)
#define LAST_STEP_NS (50 * QB_NS_PER_MS)
#define REFUSED_STEP_NS (200 * QB_NS_PER_MS)

const char *qb_cluster_conninfo(const struct qb_cluster *c)
{
	return c->conninfo;
}

const char *qb_cluster_dir(const struct qb_cluster *c)
{
	return c->dir;
}

const char *qb_cluster_log_path(const struct qb_cluster *c)
{
	return c->log_path;
}

const char *qb_cluster_bindir(const struct qb_cluster *c)
{
	return c->bindir;
}

const char *qb_cluster_version(const struct qb_cluster *c)
{
	return c->version;
}

bool qb_cluster_has_standby(const char *bindir)
{
	char *dir, *path;
	bool has;

	if (qb_cluster_find_bindir(bindir, &dir, NULL) < 0)
		return false;
	path = qb_pg_basebackup_path(dir);
	has = access(path, X_OK) == 0;
	free(path);
	free(dir);
	return has;
}

pid_t qb_cluster_pid(const struct qb_cluster *c)
{
	return c->server.pid;
}

bool qb_cluster_alive(const struct qb_cluster *c)
{
	return c->server.pid && qb_pidfd_wait(c->server.pidfd, 0) == 0;
}

static void free_cluster(struct qb_cluster *c)
{
	free(c->bindir);
	free(c->dir);
	free(c->data_dir);
	free(c->log_path);
	free(c->conninfo);
	free(c->version);
	free(c);
}

static int launch(struct qb_cluster *c, struct qb_err *err)
{
	char *path = qb_xasprintf("%s/postgres", c->bindir);
	/* By its path: it looks for its other files from there, and they are seldom on the PATH. */
	const char *const argv[] = { path, "-D", c->data_dir, NULL };
	struct qb_pg_program program;
	int log_fd = qb_pg_open_log(c->log_path), ret;

	if (log_fd < 0) {
		ret = qb_err_errno(err, -log_fd, "could not write %s", c->log_path);
		goto out;
	}
	c->log_off = lseek(log_fd, 0, SEEK_END);
	program = qb_pg_program_of(c, path, argv, c->data_dir, log_fd);
	/*
	 * The immediate shutdown: at our death its data go with the directory, and a fast one writes a
	 * checkpoint first, or waits for a standby.
	 */
	program.death_signal = SIGQUIT;
	ret = qb_pg_spawn(&program, &c->server, err);
	close(log_fd);
out:
	free(path);
	return ret;
}

/*
 * The postmaster itself writes "ready" into its pid file.  Asked that way and not by connecting
 * again and again, its log holds no refused connections that nobody made.
 */
static bool says_ready(const struct qb_cluster *c)
{
	char *path = qb_xasprintf("%s/postmaster.pid", c->data_dir);
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char text[1024];
	ssize_t n = -1;

	free(path);
	if (fd >= 0) {
		n = qb_pread_full(fd, text, sizeof(text) - 1, 0);
		close(fd);
	}
	text[n > 0 ? n : 0] = '\0';
	/* The file of a killed predecessor says "ready" too, with another pid. */
	return strtol(text, NULL, 10) == c->server.pid && strstr(text, "\nready");
}

static bool answers(const struct qb_cluster *c)
{
	char *conninfo = qb_xasprintf("%s hostaddr='' connect_timeout=5", c->conninfo);
	PGPing ping = PQping(conninfo);

	free(conninfo);
	return ping == PQPING_OK;
}

/* 0; QB_ECHILD when it ended (not yet reaped); QB_ETIMEOUT or QB_EINTR while it still runs. */
static int await_ready(struct qb_cluster *c, uint64_t deadline_ns)
{
	uint64_t step_ns = FIRST_STEP_NS;
	int dead;

	for (;;) {
		dead = qb_pidfd_wait(c->server.pidfd, step_ns);
		if (dead)
			return dead == 1 ? QB_ECHILD : dead;
		if (says_ready(c) && answers(c))
			return 0;
		if (c->interrupted && *c->interrupted)
			return QB_EINTR;
		if (qb_now_ns() >= deadline_ns)
			return QB_ETIMEOUT;
		step_ns = step_ns * 2 > LAST_STEP_NS ? LAST_STEP_NS : step_ns * 2;
	}
}

/* Did the start that just failed only meet the remains of the one before? */
static bool was_refused(int log_fd, off_t log_off)
{
	char tail[1024];

	qb_pg_tail(log_fd, log_off, tail, sizeof(tail));
	return strstr(tail, "is still in use") || strstr(tail, "already exists") ||
	       strstr(tail, "Is another postmaster");
}

/* Start on the data that is there; retry: backends of a dead postmaster may be in the way. */
static int start_server(struct qb_cluster *c, bool retry, struct qb_err *err)
{
	uint64_t deadline_ns = qb_now_ns() + READY_TIMEOUT_NS;
	int log_fd, ret, status;
	bool again;

	do {
		ret = launch(c, err);
		if (ret < 0)
			return ret;
		ret = await_ready(c, deadline_ns);
		if (!ret)
			return 0;
		status = -1;
		if (ret == QB_ECHILD)
			status = qb_pg_reap(&c->server);
		else
			qb_cluster_stop(c, QB_CLUSTER_IMMEDIATE, NULL);
		if (ret == QB_EINTR)
			return qb_err_set(err, ret, "interrupted while the private server started");
		log_fd = qb_pg_open_log(c->log_path);
		again = ret == QB_ECHILD && retry && was_refused(log_fd, c->log_off) &&
			qb_now_ns() < deadline_ns;
		if (!again && ret == QB_ECHILD)
			qb_pg_report_child(c, "the private Postgres server did not start", status,
					   log_fd, err);
		else if (!again && ret == QB_ETIMEOUT)
			qb_err_set(err, ret,
				   "the private Postgres server (%s) was not ready within 60 s",
				   c->dir);
		else if (!again)
			qb_err_errno(err, -ret, "could not watch the private Postgres server");
		if (log_fd >= 0)
			close(log_fd);
		if (again)
			qb_sleep_ns(REFUSED_STEP_NS);
	} while (again);
	return ret;
}

int qb_cluster_start(const struct qb_cluster_config *config, struct qb_cluster **out,
		     struct qb_err *err)
{
	struct qb_cluster *c = qb_xcalloc(1, sizeof(*c));
	int ret;

	*out = NULL;
	c->server.pidfd = -1;
	c->maker = getpid();
	c->interrupted = config->interrupted;
	ret = qb_cluster_find_bindir(config->bindir, &c->bindir, err);
	if (!ret)
		ret = qb_pg_find_user(&c->user, err);
	if (!ret)
		ret = qb_pg_setup(c, config, err);
	if (!ret)
		ret = start_server(c, false, err);
	if (!ret) {
		*out = c;
		return 0;
	}
	if (c->dir)
		qb_pg_remove_dir(c->dir);
	free_cluster(c);
	return ret;
}

/* A child inherits the handle, and pids in it that are no children of its own. */
static int refuse_stranger(const struct qb_cluster *c, struct qb_err *err)
{
	return qb_err_set(err, QB_EUSAGE,
			  "the private server belongs to process %d, not to this one",
			  (int)c->maker);
}

int qb_cluster_stop(struct qb_cluster *c, enum qb_cluster_stop mode, struct qb_err *err)
{
	static const struct {
		int sig;
		uint64_t timeout_ns;
	} steps[] = {
		[QB_CLUSTER_FAST] = { SIGINT, 20 * QB_NS_PER_S },
		[QB_CLUSTER_IMMEDIATE] = { SIGQUIT, 10 * QB_NS_PER_S },
		[QB_CLUSTER_KILL] = { SIGKILL, 10 * QB_NS_PER_S },
	};
	unsigned i;

	if (c->maker != getpid())
		return refuse_stranger(c, err);
	if (!c->server.pid)
		return 0;
	for (i = mode; i <= QB_CLUSTER_KILL; i++) {
		qb_pidfd_signal(c->server.pidfd, steps[i].sig);
		qb_pidfd_signal(c->server.pidfd, SIGCONT);      /* stopped, it would not hear us */
		if (qb_pidfd_wait(c->server.pidfd, steps[i].timeout_ns) == 1) {
			qb_pg_reap(&c->server);
			return 0;
		}
		qb_log(QB_LOG_WARNING,
		       "the private server (process %d) did not end at %s within %d s",
		       (int)c->server.pid, qb_signal_name(steps[i].sig),
		       (int)(steps[i].timeout_ns / QB_NS_PER_S));
	}
	return qb_err_set(err, QB_ETIMEOUT, "the private server (process %d) cannot be ended",
			  (int)c->server.pid);
}

int qb_cluster_restart(struct qb_cluster *c, struct qb_err *err)
{
	if (c->maker != getpid())
		return refuse_stranger(c, err);
	if (qb_cluster_alive(c))
		return qb_err_set(err, QB_EBUSY, "the private server (process %d) still runs",
				  (int)c->server.pid);
	if (c->server.pid)
		qb_pg_reap(&c->server);
	/* Whoever was interrupted still needs its server, to say how far it came. */
	c->interrupted = NULL;
	return start_server(c, true, err);
}

static int copy_log(const struct qb_cluster *c, const char *path, struct qb_err *err)
{
	int in, out, ret = 0;
	char buf[65536];
	ssize_t n;
	off_t off;

	in = qb_pg_open_log(c->log_path);
	if (in < 0)
		return qb_err_errno(err, -in, "could not read %s", c->log_path);
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	if (out < 0) {
		ret = qb_err_errno(err, errno, "could not write %s", path);
		goto out_in;
	}
	for (off = 0; !ret && (n = qb_pread_full(in, buf, sizeof(buf), off)) != 0; off += n)
		ret = n < 0 ? (int)n : qb_write_full(out, buf, (size_t)n);
	if (close(out) && !ret)
		ret = -errno;
	if (ret)
		qb_err_errno(err, -ret, "could not copy the server's log to %s", path);
out_in:
	close(in);
	return ret;
}

int qb_cluster_destroy(struct qb_cluster *c, const char *log_copy, struct qb_err *err)
{
	int ret, removed;

	if (!c)
		return 0;
	if (c->maker != getpid()) {
		ret = refuse_stranger(c, err);
		qb_cluster_abandon_in_child(c);
		return ret;
	}
	ret = qb_cluster_stop(c, QB_CLUSTER_FAST, err);
	if (log_copy && !ret)
		ret = copy_log(c, log_copy, err);
	removed = qb_pg_remove_dir(c->dir);
	if (removed && !ret)
		ret = qb_err_set(err, removed, "could not remove %s: %s; the next run tries again",
				 c->dir, qb_strerror(removed));
	if (c->server.pidfd >= 0)
		close(c->server.pidfd);
	free_cluster(c);
	return ret;
}

void qb_cluster_abandon_in_child(struct qb_cluster *c)
{
	if (!c)
		return;
	if (c->server.pidfd >= 0)
		close(c->server.pidfd);
	free_cluster(c);
}
