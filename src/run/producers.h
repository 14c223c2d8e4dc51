/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Producers: processes that enqueue at the same time, each with a queue of its own that it opened by itself.
 *
 * Children of the driver, forked, on seats of the role "tool"; each writes its requests and their answers into its
 * own event ring.  They die with the driver.  None is ever a victim.
 */
#ifndef QB_RUN_PRODUCERS_H
#define QB_RUN_PRODUCERS_H

#include <stdint.h>

#include "base/err.h"
#include "queue/queue.h"
#include "run/children.h"
#include "run/gate.h"
#include "workload/plan.h"

struct qb_producers {
	const struct qb_seg *seg;
	const struct qb_queue_ops *ops;
	struct qb_queue_env env;        /* the driver's; each has its seat put in */
	const struct qb_plan *plan;
	struct qb_gate *gate;           /* its set says how many there are */
	uint16_t max_attempts, effect_class;
	struct qb_child *process;
	uint32_t *seat;                 /* of each */
	uint32_t count;
};

/* Fork them all; qb_gate_ready() tells when they are there. 0, or negative with err; stop them in any case. */
int qb_producers_start(struct qb_producers *p, struct qb_err *err);
/* 0, or QB_ECHILD with err when one has died. */
int qb_producers_check(const struct qb_producers *p, struct qb_err *err);
/* They leave, or are killed when they take too long; their seats are free afterwards. Zeros are fine. */
void qb_producers_stop(struct qb_producers *p);

#endif
