/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small engine in one test process: a segment, seats for a submitter, a worker and a syncer, and
 * the tables of the server, watched by triggers.
 *
 * One server serves all cases of a program, started before them; a case has a run of its own, so
 * none sees another's rows.  public.audit has a line for every row that was inserted into, changed
 * in or deleted from a table: "never a live row" and "once" cannot be seen in the tables alone.
 */
#ifndef QB_TESTS_PG_SYNCTEST_H
#define QB_TESTS_PG_SYNCTEST_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/proc.h"
#include "base/rng.h"
#include "pg/conn.h"
#include "shm/event.h"
#include "shm/fault.h"
#include "shm/job.h"
#include "shm/recovery.h"
#include "shm/ring.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "sync/batch.h"
#include "sync/schema.h"
#include "sync/syncer.h"
#include "tests/pg/pgtest.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

struct world {
	struct qb_seg seg;
	char run_id[64];
	const char *conninfo;
	PGconn *db;                     /* the test's own eyes */
	uint32_t driver, worker, syncer;        /* seats */
	struct qb_event_writer worker_log, log; /* log: the syncer's */
	struct qb_syncer *s;            /* in this process; NULL when it is forked */
	uint64_t next_id;               /* job ids 1..next_id-1 are submitted */
};

/* ---- SQL for the test itself ---- */

static inline void sql(PGconn *db, const char *text)
{
	struct qb_err err = { 0 };

	ck_ok(qb_pg_exec(db, text, &err), err);
}

static inline PGconn *sql_connect(const char *conninfo)
{
	struct qb_err err = { 0 };
	PGconn *db;

	ck_ok(qb_pg_connect(conninfo, "test", CONNECT_NS, &db, &err), err);
	return db;
}

/* A number; $1 is the run's name, and must be used, $2 (a bigint) may be. */
static inline int64_t sql_number(const struct world *w, const char *text, int64_t arg)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_INT8 };
	uint64_t be = htobe64((uint64_t)arg);
	const char *values[] = { w->run_id, (const char *)&be };
	const int lengths[] = { 0, 8 }, formats[] = { 0, 1 };
	struct qb_err err = { 0 };
	PGresult *res;
	int64_t n = 0;

	ck_ok(qb_pg_query(w->db, text, strstr(text, "$2") ? 2 : 1, oids, values, lengths, formats, 1, &res, &err), err);
	ck_assert_msg(PQntuples(res) == 1 && qb_pg_get_i64(res, 0, 0, &n) == 0, "%d rows, or no bigint: %s",
		      PQntuples(res), text);
	PQclear(res);
	return n;
}

#define OF_RUN "run_no = (select r.run_no from qbench.run r where r.run_id = $1)"

static inline int64_t live_rows(const struct world *w)
{
	return sql_number(w, "select count(*) from qbench.job where " OF_RUN, 0);
}

static inline int64_t outcome_rows(const struct world *w)
{
	return sql_number(w, "select count(*) from qbench.outcome where " OF_RUN, 0);
}

static inline int64_t event_rows(const struct world *w)
{
	return sql_number(w, "select count(*) from qbench.event where " OF_RUN, 0);
}

/* Every change that was ever made for the run. */
static inline int64_t audit_lines(const struct world *w)
{
	return sql_number(w, "select count(*) from public.audit where " OF_RUN, 0);
}

static inline int64_t job_inserts(const struct world *w)
{
	return sql_number(w, "select count(*) from public.audit where what = 'job INSERT' and " OF_RUN, 0);
}

/* One column of one row of that job; -1 when there is none (or it is NULL). */
#define JOB_FIELD(w, table, field, job_id) \
	sql_number(w, "select coalesce((select (" field ")::bigint from qbench." table " where " OF_RUN \
		   " and job_id = $2), -1)", (int64_t)(job_id))

/*
 * A delay inside the statement: inserting an outcome of a job that public.slow names takes that long. The
 * statement is then in the middle for everybody to see, and to cut.
 */
