/* SPDX-License-Identifier: Apache-2.0 */
/* What else a leader must do, or it is done nowhere: jobs that come again and again, and fresh indexes. */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-leader.h"
#include "shm/status.h"

/* ---- periodic enqueuer ---- */

/* What is due so soon is taken along. */
#define PERIODIC_MARGIN_NS (100 * QB_NS_PER_MS)

/* Available, with the time that it is meant for: at once, or up to the margin ahead. */
static const char periodic_sql[] =
	"insert into $S.river_job (kind, args, queue, max_attempts, created_at, scheduled_at, metadata)"
	" values ($1::text, $2::jsonb, $3::text, 25, $4::timestamptz, $5::timestamptz,"
	"  jsonb_strip_nulls(jsonb_build_object('river:periodic_job_id', $6::text)) || '{\"periodic\": true}')";

static int insert_periodic(struct qb_river_hand *h, const struct qb_river_periodic *job, uint64_t at_ns,
			   struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, job->kind);
	qb_arg_text(&a, job->args);
	qb_arg_text(&a, job->queue);
	qb_arg_i64(&a, (int64_t)(qb_wall_ns() / QB_NS_PER_US) - QB_PG_EPOCH_US);
	qb_arg_i64(&a, (int64_t)(at_ns / QB_NS_PER_US) - QB_PG_EPOCH_US);
	qb_arg_text(&a, job->id);
	int rc = qb_river_hand_query(h, periodic_sql, &a, NULL, err);

	return rc < 0 ? rc : qb_river_hand_notify(h, job->queue, err);
}

/*
 * next_ns of 0 is a job that this term has not seen: it is inserted at once if it asks for that.  The next time follows
 * from the last one and not from now, so that being late does not move the schedule; and it moves also when the insert
 * fails: River drops that one.
 */
int qb_river_periodic_run(struct qb_river_hand *h, uint64_t *next_ns, uint64_t *soonest_ns, struct qb_err *err)
{
	const struct qb_river_upkeep *u = &h->l->u;
	uint64_t now_ns = qb_wall_ns(), inserted = 0;
	int rc = 0;

	*soonest_ns = UINT64_MAX;
	if (u->periodic_count == 0)
		return 0;
	rc = qb_pg_exec(h->conn, "begin", err);
	for (uint32_t i = 0; i < u->periodic_count; i++) {
		const struct qb_river_periodic *job = &u->periodic[i];
		bool first = next_ns[i] == 0;
		bool due = first ? job->run_on_start : next_ns[i] < now_ns + PERIODIC_MARGIN_NS;
		uint64_t at_ns = first ? now_ns : next_ns[i];

		if (first || due)
			next_ns[i] = at_ns + job->every_ns;
		if (next_ns[i] < *soonest_ns)
			*soonest_ns = next_ns[i];
		if (rc == 0 && due) {
			rc = insert_periodic(h, job, at_ns, err);
			inserted++;
		}
	}
	if (rc == 0)
		rc = qb_pg_exec(h->conn, "commit", err);
	if (rc < 0)
		return qb_err_context(err, "could not insert periodic jobs");
	pthread_mutex_lock(&h->l->lock);
	h->l->status.enqueued += inserted;
	pthread_mutex_unlock(&h->l->lock);
	return 0;
}

/* ---- reindexer ---- */

#define CLEAN_UP_TIMEOUT_NS (15 * QB_NS_PER_S)

static const char *const index_names[] = {      /* reindexerIndexNamesDefault */
	"river_job_args_index",
	"river_job_kind",
	"river_job_metadata_index",
	"river_job_pkey",
	"river_job_prioritized_fetching_index",
	"river_job_state_and_finalized_at_index",
	"river_job_unique_idx",
};

/* The index and what earlier attempts left beside it: IDX, IDX_ccnew, IDX_ccold1. */
static const char related_sql[] =
	"select c.relname::text from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace"
	" where n.nspname = $1::text and c.relkind = 'i' and (c.relname = $2::text"
	"  or (pg_catalog.left(c.relname::text, length($2::text)) = $2::text"
	"      and pg_catalog.substr(c.relname::text, length($2::text) + 1) ~ '^_cc(new|old)[0-9]*$'))"
	" order by c.relname <> $2::text, c.relname";

