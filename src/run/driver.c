/* SPDX-License-Identifier: Apache-2.0 */
#include "run/driver.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "run/cacherun.h"
#include "run/keys.h"
#include "run/process.h"
#include "run/server.h"
#include "shm/seat.h"
#include "shm/wait.h"

/* The original's rule, and the workload's: a job fails for good at its third failure. */
#define MAX_ATTEMPTS 3
#define TICK_NS (5 * QB_NS_PER_MS)
#define FILL_NS (60 * QB_NS_PER_S)
#define SAMPLE_EVERY_NS QB_NS_PER_S

volatile sig_atomic_t qb_interrupted;

/* ---- setting up ---- */

static uint32_t round_up_pow2(uint64_t v)
{
	uint32_t p = 64;

	while (p < v && p < QB_JOB_MAX)
		p *= 2;
	return p;
}

static int make_config(struct qb_driver *d, struct qb_config_shm *c, struct qb_err *err)
{
	const struct qb_run_config *cfg = d->cfg;
	uint32_t workers = d->sc->workers ? d->sc->workers : QB_SCENARIO_WORKERS_DEFAULT;
	struct qb_plan_totals totals;

	qb_plan_totals(&d->plan, &totals);
	qb_config_default(c);
	/* Room for what the plan can pile up, as far as the encoding goes; beyond that enqueue waits. */
	c->job_count = round_up_pow2(d->plan.count < 8192 ? d->plan.count + 64 : 8192);
	c->ring_count = 2 * c->job_count;
	uint64_t blocks = 2ull * c->job_count + 2 * (QB_PAYLOAD_BYTES_MAX / c->block_bytes);

	c->block_count = blocks > QB_BLOCK_MAX ? QB_BLOCK_MAX : (uint32_t)blocks;
	c->seat_count = workers + (uint32_t)cfg->standbys + 12 + qb_scenario_keyset(d->sc).processes +
			qb_scenario_cacheset(d->sc).callers;
	c->effect_count = (uint32_t)d->plan.count;
	c->worker_count = workers;
	c->standby_count = (uint32_t)cfg->standbys;
	c->slots_per_worker = (uint32_t)cfg->slots;
	c->ack_mode = (uint32_t)cfg->ack;
	c->replicas = d->ops->flags & QB_QUEUE_NEEDS_SYNCER ? (uint32_t)cfg->replicas : 0;
	c->backoff = (uint32_t)cfg->backoff;
	c->jitter_permille = (uint32_t)cfg->jitter_permille;
	c->poll_ns = cfg->poll_ns;
	c->ledger = cfg->effects == QB_EFFECTS_IN_POSTGRES || cfg->ambiguous == QB_EFFECT_TRANSACTIONAL;
	c->seed = d->sc->seed;
	/* Spinning pays only with a core for everybody who might. */
	c->spin_ns = workers + 3 <= qb_proc_cores() ? 5000 : 0;
	c->readers = 1u << QB_READER_RECORD;
	if (d->ops->flags & QB_QUEUE_NEEDS_SYNCER)
		c->readers |= 1u << QB_READER_SYNC;
	memset(c->queue, 0, sizeof(c->queue));
	strncpy(c->queue, d->ops->name, sizeof(c->queue) - 1);
	if (qb_seg_bytes(c) < 0)
		return qb_err_set(err, QB_EUSAGE, "these numbers of workers, slots and jobs do not fit into a segment");
	return 0;
}

/* The directory that holds only the segment, for nobody else to enter. 0 or negative; -EEXIST without text. */
static int make_segment_dir(struct qb_driver *d, struct qb_err *err)
{
	int len = snprintf(d->segment_dir, sizeof(d->segment_dir), "%s/qbench-%s", d->cfg->segment_dir,
			   d->result->meta.run_id);
	int rc = 0;

	if (len >= (int)sizeof(d->segment_dir))
		rc = qb_err_set(err, QB_EUSAGE, "--segment-dir is too long");
	else if (mkdir(d->segment_dir, 0700) < 0)
		rc = errno == EEXIST ? -EEXIST :
			qb_err_errno(err, errno, "could not create %s: name another directory with --segment-dir",
				     d->segment_dir);
	if (rc < 0)
		d->segment_dir[0] = 0;
	return rc;
}

