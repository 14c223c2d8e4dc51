/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactional jobs against a real server: the mark and the effect are one transaction, the fence waits for one that
 * runs and shuts out one that comes later, and no kill of the syncer makes an answer wrong.
 */
#include <pthread.h>

#include "queue/shm-effect.h"
#include "sync/effect.h"
#include "sync/resolve.h"
#include "tests/pg/synctest.h"

char *pgtest_base;

#define RESULT "what it was for"

/* A worker's connection, which the test holds in its own hand. */
struct hand {
	PGconn *conn;
	struct qb_attempt a;
	void *stored;
	uint32_t stored_bytes;
};

static void hand_open(struct hand *h, const struct world *w, uint64_t job_id, uint32_t attempt)
{
	struct qb_err err = { 0 };

	memset(h, 0, sizeof(*h));
	h->conn = sql_connect(w->conninfo);
	ck_ok(qb_effect_prepare(h->conn, &err), err);
	ck_ok(qb_schema_run(h->conn, w->run_id, &h->a.run_no, &err), err);
	h->a.job_id = job_id;
	h->a.attempt = attempt;
	h->a.seat = 5;
}

static void hand_close(struct hand *h)
{
	free(h->stored);
	PQfinish(h->conn);
}

static int make(struct hand *h, const void *result, uint32_t bytes)
{
	struct qb_err err = { 0 };

	free(h->stored);
	h->stored = NULL;
	return qb_effect_make(h->conn, &h->a, result, bytes, &h->stored, &h->stored_bytes, &err);
}

/* As far as before the commit, or as the test says: "commit", "rollback". */
static void mark_only(struct hand *h, const char *result)
{
	char *text = qb_xasprintf("begin; insert into qbench.effect (run_no, job_id, fence, done_attempt, result) values"
				  " (%lld, %llu, 0, %u, '%s');"
				  " insert into qbench.ledger (run_no, job_id, attempt, seat) values (%lld, %llu, %u, 5)",
				  (long long)h->a.run_no, (unsigned long long)h->a.job_id, h->a.attempt, result,
				  (long long)h->a.run_no, (unsigned long long)h->a.job_id, h->a.attempt);

	sql(h->conn, text);
	free(text);
}

static int64_t effects_of(const struct world *w, uint64_t job_id)
{
	return sql_number(w, "select count(*) from qbench.ledger where job_id = $2 and " OF_RUN, (int64_t)job_id);
}

static int64_t fence_of(const struct world *w, uint64_t job_id)
{
	return JOB_FIELD(w, "effect", "fence", job_id);
}

/* That many transactional jobs, started by a worker that is dead then: all in doubt. */
static void leave_in_doubt(struct world *w, unsigned count)
{
	struct qb_recovery r;
	struct qb_held held;

	for (unsigned i = 0; i < count; i++)
		submit(w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_int_eq(qb_job_claim(&w->seg, w->worker, &held), QB_OK);
		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
	}
	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w->worker, NULL, NULL), 0);
	ck_assert_uint_eq(r.verdicts[QB_VERDICT_IN_DOUBT], count);
	qb_recovery_close(&r);
	w->worker = sit(&w->seg, QB_ROLE_WORKER);
	qb_event_open(&w->worker_log, &w->seg, w->worker, QB_OVERFLOW_WAIT);
}

static uint32_t slot_of(const struct world *w, uint64_t job_id)
{
	for (uint32_t i = 0; i < w->seg.cfg.job_count; i++)
		if (w->seg.jobs[i].job_id == job_id && qb_word_state(qb_load_acquire64(&w->seg.jobs[i].word)) != QB_JOB_FREE)
			return i;
	return QB_NO_BLOCK;
}

static uint32_t state_now(const struct world *w, uint64_t job_id)
{
	uint32_t slot = slot_of(w, job_id);

	return slot == QB_NO_BLOCK ? QB_JOB_FREE : qb_word_state(qb_load_acquire64(&w->seg.jobs[slot].word));
}

/* ---- one transaction ---- */

