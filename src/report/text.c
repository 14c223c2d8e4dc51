/* SPDX-License-Identifier: Apache-2.0 */
/* For a terminal or a mail: at most 100 columns. */
#include "report/cachetable.h"
#include "report/keytable.h"

#include <stdio.h>
#include <string.h>

#include "base/visible.h"

#define COLUMNS_MAX 100
#define LABEL_COLUMNS 36
#define GAP 2

static void put_blanks(struct qb_strbuf *out, size_t n)
{
	while (n--)
		qb_strbuf_add(out, " ");
}

/* Words in lines of at most COLUMNS_MAX; a longer word has its own line. */
static void put_wrapped(struct qb_strbuf *out, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (column && column + 1 + word > COLUMNS_MAX) {
			qb_strbuf_add(out, "\n");
			column = 0;
		}
		if (column) {
			qb_strbuf_add(out, " ");
			column++;
		}
		qb_visible_add(out, text, word);
		column += word;
		text += word + strspn(text + word, " ");
	}
	qb_strbuf_add(out, "\n");
}

static void put_right(struct qb_strbuf *out, const char *text, size_t width, unsigned mood,
		      int colour)
{
	static const char *const codes[] = { "", "\033[32m", "\033[31m" };
	int coloured = colour && mood != QB_CELL_PLAIN;
	size_t len = strlen(text);

	put_blanks(out, GAP + (len < width ? width - len : 0));
	if (coloured)
		qb_strbuf_add(out, codes[mood]);
	qb_visible_add(out, text, len);
	if (coloured)
		qb_strbuf_add(out, "\033[0m");
}

static size_t column_width(const struct qb_table *t, const struct qb_section *s, size_t column)
{
	size_t width = strlen(s->groups[column].label);

	for (size_t i = 0; i < t->rows_count; i++) {
		size_t len = strlen(t->rows[i].cells[column]);

		width = len > width ? len : width;
	}
	return width;
}

/* Columns first..end-1 as one table. */
static void put_part(struct qb_strbuf *out, const struct qb_table *t, const struct qb_section *s,
		     size_t first, size_t end, int colour)
{
	put_blanks(out, LABEL_COLUMNS);
	for (size_t c = first; c < end; c++)
		put_right(out, s->groups[c].label, column_width(t, s, c), QB_CELL_PLAIN, 0);
	qb_strbuf_add(out, "\n");
	for (size_t i = 0; i < t->rows_count; i++) {
		const struct qb_row *row = &t->rows[i];

		if (row->heading) {
			qb_strbuf_printf(out, "%s\n", row->label);
			continue;
		}
		size_t len = strlen(row->label);

		qb_visible_add(out, row->label, len);
		put_blanks(out, len < LABEL_COLUMNS ? LABEL_COLUMNS - len : 0);
		for (size_t c = first; c < end; c++)
			put_right(out, row->cells[c], column_width(t, s, c), row->moods[c], colour);
		qb_strbuf_add(out, "\n");
	}
}

/* As many libraries beside each other as fit; the rest below them. */
static void put_table(struct qb_strbuf *out, const struct qb_section *s, int colour)
{
	struct qb_table t;
	size_t first = 0;

	qb_table_build(&t, s);
	while (first < t.columns) {
		size_t used = LABEL_COLUMNS, end = first;

		while (end < t.columns) {
			size_t more = GAP + column_width(&t, s, end);

			if (end > first && used + more > COLUMNS_MAX)
				break;
			used += more;
			end++;
		}
		put_part(out, &t, s, first, end, colour);
		qb_strbuf_add(out, "\n");
		first = end;
	}
	qb_table_free(&t);
}

