/* SPDX-License-Identifier: Apache-2.0 */
/*
 * River's tables as they are after its migrations 1 to 7, in our own words but with its names, and
 * with the rows by which its migrator sees that there is nothing left to do.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pg/conn.h"
#include "queue/river-tables.h"

/* By this we know a schema again that may be dropped as a whole. */
#define OURS "made by qbench; dropped and made again by its next run"

/* Each constraint and index by the name that River's migrations give it, and the columns in their order. */
static const char tables_sql[] =
	"create type $S.river_job_state as enum ('available', 'cancelled', 'completed', 'discarded', 'pending',"
	" 'retryable', 'running', 'scheduled');"
	"create table $S.river_job (id bigserial primary key,"
	" state $S.river_job_state not null default 'available', attempt smallint not null default 0,"
	" max_attempts smallint not null default 25, attempted_at timestamptz,"
	" created_at timestamptz not null default now(), finalized_at timestamptz,"
	" scheduled_at timestamptz not null default now(), priority smallint not null default 1, args jsonb not null,"
	" attempted_by text[], errors jsonb[], kind text not null, metadata jsonb not null default '{}',"
	" queue text not null default 'default', tags varchar(255)[] not null default '{}', unique_key bytea,"
	" unique_states bit(8),"
	" constraint finalized_or_finalized_at_null"
	"  check ((finalized_at is null) = (state not in ('cancelled', 'completed', 'discarded'))),"
	" constraint max_attempts_is_positive check (max_attempts > 0),"
	" constraint priority_in_range check (priority between 1 and 4),"
	" constraint queue_length check (char_length(queue) between 1 and 127),"
	" constraint kind_length check (char_length(kind) between 1 and 127));"
	"create function $S.river_job_state_in_bitmask(bitmask bit(8), state $S.river_job_state) returns boolean"
	" language sql immutable as $$ select coalesce(get_bit(bitmask, case state when 'scheduled' then 0"
	" when 'running' then 1 when 'retryable' then 2 when 'pending' then 3 when 'discarded' then 4"
	" when 'completed' then 5 when 'cancelled' then 6 when 'available' then 7 end), 0) = 1 $$;"
	"create index river_job_kind on $S.river_job (kind);"
	"create index river_job_state_and_finalized_at_index on $S.river_job (state, finalized_at)"
	" where finalized_at is not null;"
	"create index river_job_prioritized_fetching_index on $S.river_job (state, queue, priority, scheduled_at, id);"
	"create index river_job_args_index on $S.river_job using gin (args);"
	"create index river_job_metadata_index on $S.river_job using gin (metadata);"
	"create unique index river_job_unique_idx on $S.river_job (unique_key)" RIVER_UNIQUE_PREDICATE ";"
	"create unlogged table $S.river_leader (elected_at timestamptz not null, expires_at timestamptz not null,"
	" leader_id text not null, name text primary key default 'default',"
	" constraint name_length check (name = 'default'),"
	" constraint leader_id_length check (char_length(leader_id) between 1 and 127));"
	"create table $S.river_queue (name text primary key, created_at timestamptz not null default now(),"
	" metadata jsonb not null default '{}', paused_at timestamptz,"
	" updated_at timestamptz not null default current_timestamp);"
	"create table $S.river_notification (id bigserial primary key, created_at timestamptz not null default now(),"
	" payload text not null, topic text not null,"
	" constraint topic_length check (length(topic) between 1 and 127));"
	"create index river_notification_created_at_idx on $S.river_notification (created_at);"
	"create index river_notification_topic_id_idx on $S.river_notification (topic, id);"
	"create table $S.river_migration (line text not null, version bigint not null,"
	" created_at timestamptz not null default now(),"
	" constraint line_length check (char_length(line) between 1 and 127),"
	" constraint version_gte_1 check (version >= 1), constraint river_migration_pkey1 primary key (line, version));"
	"insert into $S.river_migration (line, version) select 'main', generate_series(1, 7);";

/* What is there. */
struct state {
	bool schema, ours, jobs, migrations, has_line, has_unique_states;
};

