/* SPDX-License-Identifier: Apache-2.0 */
/* Event rings: publication, readers, overflow by configuration, and what a kill leaves. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "shm/event.h"
#include "shm/wait.h"
#include "tests/lib/shm-fixture.h"

#define SEAT 3u

static struct qb_seg seg;
static struct qb_event_writer w;
static struct qb_event_source record, sync_;
static uint32_t count;

static void setup(void)
{
	qb_test_segment(&seg);
	count = seg.cfg.event_count;
	qb_event_open(&w, &seg, SEAT, QB_OVERFLOW_DROP);
	qb_event_source_open(&record, &seg, SEAT, QB_READER_RECORD);
	qb_event_source_open(&sync_, &seg, SEAT, QB_READER_SYNC);
}

static void teardown(void)
{
	qb_seg_detach(&seg);
}

static int append(uint64_t job_id)
{
	struct qb_event_shm *e = qb_event_begin(&w);

	if (!e)
		return 0;
	e->job_id = job_id;
	e->token = ~job_id;
	e->arg0 = e->arg1 = job_id * 3;
	e->type = QB_EV_JOB_COMPLETED;
	e->attempt = 1;
	qb_event_commit(&w, e);
	return 1;
}

/* Reads everything there is; returns how many, checks that they count up from `first`. */
static uint32_t drain(struct qb_event_source *s, uint64_t first)
{
	const struct qb_event_shm *e;
	uint32_t n, total = 0;

	while ((n = qb_event_peek(s, &e, 1000)) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			ck_assert_uint_eq(e[i].job_id, first + total + i);
			ck_assert_uint_eq(e[i].token, ~e[i].job_id);
			ck_assert_uint_eq(e[i].seat, SEAT);
		}
		qb_event_consumed(s, n);
		total += n;
	}
	return total;
}

START_TEST(empty_ring_has_nothing_to_read)
{
	const struct qb_event_shm *e;

	ck_assert_uint_eq(qb_event_peek(&record, &e, 10), 0);
	ck_assert_uint_eq(qb_event_room(&w), count);
}
END_TEST

START_TEST(record_is_invisible_until_it_is_committed)
{
	const struct qb_event_shm *seen;
	struct qb_event_shm *e = qb_event_begin(&w);

	e->job_id = 1;
	e->token = ~1ull;
	ck_assert_uint_eq(qb_event_peek(&record, &seen, 10), 0);
	qb_event_commit(&w, e);
	ck_assert_uint_eq(drain(&record, 1), 1);
}
END_TEST

START_TEST(readers_have_positions_of_their_own_and_the_slower_holds_records_back)
{
	for (uint32_t i = 0; i < count; i++)
		ck_assert(append(i));
	ck_assert_uint_eq(drain(&record, 0), count);
	ck_assert(!append(99));
	ck_assert_uint_eq(drain(&sync_, 0), count);
	ck_assert(append(count));
	ck_assert_uint_eq(drain(&record, count), 1);
	ck_assert_uint_eq(drain(&sync_, count), 1);
}
END_TEST

START_TEST(pieces_end_at_the_end_of_the_ring)
{
	const struct qb_event_shm *e;

	for (uint32_t i = 0; i < count; i++)
		append(i);
	ck_assert_uint_eq(qb_event_peek(&record, &e, 5), 5);
	qb_event_consumed(&record, 5);
	drain(&sync_, 0);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert(append(count + i));
	ck_assert_uint_eq(qb_event_peek(&record, &e, 1000), count - 5);
	qb_event_consumed(&record, count - 5);
	ck_assert_uint_eq(qb_event_peek(&record, &e, 1000), 5);
	ck_assert_uint_eq(e[0].job_id, count);
}
END_TEST

START_TEST(ring_goes_round_many_times)
{
	uint64_t next = 0;

	for (uint32_t round = 0; round < 50; round++) {
		uint32_t n = 1 + round * 7 % count;

		for (uint32_t i = 0; i < n; i++)
			ck_assert(append(next + i));
		ck_assert_uint_eq(drain(&record, next), n);
		ck_assert_uint_eq(drain(&sync_, next), n);
		next += n;
	}
	ck_assert_uint_eq(w.ring->dropped.v, 0);
}
END_TEST

START_TEST(overflow_by_dropping_counts_each_record)
{
	for (uint32_t i = 0; i < count; i++)
		append(i);
	for (uint32_t i = 0; i < 7; i++)
		ck_assert(!append(1000 + i));
	ck_assert_uint_eq(w.ring->dropped.v, 7);
	ck_assert_uint_eq(w.ring->waited.v, 0);
	ck_assert_uint_eq(drain(&record, 0), count);
}
END_TEST

