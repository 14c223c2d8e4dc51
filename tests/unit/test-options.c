/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a queue: what is read, what is refused and with which words. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "queue/queue.h"
#include "shm/status.h"

enum { COOLDOWN, LIMIT, MODE, LEASE };

static const char *const modes[] = { "library", "fixed", NULL };
static const struct qb_queue_option table[] = {
	[COOLDOWN] = { "fetch-cooldown", QB_QUEUE_DURATION, NULL, QB_NS_PER_MS, QB_NS_PER_S, "100ms", "" },
	[LIMIT] = { "limit", QB_QUEUE_COUNT, NULL, 1, 10, "4", "" },
	[MODE] = { "mode", QB_QUEUE_CHOICE, modes, 0, 0, "library", "" },
	[LEASE] = { "lease", QB_QUEUE_DURATION, NULL, 0, 7200 * QB_NS_PER_S, "1h", "" },
	{ .name = NULL },
};
static const struct qb_queue_ops queue = { .name = "q", .options = table };

static void read_them(const char *text, uint64_t *values)
{
	struct qb_err err = { 0 };
	int rc = qb_queue_options_parse(&queue, text, values, &err);

	ck_assert_msg(rc == 0, "%s", err.text);
}

START_TEST(without_a_word_they_are_the_presets)
{
	uint64_t v[QB_QUEUE_OPTIONS_MAX];

	read_them(NULL, v);
	ck_assert_uint_eq(v[COOLDOWN], 100 * QB_NS_PER_MS);
	ck_assert_uint_eq(v[LIMIT], 4);
	ck_assert_uint_eq(v[MODE], 0);
	ck_assert_uint_eq(v[LEASE], 3600 * QB_NS_PER_S);
}
END_TEST

START_TEST(what_is_given_replaces_them)
{
	uint64_t v[QB_QUEUE_OPTIONS_MAX];

	read_them("mode=fixed:fetch-cooldown=2ms", v);
	ck_assert_uint_eq(v[COOLDOWN], 2 * QB_NS_PER_MS);
	ck_assert_uint_eq(v[LIMIT], 4);
	ck_assert_uint_eq(v[MODE], 1);
}
END_TEST

static const struct {
	const char *text, *says;
} bad[] = {
	{ "fetch-cooldon=2ms", "did you mean \"fetch-cooldown\"" },
	{ "fetch-cooldown", "write fetch-cooldown=VALUE" },
	{ "fetch-cooldown=", "is no time" },
	{ "fetch-cooldown=2", "is no time" },
	{ "fetch-cooldown=2s", "not between 1ms and 1s" },
	{ "limit=11", "not between 1 and 10" },
	{ "limit=x", "is no number" },
	{ "mode=sideways", "none of library, fixed" },
	{ "limit=2:limit=3", "given twice" },
	{ "limit=2:", "no setting \"\"" },
};

START_TEST(what_cannot_be_is_refused_with_the_reason)
{
	uint64_t v[QB_QUEUE_OPTIONS_MAX];
	struct qb_err err = { 0 };

	ck_assert_int_eq(qb_queue_options_parse(&queue, bad[_i].text, v, &err), QB_EUSAGE);
	ck_assert_msg(strstr(err.text, bad[_i].says), "%s: %s", bad[_i].text, err.text);
}
END_TEST

START_TEST(a_value_is_written_as_one_would_give_it)
{
	char buf[32];

	ck_assert_str_eq(qb_queue_option_text(&table[COOLDOWN], 1500 * QB_NS_PER_US, buf, sizeof(buf)), "1500us");
	ck_assert_str_eq(qb_queue_option_text(&table[LEASE], 3600 * QB_NS_PER_S, buf, sizeof(buf)), "1h");
	ck_assert_str_eq(qb_queue_option_text(&table[LEASE], 0, buf, sizeof(buf)), "0s");
	ck_assert_str_eq(qb_queue_option_text(&table[LIMIT], 7, buf, sizeof(buf)), "7");
	ck_assert_str_eq(qb_queue_option_text(&table[MODE], 1, buf, sizeof(buf)), "fixed");
}
END_TEST

START_TEST(a_setting_is_added_once)
{
	struct qb_queue_spec spec = { .ops = &queue, .label = "q:limit=2" };
	struct qb_err err = { 0 };

	spec.options = spec.label + 2;
	ck_assert_int_eq(qb_queue_spec_set(&spec, "limit", "3", &err), 0);
	ck_assert_str_eq(spec.label, "q:limit=2");
	ck_assert_int_eq(qb_queue_spec_set(&spec, "no-such", "3", &err), 0);
	ck_assert_str_eq(spec.label, "q:limit=2");
}
END_TEST

START_TEST(a_queue_that_is_none_is_named)
{
	struct qb_queue_spec spec;
	struct qb_err err = { 0 };
	char text[2 * QB_QUEUE_LABEL_BYTES];

	ck_assert_int_eq(qb_queue_spec_parse("shm", &spec, &err), 0);
	ck_assert_str_eq(spec.label, "shm");
	ck_assert_str_eq(spec.options, "");
	ck_assert_int_eq(qb_queue_spec_parse("shn:limit=2", &spec, &err), QB_EUSAGE);
	ck_assert_msg(strstr(err.text, "no library \"shn\""), "%s", err.text);
	ck_assert_int_eq(qb_queue_spec_parse("shm:", &spec, &err), QB_EUSAGE);
	ck_assert_int_eq(qb_queue_spec_parse("shm:limit=2", &spec, &err), QB_EUSAGE);
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	ck_assert_int_eq(qb_queue_spec_parse(text, &spec, &err), QB_EUSAGE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("options");
	TCase *tc = tcase_create("options");

	tcase_add_test(tc, without_a_word_they_are_the_presets);
	tcase_add_test(tc, what_is_given_replaces_them);
	tcase_add_loop_test(tc, what_cannot_be_is_refused_with_the_reason, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, a_value_is_written_as_one_would_give_it);
	tcase_add_test(tc, a_setting_is_added_once);
	tcase_add_test(tc, a_queue_that_is_none_is_named);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
