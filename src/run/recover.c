/* SPDX-License-Identifier: Apache-2.0 */
/* `qbench recover`: drive a segment whose processes are all dead to its end. */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "run/driver.h"
#include "run/process.h"
#include "run/server.h"
#include "run/takeover.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "sync/restore.h"

static void count_states(const struct qb_seg *seg, uint64_t by_state[QB_JOB_STATE_COUNT])
{
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		uint32_t state = qb_word_state(qb_load_acquire64(&seg->jobs[i].word));

		if (state != QB_JOB_FREE && state < QB_JOB_STATE_COUNT)
			by_state[state]++;
	}
}

/* A driver or a tool that still lives owns the run. */
static int somebody_lives(const struct qb_seg *seg)
{
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		uint32_t role = qb_seat_role(qb_load_acquire64(&seg->seats[seat].word));
		pid_t pid = (pid_t)qb_seat_who(seg, seat, NULL);

		if ((role == QB_ROLE_DRIVER || role == QB_ROLE_TOOL) && qb_seat_lives(seg, seat))
			return (int)pid;
	}
	return 0;
}

/* What it says is not to be trusted, but its name is good enough to be asked for. */
static int other_boot(const char *path, struct qb_err *err)
{
	char run_id[96] = "RUN";
	struct qb_seg seg;

	if (qb_seg_snapshot(path, &seg) == 0) {
		snprintf(run_id, sizeof(run_id), "%s", seg.hdr->run_id);
		munmap(seg.base, seg.bytes);
	}
	return qb_err_set(err, QB_EOTHERBOOT, "%s is from before the last boot: it is evidence, look at it with 'qbench inspect'; "
			  "what was durable is in Postgres: 'qbench recover --from-postgres=%s' goes on from there",
			  path, run_id);
}

static int attach(struct qb_driver *d, const char *path, struct qb_err *err)
{
	int rc = qb_seg_attach(path, qb_boot_id(), &d->seg);

	if (rc == QB_EOTHERBOOT)
		return other_boot(path, err);
	if (rc < 0)
		return qb_err_set(err, rc, "could not attach to %s: %s", path, qb_strerror(rc));
	int pid = somebody_lives(&d->seg);

	if (pid)
		return qb_err_set(err, QB_EBUSY, "process %d still drives this run; end it first", pid);
	/* The lock is only tried: the new parent takes it for good. */
	rc = qb_parent_lock(&d->seg);
	if (rc == QB_EBUSY)
		return qb_err_set(err, rc, "the parent process of this run still lives; end it first");
	return rc < 0 ? qb_err_errno(err, -rc, "could not lock %s", path) : 0;
}

static int open_record(struct qb_driver *d, struct qb_recover_result *result, struct qb_err *err)
{
	uint32_t bytes;
	const uint8_t *packed = qb_seg_meta(&d->seg, &bytes);
	struct qb_meta meta;
	int rc = qb_meta_unpack(&meta, packed, bytes);
	char dir[400];

	if (rc < 0)
		return qb_err_set(err, rc, "the description of the run in the segment cannot be read: %s", qb_strerror(rc));
	snprintf(dir, sizeof(dir), "%s/%s", d->cfg->results_dir, d->seg.hdr->run_id);
	rc = qb_mkdir_p(dir, 0755, err);
	if (rc == 0)
		rc = qb_dir_is_own(dir, err);
	snprintf(result->record, sizeof(result->record), "%s/recovered-%d.qbr", dir, (int)getpid());
	if (rc == 0)
		rc = qb_recorder_open(&d->recorder, &d->seg, result->record, &meta, err);
	qb_meta_free(&meta);
	return rc;
}

/* The tables and the run's row are there, whoever has been at them since. */
static int set_up(struct qb_driver *d, struct qb_err *err)
{
	struct qb_queue_env env = { .seg = &d->seg, .role = QB_ROLE_DRIVER, .conninfo = qb_server_conninfo(d->server) };

	int rc = d->ops->setup(&env, err);

	/* Before anybody is started: its workers would run jobs that others have run or run now. */
	return rc == 0 ? qb_restore_is_current(env.conninfo, &d->seg, err) : rc;
}

