/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs put into a new segment from what a row says of them. */
#include <check.h>

#include "shm/check.h"
#include "shm/event.h"
#include "shm/hint.h"
#include "shm/key.h"
#include "shm/restore.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

#define SOON (1000 * 1000000000ull)     /* beyond the doubt about clocks */

static struct qb_seg seg;
static uint64_t now;
static uint8_t bytes[QB_PAYLOAD_BYTES_MAX];

static void setup(void)
{
	qb_test_segment(&seg);
	now = qb_mono_ns();
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static struct qb_restore_job row(uint64_t job_id, uint32_t state, uint16_t effect_class)
{
	return (struct qb_restore_job){
		.what = {
			.job_id = job_id, .submitted_raw = 5, .work_us = 77, .tenant = 88, .kind = 3, .error_class = 2,
			.max_attempts = 7, .effect_class = effect_class, .payload = "abc", .payload_bytes = 3,
		},
		.state = state, .attempt = QB_LIFE_ATTEMPTS + 4, .failures = 2, .due_ns = now + SOON,
	};
}

static void restore(uint32_t slot, const struct qb_restore_job *j, enum qb_restored *how)
{
	ck_assert_int_eq(qb_job_restore(&seg, slot, j, now, how), 0);
}

static void nothing_is_wrong(void)
{
	struct qb_check c;

	ck_assert_int_eq(qb_check_segment(&seg, &c, NULL, NULL), 0);
	ck_assert_uint_eq(c.ready_without_entry, 0);
}

/* What a row's state and its class come to. */
static const struct {
	uint32_t state;
	uint16_t effect_class;
	int is_due;             /* a waiting one: its time has come, or may have */
	uint32_t becomes;
	enum qb_restored how;
} table[] = {
	{ QB_JOB_READY, QB_EFFECT_IDEMPOTENT, 0, QB_JOB_READY, QB_RESTORED_AGAIN },
	{ QB_JOB_READY, QB_EFFECT_OPAQUE, 0, QB_JOB_AMBIGUOUS, QB_RESTORED_PARKED },
	{ QB_JOB_READY, QB_EFFECT_TRANSACTIONAL, 0, QB_JOB_AMBIGUOUS, QB_RESTORED_IN_DOUBT },
	{ QB_JOB_WAITING, QB_EFFECT_IDEMPOTENT, 0, QB_JOB_WAITING, QB_RESTORED_WAITING },
	{ QB_JOB_WAITING, QB_EFFECT_OPAQUE, 0, QB_JOB_WAITING, QB_RESTORED_WAITING },
	{ QB_JOB_WAITING, QB_EFFECT_TRANSACTIONAL, 0, QB_JOB_WAITING, QB_RESTORED_WAITING },
	{ QB_JOB_WAITING, QB_EFFECT_IDEMPOTENT, 1, QB_JOB_WAITING, QB_RESTORED_AGAIN },
	{ QB_JOB_WAITING, QB_EFFECT_OPAQUE, 1, QB_JOB_AMBIGUOUS, QB_RESTORED_PARKED },
	{ QB_JOB_WAITING, QB_EFFECT_TRANSACTIONAL, 1, QB_JOB_AMBIGUOUS, QB_RESTORED_IN_DOUBT },
	{ QB_JOB_AMBIGUOUS, QB_EFFECT_IDEMPOTENT, 0, QB_JOB_AMBIGUOUS, QB_RESTORED_PARKED },
	{ QB_JOB_AMBIGUOUS, QB_EFFECT_OPAQUE, 0, QB_JOB_AMBIGUOUS, QB_RESTORED_PARKED },
	{ QB_JOB_AMBIGUOUS, QB_EFFECT_TRANSACTIONAL, 0, QB_JOB_AMBIGUOUS, QB_RESTORED_IN_DOUBT },
};
#define TABLE_COUNT ((int)(sizeof(table) / sizeof(table[0])))

START_TEST(state_and_class_decide_and_everything_else_is_carried_on)
{
	struct qb_restore_job j = row(9, table[_i].state, table[_i].effect_class);
	struct qb_job_shm *at = &seg.jobs[0];
	enum qb_restored how;
	char back[8];

	if (table[_i].is_due)
		j.due_ns = now + QB_RESTORE_CLOCK_NS;
	restore(0, &j, &how);
	ck_assert_uint_eq(at->word.v, qb_word(0, QB_LIFE_ATTEMPTS + 4, 0, 2, table[_i].becomes));
	ck_assert_uint_eq(how, table[_i].how);
	ck_assert_uint_eq(at->job_id, 9);
	ck_assert_uint_eq(at->submitted_raw, 5);
	ck_assert_uint_eq(at->work_us, 77);
	ck_assert_uint_eq(at->tenant, 88);
	ck_assert_uint_eq(at->kind, 3);
	ck_assert_uint_eq(at->error_class, 2);
	ck_assert_uint_eq(at->max_attempts, 7);
	ck_assert_uint_eq(at->effect_class, table[_i].effect_class);
	ck_assert_uint_eq(at->due_ns.v, table[_i].becomes == QB_JOB_WAITING ? j.due_ns : 0);
	ck_assert_int_eq(qb_job_payload(&seg, 0, 0, back, sizeof(back)), 3);
	ck_assert_mem_eq(back, "abc", 3);
	/* Its row is there; news is only what the row does not say. */
	struct qb_held ref = { .slot_idx = 0, .word = at->word.v };
	int is_news = table[_i].becomes == QB_JOB_AMBIGUOUS && table[_i].state != QB_JOB_AMBIGUOUS;

	ck_assert_int_eq(qb_job_is_durable(&seg, &ref), 1);
	ck_assert_int_eq(qb_job_is_dirty(at, at->word.v), is_news);
	ck_assert_int_eq(qb_hint_test(seg.dirty_map, 0), is_news);
	ck_assert_int_eq(qb_hint_test(seg.free_map, 0), 0);
	ck_assert_int_eq(qb_hint_test(seg.wait_map, 0), table[_i].becomes == QB_JOB_WAITING);
	ck_assert_uint_eq(seg.hdr->high_water.v, 1);
	nothing_is_wrong();
}
END_TEST

START_TEST(restored_jobs_run_in_their_order_under_attempts_that_nobody_had)
{
	uint32_t worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	enum qb_restored how;

	for (uint32_t i = 0; i < 64; i++) {
		struct qb_restore_job j = row(100 + i, QB_JOB_READY, QB_EFFECT_IDEMPOTENT);

		restore(i, &j, &how);
	}
	nothing_is_wrong();
	for (uint32_t i = 0; i < 64; i++) {
		struct qb_held held;

		ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
		ck_assert_uint_eq(seg.jobs[held.slot_idx].job_id, 100 + i);
		ck_assert_uint_eq(qb_word_attempt(held.word), QB_LIFE_ATTEMPTS + 5);
		ck_assert_uint_eq(qb_word_failures(held.word), 2);
		ck_assert_int_eq(qb_job_start(&seg, &held), 0);
		ck_assert_int_eq(qb_job_complete(&seg, worker, &held, "r", 1), 0);
		qb_job_free(&seg, held.slot_idx, held.word);
	}
	struct qb_submit next = qb_test_submit(7);
	struct qb_held ref;

	/* The slots are as good as any. */
	for (uint32_t i = 0; i < 64; i++)
		ck_assert_int_eq(qb_job_submit(&seg, worker, &next, &ref), QB_OK);
	nothing_is_wrong();
}
END_TEST

START_TEST(waiting_job_is_run_when_its_time_has_come_and_not_before)
{
	uint32_t worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	struct qb_restore_job later = row(1, QB_JOB_WAITING, QB_EFFECT_OPAQUE);
	struct qb_restore_job past = row(2, QB_JOB_WAITING, QB_EFFECT_IDEMPOTENT);
	enum qb_restored how;
	struct qb_held held;

	past.due_ns = 0;
	restore(0, &later, &how);
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, later.due_ns);
	restore(1, &past, &how);
	ck_assert_uint_eq(seg.hdr->next_due_ns.v, 0);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(seg.jobs[held.slot_idx].job_id, 2);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_EMPTY);
	ck_assert_uint_eq(qb_job_promote_due(&seg, later.due_ns - 1), 0);
	ck_assert_uint_eq(qb_job_promote_due(&seg, later.due_ns), 1);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(seg.jobs[held.slot_idx].job_id, 1);
}
END_TEST

