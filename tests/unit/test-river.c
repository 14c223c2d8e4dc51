/* SPDX-License-Identifier: Apache-2.0 */
/* River's rules that need no server: when to fetch, whom to notify, when to try again, what is in the arguments. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "queue/river-tables.h"
#include "shm/crc.h"
#include "shm/status.h"

#define MS QB_NS_PER_MS

static struct qb_river_debounce debounce_of(uint64_t cooldown_ns)
{
	return (struct qb_river_debounce){ .cooldown_ns = cooldown_ns };
}

START_TEST(fetch_fires_at_once_and_then_once_per_cooldown)
{
	struct qb_river_debounce d = debounce_of(100 * MS);
	uint64_t t = 1000 * MS;

	ck_assert_uint_eq(qb_river_debounce_next(&d), UINT64_MAX);
	ck_assert_int_eq(qb_river_debounce_take(&d, t), 0);
	qb_river_debounce_call(&d, t);
	ck_assert_uint_eq(qb_river_debounce_next(&d), 0);
	ck_assert_int_eq(qb_river_debounce_take(&d, t), 1);
	ck_assert_int_eq(qb_river_debounce_take(&d, t), 0);
	ck_assert_uint_eq(qb_river_debounce_next(&d), UINT64_MAX);
	/* Many calls inside are one, at the end. */
	for (unsigned i = 1; i < 100; i++)
		qb_river_debounce_call(&d, t + i * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, t + 100 * MS - 1), 0);
	ck_assert_uint_eq(qb_river_debounce_next(&d), t + 100 * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, t + 100 * MS), 1);
	/* That one began a cooldown, too. */
	qb_river_debounce_call(&d, t + 150 * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, t + 199 * MS), 0);
	ck_assert_int_eq(qb_river_debounce_take(&d, t + 200 * MS), 1);
	/* One without a call ends it: the next call is a leading edge again. */
	qb_river_debounce_call(&d, t + 301 * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, t + 301 * MS), 1);
}
END_TEST

START_TEST(fetch_that_nobody_took_in_time_is_one_fetch)
{
	struct qb_river_debounce d = debounce_of(100 * MS);

	qb_river_debounce_call(&d, 1 * MS);
	qb_river_debounce_call(&d, 50 * MS);
	qb_river_debounce_call(&d, 900 * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, 950 * MS), 1);
	ck_assert_int_eq(qb_river_debounce_take(&d, 950 * MS), 0);
	/* The call at 900 found no cooldown: the one of 101 to 201 ended without a call. */
	qb_river_debounce_call(&d, 960 * MS);
	ck_assert_int_eq(qb_river_debounce_take(&d, 999 * MS), 0);
	ck_assert_int_eq(qb_river_debounce_take(&d, 1000 * MS), 1);
}
END_TEST

