/* SPDX-License-Identifier: Apache-2.0 */
/* Every byte, every length and every name that does harm, through SQL: what is stored is what was given. */
#include "tests/pg/synctest.h"

char *pgtest_base;

#define MIB (1u << 20)

static const char *const names[] = {
	"'; drop table qbench.run; --", "\"; drop schema qbench cascade; --", "$1", "\\'; select 1; --", "%n%s%s%s",
	"../../etc", "a\nb\tc\rd", "\x1b]0;mine\x07\x1b[31m", "\xc2\x9b" "31m", "\xe2\x80\xae", "$$ || pg_sleep(9) || $$",
	"E'\\000'", "null", "", "\xf0\x9f\x98\x80", "{\"}", "a\x01\x7f",
};
#define NAMES_COUNT (int)(sizeof(names) / sizeof(names[0]))

static void tables_are_intact(const struct world *w)
{
	/* $1 is used, as sql_number() wants it. */
	ck_assert_int_eq(sql_number(w, "select count(*) from pg_class c join pg_namespace n on n.oid = relnamespace"
				    " where nspname = 'qbench' and relkind = 'r' and $1 = $1 and relname in"
				    " ('run', 'job', 'outcome', 'event')", 0), 4);
}

START_TEST(run_of_a_hostile_name_is_a_row_of_that_name)
{
	struct world w;
	int64_t run_no, again;
	struct qb_err err = { 0 };

	/* world_open_cfg() stores the name, and each count of rows below goes by it. */
	world_open(&w, HERE, names[_i]);
	submit_one(&w);
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(outcome_rows(&w), 1);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.run where run_id = $1", 0), 1);
	ck_assert_int_eq(sql_number(&w, "select octet_length(run_id)::bigint from qbench.run where run_id = $1", 0),
			 (int64_t)strlen(names[_i]));
	ck_ok(qb_schema_run(w.db, names[_i], &run_no, &err), err);
	ck_ok(qb_schema_run(w.db, names[_i], &again, &err), err);
	ck_assert_int_eq(run_no, again);
	tables_are_intact(&w);
	world_close(&w);
}
END_TEST

/* The server's encoding is UTF-8: what is none is refused, in one harmless line, and nothing is stored. */
START_TEST(run_name_that_is_no_utf8_is_refused)
{
	static const char *const bad[] = { "\xff", "caf\xe9", "\xc0\x80", "\xed\xa0\x80", "a\xe2\x82" };
	struct world w;
	int64_t run_no;

	world_open(&w, HERE, "no utf8");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct qb_err err = { 0 };

		ck_assert_int_lt(qb_schema_run(w.db, bad[i], &run_no, &err), 0);
		ck_assert_ptr_null(strchr(err.text, '\n'));
		ck_assert_int_gt((int)strlen(err.text), 0);
	}
	tables_are_intact(&w);
	world_close(&w);
}
END_TEST

static void result_is(const struct world *w, uint64_t job_id, const void *want, size_t want_bytes)
{
	bytes_are(w, "select result from qbench.outcome where " OF_RUN " and job_id = $2", job_id, want, want_bytes);
}

static int end_with(struct world *w, const void *result, uint32_t bytes)
{
	struct qb_held held = start_one(w);

	return qb_job_complete(&w->seg, w->worker, &held, result, bytes);
}

/* Each byte alone, all of them, and the largest, which is all of them again and again. */
START_TEST(result_comes_through_byte_for_byte)
{
	static uint8_t all[QB_RESULT_BYTES_MAX];
	struct world w;

	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	world_open(&w, HERE, "results");
	for (int i = 0; i < 258; i++)
		submit_one(&w);
	for (int i = 0; i < 256; i++)
		ck_assert_int_eq(end_with(&w, &all[i], 1), 0);
	ck_assert_int_eq(end_with(&w, all, 256), 0);
	ck_assert_int_eq(end_with(&w, all, sizeof(all)), 0);
	drain(&w);
	for (int i = 0; i < 256; i++)
		result_is(&w, (uint64_t)i + 1, &all[i], 1);
	result_is(&w, 257, all, 256);
	result_is(&w, 258, all, sizeof(all));
	world_close(&w);
}
END_TEST

