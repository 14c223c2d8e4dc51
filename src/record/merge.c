/* SPDX-License-Identifier: Apache-2.0 */
#include "record/merge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/strbuf.h"
#include "record/jobmap.h"

__extension__ typedef unsigned __int128 wide;

void *qb_big_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_HUGEPAGE);       /* best effort */
	return p;
}

void qb_big_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes ? bytes : 1);
}

void qb_runs_add(struct qb_runs *runs, uint32_t seat, uint64_t first_seq,
		 struct qb_event_shm *events, uint32_t count)
{
	if (count == 0)
		return;
	if (runs->count == runs->cap) {
		runs->cap = runs->cap ? 2 * runs->cap : 256;
		runs->all = qb_xrealloc(runs->all, runs->cap * sizeof(*runs->all));
	}
	runs->all[runs->count++] = (struct qb_run){ events, first_seq, count, seat };
	runs->events_count += count;
}

/* ---- stamps ---- */

/*
 * qb_clock_to_mono_ns() with its division done once, and with results kept where neither they nor
 * their wall time wrap around, whatever the stamp.
 */
struct line {
	uint64_t raw0, ns0;
	uint64_t whole, frac;   /* ns per tick, 64.64 */
	uint64_t lo, hi;
};

static void line_init(struct line *l, const struct qb_clock_triple *first,
		      const struct qb_clock_triple *last)
{
	*l = (struct line){ .raw0 = first->raw, .ns0 = first->mono_ns, .whole = 1 };
	if (last->raw > first->raw && last->mono_ns >= first->mono_ns) {
		uint64_t ticks = last->raw - first->raw, ns = last->mono_ns - first->mono_ns;

		l->whole = ns / ticks;
		l->frac = (uint64_t)(((wide)(ns % ticks) << 64) / ticks);
	}
	l->lo = first->mono_ns > first->wall_ns ? first->mono_ns - first->wall_ns : 0;
	l->hi = UINT64_MAX;
	if (first->wall_ns > first->mono_ns)
		l->hi -= first->wall_ns - first->mono_ns;
}

static inline uint64_t line_ns(const struct line *l, uint64_t raw)
{
	int back = raw < l->raw0;
	uint64_t ticks = back ? l->raw0 - raw : raw - l->raw0;
	wide ns = (wide)ticks * l->whole + (uint64_t)((wide)ticks * l->frac >> 64);

	if (back)
		return ns > l->ns0 - l->lo ? l->lo : l->ns0 - (uint64_t)ns;
	return ns > l->hi - l->ns0 ? l->hi : l->ns0 + (uint64_t)ns;
}

/* ---- one seat ---- */

struct cursor {
	const struct qb_run *run, *end; /* runs of this seat not yet used up */
	uint32_t idx;                   /* in *run */
	uint32_t seat;
	uint64_t next_seq;              /* everything below was given out, or is missing */
	uint64_t seq;                   /* of the event that the cursor stands on */
	uint64_t t_ns;                  /* its time */
	uint64_t submissions;           /* how many of all are JOB_SUBMITTED */
};

static int run_before(const void *a, const void *b)
{
	const struct qb_run *x = a, *y = b;

	if (x->seat != y->seat)
		return x->seat < y->seat ? -1 : 1;
	if (x->first_seq != y->first_seq)
		return x->first_seq < y->first_seq ? -1 : 1;
	/* Of two with the same beginning the longer one first: it makes the other superfluous. */
	return x->count > y->count ? -1 : x->count < y->count;
}

/* Stand on the next event that was not given out yet. 1, or 0 at the end. */
static int cursor_step(struct cursor *c)
{
	while (c->run < c->end) {
		uint64_t first = c->run->first_seq;
		uint64_t past = c->next_seq > first ? c->next_seq - first : 0;

		if (past > c->idx)
			c->idx = past < c->run->count ? (uint32_t)past : c->run->count;
		if (c->idx < c->run->count) {
			c->seq = first + c->idx;
			c->next_seq = c->seq + 1;
			return 1;
		}
		c->run++;
		c->idx = 0;
	}
	return 0;
}

