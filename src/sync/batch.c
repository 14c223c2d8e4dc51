/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/batch.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/arena.h"
#include "shm/fault.h"
#include "shm/hint.h"
#include "shm/job.h"

static const uint32_t column_type[QB_COL_COUNT] = {
	[QB_COL_INS_ID] = QB_PG_INT8, [QB_COL_INS_STATE] = QB_PG_INT2, [QB_COL_INS_ATTEMPT] = QB_PG_INT4,
	[QB_COL_INS_FAILURES] = QB_PG_INT2, [QB_COL_INS_DUE] = QB_PG_TIMESTAMPTZ, [QB_COL_INS_TENANT] = QB_PG_INT4,
	[QB_COL_INS_KIND] = QB_PG_INT2, [QB_COL_INS_ERROR] = QB_PG_INT2, [QB_COL_INS_MAX] = QB_PG_INT2,
	[QB_COL_INS_EFFECT] = QB_PG_INT2, [QB_COL_INS_WORK] = QB_PG_INT4, [QB_COL_INS_PAYLOAD] = QB_PG_BYTEA,
	[QB_COL_INS_KEY] = QB_PG_BYTEA,
	[QB_COL_UPD_ID] = QB_PG_INT8, [QB_COL_UPD_STATE] = QB_PG_INT2, [QB_COL_UPD_ATTEMPT] = QB_PG_INT4,
	[QB_COL_UPD_FAILURES] = QB_PG_INT2, [QB_COL_UPD_DUE] = QB_PG_TIMESTAMPTZ,
	[QB_COL_OUT_ID] = QB_PG_INT8, [QB_COL_OUT_STATE] = QB_PG_INT2, [QB_COL_OUT_ATTEMPT] = QB_PG_INT4,
	[QB_COL_OUT_FAILURES] = QB_PG_INT2, [QB_COL_OUT_SEAT] = QB_PG_INT2, [QB_COL_OUT_RESULT] = QB_PG_BYTEA,
	[QB_COL_EV_SEAT] = QB_PG_INT2, [QB_COL_EV_SEQ] = QB_PG_INT8, [QB_COL_EV_TYPE] = QB_PG_INT2,
	[QB_COL_EV_AT] = QB_PG_INT8, [QB_COL_EV_JOB] = QB_PG_INT8, [QB_COL_EV_ATTEMPT] = QB_PG_INT4,
	[QB_COL_EV_SLOT] = QB_PG_INT4, [QB_COL_EV_KIND] = QB_PG_INT2, [QB_COL_EV_ERROR] = QB_PG_INT2,
	[QB_COL_EV_ARG0] = QB_PG_INT8, [QB_COL_EV_ARG1] = QB_PG_INT8,
};

int qb_batch_open(struct qb_batch *b, const struct qb_seg *seg, uint32_t own_seat)
{
	uint32_t seats = seg->cfg.seat_count;

	memset(b, 0, sizeof(*b));
	b->seg = seg;
	b->own_seat = own_seat;
	b->keeps = seg->cfg.replicas > 0;
	b->source = calloc(seats, sizeof(*b->source));
	b->taken = calloc(seats, sizeof(*b->taken));
	b->payload = malloc(QB_PAYLOAD_BYTES_MAX);
	if (!b->source || !b->taken || !b->payload) {
		qb_batch_close(b);
		return -ENOMEM;
	}
	for (uint32_t seat = 1; seat < seats; seat++)
		qb_event_source_open(&b->source[seat], seg, seat, QB_READER_SYNC);
	for (unsigned c = 0; c < QB_COL_COUNT; c++)
		qb_pg_array_init(&b->col[c], column_type[c]);
	return 0;
}

void qb_batch_close(struct qb_batch *b)
{
	free(b->source);
	free(b->taken);
	free(b->payload);
	for (unsigned c = 0; c < QB_COL_COUNT; c++)
		qb_pg_array_free(&b->col[c]);
	memset(b, 0, sizeof(*b));
}

static uint32_t slots_in_use(const struct qb_seg *seg)
{
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	return end < seg->cfg.job_count ? end : seg->cfg.job_count;
}

