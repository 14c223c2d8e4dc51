/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/run-maker.h"

#include <stdlib.h>
#include <string.h>

#include "base/cacheset.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "record/writer.h"
#include "shm/segment.h"

#define US 1000ull
#define MS 1000000ull
#define S 1000000000ull
#define NEVER UINT64_MAX
#define ACK_NS (2 * MS)

/* One slot of a worker. */
struct sim_lane {
	uint64_t free_ns;       /* idle since, or back from the dead at */
	uint64_t done_ns;       /* NEVER: not at work */
	uint32_t job;
};

struct sim_job {
	uint64_t ready_ns;
	uint16_t attempt, failures;
	uint8_t acknowledged;
};

struct sim {
	struct qb_maker *m;
	struct qb_rng rng;
	struct sim_lane lanes[QB_MAKER_LANES_MAX];
	uint32_t lanes_count;
	struct sim_job *jobs;           /* 1..jobs */
	uint32_t *queue;                /* ring of jobs + 1: each is in it once at most */
	uint32_t head, tail, submitted, acked, kills;
	uint64_t batch;
};

void qb_maker_defaults(struct qb_maker_settings *set)
{
	*set = (struct qb_maker_settings){
		.jobs = 200, .workers = 4, .slots = 1, .kills = 2,
		.interval_ns = MS, .work_ns = 3 * MS, .seed = 1,
		.run_id = "shm-crash_recovery-1764000000",
	};
}

void qb_maker_meta(const struct qb_maker *m, struct qb_meta *meta)
{
	static const char *const kinds[] = { "entity_update", "tenant<snapshot>", "entity_enrich" };
	static const char *const classes[] = { "", "rate_limit", "transient", "permanent" };

	memset(meta, 0, sizeof(*meta));
	strncpy(meta->run_id, m->set.run_id, sizeof(meta->run_id) - 1);
	strcpy(meta->lib, "shm");
	strcpy(meta->scenario, "crash_recovery");
	meta->duration_ns = m->set.jobs * m->set.interval_ns;
	meta->rate = (uint32_t)(S / m->set.interval_ns);
	meta->tenants = 5;
	meta->tenant_skew = 0.5;
	meta->seed = m->set.seed;
	meta->workers = m->set.workers;
	meta->slots = m->set.slots;
	strcpy(meta->ack, "durable");
	strcpy(meta->ambiguous, "park");
	strcpy(meta->backoff, "immediate");
	strcpy(meta->qbench_version, "0");
	strcpy(meta->host, "nowhere");
	meta->started_wall_ns = QB_MAKER_WALL0 - 5 * MS;
	meta->kinds_count = QB_ARRAY_COUNT(kinds);
	for (uint32_t i = 0; i < meta->kinds_count; i++)
		strcpy(meta->kinds[i], kinds[i]);
	meta->error_classes_count = QB_ARRAY_COUNT(classes);
	for (uint32_t i = 0; i < meta->error_classes_count; i++)
		strcpy(meta->error_classes[i], classes[i]);
	qb_meta_setting(meta, "kills", "2");
	meta->tenant_ids_count = 3;     /* fewer than tenants: the others are derived */
	meta->tenant_ids = qb_xcalloc(3, sizeof(*meta->tenant_ids));
	for (uint32_t i = 0; i < 3; i++) {
		strcpy(meta->tenant_ids[i], "0fa2b7c6-3d0e-4f51-9f7a-6a0d2c9e1b40");
		meta->tenant_ids[i][35] = (char)('0' + i);
	}
}

struct qb_event_shm *qb_maker_event(struct qb_maker *m, uint32_t seat, uint64_t t_ns, uint32_t type)
{
	struct qb_maker_log *log = &m->logs[seat];

	if (log->count == log->cap) {
		log->cap = log->cap ? 2 * log->cap : 64;
		log->events = qb_xrealloc(log->events, log->cap * sizeof(*log->events));
	}
	struct qb_event_shm *ev = &log->events[log->count++];

	memset(ev, 0, sizeof(*ev));
	ev->seq.v = log->count;
	ev->raw = QB_MAKER_RAW0 + 2 * t_ns;
	ev->type = (uint16_t)type;
	ev->seat = (uint16_t)seat;
	if (t_ns > m->end_ns)
		m->end_ns = t_ns;
	return ev;
}

