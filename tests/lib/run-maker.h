/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run that never happened, for tests: seats, jobs, failures, kills and what follows from them, in
 * simulated time, as the engine would have logged it.  The same settings give the same events.
 */
#ifndef QB_TESTS_RUN_MAKER_H
#define QB_TESTS_RUN_MAKER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "record/meta.h"
#include "shm/layout.h"

#define QB_MAKER_SEATS 64
#define QB_MAKER_LANES_MAX 256          /* workers * slots */
enum { QB_MAKER_DRIVER = 1, QB_MAKER_PARENT = 2, QB_MAKER_SYNCER = 3, QB_MAKER_WORKER = 4 };

struct qb_maker_settings {
	uint32_t jobs, workers, slots, kills;   /* slots: concurrent jobs of a worker */
	uint64_t interval_ns;           /* between submissions */
	uint64_t work_ns;
	uint32_t unacknowledged;        /* the last so many were not acknowledged when it ended */
	int cache;                      /* each end of a job is also work for a cache, and a request's answer */
	uint64_t seed;
	const char *run_id;
};

struct qb_maker_log {
	struct qb_event_shm *events;
	size_t count, cap, written;
};

struct qb_maker {
	struct qb_maker_settings set;
	struct qb_maker_log logs[QB_MAKER_SEATS];
	uint64_t end_ns;                /* since the start */
	uint64_t enqueued, completed, failed, discarded, requeued, ambiguous, killed;
};

/* What simulated time is in raw stamps (two ticks a nanosecond) and on the clocks. */
#define QB_MAKER_RAW0 1000000000ull
#define QB_MAKER_MONO0 5000000000ull
#define QB_MAKER_WALL0 1764000000123456789ull

void qb_maker_defaults(struct qb_maker_settings *set);
void qb_maker_run(struct qb_maker *m, const struct qb_maker_settings *set);
void qb_maker_meta(const struct qb_maker *m, struct qb_meta *meta);
void qb_maker_free(struct qb_maker *m);

/* Appends one event of a seat at a simulated time; the rest of it is the caller's to fill. */
struct qb_event_shm *qb_maker_event(struct qb_maker *m, uint32_t seat, uint64_t t_ns,
				    uint32_t type);

/* As the driver's recorder writes it: what came in every slice_ns, by seat. end: with an END. */
int qb_maker_write_record(struct qb_maker *m, const char *path, uint64_t slice_ns, int end,
			  struct qb_err *err);

/*
 * As the processes leave it behind: rings of event_count records with the newest in them. torn: the
 * newest record of each worker is half written.
 */
int qb_maker_write_segment(struct qb_maker *m, const char *path, uint32_t event_count, int torn,
			   struct qb_err *err);

#endif
