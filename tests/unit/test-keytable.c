/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for unique keys: their numbers, what they add up to, and what is said of it. */
#include "trace-builder.h"

#include "report/keytable.h"

#define K 3
#define P 2

static struct builder b;
static const struct qb_keyset set = { .keys = K, .processes = P };
static struct qb_strbuf text;

enum answer { ACCEPTED, REFUSED, FAILED, NONE };

static void setup(void)
{
	builder_init(&b, (unsigned)qb_keyset_jobs(&set));
	qb_meta_setting(&b.trace.meta, "keys", "3");
	qb_meta_setting(&b.trace.meta, "key processes", "2");
	b.trace.ended = 1;
	b.in.reports_ambiguity = 0;
	start_processes(&b, 2);
}

static void teardown(void)
{
	qb_strbuf_free(&text);
}

static unsigned id_of(unsigned phase, unsigned key, unsigned process)
{
	return (unsigned)qb_keyset_id(&set, phase, key, process);
}

static void request(uint64_t t_ms, unsigned phase, unsigned key, unsigned process, enum answer answer)
{
	unsigned id = id_of(phase, key, process);

	job_event(&b, t_ms, QB_EV_JOB_SUBMITTED, DRIVER, id, 0, ZERO_NS + t_ms * MS, 100);
	if (answer == ACCEPTED)
		job_event(&b, t_ms, QB_EV_JOB_ENQUEUED, DRIVER, id, 0, ZERO_NS + t_ms * MS, 0);
	else if (answer != NONE)
		job_event(&b, t_ms, QB_EV_ENQUEUE_FAILED, DRIVER, id, 0, answer == REFUSED ? 0 : 2014, 0);
}

/* The first process accepted or not, the second refused, a millisecond later. */
static void ask_all(uint64_t t_ms, unsigned phase, enum answer first)
{
	for (unsigned key = 0; key < K; key++) {
		request(t_ms + 10 * key, phase, key, 0, first);
		request(t_ms + 10 * key + 1, phase, key, 1, REFUSED);
	}
}

static void run_first(uint64_t t_ms, unsigned phase)
{
	for (unsigned key = 0; key < K; key++)
		run_job(&b, t_ms + key, t_ms + key + 1, W(2), id_of(phase, key, 0), 1);
}

/* Refuses a key as long as a job has it, and lets go of it then. */
static void good_until_the_kill(void)
{
	ask_all(100, QB_KEY_RACE, ACCEPTED);
	ask_all(200, QB_KEY_QUEUED, REFUSED);
	for (unsigned key = 0; key < K; key++)
		started(&b, 290, W(2), id_of(QB_KEY_RACE, key, 0), 1);
	ask_all(300, QB_KEY_RUNNING, REFUSED);
	for (unsigned key = 0; key < K; key++)
		completed(&b, 400, W(2), id_of(QB_KEY_RACE, key, 0), 1);
	ask_all(500, QB_KEY_DONE, ACCEPTED);
	run_first(600, QB_KEY_DONE);
	for (unsigned key = 0; key < K; key++)
		request(700, QB_KEY_HOLDER, key, 0, ACCEPTED);
}

/* The worker that held all of them dies at 710, another runs them again from `again_ms` on, one each ms; 0: nobody. */
static void kill_holders(uint64_t again_ms)
{
	for (unsigned key = 0; key < K; key++)
		started(&b, 705, W(1), id_of(QB_KEY_HOLDER, key, 0), 1);
	kill_worker(&b, 710, W(1), 1);
	for (unsigned key = 0; key < K; key++) {
		if (again_ms)
			run_job(&b, again_ms + key, again_ms + key + 1, W(2), id_of(QB_KEY_HOLDER, key, 0), 2);
		else
			end(&b, id_of(QB_KEY_HOLDER, key, 0), QB_OUTCOME_HELD, 1, 0);
	}
}

static const char *guarantee(void)
{
	qb_strbuf_clear(&text);
	qb_key_guarantee(&b.out.keys, &text);
	return qb_strbuf_text(&text);
}

