/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of struct qb_queue_ops when a consumer dies, or loses its connection. Once per queue. */
#include "tests/pg/queuetest.h"

char *pgtest_base;

START_TEST(consumer_killed_with_a_started_job_leaves_it_to_others)
{
	struct qb_queue_job job;
	struct qb_recovery r;
	struct told t;
	struct bench b;
	int ready[2];
	char c;

	bench_open(&b, _i, "killed");
	/* Theirs come back by a time-out, which their own tests shorten. */
	if (b.ops->flags & QB_QUEUE_LEASED)
		goto out;
	enqueue(&b, 1, 3);
	ck_assert_int_eq(pipe(ready), 0);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct qb_queue *mine = consumer(&b);

		start(&b, mine, 0, &job);
		(void)!write(ready[1], "s", 1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	struct qb_queue *q = consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER));

	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	kill(pid, SIGKILL);
	ck_assert_int_eq(reap(pid, 5), 128 + SIGKILL);
	if (b.ops->flags & QB_QUEUE_IN_SEGMENT) {
		/* Nobody has it before its worker's seat is decided. */
		ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
		ck_assert_int_eq(qb_recovery_open(&r, &b.w.seg), 0);
		ck_assert_int_eq(qb_recover_seat(&r, b.w.worker, NULL, NULL), 0);
		qb_recovery_close(&r);
	}
	ck_until(claim(&b, q, 0, &job) == QB_OK, 5);
	struct qb_err err = { 0 };

	ck_ok(b.ops->start(q, &job, &err), err);
	end(&b, q, &job);
	b.ops->close(q);
	ask(&b, &t);
	ck_assert_uint_eq(t.times[1], 1);
	ck_assert_uint_eq(t.outcome[1], QB_OUTCOME_COMPLETED);
out:
	bench_close(&b);
}
END_TEST

static void terminate_all(const struct world *w, const char *who)
{
	const char *values[] = { who };
	const Oid oids[] = { QB_PG_TEXT };
	struct qb_err err = { 0 };

	ck_ok(qb_pg_query(w->db, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1", 1,
			  oids, values, NULL, NULL, 0, NULL, &err), err);
}

START_TEST(consumer_whose_connection_is_cut_is_told_and_its_job_is_free_again)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	bench_open(&b, _i, "cut");
	if (b.ops->flags & QB_QUEUE_IN_SEGMENT)
		goto out;
	enqueue(&b, 1, 3);
	struct qb_queue *q = consumer(&b);

	for (int busy = 0; busy < 3; busy++) {
		/* There the one before is held until its lease is over. */
		if (busy == 2 && b.ops->flags & QB_QUEUE_LEASED)
			enqueue(&b, 2, 3);
		/* Idle, claimed, started: each call that needs the connection says so. */
		if (busy == 1)
			ck_assert_int_eq(claim(&b, q, 0, &job), QB_OK);
		else if (busy == 2)
			start(&b, q, 0, &job);
		terminate_all(&b.w, "qbench worker");
		/* Who is idle needs only what it listens on. */
		terminate_all(&b.w, "qbench listener");
		if (busy == 0)
			ck_until(b.ops->wait(q, qb_now_ns() + QB_NS_PER_S, 1, &err) == QB_EPG, 5);
		else if (busy == 1)
			ck_assert_int_lt(b.ops->release(q, &job, &err), 0);
		else
			ck_assert_int_lt(b.ops->complete(q, &job, "r", 1, &err), 0);
		ck_assert_uint_ne(strlen(err.text), 0);
		b.ops->close(q);
		q = consumer(&b);
	}
	if (b.ops->flags & QB_QUEUE_LEASED) {
		b.ops->close(q);
		goto out;
	}
	/* It did not count: the attempt went with its transaction. */
	start(&b, q, 0, &job);
	ck_assert_uint_eq(job.job_id, 1);
	ck_assert_uint_eq(job.failures, 0);
	end(&b, q, &job);
	b.ops->close(q);
	ask(&b, &t);
	ck_assert_uint_eq(t.outcome[1], QB_OUTCOME_COMPLETED);
out:
	bench_close(&b);
}
END_TEST

START_TEST(producer_whose_connection_is_cut_is_told_and_opens_again)
{
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	struct bench b;

	bench_open(&b, _i, "producer");
	if (b.ops->flags & QB_QUEUE_IN_SEGMENT)
		goto out;
	terminate_all(&b.w, "qbench driver");
	ck_until(try_enqueue(&b, 1, "x", 1, 3, &ticket, &err) < 0, 5);
	ck_assert_uint_ne(strlen(err.text), 0);
	b.ops->close(b.driver);
	ck_ok(b.ops->open(&b.env, &b.driver, &err), err);
	enqueue(&b, 2, 3);
out:
	bench_close(&b);
}
END_TEST

