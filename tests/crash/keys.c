/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unique keys: producers of the same and of colliding keys, a worker that ends the holder, and a recovery, as
 * coroutines over the real shm/ sources with a switch before each atomic access.
 *
 *   keys [random [SEEDS [FIRST]]]  seeded schedules with kills and stalls
 *   keys turns [MOST]              who is interrupted where, pattern by pattern
 *   keys stress [SECONDS]          real processes, SIGKILLed at random
 *   keys threads [SECONDS]         the same without kills, for ThreadSanitizer
 * Without arguments some of each.
 *
 * Right is, after every single access: no two jobs that live have one key, and each that lives is in the index. Of each
 * call: accepted means that its job lived and is carried out once; refused means that the holder that it names lived,
 * with that key, at some moment of the call. In the end nothing is left: no slot, no block, and every key can be had again.
 */
#include <string.h>

#include "shm/clock.h"
#include "shm/key.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/crash/coroutine.h"
#include "tests/crash/keys.h"
#include "tests/crash/tap.h"

#define STACK_BYTES (64 * 1024)
#define GENS 64u
#define JOBS_MAX 64u
#define STEPS_MAX 30000u
#define STALLS_UNTIL 10000u

enum { PRODUCER, PRODUCER_2, PRODUCER_3, WORKER, PARENT, ACTORS };
enum { ABSENT, RUNNING, KILLED, FINISHED };

static struct actor {
	struct coroutine co;
	int state;
	uint32_t seat;
	uint64_t switches, stalled_until;
	unsigned calls;                 /* that a producer makes */
} actor[ACTORS];

static uint8_t stacks[ACTORS][STACK_BYTES] __attribute__((aligned(64)));
static struct coroutine scheduler;
static int running = -1;
static struct qb_seg seg;
static struct qb_recovery rec;
static uint8_t *fresh;
static uint64_t rng, now, total_switches, total_schedules, total_kills, total_refused;
static int first_only;
static int one_key;                     /* that all want; 0: each any */
static const char *why;

/* What is known of each job, by id; ids count calls. */
static struct { unsigned key, returned, refused, ran, completed, done; } job[JOBS_MAX];
static uint64_t next_id;
/* When the job of that slot and generation was seen to live last, and which it was. */
static struct { uint64_t at, id; unsigned key; } lived[64][GENS];

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

/* ---- what is true after each step ---- */

static void observe(void)
{
	uint64_t seen[KEYS + 1] = { 0 };

	for (uint32_t i = 0; i < seg.hdr->high_water.v; i++) {
		struct qb_job_shm *j = &seg.jobs[i];
		uint64_t w = j->word.v;

		if (!qb_word_holds_key(w) || j->key_hi.v == 0)
			continue;
		uint32_t gen = qb_word_gen(w) % GENS;
		unsigned key = (unsigned)j->key_hi.v;

		if (key > KEYS)
			continue;       /* of those that only take room */
		if (seen[key]++)
			wrong("two jobs that live have one key");
		lived[i][gen].at = now;
		lived[i][gen].id = j->job_id;
		lived[i][gen].key = key;
	}
}

/* Costs more: now and then. */
static void observe_index(void)
{
	int me = running;

	running = -1;
	if (qb_key_missing(&seg) != 0)
		wrong("a job that lives is not in the index");
	running = me;
}

/* ---- the actors ---- */

