/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of struct qb_queue_ops (queue/queue.h), kept by every queue that is registered: each
 * case runs once per queue.  Where a queue needs a syncer the test steps one in this process.
 */
#include "shm/crc.h"
#include "tests/pg/queuetest.h"

char *pgtest_base;

START_TEST(registry_is_consistent)
{
	for (unsigned i = 0; qb_queues[i]; i++) {
		const struct qb_queue_ops *ops = qb_queues[i];

		ck_assert_uint_eq(ops->abi, QB_QUEUE_ABI);
		ck_assert_ptr_eq(qb_queue_find(ops->name), ops);
		ck_assert_uint_lt(strlen(ops->name), sizeof(((struct qb_config_shm *)0)->queue));
		ck_assert(ops->setup && ops->open && ops->close && ops->enqueue && ops->acknowledged && ops->claim &&
			  ops->start && ops->complete && ops->fail && ops->release && ops->wait && ops->census &&
			  ops->outcomes && *ops->summary);
	}
	ck_assert_ptr_null(qb_queue_find("sh"));
	ck_assert_ptr_null(qb_queue_find(""));
}
END_TEST

START_TEST(job_comes_out_as_it_went_in_and_once)
{
	static uint8_t large[QB_PAYLOAD_BYTES_MAX];
	static const uint32_t sizes[] = { 0, 1, 256, sizeof(large) };
	struct qb_queue_ticket ticket;
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i * 31 + i / 256);
	bench_open(&b, _i, "once");
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	for (uint64_t n = 0; n < 4; n++) {
		ck_ok(try_enqueue(&b, n + 1, sizes[n] ? large : NULL, sizes[n], 3, &ticket, &err), err);
		pump(&b);
		ck_assert_int_eq(b.ops->acknowledged(b.driver, &ticket), 1);
	}
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 4);
	for (uint64_t n = 0; n < 4; n++) {
		start(&b, q, 0, &job);
		ck_assert_uint_eq(job.job_id, n + 1);
		ck_assert_uint_eq(job.work_us, 1500);
		ck_assert_uint_eq(job.tenant, 9);
		ck_assert_uint_eq(job.kind, 2);
		ck_assert_uint_eq(job.error_class, 1);
		ck_assert_uint_eq(job.attempt, 1);
		ck_assert_uint_eq(job.failures, 0);
		ck_assert_uint_eq(job.max_attempts, 3);
		ck_assert_uint_eq(job.lane, 0);
		ck_assert_uint_eq(job.payload_bytes, sizes[n]);
		ck_assert_uint_eq(job.payload_crc, qb_crc32c(0, large, sizes[n]));
		end(&b, q, &job);
	}
	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	b.ops->close(q);
	ask(&b, &t);
	for (unsigned id = 1; id <= 4; id++)
		ck_told(&b, &t, id, QB_OUTCOME_COMPLETED, 1);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED) + count_of(&b, QB_OUTCOME_HELD), 0);
	bench_close(&b);
}
END_TEST

START_TEST(third_failure_is_final_and_so_is_a_permanent_one)
{
	struct qb_queue_job job;
	struct told t;
	struct bench b;

	bench_open(&b, _i, "failures");
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	for (unsigned n = 1; n <= 3; n++) {
		start(&b, q, 0, &job);
		ck_assert_uint_eq(job.attempt, n);
		ck_assert_uint_eq(job.failures, n - 1);
		ck_assert_int_eq(fail_it(&b, q, &job, 0, 0), n == 3);
	}
	enqueue(&b, 2, 3);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 1, 0), 1);
	enqueue(&b, 3, 1);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 0, 0), 1);
	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	b.ops->close(q);
	ask(&b, &t);
	for (unsigned id = 1; id <= 3; id++)
		ck_told(&b, &t, id, QB_OUTCOME_DISCARDED, id == 1 ? 3 : 1);
	bench_close(&b);
}
END_TEST