static struct qb_event_shm *cursor_event(const struct cursor *c)
{
	return &c->run->events[c->idx];
}

static void note_role(struct qb_trace *t, uint32_t seat, const struct qb_event_shm *ev)
{
	int process = (ev->type >= QB_EV_PROCESS_SPAWNED && ev->type <= QB_EV_PROCESS_DIED) ||
		      ev->type == QB_EV_PROCESS_STOPPED;

	/* A standby that runs jobs has become a worker. */
	if (ev->type == QB_EV_JOB_STARTED)
		t->seat_role[seat] = QB_ROLE_WORKER;
	else if (ev->type == QB_EV_JOB_SUBMITTED)
		t->seat_role[seat] = QB_ROLE_DRIVER;
	else if (process && ev->kind != QB_ROLE_NONE && ev->kind < QB_ROLE_COUNT &&
		 ev->slot_idx >= 1 && ev->slot_idx <= QB_SEAT_MAX &&
		 (ev->kind != QB_ROLE_STANDBY || t->seat_role[ev->slot_idx] != QB_ROLE_WORKER))
		t->seat_role[ev->slot_idx] = ev->kind;
}

/*
 * First pass over a seat, in sequence: each event's time into its seq word, no earlier than the
 * event before; counts what is twice, what is missing and what was submitted.
 */
static void time_seat(struct cursor *from, const struct line *line, struct qb_trace *t)
{
	struct cursor c = *from;
	uint64_t t_ns = 0, given = 0;

	while (cursor_step(&c)) {
		struct qb_event_shm *ev = cursor_event(&c);
		uint64_t stamp_ns = line_ns(line, ev->raw);

		given++;
		t_ns = stamp_ns > t_ns ? stamp_ns : t_ns;
		qb_store_relaxed64(&ev->seq, t_ns);     /* private memory */
		if (qb_event_is_job(ev) && ev->job_id > t->job_id_max)
			t->job_id_max = ev->job_id;
		from->submissions += ev->type == QB_EV_JOB_SUBMITTED;
		note_role(t, c.seat, ev);
	}
	t->seat_last_seq[c.seat] = c.next_seq - 1;
	t->damage.missing_count += c.next_seq - 1 - given;
	t->events_count += given;
}

/* ---- all seats ---- */

struct merger {
	struct cursor *cursors;         /* one for each seat that has events */
	size_t cursors_count;
	struct cursor **heap;           /* the earliest on top */
	size_t heap_count;
	struct qb_jobmap map;
	uint64_t *submitted_ns;         /* by slot of map; 0 = never seen */
	uint64_t latest_ns;             /* beyond it wall time would wrap around */
};

static int earlier(const struct cursor *a, const struct cursor *b)
{
	if (a->t_ns != b->t_ns)
		return a->t_ns < b->t_ns;
	return a->seat < b->seat;
}

static void sift_down(struct merger *m, size_t i)
{
	struct cursor *c = m->heap[i];

	for (;;) {
		size_t kid = 2 * i + 1;

		if (kid >= m->heap_count)
			break;
		if (kid + 1 < m->heap_count && earlier(m->heap[kid + 1], m->heap[kid]))
			kid++;
		if (!earlier(m->heap[kid], c))
			break;
		m->heap[i] = m->heap[kid];
		i = kid;
	}
	m->heap[i] = c;
}

