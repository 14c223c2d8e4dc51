/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of several processes, of retries and of bursts: the rows and the pictures. */
#include "reporttest.h"

static size_t add_variant(const char *library, const char *variant)
{
	size_t i = add_run(library);

	snprintf(metas[i].variant, sizeof(metas[i].variant), "%s", variant);
	sums[i].kills = sums[i].kills_by_role[QB_ROLE_WORKER] = 0;
	return i;
}

static void processes(const char *library, uint32_t count, double rate)
{
	char variant[32];

	snprintf(variant, sizeof(variant), "%u process%s", count, count == 1 ? "" : "es");
	size_t i = add_variant(library, variant);

	metas[i].workers = count;
	metas[i].backlog = 200ull * count;
	sums[i].share = (struct qb_share){ .processes = count, .served = count, .window_ns = 1000 * MS, .jobs = 200,
					   .throughput_per_s = rate, .least = 40, .most = 60, .fairness = 0.95,
					   .woken = 3, .polled = 1, .pickup = samples(4, 2) };
}

START_TEST(numbers_of_processes_stand_beside_each_other)
{
	const char *text;

	processes("shm", 1, 100);
	processes("shm", 2, 190);
	processes("pgtx", 1, 50);
	processes("pgtx", 2, 125);
	text = render(qb_report_text);
	assert_says(text, "crash_recovery: shm ");
	assert_says(text, "crash_recovery: pgtx ");
	assert_says(text, "after a backlog of 200 jobs for each process");
	ck_assert_str_eq(line_of(text, "     "), "1 process 2 processes");
	ck_assert_str_eq(line_of(text, "  throughput"), "throughput, jobs/s 100 190");
	ck_assert_str_eq(line_of(text, "  of it per"), "of it per process, fewest = 1 1.00 0.95");
	ck_assert_str_eq(line_of(strstr(text, ": pgtx"), "  of it per"), "of it per process, fewest = 1 1.00 1.25");
	ck_assert_str_eq(line_of(text, "  least"), "least share of a process 20.0 % 20.0 %");
	ck_assert_str_eq(line_of(text, "  by a process"), "by a process that was woken 75.0 % 75.0 %");
	assert_says(text, "shm with 1 process and shm with 2 processes lost none");
	/* Pick-ups of the whole run say how long the backlog was. */
	assert_silent(text, "\npick-up p50");
	assert_columns(text);
	text = render(qb_report_md);
	assert_says(text, "## crash\\_recovery: shm");
	assert_says(text, "| | 1 process | 2 processes |");
}
END_TEST

START_TEST(process_count_alone_has_no_efficiency)
{
	processes("shm", 4, 100);
	assert_silent(render(qb_report_text), "of it per process");
}
END_TEST

static void retrying(const char *library, const char *variant, uint32_t most)
{
	size_t i = add_variant(library, variant);
	struct qb_retries *r = &sums[i].retries;

	strcpy(metas[i].backoff, "pow4");
	r->count = 30;
	r->late = samples(30, 4);
	r->rounds_count = 1;
	r->rounds[0] = (struct qb_retry_round){
		.count = 30, .policy = samples(30, 1000), .spacing = samples(30, 1004), .from_ns = 950 * MS,
		.width_ns = 50 * MS, .bins_count = 3, .policy_bins = { 0, 30 }, .spacing_bins = { 0, 10, 20 },
		.most_in_window = most, .most_due_in_window = 30,
	};
}

START_TEST(retries_are_shown_as_due_and_as_begun)
{
	const char *text;

	retrying("pgtx", "jitter 0 %", 28);
	retrying("pgtx", "jitter 10 %", 9);
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "     "), "pgtx, jitter 0 % pgtx, jitter 10 %");
	ck_assert_str_eq(line_of(text, "  begun"), "begun 30 30");
	ck_assert_str_eq(line_of(text, "  late, p95"), "late, p95 12.0 ms 12.0 ms");
	ck_assert_str_eq(line_of(text, "  most within 100 ms, first"), "most within 100 ms, first retry 28 9");
	assert_says(text, "pgtx, jitter 10 %: from failure 1 to the next attempt, in steps of 50.0 ms");
	ck_assert_str_eq(line_of(text, "  0.950 s"), "0.950 s 0 0");
	ck_assert_str_eq(line_of(text, "  1.000 s"), "1.000 s 30 ########################## 10 #########");
	ck_assert_str_eq(line_of(text, "  1.050 s"), "1.050 s 0 20 ##################");
	assert_columns(text);
	ck_assert_ptr_nonnull(strstr(render(qb_report_md), "\n    pgtx, jitter 0 %: from failure 1"));
}
END_TEST

START_TEST(immediate_retries_are_no_matter_of_policy)
{
	retrying("pgtx", "", 28);
	sums[0].retries.rounds[0].policy = samples(30, 0);
	assert_silent(render(qb_report_text), "retries\n");
	assert_silent(render(qb_report_text), "from failure");
}
END_TEST

START_TEST(policy_of_its_own_is_of_interest_where_it_was_asked_for)
{
	retrying("river", "", 28);
	strcpy(metas[0].backoff, "immediate");
	assert_silent(render(qb_report_text), "retries\n");
	assert_silent(render(qb_report_text), "from failure");
}
END_TEST

