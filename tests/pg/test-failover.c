/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The syncer when a standby server takes over: to an asynchronous one what was lost is counted to the row and sent again;
 * to a synchronous one nothing is lost.
 */
#include "tests/pg/failover.h"

char *pgtest_base;

static unsigned scale(void)
{
	const char *text = getenv("QB_TEST_SCALE");

	return text && atoi(text) > 0 ? (unsigned)atoi(text) : 1;
}

/* ---- asynchronous ---- */

/* A syncer that is killed at that point; where there are no points, at once. */
static void fork_and_kill(struct world *w, const char *point)
{
	setenv("QBENCH_FAULT", point, 1);
	pid_t pid = fork_syncer(w);

	unsetenv("QBENCH_FAULT");
#ifndef QB_FAULT_POINTS
	kill(pid, SIGKILL);
#endif
	ck_assert_msg(reap(pid, 30) == 128 + SIGKILL, "%s was not reached", point);
	recover_syncer(w);
}

/* Killed there one after the other, all in one failover. */
static const char *const rewind_points[] = {
	"rewind.compare.after", "rewind.publish.after", "rewind.forget.after-sync:2", "rewind.forget.before-mark",
	"syncer.step.before-commit", "syncer.step.after-commit", "batch.done.after-sync:3",
};
/* And these while the standby server gets what was kept for it. */
static const char *const release_points[] = {
	"retain.release.after-mark", "retain.release.after-job:3", "job.free.after-synced:2",
};

/* Killed, and another one in its place, which keeps everything until that many standby servers have it. */
static pid_t next_syncer(struct world *w, pid_t pid, uint32_t replicas)
{
	kill(pid, SIGKILL);
	reap(pid, 10);
	recover_syncer(w);
	w->seg.cfg.replicas = replicas;
	return fork_syncer(w);
}

/*
 * Before the cut everything is on both. After it rows are acknowledged that only the primary has. It dies; what is
 * missing on the other one is counted by SQL, and then by the syncer.
 */
