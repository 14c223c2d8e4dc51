/* SPDX-License-Identifier: Apache-2.0 */
/* Identity and death of processes, and the number of cores. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/fdio.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "shm/status.h"

#define DEADLINE_NS (10 * QB_NS_PER_S)

static pid_t child;

static void set_up(void)
{
	child = -1;
}

static void tear_down(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

/* A child that waits to be killed, and its identity. */
static uint64_t start_child(void)
{
	child = check_fork();
	if (!child) {
		for (;;)
			pause();
	}
	return qb_proc_start_ticks(child);
}

/* State letter of /proc/PID/stat; 0 when there is none. */
static char state_of(pid_t pid)
{
	char *path = qb_xasprintf("/proc/%d/stat", (int)pid), *data, *end;
	size_t bytes;
	char state;

	if (qb_read_file(path, 4096, &data, &bytes, NULL)) {
		free(path);
		return 0;
	}
	end = strrchr(data, ')');
	state = end ? end[2] : '\0';
	free(data);
	free(path);
	return state;
}

static void wait_for_state(pid_t pid, char wanted)
{
	uint64_t deadline = qb_now_ns() + DEADLINE_NS;

	while (state_of(pid) != wanted) {
		ck_assert_msg(qb_now_ns() < deadline, "%d is %c, not %c", (int)pid, state_of(pid),
			      wanted);
		qb_sleep_ns(QB_NS_PER_MS);
	}
}

static void assert_killed(void)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, WNOHANG), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	child = -1;
}

START_TEST(start_ticks_do_not_depend_on_the_name)
{
	uint64_t ticks = qb_proc_start_ticks(getpid());

	ck_assert_uint_gt(ticks, 0);
	/* What would mislead a reader that looks for the first ')' or counts blanks. */
	ck_assert_int_eq(prctl(PR_SET_NAME, ") 1 (2 3) 4 5"), 0);
	ck_assert_uint_eq(qb_proc_start_ticks(getpid()), ticks);
	ck_assert_uint_eq(qb_proc_start_ticks(0), 0);
	ck_assert_uint_eq(qb_proc_start_ticks(-1), 0);
	ck_assert_uint_eq(qb_boot_id(), qb_boot_id());
	ck_assert_uint_ne(qb_boot_id(), 0);
}
END_TEST

START_TEST(pid_with_other_start_time_is_somebody_else)
{
	uint64_t ticks = start_child();
	int fd;

	ck_assert_int_eq(qb_pidfd_open(child, ticks + 1), -ESRCH);
	ck_assert_int_eq(qb_pidfd_open(child, 0), -ESRCH);
	/* "Dead" is the answer, and whoever has the pid now is left alone. */
	ck_assert_int_eq(qb_proc_kill_confirm(child, ticks + 1, QB_NS_PER_S), 0);
	ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
	ck_assert_int_ne(state_of(child), 'Z');
	fd = qb_pidfd_open(child, ticks);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}
END_TEST

START_TEST(group_pids_are_refused)
{
	/* kill(0) and kill(-1) would hit everybody. */
	ck_assert_int_eq(qb_proc_kill_confirm(0, 0, 0), -EINVAL);
	ck_assert_int_eq(qb_proc_kill_confirm(-1, 0, 0), -EINVAL);
}
END_TEST

START_TEST(stopped_process_is_killed_and_confirmed)
{
	uint64_t ticks = start_child();

	ck_assert_int_eq(kill(child, SIGSTOP), 0);
	wait_for_state(child, 'T');
	ck_assert_int_eq(qb_proc_kill_confirm(child, ticks, DEADLINE_NS), 0);
	assert_killed();
}
END_TEST

START_TEST(dead_process_is_confirmed_again)
{
	uint64_t ticks = start_child();
	pid_t pid = child;
	int fd = qb_pidfd_open(child, ticks);

	ck_assert_int_eq(kill(child, SIGKILL), 0);
	wait_for_state(child, 'Z');
	ck_assert_int_eq(qb_pidfd_wait(fd, 0), 1);
	ck_assert_int_eq(qb_proc_kill_confirm(pid, ticks, 0), 0);
	assert_killed();
	ck_assert_int_eq(qb_pidfd_signal(fd, SIGKILL), -ESRCH);
	ck_assert_int_eq(qb_pidfd_open(pid, ticks), -ESRCH);
	ck_assert_int_eq(qb_proc_kill_confirm(pid, ticks, 0), 0);
	ck_assert_uint_eq(qb_proc_start_ticks(pid), 0);
	close(fd);
}
END_TEST

