/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "shm/status.h"

/* How long a child may take from fork to exec (programs may lie on a slow network). */
#define EXEC_TIMEOUT_NS (30 * QB_NS_PER_S)
#define KILL_TIMEOUT_NS (10 * QB_NS_PER_S)
/* How often the interrupted flag is looked at. */
#define STEP_NS (20 * QB_NS_PER_MS)

enum stage { STAGE_NONE, STAGE_USER, STAGE_PARENT, STAGE_DIR, STAGE_FDS, STAGE_EXEC };

/* What a child that could not become the program writes to its parent. */
struct failure {
	int stage;              /* enum stage */
	int errnum;
};

int qb_pg_find_user(struct qb_pg_user *user, struct qb_err *err)
{
	const struct passwd *pw;

	memset(user, 0, sizeof(*user));
	if (geteuid()) {
		pw = getpwuid(geteuid());
		user->uid = geteuid();
		user->gid = getegid();
		if (pw)
			snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
		else
			snprintf(user->name, sizeof(user->name), "uid %u", (unsigned)user->uid);
		return 0;
	}
	pw = getpwnam("postgres");
	if (!pw || !pw->pw_uid)
		pw = getpwnam("nobody");
	if (!pw || !pw->pw_uid)
		return qb_err_set(err, QB_EUSAGE,
				  "Postgres does not run as root, and there is neither a user "
				  "\"postgres\" nor a user \"nobody\" to run it as; create one, or "
				  "run qbench as an ordinary user");
	user->is_other = true;
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
	return 0;
}

/* From here to become(): between fork and exec, only what is safe in a signal handler. */

static void fail(int fd, enum stage stage)
{
	struct failure failure = { .stage = (int)stage, .errnum = errno };

	(void)!write(fd, &failure, sizeof(failure));
	_exit(127);
}

static void close_from(unsigned first, unsigned last)
{
	unsigned fd;

	if (first > last)
		return;
#ifdef SYS_close_range
	if (!syscall(SYS_close_range, first, last, 0))
		return;
#endif
	for (fd = first; fd <= last && fd < 65536; fd++)
		close((int)fd);
}

