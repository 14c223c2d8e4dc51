/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every fault point of shm/, for real: a child does a bit of everything and is killed at the nth
 * hit of one point; then the verdict over what it left.  And for pairs: its recovery is killed too,
 * at each point that recovery passes.
 *
 * A point that no scenario reaches is a failure: it would be a point that nobody tests.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/block.h"
#include "shm/fault.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/seat.h"
#include "tests/crash/tap.h"
#include "tests/crash/world.h"

#ifndef QB_FAULT_POINTS
#error "this program is compiled with -DQB_FAULT_POINTS, and so are its copies of shm/"
#endif

#define LEDGER_JOBS 64
#define HITS 3

static struct world w;
static uint8_t *image;
static struct ledger *ledger_image;
static size_t ledger_bytes;
static uint32_t dead_seat;

/* A seat whose process died earlier, with something in each state. */
static void leave_a_dead_seat(void)
{
	uint32_t seat = world_sit(&w, QB_ROLE_WORKER, 99), first;
	struct qb_held held;

	dead_seat = seat;
	for (uint64_t id = 1; id <= 8; id++)
		world_submit(&w, seat, id);
	for (int k = 0; k < 6; k++) {
		if (qb_job_claim(&w.seg, seat, &held) != QB_OK)
			abort();
		if (k < 2)
			continue;
		qb_job_start(&w.seg, &held);
		if (k == 5)
			world_effect(&w, seat, w.seg.jobs[held.slot_idx].job_id, 1);
	}
	w.seg.jobs[40].word.v = qb_word(7, 0, seat, 0, QB_JOB_FILLING);
	qb_raise32(&w.seg.hdr->high_water, 41);
	qb_block_store(&w.seg, 40, 7, "leaked", 6, &first);
	world_leave_asking(&w, seat, 60, 7);
	w.led->last_id = 60;
}

static void prepare_images(void)
{
	struct qb_config_shm cfg;

	world_config(&cfg);
	world_create(&w, &cfg, LEDGER_JOBS);
	world_advance(&w, 2 * cfg.ring_count - 5, cfg.arena_bytes - 200, cfg.event_count - 9);
	leave_a_dead_seat();
	ledger_bytes = sizeof(struct ledger) + LEDGER_JOBS * sizeof(struct ledger_job);
	image = malloc(w.seg.bytes);
	ledger_image = malloc(ledger_bytes);
	if (!image || !ledger_image)
		abort();
	memcpy(image, w.seg.base, w.seg.bytes);
	memcpy(ledger_image, w.led, ledger_bytes);
}

static void reset(void)
{
	memcpy(w.seg.base, image, w.seg.bytes);
	memcpy(w.led, ledger_image, ledger_bytes);
}

/* Some of everything, and three rounds of it, so that later hits of a point meet another situation. */
static void scenario(void)
{
	uint32_t driver = world_sit(&w, QB_ROLE_DRIVER, 1), worker = world_sit(&w, QB_ROLE_WORKER, 2);
	uint32_t syncer = world_sit(&w, QB_ROLE_SYNCER, 3), spare = world_sit(&w, QB_ROLE_STANDBY, 4);
	struct qb_event_writer log;
	uint64_t id = 9;

	qb_event_open(&log, &w.seg, worker, QB_OVERFLOW_DROP);
	world_syncer_open(&w, syncer);
	for (int round = 0; round < 3; round++) {
		for (int k = 0; k < 6; k++)
			world_submit(&w, driver, id++);
		/* The first has somebody else's admission to finish, and then finds its own key taken. */
		for (uint64_t key = 7; key <= 27; key += 10)
			world_submit_key(&w, driver, id++, key);
		/* One more than a bucket has room for. */
		for (uint64_t k = 0; round == 0 && k < 16; k++)
			world_submit_key(&w, driver, 40 + k, 102 + 10 * k);
		for (int k = 0; k < 5; k++)
			world_work(&w, worker, &log);
		if (round == 0)
			world_recover(&w, dead_seat);
		world_sync(&w);
		qb_job_rescan(&w.seg);
		qb_job_promote_due(&w.seg, WORLD_DUE_NEVER);
		while (world_work(&w, worker, &log))
			;
		world_sync(&w);
	}
	qb_seat_free(&w.seg, spare);
	qb_seat_free(&w.seg, syncer);
}

/* 1 killed at the point, 0 came to its end without the nth hit, -1 something else happened. */
static int killed_at(const char *point, unsigned nth, void (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		qb_fault_arm(point, nth, QB_FAULT_KILL);
		what();
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return 1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void take_over(void)
{
	world_take_over(&w);
}

/* Killed at the 1st, 2nd, 3rd hit; returns how many hits there were. */
static unsigned single(const char *point)
{
	unsigned hits = 0;

	for (unsigned nth = 1; nth <= HITS; nth++) {
		reset();
		int rc = killed_at(point, nth, scenario);

		if (rc < 0 || world_verdict(&w) < 0) {
			tap_ok(0, "%s, hit %u: %s", point, nth, rc < 0 ? "the child failed by itself" : w.oracle.why);
			return HITS + 1;
		}
		hits += (unsigned)rc;
	}
	return hits;
}

/* Killed at `point`, and the recovery of that killed at each point that it passes. */
static int nested(const char *point, unsigned *kills)
{
	const char *inner;

	for (unsigned i = 0; (inner = qb_fault_name(i)) != NULL; i++) {
		for (unsigned nth = 1; nth <= 2; nth++) {
			reset();
			killed_at(point, 1, scenario);
			int rc = killed_at(inner, nth, take_over);

			if (rc == 0)
				break;
			++*kills;
			if (rc < 0 || world_verdict(&w) < 0) {
				tap_ok(0, "%s, then its recovery at %s, hit %u: %s", point, inner, nth,
				       rc < 0 ? "the child failed by itself" : w.oracle.why);
				return -1;
			}
		}
	}
	return 0;
}

int main(void)
{
	const char *point;
	unsigned kills = 0, inner_kills = 0, before;
	int failed = 0;

	prepare_images();
	for (unsigned i = 0; (point = qb_fault_name(i)) != NULL; i++) {
		unsigned hits = single(point);

		if (hits > HITS)
			continue;
		kills += hits;
		tap_ok(hits > 0, "%s: killed %u times, every job accounted for", point, hits);
	}
	for (unsigned i = 0; (point = qb_fault_name(i)) != NULL; i++) {
		before = inner_kills;
		if (nested(point, &inner_kills) < 0)
			failed++;
		else if (inner_kills == before)
			tap_note("%s: leaves nothing to recover", point);
	}
	tap_ok(!failed, "recovery killed %u times after a kill gives the same answer", inner_kills);
	tap_note("%u + %u real kills, %llu verdicts, %llu jobs ambiguous, %llu of them without effect", kills, inner_kills,
		 (unsigned long long)w.oracle.images, (unsigned long long)w.oracle.ambiguous,
		 (unsigned long long)w.oracle.ambiguous_without_effect);
	tap_wrong = (unsigned)tap_failed;
	tap_figures("point_kills=%u double_point_kills=%u", kills, inner_kills);
	return tap_done();
}
