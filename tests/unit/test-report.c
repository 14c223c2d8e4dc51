/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of made-up summaries: every number shown, nothing shown that is not there. */
#include "reporttest.h"

START_TEST(text_shows_the_numbers_of_each_library)
{
	const char *text;

	add_run("shm");
	add_run("pgtx");
	sums[1].lost = 3;
	sums[1].verified = 0;
	sums[1].resume[QB_RESUME_RETRY_WAITING] = (struct qb_resume){ 0 };
	entries[0].load.wal_bytes = 630 * 2048;
	entries[0].load.commits = 63;
	entries[0].load.rollbacks = 63;
	entries[0].load.inserted = 1260;
	entries[0].load.dead_left = 0;
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "jobs acknowledged"), "jobs acknowledged 639 639");
	ck_assert_str_eq(line_of(text, "completed"), "completed 630 630");
	ck_assert_str_eq(line_of(text, "discarded"), "discarded (failed for good) 9 9");
	ck_assert_str_eq(line_of(text, "kills"), "kills 5 (worker) 5 (worker)");
	ck_assert_str_eq(line_of(text, "duplicates"), "duplicates (completed twice) 0 0");
	ck_assert_str_eq(line_of(text, "lost"), "lost 0 3");
	ck_assert_str_eq(line_of(text, "stranded"), "stranded with a dead process 0 0");
	ck_assert_str_eq(line_of(text, "  queued, never"),
			 "queued, never started 10.0 ms / 20.0 ms 10.0 ms / 20.0 ms");
	ck_assert_str_eq(line_of(text, "  in hand, the last"),
			 "in hand, the last again 12.0 ms / 22.0 ms 12.0 ms / 22.0 ms");
	ck_assert_str_eq(line_of(text, "  waiting"), "waiting for a retry 13.0 ms / 23.0 ms -");
	ck_assert_str_eq(line_of(text, "successor"),
			 "successor ready, median / longest 13.0 ms / 78.0 ms 13.0 ms / 78.0 ms");
	ck_assert_str_eq(line_of(text, "throughput"), "throughput, jobs/s 80.2 80.2");
	ck_assert_str_eq(line_of(text, "pick-up p50"), "pick-up p50 7.00 ms 7.00 ms");
	ck_assert_str_eq(line_of(text, "pick-up p95"), "pick-up p95 21.0 ms 21.0 ms");
	ck_assert_str_eq(line_of(text, "pick-up p99"), "pick-up p99 28.0 ms 28.0 ms");
	ck_assert_str_eq(line_of(text, "end to end"), "end to end p95 33.0 ms 33.0 ms");
	ck_assert_str_eq(line_of(text, "  transactions"), "transactions 0.20 not known");
	ck_assert_str_eq(line_of(text, "  tuples inserted"), "tuples inserted 2.00 not known");
	ck_assert_str_eq(line_of(text, "  dead tuples"), "dead tuples left 0.00 not known");
	ck_assert_str_eq(line_of(text, "  log written"), "log written (WAL) 2 KiB not known");
	assert_silent(text, "tuples updated");
	ck_assert_str_eq(line_of(text, "the account"), "the account adds up yes NO");
	assert_says(text, "8.00 s at 40 jobs/s, 5 tenants, seed 20, 10 workers");
	assert_says(text, "qbench 9.8.7, Postgres 15.1 on Imaginary CPU, 2 cores");
	assert_says(text, "  results/x");
	assert_columns(text);
	/* Nothing about what did not happen. */
	assert_silent(text, "parked");
	assert_silent(text, "refused");
	assert_silent(text, "verdict");
	assert_silent(text, "setting");
	assert_silent(text, "Several runs");
	assert_silent(text, "\033");
}
END_TEST

