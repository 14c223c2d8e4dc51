/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of the stress test: a parent and its children, and the root, who kills them. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "shm/clock.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "tests/crash/stress.h"
#include "tests/crash/tap.h"

#define KILL_NS (30000 * NS_PER_MS)
#define STOPPED_MAX 2u

static struct { pid_t pid; uint32_t seat; } child[FIRST_WORKER + WORKERS_MAX];
static struct { int fd; unsigned for_kills; } stopped[STOPPED_MAX] = { { .fd = -1 }, { .fd = -1 } };
static struct { uint64_t kills, parent_kills, syncer_kills, pool_kills, recovery_kills, stops, late; } total;

/* Most jobs take no time, some a moment, few long. */
static void work(uint64_t id)
{
	if (id % 512 == 7)
		nap(10 * NS_PER_MS);
	else if (id % 64 == 5)
		nap(NS_PER_MS);
	else if (id % 16 == 0)
		nap(NS_PER_MS / 20);
}

/* ---- the parent: a process like the others, and a victim ---- */

static void spawn(unsigned which)
{
	pid_t parent = getpid();
	int seat = qb_seat_take(&w.seg, role_of(which));

	if (seat < 0) {
		blame("no seat is free for a new process");
		return;
	}
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&w.seg.seats[seat].word));
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent && qb_seat_sit(&w.seg, (uint32_t)seat, incarnation, (uint32_t)getpid(),
						       qb_proc_start_ticks(getpid())) == 0)
			play(which, &w, (uint32_t)seat);
		_exit(0);
	}
	if (pid < 0) {
		blame("fork failed");
		return;
	}
	qb_seat_name(&w.seg, (uint32_t)seat, (uint32_t)pid, qb_proc_start_ticks(pid));
	child[which].pid = pid;
	child[which].seat = (uint32_t)seat;
}

/* Its process is confirmed dead. What holds at any time is checked right behind. */
static void recover(uint32_t seat)
{
	ledger_set(&shared->recovering, 1);
	world_recover(&w, seat);
	ledger_set(&shared->recovering, 0);
	if (w.led->wrong) {
		char why[120];

		snprintf(why, sizeof(why), "an actor's own check failed: line %u, job %llu", w.led->wrong,
			 (unsigned long long)w.led->wrong_job);
		blame(why);
	} else if (oracle_seat_is_clear(&w.oracle, seat) < 0 || oracle_nothing_lost(&w.oracle, &shared->from) < 0) {
		blame(w.oracle.why);
	}
}

/* Everybody of the parent before this one: no more than what stands in the seats is known. */
static void take_over(uint32_t own)
{
	ledger_set(&shared->recovering, 1);
	for (uint32_t seat = 1; seat < w.seg.cfg.seat_count; seat++) {
		uint64_t ticks;

		if (seat == own || qb_seat_begin_recovery(&w.seg, seat) < 0)
			continue;
		uint32_t pid = qb_seat_who(&w.seg, seat, &ticks);

		if (pid != 0 && qb_proc_kill_confirm((pid_t)pid, ticks, KILL_NS) < 0)
			blame("an old process cannot be killed");
		recover(seat);
		ledger_set(&shared->recovering, 1);
	}
	ledger_set(&shared->recovering, 0);
}

static void __attribute__((noreturn)) parent_main(pid_t root)
{
	unsigned children = FIRST_WORKER + workers;
	int seat;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != root)
		_exit(0);
	seat = qb_seat_take(&w.seg, QB_ROLE_PARENT);
	if (seat > 0)
		qb_seat_name(&w.seg, (uint32_t)seat, (uint32_t)getpid(), qb_proc_start_ticks(getpid()));
	take_over(seat > 0 ? (uint32_t)seat : 0);
	for (unsigned i = 0; i < children; i++)
		if (i != SUBMITTER || !stopping(&w))
			spawn(i);
	for (;;) {
		pid_t pid = waitpid(-1, NULL, 0);

		if (pid < 0)
			nap(NS_PER_MS);
		for (unsigned i = 0; pid > 0 && i < children; i++) {
			if (child[i].pid != pid)
				continue;
			child[i].pid = 0;
			recover(child[i].seat);
			if (i != SUBMITTER || !stopping(&w))
				spawn(i);
		}
	}
}

/* ---- the root: kills, never a victim, judges in the end ---- */

static pid_t parent_pid;

static void start_parent(void)
{
	pid_t root = getpid(), pid = fork();

	if (pid == 0)
		parent_main(root);
	if (pid < 0)
		blame("fork failed");
	parent_pid = pid;
}

