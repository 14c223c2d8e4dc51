/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/summary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/status.h"
#include "stats/death.h"
#include "stats/tally.h"

/* By how much two stamps may contradict each other through their conversion alone. */
#define CLOCK_SLACK_NS 50000

struct times {
	const struct qb_tally *t;
	uint64_t *samples_ns;
	uint64_t count;
};

static void sample(struct times *s, uint64_t ns)
{
	s->samples_ns[s->count++] = ns;
}

static void finish(struct times *s, struct qb_percentiles *out)
{
	qb_percentiles_of(s->samples_ns, s->count, out);
	s->count = 0;
}

/*
 * arg0 or arg1 of all events of a type. Syncers and parents are recovered too, but leave no job to
 * be decided.
 */
static void of_events(struct times *s, uint32_t type, int arg, struct qb_percentiles *out)
{
	const struct qb_trace *trace = s->t->in->trace;

	for (size_t i = 0; i < trace->events_count; i++) {
		const struct qb_event_shm *ev = &trace->events[i].ev;

		if (ev->type == type && (type != QB_EV_RECOVERED || ev->kind == QB_ROLE_WORKER))
			sample(s, arg ? ev->arg1 : ev->arg0);
	}
	finish(s, out);
}

/* The first start of the job on record, or NULL. */
static const struct qb_try *first_start(const struct qb_tally *t, const struct qb_tally_job *j)
{
	uint32_t idx = qb_try_next_start(t, j->first);

	return idx == QB_NO_IDX ? NULL : &t->tries[idx];
}

/* The completion that came first, at a known time, or NULL. */
static const struct qb_try *first_completion(const struct qb_tally *t, const struct qb_tally_job *j)
{
	const struct qb_try *best = NULL;

	for (uint32_t i = j->first; i != QB_NO_IDX; i = t->tries[i].next) {
		const struct qb_try *a = &t->tries[i];

		if (a->outcome == QB_TRY_COMPLETED && a->end_ns &&
		    (!best || a->end_ns < best->end_ns))
			best = a;
	}
	return best;
}

/* An open-loop time cannot be negative: a job is not enqueued before it is due. */
static int since(const struct qb_tally *t, uint32_t job, uint64_t from_ns, uint64_t to_ns,
		 uint64_t *ns, struct qb_err *err)
{
	*ns = to_ns > from_ns ? to_ns - from_ns : 0;
	if (to_ns + CLOCK_SLACK_NS >= from_ns || t->in->trace->clock_rough)
		return 0;
	return qb_err_set(err, QB_ECORRUPT, "job %u was picked up %llu us before it was due; "
			  "stamps of this record do not convert to one clock", job + 1,
			  (unsigned long long)((from_ns - to_ns) / 1000));
}

static int pickup_times(struct times *s, int from_submit, struct qb_percentiles *out,
			struct qb_err *err)
{
	const struct qb_tally *t = s->t;

	for (uint32_t i = 0; i < t->jobs_count; i++) {
		const struct qb_tally_job *j = &t->jobs[i];
		const struct qb_try *a = first_start(t, j);
		uint64_t ns;
		int rc;

		if (!a || !(j->flags & QB_TJOB_SUBMITTED))
			continue;
		rc = since(t, i, from_submit ? j->submitted_ns : j->intended_ns, a->start_ns, &ns,
			   err);
		if (rc < 0)
			return rc;
		sample(s, ns);
	}
	finish(s, out);
	return 0;
}

static int end_to_end_times(struct times *s, struct qb_percentiles *out, struct qb_err *err)
{
	const struct qb_tally *t = s->t;

	for (uint32_t i = 0; i < t->jobs_count; i++) {
		const struct qb_tally_job *j = &t->jobs[i];
		const struct qb_try *a = first_completion(t, j);
		uint64_t ns;
		int rc;

		if (!a || !(j->flags & QB_TJOB_SUBMITTED))
			continue;
		rc = since(t, i, j->intended_ns, a->end_ns, &ns, err);
		if (rc < 0)
			return rc;
		sample(s, ns);
	}
	finish(s, out);
	return 0;
}

/* Only where the worker itself said when it was done. */
static void work_times(struct times *s, struct qb_percentiles *out)
{
	const struct qb_tally *t = s->t;

	for (uint32_t i = 0; i < t->tries_count; i++) {
		const struct qb_try *a = &t->tries[i];

		if (a->outcome == QB_TRY_COMPLETED && (a->flags & QB_TRY_LOGGED) &&
		    !(a->flags & QB_TRY_TOLD) && a->end_ns >= a->start_ns)
			sample(s, a->end_ns - a->start_ns);
	}
	finish(s, out);
}

