/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment that nobody vouches for, through everything that reads one: the check of its header, the
 * check of the whole, inspect for people and for programs, its events, payloads and results. In memory;
 * fuzz-attach is the same by way of files.
 *
 * First byte: how to look at it. Then changes to a valid one (patch.h), or for LOOK_RAW the file itself.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/inspect.h"
#include "shm/arena.h"
#include "shm/block.h"
#include "shm/event.h"
#include "shm/job.h"
#include "tests/fuzz/patch.h"
#include "tests/fuzz/victim.h"

const char fuzz_name[] = "segment";
const size_t fuzz_bytes_max = 8192;
const uint64_t fuzz_runs = 50000;

enum look { LOOK_CHECK, LOOK_EVENTS, LOOK_PARTS, LOOK_GATHER, LOOK_TEXT, LOOK_JSON, LOOK_RAW, LOOK_COUNT };

static uint8_t *pristine, *segment;
static size_t segment_bytes;
static struct fuzz_output printed;
static volatile uint64_t sink;

static void touch(const void *data, size_t bytes)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < bytes; i++)
		sink += p[i];
}

static void events(const struct qb_seg *seg)
{
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		for (uint32_t reader = 0; reader <= QB_READER_COUNT; reader++) {
			const struct qb_event_shm *first;
			struct qb_event_source s;
			uint64_t total = 0;
			uint32_t n;

			qb_event_source_open(&s, seg, seat, reader);
			/* A copy of its own place: reading holds nobody back here. */
			s.reader = QB_READER_COUNT;
			while ((n = qb_event_peek(&s, &first, 16)) > 0) {
				touch(first, n * sizeof(*first));
				qb_event_consumed(&s, n);
				total += n;
				FUZZ_MUST(total <= seg->cfg.event_count);
			}
		}
		qb_event_logged(seg, seat, QB_EV_JOB_STARTED, 4, 1);
	}
}

static void parts(const struct qb_seg *seg)
{
	static uint8_t payload[QB_PAYLOAD_BYTES_MAX];
	uint32_t bytes;

	for (uint32_t i = 0; i < seg->cfg.job_count; i++) {
		const struct qb_job_shm *job = qb_seg_job(seg, i);
		uint64_t word = qb_load_relaxed64(&job->word);
		int n = qb_job_payload(seg, i, qb_word_gen(word), payload, sizeof(payload));

		FUZZ_MUST(n <= (int)sizeof(payload));
		const uint8_t *result = qb_arena_read(seg, job, i, word, &bytes);

		if (result)
			touch(result, bytes);
		qb_effect_count(seg, job->job_id);
	}
	touch(qb_seg_meta(seg, &bytes), bytes);
}

static void count_text(void *ctx, const char *text)
{
	int *count = ctx;

	FUZZ_MUST(fuzz_is_harmless(text, strlen(text)) && !strchr(text, '\n'));
	++*count;
}

static void look(const struct qb_seg *seg, enum look how)
{
	struct qb_inspect in = { .path = "segment", .seg = *seg, .now_wall_ns = 1 };
	struct qb_check check;
	int texts = 0, findings;
	const char *text;
	size_t bytes;

	if (how == LOOK_CHECK || how == LOOK_RAW) {
		findings = qb_check_segment(seg, &check, count_text, &texts);
		FUZZ_MUST(findings == texts);
		return;
	}
	if (how == LOOK_EVENTS) {
		events(seg);
		return;
	}
	if (how == LOOK_PARTS) {
		parts(seg);
		return;
	}
	FUZZ_MUST(qb_inspect_gather(&in, 1) == 0);
	FUZZ_MUST(in.jobs_count <= seg->cfg.job_count && in.owners_count < seg->cfg.seat_count);
	if (how != LOOK_GATHER) {
		fuzz_output_begin(&printed);
		if (how == LOOK_JSON)
			FUZZ_MUST(qb_inspect_print_json(&in, printed.stream) == 0);
		else
			qb_inspect_print_text(&in, printed.stream);
		text = fuzz_output_text(&printed, &bytes);
		FUZZ_MUST(fuzz_is_harmless(text, bytes));
		FUZZ_MUST(how != LOOK_JSON || fuzz_is_json(text, bytes));
	}
	in.seg.base = NULL;     /* nothing is mapped */
	in.seg.fd = -1;
	qb_inspect_close(&in);
}

static void raw(const uint8_t *data, size_t bytes)
{
	static uint8_t *file;
	static const size_t cap = 8192 + QB_PAGE_BYTES;
	struct qb_seg seg;

	if (!file && posix_memalign((void **)&file, QB_PAGE_BYTES, cap))
		abort();
	memcpy(file, data, bytes);
	/* No segment is so small: the header must see that. */
	FUZZ_MUST(qb_seg_view(file, bytes, &seg) < 0 && seg.base == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_reader r = { data, data + bytes };
	struct patch done[PATCHES_MAX];
	size_t count = 0;
	struct qb_seg seg;

	if (!segment)
		fuzz_seeds();
	enum look how = fuzz_u8(&r) % LOOK_COUNT;

	if (how == LOOK_RAW) {
		raw(r.at, (size_t)(r.end - r.at));
		return 0;
	}
	while (count < PATCHES_MAX && patch_next(&r, segment_bytes, &done[count])) {
		memcpy(segment + done[count].off, done[count].to, done[count].bytes);
		count++;
	}
	if (qb_seg_view(segment, segment_bytes, &seg) == 0)
		look(&seg, how);
	while (count-- > 0)
		memcpy(segment + done[count].off, pristine + done[count].off, done[count].bytes);
	return 0;
}

void fuzz_seeds(void)
{
	uint8_t head[1 + sizeof(struct qb_header_shm)] = { LOOK_RAW };

	if (segment)
		return;
	pristine = fuzz_victim_segment(&segment_bytes);
	segment = fuzz_victim_segment(&segment_bytes);
	fuzz_output_open(&printed);
	patch_seeds(pristine, segment_bytes, LOOK_RAW);
	memcpy(head + 1, pristine, sizeof(head) - 1);
	fuzz_seed(head, sizeof(head));
}