static void produce(int me, uint64_t id, unsigned key)
{
	uint8_t payload[KEYS_PAYLOAD];
	struct qb_submit what = keys_job(id, key, payload);
	struct qb_key_holder holder;
	struct qb_held ref;
	uint64_t from = now;

	job[id].key = key;
	int rc = qb_job_submit_unique(&seg, actor[me].seat, &what, &ref, &holder);

	job[id].returned = 1;
	if (running < 0)
		observe();
	if (rc == QB_OK) {
		uint32_t slot = ref.slot_idx, gen = qb_word_gen(ref.word) % GENS;

		if (lived[slot][gen].at < from || lived[slot][gen].id != id)
			wrong("accepted, and never seen to live");
		return;
	}
	job[id].refused = 1;
	total_refused++;
	if (rc == QB_DUPLICATE) {
		uint32_t slot = holder.slot_idx, gen = holder.gen % GENS;

		if (slot >= 64 || lived[slot][gen].at < from || lived[slot][gen].key != key)
			wrong("refused, and the holder did not live meanwhile");
		else if (holder.job_id != 0 && holder.job_id != lived[slot][gen].id)
			wrong("refused, and the holder is another job");
		else if (holder.job_id == 0 && qb_word_gen(seg.jobs[slot].word.v) == holder.gen)
			wrong("refused, and the holder is there without its id");
	} else if (rc != QB_FULL || keys_room(&seg) > 3) {
		wrong("refused for no reason");
	}
}

static void producer_main(int me)
{
	for (unsigned i = 0; i < actor[me].calls && next_id < JOBS_MAX - KEYS - 1; i++)
		produce(me, next_id++, one_key ? (unsigned)one_key : 1 + (unsigned)below(KEYS));
}

static int work_once(uint32_t seat)
{
	struct qb_held held;
	int final;

	if (qb_job_claim(&seg, seat, &held) != QB_OK)
		return 0;
	uint64_t id = seg.jobs[held.slot_idx].job_id;

	if (id == 0 || id >= JOBS_MAX || job[id].refused)
		wrong("a job that was refused is run");
	if (!keys_payload_is_right(&seg, &held, id))
		wrong("a job is run without its payload");
	if (qb_job_start(&seg, &held) < 0)
		wrong("fenced");
	job[id].ran++;
	if (id % 3 == 0 && qb_word_failures(held.word) == 0) {
		qb_job_fail(&seg, seat, &held, 0, 0, &final);
		return 1;
	}
	if (qb_job_complete(&seg, seat, &held, NULL, 0) < 0)
		wrong("fenced");
	if (job[id].completed++)
		wrong("an accepted job is done twice");
	return 1;
}

/* What the syncer would do: nothing here has to be durable. */
static void free_ended(void)
{
	for (uint32_t i = 0; i < seg.hdr->high_water.v; i++) {
		uint64_t w = qb_load_acquire64(&seg.jobs[i].word);

		if (qb_word_state(w) != QB_JOB_DONE)
			continue;
		job[seg.jobs[i].job_id].done = 1;
		qb_job_free(&seg, i, w);
	}
	qb_job_rescan(&seg);
}

static void worker_main(int me)
{
	for (;;) {
		work_once(actor[me].seat);
		free_ended();
		qb_sched_point();
	}
}

static void parent_main(void)
{
	for (;;) {
		for (unsigned i = 0; i < PARENT; i++)
			if (actor[i].state == KILLED && actor[i].seat) {
				qb_recover_seat(&rec, actor[i].seat, NULL, NULL);
				actor[i].seat = 0;
			}
		qb_sched_point();
	}
}

static void entry(void)
{
	int me = running;

	if (me == WORKER)
		worker_main(me);
	else if (me == PARENT)
		parent_main();
	else
		producer_main(me);
	actor[me].state = FINISHED;
	for (;;)
		coroutine_switch(&actor[me].co, &scheduler);
}

static uint32_t sit(uint32_t role)
{
	int seat = qb_seat_take(&seg, role);

	if (seat < 0)
		abort();
	return (uint32_t)seat;
}

static void start(unsigned which)
{
	actor[which].state = RUNNING;
	coroutine_make(&actor[which].co, stacks[which], STACK_BYTES, entry);
}

static void begin(unsigned producers, unsigned calls, int crowd)
{
	memcpy(seg.base, fresh, seg.bytes);
	memset(actor, 0, sizeof(actor));
	memset(job, 0, sizeof(job));
	memset(lived, 0, sizeof(lived));
	now = next_id = 1;
	why = NULL;
	total_schedules++;
	if (crowd)
		keys_crowd(&seg, crowd > 1);
	for (unsigned i = 0; i < ACTORS; i++) {
		if (i < PARENT && i != WORKER && i >= producers)
			continue;
		actor[i].seat = sit(i == WORKER ? QB_ROLE_WORKER : i == PARENT ? QB_ROLE_PARENT : QB_ROLE_TOOL);
		actor[i].calls = calls;
		start(i);
	}
}