START_TEST(reader_outside_the_configuration_holds_nothing_back)
{
	struct qb_config_shm cfg;

	qb_seg_detach(&seg);
	qb_test_config(&cfg);
	cfg.readers = 1u << QB_READER_RECORD;
	qb_test_create(&seg, &cfg);
	qb_event_open(&w, &seg, SEAT, QB_OVERFLOW_DROP);
	qb_event_source_open(&record, &seg, SEAT, QB_READER_RECORD);
	for (uint32_t i = 0; i < count; i++)
		append(i);
	drain(&record, 0);
	ck_assert(append(count));
}
END_TEST

static void *slow_reader(void *arg)
{
	(void)arg;
	/* Not before the writer says that it waits: that is what the test is about. */
	while (qb_load_acquire64(&w.ring->waited) == 0)
		sched_yield();
	drain(&record, 0);
	drain(&sync_, 0);
	return NULL;
}

START_TEST(overflow_by_waiting_loses_nothing)
{
	pthread_t reader;

	w.overflow = QB_OVERFLOW_WAIT;
	for (uint32_t i = 0; i < count; i++)
		append(i);
	ck_assert_int_eq(pthread_create(&reader, NULL, slow_reader, NULL), 0);
	ck_assert(append(count));
	pthread_join(reader, NULL);
	ck_assert_uint_eq(w.ring->dropped.v, 0);
	ck_assert_uint_eq(w.ring->waited.v, 1);
	ck_assert_uint_eq(drain(&record, count), 1);
}
END_TEST

START_TEST(waiting_writer_wakes_the_sleeping_syncer)
{
	pthread_t reader;

	seg.hdr->syncer_seat.v = 5;
	seg.seats[5].asleep.v = 1;
	w.overflow = QB_OVERFLOW_WAIT;
	for (uint32_t i = 0; i < count; i++)
		append(i);
	pthread_create(&reader, NULL, slow_reader, NULL);
	append(count);
	pthread_join(reader, NULL);
	ck_assert_uint_eq(seg.seats[5].asleep.v, 0);
}
END_TEST

START_TEST(waiting_writer_gives_up_when_told_to_leave_and_counts_the_record)
{
	w.overflow = QB_OVERFLOW_WAIT;
	for (uint32_t i = 0; i < count; i++)
		append(i);
	seg.hdr->stop.v = QB_STOP_NOW;
	ck_assert(!append(count));
	ck_assert_uint_eq(w.ring->dropped.v, 1);
}
END_TEST

/* While the run ends in order the readers still read: back-pressure, not loss. */
START_TEST(orderly_end_is_no_reason_to_drop)
{
	pthread_t reader;

	w.overflow = QB_OVERFLOW_WAIT;
	seg.hdr->stop.v = QB_STOP_FINISH;
	for (uint32_t i = 0; i < count; i++)
		append(i);
	pthread_create(&reader, NULL, slow_reader, NULL);
	ck_assert(append(count));
	pthread_join(reader, NULL);
	ck_assert_uint_eq(w.ring->dropped.v, 0);
}
END_TEST

START_TEST(reader_continues_where_it_was)
{
	for (uint32_t i = 0; i < 10; i++)
		append(i);
	const struct qb_event_shm *e;

	qb_event_peek(&record, &e, 4);
	qb_event_consumed(&record, 4);
	qb_event_peek(&record, &e, 6);          /* killed before it said that it had read these */
	qb_event_source_open(&record, &seg, SEAT, QB_READER_RECORD);
	ck_assert_uint_eq(drain(&record, 4), 6);
}
END_TEST

START_TEST(writer_killed_inside_a_record_leaves_nothing_to_read)
{
	for (uint32_t i = 0; i < 3; i++)
		append(i);
	struct qb_event_shm *e = qb_event_begin(&w);

	e->job_id = 12345;
	qb_event_open(&w, &seg, SEAT, QB_OVERFLOW_DROP);
	ck_assert_uint_eq(w.tail, 3);
	ck_assert_uint_eq(drain(&record, 0), 3);
	ck_assert(append(3));
	ck_assert_uint_eq(drain(&record, 3), 1);
}
END_TEST

START_TEST(writer_killed_between_record_and_tail_leaves_a_whole_record)
{
	for (uint32_t i = 0; i < 3; i++)
		append(i);
	w.ring->tail.v = 2;
	ck_assert_uint_eq(drain(&record, 0), 3);
	qb_event_open(&w, &seg, SEAT, QB_OVERFLOW_DROP);
	ck_assert_uint_eq(w.tail, 3);
	ck_assert_uint_eq(w.ring->tail.v, 3);
	append(3);
	ck_assert_uint_eq(drain(&record, 3), 1);
}
END_TEST

