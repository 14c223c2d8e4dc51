/* SPDX-License-Identifier: Apache-2.0 */
/* A run read back: order, duplicates, losses, from a record, from a segment and from both. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "base/fdio.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "record/jobmap.h"
#include "record/load.h"
#include "record/writer.h"
#include "shm/segment.h"
#include "shm/status.h"
#include "tests/lib/run-maker.h"

#define MS 1000000ull

static char dir[64], path[96], seg_path[96];
static struct qb_err err;
static struct qb_maker maker;
static struct qb_trace trace;

static void setup(void)
{
	strcpy(dir, "/tmp/qb-test-trace-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/events.qbr", dir);
	snprintf(seg_path, sizeof(seg_path), "%s/segment", dir);
	qb_err_clear(&err);
}

static void teardown(void)
{
	qb_maker_free(&maker);
	qb_trace_free(&trace);
	qb_remove_tree(dir);
}

static void make_run(void)
{
	struct qb_maker_settings set;

	qb_maker_defaults(&set);
	qb_maker_run(&maker, &set);
}

static size_t made_count(void)
{
	size_t n = 0;

	for (unsigned seat = 0; seat < QB_MAKER_SEATS; seat++)
		n += maker.logs[seat].count;
	return n;
}

static void load(const char *from)
{
	ck_assert_msg(qb_trace_load(from, &trace, &err) == 0, "%s", err.text);
}

/* In order of time, each seat in order of its sequence, each event as it was made. */
static void assert_ordered(void)
{
	uint64_t last_seq[QB_SEAT_MAX + 1] = { 0 };

	for (size_t i = 0; i < trace.events_count; i++) {
		const struct qb_trace_event *e = &trace.events[i];
		const struct qb_maker_log *log = &maker.logs[e->ev.seat];

		if (i > 0)
			ck_assert_uint_ge(e->t_ns, trace.events[i - 1].t_ns);
		ck_assert_uint_gt(e->ev.seq.v, last_seq[e->ev.seat]);
		last_seq[e->ev.seat] = e->ev.seq.v;
		ck_assert_uint_le(e->ev.seq.v, log->count);
		ck_assert_mem_eq(&e->ev, &log->events[e->ev.seq.v - 1], sizeof(e->ev));
	}
}

static size_t find(uint32_t type, uint64_t job_id)
{
	for (size_t i = 0; i < trace.events_count; i++) {
		if (trace.events[i].ev.type == type && trace.events[i].ev.job_id == job_id)
			return i;
	}
	ck_abort_msg("no event of type %u for job %llu", type, (unsigned long long)job_id);
	return 0;
}

START_TEST(trace_of_a_record_is_whole_and_in_order)
{
	uint64_t value;

	make_run();
	ck_assert_int_eq(qb_maker_write_record(&maker, path, 10 * MS, 1, &err), 0);
	load(path);
	ck_assert_uint_eq(trace.events_count, made_count());
	ck_assert(trace.has_meta && trace.has_record && !trace.has_segment && trace.ended);
	ck_assert(!trace.clock_rough);
	ck_assert_uint_eq(trace.clock_mode, QB_CLOCK_TSC);
	ck_assert_str_eq(trace.meta.run_id, maker.set.run_id);
	ck_assert_uint_eq(trace.damage.missing_count + trace.damage.bad_count +
			  trace.duplicates_count + trace.dropped_count, 0);
	ck_assert_uint_eq(trace.job_id_max, maker.set.jobs);
	ck_assert_uint_eq(trace.seat_role[QB_MAKER_DRIVER], QB_ROLE_DRIVER);
	ck_assert_uint_eq(trace.seat_role[QB_MAKER_SYNCER], QB_ROLE_SYNCER);
	ck_assert_uint_eq(trace.seat_role[QB_MAKER_WORKER], QB_ROLE_WORKER);
	ck_assert_int_eq(qb_trace_counter(&trace, "completed", &value), 0);
	ck_assert_uint_eq(value, maker.completed);
	ck_assert_int_eq(qb_trace_counter(&trace, "none", &value), -ENOENT);
	assert_ordered();
	/* Two ticks are a nanosecond in a made run. */
	for (size_t i = 0; i < trace.events_count; i++) {
		uint64_t since_ns = (trace.events[i].ev.raw - QB_MAKER_RAW0) / 2;

		ck_assert_uint_le(trace.events[i].t_ns, QB_MAKER_MONO0 + since_ns);
		ck_assert_uint_ge(trace.events[i].t_ns + 1, QB_MAKER_MONO0 + since_ns);
	}
	ck_assert_uint_eq(qb_trace_wall_ns(&trace, QB_MAKER_MONO0 + 5), QB_MAKER_WALL0 + 5);
}
END_TEST

