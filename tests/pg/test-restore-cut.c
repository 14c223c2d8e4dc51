/* SPDX-License-Identifier: Apache-2.0 */
/* A run is rebuilt while somebody of its lost life is alive, or while it is being rebuilt; the rebuild itself is killed. */
#include <pthread.h>

#include "tests/pg/restoretest.h"

char *pgtest_base;

/* ---- who may still be alive ---- */

START_TEST(run_whose_syncer_is_connected_is_not_taken)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	char pid[32];
	struct world w;

	open_described(&w, "lives", NULL);
	submit_one(&w);
	snprintf(pid, sizeof(pid), "(server process %u)", qb_load_relaxed32(&w.seg.seats[w.syncer].backend_pid));
	ck_assert_int_eq(begin(&r, w.run_id, &err), QB_EBUSY);
	ck_has(err.text, pid);
	qb_restore_close(&r);
	/* Nothing happened to it. */
	drain(&w);
	work_off(&w);
	drain(&w);
	everything_once(&w);
	world_close(&w);
}
END_TEST

START_TEST(of_two_that_rebuild_one_is_refused_and_so_is_a_syncer_meanwhile)
{
	struct qb_err err = { 0 };
	struct qb_restore r, second;
	struct world w;

	open_described(&w, "two", NULL);
	submit_one(&w);
	drain(&w);
	qb_syncer_close(w.s);
	ck_ok(qb_restore_open(&r, HERE, w.run_id, &err), err);
	ck_assert_int_eq(qb_restore_open(&second, HERE, w.run_id, &err), QB_EBUSY);
	qb_restore_close(&second);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	ck_assert_int_eq(qb_syncer_connect(w.s, &err), QB_EPG);
	ck_has(err.text, "being rebuilt");
	/* Given up before it was taken: the run is as it was. */
	qb_restore_close(&r);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	world_close(&w);
}
END_TEST

START_TEST(syncer_of_the_lost_segment_never_gets_the_run_back)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct world w, zombie;

	open_described(&w, "zombie", NULL);
	for (int i = 0; i < 20; i++)
		submit_one(&w);
	drain(&w);
	work_off(&w);
	lose(&w);
	zombie = w;
	w.seg.base = NULL;
	ck_ok(rebuild(&r, w.run_id, &w.seg, &err), err);
	qb_restore_close(&r);
	int64_t lines = audit_lines(&zombie), events = event_rows(&zombie);

	/* With all outcomes of its life to tell. */
	ck_assert_int_eq(qb_syncer_open(&zombie.seg, zombie.syncer, zombie.conninfo, &zombie.log, &zombie.s), 0);
	ck_assert_int_eq(qb_syncer_connect(zombie.s, &err), QB_EFENCED);
	ck_has(err.text, "rebuilt");
	lose(&zombie);
	/* As a process: it leaves, and has everybody leave. */
	ck_assert_int_eq(reap(fork_syncer(&zombie), 20), 4);
	ck_assert_uint_eq(qb_load_relaxed32(&zombie.seg.hdr->stop), QB_STOP_NOW);
	ck_assert_int_eq(audit_lines(&zombie), lines);
	ck_assert_int_eq(event_rows(&zombie), events);
	ck_assert_int_eq(outcome_rows(&zombie), 0);
	qb_seg_detach(&w.seg);
	world_close(&zombie);
}
END_TEST

/* ---- a batch of the lost host that is still running ---- */

struct late {
	struct world *w;
	PGconn *db;
	pthread_t thread;
	int was_waited_for;
};

static void *commit_late(void *opaque)
{
	struct late *l = opaque;
	uint64_t until_ns = qb_now_ns() + 20 * QB_NS_PER_S;

	while (!l->was_waited_for && qb_now_ns() < until_ns) {
		l->was_waited_for = sql_number(l->w, "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
					       " and application_name = 'qbench restore' and $1 <> ''", 0) > 0;
		qb_sleep_ns(QB_NS_PER_MS);
	}
	sql(l->db, "insert into qbench.job select run_no, job_id + 1, state, attempt, failures, due_at, tenant, kind, error_class,"
	    " max_attempts, effect_class, work_us, payload from qbench.job where run_no = (select run_no from qbench.run"
	    " where run_id = 'late'); commit");
	return NULL;
}

