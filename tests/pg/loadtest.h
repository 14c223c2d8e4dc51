/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small engine under load on a server of its own: one process submits, runs, fails and retries jobs, one is the
 * syncer; the test breaks the server meanwhile.
 */
#ifndef QB_TESTS_PG_LOADTEST_H
#define QB_TESTS_PG_LOADTEST_H

#include <sys/mman.h>

#include "tests/pg/synctest.h"

/* What the load and the test share. */
struct load_shm {
	struct world w;                 /* the load's: its jobs and its writer */
	qb_au32 pause, paused;          /* the load finishes what there is, and waits */
	uint64_t refused;               /* times that the table was full */
};

struct load {
	struct world w;                 /* the test's */
	struct load_shm *shm;
	struct qb_cluster *server;
	pid_t worker, syncer;
};

/*
 * A statement that takes long, and uses the processor all the time: a backend that sleeps ends with its
 * postmaster.  checks: does it look whether its client is still there?
 */
static const char hold_sql[] =
	"create table public.hold (seconds float8 not null, checks boolean not null);"
	"insert into public.hold values (0, true);"
	"create function public.hold() returns trigger language plpgsql as $$"
	" declare h public.hold; until timestamptz; begin"
	"  select * into h from public.hold;"
	"  if h.seconds > 0 then"
	"   if not h.checks then perform set_config('client_connection_check_interval', '0', false); end if;"
	"   until := clock_timestamp() + h.seconds * interval '1 second';"
	"   while clock_timestamp() < until loop null; end loop;"
	"  end if; return null;"
	" end $$;"
	"create trigger hold after insert on qbench.outcome for each statement execute function public.hold();"
	"create index on public.audit (run_no, what);";

/* ---- the load ---- */

static inline void load_turn(struct load_shm *m)
{
	struct world *w = &m->w;
	struct qb_submit what = { .max_attempts = 3, .payload = "load", .payload_bytes = 4 };
	struct qb_held held;

	for (int i = 0; i < 4 && !qb_load_relaxed32(&m->pause); i++) {
		what.job_id = w->next_id;
		if (qb_job_submit(&w->seg, w->driver, &what, &held) != QB_OK) {
			m->refused++;
			break;
		}
		__atomic_store_n(&w->next_id, w->next_id + 1, __ATOMIC_RELAXED);
	}
	qb_job_promote_due(&w->seg, qb_now_ns());
	/* Records of a server that is away fill the ring, and the worker waits. */
	while (qb_event_room(&w->worker_log) > 0 && qb_job_claim(&w->seg, w->worker, &held) == QB_OK) {
		int final;

		if (qb_job_start(&w->seg, &held) < 0)
			_exit(4);
		note_started(w, &held);
		uint64_t id = w->seg.jobs[held.slot_idx].job_id;
		int rc = id % 7 == 0 && qb_word_failures(held.word) == 0 ?
			qb_job_fail(&w->seg, w->worker, &held, 0, qb_now_ns() + 2 * QB_NS_PER_MS, &final) :
			qb_job_complete(&w->seg, w->worker, &held, &id, sizeof(id));

		if (rc < 0)
			_exit(4);
	}
}

static inline int load_is_idle(struct load_shm *m)
{
	for (uint32_t i = 0; i < m->w.seg.cfg.job_count; i++) {
		uint32_t state = qb_word_state(qb_load_acquire64(&m->w.seg.jobs[i].word));

		if (state != QB_JOB_FREE && state != QB_JOB_DONE && state != QB_JOB_SYNCED)
			return 0;
	}
	return 1;
}

static inline pid_t load_start(struct load_shm *m)
{
	pid_t test = getpid(), pid = fork();

	if (pid != 0) {
		ck_assert_int_gt(pid, 0);
		return pid;
	}
	qb_proc_die_with(test, SIGKILL);
	for (;;) {
		load_turn(m);
		qb_store_relaxed32(&m->paused, qb_load_relaxed32(&m->pause) && load_is_idle(m));
		qb_sleep_ns(QB_NS_PER_MS);
	}
}

/* ---- the test's side ---- */

static inline uint64_t load_jobs(const struct load *l)
{
	return __atomic_load_n(&l->shm->w.next_id, __ATOMIC_RELAXED);
}

static inline int load_lives(const struct load *l)
{
	int status;

	ck_assert_msg(waitpid(l->worker, &status, WNOHANG) == 0, "the load ended");
	ck_assert_msg(waitpid(l->syncer, &status, WNOHANG) == 0, "the syncer ended");
	return 1;
}

