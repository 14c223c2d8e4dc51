/* SPDX-License-Identifier: Apache-2.0 */
/* Seats and the recovery of a dead one: what becomes of each word, hint and block, told to whom. */
#include <check.h>
#include <stdlib.h>

#include "shm/block.h"
#include "shm/event.h"
#include "shm/hint.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_recovery rec;
static uint32_t dead;
static struct { enum qb_verdict verdict; uint32_t slot_idx; uint64_t before; } told[64];
static unsigned told_count;

static void setup(void)
{
	qb_test_segment(&seg);
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	dead = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	told_count = 0;
}

static void teardown(void)
{
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

static void tell(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	ck_assert_ptr_eq(ctx, &told);
	ck_assert_uint_eq(seg.jobs[slot_idx].word.v, before);   /* before the word is changed */
	told[told_count].verdict = verdict;
	told[told_count].slot_idx = slot_idx;
	told[told_count++].before = before;
}

static void recover(void)
{
	ck_assert_int_eq(qb_recover_seat(&rec, dead, tell, &told), 0);
	ck_assert_uint_eq(rec.ring_full, 0);
}

static void job(uint32_t slot_idx, uint64_t word)
{
	qb_test_ready(&seg, slot_idx, qb_word_gen(word), slot_idx + 1);
	seg.jobs[slot_idx].word.v = word;
	seg.jobs[slot_idx].sync.v = qb_sync(qb_word_gen(word), QB_SYNC_ACCEPTED, 0);
}

static void expect_claimable(uint32_t slot_idx)
{
	struct qb_held held;

	ck_assert_int_eq(qb_job_claim(&seg, 5, &held), QB_OK);
	ck_assert_uint_eq(held.slot_idx, slot_idx);
	ck_assert_int_eq(qb_job_claim(&seg, 5, &held), QB_EMPTY);
}

START_TEST(seat_is_taken_named_recovered_and_free_again)
{
	uint64_t ticks = 0;

	ck_assert_uint_eq(dead, 1);
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_SYNCER), 2);
	ck_assert_int_eq(qb_seat_sit(&seg, 2, 1, 4711, 99), 0);
	ck_assert_uint_eq(qb_seat_who(&seg, 2, &ticks), 4711);
	ck_assert_uint_eq(ticks, 99);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, 2), 0);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, 2), 0);
	ck_assert_uint_eq(qb_seat_who(&seg, 2, NULL), 4711);
	ck_assert_int_eq(qb_seat_set_role(&seg, 2, QB_ROLE_WORKER), QB_EFENCED);
	qb_seat_free(&seg, 2);
	ck_assert_uint_eq(seg.seats[2].word.v, qb_seat_word(1, QB_ROLE_NONE, QB_SEAT_FREE));
	ck_assert_uint_eq(qb_seat_who(&seg, 2, NULL), 0);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, 2), QB_EFENCED);
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), 2);
	ck_assert_uint_eq(qb_seat_incarnation(seg.seats[2].word.v), 2);
	/* The last owner's name is not the next one's. */
	ck_assert_uint_eq(qb_seat_who(&seg, 2, NULL), 0);
}
END_TEST

START_TEST(full_house_is_refused)
{
	while (qb_seat_take(&seg, QB_ROLE_WORKER) > 0)
		;
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), QB_ENOSEAT);
	ck_assert_int_eq(qb_seat_sit(&seg, 8, 1, 1, 1), QB_EFENCED);
	ck_assert_int_eq(qb_seat_sit(&seg, 0, 1, 1, 1), QB_EFENCED);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, 8), QB_EFENCED);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, 0), QB_EFENCED);
}
END_TEST

START_TEST(child_that_sits_down_too_late_leaves_a_recovering_seat)
{
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, dead), 0);
	ck_assert_int_eq(qb_seat_sit(&seg, dead, 1, 111, 1), QB_EFENCED);
}
END_TEST

/* Forked by a parent that died; by the time it runs its seat has been recovered and given away. */
START_TEST(child_of_a_dead_parent_does_not_put_its_name_on_its_successors_seat)
{
	recover();
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), (int)dead);
	ck_assert_int_eq(qb_seat_sit(&seg, dead, 2, 222, 20), 0);
	ck_assert_int_eq(qb_seat_sit(&seg, dead, 1, 111, 10), QB_EFENCED);
	uint64_t ticks = 0;

	ck_assert_uint_eq(qb_seat_who(&seg, dead, &ticks), 222);
	ck_assert_uint_eq(ticks, 20);
}
END_TEST

