/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time stamps of events: cheap raw ticks, converted when they are read.
 *
 * Where the processor has a constant, never-stopping TSC a stamp is one rdtsc (11 ns here
 * against 27 ns for clock_gettime); elsewhere it is CLOCK_MONOTONIC in nanoseconds.  The header
 * of the segment says which (enum qb_clock_mode) and holds {raw, monotonic, wall} triples to
 * convert by.  Stamps order nothing: bare rdtsc was seen 180 ns "backwards" between cores, so
 * order is (ring, sequence) and causal links.
 */
#ifndef QB_SHM_CLOCK_H
#define QB_SHM_CLOCK_H

#include <stdint.h>

#if defined(__x86_64__)
#define QB_HAVE_TSC 1
#else
#define QB_HAVE_TSC 0
#endif

enum qb_clock_mode { QB_CLOCK_MONOTONIC = 1, QB_CLOCK_TSC = 2 };

/* Mode of this process; qb_seg_create() and qb_seg_attach() set it from the segment. */
extern uint32_t qb_clock_mode_now;

uint64_t qb_mono_ns(void);              /* CLOCK_MONOTONIC */
uint64_t qb_realtime_ns(void);          /* CLOCK_REALTIME */

/* QB_CLOCK_TSC where /proc/cpuinfo lists constant_tsc and nonstop_tsc, else QB_CLOCK_MONOTONIC. */
uint32_t qb_clock_best_mode(void);

static inline uint64_t qb_stamp(void)
{
#if QB_HAVE_TSC
	if (__builtin_expect(qb_clock_mode_now == QB_CLOCK_TSC, 1))
		return __builtin_ia32_rdtsc();
#endif
	return qb_mono_ns();
}

struct qb_clock_triple {
	uint64_t raw;           /* as qb_stamp() gives it */
	uint64_t mono_ns;
	uint64_t wall_ns;
};

/* The three clocks read together; the tightest of a few tries. */
void qb_clock_read_triple(struct qb_clock_triple *out);

/*
 * Converts by the line through two triples (raw ticks differ) or, with equal ones, 1 tick = 1 ns.
 * Works for stamps before and after the two.
 */
uint64_t qb_clock_to_mono_ns(const struct qb_clock_triple *first, const struct qb_clock_triple *last,
			     uint64_t raw);
uint64_t qb_clock_to_wall_ns(const struct qb_clock_triple *first, const struct qb_clock_triple *last,
			     uint64_t raw);

#endif
