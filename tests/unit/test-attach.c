/* SPDX-License-Identifier: Apache-2.0 */
/* Attachment of segments: a distinct refusal for each kind of wrong file. */
#include <sys/resource.h>

#include "tests/unit/segmenttest.h"

/* What attach and snapshot answer; both must leave a handle that can be detached. */
static int attach_to(const char *file)
{
	struct qb_seg seg;
	int rc = qb_seg_attach(file, 0, &seg);

	qb_seg_detach(&seg);
	return rc;
}

static int snapshot_of(const char *file)
{
	struct qb_seg seg;
	int rc = qb_seg_snapshot(file, &seg);

	qb_seg_detach(&seg);
	return rc;
}

static void expect_refusal(int code)
{
	ck_assert_int_eq(attach_to(path), code);
	ck_assert_int_eq(snapshot_of(path), code);
}

START_TEST(missing_file_and_directory_are_told_apart)
{
	ck_assert_int_eq(attach_to(other), -ENOENT);
	ck_assert_int_eq(snapshot_of(other), -ENOENT);
	ck_assert_int_eq(mkdir(other, 0700), 0);
	ck_assert_int_eq(attach_to(other), QB_EOWNER);
	ck_assert_int_eq(snapshot_of(other), QB_EOWNER);
}
END_TEST

START_TEST(loose_permissions_are_refused)
{
	static const mode_t loose[] = { 0640, 0660, 0604, 0602, 0601, 0610, 0666, 0777 };

	for (size_t i = 0; i < QB_ARRAY_COUNT(loose); i++) {
		ck_assert_int_eq(chmod(path, loose[i]), 0);
		expect_refusal(QB_EOWNER);
	}
	chmod(path, 0600);
	ck_assert_int_eq(attach_to(path), 0);
}
END_TEST

/* Root would end the processes that the other user's file names. */
START_TEST(file_of_another_user_is_attached_by_nobody_but_him)
{
	if (geteuid() != 0)
		return;         /* only root can give a file away */
	ck_assert_int_eq(chown(path, 65534, (gid_t)-1), 0);
	ck_assert_int_eq(attach_to(path), QB_EOWNER);
	ck_assert_int_eq(snapshot_of(path), 0);
}
END_TEST

/* "dd" in the flags of a mapping: left out of core files. */
static int is_left_out_of_cores(const void *at)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	int inside = 0, found = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long lo, hi;

		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2 && strchr(line, '-') < strchr(line, ' '))
			inside = (uintptr_t)at >= lo && (uintptr_t)at < hi;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, " dd") != NULL;
	}
	fclose(f);
	return found;
}