/* Its parent died between taking the seat and the fork; the next owner has no name yet either. */
START_TEST(late_child_does_not_name_a_seat_that_the_next_owner_has_not_named_yet)
{
	uint64_t ticks = 0;

	recover();
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), (int)dead);
	ck_assert_int_eq(qb_seat_sit(&seg, dead, 1, 111, 10), QB_EFENCED);
	ck_assert_uint_eq(qb_seat_who(&seg, dead, NULL), 0);
	ck_assert_int_eq(qb_seat_sit(&seg, dead, 2, 222, 20), 0);
	ck_assert_uint_eq(qb_seat_who(&seg, dead, &ticks), 222);
	ck_assert_uint_eq(ticks, 20);
}
END_TEST

START_TEST(parent_and_child_write_the_same_name)
{
	int seat = qb_seat_take(&seg, QB_ROLE_WORKER);
	uint64_t ticks = 0;

	ck_assert_int_eq(qb_seat_name(&seg, (uint32_t)seat, 333, 30), 0);
	ck_assert_int_eq(qb_seat_sit(&seg, (uint32_t)seat, 1, 333, 30), 0);
	ck_assert_int_eq(qb_seat_name(&seg, (uint32_t)seat, 333, 30), 0);
	ck_assert_uint_eq(qb_seat_who(&seg, (uint32_t)seat, &ticks), 333);
	ck_assert_uint_eq(ticks, 30);
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, (uint32_t)seat), 0);
	ck_assert_uint_eq(qb_seat_who(&seg, (uint32_t)seat, NULL), 333);
	ck_assert_int_eq(qb_seat_name(&seg, (uint32_t)seat, 333, 30), QB_EFENCED);
	qb_seat_free(&seg, (uint32_t)seat);
	ck_assert_int_eq(qb_seat_name(&seg, (uint32_t)seat, 333, 30), QB_EFENCED);
}
END_TEST

/* A driver that took its seat and stalls is judged by its name: once somebody has looked, it gets none. */
START_TEST(seat_that_was_found_without_a_name_stays_without)
{
	int seat = qb_seat_take(&seg, QB_ROLE_DRIVER);

	qb_seat_close(&seg, (uint32_t)seat);
	ck_assert_uint_eq(qb_seat_who(&seg, (uint32_t)seat, NULL), 0);
	ck_assert_int_eq(qb_seat_sit(&seg, (uint32_t)seat, 1, 444, 40), QB_EFENCED);
	ck_assert_uint_eq(qb_seat_who(&seg, (uint32_t)seat, NULL), 0);
	/* One that sits already keeps its name. */
	seat = qb_seat_take(&seg, QB_ROLE_DRIVER);
	ck_assert_int_eq(qb_seat_sit(&seg, (uint32_t)seat, 1, 555, 50), 0);
	qb_seat_close(&seg, (uint32_t)seat);
	ck_assert_uint_eq(qb_seat_who(&seg, (uint32_t)seat, NULL), 555);
}
END_TEST

START_TEST(incarnations_wrap)
{
	uint64_t ticks = 0;

	for (uint32_t i = 0xfffffffeu; i != 3; i++) {
		seg.seats[2].word.v = qb_seat_word(i, QB_ROLE_NONE, QB_SEAT_FREE);
		if (i == 0xfffffffeu) {
			seg.seats[2].name.v = qb_seat_name_of(i, 1);
			seg.seats[2].birth.v = qb_seat_birth(i, 1);
		}
		ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), 2);
		ck_assert_int_eq(qb_seat_sit(&seg, 2, i + 1, 666, i & 0xff), 0);
		ck_assert_int_eq(qb_seat_sit(&seg, 2, i, 777, 70), QB_EFENCED);
		ck_assert_uint_eq(qb_seat_who(&seg, 2, &ticks), 666);
		ck_assert_uint_eq(ticks, i & 0xff);
		qb_seat_free(&seg, 2);
	}
}
END_TEST

