/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wire between syncer and server, cut after every byte of a whole conversation, in both directions: connect,
 * prepare, batches with new jobs, outcomes, retries, ambiguous jobs and events, disconnect.  After each cut the segment
 * and the tables are compared job by job: nothing lost, nothing twice, nothing that was called durable missing.
 *
 *	QB_WIRE_CUTS=N          about N points, half of them in each direction ("all": every byte); default 240
 *	QB_WIRE_SEED=N          which ones
 */

#include "tests/lib/proxy.h"
#include "tests/pg/synctest.h"

char *pgtest_base;

#define SLICES 8
#define HELD_NS (QB_NS_PER_S / 2)
#define JOBS 5          /* of one conversation */

enum { ID_DONE, ID_RETRIED, ID_AMBIGUOUS, ID_PLAIN, ID_SHORT };

struct wire {
	struct world w;
	struct proxy *proxy;
	char *conninfo;
	uint64_t base;                  /* id of the conversation's first job */
	struct qb_held ref[JOBS];       /* as submitted */
	int connected;
	unsigned held;                  /* times that a statement without its end held the row of the run */
	/* What is being tried, for messages. */
	long at_byte;
	enum proxy_dir dir;
	enum proxy_cut cut;
};

#define ck_wire(cond, x, ...) \
	ck_assert_msg(cond, "cut %s after byte %ld, kind %d: %s", (x)->dir == PROXY_UP ? "up" : "down", (x)->at_byte, \
		      (int)(x)->cut, #cond __VA_ARGS__)

/* ---- the conversation ---- */

static int try_connect(struct wire *x, struct qb_err *err)
{
	if (!x->w.s)
		ck_assert_int_eq(qb_syncer_open(&x->w.seg, x->w.syncer, x->conninfo, &x->w.log, &x->w.s), 0);
	int rc = qb_syncer_connect(x->w.s, err);

	x->connected = rc == 0;
	return rc;
}

static void try_steps(struct wire *x)
{
	struct qb_err err = { 0 };

	while (x->connected) {
		int rows = qb_syncer_step(x->w.s, 1, &err);

		ck_wire(rows != QB_EFENCED, x);
		x->connected = rows >= 0;
		if (rows == 0)
			break;
	}
}

static void lose_worker(struct world *w)
{
	struct qb_recovery r;

	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w->worker, NULL, NULL), 0);
	qb_recovery_close(&r);
	ck_assert_uint_eq(sit(&w->seg, QB_ROLE_WORKER), w->worker);
}

static void accept_some(struct wire *x)
{
	static const char payload[] = "\0\377 nothing \\ but ' bytes";

	x->base = x->w.next_id;
	for (int i = 0; i < ID_SHORT; i++)
		x->ref[i] = submit(&x->w, payload, sizeof(payload), i == ID_AMBIGUOUS ? QB_EFFECT_OPAQUE : 0);
}

static void end_some(struct wire *x)
{
	struct qb_held held = start_one(&x->w);

	complete(&x->w, &held);
	held = start_one(&x->w);
	fail_job(&x->w, &held, 0, qb_now_ns() + 3600 * QB_NS_PER_S);
	start_one(&x->w);
	lose_worker(&x->w);
}

static void end_the_rest(struct wire *x)
{
	struct world *w = &x->w;
	uint32_t slot = x->ref[ID_AMBIGUOUS].slot_idx;

	ck_assert_int_eq(qb_job_resolve(&w->seg, w->syncer, slot, qb_load_acquire64(&w->seg.jobs[slot].word), QB_JOB_READY,
					NULL, 0), 0);
	qb_store_relaxed64(&w->seg.jobs[x->ref[ID_RETRIED].slot_idx].due_ns, 0);
	qb_store_relaxed64(&w->seg.hdr->next_due_ns, 0);
	ck_assert_uint_eq(qb_job_promote_due(&w->seg, qb_now_ns()), 1);
	/* Accepted and finished between two batches. */
	x->ref[ID_SHORT] = submit(w, NULL, 0, 0);
	work_off(w);
}

/* ---- the comparison ---- */

