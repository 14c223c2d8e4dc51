/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t read_ns(clockid_t id)
{
	struct timespec ts;

	/* Both clocks exist on every Linux; a failure here means memory is not what it seems. */
	if (clock_gettime(id, &ts))
		abort();
	return (uint64_t)ts.tv_sec * QB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t qb_now_ns(void)
{
	return read_ns(CLOCK_MONOTONIC);
}

uint64_t qb_wall_ns(void)
{
	return read_ns(CLOCK_REALTIME);
}

static struct timespec to_timespec(uint64_t ns)
{
	struct timespec ts;

	/* 64-bit seconds and 64-bit nanoseconds: the quotient always fits. */
	ts.tv_sec = (time_t)(ns / QB_NS_PER_S);
	ts.tv_nsec = (long)(ns % QB_NS_PER_S);
	return ts;
}

void qb_sleep_ns(uint64_t ns)
{
	uint64_t now = qb_now_ns();
	struct timespec until = to_timespec(ns > UINT64_MAX - now ? UINT64_MAX : now + ns);

	/* Absolute, so that a storm of signals cannot stretch the sleep. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

void qb_sleep_until_ns(uint64_t t_ns)
{
	struct timespec until = to_timespec(t_ns);

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

int qb_format_rfc3339(char *buf, uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / QB_NS_PER_S);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm))
		abort();
	/* The modulo tells the compiler that the year of a 64-bit count of ns has four digits. */
	return snprintf(buf, 36, "%04u-%02u-%02uT%02u:%02u:%02u.%09uZ",
			(unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
			(unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u,
			(unsigned)tm.tm_min % 100u, (unsigned)tm.tm_sec % 100u,
			(unsigned)(wall_ns % QB_NS_PER_S));
}
