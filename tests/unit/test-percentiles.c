/* SPDX-License-Identifier: Apache-2.0 */
/* Nearest rank, against values worked out by hand. */
#include <check.h>
#include <stdlib.h>

#include "stats/percentile.h"
#include "stats/summary.h"

/* 1..count in an order that is not sorted. */
static uint64_t *shuffled(uint64_t count)
{
	uint64_t *v = malloc(count * sizeof(*v));

	ck_assert_ptr_nonnull(v);
	for (uint64_t i = 0; i < count; i++)
		v[i] = (i * 7919) % count + 1;  /* 7919 is prime and divides none of the counts */
	return v;
}

START_TEST(no_sample_gives_zeros)
{
	struct qb_percentiles p = { .count = 5, .max_ns = 1, .mean_ns = 2 };

	qb_percentiles_of(NULL, 0, &p);
	ck_assert_uint_eq(p.count, 0);
	ck_assert_uint_eq(p.max_ns, 0);
	ck_assert_uint_eq(p.p50_ns, 0);
	ck_assert(p.mean_ns == 0);
}
END_TEST

START_TEST(one_sample_is_every_percentile)
{
	uint64_t v = 42;
	struct qb_percentiles p;

	qb_percentiles_of(&v, 1, &p);
	ck_assert_uint_eq(p.count, 1);
	ck_assert_uint_eq(p.min_ns, 42);
	ck_assert_uint_eq(p.p50_ns, 42);
	ck_assert_uint_eq(p.p999_ns, 42);
	ck_assert_uint_eq(p.max_ns, 42);
	ck_assert(p.mean_ns == 42);
}
END_TEST

START_TEST(percentiles_are_samples_by_nearest_rank)
{
	static const struct { uint64_t n, p50, p90, p95, p99, p999; } wanted[] = {
		{ 2, 1, 2, 2, 2, 2 },
		{ 3, 2, 3, 3, 3, 3 },
		{ 10, 5, 9, 10, 10, 10 },
		{ 11, 6, 10, 11, 11, 11 },
		{ 20, 10, 18, 19, 20, 20 },
		{ 100, 50, 90, 95, 99, 100 },
		{ 101, 51, 91, 96, 100, 101 },
		{ 1000, 500, 900, 950, 990, 999 },
		{ 1001, 501, 901, 951, 991, 1000 },
		{ 2000, 1000, 1800, 1900, 1980, 1998 },
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		uint64_t n = wanted[i].n, *v = shuffled(n);
		struct qb_percentiles p;

		qb_percentiles_of(v, n, &p);
		ck_assert_uint_eq(p.count, n);
		ck_assert_uint_eq(p.min_ns, 1);
		ck_assert_uint_eq(p.p50_ns, wanted[i].p50);
		ck_assert_uint_eq(p.p90_ns, wanted[i].p90);
		ck_assert_uint_eq(p.p95_ns, wanted[i].p95);
		ck_assert_uint_eq(p.p99_ns, wanted[i].p99);
		ck_assert_uint_eq(p.p999_ns, wanted[i].p999);
		ck_assert_uint_eq(p.max_ns, n);
		ck_assert_double_eq_tol(p.mean_ns, (double)(n + 1) / 2, 1e-9);
		free(v);
	}
}
END_TEST

/* In floating point 0.95 * n is a little too large for some n, and the rank one too high. */
START_TEST(rank_is_exact_for_every_count)
{
	static const unsigned permille[] = { 0, 1, 500, 900, 950, 990, 999, 1000 };

	for (uint64_t n = 1; n <= 5000; n++)
		for (size_t i = 0; i < sizeof(permille) / sizeof(permille[0]); i++) {
			uint64_t rank = qb_rank(n, permille[i]);

			/* The smallest rank that covers the share: rank + 1 >= p n > rank. */
			ck_assert_uint_lt(rank, n);
			ck_assert_uint_ge((rank + 1) * 1000, permille[i] * n);
			if (rank)
				ck_assert_uint_lt(rank * 1000, permille[i] * n);
		}
	ck_assert_uint_eq(qb_rank(0, 950), 0);
}
END_TEST

START_TEST(large_counts_and_values_do_not_overflow)
{
	uint64_t v[3] = { UINT64_MAX, UINT64_MAX - 1, 7 };
	struct qb_percentiles p;

	qb_percentiles_of(v, 3, &p);
	ck_assert_uint_eq(p.min_ns, 7);
	ck_assert_uint_eq(p.p50_ns, UINT64_MAX - 1);
	ck_assert_uint_eq(p.max_ns, UINT64_MAX);
	ck_assert_double_eq_tol(p.mean_ns / 1.2297829382473034e19, 1.0, 1e-9);
	ck_assert_uint_eq(qb_rank(UINT64_MAX, 500), UINT64_MAX / 2);
	ck_assert_uint_eq(qb_rank(UINT64_MAX, 1000), UINT64_MAX - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("percentiles");
	TCase *tc = tcase_create("nearest rank");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, no_sample_gives_zeros);
	tcase_add_test(tc, one_sample_is_every_percentile);
	tcase_add_test(tc, percentiles_are_samples_by_nearest_rank);
	tcase_add_test(tc, rank_is_exact_for_every_count);
	tcase_add_test(tc, large_counts_and_values_do_not_overflow);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
