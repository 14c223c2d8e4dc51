/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real processes under load, really killed at random moments: a parent, a submitter, a syncer and workers with jobs
 * of many lengths.  One kill in nine hits the parent, whose successor proves everybody dead and takes over; some
 * land in a recovery; some processes are stopped and go on when others have been killed meanwhile.  After each death
 * the identities that hold at any time are checked, at the end all of them.  The same actors as threads, without
 * kills, show memory-order mistakes to ThreadSanitizer, which cannot see across processes.
 *
 *   stress [--procs | --threads] [--kills=N] [--seconds=N] [--seed=N] [--workers=N]
 * QB_TEST_THREADS in the environment is --threads; QB_CRASH_FACTOR=n kills n times as often, QB_CRASH_MINUTES=n
 * goes on for that long.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "shm/block.h"
#include "shm/clock.h"
#include "shm/job.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "tests/crash/stress.h"
#include "tests/crash/tap.h"

#define DRAIN_NS (30000 * NS_PER_MS)

struct world w;
struct shared *shared;
unsigned workers = 3;
static uint64_t rng;

uint64_t below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dull >> 11) % n;
}

void nap(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	nanosleep(&t, NULL);
}

/* ---- the actors: processes or threads ---- */

int stopping(const struct world *me)
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

		if (id >= STRESS_JOBS)
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
	world_syncer_open(me, seat);
	qb_store_release32(&me->seg.hdr->syncer_seat, seat);
	qb_job_rescan(&me->seg);
	while (qb_load_relaxed32(&me->seg.hdr->stop) < QB_STOP_NOW) {
		if (world_sync(me) == 0)
			park(me, seat, 0);
		qb_wake_seat(&me->seg, 1);      /* the submitter may wait for a slot */
	}
	world_syncer_close(me);
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

void play(unsigned which, struct world *me, uint32_t seat)
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

uint32_t role_of(unsigned which)
{
	return which == SUBMITTER ? QB_ROLE_DRIVER : which == SYNCER ? QB_ROLE_SYNCER : QB_ROLE_WORKER;
}

void blame(const char *why)
{
	if (!__atomic_exchange_n(&shared->bad, 1, __ATOMIC_ACQ_REL))
		snprintf(shared->why, sizeof(shared->why), "%s", why);
}

/* ---- one world, from its beginning to the verdict ---- */

static int all_free(void)
{
	for (uint32_t i = 0; i < w.seg.cfg.job_count; i++)
		if (qb_word_state(qb_load_acquire64(&w.seg.jobs[i].word)) != QB_JOB_FREE)
			return 0;
	return 1;
}

/* The submitter leaves; everything that is there must come to its end by itself. */
int drain(int (*left)(void))
{
	uint64_t until = qb_mono_ns() + DRAIN_NS;

	while ((!left() || !all_free()) && qb_mono_ns() < until)
		nap(NS_PER_MS);
	return left() && all_free() ? 0 : -1;
}

void begin(uint64_t seed)
{
	struct qb_config_shm cfg;

	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		below(2);
	world_config(&cfg);
	/* Parents may die one after the other, each in a seat of its own. */
	cfg.seat_count = 16;
	world_create(&w, &cfg, STRESS_JOBS);
	world_advance(&w, below(1000), 8 * below(500), below(64));
	w.idle = yield_idle;
	w.led->next_id = 1;
	w.led->last_id = STRESS_JOBS - 1;
	w.led->only_class = (uint32_t)below(4);
	memset(shared, 0, sizeof(*shared));
	shared->from = 1;
}

int end(const char *what, int bad, uint64_t began_ns)
{
	uint64_t jobs = w.led->next_id;
	double s = (double)(qb_mono_ns() - began_ns) / 1e9;

	w.led->last_id = jobs < STRESS_JOBS ? jobs : STRESS_JOBS - 1;
	if (!bad) {
		world_take_over(&w);
		w.oracle.live_seats = 0;
		bad = oracle_final(&w.oracle) < 0;
		if (bad)
			blame(w.oracle.why);
	}
	if (bad)
		tap_note("%s", shared->why);
	tap_ok(!bad, "%s: every job accounted for", what);
	tap_note("%llu jobs in %.1f s (%.0f/s)", (unsigned long long)jobs, s, (double)jobs / s);
	world_destroy(&w);
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

static int joined(void)
{
	return 1;
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
	if (drain(joined) < 0)
		blame("jobs are left over: stuck");
	bad |= shared->bad != 0;
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
		{ "kills", required_argument, NULL, 'k' }, { "seconds", required_argument, NULL, 's' }, { "seed", required_argument, NULL, 'r' },
		{ "workers", required_argument, NULL, 'w' }, { NULL, 0, NULL, 0 },
	};
	unsigned factor = tap_factor(), seconds = 0;
	int c, procs = 0, threads = 0;
	uint64_t seed = 1, kills_wanted = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (c) {
		case 'p': procs = 1; break;
		case 't': threads = 1; break;
		case 'k': kills_wanted = strtoull(optarg, NULL, 0); break;
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
	if (kills_wanted == 0)
		kills_wanted = seconds || tap_minutes() ? UINT64_MAX : 2200 * (uint64_t)factor / (UNDER_ASAN ? 4 : 1);
	if (seconds == 0)
		seconds = tap_minutes() ? 60 * tap_minutes() : 12 * factor;
	uint64_t until_ns = qb_mono_ns() + seconds * 1000 * NS_PER_MS;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return EXIT_FAILURE;
	if (procs)
		test_processes(kills_wanted, until_ns, seed);
	if (threads)
		test_threads(factor < 5 ? 2 * factor : 10, seed);
	return tap_done();
}