static int reads_events(const struct qb_batch *b)
{
	return (b->seg->cfg.readers >> QB_READER_SYNC & 1) != 0;
}

int qb_batch_wanted(struct qb_batch *b, uint32_t events_min)
{
	const struct qb_event_shm *first;
	uint32_t events = 0;

	if (qb_hint_next(b->seg->dirty_map, 0, slots_in_use(b->seg)) != QB_HINT_NONE)
		return 1;
	if (!reads_events(b))
		return 0;
	/* Not its own: each commit records one, which would ask for the next commit. */
	for (uint32_t seat = 1; seat < b->seg->cfg.seat_count; seat++) {
		if (seat != b->own_seat)
			events += qb_event_peek(&b->source[seat], &first, events_min - events);
		if (events >= events_min)
			return 1;
	}
	return 0;
}

static void add_due(struct qb_pg_array *col, const struct qb_job_shm *job, uint64_t word, uint64_t wall_less_mono)
{
	if (qb_word_state(word) == QB_JOB_WAITING)
		qb_pg_array_add_timestamptz(col, qb_load_relaxed64(&job->due_ns) + wall_less_mono);
	else
		qb_pg_array_add_null(col);
}

/* What a restored job would be: claimed and started ones are as good as ready there. */
static int16_t stored_state(uint64_t word)
{
	uint32_t state = qb_word_state(word);

	return (int16_t)(state == QB_JOB_WAITING || state == QB_JOB_AMBIGUOUS ? state : QB_JOB_READY);
}

static void add_key(struct qb_pg_array *col, const struct qb_job_shm *job)
{
	/* Relaxed: of the generation whose word was read, as all that describes the job; only the syncer ends it. */
	uint64_t hi = qb_load_relaxed64(&job->key_hi), lo = qb_load_relaxed64(&job->key_lo);
	const uint64_t be[] = { htobe64(hi), htobe64(lo) };

	if (hi || lo)
		qb_pg_array_add_bytea(col, be, sizeof(be));
	else
		qb_pg_array_add_null(col);
}

static int add_live(struct qb_batch *b, uint32_t slot_idx, uint64_t word, uint64_t wall_less_mono)
{
	const struct qb_seg *seg = b->seg;
	const struct qb_job_shm *job = &seg->jobs[slot_idx];
	int bytes = qb_job_payload(seg, slot_idx, qb_word_gen(word), b->payload, QB_PAYLOAD_BYTES_MAX);

	/* A damaged payload is stored as it came out: the row says that the job was accepted. */
	if (bytes < 0)
		bytes = 0;
	qb_pg_array_add_i64(&b->col[QB_COL_INS_ID], (int64_t)job->job_id);
	qb_pg_array_add_i16(&b->col[QB_COL_INS_STATE], stored_state(word));
	qb_pg_array_add_i32(&b->col[QB_COL_INS_ATTEMPT], (int32_t)qb_word_attempt(word));
	qb_pg_array_add_i16(&b->col[QB_COL_INS_FAILURES], (int16_t)qb_word_failures(word));
	add_due(&b->col[QB_COL_INS_DUE], job, word, wall_less_mono);
	qb_pg_array_add_i32(&b->col[QB_COL_INS_TENANT], (int32_t)job->tenant);
	qb_pg_array_add_i16(&b->col[QB_COL_INS_KIND], (int16_t)job->kind);
	qb_pg_array_add_i16(&b->col[QB_COL_INS_ERROR], (int16_t)job->error_class);
	qb_pg_array_add_i16(&b->col[QB_COL_INS_MAX], (int16_t)job->max_attempts);
	qb_pg_array_add_i16(&b->col[QB_COL_INS_EFFECT], (int16_t)job->effect_class);
	qb_pg_array_add_i32(&b->col[QB_COL_INS_WORK], (int32_t)job->work_us);
	qb_pg_array_add_bytea(&b->col[QB_COL_INS_PAYLOAD], b->payload, (size_t)bytes);
	add_key(&b->col[QB_COL_INS_KEY], job);
	return bytes;
}

