/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the call of submit to the moment when another process has claimed the job: the worker
 * asleep in the kernel, and awake.  Against a bare futex and a bare flag between the same
 * processors.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/job.h"
#include "shm/wait.h"
#include "tests/bench/bench.h"
#include "tests/bench/jobs.h"

#define ASLEEP_COUNT 100u       /* hand-overs of a repetition */
#define AWAKE_COUNT 2000u
#define PARK_NS 200000000ull    /* longer than any pause below */
#define CALLS 20000u

enum op { OP_PARKED = 1, OP_AWAKE, OP_FUTEX, OP_FLAG };
enum seat { SUBMITTER = 1, WORKER, SYNCER };

struct hand {
	qb_au32 word QB_ALIGNED(128);   /* the bare futex, and the bare flag */
	qb_au32 got QB_ALIGNED(128);    /* how many the other side has taken */
	qb_au64 taken_ns;               /* when the last one was */
};

struct ctx {
	struct qb_seg seg;
	struct hand *hand;
	struct qb_held *held;
	struct bench_peer peer;
	uint64_t next_id;
	double v[AWAKE_COUNT];
};

/* ---- the other process ---- */

static void took(struct ctx *c, uint32_t n)
{
	qb_store_relaxed64(&c->hand->taken_ns, bench_now_ns());
	qb_store_release32(&c->hand->got, n);
}

/* The loop of a worker: look, announce, look again, sleep. */
static void claim_parking(struct ctx *c)
{
	for (uint32_t n = 0; n < ASLEEP_COUNT;) {
		if (qb_job_claim(&c->seg, WORKER, c->held) == QB_OK) {
			took(c, ++n);
			continue;
		}
		qb_park_prepare(&c->seg, WORKER, 1);
		if (qb_job_claim(&c->seg, WORKER, c->held) == QB_OK) {
			qb_park_cancel(&c->seg, WORKER);
			took(c, ++n);
			continue;
		}
		qb_park(&c->seg, WORKER, PARK_NS);
	}
}

static void claim_awake(struct ctx *c)
{
	unsigned spins = 0;

	for (uint32_t n = 0; n < AWAKE_COUNT;) {
		if (qb_job_claim(&c->seg, WORKER, c->held) == QB_OK)
			took(c, ++n);
		else
			bench_relax(&spins);
	}
}

static void futex_bare(struct ctx *c)
{
	const struct timespec t = { 0, PARK_NS };

	for (uint32_t n = 0; n < ASLEEP_COUNT;) {
		if (qb_load_acquire32(&c->hand->word) == n + 1)
			took(c, ++n);
		else
			syscall(SYS_futex, &c->hand->word.v, FUTEX_WAIT, n, &t, NULL, 0);
	}
}

static void flag_bare(struct ctx *c)
{
	unsigned spins = 0;

	for (uint32_t n = 0; n < AWAKE_COUNT;) {
		if (qb_load_acquire32(&c->hand->word) == n + 1)
			took(c, ++n);
		else
			bench_relax(&spins);
	}
}

static void serve(void *p, unsigned op)
{
	struct ctx *c = p;

	switch (op) {
	case 0:
		bench_populate(c->seg.base, c->seg.bytes);
		bench_populate(c->hand, sizeof(*c->hand));
		bench_populate(c->held, sizeof(*c->held));
		return;
	case OP_PARKED:
		claim_parking(c);
		return;
	case OP_AWAKE:
		claim_awake(c);
		return;
	case OP_FUTEX:
		futex_bare(c);
		return;
	default:
		flag_bare(c);
	}
}

/* ---- this process ---- */

static void pause_ns(uint64_t ns)
{
	const struct timespec t = { 0, (long)ns };

	nanosleep(&t, NULL);
}

/* In kernel sleep, as far as can be seen from outside: 100 us without using the processor. */
static void let_it_sleep(struct ctx *c, enum op op)
{
	if (op == OP_PARKED) {
		while (!qb_load_acquire32(&c->seg.seats[WORKER].asleep))
			qb_cpu_pause();
	}
	pause_ns(100000);
}

static void await(struct ctx *c, uint32_t n)
{
	unsigned spins = 0;

	while (qb_load_acquire32(&c->hand->got) != n)
		bench_relax(&spins);
}