START_TEST(next_attempt_waits_for_its_time_counted_from_the_failure)
{
	struct qb_queue_job job;
	struct bench b;

	bench_open(&b, _i, "due");
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	start(&b, q, 0, &job);
	/* An attempt that takes some time: counted from its begin, the pause would be over earlier. */
	qb_sleep_ns(300 * QB_NS_PER_MS);
	uint64_t due_ns = qb_now_ns() + 600 * QB_NS_PER_MS;

	ck_assert_int_eq(fail_it(&b, q, &job, 0, due_ns), 0);
	uint64_t waiting = count_of(&b, QB_OUTCOME_WAITING), queued = count_of(&b, QB_OUTCOME_QUEUED);

	/* Unless this machine was so slow that the time has come already. */
	ck_assert(qb_now_ns() > due_ns || (waiting == 1 && queued == 0));
	ck_until(claim(&b, q, 0, &job) == QB_OK, 5);
	ck_assert_uint_ge(qb_now_ns() + 5 * QB_NS_PER_MS, due_ns);
	ck_assert_uint_eq(job.failures, 1);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(released_job_goes_back)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	bench_open(&b, _i, "release");
	struct qb_queue *q = consumer(&b);

	enqueue(&b, 1, 3);
	ck_assert_int_eq(claim(&b, q, 0, &job), QB_OK);
	ck_ok(b.ops->release(q, &job, &err), err);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 1);
	start(&b, q, 0, &job);
	ck_assert_uint_eq(job.job_id, 1);
	ck_assert_uint_eq(job.failures, 0);
	end(&b, q, &job);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(two_consumers_never_hold_the_same_job)
{
	struct qb_queue_job job[2];
	uint8_t seen[64] = { 0 };
	struct bench b;
	unsigned got = 0;

	bench_open(&b, _i, "two");
	struct qb_queue *q[2] = { consumer(&b), consumer_at(&b, sit(&b.w.seg, QB_ROLE_WORKER)) };

	for (uint64_t id = 1; id <= 40; id++)
		enqueue(&b, id, 3);
	for (int none = 0; !none;) {
		none = 1;
		for (unsigned i = 0; i < 2; i++) {
			if (claim(&b, q[i], 0, &job[i]) != QB_OK) {
				job[i].job_id = 0;
				continue;
			}
			ck_assert_uint_eq(seen[job[i].job_id]++, 0);
			got++;
			none = 0;
		}
		for (unsigned i = 0; i < 2; i++) {
			struct qb_err err = { 0 };

			if (job[i].job_id == 0)
				continue;
			ck_ok(b.ops->start(q[i], &job[i], &err), err);
			end(&b, q[i], &job[i]);
		}
	}
	ck_assert_uint_eq(got, 40);
	b.ops->close(q[0]);
	b.ops->close(q[1]);
	bench_close(&b);
}
END_TEST

START_TEST(lanes_hold_one_job_each_and_end_in_any_order)
{
	struct qb_queue_job job[4];
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	struct told t;
	struct bench b;

	world_config(&cfg);
	cfg.slots_per_worker = 4;
	bench_open_cfg(&b, _i, "lanes", &cfg);
	struct qb_queue *q = consumer(&b);

	for (uint64_t id = 1; id <= 4; id++)
		enqueue(&b, id, 3);
	for (unsigned lane = 0; lane < 4; lane++) {
		start(&b, q, lane, &job[lane]);
		ck_assert_uint_eq(job[lane].lane, lane);
	}
	end(&b, q, &job[2]);
	ck_assert_int_eq(fail_it(&b, q, &job[0], 1, 0), 1);
	/* While the others are held, the free lane finds nothing and waits without harm to them. */
	ck_assert_int_eq(claim(&b, q, 2, &job[2]), QB_EMPTY);
	ck_ok(b.ops->wait(q, qb_now_ns() + 20 * QB_NS_PER_MS, 1, &err), err);
	end(&b, q, &job[3]);
	end(&b, q, &job[1]);
	b.ops->close(q);
	ask(&b, &t);
	for (unsigned id = 1; id <= 4; id++)
		ck_told(&b, &t, id, id == 1 ? QB_OUTCOME_DISCARDED : QB_OUTCOME_COMPLETED, 1);
	bench_close(&b);
}
END_TEST

