/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static cpu_set_t allowed;

#define PEER_TIMEOUT_NS 60000000000ull
#define ROW "%-44s %-7s %10s %10s  %-30s %10s %9s %9s  %s\n"

void bench_yield(void)
{
	sched_yield();
}

void bench_die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	fputs("bench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

void bench_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("# ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	fflush(stdout);
}

uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		bench_die("could not pin to processor %d: %s", cpu, strerror(errno));
}

void bench_unpin(void)
{
	if (sched_setaffinity(0, sizeof(allowed), &allowed) < 0)
		bench_die("could not leave the processor: %s", strerror(errno));
}

long bench_minor_faults(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_minflt;
}

void bench_populate(void *p, size_t bytes)
{
	volatile uint8_t *at = p;
	uint8_t sink = 0;

	madvise(p, bytes, MADV_POPULATE_WRITE);
	for (size_t i = 0; i < bytes; i += 4096)
		sink = (uint8_t)(sink + at[i]);
	bench_keep(sink);
}

void *bench_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		bench_die("could not map %zu bytes: %s", bytes, strerror(errno));
	memset(p, 0, bytes);
	return p;
}

/* ---- statistics and rows ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Three or four significant digits: a table holds ns and events a second side by side. */
static const char *figure(char *buf, size_t cap, double v)
{
	int digits = v >= 1000 ? 0 : v >= 100 ? 1 : v >= 1 ? 2 : v >= 0.1 ? 3 : 5;

	snprintf(buf, cap, "%.*f", digits, v);
	return buf;
}

int bench_wanted(const struct bench *b, const char *name)
{
	return !b->only || strstr(name, b->only) != NULL;
}

static int target_met(const struct bench_case *c, double value, double ratio)
{
	switch (c->kind) {
	case BENCH_RATIO_AT_MOST:
		return ratio <= c->target;
	case BENCH_RATIO_AT_LEAST:
		return ratio >= c->target;
	case BENCH_VALUE_AT_MOST:
		return value <= c->target;
	case BENCH_VALUE_AT_LEAST:
		return value >= c->target;
	default:
		return 1;
	}
}

static void print_row(struct bench *b, const struct bench_case *c, double *value, double *base,
		      double *ratio, unsigned n)
{
	char text[5][32], target[40] = "-";
	double median = bench_median(value, n), r = c->base ? bench_median(ratio, n) : 0;
	int met = target_met(c, median, r);
	int at_most = c->kind == BENCH_RATIO_AT_MOST || c->kind == BENCH_VALUE_AT_MOST;
	int absolute = c->kind == BENCH_VALUE_AT_MOST || c->kind == BENCH_VALUE_AT_LEAST;

	if (c->kind != BENCH_NO_TARGET) {
		snprintf(target, sizeof(target), "%s%s%s%s", at_most ? "<=" : ">=",
			 figure(text[0], sizeof(text[0]), c->target), absolute ? " " : "",
			 absolute ? c->unit : "");
		b->missed += !met;
	}
	printf(ROW, c->name, c->unit, figure(text[1], sizeof(text[1]), value[0]),
	       figure(text[2], sizeof(text[2]), median), c->base ? c->baseline : "-",
	       c->base ? figure(text[3], sizeof(text[3]), bench_median(base, n)) : "-",
	       c->base ? figure(text[4], sizeof(text[4]), r) : "-", target,
	       c->kind == BENCH_NO_TARGET ? "-" : met ? "met" : "MISSED");
	fflush(stdout);
}

void bench_run(struct bench *b, const struct bench_case *c, void *ctx)
{
	double value[BENCH_REPS_MAX], base[BENCH_REPS_MAX], ratio[BENCH_REPS_MAX];
	unsigned n = c->reps && c->reps > b->reps ? c->reps : b->reps;

	if (!bench_wanted(b, c->name))
		return;
	/* Once for nothing: caches, page tables, branch predictors. */
	c->measured(ctx);
	if (c->base)
		c->base(ctx);
	for (unsigned i = 0; i < n; i++) {
		if (!(i & 1)) {
			base[i] = c->base ? c->base(ctx) : 1;
			value[i] = c->measured(ctx);
		} else {
			value[i] = c->measured(ctx);
			base[i] = c->base ? c->base(ctx) : 1;
		}
		ratio[i] = value[i] / base[i];
	}
	print_row(b, c, value, base, ratio, n);
}

void bench_run_all(struct bench *b, const struct bench_case *c, unsigned count, void *ctx)
{
	for (unsigned i = 0; i < count; i++)
		bench_run(b, &c[i], ctx);
}

void bench_check(struct bench *b, int holds, const char *fmt, ...)
{
	char text[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("check: %s: %s\n", text, holds ? "holds" : "FAILED");
	fflush(stdout);
	b->failed += !holds;
}

/* ---- start and end ---- */

static void find_processors(struct bench *b)
{
	int found = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		bench_die("could not read the processor mask: %s", strerror(errno));
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++) {
		if (CPU_ISSET(i, &allowed))
			b->cpu[found++] = i;
	}
	if (found == 1)
		b->cpu[1] = b->cpu[0];
}

