/* SPDX-License-Identifier: Apache-2.0 */
/* The record as bytes: check sums; blocks written, read, cut, damaged and forged. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "record/format.h"
#include "record/reader.h"
#include "record/writer.h"
#include "shm/crc.h"
#include "shm/status.h"

#define QUICK_NS (2 * QB_NS_PER_S)      /* generous: what it guards against takes minutes */

static char dir[64], path[96];
static struct qb_err err;

static void setup(void)
{
	strcpy(dir, "/tmp/qb-test-record-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/events.qbr", dir);
	qb_err_clear(&err);
}

static void teardown(void)
{
	qb_remove_tree(dir);
}

/* ---- CRC-32C ---- */

START_TEST(crc32c_matches_published_vectors)
{
	uint8_t zeros[32] = { 0 }, ones[32], rising[32];

	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < 32; i++)
		rising[i] = (uint8_t)i;
	ck_assert_uint_eq(qb_crc32c(0, "123456789", 9), 0xe3069283u);
	ck_assert_uint_eq(qb_crc32c(0, "", 0), 0);
	ck_assert_uint_eq(qb_crc32c(0, zeros, 32), 0x8a9136aau);        /* RFC 3720, B.4 */
	ck_assert_uint_eq(qb_crc32c(0, ones, 32), 0x62a8ab43u);
	ck_assert_uint_eq(qb_crc32c(0, rising, 32), 0x46dd794eu);
}
END_TEST

START_TEST(crc32c_by_table_and_by_instruction_agree_in_any_pieces)
{
	uint8_t data[400];
	uint32_t whole;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i + 7 * i);
	for (unsigned from = 0; from < 9; from++) {
		for (unsigned to = from; to <= sizeof(data); to++) {
			whole = qb_crc32c(77, data + from, to - from);
			ck_assert_uint_eq(qb_crc32c_table(77, data + from, to - from), whole);
			unsigned mid = from + (to - from) / 3;

			uint32_t part = qb_crc32c(77, data + from, mid - from);

			ck_assert_uint_eq(qb_crc32c(part, data + mid, to - mid), whole);
		}
	}
}
END_TEST

static void fill_meta(struct qb_meta *m)
{
	memset(m, 0, sizeof(*m));
	strcpy(m->run_id, "shm-burst-1764000000");
	strcpy(m->lib, "shm");
}

/* ---- blocks ---- */

#define EVENTS 5

static void make_events(struct qb_event_shm *ev, size_t count, uint32_t seat, uint64_t first_seq)
{
	memset(ev, 0, count * sizeof(*ev));
	for (size_t i = 0; i < count; i++) {
		ev[i].seq.v = first_seq + i;
		ev[i].raw = 1000 * (first_seq + i);
		ev[i].job_id = i + 1;
		ev[i].type = QB_EV_JOB_STARTED;
		ev[i].seat = (uint16_t)seat;
		ev[i].arg0 = 0x0102030405060708;
	}
}

/* META, EVENTS, CLOCK, EVENTS, END; offs[i]: where block i begins, offs[5] the end */
static void write_sample(uint64_t offs[6])
{
	struct qb_clock_triple first = { 1, 2, 3 }, last = { 4, 5, 6 };
	struct qb_record_counter counters[] = { { "dropped", 7 }, { "lost", 0 } };
	struct qb_event_shm ev[EVENTS];
	struct qb_record_writer *w;
	struct qb_meta m;

	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	offs[0] = qb_record_bytes(w);
	fill_meta(&m);
	ck_assert_int_eq(qb_record_meta(w, &m, &err), 0);
	qb_meta_free(&m);
	offs[1] = qb_record_bytes(w);
	make_events(ev, EVENTS, 3, 1);
	ck_assert_int_eq(qb_record_events(w, 3, 1, ev, EVENTS, &err), 0);
	offs[2] = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_clock(w, &first, &last, &err), 0);
	offs[3] = qb_record_bytes(w);
	make_events(ev, EVENTS, 3, 1 + EVENTS);
	ck_assert_int_eq(qb_record_events(w, 3, 1 + EVENTS, ev, EVENTS, &err), 0);
	offs[4] = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_end(w, counters, 2, &err), 0);
	offs[5] = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
}

