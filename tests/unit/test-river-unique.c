/* SPDX-License-Identifier: Apache-2.0 */
/* Unique keys against the vectors of River's own conformance fixtures, by their names, and against ours. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/river-gojson.h"
#include "queue/river-unique.h"
#include "queue/river.h"
#include "shm/status.h"

/* 2026-01-02T03:04:05.6789Z and 2026-01-02T05:21:05.6789Z */
#define NOW 1767323045678900000ull
#define SCHEDULED 1767331265678900000ull
#define MINUTE (60 * QB_NS_PER_S)

static const char *const selected[] = { "path/key", "account.region", "label", "account.id" };

struct vector {
	const char *name, *sha256;
	struct qb_river_unique u;
};

#define ALL(json) { .kind = "conformance_all_args", .by_args = true, .args = json }
#define SOME(json) { .kind = "conformance_selected_args", .by_args = true, .args = json, .fields = selected, \
		     .fields_count = 4 }
#define PERIOD(ns, at) { .kind = "conformance_simple", .by_period_ns = ns, .at_wall_ns = at }

static const struct vector vectors[] = {
	{ "all_selected_fields_omitted", "23aa86692d9807ab10e433e378f1c0804573f5e345818461b919322dd381b4c3", SOME("{}") },
	{ "selected_siblings_and_slash_key", "7d62e81ac25cfa2dec69ad5a41e0b78188ee1b299bed329b453da6b3abca70bd",
	  SOME("{\"account\":{\"id\":\"acct\",\"ignored\":\"irrelevant\",\"region\":\"west\"},\"path/key\":\"slash\"}") },
	{ "nested_struct_wire_order", "46ff499cb031d0458bb00ef87e7b83321eefb6e7534497c279c4ae0f474cdde0",
	  ALL("{\"nested\":{\"z\":1,\"a\":2}}") },
	{ "all_args_sorted_and_escaped", "7a84c62c8d470ca388a0a1e41c311b9eb1ea21f7b88157ceb876fc82e698b6af",
	  ALL("{\"zeta\":\"quoted \\\\\\\"value\\\\\\\" and \\\\\\\\ slash\",\"alpha\":\"\\u003calpha\\u003e\\u0026\\u2028line\","
	      "\"maximum\":9007199254740991}") },
	{ "map_order_and_negative_zero", "fcdf33e0c39c1fc7e956876345a985f2418bd69c6e4d6a5c794abf1e78cdfdb6",
	  ALL("{\"2\":2,\"10\":10,\"zero\":-0,\"\xf0\x9f\x98\x80\":1,\"\xee\x80\x80\":2}") },
	{ "all_args_literal_path_syntax", "1d254dda1efe1009ffb205ede791d481545d66abb8542e85f0d895415b05cdf9",
	  ALL("{\"\":0,\"a.b\":1,\"@x\":2,\":lead\":3,\"!bang\":4,\"[open\":5,\"{brace\":6,\"a\\\\b\":7}") },
	{ "all_args_escaped_key_encoding", "bab84635792449d758b18950f6f014bfb16d26430e798d84afee9fc9cb793163",
	  ALL("{\"a\\\"b\":1,\"line\\n\":2,\"\xc3\xa9\":3,\"a<b\":4,\"a&b\":5,\"a\xe2\x80\xa8" "b\":6}") },
	{ "numeric_boundaries", "2c1533b3ab43068407d14e82ddb34a295a51375ae3a27fef6931123f07677f38",
	  { .kind = "conformance_numeric_boundaries", .by_args = true,
	    .args = "{\"exponent\":1e+100,\"fraction\":1.25,\"maximum\":9223372036854775807,"
		    "\"minimum\":-9223372036854775808,\"unsigned_maximum\":18446744073709551615}" } },
	{ "selected_nested_args", "6130dc4f753402d1faeb6bbc3e6c21415245bb282ad1fd16bcbfeebde525e726",
	  SOME("{\"account\":{\"id\":\"acct-123\",\"ignored\":\"not selected\"},\"ignored\":true,\"label\":\"selected\"}") },
	{ "typed_collections_and_nulls", "66d457888b4b71f0a0041251f75d494e1ac543717283d84633a274648559306d",
	  ALL("{\"empty\":[],\"labels\":{\"alpha\":\"first\",\"k10\":\"ten\",\"k2\":\"two\",\"zulu\":\"last\"},"
	      "\"matrix\":[[3,1],[],[2]],\"missing\":null,\"objects\":[{\"zulu\":\"z\",\"alpha\":1},"
	      "{\"zulu\":\"y\",\"alpha\":null}],\"pointer\":null}") },
	{ "typed_empty_args", "fe05a58ddb79a8d4544da962582d9a290d59788c920afd3597da3a62e3c1b0ac", ALL("{}") },
	{ "typed_escaping", "a4c2a164225cba2e3ae56edbc11258e49a7325d73a9b70e5c9b47a51963d00c5",
	  ALL("{\"a\\u003cb\\u003e\":\"\\u003cangle\\u003e\",\"controls\":\"\\b\\f\\n\\r\\t\\u0000\\u0001\\u001f\x7f\","
	      "\"html\":\"\\u003ca href=\\\"x\\\"\\u003e\\u0026amp;\\u003c/a\\u003e\","
	      "\"keys\":{\"\\u003ck\\u003e\":1,\"a\\u0026b\":2,\"\xc3\xa9\":3,\"\xc3\xa9\\u003c\":4},"
	      "\"separators\":\"line\\u2028paragraph\\u2029end\",\"unicode\":\"\xc3\xa9\xf0\x9f\x98\x80/\\\\\","
	      "\"\xc3\xa9\\u0026\":\"unicode key\"}") },
	{ "selected_explicit_null", "d137d7c4f1e3f8369037b1890357655b4fa1978a329bcf51435f9f0b54abcab7",
	  SOME("{\"label\":null}") },
	{ "typed_time_values", "18b38780de3019cc75d49ff24a74eecdcff99fda0bb36c0244a35f262b15322b",
	  ALL("{\"fraction\":\"2026-01-02T03:04:05.5Z\",\"micros\":\"2026-01-02T03:04:05.123456Z\","
	      "\"millis\":\"2026-01-02T03:04:05.12Z\",\"whole\":\"2026-01-02T03:04:05Z\"}") },
	{ "typed_float_formatting", "dc330477ebe8bf2bc3402476365fcfe22c82253f744481c49a23f760f059cad4",
	  ALL("{\"below_large\":999999999999999900000,\"large\":100000000000000000000,\"large_boundary\":1e+21,"
	      "\"largest\":1.7976931348623157e+308,\"negative\":-1.5e-9,\"negative_zero\":-0,\"one\":1,\"single\":1.1,"
	      "\"single_large\":1e+21,\"single_small\":1e-7,\"small\":1e-7,\"small_boundary\":0.000001,"
	      "\"smallest\":5e-324,\"tenth\":0.1}") },
	{ "period_from_now", "5396f06a082abd7a929915135ebd363a9a47d800176b03ce7736f93a5ba9e22e", PERIOD(90 * MINUTE, NOW) },
	{ "period_from_schedule", "b7f3c49952996b760b8b3ff6cf48f426e03a6ef0f004fb6faa51725365cf309a",
	  PERIOD(60 * MINUTE, SCHEDULED) },
	/* At 22:04:05-05:00 and 10:51:05+05:30: an instant has no zone. */
	{ "period_from_non_utc_now", "5396f06a082abd7a929915135ebd363a9a47d800176b03ce7736f93a5ba9e22e",
	  PERIOD(60 * MINUTE, NOW) },
	{ "period_from_non_utc_schedule", "b7f3c49952996b760b8b3ff6cf48f426e03a6ef0f004fb6faa51725365cf309a",
	  PERIOD(60 * MINUTE, SCHEDULED) },
	{ "queue_without_kind", "d20ce47da8e8015e68b020bbca2b17494139519ae05f8985e5992db4d8dd8a09",
	  { .kind = "conformance_simple", .exclude_kind = true, .by_queue = true, .queue = "priority_emails" } },
	{ "all_dimensions_custom_states", "6f20262e7b1fa9beaf98255f23030800376636484a98b20c2c04a303bab5a8d5",
	  { .kind = "conformance_simple", .by_args = true, .args = "{\"id\":42}", .by_period_ns = MINUTE,
	    .at_wall_ns = SCHEDULED, .by_queue = true, .queue = "priority_emails" } },
	{ "typed_duplicate_top_level_keys", "f3568e94e18a68ce633bd444fe9ec448382740bcf02b83b210cb68e74220fb5f",
	  ALL("{\"a\":1,\"a\":2,\"b\":3}") },
	{ "typed_integer_like_map_keys", "38406019aea1ea67f81186d845e983b197b2d919ded5eca871e4fef0c8b0ad30",
	  ALL("{\"empty\":[],\"labels\":{\"10\":\"ten\",\"2\":\"two\",\"alpha\":\"first\",\"zulu\":\"last\"},"
	      "\"matrix\":[],\"missing\":null,\"objects\":[],\"pointer\":null}") },
};

