/* SPDX-License-Identifier: Apache-2.0 */
/* A report from the record alone: the same numbers as right after the run. */
#include "report/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "record/ends.h"
#include "record/load.h"

/* A run that was cut off tells neither how many jobs were planned nor when its watch ended. */
static void guess_ends(const struct qb_trace *t, struct qb_ends *ends)
{
	memset(ends, 0, sizeof(*ends));
	ends->load = qb_db_load_unknown();
	ends->jobs_count = t->job_id_max;
	ends->watch_end_ns = t->events_count ? t->events[t->events_count - 1].t_ns : 0;
	for (size_t i = 0; i < t->events_count && !ends->reports_ambiguity; i++)
		ends->reports_ambiguity = t->events[i].ev.type == QB_EV_JOB_AMBIGUOUS;
}

static void note_dir(const char *path, char *dir, size_t cap)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 1;

	/* "/events.qbr" lies in "/", "events.qbr" in ".". */
	if (slash == path)
		len = 1;
	snprintf(dir, cap, "%.*s", (int)(len < cap ? len : cap - 1), slash ? path : ".");
}

static int summarize(const struct qb_trace *t, const char *path, struct qb_report_run *run,
		     struct qb_err *err)
{
	struct qb_err why = { 0 };
	struct qb_ends ends;
	int rc, known;

	rc = qb_ends_load(path, &ends, &why);
	known = rc == 0;
	if (rc == -ENOENT) {
		guess_ends(t, &ends);
		rc = 0;
	}
	if (rc < 0) {
		if (err)
			*err = why;
		return rc;
	}
	struct qb_summary_input in = {
		.trace = t,
		.ends = known ? ends.jobs : NULL,
		.jobs_count = ends.jobs_count,
		.effects_count = ends.effects_count,
		.watch_end_ns = ends.watch_end_ns,
		.reports_ambiguity = ends.reports_ambiguity != 0,
		.parks = ends.parks != 0,
		.resolves = ends.resolves != 0,
		.leased = ends.leased != 0,
		.may_lose = ends.may_lose != 0,
		.forgets = ends.forgets != 0,
	};

	rc = qb_summarize(&in, &run->summary, err);
	run->load = ends.load;
	run->interrupted = !known || !t->ended;
	if (known)
		qb_ends_free(&ends);
	return rc;
}

int qb_report_from_record(const char *events_path, struct qb_report_run *run, struct qb_err *err)
{
	struct qb_trace t;
	int rc;

	memset(run, 0, sizeof(*run));
	rc = qb_trace_load(events_path, &t, err);
	if (rc < 0)
		return rc;
	note_dir(events_path, run->dir, sizeof(run->dir));
	rc = summarize(&t, events_path, run, err);
	if (rc < 0) {
		qb_err_context(err, "could not make a report of %s", events_path);
	} else {
		/* The description moves over; the trace keeps nothing of it to free. */
		run->meta = t.meta;
		memset(&t.meta, 0, sizeof(t.meta));
		for (uint32_t i = 0; i < run->meta.settings_count; i++)
			qb_host_take(&run->host, run->meta.settings[i].key,
				     run->meta.settings[i].value);
	}
	qb_trace_free(&t);
	return rc;
}

void qb_report_run_free(struct qb_report_run *run)
{
	qb_meta_free(&run->meta);
	memset(run, 0, sizeof(*run));
}

struct qb_report_entry qb_report_run_entry(const struct qb_report_run *run)
{
	return (struct qb_report_entry){
		.summary = &run->summary, .meta = &run->meta, .dir = run->dir,
		.load = run->load, .interrupted = run->interrupted,
	};
}