START_TEST(text_says_beyond_the_watch_and_never_zero)
{
	const char *text;

	add_run("shm");
	add_run("pgtx");
	censor(0, QB_RESUME_IN_FLIGHT_FIRST, 1);
	censor(1, QB_RESUME_IN_FLIGHT_FIRST, 3);
	sums[1].resume[QB_RESUME_NEVER_STARTED] = (struct qb_resume){ .kills = 5,
								      .by_survivors = 5 };
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "  in hand, the first"),
			 "in hand, the first again 11.0 ms / > 9.90 s (1 of 5) "
			 "> 9.80 s / > 9.90 s (3 of 5)");
	ck_assert_str_eq(line_of(text, "  queued"),
			 "queued, never started 10.0 ms / 20.0 ms by survivors");
	assert_says(text, "after 3 of 5 kills no such job had been picked up");
	assert_says(text, "\"by survivors\"");
	assert_says(text, "ran again after 11.0 ms on shm and not within the 9.80 s of the watch "
		    "on pgtx (medians).");
	assert_columns(text);
}
END_TEST

START_TEST(several_runs_show_median_and_range)
{
	const char *text;

	for (unsigned i = 0; i < 4; i++) {
		add_run("shm");
		sums[i].duplicates = i == 3;
		sums[i].lost = i == 0;
		sums[i].throughput_per_s = 80 + i;
		sums[i].pickup = samples(9, 1 + i);
		sums[i].resume[QB_RESUME_NEVER_STARTED].median_ns = (40 - 10 * i) * MS;
		sums[i].resume[QB_RESUME_NEVER_STARTED].max_ns = (50 + i) * MS;
	}
	text = render(qb_report_text);
	/* The upper median of four: the third. */
	ck_assert_str_eq(line_of(text, "throughput"), "throughput, jobs/s 82.0 (80.0 - 83.0)");
	ck_assert_str_eq(line_of(text, "pick-up p50"), "pick-up p50 3.00 ms (1.00 ms - 4.00 ms)");
	ck_assert_str_eq(line_of(text, "duplicates"), "duplicates (completed twice) 0 (0 - 1)");
	ck_assert_str_eq(line_of(text, "  queued"), "queued, never started 30.0 ms / 53.0 ms");
	ck_assert_str_eq(line_of(text, "jobs"), "jobs acknowledged 639");
	assert_says(text, "Several runs: the median over the runs");
	assert_says(text, "Of 2556 acknowledged jobs shm lost 1 and completed 1 more than once.");
	assert_columns(text);
	sums[1].verified = 0;
	ck_assert_str_eq(line_of(render(qb_report_text), "the account"),
			 "the account adds up NO (3 of 4 do)");
}
END_TEST

START_TEST(many_wide_columns_stay_within_100)
{
	static const char *const names[] = { "shm", "pgtx", "river", "platlib", "river-go",
					     "graphile-worker-adapter-x", "pg-boss",
					     "procrastinate" };
	const char *text;

	for (size_t i = 0; i < 8; i++) {
		add_run(names[i]);
		for (unsigned c = 0; c < QB_RESUME_CLASS_COUNT; c++)
			censor(i, c, 3);
	}
	text = render(qb_report_text);
	assert_columns(text);
	for (size_t i = 0; i < 8; i++)
		assert_says(text, names[i]);
}
END_TEST