START_TEST(effect_and_mark_happen_together_with_a_result_of_any_bytes)
{
	uint8_t bytes[256 + 8];
	struct world w;
	struct hand h;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	world_open_cfg(&w, HERE, "together", NULL);
	hand_open(&h, &w, 1, 1);
	ck_assert_int_eq(make(&h, bytes, sizeof(bytes)), 0);
	ck_assert_ptr_null(h.stored);
	ck_assert_int_eq(effects_of(&w, 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "done_attempt", 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "(length(result) = 264 and get_byte(result, 0) = 0 and"
				   " get_byte(result, 255) = 255 and get_byte(result, 263) = 7)::int", 1), 1);
	/* Nothing is a result too. */
	h.a.job_id = 2;
	ck_assert_int_eq(make(&h, NULL, 0), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "length(result)", 2), 0);
	hand_close(&h);
	world_close(&w);
}
END_TEST

START_TEST(same_attempt_again_finds_its_mark_and_has_no_second_effect)
{
	struct world w;
	struct hand h;

	world_open_cfg(&w, HERE, "again", NULL);
	hand_open(&h, &w, 1, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
	ck_assert_uint_eq(h.stored_bytes, sizeof(RESULT));
	ck_assert_mem_eq(h.stored, RESULT, sizeof(RESULT));
	ck_assert_int_eq(effects_of(&w, 1), 1);
	/* A later one, too: with the result of the one that had the effect. */
	h.a.attempt = 4;
	ck_assert_int_eq(make(&h, "other", 5), 0);
	ck_assert_mem_eq(h.stored, RESULT, sizeof(RESULT));
	ck_assert_int_eq(effects_of(&w, 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "done_attempt", 1), 3);
	hand_close(&h);
	world_close(&w);
}
END_TEST

START_TEST(effect_that_is_refused_leaves_no_mark)
{
	struct world w;
	struct hand h;

	world_open_cfg(&w, HERE, "refused", NULL);
	hand_open(&h, &w, 1, 1);
	sql(w.db, "insert into public.slow values ('refused', 1, 0, true)");
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), QB_EPG);
	ck_assert_int_eq(PQstatus(h.conn), CONNECTION_OK);
	ck_assert_int_eq(PQtransactionStatus(h.conn), PQTRANS_IDLE);
	ck_assert_int_eq(effects_of(&w, 1), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "done_attempt", 1), -1);
	sql(w.db, "delete from public.slow where run_id = 'refused'");
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
	ck_assert_int_eq(effects_of(&w, 1), 1);
	hand_close(&h);
	world_close(&w);
}
END_TEST

/* ---- the fence ---- */

START_TEST(undone_job_is_ready_again_and_its_late_worker_shut_out)
{
	struct qb_held held;
	struct world w;
	struct hand h;

	world_open(&w, HERE, "late");
	leave_in_doubt(&w, 1);
	hand_open(&h, &w, 1, 1);
	drain(&w);
	ck_assert_uint_eq(state_now(&w, 1), QB_JOB_READY);
	ck_assert_int_eq(fence_of(&w, 1), 1);
	/* The statements of the dead worker arrive now, as often as they like. */
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), QB_EFENCED);
	ck_assert_int_eq(PQtransactionStatus(h.conn), PQTRANS_IDLE);
	ck_assert_int_eq(effects_of(&w, 1), 0);
	held = start_one(&w);
	h.a.attempt = 2;
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
	complete(&w, &held);
	drain(&w);
	ck_assert_int_eq(effects_of(&w, 1), 1);
	ck_assert_int_eq(outcome_rows(&w), 1);
	hand_close(&h);
	world_close(&w);
}
END_TEST

START_TEST(done_job_is_done_with_the_result_that_was_marked)
{
	static const uint32_t sizes[] = { 0, 1, 256, 5000, QB_RESULT_BYTES_MAX };
	uint8_t *bytes = qb_xmalloc(QB_RESULT_BYTES_MAX);
	struct world w;
	struct hand h;

	for (unsigned i = 0; i < QB_RESULT_BYTES_MAX; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	world_open(&w, HERE, "done");
	leave_in_doubt(&w, QB_ARRAY_COUNT(sizes));
	hand_open(&h, &w, 1, 1);
	for (unsigned i = 0; i < QB_ARRAY_COUNT(sizes); i++) {
		h.a.job_id = i + 1;
		ck_assert_int_eq(make(&h, bytes, sizes[i]), 0);
	}
	drain(&w);
	ck_assert_int_eq(outcome_rows(&w), QB_ARRAY_COUNT(sizes));
	for (unsigned i = 0; i < QB_ARRAY_COUNT(sizes); i++) {
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", i + 1), QB_JOB_DONE);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "attempt", i + 1), 1);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "(coalesce(result, '') = (select e.result from qbench.effect e"
					   " where e.run_no = outcome.run_no and e.job_id = outcome.job_id))::int", i + 1), 1);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "length(coalesce(result, ''))", i + 1), sizes[i]);
		ck_assert_int_eq(effects_of(&w, i + 1), 1);
	}
	/* Told as found after a kill. */
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where type = 5 and arg1 = 1 and attempt = 1 and "
				    OF_RUN, 0), QB_ARRAY_COUNT(sizes));
	free(bytes);
	hand_close(&h);
	world_close(&w);
}
END_TEST

