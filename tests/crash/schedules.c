/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interleavings: the processes of a run as coroutines in one thread, over the real shm/ sources
 * compiled with a switch before each atomic access (point.h).  A seed decides who runs, who stalls
 * and who is killed, which is: never resumed.  Recovery is an actor like the others: it runs while
 * they work, it is stalled and killed, and seats are used again as soon as they are free.
 *
 *   schedules [random [SEEDS [FIRST]]]         seeded schedules with kills and stalls
 *   schedules pairs [KILL_POINTS [STALL_POINTS]]  every kill point x every stall point
 *   schedules triples [POINTS]                 the same, and the recovery killed at each point
 * Without arguments: some of each, as a TAP test.  QB_CRASH_FACTOR=n does n times as much: seeds, points, and with
 * n > 1 the triples of every pair of actors; QB_CRASH_MINUTES=n ends it when that time is over, a third for each.
 */
#include <string.h>

#include "shm/clock.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/seat.h"
#include "tests/crash/coroutine.h"
#include "tests/crash/tap.h"
#include "tests/crash/world.h"

#define LEDGER_JOBS 64
#define STACK_BYTES (64 * 1024)
#define RANDOM_STEPS 400000

enum { SUBMITTER, SYNCER, PARENT, WORKER, WORKER_2, SUBMITTER_2, WORKER_3, ACTORS };
static const uint32_t roles[ACTORS] = { QB_ROLE_DRIVER, QB_ROLE_SYNCER, QB_ROLE_PARENT, QB_ROLE_WORKER,
					QB_ROLE_WORKER, QB_ROLE_DRIVER, QB_ROLE_WORKER };
enum { ABSENT, RUNNING, KILLED, FINISHED };

static struct actor {
	struct coroutine co;
	int state;
	uint32_t seat;
	uint64_t switches;              /* so far, in all its incarnations */
	uint64_t respawn_at;            /* killed: replaced from then on */
	uint64_t stalled_until;
} actor[ACTORS];

static uint8_t stacks[ACTORS][STACK_BYTES] __attribute__((aligned(64)));
static struct coroutine scheduler;
static int running = -1;
static unsigned actors;                 /* the first so many take part */

static struct world w;
static int first_only;                  /* QB_CRASH_FIRST: the first bad schedule is enough */
static int all_triples;                 /* a long run */
static uint8_t *fresh;
static uint64_t rng, now;
static struct { uint64_t schedules, switches, kills, parent_kills; } total;

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

/* ---- the actors ---- */

static void submitter_main(int me)
{
	while (w.led->next_id <= w.led->last_id) {
		/* The key is used up before the call: whoever comes after a kill does not submit it again. */
		uint64_t id = w.led->next_id++;

		while (world_submit(&w, actor[me].seat, id) == QB_FULL)
			qb_sched_point();
	}
}

static void syncer_main(int me)
{
	world_syncer_open(&w, actor[me].seat);
	qb_job_rescan(&w.seg);
	for (;;) {
		world_sync(&w);
		qb_sched_point();
	}
}

static void worker_main(int me)
{
	struct qb_event_writer log;

	qb_event_open(&log, &w.seg, actor[me].seat, QB_OVERFLOW_DROP);
	for (;;) {
		if (!world_work(&w, actor[me].seat, &log)) {
			/* Nobody else waits for the clock here. */
			qb_job_promote_due(&w.seg, WORLD_DUE_NEVER);
			qb_sched_point();
		}
	}
}

static void start(unsigned which);

static int lives(uint32_t seat)
{
	for (unsigned i = 0; i < actors; i++)
		if (actor[i].state == RUNNING && actor[i].seat == seat)
			return 1;
	return 0;
}