static struct qb_event_shm *job_event(struct sim *s, uint32_t seat, uint64_t t_ns, uint32_t type,
				      uint32_t job)
{
	struct qb_event_shm *ev = qb_maker_event(s->m, seat, t_ns, type);

	ev->job_id = job;
	ev->slot_idx = job & 1023;
	ev->tenant = job % 5;
	ev->kind = (uint8_t)(job % 3);
	ev->attempt = s->jobs[job].attempt;
	return ev;
}

static void process_event(struct sim *s, uint32_t by, uint64_t t_ns, uint32_t type, uint32_t seat,
			  uint32_t role, uint64_t arg1)
{
	struct qb_event_shm *ev = qb_maker_event(s->m, by, t_ns, type);

	ev->kind = (uint8_t)role;
	ev->slot_idx = seat;
	ev->arg0 = 4000 + seat;
	ev->arg1 = arg1;
}

static void push(struct sim *s, uint32_t job)
{
	s->queue[s->tail] = job;
	s->tail = (s->tail + 1) % (s->m->set.jobs + 1);
}

static void submit(struct sim *s, uint64_t t_ns)
{
	uint32_t job = ++s->submitted;

	job_event(s, QB_MAKER_DRIVER, t_ns, QB_EV_JOB_SUBMITTED, job)->arg0 = QB_MAKER_MONO0 + t_ns;
	s->jobs[job].ready_ns = t_ns + 20 * US;
	push(s, job);
}

static void acknowledge(struct sim *s, uint64_t t_ns)
{
	uint32_t job = ++s->acked;

	job_event(s, QB_MAKER_DRIVER, t_ns, QB_EV_JOB_ENQUEUED, job)->arg1 = ACK_NS;
	s->jobs[job].acknowledged = 1;
	s->m->enqueued++;
	if (job % 16 == 0) {
		struct qb_event_shm *ev = qb_maker_event(s->m, QB_MAKER_SYNCER, t_ns,
							 QB_EV_SYNC_COMMITTED);

		ev->job_id = ++s->batch;
		ev->arg0 = 16;
		ev->arg1 = 180 * US;
	}
	if (job % 100 == 0) {
		struct qb_event_shm *ev = qb_maker_event(s->m, QB_MAKER_DRIVER, t_ns,
							 QB_EV_RESOURCE_SAMPLE);

		ev->arg0 = 64u << 20;
		ev->arg1 = s->m->set.workers + 3;
	}
}

static uint32_t seat_of(const struct sim *s, uint32_t lane)
{
	return QB_MAKER_WORKER + lane / s->m->set.slots;
}

static void start(struct sim *s, uint32_t w, uint64_t t_ns)
{
	struct sim_lane *lane = &s->lanes[w];
	uint32_t job = s->queue[s->head];

	s->head = (s->head + 1) % (s->m->set.jobs + 1);
	s->jobs[job].attempt++;
	lane->job = job;
	lane->done_ns = t_ns + s->m->set.work_ns + qb_rng_below(&s->rng, s->m->set.work_ns);
	job_event(s, seat_of(s, w), t_ns, QB_EV_JOB_STARTED, job)->arg0 = 300;
}

/* Ways, faults and works by turns; 250 us of waiting, so that requests of one seat overlap. */
static void work_for_cache(struct sim *s, uint32_t seat, uint64_t t_ns, uint32_t job)
{
	struct qb_event_shm *ev = job_event(s, seat, t_ns, QB_EV_CACHE_WORK, job);
	struct qb_cache_answer a = {
		.way = (uint8_t)(job % 4), .fault = (uint8_t)(job % 7), .from_memory = job % 2, .ticks = 1, .pushes = 2,
	};

	ev->slot_idx = job % 5;
	ev->arg0 = job % 3;
	ev->arg1 = 1500 * US;
	ev = job_event(s, QB_MAKER_DRIVER, t_ns, QB_EV_CACHE_REQUEST, job);
	ev->slot_idx = job % 5;
	ev->tenant = 3;
	ev->token = a.fault == QB_CACHE_FAILURE ? job + 1 : 0;
	ev->arg0 = 250 * US;
	ev->arg1 = qb_cache_answer_pack(&a);
}