START_TEST(sentences_are_made_of_the_numbers)
{
	const char *text;

	add_run("shm");
	add_run("pgtx");
	sums[0].ambiguous = 4;
	sums[1].ambiguous = 1;
	sums[1].repeated_effects = sums[1].silent_effects = 1;
	sums[1].reports_ambiguity = 0;
	sums[1].resume[QB_RESUME_IN_FLIGHT_FIRST].median_ns = 1100 * MS;
	text = render(qb_report_text);
	assert_says(text, "Through 10 kills in all, shm and pgtx lost none of 1278 acknowledged "
		    "jobs and completed none of them twice.");
	assert_says(text, "shm left 4 jobs in doubt and named each; pgtx left 1 job in doubt without "
		    "a word, and the effect of 1 happened twice.");
	assert_says(text, "A job that was in hand at the kill ran again after 11.0 ms on shm and "
		    "after 1.10 s on pgtx (medians), up to 100 times as long.");

	/* The same with other numbers is another text. */
	sums[0].parks = 1;
	sums[0].kills = 0;
	sums[0].deaths_unplanned = 1;
	sums[1].lost = 2;
	sums[1].stranded = 1;
	sums[1].duplicates = 7;
	text = render(qb_report_text);
	assert_says(text, "Through 1 death that nobody planned, shm lost none of 639 acknowledged");
	assert_says(text, "Of 639 acknowledged jobs pgtx lost 2, completed 7 more than once and left "
		    "1 with a process that is dead.");
	assert_says(text, "named each, to be decided by a person");

	/* What Postgres was asked about is told, though nothing is left of it. */
	sums[0].ambiguous = 0;
	sums[0].in_doubt = 9;
	sums[0].in_doubt_done = 4;
	sums[0].in_doubt_undone = 5;
	text = render(qb_report_text);
	assert_says(text, "shm asked Postgres about 9 attempts, of which 4 turned out done and 5 not, and left no "
		    "job in doubt;");

	/* Without kills there is nothing to say about doubts and resuming. */
	report.entries_count = 0;
	add_run("shm");
	sums[0].kills = 0;
	memset(sums[0].resume, 0, sizeof(sums[0].resume));
	text = render(qb_report_text);
	assert_says(text, "shm lost none of 639 acknowledged jobs");
	ck_assert_str_eq(line_of(text, "lost"), "lost 0");
	assert_silent(text, "Through");
	assert_silent(text, "Done or not");
	assert_silent(text, "ran again");
	assert_silent(text, "time to resume");
}
END_TEST

START_TEST(what_does_not_add_up_is_named)
{
	const char *text;

	add_run("shm");
	entries[0].interrupted = 1;
	sums[0].verified = 0;
	sums[0].identities_count = 2;
	strcpy(sums[0].identity[0].name, "apples = pears");
	sums[0].identity[0].left = sums[0].identity[0].right = 7;
	sums[0].identity[0].holds = 1;
	strcpy(sums[0].identity[1].name, "events dropped or missing = 0");
	sums[0].identity[1].left = 3;
	text = render(qb_report_text);
	assert_says(text, "Run shm-crash_recovery-1700 was cut short");
	assert_says(text, "does not add up: \"events dropped or missing = 0\" (3 against 0).");
	assert_silent(text, "apples");
}
END_TEST

START_TEST(settings_that_differ_stand_beside_the_numbers)
{
	const char *text;

	add_run("shm");
	add_run("river");
	add_run("river");
	ck_assert_int_eq(qb_meta_setting(&metas[0], "same", "1"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[1], "same", "1"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[2], "same", "1"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[1], "lease", "20s"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[2], "lease", "20s"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[0], "host_cores", "8"), 0);
	metas[2].workers = 5;
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "setting lease"), "setting lease - 20s");
	ck_assert_str_eq(line_of(text, "setting workers"), "setting workers 10 differs");
	assert_silent(text, "setting same");
	assert_silent(text, "setting host");
	assert_silent(text, "setting ack");
}
END_TEST

/* One that goes by time, with settings of its own. */
static size_t add_leased(const char *label, const char *track, const char *lease)
{
	size_t i = add_run(label);
	char key[64];

	sums[i].leased = 1;
	sums[i].reports_ambiguity = 0;
	ck_assert_int_eq(qb_meta_setting(&metas[i], "track", track), 0);
	snprintf(key, sizeof(key), "%.*s lease", (int)strcspn(label, ":"), label);
	ck_assert_int_eq(qb_meta_setting(&metas[i], key, lease), 0);
	return i;
}

