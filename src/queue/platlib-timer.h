/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retries that wait in the memory of a worker, as the original's goroutines do.  Private to platlib.
 *
 * Lives in: the process of the worker; they outlive a handle that is opened again after its connection was lost, and
 * nothing else.  How many there are is told to the driver by two counters of the seat, or a run would end before
 * they are due.
 * Crash: gone.
 */
#ifndef QB_QUEUE_PLATLIB_TIMER_H
#define QB_QUEUE_PLATLIB_TIMER_H

#include "queue/platlib-inside.h"

struct qb_platlib_timer {
	uint64_t due_ns;
	int64_t type;
	struct qb_strbuf item;
};

struct qb_platlib_timers {
	const struct qb_seg *seg;
	uint32_t seat;
	struct qb_platlib_timer *timer;
	size_t count, cap;
};

/* Those of an earlier handle of this process and seat are there again. */
void qb_platlib_timers_open(struct qb_platlib_timers *t, const struct qb_seg *seg, uint32_t seat);
void qb_platlib_timers_close(struct qb_platlib_timers *t);
/* Takes the item. */
void qb_platlib_timers_add(struct qb_platlib_timers *t, uint64_t due_ns, int64_t type, struct qb_strbuf *item);
/* When the next one is due; 0: none. */
uint64_t qb_platlib_timers_next_ns(const struct qb_platlib_timers *t);
/* Pushes those that are due. One whose push fails is gone, as there. 0, or negative when the connection is lost. */
int qb_platlib_timers_fire(struct qb_platlib_timers *t, PGconn *conn, const struct qb_platlib_settings *s,
			   struct qb_err *err);
/* Driver: how many there are in all processes of the run that live. */
uint64_t qb_platlib_timers_count(const struct qb_seg *seg);

#endif
