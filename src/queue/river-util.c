/* SPDX-License-Identifier: Apache-2.0 */
/* Names, the limiter of notifications, and waiting for them. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/river.h"

#define SCHEMA "qbench_river"
#define SCHEMA_ENV "QB_RIVER_SCHEMA"

const char *qb_river_schema(void)
{
	const char *other = getenv(SCHEMA_ENV);

	return other && *other ? other : SCHEMA;
}

char *qb_river_sql(const char *schema, const char *sql)
{
	struct qb_strbuf out = { 0 };
	const char *mark;

	for (; (mark = strstr(sql, "$S.")); sql = mark + 3) {
		qb_strbuf_add_bytes(&out, sql, (size_t)(mark - sql));
		qb_strbuf_add(&out, "\"");
		for (const char *c = schema; *c; c++) {
			if (*c == '"')
				qb_strbuf_add(&out, "\"");
			qb_strbuf_add_bytes(&out, c, 1);
		}
		qb_strbuf_add(&out, "\".");
	}
	qb_strbuf_add(&out, sql);
	return out.data;
}

const char *qb_river_channel(const char *schema, const char *topic, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s.river_%s", schema, topic);
	return buf;
}

const char *qb_river_client_id(char *buf, const char *host, uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / QB_NS_PER_S);
	char when[32];
	struct tm tm;
	size_t n = 0;

	if (!*host)
		host = "unknown_host";
	for (; host[n] && n < RIVER_HOST_BYTES_MAX; n++)
		buf[n] = host[n] == '.' ? '_' : host[n];
	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y_%m_%dT%H_%M_%S", &tm);
	snprintf(buf + n, RIVER_CLIENT_ID_BYTES - n, "_%s_%06llu", when,
		 (unsigned long long)(wall_ns % QB_NS_PER_S / QB_NS_PER_US));
	return buf;
}

int qb_river_limiter_take(struct qb_river_limiter *l, const char *queue, uint64_t now_ns)
{
	unsigned i = 0;
	int may = 0;

	pthread_mutex_lock(&l->lock);
	while (i < l->count && strcmp(l->topic[i].queue, queue) != 0)
		i++;
	if (i < l->count) {
		may = now_ns - l->topic[i].sent_ns > l->wait_ns;
	} else if (i < RIVER_LIMITER_QUEUES) {
		snprintf(l->topic[i].queue, sizeof(l->topic[i].queue), "%s", queue);
		l->count++;
		may = 1;
	}
	if (may)
		l->topic[i].sent_ns = now_ns;
	pthread_mutex_unlock(&l->lock);
	/* A queue beyond those that it can remember is never held back. */
	return may || i == RIVER_LIMITER_QUEUES;
}

static int tell(PGconn *conn, qb_river_notify_fn fn, void *ctx)
{
	PGnotify *n;
	int count = 0;

	while ((n = PQnotifies(conn))) {
		if (fn)
			fn(ctx, n->relname, n->extra);
		PQfreemem(n);
		count++;
	}
	return count;
}

/* As ppoll(), or -errno. */
static int poll_until(struct pollfd *fds, uint64_t deadline_ns)
{
	uint64_t now = qb_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	/* A day stands for ever. */
	uint64_t most = 86400 * QB_NS_PER_S;

	if (left > most)
		left = most;
	struct timespec ts = { .tv_sec = (time_t)(left / QB_NS_PER_S), .tv_nsec = (long)(left % QB_NS_PER_S) };
	int n = ppoll(fds, 2, &ts, NULL);

	return n < 0 ? -errno : n;
}

int qb_river_wait(PGconn *conn, uint64_t deadline_ns, int extra_fd, qb_river_notify_fn fn, void *ctx, struct qb_err *err)
{
	for (;;) {
		struct pollfd fds[2] = {
			{ .fd = conn ? PQsocket(conn) : -1, .events = POLLIN },
			{ .fd = extra_fd, .events = POLLIN },
		};

		/* Before the poll as well: what came with an earlier reply lies in libpq's buffers. */
		if (conn && !PQconsumeInput(conn))
			return qb_pg_check_result(conn, NULL, "could not wait for notifications", err);
		if (conn && tell(conn, fn, ctx))
			return QB_PG_WAKE_NOTIFY;
		int n = poll_until(fds, deadline_ns);

		if (n == -EINTR)
			return QB_PG_WAKE_SIGNAL;
		if (n < 0)
			return qb_err_errno(err, -n, "could not wait for notifications");
		if (n == 0)
			return QB_PG_WAKE_DEADLINE;
		if (!fds[1].revents)
			continue;
		if (conn && !PQconsumeInput(conn))
			return qb_pg_check_result(conn, NULL, "could not wait for notifications", err);
		return QB_PG_WAKE_FD | (conn && tell(conn, fn, ctx) ? QB_PG_WAKE_NOTIFY : 0);
	}
}
