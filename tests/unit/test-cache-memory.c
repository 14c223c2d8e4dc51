/* SPDX-License-Identifier: Apache-2.0 */
/* The memory layer of a cache: bounded, the least recently used go first, an age. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/memory.h"

#define ITEM 1000u

static struct qb_cache_memory *m;
static char bytes[4 * ITEM];

static void teardown(void)
{
	qb_cache_memory_free(m);
}

static void make(uint64_t max, uint64_t item_max, uint64_t ttl)
{
	const struct qb_cache_memory_config cfg = { .bytes_max = max, .item_bytes_max = item_max, .ttl_ns = ttl };

	m = qb_cache_memory_new(&cfg);
}

static void put(const char *address, uint64_t now, char fill, uint64_t n)
{
	const struct qb_store_info info = { .bytes = n, .complete = 1 };

	memset(bytes, fill, sizeof(bytes));
	qb_cache_memory_put(m, "d", address, qb_cache_memory_removals(m), now, bytes, &info);
}

/* The byte that it is full of; 0: it is not there. */
static int get(const char *address, uint64_t now)
{
	struct qb_store_info info;
	void *data = NULL;

	if (!qb_cache_memory_get(m, "d", address, now, &data, &info))
		return 0;
	int fill = ((char *)data)[0];

	for (uint64_t i = 0; i < info.bytes; i++)
		ck_assert_int_eq(((char *)data)[i], fill);
	free(data);
	return fill;
}

static struct qb_cache_memory_counts counts(void)
{
	struct qb_cache_memory_counts n;

	qb_cache_memory_counts(m, &n);
	return n;
}

START_TEST(the_least_recently_used_goes_first)
{
	make(4 * ITEM, ITEM, 0);
	put("a", 0, 'a', ITEM);
	put("b", 0, 'b', ITEM);
	put("c", 0, 'c', ITEM);
	ck_assert_int_eq(get("a", 0), 'a');
	put("d", 0, 'd', ITEM);
	ck_assert_int_eq(get("b", 0), 0);
	ck_assert_int_eq(get("a", 0), 'a');
	ck_assert_int_eq(get("c", 0), 'c');
	ck_assert_int_eq(get("d", 0), 'd');
	ck_assert_uint_eq(counts().evicted, 1);
	ck_assert_uint_eq(counts().items, 3);
	ck_assert_uint_eq(counts().hits, 4);
	ck_assert_uint_eq(counts().misses, 1);
	ck_assert_uint_le(counts().bytes, 4 * ITEM);
}
END_TEST

START_TEST(one_that_is_put_again_is_replaced)
{
	make(4 * ITEM, ITEM, 0);
	put("a", 0, 'a', ITEM);
	put("a", 0, 'z', ITEM / 2);
	ck_assert_int_eq(get("a", 0), 'z');
	ck_assert_uint_eq(counts().items, 1);
	ck_assert_uint_lt(counts().bytes, ITEM);
	ck_assert_uint_eq(counts().evicted, 0);
}
END_TEST

START_TEST(too_large_ones_are_not_kept)
{
	make(4 * ITEM, ITEM, 0);
	put("a", 0, 'a', ITEM);
	put("b", 0, 'b', ITEM + 1);
	ck_assert_int_eq(get("b", 0), 0);
	ck_assert_int_eq(get("a", 0), 'a');
	ck_assert_uint_eq(counts().evicted, 0);
}
END_TEST

START_TEST(an_old_one_is_not_there)
{
	make(4 * ITEM, ITEM, 50);
	put("a", 100, 'a', ITEM);
	ck_assert_int_eq(get("a", 149), 'a');
	ck_assert_int_eq(get("a", 150), 0);
	ck_assert_uint_eq(counts().expired, 1);
	ck_assert_uint_eq(counts().bytes, 0);
}
END_TEST

START_TEST(removed_is_gone_at_once)
{
	make(4 * ITEM, ITEM, 0);
	put("a", 0, 'a', ITEM);
	ck_assert_int_eq(qb_cache_memory_remove(m, "d", "a"), 1);
	ck_assert_int_eq(qb_cache_memory_remove(m, "d", "a"), 0);
	ck_assert_int_eq(get("a", 0), 0);
	ck_assert_uint_eq(counts().bytes, 0);
	put("a", 0, 'b', ITEM);
	ck_assert_int_eq(get("a", 0), 'b');
}
END_TEST

START_TEST(the_directory_is_part_of_the_name)
{
	struct qb_store_info info;

	make(4 * ITEM, ITEM, 0);
	put("a", 0, 'a', 0);
	ck_assert_int_eq(qb_cache_memory_get(m, "d", "a", 0, NULL, &info), 1);
	ck_assert_uint_eq(info.bytes, 0);
	ck_assert_int_eq(qb_cache_memory_get(m, "e", "a", 0, NULL, &info), 0);
}
END_TEST

static void *hammer(void *arg)
{
	const struct qb_store_info small = { .bytes = 64, .complete = 1 };
	unsigned me = *(unsigned *)arg;

	for (unsigned i = 0; i < 3000; i++) {
		char address[8], full[64];
		struct qb_store_info info;
		void *data;

		snprintf(address, sizeof(address), "%u", (i * 7 + me) % 40);
		memset(full, 'A' + (int)((i * 7 + me) % 40), sizeof(full));
		if (i % 11 == 0)
			qb_cache_memory_remove(m, "d", address);
		else if (!qb_cache_memory_get(m, "d", address, 0, &data, &info))
			qb_cache_memory_put(m, "d", address, qb_cache_memory_removals(m), 0, full, &small);
		else if (memcmp(data, full, sizeof(full)) != 0)
			abort();
		else
			free(data);
	}
	return NULL;
}

START_TEST(threads_at_once_get_what_was_put)
{
	static unsigned number[4] = { 0, 1, 2, 3 };
	pthread_t id[4];

	make(20 * (64 + 128), 64, 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&id[i], NULL, hammer, &number[i]), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(id[i], NULL);
	ck_assert_uint_le(counts().bytes, 20 * (64 + 128));
	ck_assert_uint_gt(counts().evicted, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache-memory");
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, the_least_recently_used_goes_first);
	tcase_add_test(t, one_that_is_put_again_is_replaced);
	tcase_add_test(t, too_large_ones_are_not_kept);
	tcase_add_test(t, an_old_one_is_not_there);
	tcase_add_test(t, removed_is_gone_at_once);
	tcase_add_test(t, the_directory_is_part_of_the_name);
	tcase_add_test(t, threads_at_once_get_what_was_put);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