START_TEST(ambiguous_job_of_an_earlier_life_can_be_resolved)
{
	uint32_t worker = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	struct qb_restore_job j = row(1, QB_JOB_READY, QB_EFFECT_TRANSACTIONAL);
	enum qb_restored how;
	struct qb_held held;

	/* As recover makes the segment: each life has as many claims as the one before. */
	seg.cfg.max_claims += QB_LIFE_ATTEMPTS;
	restore(0, &j, &how);
	restore(1, &j, &how);
	ck_assert_int_eq(qb_job_resolve(&seg, worker, 0, seg.jobs[0].word.v, QB_JOB_DONE, "xy", 2), 0);
	ck_assert_uint_eq(qb_word_state(seg.jobs[0].word.v), QB_JOB_DONE);
	ck_assert_int_eq(qb_job_resolve(&seg, worker, 1, seg.jobs[1].word.v, QB_JOB_READY, NULL, 0), 0);
	ck_assert_int_eq(qb_job_claim(&seg, worker, &held), QB_OK);
	ck_assert_uint_eq(qb_word_attempt(held.word), QB_LIFE_ATTEMPTS + 5);
}
END_TEST

static int submit_with_key(uint32_t seat, uint64_t hi, uint64_t lo, struct qb_key_holder *holder)
{
	struct qb_submit what = qb_test_submit(1000);
	struct qb_held ref;

	what.key = (struct qb_key){ .hi = hi, .lo = lo };
	return qb_job_submit_unique(&seg, seat, &what, &ref, holder);
}

