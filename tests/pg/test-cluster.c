/* SPDX-License-Identifier: Apache-2.0 */
/* The private server: start, stop, kill, restart, destroy, and every way in which a start fails. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "base/proc.h"
#include "pg/conn.h"
#include "shm/status.h"
#include "tests/pg/pgtest.h"

char *pgtest_base;

static struct qb_cluster *start(const char *base)
{
	struct qb_cluster_config config = { .base_dir = base };
	struct qb_err err = { 0 };
	struct qb_cluster *c;

	ck_ok(qb_cluster_start(&config, &c, &err), err);
	return c;
}

static void destroy(struct qb_cluster *c)
{
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_destroy(c, NULL, &err), err);
}

/* A start that must fail and leave nothing behind; its text. */
static struct qb_err start_fails(const struct qb_cluster_config *config, int code)
{
	struct qb_err err = { 0 };
	struct qb_cluster *c = NULL;
	int ret = qb_cluster_start(config, &c, &err);

	ck_assert_msg(ret == code, "returned %d: %s", ret, err.text);
	ck_assert_ptr_null(c);
	if (config->base_dir && !access(config->base_dir, R_OK)) {
		ck_assert_int_eq(pgtest_dirs_in(config->base_dir), 0);
		ck_assert_int_eq(pgtest_processes_in(config->base_dir), 0);
	}
	return err;
}

static int64_t rows_of(const struct qb_cluster *c)
{
	PGconn *conn = pgtest_connect(c);
	int64_t count = pgtest_i64(conn, "SELECT count(*) FROM public.kept");

	PQfinish(conn);
	return count;
}

static void make_rows(const struct qb_cluster *c)
{
	PGconn *conn = pgtest_connect(c);

	pgtest_exec(conn, "CREATE TABLE public.kept AS SELECT generate_series(1, 100) AS id");
	PQfinish(conn);
}

/* A backend that computes for so long that it does not notice its postmaster's death. */
static PGconn *start_busy(const struct qb_cluster *c, const char *seconds)
{
	PGconn *busy = pgtest_connect(c), *watch = pgtest_connect(c);
	char *sql = qb_xasprintf("DO $$ DECLARE t timestamptz := clock_timestamp() + '%s s'; BEGIN "
				 "LOOP EXIT WHEN clock_timestamp() > t; END LOOP; END $$", seconds);

	ck_assert_int_eq(PQsendQuery(busy, sql), 1);
	ck_until(pgtest_i64(watch, "SELECT count(*) FROM pg_stat_activity "
			  "WHERE query LIKE 'DO %' AND state = 'active'") == 1, 5);
	free(sql);
	PQfinish(watch);
	return busy;
}

static bool log_has(const struct qb_cluster *c, const char *words)
{
	char *text;
	size_t bytes;
	bool found;

	ck_assert_int_eq(qb_read_file(qb_cluster_log_path(c), 1 << 20, &text, &bytes, NULL), 0);
	found = strstr(text, words);
	free(text);
	return found;
}

static int segment_of(const struct qb_cluster *c)
{
	char *path = qb_xasprintf("%s/data/postmaster.pid", qb_cluster_dir(c)), *text, *line;
	unsigned long key, id;
	size_t bytes;
	int i;

	ck_assert_int_eq(qb_read_file(path, 4096, &text, &bytes, NULL), 0);
	for (i = 1, line = text; i < 7; i++)
		line = strchr(line, '\n') + 1;
	ck_assert_int_eq(sscanf(line, "%lu %lu", &key, &id), 2);
	free(text);
	free(path);
	return (int)id;
}

