/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Harness of the benchmarks: every figure is a ratio to a baseline that ran beside it.
 *
 * A repetition runs the baseline and the measured operation one after the other, in turn first and
 * second; the result is the median of the ratios of the repetitions.  So a busy machine, or virtual
 * processors that change place, move both and hardly the ratio.  One line per measurement:
 *
 *	name  unit  min  median  baseline  base-median  ratio  target  met|MISSED|-
 *
 * A missed target is a result and no failure (--strict makes it one: exit 1).  A check that holds
 * whatever the machine does (no page fault, nothing lost) fails the program: exit 1.
 */
#ifndef QB_BENCH_BENCH_H
#define QB_BENCH_BENCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shm/align.h"
#include "shm/atomic.h"

#define BENCH_REPS_MIN 9
#define BENCH_REPS_MAX 201

struct bench {
	const char *program;
	unsigned reps;
	const char *only;       /* run rows whose name contains this, NULL = all */
	int strict;
	int cpu[2];             /* two processors to pin to; equal when there is only one */
	unsigned missed;
	unsigned failed;
};

/*
 * What the target bounds; "ratio" is measured / baseline.  For rates (more is better) use AT_LEAST.
 */
enum bench_target {
	BENCH_NO_TARGET,
	BENCH_RATIO_AT_MOST,
	BENCH_RATIO_AT_LEAST,
	BENCH_VALUE_AT_MOST,
	BENCH_VALUE_AT_LEAST,
};

/* One operation: runs it often enough to be timed and returns the figure in the case's unit. */
typedef double (*bench_fn)(void *ctx);

struct bench_case {
	const char *name;
	const char *unit;
	bench_fn measured;
	const char *baseline;   /* its name */
	bench_fn base;          /* NULL: none */
	enum bench_target kind;
	double target;
	unsigned reps;          /* 0: as the command line says; more for what varies more */
};

/* Reads --reps=N, --only=TEXT, --strict, --help; prints the table's head. Exits on bad usage. */
void bench_begin(struct bench *b, int argc, char **argv, const char *what);
/* Prints the notes; returns the exit status. */
int bench_end(struct bench *b);

/* Is this row wanted? bench_run() asks itself; for set-up that costs. */
int bench_wanted(const struct bench *b, const char *name);
void bench_run(struct bench *b, const struct bench_case *c, void *ctx);
void bench_run_all(struct bench *b, const struct bench_case *c, unsigned count, void *ctx);
/* A check that must hold on any machine. */
void bench_check(struct bench *b, int holds, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void bench_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The bench itself cannot go on: message, exit 1. Children are killed by the kernel (PDEATHSIG). */
void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

double bench_median(double *v, unsigned n);     /* sorts v */
uint64_t bench_now_ns(void);                    /* CLOCK_MONOTONIC */
void bench_pin(int cpu);
/* bench_begin() pins; this allows all processors again, before a server is started. */
void bench_unpin(void);
long bench_minor_faults(void);                  /* of this process */
/* Zeroed memory shared with children, populated and touched. Dies when there is none. */
void *bench_shared(size_t bytes);
/* Pages that are there already, made usable by this process without a fault later. */
void bench_populate(void *p, size_t bytes);

void bench_yield(void);
/* Waits by `pause`, then gives the core away: the other side may need it. */
static inline void bench_relax(unsigned *n)
{
	if (++*n < 2000) {
		qb_cpu_pause();
		return;
	}
	*n = 0;
	bench_yield();
}

/* Keeps the compiler from dropping or moving what was computed. */
#define bench_keep(x) __asm__ volatile("" : : "g"(x) : "memory")

/*
 * A second process that serves commands: it sleeps between them and runs `serve` for each.
 */
struct bench_peer_shared {
	qb_au32 asked QB_ALIGNED(128);
	uint32_t op;
	qb_au32 began QB_ALIGNED(128);
	qb_au32 done QB_ALIGNED(128);
	qb_au64 end_ns;         /* when `serve` returned */
};
struct bench_peer {
	struct bench_peer_shared *shared;
	pid_t pid;
	uint32_t asked;
};
typedef void (*bench_serve_fn)(void *ctx, unsigned op);

/* Forks; the child is pinned to cpu (-1: not), calls serve(ctx, 0) at its start, then serves. */
void bench_peer_start(struct bench_peer *p, int cpu, bench_serve_fn serve, void *ctx);
/* Tell it to run op > 0; returns when it is about to. */
void bench_peer_go(struct bench_peer *p, unsigned op);
/* Wait until it is done; returns its end_ns. Dies when it died or took over a minute. */
uint64_t bench_peer_join(struct bench_peer *p);
void bench_peer_stop(struct bench_peer *p);

#endif
