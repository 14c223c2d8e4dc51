/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syncer's side: what becomes of a job in doubt. The fence waits for a transaction that runs and shuts out one that
 * comes later, and no kill of the syncer makes an answer wrong.
 */
#include "queue/queue.h"
#include "tests/pg/effecttest.h"

char *pgtest_base;

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

/* A run does not end before its last answer: not for the driver, which asks the queue, nor for the syncer. */
START_TEST(job_in_doubt_is_held_until_it_is_resolved)
{
	struct qb_queue_census census;
	struct qb_err err = { 0 };
	struct qb_queue *q;
	struct world w;
	struct hand h;

	world_open_cfg(&w, HERE, "held", NULL);
	struct qb_queue_env env = { .seg = &w.seg, .seat = w.driver, .role = QB_ROLE_DRIVER, .conninfo = HERE };

	ck_ok(qb_queue_shm.open(&env, &q, &err), err);
	leave_in_doubt(&w, 3);
	submit(&w, "p", 1, QB_EFFECT_OPAQUE);
	hand_open(&h, &w, 2, 1);
	mark_only(&h, RESULT);
	ck_ok(qb_queue_shm.census(q, &census, &err), err);
	ck_assert_uint_eq(census.by_outcome[QB_OUTCOME_HELD], 3);
	ck_assert_uint_eq(census.by_outcome[QB_OUTCOME_AMBIGUOUS], 0);
	pid_t pid = fork_syncer(&w);

	qb_raise_stop(&w.seg, QB_STOP_FINISH);
	ck_until(state_now(&w, 1) == QB_JOB_READY && state_now(&w, 3) == QB_JOB_READY, 20);
	ck_ok(qb_queue_shm.census(q, &census, &err), err);
	ck_assert_uint_eq(census.by_outcome[QB_OUTCOME_HELD], 1);
	/* It has nothing else to do by now, and stays all the same: seen at its work several times more. */
	for (int i = 0; i < 3; i++) {
		int64_t backend = qb_load_relaxed32(&w.seg.seats[w.syncer].backend_pid);

		ck_until(is_waiting(&w, backend), 10);
		ck_until(!is_waiting(&w, backend), 10);
	}
	sql(h.conn, "commit");
	ck_assert_int_eq(reap(pid, 30), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 2), QB_JOB_DONE);
	ck_ok(qb_queue_shm.census(q, &census, &err), err);
	ck_assert_uint_eq(census.by_outcome[QB_OUTCOME_HELD], 0);
	qb_queue_shm.close(q);
	hand_close(&h);
	world_close(&w);
}
END_TEST

/* ---- the syncer killed at every named point ---- */

#ifdef QB_FAULT_POINTS
static const char *const points[] = { "resolve.", "job.resolve.", NULL };

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
	const char *name = point_of(points, _i);
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

int main(void)
{
	Suite *suite = suite_create("doubt");
	TCase *tc = tcase_create("doubt");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, server_start, shared_stop);
	tcase_add_test(tc, undone_job_is_ready_again_and_its_late_worker_shut_out);
	tcase_add_test(tc, done_job_is_done_with_the_result_that_was_marked);
	tcase_add_test(tc, running_transaction_that_commits_is_found_done);
	tcase_add_test(tc, running_transaction_that_rolls_back_is_found_undone);
	tcase_add_test(tc, fence_only_grows);
	tcase_add_test(tc, job_in_doubt_that_was_claimed_too_often_is_given_up);
	tcase_add_test(tc, more_answers_than_the_event_ring_holds);
	tcase_add_test(tc, syncer_whose_epoch_is_over_resolves_nothing);
	tcase_add_test(tc, job_in_doubt_is_held_until_it_is_resolved);
#ifdef QB_FAULT_POINTS
	tcase_add_loop_test(tc, syncer_killed_at_this_point_gives_no_wrong_answer, 0, points_of(points));
#else
	(void)syncer_killed_at_this_point_gives_no_wrong_answer;
#endif
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
