/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/event.h"

#include <string.h>
#include <time.h>

#include "shm/wait.h"

/* Back-pressure: how long a writer naps before it looks at its readers again. */
#define NAP_NS 200000
/* How far back qb_event_logged() looks: a worker logs at most four records per job and slot. */
#define LOOK_BACK 1024u

void qb_event_open(struct qb_event_writer *w, const struct qb_seg *seg, uint32_t seat, uint32_t overflow)
{
	memset(w, 0, sizeof(*w));
	w->seg = seg;
	w->seat = seat;
	w->ring = qb_seg_event_ring(seg, seat);
	w->records = qb_event_records(w->ring);
	w->mask = seg->cfg.event_count - 1;
	w->readers = seg->cfg.readers;
	w->overflow = overflow;
	/* [event.R3] Sees: everything of the dead owner of this seat. Pairs with: [event.W1], [seat.W5]. */
	w->tail = qb_load_acquire64(&w->ring->tail);
	/* The tail word is one behind when its writer was killed right after the commit. */
	for (uint32_t i = 0; i < seg->cfg.event_count; i++) {
		if (qb_load_acquire64(&w->records[w->tail & w->mask].seq) != w->tail + 1)
			break;
		w->tail++;
	}
	qb_store_relaxed64(&w->ring->tail, w->tail);
	w->limit = w->tail;
}

static void refresh_limit(struct qb_event_writer *w)
{
	uint64_t oldest = w->tail;

	for (unsigned r = 0; r < QB_READER_COUNT; r++) {
		if (!(w->readers >> r & 1))
			continue;
		/* [event.R2] Sees: that the reader is done with what it passed. Pairs with: [event.W2]. */
		uint64_t next = qb_load_acquire64(&w->ring->reader[r].next);

		if (next < oldest)
			oldest = next;
	}
	w->limit = oldest + w->mask + 1;
}

uint64_t qb_event_room(struct qb_event_writer *w)
{
	refresh_limit(w);
	return w->limit > w->tail ? w->limit - w->tail : 0;
}

int qb_event_room_slow(struct qb_event_writer *w)
{
	const struct timespec nap = { .tv_sec = 0, .tv_nsec = NAP_NS };
	int waited = 0;

	for (;;) {
		refresh_limit(w);
		if (w->tail < w->limit)
			return 1;
		/* Told to leave: nobody will read any more. */
		if (w->overflow == QB_OVERFLOW_DROP || qb_load_relaxed32(&w->seg->hdr->stop) >= QB_STOP_NOW)
			break;
		if (!waited++) {
			qb_store_relaxed64(&w->ring->waited, qb_load_relaxed64(&w->ring->waited) + 1);
			qb_wake_seat(w->seg, qb_load_relaxed32(&w->seg->hdr->syncer_seat));
		}
		nanosleep(&nap, NULL);
	}
	qb_store_relaxed64(&w->ring->dropped, qb_load_relaxed64(&w->ring->dropped) + 1);
	return 0;
}

void qb_event_source_open(struct qb_event_source *s, const struct qb_seg *seg, uint32_t seat, uint32_t reader)
{
	s->ring = qb_seg_event_ring(seg, seat);
	s->records = qb_event_records(s->ring);
	s->mask = seg->cfg.event_count - 1;
	s->reader = reader;
	/* [event.R4] Sees: how far the reader before this one came. Pairs with: [event.W2]. */
	if (reader < QB_READER_COUNT) {
		s->next = qb_load_acquire64(&s->ring->reader[reader].next);
		return;
	}
	/* The oldest record that is left; its successor, when its writer was killed while it replaced that one. */
	uint64_t tail = qb_load_acquire64(&s->ring->tail), count = s->mask + 1;

	s->next = tail > count ? tail - count : 0;
	while (s->next < tail && qb_load_acquire64(&s->records[s->next & s->mask].seq) != s->next + 1)
		s->next++;
}

uint32_t qb_event_peek(struct qb_event_source *s, const struct qb_event_shm **first, uint32_t max)
{
	uint64_t to_end = s->mask + 1 - (s->next & s->mask);
	uint32_t n = 0;

	if (max > to_end)
		max = (uint32_t)to_end;
	*first = &s->records[s->next & s->mask];
	/* [event.R1] Sees: the whole record. Pairs with: [event.W1]. */
	while (n < max && qb_load_acquire64(&(*first)[n].seq) == s->next + n + 1)
		n++;
	return n;
}

void qb_event_consumed(struct qb_event_source *s, uint32_t n)
{
	s->next += n;
	/*
	 * [event.W2] Publishes: "I have read these", the writer's licence to overwrite. Pairs with: [event.R2].
	 * Killed before this: read again; whoever stores records does so by (seat, sequence), once.
	 */
	if (s->reader < QB_READER_COUNT)
		qb_store_release64(&s->ring->reader[s->reader].next, s->next);
}

int qb_event_logged(const struct qb_seg *seg, uint32_t seat, uint16_t type, uint64_t job_id, uint32_t attempt)
{
	struct qb_event_ring_shm *ring = qb_seg_event_ring(seg, seat);

	if (!ring)
		return 0;
	const struct qb_event_shm *records = qb_event_records(ring);
	/* [event.R5] Sees: the dead writer's records; tail may be one behind. Pairs with: [event.W1]. */
	uint64_t end = qb_load_acquire64(&ring->tail) + 1, mask = seg->cfg.event_count - 1;

	for (uint64_t i = 0; i < LOOK_BACK && i < seg->cfg.event_count && i < end; i++) {
		uint64_t pos = end - 1 - i;
		const struct qb_event_shm *e = &records[pos & mask];

		if (qb_load_acquire64(&e->seq) == pos + 1 && e->type == type && e->job_id == job_id &&
		    e->attempt == attempt)
			return 1;
	}
	return 0;
}

struct qb_event_shm *qb_event_begin_job(struct qb_event_writer *w, uint32_t slot_idx, uint64_t word, uint16_t type)
{
	const struct qb_job_shm *job = &w->seg->jobs[slot_idx];
	struct qb_event_shm *e = qb_event_begin(w);

	if (!e)
		return NULL;
	e->job_id = job->job_id;
	e->token = word;
	e->arg0 = 0;
	e->arg1 = 0;
	e->slot_idx = slot_idx;
	e->tenant = job->tenant;
	e->type = type;
	e->kind = (uint8_t)job->kind;
	e->error_class = (uint8_t)job->error_class;
	e->attempt = (uint16_t)qb_word_attempt(word);
	return e;
}
