/* SPDX-License-Identifier: Apache-2.0 */
#include "run/parent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "queue/queue.h"
#include "run/process.h"
#include "run/run.h"
#include "run/takeover.h"
#include "shm/fault.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "shm/wait.h"

/* Longest sleep without a look at the stop word and at what should run. */
#define TICK_MS 100
#define STOP_NS (3 * QB_NS_PER_S)
/* A role that dies before it is ready is started again after a pause that doubles. */
#define RESPAWN_MIN_NS (5 * QB_NS_PER_MS)
#define RESPAWN_MAX_NS QB_NS_PER_S

struct child {
	pid_t pid;              /* 0 = this seat is not ours */
	int pidfd;
	uint32_t role;
};

struct parent {
	struct qb_seg *seg;
	const char *conninfo;
	int needs_syncer;
	int synced;             /* the syncer left because everything is durable */
	uint32_t seat;
	int epfd, sigfd;
	struct qb_event_writer log;
	struct qb_recovery recovery;
	struct child *child;    /* by seat */
	uint32_t count[QB_ROLE_COUNT];
	uint64_t early_deaths;
	uint64_t respawn_after_ns;
};

static uint32_t stop_word(const struct parent *p)
{
	return qb_load_relaxed32(&p->seg->hdr->stop);
}

/* ---- starting ---- */

static __attribute__((noreturn)) void child_main(struct parent *p, uint32_t seat, uint32_t incarnation, uint32_t role,
						 pid_t parent_pid)
{
	struct qb_process self = {
		.seg = p->seg,
		.seat = seat,
		.incarnation = incarnation,
		.role = role,
		.parent = parent_pid,
		.conninfo = p->conninfo,
	};

	if (qb_process_begin(&self) < 0)
		_exit(9);
	_exit(role == QB_ROLE_SYNCER ? qb_syncer_process_main(&self) : qb_worker_main(&self));
}

static int spawn(struct parent *p, uint32_t role)
{
	int seat = qb_seat_take(p->seg, role);

	if (seat < 0)
		return seat;
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&p->seg->seats[seat].word));
	pid_t self = getpid(), pid = fork();

	if (pid < 0) {
		int rc = -errno;

		qb_seat_free(p->seg, (uint32_t)seat);
		return rc;
	}
	if (pid == 0)
		child_main(p, (uint32_t)seat, incarnation, role, self);
	QB_FAULT("parent.spawn.after-fork");
	uint64_t ticks = qb_proc_start_ticks(pid);
	struct child *c = &p->child[seat];

	qb_seat_name(p->seg, (uint32_t)seat, (uint32_t)pid, ticks);
	c->pid = pid;
	c->role = role;
	/* Our own child, not reaped yet: the pid cannot be anybody else's. */
	c->pidfd = qb_pidfd_open(pid, ticks);
	p->count[role]++;
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (uint32_t)seat };

	if (c->pidfd >= 0)
		epoll_ctl(p->epfd, EPOLL_CTL_ADD, c->pidfd, &ev);
	qb_await_room(&p->log);
	qb_process_note(&p->log, QB_EV_PROCESS_SPAWNED, role, (uint32_t)seat, (uint64_t)pid, incarnation);
	return seat;
}

/* A standby takes the place of a worker: it is forked, connected and warm. 1 when there was one. */
static int promote_standby(struct parent *p)
{
	for (uint32_t seat = 1; seat < p->seg->cfg.seat_count; seat++) {
		struct child *c = &p->child[seat];

		if (c->pid == 0 || c->role != QB_ROLE_STANDBY ||
		    qb_load_acquire64(&p->seg->seats[seat].ready_raw) == 0 ||
		    qb_seat_set_role(p->seg, seat, QB_ROLE_WORKER) < 0)
			continue;
		QB_FAULT("parent.promote.after-role");
		qb_give_go(p->seg, seat);
		c->role = QB_ROLE_WORKER;
		p->count[QB_ROLE_STANDBY]--;
		p->count[QB_ROLE_WORKER]++;
		return 1;
	}
	return 0;
}

/* Bring every role to its number. Returns 0, or negative when a process could not be started. */
static int fill_roles(struct parent *p)
{
	const struct qb_config_shm *cfg = &p->seg->cfg;
	int rc = 0;

	if (p->needs_syncer && !p->synced && p->count[QB_ROLE_SYNCER] == 0 && stop_word(p) < QB_STOP_NOW)
		rc = spawn(p, QB_ROLE_SYNCER);
	if (stop_word(p) != QB_STOP_NO)
		return rc < 0 ? rc : 0;
	while (rc >= 0 && p->count[QB_ROLE_WORKER] < cfg->worker_count)
		rc = promote_standby(p) ? 0 : spawn(p, QB_ROLE_WORKER);
	while (rc >= 0 && p->count[QB_ROLE_STANDBY] < cfg->standby_count)
		rc = spawn(p, QB_ROLE_STANDBY);
	return rc < 0 ? rc : 0;
}

