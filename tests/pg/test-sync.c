/* SPDX-License-Identifier: Apache-2.0 */
/* What the syncer writes: the net effect of each batch, byte for byte, in batches of bounded size. */
#include "tests/pg/synctest.h"

char *pgtest_base;

/* The payload of that live job, compared by us and not by the server. */
static void payload_is(const struct world *w, uint64_t job_id, const void *want, size_t want_bytes)
{
	bytes_are(w, "select payload from qbench.job where " OF_RUN " and job_id = $2", job_id, want, want_bytes);
}

START_TEST(job_that_ends_within_one_batch_is_one_outcome_and_never_a_live_row)
{
	struct world w;

	world_open(&w, HERE, "net");
	for (int i = 0; i < 20; i++)
		submit_one(&w);
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(job_inserts(&w), 0);
	ck_assert_int_eq(sql_number(&w, "select count(*) from public.audit where what like 'job %' and " OF_RUN, 0), 0);
	ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_accepted), 20);
	ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_final), 20);
	ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_batch), 1);
	everything_once(&w);
	world_close(&w);
}
END_TEST

START_TEST(accepted_job_is_a_live_row_with_all_its_fields)
{
	struct world w;

	world_open(&w, HERE, "fields");
	struct qb_held ref = submit(&w, "abc", 3, QB_EFFECT_OPAQUE);

	ck_assert_int_eq(qb_job_is_durable(&w.seg, &ref), 0);
	ck_assert_int_eq(step(&w), 1);
	ck_assert_int_eq(qb_job_is_durable(&w.seg, &ref), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 1), QB_JOB_READY);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", 1), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "failures", 1), 0);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "tenant", 1), 77);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "kind", 1), 3);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "error_class", 1), 2);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "max_attempts", 1), 3);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "effect_class", 1), QB_EFFECT_OPAQUE);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "work_us", 1), 1234);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "extract(epoch from due_at)", 1), -1);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "extract(epoch from now() - accepted_at)", 1), 0);
	world_close(&w);
}
END_TEST

START_TEST(payload_comes_through_byte_for_byte)
{
	static uint8_t every[256], large[QB_PAYLOAD_BYTES_MAX];
	struct qb_rng rng;
	struct world w;

	for (int i = 0; i < 256; i++)
		every[i] = (uint8_t)i;
	qb_rng_init(&rng, 7, "payload");
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)qb_rng_next(&rng);
	world_open(&w, HERE, "payload");
	submit(&w, every, 256, 0);
	submit(&w, NULL, 0, 0);
	submit(&w, large, sizeof(large), 0);
	submit(&w, "\\x'\"{},NULL", 11, 0);
	/* Around the size of a block. */
	submit(&w, large, w.seg.block_data_bytes, 0);
	submit(&w, large, w.seg.block_data_bytes + 1, 0);
	drain(&w);
	payload_is(&w, 1, every, 256);
	payload_is(&w, 2, "", 0);
	payload_is(&w, 3, large, sizeof(large));
	payload_is(&w, 4, "\\x'\"{},NULL", 11);
	payload_is(&w, 5, large, w.seg.block_data_bytes);
	payload_is(&w, 6, large, w.seg.block_data_bytes + 1);
	world_close(&w);
}
END_TEST

START_TEST(claimed_and_started_jobs_are_stored_as_ready)
{
	struct qb_held held;
	struct world w;

	world_open(&w, HERE, "started");
	submit_one(&w);
	submit_one(&w);
	start_one(&w);
	ck_assert_int_eq(qb_job_claim(&w.seg, w.worker, &held), QB_OK);
	drain(&w);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 1), QB_JOB_READY);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 2), QB_JOB_READY);
	world_close(&w);
}
END_TEST

/* Of the row, in ns of the monotonic clock. */
static uint64_t due_of(const struct world *w, uint64_t job_id)
{
	uint64_t wall_ns = 1000 * (uint64_t)JOB_FIELD(w, "job", "extract(epoch from due_at) * 1000000", job_id);

	return wall_ns - (qb_wall_ns() - qb_now_ns());
}

