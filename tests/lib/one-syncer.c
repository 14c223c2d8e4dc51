/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a segment in steps, each a process of its own, so that one system call of one step can be made to fail.
 *
 *	one-syncer create PATH RUN                a segment for that run
 *	one-syncer attach PATH                    attach and let go
 *	one-syncer work PATH JOBS                 submit so many, do all but two of them, and die with the last one started
 *	one-syncer begin CONNINFO RUN             tables, and the row of the run
 *	one-syncer forget CONNINFO RUN            the rows of the run
 *	one-syncer sync PATH CONNINFO             recover the dead, bring everything to Postgres, end in order
 *
 * create, attach and sync give their threads the name "qb-marked" when they begin: what comes after it is theirs.
 * Exit status 0, or 1 and a line on standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/proc.h"
#include "pg/conn.h"
#include "shm/event.h"
#include "shm/job.h"
#include "shm/recovery.h"
#include "shm/seat.h"
#include "sync/schema.h"
#include "sync/syncer.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

static struct qb_seg seg;

static void must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "one-syncer: %s: %s\n", what, qb_strerror(rc));
	exit(1);
}

static void must_pg(int rc, const struct qb_err *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "one-syncer: %s\n", err->text);
	exit(1);
}

static void mark(void)
{
	prctl(PR_SET_NAME, "qb-marked", 0ul, 0ul, 0ul);
}

static uint32_t sit(uint32_t role)
{
	int seat = qb_seat_take(&seg, role);

	must(seat > 0 ? 0 : seat, "taking a seat");
	qb_seat_name(&seg, (uint32_t)seat, (uint32_t)getpid(), qb_proc_start_ticks(getpid()));
	return (uint32_t)seat;
}

static void create(const char *path, const char *run_id)
{
	struct qb_seg_identity id = { .run_id = run_id, .creator_start_ticks = 1 };
	struct qb_config_shm cfg;

	qb_config_default(&cfg);
	cfg.job_count = 64;
	cfg.ring_count = 128;
	cfg.block_count = 128;
	cfg.seat_count = 8;
	cfg.event_count = 256;
	cfg.readers = 1u << QB_READER_SYNC;
	mark();
	must(qb_seg_create(path, &cfg, &id, &seg), "creating the segment");
	qb_seg_detach(&seg);
}

static void work(const char *path, unsigned jobs)
{
	struct qb_event_writer log;
	struct qb_held held;

	must(qb_seg_attach(path, 0, &seg), "attaching");
	uint32_t driver = sit(QB_ROLE_DRIVER), worker = sit(QB_ROLE_WORKER);

	qb_event_open(&log, &seg, worker, QB_OVERFLOW_DROP);
	for (unsigned i = 1; i <= jobs; i++) {
		struct qb_submit what = {
			.job_id = i, .submitted_raw = qb_stamp(), .max_attempts = 3, .kind = 1, .payload = "payload", .payload_bytes = 7,
		};

		must(qb_job_submit(&seg, driver, &what, &held), "submitting");
	}
	for (unsigned i = 1; i < jobs; i++) {
		must(qb_job_claim(&seg, worker, &held), "claiming");
		must(qb_job_start(&seg, &held), "starting");
		if (i < jobs - 1)
			must(qb_job_complete(&seg, worker, &held, "result", 6), "completing");
		struct qb_event_shm *e = qb_event_begin(&log);

		must(e ? 0 : QB_FULL, "logging");
		e->type = i < jobs - 1 ? QB_EV_JOB_COMPLETED : QB_EV_JOB_STARTED;
		e->job_id = seg.jobs[held.slot_idx].job_id;
		e->slot_idx = held.slot_idx;
		e->token = held.word;
		e->attempt = 1;
		qb_event_commit(&log, e);
	}
}

static void begin(const char *conninfo, const char *run_id)
{
	struct qb_err err = { 0 };
	PGconn *db;

	must_pg(qb_pg_connect(conninfo, "test", CONNECT_NS, &db, &err), &err);
	must_pg(qb_schema_install(db, &err), &err);
	must_pg(qb_schema_run_begin(db, run_id, NULL, 0, &err), &err);
	PQfinish(db);
}

static void forget(const char *conninfo, const char *run_id)
{
	static const char *const texts[] = {
		"delete from qbench.job where run_no = (select run_no from qbench.run where run_id = $1)",
		"delete from qbench.outcome where run_no = (select run_no from qbench.run where run_id = $1)",
		"delete from qbench.event where run_no = (select run_no from qbench.run where run_id = $1)",
		"update qbench.run set batch = 0 where run_id = $1",
	};
	const Oid oids[] = { QB_PG_TEXT };
	struct qb_err err = { 0 };
	PGconn *db;

	must_pg(qb_pg_connect(conninfo, "test", CONNECT_NS, &db, &err), &err);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		PGresult *res = NULL;

		must_pg(qb_pg_query(db, texts[i], 1, oids, &run_id, NULL, NULL, 1, &res, &err), &err);
		PQclear(res);
	}
	PQfinish(db);
}

/* Everybody else is dead: these steps follow each other. */
static void recover_all(void)
{
	struct qb_recovery r;

	must(qb_recovery_open(&r, &seg), "recovering");
	for (uint32_t seat = 1; seat < seg.cfg.seat_count; seat++) {
		if (qb_seat_state_of(qb_load_acquire64(&seg.seats[seat].word)) != QB_SEAT_FREE)
			must(qb_recover_seat(&r, seat, NULL, NULL), "recovering");
	}
	qb_recovery_close(&r);
}

static void bring(const char *path, const char *conninfo)
{
	struct qb_event_writer log;
	struct qb_syncer *s;

	mark();
	/* libpq drops what it could not send and waits for the answer all the same. */
	qb_pg_set_reply_timeout(QB_NS_PER_S);
	must(qb_seg_attach(path, 0, &seg), "attaching");
	recover_all();
	uint32_t seat = sit(QB_ROLE_SYNCER);

	qb_event_open(&log, &seg, seat, QB_OVERFLOW_DROP);
	must(qb_syncer_open(&seg, seat, conninfo, &log, &s), "opening the syncer");
	qb_store_relaxed32(&seg.hdr->stop, QB_STOP_FINISH);
	must(qb_syncer_main(s), "bringing it to Postgres");
	qb_syncer_close(s);
	qb_seat_free(&seg, seat);
	qb_seg_detach(&seg);
}

int main(int argc, char **argv)
{
	const char *step = argc > 2 ? argv[1] : "";

	if (!strcmp(step, "create") && argc == 4) {
		create(argv[2], argv[3]);
	} else if (!strcmp(step, "attach")) {
		mark();
		must(qb_seg_attach(argv[2], 0, &seg), "attaching");
		qb_seg_detach(&seg);
	} else if (!strcmp(step, "work") && argc == 4) {
		work(argv[2], (unsigned)atoi(argv[3]));
	} else if (!strcmp(step, "begin") && argc == 4) {
		begin(argv[2], argv[3]);
	} else if (!strcmp(step, "forget") && argc == 4) {
		forget(argv[2], argv[3]);
	} else if (!strcmp(step, "sync") && argc == 4) {
		bring(argv[2], argv[3]);
	} else {
		fputs("one-syncer: unknown step\n", stderr);
		return 1;
	}
	return 0;
}
