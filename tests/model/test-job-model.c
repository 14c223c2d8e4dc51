/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random operations on a segment and on a reference model that is obviously right: plain structs
 * and two plain lists, no laps, no compare-and-swap, no hint bits.  After each operation the two
 * must agree.  A kill is an operation that stops half-way, followed by the recovery of its seat.
 *
 * QB_MODEL_SEED=n runs that seed alone, QB_MODEL_SEEDS=n the seeds 1..n (default 400).
 */
#include <check.h>
#include <stdlib.h>

#include "shm/block.h"
#include "shm/check.h"
#include "shm/hint.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define STEPS 1500
#define SEATS 5u                /* seats 1..SEATS-1 work */
#define ENTRIES 4096

/* ---- the reference ---- */
struct model_job {
	uint64_t id;            /* 0: slot is free */
	uint32_t state, gen, attempt, seat, failures, max_attempts, effect_class, bytes;
	uint64_t due_ns;
};

static struct model_job jobs[64];
static struct { uint32_t slot[ENTRIES], gen[ENTRIES], head, tail; } list[QB_RING_COUNT];
static uint32_t gens[64];
static int recent[SEATS][QB_SEAT_RECENT];       /* slots that the seat took last; -1: none */

static void list_push(uint32_t which, uint32_t slot)
{
	if (list[which].tail == ENTRIES)
		ck_abort_msg("the model's list is too short");
	list[which].slot[list[which].tail] = slot;
	list[which].gen[list[which].tail++] = jobs[slot].gen;
}

/* The first entry that names a ready job; those before it are forgotten. -1: none. */
static int list_first(uint32_t which)
{
	for (; list[which].head < list[which].tail; list[which].head++) {
		uint32_t at = list[which].head, slot = list[which].slot[at];

		if (jobs[slot].state == QB_JOB_READY && jobs[slot].gen == list[which].gen[at])
			return (int)slot;
	}
	return -1;
}

static void model_promote(uint64_t now_ns)
{
	for (uint32_t i = 0; i < 64; i++) {
		if (jobs[i].state != QB_JOB_WAITING || jobs[i].due_ns > now_ns)
			continue;
		jobs[i].state = QB_JOB_READY;
		jobs[i].seat = 0;
		list_push(QB_RING_URGENT, i);
	}
}

static void model_end(uint32_t slot)
{
	gens[slot]++;
	memset(&jobs[slot], 0, sizeof(jobs[slot]));
}

static void took(uint32_t seat, uint32_t slot)
{
	recent[seat][slot % QB_SEAT_RECENT] = (int)slot;
}

static void model_decide(uint32_t i, uint32_t seat)
{
	struct model_job *j = &jobs[i];
	int started = j->state == QB_JOB_STARTED;

	if (j->seat != seat)
		return;
	if (j->state == QB_JOB_FILLING) {
		model_end(i);
	} else if (started && j->effect_class != QB_EFFECT_IDEMPOTENT) {
		j->state = QB_JOB_AMBIGUOUS;
	} else if (started || j->state == QB_JOB_CLAIMED) {
		j->state = j->attempt >= 5 ? QB_JOB_DEAD : QB_JOB_READY;
		if (j->state == QB_JOB_READY) {
			j->seat = 0;
			list_push(QB_RING_URGENT, i);
		} else {
			/* Noted, so that a recovery after this one wakes who waits for it. */
			took(seat, i);
		}
	}
}

/* What it took last comes first. */
static void model_recover(uint32_t seat)
{
	for (uint32_t k = 0; k < QB_SEAT_RECENT; k++)
		if (recent[seat][k] >= 0)
			model_decide((uint32_t)recent[seat][k], seat);
	for (uint32_t i = 0; i < 64; i++)
		model_decide(i, seat);
	model_promote(0);
}

/* ---- the segment beside it ---- */
static struct qb_seg seg;
static struct qb_recovery rec;
static uint64_t rng_state, seed, next_id;
static uint8_t payload[1024];

static uint32_t below(uint32_t n)
{
	uint64_t z = rng_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ z >> 31) % n);
}

/* Not ck_assert(): that writes to a file each time it is passed. */
#define AGREE(what, got, want) \
	do { \
		unsigned long long got_ = (unsigned long long)(got), want_ = (unsigned long long)(want); \
		if (got_ != want_) \
			ck_abort_msg("seed %llu, step %u: %s is %llu, the model says %llu", \
				     (unsigned long long)seed, step, (what), got_, want_); \
	} while (0)

static void compare(unsigned step)
{
	static uint8_t back[1024];

	for (uint32_t i = 0; i < 64; i++) {
		uint64_t w = seg.jobs[i].word.v;

		AGREE("state", qb_word_state(w), jobs[i].state);
		AGREE("attempt", qb_word_attempt(w), jobs[i].attempt);
		AGREE("seat", qb_word_seat(w), jobs[i].seat);
		AGREE("failures", qb_word_failures(w), jobs[i].failures);
		AGREE("generation", qb_word_gen(w), gens[i]);
		if (step % 16 || jobs[i].state == QB_JOB_FREE || jobs[i].state == QB_JOB_FILLING)
			continue;
		AGREE("job id", seg.jobs[i].job_id, jobs[i].id);
		int n = qb_job_payload(&seg, i, jobs[i].gen, back, sizeof(back));

		AGREE("payload length", n, (int)jobs[i].bytes);
		AGREE("payload difference", memcmp(back, payload + jobs[i].id % 7, jobs[i].bytes), 0);
	}
}

