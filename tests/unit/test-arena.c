/* SPDX-License-Identifier: Apache-2.0 */
/* Result arenas: every place where an entry can wrap, reclaiming, and readers that trust nothing. */
#include <check.h>
#include <stdlib.h>

#include "shm/arena.h"
#include "shm/crc.h"
#include "tests/lib/shm-fixture.h"

#define SEAT 2u
#define HEAD ((uint32_t)sizeof(struct qb_arena_entry_shm))

static struct qb_seg seg;
static struct qb_arena_shm *arena;
static uint32_t size;
static uint8_t data[QB_RESULT_BYTES_MAX];

static void setup(void)
{
	qb_test_segment(&seg);
	arena = qb_seg_arena(&seg, SEAT);
	size = seg.cfg.arena_bytes;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 1);
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static uint64_t token_of(uint32_t slot_idx, uint32_t attempt)
{
	return qb_word(slot_idx + 1, attempt, SEAT, 0, QB_JOB_STARTED);
}

/* Write a result for that slot, as qb_job_complete() does, up to and including DONE. */
static int put(uint32_t slot_idx, uint32_t attempt, uint32_t bytes)
{
	struct qb_job_shm *job = &seg.jobs[slot_idx];
	uint64_t pos;

	job->word.v = token_of(slot_idx, attempt);
	int rc = qb_arena_write(&seg, SEAT, slot_idx, job->word.v, data + slot_idx, bytes, &pos);

	if (rc != QB_OK)
		return rc;
	job->result_pos = pos;
	job->result_bytes = bytes;
	job->result_crc = qb_crc32c(0, data + slot_idx, bytes);
	job->word.v = qb_word(slot_idx + 1, attempt, SEAT, 0, QB_JOB_DONE);
	return QB_OK;
}

static void expect(uint32_t slot_idx, uint32_t bytes)
{
	uint32_t n;
	const struct qb_job_shm *job = &seg.jobs[slot_idx];
	const uint8_t *r = qb_arena_read(&seg, job, slot_idx, job->word.v, &n);

	ck_assert_ptr_nonnull(r);
	ck_assert_uint_eq(n, bytes);
	ck_assert_int_eq(memcmp(r, data + slot_idx, bytes), 0);
}

static void sync_away(uint32_t slot_idx)
{
	seg.jobs[slot_idx].word.v = qb_word(slot_idx + 2, 0, 0, 0, QB_JOB_FREE);
}

START_TEST(results_come_back)
{
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(put(i, 1, i * 20 + 1), QB_OK);
	for (uint32_t i = 0; i < 10; i++)
		expect(i, i * 20 + 1);
}
END_TEST

START_TEST(limits_are_exact)
{
	uint64_t pos;

	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, size / 4 - HEAD, &pos), QB_OK);
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, size / 4 - HEAD + 1, &pos), QB_ETOOBIG);
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, QB_RESULT_BYTES_MAX + 1, &pos),
			 QB_ETOOBIG);
}
END_TEST

