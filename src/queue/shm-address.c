/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addressed work on the segment: an address is a unique key, who joins sleeps on the futex of the job that has it.
 * Failures are the cache's to keep.
 */
#include "queue/shm-address.h"

#include "base/clock.h"
#include "queue/shm-unique.h"
#include "shm/join.h"

/* A waiter looks this often whether everybody is to leave. */
#define SLICE_NS QB_NS_PER_S

int qb_shm_address_push(const struct qb_queue_env *env, const struct qb_submit *job, const char *address,
			struct qb_queue_ticket *ticket, struct qb_address_run *run, struct qb_err *err)
{
	uint64_t run_id = job->job_id;
	int rc = qb_shm_submit_unique(env, job, address, ticket, &run_id, err);

	/* The ticket of one that is refused is the holder's. */
	if (rc == QB_OK || rc == QB_DUPLICATE)
		*run = (struct qb_address_run){ .a = ticket->a, .b = qb_word_gen(ticket->b), .job_id = run_id };
	return rc;
}

int qb_shm_address_await(const struct qb_queue_env *env, const struct qb_address_run *run, uint64_t deadline_ns,
			 struct qb_address_end *end)
{
	const struct qb_seg *seg = env->seg;

	*end = (struct qb_address_end){ .state = QB_ADDRESS_NOT_YET };
	while (qb_load_relaxed32(&seg->hdr->stop) < QB_STOP_NOW) {
		uint64_t now = qb_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
		enum qb_join_end how = qb_join_wait(seg, (uint32_t)run->a, (uint32_t)run->b, left < SLICE_NS ? left : SLICE_NS);

		if (how != QB_JOIN_NOT_YET) {
			end->state = QB_ADDRESS_DONE;
			end->by_tick = how == QB_JOIN_FOUND;
			return 0;
		}
		if (left <= SLICE_NS)
			break;
	}
	return 0;
}
