/* SPDX-License-Identifier: Apache-2.0 */
/* What of a lost run comes back out of Postgres, and what does not. */
#include "tests/pg/restoretest.h"

#include "shm/hint.h"
#include "shm/key.h"

char *pgtest_base;

/* ---- what comes back ---- */

START_TEST(every_field_and_byte_of_a_job_comes_back)
{
	static uint8_t bytes[QB_PAYLOAD_BYTES_MAX], back[QB_PAYLOAD_BYTES_MAX];
	const uint32_t sizes[] = { 0, 1, 255, 1008, 1009, sizeof(bytes) };
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct qb_seg seg;
	struct world w;

	open_described(&w, "fields", NULL);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i ^ i >> 8);
	for (unsigned i = 0; i < 6; i++) {
		struct qb_submit what = {
			.job_id = i == 5 ? INT64_MAX : 1000 + i, .submitted_raw = qb_stamp(), .work_us = 4000000000u - i,
			.tenant = 3000000000u + i, .kind = (uint16_t)(65535 - i), .error_class = (uint16_t)(40000 + i),
			.max_attempts = (uint16_t)(i + 10), .effect_class = QB_EFFECT_IDEMPOTENT, .payload = bytes,
			.payload_bytes = sizes[i],
		};
		struct qb_held ref;

		ck_assert_int_eq(qb_job_submit(&w.seg, w.driver, &what, &ref), QB_OK);
	}
	drain(&w);
	lose(&w);
	ck_ok(rebuild(&r, w.run_id, &seg, &err), err);
	ck_assert_uint_eq(r.jobs, 6);
	ck_assert_uint_eq(r.how[QB_RESTORED_AGAIN], 6);
	ck_assert_uint_eq(r.meta_bytes, strlen("about it"));
	ck_assert_mem_eq(r.meta, "about it", r.meta_bytes);
	for (unsigned i = 0; i < 6; i++) {
		const struct qb_job_shm *job = find(&seg, i == 5 ? INT64_MAX : 1000 + i);

		ck_assert_ptr_nonnull(job);
		ck_assert_uint_eq(job->word.v, qb_word(0, QB_LIFE_ATTEMPTS, 0, 0, QB_JOB_READY));
		ck_assert_uint_eq(job->work_us, 4000000000u - i);
		ck_assert_uint_eq(job->tenant, 3000000000u + i);
		ck_assert_uint_eq(job->kind, 65535 - i);
		ck_assert_uint_eq(job->error_class, 40000 + i);
		ck_assert_uint_eq(job->max_attempts, i + 10);
		ck_assert_uint_eq(job->effect_class, QB_EFFECT_IDEMPOTENT);
		ck_assert_int_eq(qb_job_payload(&seg, (uint32_t)(job - seg.jobs), 0, back, sizeof(back)), (int)sizes[i]);
		ck_assert_mem_eq(back, bytes, sizes[i]);
	}
	qb_restore_close(&r);
	qb_seg_detach(&seg);
	world_close(&w);
}
END_TEST

