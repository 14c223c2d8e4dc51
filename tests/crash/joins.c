/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the end of a job: callers who push a key or join its holder and sleep, a worker, a syncer that resolves and
 * frees, and a recoverer, as coroutines over the real shm/ sources with a switch before each atomic access. Any of them is
 * killed anywhere, the recoverer too; a slot or two for all, so that each is used again and again.
 *
 *   joins [random [SEEDS [FIRST]]]  seeded schedules with kills and stalls
 *   joins turns                     a caller, an ender and another caller, interrupted at every step of each
 * Without arguments both.
 *
 * The futex is a model, between shm/ and the C library (--wrap): a sleeper goes on when somebody wakes it and never by time.
 * Right is, after every single access: who sleeps behind the end of his job is owed a wake-up, by an ender who is still
 * about it or by the recovery of who was killed meanwhile. And who comes back does so behind the end. In the end nobody sleeps.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

#include "shm/clock.h"
#include "shm/join.h"
#include "shm/key.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/crash/coroutine.h"
#include "tests/crash/tap.h"
#include "tests/lib/shm-fixture.h"

#define STACK_BYTES (64 * 1024)
#define SLOTS 2u
#define SLOT_2 QB_SEAT_RECENT            /* noted in the same place as slot 0 */
#define GENS 64u
#define STEPS_MAX 40000u
#define STALLS_UNTIL 4000u
#define LIVES 256u
#define OPS 4096u
#define CLEARS 8u

enum { CALLER, CALLER_2, CALLER_3, WORKER, SYNCER, PARENT, ACTORS };
enum { ABSENT, RUNNING, KILLED, FINISHED };

static struct actor {
	struct coroutine co;
	int state;
	uint32_t seat;
	unsigned life;                  /* of who sits there; 0: recovered */
	unsigned calls;                 /* that a caller has still to make */
	uint64_t stalled_until;
	unsigned op;                    /* that may end a job, begun and not through */
	unsigned op_life;               /* whose recovery makes it good when it is cut short */
	const void *asleep;             /* on that word */
	uint32_t slot, gen;             /* it waits for */
} actor[ACTORS];

static uint8_t stacks[ACTORS][STACK_BYTES] __attribute__((aligned(64)));
static struct coroutine scheduler;
static int running = -1;
static struct qb_seg seg;
static struct qb_recovery rec;
static uint8_t *fresh;
static uint64_t rng, now, total_switches, total_schedules, total_kills, total_slept, total_joined;
static int first_only, only_wait;
static const char *why;
static unsigned lives, ops;
static uint64_t next_id;
static const uint32_t slot_of[SLOTS] = { 0, SLOT_2 };
static unsigned delicate[ACTORS];    /* for so many steps: a kill there is likelier */
static uint8_t recovered[LIVES], through[OPS];
static uint64_t word_before[SLOTS];
struct by { unsigned op, life; };
static struct by ended[SLOTS][GENS];
/* Whoever cleared the bit last: he wakes also those who wait for a later job. */
static struct by cleared[SLOTS][CLEARS];
static unsigned clears[SLOTS];
static uint32_t joined_before[SLOTS];

static uint64_t below(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng * 0x2545f4914f6cdd1dull >> 11) % n;
}

void qb_sched_point(void)
{
	int me = running;

	if (me >= 0)
		coroutine_switch(&actor[me].co, &scheduler);
}

static void wrong(const char *what)
{
	if (!why)
		why = what;
}

/* ---- the kernel ---- */

long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	va_list ap;

	va_start(ap, number);
	const uint32_t *word = va_arg(ap, const uint32_t *);
	int op = va_arg(ap, int);
	uint32_t value = va_arg(ap, uint32_t);
	int me = running;

	va_end(ap);
	if (number != SYS_futex)
		abort();
	qb_sched_point();
	if (op == FUTEX_WAKE) {
		for (unsigned i = 0; i < ACTORS && value > 0; i++)
			if (actor[i].asleep == word) {
				actor[i].asleep = NULL;
				value--;
			}
		return 0;
	}
	/* Compared and asleep in one step, as the kernel does it. */
	if (*word != value) {
		errno = EAGAIN;
		return -1;
	}
	total_slept++;
	actor[me].asleep = word;
	coroutine_switch(&actor[me].co, &scheduler);
	return 0;
}

