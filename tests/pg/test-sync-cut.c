/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syncer when something is cut: its connection before, in and after a commit, its process, the
 * server.  After each: nothing lost, nothing twice.
 */
#include <pthread.h>

#include "tests/pg/synctest.h"

char *pgtest_base;

/* That job's outcome takes so long to insert that the statement can be met in the middle. */
static void slow_down(const struct world *w, uint64_t job_id, const char *seconds)
{
	char *text = qb_xasprintf("insert into public.slow values ('%s', %llu, %s)", w->run_id,
				  (unsigned long long)job_id, seconds);

	sql(w->db, text);
	free(text);
}

static int64_t backend_of(const struct world *w)
{
	return qb_load_relaxed32(&w->seg.seats[w->syncer].backend_pid);
}

static int sleeping_in_batch(PGconn *db, int64_t backend_pid)
{
	struct qb_err err = { 0 };
	int64_t n = 0;
	char *text = qb_xasprintf("select count(*) from pg_stat_activity where pid = %lld and wait_event = 'PgSleep'",
				  (long long)backend_pid);
	int rc = qb_pg_query_i64(db, text, &n, &err);

	free(text);
	return rc == 0 && n == 1;
}

static void terminate(PGconn *db, int64_t backend_pid)
{
	struct qb_err err = { 0 };
	char *text = qb_xasprintf("select pg_terminate_backend(%lld)", (long long)backend_pid);

	ck_ok(qb_pg_exec(db, text, &err), err);
	free(text);
}

/* ---- cut in mid-flight, by a thread that watches the statement ---- */

struct cutter {
	struct world *w;
	PGconn *db;
	int64_t backend;
	int answer_only;        /* the statement goes on; only its answer cannot reach us */
	int was_there;
	pthread_t thread;
};

/* The connected Unix sockets of this process that are not the test's own. */
static int syncer_socket(const struct cutter *c)
{
	for (int fd = 3; fd < 256; fd++) {
		struct sockaddr_storage peer;
		socklen_t bytes = sizeof(peer);

		if (fd != PQsocket(c->db) && fd != PQsocket(c->w->db) &&
		    getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 && peer.ss_family == AF_UNIX)
			return fd;
	}
	return -1;
}

static void *cut(void *opaque)
{
	struct cutter *c = opaque;
	uint64_t until_ns = qb_now_ns() + 10 * QB_NS_PER_S;

	while (!(c->was_there = sleeping_in_batch(c->db, c->backend)) && qb_now_ns() < until_ns)
		qb_sleep_ns(QB_NS_PER_MS);
	if (c->answer_only) {
		int fd = syncer_socket(c);

		/* Held open to the end of the case: a server that sees it closed may end the statement. */
		(void)!dup(fd);
		shutdown(fd, SHUT_RD);
	} else {
		terminate(c->db, c->backend);
	}
	return NULL;
}

static void cut_begin(struct cutter *c, struct world *w, int answer_only)
{
	*c = (struct cutter){ .w = w, .answer_only = answer_only, .backend = backend_of(w) };
	c->db = sql_connect(w->conninfo);
	ck_assert_int_eq(pthread_create(&c->thread, NULL, cut, c), 0);
}

static void cut_close(struct cutter *c)
{
	ck_assert_int_eq(pthread_join(c->thread, NULL), 0);
	ck_assert_msg(c->was_there, "nobody saw the statement in the middle");
	PQfinish(c->db);
}

/* Twenty jobs, half of them known to Postgres before, all done, the next batch slow. */
static void prepare(struct world *w, const char *name)
{
	world_open(w, HERE, name);
	for (int i = 0; i < 10; i++)
		submit_one(w);
	drain(w);
	for (int i = 0; i < 10; i++)
		submit_one(w);
	work_off(w);
	slow_down(w, 5, "0.15");
}

static void reconnect_and_finish(struct world *w)
{
	struct qb_err err = { 0 };

	sql(w->db, "delete from public.slow");
	ck_ok(qb_syncer_connect(w->s, &err), err);
	drain(w);
	everything_once(w);
	world_close(w);
}

