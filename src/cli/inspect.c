/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/proc.h"
#include "shm/job.h"
#include "shm/seat.h"

/* How often a live segment is looked at before its findings are believed. */
#define TRIES 3

const char *qb_life_name(enum qb_life life)
{
	switch (life) {
	case QB_LIFE_DEAD: return "dead";
	case QB_LIFE_ALIVE: return "alive";
	case QB_LIFE_UNKNOWN: return "unknown";
	}
	return "?";
}

const char *qb_standing_name(enum qb_standing standing)
{
	switch (standing) {
	case QB_STANDING_OTHER: return "";
	case QB_STANDING_RUNNING: return "running";
	case QB_STANDING_UNCLEAR: return "unclear";
	case QB_STANDING_NOT_STARTED: return "not_started";
	case QB_STANDING_UNDECIDED: return "undecided";
	case QB_STANDING_PARKED: return "parked";
	case QB_STANDING_IN_DOUBT: return "in_doubt";
	case QB_STANDING_COUNT: break;
	}
	return "?";
}

const char *qb_inspect_kind(const struct qb_inspect *in, uint32_t kind, char *buf, size_t cap)
{
	if (!in->meta_code && kind < in->meta.kinds_count)
		snprintf(buf, cap, "%s", in->meta.kinds[kind]);
	else
		snprintf(buf, cap, "%u", kind);
	return buf;
}

/* Is exactly that process there, and not merely waiting to be reaped? */
static enum qb_life life_of(const struct qb_inspect *in, uint32_t pid, uint64_t start_ticks)
{
	enum qb_life life = QB_LIFE_UNKNOWN;
	int fd, ret;

	if (in->same_boot == 0)
		return QB_LIFE_DEAD;
	if (pid == 0 || pid > INT32_MAX)
		return QB_LIFE_UNKNOWN;
	fd = qb_pidfd_open((pid_t)pid, start_ticks);
	if (fd == -ESRCH)
		return QB_LIFE_DEAD;
	if (fd < 0)
		return QB_LIFE_UNKNOWN;
	ret = qb_pidfd_wait(fd, 0);
	if (ret >= 0)
		life = ret ? QB_LIFE_DEAD : QB_LIFE_ALIVE;
	close(fd);
	return life;
}

static uint64_t wall_of(const struct qb_inspect *in, uint64_t raw)
{
	struct qb_clock_triple first, last;

	if (!raw)
		return 0;
	qb_seg_clock_get(&in->seg, &first, &last);
	return qb_clock_to_wall_ns(&first, &last, raw);
}

/* The newest whole record of a seat's ring. */
static void find_last_record(struct qb_inspect *in, struct qb_inspect_owner *owner)
{
	struct qb_event_ring_shm *ring = qb_seg_event_ring(&in->seg, owner->seat);
	const struct qb_event_shm *records = qb_event_records(ring), *last = NULL;
	uint64_t i, last_seq = 0;

	for (i = 0; i < in->seg.cfg.event_count; i++) {
		uint64_t seq = qb_load_acquire64(&records[i].seq);

		if (seq > last_seq && ((seq - 1) & (in->seg.cfg.event_count - 1)) == i) {
			last_seq = seq;
			last = &records[i];
		}
	}
	if (!last)
		return;
	owner->last_type = last->type;
	owner->last_job_id = last->job_id;
	owner->last_wall_ns = wall_of(in, last->raw);
}

