/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers: threads of several processes that ask a cache, each with a seat, a queue and a cache of its own.
 *
 * The processes are children of the driver, forked; a store and a layer of memory belong to each.  Each caller writes its
 * requests and their answers into its own event ring.  They die with the driver.  None is ever a victim.
 */
#ifndef QB_RUN_CALLERS_H
#define QB_RUN_CALLERS_H

#include <stdint.h>

#include "base/err.h"
#include "queue/queue.h"
#include "run/board.h"
#include "run/children.h"
#include "workload/plan.h"

struct qb_callers {
	const struct qb_seg *seg;
	const struct qb_queue_ops *ops;
	struct qb_queue_env env;        /* the driver's; each has its seat put in */
	const struct qb_plan *plan;
	struct qb_board *board;         /* its set says how many callers there are */
	uint32_t processes;
	uint16_t max_attempts, effect_class;
	struct qb_child *process;
	uint32_t process_count;
	uint32_t *seat;                 /* of each caller, by its number */
	uint32_t seat_count;
};

/* Fork them all; qb_board_ready() tells when they are there. 0, or negative with err; stop them in any case. */
int qb_callers_start(struct qb_callers *c, struct qb_err *err);
/* 0, or QB_ECHILD with err when one has died. */
int qb_callers_check(const struct qb_callers *c, struct qb_err *err);
/* They leave, or are killed when they take too long; their seats are free afterwards. Zeros are fine. */
void qb_callers_stop(struct qb_callers *c);

#endif
