/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/segment-maker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/strbuf.h"
#include "record/meta.h"
#include "shm/event.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/recovery.h"
#include "shm/seat.h"

#define HOUR_NS 3600000000000ull

static struct qb_seg seg;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "segment-maker: %s failed\n", what);
	exit(1);
}

/* A process that was there and is not: its pid and start time. */
static void dead_process(uint32_t *pid, uint64_t *ticks)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		for (;;)
			pause();
	}
	must(child > 0, "fork");
	*pid = (uint32_t)child;
	*ticks = qb_proc_start_ticks(child);
	must(*ticks != 0, "qb_proc_start_ticks");
	kill(child, SIGKILL);
	must(waitpid(child, &status, 0) == child, "waitpid");
}

static uint32_t sit(uint32_t role, uint32_t pid, uint64_t ticks)
{
	int seat = qb_seat_take(&seg, role);

	must(seat > 0, "qb_seat_take");
	must(qb_seat_sit(&seg, (uint32_t)seat,
			 qb_seat_incarnation(qb_load_acquire64(&seg.seats[seat].word)), pid,
			 ticks) == 0, "qb_seat_sit");
	qb_store_relaxed64(&seg.seats[seat].ready_raw, qb_stamp());
	return (uint32_t)seat;
}

static void submit(uint32_t seat, uint64_t job_id, uint32_t effect_class)
{
	static const char payload[300] = "a payload that takes more than one block of 128 bytes";
	struct qb_submit what = {
		.job_id = job_id, .submitted_raw = qb_stamp(), .work_us = 1000, .kind = 1,
		.tenant = (uint32_t)job_id % 5, .max_attempts = 3,
		.effect_class = (uint16_t)effect_class, .payload = payload,
		.payload_bytes = sizeof(payload),
	};
	struct qb_held ref;

	must(qb_job_submit(&seg, seat, &what, &ref) == QB_OK, "qb_job_submit");
}

static void log_started(uint32_t seat, const struct qb_held *held)
{
	struct qb_event_writer w;
	struct qb_event_shm *e;

	qb_event_open(&w, &seg, seat, QB_OVERFLOW_DROP);
	e = qb_event_begin(&w);
	must(e != NULL, "qb_event_begin");
	e->type = QB_EV_JOB_STARTED;
	e->slot_idx = held->slot_idx;
	e->job_id = seg.jobs[held->slot_idx].job_id;
	e->token = held->word;
	e->attempt = (uint16_t)qb_word_attempt(held->word);
	e->kind = 1;
	qb_event_commit(&w, e);
}

/* Submit it and let that seat have it, as far as told. */
static struct qb_held hold(uint32_t driver, uint32_t seat, uint64_t job_id, uint32_t effect_class,
			   int start)
{
	struct qb_held held;

	submit(driver, job_id, effect_class);
	must(qb_job_claim(&seg, seat, &held) == QB_OK, "qb_job_claim");
	must(seg.jobs[held.slot_idx].job_id == job_id, "claiming in order");
	if (start) {
		must(qb_job_start(&seg, &held) == 0, "qb_job_start");
		log_started(seat, &held);
	}
	return held;
}

static void recover(uint32_t seat)
{
	struct qb_recovery r;

	must(qb_recovery_open(&r, &seg) == 0, "qb_recovery_open");
	must(qb_recover_seat(&r, seat, NULL, NULL) == 0, "qb_recover_seat");
	qb_recovery_close(&r);
}

/* A slot whose submitter was killed before READY (FILLING), or after it and before the push. */
static void half_submitted(uint32_t driver, uint64_t job_id, uint32_t state)
{
	uint32_t idx = qb_hint_next(seg.free_map, 0, seg.cfg.job_count);
	struct qb_job_shm *job = &seg.jobs[idx];
	uint32_t gen = qb_word_gen(qb_load_acquire64(&job->word));

	must(idx != QB_HINT_NONE, "finding a free slot");
	qb_raise32(&seg.hdr->high_water, idx + 1);
	qb_hint_clear(seg.free_map, idx);
	job->job_id = job_id;
	job->max_attempts = 3;
	job->block_first = QB_NO_BLOCK;
	qb_store_release64(&job->word,
			   qb_word(gen, 0, state == QB_JOB_FILLING ? driver : 0, 0, state));
}

