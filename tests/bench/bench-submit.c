/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to hand a job from one process to another while both are awake, and to take it
 * through its states; against rings that pass the same bytes and remember nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/job.h"
#include "tests/bench/bench.h"
#include "tests/bench/floor.h"
#include "tests/bench/jobs.h"

#define JOBS 4096u              /* a burst; half of the table */
#define LIVES 16384u            /* jobs from submit to free, slots used again */
#define ITEMS (16 * FLOOR_COUNT)
#define PIPE_ITEMS 4096u
#define BESIDE 100000u          /* jobs that live while others are submitted */

enum op { OP_CLAIM = 1, OP_CLAIM_PAYLOAD, OP_LIVE, OP_RING, OP_WIDE, OP_OWNED, OP_PIPE };
enum seat { SUBMITTER = 1, WORKER, SYNCER };

struct ctx {
	struct qb_seg seg;
	struct qb_seg big;              /* of submit_beside_many() */
	struct qb_held *held;           /* of the present burst, written by the worker */
	struct floor_ring *ring;
	struct floor_wide_ring *wide;
	struct floor_owned_ring *owned;
	qb_au64 *lost;                  /* what should have arrived and did not, shared */
	uint64_t next_id;
	uint32_t payload_bytes;
	uint8_t payload[FLOOR_PAYLOAD_BYTES];
	int pipe[2];
	struct bench_peer peer;
	double part_ns[3];              /* start, complete, free of the last burst */
};

/* ---- the engine, submitter's side ---- */

static void submit(struct ctx *c)
{
	bench_submit(&c->seg, SUBMITTER, c->next_id++, c->payload, c->payload_bytes);
}

/* Ends every job of the burst as worker and syncer would. Not timed with it. */
static void end_burst(struct ctx *c, uint32_t n)
{
	uint64_t t[4];

	t[0] = bench_now_ns();
	for (uint32_t i = 0; i < n; i++)
		qb_job_start(&c->seg, &c->held[i]);
	t[1] = bench_now_ns();
	for (uint32_t i = 0; i < n; i++) {
		if (qb_job_complete(&c->seg, WORKER, &c->held[i], NULL, 0) < 0)
			qb_add_relaxed64(c->lost, 1);
	}
	t[2] = bench_now_ns();
	for (uint32_t i = 0; i < n; i++)
		bench_free(&c->seg, &c->held[i]);
	t[3] = bench_now_ns();
	for (int k = 0; k < 3; k++)
		c->part_ns[k] = (double)(t[k + 1] - t[k]) / n;
}

/* ---- the engine, worker's side ---- */

static void claim_burst(struct ctx *c, int with_payload)
{
	uint8_t data[FLOOR_PAYLOAD_BYTES];

	for (uint32_t i = 0; i < JOBS; i++) {
		bench_claim(&c->seg, WORKER, &c->held[i]);
		/* The worker reads the job: that pulls its line over. */
		bench_keep(c->seg.jobs[c->held[i].slot_idx].job_id);
		if (!with_payload)
			continue;
		if (qb_job_payload(&c->seg, c->held[i].slot_idx, qb_word_gen(c->held[i].word), data,
				   sizeof(data)) != FLOOR_PAYLOAD_BYTES)
			qb_add_relaxed64(c->lost, 1);
	}
}

static void live(struct ctx *c)
{
	unsigned spins = 0;

	for (uint32_t i = 0; i < LIVES;) {
		int rc = bench_live_once(&c->seg, WORKER);

		if (rc < 0)
			qb_add_relaxed64(c->lost, 1);
		if (rc)
			i++;
		else
			bench_relax(&spins);
	}
}

static void take_items(struct ctx *c, unsigned op)
{
	uint64_t w[7], sum = 0;
	uint8_t data[FLOOR_PAYLOAD_BYTES];
	unsigned spins = 0;

	for (uint64_t i = 0; i < ITEMS;) {
		int got = op == OP_RING ? floor_ring_get(c->ring, w) :
			  op == OP_WIDE ? floor_wide_get(c->wide, w, data) :
			  floor_owned_get(c->owned, WORKER, w);

		if (!got) {
			bench_relax(&spins);
			continue;
		}
		sum += w[0] - i++;
		bench_keep(data);
	}
	if (sum != 0)
		qb_add_relaxed64(c->lost, 1);
}

static void read_pipe(struct ctx *c)
{
	uint64_t w[8];

	for (uint32_t i = 0; i < PIPE_ITEMS; i++) {
		if (read(c->pipe[0], w, sizeof(w)) != sizeof(w))
			bench_die("could not read from the pipe: %s", strerror(errno));
		if (w[0] != i)
			qb_add_relaxed64(c->lost, 1);
	}
}

