/* SPDX-License-Identifier: Apache-2.0 */
/* The layer over libpq against a real server: connecting, statements, notifications, values. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "pg/conn.h"
#include "tests/pg/pgtest.h"
#include "shm/status.h"

#define SECRET "s3cretpw"

char *pgtest_base;
static struct qb_cluster *cluster;

static void show_is(PGconn *conn, const char *setting, const char *want)
{
	char *sql = qb_xasprintf("SHOW %s", setting);
	PGresult *res = pgtest_query(conn, sql, 0);

	ck_assert_str_eq(PQgetvalue(res, 0, 0), want);
	PQclear(res);
	free(sql);
}

static void start_cluster(void)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true };
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_start(&config, &cluster, &err), err);
}

static void end_cluster(void)
{
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_destroy(cluster, NULL, &err), err);
}

START_TEST(session_has_the_settings_that_callers_rely_on)
{
	PGconn *conn = pgtest_connect(cluster);

	show_is(conn, "application_name", "test");
	show_is(conn, "search_path", "pg_catalog, pg_temp");
	show_is(conn, "client_encoding", "UTF8");
	if (PQserverVersion(conn) >= 140000)
		show_is(conn, "client_connection_check_interval", "200ms");
	PQfinish(conn);
}
END_TEST

START_TEST(application_name_and_encoding_of_the_conninfo_do_not_win)
{
	char *conninfo = qb_xasprintf("%s application_name=other client_encoding=LATIN1",
				      qb_cluster_conninfo(cluster));
	struct qb_err err = { 0 };
	PGconn *conn;

	ck_ok(qb_pg_connect(conninfo, "mine", QB_NS_PER_S * 10, &conn, &err), err);
	show_is(conn, "application_name", "mine");
	show_is(conn, "client_encoding", "UTF8");
	PQfinish(conn);
	free(conninfo);
}
END_TEST

START_TEST(address_in_the_environment_does_not_replace_the_host)
{
	setenv("PGHOSTADDR", "127.0.0.1", 1);
	PQfinish(pgtest_connect(cluster));
}
END_TEST

START_TEST(absent_server_is_a_transient_error_without_the_password)
{
	char *conninfo = qb_xasprintf("host=%s/none user=u password=" SECRET " dbname=d",
				      pgtest_base);
	uint64_t begin_ns = qb_now_ns();
	struct qb_err err = { 0 };
	PGconn *conn;

	ck_assert_int_eq(qb_pg_connect(conninfo, "t", QB_NS_PER_S, &conn, &err), QB_EPG);
	ck_assert_ptr_null(conn);
	ck_assert(qb_now_ns() - begin_ns < 2 * QB_NS_PER_S);
	ck_has_not(err.text, SECRET);
	ck_has(err.text, "dbname=d");
	ck_has(err.text, "No such file");
	ck_assert(qb_pg_is_transient(NULL, qb_pg_sqlstate()));
	free(conninfo);
}
END_TEST

START_TEST(silent_server_is_given_up_at_the_deadline)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char *dir = qb_xasprintf("%s/silent", pgtest_base);
	char *conninfo = qb_xasprintf("host=%s user=u password=" SECRET, dir);
	struct qb_err err = { 0 };
	uint64_t begin_ns, took_ns;
	PGconn *conn;
	int fd;

	ck_assert_int_eq(mkdir(dir, 0700), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/.s.PGSQL.5432", dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);     /* the kernel accepts; nobody answers */
	begin_ns = qb_now_ns();
	ck_assert_int_eq(qb_pg_connect(conninfo, "t", 300 * QB_NS_PER_MS, &conn, &err),
			 QB_ETIMEOUT);
	took_ns = qb_now_ns() - begin_ns;
	ck_assert(took_ns >= 300 * QB_NS_PER_MS && took_ns < 2 * QB_NS_PER_S);
	ck_has_not(err.text, SECRET);
	ck_has(err.text, "no answer within 300");
	close(fd);
	free(conninfo);
	free(dir);
}
END_TEST

