/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process as one River client: producer, executor and what runs beside them.  Private to river*.c.
 * The functions are those of struct qb_queue_ops for a consumer.
 *
 * Lives in: process memory.  Writers and readers: the worker's thread.
 * Crash: what it held stays "running" in the table.
 */
#ifndef QB_QUEUE_RIVER_WORKER_H
#define QB_QUEUE_RIVER_WORKER_H

#include "queue/river-tables.h"

struct qb_river_worker;

/* Connects, reports the queue, listens, starts the completer and the leader's threads. env and opt are copied. */
int qb_river_worker_open(const struct qb_queue_env *env, const struct qb_river_options *opt,
			 struct qb_river_worker **out, struct qb_err *err);
/* Gives back what was fetched and not begun, writes the last results. NULL is fine. */
void qb_river_worker_close(struct qb_river_worker *w);

int qb_river_worker_claim(struct qb_river_worker *w, unsigned lane, struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_start(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_effect(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_complete(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_fail(struct qb_river_worker *w, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
			 struct qb_err *err);
/* Tells those who wait for its run that the work is done, just before it is completed or fails. 0 or negative. */
int qb_river_worker_tell(struct qb_river_worker *w, const struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_release(struct qb_river_worker *w, struct qb_queue_job *job, struct qb_err *err);
int qb_river_worker_wait(struct qb_river_worker *w, uint64_t deadline_ns, int takes_jobs, struct qb_err *err);
/* A notification asked for the fetch that comes next. */
int qb_river_worker_woken(const struct qb_river_worker *w);

/* For tests. */
struct qb_river_control *qb_river_worker_control(struct qb_river_worker *w);
struct qb_river_completer *qb_river_worker_completer(struct qb_river_worker *w);

#endif