static void serve(void *p, unsigned op)
{
	struct ctx *c = p;

	switch (op) {
	case 0:
		bench_populate(c->seg.base, c->seg.bytes);
		bench_populate(c->held, JOBS * sizeof(*c->held));
		bench_populate(c->ring, sizeof(*c->ring));
		bench_populate(c->wide, sizeof(*c->wide));
		bench_populate(c->owned, sizeof(*c->owned));
		return;
	case OP_CLAIM:
	case OP_CLAIM_PAYLOAD:
		claim_burst(c, op == OP_CLAIM_PAYLOAD);
		return;
	case OP_LIVE:
		live(c);
		return;
	case OP_PIPE:
		read_pipe(c);
		return;
	default:
		take_items(c, op);
	}
}

/* ---- between two processes ---- */

static double burst(struct ctx *c, enum op op)
{
	bench_peer_go(&c->peer, op);
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < JOBS; i++)
		submit(c);
	double ns = (double)(bench_peer_join(&c->peer) - t0) / JOBS;

	end_burst(c, JOBS);
	return ns;
}

static double hand_over(void *p)
{
	struct ctx *c = p;

	c->payload_bytes = 0;
	return burst(c, OP_CLAIM);
}

static double hand_over_payload(void *p)
{
	struct ctx *c = p;

	c->payload_bytes = FLOOR_PAYLOAD_BYTES;
	return burst(c, OP_CLAIM_PAYLOAD);
}

static double whole_life(void *p)
{
	struct ctx *c = p;

	c->payload_bytes = 0;
	bench_peer_go(&c->peer, OP_LIVE);
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < LIVES; i++)
		submit(c);
	return (double)(bench_peer_join(&c->peer) - t0) / LIVES;
}

static double items(struct ctx *c, enum op op)
{
	unsigned spins = 0;

	bench_peer_go(&c->peer, op);
	uint64_t t0 = bench_now_ns();

	for (uint64_t i = 0; i < ITEMS;) {
		int put = op == OP_RING ? floor_ring_put(c->ring, i) :
			  op == OP_WIDE ? floor_wide_put(c->wide, i, c->payload) :
			  floor_owned_put(c->owned, SUBMITTER, i);

		if (put)
			i++;
		else
			bench_relax(&spins);
	}
	return (double)(bench_peer_join(&c->peer) - t0) / ITEMS;
}

static double floor_f(void *p)
{
	return items(p, OP_RING);
}

static double floor_wide(void *p)
{
	return items(p, OP_WIDE);
}

static double floor_owned(void *p)
{
	return items(p, OP_OWNED);
}

static double pipe_64(void *p)
{
	struct ctx *c = p;
	uint64_t w[8] = { 0 };

	bench_peer_go(&c->peer, OP_PIPE);
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < PIPE_ITEMS; i++) {
		w[0] = i;
		if (write(c->pipe[1], w, sizeof(w)) != sizeof(w))
			bench_die("could not write to the pipe: %s", strerror(errno));
	}
	return (double)(bench_peer_join(&c->peer) - t0) / PIPE_ITEMS;
}

/* ---- in one process: the instructions without the cache line's way ---- */

static double alone(struct ctx *c, double *claim_ns)
{
	uint64_t t0 = bench_now_ns();

	for (uint32_t i = 0; i < JOBS; i++)
		submit(c);
	uint64_t t1 = bench_now_ns();

	for (uint32_t i = 0; i < JOBS; i++)
		bench_claim(&c->seg, WORKER, &c->held[i]);
	*claim_ns = (double)(bench_now_ns() - t1) / JOBS;
	end_burst(c, JOBS);
	return (double)(t1 - t0) / JOBS;
}

static double submit_alone(void *p)
{
	struct ctx *c = p;
	double claim_ns;

	c->payload_bytes = 0;
	return alone(c, &claim_ns);
}

static double submit_payload_alone(void *p)
{
	struct ctx *c = p;
	double claim_ns;

	c->payload_bytes = FLOOR_PAYLOAD_BYTES;
	return alone(c, &claim_ns);
}

static double claim_alone(void *p)
{
	struct ctx *c = p;
	double claim_ns;

	c->payload_bytes = 0;
	alone(c, &claim_ns);
	return claim_ns;
}

static double claim_start_complete(void *p)
{
	struct ctx *c = p;

	return claim_alone(p) + c->part_ns[0] + c->part_ns[1];
}

static double free_alone(void *p)
{
	struct ctx *c = p;

	claim_alone(p);
	return c->part_ns[2];
}

static double owned_alone(struct ctx *c, double *get_ns)
{
	uint64_t w[7], t0 = bench_now_ns();

	for (uint32_t i = 0; i < FLOOR_COUNT; i++)
		floor_owned_put(c->owned, SUBMITTER, i);
	uint64_t t1 = bench_now_ns();

	for (uint32_t i = 0; i < FLOOR_COUNT; i++) {
		floor_owned_get(c->owned, WORKER, w);
		bench_keep(w);
	}
	*get_ns = (double)(bench_now_ns() - t1) / FLOOR_COUNT;
	return (double)(t1 - t0) / FLOOR_COUNT;
}

static double owned_put_alone(void *p)
{
	double get_ns;

	return owned_alone(p, &get_ns);
}

static double owned_get_alone(void *p)
{
	double get_ns;

	owned_alone(p, &get_ns);
	return get_ns;
}