/* A name that no other run has, here, where the segments are or in Postgres, and a directory in each place. */
static int make_dirs(struct qb_driver *d, struct qb_err *err)
{
	struct qb_run_result *r = d->result;
	char *run_id = r->meta.run_id, lib[32];

	/* As much of it as a name needs: a number behind keeps two apart. */
	snprintf(lib, sizeof(lib), "%.31s", d->spec.label);
	for (char *c = lib; *c; c++)
		if (!isalnum((unsigned char)*c))
			*c = '-';
	int rc = qb_mkdir_p(d->cfg->results_dir, 0755, err);

	if (rc < 0)
		return qb_err_context(err, "--results-dir");
	/* Two runs within a second get a number behind. */
	for (unsigned n = 1; n < 1000; n++) {
		int len = snprintf(run_id, sizeof(r->meta.run_id), "%s-%s-%llu", lib, d->sc->name,
				   (unsigned long long)(r->meta.started_wall_ns / QB_NS_PER_S));

		if (n > 1 && len < (int)sizeof(r->meta.run_id))
			snprintf(run_id + len, sizeof(r->meta.run_id) - (size_t)len, "-%u", n);
		if (snprintf(r->dir, sizeof(r->dir), "%s/%s", d->cfg->results_dir, run_id) >= (int)sizeof(r->dir))
			return qb_err_set(err, QB_EUSAGE, "--results-dir is too long");
		if (qb_server_knows_run(d->server, run_id))
			continue;
		if (mkdir(r->dir, 0755) < 0) {
			if (errno == EEXIST)
				continue;
			return qb_err_errno(err, errno, "--results-dir: could not create %s", r->dir);
		}
		rc = make_segment_dir(d, err);
		if (rc == 0)
			return 0;
		rmdir(r->dir);
		if (rc != -EEXIST)
			return rc;
	}
	r->dir[0] = 0;
	return qb_err_set(err, QB_EUSAGE, "%s is full of runs of this second", d->cfg->results_dir);
}

static int make_segment(struct qb_driver *d, struct qb_err *err)
{
	const char *run_id = d->result->meta.run_id;
	struct qb_strbuf packed = { 0 };
	struct qb_config_shm cfg;
	int rc = make_config(d, &cfg, err);

	if (rc < 0)
		return rc;
	qb_rebuild_note(&d->result->meta, &cfg);
	qb_meta_pack(&d->result->meta, &packed);
	cfg.meta_bytes = (uint32_t)QB_ROUND_UP(packed.bytes + sizeof(uint32_t), 64);
	struct qb_seg_identity id = {
		.run_id = run_id,
		.cluster_id = qb_server_cluster_id(d->server),
		.boot_id = qb_boot_id(),
		.creator_start_ticks = qb_proc_start_ticks(getpid()),
		.meta = packed.data,
		.meta_bytes = packed.bytes,
	};

	snprintf(d->segment_path, sizeof(d->segment_path), "%s/segment", d->segment_dir);
	rc = qb_seg_create(d->segment_path, &cfg, &id, &d->seg);
	if (rc == -ENOSPC)
		qb_err_set(err, rc, "there is no room for the segment of %.1f MiB in %s: free some, make that file system "
			   "larger, or name another directory with --segment-dir",
			   (double)qb_seg_bytes(&cfg) / 1048576, d->cfg->segment_dir);
	else if (rc < 0)
		qb_err_set(err, rc, "could not create the segment %s: %s", d->segment_path, qb_strerror(rc));
	qb_strbuf_free(&packed);
	return rc;
}