static int sit_down(struct qb_driver *d, struct qb_err *err)
{
	int seat = qb_seat_take(&d->seg, QB_ROLE_DRIVER);

	if (seat < 0)
		return qb_err_set(err, seat, "%s", qb_strerror(seat));
	d->seat = (uint32_t)seat;
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&d->seg.seats[seat].word));

	if (qb_seat_sit(&d->seg, d->seat, incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())) < 0)
		return qb_err_set(err, QB_EFENCED, "another process is taking this segment over");
	qb_store_relaxed32(&d->seg.hdr->submitter_seat, d->seat);
	qb_event_open(&d->log, &d->seg, d->seat, QB_OVERFLOW_DROP);
	d->env = (struct qb_queue_env){
		.seg = &d->seg, .seat = d->seat, .role = QB_ROLE_DRIVER,
		.conninfo = qb_server_conninfo(d->server), .poll_ns = d->seg.cfg.poll_ns,
	};
	/* Nobody lives who could see it go back. */
	qb_store_relaxed32(&d->seg.hdr->stop, QB_STOP_NO);
	qb_store_relaxed32(&d->seg.hdr->state, QB_SEG_LIVE);
	qb_store_relaxed32(&d->seg.hdr->mark_connected, 0);
	return 0;
}

static void on_outcome(void *opaque, uint64_t job_id, enum qb_outcome outcome, uint32_t attempt)
{
	uint64_t *by_outcome = opaque;

	(void)job_id;
	(void)attempt;
	by_outcome[outcome]++;
}

static int drive(struct qb_driver *d, struct qb_recover_result *result, struct qb_err *err)
{
	const struct qb_record_counter counters[] = { { "recovered", 1 } };
	int rc = open_record(d, result, err);

	d->start_ns = qb_now_ns();
	d->feeder = (struct qb_feeder){ .plan = &d->plan, .ops = d->ops, .env = d->env, .log = &d->log };
	if (rc == 0)
		rc = qb_feeder_open(&d->feeder, err);
	if (rc == 0)
		rc = qb_tend_start(d, err);
	if (rc == 0)
		rc = qb_tend_wait_ready(d, err);
	if (rc == 0)
		rc = qb_drive_drain(d, &result->drained, err);
	if (d->parent_pid) {
		struct qb_err later = { 0 };
		int stopped = qb_tend_stop(d, &later);

		if (rc == 0 && stopped < 0) {
			rc = stopped;
			*err = later;
		}
	}
	if (rc == 0)
		rc = d->ops->outcomes(d->feeder.q, on_outcome, result->by_outcome, err);
	result->requeued = d->recorder.tally[QB_EV_JOB_REQUEUED];
	result->ambiguous = d->recorder.tally[QB_EV_JOB_AMBIGUOUS];
	result->completed = d->recorder.tally[QB_EV_JOB_COMPLETED];
	int closed = d->recorder.w ? qb_recorder_close(&d->recorder, counters, 1, rc == 0 ? err : NULL) : 0;

	return rc < 0 ? rc : closed;
}

/* Whatever was accepted has to be somewhere: here the database is compared with what was rebuilt from it. */
static int count_again(const struct qb_recover_result *r, struct qb_err *err)
{
	uint64_t had = r->finished_before, has = 0;

	for (unsigned i = 0; i < QB_RESTORED_COUNT; i++)
		had += r->restored[i];
	for (unsigned o = 1; o < QB_OUTCOME_COUNT; o++)
		has += r->by_outcome[o];
	if (r->life == 0 || had == 0 || had == has)
		return 0;
	return qb_err_set(err, QB_EVERIFY, "Postgres had %llu jobs of this run before, and there are %llu now",
			  (unsigned long long)had, (unsigned long long)has);
}

/* The segment and the directory that held only it. */
static void remove_segment(const char *path)
{
	char copy[512];

	unlink(path);
	snprintf(copy, sizeof(copy), "%s", path);
	char *dir = dirname(copy);
	char *gate = qb_xasprintf("%s/" QB_GATE_NAME, dir);

	unlink(gate);
	free(gate);
	rmdir(dir);
}

