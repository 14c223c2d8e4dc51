/* SPDX-License-Identifier: Apache-2.0 */
/* A server whose maker was killed ends by itself, and the sweep removes what is left. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/proc.h"
#include "pg/conn.h"
#include "pg/owner.h"
#include "shm/status.h"
#include "tests/pg/pgtest.h"

char *pgtest_base;

static struct qb_cluster *start(const char *base)
{
	struct qb_cluster_config config = { .base_dir = base, .not_durable = true };
	struct qb_err err = { 0 };
	struct qb_cluster *c;

	ck_ok(qb_cluster_start(&config, &c, &err), err);
	return c;
}

/* What a child says about the server that it made. */
struct made {
	pid_t pid;
	uint64_t start_ticks;
	char dir[256];
};

/* A child that starts a server in base and waits to be killed. */
static pid_t fork_maker(const char *base, struct made *made)
{
	struct pollfd pfd;
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = check_fork();
	if (pid == 0) {
		struct qb_cluster *c = start(base);
		struct made mine = { .pid = qb_cluster_pid(c) };

		mine.start_ticks = qb_proc_start_ticks(mine.pid);
		snprintf(mine.dir, sizeof(mine.dir), "%s", qb_cluster_dir(c));
		if (write(ends[1], &mine, sizeof(mine)) != (ssize_t)sizeof(mine))
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	pfd = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	ck_assert_int_eq(poll(&pfd, 1, 20000), 1);
	ck_assert_int_eq(read(ends[0], made, sizeof(*made)), sizeof(*made));
	close(ends[0]);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

START_TEST(killed_maker_takes_the_server_along_and_the_sweep_removes_the_rest)
{
	char *base = pgtest_folder("killed");
	struct made made;
	pid_t maker = fork_maker(base, &made);
	int pidfd = qb_pidfd_open(made.pid, made.start_ticks);
	struct qb_err err = { 0 };

	ck_assert_int_ge(pidfd, 0);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 0);      /* its owner lives */
	ck_assert_int_eq(kill(maker, SIGKILL), 0);
	ck_assert_int_eq(qb_pidfd_wait(pidfd, 10 * QB_NS_PER_S), 1);
	ck_until(pgtest_processes_in(made.dir) == 0, 5);
	ck_assert_int_eq(access(made.dir, F_OK), 0);
	/* Before the maker is reaped: a zombie is dead. */
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_ne(access(made.dir, F_OK), 0);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 0);
	reap(maker);
	close(pidfd);
	free(base);
}
END_TEST

START_TEST(sweep_right_after_the_kill_does_not_race_with_the_dying_server)
{
	char *base = pgtest_folder("racing");
	struct made made;
	pid_t maker = fork_maker(base, &made);
	struct qb_err err = { 0 };

	ck_assert_int_eq(kill(maker, SIGKILL), 0);
	reap(maker);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_eq(pgtest_processes_in(made.dir), 0);
	ck_assert_int_eq(pgtest_dirs_in(base), 0);
	free(base);
}
END_TEST

START_TEST(sweep_leaves_the_server_of_a_living_owner_alone)
{
	char *base = pgtest_folder("living");
	struct qb_cluster *c = start(base);
	struct qb_err err = { 0 };
	int64_t one = 0;
	PGconn *conn;

	ck_assert_int_eq(qb_cluster_sweep(base, &err), 0);
	ck_ok(qb_pg_connect(qb_cluster_conninfo(c), "t", 5 * QB_NS_PER_S, &conn, &err), err);
	ck_ok(qb_pg_query_i64(conn, "SELECT 1::bigint", &one, &err), err);
	ck_assert_int_eq(one, 1);
	PQfinish(conn);
	ck_ok(qb_cluster_destroy(c, NULL, &err), err);
	free(base);
}
END_TEST

/* Replace the word behind field in the owner file; field "" changes nothing. */
static void set_field(const char *dir, const char *field, const char *value)
{
	char *path = qb_xasprintf("%s/owner", dir), *text, *at;
	struct qb_err err = { 0 };
	size_t bytes;
	FILE *f;

	ck_ok(qb_read_file(path, 4096, &text, &bytes, &err), err);
	at = strstr(text, field);
	ck_assert_ptr_nonnull(at);
	at += strlen(field) + 1;
	f = fopen(path, "w");
	if (*field)
		fprintf(f, "%.*s%s%s", (int)(at - text), text, value, at + strcspn(at, " \n"));
	else
		fputs(text, f);
	fclose(f);
	free(text);
	free(path);
}

