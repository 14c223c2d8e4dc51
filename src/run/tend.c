/* SPDX-License-Identifier: Apache-2.0 */
/* The driver's care for the parent: starts it, sees it die, starts its successor, ends it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "run/driver.h"
#include "run/process.h"
#include "run/server.h"
#include "shm/seat.h"
#include "shm/wait.h"

#define READY_NS (30 * QB_NS_PER_S)
#define LEAVE_NS (20 * QB_NS_PER_S)
#define HURRY_NS (5 * QB_NS_PER_S)
#define KILL_NS (5 * QB_NS_PER_S)
/* Parents that die by themselves without ever becoming ready: the next one will do the same. */
#define DEATHS_MAX 5
/* What a parent finds in its environment. */
#define OWN 4

/* Between fork and exec in a program with threads: nothing but system calls. envp was made before. */
static __attribute__((noreturn)) void exec_parent(const struct qb_driver *d, char *const envp[], pid_t driver)
{
	static char name[] = "qbench", mode[] = "--mode=parent";
	char *const argv[] = { name, mode, (char *)d->segment_path, NULL };
	sigset_t none;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	/* From here on, and not when the new program comes to it: the driver may be dead by then. It outlives exec. */
	if (qb_proc_die_with(driver, SIGTERM) < 0)
		_exit(1);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	if (d->cfg->messages_fd > 0)
		dup2(d->cfg->messages_fd, STDERR_FILENO);
	/* What the parent and its children say are messages, never results. */
	dup2(STDERR_FILENO, STDOUT_FILENO);
	close_range(3, ~0u, 0);
	execve("/proc/self/exe", argv, envp);
	_exit(127);
}

/* Ours, the connection string, the settings of the queue, and where the gate and the board are. */
static char **make_environment(const struct qb_driver *d, char *own[OWN])
{
	size_t n = 0;

	while (environ[n])
		n++;
	char **envp = qb_xcalloc(n + OWN + 1, sizeof(*envp));

	memcpy(envp, environ, n * sizeof(*envp));
	own[0] = envp[n] = qb_xasprintf("%s=%s", QB_CONNINFO_ENV, qb_server_conninfo(d->server));
	own[1] = envp[n + 1] = qb_xasprintf("%s=%s", QB_OPTIONS_ENV, d->env.options ? d->env.options : "");
	own[2] = envp[n + 2] = qb_xasprintf("%s=%s", QB_GATE_ENV, d->gate_path);
	own[3] = envp[n + 3] = qb_xasprintf("%s=%s", QB_BOARD_ENV, d->board_path);
	return envp;
}

int qb_tend_start(struct qb_driver *d, struct qb_err *err)
{
	char *own[OWN], **envp = make_environment(d, own);
	pid_t self = getpid(), pid = fork();

	if (pid == 0)
		exec_parent(d, envp, self);
	int why = errno;

	for (size_t i = 0; i < OWN; i++)
		free(own[i]);
	free(envp);
	if (pid < 0)
		return qb_err_errno(err, why, "could not start the parent process");
	d->parent_pid = pid;
	d->parent_fd = qb_pidfd_open(pid, qb_proc_start_ticks(pid));
	if (d->parent_fd < 0)
		return qb_err_errno(err, -d->parent_fd, "could not watch the parent process");
	return 0;
}

static uint32_t ready_workers(const struct qb_seg *seg)
{
	uint32_t n = 0;

	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		uint64_t w = qb_load_acquire64(&seg->seats[seat].word);

		n += qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == QB_ROLE_WORKER &&
		     qb_load_acquire64(&seg->seats[seat].ready_raw) != 0;
	}
	return n;
}

int qb_tend_wait_ready(struct qb_driver *d, struct qb_err *err)
{
	uint64_t deadline = qb_now_ns() + READY_NS;
	int wants_syncer = (d->ops->flags & QB_QUEUE_NEEDS_SYNCER) != 0;

	while (ready_workers(&d->seg) < d->seg.cfg.worker_count ||
	       (wants_syncer && !qb_load_relaxed32(&d->seg.hdr->mark_connected))) {
		if (qb_interrupted)
			return qb_err_set(err, QB_EINTR, "interrupted");
		if (qb_now_ns() > deadline)
			return qb_err_set(err, QB_ETIMEOUT, "only %u of %u workers were ready within 30 s; see the messages above",
					  ready_workers(&d->seg), d->seg.cfg.worker_count);
		int rc = qb_tend_poll(d, err);

		if (rc == 0)
			rc = qb_recorder_poll(&d->recorder, err);
		if (rc < 0)
			return rc;
		qb_sleep_ns(QB_NS_PER_MS);
	}
	return 0;
}