/* From a segment that is nobody's to its end. */
static int finish(struct qb_driver *d, struct qb_recover_result *result, struct qb_err *err)
{
	const struct qb_run_config *cfg = d->cfg;

	snprintf(result->run_id, sizeof(result->run_id), "%s", d->seg.hdr->run_id);
	snprintf(result->queue, sizeof(result->queue), "%s", d->seg.cfg.queue);
	snprintf(result->segment_path, sizeof(result->segment_path), "%s", d->segment_path);
	result->life = qb_life_of(qb_load_relaxed64(&d->seg.hdr->mark_epoch));
	count_states(&d->seg, result->by_state_before);
	qb_progress_open(&d->progress, "recover", (int)cfg->quiet);
	prctl(PR_SET_CHILD_SUBREAPER, 1ul, 0ul, 0ul, 0ul);
	/* The lock goes with the descriptor, for the parent to take; the mapping stays. */
	close(d->seg.fd);
	d->seg.fd = -1;
	int rc = sit_down(d, err);

	if (rc == 0)
		rc = drive(d, result, err);
	qb_progress_clear(&d->progress);
	qb_tend_kill_all(d);
	qb_feeder_close(&d->feeder);
	if (d->seat)
		qb_seat_free(&d->seg, d->seat);
	if (rc == 0)
		rc = count_again(result, err);
	if (rc == 0 && result->drained && !cfg->keep_segment && result->by_outcome[QB_OUTCOME_AMBIGUOUS] == 0) {
		qb_let_rows_go(d);
		remove_segment(d->segment_path);
		result->removed = 1;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0ul, 0ul, 0ul, 0ul);
	return rc;
}

int qb_recover(const char *segment_path, const struct qb_run_config *cfg, struct qb_recover_result *result,
	       struct qb_err *err)
{
	struct qb_scenario none = { 0 };
	struct qb_run_result unused = { 0 };
	struct qb_driver d = {
		.cfg = cfg, .sc = &none, .result = &unused, .seg = { .fd = -1 }, .parent_fd = -1,
	};

	memset(result, 0, sizeof(*result));
	if (snprintf(d.segment_path, sizeof(d.segment_path), "%s", segment_path) >= (int)sizeof(d.segment_path))
		return qb_err_set(err, QB_EUSAGE, "the path of the segment is too long");
	int rc = attach(&d, segment_path, err);

	if (rc < 0)
		goto out;
	d.ops = qb_queue_find(d.seg.cfg.queue);
	if (!d.ops)
		rc = qb_err_set(err, QB_EUSAGE, "this qbench knows no queue \"%s\"", d.seg.cfg.queue);
	if (rc == 0)
		rc = qb_server_open(cfg, 0, &d.server, err);
	if (rc == 0 && d.seg.hdr->cluster_id && qb_server_cluster_id(d.server) &&
	    d.seg.hdr->cluster_id != qb_server_cluster_id(d.server))
		rc = qb_err_set(err, QB_EUSAGE, "that is another Postgres cluster than the one of this run: give its --postgres-url");
	if (rc == 0 && d.ops->flags & QB_QUEUE_IN_SEGMENT)
		rc = set_up(&d, err);
	if (rc == 0)
		rc = finish(&d, result, err);
out:
	if (d.seg.base)
		qb_seg_detach(&d.seg);
	qb_server_close(d.server, NULL);
	return rc < 0 ? qb_err_context(err, "recover") : 0;
}

int qb_recover_from_postgres(const char *run_id, const struct qb_run_config *cfg, struct qb_recover_result *result,
			     struct qb_err *err)
{
	struct qb_scenario none = { 0 };
	struct qb_run_result unused = { 0 };
	struct qb_driver d = {
		.cfg = cfg, .sc = &none, .result = &unused, .seg = { .fd = -1 }, .parent_fd = -1,
		.ops = &qb_queue_shm,
	};

	memset(result, 0, sizeof(*result));
	int rc = qb_server_open(cfg, 0, &d.server, err);

	if (rc == 0)
		rc = qb_rebuild_segment(&d, run_id, result, err);
	if (rc == 0)
		rc = finish(&d, result, err);
	if (d.seg.base)
		qb_seg_detach(&d.seg);
	qb_server_close(d.server, NULL);
	return rc < 0 ? qb_err_context(err, "recover") : 0;
}