/* In whatever state it comes back; slot 1 has another key of the same bucket, slot 2 has none. */
START_TEST(restored_job_holds_its_key_until_it_has_ended)
{
	uint32_t driver = (uint32_t)qb_seat_take(&seg, QB_ROLE_DRIVER);
	struct qb_restore_job j = row(9, table[_i].state, table[_i].effect_class), other = j, none = j;
	struct qb_key_holder holder = { 0 };
	enum qb_restored how;

	j.what.key = (struct qb_key){ .hi = UINT64_MAX, .lo = 3 };
	other.what.key = (struct qb_key){ .hi = 7, .lo = 3 };
	other.what.job_id = 10;
	none.what.job_id = 11;
	restore(0, &j, &how);
	restore(1, &other, &how);
	restore(2, &none, &how);
	ck_assert_uint_eq(seg.jobs[0].key_hi.v, UINT64_MAX);
	ck_assert_uint_eq(seg.jobs[0].key_lo.v, 3);
	ck_assert_uint_eq(seg.jobs[2].key_hi.v | seg.jobs[2].key_lo.v, 0);
	ck_assert_uint_eq(qb_key_missing(&seg), 2);
	ck_assert_int_eq(qb_key_rebuild(&seg), QB_OK);
	ck_assert_uint_eq(qb_key_missing(&seg), 0);
	ck_assert_int_eq(submit_with_key(driver, UINT64_MAX, 3, &holder), QB_DUPLICATE);
	ck_assert_uint_eq(holder.job_id, 9);
	ck_assert_uint_eq(holder.slot_idx, 0);
	ck_assert_int_eq(submit_with_key(driver, 7, 3, &holder), QB_DUPLICATE);
	ck_assert_uint_eq(holder.job_id, 10);
	qb_store_relaxed64(&seg.jobs[0].word, qb_word(0, QB_LIFE_ATTEMPTS + 4, 0, 2, QB_JOB_DEAD));
	ck_assert_int_eq(submit_with_key(driver, UINT64_MAX, 3, &holder), QB_OK);
	ck_assert_int_eq(submit_with_key(driver, 7, 3, &holder), QB_DUPLICATE);
}
END_TEST

START_TEST(payload_of_every_byte_and_of_the_greatest_size_comes_through)
{
	struct qb_restore_job j = row(1, QB_JOB_READY, QB_EFFECT_IDEMPOTENT);
	static uint8_t back[QB_PAYLOAD_BYTES_MAX];
	struct qb_config_shm cfg;
	enum qb_restored how;

	qb_test_config(&cfg);
	cfg.block_count = 2048;
	qb_seg_detach(&seg);
	qb_test_create(&seg, &cfg);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i ^ i >> 8);
	j.what.payload = bytes;
	const uint32_t sizes[] = { 0, 1, 256, seg.block_data_bytes, seg.block_data_bytes + 1, QB_PAYLOAD_BYTES_MAX };

	for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		j.what.payload_bytes = sizes[i];
		restore(i, &j, &how);
		ck_assert_int_eq(qb_job_payload(&seg, i, 0, back, sizeof(back)), (int)sizes[i]);
		ck_assert_mem_eq(back, bytes, sizes[i]);
	}
	nothing_is_wrong();
	j.what.payload_bytes = QB_PAYLOAD_BYTES_MAX + 1;
	ck_assert_int_eq(qb_job_restore(&seg, 20, &j, now, &how), QB_ETOOBIG);
}
END_TEST

START_TEST(job_without_room_for_its_payload_leaves_its_slot_free)
{
	struct qb_restore_job j = row(1, QB_JOB_READY, QB_EFFECT_IDEMPOTENT);
	enum qb_restored how;

	j.what.payload = bytes;
	j.what.payload_bytes = seg.cfg.block_count * seg.block_data_bytes + 1;
	ck_assert_int_eq(qb_job_restore(&seg, 0, &j, now, &how), QB_FULL);
	ck_assert_uint_eq(seg.jobs[0].word.v, 0);
	j.what.payload_bytes--;
	restore(0, &j, &how);
	nothing_is_wrong();
	ck_assert_int_eq(qb_job_restore(&seg, 0, &j, now, &how), QB_EUSAGE);
	ck_assert_int_eq(qb_job_restore(&seg, seg.cfg.job_count, &j, now, &how), QB_EUSAGE);
}
END_TEST

