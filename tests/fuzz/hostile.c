/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files made by hand to hurt their reader: nesting bombs, absurd lengths, places past the end, holes of a
 * terabyte. Each is read in a child of its own, which may take 10 s of processor time and 192 MiB, and
 * must say what its case expects.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "cli/inspect.h"
#include "record/ends.h"
#include "record/format.h"
#include "record/load.h"
#include "record/unpack.h"
#include "report/report.h"
#include "shm/crc.h"
#include "shm/block.h"
#include "shm/job.h"
#include "tests/crash/tap.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/victim.h"
#include "workload/scenario.h"

#define PROCESSOR_S (UNDER_ASAN ? 100 : 10)
#define MEMORY_KIB (UNDER_ASAN ? 1024 * 1024 : 192 * 1024)
#define TIB (1ull << 40)
#define MIB (1u << 20)

static const char *path;
static int fd;

/* ---- what a case builds ---- */

static void truncate_to(uint64_t bytes)
{
	FUZZ_MUST(ftruncate(fd, (off_t)bytes) == 0);
}

static uint64_t put_block(uint64_t at, uint32_t type, const void *body, uint32_t bytes)
{
	uint8_t frame[QB_RECORD_FRAME_BYTES];

	memcpy(frame, QB_RECORD_MAGIC, QB_RECORD_MAGIC_BYTES);
	qb_record_store32(frame + 4, type);
	qb_record_store32(frame + 8, bytes);
	qb_record_store32(frame + 12, qb_crc32c(qb_crc32c(0, frame + 4, 8), body, bytes));
	fuzz_write_at(fd, frame, sizeof(frame), at);
	fuzz_write_at(fd, body, bytes, at + sizeof(frame));
	return at + sizeof(frame) + bytes;
}

static void load_and_report(struct qb_trace *t)
{
	struct qb_err err = { 0 };
	struct qb_report_run run;

	FUZZ_MUST(qb_trace_load(path, t, &err) == 0);
	if (qb_report_from_record(path, &run, &err) == 0)
		qb_report_run_free(&run);
}

/* The head of a segment of that configuration, in a file that is as long as it says and empty behind. */
static uint64_t put_head(const struct qb_config_shm *cfg)
{
	static struct qb_header_shm h;
	struct qb_config_shm small;
	struct qb_seg seg;
	int64_t bytes = qb_seg_bytes(cfg);

	FUZZ_MUST(bytes > 0);
	qb_config_default(&small);
	small.job_count = 64;
	small.ring_count = 128;
	FUZZ_MUST(qb_seg_create_anonymous(&small, &seg) == 0);
	memcpy(&h, seg.hdr, sizeof(h));
	qb_seg_detach(&seg);
	h.config = *cfg;
	h.total_bytes = (uint64_t)bytes;
	h.boot_id = 1;
	/* Where the sections of that one lie: as segment.c places them. */
	const uint64_t jobs = cfg->job_count, seats = cfg->seat_count;
	const uint64_t want[QB_SEC_COUNT][2] = {
		{ sizeof(struct qb_seat_shm), seats }, { sizeof(struct qb_job_shm), jobs },
		{ 8, jobs / 64 }, { 8, jobs / 64 }, { 8, jobs / 64 },
		{ QB_ROUND_UP(sizeof(struct qb_ring_shm) + 8ull * cfg->ring_count, QB_PAGE_BYTES), 2 },
		{ 8, (cfg->block_count + 63u) / 64 }, { cfg->block_bytes, cfg->block_count },
		{ QB_ROUND_UP(sizeof(struct qb_arena_shm) + cfg->arena_bytes, QB_CACHELINE), seats },
		{ QB_ROUND_UP(sizeof(struct qb_event_ring_shm) + 64ull * cfg->event_count, QB_CACHELINE), seats },
		{ 8, cfg->effect_count }, { 1, cfg->meta_bytes }, { sizeof(struct qb_key_bucket_shm), jobs / 2 },
	};
	uint64_t off = sizeof(h);

	for (unsigned k = 0; k < QB_SEC_COUNT; k++) {
		h.section[k] = (struct qb_section_shm){ off, want[k][0] * want[k][1], want[k][0], want[k][1] };
		off = QB_ROUND_UP(off + h.section[k].bytes, QB_PAGE_BYTES);
	}
	FUZZ_MUST(off == (uint64_t)bytes);
	fuzz_write_at(fd, &h, sizeof(h), 0);
	truncate_to((uint64_t)bytes);
	return (uint64_t)bytes;
}