START_TEST(next_owner_of_the_seat_continues_the_numbers_after_every_wrap)
{
	uint64_t next = 0;

	for (uint32_t k = 0; k < 3 * count; k++) {
		append(next);
		if (k % 3 == 0)
			w.ring->tail.v--;       /* killed before the hint was stored */
		if (k % 5 == 0)
			qb_event_begin(&w);     /* killed inside a record */
		qb_event_open(&w, &seg, SEAT, QB_OVERFLOW_DROP);
		ck_assert_uint_eq(w.tail, next + 1);
		drain(&record, next);
		drain(&sync_, next++);
	}
}
END_TEST

START_TEST(reader_that_holds_nothing_back_starts_at_the_oldest_record_that_is_left)
{
	struct qb_event_source s;
	const struct qb_event_shm *e;

	for (uint32_t i = 0; i < 2 * count + 5; i++) {
		append(i);
		drain(&record, i);
		drain(&sync_, i);
	}
	qb_event_source_open(&s, &seg, SEAT, QB_READER_COUNT);
	ck_assert_uint_eq(qb_event_peek(&s, &e, 1), 1);
	ck_assert_uint_eq(drain(&s, count + 5), count);
	/* Its writer was killed inside the record that replaces the oldest one. */
	qb_event_begin(&w);
	qb_event_source_open(&s, &seg, SEAT, QB_READER_COUNT);
	ck_assert_uint_eq(drain(&s, count + 6), count - 1);
	/* Before the first wrap it starts at the start, also when tail lags. */
	qb_event_open(&w, &seg, SEAT + 1, QB_OVERFLOW_DROP);
	append(0);
	w.ring->tail.v = 0;
	qb_event_source_open(&s, &seg, SEAT + 1, QB_READER_COUNT);
	ck_assert_uint_eq(qb_event_peek(&s, &e, 9), 1);
}
END_TEST

START_TEST(logged_looks_for_type_job_and_attempt)
{
	for (uint32_t i = 1; i <= 10; i++)
		append(i);
	w.ring->tail.v--;
	ck_assert(qb_event_logged(&seg, SEAT, QB_EV_JOB_COMPLETED, 10, 1));
	ck_assert(qb_event_logged(&seg, SEAT, QB_EV_JOB_COMPLETED, 1, 1));
	ck_assert(!qb_event_logged(&seg, SEAT, QB_EV_JOB_COMPLETED, 11, 1));
	ck_assert(!qb_event_logged(&seg, SEAT, QB_EV_JOB_COMPLETED, 10, 2));
	ck_assert(!qb_event_logged(&seg, SEAT, QB_EV_JOB_FAILED, 10, 1));
	ck_assert(!qb_event_logged(&seg, SEAT + 1, QB_EV_JOB_COMPLETED, 10, 1));
	ck_assert(!qb_event_logged(&seg, 0, QB_EV_JOB_COMPLETED, 10, 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("event");
	TCase *t = tcase_create("event");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, empty_ring_has_nothing_to_read);
	tcase_add_test(t, record_is_invisible_until_it_is_committed);
	tcase_add_test(t, readers_have_positions_of_their_own_and_the_slower_holds_records_back);
	tcase_add_test(t, pieces_end_at_the_end_of_the_ring);
	tcase_add_test(t, ring_goes_round_many_times);
	tcase_add_test(t, overflow_by_dropping_counts_each_record);
	tcase_add_test(t, reader_outside_the_configuration_holds_nothing_back);
	tcase_add_test(t, overflow_by_waiting_loses_nothing);
	tcase_add_test(t, waiting_writer_wakes_the_sleeping_syncer);
	tcase_add_test(t, waiting_writer_gives_up_when_told_to_leave_and_counts_the_record);
	tcase_add_test(t, orderly_end_is_no_reason_to_drop);
	tcase_add_test(t, reader_continues_where_it_was);
	tcase_add_test(t, writer_killed_inside_a_record_leaves_nothing_to_read);
	tcase_add_test(t, writer_killed_between_record_and_tail_leaves_a_whole_record);
	tcase_add_test(t, next_owner_of_the_seat_continues_the_numbers_after_every_wrap);
	tcase_add_test(t, reader_that_holds_nothing_back_starts_at_the_oldest_record_that_is_left);
	tcase_add_test(t, logged_looks_for_type_job_and_attempt);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
