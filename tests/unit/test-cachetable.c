/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to a cache: their numbers phase by phase, what they add up to, and what is said of it. */
#include "cachetest.h"

#include "report/cachetable.h"

static struct qb_strbuf text;

static void setup(void)
{
	begin_set(&mixed);
}

static void teardown(void)
{
	qb_strbuf_free(&text);
}

static const char *sentences(const char *lib)
{
	qb_strbuf_clear(&text);
	qb_cache_sentences(&b.out.cache, lib, &text);
	return qb_strbuf_text(&text);
}

static const struct qb_cache_row *row(enum qb_cache_phase phase)
{
	return &b.out.cache.row[phase];
}

static void assert_broken(const char *name)
{
	ck_assert_msg(summarize(&b) == 0, "%s", b.err.text);
	ck_assert_int_eq(identity_of(&b, name)->holds, 0);
	ck_assert_int_eq(b.out.verified, 0);
}

START_TEST(requests_are_counted_by_what_they_got)
{
	const struct qb_cache_row *r = row(QB_CACHE_UNIFORM);

	all_well();
	assert_verified(&b);
	ck_assert_uint_eq(b.out.cache.processes, 2);
	ck_assert_uint_eq(b.out.cache.set.callers, 2);
	ck_assert_uint_eq(b.out.cache.deadline_ns, 10000 * MS);
	ck_assert_uint_eq(r->requests, 4);
	ck_assert_uint_eq(r->executed, 1);
	ck_assert_uint_eq(r->joined, 1);
	ck_assert_uint_eq(r->hits, 2);
	ck_assert_uint_eq(r->from_memory, 1);
	ck_assert_uint_eq(r->failed + r->unanswered + r->stale + r->leaks + r->found + r->unmade, 0);
	ck_assert_uint_eq(r->accepted, 1);
	ck_assert_uint_eq(r->addresses, 1);
	ck_assert_uint_eq(r->executions, 1);
	ck_assert_uint_eq(r->puts, 1);
	ck_assert_uint_eq(r->waits, 2);
	ck_assert_uint_eq(r->ticks, 1);
	ck_assert_uint_eq(r->pushed_again, 0);
	ck_assert_uint_eq(r->way[QB_CACHE_HIT].count, 2);
	ck_assert_uint_eq(r->way[QB_CACHE_HIT].max_ns, MS);
	ck_assert_uint_eq(r->way[QB_CACHE_JOINED].p50_ns, 20 * MS);
	ck_assert_uint_eq(r->way[QB_CACHE_EXECUTED].p50_ns, 20 * MS);
	/* Rounds and kills are of other phases. */
	ck_assert_uint_eq(r->rounds + r->kills + r->release.count, 0);
	r = &b.out.cache.total;
	ck_assert_uint_eq(r->requests, 22);
	ck_assert_uint_eq(r->hits, 7);
	ck_assert_uint_eq(r->joined, 6);
	ck_assert_uint_eq(r->executed, 7);
	ck_assert_uint_eq(r->failed, 2);
	ck_assert_uint_eq(r->executions, 9);
	ck_assert_uint_eq(r->executions_max, 2);
}
END_TEST

START_TEST(a_failure_is_no_stale_one_while_its_run_lasts)
{
	const struct qb_cache_row *r = row(QB_CACHE_FAILING);

	all_well();
	/* Asked for between the record of the failure and the end of the job: it waited for that run. */
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_CACHE_REQUEST && b.events[i].ev.job_id == 14)
			b.events[i].ev.arg0 = (421 - 416) * MS;
	assert_verified(&b);
	ck_assert_uint_eq(r->failed, 2);
	ck_assert_uint_eq(r->faults[QB_CACHE_FAILURE], 2);
	ck_assert_uint_eq(r->stale, 0);
	ck_assert_uint_eq(r->executions, 1);
	ck_assert_uint_eq(r->puts, 0);
	ck_assert_uint_eq(r->accepted, 1);
	ck_assert_uint_eq(r->fault.count, 2);
	ck_assert_uint_eq(r->fault.max_ns, 20 * MS);
	ck_assert_uint_eq(row(QB_CACHE_AFTER)->executions, 1);
	ck_assert_uint_eq(row(QB_CACHE_AFTER)->failed, 0);
}
END_TEST

