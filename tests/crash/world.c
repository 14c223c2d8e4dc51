/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/hint.h"
#include "shm/job.h"
#include "shm/join.h"
#include "shm/key.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

/* The oracle has written these down by itself: it must not drift from what it judges. */
QB_ASSERT_OFF(qb_header_shm, section, ORACLE_HEADER_SECTIONS);
QB_ASSERT_OFF(qb_header_shm, high_water, ORACLE_HIGH_WATER);
QB_ASSERT_OFF(qb_header_shm, next_due_ns, 1408);
QB_ASSERT_SIZE(qb_job_shm, ORACLE_JOB_BYTES);
QB_ASSERT_SIZE(qb_block_shm, ORACLE_BLOCK_HEAD);
QB_ASSERT_SIZE(qb_arena_entry_shm, ORACLE_ENTRY_HEAD);
QB_ASSERT_SIZE(qb_event_ring_shm, ORACLE_EVENT_RING_HEAD);
QB_ASSERT_OFF(qb_job_shm, result_bytes, 68);
QB_ASSERT_OFF(qb_job_shm, payload_crc, 60);
QB_ASSERT_OFF(qb_job_shm, key_hi, 88);
QB_ASSERT_OFF(qb_key_bucket_shm, cell, 8);
QB_ASSERT_OFF(qb_event_shm, arg1, 40);
_Static_assert((int)PLAN_OPAQUE == (int)QB_EFFECT_OPAQUE && (int)PLAN_IDEMPOTENT == (int)QB_EFFECT_IDEMPOTENT &&
	       (int)PLAN_TRANSACTIONAL == (int)QB_EFFECT_TRANSACTIONAL, "classes");

#define WRONG(w, id) ledger_wrong((w)->led, __LINE__, (id))

void world_config(struct qb_config_shm *cfg)
{
	qb_test_config(cfg);
	cfg->seat_count = WORLD_SEATS;
	cfg->max_claims = 20;
	cfg->readers = 1u << QB_READER_SYNC;
	cfg->effect_count = 64;
}

void world_create(struct world *w, const struct qb_config_shm *cfg, uint64_t ledger_jobs)
{
	size_t bytes = sizeof(struct ledger) + ledger_jobs * sizeof(struct ledger_job);

	memset(w, 0, sizeof(*w));
	qb_test_create(&w->seg, cfg);
	w->led = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->led == MAP_FAILED || qb_recovery_open(&w->rec, &w->seg) < 0)
		abort();
	w->led->job_count = ledger_jobs;
	w->oracle.base = w->seg.base;
	w->oracle.led = w->led;
	w->oracle.max_claims = cfg->max_claims;
}

void world_destroy(struct world *w)
{
	munmap(w->led, sizeof(struct ledger) + w->led->job_count * sizeof(struct ledger_job));
	world_syncer_close(w);
	qb_recovery_close(&w->rec);
	qb_seg_detach(&w->seg);
}

void world_advance(struct world *w, uint64_t ring_pos, uint64_t arena_pos, uint64_t event_pos)
{
	qb_test_ring_at(&w->seg, QB_RING_NORMAL, ring_pos);
	qb_test_ring_at(&w->seg, QB_RING_URGENT, ring_pos);
	for (uint32_t seat = 1; seat < w->seg.cfg.seat_count; seat++) {
		struct qb_event_ring_shm *ring = qb_seg_event_ring(&w->seg, seat);
		struct qb_arena_shm *arena = qb_seg_arena(&w->seg, seat);

		arena->head.v = arena->tail.v = arena_pos;
		ring->tail.v = event_pos;
		for (unsigned r = 0; r < QB_READER_COUNT; r++)
			ring->reader[r].next.v = event_pos;
	}
}

void world_rebase(const struct world *from, uint8_t *base, struct ledger *led, struct world *to)
{
	struct qb_recovery rec = to->rec;
	struct oracle counts = to->oracle;
	struct qb_batch batch = to->batch;

	*to = *from;
	to->batch = batch;
	qb_test_rebase(&from->seg, base, &to->seg);
	to->led = led;
	to->rec = rec;
	to->rec.seg = &to->seg;
	to->oracle = counts;
	to->oracle.base = base;
	to->oracle.led = led;
	to->oracle.max_claims = from->oracle.max_claims;
}

