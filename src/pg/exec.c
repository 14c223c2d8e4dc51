/* SPDX-License-Identifier: Apache-2.0 */
/* Statements and their errors. */
#include "pg/exec.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "pg/conn.h"
#include "shm/status.h"

static uint64_t reply_timeout_ns = 120 * QB_NS_PER_S;
static __thread char last_sqlstate[6];

void qb_pg_set_reply_timeout(uint64_t ns)
{
	reply_timeout_ns = ns;
}

const char *qb_pg_sqlstate(void)
{
	return last_sqlstate;
}

void qb_pg_set_sqlstate(const char *sqlstate)
{
	if (sqlstate && strlen(sqlstate) == 5)
		memcpy(last_sqlstate, sqlstate, 6);
	else
		last_sqlstate[0] = '\0';
}

bool qb_pg_is_transient(const PGconn *conn, const char *sqlstate)
{
	static const char *const codes[] = {
		"57P01",        /* admin_shutdown */
		"57P02",        /* crash_shutdown */
		"57P03",        /* cannot_connect_now */
		"40001",        /* serialization_failure */
		"40P01",        /* deadlock_detected */
		"53300",        /* too_many_connections */
	};
	size_t i;

	if (!sqlstate || !*sqlstate)
		return !conn || PQstatus(conn) == CONNECTION_BAD;
	/* Class 08 is a broken connection, but 08P01 is what a malformed parameter gets. */
	if (!strncmp(sqlstate, "08", 2))
		return strcmp(sqlstate, "08P01");
	for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (!strcmp(sqlstate, codes[i]))
			return true;
	}
	return false;
}

void qb_pg_one_line(char *buf, size_t cap, const char *text)
{
	const char *end = strstr(text, "LOCATION:");
	size_t n = 0;

	for (; *text && text != end && n + 1 < cap; text++) {
		if (*text != '\n' && *text != '\t' && *text != ' ')
			buf[n++] = *text;
		else if (n && buf[n - 1] != ' ')
			buf[n++] = ' ';
	}
	while (n && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}

int qb_pg_poll(int fd, short events, int extra_fd, uint64_t deadline_ns, short revents[2])
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = events },
		{ .fd = extra_fd, .events = POLLIN },
	};
	uint64_t now_ns = qb_now_ns();
	uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	struct timespec ts = {
		.tv_sec = (time_t)(left_ns / QB_NS_PER_S),
		.tv_nsec = (long)(left_ns % QB_NS_PER_S),
	};
	int n;

	/* A poll for ever would follow from a deadline of "never" in 64 bits; a day is enough. */
	if (left_ns > 86400 * QB_NS_PER_S)
		ts = (struct timespec){ .tv_sec = 86400 };
	n = ppoll(fds, 2, &ts, NULL);
	if (n < 0)
		return -errno;
	revents[0] = fds[0].revents;
	revents[1] = fds[1].revents;
	return n;
}

/* Where the server's own words leave the user alone. */
static const char *what_to_do(const char *sqlstate)
{
	return sqlstate && !strcmp(sqlstate, "53100") ? "; the server's disk is full: free space there" : "";
}

int qb_pg_check_result(PGconn *conn, const PGresult *res, const char *what, struct qb_err *err)
{
	const char *message, *sqlstate;
	char line[512];

	switch (PQresultStatus(res)) {
	case PGRES_COMMAND_OK:
	case PGRES_TUPLES_OK:
	case PGRES_SINGLE_TUPLE:
	case PGRES_COPY_IN:
	case PGRES_COPY_OUT:
	case PGRES_PIPELINE_SYNC:
		return 0;
	default:
		break;
	}
	sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	qb_pg_set_sqlstate(sqlstate);
	if (message) {
		qb_pg_one_line(line, sizeof(line), message);
		return qb_err_set(err, QB_EPG, "%s: %s (SQLSTATE %s)%s", what, line,
				  sqlstate ? sqlstate : "unknown", what_to_do(sqlstate));
	}
	message = PQresultErrorMessage(res);
	qb_pg_one_line(line, sizeof(line), *message ? message : PQerrorMessage(conn));
	if (!*line && PQresultStatus(res) == PGRES_PIPELINE_ABORTED)
		strcpy(line, "not run, because a statement before it in the pipeline failed");
	else if (!*line)
		strcpy(line, PQstatus(conn) == CONNECTION_OK ? "no result from the server" :
							       "the connection to Postgres is "
							       "lost");
	return qb_err_set(err, QB_EPG, "%s: %s", what, line);
}

/* Send what is left of the statement and read until a whole result is there. */
static int await_result(PGconn *conn, uint64_t deadline_ns)
{
	short revents[2];
	int unsent, ret;

	for (;;) {
		/* On failure the reason may already lie on the socket: PQgetResult digs it out. */
		unsent = PQflush(conn);
		if (unsent < 0 || PQstatus(conn) == CONNECTION_BAD)
			return 0;
		if (!unsent && !PQisBusy(conn))
			return 0;
		ret = qb_pg_poll(PQsocket(conn), (short)(POLLIN | (unsent ? POLLOUT : 0)), -1,
				 deadline_ns, revents);
		if (ret == -EINTR)
			continue;
		if (ret < 0)
			return ret;
		if (ret == 0)
			return QB_ETIMEOUT;
		if ((revents[0] & ~POLLOUT) && !PQconsumeInput(conn))
			return 0;
	}
}

