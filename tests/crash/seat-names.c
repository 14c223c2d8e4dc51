/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sits there?  Every interleaving of a child whose parent died after the fork with the take-over of its seat
 * and with the next owner, over the real seat.c with a switch before each atomic access.
 *
 *   child      sits down as incarnation 1, as late as it likes
 *   successor  recovers the seat: what it finds on record it kills, then it frees the seat, takes it
 *              for incarnation 2, names the new child, which sits down as well
 * And of a driver that sits down by itself with a tool that judges it by its name: if it lives it is left alone.
 *
 * Right is: of the two children at most one thinks that it sits there and lives; the name that is found in
 * the end is that of the second one, with its own start time, and it was never anything else once it was there.
 * Each interleaving is a word of c (child) and s (successor); all of them are tried, depth first.
 */
#include <string.h>

#include "shm/clock.h"
#include "shm/seat.h"
#include "tests/crash/coroutine.h"
#include "tests/crash/tap.h"
#include "tests/lib/shm-fixture.h"

#define STACK_BYTES (32 * 1024)
#define STEPS_MAX 64u

enum { CHILD, SUCCESSOR, ACTORS };
enum { FIRST_PID = 111, FIRST_TICKS = 10, SECOND_PID = 222, SECOND_TICKS = 20 };

static struct coroutine co[ACTORS], scheduler;
static uint8_t stacks[ACTORS][STACK_BYTES] __attribute__((aligned(64)));
static int running = -1, ended[ACTORS];
static int child_sits, child_killed, second_sits, found_wrong;
static int parent_names;                /* the dead parent had put the child's name there itself, or was about to */
static int is_driver, left_alone;
static uint32_t seat;
static struct qb_seg seg;

void qb_sched_point(void)
{
	int me = running;

	if (me >= 0)
		coroutine_switch(&co[me], &scheduler);
}

static void child_main(void)
{
	child_sits = qb_seat_sit(&seg, seat, 1, FIRST_PID, FIRST_TICKS) == 0;
}

static void look(void)
{
	uint64_t ticks = 0;
	uint32_t pid = qb_seat_who(&seg, seat, &ticks);

	found_wrong |= pid != SECOND_PID || ticks != SECOND_TICKS;
}

static void successor_main(void)
{
	uint64_t ticks = 0;

	if (is_driver) {
		qb_seat_close(&seg, seat);
		if (qb_seat_who(&seg, seat, NULL) == FIRST_PID) {
			left_alone = 1;
			return;
		}
	}
	if (qb_seat_begin_recovery(&seg, seat) < 0)
		return;
	uint32_t pid = qb_seat_who(&seg, seat, &ticks);

	if (pid != 0) {
		/* Killed and confirmed: it makes no step any more. With another's start time it would be spared. */
		found_wrong |= pid != FIRST_PID || ticks != FIRST_TICKS;
		child_killed = ended[CHILD] = 1;
	}
	qb_seat_free(&seg, seat);
	if (qb_seat_take(&seg, QB_ROLE_WORKER) != (int)seat)
		return;
	qb_seat_name(&seg, seat, SECOND_PID, SECOND_TICKS);
	look();
	second_sits = qb_seat_sit(&seg, seat, 2, SECOND_PID, SECOND_TICKS) == 0;
	look();
}

static void entry(void)
{
	int me = running;

	if (me == CHILD)
		child_main();
	else
		successor_main();
	ended[me] = 1;
	for (;;)
		coroutine_switch(&co[me], &scheduler);
}

static void begin(void)
{
	struct qb_seat_shm *s = &seg.seats[seat];

	memset(s, 0, sizeof(*s));
	s->word.v = qb_seat_word(1, QB_ROLE_WORKER, QB_SEAT_TAKEN);
	if (parent_names) {
		s->birth.v = qb_seat_birth(1, FIRST_TICKS);
		s->name.v = parent_names == 2 ? qb_seat_name_of(1, FIRST_PID) : 0;
	}
	child_sits = child_killed = second_sits = found_wrong = left_alone = 0;
	for (int i = 0; i < ACTORS; i++) {
		ended[i] = 0;
		coroutine_make(&co[i], stacks[i], STACK_BYTES, entry);
	}
}

static void resume(int which)
{
	running = which;
	coroutine_switch(&scheduler, &co[which]);
	running = -1;
}

static const char *judge(void)
{
	uint64_t ticks = 0;

	if (left_alone)
		return child_sits ? NULL : "the driver was found and does not sit there";
	if (is_driver && child_killed)
		return "a living driver was taken for dead";
	if (!second_sits)
		return "the second child could not sit down";
	if (child_sits && !child_killed)
		return "two living children think that the seat is theirs";
	if (found_wrong)
		return "a name was found that is not the one of who sits there";
	if (qb_seat_who(&seg, seat, &ticks) != SECOND_PID || ticks != SECOND_TICKS)
		return "in the end the seat has another name than its owner's";
	return NULL;
}

/*
 * Runs the word in path[0..given), then the child first; notes what ran. Length, and at each position whether the
 * other one could have run as well.
 */
static unsigned run(char *path, unsigned given, uint8_t *choice)
{
	unsigned n = 0;

	begin();
	while (n < STEPS_MAX && (!ended[CHILD] || !ended[SUCCESSOR])) {
		int which = n < given ? path[n] == 's' : ended[CHILD];

		choice[n] = !ended[CHILD] && !ended[SUCCESSOR];
		path[n++] = which ? 's' : 'c';
		resume(which);
	}
	return n;
}

static void explore(const char *what)
{
	uint64_t schedules = 0, bad = 0, began_ns = qb_mono_ns();
	char path[STEPS_MAX + 1], first[STEPS_MAX + 100] = "";
	uint8_t choice[STEPS_MAX];
	unsigned given = 0;

	for (;;) {
		unsigned n = run(path, given, choice);
		const char *why = n < STEPS_MAX ? judge() : "it does not end";

		schedules++;
		if (why && !bad++)
			snprintf(first, sizeof(first), "%.*s: %s", (int)n, path, why);
		/* The next word: the last c that could have been an s. */
		while (n > 0 && !(choice[n - 1] && path[n - 1] == 'c'))
			n--;
		if (n == 0 || (bad && getenv("QB_CRASH_FIRST")))
			break;
		path[n - 1] = 's';
		given = n;
	}
	tap_ok(bad == 0, "%s: %llu interleavings, %llu bad", what, (unsigned long long)schedules, (unsigned long long)bad);
	if (bad)
		tap_note("first: %s", first);
	tap_note("%.1f s", (double)(qb_mono_ns() - began_ns) / 1e9);
	tap_wrong += (unsigned)bad;
	tap_figures("schedules=%llu interleavings=%llu", (unsigned long long)schedules, (unsigned long long)schedules);
	tap_wrong = 0;
}

int main(void)
{
	struct qb_config_shm cfg;

	if (UNDER_TSAN)
		tap_skip_all("ThreadSanitizer does not follow coroutines");
	qb_test_config(&cfg);
	qb_test_create(&seg, &cfg);
	seat = 1;
	explore("late child without a name");
	parent_names = 1;
	explore("late child whose parent died before it had named it");
	parent_names = 2;
	explore("late child whose parent had named it");
	parent_names = 0;
	is_driver = 1;
	explore("driver that is judged while it sits down");
	return tap_done();
}
