/* SPDX-License-Identifier: Apache-2.0 */
/* LISTEN and waiting for NOTIFY. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "pg/exec.h"
#include "shm/status.h"

/* NAMEDATALEN - 1 of every server that was not patched. */
#define CHANNEL_BYTES_MAX 63

int qb_pg_listen(PGconn *conn, const char *channel, struct qb_err *err)
{
	char *quoted, *sql;
	int ret;

	/* The server would cut it with a notice: two long names could be one channel. */
	if (strlen(channel) > CHANNEL_BYTES_MAX)
		return qb_err_set(err, QB_ETOOBIG, "could not LISTEN: the name of a channel has at most %d bytes",
				  CHANNEL_BYTES_MAX);
	quoted = PQescapeIdentifier(conn, channel, strlen(channel));
	if (!quoted)
		return qb_pg_check_result(conn, NULL, "could not LISTEN", err);
	sql = qb_xasprintf("LISTEN %s", quoted);
	PQfreemem(quoted);
	ret = qb_pg_exec(conn, sql, err);
	free(sql);
	return ret;
}

static unsigned drain(PGconn *conn)
{
	unsigned count = 0;
	PGnotify *notify;

	while ((notify = PQnotifies(conn))) {
		PQfreemem(notify);
		count++;
	}
	return count;
}

int qb_pg_wait(PGconn *conn, uint64_t deadline_ns, int extra_fd, unsigned *notified,
	       struct qb_err *err)
{
	unsigned count = 0;
	int wake = 0, ready;
	short revents[2];

	for (;;) {
		/*
		 * Before the poll, not only after: notifications that came with an earlier reply
		 * are in libpq's buffers, and over TLS there can be bytes that poll() cannot see.
		 */
		if (!PQconsumeInput(conn)) {
			if (notified)
				*notified = count;
			return qb_pg_check_result(conn, NULL, "could not wait for notifications",
						  err);
		}
		count += drain(conn);
		if (count)
			wake |= QB_PG_WAKE_NOTIFY;
		if (wake)
			break;
		ready = qb_pg_poll(PQsocket(conn), POLLIN, extra_fd, deadline_ns, revents);
		if (ready == -EINTR) {
			wake = QB_PG_WAKE_SIGNAL;
			break;
		}
		if (ready < 0)
			return qb_err_errno(err, -ready, "could not wait for notifications");
		if (ready == 0)
			break;
		if (revents[1])
			wake |= QB_PG_WAKE_FD;
	}
	if (notified)
		*notified = count;
	return wake;
}