static void fill(uint32_t driver, uint32_t dead, uint32_t other, uint32_t lost)
{
	struct qb_held held;
	int final;

	/* What recovery decides comes first: it looks at all jobs. */
	hold(driver, lost, 9, QB_EFFECT_OPAQUE, 1);
	held = hold(driver, lost, 12, QB_EFFECT_IDEMPOTENT, 0);
	must(qb_job_release(&seg, &held) == 0, "qb_job_release");
	must(qb_job_claim(&seg, lost, &held) == QB_OK, "the second claim");
	recover(lost);

	hold(driver, dead, 3, QB_EFFECT_IDEMPOTENT, 0);
	hold(driver, dead, 4, QB_EFFECT_IDEMPOTENT, 1);
	hold(driver, dead, 5, QB_EFFECT_OPAQUE, 1);
	qb_effect_bump(&seg, 5);
	held = hold(driver, dead, 6, QB_EFFECT_IDEMPOTENT, 1);
	must(qb_job_fail(&seg, dead, &held, 0, qb_mono_ns() + HOUR_NS, &final) == 0 && !final,
	     "qb_job_fail");
	held = hold(driver, dead, 7, QB_EFFECT_IDEMPOTENT, 1);
	must(qb_job_complete(&seg, dead, &held, "result", 6) == 0, "qb_job_complete");
	held = hold(driver, dead, 8, QB_EFFECT_IDEMPOTENT, 1);
	must(qb_job_fail(&seg, dead, &held, 1, 0, &final) == 0 && final, "the last qb_job_fail");
	held = hold(driver, dead, 11, QB_EFFECT_IDEMPOTENT, 1);
	must(qb_job_complete(&seg, dead, &held, "result", 6) == 0, "qb_job_complete");
	qb_store_release64(&seg.jobs[held.slot_idx].word, (held.word & ~0x3full) | QB_JOB_SYNCED);
	/* Its first attempt was started, and is on record; this one is not. */
	held = hold(driver, other, 13, QB_EFFECT_IDEMPOTENT, 1);
	must(qb_job_fail(&seg, other, &held, 0, 0, &final) == 0 && !final, "qb_job_fail");
	must(qb_job_promote_due(&seg, qb_mono_ns()) == 1, "qb_job_promote_due");
	must(qb_job_claim(&seg, other, &held) == QB_OK, "the second claim");
	hold(driver, other, 14, QB_EFFECT_IDEMPOTENT, 1);
	held = hold(driver, dead, 15, QB_EFFECT_IDEMPOTENT, 1);
	qb_effect_bump(&seg, 15);
	qb_effect_bump(&seg, 15);
	must(qb_job_complete(&seg, dead, &held, "", 0) == 0, "qb_job_complete");
	half_submitted(driver, 10, QB_JOB_FILLING);
	half_submitted(driver, 2, QB_JOB_READY);
	submit(driver, 1, QB_EFFECT_IDEMPOTENT);

	qb_store_relaxed64(&seg.hdr->mark_batch, 7);
	qb_store_relaxed64(&seg.hdr->mark_accepted, 12);
	qb_store_relaxed64(&seg.hdr->mark_final, 1);
	qb_store_relaxed64(&seg.hdr->mark_events, 20);
	qb_store_relaxed64(&seg.hdr->mark_commit_wall_ns, qb_realtime_ns());
}

