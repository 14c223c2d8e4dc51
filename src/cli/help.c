/* SPDX-License-Identifier: Apache-2.0 */
/* Grouped help, and the lists that completion and the tests are fed with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli/cmd.h"
#include "shm/status.h"

#define COLUMNS 80
#define TEXT_COLUMN 27

/* Words of text from column on, the lines after the first indented. Ends the last line. */
static void print_wrapped(FILE *out, const char *text, int column, int indent)
{
	while (*text) {
		int bytes = (int)strcspn(text, " ");

		if (column > indent && column + 1 + bytes > COLUMNS) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (column > indent) {
			fputc(' ', out);
			column++;
		}
		fwrite(text, 1, (size_t)bytes, out);
		column += bytes;
		text += bytes;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

/* "(1 to 200, default: the scenario's)", as far as there is something to say. */
static void add_limits(const struct qb_opt *opt, struct qb_strbuf *sb)
{
	const char *const *words = qb_opt_words(opt), *preset = opt->preset;
	char min[32], max[32];
	struct qb_strbuf in = { 0 };

	if (opt->choices) {
		for (; *words; words++)
			qb_strbuf_printf(&in, "%s%s", in.bytes ? ", " : "", *words);
		qb_strbuf_add(&in, "; ");
	} else if (opt->type == QB_OPT_WORDS || opt->type == QB_OPT_LIBS || opt->type == QB_OPT_WORD) {
		qb_strbuf_add(&in, opt->type == QB_OPT_WORD ? "" : "any of ");
		for (; *words; words++)
			qb_strbuf_printf(&in, "%s%s", *words, words[1] ? ", " : "");
		qb_strbuf_add(&in, "; ");
	} else if (opt->max && opt->max != UINT64_MAX) {
		qb_strbuf_printf(&in, "%s to %s, ", qb_opt_number(opt, opt->min, min, sizeof(min)),
				 qb_opt_number(opt, opt->max, max, sizeof(max)));
	}
	if (!preset && opt->change)
		preset = "the scenario's";
	if (!preset)
		preset = opt->otherwise;
	if (preset && preset == opt->otherwise && opt->required)
		qb_strbuf_add(&in, preset);
	else if (preset)
		qb_strbuf_printf(&in, "default: %s", preset);
	if (in.bytes)
		qb_strbuf_printf(sb, " (%s)", in.data);
	qb_strbuf_free(&in);
}

static void print_option(const struct qb_opt *opt, FILE *out)
{
	struct qb_strbuf left = { 0 }, text = { 0 };

	qb_strbuf_add(&left, "  ");
	if (opt->letter)
		qb_strbuf_printf(&left, "-%c, ", opt->letter);
	qb_strbuf_printf(&left, "--%s", opt->name);
	if (opt->value)
		qb_strbuf_printf(&left, "=%s", opt->value);
	qb_strbuf_add(&text, opt->help);
	add_limits(opt, &text);

	if (left.bytes < TEXT_COLUMN)
		fprintf(out, "%-*s", TEXT_COLUMN, left.data);
	else
		fprintf(out, "%s\n%*s", left.data, TEXT_COLUMN, "");
	print_wrapped(out, text.data, TEXT_COLUMN, TEXT_COLUMN);
	qb_strbuf_free(&left);
	qb_strbuf_free(&text);
}

static void print_groups(const struct qb_cmd *cmd, FILE *out)
{
	const struct qb_opt *opt;
	int group, times = 0;

	for (group = 0; group < QB_GROUP_COUNT; group++) {
		int titled = 0;

		for (opt = qb_opt_table; opt->name; opt++) {
			if (opt->group != (enum qb_opt_group)group || !(opt->cmds & cmd->bit))
				continue;
			if (!titled++)
				fprintf(out, "\n%s:\n", qb_group_titles[group]);
			print_option(opt, out);
			times |= opt->type == QB_OPT_DURATION;
		}
	}
	if (times)
		fputs("\nA TIME is a number with its unit: 30s, 1m30s, 250ms.\n", out);
}

static void print_usage(const struct qb_cmd *cmd, FILE *out)
{
	fprintf(out, "  qbench %s [OPTION]...%s%s\n", cmd->name, *cmd->operands ? " " : "",
		cmd->operands);
}

void qb_help_program(FILE *out)
{
	size_t i;

	fputs("qbench measures what a crash costs a job queue on Postgres.\n\nUsage:\n"
	      "  qbench [OPTION]...\n", out);
	for (i = 0; qb_cmds[i]; i++) {
		if (qb_cmds[i]->bit != QB_CMD_DEMO)
			print_usage(qb_cmds[i], out);
	}
	fputs("\nCommands:\n", out);
	for (i = 0; qb_cmds[i]; i++) {
		fprintf(out, "  %-*s", TEXT_COLUMN - 2,
			qb_cmds[i]->bit == QB_CMD_DEMO ? "(none)" : qb_cmds[i]->name);
		print_wrapped(out, qb_cmds[i]->summary, TEXT_COLUMN, TEXT_COLUMN);
	}
	print_groups(&qb_cmd_demo, out);
	fputs("\nWithout --postgres-url, QBENCH_POSTGRES_URL or QB_POSTGRES_URL qbench starts a\n"
	      "private server in a temporary directory and removes it at the end.\n"
	      "\n'qbench COMMAND --help' tells the options of a command. Exit status: 0 done,\n"
	      "1 wrong use or could not start, 2 an error on the way, 3 verification failed,\n"
	      "130 interrupted.\n", out);
}

void qb_help_command(const struct qb_cmd *cmd, FILE *out)
{
	if (cmd->bit == QB_CMD_DEMO) {
		qb_help_program(out);
		return;
	}
	fprintf(out, "qbench %s:", cmd->name);
	print_wrapped(out, cmd->summary, (int)strlen(cmd->name) + 8, 0);
	fputs("\nUsage:\n", out);
	print_usage(cmd, out);
	if (cmd->about) {
		fputc('\n', out);
		print_wrapped(out, cmd->about, 0, 0);
	}
	print_groups(cmd, out);
}

static int listed_before(const struct qb_cmd *cmd, const struct qb_opt *opt)
{
	const struct qb_opt *first = qb_opt_find(cmd, opt->name, strlen(opt->name));

	return first != opt;
}

void qb_help_list_options(const struct qb_cmd *cmd, FILE *out)
{
	const struct qb_opt *opt;

	for (opt = qb_opt_table; opt->name; opt++) {
		if (opt->group == QB_GROUP_HIDDEN || (cmd && !(opt->cmds & cmd->bit)) ||
		    listed_before(cmd, opt))
			continue;
		fprintf(out, "--%s%s\n", opt->name, opt->value ? "=" : "");
	}
}

int qb_help_list_values(const struct qb_cmd *cmd, const char *name, FILE *out, struct qb_err *err)
{
	const struct qb_opt *opt;
	const char *const *words;

	name += strspn(name, "-");
	opt = qb_opt_find(cmd, name, strlen(name));
	if (!opt)
		return qb_err_set(err, QB_EUSAGE, "--list-values: there is no option \"--%s\"",
				  name);
	for (words = qb_opt_words(opt); words && *words; words++)
		fprintf(out, "%s\n", *words);
	return 0;
}