static pid_t async_failover(struct world *w, struct pair *p, struct qb_rng *rng, pid_t pid, int with_kills)
{
	struct qb_loss real, before, reported;
	struct qb_held ambiguous[2];
	struct qb_err err = { 0 };

	qb_loss_read(&w->seg, &before);
	some_of_each(w, rng);
	ck_until(is_settled(w) && qb_load_relaxed32(&w->seg.hdr->mark_kept) == 0, 30);
	/* From now on one server more has to have it: what the standby server has stays here all the same. */
	pid = next_syncer(w, pid, 2);
	some_of_each(w, rng);
	leave_ambiguous(w, &ambiguous[0]);
	for (int i = 0; i < 5; i++)
		submit_one(w);
	ck_until(is_settled(w) && qb_load_relaxed32(&w->seg.hdr->mark_kept) > 0, 30);
	uint32_t kept_by_both = qb_load_relaxed32(&w->seg.hdr->mark_kept);

	catch_up(p);
	cut_off(p);
	/* An epoch that the standby server does not hear of: the next one is above it all the same. */
	pid = next_syncer(w, pid, 2);
	/* Of jobs that both know: now they wait, for an hour. */
	for (int i = 0; i < 5; i++) {
		struct qb_held held = start_one(w);

		fail_job(w, &held, 0, qb_now_ns() + 3600 * QB_NS_PER_S);
	}
	some_of_each(w, rng);
	/* One that Postgres knows as ambiguous and that is decided now: its outcome is one more acknowledgement. */
	ck_assert_int_eq(qb_job_resolve(&w->seg, w->driver, ambiguous[0].slot_idx, ambiguous[0].word, QB_JOB_DEAD, NULL, 0), 0);
	some_of_each(w, rng);
	leave_ambiguous(w, &ambiguous[1]);
	some_of_each(w, rng);
	ck_until(is_settled(w), 30);
	ck_assert_uint_gt(qb_load_relaxed32(&w->seg.hdr->mark_kept), kept_by_both);

	struct rows had = rows_of(p->at_primary, w->run_id);
	uint64_t epoch = qb_load_relaxed64(&w->seg.hdr->mark_epoch);

	if (with_kills) {
		kill(pid, SIGKILL);
		reap(pid, 10);
		recover_syncer(w);
	}
	kill_primary(p);
	settle_standby(p);
	real = missing(p->at_standby, w->run_id, &had);
	rows_free(&had);
	ck_assert_uint_gt(real.accepted, 0);
	ck_assert_uint_gt(real.changes, 0);
	ck_assert_uint_gt(real.outcomes, 0);
	ck_assert_uint_gt(real.events, 0);
	promote(p);
	if (with_kills) {
		for (unsigned i = 0; i < QB_ARRAY_COUNT(rewind_points); i++)
			fork_and_kill(w, rewind_points[i]);
		pid = fork_syncer(w);
	}
	ck_until(qb_load_relaxed32(&w->seg.hdr->mark_connected) && is_settled(w), 30);
	ck_assert_uint_gt(qb_load_relaxed64(&w->seg.hdr->mark_epoch), epoch);
	qb_loss_read(&w->seg, &reported);
	ck_assert_uint_eq(reported.rewinds, before.rewinds + 1);
	reported.accepted -= before.accepted;
	reported.changes -= before.changes;
	reported.outcomes -= before.outcomes;
	reported.events -= before.events;
	same_loss(&reported, &real);
	figures->resent += (unsigned)qb_loss_resent(&reported);
	ck_assert_int_eq(qb_job_resolve(&w->seg, w->driver, ambiguous[1].slot_idx, ambiguous[1].word, QB_JOB_DEAD, NULL, 0), 0);

	/* The new pair has another name. */
	struct qb_cluster *old = move_on(p);

	at_new_primary(w, p);
	w->conninfo = p->conninfo;
	ck_ok(qb_cluster_destroy(old, NULL, &err), err);
	return next_syncer(w, pid, 1);
}

START_TEST(async_failover_loss_is_counted_to_the_row_and_sent_again)
{
	struct qb_loss reported;
	struct qb_rng rng;
	struct world w;
	struct pair p;
	unsigned rounds = 2 * scale();

	pair_open(&p);
	qb_rng_init(&rng, 1, "failover");
	run_open(&w, &p, "async", 1);
	pid_t pid = fork_syncer(&w);

	for (unsigned round = 0; round < rounds; round++)
		pid = async_failover(&w, &p, &rng, pid, 0);
	pid = async_failover(&w, &p, &rng, pid, 1);
	all_there_once(&w);
	kill(pid, SIGKILL);
	reap(pid, 10);
	recover_syncer(&w);
	for (unsigned i = 0; i < QB_ARRAY_COUNT(release_points); i++)
		fork_and_kill(&w, release_points[i]);
	pid = fork_syncer(&w);
	finish_syncer(&w, pid);
	everything_once(&w);
	ck_assert_uint_eq(qb_load_relaxed32(&w.seg.hdr->mark_kept), 0);
	qb_loss_read(&w.seg, &reported);
	ck_assert_uint_eq(reported.rewinds, rounds + 1);
	ck_assert_uint_eq(reported.gone_batches + reported.gone, 0);
	ck_assert_int_eq(sql_number(&w, "select batch from qbench.run where run_id = $1", 0),
			 (int64_t)qb_load_relaxed64(&w.seg.hdr->mark_batch));
	/* A syncer that was killed between a commit and its marks has not counted it. */
	ck_assert_uint_le(qb_load_relaxed64(&w.seg.hdr->mark_events), (uint64_t)event_rows(&w));
	ck_assert_uint_le(qb_load_relaxed64(&w.seg.hdr->mark_final), w.next_id - 1);
	world_close(&w);
	pair_close(&p);
}
END_TEST

