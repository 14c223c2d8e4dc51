/* SPDX-License-Identifier: Apache-2.0 */
/* Schema "qbench": made by several at once, refused when newer, pruned of what is over. */
#include "tests/pg/synctest.h"

char *pgtest_base;

/* A database of this case alone; caller: free. */
static char *database(const char *name)
{
	PGconn *db = sql_connect(HERE);
	char *text = qb_xasprintf("create database %s", name);
	char *conninfo = qb_xasprintf("%s dbname=%s", HERE, name);

	sql(db, text);
	free(text);
	PQfinish(db);
	return conninfo;
}

static int64_t number(PGconn *db, const char *text)
{
	struct qb_err err = { 0 };
	int64_t n = -1;

	ck_ok(qb_pg_query_i64(db, text, &n, &err), err);
	return n;
}

#define TABLES "select count(*) from pg_catalog.pg_tables where schemaname = 'qbench'"

START_TEST(installing_again_changes_nothing)
{
	char *conninfo = database("again");
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	ck_assert_int_eq(number(db, TABLES), 7);
	ck_assert_int_eq(number(db, "select sum(version)::bigint from qbench.meta"), QB_SCHEMA_VERSION);
	sql(db, "insert into qbench.run (run_id) values ('kept')");
	ck_ok(qb_schema_install(db, &err), err);
	ck_assert_int_eq(number(db, "select sum(version)::bigint from qbench.meta"), QB_SCHEMA_VERSION);
	ck_assert_int_eq(number(db, "select count(*) from qbench.run"), 1);
	PQfinish(db);
	free(conninfo);
}
END_TEST

START_TEST(eight_may_install_at_once)
{
	for (int round = 0; round < 3; round++) {
		char *name = qb_xasprintf("at_once_%d", round), *conninfo = database(name);
		pid_t pid[8];

		for (int i = 0; i < 8; i++) {
			pid[i] = fork();
			ck_assert_int_ge(pid[i], 0);
			if (pid[i] == 0) {
				struct qb_err err = { 0 };
				PGconn *mine;
				char run[32];
				int64_t run_no;

				snprintf(run, sizeof(run), "run %d", i);
				if (qb_pg_connect(conninfo, "test", CONNECT_NS, &mine, &err) < 0 ||
				    qb_schema_install(mine, &err) < 0 || qb_schema_run(mine, run, &run_no, &err) < 0 ||
				    qb_schema_prune(mine, run, &err) < 0) {
					fprintf(stderr, "# %s\n", err.text);
					_exit(1);
				}
				_exit(0);
			}
		}
		for (int i = 0; i < 8; i++)
			ck_assert_int_eq(reap(pid[i], 20), 0);
		PGconn *db = sql_connect(conninfo);

		ck_assert_int_eq(number(db, "select count(*) from qbench.meta"), 1);
		ck_assert_int_eq(number(db, "select count(distinct run_no) from qbench.run"), 8);
		PQfinish(db);
		free(conninfo);
		free(name);
	}
}
END_TEST

START_TEST(newer_schema_is_refused_and_left_alone)
{
	char *conninfo = database("newer");
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	/* The newer one has no table "event" any more, and an ended run that is not ours to remove. */
	sql(db, "update qbench.meta set version = version + 1; drop table qbench.event;"
	    "insert into qbench.run (run_id, ended_at) values ('theirs', now())");
	ck_assert_int_eq(qb_schema_install(db, &err), QB_EVERSION);
	ck_assert_ptr_nonnull(strstr(err.text, "newer qbench"));
	ck_assert_ptr_nonnull(strstr(err.text, "another database"));
	ck_assert_int_eq(number(db, TABLES), 6);
	ck_assert_int_eq(number(db, "select count(*) from qbench.run"), 1);
	/* The connection is not left inside of a transaction. */
	ck_assert_int_eq(PQtransactionStatus(db), PQTRANS_IDLE);
	PQfinish(db);
	free(conninfo);
}
END_TEST

/* The tables of version 1, with a run in them. */
START_TEST(older_schema_is_brought_up_to_date_and_keeps_its_rows)
{
	char *conninfo = database("older");
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	sql(db, "drop table qbench.effect, qbench.ledger; alter table qbench.run drop column meta;"
	    "alter table qbench.job drop column key;"
	    "update qbench.meta set version = 1; insert into qbench.run (run_id) values ('kept');"
	    "insert into qbench.job values (1, 1, 2, 0, 0, null, 0, 0, 0, 3, 0, 0, 'x')");
	ck_ok(qb_schema_install(db, &err), err);
	ck_assert_int_eq(number(db, TABLES), 7);
	ck_assert_int_eq(number(db, "select sum(version)::bigint from qbench.meta"), QB_SCHEMA_VERSION);
	ck_assert_int_eq(number(db, "select count(*) from qbench.run where meta is null"), 1);
	ck_assert_int_eq(number(db, "select count(*) from qbench.job where key is null"), 1);
	PQfinish(db);
	free(conninfo);
}
END_TEST

/* The tables of version 2, when a syncer of ours comes to them. */
START_TEST(syncer_that_meets_an_older_schema_brings_it_up_to_date)
{
	char *conninfo = database("older_run");
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };
	struct world w;

	ck_ok(qb_schema_install(db, &err), err);
	sql(db, "alter table qbench.job drop column key; update qbench.meta set version = 2");
	world_open(&w, conninfo, "older");
	submit_one(&w);
	drain(&w);
	ck_assert_int_eq(number(db, "select count(*) from qbench.job where key is null"), 1);
	ck_assert_int_eq(number(db, "select sum(version)::bigint from qbench.meta"), QB_SCHEMA_VERSION);
	world_close(&w);
	PQfinish(db);
	free(conninfo);
}
END_TEST