/* Rows of the run, asked with its name as $1 and the conversation's first job as $2. Caller: PQclear. */
static PGresult *ask(struct wire *x, const char *text)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_INT8 };
	uint64_t be = htobe64(x->base);
	const char *values[] = { x->w.run_id, (const char *)&be };
	const int lengths[] = { 0, 8 }, formats[] = { 0, 1 };
	struct qb_err err = { 0 };
	PGresult *res;

	ck_ok(qb_pg_query(x->w.db, text, 2, oids, values, lengths, formats, 1, &res, &err), err);
	return res;
}

static int64_t number(const PGresult *res, int row, int col)
{
	int64_t n;

	ck_assert_int_eq(qb_pg_get_i64(res, row, col, &n), 0);
	return n;
}

/* What the segment called durable is in the tables, whatever comes later. */
static void durable_is_there(struct wire *x)
{
	PGresult *res = ask(x, "select job_id from qbench.job where job_id >= $2 and " OF_RUN
			    " union all select job_id from qbench.outcome where job_id >= $2 and " OF_RUN);
	unsigned there[JOBS] = { 0 };

	for (int row = 0; row < PQntuples(res); row++) {
		uint64_t i = (uint64_t)number(res, row, 0) - x->base;

		ck_wire(i < JOBS && !there[i], x, ": live and over, or unknown");
		there[i] = 1;
	}
	PQclear(res);
	for (unsigned i = 0; i < x->w.next_id - x->base; i++)
		ck_wire(there[i] || !qb_job_is_durable(&x->w.seg, &x->ref[i]), x, ": durable, and not there");
}

/* Live rows of the run are those of the segment, in the states that it says; all other jobs are over. */
static void live_are_alike(struct wire *x)
{
	PGresult *res = ask(x, "select job_id, state::bigint, failures::bigint, attempt::bigint, (select count(*) from "
			    "qbench.outcome where " OF_RUN ") from qbench.job where $2 > 0 and " OF_RUN " union all select "
			    "0, 0, 0, 0, (select count(*) from qbench.outcome where " OF_RUN ") order by 1");
	int row = 1;

	for (unsigned i = 0; i < x->w.next_id - x->base; i++) {
		const struct qb_job_shm *job = &x->w.seg.jobs[x->ref[i].slot_idx];
		uint64_t word = qb_load_acquire64(&job->word);
		uint32_t state = qb_word_state(word);

		if (state == QB_JOB_FREE || job->job_id != x->base + i)
			continue;
		if (state == QB_JOB_CLAIMED || state == QB_JOB_STARTED)
			state = QB_JOB_READY;
		ck_wire(row < PQntuples(res), x, ": a live row is missing");
		ck_wire(number(res, row, 0) == (int64_t)(x->base + i), x);
		ck_wire(number(res, row, 1) == state, x);
		ck_wire(number(res, row, 2) == qb_word_failures(word), x);
		ck_wire(number(res, row, 3) == qb_word_attempt(word), x);
		row++;
	}
	ck_wire(row == PQntuples(res), x, ": a live row of a job that is over");
	ck_wire(number(res, 0, 4) == (int64_t)x->w.next_id - row, x, ": outcomes");
	PQclear(res);
}

/* Attempt and failures of each end; each row written once; each record once. */
static void ends_are_right(struct wire *x)
{
	PGresult *res = ask(x,
		"select (select count(*) from qbench.outcome where job_id >= $2 and state = 5 and length(result) = 8 and"
		"  attempt = case job_id - $2 when 1 then 2 when 2 then 2 else 1 end and"
		"  failures = case job_id - $2 when 1 then 1 else 0 end and " OF_RUN "),"
		" (select count(*) from qbench.event where seat = 2 and " OF_RUN "),"
		" (select coalesce(max(seq), 0) from qbench.event where seat = 2 and " OF_RUN "),"
		" count(*) filter (where what = 'outcome INSERT'), count(*) filter (where what = 'outcome UPDATE'),"
		" count(*) filter (where what = 'job INSERT') - count(distinct job_id) filter (where what = 'job INSERT')"
		" from public.audit where job_id >= $2 and " OF_RUN);

	ck_wire(number(res, 0, 0) == JOBS, x, ": ends");
	ck_wire(number(res, 0, 1) == (int64_t)x->w.worker_log.tail, x, ": records");
	ck_wire(number(res, 0, 2) == (int64_t)x->w.worker_log.tail, x, ": records");
	ck_wire(number(res, 0, 3) == JOBS, x, ": an outcome twice, or none");
	ck_wire(number(res, 0, 4) == 0, x, ": an outcome changed");
	ck_wire(number(res, 0, 5) == 0, x, ": a live row twice");
	PQclear(res);
}