static const char *holders(void)
{
	qb_strbuf_clear(&text);
	qb_key_holders(&b.out.keys, &text);
	return qb_strbuf_text(&text);
}

START_TEST(each_id_has_one_place_and_back)
{
	struct qb_key_place at;
	uint64_t id = 0;

	ck_assert_int_eq(qb_keyset_place(&set, 0, &at), -1);
	for (unsigned phase = 0; phase < QB_KEY_PHASES; phase++)
		for (unsigned key = 0; key < K; key++)
			for (unsigned process = 0; process < P; process++) {
				ck_assert_uint_eq(qb_keyset_id(&set, phase, key, process), ++id);
				ck_assert_int_eq(qb_keyset_place(&set, id, &at), 0);
				ck_assert(at.phase == phase && at.key == key && at.process == process);
			}
	for (unsigned key = 0; key < K; key++) {
		ck_assert_uint_eq(qb_keyset_id(&set, QB_KEY_HOLDER, key, 0), ++id);
		ck_assert_int_eq(qb_keyset_place(&set, id, &at), 0);
		ck_assert(at.phase == QB_KEY_HOLDER && at.key == key);
	}
	ck_assert_uint_eq(id, qb_keyset_jobs(&set));
	ck_assert_int_eq(qb_keyset_place(&set, id + 1, &at), -1);
}
END_TEST

/* The last phase and its holders have the same keys, and no other phase has one of them. */
START_TEST(the_last_phase_has_keys_of_its_own)
{
	static const struct qb_key_place race = { QB_KEY_RACE, 1, 0 }, done = { QB_KEY_DONE, 1, 1 },
		killed = { QB_KEY_KILLED, 1, 1 }, holder = { QB_KEY_HOLDER, 1, 0 };
	char one[QB_KEY_TEXT_BYTES], other[QB_KEY_TEXT_BYTES];

	ck_assert_str_eq(qb_keyset_text(&race, one), qb_keyset_text(&done, other));
	ck_assert_str_eq(qb_keyset_text(&killed, one), qb_keyset_text(&holder, other));
	ck_assert_str_ne(qb_keyset_text(&race, one), qb_keyset_text(&holder, other));
	ck_assert_uint_eq(qb_keyset_index(&set, &race), 1);
	ck_assert_uint_eq(qb_keyset_index(&set, &killed), K + 1);
	ck_assert_uint_eq(qb_keyset_index(&set, &holder), K + 1);
}
END_TEST

START_TEST(rows_count_what_was_asked_and_what_was_run)
{
	const struct qb_key_table *t = &b.out.keys;

	good_until_the_kill();
	kill_holders(730);
	ask_all(711, QB_KEY_KILLED, REFUSED);
	assert_verified(&b);
	ck_assert_uint_eq(t->set.keys, K);
	for (unsigned i = 0; i < QB_KEY_PHASES; i++) {
		const struct qb_key_row *r = &t->row[i];
		unsigned accepted = i == QB_KEY_RACE || i == QB_KEY_DONE ? K : 0;

		ck_assert_uint_eq(r->requests, K * P);
		ck_assert_uint_eq(r->accepted, accepted);
		ck_assert_uint_eq(r->refused, K * P - accepted);
		ck_assert_uint_eq(r->errors + r->unanswered, 0);
		ck_assert_uint_eq(r->accepted_keys, accepted);
		ck_assert_uint_eq(r->accepted_max, accepted > 0);
		ck_assert_uint_eq(r->executions, accepted);
		ck_assert_uint_eq(r->executed_keys, accepted);
		ck_assert_uint_eq(r->unfinished_keys, 0);
		ck_assert_uint_eq(r->spread_ns_median, 1 * MS);
	}
	ck_assert_uint_eq(b.out.refused, 24);
	ck_assert_uint_eq(b.out.enqueue_failed, 0);
	ck_assert_uint_eq(t->holders, K);
	ck_assert_uint_eq(t->killed, K);
	ck_assert_uint_eq(t->again, K);
	ck_assert_uint_eq(t->holder_executions, K);
	ck_assert_uint_eq(t->blocked + t->overlapped, 0);
	ck_assert_uint_eq(t->again_ns_median, 21 * MS);
	ck_assert_uint_eq(t->again_ns_max, 22 * MS);
	ck_assert_str_eq(guarantee(), "one job per key while queued and running; after completion the key is free; "
			 "after a kill of its worker the key is refused, and its job runs again 21.0 ms later.");
}
END_TEST

