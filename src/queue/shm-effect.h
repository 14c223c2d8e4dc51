/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Effects of a shm worker that are made in Postgres (cfg.ledger), over a connection of the worker's own.
 *
 * Lives in: one worker process.  It blocks while Postgres is away, until the segment says QB_STOP_NOW: a job
 * whose effect cannot be made now is not given up.
 */
#ifndef QB_QUEUE_SHM_EFFECT_H
#define QB_QUEUE_SHM_EFFECT_H

#include "queue/queue.h"

struct qb_shm_effects;

/* Connects. 0 and *out, or negative. */
int qb_shm_effects_open(const struct qb_queue_env *env, struct qb_shm_effects **out, struct qb_err *err);
void qb_shm_effects_close(struct qb_shm_effects *e);

/* As qb_queue_ops.effect. */
int qb_shm_effects_make(struct qb_shm_effects *e, struct qb_queue_job *job, const void *result, uint32_t bytes,
			struct qb_err *err);

/*
 * What to complete the job with: the given result, unless its effect had happened before, in an attempt whose
 * outcome got lost; then the one that was marked with it, valid until the lane's next effect.
 */
const void *qb_shm_effects_result(const struct qb_shm_effects *e, const struct qb_queue_job *job, const void *result,
				  uint32_t *bytes);

#endif