static void resume(unsigned which)
{
	now++;
	total_switches++;
	actor[which].switches++;
	running = (int)which;
	coroutine_switch(&scheduler, &actor[which].co);
	running = -1;
	observe();
}

static void kill_actor(unsigned which)
{
	actor[which].state = KILLED;
	total_kills++;
}

/* ---- the end: everybody is dead or through, a survivor does what is left ---- */

static void drain(uint32_t seat)
{
	for (unsigned idle = 0, round = 0; idle < 2; round++) {
		int worked = work_once(seat) + (qb_job_promote_due(&seg, UINT64_MAX - 1) > 0);

		free_ended();
		idle = worked ? 0 : idle + 1;
		if (round > 1000)
			wrong("does not come to an end");
		if (round > 1000)
			return;
	}
}

static const char *judge(void)
{
	uint32_t survivor;

	for (unsigned i = 0; i < ACTORS; i++)
		if (actor[i].seat)
			qb_recover_seat(&rec, actor[i].seat, NULL, NULL);
	observe();
	observe_index();
	survivor = sit(QB_ROLE_WORKER);
	drain(survivor);
	actor[PRODUCER].seat = survivor;
	/* No admission of the dead is in the way. */
	for (unsigned key = 1; key <= KEYS; key++) {
		uint64_t id = next_id++;

		produce(PRODUCER, id, key);
		if (job[id].refused && keys_room(&seg) > 0)
			wrong("a key cannot be had again");
		drain(survivor);
	}
	for (uint64_t id = 1; id < next_id; id++) {
		if (job[id].returned && !job[id].refused && !job[id].done)
			wrong("an accepted job is lost");
		if (job[id].refused && job[id].ran)
			wrong("a job that was refused was run");
	}
	if (keys_leaked(&seg))
		wrong("a slot or a block is lost");
	return why;
}

/* ---- seeded ---- */

static const char *run_random(uint64_t seed)
{
	unsigned which = 0, kills = 0;
	uint64_t left = 0;

	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		below(2);
	unsigned producers = 2 + (unsigned)below(2), calls = 1 + (unsigned)below(4);

	one_key = below(3) == 0;
	int crowd = (int)below(8);

	begin(producers, calls, crowd > 2 ? 0 : crowd);
	uint64_t kill_in = below(3) ? 20 + below(300) : 0, burst = 1 + below(60), stall_in = 2 + below(40);
	unsigned kills_max = (unsigned)below(producers + 2), worker_share = (unsigned)below(4);

	while (now < STEPS_MAX && !why) {
		int busy = 0;

		for (unsigned i = 0; i < producers; i++)
			busy |= actor[i].state == RUNNING;
		if (!busy)
			break;
		if (left-- == 0 || actor[which].state != RUNNING) {
			which = (unsigned)below(ACTORS);
			left = 0;
			if (actor[which].state != RUNNING || (which == WORKER && worker_share == 0) ||
			    (actor[which].stalled_until > now && below(32))) {
				now++;
				continue;
			}
			left = below(burst);
			if (below(stall_in) == 0 && now < STALLS_UNTIL) {
				actor[which].stalled_until = now + below(600);
				continue;
			}
		}
		resume(which);
		if (now % 16 == 0)
			observe_index();
		if (kill_in && which != PARENT && actor[which].state == RUNNING && kills < kills_max && below(kill_in) == 0) {
			kills++;
			kill_actor(which);
		}
	}
	if (now >= STEPS_MAX)
		wrong("does not come to rest");
	return judge();
}

/*
 * ---- turns: who is interrupted where ----
 * A pattern is a list of turns: a, b, c are producers of one key (d is c with another one), w the worker, r the recovery, h: a
 * job with that key comes at once. Behind each: ! until it has looked for the key, in vain; 0 to 3 up to that point, all of
 * its range; . to its end; and x: there it is killed.
 */