START_TEST(empty_result_takes_no_room)
{
	ck_assert_int_eq(put(0, 1, 0), QB_OK);
	ck_assert_uint_eq(arena->head.v, 0);
	uint32_t n = 7;

	ck_assert_ptr_null(qb_arena_read(&seg, &seg.jobs[0], 0, seg.jobs[0].word.v, &n));
	ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(full_arena_waits_for_the_oldest_result)
{
	uint32_t n = 0;

	while (n < 60 && put(n, 1, 500) == QB_OK)
		n++;
	ck_assert_uint_eq(n, size / 528);
	for (uint32_t i = 0; i < n; i++)
		expect(i, 500);
	/* A later one is gone: the oldest still holds everything behind it. */
	sync_away(1);
	ck_assert_int_eq(put(n, 1, 500), QB_FULL);
	sync_away(0);
	ck_assert_int_eq(put(n, 1, 500), QB_OK);
	expect(n, 500);
	for (uint32_t i = 2; i < n; i++)
		expect(i, 500);
}
END_TEST

/* From each 8-byte distance to the end of the arena, an entry that fits, and one that has to skip. */
START_TEST(entry_at_every_distance_from_the_end_is_whole)
{
	static const uint32_t lengths[] = { 1, 8, 9, 100, 1000 };

	for (uint32_t left = 0; left < size / 2; left += 8) {
		for (size_t k = 0; k < QB_ARRAY_COUNT(lengths); k++) {
			for (uint64_t lap = 0; lap < 2; lap++) {
				uint64_t at = lap * (1ull << 40) + size - left;

				arena->head.v = arena->tail.v = at;
				ck_assert_int_eq(put(5, 1, lengths[k]), QB_OK);
				ck_assert_int_eq(put(6, 2, lengths[k]), QB_OK);
				expect(5, lengths[k]);
				expect(6, lengths[k]);
				/* Everything is given back again, the skipped end included. */
				sync_away(5);
				sync_away(6);
				ck_assert_int_eq(put(7, 1, size / 4 - HEAD), QB_OK);
				sync_away(7);
				ck_assert_int_eq(put(8, 1, size / 4 - HEAD), QB_OK);
				sync_away(8);
				ck_assert_int_eq(put(7, 2, size / 4 - HEAD), QB_OK);
				sync_away(7);
				ck_assert_int_eq(put(8, 2, size / 4 - HEAD), QB_OK);
				expect(8, size / 4 - HEAD);
			}
		}
	}
}
END_TEST

START_TEST(entry_of_an_attempt_that_is_over_is_reclaimed)
{
	static const uint32_t over[] = { QB_JOB_READY, QB_JOB_CLAIMED, QB_JOB_AMBIGUOUS, QB_JOB_SYNCED, QB_JOB_FREE };
	uint64_t pos;

	for (size_t i = 0; i < QB_ARRAY_COUNT(over); i++) {
		arena->head.v = arena->tail.v = 0;
		for (uint32_t k = 0; k < 4; k++)
			ck_assert_int_eq(qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, 1000 - HEAD, &pos), QB_OK);
		seg.jobs[0].word.v = qb_word(1, 1, SEAT, 0, over[i]);
		ck_assert_int_eq(qb_arena_write(&seg, SEAT, 1, token_of(1, 1), data, 1000 - HEAD, &pos), QB_OK);
	}
	/* The same generation and a later attempt: over as well. */
	arena->head.v = arena->tail.v = 0;
	for (uint32_t k = 0; k < 4; k++)
		qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, 1000 - HEAD, &pos);
	seg.jobs[0].word.v = qb_word(1, 2, SEAT, 0, QB_JOB_STARTED);
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 1, token_of(1, 1), data, 1000 - HEAD, &pos), QB_OK);
	/* Its own attempt, not over: a started job may be about to store DONE. */
	arena->head.v = arena->tail.v = 0;
	for (uint32_t k = 0; k < 4; k++)
		qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, 1000 - HEAD, &pos);
	seg.jobs[0].word.v = token_of(0, 1);
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 1, token_of(1, 1), data, 1000 - HEAD, &pos), QB_FULL);
}
END_TEST

START_TEST(entry_killed_before_head_moved_is_overwritten)
{
	ck_assert_int_eq(put(0, 1, 100), QB_OK);
	uint64_t head = arena->head.v;

	ck_assert_int_eq(put(1, 1, 200), QB_OK);
	arena->head.v = head;
	seg.jobs[1].word.v = qb_word(2, 1, SEAT, 0, QB_JOB_AMBIGUOUS);
	ck_assert_int_eq(put(2, 1, 300), QB_OK);
	expect(0, 100);
	expect(2, 300);
}
END_TEST

