/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the end of addressed work, with real processes: callers of four processes with four threads each push or join
 * a few addresses and sleep until the run has ended; workers, and one who frees what has ended. First without kills, then
 * workers and the freer are SIGKILLed at random, confirmed dead, recovered and replaced. Right is that everybody comes back
 * behind the end of what he waited for, and that nobody hangs.
 *
 *   join-stress [SECONDS [SEED]]
 *
 * Beside it, for whoever wants to know: how long a caller takes from the end to his return, and a plain futex wake-up.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "queue/shm-address.h"
#include "shm/clock.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/crash/tap.h"
#include "tests/lib/shm-fixture.h"

#define CALLER_PROCESSES 4u
#define THREADS 4u
#define CALLERS (CALLER_PROCESSES * THREADS)
#define WORKERS 3u
#define KILLABLE (WORKERS + 1)          /* and the freer */
#define ADDRESSES 5u
#define SAMPLES 8192u
#define WATCHDOG_S 120u
#define PINGS 2000u

static struct book {
	uint64_t stop, leave;           /* callers; workers */
	uint64_t pushed, joined, by_tick, wrong, samples;
	uint64_t ended_ns[64];          /* by slot, before its end is stored */
	uint32_t sample_ns[SAMPLES];
	uint32_t ping;                  /* futex */
	uint64_t ping_ns;
} *book;

static struct qb_seg seg;
static uint32_t caller_seat[CALLERS], seats[KILLABLE];
static pid_t callers[CALLER_PROCESSES], pids[KILLABLE];

