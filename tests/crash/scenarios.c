/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/scenarios.h"

#include <stdlib.h>

#include "run/process.h"
#include "run/takeover.h"
#include "shm/block.h"
#include "shm/clock.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/seat.h"
#include "shm/wait.h"

struct world live;
static uint32_t driver, worker, syncer;
static struct qb_event_writer log_;

void scenario_sit(void)
{
	driver = world_sit(&live, QB_ROLE_DRIVER, 1);
	worker = world_sit(&live, QB_ROLE_WORKER, 2);
	syncer = world_sit(&live, QB_ROLE_SYNCER, 3);
	world_syncer_open(&live, syncer);
	qb_event_open(&log_, &live.seg, worker, QB_OVERFLOW_DROP);
	live.led->last_id = SCENARIO_JOBS - 1;
}

static void submit_some(void)
{
	for (uint64_t id = 1; id <= 9; id++)
		world_submit(&live, driver, id);
}

static void submit_all_and_work(void)
{
	submit_some();
	while (world_work(&live, worker, &log_))
		;
}

static void use_up_the_blocks(void)
{
	uint32_t first;

	/* Jobs 20 and 23 fit, the next one does not. */
	live.seg.jobs[50].word.v = qb_word(0, 0, driver, 0, QB_JOB_FILLING);
	qb_raise32(&live.seg.hdr->high_water, 51);
	uint8_t filler[128 * 112] = { 0 };

	qb_block_store(&live.seg, 50, 0, filler, (live.seg.cfg.block_count - 5) * live.seg.block_data_bytes, &first);
}

static void leave_one_of_each(void)
{
	struct qb_held held;

	submit_some();
	for (int k = 0; k < 5; k++) {
		if (qb_job_claim(&live.seg, worker, &held) != QB_OK)
			abort();
		if (k >= 2)
			qb_job_start(&live.seg, &held);
		if (k == 3)
			world_effect(&live, worker, live.seg.jobs[held.slot_idx].job_id, 1);
	}
	world_work(&live, worker, &log_);
	use_up_the_blocks();
}

static void run_submit(void)
{
	static const uint64_t ids[] = { 3, 1, 8, 7 };

	for (size_t i = 0; i < QB_ARRAY_COUNT(ids); i++)
		world_submit(&live, driver, ids[i]);
}

static void run_submit_until_full(void)
{
	for (uint64_t id = 20; id < 27; id++)
		world_submit(&live, driver, id);
}

/* ---- keys: the first of three finds an admission whose owner is dead; one is refused in sight, one behind its back ---- */
static void leave_one_asking(void)
{
	world_submit_key(&live, driver, 1, 17);
	world_leave_asking(&live, world_sit(&live, QB_ROLE_TOOL, 8), 2, 7);
}

static void run_submit_keys(void)
{
	world_submit_key(&live, driver, 3, 7);
	world_submit_key(&live, driver, 4, 17);
	world_submit_key(&live, driver, 5, 27);
}

static void run_work(void)
{
	while (world_work(&live, worker, &log_))
		;
}

static void run_promote(void)
{
	qb_job_promote_due(&live.seg, WORLD_DUE_NEVER);
}

static void run_sync(void)
{
	world_sync(&live);
	qb_job_rescan(&live.seg);
}

void scenario_take_over(void)
{
	world_take_over(&live);
}

/* ---- doubts: a worker died in transactions, some of which have committed ---- */
static void leave_doubts(void)
{
	struct qb_held held;

	live.led->only_class = 3;
	submit_some();
	for (int k = 0; k < 6; k++) {
		if (qb_job_claim(&live.seg, worker, &held) != QB_OK || qb_job_start(&live.seg, &held) < 0)
			abort();
		if (k % 2)
			world_effect(&live, worker, live.seg.jobs[held.slot_idx].job_id, 1);
	}
	world_recover(&live, worker);
}

static void run_resolve(void)
{
	world_decide(&live);
	world_sync(&live);
	world_sync(&live);
}

/* ---- a new parent, as it is shipped: src/run/takeover.c and its events, which are the only report ---- */
static void leave_several_dead(void)
{
	uint32_t second = world_sit(&live, QB_ROLE_WORKER, 8), parent = world_sit(&live, QB_ROLE_PARENT, 9);
	struct qb_held held;

	leave_one_of_each();
	for (int k = 0; k < 2; k++)
		if (qb_job_claim(&live.seg, second, &held) != QB_OK || qb_job_start(&live.seg, &held) < 0)
			abort();
	qb_seat_take(&live.seg, QB_ROLE_WORKER);        /* its parent died before the fork */
	live.seg.hdr->parent_seat.v = parent;
	qb_seat_begin_recovery(&live.seg, second);
	live.led->engine_events = 1;
}

static void run_new_parent(void)
{
	uint32_t own = world_sit(&live, QB_ROLE_PARENT, 10);
	struct qb_event_writer log;
	struct qb_err err;

	qb_err_clear(&err);
	qb_event_open(&log, &live.seg, own, QB_OVERFLOW_DROP);
	if (qb_take_over(&live.rec, &log, own, &err) < 4)
		ledger_wrong(live.led, __LINE__, 0);
	qb_seat_free(&live.seg, own);
}

/* The one thing that takeover.o wants from process.o, which would bring the database with it. */
void qb_process_note(struct qb_event_writer *log, uint16_t type, uint32_t role, uint32_t seat, uint64_t arg0,
		     uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin(log);

	if (!e)
		return;
	e->job_id = e->token = 0;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = seat;
	e->tenant = 0;
	e->type = type;
	e->kind = (uint8_t)role;
	e->error_class = 0;
	e->attempt = 0;
	qb_event_commit(log, e);
}

static void run_life(void)
{
	for (uint64_t id = 10; id < 16; id++) {
		world_submit(&live, driver, id);
		world_work(&live, worker, &log_);
		world_sync(&live);
	}
}

static void run_seats(void)
{
	uint32_t standby = world_sit(&live, QB_ROLE_STANDBY, 7);

	qb_seat_set_role(&live.seg, standby, QB_ROLE_WORKER);
	qb_give_go(&live.seg, standby);
	qb_wait_go(&live.seg, standby, 1000);
	qb_park_prepare(&live.seg, standby, 1);
	world_submit(&live, driver, 1);
	qb_park_cancel(&live.seg, standby);
	qb_park_prepare(&live.seg, standby, 1);
	qb_park(&live.seg, standby, 1000);
	qb_seat_begin_recovery(&live.seg, standby);
	qb_seat_free(&live.seg, standby);
	qb_seg_clock_update(&live.seg);
}

void scenario_nothing(void)
{
}

const struct scenario scenarios[] = {
	{ "submit", scenario_nothing, run_submit },
	{ "submit until the blocks are full", use_up_the_blocks, run_submit_until_full },
	{ "submit with keys", leave_one_asking, run_submit_keys },
	{ "work: claim, release, start, complete, fail, promote", submit_some, run_work },
	{ "promote", submit_all_and_work, run_promote },
	{ "sync and free", submit_all_and_work, run_sync },
	{ "recovery", leave_one_of_each, scenario_take_over },
	{ "doubts resolved", leave_doubts, run_resolve },
	{ "take-over by a new parent", leave_several_dead, run_new_parent },
	{ "whole lives of jobs", scenario_nothing, run_life },
	{ "seats, parking, waking", scenario_nothing, run_seats },
};
const unsigned scenarios_count = QB_ARRAY_COUNT(scenarios);
