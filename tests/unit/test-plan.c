/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Job lists against the original benchmark's. The digests of whole lists come from an independent
 * program that makes the same draws through Go's own math/rand/v2.
 */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "shm/status.h"
#include "workload/plan.h"

static struct qb_scenario sc;
static struct qb_plan plan;
static struct qb_err err;

static void set_up(void)
{
	memset(&plan, 0, sizeof(plan));
	qb_err_clear(&err);
}

static void tear_down(void)
{
	qb_plan_free(&plan);
}

static void load(const char *name, uint64_t duration_ns)
{
	struct qb_scenario_change change = {
		.given = QB_GIVEN_DURATION, .duration_ns = duration_ns,
	};

	ck_assert_msg(!qb_scenario_load(name, &sc, &err), "%s", err.text);
	ck_assert_msg(!qb_scenario_override(&sc, &change, &err), "%s", err.text);
}

static void build(void)
{
	ck_assert_msg(!qb_plan_build(&sc, &plan, &err), "%s", err.text);
}

/* The list as it is printed. malloc'ed. */
static char *print(size_t *bytes)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes);

	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(qb_plan_print_jsonl(&plan, &sc, out), 0);
	fclose(out);
	return text;
}

/* The digest of the printed list begins with these 16 digits. */
static void assert_list(const char *sha256)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	size_t bytes;
	char *text = print(&bytes), hex[17];
	unsigned i;

	ck_assert_int_eq(EVP_Digest(text, bytes, digest, NULL, EVP_sha256(), NULL), 1);
	free(text);
	for (i = 0; i < 8; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	ck_assert_str_eq(hex, sha256);
}

static const struct first_jobs {
	const char *scenario;
	struct {
		uint32_t tenant;
		const char *kind;
		uint32_t work_ms, payload_bytes;
		const char *sha256;             /* its first 16 digits */
		const char *error_class;
	} jobs[3];
} first_jobs[] = {
	{ "steady_over", {
		{ 1, "tenant_snapshot", 126, 878, "bb55d4d49813f2db", "" },
		{ 1, "tenant_snapshot", 30, 388, "c7b94eeca954a6e1", "" },
		{ 3, "entity_update", 6, 229, "a2d3e204d6ef59d6", "" } } },
	{ "burst", {
		{ 2, "entity_enrich", 22, 375, "df3a40a93ed5b2df", "" },
		{ 1, "tenant_snapshot", 326, 932, "c93d46c5192e3584", "" },
		{ 4, "entity_enrich", 514, 261, "e5cc1d31118d0367", "" } } },
	{ "noisy_neighbor", {
		{ 0, "tenant_snapshot", 92, 540, "e7da27e302c19426", "" },
		{ 5, "entity_update", 13, 232, "dd3e4b0bf0c88509", "" },
		{ 0, "tenant_snapshot", 21, 326, "6ff2ef9570881854", "" } } },
	{ "rate_limit_pressure", {
		{ 3, "entity_update", 732, 472, "1d710c555d6468d7", "" },
		{ 0, "entity_update", 183, 936, "3a4dbac21c493014", "" },
		{ 2, "tenant_snapshot", 431, 488, "d5ba10ca4e539d72", "rate_limit" } } },
};

START_TEST(first_jobs_are_the_originals)
{
	const struct first_jobs *wanted = &first_jobs[_i];
	size_t i;

	load(wanted->scenario, 10 * QB_NS_PER_S);
	build();
	for (i = 0; i < 3; i++) {
		const struct qb_plan_job *job = &plan.jobs[i];
		char sha256[QB_PLAN_SHA256_HEX];

		ck_assert_int_eq(qb_plan_payload_sha256(&plan, i, sha256), 0);
		sha256[16] = '\0';
		ck_assert_uint_eq(job->at_ns, (i + 1) * (QB_NS_PER_S / sc.rate));
		ck_assert_uint_eq(job->tenant, wanted->jobs[i].tenant);
		ck_assert_str_eq(sc.kinds[job->kind].name, wanted->jobs[i].kind);
		ck_assert_uint_eq(job->work_ms, wanted->jobs[i].work_ms);
		ck_assert_uint_eq(job->payload_bytes, wanted->jobs[i].payload_bytes);
		ck_assert_str_eq(sha256, wanted->jobs[i].sha256);
		ck_assert_str_eq(qb_error_class_name(job->error_class),
				 wanted->jobs[i].error_class);
	}
}
END_TEST