static uint64_t get(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void add(uint64_t *p, uint64_t n)
{
	__atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}

static void wrong(int line)
{
	uint64_t none = 0;

	__atomic_compare_exchange_n(&book->wrong, &none, (uint64_t)line, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void sample(uint64_t ended_ns)
{
	uint64_t now = qb_mono_ns(), i = __atomic_fetch_add(&book->samples, 1, __ATOMIC_RELAXED);

	if (i < SAMPLES)
		book->sample_ns[i] = now - ended_ns < UINT32_MAX ? (uint32_t)(now - ended_ns) : UINT32_MAX;
}

static void *caller_main(void *which)
{
	unsigned me = (unsigned)(uintptr_t)which;
	struct qb_queue_env env = { .seg = &seg, .seat = caller_seat[me], .role = QB_ROLE_DRIVER };
	uint64_t id = 1 + me, rng = 77 + me;

	for (; !get(&book->stop); id += CALLERS) {
		struct qb_submit what = qb_test_submit(id);
		struct qb_queue_ticket ticket;
		struct qb_address_run run;
		struct qb_address_end end;
		struct qb_err err;
		char address[32];

		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		snprintf(address, sizeof(address), "address %u", (unsigned)(rng >> 33) % ADDRESSES);
		what.effect_class = QB_EFFECT_IDEMPOTENT;
		int rc = qb_shm_address_push(&env, &what, address, &ticket, &run, &err);

		if (rc == QB_FULL) {
			sched_yield();
			continue;
		}
		if (rc != QB_OK && rc != QB_DUPLICATE)
			wrong(__LINE__);
		add(rc == QB_OK ? &book->pushed : &book->joined, 1);
		qb_shm_address_await(&env, &run, qb_now_ns() + WATCHDOG_S * QB_NS_PER_S, &end);
		uint64_t w = qb_load_acquire64(&seg.jobs[run.a].word);

		if (end.state != QB_ADDRESS_DONE || (qb_word_gen(w) == run.b && qb_word_holds_key(w)))
			wrong(__LINE__);
		add(&book->by_tick, (uint64_t)end.by_tick);
		/* Of this run, if nobody else uses the slot yet. */
		if (qb_word_gen(w) == run.b || qb_word_state(w) == QB_JOB_FREE)
			sample(get(&book->ended_ns[run.a]));
	}
	return NULL;
}

static void caller_process(unsigned which)
{
	pthread_t thread[THREADS];

	alarm(WATCHDOG_S);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, caller_main, (void *)(uintptr_t)(which * THREADS + i)) != 0)
			_exit(1);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	_exit(0);
}

static void work(uint32_t seat)
{
	struct qb_held held;
	int final;

	if (qb_job_claim(&seg, seat, &held) != QB_OK) {
		usleep(20);
		return;
	}
	if (qb_job_start(&seg, &held) < 0)
		wrong(__LINE__);
	uint64_t id = seg.jobs[held.slot_idx].job_id;

	/* Long enough that others join. */
	usleep((useconds_t)(50 + id % 7 * 50));
	__atomic_store_n(&book->ended_ns[held.slot_idx], qb_mono_ns(), __ATOMIC_RELEASE);
	if (id % 3 == 0 ? qb_job_fail(&seg, seat, &held, id % 2 == 0, 0, &final) < 0 :
			  qb_job_complete(&seg, seat, &held, NULL, 0) < 0)
		wrong(__LINE__);
}

static void free_ended(void)
{
	for (uint32_t i = 0; i < qb_load_acquire32(&seg.hdr->high_water); i++) {
		uint64_t w = qb_load_acquire64(&seg.jobs[i].word);
		uint32_t state = qb_word_state(w);

		if (state == QB_JOB_DONE || state == QB_JOB_FAILED || state == QB_JOB_DEAD)
			qb_job_free(&seg, i, w);
	}
	qb_job_rescan(&seg);
	usleep(100);
}

static uint32_t sit(uint32_t role)
{
	int seat = qb_seat_take(&seg, role);

	if (seat < 0)
		abort();
	return (uint32_t)seat;
}

static void spawn(unsigned which)
{
	seats[which] = sit(which < WORKERS ? QB_ROLE_WORKER : QB_ROLE_SYNCER);
	pids[which] = fork();
	if (pids[which] < 0)
		abort();
	if (pids[which] != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!get(&book->leave)) {
		if (which < WORKERS)
			work(seats[which]);
		else
			free_ended();
	}
	_exit(0);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void sort(uint32_t *v, uint64_t count)
{
	qsort(v, count, sizeof(*v), by_value);
}

/* From before a wake-up to the sleeper's return, between two processes. */
static void plain_wake(uint32_t ns[PINGS])
{
	static uint32_t *shared;

	shared = mmap(NULL, PINGS * sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		abort();
	pid_t sleeper = fork();

	if (sleeper == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (uint32_t i = 0; i < PINGS; i++) {
			while (__atomic_load_n(&book->ping, __ATOMIC_ACQUIRE) == i)
				syscall(SYS_futex, &book->ping, FUTEX_WAIT, i, NULL, NULL, 0);
			shared[i] = (uint32_t)(qb_mono_ns() - get(&book->ping_ns));
		}
		_exit(0);
	}
	for (uint32_t i = 0; i < PINGS; i++) {
		usleep(50);
		__atomic_store_n(&book->ping_ns, qb_mono_ns(), __ATOMIC_RELEASE);
		__atomic_store_n(&book->ping, i + 1, __ATOMIC_RELEASE);
		syscall(SYS_futex, &book->ping, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	waitpid(sleeper, NULL, 0);
	memcpy(ns, shared, PINGS * sizeof(*ns));
	munmap(shared, PINGS * sizeof(*shared));
	sort(ns, PINGS);
}

static void begin(struct qb_recovery *rec)
{
	struct qb_config_shm cfg;

	book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	qb_test_config(&cfg);
	cfg.seat_count = 32;
	cfg.max_claims = 2;
	qb_test_create(&seg, &cfg);
	if (book == MAP_FAILED || qb_recovery_open(rec, &seg) < 0)
		abort();
	for (unsigned i = 0; i < CALLERS; i++)
		caller_seat[i] = sit(QB_ROLE_DRIVER);
}

static unsigned phase(const char *what, unsigned seconds, uint64_t rng, int with_kills)
{
	uint64_t until = qb_mono_ns() + seconds * QB_NS_PER_S;
	unsigned kills = 0, hung = 0;
	struct qb_recovery rec;

	begin(&rec);
	for (unsigned i = 0; i < KILLABLE; i++)
		spawn(i);
	for (unsigned i = 0; i < CALLER_PROCESSES; i++) {
		callers[i] = fork();
		if (callers[i] < 0)
			abort();
		if (callers[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			caller_process(i);
		}
	}
	while (qb_mono_ns() < until && get(&book->wrong) == 0) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		unsigned which = (unsigned)(rng >> 33) % KILLABLE;

		usleep((useconds_t)(rng >> 50) % 4000);
		if (!with_kills)
			continue;
		kill(pids[which], SIGKILL);
		waitpid(pids[which], NULL, 0);
		qb_recover_seat(&rec, seats[which], NULL, NULL);
		kills++;
		spawn(which);
	}
	__atomic_store_n(&book->stop, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < CALLER_PROCESSES; i++) {
		int status;

		hung += waitpid(callers[i], &status, 0) != callers[i] || status != 0;
	}
	__atomic_store_n(&book->leave, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < KILLABLE; i++)
		waitpid(pids[i], NULL, 0);
	uint64_t waits = book->pushed + book->joined;

	tap_ok(hung == 0 && book->wrong == 0 && book->joined > 0 && (!with_kills || kills > 0),
	       "%s: %u kills, %llu pushed, %llu joined, %u processes of callers hung, wrong at line %llu", what, kills,
	       (unsigned long long)book->pushed, (unsigned long long)book->joined, hung, (unsigned long long)book->wrong);
	/* None is expected; a machine that lets nobody run for a tenth of a second may make one. */
	if (!with_kills)
		tap_ok(book->by_tick * 20 <= book->joined, "%s: wake-ups come, and not the waiters' own looks", what);
	tap_note("%llu of %llu came back by their own look", (unsigned long long)book->by_tick, (unsigned long long)waits);
	if (!with_kills) {
		uint64_t n = book->samples < SAMPLES ? book->samples : SAMPLES;
		uint32_t plain[PINGS];

		sort(book->sample_ns, n);
		plain_wake(plain);
		if (n > 0)
			tap_note("from the end to a waiter's return: p50 %.1f us, p99 %.1f us; a plain futex wake-up %.1f us, %.1f us:"
				 " %.1f and %.1f times as long", book->sample_ns[n / 2] / 1e3, book->sample_ns[n * 99 / 100] / 1e3,
				 plain[PINGS / 2] / 1e3, plain[PINGS * 99 / 100] / 1e3,
				 (double)book->sample_ns[n / 2] / (plain[PINGS / 2] + 1.0),
				 (double)book->sample_ns[n * 99 / 100] / (plain[PINGS * 99 / 100] + 1.0));
	}
	tap_wrong += hung + (book->wrong != 0);
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
	munmap(book, sizeof(*book));
	return kills;
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2 * tap_factor();
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

	phase("nobody is killed", 1, seed, 0);
	unsigned kills = phase("workers are killed", seconds, seed, 1);

	tap_figures("kills=%u", kills);
	return tap_done();
}
