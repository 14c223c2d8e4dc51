/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every instruction is a kill point.  A child runs a scenario under PTRACE_SINGLESTEP; whenever
 * an instruction has changed the shared memory, segment and ledger are copied and the verdict is
 * passed over the copy: exactly what a SIGKILL at that instruction would leave, because a killed
 * process leaves a prefix of its program order.  A sample of the points is really killed.  And for
 * a sample of the images the recovery itself is stepped and judged at each of its instructions.
 *
 * Steps the objects that are shipped: nothing is compiled in for the test.
 *
 *   steps [walk]         walk: image copies only, no real kills and no recoveries stepped
 * QB_CRASH_FACTOR=n makes the samples n times as dense, up to 100; QB_CRASH_MINUTES=n ends the stepping of recoveries
 * when that time is over, each scenario having its share.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/clock.h"
#include "tests/crash/scenarios.h"
#include "tests/crash/tap.h"
#include "tests/crash/world.h"

#define KILLS_PER_SCENARIO 40
#define NESTED_PER_SCENARIO (UNDER_ASAN ? 1 : 4)

static struct world copy;
static uint8_t *fresh, *before;         /* segment and ledger, one behind the other */
static size_t seg_bytes, ledger_bytes;
static unsigned factor = 1;
static int walk_only;
static uint64_t scenario_until_ns;      /* no more recoveries are stepped; 0 = all that were kept */

struct totals { uint64_t steps, images, kills, nested_steps, nested_images; };

static struct totals all;

/* ---- images ---- */
static void save(uint8_t *to)
{
	memcpy(to, live.seg.base, seg_bytes);
	memcpy(to + seg_bytes, live.led, ledger_bytes);
}

static void restore(const uint8_t *from)
{
	memcpy(live.seg.base, from, seg_bytes);
	memcpy(live.led, from + seg_bytes, ledger_bytes);
	live.led->running = live.led->done = 0;
}

static int changed(void)
{
	if (memcmp(before, live.seg.base, seg_bytes) == 0 && memcmp(before + seg_bytes, live.led, ledger_bytes) == 0)
		return 0;
	save(before);
	return 1;
}

/* The verdict over a copy of the present image; the live one is left alone. */
static int judge_copy(void)
{
	memcpy(copy.seg.base, live.seg.base, seg_bytes);
	memcpy(copy.led, live.led, ledger_bytes);
	return world_verdict(&copy);
}

/* ---- stepping ---- */
static pid_t spawn(void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(77);
		raise(SIGSTOP);
		ledger_set(&live.led->running, 1);
		run();
		ledger_set(&live.led->done, 1);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return -1;
	ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK));
	return pid;
}

/* 1 after one instruction, 0 when it is gone. */
static int step(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
		return 0;
	while (waitpid(pid, &status, __WALL) < 0)
		if (errno != EINTR)
			return 0;
	return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static void kill_now(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, __WALL) > 0 && !WIFSIGNALED(status) && !WIFEXITED(status))
		;
}

static int to_start(pid_t pid)
{
	while (!ledger_get(&live.led->running))
		if (!step(pid))
			return 0;
	return 1;
}

/*
 * Step through `run`, judging each image.  keep(): called with the number of each image that has
 * changed something.  Steps made, or -1 after a violation or a child that failed.
 */
static int64_t walk(const char *what, void (*run)(void), void (*keep)(uint64_t at))
{
	pid_t pid = spawn(run);
	int64_t n = 0;

	if (pid < 0 || !to_start(pid)) {
		tap_ok(0, "%s: the child could not be stepped", what);
		return -1;
	}
	save(before);
	do {
		int news = n == 0 || changed();

		if (news && judge_copy() < 0) {
			kill_now(pid);
			tap_ok(0, "%s, killed at instruction %lld: %s", what, (long long)n, copy.oracle.why);
			return -1;
		}
		if (news && keep)
			keep((uint64_t)n);
		if (ledger_get(&live.led->done))
			break;
		n++;
	} while (step(pid));
	int finished = ledger_get(&live.led->done) != 0;

	kill_now(pid);
	if (!finished) {
		tap_ok(0, "%s: the child died by itself after %lld instructions", what, (long long)n);
		return -1;
	}
	return n;
}