/* ---- what is true after each step ---- */

static int is_over(uint32_t slot, uint32_t gen)
{
	uint64_t w = seg.jobs[slot].word.v;

	return qb_word_gen(w) != gen || !qb_word_holds_key(w);
}

static int is_pending(const struct by *by)
{
	return by->op != 0 && !through[by->op] && !recovered[by->life];
}

static int is_owed(uint32_t slot_idx, uint32_t gen)
{
	unsigned slot = slot_idx == SLOT_2;
	int owed = is_pending(&ended[slot][gen % GENS]);

	for (unsigned i = 0; i < CLEARS; i++)
		owed |= is_pending(&cleared[slot][i]);
	return owed;
}

static void observe(unsigned who)
{
	const struct by by = { .op = actor[who].op, .life = actor[who].op_life };

	for (uint32_t i = 0; i < SLOTS; i++) {
		uint64_t w = seg.jobs[slot_of[i]].word.v, before = word_before[i];
		uint32_t joined = seg.jobs[slot_of[i]].joined.v;

		/* A recoverer clears nobody's. */
		if ((joined_before[i] & 1) && !(joined & 1) && who != PARENT)
			cleared[i][clears[i]++ % CLEARS] = by;
		joined_before[i] = joined;
		word_before[i] = w;
		if (!qb_word_holds_key(before) || (qb_word_holds_key(w) && qb_word_gen(w) == qb_word_gen(before)))
			continue;
		ended[i][qb_word_gen(before) % GENS] = by;
		delicate[who] = 8;
	}
	for (unsigned k = CALLER; k <= CALLER_3; k++) {
		const struct actor *a = &actor[k];

		if (a->state == RUNNING && a->asleep && is_over(a->slot, a->gen) && !is_owed(a->slot, a->gen))
			wrong("a wake-up is lost: one sleeps behind the end of his job, and nobody will wake him");
	}
}

/* ---- the actors ---- */

static void op_begin(unsigned me, unsigned life)
{
	actor[me].op = ++ops < OPS ? ops : OPS - 1;
	actor[me].op_life = life;
}

static void op_end(unsigned me)
{
	through[actor[me].op] = 1;
}

static void await_end(int me, uint32_t slot, uint32_t gen)
{
	actor[me].slot = slot;
	actor[me].gen = gen;
	if (qb_join_wait(&seg, slot, gen, UINT64_MAX) != QB_JOIN_ENDED || !is_over(slot, gen))
		wrong("one comes back from waiting, and his job has not ended");
}

static void caller_main(int me)
{
	if (only_wait) {
		uint64_t w = seg.jobs[0].word.v;

		/* Of the first job, or of the one that took its place. */
		await_end(me, 0, qb_word_gen(w));
		return;
	}
	while (actor[me].calls > 0) {
		struct qb_submit what = qb_test_submit(next_id++);
		struct qb_key_holder holder;
		struct qb_held ref;

		/* Now and then another key. */
		what.key = (struct qb_key){ .hi = 1 + (what.job_id % 4 == 3), .lo = 5 };
		what.effect_class = (uint16_t)(below(2) ? QB_EFFECT_IDEMPOTENT : QB_EFFECT_OPAQUE);
		int rc = qb_job_submit_unique(&seg, actor[me].seat, &what, &ref, &holder);

		if (rc == QB_OK)
			holder = (struct qb_key_holder){ .slot_idx = ref.slot_idx, .gen = qb_word_gen(ref.word) };
		else if (rc != QB_DUPLICATE)
			continue;
		total_joined += rc == QB_DUPLICATE;
		await_end(me, holder.slot_idx, holder.gen);
		actor[me].calls--;
	}
}

