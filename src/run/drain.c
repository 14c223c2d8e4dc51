/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the last enqueue: wait until the queue is empty, or until nothing is left but what only a time-out
 * of the queue can bring back, and watch for that.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "run/driver.h"

#define CENSUS_EVERY_NS (50 * QB_NS_PER_MS)
#define CENSUS_RARELY_NS (500 * QB_NS_PER_MS)
/* A worker that has nothing to say for its longest job and this has none in hand. */
#define QUIET_MARGIN_NS QB_NS_PER_S
/* Whoever polls for what is queued, or for a short retry that its queue shows as queued, may take as long. */
#define QUIET_QUEUED_NS (3 * QB_NS_PER_S)

struct watch {
	uint64_t deadline_ns;
	uint64_t heard_ns;              /* when something happened to a job, or could not be asked about */
	uint64_t events;
	uint64_t longest_ns;            /* of the jobs' work */
	int observes;                   /* waits for time-outs only */
	struct qb_queue_census left;    /* as it was seen last */
};

static uint64_t left_of(const struct qb_queue_census *c)
{
	return c->by_outcome[QB_OUTCOME_QUEUED] + c->by_outcome[QB_OUTCOME_WAITING] + c->by_outcome[QB_OUTCOME_HELD];
}

/* 1 and *c; 0: nobody can be asked just now. */
static int ask(struct qb_driver *d, struct qb_queue_census *c)
{
	if (qb_feeder_unsettled(&d->feeder))
		return 0;
	/* A queue that went away is opened again here when the threads do the enqueuing. */
	if (!d->feeder.q && d->ops->open(&d->feeder.env, &d->feeder.q, NULL) < 0) {
		d->feeder.q = NULL;
		return 0;
	}
	d->census_count++;
	if (d->ops->census(d->feeder.q, c, NULL) == 0)
		return 1;
	/* Postgres may be on its way back. */
	d->ops->close(d->feeder.q);
	d->feeder.q = NULL;
	return 0;
}

static void listen(struct qb_driver *d, struct watch *w, uint64_t now)
{
	static const unsigned types[] = { QB_EV_JOB_STARTED, QB_EV_JOB_COMPLETED, QB_EV_JOB_FAILED, QB_EV_JOB_FENCED };
	uint64_t events = 0;

	for (size_t i = 0; i < QB_ARRAY_COUNT(types); i++)
		events += d->recorder.tally[types[i]];
	if (events != w->events)
		w->heard_ns = now;
	w->events = events;
}

/* Everybody alive is at rest, and no job has a time at which it is due: what is left, is left by the dead. */
static int is_at_rest(const struct qb_driver *d, const struct watch *w, uint64_t now)
{
	uint64_t margin_ns = w->left.by_outcome[QB_OUTCOME_QUEUED] ? QUIET_QUEUED_NS : QUIET_MARGIN_NS;

	return (d->ops->flags & QB_QUEUE_LEASED) && w->left.by_outcome[QB_OUTCOME_WAITING] == 0 &&
	       now - w->heard_ns > w->longest_ns + margin_ns;
}

static uint64_t longest_job_ns(const struct qb_plan *plan)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < plan->count; i++)
		if (plan->jobs[i].work_ms > longest)
			longest = plan->jobs[i].work_ms;
	return longest * QB_NS_PER_MS;
}

/* The queue's own word for how long it believes a silent worker; "" where it has none. */
static const char *lease_text(const struct qb_driver *d, char *buf, size_t cap)
{
	const struct qb_queue_option *o = d->ops->options;
	uint64_t values[QB_QUEUE_OPTIONS_MAX];

	buf[0] = 0;
	if (!o || qb_queue_options_parse(d->ops, d->spec.options, values, NULL) < 0)
		return buf;
	for (size_t i = 0; o[i].name; i++)
		if (strcmp(o[i].name, QB_QUEUE_LEASE_OPTION) == 0)
			qb_queue_option_text(&o[i], values[i], buf, cap);
	return buf;
}

static void tell_what_is_left(const struct qb_driver *d, const struct watch *w)
{
	char lease[64];

	if (!w->observes) {
		qb_log(QB_LOG_WARNING, "%s: not everything was finished %.0f s after the last enqueue", d->spec.label,
		       (double)d->cfg->drain_ns / 1e9);
		return;
	}
	lease_text(d, lease, sizeof(lease));
	qb_log(QB_LOG_INFO, "%s: not waiting any longer for %llu jobs that nobody works on%s%s%s", d->spec.label,
	       (unsigned long long)left_of(&w->left), lease[0] ? " (its lease is " : "", lease, lease[0] ? ")" : "");
}

/* Where it costs a query the queue is not asked before our own record says that all is done, but for a rare look. */
static uint64_t census_every_ns(const struct qb_driver *d)
{
	const uint64_t *t = d->recorder.tally;

	return d->ops->flags & QB_QUEUE_IN_SEGMENT ||
	       t[QB_EV_JOB_COMPLETED] + t[QB_EV_JOB_DISCARDED] >= d->feeder.submitted ? CENSUS_EVERY_NS : CENSUS_RARELY_NS;
}

int qb_drive_is_drained(struct qb_driver *d)
{
	struct qb_queue_census c;

	return ask(d, &c) && left_of(&c) == 0;
}

int qb_drive_drain(struct qb_driver *d, int *drained, struct qb_err *err)
{
	uint64_t now = qb_now_ns(), census_ns = 0;
	struct watch w = {
		.deadline_ns = now + d->cfg->drain_ns, .heard_ns = now,
		.longest_ns = longest_job_ns(&d->plan),
	};

	*drained = 0;
	while (!*drained && (now = qb_now_ns()) < w.deadline_ns) {
		int rc = qb_drive_duties(d, w.observes ? "observe" : "drain", err);

		if (rc < 0)
			return rc;
		if (qb_interrupted)
			return QB_EINTR;
		listen(d, &w, now);
		if (now - census_ns >= census_every_ns(d)) {
			census_ns = now;
			if (!ask(d, &w.left))
				w.heard_ns = now;
			else
				*drained = left_of(&w.left) == 0;
			if (!*drained && !w.observes && is_at_rest(d, &w, now)) {
				w.observes = 1;
				w.deadline_ns = w.heard_ns + d->cfg->observe_ns;
			}
		}
		qb_drive_nap(d);
	}
	d->watched_ns = qb_now_ns();
	d->in_a_hurry = !*drained;
	if (!*drained)
		tell_what_is_left(d, &w);
	return 0;
}
