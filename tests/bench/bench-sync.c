/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What durability costs: jobs from submit to committed in Postgres, against the bare statements
 * with the same columns and bytes on the same server in the same repetition.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "pg/cluster.h"
#include "pg/conn.h"
#include "shm/event.h"
#include "shm/job.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "sync/schema.h"
#include "sync/syncer.h"
#include "tests/bench/bench.h"
#include "tests/bench/pgfloor.h"

#define BATCH 1000u
#define LIVE 6000u              /* in the table while a batch of them ends */
#define STREAM 6000u            /* jobs of a repetition, in whatever batches come about */
#define LONE 40u                /* single jobs of a repetition; its figure is their median */
#define PARK_NS 100000000ull
#define LIMIT_NS 60000000000ull

enum seat { SUBMITTER = 1, WORKER, STEPPER, SYNCER };

struct ctx {
	struct qb_seg seg;              /* of the syncer process */
	struct qb_seg step_seg;         /* of the syncer that this process is itself */
	struct qb_syncer *stepper;
	struct qb_event_writer step_log;
	struct qb_held *held;
	struct pgfloor floor;
	const char *conninfo;
	uint64_t next_id;
	uint64_t durable, outcomes;     /* what should be in the tables, counted here */
	pid_t syncer;
	uint8_t payload[PGFLOOR_PAYLOAD_BYTES];
};

static void submit(struct ctx *c, const struct qb_seg *seg, struct qb_held *ref)
{
	const struct qb_submit what = {
		.job_id = c->next_id++, .submitted_raw = 1, .work_us = 3, .tenant = 3, .kind = 1,
		.max_attempts = 3, .payload = c->payload, .payload_bytes = sizeof(c->payload),
	};
	int rc = qb_job_submit(seg, SUBMITTER, &what, ref);

	if (rc != QB_OK)
		bench_die("a submit was refused: %s", qb_strerror(rc));
}

/* Parked, as a caller that wants durability is, until the batch with this job has committed. */
static void await_durable(struct ctx *c, const struct qb_held *ref)
{
	uint64_t end_ns = bench_now_ns() + LIMIT_NS;

	while (!qb_job_is_durable(&c->seg, ref)) {
		qb_park_prepare(&c->seg, SUBMITTER, 0);
		if (qb_job_is_durable(&c->seg, ref))
			qb_park_cancel(&c->seg, SUBMITTER);
		else
			qb_park(&c->seg, SUBMITTER, PARK_NS);
		if (bench_now_ns() > end_ns)
			bench_die("a job was not durable after a minute; is Postgres alive?");
	}
	c->durable++;
}

static void work_all(const struct qb_seg *seg, unsigned n)
{
	struct qb_held held;

	for (unsigned i = 0; i < n; i++) {
		if (qb_job_claim(seg, WORKER, &held) != QB_OK || qb_job_start(seg, &held) < 0 ||
		    qb_job_complete(seg, WORKER, &held, NULL, 0) < 0)
			bench_die("a job could not be worked");
	}
}

/* ---- the whole way: this process submits, another one syncs ---- */

static void run_syncer(struct ctx *c)
{
	struct qb_event_writer log;
	struct qb_syncer *s;

	qb_log_set_level(QB_LOG_ERROR);
	qb_event_open(&log, &c->seg, SYNCER, QB_OVERFLOW_DROP);
	if (qb_syncer_open(&c->seg, SYNCER, c->conninfo, &log, &s) < 0)
		_exit(1);
	_exit(qb_syncer_main(s) < 0 ? 1 : 0);
}

static void start_syncer(struct ctx *c)
{
	pid_t me = getpid();

	fflush(stdout);
	c->syncer = fork();
	if (c->syncer < 0)
		bench_die("could not fork: %s", strerror(errno));
	if (c->syncer > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != me)
		_exit(1);
	bench_populate(c->seg.base, c->seg.bytes);
	run_syncer(c);
}

static void stop_syncer(struct bench *b, struct ctx *c)
{
	int status = 1;

	qb_store_release32(&c->seg.hdr->stop, QB_STOP_FINISH);
	qb_wake_seat(&c->seg, SYNCER);
	waitpid(c->syncer, &status, 0);
	bench_check(b, status == 0, "the syncer left with everything durable");
}

/* What a server does by itself, at a moment of our choice: dead rows make room for new ones. */
static void vacuum(struct ctx *c)
{
	pgfloor_sql(&c->floor, "vacuum (truncate off) qbench.job");
}