static void finish(struct sim *s, uint32_t w, uint64_t t_ns)
{
	struct sim_lane *lane = &s->lanes[w];
	uint32_t job = lane->job, seat = seat_of(s, w);
	int fails = job % 10 == 3;

	if (s->m->set.cache)
		work_for_cache(s, seat, t_ns, job);
	struct qb_event_shm *ev = job_event(s, seat, t_ns, fails ? QB_EV_JOB_FAILED :
						   QB_EV_JOB_COMPLETED, job);

	ev->arg0 = s->m->set.work_ns;
	lane->done_ns = NEVER;
	lane->free_ns = t_ns + 2 * US;
	s->m->completed += !fails;
	s->m->failed += (uint64_t)fails;
	if (!fails)
		return;
	ev->error_class = 1;
	if (++s->jobs[job].failures < 3) {
		s->jobs[job].ready_ns = t_ns + 100 * US;
		push(s, job);
		return;
	}
	job_event(s, seat, t_ns + US, QB_EV_JOB_DISCARDED, job)->error_class = 1;
	s->m->discarded++;
}

/* What a dead worker was at goes back to the queue, or is parked, by turns. */
static int put_back(struct sim *s, uint32_t job, uint32_t seat, uint64_t kill_ns)
{
	int park = s->kills % 2 == 0;
	struct qb_event_shm *ev = job_event(s, QB_MAKER_PARENT, kill_ns + 155 * US,
					    park ? QB_EV_JOB_AMBIGUOUS : QB_EV_JOB_REQUEUED, job);

	ev->arg0 = qb_word(1, s->jobs[job].attempt, seat, 0, QB_JOB_STARTED);
	ev->arg1 = park ? 1 : QB_MAKER_RAW0 + 2 * kill_ns;
	s->m->requeued += !park;
	s->m->ambiguous += (uint64_t)park;
	if (!park) {
		s->jobs[job].ready_ns = kill_ns + 160 * US;
		push(s, job);
	}
	return !park;
}

static void kill_worker(struct sim *s, uint64_t t_ns)
{
	uint32_t w = (uint32_t)qb_rng_below(&s->rng, s->m->set.workers), seat = QB_MAKER_WORKER + w;
	uint64_t kill = ++s->kills, back = 0;

	process_event(s, QB_MAKER_DRIVER, t_ns, QB_EV_PROCESS_KILLED, seat, QB_ROLE_WORKER, kill);
	process_event(s, QB_MAKER_PARENT, t_ns + 150 * US, QB_EV_PROCESS_DIED, seat,
		      QB_ROLE_WORKER, 9);
	for (uint32_t i = w * s->m->set.slots; i < (w + 1) * s->m->set.slots; i++) {
		struct sim_lane *lane = &s->lanes[i];

		if (lane->done_ns != NEVER)
			back += (uint64_t)put_back(s, lane->job, seat, t_ns);
		lane->done_ns = NEVER;
		lane->free_ns = t_ns + 601 * US;
	}
	struct qb_event_shm *ev = qb_maker_event(s->m, QB_MAKER_PARENT, t_ns + 160 * US,
						 QB_EV_RECOVERED);

	ev->slot_idx = seat;
	ev->arg0 = 10 * US;
	ev->arg1 = back;
	process_event(s, QB_MAKER_PARENT, t_ns + 200 * US, QB_EV_PROCESS_SPAWNED, seat,
		      QB_ROLE_WORKER, 1 + kill);
	process_event(s, seat, t_ns + 600 * US, QB_EV_PROCESS_READY, seat, QB_ROLE_WORKER, 0);
	s->m->killed++;
}

static void begin(struct sim *s)
{
	static const uint32_t roles[] = { 0, QB_ROLE_DRIVER, QB_ROLE_PARENT, QB_ROLE_SYNCER };

	for (uint32_t seat = 2; seat < QB_MAKER_WORKER + s->m->set.workers; seat++) {
		uint32_t role = seat < 4 ? roles[seat] : QB_ROLE_WORKER;

		uint64_t t_ns = (seat == 2 ? 0 : 450 * US) + seat * US;

		process_event(s, seat == 2 ? 1 : 2, t_ns, QB_EV_PROCESS_SPAWNED, seat, role, 1);
		process_event(s, seat, t_ns + 400 * US, QB_EV_PROCESS_READY, seat, role, 0);
	}
	s->lanes_count = s->m->set.workers * s->m->set.slots;
	for (uint32_t i = 0; i < s->lanes_count; i++)
		s->lanes[i] = (struct sim_lane){ .free_ns = MS, .done_ns = NEVER };
}

