/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real processes under load, really killed at random moments: a submitter, a syncer and workers; the
 * parent's part is played here.  After each death the identities that hold at any time are checked,
 * at the end all of them.  The same actors as threads, without kills, show memory-order mistakes to
 * ThreadSanitizer, which cannot see across processes.
 *
 *   stress [--procs | --threads] [--seconds=N] [--seed=N] [--workers=N]
 * QB_TEST_THREADS in the environment is --threads; QB_CRASH_FACTOR=n runs n times as long.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/block.h"
#include "shm/clock.h"
#include "shm/job.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "tests/crash/tap.h"
#include "tests/crash/world.h"

#define LEDGER_JOBS (1u << 20)
#define NS_PER_MS 1000000ull
#define DRAIN_NS (30000 * NS_PER_MS)
#define WORKERS_MAX 4u

enum { SUBMITTER, SYNCER, FIRST_WORKER };

struct child { pid_t pid; uint32_t seat; };

static struct world w;
static struct child child[FIRST_WORKER + WORKERS_MAX];
static unsigned workers = 3;
static uint64_t rng;
static struct { uint64_t kills, stops, pool_kills, recovery_kills; } total;

static uint64_t below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dull >> 11) % n;
}

static void nap(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	nanosleep(&t, NULL);
}

/* ---- the actors: processes or threads ---- */

static int stopping(const struct world *me)
{
	return qb_load_relaxed32(&me->seg.hdr->stop) != QB_STOP_NO;
}

static void park(struct world *me, uint32_t seat, int takes_jobs)
{
	qb_park_prepare(&me->seg, seat, takes_jobs);
	if (stopping(me) || (takes_jobs && qb_ring_depth(&me->seg, QB_RING_NORMAL) +
			     qb_ring_depth(&me->seg, QB_RING_URGENT) > 0))
		qb_park_cancel(&me->seg, seat);
	else
		qb_park(&me->seg, seat, 2 * NS_PER_MS);
}

static void submitter_main(struct world *me, uint32_t seat)
{
	while (!stopping(me)) {
		/* Used up before the call: whoever comes after a kill does not submit it again. */
		uint64_t id = __atomic_fetch_add(&me->led->next_id, 1, __ATOMIC_ACQ_REL);

		if (id >= LEDGER_JOBS)
			return;
		while (world_submit(me, seat, id) == QB_FULL) {
			if (stopping(me))
				return;
			park(me, seat, 0);
		}
	}
}

static void syncer_main(struct world *me, uint32_t seat)
{
	world_reopen(me);
	qb_store_release32(&me->seg.hdr->syncer_seat, seat);
	qb_job_rescan(&me->seg);
	while (qb_load_relaxed32(&me->seg.hdr->stop) < QB_STOP_NOW) {
		if (world_sync(me) == 0)
			park(me, seat, 0);
		qb_wake_seat(&me->seg, 1);      /* the submitter may wait for a slot */
	}
}

static void worker_main(struct world *me, uint32_t seat)
{
	struct qb_event_writer log;

	qb_event_open(&log, &me->seg, seat, QB_OVERFLOW_WAIT);
	while (qb_load_relaxed32(&me->seg.hdr->stop) < QB_STOP_NOW) {
		if (world_work(me, seat, &log))
			continue;
		qb_job_promote_due(&me->seg, WORLD_DUE_NEVER);
		park(me, seat, 1);
	}
}

static void play(unsigned which, struct world *me, uint32_t seat)
{
	if (which == SUBMITTER)
		submitter_main(me, seat);
	else if (which == SYNCER)
		syncer_main(me, seat);
	else
		worker_main(me, seat);
}

static void yield_idle(void)
{
	sched_yield();
}

/* ---- the parent's part ---- */

static uint32_t role_of(unsigned which)
{
	return which == SUBMITTER ? QB_ROLE_DRIVER : which == SYNCER ? QB_ROLE_SYNCER : QB_ROLE_WORKER;
}

static int spawn(unsigned which)
{
	pid_t parent = getpid();
	int seat = qb_seat_take(&w.seg, role_of(which));

	if (seat < 0)
		return -1;
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&w.seg.seats[seat].word));
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent &&
		    qb_seat_sit(&w.seg, (uint32_t)seat, incarnation, (uint32_t)getpid(), 1) == 0)
			play(which, &w, (uint32_t)seat);
		_exit(0);
	}
	qb_seat_name(&w.seg, (uint32_t)seat, (uint32_t)pid, 1);
	child[which].pid = pid;
	child[which].seat = (uint32_t)seat;
	return 0;
}

