/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enough of JSON to find members in what Postgres has accepted as jsonb, or in a notification, which anybody
 * may send: what is no JSON is "no such member", at worst a wrong value, never a read beyond the text.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/river.h"

struct cursor {
	const char *at, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
		c->at++;
}

static int take(struct cursor *c, char what)
{
	skip_space(c);
	if (c->at == c->end || *c->at != what)
		return 0;
	c->at++;
	return 1;
}

/* Behind the closing quote. */
static int skip_string(struct cursor *c)
{
	if (!take(c, '"'))
		return 0;
	for (; c->at < c->end; c->at++) {
		if (*c->at == '"') {
			c->at++;
			return 1;
		}
		if (*c->at == '\\' && ++c->at == c->end)
			return 0;
	}
	return 0;
}

/* Brackets are counted, not matched: whether they are of one kind was the server's to check. */
static int skip_value(struct cursor *c)
{
	unsigned depth = 0;

	skip_space(c);
	const char *from = c->at;

	while (c->at < c->end) {
		char ch = *c->at;

		if (ch == '"') {
			if (!skip_string(c))
				return 0;
			if (depth == 0)
				return 1;
			continue;
		}
		if (depth == 0 && (ch == ',' || ch == '}' || ch == ']' || ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r'))
			break;
		c->at++;
		if (ch == '{' || ch == '[')
			depth++;
		if ((ch == '}' || ch == ']') && --depth == 0)
			return 1;
	}
	return depth == 0 && c->at > from;
}

int qb_river_json_get(const char *text, size_t bytes, const char *name, const char **value, size_t *value_bytes)
{
	struct cursor c = { .at = text, .end = text + bytes };
	size_t name_bytes = strlen(name);
	int found = 0;

	if (!take(&c, '{') || take(&c, '}'))
		return 0;
	do {
		skip_space(&c);
		const char *key = c.at + 1;

		if (!skip_string(&c))
			return 0;
		/* Names with escapes are none of ours. */
		int same = (size_t)(c.at - key - 1) == name_bytes && memcmp(key, name, name_bytes) == 0;

		if (!take(&c, ':'))
			return 0;
		skip_space(&c);
		const char *from = c.at;

		if (!skip_value(&c))
			return 0;
		if (same) {
			*value = from;
			*value_bytes = (size_t)(c.at - from);
			found = 1;
		}
	} while (take(&c, ','));
	return found && take(&c, '}');
}

int qb_river_json_i64(const char *value, size_t bytes, int64_t *out)
{
	char buf[24], *end;

	if (bytes == 0 || bytes >= sizeof(buf) || (*value != '-' && (*value < '0' || *value > '9')))
		return 0;
	memcpy(buf, value, bytes);
	buf[bytes] = 0;
	long long n = strtoll(buf, &end, 10);

	if (*end)
		return 0;
	*out = n;
	return 1;
}

static int hex4(const char *at, const char *end, unsigned *out)
{
	*out = 0;
	if (end - at < 4)
		return 0;
	for (int i = 0; i < 4; i++) {
		const char *digits = "0123456789abcdef", *d = strchr(digits, at[i] | 0x20);

		if (!at[i] || !d)
			return 0;
		*out = *out * 16 + (unsigned)(d - digits);
	}
	return 1;
}

/* UTF-8 of a code point; how many bytes. */
static size_t put_utf8(char out[4], unsigned code)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

/* What follows a backslash: its bytes in out, *at behind it. How many, or 0. */
static size_t unescape(const char **at, const char *end, char out[4])
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *which = **at ? strchr(from, **at) : NULL;
	unsigned code, low;

	if (which) {
		(*at)++;
		out[0] = to[which - from];
		return 1;
	}
	if (**at != 'u' || !hex4(*at + 1, end, &code))
		return 0;
	*at += 5;
	if (code >= 0xd800 && code < 0xdc00 && end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' &&
	    hex4(*at + 2, end, &low) && low >= 0xdc00 && low < 0xe000) {
		code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
		*at += 6;
	}
	return put_utf8(out, code);
}

int qb_river_json_string(const char *value, size_t bytes, char *buf, size_t cap)
{
	const char *at = value + 1, *end = value + bytes - 1;
	size_t used = 0;

	if (bytes < 2 || *value != '"' || *end != '"')
		return 0;
	while (at < end) {
		char out[4] = { *at };
		size_t n = 1;

		if (*at++ == '\\') {
			n = at < end ? unescape(&at, end, out) : 0;
			if (n == 0)
				return 0;
		}
		if (used + n >= cap)
			break;
		memcpy(buf + used, out, n);
		used += n;
	}
	buf[used] = 0;
	return 1;
}
