/* SPDX-License-Identifier: Apache-2.0 */
/* Binary arrays: what is built here, a real server reads back the same. */
#include "pg/conn.h"
#include "shm/status.h"
#include "tests/pg/pgtest.h"

#define COLUMNS 6

char *pgtest_base;
static struct qb_cluster *cluster;
static PGconn *conn;

static void start_cluster(void)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true };
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_start(&config, &cluster, &err), err);
}

static void end_cluster(void)
{
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_destroy(cluster, NULL, &err), err);
}

static void connect_to_it(void)
{
	conn = pgtest_connect(cluster);
}

static void disconnect(void)
{
	PQfinish(conn);
}

struct batch {
	struct qb_pg_array i16, i32, i64, ts, bytea, text;
};

static void batch_init(struct batch *b)
{
	qb_pg_array_init(&b->i16, QB_PG_INT2);
	qb_pg_array_init(&b->i32, QB_PG_INT4);
	qb_pg_array_init(&b->i64, QB_PG_INT8);
	qb_pg_array_init(&b->ts, QB_PG_TIMESTAMPTZ);
	qb_pg_array_init(&b->bytea, QB_PG_BYTEA);
	qb_pg_array_init(&b->text, QB_PG_TEXT);
}

static struct qb_pg_array *column(struct batch *b, int i)
{
	struct qb_pg_array *const all[COLUMNS] = {
		&b->i16, &b->i32, &b->i64, &b->ts, &b->bytea, &b->text,
	};

	return all[i];
}

static PGresult *unnest(struct batch *b)
{
	static const char sql[] =
		"SELECT * FROM unnest($1::smallint[], $2::int[], $3::bigint[], $4::timestamptz[],"
		" $5::bytea[], $6::text[])";
	int lengths[COLUMNS], formats[COLUMNS], i;
	const char *values[COLUMNS];
	struct qb_err err = { 0 };
	PGresult *res;

	for (i = 0; i < COLUMNS; i++) {
		ck_assert_int_eq(qb_pg_array_finish(column(b, i), &values[i], &lengths[i]), 0);
		formats[i] = 1;
	}
	ck_ok(qb_pg_query(conn, sql, COLUMNS, NULL, values, lengths, formats, 1, &res, &err), err);
	return res;
}

static void batch_free(struct batch *b)
{
	int i;

	for (i = 0; i < COLUMNS; i++)
		qb_pg_array_free(column(b, i));
}

START_TEST(every_type_comes_back_from_unnest)
{
	static const int16_t i16s[] = { 0, -1, INT16_MIN, INT16_MAX, 0x1234 };
	static const int32_t i32s[] = { 0, -1, INT32_MIN, INT32_MAX, 0x12345678 };
	static const int64_t i64s[] = { 0, -1, INT64_MIN, INT64_MAX, 0x123456789abcdef0 };
	static const uint64_t tss[] = {
		0, 999, 946684800000000000u, 1753000000123456789u, 9000000000000000000u,
	};
	static const char *const texts[] = {
		"", "a", "z\xc3\xa4hlt", "with \"quotes\", {braces}\n", "NULL",
	};
	struct batch b;
	PGresult *res;
	int i;

	batch_init(&b);
	for (i = 0; i < 5; i++) {
		qb_pg_array_add_i16(&b.i16, i16s[i]);
		qb_pg_array_add_i32(&b.i32, i32s[i]);
		qb_pg_array_add_i64(&b.i64, i64s[i]);
		qb_pg_array_add_timestamptz(&b.ts, tss[i]);
		qb_pg_array_add_bytea(&b.bytea, i64s, (size_t)i * 8);
		qb_pg_array_add_text(&b.text, texts[i], strlen(texts[i]));
	}
	res = unnest(&b);
	ck_assert_int_eq(PQntuples(res), 5);
	for (i = 0; i < 5; i++) {
		const void *data;
		const char *text;
		size_t bytes;
		int16_t i16;
		int32_t i32;
		int64_t i64;
		uint64_t ts;

		ck_assert_int_eq(qb_pg_get_i16(res, i, 0, &i16), 0);
		ck_assert_int_eq(i16, i16s[i]);
		ck_assert_int_eq(qb_pg_get_i32(res, i, 1, &i32), 0);
		ck_assert_int_eq(i32, i32s[i]);
		ck_assert_int_eq(qb_pg_get_i64(res, i, 2, &i64), 0);
		ck_assert_int_eq(i64, i64s[i]);
		ck_assert_int_eq(qb_pg_get_timestamptz(res, i, 3, &ts), 0);
		ck_assert_uint_eq(ts, tss[i] / 1000 * 1000);
		ck_assert_int_eq(qb_pg_get_bytea(res, i, 4, &data, &bytes), 0);
		ck_assert_uint_eq(bytes, (size_t)i * 8);
		ck_assert_int_eq(memcmp(data, i64s, bytes), 0);
		ck_assert_int_eq(qb_pg_get_text(res, i, 5, &text, &bytes), 0);
		ck_assert_uint_eq(bytes, strlen(texts[i]));
		ck_assert_int_eq(memcmp(text, texts[i], bytes), 0);
	}
	PQclear(res);
	batch_free(&b);
}
END_TEST