START_TEST(blocks_in_any_order_and_twice_give_the_same_trace)
{
	struct qb_record_writer *w;
	struct qb_clock_triple first = { QB_MAKER_RAW0, QB_MAKER_MONO0, QB_MAKER_WALL0 };
	struct qb_clock_triple last = first;
	struct qb_meta meta;

	make_run();
	last.raw += 2 * maker.end_ns;
	last.mono_ns += maker.end_ns;
	qb_maker_meta(&maker, &meta);
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	for (uint32_t seat = QB_MAKER_SEATS; seat-- > 1;) {
		struct qb_maker_log *log = &maker.logs[seat];
		size_t half = log->count / 2, third = log->count / 3;

		/* the second half, the middle third again, the first half, all */
		ck_assert_int_eq(qb_record_events(w, seat, half + 1, log->events + half,
						  log->count - half, &err), 0);
		ck_assert_int_eq(qb_record_events(w, seat, third + 1, log->events + third, third,
						  &err), 0);
		ck_assert_int_eq(qb_record_events(w, seat, 1, log->events, half, &err), 0);
		if (seat == QB_MAKER_DRIVER)
			ck_assert_int_eq(qb_record_events(w, seat, 1, log->events, log->count,
							  &err), 0);
	}
	ck_assert_int_eq(qb_record_clock(w, &first, &last, &err), 0);
	ck_assert_int_eq(qb_record_meta(w, &meta, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	qb_meta_free(&meta);
	load(path);
	ck_assert_uint_eq(trace.events_count, made_count());
	ck_assert_uint_ge(trace.duplicates_count, maker.logs[QB_MAKER_DRIVER].count);
	ck_assert_uint_eq(trace.damage.missing_count, 0);
	ck_assert(!trace.ended);
	assert_ordered();
}
END_TEST

/* ---- events by hand ---- */

static struct qb_event_shm *event(uint32_t seat, uint64_t t_ns, uint32_t type, uint64_t job_id)
{
	struct qb_event_shm *ev = qb_maker_event(&maker, seat, t_ns, type);

	ev->job_id = job_id;
	return ev;
}

static void write_and_load(void)
{
	maker.set.run_id = "r";
	maker.set.interval_ns = 1;
	ck_assert_int_eq(qb_maker_write_record(&maker, path, MS, 0, &err), 0);
	load(path);
}

START_TEST(event_of_a_seat_never_overtakes_an_earlier_one)
{
	event(4, 5000, QB_EV_JOB_STARTED, 1);
	event(4, 4820, QB_EV_JOB_COMPLETED, 1); /* read on a core whose clock is 180 ns behind */
	event(5, 4900, QB_EV_JOB_STARTED, 2);
	write_and_load();
	ck_assert_uint_eq(trace.events_count, 3);
	ck_assert_uint_eq(find(QB_EV_JOB_STARTED, 2), 0);
	ck_assert_uint_eq(find(QB_EV_JOB_STARTED, 1), 1);
	ck_assert_uint_eq(find(QB_EV_JOB_COMPLETED, 1), 2);
	ck_assert_uint_eq(trace.events[2].t_ns, trace.events[1].t_ns);
	assert_ordered();
}
END_TEST

START_TEST(no_job_starts_before_it_was_submitted)
{
	event(4, 4900, QB_EV_JOB_STARTED, 7);   /* 100 ns too early */
	event(4, 4950, QB_EV_JOB_COMPLETED, 7);
	event(9, 5000, QB_EV_JOB_SUBMITTED, 7); /* the driver sits behind the worker */
	event(9, 9000, QB_EV_JOB_ENQUEUED, 7);
	write_and_load();
	ck_assert_uint_eq(find(QB_EV_JOB_SUBMITTED, 7), 0);
	ck_assert_uint_eq(find(QB_EV_JOB_STARTED, 7), 1);
	ck_assert_uint_eq(find(QB_EV_JOB_COMPLETED, 7), 2);
	ck_assert_uint_eq(trace.events[1].t_ns, QB_MAKER_MONO0 + 5001);
	assert_ordered();
}
END_TEST

START_TEST(submission_that_was_moved_up_takes_the_start_along)
{
	event(9, 5000, QB_EV_JOB_ENQUEUED, 6);
	event(9, 4900, QB_EV_JOB_SUBMITTED, 7); /* becomes 5000: it is the later one of its seat */
	event(4, 4950, QB_EV_JOB_STARTED, 7);
	write_and_load();
	ck_assert_uint_eq(find(QB_EV_JOB_ENQUEUED, 6), 0);
	ck_assert_uint_eq(find(QB_EV_JOB_SUBMITTED, 7), 1);
	ck_assert_uint_eq(trace.events[1].t_ns, QB_MAKER_MONO0 + 5000);
	ck_assert_uint_eq(trace.events[2].t_ns, QB_MAKER_MONO0 + 5001);
	assert_ordered();
}
END_TEST

START_TEST(job_ids_far_apart_are_told_apart)
{
	for (uint64_t i = 0; i < 500; i++) {
		uint64_t id = (i + 1) << 50 | i;

		event(4, 1000 * i, QB_EV_JOB_STARTED, id);
		event(9, 1000 * i + 10, QB_EV_JOB_SUBMITTED, id);
	}
	event(9, MS, QB_EV_JOB_SUBMITTED, UINT64_MAX);
	write_and_load();
	ck_assert_uint_eq(trace.events_count, 1001);
	for (uint64_t i = 0; i < 500; i++) {
		uint64_t id = (i + 1) << 50 | i;

		ck_assert_uint_lt(find(QB_EV_JOB_SUBMITTED, id), find(QB_EV_JOB_STARTED, id));
	}
}
END_TEST

START_TEST(jobmap_gives_each_id_its_own_slot_whether_dense_or_sparse)
{
	uint8_t *taken;
	struct qb_jobmap map;

	for (unsigned sparse = 0; sparse < 2; sparse++) {
		qb_jobmap_init(&map, sparse ? UINT64_MAX : 1000, 1000);
		ck_assert((map.keys != NULL) == sparse);
		taken = calloc(map.slots_count, 1);
		for (uint64_t i = 1; i <= 1000; i++) {
			uint64_t id = sparse ? i << 54 | i : i;
			size_t slot = qb_jobmap_slot(&map, id);

			ck_assert_uint_lt(slot, map.slots_count);
			ck_assert_uint_eq(taken[slot]++, 0);
			ck_assert_uint_eq(qb_jobmap_slot(&map, id), slot);
		}
		free(taken);
		qb_jobmap_free(&map);
	}
}
END_TEST

START_TEST(impossible_events_are_left_out_and_counted)
{
	event(4, 1000, QB_EV_JOB_STARTED, 1);
	event(4, 1100, QB_EV_NONE, 1);
	event(4, 1200, QB_EV_JOB_COMPLETED, 1)->seat = 5;
	event(4, 1300, QB_EV_JOB_STARTED, 2);
	event(4, 1400, 60000, 2);               /* a type from the future stays */
	write_and_load();
	ck_assert_uint_eq(trace.events_count, 3);
	ck_assert_uint_eq(trace.damage.bad_count, 2);
	ck_assert_uint_eq(trace.damage.missing_count, 2);
	ck_assert_uint_eq(trace.seat_last_seq[4], 5);
	ck_assert_uint_eq(trace.events[2].ev.type, 60000);
}
END_TEST

START_TEST(absurd_stamps_do_not_turn_time_around)
{
	event(4, 1000, QB_EV_JOB_STARTED, 1)->raw = 0;
	event(5, 1100, QB_EV_JOB_STARTED, 2)->raw = UINT64_MAX;
	event(6, 1200, QB_EV_JOB_STARTED, 3);
	event(7, 1200, QB_EV_JOB_STARTED, 4)->raw = UINT64_MAX / 2;
	maker.logs[7].events[0].seq.v = 1;
	write_and_load();
	ck_assert_uint_eq(trace.events_count, 4);
	for (size_t i = 1; i < 4; i++) {
		ck_assert_uint_ge(trace.events[i].t_ns, trace.events[i - 1].t_ns);
		ck_assert_uint_ge(qb_trace_wall_ns(&trace, trace.events[i].t_ns),
				  qb_trace_wall_ns(&trace, trace.events[i - 1].t_ns));
	}
	ck_assert_uint_eq(trace.events[0].ev.job_id, 1);
	ck_assert_uint_eq(trace.events[3].ev.job_id, 2);
}
END_TEST

START_TEST(record_without_clock_counts_from_the_start_of_the_run)
{
	struct qb_record_writer *w;
	struct qb_meta meta;

	event(4, 1000, QB_EV_JOB_STARTED, 1);
	event(4, 1500, QB_EV_JOB_COMPLETED, 1);
	maker.set.run_id = "r";
	maker.set.interval_ns = 1;
	qb_maker_meta(&maker, &meta);
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_meta(w, &meta, &err), 0);
	ck_assert_int_eq(qb_record_events(w, 4, 1, maker.logs[4].events, 2, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	load(path);
	ck_assert(trace.clock_rough);
	ck_assert_uint_eq(qb_trace_wall_ns(&trace, trace.events[0].t_ns), meta.started_wall_ns);
	ck_assert_uint_eq(trace.events[1].t_ns - trace.events[0].t_ns, 1000);
	qb_meta_free(&meta);
}
END_TEST

/* ---- segments ---- */

START_TEST(segment_gives_what_its_rings_still_hold)
{
	uint64_t gone = 0;

	make_run();
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 128, 0, &err), 0);
	load(seg_path);
	ck_assert(trace.has_segment && !trace.has_record && trace.has_meta && !trace.ended);
	ck_assert(!trace.clock_rough);
	for (unsigned seat = 0; seat < QB_MAKER_SEATS; seat++) {
		if (maker.logs[seat].count > 128)
			gone += maker.logs[seat].count - 128;
	}
	ck_assert_uint_gt(gone, 0);
	ck_assert_uint_eq(trace.events_count, made_count() - gone);
	ck_assert_uint_eq(trace.damage.missing_count, gone);
	ck_assert_uint_eq(trace.damage.bad_count, 0);
	assert_ordered();
}
END_TEST

START_TEST(half_written_event_of_a_segment_is_left_out)
{
	make_run();
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 1024, 1, &err), 0);
	load(seg_path);
	ck_assert_uint_eq(trace.events_count, made_count() - maker.set.workers);
	ck_assert_uint_eq(trace.damage.unread_count, maker.set.workers);
	ck_assert_uint_eq(trace.damage.missing_count, 0);
	assert_ordered();
}
END_TEST

