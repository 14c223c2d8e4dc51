/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/status.h"

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits at *text, advanced behind them. QB_EPARSE when there is none or they exceed max. */
static int take_digits(const char **text, uint64_t max, uint64_t *out)
{
	const char *p = *text;
	uint64_t value = 0;

	if (!is_digit(*p))
		return QB_EPARSE;
	for (; is_digit(*p); p++) {
		uint64_t digit = (uint64_t)(*p - '0');

		if (value > (max - digit) / 10)
			return QB_EPARSE;
		value = value * 10 + digit;
	}
	*text = p;
	*out = value;
	return 0;
}

int qb_parse_u64(const char *text, uint64_t *out)
{
	uint64_t value;

	if (take_digits(&text, UINT64_MAX, &value) || *text)
		return QB_EPARSE;
	*out = value;
	return 0;
}

/* The unit at *text, advanced behind it; 0 when there is none. The longer names come first. */
static uint64_t take_unit(const char **text)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", QB_NS_PER_US },
		{ "\xC2\xB5s", QB_NS_PER_US },  /* micro sign */
		{ "\xCE\xBCs", QB_NS_PER_US },  /* Greek letter mu */
		{ "ms", QB_NS_PER_MS },
		{ "s", QB_NS_PER_S },
		{ "m", 60 * QB_NS_PER_S },
		{ "h", 3600 * QB_NS_PER_S },
	};
	size_t i;

	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(units[i].name);

		if (!strncmp(*text, units[i].name, len)) {
			*text += len;
			return units[i].ns;
		}
	}
	return 0;
}

/* ".5" as numerator and power of ten; digits that are far below 1 ns of an hour are dropped. */
static const char *take_fraction(const char *p, uint64_t *numerator, uint64_t *scale)
{
	*numerator = 0;
	*scale = 1;
	for (; is_digit(*p); p++) {
		if (*scale >= 1000000000000000000u)
			continue;
		*numerator = *numerator * 10 + (uint64_t)(*p - '0');
		*scale *= 10;
	}
	return p;
}

int qb_parse_duration(const char *text, uint64_t *ns)
{
	/* As Go: a signed 64-bit count, so that differences of durations are safe everywhere. */
	const unsigned __int128 max = INT64_MAX;
	unsigned __int128 total = 0;
	const char *p = text;

	if (!strcmp(text, "0")) {
		*ns = 0;
		return 0;
	}
	if (!*p)
		return QB_EPARSE;
	while (*p) {
		uint64_t whole = 0, numerator = 0, scale = 1, unit;
		int digits = is_digit(*p);

		if (digits && take_digits(&p, INT64_MAX, &whole))
			return QB_EPARSE;
		if (*p == '.') {
			digits |= is_digit(p[1]);
			p = take_fraction(p + 1, &numerator, &scale);
		}
		unit = take_unit(&p);
		if (!digits || !unit)
			return QB_EPARSE;
		total += (unsigned __int128)whole * unit;
		total += (unsigned __int128)numerator * unit / scale;
		if (total > max)
			return QB_EPARSE;
	}
	*ns = (uint64_t)total;
	return 0;
}

int qb_parse_size(const char *text, uint64_t *bytes)
{
	unsigned shift = 0;
	uint64_t value;

	if (take_digits(&text, UINT64_MAX, &value))
		return QB_EPARSE;
	switch (*text) {
	case 'k': case 'K': shift = 10; break;
	case 'm': case 'M': shift = 20; break;
	case 'g': case 'G': shift = 30; break;
	}
	if (shift)
		text++;
	if (*text || value > UINT64_MAX >> shift)
		return QB_EPARSE;
	*bytes = value << shift;
	return 0;
}

int qb_parse_double(const char *text, double *out)
{
	double value;
	char *end;

	/* strtod would also take spaces, hexadecimal, "inf" and "nan". */
	if (!*text || text[strspn(text, "0123456789.eE+-")])
		return QB_EPARSE;
	value = strtod(text, &end);
	if (end == text || *end || !isfinite(value))
		return QB_EPARSE;
	*out = value;
	return 0;
}

/* Three significant digits. */
static void format_scaled(char *buf, size_t cap, double value, const char *unit)
{
	int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;

	snprintf(buf, cap, "%.*f %s", decimals, value, unit);
}

const char *qb_format_duration(char *buf, size_t cap, uint64_t ns)
{
	uint64_t s = ns / QB_NS_PER_S + (ns % QB_NS_PER_S >= QB_NS_PER_S / 2);

	/* The steps are where rounding to three digits would reach 1000 of the smaller unit. */
	if (ns < QB_NS_PER_US)
		snprintf(buf, cap, "%u ns", (unsigned)ns);
	else if (ns < 999500)
		format_scaled(buf, cap, (double)ns / 1e3, "us");
	else if (ns < 999500000)
		format_scaled(buf, cap, (double)ns / 1e6, "ms");
	else if (s < 600)
		format_scaled(buf, cap, (double)ns / 1e9, "s");
	else if (s < 3600)
		snprintf(buf, cap, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
	else
		snprintf(buf, cap, "%lluh%02um", (unsigned long long)(s / 3600),
			 (unsigned)(s / 60 % 60));
	return buf;
}

const char *qb_format_size(char *buf, size_t cap, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1023.5 && unit < 6) {
		value /= 1024;
		unit++;
	}
	if (!(bytes & ((1ull << (10 * unit)) - 1)))
		snprintf(buf, cap, "%u %s", (unsigned)(bytes >> (10 * unit)), units[unit]);
	else
		format_scaled(buf, cap, value, units[unit]);
	return buf;
}

#define WORD_MAX 64

unsigned qb_edit_distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *before = rows[0], *prev = rows[1], *cur = rows[2];
	size_t na = strlen(a), nb = strlen(b), i, j;

	/* Nobody is helped by a suggestion for a longer word: call it entirely different. */
	if (na > WORD_MAX || nb > WORD_MAX)
		return (unsigned)(na > nb ? na : nb);
	for (j = 0; j <= nb; j++)
		prev[j] = (unsigned)j;
	for (i = 1; i <= na; i++) {
		unsigned *spare = before;

		cur[0] = (unsigned)i;
		for (j = 1; j <= nb; j++) {
			unsigned best = prev[j - 1] + (a[i - 1] != b[j - 1]);

			if (prev[j] + 1 < best)
				best = prev[j] + 1;
			if (cur[j - 1] + 1 < best)
				best = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			cur[j] = best;
		}
		before = prev;
		prev = cur;
		cur = spare;
	}
	return prev[nb];
}

const char *qb_nearest(const char *word, const char *const *list)
{
	const char *best = NULL;
	unsigned best_distance = 0;

	for (; *list; list++) {
		size_t len = strlen(word) > strlen(*list) ? strlen(word) : strlen(*list);
		unsigned distance = qb_edit_distance(word, *list);

		if (distance > len / 3 || (best && distance >= best_distance))
			continue;
		best = *list;
		best_distance = distance;
	}
	return best;
}