#define POINTS 4u
#define LOOKED 17u                      /* steps */

struct pattern {
	const char *what, *turns;
	struct { int from, to; } point[POINTS]; /* steps from the last turn's end, less those from ! to the announcement */
};

/* From the look to the announcement; measured. */
static int announce;

#define ANYWHERE { -1000, 65 }
#define ALONE { 0, 0 }

static const struct pattern patterns[] = {
	{ "two of one key", "a0b1a2b.a.", { ANYWHERE, ANYWHERE, ANYWHERE, ALONE } },
	{ "three of one key", "a0b1c2b.a.c.", { ANYWHERE, ANYWHERE, ANYWHERE, ALONE } },
	{ "three, and the holder", "a!b!c!ha0b1c2a.b.w.c.", { ANYWHERE, ANYWHERE, ANYWHERE, ALONE } },
	{ "the holder ends meanwhile", "a!b!ha0b1w2b.w.a.", { ANYWHERE, ANYWHERE, { -1000, 150 }, ALONE } },
	{ "one sees the holder, one does not any more", "a!b!c!ha0b1w.c2b.c.a.", { { 0, 25 }, { -2, 16 }, { -2, 25 }, ALONE } },
	{ "one who is late, and the next", "a!c!a0c1a.w.b2c3b.c.", { { 0, 1 }, { 0, 9 }, { 30, 60 }, { -25, -5 } } },
	{ "another job where the holder was", "a!ha0w.d.a.", { ANYWHERE, ALONE, ALONE, ALONE } },
	{ "killed, and recovered while another helps", "a0xb1r2b.r.", { ANYWHERE, ANYWHERE, { -1000, 160 }, ALONE } },
	{ "killed while it helps", "a0b1xc2r.a.c.", { ANYWHERE, ANYWHERE, ANYWHERE, ALONE } },
	{ "killed as the holder ends", "a!b!ha0xw1r2b.w.r.", { ANYWHERE, { -1000, 60 }, { -1000, 160 }, ALONE } },
};

static unsigned actor_of(char c)
{
	switch (c) {
	case 'a': return PRODUCER;
	case 'b': return PRODUCER_2;
	case 'c':
	case 'd': return PRODUCER_3;
	case 'w': return WORKER;
	default: return PARENT;
	}
}

static void run_for(unsigned which, unsigned steps)
{
	for (unsigned i = 0; i < steps && actor[which].state == RUNNING && !why; i++)
		resume(which);
}

static const char *run_pattern(const struct pattern *p, const int at[POINTS])
{
	const char *t = p->turns;

	one_key = 1;
	begin(3, 1, 0);
	while (*t) {
		char c = *t++;

		if (c == 'h') {
			int id = (int)next_id++;

			/* By one who has a seat and does nothing else. */
			produce(PARENT, (uint64_t)id, 1);
			continue;
		}
		unsigned which = actor_of(c);
		char how = *t++;

		if (c == 'd')
			one_key = 2;
		if (how == '!')
			run_for(which, LOOKED);
		else if (how == '.')
			run_for(which, c == 'w' ? 150 : c == 'r' ? 600 : 5000);
		else
			run_for(which, (unsigned)at[how - '0']);
		one_key = 1;
		if (*t == 'x') {
			t++;
			if (actor[which].state == RUNNING)
				kill_actor(which);
		}
	}
	return judge();
}

static void measure(void)
{
	one_key = 1;
	begin(1, 1, 0);
	run_for(PRODUCER, LOOKED);
	for (announce = 0; seg.keys[KEYS_BUCKET].pending.v == 0; announce++)
		resume(PRODUCER);
	total_schedules = total_switches = 0;
}