static volatile sig_atomic_t alarms;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

START_TEST(wait_times_out_in_spite_of_signals)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval every = { { 0, 2000 }, { 0, 2000 } }, never = { 0 };
	uint64_t ticks = start_child(), start;
	int fd = qb_pidfd_open(child, ticks);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(qb_pidfd_wait(fd, 0), 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	start = qb_now_ns();
	ck_assert_int_eq(qb_pidfd_wait(fd, 30 * QB_NS_PER_MS), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	ck_assert_uint_ge(qb_now_ns() - start, 30 * QB_NS_PER_MS);
	ck_assert_int_gt(alarms, 1);
	ck_assert_int_eq(qb_pidfd_signal(fd, SIGKILL), 0);
	ck_assert_int_eq(qb_pidfd_wait(fd, UINT64_MAX), 1);
	close(fd);
	ck_assert_int_eq(qb_pidfd_wait(fd, 0), -EBADF);
}
END_TEST

static void *wait_for_ever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* The first thread can end before the others: a zombie in /proc that still runs code. */
START_TEST(process_is_alive_until_its_last_thread_ends)
{
	uint64_t ticks;
	int fd;

	child = check_fork();
	if (!child) {
		pthread_t thread;

		pthread_create(&thread, NULL, wait_for_ever, NULL);
		pthread_exit(NULL);
	}
	ticks = qb_proc_start_ticks(child);
	wait_for_state(child, 'Z');
	fd = qb_pidfd_open(child, ticks);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(qb_pidfd_wait(fd, 20 * QB_NS_PER_MS), 0);
	ck_assert_int_eq(qb_proc_kill_confirm(child, ticks, DEADLINE_NS), 0);
	assert_killed();
	close(fd);
}
END_TEST

START_TEST(want_of_descriptors_is_not_death)
{
	uint64_t ticks = start_child();
	struct rlimit few = { 64, 64 };
	int fds[64], n = 0, room;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 64 && (fds[n] = open("/dev/null", O_RDONLY)) >= 0)
		n++;
	ck_assert_int_gt(n, 0);
	/* Room for the pidfd only: /proc cannot be read any more. */
	close(fds[--n]);
	room = qb_pidfd_open(child, ticks);
	ck_assert_int_eq(qb_proc_kill_confirm(child, ticks, 0), -EMFILE);
	while (n)
		close(fds[--n]);
	ck_assert_int_eq(room, -EMFILE);
	ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
}
END_TEST