START_TEST(wait_ends_at_its_deadline_or_when_there_is_work)
{
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct bench b;

	bench_open(&b, _i, "wait");
	struct qb_queue *q = consumer(&b);

	for (int takes_jobs = 0; takes_jobs <= 1; takes_jobs++) {
		uint64_t from_ns = qb_now_ns();

		while (qb_now_ns() < from_ns + 50 * QB_NS_PER_MS)
			ck_ok(b.ops->wait(q, from_ns + 50 * QB_NS_PER_MS, takes_jobs, &err), err);
		ck_assert_uint_lt(qb_now_ns() - from_ns, 500 * QB_NS_PER_MS);
	}
	/* A child enqueues while we sleep; poll_ns alone would take a second. */
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		struct qb_submit what = { .job_id = 5, .max_attempts = 3, .payload = "x", .payload_bytes = 1 };
		struct qb_queue_ticket ticket;
		struct qb_queue *mine;

		qb_sleep_ns(100 * QB_NS_PER_MS);
		_exit(b.ops->open(&b.env, &mine, &err) < 0 || b.ops->enqueue(mine, &what, &ticket, &err) != QB_OK);
	}
	uint64_t from_ns = qb_now_ns();

	while (claim(&b, q, 0, &job) == QB_EMPTY) {
		ck_assert_uint_lt(qb_now_ns() - from_ns, 10 * QB_NS_PER_S);
		ck_ok(b.ops->wait(q, from_ns + 10 * QB_NS_PER_S, 1, &err), err);
	}
	ck_assert_uint_lt(qb_now_ns() - from_ns, 900 * QB_NS_PER_MS);
	ck_assert_int_eq(reap(pid, 10), 0);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

START_TEST(census_knows_where_each_job_is)
{
	struct qb_queue_job job;
	struct bench b;

	bench_open(&b, _i, "census");
	struct qb_queue *q = consumer(&b);

	for (uint64_t id = 1; id <= 6; id++)
		enqueue(&b, id, 3);
	start(&b, q, 0, &job);
	end(&b, q, &job);
	start(&b, q, 0, &job);
	fail_it(&b, q, &job, 1, 0);
	start(&b, q, 0, &job);
	fail_it(&b, q, &job, 0, qb_now_ns() + 60 * QB_NS_PER_S);
	start(&b, q, 0, &job);
	/* A held job is held, or queued where the queue cannot tell: never neither, never both. */
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_WAITING), 1);
	pump(&b);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED) + count_of(&b, QB_OUTCOME_HELD), 3);
	end(&b, q, &job);
	b.ops->close(q);

	struct told t;

	ask(&b, &t);
	static const uint8_t want[] = { 0, QB_OUTCOME_COMPLETED, QB_OUTCOME_DISCARDED, QB_OUTCOME_WAITING,
					QB_OUTCOME_COMPLETED, QB_OUTCOME_QUEUED, QB_OUTCOME_QUEUED };

	for (unsigned id = 1; id <= 6; id++) {
		int over = want[id] == QB_OUTCOME_COMPLETED || want[id] == QB_OUTCOME_DISCARDED;

		if (over && b.ops->flags & QB_QUEUE_FORGETS)
			ck_assert_uint_eq(t.times[id], 0);
		/* A pause in the memory of the consumer is over with it. */
		else if (want[id] == QB_OUTCOME_WAITING && b.ops->flags & QB_QUEUE_MAY_LOSE && t.times[id] == 0)
			continue;
		else
			ck_assert_uint_eq(t.times[id], 1);
		if (t.times[id])
			ck_assert_uint_eq(t.outcome[id], want[id]);
	}
	bench_close(&b);
}
END_TEST