START_TEST(each_word_of_the_dead_gets_one_verdict)
{
	static const struct { uint32_t attempt, state, effect; enum qb_verdict verdict; uint32_t after; } want[] = {
		{ 0, QB_JOB_FILLING, 0, QB_VERDICT_NEVER_ACCEPTED, QB_JOB_FREE },
		{ 1, QB_JOB_CLAIMED, QB_EFFECT_OPAQUE, QB_VERDICT_NEVER_STARTED, QB_JOB_READY },
		{ 1, QB_JOB_STARTED, QB_EFFECT_IDEMPOTENT, QB_VERDICT_RETRIED, QB_JOB_READY },
		{ 1, QB_JOB_STARTED, QB_EFFECT_OPAQUE, QB_VERDICT_PARKED, QB_JOB_AMBIGUOUS },
		{ 5, QB_JOB_CLAIMED, QB_EFFECT_OPAQUE, QB_VERDICT_GIVEN_UP, QB_JOB_DEAD },
		{ 5, QB_JOB_STARTED, QB_EFFECT_IDEMPOTENT, QB_VERDICT_GIVEN_UP, QB_JOB_DEAD },
		{ 5, QB_JOB_STARTED, QB_EFFECT_OPAQUE, QB_VERDICT_PARKED, QB_JOB_AMBIGUOUS },
		{ 4, QB_JOB_CLAIMED, 0, QB_VERDICT_NEVER_STARTED, QB_JOB_READY },
		{ 1, QB_JOB_STARTED, 77, QB_VERDICT_PARKED, QB_JOB_AMBIGUOUS },
	};

	for (uint32_t i = 0; i < QB_ARRAY_COUNT(want); i++) {
		job(i, qb_word(7, want[i].attempt, dead, 2, want[i].state));
		seg.jobs[i].effect_class = (uint16_t)want[i].effect;
	}
	seg.dirty_map[0].v = 0;
	recover();
	ck_assert_uint_eq(told_count, QB_ARRAY_COUNT(want));
	for (uint32_t i = 0; i < QB_ARRAY_COUNT(want); i++) {
		uint64_t w = seg.jobs[i].word.v;

		ck_assert_uint_eq(told[i].verdict, want[i].verdict);
		ck_assert_uint_eq(told[i].slot_idx, i);
		ck_assert_uint_eq(qb_word_state(w), want[i].after);
		ck_assert_uint_eq(qb_word_attempt(w), want[i].attempt);
		int ended = want[i].after == QB_JOB_FREE;

		ck_assert_uint_eq(qb_word_gen(w), ended ? 8 : 7);
		ck_assert_uint_eq(qb_word_failures(w), ended ? 0 : 2);
		/* The seat stays in the word only as evidence. */
		int evidence = want[i].after == QB_JOB_AMBIGUOUS || want[i].after == QB_JOB_DEAD;

		ck_assert_uint_eq(qb_word_seat(w), evidence ? dead : 0);
		ck_assert(ended ? qb_test_bit(seg.free_map, i) : qb_test_bit(seg.dirty_map, i));
	}
	ck_assert_uint_eq(seg.seats[dead].word.v, qb_seat_word(1, QB_ROLE_NONE, QB_SEAT_FREE));
	ck_assert_uint_eq(rec.verdicts[QB_VERDICT_NEVER_STARTED], 2);
	ck_assert_uint_eq(rec.verdicts[QB_VERDICT_PARKED], 3);
	ck_assert_int_eq(qb_recover_seat(&rec, dead, tell, &told), QB_EFENCED);
}
END_TEST

START_TEST(words_of_other_seats_are_left_alone)
{
	static const uint32_t states[] = { QB_JOB_FILLING, QB_JOB_CLAIMED, QB_JOB_STARTED, QB_JOB_DONE, QB_JOB_FAILED,
					   QB_JOB_AMBIGUOUS, QB_JOB_SYNCED, QB_JOB_DEAD };

	for (uint32_t i = 0; i < QB_ARRAY_COUNT(states); i++)
		job(i, qb_word(7, 1, dead + 1, 0, states[i]));
	recover();
	ck_assert_uint_eq(told_count, 0);
	for (uint32_t i = 0; i < QB_ARRAY_COUNT(states); i++)
		ck_assert_uint_eq(seg.jobs[i].word.v, qb_word(7, 1, dead + 1, 0, states[i]));
}
END_TEST

START_TEST(job_put_back_can_be_claimed_at_once_and_exactly_once)
{
	job(12, qb_word(3, 1, dead, 0, QB_JOB_CLAIMED));
	recover();
	expect_claimable(12);
}
END_TEST

