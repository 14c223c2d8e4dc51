/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of load: pieces of the seats' logs, put into one order. */
#ifndef QB_RECORD_MERGE_H
#define QB_RECORD_MERGE_H

#include "record/load.h"

/* Events of one seat that follow one another in memory and in number. */
struct qb_run {
	struct qb_event_shm *events;    /* private copy; merging uses their seq words as scratch */
	uint64_t first_seq;
	uint32_t count;
	uint32_t seat;
};

struct qb_runs {
	struct qb_run *all;
	size_t count, cap;
	uint64_t events_count;
};

void qb_runs_add(struct qb_runs *runs, uint32_t seat, uint64_t first_seq,
		 struct qb_event_shm *events, uint32_t count);

/*
 * Fills events, seat_last_seq, job_id_max and the counts of t from the runs; its clock triples must
 * be set. 0 or -ENOMEM.
 */
int qb_runs_merge(struct qb_runs *runs, struct qb_trace *t);

/*
 * Memory for many events: mapped, in huge pages where the system grants them, because on some
 * machines each first touch of a small page costs more than the work on all that is in it.
 */
void *qb_big_alloc(size_t bytes);       /* NULL when there is none */
void qb_big_free(void *p, size_t bytes);

#endif