/* It may have two in hand. */
static void work_once(unsigned me)
{
	struct qb_held held[2];
	unsigned count = 0, most = 1 + (unsigned)below(2);
	int final;

	while (count < most && qb_job_claim(&seg, actor[me].seat, &held[count]) == QB_OK)
		count++;
	while (count-- > 0) {
		uint64_t how = below(4);

		if (qb_job_start(&seg, &held[count]) < 0)
			continue;
		delicate[me] = below(4) ? 0 : 8;
		op_begin(me, actor[me].life);
		if (how < 2)
			qb_job_complete(&seg, actor[me].seat, &held[count], NULL, 0);
		else
			qb_job_fail(&seg, actor[me].seat, &held[count], how == 2, 0, &final);
		op_end(me);
	}
}

static void sync_once(unsigned me)
{
	static const uint32_t answer[] = { QB_JOB_DONE, QB_JOB_READY, QB_JOB_DEAD };

	for (uint32_t i = 0; i < SLOTS; i++) {
		uint64_t w = qb_load_acquire64(&seg.jobs[slot_of[i]].word);
		uint32_t state = qb_word_state(w);

		op_begin(me, actor[me].life);
		if (state == QB_JOB_AMBIGUOUS)
			qb_job_resolve(&seg, actor[me].seat, slot_of[i], w, answer[below(3)], NULL, 0);
		else if (state == QB_JOB_DONE || state == QB_JOB_FAILED || state == QB_JOB_DEAD)
			qb_job_free(&seg, slot_of[i], w);
		op_end(me);
	}
	qb_job_rescan(&seg);
}

static void recover_once(unsigned me)
{
	for (unsigned i = 0; i < PARENT; i++) {
		struct actor *a = &actor[i];

		if (a->state != KILLED || a->life == 0)
			continue;
		op_begin(me, a->life);
		qb_recover_seat(&rec, a->seat, NULL, NULL);
		recovered[a->life] = 1;
		a->life = 0;
		op_end(me);
	}
}

static void entry(void)
{
	int me = running;

	while (me > CALLER_3) {
		if (me == WORKER)
			work_once((unsigned)me);
		else if (me == SYNCER)
			sync_once((unsigned)me);
		else
			recover_once((unsigned)me);
		qb_sched_point();
	}
	caller_main(me);
	actor[me].state = FINISHED;
	for (;;)
		coroutine_switch(&actor[me].co, &scheduler);
}

/* ---- the scheduler ---- */

static void start(unsigned which)
{
	static const uint32_t role[] = { [CALLER] = QB_ROLE_TOOL, [CALLER_2] = QB_ROLE_TOOL, [CALLER_3] = QB_ROLE_TOOL,
					 [WORKER] = QB_ROLE_WORKER, [SYNCER] = QB_ROLE_SYNCER };
	struct actor *a = &actor[which];

	if (which != PARENT) {
		int seat = qb_seat_take(&seg, role[which]);

		if (seat < 0 || lives + 1 >= LIVES)
			abort();
		a->seat = (uint32_t)seat;
		a->life = ++lives;
	}
	a->state = RUNNING;
	a->op = a->op_life = 0;
	coroutine_make(&a->co, stacks[which], STACK_BYTES, entry);
}

static void begin(unsigned callers, unsigned calls, unsigned slots, unsigned max_claims)
{
	memcpy(seg.base, fresh, seg.bytes);
	memset(actor, 0, sizeof(actor));
	memset(recovered, 0, sizeof(recovered));
	memset(through, 0, sizeof(through));
	memset(ended, 0, sizeof(ended));
	memset(delicate, 0, sizeof(delicate));
	memset(cleared, 0, sizeof(cleared));
	memset(clears, 0, sizeof(clears));
	memset(joined_before, 0, sizeof(joined_before));
	memset(word_before, 0, sizeof(word_before));
	lives = ops = 0;
	now = next_id = 1;
	why = NULL;
	running = -1;
	total_schedules++;
	seg.cfg.max_claims = max_claims;
	/* The others are in use for ever, or nobody finds them. */
	for (uint32_t i = 1; i < SLOT_2; i++)
		seg.jobs[i].word.v = qb_word(0, 1, 0, 0, QB_JOB_AMBIGUOUS);
	seg.free_map[0].v = slots == 1 ? 1 : 1 | 1ull << SLOT_2;
	for (unsigned i = 0; i < ACTORS; i++) {
		if (i <= CALLER_3 && i >= callers)
			continue;
		start(i);
		actor[i].calls = calls;
	}
}