START_TEST(payloads_and_results_are_left_out_of_core_files)
{
	struct qb_seg seg;

	ck_assert_int_eq(qb_seg_attach(path, 0, &seg), 0);
	ck_assert(is_left_out_of_cores(seg.base + seg.sec[QB_SEC_BLOCKS].off));
	ck_assert(is_left_out_of_cores(seg.base + seg.sec[QB_SEC_ARENAS].off));
	ck_assert(!is_left_out_of_cores(seg.jobs));
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(symbolic_link_is_refused)
{
	ck_assert_int_eq(symlink(path, other), 0);
	ck_assert_int_eq(attach_to(other), QB_EOWNER);
	ck_assert_int_eq(snapshot_of(other), QB_EOWNER);
}
END_TEST

START_TEST(second_hard_link_is_refused)
{
	ck_assert_int_eq(link(path, other), 0);
	expect_refusal(QB_EOWNER);
}
END_TEST

START_TEST(pipe_is_refused_without_waiting_for_a_writer)
{
	ck_assert_int_eq(mkfifo(other, 0600), 0);
	ck_assert_int_eq(attach_to(other), QB_EOWNER);
	ck_assert_int_eq(snapshot_of(other), QB_EOWNER);
}
END_TEST

/* From the whole file down to nothing, at and around each page and each section. */
START_TEST(truncated_file_is_too_short_at_every_length)
{
	static const int64_t around[] = { 0, -1, 1, -2048 };

	ck_assert_int_eq(attach_to(path), 0);
	for (int64_t page = (int64_t)(bytes / QB_PAGE_BYTES); page >= 0; page--) {
		for (size_t k = 0; k < QB_ARRAY_COUNT(around); k++) {
			int64_t len = page * QB_PAGE_BYTES + around[k];

			if (len < 0 || len >= (int64_t)bytes)
				continue;
			ck_assert_int_eq(truncate(path, len), 0);
			expect_refusal(QB_ETOOSHORT);
			if (len < (int64_t)sizeof(struct qb_header_shm))
				return;
		}
	}
}
END_TEST

START_TEST(empty_file_is_too_short)
{
	ck_assert_int_eq(truncate(path, 0), 0);
	expect_refusal(QB_ETOOSHORT);
}
END_TEST

START_TEST(file_of_zeros_was_never_published)
{
	ck_assert_int_eq(truncate(path, 0), 0);
	ck_assert_int_eq(truncate(path, (off_t)bytes), 0);
	expect_refusal(QB_ENOTREADY);
}
END_TEST

/* The creator writes the magic first and the ready word last; it may die after any store in between. */
START_TEST(creator_killed_before_the_ready_word_leaves_an_unpublished_segment)
{
	struct qb_header_shm whole = *made.hdr;
	static const size_t upto[] = { 8, 12, 14, 16, 32, 40, 344, 896, 4000 };

	for (size_t i = 0; i < QB_ARRAY_COUNT(upto); i++) {
		memset(made.hdr, 0, sizeof(*made.hdr));
		memcpy(made.hdr, &whole, upto[i]);
		made.hdr->ready.v = 0;
		expect_refusal(QB_ENOTREADY);
	}
	*made.hdr = whole;
	ck_assert_int_eq(attach_to(path), 0);
}
END_TEST

START_TEST(foreign_bytes_are_not_a_segment)
{
	memset(made.hdr, 'x', sizeof(*made.hdr));
	expect_refusal(QB_EMAGIC);
	made.hdr->magic = QB_SEG_MAGIC + 1;
	expect_refusal(QB_EMAGIC);
}
END_TEST

START_TEST(other_byte_order_is_said)
{
	made.hdr->magic = __builtin_bswap64(QB_SEG_MAGIC);
	made.hdr->ready.v = __builtin_bswap64(QB_READY_WORD);
	expect_refusal(QB_EENDIAN);
	made.hdr->magic = QB_SEG_MAGIC;
	made.hdr->ready.v = QB_READY_WORD;
	made.hdr->endian = __builtin_bswap32(QB_SEG_ENDIAN);
	expect_refusal(QB_EENDIAN);
}
END_TEST

START_TEST(version_feature_and_fingerprint_have_codes_of_their_own)
{
	made.hdr->major++;
	expect_refusal(QB_EVERSION);
	made.hdr->major--;
	made.hdr->minor++;
	ck_assert_int_eq(attach_to(path), 0);
	made.hdr->compat_flags = 0x80;
	ck_assert_int_eq(attach_to(path), 0);
	made.hdr->incompat_flags = 1;
	expect_refusal(QB_EFEATURE);
	made.hdr->incompat_flags = 0;
	made.hdr->layout_fp ^= 1;
	expect_refusal(QB_EFINGERPRINT);
	made.hdr->layout_fp ^= 1;
	made.hdr->ready.v ^= 1;
	expect_refusal(QB_ENOTREADY);
}
END_TEST

START_TEST(segment_of_another_boot_is_evidence_only)
{
	struct qb_seg seg;

	ck_assert_int_eq(qb_seg_attach(path, 43, &seg), QB_EOTHERBOOT);
	ck_assert_int_eq(snapshot_of(path), 0);
}
END_TEST

static void flip(void *at, uint64_t mask, int code)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	v ^= mask;
	memcpy(at, &v, sizeof(v));
	expect_refusal(code);
	v ^= mask;
	memcpy(at, &v, sizeof(v));
}

START_TEST(sizes_and_offsets_that_contradict_each_other_are_corrupt)
{
	for (unsigned k = 0; k < QB_SEC_COUNT; k++) {
		flip(&made.hdr->section[k].off, 4096, QB_ECORRUPT);
		flip(&made.hdr->section[k].bytes, 1ull << 63, QB_ECORRUPT);
		flip(&made.hdr->section[k].stride, 1, QB_ECORRUPT);
		flip(&made.hdr->section[k].count, 1, QB_ECORRUPT);
	}
	/* The configuration, field by field: the sections no longer follow from it. */
	for (size_t off = 0; off < 8 * sizeof(uint32_t); off += sizeof(uint32_t))
		flip((char *)&made.hdr->config + off, 1u << 20, QB_ECORRUPT);
	flip(&made.hdr->total_bytes, 64, QB_ETOOSHORT);
	flip(&made.hdr->header_bytes, 1, QB_ECORRUPT);
	flip(&made.hdr->clock_mode, 0x30, QB_ECORRUPT);
	memset(made.hdr->run_id, 'r', sizeof(made.hdr->run_id));
	expect_refusal(QB_ECORRUPT);
}
END_TEST