uint32_t world_sit(struct world *w, uint32_t role, uint32_t pid)
{
	int seat = qb_seat_take(&w->seg, role);

	if (seat < 0)
		return 0;
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&w->seg.seats[seat].word));

	/* Beyond what the kernel gives out: a take-over that looks for them finds nobody. */
	if (qb_seat_sit(&w->seg, (uint32_t)seat, incarnation, 0x7f000000 + pid, 1) < 0) {
		WRONG(w, 0);
		return 0;
	}
	return (uint32_t)seat;
}

static struct qb_submit planned(struct world *w, uint64_t id, uint8_t payload[PLAN_PAYLOAD_MAX])
{
	struct qb_submit what = {
		.job_id = id,
		.max_attempts = PLAN_MAX_ATTEMPTS,
		.effect_class = (uint16_t)plan_class(w->led, id),
		.payload = payload,
		.payload_bytes = plan_payload_bytes(id),
	};

	for (uint32_t i = 0; i < what.payload_bytes; i++)
		payload[i] = plan_payload_byte(id, i);
	ledger_set(&w->led->job[id].submitted, 1);
	return what;
}

int world_submit_key(struct world *w, uint32_t seat, uint64_t id, uint64_t key)
{
	uint8_t payload[PLAN_PAYLOAD_MAX];
	struct qb_submit what = planned(w, id, payload);
	struct qb_key_holder holder;
	struct qb_held ref;

	what.key = world_key(key);
	int rc = qb_job_submit_unique(&w->seg, seat, &what, &ref, &holder);

	if (rc < 0)
		WRONG(w, id);
	if (rc == QB_OK)
		ledger_set(&w->led->job[id].accepted, 1);
	/* And looks once whether it has ended: from there on whoever ends it has somebody to wake. */
	if (rc == QB_OK)
		qb_join_wait(&w->seg, ref.slot_idx, qb_word_gen(ref.word), 0);
	return rc;
}

void world_leave_asking(struct world *w, uint32_t seat, uint64_t id, uint64_t key)
{
	uint8_t payload[PLAN_PAYLOAD_MAX];
	struct qb_submit what = planned(w, id, payload);
	struct qb_held ref;

	what.key = world_key(key);
	qb_test_asking(&w->seg, seat, &what, 1, &ref);
}

int world_submit(struct world *w, uint32_t seat, uint64_t id)
{
	struct ledger_job *l = &w->led->job[id];
	uint8_t payload[PLAN_PAYLOAD_MAX];
	struct qb_submit what = planned(w, id, payload);
	struct qb_held ref;
	int rc = qb_job_submit(&w->seg, seat, &what, &ref);

	if (rc < 0)
		WRONG(w, id);
	if (rc == QB_OK)
		ledger_set(&l->accepted, 1);
	return rc;
}

static void note(struct qb_event_writer *log, uint16_t type, uint64_t id, uint64_t token)
{
	struct qb_event_shm *e = qb_event_begin(log);

	if (!e)
		return;
	QB_WORLD_POINT();
	e->job_id = id;
	e->token = token;
	e->arg0 = token;
	e->arg1 = plan_event_mark(id, token);
	e->slot_idx = 0;
	e->tenant = 0;
	e->type = type;
	e->kind = e->error_class = 0;
	e->attempt = (uint16_t)qb_word_attempt(token);
	QB_WORLD_POINT();
	qb_event_commit(log, e);
}

static void check_payload(struct world *w, uint32_t slot_idx, uint64_t id, uint64_t word)
{
	uint8_t payload[PLAN_PAYLOAD_MAX];
	int n = qb_job_payload(&w->seg, slot_idx, qb_word_gen(word), payload, sizeof(payload));

	if (n != (int)plan_payload_bytes(id)) {
		WRONG(w, id);
		return;
	}
	for (uint32_t i = 0; i < (uint32_t)n; i++)
		if (payload[i] != plan_payload_byte(id, i)) {
			WRONG(w, id);
			return;
		}
}

