/* SPDX-License-Identifier: Apache-2.0 */
/* The description of a run, and reading msgpack that nobody vouches for. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/clock.h"
#include "record/format.h"
#include "record/meta.h"
#include "record/unpack.h"
#include "shm/layout.h"
#include "shm/status.h"

#define QUICK_NS (2 * QB_NS_PER_S)      /* generous: what it guards against takes minutes */

static void fill_meta(struct qb_meta *m)
{
	memset(m, 0, sizeof(*m));
	strcpy(m->run_id, "shm-burst-1764000000");
	strcpy(m->lib, "shm");
	strcpy(m->scenario, "burst");
	m->duration_ns = 15000000000;
	m->rate = 50;
	m->tenants = 4;
	m->tenant_skew = 0.25;
	m->seed = UINT64_MAX;
	m->workers = 10;
	m->slots = 2;
	strcpy(m->ack, "durable");
	strcpy(m->ambiguous, "retry");
	strcpy(m->backoff, "pow4");
	strcpy(m->qbench_version, "0.1");
	strcpy(m->server_version, "15.2");
	strcpy(m->host, "a host");
	m->started_wall_ns = 1764000000123456789;
	m->kinds_count = 2;
	strcpy(m->kinds[0], "entity_update");
	strcpy(m->kinds[1], "entity_enrich");
	m->error_classes_count = 2;
	strcpy(m->error_classes[1], "rate_limit");
	ck_assert_int_eq(qb_meta_setting(m, "kills", "50"), 0);
	m->tenant_ids_count = 2;
	m->tenant_ids = calloc(2, sizeof(*m->tenant_ids));
	ck_assert_ptr_nonnull(m->tenant_ids);
	strcpy(m->tenant_ids[0], "8a6e0804-2bd0-4672-b79d-d97027f9071a");
	strcpy(m->tenant_ids[1], "f47ac10b-58cc-4372-a567-0e02b2c3d479");
}

static void assert_same_meta(const struct qb_meta *a, const struct qb_meta *b)
{
	struct qb_strbuf x = { 0 }, y = { 0 };

	qb_meta_pack(a, &x);
	qb_meta_pack(b, &y);
	ck_assert_uint_eq(x.bytes, y.bytes);
	ck_assert_mem_eq(x.data, y.data, x.bytes);
	qb_strbuf_free(&x);
	qb_strbuf_free(&y);
}

START_TEST(meta_comes_back_as_it_was)
{
	struct qb_strbuf packed = { 0 };
	struct qb_meta m, back;

	fill_meta(&m);
	qb_meta_pack(&m, &packed);
	ck_assert_int_eq(qb_meta_unpack(&back, packed.data, packed.bytes), 0);
	ck_assert_uint_eq(back.format, QB_RECORD_VERSION);
	ck_assert_uint_eq(back.layout_major, QB_LAYOUT_MAJOR);
	ck_assert_str_eq(back.run_id, m.run_id);
	ck_assert_uint_eq(back.seed, m.seed);
	ck_assert(fabs(back.tenant_skew - 0.25) < 1e-12);
	ck_assert_str_eq(back.server_version, "15.2");
	ck_assert_str_eq(back.kinds[1], "entity_enrich");
	ck_assert_str_eq(back.error_classes[0], "");
	ck_assert_str_eq(back.error_classes[1], "rate_limit");
	ck_assert_str_eq(back.settings[0].value, "50");
	ck_assert_str_eq(back.tenant_ids[1], m.tenant_ids[1]);
	assert_same_meta(&m, &back);
	qb_strbuf_free(&packed);
	qb_meta_free(&m);
	qb_meta_free(&back);
}
END_TEST