START_TEST(without_replicas_the_loss_is_reported_and_not_hidden)
{
	struct qb_loss real, reported;
	struct qb_rng rng;
	struct world w;
	struct pair p;

	pair_open(&p);
	qb_rng_init(&rng, 5, "failover");
	run_open(&w, &p, "bare", 0);
	pid_t pid = fork_syncer(&w);

	some_of_each(&w, &rng);
	ck_until(is_settled(&w), 30);
	catch_up(&p);
	cut_off(&p);
	/* Killed when the slots were free and nothing else was done: what it let go is known all the same. */
	kill(pid, SIGKILL);
	reap(pid, 10);
	recover_syncer(&w);
	some_of_each(&w, &rng);
	fork_and_kill(&w, "batch.done.after-events");
	pid = fork_syncer(&w);
	ck_until(is_settled(&w), 30);
	struct rows had = rows_of(p.at_primary, "bare");

	kill_primary(&p);
	settle_standby(&p);
	real = missing(p.at_standby, "bare", &had);
	ck_assert_uint_gt(real.outcomes, 0);
	/* Of some it has the job, which is over. */
	int64_t ghosts = (int64_t)count_of(p.at_standby, "select count(*)" TOLD "exists (select from qbench.job where " OF_RUN
					   " and job_id = x::bigint)", "bare", had.outcomes);

	/* Their slots are free; the others are still here. */
	real.gone = real.outcomes;
	real.outcomes = real.events = 0;
	promote(&p);
	ck_until(qb_load_relaxed32(&w.seg.hdr->mark_connected) && is_settled(&w), 30);
	qb_loss_read(&w.seg, &reported);
	ck_assert_uint_eq(reported.rewinds, 1);
	ck_assert_uint_gt(reported.gone_batches, 0);
	same_loss(&reported, &real);
	figures->resent += (unsigned)qb_loss_resent(&reported);
	all_there_once(&w);

	finish_syncer(&w, pid);
	PQfinish(w.db);
	w.db = sql_connect(p.conninfo);
	/* Those that were not gone, once. */
	ck_assert_int_eq(outcome_rows(&w) + (int64_t)reported.gone, (int64_t)w.next_id - 1);
	ck_assert_int_eq(live_rows(&w), ghosts);
	rows_free(&had);
	world_close(&w);
	pair_close(&p);
}
END_TEST

/* ---- synchronous ---- */

#define ACKED_MAX 4096

struct acked { struct qb_held ref[ACKED_MAX]; uint8_t is[ACKED_MAX]; unsigned count; };

static void note_acked(struct world *w, struct acked *a)
{
	for (unsigned i = 0; i < a->count; i++)
		a->is[i] |= (uint8_t)qb_job_is_durable(&w->seg, &a->ref[i]);
}

static unsigned acked_count(const struct acked *a)
{
	unsigned n = 0;

	for (unsigned i = 0; i < a->count; i++)
		n += a->is[i];
	return n;
}

static void load_a_little(struct world *w, struct acked *a)
{
	for (unsigned i = 0; i < 3 && a->count < ACKED_MAX; i++)
		a->ref[a->count++] = submit_one(w);
	struct qb_held held;

	while (a->count % 4 && qb_job_claim(&w->seg, w->worker, &held) == QB_OK) {
		ck_assert_int_eq(qb_job_start(&w->seg, &held), 0);
		note_started(w, &held);
		complete(w, &held);
	}
	note_acked(w, a);
}

/* On that server there is a row of it. Job ids are 1, 2, ... in the order of submission. */
static unsigned not_there(PGconn *db, const char *run_id, const struct acked *a)
{
	struct qb_strbuf list = { 0 };

	for (unsigned i = 0; i < a->count; i++) {
		if (a->is[i])
			qb_strbuf_printf(&list, "%s%u", list.bytes ? " " : "", i + 1);
	}
	unsigned n = (unsigned)count_of(db, "select count(*)" TOLD "not exists (select from qbench.job where " OF_RUN
					" and job_id = x::bigint) and not exists (select from qbench.outcome where " OF_RUN
					" and job_id = x::bigint)", run_id, list.data ? list.data : "");

	qb_strbuf_free(&list);
	return n;
}

