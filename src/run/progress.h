/* SPDX-License-Identifier: Apache-2.0 */
/* The live line on a terminal; nothing on anything else. */
#ifndef QB_RUN_PROGRESS_H
#define QB_RUN_PROGRESS_H

#include <stdint.h>

#include "shm/segment.h"

struct qb_progress {
	int on;
	int drawn;              /* a line stands there now */
	uint64_t at_ns;
	const char *label;      /* "shm crash_recovery" */
};

struct qb_progress_numbers {
	uint64_t elapsed_ns, planned, submitted, acknowledged, completed, failed, kills, kills_planned;
	const char *phase;      /* "load", "drain" */
};

void qb_progress_open(struct qb_progress *p, const char *label, int quiet);
/* At most five times a second. */
void qb_progress_show(struct qb_progress *p, const struct qb_seg *seg, const struct qb_progress_numbers *n);
/* Takes the line away. */
void qb_progress_clear(struct qb_progress *p);

#endif