/* ---- dying ---- */

static void on_death(struct parent *p, uint32_t seat)
{
	struct child *c = &p->child[seat];
	uint64_t noticed_ns = qb_now_ns();
	int status = 0;

	if (c->pid == 0 || waitpid(c->pid, &status, WNOHANG) != c->pid)
		return;
	QB_FAULT("parent.death.after-reap");
	uint32_t role = c->role;
	int was_ready = qb_load_acquire64(&p->seg->seats[seat].ready_raw) != 0;

	qb_await_room(&p->log);
	qb_process_note(&p->log, QB_EV_PROCESS_DIED, role, seat, (uint64_t)c->pid, (uint64_t)status);
	if (c->pidfd >= 0)
		close(c->pidfd);        /* leaves the epoll set with it */
	p->count[role]--;
	memset(c, 0, sizeof(*c));
	/* Somebody serves again before the jobs are decided: deciding takes a pass over the table. */
	if (role == QB_ROLE_WORKER && stop_word(p) == QB_STOP_NO)
		promote_standby(p);
	qb_decide_seat(&p->recovery, &p->log, p->seat, seat, noticed_ns);
	int in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	if (role == QB_ROLE_SYNCER && in_order)
		p->synced = 1;
	/* One that leaves with an error would find the same again at once. */
	if (in_order || (was_ready && WIFSIGNALED(status))) {
		p->early_deaths = 0;
		return;
	}
	uint64_t pause = RESPAWN_MIN_NS << (p->early_deaths < 8 ? p->early_deaths : 8);

	p->early_deaths++;
	p->respawn_after_ns = noticed_ns + (pause < RESPAWN_MAX_NS ? pause : RESPAWN_MAX_NS);
	if (was_ready)
		qb_log(QB_LOG_WARNING, "a %s left with an error", qb_role_name(role));
	else
		qb_log(QB_LOG_WARNING, "a %s died before it was ready (%s)", qb_role_name(role),
		       WIFSIGNALED(status) ? qb_signal_name(WTERMSIG(status)) : "it exited");
}

/* Every child that has died, whatever woke us. */
static void reap_all(struct parent *p)
{
	for (uint32_t seat = 1; seat < p->seg->cfg.seat_count; seat++)
		if (p->child[seat].pid)
			on_death(p, seat);
}

static uint32_t children(const struct parent *p)
{
	return p->count[QB_ROLE_WORKER] + p->count[QB_ROLE_STANDBY] + p->count[QB_ROLE_SYNCER];
}

static void kill_children(struct parent *p)
{
	for (uint32_t seat = 1; seat < p->seg->cfg.seat_count; seat++)
		if (p->child[seat].pid && p->child[seat].pidfd >= 0)
			qb_pidfd_signal(p->child[seat].pidfd, SIGKILL);
}

/* ---- the loop ---- */

static void wait_events(struct parent *p, int timeout_ms)
{
	struct epoll_event ev[32];
	int n = epoll_wait(p->epfd, ev, 32, timeout_ms);

	/* A child whose pidfd could not be had is seen to now and then. */
	if (n == 0)
		reap_all(p);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u32 != 0) {
			on_death(p, ev[i].data.u32);
			continue;
		}
		struct signalfd_siginfo si;

		/* The driver is gone, or somebody wants us to leave. */
		while (read(p->sigfd, &si, sizeof(si)) == (ssize_t)sizeof(si))
			qb_raise_stop(p->seg, QB_STOP_NOW);
	}
}

static int supervise(struct parent *p)
{
	uint64_t forced_ns = 0;

	for (;;) {
		uint32_t stop = stop_word(p);
		uint64_t now = qb_now_ns();
		int rc = 0, timeout_ms = TICK_MS;

		if (now >= p->respawn_after_ns)
			rc = fill_roles(p);
		else
			timeout_ms = (int)((p->respawn_after_ns - now) / QB_NS_PER_MS) + 1;
		if (rc < 0)
			qb_log(QB_LOG_WARNING, "could not start a process: %s", qb_strerror(rc));
		if (stop == QB_STOP_DRAIN && p->count[QB_ROLE_WORKER] + p->count[QB_ROLE_STANDBY] == 0) {
			qb_raise_stop(p->seg, QB_STOP_FINISH);
			continue;
		}
		if (stop == QB_STOP_FINISH && (p->synced || !p->needs_syncer) && children(p) == 0)
			return 0;
		if (stop >= QB_STOP_NOW) {
			if (children(p) == 0)
				return 0;
			if (forced_ns == 0)
				forced_ns = now + STOP_NS;
			else if (now >= forced_ns)
				kill_children(p);
		}
		wait_events(p, stop == QB_STOP_NO ? timeout_ms : 10);
		if (stop != QB_STOP_NO)
			reap_all(p);
	}
}

