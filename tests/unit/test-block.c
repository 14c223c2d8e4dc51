/* SPDX-License-Identifier: Apache-2.0 */
/* Payload blocks: chains, exhaustion, hostile links, and what the sweep may and may not take. */
#include <check.h>
#include <stdlib.h>

#include "shm/block.h"
#include "shm/hint.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static uint8_t in[QB_PAYLOAD_BYTES_MAX], out[QB_PAYLOAD_BYTES_MAX];
static uint32_t room;

static void setup(void)
{
	qb_test_segment(&seg);
	room = seg.block_data_bytes;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 31 + (i >> 8));
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

/* A job word that makes blocks of (slot, gen) live. */
static void owner(uint32_t slot_idx, uint32_t gen, uint32_t state)
{
	seg.jobs[slot_idx].word.v = qb_word(gen, 0, 1, 0, state);
}

static uint32_t used(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < seg.cfg.block_count; i++) {
		int in_use = qb_seg_block(&seg, i)->tag.v != 0;

		n += (uint32_t)in_use;
		/* A free block is always found; a used one may have a stale bit. */
		ck_assert(in_use || qb_test_bit(seg.block_map, i));
	}
	return n;
}

START_TEST(chain_of_every_length_comes_back)
{
	static const uint32_t extra[] = { 0, 1, 7 };
	uint32_t first;

	for (uint32_t blocks = 0; blocks < 100; blocks += 9) {
		for (size_t k = 0; k < QB_ARRAY_COUNT(extra); k++) {
			uint32_t bytes = blocks * room + extra[k];

			owner(3, 8, QB_JOB_FILLING);
			ck_assert_int_eq(qb_block_store(&seg, 3, 8, in, bytes, &first), QB_OK);
			ck_assert_uint_eq(used(), (bytes + room - 1) / room);
			memset(out, 0xee, sizeof(out));
			ck_assert_int_eq(qb_block_load(&seg, 3, 8, first, out, bytes), 0);
			ck_assert_int_eq(memcmp(in, out, bytes), 0);
			ck_assert_uint_eq(out[bytes], 0xee);
			qb_block_free(&seg, 3, 8, first);
			ck_assert_uint_eq(used(), 0);
		}
	}
}
END_TEST

START_TEST(largest_payload_comes_back)
{
	struct qb_config_shm cfg;
	uint32_t first;

	qb_seg_detach(&seg);
	qb_test_config(&cfg);
	cfg.block_count = 700;
	qb_test_create(&seg, &cfg);
	owner(0, 0, QB_JOB_FILLING);
	ck_assert_int_eq(qb_block_store(&seg, 0, 0, in, QB_PAYLOAD_BYTES_MAX, &first), QB_OK);
	ck_assert_int_eq(qb_block_load(&seg, 0, 0, first, out, QB_PAYLOAD_BYTES_MAX), 0);
	ck_assert_int_eq(memcmp(in, out, QB_PAYLOAD_BYTES_MAX), 0);
	ck_assert_uint_eq(seg.hdr->block_high_water.v, (QB_PAYLOAD_BYTES_MAX + room - 1) / room);
	qb_block_free(&seg, 0, 0, first);
	ck_assert_uint_eq(used(), 0);
}
END_TEST

START_TEST(empty_payload_needs_no_block)
{
	uint32_t first = 1;

	ck_assert_int_eq(qb_block_store(&seg, 0, 0, NULL, 0, &first), QB_OK);
	ck_assert_uint_eq(first, QB_NO_BLOCK);
	ck_assert_int_eq(qb_block_load(&seg, 0, 0, first, out, 0), 0);
	qb_block_free(&seg, 0, 0, first);
	ck_assert_uint_eq(used(), 0);
}
END_TEST

START_TEST(chain_that_does_not_fit_keeps_nothing)
{
	uint32_t first, second;

	owner(0, 1, QB_JOB_FILLING);
	owner(1, 1, QB_JOB_FILLING);
	ck_assert_int_eq(qb_block_store(&seg, 0, 1, in, 100 * room, &first), QB_OK);
	ck_assert_int_eq(qb_block_store(&seg, 1, 1, in, 29 * room, &second), QB_FULL);
	ck_assert_uint_eq(second, QB_NO_BLOCK);
	ck_assert_uint_eq(used(), 100);
	ck_assert_int_eq(qb_block_store(&seg, 1, 1, in, 28 * room, &second), QB_OK);
	ck_assert_int_eq(qb_block_load(&seg, 0, 1, first, out, 100 * room), 0);
	ck_assert_int_eq(memcmp(in, out, 100 * room), 0);
}
END_TEST