/*
 * From its start on: a server that is told while it runs has commits wait when its checkpointer has heard of it, and not
 * before.
 */
static void be_synchronous(struct pair *p)
{
	struct qb_err err = { 0 };

	sql(p->at_primary, "alter system set synchronous_standby_names = '*'");
	PQfinish(p->at_primary);
	ck_ok(qb_cluster_stop(p->primary, QB_CLUSTER_FAST, &err), err);
	ck_ok(qb_cluster_restart(p->primary, &err), err);
	p->at_primary = sql_connect(qb_cluster_conninfo(p->primary));
	sql(p->at_primary, "checkpoint");
	ck_until(ask(p->at_primary, "select count(*) from pg_stat_replication where sync_state = 'sync'") == 1, 30);
}

static int waits_for_standby(const struct pair *p)
{
	return ask(p->at_primary, "select count(*) from pg_stat_activity where application_name = 'qbench syncer'"
		   " and wait_event = 'SyncRep'") == 1;
}

/* cut: the standby server does not hear of the last jobs, so they are not acknowledged, however long it takes. */
static void sync_round(struct pair *p, unsigned round, int cut)
{
	static struct acked a;
	struct qb_loss reported;
	struct qb_rng rng;
	struct world w;
	char name[32];

	memset(&a, 0, sizeof(a));
	snprintf(name, sizeof(name), "sync-%u", round);
	qb_rng_init(&rng, round, "failover");
	be_synchronous(p);
	run_open(&w, p, name, 0);
	pid_t pid = fork_syncer(&w);
	unsigned acked_min = 50 + (unsigned)qb_rng_below(&rng, 400);

	/* In the middle of everything, at a point that the seed decides. */
	do {
		load_a_little(&w, &a);
		qb_sleep_ns(QB_NS_PER_MS / 5);
		ck_assert_uint_lt(a.count, ACKED_MAX);
	} while (acked_count(&a) < acked_min);
	if (cut) {
		cut_off(p);
		for (unsigned i = 0; i < 10; i++)
			a.ref[a.count++] = submit_one(&w);
		ck_until(waits_for_standby(p), 30);
		note_acked(&w, &a);
		/* Called off, the commit is done and answered; it is no acknowledgement all the same. */
		uint64_t epoch = qb_load_relaxed64(&w.seg.hdr->mark_epoch);

		ck_until(ask(p->at_primary, "select count(*) from (select pg_cancel_backend(pid) from pg_stat_activity where"
			     " application_name = 'qbench syncer' and wait_event = 'SyncRep') x") == 1, 30);
		ck_until(waits_for_standby(p), 30);
		ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_epoch), epoch);
		note_acked(&w, &a);
		for (unsigned i = a.count - 10; i < a.count; i++)
			ck_assert_int_eq(a.is[i], 0);
	}
	kill_primary(p);
	settle_standby(p);
	note_acked(&w, &a);
	unsigned lost = not_there(p->at_standby, name, &a);

	ck_assert_uint_eq(lost, 0);
	figures->lost += lost;
	sql(p->at_standby, "alter system reset synchronous_standby_names");
	sql(p->at_standby, "select pg_reload_conf()");
	promote(p);
	ck_until(qb_load_relaxed32(&w.seg.hdr->mark_connected), 30);
	load_a_little(&w, &a);
	all_there_once(&w);

	finish_syncer(&w, pid);
	PQfinish(w.db);
	w.db = sql_connect(p->conninfo);
	everything_once(&w);
	qb_loss_read(&w.seg, &reported);
	ck_assert_uint_eq(reported.rewinds, 0);
	world_close(&w);
}

START_TEST(sync_failover_loses_nothing_that_was_acknowledged)
{
	struct qb_err err = { 0 };
	struct pair p;

	pair_open(&p);
	for (unsigned round = 0; round < scale(); round++) {
		sync_round(&p, round, 0);
		ck_ok(qb_cluster_destroy(move_on(&p), NULL, &err), err);
	}
	sync_round(&p, 1000, 1);
	pair_close(&p);
}
END_TEST