/* ---- records ---- */

static void bomb(int byte)
{
	static struct qb_trace t;
	uint8_t *body = malloc(MIB);
	struct qb_unpack u;

	memset(body, byte, MIB);
	qb_unpack_init(&u, body, MIB);
	FUZZ_MUST(qb_unpack_skip(&u) < 0);
	uint64_t at = put_block(0, QB_RECORD_META, body, MIB);

	at = put_block(at, QB_RECORD_EVENTS, body, MIB);
	at = put_block(at, QB_RECORD_END, body, MIB);
	at = put_block(at, QB_RECORD_CLOCK, body, MIB);
	put_block(at, QB_RECORD_ENDS, body, MIB);
	load_and_report(&t);
	FUZZ_MUST(!t.has_meta && t.events_count == 0 && t.damage.bad_count > 0);
}

static void arrays_in_arrays(void)
{
	bomb(0x91);
}

static void maps_in_maps(void)
{
	bomb(0x81);
}

static void a_map_whose_key_is_a_bomb(void)
{
	static struct qb_trace t;
	uint8_t *body = malloc(MIB);

	memset(body, 0x91, MIB);
	body[0] = 0x81;
	body[1] = 0xa1;
	body[2] = 'x';
	put_block(0, QB_RECORD_END, body, MIB);
	load_and_report(&t);
	FUZZ_MUST(t.counters_count == 0);
}

/* Each says that it holds four billion of something. */
static void lengths_that_cannot_be(void)
{
	static const char *const bodies[] = {
		"\xdf\xff\xff\xff\xff\xa1x\x01", "\xdd\xff\xff\xff\xff\x01\x01\x01", "\xdb\xff\xff\xff\xff" "abc",
		"\xc6\xff\xff\xff\xff" "abc", "\x94\x01\x01\xce\xff\xff\xff\xff\xc6\xff\xff\xff\xff" "abc",
		"\x93\x81\xaajobs_count\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01\xc4\x03" "abc",
		"\x93\x81\xaajobs_count\xce\x00\xff\xff\xff\x01\xc4\x18" "abcdefghijklmnopqrstuvwx",
		"\x81\xaatenant_ids\xdd\x00\x0f\x42\x40\xa1x",
	};
	static struct qb_trace t;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		for (uint32_t type = QB_RECORD_META; type <= QB_RECORD_ENDS; type++) {
			truncate_to(0);
			put_block(0, type, bodies[i], (uint32_t)strlen(bodies[i]));
			load_and_report(&t);
			FUZZ_MUST(t.events_count == 0);
			qb_trace_free(&t);
		}
}

static void frames_longer_than_the_file(void)
{
	static const uint32_t lengths[] = { 1, 100, QB_RECORD_BODY_BYTES_MAX, QB_RECORD_BODY_BYTES_MAX + 1, 1u << 31,
					    UINT32_MAX };
	static struct qb_trace t;
	uint8_t frame[QB_RECORD_FRAME_BYTES] = QB_RECORD_MAGIC;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		truncate_to(0);
		qb_record_store32(frame + 4, QB_RECORD_META);
		qb_record_store32(frame + 8, lengths[i]);
		fuzz_write_at(fd, frame, sizeof(frame), 0);
		load_and_report(&t);
		FUZZ_MUST(t.damage.tail_bytes == sizeof(frame));
		qb_trace_free(&t);
	}
}

/* Each beginning promises a body that must be summed in vain. */
static void a_record_of_false_beginnings(void)
{
	static struct qb_trace t;
	uint8_t *data = malloc(4 * MIB);

	for (size_t at = 0; at < 4 * MIB; at += QB_RECORD_FRAME_BYTES) {
		memcpy(data + at, QB_RECORD_MAGIC, 4);
		qb_record_store32(data + at + 4, QB_RECORD_EVENTS);
		qb_record_store32(data + at + 8, MIB);
		qb_record_store32(data + at + 12, 0);
	}
	fuzz_write_at(fd, data, 4 * MIB, 0);
	load_and_report(&t);
	FUZZ_MUST(t.events_count == 0);
}