#ifdef __x86_64__
/*
 * Make the stopped child fork: the copy goes on from here, the original can be killed.  So one pass
 * gives real deaths at as many of its instructions as wanted.  The copy, or -1.
 */
static pid_t split(pid_t pid)
{
	struct user_regs_struct regs, call;
	unsigned long copied = 0;
	int status;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) < 0)
		return -1;
	errno = 0;
	long text = ptrace(PTRACE_PEEKTEXT, pid, (void *)regs.rip, NULL);

	call = regs;
	call.rax = SYS_fork;
	/* 0f 05 is the system call instruction. */
	if (errno || ptrace(PTRACE_POKETEXT, pid, (void *)regs.rip, (void *)((text & ~0xffffl) | 0x050f)) < 0 ||
	    ptrace(PTRACE_SETREGS, pid, NULL, &call) < 0 || ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 ||
	    waitpid(pid, &status, __WALL) != pid || status >> 8 != (SIGTRAP | PTRACE_EVENT_FORK << 8) ||
	    ptrace(PTRACE_GETEVENTMSG, pid, NULL, &copied) < 0 ||
	    waitpid((pid_t)copied, &status, __WALL) != (pid_t)copied || !WIFSTOPPED(status))
		return -1;
	regs.orig_rax = (unsigned long long)-1;
	if (ptrace(PTRACE_POKETEXT, (pid_t)copied, (void *)regs.rip, (void *)text) < 0 ||
	    ptrace(PTRACE_SETREGS, (pid_t)copied, NULL, &regs) < 0)
		return -1;
	return (pid_t)copied;
}
#else
static pid_t split(pid_t pid)
{
	(void)pid;
	return -1;
}
#endif

/* The same points with a real death, kernel exit work included, and the verdict in place. */
static int kill_for_real(const struct scenario *s, const uint8_t *prepared, int64_t steps)
{
	int64_t samples = KILLS_PER_SCENARIO * (int64_t)factor, stride = steps / samples + 1, n = 0;
	uint8_t *here = malloc(seg_bytes + ledger_bytes);

	restore(prepared);
	pid_t pid = spawn(s->run);
	int alive = here && pid >= 0 && to_start(pid), bad = 0;

	for (; alive && !bad && !ledger_get(&live.led->done); n++) {
		if (n % stride == stride / 2) {
			pid_t copied = split(pid);

			save(here);
			kill_now(pid);
			all.kills++;
			bad = world_verdict(&live) < 0;
			memcpy(live.seg.base, here, seg_bytes);
			memcpy(live.led, here + seg_bytes, ledger_bytes);
					pid = copied;
			if (pid < 0)
				break;
		}
		alive = step(pid);
	}
	if (pid > 0)
		kill_now(pid);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	free(here);
	if (bad)
		tap_ok(0, "%s, really killed at instruction %lld: %s", s->name, (long long)n - 1, live.oracle.why);
	else if (!alive || pid < 0)
		bad = !tap_ok(0, "%s: the child was lost at instruction %lld", s->name, (long long)n);
	return bad ? -1 : 0;
}

static uint8_t *kept[NESTED_PER_SCENARIO * 100];
static unsigned kept_count;
static uint64_t keep_next, keep_stride;

static void keep_image(uint64_t at)
{
	if (at < keep_next || kept_count == NESTED_PER_SCENARIO * factor)
		return;
	keep_next = at + keep_stride;
	if (!kept[kept_count])
		kept[kept_count] = malloc(seg_bytes + ledger_bytes);
	save(kept[kept_count++]);
}

static int step_recoveries(const struct scenario *s)
{
	char what[128];

	for (unsigned k = 0; k < kept_count; k++) {
		/* Spread over the scenario even when time is short. */
		unsigned i = (unsigned)((uint64_t)k * 7919 % kept_count);

		if (scenario_until_ns && qb_mono_ns() > scenario_until_ns)
			break;
		snprintf(what, sizeof(what), "%s, recovery of image %u", s->name, i);
		restore(kept[i]);
		uint64_t images = copy.oracle.images;
		int64_t n = walk(what, scenario_take_over, NULL);

		if (n < 0)
			return -1;
		all.nested_steps += (uint64_t)n;
		all.nested_images += (copy.oracle.images - images) / 2;
	}
	return 0;
}

