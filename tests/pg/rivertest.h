/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of River's protocol share: one server for a program, a schema with River's tables for each case. */
#ifndef QB_TESTS_PG_RIVERTEST_H
#define QB_TESTS_PG_RIVERTEST_H

#include <stdarg.h>

#include "pg/cluster.h"
#include "queue/args.h"
#include "queue/river-leader.h"
#include "queue/river-tables.h"
#include "tests/pg/pgtest.h"

#define DAY (24 * 3600 * QB_NS_PER_S)

static struct qb_cluster *shared;

static inline void shared_start(void)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true };
	struct qb_err err = { 0 };

	if (qb_cluster_start(&config, &shared, &err) < 0) {
		fprintf(stderr, "no server: %s\n", err.text);
		exit(EXIT_FAILURE);
	}
}

static inline void shared_stop(void)
{
	qb_cluster_destroy(shared, NULL, NULL);
}

struct river {
	struct qb_cluster *cluster;
	PGconn *db;
	const char *schema;
	struct qb_river_upkeep u;       /* nothing but the first rounds, at once, unless a case says more */
};

/* "$S." is the schema. Values are the test's own and go in as text. */
static inline void river_sql(struct river *r, const char *text)
{
	char *sql = qb_river_sql(r->schema, text);

	pgtest_exec(r->db, sql);
	free(sql);
}

static inline int64_t river_i64(struct river *r, const char *text)
{
	char *sql = qb_river_sql(r->schema, text);
	int64_t n = pgtest_i64(r->db, sql);

	free(sql);
	return n;
}

/* The first column of all rows, joined by spaces; NULL is "-". Caller: free. */
static inline char *river_text(struct river *r, const char *text)
{
	char *sql = qb_river_sql(r->schema, text);
	PGresult *res = pgtest_query(r->db, sql, 0);
	struct qb_strbuf out = { 0 };

	for (int i = 0; i < PQntuples(res); i++) {
		if (i)
			qb_strbuf_add(&out, " ");
		qb_strbuf_add(&out, PQgetisnull(res, i, 0) ? "-" : PQgetvalue(res, i, 0));
	}
	qb_strbuf_add(&out, "");
	PQclear(res);
	free(sql);
	return out.data;
}

#define ck_river(r, query, expected) \
	do { \
		char *ck_river_ = river_text(r, query); \
		ck_assert_msg(!strcmp(ck_river_, expected), "\"%s\" is not \"%s\": %s", ck_river_, expected, query); \
		free(ck_river_); \
	} while (0)

static inline void river_begin_on(struct river *r, struct qb_cluster *cluster, const char *schema)
{
	struct qb_err err = { 0 };

	*r = (struct river){ .cluster = cluster, .schema = schema, .db = pgtest_connect(cluster),
			     .u = qb_river_upkeep_default };
	r->u.stagger_ns = 0;
	r->u.schedule_ns = r->u.rescue_ns = r->u.clean_ns = r->u.clean_queues_ns = 7 * DAY;
	r->u.batch_pause_min_ns = r->u.batch_pause_max_ns = 0;
	r->u.backoff_ns = 20 * QB_NS_PER_MS;
	r->u.elect_ns = 100 * QB_NS_PER_MS;
	r->u.elect_jitter_ns = 20 * QB_NS_PER_MS;
	r->u.ttl_padding_ns = 60 * QB_NS_PER_S;
	ck_ok(qb_river_schema_setup(r->db, schema, &err), err);
}

static inline void river_begin(struct river *r, const char *schema)
{
	river_begin_on(r, shared, schema);
}

static inline void river_end(struct river *r)
{
	PQfinish(r->db);
}

static const char *const river_kinds[] = { RIVER_KIND, "known.kind", NULL };

struct client {
	struct qb_river_client c;
	struct qb_river_limiter limiter;
	struct qb_river_leader *l;
	struct qb_river_status s;       /* as of the last look() */
};