static void gather_owners(struct qb_inspect *in)
{
	const struct qb_seg *seg = &in->seg;
	uint32_t seat;

	in->owners = qb_xcalloc(seg->cfg.seat_count, sizeof(*in->owners));
	for (seat = 1; seat < seg->cfg.seat_count; seat++) {
		const struct qb_seat_shm *s = &seg->seats[seat];
		uint64_t word = qb_load_acquire64(&s->word);
		struct qb_inspect_owner *owner;
		uint64_t ticks = 0;

		in->events_waited += qb_load_relaxed64(&qb_seg_event_ring(seg, seat)->waited);
		if (qb_seat_state_of(word) == QB_SEAT_FREE)
			continue;
		owner = &in->owners[in->owners_count++];
		owner->seat = seat;
		owner->role = qb_seat_role(word);
		owner->incarnation = qb_seat_incarnation(word);
		owner->recovering = qb_seat_state_of(word) == QB_SEAT_RECOVERING;
		owner->pid = qb_seat_who(seg, seat, &ticks);
		owner->life = life_of(in, owner->pid, ticks);
		owner->ready_wall_ns = wall_of(in, qb_load_relaxed64(&s->ready_raw));
		in->owners_alive += owner->life == QB_LIFE_ALIVE;
		find_last_record(in, owner);
	}
}

static struct qb_inspect_owner *owner_of(const struct qb_inspect *in, uint32_t seat)
{
	uint32_t i;

	for (i = 0; i < in->owners_count; i++) {
		if (in->owners[i].seat == seat)
			return &in->owners[i];
	}
	return NULL;
}

/*
 * By slot: the stamp with which the present attempt was recorded as started. One pass over all
 * rings, because there may be a million jobs and as many records.
 */
static uint64_t *find_starts(const struct qb_inspect *in)
{
	const struct qb_seg *seg = &in->seg;
	uint64_t *raw = qb_xcalloc(seg->cfg.job_count, sizeof(*raw));
	uint32_t seat, i;

	for (seat = 1; seat < seg->cfg.seat_count; seat++) {
		const struct qb_event_shm *e = qb_event_records(qb_seg_event_ring(seg, seat));

		for (i = 0; i < seg->cfg.event_count; i++, e++) {
			const struct qb_job_shm *job = qb_seg_job(seg, e->slot_idx);

			if (!qb_load_acquire64(&e->seq) || e->type != QB_EV_JOB_STARTED || !job ||
			    e->job_id != job->job_id ||
			    e->attempt != qb_word_attempt(qb_load_acquire64(&job->word)))
				continue;
			raw[e->slot_idx] = e->raw;
		}
	}
	return raw;
}

static enum qb_standing standing_of(struct qb_inspect *in, uint64_t word, uint32_t effect_class)
{
	uint32_t state = qb_word_state(word);
	struct qb_inspect_owner *owner;

	if (state == QB_JOB_AMBIGUOUS)
		return effect_class == QB_EFFECT_TRANSACTIONAL ? QB_STANDING_IN_DOUBT : QB_STANDING_PARKED;
	if (state != QB_JOB_CLAIMED && state != QB_JOB_STARTED)
		return QB_STANDING_OTHER;
	owner = owner_of(in, qb_word_seat(word));
	if (owner) {
		owner->claimed += state == QB_JOB_CLAIMED;
		owner->started += state == QB_JOB_STARTED;
		if (owner->life == QB_LIFE_ALIVE && !owner->recovering)
			return QB_STANDING_RUNNING;
		if (owner->life == QB_LIFE_UNKNOWN && !owner->recovering)
			return QB_STANDING_UNCLEAR;
	}
	return state == QB_JOB_CLAIMED ? QB_STANDING_NOT_STARTED : QB_STANDING_UNDECIDED;
}

static void gather_job(struct qb_inspect *in, uint32_t slot_idx, uint64_t word,
		       enum qb_standing standing, uint64_t started_raw)
{
	const struct qb_job_shm *job = &in->seg.jobs[slot_idx];
	struct qb_inspect_job *out = &in->jobs[in->jobs_count++];

	*out = (struct qb_inspect_job){
		.slot_idx = slot_idx,
		.word = word,
		.standing = standing,
		.job_id = job->job_id,
		.started_wall_ns = wall_of(in, started_raw),
		.submitted_wall_ns = wall_of(in, job->submitted_raw),
		.effects = qb_effect_count(&in->seg, job->job_id),
		.tenant = job->tenant,
		.payload_bytes = job->payload_bytes,
		.kind = job->kind,
		.error_class = job->error_class,
		.effect_class = job->effect_class,
	};
	/* Of a slot that is being filled only the word means anything yet. */
	if (qb_word_state(word) == QB_JOB_FILLING)
		*out = (struct qb_inspect_job){ .slot_idx = slot_idx, .word = word };
}