/* Sign as process pid (NULL: ourselves), otherwise as we would. */
static void sign(const char *dir, const char *pid)
{
	struct qb_err err = { 0 };

	ck_ok(qb_pg_owner_write(dir, &err), err);
	if (pid)
		set_field(dir, "pid", pid);
}

/* The pid of somebody who lived in our name space and is gone. */
static char *dead_pid(void)
{
	pid_t pid = check_fork();

	if (pid == 0)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return qb_xasprintf("%d", (int)pid);
}

START_TEST(sweep_ends_a_server_that_outlived_its_owner)
{
	char *base = pgtest_folder("outlived"), *pid = dead_pid(), *dir;
	struct qb_cluster *c = start(base);
	struct qb_err err = { 0 };

	dir = strdup(qb_cluster_dir(c));
	sign(dir, pid);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_eq(pgtest_processes_in(dir), 0);
	ck_assert_int_ne(access(dir, F_OK), 0);
	ck_assert(!qb_cluster_alive(c));
	ck_ok(qb_cluster_destroy(c, NULL, &err), err);          /* nothing left to do */
	free(dir);
	free(pid);
	free(base);
}
END_TEST

static char *fake_dir(const char *base, const char *name)
{
	char *dir = qb_xasprintf("%s/%s", base, name), *data = qb_xasprintf("%s/data", dir);

	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(mkdir(data, 0700), 0);
	free(data);
	return dir;
}

START_TEST(sweep_removes_only_when_the_owner_is_certainly_dead)
{
	char *pid = dead_pid();
	const struct {
		const char *what, *pid, *field, *value;
		int removed;
	} cases[] = {
		{ "ourselves", NULL, "", "", 0 },
		{ "dead process", pid, "", "", 1 },
		{ "pid that was given to another process", NULL, "start_ticks", "1", 1 },
		{ "before the last boot", NULL, "boot_id", "123", 1 },
		{ "unknown boot", pid, "boot_id", "0", 0 },
		{ "another pid name space", pid, "pid_ns", "1", 0 },
		{ "another host", pid, "host", "elsewhere.example", 0 },
		{ "a later version of the file", pid, "qbench-pg-owner", "2", 0 },
		{ "not a number", "x", "", "", 0 },
	};
	char *base = pgtest_folder("certain");
	struct qb_err err = { 0 };
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *dir = fake_dir(base, "qbench-pg-abcdef");

		sign(dir, cases[i].pid);
		set_field(dir, cases[i].field, cases[i].value);
		ck_assert_msg(qb_cluster_sweep(base, &err) == cases[i].removed, "%s",
			      cases[i].what);
		ck_assert_msg((access(dir, F_OK) != 0) == cases[i].removed, "%s", cases[i].what);
		if (!cases[i].removed)
			ck_assert_int_eq(qb_remove_tree(dir), 0);
		free(dir);
	}
	free(base);
	free(pid);
}
END_TEST

START_TEST(sweep_takes_unsigned_directories_only_when_old_and_empty)
{
	char *base = pgtest_folder("unsigned");
	char *fresh = qb_xasprintf("%s/qbench-pg-fresh1", base);
	char *old = qb_xasprintf("%s/qbench-pg-empty1", base);
	char *tmp = qb_xasprintf("%s/owner.tmp", old);
	char *full = fake_dir(base, "qbench-pg-full11");
	struct timespec past[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	struct qb_err err = { 0 };

	ck_assert_int_eq(mkdir(fresh, 0700), 0);
	ck_assert_int_eq(mkdir(old, 0700), 0);
	fclose(fopen(tmp, "w"));        /* killed between the write and the rename */
	ck_assert_int_eq(utimensat(AT_FDCWD, old, past, 0), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, full, past, 0), 0);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_ne(access(old, F_OK), 0);
	ck_assert_int_eq(access(fresh, F_OK), 0);
	ck_assert_int_eq(access(full, F_OK), 0);
	free(fresh);
	free(old);
	free(tmp);
	free(full);
	free(base);
}
END_TEST

