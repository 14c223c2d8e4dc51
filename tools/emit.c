/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/emit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "base/visible.h"

const char qb_digit_pairs[201] =
	"00010203040506070809" "10111213141516171819" "20212223242526272829" "30313233343536373839"
	"40414243444546474849" "50515253545556575859" "60616263646566676869" "70717273747576777879"
	"80818283848586878889" "90919293949596979899";

void qb_out_init(struct qb_out *out, int fd)
{
	*out = (struct qb_out){ .fd = fd, .buf = qb_xmalloc(QB_OUT_BYTES) };
}

void qb_out_flush(struct qb_out *out)
{
	if (out->used > 0 && !out->failed)
		out->failed = -qb_write_full(out->fd, out->buf, out->used);
	out->used = 0;
}

void qb_out_free(struct qb_out *out)
{
	free(out->buf);
	out->buf = NULL;
}

static char *put_escape(char *p, unsigned code)
{
	static const char hex[] = "0123456789abcdef";

	*p++ = '\\';
	*p++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*p++ = hex[code >> shift & 15];
	return p;
}

static char *put_ascii(char *p, unsigned char c)
{
	static const char named[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	if (c >= ' ' && c != 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&') {
		*p++ = (char)c;
		return p;
	}
	for (size_t i = 0; i + 1 < sizeof(named); i += 2) {
		if ((unsigned char)named[i] == c) {
			*p++ = '\\';
			*p++ = named[i + 1];
			return p;
		}
	}
	return put_escape(p, c);
}

char *qb_put_json(char *p, const char *text, size_t max)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t bytes = strnlen(text, max);

	*p++ = '"';
	for (size_t i = 0; i < bytes;) {
		size_t n;

		if (s[i] < 0x80) {
			p = put_ascii(p, s[i++]);
			continue;
		}
		n = qb_utf8_length(text + i, bytes - i);
		if (n == 0) {
			p = put_escape(p, 0xfffd);
			i++;
			continue;
		}
		/* Those that act on a terminal, or end a line in JavaScript; all are in the first plane. */
		if (qb_visible_length(text + i, bytes - i) == 0) {
			p = put_escape(p, n == 2 ? (s[i] & 0x1fu) << 6 | (s[i + 1] & 0x3fu) :
					  (s[i] & 0xfu) << 12 | (s[i + 1] & 0x3fu) << 6 | (s[i + 2] & 0x3fu));
		} else {
			memcpy(p, s + i, n);
			p += n;
		}
		i += n;
	}
	*p++ = '"';
	return p;
}

struct qb_text qb_text_make(const char *text, int quoted)
{
	size_t max = strlen(text);
	char *data = qb_xmalloc(6 * max + 2);

	if (quoted)
		return (struct qb_text){ data, (size_t)(qb_put_json(data, text, max) - data) };
	memcpy(data, text, max);
	return (struct qb_text){ data, max };
}

struct qb_text qb_text_in_string(const char *before, const char *inside, const char *after)
{
	struct qb_text value = qb_text_make(inside, 1);
	size_t before_bytes = strlen(before), after_bytes = strlen(after);
	char *data = qb_xmalloc(before_bytes + value.bytes + after_bytes), *p = data;

	p = (char *)memcpy(p, before, before_bytes) + before_bytes;
	p = (char *)memcpy(p, value.data, value.bytes - 1) + value.bytes - 1;
	p = (char *)memcpy(p, after, after_bytes) + after_bytes;
	free(value.data);
	return (struct qb_text){ data, (size_t)(p - data) };
}

static char *begin_field(char *p, const char *name)
{
	if (p[-1] != '{')
		*p++ = ',';
	p = qb_put_json(p, name, 32);
	*p++ = ':';
	return p;
}

char *qb_put_field(char *p, const char *name, uint64_t value)
{
	return qb_put_u64(begin_field(p, name), value);
}

char *qb_put_string_field(char *p, const char *name, const char *value)
{
	return qb_put_json(begin_field(p, name), value, 128);
}

/* Go drops the leading zero of a two-digit negative exponent: 1e-07 becomes 1e-7. */
static void trim_exponent(char *text)
{
	char *e = strstr(text, "e-0");

	if (e)
		memmove(e + 2, e + 3, strlen(e + 3) + 1);
}

char *qb_put_double(char *p, double v)
{
	double size = v < 0 ? -v : v;
	char text[400];
	int digits = 0;

	if (size != 0 && (size < 1e-6 || size >= 1e21)) {
		do {
			snprintf(text, sizeof(text), "%.*e", digits++, v);
		} while (digits < 17 && strtod(text, NULL) != v);
		trim_exponent(text);
	} else {
		do {
			snprintf(text, sizeof(text), "%.*f", digits++, v);
		} while (digits < 25 && strtod(text, NULL) != v);
	}
	size_t bytes = strlen(text);

	memcpy(p, text, bytes);
	return p + bytes;
}

char *qb_put_stamp(char *p, struct qb_stamp *cache, uint64_t wall_ns)
{
	uint64_t second = wall_ns / QB_NS_PER_S;
	uint32_t fraction = (uint32_t)(wall_ns % QB_NS_PER_S);

	if (!cache->valid || cache->second != second) {
		char whole[36];

		qb_format_rfc3339(whole, second * QB_NS_PER_S);
		memcpy(cache->text, whole, sizeof(cache->text));
		cache->text[19] = '.';
		cache->second = second;
		cache->valid = 1;
	}
	memcpy(p, cache->text, 20);
	if (fraction == 0) {
		p += 19;
	} else {
		p = qb_put_nine(p + 20, fraction);
		while (p[-1] == '0')
			p--;
	}
	*p++ = 'Z';
	return p;
}
