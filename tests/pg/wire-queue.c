/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same wire between the queue "pgtx" and its server: enqueue on the producer's connection, claim, fail and complete
 * on the consumer's.  What pgtx promises, after a cut at any byte: a job that enqueue() accepted is there once; one that
 * complete() acknowledged is done and never offered again; one whose end was in doubt is done or free again, and counts
 * one attempt if and only if its transaction committed.
 *
 *	QB_WIRE_CUTS=N, QB_WIRE_SEED=N          as in wire.c: half of them on each side
 */

#include "tests/lib/proxy.h"
#include "tests/pg/queuetest.h"

char *pgtest_base;

#define CONSUMER_JOBS 3

struct cut {
	struct bench b;
	struct proxy *proxy;
	char *conninfo;
	long at_byte;
	enum proxy_dir dir;
	enum proxy_cut kind;
};

#define ck_cut(cond, x) \
	ck_assert_msg(cond, "cut %s after byte %ld, kind %d: %s", (x)->dir == PROXY_UP ? "up" : "down", (x)->at_byte, \
		      (int)(x)->kind, #cond)

static int64_t row(struct cut *x, uint64_t job_id, const char *field)
{
	char *text = qb_xasprintf("select coalesce((select %s::bigint from qbench_pgtx.job where job_id = %llu), -1)", field,
				  (unsigned long long)job_id);
	int64_t n = pgtest_i64(x->b.w.db, text);

	free(text);
	return n;
}

static struct qb_queue *open_through(struct cut *x, int role, uint32_t seat, const char *conninfo, struct qb_err *err)
{
	struct qb_queue_env env = x->b.env;
	struct qb_queue *q;

	env.role = (uint32_t)role;
	env.seat = seat;
	env.conninfo = conninfo;
	return x->b.ops->open(&env, &q, err) == 0 ? q : NULL;
}

/* What was in doubt is over: no session of that name has anything under way. */
static void settle(struct cut *x)
{
	ck_cut(proxy_late_deliver(x->proxy, 0) >= 0, x);
	ck_until(pgtest_i64(x->b.w.db, "select count(*) from pg_stat_activity where application_name like 'qbench%' and "
			    "application_name <> 'qbench driver'") == 0, 20);
}

static void arm(struct cut *x, enum proxy_dir dir, long at_byte, enum proxy_cut kind)
{
	x->dir = dir;
	x->at_byte = at_byte;
	x->kind = kind;
	proxy_arm(x->proxy, dir, at_byte, kind);
}

/* ---- the producer ---- */

static void produce(struct cut *x, uint64_t *next)
{
	uint64_t first = *next;
	int accepted[2] = { 0, 0 };
	struct qb_err err = { 0 };
	struct qb_queue *q = open_through(x, QB_ROLE_DRIVER, x->b.w.driver, x->conninfo, &err);

	for (int i = 0; q && i < 2; i++) {
		struct qb_submit what = { .job_id = first + (uint64_t)i, .max_attempts = 3, .payload = "p", .payload_bytes = 1 };
		struct qb_queue_ticket ticket;

		accepted[i] = x->b.ops->enqueue(q, &what, &ticket, &err) == 0 && x->b.ops->acknowledged(q, &ticket) == 1;
	}
	if (q)
		x->b.ops->close(q);
	/* At once: what was acknowledged is there already. */
	for (int i = 0; i < 2; i++)
		ck_cut(!accepted[i] || row(x, first + (uint64_t)i, "1") == 1, x);
	settle(x);
	for (int i = 0; i < 2; i++) {
		struct qb_queue_ticket ticket;
		int there = row(x, first + (uint64_t)i, "1") == 1;

		ck_cut(there || !accepted[i], x);
		/* In doubt: to enqueue it again is safe, its key is its id. */
		if (!accepted[i]) {
			qb_err_clear(&err);
			int rc = try_enqueue(&x->b, first + (uint64_t)i, "p", 1, 3, &ticket, &err);

			ck_cut(there ? rc == QB_EPG && !strcmp(qb_pg_sqlstate(), "23505") : rc == 0, x);
		}
		ck_cut(row(x, first + (uint64_t)i, "state") == 0, x);
	}
	*next = first + 2;
	sql(x->b.w.db, "delete from qbench_pgtx.job");
}

/* ---- the consumer ---- */

/* Each job: complete, fail and come back, fail for good. What the calls said. */
static void consume(struct cut *x, uint64_t *next)
{
	uint64_t first = *next;
	static const int64_t end_state[CONSUMER_JOBS] = { 1, 0, 2 };
	int64_t failed[CONSUMER_JOBS] = { 0 };
	int said[CONSUMER_JOBS] = { 0 }, final;
	struct qb_err err = { 0 };

	for (uint64_t i = 0; i < CONSUMER_JOBS; i++)
		enqueue(&x->b, first + i, 3);
	struct qb_queue *q = open_through(x, QB_ROLE_WORKER, x->b.w.worker, x->conninfo, &err);
	struct qb_queue_job job;
	uint64_t due_ns = qb_now_ns() + 3600 * QB_NS_PER_S;

	for (int i = 0; q && i < CONSUMER_JOBS; i++) {
		if (x->b.ops->claim(q, 0, &job, &err) != QB_OK || x->b.ops->start(q, &job, &err) < 0)
			break;
		ck_cut(job.job_id == first + (uint64_t)i, x);
		int rc = i == 0 ? x->b.ops->complete(q, &job, "r", 1, &err) :
			x->b.ops->fail(q, &job, i == 2, &due_ns, &final, &err);

		if (rc < 0)
			break;
		said[i] = 1;
	}
	if (q)
		x->b.ops->close(q);
	for (int i = 0; i < CONSUMER_JOBS; i++)
		ck_cut(!said[i] || row(x, first + (uint64_t)i, "attempts") == 1, x);
	settle(x);
	for (int i = 0; i < CONSUMER_JOBS; i++) {
		uint64_t id = first + (uint64_t)i;
		int64_t attempts = row(x, id, "attempts");

		failed[i] = row(x, id, "failures");
		ck_cut(attempts == 1 || (attempts == 0 && !said[i]), x);
		/* All of the transaction or nothing of it. */
		ck_cut(failed[i] == (i > 0 && attempts), x);
		ck_cut(row(x, id, "state") == (attempts ? end_state[i] : 0), x);
	}
	/* Others take what is free, and only that. */
	q = consumer(&x->b);
	sql(x->b.w.db, "update qbench_pgtx.job set due_at = now()");
	while (claim(&x->b, q, 0, &job) == QB_OK) {
		ck_cut(row(x, job.job_id, "state") == 0, x);
		end(&x->b, q, &job);
	}
	x->b.ops->close(q);
	for (int i = 0; i < CONSUMER_JOBS; i++)
		ck_cut(row(x, first + (uint64_t)i, "attempts") == 1 + (i == 1 && failed[i]), x);
	*next = first + CONSUMER_JOBS;
	sql(x->b.w.db, "delete from qbench_pgtx.job");
}

/* ---- all points of one side ---- */

START_TEST(wire_of_pgtx_cut_after_this_byte_keeps_its_promise)
{
	void (*const side)(struct cut *, uint64_t *) = _i == 0 ? produce : consume;
	long wanted = proxy_setting("QB_WIRE_CUTS", 240) / 2, seed = proxy_setting("QB_WIRE_SEED", 1);
	long bytes[2], points = 0, missed = 0;
	char *folder = pgtest_folder(_i == 0 ? "producer" : "consumer");
	char *server = qb_xasprintf("%s/.s.PGSQL.5432", qb_cluster_dir(shared));
	uint64_t next = 1;
	struct qb_rng rng;
	struct cut x = { 0 };
	int pgtx = 0;

	while (strcmp(qb_queues[pgtx]->name, "pgtx"))
		pgtx++;
	bench_open(&x.b, pgtx, folder + strlen(pgtest_base) + 1);
	ck_assert_int_eq(proxy_open(folder, server, &x.proxy), 0);
	x.conninfo = qb_xasprintf("%s host=%s", HERE, folder);
	side(&x, &next);
	ck_assert_int_eq(proxy_await_end(x.proxy, bytes), 0);
	qb_rng_init(&rng, (uint64_t)seed, "wire of pgtx");
	for (int dir = 0; dir < 2; dir++) {
		long stride = proxy_stride(bytes[dir], wanted);

		for (long at = (long)qb_rng_below(&rng, (uint64_t)stride); at <= bytes[dir]; at += stride) {
			static const enum proxy_cut kinds[] = { PROXY_CLOSE, PROXY_LATE, PROXY_HALF, PROXY_STALL };

			arm(&x, (enum proxy_dir)dir, at, kinds[qb_rng_below(&rng, 8) % 7 % 4]);
			side(&x, &next);
			missed += !proxy_disarm(x.proxy);
			points++;
		}
	}
	printf("# conversation %ld + %ld bytes, seed %ld, %ld points not reached\n", bytes[0], bytes[1], seed, missed);
	printf("# figures: wire_cuts=%ld postgres_faults=0 lost=0 silent=0 wrong=0\n", points - missed);
	fflush(stdout);
	ck_assert_int_le(missed, 2);
	proxy_close(x.proxy);
	bench_close(&x.b);
	free(x.conninfo);
	free(folder);
	free(server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire-queue");
	TCase *tc = tcase_create("wire-queue");

	tcase_set_timeout(tc, 60 * 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_loop_test(tc, wire_of_pgtx_cut_after_this_byte_keeps_its_promise, 0, 2);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
