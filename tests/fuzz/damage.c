/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every single bit of a small segment and of a small record flipped, and both cut at every byte. Nobody
 * dies, and nobody is told what did not happen:
 *
 *	segment	A flip is refused, which only its header can bring about; or what inspect says of a job
 *		(state, attempt, failures, seat) is what was said of the whole one, unless the bit is in
 *		that job's own word; its number, unless it is in the job's own number. The totals are those
 *		of the list. A flip in the payload of a job that is not over, in a result or in what leads
 *		to one of them is a finding.
 *	record	A flip is noticed; the events that are left are all events of the whole record, each
 *		once, and no job is completed that was not.
 *	cuts	A segment that is shorter than it was is refused. A record gives the whole blocks in front
 *		of the cut.
 *
 *	damage segment|record|cuts [FIRST BITS]
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/strbuf.h"
#include "cli/inspect.h"
#include "record/load.h"
#include "report/report.h"
#include "shm/job.h"
#include "tests/crash/tap.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/victim.h"

#define WORKERS 2
/* A flip of the segment is printed, not only gathered, once in so many. */
#define PRINT_EVERY 61

struct tally {
	uint64_t tried, refused, noticed, harmless;
	uint64_t now;           /* the bit, or the byte, that is being tried */
};
/* What a flip there must lead to. */
enum guard {
	GUARD_NONE,
	GUARD_FINDING,
	GUARD_PAYLOAD,          /* a finding, unless every payload is still read as it was */
};

static struct tally *tallies;   /* shared, one per worker */

static uint8_t *segment;
static size_t segment_bytes;
static struct qb_seg whole;
static struct qb_inspect_job *whole_jobs;       /* by slot; word 0: none */
static uint8_t *guarded;                        /* per byte: enum guard */
static uint8_t *payloads;                       /* of the whole one, by slot */
#define PAYLOAD_BYTES 512
static struct fuzz_output printed;

/* ---- segment ---- */

static void by_slot(const struct qb_inspect *in, struct qb_inspect_job *jobs)
{
	memset(jobs, 0, whole.cfg.job_count * sizeof(*jobs));
	for (uint32_t i = 0; i < in->jobs_count; i++)
		jobs[in->jobs[i].slot_idx] = in->jobs[i];
}

static void close_view(struct qb_inspect *in)
{
	in->seg.base = NULL;
	in->seg.fd = -1;
	qb_inspect_close(in);
}

static void guard(const void *from, size_t bytes, enum guard how)
{
	size_t off = (size_t)((const uint8_t *)from - whole.base);

	FUZZ_MUST(off + bytes <= segment_bytes);
	memset(guarded + off, (int)how, bytes);
}

static void guard_payload(const struct qb_job_shm *job)
{
	uint32_t left = job->payload_bytes, idx = job->block_first;

	guard(&job->payload_bytes, 4, GUARD_FINDING);
	guard(&job->payload_crc, 4, GUARD_FINDING);
	guard(&job->block_first, 4, GUARD_FINDING);
	while (left > 0) {
		struct qb_block_shm *b = qb_seg_block(&whole, idx);
		uint32_t n = left < whole.block_data_bytes ? left : whole.block_data_bytes;

		FUZZ_MUST(b);
		guard(&b->tag, 8, GUARD_FINDING);
		guard(qb_block_data(b), n, GUARD_FINDING);
		left -= n;
		if (left > 0)
			guard(&b->next, 4, GUARD_PAYLOAD);
		idx = qb_load_relaxed32(&b->next);
	}
}

static void guard_job(const struct qb_job_shm *job)
{
	uint64_t word = qb_load_relaxed64(&job->word);
	uint32_t state = qb_word_state(word);

	if (state == QB_JOB_FREE || state == QB_JOB_FILLING)
		return;
	if (state != QB_JOB_SYNCED && job->payload_bytes > 0)
		guard_payload(job);
	if (state != QB_JOB_DONE || job->result_bytes == 0)
		return;
	const uint8_t *entry = (const uint8_t *)(qb_seg_arena(&whole, qb_word_seat(word)) + 1) +
			       (job->result_pos & (whole.cfg.arena_bytes - 1));

	/* Of the token generation and attempt count; what is behind them says who held it. */
	guard(entry + 3, 5, GUARD_FINDING);
	guard(entry + 8, 12, GUARD_FINDING);
	guard(entry + sizeof(struct qb_arena_entry_shm), job->result_bytes, GUARD_FINDING);
	guard(&job->result_crc, 4, GUARD_FINDING);
}

