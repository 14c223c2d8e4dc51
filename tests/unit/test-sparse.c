/* SPDX-License-Identifier: Apache-2.0 */
/* A file of holes whose header claims gigabytes: looking at it costs what it holds. */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/shm-fixture.h"

static struct qb_seg made;
static char path[200];

static void setup(void)
{
	const struct qb_seg_identity id = { .run_id = "a-run" };
	const char *tmp = getenv("TMPDIR");
	struct qb_config_shm cfg;

	snprintf(path, sizeof(path), "%s/qb-sparse-%d", tmp ? tmp : "/tmp", (int)getpid());
	qb_test_config(&cfg);
	ck_assert_int_eq(qb_seg_create(path, &cfg, &id, &made), 0);
}

static void teardown(void)
{
	qb_seg_detach(&made);
	unlink(path);
}

static size_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long all, resident = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu %lu", &all, &resident), 2);
	fclose(f);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* The header as it would be with event rings of that many records; what follows it stays a hole. */
static uint64_t claim(uint32_t event_count)
{
	struct qb_header_shm *h = made.hdr;
	struct qb_section_shm *s = h->section;
	uint64_t off = s[QB_SEC_EVENTS].off;

	s[QB_SEC_EVENTS].stride += (uint64_t)(event_count - h->config.event_count) * sizeof(struct qb_event_shm);
	s[QB_SEC_EVENTS].bytes = s[QB_SEC_EVENTS].stride * s[QB_SEC_EVENTS].count;
	for (unsigned k = QB_SEC_EVENTS; k < QB_SEC_COUNT; k++) {
		s[k].off = off;
		off = QB_ROUND_UP(off + s[k].bytes, QB_PAGE_BYTES);
	}
	h->config.event_count = event_count;
	h->total_bytes = off;
	return off;
}

START_TEST(snapshot_of_a_hole_takes_no_memory)
{
	uint64_t bytes = claim(1u << 22);
	struct qb_seg seg;

	ck_assert_uint_gt(bytes, 2ull << 30);
	ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
	made.jobs[9].word.v = 1234;
	size_t before = resident_bytes();

	ck_assert_int_eq(qb_seg_snapshot(path, &seg), 0);
	ck_assert_uint_eq(seg.bytes, bytes);
	ck_assert_uint_eq(seg.jobs[9].word.v, 1234);
	ck_assert_uint_eq(seg.base[bytes - 1], 0);
	ck_assert_uint_lt(resident_bytes() - before, 64u << 20);
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(data_behind_a_hole_is_read)
{
	uint64_t bytes = claim(1u << 20);
	struct qb_seg seg;
	FILE *f;

	ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
	f = fopen(path, "r+e");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fseeko(f, (off_t)bytes - 3, SEEK_SET), 0);
	ck_assert_int_eq(fputc('x', f), 'x');
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(qb_seg_snapshot(path, &seg), 0);
	ck_assert_uint_eq(seg.base[bytes - 3], 'x');
	ck_assert_uint_eq(seg.base[bytes - 2], 0);
	qb_seg_detach(&seg);
	/* A header that claims more than the file has, holes included, is refused. */
	ck_assert_int_eq(truncate(path, (off_t)bytes - 1), 0);
	ck_assert_int_eq(qb_seg_snapshot(path, &seg), QB_ETOOSHORT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sparse");
	TCase *tc = tcase_create("sparse");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, snapshot_of_a_hole_takes_no_memory);
	tcase_add_test(tc, data_behind_a_hole_is_read);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}