START_TEST(what_was_not_waited_for_is_told_from_the_settings)
{
	const char *text;

	add_run("shm");
	add_leased("slowq", "shipped defaults", "1h");
	add_leased("slowq:lease=10s", "matched lease 10s", "10s");
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "track"), "track no lease shipped defaults matched lease 10s");
	ck_assert_str_eq(line_of(text, "a silent worker"), "a silent worker is believed for - 1h 10s");
	assert_silent(text, "Not waited for");
	assert_silent(text, "setting slowq");

	sums[1].stranded = 2;
	censor(1, QB_RESUME_IN_FLIGHT_FIRST, 5);
	sums[2].stranded = 1;
	sums[2].resume[QB_RESUME_IN_FLIGHT_LAST].censored = 1;
	sums[2].resume[QB_RESUME_IN_FLIGHT_LAST].watch_ns_max = 12000 * MS;
	text = render(qb_report_text);
	assert_says(text, "Not waited for: slowq had not given back 2 jobs of dead workers when the watch ended, 9.90 s "
		    "after the first of those kills; it believes a silent worker for 1h (shipped defaults).");
	assert_says(text, "slowq:lease=10s had not given back 1 job of dead workers when the watch ended, 12.0 s after the "
		    "first of those kills, although it believes a silent worker for no more than 10s (matched lease 10s).");
	assert_says(text, "and after 11.0 ms on slowq:lease=10s (medians); a lease is a setting, and no speed.");
	/* That is no fault; the same of a queue without a lease is one. */
	assert_says(text, "shm, slowq and slowq:lease=10s lost none");
	assert_silent(text, "left 2 with a process");
	sums[0].waiting = 17;
	sums[1].waiting = sums[1].queued = 1;
	sums[1].held = sums[1].stranded + 3;
	sums[0].held = sums[0].stranded = 3;
	sums[2].held = sums[2].stranded;
	text = render(qb_report_text);
	assert_says(text, "Not waited for: 17 jobs of shm that were to be tried again later.");
	assert_says(text, "Not waited for: 1 job of slowq that was to be tried again later. 3 jobs of slowq were still held "
		    "for workers that live. 1 job of slowq was still queued at the end.");
	assert_says(render(qb_report_text), "Of 639 acknowledged jobs shm left 3 with a process that is dead.");
	assert_columns(text);
}
END_TEST

START_TEST(an_adapter_is_named_as_the_reason)
{
	const char *text;

	add_leased("lib", "shipped defaults", "20s");
	add_leased("lib:adapter=published", "published adapter", "20s");
	ck_assert_int_eq(qb_meta_setting(&metas[0], "lib adapter", "full"), 0);
	ck_assert_int_eq(qb_meta_setting(&metas[1], "lib adapter", "published"), 0);
	add_run("shm");
	sums[1].stranded = 4;
	censor(1, QB_RESUME_IN_FLIGHT_FIRST, 5);
	text = render(qb_report_text);
	assert_says(text, "lib:adapter=published had not given back 4 jobs of dead workers when the watch ended, 9.90 s "
		    "after the first of those kills; nobody in it ever does (published adapter).");
	ck_assert_str_eq(line_of(text, "a silent worker"), "a silent worker is believed for 20s ever");
	/* Settings of one library are compared with its own. */
	ck_assert_str_eq(line_of(text, "setting lib adapter"), "setting lib adapter full published");
	assert_silent(text, "setting lib lease");
}
END_TEST

START_TEST(results_that_were_lost_are_explained)
{
	const char *text;

	add_leased("lib", "shipped defaults", "1h");
	sums[0].results_lost = 4;
	sums[0].results_lost_alive = 1;
	sums[0].result_age_ns_max = 212 * MS;
	sums[0].duplicates = 3;
	sums[0].duplicates_unrecorded = 2;
	sums[0].given_up = 1;
	text = render(qb_report_text);
	assert_says(text, "lib had not recorded 3 results yet (the oldest was 212 ms old) when the worker that had them was "
		    "killed: 2 jobs completed a second time for that.");
	assert_says(text, "lib lost 1 result of workers that lived on.");
	assert_says(text, "lib discarded 1 job whose last attempt did not fail but died with its worker.");
	ck_assert_str_eq(line_of(text, "  of them not recorded"), "of them not recorded in time 2");
	ck_assert_str_eq(line_of(text, "results lost"), "results lost with a worker 4");
	ck_assert_str_eq(line_of(text, "  of them died"), "of them died, and not failed 1");
}
END_TEST