/* The entry that recovery sees may be one that a live taker is about to drop as stale. */
START_TEST(job_put_back_is_pushed_although_the_ring_seems_to_hold_it)
{
	struct qb_ring_entry stale;

	job(12, qb_word(3, 1, dead, 0, QB_JOB_CLAIMED));
	qb_ring_push(&seg, QB_RING_NORMAL, 12, 3);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &stale), QB_OK);
	recover();
	qb_ring_drop(&seg, QB_RING_NORMAL, &stale);
	expect_claimable(12);
}
END_TEST

START_TEST(ready_job_without_entry_gets_one)
{
	job(3, qb_word(0, 0, 0, 0, QB_JOB_READY));
	job(4, qb_word(0, 0, 0, 0, QB_JOB_READY));
	qb_ring_push(&seg, QB_RING_NORMAL, 4, 0);
	recover();
	ck_assert_uint_eq(rec.repushed, 1);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 2);
}
END_TEST

START_TEST(missing_hint_bits_are_set)
{
	job(0, qb_word(5, 0, 0, 0, QB_JOB_FREE));
	job(1, qb_word(5, 1, dead, 1, QB_JOB_WAITING));
	job(2, qb_word(5, 1, 6, 1, QB_JOB_WAITING));
	job(3, qb_word(5, 1, 6, 0, QB_JOB_DONE));
	job(4, qb_word(5, 1, 6, 0, QB_JOB_READY));
	seg.jobs[1].due_ns.v = seg.jobs[2].due_ns.v = UINT64_MAX - 1;
	seg.jobs[4].sync.v = 0;
	seg.free_map[0].v &= ~1ull;
	seg.dirty_map[0].v = seg.wait_map[0].v = 0;
	recover();
	ck_assert(qb_test_bit(seg.free_map, 0));
	ck_assert(qb_test_bit(seg.wait_map, 1));
	ck_assert(qb_test_bit(seg.wait_map, 2));
	ck_assert_uint_eq(seg.dirty_map[0].v & 0x1f, 0x1e);
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, UINT64_MAX - 1);
}
END_TEST

START_TEST(deadline_lost_by_a_killed_promoter_is_found_again)
{
	job(1, qb_word(5, 1, 6, 1, QB_JOB_WAITING));
	seg.jobs[1].due_ns.v = 1;
	qb_hint_set(seg.wait_map, 1);
	seg.hdr->next_due_ns.v = UINT64_MAX;
	recover();
	expect_claimable(1);
}
END_TEST

START_TEST(blocks_of_a_killed_submitter_are_free_again)
{
	uint32_t first;

	job(7, qb_word(2, 0, dead, 0, QB_JOB_FILLING));
	ck_assert_int_eq(qb_block_store(&seg, 7, 2, "0123456789", 10, &first), QB_OK);
	recover();
	ck_assert_uint_eq(rec.blocks_freed, 1);
	ck_assert_uint_eq(qb_seg_block(&seg, first)->tag.v, 0);
}
END_TEST

START_TEST(recovery_that_was_killed_anywhere_gives_the_same_answer_again)
{
	job(0, qb_word(7, 1, dead, 0, QB_JOB_CLAIMED));
	job(1, qb_word(7, 1, dead, 0, QB_JOB_STARTED));
	ck_assert_int_eq(qb_seat_begin_recovery(&seg, dead), 0);
	/* Killed after the first word: it is ready and may or may not have its entry. */
	seg.jobs[0].word.v = qb_word(7, 1, 0, 0, QB_JOB_READY);
	recover();
	ck_assert_uint_eq(told_count, 1);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL) + qb_ring_depth(&seg, QB_RING_URGENT), 2);
}
END_TEST

START_TEST(dead_sleeper_and_dead_syncer_are_no_longer_woken)
{
	seg.hdr->sleepers[0].v = 1ull << dead | 1ull << 5;
	seg.seats[dead].asleep.v = 1;
	seg.hdr->syncer_seat.v = dead;
	recover();
	ck_assert_uint_eq(seg.hdr->sleepers[0].v, 1ull << 5);
	ck_assert_uint_eq(seg.seats[dead].asleep.v, 0);
	ck_assert_uint_eq(seg.hdr->syncer_seat.v, 0);
}
END_TEST