/* A good block, a hole of a terabyte, a good block. */
static void a_record_with_a_hole_of_a_terabyte(void)
{
	static struct qb_trace t;
	size_t bytes;
	uint8_t *record = fuzz_victim_record(1, &bytes);

	fuzz_write_at(fd, record, bytes, 0);
	fuzz_write_at(fd, record, bytes, TIB - bytes);
	load_and_report(&t);
	FUZZ_MUST(t.damage.skipped_count == 1 && t.damage.skipped_bytes == TIB - 2 * bytes);
	FUZZ_MUST(t.events_count > 0 && t.duplicates_count == t.events_count);
}

/* ---- segments ---- */

static int inspect_file(void)
{
	struct qb_inspect in;
	int rc = qb_inspect_open(&in, path, 1);

	if (rc == 0)
		qb_inspect_close(&in);
	return rc;
}

static void a_segment_of_a_terabyte_of_nothing(void)
{
	struct qb_config_shm cfg;

	qb_config_default(&cfg);
	cfg.block_count = 1u << 23;
	cfg.block_bytes = 127 * 1024;
	FUZZ_MUST(put_head(&cfg) > TIB / 2);
	FUZZ_MUST(inspect_file() == QB_ETOOBIG);
}

/* As large as half of the machine's memory, and all of it one hole. */
static void a_segment_with_a_large_hole(void)
{
	struct qb_config_shm cfg;
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * QB_PAGE_BYTES;

	qb_config_default(&cfg);
	cfg.block_bytes = 128 * 1024;
	cfg.block_count = (uint32_t)(memory / 2 / cfg.block_bytes);
	if (cfg.block_count > 1u << 16)
		cfg.block_count = 1u << 16;
	put_head(&cfg);
	FUZZ_MUST(inspect_file() == 0);
}

/* A head that says one thing about a section and the configuration another. */
static void sections_that_lie(void)
{
	static const uint64_t odd[] = { 0, 1, 8, 4096, 1ull << 40, 1ull << 63, UINT64_MAX };
	size_t bytes;
	uint8_t *segment = fuzz_victim_segment(&bytes);
	struct qb_header_shm *h = (struct qb_header_shm *)segment;
	struct qb_seg seg;

	for (unsigned k = 0; k < QB_SEC_COUNT; k++) {
		uint64_t *fields = (uint64_t *)&h->section[k];

		for (unsigned f = 0; f < 4; f++)
			for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
				uint64_t was = fields[f];

				fields[f] = odd[i];
				int rc = qb_seg_view(segment, bytes, &seg);

				FUZZ_MUST(was == odd[i] ? rc == 0 : rc == QB_ECORRUPT);
				fields[f] = was;
			}
		/* On top of the one before it. */
		uint64_t was = h->section[k].off;

		h->section[k].off = k ? h->section[k - 1].off : 0;
		FUZZ_MUST(qb_seg_view(segment, bytes, &seg) == QB_ECORRUPT);
		h->section[k].off = was;
	}
}

static void counts_that_do_not_fit_the_file(void)
{
	static const uint32_t odd[] = { 0, 1, 3, 63, 128, 4096, 1u << 20, 1u << 21, 1u << 24, 1u << 28, UINT32_MAX };
	/* job, seat, ring, block count, block, arena bytes, event, effect count; meta bytes is at 96 */
	size_t bytes;
	uint8_t *segment = fuzz_victim_segment(&bytes);
	struct qb_header_shm *h = (struct qb_header_shm *)segment;
	struct qb_seg seg;

	for (unsigned f = 0; f < 9; f++) {
		uint32_t *field = f < 8 ? (uint32_t *)&h->config + f : &h->config.meta_bytes, was = *field;

		for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
			*field = odd[i];
			FUZZ_MUST(odd[i] == was || qb_seg_view(segment, bytes, &seg) == QB_ECORRUPT);
			*field = was;
		}
	}
}