START_TEST(queue_with_a_syncer_promises_nothing_before_it_is_durable)
{
	struct qb_queue_ticket ticket;
	struct qb_queue_job job;
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	struct bench b;

	bench_open(&b, _i, "promise");
	if (!b.w.s)
		goto out;
	ck_ok(try_enqueue(&b, 1, "x", 1, 3, &ticket, &err), err);
	ck_assert_int_eq(b.ops->acknowledged(b.driver, &ticket), 0);
	pump(&b);
	ck_assert_int_eq(b.ops->acknowledged(b.driver, &ticket), 1);
	struct qb_queue *q = consumer(&b);

	/* Finished in the segment only: the run is not over. */
	start(&b, q, 0, &job);
	end(&b, q, &job);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_HELD), 1);
	pump(&b);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_HELD), 0);
	/* Its slot has moved on, which only the durable do. */
	ck_assert_int_eq(b.ops->acknowledged(b.driver, &ticket), 1);
	b.ops->close(q);
	bench_close(&b);
	/* Unless the segment is all that was asked for. */
	world_config(&cfg);
	cfg.ack_mode = QB_ACK_SHM;
	bench_open_cfg(&b, _i, "promise-shm", &cfg);
	ck_ok(try_enqueue(&b, 1, "x", 1, 3, &ticket, &err), err);
	ck_assert_int_eq(b.ops->acknowledged(b.driver, &ticket), 1);
out:
	bench_close(&b);
}
END_TEST

START_TEST(refused_enqueue_changes_nothing)
{
	static uint8_t large[QB_PAYLOAD_BYTES_MAX + 1];
	struct qb_queue_ticket ticket = { 0 };
	struct qb_queue_job job;
	struct qb_err err = { 0 };
	struct qb_config_shm cfg;
	struct bench b;

	world_config(&cfg);
	cfg.job_count = 64;
	cfg.ring_count = 128;
	bench_open_cfg(&b, _i, "full", &cfg);
	if (!(b.ops->flags & QB_QUEUE_IN_SEGMENT))
		goto out;
	ck_assert_int_lt(try_enqueue(&b, 1, large, sizeof(large), 3, &ticket, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "job 1"));
	for (uint64_t id = 1; id <= 64; id++)
		ck_assert_int_eq(try_enqueue(&b, id, "x", 1, 3, &ticket, &err), QB_OK);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(try_enqueue(&b, 65, "x", 1, 3, &ticket, &err), QB_FULL);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 64);
	struct qb_queue *q = consumer(&b);

	start(&b, q, 0, &job);
	end(&b, q, &job);
	/* Done is not enough: its slot is free when its outcome is durable. */
	ck_assert_int_eq(try_enqueue(&b, 65, "x", 1, 3, &ticket, &err), QB_FULL);
	pump(&b);
	ck_assert_int_eq(try_enqueue(&b, 65, "x", 1, 3, &ticket, &err), QB_OK);
	b.ops->close(q);
out:
	bench_close(&b);
}
END_TEST

static int enqueue_key(struct bench *b, uint64_t job_id, const char *key)
{
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	struct qb_submit what = {
		.job_id = job_id, .submitted_raw = qb_stamp(), .work_us = 1500, .max_attempts = 2, .payload = "payload",
		.payload_bytes = 7,
	};
	int rc = b->ops->enqueue_unique(b->driver, &what, key, &ticket, &err);

	ck_ok(rc, err);
	pump(b);
	if (rc == QB_OK)
		ck_assert_int_eq(b->ops->acknowledged(b->driver, &ticket), 1);
	return rc;
}

/* What else than a queued job refuses a key is the queue's own rule. */
START_TEST(second_job_of_a_queued_key_is_refused_and_changes_nothing)
{
	struct qb_queue_job job;
	struct told t;
	struct bench b;

	bench_open(&b, _i, "unique");
	if (!b.ops->enqueue_unique)
		goto out;
	ck_assert_int_eq(enqueue_key(&b, 1, "one"), QB_OK);
	ck_assert_int_eq(enqueue_key(&b, 2, "one"), QB_DUPLICATE);
	ck_assert_int_eq(enqueue_key(&b, 3, "another"), QB_OK);
	ck_assert_int_eq(enqueue_key(&b, 4, "another"), QB_DUPLICATE);
	/* Without a key: never. */
	enqueue(&b, 5, 3);
	enqueue(&b, 6, 3);
	ck_assert_uint_eq(count_of(&b, QB_OUTCOME_QUEUED), 4);
	struct qb_queue *q = consumer(&b);

	for (unsigned n = 0; n < 4; n++) {
		start(&b, q, 0, &job);
		ck_assert(job.job_id != 2 && job.job_id != 4);
		end(&b, q, &job);
	}
	ck_assert_int_eq(claim(&b, q, 0, &job), QB_EMPTY);
	b.ops->close(q);
	ask(&b, &t);
	ck_assert_uint_eq(t.times[2] + t.times[4], 0);
	ck_assert_uint_eq(t.times[1] + t.times[3] + t.times[5] + t.times[6], b.ops->flags & QB_QUEUE_FORGETS ? 0 : 4);
out:
	bench_close(&b);
}
END_TEST

