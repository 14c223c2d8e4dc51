/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pg/exec.h"
#include "pg/owner.h"
#include "shm/status.h"

#define DIR_TEMPLATE "/" QB_PG_DIR_PREFIX "XXXXXX"
#define DIR_BYTES_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(QB_PG_SOCKET_NAME))
#define PROBE_TIMEOUT_NS (30 * QB_NS_PER_S)
#define INITDB_TIMEOUT_NS (180 * QB_NS_PER_S)

struct qb_pg_program qb_pg_program_of(const struct qb_cluster *c, const char *path,
				      const char *const *argv, const char *dir, int out_fd)
{
	return (struct qb_pg_program){
		.path = path, .argv = argv, .dir = dir, .out_fd = out_fd,
		.death_signal = SIGTERM, .user = &c->user,
	};
}

/*
 * "postgres --version", run in base as the server's user: tells what we have, and whether that user
 * can execute it and reach base.
 */
static int probe(struct qb_cluster *c, const char *base, struct qb_err *err)
{
	char *path = qb_xasprintf("%s/postgres", c->bindir);
	const char *const argv[] = { path, "--version", NULL };
	struct qb_pg_program program;
	char text[256], status[32];
	int fd, ret;

	fd = memfd_create("version", MFD_CLOEXEC);
	if (fd < 0) {
		ret = qb_err_errno(err, errno, "could not make a file for the output of %s", path);
		goto out;
	}
	program = qb_pg_program_of(c, path, argv, base, fd);
	ret = qb_pg_run(&program, PROBE_TIMEOUT_NS, c->interrupted, err);
	qb_pg_tail(fd, 0, text, sizeof(text));
	close(fd);
	if (ret > 0)
		ret = qb_err_set(err, QB_ECHILD, "%s --version ended with %s: %s", path,
				 qb_pg_status_text(status, sizeof(status), ret), text);
	if (ret < 0)
		goto out;
	free(c->version);
	c->version = qb_xstrdup(text);
out:
	free(path);
	return ret;
}

/* Make and sign the directory in base: 0 and c->dir. */
static int make_dir(struct qb_cluster *c, const char *base_dir, struct qb_err *err)
{
	char *base = realpath(base_dir, NULL), *dir = NULL;
	int ret;

	if (!base)
		return qb_err_errno(err, errno,
				    "could not use the folder %s for the private server", base_dir);
	if (strlen(base) + strlen(DIR_TEMPLATE) > DIR_BYTES_MAX) {
		ret = qb_err_set(err, QB_EUSAGE,
				 "the path %s is too long for a Unix socket in a folder below it "
				 "(%zu bytes, %zu at most); set TMPDIR to a shorter one", base,
				 strlen(base), DIR_BYTES_MAX - strlen(DIR_TEMPLATE));
		goto out;
	}
	if (strpbrk(base, ",\n\r")) {
		ret = qb_err_set(err, QB_EUSAGE,
				 "the path %s holds a comma or a line break, which libpq cannot "
				 "take in the name of a socket folder; set TMPDIR to another one",
				 base);
		goto out;
	}
	ret = probe(c, base, err);
	if (ret < 0)
		goto out;
	dir = qb_xasprintf("%s%s", strcmp(base, "/") ? base : "", DIR_TEMPLATE);
	if (!mkdtemp(dir)) {
		ret = qb_err_errno(err, errno,
				   "could not make a folder for the private server in %s (set "
				   "TMPDIR to a folder that can be written to)", base);
		goto out;
	}
	ret = qb_pg_owner_write(dir, err);
	if (!ret && c->user.is_other && chown(dir, c->user.uid, c->user.gid))
		ret = qb_err_errno(err, errno, "could not give %s to user %s", dir, c->user.name);
	if (ret) {
		qb_pg_remove_dir(dir);
		goto out;
	}
	c->dir = dir;
	dir = NULL;
out:
	free(dir);
	free(base);
	return ret;
}

static int choose_dir(struct qb_cluster *c, const char *base_dir, struct qb_err *err)
{
	const char *tmpdir = getenv("TMPDIR");
	struct qb_err why = { 0 };
	int ret;

	if (base_dir)
		return make_dir(c, base_dir, err);
	if (tmpdir && *tmpdir) {
		ret = make_dir(c, tmpdir, &why);
		if (!ret || ret == QB_EINTR)
			return ret ? qb_err_set(err, ret, "%s", why.text) : 0;
		qb_log(QB_LOG_WARNING, "TMPDIR cannot hold the private server, taking /tmp: %s",
		       why.text);
	}
	return make_dir(c, "/tmp", err);
}

static void name_paths(struct qb_cluster *c)
{
	struct qb_strbuf sb = { 0 };

	c->data_dir = qb_xasprintf("%s/data", c->dir);
	c->log_path = qb_xasprintf("%s/server.log", c->dir);
	qb_pg_add_conninfo(&sb, "host", c->dir);
	qb_strbuf_add(&sb, " port=5432 user=qbench dbname=postgres");
	c->conninfo = sb.data;
}

int qb_pg_open_log(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return -errno;
	/* The folder is the server's user's: root must not write through what that user put there. */
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_nlink != 1) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

int qb_pg_report_child(const struct qb_cluster *c, const char *what, int status, int log_fd,
			struct qb_err *err)
{
	char tail[512], hint[320], text[32];

	qb_pg_tail(log_fd, c->log_off, tail, sizeof(tail));
	qb_pg_hint(hint, sizeof(hint), tail, c->dir, c->user.name);
	return qb_err_set(err, QB_ECHILD, "%s (%s): %sits output ends: %s", what,
			  qb_pg_status_text(text, sizeof(text), status), hint,
			  *tail ? tail : "nothing was written");
}