START_TEST(stale_bits_of_used_blocks_are_passed_over)
{
	uint32_t first;

	owner(0, 1, QB_JOB_FILLING);
	owner(1, 1, QB_JOB_FILLING);
	qb_block_store(&seg, 0, 1, in, 3 * room, &first);
	for (uint32_t i = 0; i < 3; i++)
		qb_hint_set(seg.block_map, i);
	ck_assert_int_eq(qb_block_store(&seg, 1, 1, in, 1, &first), QB_OK);
	ck_assert_uint_eq(first, 3);
	ck_assert_int_eq(qb_block_load(&seg, 0, 1, 0, out, 3 * room), 0);
}
END_TEST

START_TEST(chain_that_leaves_its_job_is_refused)
{
	uint32_t first, foreign;

	owner(0, 1, QB_JOB_FILLING);
	owner(1, 1, QB_JOB_FILLING);
	qb_block_store(&seg, 0, 1, in, 3 * room, &first);
	qb_block_store(&seg, 1, 1, in, room, &foreign);
	struct qb_block_shm *second = qb_seg_block(&seg, qb_seg_block(&seg, first)->next.v);

	/* Another job's block, no block at all, and an index far outside. */
	static const uint32_t bad[] = { 3, QB_NO_BLOCK, 128, 0x7fffffff };

	for (size_t i = 0; i < QB_ARRAY_COUNT(bad); i++) {
		second->next.v = bad[i];
		ck_assert_int_eq(qb_block_load(&seg, 0, 1, first, out, 3 * room), QB_ECORRUPT);
		ck_assert_int_eq(qb_block_load(&seg, 0, 1, first, out, 2 * room), 0);
	}
	ck_assert_int_eq(qb_block_load(&seg, 0, 2, first, out, 1), QB_ECORRUPT);
	ck_assert_int_eq(qb_block_load(&seg, 0, 1, QB_NO_BLOCK, out, 1), QB_ECORRUPT);
}
END_TEST

START_TEST(chain_that_bites_its_tail_ends)
{
	uint32_t first;

	owner(0, 1, QB_JOB_FILLING);
	qb_block_store(&seg, 0, 1, in, 3 * room, &first);
	struct qb_block_shm *b = qb_seg_block(&seg, first);

	b->next.v = first;
	ck_assert_int_eq(qb_block_load(&seg, 0, 1, first, out, sizeof(out)), 0);
	qb_block_free(&seg, 0, 1, first);
	ck_assert_uint_eq(b->tag.v, 0);
}
END_TEST

START_TEST(free_stops_at_a_block_that_belongs_to_somebody_else)
{
	uint32_t first;

	owner(0, 1, QB_JOB_FILLING);
	qb_block_store(&seg, 0, 1, in, 3 * room, &first);
	uint32_t second = qb_seg_block(&seg, first)->next.v;

	qb_seg_block(&seg, second)->tag.v = qb_block_tag(5, 5);
	qb_block_free(&seg, 0, 1, first);
	ck_assert_uint_eq(qb_seg_block(&seg, first)->tag.v, 0);
	ck_assert_uint_eq(qb_seg_block(&seg, second)->tag.v, qb_block_tag(5, 5));
}
END_TEST

START_TEST(sweep_takes_blocks_of_ended_generations_and_no_others)
{
	uint32_t first;

	owner(0, 1, QB_JOB_FILLING);
	owner(1, 7, QB_JOB_READY);
	owner(2, QB_GEN_MASK, QB_JOB_STARTED);
	qb_block_store(&seg, 0, 1, in, 3 * room, &first);
	qb_block_store(&seg, 1, 7, in, 2 * room, &first);
	qb_block_store(&seg, 2, QB_GEN_MASK, in, room, &first);
	qb_block_store(&seg, 3, 4, in, 2 * room, &first);
	ck_assert_uint_eq(used(), 8);
	/* Slot 3 is free at that very generation: nobody owns the blocks. */
	owner(3, 4, QB_JOB_FREE);
	ck_assert_uint_eq(qb_block_sweep(&seg), 2);
	ck_assert_uint_eq(qb_block_sweep(&seg), 0);
	owner(0, 2, QB_JOB_FREE);
	ck_assert_uint_eq(qb_block_sweep(&seg), 3);
	owner(1, 8, QB_JOB_READY);
	owner(2, 0, QB_JOB_FREE);
	ck_assert_uint_eq(qb_block_sweep(&seg), 3);
	ck_assert_uint_eq(used(), 0);
}
END_TEST

