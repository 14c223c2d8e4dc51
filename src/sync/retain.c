/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/retain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/standby.h"
#include "shm/fault.h"
#include "shm/job.h"
#include "shm/wait.h"

#define WARN_NS QB_NS_PER_S

int qb_retain_open(struct qb_retain *r, const struct qb_seg *seg)
{
	uint32_t jobs = seg->cfg.job_count, seats = seg->cfg.seat_count;

	memset(r, 0, sizeof(*r));
	r->seg = seg;
	r->replicas = seg->cfg.replicas;
	if (r->replicas == 0)
		return 0;
	r->word = calloc(jobs, sizeof(*r->word));
	r->batch_no = calloc(jobs, sizeof(*r->batch_no));
	r->map = calloc(jobs / 64 + 1, sizeof(*r->map));
	r->step[0].events = calloc((size_t)QB_RETAIN_STEPS * seats, sizeof(uint64_t));
	if (!r->word || !r->batch_no || !r->map || !r->step[0].events) {
		qb_retain_close(r);
		return -ENOMEM;
	}
	for (uint32_t i = 1; i < QB_RETAIN_STEPS; i++)
		r->step[i].events = r->step[0].events + (size_t)i * seats;
	return 0;
}

void qb_retain_close(struct qb_retain *r)
{
	free(r->word);
	free(r->batch_no);
	free(r->map);
	free(r->step[0].events);
	memset(r, 0, sizeof(*r));
}

static void show_kept(const struct qb_retain *r)
{
	qb_store_relaxed32(&r->seg->hdr->mark_kept, r->kept);
}

void qb_retain_forget(struct qb_retain *r)
{
	if (r->replicas == 0)
		return;
	memset(r->map, 0, (r->seg->cfg.job_count / 64 + 1) * sizeof(*r->map));
	r->kept = r->first = r->count = 0;
	r->last_batch = r->polled_ns = 0;
	r->moved_ns = qb_now_ns();
	show_kept(r);
}

void qb_retain_add(struct qb_retain *r, const struct qb_batch *b, uint64_t batch_no)
{
	if (!qb_retain_waits(r))
		r->moved_ns = qb_now_ns();
	for (uint32_t i = 0; i < b->jobs_count; i++) {
		uint32_t idx = b->jobs[i].slot_idx;

		if (!qb_word_is_ended(b->jobs[i].word))
			continue;
		r->kept += !(r->map[idx / 64] >> (idx % 64) & 1);
		r->map[idx / 64] |= 1ull << (idx % 64);
		r->word[idx] = b->jobs[i].word;
		r->batch_no[idx] = batch_no;
	}
	r->last_batch = batch_no;
	show_kept(r);
}

/* All that is committed by now lies before lsn. */
static void remember(struct qb_retain *r, const struct qb_batch *b, uint64_t lsn)
{
	struct qb_retain_step *s = &r->step[(r->first + r->count - 1) % QB_RETAIN_STEPS];

	if (r->count > 0 && s->batch == r->last_batch)
		return;
	/* Full: the newest waits for a little more than it needs. */
	if (r->count < QB_RETAIN_STEPS)
		s = &r->step[(r->first + r->count++) % QB_RETAIN_STEPS];
	s->batch = r->last_batch;
	s->lsn = lsn;
	for (uint32_t seat = 1; seat < r->seg->cfg.seat_count; seat++)
		s->events[seat] = b->source[seat].next;
}

static int release(struct qb_retain *r, struct qb_batch *b, const struct qb_retain_step *s)
{
	uint32_t words = r->seg->cfg.job_count / 64 + 1;
	int freed = 0;

	/* Before the first slot is let go: a server that lacks this batch is met as one behind it. */
	qb_store_relaxed64(&r->seg->hdr->mark_released, s->batch);
	QB_FAULT("retain.release.after-mark");
	for (uint32_t k = 0; k < words; k++) {
		for (uint64_t bits = r->map[k]; bits; bits &= bits - 1) {
			uint32_t idx = k * 64 + (uint32_t)__builtin_ctzll(bits);

			if (r->batch_no[idx] > s->batch)
				continue;
			qb_job_free(r->seg, idx, r->word[idx]);
			r->map[k] &= ~(1ull << (idx % 64));
			r->kept--;
			freed++;
			QB_FAULT("retain.release.after-job");
		}
	}
	qb_batch_events_release(b, s->events);
	if (s->batch == r->last_batch)
		r->last_batch = 0;
	return freed;
}

static void warn(struct qb_retain *r, const struct qb_pg_standbys *p)
{
	if (r->warned || qb_now_ns() - r->moved_ns < WARN_NS)
		return;
	r->warned = 1;
	qb_log(QB_LOG_WARNING, "--replicas=%u: %u standby servers are connected, and %s; %u finished jobs and their events "
	       "stay in the segment, and when it is full the enqueuer waits", r->replicas, p->count,
	       p->count < r->replicas ? "that is not enough" : "they do not come nearer", r->kept);
}

int qb_retain_poll(struct qb_retain *r, struct qb_batch *b, PGconn *conn, struct qb_err *err)
{
	struct qb_pg_standbys p;
	uint64_t now = qb_now_ns();
	int freed = 0;

	if (!qb_retain_waits(r) || now - r->polled_ns < QB_RETAIN_POLL_NS)
		return 0;
	r->polled_ns = now;
	int rc = qb_pg_standbys(conn, r->replicas, &p, err);

	if (rc < 0)
		return rc;
	remember(r, b, p.lsn);
	while (r->count > 0 && r->step[r->first].lsn <= p.held_lsn) {
		freed += release(r, b, &r->step[r->first]);
		r->first = (r->first + 1) % QB_RETAIN_STEPS;
		r->count--;
		r->moved_ns = now;
		if (r->warned)
			qb_log(QB_LOG_INFO, "--replicas=%u: the standby servers are there again", r->replicas);
		r->warned = 0;
	}
	show_kept(r);
	warn(r, &p);
	if (freed)
		qb_wake_seat(r->seg, qb_load_relaxed32(&r->seg->hdr->submitter_seat));
	return freed;
}