/* One transaction of a dead worker still runs; the others are not held up, and it is waited for. */
static void running_transaction(const char *name, const char *how_it_ends, uint32_t becomes)
{
	struct world w;
	struct hand h;

	world_open(&w, HERE, name);
	leave_in_doubt(&w, 9);
	hand_open(&h, &w, 4, 1);
	mark_only(&h, RESULT);
	ck_until((step(&w), state_now(&w, 1) + state_now(&w, 2) + state_now(&w, 3) + state_now(&w, 5) + state_now(&w, 6) +
		  state_now(&w, 7) + state_now(&w, 8) + state_now(&w, 9) == 8 * QB_JOB_READY), 30);
	ck_assert_uint_eq(state_now(&w, 4), QB_JOB_AMBIGUOUS);
	/* It has not come to its end: neither is the run. */
	ck_assert_int_eq(qb_syncer_is_clean(w.s), 0);
	sql(h.conn, how_it_ends);
	ck_until((step(&w), state_now(&w, 4) == becomes), 30);
	ck_assert_int_eq(effects_of(&w, 4), becomes == QB_JOB_READY ? 0 : 1);
	/* Nor can it come back. */
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), becomes == QB_JOB_READY ? QB_EFENCED : 0);
	ck_assert_int_eq(effects_of(&w, 4), becomes == QB_JOB_READY ? 0 : 1);
	hand_close(&h);
	world_close(&w);
}

START_TEST(running_transaction_that_commits_is_found_done)
{
	running_transaction("commits", "commit", QB_JOB_FREE);
}
END_TEST

START_TEST(running_transaction_that_rolls_back_is_found_undone)
{
	running_transaction("rolls back", "rollback", QB_JOB_READY);
}
END_TEST

/* The other order: the mark waits for a fence that has not committed yet. */
struct waiter {
	struct hand h;
	int rc;
	pthread_t thread;
};

static void *wait_and_make(void *opaque)
{
	struct waiter *m = opaque;

	m->rc = make(&m->h, RESULT, sizeof(RESULT));
	return NULL;
}

static int waits_for_lock(const struct world *w, PGconn *conn)
{
	return sql_number(w, "select count(*) from pg_stat_activity where pid = $2 and wait_event_type = 'Lock' and $1 <> ''",
			  PQbackendPID(conn)) == 1;
}

START_TEST(mark_waits_for_a_fence_that_is_on_its_way)
{
	struct waiter late, next;
	struct world w;
	PGconn *fence;

	world_open_cfg(&w, HERE, "on its way", NULL);
	hand_open(&late.h, &w, 1, 1);
	hand_open(&next.h, &w, 2, 2);
	fence = sql_connect(HERE);
	char *text = qb_xasprintf("begin; insert into qbench.effect (run_no, job_id, fence) values (%lld, 1, 1), (%lld, 2, 1)",
				  (long long)late.h.a.run_no, (long long)late.h.a.run_no);

	/* Whatever the isolation level that a session begins with. */
	sql(late.h.conn, "set default_transaction_isolation = 'serializable'");
	sql(next.h.conn, "set default_transaction_isolation = 'repeatable read'");
	sql(fence, text);
	ck_assert_int_eq(pthread_create(&late.thread, NULL, wait_and_make, &late), 0);
	ck_assert_int_eq(pthread_create(&next.thread, NULL, wait_and_make, &next), 0);
	ck_until(waits_for_lock(&w, late.h.conn) && waits_for_lock(&w, next.h.conn), 10);
	sql(fence, "commit");
	pthread_join(late.thread, NULL);
	pthread_join(next.thread, NULL);
	ck_assert_int_eq(late.rc, QB_EFENCED);
	ck_assert_int_eq(next.rc, 0);
	ck_assert_int_eq(effects_of(&w, 1), 0);
	ck_assert_int_eq(effects_of(&w, 2), 1);
	free(text);
	PQfinish(fence);
	hand_close(&late.h);
	hand_close(&next.h);
	world_close(&w);
}
END_TEST