START_TEST(meta_cut_anywhere_is_refused)
{
	struct qb_strbuf packed = { 0 };
	struct qb_meta m, back;

	fill_meta(&m);
	qb_meta_pack(&m, &packed);
	for (size_t n = 0; n < packed.bytes; n++) {
		/* Of exactly that size, so that a sanitizer sees the first byte too many. */
		uint8_t *cut = malloc(n ? n : 1);

		memcpy(cut, packed.data, n);
		ck_assert_int_eq(qb_meta_unpack(&back, cut, n), QB_ECORRUPT);
		ck_assert_ptr_null(back.tenant_ids);
		free(cut);
	}
	qb_strbuf_free(&packed);
	qb_meta_free(&m);
}
END_TEST

/* The head that every description needs, then `pairs` more: bytes in text, msgpack in escapes. */
static int unpack_with(struct qb_meta *m, unsigned format, const char *byte_order,
		       unsigned pairs, const void *more, size_t bytes)
{
	struct qb_strbuf sb = { 0 };
	int rc;

	qb_strbuf_printf(&sb, "%c\xa6" "format%c\xac" "layout_major%c\xab" "event_bytes%c\xaa"
			 "byte_order%c%s", (int)(0x84 + pairs), (int)format, QB_LAYOUT_MAJOR, 64,
			 (int)(0xa0 + strlen(byte_order)), byte_order);
	qb_strbuf_add_bytes(&sb, more, bytes);
	rc = qb_meta_unpack(m, sb.data, sb.bytes);
	qb_strbuf_free(&sb);
	return rc;
}
#define MORE(literal) literal, sizeof(literal) - 1

START_TEST(meta_skips_keys_that_it_does_not_know)
{
	struct qb_meta m;

	/* "new": [nil, {1: bin "zz"}, ext 0x31 "2345"], "run_id": "x" */
	ck_assert_int_eq(unpack_with(&m, 1, "little", 2,
				     MORE("\xa3new\x93\xc0\x81\x01\xc4\x02zz\xd6" "12345"
					  "\xa6run_id\xa1x")), 0);
	ck_assert_str_eq(m.run_id, "x");
	qb_meta_free(&m);
}
END_TEST

START_TEST(meta_of_another_version_or_byte_order_is_refused_by_name)
{
	struct qb_meta m;

	ck_assert_int_eq(unpack_with(&m, 1, "little", 0, "", 0), 0);
	qb_meta_free(&m);
	ck_assert_int_eq(unpack_with(&m, 2, "little", 0, "", 0), QB_EVERSION);
	/* Even when it holds what this build finds impossible. */
	ck_assert_int_eq(unpack_with(&m, 2, "little", 1, MORE("\xa6run_id\x01")), QB_EVERSION);
	ck_assert_int_eq(unpack_with(&m, 1, "big", 0, "", 0), QB_EENDIAN);
	ck_assert_int_eq(unpack_with(&m, 0, "little", 0, "", 0), QB_ECORRUPT);
}
END_TEST

START_TEST(meta_with_impossible_values_is_refused)
{
	static const struct { const char *bytes; size_t n; } bad[] = {
		{ MORE("\xa6run_id\x01") },                             /* a number for a text */
		{ MORE("\xa6run_id\xa3" "a\0b") },                      /* a NUL inside */
		{ MORE("\xa3" "ack\xb0" "0123456789abcdef") },          /* longer than its array */
		{ MORE("\xa4rate\xff") },                               /* negative */
		{ MORE("\xa4rate\xcf\0\0\0\1\0\0\0\0") },               /* above 32 bits */
		{ MORE("\xabtenant_skew\xcb\x7f\xf8\0\0\0\0\0\0") },    /* NaN */
		{ MORE("\xabtenant_skew\xcb\x7f\xf0\0\0\0\0\0\0") },    /* infinite */
		{ MORE("\xa5kinds\x99\xa0\xa0\xa0\xa0\xa0\xa0\xa0\xa0\xa0") }, /* nine */
		{ MORE("\xa5kinds\xdd\xff\xff\xff\xff") },              /* 4 G in no bytes */
		{ MORE("\xaatenant_ids\xdd\x7f\xff\xff\xff\xa0") },
		{ MORE("\xa8settings\xdf\xff\xff\xff\xff") },
		{ MORE("\xa6run_id\xdb\xff\xff\xff\xff") },
		{ MORE("\xa3new\xdb\xff\xff\xff\xff") },                /* also if skipped */
		{ MORE("\xa3new\xc6\xff\xff\xff\xff") },
		{ MORE("\xa3new\xc9\xff\xff\xff\xff\1") },
		{ MORE("\xa3new\xdd\xff\xff\xff\xff") },
		{ MORE("\xa3new\xc1") },                                /* a tag never used */
	};
	uint64_t start_ns = qb_now_ns();
	struct qb_meta m;
	int rc;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rc = unpack_with(&m, 1, "little", 1, bad[i].bytes, bad[i].n);
		ck_assert_msg(rc == QB_ECORRUPT, "case %zu was taken", i);
	}
	ck_assert_uint_lt(qb_now_ns() - start_ns, QUICK_NS);
}
END_TEST