static void parent_main(void)
{
	/* Take over: every seat that nobody alive sits in, the last parent's and half-filled ones included. */
	for (uint32_t seat = 1; seat < w.seg.cfg.seat_count; seat++) {
		if (qb_seat_state_of(w.seg.seats[seat].word.v) != QB_SEAT_FREE && !lives(seat))
			world_recover(&w, seat);
		/* Whoever died there is decided, by us or by the parent before us. */
		for (unsigned i = 0; i < actors; i++)
			if (actor[i].state == KILLED && actor[i].seat == seat)
				actor[i].seat = 0;
	}
	for (;;) {
		for (unsigned i = 0; i < actors; i++) {
			if (actor[i].state == KILLED && actor[i].seat != 0) {
				world_recover(&w, actor[i].seat);
				actor[i].seat = 0;
			}
			if (actor[i].state != KILLED || now < actor[i].respawn_at)
				continue;
			uint32_t seat = world_sit(&w, roles[i], i + 1);

			if (seat == 0)
				continue;
			actor[i].seat = seat;
			start(i);
		}
		qb_sched_point();
	}
}

static void entry(void)
{
	int me = running;

	switch (me) {
	case SUBMITTER:
	case SUBMITTER_2:
		submitter_main(me);
		break;
	case SYNCER:
		syncer_main(me);
		break;
	case PARENT:
		parent_main();
		break;
	default:
		worker_main(me);
		break;
	}
	actor[me].state = FINISHED;
	for (;;)
		coroutine_switch(&actor[me].co, &scheduler);
}

static void start(unsigned which)
{
	actor[which].state = RUNNING;
	actor[which].stalled_until = 0;
	coroutine_make(&actor[which].co, stacks[which], STACK_BYTES, entry);
}

/* A parent is its own successor: somebody starts one whenever there is none. */
static void start_parent(void)
{
	int me = running;

	running = -1;                   /* not a part of the schedule */
	actor[PARENT].seat = world_sit(&w, QB_ROLE_PARENT, PARENT + 1);
	running = me;
	start(PARENT);
}

static void kill_actor(unsigned which, uint64_t respawn_in)
{
	actor[which].state = KILLED;
	actor[which].respawn_at = now + respawn_in;
	if (which != PARENT) {
		total.kills++;
		return;
	}
	total.parent_kills++;
	start_parent();
}

static void resume(unsigned which)
{
	now++;
	total.switches++;
	actor[which].switches++;
	running = (int)which;
	coroutine_switch(&scheduler, &actor[which].co);
	running = -1;
}

static uint64_t until_ns;               /* of the present part; 0 = to its end */

static int time_is_up(void)
{
	return until_ns != 0 && total.schedules % 64 == 0 && qb_mono_ns() > until_ns;
}

/* ---- one world per schedule ---- */

static void begin(unsigned how_many, uint64_t last_id, uint64_t ring_pos, uint32_t only_class)
{
	memcpy(w.seg.base, fresh, w.seg.bytes);
	memset(w.led->job, 0, LEDGER_JOBS * sizeof(w.led->job[0]));
	w.led->wrong = 0;
	w.led->batches = 0;
	memset(w.led->event_seq, 0, sizeof(w.led->event_seq));
	memset(w.led->tx_sent, 0, sizeof(w.led->tx_sent));
	w.led->next_id = 1;
	w.led->last_id = last_id;
	w.led->only_class = only_class;
	world_advance(&w, ring_pos, 4096 - 8 * (ring_pos % 40), 64 - ring_pos % 5);
	memset(actor, 0, sizeof(actor));
	actors = how_many;
	now = 0;
	total.schedules++;
	for (unsigned i = 0; i < actors; i++) {
		actor[i].seat = world_sit(&w, roles[i], i + 1);
		start(i);
	}
}

/* Has everything that was promised come to its end, with nobody dead unburied? */
static int quiet(void)
{
	if (actor[SUBMITTER].state != FINISHED || (actors > SUBMITTER_2 && actor[SUBMITTER_2].state != FINISHED))
		return 0;
	for (unsigned i = 0; i < actors; i++)
		if (actor[i].state == KILLED)
			return 0;
	for (uint32_t i = 0; i < w.seg.hdr->high_water.v; i++)
		if (qb_word_state(w.seg.jobs[i].word.v) != QB_JOB_FREE)
			return 0;
	return 1;
}