START_TEST(fence_only_grows)
{
	struct world w;
	struct hand h;

	world_open(&w, HERE, "grows");
	leave_in_doubt(&w, 1);
	hand_open(&h, &w, 1, 5);
	sql(w.db, "insert into qbench.effect (run_no, job_id, fence)"
	    " select run_no, 1, 5 from qbench.run where run_id = 'grows'");
	drain(&w);
	ck_assert_uint_eq(state_now(&w, 1), QB_JOB_READY);
	ck_assert_int_eq(fence_of(&w, 1), 5);
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), QB_EFENCED);
	hand_close(&h);
	world_close(&w);
}
END_TEST

START_TEST(job_in_doubt_that_was_claimed_too_often_is_given_up)
{
	struct qb_config_shm cfg;
	struct world w;

	world_config(&cfg);
	cfg.max_claims = 1;
	world_open_cfg(&w, HERE, "too often", &cfg);
	leave_in_doubt(&w, 1);
	finish_syncer(&w, fork_syncer(&w));
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 1), QB_JOB_DEAD);
	ck_assert_int_eq(fence_of(&w, 1), 1);
	world_close(&w);
}
END_TEST

/* More of them than a ring has room for: none goes without its event. */
START_TEST(more_answers_than_the_event_ring_holds)
{
	struct qb_config_shm cfg;
	struct world w;

	world_config(&cfg);
	cfg.event_count = 64;
	world_open_cfg(&w, HERE, "many", &cfg);
	leave_in_doubt(&w, 1000);
	finish_syncer(&w, fork_syncer(&w));
	recover_syncer(&w);
	struct qb_held last;

	while (qb_job_claim(&w.seg, w.worker, &last) == QB_OK)
		;
	/* A syncer's own last records are for the next batch, whosever it is. */
	submit_one(&w);
	last = start_one(&w);
	complete(&w, &last);
	qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
	finish_syncer(&w, fork_syncer(&w));
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where type = 9 and " OF_RUN, 0), 1000);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.effect where fence = 1 and " OF_RUN, 0), 1000);
	for (uint32_t seat = 1; seat < w.seg.cfg.seat_count; seat++)
		ck_assert_uint_eq(qb_load_relaxed64(&qb_seg_event_ring(&w.seg, seat)->dropped), 0);
	world_close(&w);
}
END_TEST

START_TEST(syncer_whose_epoch_is_over_resolves_nothing)
{
	struct qb_err err = { 0 };
	struct world w;
	struct hand h;

	world_open(&w, HERE, "zombie");
	leave_in_doubt(&w, 1);
	sql(w.db, "update qbench.run set epoch = epoch + 1 where run_id = 'zombie'");
	/* The first step meets it, or is told so by the batch. */
	int rc = qb_syncer_step(w.s, 1, &err);

	if (rc > 0)
		rc = qb_syncer_step(w.s, 1, &err);
	ck_assert_int_eq(rc, QB_EFENCED);
	ck_assert_uint_eq(state_now(&w, 1), QB_JOB_AMBIGUOUS);
	ck_assert_int_eq(fence_of(&w, 1), -1);
	/* Its fence, should it come all the same and late, is one at an attempt that is over. */
	hand_open(&h, &w, 1, 2);
	sql(w.db, "insert into qbench.effect (run_no, job_id, fence)"
	    " select run_no, 1, 1 from qbench.run where run_id = 'zombie'");
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
	hand_close(&h);
	world_close(&w);
}
END_TEST

/* ---- the worker's end ---- */

static struct qb_shm_effects *effects_open(struct world *w)
{
	struct qb_queue_env env = { .seg = &w->seg, .seat = w->worker, .role = QB_ROLE_WORKER, .conninfo = w->conninfo };
	struct qb_shm_effects *e;
	struct qb_err err = { 0 };