START_TEST(meta_nested_a_million_deep_is_refused_quickly)
{
	size_t bytes = 1 << 20;
	uint8_t *bomb = malloc(bytes);
	uint64_t start_ns = qb_now_ns();
	struct qb_meta m;

	memset(bomb, 0x91, bytes);
	ck_assert_int_eq(qb_meta_unpack(&m, bomb, bytes), QB_ECORRUPT);
	memcpy(bomb, "\x81\xa3new", 5);         /* as the value of a key that is skipped */
	bomb[bytes - 1] = 0xc0;                 /* and well-formed */
	ck_assert_int_eq(qb_meta_unpack(&m, bomb, bytes), QB_ECORRUPT);
	ck_assert_uint_lt(qb_now_ns() - start_ns, QUICK_NS);
	free(bomb);
}
END_TEST

START_TEST(skip_takes_one_object_of_each_type)
{
	static const struct { const char *bytes; size_t n; } one[] = {
		{ MORE("\x7f") }, { MORE("\xe0") }, { MORE("\xc0") }, { MORE("\xc2") },
		{ MORE("\xc3") }, { MORE("\xcc\1") }, { MORE("\xcd\1\2") },
		{ MORE("\xce\1\2\3\4") }, { MORE("\xcf\1\2\3\4\5\6\7\x08") }, { MORE("\xd0\1") },
		{ MORE("\xd1\1\2") }, { MORE("\xd2\1\2\3\4") }, { MORE("\xd3\1\2\3\4\5\6\7\x08") },
		{ MORE("\xca\1\2\3\4") }, { MORE("\xcb\1\2\3\4\5\6\7\x08") }, { MORE("\xa2xy") },
		{ MORE("\xd9\2xy") }, { MORE("\xda\0\2xy") }, { MORE("\xdb\0\0\0\2xy") },
		{ MORE("\xc4\1x") }, { MORE("\xc5\0\1x") }, { MORE("\xc6\0\0\0\1x") },
		{ MORE("\xc7\1\5x") }, { MORE("\xc8\0\1\5x") }, { MORE("\xc9\0\0\0\1\5x") },
		{ MORE("\xd4\5x") }, { MORE("\xd5\5xx") }, { MORE("\xd6\5xxxx") },
		{ MORE("\xd7\5xxxxxxxx") }, { MORE("\xd8\5xxxxxxxxxxxxxxxx") },
		{ MORE("\x92\1\x91\2") }, { MORE("\xdc\0\2\1\2") }, { MORE("\xdd\0\0\0\1\1") },
		{ MORE("\x82\1\2\3\x80") }, { MORE("\xde\0\1\1\2") }, { MORE("\xdf\0\0\0\1\1\2") },
		{ MORE("\x90") },
	};
	struct qb_unpack u;

	for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
		qb_unpack_init(&u, one[i].bytes, one[i].n);
		ck_assert_msg(qb_unpack_skip(&u) == 0 && u.at == u.end, "object %zu", i);
		for (size_t n = 0; n < one[i].n; n++) {
			qb_unpack_init(&u, one[i].bytes, n);
			ck_assert_msg(qb_unpack_skip(&u) == QB_ECORRUPT,
				      "object %zu cut at %zu", i, n);
		}
	}
}
END_TEST