START_TEST(start_connect_and_destroy_leave_nothing)
{
	char *base = pgtest_folder("plain");
	char *log_copy = qb_xasprintf("%s/copy.log", base);
	struct qb_cluster *c = start(base);
	char *dir = strdup(qb_cluster_dir(c)), path[64];
	int segment = segment_of(c);
	struct qb_err err = { 0 };
	struct shmid_ds ds;
	PGconn *conn = pgtest_connect(c);
	PGresult *res;
	struct stat st;

	ck_has(qb_cluster_version(c), "PostgreSQL");
	res = pgtest_query(conn, "SELECT current_setting('fsync'),"
			   " current_setting('synchronous_commit'),"
			   " current_setting('listen_addresses'), current_user::text,"
			   " current_setting('server_encoding'),"
			   " current_setting('max_connections'),"
			   " current_setting('full_page_writes')", 0);
	ck_assert_str_eq(PQgetvalue(res, 0, 0), "on");
	ck_assert_str_eq(PQgetvalue(res, 0, 1), "on");
	ck_assert_str_eq(PQgetvalue(res, 0, 2), "");
	ck_assert_str_eq(PQgetvalue(res, 0, 3), "qbench");
	ck_assert_str_eq(PQgetvalue(res, 0, 4), "UTF8");
	ck_assert_str_eq(PQgetvalue(res, 0, 5), "200");
	ck_assert_str_eq(PQgetvalue(res, 0, 6), "on");
	PQclear(res);
	PQfinish(conn);
	ck_assert_int_eq(stat(dir, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "/proc/%d", (int)qb_cluster_pid(c));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_ne(st.st_uid, 0);        /* never as root */
	ck_assert_int_ge(pgtest_processes_in(dir), 2);
	ck_ok(qb_cluster_destroy(c, log_copy, &err), err);
	ck_assert_int_ne(access(dir, F_OK), 0);
	ck_assert_int_eq(pgtest_processes_in(dir), 0);
	ck_assert_int_ne(shmctl(segment, IPC_STAT, &ds), 0);
	ck_assert_int_eq(stat(log_copy, &st), 0);
	ck_assert_int_gt(st.st_size, 100);
	free(dir);
	free(log_copy);
	free(base);
}
END_TEST

START_TEST(restart_keeps_the_data)
{
	struct qb_cluster *c = start(pgtest_base);
	struct qb_err err = { 0 };
	pid_t first = qb_cluster_pid(c);

	make_rows(c);
	ck_assert_int_eq(qb_cluster_restart(c, &err), QB_EBUSY);
	ck_ok(qb_cluster_stop(c, QB_CLUSTER_FAST, &err), err);
	ck_assert_int_eq(qb_cluster_pid(c), 0);
	ck_assert(!qb_cluster_alive(c));
	ck_ok(qb_cluster_stop(c, QB_CLUSTER_FAST, &err), err);          /* nothing to do */
	ck_ok(qb_cluster_restart(c, &err), err);
	ck_assert_int_ne(qb_cluster_pid(c), first);
	ck_assert_int_eq(rows_of(c), 100);
	ck_ok(qb_cluster_stop(c, QB_CLUSTER_IMMEDIATE, &err), err);
	ck_ok(qb_cluster_restart(c, &err), err);
	ck_assert_int_eq(rows_of(c), 100);
	ck_assert(log_has(c, "was not properly shut down"));
	destroy(c);
}
END_TEST

START_TEST(restart_after_sigkill_waits_for_backends_of_the_dead_postmaster)
{
	struct qb_cluster *c = start(pgtest_base);
	struct qb_err err = { 0 };
	PGconn *busy;

	make_rows(c);
	busy = start_busy(c, "3");
	ck_ok(qb_cluster_stop(c, QB_CLUSTER_KILL, &err), err);
	ck_assert_int_ge(pgtest_processes_in(qb_cluster_dir(c)), 1);
	ck_ok(qb_cluster_restart(c, &err), err);
	ck_assert(log_has(c, "is still in use"));       /* it was refused, and tried again */
	ck_assert_int_eq(rows_of(c), 100);
	PQfinish(busy);
	destroy(c);
}
END_TEST

START_TEST(death_by_another_hand_is_noticed_and_repaired)
{
	struct qb_cluster *c = start(pgtest_base);
	struct qb_err err = { 0 };

	make_rows(c);
	ck_assert(qb_cluster_alive(c));
	ck_assert_int_eq(kill(qb_cluster_pid(c), SIGKILL), 0);
	ck_until(!qb_cluster_alive(c), 5);
	ck_ok(qb_cluster_restart(c, &err), err);
	ck_assert(qb_cluster_alive(c));
	ck_assert_int_eq(rows_of(c), 100);
	destroy(c);
}
END_TEST

START_TEST(destroy_after_sigkill_ends_orphans_and_removes_all)
{
	struct qb_cluster *c = start(pgtest_base);
	char *dir = strdup(qb_cluster_dir(c));
	PGconn *busy = start_busy(c, "60");
	int segment = segment_of(c);
	struct qb_err err = { 0 };
	struct shmid_ds ds;

	ck_ok(qb_cluster_stop(c, QB_CLUSTER_KILL, &err), err);
	ck_assert_int_ge(pgtest_processes_in(dir), 1);
	ck_assert_int_eq(shmctl(segment, IPC_STAT, &ds), 0);
	destroy(c);
	ck_assert_int_eq(pgtest_processes_in(dir), 0);
	ck_assert_int_ne(access(dir, F_OK), 0);
	ck_assert_int_ne(shmctl(segment, IPC_STAT, &ds), 0);
	PQfinish(busy);
	free(dir);
}
END_TEST

START_TEST(stopped_postmaster_can_still_be_stopped)
{
	struct qb_cluster *c = start(pgtest_base);
	uint64_t begin_ns = qb_now_ns();
	struct qb_err err = { 0 };

	ck_assert_int_eq(kill(qb_cluster_pid(c), SIGSTOP), 0);
	ck_ok(qb_cluster_stop(c, QB_CLUSTER_FAST, &err), err);
	ck_assert(qb_now_ns() - begin_ns < 10 * QB_NS_PER_S);
	destroy(c);
}
END_TEST

START_TEST(server_inherits_neither_descriptors_nor_session_nor_environment)
{
	char *base = pgtest_folder("inherit");
	struct pollfd pfd = { .events = POLLIN };
	struct qb_cluster *c;
	size_t bytes = 0;
	char *environ_path, *text;
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);        /* no close-on-exec, on purpose */
	setenv("PGDATA", "/nonexistent", 1);
	setenv("PGOPTIONS", "-c fsync=off", 1);
	c = start(base);
	unsetenv("PGOPTIONS");
	close(ends[1]);
	pfd.fd = ends[0];
	ck_assert_int_eq(poll(&pfd, 1, 1000), 1);
	ck_assert_int_eq(pfd.revents, POLLHUP); /* nobody else has the other end */
	ck_assert_int_eq(getsid(qb_cluster_pid(c)), qb_cluster_pid(c));
	environ_path = qb_xasprintf("/proc/%d/environ", (int)qb_cluster_pid(c));
	ck_assert_int_eq(qb_read_file(environ_path, 65536, &text, &bytes, NULL), 0);
	ck_assert_ptr_null(memmem(text, bytes, "PGOPTIONS", 9));
	ck_assert_ptr_nonnull(memmem(text, bytes, "LC_ALL=C", 8));
	free(text);
	free(environ_path);
	destroy(c);
	free(base);
}
END_TEST

