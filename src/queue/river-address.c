/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for the end of a run, as an application of River would build it: River's clients hear only of the jobs of their
 * own process.  The work itself notifies, on a channel of the application, as the last thing that it does.  Whoever waits
 * listens first and looks at the row afterwards, and again from time to time.
 *
 * The notification comes before the end of the row, which River's completer writes up to 250 ms later.  Who joins a run
 * in between has missed its notification and finds the row running: the look after soon_ns is for him.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-tables.h"

#define CONNECT_NS RIVER_HOT_OPERATION_TIMEOUT_NS

struct qb_river_looks qb_river_looks = {
	.soon_ns = (RIVER_COMPLETER_TICKS_PER_FLUSH + 1) * RIVER_COMPLETER_TICK_NS,
	/* As a worker looks for work that it was not told of (FetchPollIntervalDefault). */
	.tick_ns = QB_NS_PER_S,
};

struct qb_river_waiter {
	PGconn *conn;                   /* the producer's */
	PGconn *listener;               /* NULL: to be made when it is needed */
	const char *conninfo;
	char *look_sql;
	char channel[128];
};

static const char *channel_of(const char *schema, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s.cache_done", schema);
	return buf;
}

int qb_river_tell(PGconn *conn, const char *schema, int64_t id, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char channel[128], payload[24];

	snprintf(payload, sizeof(payload), "%lld", (long long)id);
	qb_arg_text(&a, channel_of(schema, channel, sizeof(channel)));
	qb_arg_text(&a, payload);
	return qb_pg_query(conn, "select pg_notify($1::text, $2::text)", a.n, NULL, a.values, a.lengths, a.formats, 1, NULL, err);
}

/* By the constraint of River's table finalized_at is set in exactly the states that end a job. */
static const char look_sql[] = "select finalized_at is not null from $S.river_job where id = $1";

int qb_river_waiter_open(PGconn *conn, const char *conninfo, const char *schema, struct qb_river_waiter **out,
			 struct qb_err *err)
{
	struct qb_river_waiter *w = qb_xcalloc(1, sizeof(*w));

	(void)err;
	w->conn = conn;
	w->conninfo = conninfo;
	w->look_sql = qb_river_sql(schema, look_sql);
	channel_of(schema, w->channel, sizeof(w->channel));
	*out = w;
	return 0;
}

void qb_river_waiter_close(struct qb_river_waiter *w)
{
	if (!w)
		return;
	PQfinish(w->listener);
	free(w->look_sql);
	free(w);
}

static int listen_again(struct qb_river_waiter *w, struct qb_err *err)
{
	int rc = qb_pg_connect(w->conninfo, "qbench cache", CONNECT_NS, &w->listener, err);

	if (rc == 0)
		rc = qb_pg_listen(w->listener, w->channel, err);
	if (rc < 0) {
		PQfinish(w->listener);
		w->listener = NULL;
	}
	return rc;
}

/* 1: the row has come to its end, or is gone; 0; negative. */
static int is_over(struct qb_river_waiter *w, int64_t id, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	PGresult *res = NULL;
	bool over = true;

	qb_arg_i64(&a, id);
	int rc = qb_pg_query(w->conn, w->look_sql, a.n, NULL, a.values, a.lengths, a.formats, 1, &res, err);

	if (rc == 0 && PQntuples(res) && qb_pg_get_bool(res, 0, 0, &over))
		rc = qb_err_set(err, QB_ECORRUPT, "a job row has other types than it should");
	PQclear(res);
	return rc < 0 ? rc : over;
}

struct awaited {
	const char *channel;
	int64_t id;
	bool told;
};

static void on_told(void *opaque, const char *channel, const char *payload)
{
	struct awaited *a = opaque;
	char *end;
	long long id = strtoll(payload, &end, 10);

	a->told |= !strcmp(channel, a->channel) && end > payload && !*end && id == a->id;
}

/* Takes what has come, and waits until then. The connection may be gone afterwards, and what it would have said with it. */
static void hear(struct qb_river_waiter *w, uint64_t until_ns, struct awaited *a)
{
	struct qb_err why = { 0 };

	if (qb_river_wait(w->listener, until_ns, -1, on_told, a, &why) >= 0)
		return;
	qb_log(QB_LOG_DEBUG, "river: no notifications of the cache: %s", why.text);
	PQfinish(w->listener);
	w->listener = NULL;
}

int qb_river_wait_for_end(struct qb_river_waiter *w, int64_t id, uint64_t deadline_ns, struct qb_address_end *end,
			  struct qb_err *err)
{
	struct awaited a = { .channel = w->channel, .id = id };
	uint64_t look_ns = 0;
	unsigned looks = 0;

	*end = (struct qb_address_end){ .state = QB_ADDRESS_NOT_YET };
	while (!a.told) {
		int rc = 0;

		if (!w->listener) {
			rc = listen_again(w, err);
			look_ns = 0;
		}
		if (rc == 0 && qb_now_ns() >= look_ns) {
			rc = is_over(w, id, err);
			look_ns = qb_now_ns() + (looks++ ? qb_river_looks.tick_ns : qb_river_looks.soon_ns);
		}
		if (rc < 0)
			return rc;
		if (rc == 0 && qb_now_ns() >= deadline_ns)
			return 0;
		/* What was over at the first look was missed by nobody, and what was told meanwhile was not found by a look. */
		hear(w, rc ? 0 : look_ns < deadline_ns ? look_ns : deadline_ns, &a);
		if (rc) {
			end->by_tick = looks > 1 && !a.told;
			break;
		}
	}
	end->state = QB_ADDRESS_DONE;
	return 0;
}
