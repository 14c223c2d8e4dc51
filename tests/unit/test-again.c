/* SPDX-License-Identifier: Apache-2.0 */
/* A report made from the record alone says what the one after the run said. */
#include "trace-builder.h"

#include <stdio.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "report/report.h"
#include "shm/status.h"
#include "tests/lib/run-maker.h"

static struct builder b;
static struct qb_report_run run;
static char dir[64], path[96];
static struct qb_err err;

static void setup(void)
{
	strcpy(dir, "/tmp/qb-test-again-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/events.qbr", dir);
	qb_err_clear(&err);
	memset(&run, 0, sizeof(run));
}

static void teardown(void)
{
	qb_report_run_free(&run);
	qb_remove_tree(dir);
}

/* A run with everything in it: a retry, a kill, a job queued at the end. */
static void build(void)
{
	builder_init(&b, 4);
	start_processes(&b, 2);
	for (unsigned i = 1; i <= 4; i++)
		submit(&b, 10 * i, i);
	run_job(&b, 12, 20, W(1), 1, 1);
	started(&b, 25, W(2), 2, 1);
	failed(&b, 26, W(2), 2, 1);
	run_job(&b, 28, 29, W(2), 2, 2);
	started(&b, 35, W(1), 3, 1);
	b.ends[2].effects = 1;
	kill_worker(&b, 45, W(1), 1);
	recovered(&b, 46, W(1), QB_ROLE_WORKER, 3 * MS);
	ambiguous(&b, 46, W(1), 3, 1, 0);
	worker(&b, 50, W(1));
	run_job(&b, 60, 61, W(1), 3, 2);
	end(&b, 4, QB_OUTCOME_QUEUED, 0, 0);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.repeated_effects, 1);
	ck_assert_uint_eq(b.out.queued, 1);
	ck_assert_uint_eq(b.out.resume[QB_RESUME_NEVER_STARTED].censored, 1);
}

/* As the driver writes it. Returns where the ends begin. */
static uint64_t record(int with_ends)
{
	struct qb_clock_triple first = { ZERO_NS, ZERO_NS, 1000 * MS }, last = first;
	static uint64_t seq[QB_SEAT_MAX + 1];
	struct qb_record_writer *w;
	uint64_t off;

	last.raw = last.mono_ns = ZERO_NS + 20000 * MS;
	last.wall_ns = 21000 * MS;
	memset(seq, 0, sizeof(seq));
	qb_clock_mode_now = QB_CLOCK_MONOTONIC;
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_meta(w, &b.trace.meta, &err), 0);
	ck_assert_int_eq(qb_record_clock(w, &first, &last, &err), 0);
	for (size_t i = 0; i < b.trace.events_count; i++) {
		struct qb_event_shm ev = b.events[i].ev;

		ev.raw = b.events[i].t_ns;
		ev.seq.v = ++seq[ev.seat];
		ck_assert_msg(qb_record_events(w, ev.seat, ev.seq.v, &ev, 1, &err) == 0, "%s",
			      err.text);
	}
	off = qb_record_bytes(w);
	if (with_ends) {
		struct qb_ends ends = {
			.jobs_count = b.in.jobs_count, .watch_end_ns = b.in.watch_end_ns,
			.reports_ambiguity = 1, .load = { .wal_bytes = 12345, .commits = 67, .dead_left = QB_NOT_KNOWN },
			.jobs = b.ends,
		};

		ck_assert_int_eq(qb_record_ends(w, &ends, &err), 0);
		ck_assert_int_eq(qb_record_end(w, NULL, 0, &err), 0);
	}
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	return off;
}

START_TEST(the_record_gives_the_same_summary)
{
	struct qb_report_entry e;

	build();
	strcpy(b.trace.meta.ack, "durable");
	ck_assert_int_eq(qb_meta_setting(&b.trace.meta, "host_cpu", "Imaginary CPU"), 0);
	ck_assert_int_eq(qb_meta_setting(&b.trace.meta, "host_cores", "3"), 0);
	record(1);
	ck_assert_msg(qb_report_from_record(path, &run, &err) == 0, "%s", err.text);
	ck_assert_int_eq(run.summary.verified, 1);
	ck_assert_int_eq(memcmp(&run.summary, &b.out, sizeof(b.out)), 0);
	ck_assert_str_eq(run.meta.run_id, "shm-crash_recovery-1");
	ck_assert_str_eq(run.meta.ack, "durable");
	ck_assert_str_eq(run.host.cpu, "Imaginary CPU");
	ck_assert_uint_eq(run.host.cores, 3);
	ck_assert_str_eq(run.dir, dir);
	ck_assert_uint_eq(run.load.wal_bytes, 12345);
	ck_assert_uint_eq(run.load.commits, 67);
	ck_assert_uint_eq(run.load.dead_left, QB_NOT_KNOWN);
	ck_assert_int_eq(run.interrupted, 0);
	e = qb_report_run_entry(&run);
	ck_assert_ptr_eq(e.summary, &run.summary);
	ck_assert_uint_eq(e.load.wal_bytes, 12345);
}
END_TEST