/* Of each class: ready, claimed, started, waiting for long, due by now, done and not durable, done and durable. */
START_TEST(every_state_of_every_class)
{
	static const struct { uint16_t effect; uint32_t ready, due; } classes[] = {
		{ QB_EFFECT_IDEMPOTENT, QB_JOB_READY, QB_JOB_WAITING },
		{ QB_EFFECT_OPAQUE, QB_JOB_AMBIGUOUS, QB_JOB_AMBIGUOUS },
		{ QB_EFFECT_TRANSACTIONAL, QB_JOB_AMBIGUOUS, QB_JOB_AMBIGUOUS },
	};
	uint64_t later = qb_now_ns() + 3600 * QB_NS_PER_S;
	uint16_t effect = classes[_i].effect;
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct qb_held held;
	struct qb_seg seg;
	struct world w;
	char name[32];

	snprintf(name, sizeof(name), "states-%d", _i);
	open_described(&w, name, NULL);
	for (int i = 0; i < 7; i++)
		submit(&w, "p", 1, effect);
	held = start_one(&w);           /* 1: done, and durable */
	complete(&w, &held);
	held = start_one(&w);           /* 2: waits for long */
	fail_job(&w, &held, 0, later);
	held = start_one(&w);           /* 3: failed, soon due again */
	fail_job(&w, &held, 0, qb_now_ns() + QB_NS_PER_S);
	drain(&w);
	held = start_one(&w);           /* 4: done, and nobody has heard of it */
	complete(&w, &held);
	start_one(&w);                  /* 5: started */
	ck_assert_int_eq(qb_job_claim(&w.seg, w.worker, &held), QB_OK); /* 6: claimed; 7: ready */
	lose(&w);
	ck_ok(rebuild(&r, w.run_id, &seg, &err), err);
	ck_assert_uint_eq(r.jobs, 6);
	ck_assert_uint_eq(r.finished, 1);
	ck_assert_uint_eq(state_in(&seg, 1), QB_JOB_FREE);
	ck_assert_uint_eq(state_in(&seg, 2), QB_JOB_WAITING);
	ck_assert_uint_eq(state_in(&seg, 3), classes[_i].due);
	for (uint64_t id = 4; id <= 7; id++)
		ck_assert_uint_eq(state_in(&seg, id), classes[_i].ready);
	/* Of the same host: the two clocks are the same, but for what a microsecond leaves out. */
	const struct qb_job_shm *waits = find(&seg, 2);

	ck_assert_uint_ge(waits->due_ns.v + QB_NS_PER_S, later);
	ck_assert_uint_le(waits->due_ns.v, later + QB_NS_PER_S);
	ck_assert_uint_eq(qb_word_failures(waits->word.v), 1);
	ck_assert_uint_eq(attempt_in(&seg, 2), QB_LIFE_ATTEMPTS + 1);
	ck_assert_uint_eq(qb_word_failures(find(&seg, 3)->word.v), 1);
	ck_assert_uint_eq(r.how[QB_RESTORED_WAITING], 1);
	ck_assert_uint_eq(r.how[effect == QB_EFFECT_IDEMPOTENT ? QB_RESTORED_AGAIN : effect == QB_EFFECT_OPAQUE ?
				QB_RESTORED_PARKED : QB_RESTORED_IN_DOUBT], 5);
	qb_restore_close(&r);
	qb_seg_detach(&seg);
	world_close(&w);
}
END_TEST

START_TEST(parked_job_stays_parked_and_is_no_news)
{
	struct qb_err err = { 0 };
	struct qb_recovery rec;
	struct qb_restore r;
	struct qb_seg seg;
	struct world w;

	open_described(&w, "parked", NULL);
	submit(&w, "p", 1, QB_EFFECT_OPAQUE);
	start_one(&w);
	ck_assert_int_eq(qb_recovery_open(&rec, &w.seg), 0);
	ck_assert_int_eq(qb_recover_seat(&rec, w.worker, NULL, NULL), 0);
	qb_recovery_close(&rec);
	drain(&w);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 1), QB_JOB_AMBIGUOUS);
	lose(&w);
	ck_ok(rebuild(&r, w.run_id, &seg, &err), err);
	ck_assert_uint_eq(state_in(&seg, 1), QB_JOB_AMBIGUOUS);
	ck_assert_uint_eq(r.how[QB_RESTORED_PARKED], 1);
	ck_assert_int_eq(qb_job_is_dirty(find(&seg, 1), find(&seg, 1)->word.v), 0);
	qb_restore_close(&r);
	qb_seg_detach(&seg);
	world_close(&w);
}
END_TEST

/* ---- keys ---- */

static int submit_with_key(struct world *w, struct qb_key key, struct qb_held *ref, struct qb_key_holder *holder)
{
	struct qb_submit what = {
		.job_id = w->next_id, .submitted_raw = qb_stamp(), .work_us = 1, .max_attempts = 3, .payload = "k",
		.payload_bytes = 1, .effect_class = QB_EFFECT_IDEMPOTENT, .key = key,
	};
	int rc = qb_job_submit_unique(&w->seg, w->driver, &what, ref, holder);

	w->next_id += rc == QB_OK;
	return rc;
}

