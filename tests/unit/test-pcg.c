/* SPDX-License-Identifier: Apache-2.0 */
/* The workload's generator against numbers printed by Go's math/rand/v2 (seeds 1 and 2). */
#include <check.h>
#include <stdlib.h>

#include "workload/pcg.h"

static struct qb_pcg pcg;

static void set_up(void)
{
	qb_pcg_init(&pcg, 1, 2);
}

START_TEST(outputs_are_those_of_go)
{
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0xc4f5a58656eef510u);
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0x9dcec3ad077dec6cu);
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0xc8d04605312f8088u);
}
END_TEST

START_TEST(units_are_those_of_go)
{
	ck_assert(qb_pcg_unit(&pcg) == 0x1.5a58656eef510p-1);
	ck_assert(qb_pcg_unit(&pcg) == 0x1.d875a0efbd8d8p-2);
	ck_assert(qb_pcg_unit(&pcg) == 0x1.04605312f8088p-1);
}
END_TEST

START_TEST(below_100_is_that_of_go)
{
	static const uint64_t wanted[] = { 76, 61, 78, 79, 23, 4, 49, 44 };
	size_t i;

	for (i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		ck_assert_uint_eq(qb_pcg_below(&pcg, 100), wanted[i]);
}
END_TEST

START_TEST(below_a_power_of_two_takes_the_low_bits)
{
	static const uint64_t wanted[] = { 0x10, 0x6c, 0x88 };
	size_t i;

	for (i = 0; i < 3; i++)
		ck_assert_uint_eq(qb_pcg_below(&pcg, 256), wanted[i]);
	qb_pcg_init(&pcg, 1, 2);
	/* Nothing to choose, but an output is used up all the same, as in Go. */
	ck_assert_uint_eq(qb_pcg_below(&pcg, 1), 0);
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0x9dcec3ad077dec6cu);
}
END_TEST

/* Half of the outputs are rejected under this bound: the re-drawing is really used. */
START_TEST(below_draws_again_where_go_does)
{
	const uint64_t bound = (1ull << 63) + 1;
	uint64_t folded = 0;
	unsigned i;

	ck_assert_uint_eq(qb_pcg_below(&pcg, bound), 7096215898565343880u);
	ck_assert_uint_eq(qb_pcg_below(&pcg, bound), 5685620628539766326u);
	ck_assert_uint_eq(qb_pcg_below(&pcg, bound), 7235071295427690564u);
	ck_assert_uint_eq(qb_pcg_below(&pcg, bound), 7347306606681219277u);
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0x3bf98798cae97950u);

	set_up();
	for (i = 0; i < 1000; i++)
		folded = folded * 31 + qb_pcg_below(&pcg, bound);
	ck_assert_uint_eq(folded, 0x22bfc3728afe7bcbu);
	ck_assert_uint_eq(qb_pcg_next(&pcg), 0xd62f52aa4205adadu);
}
END_TEST

START_TEST(below_stays_below_and_reaches_both_ends)
{
	unsigned seen = 0, i;

	for (i = 0; i < 1000; i++) {
		uint64_t x = qb_pcg_below(&pcg, 5);

		ck_assert_uint_lt(x, 5);
		seen |= 1u << x;
	}
	ck_assert_uint_eq(seen, 31);
}
END_TEST

START_TEST(advance_equals_single_steps)
{
	static const uint64_t counts[] = { 0, 1, 2, 3, 7, 64, 1000, 4096 };
	size_t i;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct qb_pcg jumped = pcg;
		uint64_t n;

		qb_pcg_advance(&jumped, counts[i]);
		for (n = 0; n < counts[i]; n++)
			qb_pcg_next(&pcg);
		ck_assert_uint_eq(jumped.hi, pcg.hi);
		ck_assert_uint_eq(jumped.lo, pcg.lo);
	}
	/* Computed step by step in another language. */
	qb_pcg_init(&pcg, 1, 2);
	qb_pcg_advance(&pcg, 1000003);
	ck_assert_uint_eq(pcg.hi, 0x432603cb6252c156u);
	ck_assert_uint_eq(pcg.lo, 0x694f53d47029e58bu);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pcg");
	TCase *tc = tcase_create("vectors");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, outputs_are_those_of_go);
	tcase_add_test(tc, units_are_those_of_go);
	tcase_add_test(tc, below_100_is_that_of_go);
	tcase_add_test(tc, below_a_power_of_two_takes_the_low_bits);
	tcase_add_test(tc, below_draws_again_where_go_does);
	tcase_add_test(tc, below_stays_below_and_reaches_both_ends);
	tcase_add_test(tc, advance_equals_single_steps);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