START_TEST(damaged_or_foreign_entry_is_no_result)
{
	struct qb_job_shm *job = &seg.jobs[4];
	struct qb_job_shm good;
	uint32_t n;

	put(3, 1, 60);
	put(4, 1, 60);
	good = *job;
#define REFUSED() ck_assert_ptr_null(qb_arena_read(&seg, job, 4, job->word.v, &n))
	job->result_pos++;
	REFUSED();
	job->result_pos = 0;                            /* the neighbour's */
	REFUSED();
	job->result_pos = UINT64_MAX - 7;
	REFUSED();
	*job = good;
	job->result_bytes = 61;
	REFUSED();
	job->result_bytes = 0xffffffff;
	REFUSED();
	*job = good;
	job->result_crc ^= 1;
	REFUSED();
	*job = good;
	job->word.v = qb_word(5, 2, SEAT, 0, QB_JOB_DONE);
	REFUSED();
	job->word.v = qb_word(5, 1, 0, 0, QB_JOB_DONE);
	REFUSED();
	job->word.v = qb_word(5, 1, 4095, 0, QB_JOB_DONE);
	REFUSED();
	*job = good;
	ck_assert_ptr_null(qb_arena_read(&seg, job, 5, job->word.v, &n));
	((uint8_t *)(arena + 1))[good.result_pos + HEAD + 10] ^= 1;
	REFUSED();
	((uint8_t *)(arena + 1))[good.result_pos + HEAD + 10] ^= 1;
	expect(4, 60);
}
END_TEST

START_TEST(damaged_length_stops_reclaiming_and_never_leaves_the_arena)
{
	uint64_t pos;

	for (uint32_t k = 0; k < 4; k++)
		qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, 1000 - HEAD, &pos);
	seg.jobs[0].word.v = qb_word(9, 0, 0, 0, QB_JOB_FREE);
	((struct qb_arena_entry_shm *)(arena + 1))->bytes = 0xfffffff0;
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 1, token_of(1, 1), data, 1000 - HEAD, &pos), QB_FULL);
	((struct qb_arena_entry_shm *)(arena + 1))->bytes = 1000 - HEAD;
	((struct qb_arena_entry_shm *)(arena + 1))->slot_idx = 0x00ffffff;
	ck_assert_int_eq(qb_arena_write(&seg, SEAT, 1, token_of(1, 1), data, 1000 - HEAD, &pos), QB_OK);
}
END_TEST

START_TEST(head_and_tail_that_cannot_be_are_an_error_and_not_an_endless_loop)
{
	static const struct { uint64_t head, tail; } bad[] = {
		{ 1ull << 50, 0 }, { 0, 8 }, { 4, 0 }, { 8, 4 }, { UINT64_MAX - 7, 0 }, { 4104, 0 },
	};
	uint64_t pos;

	for (size_t i = 0; i < QB_ARRAY_COUNT(bad); i++) {
		arena->head.v = bad[i].head;
		arena->tail.v = bad[i].tail;
		ck_assert_int_eq(qb_arena_write(&seg, SEAT, 0, token_of(0, 1), data, 100, &pos), QB_ECORRUPT);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arena");
	TCase *t = tcase_create("arena");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, results_come_back);
	tcase_add_test(t, limits_are_exact);
	tcase_add_test(t, empty_result_takes_no_room);
	tcase_add_test(t, full_arena_waits_for_the_oldest_result);
	tcase_add_test(t, entry_at_every_distance_from_the_end_is_whole);
	tcase_add_test(t, entry_of_an_attempt_that_is_over_is_reclaimed);
	tcase_add_test(t, entry_killed_before_head_moved_is_overwritten);
	tcase_add_test(t, damaged_or_foreign_entry_is_no_result);
	tcase_add_test(t, damaged_length_stops_reclaiming_and_never_leaves_the_arena);
	tcase_add_test(t, head_and_tail_that_cannot_be_are_an_error_and_not_an_endless_loop);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