/* The one who joined the second run is told of the first. */
START_TEST(a_failure_of_a_run_that_was_over_is_stale)
{
	all_well();
	for (size_t i = 0; i < b.trace.events_count; i++) {
		struct qb_event_shm *ev = &b.events[i].ev;
		struct qb_cache_answer a = { .way = QB_CACHE_JOINED, .fault = QB_CACHE_FAILURE, .pushes = 1 };

		if (ev->type == QB_EV_CACHE_REQUEST && ev->job_id == 16) {
			ev->token = 13;
			ev->arg1 = qb_cache_answer_pack(&a);
		}
	}
	assert_broken("failures of a run that was over");
	ck_assert_uint_eq(row(QB_CACHE_AFTER)->stale, 1);
	ck_assert_uint_eq(b.out.cache.total.stale, 1);
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "3 requests got the error of work that failed, 1 of them of a run that was "
				     "over before they asked."));
	/* Asked for, or a weakness of the library: told, and no fault of the account. */
	change_setting("cache stale_errors", "1");
	assert_verified(&b);
	change_setting("cache stale_errors", "0");
	change_setting("cache faithful", "1");
	assert_verified(&b);
	ck_assert_int_eq(strncmp(sentences("platlib"), "rscache on rsqueue as they are", 30), 0);
}
END_TEST

START_TEST(an_execution_that_a_kill_ended_is_no_leak)
{
	const struct qb_cache_row *r = row(QB_CACHE_KILLED);

	all_well();
	assert_verified(&b);
	ck_assert_uint_eq(r->executions, 3);
	ck_assert_uint_eq(r->interrupted, 1);
	ck_assert_uint_eq(r->leaks, 0);
	ck_assert_uint_eq(r->puts, 2);
	ck_assert_uint_eq(r->executions_max, 2);
	ck_assert_uint_eq(r->kills, 1);
	ck_assert_uint_eq(r->again, 1);
	ck_assert_uint_eq(r->again_ns.p50_ns, 4 * MS);
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "Of 1 execution that a kill ended, 1 was begun again, 4.00 ms later"));
}
END_TEST

/* Two at a time: that the other had begun before the kill says nothing of how soon it was begun again. */
START_TEST(again_is_what_began_behind_the_kill)
{
	fill(100, 1, 0);
	fill(200, 5, 2);
	fill(300, 9, 1);
	fail_and_succeed();
	kill_and_go_on();
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.job_id == 18)
			b.events[i].ev.type = QB_EV_NONE;
	get((struct get){ .from_ms = 501, .to_ms = 531, .id = 18, .address = 5, .way = QB_CACHE_EXECUTED });
	made(507, 513, 18, 5, 1);
	meet();
	b.in.reports_ambiguity = 0;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_uint_eq(row(QB_CACHE_KILLED)->leaks, 1);
	ck_assert_uint_eq(row(QB_CACHE_KILLED)->again, 1);
	ck_assert_uint_eq(row(QB_CACHE_KILLED)->again_ns.max_ns, 4 * MS);
}
END_TEST

/* Killed behind its put: the next run finds the item. */
START_TEST(a_run_that_finds_the_item_is_no_execution)
{
	const struct qb_cache_row *r = row(QB_CACHE_TOGETHER);

	fill(100, 1, 0);
	fill(200, 5, 2);
	fill(300, 9, 1);
	fail_and_succeed();
	kill_and_go_on();
	get((struct get){ .from_ms = 600, .to_ms = 621, .id = 21, .address = 7, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 600, .to_ms = 624, .id = 22, .address = 7, .way = QB_CACHE_JOINED });
	begun(602, W(3), 21, 7, 1);
	worked(605, W(3), 21, 7, 1, QB_CACHE_PUT);
	kill_worker(&b, 606, W(3), 2);
	ambiguous(&b, 607, W(3), 21, 1, 0);
	begun(610, W(1), 21, 7, 2);
	worked(611, W(1), 21, 7, 2, QB_CACHE_FOUND);
	completed(&b, 620, W(1), 21, 2);
	assert_verified(&b);
	ck_assert_uint_eq(r->executions, 1);
	ck_assert_uint_eq(r->interrupted, 1);
	ck_assert_uint_eq(r->found, 1);
	ck_assert_uint_eq(r->puts, 1);
	ck_assert_uint_eq(r->rounds, 1);
	ck_assert_uint_eq(r->rounds_exact, 1);
	ck_assert_uint_eq(r->again, 0);
	ck_assert_uint_eq(r->release.max_ns, (624 - 605) * MS);
}
END_TEST

