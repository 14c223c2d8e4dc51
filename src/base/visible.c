/* SPDX-License-Identifier: Apache-2.0 */
#include "base/visible.h"

#include <stdio.h>
#include <string.h>

/* The table of the Unicode standard (3-7): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
size_t qb_utf8_length(const char *text, size_t left)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned char lo = 0x80, hi = 0xbf;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (left < n || s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return n;
}

/* C1 controls (a terminal takes U+009B for ESC [), marks of direction, and what ends a line. */
static int acts(const unsigned char *s, size_t n)
{
	if (n == 2)
		return s[0] == 0xc2 && s[1] < 0xa0;
	if (n != 3 || s[0] != 0xe2)
		return 0;
	return (s[1] == 0x80 && (s[2] == 0x8e || s[2] == 0x8f || (s[2] >= 0xa8 && s[2] <= 0xae))) ||
	       (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9);
}

size_t qb_visible_length(const char *text, size_t left)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n = qb_utf8_length(text, left);

	if (s[0] < ' ' || s[0] == 0x7f || acts(s, n))
		return 0;
	return n;
}

void qb_visible_add(struct qb_strbuf *sb, const char *text, size_t max)
{
	size_t bytes = strnlen(text, max);

	for (size_t i = 0; i < bytes;) {
		size_t n = qb_visible_length(text + i, bytes - i);

		if (n)
			qb_strbuf_add_bytes(sb, text + i, n);
		else
			qb_strbuf_printf(sb, "\\x%02x", (unsigned char)text[i]);
		i += n ? n : 1;
	}
}

const char *qb_visible(char *buf, size_t cap, const char *text)
{
	size_t bytes = strlen(text), used = 0;

	for (size_t i = 0; i < bytes;) {
		size_t n = qb_visible_length(text + i, bytes - i);

		if (used + (n ? n : 4) >= cap)
			break;
		if (n)
			memcpy(buf + used, text + i, n);
		else
			snprintf(buf + used, 5, "\\x%02x", (unsigned char)text[i]);
		used += n ? n : 4;
		i += n ? n : 1;
	}
	buf[used] = '\0';
	return buf;
}