START_TEST(limiter_lets_one_notification_per_queue_and_cooldown_pass)
{
	struct qb_river_limiter l = QB_RIVER_LIMITER_INIT;
	uint64_t t = 5000 * MS;
	char name[16];

	l.wait_ns = 100 * MS;
	ck_assert_int_eq(qb_river_limiter_take(&l, "default", t), 1);
	ck_assert_int_eq(qb_river_limiter_take(&l, "other", t), 1);
	ck_assert_int_eq(qb_river_limiter_take(&l, "default", t + 1), 0);
	/* Strictly; and what was refused does not count. */
	ck_assert_int_eq(qb_river_limiter_take(&l, "default", t + 100 * MS), 0);
	ck_assert_int_eq(qb_river_limiter_take(&l, "default", t + 100 * MS + 1), 1);
	ck_assert_int_eq(qb_river_limiter_take(&l, "default", t + 200 * MS), 0);
	for (unsigned i = 2; i < RIVER_LIMITER_QUEUES; i++) {
		snprintf(name, sizeof(name), "q%u", i);
		ck_assert_int_eq(qb_river_limiter_take(&l, name, t), 1);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(qb_river_limiter_take(&l, "one too many", t), 1);
}
END_TEST

START_TEST(pause_before_the_next_attempt_grows_with_the_fourth_power)
{
	static const double seconds[] = { 1, 16, 81, 256, 625 };
	double least[5] = { 9, 9, 9, 9, 9 }, most[5] = { 0 };
	struct qb_rng rng;

	qb_rng_init(&rng, 1, "test");
	for (unsigned n = 0; n < 5000; n++)
		for (unsigned errors = 0; errors < 5; errors++) {
			double factor = (double)qb_river_retry_ns(errors, &rng) / 1e9 / seconds[errors];

			least[errors] = fmin(least[errors], factor);
			most[errors] = fmax(most[errors], factor);
		}
	for (unsigned errors = 0; errors < 5; errors++) {
		ck_assert_double_ge(least[errors], 0.9 - 1e-9);
		ck_assert_double_le(least[errors], 0.91);
		ck_assert_double_ge(most[errors], 1.09);
		ck_assert_double_le(most[errors], 1.1 + 1e-9);
	}
	/* 292 years, from the 310th on without jitter. */
	ck_assert_uint_lt(qb_river_retry_ns(299, &rng), INT64_MAX);
	ck_assert_uint_eq(qb_river_retry_ns(309, &rng), INT64_MAX);
	ck_assert_uint_eq(qb_river_retry_ns(60000, &rng), INT64_MAX);
}
END_TEST

START_TEST(arguments_come_back_as_they_went_in)
{
	static uint8_t payload[QB_PAYLOAD_BYTES_MAX], back[QB_PAYLOAD_BYTES_MAX];
	static const uint32_t sizes[] = { 0, 1, 2, 3, 4, 255, sizeof(payload) };
	struct qb_err err = { 0 };

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 37 + i / 251);
	for (size_t n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {
		struct qb_submit what = {
			.job_id = 77 + n, .work_us = 1500, .tenant = 12, .kind = 3, .error_class = (uint16_t)(n % 4),
			.payload = payload, .payload_bytes = sizes[n],
		};
		struct qb_queue_job job = { 0 };
		struct qb_strbuf text = { 0 };

		qb_river_args_write(&text, &what, n % 2 ? "a \"key\"" : NULL);
		ck_assert_int_eq(qb_river_args_read(text.data, text.bytes, &job, back, &err), 0);
		ck_assert_uint_eq(job.job_id, 77 + n);
		ck_assert_uint_eq(job.work_us, 1500);
		ck_assert_uint_eq(job.tenant, 12);
		ck_assert_uint_eq(job.kind, 3);
		ck_assert_uint_eq(job.error_class, n % 4);
		ck_assert_uint_eq(job.payload_bytes, sizes[n]);
		ck_assert_uint_eq(job.payload_crc, qb_crc32c(0, payload, sizes[n]));
		ck_assert_int_eq(memcmp(payload, back, sizes[n]), 0);
		qb_strbuf_free(&text);
	}
}
END_TEST

START_TEST(arguments_of_the_original_are_understood)
{
	static const char text[] =
		"{\"tenant_id\": \"tenant-3\", \"kind\": \"entity_update\", \"payload\": {\"bytes\": \"aGVsbG8=\","
		" \"work_millis\": 250, \"fail_with_error\": \"rate_limit\", \"attempt\": 2}}";
	static const char *const bad[] = {
		"{\"payload\": {\"bytes\": \"a===\"}}", "{\"payload\": {\"bytes\": \"!!!!\"}}",
		"{\"payload\": {\"bytes\": \"aGVsbG8\\n\"}}",
	};
	uint8_t payload[QB_PAYLOAD_BYTES_MAX];
	struct qb_queue_job job = { 0 };
	struct qb_err err = { 0 };

	ck_assert_int_eq(qb_river_args_read(text, sizeof(text) - 1, &job, payload, &err), 0);
	ck_assert_uint_eq(job.job_id, 0);
	ck_assert_uint_eq(job.tenant, 3);
	ck_assert_uint_eq(job.kind, 0);
	ck_assert_uint_eq(job.work_us, 250000);
	ck_assert_uint_eq(job.error_class, 1);
	ck_assert_uint_eq(job.payload_crc, qb_crc32c(0, "hello", 5));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(qb_river_args_read(bad[i], strlen(bad[i]), &job, payload, &err), QB_EPARSE);
	/* No object at all is no payload, and nobody reads beyond it. */
	ck_assert_int_eq(qb_river_args_read("[1, {\"payload\"", 14, &job, payload, &err), 0);
	ck_assert_uint_eq(job.payload_bytes, 0);
}
END_TEST

START_TEST(names_are_rivers)
{
	static const char long_host[] = "a.host.name.that.goes.on.and.on.until.it.is.longer.than.sixty.characters.com";
	char id[RIVER_CLIENT_ID_BYTES], channel[64];

	ck_assert_str_eq(qb_river_client_id(id, "db.example.com", 1700000000123456789ull),
			 "db_example_com_2023_11_14T22_13_20_123456");
	ck_assert_str_eq(qb_river_client_id(id, "", 1000), "unknown_host_1970_01_01T00_00_00_000001");
	qb_river_client_id(id, long_host, 0);
	ck_assert_uint_eq(strcspn(id + 55, "1"), 6);
	ck_assert_uint_le(strlen(id), 100);
	ck_assert_str_eq(qb_river_channel("public", "insert", channel, sizeof(channel)), "public.river_insert");
	char *sql = qb_river_sql("a\"b", "select from $S.t, $S.u where '$S' = $1");

	ck_assert_str_eq(sql, "select from \"a\"\"b\".t, \"a\"\"b\".u where '$S' = $1");
	free(sql);
	for (unsigned i = 0; i < RIVER_STATES; i++)
		ck_assert_ptr_nonnull(qb_river_state_name(i));
}
END_TEST

START_TEST(settings_are_checked)
{
	struct qb_river_options o;
	struct qb_err err = { 0 };

	ck_assert_int_eq(qb_river_options_read(NULL, &o, &err), 0);
	ck_assert_uint_eq(o.fetch_cooldown_ns, 100 * MS);
	ck_assert_uint_eq(o.fetch_poll_interval_ns, 1000 * MS);
	ck_assert_uint_eq(o.lease_ns, 3600 * QB_NS_PER_S);
	ck_assert_int_eq(o.completer, RIVER_COMPLETER_BATCH);
	ck_assert_int_eq(o.fence, RIVER_FENCE_LIBRARY);
	ck_assert_int_eq(qb_river_options_read("fetch-cooldown=2ms:fetch-poll-interval=20ms:lease=10s:completer=sync:fence=fixed",
					       &o, &err), 0);
	ck_assert_uint_eq(o.fetch_cooldown_ns, 2 * MS);
	ck_assert_uint_eq(o.fetch_poll_interval_ns, 20 * MS);
	ck_assert_uint_eq(o.lease_ns, 10 * QB_NS_PER_S);
	ck_assert_int_eq(o.completer, RIVER_COMPLETER_SYNC);
	ck_assert_int_eq(o.fence, RIVER_FENCE_FIXED);
	ck_assert_int_eq(qb_river_options_read("fetch-cooldown=999us", &o, &err), QB_EUSAGE);
	ck_assert_int_eq(qb_river_options_read("fetch-cooldown=2s", &o, &err), QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "fetch-poll-interval"));
}
END_TEST

