/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record that nobody vouches for, through everything that reads one: blocks, events in order, what
 * became of the jobs, the account, and each form of a report and of decode-events.
 *
 * First byte: what to make of it (low bits), and with RAW whether the rest is the file itself. Without,
 * it is a list of blocks, {type, two bytes of length, body}: the frames and their check sums are put
 * around them here, so that what is behind a good check sum is reached.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record/format.h"
#include "record/load.h"
#include "report/report.h"
#include "shm/crc.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/victim.h"
#include "tools/decode.h"

const char fuzz_name[] = "record";
const size_t fuzz_bytes_max = 16384;
const uint64_t fuzz_runs = 15000;

enum make { MAKE_LOAD, MAKE_TEXT, MAKE_MD, MAKE_JSON, MAKE_JSONL, MAKE_TRACE, MAKE_SUMMARY, MAKE_COUNT };
#define RAW 0x80u

/* More take longer and more memory, and show nothing new: job ids and tenants are arrays in a report. */
#define JOBS_MAX 4096
#define TENANTS_MAX 256

static uint8_t *file;
static size_t file_bytes;
static int fd = -1, null_fd;
static char path[64];

static void put_block(uint8_t type, const uint8_t *body, size_t bytes)
{
	uint8_t *to = file + file_bytes;

	memcpy(to, QB_RECORD_MAGIC, QB_RECORD_MAGIC_BYTES);
	qb_record_store32(to + 4, type);
	qb_record_store32(to + 8, (uint32_t)bytes);
	memcpy(to + QB_RECORD_FRAME_BYTES, body, bytes);
	qb_record_store32(to + 12, qb_crc32c(qb_crc32c(0, to + 4, 8), to + QB_RECORD_FRAME_BYTES, bytes));
	file_bytes += QB_RECORD_FRAME_BYTES + bytes;
}

static void build(struct fuzz_reader *r)
{
	file_bytes = 0;
	while (r->end - r->at >= 3) {
		uint8_t type = fuzz_u8(r);
		size_t bytes = fuzz_number(r, 2);

		if (bytes > (size_t)(r->end - r->at))
			bytes = (size_t)(r->end - r->at);
		put_block(type, r->at, bytes);
		r->at += bytes;
	}
}

static void decode(const struct qb_trace *t, enum make how)
{
	struct qb_out out;

	qb_out_init(&out, null_fd);
	if (how == MAKE_JSONL)
		FUZZ_MUST(qb_decode_jsonl(t, &out) == 0);
	else if (how == MAKE_TRACE)
		qb_decode_chrome(t, &out);
	else
		qb_decode_summary(t, &out);
	/* Flushed at the beginning of a line, so what is still there is whole lines; a trace is one value. */
	FUZZ_MUST(fuzz_is_harmless(out.buf, out.used));
	if (how == MAKE_JSONL)
		FUZZ_MUST(fuzz_is_json_lines(out.buf, out.used));
	if (how == MAKE_TRACE && out.used > 0 && out.buf[0] == '{')
		FUZZ_MUST(fuzz_is_json(out.buf, out.used));
	qb_out_flush(&out);
	FUZZ_MUST(!out.failed);
	qb_out_free(&out);
}

