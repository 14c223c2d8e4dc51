/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check-jsonl FILE: is this the original benchmark's JSONL, strictly?
 *
 * Written from the description of the format and sharing no code with what prints it.  Says what it
 * counted, or the line and the rule that it breaks; exit 1 then.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#define LINE_MAX_BYTES 1048576

/* s string, u integer >= 0, p integer >= 1, n number, b boolean; a '?' in front: may be missing */
struct kind {
	const char *name;
	const char *fields;     /* "name:type ..." in the order in which they must stand */
};

/* Exactly these fields for the kinds of the original. */
static const struct kind kinds[] = {
	{ "run_start", "duration_sec:n enqueue_rate:u library:s scenario:s seed:u tenant_skew:n "
		       "tenants:u" },
	{ "job_enqueued", "enqueue_call_ms:u enqueued_at_ns:p job_id:s kind:s submitted_at_ns:p "
			  "tenant_id:s" },
	{ "job_started", "attempt:p job_id:s kind:s started_at_ns:p tenant_id:s" },
	{ "job_completed", "attempt:p completed_at_ns:p duration_ms:u found_after_kill:?b job_id:s "
			   "kind:s tenant_id:s" },
	{ "job_failed", "attempt:p completed_at_ns:p duration_ms:u error_class:s error_message:s "
			"job_id:s kind:s tenant_id:s" },
	{ "job_failed", "error_message:s kind:s stage:s tenant_id:s" },
	{ "resource_sample", "completed:u enqueued:u failed:u goroutines:u heap_bytes:u "
			     "rss_bytes:u" },
	{ "run_end", "ambiguous:u completed:u discarded:u dropped:u ended:b enqueue_failed:u "
		     "enqueued:u failed:u fenced:u killed:u missing:u requeued:u torn_bytes:u" },
	/* Kinds of our own. */
	{ "worker_spawned", "incarnation:p pid:p role:s seat:p" },
	{ "worker_ready", "pid:p role:s seat:p" },
	{ "worker_killed", "kill:p pid:p role:s seat:p" },
	{ "worker_died", "exit_status:?u pid:p role:s seat:p signal:?p" },
	{ "worker_stopped", "role:s seat:p" },
	{ "job_discarded", "attempt:p error_class:s job_id:s kind:s seat:p tenant_id:s" },
	{ "job_fenced", "attempt:p found_state:s job_id:s kind:s seat:p tenant_id:s" },
	{ "job_requeued", "attempt:p job_id:s kind:s previous_seat:p previous_state:s seat:p "
			  "tenant_id:s" },
	{ "job_ambiguous", "attempt:p job_id:s kind:s parked:b previous_seat:p previous_state:s "
			   "seat:p tenant_id:s" },
	{ "recovered", "jobs_put_back:u seat:p took_ns:u" },
	{ "taken_over", "processes_dead:u took_ns:u" },
	{ "sync_committed", "batch:p commit_ns:u rows:u" },
	{ "sync_lost", "tries:u" },
	{ "sync_back", "away_ns:u gone:u resent:u" },
	{ "cache_request", "address:u caller:u failed_run:u fault:s from_memory:b latency_ms:n pushes:u request:p ticks:u way:s" },
	{ "cache_work", "address:u attempt:p put_ms:n request:p seat:p what:s" },
	{ "verdict", "arg0:u arg1:u kill:p" },
};

struct state {
	const char *path;
	unsigned long line;
	char run_id[256];
	long long last_ns;
	json_t *enqueued, *started;     /* sets of job ids */
	json_int_t enqueued_count, completed_count, failed_count;
	int ended;
};