static int find_related(PGconn *conn, const char *schema, const char *name, PGresult **res, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, schema);
	qb_arg_text(&a, name);
	return qb_pg_query(conn, related_sql, a.n, NULL, a.values, a.lengths, a.formats, 1, res, err);
}

/* command takes a qualified name, behind it. */
static int run_on_index(PGconn *conn, const char *command, const char *schema, const char *name, struct qb_err *err)
{
	struct qb_strbuf sql = { 0 };
	char *quoted = PQescapeIdentifier(conn, name, strlen(name)), *prefix = qb_river_sql(schema, "$S.");
	int rc;

	qb_strbuf_add(&sql, command);
	qb_strbuf_add(&sql, prefix);
	qb_strbuf_add(&sql, quoted ? quoted : "");
	rc = quoted ? qb_pg_exec(conn, sql.data, err) : qb_pg_check_result(conn, NULL, command, err);
	PQfreemem(quoted);
	free(prefix);
	qb_strbuf_free(&sql);
	return rc;
}

/*
 * A build that the end of the term has cut off leaves its artifact, and with one there no later round would touch
 * that index again; so it goes now, on a new connection.  What a time-out left stays: the next would time out, too.
 */
static void drop_artifacts(struct qb_river_hand *h, const char *name)
{
	const char *schema = h->l->c->schema;
	struct qb_err err = { 0 };
	PGresult *res = NULL;
	PGconn *conn = NULL;
	int rc = qb_pg_connect(h->l->c->conninfo, "qbench reindexer", CLEAN_UP_TIMEOUT_NS, &conn, &err);

	if (rc == 0)
		rc = qb_pg_exec(conn, "set statement_timeout = '15s'", &err);
	if (rc == 0)
		rc = find_related(conn, schema, name, &res, &err);
	for (int i = 1; rc == 0 && i < PQntuples(res); i++)
		rc = run_on_index(conn, "drop index concurrently if exists ", schema, PQgetvalue(res, i, 0), &err);
	PQclear(res);
	PQfinish(conn);
	if (rc < 0)
		qb_river_note_error(h->l, &err);
}

static int reindex_one(struct qb_river_hand *h, const char *name, struct qb_err *err)
{
	const char *schema = h->l->c->schema;
	PGresult *res = NULL;
	int rc = find_related(h->conn, schema, name, &res, err), found = PQntuples(res);
	/* Not there, or with an artifact of a build that failed. */
	bool skip = rc == 0 && (found != 1 || strcmp(PQgetvalue(res, 0, 0), name) != 0);

	PQclear(res);
	if (rc < 0 || skip)
		return rc;
	rc = run_on_index(h->conn, "reindex index concurrently ", schema, name, err);
	if (rc < 0) {
		if (!qb_river_leads(h->l, h->term))
			drop_artifacts(h, name);
		return rc;
	}
	pthread_mutex_lock(&h->l->lock);
	h->l->status.reindexed++;
	pthread_mutex_unlock(&h->l->lock);
	return 0;
}

/* One that fails is no reason to leave out the others. */
int qb_river_reindex(struct qb_river_hand *h, struct qb_err *err)
{
	struct qb_err first = { 0 };
	int rc = 0;

	for (unsigned i = 0; i < sizeof(index_names) / sizeof(index_names[0]); i++) {
		struct qb_err one = { 0 };

		if (!qb_river_leads(h->l, h->term) || PQstatus(h->conn) != CONNECTION_OK)
			break;
		int failed = reindex_one(h, index_names[i], &one);

		if (failed < 0 && rc == 0) {
			first = one;
			rc = failed;
		}
	}
	if (rc < 0)
		*err = first;
	return rc < 0 ? qb_err_context(err, "could not rebuild an index") : 0;
}
