/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work of a run on a cache: what a worker does for a job, and the items that come of it.
 *
 * An item says of what address and run it is, and carries a check sum: whoever gets it can tell whether it is what was put.
 * Lives in: process memory of a worker, over the board, the store and the queue that the worker has open.
 */
#ifndef QB_RUN_CACHEWORK_H
#define QB_RUN_CACHEWORK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "queue/queue.h"
#include "shm/event.h"

struct qb_cachework;

/* By the environment: *out is NULL where the run is on no cache. 0 or negative. */
int qb_cachework_open(struct qb_cachework **out, struct qb_err *err);
void qb_cachework_close(struct qb_cachework *w);
/* The queue as it is open now; again after each opening. NULL: it is closed. 0 or negative. */
int qb_cachework_on(struct qb_cachework *w, const struct qb_queue_ops *ops, struct qb_queue *q, struct qb_err *err);

/* Has that job to stay where it is? w may be NULL. */
int qb_cachework_holds(const struct qb_cachework *w, const struct qb_queue_job *job);
/* Before the work. 1: the item is there, complete the job at once; 0; negative. */
int qb_cachework_found(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err);
/*
 * After it: the item is put, or the failure recorded; complete() or a final fail() has to follow. 0; of put 1: it could not be
 * stored; negative: the queue is broken.
 */
int qb_cachework_put(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err);
int qb_cachework_fail(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err);

/* Is that the item of that address, whole? */
int qb_cache_item_is_good(const void *data, size_t bytes, uint32_t address);

#endif