START_TEST(child_dies_with_its_parent)
{
	pid_t grandchild = 0;
	int ends[2], fd, ret;

	ck_assert_int_eq(pipe(ends), 0);
	child = check_fork();
	if (!child) {
		pid_t self = getpid(), pid = fork();

		if (!pid) {
			pid = getpid();
			if (qb_proc_die_with(self, SIGKILL))
				_exit(1);
			ret = qb_write_full(ends[1], &pid, sizeof(pid));
			(void)ret;
		}
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ends[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	fd = qb_pidfd_open(grandchild, qb_proc_start_ticks(grandchild));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(qb_pidfd_wait(fd, 0), 0);
	kill(child, SIGKILL);
	ck_assert_int_eq(qb_pidfd_wait(fd, DEADLINE_NS), 1);
	close(fd);
}
END_TEST

START_TEST(parent_that_died_first_is_noticed)
{
	ck_assert_int_eq(qb_proc_die_with(getppid(), 0), 0);
	ck_assert_int_eq(qb_proc_die_with(getpid(), 0), -ESRCH);
	ck_assert_int_eq(qb_proc_die_with(getppid(), 9999), -EINVAL);
}
END_TEST

START_TEST(signals_have_names)
{
	ck_assert_str_eq(qb_signal_name(9), "SIGKILL");
	ck_assert_str_eq(qb_signal_name(SIGSEGV), "SIGSEGV");
	ck_assert_str_eq(qb_signal_name(99), "signal 99");
}
END_TEST

START_TEST(cores_follow_the_affinity)
{
	cpu_set_t all, one;
	unsigned before = qb_proc_cores();
	int i = 0;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	ck_assert_uint_ge(before, 1);
	ck_assert_uint_le(before, (unsigned)CPU_COUNT(&all));
	while (!CPU_ISSET(i, &all))
		i++;
	CPU_ZERO(&one);
	CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_uint_eq(qb_proc_cores(), 1);
}
END_TEST

static char root[64];

static void put(const char *path, const char *text)
{
	char *full = qb_xasprintf("%s%s", root, path), *slash = strrchr(full, '/');
	struct qb_err err = { 0 };

	*slash = '\0';
	ck_assert_msg(!qb_mkdir_p(full, 0755, &err), "%s", err.text);
	*slash = '/';
	ck_assert_msg(!qb_replace_file(full, text, strlen(text), 0644, &err), "%s", err.text);
	free(full);
}

#define MOUNTS(top) \
	"22 1 0:20 / /proc rw - proc proc rw\n" \
	"30 1 0:26 " top " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"

START_TEST(cores_follow_the_least_quota_on_the_way_up)
{
	strcpy(root, "/tmp/qb-test-proc-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_uint_eq(qb_cgroup_cores(root), 0);

	put("/proc/self/mountinfo", MOUNTS("/"));
	put("/proc/self/cgroup", "4:memory:/other\n0::/a/b/c\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 0);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 0);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 8);
	put("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 3);
	put("/sys/fs/cgroup/cpu.max", "50000 100000\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 1);
	put("/sys/fs/cgroup/cpu.max", "nonsense\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 3);

	/* A container that sees its own group as the top of the mount. */
	put("/proc/self/mountinfo", MOUNTS("/a/b"));
	put("/sys/fs/cgroup/c/cpu.max", "200000 100000\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 2);
	put("/proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw\n");
	ck_assert_uint_eq(qb_cgroup_cores(root), 0);
	ck_assert_int_eq(qb_remove_tree(root), 0);
}
END_TEST

START_TEST(only_an_unreaped_child_is_killed_by_its_number)
{
	pid_t leader = fork(), other;
	int status;

	if (leader == 0) {
		for (;;)
			pause();
	}
	setpgid(leader, leader);
	/* In our own group, which is not its to lose. */
	other = fork();
	if (other == 0) {
		for (;;)
			pause();
	}
	ck_assert_int_eq(qb_child_kill_group(other), -ESRCH);
	ck_assert_int_eq(qb_child_kill(getppid()), -ESRCH);
	ck_assert_int_eq(qb_child_kill_group(getppid()), -ESRCH);
	ck_assert_int_eq(qb_group_exists(leader), 1);
	ck_assert_int_eq(qb_child_kill_group(leader), 0);
	ck_assert_int_eq(waitpid(leader, &status, 0), leader);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ck_assert_int_eq(qb_child_kill_group(leader), -ESRCH);
	ck_assert_int_eq(qb_child_kill(leader), -ESRCH);
	ck_assert_int_eq(qb_child_kill(other), 0);
	ck_assert_int_eq(waitpid(other, &status, 0), other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proc");
	TCase *tc = tcase_create("proc");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, only_an_unreaped_child_is_killed_by_its_number);
	tcase_add_test(tc, start_ticks_do_not_depend_on_the_name);
	tcase_add_test(tc, pid_with_other_start_time_is_somebody_else);
	tcase_add_test(tc, group_pids_are_refused);
	tcase_add_test(tc, stopped_process_is_killed_and_confirmed);
	tcase_add_test(tc, dead_process_is_confirmed_again);
	tcase_add_test(tc, wait_times_out_in_spite_of_signals);
	tcase_add_test(tc, process_is_alive_until_its_last_thread_ends);
	tcase_add_test(tc, want_of_descriptors_is_not_death);
	tcase_add_test(tc, child_dies_with_its_parent);
	tcase_add_test(tc, parent_that_died_first_is_noticed);
	tcase_add_test(tc, signals_have_names);
	tcase_add_test(tc, cores_follow_the_affinity);
	tcase_add_test(tc, cores_follow_the_least_quota_on_the_way_up);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