START_TEST(backend_killed_between_batches)
{
	struct qb_err err = { 0 };
	struct world w;

	prepare(&w, "between");
	terminate(w.db, backend_of(&w));
	ck_assert_int_eq(qb_syncer_step(w.s, 1, &err), QB_EPG);
	ck_assert_uint_eq(qb_load_relaxed32(&w.seg.hdr->mark_connected), 0);
	ck_assert_int_eq(outcome_rows(&w), 0);
	reconnect_and_finish(&w);
}
END_TEST

START_TEST(backend_killed_in_the_middle_of_a_batch_leaves_nothing_of_it)
{
	struct qb_err err = { 0 };
	struct cutter c;
	struct world w;

	prepare(&w, "middle");
	cut_begin(&c, &w, 0);
	ck_assert_int_eq(qb_syncer_step(w.s, 1, &err), QB_EPG);
	cut_close(&c);
	ck_assert_int_eq(outcome_rows(&w), 0);
	ck_assert_int_eq(live_rows(&w), 10);
	reconnect_and_finish(&w);
}
END_TEST

START_TEST(batch_whose_answer_was_lost_is_not_applied_twice)
{
	struct qb_err err = { 0 };
	struct cutter c;
	struct world w;

	prepare(&w, "answer");
	cut_begin(&c, &w, 1);
	ck_assert_int_lt(qb_syncer_step(w.s, 1, &err), 0);
	cut_close(&c);
	/* It went on without us and committed. */
	ck_until(outcome_rows(&w) == 20, 5);
	ck_assert_int_eq(qb_syncer_is_clean(w.s), 0);
	ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_batch), 1);
	reconnect_and_finish(&w);
}
END_TEST

/* Before the lost batch is sent again, the jobs have moved on. */
START_TEST(news_after_a_lost_answer_win)
{
	struct qb_err err = { 0 };
	struct cutter c;
	struct world w;

	world_open(&w, HERE, "news");
	for (int i = 0; i < 3; i++)
		submit_one(&w);
	struct qb_held first = start_one(&w), second = start_one(&w);

	complete(&w, &first);
	slow_down(&w, 1, "0.15");
	cut_begin(&c, &w, 1);
	ck_assert_int_lt(qb_syncer_step(w.s, 1, &err), 0);
	cut_close(&c);
	ck_until(outcome_rows(&w) == 1, 5);
	/* 2 was stored as ready and is now waiting; 3 was stored as ready and is done. */
	ck_assert_int_eq(live_rows(&w), 2);
	fail_job(&w, &second, 0, qb_now_ns() + 60 * QB_NS_PER_S);
	first = start_one(&w);
	complete(&w, &first);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	drain(&w);
	ck_assert_int_eq(outcome_rows(&w), 2);
	ck_assert_int_eq(live_rows(&w), 1);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "state", 2), QB_JOB_WAITING);
	ck_assert_int_eq(JOB_FIELD(&w, "job", "failures", 2), 1);
	ck_assert_int_eq(job_inserts(&w), 2);
	world_close(&w);
}
END_TEST

/* ---- the fence ---- */

/* Another syncer of the same run, with a seat and records of its own. */
static struct qb_syncer *heir_of(const struct world *w)
{
	static struct qb_event_writer heir_log;
	uint32_t seat = sit(&w->seg, QB_ROLE_SYNCER);
	struct qb_syncer *heir;

	qb_event_open(&heir_log, &w->seg, seat, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w->seg, seat, w->conninfo, &heir_log, &heir), 0);
	return heir;
}

START_TEST(syncer_whose_epoch_was_taken_over_changes_nothing)
{
	struct qb_syncer *heir;
	struct qb_err err = { 0 };
	struct world w;

	prepare(&w, "fence");
	heir = heir_of(&w);
	ck_ok(qb_syncer_connect(heir, &err), err);

	int64_t changes = audit_lines(&w), events = event_rows(&w);

	ck_assert_int_eq(qb_syncer_step(w.s, 1, &err), QB_EFENCED);
	ck_assert_int_eq(audit_lines(&w), changes);
	ck_assert_int_eq(event_rows(&w), events);
	ck_assert_int_eq(sql_number(&w, "select epoch * 100 + batch from qbench.run where run_id = $1", 0), 201);
	/* What it had in hand is news again, for the heir. */
	qb_syncer_close(w.s);
	w.s = heir;
	sql(w.db, "delete from public.slow");
	drain(&w);
	everything_once(&w);
	world_close(&w);
}
END_TEST

