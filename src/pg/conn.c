/* SPDX-License-Identifier: Apache-2.0 */
/* qb_pg_connect() and qb_pg_describe(). */
#include "pg/conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "pg/exec.h"
#include "shm/status.h"

/* In force unless the conninfo says otherwise; without effect on Unix sockets. */
static const struct {
	const char *keyword, *value;
} defaults[] = {
	{ "tcp_user_timeout", "10000" },
	{ "keepalives_idle", "5" },
	{ "keepalives_interval", "2" },
	{ "keepalives_count", "3" },
};

/* Ours whatever the conninfo says. */
static bool is_fixed(const char *keyword)
{
	return !strcmp(keyword, "application_name") || !strcmp(keyword, "client_encoding") ||
	       !strcmp(keyword, "fallback_application_name");
}

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
	for (; options->keyword; options++) {
		if (!strcmp(options->keyword, keyword))
			return options->val;
	}
	return NULL;
}

static bool has_at(const PQconninfoOption *options, const char *keyword)
{
	const char *value = option_value(options, keyword);

	/* In front it marks a socket in the abstract name space. */
	return value && *value && strchr(value + 1, '@');
}

/*
 * libpq's own words for a string that it cannot read quote pieces of it, the password among them
 * when that holds a space or a quote; so they are dropped.  A password with '/' or '@' that was
 * not percent-encoded in a URL ends up in the host or database name: refused here, because every
 * later message would show those.
 */
static PQconninfoOption *parse(const char *conninfo, struct qb_err *err)
{
	PQconninfoOption *options;
	char *libpq_text = NULL;
	bool is_url = !strncmp(conninfo, "postgres://", 11) ||
		      !strncmp(conninfo, "postgresql://", 13);

	options = PQconninfoParse(conninfo, &libpq_text);
	PQfreemem(libpq_text);
	if (!options) {
		qb_err_set(err, QB_EUSAGE,
			   "the connection string cannot be read (it is not shown here: it may "
			   "hold a password); write postgresql://user:password@host:port/dbname "
			   "with special characters percent-encoded, or \"host=... port=... "
			   "dbname=... user=...\" with values that hold spaces in single quotes");
		return NULL;
	}
	if (is_url && (has_at(options, "host") || has_at(options, "dbname"))) {
		PQconninfoFree(options);
		qb_err_set(err, QB_EUSAGE,
			   "the connection URL holds an unescaped '@' or '/' in its user name or "
			   "password (it is not shown here); write '@' as %%40 and '/' as %%2F "
			   "there");
		return NULL;
	}
	return options;
}

static void describe(struct qb_strbuf *sb, const PQconninfoOption *options)
{
	static const char *const shown[] = {
		"service", "host", "hostaddr", "port", "dbname", "user",
	};
	size_t i;

	for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		const char *value = option_value(options, shown[i]);

		if (!value || !*value)
			continue;
		/* A connection string put where a name belongs may have a password in it. */
		if (strchr(value, '=') || strstr(value, "://"))
			value = "...";
		qb_strbuf_printf(sb, "%s%s=%s", sb->bytes ? " " : "", shown[i], value);
	}
	if (!sb->bytes)
		qb_strbuf_add(sb, "the default server");
}

char *qb_pg_describe(const char *conninfo)
{
	PQconninfoOption *options = parse(conninfo, NULL);
	struct qb_strbuf sb = { 0 };

	if (options)
		describe(&sb, options);
	else
		qb_strbuf_add(&sb, "an unreadable connection string");
	PQconninfoFree(options);
	return sb.data;
}

/* Notices are for the server's log; here they only would break the progress line. */
static void log_notice(void *arg, const char *message)
{
	char line[512];

	(void)arg;
	qb_pg_one_line(line, sizeof(line), message);
	qb_log(QB_LOG_DEBUG, "postgres: %s", line);
}

void qb_pg_add_conninfo(struct qb_strbuf *sb, const char *keyword, const char *value)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-";
	bool is_plain = *value && value[strspn(value, plain)] == '\0';
	const char *p;

	qb_strbuf_printf(sb, "%s%s=%s", sb->bytes ? " " : "", keyword, is_plain ? "" : "'");
	for (p = value; *p; p++)
		qb_strbuf_printf(sb, "%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
	qb_strbuf_add(sb, is_plain ? "" : "'");
}

static PGconn *begin_connect(const PQconninfoOption *options, const char *application_name)
{
	struct qb_strbuf sb = { 0 };
	const PQconninfoOption *o;
	PGconn *conn;
	size_t i;

	for (o = options; o->keyword; o++) {
		if (o->val && !is_fixed(o->keyword))
			qb_pg_add_conninfo(&sb, o->keyword, o->val);
	}
	for (i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
		if (!option_value(options, defaults[i].keyword))
			qb_pg_add_conninfo(&sb, defaults[i].keyword, defaults[i].value);
	}
	/*
	 * An address from PGHOSTADDR would win over the host that was asked for.  The empty value
	 * is why this is a string: libpq's arrays take empty for absent.
	 */
	if (option_value(options, "host") && !option_value(options, "hostaddr"))
		qb_pg_add_conninfo(&sb, "hostaddr", "");
	qb_pg_add_conninfo(&sb, "application_name", application_name);
	qb_pg_add_conninfo(&sb, "client_encoding", "UTF8");
	conn = PQconnectStart(sb.data);
	qb_strbuf_free(&sb);
	return conn;
}