static struct qb_held accept_with_key(struct world *w, struct qb_key key)
{
	struct qb_key_holder holder;
	struct qb_held ref;

	ck_assert_int_eq(submit_with_key(w, key, &ref, &holder), QB_OK);
	return ref;
}

static void is_held_by(struct world *w, struct qb_key key, uint64_t job_id)
{
	struct qb_key_holder holder = { 0 };
	struct qb_held ref;

	ck_assert_int_eq(submit_with_key(w, key, &ref, &holder), QB_DUPLICATE);
	ck_assert_uint_eq(holder.job_id, job_id);
	ck_assert_ptr_eq(find(&w->seg, job_id), &w->seg.jobs[holder.slot_idx]);
}

/* Every bit of both halves; the last two share a bucket of every table. */
static const struct qb_key keys[] = {
	{ .hi = 0x0123456789abcdef, .lo = 0xfedcba9876543210 }, { .hi = 0, .lo = 1 }, { .hi = 1, .lo = 0 },
	{ .hi = UINT64_MAX, .lo = UINT64_MAX }, { .hi = 5, .lo = 12 }, { .hi = 6, .lo = 12 },
};

START_TEST(job_of_a_lost_segment_holds_its_key_until_it_has_ended)
{
	struct qb_restore r;
	struct qb_held held;
	struct world w;

	open_described(&w, "keys", NULL);
	for (unsigned i = 0; i < QB_ARRAY_COUNT(keys); i++)
		accept_with_key(&w, keys[i]);
	submit_one(&w);
	drain(&w);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "(key = '\\x0123456789abcdeffedcba9876543210')::int", 1), 1);
	ck_assert_int_eq(sql_number(&w, "select max(job_id) from qbench.job where key is null and " OF_RUN, 0), 7);
	/* Twice: the next life finds them as the one before did. */
	for (unsigned life = 1; life <= 2; life++) {
		lose(&w);
		rebuild_world(&w, &r);
		for (unsigned i = 0; i < QB_ARRAY_COUNT(keys); i++)
			is_held_by(&w, keys[i], i + 1);
		ck_assert_uint_eq(find(&w.seg, 7)->key_hi.v | find(&w.seg, 7)->key_lo.v, 0);
		ck_assert_uint_eq(qb_key_missing(&w.seg), 0);
	}
	for (unsigned i = 0; i < QB_ARRAY_COUNT(keys); i++) {
		held = start_one(&w);
		is_held_by(&w, keys[i], i + 1);
		complete(&w, &held);
		if (i + 1 < QB_ARRAY_COUNT(keys))
			is_held_by(&w, keys[i + 1], i + 2);
		accept_with_key(&w, keys[i]);
	}
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 0);
	ck_assert_int_eq(outcome_rows(&w), 2 * (int64_t)QB_ARRAY_COUNT(keys) + 1);
	world_close(&w);
}
END_TEST

/* What an asynchronous failover loses: the row of a job that was acknowledged, and the batch that it came with. */
START_TEST(row_that_is_sent_again_has_its_key)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct world w;

	open_described(&w, "keys-again", NULL);
	accept_with_key(&w, keys[0]);
	drain(&w);
	lose(&w);
	sql_number(&w, "with d as (delete from qbench.job where " OF_RUN " returning 1) select count(*) from d", 0);
	sql_number(&w, "with u as (update qbench.run set batch = 0 where run_id = $1 returning 1) select count(*) from u", 0);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 1);
	lose(&w);
	rebuild_world(&w, &r);
	is_held_by(&w, keys[0], 1);
	world_close(&w);
}
END_TEST