/* Make libpq see the connection as lost, so that nobody takes a late answer for the next one's. */
static void give_up(PGconn *conn, int code, const char *what, struct qb_err *err)
{
	char limit[32];

	if (PQsocket(conn) >= 0)
		shutdown(PQsocket(conn), SHUT_RDWR);
	PQconsumeInput(conn);
	qb_pg_set_sqlstate(NULL);
	if (code == QB_ETIMEOUT)
		qb_err_set(err, code,
			   "%s: no answer from Postgres within %s; the connection was cut", what,
			   qb_format_duration(limit, sizeof(limit), reply_timeout_ns));
	else
		qb_err_errno(err, -code, "%s: waiting for the answer", what);
}

/*
 * Collect the results of what was just sent; the last one counts, or the first that failed.
 * sent is the return value of PQsend...: 0 means that libpq refused.
 */
static int finish(PGconn *conn, int sent, const char *what, PGresult **out, struct qb_err *err)
{
	uint64_t deadline_ns = qb_now_ns() + reply_timeout_ns;
	PGresult *last = NULL, *res;
	int ret = 0;

	if (!sent)
		ret = qb_pg_check_result(conn, NULL, what, err);
	while (sent) {
		ret = await_result(conn, deadline_ns);
		if (ret < 0) {
			give_up(conn, ret, what, err);
			break;
		}
		res = PQgetResult(conn);
		if (!res)
			break;
		/* Simple queries stop at the first error, so at most the last result is one. */
		PQclear(last);
		last = res;
		if (PQresultStatus(res) == PGRES_COPY_IN || PQresultStatus(res) == PGRES_COPY_OUT)
			break;
	}
	if (!ret && sent)
		ret = qb_pg_check_result(conn, last, what, err);
	PQsetnonblocking(conn, 0);      /* only now: it clears PQerrorMessage() */
	if (!ret && out)
		*out = last;
	else
		PQclear(last);
	return ret;
}

/* Nonblocking only while one of ours is under way: a send into a full socket must not hang. */
static void begin(PGconn *conn, PGresult **out)
{
	if (out)
		*out = NULL;
	PQsetnonblocking(conn, 1);
}

/* The first words of a statement, for the message. */
static const char *what_of(char *buf, size_t cap, const char *sql)
{
	size_t room = cap - sizeof("could not run \"...\"");
	char head[64];

	qb_pg_one_line(head, room < sizeof(head) ? room : sizeof(head), sql);
	snprintf(buf, cap, "could not run \"%s%s\"", head,
		 strlen(sql) > strlen(head) + 2 ? "..." : "");
	return buf;
}

int qb_pg_exec(PGconn *conn, const char *sql, struct qb_err *err)
{
	char what[96];

	begin(conn, NULL);
	return finish(conn, PQsendQuery(conn, sql), what_of(what, sizeof(what), sql), NULL, err);
}

int qb_pg_query(PGconn *conn, const char *sql, int nparams, const Oid *oids,
		const char *const *values, const int *lengths, const int *formats,
		int result_format, PGresult **out, struct qb_err *err)
{
	char what[96];

	begin(conn, out);
	return finish(conn, PQsendQueryParams(conn, sql, nparams, oids, values, lengths, formats,
					      result_format),
		      what_of(what, sizeof(what), sql), out, err);
}

int qb_pg_prepare(PGconn *conn, const char *name, const char *sql, int nparams, const Oid *oids,
		  struct qb_err *err)
{
	char what[96];

	snprintf(what, sizeof(what), "could not prepare statement \"%.60s\"", name);
	begin(conn, NULL);
	return finish(conn, PQsendPrepare(conn, name, sql, nparams, oids), what, NULL, err);
}

int qb_pg_exec_prepared(PGconn *conn, const char *name, int nparams, const char *const *values,
			const int *lengths, const int *formats, int result_format, PGresult **out,
			struct qb_err *err)
{
	char what[96];

	snprintf(what, sizeof(what), "could not run statement \"%.60s\"", name);
	begin(conn, out);
	return finish(conn, PQsendQueryPrepared(conn, name, nparams, values, lengths, formats,
						result_format),
		      what, out, err);
}

int qb_pg_query_i64(PGconn *conn, const char *sql, int64_t *out, struct qb_err *err)
{
	PGresult *res;
	char what[96];
	int ret;

	ret = qb_pg_query(conn, sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);
	if (ret < 0)
		return ret;
	if (PQntuples(res) != 1 || PQnfields(res) != 1 || qb_pg_get_i64(res, 0, 0, out))
		ret = qb_err_set(err, QB_ECORRUPT,
				 "%s: the answer is %d rows of %d columns, not one bigint",
				 what_of(what, sizeof(what), sql), PQntuples(res), PQnfields(res));
	PQclear(res);
	return ret;
}