START_TEST(row_that_no_job_can_have_written_is_refused)
{
	struct qb_restore_job good = row(1, QB_JOB_READY, QB_EFFECT_IDEMPOTENT), bad[12];
	enum qb_restored how;
	unsigned n = 0;

	for (unsigned i = 0; i < 12; i++)
		bad[i] = good;
	bad[n++].what.job_id = 0;
	bad[n++].what.max_attempts = 0;
	bad[n++].what.max_attempts = 16;
	bad[n++].what.effect_class = QB_EFFECT_TRANSACTIONAL + 1;
	bad[n++].failures = 16;
	bad[n++].attempt = 0xffff;
	bad[n++].state = QB_JOB_FREE;
	bad[n++].state = QB_JOB_CLAIMED;
	bad[n++].state = QB_JOB_STARTED;
	bad[n++].state = QB_JOB_DONE;
	bad[n++].state = QB_JOB_DEAD;
	bad[n++].state = 63;
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(qb_job_restore(&seg, 0, &bad[i], now, &how), QB_ECORRUPT);
		ck_assert_uint_eq(seg.jobs[0].word.v, 0);
	}
	restore(0, &good, &how);
}
END_TEST

START_TEST(events_go_on_behind_those_of_the_life_before)
{
	uint32_t seat = (uint32_t)qb_seat_take(&seg, QB_ROLE_WORKER);
	const struct qb_event_shm *first;
	struct qb_event_source source;
	struct qb_event_writer log;

	/* Not a multiple of the ring, so that the records do not begin at its start. */
	qb_restore_events(&seg, seat, 1000003);
	qb_restore_events(&seg, seg.cfg.seat_count, 7);
	qb_restore_events(&seg, 0, 7);
	qb_event_open(&log, &seg, seat, QB_OVERFLOW_DROP);
	qb_event_source_open(&source, &seg, seat, QB_READER_SYNC);
	for (uint32_t i = 0; i < seg.cfg.event_count; i++) {
		struct qb_event_shm *e = qb_event_begin(&log);

		ck_assert_ptr_nonnull(e);
		e->job_id = i;
		qb_event_commit(&log, e);
	}
	ck_assert_ptr_null(qb_event_begin(&log));
	ck_assert_uint_gt(qb_event_peek(&source, &first, seg.cfg.event_count), 0);
	ck_assert_uint_eq(first->seq.v, 1000004);
	ck_assert_uint_eq(first->job_id, 0);
	nothing_is_wrong();
}
END_TEST

START_TEST(a_life_has_more_attempts_than_a_job_can_use)
{
	struct qb_config_shm usual;

	qb_config_default(&usual);
	/* Deaths, failures, and claims given back at orderly stops: room for a hundred of these. */
	ck_assert_uint_ge(QB_LIFE_ATTEMPTS, usual.max_claims + 15 + 100);
	ck_assert_uint_lt((QB_LIFE_MAX + 1) * QB_LIFE_ATTEMPTS, 0xffff);
	ck_assert_uint_eq(qb_life_of(qb_life_first_epoch(3) + 12), 3);
	ck_assert_uint_eq(qb_life_of(4000000000u), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restore");
	TCase *tc = tcase_create("restore");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, state_and_class_decide_and_everything_else_is_carried_on, 0, TABLE_COUNT);
	tcase_add_test(tc, restored_jobs_run_in_their_order_under_attempts_that_nobody_had);
	tcase_add_test(tc, waiting_job_is_run_when_its_time_has_come_and_not_before);
	tcase_add_test(tc, ambiguous_job_of_an_earlier_life_can_be_resolved);
	tcase_add_loop_test(tc, restored_job_holds_its_key_until_it_has_ended, 0, TABLE_COUNT);
	tcase_add_test(tc, payload_of_every_byte_and_of_the_greatest_size_comes_through);
	tcase_add_test(tc, job_without_room_for_its_payload_leaves_its_slot_free);
	tcase_add_test(tc, row_that_no_job_can_have_written_is_refused);
	tcase_add_test(tc, events_go_on_behind_those_of_the_life_before);
	tcase_add_test(tc, a_life_has_more_attempts_than_a_job_can_use);
	suite_add_tcase(suite, tc);

	SRunner *sr = srunner_create(suite);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed != 0;
}
