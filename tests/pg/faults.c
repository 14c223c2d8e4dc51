/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that breaks under load: backends ended and killed, its own helpers killed, stopped at once, stopped in good
 * order, its postmaster killed while a backend works on, again and again.  Jobs are submitted, run, retried and synced
 * meanwhile by processes.  After each fault everything drains and is compared, job by job.
 *
 *	QB_TEST_SCALE=N         N times as many faults of each kind
 */
#include "tests/pg/loadtest.h"

char *pgtest_base;

static unsigned scale(void)
{
	const char *text = getenv("QB_TEST_SCALE");

	return text && atoi(text) > 0 ? (unsigned)atoi(text) : 1;
}

static void figures(unsigned faults, const struct load *l)
{
	printf("# %llu jobs\n# figures: wire_cuts=0 postgres_faults=%u lost=0 silent=0 wrong=0\n",
	       (unsigned long long)l->w.next_id - 1, faults);
	fflush(stdout);
}

/* ---- whom to hit ---- */

/* A process of that server, and of no other: a child of its postmaster. */
static void kill_backend(const struct qb_cluster *c, pid_t pid, int sig)
{
	char *path = qb_xasprintf("/proc/%d/stat", (int)pid);
	int fd = qb_pidfd_open(pid, qb_proc_start_ticks(pid)), parent = 0;
	FILE *f = fopen(path, "re");

	free(path);
	/* It may have ended by itself. */
	if (f && fd >= 0 && fscanf(f, "%*d (postgres) %*c %d", &parent) == 1) {
		ck_assert_int_eq(parent, qb_cluster_pid(c));
		qb_pidfd_signal(fd, sig);
	}
	if (f)
		fclose(f);
	if (fd >= 0)
		close(fd);
}

