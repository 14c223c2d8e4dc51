/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Results for people and programs: one model, one renderer for each format.
 *
 * Everything shown is computed from the summaries that the entries point to; a report made right
 * after the run and one made later from the record are the same.  Nothing is kept: the caller owns
 * all that the structs point to.
 */
#ifndef QB_REPORT_REPORT_H
#define QB_REPORT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/host.h"
#include "base/strbuf.h"
#include "record/dbload.h"
#include "record/meta.h"
#include "stats/summary.h"

/* One run of one library under one scenario. */
struct qb_report_entry {
	const struct qb_summary *summary;
	const struct qb_meta *meta;
	const char *dir;                /* where its files are; NULL or "": nowhere */
	struct qb_db_load load;         /* what the run cost its database */
	int interrupted;                /* by the user: the numbers are of a part */
};

struct qb_report {
	struct qb_host host;
	const char *qbench_version;
	const struct qb_report_entry *entries;  /* in the order in which they are to be shown */
	size_t entries_count;
	int colour;                     /* text: escape codes for a terminal */
};

/* Appends the whole report. */
typedef void (*qb_render_fn)(const struct qb_report *r, struct qb_strbuf *out);

struct qb_renderer {
	const char *name;               /* as in --format */
	const char *extension;          /* of a file: "json" */
	qb_render_fn render;
};

/* NULL at the end: text, md, json. */
extern const struct qb_renderer *const qb_renderers[];
/* NULL when there is none of that name; err then lists them. err may be NULL. */
const struct qb_renderer *qb_renderer_find(const char *name, struct qb_err *err);

void qb_report_text(const struct qb_report *r, struct qb_strbuf *out);  /* at most 100 columns */
void qb_report_md(const struct qb_report *r, struct qb_strbuf *out);
void qb_report_json(const struct qb_report *r, struct qb_strbuf *out);  /* doc/summary-json.md */

/* Writes the report to path, whole or not at all. 0 or -errno. */
int qb_report_write(const struct qb_report *r, const struct qb_renderer *how, const char *path,
		    struct qb_err *err);

/* A run that was read back from its record. */
struct qb_report_run {
	struct qb_summary summary;
	struct qb_meta meta;
	struct qb_host host;            /* the machine that ran it, as far as the record says */
	char dir[512];                  /* of the record */
	struct qb_db_load load;
	int interrupted;                /* no orderly end, or not what became of the jobs */
};

/*
 * 0 (free with qb_report_run_free; a damaged or cut record gives what is there, and is not
 * verified); the errors of qb_trace_load() and qb_summarize().
 */
int qb_report_from_record(const char *events_path, struct qb_report_run *run, struct qb_err *err);
void qb_report_run_free(struct qb_report_run *run);
/* The entry that shows it; points into run. */
struct qb_report_entry qb_report_run_entry(const struct qb_report_run *run);

#endif