START_TEST(unreadable_conninfo_is_refused_without_showing_it)
{
	static const char *const strings[] = {
		"host=/x password=one " SECRET " dbname=d",
		"host=/x password='" SECRET,
		"host=/x " SECRET "=1",
		"postgresql://u:" SECRET "%zz@h/d",
		"postgresql://u:x@" SECRET "@h/d",
		"postgresql://u:x/" SECRET "@h/d",
		"postgresql://u:" SECRET "@[::1/d",
	};
	size_t i;

	for (i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		struct qb_err err = { 0 };
		PGconn *conn;
		char *text;

		ck_assert_msg(qb_pg_connect(strings[i], "t", QB_NS_PER_S, &conn, &err) == QB_EUSAGE,
			      "%s: %s", strings[i], err.text);
		ck_has_not(err.text, SECRET);
		text = qb_pg_describe(strings[i]);
		ck_assert_str_eq(text, "an unreadable connection string");
		free(text);
	}
}
END_TEST

START_TEST(description_has_everything_but_the_password)
{
	char *text = qb_pg_describe("postgresql://me:" SECRET "@db.example:5433/jobs");

	ck_assert_str_eq(text, "host=db.example port=5433 dbname=jobs user=me");
	free(text);
	text = qb_pg_describe("password=" SECRET " dbname='x password=" SECRET "'");
	ck_assert_str_eq(text, "dbname=...");
	free(text);
	text = qb_pg_describe("");
	ck_assert_str_eq(text, "the default server");
	free(text);
}
END_TEST

START_TEST(missing_database_is_not_transient)
{
	char *conninfo = qb_xasprintf("%s dbname=nowhere", qb_cluster_conninfo(cluster));
	struct qb_err err = { 0 };
	PGconn *conn;

	ck_assert_int_eq(qb_pg_connect(conninfo, "t", 10 * QB_NS_PER_S, &conn, &err), QB_EPG);
	ck_assert_str_eq(qb_pg_sqlstate(), "3D000");
	ck_assert(!qb_pg_is_transient(NULL, qb_pg_sqlstate()));
	ck_has(err.text, "\"nowhere\" does not exist");
	ck_has_not(err.text, "LOCATION");
	free(conninfo);
}
END_TEST

