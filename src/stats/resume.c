/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long it took until work went on, for each kill and class of job.
 *
 * A job of a class waited from a to b: every kill in between had it.  The process that took it
 * began to serve at r: it counts for the kills before r.  Starts are looked at in the order of
 * time, so the first one that covers a kill is that kill's sample; kills that have theirs are
 * skipped by a union-find, and counts go into arrays of differences.  Nothing is looked at once
 * per kill and job.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stats/percentile.h"
#include "stats/tally.h"

struct lane {                           /* one class */
	uint32_t *next;                 /* [n + 1] next kill without a sample */
	uint64_t *got_ns;               /* [n] QB_NEVER_NS: none */
	int64_t *had, *left;            /* [n + 1] differences: jobs of the class; those left */
};

#define LANE_SYNC QB_RESUME_CLASS_COUNT
#define LANES (QB_RESUME_CLASS_COUNT + 1)

struct resume {
	const struct qb_tally *t;
	uint32_t n;                     /* kills that took a worker, by time */
	uint64_t *at_ns;                /* [n] when */
	uint64_t *restart_ns;           /* [n] first worker to begin after it; at_ns if none */
	uint32_t *of_kill;              /* index in at_ns of a kill, or QB_NO_IDX */
	uint64_t *serves_ns;            /* when workers began to serve, ascending */
	uint32_t serves_count;
	uint64_t *sync_at_ns, *sync_serves_ns; /* the same for syncers */
	uint32_t sync_n, sync_serves_count;
	uint64_t *samples_ns;
	void *memory;
	struct lane lane[LANES];
};

const char *qb_resume_class_name(unsigned cls)
{
	static const char *const names[QB_RESUME_CLASS_COUNT] = {
		"never_started", "in_flight_first", "in_flight_last", "retry_waiting",
		"enqueued_after", "unrecorded",
	};

	return cls < QB_RESUME_CLASS_COUNT ? names[cls] : "?";
}

