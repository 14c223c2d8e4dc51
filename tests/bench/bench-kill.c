/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL of a worker: until its parent knows, and until a standby has claimed the job that the
 * dead one held.  Against the least that a kernel lets anybody do: a blocking waitpid() of a
 * process without anything mapped, and a bare futex standby.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/proc.h"
#include "shm/job.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "tests/bench/bench.h"
#include "tests/bench/jobs.h"

#define KILLS 5u                /* of one repetition; its figure is their median */
#define WAIT_NS 500000000ull
#define EPOLL_MS 5000
#define READY_JOBS 1024u

struct sync_words {
	qb_au32 ready QB_ALIGNED(128);
	qb_au32 go QB_ALIGNED(128);     /* of the bare standby */
	qb_au64 resumed_ns QB_ALIGNED(128);
	qb_au32 resumed;
};

struct ctx {
	struct qb_seg seg;
	struct qb_recovery recovery;
	struct sync_words *words;
	int cpu[2];
	int with_blocks;                /* workers map all payload blocks too */
	uint64_t next_id;
	uint32_t kills, decided;        /* jobs that a dead worker held, verdicts about them */
};

static void futex_sleep(qb_au32 *word, uint32_t while_it_is)
{
	const struct timespec t = { 0, WAIT_NS };

	syscall(SYS_futex, &word->v, FUTEX_WAIT, while_it_is, &t, NULL, 0);
}