START_TEST(snapshot_survives_what_happens_to_the_file_afterwards)
{
	struct qb_seg seg;
	uint64_t sum = 0;

	made.jobs[9].word.v = 1234;
	ck_assert_int_eq(qb_seg_snapshot(path, &seg), 0);
	ck_assert_int_eq(truncate(path, 0), 0);
	for (size_t i = 0; i < seg.bytes; i++)
		sum += seg.base[i];
	ck_assert_uint_gt(sum, 0);
	ck_assert_uint_eq(seg.jobs[9].word.v, 1234);
	ck_assert(seg.readonly);
	qb_seg_detach(&seg);
}
END_TEST

static size_t address_space_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(segment_that_does_not_fit_into_the_address_space_leaves_an_empty_handle)
{
	struct rlimit old, tight;
	struct qb_seg seg;

	cfg.event_count = 1u << 21;
	ck_assert_int_gt(qb_seg_bytes(&cfg), 1 << 30);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &old), 0);
	tight = old;
	tight.rlim_cur = address_space_bytes() + (256u << 20);
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
	int rc = qb_seg_create_anonymous(&cfg, &seg);

	setrlimit(RLIMIT_AS, &old);
	ck_assert_int_eq(rc, -ENOMEM);
	ck_assert_ptr_null(seg.base);
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(refused_handle_holds_nothing_that_detach_could_unmap)
{
	struct qb_seg seg;

	ck_assert_int_eq(truncate(path, (off_t)bytes - 1), 0);
	made.hdr->total_bytes = bytes;
	ck_assert_int_eq(qb_seg_snapshot(path, &seg), QB_ETOOSHORT);
	ck_assert_ptr_null(seg.base);
	ck_assert_int_eq(seg.fd, -1);
	ck_assert_int_eq(qb_seg_attach(path, 0, &seg), QB_ETOOSHORT);
	ck_assert_ptr_null(seg.base);
	cfg.job_count = 1;
	ck_assert_int_eq(qb_seg_create(other, &cfg, NULL, &seg), QB_EUSAGE);
	ck_assert_ptr_null(seg.base);
}
END_TEST

static TCase *refusals(void)
{
	TCase *t = tcase_create("refusals");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, missing_file_and_directory_are_told_apart);
	tcase_add_test(t, loose_permissions_are_refused);
	tcase_add_test(t, file_of_another_user_is_attached_by_nobody_but_him);
	tcase_add_test(t, payloads_and_results_are_left_out_of_core_files);
	tcase_add_test(t, symbolic_link_is_refused);
	tcase_add_test(t, second_hard_link_is_refused);
	tcase_add_test(t, pipe_is_refused_without_waiting_for_a_writer);
	tcase_add_test(t, truncated_file_is_too_short_at_every_length);
	tcase_add_test(t, empty_file_is_too_short);
	tcase_add_test(t, file_of_zeros_was_never_published);
	tcase_add_test(t, creator_killed_before_the_ready_word_leaves_an_unpublished_segment);
	tcase_add_test(t, foreign_bytes_are_not_a_segment);
	tcase_add_test(t, other_byte_order_is_said);
	tcase_add_test(t, version_feature_and_fingerprint_have_codes_of_their_own);
	tcase_add_test(t, segment_of_another_boot_is_evidence_only);
	tcase_add_test(t, sizes_and_offsets_that_contradict_each_other_are_corrupt);
	tcase_add_test(t, snapshot_survives_what_happens_to_the_file_afterwards);
	tcase_add_test(t, segment_that_does_not_fit_into_the_address_space_leaves_an_empty_handle);
	tcase_add_test(t, refused_handle_holds_nothing_that_detach_could_unmap);
	return t;
}
int main(void)
{
	Suite *s = suite_create("attach");

	suite_add_tcase(s, refusals());
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