/* What each library does with unique keys. */
static void put_keys(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_strbuf line = { 0 };
	struct qb_key_table t;
	char cell[QB_CELL_BYTES];

	for (size_t g = 0; g < s->groups_count; g++) {
		qb_key_total(&s->groups[g], &t);
		if (t.set.keys == 0)
			continue;
		qb_visible_add(out, s->groups[g].lib, strlen(s->groups[g].lib));
		qb_strbuf_printf(out, ", %u keys, each asked for by %u processes at once\n", t.set.keys, t.set.processes);
		for (unsigned row = 0; row <= QB_KEY_PHASES; row++) {
			for (unsigned c = 0; c < QB_KEY_COLUMNS; c++) {
				size_t width = strlen(qb_key_heading(c));

				if (row == 0)
					snprintf(cell, sizeof(cell), "%s", qb_key_heading(c));
				else
					qb_key_cell(&t, row - 1, c, cell);
				if (c == 0)
					qb_strbuf_printf(out, "%-23s", cell);
				else
					put_right(out, cell, width, QB_CELL_PLAIN, 0);
			}
			qb_strbuf_add(out, "\n");
		}
		qb_strbuf_clear(&line);
		qb_key_holders(&t, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		qb_strbuf_clear(&line);
		qb_strbuf_printf(&line, "%s: ", s->groups[g].lib);
		qb_key_guarantee(&t, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
	}
	qb_strbuf_free(&line);
}

/* Its width, with the gap before it. */
static int column_of_grid(const struct qb_cache_table *t, enum qb_cache_grid grid, unsigned column)
{
	size_t width = strlen(qb_cache_heading(grid, column));
	char cell[QB_CELL_BYTES];

	for (unsigned row = 0; row <= QB_CACHE_PHASES; row++) {
		if (!qb_cache_shows(t, grid, row))
			continue;
		qb_cache_cell(t, grid, row, column, cell);
		if (strlen(cell) > width)
			width = strlen(cell);
	}
	return (int)(width + (column ? GAP : 0));
}

static void put_grid(struct qb_strbuf *out, const struct qb_cache_table *t, enum qb_cache_grid grid)
{
	unsigned columns = qb_cache_columns(grid);
	char cell[QB_CELL_BYTES];

	for (unsigned c = 0; c < columns; c++)
		qb_strbuf_printf(out, c ? "%*s" : "%-*s", column_of_grid(t, grid, c), qb_cache_heading(grid, c));
	qb_strbuf_add(out, "\n");
	for (unsigned row = 0; row <= QB_CACHE_PHASES; row++) {
		if (!qb_cache_shows(t, grid, row))
			continue;
		for (unsigned c = 0; c < columns; c++) {
			qb_cache_cell(t, grid, row, c, cell);
			qb_strbuf_printf(out, c ? "%*s" : "%-*s", column_of_grid(t, grid, c), cell);
		}
		qb_strbuf_add(out, "\n");
	}
}

/* What each library does as a cache. */
static void put_caches(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_strbuf line = { 0 };
	struct qb_cache_table t;

	for (size_t g = 0; g < s->groups_count; g++) {
		qb_cache_total(&s->groups[g], &t);
		if (t.set.callers == 0)
			continue;
		qb_visible_add(out, s->groups[g].lib, strlen(s->groups[g].lib));
		qb_strbuf_printf(out, ", a cache asked by %u callers in %u processes\n", t.set.callers, t.processes);
		for (int grid = 0; grid < QB_CACHE_GRIDS; grid++)
			put_grid(out, &t, (enum qb_cache_grid)grid);
		qb_strbuf_clear(&line);
		qb_strbuf_printf(&line, "%s: ", s->groups[g].lib);
		qb_cache_sentences(&t, s->groups[g].lib, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
	}
	qb_strbuf_free(&line);
}

/* What a reader may ask about the cells, if it occurs. */
static void put_legend(struct qb_strbuf *out, const struct qb_section *s)
{
	int several = 0, censored = 0, survivors = 0;

	for (size_t g = 0; g < s->groups_count; g++) {
		several |= s->groups[g].runs_count > 1;
		for (size_t i = 0; i < s->groups[g].runs_count; i++) {
			const struct qb_resume *r = s->groups[g].runs[i]->summary->resume;

			for (unsigned c = 0; c < QB_RESUME_CLASS_COUNT; c++) {
				censored |= r[c].censored > 0;
				survivors |= r[c].kills && r[c].by_survivors == r[c].kills;
			}
		}
	}
	if (several)
		put_wrapped(out, "Several runs: the median over the runs (smallest - largest); "
			    "times to resume: the median of the runs' medians / the longest of "
			    "all.");
	if (censored)
		put_wrapped(out, "\"> 9 s (3 of 5)\": after 3 of 5 kills no such job had been "
			    "picked up when the watch ended.");
	if (survivors)
		put_wrapped(out, "\"by survivors\": processes that the kills spared took all such "
			    "jobs.");
	if (several || censored || survivors)
		qb_strbuf_add(out, "\n");
}

static void put_files(struct qb_strbuf *out, const struct qb_section *s)
{
	int any = 0;

	for (size_t g = 0; g < s->groups_count; g++)
		for (size_t i = 0; i < s->groups[g].runs_count; i++) {
			const char *dir = s->groups[g].runs[i]->dir;

			if (!dir || !dir[0])
				continue;
			if (!any++)
				qb_strbuf_add(out, "\nFiles (summary.json, events.qbr for "
					      "decode-events):\n");
			qb_strbuf_add(out, "  ");
			qb_visible_add(out, dir, strlen(dir));
			qb_strbuf_add(out, "\n");
		}
}

void qb_report_text(const struct qb_report *r, struct qb_strbuf *out)
{
	struct qb_strbuf line = { 0 };
	struct qb_model m;

	qb_model_build(&m, r);
	for (size_t i = 0; i < m.sections_count; i++) {
		const struct qb_section *s = &m.sections[i];

		qb_strbuf_printf(out, "%s%s", i ? "\n" : "", r->colour ? "\033[1m" : "");
		qb_visible_add(out, s->scenario, strlen(s->scenario));
		if (s->lib) {
			qb_strbuf_add(out, ": ");
			qb_visible_add(out, s->lib, strlen(s->lib));
		}
		qb_strbuf_printf(out, "%s\n", r->colour ? "\033[0m" : "");
		qb_strbuf_clear(&line);
		qb_section_settings(s, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		qb_strbuf_clear(&line);
		qb_section_versions(r, s, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
		put_table(out, s, r->colour);
		put_keys(out, s);
		put_caches(out, s);
		put_legend(out, s);
		qb_drawings(s, out);
		qb_strbuf_clear(&line);
		qb_findings(s, &line);
		put_wrapped(out, qb_strbuf_text(&line));
		put_files(out, s);
	}
	if (m.sections_count == 0)
		qb_strbuf_add(out, "No runs.\n");
	qb_model_free(&m);
	qb_strbuf_free(&line);
}