static int take_seat(struct qb_driver *d, struct qb_err *err)
{
	int seat = qb_seat_take(&d->seg, QB_ROLE_DRIVER);

	if (seat < 0)
		return qb_err_set(err, seat, "%s", qb_strerror(seat));
	d->seat = (uint32_t)seat;
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&d->seg.seats[seat].word));

	if (qb_seat_sit(&d->seg, d->seat, incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())) < 0)
		return qb_err_set(err, QB_EFENCED, "another process is taking this segment over");
	qb_store_release64(&d->seg.seats[seat].ready_raw, qb_stamp());
	qb_store_relaxed32(&d->seg.hdr->submitter_seat, d->seat);
	/* The feeder looks for room first; what does not fit all the same is counted. */
	qb_event_open(&d->log, &d->seg, d->seat, QB_OVERFLOW_DROP);
	d->env = (struct qb_queue_env){
		.seg = &d->seg, .seat = d->seat, .role = QB_ROLE_DRIVER,
		.conninfo = qb_server_conninfo(d->server), .poll_ns = d->cfg->poll_ns, .options = d->spec.options,
	};
	return 0;
}

/* What lies beside the segment before any process of the run is there. */
static int make_gate(struct qb_driver *d, struct qb_err *err)
{
	struct qb_keyset set = qb_scenario_keyset(d->sc);

	if (d->sc->shape != QB_SHAPE_KEYS)
		return 0;
	if (!d->ops->enqueue_unique)
		return qb_err_set(err, QB_EUSAGE, "%s takes no unique keys", d->ops->name);
	snprintf(d->gate_path, sizeof(d->gate_path), "%s/" QB_GATE_NAME, d->segment_dir);
	return qb_gate_create(&d->gate, d->gate_path, &set, err);
}

/* Before there is anybody to take one. The jobs behind it wait until it is done. */
static int fill_backlog(struct qb_driver *d, struct qb_err *err)
{
	struct qb_feeder *f = &d->feeder;
	/* In the segment they become durable when the syncer is there. */
	int answers = !(d->ops->flags & QB_QUEUE_NEEDS_SYNCER);
	int rc = 0;

	if (!d->sc->backlog)
		return 0;
	f->limit = d->sc->backlog;
	f->start_ns = qb_now_ns();
	uint64_t deadline = f->start_ns + FILL_NS;

	while (rc == 0 && (f->next < f->limit || (answers && qb_feeder_unsettled(f)))) {
		if (qb_interrupted)
			return qb_err_set(err, QB_EINTR, "interrupted");
		if (qb_now_ns() > deadline)
			return qb_err_set(err, QB_ETIMEOUT, "only %zu of the %u jobs of the backlog could be enqueued in %.0f s",
					  f->next, d->sc->backlog, (double)FILL_NS / 1e9);
		qb_feeder_poll(f);
		rc = qb_recorder_poll(&d->recorder, err);
		if (f->next == f->limit || f->full_waits)
			qb_sleep_ns(QB_NS_PER_MS / 4);
	}
	return rc;
}

