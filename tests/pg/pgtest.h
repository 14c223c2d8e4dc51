/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs of this folder share: a place for their servers, and SKIP without a server. */
#ifndef QB_TESTS_PG_PGTEST_H
#define QB_TESTS_PG_PGTEST_H

#include <check.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "pg/cluster.h"
#include "pg/conn.h"

/* Where every server of this program lives; removed by pgtest_main, also after failed cases. */
extern char *pgtest_base;

#define ck_ok(ret, err) \
	do { \
		int ck_ok_ret_ = (ret); \
		ck_assert_msg(ck_ok_ret_ >= 0, "returned %d: %s", ck_ok_ret_, (err).text); \
	} while (0)

/* The text holds that part; when not, both are shown. */
#define ck_has(text, part) ck_assert_msg(strstr(text, part), "no \"%s\" in: %s", part, text)
#define ck_has_not(text, part) ck_assert_msg(!strstr(text, part), "\"%s\" in: %s", part, text)

/* Wait until cond holds, and say what did not when it takes too long. */
#define ck_until(cond, seconds) \
	do { \
		uint64_t ck_until_ns_ = qb_now_ns() + (seconds) * QB_NS_PER_S; \
		while (!(cond)) { \
			ck_assert_msg(qb_now_ns() < ck_until_ns_, "not within %d s: %s", \
				      (int)(seconds), #cond); \
			qb_sleep_ns(10 * QB_NS_PER_MS); \
		} \
	} while (0)

static inline PGconn *pgtest_connect(const struct qb_cluster *c)
{
	struct qb_err err = { 0 };
	PGconn *conn;

	ck_ok(qb_pg_connect(qb_cluster_conninfo(c), "test", 10 * QB_NS_PER_S, &conn, &err), err);
	return conn;
}

static inline void pgtest_exec(PGconn *conn, const char *sql)
{
	struct qb_err err = { 0 };

	ck_ok(qb_pg_exec(conn, sql, &err), err);
}

static inline int64_t pgtest_i64(PGconn *conn, const char *sql)
{
	struct qb_err err = { 0 };
	int64_t value = 0;

	ck_ok(qb_pg_query_i64(conn, sql, &value, &err), err);
	return value;
}

/* Without parameters. Caller: PQclear. */
static inline PGresult *pgtest_query(PGconn *conn, const char *sql, int result_format)
{
	struct qb_err err = { 0 };
	PGresult *res;

	ck_ok(qb_pg_query(conn, sql, 0, NULL, NULL, NULL, NULL, result_format, &res, &err), err);
	return res;
}

/* Processes that work in dir or below it, by another way than the code under test. */
static inline int pgtest_processes_in(const char *dir)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	ck_assert_ptr_nonnull(proc);
	while ((entry = readdir(proc))) {
		char link[300], cwd[4096];
		ssize_t n;

		snprintf(link, sizeof(link), "/proc/%s/cwd", entry->d_name);
		n = readlink(link, cwd, sizeof(cwd) - 1);
		if (n < 0)
			continue;
		cwd[n] = '\0';
		count += !strncmp(cwd, dir, strlen(dir));
	}
	closedir(proc);
	return count;
}

/* Servers' directories in base. */
static inline int pgtest_dirs_in(const char *base)
{
	DIR *dir = opendir(base);
	struct dirent *entry;
	int count = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		count += !strncmp(entry->d_name, "qbench-pg-", 10);
	closedir(dir);
	return count;
}

/* A folder of this case alone. Caller: free. */
static inline char *pgtest_folder(const char *name)
{
	char *path = qb_xasprintf("%s/%s", pgtest_base, name);

	ck_assert_int_eq(mkdir(path, 0755), 0);
	return path;
}

static inline int pgtest_main(Suite *suite)
{
	const char *tmpdir = getenv("TMPDIR");
	struct qb_err err = { 0 };
	char *bindir;
	SRunner *sr;
	int failed;

	if (qb_cluster_find_bindir(NULL, &bindir, &err) < 0) {
		if (getenv("CK_TAP_LOG_FILE_NAME")) {
			printf("1..0 # SKIP no Postgres server programs on this machine\n");
			return EXIT_SUCCESS;
		}
		fprintf(stderr, "skipped: %s\n", err.text);
		return 77;
	}
	free(bindir);
	pgtest_base = qb_xasprintf("%s/qbt-XXXXXX", tmpdir && *tmpdir ? tmpdir : "/tmp");
	/* The server's user must get through, when that is not ourselves. */
	if (!mkdtemp(pgtest_base) || chmod(pgtest_base, 0755)) {
		perror(pgtest_base);
		return EXIT_FAILURE;
	}
	sr = srunner_create(suite);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	qb_cluster_sweep(pgtest_base, NULL);
	qb_remove_tree(pgtest_base);
	free(pgtest_base);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