/* NULL, or what is wrong in the end. */
static const char *judge(int came_to_rest)
{
	static char why[256];

	/* Everybody ends what it is in the middle of: a bit that is still to be set is not a lost one. */
	for (unsigned round = 0; came_to_rest && round < 150; round++)
		for (unsigned i = 0; i < actors; i++)
			if (actor[i].state == RUNNING)
				resume(i);
	w.oracle.live_seats = 0;
	if (w.led->wrong) {
		snprintf(why, sizeof(why), "an actor's own check failed: world.c line %u, job %llu", w.led->wrong,
			 (unsigned long long)w.led->wrong_job);
		return why;
	}
	if (came_to_rest)
		return oracle_final(&w.oracle) < 0 ? w.oracle.why : NULL;
	for (uint32_t i = 0; i < w.seg.hdr->high_water.v; i++) {
		uint64_t word = w.seg.jobs[i].word.v;

		if (qb_word_state(word) == QB_JOB_FREE)
			continue;
		snprintf(why, sizeof(why), "job %llu is stuck: %s, attempt %u, seat %u",
			 (unsigned long long)w.seg.jobs[i].job_id, qb_job_state_name(qb_word_state(word)),
			 qb_word_attempt(word), qb_word_seat(word));
		return why;
	}
	snprintf(why, sizeof(why), "does not come to rest (submitter %d)", actor[SUBMITTER].state);
	return why;
}

/* ---- seeded ---- */

static const char *run_random(uint64_t seed)
{
	unsigned which = 0, kills = 0;
	uint64_t left = 0, check_at = 0;

	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	for (int i = 0; i < 8; i++)
		below(2);
	uint64_t jobs = 6 + below(12), ring_pos = below(1000), classes = below(4);

	begin(ACTORS, jobs, ring_pos, (uint32_t)classes);
	uint64_t kill_in = below(5) ? 20 + below(1500) : 0, burst = 1 + below(10), stall_in = 10 + below(300);
	unsigned kills_max = (unsigned)below(14), late = below(2) ? 1500 : 5;

	while (now < RANDOM_STEPS) {
		struct actor *a;

		if (left-- == 0 || actor[which].state != RUNNING) {
			which = (unsigned)below(ACTORS);
			left = below(burst);
			a = &actor[which];
			now++;
			if (a->state != RUNNING || (a->stalled_until > now && below(64))) {
				left = 0;
				continue;
			}
			if (below(stall_in) == 0) {
				a->stalled_until = now + below(below(4) ? 600 : 8000);
				continue;
			}
		}
		resume(which);
		if (kill_in && actor[which].state == RUNNING && kills < kills_max && below(kill_in) == 0) {
			kills++;
			kill_actor(which, below(late));
		}
		if (w.led->wrong)
			break;
		if (now < check_at)
			continue;
		check_at = now + 200;
		if (quiet())
			return judge(1);
	}
	return judge(quiet());
}

/* ---- systematic ---- */

struct plan {
	unsigned actors;
	unsigned kill, stall;           /* which actors */
	uint64_t kill_at, stall_at;     /* at which of their switches; the parent's count from the kill */
	uint64_t parent_kill_at;        /* after the kill; 0 = not at all */
	unsigned burst;                 /* switches in a row */
	int wake_after_recovery;        /* the stalled one goes on right then; else when the others are idle */
	uint32_t only_class;
};

static int all_dead_decided(void)
{
	for (unsigned i = 0; i < actors; i++)
		if (actor[i].state == KILLED && actor[i].seat != 0)
			return 0;
	return 1;
}

