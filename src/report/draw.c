/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures made of characters, at most 96 columns: the backlog over time, and when retries began. */
#include "report/model.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/visible.h"

#define COLUMNS 60
#define NAME_COLUMNS 24
#define BAR_COLUMNS 26

static void put_name(struct qb_strbuf *out, const char *name)
{
	struct qb_strbuf shown = { 0 };

	qb_visible_add(&shown, name, strlen(name));
	qb_strbuf_printf(out, "  %-*.*s ", NAME_COLUMNS, NAME_COLUMNS, qb_strbuf_text(&shown));
	qb_strbuf_free(&shown);
}

static const struct qb_backlog *backlog_of(const struct qb_group *g)
{
	return &g->runs[0]->summary->backlog;
}

/* Of the run whose last job was finished last; that of all columns is the same. */
static uint64_t column_ns(const struct qb_section *s)
{
	uint64_t span = 0;

	for (size_t g = 0; g < s->groups_count; g++) {
		const struct qb_backlog *b = backlog_of(&s->groups[g]);

		if (b->has_burst && b->step_ns < UINT64_MAX / QB_BACKLOG_SAMPLES && b->step_ns * b->samples_count > span)
			span = b->step_ns * b->samples_count;
	}
	return span / COLUMNS + 1;
}

static void put_backlog(struct qb_strbuf *out, const struct qb_group *g, uint64_t width_ns, uint64_t most)
{
	static const char levels[] = " .:-=+*#%@";
	const struct qb_backlog *b = backlog_of(g);
	uint64_t column[COLUMNS] = { 0 };
	char line[COLUMNS + 1] = "";

	for (uint32_t i = 0; i < b->samples_count && i < QB_BACKLOG_SAMPLES; i++) {
		uint64_t c = b->step_ns * i / width_ns;

		c = c < COLUMNS ? c : COLUMNS - 1;
		column[c] = b->samples[i] > column[c] ? b->samples[i] : column[c];
	}
	for (unsigned c = 0; c < COLUMNS; c++) {
		/* Anything at all is more than nothing. */
		uint64_t level = most ? (column[c] * 9 + most - 1) / most : 0;

		line[c] = levels[level < 9 ? level : 9];
	}
	put_name(out, g->label);
	qb_strbuf_printf(out, "|%s|\n", line);
}

static void put_burst(struct qb_strbuf *out, const struct qb_backlog *b, uint64_t width_ns)
{
	char line[COLUMNS + 1] = "";

	for (unsigned c = 0; c < COLUMNS; c++) {
		uint64_t t = c * width_ns;

		line[c] = t + width_ns > b->burst_start_ns && t < b->burst_end_ns ? '^' : ' ';
	}
	put_name(out, "the burst");
	qb_strbuf_printf(out, "|%s|\n", line);
}

static void draw_backlogs(struct qb_strbuf *out, const struct qb_section *s)
{
	const struct qb_backlog *any = NULL;
	uint64_t most = 0, width_ns = column_ns(s);
	char buf[32];

	for (size_t g = 0; g < s->groups_count; g++) {
		const struct qb_backlog *b = backlog_of(&s->groups[g]);

		if (!b->has_burst)
			continue;
		any = b;
		most = b->max > most ? b->max : most;
	}
	if (!any)
		return;
	qb_strbuf_printf(out, "Jobs due and not finished; a column is %s, @ is %llu jobs (of each the first run)\n",
			 qb_format_duration(buf, sizeof(buf), width_ns), (unsigned long long)most);
	for (size_t g = 0; g < s->groups_count; g++)
		if (backlog_of(&s->groups[g])->has_burst)
			put_backlog(out, &s->groups[g], width_ns, most);
	put_burst(out, any, width_ns);
	qb_strbuf_add(out, "\n");
}

static void put_bar(struct qb_strbuf *out, uint32_t n, uint32_t most)
{
	char bar[BAR_COLUMNS + 1];
	size_t len = most ? ((size_t)n * BAR_COLUMNS + most - 1) / most : 0;

	len = len < BAR_COLUMNS ? len : BAR_COLUMNS;
	memset(bar, '#', len);
	bar[len] = '\0';
	qb_strbuf_printf(out, "%6u %-*s", n, BAR_COLUMNS, bar);
}

/* The policy beside what was seen. */
static void draw_round(struct qb_strbuf *out, const struct qb_group *g, uint32_t round)
{
	const struct qb_retry_round *r = &g->runs[0]->summary->retries.rounds[round];
	uint32_t most = 0;
	char from[32], width[32];

	for (uint32_t i = 0; i < r->bins_count && i < QB_RETRY_BINS; i++) {
		most = r->policy_bins[i] > most ? r->policy_bins[i] : most;
		most = r->spacing_bins[i] > most ? r->spacing_bins[i] : most;
	}
	qb_visible_add(out, g->label, strlen(g->label));
	qb_strbuf_printf(out, ": from failure %u to the next attempt, in steps of %s\n", round + 1,
			 qb_format_duration(width, sizeof(width), r->width_ns));
	qb_strbuf_printf(out, "  %-12s %6s %-*s %6s\n", "from", "due", BAR_COLUMNS, "", "begun");
	for (uint32_t i = 0; i < r->bins_count && i < QB_RETRY_BINS; i++) {
		/* Seconds with milliseconds: the steps would look the same otherwise. */
		snprintf(from, sizeof(from), "%.3f s", (double)(r->from_ns + i * r->width_ns) / 1e9);
		qb_strbuf_printf(out, "  %-12s ", from);
		put_bar(out, r->policy_bins[i], most);
		qb_strbuf_add(out, " ");
		put_bar(out, r->spacing_bins[i], most);
		while (out->bytes && out->data[out->bytes - 1] == ' ')
			out->data[--out->bytes] = '\0';
		qb_strbuf_add(out, "\n");
	}
	qb_strbuf_add(out, "\n");
}

void qb_drawings(const struct qb_section *s, struct qb_strbuf *out)
{
	draw_backlogs(out, s);
	for (size_t g = 0; g < s->groups_count; g++) {
		const struct qb_summary *sum = s->groups[g].runs[0]->summary;

		for (uint32_t i = 0; qb_retries_wait(s->groups[g].runs[0]) && i < sum->retries.rounds_count && i < QB_RETRY_ROUNDS; i++)
			if (sum->retries.rounds[i].count)
				draw_round(out, &s->groups[g], i);
	}
}
