/* SPDX-License-Identifier: Apache-2.0 */
/* summary.json: its values, and that doc/summary-json.md describes each key and no other. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fdio.h"
#include "report/report.h"

#define MS 1000000ull

static struct qb_summary sum;
static struct qb_meta meta;
static struct qb_report_entry entries[3];
static struct qb_report report;
static struct qb_strbuf out;
static json_t *root;

/* Every count is another number, so that none can stand for another. */
static void fill_counts(void)
{
	uint64_t *const counts[] = {
		&sum.planned, &sum.submitted, &sum.acknowledged, &sum.enqueue_failed, &sum.refused,
		&sum.unacknowledged, &sum.unacknowledged_known, &sum.completed, &sum.completions,
		&sum.failed_attempts, &sum.discarded, &sum.starts, &sum.duplicates,
		&sum.repeated_starts, &sum.repeated_effects, &sum.silent_effects, &sum.ambiguous,
		&sum.ambiguous_attempts, &sum.ambiguous_parked, &sum.ambiguous_gone,
		&sum.in_doubt, &sum.in_doubt_done, &sum.in_doubt_undone,
		&sum.abandoned, &sum.unfinished, &sum.requeued, &sum.fenced, &sum.queued,
		&sum.waiting, &sum.held, &sum.unknown_end, &sum.lost, &sum.stranded,
		&sum.results_lost, &sum.results_lost_alive, &sum.duplicates_unrecorded, &sum.given_up,
	};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		*counts[i] = 100 + i;
}

static const char *const count_keys[] = {
	"planned", "submitted", "acknowledged", "enqueue_failed", "refused", "unacknowledged",
	"unacknowledged_known", "completed", "completions", "failed", "discarded", "starts",
	"duplicates", "repeated_starts", "repeated_effects", "silent_effects", "ambiguous",
	"ambiguous_attempts", "ambiguous_parked", "ambiguous_gone",
	"in_doubt", "in_doubt_done", "in_doubt_undone", "abandoned", "unfinished",
	"requeued", "fenced", "queued", "waiting", "held", "unknown_end", "lost", "stranded",
	"results_lost", "results_lost_alive", "duplicates_unrecorded", "given_up",
};