START_TEST(burst_is_drawn_on_one_scale)
{
	const char *text, *line;

	for (size_t i = 0; i < 2; i++) {
		struct qb_backlog *o = &sums[add_variant(i ? "pgtx" : "shm", "")].backlog;

		*o = (struct qb_backlog){ .step_ns = 100 * MS, .samples_count = QB_BACKLOG_SAMPLES, .max = i ? 90 : 9,
					  .has_burst = 1, .burst_start_ns = 1000 * MS, .burst_end_ns = 2000 * MS,
					  .at_end = 7, .drain_ns = i ? QB_BEYOND_WATCH : 40 * MS };
		o->samples[15] = i ? 90 : 9;
	}
	text = render(qb_report_text);
	ck_assert_str_eq(line_of(text, "  from there"), "from there to the usual number 40.0 ms not by the end");
	ck_assert_str_eq(line_of(text, "  most jobs"), "most jobs due and not finished 9 90");
	line = strstr(text, "\n  pgtx ");
	ck_assert(line && line[1 + 27 + 1 + 14] == '@');
	line = strstr(text, "\n  shm ");
	ck_assert(line && line[1 + 27 + 1 + 14] == '.');
	line = strstr(text, "\n  the burst ");
	ck_assert(line && line[1 + 27 + 1 + 9] == '^' && line[1 + 27 + 1 + 5] == ' ' && line[1 + 27 + 1 + 25] == ' ');
	assert_columns(text);
}
END_TEST

/* Two phases, the second without a hit; five of its requests failed. */
static void cache_of(const char *library, int faithful)
{
	size_t i = add_run(library);
	struct qb_cache_table *t = &sums[i].cache;

	*t = (struct qb_cache_table){
		.set = { .callers = 8, .addresses = 10, .requests = 100 }, .processes = 4, .deadline_ns = 10000 * MS,
		.faithful = faithful,
		.row[QB_CACHE_UNIFORM] = { .requests = 100, .hits = 60, .joined = 29, .executed = 11, .executions = 11, .leaks = 1,
					   .waits = 40, .ticks = 3, .way = { samples(60, 1), samples(29, 7), samples(11, 9) } },
		.row[QB_CACHE_FAILING] = { .requests = 8, .failed = 8, .faults = { 0, 8 }, .stale = 5, .executions = 1, .waits = 8,
					   .fault = samples(8, 3) },
	};
	qb_cache_row_add(&t->total, &t->row[QB_CACHE_UNIFORM]);
	qb_cache_row_add(&t->total, &t->row[QB_CACHE_FAILING]);
	qb_meta_setting(&metas[i], "cache callers", "2");
	qb_meta_setting(&metas[i], "cache processes", "4");
}

START_TEST(cache_has_a_table_for_each_library)
{
	const char *text;

	cache_of("shm", 0);
	cache_of("platlib", 1);
	cache_of("river", 0);
	text = render(qb_report_text);
	assert_says(text, "4 processes of 2 callers each, seed 20, 10 workers");
	assert_says(text, "shm, a cache asked by 8 callers in 4 processes");
	ck_assert_str_eq(line_of(text, "phase"), "phase requests hits joined executed failed stale executions leaks hit rate saved");
	ck_assert_str_eq(line_of(text, "uniform"), "uniform 100 60 29 11 0 0 11 1 60.0 % 89.0 %");
	ck_assert_str_eq(line_of(text, "failing"), "failing 8 0 0 0 8 5 1 0 0.0 % 87.5 %");
	ck_assert_str_eq(line_of(text, "all"), "all 108 60 29 11 8 5 12 1 55.6 % 88.9 %");
	ck_assert_str_eq(line_of(strstr(text, "p50 / p99"), "uniform"), "uniform 1.00 ms / 4.00 ms 7.00 ms / 28.0 ms "
			 "9.00 ms / 36.0 ms - - 3 of 40");
	assert_says(text, "shm: 1 execution beyond one for each item");
	assert_says(text, "platlib: rscache on rsqueue as they are, with their weaknesses (doc/cache.md).");
	assert_says(text, "river: An analogue: River has no cache (doc/river.md).");
	assert_says(text, "8 requests got the error of work that failed, 5 of them of a run that was over before they asked.");
	assert_says(text, "3 of 48 waits were ended by a tick, and not by a notification.");
	/* How fast jobs are done says nothing where who asks waits for them. */
	assert_silent(text, "\npick-up p50");
	assert_silent(text, "skewed");
	text = render(qb_report_md);
	assert_says(text, "### platlib: a cache asked by 8 callers in 4 processes");
	assert_says(text, "| uniform | 100 | 60 | 29 | 11 | 0 | 0 | 11 | 1 | 60.0 % | 89.0 % |");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("shapes");
	TCase *tc = tcase_create("shapes");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, numbers_of_processes_stand_beside_each_other);
	tcase_add_test(tc, process_count_alone_has_no_efficiency);
	tcase_add_test(tc, retries_are_shown_as_due_and_as_begun);
	tcase_add_test(tc, immediate_retries_are_no_matter_of_policy);
	tcase_add_test(tc, policy_of_its_own_is_of_interest_where_it_was_asked_for);
	tcase_add_test(tc, burst_is_drawn_on_one_scale);
	tcase_add_test(tc, cache_has_a_table_for_each_library);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed_count = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed_count != 0;
}