/* So many more jobs are durable. */
static inline void load_moves(const struct load *l, uint64_t jobs)
{
	uint64_t from = qb_load_relaxed64(&l->w.seg.hdr->mark_final);

	ck_until(load_lives(l) && qb_load_relaxed64(&l->w.seg.hdr->mark_final) >= from + jobs, 60);
}

static inline pid_t backend_of(const struct load *l)
{
	ck_until(load_lives(l) && qb_load_relaxed32(&l->w.seg.hdr->mark_connected), 60);
	return (pid_t)qb_load_relaxed32(&l->w.seg.seats[l->w.syncer].backend_pid);
}

/* The test's own connection, anew, as soon as the server lets it in. */
static inline void look_again(struct load *l)
{
	struct qb_err err = { 0 };

	PQfinish(l->w.db);
	l->w.db = NULL;
	ck_until(qb_pg_connect(l->w.conninfo, "test", CONNECT_NS, &l->w.db, &err) == 0, 60);
}

static inline void load_new_syncer(struct load *l)
{
	recover_syncer(&l->w);
	l->syncer = fork_syncer(&l->w);
}

/* The next batch takes that long; the backend in the middle of it. */
static inline pid_t make_busy(struct load *l, const char *seconds)
{
	char *text = qb_xasprintf("update public.hold set seconds = %s", seconds);
	pid_t pid = backend_of(l);

	sql(l->w.db, text);
	free(text);
	text = qb_xasprintf("select count(*) from pg_stat_activity where pid = %d and state = 'active' and"
			    " now() - query_start > interval '50 ms' and wait_event is null", (int)pid);
	ck_until(load_lives(l) && pgtest_i64(l->w.db, text) == 1, 60);
	free(text);
	return pid;
}

static inline void not_busy(struct load *l)
{
	sql(l->w.db, "update public.hold set seconds = 0, checks = true");
}

/* The load pauses, the syncer drains, both sides are compared; the load goes on. */
static inline void load_drains(struct load *l)
{
	struct load_shm *m = l->shm;

	qb_store_relaxed32(&m->pause, 1);
	ck_until(load_lives(l) && qb_load_relaxed32(&m->paused), 60);
	l->w.next_id = m->w.next_id;
	l->w.worker_log = m->w.worker_log;
	ck_until(load_lives(l) && live_rows(&l->w) == 0 && outcome_rows(&l->w) == (int64_t)l->w.next_id - 1, 60);
	/* The syncer frees the slots just after the commit. */
	ck_until(qb_load_relaxed64(&l->w.seg.hdr->mark_final) == l->w.next_id - 1, 60);
	ck_until(sql_number(&l->w, "select count(*) from qbench.event where seat = $2 and " OF_RUN, l->w.worker) ==
		 (int64_t)l->w.worker_log.tail, 60);
	everything_once(&l->w);
	qb_store_relaxed32(&m->paused, 0);
	qb_store_relaxed32(&m->pause, 0);
}

/* config NULL: a durable server, but for the death of the host. */
static inline void load_open(struct load *l, const struct qb_cluster_config *config)
{
	static const char *const settings[] = { "fsync = off", NULL };
	struct qb_cluster_config usual = { .base_dir = pgtest_base, .settings = settings };
	struct qb_err err = { 0 };

	memset(l, 0, sizeof(*l));
	ck_ok(qb_cluster_start(config ? config : &usual, &l->server, &err), err);
	install_watched(qb_cluster_conninfo(l->server));
	world_open_cfg(&l->w, qb_cluster_conninfo(l->server), "load", NULL);
	sql(l->w.db, hold_sql);
	l->shm = mmap(NULL, sizeof(*l->shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(l->shm, MAP_FAILED);
	l->shm->w = l->w;
	l->syncer = fork_syncer(&l->w);
	l->worker = load_start(l->shm);
}

static inline void load_close(struct load *l)
{
	struct qb_err err = { 0 };

	qb_store_relaxed32(&l->shm->pause, 1);
	ck_until(load_lives(l) && qb_load_relaxed32(&l->shm->paused), 60);
	l->w.next_id = l->shm->w.next_id;
	l->w.worker_log = l->shm->w.worker_log;
	kill(l->worker, SIGKILL);
	ck_assert_int_eq(reap(l->worker, 10), 128 + SIGKILL);
	finish_syncer(&l->w, l->syncer);
	everything_once(&l->w);
	world_close(&l->w);
	munmap(l->shm, sizeof(*l->shm));
	ck_ok(qb_cluster_destroy(l->server, NULL, &err), err);
}

#endif