static int open_parent(struct parent *p, struct qb_err *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = 0 };
	sigset_t set;
	int rc = qb_recovery_open(&p->recovery, p->seg);

	p->child = calloc(p->seg->cfg.seat_count, sizeof(*p->child));
	if (rc < 0 || !p->child)
		return qb_err_set(err, -ENOMEM, "out of memory");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->sigfd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	p->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (p->sigfd < 0 || p->epfd < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->sigfd, &ev) < 0)
		return qb_err_errno(err, errno, "could not set up the parent's event loop");
	return 0;
}

int qb_parent_run(struct qb_seg *seg, const char *conninfo, struct qb_err *err)
{
	const struct qb_queue_ops *ops = qb_queue_find(seg->cfg.queue);
	struct parent p = { .seg = seg, .conninfo = conninfo, .epfd = -1, .sigfd = -1 };
	int rc;

	if (!ops)
		return qb_err_set(err, QB_EUSAGE, "this qbench knows no queue \"%s\"", seg->cfg.queue);
	p.needs_syncer = (ops->flags & QB_QUEUE_NEEDS_SYNCER) != 0;
	rc = qb_parent_lock(seg);
	if (rc < 0)
		return qb_err_set(err, rc, "the segment has a living parent already");
	rc = open_parent(&p, err);
	if (rc < 0)
		goto out;
	rc = qb_take_parent_seat(&p.recovery);
	if (rc < 0) {
		qb_err_set(err, rc, "no free seat for the parent");
		goto out;
	}
	p.seat = (uint32_t)rc;
	/* Nobody else recovers seats while the lock is ours. */
	qb_seat_name(seg, p.seat, (uint32_t)getpid(), qb_proc_start_ticks(getpid()));
	/* Does not wait for its readers but where it says so, for a moment: it has to reap. */
	qb_event_open(&p.log, seg, p.seat, QB_OVERFLOW_DROP);
	rc = qb_take_over(&p.recovery, &p.log, p.seat, err);
	if (rc < 0)
		goto out;
	if (rc > 0)
		qb_add_relaxed32(&seg->hdr->takeovers, 1);
	qb_store_release64(&seg->seats[p.seat].ready_raw, qb_stamp());
	qb_process_note(&p.log, QB_EV_PROCESS_READY, QB_ROLE_PARENT, p.seat, (uint64_t)getpid(), 0);
	rc = supervise(&p);
	qb_process_note(&p.log, QB_EV_PROCESS_STOPPED, QB_ROLE_PARENT, p.seat, (uint64_t)getpid(), 0);
	qb_seat_free(seg, p.seat);
out:
	free(p.child);
	qb_recovery_close(&p.recovery);
	if (p.epfd >= 0)
		close(p.epfd);
	if (p.sigfd >= 0)
		close(p.sigfd);
	return rc;
}

int qb_parent_main(const char *segment_path)
{
	const char *conninfo = getenv(QB_CONNINFO_ENV);
	pid_t driver = getppid();
	struct qb_seg seg;
	struct qb_err err = { 0 };
	int rc;

	qb_log_set_name("qbench parent");
	qb_process_arm_faults(QB_ROLE_PARENT);
	/* A Ctrl-C at the terminal is for the driver to handle. */
	setpgid(0, 0);
	if (qb_proc_die_with(driver, SIGTERM) < 0)
		return 1;
	rc = qb_seg_attach(segment_path, qb_boot_id(), &seg);
	if (rc < 0) {
		qb_log(QB_LOG_ERROR, "could not attach to %s: %s", segment_path, qb_strerror(rc));
		return 1;
	}
	rc = qb_parent_run(&seg, conninfo ? conninfo : "", &err);
	if (rc < 0)
		qb_log(QB_LOG_ERROR, "%s", err.text[0] ? err.text : qb_strerror(rc));
	qb_seg_detach(&seg);
	return rc < 0 ? 1 : 0;
}
