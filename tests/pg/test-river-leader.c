/* SPDX-License-Identifier: Apache-2.0 */
/* Election: one leads, whoever dies, hangs, resigns or is cut off. A case of River's conformance suite has its name. */
#include <signal.h>
#include <sys/wait.h>

#include "queue/river-control.h"
#include "tests/pg/rivertest.h"

char *pgtest_base;

#define LEADER "select leader_id from $S.river_leader"
#define EXPIRES "select (extract(epoch from expires_at) * 1000000)::bigint from $S.river_leader"

START_TEST(of_two_one_leads_and_renews)
{
	struct client a, b;
	struct river r;

	river_begin(&r, "two");
	client_init(&a, &r, "a");
	client_init(&b, &r, "b");
	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	int64_t expires = river_i64(&r, EXPIRES);

	client_start(&b, &r);
	ck_until(look(&b)->denied >= 3 && look(&a)->renewed >= 3, 10);
	ck_assert(!b.s.leading && b.s.terms == 0);
	ck_assert_uint_eq(a.s.terms, 1);
	ck_river(&r, LEADER, "a");
	ck_assert_int_gt(river_i64(&r, EXPIRES), expires);
	ck_assert_msg(a.s.errors == 0 && b.s.errors == 0, "%s %s", a.s.last_error, b.s.last_error);
	qb_river_leader_stop(b.l);
	ck_river(&r, LEADER, "a");
	qb_river_leader_stop(a.l);
	ck_river(&r, LEADER, "");
	river_end(&r);
}
END_TEST

/* TTL = interval and padding, to the microsecond. */
START_TEST(lease_lasts_fifteen_seconds)
{
	struct client a;
	struct river r;

	river_begin(&r, "ttl");
	r.u.elect_ns = qb_river_upkeep_default.elect_ns;
	r.u.ttl_padding_ns = qb_river_upkeep_default.ttl_padding_ns;
	client_init(&a, &r, "a");
	uint64_t before_ns = qb_now_ns();

	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	ck_river(&r, "select expires_at - elected_at from $S.river_leader", "00:00:15");
	/* Trusted for a second less, and from before the statement was sent. */
	ck_assert(a.l->trusted_until_ns >= before_ns + 14 * QB_NS_PER_S);
	ck_assert(a.l->trusted_until_ns <= qb_now_ns() + 14 * QB_NS_PER_S);
	qb_river_leader_stop(a.l);
	river_end(&r);
}
END_TEST

START_TEST(mixed_leader_death_failover_waits_for_the_lease)
{
	struct client a, b;
	struct river r;
	pid_t pid;

	river_begin(&r, "death");
	r.u.ttl_padding_ns = 900 * QB_NS_PER_MS;
	r.u.trust_margin_ns = 100 * QB_NS_PER_MS;
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		client_init(&a, &r, "a");
		client_start(&a, &r);
		for (;;)
			pause();
	}
	ck_until(river_i64(&r, "select count(*) from $S.river_leader where leader_id = 'a'") == 1, 10);
	client_init(&b, &r, "b");
	client_start(&b, &r);
	ck_until(look(&b)->denied >= 1, 10);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	river_sql(&r, "create table $S.lease as select * from $S.river_leader");
	ck_river(&r, "select leader_id from $S.lease", "a");
	ck_until(look(&b)->leading, 20);
	ck_river(&r, "select l.leader_id from $S.river_leader l, $S.lease d where l.elected_at >= d.expires_at", "b");
	qb_river_leader_stop(b.l);
	river_end(&r);
}
END_TEST

/* It looks again in an hour: only the notification can have told it. */
START_TEST(who_resigns_is_followed_at_once)
{
	struct client a, b;
	struct river r;

	river_begin(&r, "resign");
	r.u.elect_ns = 3600 * QB_NS_PER_S;
	client_init(&a, &r, "a");
	client_init(&b, &r, "b");
	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	client_start(&b, &r);
	ck_until(look(&b)->denied == 1, 10);
	PGconn *listener = river_listen(&r, "leadership");

	qb_river_leader_stop(a.l);
	char *payload = heard(listener, 1);

	ck_assert_str_eq(payload, "{\"leader_id\" : \"a\", \"action\" : \"resigned\"}");
	free(payload);
	ck_until(look(&b)->leading, 10);
	ck_assert_uint_eq(b.s.denied, 1);
	qb_river_leader_stop(b.l);
	PQfinish(listener);
	river_end(&r);
}
END_TEST