START_TEST(a_job_that_nobody_runs_again_is_blocked_longer_than_the_watch)
{
	good_until_the_kill();
	kill_holders(0);
	ask_all(711, QB_KEY_KILLED, REFUSED);
	b.in.watch_end_ns = ZERO_NS + 5710 * MS;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_uint_eq(b.out.keys.again, 0);
	ck_assert_uint_eq(b.out.keys.blocked, K);
	ck_assert_uint_eq(b.out.keys.watch_ns_min, 5000 * MS);
	ck_assert_uint_eq(b.out.keys.holder_executions, 0);
	ck_assert_ptr_nonnull(strstr(guarantee(), "after a kill of its worker 3 of 3 keys are still refused, and their jobs "
				     "have not run again, > 5.00 s later."));
	ck_assert_ptr_nonnull(strstr(holders(), "0 of these began again; 3 had not when the watch ended, > 5.00 s after the "
				     "kill. They were executed 0 times"));
}
END_TEST

START_TEST(a_second_job_beside_that_of_the_dead_is_told)
{
	good_until_the_kill();
	kill_holders(0);
	ask_all(711, QB_KEY_KILLED, ACCEPTED);
	run_first(750, QB_KEY_KILLED);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.keys.overlapped, K);
	ck_assert_uint_eq(b.out.keys.blocked, 0);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_KILLED].executions, K);
	ck_assert_ptr_nonnull(strstr(guarantee(), "3 of 3 keys get a second job before the first has run again, at most 1 each"));
}
END_TEST

START_TEST(a_holder_whose_worker_lived_is_no_victim)
{
	good_until_the_kill();
	for (unsigned key = 0; key < K; key++)
		run_job(&b, 705 + key, 706 + key, W(1), id_of(QB_KEY_HOLDER, key, 0), 1);
	kill_worker(&b, 710, W(1), 1);
	ask_all(711, QB_KEY_KILLED, ACCEPTED);
	run_first(750, QB_KEY_KILLED);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.keys.holders, K);
	ck_assert_uint_eq(b.out.keys.killed, 0);
	ck_assert_ptr_null(strstr(guarantee(), "kill"));
}
END_TEST

START_TEST(a_queue_that_refuses_nothing_guarantees_nothing)
{
	uint64_t t = 100;

	for (unsigned phase = 0; phase < QB_KEY_KILLED; phase++)
		for (unsigned key = 0; key < K; key++)
			for (unsigned p = 0; p < P; p++, t += 3) {
				request(t, phase, key, p, ACCEPTED);
				run_job(&b, t + 1, t + 2, W(2), id_of(phase, key, p), 1);
			}
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_RACE].accepted_max, P);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_RACE].executed_max, P);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_RACE].executed_keys, K);
	ck_assert_msg(strncmp(guarantee(), "no guarantee; of requests at the same time up to 2 requests for one key are "
			      "accepted (6 of 6 in all); while queued up to 2", 100) == 0, "%s", guarantee());
}
END_TEST

START_TEST(each_scope_has_words_of_its_own)
{
	struct qb_key_table *t = &b.out.keys;

	*t = (struct qb_key_table){ .set = set };
	ck_assert_str_eq(guarantee(), "nothing was accepted.");
	t->row[QB_KEY_RACE] = (struct qb_key_row){ .requests = 6, .accepted = 3, .accepted_keys = 3, .accepted_max = 1 };
	t->row[QB_KEY_RUNNING] = t->row[QB_KEY_RACE];
	ck_assert_ptr_nonnull(strstr(guarantee(), "one job per key while queued, but not while running; while running up to 1 "
				     "requests for one key are accepted (3 of 6 in all)."));
	t->row[QB_KEY_QUEUED] = t->row[QB_KEY_RACE];
	ck_assert_ptr_nonnull(strstr(guarantee(), "only of requests that come together"));
	t->row[QB_KEY_RUNNING].accepted = t->row[QB_KEY_QUEUED].accepted = 0;
	t->row[QB_KEY_RACE].accepted_max = 2;
	ck_assert_ptr_nonnull(strstr(guarantee(), "no second job of a key that is queued or running, but several of requests"));
	t->row[QB_KEY_DONE].requests = 6;
	ck_assert_ptr_nonnull(strstr(guarantee(), "after completion the key is still refused"));
	t->row[QB_KEY_RACE].executed_max = 5;
	ck_assert_ptr_nonnull(strstr(guarantee(), "executed up to 5 times, more often than accepted"));
}
END_TEST

