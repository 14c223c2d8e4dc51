/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/river-unique.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "queue/river-gojson.h"
#include "shm/status.h"

/* Between the first day of year 1, from which Go counts, and 1970. */
#define YEAR_1_S 62135596800ull

/* From the leftmost bit. */
static const char *const states[] = { "scheduled", "running", "retryable", "pending", "discarded", "completed",
				      "cancelled", "available" };

uint8_t qb_river_state_bit(const char *name)
{
	for (unsigned i = 0; i < 8; i++)
		if (!strcmp(states[i], name))
			return (uint8_t)(0x80u >> i);
	return 0;
}

int qb_river_unique_states(const char *const *names, uint8_t *mask, struct qb_err *err)
{
	static const char *const needed[] = { "available", "pending", "running", "scheduled" };

	*mask = 0;
	for (; *names; names++) {
		uint8_t bit = qb_river_state_bit(*names);

		if (!bit)
			return qb_err_set(err, QB_EUSAGE, "\"%s\" is no state of a job", *names);
		*mask |= bit;
	}
	for (unsigned i = 0; i < 4; i++)
		if (!(*mask & qb_river_state_bit(needed[i])))
			return qb_err_set(err, QB_EUSAGE, "the states of a unique job must include \"%s\"", needed[i]);
	return 0;
}

/*
 * How River's JSON library writes the key of an object: as it is, unless something in it must be escaped;
 * then all of it as Go's encoder does, which escapes <, > and & as well.
 */
static void add_key(struct qb_strbuf *to, const char *key, size_t bytes)
{
	bool escape = false;

	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)key[i];

		escape |= c < ' ' || c > 0x7f || c == '"' || c == '\\';
	}
	if (escape) {
		qb_json_add_string(to, key, bytes);
		return;
	}
	qb_strbuf_add(to, "\"");
	qb_strbuf_add_bytes(to, key, bytes);
	qb_strbuf_add(to, "\"");
}

struct entry {
	struct qb_strbuf key;   /* decoded */
	struct qb_json_span value;
	size_t at;
};

/* By the bytes of the key; of two with one key the earlier one first. */
static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	size_t n = x->key.bytes < y->key.bytes ? x->key.bytes : y->key.bytes;
	int rc = n ? memcmp(x->key.data, y->key.data, n) : 0;

	if (rc == 0 && x->key.bytes != y->key.bytes)
		rc = x->key.bytes < y->key.bytes ? -1 : 1;
	return rc ? rc : x->at < y->at ? -1 : 1;
}

static bool same_key(const struct entry *a, const struct entry *b)
{
	return a->key.bytes == b->key.bytes && (!a->key.bytes || !memcmp(a->key.data, b->key.data, a->key.bytes));
}

/* Of a key that is there twice the first value counts, and it counts once. */
static int add_all_args(struct qb_strbuf *to, struct qb_json_span args)
{
	struct entry *entries = NULL;
	struct qb_json_member member;
	const char *at = NULL;
	size_t count = 0, cap = 0, added = 0;
	int rc;

	while ((rc = qb_json_next_member(args, &at, &member)) == 1) {
		if (count == cap) {
			cap = cap ? 2 * cap : 16;
			entries = qb_xrealloc(entries, cap * sizeof(*entries));
		}
		entries[count] = (struct entry){ .value = member.value, .at = count };
		qb_json_decode(&entries[count++].key, member.key);
	}
	if (rc == 0 && count)
		qsort(entries, count, sizeof(*entries), compare_entries);
	qb_strbuf_add(to, "{");
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (i && same_key(&entries[i - 1], &entries[i]))
			continue;
		if (added++)
			qb_strbuf_add(to, ",");
		add_key(to, qb_strbuf_text(&entries[i].key), entries[i].key.bytes);
		qb_strbuf_add(to, ":");
		qb_strbuf_add_bytes(to, entries[i].value.data, entries[i].value.bytes);
	}
	qb_strbuf_add(to, "}");
	for (size_t i = 0; i < count; i++)
		qb_strbuf_free(&entries[i].key);
	free(entries);
	return rc;
}

