/* SPDX-License-Identifier: Apache-2.0 */
/* qbench report: from the records of runs that are over. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "report/report.h"
#include "shm/status.h"

#define RECORD_NAME "events.qbr"

struct run {
	char *dir;
	struct qb_report_run read;
	size_t scenario_rank, library_rank;     /* first run, by time, with the same one */
};

struct runs {
	struct run **list;
	size_t count, cap;
	size_t damaged_count;
};

/* dir is malloc'ed, and taken. */
static void add_run(struct runs *runs, char *dir)
{
	char *path = qb_xasprintf("%s/%s", dir, RECORD_NAME);
	struct run *run = qb_xcalloc(1, sizeof(*run));
	struct qb_err err = { 0 };

	if (qb_report_from_record(path, &run->read, &err)) {
		qb_log(QB_LOG_WARNING, "left out: %s", err.text);
		runs->damaged_count++;
		free(run);
		free(dir);
		free(path);
		return;
	}
	free(path);
	run->dir = dir;
	if (runs->count == runs->cap) {
		runs->cap = runs->cap ? 2 * runs->cap : 16;
		runs->list = qb_xrealloc(runs->list, runs->cap * sizeof(*runs->list));
	}
	runs->list[runs->count++] = run;
}

static int has_record(const char *dir)
{
	char *path = qb_xasprintf("%s/%s", dir, RECORD_NAME);
	struct stat st;
	int has = !stat(path, &st);

	free(path);
	return has;
}

/* Each directory in there that has a record; or that directory itself, when it is a run's. */
static int find_runs(struct runs *runs, const char *results_dir, struct qb_err *err)
{
	struct dirent *de;
	DIR *d;

	if (has_record(results_dir)) {
		add_run(runs, qb_xstrdup(results_dir));
		return 0;
	}
	d = opendir(results_dir);
	if (!d)
		return qb_err_errno(err, errno, "could not read the results in %s", results_dir);
	for (errno = 0; (de = readdir(d)); errno = 0) {
		char *dir = qb_xasprintf("%s/%s", results_dir, de->d_name);

		if (de->d_name[0] != '.' && has_record(dir))
			add_run(runs, dir);
		else
			free(dir);
	}
	if (errno)
		qb_err_errno(err, errno, "could not read the results in %s", results_dir);
	closedir(d);
	if (!err->code && !runs->count && !runs->damaged_count)
		qb_err_set(err, QB_EUSAGE, "no run in %s: none of its directories has an %s; "
			   "'qbench run' writes one, --results-dir names another place",
			   results_dir, RECORD_NAME);
	return err->code;
}

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_time(const void *a, const void *b)
{
	const struct run *x = *(struct run *const *)a, *y = *(struct run *const *)b;
	int order = compare(x->read.meta.started_wall_ns, y->read.meta.started_wall_ns);

	return order ? order : strcmp(x->dir, y->dir);
}

static int by_group(const void *a, const void *b)
{
	const struct run *x = *(struct run *const *)a, *y = *(struct run *const *)b;
	int order = compare(x->scenario_rank, y->scenario_rank);

	if (!order)
		order = compare(x->library_rank, y->library_rank);
	return order ? order : by_time(a, b);
}

/* Scenarios and libraries in the order in which they were first run, the runs of each by time. */
static void sort_runs(struct runs *runs)
{
	size_t i, k;

	qsort(runs->list, runs->count, sizeof(*runs->list), by_time);
	for (i = 0; i < runs->count; i++) {
		struct run *run = runs->list[i];

		for (k = 0; strcmp(runs->list[k]->read.meta.scenario, run->read.meta.scenario); k++)
			;
		run->scenario_rank = k;
		for (k = 0; strcmp(runs->list[k]->read.meta.lib, run->read.meta.lib); k++)
			;
		run->library_rank = k;
	}
	qsort(runs->list, runs->count, sizeof(*runs->list), by_group);
}

/* In every format that was asked for, one after the other. */
static void render(const struct runs *runs, const char *formats, struct qb_strbuf *out)
{
	struct qb_report_entry *entries = qb_xcalloc(runs->count, sizeof(*entries));
	struct qb_report report = {
		/* Of the machine that ran the first of them; each entry has its own description. */
		.host = runs->list[0]->read.host,
		.qbench_version = PACKAGE_VERSION, .entries = entries, .entries_count = runs->count,
	};
	char *copy = qb_xstrdup(formats), *rest = copy, *name;
	size_t i;

	for (i = 0; i < runs->count; i++)
		entries[i] = qb_report_run_entry(&runs->list[i]->read);
	while ((name = strsep(&rest, ","))) {
		const struct qb_renderer *renderer = qb_renderer_find(name, NULL);

		if (renderer)
			renderer->render(&report, out);
	}
	free(entries);
	free(copy);
}

/* To a file all of it or nothing: an old report is replaced when the new one is whole. */
static int write_out(const struct qb_strbuf *text, const char *path, struct qb_err *err)
{
	if (path && strcmp(path, "-"))
		return qb_replace_file(path, qb_strbuf_text(text), text->bytes, 0644, err);
	if (fwrite(qb_strbuf_text(text), 1, text->bytes, stdout) != text->bytes)
		return qb_err_errno(err, errno ? errno : EIO, "could not print the report");
	return 0;
}

/* report.md and report.json say what they want to be. */
static const char *choose_format(const struct qb_opts *opts)
{
	const char *dot = opts->out ? strrchr(opts->out, '.') : NULL;

	if (!qb_opts_given(opts, "format") && dot && qb_renderer_find(dot + 1, NULL))
		return dot + 1;
	return opts->run.format;
}

static int report(struct qb_ctx *ctx, int argc, char **argv)
{
	const char *formats = choose_format(&ctx->opts), *out = ctx->opts.out;
	struct runs runs = { 0 };
	struct qb_strbuf text = { 0 };
	struct qb_err err = { 0 };
	int ret, status = QB_EXIT_USAGE;
	size_t i;

	(void)argc;
	(void)argv;
	if (out && strchr(formats, ',')) {
		qb_err_set(&err, QB_EUSAGE, "-o/--out takes one --format, not \"%s\"", formats);
		return qb_cli_usage(ctx->cmd, &err);
	}
	if (find_runs(&runs, ctx->opts.run.results_dir, &err)) {
		qb_cli_fail(&err);
		goto out;
	}
	status = runs.damaged_count ? QB_EXIT_ERROR : QB_EXIT_DONE;
	if (!runs.count)
		goto out;
	sort_runs(&runs);
	render(&runs, formats, &text);
	ret = write_out(&text, out, &err);
	qb_strbuf_free(&text);
	if (ret) {
		qb_cli_fail(&err);
		status = QB_EXIT_ERROR;
	}
out:
	for (i = 0; i < runs.count; i++) {
		qb_report_run_free(&runs.list[i]->read);
		free(runs.list[i]->dir);
		free(runs.list[i]);
	}
	free(runs.list);
	return status;
}

const struct qb_cmd qb_cmd_report = {
	.name = "report",
	.summary = "make the report again from the records of runs",
	.operands = "",
	.about = "Takes every run below --results-dir, or the one run whose directory that is. A "
		 "record that cannot be read is left out with a warning, and the exit status is 2.",
	.bit = QB_CMD_REPORT,
	.run = report,
};