static void remember_whole(void)
{
	struct qb_inspect in = { .path = "whole", .now_wall_ns = 1 };

	segment = fuzz_victim_segment(&segment_bytes);
	FUZZ_MUST(qb_seg_view(segment, segment_bytes, &whole) == 0);
	in.seg = whole;
	FUZZ_MUST(qb_inspect_gather(&in, 1) == 0 && in.findings_count == 0);
	whole_jobs = qb_xcalloc(whole.cfg.job_count, sizeof(*whole_jobs));
	by_slot(&in, whole_jobs);
	close_view(&in);
	guarded = qb_xcalloc(segment_bytes, 1);
	payloads = qb_xcalloc(whole.cfg.job_count, PAYLOAD_BYTES);
	for (uint32_t i = 0; i < whole.cfg.job_count; i++) {
		guard_job(&whole.jobs[i]);
		qb_job_payload(&whole, i, qb_word_gen(qb_load_relaxed64(&whole.jobs[i].word)),
			       payloads + (size_t)i * PAYLOAD_BYTES, PAYLOAD_BYTES);
	}
}

/* One chain may lead astray and still to the same bytes: a block of zeros is like another. */
static int same_payloads(void)
{
	static uint8_t payload[QB_PAYLOAD_BYTES_MAX];

	for (uint32_t i = 0; i < whole.cfg.job_count; i++) {
		uint64_t word = qb_load_relaxed64(&whole.jobs[i].word);
		uint32_t state = qb_word_state(word), bytes = whole.jobs[i].payload_bytes;

		if (state == QB_JOB_FREE || state == QB_JOB_FILLING || state == QB_JOB_SYNCED || bytes == 0)
			continue;
		if (qb_job_payload(&whole, i, qb_word_gen(word), payload, sizeof(payload)) != (int)bytes ||
		    memcmp(payload, payloads + (size_t)i * PAYLOAD_BYTES, bytes) != 0)
			return 0;
	}
	return 1;
}

static void print_both(struct qb_inspect *in)
{
	const char *text;
	size_t bytes;

	fuzz_output_begin(&printed);
	qb_inspect_print_text(in, printed.stream);
	text = fuzz_output_text(&printed, &bytes);
	FUZZ_MUST(fuzz_is_harmless(text, bytes));
	fuzz_output_begin(&printed);
	FUZZ_MUST(qb_inspect_print_json(in, printed.stream) == 0);
	text = fuzz_output_text(&printed, &bytes);
	FUZZ_MUST(fuzz_is_json(text, bytes));
}

/* What the list says against the totals, of which it is the detail. */
static void compare_totals(const struct qb_inspect *in)
{
	uint32_t listed[QB_JOB_STATE_COUNT] = { 0 };

	for (uint32_t i = 0; i < in->jobs_count; i++)
		listed[qb_word_state(in->jobs[i].word)]++;
	for (uint32_t s = QB_JOB_FREE + 1; s < QB_JOB_STATE_COUNT; s++) {
		/* A seat that cannot be is a bad word to the check, and still listed. */
		uint32_t sum = in->check.by_state[s] + in->check.bad_words;

		FUZZ_MUST(listed[s] >= in->check.by_state[s] && listed[s] <= sum);
	}
}

/* byte is that of the flip. */
static void compare_jobs(const struct qb_inspect *in, size_t byte)
{
	static struct qb_inspect_job *now;

	if (!now)
		now = qb_xcalloc(whole.cfg.job_count, sizeof(*now));
	by_slot(in, now);
	for (uint32_t i = 0; i < whole.cfg.job_count; i++) {
		size_t job = (size_t)((uint8_t *)&whole.jobs[i] - whole.base);
		const struct qb_inspect_job *a = &whole_jobs[i], *b = &now[i];

		if (byte >= job && byte < job + sizeof(whole.jobs[i].word))
			continue;
		FUZZ_MUST(a->word == b->word);
		FUZZ_MUST(a->job_id == b->job_id ||
			  (byte >= job + offsetof(struct qb_job_shm, job_id) &&
			   byte < job + offsetof(struct qb_job_shm, job_id) + 8));
	}
	compare_totals(in);
}