START_TEST(transient_codes_are_these)
{
	static const char *const yes[] = {
		"08000", "08006", "57P01", "57P02", "57P03", "40001", "40P01", "53300",
	};
	static const char *const no[] = {
		"23505", "28P01", "3D000", "42P01", "57014", "53100", "40002", "08P01",
	};
	PGconn *conn = pgtest_connect(cluster);
	size_t i;

	for (i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		ck_assert_msg(qb_pg_is_transient(conn, yes[i]), "%s", yes[i]);
	for (i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		ck_assert_msg(!qb_pg_is_transient(conn, no[i]), "%s", no[i]);
	ck_assert(!qb_pg_is_transient(conn, ""));
	ck_assert(qb_pg_is_transient(NULL, NULL));
	PQfinish(conn);
}
END_TEST

START_TEST(terminated_backend_is_a_transient_error)
{
	PGconn *victim = pgtest_connect(cluster), *other = pgtest_connect(cluster);
	struct qb_err err = { 0 };
	char *sql = qb_xasprintf("SELECT pg_terminate_backend(%d)", PQbackendPID(victim));

	pgtest_exec(other, sql);
	/* A statement may still be served before the signal is handled, but not for long. */
	ck_until(qb_pg_exec(victim, "SELECT 1", &err) < 0, 5);
	ck_assert_int_eq(err.code, QB_EPG);
	ck_assert_msg(qb_pg_is_transient(victim, qb_pg_sqlstate()), "%s", err.text);
	ck_assert_int_eq(PQstatus(victim), CONNECTION_BAD);
	ck_assert_int_lt(qb_pg_exec(victim, "SELECT 1", &err), 0);
	ck_assert(qb_pg_is_transient(victim, qb_pg_sqlstate()));
	free(sql);
	PQfinish(victim);
	PQfinish(other);
}
END_TEST

START_TEST(errors_carry_sqlstate_message_and_statement)
{
	PGconn *conn = pgtest_connect(cluster);
	PGresult *res = (PGresult *)1;
	struct qb_err err = { 0 };

	pgtest_exec(conn, "CREATE TABLE public.once (id int PRIMARY KEY);"
		    "INSERT INTO public.once VALUES (1)");
	ck_assert_int_eq(qb_pg_exec(conn, "INSERT INTO public.once\n\tVALUES (1)", &err), QB_EPG);
	ck_assert_str_eq(err.text,
			 "could not run \"INSERT INTO public.once VALUES (1)\": duplicate key "
			 "value violates unique constraint \"once_pkey\" (SQLSTATE 23505)");
	ck_assert_str_eq(qb_pg_sqlstate(), "23505");
	ck_assert(!qb_pg_is_transient(conn, qb_pg_sqlstate()));
	/* Unqualified names are not found: that is what the fixed search_path is for. */
	ck_assert_int_eq(qb_pg_query(conn, "SELECT * FROM once", 0, NULL, NULL, NULL, NULL, 1, &res,
				     &err), QB_EPG);
	ck_assert_ptr_null(res);
	ck_assert_str_eq(qb_pg_sqlstate(), "42P01");
	ck_assert_int_eq(qb_pg_prepare(conn, "p", "SELEC 1", 0, NULL, &err), QB_EPG);
	ck_assert_str_eq(qb_pg_sqlstate(), "42601");
	ck_has(err.text, "could not prepare statement \"p\"");
	/* The second of three fails: the last result counts, and all are rolled back. */
	ck_assert_int_eq(qb_pg_exec(conn, "SELECT 1; SELECT 1/0; SELECT 2", &err), QB_EPG);
	ck_assert_str_eq(qb_pg_sqlstate(), "22012");
	ck_assert_int_eq(qb_pg_query_i64(conn, "SELECT 'text'", &(int64_t){ 0 }, &err),
			 QB_ECORRUPT);
	ck_assert_int_eq(pgtest_i64(conn, "SELECT count(*) FROM public.once"), 1);
	PQfinish(conn);
}
END_TEST

START_TEST(late_reply_cuts_the_connection)
{
	PGconn *conn = pgtest_connect(cluster);
	uint64_t begin_ns = qb_now_ns();
	struct qb_err err = { 0 };

	qb_pg_set_reply_timeout(200 * QB_NS_PER_MS);
	ck_assert_int_eq(qb_pg_exec(conn, "SELECT pg_sleep(30)", &err), QB_ETIMEOUT);
	ck_assert(qb_now_ns() - begin_ns < 3 * QB_NS_PER_S);
	ck_assert_int_eq(PQstatus(conn), CONNECTION_BAD);
	ck_assert(qb_pg_is_transient(conn, qb_pg_sqlstate()));
	/* What comes late must never be taken for the answer to something else. */
	ck_assert_int_eq(qb_pg_exec(conn, "SELECT 1", &err), QB_EPG);
	qb_pg_set_reply_timeout(120 * QB_NS_PER_S);
	PQfinish(conn);
	conn = pgtest_connect(cluster);
	if (PQserverVersion(conn) >= 140000)
		ck_until(pgtest_i64(conn, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
				  "'SELECT pg_sleep%' AND state = 'active'") == 0, 5);
	PQfinish(conn);
}
END_TEST

START_TEST(stopped_server_cannot_hang_a_large_send)
{
	static const char sql[] = "SELECT octet_length($1::bytea)::bigint";
	size_t bytes = 16u << 20;
	char *data = qb_xcalloc(1, bytes);
	const char *values[] = { data };
	int lengths[] = { (int)bytes }, formats[] = { 1 };
	PGconn *conn = pgtest_connect(cluster);
	struct qb_err err = { 0 };
	pid_t backend = PQbackendPID(conn);
	PGresult *res;
	int64_t got;

	ck_ok(qb_pg_query(conn, sql, 1, NULL, values, lengths, formats, 1, &res, &err), err);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 0, &got), 0);
	ck_assert_int_eq(got, (int64_t)bytes);
	PQclear(res);
	ck_assert_int_eq(kill(backend, SIGSTOP), 0);
	qb_pg_set_reply_timeout(300 * QB_NS_PER_MS);
	ck_assert_int_eq(qb_pg_query(conn, sql, 1, NULL, values, lengths, formats, 1, &res, &err),
			 QB_ETIMEOUT);
	ck_assert_int_eq(kill(backend, SIGCONT), 0);
	PQfinish(conn);
	free(data);
}
END_TEST