/* What a syncer does later, so that the slot comes back. */
static void end_job(struct ctx *c)
{
	if (qb_job_start(&c->seg, c->held) < 0 ||
	    qb_job_complete(&c->seg, WORKER, c->held, NULL, 0) < 0)
		bench_die("a claimed job could not be completed");
	bench_free(&c->seg, c->held);
}

static uint64_t hand_job(struct ctx *c)
{
	uint64_t t0 = bench_now_ns();

	bench_submit(&c->seg, SUBMITTER, c->next_id++, NULL, 0);
	return t0;
}

static uint64_t hand_bare(struct ctx *c, enum op op, uint32_t n)
{
	uint64_t t0 = bench_now_ns();

	qb_store_release32(&c->hand->word, n);
	if (op == OP_FUTEX)
		syscall(SYS_futex, &c->hand->word.v, FUTEX_WAKE, 1, NULL, NULL, 0);
	return t0;
}

static double p50_us(struct ctx *c, enum op op)
{
	int sleeping = op == OP_PARKED || op == OP_FUTEX;
	int engine = op == OP_PARKED || op == OP_AWAKE;
	uint32_t count = sleeping ? ASLEEP_COUNT : AWAKE_COUNT;

	qb_store_relaxed32(&c->hand->word, 0);
	qb_store_release32(&c->hand->got, 0);
	bench_peer_go(&c->peer, op);
	for (uint32_t n = 1; n <= count; n++) {
		if (sleeping)
			let_it_sleep(c, op);
		uint64_t t0 = engine ? hand_job(c) : hand_bare(c, op, n);

		await(c, n);
		c->v[n - 1] = (double)(qb_load_relaxed64(&c->hand->taken_ns) - t0) / 1e3;
		if (engine)
			end_job(c);
	}
	bench_peer_join(&c->peer);
	return bench_median(c->v, count);
}

static double parked(void *p)
{
	return p50_us(p, OP_PARKED);
}

static double awake(void *p)
{
	return p50_us(p, OP_AWAKE);
}

static double bare_futex(void *p)
{
	return p50_us(p, OP_FUTEX);
}

static double bare_flag(void *p)
{
	return p50_us(p, OP_FLAG);
}

/* ---- what a look at the sleepers costs when there are none ---- */

static double wake_nobody(void *p)
{
	struct ctx *c = p;
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < CALLS; i++)
		qb_wake_worker(&c->seg);
	return (double)(bench_now_ns() - t0) / CALLS;
}

static double futex_wake_nobody(void *p)
{
	struct ctx *c = p;
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < CALLS; i++)
		syscall(SYS_futex, &c->hand->word.v, FUTEX_WAKE, 1, NULL, NULL, 0);
	return (double)(bench_now_ns() - t0) / CALLS;
}

static const struct bench_case rows[] = {
	{ .name = "submit -> claimed, worker asleep", .unit = "us", .measured = parked,
	  .baseline = "bare futex, same processors", .base = bare_futex,
	  .kind = BENCH_RATIO_AT_MOST, .target = 1.3 },
	{ .name = "submit -> claimed, worker awake", .unit = "us", .measured = awake,
	  .baseline = "bare flag, same processors", .base = bare_flag,
	  .kind = BENCH_VALUE_AT_MOST, .target = 2 },
	{ .name = "look for sleepers when nobody sleeps", .unit = "ns", .measured = wake_nobody,
	  .baseline = "futex wake, nobody waits", .base = futex_wake_nobody },
};

int main(int argc, char **argv)
{
	static struct ctx c;
	struct bench b;
	struct qb_config_shm cfg;
	int rc;

	bench_begin(&b, argc, argv, "from submit to the claim in another process, p50");
	qb_config_default(&cfg);
	cfg.seat_count = 16;
	rc = qb_seg_create_anonymous(&cfg, &c.seg);
	if (rc < 0)
		bench_die("could not create a segment: %s", qb_strerror(rc));
	qb_store_relaxed32(&c.seg.hdr->syncer_seat, SYNCER);
	c.hand = bench_shared(sizeof(*c.hand));
	c.held = bench_shared(sizeof(*c.held));
	c.next_id = 1;
	bench_populate(c.seg.base, c.seg.bytes);
	bench_peer_start(&c.peer, b.cpu[1], serve, &c);
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	bench_peer_stop(&c.peer);
	return bench_end(&b);
}