static int stalls(const struct plan *p, int killed, uint64_t parent_from)
{
	if (p->stall == PARENT)
		return killed && actor[PARENT].switches >= parent_from + p->stall_at;
	return actor[p->stall].switches >= p->stall_at;
}

static const char *run_plan(const struct plan *p)
{
	int killed = 0, released = 0, parent_killed = 0;
	uint64_t parent_from = 0, release_at = 0, rest = 0;

	begin(p->actors, 5, 125, p->only_class);
	for (unsigned which = 0; now < 40000 && !w.led->wrong; which = (which + 1) % actors) {
		struct actor *a = &actor[which];

		for (unsigned k = 0; k < p->burst && a->state == RUNNING; k++) {
			if (which == p->stall && !released && stalls(p, killed, parent_from))
				break;
			resume(which);
			if (which == p->kill && !killed && a->switches == p->kill_at && a->state == RUNNING) {
				killed = 1;
				parent_from = actor[PARENT].switches;
				kill_actor(which, 300);
			}
			if (p->parent_kill_at && killed && !parent_killed && which == PARENT &&
			    a->switches == parent_from + p->parent_kill_at) {
				parent_killed = 1;
				kill_actor(PARENT, 0);
			}
		}
		now++;
		int holds = !released && stalls(p, killed, parent_from);

		if (holds && release_at == 0)
			release_at = now + 800;
		if (holds && (now > release_at || (p->wake_after_recovery && killed && all_dead_decided()))) {
			released = 1;
			which = (p->stall + actors - 1) % actors;
		}
		rest = !holds && quiet() ? rest + 1 : 0;
		if (rest > 3)
			return judge(1);
	}
	return judge(quiet() && !w.led->wrong);
}

static uint64_t run_all_pairs(uint64_t kill_points, uint64_t stall_points, uint64_t parent_points, char *first)
{
	static const unsigned who[][2] = { { WORKER, WORKER_2 }, { WORKER, SUBMITTER }, { SUBMITTER, WORKER },
					   { WORKER, SYNCER }, { SYNCER, WORKER }, { SUBMITTER, SYNCER },
					   { WORKER, PARENT }, { SYNCER, PARENT }, { SUBMITTER, PARENT },
					   { SUBMITTER, SUBMITTER_2 } };
	static const unsigned bursts[] = { 1, 3, 40 };
	/* With the recovery killed as well, one pair and one burst are what a short run has time for. */
	int few = parent_points && !all_triples;
	unsigned pairs = few ? 1 : (unsigned)QB_ARRAY_COUNT(who);
	uint64_t bad = 0;
	struct plan p = { 0 };

	for (unsigned pair = 0; pair < pairs; pair++)
	for (unsigned b = few ? 2 : 0; b < QB_ARRAY_COUNT(bursts); b++)
	for (p.wake_after_recovery = 0; p.wake_after_recovery < 2; p.wake_after_recovery++)
	for (p.kill_at = 1; p.kill_at <= kill_points; p.kill_at++)
	for (p.stall_at = 1; p.stall_at <= stall_points; p.stall_at++)
	for (p.parent_kill_at = parent_points != 0; p.parent_kill_at <= parent_points; p.parent_kill_at++) {
		p.kill = who[pair][0];
		p.stall = who[pair][1];
		p.burst = bursts[b];
		/* A second submitter only where it matters: each actor makes every schedule longer. */
		p.actors = p.kill == SUBMITTER ? 6 : 5;
		p.only_class = 1 + p.kill_at % 3;
		const char *why = run_plan(&p);

		if (time_is_up())
			return bad;
		if (!why)
			continue;
		if (!bad++)
			snprintf(first, 400,
				 "kill actor %u at %llu, stall %u at %llu, kill recovery at %llu, burst %u, wake %d: %s",
				 p.kill, (unsigned long long)p.kill_at, p.stall, (unsigned long long)p.stall_at,
				 (unsigned long long)p.parent_kill_at, p.burst, p.wake_after_recovery, why);
		if (first_only)
			return bad;
	}
	return bad;
}

