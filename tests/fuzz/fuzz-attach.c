/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment file that nobody vouches for, opened by its path: attached to as a worker would (mapped,
 * checked, detached), inspected by way of a snapshot, and its events loaded and decoded. Slower than
 * fuzz-segment, which needs no file, but this is the way that files come in.
 *
 * First byte: what to do with it; then changes to a valid one (patch.h). With CUT set the next three
 * bytes say how long the file is.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/inspect.h"
#include "record/load.h"
#include "tests/fuzz/patch.h"
#include "tests/fuzz/victim.h"
#include "tools/decode.h"

const char fuzz_name[] = "attach";
const size_t fuzz_bytes_max = 256;
const uint64_t fuzz_runs = 8000;

enum way { WAY_ATTACH, WAY_INSPECT, WAY_JSONL, WAY_TRACE, WAY_SUMMARY, WAY_COUNT };
#define CUT 0x80u

static uint8_t *pristine;
static size_t segment_bytes;
static const char *path;
static int fd = -1, null_fd;

static void attach(void)
{
	struct qb_check check;
	struct qb_seg seg;

	/* The clock of the process is the segment's from then on; the next input is to find it as it was. */
	uint32_t mode = qb_clock_mode_now;

	if (qb_seg_attach(path, 0, &seg) == 0) {
		FUZZ_MUST(seg.bytes == segment_bytes && !seg.readonly);
		FUZZ_MUST(qb_check_segment(&seg, &check, NULL, NULL) >= 0);
		qb_seg_detach(&seg);
	}
	FUZZ_MUST(seg.base == NULL && seg.fd == -1);
	qb_clock_mode_now = mode;
}

static void inspect(void)
{
	struct qb_inspect in;
	int rc = qb_inspect_open(&in, path, 1);

	FUZZ_MUST(rc == 0 || in.seg.base == NULL);
	if (rc == 0)
		qb_inspect_close(&in);
}

static void decode(enum way way)
{
	static struct qb_trace t;
	struct qb_err err = { 0 };
	struct qb_out out;

	if (qb_trace_load(path, &t, &err) < 0)
		return;
	if (t.events_count > 0 && t.meta.tenants <= 256) {
		qb_out_init(&out, null_fd);
		if (way == WAY_JSONL)
			FUZZ_MUST(qb_decode_jsonl(&t, &out) == 0);
		else if (way == WAY_TRACE)
			qb_decode_chrome(&t, &out);
		else
			qb_decode_summary(&t, &out);
		FUZZ_MUST(fuzz_is_harmless(out.buf, out.used));
		if (way == WAY_JSONL)
			FUZZ_MUST(fuzz_is_json_lines(out.buf, out.used));
		qb_out_flush(&out);
		qb_out_free(&out);
	}
	qb_trace_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_reader r = { data, data + bytes };
	struct patch done[PATCHES_MAX];
	size_t count = 0, cut = segment_bytes;

	if (fd < 0)
		fuzz_seeds();
	uint8_t head = fuzz_u8(&r);

	if (head & CUT) {
		cut = fuzz_number(&r, 3) % (segment_bytes + 1);
		FUZZ_MUST(ftruncate(fd, (off_t)cut) == 0);
	}
	while (count < PATCHES_MAX && patch_next(&r, segment_bytes, &done[count])) {
		fuzz_write_at(fd, done[count].to, done[count].bytes, done[count].off);
		count++;
	}
	enum way way = (head & 0x7f) % WAY_COUNT;

	if (way == WAY_ATTACH)
		attach();
	else if (way == WAY_INSPECT)
		inspect();
	else
		decode(way);
	if (head & CUT)
		fuzz_write_at(fd, pristine + cut, segment_bytes - cut, cut);
	while (count-- > 0)
		fuzz_write_at(fd, pristine + done[count].off, done[count].bytes, done[count].off);
	return 0;
}

void fuzz_seeds(void)
{
	if (fd >= 0)
		return;
	pristine = fuzz_victim_segment(&segment_bytes);
	path = fuzz_temp_file(&fd);
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	FUZZ_MUST(null_fd >= 0);
	fuzz_write_at(fd, pristine, segment_bytes, 0);
	patch_seeds(pristine, segment_bytes, WAY_COUNT);
	for (unsigned way = 0; way < WAY_COUNT; way++) {
		uint8_t cut[] = { (uint8_t)(CUT + way), 0x00, 0x10, 0x00 };

		fuzz_seed(cut, sizeof(cut));
	}
}