/* A late statement that is not whole yet may hold the row of the run: then it comes to its end first, or gets lost. */
static void connect_again(struct wire *x)
{
	struct qb_err err = { 0 };

	if (x->cut == PROXY_LATE)
		qb_pg_set_reply_timeout(HELD_NS);
	int rc = try_connect(x, &err);

	qb_pg_set_reply_timeout(120 * QB_NS_PER_S);
	if (rc == QB_ETIMEOUT) {
		x->held++;
		ck_wire(proxy_late_deliver(x->proxy, (int)(x->held & 1)) == 1, x, ": who holds the row?");
		qb_err_clear(&err);
		rc = try_connect(x, &err);
	}
	ck_ok(rc, err);
}

/* Connect once more, undisturbed, until everything is durable. */
static void finish(struct wire *x)
{
	durable_is_there(x);
	if (!x->connected)
		connect_again(x);
	drain(&x->w);
	live_are_alike(x);
}

/* ---- one point ---- */

static int64_t epoch_of(struct wire *x)
{
	return sql_number(&x->w, "select epoch from qbench.run where run_id = $1", 0);
}

/* Bytes of an earlier connection reach the server when its successor has done everything: nothing changes. */
static void deliver_late(struct wire *x)
{
	int late = proxy_late_deliver(x->proxy, 0);

	ck_wire(late >= 0, x);
	if (late == 0)
		return;
	live_are_alike(x);
	ck_wire(epoch_of(x) == (int64_t)qb_load_relaxed64(&x->w.seg.hdr->mark_epoch), x, ": shut out by its own late claim");
}

/* When the conversation broke off: shall the wire be mended before the next part of it? */
static void between(struct wire *x, int mends)
{
	if (x->connected || !mends)
		return;
	finish(x);
	deliver_late(x);
}

static void converse(struct wire *x, int mends)
{
	void (*const part[])(struct wire *) = { accept_some, end_some, end_the_rest };
	struct qb_err err = { 0 };

	try_connect(x, &err);
	for (unsigned i = 0; i < 3; i++) {
		part[i](x);
		try_steps(x);
		between(x, mends);
	}
	if (x->connected) {
		/* The last bytes: good-bye. */
		qb_syncer_close(x->w.s);
		x->w.s = NULL;
		x->connected = 0;
	}
}

static void judge(struct wire *x)
{
	finish(x);
	deliver_late(x);
	ends_are_right(x);
	qb_syncer_close(x->w.s);
	x->w.s = NULL;
	x->connected = 0;
}

/* 1 when the cut was reached. */
static int one_point(struct wire *x, enum proxy_dir dir, long at_byte, enum proxy_cut cut, int mends)
{
	x->dir = dir;
	x->at_byte = at_byte;
	x->cut = cut;
	proxy_arm(x->proxy, dir, at_byte, cut);
	converse(x, mends);
	int was_cut = proxy_disarm(x->proxy);

	judge(x);
	return was_cut;
}