START_TEST(fenced_syncer_process_leaves_and_takes_nothing_back)
{
	struct qb_syncer *heir;
	struct qb_err err = { 0 };
	struct world w;

	world_open_cfg(&w, HERE, "zombie", NULL);
	pid_t pid = fork_syncer(&w);

	ck_until(qb_load_relaxed32(&w.seg.hdr->mark_connected), 10);
	kill(pid, SIGSTOP);
	heir = heir_of(&w);
	ck_ok(qb_syncer_connect(heir, &err), err);
	submit_one(&w);
	kill(pid, SIGCONT);
	qb_wake_seat(&w.seg, w.syncer);
	ck_assert_int_eq(reap(pid, 10), 4);
	ck_assert_int_eq(sql_number(&w, "select epoch from qbench.run where run_id = $1", 0), 2);
	w.s = heir;
	drain(&w);
	ck_assert_int_eq(live_rows(&w), 1);
	world_close(&w);
}
END_TEST

struct first_step {
	struct world *w;
	int rc;
};

static void *first_step(void *opaque)
{
	struct first_step *f = opaque;
	struct qb_err err = { 0 };

	f->rc = qb_syncer_step(f->w->s, 1, &err);
	return NULL;
}

START_TEST(successor_waits_for_a_statement_that_is_still_running)
{
	struct qb_syncer *heir;
	struct qb_err err = { 0 };
	struct first_step f;
	struct world w;
	pthread_t thread;

	prepare(&w, "waits");
	f = (struct first_step){ .w = &w };
	ck_assert_int_eq(pthread_create(&thread, NULL, first_step, &f), 0);
	ck_until(sleeping_in_batch(w.db, backend_of(&w)), 5);
	heir = heir_of(&w);
	ck_ok(qb_syncer_connect(heir, &err), err);
	/* When it is connected, what the old one had under way is there. */
	ck_assert_int_eq(outcome_rows(&w), 20);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_gt(f.rc, 0);
	ck_assert_int_eq(sql_number(&w, "select epoch * 100 + batch from qbench.run where run_id = $1", 0), 202);
	qb_syncer_close(w.s);
	w.s = heir;
	reconnect_and_finish(&w);
}
END_TEST

START_TEST(statement_of_a_killed_syncer_may_land_late)
{
	struct world w;

	world_open_cfg(&w, HERE, "late", NULL);
	for (int i = 0; i < 20; i++)
		submit_one(&w);
	work_off(&w);
	slow_down(&w, 5, "0.15");
	pid_t pid = fork_syncer(&w);

	ck_until(backend_of(&w) && sleeping_in_batch(w.db, backend_of(&w)), 10);
	kill(pid, SIGKILL);
	ck_assert_int_eq(reap(pid, 5), 128 + SIGKILL);
	recover_syncer(&w);
	finish_syncer(&w, fork_syncer(&w));
	everything_once(&w);
	ck_assert_int_eq(sql_number(&w, "select epoch from qbench.run where run_id = $1", 0), 2);
	world_close(&w);
}
END_TEST

/* ---- a server that answers, and refuses ---- */

START_TEST(refused_batch_is_tried_again_with_pauses_and_told_to_leave_it_leaves)
{
	struct world w;

	world_open_cfg(&w, HERE, "refused", NULL);
	submit_one(&w);
	work_off(&w);
	sql(w.db, "insert into public.slow values ('refused', 1, 0, true)");
	pid_t pid = fork_syncer(&w);

	ck_until(sql_number(&w, "select epoch from qbench.run where run_id = $1", 0) >= 3, 10);
	int64_t epoch = sql_number(&w, "select epoch from qbench.run where run_id = $1", 0);
	uint64_t from_ns = qb_now_ns();

	/* Each try is a new connection: without a pause there were hundreds a second. */
	ck_until(qb_now_ns() - from_ns > QB_NS_PER_S, 5);
	epoch = sql_number(&w, "select epoch from qbench.run where run_id = $1", 0) - epoch;
	ck_assert_int_le(epoch, 30);
	qb_raise_stop(&w.seg, QB_STOP_NOW);
	ck_assert_int_eq(reap(pid, 5), 2);
	/* And another one, when the trouble is over, gets it through. */
	qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
	sql(w.db, "delete from public.slow");
	recover_syncer(&w);
	finish_syncer(&w, fork_syncer(&w));
	everything_once(&w);
	world_close(&w);
}
END_TEST

