/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode-events on a large record: JSON lines for each second of processor time, the whole program
 * from fork to exit, against a loop that prints lines of the same shape with snprintf().
 * Processor time, because its target is an absolute figure and other programs may be running.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/lib/run-maker.h"

#define JOBS 100000u
#define OUT_BYTES (64 * 1024)

static char record_path[4096];

struct ctx {
	const char *tool;               /* decode-events */
	const char *record;
	uint64_t lines;                 /* that the tool prints for the record */
	uint64_t bytes;
	int null_fd;
	char out[OUT_BYTES + 1024];
};

/* Runs the tool with its output in fd; ends the bench unless it succeeds. */
static pid_t start_tool(struct ctx *c, int fd)
{
	pid_t pid = fork();

	if (pid < 0)
		bench_die("could not fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	if (dup2(fd, STDOUT_FILENO) < 0)
		_exit(126);
	execl(c->tool, c->tool, c->record, (char *)NULL);
	fprintf(stderr, "bench: could not run %s: %s; build it, or set DECODE_EVENTS\n", c->tool,
		strerror(errno));
	_exit(127);
}

static double cpu_us(const struct rusage *r)
{
	return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1e6 +
	       (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec);
}

/* Microseconds of processor time that it used. */
static double end_tool(struct ctx *c, pid_t pid)
{
	struct rusage used;
	int status;

	if (wait4(pid, &status, 0, &used) != pid || status != 0)
		bench_die("%s failed on a record of the bench (wait status %d)", c->tool, status);
	return cpu_us(&used);
}

static double decode(void *p)
{
	struct ctx *c = p;

	return (double)c->lines / end_tool(c, start_tool(c, c->null_fd));
}

static void flush_to_null(struct ctx *c, size_t bytes)
{
	if (write(c->null_fd, c->out, bytes) != (ssize_t)bytes)
		bench_die("could not write to /dev/null: %s", strerror(errno));
}

/* The same line each time but for what differs from event to event. */
static double print_lines(void *p)
{
	struct rusage before, after;
	struct ctx *c = p;
	size_t used = 0;

	getrusage(RUSAGE_SELF, &before);

	for (uint64_t i = 0; i < c->lines; i++) {
		uint64_t ns = QB_MAKER_WALL0 + i * 1000;
		int n = snprintf(c->out + used, 1024,
			"{\"run_id\":\"%s\",\"timestamp\":\"2025-11-24T16:%02u:%02u.%09uZ\","
			"\"kind\":\"%s\",\"fields\":{\"attempt\":%u,\"completed_at_ns\":%llu,"
			"\"duration_ms\":%u,\"job_id\":\"shm:%llu\",\"kind\":\"%s\","
			"\"tenant_id\":\"0fa2b7c6-3d0e-4f51-9f7a-6a0d2c9e%04x\"}}\n",
			"shm-crash_recovery-1764000000", (unsigned)(ns / 60000000000ull % 60),
			(unsigned)(ns / 1000000000ull % 60), (unsigned)(ns % 1000000000ull),
			"job_completed",
			(unsigned)(i % 3 + 1), (unsigned long long)ns, (unsigned)(i % 7),
			(unsigned long long)i, "entity_update", (unsigned)(i % 5));

		used += (size_t)n;
		if (used >= OUT_BYTES) {
			flush_to_null(c, used);
			used = 0;
		}
	}
	flush_to_null(c, used);
	getrusage(RUSAGE_SELF, &after);
	return (double)c->lines / (cpu_us(&after) - cpu_us(&before));
}

/* How many lines there are, and whether each looks like one. */
static uint64_t count_lines(struct ctx *c, uint64_t *odd)
{
	int fd[2], at_start = 1;
	ssize_t n;

	if (pipe2(fd, O_CLOEXEC) < 0)
		bench_die("could not make a pipe: %s", strerror(errno));
	pid_t pid = start_tool(c, fd[1]);

	close(fd[1]);
	while ((n = read(fd[0], c->out, OUT_BYTES)) > 0) {
		c->bytes += (uint64_t)n;
		for (ssize_t i = 0; i < n; i++) {
			*odd += at_start && c->out[i] != '{';
			at_start = c->out[i] == '\n';
			c->lines += (uint64_t)at_start;
		}
	}
	close(fd[0]);
	end_tool(c, pid);
	*odd += !at_start;
	return c->lines;
}

static uint64_t make_record(struct ctx *c)
{
	struct qb_maker_settings set;
	struct qb_err err = { 0 };
	struct qb_maker maker;
	uint64_t outcomes;

	qb_maker_defaults(&set);
	set.jobs = JOBS;
	qb_maker_run(&maker, &set);
	if (qb_maker_write_record(&maker, c->record, 10000000, 1, &err) < 0)
		bench_die("%s", err.text);
	outcomes = maker.enqueued + maker.completed + maker.failed + maker.discarded;
	qb_maker_free(&maker);
	return outcomes;
}

static void remove_record(void)
{
	unlink(record_path);
}

static const struct bench_case row = {
	.name = "decode-events, whole program", .unit = "M/s", .measured = decode,
	.baseline = "snprintf loop, same lines", .base = print_lines,
	.kind = BENCH_VALUE_AT_LEAST, .target = 3,
};

int main(int argc, char **argv)
{
	static struct ctx c;
	const char *tmp = getenv("TMPDIR");
	struct bench b;
	uint64_t odd = 0;

	bench_begin(&b, argc, argv, "decode-events, a record of 100000 jobs");
	c.tool = getenv("DECODE_EVENTS");
	if (!c.tool)
		c.tool = "./decode-events";
	if (access(c.tool, X_OK) < 0)
		bench_die("%s: %s; build it, or set DECODE_EVENTS", c.tool, strerror(errno));
	c.null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	snprintf(record_path, sizeof(record_path), "%s/qbench-bench-%ld.qbr",
		 tmp && *tmp ? tmp : "/tmp", (long)getpid());
	c.record = record_path;
	atexit(remove_record);
	uint64_t outcomes = make_record(&c);

	count_lines(&c, &odd);
	bench_run(&b, &row, &c);
	bench_note("%llu lines of %.0f bytes: multiply by that for MB/s",
		   (unsigned long long)c.lines, (double)c.bytes / (double)c.lines);
	bench_check(&b, c.lines >= outcomes + JOBS && odd == 0,
		    "each of %llu lines is an object, none is missing",
		    (unsigned long long)c.lines);
	return bench_end(&b);
}