/* The next thing that happens; the order of the tests decides between two at the same instant. */
static int step(struct sim *s)
{
	const struct qb_maker_settings *set = &s->m->set;
	uint64_t submit_ns = s->submitted < set->jobs ?
			     2 * MS + s->submitted * set->interval_ns : NEVER;
	uint64_t ack_ns = s->acked < s->submitted && s->acked + set->unacknowledged < set->jobs ?
			  2 * MS + ACK_NS + s->acked * set->interval_ns : NEVER;
	uint64_t between_kills_ns = set->jobs * set->interval_ns / (set->kills + 1);
	uint64_t kill_ns = s->kills < set->kills ?
			   2 * MS + (s->kills + 1) * between_kills_ns + 333 * US : NEVER;
	uint64_t start_ns = NEVER, done_ns = NEVER;
	uint32_t starter = 0, doer = 0;

	for (uint32_t i = 0; i < s->lanes_count; i++) {
		struct sim_lane *lane = &s->lanes[i];

		if (lane->done_ns < done_ns) {
			done_ns = lane->done_ns;
			doer = i;
		}
		if (lane->done_ns == NEVER && lane->free_ns < start_ns && s->head != s->tail) {
			start_ns = lane->free_ns;
			starter = i;
		}
	}
	if (s->head != s->tail && start_ns < s->jobs[s->queue[s->head]].ready_ns)
		start_ns = s->jobs[s->queue[s->head]].ready_ns;
	if (submit_ns != NEVER && submit_ns <= ack_ns && submit_ns <= kill_ns &&
	    submit_ns <= start_ns && submit_ns <= done_ns)
		submit(s, submit_ns);
	else if (kill_ns != NEVER && kill_ns <= ack_ns && kill_ns <= start_ns && kill_ns <= done_ns)
		kill_worker(s, kill_ns);
	else if (ack_ns != NEVER && ack_ns <= start_ns && ack_ns <= done_ns)
		acknowledge(s, ack_ns);
	else if (start_ns != NEVER && start_ns <= done_ns)
		start(s, starter, start_ns);
	else if (done_ns != NEVER)
		finish(s, doer, done_ns);
	else
		return 0;
	return 1;
}

void qb_maker_run(struct qb_maker *m, const struct qb_maker_settings *set)
{
	struct sim s = { .m = m };

	memset(m, 0, sizeof(*m));
	m->set = *set;
	if (m->set.slots == 0)
		m->set.slots = 1;
	qb_rng_init(&s.rng, set->seed, "run-maker");
	s.jobs = qb_xcalloc(set->jobs + 1, sizeof(*s.jobs));
	s.queue = qb_xcalloc(set->jobs + 1, sizeof(*s.queue));
	begin(&s);
	while (step(&s))
		;
	qb_maker_event(m, QB_MAKER_DRIVER, m->end_ns + MS, QB_EV_VERDICT)->job_id = 1;
	free(s.queue);
	free(s.jobs);
}

void qb_maker_free(struct qb_maker *m)
{
	for (unsigned i = 0; i < QB_MAKER_SEATS; i++)
		free(m->logs[i].events);
	memset(m, 0, sizeof(*m));
}

static struct qb_clock_triple triple(uint64_t t_ns)
{
	return (struct qb_clock_triple){ QB_MAKER_RAW0 + 2 * t_ns, QB_MAKER_MONO0 + t_ns,
					 QB_MAKER_WALL0 + t_ns };
}

static int write_slice(struct qb_maker *m, struct qb_record_writer *w, uint64_t until_ns,
		       struct qb_err *err)
{
	for (uint32_t seat = 1; seat < QB_MAKER_SEATS; seat++) {
		struct qb_maker_log *log = &m->logs[seat];
		size_t end = log->written;
		int rc;

		while (end < log->count &&
		       (until_ns == NEVER || log->events[end].raw < QB_MAKER_RAW0 + 2 * until_ns))
			end++;
		if (end == log->written)
			continue;
		rc = qb_record_events(w, seat, log->written + 1, log->events + log->written,
				      end - log->written, err);
		if (rc < 0)
			return rc;
		log->written = end;
	}
	return 0;
}

static int write_blocks(struct qb_maker *m, struct qb_record_writer *w, uint64_t slice_ns, int end,
			struct qb_err *err)
{
	struct qb_clock_triple first = triple(0), last = triple(m->end_ns);
	struct qb_record_counter counters[] = {
		{ "end_mono_ns", QB_MAKER_MONO0 + m->end_ns + MS }, { "dropped", 0 },
		{ "completed", m->completed },
	};
	struct qb_meta meta;
	int rc;

