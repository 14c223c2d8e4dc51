/* SPDX-License-Identifier: Apache-2.0 */
/* The read-only check: damage is a finding, what a kill leaves is counted and no finding. */
#include <check.h>
#include <stdlib.h>

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/check.h"
#include "shm/event.h"
#include "shm/seat.h"
#include "tests/lib/shm-fixture.h"

static struct qb_seg seg;
static struct qb_check out;
static char last[256];

static void setup(void)
{
	qb_test_segment(&seg);
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static void keep(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(last, sizeof(last), "%s", text);
}

static int findings(void)
{
	int n = qb_check_segment(&seg, &out, keep, NULL);

	ck_assert_int_ge(n, 0);
	/* Without anybody who listens it counts the same. */
	ck_assert_int_eq(qb_check_segment(&seg, &out, NULL, NULL), n);
	return n;
}

static struct qb_held submit(uint64_t job_id, uint32_t payload_bytes)
{
	static char payload[2048] = "payload";
	struct qb_submit what = qb_test_submit(job_id);
	struct qb_held ref;

	what.payload = payload;
	what.payload_bytes = payload_bytes;
	ck_assert_int_eq(qb_job_submit(&seg, 1, &what, &ref), QB_OK);
	return ref;
}

/* Some of everything: done with a result, started, ready, waiting. */
static void populate(void)
{
	struct qb_held held;
	int final;

	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_DRIVER), 1);
	ck_assert_int_eq(qb_seat_take(&seg, QB_ROLE_WORKER), 2);
	for (uint32_t i = 0; i < 5; i++)
		submit(i + 1, 100 * i);
	qb_job_claim(&seg, 2, &held);
	qb_job_start(&seg, &held);
	ck_assert_int_eq(qb_job_complete(&seg, 2, &held, "result", 6), 0);
	qb_job_claim(&seg, 2, &held);
	qb_job_start(&seg, &held);
	qb_job_fail(&seg, 2, &held, 0, UINT64_MAX - 1, &final);
	qb_job_claim(&seg, 2, &held);
	qb_job_start(&seg, &held);
}

START_TEST(fresh_segment_has_no_finding)
{
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.events, 0);
	ck_assert_uint_eq(out.blocks_used, 0);
}
END_TEST

START_TEST(working_segment_is_counted_by_state)
{
	populate();
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.by_state[QB_JOB_DONE], 1);
	ck_assert_uint_eq(out.by_state[QB_JOB_WAITING], 1);
	ck_assert_uint_eq(out.by_state[QB_JOB_STARTED], 1);
	ck_assert_uint_eq(out.by_state[QB_JOB_READY], 2);
	ck_assert_uint_eq(out.blocks_used, 1 + 2 + 3 + 4);
	ck_assert_uint_eq(out.ring_depth[QB_RING_NORMAL], 2);
	ck_assert_uint_eq(out.dirty, 5);
	ck_assert_uint_eq(out.held_by_nobody, 0);
	ck_assert_uint_eq(out.ready_without_entry, 0);
}
END_TEST

START_TEST(what_a_kill_leaves_is_counted_and_no_finding)
{
	struct qb_ring_shm *ring = qb_seg_ring(&seg, QB_RING_NORMAL);

	populate();
	seg.seats[2].word.v = qb_seat_word(1, 0, QB_SEAT_FREE);
	qb_test_ready(&seg, 20, 3, 99);                         /* killed before the push */
	qb_seg_block(&seg, 50)->tag.v = qb_block_tag(30, 3);    /* killed submitter's block */
	seg.hdr->high_water.v = 32;                             /* raised before the word, always */
	seg.jobs[31].word.v = qb_word(1, 0, 1, 0, QB_JOB_FILLING);
	qb_ring_push(&seg, QB_RING_NORMAL, 0, 0);               /* its job is done: stale */
	ring->tail.v--;
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.held_by_nobody, 1);
	ck_assert_uint_eq(out.ready_without_entry, 1);
	ck_assert_uint_eq(out.blocks_leaked, 1);
	ring->tail.v++;
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.ring_stale, 1);
}
END_TEST