START_TEST(child_neither_stops_nor_removes_the_server)
{
	struct qb_cluster *c = start(pgtest_base);
	int status, how;

	make_rows(c);
	for (how = 0; how < 2; how++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct qb_err err = { 0 };

			if (how == 0 && qb_cluster_stop(c, QB_CLUSTER_FAST, &err) != QB_EUSAGE)
				_exit(1);
			if (how == 0 && qb_cluster_destroy(c, NULL, &err) != QB_EUSAGE)
				_exit(2);
			if (how == 1)
				qb_cluster_abandon_in_child(c);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	ck_assert(qb_cluster_alive(c));
	ck_assert_int_eq(rows_of(c), 100);
	destroy(c);
}
END_TEST

START_TEST(odd_characters_in_the_path_are_quoted)
{
	char *base = pgtest_folder("it's a \\ \"path\"=x");
	struct qb_cluster *c = start(base);

	make_rows(c);
	ck_assert_int_eq(rows_of(c), 100);
	ck_has(qb_cluster_conninfo(c), "it\\'s a \\\\ ");
	destroy(c);
	free(base);
}
END_TEST

static void start_and_use_as(const struct passwd *pw, const char *base)
{
	if (pw && (setgroups(0, NULL) || setgid(pw->pw_gid) || setuid(pw->pw_uid)))
		_exit(90);
	{
		struct qb_cluster *c = start(base);

		make_rows(c);
		ck_assert_int_ge(qb_cluster_sweep(base, NULL), 0);
		ck_assert_int_eq(rows_of(c), 100);
		destroy(c);
	}
	_exit(0);
}

START_TEST(two_users_work_in_one_folder_at_the_same_time)
{
	char *base = pgtest_folder("shared");
	const struct passwd *nobody = geteuid() ? NULL : getpwnam("nobody");
	pid_t pids[2];
	int status, i;

	ck_assert_int_eq(chmod(base, 01777), 0);
	for (i = 0; i < 2; i++) {
		pids[i] = check_fork();
		if (pids[i] == 0)
			start_and_use_as(i ? nobody : NULL, base);
	}
	for (i = 0; i < 2; i++) {
		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "child %d: %#x", i, (unsigned)status);
	}
	ck_assert_int_eq(pgtest_dirs_in(base), 0);
	free(base);
}
END_TEST

