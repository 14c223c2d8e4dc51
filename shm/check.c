/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/arena.h"
#include "shm/block.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/ring.h"
#include "shm/seat.h"

struct checker {
	const struct qb_seg *seg;
	struct qb_check *out;
	qb_finding_fn fn;
	void *ctx;
	int findings;
	uint64_t *seen;
	uint8_t *payload;
};

static void __attribute__((format(printf, 2, 3))) finding(struct checker *c, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	c->findings++;
	if (!c->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->fn(c->ctx, text);
}

/*
 * [check.R*] Every load here sees what stood there at some moment: in a copy the last one, in a live
 * segment perhaps not all at the same moment, which is why its findings are only hints.
 */
static void check_job(struct checker *c, uint32_t i)
{
	const struct qb_seg *seg = c->seg;
	struct qb_job_shm *job = &seg->jobs[i];
	uint64_t w = qb_load_acquire64(&job->word);
	uint32_t state = qb_word_state(w), seat = qb_word_seat(w), bytes;

	if (state >= QB_JOB_STATE_COUNT || seat >= seg->cfg.seat_count) {
		c->out->bad_words++;
		finding(c, "job slot %u: word %016llx names no state or seat that there is", i, (unsigned long long)w);
		return;
	}
	c->out->by_state[state]++;
	if (state == QB_JOB_FREE || state == QB_JOB_FILLING)
		return;
	if (qb_job_is_dirty(job, w))
		c->out->dirty++;
	if (state == QB_JOB_READY && !(c->seen[i / 64] >> (i % 64) & 1))
		c->out->ready_without_entry++;
	if ((state == QB_JOB_CLAIMED || state == QB_JOB_STARTED) &&
	    (seat == 0 || qb_seat_state_of(qb_load_acquire64(&seg->seats[seat].word)) == QB_SEAT_FREE))
		c->out->held_by_nobody++;
	if (state != QB_JOB_SYNCED && qb_job_payload(seg, i, qb_word_gen(w), c->payload, QB_PAYLOAD_BYTES_MAX) < 0) {
		c->out->bad_payloads++;
		finding(c, "job slot %u (job %llu, %s): payload is damaged", i, (unsigned long long)job->job_id,
			qb_job_state_name(state));
	}
	if (state == QB_JOB_DONE && job->result_bytes > 0 && !qb_arena_read(seg, job, i, w, &bytes)) {
		c->out->bad_results++;
		finding(c, "job slot %u (job %llu): done, but its result is missing or damaged", i,
			(unsigned long long)job->job_id);
	}
}

static void check_ring(struct checker *c, uint32_t ring_idx)
{
	const struct qb_seg *seg = c->seg;
	struct qb_ring_shm *ring = qb_seg_ring(seg, ring_idx);
	uint64_t head = qb_load_acquire64(&ring->head), tail = qb_load_acquire64(&ring->tail);
	uint32_t count = seg->cfg.ring_count;

	/* Each index may lag by one behind the slots, because a kill may fall between the two. */
	if (head > tail + 1 || (tail > head && tail - head > (uint64_t)count + 1)) {
		c->out->ring_broken = 1;
		finding(c, "ring %u: head %llu and tail %llu cannot be", ring_idx, (unsigned long long)head,
			(unsigned long long)tail);
		return;
	}
	c->out->ring_depth[ring_idx] = qb_ring_depth(seg, ring_idx);
	for (uint64_t pos = head; pos < tail; pos++) {
		uint64_t s = qb_load_acquire64(&qb_ring_slots(ring)[pos & (count - 1)]);
		struct qb_job_shm *job = qb_seg_job(seg, qb_slot_job(s));
		uint64_t w = job ? qb_load_acquire64(&job->word) : 0;
		uint32_t lap = (uint32_t)(pos / count & 0xffffff);

		if (qb_slot_lap(s) != lap && !(pos == head && qb_slot_lap(s) == ((lap + 1) & 0xffffff))) {
			c->out->ring_broken = 1;
			finding(c, "ring %u: position %llu holds an entry of another lap", ring_idx,
				(unsigned long long)pos);
			return;
		}
		if (qb_slot_full(s) && (!job || qb_word_state(w) != QB_JOB_READY ||
					(qb_word_gen(w) & 0x7ffff) != qb_slot_gen(s)))
			c->out->ring_stale++;
	}
}

static void check_events(struct checker *c, uint32_t seat)
{
	const struct qb_seg *seg = c->seg;
	struct qb_event_ring_shm *ring = qb_seg_event_ring(seg, seat);
	const struct qb_event_shm *records = qb_event_records(ring);
	uint64_t tail = qb_load_acquire64(&ring->tail), mask = seg->cfg.event_count - 1;

	c->out->events_dropped += qb_load_relaxed64(&ring->dropped);
	for (uint64_t i = 0; i <= mask; i++) {
		uint64_t seq = qb_load_acquire64(&records[i].seq);

		if (seq == 0)
			continue;
		if (((seq - 1) & mask) != i || seq > tail + 1) {
			finding(c, "event ring of seat %u: record %llu has sequence %llu", seat,
				(unsigned long long)i, (unsigned long long)seq);
			continue;
		}
		c->out->events++;
		for (unsigned r = 0; r < QB_READER_COUNT; r++)
			if (seg->cfg.readers >> r & 1 && seq > qb_load_acquire64(&ring->reader[r].next))
				c->out->events_unread[r]++;
	}
}

static void check_blocks(struct checker *c)
{
	const struct qb_seg *seg = c->seg;

	for (uint32_t i = 0; i < seg->cfg.block_count; i++) {
		uint64_t tag = qb_load_acquire64(&qb_seg_block(seg, i)->tag);

		if (tag == 0)
			continue;
		struct qb_job_shm *job = qb_seg_job(seg, qb_block_tag_job(tag));

		c->out->blocks_used++;
		if (!job || qb_word_gen(qb_load_acquire64(&job->word)) != qb_block_tag_gen(tag))
			c->out->blocks_leaked++;
	}
}

int qb_check_segment(const struct qb_seg *seg, struct qb_check *out, qb_finding_fn fn, void *ctx)
{
	struct checker c = { .seg = seg, .out = out, .fn = fn, .ctx = ctx };
	uint32_t end = qb_load_acquire32(&seg->hdr->high_water);

	memset(out, 0, sizeof(*out));
	c.seen = calloc((seg->cfg.job_count + 63) / 64, sizeof(*c.seen));
	c.payload = malloc(QB_PAYLOAD_BYTES_MAX);
	if (!c.seen || !c.payload) {
		free(c.seen);
		free(c.payload);
		return -ENOMEM;
	}
	for (uint32_t r = 0; r < QB_RING_COUNT; r++) {
		qb_ring_mark(seg, r, c.seen);
		check_ring(&c, r);
	}
	if (end > seg->cfg.job_count) {
		finding(&c, "high-water mark %u is above the %u job slots", end, seg->cfg.job_count);
		end = seg->cfg.job_count;
	}
	for (uint32_t i = 0; i < end; i++)
		check_job(&c, i);
	/* A mark that is too low would hide them from everybody who believes it. */
	for (uint32_t i = end; i < seg->cfg.job_count; i++) {
		if (qb_word_state(qb_load_acquire64(&seg->jobs[i].word)) == QB_JOB_FREE)
			continue;
		finding(&c, "job slot %u is in use, above the high-water mark %u", i, end);
		check_job(&c, i);
	}
	check_blocks(&c);
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++)
		check_events(&c, seat);
	for (uint32_t i = 0; i < seg->cfg.effect_count; i++)
		if ((uint32_t)qb_load_relaxed64(&seg->effects[i]) > 1)
			out->effects_repeated++;
	free(c.seen);
	free(c.payload);
	return c.findings;
}
