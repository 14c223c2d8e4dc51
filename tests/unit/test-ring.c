/* SPDX-License-Identifier: Apache-2.0 */
/* The inbox rings on constructed slots and indexes: every wrap and every state that a kill can leave. */
#include <check.h>
#include <stdlib.h>

#include "shm/ring.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_ring_shm *ring;
static qb_au64 *slots;
static uint32_t count;

static void setup(void)
{
	qb_test_segment(&seg);
	ring = qb_seg_ring(&seg, QB_RING_NORMAL);
	slots = qb_ring_slots(ring);
	count = seg.cfg.ring_count;
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static void expect_pop(uint32_t job_idx, uint32_t gen)
{
	struct qb_ring_entry entry;

	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &entry), QB_OK);
	ck_assert_uint_eq(qb_slot_job(entry.slot), job_idx);
	ck_assert_uint_eq(qb_slot_gen(entry.slot), gen);
	qb_ring_drop(&seg, QB_RING_NORMAL, &entry);
}

static void expect_empty(void)
{
	struct qb_ring_entry entry;

	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &entry), QB_EMPTY);
}

START_TEST(peek_on_empty_ring_returns_empty)
{
	expect_empty();
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 0);
}
END_TEST

START_TEST(entries_come_out_in_the_order_in_which_they_went_in)
{
	for (uint32_t i = 0; i < count; i++)
		ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, i % 64, i), QB_OK);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), count);
	for (uint32_t i = 0; i < count; i++)
		expect_pop(i % 64, i);
	expect_empty();
}
END_TEST

START_TEST(peek_leaves_the_entry_where_it_is)
{
	struct qb_ring_entry a, b;

	qb_ring_push(&seg, QB_RING_NORMAL, 7, 1);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &a), QB_OK);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &b), QB_OK);
	ck_assert_uint_eq(a.slot, b.slot);
	ck_assert_uint_eq(a.pos, b.pos);
}
END_TEST

START_TEST(the_two_rings_do_not_share_anything)
{
	qb_ring_push(&seg, QB_RING_URGENT, 3, 1);
	expect_empty();
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_URGENT), 1);
}
END_TEST

/* Positions around the end of a lap, around the end of the 24 lap bits, and far beyond 32 bits. */
START_TEST(ring_passes_every_wrap)
{
	const uint64_t start[] = { 1, count - 1, 2ull * count - 2, (uint64_t)count * 0xffffff - 1,
				   (uint64_t)count * 0x1000000 - 3, (1ull << 33) - 2, (1ull << 40) - 5 };

	qb_test_ring_at(&seg, QB_RING_NORMAL, start[_i]);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < count; i++)
			ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, i % 64, i), QB_OK);
		ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 1, 1), QB_FULL);
		for (uint32_t i = 0; i < count; i++)
			expect_pop(i % 64, i);
		expect_empty();
	}
	ck_assert_uint_eq(ring->head.v, start[_i] + 3ull * count);
	ck_assert_uint_eq(ring->tail.v, ring->head.v);
}
END_TEST

START_TEST(pusher_killed_before_tail_moved_is_helped_by_the_next_pusher)
{
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	ring->tail.v = 0;
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 2, 6), QB_OK);
	ck_assert_uint_eq(ring->tail.v, 2);
	expect_pop(1, 5);
	expect_pop(2, 6);
}
END_TEST

START_TEST(entry_of_a_pusher_killed_before_tail_moved_is_taken)
{
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	ring->tail.v = 0;
	expect_pop(1, 5);
	ck_assert_uint_eq(ring->head.v, 1);
	expect_empty();
	/* Head is now before tail: the next pusher must neither overwrite nor lose anything. */
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 2, 6), QB_OK);
	ck_assert_uint_eq(ring->tail.v, 2);
	expect_pop(2, 6);
}
END_TEST

START_TEST(taker_killed_before_head_moved_is_helped_by_the_next_taker)
{
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	qb_ring_push(&seg, QB_RING_NORMAL, 2, 6);
	expect_pop(1, 5);
	ring->head.v = 0;
	expect_pop(2, 6);
	ck_assert_uint_eq(ring->head.v, 2);
}
END_TEST

START_TEST(full_ring_refuses)
{
	for (uint32_t i = 0; i < count; i++)
		qb_ring_push(&seg, QB_RING_NORMAL, i % 64, 0);
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 1, 0), QB_FULL);
	expect_pop(0, 0);
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 1, 0), QB_OK);
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 1, 0), QB_FULL);
}
END_TEST

START_TEST(ring_that_looks_full_only_because_head_lags_takes_the_entry)
{
	for (uint32_t i = 0; i < count; i++)
		qb_ring_push(&seg, QB_RING_NORMAL, i % 64, 0);
	expect_pop(0, 0);
	ring->head.v = 0;
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 9, 3), QB_OK);
	/* A lap is missing between head and the slot: nothing may be read twice or skipped. */
	for (uint32_t i = 1; i < count; i++)
		expect_pop(i % 64, 0);
	expect_pop(9, 3);
	expect_empty();
}
END_TEST