static void explore(const struct scenario *s)
{
	uint8_t *prepared = malloc(seg_bytes + ledger_bytes);

	if (!prepared)
		abort();
	restore(fresh);
	scenario_sit();
	s->prepare();
	save(prepared);
	/* Once to know its length, once more to keep images that are evenly spread. */
	uint64_t images = copy.oracle.images;
	int64_t n = walk(s->name, s->run, NULL);

	images = (copy.oracle.images - images) / 2;
	if (n < 0)
		goto out;
	all.steps += (uint64_t)n;
	all.images += images;
	if (!walk_only && kill_for_real(s, prepared, n) < 0)
		goto out;
	kept_count = 0;
	keep_next = 0;
	keep_stride = (uint64_t)n / (NESTED_PER_SCENARIO * factor) + 1;
	restore(prepared);
	if (!walk_only && (walk(s->name, s->run, keep_image) < 0 || step_recoveries(s) < 0))
		goto out;
	tap_ok(1, "%s: %lld instructions, %llu images", s->name, (long long)n, (unsigned long long)images);
out:
	free(prepared);
}

/* Tracer and tracee take turns: on one core each turn costs a third of what it costs on two. */
static void stay_on_this_core(void)
{
	cpu_set_t set;
	int core = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(core < 0 ? 0 : core, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void require_ptrace(void)
{
#ifndef __x86_64__
	tap_skip_all("single-stepping is tried on x86-64 only");
#endif
	if (UNDER_TSAN)
		tap_skip_all("ThreadSanitizer's instructions are not ours");
	pid_t pid = spawn(scenario_nothing);

	if (pid < 0)
		tap_skip_all("ptrace is forbidden here");
	int can = step(pid);

	kill_now(pid);
	if (!can)
		tap_skip_all("single-stepping does not work here");
}

int main(int argc, char **argv)
{
	struct qb_config_shm cfg;
	uint64_t began = qb_mono_ns();

	walk_only = argc > 1 && strcmp(argv[1], "walk") == 0;
	factor = tap_factor() < 100 ? tap_factor() : 100;
	world_config(&cfg);
	world_create(&live, &cfg, SCENARIO_JOBS);
	world_create(&copy, &cfg, SCENARIO_JOBS);
	seg_bytes = live.seg.bytes;
	ledger_bytes = sizeof(struct ledger) + SCENARIO_JOBS * sizeof(struct ledger_job);
	fresh = malloc(seg_bytes + ledger_bytes);
	before = malloc(seg_bytes + ledger_bytes);
	if (!fresh || !before)
		abort();
	/* Close to every end, so that each scenario crosses some. */
	world_advance(&live, 2 * cfg.ring_count - 3, 3 * cfg.arena_bytes - 104, cfg.event_count - 4);
	save(fresh);
	stay_on_this_core();
	/* Copies of a killed child become ours, to be reaped. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	require_ptrace();
	for (unsigned i = 0; i < scenarios_count; i++) {
		if (tap_minutes())
			scenario_until_ns = began + tap_minutes() * 60000000000ull / scenarios_count * (i + 1);
		explore(&scenarios[i]);
	}
	tap_note("%llu kill points (%llu distinct images), %llu real kills; recovery: %llu kill points (%llu images)",
		 (unsigned long long)all.steps, (unsigned long long)all.images, (unsigned long long)all.kills,
		 (unsigned long long)all.nested_steps, (unsigned long long)all.nested_images);
	tap_note("%.1f s, %llu jobs ambiguous, %llu of them without effect", (double)(qb_mono_ns() - began) / 1e9,
		 (unsigned long long)copy.oracle.ambiguous, (unsigned long long)copy.oracle.ambiguous_without_effect);
	tap_wrong = (unsigned)tap_failed;
	tap_figures("kill_points=%llu double_crashes=%llu images=%llu stepped_kills=%llu", (unsigned long long)all.steps,
		    (unsigned long long)all.nested_steps, (unsigned long long)(all.images + all.nested_images),
		    (unsigned long long)all.kills);
	return tap_done();
}