static const struct whole {
	const char *scenario;
	unsigned duration_s;
	size_t jobs;
	const char *sha256;             /* of the printed list, first 16 digits */
	unsigned work_s;                /* with rate x duration jobs, of those that do not fail */
} wholes[] = {
	{ "steady_under", 30, 899, "ce71d579c2469f04", 206 },
	{ "steady_balanced", 30, 2399, "b6c9270907e817e3", 613 },
	{ "steady_over", 30, 1499, "abe22199be2f23f5", 360 },
	{ "steady", 30, 1499, "abe22199be2f23f5", 360 },
	{ "burst", 30, 3749, "0a126e95d015f961", 917 },
	{ "noisy_neighbor", 30, 1499, "fe8f9cf2dc805670", 336 },
	{ "noisy_neighbor_saturated", 30, 2999, "fe8f886d2bcc74fd", 713 },
	{ "rate_limit_pressure", 30, 899, "b4386ceb51b45918", 172 },
	{ "notify_latency", 30, 599, "0a1165eb020ea4b2", 0 },
	{ "high_scale", 15, 4499, "8d4dd82caf269a71", 1123 },
	{ "crash_recovery", 8, 639, "c2df4414ac8cc9d5", 39 },
};

START_TEST(whole_list_is_the_originals)
{
	const struct whole *wanted = &wholes[_i];

	load(wanted->scenario, wanted->duration_s * QB_NS_PER_S);
	ck_assert_str_eq(sc.name, wanted->scenario);
	build();
	ck_assert_uint_eq(plan.count, wanted->jobs);
	assert_list(wanted->sha256);
}
END_TEST

/* The published figure of the work in each seed counts one job more than a run enqueues. */
START_TEST(work_adds_up_to_the_published_seconds)
{
	const struct whole *wanted = &wholes[_i];
	struct qb_plan_totals totals;

	load(wanted->scenario, wanted->duration_s * QB_NS_PER_S + 1);
	build();
	ck_assert_uint_eq(plan.count, wanted->jobs + 1);
	qb_plan_totals(&plan, &totals);
	ck_assert_uint_eq(totals.jobs, plan.count);
	/* The table rounds some rows and cuts others. */
	ck_assert_uint_ge(totals.work_ms + 500, wanted->work_s * 1000u);
	ck_assert_uint_lt(totals.work_ms, (wanted->work_s + 1) * 1000u);
}
END_TEST

START_TEST(rate_limit_pressure_fails_273_of_899)
{
	struct qb_plan_totals totals;
	uint64_t labels = 0;
	unsigned i;

	load("rate_limit_pressure", 30 * QB_NS_PER_S);
	build();
	qb_plan_totals(&plan, &totals);
	ck_assert_uint_eq(totals.jobs, 899);
	ck_assert_uint_eq(totals.failing[QB_ERROR_CLASS_RATE_LIMIT], 273);
	ck_assert_uint_eq(totals.failing[QB_ERROR_CLASS_TRANSIENT], 0);
	ck_assert_uint_eq(totals.failing[QB_ERROR_CLASS_PERMANENT], 0);
	ck_assert_uint_eq(totals.failing[QB_ERROR_CLASS_NONE], 626);
	for (i = 0; i < QB_SCENARIO_KINDS_MAX; i++)
		labels += totals.kinds[i];
	ck_assert_uint_eq(labels, 899);
}
END_TEST

/* The lists below were made by another implementation of the generator, for this work. */
static void longer_work(void)
{
	sc.kinds[2].work_ms_min = 100;
	sc.kinds[2].work_ms_max = 400;
	sc.kinds[3].work_ms_min = 400;
	sc.kinds[3].work_ms_max = 1200;
}