static void wire_open(struct wire *x, const char *name)
{
	char *folder = pgtest_folder(name), *server = qb_xasprintf("%s/.s.PGSQL.5432", qb_cluster_dir(shared));

	memset(x, 0, sizeof(*x));
	world_open_cfg(&x->w, HERE, name, NULL);
	ck_assert_uint_eq(x->w.worker, 2);
	qb_event_open(&x->w.log, &x->w.seg, x->w.syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(proxy_open(folder, server, &x->proxy), 0);
	x->conninfo = qb_xasprintf("%s host=%s", HERE, folder);
	free(folder);
	free(server);
}

static void wire_close(struct wire *x)
{
	proxy_close(x->proxy);
	free(x->conninfo);
	everything_once(&x->w);
	world_close(&x->w);
}

/* How long an undisturbed conversation is. To be judged, when all has been asked about it. */
static void measure(struct wire *x, long bytes[2])
{
	converse(x, 0);
	ck_assert_int_eq(proxy_await_end(x->proxy, bytes), 0);
}

START_TEST(wire_cut_after_this_byte_loses_and_doubles_nothing)
{
	static const enum proxy_cut cuts[] = {
		PROXY_CLOSE, PROXY_LATE, PROXY_HALF, PROXY_CLOSE, PROXY_LATE, PROXY_HALF, PROXY_CLOSE, PROXY_STALL,
	};
	long wanted = proxy_setting("QB_WIRE_CUTS", 240), seed = proxy_setting("QB_WIRE_SEED", 1);
	long bytes[2], points = 0, missed = 0;
	char name[32];
	struct qb_rng rng;
	struct wire x;

	snprintf(name, sizeof(name), "wire-%d", _i);
	wire_open(&x, name);
	measure(&x, bytes);
	judge(&x);
	qb_rng_init(&rng, (uint64_t)seed, "wire");
	for (int dir = 0; dir < 2; dir++) {
		long stride = proxy_stride(bytes[dir], wanted), n = 0;

		for (long at = stride > 1 ? (long)qb_rng_below(&rng, (uint64_t)stride) : 0; at <= bytes[dir]; at += stride, n++) {
			uint64_t how = qb_rng_next(&rng);

			if (n % SLICES != _i)
				continue;
			missed += !one_point(&x, (enum proxy_dir)dir, at, cuts[how % 8], how >> 8 & 1);
			points++;
		}
	}
	printf("# conversation %ld + %ld bytes, seed %ld, %u statements held up before their end, %ld points not reached\n",
	       bytes[0], bytes[1], seed, x.held, missed);
	printf("# figures: wire_cuts=%ld postgres_faults=0 lost=0 silent=0 wrong=0\n", points - missed);
	fflush(stdout);
	wire_close(&x);
	/* The last bytes of a conversation may be fewer than those of the one that was measured. */
	ck_assert_int_le(missed, 2);
}
END_TEST

/* Where a conversation says that. */
static long place(struct wire *x, const void *bytes, size_t count, long from_byte)
{
	long at = proxy_find(x->proxy, bytes, count, from_byte);

	ck_assert_msg(at >= 0, "nobody says \"%s\"", (const char *)bytes);
	return at;
}

START_TEST(late_claim_of_the_epoch_does_not_shut_out_its_own_successor)
{
	static const char claim[] = "epoch = greatest(epoch";
	struct wire x;
	long bytes[2];

	wire_open(&x, "late-claim");
	measure(&x, bytes);
	long at = place(&x, claim, sizeof(claim) - 1, 0);

	judge(&x);
	for (int mends = 0; mends < 2; mends++)
		ck_assert_int_eq(one_point(&x, PROXY_UP, at, PROXY_LATE, mends), 1);
	wire_close(&x);
}
END_TEST

/* Each batch of the conversation: begun, its answer lost, and again when its successor has done everything. */
START_TEST(late_batch_changes_nothing)
{
	/* The portal without a name, and the statement: how a batch is bound. */
	static const char first[] = "\0batch_again", next[] = "\0batch";
	struct wire x;
	long bytes[2];

	wire_open(&x, "late-batch");
	measure(&x, bytes);
	long at = place(&x, first, sizeof(first), 0), batches[3] = { at };

	for (int i = 1; i < 3; i++)
		at = batches[i] = place(&x, next, sizeof(next), at + 1);
	judge(&x);
	for (int i = 0; i < 3; i++) {
		for (int how = 0; how < 4; how++)
			ck_assert_int_eq(one_point(&x, PROXY_UP, batches[i], how < 2 ? PROXY_LATE : PROXY_CLOSE, how % 2), 1);
	}
	wire_close(&x);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("wire");
	TCase *tc = tcase_create("wire");

	tcase_set_timeout(tc, 60 * 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, late_claim_of_the_epoch_does_not_shut_out_its_own_successor);
	tcase_add_test(tc, late_batch_changes_nothing);
	tcase_add_loop_test(tc, wire_cut_after_this_byte_loses_and_doubles_nothing, 0, SLICES);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
