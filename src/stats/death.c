/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/death.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is known of each seat on the way through the events, and of the parent. */
struct walk {
	struct qb_death_times *d;
	uint64_t killed_ns[QB_SEAT_MAX + 1];    /* a worker, not yet decided; 0: none */
	uint64_t ready_ns[QB_SEAT_MAX + 1];     /* when its worker began to serve */
	uint64_t parent_ns;                     /* a parent was killed, nothing picked up since; 0: none */
	uint64_t *submitted_ns;                 /* by job id */
	uint64_t jobs;
};

int qb_samples_add(struct qb_samples *s, uint64_t ns)
{
	if (s->count == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 256;
		uint64_t *more = realloc(s->ns, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->ns = more;
		s->cap = cap;
	}
	s->ns[s->count++] = ns;
	return 0;
}

static void on_killed(struct walk *w, const struct qb_trace_event *e)
{
	if (e->ev.kind == QB_ROLE_PARENT) {
		w->parent_ns = e->t_ns;
		memset(w->killed_ns, 0, sizeof(w->killed_ns));
	} else if (e->ev.kind == QB_ROLE_WORKER && !w->parent_ns) {
		w->killed_ns[e->ev.slot_idx] = e->t_ns;
	}
}

static int on_started(struct walk *w, const struct qb_trace_event *e)
{
	uint64_t ready_ns = w->ready_ns[e->ev.seat];
	uint64_t submitted_ns = e->ev.job_id <= w->jobs ? w->submitted_ns[e->ev.job_id] : 0;

	if (!w->parent_ns || ready_ns <= w->parent_ns || submitted_ns == 0)
		return 0;
	int rc = submitted_ns < ready_ns ? qb_samples_add(&w->d->pickup, e->t_ns - w->parent_ns) : 0;

	w->parent_ns = 0;
	return rc;
}

static int on_event(struct walk *w, const struct qb_trace_event *e)
{
	uint32_t seat = e->ev.slot_idx;

	if (e->ev.seat > QB_SEAT_MAX)
		return 0;
	switch (e->ev.type) {
	case QB_EV_JOB_SUBMITTED:
		if (e->ev.job_id <= w->jobs)
			w->submitted_ns[e->ev.job_id] = e->t_ns;
		return 0;
	case QB_EV_JOB_STARTED:
		return on_started(w, e);
	case QB_EV_PROCESS_KILLED:
		if (seat <= QB_SEAT_MAX)
			on_killed(w, e);
		return 0;
	case QB_EV_PROCESS_READY:
		if (seat <= QB_SEAT_MAX && e->ev.kind == QB_ROLE_WORKER)
			w->ready_ns[seat] = e->t_ns;
		return 0;
	case QB_EV_RECOVERED:
		if (seat > QB_SEAT_MAX || !w->killed_ns[seat])
			return 0;
		int rc = qb_samples_add(&w->d->verdict, e->t_ns - w->killed_ns[seat]);

		w->killed_ns[seat] = 0;
		return rc;
	default:
		return 0;
	}
}

int qb_death_times_add(struct qb_death_times *d, const struct qb_trace *trace)
{
	struct walk *w = calloc(1, sizeof(*w));
	int rc = w ? 0 : -ENOMEM;

	if (rc == 0) {
		w->d = d;
		w->jobs = trace->job_id_max;
		w->submitted_ns = calloc(w->jobs + 1, sizeof(*w->submitted_ns));
		rc = w->submitted_ns ? 0 : -ENOMEM;
	}
	for (size_t i = 0; rc == 0 && i < trace->events_count; i++)
		rc = on_event(w, &trace->events[i]);
	if (w)
		free(w->submitted_ns);
	free(w);
	return rc;
}

void qb_death_times_free(struct qb_death_times *d)
{
	free(d->verdict.ns);
	free(d->pickup.ns);
	memset(d, 0, sizeof(*d));
}