START_TEST(slots_of_a_segment_with_another_number_are_left_out)
{
	struct qb_event_shm *records;
	struct qb_seg seg;

	make_run();
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 1024, 0, &err), 0);
	ck_assert_int_eq(qb_seg_attach(seg_path, 0, &seg), 0);
	records = qb_event_records(qb_seg_event_ring(&seg, QB_MAKER_WORKER));
	records[3].seq.v = 0;                   /* half written */
	records[7].seq.v = 8 - 1024;            /* not the number of any lap */
	records[9].seq.v = 3;                   /* another slot's */
	qb_seg_detach(&seg);
	load(seg_path);
	ck_assert_uint_eq(trace.events_count, made_count() - 3);
	ck_assert_uint_eq(trace.damage.missing_count, 3);
	ck_assert_uint_eq(trace.damage.unread_count, 1);
	assert_ordered();
}
END_TEST

START_TEST(tail_that_is_behind_or_nonsense_hides_no_event)
{
	static const uint64_t back[] = { 0, 1, 5, 100 };
	struct qb_event_ring_shm *ring;
	struct qb_seg seg;

	make_run();
	for (size_t i = 0; i < 6; i++) {
		ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 128, 0, &err), 0);
		ck_assert_int_eq(qb_seg_attach(seg_path, 0, &seg), 0);
		ring = qb_seg_event_ring(&seg, QB_MAKER_DRIVER);
		ring->tail.v = i < 4 ? ring->tail.v - back[i] : i == 4 ? 0 : UINT64_MAX - 5;
		qb_seg_detach(&seg);
		load(seg_path);
		ck_assert_uint_eq(trace.seat_last_seq[QB_MAKER_DRIVER],
				  maker.logs[QB_MAKER_DRIVER].count);
		assert_ordered();
		qb_trace_free(&trace);
		unlink(seg_path);
	}
}
END_TEST

