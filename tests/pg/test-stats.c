/* SPDX-License-Identifier: Apache-2.0 */
/* The server's counters: exact between two readings at which nobody else is there, and not comparable over a crash. */
#include "pg/stats.h"

#include "pgtest.h"

char *pgtest_base;
static struct qb_cluster *cluster;

static void start_cluster(void)
{
	/* No vacuum of its own in between. */
	static const char *const settings[] = {
		"autovacuum = off", "shared_preload_libraries = 'pg_stat_statements'", NULL
	};
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true, .settings = settings };
	struct qb_err err = { 0 };

	if (qb_cluster_start(&config, &cluster, &err) == 0)
		return;
	/* The library is in a package of its own. */
	config.settings = NULL;
	ck_ok(qb_cluster_start(&config, &cluster, &err), err);
}

static void end_cluster(void)
{
	struct qb_err err = { 0 };

	qb_cluster_destroy(cluster, NULL, &err);
}

static struct qb_pg_stats alone(PGconn *conn, int64_t *own)
{
	struct qb_pg_sessions n = { .ours = 1 };
	struct qb_pg_stats s;
	struct qb_err err = { 0 };

	ck_until(qb_pg_sessions_read(conn, own, &n, &err) < 0 || n.ours + n.strangers == 0, 10);
	ck_ok(err.code, err);
	ck_ok(qb_pg_stats_read(conn, own, &s, &err), err);
	return s;
}

START_TEST(counters_are_exact_when_the_sessions_have_ended)
{
	PGconn *conn = pgtest_connect(cluster), *other = pgtest_connect(cluster);
	struct qb_pg_stats a, b;
	int64_t own = 0;

	pgtest_exec(other, "CREATE TABLE public.counted (id int, v int) WITH (autovacuum_enabled = off)");
	PQfinish(other);
	a = alone(conn, &own);
	other = pgtest_connect(cluster);
	pgtest_exec(other, "INSERT INTO public.counted SELECT g, 0 FROM generate_series(1, 1000) g");
	pgtest_exec(other, "UPDATE public.counted SET v = 1 WHERE id <= 100");
	pgtest_exec(other, "DELETE FROM public.counted WHERE id > 990");
	for (int i = 0; i < 7; i++) {
		pgtest_exec(other, "BEGIN");
		pgtest_exec(other, "SELECT 1");
		pgtest_exec(other, "ROLLBACK");
	}
	PQfinish(other);
	b = alone(conn, &own);
	ck_assert_str_eq(a.life, b.life);
	ck_assert_int_eq(b.inserted_count - a.inserted_count, 1000);
	ck_assert_int_eq(b.updated_count - a.updated_count, 100);
	ck_assert_int_eq(b.deleted_count - a.deleted_count, 10);
	ck_assert_int_eq(b.dead_count - a.dead_count, 110);
	ck_assert_int_eq(b.rollbacks_count - a.rollbacks_count, 7);
	/* What connecting takes is the same for any session; the rest is these three. */
	int64_t commits = b.commits_count - a.commits_count - (b.own_count - a.own_count);

	a = alone(conn, &own);
	PQfinish(pgtest_connect(cluster));
	b = alone(conn, &own);
	ck_assert_int_eq(commits - (b.commits_count - a.commits_count - (b.own_count - a.own_count)), 3);
	ck_assert_int_gt(b.wal_bytes, 0);
	ck_assert_int_eq(b.vacuums_count, a.vacuums_count);
	PQfinish(conn);
}
END_TEST

START_TEST(readings_alone_cost_nothing)
{
	PGconn *conn = pgtest_connect(cluster);
	int64_t own = 0;
	struct qb_pg_stats a = alone(conn, &own), b;

	for (int i = 0; i < 5; i++)
		b = alone(conn, &own);
	ck_assert_int_eq(b.commits_count - a.commits_count, b.own_count - a.own_count);
	ck_assert_int_eq(b.inserted_count, a.inserted_count);
	ck_assert_int_eq(b.strangers_count, 0);
	PQfinish(conn);
}
END_TEST

START_TEST(statements_are_counted_where_the_server_counts_them)
{
	PGconn *conn = pgtest_connect(cluster), *other;
	struct qb_pg_stats a, b;
	struct qb_err err = { 0 };
	int64_t own = 0;

	a = alone(conn, &own);
	ck_assert_int_eq(a.statements_count, -1);
	if (qb_pg_exec(conn, "CREATE SCHEMA \"Odd Name\";"
		       "CREATE EXTENSION pg_stat_statements SCHEMA \"Odd Name\"", &err) < 0)
		goto out;
	own = 0;
	a = alone(conn, &own);
	other = pgtest_connect(cluster);
	for (int i = 0; i < 20; i++)
		pgtest_exec(other, "SELECT 1");
	PQfinish(other);
	b = alone(conn, &own);
	int64_t some = b.statements_count - a.statements_count - (b.own_count - a.own_count);

	a = alone(conn, &own);
	PQfinish(pgtest_connect(cluster));
	b = alone(conn, &own);
	ck_assert_int_eq(some - (b.statements_count - a.statements_count - (b.own_count - a.own_count)), 20);
	pgtest_exec(conn, "DROP EXTENSION pg_stat_statements");
out:
	PQfinish(conn);
}
END_TEST

START_TEST(session_that_stays_is_named)
{
	PGconn *conn = pgtest_connect(cluster), *other = pgtest_connect(cluster);
	struct qb_pg_stats s;
	struct qb_err err = { 0 };
	int64_t own = 0;

	ck_ok(qb_pg_stats_read(conn, &own, &s, &err), err);
	ck_assert_int_eq(s.strangers_count, 1);
	PQfinish(other);
	PQfinish(conn);
}
END_TEST

/* The last case: the server is another one after it. */
START_TEST(crash_begins_another_life)
{
	PGconn *conn = pgtest_connect(cluster);
	int64_t own = 0;
	struct qb_pg_stats a = alone(conn, &own), b;
	struct qb_err err = { 0 };

	PQfinish(conn);
	ck_ok(qb_cluster_stop(cluster, QB_CLUSTER_KILL, &err), err);
	ck_ok(qb_cluster_restart(cluster, &err), err);
	conn = pgtest_connect(cluster);
	own = 0;
	b = alone(conn, &own);
	ck_assert_str_ne(a.life, b.life);
	ck_assert_int_ge(b.wal_bytes, a.wal_bytes);
	PQfinish(conn);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stats");
	TCase *tc = tcase_create("stats"), *crash = tcase_create("crash");

	tcase_set_timeout(tc, 20);
	tcase_add_unchecked_fixture(tc, start_cluster, end_cluster);
	tcase_add_test(tc, counters_are_exact_when_the_sessions_have_ended);
	tcase_add_test(tc, readings_alone_cost_nothing);
	tcase_add_test(tc, statements_are_counted_where_the_server_counts_them);
	tcase_add_test(tc, session_that_stays_is_named);
	suite_add_tcase(suite, tc);
	tcase_set_timeout(crash, 20);
	tcase_add_checked_fixture(crash, start_cluster, end_cluster);
	tcase_add_test(crash, crash_begins_another_life);
	suite_add_tcase(suite, crash);
	return pgtest_main(suite);
}