/* One flipped bit in the mark had hidden all jobs above it, from a check that found nothing. */
START_TEST(job_above_the_high_water_mark_is_counted_and_a_finding)
{
	populate();
	uint32_t mark = seg.hdr->high_water.v, ready = 0;

	ck_assert_int_eq(findings(), 0);
	ready = out.by_state[QB_JOB_READY];
	qb_test_ready(&seg, 40, 3, 99);
	qb_ring_push(&seg, QB_RING_NORMAL, 40, 3);
	seg.hdr->high_water.v = mark;
	ck_assert_int_eq(findings(), 1);
	ck_assert_uint_eq(out.by_state[QB_JOB_READY], ready + 1);
	seg.hdr->high_water.v = 41;
	ck_assert_int_eq(findings(), 0);
}
END_TEST

/* Each index may lag by one, and both may, in every combination that kills can leave. */
START_TEST(lagging_ring_indexes_are_no_finding)
{
	struct qb_ring_shm *ring = qb_seg_ring(&seg, QB_RING_NORMAL);
	struct qb_ring_entry entry;

	submit(1, 0);
	ring->tail.v = 0;                       /* pusher killed before tail */
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.ready_without_entry, 0);
	ck_assert_int_eq(qb_ring_peek(&seg, QB_RING_NORMAL, &entry), QB_OK);
	qb_ring_drop(&seg, QB_RING_NORMAL, &entry);
	ck_assert_uint_eq(ring->head.v, 1);     /* taken before anybody helped tail: head is before it */
	ck_assert_uint_eq(ring->tail.v, 0);
	ck_assert_int_eq(findings(), 0);
	ring->head.v = 0;                       /* and the taker was killed before head */
	ck_assert_int_eq(findings(), 0);
	/* Full, and refilled behind a head that lags. */
	qb_test_ring_at(&seg, QB_RING_NORMAL, 1000);
	for (uint32_t i = 0; i < seg.cfg.ring_count; i++)
		qb_ring_push(&seg, QB_RING_NORMAL, i % 64, 5);
	ck_assert_int_eq(findings(), 0);
	qb_ring_peek(&seg, QB_RING_NORMAL, &entry);
	qb_ring_drop(&seg, QB_RING_NORMAL, &entry);
	qb_ring_push(&seg, QB_RING_NORMAL, 1, 5);
	ring->head.v--;
	ck_assert_int_eq(findings(), 0);
	ring->tail.v--;
	ck_assert_int_eq(findings(), 0);
}
END_TEST

START_TEST(ring_that_contradicts_itself_is_a_finding)
{
	struct qb_ring_shm *ring = qb_seg_ring(&seg, QB_RING_URGENT);

	ring->head.v = 5;
	ck_assert_int_eq(findings(), 1);
	ck_assert_uint_eq(out.ring_broken, 1);
	ring->head.v = 0;
	ring->tail.v = seg.cfg.ring_count + 2;
	ck_assert_int_eq(findings(), 1);
	ring->tail.v = 3;
	ck_assert_int_eq(findings(), 0);        /* three empty positions: nothing that recovery minds */
	qb_ring_slots(ring)[1].v = qb_slot_word(7, 1, 0, 0);
	ck_assert_int_eq(findings(), 1);
}
END_TEST

START_TEST(word_with_impossible_fields_is_a_finding)
{
	submit(1, 0);
	seg.jobs[0].word.v = qb_word(0, 0, 0, 0, QB_JOB_STATE_COUNT);
	ck_assert_int_eq(findings(), 1);
	ck_assert_uint_eq(out.bad_words, 1);
	ck_assert_ptr_nonnull(strstr(last, "job slot 0"));
	seg.jobs[0].word.v = qb_word(0, 0, seg.cfg.seat_count, 0, QB_JOB_DONE);
	ck_assert_int_eq(findings(), 1);
}
END_TEST