/* ---- the process and the server under load ---- */

static unsigned scale(void)
{
	const char *text = getenv("QB_TEST_SCALE");

	return text && atoi(text) > 0 ? (unsigned)atoi(text) : 1;
}

START_TEST(syncers_killed_at_random_lose_nothing)
{
	struct qb_rng rng;
	struct world w;
	unsigned kills = 25 * scale();

	world_open_cfg(&w, HERE, "random", NULL);
	qb_rng_init(&rng, 3, "kills");
	for (unsigned i = 0; i < kills; i++) {
		uint64_t until_ns = qb_now_ns() + (i < 5 ? qb_rng_below(&rng, 8) : qb_rng_below(&rng, 40)) * QB_NS_PER_MS;
		pid_t pid = fork_syncer(&w);

		do {
			for (int n = 0; n < 5 && w.next_id < 3000; n++)
				submit_one(&w);
			if (w.next_id % 3 == 0)
				work_off(&w);
			qb_sleep_ns(QB_NS_PER_MS / 2);
		} while (qb_now_ns() < until_ns);
		kill(pid, SIGKILL);
		ck_assert_int_eq(reap(pid, 5), 128 + SIGKILL);
		recover_syncer(&w);
	}
	work_off(&w);
	finish_syncer(&w, fork_syncer(&w));
	everything_once(&w);
	world_close(&w);
}
END_TEST

/* Works off what there is room for the records of. */
static void work_some(struct world *w)
{
	while (qb_event_room(&w->worker_log) > 0 &&
	       qb_ring_depth(&w->seg, QB_RING_NORMAL) + qb_ring_depth(&w->seg, QB_RING_URGENT) > 0) {
		struct qb_held held = start_one(w);

		complete(w, &held);
	}
}

/* Submits until the table is full; every second job is done at once. */
static void fill_up(struct world *w)
{
	struct qb_submit what = { .max_attempts = 3, .payload = "full", .payload_bytes = 4 };
	struct qb_held held;

	for (;;) {
		what.job_id = w->next_id;
		int rc = qb_job_submit(&w->seg, w->driver, &what, &held);

		if (rc == QB_FULL)
			return;
		ck_assert_int_eq(rc, QB_OK);
		w->next_id++;
		if (w->next_id % 2 == 0 && qb_event_room(&w->worker_log) > 0) {
			held = start_one(w);
			complete(w, &held);
		}
	}
}

START_TEST(server_restarted_in_the_middle_and_a_full_table_drain_in_the_end)
{
	struct qb_cluster_config config = { .base_dir = pgtest_base };
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	struct qb_cluster *own;
	struct world w;

	ck_ok(qb_cluster_start(&config, &own, &err), err);
	install_watched(qb_cluster_conninfo(own));
	world_config(&cfg);
	cfg.job_count = 256;
	cfg.ring_count = 512;
	cfg.event_count = 128;
	world_open_cfg(&w, qb_cluster_conninfo(own), "restart", &cfg);
	pid_t pid = fork_syncer(&w);

	for (int round = 0; round < 3; round++) {
		/* With the server: everything keeps moving, far beyond the size of the table. */
		uint64_t until_id = w.next_id + 600;

		while (w.next_id < until_id) {
			fill_up(&w);
			work_some(&w);
			qb_sleep_ns(QB_NS_PER_MS);
		}
		PQfinish(w.db);
		ck_ok(qb_cluster_stop(own, round == 1 ? QB_CLUSTER_KILL : QB_CLUSTER_IMMEDIATE, &err), err);
		/* Only one that has something to send notices. */
		fill_up(&w);
		ck_until(!qb_load_relaxed32(&w.seg.hdr->mark_connected) || round == 1, 10);
		/* Without it: jobs run until the table is full, then the submitter is told so, again and again. */
		fill_up(&w);
		uint64_t full_id = w.next_id;

		for (int i = 0; i < 20; i++)
			fill_up(&w);
		ck_assert_uint_le(w.next_id - full_id, round == 1 ? 256 : 0);
		ck_ok(qb_cluster_restart(own, &err), err);
		w.db = sql_connect(w.conninfo);
	}
	/* The rings may be full of records: the syncer makes room. */
	ck_until((work_some(&w), qb_ring_depth(&w.seg, QB_RING_NORMAL) == 0), 20);
	finish_syncer(&w, pid);
	everything_once(&w);
	world_close(&w);
	ck_ok(qb_cluster_destroy(own, NULL, &err), err);
}
END_TEST

