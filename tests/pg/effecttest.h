/* SPDX-License-Identifier: Apache-2.0 */
/* Transactional jobs in a small engine (synctest.h), with a ledger that can refuse an effect or stand still in its commit. */
#ifndef QB_TESTS_PG_EFFECTTEST_H
#define QB_TESTS_PG_EFFECTTEST_H

#include "sync/effect.h"
#include "tests/pg/synctest.h"

#define RESULT "what it was for"

/* A worker's connection, which the test holds in its own hand. */
struct hand {
	PGconn *conn;
	struct qb_attempt a;
	void *stored;
	uint32_t stored_bytes;
};

static inline void hand_open(struct hand *h, const struct world *w, uint64_t job_id, uint32_t attempt)
{
	struct qb_err err = { 0 };

	memset(h, 0, sizeof(*h));
	h->conn = sql_connect(w->conninfo);
	ck_ok(qb_effect_prepare(h->conn, &err), err);
	ck_ok(qb_schema_run(h->conn, w->run_id, &h->a.run_no, &err), err);
	h->a.job_id = job_id;
	h->a.attempt = attempt;
	h->a.seat = 5;
}

static inline void hand_close(struct hand *h)
{
	free(h->stored);
	PQfinish(h->conn);
}

static inline int make(struct hand *h, const void *result, uint32_t bytes)
{
	struct qb_err err = { 0 };

	free(h->stored);
	h->stored = NULL;
	return qb_effect_make(h->conn, &h->a, result, bytes, &h->stored, &h->stored_bytes, &err);
}

/* As far as before the commit, or as the test says: "commit", "rollback". */
static inline void mark_only(struct hand *h, const char *result)
{
	char *text = qb_xasprintf("begin; insert into qbench.effect (run_no, job_id, fence, done_attempt, result) values"
				  " (%lld, %llu, 0, %u, '%s');"
				  " insert into qbench.ledger (run_no, job_id, attempt, seat) values (%lld, %llu, %u, 5)",
				  (long long)h->a.run_no, (unsigned long long)h->a.job_id, h->a.attempt, result,
				  (long long)h->a.run_no, (unsigned long long)h->a.job_id, h->a.attempt);

	sql(h->conn, text);
	free(text);
}

static inline int64_t effects_of(const struct world *w, uint64_t job_id)
{
	return sql_number(w, "select count(*) from qbench.ledger where job_id = $2 and " OF_RUN, (int64_t)job_id);
}

static inline int64_t fence_of(const struct world *w, uint64_t job_id)
{
	return JOB_FIELD(w, "effect", "fence", job_id);
}

/* That many transactional jobs, started by a worker that is dead then: all in doubt. */
static inline void leave_in_doubt(struct world *w, unsigned count)
{
	struct qb_recovery r;
	struct qb_held held;

	for (unsigned i = 0; i < count; i++)
		submit(w, "p", 1, QB_EFFECT_TRANSACTIONAL);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_int_eq(qb_job_claim(&w->seg, w->worker, &held), QB_OK);
		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
	}
	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w->worker, NULL, NULL), 0);
	ck_assert_uint_eq(r.verdicts[QB_VERDICT_IN_DOUBT], count);
	qb_recovery_close(&r);
	w->worker = sit(&w->seg, QB_ROLE_WORKER);
	qb_event_open(&w->worker_log, &w->seg, w->worker, QB_OVERFLOW_WAIT);
}

static inline uint32_t slot_of(const struct world *w, uint64_t job_id)
{
	for (uint32_t i = 0; i < w->seg.cfg.job_count; i++)
		if (w->seg.jobs[i].job_id == job_id && qb_word_state(qb_load_acquire64(&w->seg.jobs[i].word)) != QB_JOB_FREE)
			return i;
	return QB_NO_BLOCK;
}

static inline uint32_t state_now(const struct world *w, uint64_t job_id)
{
	uint32_t slot = slot_of(w, job_id);

	return slot == QB_NO_BLOCK ? QB_JOB_FREE : qb_word_state(qb_load_acquire64(&w->seg.jobs[slot].word));
}

static inline int is_waiting(const struct world *w, int64_t backend)
{
	return sql_number(w, "select count(*) from pg_stat_activity where pid = $2 and wait_event_type = 'Lock' and $1 <> ''",
			  backend) == 1;
}

/*
 * The ledger: an effect that public.slow names is refused, or its COMMIT waits until the name is gone, so that it can
 * be met in the middle.  public.commits says how each transaction was going to commit.
 */
static const char slow_commits_sql[] =
	"create table public.commits (run_no bigint, setting text);"
	"create function public.watch_effect() returns trigger language plpgsql as $$"
	" begin"
	"  if exists (select from public.slow s join qbench.run r using (run_id)"
	"   where r.run_no = new.run_no and s.job_id = new.job_id and s.fails) then raise 'not this one'; end if;"
	"  return new;"
	" end $$;"
	"create function public.watch_commit() returns trigger language plpgsql as $$"
	" begin"
	"  insert into public.commits values (new.run_no, current_setting('synchronous_commit'));"
	/* And the server does not look after its client meanwhile, so that the commit outlives it. */
	"  perform set_config(name, '0', true) from pg_settings where name = 'client_connection_check_interval';"
	"  while exists (select from public.slow s join qbench.run r using (run_id)"
	"   where r.run_no = new.run_no and s.job_id = new.job_id) loop perform pg_sleep(0.002); end loop;"
	"  return null;"
	" end $$;"
	"create trigger watch before insert on qbench.ledger for each row execute function public.watch_effect();"
	"create constraint trigger watch_commit after insert on qbench.ledger initially deferred for each row"
	" execute function public.watch_commit();";

static inline void server_start(void)
{
	shared_start();
	PGconn *db = sql_connect(HERE);

	sql(db, slow_commits_sql);
	PQfinish(db);
}

#endif