/* The program that makes the data directory, with its output kept for the message. */
static int make_data(struct qb_cluster *c, const char *path, const char *const *argv, const char *what,
		     struct qb_err *err)
{
	char *log_path = qb_xasprintf("%s/initdb.log", c->dir);
	struct qb_pg_program program;
	int log_fd = qb_pg_open_log(log_path), ret;

	if (log_fd < 0) {
		ret = qb_err_errno(err, -log_fd, "could not write %s", log_path);
		goto out;
	}
	program = qb_pg_program_of(c, path, argv, c->dir, log_fd);
	ret = qb_pg_run(&program, INITDB_TIMEOUT_NS, c->interrupted, err);
	if (ret > 0)
		ret = qb_pg_report_child(c, what, ret, log_fd, err);
	close(log_fd);
out:
	free(log_path);
	return ret;
}

static int run_initdb(struct qb_cluster *c, struct qb_err *err)
{
	char *path = qb_xasprintf("%s/initdb", c->bindir);
	/* By its path: it looks for postgres beside itself. */
	const char *const argv[] = {
		path, "-D", c->data_dir, "-A", "trust", "-U", "qbench", "--encoding=UTF8",
		"--locale=C", "--no-sync", NULL,
	};
	int ret = make_data(c, path, argv, "initdb could not make the private server's data", err);

	free(path);
	return ret;
}

char *qb_pg_basebackup_path(const char *bindir)
{
	char *path = qb_xasprintf("%s/pg_basebackup", bindir), *server, *real, *slash;

	if (access(path, X_OK) == 0)
		return path;
	server = qb_xasprintf("%s/postgres", bindir);
	real = realpath(server, NULL);
	slash = real ? strrchr(real, '/') : NULL;
	if (slash) {
		*slash = '\0';
		free(path);
		path = qb_xasprintf("%s/pg_basebackup", real);
	}
	free(real);
	free(server);
	return path;
}

static int run_basebackup(struct qb_cluster *c, const char *primary, struct qb_err *err)
{
	char *path = qb_pg_basebackup_path(c->bindir);
	const char *const argv[] = {
		path, "-D", c->data_dir, "-d", primary, "-R", "-X", "stream", "-c", "fast", "--no-sync", NULL,
	};
	int ret = make_data(c, path, argv, "pg_basebackup could not copy the primary's data", err);

	free(path);
	return ret;
}

/* A string of postgresql.conf. */
static void add_setting(struct qb_strbuf *sb, const char *name, const char *value)
{
	const char *p;

	qb_strbuf_printf(sb, "%s = '", name);
	for (p = value; *p; p++)
		qb_strbuf_printf(sb, "%s%c", *p == '\'' ? "'" : *p == '\\' ? "\\" : "", *p);
	qb_strbuf_add(sb, "'\n");
}

static void add_settings(struct qb_strbuf *sb, const struct qb_cluster *c,
			 const struct qb_cluster_config *config)
{
	const char *const *line;

	qb_strbuf_add(sb, "\n# qbench: reached only through a socket in this folder\n"
			  "listen_addresses = ''\nport = 5432\n");
	add_setting(sb, "unix_socket_directories", c->dir);
	/* The mode of the folder keeps others out; root and the server's user must both get in. */
	qb_strbuf_add(sb, "unix_socket_permissions = 0777\n");
	qb_strbuf_printf(sb, "fsync = %s\nsynchronous_commit = %s\nfull_page_writes = %s\n",
			 config->not_durable ? "off" : "on", config->not_durable ? "off" : "on",
			 config->not_durable ? "off" : "on");
	qb_strbuf_add(sb, "max_connections = 200\n"
			  "shared_buffers = 128MB\n"
			  /*
			   * In the data directory and not in /dev/shm: nothing is left behind there
			   * by a killed server, and its space is for the segment.  Only parallel
			   * queries and statistics of very many tables use it at all.
			   */
			  "dynamic_shared_memory_type = mmap\n"
			  /* Overwriting a recycled log file costs half of growing a new one. */
			  "wal_recycle = on\nwal_init_zero = on\nmin_wal_size = "
			  "256MB\nmax_wal_size = 1GB\n"
			  "autovacuum = on\n"
			  "logging_collector = off\nlog_destination = stderr\nlog_min_messages = "
			  "warning\n"
			  "log_line_prefix = '%m [%p] '\nlog_timezone = UTC\ntimezone = UTC\n"
			  "lc_messages = C\n");
	for (line = config->settings; line && *line; line++)
		qb_strbuf_printf(sb, "%s\n", *line);
}

static int write_settings(struct qb_cluster *c, const struct qb_cluster_config *config,
			  struct qb_err *err)
{
	char *path = qb_xasprintf("%s/postgresql.conf", c->data_dir);
	struct qb_strbuf sb = { 0 };
	int fd, ret;

	add_settings(&sb, c, config);
	fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	ret = fd < 0 ? -errno : qb_write_full(fd, sb.data, sb.bytes);
	if (fd >= 0 && close(fd) && !ret)
		ret = -errno;
	if (ret)
		qb_err_errno(err, -ret, "could not write %s", path);
	qb_strbuf_free(&sb);
	free(path);
	return ret;
}

int qb_pg_setup(struct qb_cluster *c, const struct qb_cluster_config *config, struct qb_err *err)
{
	int ret = choose_dir(c, config->base_dir, err);

	if (ret < 0)
		return ret;
	name_paths(c);
	ret = config->standby_of ? run_basebackup(c, config->standby_of, err) : run_initdb(c, err);
	if (ret < 0)
		return ret;
	return write_settings(c, config, err);
}
