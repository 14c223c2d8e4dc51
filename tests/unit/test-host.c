/* SPDX-License-Identifier: Apache-2.0 */
/* Facts about the machine: from constructed texts, and of the machine that runs the test. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host.h"

static char model[96];

START_TEST(the_model_is_found_whatever_the_processor)
{
	qb_host_cpu_model("processor\t: 0\nvendor_id\t: X\nmodel\t\t: 1\n"
			  "model name\t: Imaginary  CPU   @ 3.00GHz \nstepping\t: 1\n", model,
			  sizeof(model));
	ck_assert_str_eq(model, "Imaginary CPU @ 3.00GHz");
	qb_host_cpu_model("processor\t: 0\nBogoMIPS\t: 50\n\nModel\t\t: Board 4\n", model,
			  sizeof(model));
	ck_assert_str_eq(model, "Board 4");
	qb_host_cpu_model("processor\t: 0\ncpu\t\t: POWER9\nclock : 1\n", model, sizeof(model));
	ck_assert_str_eq(model, "POWER9");
	qb_host_cpu_model("model name : last line", model, sizeof(model));
	ck_assert_str_eq(model, "last line");
	qb_host_cpu_model("processor\t: 0\nmodel name\nmodel name\t:\n", model, sizeof(model));
	ck_assert_str_eq(model, "");
	qb_host_cpu_model("", model, sizeof(model));
	ck_assert_str_eq(model, "");
	qb_host_cpu_model("model name : cut off here", model, 8);
	ck_assert_str_eq(model, "cut off");
}
END_TEST

START_TEST(facts_come_back_as_they_went)
{
	struct qb_host h, back = { 0 };
	char key[32], value[96];
	unsigned n = 0;

	memset(&h, 0, sizeof(h));       /* all of it: the structs are compared as bytes */
	strcpy(h.name, "box");
	strcpy(h.cpu, "Imaginary CPU");
	strcpy(h.kernel, "Linux 1.2 x");
	h.cores = 2;
	h.cores_online = 8;
	h.memory_bytes = 5ull << 40;
	memset(&back, 0, sizeof(back));
	while (qb_host_fact(&h, n, key, sizeof(key), value, sizeof(value))) {
		ck_assert_int_eq(qb_host_take(&back, key, value), 1);
		n++;
	}
	ck_assert_uint_eq(n, 6);
	ck_assert_int_eq(memcmp(&h, &back, sizeof(h)), 0);
	ck_assert_int_eq(qb_host_take(&back, "workers", "3"), 0);
	ck_assert_int_eq(qb_host_take(&back, "host_cores", "many"), 1);
	ck_assert_uint_eq(back.cores, 0);
	ck_assert_int_eq(qb_host_take(&back, "host_cores", "4294967296"), 1);
	ck_assert_uint_eq(back.cores, 0);
}
END_TEST

START_TEST(the_line_leaves_out_what_is_unknown)
{
	struct qb_host h = { .cores = 2, .cores_online = 8, .memory_bytes = 8ull << 30 };
	char line[160], tight[10];

	strcpy(h.cpu, "Imaginary CPU");
	strcpy(h.kernel, "Linux 1.2 x");
	ck_assert_str_eq(qb_host_line(&h, line, sizeof(line)),
			 "Imaginary CPU, 2 of 8 cores, 8 GiB, Linux 1.2 x");
	h.cpu[0] = '\0';
	h.cores_online = 2;
	ck_assert_str_eq(qb_host_line(&h, line, sizeof(line)), "2 cores, 8 GiB, Linux 1.2 x");
	h.cores = h.cores_online = 1;
	h.memory_bytes = 0;
	ck_assert_str_eq(qb_host_line(&h, line, sizeof(line)), "1 core, Linux 1.2 x");
	ck_assert_str_eq(qb_host_line(&h, tight, sizeof(tight)), "1 core, L");
	memset(&h, 0, sizeof(h));
	ck_assert_str_eq(qb_host_line(&h, line, sizeof(line)), "");
}
END_TEST

START_TEST(this_machine_has_cores_memory_and_a_kernel)
{
	struct qb_host h;

	qb_host_read(&h);
	ck_assert_uint_ge(h.cores, 1);
	ck_assert_uint_ge(h.cores_online, h.cores);
	ck_assert_uint_gt(h.memory_bytes, 1u << 20);
	ck_assert_msg(strncmp(h.kernel, "Linux ", 6) == 0, "kernel \"%s\"", h.kernel);
	ck_assert_str_ne(h.name, "");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("host");
	TCase *tc = tcase_create("facts");
	SRunner *runner;
	int failed;

	tcase_add_test(tc, the_model_is_found_whatever_the_processor);
	tcase_add_test(tc, facts_come_back_as_they_went);
	tcase_add_test(tc, the_line_leaves_out_what_is_unknown);
	tcase_add_test(tc, this_machine_has_cores_memory_and_a_kernel);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