/* A chain of blocks that never ends, in every job. */
static void chains_that_go_in_circles(void)
{
	struct qb_config_shm cfg;
	struct qb_seg seg;
	struct qb_check check;

	qb_config_default(&cfg);
	FUZZ_MUST(qb_seg_create_anonymous(&cfg, &seg) == 0);
	seg.hdr->high_water.v = cfg.job_count;
	for (uint32_t i = 0; i < cfg.job_count; i++) {
		struct qb_block_shm *b = qb_seg_block(&seg, i);

		b->tag.v = qb_block_tag(i, 1);
		b->next.v = i;
		seg.jobs[i].word.v = qb_word(1, 0, 0, 0, QB_JOB_READY);
		seg.jobs[i].block_first = i;
		seg.jobs[i].payload_bytes = i % 2 ? QB_PAYLOAD_BYTES_MAX : UINT32_MAX;
	}
	FUZZ_MUST(qb_check_segment(&seg, &check, NULL, NULL) == (int)cfg.job_count);
	FUZZ_MUST(check.bad_payloads == cfg.job_count);
	qb_seg_detach(&seg);
}

/* ---- scenarios ---- */

static void refused_as_scenario(const char *text, size_t bytes)
{
	struct qb_scenario sc;
	struct qb_err err = { 0 };

	FUZZ_MUST(qb_scenario_parse("x.ini", text, bytes, &sc, &err) < 0 && err.text[0]);
	truncate_to(0);
	fuzz_write_at(fd, text, bytes, 0);
}

static void scenarios_of_two_megabytes(void)
{
	static const char *const fronts[] = { "", "[", "[kind ", "[scenario]\nname = ", "[scenario]\nsummary = ",
					      "[scenario]\n", "; ", "[scenario]\nduration = 1" };
	char *text = malloc(2 * MIB);

	for (size_t i = 0; i < sizeof(fronts) / sizeof(fronts[0]); i++)
		for (int byte = 1; byte < 256; byte++) {
			size_t bytes = byte == 'a' || byte == 0xff ? 2 * MIB : 8192;

			memset(text, byte, bytes);
			memcpy(text, fronts[i], strlen(fronts[i]));
			refused_as_scenario(text, bytes);
		}
	/* Many short lines. */
	for (size_t at = 0; at < 2 * MIB; at += 8)
		memcpy(text + at, "[kind a]", 8);
	refused_as_scenario(text, 2 * MIB);
	for (size_t at = 0; at + 9 <= 2 * MIB; at += 9)
		memcpy(text + at, "[kind a]\n", 9);
	refused_as_scenario(text, 2 * MIB);
}

/* ---- all ---- */

static const struct {
	void (*run)(void);
	const char *title;
} cases[] = {
	{ arrays_in_arrays, "a million arrays in one another" },
	{ maps_in_maps, "a million maps in one another" },
	{ a_map_whose_key_is_a_bomb, "a counter whose value is a million arrays" },
	{ lengths_that_cannot_be, "lengths and counts of four billion" },
	{ frames_longer_than_the_file, "blocks longer than their file" },
	{ a_record_of_false_beginnings, "a record of false beginnings" },
	{ a_record_with_a_hole_of_a_terabyte, "a record with a hole of a terabyte" },
	{ a_segment_of_a_terabyte_of_nothing, "a segment of a terabyte of nothing" },
	{ a_segment_with_a_large_hole, "a segment that is a hole of some gigabytes" },
	{ sections_that_lie, "sections past the end, over one another, of no size" },
	{ counts_that_do_not_fit_the_file, "counts that do not fit the file" },
	{ chains_that_go_in_circles, "chains of blocks that go in circles" },
	{ scenarios_of_two_megabytes, "scenario files of two megabytes and of every byte" },
};

static void one_case(void (*run)(void), const char *title)
{
	struct rlimit limit = { PROCESSOR_S, PROCESSOR_S };
	struct rusage before, used;
	int status;

	truncate_to(0);
	fflush(stdout);
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CPU, &limit);
		getrusage(RUSAGE_SELF, &before);
		run();
		getrusage(RUSAGE_SELF, &used);
		if (used.ru_maxrss > MEMORY_KIB) {
			tap_note("took %ld MiB", used.ru_maxrss / 1024);
			_exit(2);
		}
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFSIGNALED(status))
		tap_note("killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", title);
}

int main(void)
{
	path = fuzz_temp_file(&fd);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		one_case(cases[i].run, cases[i].title);
	return tap_done();
}