/* The first had ended, which is not durable; the second was accepted after that, which is. */
START_TEST(two_jobs_that_come_back_with_one_key_both_hold_it)
{
	struct qb_restore r;
	struct qb_held held;
	struct world w;

	open_described(&w, "keys-two", NULL);
	accept_with_key(&w, keys[0]);
	drain(&w);
	held = start_one(&w);
	complete(&w, &held);
	accept_with_key(&w, keys[0]);
	/* The batch looked at the first before it ended. */
	qb_hint_clear(w.seg.dirty_map, held.slot_idx);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 2);
	lose(&w);
	rebuild_world(&w, &r);
	for (uint64_t id = 1; id <= 2; id++) {
		is_held_by(&w, keys[0], id);
		held = start_one(&w);
		ck_assert_uint_eq(w.seg.jobs[held.slot_idx].job_id, id);
		complete(&w, &held);
	}
	accept_with_key(&w, keys[0]);
	world_close(&w);
}
END_TEST

/* Of sixteen buckets in the lost table, and of one in the new. */
START_TEST(keys_that_have_no_room_in_the_new_table_keep_no_run_from_coming_back)
{
	struct qb_restore r;
	struct world w;

	open_described(&w, "keys-crowd", NULL);
	for (uint64_t i = 0; i <= QB_KEY_CELLS; i++)
		accept_with_key(&w, (struct qb_key){ .hi = 9, .lo = 32 * i });
	drain(&w);
	lose(&w);
	rebuild_world(&w, &r);
	ck_assert_uint_eq(w.seg.cfg.job_count, 64);
	ck_assert_uint_eq(r.jobs, QB_KEY_CELLS + 1);
	ck_assert_uint_eq(qb_key_missing(&w.seg), 1);
	for (uint64_t i = 0; i < QB_KEY_CELLS; i++)
		is_held_by(&w, (struct qb_key){ .hi = 9, .lo = 32 * i }, i + 1);
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(outcome_rows(&w), QB_KEY_CELLS + 1);
	world_close(&w);
}
END_TEST

/* ---- attempts ---- */

START_TEST(attempts_of_the_new_life_are_above_all_of_the_lost_one)
{
	struct qb_recovery rec;
	struct qb_restore r;
	uint32_t last = 0;
	struct world w;

	open_described(&w, "attempts", NULL);
	submit_one(&w);
	drain(&w);
	ck_assert_int_eq(qb_recovery_open(&rec, &w.seg), 0);
	/* Claimed and never finished, over and over: the row says 0 all the time. */
	for (int i = 0; i < 2; i++) {
		last = qb_word_attempt(start_one(&w).word);
		ck_assert_int_eq(qb_recover_seat(&rec, w.worker, NULL, NULL), 0);
		w.worker = sit(&w.seg, QB_ROLE_WORKER);
	}
	qb_recovery_close(&rec);
	drain(&w);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", 1), 0);
	for (unsigned life = 1; life <= 3; life++) {
		lose(&w);
		rebuild_world(&w, &r);
		ck_assert_uint_eq(r.life, life);
		ck_assert_uint_gt(attempt_in(&w.seg, 1), last);
		/* What is in the table is what is in the segment: the next life builds on it. */
		ck_assert_int_eq(JOB_FIELD(&w, "job", "attempt", 1), attempt_in(&w.seg, 1));
		struct qb_held held = start_one(&w);

		ck_assert_uint_gt(qb_word_attempt(held.word), last);
		last = qb_word_attempt(held.word);
	}
	world_close(&w);
}
END_TEST

START_TEST(run_that_was_rebuilt_too_often_is_refused)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct world w;

	open_described(&w, "too-often", NULL);
	lose(&w);
	sql_number(&w, "with u as (update qbench.run set epoch = 254::bigint << 32 where run_id = $1 returning 1) select count(*) from u", 0);
	ck_assert_int_eq(begin(&r, w.run_id, &err), QB_ETOOBIG);
	ck_has(err.text, "254 times");
	qb_restore_close(&r);
	world_close(&w);
}
END_TEST

/* ---- to its end ---- */

