/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/river-gojson.h"

#include <stdbool.h>
#include <string.h>

#include "shm/status.h"

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
		p++;
	return p;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* p behind "\u". The code unit, or -1. */
static int hex4(const char *p, const char *end)
{
	int unit = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);

		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

/* p at the opening quote. Behind the closing one, or NULL. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end; p++) {
		if (*p == '"')
			return p + 1;
		if ((unsigned char)*p < ' ')
			return NULL;
		if (*p != '\\')
			continue;
		if (++p == end)
			return NULL;
		if (*p == 'u') {
			if (hex4(p + 1, end) < 0)
				return NULL;
			p += 4;
		} else if (!strchr("\"\\/bfnrt", *p) || !*p) {
			return NULL;
		}
	}
	return NULL;
}

/* Digits, signs, points and exponents: what a number is exactly is the server's to judge. */
static const char *skip_scalar(const char *p, const char *end)
{
	static const char *const words[] = { "true", "false", "null" };
	const char *start = p;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i]);

		if ((size_t)(end - p) >= n && !memcmp(p, words[i], n))
			return p + n;
	}
	while (p < end && *p && strchr("0123456789+-.eE", *p))
		p++;
	return p > start ? p : NULL;
}

/* Behind the value that begins at p, or NULL. An array or object only has to be closed rightly. */
static const char *skip_value(const char *p, const char *end)
{
	char open[QB_JSON_DEPTH_MAX];
	unsigned depth = 0;

	do {
		p = skip_space(p, end);
		if (p == end)
			return NULL;
		switch (*p) {
		case '{':
		case '[':
			if (depth == QB_JSON_DEPTH_MAX)
				return NULL;
			open[depth++] = *p++;
			break;
		case '}':
		case ']':
			if (depth == 0 || open[--depth] != (*p == '}' ? '{' : '['))
				return NULL;
			p++;
			break;
		case ',':
		case ':':
			if (depth == 0)
				return NULL;
			p++;
			break;
		case '"':
			p = skip_string(p, end);
			break;
		default:
			p = skip_scalar(p, end);
		}
	} while (p && depth > 0);
	return p;
}

int qb_json_next_member(struct qb_json_span text, const char **at, struct qb_json_member *out)
{
	const char *end = text.data + text.bytes, *p = *at;
	bool first = !p;

	if (first) {
		p = skip_space(text.data, end);
		if (p == end || *p++ != '{')
			return QB_EPARSE;
	}
	p = skip_space(p, end);
	if (p < end && *p == '}') {
		*at = p;
		return skip_space(p + 1, end) == end ? 0 : QB_EPARSE;
	}
	if (!first && (p == end || *p++ != ','))
		return QB_EPARSE;
	p = skip_space(p, end);
	if (p == end || *p != '"')
		return QB_EPARSE;
	out->key.data = p + 1;
	p = skip_string(p, end);
	if (!p)
		return QB_EPARSE;
	out->key.bytes = (size_t)(p - 1 - out->key.data);
	p = skip_space(p, end);
	if (p == end || *p++ != ':')
		return QB_EPARSE;
	out->value.data = skip_space(p, end);
	p = skip_value(p, end);
	if (!p)
		return QB_EPARSE;
	out->value.bytes = (size_t)(p - out->value.data);
	*at = p;
	return 1;
}

int qb_json_find(struct qb_json_span text, const char *name, size_t name_bytes, struct qb_json_span *value)
{
	struct qb_strbuf key = { 0 };
	struct qb_json_member member;
	const char *at = NULL;
	int rc;

	while ((rc = qb_json_next_member(text, &at, &member)) == 1) {
		qb_strbuf_clear(&key);
		qb_json_decode(&key, member.key);
		if (key.bytes == name_bytes && !memcmp(qb_strbuf_text(&key), name, name_bytes)) {
			*value = member.value;
			break;
		}
	}
	qb_strbuf_free(&key);
	return rc;
}

static void add_utf8(struct qb_strbuf *to, uint32_t c)
{
	char buf[4];
	size_t n = 1;

	if (c < 0x80) {
		buf[0] = (char)c;
	} else if (c < 0x800) {
		buf[0] = (char)(0xc0 | c >> 6);
		buf[1] = (char)(0x80 | (c & 0x3f));
		n = 2;
	} else if (c < 0x10000) {
		buf[0] = (char)(0xe0 | c >> 12);
		buf[1] = (char)(0x80 | (c >> 6 & 0x3f));
		buf[2] = (char)(0x80 | (c & 0x3f));
		n = 3;
	} else {
		buf[0] = (char)(0xf0 | c >> 18);
		buf[1] = (char)(0x80 | (c >> 12 & 0x3f));
		buf[2] = (char)(0x80 | (c >> 6 & 0x3f));
		buf[3] = (char)(0x80 | (c & 0x3f));
		n = 4;
	}
	qb_strbuf_add_bytes(to, buf, n);
}

/* p behind "\u"; returns behind the last digit used. */
static const char *decode_unit(struct qb_strbuf *to, const char *p, const char *end)
{
	int unit = hex4(p, end), low = -1;

	if (unit < 0)
		return end;
	p += 4;
	if (unit >= 0xd800 && unit < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u')
		low = hex4(p + 2, end);
	if (low >= 0xdc00 && low < 0xe000) {
		add_utf8(to, 0x10000u + ((uint32_t)(unit - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
		return p + 6;
	}
	add_utf8(to, unit >= 0xd800 && unit < 0xe000 ? 0xfffd : (uint32_t)unit);
	return p;
}

void qb_json_decode(struct qb_strbuf *to, struct qb_json_span raw)
{
	static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
	const char *p = raw.data, *end = p + raw.bytes;

	while (p < end) {
		const char *stop = memchr(p, '\\', (size_t)(end - p)), *found;

		if (!stop)
			stop = end;
		qb_strbuf_add_bytes(to, p, (size_t)(stop - p));
		p = stop + 1;
		if (stop == end || p == end)
			break;
		if (*p == 'u') {
			p = decode_unit(to, p + 1, end);
			continue;
		}
		found = strchr(from, *p);
		qb_strbuf_add_bytes(to, found && *p ? into + (found - from) : p, 1);
		p++;
	}
}

/* Length of the character at p, and *c; 0 when it is not well-formed UTF-8. */
static size_t utf8_char(const unsigned char *p, size_t bytes, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf8 ? 0 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;

	if (n == 0 || n > bytes)
		return 0;
	*c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	return n > 1 && (*c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000)) ? 0 : n;
}

void qb_json_add_string(struct qb_strbuf *to, const char *text, size_t bytes)
{
	static const char from[] = "\"\\\b\f\n\r\t", into[] = "\"\\bfnrt";

	qb_strbuf_add(to, "\"");
	for (size_t i = 0; i < bytes;) {
		uint32_t c;
		size_t n = utf8_char((const unsigned char *)text + i, bytes - i, &c);
		const char *found = n == 1 && c ? strchr(from, (int)c) : NULL;

		if (n == 0) {
			qb_strbuf_add(to, "\\ufffd");
			n = 1;
		} else if (found) {
			qb_strbuf_printf(to, "\\%c", into[found - from]);
		} else if (c < ' ' || c == '<' || c == '>' || c == '&' || c == 0x2028 || c == 0x2029) {
			qb_strbuf_printf(to, "\\u%04x", (unsigned)c);
		} else {
			qb_strbuf_add_bytes(to, text + i, n);
		}
		i += n;
	}
	qb_strbuf_add(to, "\"");
}