static int can_run(unsigned which)
{
	return actor[which].state == RUNNING && !actor[which].asleep;
}

static void resume(unsigned which)
{
	now++;
	total_switches++;
	running = (int)which;
	coroutine_switch(&scheduler, &actor[which].co);
	running = -1;
	observe(which);
}

static void kill_actor(unsigned which)
{
	actor[which].state = KILLED;
	actor[which].asleep = NULL;
	total_kills++;
}

/* The dead one's successor; a caller has none. */
static void succeed(unsigned which)
{
	if (which > CALLER_3 && actor[which].state == KILLED && (which == PARENT || actor[which].life == 0))
		start(which);
}

static int callers_are_through(void)
{
	for (unsigned i = CALLER; i <= CALLER_3; i++)
		if (actor[i].state == RUNNING)
			return 0;
	return 1;
}

/* Nobody is killed any more, and everybody gets his turn. */
static const char *calm_down(void)
{
	uint64_t until = now + STEPS_MAX;

	while (!callers_are_through() && !why && now < until) {
		now++;
		for (unsigned i = 0; i < ACTORS; i++) {
			succeed(i);
			for (unsigned k = 0; k < 50 && can_run(i) && !why; k++)
				resume(i);
		}
	}
	if (!callers_are_through() && !why)
		wrong("one waits for ever: nobody will end his job, or wake him");
	return why;
}

static const char *run_random(uint64_t seed)
{
	unsigned which = 0, kills = 0;
	uint64_t left = 0;

	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		below(2);
	only_wait = 0;
	unsigned max_claims = 1 + (unsigned)below(3), slots = 1 + (unsigned)below(2), calls = 1 + (unsigned)below(3);

	begin(2 + (unsigned)below(2), calls, slots, max_claims);
	uint64_t kill_in = below(4) ? 10 + below(150) : 0, burst = 1 + below(60), stall_in = 2 + below(40);
	unsigned kills_max = 1 + (unsigned)below(6), steps = 500 + (unsigned)below(2000);

	while (now < steps && !why && !callers_are_through()) {
		if (left-- == 0 || !can_run(which)) {
			which = (unsigned)below(ACTORS);
			left = 0;
			now++;
			succeed(which);
			if (!can_run(which) || (actor[which].stalled_until > now && below(32)))
				continue;
			left = below(burst);
			if (below(stall_in) == 0 && now < STALLS_UNTIL) {
				actor[which].stalled_until = now + below(600);
				left = 0;
				continue;
			}
		}
		resume(which);
		unsigned soon = delicate[which] > 0 && delicate[which]--;

		if (kill_in && actor[which].state == RUNNING && kills < kills_max && below(soon ? 8 : kill_in) == 0) {
			kills++;
			kill_actor(which);
		}
	}
	return calm_down();
}

/* ---- turns ---- */

static void run_for(unsigned which, unsigned steps)
{
	for (unsigned i = 0; i < steps && can_run(which) && !why; i++)
		resume(which);
}

#define WAITS_STEPS 10u                 /* more than a caller takes until it sleeps */
#define ENDS_STEPS 24u                  /* more than who ends a job takes until he has woken all */

/*
 * One waits for a job and is stopped after some steps, so is who ends it; maybe he is killed. With `again` the slot is
 * freed and used for the next job meanwhile, which the other one waits for.
 */