/* ---- killed at every named point ---- */

#ifdef QB_FAULT_POINTS
/* The points of the syncer's own code and of what it calls in the table. */
static const char *const points[] = { "batch.", "syncer.", "job.free.", "block.release.after-cas", NULL };
#endif

START_TEST(syncer_killed_at_this_point_loses_nothing)
{
#ifdef QB_FAULT_POINTS
	const char *name = point_of(points, _i);
	unsigned hits = 0;
	char run[64];
	struct world w;

	snprintf(run, sizeof(run), "point-%s", name);
	world_open_cfg(&w, HERE, run, NULL);
	/* At its first, second and fourth time, with jobs in every state that it writes. */
	for (unsigned nth = 1; nth <= 4; nth *= 2) {
		struct qb_held held;
		char spec[96];

		for (int i = 0; i < 6; i++)
			submit_one(&w);
		held = start_one(&w);
		complete(&w, &held);
		held = start_one(&w);
		fail_job(&w, &held, 0, 0);
		held = start_one(&w);
		complete(&w, &held);
		snprintf(spec, sizeof(spec), "%s:%u", name, nth);
		setenv("QBENCH_FAULT", spec, 1);
		qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
		pid_t pid = fork_syncer(&w);

		qb_raise_stop(&w.seg, QB_STOP_FINISH);
		int status = reap(pid, 20);

		ck_assert_msg(status == 128 + SIGKILL || status == 0, "%s: status %d", spec, status);
		hits += status != 0;
		recover_syncer(&w);
	}
	unsetenv("QBENCH_FAULT");
	ck_assert_msg(hits > 0, "%s was never reached", name);
	work_off(&w);
	qb_store_relaxed32(&w.seg.hdr->stop, QB_STOP_NO);
	finish_syncer(&w, fork_syncer(&w));
	everything_once(&w);
	world_close(&w);
#endif
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sync-cut");
	TCase *tc = tcase_create("cut");

	tcase_set_timeout(tc, 60);
	tcase_add_unchecked_fixture(tc, shared_start, shared_stop);
	tcase_add_test(tc, backend_killed_between_batches);
	tcase_add_test(tc, backend_killed_in_the_middle_of_a_batch_leaves_nothing_of_it);
	tcase_add_test(tc, batch_whose_answer_was_lost_is_not_applied_twice);
	tcase_add_test(tc, news_after_a_lost_answer_win);
	tcase_add_test(tc, syncer_whose_epoch_was_taken_over_changes_nothing);
	tcase_add_test(tc, fenced_syncer_process_leaves_and_takes_nothing_back);
	tcase_add_test(tc, successor_waits_for_a_statement_that_is_still_running);
	tcase_add_test(tc, statement_of_a_killed_syncer_may_land_late);
	tcase_add_test(tc, refused_batch_is_tried_again_with_pauses_and_told_to_leave_it_leaves);
	tcase_add_test(tc, syncers_killed_at_random_lose_nothing);
	tcase_add_test(tc, server_restarted_in_the_middle_and_a_full_table_drain_in_the_end);
#ifdef QB_FAULT_POINTS
	tcase_add_loop_test(tc, syncer_killed_at_this_point_loses_nothing, 0, points_of(points));
#else
	(void)syncer_killed_at_this_point_loses_nothing;
#endif
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