/* Effect and done-mark in one transaction: sent, executed, answered. */
static void transact(struct world *w, uint32_t seat, uint64_t id, uint32_t attempt)
{
	uint64_t mine = id << 8 | attempt;

	/* What somebody who died here had sent. */
	world_land(w, seat);
	__atomic_store_n(&w->led->tx_sent[seat], mine, __ATOMIC_RELEASE);
	QB_WORLD_POINT();
	/* Nobody is taken for dead who is not, so nobody meets a fence. */
	if (!ledger_tx_commit(&w->led->job[id], attempt))
		WRONG(w, id);
	QB_WORLD_POINT();
	__atomic_compare_exchange_n(&w->led->tx_sent[seat], &mine, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

void world_effect(struct world *w, uint32_t seat, uint64_t id, uint32_t attempt)
{
	struct ledger_job *l = &w->led->job[id];
	uint32_t mask = 1u << attempt;

	QB_WORLD_POINT();
	if (plan_class(w->led, id) == PLAN_TRANSACTIONAL)
		transact(w, seat, id, attempt);
	else if (__atomic_fetch_or(&l->effect_mask, mask, __ATOMIC_RELAXED) & mask)
		ledger_or(&l->twice_mask, mask);
	QB_WORLD_POINT();
}

static int complete(struct world *w, uint32_t seat, uint64_t id, struct qb_held *held)
{
	uint32_t attempt = qb_word_attempt(held->word), bytes = plan_result_bytes(id, attempt);
	uint8_t result[PLAN_RESULT_MAX];

	for (uint32_t i = 0; i < bytes; i++)
		result[i] = plan_result_byte(id, attempt, i);
	for (unsigned tries = 0; tries < 1u << 20; tries++) {
		int rc = qb_job_complete(&w->seg, seat, held, result, bytes);

		if (rc != QB_FULL)
			return rc;
		/* Older results wait for the syncer. */
		if (!w->idle)
			break;
		w->idle();
	}
	return QB_ETIMEOUT;
}

int world_work(struct world *w, uint32_t seat, struct qb_event_writer *log)
{
	struct qb_held held;

	if (qb_job_claim(&w->seg, seat, &held) != QB_OK)
		return 0;
	uint64_t id = w->seg.jobs[held.slot_idx].job_id;
	uint32_t attempt = qb_word_attempt(held.word), failures = qb_word_failures(held.word);

	if (id == 0 || id >= w->led->job_count || attempt > 31) {
		WRONG(w, id);
		return 1;
	}
	struct ledger_job *l = &w->led->job[id];

	if (plan_releases(id, attempt)) {
		if (qb_job_release(&w->seg, &held) < 0)
			WRONG(w, id);
		return 1;
	}
	check_payload(w, held.slot_idx, id, held.word);
	/* Nobody is taken for dead who is not, so nobody may be fenced. */
	if (qb_job_start(&w->seg, &held) < 0) {
		WRONG(w, id);
		return 1;
	}
	note(log, QB_EV_JOB_STARTED, id, held.word);
	if (w->work)
		w->work(id);
	int fails = failures < plan_failures(id) || plan_is_permanent(id);

	/* A transaction that fails is rolled back, everything else has happened. */
	if (!fails || plan_class(w->led, id) != PLAN_TRANSACTIONAL)
		world_effect(w, seat, id, attempt);
	if (fails) {
		int final = 0;
		uint64_t due_ns = id % 2 ? 0 : WORLD_DUE_NEVER;

		if (qb_job_fail(&w->seg, seat, &held, plan_is_permanent(id), due_ns, &final) < 0)
			WRONG(w, id);
		else
			ledger_or(&l->failed_mask, 1u << attempt);
		note(log, QB_EV_JOB_FAILED, id, held.word);
		return 1;
	}
	if (complete(w, seat, id, &held) < 0)
		WRONG(w, id);
	else
		ledger_or(&l->completed_mask, 1u << attempt);
	note(log, QB_EV_JOB_COMPLETED, id, held.word);
	return 1;
}

/* ---- recovery ---- */

static void on_verdict(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	struct world *w = ctx;
	uint64_t id = w->seg.jobs[slot_idx].job_id;
	uint32_t mask = 1u << (qb_word_attempt(before) & 31);

	if (verdict == QB_VERDICT_NEVER_ACCEPTED || verdict == QB_VERDICT_FINISHED)
		return;
	if (id == 0 || id >= w->led->job_count) {
		WRONG(w, id);
		return;
	}
	/* The engine's own word for it, not what we know: the judge compares the two. */
	if (verdict == QB_VERDICT_NEVER_STARTED ||
	    (verdict == QB_VERDICT_GIVEN_UP && qb_word_state(before) == QB_JOB_CLAIMED))
		ledger_or(&w->led->job[id].never_mask, mask);
	else
		ledger_or(&w->led->job[id].ambiguous_mask, mask);
}

int world_recover(struct world *w, uint32_t seat)
{
	int rc = qb_recover_seat(&w->rec, seat, on_verdict, w);

	if (w->rec.ring_full)
		WRONG(w, seat);
	w->recovered_seats += rc == 0;
	return rc;
}

void world_take_over(struct world *w)
{
	for (uint32_t seat = 1; seat < w->seg.cfg.seat_count; seat++)
		if (qb_seat_state_of(qb_load_acquire64(&w->seg.seats[seat].word)) != QB_SEAT_FREE)
			world_recover(w, seat);
}

static int survive(struct world *w)
{
	struct qb_event_writer log;
	uint32_t worker = world_sit(w, QB_ROLE_WORKER, 1), syncer = world_sit(w, QB_ROLE_SYNCER, 1);
	unsigned idle = 0;

	if (worker == 0 || syncer == 0) {
		snprintf(w->oracle.why, sizeof(w->oracle.why), "no seat is free after everybody was recovered");
		return -1;
	}
	qb_event_open(&log, &w->seg, worker, QB_OVERFLOW_DROP);
	world_syncer_open(w, syncer);
	qb_job_rescan(&w->seg);
	for (unsigned round = 0; round < 4000; round++) {
		int worked = world_work(w, worker, &log);
		unsigned news = world_sync(w) + qb_job_promote_due(&w->seg, WORLD_DUE_NEVER);

		idle = worked || news ? 0 : idle + 1;
		if (idle == 2)
			return 0;
	}
	snprintf(w->oracle.why, sizeof(w->oracle.why), "survivors do not come to an end");
	return -1;
}

/* The engine's own report of what it decided: its events, read from what the dead have left. */
static void hear(struct world *w)
{
	for (uint32_t seat = 1; seat < w->seg.cfg.seat_count; seat++) {
		struct qb_event_source s;
		const struct qb_event_shm *e;
		uint32_t n;

		qb_event_source_open(&s, &w->seg, seat, QB_READER_COUNT);
		for (; (n = qb_event_peek(&s, &e, 1)) > 0; qb_event_consumed(&s, n)) {
			if (e->job_id == 0 || e->job_id >= w->led->job_count)
				continue;
			struct ledger_job *l = &w->led->job[e->job_id];

			if (e->type == QB_EV_JOB_AMBIGUOUS)
				ledger_or(&l->ambiguous_mask, 1u << (e->attempt & 31));
			else if (e->type == QB_EV_JOB_REQUEUED && !(ledger_get(&l->ambiguous_mask) >> (e->attempt & 31) & 1))
				ledger_or(&l->never_mask, 1u << (e->attempt & 31));
		}
	}
}

int world_verdict(struct world *w)
{
	w->oracle.live_seats = 0;
	if (w->led->engine_events)
		hear(w);
	world_take_over(w);
	if (oracle_check(&w->oracle) < 0 || survive(w) < 0)
		return -1;
	world_take_over(w);
	return oracle_final(&w->oracle);
}