START_TEST(prepared_statement_runs_with_binary_parameters)
{
	PGconn *conn = pgtest_connect(cluster);
	uint64_t be = htobe64(41);
	const char *values[] = { (const char *)&be };
	int lengths[] = { 8 }, formats[] = { 1 };
	struct qb_err err = { 0 };
	PGresult *res;
	int64_t got;
	int i;

	ck_ok(qb_pg_prepare(conn, "plus", "SELECT $1::bigint + 1", 0, NULL, &err), err);
	for (i = 0; i < 3; i++) {
		ck_ok(qb_pg_exec_prepared(conn, "plus", 1, values, lengths, formats, 1, &res, &err),
		      err);
		ck_assert_int_eq(qb_pg_get_i64(res, 0, 0, &got), 0);
		ck_assert_int_eq(got, 42);
		PQclear(res);
	}
	ck_assert_int_eq(qb_pg_exec_prepared(conn, "minus", 0, NULL, NULL, NULL, 1, NULL, &err),
			 QB_EPG);
	ck_assert_str_eq(qb_pg_sqlstate(), "26000");
	PQfinish(conn);
}
END_TEST

START_TEST(copy_can_go_on_after_exec)
{
	PGconn *conn = pgtest_connect(cluster);
	PGresult *res;

	pgtest_exec(conn, "CREATE TEMP TABLE c (id int)");
	pgtest_exec(conn, "COPY c FROM STDIN");
	ck_assert_int_eq(PQputCopyData(conn, "1\n2\n", 4), 1);
	ck_assert_int_eq(PQputCopyEnd(conn, NULL), 1);
	while ((res = PQgetResult(conn))) {
		ck_assert_int_eq(PQresultStatus(res), PGRES_COMMAND_OK);
		PQclear(res);
	}
	ck_assert_int_eq(pgtest_i64(conn, "SELECT sum(id) FROM c"), 3);
	PQfinish(conn);
}
END_TEST

START_TEST(notification_wakes_the_waiter_on_a_channel_of_any_name)
{
	PGconn *conn = pgtest_connect(cluster), *other = pgtest_connect(cluster);
	struct qb_err err = { 0 };
	unsigned count = 99;
	uint64_t begin_ns;

	ck_ok(qb_pg_listen(conn, "Odd \"na'me", &err), err);
	begin_ns = qb_now_ns();
	ck_assert_int_eq(qb_pg_wait(conn, begin_ns + 50 * QB_NS_PER_MS, -1, &count, &err),
			 QB_PG_WAKE_DEADLINE);
	ck_assert_uint_eq(count, 0);
	ck_assert(qb_now_ns() >= begin_ns + 50 * QB_NS_PER_MS);
	pgtest_exec(other, "NOTIFY \"Odd \"\"na'me\", 'a'");
	pgtest_exec(other, "NOTIFY \"Odd \"\"na'me\", 'b'");
	begin_ns = qb_now_ns();
	ck_assert_int_eq(qb_pg_wait(conn, begin_ns + 10 * QB_NS_PER_S, -1, &count, &err),
			 QB_PG_WAKE_NOTIFY);
	ck_assert_uint_ge(count, 1);
	ck_assert(qb_now_ns() < begin_ns + 5 * QB_NS_PER_S);
	PQfinish(conn);
	PQfinish(other);
}
END_TEST

START_TEST(notification_that_came_with_a_reply_is_not_lost)
{
	PGconn *conn = pgtest_connect(cluster);
	struct qb_err err = { 0 };
	unsigned count = 0;

	ck_ok(qb_pg_listen(conn, "self", &err), err);
	/* Its own session gets it together with the reply: nothing is left on the socket. */
	pgtest_exec(conn, "NOTIFY self");
	ck_assert_int_eq(qb_pg_wait(conn, qb_now_ns() + 5 * QB_NS_PER_S, -1, &count, &err),
			 QB_PG_WAKE_NOTIFY);
	ck_assert_uint_eq(count, 1);
	PQfinish(conn);
}
END_TEST

static void on_alarm(int sig)
{
	(void)sig;
}