static int set_up(struct qb_driver *d, struct qb_err *err)
{
	static const struct qb_plan nothing;
	char path[640];
	int rc = qb_plan_build(d->sc, &d->plan, err);

	if (rc < 0)
		return rc;
	if (d->sc->faults.kills > 0 && d->sc->faults.victim == QB_VICTIM_SYNCER &&
	    !(d->ops->flags & QB_QUEUE_NEEDS_SYNCER))
		return qb_err_set(err, QB_EUSAGE, "--victim=syncer: %s has no syncer", d->ops->name);
	if (d->sc->faults.kills > 0 && d->sc->faults.victim == QB_VICTIM_POSTGRES && !qb_server_is_private(d->server))
		return qb_err_set(err, QB_EUSAGE, "--victim=postgres: only a private server is killed");
	if (d->cfg->replicas && d->ops->flags & QB_QUEUE_NEEDS_SYNCER && qb_server_is_private(d->server))
		return qb_err_set(err, QB_EUSAGE, "--replicas=%llu: a private server has no standby servers; name one that has with "
				  "--postgres-url", (unsigned long long)d->cfg->replicas);
	d->result->meta.started_wall_ns = qb_wall_ns();
	rc = make_dirs(d, err);
	if (rc < 0)
		return rc;
	qb_describe_run(d, MAX_ATTEMPTS);
	rc = make_segment(d, err);
	if (rc == 0)
		rc = make_gate(d, err);
	if (rc == 0 && d->sc->shape == QB_SHAPE_CACHE)
		rc = qb_cache_run_prepare(d, err);
	if (rc == 0)
		rc = take_seat(d, err);
	if (rc == 0)
		rc = d->ops->setup(&d->env, err);
	if (rc < 0)
		return rc;
	qb_load_begin(d);
	snprintf(path, sizeof(path), "%s/events.qbr", d->result->dir);
	rc = qb_recorder_open(&d->recorder, &d->seg, path, &d->result->meta, err);
	if (rc < 0)
		return rc;
	d->feeder = (struct qb_feeder){
		.plan = d->sc->shape == QB_SHAPE_LOAD ? &d->plan : &nothing, .ops = d->ops, .env = d->env, .log = &d->log,
		.max_attempts = MAX_ATTEMPTS, .effect_class = (uint16_t)d->cfg->ambiguous,
		.open_max = 2 * (size_t)d->sc->rate,
	};
	rc = qb_feeder_open(&d->feeder, err);
	if (rc < 0)
		return rc;
	d->faults = (struct qb_faults){
		.seg = &d->seg, .log = &d->log, .server = d->server,
		.has_syncer = (d->ops->flags & QB_QUEUE_NEEDS_SYNCER) != 0,
	};
	qb_faults_plan(&d->faults, d->sc);
	rc = fill_backlog(d, err);
	if (rc == 0)
		rc = qb_tend_start(d, err);
	/* With a gate they are ready when it is open. */
	return rc < 0 || d->gate.shm ? rc : qb_tend_wait_ready(d, err);
}

/* ---- the run ---- */

static void sample(struct qb_driver *d, uint64_t now)
{
	uint64_t pages = 0, processes = 0;
	uint32_t before = 0;

	if (now - d->sampled_ns < SAMPLE_EVERY_NS)
		return;
	d->sampled_ns = now;
	for (uint32_t seat = 1; seat < d->seg.cfg.seat_count; seat++) {
		uint32_t pid = qb_seat_who(&d->seg, seat, NULL);
		char path[48];
		unsigned long size, resident, shared;

		/* Callers of one process have a seat each, side by side. */
		if (pid == 0 || pid == before)
			continue;
		before = pid;
		snprintf(path, sizeof(path), "/proc/%u/statm", pid);
		FILE *f = fopen(path, "re");

		/* Without the shared pages, which would be counted once per process. */
		if (f && fscanf(f, "%lu %lu %lu", &size, &resident, &shared) == 3) {
			pages += resident - shared;
			processes++;
		}
		if (f)
			fclose(f);
	}
	qb_process_note(&d->log, QB_EV_RESOURCE_SAMPLE, QB_ROLE_DRIVER, d->seat, pages * (uint64_t)sysconf(_SC_PAGESIZE),
			processes);
}

static void show(struct qb_driver *d, const char *phase)
{
	const uint64_t *t = d->recorder.tally;
	int has_feeder = d->sc->shape == QB_SHAPE_LOAD;
	struct qb_progress_numbers n = {
		.elapsed_ns = qb_now_ns() - d->start_ns, .planned = d->plan.count, .submitted = has_feeder ? d->feeder.submitted : t[QB_EV_JOB_SUBMITTED],
		.acknowledged = has_feeder ? d->feeder.acknowledged : t[QB_EV_JOB_ENQUEUED], .completed = t[QB_EV_JOB_COMPLETED],
		.failed = t[QB_EV_JOB_DISCARDED], .kills = d->faults.done, .kills_planned = d->faults.count,
		.phase = phase,
	};

	qb_progress_show(&d->progress, &d->seg, &n);
}

int qb_drive_duties(struct qb_driver *d, const char *phase, struct qb_err *err)
{
	uint64_t now = qb_now_ns();

	qb_feeder_poll(&d->feeder);
	qb_faults_poll(&d->faults, now - d->start_ns);
	int rc = qb_server_failed(d->server, err);

	if (rc == 0)
		rc = qb_tend_poll(d, err);
	if (rc == 0)
		rc = qb_recorder_poll(&d->recorder, err);
	if (rc < 0)
		return rc;
	sample(d, now);
	show(d, phase);
	return 0;
}