static const char *run_turns(unsigned wait_steps, unsigned end_steps, unsigned wait_steps_2, int killed, int again)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_key_holder holder;
	struct qb_held ref;

	rng = 0x9e3779b97f4a7c15ull + wait_steps;
	only_wait = 1;
	begin(2, 1, 1, 1);
	what.key = (struct qb_key){ .hi = 1, .lo = 5 };
	what.effect_class = QB_EFFECT_IDEMPOTENT;
	if (qb_job_submit_unique(&seg, actor[CALLER].seat, &what, &ref, &holder) != QB_OK)
		abort();
	run_for(CALLER, wait_steps);
	while (qb_word_state(seg.jobs[0].word.v) != QB_JOB_STARTED)
		resume(WORKER);
	run_for(WORKER, end_steps);
	if (again && !killed && is_over(0, qb_word_gen(ref.word))) {
		run_for(SYNCER, 60);
		what.job_id = 2;
		if (qb_job_submit_unique(&seg, actor[CALLER].seat, &what, &ref, &holder) == QB_OK)
			observe(CALLER);
	}
	if (killed)
		kill_actor(WORKER);
	run_for(CALLER_2, wait_steps_2);
	if (killed && again)
		run_for(PARENT, 4 * wait_steps + 2 * end_steps);
	run_for(CALLER, WAITS_STEPS);
	return calm_down();
}

static void report(const char *what, uint64_t bad, const char *first, uint64_t began_ns)
{
	tap_ok(bad == 0 && total_slept > 0, "%s: %llu schedules, %llu bad", what, (unsigned long long)total_schedules,
	       (unsigned long long)bad);
	if (bad)
		tap_note("first: %s", first);
	tap_note("%.1f M switches, %llu kills, slept %llu times, joined %llu times; %.1f s", (double)total_switches / 1e6,
		 (unsigned long long)total_kills, (unsigned long long)total_slept, (unsigned long long)total_joined,
		 (double)(qb_mono_ns() - began_ns) / 1e9);
	tap_wrong += (unsigned)bad;
	tap_figures("schedules=%llu schedule_kills=%llu", (unsigned long long)total_schedules, (unsigned long long)total_kills);
	tap_wrong = 0;
	total_schedules = total_switches = total_kills = total_slept = total_joined = 0;
}

static void test_turns(void)
{
	uint64_t began = qb_mono_ns(), bad = 0;
	char first[200] = "";

	for (unsigned how = 0; how < 4; how++)
		for (unsigned a = 0; a <= WAITS_STEPS; a++)
			for (unsigned e = 0; e <= ENDS_STEPS; e++)
				for (unsigned b = 0; b <= WAITS_STEPS && !(bad && first_only); b++) {
					const char *this = run_turns(a, e, b, (int)how & 1, how >> 1);

					if (this && !bad++)
						snprintf(first, sizeof(first), "%u steps, end %u, %u, %s%s: %s", a, e, b,
							 how & 1 ? "killed" : "not killed", how >> 1 ? ", again" : "", this);
				}
	report("a caller, an ender, another caller", bad, first, began);
}

static void test_random(uint64_t seeds, uint64_t from)
{
	uint64_t began = qb_mono_ns(), bad = 0;
	char first[200] = "";

	for (uint64_t seed = from; seed < from + seeds && !(bad && first_only); seed++) {
		const char *this = run_random(seed);

		if (this && !bad++)
			snprintf(first, sizeof(first), "seed %llu: %s (again: joins random 1 %llu)", (unsigned long long)seed, this,
				 (unsigned long long)seed);
	}
	report("random kills and stalls", bad, first, began);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "all";
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0, m = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	struct qb_config_shm cfg;

	if (UNDER_TSAN)
		tap_skip_all("ThreadSanitizer does not follow coroutines");
	first_only = getenv("QB_CRASH_FIRST") != NULL;
	qb_test_config(&cfg);
	cfg.effect_count = 0;
	qb_test_create(&seg, &cfg);
	fresh = malloc(seg.bytes);
	if (!fresh || qb_recovery_open(&rec, &seg) < 0)
		abort();
	memcpy(fresh, seg.base, seg.bytes);
	if (strcmp(mode, "random") == 0 || strcmp(mode, "all") == 0)
		test_random(n ? n : (UNDER_ASAN ? 2000 : 20000) * tap_factor(), m ? m : 1);
	if (strcmp(mode, "turns") == 0 || strcmp(mode, "all") == 0)
		test_turns();
	if (tap_count == 0)
		tap_ok(0, "there is no such mode");
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
	free(fresh);
	return tap_done();
}
