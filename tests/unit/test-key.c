/* SPDX-License-Identifier: Apache-2.0 */
/* Unique keys: who has one and until when, what the dead leave, what comes too late. */
#include <check.h>

#include "shm/hint.h"
#include "shm/key.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_recovery rec;
static uint32_t driver, other, worker;

static void setup(void)
{
	qb_test_segment(&seg);
	ck_assert_int_eq(qb_recovery_open(&rec, &seg), 0);
	driver = (uint32_t)qb_seat_take(&seg, QB_ROLE_DRIVER);
	other = (uint32_t)qb_seat_take(&seg, QB_ROLE_TOOL);
	worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
}

static void teardown(void)
{
	qb_recovery_close(&rec);
	qb_seg_detach(&seg);
}

/* All in one bucket, unless lo says otherwise. */
static struct qb_submit job_of(uint64_t id, uint64_t hi, uint64_t lo)
{
	static const uint8_t payload[200];
	struct qb_submit what = qb_test_submit(id);

	what.payload = payload;
	what.payload_bytes = sizeof(payload);
	what.key = (struct qb_key){ .hi = hi, .lo = lo };
	return what;
}

static int submit(uint64_t id, uint64_t hi, struct qb_held *ref, struct qb_key_holder *holder)
{
	struct qb_submit what = job_of(id, hi, 3);

	return qb_job_submit_unique(&seg, driver, &what, ref, holder);
}

static void expect_accepted(uint64_t id, uint64_t hi)
{
	struct qb_key_holder holder;
	struct qb_held ref;

	ck_assert_int_eq(submit(id, hi, &ref, &holder), QB_OK);
	ck_assert_uint_eq(seg.jobs[ref.slot_idx].job_id, id);
	ck_assert_uint_eq(seg.jobs[ref.slot_idx].word.v, ref.word);
	ck_assert_int_eq(qb_word_state(ref.word), QB_JOB_READY);
}

static void expect_refused(uint64_t id, uint64_t hi, uint64_t by)
{
	struct qb_key_holder holder = { 0 };
	struct qb_held ref;

	ck_assert_int_eq(submit(id, hi, &ref, &holder), QB_DUPLICATE);
	ck_assert_uint_eq(holder.job_id, by);
	ck_assert_uint_eq(seg.jobs[holder.slot_idx].job_id, by);
	ck_assert_uint_eq(qb_word_gen(seg.jobs[holder.slot_idx].word.v), holder.gen);
	ck_assert(qb_key_is_held(&seg, &holder));
}

static uint32_t free_slots(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < seg.cfg.job_count; i++)
		n += qb_word_state(seg.jobs[i].word.v) == QB_JOB_FREE && qb_test_bit(seg.free_map, i);
	return n;
}

static uint32_t used_blocks(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < seg.cfg.block_count; i++)
		n += qb_seg_block(&seg, i)->tag.v != 0;
	return n;
}

START_TEST(one_at_a_time)
{
	struct qb_submit without = qb_test_submit(9), with = job_of(9, 7, 3);
	struct qb_key_holder holder;
	struct qb_held ref;

	expect_accepted(1, 7);
	expect_refused(2, 7, 1);
	expect_accepted(3, 8);          /* the same bucket */
	expect_refused(4, 8, 3);
	expect_refused(5, 7, 1);
	with.key.lo = 3 + seg.sec[QB_SEC_KEYS].count;   /* the same bucket once more: all 128 bits count */
	ck_assert_int_eq(qb_job_submit_unique(&seg, driver, &with, &ref, &holder), QB_OK);
	ck_assert_int_eq(qb_job_submit_unique(&seg, driver, &without, &ref, &holder), QB_EUSAGE);
	ck_assert_int_eq(qb_job_submit(&seg, driver, &with, &ref), QB_EUSAGE);
	/* What was refused has left nothing behind. */
	ck_assert_uint_eq(free_slots(), seg.cfg.job_count - 3);
	ck_assert_uint_eq(used_blocks(), 3 * 2);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_SUBMITTED), 3);
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 3);
	ck_assert_uint_eq(qb_key_missing(&seg), 0);
}
END_TEST

