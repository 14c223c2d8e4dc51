/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text, fast: a large buffer, and printers that write at a pointer and return where they stopped.
 *
 * A line is begun with qb_out_line(), which makes sure that QB_OUT_LINE_MAX bytes fit; nothing that
 * is printed into one line may be longer.  No printf: it costs five times what the rest of the
 * decoder does for an event.
 */
#ifndef QB_TOOLS_EMIT_H
#define QB_TOOLS_EMIT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define QB_OUT_BYTES (256u * 1024)
#define QB_OUT_LINE_MAX (16u * 1024)

struct qb_out {
	int fd;
	int failed;             /* errno of the first write that failed; it was the last */
	size_t used;
	char *buf;
};

/* A piece of text that was made ready beforehand. */
struct qb_text {
	char *data;
	size_t bytes;
};

void qb_out_init(struct qb_out *out, int fd);
void qb_out_flush(struct qb_out *out);
void qb_out_free(struct qb_out *out);

static inline char *qb_out_line(struct qb_out *out)
{
	if (QB_OUT_BYTES - out->used < QB_OUT_LINE_MAX)
		qb_out_flush(out);
	return out->buf + out->used;
}

static inline void qb_out_end(struct qb_out *out, const char *p)
{
	out->used = (size_t)(p - out->buf);
}

/* A string literal. */
#define QB_PUT(p, literal) \
	((p) = (char *)memcpy((p), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

extern const char qb_digit_pairs[201];

static inline char *qb_put_u64(char *p, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);

	while (v >= 100) {
		n -= 2;
		memcpy(digits + n, qb_digit_pairs + 2 * (v % 100), 2);
		v /= 100;
	}
	if (v >= 10) {
		n -= 2;
		memcpy(digits + n, qb_digit_pairs + 2 * v, 2);
	} else {
		digits[--n] = (char)('0' + v);
	}
	memcpy(p, digits + n, sizeof(digits) - n);
	return p + (sizeof(digits) - n);
}

static inline char *qb_put_i64(char *p, int64_t v)
{
	if (v >= 0)
		return qb_put_u64(p, (uint64_t)v);
	*p++ = '-';
	return qb_put_u64(p, 0 - (uint64_t)v);
}

/* Exactly nine digits. */
static inline char *qb_put_nine(char *p, uint32_t v)
{
	for (int i = 7; i >= 1; i -= 2) {
		memcpy(p + i, qb_digit_pairs + 2 * (v % 100), 2);
		v /= 100;
	}
	*p = (char)('0' + v % 10);
	return p + 9;
}

static inline char *qb_put_text(char *p, const struct qb_text *text)
{
	memcpy(p, text->data, text->bytes);
	return p + text->bytes;
}

/*
 * A JSON string with its quotes, escaped as Go's encoder does for HTML; bytes that are not UTF-8
 * become U+FFFD. At most max bytes of text are looked at; takes up to 6 * max + 2.
 */
char *qb_put_json(char *p, const char *text, size_t max);

/* As it is, or as a JSON string. Caller: free(data). */
struct qb_text qb_text_make(const char *text, int quoted);
/* before, then inside as a JSON string of which after is the rest: without its closing quote. Caller: free(data). */
struct qb_text qb_text_in_string(const char *before, const char *inside, const char *after);

/* A member of an object, with its comma unless it is the first. The name: at most 32 bytes; the text: at most 128. */
char *qb_put_field(char *p, const char *name, uint64_t value);
char *qb_put_string_field(char *p, const char *name, const char *value);

/* The fewest decimals that read back as the same number, in Go's form. At most 48 bytes. */
char *qb_put_double(char *p, double v);

/* RFC 3339 in UTC, no trailing zeros in the fraction, as Go's RFC3339Nano. At most 30 bytes. */
struct qb_stamp {
	uint64_t second;        /* that text is for */
	char text[20];
	int valid;
};
char *qb_put_stamp(char *p, struct qb_stamp *cache, uint64_t wall_ns);

#endif
