/* SPDX-License-Identifier: Apache-2.0 */
/* Markdown as GitHub shows it. */
#include "report/cachetable.h"
#include "report/keytable.h"

#include <string.h>

#include "base/visible.h"

/* Nothing in a name or value may end a cell, begin a tag, an entity or a link, or break the line. */
static void put_escaped(struct qb_strbuf *out, const char *text)
{
	struct qb_strbuf shown = { 0 };

	qb_visible_add(&shown, text, strlen(text));
	for (text = qb_strbuf_text(&shown); *text; text++) {
		if (strchr("|\\`*_<>[]#&~", *text))
			qb_strbuf_add(out, "\\");
		qb_strbuf_add_bytes(out, text, 1);
	}
	qb_strbuf_free(&shown);
}

static void put_table(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_table t;

	qb_table_build(&t, s);
	qb_strbuf_add(out, "| |");
	for (size_t c = 0; c < t.columns; c++) {
		qb_strbuf_add(out, " ");
		put_escaped(out, s->groups[c].label);
		qb_strbuf_add(out, " |");
	}
	qb_strbuf_add(out, "\n|---|");
	for (size_t c = 0; c < t.columns; c++)
		qb_strbuf_add(out, "---:|");
	qb_strbuf_add(out, "\n");
	for (size_t i = 0; i < t.rows_count; i++) {
		const struct qb_row *row = &t.rows[i];

		/* A cell's leading blanks would vanish: a dash stands for an indent. */
		qb_strbuf_add(out, row->label[0] == ' ' ? "| – " : "| ");
		put_escaped(out, row->label + strspn(row->label, " "));
		qb_strbuf_add(out, " |");
		for (size_t c = 0; c < t.columns; c++) {
			int bold = row->moods[c] == QB_CELL_BAD;

			qb_strbuf_add(out, bold ? " **" : " ");
			if (!row->heading)
				put_escaped(out, row->cells[c]);
			qb_strbuf_add(out, bold ? "** |" : " |");
		}
		qb_strbuf_add(out, "\n");
	}
	qb_table_free(&t);
}

static void put_keys(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_strbuf line = { 0 };
	struct qb_key_table t;
	char cell[QB_CELL_BYTES];

	for (size_t g = 0; g < s->groups_count; g++) {
		qb_key_total(&s->groups[g], &t);
		if (t.set.keys == 0)
			continue;
		qb_strbuf_add(out, "\n### ");
		put_escaped(out, s->groups[g].lib);
		qb_strbuf_printf(out, ": %u keys, each asked for by %u processes at once\n\n|", t.set.keys, t.set.processes);
		for (unsigned c = 0; c < QB_KEY_COLUMNS; c++)
			qb_strbuf_printf(out, " %s |", qb_key_heading(c));
		qb_strbuf_add(out, "\n|");
		for (unsigned c = 0; c < QB_KEY_COLUMNS; c++)
			qb_strbuf_add(out, c ? "---:|" : "---|");
		for (unsigned row = 0; row < QB_KEY_PHASES; row++) {
			qb_strbuf_add(out, "\n|");
			for (unsigned c = 0; c < QB_KEY_COLUMNS; c++) {
				qb_key_cell(&t, row, c, cell);
				qb_strbuf_printf(out, " %s |", cell);
			}
		}
		qb_strbuf_clear(&line);
		qb_key_holders(&t, &line);
		qb_strbuf_add(&line, " What it guarantees: ");
		qb_key_guarantee(&t, &line);
		qb_strbuf_add(out, "\n\n");
		put_escaped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
	}
	qb_strbuf_free(&line);
}

static void put_grid(struct qb_strbuf *out, const struct qb_cache_table *t, enum qb_cache_grid grid)
{
	unsigned columns = qb_cache_columns(grid);
	char cell[QB_CELL_BYTES];

	qb_strbuf_add(out, "\n|");
	for (unsigned c = 0; c < columns; c++)
		qb_strbuf_printf(out, " %s |", qb_cache_heading(grid, c));
	qb_strbuf_add(out, "\n|");
	for (unsigned c = 0; c < columns; c++)
		qb_strbuf_add(out, c ? "---:|" : "---|");
	for (unsigned row = 0; row <= QB_CACHE_PHASES; row++) {
		if (!qb_cache_shows(t, grid, row))
			continue;
		qb_strbuf_add(out, "\n|");
		for (unsigned c = 0; c < columns; c++) {
			qb_cache_cell(t, grid, row, c, cell);
			qb_strbuf_printf(out, " %s |", cell);
		}
	}
	qb_strbuf_add(out, "\n");
}

