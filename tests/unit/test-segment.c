/* SPDX-License-Identifier: Apache-2.0 */
/* Creation, publication and attachment of segments: a distinct refusal for each kind of wrong file. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment.h"
#include "tests/lib/shm-fixture.h"

static char dir[512], path[576], other[576];
static struct qb_config_shm cfg;
static struct qb_seg made;
static size_t bytes;

static void setup(void)
{
	const struct qb_seg_identity id = { .run_id = "a-run", .cluster_id = 7, .boot_id = 42,
					    .creator_start_ticks = 9, .meta = "meta!", .meta_bytes = 5 };

	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/qb-segment-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/seg", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	qb_test_config(&cfg);
	ck_assert_int_eq(qb_seg_create(path, &cfg, &id, &made), 0);
	bytes = made.bytes;
}

static void teardown(void)
{
	qb_seg_detach(&made);
	unlink(path);
	unlink(other);
	rmdir(other);
	rmdir(dir);
}

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

START_TEST(attached_segment_is_the_created_one)
{
	struct qb_seg seg;
	uint32_t n;

	ck_assert_int_eq(qb_seg_attach(path, 42, &seg), 0);
	ck_assert_uint_eq(seg.bytes, made.bytes);
	ck_assert_int_eq(memcmp(&seg.cfg, &cfg, sizeof(cfg)), 0);
	ck_assert_str_eq(seg.hdr->run_id, "a-run");
	ck_assert_uint_eq(seg.hdr->cluster_id, 7);
	ck_assert_uint_eq(seg.hdr->creator_pid, (uint32_t)getpid());
	ck_assert_uint_eq(seg.hdr->state.v, QB_SEG_LIVE);
	ck_assert_int_eq(memcmp(qb_seg_meta(&seg, &n), "meta!", 5), 0);
	ck_assert_uint_eq(n, 5);
	seg.jobs[3].word.v = 77;
	ck_assert_uint_eq(made.jobs[3].word.v, 77);
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(file_is_private_and_as_long_as_computed)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, qb_seg_bytes(&cfg));
	/* Really allocated, no hole. */
	ck_assert_int_ge(st.st_blocks * 512, st.st_size);
}
END_TEST

START_TEST(fresh_segment_has_every_free_bit_and_no_other)
{
	for (uint32_t i = 0; i < cfg.job_count; i++) {
		ck_assert(qb_test_bit(made.free_map, i));
		ck_assert(!qb_test_bit(made.dirty_map, i));
		ck_assert(!qb_test_bit(made.wait_map, i));
	}
	for (uint32_t i = 0; i < cfg.block_count; i++)
		ck_assert(qb_test_bit(made.block_map, i));
	ck_assert_uint_eq(made.hdr->next_due_ns.v, UINT64_MAX);
}
END_TEST