START_TEST(sweep_follows_no_link_and_takes_no_strangers_directory)
{
	char *base = pgtest_folder("links"), *pid = dead_pid();
	char *target = fake_dir(base, "elsewhere"), *mine = fake_dir(base, "qbench-pg-mine11");
	char *link = qb_xasprintf("%s/qbench-pg-link11", base);
	char *inner = qb_xasprintf("%s/data/link", mine);
	char *other = fake_dir(base, "qbench-pg-longername"), *foreign = NULL;
	struct qb_err err = { 0 };

	sign(target, pid);
	sign(mine, pid);
	sign(other, pid);
	ck_assert_int_eq(symlink(target, link), 0);
	ck_assert_int_eq(symlink(target, inner), 0);
	if (geteuid() == 0) {
		foreign = fake_dir(base, "qbench-pg-others");
		sign(foreign, pid);
		ck_assert_int_eq(chown(foreign, 12345, 12345), 0);
	}
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_ne(access(mine, F_OK), 0);
	ck_assert_int_eq(access(target, F_OK), 0);
	ck_assert_int_eq(pgtest_dirs_in(base), foreign ? 3 : 2);        /* link, other, foreign */
	free(base);
	free(pid);
	free(target);
	free(mine);
	free(link);
	free(inner);
	free(other);
	free(foreign);
}
END_TEST

START_TEST(sweep_spares_programs_that_only_look_around)
{
	char *base = pgtest_folder("visitor"), *pid = dead_pid();
	char *dir = fake_dir(base, "qbench-pg-visit1");
	struct qb_err err = { 0 };
	int ends[2];
	char ready;
	pid_t shell;

	sign(dir, pid);
	ck_assert_int_eq(pipe(ends), 0);
	shell = check_fork();
	if (shell == 0) {
		if (chdir(dir) || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ends[0], &ready, 1), 1);
	ck_assert_int_eq(qb_cluster_sweep(base, &err), 1);
	ck_assert_int_eq(waitpid(shell, NULL, WNOHANG), 0);
	ck_assert_int_eq(kill(shell, SIGKILL), 0);
	reap(shell);
	free(dir);
	free(pid);
	free(base);
}
END_TEST

START_TEST(sweeps_at_the_same_time_share_the_work)
{
	enum { DIRS = 5, SWEEPERS = 4 };
	char *base = pgtest_folder("together"), *pid = dead_pid();
	int i, k, status, removed = 0;
	pid_t sweepers[SWEEPERS];

	for (i = 0; i < DIRS; i++) {
		char *name = qb_xasprintf("qbench-pg-many%02d", i), *dir = fake_dir(base, name);

		for (k = 0; k < 200; k++) {
			char *file = qb_xasprintf("%s/data/%d", dir, k);

			fclose(fopen(file, "w"));
			free(file);
		}
		sign(dir, pid);
		free(name);
		free(dir);
	}
	for (i = 0; i < SWEEPERS; i++) {
		sweepers[i] = check_fork();
		if (sweepers[i] == 0)
			_exit(qb_cluster_sweep(base, NULL) & 0xff);
	}
	for (i = 0; i < SWEEPERS; i++) {
		ck_assert_int_eq(waitpid(sweepers[i], &status, 0), sweepers[i]);
		ck_assert(WIFEXITED(status));
		removed += WEXITSTATUS(status);
	}
	ck_assert_int_eq(removed, DIRS);
	ck_assert_int_eq(pgtest_dirs_in(base), 0);
	free(base);
	free(pid);
}
END_TEST

START_TEST(sweep_of_a_missing_folder_is_an_error)
{
	char *none = qb_xasprintf("%s/none", pgtest_base);
	struct qb_err err = { 0 };

	ck_assert_int_eq(qb_cluster_sweep(none, &err), -ENOENT);
	ck_has(err.text, none);
	free(none);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sweep");
	TCase *tc = tcase_create("sweep");

	tcase_set_timeout(tc, 45);
	tcase_add_test(tc, killed_maker_takes_the_server_along_and_the_sweep_removes_the_rest);
	tcase_add_test(tc, sweep_right_after_the_kill_does_not_race_with_the_dying_server);
	tcase_add_test(tc, sweep_leaves_the_server_of_a_living_owner_alone);
	tcase_add_test(tc, sweep_ends_a_server_that_outlived_its_owner);
	tcase_add_test(tc, sweep_removes_only_when_the_owner_is_certainly_dead);
	tcase_add_test(tc, sweep_takes_unsigned_directories_only_when_old_and_empty);
	tcase_add_test(tc, sweep_follows_no_link_and_takes_no_strangers_directory);
	tcase_add_test(tc, sweep_spares_programs_that_only_look_around);
	tcase_add_test(tc, sweeps_at_the_same_time_share_the_work);
	tcase_add_test(tc, sweep_of_a_missing_folder_is_an_error);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
