/* SPDX-License-Identifier: Apache-2.0 */
/* What a printer of the program wrote, and whether it may be shown. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static ssize_t keep(void *cookie, const char *data, size_t bytes)
{
	struct fuzz_output *out = cookie;

	while (out->bytes + bytes + 1 > out->cap) {
		out->cap = out->cap ? 2 * out->cap : 1u << 16;
		out->data = realloc(out->data, out->cap);
		if (!out->data)
			abort();
	}
	memcpy(out->data + out->bytes, data, bytes);
	out->bytes += bytes;
	return (ssize_t)bytes;
}

void fuzz_output_open(struct fuzz_output *out)
{
	cookie_io_functions_t io = { .write = keep };

	*out = (struct fuzz_output){ 0 };
	keep(out, "", 0);
	out->stream = fopencookie(out, "w", io);
	if (!out->stream)
		abort();
}

void fuzz_output_begin(struct fuzz_output *out)
{
	fflush(out->stream);
	out->bytes = 0;
}

const char *fuzz_output_text(struct fuzz_output *out, size_t *bytes)
{
	fflush(out->stream);
	out->data[out->bytes] = '\0';
	*bytes = out->bytes;
	return out->data;
}

/* Written anew, and not the program's own function: what is wrong there must show here. */
static size_t sequence(const unsigned char *s, size_t left)
{
	uint32_t code;
	size_t n;

	if (s[0] < 0x80)
		return (s[0] >= ' ' && s[0] != 0x7f) || s[0] == '\n';
	n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc0 || s[0] >= 0xf8 || left < n)
		return 0;
	code = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < (n == 2 ? 0x80u : n == 3 ? 0x800u : 0x10000u) || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000) || (code >= 0x80 && code < 0xa0))
		return 0;
	/* What turns the direction of text around, or ends a line for some. */
	if (code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	    (code >= 0x2066 && code <= 0x2069))
		return 0;
	return n;
}

int fuzz_is_harmless(const char *text, size_t bytes)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < bytes;) {
		size_t n = sequence(s + i, bytes - i);

		if (n == 0) {
			fprintf(stderr, "# byte %zu of %zu: 0x%02x\n", i, bytes, s[i]);
			return 0;
		}
		i += n;
	}
	return 1;
}

int fuzz_is_json(const char *text, size_t bytes)
{
	json_error_t why;
	json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);

	if (!json) {
		fprintf(stderr, "# JSON: line %d, column %d: %s\n", why.line, why.column, why.text);
		return 0;
	}
	json_decref(json);
	return 1;
}

int fuzz_is_json_lines(const char *text, size_t bytes)
{
	const char *end = text + bytes;

	while (text < end) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));

		if (!stop || !fuzz_is_json(text, (size_t)(stop - text)))
			return 0;
		text = stop + 1;
	}
	return 1;
}