static void setup(void)
{
	memset(&sum, 0, sizeof(sum));
	memset(&meta, 0, sizeof(meta));
	memset(&report, 0, sizeof(report));
	strcpy(sum.lib, "shm");
	strcpy(sum.run_id, "shm-crash_recovery-1700");
	strcpy(sum.scenario, "crash_recovery");
	fill_counts();
	sum.kills = 6;
	sum.kills_by_role[QB_ROLE_WORKER] = 4;
	sum.kills_by_role[QB_ROLE_PARENT] = 2;
	sum.pickup = (struct qb_percentiles){ 9, 1 * MS, 2 * MS, 3 * MS, 4 * MS, 5 * MS, 6 * MS,
					      7 * MS + 500000, 2.25e6 };
	sum.resume[QB_RESUME_IN_FLIGHT_FIRST] = (struct qb_resume){
		.kills = 6, .censored = 1, .by_survivors = 2, .watch_ns_min = 9700 * MS,
		.watch_ns_max = 9800 * MS, .median_ns = 12 * MS, .p95_ns = 20 * MS,
		.max_ns = QB_BEYOND_WATCH, .ns = { .count = 3 },
	};
	sum.keys = (struct qb_key_table){
		.set = { .keys = 7, .processes = 3 }, .holders = 7, .killed = 6, .again = 5, .watch_ns_max = 4000 * MS,
		.again_ns_median = 3 * MS, .row[QB_KEY_QUEUED] = { .requests = 21, .accepted = 1, .refused = 20 },
	};
	sum.cache = (struct qb_cache_table){
		.set = { .callers = 8, .addresses = 2, .requests = 9 }, .processes = 4, .deadline_ns = 10000 * MS, .faithful = 1,
		.row[QB_CACHE_UNIFORM] = { .requests = 9, .hits = 4, .joined = 3, .executed = 1, .failed = 1,
					   .faults = { 8, 0, 0, 1 }, .executions = 2, .leaks = 1, .ticks = 2, .waits = 5 },
	};
	sum.cache.row[QB_CACHE_UNIFORM].way[QB_CACHE_JOINED] = sum.pickup;
	sum.cache.total = sum.cache.row[QB_CACHE_UNIFORM];
	sum.backlog = (struct qb_backlog){
		.step_ns = 100 * MS, .samples_count = 3, .samples = { 1, 5, 2 }, .max = 5, .max_at_ns = 150 * MS,
		.has_burst = 1, .burst_start_ns = 1000 * MS, .burst_end_ns = 2500 * MS, .before = 2, .at_end = 4,
		.drain_ns = QB_BEYOND_WATCH,
	};
	sum.retries = (struct qb_retries){ .count = 7, .missing = 1, .most_in_window = 3, .rounds_count = 1 };
	sum.retries.rounds[0] = (struct qb_retry_round){
		.count = 7, .from_ns = 950 * MS, .width_ns = 50 * MS, .bins_count = 2, .policy_bins = { 4, 3 },
		.spacing_bins = { 1, 6 },
	};
	sum.share = (struct qb_share){
		.processes = 2, .served = 2, .window_ns = 500 * MS, .jobs = 30, .throughput_per_s = 60, .least = 10,
		.most = 20, .fairness = 0.9, .woken = 4,
	};
	sum.elapsed_ns = 8500 * MS;
	sum.throughput_per_s = 74.5;
	sum.identities_count = 1;
	strcpy(sum.identity[0].name, "left = right");
	sum.identity[0].left = 5;
	sum.identity[0].right = 6;
	meta.seed = 20;
	meta.duration_ns = 8000 * MS;
	strcpy(meta.ack, "durable");
	strcpy(meta.server_version, "15.1");
	qb_meta_setting(&meta, "poll_ms", "500");
	qb_meta_setting(&meta, "host_cpu", "Imaginary CPU");
	entries[0] = (struct qb_report_entry){ .summary = &sum, .meta = &meta, .dir = "results/x",
					       .load = qb_db_load_unknown() };
	entries[0].load.wal_bytes = 4096;
	entries[0].load.inserted = 0;
	report.entries = entries;
	report.entries_count = 1;
	report.qbench_version = "9.8.7";
	strcpy(report.host.cpu, "Imaginary CPU");
	report.host.cores = 2;
}

static void teardown(void)
{
	json_decref(root);
	root = NULL;
	qb_strbuf_free(&out);
}

static void render(void)
{
	json_error_t error;

	json_decref(root);
	qb_strbuf_clear(&out);
	qb_report_json(&report, &out);
	root = json_loads(qb_strbuf_text(&out), JSON_REJECT_DUPLICATES, &error);
	ck_assert_msg(root != NULL, "line %d: %s", error.line, error.text);
}

static json_t *run(size_t library, size_t idx)
{
	json_t *l = json_array_get(json_object_get(root, "libraries"), library);
	json_t *r = json_array_get(json_object_get(l, "runs"), idx);

	ck_assert_ptr_nonnull(r);
	return r;
}

/* "a.b.c" from an object. */
static json_t *at(json_t *from, const char *path)
{
	char key[64];
	const char *p = path;

	while (*p) {
		size_t n = strcspn(p, ".");

		snprintf(key, sizeof(key), "%.*s", (int)n, p);
		from = json_object_get(from, key);
		ck_assert_msg(from != NULL, "no %s (of %s)", key, path);
		p += n + (p[n] == '.');
	}
	return from;
}

static double number(json_t *from, const char *path)
{
	json_t *j = at(from, path);

	ck_assert_msg(json_is_number(j), "%s is no number", path);
	return json_number_value(j);
}

START_TEST(the_version_comes_first)
{
	render();
	ck_assert_int_eq(strncmp(out.data, "{\n  \"format_version\": 1,", 24), 0);
	ck_assert_str_eq(json_string_value(at(root, "qbench_version")), "9.8.7");
	ck_assert_str_eq(json_string_value(at(root, "host.cpu")), "Imaginary CPU");
	ck_assert_str_eq(json_string_value(at(root, "scenario")), "crash_recovery");
	ck_assert(number(root, "seed") == 20);
	ck_assert(number(root, "settings.duration_s") == 8);
}
END_TEST