	ck_ok(qb_shm_effects_open(&env, &e, &err), err);
	return e;
}

static struct qb_queue_job job_of(const struct world *w, const struct qb_held *held)
{
	return (struct qb_queue_job){
		.job_id = w->seg.jobs[held->slot_idx].job_id, .token = held->word, .slot_idx = held->slot_idx,
		.attempt = (uint16_t)qb_word_attempt(held->word),
	};
}

/* The connected socket of this process that is not the test's own. */
static int worker_socket(const struct world *w)
{
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_storage peer;
		socklen_t bytes = sizeof(peer);

		if (fd != PQsocket(w->db) && getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 &&
		    peer.ss_family == AF_UNIX)
			return fd;
	}
	return -1;
}

struct cutter {
	struct world *w;
	int was_there;
	int keep;               /* the statement goes on; only its answer cannot reach us */
	pthread_t thread;
};

/* The commit of the effect stands still, see slow_commits_sql, until it has been cut. */
static void *cut(void *opaque)
{
	struct cutter *c = opaque;
	uint32_t backend = qb_load_relaxed32(&c->w->seg.seats[c->w->worker].backend_pid);
	uint64_t until_ns = qb_now_ns() + 20 * QB_NS_PER_S;
	struct qb_err err = { 0 };
	char *text = qb_xasprintf("select count(*) from pg_stat_activity where pid = %u and wait_event = 'PgSleep'", backend);
	char *kill = qb_xasprintf("select pg_terminate_backend(%u)", backend);
	int64_t n = 0;

	while (n == 0 && qb_now_ns() < until_ns) {
		qb_sleep_ns(QB_NS_PER_MS);
		qb_pg_query_i64(c->w->db, text, &n, &err);
	}
	c->was_there = n == 1;
	if (c->keep)
		shutdown(worker_socket(c->w), SHUT_RD);
	else
		sql(c->w->db, kill);
	sql(c->w->db, "delete from public.slow");
	free(kill);
	free(text);
	return NULL;
}

/* From the main thread, which leaves w.db to the cutter meanwhile. */
static int make_and_be_cut(struct cutter *c, struct qb_shm_effects *e, struct qb_queue_job *job, struct qb_err *err)
{
	char *slow = qb_xasprintf("insert into public.slow values ('%s', %llu, 30)", c->w->run_id,
				  (unsigned long long)job->job_id);

	sql(c->w->db, slow);
	free(slow);
	ck_assert_int_eq(pthread_create(&c->thread, NULL, cut, c), 0);
	int rc = qb_shm_effects_make(e, job, RESULT, sizeof(RESULT), err);

	pthread_join(c->thread, NULL);
	ck_assert_msg(c->was_there, "nobody saw the commit in the middle");
	return rc;
}