START_TEST(leader_resigns_when_asked)
{
	struct client a;
	struct qb_err err = { 0 };
	struct river r;

	river_begin(&r, "asked");
	r.u.elect_ns = 3600 * QB_NS_PER_S;
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	river_sql(&r, "create table $S.lease as select * from $S.river_leader");
	ck_ok(qb_river_request_resign(r.db, r.schema, "somebody", &err), err);
	ck_until(look(&a)->terms == 2, 10);
	ck_river(&r, "select l.leader_id from $S.river_leader l, $S.lease d where l.elected_at > d.elected_at", "a");
	qb_river_leader_stop(a.l);
	river_end(&r);
}
END_TEST

/* A lease is held by id and time of election: with another time it is another one's, and not ours to delete. */
START_TEST(who_lost_the_lease_leaves_it_alone)
{
	struct client a;
	struct river r;

	river_begin(&r, "lost");
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	river_sql(&r, "update $S.river_leader set elected_at = elected_at + interval '1 microsecond',"
		  " expires_at = now() + interval '1 hour'");
	ck_until(!look(&a)->leading, 10);
	ck_until(look(&a)->denied >= 1, 10);
	qb_river_leader_stop(a.l);
	ck_river(&r, LEADER, "a");
	river_end(&r);
}
END_TEST

START_TEST(lease_that_has_run_out_is_not_renewed)
{
	struct client a;
	struct river r;

	river_begin(&r, "expired");
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(look(&a)->leading, 10);
	river_sql(&r, "update $S.river_leader set expires_at = now() - interval '1 second'");
	ck_until(look(&a)->terms == 2, 10);
	qb_river_leader_stop(a.l);
	river_end(&r);
}
END_TEST

/* Its renewal hangs: it must stop believing while its row still keeps the others away. */
START_TEST(leader_that_cannot_renew_steps_down_before_the_lease_ends)
{
	struct client a;
	struct river r;

	river_begin(&r, "hangs");
	r.u.trust_margin_ns = r.u.ttl_padding_ns - 400 * QB_NS_PER_MS;
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(look(&a)->leading && a.s.rounds[RIVER_SCHEDULER], 10);
	river_sql(&r, "begin; select 1 from $S.river_leader for update");
	ck_until(blocked(&r, "qbench leader"), 10);
	ck_until(!qb_river_leads(a.l, 1), 10);
	ck_river(&r, "select leader_id from $S.river_leader where expires_at > clock_timestamp() + interval '30 s'", "a");
	river_sql(&r, "rollback");
	qb_river_leader_stop(a.l);
	river_end(&r);
}
END_TEST

/* What is asked before each statement of the maintenance, by the clock alone: the elector may hang. */
START_TEST(trust_ends_by_the_clock_the_term_or_the_stop)
{
	struct qb_river_leader l = { .lock = PTHREAD_MUTEX_INITIALIZER, .term = 3 };

	ck_assert(!qb_river_leads(&l, 3));
	l.trusted_until_ns = qb_now_ns() + DAY;
	ck_assert(qb_river_leads(&l, 3));
	ck_assert(!qb_river_leads(&l, 2));
	l.trusted_until_ns = qb_now_ns() - 1;
	ck_assert(!qb_river_leads(&l, 3));
	l.trusted_until_ns = qb_now_ns() + DAY;
	l.stop_maintainer = true;
	ck_assert(!qb_river_leads(&l, 3));
}
END_TEST

START_TEST(unlogged_lease_does_not_outlive_the_server)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true };
	struct qb_cluster *own;
	struct qb_err err = { 0 };
	struct client a;
	struct river r;

	ck_ok(qb_cluster_start(&config, &own, &err), err);
	river_begin_on(&r, own, "crash");
	river_sql(&r, "insert into $S.river_leader (leader_id, elected_at, expires_at)"
		  " values ('dead', now(), now() + interval '1 hour')");
	river_sql(&r, "insert into $S.river_job (kind, args, max_attempts) values ('x', '{}', 25)");
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(look(&a)->denied >= 1, 10);
	pgtest_exec(r.db, "checkpoint");
	PQfinish(r.db);
	ck_ok(qb_cluster_stop(own, QB_CLUSTER_IMMEDIATE, &err), err);
	ck_ok(qb_cluster_restart(own, &err), err);
	r.db = pgtest_connect(own);
	ck_until(look(&a)->leading, 20);
	ck_river(&r, LEADER, "a");
	ck_river(&r, "select count(*) from $S.river_job", "1");
	qb_river_leader_stop(a.l);
	river_end(&r);
	qb_cluster_destroy(own, NULL, NULL);
}
END_TEST

