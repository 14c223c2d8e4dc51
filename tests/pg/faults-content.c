/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No job can hold up the others: whatever is in its payload, its result and its fields, and whatever a stray write has
 * made of them, the batch that carries it commits.
 */
#include "tests/pg/synctest.h"

char *pgtest_base;

#define ROUNDS 400

static int64_t bytes_alike(const struct world *w, const char *text, const void *data, size_t bytes)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_BYTEA };
	const char *values[] = { w->run_id, data };
	const int lengths[] = { 0, (int)bytes }, formats[] = { 0, 1 };
	struct qb_err err = { 0 };
	PGresult *res;
	int64_t n = 0;

	ck_ok(qb_pg_query(w->db, text, 2, oids, values, lengths, formats, 1, &res, &err), err);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 0, &n), 0);
	PQclear(res);
	return n;
}

static int try_submit(struct world *w, const struct qb_submit *what)
{
	struct qb_held ref;

	return qb_job_submit(&w->seg, w->driver, what, &ref);
}

START_TEST(every_byte_and_every_length_comes_through)
{
	static uint8_t large[QB_PAYLOAD_BYTES_MAX];
	static const uint32_t lengths[] = { 0, 1, 255, 256, 257, QB_RESULT_BYTES_MAX - 1, QB_RESULT_BYTES_MAX };
	struct world w;
	struct qb_held held;

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i + i / 256);
	world_open(&w, HERE, "bytes");
	/* As many of the largest as fit into the segment: more than one batch. */
	struct qb_submit what = { .max_attempts = 1, .payload = large, .payload_bytes = sizeof(large) };

	for (what.job_id = w.next_id; try_submit(&w, &what) == QB_OK; what.job_id++)
		w.next_id++;
	ck_assert_uint_gt(w.next_id, 10);
	drain(&w);
	ck_assert_int_eq(bytes_alike(&w, "select count(*) from qbench.job where payload = $2 and " OF_RUN, large, sizeof(large)),
			 (int64_t)w.next_id - 1);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		held = start_one(&w);
		ck_assert_int_eq(qb_job_complete(&w.seg, w.worker, &held, large, lengths[i]), 0);
		drain(&w);
		ck_assert_int_eq(bytes_alike(&w, "select count(*) from qbench.outcome where coalesce(result, '') = $2 and " OF_RUN, large,
					     lengths[i]), 1);
	}
	/* Longer ones are refused before they are anybody's. */
	held = start_one(&w);
	ck_assert_int_eq(qb_job_complete(&w.seg, w.worker, &held, large, QB_RESULT_BYTES_MAX + 1), QB_ETOOBIG);
	what.payload_bytes = 2u << 20;
	ck_assert_int_eq(try_submit(&w, &what), QB_ETOOBIG);
	complete(&w, &held);
	work_off(&w);
	drain(&w);
	everything_once(&w);
	world_close(&w);
}
END_TEST

START_TEST(largest_fields_come_through)
{
	struct qb_submit what = {
		.job_id = UINT64_MAX, .submitted_raw = UINT64_MAX, .work_us = UINT32_MAX, .tenant = UINT32_MAX,
		.kind = UINT16_MAX, .error_class = UINT16_MAX, .max_attempts = 15, .effect_class = QB_EFFECT_OPAQUE,
	};
	struct qb_held held;
	struct world w;

	world_open(&w, HERE, "largest");
	ck_assert_int_eq(try_submit(&w, &what), QB_OK);
	drain(&w);
	/* Postgres has signed numbers only: the same bits. */
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.job where job_id = -1 and tenant = -1 and kind = -1 and "
				    "error_class = -1 and work_us = -1 and " OF_RUN, 0), 1);
	held = start_one(&w);
	ck_assert_int_eq(fail_job(&w, &held, 0, UINT64_MAX), 0);
	drain(&w);
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.job where state = 9 and due_at is not null and " OF_RUN, 0),
			 1);
	world_close(&w);
}
END_TEST

START_TEST(id_that_was_used_twice_does_not_stop_the_batch)
{
	struct world w;

	world_open(&w, HERE, "twice");
	drain(&w);
	for (int again = 0; again < 2; again++) {
		struct qb_submit what = { .job_id = 1, .max_attempts = 3 };

		ck_assert_int_eq(try_submit(&w, &what), QB_OK);
		ck_assert_int_eq(try_submit(&w, &what), QB_OK);
		submit_one(&w);
		w.next_id++;
		drain(&w);
		work_off(&w);
		drain(&w);
	}
	/* Those beside it are all there. */
	ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.outcome where " OF_RUN, 0), 2);
	world_close(&w);
}
END_TEST