START_TEST(each_count_has_its_own_key)
{
	render();
	for (size_t i = 0; i < sizeof(count_keys) / sizeof(count_keys[0]); i++)
		ck_assert_msg(number(run(0, 0), count_keys[i]) == (double)(100 + i), "%s",
			      count_keys[i]);
	ck_assert(number(run(0, 0), "kills") == 6);
	ck_assert(number(run(0, 0), "kills_by_role.worker") == 4);
	ck_assert(number(run(0, 0), "kills_by_role.parent") == 2);
}
END_TEST

START_TEST(times_are_in_the_unit_of_their_key)
{
	json_t *r;

	render();
	r = run(0, 0);
	ck_assert(number(r, "pickup_ms.count") == 9);
	ck_assert(number(r, "pickup_ms.p50") == 2);
	ck_assert(number(r, "pickup_ms.p90") == 3);
	ck_assert(number(r, "pickup_ms.p999") == 6);
	ck_assert(number(r, "pickup_ms.max") == 7.5);
	ck_assert(number(r, "pickup_ms.mean") == 2.25);
	ck_assert(number(r, "elapsed_s") == 8.5);
	ck_assert(number(r, "throughput_per_s") == 74.5);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.median") == 12);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.count") == 3);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.censored") == 1);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.by_survivors") == 2);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.watch_ms") == 9800);
	ck_assert(number(r, "time_to_resume_ms.in_flight_first.watch_min_ms") == 9700);
	ck_assert(number(r, "database.wal_bytes") == 4096);
}
END_TEST

START_TEST(backlog_retries_and_share_are_there)
{
	json_t *r;

	render();
	r = run(0, 0);
	ck_assert(number(r, "backlog.most") == 5);
	ck_assert(number(r, "backlog.step_ms") == 100);
	ck_assert_uint_eq(json_array_size(at(r, "backlog.samples")), 3);
	ck_assert(number(r, "backlog.burst.from_s") == 1);
	ck_assert(number(r, "backlog.burst.to_s") == 2.5);
	ck_assert(number(r, "backlog.burst.usual") == 2);
	ck_assert(json_is_null(at(r, "backlog.burst.drain_ms")));
	ck_assert(number(r, "retries.count") == 7);
	ck_assert(number(r, "retries.missing") == 1);
	ck_assert(number(r, "retries.most_within_100_ms") == 3);
	r = json_array_get(at(r, "retries.after_failure"), 0);
	ck_assert(number(r, "histogram.from_ms") == 950);
	ck_assert(number(r, "histogram.width_ms") == 50);
	ck_assert_uint_eq(json_array_size(at(r, "histogram.spacing")), 2);
	ck_assert(json_integer_value(json_array_get(at(r, "histogram.spacing"), 1)) == 6);
	r = run(0, 0);
	ck_assert(number(r, "share.throughput_per_s") == 60);
	ck_assert(number(r, "share.least") == 10);
	ck_assert(number(r, "share.fairness") == 0.9);
	/* A report of this run alone has nothing to compare it with. */
	ck_assert(json_is_null(at(r, "share.scaling")));
}
END_TEST

START_TEST(what_is_not_known_is_null)
{
	json_t *r;

	render();
	r = run(0, 0);
	ck_assert(json_is_null(at(r, "time_to_resume_ms.in_flight_first.max")));
	ck_assert(json_is_null(at(r, "time_to_resume_ms.never_started.median")));
	ck_assert(json_is_null(at(r, "time_to_resume_ms.never_started.watch_ms")));
	ck_assert(json_is_null(at(r, "work_ms.p50")));
	ck_assert(number(r, "work_ms.count") == 0);
	ck_assert(json_is_null(at(r, "database.commits")));
	ck_assert(json_is_null(at(r, "database.transactions")));
	ck_assert(json_is_null(at(r, "database.per_completed_job.transactions")));
	ck_assert(number(r, "database.inserted") == 0);
}
END_TEST