START_TEST(event_with_another_number_than_its_place_is_left_out)
{
	struct qb_strbuf sb = { 0 };
	struct qb_record_writer *w;
	struct qb_event_shm *ev;

	event(4, 1000, QB_EV_JOB_STARTED, 1);
	event(4, 2000, QB_EV_JOB_COMPLETED, 1);
	event(4, 3000, QB_EV_JOB_STARTED, 2);
	ev = maker.logs[4].events;
	ev[1].seq.v = 77;
	qb_strbuf_add_bytes(&sb, "\x94\x04\x01\x03\xc4\xc0", 6);  /* [4, 1, 3, bin of 192] */
	qb_strbuf_add_bytes(&sb, ev, 3 * sizeof(*ev));
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_block(w, QB_RECORD_EVENTS, sb.data, sb.bytes, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	qb_strbuf_free(&sb);
	load(path);
	ck_assert_uint_eq(trace.events_count, 2);
	ck_assert_uint_eq(trace.damage.bad_count, 1);
	ck_assert_uint_eq(trace.damage.missing_count, 1);
	ck_assert_uint_eq(trace.events[1].ev.job_id, 2);
}
END_TEST

START_TEST(record_and_segment_of_a_run_complete_each_other)
{
	const char *both[2] = { seg_path, path };
	struct stat st;

	make_run();
	ck_assert_int_eq(qb_maker_write_record(&maker, path, 10 * MS, 0, &err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(truncate(path, st.st_size * 9 / 10), 0);
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 128, 0, &err), 0);
	load(path);
	ck_assert_uint_lt(trace.events_count, made_count());
	ck_assert_uint_gt(trace.damage.tail_bytes, 0);
	qb_trace_free(&trace);
	ck_assert_msg(qb_trace_load_files(both, 2, &trace, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(trace.events_count, made_count());
	ck_assert_uint_eq(trace.damage.missing_count, 0);
	ck_assert_uint_gt(trace.duplicates_count, 0);
	assert_ordered();
}
END_TEST

START_TEST(files_of_different_runs_are_not_put_together)
{
	const char *both[2] = { path, seg_path };

	make_run();
	ck_assert_int_eq(qb_maker_write_record(&maker, path, 10 * MS, 0, &err), 0);
	maker.set.run_id = "shm-burst-1";
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 128, 0, &err), 0);
	ck_assert_int_eq(qb_trace_load_files(both, 2, &trace, &err), QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "shm-burst-1"));
	ck_assert_ptr_null(trace.events);
}
END_TEST