START_TEST(hint_bits_beyond_the_last_block_stay_clear)
{
	struct qb_seg seg;

	cfg.block_count = 70;
	qb_test_create(&seg, &cfg);
	ck_assert_uint_eq(seg.block_map[0].v, UINT64_MAX);
	ck_assert_uint_eq(seg.block_map[1].v, 0x3f);
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(create_never_takes_over_an_existing_name)
{
	struct qb_seg seg;

	made.jobs[0].word.v = 5;
	ck_assert_int_eq(qb_seg_create(path, &cfg, NULL, &seg), -EEXIST);
	ck_assert_uint_eq(made.jobs[0].word.v, 5);
	ck_assert_int_eq(symlink("/nowhere/at/all", other), 0);
	ck_assert_int_eq(qb_seg_create(other, &cfg, NULL, &seg), -EEXIST);
}
END_TEST

START_TEST(create_refuses_a_configuration_that_cannot_be)
{
	static const struct { size_t off; uint32_t value; } bad[] = {
#define BAD(field, value) { offsetof(struct qb_config_shm, field), (value) }
		BAD(job_count, 0), BAD(job_count, 32), BAD(job_count, 100), BAD(job_count, QB_JOB_MAX * 2),
		BAD(seat_count, 3), BAD(seat_count, QB_SEAT_MAX + 2), BAD(ring_count, 64), BAD(ring_count, 200),
		BAD(ring_count, QB_JOB_MAX * 8), BAD(block_count, 63), BAD(block_count, QB_BLOCK_MAX + 1),
		BAD(block_bytes, 64), BAD(block_bytes, 1000), BAD(block_bytes, 128 * 1024 + 64),
		BAD(arena_bytes, 2048), BAD(arena_bytes, 5000), BAD(arena_bytes, 128u << 20),
		BAD(event_count, 32), BAD(event_count, 100), BAD(event_count, 1u << 25),
		BAD(effect_count, (1u << 28) + 1), BAD(meta_bytes, 0), BAD(meta_bytes, 100),
		BAD(meta_bytes, (1u << 20) + 64), BAD(max_claims, 0), BAD(max_claims, 0x10000),
		BAD(readers, 1u << QB_READER_COUNT), BAD(event_overflow, 2), BAD(ack_mode, 2), BAD(backoff, 2),
	};
	struct qb_seg seg;

	for (size_t i = 0; i < QB_ARRAY_COUNT(bad); i++) {
		struct qb_config_shm c = cfg;

		memcpy((char *)&c + bad[i].off, &bad[i].value, sizeof(bad[i].value));
		ck_assert_msg(qb_seg_bytes(&c) == QB_EUSAGE, "entry %zu was accepted", i);
		ck_assert_int_eq(qb_seg_create(other, &c, NULL, &seg), QB_EUSAGE);
		ck_assert_int_eq(access(other, F_OK), -1);
	}
	memset(cfg.queue, 'x', sizeof(cfg.queue));
	ck_assert_int_eq(qb_seg_create(other, &cfg, NULL, &seg), QB_EUSAGE);
}
END_TEST

START_TEST(size_for_256_seats_and_a_million_slots_is_known_and_too_much_is_refused)
{
	struct qb_config_shm c;

	qb_config_default(&c);
	c.job_count = QB_JOB_MAX;
	c.ring_count = 2 * QB_JOB_MAX;
	c.seat_count = 257;
	ck_assert_int_gt(qb_seg_bytes(&c), (int64_t)QB_JOB_MAX * 128);
	ck_assert_int_lt(qb_seg_bytes(&c), 512ll << 20);
	c.block_count = QB_BLOCK_MAX;
	c.block_bytes = 128 * 1024;
	ck_assert_int_eq(qb_seg_bytes(&c), QB_ETOOBIG);
}
END_TEST

START_TEST(create_refuses_names_and_descriptions_that_do_not_fit)
{
	char long_id[97];
	struct qb_seg_identity id = { .run_id = long_id };
	struct qb_seg seg;

	memset(long_id, 'r', 96);
	long_id[96] = 0;
	ck_assert_int_eq(qb_seg_create(other, &cfg, &id, &seg), QB_ETOOBIG);
	long_id[95] = 0;
	id.meta = long_id;
	id.meta_bytes = 61;
	ck_assert_int_eq(qb_seg_create(other, &cfg, &id, &seg), QB_ETOOBIG);
	id.meta_bytes = 60;
	ck_assert_int_eq(qb_seg_create(other, &cfg, &id, &seg), 0);
	ck_assert_str_eq(seg.hdr->run_id, long_id);
	qb_seg_detach(&seg);
}
END_TEST

START_TEST(implausible_description_reads_as_none)
{
	uint32_t n = 100;

	memset(made.base + made.sec[QB_SEC_META].off, 0xff, 4);
	qb_seg_meta(&made, &n);
	ck_assert_uint_eq(n, 0);
}
END_TEST

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

START_TEST(clock_update_killed_half_way_leaves_the_older_triple)
{
	struct qb_clock_triple first, last, again;

	qb_seg_clock_update(&made);
	qb_seg_clock_get(&made, &first, &last);
	made.hdr->clock_last[(made.hdr->clock_last_idx.v + 1) & 1].raw.v = 0xdead;
	qb_seg_clock_get(&made, &first, &again);
	ck_assert_uint_eq(again.raw, last.raw);
	ck_assert_uint_eq(again.mono_ns, last.mono_ns);
	qb_seg_clock_update(&made);
	qb_seg_clock_get(&made, &first, &again);
	ck_assert_uint_ge(again.mono_ns, last.mono_ns);
	ck_assert_uint_ne(again.raw, 0xdead);
}
END_TEST

START_TEST(populate_accepts_every_range)
{
	qb_seg_populate(&made, made.base, made.bytes);
	qb_seg_populate(&made, made.base + made.bytes - 1, 1);
	qb_seg_populate(&made, made.base + made.bytes - 1, 1 << 20);
	qb_seg_populate(&made, made.base + 5, 0);
	qb_seg_populate(&made, made.base + made.bytes, 10);
}
END_TEST

START_TEST(checked_access_refuses_every_index_that_is_not_there)
{
	ck_assert_ptr_null(qb_seg_job(&made, cfg.job_count));
	ck_assert_ptr_null(qb_seg_job(&made, UINT32_MAX));
	ck_assert_ptr_null(qb_seg_seat(&made, 0));
	ck_assert_ptr_null(qb_seg_seat(&made, cfg.seat_count));
	ck_assert_ptr_null(qb_seg_block(&made, cfg.block_count));
	ck_assert_ptr_null(qb_seg_arena(&made, 0));
	ck_assert_ptr_null(qb_seg_arena(&made, cfg.seat_count));
	ck_assert_ptr_null(qb_seg_event_ring(&made, cfg.seat_count));
	ck_assert_ptr_nonnull(qb_seg_event_ring(&made, cfg.seat_count - 1));
}
END_TEST

START_TEST(every_state_role_and_event_has_a_name)
{
	for (uint32_t i = 0; i < QB_JOB_STATE_COUNT; i++)
		ck_assert_str_ne(qb_job_state_name(i), "?");
	for (uint32_t i = 0; i < QB_ROLE_COUNT; i++)
		ck_assert_str_ne(qb_role_name(i), "?");
	for (uint32_t i = 0; i < QB_EV_TYPE_COUNT; i++)
		ck_assert_str_ne(qb_event_type_name(i), "?");
	ck_assert_str_eq(qb_job_state_name(QB_JOB_STATE_COUNT), "?");
	ck_assert_str_eq(qb_role_name(QB_ROLE_COUNT), "?");
	ck_assert_str_eq(qb_event_type_name(QB_EV_TYPE_COUNT), "?");
	for (int code = QB_EUSAGE; code >= QB_EBUSY; code--)
		ck_assert_str_ne(qb_strerror(code), "unknown error");
}
END_TEST

/* In a mount namespace of its own, so that nobody else sees the tiny file system. */
START_TEST(file_system_without_room_is_an_error_and_leaves_nothing_behind)
{
	struct qb_seg seg;
	char file[600];

	ck_assert_int_eq(mkdir(other, 0700), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", other, "tmpfs", 0, "size=64k,mode=0700") < 0) {
		printf("# cannot mount a tmpfs here (%s): not tried\n", strerror(errno));
		return;
	}
	snprintf(file, sizeof(file), "%s/seg", other);
	ck_assert_int_eq(qb_seg_create(file, &cfg, NULL, &seg), -ENOSPC);
	ck_assert_int_eq(access(file, F_OK), -1);
	ck_assert_ptr_null(seg.base);
	umount(other);
}
END_TEST

static TCase *files(void)
{
	TCase *t = tcase_create("files");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, attached_segment_is_the_created_one);
	tcase_add_test(t, file_is_private_and_as_long_as_computed);
	tcase_add_test(t, fresh_segment_has_every_free_bit_and_no_other);
	tcase_add_test(t, hint_bits_beyond_the_last_block_stay_clear);
	tcase_add_test(t, create_never_takes_over_an_existing_name);
	tcase_add_test(t, create_refuses_a_configuration_that_cannot_be);
	tcase_add_test(t, size_for_256_seats_and_a_million_slots_is_known_and_too_much_is_refused);
	tcase_add_test(t, create_refuses_names_and_descriptions_that_do_not_fit);
	tcase_add_test(t, implausible_description_reads_as_none);
	tcase_add_test(t, file_system_without_room_is_an_error_and_leaves_nothing_behind);
	tcase_add_test(t, clock_update_killed_half_way_leaves_the_older_triple);
	tcase_add_test(t, populate_accepts_every_range);
	tcase_add_test(t, checked_access_refuses_every_index_that_is_not_there);
	tcase_add_test(t, every_state_role_and_event_has_a_name);
	return t;
}

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
	Suite *s = suite_create("segment");

	suite_add_tcase(s, files());
	suite_add_tcase(s, refusals());
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