/* From accepted to ended, and no longer. */
START_TEST(until_it_has_ended)
{
	static const struct { uint32_t state; int holds; } each[] = {
		{ QB_JOB_READY, 1 }, { QB_JOB_CLAIMED, 1 }, { QB_JOB_STARTED, 1 }, { QB_JOB_WAITING, 1 },
		{ QB_JOB_AMBIGUOUS, 1 }, { QB_JOB_DONE, 0 }, { QB_JOB_FAILED, 0 }, { QB_JOB_DEAD, 0 }, { QB_JOB_SYNCED, 0 },
	};

	expect_accepted(1, 7);
	uint64_t w = seg.jobs[0].word.v;
	struct qb_key key = { 7, 3 };
	struct qb_key_holder holder = { .slot_idx = 0, .gen = qb_word_gen(w) };

	for (unsigned i = 0; i < QB_ARRAY_COUNT(each); i++) {
		struct qb_key_holder found;

		seg.jobs[0].word.v = (w & ~0x3full) | each[i].state;
		ck_assert_int_eq(qb_key_find(&seg, &key, &found), each[i].holds ? QB_OK : QB_EMPTY);
		ck_assert_int_eq(qb_key_is_held(&seg, &holder), each[i].holds);
	}
	/* The next generation of the slot, without a key: the old one is nobody's. */
	qb_job_free(&seg, 0, (seg.jobs[0].word.v & ~0x3full) | QB_JOB_DONE);
	seg.jobs[0].word.v = qb_word(holder.gen + 1, 0, 0, 0, QB_JOB_FREE);
	qb_hint_set(seg.free_map, 0);
	struct qb_submit without = qb_test_submit(2);
	struct qb_held ref;

	ck_assert_int_eq(qb_job_submit(&seg, driver, &without, &ref), QB_OK);
	ck_assert_uint_eq(ref.slot_idx, 0);
	ck_assert_int_eq(qb_key_find(&seg, &key, &holder), QB_EMPTY);
	expect_accepted(3, 7);
}
END_TEST

START_TEST(a_full_bucket_is_back_pressure)
{
	struct qb_key_holder holder;
	struct qb_held ref;

	for (uint64_t k = 1; k <= QB_KEY_CELLS; k++)
		expect_accepted(k, k);
	uint32_t slots = free_slots(), blocks = used_blocks();

	ck_assert_int_eq(submit(90, 90, &ref, &holder), QB_FULL);
	expect_refused(91, 5, 5);
	ck_assert_uint_eq(free_slots(), slots);
	ck_assert_uint_eq(used_blocks(), blocks);
	ck_assert_uint_eq(qb_count_sum(&seg, QB_COUNT_SUBMIT_FULL), 1);
	ck_assert_uint_eq(seg.keys[3].pending.v, 0);
	/* One ends; its place is the next one's. */
	seg.jobs[6].word.v = (seg.jobs[6].word.v & ~0x3full) | QB_JOB_DONE;
	expect_accepted(90, 90);
	ck_assert_uint_eq(qb_key_missing(&seg), 0);
}
END_TEST

/* Died with his announcement out: who comes next carries it through, under whatever key. */
START_TEST(the_next_one_finishes_it)
{
	struct qb_submit what = job_of(1, 7, 3);
	struct qb_held asking, held;

	/* A generation that needs all its bits. */
	seg.jobs[0].word.v = qb_word(0x2abcdef, 0, 0, 0, QB_JOB_FREE);
	qb_test_asking(&seg, other, &what, 1, &asking);
	/* Under its own key: accepted on its behalf, and so this one is refused, behind its back. */
	expect_refused(2, 7, 1);
	ck_assert_uint_eq(seg.jobs[0].word.v, qb_word(0x2abcdef, 0, 0, 0, QB_JOB_READY));
	ck_assert_uint_eq(seg.keys[3].pending.v, 0);
	ck_assert_uint_eq(used_blocks(), 2);
	/* To offer it was the dead one's part. */
	ck_assert_uint_eq(qb_ring_depth(&seg, QB_RING_NORMAL), 0);
	ck_assert_int_eq(qb_recover_seat(&rec, other, NULL, NULL), 0);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(held.slot_idx, 0);
}
END_TEST

START_TEST(a_recovered_announcement_is_swept_aside)
{
	struct qb_submit what = job_of(1, 7, 3);
	struct qb_held asking;

	qb_test_asking(&seg, other, &what, 1, &asking);
	ck_assert_int_eq(qb_recover_seat(&rec, other, NULL, NULL), 0);
	ck_assert_uint_eq(rec.verdicts[QB_VERDICT_NEVER_ACCEPTED], 1);
	ck_assert_uint_ne(seg.keys[3].pending.v, 0);
	expect_accepted(2, 7);
	expect_refused(3, 7, 2);
	ck_assert_uint_eq(seg.keys[3].pending.v, 0);
	ck_assert_uint_eq(used_blocks(), 2);
}
END_TEST

static void help_it(void *ctx, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	(void)ctx, (void)verdict, (void)slot_idx, (void)before;
	expect_accepted(2, 8);
}