START_TEST(a_refused_request_that_is_run_breaks_the_account)
{
	good_until_the_kill();
	kill_holders(730);
	ask_all(711, QB_KEY_KILLED, REFUSED);
	run_job(&b, 800, 801, W(2), id_of(QB_KEY_QUEUED, 1, 1), 1);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(b.out.keys.refused_and_run, 1);
	ck_assert_int_eq(identity_of(&b, "requests refused for their key and yet run")->holds, 0);
	ck_assert_int_eq(b.out.verified, 0);
}
END_TEST

/* Each request that was made too early or too late is one. */
START_TEST(a_request_outside_its_phase_breaks_the_account)
{
	static const struct { uint64_t t_ms; unsigned phase; } odd[] = {
		{ 291, QB_KEY_QUEUED }, { 289, QB_KEY_RUNNING }, { 401, QB_KEY_RUNNING }, { 399, QB_KEY_DONE },
		{ 709, QB_KEY_KILLED },
	};

	good_until_the_kill();
	kill_holders(730);
	for (unsigned key = 0; key < K; key++)
		for (unsigned p = 0; p < P; p++)
			if (key + p)
				request(711, QB_KEY_KILLED, key, p, REFUSED);
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		static struct builder kept;
		unsigned id = id_of(odd[i].phase, 0, 0);

		kept = b;
		/* Moved there, or made anew. */
		for (size_t e = 0; e < b.trace.events_count; e++)
			if (b.events[e].ev.job_id == id && (b.events[e].ev.type == QB_EV_JOB_SUBMITTED ||
							    b.events[e].ev.type == QB_EV_ENQUEUE_FAILED))
				b.events[e].ev.type = QB_EV_NONE;
		if (odd[i].phase == QB_KEY_DONE)
			request(odd[i].t_ms, QB_KEY_DONE, 0, 1, REFUSED);
		else
			request(odd[i].t_ms, odd[i].phase, 0, 0, REFUSED);
		ck_assert_int_eq(summarize(&b), 0);
		ck_assert_msg(b.out.keys.out_of_phase == 1, "%u: %llu", i, (unsigned long long)b.out.keys.out_of_phase);
		ck_assert_int_eq(identity_of(&b, "requests made while their key")->holds, 0);
		b = kept;
		b.trace.events = b.events;
		b.in.trace = &b.trace;
	}
}
END_TEST

START_TEST(a_phase_without_all_its_requests_breaks_the_account)
{
	good_until_the_kill();
	kill_holders(730);
	for (unsigned key = 1; key < K; key++)
		for (unsigned p = 0; p < P; p++)
			request(711, QB_KEY_KILLED, key, p, REFUSED);
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "requests of each phase");
	/* But not in a run that was cut off. */
	b.trace.ended = 0;
	assert_verified(&b);
}
END_TEST

START_TEST(an_accepted_key_that_ended_without_an_execution_breaks_the_account)
{
	good_until_the_kill();
	kill_holders(730);
	ask_all(711, QB_KEY_KILLED, REFUSED);
	end(&b, id_of(QB_KEY_DONE, 2, 0), QB_OUTCOME_COMPLETED, 1, 0);
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_int_eq(identity_of(&b, "keys accepted <=")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "completions without an effect")->holds, 0);
}
END_TEST