static pid_t process_of(const struct load *l, const char *backend_type)
{
	char *text = qb_xasprintf("select coalesce(min(pid), 0)::bigint from pg_stat_activity where backend_type = '%s'",
				  backend_type);
	pid_t pid = (pid_t)pgtest_i64(l->w.db, text);

	free(text);
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* It has noticed: everything of before is gone. */
static void await_restart(struct load *l)
{
	ck_until(PQstatus(l->w.db) == CONNECTION_BAD || (PQconsumeInput(l->w.db), PQstatus(l->w.db) == CONNECTION_BAD), 20);
	look_again(l);
}

/* ---- the faults ---- */

static void session_of_the_syncer_ends(struct load *l)
{
	char *text = qb_xasprintf("select pg_terminate_backend(%d)", (int)backend_of(l));

	pgtest_exec(l->w.db, text);
	free(text);
}

static void session_of_the_syncer_is_killed(struct load *l)
{
	kill_backend(l->server, backend_of(l), SIGKILL);
	await_restart(l);
}

static void another_session_is_killed(struct load *l)
{
	kill_backend(l->server, (pid_t)PQbackendPID(l->w.db), SIGKILL);
	await_restart(l);
}

static void checkpointer_is_killed(struct load *l)
{
	kill_backend(l->server, process_of(l, "checkpointer"), SIGKILL);
	await_restart(l);
}

static void log_writer_is_killed(struct load *l)
{
	kill_backend(l->server, process_of(l, "walwriter"), SIGKILL);
	await_restart(l);
}

static void session_of_the_syncer_stands_still(struct load *l)
{
	pid_t pid = backend_of(l);
	uint64_t from = qb_load_relaxed64(&l->w.seg.hdr->mark_batch), jobs = load_jobs(l);

	kill_backend(l->server, pid, SIGSTOP);
	/* The load goes on, without a single commit. */
	ck_until(load_jobs(l) > jobs + 50, 20);
	ck_assert_uint_le(qb_load_relaxed64(&l->w.seg.hdr->mark_batch), from + 1);
	kill_backend(l->server, pid, SIGCONT);
}

static void stop_and_start(struct load *l, enum qb_cluster_stop how)
{
	struct qb_err err = { 0 };

	ck_ok(qb_cluster_stop(l->server, how, &err), err);
	ck_ok(qb_cluster_restart(l->server, &err), err);
	look_again(l);
}

static void server_stops_at_once(struct load *l)
{
	stop_and_start(l, QB_CLUSTER_IMMEDIATE);
}

static void server_stops_in_good_order(struct load *l)
{
	stop_and_start(l, QB_CLUSTER_FAST);
}

static void postmaster_is_killed(struct load *l)
{
	stop_and_start(l, QB_CLUSTER_KILL);
}

static void server_stops_again_and_again(struct load *l)
{
	for (int i = 0; i < 3; i++)
		stop_and_start(l, QB_CLUSTER_IMMEDIATE);
}

/* A backend works on when its postmaster is dead, and commits: the successor finds that, once. */
static void postmaster_is_killed_and_its_backend_commits(struct load *l)
{
	struct qb_err err = { 0 };

	pid_t backend = make_busy(l, "0.7");
	int64_t batch = (int64_t)qb_load_relaxed64(&l->w.seg.hdr->mark_batch);

	kill(l->syncer, SIGSTOP);
	ck_ok(qb_cluster_stop(l->server, QB_CLUSTER_KILL, &err), err);
	ck_assert_msg(qb_proc_start_ticks(backend), "the backend ended before its postmaster");
	ck_ok(qb_cluster_restart(l->server, &err), err);
	look_again(l);
	ck_assert_int_eq(sql_number(&l->w, "select batch from qbench.run where run_id = $1", 0), batch + 1);
	kill(l->syncer, SIGKILL);
	kill(l->syncer, SIGCONT);
	ck_assert_int_eq(reap(l->syncer, 10), 128 + SIGKILL);
	not_busy(l);
	load_new_syncer(l);
}

static const struct {
	void (*strike)(struct load *l);
	const char *name;
	unsigned times, counts;
} faults[] = {
	{ session_of_the_syncer_ends, "session of the syncer ended", 6, 1 },
	{ session_of_the_syncer_is_killed, "session of the syncer killed", 3, 1 },
	{ another_session_is_killed, "another session killed", 2, 1 },
	{ checkpointer_is_killed, "checkpointer killed", 1, 1 },
	{ log_writer_is_killed, "log writer killed", 1, 1 },
	{ session_of_the_syncer_stands_still, "session of the syncer stands still", 2, 1 },
	{ server_stops_at_once, "immediate stop", 2, 1 },
	{ server_stops_in_good_order, "fast stop", 2, 1 },
	{ postmaster_is_killed, "postmaster killed", 2, 1 },
	{ server_stops_again_and_again, "three immediate stops", 1, 3 },
	{ postmaster_is_killed_and_its_backend_commits, "postmaster killed, backend commits", 2, 1 },
};

#define KINDS (sizeof(faults) / sizeof(faults[0]))

/* All of them, in an order of their own. */
START_TEST(server_breaks_in_many_ways_and_nothing_is_lost)
{
	unsigned left[KINDS], total = 0, done = 0, counted = 0;
	struct qb_rng rng;
	struct load l;

	for (unsigned i = 0; i < KINDS; i++)
		total += left[i] = faults[i].times * scale();
	load_open(&l, NULL);
	qb_rng_init(&rng, 1, "faults");
	for (unsigned i; done < total; done++) {
		do
			i = (unsigned)qb_rng_below(&rng, KINDS);
		while (left[i] == 0);
		left[i]--;
		load_moves(&l, 30 + qb_rng_below(&rng, 60));
		printf("# %s\n", faults[i].name);
		fflush(stdout);
		faults[i].strike(&l);
		load_moves(&l, 30);
		load_drains(&l);
		counted += faults[i].counts;
	}
	figures(counted, &l);
	load_close(&l);
}
END_TEST

/* ---- client_connection_check_interval ---- */

static int alive(PGconn *db, pid_t pid)
{
	char *text = qb_xasprintf("select count(*) from pg_stat_activity where pid = %d", (int)pid);
	int64_t n = pgtest_i64(db, text);

	free(text);
	return n == 1;
}

/* With it the statement of a dead client is dropped, long before its end. */
START_TEST(statement_of_a_killed_syncer_is_dropped)
{
	struct load l;

	load_open(&l, NULL);
	load_moves(&l, 30);
	pid_t backend = make_busy(&l, "600");
	int64_t batch = (int64_t)qb_load_relaxed64(&l.w.seg.hdr->mark_batch);

	kill(l.syncer, SIGKILL);
	ck_assert_int_eq(reap(l.syncer, 10), 128 + SIGKILL);
	ck_until(!alive(l.w.db, backend), 30);
	ck_assert_int_eq(sql_number(&l.w, "select batch from qbench.run where run_id = $1", 0), batch);
	not_busy(&l);
	load_new_syncer(&l);
	load_moves(&l, 30);
	load_drains(&l);
	figures(1, &l);
	load_close(&l);
}
END_TEST

/* Without it the statement runs to its end and commits. The successor waits for that, and all is the same. */
START_TEST(statement_of_a_killed_syncer_goes_on_where_nothing_drops_it)
{
	struct load l;

	load_open(&l, NULL);
	load_moves(&l, 30);
	sql(l.w.db, "update public.hold set checks = false");
	pid_t backend = make_busy(&l, "1.2");
	int64_t batch = (int64_t)qb_load_relaxed64(&l.w.seg.hdr->mark_batch);

	kill(l.syncer, SIGKILL);
	ck_assert_int_eq(reap(l.syncer, 10), 128 + SIGKILL);
	ck_assert_int_ne(alive(l.w.db, backend), 0);
	load_new_syncer(&l);
	ck_until(!alive(l.w.db, backend), 30);
	ck_assert_int_gt(sql_number(&l.w, "select batch from qbench.run where run_id = $1", 0), batch);
	not_busy(&l);
	load_moves(&l, 30);
	load_drains(&l);
	figures(1, &l);
	load_close(&l);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("faults");
	TCase *tc = tcase_create("faults");

	tcase_set_timeout(tc, 300.0 * scale());
	tcase_add_test(tc, server_breaks_in_many_ways_and_nothing_is_lost);
	tcase_add_test(tc, statement_of_a_killed_syncer_is_dropped);
	tcase_add_test(tc, statement_of_a_killed_syncer_goes_on_where_nothing_drops_it);
	suite_add_tcase(suite, tc);
	return pgtest_main(suite);
}
