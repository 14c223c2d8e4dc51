/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode-events: a record, or the segment that survived a run, as text for other programs.
 *
 * Reads only; knows nothing of the engine beside the layout of its events.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "shm/status.h"
#include "tools/decode.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_NOTHING = 2 };

enum format { FORMAT_JSONL, FORMAT_TRACE, FORMAT_SUMMARY, FORMAT_COUNT };

static const char *const formats[FORMAT_COUNT + 1] = { "jsonl", "trace", "summary", NULL };

struct options {
	enum format format;
	const char *output;             /* NULL: stdout */
	const char *const *files;
	size_t files_count;
};

static void print_help(void)
{
	fputs("decode-events turns the events of a qbench run into text.\n"
	      "\n"
	      "Usage:\n"
	      "  decode-events [OPTION]... FILE...\n"
	      "\n"
	      "FILE is a record (results/RUN/events.qbr) or a segment that survived its run.\n"
	      "Several files of the same run are put together: what a record lacks may be in the\n"
	      "segment.\n"
	      "\n"
	      "Options:\n"
	      "  -f, --format=jsonl|trace|summary\n"
	      "                           jsonl: a JSON object a line, as the Go benchmark writes\n"
	      "                           trace: for ui.perfetto.dev or chrome://tracing\n"
	      "                           summary: a page for a person (default: jsonl)\n"
	      "  -o, --output=FILE        write to FILE, which appears when it is complete\n"
	      "                           (default: standard output)\n"
	      "  -V, --version            output version information, then exit\n"
	      "  -?, --help               show this help, then exit\n"
	      "\n"
	      "Exit status: 0 done, also if a torn end was left out; 1 a file could not be read\n"
	      "or written, or is neither record nor segment; 2 there is no event in it.\n", stdout);
}

__attribute__((format(printf, 1, 2)))
static int usage_error(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	qb_log(QB_LOG_ERROR, "%s; try 'decode-events --help'", text);
	return EXIT_FAILED;
}

/* -1: go on; else the exit status */
static int parse_format(const char *text, enum format *format)
{
	const char *near;

	for (int i = 0; i < FORMAT_COUNT; i++) {
		if (strcmp(text, formats[i]) == 0) {
			*format = (enum format)i;
			return -1;
		}
	}
	near = qb_nearest(text, formats);
	if (near)
		return usage_error("-f/--format is jsonl, trace or summary, not \"%s\"; did you "
				   "mean \"%s\"?", text, near);
	return usage_error("-f/--format is jsonl, trace or summary, not \"%s\"", text);
}

static int option_error(char **argv, int no_value)
{
	static const char *const names[] = { "--format", "--output", "--version", "--help", NULL };
	const char *word = argv[optind - 1], *near;
	char given[64];

	snprintf(given, sizeof(given), "%.*s", (int)strcspn(word, "="), word);
	if (no_value)
		return usage_error("option %s needs a value", given);
	/* In the middle of a bundle of short ones getopt has not moved on to the next word. */
	if (strncmp(given, "--", 2) != 0)
		return usage_error("unknown option -%c", optopt);
	near = qb_nearest(given, names);
	if (near && strcmp(near, given) == 0)
		return usage_error("option %s takes no value", given);
	if (near)
		return usage_error("unknown option %s; did you mean %s?", given, near);
	return usage_error("unknown option %s", given);
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "format", required_argument, NULL, 'f' },
		{ "output", required_argument, NULL, 'o' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, '?' },
		{ NULL, 0, NULL, 0 },
	};
	int c, status;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		/* getopt's answer to an unknown option is the same '?' as to -?. */
		if (strcmp(argv[i], "-?") == 0 || strcmp(argv[i], "--help") == 0) {
			print_help();
			return EXIT_DONE;
		}
	}
	while ((c = getopt_long(argc, argv, ":f:o:V", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			status = parse_format(optarg, &o->format);
			if (status >= 0)
				return status;
			break;
		case 'o':
			o->output = strcmp(optarg, "-") == 0 ? NULL : optarg;
			break;
		case 'V':
			puts("decode-events (qbench) " PACKAGE_VERSION);
			return EXIT_DONE;
		default:
			return option_error(argv, c == ':');
		}
	}
	if (optind == argc)
		return usage_error("no file given");
	o->files = (const char *const *)argv + optind;
	o->files_count = (size_t)(argc - optind);
	return -1;
}