/* Whatever the description names, it names so. */
static void rename_all(struct qb_meta *m, const char *name)
{
	snprintf(m->run_id, sizeof(m->run_id), "%s", name);
	snprintf(m->lib, sizeof(m->lib), "%s", name);
	snprintf(m->scenario, sizeof(m->scenario), "%s", name);
	snprintf(m->ack, sizeof(m->ack), "%s", name);
	snprintf(m->ambiguous, sizeof(m->ambiguous), "%s", name);
	snprintf(m->backoff, sizeof(m->backoff), "%s", name);
	snprintf(m->server_version, sizeof(m->server_version), "%s", name);
	snprintf(m->host, sizeof(m->host), "%s", name);
	for (uint32_t i = 0; i < m->kinds_count; i++)
		snprintf(m->kinds[i], sizeof(m->kinds[i]), "%s", name);
}

/* In memory there is nobody who fills in the description. */
static void add_meta(const struct qb_strbuf *packed)
{
	uint32_t bytes = (uint32_t)packed->bytes;

	memcpy(seg.base + seg.sec[QB_SEC_META].off, &bytes, sizeof(bytes));
	memcpy(seg.base + seg.sec[QB_SEC_META].off + sizeof(bytes), packed->data, bytes);
}

static void create(const char *path, const char *name)
{
	struct qb_meta meta = {
		.run_id = "shm-crash_recovery-1764000000", .lib = "shm",
		.scenario = "crash_recovery", .duration_ns = 8000000000, .rate = 40, .tenants = 5,
		.seed = 20, .workers = 10, .slots = 1, .ack = "durable", .ambiguous = "retry",
		.backoff = "immediate", .qbench_version = "0", .host = "test",
		.kinds_count = 2, .kinds = { "entity_update", "tenant_snapshot" },
	};
	struct qb_seg_identity id = {
		.run_id = meta.run_id, .boot_id = qb_boot_id(),
		.creator_start_ticks = qb_proc_start_ticks(getpid()),
	};
	struct qb_config_shm cfg;
	struct qb_strbuf packed = { 0 };
	int ret;

	if (name)
		rename_all(&meta, name);
	qb_meta_pack(&meta, &packed);
	id.meta = packed.data;
	id.meta_bytes = packed.bytes;
	qb_config_default(&cfg);
	cfg.job_count = 64;
	cfg.ring_count = 128;
	cfg.seat_count = 8;
	cfg.block_count = 256;
	cfg.block_bytes = 128;
	cfg.arena_bytes = 4096;
	cfg.event_count = 64;
	cfg.effect_count = 64;
	cfg.max_claims = 2;
	/* In memory it is for those who try every bit of it. */
	if (!path) {
		cfg.block_count = 64;
		cfg.meta_bytes = 1024;
	}
	if (path) {
		ret = qb_seg_create(path, &cfg, &id, &seg);
	} else {
		ret = qb_seg_create_anonymous(&cfg, &seg);
		if (ret == 0)
			add_meta(&packed);
	}
	qb_strbuf_free(&packed);
	if (ret)
		fprintf(stderr, "segment-maker: %s: %s\n", path ? path : "in memory", qb_strerror(ret));
	must(ret == 0, "qb_seg_create");
}

struct qb_seg *qb_segment_make(const char *path, const struct qb_segment_wish *wish)
{
	uint32_t driver, dead, other, lost, pid;
	uint64_t ticks;

	create(path, wish ? wish->name : NULL);
	dead_process(&pid, &ticks);
	driver = sit(QB_ROLE_DRIVER, pid, ticks);
	dead_process(&pid, &ticks);
	sit(QB_ROLE_SYNCER, pid, ticks);
	dead_process(&pid, &ticks);
	dead = sit(QB_ROLE_WORKER, pid, ticks);
	lost = sit(QB_ROLE_WORKER, pid, ticks);
	dead_process(&pid, &ticks);
	if (wish && wish->pid) {
		pid = wish->pid;
		ticks = qb_proc_start_ticks((pid_t)pid);
		must(ticks != 0, "finding the process that is alive");
		ticks -= (uint64_t)wish->reused;
	}
	other = sit(QB_ROLE_WORKER, pid, ticks);
	fill(driver, dead, other, lost);
	qb_seg_clock_update(&seg);
	return &seg;
}