/* Finish what a repetition submitted, and wait until the syncer has freed it. */
static void end_jobs(struct ctx *c, unsigned n)
{
	const struct timespec nap = { 0, 1000000 };
	uint64_t end_ns = bench_now_ns() + LIMIT_NS;

	work_all(&c->seg, n);
	for (unsigned i = 0; i < n; i++) {
		const struct qb_held *h = &c->held[i];
		const qb_au64 *word = &c->seg.jobs[h->slot_idx].word;

		while (qb_word_gen(qb_load_acquire64(word)) == qb_word_gen(h->word)) {
			nanosleep(&nap, NULL);
			if (bench_now_ns() > end_ns)
				bench_die("finished jobs were not freed after a minute; "
					  "is Postgres alive?");
		}
	}
	c->outcomes += n;
	vacuum(c);
}

static double stream(void *p)
{
	struct ctx *c = p;
	uint64_t t0 = bench_now_ns();

	for (unsigned i = 0; i < STREAM; i++)
		submit(c, &c->seg, &c->held[i]);
	for (unsigned i = 0; i < STREAM; i++)
		await_durable(c, &c->held[i]);
	double s = (double)(bench_now_ns() - t0) / 1e9;

	end_jobs(c, STREAM);
	return STREAM / s;
}

static double lone(void *p)
{
	struct ctx *c = p;
	double v[LONE];

	for (unsigned i = 0; i < LONE; i++) {
		uint64_t t0 = bench_now_ns();

		submit(c, &c->seg, &c->held[i]);
		await_durable(c, &c->held[i]);
		v[i] = (double)(bench_now_ns() - t0) / 1e3;
	}
	end_jobs(c, LONE);
	return bench_median(v, LONE);
}

/* ---- one batch: this process is the syncer ---- */

static int step(struct ctx *c)
{
	struct qb_err err = { 0 };
	int rc = qb_syncer_step(c->stepper, 1, &err);

	if (rc < 0)
		bench_die("%s", err.text);
	return rc;
}

static double one_batch(void *p)
{
	struct ctx *c = p;
	struct qb_held ref;

	while (step(c))
		;
	for (unsigned i = 0; i < BATCH; i++)
		submit(c, &c->step_seg, &ref);
	uint64_t t0 = bench_now_ns();
	int rows = step(c);
	double s = (double)(bench_now_ns() - t0) / 1e9;

	if (rows < (int)BATCH || !qb_job_is_durable(&c->step_seg, &ref))
		bench_die("a batch of %u jobs became %d rows", BATCH, rows);
	c->durable += BATCH;
	work_all(&c->step_seg, BATCH);
	while (step(c))
		;
	c->outcomes += BATCH;
	vacuum(c);
	return BATCH / s;
}

/* A batch of outcomes, while there are more jobs that live on. */
static double finish_batch(void *p)
{
	struct ctx *c = p;
	struct qb_held ref;

	while (step(c))
		;
	for (unsigned i = 0; i < LIVE; i++)
		submit(c, &c->step_seg, &ref);
	while (step(c))
		;
	c->durable += LIVE;
	work_all(&c->step_seg, BATCH);
	uint64_t t0 = bench_now_ns();
	int rows = step(c);
	double s = (double)(bench_now_ns() - t0) / 1e9;

	if (rows < (int)BATCH)
		bench_die("a batch of %u outcomes became %d rows", BATCH, rows);
	work_all(&c->step_seg, LIVE - BATCH);
	while (step(c))
		;
	c->outcomes += LIVE;
	vacuum(c);
	return BATCH / s;
}

/* ---- the floor ---- */

static double bare(struct ctx *c, void (*insert)(struct pgfloor *, unsigned), unsigned batches)
{
	uint64_t t0 = bench_now_ns();

	for (unsigned i = 0; i < batches; i++)
		insert(&c->floor, BATCH);
	double s = (double)(bench_now_ns() - t0) / 1e9;

	pgfloor_empty(&c->floor);
	return batches * BATCH / s;
}

static double bare_unnest(void *p)
{
	return bare(p, pgfloor_unnest, 1);
}

static double bare_unnest_stream(void *p)
{
	return bare(p, pgfloor_unnest, STREAM / BATCH);
}

static double bare_finish(void *p)
{
	struct ctx *c = p;

	for (unsigned i = 0; i < LIVE / BATCH; i++)
		pgfloor_unnest(&c->floor, BATCH);
	uint64_t t0 = bench_now_ns();

	pgfloor_finish(&c->floor, BATCH);
	double s = (double)(bench_now_ns() - t0) / 1e9;

	pgfloor_empty(&c->floor);
	return BATCH / s;
}

static double bare_copy_stream(void *p)
{
	return bare(p, pgfloor_copy, STREAM / BATCH);
}

static double bare_single(void *p)
{
	struct ctx *c = p;
	double v[LONE];

	for (unsigned i = 0; i < LONE; i++) {
		uint64_t t0 = bench_now_ns();

		pgfloor_single(&c->floor);
		v[i] = (double)(bench_now_ns() - t0) / 1e3;
	}
	pgfloor_empty(&c->floor);
	return bench_median(v, LONE);
}

/* ---- set-up ---- */