static bool is_code_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
}

/*
 * Refusals during the connection have no PGresult to ask for their SQLSTATE, but verbose messages
 * spell it: "FATAL:  57P03: the database system is starting up".
 */
static void note_connect_sqlstate(const char *message)
{
	const char *p = message;
	char code[6];
	int i;

	qb_pg_set_sqlstate(NULL);
	while ((p = strstr(p, ":  "))) {
		p += 3;
		for (i = 0; i < 5 && is_code_char(p[i]); i++)
			code[i] = p[i];
		if (i < 5 || p[5] != ':')
			continue;
		code[5] = '\0';
		qb_pg_set_sqlstate(code);
	}
}

/*
 * libpq's blocking connect counts in whole seconds, at least two, and per host.  A syncer that
 * reconnects after a crash needs better, so its steps are driven from here.
 */
static int drive_connect(PGconn *conn, uint64_t deadline_ns)
{
	PostgresPollingStatusType state = PGRES_POLLING_WRITING;
	short revents[2];
	int ret;

	if (PQstatus(conn) == CONNECTION_BAD)
		return QB_EPG;
	for (;;) {
		ret = qb_pg_poll(PQsocket(conn), state == PGRES_POLLING_READING ? POLLIN : POLLOUT,
				 -1, deadline_ns, revents);
		if (ret == -EINTR)
			continue;
		if (ret < 0)
			return ret;
		if (ret == 0)
			return QB_ETIMEOUT;
		state = PQconnectPoll(conn);
		if (state == PGRES_POLLING_OK)
			return 0;
		if (state == PGRES_POLLING_FAILED)
			return QB_EPG;
	}
}

/* Servers on other systems than Linux, and others of the same protocol, may refuse it: then it stays as it is. */
static int set_if_possible(PGconn *conn, const char *sql, struct qb_err *err)
{
	int ret = qb_pg_exec(conn, sql, err);

	if (ret == QB_EPG && PQstatus(conn) == CONNECTION_OK) {
		qb_err_clear(err);
		qb_pg_set_sqlstate(NULL);
		ret = 0;
	}
	return ret;
}

/* Settings that a connection parameter cannot carry to every server (and every pooler). */
static int set_session(PGconn *conn, struct qb_err *err)
{
	int ret = qb_pg_exec(conn, "SET search_path = pg_catalog, pg_temp", err);

	/*
	 * A statement whose last bytes never come keeps its locks until the server gives its client up: two hours
	 * with the usual settings of the system. Without effect on Unix sockets, whose end is always seen.
	 */
	if (ret == 0)
		ret = set_if_possible(conn, "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;"
				      "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000", err);
	if (ret == 0 && PQserverVersion(conn) >= 140000)
		ret = set_if_possible(conn, "SET client_connection_check_interval = 200", err);
	return ret;
}

static int report_connect(PGconn *conn, int ret, const PQconninfoOption *options,
			  uint64_t timeout_ns, struct qb_err *err)
{
	struct qb_strbuf where = { 0 };
	char line[512], limit[32];

	describe(&where, options);
	if (ret == QB_ETIMEOUT) {
		qb_err_set(err, ret, "could not connect to Postgres (%s): no answer within %s",
			   where.data, qb_format_duration(limit, sizeof(limit), timeout_ns));
	} else if (ret == QB_EPG) {
		note_connect_sqlstate(PQerrorMessage(conn));
		qb_pg_one_line(line, sizeof(line), PQerrorMessage(conn));
		qb_err_set(err, ret, "could not connect to Postgres (%s): %s", where.data, line);
	} else {
		qb_err_errno(err, -ret, "could not connect to Postgres (%s): poll", where.data);
	}
	qb_strbuf_free(&where);
	return ret;
}

int qb_pg_connect(const char *conninfo, const char *application_name, uint64_t timeout_ns,
		  PGconn **out, struct qb_err *err)
{
	uint64_t deadline_ns = qb_now_ns() + timeout_ns;
	PQconninfoOption *options;
	PGconn *conn;
	int ret;

	*out = NULL;
	qb_pg_set_sqlstate(NULL);
	options = parse(conninfo, err);
	if (!options)
		return QB_EUSAGE;
	conn = begin_connect(options, application_name);
	if (!conn) {
		ret = qb_err_errno(err, ENOMEM, "could not connect to Postgres");
		goto out_options;
	}
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	PQsetNoticeProcessor(conn, log_notice, NULL);
	ret = drive_connect(conn, deadline_ns);
	if (ret < 0) {
		report_connect(conn, ret, options, timeout_ns, err);
		goto err_finish;
	}
	PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
	ret = set_session(conn, err);
	if (ret < 0) {
		qb_err_context(err, "could not set up the Postgres session");
		goto err_finish;
	}
	*out = conn;
	goto out_options;
err_finish:
	PQfinish(conn);
out_options:
	PQconninfoFree(options);
	return ret;
}