static void put_caches(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_strbuf line = { 0 };
	struct qb_cache_table t;

	for (size_t g = 0; g < s->groups_count; g++) {
		qb_cache_total(&s->groups[g], &t);
		if (t.set.callers == 0)
			continue;
		qb_strbuf_add(out, "\n### ");
		put_escaped(out, s->groups[g].lib);
		qb_strbuf_printf(out, ": a cache asked by %u callers in %u processes\n", t.set.callers, t.processes);
		for (int grid = 0; grid < QB_CACHE_GRIDS; grid++)
			put_grid(out, &t, (enum qb_cache_grid)grid);
		qb_strbuf_clear(&line);
		qb_cache_sentences(&t, s->groups[g].lib, &line);
		qb_strbuf_add(out, "\n");
		put_escaped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
	}
	qb_strbuf_free(&line);
}

/* As code: each line behind four blanks, so that nothing in it can end the block. */
static void put_drawings(struct qb_strbuf *out, const struct qb_section *s)
{
	struct qb_strbuf drawn = { 0 };
	const char *line = NULL;

	qb_drawings(s, &drawn);
	if (drawn.bytes)
		qb_strbuf_add(out, "\n");
	for (line = qb_strbuf_text(&drawn); *line;) {
		size_t len = strcspn(line, "\n");

		if (len)
			qb_strbuf_add(out, "    ");
		qb_strbuf_add_bytes(out, line, len);
		qb_strbuf_add(out, "\n");
		line += len + (line[len] == '\n');
	}
	qb_strbuf_free(&drawn);
}

static void put_runs(struct qb_strbuf *out, const struct qb_section *s)
{
	qb_strbuf_add(out, "\n<details><summary>Runs</summary>\n\n| run | account | directory |\n"
		      "|---|---|---|\n");
	for (size_t g = 0; g < s->groups_count; g++)
		for (size_t i = 0; i < s->groups[g].runs_count; i++) {
			const struct qb_report_entry *e = s->groups[g].runs[i];

			qb_strbuf_add(out, "| ");
			put_escaped(out, e->summary->run_id);
			qb_strbuf_add(out, e->summary->verified ? " | adds up | " :
				      " | **does not add up** | ");
			put_escaped(out, e->dir ? e->dir : "");
			qb_strbuf_add(out, " |\n");
		}
	qb_strbuf_add(out, "\n</details>\n");
}

void qb_report_md(const struct qb_report *r, struct qb_strbuf *out)
{
	struct qb_strbuf line = { 0 };
	struct qb_model m;

	qb_model_build(&m, r);
	for (size_t i = 0; i < m.sections_count; i++) {
		const struct qb_section *s = &m.sections[i];

		qb_strbuf_add(out, i ? "\n## " : "## ");
		put_escaped(out, s->scenario);
		if (s->lib) {
			qb_strbuf_add(out, ": ");
			put_escaped(out, s->lib);
		}
		qb_strbuf_add(out, "\n\n");
		qb_section_settings(s, &line);
		qb_strbuf_add(&line, ". ");
		qb_section_versions(r, s, &line);
		put_escaped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, ".\n\n");
		qb_strbuf_clear(&line);
		put_table(out, s);
		put_keys(out, s);
		put_caches(out, s);
		put_drawings(out, s);
		qb_findings(s, &line);
		qb_strbuf_add(out, "\n");
		put_escaped(out, qb_strbuf_text(&line));
		qb_strbuf_add(out, "\n");
		qb_strbuf_clear(&line);
		put_runs(out, s);
	}
	if (m.sections_count == 0)
		qb_strbuf_add(out, "No runs.\n");
	qb_model_free(&m);
	qb_strbuf_free(&line);
}