static void segment(struct qb_seg *seg, const char *run_id)
{
	struct qb_config_shm cfg;
	int rc;

	qb_config_default(&cfg);
	cfg.seat_count = 8;
	rc = qb_seg_create_anonymous(&cfg, seg);
	if (rc < 0)
		bench_die("could not create a segment: %s", qb_strerror(rc));
	snprintf(seg->hdr->run_id, sizeof(seg->hdr->run_id), "%s", run_id);
	qb_store_relaxed32(&seg->hdr->submitter_seat, SUBMITTER);
	bench_populate(seg->base, seg->bytes);
}

static void set_up(struct ctx *c)
{
	struct qb_err err = { 0 };

	pgfloor_open(&c->floor, c->conninfo);
	if (qb_schema_install(c->floor.conn, &err) < 0)
		bench_die("%s", err.text);
	memset(c->payload, 0xa5, sizeof(c->payload));
	c->next_id = 1;
	c->held = bench_shared(STREAM * sizeof(*c->held));
	segment(&c->seg, "bench-stream");
	segment(&c->step_seg, "bench-step");
	start_syncer(c);
	qb_event_open(&c->step_log, &c->step_seg, STEPPER, QB_OVERFLOW_DROP);
	if (qb_syncer_open(&c->step_seg, STEPPER, c->conninfo, &c->step_log, &c->stepper) < 0)
		bench_die("out of memory");
	if (qb_syncer_connect(c->stepper, &err) < 0)
		bench_die("%s", err.text);
}

static const struct bench_case rows[] = {
	{ .name = "durable insert, a batch of 1000", .unit = "rows/s", .measured = one_batch,
	  .baseline = "bare unnest, 1000", .base = bare_unnest,
	  .kind = BENCH_RATIO_AT_LEAST, .target = 0.7 },
	{ .name = "durable finish, 1000 of 6000 live jobs", .unit = "rows/s",
	  .measured = finish_batch, .baseline = "bare DELETE + INSERT, 1000", .base = bare_finish,
	  .kind = BENCH_RATIO_AT_LEAST, .target = 0.5 },
	{ .name = "submit .. durable, 6000 jobs, all processes", .unit = "jobs/s",
	  .measured = stream, .baseline = "bare unnest, 1000", .base = bare_unnest_stream,
	  .kind = BENCH_RATIO_AT_LEAST, .target = 0.7 },
	{ .name = "submit .. durable, against COPY", .unit = "jobs/s", .measured = stream,
	  .baseline = "bare COPY binary, 1000", .base = bare_copy_stream },
	{ .name = "submit .. durable, a lone job", .unit = "us", .measured = lone,
	  .baseline = "bare single commit", .base = bare_single,
	  .kind = BENCH_RATIO_AT_MOST, .target = 2 },
};

/* Each job that was reported durable has exactly one outcome now, and none is left. */
static void check_tables(struct bench *b, struct ctx *c)
{
	struct qb_err err = { 0 };
	int64_t live = -1, outcomes = -1;

	PGconn *conn = c->floor.conn;

	if (qb_pg_query_i64(conn, "select count(*) from qbench.job", &live, &err) < 0 ||
	    qb_pg_query_i64(conn, "select count(*) from qbench.outcome", &outcomes, &err) < 0)
		bench_die("%s", err.text);
	bench_check(b, live == 0 && outcomes == (int64_t)c->outcomes && c->durable == c->outcomes,
		    "%llu jobs were durable, and so many outcomes are in Postgres",
		    (unsigned long long)c->durable);
}

int main(int argc, char **argv)
{
	static const char *const settings[] = {
		"autovacuum = off", "shared_buffers = 256MB", "max_wal_size = 4GB",
		"checkpoint_timeout = 1h", NULL
	};
	const struct qb_cluster_config config = { .settings = settings };
	static struct ctx c;
	struct qb_cluster *cluster;
	struct qb_err err = { 0 };
	struct bench b;
	int rc;

	bench_begin(&b, argc, argv, "jobs durable in Postgres");
	bench_unpin();
	/* What a killed run of this program left behind. */
	if (qb_cluster_sweep(NULL, &err) < 0)
		bench_note("%s", err.text);
	rc = qb_cluster_start(&config, &cluster, &err);
	if (rc < 0) {
		bench_note("not measured: %s", err.text);
		return rc == QB_EUSAGE ? 0 : 1;
	}
	c.conninfo = qb_cluster_conninfo(cluster);
	set_up(&c);
	bench_run_all(&b, rows, QB_ARRAY_COUNT(rows), &c);
	stop_syncer(&b, &c);
	check_tables(&b, &c);
	qb_syncer_close(c.stepper);
	pgfloor_close(&c.floor);
	if (qb_cluster_destroy(cluster, NULL, &err) < 0)
		bench_note("%s", err.text);
	return bench_end(&b);
}