static void confirm_death(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Now and then in a process of its own that is killed on the way; then once more, here. */
static void recover(uint32_t seat)
{
	if (below(4) == 0) {
		pid_t pid = fork();

		if (pid == 0) {
			world_recover(&w, seat);
			_exit(0);
		}
		if (pid > 0) {
			for (uint64_t k = below(3000); k > 0; k--)
				qb_cpu_pause();
			kill(pid, SIGKILL);
			confirm_death(pid);
			total.recovery_kills++;
		}
	}
	world_recover(&w, seat);
}

/* What holds at any time; 0 or -1. */
static int check_now(uint32_t seat, uint64_t *from)
{
	if (w.led->wrong) {
		tap_note("an actor's own check failed: line %u, job %llu", w.led->wrong,
			 (unsigned long long)w.led->wrong_job);
		return -1;
	}
	if (oracle_seat_is_clear(&w.oracle, seat) < 0 || oracle_nothing_lost(&w.oracle, from) < 0) {
		tap_note("%s", w.oracle.why);
		return -1;
	}
	return 0;
}

static int bury(unsigned which, uint64_t *from)
{
	uint32_t seat = child[which].seat;

	confirm_death(child[which].pid);
	child[which].pid = 0;
	recover(seat);
	return check_now(seat, from);
}

static int kill_one(unsigned which, uint64_t *from)
{
	pid_t pid = child[which].pid;

	if (below(8) == 0) {
		kill(pid, SIGSTOP);
		total.stops++;
		nap(below(3 * NS_PER_MS));
		/* A stopped process is not dead: nothing is taken from it, and it may go on. */
		if (below(2)) {
			kill(pid, SIGCONT);
			return 0;
		}
	}
	kill(pid, SIGKILL);
	total.kills++;
	if (bury(which, from) < 0)
		return -1;
	return spawn(which);
}

static int kill_pool(uint64_t *from)
{
	for (unsigned i = FIRST_WORKER; i < FIRST_WORKER + workers; i++)
		kill(child[i].pid, SIGKILL);
	total.kills += workers;
	total.pool_kills++;
	for (unsigned i = FIRST_WORKER; i < FIRST_WORKER + workers; i++)
		if (bury(i, from) < 0)
			return -1;
	for (unsigned i = FIRST_WORKER; i < FIRST_WORKER + workers; i++)
		if (spawn(i) < 0)
			return -1;
	return 0;
}

static int all_free(void)
{
	for (uint32_t i = 0; i < w.seg.cfg.job_count; i++)
		if (qb_word_state(qb_load_acquire64(&w.seg.jobs[i].word)) != QB_JOB_FREE)
			return 0;
	return 1;
}

/* The submitter has left; everything that is there must come to its end by itself. */
static int drain(void)
{
	uint64_t until = qb_mono_ns() + DRAIN_NS;

	while (!all_free() && qb_mono_ns() < until)
		nap(NS_PER_MS);
	return all_free() ? 0 : -1;
}

static void begin(uint64_t seed)
{
	struct qb_config_shm cfg;

	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		below(2);
	memset(&total, 0, sizeof(total));
	world_config(&cfg);
	world_create(&w, &cfg, LEDGER_JOBS);
	world_advance(&w, below(1000), 8 * below(500), below(64));
	w.idle = yield_idle;
	w.led->next_id = 1;
	w.led->last_id = LEDGER_JOBS - 1;
	w.led->opaque_only = (uint32_t)below(3);
}

static int end(const char *what, int bad, uint64_t began_ns)
{
	uint64_t jobs = w.led->next_id;
	double s = (double)(qb_mono_ns() - began_ns) / 1e9;

	w.led->last_id = jobs < LEDGER_JOBS ? jobs : LEDGER_JOBS - 1;
	if (!bad) {
		world_take_over(&w);
		w.oracle.live_seats = 0;
		bad = oracle_final(&w.oracle) < 0;
		if (bad)
			tap_note("%s", w.oracle.why);
	}
	tap_ok(!bad, "%s: every job accounted for", what);
	tap_note("%llu jobs in %.1f s (%.0f/s), %llu kills (%llu times the whole pool), %llu of the recovery, %llu stops",
		 (unsigned long long)jobs, s, (double)jobs / s, (unsigned long long)total.kills,
		 (unsigned long long)total.pool_kills, (unsigned long long)total.recovery_kills,
		 (unsigned long long)total.stops);
	world_destroy(&w);
	return bad;
}

/* One segment, until the time or the ledger is used up. */
static int test_processes(uint64_t until, uint64_t seed)
{
	uint64_t began = qb_mono_ns(), from = 1;
	unsigned children = FIRST_WORKER + workers;
	int bad = 0;

	begin(seed);
	for (unsigned i = 0; i < children; i++)
		bad |= spawn(i) < 0;
	while (!bad && qb_mono_ns() < until && w.led->next_id < LEDGER_JOBS) {
		nap(below(2 * NS_PER_MS));
		bad = below(12) == 0 ? kill_pool(&from) : kill_one((unsigned)below(children), &from);
	}
	if (!bad) {
		qb_raise_stop(&w.seg, QB_STOP_DRAIN);
		bad = bury(SUBMITTER, &from) < 0;
	}
	if (!bad && drain() < 0) {
		tap_note("jobs are left over %llu s after the last submission: stuck",
			 (unsigned long long)(DRAIN_NS / 1000 / NS_PER_MS));
		bad = 1;
	}
	for (unsigned i = 0; i < children; i++) {
		if (child[i].pid == 0)
			continue;
		kill(child[i].pid, SIGKILL);
		confirm_death(child[i].pid);
		child[i].pid = 0;
	}
	bad = end("processes under random kills", bad, began);
	if (bad)
		tap_note("again: stress --procs --seed=%llu", (unsigned long long)seed);
	return bad;
}

/* ---- threads ---- */

struct thread { pthread_t id; unsigned which; uint32_t seat; struct world me; };

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	play(t->which, &t->me, t->seat);
	return NULL;
}