static void compare_whole(unsigned step)
{
	struct qb_check out;
	uint32_t blocks = 0;

	AGREE("findings", qb_check_segment(&seg, &out, NULL, NULL), 0);
	for (uint32_t i = 0; i < 64; i++)
		blocks += (jobs[i].bytes + seg.block_data_bytes - 1) / seg.block_data_bytes;
	AGREE("blocks in use", out.blocks_used, blocks);
	AGREE("blocks leaked", out.blocks_leaked, 0);
	AGREE("ready jobs without entry", out.ready_without_entry, 0);
	for (uint32_t i = 0; i < 64; i++)
		AGREE("free bit", qb_test_bit(seg.free_map, i) || jobs[i].state != QB_JOB_FREE, 1);
}

static void do_submit(unsigned step, uint32_t seat, int half)
{
	struct qb_submit what = { .job_id = ++next_id, .max_attempts = (uint16_t)(1 + below(3)),
				  .effect_class = (uint16_t)below(2), .payload_bytes = below(3) ? below(600) : 0 };
	struct qb_held ref;
	uint32_t used = 0, need, first, slot = 0;

	what.payload = payload + what.job_id % 7;
	for (uint32_t i = 0; i < 64; i++)
		used += (jobs[i].bytes + seg.block_data_bytes - 1) / seg.block_data_bytes;
	need = (what.payload_bytes + seg.block_data_bytes - 1) / seg.block_data_bytes;
	while (slot < 64 && jobs[slot].state != QB_JOB_FREE)
		slot++;
	if (half && slot < 64 && used + need <= seg.cfg.block_count) {
		/* Killed with the payload in place: the word says FILLING, the fields nothing. */
		seg.jobs[slot].word.v = qb_word(gens[slot], 0, seat, 0, QB_JOB_FILLING);
		qb_raise32(&seg.hdr->high_water, slot + 1);
		AGREE("store", qb_block_store(&seg, slot, gens[slot], what.payload, what.payload_bytes, &first), QB_OK);
		jobs[slot] = (struct model_job){ .state = QB_JOB_FILLING, .gen = gens[slot], .seat = seat,
						 .bytes = what.payload_bytes };
		return;
	}
	int rc = qb_job_submit(&seg, seat, &what, &ref);

	if (slot < 64)
		took(seat, slot);
	if (slot == 64 || used + need > seg.cfg.block_count) {
		AGREE("submit", rc, QB_FULL);
		if (slot < 64)
			model_end(slot);
		return;
	}
	AGREE("submit", rc, QB_OK);
	AGREE("slot", ref.slot_idx, slot);
	jobs[slot] = (struct model_job){ .id = what.job_id, .state = QB_JOB_READY, .gen = gens[slot],
					 .max_attempts = what.max_attempts, .effect_class = what.effect_class,
					 .bytes = what.payload_bytes };
	list_push(QB_RING_NORMAL, slot);
}

static void do_claim(unsigned step, uint32_t seat)
{
	struct qb_held held;

	model_promote(0);
	uint32_t which = list_first(QB_RING_URGENT) >= 0 ? QB_RING_URGENT : QB_RING_NORMAL;
	int want = list_first(which);
	int rc = qb_job_claim(&seg, seat, &held);

	AGREE("claim", rc, want < 0 ? QB_EMPTY : QB_OK);
	if (want < 0)
		return;
	AGREE("claimed slot", held.slot_idx, (uint32_t)want);
	list[which].head++;
	took(seat, (uint32_t)want);
	jobs[want].state = QB_JOB_CLAIMED;
	jobs[want].attempt++;
	jobs[want].seat = seat;
}

/* Killed right after the word: the entry stays in the ring, and so it does in the list. */
static void do_half_claim(uint32_t seat)
{
	uint32_t which = below(QB_RING_COUNT), at = list[which].head;
	struct qb_ring_entry entry;

	if (qb_ring_peek(&seg, which, &entry) != QB_OK || at == list[which].tail)
		return;
	uint32_t slot = list[which].slot[at];
	struct model_job *h = &jobs[slot];

	if (h->state != QB_JOB_READY || h->gen != list[which].gen[at] || qb_slot_job(entry.slot) != slot)
		return;
	h->state = QB_JOB_CLAIMED;
	h->attempt++;
	h->seat = seat;
	seg.jobs[slot].word.v = qb_word(h->gen, h->attempt, seat, h->failures, QB_JOB_CLAIMED);
}