/* Recovery has looked at the word; before it decides, somebody who lives has accepted the job. */
START_TEST(recovery_that_comes_second_offers_the_job)
{
	struct qb_submit what = job_of(1, 7, 3);
	struct qb_held asking, held;

	qb_test_asking(&seg, other, &what, 1, &asking);
	/* It is met in the pass over the table, behind the scan of the rings. */
	memset(seg.seats[other].recent, 0, sizeof(seg.seats[other].recent));
	ck_assert_int_eq(qb_recover_seat(&rec, other, help_it, NULL), 0);
	expect_refused(3, 7, 1);
	ck_assert(qb_test_bit(seg.dirty_map, asking.slot_idx));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(qb_word_state(seg.jobs[asking.slot_idx].word.v), QB_JOB_CLAIMED);
}
END_TEST

/* An announcement that has outlived 2^26 generations of its slot names one that is being filled, or asks elsewhere. */
START_TEST(an_old_announcement_decides_nothing)
{
	struct qb_submit what = job_of(1, 7, 3);
	struct qb_held ref;

	ck_assert_int_eq(qb_job_fill(&seg, other, &what, &ref), QB_OK);
	seg.keys[3].pending.v = 1ull << 63 | (uint64_t)qb_word_gen(ref.word) << 20 | ref.slot_idx;
	expect_accepted(2, 8);
	ck_assert_uint_eq(seg.jobs[ref.slot_idx].word.v, ref.word);
	what = job_of(3, 7, 4);
	qb_test_asking(&seg, other, &what, 0, &ref);
	seg.keys[3].pending.v = 1ull << 63 | (uint64_t)qb_word_gen(ref.word) << 20 | ref.slot_idx;
	expect_accepted(4, 9);
	ck_assert_uint_eq(seg.jobs[ref.slot_idx].word.v, ref.word);
	ck_assert_uint_eq(seg.keys[3].pending.v, 0);
	/* Nor does nonsense. */
	seg.keys[3].pending.v = 12345;
	seg.keys[3].cell[4].v = 1ull << 63 | seg.cfg.job_count;
	expect_accepted(5, 10);
}
END_TEST

/* It has its place and is about to be accepted: whoever looks for one must not take it. */
START_TEST(who_asks_keeps_his_place)
{
	struct qb_submit what = job_of(1, 7, 3);
	struct qb_held asking;

	qb_test_asking(&seg, other, &what, 0, &asking);
	uint64_t entry = 1ull << 63 | (uint64_t)qb_word_gen(asking.word) << 20 | asking.slot_idx;

	seg.keys[3].cell[0].v = entry;
	expect_accepted(2, 8);
	ck_assert_uint_eq(seg.keys[3].cell[0].v, entry);
	/* When it was refused, or freed, it is worth nothing. */
	seg.jobs[asking.slot_idx].word.v = qb_word(qb_word_gen(asking.word), 0, other, QB_FILLING_DUPLICATE, QB_JOB_FILLING);
	expect_accepted(3, 9);
	ck_assert_uint_ne(seg.keys[3].cell[0].v, entry);
}
END_TEST

START_TEST(the_index_can_be_made_anew)
{
	struct qb_submit plain = qb_test_submit(50);
	struct qb_held ref;

	for (uint64_t k = 1; k <= 9; k++)
		expect_accepted(k, k);
	ck_assert_int_eq(qb_job_submit(&seg, driver, &plain, &ref), QB_OK);
	seg.jobs[4].word.v = (seg.jobs[4].word.v & ~0x3full) | QB_JOB_DONE;
	memset(seg.keys, 0xee, seg.sec[QB_SEC_KEYS].bytes);
	ck_assert_int_eq(qb_key_rebuild(&seg), QB_OK);
	ck_assert_uint_eq(qb_key_missing(&seg), 0);
	for (uint64_t k = 1; k <= 9; k++)
		if (k != 5)
			expect_refused(60, k, k);
	expect_accepted(60, 5);
	memset(seg.keys, 0, seg.sec[QB_SEC_KEYS].bytes);
	ck_assert_uint_eq(qb_key_missing(&seg), 9);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("key");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, one_at_a_time);
	tcase_add_test(t, until_it_has_ended);
	tcase_add_test(t, a_full_bucket_is_back_pressure);
	tcase_add_test(t, the_next_one_finishes_it);
	tcase_add_test(t, a_recovered_announcement_is_swept_aside);
	tcase_add_test(t, recovery_that_comes_second_offers_the_job);
	tcase_add_test(t, an_old_announcement_decides_nothing);
	tcase_add_test(t, who_asks_keeps_his_place);
	tcase_add_test(t, the_index_can_be_made_anew);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