static char *text_of(const struct qb_river_unique *u)
{
	struct qb_strbuf text = { 0 };
	struct qb_err err = { 0 };

	ck_assert_msg(qb_river_unique_text(u, &text, &err) == 0, "%s", err.text);
	return text.data;
}

START_TEST(unique_hash_goldens)
{
	const struct vector *v = &vectors[_i];
	struct qb_err err = { 0 };
	uint8_t key[32];
	char hex[65];
	char *text = text_of(&v->u);

	ck_assert_msg(qb_river_unique_key(&v->u, key, &err) == 0, "%s: %s", v->name, err.text);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", key[i]);
	ck_assert_msg(!strcmp(hex, v->sha256), "%s is %s, of: %s", v->name, hex, text);
	free(text);
}
END_TEST

static void check_text(struct qb_river_unique u, const char *expected)
{
	char *text = text_of(&u);

	ck_assert_str_eq(text, expected);
	free(text);
}

/* A week does not divide the time between year 1 and 1970: from there it begins on Monday, from 1970 on Thursday. */
START_TEST(a_period_is_counted_from_year_1)
{
	check_text((struct qb_river_unique)PERIOD(7 * 24 * 60 * MINUTE, NOW),
		   "&kind=conformance_simple&period=2025-12-29T00:00:00Z");
	check_text((struct qb_river_unique)PERIOD(7 * QB_NS_PER_S, NOW),
		   "&kind=conformance_simple&period=2026-01-02T03:04:03Z");
	check_text((struct qb_river_unique)PERIOD(1500 * QB_NS_PER_MS, NOW),
		   "&kind=conformance_simple&period=2026-01-02T03:04:04Z");
}
END_TEST