START_TEST(waiting_job_updates_attempt_failures_and_due_time)
{
	struct world w;

	world_open(&w, HERE, "waiting");
	submit_one(&w);
	drain(&w);
	for (int n = 1; n <= 2; n++) {
		struct qb_held held = start_one(&w);
		uint64_t due_ns = qb_now_ns() + 30 * QB_NS_PER_S;

		ck_assert_int_eq(fail_job(&w, &held, 0, due_ns), 0);
		drain(&w);
		ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 1), QB_JOB_WAITING);
		ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", 1), n);
		ck_assert_int_eq(JOB_FIELD(&w, "job", "failures", 1), n);
		ck_assert_int_lt(llabs((int64_t)(due_of(&w, 1) - due_ns)), 50 * (int64_t)QB_NS_PER_MS);
		qb_store_relaxed64(&w.seg.jobs[held.slot_idx].due_ns, 0);
		qb_store_relaxed64(&w.seg.hdr->next_due_ns, 0);
	}
	ck_assert_int_eq(job_inserts(&w), 1);
	/* One that fails before anybody has heard of it is inserted as it is. */
	submit_one(&w);
	start_one(&w);
	struct qb_held second = start_one(&w);
	uint64_t due_ns = qb_now_ns() + 20 * QB_NS_PER_S;

	ck_assert_int_eq(w.seg.jobs[second.slot_idx].job_id, 2);
	fail_job(&w, &second, 0, due_ns);
	drain(&w);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 2), QB_JOB_WAITING);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "failures", 2), 1);
	ck_assert_int_lt(llabs((int64_t)(due_of(&w, 2) - due_ns)), 50 * (int64_t)QB_NS_PER_MS);
	world_close(&w);
}
END_TEST

/* The worker dies, and its seat is decided. */
static void lose_worker(struct world *w)
{
	struct qb_recovery r;

	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w->worker, NULL, NULL), 0);
	qb_recovery_close(&r);
	ck_assert_uint_eq(sit(&w->seg, QB_ROLE_WORKER), w->worker);
}

START_TEST(ambiguous_job_is_stored_as_such_and_stays)
{
	struct world w;

	world_open(&w, HERE, "ambiguous");
	struct qb_held known = submit(&w, "k", 1, QB_EFFECT_OPAQUE);

	start_one(&w);
	drain(&w);
	/* The second one is not in Postgres yet when its worker dies. */
	struct qb_held unknown = submit(&w, "u", 1, QB_EFFECT_OPAQUE);

	start_one(&w);
	lose_worker(&w);
	drain(&w);
	for (uint64_t id = 1; id <= 2; id++) {
		ck_assert_int_eq(JOB_FIELD(&w, "job", "state", id), QB_JOB_AMBIGUOUS);
		ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", id), 1);
	}
	ck_assert_uint_eq(state_of(&w, &known), QB_JOB_AMBIGUOUS);
	ck_assert_uint_eq(state_of(&w, &unknown), QB_JOB_AMBIGUOUS);
	ck_assert_int_eq(outcome_rows(&w), 0);

	int64_t changes = audit_lines(&w);

	/* A successor that looks at every word has nothing to add. */
	struct qb_err err = { 0 };

	ck_ok(qb_syncer_connect(w.s, &err), err);
	drain(&w);
	ck_assert_int_eq(audit_lines(&w), changes);
	world_close(&w);
}
END_TEST

START_TEST(every_way_to_end_is_an_outcome_and_frees_the_slot)
{
	struct world w;

	world_open(&w, HERE, "ends");
	submit_one(&w);         /* done */
	submit_one(&w);         /* failed at its third failure */
	submit_one(&w);         /* permanent */
	submit_one(&w);         /* its worker dies three times: given up */
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 4);

	struct qb_held held = start_one(&w);

	complete(&w, &held);
	held = start_one(&w);
	ck_assert_int_eq(fail_job(&w, &held, 0, 0), 0);
	for (int n = 2; n <= 3; n++) {
		held = start_one(&w);
		ck_assert_uint_eq(w.seg.jobs[held.slot_idx].job_id, 2);
		ck_assert_int_eq(fail_job(&w, &held, 0, 0), n == 3);
	}
	held = start_one(&w);
	ck_assert_int_eq(fail_job(&w, &held, 1, 0), 1);
	for (int n = 0; n < 3; n++) {
		start_one(&w);
		lose_worker(&w);
	}
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 0);
	ck_assert_int_eq(outcome_rows(&w), 4);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 1), QB_JOB_DONE);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 2), QB_JOB_FAILED);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 3), QB_JOB_FAILED);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "state", 4), QB_JOB_DEAD);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "attempt", 2), 3);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "failures", 2), 3);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "failures", 3), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "attempt", 4), 3);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "seat", 1), w.worker);
	/* The result as it lay in the arena: a job id in the byte order of this machine. */
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "length(result)", 1), 8);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "get_byte(result, 0) + get_byte(result, 7)", 1), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "outcome", "length(result)", 2), -1);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(qb_word_state(w.seg.jobs[i].word.v), QB_JOB_FREE);
	world_close(&w);
}
END_TEST