static void report(const char *what, const char *key, uint64_t began_ns, uint64_t bad, const char *first)
{
	tap_ok(bad == 0, "%s: %llu schedules, %llu bad", what, (unsigned long long)total.schedules,
	       (unsigned long long)bad);
	if (bad) {
		tap_note("first: %s", first);
		tap_blame(first);
	}
	tap_figures("schedules=%llu %s=%llu schedule_kills=%llu", (unsigned long long)total.schedules, key,
		    (unsigned long long)total.schedules, (unsigned long long)(total.kills + total.parent_kills));
	tap_lost = tap_silent = tap_wrong = 0;
	tap_note("%.1f M switches, %llu kills, %llu of the recovery, %llu seats recovered, %llu ambiguous; %.1f s",
		 (double)total.switches / 1e6, (unsigned long long)total.kills, (unsigned long long)total.parent_kills,
		 (unsigned long long)w.recovered_seats, (unsigned long long)w.oracle.ambiguous,
		 (double)(qb_mono_ns() - began_ns) / 1e9);
	memset(&total, 0, sizeof(total));
	w.oracle.ambiguous = w.recovered_seats = 0;
}

static void test_random(uint64_t seeds, uint64_t first_seed)
{
	uint64_t began = qb_mono_ns(), bad = 0;
	char first[400] = "";

	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		const char *why = run_random(seed);

		if (why && !bad++)
			snprintf(first, sizeof(first), "seed %llu: %s (again: schedules random 1 %llu)",
				 (unsigned long long)seed, why, (unsigned long long)seed);
		if ((bad && first_only) || time_is_up())
			break;
	}
	report("random kills and stalls", "random_schedules", began, bad, first);
}

static void test_pairs(const char *what, uint64_t kill_points, uint64_t stall_points, uint64_t parent_points)
{
	uint64_t began = qb_mono_ns();
	char first[400] = "";

	uint64_t bad = run_all_pairs(kill_points, stall_points, parent_points, first);

	report(what, parent_points ? "triple_schedules" : "pair_schedules", began, bad, first);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "all";
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 0) : 0, m = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
	uint64_t factor = tap_factor(), part_ns = tap_minutes() * 60000000000ull / 3, began = qb_mono_ns();
	struct qb_config_shm cfg;

	if (UNDER_TSAN)
		tap_skip_all("ThreadSanitizer does not follow coroutines");
	uint64_t points = UNDER_ASAN ? 12 : factor > 1 ? 120 : 40, triples = UNDER_ASAN ? 6 : 24;

	first_only = getenv("QB_CRASH_FIRST") != NULL;
	all_triples = factor > 1;
	world_config(&cfg);
	world_create(&w, &cfg, LEDGER_JOBS);
	w.idle = qb_sched_point;
	fresh = malloc(w.seg.bytes);
	if (!fresh)
		abort();
	memcpy(fresh, w.seg.base, w.seg.bytes);
	/* A third of the time each; what is left over goes to the next. */
	until_ns = part_ns ? began + part_ns : 0;
	if (strcmp(mode, "random") == 0 || strcmp(mode, "all") == 0)
		test_random(n ? n : (UNDER_ASAN ? 2000 : 40000) * factor, m ? m : 1);
	until_ns = part_ns ? began + 2 * part_ns : 0;
	if (strcmp(mode, "pairs") == 0 || strcmp(mode, "all") == 0)
		test_pairs("every kill point x every stall point", n ? n : points, m ? m : n ? n : points, 0);
	until_ns = part_ns ? began + 3 * part_ns : 0;
	if (strcmp(mode, "triples") == 0 || strcmp(mode, "all") == 0)
		test_pairs("the recovery killed as well", n ? n : triples, n ? n : triples, m ? m : 60);
	return tap_done();
}