START_TEST(space_between_members_does_not_count_and_inside_of_values_does)
{
	check_text((struct qb_river_unique)ALL(" { \"b\" : [1, 2] ,\n\t\"a\" : \"x y\" } "),
		   "&kind=conformance_all_args&args={\"a\":\"x y\",\"b\":[1, 2]}");
}
END_TEST

/* "account" holds neither of its selected fields, or is no object: it is not there, and no "{}" either. */
START_TEST(an_object_without_selected_fields_leaves_nothing)
{
	check_text((struct qb_river_unique)SOME("{\"account\":{\"name\":1},\"label\":\"x\"}"),
		   "&kind=conformance_selected_args&args={\"label\":\"x\"}");
	check_text((struct qb_river_unique)SOME("{\"account\":{\"name\":1}}"), "&kind=conformance_selected_args&args=");
	check_text((struct qb_river_unique)SOME("{\"account\":7}"), "&kind=conformance_selected_args&args=");
}
END_TEST

START_TEST(what_is_no_object_is_refused)
{
	static const char *const bad[] = { "", "[]", "1", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1} x", "{a:1}",
					   "{\"a\":[1}", "{\"a\":\"\\x\"}", "{\"a\":\"\n\"}", "{\"a\":tru}", "{\"a\":1 2}" };
	struct qb_strbuf text = { 0 }, deep = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qb_river_unique u = ALL(bad[i]);

		ck_assert_msg(qb_river_unique_text(&u, &text, NULL) == QB_EPARSE, "taken: %s", bad[i]);
	}
	qb_strbuf_add(&deep, "{\"a\":");
	for (int i = 0; i < 1000; i++)
		qb_strbuf_add(&deep, "[");
	struct qb_river_unique u = ALL(deep.data);

	ck_assert_int_eq(qb_river_unique_text(&u, &text, NULL), QB_EPARSE);
	qb_strbuf_free(&text);
	qb_strbuf_free(&deep);
}
END_TEST