static int compare_fields(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* How many of the fields from the first on begin with its part in front of the point, skip bytes in. */
static size_t siblings(const char *const *fields, size_t count, size_t skip)
{
	size_t part = strcspn(fields[0] + skip, "."), n = 1;

	while (n < count && !strncmp(fields[0] + skip, fields[n] + skip, part) &&
	       (fields[n][skip + part] == '.' || !fields[n][skip + part]))
		n++;
	return n;
}

/*
 * The object of those fields that object has; nothing at all when it has none.  skip: bytes of each path that led
 * to this object.  An object on the way is written only when something in it is.
 */
static int add_fields(struct qb_strbuf *to, struct qb_json_span object, const char *const *fields, size_t count,
		      size_t skip, unsigned depth)
{
	size_t start = to->bytes;

	if (depth == QB_JSON_DEPTH_MAX)
		return QB_EPARSE;
	for (size_t i = 0, n; i < count; i += n) {
		const char *name = fields[i] + skip;
		size_t part = strcspn(name, "."), before = to->bytes, behind;
		struct qb_json_span value;
		int rc = qb_json_find(object, name, part, &value);

		n = siblings(fields + i, count - i, skip);
		if (rc < 0)
			return rc;
		if (rc == 0)
			continue;
		qb_strbuf_add(to, before == start ? "{" : ",");
		add_key(to, name, part);
		qb_strbuf_add(to, ":");
		behind = to->bytes;
		if (name[part] == '\0')
			qb_strbuf_add_bytes(to, value.data, value.bytes);
		else if (value.data[0] == '{')
			rc = add_fields(to, value, fields + i, n, skip + part + 1, depth + 1);
		if (rc < 0)
			return rc;
		if (to->bytes == behind) {
			to->bytes = before;
			to->data[before] = '\0';
		}
	}
	if (to->bytes > start)
		qb_strbuf_add(to, "}");
	return 0;
}

static int add_some_args(struct qb_strbuf *to, struct qb_json_span args, const char *const *fields, size_t count)
{
	const char **sorted = qb_xcalloc(count, sizeof(*sorted));
	int rc;

	memcpy(sorted, fields, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_fields);
	rc = add_fields(to, args, sorted, count, 0, 0);
	free(sorted);
	return rc;
}

static int add_period(struct qb_strbuf *to, uint64_t at_wall_ns, uint64_t period_ns)
{
	unsigned __int128 since = (unsigned __int128)YEAR_1_S * QB_NS_PER_S + at_wall_ns;
	time_t s = (time_t)((since - since % period_ns) / QB_NS_PER_S - YEAR_1_S);
	struct tm tm;
	char buf[40];

	if (!gmtime_r(&s, &tm) || !strftime(buf, sizeof(buf), "%H:%M:%SZ", &tm))
		return QB_EUSAGE;
	qb_strbuf_printf(to, "&period=%04d-%02d-%02dT%s", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, buf);
	return 0;
}

int qb_river_unique_text(const struct qb_river_unique *u, struct qb_strbuf *text, struct qb_err *err)
{
	int rc = 0;

	if (u->by_period_ns && u->by_period_ns < QB_NS_PER_S)
		return qb_err_set(err, QB_EUSAGE, "the period of a unique job is at least a second");
	if (!u->exclude_kind) {
		qb_strbuf_add(text, "&kind=");
		qb_strbuf_add(text, u->kind);
	}
	if (u->by_args) {
		struct qb_json_span args = { u->args, strlen(u->args) };

		qb_strbuf_add(text, "&args=");
		rc = u->fields_count ? add_some_args(text, args, u->fields, u->fields_count) : add_all_args(text, args);
		if (rc < 0)
			return qb_err_set(err, rc, "the arguments of a unique job are no JSON object");
	}
	if (u->by_period_ns) {
		rc = add_period(text, u->at_wall_ns, u->by_period_ns);
		if (rc < 0)
			return qb_err_set(err, rc, "no calendar has the time of a unique job");
	}
	if (u->by_queue) {
		qb_strbuf_add(text, "&queue=");
		qb_strbuf_add(text, u->queue);
	}
	return 0;
}

int qb_river_unique_key(const struct qb_river_unique *u, uint8_t key[32], struct qb_err *err)
{
	struct qb_strbuf text = { 0 };
	unsigned n = 32;
	int rc = qb_river_unique_text(u, &text, err);

	if (rc == 0 && !EVP_Digest(qb_strbuf_text(&text), text.bytes, key, &n, EVP_sha256(), NULL))
		rc = qb_err_set(err, QB_EFEATURE, "libcrypto has no SHA-256");
	qb_strbuf_free(&text);
	return rc;
}