static void gather_jobs(struct qb_inspect *in, int all_jobs)
{
	const struct qb_seg *seg = &in->seg;
	uint64_t *started_raw = find_starts(in);
	/* Not only below the high-water mark: it may be the damage. */
	uint32_t i, end = seg->cfg.job_count, count = 0;

	for (i = 0; i < end; i++)
		count += qb_word_state(qb_load_acquire64(&seg->jobs[i].word)) != QB_JOB_FREE;
	in->jobs = qb_xcalloc(count, sizeof(*in->jobs));
	for (i = 0; i < end; i++) {
		uint64_t word = qb_load_acquire64(&seg->jobs[i].word);
		enum qb_standing standing;

		/* A word that cannot be is a finding of the check, and of nobody's. */
		if (qb_word_state(word) == QB_JOB_FREE ||
		    qb_word_state(word) >= QB_JOB_STATE_COUNT)
			continue;
		standing = standing_of(in, word, seg->jobs[i].effect_class);
		in->standing[standing]++;
		if (standing == QB_STANDING_UNDECIDED || standing == QB_STANDING_PARKED)
			in->effects_seen += qb_effect_count(seg, seg->jobs[i].job_id) > 0;
		if (all_jobs || standing != QB_STANDING_OTHER)
			gather_job(in, i, word, standing, started_raw[i]);
	}
	free(started_raw);
}

static void gather_meta(struct qb_inspect *in)
{
	uint32_t bytes;
	const uint8_t *data = qb_seg_meta(&in->seg, &bytes);

	in->meta_code = bytes ? qb_meta_unpack(&in->meta, data, bytes) : QB_EMPTY;
}

static void add_finding(void *ctx, const char *text)
{
	struct qb_strbuf *sb = ctx;

	qb_strbuf_printf(sb, "%s\n", text);
}

int qb_inspect_gather(struct qb_inspect *in, int all_jobs)
{
	int ret = qb_check_segment(&in->seg, &in->check, add_finding, &in->findings);

	if (ret < 0)
		return ret;
	in->findings_count = ret;
	in->same_boot = in->seg.hdr->boot_id ? in->seg.hdr->boot_id == qb_boot_id() : -1;
	in->creator = life_of(in, in->seg.hdr->creator_pid, in->seg.hdr->creator_start_ticks);
	gather_meta(in);
	if (in->meta_code < 0) {
		in->findings_count++;
		qb_strbuf_printf(&in->findings, "description of the run: %s\n",
				 qb_strerror(in->meta_code));
	}
	gather_owners(in);
	gather_jobs(in, all_jobs);
	return 0;
}

/* One look. 0 or negative; in is empty after an error. */
static int look(struct qb_inspect *in, const char *path, int all_jobs)
{
	int ret;

	*in = (struct qb_inspect){ .path = path, .now_wall_ns = qb_wall_ns() };
	ret = qb_seg_snapshot(path, &in->seg);
	if (ret)
		return ret;
	ret = qb_inspect_gather(in, all_jobs);
	if (ret < 0)
		qb_inspect_close(in);
	return ret;
}

int qb_inspect_open(struct qb_inspect *in, const char *path, int all_jobs)
{
	int ret, i;

	for (i = 0; ; i++) {
		ret = look(in, path, all_jobs);
		if (ret || !in->findings_count || !in->owners_alive || i == TRIES - 1)
			return ret;
		qb_inspect_close(in);
		qb_sleep_ns(20 * QB_NS_PER_MS);
	}
}

void qb_inspect_close(struct qb_inspect *in)
{
	qb_meta_free(&in->meta);
	qb_strbuf_free(&in->findings);
	free(in->owners);
	free(in->jobs);
	qb_seg_detach(&in->seg);
}
