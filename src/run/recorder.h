/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recorder: copies every event ring into the run's record and lets the rings go on.
 *
 * Lives in: the driver.  What it has not copied yet is still in the segment, so a killed driver
 * loses nothing that decode-events, given both files, would not find.
 */
#ifndef QB_RUN_RECORDER_H
#define QB_RUN_RECORDER_H

#include "base/err.h"
#include "record/writer.h"
#include "shm/event.h"
#include "shm/segment.h"

struct qb_recorder {
	struct qb_seg *seg;
	struct qb_record_writer *w;
	struct qb_event_source *source;         /* by seat */
	uint64_t events;                        /* copied so far */
	uint64_t tally[QB_EV_TYPE_COUNT];       /* of them, by type */
	uint64_t clock_at_ns;
	/* Who else wants to see each event as it is copied; may be NULL. */
	void (*watch)(void *ctx, const struct qb_event_shm *ev);
	void *watch_ctx;
};

/* Creates path and writes the description. 0 or negative with err. */
int qb_recorder_open(struct qb_recorder *r, struct qb_seg *seg, const char *path, const struct qb_meta *meta,
		     struct qb_err *err);

/* Copy what is there now. Called every few milliseconds; also keeps the clock triples fresh. */
int qb_recorder_poll(struct qb_recorder *r, struct qb_err *err);

/* Copy the rest, write the end, close. r is empty afterwards whatever it returns. */
int qb_recorder_close(struct qb_recorder *r, const struct qb_record_counter *counters, size_t count,
		      struct qb_err *err);

#endif