__attribute__((format(printf, 2, 3), noreturn))
static void fail(const struct state *s, const char *fmt, ...)
{
	va_list ap;

	printf("%s:%lu: ", s->path, s->line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

static long long digits(const struct state *s, const char *text, size_t from, size_t to)
{
	long long v = 0;

	for (size_t i = from; i < to; i++) {
		if (text[i] < '0' || text[i] > '9')
			fail(s, "timestamp \"%s\": a digit is wanted at %zu", text, i);
		v = 10 * v + (text[i] - '0');
	}
	return v;
}

/* 2006-01-02T15:04:05.999999999Z: a fraction of 1 to 9 digits without trailing zero, or none */
static long long timestamp_ns(const struct state *s, const char *text)
{
	size_t bytes = strlen(text), fraction;
	long long ns = 0;

	if (bytes < 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
	    text[16] != ':' || text[bytes - 1] != 'Z')
		fail(s, "timestamp \"%s\" is not RFC 3339 in UTC", text);
	struct tm tm = {
		.tm_year = (int)digits(s, text, 0, 4) - 1900,
		.tm_mon = (int)digits(s, text, 5, 7) - 1,
		.tm_mday = (int)digits(s, text, 8, 10), .tm_hour = (int)digits(s, text, 11, 13),
		.tm_min = (int)digits(s, text, 14, 16), .tm_sec = (int)digits(s, text, 17, 19),
	};

	fraction = bytes - 20;
	if (fraction > 0) {
		if (text[19] != '.' || fraction < 2 || fraction > 10 || text[bytes - 2] == '0')
			fail(s, "timestamp \"%s\": fraction", text);
		ns = digits(s, text, 20, bytes - 1);
		for (size_t i = fraction - 1; i < 9; i++)
			ns *= 10;
	}
	return (long long)timegm(&tm) * 1000000000ll + ns;
}

static int type_fits(const json_t *value, char type)
{
	switch (type) {
	case 's': return json_is_string(value);
	case 'u': return json_is_integer(value) && json_integer_value(value) >= 0;
	case 'p': return json_is_integer(value) && json_integer_value(value) >= 1;
	case 'n': return json_is_number(value);
	case 'b': return json_is_boolean(value);
	}
	return 0;
}

/* 1 when the fields are these, in this order and no others; else what is wrong is in why. */
static int fields_fit(json_t *fields, const char *wanted, char *why, size_t cap)
{
	void *iter = json_object_iter(fields);
	char name[64], type[4];
	int used;

	for (; sscanf(wanted, " %63[a-z_0-9]:%3s%n", name, type, &used) == 2; wanted += used) {
		const char *key = iter ? json_object_iter_key(iter) : NULL;
		int optional = type[0] == '?';

		if (!key || strcmp(key, name) != 0) {
			if (optional)
				continue;
			snprintf(why, cap, "field %s wanted, %s found", name,
				 key ? key : "no more");
			return 0;
		}
		if (!type_fits(json_object_iter_value(iter), type[optional])) {
			snprintf(why, cap, "field %s has the wrong type or range", name);
			return 0;
		}
		iter = json_object_iter_next(fields, iter);
	}
	if (iter)
		snprintf(why, cap, "field %s is one too many", json_object_iter_key(iter));
	return !iter;
}

static void check_fields(const struct state *s, const char *kind, json_t *fields)
{
	char why[160] = "the kind is unknown";

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, kind) == 0 &&
		    fields_fit(fields, kinds[i].fields, why, sizeof(why)))
			return;
	}
	fail(s, "%s: %s", kind, why);
}

static const char *text_of(json_t *fields, const char *key)
{
	const char *text = json_string_value(json_object_get(fields, key));

	return text ? text : "";
}

static json_int_t int_of(json_t *fields, const char *key)
{
	return json_integer_value(json_object_get(fields, key));
}

static void check_job(struct state *s, const char *kind, json_t *fields, long long t_ns)
{
	const char *job = text_of(fields, "job_id");

	if (strcmp(kind, "job_enqueued") == 0) {
		if (json_object_get(s->enqueued, job))
			fail(s, "job %s is enqueued twice", job);
		if (json_object_get(s->started, job))
			fail(s, "job %s is enqueued after its start", job);
		if (int_of(fields, "submitted_at_ns") > int_of(fields, "enqueued_at_ns"))
			fail(s, "job %s is acknowledged before it was submitted", job);
		json_object_set_new(s->enqueued, job, json_true());
		s->enqueued_count++;
	} else if (strcmp(kind, "job_started") == 0) {
		json_object_set_new(s->started, job, json_true());
		if (int_of(fields, "started_at_ns") != t_ns)
			fail(s, "started_at_ns is not the timestamp");
	} else if (strcmp(kind, "job_completed") == 0) {
		s->completed_count++;
		if (int_of(fields, "completed_at_ns") != t_ns)
			fail(s, "completed_at_ns is not the timestamp");
	} else if (strcmp(kind, "job_failed") == 0 && *job) {
		const char *class = text_of(fields, "error_class");

		if (*class && strcmp(class, "rate_limit") && strcmp(class, "transient") &&
		    strcmp(class, "permanent"))
			fail(s, "error_class \"%s\"", class);
		s->failed_count++;
	} else if (strcmp(kind, "job_failed") == 0) {
		if (strcmp(text_of(fields, "stage"), "enqueue") != 0)
			fail(s, "stage is not enqueue");
	}
	if (strncmp(kind, "job_", 4) == 0 &&
	    (!*text_of(fields, "kind") || !*text_of(fields, "tenant_id")))
		fail(s, "kind or tenant_id is empty");
}