/* Reads path to its end; the types seen, as digits. */
static struct qb_record_damage read_all(char types[16])
{
	struct qb_record_damage damage;
	struct qb_record_reader *r;
	struct qb_record_block b;
	size_t n = 0;
	int rc;

	ck_assert_msg(qb_record_open(path, &r, &err) == 0, "%s", err.text);
	while ((rc = qb_record_next(r, &b, &err)) == 1) {
		ck_assert_uint_lt(n, 15);
		types[n++] = (char)('0' + b.type);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(qb_record_next(r, &b, &err), 0);
	types[n] = '\0';
	damage = *qb_record_damage(r);
	qb_record_reader_close(r);
	return damage;
}

static void put_file(const void *data, size_t bytes)
{
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(qb_write_full(fd, data, bytes), 0);
	close(fd);
}

START_TEST(blocks_come_back_in_order_and_whole)
{
	struct qb_record_reader *r;
	struct qb_record_block b;
	struct qb_record_damage d;
	char types[16];
	uint64_t offs[6];
	struct stat st;

	write_sample(offs);
	d = read_all(types);
	ck_assert_str_eq(types, "12324");
	ck_assert_uint_eq(d.tail_bytes + d.skipped_bytes + d.skipped_count, 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, offs[5]);
	ck_assert_uint_eq(st.st_mode & 0777, 0644);

	ck_assert_int_eq(qb_record_open(path, &r, &err), 0);
	ck_assert_int_eq(qb_record_next(r, &b, &err), 1);
	ck_assert_int_eq(qb_record_next(r, &b, &err), 1);
	ck_assert_uint_eq(b.off, offs[1]);
	ck_assert_uint_eq(b.bytes, offs[2] - offs[1] - QB_RECORD_FRAME_BYTES);
	/* array of 4: seat 3, first_seq 1, count 5, bin of 320 bytes: the events as they were */
	ck_assert_mem_eq(b.body, "\x94\x03\x01\x05\xc5\x01\x40", 7);
	struct qb_event_shm ev[EVENTS];

	make_events(ev, EVENTS, 3, 1);
	ck_assert_mem_eq(b.body + 7, ev, sizeof(ev));
	qb_record_reader_close(r);
}
END_TEST

START_TEST(record_cut_at_every_byte_of_its_last_block_reads_up_to_the_block_before)
{
	struct qb_record_damage d;
	uint64_t offs[6];
	char types[16];

	/* Both an END and, with that cut off, an EVENTS block as the last one. */
	write_sample(offs);
	for (int last = 4; last >= 3; last--) {
		for (uint64_t cut = offs[last + 1]; cut-- > offs[last];) {
			ck_assert_int_eq(truncate(path, (off_t)cut), 0);
			d = read_all(types);
			ck_assert_str_eq(types, last == 4 ? "1232" : "123");
			ck_assert_uint_eq(d.tail_bytes, cut - offs[last]);
			ck_assert_uint_eq(d.skipped_count, 0);
			if (d.tail_bytes)
				ck_assert_uint_eq(d.tail_off, offs[last]);
		}
	}
}
END_TEST

START_TEST(flipped_bit_anywhere_in_a_block_costs_that_block_and_no_other)
{
	static const char *const without[] = { "2324", "1324", "1224", "1234", "1232" };
	uint64_t offs[6];
	char *data, types[16];
	size_t bytes;

	write_sample(offs);
	ck_assert_int_eq(qb_read_file(path, 1 << 20, &data, &bytes, &err), 0);
	for (unsigned block = 0; block < 5; block++) {
		for (uint64_t at = offs[block]; at < offs[block + 1]; at++) {
			char bit = (char)(1 << (at % 8));

			data[at] = (char)(data[at] ^ bit);
			put_file(data, bytes);
			data[at] = (char)(data[at] ^ bit);
			struct qb_record_damage d = read_all(types);

			ck_assert_msg(strcmp(types, without[block]) == 0, "byte %llu: %s",
				      (unsigned long long)at, types);
			ck_assert_uint_eq(d.skipped_bytes + d.tail_bytes,
					  offs[block + 1] - offs[block]);
			ck_assert_uint_eq(d.skipped_count, block != 4);
			if (block != 4)
				ck_assert_uint_eq(d.skipped_off, offs[block]);
		}
	}
	free(data);
}
END_TEST

START_TEST(blocks_behind_garbage_and_lost_bytes_are_found)
{
	struct qb_strbuf sb = { 0 };
	struct qb_record_damage d;
	uint64_t offs[6];
	char *data, types[16];
	size_t bytes;

	write_sample(offs);
	ck_assert_int_eq(qb_read_file(path, 1 << 20, &data, &bytes, &err), 0);
	qb_strbuf_add_bytes(&sb, data, offs[2] - 10);           /* EVENTS lost its end */
	qb_strbuf_add(&sb, "QBRB garbage QBQBRB");
	qb_strbuf_add_bytes(&sb, data + offs[2], offs[3] - offs[2]);
	qb_strbuf_add_bytes(&sb, data + offs[3] + 1, bytes - offs[3] - 1); /* lost its beginning */
	put_file(sb.data, sb.bytes);
	d = read_all(types);
	ck_assert_str_eq(types, "134");
	ck_assert_uint_eq(d.skipped_count, 2);
	ck_assert_uint_eq(d.skipped_bytes, offs[2] - offs[1] - 10 + 19 + offs[4] - offs[3] - 1);
	qb_strbuf_free(&sb);
	free(data);
}
END_TEST

START_TEST(false_beginnings_with_long_bodies_do_not_take_long)
{
	size_t bytes = 4 << 20;
	uint8_t *data = calloc(1, bytes);
	uint64_t start_ns = qb_now_ns();
	char types[16];

	for (size_t at = 0; at + 16 <= bytes; at += 16) {
		memcpy(data + at, QB_RECORD_MAGIC, 4);
		qb_record_store32(data + at + 4, QB_RECORD_EVENTS);
		qb_record_store32(data + at + 8, (uint32_t)(bytes - at - 16));
	}
	put_file(data, bytes);
	ck_assert_uint_eq(read_all(types).tail_bytes, bytes);
	ck_assert_str_eq(types, "");
	ck_assert_uint_lt(qb_now_ns() - start_ns, QUICK_NS);
	free(data);
}
END_TEST

START_TEST(length_beyond_the_file_is_not_believed)
{
	uint64_t offs[6];
	uint8_t frame[QB_RECORD_FRAME_BYTES];
	char types[16];
	int fd;

	write_sample(offs);
	memcpy(frame, QB_RECORD_MAGIC, 4);
	qb_record_store32(frame + 4, QB_RECORD_EVENTS);
	qb_record_store32(frame + 8, UINT32_MAX);
	qb_record_store32(frame + 12, qb_crc32c(0, frame + 4, 8));
	fd = open(path, O_WRONLY | O_APPEND);
	ck_assert_int_eq(qb_write_full(fd, frame, sizeof(frame)), 0);
	close(fd);
	ck_assert_uint_eq(read_all(types).tail_bytes, QB_RECORD_FRAME_BYTES);
	ck_assert_str_eq(types, "12324");
}
END_TEST

START_TEST(what_is_no_record_is_refused)
{
	struct qb_record_reader *r;

	ck_assert_int_eq(qb_record_open(path, &r, &err), -ENOENT);
	put_file("", 0);
	ck_assert_int_eq(qb_record_open(path, &r, &err), QB_EMAGIC);
	put_file("QB", 2);
	ck_assert_int_eq(qb_record_open(path, &r, &err), QB_EMAGIC);
	put_file("a text of more than sixteen bytes", 33);
	ck_assert_int_eq(qb_record_open(path, &r, &err), QB_EMAGIC);
	ck_assert_int_eq(qb_record_open(dir, &r, &err), QB_EMAGIC);
	ck_assert_ptr_nonnull(strstr(err.text, dir));
}
END_TEST

/* ---- the writer ---- */

START_TEST(writer_refuses_what_would_not_read_back)
{
	struct qb_event_shm ev[EVENTS];
	struct qb_record_writer *w, *second;
	uint64_t before;

	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_create(path, &second, &err), -EEXIST);
	make_events(ev, EVENTS, 3, 10);
	before = qb_record_bytes(w);
	ck_assert_int_eq(qb_record_events(w, 3, 11, ev, EVENTS, &err), QB_ECORRUPT);
	ev[4].seq.v = 0;
	ck_assert_int_eq(qb_record_events(w, 3, 10, ev, EVENTS, &err), QB_ECORRUPT);
	ck_assert_int_eq(qb_record_events(w, 0, 10, ev, EVENTS, &err), QB_EUSAGE);
	ck_assert_int_eq(qb_record_events(w, QB_SEAT_MAX + 1, 10, ev, EVENTS, &err), QB_EUSAGE);
	ck_assert_int_eq(qb_record_events(w, 3, 10, ev, 0, &err), 0);
	ck_assert_uint_eq(qb_record_bytes(w), before);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	ck_assert_int_eq(qb_record_close(NULL, &err), 0);
}
END_TEST