START_TEST(a_round_is_released_from_its_first_put_to_its_last_answer)
{
	const struct qb_cache_row *r = row(QB_CACHE_TOGETHER);

	all_well();
	assert_verified(&b);
	ck_assert_uint_eq(r->rounds, 1);
	ck_assert_uint_eq(r->rounds_exact, 1);
	ck_assert_uint_eq(r->release.count, 1);
	ck_assert_uint_eq(r->release.p99_ns, 5 * MS);
	ck_assert_uint_eq(r->released.count, 2);
	ck_assert_uint_eq(r->released.p50_ns, 2 * MS);
	ck_assert_uint_eq(r->released.max_ns, 5 * MS);
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "In 1 of 1 rounds the item was made once, at most 1 times in one; from the "
				     "put to the answer of one who waited 2.00 ms (p50), 5.00 ms (p99)."));
}
END_TEST

/* Pushed behind the end of the run before, and done again. */
static void leak(void)
{
	fill(100, 1, 0);
	fill(200, 5, 2);
	fill(300, 9, 1);
	fail_and_succeed();
	kill_and_go_on();
	get((struct get){ .from_ms = 600, .to_ms = 621, .id = 21, .address = 7, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 600, .to_ms = 640, .id = 22, .address = 7, .way = QB_CACHE_EXECUTED, .pushes = 2 });
	made(605, 620, 21, 7, 1);
	made(622, 639, 22, 7, 1);
}

START_TEST(a_second_execution_is_a_leak)
{
	leak();
	assert_broken("executions beyond one for each address");
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->leaks, 1);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->rounds_exact, 0);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->executions_max, 2);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->pushed_again, 1);
	/* Since the first put, and not the last. */
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->release.max_ns, (640 - 619) * MS);
	ck_assert_int_eq(strncmp(sentences("shm"), "1 execution beyond one for each item, which no kill explains", 50), 0);
	/* The faithful one may; so may a queue that promises nothing here. */
	change_setting("cache faithful", "1");
	assert_verified(&b);
	change_setting("cache faithful", "0");
	b.in.reports_ambiguity = 0;
	ck_assert_int_eq(summarize(&b), 0);
	assert_only_broken(&b, "");
	ck_assert_int_eq(strncmp(sentences("river:lease=5s"), "An analogue: River has no cache", 31), 0);
}
END_TEST

static struct qb_event_shm *answer_to(unsigned id)
{
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_CACHE_REQUEST && b.events[i].ev.job_id == id)
			return &b.events[i].ev;
	ck_abort_msg("no answer to %u", id);
	return NULL;
}

START_TEST(a_request_without_an_answer_breaks_the_account)
{
	all_well();
	answer_to(3)->type = QB_EV_NONE;
	assert_broken("requests that nobody answered");
	ck_assert_uint_eq(row(QB_CACHE_UNIFORM)->unanswered, 1);
	ck_assert_int_eq(identity_of(&b, "uniform requests")->holds, 1);
	/* But not in a run that was cut off. */
	b.trace.ended = 0;
	assert_verified(&b);
}
END_TEST

START_TEST(two_answers_to_one_request_break_the_account)
{
	all_well();
	get((struct get){ .from_ms = 250, .to_ms = 251, .id = 7, .address = 2 });
	assert_broken("skewed requests = hits");
	ck_assert_int_eq(identity_of(&b, "all requests = hits")->holds, 0);
	ck_assert_int_eq(identity_of(&b, "uniform requests = hits")->holds, 1);
}
END_TEST

