/* SPDX-License-Identifier: Apache-2.0 */
/* A growing string. Zero-initialised is empty. Running out of memory ends the program with a message. */
#ifndef QB_BASE_STRBUF_H
#define QB_BASE_STRBUF_H

#include <stddef.h>

struct qb_strbuf {
	char *data;      /* NUL-terminated once anything was added; NULL before */
	size_t bytes;    /* without the NUL */
	size_t cap;
};

void qb_strbuf_add(struct qb_strbuf *sb, const char *text);
void qb_strbuf_add_bytes(struct qb_strbuf *sb, const void *data, size_t bytes);
void qb_strbuf_printf(struct qb_strbuf *sb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void qb_strbuf_clear(struct qb_strbuf *sb);     /* keeps the memory */
void qb_strbuf_free(struct qb_strbuf *sb);
const char *qb_strbuf_text(const struct qb_strbuf *sb); /* "" when empty */

/* malloc family that never returns NULL: prints "out of memory" and exits 1. */
void *qb_xmalloc(size_t bytes);
void *qb_xcalloc(size_t count, size_t bytes);
void *qb_xrealloc(void *p, size_t bytes);
char *qb_xstrdup(const char *s);
char *qb_xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