START_TEST(sweep_takes_a_tag_that_names_no_slot)
{
	seg.hdr->block_high_water.v = 2;
	qb_seg_block(&seg, 1)->tag.v = qb_block_tag(0xffffff, 1);
	ck_assert_uint_eq(qb_block_sweep(&seg), 1);
	ck_assert_uint_eq(used(), 0);
}
END_TEST

START_TEST(sweep_restores_bits_of_free_blocks)
{
	seg.hdr->block_high_water.v = 70;
	seg.block_map[0].v = 0;
	seg.block_map[1].v &= ~1ull;
	ck_assert_uint_eq(qb_block_sweep(&seg), 0);
	ck_assert_uint_eq(used(), 0);
	seg.hdr->block_high_water.v = UINT32_MAX;       /* damaged: must not run past the table */
	ck_assert_uint_eq(qb_block_sweep(&seg), 0);
}
END_TEST

/* Killed after each block of a chain, before and after its link was stored. */
START_TEST(submitter_killed_inside_a_chain_leaves_what_the_sweep_takes)
{
	for (uint32_t k = 0; k < 5; k++) {
		owner(9, k, QB_JOB_FILLING);
		seg.hdr->block_high_water.v = k;
		for (uint32_t i = 0; i < k; i++) {
			struct qb_block_shm *b = qb_seg_block(&seg, i);

			b->tag.v = qb_block_tag(9, k);
			b->next.v = i % 2 ? i + 1 : 0x12345678;
			seg.block_map[0].v &= ~(1ull << i);
		}
		ck_assert_uint_eq(qb_block_sweep(&seg), 0);
		owner(9, k + 1, QB_JOB_FREE);
		ck_assert_uint_eq(qb_block_sweep(&seg), k);
		ck_assert_uint_eq(used(), 0);
	}
}
END_TEST

START_TEST(search_for_a_free_bit_finds_every_one_wherever_it_begins)
{
	qb_au64 map[4] = { { 0 } };
	qb_au32 from = { 0 };

	ck_assert_uint_eq(qb_hint_find(map, &from, 200), QB_HINT_NONE);
	for (uint32_t bit = 0; bit < 200; bit += 13) {
		qb_hint_set(map, bit);
		for (uint32_t start = 0; start <= 210; start += 7) {
			from.v = start;
			ck_assert_uint_eq(qb_hint_find(map, &from, 200), bit);
			ck_assert_uint_eq(from.v, bit);
		}
		qb_hint_clear(map, bit);
	}
	/* A bit behind the end stands for nothing. */
	map[3].v = 1ull << 50;
	ck_assert_uint_eq(qb_hint_find(map, &from, 200), QB_HINT_NONE);
	from.v = 150;
	qb_hint_give(map, &from, 20);
	ck_assert_uint_eq(from.v, 20);
	qb_hint_give(map, &from, 30);
	ck_assert_uint_eq(from.v, 20);
	ck_assert_uint_eq(qb_hint_find(map, &from, 200), 20);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("block");
	TCase *t = tcase_create("block");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, chain_of_every_length_comes_back);
	tcase_add_test(t, largest_payload_comes_back);
	tcase_add_test(t, empty_payload_needs_no_block);
	tcase_add_test(t, chain_that_does_not_fit_keeps_nothing);
	tcase_add_test(t, stale_bits_of_used_blocks_are_passed_over);
	tcase_add_test(t, chain_that_leaves_its_job_is_refused);
	tcase_add_test(t, chain_that_bites_its_tail_ends);
	tcase_add_test(t, free_stops_at_a_block_that_belongs_to_somebody_else);
	tcase_add_test(t, sweep_takes_blocks_of_ended_generations_and_no_others);
	tcase_add_test(t, sweep_takes_a_tag_that_names_no_slot);
	tcase_add_test(t, sweep_restores_bits_of_free_blocks);
	tcase_add_test(t, submitter_killed_inside_a_chain_leaves_what_the_sweep_takes);
	tcase_add_test(t, search_for_a_free_bit_finds_every_one_wherever_it_begins);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