static void one_flip(uint64_t bit, struct tally *t)
{
	struct qb_inspect in = { .path = "flipped", .now_wall_ns = 1 };
	size_t byte = bit / 8;

	segment[byte] ^= (uint8_t)(1u << bit % 8);
	if (qb_seg_view(segment, segment_bytes, &in.seg) < 0) {
		FUZZ_MUST(byte < sizeof(struct qb_header_shm));
		t->refused++;
	} else {
		FUZZ_MUST(qb_inspect_gather(&in, 1) == 0);
		compare_jobs(&in, byte);
		FUZZ_MUST(guarded[byte] != GUARD_FINDING || in.findings_count > 0);
		FUZZ_MUST(guarded[byte] != GUARD_PAYLOAD || in.findings_count > 0 || same_payloads());
		if (in.findings_count)
			t->noticed++;
		else
			t->harmless++;
		if (bit % PRINT_EVERY == 0)
			print_both(&in);
		close_view(&in);
	}
	segment[byte] ^= (uint8_t)(1u << bit % 8);
}

/* ---- record ---- */

static uint8_t *record;
static size_t record_bytes;
static int record_fd;
static const char *record_path;
static struct qb_trace whole_trace, trace;
static uint64_t whole_completed;

static void write_record(const void *data, size_t bytes)
{
	fuzz_write_at(record_fd, data, bytes, 0);
	FUZZ_MUST(ftruncate(record_fd, (off_t)bytes) == 0);
}

static uint64_t completed(void)
{
	struct qb_report_run run;
	struct qb_err err = { 0 };
	uint64_t n = 0;

	if (qb_report_from_record(record_path, &run, &err) < 0)
		return 0;
	n = run.summary.completed;
	qb_report_run_free(&run);
	return n;
}

static void remember_record(void)
{
	struct qb_err err = { 0 };

	record = fuzz_victim_record(4, &record_bytes);
	record_path = fuzz_temp_file(&record_fd);
	write_record(record, record_bytes);
	FUZZ_MUST(qb_trace_load(record_path, &whole_trace, &err) == 0);
	FUZZ_MUST(whole_trace.events_count > 20 && whole_trace.ended);
	whole_completed = completed();
	FUZZ_MUST(whole_completed > 0);
}

/* Each event that is there is one of the whole record, and none is there twice. */
static void compare_events(void)
{
	uint8_t taken[4096] = { 0 };

	FUZZ_MUST(whole_trace.events_count <= sizeof(taken) && trace.events_count <= whole_trace.events_count);
	for (size_t i = 0; i < trace.events_count; i++) {
		size_t k = 0;

		while (k < whole_trace.events_count &&
		       (taken[k] || memcmp(&trace.events[i].ev, &whole_trace.events[k].ev, sizeof(trace.events[i].ev))))
			k++;
		FUZZ_MUST(k < whole_trace.events_count);
		taken[k] = 1;
	}
}

static void one_record_flip(uint64_t bit, struct tally *t)
{
	uint8_t byte = record[bit / 8] ^ (uint8_t)(1u << bit % 8);
	struct qb_err err = { 0 };

	fuzz_write_at(record_fd, &byte, 1, bit / 8);
	if (qb_trace_load(record_path, &trace, &err) < 0) {
		t->refused++;
	} else {
		const struct qb_trace_damage *d = &trace.damage;

		compare_events();
		FUZZ_MUST(d->skipped_bytes + d->tail_bytes > 0);
		t->noticed++;
		qb_trace_free(&trace);
		FUZZ_MUST(completed() <= whole_completed);
	}
	fuzz_write_at(record_fd, &record[bit / 8], 1, bit / 8);
}

/* ---- cuts ---- */

