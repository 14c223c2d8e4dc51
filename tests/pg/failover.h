/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A primary and its standby server for one case: cut off, killed, promoted, and what each of them has.
 *
 * Real servers, made by the case itself (a handle belongs to the process that started it).  A standby
 * server is cut off by taking its primary_conninfo away: from then on a commit on the primary is certain not to be on it.
 */
#ifndef QB_TESTS_PG_FAILOVER_H
#define QB_TESTS_PG_FAILOVER_H

#include <sys/mman.h>

#include "pg/standby.h"
#include "shm/hint.h"
#include "sync/retain.h"
#include "sync/rewind.h"
#include "tests/pg/synctest.h"

/* Over all cases, which are processes of their own. */
struct figures { unsigned failovers, faults, lost, silent, resent, rounds; };
static struct figures *figures;

struct pair {
	struct qb_cluster *primary, *standby;
	char *conninfo;                 /* of both, for whoever can be written to */
	PGconn *at_primary, *at_standby;
};

static inline struct qb_cluster *start_server(const struct qb_cluster *primary)
{
	/* The machine stays up: what a killed server has written is there, flushed or not. */
	static const char *const settings[] = {
		"fsync = off", "synchronous_commit = on", "full_page_writes = on", "wal_receiver_status_interval = 1",
		"wal_retrieve_retry_interval = 100", "shared_buffers = 16MB", "min_wal_size = 32MB", NULL,
	};
	struct qb_cluster_config config = { .base_dir = pgtest_base, .settings = settings, .standby_of = primary ? qb_cluster_conninfo(primary) : NULL };
	struct qb_err err = { 0 };
	struct qb_cluster *c;

	ck_ok(qb_cluster_start(&config, &c, &err), err);
	return c;
}

static inline int64_t ask(PGconn *db, const char *text)
{
	struct qb_err err = { 0 };
	int64_t n = 0;

	ck_ok(qb_pg_query_i64(db, text, &n, &err), err);
	return n;
}

static inline int streams(const struct pair *p)
{
	return ask(p->at_primary, "select count(*) from pg_stat_replication where state = 'streaming'") == 1;
}

static inline void pair_connect(struct pair *p)
{
	p->at_primary = sql_connect(qb_cluster_conninfo(p->primary));
	p->at_standby = sql_connect(qb_cluster_conninfo(p->standby));
	free(p->conninfo);
	p->conninfo = qb_xasprintf("host=%s,%s port=5432,5432 user=qbench dbname=postgres target_session_attrs=read-write",
				   qb_cluster_dir(p->primary), qb_cluster_dir(p->standby));
	ck_until(streams(p), 30);
}

static inline void pair_open(struct pair *p)
{
	memset(p, 0, sizeof(*p));
	p->primary = start_server(NULL);
	install_watched(qb_cluster_conninfo(p->primary));
	p->standby = start_server(p->primary);
	pair_connect(p);
}

static inline void pair_close(struct pair *p)
{
	struct qb_err err = { 0 };

	PQfinish(p->at_primary);
	PQfinish(p->at_standby);
	ck_ok(qb_cluster_destroy(p->standby, NULL, &err), err);
	ck_ok(qb_cluster_destroy(p->primary, NULL, &err), err);
	free(p->conninfo);
}

/* All that is committed on the primary by now is on the standby server, and can be seen there. */
static inline void catch_up(struct pair *p)
{
	char text[160];

	snprintf(text, sizeof(text), "select (pg_last_wal_replay_lsn() - '0/0' >= %lld)::int::bigint",
		 (long long)ask(p->at_primary, "select (pg_current_wal_flush_lsn() - '0/0')::bigint"));
	ck_until(ask(p->at_standby, text) == 1, 30);
}

/* Nothing of what commits after this reaches the standby server. */
static inline void cut_off(struct pair *p)
{
	sql(p->at_standby, "alter system set primary_conninfo = ''");
	sql(p->at_standby, "select pg_reload_conf()");
	ck_until(ask(p->at_primary, "select count(*) from pg_stat_replication") == 0, 30);
	figures->faults++;
}

static inline void join_again(struct pair *p)
{
	sql(p->at_standby, "alter system reset primary_conninfo");
	char *text = qb_xasprintf("alter system set primary_conninfo = 'host=%s port=5432 user=qbench'", qb_cluster_dir(p->primary));

	sql(p->at_standby, text);
	free(text);
	sql(p->at_standby, "select pg_reload_conf()");
	ck_until(streams(p), 30);
}