static void add_change(struct qb_batch *b, uint32_t slot_idx, uint64_t word, uint64_t wall_less_mono)
{
	const struct qb_job_shm *job = &b->seg->jobs[slot_idx];

	qb_pg_array_add_i64(&b->col[QB_COL_UPD_ID], (int64_t)job->job_id);
	qb_pg_array_add_i16(&b->col[QB_COL_UPD_STATE], stored_state(word));
	qb_pg_array_add_i32(&b->col[QB_COL_UPD_ATTEMPT], (int32_t)qb_word_attempt(word));
	qb_pg_array_add_i16(&b->col[QB_COL_UPD_FAILURES], (int16_t)qb_word_failures(word));
	add_due(&b->col[QB_COL_UPD_DUE], job, word, wall_less_mono);
}

static void add_outcome(struct qb_batch *b, uint32_t slot_idx, uint64_t word)
{
	const struct qb_job_shm *job = &b->seg->jobs[slot_idx];
	uint32_t bytes = 0;
	const uint8_t *result = qb_word_state(word) == QB_JOB_DONE ?
		qb_arena_read(b->seg, job, slot_idx, word, &bytes) : NULL;

	qb_pg_array_add_i64(&b->col[QB_COL_OUT_ID], (int64_t)job->job_id);
	qb_pg_array_add_i16(&b->col[QB_COL_OUT_STATE], (int16_t)qb_word_state(word));
	qb_pg_array_add_i32(&b->col[QB_COL_OUT_ATTEMPT], (int32_t)qb_word_attempt(word));
	qb_pg_array_add_i16(&b->col[QB_COL_OUT_FAILURES], (int16_t)qb_word_failures(word));
	qb_pg_array_add_i16(&b->col[QB_COL_OUT_SEAT], (int16_t)qb_word_seat(word));
	if (result)
		qb_pg_array_add_bytea(&b->col[QB_COL_OUT_RESULT], result, bytes);
	else
		qb_pg_array_add_null(&b->col[QB_COL_OUT_RESULT]);
}

/* Puts one job's news into the columns. Returns the bytes that it added, 0 when there is no news. */
static uint32_t add_job(struct qb_batch *b, uint32_t slot_idx, uint64_t wall_less_mono)
{
	const struct qb_seg *seg = b->seg;
	struct qb_job_shm *job = &seg->jobs[slot_idx];
	/* [batch.R1] Sees: the job as its last step left it. Pairs with: [job.W2], [job.W5], [job.W8], [recovery.W1]. */
	uint64_t word = qb_load_acquire64(&job->word);
	uint64_t sync = qb_load_acquire64(&job->sync);
	uint32_t stage = qb_sync_gen(sync) == qb_word_gen(word) ? qb_sync_stage_of(sync) : QB_SYNC_NONE;
	int accepted = stage >= QB_SYNC_ACCEPTED;
	uint32_t bytes = 64;

	if (!qb_job_is_dirty(job, word) || qb_word_state(word) == QB_JOB_SYNCED)
		return 0;
	/* Durable, and kept for a standby server; a recovery may have set its bit. */
	if (b->keeps && !b->again && stage == QB_SYNC_ENDED)
		return 0;
	if (b->resolve && qb_resolve_takes(b->resolve, slot_idx, word))
		return 0;
	switch (qb_word_state(word)) {
	case QB_JOB_DONE:
	case QB_JOB_FAILED:
	case QB_JOB_DEAD:
		add_outcome(b, slot_idx, word);
		bytes += job->result_bytes;
		break;
	case QB_JOB_WAITING:
	case QB_JOB_AMBIGUOUS:
		/* Both: a syncer that died after its commit left a row that nobody here knows of. */
		if (!accepted)
			bytes += (uint32_t)add_live(b, slot_idx, word, wall_less_mono);
		add_change(b, slot_idx, word, wall_less_mono);
		break;
	default:
		bytes += (uint32_t)add_live(b, slot_idx, word, wall_less_mono);
		/* After a failover the row may be there as it was earlier. */
		if (b->again)
			add_change(b, slot_idx, word, wall_less_mono);
		break;
	}
	b->jobs[b->jobs_count].slot_idx = slot_idx;
	b->jobs[b->jobs_count++].word = word;
	return bytes;
}