/* ---- the wrong server, and one that is away ---- */

static void user_who_may_not_see_standbys_is_told_what_to_grant(const struct pair *p)
{
	struct qb_pg_standbys standbys;
	struct qb_err err = { 0 };
	PGconn *db = p->at_primary;

	sql(db, "create role nobody_special");
	/* It reports for the first time a moment after it is connected. */
	ck_until(qb_pg_standbys(db, 1, &standbys, &err) == 0 && standbys.count == 1, 30);
	ck_assert_uint_gt(standbys.held_lsn, 0);
	ck_assert_uint_gt(standbys.lsn, 0);
	ck_ok(qb_pg_standbys(db, 2, &standbys, &err), err);
	ck_assert_uint_eq(standbys.held_lsn, 0);
	sql(db, "set role nobody_special");
	ck_assert_int_eq(qb_pg_standbys(db, 1, &standbys, &err), QB_EUSAGE);
	ck_has(err.text, "grant pg_monitor");
	sql(db, "reset role; grant pg_monitor to nobody_special; set role nobody_special");
	qb_err_clear(&err);
	ck_ok(qb_pg_standbys(db, 1, &standbys, &err), err);
	sql(db, "reset role");
}

/* Submits until the table is full. */
static unsigned fill_up(struct world *w)
{
	struct qb_submit what = { .max_attempts = 3, .payload = "full", .payload_bytes = 4 };
	struct qb_held ref;
	unsigned n = 0;

	for (;; n++) {
		what.job_id = w->next_id;
		int rc = qb_job_submit(&w->seg, w->driver, &what, &ref);

		if (rc == QB_FULL)
			return n;
		ck_assert_int_eq(rc, QB_OK);
		w->next_id++;
	}
}

static void standby_that_is_away_fills_the_table_and_makes_room_when_it_is_back(struct pair *p)
{
	struct qb_config_shm cfg;
	struct world w;

	world_config(&cfg);
	cfg.job_count = 256;
	cfg.ring_count = 512;
	cfg.replicas = 1;
	world_open_cfg(&w, p->conninfo, "away", &cfg);
	pid_t pid = fork_syncer(&w);

	/* While it is there everything moves, far beyond the size of the table. */
	while (w.next_id < 1500) {
		fill_up(&w);
		work_off(&w);
		qb_sleep_ns(QB_NS_PER_MS);
	}
	ck_until(is_settled(&w) && qb_load_relaxed32(&w.seg.hdr->mark_kept) == 0, 30);
	cut_off(p);
	fill_up(&w);
	work_off(&w);
	/* All durable, all acknowledged, and no slot is given away. */
	ck_until(is_settled(&w) && qb_load_relaxed32(&w.seg.hdr->mark_kept) == 256, 30);
	ck_assert_int_eq(outcome_rows(&w), (int64_t)w.next_id - 1);
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(fill_up(&w), 0);
		qb_sleep_ns(QB_NS_PER_MS);
	}
	/* A recovery that sets their bits again has them neither sent nor kept twice. */
	const qb_au64 *rows = &w.seg.seats[w.syncer].counter[QB_COUNT_SYNC_ROWS];
	uint64_t sent = qb_load_relaxed64(rows);

	for (uint32_t i = 0; i < 256; i++)
		qb_hint_set(w.seg.dirty_map, i);
	qb_wake_seat(&w.seg, w.syncer);
	ck_until(is_settled(&w), 30);
	ck_assert_uint_lt(qb_load_relaxed64(rows) - sent, 100);
	join_again(p);
	ck_until(qb_load_relaxed32(&w.seg.hdr->mark_kept) == 0, 30);
	ck_assert_uint_eq(fill_up(&w), 256);
	work_off(&w);
	finish_syncer(&w, pid);
	everything_once(&w);
	world_close(&w);
}