START_TEST(an_answer_that_cannot_be_breaks_the_account)
{
	all_well();
	answer_to(3)->arg1 = 77;
	assert_broken("uniform requests = hits");
	answer_to(3)->arg1 = 77 << 8;
	assert_broken("uniform requests = hits");
}
END_TEST

START_TEST(a_damaged_item_breaks_the_account)
{
	struct qb_cache_answer a = { .fault = QB_CACHE_DAMAGED };

	all_well();
	answer_to(3)->arg1 = qb_cache_answer_pack(&a);
	b.in.reports_ambiguity = 0;
	assert_broken("items that were not what was put");
	ck_assert_uint_eq(row(QB_CACHE_UNIFORM)->failed, 1);
}
END_TEST

START_TEST(an_item_that_nobody_made_breaks_the_account)
{
	all_well();
	answer_to(4)->slot_idx = 1;
	b.in.reports_ambiguity = 0;
	assert_broken("addresses whose item came and that nobody executed");
	ck_assert_uint_eq(row(QB_CACHE_UNIFORM)->unmade, 1);
}
END_TEST

START_TEST(a_refused_request_that_is_run_breaks_the_account)
{
	all_well();
	made(626, 630, 22, 7, 1);
	assert_broken("requests refused for their address and yet run");
	ck_assert_uint_eq(b.out.cache.refused_and_run, 1);
}
END_TEST

START_TEST(a_push_that_was_accepted_and_not_acknowledged_breaks_the_account)
{
	all_well();
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.type == QB_EV_JOB_ENQUEUED && b.events[i].ev.job_id == 21)
			b.events[i].ev.type = QB_EV_NONE;
	assert_broken("requests whose push was accepted = jobs acknowledged");
}
END_TEST

START_TEST(who_gave_up_waited_longer_than_the_deadline)
{
	struct qb_cache_answer a = { .way = QB_CACHE_JOINED, .fault = QB_CACHE_DEADLINE, .ticks = 2, .pushes = 1 };

	all_well();
	answer_to(22)->arg1 = qb_cache_answer_pack(&a);
	answer_to(22)->arg0 = 10000 * MS;
	assert_verified(&b);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->faults[QB_CACHE_DEADLINE], 1);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->fault.max_ns, 10000 * MS);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->released.count, 1);
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "1 request got nothing within 10.0 s, the deadline."));
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "4 of 15 waits were ended by a tick"));
}
END_TEST

/* Two rounds whose worker is killed; one of them nobody begins again. */
START_TEST(a_kill_in_a_round_leaves_it_exact_when_it_is_run_once_more)
{
	static const struct qb_cacheset rounds = { .callers = 2, .rounds = 1, .kills = 2 };
	const struct qb_cache_row *r = row(QB_CACHE_KILLED_TOGETHER);

	begin_set(&rounds);
	get((struct get){ .from_ms = 100, .to_ms = 121, .id = 1, .address = 0, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 100, .to_ms = 122, .id = 2, .address = 0, .way = QB_CACHE_JOINED });
	made(105, 120, 1, 0, 1);
	get((struct get){ .from_ms = 200, .to_ms = 241, .id = 3, .address = 1, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 200, .to_ms = 242, .id = 4, .address = 1, .way = QB_CACHE_JOINED });
	begun(205, W(2), 3, 1, 1);
	kill_worker(&b, 210, W(2), 1);
	ambiguous(&b, 212, W(2), 3, 1, 0);
	made(217, 240, 3, 1, 2);
	get((struct get){ .from_ms = 300, .to_ms = 400, .id = 5, .address = 2, .way = QB_CACHE_EXECUTED, .fault = QB_CACHE_DEADLINE });
	get((struct get){ .from_ms = 300, .to_ms = 400, .id = 6, .address = 2, .way = QB_CACHE_JOINED, .fault = QB_CACHE_DEADLINE });
	begun(305, W(3), 5, 2, 1);
	kill_worker(&b, 310, W(3), 2);
	ambiguous(&b, 312, W(3), 5, 1, 0);
	end(&b, 5, QB_OUTCOME_QUEUED, 1, 0);
	assert_verified(&b);
	ck_assert_uint_eq(row(QB_CACHE_TOGETHER)->rounds_exact, 1);
	ck_assert_uint_eq(r->requests, 4);
	ck_assert_uint_eq(r->rounds, 2);
	ck_assert_uint_eq(r->rounds_exact, 1);
	ck_assert_uint_eq(r->executions, 3);
	ck_assert_uint_eq(r->interrupted, 2);
	ck_assert_uint_eq(r->kills, 2);
	ck_assert_uint_eq(r->again, 1);
	ck_assert_uint_eq(r->again_ns.max_ns, 7 * MS);
	ck_assert_uint_eq(r->release.count, 1);
	ck_assert_ptr_nonnull(strstr(sentences("shm"), "Of 2 executions that a kill ended, 1 was begun again before the watch was "
				     "over, 7.00 ms later"));
}
END_TEST

