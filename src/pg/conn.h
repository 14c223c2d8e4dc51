/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thin layer over libpq: connect with a deadline, run, read binary values, LISTEN.
 *
 * Lives in: process memory.  Writers and readers: one thread per connection.
 * Progress: may block, every wait has a time-out.
 * Crash: the server rolls an open transaction back when the socket closes; with
 * client_connection_check_interval (set here, server 14 and later) it also ends a statement that
 * is still running.  A COMMIT that was sent may still land after its sender's death.
 *
 * Open connections after fork, never before: PQfinish on an inherited one ends the session of
 * the process that it came from.
 */
#ifndef QB_PG_CONN_H
#define QB_PG_CONN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pg/array.h"

/*
 * Connect, at most timeout_ns for all hosts of the conninfo together (name resolution is the
 * resolver's and has its own limit).  conninfo is a URL or "keyword=value ...".
 *
 * Sets application_name, client_encoding UTF8, search_path "pg_catalog, pg_temp" (so callers write
 * qualified names), client_connection_check_interval where the server has it, and limits for dead
 * TCP peers: the server's, and ours unless the conninfo has its own.  synchronous_commit and the rest
 * stay as they are.
 *
 * 0 and *out (caller: PQfinish); QB_EUSAGE when the string cannot be read; QB_ETIMEOUT; QB_EPG.
 * No error text contains the conninfo or a password.
 */
int qb_pg_connect(const char *conninfo, const char *application_name, uint64_t timeout_ns,
		  PGconn **out, struct qb_err *err);

/* "host=... port=... dbname=... user=..." for messages, never a password. malloc'ed; never NULL. */
char *qb_pg_describe(const char *conninfo);

/*
 * A reply that takes longer than this (120 s unless set; process-wide) is QB_ETIMEOUT, and the
 * connection is cut: nobody knows what the server still does with the statement.
 */
void qb_pg_set_reply_timeout(uint64_t ns);

/*
 * Run, and fail unless the server says that it is done.  Parameters are those of PQexecParams;
 * result_format 1 is binary.  0, and *out (caller: PQclear; out may be NULL when the rows do not
 * matter); or QB_EPG with the message and its SQLSTATE, or QB_ETIMEOUT, and *out NULL.
 * qb_pg_exec takes several statements and stops after a COPY was opened.
 */
int qb_pg_exec(PGconn *conn, const char *sql, struct qb_err *err);
int qb_pg_query(PGconn *conn, const char *sql, int nparams, const Oid *oids,
		const char *const *values, const int *lengths, const int *formats,
		int result_format, PGresult **out, struct qb_err *err);
int qb_pg_prepare(PGconn *conn, const char *name, const char *sql, int nparams, const Oid *oids,
		  struct qb_err *err);
int qb_pg_exec_prepared(PGconn *conn, const char *name, int nparams, const char *const *values,
			const int *lengths, const int *formats, int result_format, PGresult **out,
			struct qb_err *err);

/* One row, one column of type bigint: 0, or as above, or QB_ECORRUPT when it is something else. */
int qb_pg_query_i64(PGconn *conn, const char *sql, int64_t *out, struct qb_err *err);

/*
 * For those who send and read results themselves (pipeline mode): 0 when res is a success,
 * else QB_EPG with text ("WHAT: message (SQLSTATE x)") and the SQLSTATE remembered.
 * res may be NULL (no memory, or the connection is gone).  Does not clear res.
 */
int qb_pg_check_result(PGconn *conn, const PGresult *res, const char *what, struct qb_err *err);

/*
 * SQLSTATE of this thread's last failed call in this room, like errno: "" when the failure did
 * not come from the server.  Static storage.
 */
const char *qb_pg_sqlstate(void);

/*
 * Is the same thing worth trying again, on this connection or a new one?  True when the connection
 * is broken (conn NULL stands for "never came to be") and no SQLSTATE says why, or for 57P01 to
 * 57P03, 40001, 40P01, 53300 and 08xxx, except 08P01.  A refused password or a missing database
 * is not.
 */
bool qb_pg_is_transient(const PGconn *conn, const char *sqlstate);

/* LISTEN on a channel of any name of at most 63 bytes. 0, QB_ETOOBIG, or as qb_pg_exec. */
int qb_pg_listen(PGconn *conn, const char *channel, struct qb_err *err);

enum qb_pg_wake {
	QB_PG_WAKE_DEADLINE = 0,
	QB_PG_WAKE_NOTIFY = 1,  /* at least one notification; all that arrived are taken */
	QB_PG_WAKE_FD = 2,      /* extra_fd is readable (or closed) */
	QB_PG_WAKE_SIGNAL = 4,  /* a signal handler ran */
};

/*
 * Wait until a notification, extra_fd (-1: none), a signal or the deadline (CLOCK_MONOTONIC).
 * Notifications that libpq read beside earlier replies count: they are there without any byte
 * on the socket.  Returns a set of enum qb_pg_wake, or QB_EPG when the connection is lost;
 * *notified (may be NULL) is the number of notifications.
 */
int qb_pg_wait(PGconn *conn, uint64_t deadline_ns, int extra_fd, unsigned *notified,
	       struct qb_err *err);

/*
 * Values of a binary result: 0; QB_PG_NULL when the value is NULL; QB_ECORRUPT when there is no
 * such row or column, it is not binary, or its size is another type's.  *out untouched unless 0.
 * Bytes point into res.
 */
#define QB_PG_NULL 1
int qb_pg_get_i16(const PGresult *res, int row, int col, int16_t *out);
int qb_pg_get_i32(const PGresult *res, int row, int col, int32_t *out);
int qb_pg_get_i64(const PGresult *res, int row, int col, int64_t *out);
int qb_pg_get_bool(const PGresult *res, int row, int col, bool *out);
int qb_pg_get_timestamptz(const PGresult *res, int row, int col, uint64_t *unix_ns);
int qb_pg_get_bytea(const PGresult *res, int row, int col, const void **data, size_t *bytes);
int qb_pg_get_text(const PGresult *res, int row, int col, const char **text, size_t *bytes);

#endif