/* Skew, a multiplier with a fraction, all three classes: no original scenario combines them. */
START_TEST(all_draws_together_equal_the_original)
{
	load("crash_recovery", 8 * QB_NS_PER_S);
	longer_work();
	sc.tenant_skew = 0.3;
	sc.seed = 21;
	sc.burst.multiplier = 2.5;
	sc.error_probability[QB_ERROR_CLASS_RATE_LIMIT] = 0.1;
	sc.error_probability[QB_ERROR_CLASS_TRANSIENT] = 0.2;
	sc.error_probability[QB_ERROR_CLASS_PERMANENT] = 0.3;
	build();
	ck_assert_uint_eq(plan.count, 558);
	assert_list("d722b86bc565e703");
}
END_TEST

/* Fixed work in one kind, fixed sizes in two: a draw too many shifts all that follow. */
START_TEST(nothing_is_drawn_where_both_ends_are_equal)
{
	load("crash_recovery", 8 * QB_NS_PER_S);
	longer_work();
	sc.seed = 22;
	sc.burst = (struct qb_scenario_burst){ .multiplier = 1 };
	sc.error_probability[QB_ERROR_CLASS_TRANSIENT] = 0;
	sc.kinds[0].work_ms_min = sc.kinds[0].work_ms_max = 7;
	sc.kinds[1].work_ms_min = sc.kinds[1].work_ms_max = 7;
	sc.kinds[0].payload_bytes_min = sc.kinds[0].payload_bytes_max = 16;
	sc.kinds[2].payload_bytes_min = sc.kinds[2].payload_bytes_max = 0;
	build();
	ck_assert_uint_eq(plan.count, 319);
	assert_list("9ba292b48264ec13");
}
END_TEST

START_TEST(burst_ticks_carry_the_multiplier)
{
	size_t i, before = 0, in = 0, after = 0;

	load("burst", 15 * QB_NS_PER_S);
	build();
	for (i = 0; i < plan.count; i++) {
		uint64_t at_ns = plan.jobs[i].at_ns;

		if (i)
			ck_assert_uint_ge(at_ns, plan.jobs[i - 1].at_ns);
		if (at_ns < 5 * QB_NS_PER_S)
			before++;
		else if (at_ns < 10 * QB_NS_PER_S)
			in++;
		else
			after++;
	}
	ck_assert_uint_eq(before, 249);
	ck_assert_uint_eq(in, 2500);
	ck_assert_uint_eq(after, 250);
}
END_TEST

START_TEST(multiplier_below_one_thins_and_zero_pauses)
{
	load("steady_over", 10 * QB_NS_PER_S);
	sc.burst = (struct qb_scenario_burst){ 0, 2 * QB_NS_PER_S, 4 * QB_NS_PER_S };
	build();
	ck_assert_uint_eq(plan.count, 399);
	qb_plan_free(&plan);
	sc.burst.multiplier = 0.5;
	build();
	ck_assert_uint_gt(plan.count, 399 + 20);
	ck_assert_uint_lt(plan.count, 399 + 80);
}
END_TEST

/* 1e9 / 30 is no whole number: the ticks drift to before the second, and must not gain a job. */
START_TEST(odd_rates_have_rate_times_duration_less_one)
{
	static const uint32_t rates[] = { 1, 3, 7, 30, 300, 999, 7001 };
	size_t i;

	for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		load("notify_latency", 12 * QB_NS_PER_S);
		sc.rate = rates[i];
		build();
		ck_assert_uint_eq(plan.count, rates[i] * 12 - 1);
		ck_assert_uint_lt(plan.jobs[plan.count - 1].at_ns, sc.duration_ns);
		qb_plan_free(&plan);
	}
}
END_TEST

START_TEST(plan_too_short_for_a_tick_is_empty)
{
	load("notify_latency", 50 * QB_NS_PER_MS);
	build();
	ck_assert_uint_eq(plan.count, 0);
}
END_TEST

START_TEST(plan_too_large_is_refused)
{
	load("steady_over", 60 * QB_NS_PER_S);
	sc.rate = 1000000;
	ck_assert_int_eq(qb_plan_build(&sc, &plan, &err), QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "59999999 jobs"));
	ck_assert_ptr_null(plan.jobs);
	qb_err_clear(&err);
	sc.rate = 0;
	ck_assert_int_eq(qb_plan_build(&sc, &plan, &err), QB_EUSAGE);
}
END_TEST