static void report(enum make how)
{
	struct qb_report_run run;
	struct qb_strbuf text = { 0 };
	struct qb_err err = { 0 };

	if (qb_report_from_record(path, &run, &err) < 0)
		return;
	struct qb_report_entry entry = qb_report_run_entry(&run);
	struct qb_report r = { .host = run.host, .qbench_version = "0", .entries = &entry, .entries_count = 1 };

	if (how == MAKE_TEXT)
		qb_report_text(&r, &text);
	else if (how == MAKE_MD)
		qb_report_md(&r, &text);
	else
		qb_report_json(&r, &text);
	FUZZ_MUST(fuzz_is_harmless(qb_strbuf_text(&text), text.bytes));
	FUZZ_MUST(how != MAKE_JSON || fuzz_is_json(qb_strbuf_text(&text), text.bytes));
	qb_strbuf_free(&text);
	qb_report_run_free(&run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct qb_trace t;
	struct fuzz_reader r = { data, data + bytes };
	struct qb_err err = { 0 };

	if (fd < 0)
		fuzz_seeds();
	uint8_t head = fuzz_u8(&r);
	enum make how = (head & 0x7f) % MAKE_COUNT;

	if (head & RAW) {
		file_bytes = (size_t)(r.end - r.at);
		memcpy(file, r.at, file_bytes);
	} else {
		build(&r);
	}
	fuzz_write_at(fd, file, file_bytes, 0);
	if (ftruncate(fd, (off_t)file_bytes))
		abort();
	if (qb_trace_load(path, &t, &err) < 0)
		return 0;
	FUZZ_MUST(t.events_count <= file_bytes / sizeof(struct qb_event_shm));
	for (size_t i = 0; i < t.events_count; i++)
		FUZZ_MUST(t.events[i].ev.seat >= 1 && t.events[i].ev.seat <= QB_SEAT_MAX &&
			  (i == 0 || t.events[i].t_ns >= t.events[i - 1].t_ns));
	if (how >= MAKE_JSONL && t.events_count > 0 && t.meta.tenants <= TENANTS_MAX)
		decode(&t, how);
	int small = t.job_id_max <= JOBS_MAX;

	qb_trace_free(&t);
	if (how != MAKE_LOAD && how < MAKE_JSONL && small)
		report(how);
	return 0;
}

static void seed_from(uint32_t jobs)
{
	size_t record_bytes, at = 0, used;
	uint8_t *record = fuzz_victim_record(jobs, &record_bytes), *seed = malloc(record_bytes + 1);

	if (!seed)
		abort();
	for (unsigned how = 0; how < MAKE_COUNT; how++) {
		seed[0] = (uint8_t)how;
		for (at = 0, used = 1; at < record_bytes;) {
			size_t bytes = qb_record_load32(record + at + 8);

			seed[used++] = record[at + 4];
			seed[used++] = (uint8_t)bytes;
			seed[used++] = (uint8_t)(bytes >> 8);
			memcpy(seed + used, record + at + QB_RECORD_FRAME_BYTES, bytes);
			used += bytes;
			at += QB_RECORD_FRAME_BYTES + bytes;
		}
		fuzz_seed(seed, used);
	}
	seed[0] = RAW;
	memcpy(seed + 1, record, record_bytes);
	fuzz_seed(seed, record_bytes + 1);
	free(seed);
	free(record);
}

/* A block of one event that says it holds sixteen million. */
static void seed_lie(void)
{
	uint8_t seed[1 + 3 + 10 + sizeof(struct qb_event_shm)] = {
		MAKE_SUMMARY, QB_RECORD_EVENTS, 10 + sizeof(struct qb_event_shm), 0,
		0x94, 0x01, 0x01, 0xce, 0x00, 0xff, 0xff, 0xff, 0xc4, sizeof(struct qb_event_shm),
	};
	struct qb_event_shm ev = { .seq.v = 1, .raw = 1, .job_id = 1, .type = QB_EV_JOB_STARTED, .seat = 1 };

	memcpy(seed + 14, &ev, sizeof(ev));
	fuzz_seed(seed, sizeof(seed));
}

void fuzz_seeds(void)
{
	/* Each input byte becomes at most so many in the file. */
	const size_t cap = (QB_RECORD_FRAME_BYTES + 1) * (fuzz_bytes_max / 3 + 1) + fuzz_bytes_max;

	if (fd >= 0)
		return;
	fd = memfd_create("fuzz-record", MFD_CLOEXEC);
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	file = malloc(cap);
	if (fd < 0 || null_fd < 0 || !file)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	seed_from(1);
	seed_from(4);
	seed_lie();
}