/* The postmaster alone; its backends notice by themselves. */
static inline void kill_primary(struct pair *p)
{
	struct qb_err err = { 0 };

	PQfinish(p->at_primary);
	p->at_primary = NULL;
	ck_ok(qb_cluster_stop(p->primary, QB_CLUSTER_KILL, &err), err);
	figures->faults++;
}

/* What the standby server has received it has also replayed: this is the state that it would begin with. */
static inline void settle_standby(struct pair *p)
{
	ck_until(ask(p->at_standby, "select (count(*) = 0)::int::bigint from pg_stat_wal_receiver where status = 'streaming'"), 30);
	/* It has come to the end of what it has, which may be the half of a record, and asks for more in vain. */
	ck_until(ask(p->at_standby, "select count(*) from pg_stat_activity where backend_type = 'startup'"
		     " and wait_event = 'RecoveryRetrieveRetryInterval'") == 1, 30);
}

static inline void promote(struct pair *p)
{
	sql(p->at_standby, "select pg_promote(true, 60)");
	figures->failovers++;
}

/* The promoted one is the primary now, with a new standby server; the old one is returned. */
static inline struct qb_cluster *move_on(struct pair *p)
{
	struct qb_cluster *old = p->primary;

	PQfinish(p->at_standby);
	p->primary = p->standby;
	p->standby = start_server(p->primary);
	pair_connect(p);
	return old;
}

/* ---- which rows are there, by SQL ---- */

struct rows { char *jobs, *outcomes; int64_t events; };

static inline char *one_text(PGconn *db, const char *text, const char *run_id, const char *list)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_TEXT };
	const char *values[] = { run_id, list };
	struct qb_err err = { 0 };
	PGresult *res;

	ck_ok(qb_pg_query(db, text, list ? 2 : 1, oids, values, NULL, NULL, 0, &res, &err), err);
	ck_assert_int_eq(PQntuples(res), 1);
	char *copy = qb_xstrdup(PQgetvalue(res, 0, 0));

	PQclear(res);
	return copy;
}

static inline struct rows rows_of(PGconn *db, const char *run_id)
{
	char *events = one_text(db, "select count(*) from qbench.event where " OF_RUN, run_id, NULL);
	struct rows r = {
		.jobs = one_text(db, "select coalesce(string_agg(job_id || ',' || state || ',' || attempt, ' '), '')"
				 " from qbench.job where " OF_RUN, run_id, NULL),
		.outcomes = one_text(db, "select coalesce(string_agg(job_id::text, ' '), '') from qbench.outcome where " OF_RUN,
				     run_id, NULL),
		.events = atoll(events),
	};

	free(events);
	return r;
}

static inline void rows_free(struct rows *r)
{
	free(r->jobs);
	free(r->outcomes);
}

static inline uint64_t count_of(PGconn *db, const char *text, const char *run_id, const char *list)
{
	char *n = one_text(db, text, run_id, list);
	uint64_t v = (uint64_t)atoll(n);

	free(n);
	return v;
}

#define TOLD " from unnest(string_to_array($2, ' ')) x where x <> '' and "

/* What the first server had and this one has not. */
static inline struct qb_loss missing(PGconn *db, const char *run_id, const struct rows *had)
{
	struct rows has = rows_of(db, run_id);
	struct qb_loss l = {
		.accepted = count_of(db, "select count(*)" TOLD "not exists (select from qbench.job where " OF_RUN
				     "  and job_id = split_part(x, ',', 1)::bigint) and not exists (select from qbench.outcome where "
				     OF_RUN " and job_id = split_part(x, ',', 1)::bigint)", run_id, had->jobs),
		.changes = count_of(db, "select count(*)" TOLD "exists (select from qbench.job where " OF_RUN
				    "  and job_id = split_part(x, ',', 1)::bigint and job_id || ',' || state || ',' || attempt <> x)",
				    run_id, had->jobs),
		.outcomes = count_of(db, "select count(*)" TOLD "not exists (select from qbench.outcome where " OF_RUN
				     "  and job_id = x::bigint)", run_id, had->outcomes),
		.events = (uint64_t)(had->events - has.events),
	};

	rows_free(&has);
	return l;
}

static inline void same_loss(const struct qb_loss *reported, const struct qb_loss *real)
{
	ck_assert_uint_eq(reported->accepted, real->accepted);
	ck_assert_uint_eq(reported->changes, real->changes);
	ck_assert_uint_eq(reported->outcomes, real->outcomes);
	ck_assert_uint_eq(reported->events, real->events);
	ck_assert_uint_eq(reported->gone, real->gone);
}