START_TEST(a_period_below_a_second_is_refused)
{
	struct qb_river_unique u = PERIOD(QB_NS_PER_S - 1, NOW);
	uint8_t key[32];

	ck_assert_int_eq(qb_river_unique_key(&u, key, NULL), QB_EUSAGE);
}
END_TEST

START_TEST(bit_0_of_the_states_is_the_leftmost)
{
	static const char *const usual[] = { "available", "completed", "pending", "retryable", "running", "scheduled", NULL };
	static const char *const custom[] = { "available", "completed", "pending", "running", "scheduled", NULL };
	static const char *const least[] = { "scheduled", "running", "pending", "available", NULL };
	static const char *const short_of_running[] = { "available", "completed", "pending", "retryable", "scheduled", NULL };
	static const char *const unknown[] = { "available", "pending", "running", "scheduled", "done", NULL };
	uint8_t mask;

	ck_assert_int_eq(qb_river_state_bit("scheduled"), 0x80);
	ck_assert_int_eq(qb_river_state_bit("available"), 0x01);
	ck_assert_int_eq(qb_river_unique_states(usual, &mask, NULL), 0);
	ck_assert_int_eq(mask, RIVER_UNIQUE_STATES);
	ck_assert_int_eq(qb_river_unique_states(custom, &mask, NULL), 0);
	ck_assert_int_eq(mask, 213);
	ck_assert_int_eq(qb_river_unique_states(least, &mask, NULL), 0);
	ck_assert_int_eq(mask, 0xd1);
	ck_assert_int_eq(qb_river_unique_states(short_of_running, &mask, NULL), QB_EUSAGE);
	ck_assert_int_eq(qb_river_unique_states(unknown, &mask, NULL), QB_EUSAGE);
}
END_TEST

START_TEST(strings_are_written_as_go_writes_them)
{
	static const struct { const char *text, *json; } pairs[] = {
		{ "plain", "\"plain\"" }, { "a<b>&c", "\"a\\u003cb\\u003e\\u0026c\"" }, { "\"\\/", "\"\\\"\\\\/\"" },
		{ "\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"" },
		{ "\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\\u2028\\u2029\xe2\x80\xaa\"" },
		{ "x\xff\xc3y\xed\xa0\x80", "\"x\\ufffd\\ufffdy\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
	};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct qb_strbuf out = { 0 }, back = { 0 };

		qb_json_add_string(&out, pairs[i].text, strlen(pairs[i].text));
		ck_assert_str_eq(out.data, pairs[i].json);
		if (i != 5) {
			qb_json_decode(&back, (struct qb_json_span){ out.data + 1, out.bytes - 2 });
			ck_assert_str_eq(qb_strbuf_text(&back), pairs[i].text);
		}
		qb_strbuf_free(&out);
		qb_strbuf_free(&back);
	}
}
END_TEST

START_TEST(surrogate_pairs_are_one_character)
{
	static const char raw[] = "\\ud83d\\ude00 \\ud83d \\ude00 \\ud83dx";
	struct qb_strbuf out = { 0 };

	qb_json_decode(&out, (struct qb_json_span){ raw, sizeof(raw) - 1 });
	ck_assert_str_eq(out.data, "\xf0\x9f\x98\x80 \xef\xbf\xbd \xef\xbf\xbd \xef\xbf\xbdx");
	qb_strbuf_free(&out);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-unique");
	TCase *tc = tcase_create("river-unique");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, unique_hash_goldens, 0, sizeof(vectors) / sizeof(vectors[0]));
	tcase_add_test(tc, a_period_is_counted_from_year_1);
	tcase_add_test(tc, space_between_members_does_not_count_and_inside_of_values_does);
	tcase_add_test(tc, an_object_without_selected_fields_leaves_nothing);
	tcase_add_test(tc, what_is_no_object_is_refused);
	tcase_add_test(tc, a_period_below_a_second_is_refused);
	tcase_add_test(tc, bit_0_of_the_states_is_the_leftmost);
	tcase_add_test(tc, strings_are_written_as_go_writes_them);
	tcase_add_test(tc, surrogate_pairs_are_one_character);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