static void wrong_servers_are_refused_and_nothing_is_written_to_them(struct pair *p)
{
	struct qb_err err = { 0 };
	struct world w;

	run_open(&w, p, "wrong", 0);
	qb_event_open(&w.log, &w.seg, w.syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w.seg, w.syncer, w.conninfo, &w.log, &w.s), 0);
	/* Another cluster. */
	w.seg.hdr->cluster_id ^= 1;
	ck_assert_int_eq(qb_syncer_connect(w.s, &err), QB_ECLUSTER);
	ck_has(err.text, "another Postgres cluster");
	ck_assert_int_eq(sql_number(&w, "select epoch from qbench.run where run_id = $1", 0), 0);
	w.seg.hdr->cluster_id ^= 1;
	qb_err_clear(&err);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	submit_one(&w);
	drain(&w);
	catch_up(p);
	kill_primary(p);
	settle_standby(p);
	promote(p);
	qb_err_clear(&err);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	ck_assert_uint_eq(qb_load_relaxed64(&w.seg.hdr->mark_timeline), 2);
	/* The old primary comes back, and is the first in the list. */
	ck_ok(qb_cluster_restart(p->primary, &err), err);
	figures->faults++;
	PQfinish(w.db);
	w.db = sql_connect(qb_cluster_conninfo(p->primary));
	int64_t epoch = sql_number(&w, "select epoch from qbench.run where run_id = $1", 0);

	ck_assert_int_eq(qb_syncer_connect(w.s, &err), QB_ECLUSTER);
	ck_has(err.text, "failover left behind");
	ck_assert_int_eq(sql_number(&w, "select epoch from qbench.run where run_id = $1", 0), epoch);
	/* When it is gone again, the run goes on where it belongs. */
	ck_ok(qb_cluster_stop(p->primary, QB_CLUSTER_IMMEDIATE, &err), err);
	qb_err_clear(&err);
	ck_ok(qb_syncer_connect(w.s, &err), err);
	submit_one(&w);
	drain(&w);
	PQfinish(w.db);
	w.db = sql_connect(qb_cluster_conninfo(p->standby));
	ck_assert_int_eq(live_rows(&w), 2);
	world_close(&w);
}

/* In this order: the last one takes the pair apart. */
START_TEST(standby_that_is_away_and_servers_that_are_wrong)
{
	struct pair p;

	pair_open(&p);
	user_who_may_not_see_standbys_is_told_what_to_grant(&p);
	standby_that_is_away_fills_the_table_and_makes_room_when_it_is_back(&p);
	wrong_servers_are_refused_and_nothing_is_written_to_them(&p);
	pair_close(&p);
}
END_TEST

/* Cases of their own, so that each can be run alone. */
#define ADD(suite, name, test) \
	do { \
		TCase *tc_ = tcase_create(name); \
		tcase_set_timeout(tc_, 60 + 60 * (double)scale()); \
		tcase_add_test(tc_, test); \
		suite_add_tcase(suite, tc_); \
	} while (0)

int main(void)
{
	Suite *suite = suite_create("failover");
	if (!qb_cluster_has_standby(NULL)) {
		printf("1..0 # SKIP pg_basebackup is not installed beside the server\n");
		return EXIT_SUCCESS;
	}
	figures = mmap(NULL, sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (figures == MAP_FAILED)
		return EXIT_FAILURE;
	ADD(suite, "async", async_failover_loss_is_counted_to_the_row_and_sent_again);
	ADD(suite, "bare", without_replicas_the_loss_is_reported_and_not_hidden);
	ADD(suite, "sync", sync_failover_loses_nothing_that_was_acknowledged);
	ADD(suite, "servers", standby_that_is_away_and_servers_that_are_wrong);
	int rc = pgtest_main(suite);

	printf("# figures: failovers=%u postgres_faults=%u lost=%u silent=%u resent=%u\n", figures->failovers, figures->faults,
	       figures->lost, figures->silent, figures->resent);
	return rc;
}