START_TEST(null_is_possible_in_every_type_and_place)
{
	struct batch b;
	PGresult *res;
	int i, k;

	batch_init(&b);
	/* First, middle and last place hold NULL. */
	for (i = 0; i < 5; i++) {
		if (i % 2 == 0) {
			for (k = 0; k < COLUMNS; k++)
				qb_pg_array_add_null(column(&b, k));
			continue;
		}
		qb_pg_array_add_i16(&b.i16, (int16_t)i);
		qb_pg_array_add_i32(&b.i32, i);
		qb_pg_array_add_i64(&b.i64, i);
		qb_pg_array_add_timestamptz(&b.ts, 1000);
		qb_pg_array_add_bytea(&b.bytea, "\0", 1);
		qb_pg_array_add_text(&b.text, "x", 1);
	}
	res = unnest(&b);
	ck_assert_int_eq(PQntuples(res), 5);
	for (i = 0; i < 5; i++) {
		for (k = 0; k < COLUMNS; k++)
			ck_assert_int_eq(PQgetisnull(res, i, k), i % 2 == 0);
	}
	PQclear(res);
	batch_free(&b);
}
END_TEST

START_TEST(bytea_keeps_every_byte_value_and_size)
{
	enum { ROWS = 700 };
	unsigned char bytes[ROWS];
	struct qb_pg_array a;
	const char *values[1];
	int lengths[1], formats[1] = { 1 }, i;
	struct qb_err err = { 0 };
	PGresult *res;

	for (i = 0; i < ROWS; i++)
		bytes[i] = (unsigned char)i;
	qb_pg_array_init(&a, QB_PG_BYTEA);
	for (i = 0; i < ROWS; i++)
		qb_pg_array_add_bytea(&a, bytes, (size_t)i);
	ck_assert_int_eq(qb_pg_array_finish(&a, &values[0], &lengths[0]), 0);
	ck_ok(qb_pg_query(conn, "SELECT * FROM unnest($1::bytea[])", 1, NULL, values, lengths,
			  formats, 1, &res, &err), err);
	ck_assert_int_eq(PQntuples(res), ROWS);
	for (i = 0; i < ROWS; i++) {
		const void *data;
		size_t got;

		ck_assert_int_eq(qb_pg_get_bytea(res, i, 0, &data, &got), 0);
		ck_assert_uint_eq(got, (size_t)i);
		ck_assert_int_eq(memcmp(data, bytes, got), 0);
	}
	PQclear(res);
	qb_pg_array_free(&a);
}
END_TEST

START_TEST(empty_array_is_one_of_no_elements)
{
	struct batch b;
	PGresult *res;

	batch_init(&b);
	res = unnest(&b);
	ck_assert_int_eq(PQntuples(res), 0);
	PQclear(res);
	batch_free(&b);
}
END_TEST

START_TEST(instants_are_those_of_the_server)
{
	struct qb_pg_array a;
	const char *values[1];
	int lengths[1], formats[1] = { 1 };
	struct qb_err err = { 0 };
	PGresult *res;
	bool same = false;

	qb_pg_array_init(&a, QB_PG_TIMESTAMPTZ);
	qb_pg_array_add_timestamptz(&a, 0);
	qb_pg_array_add_timestamptz(&a, 1767323045123456999u);
	ck_assert_int_eq(qb_pg_array_finish(&a, &values[0], &lengths[0]), 0);
	ck_ok(qb_pg_query(conn, "SELECT $1::timestamptz[] = ARRAY['1970-01-01 00:00:00+00', "
			  "'2026-01-02 03:04:05.123456+00']::timestamptz[]", 1, NULL, values,
			  lengths, formats, 1, &res, &err), err);
	ck_assert_int_eq(qb_pg_get_bool(res, 0, 0, &same), 0);
	ck_assert(same);
	PQclear(res);
	qb_pg_array_free(&a);
}
END_TEST