START_TEST(existing_schema_serves_a_user_who_may_not_create)
{
	char *conninfo = database("modest"), *modest;
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };
	int64_t run_no;

	ck_ok(qb_schema_install(db, &err), err);
	sql(db, "create role modest login; grant usage on schema qbench to modest;"
	    "grant select, insert, update, delete on all tables in schema qbench to modest");
	PQfinish(db);
	modest = qb_xasprintf("%s user=modest", conninfo);
	db = sql_connect(modest);
	ck_ok(qb_schema_install(db, &err), err);
	ck_ok(qb_schema_run(db, "modest", &run_no, &err), err);
	ck_ok(qb_schema_prune(db, "modest", &err), err);
	PQfinish(db);
	free(modest);
	free(conninfo);
}
END_TEST

static void fill_run(PGconn *db, const char *run_id)
{
	struct qb_err err = { 0 };
	int64_t run_no;
	char text[768];

	ck_ok(qb_schema_run(db, run_id, &run_no, &err), err);
	snprintf(text, sizeof(text), "insert into qbench.job values (%lld, 1, 2, 0, 0, null, 0, 0, 0, 3, 0, 0, 'x');"
		 "insert into qbench.outcome values (%lld, 2, 5, 1, 0, 2, null);"
		 "insert into qbench.event values (%lld, 1, 1, 4, 0, 1, 1, 0, 0, 0, 0, 0);"
		 "insert into qbench.effect values (%lld, 1, 0, 1, null);"
		 "insert into qbench.ledger values (%lld, 1, 1, 2)",
		 (long long)run_no, (long long)run_no, (long long)run_no, (long long)run_no, (long long)run_no);
	sql(db, text);
}

#define ALL_ROWS "select (select count(*) from qbench.run) + (select count(*) from qbench.job) + " \
	"(select count(*) from qbench.outcome) + (select count(*) from qbench.event) + " \
	"(select count(*) from qbench.effect) + (select count(*) from qbench.ledger)"

START_TEST(rows_of_ended_runs_go_and_no_others)
{
	char *conninfo = database("prune");
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	fill_run(db, "ended");
	fill_run(db, "crashed");
	fill_run(db, "mine");
	fill_run(db, "old");
	ck_ok(qb_schema_run_ended(db, "ended", &err), err);
	sql(db, "update qbench.run set created_at = now() - interval '8 days' where run_id in ('old', 'mine')");
	ck_assert_int_eq(number(db, ALL_ROWS), 24);
	/* "mine" is being recovered: its outcomes are all that is known of jobs that have left the segment. */
	ck_ok(qb_schema_prune(db, "mine", &err), err);
	ck_assert_int_eq(number(db, ALL_ROWS), 12);
	ck_assert_int_eq(number(db, "select count(*) from qbench.run where run_id in ('mine', 'crashed')"), 2);
	ck_assert_int_eq(number(db, "select count(*) from qbench.outcome join qbench.run using (run_no)"), 2);
	PQfinish(db);
	free(conninfo);
}
END_TEST

START_TEST(run_has_one_number_whoever_asks)
{
	char *conninfo = database("numbers");
	PGconn *db = sql_connect(conninfo);
	int64_t first, again, other;
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	ck_ok(qb_schema_run(db, "one's \"name\"", &first, &err), err);
	ck_ok(qb_schema_run(db, "another", &other, &err), err);
	ck_ok(qb_schema_run(db, "one's \"name\"", &again, &err), err);
	ck_assert_int_eq(first, again);
	ck_assert_int_ne(first, other);
	PQfinish(db);
	free(conninfo);
}
END_TEST

START_TEST(cluster_is_known_by_the_identifier_of_its_control_file)
{
	char *path = qb_xasprintf("%s/data/global/pg_control", qb_cluster_dir(shared)), *data;
	PGconn *db = sql_connect(HERE);
	struct qb_err err = { 0 };
	uint64_t id, want;
	size_t bytes;

	/* It begins with it. */
	ck_ok(qb_read_file(path, 1 << 20, &data, &bytes, &err), err);
	memcpy(&want, data, sizeof(want));
	ck_ok(qb_schema_cluster_id(db, &id, &err), err);
	ck_assert_uint_ne(want, 0);
	ck_assert_uint_eq(id, want);
	PQfinish(db);
	free(data);
	free(path);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("schema");
	TCase *tc = tcase_create("schema");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, installing_again_changes_nothing);
	tcase_add_test(tc, eight_may_install_at_once);
	tcase_add_test(tc, newer_schema_is_refused_and_left_alone);
	tcase_add_test(tc, older_schema_is_brought_up_to_date_and_keeps_its_rows);
	tcase_add_test(tc, syncer_that_meets_an_older_schema_brings_it_up_to_date);
	tcase_add_test(tc, existing_schema_serves_a_user_who_may_not_create);
	tcase_add_test(tc, rows_of_ended_runs_go_and_no_others);
	tcase_add_test(tc, run_has_one_number_whoever_asks);
	tcase_add_test(tc, cluster_is_known_by_the_identifier_of_its_control_file);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
