/* SPDX-License-Identifier: Apache-2.0 */
/* Addressed work of the shm queue: push and await of queue/address.h, on what shm.c has opened. */
#ifndef QB_QUEUE_SHM_ADDRESS_H
#define QB_QUEUE_SHM_ADDRESS_H

#include "queue/queue.h"

int qb_shm_address_push(const struct qb_queue_env *env, const struct qb_submit *job, const char *address,
			struct qb_queue_ticket *ticket, struct qb_address_run *run, struct qb_err *err);
int qb_shm_address_await(const struct qb_queue_env *env, const struct qb_address_run *run, uint64_t deadline_ns,
			 struct qb_address_end *end);

#endif
