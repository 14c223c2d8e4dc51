/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole run in memory, in the order in which it happened: from its record, from the segment that
 * survived it, or from both together.
 *
 * Lives in: private memory; nothing here points into the files.
 * Order: by time, but never against the sequence of one seat, and no job starts before it was
 * submitted.  Stamps alone do not give that (see shm/clock.h); where one contradicts, the later
 * event's time is moved up.
 */
#ifndef QB_RECORD_LOAD_H
#define QB_RECORD_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "record/meta.h"
#include "record/writer.h"
#include "shm/clock.h"
#include "shm/layout.h"

#define QB_TRACE_COUNTERS_MAX 64

struct qb_trace_event {
	uint64_t t_ns;                  /* CLOCK_MONOTONIC of the machine that ran it */
	struct qb_event_shm ev;         /* as it was written; seat is 1..QB_SEAT_MAX */
};

/* What is not here that once was, and why. */
struct qb_trace_damage {
	uint32_t skipped_count;         /* damaged places in the middle of records */
	uint64_t skipped_bytes;
	uint64_t tail_bytes;            /* torn or corrupt ends of records */
	uint64_t bad_count;             /* blocks or events of a right sum and impossible values */
	uint64_t missing_count;         /* numbers below the last of their seat, found nowhere */
	uint64_t unread_count;          /* slots of a segment that were half written */
};

struct qb_trace {
	struct qb_meta meta;            /* of what was found, see has_meta */
	int has_meta;                   /* 0: run_id and what a segment's configuration tells */
	int has_record, has_segment;    /* what it was read from */
	int ended;                      /* an orderly end was seen */
	int clock_rough;                /* fewer than two clock triples: distances may be off */

	struct qb_clock_triple clock_first, clock_last;
	uint32_t clock_mode;            /* enum qb_clock_mode, 0 = unknown */

	struct qb_trace_event *events;
	size_t events_count;
	uint64_t duplicates_count;      /* events found more than once, kept once */
	uint64_t dropped_count;         /* that the writers counted as not written: ring full */
	struct qb_trace_damage damage;

	uint64_t seat_last_seq[QB_SEAT_MAX + 1];
	uint8_t seat_role[QB_SEAT_MAX + 1];     /* enum qb_role, the last known */

	struct qb_record_counter counters[QB_TRACE_COUNTERS_MAX];       /* of the END block */
	uint32_t counters_count;

	size_t events_bytes;            /* of the mapping, for qb_trace_free() */
	uint64_t job_id_max;            /* over the events about jobs */
};

/*
 * paths: records and segments of one run, in any order; which is which is seen by their first
 * bytes.  Segments are only read, alive or dead.
 * 0 (free with qb_trace_free; damage is in t->damage, and no events is not an error); QB_EUSAGE:
 * the files are of different runs; QB_EMAGIC: neither record nor segment; QB_EVERSION, QB_EENDIAN,
 * QB_EFINGERPRINT and the other codes of qb_seg_snapshot(); -errno.
 */
int qb_trace_load_files(const char *const *paths, size_t count, struct qb_trace *t,
			struct qb_err *err);
int qb_trace_load(const char *path, struct qb_trace *t, struct qb_err *err);

void qb_trace_free(struct qb_trace *t);

/* The wall clock at the start plus the monotonic distance; later steps of it are not in it. */
static inline uint64_t qb_trace_wall_ns(const struct qb_trace *t, uint64_t t_ns)
{
	return t->clock_first.wall_ns + (t_ns - t->clock_first.mono_ns);
}

/* A counter of the END block; 0 and *value, or -ENOENT. */
int qb_trace_counter(const struct qb_trace *t, const char *name, uint64_t *value);

/* Is the event about a job (job_id names one), and not about a process, a batch or a kill? */
static inline int qb_event_is_job(const struct qb_event_shm *ev)
{
	return ev->job_id != 0 && ev->type >= QB_EV_JOB_SUBMITTED &&
	       ev->type <= QB_EV_JOB_AMBIGUOUS;
}

#endif
