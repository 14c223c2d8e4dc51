/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words and numbers: what is read is within its limits and, printed, reads back as the same; what is
 * shown is harmless, and as JSON valid.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/num.h"
#include "base/visible.h"
#include "shm/status.h"
#include "tests/fuzz/fuzz.h"
#include "tools/emit.h"

const char fuzz_name[] = "text";
const size_t fuzz_bytes_max = 256;
const uint64_t fuzz_runs = 1000000;

static void numbers(const char *text)
{
	const uint64_t untouched = 0x5a5a5a5a5a5a5a5aull;
	uint64_t v = untouched;
	double d = 0.5, again;
	char buf[64];

	/* Go's durations are signed. */
	if (qb_parse_duration(text, &v) == 0) {
		FUZZ_MUST(v <= INT64_MAX);
		FUZZ_MUST(strlen(qb_format_duration(buf, 24, v)) < 24);
	} else {
		FUZZ_MUST(v == untouched);
	}
	v = untouched;
	if (qb_parse_u64(text, &v) == 0) {
		const char *digits = text + strspn(text, "0");

		*qb_put_u64(buf, v) = '\0';
		FUZZ_MUST(!strcmp(buf, *digits ? digits : "0"));
	} else {
		FUZZ_MUST(v == untouched);
	}
	v = untouched;
	if (qb_parse_size(text, &v) == 0)
		FUZZ_MUST(strlen(qb_format_size(buf, 24, v)) < 24);
	else
		FUZZ_MUST(v == untouched);
	if (qb_parse_double(text, &d) == 0) {
		FUZZ_MUST(isfinite(d));
		*qb_put_double(buf, d < 0 ? 0 - d : d) = '\0';
		again = strtod(buf, NULL);
		FUZZ_MUST(again == fabs(d));
	} else {
		FUZZ_MUST(d == 0.5);
	}
}

static void words(const char *text)
{
	static const char *const list[] = { "duration", "rate", "worker", "steady_over", NULL };
	unsigned d = qb_edit_distance(text, "steady_over");
	struct qb_host h = { { 0 }, { 0 }, { 0 }, 0, 0, 0 };
	char line[256], key[32];

	FUZZ_MUST((d == 0) == !strcmp(text, "steady_over") && d == qb_edit_distance("steady_over", text));
	qb_nearest(text, list);
	snprintf(key, sizeof(key), "%.*s", (int)strcspn(text, "="), text);
	qb_host_take(&h, key, text + strcspn(text, "="));
	FUZZ_MUST(strlen(qb_host_line(&h, line, sizeof(line))) < sizeof(line));
}

static void shown(const char *text, size_t bytes)
{
	struct qb_strbuf sb = { 0 };
	char buf[QB_VISIBLE_BYTES(256)], small[16], json[6 * 256 + 2], *end;

	qb_visible_add(&sb, text, bytes);
	FUZZ_MUST(fuzz_is_harmless(qb_strbuf_text(&sb), sb.bytes) && !strchr(qb_strbuf_text(&sb), '\n'));
	FUZZ_MUST(!strcmp(qb_visible(buf, sizeof(buf), text), qb_strbuf_text(&sb)));
	FUZZ_MUST(strlen(qb_visible(small, sizeof(small), text)) < sizeof(small));
	FUZZ_MUST(!strncmp(small, qb_strbuf_text(&sb), strlen(small)));
	FUZZ_MUST(fuzz_is_harmless(small, strlen(small)));
	end = qb_put_json(json, text, bytes);
	FUZZ_MUST(end <= json + 6 * strlen(text) + 2 && fuzz_is_harmless(json, (size_t)(end - json)));
	FUZZ_MUST(json[0] == '"' && end[-1] == '"');
	qb_strbuf_free(&sb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char text[257];

	if (bytes > 256)
		bytes = 256;
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	numbers(text);
	if (bytes % 4 == 0)
		words(text);
	shown(text, bytes);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const texts[] = {
		"1m30s", "250ms", "1.5s", "2h", "0", "9223372036854775807ns", "9223372036.854775807s", "0.1us",
		"18446744073709551615", "18446744073709551616", "00007", "64k", "16M", "17179869183G", "1e308",
		"-0.0", "4.9e-324", "123456.789", "1e-7", "steady_ovre", "host name=x", "host cores=3",
		"\xc3\xa9t\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc2\x9b" "31m", "\x1b[31mred", "\xe2\x80\xae" "abc",
		"\xed\xa0\x80", "\xc0\x80", "\xf4\x90\x80\x80", "a\tb\nc\rd\x7f", "<b>&\"\\",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		fuzz_seed(texts[i], strlen(texts[i]));
}