/* A failure leaves no item: whoever comes behind it may have the work done again. */
START_TEST(a_second_failure_is_no_leak)
{
	all_well();
	for (size_t i = 0; i < b.trace.events_count; i++)
		if (b.events[i].ev.job_id == 14)
			b.events[i].ev.type = QB_EV_NONE;
	get((struct get){ .from_ms = 421, .to_ms = 440, .id = 14, .address = 4, .way = QB_CACHE_EXECUTED,
			  .fault = QB_CACHE_FAILURE, .run = 14 });
	begun(425, W(1), 14, 4, 1);
	worked(435, W(1), 14, 4, 1, QB_CACHE_FAILED);
	failed(&b, 438, W(1), 14, 1);
	job_event(&b, 438, QB_EV_JOB_DISCARDED, W(1), 14, 1, 0, 0);
	end(&b, 14, QB_OUTCOME_DISCARDED, 1, 0);
	assert_verified(&b);
	ck_assert_uint_eq(row(QB_CACHE_FAILING)->executions, 2);
	ck_assert_uint_eq(row(QB_CACHE_FAILING)->leaks, 0);
	ck_assert_uint_eq(row(QB_CACHE_FAILING)->stale, 0);
	ck_assert_uint_eq(row(QB_CACHE_FAILING)->rounds_exact, 0);
}
END_TEST

START_TEST(a_run_of_another_kind_has_no_table)
{
	builder_init(&b, 1);
	start_processes(&b, 1);
	submit(&b, 10, 1);
	run_job(&b, 12, 15, W(1), 1, 1);
	assert_verified(&b);
	ck_assert_uint_eq(b.out.cache.set.callers, 0);
	json_t *none = qb_cache_json(&b.out.cache);

	ck_assert(json_is_null(none));
	json_decref(none);
	/* A description that does not fit its jobs is not believed. */
	qb_meta_setting(&b.trace.meta, "cache processes", "4000000000");
	qb_meta_setting(&b.trace.meta, "cache callers", "4000000000");
	qb_meta_setting(&b.trace.meta, "cache rounds", "4000000000");
	assert_verified(&b);
	ck_assert_uint_eq(b.out.cache.set.callers, 0);
}
END_TEST

/* A damaged record may name any address, and any request. */
START_TEST(an_address_that_is_not_of_the_phase_is_not_believed)
{
	all_well();
	answer_to(3)->slot_idx = 4000000000u;
	worked(110, W(1), 9, 4000000000u, 77, QB_CACHE_PUT);
	event(&b, 111, QB_EV_CACHE_REQUEST, DRIVER)->job_id = UINT64_MAX;
	event(&b, 111, QB_EV_CACHE_WORK, DRIVER)->job_id = 23;
	ck_assert_int_eq(summarize(&b), 0);
	ck_assert_uint_eq(row(QB_CACHE_UNIFORM)->requests, 4);
	ck_assert_uint_eq(row(QB_CACHE_UNIFORM)->addresses, 1);
}
END_TEST