START_TEST(rebuilt_run_comes_to_its_end_with_every_job_once)
{
	struct qb_restore r;
	struct qb_held held;
	struct world w;

	open_described(&w, "to-its-end", NULL);
	for (int i = 0; i < 100; i++)
		submit_one(&w);
	for (int i = 0; i < 30; i++) {
		held = start_one(&w);
		complete(&w, &held);
	}
	drain(&w);
	/* Twenty more are done, and five are being run, when the host goes: they run a second time. */
	for (int i = 0; i < 20; i++) {
		held = start_one(&w);
		complete(&w, &held);
	}
	for (int i = 0; i < 5; i++)
		start_one(&w);
	int64_t events = event_rows(&w);

	lose(&w);
	rebuild_world(&w, &r);
	ck_assert_uint_eq(r.finished, 30);
	ck_assert_uint_eq(r.jobs, 70);
	uint64_t first = w.worker_log.tail;

	ck_assert_uint_ge(first, (uint64_t)sql_number(&w, "select max(seq) from qbench.event where seat = $2 and " OF_RUN, w.worker));
	work_off(&w);
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 0);
	ck_assert_int_eq(outcome_rows(&w), 100);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.outcome where state = 5 and " OF_RUN, 0), 100);
	/* All 70 starts of the new life are on record beside those of the lost one. */
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, w.worker) -
			 sql_number(&w, "select count(*) from qbench.event where attempt < 256 and seat = $2 and " OF_RUN, w.worker),
			 (int64_t)(w.worker_log.tail - first));
	ck_assert_int_ge(event_rows(&w), events + 70);
	world_close(&w);
}
END_TEST

START_TEST(ten_thousand_jobs_and_a_segment_that_is_large_enough)
{
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct qb_seg seg;
	struct world w;

	world_config(&cfg);
	cfg.job_count = 16384;
	cfg.ring_count = 32768;
	cfg.block_count = 20000;
	cfg.effect_count = 10000;
	open_described(&w, "many", &cfg);
	for (int i = 0; i < 10000; i++)
		submit_one(&w);
	drain(&w);
	lose(&w);
	ck_ok(begin(&r, w.run_id, &err), err);
	ck_assert_uint_eq(r.jobs, 10000);
	/* Too few slots, too few blocks: said, and not cut off. */
	sized(&r, &cfg);
	cfg.job_count = 8192;
	ck_assert_int_eq(qb_seg_create_anonymous(&cfg, &seg), 0);
	ck_assert_int_eq(qb_restore_load(&r, &seg, &never, &err), QB_ETOOBIG);
	qb_seg_detach(&seg);
	sized(&r, &cfg);
	cfg.block_count = 9999;
	ck_assert_int_eq(qb_seg_create_anonymous(&cfg, &seg), 0);
	ck_assert_int_eq(qb_restore_load(&r, &seg, &never, &err), QB_ETOOBIG);
	qb_seg_detach(&seg);
	sized(&r, &cfg);
	ck_assert_uint_eq(cfg.job_count, 16384);
	ck_assert_int_eq(qb_seg_create_anonymous(&cfg, &seg), 0);
	ck_ok(qb_restore_load(&r, &seg, &never, &err), err);
	ck_assert_uint_eq(r.how[QB_RESTORED_AGAIN], 10000);
	for (uint64_t id = 1; id <= 10000; id++)
		ck_assert_uint_eq(seg.jobs[id - 1].job_id, id);
	qb_restore_close(&r);
	qb_seg_detach(&seg);
	world_close(&w);
}
END_TEST

/* ---- rows that are none of ours ---- */

