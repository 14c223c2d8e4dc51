/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side of a transactional job against a real server: mark and effect are one transaction, which happens
 * once, whatever is cut.
 */
#include <pthread.h>

#include "queue/shm-effect.h"
#include "tests/pg/effecttest.h"

char *pgtest_base;

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
	ck_until(is_waiting(&w, PQbackendPID(late.h.conn)) && is_waiting(&w, PQbackendPID(next.h.conn)), 10);
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

int main(void)
{
	Suite *suite = suite_create("effects");
	TCase *tc = tcase_create("effects");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, server_start, shared_stop);
	tcase_add_test(tc, effect_and_mark_happen_together_with_a_result_of_any_bytes);
	tcase_add_test(tc, same_attempt_again_finds_its_mark_and_has_no_second_effect);
	tcase_add_test(tc, effect_that_is_refused_leaves_no_mark);
	tcase_add_test(tc, mark_waits_for_a_fence_that_is_on_its_way);
	tcase_add_test(tc, effect_whose_answer_was_lost_happens_once);
	tcase_add_test(tc, effect_whose_backend_was_killed_in_the_commit_happens_once);
	tcase_add_test(tc, effect_of_an_earlier_attempt_completes_the_job_with_its_result);
	tcase_add_test(tc, attempt_that_is_over_is_refused_and_one_that_is_not_is_an_error);
	tcase_add_test(tc, commits_of_effects_are_safe_whatever_the_default);
	tcase_add_test(tc, plain_effect_whose_answer_was_lost_is_an_error);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