/* How many of the ascending values are < x, or with equal <= x. */
static uint32_t below(const uint64_t *values, uint32_t count, uint64_t x, int equal)
{
	uint32_t lo = 0, hi = count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (values[mid] < x || (equal && values[mid] == x))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void mark(int64_t *differences, uint32_t lo, uint32_t hi)
{
	if (lo < hi) {
		differences[lo]++;
		differences[hi]--;
	}
}

static uint32_t next_open(struct lane *l, uint32_t i)
{
	uint32_t root = i;

	while (l->next[root] != root)
		root = l->next[root];
	while (l->next[i] != root) {
		uint32_t up = l->next[i];

		l->next[i] = root;
		i = up;
	}
	return root;
}

/* Kills lo..hi-1 that have no sample yet get this one. */
static void sample(struct lane *l, const uint64_t *at_ns, uint32_t lo, uint32_t hi, uint64_t t_ns)
{
	uint32_t i;

	if (lo >= hi)
		return;
	for (i = next_open(l, lo); i < hi; i = next_open(l, i)) {
		l->got_ns[i] = t_ns > at_ns[i] ? t_ns - at_ns[i] : 0;
		l->next[i] = i + 1;
	}
}

static uint64_t min_ns(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * When the process began to serve; one without a record of it did when it was first seen. A child
 * that a dying parent forked is not the successor of those it dies with.
 */
static uint64_t serves_since(const struct qb_tally *t, const struct qb_proc *p)
{
	uint64_t ns = p->serve_ns ? p->serve_ns : p->born_ns;

	return p->group == QB_NO_IDX ? ns : min_ns(ns, t->kills[p->group].t_ns);
}

/* A victim's steps all came before its death, though the kill may be stamped before them. */
static uint64_t before_death(const struct qb_tally *t, const struct qb_try *a, uint64_t t_ns)
{
	const struct qb_proc *p = a->proc == QB_NO_IDX ? NULL : &t->procs[a->proc];

	if (!p || !p->dead || p->group == QB_NO_IDX)
		return t_ns;
	return min_ns(t_ns, t->kills[p->group].t_ns);
}

/* A job waited from since_ns until taken by attempt a, or for ever (a NULL). */
static void waited(struct resume *r, unsigned cls, uint64_t since_ns, const struct qb_try *a)
{
	struct lane *l = &r->lane[cls];
	uint32_t lo = below(r->at_ns, r->n, since_ns, 1), hi = r->n;

	if (!a) {
		mark(l->had, lo, hi);
		mark(l->left, lo, hi);
		return;
	}
	hi = below(r->at_ns, r->n, before_death(r->t, a, a->start_ns), 0);
	mark(l->had, lo, hi);
	hi = below(r->at_ns, r->n,
		   min_ns(a->start_ns, serves_since(r->t, &r->t->procs[a->proc])), 0);
	sample(l, r->at_ns, lo, hi, a->start_ns);
}

/* The same for a job enqueued after the kill: all kills whose restart came before its enqueue. */
static void enqueued_after(struct resume *r, uint64_t submitted_ns, const struct qb_try *a)
{
	struct lane *l = &r->lane[QB_RESUME_ENQUEUED_AFTER];
	uint32_t hi = below(r->restart_ns, r->n, submitted_ns, 0), began;

	mark(l->had, 0, hi);
	if (!a) {
		mark(l->left, 0, hi);
		return;
	}
	began = below(r->at_ns, r->n, serves_since(r->t, &r->t->procs[a->proc]), 0);
	sample(l, r->at_ns, 0, began < hi ? began : hi, a->start_ns);
}

/* Does the record or the queue say that nothing of this job is left to be run? */
static int is_over(const struct qb_tally *t, uint32_t job)
{
	const struct qb_job_end *end = qb_tally_end(t, job);
	uint32_t i;

	if (t->jobs[job].flags & (QB_TJOB_DISCARDED | QB_TJOB_REFUSED))
		return 1;
	if (end && (end->outcome == QB_OUTCOME_DISCARDED || end->outcome == QB_OUTCOME_AMBIGUOUS ||
		    end->outcome == QB_OUTCOME_COMPLETED))
		return 1;
	if (end && qb_job_is_gone(t, job, end))
		return 1;
	for (i = t->jobs[job].last; i != QB_NO_IDX; i = t->tries[i].prev)
		if (t->tries[i].outcome == QB_TRY_COMPLETED || (t->tries[i].flags & QB_TRY_PARKED))
			return 1;
	return 0;
}

static void in_flight(struct resume *r, const struct qb_try *a)
{
	const struct qb_tally *t = r->t;
	struct lane *first = &r->lane[QB_RESUME_IN_FLIGHT_FIRST];
	struct lane *last = &r->lane[QB_RESUME_IN_FLIGHT_LAST];
	uint32_t k, next;
	uint64_t ns;

	if (!qb_try_is_ambiguous(t, a) || a->proc == QB_NO_IDX ||
	    t->procs[a->proc].group == QB_NO_IDX)
		return;
	k = r->of_kill[t->procs[a->proc].group];
	if (k == QB_NO_IDX)
		return;
	next = qb_try_next_start(t, a->next);
	if (next == QB_NO_IDX) {
		/* Parked, given up, or finished elsewhere: it is not going to run again. */
		if (is_over(t, a->job))
			return;
		mark(first->left, k, k + 1);
		mark(last->left, k, k + 1);
	} else {
		if (t->tries[next].start_ns < r->at_ns[k])
			return;         /* somebody else already had it */
		ns = t->tries[next].start_ns - r->at_ns[k];
		first->got_ns[k] = min_ns(first->got_ns[k], ns);
		if (last->got_ns[k] == QB_NEVER_NS || last->got_ns[k] < ns)
			last->got_ns[k] = ns;
	}
	mark(first->had, k, k + 1);
	mark(last->had, k, k + 1);
}

/* What the victim had completed and the queue had not kept: as in_flight(), the first of them. */
static void unrecorded(struct resume *r, const struct qb_try *a)
{
	const struct qb_tally *t = r->t;
	struct lane *l = &r->lane[QB_RESUME_UNRECORDED];
	uint32_t k, next;

	if (!qb_try_is_dead(t, a) || t->procs[a->proc].group == QB_NO_IDX ||
	    !qb_try_lost_its_result(t, a, &next))
		return;
	k = r->of_kill[t->procs[a->proc].group];
	if (k == QB_NO_IDX)
		return;
	if (next == QB_NO_IDX) {
		/* Given up by the queue: it is not going to run again. */
		if (qb_tally_end(t, a->job)->outcome == QB_OUTCOME_DISCARDED)
			return;
		mark(l->left, k, k + 1);
	} else {
		if (t->tries[next].start_ns < r->at_ns[k])
			return;
		l->got_ns[k] = min_ns(l->got_ns[k], t->tries[next].start_ns - r->at_ns[k]);
	}
	mark(l->had, k, k + 1);
}

/* Starts in the order of time: the tries are in it. */
static void look_at_starts(struct resume *r)
{
	const struct qb_tally *t = r->t;

	for (uint32_t i = 0; i < t->tries_count; i++) {
		const struct qb_try *a = &t->tries[i];
		const struct qb_tally_job *j = &t->jobs[a->job];
		uint32_t before = a->prev;

		in_flight(r, a);
		unrecorded(r, a);
		if (!(a->flags & QB_TRY_LOGGED))
			continue;
		while (before != QB_NO_IDX && !(t->tries[before].flags & QB_TRY_STARTED))
			before = t->tries[before].prev;
		if (before == QB_NO_IDX) {
			if (!(j->flags & QB_TJOB_SUBMITTED))
				continue;
			waited(r, QB_RESUME_NEVER_STARTED, j->submitted_ns, a);
			enqueued_after(r, j->submitted_ns, a);
		} else if (t->tries[before].outcome == QB_TRY_FAILED && t->tries[before].end_ns) {
			waited(r, QB_RESUME_RETRY_WAITING,
			       before_death(t, &t->tries[before], t->tries[before].end_ns) - 1, a);
		}
	}
}

/* Jobs that nobody took: they waited until the end of the watch. */
static void look_at_leftovers(struct resume *r)
{
	const struct qb_tally *t = r->t;

	for (uint32_t i = 0; i < t->jobs_count; i++) {
		const struct qb_tally_job *j = &t->jobs[i];
		uint32_t last = j->last;

		while (last != QB_NO_IDX && !(t->tries[last].flags & QB_TRY_STARTED))
			last = t->tries[last].prev;
		if (last != QB_NO_IDX && t->tries[last].outcome != QB_TRY_FAILED)
			continue;
		if (is_over(t, i))
			continue;
		if (last != QB_NO_IDX) {
			if (t->tries[last].end_ns)
				waited(r, QB_RESUME_RETRY_WAITING,
				       before_death(t, &t->tries[last], t->tries[last].end_ns) - 1,
				       NULL);
		} else if ((j->flags & QB_TJOB_SUBMITTED) && (j->flags & QB_TJOB_ACKED)) {
			waited(r, QB_RESUME_NEVER_STARTED, j->submitted_ns, NULL);
			enqueued_after(r, j->submitted_ns, NULL);
		}
	}
}

/* There is one syncer at a time: a commit is by the one that began last. */
static void look_at_commits(struct resume *r)
{
	const struct qb_trace *trace = r->t->in->trace;
	struct lane *l = &r->lane[LANE_SYNC];
	uint64_t began_ns = 0;

	mark(l->had, 0, r->sync_n);
	mark(l->left, 0, r->sync_n);
	for (size_t i = 0; i < trace->events_count; i++) {
		const struct qb_trace_event *e = &trace->events[i];

		if (e->ev.type == QB_EV_PROCESS_READY && e->ev.kind == QB_ROLE_SYNCER)
			began_ns = e->t_ns;
		else if (e->ev.type == QB_EV_SYNC_COMMITTED)
			sample(l, r->sync_at_ns, 0, below(r->sync_at_ns, r->sync_n, began_ns, 0),
			       e->t_ns);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t *take(uint64_t **free_words, size_t count)
{
	uint64_t *words = *free_words;

	*free_words += count;
	return words;
}

/* Kills and processes are few beside jobs: one piece of memory for all that is per kill. */
static int set_up(struct resume *r, const struct qb_tally *t)
{
	size_t kills = t->kills_count + 1, procs = t->procs_count + 1;
	uint64_t *words;

	r->t = t;
	r->memory = words = calloc(kills * (5 + 4 * LANES) + 2 * procs, sizeof(*words));
	if (!words)
		return -ENOMEM;
	r->at_ns = take(&words, kills);
	r->restart_ns = take(&words, kills);
	r->sync_at_ns = take(&words, kills);
	r->samples_ns = take(&words, kills);
	r->of_kill = (uint32_t *)take(&words, kills);
	r->serves_ns = take(&words, procs);
	r->sync_serves_ns = take(&words, procs);
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *l = &r->lane[i];

		l->got_ns = take(&words, kills);
		l->had = (int64_t *)take(&words, kills);
		l->left = (int64_t *)take(&words, kills);
		l->next = (uint32_t *)take(&words, kills);
		for (uint32_t k = 0; k < kills; k++) {
			l->got_ns[k] = QB_NEVER_NS;
			l->next[k] = k;
		}
	}
	return 0;
}

/* When workers and syncers began to serve, and which kills took one. */
static void list_kills(struct resume *r)
{
	const struct qb_tally *t = r->t;
	uint32_t next;

	for (uint32_t i = 0; i < t->procs_count; i++) {
		const struct qb_proc *p = &t->procs[i];

		if (p->serve_ns && p->role == QB_ROLE_WORKER)
			r->serves_ns[r->serves_count++] = serves_since(t, p);
		if (p->serve_ns && p->role == QB_ROLE_SYNCER)
			r->sync_serves_ns[r->sync_serves_count++] = serves_since(t, p);
	}
	qsort(r->serves_ns, r->serves_count, sizeof(*r->serves_ns), by_value);
	qsort(r->sync_serves_ns, r->sync_serves_count, sizeof(*r->sync_serves_ns), by_value);
	for (uint32_t i = 0; i < t->kills_count; i++) {
		const struct qb_kill *k = &t->kills[i];

		r->of_kill[i] = QB_NO_IDX;
		if (k->syncers)
			r->sync_at_ns[r->sync_n++] = k->t_ns;
		if (!k->workers)
			continue;
		r->of_kill[i] = r->n;
		next = below(r->serves_ns, r->serves_count, k->t_ns, 1);
		/* Nobody came: whatever was enqueued since the kill is waiting. */
		r->restart_ns[r->n] = next < r->serves_count ? r->serves_ns[next] : k->t_ns;
		r->at_ns[r->n++] = k->t_ns;
	}
}

static uint64_t ranked(const uint64_t *samples_ns, uint64_t count, uint64_t censored,
		       unsigned permille)
{
	uint64_t rank = qb_rank(count + censored, permille);

	if (count + censored == 0)
		return 0;
	return rank < count ? samples_ns[rank] : QB_BEYOND_WATCH;
}

/* whole: a kill of which some jobs were never picked up is censored though others were. */
static void finish(struct resume *r, struct lane *l, const uint64_t *at_ns, uint32_t n, int whole,
		   struct qb_resume *out)
{
	uint64_t end_ns = r->t->in->watch_end_ns, count = 0, watch_ns;
	int64_t had = 0, left = 0;

	for (uint32_t k = 0; k < n; k++) {
		had += l->had[k];
		left += l->left[k];
		if (had == 0)
			continue;
		out->kills++;
		if (l->got_ns[k] != QB_NEVER_NS && !(whole && left > 0)) {
			r->samples_ns[count++] = l->got_ns[k];
		} else if (left > 0) {
			out->censored++;
			watch_ns = end_ns > at_ns[k] ? end_ns - at_ns[k] : 0;
			if (watch_ns > out->watch_ns_max)
				out->watch_ns_max = watch_ns;
			if (out->censored == 1 || watch_ns < out->watch_ns_min)
				out->watch_ns_min = watch_ns;
		} else {
			out->by_survivors++;
		}
	}
	qb_percentiles_of(r->samples_ns, count, &out->ns);
	out->median_ns = ranked(r->samples_ns, count, out->censored, 500);
	out->p95_ns = ranked(r->samples_ns, count, out->censored, 950);
	out->max_ns = ranked(r->samples_ns, count, out->censored, 1000);
}

/* From the kill to the first process that began to serve in the place of a victim. */
static void spawn_times(struct resume *r, struct qb_summary *out)
{
	const struct qb_tally *t = r->t;
	uint64_t count = 0;

	for (uint32_t i = 0; i < t->kills_count; i++) {
		const struct qb_kill *k = &t->kills[i];
		const uint64_t *serves_ns = k->workers ? r->serves_ns : r->sync_serves_ns;
		uint32_t serves = k->workers ? r->serves_count : r->sync_serves_count;
		uint32_t next = below(serves_ns, serves, k->t_ns, 1);

		if ((k->workers || k->syncers) && next < serves)
			r->samples_ns[count++] = serves_ns[next] - k->t_ns;
	}
	qb_percentiles_of(r->samples_ns, count, &out->spawn);
}

int qb_resume_times(const struct qb_tally *t, struct qb_summary *out)
{
	struct resume r = { 0 };

	if (set_up(&r, t) < 0)
		return -ENOMEM;
	list_kills(&r);
	look_at_starts(&r);
	look_at_leftovers(&r);
	look_at_commits(&r);
	for (unsigned i = 0; i < QB_RESUME_CLASS_COUNT; i++)
		finish(&r, &r.lane[i], r.at_ns, r.n, i == QB_RESUME_IN_FLIGHT_LAST,
		       &out->resume[i]);
	finish(&r, &r.lane[LANE_SYNC], r.sync_at_ns, r.sync_n, 0, &out->sync_resume);
	spawn_times(&r, out);
	free(r.memory);
	return 0;
}
