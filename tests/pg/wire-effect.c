/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same wire between a worker and the server that its transactional effects go to, cut after every byte of connect,
 * prepare and two effects.  Whoever makes the effect again, in the same attempt or in the next one, finds out: it
 * happens once, also when what the cut connection had sent arrives late.
 *
 *	QB_WIRE_CUTS=N, QB_WIRE_SEED=N          as in wire.c
 */

#include "sync/effect.h"
#include "tests/lib/proxy.h"
#include "tests/pg/synctest.h"

char *pgtest_base;

#define HELD_NS (QB_NS_PER_S / 2)
#define EFFECTS 2       /* of one conversation */

struct cut {
	struct world w;
	struct proxy *proxy;
	char *conninfo;
	int64_t run_no;
	uint64_t next_id;
	/* What is being tried, for messages. */
	long at_byte;
	enum proxy_dir dir;
	enum proxy_cut kind;
};

#define ck_cut(cond, x) \
	ck_assert_msg(cond, "cut %s after byte %ld, kind %d: %s", (x)->dir == PROXY_UP ? "up" : "down", (x)->at_byte, \
		      (int)(x)->kind, #cond)

/* 1 when it is there, with one row in the ledger; 0 when it is not, with none. */
static int happened(struct cut *x, uint64_t job_id)
{
	int64_t n = sql_number(&x->w, "select count(*) * 10 + (select count(*) from qbench.effect where job_id = $2 and "
			       "done_attempt is not null and " OF_RUN ") from qbench.ledger where job_id = $2 and " OF_RUN,
			       (int64_t)job_id);

	ck_cut(n == 0 || n == 11, x);
	return n == 11;
}

/* On a connection of its own: how many of them it is told to have happened, from the first on. */
static int make(struct cut *x, const char *conninfo, uint64_t first, uint32_t attempt, struct qb_err *err)
{
	PGconn *conn;
	int told = 0, rc = qb_pg_connect(conninfo, "worker", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = qb_effect_prepare(conn, err);
	for (uint64_t id = first; rc == 0 && id < first + EFFECTS; id++) {
		struct qb_attempt a = { .run_no = x->run_no, .job_id = id, .attempt = attempt, .seat = x->w.worker };
		uint32_t bytes;
		void *stored = NULL;

		rc = qb_effect_make(conn, &a, "result", 6, &stored, &bytes, err);
		/* Done before: the result is the one of then. */
		ck_cut(!stored || (bytes == 6 && !memcmp(stored, "result", 6)), x);
		free(stored);
		told += rc == 0;
	}
	PQfinish(conn);
	return rc < 0 && told == 0 ? rc : told;
}

/* 1 when the cut was reached. */
static int one_point(struct cut *x, int next_attempt)
{
	uint64_t first = x->next_id;
	struct qb_err err = { 0 };
	int told = make(x, x->conninfo, first, 1, &err), was_cut = proxy_disarm(x->proxy);

	for (int i = 0; i < told; i++)
		ck_cut(happened(x, first + (uint64_t)i), x);
	/* A late statement without its end may hold the row: then it comes to its end first, or gets lost. */
	qb_pg_set_reply_timeout(x->kind == PROXY_LATE ? HELD_NS : 120 * QB_NS_PER_S);
	qb_err_clear(&err);
	told = make(x, HERE, first, next_attempt ? 2 : 1, &err);
	qb_pg_set_reply_timeout(120 * QB_NS_PER_S);
	if (told < EFFECTS) {
		ck_cut(proxy_late_deliver(x->proxy, (int)(first / EFFECTS % 2)) == 1, x);
		qb_err_clear(&err);
		told = make(x, HERE, first, next_attempt ? 2 : 1, &err);
	}
	ck_ok(told, err);
	ck_cut(told == EFFECTS, x);
	ck_cut(proxy_late_deliver(x->proxy, 0) >= 0, x);
	for (uint64_t id = first; id < first + EFFECTS; id++)
		ck_cut(happened(x, id), x);
	x->next_id += EFFECTS;
	return was_cut;
}

START_TEST(effect_happens_once_wherever_the_wire_is_cut)
{
	static const enum proxy_cut kinds[] = { PROXY_CLOSE, PROXY_LATE, PROXY_HALF, PROXY_LATE, PROXY_CLOSE, PROXY_LATE,
						PROXY_HALF, PROXY_STALL };
	long wanted = proxy_setting("QB_WIRE_CUTS", 240), seed = proxy_setting("QB_WIRE_SEED", 1);
	long bytes[2], points = 0, missed = 0;
	char *folder = pgtest_folder("wire"), *server = qb_xasprintf("%s/.s.PGSQL.5432", qb_cluster_dir(shared));
	struct cut x = { .next_id = 1 };
	struct qb_rng rng;
	struct qb_err err = { 0 };

	world_open_cfg(&x.w, HERE, "effects", NULL);
	x.run_no = sql_number(&x.w, "select run_no from qbench.run where run_id = $1", 0);
	ck_assert_int_eq(proxy_open(folder, server, &x.proxy), 0);
	x.conninfo = qb_xasprintf("%s host=%s", HERE, folder);
	ck_assert_int_eq(make(&x, x.conninfo, x.next_id, 1, &err), EFFECTS);
	ck_assert_int_eq(proxy_await_end(x.proxy, bytes), 0);
	x.next_id += EFFECTS;
	qb_rng_init(&rng, (uint64_t)seed, "wire of effects");
	for (int dir = 0; dir < 2; dir++) {
		long stride = proxy_stride(bytes[dir], wanted);

		for (x.at_byte = (long)qb_rng_below(&rng, (uint64_t)stride); x.at_byte <= bytes[dir]; x.at_byte += stride) {
			uint64_t how = qb_rng_next(&rng);

			x.dir = (enum proxy_dir)dir;
			x.kind = kinds[how % 8];
			proxy_arm(x.proxy, x.dir, x.at_byte, x.kind);
			missed += !one_point(&x, how >> 8 & 1);
			points++;
		}
	}
	printf("# conversation %ld + %ld bytes, seed %ld, %ld points not reached\n", bytes[0], bytes[1], seed, missed);
	printf("# figures: wire_cuts=%ld postgres_faults=0 lost=0 silent=0 wrong=0\n", points - missed);
	fflush(stdout);
	ck_assert_int_le(missed, 2);
	proxy_close(x.proxy);
	world_close(&x.w);
	free(x.conninfo);
	free(folder);
	free(server);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire-effect");
	TCase *tc = tcase_create("wire-effect");

	tcase_set_timeout(tc, 60 * 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, effect_happens_once_wherever_the_wire_is_cut);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
