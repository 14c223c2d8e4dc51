/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check-chrome FILE: is this a trace in Chrome's event format that a viewer can draw?
 *
 * Every track has a name; begins and ends match; complete slices of a track do not cross.  Prints
 * how many of each there are; exit 1 and the reason when a rule is broken.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct slice {
	json_int_t tid;
	long long start_ns, end_ns;
	size_t idx;
};

struct state {
	size_t idx;
	struct slice *slices;
	size_t slices_count;
	json_t *named, *open;           /* by tid as text */
	unsigned long instants, cut, completed, failed, kills;
};

__attribute__((format(printf, 2, 3), noreturn))
static void fail(const struct state *s, const char *fmt, ...)
{
	va_list ap;

	printf("event %zu: ", s->idx);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Microseconds with three decimals, as whole nanoseconds. */
static long long ns_of(const struct state *s, json_t *event, const char *key)
{
	json_t *value = json_object_get(event, key);
	double us = json_number_value(value);

	if (!json_is_number(value) || us < 0)
		fail(s, "%s is no number >= 0", key);
	return (long long)(us * 1000 + 0.5);
}

static void check_complete(struct state *s, json_t *event, json_int_t tid)
{
	json_t *args = json_object_get(event, "args");
	const char *outcome = text_of(args, "outcome");
	struct slice *slice = &s->slices[s->slices_count++];

	slice->tid = tid;
	slice->start_ns = ns_of(s, event, "ts");
	slice->end_ns = slice->start_ns + ns_of(s, event, "dur");
	slice->idx = s->idx;
	if (strcmp(text_of(event, "cat"), "cache") == 0) {
		if (json_integer_value(json_object_get(args, "request")) < 1 || !*text_of(args, "fault"))
			fail(s, "a slice of a cache without request or fault");
		return;
	}
	if (json_integer_value(json_object_get(args, "job")) < 1 ||
	    json_integer_value(json_object_get(args, "attempt")) < 1 || !*outcome)
		fail(s, "a slice without job, attempt or outcome");
	s->completed += strcmp(outcome, "completed") == 0;
	s->failed += strcmp(outcome, "failed") == 0;
	s->cut += strcmp(outcome, "killed") == 0;
}

static void check_instant(struct state *s, json_t *event)
{
	const char *scope = text_of(event, "s");

	ns_of(s, event, "ts");
	if (strcmp(scope, "t") != 0 && strcmp(scope, "p") != 0 && strcmp(scope, "g") != 0)
		fail(s, "scope \"%s\"", scope);
	s->instants++;
	s->kills += strcmp(text_of(event, "name"), "killed") == 0;
}

static void check_metadata(struct state *s, json_t *event, const char *tid)
{
	json_t *args = json_object_get(event, "args");
	const char *name = text_of(event, "name");

	if (strcmp(name, "thread_name") == 0) {
		if (!*text_of(args, "name"))
			fail(s, "a track with an empty name");
		json_object_set(s->named, tid, json_object_get(args, "name"));
	} else if (strcmp(name, "process_name") == 0) {
		if (!*text_of(args, "name"))
			fail(s, "a process with an empty name");
	} else if (strcmp(name, "thread_sort_index") == 0) {
		if (!json_is_integer(json_object_get(args, "sort_index")))
			fail(s, "a sort index that is no integer");
	} else {
		fail(s, "metadata \"%s\"", name);
	}
}

static void check_event(struct state *s, json_t *event)
{
	json_t *tid = json_object_get(event, "tid");
	const char *phase = text_of(event, "ph");
	char text[32];

	if (!json_is_integer(tid) || !json_is_integer(json_object_get(event, "pid")))
		fail(s, "pid or tid is no integer");
	if (!*text_of(event, "name") && strcmp(phase, "E") != 0)
		fail(s, "no name");
	snprintf(text, sizeof(text), "%lld", (long long)json_integer_value(tid));
	json_int_t open = json_integer_value(json_object_get(s->open, text));

	if (strcmp(phase, "M") == 0) {
		check_metadata(s, event, text);
		return;
	}
	if (!json_object_get(s->named, text))
		fail(s, "track %s has no name yet", text);
	if (strcmp(phase, "X") == 0) {
		check_complete(s, event, json_integer_value(tid));
	} else if (strcmp(phase, "i") == 0) {
		check_instant(s, event);
	} else if (strcmp(phase, "B") == 0) {
		json_object_set_new(s->open, text, json_integer(open + 1));
	} else if (strcmp(phase, "E") == 0) {
		if (open < 1)
			fail(s, "an end without a beginning");
		json_object_set_new(s->open, text, json_integer(open - 1));
	} else {
		fail(s, "phase \"%s\"", phase);
	}
}

static int slice_before(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;

	if (x->tid != y->tid)
		return x->tid < y->tid ? -1 : 1;
	return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* One job at a time in a track. */
static void check_overlap(struct state *s)
{
	qsort(s->slices, s->slices_count, sizeof(*s->slices), slice_before);
	for (size_t i = 1; i < s->slices_count; i++) {
		struct slice *a = &s->slices[i - 1], *b = &s->slices[i];

		s->idx = b->idx;
		if (a->tid == b->tid && b->start_ns < a->end_ns)
			fail(s, "crosses event %zu of the same track", a->idx);
	}
}

int main(int argc, char **argv)
{
	struct state s = { .named = json_object(), .open = json_object() };
	json_error_t error;
	json_t *root, *events, *event, *open;
	const char *key;

	if (argc != 2) {
		fputs("usage: check-chrome FILE\n", stderr);
		return 2;
	}
	root = json_load_file(argv[1], JSON_REJECT_DUPLICATES, &error);
	if (!root) {
		printf("%s:%d: %s\n", argv[1], error.line, error.text);
		return 1;
	}
	events = json_object_get(root, "traceEvents");
	if (strcmp(text_of(root, "displayTimeUnit"), "ms") != 0 || !json_is_array(events))
		fail(&s, "no displayTimeUnit or no traceEvents");
	s.slices = calloc(json_array_size(events) + 1, sizeof(*s.slices));
	if (!s.slices)
		return 2;
	json_array_foreach(events, s.idx, event)
		check_event(&s, event);
	json_object_foreach(s.open, key, open) {
		if (json_integer_value(open) != 0)
			fail(&s, "track %s: a beginning without an end", key);
	}
	check_overlap(&s);
	printf("slices=%zu completed=%lu failed=%lu killed=%lu instants=%lu kills=%lu tracks=%zu\n",
	       s.slices_count, s.completed, s.failed, s.cut, s.instants, s.kills,
	       json_object_size(s.named));
	free(s.slices);
	json_decref(s.named);
	json_decref(s.open);
	json_decref(root);
	return 0;
}
