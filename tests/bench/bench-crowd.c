/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More processes than processors: eight that submit and work at once on two.  A queue whose steps
 * wait for each other passes one job in each time slice then.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"
#include "tests/bench/floor.h"
#include "tests/bench/jobs.h"

#define CROWD 8u
#define SPAN_NS 150000000
/* A convoy is a job a slice, a few hundred a second; this is far from it on any machine. */
#define CONVOY_RATE 0.02

struct crowd {
	qb_au32 go QB_ALIGNED(128);
	qb_au32 stop QB_ALIGNED(128);
	qb_au64 refused QB_ALIGNED(128);
	struct {
		qb_au64 submitted QB_ALIGNED(128);
		qb_au64 done;
	} by[CROWD];
};

struct ctx {
	struct qb_seg seg;
	struct floor_owned_ring *owned;
	struct crowd *crowd;
	int cpu[2];
	uint64_t round;
	uint64_t submitted, done;
	double slowest;                 /* M/s, of the eight */
};

static void populate(struct ctx *c)
{
	bench_populate(c->crowd, sizeof(*c->crowd));
	bench_populate(c->owned, sizeof(*c->owned));
	bench_populate(c->seg.base, c->seg.bytes);
}

static void engine_member(struct ctx *c, unsigned i)
{
	uint64_t id = c->round << 40 | (uint64_t)i << 32, submitted = 0, done = 0;

	while (!qb_load_relaxed32(&c->crowd->stop)) {
		bench_submit(&c->seg, 1 + i, ++id, NULL, 0);
		qb_store_relaxed64(&c->crowd->by[i].submitted, ++submitted);
		int rc = bench_live_once(&c->seg, 1 + i);

		if (rc < 0)
			qb_add_relaxed64(&c->crowd->refused, 1);
		done += rc > 0;
		qb_store_relaxed64(&c->crowd->by[i].done, done);
	}
}

static void ring_member(struct ctx *c, unsigned i)
{
	uint64_t done = 0, w[7];
	unsigned spins = 0;

	while (!qb_load_relaxed32(&c->crowd->stop)) {
		if (!floor_owned_put(c->owned, 1 + i, done)) {
			bench_relax(&spins);
			continue;
		}
		done += (uint64_t)floor_owned_get(c->owned, 1 + i, w);
		bench_keep(w);
		qb_store_relaxed64(&c->crowd->by[i].done, done);
	}
}

static pid_t start_member(struct ctx *c, unsigned i, int engine)
{
	pid_t parent = getpid(), pid = fork();
	unsigned spins = 0;

	if (pid < 0)
		bench_die("could not fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	bench_pin(c->cpu[i & 1]);
	populate(c);
	while (!qb_load_acquire32(&c->crowd->go))
		bench_relax(&spins);
	if (engine)
		engine_member(c, i);
	else
		ring_member(c, i);
	_exit(0);
}

/* What the members left open when they were told to stop. */
static void end_round(struct ctx *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		c->submitted += qb_load_relaxed64(&c->crowd->by[i].submitted);
		c->done += qb_load_relaxed64(&c->crowd->by[i].done);
	}
	while (bench_live_once(&c->seg, 1) == 1)
		c->done++;
}

/* Millions of jobs a second that n processes pass at once. */
static double crowd(struct ctx *c, unsigned n, int engine)
{
	const struct timespec span = { 0, SPAN_NS };
	pid_t pid[CROWD];
	uint64_t sum = 0;

	memset(c->crowd, 0, sizeof(*c->crowd));
	c->round++;
	fflush(stdout);
	for (unsigned i = 0; i < n; i++)
		pid[i] = start_member(c, i, engine);
	qb_store_release32(&c->crowd->go, 1);
	uint64_t t0 = bench_now_ns();

	nanosleep(&span, NULL);
	for (unsigned i = 0; i < n; i++)
		sum += qb_load_relaxed64(&c->crowd->by[i].done);
	double ns = (double)(bench_now_ns() - t0);

	qb_store_release32(&c->crowd->stop, 1);
	for (unsigned i = 0; i < n; i++)
		waitpid(pid[i], NULL, 0);
	if (engine)
		end_round(c, n);
	else
		floor_owned_init(c->owned);
	return (double)sum * 1e3 / ns;
}

static double eight(void *p)
{
	struct ctx *c = p;
	double rate = crowd(c, CROWD, 1);

	if (rate < c->slowest)
		c->slowest = rate;
	return rate;
}

static double two(void *p)
{
	return crowd(p, 2, 1);
}

static double eight_ring(void *p)
{
	return crowd(p, CROWD, 0);
}

static const struct bench_case rows[] = {
	{ .name = "8 processes submit and work, 2 processors", .unit = "M/s", .measured = eight,
	  .baseline = "the same by 2 processes", .base = two,
	  .kind = BENCH_RATIO_AT_LEAST, .target = 0.5 },
	{ .name = "8 processes, against a ring", .unit = "M/s", .measured = eight,
	  .baseline = "owned-slot CAS ring, 64 B", .base = eight_ring },
};

int main(int argc, char **argv)
{
	static struct ctx c;
	struct qb_config_shm cfg;
	struct bench b;
	int rc;

	bench_begin(&b, argc, argv, "more processes than processors");
	qb_config_default(&cfg);
	cfg.seat_count = CROWD + 4;
	rc = qb_seg_create_anonymous(&cfg, &c.seg);
	if (rc < 0)
		bench_die("could not create a segment: %s", qb_strerror(rc));
	/* A syncer that is awake: it is looked at and not woken. */
	qb_store_relaxed32(&c.seg.hdr->syncer_seat, CROWD + 2);
	memcpy(c.cpu, b.cpu, sizeof(c.cpu));
	c.owned = bench_shared(sizeof(*c.owned));
	c.crowd = bench_shared(sizeof(*c.crowd));
	c.slowest = 1e9;
	floor_owned_init(c.owned);
	populate(&c);
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	bench_check(&b, c.slowest > CONVOY_RATE, "no convoy: the slowest round passed %.3f M/s",
		    c.slowest);
	bench_check(&b, c.submitted == c.done && qb_load_relaxed64(&c.crowd->refused) == 0,
		    "each of %llu jobs was done once", (unsigned long long)c.submitted);
	return bench_end(&b);
}