START_TEST(payload_is_the_same_each_time)
{
	uint8_t first[4096], second[4096];

	load("steady_over", 10 * QB_NS_PER_S);
	build();
	qb_plan_payload(&plan, 7, first);
	qb_plan_payload(&plan, 6, second);
	qb_plan_payload(&plan, 7, second);
	ck_assert_mem_eq(first, second, plan.jobs[7].payload_bytes);
}
END_TEST

START_TEST(printed_line_has_exactly_the_keys)
{
	static const char wanted[] =
		"{\"job\":0,\"at_ns\":50000000,\"tenant\":0,\"kind\":\"entity_update\","
		"\"work_ms\":0,\"payload_bytes\":0,\"payload_sha256\":"
		"\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\","
		"\"error_class\":\"\"}\n";
	size_t bytes;
	char *text;

	load("notify_latency", 60 * QB_NS_PER_MS);
	build();
	text = print(&bytes);
	ck_assert_str_eq(text, wanted);
	free(text);
}
END_TEST

START_TEST(full_device_is_reported)
{
	FILE *out = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(out);
	load("notify_latency", 10 * QB_NS_PER_S);
	build();
	ck_assert_int_eq(qb_plan_print_jsonl(&plan, &sc, out), -ENOSPC);
	fclose(out);
}
END_TEST

/* Every request of a key is for the same job; those of different keys are drawn apart. */
START_TEST(requests_of_a_key_are_one_job)
{
	struct qb_keyset set;

	ck_assert_msg(!qb_scenario_load("idempotent_enqueue", &sc, &err), "%s", err.text);
	build();
	set = qb_scenario_keyset(&sc);
	ck_assert_uint_eq(plan.count, qb_keyset_jobs(&set));
	for (uint64_t id = 1; id <= plan.count; id++) {
		const struct qb_plan_job *job = &plan.jobs[id - 1], *first;
		struct qb_key_place at;

		ck_assert_int_eq(qb_keyset_place(&set, id, &at), 0);
		first = &plan.jobs[qb_keyset_id(&set, at.phase >= QB_KEY_KILLED ? QB_KEY_HOLDER : QB_KEY_RACE, at.key, 0) - 1];
		ck_assert_mem_eq(job, first, sizeof(*job));
		ck_assert_uint_eq(job->error_class, QB_ERROR_CLASS_NONE);
	}
	ck_assert(memcmp(&plan.jobs[0].payload, &plan.jobs[qb_keyset_id(&set, QB_KEY_RACE, 1, 0) - 1].payload,
			 sizeof(plan.jobs[0].payload)) != 0);
	ck_assert(memcmp(&plan.jobs[0].payload, &plan.jobs[qb_keyset_id(&set, QB_KEY_HOLDER, 0, 0) - 1].payload,
			 sizeof(plan.jobs[0].payload)) != 0);
}
END_TEST

/* How far the counts of n addresses are from what is expected of them: chi-square. */
static double distance(const uint64_t *counts, uint32_t n, uint64_t requests, double skew)
{
	double sum = 0, far = 0;

	for (uint32_t k = 1; k <= n; k++)
		sum += pow(k, -skew);
	for (uint32_t k = 1; k <= n; k++) {
		double wanted = (double)requests * pow(k, -skew) / sum, off = (double)counts[k - 1] - wanted;

		far += off * off / wanted;
	}
	return far;
}