static void reset_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;
	int sig;

	for (sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void __attribute__((noreturn)) become(const struct qb_pg_program *p, char *const *env,
					      pid_t parent, int fail_fd)
{
	const struct qb_pg_user *user = p->user;
	int null_fd, out_fd, ret;

	reset_signals();
	setsid();
	if (user->is_other && (setgroups(1, &user->gid) || setgid(user->gid) || setuid(user->uid)))
		fail(fail_fd, STAGE_USER);
	/* Not before: a change of credentials clears it. */
	ret = qb_proc_die_with(parent, p->death_signal);
	if (ret < 0) {
		errno = -ret;
		fail(fail_fd, STAGE_PARENT);
	}
	if (chdir(p->dir))
		fail(fail_fd, STAGE_DIR);
	/* Out of the way of 0 to 2, which may be what open() gave, had our parent closed them. */
	out_fd = fcntl(p->out_fd, F_DUPFD, 3);
	null_fd = open("/dev/null", O_RDONLY);
	if (out_fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(out_fd, 1) < 0 ||
	    dup2(out_fd, 2) < 0)
		fail(fail_fd, STAGE_FDS);
	close_from(3, (unsigned)fail_fd - 1);
	close_from((unsigned)fail_fd + 1, ~0u);
	execve(p->path, (char *const *)(uintptr_t)p->argv, env);
	fail(fail_fd, STAGE_EXEC);
	_exit(127);
}

/*
 * Nothing of the caller's environment but the path of libraries: PGOPTIONS, PGDATA, TZ or a locale
 * would make one run differ from the next.
 */
static void make_env(char *env[6], const char *dir)
{
	const char *libraries = getenv("LD_LIBRARY_PATH");
	int n = 0;

	env[n++] = qb_xstrdup("PATH=/usr/local/bin:/usr/bin:/bin");
	env[n++] = qb_xstrdup("LC_ALL=C");
	env[n++] = qb_xstrdup("TZ=UTC");
	env[n++] = qb_xasprintf("HOME=%s", dir);
	if (libraries)
		env[n++] = qb_xasprintf("LD_LIBRARY_PATH=%s", libraries);
	env[n] = NULL;
}

/* A pipe whose ends do not collide with 0, 1, 2, should those be closed. */
static int high_pipe(int ends[2])
{
	int i;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	for (i = 0; i < 2; i++) {
		int fd = ends[i] > 2 ? ends[i] : fcntl(ends[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			fd = -errno;
			close(ends[0]);
			close(ends[1]);
			return fd;
		}
		if (fd != ends[i])
			close(ends[i]);
		ends[i] = fd;
	}
	return 0;
}

static int report_failure(const struct qb_pg_program *p, const struct failure *f,
			  struct qb_err *err)
{
	switch (f->stage) {
	case STAGE_USER:
		return qb_err_errno(err, f->errnum,
				    "could not run %s as user %s (run qbench as an ordinary user, "
				    "or use a server of your own)", p->path, p->user->name);
	case STAGE_DIR:
		return qb_err_errno(err, f->errnum,
				    "user %s cannot reach %s (every folder above it must be "
				    "searchable for that user; set TMPDIR to another place)",
				    p->user->name, p->dir);
	case STAGE_EXEC:
		return qb_err_errno(err, f->errnum, "could not run %s as user %s", p->path,
				    p->user->name);
	default:
		return qb_err_errno(err, f->errnum ? f->errnum : EIO, "could not start %s",
				    p->path);
	}
}

/* The end of the pipe closes at exec; anything before that is a failure. 0 or the code. */
static int await_exec(const struct qb_pg_program *p, int fd, struct qb_err *err)
{
	uint64_t deadline_ns = qb_now_ns() + EXEC_TIMEOUT_NS;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct failure failure;
	uint64_t now_ns;
	ssize_t n;

	for (;;) {
		now_ns = qb_now_ns();
		if (now_ns >= deadline_ns)
			return qb_err_set(err, QB_ETIMEOUT, "could not start %s: it does not load",
					  p->path);
		if (poll(&pfd, 1, (int)((deadline_ns - now_ns) / QB_NS_PER_MS) + 1) > 0)
			break;
	}
	do {
		n = read(fd, &failure, sizeof(failure));
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(failure))
		failure = (struct failure){ .stage = STAGE_NONE, .errnum = n < 0 ? errno : EIO };
	return report_failure(p, &failure, err);
}

int qb_pg_spawn(const struct qb_pg_program *program, struct qb_pg_child *child, struct qb_err *err)
{
	pid_t parent = getpid(), pid;
	char *env[6], **e;
	int ends[2], ret;

	*child = (struct qb_pg_child){ .pidfd = -1 };
	ret = high_pipe(ends);
	if (ret < 0)
		return qb_err_errno(err, -ret, "could not start %s: pipe", program->path);
	make_env(env, program->dir);
	pid = fork();
	if (pid == 0)
		become(program, env, parent, ends[1]);
	ret = pid < 0 ? -errno : 0;
	for (e = env; *e; e++)
		free(*e);
	close(ends[1]);
	if (ret) {
		qb_err_errno(err, -ret, "could not start %s: fork", program->path);
		goto out;
	}
	child->pid = pid;
	/* Not yet reaped, so the pid is its own, also when it is dead already. */
	child->pidfd = qb_pidfd_open(pid, qb_proc_start_ticks(pid));
	ret = await_exec(program, ends[0], err);
	if (!ret && child->pidfd < 0)
		ret = qb_err_errno(err, -child->pidfd, "could not watch %s", program->path);
	if (ret) {
		qb_child_kill(pid);
		qb_pg_reap(child);
	}
out:
	close(ends[0]);
	return ret;
}

int qb_pg_reap(struct qb_pg_child *child)
{
	int status = -1;
	pid_t got;

	do {
		got = waitpid(child->pid, &status, 0);
	} while (got < 0 && errno == EINTR);
	if (child->pidfd >= 0)
		close(child->pidfd);
	*child = (struct qb_pg_child){ .pidfd = -1 };
	return got < 0 ? -1 : status;
}

/*
 * End a program and what it started: initdb runs shells and servers of its own, all in the session
 * that qb_pg_spawn() made for it.
 */
static void end_family(struct qb_pg_child *child)
{
	uint64_t deadline_ns;
	pid_t group = child->pid;

	/* Asked first: initdb then removes what it made. */
	qb_pidfd_signal(child->pidfd, SIGTERM);
	if (qb_pidfd_wait(child->pidfd, KILL_TIMEOUT_NS) != 1)
		qb_pidfd_signal(child->pidfd, SIGKILL);
	qb_child_kill_group(group);
	if (qb_pidfd_wait(child->pidfd, KILL_TIMEOUT_NS) != 1) {
		/* What even SIGKILL cannot end must not hold us for ever. */
		close(child->pidfd);
		*child = (struct qb_pg_child){ .pidfd = -1 };
		return;
	}
	qb_pg_reap(child);
	deadline_ns = qb_now_ns() + KILL_TIMEOUT_NS;
	while (qb_group_exists(group) && qb_now_ns() < deadline_ns)
		qb_sleep_ns(STEP_NS / 10);
}

int qb_pg_run(const struct qb_pg_program *program, uint64_t timeout_ns,
	      const volatile sig_atomic_t *interrupted, struct qb_err *err)
{
	uint64_t deadline_ns = qb_now_ns() + timeout_ns;
	struct qb_pg_child child;
	int ret;

	ret = qb_pg_spawn(program, &child, err);
	if (ret < 0)
		return ret;
	for (;;) {
		ret = qb_pidfd_wait(child.pidfd, STEP_NS);
		if (ret == 1) {
			ret = qb_pg_reap(&child);
			if (ret >= 0)
				return ret;
			return qb_err_set(err, QB_ECHILD,
					  "how %s ended is lost: another part of the program "
					  "collected its exit status", program->path);
		}
		if (ret < 0) {
			qb_err_errno(err, -ret, "could not wait for %s", program->path);
			break;
		}
		if (interrupted && *interrupted) {
			ret = qb_err_set(err, QB_EINTR, "interrupted while %s ran", program->path);
			break;
		}
		if (qb_now_ns() >= deadline_ns) {
			ret = qb_err_set(err, QB_ETIMEOUT, "%s does not come to an end",
					 program->path);
			break;
		}
	}
	end_family(&child);
	return ret;
}

const char *qb_pg_status_text(char *buf, size_t cap, int status)
{
	if (status >= 0 && WIFEXITED(status))
		snprintf(buf, cap, "exit status %d", WEXITSTATUS(status));
	else if (status >= 0 && WIFSIGNALED(status))
		snprintf(buf, cap, "%s", qb_signal_name(WTERMSIG(status)));
	else
		snprintf(buf, cap, "an unknown status");
	return buf;
}

void qb_pg_tail(int fd, off_t from_off, char *buf, size_t cap)
{
	char raw[2048];
	off_t end_off = lseek(fd, 0, SEEK_END), off;
	size_t want = cap - 1 < sizeof(raw) ? cap - 1 : sizeof(raw);
	size_t n = 0;
	ssize_t got, i;

	buf[0] = '\0';
	off = end_off - (off_t)want > from_off ? end_off - (off_t)want : from_off;
	got = qb_pread_full(fd, raw, want, off);
	for (i = 0; i < got; i++) {
		bool is_break = raw[i] == '\n';

		/* Each line break becomes three characters, so the text can outgrow the buffer. */
		if (n + 4 > cap)
			break;
		if (!is_break)
			buf[n++] = raw[i] == '\t' || raw[i] == '\0' ? ' ' : raw[i];
		else if (n && buf[n - 1] != ' ') {
			memcpy(buf + n, " | ", 3);
			n += 3;
		}
	}
	while (n && (buf[n - 1] == ' ' || buf[n - 1] == '|'))
		n--;
	buf[n] = '\0';
}

void qb_pg_hint(char *buf, size_t cap, const char *text, const char *dir, const char *user_name)
{
	/* The first that fits: semaphores and segments also fail with "No space left on device". */
	static const struct {
		const char *words, *advice;
	} hints[] = {
		{ "could not create semaphores",
		  "raise the kernel's limits on semaphores (sysctl kernel.sem)" },
		{ "could not create shared memory segment",
		  "raise the kernel's limits on segments (sysctl kernel.shmmax, kernel.shmmni)" },
		{ "could not map anonymous shared memory",
		  "free some memory: about 200 MB are needed" },
		{ "Cannot allocate memory", "free some memory: about 200 MB are needed" },
		{ "No space left on device",
		  "free space there (about 300 MB are needed), or set TMPDIR to a larger place" },
		{ "Disk quota exceeded",
		  "free space there, or set TMPDIR to a place with more quota" },
		{ "Read-only file system", "set TMPDIR to a folder that can be written to" },
		{ "Permission denied", "that user must be able to reach and write the folder" },
		{ "Too many open files", "raise the limit on open files (ulimit -n)" },
	};
	size_t i;

	buf[0] = '\0';
	for (i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (!strstr(text, hints[i].words))
			continue;
		snprintf(buf, cap, "the folder is %s, the user %s: %s; ", dir, user_name,
			 hints[i].advice);
		return;
	}
}
