/* SPDX-License-Identifier: Apache-2.0 */
/* The few lines of TAP that a C program needs to be listed test by test. */
#ifndef QB_TESTS_CRASH_TAP_H
#define QB_TESTS_CRASH_TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Instrumented code is 5 to 20 times as slow: the explorers then try less. */
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static int tap_count, tap_failed;
static unsigned tap_lost, tap_silent, tap_wrong;

static inline void __attribute__((format(printf, 1, 2))) tap_note(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static inline int __attribute__((format(printf, 2, 3))) tap_ok(int good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	tap_failed += !good;
	return good;
}

static inline void __attribute__((noreturn, format(printf, 1, 2))) tap_skip_all(const char *fmt, ...)
{
	va_list ap;

	fputs("1..0 # SKIP ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(0);
}

/* QB_CRASH_FACTOR: how many times as much is tried. */
static inline unsigned tap_factor(void)
{
	const char *f = getenv("QB_CRASH_FACTOR");
	unsigned long n = f ? strtoul(f, NULL, 10) : 1;

	return n < 1 ? 1 : n > 100000 ? 100000 : (unsigned)n;
}

/* QB_CRASH_MINUTES: how long a program may take; 0 = until it has tried everything. */
static inline unsigned tap_minutes(void)
{
	const char *m = getenv("QB_CRASH_MINUTES");
	unsigned long n = m ? strtoul(m, NULL, 10) : 0;

	return n > 100000 ? 100000 : (unsigned)n;
}

/* What kind of failure that was. */
static inline void tap_blame(const char *why)
{
	if (strstr(why, "lost") || strstr(why, "nobody will"))
		tap_lost++;
	else if (strstr(why, "twice") || strstr(why, "doubled") || strstr(why, "silent"))
		tap_silent++;
	else
		tap_wrong++;
}

/* The figures of this program in one line, for tests/crash/figures.sh. */
static inline void __attribute__((format(printf, 1, 2))) tap_figures(const char *fmt, ...)
{
	va_list ap;

	fputs("# figures: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" lost=%u silent=%u wrong=%u\n", tap_lost, tap_silent, tap_wrong);
	fflush(stdout);
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