START_TEST(batch_that_still_runs_is_waited_for_and_what_it_brings_is_of_the_new_life)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct qb_seg seg;
	struct world w;

	open_described(&w, "late", NULL);
	submit_one(&w);
	drain(&w);
	lose(&w);
	/* As the batch statement does it, by somebody who holds no lock on the run. */
	struct late l = { .w = &w, .db = sql_connect(HERE) };

	sql(l.db, "begin; update qbench.run set batch = batch + 1 where run_id = 'late'");
	ck_assert_int_eq(pthread_create(&l.thread, NULL, commit_late, &l), 0);
	ck_ok(rebuild(&r, w.run_id, &seg, &err), err);
	ck_assert_int_eq(pthread_join(l.thread, NULL), 0);
	ck_assert_int_eq(l.was_waited_for, 1);
	ck_assert_uint_eq(r.jobs, 2);
	ck_assert_uint_ge(attempt_in(&seg, 1), QB_LIFE_ATTEMPTS);
	ck_assert_uint_ge(attempt_in(&seg, 2), QB_LIFE_ATTEMPTS);
	qb_restore_close(&r);
	qb_seg_detach(&seg);
	PQfinish(l.db);
	world_close(&w);
}
END_TEST

/* ---- killed while it rebuilds ---- */

#ifdef QB_FAULT_POINTS
static const char *const points[] = { "restore.", NULL };
#endif

START_TEST(rebuild_killed_at_this_point_is_done_again)
{
#ifdef QB_FAULT_POINTS
	const char *name = point_of(points, _i);
	struct qb_restore r;
	char run[64];
	struct world w;

	snprintf(run, sizeof(run), "killed-%s", name);
	open_described(&w, run, NULL);
	for (int i = 0; i < 10; i++)
		submit(&w, "p", 1, i % 2 ? QB_EFFECT_IDEMPOTENT : QB_EFFECT_OPAQUE);
	drain(&w);
	lose(&w);
	for (unsigned round = 0; round < 3; round++) {
		char spec[96];
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			struct qb_err err = { 0 };
			struct qb_seg seg;

			snprintf(spec, sizeof(spec), "%s:%u", name, strstr(name, "after-job") ? 4 : 1);
			setenv("QBENCH_FAULT", spec, 1);
			qb_fault_arm_from_env();
			rebuild(&r, run, &seg, &err);
			fprintf(stderr, "%s was not reached: %s\n", name, err.text);
			_exit(1);
		}
		ck_assert_int_eq(reap(pid, 30), 128 + SIGKILL);
		ck_assert_int_eq(live_rows(&w), 10);
	}
	rebuild_world(&w, &r);
	ck_assert_uint_eq(r.jobs, 10);
	ck_assert_uint_eq(r.how[QB_RESTORED_AGAIN], 5);
	ck_assert_uint_eq(r.how[QB_RESTORED_PARKED], 5);
	for (uint64_t id = 1; id <= 10; id++)
		ck_assert_uint_eq(attempt_in(&w.seg, id), r.life * QB_LIFE_ATTEMPTS);
	ck_assert_uint_ge(r.life, 1);
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 5);
	ck_assert_int_eq(outcome_rows(&w), 5);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.job where state = 7 and " OF_RUN, 0), 5);
	world_close(&w);
#endif
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restore-cut");
	TCase *tc = tcase_create("cut");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, run_whose_syncer_is_connected_is_not_taken);
	tcase_add_test(tc, of_two_that_rebuild_one_is_refused_and_so_is_a_syncer_meanwhile);
	tcase_add_test(tc, syncer_of_the_lost_segment_never_gets_the_run_back);
	tcase_add_test(tc, batch_that_still_runs_is_waited_for_and_what_it_brings_is_of_the_new_life);
#ifdef QB_FAULT_POINTS
	tcase_add_loop_test(tc, rebuild_killed_at_this_point_is_done_again, 0, points_of(points));
#else
	(void)rebuild_killed_at_this_point_is_done_again;
#endif
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