	qb_maker_meta(m, &meta);
	rc = qb_record_meta(w, &meta, err);
	qb_meta_free(&meta);
	if (rc == 0)
		rc = qb_record_clock(w, &first, &first, err);
	for (unsigned i = 0; i < QB_MAKER_SEATS; i++)
		m->logs[i].written = 0;
	for (uint64_t t = slice_ns; rc == 0 && t < m->end_ns; t += slice_ns)
		rc = write_slice(m, w, t, err);
	if (rc == 0)
		rc = write_slice(m, w, NEVER, err);
	if (rc == 0)
		rc = qb_record_clock(w, &first, &last, err);
	if (rc == 0 && end)
		rc = qb_record_end(w, counters, QB_ARRAY_COUNT(counters), err);
	return rc;
}

int qb_maker_write_record(struct qb_maker *m, const char *path, uint64_t slice_ns, int end,
			  struct qb_err *err)
{
	struct qb_record_writer *w;
	uint32_t mode = qb_clock_mode_now;
	int rc = qb_record_create(path, &w, err), closed;

	if (rc < 0)
		return rc;
	qb_clock_mode_now = QB_CLOCK_TSC;
	rc = write_blocks(m, w, slice_ns, end, err);
	qb_clock_mode_now = mode;
	closed = qb_record_close(w, err);
	return rc < 0 ? rc : closed;
}

static void fill_ring(struct qb_maker *m, struct qb_seg *seg, uint32_t seat, int torn)
{
	struct qb_event_ring_shm *ring = qb_seg_event_ring(seg, seat);
	struct qb_event_shm *records = qb_event_records(ring);
	struct qb_maker_log *log = &m->logs[seat];
	size_t mask = seg->cfg.event_count - 1;

	for (size_t i = 0; i < log->count; i++)
		records[i & mask] = log->events[i];
	ring->tail.v = log->count;
	if (torn && seat >= QB_MAKER_WORKER && log->count > 0) {
		records[(log->count - 1) & mask].seq.v = 0;
		ring->tail.v--;
	}
}

static void set_triple(struct qb_triple_shm *to, const struct qb_clock_triple *from)
{
	to->raw.v = from->raw;
	to->mono_ns.v = from->mono_ns;
	to->wall_ns.v = from->wall_ns;
}

int qb_maker_write_segment(struct qb_maker *m, const char *path, uint32_t event_count, int torn,
			   struct qb_err *err)
{
	struct qb_clock_triple first = triple(0), last = triple(m->end_ns);
	struct qb_strbuf packed = { 0 };
	struct qb_config_shm cfg;
	struct qb_meta meta;
	struct qb_seg seg;
	int rc;

	qb_config_default(&cfg);
	cfg.job_count = 64;
	cfg.seat_count = QB_MAKER_SEATS;
	cfg.ring_count = 128;
	cfg.block_count = 64;
	cfg.arena_bytes = 4096;
	cfg.event_count = event_count;
	qb_maker_meta(m, &meta);
	qb_meta_pack(&meta, &packed);
	struct qb_seg_identity id = { .run_id = meta.run_id, .meta = packed.data,
				      .meta_bytes = packed.bytes };

	rc = qb_seg_create(path, &cfg, &id, &seg);
	if (rc < 0) {
		qb_err_set(err, rc, "could not create segment %s: %s", path, qb_strerror(rc));
		goto out;
	}
	seg.hdr->clock_mode = QB_CLOCK_TSC;
	set_triple(&seg.hdr->clock_first, &first);
	set_triple(&seg.hdr->clock_last[0], &first);
	set_triple(&seg.hdr->clock_last[1], &last);
	seg.hdr->clock_last_idx.v = 1;
	for (uint32_t seat = 1; seat < QB_MAKER_SEATS; seat++) {
		uint32_t role = seat < QB_MAKER_WORKER ? seat : QB_ROLE_WORKER;

		if (m->logs[seat].count > 0)
			seg.seats[seat].word.v = qb_seat_word(1, role, QB_SEAT_TAKEN);
		fill_ring(m, &seg, seat, torn);
	}
	qb_seg_detach(&seg);
out:
	qb_strbuf_free(&packed);
	qb_meta_free(&meta);
	return rc;
}