START_TEST(damaged_payload_and_result_are_findings)
{
	populate();
	qb_block_data(qb_seg_block(&seg, 2))[0] ^= 1;
	ck_assert_int_eq(findings(), 1);
	ck_assert_uint_eq(out.bad_payloads, 1);
	qb_block_data(qb_seg_block(&seg, 2))[0] ^= 1;
	((uint8_t *)(qb_seg_arena(&seg, 2) + 1))[24] ^= 1;
	ck_assert_int_eq(findings(), 1);
	ck_assert_uint_eq(out.bad_results, 1);
	seg.jobs[0].result_pos = UINT64_MAX;
	ck_assert_int_eq(findings(), 1);
	seg.jobs[3].block_first = 0x7fffffff;
	seg.jobs[4].payload_bytes = UINT32_MAX;
	ck_assert_int_eq(findings(), 3);
}
END_TEST

START_TEST(high_water_mark_above_the_table_is_a_finding)
{
	seg.hdr->high_water.v = UINT32_MAX;
	ck_assert_int_eq(findings(), 1);
}
END_TEST

START_TEST(events_are_counted_with_what_each_reader_has_not_seen)
{
	struct qb_event_writer w;
	struct qb_event_source s;
	const struct qb_event_shm *e;

	qb_event_open(&w, &seg, 3, QB_OVERFLOW_DROP);
	for (uint32_t i = 0; i < seg.cfg.event_count + 4; i++) {
		struct qb_event_shm *r = qb_event_begin(&w);

		if (r)
			qb_event_commit(&w, r);
	}
	qb_event_source_open(&s, &seg, 3, QB_READER_SYNC);
	qb_event_peek(&s, &e, 10);
	qb_event_consumed(&s, 10);
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.events, seg.cfg.event_count);
	ck_assert_uint_eq(out.events_dropped, 4);
	ck_assert_uint_eq(out.events_unread[QB_READER_SYNC], seg.cfg.event_count - 10);
	ck_assert_uint_eq(out.events_unread[QB_READER_RECORD], seg.cfg.event_count);
	w.ring->tail.v--;                       /* killed before the hint */
	ck_assert_int_eq(findings(), 0);
	w.ring->tail.v++;
	w.records[5].seq.v = 0;                 /* killed inside a record */
	ck_assert_int_eq(findings(), 0);
	ck_assert_uint_eq(out.events, seg.cfg.event_count - 1);
	w.records[5].seq.v = 5;
	ck_assert_int_eq(findings(), 1);
	w.records[5].seq.v = 6 + 100ull * seg.cfg.event_count;
	ck_assert_int_eq(findings(), 1);
}
END_TEST

START_TEST(repeated_effects_are_counted)
{
	for (int i = 0; i < 3; i++)
		qb_effect_bump(&seg, 7);
	qb_effect_bump(&seg, 8);
	qb_check_segment(&seg, &out, NULL, NULL);
	ck_assert_uint_eq(out.effects_repeated, 1);
}
END_TEST

/* Random bytes everywhere behind the header: whatever it finds, it must come back. */
START_TEST(check_of_random_bytes_ends)
{
	uint64_t x = 88172645463325252ull + (uint64_t)_i;

	for (size_t off = QB_PAGE_BYTES; off + 8 <= seg.bytes; off += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		uint64_t v = _i % 2 ? x : x & 0xff00ff0f00ff03ffull;

		memcpy(seg.base + off, &v, sizeof(v));
	}
	seg.hdr->high_water.v = (uint32_t)x;
	ck_assert_int_gt(findings(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("check");
	TCase *t = tcase_create("check");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, fresh_segment_has_no_finding);
	tcase_add_test(t, working_segment_is_counted_by_state);
	tcase_add_test(t, what_a_kill_leaves_is_counted_and_no_finding);
	tcase_add_test(t, job_above_the_high_water_mark_is_counted_and_a_finding);
	tcase_add_test(t, lagging_ring_indexes_are_no_finding);
	tcase_add_test(t, ring_that_contradicts_itself_is_a_finding);
	tcase_add_test(t, word_with_impossible_fields_is_a_finding);
	tcase_add_test(t, damaged_payload_and_result_are_findings);
	tcase_add_test(t, high_water_mark_above_the_table_is_a_finding);
	tcase_add_test(t, events_are_counted_with_what_each_reader_has_not_seen);
	tcase_add_test(t, repeated_effects_are_counted);
	tcase_add_loop_test(t, check_of_random_bytes_ends, 0, 20);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