/* Orphans of a dead parent come to the driver; they are collected so that they do not stay as zombies. */
static void collect_orphans(struct qb_driver *d)
{
	/* While it is killed and started again, nobody else knows which children are the server's. */
	if (qb_server_is_away(d->server))
		return;
	for (int i = 0; i < 256; i++) {
		siginfo_t si = { 0 };

		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		/* The parent is seen to elsewhere, a private server by its own room. */
		if (si.si_pid == d->parent_pid || si.si_pid == qb_server_pid(d->server))
			return;
		waitpid(si.si_pid, NULL, WNOHANG);
	}
}

static uint32_t parent_seat_of(const struct qb_driver *d, pid_t pid)
{
	uint32_t seat = qb_load_relaxed32(&d->seg.hdr->parent_seat);

	return seat < d->seg.cfg.seat_count && qb_seat_who(&d->seg, seat, NULL) == (uint32_t)pid ? seat : 0;
}

int qb_tend_parent_is_ready(const struct qb_driver *d)
{
	uint32_t seat = parent_seat_of(d, d->parent_pid);

	return seat != 0 && qb_load_acquire64(&d->seg.seats[seat].ready_raw) != 0;
}

int qb_tend_poll(struct qb_driver *d, struct qb_err *err)
{
	int status = 0;

	if (d->parent_pid && qb_pidfd_wait(d->parent_fd, 0) == 1 &&
	    waitpid(d->parent_pid, &status, 0) == d->parent_pid) {
		pid_t dead = d->parent_pid;
		/* One that the plan killed while it took over would have become ready. */
		int was_ready = qb_tend_parent_is_ready(d) || dead == d->faults.parent;

		close(d->parent_fd);
		d->parent_fd = -1;
		d->parent_pid = 0;
		/* One that died before it had a seat held nothing. */
		if (parent_seat_of(d, dead))
			qb_process_note(&d->log, QB_EV_PROCESS_DIED, QB_ROLE_PARENT, parent_seat_of(d, dead),
					(uint64_t)dead, (uint64_t)status);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && qb_load_relaxed32(&d->seg.hdr->stop) >= QB_STOP_DRAIN)
			/* Stop does not go back, so no successor could serve. */
			return d->stopping ? 0 : qb_err_set(err, QB_ECHILD, "the parent process and all workers left in the "
							    "middle of the run: see the messages above, or "
							    "somebody sent it a SIGTERM");
		d->parent_deaths = was_ready ? 0 : d->parent_deaths + 1;
		if (d->parent_deaths >= DEATHS_MAX)
			return qb_err_set(err, QB_ECHILD, "%u parent processes in a row died before they were ready; "
					  "see the messages above", d->parent_deaths);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
			return qb_err_set(err, QB_ECHILD, "could not run /proc/self/exe as the parent process");
		int rc = qb_tend_start(d, err);

		if (rc < 0)
			return rc;
	}
	collect_orphans(d);
	return 0;
}

void qb_tend_kill_all(struct qb_driver *d)
{
	if (d->parent_pid) {
		qb_pidfd_signal(d->parent_fd, SIGKILL);
		waitpid(d->parent_pid, NULL, 0);
		close(d->parent_fd);
		d->parent_fd = -1;
		d->parent_pid = 0;
	}
	for (uint32_t seat = 1; d->seg.base && seat < d->seg.cfg.seat_count; seat++) {
		uint64_t ticks;
		pid_t pid = (pid_t)qb_seat_who(&d->seg, seat, &ticks);

		if (seat != d->seat && pid > 1 && qb_proc_kill_confirm(pid, ticks, KILL_NS) < 0)
			qb_log(QB_LOG_WARNING, "process %d cannot be killed", (int)pid);
	}
	collect_orphans(d);
}

int qb_tend_stop(struct qb_driver *d, struct qb_err *err)
{
	uint64_t deadline = qb_now_ns() + (d->in_a_hurry ? HURRY_NS : LEAVE_NS);
	int rc = 0, forced = 0;

	d->stopping = 1;
	qb_faults_go_on(&d->faults);
	qb_raise_stop(&d->seg, QB_STOP_DRAIN);
	while (d->parent_pid) {
		/* The rings must not run full while the others write their last events. */
		if (d->recorder.w && qb_recorder_poll(&d->recorder, err) < 0)
			rc = QB_ECHILD;
		if (qb_tend_poll(d, err) < 0) {
			rc = QB_ECHILD;
			break;
		}
		if (qb_now_ns() > deadline && forced) {
			rc = qb_err_set(err, QB_ECHILD, "the processes of the run did not leave and were killed");
			break;
		}
		if (qb_now_ns() > deadline) {
			qb_raise_stop(&d->seg, QB_STOP_NOW);
			deadline = qb_now_ns() + KILL_NS;
			forced = 1;
		}
		if (d->parent_pid)
			qb_pidfd_wait(d->parent_fd, 2 * QB_NS_PER_MS);
	}
	qb_tend_kill_all(d);
	return rc;
}