START_TEST(two_megabytes_are_refused_and_leave_no_trace)
{
	uint8_t *large = calloc(2, MIB);
	struct qb_submit what = { .job_id = 1000, .max_attempts = 3, .payload = large, .payload_bytes = 2 * MIB };
	struct qb_held ref;
	struct world w;

	world_open(&w, HERE, "two megabytes");
	ck_assert_int_eq(qb_job_submit(&w.seg, w.driver, &what, &ref), QB_ETOOBIG);
	what.payload_bytes = QB_PAYLOAD_BYTES_MAX + 1;
	ck_assert_int_eq(qb_job_submit(&w.seg, w.driver, &what, &ref), QB_ETOOBIG);
	submit_one(&w);
	ck_assert_int_eq(end_with(&w, large, 2 * MIB), QB_ETOOBIG);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 1);
	ck_assert_int_eq(outcome_rows(&w), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "octet_length(payload)", 1), 1);
	free(large);
	world_close(&w);
}
END_TEST

static int notified(PGconn *conn)
{
	struct qb_err err = { 0 };
	unsigned count = 0;

	ck_assert_int_ge(qb_pg_wait(conn, qb_now_ns() + 100 * QB_NS_PER_MS, -1, &count, &err), 0);
	return (int)count;
}

static void notify(PGconn *conn, const char *channel)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { channel };
	const int lengths[] = { 0 }, formats[] = { 0 };
	struct qb_err err = { 0 };
	PGresult *res;

	ck_ok(qb_pg_query(conn, "select pg_notify($1, '')", 1, oids, values, lengths, formats, 1, &res, &err), err);
	PQclear(res);
}

START_TEST(channel_of_a_hostile_name_is_that_channel)
{
	PGconn *ear = sql_connect(HERE), *mouth = sql_connect(HERE);
	struct qb_err err = { 0 };
	char text[4];
	int total = 0;

	for (int i = 0; i < NAMES_COUNT; i++) {
		if (!names[i][0])
			continue;
		ck_ok(qb_pg_listen(ear, names[i], &err), err);
		notify(mouth, names[i]);
		total++;
	}
	/* Each byte that is a character by itself. */
	for (int byte = 1; byte < 128; byte++) {
		snprintf(text, sizeof(text), "x%c", byte);
		ck_ok(qb_pg_listen(ear, text, &err), err);
		notify(mouth, text);
		total++;
	}
	while (total > 0) {
		int n = notified(ear);

		ck_assert_int_gt(n, 0);
		total -= n;
	}
	ck_assert_int_eq(total, 0);
	PQfinish(ear);
	PQfinish(mouth);
}
END_TEST

/* The server cuts after byte 63: two names that differ behind it would be one channel. */
START_TEST(channel_names_that_would_be_cut_are_refused)
{
	PGconn *ear = sql_connect(HERE);
	struct qb_err err = { 0 };
	char longest[64], longer[65], *longest_ever = malloc(2 * MIB);

	memset(longest, 'a', 63);
	longest[63] = '\0';
	memset(longer, 'a', 64);
	longer[64] = '\0';
	memset(longest_ever, 'a', 2 * MIB - 1);
	longest_ever[2 * MIB - 1] = '\0';
	ck_ok(qb_pg_listen(ear, longest, &err), err);
	ck_assert_int_eq(qb_pg_listen(ear, longer, &err), QB_ETOOBIG);
	ck_assert_int_eq(qb_pg_listen(ear, longest_ever, &err), QB_ETOOBIG);
	notify(ear, longest);
	ck_assert_int_eq(notified(ear), 1);
	free(longest_ever);
	PQfinish(ear);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *tc = tcase_create("hostile");

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_loop_test(tc, run_of_a_hostile_name_is_a_row_of_that_name, 0, NAMES_COUNT);
	tcase_add_test(tc, run_name_that_is_no_utf8_is_refused);
	tcase_add_test(tc, result_comes_through_byte_for_byte);
	tcase_add_test(tc, two_megabytes_are_refused_and_leave_no_trace);
	tcase_add_test(tc, channel_of_a_hostile_name_is_that_channel);
	tcase_add_test(tc, channel_names_that_would_be_cut_are_refused);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