START_TEST(who_never_stands_for_election_listens_all_the_same)
{
	struct client a;
	struct qb_err err = { 0 };
	struct river r;
	int64_t id;
	bool paused = false;

	river_begin(&r, "off");
	client_init(&a, &r, "a");
	a.c.opt.elect = RIVER_ELECT_OFF;
	ck_ok(qb_river_control_open(&a.c.control, &err), err);
	client_start(&a, &r);
	ck_until(qb_river_queue_pause(r.db, r.schema, "*", &err) == 0 &&
		 qb_river_control_take(a.c.control, &id, &paused), 10);
	ck_assert(paused);
	look(&a);
	ck_assert_uint_eq(a.s.terms + a.s.denied + a.s.errors, 0);
	ck_river(&r, LEADER, "");
	qb_river_leader_stop(a.l);
	qb_river_control_close(a.c.control);
	river_end(&r);
}
END_TEST

/* A statement may take 30 seconds; a worker that is told to stop has not that long. */
START_TEST(stop_does_not_wait_for_a_statement)
{
	struct client a;
	struct river r;

	river_begin(&r, "prompt");
	river_sql(&r, "insert into $S.river_job (kind, args, max_attempts, state, scheduled_at)"
		  " values ('x', '{}', 25, 'scheduled', now())");
	river_sql(&r, "begin; select 1 from $S.river_job for update");
	client_init(&a, &r, "a");
	client_start(&a, &r);
	ck_until(blocked(&r, "qbench maintenance"), 10);
	uint64_t began_ns = qb_now_ns();

	qb_river_leader_stop(a.l);
	ck_assert_uint_lt(qb_now_ns() - began_ns, 20 * QB_NS_PER_S);
	ck_river(&r, LEADER, "");
	river_sql(&r, "rollback");
	river_end(&r);
}
END_TEST

/* The services of a leader that lost its lease end; those of the next one begin anew. */
START_TEST(each_term_runs_every_service)
{
	struct client a;
	struct river r;

	river_begin(&r, "terms");
	client_init(&a, &r, "a");
	client_start(&a, &r);
	for (uint64_t term = 1; term <= 2; term++) {
		for (unsigned i = 0; i < RIVER_REINDEXER; i++)
			ck_until(look(&a)->rounds[i] == term, 10);
		if (term == 1)
			river_sql(&r, "delete from $S.river_leader");
	}
	ck_assert_msg(a.s.errors == 0, "%s", a.s.last_error);
	qb_river_leader_stop(a.l);
	river_end(&r);
}
END_TEST

START_TEST(pauses_after_errors_double_up_to_64)
{
	struct qb_rng rng;

	qb_rng_init(&rng, 1, "test");
	for (unsigned attempt = 1; attempt <= 14; attempt++)
		for (int i = 0; i < 100; i++) {
			uint64_t unit = (1ull << (attempt - 1) % 7) * 1000, ns = qb_river_backoff(&rng, 1000, attempt);

			ck_assert(ns >= unit - unit / 10 && ns < unit + unit / 10);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("river-leader");
	TCase *tc = tcase_create("river-leader");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, of_two_one_leads_and_renews);
	tcase_add_test(tc, lease_lasts_fifteen_seconds);
	tcase_add_test(tc, mixed_leader_death_failover_waits_for_the_lease);
	tcase_add_test(tc, who_resigns_is_followed_at_once);
	tcase_add_test(tc, leader_resigns_when_asked);
	tcase_add_test(tc, who_lost_the_lease_leaves_it_alone);
	tcase_add_test(tc, lease_that_has_run_out_is_not_renewed);
	tcase_add_test(tc, leader_that_cannot_renew_steps_down_before_the_lease_ends);
	tcase_add_test(tc, trust_ends_by_the_clock_the_term_or_the_stop);
	tcase_add_test(tc, unlogged_lease_does_not_outlive_the_server);
	tcase_add_test(tc, who_never_stands_for_election_listens_all_the_same);
	tcase_add_test(tc, stop_does_not_wait_for_a_statement);
	tcase_add_test(tc, each_term_runs_every_service);
	tcase_add_test(tc, pauses_after_errors_double_up_to_64);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