START_TEST(what_is_asked_of_a_worker_waits_in_order_and_not_without_end)
{
	struct qb_river_control *c;
	struct qb_err err = { 0 };
	bool paused = false;
	int64_t id = -1;

	ck_assert_int_eq(qb_river_control_open(&c, &err), 0);
	ck_assert_int_eq(qb_river_control_take(c, &id, &paused), 0);
	qb_river_set_paused(c, "another", true);
	qb_river_cancel(c, "another", 5);
	qb_river_cancel(c, "*", 5);
	ck_assert_int_eq(qb_river_control_take(c, &id, &paused), 0);
	qb_river_cancel(c, "default", 17);
	qb_river_set_paused(c, "*", true);
	qb_river_set_paused(c, "default", false);
	ck_assert(qb_river_control_take(c, &id, &paused) && id == 0 && paused);
	ck_assert(qb_river_control_take(c, &id, &paused) && id == 0 && !paused);
	ck_assert(qb_river_control_take(c, &id, &paused) && id == 17);
	for (int64_t i = 1; i <= RIVER_CANCEL_CHAN_MAX + 5; i++)
		qb_river_cancel(c, "default", i);
	for (int64_t i = 1; i <= RIVER_CANCEL_CHAN_MAX; i++)
		ck_assert(qb_river_control_take(c, &id, &paused) && id == i);
	ck_assert_int_eq(qb_river_control_take(c, &id, &paused), 0);
	qb_river_control_close(c);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river");
	TCase *tc = tcase_create("river");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, fetch_fires_at_once_and_then_once_per_cooldown);
	tcase_add_test(tc, fetch_that_nobody_took_in_time_is_one_fetch);
	tcase_add_test(tc, limiter_lets_one_notification_per_queue_and_cooldown_pass);
	tcase_add_test(tc, pause_before_the_next_attempt_grows_with_the_fourth_power);
	tcase_add_test(tc, arguments_come_back_as_they_went_in);
	tcase_add_test(tc, arguments_of_the_original_are_understood);
	tcase_add_test(tc, names_are_rivers);
	tcase_add_test(tc, settings_are_checked);
	tcase_add_test(tc, what_is_asked_of_a_worker_waits_in_order_and_not_without_end);
	suite_add_tcase(suite, tc);
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