/* A hundred results wait for a syncer that has no server; only the last one can lack its event. */
START_TEST(only_the_outcome_that_the_dead_stored_last_may_lack_its_event)
{
	struct qb_held held;
	struct qb_submit what;
	int final;

	for (uint32_t i = 0; i < 40; i++) {
		what = qb_test_submit(i + 1);
		ck_assert_int_eq(qb_job_submit(&seg, 6, &what, &held), QB_OK);
		ck_assert_int_eq(qb_job_claim(&seg, dead, &held), QB_OK);
		qb_job_start(&seg, &held);
		if (i % 3)
			ck_assert_int_eq(qb_job_complete(&seg, dead, &held, NULL, 0), 0);
		else
			ck_assert_int_eq(qb_job_fail(&seg, dead, &held, 0, UINT64_MAX - 1, &final), 0);
	}
	recover();
	ck_assert_uint_eq(rec.verdicts[QB_VERDICT_FINISHED], 40);
	ck_assert_uint_eq(told_count, 1);
	ck_assert_uint_eq(told[0].verdict, QB_VERDICT_FINISHED);
	ck_assert_uint_eq(seg.jobs[told[0].slot_idx].job_id, 40);
	/* It has been told: the next owner of the seat inherits nothing. */
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), (int)dead);
	recover();
	ck_assert_uint_eq(told_count, 1);
}
END_TEST

START_TEST(outcome_that_was_never_stored_is_not_told_as_finished)
{
	struct qb_submit what = qb_test_submit(1);
	struct qb_held held;

	qb_job_submit(&seg, 6, &what, &held);
	qb_job_claim(&seg, dead, &held);
	qb_job_start(&seg, &held);
	/* Killed between the result and the word. */
	ck_assert_int_eq(qb_job_complete(&seg, dead, &held, "r", 1), 0);
	seg.jobs[held.slot_idx].word.v = (held.word & ~0x3full) | QB_JOB_STARTED;
	recover();
	ck_assert_uint_eq(told_count, 1);
	ck_assert_uint_eq(told[0].verdict, QB_VERDICT_RETRIED);
}
END_TEST

START_TEST(damaged_marks_do_not_lead_outside_the_tables)
{
	seg.hdr->high_water.v = UINT32_MAX;
	seg.hdr->block_high_water.v = UINT32_MAX;
	recover();
}
END_TEST

static TCase *seats(void)
{
	TCase *t = tcase_create("seats");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, seat_is_taken_named_recovered_and_free_again);
	tcase_add_test(t, full_house_is_refused);
	tcase_add_test(t, child_that_sits_down_too_late_leaves_a_recovering_seat);
	tcase_add_test(t, child_of_a_dead_parent_does_not_put_its_name_on_its_successors_seat);
	tcase_add_test(t, late_child_does_not_name_a_seat_that_the_next_owner_has_not_named_yet);
	tcase_add_test(t, parent_and_child_write_the_same_name);
	tcase_add_test(t, seat_that_was_found_without_a_name_stays_without);
	tcase_add_test(t, incarnations_wrap);
	return t;
}

static TCase *recovery(void)
{
	TCase *t = tcase_create("recovery");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, each_word_of_the_dead_gets_one_verdict);
	tcase_add_test(t, words_of_other_seats_are_left_alone);
	tcase_add_test(t, job_put_back_can_be_claimed_at_once_and_exactly_once);
	tcase_add_test(t, job_put_back_is_pushed_although_the_ring_seems_to_hold_it);
	tcase_add_test(t, ready_job_without_entry_gets_one);
	tcase_add_test(t, missing_hint_bits_are_set);
	tcase_add_test(t, deadline_lost_by_a_killed_promoter_is_found_again);
	tcase_add_test(t, blocks_of_a_killed_submitter_are_free_again);
	tcase_add_test(t, recovery_that_was_killed_anywhere_gives_the_same_answer_again);
	tcase_add_test(t, dead_sleeper_and_dead_syncer_are_no_longer_woken);
	tcase_add_test(t, only_the_outcome_that_the_dead_stored_last_may_lack_its_event);
	tcase_add_test(t, outcome_that_was_never_stored_is_not_told_as_finished);
	tcase_add_test(t, damaged_marks_do_not_lead_outside_the_tables);
	return t;
}

int main(void)
{
	Suite *s = suite_create("recovery");

	suite_add_tcase(s, seats());
	suite_add_tcase(s, recovery());
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
