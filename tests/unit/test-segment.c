/* SPDX-License-Identifier: Apache-2.0 */
/* Creation and publication of segments, and what can be reached in one. */
#include <sched.h>
#include <sys/mount.h>

#include "tests/unit/segmenttest.h"

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
int main(void)
{
	Suite *s = suite_create("segment");

	suite_add_tcase(s, files());
	SRunner *sr = srunner_create(s);

	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);

	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
