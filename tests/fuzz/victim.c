/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/victim.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "record/ends.h"
#include "record/writer.h"
#include "shm/event.h"
#include "tests/lib/run-maker.h"
#include "tests/lib/segment-maker.h"

/* Any seat, job or block index that a word can name, taken without a look, ends there or is far off. */
#define GUARD_BYTES (64u << 20)
#define MADE_NS 1764000000000000000ull

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "victim: %s failed\n", what);
	exit(1);
}

static void fix_triple(struct qb_triple_shm *t, uint64_t ns)
{
	t->raw.v = t->mono_ns.v = ns;
	t->wall_ns.v = MADE_NS + ns;
}

/* Stamps become small numbers in the order of their place. */
static void fix(struct qb_seg *seg)
{
	struct qb_header_shm *h = seg->hdr;
	uint64_t ns = 1000;

	h->clock_mode = QB_CLOCK_MONOTONIC;
	/* Of another boot: nobody is asked whether its processes live. */
	h->boot_id = 1;
	h->creator_pid = 100;
	h->creator_start_ticks = 1;
	h->created_wall_ns = MADE_NS;
	h->creator_uid = 0;
	fix_triple(&h->clock_first, 0);
	fix_triple(&h->clock_last[0], 1000000);
	fix_triple(&h->clock_last[1], 1000000);
	h->mark_commit_wall_ns.v = MADE_NS;
	if (h->next_due_ns.v != UINT64_MAX)
		h->next_due_ns.v = 2000000;
	for (uint32_t i = 0; i < seg->cfg.job_count; i++) {
		struct qb_job_shm *job = &seg->jobs[i];

		if (job->due_ns.v)
			job->due_ns.v = 2000000;
		if (job->submitted_raw)
			job->submitted_raw = ns++;
	}
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		struct qb_event_shm *e = qb_event_records(qb_seg_event_ring(seg, seat));
		struct qb_seat_shm *s = &seg->seats[seat];

		if (s->name.v)
			s->name.v = qb_seat_name_of((uint32_t)(s->name.v >> 32), 100 + seat);
		if (s->birth.v)
			s->birth.v = s->birth.v >> 40 << 40 | 1;
		if (s->ready_raw.v)
			s->ready_raw.v = ns++;
		for (uint32_t i = 0; i < seg->cfg.event_count; i++, e++) {
			if (e->raw)
				e->raw = ns++;
		}
	}
}

uint8_t *fuzz_victim_segment(size_t *bytes)
{
	struct qb_seg *seg = qb_segment_make(NULL, NULL);
	uint8_t *copy;

	fix(seg);
	*bytes = seg->bytes;
	copy = mmap(NULL, *bytes + GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(copy != MAP_FAILED && mprotect(copy + *bytes, GUARD_BYTES, PROT_NONE) == 0, "mmap");
	memcpy(copy, seg->base, *bytes);
	qb_seg_detach(seg);
	return copy;
}

/* All completed: what the account makes of it does not matter here. */
static int write_ends(const char *path, uint32_t jobs, struct qb_err *err)
{
	struct qb_ends ends = { .jobs_count = jobs, .effects_count = jobs, .watch_end_ns = 1u << 30,
				.reports_ambiguity = 1 };
	struct qb_record_writer *w;
	int rc = qb_record_create(path, &w, err);

	if (rc < 0)
		return rc;
	ends.jobs = qb_xcalloc(jobs + 1, sizeof(*ends.jobs));
	for (uint32_t i = 0; i < jobs; i++)
		ends.jobs[i] = (struct qb_job_end){ .job_id = i + 1, .outcome = QB_OUTCOME_COMPLETED };
	rc = qb_record_ends(w, &ends, err);
	free(ends.jobs);
	qb_record_close(w, err);
	return rc;
}

static void append_file(struct qb_strbuf *to, const char *path)
{
	struct qb_err err = { 0 };
	char *text;
	size_t bytes;

	must(qb_read_file(path, 1u << 24, &text, &bytes, &err) == 0, err.text);
	qb_strbuf_add_bytes(to, text, bytes);
	free(text);
	unlink(path);
}

uint8_t *fuzz_victim_record(uint32_t jobs, size_t *bytes)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = qb_xasprintf("%s/qb-victim-XXXXXX", tmp ? tmp : "/tmp"), *path;
	struct qb_maker_settings set;
	struct qb_strbuf all = { 0 };
	struct qb_err err = { 0 };
	struct qb_maker m;

	must(mkdtemp(dir) != NULL, "mkdtemp");
	path = qb_xasprintf("%s/r", dir);
	qb_maker_defaults(&set);
	set.jobs = jobs;
	set.workers = 2;
	set.kills = 1;
	qb_maker_run(&m, &set);
	must(qb_maker_write_record(&m, path, 1000000000, 1, &err) == 0, err.text);
	append_file(&all, path);
	must(write_ends(path, jobs, &err) == 0, err.text);
	append_file(&all, path);
	qb_maker_free(&m);
	rmdir(dir);
	free(path);
	free(dir);
	*bytes = all.bytes;
	return (uint8_t *)all.data;
}

static char *temp_path;
static pid_t temp_owner;

static void remove_temp(void)
{
	/* The driver's child ends by exit() as well, and its parent may still need it. */
	if (getpid() == temp_owner)
		unlink(temp_path);
}

const char *fuzz_temp_file(int *fd)
{
	const char *tmp = getenv("TMPDIR");

	temp_path = qb_xasprintf("%s/qb-fuzz-XXXXXX", tmp ? tmp : "/tmp");
	*fd = mkostemp(temp_path, O_CLOEXEC);
	must(*fd >= 0 && fchmod(*fd, 0600) == 0, "mkostemp");
	temp_owner = getpid();
	atexit(remove_temp);
	return temp_path;
}

void fuzz_write_at(int fd, const void *data, size_t bytes, uint64_t off)
{
	const uint8_t *from = data;

	while (bytes > 0) {
		ssize_t n = pwrite(fd, from, bytes, (off_t)off);

		must(n > 0, "pwrite");
		from += n;
		off += (uint64_t)n;
		bytes -= (size_t)n;
	}
}