START_TEST(wait_ends_by_fd_signal_and_lost_connection)
{
	PGconn *conn = pgtest_connect(cluster), *other = pgtest_connect(cluster);
	char *sql = qb_xasprintf("SELECT pg_terminate_backend(%d)", PQbackendPID(conn));
	struct itimerval timer = { .it_value = { .tv_usec = 50000 } };
	struct sigaction action = { .sa_handler = on_alarm };
	uint64_t far_ns = qb_now_ns() + 15 * QB_NS_PER_S;
	struct qb_err err = { 0 };
	int ends[2], wake;
	unsigned count;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(qb_pg_wait(conn, far_ns, ends[0], &count, &err), QB_PG_WAKE_FD);
	ck_assert_uint_eq(count, 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	ck_assert_int_eq(qb_pg_wait(conn, far_ns, -1, NULL, &err), QB_PG_WAKE_SIGNAL);
	pgtest_exec(other, sql);
	wake = qb_pg_wait(conn, far_ns, -1, &count, &err);
	ck_assert_int_eq(wake, QB_EPG);
	ck_assert(qb_pg_is_transient(conn, qb_pg_sqlstate()));
	ck_assert(qb_now_ns() < far_ns);
	free(sql);
	PQfinish(conn);
	PQfinish(other);
}
END_TEST

START_TEST(getters_refuse_what_is_not_there_or_of_another_type)
{
	PGconn *conn = pgtest_connect(cluster);
	PGresult *res;
	const void *data;
	const char *text;
	size_t bytes;
	uint64_t ns = 7;
	int64_t i64 = 7;
	int32_t i32 = 7;
	int16_t i16 = 7;
	bool yes = false;

	res = pgtest_query(conn, "SELECT 5::int, NULL::bigint, 'abc'::text, true,"
			   " 'infinity'::timestamptz, '1969-12-31 23:59:59+00'::timestamptz,"
			   " ''::bytea", 1);
	ck_assert_int_eq(qb_pg_get_i32(res, 0, 0, &i32), 0);
	ck_assert_int_eq(i32, 5);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 0, &i64), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_i16(res, 0, 0, &i16), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 1, &i64), QB_PG_NULL);
	ck_assert_int_eq(qb_pg_get_i64(res, 1, 0, &i64), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 7, &i64), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_i64(res, -1, 0, &i64), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_text(res, 0, 2, &text, &bytes), 0);
	ck_assert_uint_eq(bytes, 3);
	ck_assert_int_eq(memcmp(text, "abc", 3), 0);
	ck_assert_int_eq(qb_pg_get_bool(res, 0, 3, &yes), 0);
	ck_assert(yes);
	ck_assert_int_eq(qb_pg_get_timestamptz(res, 0, 4, &ns), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_timestamptz(res, 0, 5, &ns), QB_ECORRUPT);
	ck_assert_int_eq(qb_pg_get_bytea(res, 0, 6, &data, &bytes), 0);
	ck_assert_uint_eq(bytes, 0);
	ck_assert(i64 == 7 && i16 == 7 && ns == 7);     /* untouched */
	PQclear(res);
	res = pgtest_query(conn, "SELECT 12345678::bigint", 0);
	ck_assert_int_eq(qb_pg_get_i64(res, 0, 0, &i64), QB_ECORRUPT);  /* 8 characters of text */
	PQclear(res);
	PQfinish(conn);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conn");
	TCase *tc = tcase_create("conn");

	tcase_set_timeout(tc, 20);
	tcase_add_unchecked_fixture(tc, start_cluster, end_cluster);
	tcase_add_test(tc, session_has_the_settings_that_callers_rely_on);
	tcase_add_test(tc, application_name_and_encoding_of_the_conninfo_do_not_win);
	tcase_add_test(tc, address_in_the_environment_does_not_replace_the_host);
	tcase_add_test(tc, absent_server_is_a_transient_error_without_the_password);
	tcase_add_test(tc, silent_server_is_given_up_at_the_deadline);
	tcase_add_test(tc, unreadable_conninfo_is_refused_without_showing_it);
	tcase_add_test(tc, description_has_everything_but_the_password);
	tcase_add_test(tc, missing_database_is_not_transient);
	tcase_add_test(tc, transient_codes_are_these);
	tcase_add_test(tc, terminated_backend_is_a_transient_error);
	tcase_add_test(tc, errors_carry_sqlstate_message_and_statement);
	tcase_add_test(tc, late_reply_cuts_the_connection);
	tcase_add_test(tc, stopped_server_cannot_hang_a_large_send);
	tcase_add_test(tc, prepared_statement_runs_with_binary_parameters);
	tcase_add_test(tc, copy_can_go_on_after_exec);
	tcase_add_test(tc, notification_wakes_the_waiter_on_a_channel_of_any_name);
	tcase_add_test(tc, notification_that_came_with_a_reply_is_not_lost);
	tcase_add_test(tc, wait_ends_by_fd_signal_and_lost_connection);
	tcase_add_test(tc, getters_refuse_what_is_not_there_or_of_another_type);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