static void gather_jobs(struct qb_batch *b)
{
	const struct qb_seg *seg = b->seg;
	uint64_t wall_less_mono = qb_realtime_ns() - qb_mono_ns();
	uint32_t end = slots_in_use(seg), bytes = 0;

	if (b->next_slot >= end)
		b->next_slot = 0;
	/* Two legs: from where the last batch stopped to the end, then from the start to there. */
	for (unsigned leg = 0; leg < 2; leg++) {
		uint32_t from = leg == 0 ? b->next_slot : 0, to = leg == 0 ? end : b->next_slot;

		for (uint32_t i = qb_hint_next(seg->dirty_map, from, to); i != QB_HINT_NONE;
		     i = qb_hint_next(seg->dirty_map, i + 1, to)) {
			if (b->jobs_count == QB_BATCH_JOBS_MAX || bytes >= QB_BATCH_BYTES_MAX) {
				b->next_slot = i;
				b->is_cut = 1;
				return;
			}
			/* Cleared before the word is read: whoever changes the word later sets it again. */
			qb_hint_clear(seg->dirty_map, i);
			QB_FAULT("batch.gather.after-clear");
			bytes += add_job(b, i, wall_less_mono);
		}
	}
}

static void gather_events(struct qb_batch *b)
{
	struct qb_clock_triple first, last;
	uint32_t seats = b->seg->cfg.seat_count;

	memset(b->taken, 0, seats * sizeof(*b->taken));
	if (!reads_events(b))
		return;
	qb_seg_clock_get(b->seg, &first, &last);
	for (uint32_t k = 0; k < seats && b->events_count < QB_BATCH_EVENTS_MAX; k++) {
		uint32_t seat = (b->next_seat + k) % seats;
		const struct qb_event_shm *e;

		if (seat == 0)
			continue;
		uint32_t n = qb_event_peek(&b->source[seat], &e, QB_BATCH_EVENTS_MAX - b->events_count);

		for (uint32_t i = 0; i < n; i++, e++) {
			qb_pg_array_add_i16(&b->col[QB_COL_EV_SEAT], (int16_t)seat);
			qb_pg_array_add_i64(&b->col[QB_COL_EV_SEQ], (int64_t)(b->source[seat].next + i + 1));
			qb_pg_array_add_i16(&b->col[QB_COL_EV_TYPE], (int16_t)e->type);
			qb_pg_array_add_i64(&b->col[QB_COL_EV_AT], (int64_t)qb_clock_to_wall_ns(&first, &last, e->raw));
			qb_pg_array_add_i64(&b->col[QB_COL_EV_JOB], (int64_t)e->job_id);
			qb_pg_array_add_i32(&b->col[QB_COL_EV_ATTEMPT], e->attempt);
			qb_pg_array_add_i32(&b->col[QB_COL_EV_SLOT], (int32_t)e->slot_idx);
			qb_pg_array_add_i16(&b->col[QB_COL_EV_KIND], e->kind);
			qb_pg_array_add_i16(&b->col[QB_COL_EV_ERROR], e->error_class);
			qb_pg_array_add_i64(&b->col[QB_COL_EV_ARG0], (int64_t)e->arg0);
			qb_pg_array_add_i64(&b->col[QB_COL_EV_ARG1], (int64_t)e->arg1);
		}
		b->taken[seat] = n;
		b->events_count += n;
	}
	b->next_seat = (b->next_seat + 1) % seats;
}

uint32_t qb_batch_gather(struct qb_batch *b)
{
	for (unsigned c = 0; c < QB_COL_COUNT; c++)
		qb_pg_array_reset(&b->col[c]);
	b->jobs_count = b->events_count = b->events_new = 0;
	b->is_cut = 0;
	gather_jobs(b);
	gather_events(b);
	if (b->events_count == QB_BATCH_EVENTS_MAX)
		b->is_cut = 1;
	return b->jobs_count + b->events_count;
}