START_TEST(many_events_are_split_into_blocks)
{
	size_t count = 2 * QB_RECORD_BLOCK_EVENTS_MAX + 1;
	struct qb_event_shm *ev = calloc(count, sizeof(*ev));
	struct qb_record_writer *w;
	char types[16];

	make_events(ev, count, 9, 1);
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	ck_assert_int_eq(qb_record_events(w, 9, 1, ev, count, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	read_all(types);
	ck_assert_str_eq(types, "222");
	free(ev);
}
END_TEST

START_TEST(full_disk_leaves_whole_blocks_and_writing_can_go_on)
{
	struct rlimit limit, small;
	struct qb_event_shm ev[EVENTS];
	struct qb_record_writer *w;
	char types[16];
	struct stat st;
	uint64_t one;
	int limited, rc;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(qb_record_create(path, &w, &err), 0);
	make_events(ev, EVENTS, 3, 1);
	ck_assert_int_eq(qb_record_events(w, 3, 1, ev, EVENTS, &err), 0);
	one = qb_record_bytes(w);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = limit;
	small.rlim_cur = one + 100;             /* the second block does not fit */
	make_events(ev, EVENTS, 3, 1 + EVENTS);
	/* No assertion inside: Check reports them through a file, which has the same limit. */
	limited = setrlimit(RLIMIT_FSIZE, &small);
	rc = qb_record_events(w, 3, 1 + EVENTS, ev, EVENTS, &err);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit) | limited, 0);
	ck_assert_int_eq(rc, -EFBIG);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, one);
	ck_assert_int_eq(qb_record_events(w, 3, 1 + EVENTS, ev, EVENTS, &err), 0);
	ck_assert_int_eq(qb_record_close(w, &err), 0);
	ck_assert_uint_eq(read_all(types).tail_bytes, 0);
	ck_assert_str_eq(types, "22");
}
END_TEST