/* What others do at the same time, from outside. */
static void *bystander_main(void *arg)
{
	struct world *me = arg;
	struct qb_clock_triple first, last;

	while (qb_load_relaxed32(&me->seg.hdr->stop) < QB_STOP_NOW) {
		qb_block_sweep(&me->seg);
		qb_seg_clock_update(&me->seg);
		qb_seg_clock_get(&me->seg, &first, &last);
		nap(NS_PER_MS / 2);
	}
	return NULL;
}

static void test_threads(unsigned seconds, uint64_t seed)
{
	static struct thread thread[FIRST_WORKER + WORKERS_MAX];
	uint64_t began = qb_mono_ns();
	unsigned n = FIRST_WORKER + workers;
	pthread_t bystander;
	int bad = 0;

	begin(seed);
	for (unsigned i = 0; i < n; i++) {
		thread[i].which = i;
		thread[i].seat = world_sit(&w, role_of(i), i + 1);
		thread[i].me = w;
		bad |= thread[i].seat == 0 || pthread_create(&thread[i].id, NULL, thread_main, &thread[i]) != 0;
	}
	bad |= pthread_create(&bystander, NULL, bystander_main, &w) != 0;
	nap(seconds * 1000 * NS_PER_MS);
	qb_raise_stop(&w.seg, QB_STOP_DRAIN);
	pthread_join(thread[SUBMITTER].id, NULL);
	if (drain() < 0) {
		tap_note("jobs are left over: stuck");
		bad = 1;
	}
	qb_raise_stop(&w.seg, QB_STOP_NOW);
	for (unsigned i = SYNCER; i < n; i++)
		pthread_join(thread[i].id, NULL);
	pthread_join(bystander, NULL);
	end("threads on one segment", bad, began);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "procs", no_argument, NULL, 'p' }, { "threads", no_argument, NULL, 't' },
		{ "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "workers", required_argument, NULL, 'w' }, { NULL, 0, NULL, 0 },
	};
	const char *f = getenv("QB_CRASH_FACTOR");
	unsigned seconds = 5 * (f ? (unsigned)strtoul(f, NULL, 0) : 1);
	int c, procs = 0, threads = 0;
	uint64_t seed = 1;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'p': procs = 1; break;
		case 't': threads = 1; break;
		case 's': seconds = (unsigned)strtoul(optarg, NULL, 0); break;
		case 'r': seed = strtoull(optarg, NULL, 0); break;
		case 'w': workers = (unsigned)strtoul(optarg, NULL, 0); break;
		default: return EXIT_FAILURE;
		}
	}
	if (workers < 1 || workers > WORKERS_MAX) {
		fprintf(stderr, "stress: --workers must be between 1 and %u\n", WORKERS_MAX);
		return EXIT_FAILURE;
	}
	if (!procs && !threads) {
		threads = 1;
		procs = !UNDER_TSAN && !getenv("QB_TEST_THREADS");
	}
	uint64_t until = qb_mono_ns() + seconds * 1000 * NS_PER_MS;

	for (uint64_t s = seed; procs && qb_mono_ns() < until; s++)
		if (test_processes(until, s))
			break;
	if (threads)
		test_threads((seconds + 1) / 2, seed);
	return tap_done();
}
