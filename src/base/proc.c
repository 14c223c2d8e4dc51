/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cores.h"
#include "base/fdio.h"
#include "shm/status.h"

/* Read a small file of /proc into buf as a string: its length, or -errno. */
static ssize_t read_small(const char *path, char *buf, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = qb_pread_full(fd, buf, cap - 1, 0);
	close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* 0 and the ticks; -ENOENT or -ESRCH when the process is not to be seen; another -errno. */
static int read_start_ticks(pid_t pid, uint64_t *ticks)
{
	char path[64], buf[1024];
	unsigned long long value;
	unsigned field;
	ssize_t n;
	char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	n = read_small(path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	/* The name in field 2 may hold spaces and parentheses; nothing behind it does. */
	p = strrchr(buf, ')');
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p || sscanf(p, " %llu", &value) != 1)
		return n ? -EBADMSG : -ESRCH;
	*ticks = value;
	return 0;
}

uint64_t qb_proc_start_ticks(pid_t pid)
{
	uint64_t ticks;

	if (pid <= 0 || read_start_ticks(pid, &ticks))
		return 0;
	return ticks;
}

uint64_t qb_boot_id(void)
{
	uint64_t hash = 0xCBF29CE484222325u;    /* FNV-1a */
	char buf[64], *p;

	if (read_small("/proc/sys/kernel/random/boot_id", buf, sizeof(buf)) <= 0)
		return 0;
	for (p = buf; *p && *p != '\n'; p++)
		hash = (hash ^ (unsigned char)*p) * 0x100000001B3u;
	return hash;
}

int qb_pidfd_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) ? -errno : 0;
}

/* A child that is dead or alive and not yet reaped: the only pid that cannot be reused under our hands. */
static int is_unreaped_child(pid_t pid)
{
	siginfo_t info;
	int ret;

	do {
		ret = waitid(P_PID, (id_t)pid, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT);
	} while (ret && errno == EINTR);
	return ret == 0;
}

int qb_child_kill(pid_t pid)
{
	if (pid <= 1 || !is_unreaped_child(pid))
		return -ESRCH;
	return kill(pid, SIGKILL) ? -errno : 0;
}

int qb_child_kill_group(pid_t leader)
{
	if (leader <= 1 || !is_unreaped_child(leader) || getpgid(leader) != leader)
		return -ESRCH;
	return kill(-leader, SIGKILL) ? -errno : 0;
}

int qb_group_exists(pid_t group)
{
	return group > 1 && kill(-group, 0) == 0;
}

int qb_pidfd_open(pid_t pid, uint64_t start_ticks)
{
	uint64_t ticks = 0;
	int fd, ret;

	if (pid <= 0)
		return -EINVAL;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	/* Read after opening: the fd holds one process, this says whether it is the one meant. */
	ret = read_start_ticks(pid, &ticks);
	if (!ret && ticks == start_ticks)
		return fd;
	if (!ret) {
		ret = -ESRCH;
	} else if (ret == -ENOENT || ret == -ESRCH) {
		/*
		 * Not in /proc: reaped, or hidden from us (hidepid). "Dead" lets others take its
		 * jobs, so it must come from the kernel and not from a file that is not there.
		 */
		ret = qb_pidfd_signal(fd, 0) == -ESRCH ? -ESRCH : -EACCES;
	}
	close(fd);
	return ret;
}

int qb_pidfd_wait(int pidfd, uint64_t timeout_ns)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	uint64_t now = qb_now_ns();
	uint64_t deadline = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;

	for (;;) {
		uint64_t left = deadline > now ? deadline - now : 0;
		struct timespec ts = {
			.tv_sec = (time_t)(left / QB_NS_PER_S),
			.tv_nsec = (long)(left % QB_NS_PER_S),
		};
		int n = ppoll(&pfd, 1, &ts, NULL);

		if (n > 0)
			return pfd.revents & POLLNVAL ? -EBADF : 1;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!left)
			return 0;
		now = qb_now_ns();
	}
}

int qb_proc_kill_confirm(pid_t pid, uint64_t start_ticks, uint64_t timeout_ns)
{
	int fd = qb_pidfd_open(pid, start_ticks);
	int ret;

	if (fd == -ESRCH)
		return 0;
	if (fd < 0)
		return fd;
	ret = qb_pidfd_signal(fd, SIGKILL);
	if (ret && ret != -ESRCH)
		goto out;
	/* Also after ESRCH: only the readable fd says that every thread of it is gone. */
	ret = qb_pidfd_wait(fd, timeout_ns);
	if (ret == 1)
		ret = 0;
	else if (ret == 0)
		ret = QB_ETIMEOUT;
out:
	close(fd);
	return ret;
}

int qb_proc_die_with(pid_t parent, int sig)
{
	if (prctl(PR_SET_PDEATHSIG, sig))
		return -errno;
	/* The signal is sent at the death of the parent; one that died before will send none. */
	return getppid() == parent ? 0 : -ESRCH;
}

const char *qb_signal_name(int sig)
{
	static const struct {
		int sig;
		const char *name;
	} names[] = {
		{ SIGHUP, "SIGHUP" }, { SIGINT, "SIGINT" }, { SIGQUIT, "SIGQUIT" },
		{ SIGILL, "SIGILL" }, { SIGTRAP, "SIGTRAP" }, { SIGABRT, "SIGABRT" },
		{ SIGBUS, "SIGBUS" }, { SIGFPE, "SIGFPE" }, { SIGKILL, "SIGKILL" },
		{ SIGUSR1, "SIGUSR1" }, { SIGSEGV, "SIGSEGV" }, { SIGUSR2, "SIGUSR2" },
		{ SIGPIPE, "SIGPIPE" }, { SIGALRM, "SIGALRM" }, { SIGTERM, "SIGTERM" },
		{ SIGCHLD, "SIGCHLD" }, { SIGCONT, "SIGCONT" }, { SIGSTOP, "SIGSTOP" },
		{ SIGTSTP, "SIGTSTP" }, { SIGTTIN, "SIGTTIN" }, { SIGTTOU, "SIGTTOU" },
		{ SIGURG, "SIGURG" }, { SIGXCPU, "SIGXCPU" }, { SIGXFSZ, "SIGXFSZ" },
		{ SIGVTALRM, "SIGVTALRM" }, { SIGPROF, "SIGPROF" }, { SIGWINCH, "SIGWINCH" },
		{ SIGIO, "SIGIO" }, { SIGPWR, "SIGPWR" }, { SIGSYS, "SIGSYS" },
	};
	static char unknown[32];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].sig == sig)
			return names[i].name;
	}
	snprintf(unknown, sizeof(unknown), "signal %d", sig);
	return unknown;
}

/* Cores in the affinity mask, whatever size of mask this kernel needs. */
static unsigned affinity_cores(void)
{
	long online;
	int cpus;

	for (cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		size_t bytes = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int ret, count;

		if (!set)
			break;
		ret = sched_getaffinity(0, bytes, set);
		count = ret ? 0 : CPU_COUNT_S(bytes, set);
		CPU_FREE(set);
		if (!ret)
			return (unsigned)count;
		if (errno != EINVAL)
			break;
	}
	online = sysconf(_SC_NPROCESSORS_ONLN);
	return online > 0 ? (unsigned)online : 1;
}

unsigned qb_proc_cores(void)
{
	unsigned cores = affinity_cores();
	unsigned quota = qb_cgroup_cores("");

	if (quota && quota < cores)
		cores = quota;
	return cores ? cores : 1;
}
