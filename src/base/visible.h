/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that came from outside (a file, a record, a directory's name, a server), for somebody's
 * terminal, mail or page.  What could move the cursor, colour the screen, break the line or turn the
 * direction of writing is shown as \xNN, byte by byte; so is what is no UTF-8.  The rest stays.
 */
#ifndef QB_BASE_VISIBLE_H
#define QB_BASE_VISIBLE_H

#include <stddef.h>

#include "base/strbuf.h"

/* Bytes of the well-formed UTF-8 sequence at s (1 for any ASCII), 0 if it is none. left > 0. */
size_t qb_utf8_length(const char *s, size_t left);

/* Bytes at s that may be shown as they are, as one character; 0 if the first byte may not. left > 0. */
size_t qb_visible_length(const char *s, size_t left);

/* Append at most max bytes of text, up to its NUL. */
void qb_visible_add(struct qb_strbuf *sb, const char *text, size_t max);

/* The same into buf, cut where a whole character no longer fits. cap > 0; returns buf. */
const char *qb_visible(char *buf, size_t cap, const char *text);
/* Room for any text of that many bytes. */
#define QB_VISIBLE_BYTES(text_bytes) (4 * (text_bytes) + 1)

#endif
