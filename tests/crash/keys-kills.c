/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unique keys between real processes: producers that all want the same few keys, workers, one who frees what has ended,
 * each SIGKILLed at random, confirmed dead, recovered while the others go on, and replaced. The same as threads, without kills,
 * for ThreadSanitizer.
 *
 * A key is a lock here: who runs a job of it finds nobody else inside, but the same job after a kill.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/clock.h"
#include "shm/key.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/crash/keys.h"

#define IDS (1u << 20)
#define PROCESSES 7u
#define PRODUCERS 4u                    /* the first of them */

enum { ACCEPTED = 1, REFUSED = 2, DONE = 4, DONE_TWICE = 8, RAN = 16 };

/* Shared, written by atomic operations only: a kill leaves no half of anything. */
struct book {
	uint64_t next_id, accepted, refused, wrong, stop;
	uint64_t inside[KEYS + 1];      /* who runs a job of that key: 1 + {slot, gen} */
	uint64_t per_key[KEYS + 1];
	uint8_t job[IDS];
};

static struct book *book;
static struct qb_seg seg;

static void wrong(int line)
{
	uint64_t none = 0;

	__atomic_compare_exchange_n(&book->wrong, &none, (uint64_t)line, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void mark(uint64_t id, uint8_t bits)
{
	__atomic_fetch_or(&book->job[id], bits, __ATOMIC_SEQ_CST);
}

static void producer(uint32_t seat, uint64_t rng)
{
	for (;;) {
		uint8_t payload[KEYS_PAYLOAD];
		struct qb_key_holder holder = { 0 };
		struct qb_held ref;
		uint64_t id = __atomic_add_fetch(&book->next_id, 1, __ATOMIC_RELAXED);

		if (id >= IDS || __atomic_load_n(&book->stop, __ATOMIC_RELAXED))
			return;
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		unsigned key = 1 + (unsigned)(rng >> 60) % KEYS;
		struct qb_submit what = keys_job(id, key, payload);
		int rc = qb_job_submit_unique(&seg, seat, &what, &ref, &holder);

		if (rc == QB_OK) {
			mark(id, ACCEPTED);
			__atomic_fetch_add(&book->accepted, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&book->per_key[key], 1, __ATOMIC_RELAXED);
		} else {
			mark(id, REFUSED);
			__atomic_fetch_add(&book->refused, 1, __ATOMIC_RELAXED);
			/* Full of jobs that are done and not freed yet. */
			if (rc != QB_FULL && (rc != QB_DUPLICATE || holder.slot_idx >= seg.cfg.job_count))
				wrong(__LINE__);
			sched_yield();
		}
	}
}

static int work(uint32_t seat)
{
	struct qb_held held;
	int final;

	if (qb_job_claim(&seg, seat, &held) != QB_OK)
		return 0;
	const struct qb_job_shm *job = &seg.jobs[held.slot_idx];
	uint64_t id = job->job_id, me = 1 + ((uint64_t)held.slot_idx << 26 | qb_word_gen(held.word));
	uint64_t key = qb_load_relaxed64(&job->key_hi);

	if (id >= IDS || key > KEYS || !keys_payload_is_right(&seg, &held, id) || qb_job_start(&seg, &held) < 0) {
		wrong(__LINE__);
		return 1;
	}
	mark(id, RAN);
	uint64_t before = __atomic_exchange_n(&book->inside[key], me, __ATOMIC_SEQ_CST), out = me;

	if (before != 0 && before != me)
		wrong(__LINE__);
	for (volatile unsigned spin = 0; spin < id * 2654435761u % 20000; spin++)
		;
	/* One that fails keeps its key while it waits. */
	if (id % 5 == 0 && qb_word_failures(held.word) == 0) {
		qb_job_fail(&seg, seat, &held, 0, 0, &final);
		return 1;
	}
	if (!__atomic_compare_exchange_n(&book->inside[key], &out, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		wrong(__LINE__);
	if (qb_job_complete(&seg, seat, &held, NULL, 0) < 0)
		wrong(__LINE__);
	return 1;
}

/* As the syncer does; what has ended is done once, whoever was killed when. */
static void free_ended(void)
{
	for (uint32_t i = 0; i < qb_load_acquire32(&seg.hdr->high_water); i++) {
		uint64_t w = qb_load_acquire64(&seg.jobs[i].word);

		if (qb_word_state(w) != QB_JOB_DONE)
			continue;
		mark(seg.jobs[i].job_id, DONE);
		qb_job_free(&seg, i, w);
	}
	qb_job_rescan(&seg);
}

static void play(unsigned which, uint32_t seat, uint64_t seed)
{
	if (which < PRODUCERS)
		producer(seat, seed);
	while (!__atomic_load_n(&book->stop, __ATOMIC_RELAXED)) {
		if (which < PROCESSES - 1)
			work(seat);
		else
			free_ended();
	}
}

/* Two words that are seen to live at one and the same time. */
static void look_for_two(void)
{
	for (uint32_t i = 0; i < qb_load_acquire32(&seg.hdr->high_water); i++) {
		struct qb_job_shm *a = &seg.jobs[i];
		uint64_t w = qb_load_acquire64(&a->word), key = qb_load_acquire64(&a->key_hi);

		for (uint32_t k = i + 1; qb_word_holds_key(w) && k < qb_load_acquire32(&seg.hdr->high_water); k++) {
			uint64_t other = qb_load_acquire64(&seg.jobs[k].word);

			if (qb_word_holds_key(other) && qb_load_acquire64(&seg.jobs[k].key_hi) == key &&
			    qb_load_acquire64(&seg.jobs[k].word) == other && qb_load_acquire64(&a->word) == w)
				wrong(__LINE__);
		}
	}
}

static pid_t pids[PROCESSES];
static uint32_t seats[PROCESSES];

static void sit(unsigned which)
{
	int seat = qb_seat_take(&seg, which < PRODUCERS ? QB_ROLE_TOOL : which < PROCESSES - 1 ? QB_ROLE_WORKER : QB_ROLE_SYNCER);

	if (seat < 0)
		abort();
	seats[which] = (uint32_t)seat;
}

static void spawn(unsigned which, uint64_t seed)
{
	sit(which);
	pids[which] = fork();
	if (pids[which] < 0)
		abort();
	if (pids[which] != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	play(which, seats[which], seed);
	_exit(0);
}

static void *thread_main(void *which)
{
	unsigned me = (unsigned)(uintptr_t)which;

	play(me, seats[me], me);
	return NULL;
}

static void end_one(struct qb_recovery *rec, unsigned which)
{
	kill(pids[which], SIGKILL);
	waitpid(pids[which], NULL, 0);
	qb_recover_seat(rec, seats[which], NULL, NULL);
}

/* Everybody is dead and recovered: finish, then each key can be had again. */
static void survive(void)
{
	uint32_t seat = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	unsigned idle = 0;

	while (idle < 2) {
		int worked = work(seat) + (qb_job_promote_due(&seg, UINT64_MAX - 1) > 0);

		free_ended();
		idle = worked ? 0 : idle + 1;
	}
	for (unsigned key = 1; key <= KEYS; key++) {
		uint8_t payload[KEYS_PAYLOAD];
		struct qb_key_holder holder;
		struct qb_held ref;
		struct qb_submit what = keys_job(++book->next_id, key, payload);

		if (qb_job_submit_unique(&seg, seat, &what, &ref, &holder) != QB_OK)
			wrong(__LINE__);
		while (work(seat))
			free_ended();
		free_ended();
		qb_job_promote_due(&seg, UINT64_MAX - 1);
		while (work(seat))
			free_ended();
		free_ended();
	}
}

static void begin(struct qb_recovery *rec)
{
	struct qb_config_shm cfg;

	book = mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	qb_test_config(&cfg);
	cfg.seat_count = 16;
	cfg.max_claims = 1000;
	qb_test_create(&seg, &cfg);
	if (book == MAP_FAILED || qb_recovery_open(rec, &seg) < 0)
		abort();
}

static struct keys_found end(struct qb_recovery *rec, uint64_t kills)
{
	struct keys_found f = { .kills = kills, .least = UINT64_MAX };

	if (qb_key_missing(&seg) != 0)
		wrong(__LINE__);
	survive();
	for (uint64_t id = 1; id < IDS; id++) {
		uint8_t j = book->job[id];

		f.lost += (j & ACCEPTED) && !(j & DONE);
		if ((j & REFUSED) && (j & (RAN | DONE)))
			wrong(__LINE__);
	}
	for (unsigned key = 1; key <= KEYS; key++)
		f.least = book->per_key[key] < f.least ? book->per_key[key] : f.least;
	if (keys_leaked(&seg))
		wrong(__LINE__);
	f.accepted = book->accepted;
	f.refused = book->refused;
	f.wrong = book->wrong;
	qb_recovery_close(rec);
	qb_seg_detach(&seg);
	munmap(book, sizeof(*book));
	return f;
}

struct keys_found keys_stress(unsigned seconds)
{
	struct qb_recovery rec;
	uint64_t kills = 0, until = qb_mono_ns() + seconds * 1000000000ull, rng = until | 1;

	begin(&rec);
	for (unsigned i = 0; i < PROCESSES; i++)
		spawn(i, i);
	while (qb_mono_ns() < until && book->wrong == 0 && book->next_id < IDS - 1000) {
		rng = rng * 6364136223846793005ull + 1442695040888963407ull;
		unsigned which = (unsigned)(rng >> 33) % PROCESSES;

		usleep((useconds_t)(rng >> 50) % 1500);
		look_for_two();
		end_one(&rec, which);
		kills++;
		spawn(which, rng);
	}
	__atomic_store_n(&book->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < PROCESSES; i++)
		end_one(&rec, i);
	return end(&rec, kills);
}

struct keys_found keys_threads(unsigned seconds)
{
	struct qb_recovery rec;
	pthread_t thread[PROCESSES];

	begin(&rec);
	for (unsigned i = 0; i < PROCESSES; i++) {
		sit(i);
		if (pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i) != 0)
			abort();
	}
	usleep((useconds_t)seconds * 1000000);
	__atomic_store_n(&book->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < PROCESSES; i++) {
		pthread_join(thread[i], NULL);
		qb_recover_seat(&rec, seats[i], NULL, NULL);
	}
	return end(&rec, 0);
}