/* Share of the machine that was busy during 100 ms in which this process slept. */
static double busy_share(void)
{
	const struct timespec nap = { 0, 100000000 };
	unsigned long long v[2][8];

	for (int k = 0; k < 2; k++) {
		FILE *f = fopen("/proc/stat", "re");

		memset(v[k], 0, sizeof(v[k]));
		if (!f)
			return 0;
		if (fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[k][0], &v[k][1],
			   &v[k][2], &v[k][3], &v[k][4], &v[k][5], &v[k][6], &v[k][7]) < 5)
			v[k][3] = 1;
		fclose(f);
		if (k == 0)
			nanosleep(&nap, NULL);
	}
	double all = 0, idle = (double)(v[1][3] - v[0][3]) + (double)(v[1][4] - v[0][4]);

	for (int i = 0; i < 8; i++)
		all += (double)(v[1][i] - v[0][i]);
	return all > 0 ? 1 - idle / all : 0;
}

static void note_quiet(void)
{
	double busy = busy_share();

	if (busy > 0.1)
		bench_note("other programs keep %.0f %% of the processors busy: trust the ratios, "
			   "not the times", 100 * busy);
}

static void usage(FILE *to, const char *program, const char *what)
{
	fprintf(to, "Usage: %s [--reps=N] [--only=TEXT] [--strict]\n%s\n\n"
		"  --reps=N     repetitions of each measurement, %d to %d (default 11)\n"
		"  --only=TEXT  only measurements whose name contains TEXT\n"
		"  --strict     exit status 1 when a target is missed\n",
		program, what, BENCH_REPS_MIN, BENCH_REPS_MAX);
}

void bench_begin(struct bench *b, int argc, char **argv, const char *what)
{
	const char *slash = strrchr(argv[0], '/');
	uint64_t reps = 11;

	memset(b, 0, sizeof(*b));
	b->program = slash ? slash + 1 : argv[0];
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			usage(stdout, b->program, what);
			exit(0);
		}
		if (strncmp(argv[i], "--only=", 7) == 0) {
			b->only = argv[i] + 7;
		} else if (strcmp(argv[i], "--strict") == 0) {
			b->strict = 1;
		} else if (strncmp(argv[i], "--reps=", 7) != 0 ||
			   qb_parse_u64(argv[i] + 7, &reps) < 0 ||
			   reps < BENCH_REPS_MIN || reps > BENCH_REPS_MAX) {
			usage(stderr, b->program, what);
			exit(1);
		}
	}
	b->reps = (unsigned)reps;
	find_processors(b);
	printf("\n# %s: %s\n", b->program, what);
	if (b->cpu[0] == b->cpu[1])
		bench_note("only one processor: what passes between two is not measured as meant");
	note_quiet();
	printf(ROW, "# measurement", "unit", "min", "median", "baseline", "its median", "ratio",
	       "target", "");
	fflush(stdout);
	bench_pin(b->cpu[0]);
}

int bench_end(struct bench *b)
{
	note_quiet();
	if (b->missed)
		bench_note("%u target%s missed", b->missed, b->missed == 1 ? "" : "s");
	return b->failed || (b->strict && b->missed) ? 1 : 0;
}

/* ---- the second process ---- */

static void peer_main(struct bench_peer_shared *s, bench_serve_fn serve, void *ctx)
{
	const struct timespec nap = { 0, 50000 };
	uint32_t served = 0;

	serve(ctx, 0);
	qb_store_release32(&s->done, 1);
	for (;;) {
		for (unsigned n = 0; qb_load_acquire32(&s->asked) == served; n++) {
			if (n < 3000)
				qb_cpu_pause();
			else
				nanosleep(&nap, NULL);
		}
		served++;
		unsigned op = s->op;

		qb_store_release32(&s->began, served);
		if (op == 0)
			_exit(0);
		serve(ctx, op);
		qb_store_relaxed64(&s->end_ns, bench_now_ns());
		qb_store_release32(&s->done, served + 1);
	}
}

static void peer_wait(struct bench_peer *p, const qb_au32 *word, uint32_t until)
{
	uint64_t end_ns = bench_now_ns() + PEER_TIMEOUT_NS;

	for (unsigned n = 1; qb_load_acquire32(word) != until; n++) {
		qb_cpu_pause();
		if (n % 1024 != 0)
			continue;
		sched_yield();
		if (waitpid(p->pid, NULL, WNOHANG) != 0)
			bench_die("the second process died; run it again alone with --only");
		if (bench_now_ns() > end_ns)
			bench_die("the second process did not answer within a minute; "
				  "is the machine overloaded?");
	}
}

void bench_peer_start(struct bench_peer *p, int cpu, bench_serve_fn serve, void *ctx)
{
	pid_t parent = getpid();

	p->shared = bench_shared(sizeof(*p->shared));
	p->asked = 0;
	fflush(stdout);
	p->pid = fork();
	if (p->pid < 0)
		bench_die("could not fork: %s", strerror(errno));
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		if (cpu >= 0)
			bench_pin(cpu);
		bench_populate(p->shared, sizeof(*p->shared));
		peer_main(p->shared, serve, ctx);
	}
	peer_wait(p, &p->shared->done, 1);
}

void bench_peer_go(struct bench_peer *p, unsigned op)
{
	p->shared->op = op;
	qb_store_release32(&p->shared->asked, ++p->asked);
	peer_wait(p, &p->shared->began, p->asked);
}

uint64_t bench_peer_join(struct bench_peer *p)
{
	peer_wait(p, &p->shared->done, p->asked + 1);
	return qb_load_relaxed64(&p->shared->end_ns);
}

void bench_peer_stop(struct bench_peer *p)
{
	p->shared->op = 0;
	qb_store_release32(&p->shared->asked, ++p->asked);
	waitpid(p->pid, NULL, 0);
	munmap(p->shared, sizeof(*p->shared));
	p->shared = NULL;
}
