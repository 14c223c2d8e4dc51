/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table that text and Markdown show: a section for each scenario, a column for each library, a
 * row for each number; for a scenario with several processes a section for each library, a column for each number of
 * them.  Several runs of a library share a cell: median and range.  Private to this
 * room.
 */
#ifndef QB_REPORT_MODEL_H
#define QB_REPORT_MODEL_H

#include "report/report.h"

#define QB_CELL_BYTES 64
#define QB_LABEL_BYTES 48

#define QB_NAME_BYTES 160

/* All runs of one library under one scenario (of one variant, where it has several), in the order of the report. */
struct qb_group {
	const char *lib;
	const char *variant;            /* "": none */
	char label[QB_NAME_BYTES];      /* over its column */
	char name[QB_NAME_BYTES];       /* in a sentence */
	const struct qb_report_entry **runs;
	size_t runs_count;
};

struct qb_section {
	const char *scenario;
	const char *lib;                /* the only one, where numbers of processes are compared; else NULL */
	struct qb_group *groups;
	size_t groups_count;
};

struct qb_model {
	struct qb_section *sections;
	size_t sections_count;
};

enum qb_cell_mood { QB_CELL_PLAIN, QB_CELL_GOOD, QB_CELL_BAD };

struct qb_row {
	char label[QB_LABEL_BYTES];
	int heading;                    /* no cells: a title over the rows that follow */
	char (*cells)[QB_CELL_BYTES];   /* one per group */
	uint8_t *moods;                 /* enum qb_cell_mood, one per group */
};

struct qb_table {
	struct qb_row *rows;
	size_t rows_count;
	size_t columns;
};

void qb_model_build(struct qb_model *m, const struct qb_report *r);
void qb_model_free(struct qb_model *m);

/* rows.c: the rows of a section; those that would be empty for every library are left out. */
void qb_table_build(struct qb_table *t, const struct qb_section *s);
void qb_table_free(struct qb_table *t);

/* settings.c: the name of setting i, 0 behind the last; and its value as text, "-" for none. */
#define QB_SETTING_BYTES 96
int qb_setting_key(const struct qb_meta *m, unsigned i, char key[QB_SETTING_BYTES]);
void qb_setting(const struct qb_meta *m, const char *key, char value[QB_SETTING_BYTES]);

/*
 * tracks.c: what queues that go by time add.  A setting of a library's own, as "river lease" in the list, by its name;
 * and whether a key of the list is one: of this group's library 1, of another's -1, of none 0.
 */
void qb_queue_setting(const struct qb_group *g, const char *name, char value[QB_SETTING_BYTES]);
int qb_is_queue_setting(const struct qb_section *s, const char *key, size_t group);
/* The track of a group, or its lease. Returns whether that makes the row worth its line. */
int qb_put_track(struct qb_strbuf *out, const struct qb_group *g, int lease);
/* Sentences: what was lost with the memory of a worker, and what was not waited for. */
void qb_put_time_outs(struct qb_strbuf *out, const struct qb_section *s);

/* Median (the upper one of an even count, as in the original) and range over runs. */
struct qb_over_runs { double median, min, max; };
/* Sorts values. count > 0. */
struct qb_over_runs qb_over_runs(double *values, size_t count);

/* values.c: what is no plain member of the summary. */
enum qb_value {
	QB_VALUE_BACKLOG_MAX,
	QB_VALUE_BACKLOG_AT_END,
	QB_VALUE_DRAIN,
	QB_VALUE_RETRIES,
	QB_VALUE_RETRIES_EARLY,
	QB_VALUE_RETRIES_MISSING,
	QB_VALUE_LATE_P50,
	QB_VALUE_LATE_P95,
	QB_VALUE_LATE_MAX,
	QB_VALUE_MOST_FIRST,
	QB_VALUE_MOST_FIRST_DUE,
	QB_VALUE_MOST_SECOND,
	QB_VALUE_MOST_SECOND_DUE,
	QB_VALUE_SHARED_RATE,
	QB_VALUE_SCALING,
	QB_VALUE_LEAST_SHARE,
	QB_VALUE_MOST_SHARE,
	QB_VALUE_FAIRNESS,
	QB_VALUE_WOKEN,
};
/* Of one run; NAN when it has none, INFINITY for a time that did not come to its end. */
double qb_value(enum qb_value which, const struct qb_section *s, const struct qb_report_entry *e);
/* Was anybody to wait for a retry, in a run with --backoff? */
int qb_retries_wait(const struct qb_report_entry *e);

/* draw.c: lines of printable text, each whole; nothing when there is nothing to draw. */
void qb_drawings(const struct qb_section *s, struct qb_strbuf *out);

/* findings.c: what it means, in a few sentences made of the numbers; one paragraph, no newline. */
void qb_findings(const struct qb_section *s, struct qb_strbuf *out);
/* "8 s at 40 jobs/s, 5 tenants, seed 20, 10 workers ...": of the first run. */
void qb_section_settings(const struct qb_section *s, struct qb_strbuf *out);
/* Versions of qbench and the server, and the machine, each "" when unknown. */
void qb_section_versions(const struct qb_report *r, const struct qb_section *s,
			 struct qb_strbuf *out);

/* Appends "12.3 ms", or "> 9.9 s" for QB_BEYOND_WATCH with what was watched. */
void qb_put_resume_ns(struct qb_strbuf *out, uint64_t ns, uint64_t watch_ns);

#endif