/* Step on and set the time: not before the seat's last, and a start not before its submission. */
static int advance(struct merger *m, struct cursor *c)
{
	uint64_t before_ns = c->t_ns;

	if (!cursor_step(c))
		return 0;
	const struct qb_event_shm *ev = cursor_event(c);

	c->t_ns = qb_load_relaxed64(&ev->seq);
	if (c->t_ns < before_ns)
		c->t_ns = before_ns;
	if (ev->type == QB_EV_JOB_STARTED && ev->job_id != 0) {
		uint64_t submitted_ns = m->submitted_ns[qb_jobmap_slot(&m->map, ev->job_id)];

		if (submitted_ns >= c->t_ns)
			c->t_ns = submitted_ns + (submitted_ns < m->latest_ns);
	}
	return 1;
}

static void make_cursors(struct merger *m, const struct qb_runs *runs)
{
	for (size_t i = 0; i < runs->count;) {
		size_t end = i + 1;

		while (end < runs->count && runs->all[end].seat == runs->all[i].seat)
			end++;
		m->cursors[m->cursors_count++] = (struct cursor){
			.run = &runs->all[i], .end = &runs->all[end], .seat = runs->all[i].seat,
			.next_seq = 1,
		};
		i = end;
	}
}

static void note_submissions(struct merger *m, struct cursor c)
{
	while (cursor_step(&c)) {
		const struct qb_event_shm *ev = cursor_event(&c);

		if (ev->type != QB_EV_JOB_SUBMITTED || ev->job_id == 0)
			continue;
		uint64_t *at = &m->submitted_ns[qb_jobmap_slot(&m->map, ev->job_id)];

		if (*at == 0)
			*at = qb_load_relaxed64(&ev->seq);
	}
}

static void emit(struct merger *m, struct qb_trace *t)
{
	struct qb_trace_event *to = t->events;

	for (size_t i = 0; i < m->cursors_count; i++) {
		if (advance(m, &m->cursors[i]))
			m->heap[m->heap_count++] = &m->cursors[i];
	}
	for (size_t i = m->heap_count; i-- > 0;)
		sift_down(m, i);
	while (m->heap_count > 0) {
		struct cursor *c = m->heap[0];

		to->t_ns = c->t_ns;
		memcpy(&to->ev, cursor_event(c), sizeof(to->ev));
		qb_store_relaxed64(&to->ev.seq, c->seq);
		to++;
		if (!advance(m, c)) {
			m->heap[0] = m->heap[--m->heap_count];
			if (m->heap_count == 0)
				break;
		}
		sift_down(m, 0);
	}
	t->events_count = (size_t)(to - t->events);
}

int qb_runs_merge(struct qb_runs *runs, struct qb_trace *t)
{
	struct merger m = { 0 };
	struct line line;
	size_t map_bytes;
	int rc = -ENOMEM;

	if (runs->count == 0)
		return 0;
	line_init(&line, &t->clock_first, &t->clock_last);
	m.latest_ns = line.hi;
	qsort(runs->all, runs->count, sizeof(*runs->all), run_before);
	m.cursors = qb_xcalloc(QB_SEAT_MAX, sizeof(*m.cursors));
	m.heap = qb_xcalloc(QB_SEAT_MAX, sizeof(struct cursor *));
	make_cursors(&m, runs);
	for (size_t i = 0; i < m.cursors_count; i++)
		time_seat(&m.cursors[i], &line, t);
	t->duplicates_count = runs->events_count - t->events_count;

	qb_jobmap_init(&m.map, t->job_id_max, t->events_count);
	map_bytes = m.map.slots_count * sizeof(*m.submitted_ns);
	m.submitted_ns = qb_big_alloc(map_bytes);
	t->events_bytes = t->events_count * sizeof(*t->events);
	t->events = qb_big_alloc(t->events_bytes);
	if (!m.submitted_ns || !t->events)
		goto out;
	for (size_t i = 0; i < m.cursors_count; i++) {
		if (m.cursors[i].submissions > 0)
			note_submissions(&m, m.cursors[i]);
	}
	emit(&m, t);
	rc = 0;
out:
	qb_big_free(m.submitted_ns, map_bytes);
	qb_jobmap_free(&m.map);
	free(m.heap);
	free(m.cursors);
	return rc;
}
