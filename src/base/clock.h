/* SPDX-License-Identifier: Apache-2.0 */
/* The only place above shm/ that reads a clock. All times are nanoseconds. */
#ifndef QB_BASE_CLOCK_H
#define QB_BASE_CLOCK_H

#include <stdint.h>

#define QB_NS_PER_US 1000ull
#define QB_NS_PER_MS 1000000ull
#define QB_NS_PER_S 1000000000ull

uint64_t qb_now_ns(void);               /* CLOCK_MONOTONIC */
uint64_t qb_wall_ns(void);              /* CLOCK_REALTIME, since the epoch */
void qb_sleep_ns(uint64_t ns);          /* continues after a signal */
void qb_sleep_until_ns(uint64_t t_ns);  /* CLOCK_MONOTONIC instant; returns early on a signal */

/* RFC 3339 in UTC with nine fractional digits and Z; buf of at least 36 bytes. Returns its length. */
int qb_format_rfc3339(char *buf, uint64_t wall_ns);

#endif