static double owned_pair_alone(void *p)
{
	double get_ns, put_ns = owned_alone(p, &get_ns);

	return put_ns + get_ns;
}

/* ---- a table with much in it ---- */

/* A burst beside jobs that are at work. The first call makes them. */
static double submit_beside_many(void *p)
{
	struct ctx *c = p;
	struct qb_seg usual = c->seg;
	struct qb_config_shm cfg;
	struct qb_held held;
	double claim_ns;

	c->payload_bytes = 0;
	if (!c->big.base) {
		qb_config_default(&cfg);
		cfg.seat_count = 4;
		cfg.job_count = 1u << 18;
		cfg.ring_count = 1u << 19;
		cfg.block_count = 64;
		if (qb_seg_create_anonymous(&cfg, &c->big) < 0)
			bench_die("could not create a segment of %u jobs", cfg.job_count);
		qb_store_relaxed32(&c->big.hdr->syncer_seat, SYNCER);
		c->seg = c->big;
		for (uint32_t i = 0; i < BESIDE; i++) {
			submit(c);
			bench_claim(&c->seg, WORKER, &held);
		}
	}
	c->seg = c->big;
	double ns = alone(c, &claim_ns);

	c->seg = usual;
	return ns;
}

static void set_up(struct ctx *c, struct bench *b)
{
	struct qb_config_shm cfg;
	int rc;

	qb_config_default(&cfg);
	cfg.seat_count = 16;
	rc = qb_seg_create_anonymous(&cfg, &c->seg);
	if (rc < 0)
		bench_die("could not create a segment: %s", qb_strerror(rc));
	/* A syncer that is awake, as under load: it is looked at and not woken. */
	qb_store_relaxed32(&c->seg.hdr->syncer_seat, SYNCER);
	c->held = bench_shared(JOBS * sizeof(*c->held));
	c->ring = bench_shared(sizeof(*c->ring));
	c->wide = bench_shared(sizeof(*c->wide));
	c->owned = bench_shared(sizeof(*c->owned));
	c->lost = bench_shared(sizeof(*c->lost));
	floor_ring_init(c->ring);
	floor_wide_init(c->wide);
	floor_owned_init(c->owned);
	memset(c->payload, 0xa5, sizeof(c->payload));
	c->next_id = 1;
	if (pipe(c->pipe) < 0)
		bench_die("could not make a pipe: %s", strerror(errno));
	bench_populate(c->seg.base, c->seg.bytes);
	bench_peer_start(&c->peer, b->cpu[1], serve, c);
}

static const struct bench_case rows[] = {
	{ .name = "submit -> claimed, awake, no payload", .unit = "ns/job", .measured = hand_over,
	  .baseline = "F: SPSC ring, 64 B", .base = floor_f,
	  .kind = BENCH_RATIO_AT_MOST, .target = 1.5 },
	{ .name = "submit -> claimed, owner recorded", .unit = "ns/job", .measured = hand_over,
	  .baseline = "owned-slot CAS ring, 64 B", .base = floor_owned },
	{ .name = "submit -> claimed, against a pipe", .unit = "ns/job", .measured = hand_over,
	  .baseline = "pipe, 64 B", .base = pipe_64 },
	{ .name = "submit -> claimed and read, 256 B payload", .unit = "ns/job",
	  .measured = hand_over_payload, .baseline = "SPSC ring, 64 + 256 B", .base = floor_wide },
	{ .name = "submit .. freed, worker frees itself", .unit = "ns/job", .measured = whole_life,
	  .baseline = "owned-slot CAS ring, 64 B", .base = floor_owned },
	{ .name = "submit, one process, no payload", .unit = "ns", .measured = submit_alone,
	  .baseline = "owned-slot ring, put", .base = owned_put_alone },
	{ .name = "submit, one process, 256 B payload", .unit = "ns",
	  .measured = submit_payload_alone,
	  .baseline = "owned-slot ring, put", .base = owned_put_alone },
	{ .name = "submit beside 100000 live jobs, one process", .unit = "ns",
	  .measured = submit_beside_many,
	  .baseline = "the same in an empty table", .base = submit_alone,
	  .kind = BENCH_RATIO_AT_MOST, .target = 2 },
	{ .name = "claim, one process", .unit = "ns", .measured = claim_alone,
	  .baseline = "owned-slot ring, get", .base = owned_get_alone },
	{ .name = "claim + start + complete, one process", .unit = "ns",
	  .measured = claim_start_complete,
	  .baseline = "owned-slot ring, put + get", .base = owned_pair_alone },
	{ .name = "free (the syncer's part), one process", .unit = "ns", .measured = free_alone },
};

int main(int argc, char **argv)
{
	static struct ctx c;
	struct bench b;

	bench_begin(&b, argc, argv, "handing a job over, both sides awake");
	set_up(&c, &b);
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	bench_peer_stop(&c.peer);
	bench_check(&b, qb_load_relaxed64(c.lost) == 0,
		    "every job and item arrived once and whole");
	return bench_end(&b);
}