/* pgtx: as long as the job is not finished, whatever it is doing. */
START_TEST(pgtx_keeps_a_key_until_its_job_is_finished)
{
	struct qb_queue_job job;
	struct bench b;
	int pgtx = 0;

	while (qb_queues[pgtx] != &qb_queue_pgtx)
		ck_assert_ptr_nonnull(qb_queues[pgtx++]);
	bench_open(&b, pgtx, "unique-life");
	struct qb_queue *q = consumer(&b);

	ck_assert_int_eq(enqueue_key(&b, 1, "key"), QB_OK);
	start(&b, q, 0, &job);
	ck_assert_int_eq(enqueue_key(&b, 2, "key"), QB_DUPLICATE);
	/* Its worker goes as a killed one does: the transaction with it. */
	b.ops->close(q);
	ck_assert_int_eq(enqueue_key(&b, 3, "key"), QB_DUPLICATE);
	q = consumer(&b);
	/* The server may take a moment to see that it is gone. */
	for (int i = 0; i < 2000 && claim(&b, q, 0, &job) == QB_EMPTY; i++)
		qb_sleep_ns(5 * QB_NS_PER_MS);
	ck_assert_uint_eq(job.job_id, 1);
	/* Waits for its retry. */
	ck_assert_int_eq(fail_it(&b, q, &job, 0, qb_now_ns() + 3600 * QB_NS_PER_S), 0);
	ck_assert_int_eq(enqueue_key(&b, 4, "key"), QB_DUPLICATE);
	ck_assert_int_eq(enqueue_key(&b, 5, "other"), QB_OK);
	start(&b, q, 0, &job);
	ck_assert_uint_eq(job.job_id, 5);
	end(&b, q, &job);
	ck_assert_int_eq(enqueue_key(&b, 6, "other"), QB_OK);
	start(&b, q, 0, &job);
	ck_assert_int_eq(fail_it(&b, q, &job, 1, 0), 1);
	/* Discarded is finished, too. */
	ck_assert_int_eq(enqueue_key(&b, 7, "other"), QB_OK);
	ck_assert_int_eq(enqueue_key(&b, 8, "other"), QB_DUPLICATE);
	b.ops->close(q);
	bench_close(&b);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("queue");
	TCase *tc = tcase_create("queue");

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, registry_is_consistent);
	for (int n = 0; qb_queues[n]; n++) {
		/* Those that retry by a policy of their own have programs of their own. */
		if (qb_queues[n]->flags & QB_QUEUE_OWN_RETRIES)
			continue;
		tcase_add_loop_test(tc, job_comes_out_as_it_went_in_and_once, n, n + 1);
		tcase_add_loop_test(tc, third_failure_is_final_and_so_is_a_permanent_one, n, n + 1);
		tcase_add_loop_test(tc, next_attempt_waits_for_its_time_counted_from_the_failure, n, n + 1);
		tcase_add_loop_test(tc, released_job_goes_back, n, n + 1);
		tcase_add_loop_test(tc, two_consumers_never_hold_the_same_job, n, n + 1);
		tcase_add_loop_test(tc, lanes_hold_one_job_each_and_end_in_any_order, n, n + 1);
		tcase_add_loop_test(tc, wait_ends_at_its_deadline_or_when_there_is_work, n, n + 1);
		tcase_add_loop_test(tc, census_knows_where_each_job_is, n, n + 1);
		tcase_add_loop_test(tc, queue_with_a_syncer_promises_nothing_before_it_is_durable, n, n + 1);
		tcase_add_loop_test(tc, refused_enqueue_changes_nothing, n, n + 1);
		tcase_add_loop_test(tc, second_job_of_a_queued_key_is_refused_and_changes_nothing, n, n + 1);
	}
	tcase_add_test(tc, pgtx_keeps_a_key_until_its_job_is_finished);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