START_TEST(killed_writer_leaves_every_block_that_it_wrote)
{
	struct qb_event_shm ev[EVENTS];
	struct qb_record_writer *w;
	char types[16];
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		make_events(ev, EVENTS, 3, 1);
		if (qb_record_create(path, &w, &err) == 0 &&
		    qb_record_events(w, 3, 1, ev, EVENTS, &err) == 0)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	read_all(types);
	ck_assert_str_eq(types, "2");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, crc32c_matches_published_vectors);
	tcase_add_test(tc, crc32c_by_table_and_by_instruction_agree_in_any_pieces);
	tcase_add_test(tc, blocks_come_back_in_order_and_whole);
	tcase_add_test(tc, record_cut_at_every_byte_of_its_last_block_reads_up_to_the_block_before);
	tcase_add_test(tc, flipped_bit_anywhere_in_a_block_costs_that_block_and_no_other);
	tcase_add_test(tc, blocks_behind_garbage_and_lost_bytes_are_found);
	tcase_add_test(tc, false_beginnings_with_long_bodies_do_not_take_long);
	tcase_add_test(tc, length_beyond_the_file_is_not_believed);
	tcase_add_test(tc, what_is_no_record_is_refused);
	tcase_add_test(tc, writer_refuses_what_would_not_read_back);
	tcase_add_test(tc, many_events_are_split_into_blocks);
	tcase_add_test(tc, full_disk_leaves_whole_blocks_and_writing_can_go_on);
	tcase_add_test(tc, killed_writer_leaves_every_block_that_it_wrote);
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