static void one_cut(uint64_t bytes, struct tally *t)
{
	struct qb_err err = { 0 };
	struct qb_seg seg;
	uint64_t whole_blocks = 0;

	/* The segment's memory stays as it is: only how much of it there is changes. */
	if (bytes < segment_bytes) {
		FUZZ_MUST(qb_seg_view(segment, bytes, &seg) == QB_ETOOSHORT);
		t->refused++;
	}
	if (bytes >= record_bytes)
		return;
	FUZZ_MUST(ftruncate(record_fd, 0) == 0);
	write_record(record, bytes);
	int rc = qb_trace_load(record_path, &trace, &err);

	/* Empty, or not even a beginning. */
	FUZZ_MUST(rc == 0 || bytes < 16);
	if (rc < 0) {
		t->refused++;
		return;
	}
	compare_events();
	whole_blocks = bytes - trace.damage.tail_bytes;
	FUZZ_MUST(trace.damage.skipped_count == 0 && whole_blocks <= bytes);
	if (trace.damage.tail_bytes)
		t->noticed++;
	else
		t->harmless++;
	qb_trace_free(&trace);
}

/* ---- all of it, on two processors ---- */

struct part {
	const char *name, *title, *unit;
	void (*one)(uint64_t n, struct tally *t);
	uint64_t count;
};

static void run_worker(const struct part *p, unsigned worker, uint64_t first, uint64_t end)
{
	struct tally *t = &tallies[worker];

	fuzz_output_open(&printed);
	if (strcmp(p->name, "segment") != 0)
		remember_record();
	for (uint64_t n = first + worker; n < end; n += WORKERS) {
		__atomic_store_n(&t->now, n, __ATOMIC_RELAXED);
		p->one(n, t);
		t->tried++;
	}
	exit(0);
}

static int reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 0;
	if (WIFSIGNALED(status))
		tap_note("killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void run(const struct part *p, uint64_t first, uint64_t count)
{
	uint64_t end = count && first + count < p->count ? first + count : p->count;
	struct tally sum = { 0 };
	pid_t pids[WORKERS];
	int good = 1;

	memset(tallies, 0, WORKERS * sizeof(*tallies));
	fflush(stdout);
	for (unsigned w = 0; w < WORKERS; w++) {
		pids[w] = fork();
		if (pids[w] == 0)
			run_worker(p, w, first, end);
	}
	for (unsigned w = 0; w < WORKERS; w++) {
		if (!reap(pids[w])) {
			good = 0;
			tap_note("%s %llu (byte %llu); again: damage %s %llu 1", p->unit,
				 (unsigned long long)tallies[w].now,
				 (unsigned long long)tallies[w].now / (strcmp(p->unit, "bit") ? 1 : 8), p->name,
				 (unsigned long long)tallies[w].now);
		}
		sum.tried += tallies[w].tried;
		sum.refused += tallies[w].refused;
		sum.noticed += tallies[w].noticed;
		sum.harmless += tallies[w].harmless;
	}
	tap_note("figures: hostile_inputs=%llu crashes=%d refused=%llu noticed=%llu harmless=%llu target=damage-%s",
		 (unsigned long long)sum.tried, !good, (unsigned long long)sum.refused,
		 (unsigned long long)sum.noticed, (unsigned long long)sum.harmless, p->name);
	tap_ok(good && sum.tried == end - first, "%s", p->title);
}

static uint64_t number(const char *text)
{
	uint64_t v = 0;

	if (qb_parse_u64(text, &v) < 0) {
		fprintf(stderr, "damage: \"%s\" is not a number\n", text);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	tallies = mmap(NULL, WORKERS * sizeof(*tallies), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FUZZ_MUST(tallies != MAP_FAILED);
	remember_whole();
	free(fuzz_victim_record(4, &record_bytes));
	const struct part parts[] = {
		{ "segment", "a flipped bit of a segment invents nothing", "bit", one_flip, 8 * segment_bytes },
		{ "record", "a flipped bit of a record is noticed", "bit", one_record_flip, 8 * record_bytes },
		{ "cuts", "a cut segment is refused, of a cut record the whole blocks are read", "byte", one_cut,
		  segment_bytes + 1 },
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (argc > 1 && strcmp(argv[1], parts[i].name) != 0)
			continue;
		run(&parts[i], argc > 2 ? number(argv[2]) : 0, argc > 3 ? number(argv[3]) : 0);
	}
	return tap_done();
}