/* With 49 degrees of freedom one in a thousand is above 85.4; the seed is fixed. */
START_TEST(requests_of_a_cache_are_spread_as_their_phase_says)
{
	struct qb_cacheset set;
	uint64_t counts[QB_CACHE_PHASES][50] = { { 0 } };

	ck_assert_msg(!qb_scenario_load("cache_dedup", &sc, &err), "%s", err.text);
	sc.cache.requests = 20000;
	sc.cache.kills = 20;
	build();
	set = qb_scenario_cacheset(&sc);
	ck_assert_uint_eq(plan.count, qb_cacheset_jobs(&set));
	for (uint64_t id = 1; id <= plan.count; id++) {
		const struct qb_plan_job *job = &plan.jobs[id - 1];
		struct qb_cache_place at;

		ck_assert_int_eq(qb_cacheset_place(&set, id, &at), 0);
		uint32_t first = qb_cacheset_first_address(&set, at.phase);

		ck_assert_uint_ge(job->tenant, first);
		ck_assert_uint_lt(job->tenant - first, qb_cacheset_addresses(&set, at.phase));
		counts[at.phase][job->tenant - first]++;
		if (qb_cache_in_rounds(at.phase))
			ck_assert_uint_eq(job->tenant - first, at.request / set.callers);
		ck_assert_uint_eq(job->error_class, at.phase == QB_CACHE_FAILING ? QB_ERROR_CLASS_PERMANENT : QB_ERROR_CLASS_NONE);
		ck_assert(job->payload_bytes >= 1024 && job->payload_bytes <= 16384 && job->work_ms >= 5 && job->work_ms <= 20);
	}
	ck_assert_double_lt(distance(counts[QB_CACHE_UNIFORM], 50, 20000, 0), 85.4);
	ck_assert_double_lt(distance(counts[QB_CACHE_UNCACHED], 50, 20000, 0), 85.4);
	ck_assert_double_lt(distance(counts[QB_CACHE_SKEWED], 50, 20000, 1.1), 85.4);
	/* And not by another law. */
	ck_assert_double_gt(distance(counts[QB_CACHE_SKEWED], 50, 20000, 1.0), 85.4);
	ck_assert_double_gt(distance(counts[QB_CACHE_SKEWED], 50, 20000, 0), 85.4);
}
END_TEST

/* As many kills as requests leave none to chance. */
START_TEST(each_address_whose_worker_dies_is_asked_for)
{
	struct qb_cacheset set;
	uint64_t asked[50] = { 0 };

	ck_assert_msg(!qb_scenario_load("cache_dedup", &sc, &err), "%s", err.text);
	sc.cache.requests = 50;
	sc.cache.kills = 50;
	build();
	set = qb_scenario_cacheset(&sc);
	for (uint64_t id = qb_cacheset_first_id(&set, QB_CACHE_KILLED); id < qb_cacheset_first_id(&set, QB_CACHE_TOGETHER); id++) {
		ck_assert(qb_cacheset_is_victim(&set, plan.jobs[id - 1].tenant));
		asked[plan.jobs[id - 1].tenant - qb_cacheset_first_address(&set, QB_CACHE_KILLED)]++;
	}
	for (unsigned k = 0; k < 50; k++)
		ck_assert_uint_eq(asked[k], 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plan");
	TCase *tc = tcase_create("plan");
	const int wholes_count = (int)(sizeof(wholes) / sizeof(wholes[0]));
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, first_jobs_are_the_originals, 0,
			    (int)(sizeof(first_jobs) / sizeof(first_jobs[0])));
	tcase_add_loop_test(tc, whole_list_is_the_originals, 0, wholes_count);
	tcase_add_loop_test(tc, work_adds_up_to_the_published_seconds, 0, wholes_count);
	tcase_add_test(tc, rate_limit_pressure_fails_273_of_899);
	tcase_add_test(tc, requests_of_a_key_are_one_job);
	tcase_add_test(tc, requests_of_a_cache_are_spread_as_their_phase_says);
	tcase_add_test(tc, each_address_whose_worker_dies_is_asked_for);
	tcase_add_test(tc, all_draws_together_equal_the_original);
	tcase_add_test(tc, nothing_is_drawn_where_both_ends_are_equal);
	tcase_add_test(tc, burst_ticks_carry_the_multiplier);
	tcase_add_test(tc, multiplier_below_one_thins_and_zero_pauses);
	tcase_add_test(tc, odd_rates_have_rate_times_duration_less_one);
	tcase_add_test(tc, plan_too_short_for_a_tick_is_empty);
	tcase_add_test(tc, plan_too_large_is_refused);
	tcase_add_test(tc, payload_is_the_same_each_time);
	tcase_add_test(tc, printed_line_has_exactly_the_keys);
	tcase_add_test(tc, full_device_is_reported);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