START_TEST(reset_keeps_the_memory_and_forgets_the_rest)
{
	struct qb_pg_array a;
	const unsigned char *data;
	size_t cap_bytes, i, round;
	const char *value;
	int bytes;

	qb_pg_array_init(&a, QB_PG_INT8);
	for (i = 0; i < 5000; i++)
		qb_pg_array_add_i64(&a, (int64_t)i);
	qb_pg_array_add_null(&a);
	data = a.data;
	cap_bytes = a.cap_bytes;
	for (round = 0; round < 3; round++) {
		qb_pg_array_reset(&a);
		for (i = 0; i < 5000; i++)
			qb_pg_array_add_i64(&a, -1);
		ck_assert_ptr_eq(a.data, data);
		ck_assert_uint_eq(a.cap_bytes, cap_bytes);
	}
	ck_assert_int_eq(qb_pg_array_finish(&a, &value, &bytes), 0);
	ck_assert_int_eq(bytes, QB_PG_ARRAY_HEADER_BYTES + 5000 * 12);
	/* 1 dimension, no NULL, type 20, 5000 elements, from 1; then length 8 and a value */
	ck_assert_int_eq(memcmp(value, "\0\0\0\1" "\0\0\0\0" "\0\0\0\x14" "\0\0\x13\x88" "\0\0\0\1"
				"\0\0\0\x8" "\xff\xff\xff\xff\xff\xff\xff\xff", 32), 0);
	qb_pg_array_free(&a);
}
END_TEST

START_TEST(element_beyond_the_limit_is_reported_until_reset)
{
	volatile size_t huge_bytes = QB_PG_ARRAY_MAX_BYTES - 8;
	struct qb_pg_array a;
	const char *value;
	int bytes;

	qb_pg_array_init(&a, QB_PG_BYTEA);
	/* Neither size is read or allocated (volatile: the compiler would warn of the copy). */
	qb_pg_array_add_bytea(&a, "x", huge_bytes);
	ck_assert_int_eq(qb_pg_array_finish(&a, &value, &bytes), QB_ETOOBIG);
	qb_pg_array_reset(&a);
	huge_bytes = SIZE_MAX - 3;
	qb_pg_array_add_bytea(&a, "x", huge_bytes);
	qb_pg_array_add_bytea(&a, "x", 1);
	ck_assert_int_eq(qb_pg_array_finish(&a, &value, &bytes), QB_ETOOBIG);
	qb_pg_array_reset(&a);
	qb_pg_array_add_bytea(&a, "x", 1);
	ck_assert_int_eq(qb_pg_array_finish(&a, &value, &bytes), 0);
	ck_assert_int_eq(bytes, QB_PG_ARRAY_HEADER_BYTES + 5);
	qb_pg_array_free(&a);
}
END_TEST

START_TEST(element_of_another_size_is_refused_by_the_server)
{
	struct qb_pg_array a;
	const char *values[1];
	int lengths[1], formats[1] = { 1 };
	struct qb_err err = { 0 };

	qb_pg_array_init(&a, QB_PG_INT8);
	qb_pg_array_add_i32(&a, 1);
	ck_assert_int_eq(qb_pg_array_finish(&a, &values[0], &lengths[0]), 0);
	ck_assert_int_eq(qb_pg_query(conn, "SELECT $1::bigint[]", 1, NULL, values, lengths, formats,
				     1, NULL, &err), QB_EPG);
	/* Class 08, but the same batch would fail for ever. */
	ck_assert_str_eq(qb_pg_sqlstate(), "08P01");
	ck_assert(!qb_pg_is_transient(conn, qb_pg_sqlstate()));
	qb_pg_array_free(&a);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("array");
	TCase *tc = tcase_create("array");

	tcase_set_timeout(tc, 20);
	tcase_add_unchecked_fixture(tc, start_cluster, end_cluster);
	tcase_add_checked_fixture(tc, connect_to_it, disconnect);
	tcase_add_test(tc, every_type_comes_back_from_unnest);
	tcase_add_test(tc, null_is_possible_in_every_type_and_place);
	tcase_add_test(tc, bytea_keeps_every_byte_value_and_size);
	tcase_add_test(tc, empty_array_is_one_of_no_elements);
	tcase_add_test(tc, instants_are_those_of_the_server);
	tcase_add_test(tc, reset_keeps_the_memory_and_forgets_the_rest);
	tcase_add_test(tc, element_beyond_the_limit_is_reported_until_reset);
	tcase_add_test(tc, element_of_another_size_is_refused_by_the_server);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
