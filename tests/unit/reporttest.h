/* SPDX-License-Identifier: Apache-2.0 */
/* Reports of made-up summaries: what its programs share. */
#ifndef QB_TESTS_REPORTTEST_H
#define QB_TESTS_REPORTTEST_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "report/report.h"
#include "shm/status.h"

#define MS 1000000ull
#define RUNS_MAX 8

static struct qb_summary sums[RUNS_MAX];
static struct qb_meta metas[RUNS_MAX];
static struct qb_report_entry entries[RUNS_MAX];
static struct qb_report report;
static struct qb_strbuf out;

static inline struct qb_percentiles samples(uint64_t count, uint64_t ms)
{
	return (struct qb_percentiles){ .count = count, .min_ns = ms * MS / 2, .p50_ns = ms * MS,
					.p90_ns = 2 * ms * MS, .p95_ns = 3 * ms * MS,
					.p99_ns = 4 * ms * MS, .p999_ns = 5 * ms * MS,
					.max_ns = 6 * ms * MS, .mean_ns = 1.5e6 * (double)ms };
}

/* A run with 5 kills that ended well. */
static inline size_t add_run(const char *library)
{
	size_t i = report.entries_count++;
	struct qb_summary *s = &sums[i];
	struct qb_meta *m = &metas[i];

	ck_assert_uint_lt(i, RUNS_MAX);
	memset(s, 0, sizeof(*s));
	memset(m, 0, sizeof(*m));
	snprintf(s->lib, sizeof(s->lib), "%s", library);
	snprintf(s->run_id, sizeof(s->run_id), "%.20s-crash_recovery-%zu", library, 1700 + i);
	strcpy(s->scenario, "crash_recovery");
	s->planned = s->submitted = s->acknowledged = 639;
	s->completed = s->completions = 630;
	s->discarded = 9;
	s->kills = s->kills_by_role[QB_ROLE_WORKER] = 5;
	s->verified = 1;
	s->reports_ambiguity = 1;
	s->throughput_per_s = 80.25;
	s->pickup = samples(630, 7);
	s->end_to_end = samples(630, 11);
	s->spawn = samples(5, 13);
	for (unsigned c = 0; c < QB_RESUME_CLASS_COUNT; c++) {
		struct qb_resume *r = &s->resume[c];

		r->kills = r->ns.count = 5;
		r->median_ns = (10 + c) * MS;
		r->p95_ns = r->max_ns = (20 + c) * MS;
	}
	m->duration_ns = 8000 * MS;
	m->rate = 40;
	m->tenants = 5;
	m->seed = 20;
	m->workers = 10;
	m->slots = 1;
	strcpy(m->ack, "durable");
	strcpy(m->ambiguous, "retry");
	strcpy(m->backoff, "immediate");
	strcpy(m->qbench_version, "9.8.7");
	strcpy(m->server_version, "15.1");
	entries[i] = (struct qb_report_entry){ .summary = s, .meta = m, .dir = "results/x",
						.load = qb_db_load_unknown() };
	return i;
}

static inline void censor(size_t run, unsigned cls, uint64_t censored)
{
	struct qb_resume *r = &sums[run].resume[cls];

	r->censored = censored;
	r->ns.count = r->kills - censored;
	r->max_ns = QB_BEYOND_WATCH;
	if (2 * censored > r->kills)
		r->median_ns = QB_BEYOND_WATCH;
	r->watch_ns_min = 9800 * MS;
	r->watch_ns_max = 9900 * MS;
}

static inline void setup(void)
{
	memset(&report, 0, sizeof(report));
	memset(entries, 0, sizeof(entries));
	report.qbench_version = "9.8.7";
	report.entries = entries;
	strcpy(report.host.cpu, "Imaginary CPU");
	report.host.cores = 2;
}

static inline void teardown(void)
{
	qb_strbuf_free(&out);
}

static inline const char *render(qb_render_fn fn)
{
	qb_strbuf_clear(&out);
	fn(&report, &out);
	return qb_strbuf_text(&out);
}

/* The line that begins so, without its blanks in a row; the test fails when there is none. */
static inline const char *line_of(const char *text, const char *begin)
{
	static char line[256];
	const char *p = text;
	size_t n = 0;

	while (p && strncmp(p, begin, strlen(begin)) != 0) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (!p)
		ck_abort_msg("no line begins with \"%s\" in:\n%s", begin, text);
	for (; *p && *p != '\n' && n + 1 < sizeof(line); p++)
		if (*p != ' ' || (n && line[n - 1] != ' '))
			line[n++] = *p;
	line[n] = '\0';
	return line;
}

static inline void assert_says(const char *text, const char *what)
{
	char *flat = strdup(text);

	/* Sentences are wrapped somewhere. */
	for (char *p = flat; *p; p++)
		if (*p == '\n')
			*p = ' ';
	ck_assert_msg(strstr(flat, what) != NULL, "\"%s\" is not in:\n%s", what, text);
	free(flat);
}

static inline void assert_silent(const char *text, const char *what)
{
	ck_assert_msg(strstr(text, what) == NULL, "\"%s\" is in:\n%s", what, text);
}

static inline void assert_columns(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		ck_assert_msg(len <= 100, "%zu columns: %.*s", len, (int)len, text);
		text += len + (text[len] == '\n');
	}
}

#endif