static const char watch_sql[] =
	"create table public.audit (run_no bigint, job_id bigint, what text);"
	"create table public.slow (run_id text, job_id bigint, seconds float8, fails boolean default false);"
	"create function public.watch() returns trigger language plpgsql as $$"
	" begin"
	"  if tg_op = 'DELETE' then"
	"   insert into public.audit values (old.run_no, old.job_id, tg_table_name || ' DELETE'); return old;"
	"  end if;"
	"  insert into public.audit values (new.run_no, new.job_id, tg_table_name || ' ' || tg_op);"
	"  if tg_table_name = 'outcome' then"
	"   perform pg_sleep(s.seconds) from public.slow s join qbench.run r using (run_id)"
	"    where r.run_no = new.run_no and s.job_id = new.job_id;"
	"   if exists (select from public.slow s join qbench.run r using (run_id)"
	"    where r.run_no = new.run_no and s.job_id = new.job_id and s.fails) then raise 'not this one'; end if;"
	"  end if;"
	"  return new;"
	" end $$;"
	"create trigger watch after insert or update or delete on qbench.job for each row execute function public.watch();"
	"create trigger watch after insert or update or delete on qbench.outcome for each row"
	" execute function public.watch();";

static inline void install_watched(const char *conninfo)
{
	PGconn *db = sql_connect(conninfo);
	struct qb_err err = { 0 };

	ck_ok(qb_schema_install(db, &err), err);
	sql(db, watch_sql);
	PQfinish(db);
}

/* ---- the engine ---- */

static inline void world_config(struct qb_config_shm *cfg)
{
	qb_config_default(cfg);
	cfg->job_count = 4096;
	cfg->ring_count = 8192;
	cfg->block_count = 16384;
	cfg->seat_count = 16;
	cfg->arena_bytes = 1 << 20;
	cfg->effect_count = 8192;
	cfg->readers = 1u << QB_READER_SYNC;
	cfg->max_claims = 3;
}

static inline uint32_t sit(const struct qb_seg *seg, uint32_t role)
{
	int seat = qb_seat_take(seg, role);

	ck_assert_int_gt(seat, 0);
	return (uint32_t)seat;
}

/* name is the case's own: its run. cfg NULL: world_config(). No syncer yet. */
static inline void world_open_cfg(struct world *w, const char *conninfo, const char *name,
				  const struct qb_config_shm *cfg)
{
	struct qb_config_shm usual;
	struct qb_err err = { 0 };
	int64_t run_no;

	memset(w, 0, sizeof(*w));
	world_config(&usual);
	ck_assert_int_eq(qb_seg_create_anonymous(cfg ? cfg : &usual, &w->seg), 0);
	snprintf(w->run_id, sizeof(w->run_id), "%s", name);
	snprintf(w->seg.hdr->run_id, sizeof(w->seg.hdr->run_id), "%s", name);
	w->conninfo = conninfo;
	w->db = sql_connect(conninfo);
	ck_ok(qb_schema_run(w->db, name, &run_no, &err), err);
	w->driver = sit(&w->seg, QB_ROLE_DRIVER);
	w->worker = sit(&w->seg, QB_ROLE_WORKER);
	w->syncer = sit(&w->seg, QB_ROLE_SYNCER);
	qb_event_open(&w->worker_log, &w->seg, w->worker, QB_OVERFLOW_WAIT);
	w->next_id = 1;
}

/* And a connected syncer in this process. */
static inline void world_open(struct world *w, const char *conninfo, const char *name)
{
	struct qb_err err = { 0 };

	world_open_cfg(w, conninfo, name, NULL);
	qb_event_open(&w->log, &w->seg, w->syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w->seg, w->syncer, w->conninfo, &w->log, &w->s), 0);
	ck_ok(qb_syncer_connect(w->s, &err), err);
}

static inline void world_close(struct world *w)
{
	qb_syncer_close(w->s);
	PQfinish(w->db);
	qb_seg_detach(&w->seg);
}

static inline struct qb_held submit(struct world *w, const void *payload, uint32_t bytes, uint16_t effect)
{
	struct qb_submit what = {
		.job_id = w->next_id, .submitted_raw = qb_stamp(), .work_us = 1234, .tenant = 77, .kind = 3,
		.error_class = 2, .max_attempts = 3, .effect_class = effect, .payload = payload, .payload_bytes = bytes,
	};
	struct qb_held ref;

	ck_assert_int_eq(qb_job_submit(&w->seg, w->driver, &what, &ref), QB_OK);
	w->next_id++;
	return ref;
}