START_TEST(missing_programs_are_named)
{
	char *base = pgtest_folder("no-programs");
	struct qb_cluster_config config = { .base_dir = base, .bindir = base };
	struct qb_err err = start_fails(&config, QB_EUSAGE);

	ck_has(err.text, "no executable initdb in");
	ck_has(err.text, base);
	free(base);
}
END_TEST

START_TEST(programs_are_found_without_a_path)
{
	struct qb_err err = { 0 };
	char *dir, *initdb;

	ck_ok(qb_cluster_find_bindir(NULL, &dir, &err), err);
	initdb = qb_xasprintf("%s/initdb", dir);
	ck_assert_int_eq(access(initdb, X_OK), 0);
	free(initdb);
	/* Given by name, it is that one and no other. */
	ck_assert_int_eq(qb_cluster_find_bindir("/nonexistent", &initdb, &err), QB_EUSAGE);
	ck_assert_ptr_null(initdb);
	free(dir);
	setenv("PATH", "", 1);
	if (qb_cluster_find_bindir(NULL, &dir, &err) < 0)
		ck_has(err.text, "--postgres-url");
	else
		free(dir);
}
END_TEST

/* With "/qbench-pg-XXXXXX/.s.PGSQL.5432" behind it, the path of a socket has 107 bytes. */
#define PATH_BYTES_MAX 76

static char *folder_of_length(int bytes)
{
	int pad = bytes - (int)strlen(pgtest_base) - 1;
	char *name = qb_xasprintf("%0*d", pad, 0), *path;

	ck_assert_msg(pad > 1, "TMPDIR is too long for this test");
	path = pgtest_folder(name);
	ck_assert_uint_eq(strlen(path), (size_t)bytes);
	free(name);
	return path;
}

START_TEST(longest_possible_path_works)
{
	char *base = folder_of_length(PATH_BYTES_MAX);
	struct qb_cluster *c = start(base);

	make_rows(c);
	destroy(c);
	free(base);
}
END_TEST

START_TEST(unusable_folders_are_refused_with_the_reason)
{
	struct qb_cluster_config config = { 0 };
	char *longer = folder_of_length(PATH_BYTES_MAX + 1);
	char *comma = pgtest_folder("a,b"), *none = qb_xasprintf("%s/none", pgtest_base);
	struct qb_err err;

	config.base_dir = longer;
	err = start_fails(&config, QB_EUSAGE);
	ck_has(err.text, "too long for a Unix socket");
	config.base_dir = comma;
	err = start_fails(&config, QB_EUSAGE);
	ck_has(err.text, "comma");
	config.base_dir = none;
	err = start_fails(&config, -ENOENT);
	ck_has(err.text, none);
	free(longer);
	free(comma);
	free(none);
}
END_TEST