static inline void client_init(struct client *k, const struct river *r, const char *id)
{
	static uint64_t seed;

	*k = (struct client){ .limiter = QB_RIVER_LIMITER_INIT,
			      .c = { .conninfo = qb_cluster_conninfo(r->cluster), .schema = r->schema,
				     .kinds = river_kinds, .limiter = &k->limiter, .seed = ++seed,
				     .opt = { .lease_ns = 3600 * QB_NS_PER_S } } };
	snprintf(k->c.id, sizeof(k->c.id), "%s", id);
}

static inline void client_start(struct client *k, const struct river *r)
{
	struct qb_err err = { 0 };

	ck_ok(qb_river_leader_start_with(&k->c, &r->u, &k->l, &err), err);
}

static inline struct qb_river_status *look(struct client *k)
{
	qb_river_leader_status(k->l, &k->s);
	return &k->s;
}

/* A client that leads until the service has run once, and then stops. */
static inline void client_lead_once(struct client *k, const struct river *r, enum qb_river_service service)
{
	client_start(k, r);
	ck_until(look(k)->rounds[service] >= 1 || k->s.errors, 10);
	ck_assert_msg(k->s.errors == 0, "%s", k->s.last_error);
	qb_river_leader_stop(k->l);
}

/* Somebody with that application name waits for a lock that we hold. */
static inline bool blocked(struct river *r, const char *application_name)
{
	struct qb_sql_args a = { .n = 0 };
	struct qb_err err = { 0 };
	PGresult *res = NULL;

	/* Inside of a transaction the first look would be the last. */
	pgtest_exec(r->db, "select pg_stat_clear_snapshot()");
	qb_arg_text(&a, application_name);
	ck_ok(qb_pg_query(r->db, "select 1 from pg_stat_activity where application_name = $1::text"
			  " and wait_event_type = 'Lock'", a.n, NULL, a.values, a.lengths, a.formats, 0, &res, &err), err);
	bool found = PQntuples(res) > 0;

	PQclear(res);
	return found;
}

/* The next count payloads that come on db, joined by spaces. Caller: free. */
static inline char *heard(PGconn *db, unsigned count)
{
	struct qb_strbuf out = { 0 };
	uint64_t until_ns = qb_now_ns() + 10 * QB_NS_PER_S;

	while (count) {
		PGnotify *n;

		ck_assert(PQconsumeInput(db));
		n = PQnotifies(db);
		if (!n) {
			ck_assert_msg(qb_now_ns() < until_ns, "%u payloads did not come, after: %s", count,
				      qb_strbuf_text(&out));
			qb_sleep_ns(5 * QB_NS_PER_MS);
			continue;
		}
		if (out.bytes)
			qb_strbuf_add(&out, " ");
		qb_strbuf_add(&out, n->extra);
		PQfreemem(n);
		count--;
	}
	return out.data;
}

/* Nothing has come, up to what this connection itself sends last. */
static inline void heard_nothing(struct river *r, PGconn *db, const char *topic)
{
	char channel[128], *payload;
	struct qb_sql_args a = { .n = 0 };
	struct qb_err err = { 0 };

	qb_arg_text(&a, qb_river_channel(r->schema, topic, channel, sizeof(channel)));
	ck_ok(qb_pg_query(db, "select pg_notify($1::text, 'last')", a.n, NULL, a.values, a.lengths, a.formats, 0, NULL,
			  &err), err);
	payload = heard(db, 1);
	ck_assert_str_eq(payload, "last");
	free(payload);
}

static inline PGconn *river_listen(struct river *r, const char *topic)
{
	PGconn *db = pgtest_connect(r->cluster);
	char channel[128];
	struct qb_err err = { 0 };

	ck_ok(qb_pg_listen(db, qb_river_channel(r->schema, topic, channel, sizeof(channel)), &err), err);
	return db;
}

#endif