static inline struct qb_held submit_one(struct world *w)
{
	return submit(w, "p", 1, QB_EFFECT_IDEMPOTENT);
}

static inline void note_started(struct world *w, const struct qb_held *held)
{
	struct qb_event_shm *e = qb_event_begin(&w->worker_log);

	e->job_id = w->seg.jobs[held->slot_idx].job_id;
	e->token = held->word;
	e->arg0 = 11;
	e->arg1 = UINT64_MAX;
	e->slot_idx = held->slot_idx;
	e->tenant = 77;
	e->type = QB_EV_JOB_STARTED;
	e->kind = 3;
	e->error_class = 2;
	e->attempt = (uint16_t)qb_word_attempt(held->word);
	qb_event_commit(&w->worker_log, e);
}

/* The worker takes the oldest job and starts it. */
static inline struct qb_held start_one(struct world *w)
{
	struct qb_held held;

	ck_assert_int_eq(qb_job_claim(&w->seg, w->worker, &held), QB_OK);
	ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
	note_started(w, &held);
	return held;
}

static inline void complete(struct world *w, struct qb_held *held)
{
	uint64_t result = w->seg.jobs[held->slot_idx].job_id;

	qb_effect_bump(&w->seg, result);
	ck_assert_int_eq(qb_job_complete(&w->seg, w->worker, held, &result, sizeof(result)), 0);
}

static inline int fail_job(struct world *w, struct qb_held *held, int permanent, uint64_t due_ns)
{
	int final = -1;

	ck_assert_int_eq(qb_job_fail(&w->seg, w->worker, held, permanent, due_ns, &final), 0);
	return final;
}

static inline void work_off(struct world *w)
{
	struct qb_held held;

	while (qb_job_claim(&w->seg, w->worker, &held) == QB_OK) {
		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
		note_started(w, &held);
		complete(w, &held);
	}
}

static inline uint32_t state_of(const struct world *w, const struct qb_held *ref)
{
	return qb_word_state(qb_load_acquire64(&w->seg.jobs[ref->slot_idx].word));
}

/* One batch, which must commit; its rows. */
static inline int step(struct world *w)
{
	struct qb_err err = { 0 };
	int rows = qb_syncer_step(w->s, 1, &err);

	ck_ok(rows, err);
	return rows;
}

static inline void drain(struct world *w)
{
	for (unsigned i = 0; step(w) > 0; i++)
		ck_assert_uint_lt(i, 10000);
	ck_assert_int_ne(qb_syncer_is_clean(w->s), 0);
}

/* ---- a syncer process, as the parent starts it ---- */

static inline pid_t fork_syncer(struct world *w)
{
	pid_t pid = fork();

	if (pid != 0) {
		ck_assert_int_gt(pid, 0);
		return pid;
	}
	qb_event_open(&w->log, &w->seg, w->syncer, QB_OVERFLOW_DROP);
	if (qb_syncer_open(&w->seg, w->syncer, w->conninfo, &w->log, &w->s) < 0)
		_exit(3);
#ifdef QB_FAULT_POINTS
	qb_fault_arm_from_env();
#endif
	int rc = qb_syncer_main(w->s);

	_exit(rc == 0 ? 0 : rc == QB_EPG ? 2 : rc == QB_EFENCED ? 4 : 5);
}