/* All but the words that say what it is. */
static void scribble(struct qb_job_shm *job, struct qb_rng *rng)
{
	uint8_t *bytes = (uint8_t *)&job->job_id, *end = (uint8_t *)job->pad;
	int whole = qb_rng_below(rng, 3) == 0;

	for (uint8_t *p = bytes; p < end; p++) {
		if (whole)
			*p = 0xff;
		else if (qb_rng_below(rng, 4) == 0)
			*p = (uint8_t)qb_rng_next(rng);
	}
}

static void scribble_events(struct world *w, uint64_t from, struct qb_rng *rng)
{
	for (uint64_t pos = from; pos < w->worker_log.tail; pos++) {
		struct qb_event_shm *e = &w->worker_log.records[pos % w->seg.cfg.event_count];
		uint8_t *end = (uint8_t *)(e + 1);

		for (uint8_t *p = (uint8_t *)&e->raw; p < end; p++)
			*p = qb_rng_below(rng, 2) ? 0xff : (uint8_t)qb_rng_next(rng);
	}
}

/* Jobs in every state, some of them written over by somebody mad, each beside one that is well. */
START_TEST(damaged_slot_does_not_stop_the_batch)
{
	struct qb_rng rng;
	struct world w;
	int64_t well = 0;

	world_open(&w, HERE, "damaged");
	qb_rng_init(&rng, 11, "scribble");
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t events = w.worker_log.tail;
		struct qb_held held;

		for (int i = 0; i < 5; i++)
			submit_one(&w);
		if (round % 2)
			drain(&w);
		uint32_t ready = 0, slot[4];

		for (int i = 0; i < 4; i++) {
			held = start_one(&w);
			slot[i] = held.slot_idx;
			if (i == 1)
				fail_job(&w, &held, 0, qb_now_ns() + 3600 * QB_NS_PER_S);
			else if (i == 2)
				fail_job(&w, &held, 1, 0);
			else
				complete(&w, &held);
		}
		well++;         /* the last of the four */
		for (uint32_t i = 0; i < w.seg.cfg.job_count; i++) {
			if (qb_word_state(qb_load_acquire64(&w.seg.jobs[i].word)) == QB_JOB_READY)
				ready = i;
		}
		for (int i = 0; i < 3; i++)
			scribble(&w.seg.jobs[slot[i]], &rng);
		if (round % 2 == 0)
			scribble(&w.seg.jobs[ready], &rng);
		scribble_events(&w, events, &rng);
		drain(&w);
		/* Gone from the table, whatever its row is: nobody can run it any more. */
		for (int i = 0; i < 2; i++) {
			uint32_t idx = i ? ready : slot[1];

			uint64_t word = qb_load_relaxed64(&w.seg.jobs[idx].word);

			qb_store_relaxed64(&w.seg.jobs[idx].word, qb_word(qb_word_gen(word), 0, 0, 0, QB_JOB_FREE));
		}
		ck_assert_int_eq(sql_number(&w, "select count(*) from qbench.outcome where job_id = $2 and state = 5 and " OF_RUN,
					    (int64_t)w.next_id - 2), 1);
	}
	ck_assert_int_ge(outcome_rows(&w), well);
	printf("# %d rounds\n# figures: wire_cuts=0 postgres_faults=0 lost=0 silent=0 wrong=0\n", ROUNDS);
	fflush(stdout);
	world_close(&w);
}
END_TEST

/* A name that is no text cannot be a run's: it is refused with the reason, at the connection. */
START_TEST(name_that_is_no_text_is_refused_at_the_start)
{
	struct qb_err err = { 0 };
	struct world w;

	world_open_cfg(&w, HERE, "name", NULL);
	qb_event_open(&w.log, &w.seg, w.syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	memcpy(w.seg.hdr->run_id, "\xff\xfe", 3);
	ck_assert_int_eq(qb_syncer_connect(w.s, &err), QB_EPG);
	ck_has(err.text, "could not register the run");
	ck_has(err.text, "22021");
	/* What is hostile and text is a name like any other. */
	strcpy(w.run_id, "'; drop table qbench.job; -- \x1b[31m\n\t\"\\");
	strcpy(w.seg.hdr->run_id, w.run_id);
	qb_err_clear(&err);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	submit_one(&w);
	work_off(&w);
	drain(&w);
	everything_once(&w);
	world_close(&w);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("faults-content");
	TCase *tc = tcase_create("faults-content");

	tcase_set_timeout(tc, 120);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, every_byte_and_every_length_comes_through);
	tcase_add_test(tc, largest_fields_come_through);
	tcase_add_test(tc, id_that_was_used_twice_does_not_stop_the_batch);
	tcase_add_test(tc, damaged_slot_does_not_stop_the_batch);
	tcase_add_test(tc, name_that_is_no_text_is_refused_at_the_start);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