static void bury_parent(void)
{
	while (waitpid(parent_pid, NULL, 0) < 0 && errno == EINTR)
		;
	total.recovery_kills += ledger_get(&shared->recovering);
	ledger_set(&shared->recovering, 0);
	/* Its children died with it and are ours now. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

static void kill_parent(void)
{
	kill(parent_pid, SIGKILL);
	total.kills++;
	total.parent_kills++;
	bury_parent();
	start_parent();
}

/* A pidfd of a living process in a seat of that role, or -1. */
static int find_victim(uint32_t role)
{
	uint32_t seats = w.seg.cfg.seat_count, from = (uint32_t)below(seats);

	for (uint32_t k = 0; k < seats; k++) {
		uint32_t seat = (from + k) % seats;
		uint64_t ticks;

		if (seat == 0 || qb_seat_role(qb_load_acquire64(&w.seg.seats[seat].word)) != role)
			continue;
		uint32_t pid = qb_seat_who(&w.seg, seat, &ticks);
		int fd = pid ? qb_pidfd_open((pid_t)pid, ticks) : -1;

		if (fd >= 0 && qb_pidfd_wait(fd, 0) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

static int kill_role(uint32_t role)
{
	int fd = find_victim(role);

	if (fd < 0)
		return 0;
	int killed = qb_pidfd_signal(fd, SIGKILL) == 0;

	close(fd);
	total.kills += (unsigned)killed;
	total.syncer_kills += (unsigned)(killed && role == QB_ROLE_SYNCER);
	return killed;
}

static void kill_pool(void)
{
	unsigned n = 0;

	while (n < workers && kill_role(QB_ROLE_WORKER))
		n++;
	total.pool_kills += n > 0;
}

/* Stopped, and told to go on when others have been killed: it may be dead by then, or its parent. */
static void stop_one(uint32_t role)
{
	for (unsigned i = 0; i < STOPPED_MAX; i++) {
		if (stopped[i].fd >= 0)
			continue;
		stopped[i].fd = find_victim(role);
		if (stopped[i].fd < 0 || qb_pidfd_signal(stopped[i].fd, SIGSTOP) < 0)
			return;
		stopped[i].for_kills = 1 + (unsigned)below(6);
		total.stops++;
		return;
	}
}

static void go_on(int all)
{
	for (unsigned i = 0; i < STOPPED_MAX; i++) {
		if (stopped[i].fd < 0 || (!all && --stopped[i].for_kills > 0))
			continue;
		total.late += qb_pidfd_signal(stopped[i].fd, SIGCONT) == 0;
		close(stopped[i].fd);
		stopped[i].fd = -1;
	}
}

/* Until the parent is at it, and a little longer; or it has been faster. */
static void await_recovery(void)
{
	uint64_t until = qb_mono_ns() + NS_PER_MS;

	while (!ledger_get(&shared->recovering) && qb_mono_ns() < until)
		sched_yield();
	for (uint64_t k = below(300); k > 0; k--)
		qb_cpu_pause();
}

static void do_harm(void)
{
	uint64_t what = below(100);

	if (what < 16) {
		if (what < 6 && kill_role(QB_ROLE_WORKER))
			await_recovery();
		kill_parent();
	} else if (what < 26) {
		kill_role(QB_ROLE_SYNCER);
	} else if (what < 35) {
		kill_role(QB_ROLE_DRIVER);
	} else if (what < 39) {
		kill_pool();
	} else if (what < 48) {
		stop_one(what < 42 ? QB_ROLE_SYNCER : what == 42 ? QB_ROLE_PARENT : QB_ROLE_WORKER);
	} else {
		kill_role(QB_ROLE_WORKER);
	}
	go_on(0);
}

static int submitter_left(void)
{
	for (uint32_t seat = 1; seat < w.seg.cfg.seat_count; seat++)
		if (qb_seat_role(qb_load_acquire64(&w.seg.seats[seat].word)) == QB_ROLE_DRIVER)
			return 0;
	return 1;
}

static int enough(uint64_t kills, uint64_t until_ns)
{
	return total.kills >= kills || qb_mono_ns() >= until_ns;
}

/* One segment, until there are enough kills or the ledger is used up. */
static int one_world(uint64_t kills, uint64_t until_ns, uint64_t seed)
{
	uint64_t began = qb_mono_ns();
	int bad = 0;

	begin(seed);
	w.work = work;
	start_parent();
	while (!shared->bad && !enough(kills, until_ns) && w.led->next_id < STRESS_JOBS) {
		nap(below(2 * NS_PER_MS));
		do_harm();
	}
	go_on(1);
	qb_raise_stop(&w.seg, QB_STOP_DRAIN);
	if (!shared->bad && drain(submitter_left) < 0)
		blame("jobs are left over after the last submission: stuck");
	bad = shared->bad != 0;
	kill(parent_pid, SIGKILL);
	bury_parent();
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	bad = end("processes under random kills", bad, began);
	if (bad) {
		tap_blame(shared->why);
		tap_note("again: stress --procs --seed=%llu", (unsigned long long)seed);
	}
	return bad;
}

void test_processes(uint64_t kills, uint64_t until_ns, uint64_t seed)
{
	uint64_t began = qb_mono_ns();

	/* Children of a killed parent become ours, to be reaped. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	while (!enough(kills, until_ns) && one_world(kills, until_ns, seed) == 0)
		seed++;
	tap_note("%llu kills (%llu of the parent, %llu of the syncer, %llu times the whole pool), %llu in a recovery, "
		 "%llu stops, %llu of them went on later; %.1f s", (unsigned long long)total.kills,
		 (unsigned long long)total.parent_kills, (unsigned long long)total.syncer_kills,
		 (unsigned long long)total.pool_kills, (unsigned long long)total.recovery_kills,
		 (unsigned long long)total.stops, (unsigned long long)total.late,
		 (double)(qb_mono_ns() - began) / 1e9);
	tap_figures("real_kills=%llu parent_kills=%llu syncer_kills=%llu recovery_kills=%llu stops=%llu "
		    "late_continues=%llu", (unsigned long long)total.kills,
		    (unsigned long long)total.parent_kills, (unsigned long long)total.syncer_kills,
		    (unsigned long long)total.recovery_kills, (unsigned long long)total.stops,
		    (unsigned long long)total.late);
}