static void report(const char *what, uint64_t bad, const char *first, uint64_t began_ns)
{
	tap_ok(bad == 0, "%s: %llu schedules, %llu bad", what, (unsigned long long)total_schedules, (unsigned long long)bad);
	if (bad)
		tap_note("first: %s", first);
	tap_note("%.1f M switches, %llu kills, %llu refused; %.1f s", (double)total_switches / 1e6,
		 (unsigned long long)total_kills, (unsigned long long)total_refused, (double)(qb_mono_ns() - began_ns) / 1e9);
	tap_wrong += (unsigned)bad;
	tap_figures("schedules=%llu key_schedules=%llu schedule_kills=%llu", (unsigned long long)total_schedules,
		    (unsigned long long)total_schedules, (unsigned long long)total_kills);
	tap_wrong = 0;
	total_schedules = total_switches = total_kills = total_refused = 0;
}

/* Every combination of points, or `most` of them. */
static void test_turns(uint64_t most)
{
	measure();
	for (unsigned k = 0; k < QB_ARRAY_COUNT(patterns); k++) {
		const struct pattern *p = &patterns[k];
		uint64_t began = qb_mono_ns(), bad = 0, all = 1, width[POINTS];
		char first[200] = "";
		int from[POINTS], at[POINTS] = { 0 };

		rng = 0x9e3779b97f4a7c15ull + k;
		for (unsigned i = 0; i < POINTS; i++) {
			from[i] = announce + p->point[i].from < 0 ? 0 : announce + p->point[i].from;
			width[i] = (uint64_t)(announce + p->point[i].to - from[i] + 1);
			all *= width[i];
		}
		for (uint64_t n = 0; n < (all < most ? all : most) && !(bad && first_only); n++) {
			uint64_t which = all < most ? n : below(all);

			for (unsigned i = 0; i < POINTS; which /= width[i++])
				at[i] = from[i] + (int)(which % width[i]);
			const char *this = run_pattern(p, at);

			if (this && !bad++)
				snprintf(first, sizeof(first), "%s at %d, %d, %d, %d: %s", p->turns, at[0], at[1], at[2], at[3], this);
		}
		report(p->what, bad, first, began);
	}
}

static void test_random(uint64_t seeds, uint64_t from)
{
	uint64_t began = qb_mono_ns(), bad = 0;
	char first[200] = "";

	for (uint64_t seed = from; seed < from + seeds && !(bad && first_only); seed++) {
		const char *this = run_random(seed);

		if (this && !bad++)
			snprintf(first, sizeof(first), "seed %llu: %s (again: keys random 1 %llu)", (unsigned long long)seed, this,
				 (unsigned long long)seed);
	}
	report("random kills and stalls", bad, first, began);
}

static void report_found(const char *what, const struct keys_found *f)
{
	tap_ok(f->wrong == 0 && f->lost == 0 && f->least > 0,
	       "%s: %llu kills, %llu accepted (%llu of the rarest key), %llu refused, %llu lost, wrong at line %llu", what,
	       (unsigned long long)f->kills, (unsigned long long)f->accepted, (unsigned long long)f->least,
	       (unsigned long long)f->refused, (unsigned long long)f->lost, (unsigned long long)f->wrong);
	tap_lost += (unsigned)f->lost;
	tap_wrong += f->wrong != 0;
	tap_figures("kills=%llu", (unsigned long long)f->kills);
	tap_lost = tap_wrong = 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "all";
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0, m = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	struct qb_config_shm cfg;

	if (strcmp(mode, "threads") == 0) {
		struct keys_found f = keys_threads(n ? (unsigned)n : 2);

		report_found("threads", &f);
		return tap_done();
	}
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
		test_random(n ? n : (UNDER_ASAN ? 2000 : 15000) * tap_factor(), m ? m : 1);
	if (strcmp(mode, "turns") == 0 || strcmp(mode, "all") == 0)
		test_turns(n ? n : (UNDER_ASAN ? 1000 : 8000) * tap_factor());
	if (strcmp(mode, "stress") == 0 || strcmp(mode, "all") == 0) {
		struct keys_found f = keys_stress(n ? (unsigned)n : 2);

		report_found("real processes", &f);
	}
	return tap_done();
}