void qb_batch_undo(struct qb_batch *b)
{
	for (uint32_t i = 0; i < b->jobs_count; i++)
		qb_hint_set(b->seg->dirty_map, b->jobs[i].slot_idx);
	b->jobs_count = b->events_count = 0;
}

/* What the batch says of that job. */
static uint32_t stage_of(uint64_t word)
{
	switch (qb_word_state(word)) {
	case QB_JOB_READY:
	case QB_JOB_CLAIMED:
	case QB_JOB_STARTED:
		return QB_SYNC_ACCEPTED;
	case QB_JOB_WAITING:
		return QB_SYNC_RETRY;
	case QB_JOB_AMBIGUOUS:
		return QB_SYNC_FINAL;
	default:
		return QB_SYNC_ENDED;
	}
}

static void events_done(struct qb_batch *b)
{
	for (uint32_t seat = 1; seat < b->seg->cfg.seat_count; seat++) {
		struct qb_event_source *s = &b->source[seat];

		if (!b->taken[seat])
			continue;
		if (!b->keeps) {
			qb_event_consumed(s, b->taken[seat]);
			b->events_new += b->taken[seat];
			continue;
		}
		uint64_t known = qb_load_relaxed64(&s->ring->reader[QB_READER_SYNC].known);

		s->next += b->taken[seat];
		if (s->next <= known)
			continue;
		b->events_new += (uint32_t)(s->next - known < b->taken[seat] ? s->next - known : b->taken[seat]);
		/* [batch.W2] Publishes: "committed, and still here". Pairs with: a look at it after this process. */
		qb_store_release64(&s->ring->reader[QB_READER_SYNC].known, s->next);
	}
}

uint32_t qb_batch_done(struct qb_batch *b)
{
	const struct qb_seg *seg = b->seg;
	uint32_t accepted = 0;

	for (uint32_t i = 0; i < b->jobs_count; i++) {
		struct qb_job_shm *job = &seg->jobs[b->jobs[i].slot_idx];
		uint64_t w = b->jobs[i].word, old = qb_load_acquire64(&job->sync);
		uint32_t stage = qb_sync_gen(old) == qb_word_gen(w) ? qb_sync_stage_of(old) : QB_SYNC_NONE;

		accepted += stage == QB_SYNC_NONE;
		/*
		 * [batch.W1] Publishes: "committed". Pairs with: [job.R3].
		 * Killed before this: sent again, found there.
		 */
		qb_store_release64(&job->sync, qb_sync(qb_word_gen(w), stage_of(w), qb_word_attempt(w)));
		QB_FAULT("batch.done.after-sync");
		if (!qb_word_is_ended(w))
			continue;
		/* Before the slot is free: after a kill the mark is one too low at most, and never too high. */
		if (stage != QB_SYNC_ENDED)
			qb_store_relaxed64(&seg->hdr->mark_final, qb_load_relaxed64(&seg->hdr->mark_final) + 1);
		if (!b->keeps)
			qb_job_free(seg, b->jobs[i].slot_idx, w);
	}
	events_done(b);
	QB_FAULT("batch.done.after-events");
	return accepted;
}

void qb_batch_events_again(struct qb_batch *b)
{
	if (!b->keeps)
		return;
	for (uint32_t seat = 1; seat < b->seg->cfg.seat_count; seat++)
		qb_event_source_open(&b->source[seat], b->seg, seat, QB_READER_SYNC);
}

void qb_batch_events_release(struct qb_batch *b, const uint64_t *next)
{
	for (uint32_t seat = 1; seat < b->seg->cfg.seat_count; seat++) {
		struct qb_event_source ahead = b->source[seat];
		uint64_t from = qb_load_relaxed64(&ahead.ring->reader[QB_READER_SYNC].next);

		if (next[seat] <= from)
			continue;
		/* The source has read on; only what it gave away is told. */
		ahead.next = from;
		qb_event_consumed(&ahead, (uint32_t)(next[seat] - from));
	}
}