static int look(PGconn *conn, const char *schema, struct state *s, struct qb_err *err)
{
	static const char sql[] =
		"with s as (select oid from pg_namespace where nspname = $1::name),"
		" t as (select c.oid, relname from pg_class c join s on relnamespace = s.oid where relkind in ('r', 'p'))"
		" select exists (select from s),"
		" exists (select from s where obj_description(oid, 'pg_namespace') = '" OURS "'),"
		" exists (select from t where relname = 'river_job'),"
		" exists (select from t where relname = 'river_migration'),"
		" exists (select from t join pg_attribute on attrelid = oid where relname = 'river_migration'"
		"  and attname = 'line' and not attisdropped),"
		" exists (select from t join pg_attribute on attrelid = oid where relname = 'river_job'"
		"  and attname = 'unique_states' and not attisdropped)";
	bool *const out[] = { &s->schema, &s->ours, &s->jobs, &s->migrations, &s->has_line, &s->has_unique_states };
	PGresult *res;
	int rc = qb_pg_query(conn, sql, 1, NULL, &schema, NULL, NULL, 1, &res, err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < 6; i++)
		if (qb_pg_get_bool(res, 0, i, out[i]))
			rc = qb_err_set(err, QB_ECORRUPT, "the catalog has other types than it should");
	PQclear(res);
	return rc;
}

static int exec(PGconn *conn, const char *schema, const char *sql, struct qb_err *err)
{
	char *text = qb_river_sql(schema, sql);
	int rc = qb_pg_exec(conn, text, err);

	free(text);
	return rc;
}

static int create(PGconn *conn, const char *schema, const struct state *s, struct qb_err *err)
{
	char *quoted = PQescapeIdentifier(conn, schema, strlen(schema));
	struct qb_strbuf sql = { 0 };
	int rc;

	if (!quoted)
		return qb_pg_check_result(conn, NULL, "could not name the schema", err);
	qb_strbuf_add(&sql, "begin;");
	if (s->ours)
		qb_strbuf_printf(&sql, "drop schema %s cascade;", quoted);
	/* A schema that somebody else made may get our tables, and will not be dropped. */
	if (s->ours || !s->schema)
		qb_strbuf_printf(&sql, "create schema %s; comment on schema %s is '" OURS "';", quoted, quoted);
	qb_strbuf_add(&sql, tables_sql);
	qb_strbuf_add(&sql, "commit");
	rc = exec(conn, schema, sql.data, err);
	qb_strbuf_free(&sql);
	PQfreemem(quoted);
	return rc;
}

/* Tables that River's migrator made: is it a version that we speak? */
static int accept_version(PGconn *conn, const char *schema, const struct state *s, struct qb_err *err)
{
	int64_t version = 0;
	int rc = 0;

	/* Teams that migrate by other means have no such table; without a line it is of before migration 5. */
	if (!s->migrations) {
		version = s->has_unique_states ? RIVER_MIGRATION_MIN : 0;
	} else {
		char *sql = qb_river_sql(schema, s->has_line ?
			"select coalesce(max(version), 0) from $S.river_migration where line = 'main'" :
			"select least(coalesce(max(version), 0), 4) from $S.river_migration");

		rc = qb_pg_query_i64(conn, sql, &version, err);
		free(sql);
	}
	if (rc < 0)
		return rc;
	if (version < RIVER_MIGRATION_MIN)
		return qb_err_set(err, QB_EVERSION, "the River tables in schema \"%s\" are at migration %lld, and %d is needed: "
				  "run 'river migrate-up' there, or drop them", schema, (long long)version,
				  RIVER_MIGRATION_MIN);
	if (version > RIVER_MIGRATION_KNOWN)
		qb_log(QB_LOG_WARNING, "the River tables in schema \"%s\" are at migration %lld, newer than %d: going on as if "
		       "nothing of ours had changed", schema, (long long)version, RIVER_MIGRATION_KNOWN);
	return 0;
}

int qb_river_schema_setup(PGconn *conn, const char *schema, struct qb_err *err)
{
	struct state s;
	int rc = look(conn, schema, &s, err);

	if (rc < 0)
		return rc;
	if (s.ours || (!s.jobs && !s.migrations))
		return create(conn, schema, &s, err);
	rc = accept_version(conn, schema, &s, err);
	if (rc < 0)
		return rc;
	return exec(conn, schema, "delete from $S.river_job where queue = '" RIVER_QUEUE "'", err);
}