START_TEST(late_end_of_a_job_that_was_decided_is_refused)
{
	struct qb_queue_job late[3], job;
	struct qb_recovery r;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;
	uint64_t at_once = 0;
	int final;

	bench_open(&b, _i, "late");
	if (!(b.ops->flags & QB_QUEUE_IN_SEGMENT))
		goto out;
	struct qb_queue *zombie = consumer(&b), *q = consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER));

	for (uint64_t id = 1; id <= 3; id++)
		enqueue(&b, id, 3);
	start(&b, zombie, 0, &late[0]);
	start(&b, zombie, 0, &late[1]);
	ck_assert_int_eq(claim(&b, zombie, 0, &late[2]), QB_OK);
	ck_assert_int_eq(qb_recovery_open(&r, &b.w.seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, b.w.worker, NULL, NULL), 0);
	qb_recovery_close(&r);
	for (int i = 0; i < 3; i++) {
		start(&b, q, 0, &job);
		end(&b, q, &job);
	}
	ck_assert_int_eq(b.ops->complete(zombie, &late[0], "late", 4, &err), QB_EFENCED);
	ck_assert_int_eq(b.ops->fail(zombie, &late[1], 0, &at_once, &final, &err), QB_EFENCED);
	job = late[2];
	ck_assert_int_eq(b.ops->start(zombie, &job, &err), QB_EFENCED);
	ck_assert_int_eq(b.ops->release(zombie, &late[2], &err), QB_EFENCED);
	b.ops->close(zombie);
	b.ops->close(q);
	ask(&b, &t);
	for (unsigned id = 1; id <= 3; id++) {
		ck_assert_uint_eq(t.outcome[id], QB_OUTCOME_COMPLETED);
		ck_assert_uint_eq(t.attempt[id], 2);
	}
out:
	bench_close(&b);
}
END_TEST

START_TEST(setup_begins_with_nothing_and_recovery_of_a_run_keeps_its_own)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	bench_open(&b, _i, "setup");
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	end(&b, q, &job);
	b.ops->close(q);
	ask(&b, &t);
	ck_told(&b, &t, 1, QB_OUTCOME_COMPLETED, 1);
	ck_ok(b.ops->setup(&b.env, &err), err);
	ask(&b, &t);
	/* Set up again for the same run is what recovery does to a queue in the segment. */
	ck_assert_uint_eq(t.times[1], b.ops->flags & QB_QUEUE_IN_SEGMENT ? 1 : 0);
	bench_close(&b);
	bench_open(&b, _i, "setup-other");
	ask(&b, &t);
	ck_assert_uint_eq(t.times[1], 0);
	bench_close(&b);
}
END_TEST

START_TEST(new_run_does_not_share_the_name_of_another)
{
	struct qb_err err = { 0 };
	struct bench b;

	bench_open(&b, _i, "name");
	if (b.ops->flags & QB_QUEUE_IN_SEGMENT) {
		/* Nobody was ever the parent: it begins now, and its name is taken. */
		qb_store_relaxed32(&b.w.seg.hdr->parent_seat, 0);
		ck_assert_int_eq(b.ops->setup(&b.env, &err), QB_EBUSY);
		ck_assert_ptr_nonnull(strstr(err.text, b.w.run_id));
		b.w.seg.hdr->run_id[0] = 'X';
		ck_ok(b.ops->setup(&b.env, &err), err);
	}
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("queue-cut");
	TCase *tc = tcase_create("queue-cut");

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	for (int n = 0; qb_queues[n]; n++) {
		/* Those that retry by a policy of their own have programs of their own. */
		if (qb_queues[n]->flags & QB_QUEUE_OWN_RETRIES)
			continue;
		tcase_add_loop_test(tc, consumer_killed_with_a_started_job_leaves_it_to_others, n, n + 1);
		tcase_add_loop_test(tc, consumer_whose_connection_is_cut_is_told_and_its_job_is_free_again, n, n + 1);
		tcase_add_loop_test(tc, producer_whose_connection_is_cut_is_told_and_opens_again, n, n + 1);
		tcase_add_loop_test(tc, late_end_of_a_job_that_was_decided_is_refused, n, n + 1);
		tcase_add_loop_test(tc, setup_begins_with_nothing_and_recovery_of_a_run_keeps_its_own, n, n + 1);
		tcase_add_loop_test(tc, new_run_does_not_share_the_name_of_another, n, n + 1);
	}
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