START_TEST(unwritable_folder_is_refused_with_the_reason)
{
	char *base = pgtest_folder("readonly");
	int status;
	pid_t pid;

	ck_assert_int_eq(chmod(base, 0555), 0);
	pid = check_fork();
	if (pid == 0) {
		struct qb_cluster_config config = { .base_dir = base };
		const struct passwd *pw = getpwnam("nobody");
		struct qb_err err;

		/* Root may write anywhere. */
		if (!geteuid() && (!pw || setgid(pw->pw_gid) || setuid(pw->pw_uid)))
			_exit(90);
		err = start_fails(&config, -EACCES);
		ck_has(err.text, base);
		ck_has(err.text, "TMPDIR");
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	free(base);
}
END_TEST

START_TEST(unsuitable_tmpdir_gives_way_to_tmp)
{
	char *longer = folder_of_length(PATH_BYTES_MAX + 2);
	struct qb_cluster_config config = { 0 };
	struct qb_err err = { 0 };
	struct qb_cluster *c;

	setenv("TMPDIR", longer, 1);
	ck_ok(qb_cluster_start(&config, &c, &err), err);
	ck_assert_msg(!strncmp(qb_cluster_dir(c), "/tmp/qbench-pg-", 15), "%s", qb_cluster_dir(c));
	destroy(c);
	free(longer);
}
END_TEST

/* Root only: a file system of its own, seen by this case alone. */
START_TEST(full_file_system_is_named_and_left_empty)
{
	char *base = pgtest_folder("small");
	struct qb_cluster_config config = { .base_dir = base };
	struct qb_err err;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("small", base, "tmpfs", 0, "size=4m,mode=755")) {
		fprintf(stderr, "# cannot mount here (%s): not tested\n", strerror(errno));
		free(base);
		return;
	}
	err = start_fails(&config, QB_ECHILD);
	ck_has(err.text, "No space left on device");
	ck_has(err.text, "free space there");
	ck_has(err.text, base);
	free(base);
}
END_TEST

/* Root only: what root can reach, the server's user cannot. */
START_TEST(folder_that_the_servers_user_cannot_reach_is_refused)
{
	char *closed = pgtest_folder("closed"), *base = pgtest_folder("closed/inner");
	struct qb_cluster_config config = { .base_dir = base };
	struct qb_err err;

	ck_assert_int_eq(chmod(closed, 0700), 0);
	err = start_fails(&config, -EACCES);
	ck_has(err.text, "searchable");
	free(base);
	free(closed);
}
END_TEST

START_TEST(server_that_does_not_start_quotes_its_log)
{
	static const char *const settings[] = { "shared_buffers = lots", NULL };
	char *base = pgtest_folder("broken");
	struct qb_cluster_config config = { .base_dir = base, .settings = settings };
	struct qb_err err = start_fails(&config, QB_ECHILD);

	ck_has(err.text, "did not start (exit status 1)");
	ck_has(err.text, "invalid value for parameter \"shared_buffers\"");
	free(base);
}
END_TEST

START_TEST(interrupted_start_leaves_nothing)
{
	static const volatile sig_atomic_t interrupted = 1;
	char *base = pgtest_folder("interrupted");
	struct qb_cluster_config config = { .base_dir = base, .interrupted = &interrupted };

	start_fails(&config, QB_EINTR);
	free(base);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cluster");
	TCase *tc = tcase_create("cluster");

	tcase_set_timeout(tc, 45);
	tcase_add_test(tc, start_connect_and_destroy_leave_nothing);
	tcase_add_test(tc, restart_keeps_the_data);
	tcase_add_test(tc, restart_after_sigkill_waits_for_backends_of_the_dead_postmaster);
	tcase_add_test(tc, death_by_another_hand_is_noticed_and_repaired);
	tcase_add_test(tc, destroy_after_sigkill_ends_orphans_and_removes_all);
	tcase_add_test(tc, stopped_postmaster_can_still_be_stopped);
	tcase_add_test(tc, server_inherits_neither_descriptors_nor_session_nor_environment);
	tcase_add_test(tc, child_neither_stops_nor_removes_the_server);
	tcase_add_test(tc, odd_characters_in_the_path_are_quoted);
	tcase_add_test(tc, two_users_work_in_one_folder_at_the_same_time);
	tcase_add_test(tc, missing_programs_are_named);
	tcase_add_test(tc, programs_are_found_without_a_path);
	tcase_add_test(tc, longest_possible_path_works);
	tcase_add_test(tc, unusable_folders_are_refused_with_the_reason);
	tcase_add_test(tc, unwritable_folder_is_refused_with_the_reason);
	tcase_add_test(tc, unsuitable_tmpdir_gives_way_to_tmp);
	tcase_add_test(tc, server_that_does_not_start_quotes_its_log);
	tcase_add_test(tc, interrupted_start_leaves_nothing);
	if (geteuid() == 0) {
		tcase_add_test(tc, full_file_system_is_named_and_left_empty);
		tcase_add_test(tc, folder_that_the_servers_user_cannot_reach_is_refused);
	}
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