static void futex_rouse(qb_au32 *word)
{
	syscall(SYS_futex, &word->v, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void pause_ns(uint64_t ns)
{
	const struct timespec t = { 0, (long)ns };

	nanosleep(&t, NULL);
}

static void await_ready(struct ctx *c)
{
	uint64_t end_ns = bench_now_ns() + 10000000000ull;

	while (!qb_load_acquire32(&c->words->ready)) {
		futex_sleep(&c->words->ready, 0);
		if (bench_now_ns() > end_ns)
			bench_die("a child did not become ready within 10 s");
	}
}

static void say_ready(struct ctx *c)
{
	qb_store_release32(&c->words->ready, 1);
	futex_rouse(&c->words->ready);
}

static pid_t child(struct ctx *c, int cpu)
{
	pid_t me = getpid();

	qb_store_relaxed32(&c->words->ready, 0);
	pid_t pid = fork();

	if (pid < 0)
		bench_die("could not fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != me)
		_exit(1);
	bench_pin(cpu);
	return 0;
}

/* A process that has nothing and sleeps. */
static pid_t bare_child(struct ctx *c)
{
	pid_t pid = child(c, c->cpu[1]);

	if (pid == 0) {
		say_ready(c);
		for (;;)
			futex_sleep(&c->words->go, 0);
	}
	await_ready(c);
	return pid;
}

static uint32_t take_seat(struct ctx *c, uint32_t role)
{
	int seat = qb_seat_take(&c->seg, role);

	if (seat < 0)
		bench_die("could not take a seat: %s", qb_strerror(seat));
	return (uint32_t)seat;
}

/*
 * What a worker writes to is populated before it is ready.  Each page that it has mapped is one
 * more for the kernel to let go of when it dies; the payload blocks, which a worker only reads,
 * are most of them.
 */
static void sit_down(struct ctx *c, uint32_t seat)
{
	const struct qb_seg *s = &c->seg;
	uint64_t w = qb_load_acquire64(&s->seats[seat].word);
	uint32_t pid = (uint32_t)getpid();

	if (qb_seat_sit(s, seat, qb_seat_incarnation(w), pid, qb_proc_start_ticks(getpid())) < 0)
		_exit(1);
	qb_seg_populate(s, s->base, s->sec[c->with_blocks ? QB_SEC_ARENAS : QB_SEC_BLOCKS].off);
	qb_seg_populate(s, qb_seg_arena(s, seat), s->sec[QB_SEC_ARENAS].stride);
	qb_seg_populate(s, qb_seg_event_ring(s, seat), s->sec[QB_SEC_EVENTS].stride);
}

/* A worker that claims and starts a job and then sleeps, as one whose job waits for something. */
static pid_t working_child(struct ctx *c, uint32_t seat)
{
	pid_t pid = child(c, c->cpu[1]);

	if (pid == 0) {
		struct qb_held held;

		sit_down(c, seat);
		if (qb_job_claim(&c->seg, seat, &held) != QB_OK ||
		    qb_job_start(&c->seg, &held) < 0)
			_exit(1);
		say_ready(c);
		for (;;)
			futex_sleep(&c->words->go, 0);
	}
	await_ready(c);
	return pid;
}

/* A standby: seated, populated, asleep on its go word. Then it claims, stamps, and leaves. */
static pid_t standby_child(struct ctx *c, uint32_t seat)
{
	pid_t pid = child(c, c->cpu[1]);

	if (pid == 0) {
		struct qb_held held;
		unsigned spins = 0;

		sit_down(c, seat);
		say_ready(c);
		while (!qb_wait_go(&c->seg, seat, WAIT_NS))
			;
		while (qb_job_claim(&c->seg, seat, &held) != QB_OK)
			bench_relax(&spins);
		qb_store_relaxed64(&c->words->resumed_ns, bench_now_ns());
		qb_job_start(&c->seg, &held);
		qb_job_complete(&c->seg, seat, &held, NULL, 0);
		bench_free(&c->seg, &held);
		_exit(0);
	}
	await_ready(c);
	return pid;
}

static pid_t bare_standby(struct ctx *c)
{
	qb_store_relaxed32(&c->words->resumed, 0);
	pid_t pid = child(c, c->cpu[1]);

	if (pid == 0) {
		say_ready(c);
		while (!qb_load_acquire32(&c->words->resumed))
			futex_sleep(&c->words->resumed, 0);
		qb_store_relaxed64(&c->words->resumed_ns, bench_now_ns());
		_exit(0);
	}
	await_ready(c);
	return pid;
}

static void submit_one(struct ctx *c, uint32_t seat)
{
	bench_submit(&c->seg, seat, c->next_id++, NULL, 0);
}

/* A job that recovery put back. */
static void finish_one(struct ctx *c)
{
	if (bench_live_once(&c->seg, 1) != 1)
		bench_die("a job that was put back could not be taken and completed");
}

static int watch(pid_t pid, int *pidfd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	*pidfd = qb_pidfd_open(pid, qb_proc_start_ticks(pid));
	if (ep < 0 || *pidfd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, *pidfd, &ev) < 0)
		bench_die("could not watch a child by pidfd: %s", strerror(errno));
	return ep;
}

static void await_death(int ep)
{
	struct epoll_event ev;

	if (epoll_wait(ep, &ev, 1, EPOLL_MS) != 1)
		bench_die("a killed child was not reported dead within 5 s");
}

static void reap(pid_t pid)
{
	if (waitpid(pid, NULL, 0) != pid)
		bench_die("could not reap a child: %s", strerror(errno));
}

/* ---- notice ---- */

static double notice_bare(void *p)
{
	struct ctx *c = p;
	double v[KILLS];

	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = bare_child(c);

		pause_ns(1000000);
		uint64_t t0 = bench_now_ns();

		kill(pid, SIGKILL);
		reap(pid);
		v[i] = (double)(bench_now_ns() - t0) / 1e3;
	}
	return bench_median(v, KILLS);
}

static void recover(struct ctx *c, uint32_t seat)
{
	if (qb_recover_seat(&c->recovery, seat, NULL, NULL) < 0)
		bench_die("the seat of a dead worker could not be recovered");
	c->decided = c->recovery.verdicts[QB_VERDICT_RETRIED];
}

static double notice(void *p)
{
	struct ctx *c = p;
	double v[KILLS];

	for (unsigned i = 0; i < KILLS; i++) {
		uint32_t seat = take_seat(c, QB_ROLE_WORKER);
		int pidfd;

		submit_one(c, seat);
		pid_t pid = working_child(c, seat);
		int ep = watch(pid, &pidfd);

		pause_ns(1000000);
		uint64_t t0 = bench_now_ns();

		kill(pid, SIGKILL);
		await_death(ep);
		v[i] = (double)(bench_now_ns() - t0) / 1e3;
		reap(pid);
		close(ep);
		close(pidfd);
		c->kills++;
		recover(c, seat);
		finish_one(c);
	}
	return bench_median(v, KILLS);
}

static double notice_with_blocks(void *p)
{
	struct ctx *c = p;

	c->with_blocks = 1;
	double us = notice(p);

	c->with_blocks = 0;
	return us;
}

/* ---- until the work goes on ---- */

static double resume_bare(void *p)
{
	struct ctx *c = p;
	double v[KILLS];

	for (unsigned i = 0; i < KILLS; i++) {
		pid_t pid = bare_child(c), standby = bare_standby(c);
		int pidfd, ep = watch(pid, &pidfd);

		pause_ns(1000000);
		uint64_t t0 = bench_now_ns();

		kill(pid, SIGKILL);
		await_death(ep);
		qb_store_release32(&c->words->resumed, 1);
		futex_rouse(&c->words->resumed);
		reap(standby);
		v[i] = (double)(qb_load_relaxed64(&c->words->resumed_ns) - t0) / 1e3;
		reap(pid);
		close(ep);
		close(pidfd);
	}
	return bench_median(v, KILLS);
}

static double resume(void *p)
{
	struct ctx *c = p;
	double v[KILLS];

	for (unsigned i = 0; i < KILLS; i++) {
		uint32_t seat = take_seat(c, QB_ROLE_WORKER), next = take_seat(c, QB_ROLE_STANDBY);
		int pidfd;

		submit_one(c, seat);
		pid_t pid = working_child(c, seat);
		pid_t standby = standby_child(c, next);
		int ep = watch(pid, &pidfd);

		pause_ns(1000000);
		uint64_t t0 = bench_now_ns();

		kill(pid, SIGKILL);
		await_death(ep);
		/* The standby wakes while the dead one's jobs are decided. */
		qb_seat_set_role(&c->seg, next, QB_ROLE_WORKER);
		qb_give_go(&c->seg, next);
		recover(c, seat);
		c->kills++;
		reap(standby);
		v[i] = (double)(qb_load_relaxed64(&c->words->resumed_ns) - t0) / 1e3;
		reap(pid);
		close(ep);
		close(pidfd);
		qb_seat_free(&c->seg, next);
	}
	return bench_median(v, KILLS);
}

/* ---- the verdict alone ---- */

static double recover_alone(void *p)
{
	struct ctx *c = p;
	uint32_t seat = take_seat(c, QB_ROLE_WORKER);
	struct qb_held held;

	for (unsigned i = 0; i < READY_JOBS; i++)
		submit_one(c, seat);
	for (unsigned i = 0; i < READY_JOBS; i++) {
		if (qb_job_claim(&c->seg, seat, &held) != QB_OK ||
		    qb_job_start(&c->seg, &held) < 0)
			bench_die("a job could not be claimed");
	}
	uint64_t t0 = bench_now_ns();

	c->kills += READY_JOBS;
	recover(c, seat);
	double us = (double)(bench_now_ns() - t0) / 1e3;

	for (unsigned i = 0; i < READY_JOBS; i++)
		finish_one(c);
	return us;
}

static const struct bench_case rows[] = {
	{ .name = "SIGKILL -> noticed (pidfd, epoll)", .unit = "us", .measured = notice,
	  .baseline = "blocking waitpid, bare child", .base = notice_bare,
	  .kind = BENCH_RATIO_AT_MOST, .target = 1.3, .reps = 15 },
	{ .name = "SIGKILL -> its job claimed by a standby", .unit = "us", .measured = resume,
	  .baseline = "pidfd, bare futex standby", .base = resume_bare,
	  .kind = BENCH_RATIO_AT_MOST, .target = 1.5, .reps = 15 },
	{ .name = "SIGKILL -> noticed, payload blocks mapped", .unit = "us",
	  .measured = notice_with_blocks,
	  .baseline = "blocking waitpid, bare child", .base = notice_bare },
	{ .name = "verdict on a seat with 1024 started jobs", .unit = "us",
	  .measured = recover_alone },
};

int main(int argc, char **argv)
{
	static struct ctx c;
	struct bench b;
	struct qb_config_shm cfg;
	int rc;

	bench_begin(&b, argc, argv, "SIGKILL of a worker, until it is known, until its job runs");
	qb_config_default(&cfg);
	rc = qb_seg_create_anonymous(&cfg, &c.seg);
	if (rc == 0)
		rc = qb_recovery_open(&c.recovery, &c.seg);
	if (rc < 0)
		bench_die("could not create a segment: %s", qb_strerror(rc));
	c.words = bench_shared(sizeof(*c.words));
	c.next_id = 1;
	memcpy(c.cpu, b.cpu, sizeof(c.cpu));
	take_seat(&c, QB_ROLE_PARENT);
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	bench_check(&b, c.decided == c.kills, "each of %u started jobs was decided once", c.kills);
	return bench_end(&b);
}
