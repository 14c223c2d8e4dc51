/* SPDX-License-Identifier: Apache-2.0 */
/* What became of each job, written into a record and read from it: whole, cut, forged. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <check.h>

#include "base/fdio.h"
#include "base/strbuf.h"
#include "record/ends.h"
#include "record/format.h"
#include "shm/status.h"

static char dir[64], path[96];
static struct qb_err err;
static struct qb_ends ends, back;

static void setup(void)
{
	strcpy(dir, "/tmp/qb-test-ends-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/events.qbr", dir);
	qb_err_clear(&err);
}

static void teardown(void)
{
	qb_ends_free(&back);
	qb_ends_free(&ends);
	qb_remove_tree(dir);
}

static void make(uint64_t jobs_count)
{
	ends = (struct qb_ends){
		.jobs_count = jobs_count, .effects_count = 5, .watch_end_ns = UINT64_MAX,
		.reports_ambiguity = 1, .parks = 1, .resolves = 1, .leased = 1, .may_lose = 1, .forgets = 1,
		.load = { .commits = 7, .rollbacks = 1, .inserted = 2, .updated = 3, .deleted = 4, .dead_left = 5, .vacuums = 6,
			  .wal_bytes = 123456, .statements = QB_NOT_KNOWN, .strangers = 8, .delayed = 1 },
		.jobs = qb_xcalloc(jobs_count + 1, sizeof(*ends.jobs)),
	};
	for (uint64_t i = 0; i < jobs_count; i++)
		ends.jobs[i] = (struct qb_job_end){ .job_id = i + 1, .effects = (uint32_t)i % 3,
						    .outcome = i % QB_OUTCOME_COUNT, .attempt = 2 };
}

/* Returns where the last block begins and the file ends. */
static void put(uint64_t *last_off, uint64_t *end_off)
{
	struct qb_record_writer *w;

	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_msg(qb_record_ends(w, &ends, &err) == 0, "%s", err.text);
	*last_off = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_end(w, NULL, 0, &err), 0);
	*end_off = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
}

START_TEST(ends_come_back_as_they_were)
{
	static const uint64_t counts[] = { 0, 1, 65536, 65537 };
	uint64_t last, end;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		make(counts[i]);
		put(&last, &end);
		ck_assert_msg(qb_ends_load(path, &back, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(back.jobs_count, counts[i]);
		ck_assert_mem_eq(&back, &ends, offsetof(struct qb_ends, jobs));
		ck_assert_ptr_nonnull(back.jobs);
		if (counts[i])
			ck_assert_mem_eq(back.jobs, ends.jobs, counts[i] * sizeof(*ends.jobs));
		teardown();
		setup();
	}
}
END_TEST

START_TEST(record_without_ends_or_with_some_only_says_so)
{
	struct qb_record_writer *w;
	uint64_t last, end;

	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_end(w, NULL, 0, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	ck_assert_int_eq(qb_ends_load(path, &back, &err), -ENOENT);
	ck_assert_ptr_null(back.jobs);
	unlink(path);

	make(70000);            /* two blocks */
	put(&last, &end);
	ck_assert_int_eq(truncate(path, (off_t)last - 1), 0);
	ck_assert_int_eq(qb_ends_load(path, &back, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "65536"));
	ck_assert_ptr_null(back.jobs);
}
END_TEST

static int load_forged(uint64_t jobs_count, uint64_t first, uint64_t job_id, unsigned outcome)
{
	struct qb_job_end job = { .job_id = job_id, .outcome = (uint8_t)outcome };
	struct qb_record_writer *w;
	struct qb_strbuf sb = { 0 };
	int rc;

	/* [{"jobs_count": u32}, u8, bin of one] */
	qb_strbuf_add_bytes(&sb, "\x93\x81\xaajobs_count\xce", 14);
	for (int shift = 24; shift >= 0; shift -= 8)
		qb_strbuf_add_bytes(&sb, &(uint8_t){ (uint8_t)(jobs_count >> shift) }, 1);
	qb_strbuf_add_bytes(&sb, &(uint8_t){ (uint8_t)first }, 1);
	qb_strbuf_add_bytes(&sb, "\xc4\x18", 2);
	qb_strbuf_add_bytes(&sb, &job, sizeof(job));
	unlink(path);
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_block(w, QB_RECORD_ENDS, sb.data, sb.bytes, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	qb_strbuf_free(&sb);
	rc = qb_ends_load(path, &back, &err);
	if (rc == 0)
		qb_ends_free(&back);
	return rc;
}

START_TEST(forged_ends_are_refused)
{
	ck_assert_int_eq(load_forged(1, 0, 1, QB_OUTCOME_COMPLETED), 0);
	ck_assert_int_eq(load_forged(1, 0, 2, QB_OUTCOME_COMPLETED), QB_ECORRUPT);
	ck_assert_int_eq(load_forged(1, 0, 1, QB_OUTCOME_COUNT), QB_ECORRUPT);
	ck_assert_int_eq(load_forged(1, 1, 2, QB_OUTCOME_COMPLETED), QB_ECORRUPT);
	ck_assert_int_eq(load_forged(0, 0, 1, QB_OUTCOME_COMPLETED), QB_ECORRUPT);
	ck_assert_int_eq(load_forged(QB_ENDS_JOBS_MAX + 1, 0, 1, 0), QB_ECORRUPT);
	/* More jobs than the file can hold: no memory is taken for them. */
	ck_assert_int_eq(load_forged(QB_ENDS_JOBS_MAX, 0, 1, 0), -ENOENT);
}
END_TEST

START_TEST(too_many_jobs_are_not_written)
{
	struct qb_record_writer *w;

	ends.jobs_count = QB_ENDS_JOBS_MAX + 1;
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_ends(w, &ends, &err), QB_ETOOBIG);
	ck_assert_uint_eq(qb_record_bytes(w), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("ends");
	TCase *tc = tcase_create("ends");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, ends_come_back_as_they_were);
	tcase_add_test(tc, record_without_ends_or_with_some_only_says_so);
	tcase_add_test(tc, forged_ends_are_refused);
	tcase_add_test(tc, too_many_jobs_are_not_written);
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