START_TEST(errors_are_neither_accepted_nor_refused)
{
	good_until_the_kill();
	kill_holders(730);
	ask_all(711, QB_KEY_KILLED, FAILED);
	/* One has no answer at all: what it was asked for came, and nobody knows more. */
	b.events[b.trace.events_count - 1].ev.type = QB_EV_NONE;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_KILLED].errors, K);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_KILLED].refused, K - 1);
	ck_assert_uint_eq(b.out.keys.row[QB_KEY_KILLED].unanswered, 1);
	ck_assert_uint_eq(b.out.enqueue_failed, K);
}
END_TEST

START_TEST(a_run_of_another_kind_has_no_table)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.keys.set.keys, 0);
	json_t *none = qb_key_json(&b.out.keys);

	ck_assert(json_is_null(none));
	json_decref(none);
	/* A description that does not fit its jobs is not believed. */
	qb_meta_setting(&b.trace.meta, "keys", "4000000000");
	qb_meta_setting(&b.trace.meta, "key processes", "4000000000");
	assert_verified(&b);
	ck_assert_uint_eq(b.out.keys.set.keys, 0);
}
END_TEST

START_TEST(several_runs_add_up)
{
	static struct qb_summary other;
	struct qb_report_entry one = { .summary = &b.out }, two = { .summary = &other };
	const struct qb_report_entry *runs[] = { &one, &two };
	struct qb_group g = { .lib = "x", .runs = runs, .runs_count = 2 };
	struct qb_key_table sum;
	char cell[QB_CELL_BYTES];

	good_until_the_kill();
	kill_holders(730);
	ask_all(711, QB_KEY_KILLED, REFUSED);
	assert_verified(&b);
	other = b.out;
	other.keys.row[QB_KEY_RACE].accepted_max = 2;
	other.keys.again_ns_median = 40 * MS;
	other.keys.again_ns_max = 50 * MS;
	qb_key_total(&g, &sum);
	ck_assert_uint_eq(sum.set.keys, 2 * K);
	ck_assert_uint_eq(sum.row[QB_KEY_RACE].requests, 2 * K * P);
	ck_assert_uint_eq(sum.row[QB_KEY_RACE].accepted_max, 2);
	ck_assert_uint_eq(sum.again, 2 * K);
	ck_assert_uint_eq(sum.again_ns_median, 40 * MS);
	ck_assert_uint_eq(sum.again_ns_max, 50 * MS);
	qb_key_cell(&sum, QB_KEY_QUEUED, 0, cell);
	ck_assert_str_eq(cell, "while queued");
	qb_key_cell(&sum, QB_KEY_QUEUED, 3, cell);
	ck_assert_str_eq(cell, "12");
	ck_assert_str_eq(qb_key_heading(3), "refused");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("keytable");
	TCase *numbers = tcase_create("numbers"), *table = tcase_create("table");
	SRunner *runner;
	int failed;

	tcase_add_test(numbers, each_id_has_one_place_and_back);
	tcase_add_test(numbers, the_last_phase_has_keys_of_its_own);
	suite_add_tcase(suite, numbers);
	tcase_add_checked_fixture(table, setup, teardown);
	tcase_add_test(table, rows_count_what_was_asked_and_what_was_run);
	tcase_add_test(table, a_job_that_nobody_runs_again_is_blocked_longer_than_the_watch);
	tcase_add_test(table, a_second_job_beside_that_of_the_dead_is_told);
	tcase_add_test(table, a_holder_whose_worker_lived_is_no_victim);
	tcase_add_test(table, a_queue_that_refuses_nothing_guarantees_nothing);
	tcase_add_test(table, each_scope_has_words_of_its_own);
	tcase_add_test(table, a_refused_request_that_is_run_breaks_the_account);
	tcase_add_test(table, a_request_outside_its_phase_breaks_the_account);
	tcase_add_test(table, a_phase_without_all_its_requests_breaks_the_account);
	tcase_add_test(table, an_accepted_key_that_ended_without_an_execution_breaks_the_account);
	tcase_add_test(table, errors_are_neither_accepted_nor_refused);
	tcase_add_test(table, a_run_of_another_kind_has_no_table);
	tcase_add_test(table, several_runs_add_up);
	suite_add_tcase(suite, table);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