START_TEST(scenarios_have_a_table_each)
{
	const char *text;

	add_run("shm");
	add_run("shm");
	strcpy(sums[1].scenario, "burst");
	sums[1].completed = 77;
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "crash_recovery"), "crash_recovery");
	text = strstr(text, "\nburst\n");
	ck_assert_ptr_nonnull(text);
	ck_assert_str_eq(line_of(text, "completed"), "completed 77");
	setup();
	assert_says(render(qb_report_text), "No runs.");
	assert_says(render(qb_report_md), "No runs.");
}
END_TEST

START_TEST(colour_marks_what_is_wrong_and_only_on_request)
{
	const char *text;

	add_run("shm");
	sums[0].lost = 1;
	report.colour = 1;
	text = render(qb_report_text);
	ck_assert_ptr_nonnull(strstr(text, "\033[31m1\033[0m\n"));
	ck_assert_ptr_nonnull(strstr(text, "\033[32myes\033[0m\n"));
	report.colour = 0;
	assert_silent(render(qb_report_text), "\033");
}
END_TEST

START_TEST(markdown_rows_have_the_same_cells)
{
	const char *text, *p;
	unsigned rows = 0;

	add_run("shm");
	add_run("a|b_c*<i>");
	sums[1].lost = 3;
	text = render(qb_report_md);
	ck_assert_str_eq(line_of(text, "| |"), "| | shm | a\\|b\\_c\\*\\<i\\> |");
	ck_assert_str_eq(line_of(text, "| lost"), "| lost | 0 | **3** |");
	ck_assert_str_eq(line_of(text, "## "), "## crash\\_recovery");
	for (p = strstr(text, "| |"); *p == '|'; p = strchr(p, '\n') + 1) {
		unsigned bars = 0;

		for (const char *c = p; *c != '\n'; c++)
			bars += *c == '|' && (c == p || c[-1] != '\\');
		ck_assert_msg(bars == 4, "%u bars: %.40s", bars, p);
		rows++;
	}
	ck_assert_uint_gt(rows, 15);
}
END_TEST

START_TEST(renderers_are_found_by_name)
{
	struct qb_err err = { 0 };
	char path[] = "/tmp/qb-test-report-XXXXXX", *text;
	size_t bytes;
	int fd;

	ck_assert_str_eq(qb_renderer_find("md", &err)->extension, "md");
	ck_assert_str_eq(qb_renderer_find("text", &err)->extension, "txt");
	ck_assert_ptr_null(qb_renderer_find("html", &err));
	ck_assert_int_eq(err.code, QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "json"));
	ck_assert_ptr_null(qb_renderer_find("nothing", NULL));

	add_run("shm");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(qb_report_write(&report, qb_renderer_find("text", NULL), path, &err), 0);
	ck_assert_int_eq(qb_read_file(path, 1 << 20, &text, &bytes, &err), 0);
	ck_assert_str_eq(text, render(qb_report_text));
	free(text);
	unlink(path);
	ck_assert_int_lt(qb_report_write(&report, qb_renderers[0], "/nonexistent/x/y", &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/x/y"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("report");
	TCase *tc = tcase_create("text and markdown");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, text_shows_the_numbers_of_each_library);
	tcase_add_test(tc, text_says_beyond_the_watch_and_never_zero);
	tcase_add_test(tc, several_runs_show_median_and_range);
	tcase_add_test(tc, many_wide_columns_stay_within_100);
	tcase_add_test(tc, sentences_are_made_of_the_numbers);
	tcase_add_test(tc, what_does_not_add_up_is_named);
	tcase_add_test(tc, settings_that_differ_stand_beside_the_numbers);
	tcase_add_test(tc, what_was_not_waited_for_is_told_from_the_settings);
	tcase_add_test(tc, an_adapter_is_named_as_the_reason);
	tcase_add_test(tc, results_that_were_lost_are_explained);
	tcase_add_test(tc, scenarios_have_a_table_each);
	tcase_add_test(tc, colour_marks_what_is_wrong_and_only_on_request);
	tcase_add_test(tc, markdown_rows_have_the_same_cells);
	tcase_add_test(tc, renderers_are_found_by_name);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
