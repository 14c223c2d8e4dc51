/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one event costs its writer: the flight recorder against the least loop that stamps and
 * publishes 64 bytes, against a bare copy, and against write(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "shm/event.h"
#include "shm/seat.h"
#include "tests/bench/bench.h"
#include "tests/bench/floor.h"

/* Less than a ring, so that its readers catch up between two blocks and nothing is dropped. */
#define BLOCK 2048u
#define BLOCKS 128u
#define WRITES 4000u

struct own_log {
	uint64_t tail;
	struct floor_slot slot[FLOOR_COUNT] QB_ALIGNED(128);
};

struct ctx {
	struct own_log *own;
	struct qb_seg seg;
	struct qb_event_writer writer;
	struct qb_event_source reader[QB_READER_COUNT];
	uint64_t appended;
	uint64_t read;
	long faults;            /* minor faults inside the timed blocks */
	int fd;
	uint8_t *copy_to;
};

/* ---- baselines ---- */

static __attribute__((noinline)) void own_block(struct own_log *log, uint32_t n, int stamp)
{
	uint64_t tail = log->tail;

	for (uint32_t i = 0; i < n; i++) {
		struct floor_slot *s = &log->slot[tail & (FLOOR_COUNT - 1)];

		s->w[0] = stamp ? qb_stamp() : i;
		s->w[1] = tail;
		s->w[2] = i;
		s->w[3] = 1;
		s->w[4] = 2;
		s->w[5] = (uint64_t)i << 32 | 7;
		s->w[6] = 0x00010001;
		qb_store_release64(&s->seq, ++tail);
	}
	log->tail = tail;
}

static double own_stamped(void *p)
{
	struct ctx *c = p;
	uint64_t ns = 0;

	for (uint32_t b = 0; b < BLOCKS; b++) {
		uint64_t t0 = bench_now_ns();

		own_block(c->own, BLOCK, 1);
		ns += bench_now_ns() - t0;
	}
	return (double)ns / (BLOCK * BLOCKS);
}

static double own_unstamped(void *p)
{
	struct ctx *c = p;
	uint64_t t0 = bench_now_ns();

	for (uint32_t b = 0; b < BLOCKS; b++)
		own_block(c->own, BLOCK, 0);
	return (double)(bench_now_ns() - t0) / (BLOCK * BLOCKS);
}

static double copy_64(void *p)
{
	struct ctx *c = p;
	uint64_t from[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < BLOCK * BLOCKS; i++) {
		from[0] = i;
		memcpy(c->copy_to + (i & (FLOOR_COUNT - 1)) * 64, from, 64);
		bench_keep(c->copy_to);
	}
	return (double)(bench_now_ns() - t0) / (BLOCK * BLOCKS);
}

static double write_64(void *p)
{
	struct ctx *c = p;
	uint64_t from[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	if (ftruncate(c->fd, 0) < 0 || lseek(c->fd, 0, SEEK_SET) < 0)
		bench_die("could not empty the file for write(2): %s", strerror(errno));
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < WRITES; i++) {
		from[0] = i;
		if (write(c->fd, from, 64) != 64)
			bench_die("could not write(2) 64 bytes: %s", strerror(errno));
	}
	return (double)(bench_now_ns() - t0) / WRITES;
}

/* ---- the engine's event ring ---- */

static __attribute__((noinline)) void append_block(struct qb_event_writer *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct qb_event_shm *e = qb_event_begin(w);

		if (!e)
			continue;
		e->type = QB_EV_JOB_STARTED;
		e->job_id = i;
		e->token = w->tail;
		e->arg0 = 1;
		e->arg1 = 2;
		e->slot_idx = i;
		e->tenant = 7;
		e->kind = 1;
		e->error_class = 0;
		e->attempt = 1;
		qb_event_commit(w, e);
	}
}

/* Both readers pass what was written, so that the next block finds room. Not timed. */
static void read_all(struct ctx *c)
{
	const struct qb_event_shm *first;
	uint32_t n;

	for (int r = 0; r < QB_READER_COUNT; r++) {
		while ((n = qb_event_peek(&c->reader[r], &first, FLOOR_COUNT)) > 0) {
			c->read += n;
			qb_event_consumed(&c->reader[r], n);
		}
	}
}

static double append(void *p)
{
	struct ctx *c = p;
	uint64_t ns = 0;

	for (uint32_t b = 0; b < BLOCKS; b++) {
		long faults = bench_minor_faults();
		uint64_t t0 = bench_now_ns();

		append_block(&c->writer, BLOCK);
		ns += bench_now_ns() - t0;
		c->faults += bench_minor_faults() - faults;
		c->appended += BLOCK;
		read_all(c);
	}
	return (double)ns / (BLOCK * BLOCKS);
}