START_TEST(segment_without_description_tells_its_configuration)
{
	struct qb_seg_identity id = { .run_id = "bare-run" };
	struct qb_config_shm cfg;
	struct qb_seg seg;

	qb_config_default(&cfg);
	cfg.job_count = 64;
	cfg.ring_count = 128;
	cfg.block_count = 64;
	cfg.seat_count = 8;
	cfg.seed = 42;
	ck_assert_int_eq(qb_seg_create(seg_path, &cfg, &id, &seg), 0);
	qb_seg_detach(&seg);
	load(seg_path);
	ck_assert(!trace.has_meta);
	ck_assert_str_eq(trace.meta.run_id, "bare-run");
	ck_assert_str_eq(trace.meta.lib, "shm");
	ck_assert_uint_eq(trace.meta.seed, 42);
	ck_assert_uint_eq(trace.events_count, 0);
}
END_TEST

START_TEST(what_is_neither_is_refused_by_name)
{
	char zeros[4096] = { 0 };
	int codes[] = { QB_EMAGIC, QB_ETOOSHORT, QB_EOWNER };

	ck_assert_int_eq(qb_trace_load(path, &trace, &err), -ENOENT);
	ck_assert_int_eq(qb_replace_file(path, "a text, longer than a frame", 27, 0600, &err), 0);
	ck_assert_int_eq(qb_trace_load(path, &trace, &err), codes[0]);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	/* A segment whose creator died before it wrote anything. */
	ck_assert_int_eq(qb_replace_file(path, zeros, sizeof(zeros), 0600, &err), 0);
	ck_assert_int_eq(qb_trace_load(path, &trace, &err), QB_ENOTREADY);
	make_run();
	ck_assert_int_eq(qb_maker_write_segment(&maker, seg_path, 128, 0, &err), 0);
	ck_assert_int_eq(truncate(seg_path, 100000), 0);
	ck_assert_int_eq(qb_trace_load(seg_path, &trace, &err), codes[1]);
	ck_assert_int_eq(chmod(seg_path, 0644), 0);
	ck_assert_int_eq(qb_trace_load(seg_path, &trace, &err), codes[2]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("trace");
	TCase *tc = tcase_create("trace");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, trace_of_a_record_is_whole_and_in_order);
	tcase_add_test(tc, blocks_in_any_order_and_twice_give_the_same_trace);
	tcase_add_test(tc, event_of_a_seat_never_overtakes_an_earlier_one);
	tcase_add_test(tc, no_job_starts_before_it_was_submitted);
	tcase_add_test(tc, submission_that_was_moved_up_takes_the_start_along);
	tcase_add_test(tc, job_ids_far_apart_are_told_apart);
	tcase_add_test(tc, jobmap_gives_each_id_its_own_slot_whether_dense_or_sparse);
	tcase_add_test(tc, impossible_events_are_left_out_and_counted);
	tcase_add_test(tc, absurd_stamps_do_not_turn_time_around);
	tcase_add_test(tc, record_without_clock_counts_from_the_start_of_the_run);
	tcase_add_test(tc, segment_gives_what_its_rings_still_hold);
	tcase_add_test(tc, half_written_event_of_a_segment_is_left_out);
	tcase_add_test(tc, slots_of_a_segment_with_another_number_are_left_out);
	tcase_add_test(tc, tail_that_is_behind_or_nonsense_hides_no_event);
	tcase_add_test(tc, event_with_another_number_than_its_place_is_left_out);
	tcase_add_test(tc, record_and_segment_of_a_run_complete_each_other);
	tcase_add_test(tc, files_of_different_runs_are_not_put_together);
	tcase_add_test(tc, segment_without_description_tells_its_configuration);
	tcase_add_test(tc, what_is_neither_is_refused_by_name);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