START_TEST(settings_identities_and_versions_are_there)
{
	json_t *r, *id;

	render();
	r = run(0, 0);
	ck_assert_str_eq(json_string_value(at(r, "settings.others.poll_ms")), "500");
	ck_assert_ptr_null(json_object_get(at(r, "settings.others"), "host_cpu"));
	ck_assert_str_eq(json_string_value(at(r, "versions.server")), "15.1");
	ck_assert(json_is_false(at(r, "verified")));
	id = json_array_get(at(r, "identities"), 0);
	ck_assert_str_eq(json_string_value(at(id, "name")), "left = right");
	ck_assert(number(id, "left") == 5 && number(id, "right") == 6);
	ck_assert(json_is_false(at(id, "holds")));
}
END_TEST

START_TEST(runs_are_grouped_and_ranged)
{
	struct qb_summary other = sum, second = sum;
	json_t *over;

	strcpy(other.lib, "pgtx");
	second.throughput_per_s = 80;
	entries[1] = (struct qb_report_entry){ .summary = &other, .meta = &meta };
	entries[2] = (struct qb_report_entry){ .summary = &second, .meta = &meta };
	report.entries_count = 3;
	render();
	ck_assert_uint_eq(json_array_size(at(root, "libraries")), 2);
	ck_assert(number(run(0, 1), "throughput_per_s") == 80);
	ck_assert_str_eq(json_string_value(at(run(1, 0), "directory")), "");
	over = at(json_array_get(at(root, "libraries"), 0), "over_runs");
	ck_assert(number(over, "throughput_per_s.min") == 74.5);
	ck_assert(number(over, "throughput_per_s.median") == 80);
	ck_assert(number(over, "throughput_per_s.max") == 80);
	ck_assert(number(over, "pickup_p95_ms.median") == 4);
}
END_TEST

START_TEST(unique_keys_have_a_row_for_each_phase)
{
	json_t *keys, *rows;

	render();
	keys = at(run(0, 0), "unique_keys");
	rows = at(keys, "phases");
	ck_assert_uint_eq(json_array_size(rows), QB_KEY_PHASES);
	ck_assert_str_eq(json_string_value(at(json_array_get(rows, 1), "phase")), "queued");
	ck_assert(number(json_array_get(rows, 1), "refused") == 20);
	ck_assert(json_is_null(at(json_array_get(rows, 0), "spread_ms_max")));
	ck_assert(number(keys, "holders.again") == 5);
	ck_assert(number(keys, "holders.again_ms_median") == 3);
	/* One was not seen again: nobody knows how long the longest takes. */
	ck_assert(json_is_null(at(keys, "holders.again_ms_max")));
	ck_assert(number(keys, "holders.watch_ms") == 4000);
	sum.keys.set.keys = 0;
	render();
	ck_assert(json_is_null(at(run(0, 0), "unique_keys")));
}
END_TEST

START_TEST(a_cache_has_a_row_for_each_phase_of_its_scenario)
{
	json_t *cache, *row;

	render();
	cache = at(run(0, 0), "cache");
	ck_assert(number(cache, "callers") == 8);
	ck_assert(number(cache, "processes") == 4);
	ck_assert(number(cache, "deadline_ms") == 10000);
	ck_assert(json_is_true(at(cache, "faithful")));
	ck_assert(json_is_false(at(cache, "stale_errors")));
	ck_assert_uint_eq(json_array_size(at(cache, "phases")), 1);
	row = json_array_get(at(cache, "phases"), 0);
	ck_assert_str_eq(json_string_value(at(row, "phase")), "uniform");
	ck_assert(number(row, "hits") == 4 && number(row, "joined") == 3 && number(row, "executed") == 1);
	ck_assert(number(row, "failed") == 1 && number(row, "deadline") == 1 && number(row, "failures") == 0);
	ck_assert(number(row, "executions") == 2 && number(row, "leaks") == 1);
	ck_assert(number(row, "ticks") == 2 && number(row, "waits") == 5);
	ck_assert(number(row, "joined_ms.p99") == 5);
	ck_assert(json_is_null(at(row, "hit_ms.p50")));
	ck_assert(number(cache, "total.requests") == 9);
	sum.cache.set.callers = 0;
	render();
	ck_assert(json_is_null(at(run(0, 0), "cache")));
}
END_TEST