/* As a worker does at its start: attach, take a seat, populate what it will write to. */
static void sit_down(struct ctx *c, const char *path)
{
	int rc = qb_seg_attach(path, 0, &c->seg);

	if (rc < 0)
		bench_die("could not attach to %s: %s", path, qb_strerror(rc));
	int seat = qb_seat_take(&c->seg, QB_ROLE_WORKER);

	if (seat < 0)
		bench_die("could not take a seat: %s", qb_strerror(seat));
	qb_seg_populate(&c->seg, qb_seg_event_ring(&c->seg, (uint32_t)seat),
			c->seg.sec[QB_SEC_EVENTS].stride);
	qb_event_open(&c->writer, &c->seg, (uint32_t)seat, QB_OVERFLOW_WAIT);
	for (uint32_t r = 0; r < QB_READER_COUNT; r++)
		qb_event_source_open(&c->reader[r], &c->seg, (uint32_t)seat, r);
	c->appended = c->read = 0;
	c->faults = 0;
}

static void create(const char *path)
{
	struct qb_config_shm cfg;
	struct qb_seg seg;
	int rc;

	qb_config_default(&cfg);
	cfg.seat_count = 8;
	cfg.job_count = 1024;
	cfg.ring_count = 2048;
	cfg.block_count = 1024;
	rc = qb_seg_create(path, &cfg, NULL, &seg);
	if (rc < 0)
		bench_die("could not create a segment in %s: %s", path, qb_strerror(rc));
	qb_seg_detach(&seg);
}

static void rows_for_file(struct bench *b, struct ctx *c, const char *dir, const char *where)
{
	char *path = NULL, name[64], versus[64];

	if (asprintf(&path, "%s/qbench-bench-%ld.seg", dir, (long)getpid()) < 0)
		bench_die("out of memory");
	create(path);
	sit_down(c, path);
	unlink(path);
	snprintf(name, sizeof(name), "event log in a file, %s", where);
	bench_run(b, &(struct bench_case){
		  .name = name, .unit = "ns", .measured = append,
		  .baseline = "own ring, rdtsc", .base = own_stamped,
		  .kind = BENCH_RATIO_AT_MOST, .target = 1.6 }, c);
	snprintf(versus, sizeof(versus), "event log, %s, against write(2)", where);
	bench_run(b, &(struct bench_case){
		  .name = versus, .unit = "ns", .measured = append,
		  .baseline = "write(2) of 64 B", .base = write_64,
		  .kind = BENCH_RATIO_AT_MOST, .target = 1.0 / 80 }, c);
	if (c->appended) {
		bench_check(b, c->faults == 0, "no page fault in %llu appends, %s (%ld seen)",
			    (unsigned long long)c->appended, where, c->faults);
		bench_check(b, c->read == QB_READER_COUNT * c->appended,
			    "each reader saw each event, %s", where);
	}
	qb_seg_detach(&c->seg);
	free(path);
}

static const struct bench_case rows[] = {
	{ .name = "append an event, stamped", .unit = "ns", .measured = append,
	  .baseline = "own ring, rdtsc", .base = own_stamped,
	  .kind = BENCH_RATIO_AT_MOST, .target = 1.5 },
	{ .name = "append an event, stamped (against a copy)", .unit = "ns", .measured = append,
	  .baseline = "memcpy of 64 B", .base = copy_64 },
	{ .name = "of that the stamp: own ring with and without", .unit = "ns",
	  .measured = own_stamped, .baseline = "own ring, no stamp", .base = own_unstamped },
	/* What any recorder of stamped records could reach against write(2) on this machine. */
	{ .name = "own ring with a stamp, against write(2)", .unit = "ns", .measured = own_stamped,
	  .baseline = "write(2) of 64 B", .base = write_64 },
};

int main(int argc, char **argv)
{
	static struct ctx c;
	struct bench b;
	const char *tmp = getenv("TMPDIR");
	char path[4096];

	bench_begin(&b, argc, argv, "recording one event of 64 bytes");
	qb_clock_mode_now = qb_clock_best_mode();
	if (qb_clock_mode_now != QB_CLOCK_TSC)
		bench_note("no constant TSC here: stamps are clock_gettime(), on both sides");
	tmp = tmp && *tmp ? tmp : "/var/tmp";
	snprintf(path, sizeof(path), "%s/qbench-bench-XXXXXX", tmp);
	c.fd = mkstemp(path);
	if (c.fd < 0)
		bench_die("could not create %s: %s; set TMPDIR to a directory on a disk", path,
			  strerror(errno));
	unlink(path);
	c.own = bench_shared(sizeof(*c.own));
	c.copy_to = bench_shared(FLOOR_COUNT * 64);

	create("/dev/shm/qbench-bench-event.seg");
	sit_down(&c, "/dev/shm/qbench-bench-event.seg");
	unlink("/dev/shm/qbench-bench-event.seg");
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	qb_seg_detach(&c.seg);
	rows_for_file(&b, &c, "/dev/shm", "/dev/shm");
	rows_for_file(&b, &c, tmp, "disk");
	return bench_end(&b);
}