/* What was left out, and what to do about it; nothing of it is an error. */
static void warn(const struct qb_trace *t)
{
	const struct qb_trace_damage *d = &t->damage;

	if (d->tail_bytes)
		qb_log(QB_LOG_WARNING, "the record ends in a torn or damaged block: its last %llu "
		       "bytes are left out", (unsigned long long)d->tail_bytes);
	if (d->skipped_count)
		qb_log(QB_LOG_WARNING, "the record is damaged in %u places: %llu bytes between "
		       "good blocks are left out", d->skipped_count,
		       (unsigned long long)d->skipped_bytes);
	if (d->bad_count)
		qb_log(QB_LOG_WARNING, "%llu blocks or events hold impossible values and are left "
		       "out", (unsigned long long)d->bad_count);
	if (d->missing_count)
		qb_log(QB_LOG_WARNING, "%llu earlier events are not here%s",
		       (unsigned long long)d->missing_count,
		       t->has_record ? "" : ": the segment keeps the last of each process only; "
		       "give the run's events.qbr too");
	if (t->dropped_count)
		qb_log(QB_LOG_WARNING, "%llu events were never written: a ring was full",
		       (unsigned long long)t->dropped_count);
	if (!t->has_meta)
		qb_log(QB_LOG_WARNING, "no description of the run: names of kinds are made up");
	if (t->clock_rough)
		qb_log(QB_LOG_WARNING, "the clock was recorded only once: times are in ticks");
}

static int print_to(const struct qb_trace *t, enum format format, int fd)
{
	struct qb_out out;
	int rc = 0;

	qb_out_init(&out, fd);
	if (format == FORMAT_JSONL)
		rc = qb_decode_jsonl(t, &out) < 0 ? -ENOMEM : 0;
	else if (format == FORMAT_TRACE)
		qb_decode_chrome(t, &out);
	else
		qb_decode_summary(t, &out);
	qb_out_flush(&out);
	if (out.failed)
		rc = -out.failed;
	qb_out_free(&out);
	return rc;
}

/* A device or a pipe that the user named is written to as it is. -ENOENT: it is none. */
static int print_device(const struct qb_trace *t, const struct options *o)
{
	struct stat st;
	int fd, rc;

	if (stat(o->output, &st) < 0 || S_ISREG(st.st_mode))
		return -ENOENT;
	fd = open(o->output, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = print_to(t, o->format, fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

/* By way of FILE.tmp: whoever reads a directory of finished runs never sees half a one. */
static int print_file(const struct qb_trace *t, const struct options *o)
{
	char *tmp = qb_xasprintf("%s.tmp", o->output);
	int fd, rc = 0;

	if (unlink(tmp) < 0 && errno != ENOENT) {
		rc = -errno;
		goto out;
	}
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = print_to(t, o->format, fd);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(tmp, o->output) < 0)
		rc = -errno;
	if (rc < 0)
		unlink(tmp);
out:
	free(tmp);
	return rc;
}

static int print(const struct qb_trace *t, const struct options *o)
{
	const char *name = o->output ? o->output : "standard output";
	int rc;

	if (!o->output) {
		rc = print_to(t, o->format, STDOUT_FILENO);
	} else {
		rc = print_device(t, o);
		if (rc == -ENOENT)
			rc = print_file(t, o);
	}
	if (rc == 0)
		return EXIT_DONE;
	qb_log(QB_LOG_ERROR, "could not write to %s: %s", name, qb_strerror(rc));
	return EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct options o = { .format = FORMAT_JSONL };
	struct qb_err err = { 0 };
	struct qb_trace *t;
	int status;

	qb_log_set_name("decode-events");
	status = parse_options(argc, argv, &o);
	if (status >= 0)
		return status;
	t = qb_xcalloc(1, sizeof(*t));
	if (qb_trace_load_files(o.files, o.files_count, t, &err) < 0) {
		qb_log(QB_LOG_ERROR, "%s", err.text);
		free(t);
		return EXIT_FAILED;
	}
	warn(t);
	if (t->events_count > 0) {
		status = print(t, &o);
	} else {
		qb_log(QB_LOG_ERROR, "there is no event in %s", o.files[0]);
		status = EXIT_NOTHING;
	}
	qb_trace_free(t);
	free(t);
	return status;
}