START_TEST(several_runs_add_up)
{
	static struct qb_summary other;
	struct qb_report_entry one = { .summary = &b.out }, two = { .summary = &other };
	const struct qb_report_entry *runs[] = { &one, &two };
	struct qb_group g = { .lib = "x", .runs = runs, .runs_count = 2 };
	struct qb_cache_table sum;
	char cell[QB_CELL_BYTES];

	all_well();
	assert_verified(&b);
	other = b.out;
	other.cache.row[QB_CACHE_UNIFORM].way[QB_CACHE_JOINED].p50_ns = 40 * MS;
	other.cache.row[QB_CACHE_UNIFORM].executions_max = 3;
	qb_cache_total(&g, &sum);
	ck_assert_uint_eq(sum.row[QB_CACHE_UNIFORM].requests, 8);
	ck_assert_uint_eq(sum.row[QB_CACHE_UNIFORM].executions_max, 3);
	ck_assert_uint_eq(sum.row[QB_CACHE_UNIFORM].way[QB_CACHE_JOINED].p50_ns, 40 * MS);
	ck_assert_uint_eq(sum.total.requests, 44);
	ck_assert_str_eq(qb_cache_heading(QB_CACHE_COUNTS, 9), "hit rate");
	qb_cache_cell(&sum, QB_CACHE_COUNTS, QB_CACHE_UNIFORM, 0, cell);
	ck_assert_str_eq(cell, "uniform");
	qb_cache_cell(&sum, QB_CACHE_COUNTS, QB_CACHE_UNIFORM, 9, cell);
	ck_assert_str_eq(cell, "50.0 %");
	qb_cache_cell(&sum, QB_CACHE_COUNTS, QB_CACHE_UNIFORM, 10, cell);
	ck_assert_str_eq(cell, "75.0 %");
	qb_cache_cell(&sum, QB_CACHE_TIMES, QB_CACHE_UNIFORM, 6, cell);
	ck_assert_str_eq(cell, "2 of 4");
	ck_assert_int_eq(qb_cache_shows(&sum, QB_CACHE_COUNTS, QB_CACHE_KILLED_TOGETHER), 0);
	ck_assert_int_eq(qb_cache_shows(&sum, QB_CACHE_COUNTS, QB_CACHE_PHASES), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cachetable");
	TCase *numbers = tcase_create("numbers"), *account = tcase_create("account"), *table = tcase_create("table");
	SRunner *runner;
	int failed_count;

	tcase_add_checked_fixture(numbers, setup, teardown);
	tcase_add_test(numbers, requests_are_counted_by_what_they_got);
	tcase_add_test(numbers, a_failure_is_no_stale_one_while_its_run_lasts);
	tcase_add_test(numbers, a_failure_of_a_run_that_was_over_is_stale);
	tcase_add_test(numbers, an_execution_that_a_kill_ended_is_no_leak);
	tcase_add_test(numbers, again_is_what_began_behind_the_kill);
	tcase_add_test(numbers, a_run_that_finds_the_item_is_no_execution);
	tcase_add_test(numbers, a_round_is_released_from_its_first_put_to_its_last_answer);
	tcase_add_test(numbers, a_second_execution_is_a_leak);
	tcase_add_test(numbers, a_second_failure_is_no_leak);
	tcase_add_test(numbers, who_gave_up_waited_longer_than_the_deadline);
	tcase_add_test(numbers, a_kill_in_a_round_leaves_it_exact_when_it_is_run_once_more);
	suite_add_tcase(suite, numbers);
	tcase_add_checked_fixture(account, setup, teardown);
	tcase_add_test(account, a_request_without_an_answer_breaks_the_account);
	tcase_add_test(account, two_answers_to_one_request_break_the_account);
	tcase_add_test(account, an_answer_that_cannot_be_breaks_the_account);
	tcase_add_test(account, a_damaged_item_breaks_the_account);
	tcase_add_test(account, an_item_that_nobody_made_breaks_the_account);
	tcase_add_test(account, a_refused_request_that_is_run_breaks_the_account);
	tcase_add_test(account, a_push_that_was_accepted_and_not_acknowledged_breaks_the_account);
	suite_add_tcase(suite, account);
	tcase_add_checked_fixture(table, setup, teardown);
	tcase_add_test(table, a_run_of_another_kind_has_no_table);
	tcase_add_test(table, an_address_that_is_not_of_the_phase_is_not_believed);
	tcase_add_test(table, several_runs_add_up);
	suite_add_tcase(suite, table);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed_count = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_count ? EXIT_FAILURE : EXIT_SUCCESS;
}
