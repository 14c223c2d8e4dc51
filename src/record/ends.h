/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found out at the end of a run and is in no event: what the queue said of each job, the
 * effect words, when the watch ended.
 *
 * Lives in: the record, as blocks of the type QB_RECORD_ENDS, written once after the drain, before
 * the end block.  With it a report can be made again from the record alone.
 * Crash: a kill of the driver before it leaves a record without; then nobody knows what became of
 * the unfinished jobs, and the report says so.
 */
#ifndef QB_RECORD_ENDS_H
#define QB_RECORD_ENDS_H

#include <stdint.h>

#include "base/err.h"
#include "base/outcome.h"
#include "record/dbload.h"
#include "record/writer.h"

#define QB_ENDS_JOBS_MAX (1u << 24)

/* What the queue said of one job at the end, and its effect word. */
struct qb_job_end {
	uint64_t job_id;
	uint8_t outcome;                /* enum qb_outcome */
	uint8_t pad[3];
	uint32_t effects;
	uint32_t attempt;
	uint32_t pad1;
};

struct qb_ends {
	uint64_t jobs_count;            /* planned */
	uint64_t effects_count;         /* job ids 1..this have an effect word; 0: all have */
	uint64_t watch_end_ns;          /* monotonic */
	uint64_t reports_ambiguity;     /* 1: the queue tells which jobs are ambiguous */
	uint64_t parks;                 /* 1: ambiguous jobs are parked, never run again */
	uint64_t resolves;              /* 1: Postgres is asked about them, none stays ambiguous */
	struct qb_db_load load;         /* what is missing in the record is not known */
	uint64_t leased;                /* 1: jobs of the dead come back by a time-out, or never */
	uint64_t may_lose;              /* 1: a kill can take what the queue kept in memory */
	uint64_t forgets;               /* 1: what is finished is deleted from the queue */
	struct qb_job_end *jobs;        /* jobs_count of them, by job_id - 1; malloc'ed when loaded */
};

/* 0, QB_ETOOBIG (more than QB_ENDS_JOBS_MAX jobs) or -errno. */
int qb_record_ends(struct qb_record_writer *w, const struct qb_ends *ends, struct qb_err *err);

/*
 * From a record. 0 (free with qb_ends_free), -ENOENT when it has none or not for every job (err
 * says how many), QB_ECORRUPT, or the errors of qb_record_open().
 */
int qb_ends_load(const char *path, struct qb_ends *ends, struct qb_err *err);
void qb_ends_free(struct qb_ends *ends);

#endif
