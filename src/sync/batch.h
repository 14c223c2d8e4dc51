/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One batch: what is new in the segment, as binary arrays for one statement.
 *
 * Lives in: the syncer's process; its buffers grow to the largest batch and are reused.
 * The batch holds the net effect: a job that was accepted and finished since the last batch is one
 * outcome row and never a live one.
 */
#ifndef QB_SYNC_BATCH_H
#define QB_SYNC_BATCH_H

#include <stdint.h>

#include "pg/array.h"
#include "shm/event.h"
#include "shm/segment.h"
#include "sync/resolve.h"

#define QB_BATCH_JOBS_MAX 1000
#define QB_BATCH_EVENTS_MAX 2000
#define QB_BATCH_BYTES_MAX (512u * 1024)

/* Columns, in the order of the statement's parameters behind run, epoch and batch number. */
enum qb_batch_column {
	QB_COL_INS_ID, QB_COL_INS_STATE, QB_COL_INS_ATTEMPT, QB_COL_INS_FAILURES, QB_COL_INS_DUE, QB_COL_INS_TENANT,
	QB_COL_INS_KIND, QB_COL_INS_ERROR, QB_COL_INS_MAX, QB_COL_INS_EFFECT, QB_COL_INS_WORK, QB_COL_INS_PAYLOAD,
	QB_COL_INS_KEY,
	QB_COL_UPD_ID, QB_COL_UPD_STATE, QB_COL_UPD_ATTEMPT, QB_COL_UPD_FAILURES, QB_COL_UPD_DUE,
	QB_COL_OUT_ID, QB_COL_OUT_STATE, QB_COL_OUT_ATTEMPT, QB_COL_OUT_FAILURES, QB_COL_OUT_SEAT, QB_COL_OUT_RESULT,
	QB_COL_EV_SEAT, QB_COL_EV_SEQ, QB_COL_EV_TYPE, QB_COL_EV_AT, QB_COL_EV_JOB, QB_COL_EV_ATTEMPT, QB_COL_EV_SLOT,
	QB_COL_EV_KIND, QB_COL_EV_ERROR, QB_COL_EV_ARG0, QB_COL_EV_ARG1,
	QB_COL_COUNT,
};

struct qb_batch_job {
	uint32_t slot_idx;
	uint64_t word;          /* as it was read; what the batch makes durable */
};

struct qb_batch {
	const struct qb_seg *seg;
	struct qb_resolve *resolve;     /* who takes the jobs in doubt; NULL: they are stored as ambiguous */
	struct qb_event_source *source;         /* by seat */
	uint32_t *taken;                        /* events of each seat in this batch */
	struct qb_batch_job jobs[QB_BATCH_JOBS_MAX];
	uint32_t jobs_count, events_count;
	int is_cut;             /* the last gathering left something behind */
	int keeps;              /* --replicas: done does not free, see retain.h */
	int again;              /* set by the caller: rows may be there already, and in an older state */
	uint32_t events_new;    /* of events_count, those that were not known to be durable */
	uint32_t own_seat;
	uint32_t next_slot, next_seat;          /* where the next gathering begins: nobody starves */
	struct qb_pg_array col[QB_COL_COUNT];
	uint8_t *payload;
};

/* The words whose news is an outcome. */
static inline int qb_word_is_ended(uint64_t word)
{
	uint32_t state = qb_word_state(word);

	return state == QB_JOB_DONE || state == QB_JOB_FAILED || state == QB_JOB_DEAD;
}

int qb_batch_open(struct qb_batch *b, const struct qb_seg *seg, uint32_t own_seat);     /* 0 or -ENOMEM */
void qb_batch_close(struct qb_batch *b);

/* Is there news? Jobs count at once; events of others once there are that many. */
int qb_batch_wanted(struct qb_batch *b, uint32_t events_min);

/* Take up to a batch of news. Their dirty bits are cleared. Returns rows. */
uint32_t qb_batch_gather(struct qb_batch *b);

/* It did not commit, or nobody knows: put the dirty bits back, keep the events unread. */
void qb_batch_undo(struct qb_batch *b);

/*
 * It is durable: mark the jobs, free the finished ones, let the events go (unless it keeps), count outcomes in
 * mark_final. Returns jobs newly accepted.
 */
uint32_t qb_batch_done(struct qb_batch *b);

/* Where it keeps: read again the events that were not let go. */
void qb_batch_events_again(struct qb_batch *b);
/* Where it keeps: those before next[seat] may go. */
void qb_batch_events_release(struct qb_batch *b, const uint64_t *next);

#endif