void qb_drive_nap(struct qb_driver *d)
{
	uint64_t now = qb_now_ns(), until = now + TICK_NS;
	uint64_t next = qb_feeder_next_ns(&d->feeder), kill = qb_faults_next_ns(&d->faults);

	/* A job that is overdue waits for room, not for its time. */
	if (next > now && next < until)
		until = next;
	if (kill != UINT64_MAX && d->start_ns + kill > now && d->start_ns + kill < until)
		until = d->start_ns + kill;
	/* A kill that is overdue waits for its victim: a successor that takes over does so for a millisecond. */
	if (kill != UINT64_MAX && d->start_ns + kill <= now && now + QB_NS_PER_MS / 5 < until)
		until = now + QB_NS_PER_MS / 5;
	if (next <= now)
		until = now + QB_NS_PER_MS / 4;
	qb_park_prepare(&d->seg, d->seat, 0);
	if (qb_feeder_has_news(&d->feeder))
		qb_park_cancel(&d->seg, d->seat);
	else
		qb_park(&d->seg, d->seat, until - now);
}

int qb_drive_step(struct qb_driver *d, const char *phase, struct qb_err *err)
{
	int rc = qb_drive_duties(d, phase, err);

	if (rc < 0)
		return rc;
	if (qb_interrupted)
		return QB_EINTR;
	qb_drive_nap(d);
	return 0;
}