START_TEST(a_cut_record_is_reported_as_a_part)
{
	uint64_t off;

	build();
	off = record(1);
	ck_assert_int_eq(truncate(path, (off_t)off + 10), 0);
	ck_assert_msg(qb_report_from_record(path, &run, &err) == 0, "%s", err.text);
	ck_assert_int_eq(run.interrupted, 1);
	ck_assert_int_eq(run.summary.verified, 0);
	ck_assert_uint_eq(run.summary.completed, b.out.completed);
	ck_assert_uint_eq(run.summary.lost, 0);
	ck_assert_uint_eq(run.summary.unknown_end, 1);
	ck_assert_uint_eq(run.summary.ambiguous, 1);
	qb_report_run_free(&run);

	/* And cut anywhere it is read, or refused with a reason. */
	for (uint64_t bytes = off; bytes > 0; bytes -= bytes > 97 ? 97 : bytes) {
		ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
		qb_err_clear(&err);
		if (qb_report_from_record(path, &run, &err) < 0)
			ck_assert_str_ne(err.text, "");
		else
			ck_assert_int_eq(run.summary.verified, 0);
		qb_report_run_free(&run);
	}
}
END_TEST

START_TEST(a_record_that_contradicts_itself_is_refused)
{
	build();
	b.in.jobs_count = 2;            /* events tell of four */
	record(1);
	ck_assert_int_eq(qb_report_from_record(path, &run, &err), QB_ECORRUPT);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	ck_assert_ptr_nonnull(strstr(err.text, "job 3"));
	ck_assert_int_lt(qb_report_from_record("/nonexistent/events.qbr", &run, &err), 0);
}
END_TEST

/* Another writer's made-up run: what it counted while it made it is what comes out. */
START_TEST(the_counts_of_a_made_run_come_out)
{
	struct qb_maker_settings set;
	static struct qb_maker m;

	qb_maker_defaults(&set);
	set.jobs = 400;
	set.kills = 6;
	set.slots = 2;
	set.seed = (uint64_t)_i + 1;
	qb_maker_run(&m, &set);
	ck_assert_msg(qb_maker_write_record(&m, path, 10 * MS, 1, &err) == 0, "%s", err.text);
	ck_assert_msg(qb_report_from_record(path, &run, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(run.summary.acknowledged, m.enqueued);
	ck_assert_uint_eq(run.summary.completions, m.completed);
	ck_assert_uint_eq(run.summary.failed_attempts, m.failed);
	ck_assert_uint_eq(run.summary.discarded, m.discarded);
	/* It reports only what it parks; what was put back was under way as well. */
	ck_assert_uint_eq(run.summary.ambiguous_attempts, m.ambiguous + m.requeued);
	ck_assert_uint_eq(run.summary.requeued, m.requeued);
	ck_assert_uint_eq(run.summary.kills, m.killed);
	ck_assert_uint_gt(run.summary.ambiguous, 0);
	/* And nobody asked a queue that does not exist; all else adds up. */
	for (unsigned i = 0; i < run.summary.identities_count; i++) {
		const struct qb_identity *id = &run.summary.identity[i];

		if (strncmp(id->name, "ambiguous attempts", 18) == 0)
			ck_assert_int_eq(id->left - id->right, m.requeued);
		else
			ck_assert_msg(id->holds == !strstr(id->name, "nobody asked"),
				      "%s: %lld, %lld", id->name, (long long)id->left,
				      (long long)id->right);
	}
	qb_maker_free(&m);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("again");
	TCase *tc = tcase_create("from the record");
	SRunner *runner;
	int failed_count;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, the_record_gives_the_same_summary);
	tcase_add_test(tc, a_cut_record_is_reported_as_a_part);
	tcase_add_test(tc, a_record_that_contradicts_itself_is_refused);
	tcase_add_loop_test(tc, the_counts_of_a_made_run_come_out, 0, 5);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