START_TEST(lengths_beyond_the_input_are_refused)
{
	static const struct { const char *bytes; size_t n; char type; } longer[] = {
		{ MORE("\xa2x"), 's' }, { MORE("\xd9\2x"), 's' }, { MORE("\xda\0\2x"), 's' },
		{ MORE("\xdb\0\0\0\2x"), 's' }, { MORE("\xdb\xff\xff\xff\xff"), 's' },
		{ MORE("\xc4\2x"), 'b' }, { MORE("\xc5\0\2x"), 'b' },
		{ MORE("\xc6\0\0\0\2x"), 'b' }, { MORE("\xc6\xff\xff\xff\xff"), 'b' },
		{ MORE("\x92\1"), 'a' }, { MORE("\xdc\0\2\1"), 'a' },
		{ MORE("\xdd\0\0\0\2\1"), 'a' }, { MORE("\x81\1"), 'm' },
		{ MORE("\xde\0\1\1"), 'm' }, { MORE("\xdf\0\0\0\1\1"), 'm' },
		{ MORE("\xdf\x80\0\0\0\1"), 'm' },
	};
	const uint8_t *data;
	const char *text;
	struct qb_unpack u;
	uint32_t n;

	for (size_t i = 0; i < sizeof(longer) / sizeof(longer[0]); i++) {
		qb_unpack_init(&u, longer[i].bytes, longer[i].n);
		int rc = longer[i].type == 's' ? qb_unpack_str(&u, &text, &n) :
			 longer[i].type == 'b' ? qb_unpack_bin(&u, &data, &n) :
			 longer[i].type == 'a' ? qb_unpack_array(&u, &n) : qb_unpack_map(&u, &n);

		ck_assert_msg(rc == QB_ECORRUPT, "case %zu was taken", i);
	}
}
END_TEST

START_TEST(tenant_ids_that_are_not_listed_are_uuids_that_stay)
{
	char a[QB_META_TENANT_BYTES], b[QB_META_TENANT_BYTES], again[QB_META_TENANT_BYTES];
	struct qb_meta m;

	fill_meta(&m);
	qb_meta_tenant_id(&m, 1, a);
	ck_assert_str_eq(a, m.tenant_ids[1]);
	qb_meta_tenant_id(&m, 2, a);
	qb_meta_tenant_id(&m, 3, b);
	qb_meta_tenant_id(&m, 2, again);
	ck_assert_str_eq(a, again);
	ck_assert_str_ne(a, b);
	ck_assert_uint_eq(strlen(a), 36);
	ck_assert_int_eq(a[14], '4');
	ck_assert_ptr_nonnull(strchr("89ab", a[19]));
	strcpy(m.run_id, "another");
	qb_meta_tenant_id(&m, 2, again);
	ck_assert_str_ne(a, again);
	qb_meta_free(&m);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("meta");
	TCase *tc = tcase_create("meta");

	tcase_add_test(tc, meta_comes_back_as_it_was);
	tcase_add_test(tc, meta_cut_anywhere_is_refused);
	tcase_add_test(tc, meta_skips_keys_that_it_does_not_know);
	tcase_add_test(tc, meta_of_another_version_or_byte_order_is_refused_by_name);
	tcase_add_test(tc, meta_with_impossible_values_is_refused);
	tcase_add_test(tc, meta_nested_a_million_deep_is_refused_quickly);
	tcase_add_test(tc, skip_takes_one_object_of_each_type);
	tcase_add_test(tc, lengths_beyond_the_input_are_refused);
	tcase_add_test(tc, tenant_ids_that_are_not_listed_are_uuids_that_stay);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