START_TEST(odd_values_leave_the_file_readable)
{
	meta.seed = UINT64_MAX;
	strcpy(meta.server_version, "15\xff");
	qb_meta_setting(&meta, "k\xfe", "v\xfd\"\\");
	sum.throughput_per_s = 1.0 / 0.0;
	render();
	ck_assert_str_eq(json_string_value(at(root, "seed")), "18446744073709551615");
	ck_assert_str_eq(json_string_value(at(run(0, 0), "versions.server")), "15?");
	ck_assert_str_eq(json_string_value(at(run(0, 0), "settings.others.k?")), "v?\"\\");
	ck_assert(json_is_null(at(run(0, 0), "throughput_per_s")));
	report.entries_count = 0;
	render();
	ck_assert_uint_eq(json_array_size(at(root, "libraries")), 0);
}
END_TEST

/* ---- the page ---- */

static char *page;

static void read_page(void)
{
	const char *srcdir = getenv("srcdir");
	struct qb_err err = { 0 };
	char path[4096];
	size_t bytes;

	snprintf(path, sizeof(path), "%s/doc/summary-json.md", srcdir ? srcdir : ".");
	ck_assert_msg(qb_read_file(path, 1 << 20, &page, &bytes, &err) == 0, "%s", err.text);
}

static void drop_page(void)
{
	free(page);
	page = NULL;
}

static void assert_documented(const char *key, json_t *value)
{
	char ticked[128];
	const char *sub;
	json_t *j;
	size_t i;

	if (key) {
		snprintf(ticked, sizeof(ticked), "`%s`", key);
		ck_assert_msg(strstr(page, ticked) != NULL, "%s is not in doc/summary-json.md",
			      key);
		if (strcmp(key, "others") == 0)
			return;
	}
	if (json_is_object(value))
		json_object_foreach(value, sub, j)
			assert_documented(sub, j);
	if (json_is_array(value))
		json_array_foreach(value, i, j)
			assert_documented(NULL, j);
}

START_TEST(every_key_is_documented)
{
	render();
	assert_documented(NULL, root);
}
END_TEST

/* The keys of the tables' first column are in the file. */
START_TEST(every_documented_key_exists)
{
	unsigned keys = 0;

	render();
	for (char *line = strtok(page, "\n"); line; line = strtok(NULL, "\n")) {
		char *p = line, *end;

		if (strncmp(line, "| `", 3) != 0)
			continue;
		end = strstr(line + 2, " |");
		ck_assert_ptr_nonnull(end);
		while ((p = strchr(p, '`')) && p < end) {
			size_t n = strcspn(++p, "`");
			char quoted[128];

			snprintf(quoted, sizeof(quoted), "\"%.*s\":", (int)n, p);
			ck_assert_msg(strstr(out.data, quoted) != NULL,
				      "%.*s is documented and not there", (int)n, p);
			p += n + 1;
			keys++;
		}
	}
	ck_assert_uint_gt(keys, 80);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("summary.json");
	TCase *values = tcase_create("values"), *doc = tcase_create("page");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(values, setup, teardown);
	tcase_add_test(values, the_version_comes_first);
	tcase_add_test(values, each_count_has_its_own_key);
	tcase_add_test(values, times_are_in_the_unit_of_their_key);
	tcase_add_test(values, backlog_retries_and_share_are_there);
	tcase_add_test(values, what_is_not_known_is_null);
	tcase_add_test(values, settings_identities_and_versions_are_there);
	tcase_add_test(values, runs_are_grouped_and_ranged);
	tcase_add_test(values, unique_keys_have_a_row_for_each_phase);
	tcase_add_test(values, a_cache_has_a_row_for_each_phase_of_its_scenario);
	tcase_add_test(values, odd_values_leave_the_file_readable);
	suite_add_tcase(suite, values);
	tcase_add_checked_fixture(doc, setup, teardown);
	tcase_add_checked_fixture(doc, read_page, drop_page);
	tcase_add_test(doc, every_key_is_documented);
	tcase_add_test(doc, every_documented_key_exists);
	suite_add_tcase(suite, doc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