static void effect_cut_in_the_commit(const char *name, int keep)
{
	struct world w;
	struct cutter c = { .w = &w, .keep = keep };
	struct qb_err err = { 0 };
	uint32_t bytes = 0;
	struct qb_held held;

	world_open_cfg(&w, HERE, name, NULL);
	struct qb_shm_effects *e = effects_open(&w);

	submit(&w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	held = start_one(&w);
	struct qb_queue_job job = job_of(&w, &held);

	ck_ok(make_and_be_cut(&c, e, &job, &err), err);
	/* With only the answer lost it had landed, and was found. */
	ck_assert_int_eq(qb_shm_effects_result(e, &job, NULL, &bytes) != NULL, keep);
	ck_assert_int_eq(effects_of(&w, 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "effect", "done_attempt", 1), 1);
	qb_shm_effects_close(e);
	world_close(&w);
}

START_TEST(effect_whose_answer_was_lost_happens_once)
{
	effect_cut_in_the_commit("answer", 1);
}
END_TEST

START_TEST(effect_whose_backend_was_killed_in_the_commit_happens_once)
{
	effect_cut_in_the_commit("backend", 0);
}
END_TEST

START_TEST(effect_of_an_earlier_attempt_completes_the_job_with_its_result)
{
	struct qb_err err = { 0 };
	struct qb_held held;
	uint32_t bytes = 5;
	struct world w;
	struct hand h;

	world_open_cfg(&w, HERE, "earlier", NULL);
	struct qb_shm_effects *e = effects_open(&w);

	hand_open(&h, &w, 1, 7);
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
	submit(&w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	held = start_one(&w);
	struct qb_queue_job job = job_of(&w, &held), other = job;

	ck_ok(qb_shm_effects_make(e, &job, "other", 5, &err), err);
	const void *result = qb_shm_effects_result(e, &job, "other", &bytes);

	ck_assert_uint_eq(bytes, sizeof(RESULT));
	ck_assert_mem_eq(result, RESULT, sizeof(RESULT));
	ck_assert_int_eq(effects_of(&w, 1), 1);
	/* Of another job it is not the result. */
	other.job_id = 2;
	bytes = 5;
	ck_assert_str_eq(qb_shm_effects_result(e, &other, "other", &bytes), "other");
	ck_assert_uint_eq(bytes, 5);
	qb_shm_effects_close(e);
	hand_close(&h);
	world_close(&w);
}
END_TEST

START_TEST(attempt_that_is_over_is_refused_and_one_that_is_not_is_an_error)
{
	struct qb_err err = { 0 };
	struct qb_recovery r;
	struct qb_held held;
	struct world w;

	world_open(&w, HERE, "over");
	struct qb_shm_effects *e = effects_open(&w);

	submit(&w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	held = start_one(&w);
	struct qb_queue_job job = job_of(&w, &held);

	/* A fence ahead of the segment's attempts: nobody else has the job, so it must not be dropped. */
	sql(w.db, "insert into qbench.effect (run_no, job_id, fence)"
	    " select run_no, 1, 1 from qbench.run where run_id = 'over'");
	ck_assert_int_eq(qb_shm_effects_make(e, &job, RESULT, sizeof(RESULT), &err), QB_ECORRUPT);
	qb_err_clear(&err);
	/* Its worker leaves; the next attempt is behind the fence. */
	ck_assert_int_eq(qb_recovery_open(&r, &w.seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w.worker, NULL, NULL), 0);
	qb_recovery_close(&r);
	drain(&w);
	ck_assert_uint_eq(state_now(&w, 1), QB_JOB_READY);
	/* For the worker that came too late it is somebody else's. */
	ck_assert_int_eq(qb_shm_effects_make(e, &job, RESULT, sizeof(RESULT), &err), QB_EFENCED);
	ck_assert_int_eq(effects_of(&w, 1), 0);
	qb_err_clear(&err);
	w.worker = sit(&w.seg, QB_ROLE_WORKER);
	qb_event_open(&w.worker_log, &w.seg, w.worker, QB_OVERFLOW_WAIT);
	held = start_one(&w);
	job = job_of(&w, &held);
	ck_ok(qb_shm_effects_make(e, &job, RESULT, sizeof(RESULT), &err), err);
	ck_assert_int_eq(effects_of(&w, 1), 1);
	qb_shm_effects_close(e);
	world_close(&w);
}
END_TEST

/* The server of this program answers before its commits are safe: not to a worker. */
START_TEST(commits_of_effects_are_safe_whatever_the_default)
{
	struct qb_err err = { 0 };
	struct qb_held held;
	struct world w;

	world_open_cfg(&w, HERE, "safe", NULL);
	ck_assert_int_eq(sql_number(&w, "select count(*) from pg_settings where name = 'synchronous_commit' and"
				    " setting = 'off' and $1 <> ''", 0), 1);
	struct qb_shm_effects *e = effects_open(&w);

	submit(&w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	held = start_one(&w);
	struct qb_queue_job job = job_of(&w, &held);

	ck_ok(qb_shm_effects_make(e, &job, RESULT, sizeof(RESULT), &err), err);
	ck_assert_int_eq(sql_number(&w, "select count(*) from public.commits where setting = 'on' and " OF_RUN, 0), 1);
	qb_shm_effects_close(e);
	world_close(&w);
}
END_TEST

/* An effect that is nobody's transaction: with its answer lost nobody knows. */
START_TEST(plain_effect_whose_answer_was_lost_is_an_error)
{
	struct world w;
	struct cutter c = { .w = &w, .keep = 1 };
	struct qb_err err = { 0 };
	struct qb_held held;

	world_open_cfg(&w, HERE, "plain", NULL);
	struct qb_shm_effects *e = effects_open(&w);

	for (int i = 0; i < 2; i++)
		submit(&w, "p", 1, QB_EFFECT_OPAQUE);
	held = start_one(&w);
	struct qb_queue_job job = job_of(&w, &held);

	ck_assert_int_eq(make_and_be_cut(&c, e, &job, &err), QB_EPG);
	ck_assert_ptr_nonnull(strstr(err.text, "nobody knows"));
	ck_until(effects_of(&w, 1) == 1, 10);
	/* Cut while nothing is under way, it is connected anew. */
	qb_err_clear(&err);
	held = start_one(&w);
	job = job_of(&w, &held);
	ck_ok(qb_shm_effects_make(e, &job, NULL, 0, &err), err);
	shutdown(worker_socket(&w), SHUT_RDWR);
	ck_ok(qb_shm_effects_make(e, &job, NULL, 0, &err), err);
	ck_assert_int_eq(effects_of(&w, 2), 2);
	qb_shm_effects_close(e);
	world_close(&w);
}
END_TEST

/* ---- the syncer killed at every named point ---- */

#ifdef QB_FAULT_POINTS
static const char *point_at(int idx)
{
	for (unsigned i = 0; qb_fault_name(i); i++) {
		const char *name = qb_fault_name(i);

		if ((!strncmp(name, "resolve.", 8) || !strncmp(name, "job.resolve.", 12)) && idx-- == 0)
			return name;
	}
	return NULL;
}

static int points_count(void)
{
	int n = 0;

	while (point_at(n))
		n++;
	return n;
}

/* What a late worker of the first attempt may do now: nothing, once somebody has gone by its answer. */
static void late_worker(struct world *w, uint64_t job_id)
{
	uint32_t state = state_now(w, job_id);
	int64_t before = effects_of(w, job_id);
	struct hand h;

	if (state == QB_JOB_AMBIGUOUS)
		return;
	hand_open(&h, w, job_id, 1);
	ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), before ? 0 : QB_EFENCED);
	ck_assert_int_eq(effects_of(w, job_id), before);
	hand_close(&h);
}

/* Ready ones are run as the second attempt. */
static void run_again(struct world *w)
{
	struct qb_held held;
	struct hand h;

	while (qb_job_claim(&w->seg, w->worker, &held) == QB_OK) {
		uint64_t job_id = w->seg.jobs[held.slot_idx].job_id;

		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
		hand_open(&h, w, job_id, qb_word_attempt(held.word));
		ck_assert_int_eq(make(&h, &job_id, sizeof(job_id)), 0);
		ck_assert_ptr_null(h.stored);
		ck_assert_int_eq(qb_job_complete(&w->seg, w->worker, &held, &job_id, sizeof(job_id)), 0);
		hand_close(&h);
	}
}
#endif

START_TEST(syncer_killed_at_this_point_gives_no_wrong_answer)
{
#ifdef QB_FAULT_POINTS
	const char *name = point_at(_i);
	unsigned hits = 0;
	char run[64];
	struct world w;

	snprintf(run, sizeof(run), "point-%s", name);
	world_open_cfg(&w, HERE, run, NULL);
	for (unsigned nth = 1; nth <= 3; nth++) {
		uint64_t first_id = w.next_id;
		char spec[96];
		struct hand h;

		/* Two are done, two are not. */
		leave_in_doubt(&w, 4);
		for (uint64_t id = first_id; id < first_id + 2; id++) {
			hand_open(&h, &w, id, 1);
			ck_assert_int_eq(make(&h, RESULT, sizeof(RESULT)), 0);
			hand_close(&h);
		}
		snprintf(spec, sizeof(spec), "%s:%u", name, nth);
		setenv("QBENCH_FAULT", spec, 1);
		qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
		pid_t pid = fork_syncer(&w);

		qb_raise_stop(&w.seg, QB_STOP_FINISH);
		int status = reap(pid, 20);

		ck_assert_msg(status == 128 + SIGKILL || status == 0, "%s: status %d", spec, status);
		hits += status != 0;
		recover_syncer(&w);
		for (uint64_t id = first_id; id < first_id + 4; id++)
			late_worker(&w, id);
		run_again(&w);
	}
	unsetenv("QBENCH_FAULT");
	ck_assert_msg(hits > 0, "%s was never reached", name);
	qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
	for (int round = 0; round < 2; round++) {
		finish_syncer(&w, fork_syncer(&w));
		recover_syncer(&w);
		run_again(&w);
		qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
	}
	finish_syncer(&w, fork_syncer(&w));
	everything_once(&w);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.ledger where " OF_RUN, 0), (int64_t)w.next_id - 1);
	for (uint64_t id = 1; id < w.next_id; id++) {
		int done = (id - 1) % 4 < 2;

		ck_assert_int_eq(effects_of(&w, id), 1);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", id), QB_JOB_DONE);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "attempt", id), done ? 1 : 2);
		ck_assert_int_eq(JOB_FIELD(&w, "outcome", "length(result)", id), done ? sizeof(RESULT) : sizeof(id));
	}
	world_close(&w);
#endif
}
END_TEST

/*
 * The ledger: an effect that public.slow names is refused, or its COMMIT waits until the name is gone, so that it can
 * be met in the middle.  public.commits says how each transaction was going to commit.
 */
static const char slow_commits_sql[] =
	"create table public.commits (run_no bigint, setting text);"
	"create function public.watch_effect() returns trigger language plpgsql as $$"
	" begin"
	"  if exists (select from public.slow s join qbench.run r using (run_id)"
	"   where r.run_no = new.run_no and s.job_id = new.job_id and s.fails) then raise 'not this one'; end if;"
	"  return new;"
	" end $$;"
	"create function public.watch_commit() returns trigger language plpgsql as $$"
	" begin"
	"  insert into public.commits values (new.run_no, current_setting('synchronous_commit'));"
	/* And the server does not look after its client meanwhile, so that the commit outlives it. */
	"  perform set_config(name, '0', true) from pg_settings where name = 'client_connection_check_interval';"
	"  while exists (select from public.slow s join qbench.run r using (run_id)"
	"   where r.run_no = new.run_no and s.job_id = new.job_id) loop perform pg_sleep(0.002); end loop;"
	"  return null;"
	" end $$;"
	"create trigger watch before insert on qbench.ledger for each row execute function public.watch_effect();"
	"create constraint trigger watch_commit after insert on qbench.ledger initially deferred for each row"
	" execute function public.watch_commit();";

static void server_start(void)
{
	shared_start();
	PGconn *db = sql_connect(HERE);

	sql(db, slow_commits_sql);
	PQfinish(db);
}

int main(void)
{
	Suite *suite = suite_create("effects");
	TCase *tc = tcase_create("effects");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, server_start, shared_stop);
	tcase_add_test(tc, effect_and_mark_happen_together_with_a_result_of_any_bytes);
	tcase_add_test(tc, same_attempt_again_finds_its_mark_and_has_no_second_effect);
	tcase_add_test(tc, effect_that_is_refused_leaves_no_mark);
	tcase_add_test(tc, undone_job_is_ready_again_and_its_late_worker_shut_out);
	tcase_add_test(tc, done_job_is_done_with_the_result_that_was_marked);
	tcase_add_test(tc, running_transaction_that_commits_is_found_done);
	tcase_add_test(tc, running_transaction_that_rolls_back_is_found_undone);
	tcase_add_test(tc, mark_waits_for_a_fence_that_is_on_its_way);
	tcase_add_test(tc, fence_only_grows);
	tcase_add_test(tc, job_in_doubt_that_was_claimed_too_often_is_given_up);
	tcase_add_test(tc, more_answers_than_the_event_ring_holds);
	tcase_add_test(tc, syncer_whose_epoch_is_over_resolves_nothing);
	tcase_add_test(tc, effect_whose_answer_was_lost_happens_once);
	tcase_add_test(tc, effect_whose_backend_was_killed_in_the_commit_happens_once);
	tcase_add_test(tc, effect_of_an_earlier_attempt_completes_the_job_with_its_result);
	tcase_add_test(tc, attempt_that_is_over_is_refused_and_one_that_is_not_is_an_error);
	tcase_add_test(tc, commits_of_effects_are_safe_whatever_the_default);
	tcase_add_test(tc, plain_effect_whose_answer_was_lost_is_an_error);
#ifdef QB_FAULT_POINTS
	tcase_add_loop_test(tc, syncer_killed_at_this_point_gives_no_wrong_answer, 0, points_count());
#else
	(void)syncer_killed_at_this_point_gives_no_wrong_answer;
#endif
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