START_TEST(events_are_stored_once_with_all_their_fields)
{
	struct qb_err err = { 0 };
	struct world w;

	world_open(&w, HERE, "events");
	submit_one(&w);

	struct qb_held held = start_one(&w);
	uint64_t about_us = qb_wall_ns() / 1000;

	drain(&w);
	ck_assert_int_eq(event_rows(&w), 1);
#define EVENT(field) JOB_FIELD(&w, "event", field, 1)
	ck_assert_int_eq(EVENT("seat"), w.worker);
	ck_assert_int_eq(EVENT("seq"), 1);
	ck_assert_int_eq(EVENT("type"), QB_EV_JOB_STARTED);
	ck_assert_int_eq(EVENT("attempt"), 1);
	ck_assert_int_eq(EVENT("slot"), held.slot_idx);
	ck_assert_int_eq(EVENT("kind"), 3);
	ck_assert_int_eq(EVENT("error_class"), 2);
	ck_assert_int_eq(EVENT("arg0"), 11);
	ck_assert_int_eq(EVENT("arg1"), -1);
	ck_assert_int_lt(llabs(EVENT("at_ns / 1000") - (int64_t)about_us), 200000);
	/* Its own record of the commit asks for no commit, but rides with the next one. */
	ck_assert_int_eq(step(&w), 0);
	note_started(&w, &held);
	ck_assert_int_eq(step(&w), 2);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, w.syncer), 1);
	/* Read again from the start, as after a kill between the commit and the mark: there already. */
	qb_store_release64(&qb_seg_event_ring(&w.seg, w.worker)->reader[QB_READER_SYNC].next, 0);
	qb_syncer_close(w.s);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	drain(&w);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, w.worker), 2);
	world_close(&w);
}
END_TEST

START_TEST(events_come_through_the_end_of_their_ring_many_times)
{
	struct qb_config_shm cfg;
	struct qb_held held;
	struct world w;

	world_config(&cfg);
	cfg.event_count = 64;
	world_open_cfg(&w, HERE, "wrap", &cfg);
	qb_event_open(&w.log, &w.seg, w.syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	struct qb_err err = { 0 };

	ck_ok(qb_syncer_connect(w.s, &err), err);
	submit_one(&w);
	held = start_one(&w);
	for (int i = 1; i < 1000; i++) {
		if (qb_event_room(&w.worker_log) == 0)
			drain(&w);
		note_started(&w, &held);
	}
	drain(&w);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, w.worker), 1000);
	ck_assert_int_eq(sql_number(&w, "select max(seq) from qbench.event where seat = $2 and " OF_RUN, w.worker), 1000);
	ck_assert_uint_eq(qb_load_relaxed64(&w.worker_log.ring->dropped), 0);
	world_close(&w);
}
END_TEST

START_TEST(batch_has_at_most_a_thousand_jobs_and_goes_on_where_it_stopped)
{
	struct world w;
	int rows;

	world_open(&w, HERE, "many");
	for (int i = 0; i < 2500; i++)
		submit_one(&w);
	rows = step(&w);
	ck_assert_int_eq(rows, QB_BATCH_JOBS_MAX);
	ck_assert_int_eq(live_rows(&w), QB_BATCH_JOBS_MAX);
	/* New jobs in low slots do not hold up those behind. */
	ck_assert_int_eq(sql_number(&w, "select max(job_id) from qbench.job where " OF_RUN, 0), 1000);
	work_off(&w);
	for (int i = 0; step(&w) > 0; i++)
		ck_assert_int_lt(i, 10);
	everything_once(&w);
	world_close(&w);
}
END_TEST

START_TEST(batch_is_bounded_in_bytes)
{
	static uint8_t large[QB_PAYLOAD_BYTES_MAX];
	struct qb_batch b;
	struct world w;

	world_open(&w, HERE, "bytes");
	for (int i = 0; i < 40; i++)
		submit(&w, large, sizeof(large), 0);
	ck_assert_int_eq(qb_batch_open(&b, &w.seg, w.syncer), 0);
	ck_assert_uint_eq(qb_batch_gather(&b), 8);
	/* One job more than the limit at most. */
	ck_assert_uint_le(b.col[QB_COL_INS_PAYLOAD].bytes, QB_BATCH_BYTES_MAX + QB_PAYLOAD_BYTES_MAX);
	uint32_t first = b.jobs[0].slot_idx;

	qb_batch_undo(&b);
	/* What came back is not forgotten, and the others are not starved by it. */
	ck_assert_uint_eq(qb_batch_gather(&b), 8);
	ck_assert_uint_eq(b.jobs[0].slot_idx, first + 8);
	ck_assert_uint_eq(qb_batch_done(&b), 8);
	qb_batch_close(&b);
	for (int i = 1; i <= 4; i++) {
		step(&w);
		ck_assert_int_eq(live_rows(&w), 8 * i);
	}
	ck_assert_int_eq(step(&w), 0);
	world_close(&w);
}
END_TEST

static void free_all(struct qb_batch *b)
{
	while (qb_batch_gather(b) > 0)
		qb_batch_done(b);
}