static int load_phase(struct qb_driver *d, struct qb_err *err)
{
	while (d->feeder.next < d->plan.count || d->faults.done < d->faults.count) {
		/* Kills for which no victim turns up any more are given up with the end of the watch. */
		if (d->feeder.next == d->plan.count &&
		    qb_now_ns() - d->start_ns > d->sc->duration_ns + d->cfg->drain_ns)
			break;
		int rc = qb_drive_step(d, "load", err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static void wait_start(struct qb_driver *d)
{
	/* The first tick of the plan is 1/rate after the start: whatever the processes still do is over by then. */
	d->start_ns = qb_now_ns() + 20 * QB_NS_PER_MS;
	if (!d->sc->backlog)
		d->feeder.start_ns = d->start_ns;
	qb_sleep_until_ns(d->start_ns);
}

/* What ends the run asks the server; a kill of the plan may have left it on its way. */
static int await_server(struct qb_driver *d, struct qb_err *err)
{
	int rc = 0;

	while (rc == 0 && qb_server_is_away(d->server)) {
		rc = qb_tend_poll(d, err);
		if (rc == 0)
			rc = qb_recorder_poll(&d->recorder, err);
		qb_sleep_ns(TICK_NS);
	}
	return rc == 0 ? qb_server_failed(d->server, err) : rc;
}

/* Until the backlog is done, or it is time to go on; then the plan begins. */
static int backlog_phase(struct qb_driver *d, struct qb_err *err)
{
	int drained, rc = qb_drive_drain(d, &drained, err);

	d->in_a_hurry = 0;
	d->feeder.limit = d->plan.count;
	d->feeder.start_ns = qb_now_ns() + 20 * QB_NS_PER_MS;
	return rc;
}

static int run_phases(struct qb_driver *d, struct qb_err *err)
{
	wait_start(d);
	int drained = 0, ended = 1, rc = d->sc->backlog ? backlog_phase(d, err) : 0;

	if (rc == 0)
		rc = d->gate.shm ? qb_run_keys(d, &ended, err) :
		     d->board.shm ? qb_cache_run(d, &ended, err) : load_phase(d, err);

	/* What the dead still hold was watched for as long as it is to be. */
	d->in_a_hurry = !ended;
	if (rc == 0 && ended)
		rc = qb_drive_drain(d, &drained, err);
	if (rc == QB_EINTR) {
		d->result->interrupted = 1;
		qb_progress_clear(&d->progress);
		qb_log(QB_LOG_INFO, "interrupted: letting running jobs end, then writing what there is");
	}
	struct qb_err later = { 0 };
	int back = await_server(d, &later);

	if (back < 0 && rc == 0) {
		*err = later;
		rc = back;
	}
	return rc;
}

static void tear_down(struct qb_driver *d, int keep)
{
	qb_progress_clear(&d->progress);
	qb_tend_kill_all(d);
	qb_feeder_close(&d->feeder);
	qb_faults_free(&d->faults);
	if (d->recorder.w)
		qb_recorder_close(&d->recorder, NULL, 0, NULL);
	qb_plan_free(&d->plan);
	if (d->gate_path[0])
		unlink(d->gate_path);
	qb_gate_close(&d->gate);
	qb_cache_run_clear(d, (int)d->cfg->keep_segment);
	if (d->seg.base && !keep) {
		unlink(d->segment_path);
		d->segment_path[0] = 0;
	}
	if (d->segment_dir[0] && !keep)
		rmdir(d->segment_dir);
	if (keep)
		snprintf(d->result->segment_path, sizeof(d->result->segment_path), "%s", d->segment_path);
	if (d->seg.base)
		qb_seg_detach(&d->seg);
	prctl(PR_SET_CHILD_SUBREAPER, 0ul, 0ul, 0ul, 0ul);
}

/* Of a run that never began: a record without a job in it. */
static void remove_results(const struct qb_run_result *r)
{
	char path[640];

	snprintf(path, sizeof(path), "%s/events.qbr", r->dir);
	unlink(path);
	rmdir(r->dir);
}

int qb_run_one(const struct qb_run_config *cfg, const struct qb_scenario *scenario, const char *lib,
	       unsigned run_no, struct qb_server *server, struct qb_run_result *result, struct qb_err *err)
{
	struct qb_driver d = {
		.cfg = cfg, .sc = scenario, .server = server, .result = result,
		.seg = { .fd = -1 }, .parent_fd = -1,
	};
	char label[128];

	memset(result, 0, sizeof(*result));
	result->load = qb_db_load_unknown();
	if (qb_queue_spec_parse(lib, &d.spec, err) < 0)
		return QB_EUSAGE;
	d.ops = d.spec.ops;
	snprintf(label, sizeof(label), "%s %s", lib, scenario->name);
	if (cfg->runs > 1)
		snprintf(label, sizeof(label), "%s %s (%u of %llu)", lib, scenario->name, run_no + 1,
			 (unsigned long long)cfg->runs);
	qb_progress_open(&d.progress, label, (int)cfg->quiet);
	/* Orphans of a killed parent come to us, so that every death can be seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1ul, 0ul, 0ul, 0ul);
	prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
	int rc = set_up(&d, err), ran = rc == 0;

	result->started = ran;
	if (ran)
		rc = run_phases(&d, err);
	if (ran) {
		struct qb_err later = { 0 };

		/* An error in the middle ends the run early, as an interrupt does: what there is, is written. */
		result->interrupted |= rc < 0;
		d.in_a_hurry |= rc < 0;
		int stopped = qb_tend_stop(&d, &later);

		qb_load_end(&d);
		int verified = qb_verify(&d, &later);

		/* Whoever finds a kept segment can tell that nobody was killed out of it. */
		if (rc == 0 && stopped == 0)
			qb_store_release32(&d.seg.hdr->state, QB_SEG_CLOSED);
		if (rc == 0 && (stopped < 0 || verified < 0)) {
			rc = verified < 0 ? verified : stopped;
			*err = later;
		}
	}
	if (rc == QB_EINTR)
		qb_err_set(err, rc, "interrupted");
	/* Where it never began it leaves nothing; what does not add up, or broke off, stays to be looked at. */
	tear_down(&d, cfg->keep_segment || (ran && rc < 0 && rc != QB_EINTR));
	if (!ran)
		remove_results(result);
	/* With numbers the report says so. */
	if (result->segment_path[0] && !result->summary.run_id[0])
		qb_log(QB_LOG_INFO, "the segment stays in %s: see 'qbench inspect' and 'qbench recover'", result->segment_path);
	return rc < 0 ? qb_err_context(err, "%s", lib) : 0;
}
