/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

uint32_t qb_clock_mode_now = QB_CLOCK_MONOTONIC;

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

uint64_t qb_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t qb_realtime_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

uint32_t qb_clock_best_mode(void)
{
	uint32_t mode = QB_CLOCK_MONOTONIC;

	if (!QB_HAVE_TSC)
		return mode;
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];

	if (!f)
		return mode;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		if (strstr(line, " constant_tsc") && strstr(line, " nonstop_tsc"))
			mode = QB_CLOCK_TSC;
		break;
	}
	fclose(f);
	return mode;
}

void qb_clock_read_triple(struct qb_clock_triple *out)
{
	uint64_t best = UINT64_MAX;

	/* A preempted reading pairs clocks from different moments; the shortest bracket is the best pair. */
	for (int i = 0; i < 5; i++) {
		uint64_t before = qb_mono_ns();
		uint64_t raw = qb_stamp();
		uint64_t wall = qb_realtime_ns();
		uint64_t after = qb_mono_ns();

		if (after - before < best) {
			best = after - before;
			out->raw = raw;
			out->mono_ns = before + (after - before) / 2;
			out->wall_ns = wall;
		}
	}
}

static uint64_t along(uint64_t raw0, uint64_t ns0, uint64_t raw1, uint64_t ns1, uint64_t raw)
{
	__extension__ typedef __int128 wide;

	if (raw1 <= raw0 || ns1 < ns0)
		return ns0 + (raw - raw0);
	wide ns = (wide)(int64_t)(raw - raw0) * (wide)(ns1 - ns0) / (wide)(raw1 - raw0);

	return (uint64_t)((wide)ns0 + ns);
}

uint64_t qb_clock_to_mono_ns(const struct qb_clock_triple *first, const struct qb_clock_triple *last,
			     uint64_t raw)
{
	return along(first->raw, first->mono_ns, last->raw, last->mono_ns, raw);
}

uint64_t qb_clock_to_wall_ns(const struct qb_clock_triple *first, const struct qb_clock_triple *last,
			     uint64_t raw)
{
	/* The wall clock may be stepped; the monotonic one carries the distance. */
	return first->wall_ns + (qb_clock_to_mono_ns(first, last, raw) - first->mono_ns);
}