/* Its exit status, or 128 + the signal. It must end within that many seconds. */
static inline int reap(pid_t pid, unsigned seconds)
{
	uint64_t ticks = qb_proc_start_ticks(pid);
	int fd = qb_pidfd_open(pid, ticks), status = 0;

	ck_assert_int_ge(fd, 0);
	int dead = qb_pidfd_wait(fd, seconds * QB_NS_PER_S);

	close(fd);
	if (dead != 1)
		kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(dead == 1, "process %d did not end within %u s", (int)pid, seconds);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What the parent does after its death: decide its seat, sit a new one down. */
static inline void recover_syncer(struct world *w)
{
	struct qb_recovery r;

	ck_assert_int_eq(qb_recovery_open(&r, &w->seg), 0);
	ck_assert_int_eq(qb_recover_seat(&r, w->syncer, NULL, NULL), 0);
	qb_recovery_close(&r);
	w->syncer = sit(&w->seg, QB_ROLE_SYNCER);
}

/* Everything that is finished is durable, and the syncer has left by itself. */
static inline void finish_syncer(struct world *w, pid_t pid)
{
	qb_raise_stop(&w->seg, QB_STOP_FINISH);
	ck_assert_int_eq(reap(pid, 30), 0);
}

/*
 * All jobs of the run were completed: one outcome each, none live, each inserted once, and every record of the
 * worker once.
 */
static inline void everything_once(struct world *w)
{
	int64_t jobs = (int64_t)w->next_id - 1;

	ck_assert_int_eq(live_rows(w), 0);
	ck_assert_int_eq(outcome_rows(w), jobs);
	ck_assert_int_eq(sql_number(w, "select count(*) from public.audit where what = 'outcome INSERT' and " OF_RUN, 0), jobs);
	ck_assert_int_eq(sql_number(w, "select count(*) from public.audit where what = 'outcome UPDATE' and " OF_RUN, 0), 0);
	ck_assert_int_eq(sql_number(w, "select count(*) from (select 1 from public.audit where what = 'job INSERT' and "
				    OF_RUN " group by job_id having count(*) > 1) x", 0), 0);
	ck_assert_int_eq(sql_number(w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, w->worker),
			 (int64_t)w->worker_log.tail);
	for (uint32_t i = 0; i < w->seg.cfg.job_count; i++)
		ck_assert_int_eq(qb_word_state(qb_load_acquire64(&w->seg.jobs[i].word)), QB_JOB_FREE);
}

/* ---- one server for all cases ---- */

static struct qb_cluster *shared;

static inline void shared_start(void)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base, .not_durable = true };
	struct qb_err err = { 0 };

	if (qb_cluster_start(&config, &shared, &err) < 0) {
		fprintf(stderr, "no server: %s\n", err.text);
		exit(EXIT_FAILURE);
	}
	install_watched(qb_cluster_conninfo(shared));
}

/* One bytea of that job of the run, compared by us and not by the server; $1 is the run, $2 the job. */
static inline void bytes_are(const struct world *w, const char *text, uint64_t job_id, const void *want, size_t want_bytes)
{
	const Oid oids[] = { QB_PG_TEXT, QB_PG_INT8 };
	uint64_t be = htobe64(job_id);
	const char *values[] = { w->run_id, (const char *)&be };
	const int lengths[] = { 0, 8 }, formats[] = { 0, 1 };
	struct qb_err err = { 0 };
	const void *got;
	PGresult *res;
	size_t bytes;

	ck_ok(qb_pg_query(w->db, text, 2, oids, values, lengths, formats, 1, &res, &err), err);
	ck_assert_int_eq(PQntuples(res), 1);
	ck_assert_int_eq(qb_pg_get_bytea(res, 0, 0, &got, &bytes), 0);
	ck_assert_uint_eq(bytes, want_bytes);
	ck_assert_int_eq(memcmp(got, want, bytes), 0);
	PQclear(res);
}

static inline void shared_stop(void)
{
	qb_cluster_destroy(shared, NULL, NULL);
	shared = NULL;
}

#define HERE qb_cluster_conninfo(shared)

#ifdef QB_FAULT_POINTS
/* The idx-th fault point of this program whose name begins with one of these (NULL behind the last), or NULL. */
static inline const char *point_of(const char *const *prefixes, int idx)
{
	const char *name;

	for (unsigned i = 0; (name = qb_fault_name(i)); i++) {
		for (const char *const *p = prefixes; *p; p++) {
			if (strncmp(name, *p, strlen(*p)) == 0 && idx-- == 0)
				return name;
		}
	}
	return NULL;
}

static inline int points_of(const char *const *prefixes)
{
	int n = 0;

	while (point_of(prefixes, n))
		n++;
	return n;
}
#endif

#endif