START_TEST(head_that_lags_while_its_slot_was_refilled_moves_on)
{
	for (uint32_t i = 0; i < count; i++)
		qb_ring_push(&seg, QB_RING_NORMAL, i % 64, 0);
	expect_pop(0, 0);
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 9, 3), QB_OK);
	ring->head.v = 0;
	expect_pop(1, 0);
	ck_assert_uint_eq(ring->head.v, 2);
}
END_TEST

START_TEST(drop_of_an_entry_that_is_gone_changes_nothing)
{
	struct qb_ring_entry old;

	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &old), QB_OK);
	expect_pop(1, 5);
	/* The same slot holds another entry, one lap on. */
	for (uint32_t i = 1; i < count; i++) {
		qb_ring_push(&seg, QB_RING_NORMAL, 2, 6);
		expect_pop(2, 6);
	}
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	ck_assert_uint_eq(ring->tail.v, count + 1u);
	qb_ring_drop(&seg, QB_RING_NORMAL, &old);
	ck_assert_uint_eq(ring->head.v, count);
	expect_pop(1, 5);
}
END_TEST

START_TEST(mark_finds_the_entry_beyond_tail_and_ignores_other_generations)
{
	uint64_t seen = 0;

	qb_test_ready(&seg, 1, 5, 1);
	qb_test_ready(&seg, 2, 6, 2);
	qb_test_ready(&seg, 3, 7, 3);
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	qb_ring_push(&seg, QB_RING_NORMAL, 2, 99);
	qb_ring_push(&seg, QB_RING_NORMAL, 3, 7);
	ring->tail.v--;
	qb_ring_mark(&seg, QB_RING_NORMAL, &seen);
	ck_assert_uint_eq(seen, 1ull << 1 | 1ull << 3);
}
END_TEST

START_TEST(mark_of_a_full_ring_looks_at_each_slot_once)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < 64; i++)
		qb_test_ready(&seg, i, 5, i + 1);
	qb_test_ring_at(&seg, QB_RING_NORMAL, 3 * count - 7);
	for (uint32_t i = 0; i < count; i++)
		qb_ring_push(&seg, QB_RING_NORMAL, i % 64, 5);
	qb_ring_mark(&seg, QB_RING_NORMAL, &seen);
	ck_assert_uint_eq(seen, UINT64_MAX);
}
END_TEST

START_TEST(mark_ignores_a_job_index_that_does_not_exist)
{
	uint64_t seen = 0;

	qb_ring_push(&seg, QB_RING_NORMAL, 64, 0);
	qb_ring_push(&seg, QB_RING_NORMAL, 0xfffff, 0);
	qb_ring_mark(&seg, QB_RING_NORMAL, &seen);
	ck_assert_uint_eq(seen, 0);
}
END_TEST

START_TEST(damaged_ring_is_an_error_and_not_an_endless_loop)
{
	struct qb_ring_entry entry;

	for (uint32_t i = 0; i < count; i++)
		slots[i].v = qb_slot_word(0x800000, 1, 1, 1);
	ck_assert_int_eq(qb_ring_push(&seg, QB_RING_NORMAL, 1, 1), QB_ECORRUPT);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &entry), QB_ECORRUPT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ring");
	TCase *t = tcase_create("ring");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, peek_on_empty_ring_returns_empty);
	tcase_add_test(t, entries_come_out_in_the_order_in_which_they_went_in);
	tcase_add_test(t, peek_leaves_the_entry_where_it_is);
	tcase_add_test(t, the_two_rings_do_not_share_anything);
	tcase_add_loop_test(t, ring_passes_every_wrap, 0, 7);
	tcase_add_test(t, pusher_killed_before_tail_moved_is_helped_by_the_next_pusher);
	tcase_add_test(t, entry_of_a_pusher_killed_before_tail_moved_is_taken);
	tcase_add_test(t, taker_killed_before_head_moved_is_helped_by_the_next_taker);
	tcase_add_test(t, full_ring_refuses);
	tcase_add_test(t, ring_that_looks_full_only_because_head_lags_takes_the_entry);
	tcase_add_test(t, head_that_lags_while_its_slot_was_refilled_moves_on);
	tcase_add_test(t, drop_of_an_entry_that_is_gone_changes_nothing);
	tcase_add_test(t, mark_finds_the_entry_beyond_tail_and_ignores_other_generations);
	tcase_add_test(t, mark_of_a_full_ring_looks_at_each_slot_once);
	tcase_add_test(t, mark_ignores_a_job_index_that_does_not_exist);
	tcase_add_test(t, damaged_ring_is_an_error_and_not_an_endless_loop);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