START_TEST(row_that_nobody_of_us_wrote_is_named)
{
	static const struct { const char *change; int code; } bad[] = {
		{ "payload = decode(repeat('ab', 1024 * 1024), 'hex')", QB_ETOOBIG },
		{ "state = 4", QB_ECORRUPT },
		{ "effect_class = 17", QB_ECORRUPT },
		{ "effect_class = -1", QB_ECORRUPT },
		{ "max_attempts = 0", QB_ECORRUPT },
		{ "failures = -3", QB_ECORRUPT },
		{ "attempt = 2147483000", QB_ECORRUPT },
		{ "attempt = -2147483648", QB_ECORRUPT },
		{ "due_at = 'infinity'", QB_ECORRUPT },
		{ "due_at = '1901-01-01'", QB_ECORRUPT },
		{ "job_id = 0", QB_ECORRUPT },
		{ "key = ''", QB_ECORRUPT },
		{ "key = decode(repeat('ab', 15), 'hex')", QB_ECORRUPT },
		{ "key = decode(repeat('ab', 17), 'hex')", QB_ECORRUPT },
		{ "key = decode(repeat('00', 16), 'hex')", QB_ECORRUPT },
	};
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct qb_seg seg;
	struct world w;
	char name[32], *text;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(name, sizeof(name), "bad-row-%u", i);
		open_described(&w, name, NULL);
		for (int k = 0; k < 3; k++)
			submit_one(&w);
		drain(&w);
		lose(&w);
		text = qb_xasprintf("update qbench.job set %s where job_id = 2 and run_no = (select run_no from qbench.run"
				    " where run_id = '%s')", bad[i].change, name);
		sql(w.db, text);
		free(text);
		qb_err_clear(&err);
		int rc = rebuild(&r, w.run_id, &seg, &err);

		ck_assert_msg(rc == bad[i].code, "%s: %d, %s", bad[i].change, rc, err.text);
		ck_has(err.text, strstr(bad[i].change, "job_id") ? "job 0" : "job 2");
		qb_restore_close(&r);
		qb_seg_detach(&seg);
		world_close(&w);
	}
}
END_TEST

START_TEST(run_that_is_not_to_be_rebuilt_is_refused_and_the_others_are_named)
{
	struct qb_err err = { 0 };
	struct qb_restore r;
	struct world w, other;

	open_described(&other, "unfinished-other", NULL);
	submit_one(&other);
	drain(&other);
	lose(&other);
	open_described(&w, "over", NULL);
	lose(&w);
	ck_ok(qb_schema_run_ended(w.db, w.run_id, &err), err);
	ck_assert_int_eq(begin(&r, "over", &err), QB_EUSAGE);
	ck_has(err.text, "has ended");
	ck_has(err.text, "unfinished-other (begun ");
	ck_has(err.text, "1 jobs live, 0 finished");
	ck_has_not(err.text, "over (begun");
	qb_restore_close(&r);
	ck_assert_int_eq(begin(&r, "nobody's", &err), QB_EUSAGE);
	ck_has(err.text, "\"nobody's\" is not in that database");
	qb_restore_close(&r);
	sql(w.db, "update qbench.run set ended_at = null, meta = null where run_id = 'over'");
	ck_assert_int_eq(begin(&r, "over", &err), QB_EUSAGE);
	ck_has(err.text, "no description");
	qb_restore_close(&r);
	world_close(&w);
	world_close(&other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("restore");
	TCase *tc = tcase_create("restore");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, every_field_and_byte_of_a_job_comes_back);
	tcase_add_loop_test(tc, every_state_of_every_class, 0, 3);
	tcase_add_test(tc, parked_job_stays_parked_and_is_no_news);
	tcase_add_test(tc, job_of_a_lost_segment_holds_its_key_until_it_has_ended);
	tcase_add_test(tc, row_that_is_sent_again_has_its_key);
	tcase_add_test(tc, two_jobs_that_come_back_with_one_key_both_hold_it);
	tcase_add_test(tc, keys_that_have_no_room_in_the_new_table_keep_no_run_from_coming_back);
	tcase_add_test(tc, attempts_of_the_new_life_are_above_all_of_the_lost_one);
	tcase_add_test(tc, run_that_was_rebuilt_too_often_is_refused);
	tcase_add_test(tc, rebuilt_run_comes_to_its_end_with_every_job_once);
	tcase_add_test(tc, ten_thousand_jobs_and_a_segment_that_is_large_enough);
	tcase_add_test(tc, row_that_nobody_of_us_wrote_is_named);
	tcase_add_test(tc, run_that_is_not_to_be_rebuilt_is_refused_and_the_others_are_named);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