/* Without a server, for speed: a batch is "committed" at once, while another process changes the jobs in it. */
START_TEST(job_that_changes_while_it_is_gathered_is_not_forgotten)
{
	struct qb_batch b;
	struct world w;

	world_open_cfg(&w, HERE, "race", NULL);
	ck_assert_int_eq(qb_batch_open(&b, &w.seg, w.syncer), 0);
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	while (pid == 0) {
		struct qb_held held;
		uint32_t stop = qb_load_relaxed32(&w.seg.hdr->stop);

		while (qb_job_claim(&w.seg, w.worker, &held) == QB_OK)
			if (qb_job_start(&w.seg, &held) != 0 || qb_job_complete(&w.seg, w.worker, &held, NULL, 0) != 0)
				_exit(1);
		if (stop != QB_STOP_NO)
			_exit(0);
	}
	struct qb_submit what = { .max_attempts = 3 };
	uint64_t until_ns = qb_now_ns() + QB_NS_PER_S;
	struct qb_held ref;

	while (qb_now_ns() < until_ns) {
		for (int i = 0; i < 8; i++) {
			what.job_id = w.next_id;
			w.next_id += qb_job_submit(&w.seg, w.driver, &what, &ref) == QB_OK;
		}
		free_all(&b);
	}
	qb_raise_stop(&w.seg, QB_STOP_DRAIN);
	ck_assert_int_eq(reap(pid, 10), 0);
	free_all(&b);
	for (uint32_t i = 0; i < w.seg.cfg.job_count; i++)
		ck_assert_msg(qb_word_state(w.seg.jobs[i].word.v) == QB_JOB_FREE, "after %llu jobs slot %u is %s and not dirty",
			      (unsigned long long)w.next_id - 1, i,
			      qb_job_state_name(qb_word_state(w.seg.jobs[i].word.v)));
	qb_batch_close(&b);
	world_close(&w);
}
END_TEST

START_TEST(idle_syncer_sends_nothing)
{
	struct qb_err err = { 0 };
	struct world w;

	world_open(&w, HERE, "idle");
	ck_assert_int_eq(step(&w), 0);
	submit_one(&w);
	drain(&w);

	int64_t batch = sql_number(&w, "select batch from qbench.run where run_id = $1", 0);

	/* Its own record of the last commit is there to be sent, and not worth a commit. */
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(qb_syncer_step(w.s, 1, &err), 0);
	ck_assert_int_eq(sql_number(&w, "select batch from qbench.run where run_id = $1", 0), batch);
	/* A bit without news (somebody set it twice) does not begin a chain of commits. */
	qb_job_mark_dirty(&w.seg, 0);
	ck_assert_int_ge(qb_syncer_step(w.s, 1, &err), 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(qb_syncer_step(w.s, 1, &err), 0);
	ck_assert_int_eq(live_rows(&w), 1);
	world_close(&w);
}
END_TEST

START_TEST(few_events_wait_for_company_and_not_for_ever)
{
	struct qb_err err = { 0 };
	struct world w;

	world_open(&w, HERE, "company");
	submit_one(&w);
	drain(&w);

	struct qb_held held = start_one(&w);

	ck_assert_int_eq(qb_syncer_step(w.s, 0, &err), 0);
	uint64_t since = qb_now_ns();

	ck_until(qb_syncer_step(w.s, 0, &err) > 0, 5);
	ck_assert_uint_lt(qb_now_ns() - since, QB_NS_PER_S);
	/* Many do not wait. */
	for (int i = 0; i < 256; i++)
		note_started(&w, &held);
	ck_assert_int_ge(qb_syncer_step(w.s, 0, &err), 256);
	world_close(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sync");
	TCase *tc = tcase_create("sync");

	tcase_set_timeout(tc, 30);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, job_that_ends_within_one_batch_is_one_outcome_and_never_a_live_row);
	tcase_add_test(tc, accepted_job_is_a_live_row_with_all_its_fields);
	tcase_add_test(tc, payload_comes_through_byte_for_byte);
	tcase_add_test(tc, claimed_and_started_jobs_are_stored_as_ready);
	tcase_add_test(tc, waiting_job_updates_attempt_failures_and_due_time);
	tcase_add_test(tc, ambiguous_job_is_stored_as_such_and_stays);
	tcase_add_test(tc, every_way_to_end_is_an_outcome_and_frees_the_slot);
	tcase_add_test(tc, events_are_stored_once_with_all_their_fields);
	tcase_add_test(tc, events_come_through_the_end_of_their_ring_many_times);
	tcase_add_test(tc, batch_has_at_most_a_thousand_jobs_and_goes_on_where_it_stopped);
	tcase_add_test(tc, batch_is_bounded_in_bytes);
	tcase_add_test(tc, job_that_changes_while_it_is_gathered_is_not_forgotten);
	tcase_add_test(tc, idle_syncer_sends_nothing);
	tcase_add_test(tc, few_events_wait_for_company_and_not_for_ever);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
