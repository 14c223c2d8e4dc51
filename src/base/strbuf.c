/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static void __attribute__((noreturn)) out_of_memory(size_t bytes)
{
	qb_log(QB_LOG_ERROR, "out of memory (%zu bytes wanted)", bytes);
	exit(1);
}

void *qb_xmalloc(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	if (!p)
		out_of_memory(bytes);
	return p;
}

void *qb_xcalloc(size_t count, size_t bytes)
{
	void *p = calloc(count ? count : 1, bytes ? bytes : 1);

	if (!p)
		out_of_memory(bytes && count > SIZE_MAX / bytes ? SIZE_MAX : count * bytes);
	return p;
}

void *qb_xrealloc(void *old, size_t bytes)
{
	void *p = realloc(old, bytes ? bytes : 1);

	if (!p)
		out_of_memory(bytes);
	return p;
}

char *qb_xstrdup(const char *s)
{
	size_t bytes = strlen(s) + 1;

	return memcpy(qb_xmalloc(bytes), s, bytes);
}

char *qb_xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	return text;
}

/* Make room for more bytes and the NUL behind them. */
static void reserve(struct qb_strbuf *sb, size_t more)
{
	size_t cap = sb->cap ? sb->cap : 64;

	if (more >= SIZE_MAX / 2 - sb->bytes)
		out_of_memory(more);
	while (cap < sb->bytes + more + 1)
		cap *= 2;
	if (cap == sb->cap)
		return;
	sb->data = qb_xrealloc(sb->data, cap);
	sb->cap = cap;
}

void qb_strbuf_add_bytes(struct qb_strbuf *sb, const void *data, size_t bytes)
{
	reserve(sb, bytes);
	if (bytes)
		memcpy(sb->data + sb->bytes, data, bytes);
	sb->bytes += bytes;
	sb->data[sb->bytes] = '\0';
}

void qb_strbuf_add(struct qb_strbuf *sb, const char *text)
{
	qb_strbuf_add_bytes(sb, text, strlen(text));
}

void qb_strbuf_printf(struct qb_strbuf *sb, const char *fmt, ...)
{
	va_list ap;
	size_t room;
	int n;

	/* Most texts fit at once; only a longer one is formatted twice. */
	reserve(sb, 80);
	room = sb->cap - sb->bytes;
	va_start(ap, fmt);
	n = vsnprintf(sb->data + sb->bytes, room, fmt, ap);
	va_end(ap);
	if (n < 0)
		out_of_memory(0);
	if ((size_t)n >= room) {
		reserve(sb, (size_t)n);
		va_start(ap, fmt);
		vsnprintf(sb->data + sb->bytes, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	sb->bytes += (size_t)n;
}

void qb_strbuf_clear(struct qb_strbuf *sb)
{
	sb->bytes = 0;
	if (sb->data)
		sb->data[0] = '\0';
}

void qb_strbuf_free(struct qb_strbuf *sb)
{
	free(sb->data);
	*sb = (struct qb_strbuf){ 0 };
}

const char *qb_strbuf_text(const struct qb_strbuf *sb)
{
	return sb->data ? sb->data : "";
}