/* A job in that state, held by that seat (0: anybody), or -1. */
static int pick(uint32_t state, uint32_t seat)
{
	uint32_t from = below(64);

	for (uint32_t k = 0; k < 64; k++) {
		uint32_t i = (from + k) % 64;

		if (jobs[i].state == state && (seat == 0 || jobs[i].seat == seat))
			return (int)i;
	}
	return -1;
}

static struct qb_held held_of(int slot)
{
	return (struct qb_held){ .slot_idx = (uint32_t)slot, .word = seg.jobs[slot].word.v };
}

static void do_end(unsigned step, uint32_t seat)
{
	int slot = pick(QB_JOB_STARTED, seat), final, permanent = below(8) == 0;
	uint8_t result[64] = "result";

	if (slot < 0)
		return;
	struct qb_held held = held_of(slot);
	struct model_job *j = &jobs[slot];

	if (below(2)) {
		int rc = qb_job_complete(&seg, seat, &held, result, below(60));

		if (rc == QB_FULL)
			return;
		AGREE("complete", rc, 0);
		j->state = QB_JOB_DONE;
		return;
	}
	uint64_t due_ns = below(2) ? 0 : UINT64_MAX - 1 - below(3);

	AGREE("fail", qb_job_fail(&seg, seat, &held, permanent, due_ns, &final), 0);
	AGREE("final", final, permanent || ++j->failures >= j->max_attempts);
	j->failures += (uint32_t)permanent;
	j->state = final ? QB_JOB_FAILED : QB_JOB_WAITING;
	j->due_ns = due_ns;
}

static void do_start_or_release(unsigned step, uint32_t seat)
{
	int slot = pick(QB_JOB_CLAIMED, seat);

	if (slot < 0)
		return;
	struct qb_held held = held_of(slot);

	if (below(4)) {
		AGREE("start", qb_job_start(&seg, &held), 0);
		jobs[slot].state = QB_JOB_STARTED;
		return;
	}
	AGREE("release", qb_job_release(&seg, &held), 0);
	jobs[slot].state = QB_JOB_READY;
	jobs[slot].seat = 0;
	list_push(QB_RING_URGENT, (uint32_t)slot);
}

static void do_sync(unsigned step, int half)
{
	static const uint32_t ended[] = { QB_JOB_DONE, QB_JOB_FAILED, QB_JOB_DEAD };
	int slot = pick(ended[below(3)], 0);

	(void)step;
	if (slot < 0)
		return;
	uint64_t w = seg.jobs[slot].word.v;

	if (half) {
		/* A syncer killed between its two steps; the next one looks at everything. */
		seg.jobs[slot].word.v = (w & ~0x3full) | QB_JOB_SYNCED;
		qb_job_rescan(&seg);
	} else {
		qb_job_free(&seg, (uint32_t)slot, w);
	}
	model_end((uint32_t)slot);
}

static void do_kill(unsigned step, uint32_t seat)
{
	switch (below(3)) {
	case 0:
		do_submit(step, seat, 1);
		break;
	case 1:
		do_half_claim(seat);
		break;
	}
	AGREE("recovery", qb_recover_seat(&rec, seat, NULL, NULL), 0);
	AGREE("pushes refused", rec.ring_full, 0);
	model_recover(seat);
	AGREE("seat", qb_seat_take(&seg, QB_ROLE_WORKER), (int)seat);
}

static void run(uint64_t which)
{
	seed = rng_state = which;
	memset(jobs, 0, sizeof(jobs));
	memset(list, 0, sizeof(list));
	memset(gens, 0, sizeof(gens));
	memset(recent, -1, sizeof(recent));
	qb_test_segment(&seg);
	qb_test_ring_at(&seg, QB_RING_URGENT, below(1000));
	qb_test_ring_at(&seg, QB_RING_NORMAL, below(1000));
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	for (uint32_t i = 1; i < SEATS; i++)
		ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), (int)i);
	for (unsigned step = 0; step < STEPS; step++) {
		uint32_t seat = 1 + below(SEATS - 1), op = below(100);

		if (op < 28)
			do_submit(step, seat, 0);
		else if (op < 48)
			do_claim(step, seat);
		else if (op < 66)
			do_start_or_release(step, seat);
		else if (op < 82)
			do_end(step, seat);
		else if (op < 94)
			do_sync(step, op == 93);
		else if (op < 97)
			do_kill(step, seat);
		else if (op < 99)
			qb_job_promote_due(&seg, 0), model_promote(0);
		else
			qb_job_promote_due(&seg, UINT64_MAX - 2), model_promote(UINT64_MAX - 2);
		compare(step);
		if (step % 64 == 0)
			compare_whole(step);
	}
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

START_TEST(random_operations_agree_with_the_model)
{
	const char *one = getenv("QB_MODEL_SEED"), *many = getenv("QB_MODEL_SEEDS");

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 17 + 3);
	if (one) {
		run(strtoull(one, NULL, 0));
		return;
	}
	for (uint64_t s = 1; s <= (many ? strtoull(many, NULL, 0) : 400); s++)
		run(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job-model");
	TCase *t = tcase_create("model");

	tcase_set_timeout(t, 60);
	tcase_add_test(t, random_operations_agree_with_the_model);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