static void check_end(struct state *s, json_t *fields)
{
	s->ended = 1;
	if (int_of(fields, "enqueued") != s->enqueued_count ||
	    int_of(fields, "completed") != s->completed_count ||
	    int_of(fields, "failed") != s->failed_count)
		fail(s, "run_end does not count the lines: they are enqueued=%lld completed=%lld "
		     "failed=%lld", (long long)s->enqueued_count, (long long)s->completed_count,
		     (long long)s->failed_count);
}

static void check_object(struct state *s, json_t *root)
{
	const char *run_id, *timestamp, *kind;
	json_t *fields;
	void *iter;
	static const char *const order[] = { "run_id", "timestamp", "kind", "fields" };
	size_t i = 0;

	if (!json_is_object(root))
		fail(s, "not an object");
	for (iter = json_object_iter(root); iter; iter = json_object_iter_next(root, iter), i++) {
		if (i >= 4 || strcmp(json_object_iter_key(iter), order[i]) != 0)
			fail(s, "member %s is unknown or out of order", json_object_iter_key(iter));
	}
	run_id = text_of(root, "run_id");
	timestamp = text_of(root, "timestamp");
	kind = text_of(root, "kind");
	fields = json_object_get(root, "fields");
	if (!*run_id || !*timestamp || !*kind || !json_is_object(fields) ||
	    json_object_size(fields) == 0)
		fail(s, "run_id, timestamp, kind or fields missing or empty");
	if (s->line == 1)
		snprintf(s->run_id, sizeof(s->run_id), "%s", run_id);
	if (strcmp(s->run_id, run_id) != 0)
		fail(s, "run_id is \"%s\" and was \"%s\"", run_id, s->run_id);

	long long t_ns = timestamp_ns(s, timestamp);

	if (t_ns < s->last_ns)
		fail(s, "its time is %lld ns before that of the line above", s->last_ns - t_ns);
	s->last_ns = t_ns;
	if ((strcmp(kind, "run_start") == 0) != (s->line == 1))
		fail(s, "run_start is to be the first line, and no other");
	if (s->ended)
		fail(s, "a line after run_end");
	check_fields(s, kind, fields);
	check_job(s, kind, fields, t_ns);
	if (strcmp(kind, "run_end") == 0)
		check_end(s, fields);
}

static void check_line(struct state *s, const char *text, size_t bytes)
{
	json_error_t error;
	json_t *root;

	if (bytes >= LINE_MAX_BYTES)
		fail(s, "%zu bytes are too long", bytes);
	if (text[bytes - 1] != '\n')
		fail(s, "the last line does not end");
	if (bytes == 1)
		fail(s, "empty line");
	if (memchr(text, '<', bytes) || memchr(text, '>', bytes) || memchr(text, '&', bytes))
		fail(s, "a character that Go's encoder escapes");
	if (text[0] != '{' || text[bytes - 2] != '}' || memchr(text, '\r', bytes))
		fail(s, "white space around the object");
	root = json_loadb(text, bytes - 1, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		fail(s, "%s at byte %d", error.text, error.position);
	check_object(s, root);
	json_decref(root);
}

int main(int argc, char **argv)
{
	struct state s = { .enqueued = json_object(), .started = json_object() };
	char *text = NULL;
	size_t cap = 0;
	ssize_t bytes;
	FILE *f;

	if (argc != 2) {
		fputs("usage: check-jsonl FILE\n", stderr);
		return 2;
	}
	s.path = argv[1];
	f = fopen(s.path, "r");
	if (!f) {
		fprintf(stderr, "check-jsonl: %s: %s\n", s.path, strerror(errno));
		return 2;
	}
	while ((bytes = getline(&text, &cap, f)) > 0) {
		s.line++;
		check_line(&s, text, (size_t)bytes);
	}
	if (!s.ended)
		fail(&s, "no run_end");
	printf("lines=%lu enqueued=%lld completed=%lld failed=%lld\n", s.line,
	       (long long)s.enqueued_count, (long long)s.completed_count,
	       (long long)s.failed_count);
	free(text);
	fclose(f);
	json_decref(s.enqueued);
	json_decref(s.started);
	return 0;
}
