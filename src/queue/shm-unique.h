/* SPDX-License-Identifier: Apache-2.0 */
/* Unique keys of the shm queue: from the bytes of a key to the hash by which the segment knows it. */
#ifndef QB_QUEUE_SHM_UNIQUE_H
#define QB_QUEUE_SHM_UNIQUE_H

#include <stddef.h>

#include "queue/queue.h"

/*
 * The first 128 bits of the SHA-256 of those bytes, big-endian; never 0. 0, or negative with err set. Two keys with
 * one hash would count as one; nobody has found two with one SHA-256, and of honest keys it takes 2^64.
 */
int qb_shm_key_of(const void *bytes, size_t n, struct qb_key *key, struct qb_err *err);

/*
 * As qb_queue_ops.enqueue_unique, by several processes at once, each with a seat of its own. The ticket of a job that is
 * refused is that of the holder: qb_job_is_durable() then says whether that one is durable.
 */
int qb_shm_enqueue_unique(const struct qb_queue_env *env, const struct qb_submit *job, const char *key,
			  struct qb_queue_ticket *ticket, struct qb_err *err);
/* And of one that is refused *holder_id is the id of the holder's job; 0: it has ended meanwhile. */
int qb_shm_submit_unique(const struct qb_queue_env *env, const struct qb_submit *job, const char *key,
			 struct qb_queue_ticket *ticket, uint64_t *holder_id, struct qb_err *err);

#endif