static void elapsed(const struct qb_tally *t, struct qb_summary *out)
{
	uint64_t begin_ns = QB_NEVER_NS, end_ns = 0;

	for (uint32_t i = 0; i < t->jobs_count; i++) {
		const struct qb_tally_job *j = &t->jobs[i];

		if ((j->flags & QB_TJOB_SUBMITTED) && j->submitted_ns < begin_ns)
			begin_ns = j->submitted_ns;
		if (j->discarded_ns > end_ns)
			end_ns = j->discarded_ns;
	}
	for (uint32_t i = 0; i < t->tries_count; i++) {
		const struct qb_try *a = &t->tries[i];

		if (a->outcome == QB_TRY_COMPLETED && a->end_ns > end_ns)
			end_ns = a->end_ns;
	}
	if (begin_ns < end_ns) {
		out->elapsed_ns = end_ns - begin_ns;
		out->throughput_per_s = (double)out->completed * 1e9 / (double)out->elapsed_ns;
	}
}

static int all_times(const struct qb_tally *t, struct qb_summary *out, struct qb_err *err)
{
	uint64_t max = t->in->trace->events_count + t->jobs_count + t->tries_count + 1;
	struct times s = { .t = t, .samples_ns = malloc(max * sizeof(uint64_t)) };
	int rc;

	if (!s.samples_ns)
		return qb_err_errno(err, ENOMEM, "could not add up the run");
	rc = pickup_times(&s, 0, &out->pickup, err);
	if (rc == 0)
		rc = pickup_times(&s, 1, &out->pickup_submit, err);
	if (rc == 0)
		rc = end_to_end_times(&s, &out->end_to_end, err);
	if (rc == 0) {
		work_times(&s, &out->work);
		of_events(&s, QB_EV_JOB_ENQUEUED, 1, &out->enqueue_call);
		of_events(&s, QB_EV_RECOVERED, 0, &out->verdict);
		of_events(&s, QB_EV_SYNC_COMMITTED, 1, &out->commit);
		elapsed(t, out);
	}
	free(s.samples_ns);
	return rc;
}

static int death_times(const struct qb_trace *trace, struct qb_summary *out)
{
	struct qb_death_times d = { 0 };
	int rc = qb_death_times_add(&d, trace);

	if (rc == 0) {
		qb_percentiles_of(d.verdict.ns, d.verdict.count, &out->death_verdict);
		qb_percentiles_of(d.pickup.ns, d.pickup.count, &out->death_pickup);
	}
	qb_death_times_free(&d);
	return rc;
}

int qb_summarize(const struct qb_summary_input *in, struct qb_summary *out, struct qb_err *err)
{
	const struct qb_meta *meta = &in->trace->meta;
	struct qb_tally t;
	int rc;

	memset(out, 0, sizeof(*out));
	snprintf(out->run_id, sizeof(out->run_id), "%s", meta->run_id);
	snprintf(out->lib, sizeof(out->lib), "%s", meta->lib);
	snprintf(out->scenario, sizeof(out->scenario), "%s", meta->scenario);
	out->reports_ambiguity = in->reports_ambiguity != 0;
	out->parks = in->parks != 0;
	out->resolves = in->resolves != 0;
	out->leased = in->leased != 0;
	out->may_lose = in->may_lose != 0;
	rc = qb_tally_build(&t, in, err);
	if (rc == 0 && (qb_key_table_build(&t, out) < 0 || qb_cache_table_build(&t, out) < 0))
		rc = qb_err_errno(err, ENOMEM, "could not add up the run");
	if (rc == 0) {
		qb_account(&t, out);
		rc = all_times(&t, out, err);
	}
	if (rc == 0 && (qb_resume_times(&t, out) < 0 || death_times(in->trace, out) < 0 ||
			qb_backlog_of(&t, &out->backlog) < 0 || qb_retries_of(&t, &out->retries) < 0 ||
			/* Tenants are items there, and get no share. */
			(out->cache.set.callers == 0 && qb_share_of(&t, &out->share) < 0)))
		rc = qb_err_errno(err, ENOMEM, "could not add up the run");
	qb_tally_free(&t);
	return rc;
}