/* ---- a run on the pair ---- */

/* A run of its own on the pair, with that many replicas and no syncer yet. */
static inline void run_open(struct world *w, struct pair *p, const char *name, uint32_t replicas)
{
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };

	world_config(&cfg);
	cfg.replicas = replicas;
	cfg.event_count = 1 << 16;
	world_open_cfg(w, p->conninfo, name, &cfg);
	ck_ok(qb_schema_cluster_id(w->db, &w->seg.hdr->cluster_id, &err), err);
}

/* Everything is durable on the primary, and nothing is under way: its rows are what was acknowledged. */
static inline int is_settled(const struct world *w)
{
	if (qb_hint_next(w->seg.dirty_map, 0, w->seg.cfg.job_count) != QB_HINT_NONE)
		return 0;
	for (uint32_t i = 0; i < w->seg.cfg.job_count; i++) {
		const struct qb_job_shm *job = &w->seg.jobs[i];
		uint64_t word = qb_load_acquire64(&job->word), sync = qb_load_acquire64(&job->sync);

		if (qb_job_is_dirty(job, word) &&
		    !(w->seg.cfg.replicas && qb_sync_gen(sync) == qb_word_gen(word) && qb_sync_stage_of(sync) == QB_SYNC_ENDED))
			return 0;
	}
	struct qb_event_ring_shm *ring = qb_seg_event_ring(&w->seg, w->worker);
	uint64_t next = qb_load_acquire64(&ring->reader[QB_READER_SYNC].next);
	uint64_t known = qb_load_acquire64(&ring->reader[QB_READER_SYNC].known);

	return (known > next ? known : next) == w->worker_log.tail;
}

/* Jobs of every kind: untouched, done, waiting, failed for good, ambiguous. */
static inline void some_of_each(struct world *w, struct qb_rng *rng)
{
	unsigned count = 30 + (unsigned)qb_rng_below(rng, 60);

	for (unsigned i = 0; i < count; i++) {
		submit_one(w);
		if (qb_rng_below(rng, 4) == 0)
			continue;
		struct qb_held held = start_one(w);

		switch (qb_rng_below(rng, 6)) {
		case 0:
			fail_job(w, &held, 0, qb_now_ns() + 3600 * QB_NS_PER_S);
			break;
		case 1:
			fail_job(w, &held, 1, 0);
			break;
		case 2:
			fail_job(w, &held, 0, 0);
			break;
		default:
			complete(w, &held);
		}
	}
}

/* The ones that wait for an hour, at once. */
static inline void end_of_the_wait(struct world *w)
{
	qb_store_relaxed64(&w->seg.hdr->next_due_ns, 0);
	qb_job_promote_due(&w->seg, UINT64_MAX - 1);
	work_off(w);
}

/* Nothing is left to run. */
static inline void all_there_once(struct world *w)
{
	work_off(w);
	end_of_the_wait(w);
	ck_assert_uint_eq(qb_ring_depth(&w->seg, QB_RING_NORMAL) + qb_ring_depth(&w->seg, QB_RING_URGENT), 0);
}

static inline void at_new_primary(struct world *w, const struct pair *p)
{
	PQfinish(w->db);
	w->db = sql_connect(qb_cluster_conninfo(p->primary));
}

/* Started by a worker that dies: nobody knows, and each says so. */
static inline void leave_ambiguous(struct world *w, struct qb_held *ref)
{
	uint32_t worker = sit(&w->seg, QB_ROLE_WORKER);
	struct qb_recovery r;
	struct qb_held held;

	submit(w, "a", 1, QB_EFFECT_OPAQUE);
	do {
		ck_assert_int_eq(qb_job_claim(&w->seg, worker, &held), QB_OK);
		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
		if (w->seg.jobs[held.slot_idx].effect_class == QB_EFFECT_OPAQUE)
			break;
		uint64_t result = w->seg.jobs[held.slot_idx].job_id;

		ck_assert_int_eq(qb_job_complete(&w->seg, worker, &held, &result, sizeof(result)), 0);
	} while (1);
	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, worker, NULL, NULL), 0);
	qb_recovery_close(&r);
	ref->slot_idx = held.slot_idx;
	ref->word = qb_load_acquire64(&w->seg.jobs[held.slot_idx].word);
	ck_assert_uint_eq(state_of(w, ref), QB_JOB_AMBIGUOUS);
}

#endif
