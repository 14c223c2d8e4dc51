/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload blocks: chains of fixed blocks that belong to one generation of one job slot.
 *
 * Lives in: the segment.  The tag of a block says {used, job slot, gen}; a used block whose slot is
 * at another generation is garbage by definition, and anybody may free it at any time by CAS on
 * exactly that tag.  So a leak needs no log: recovery marks by looking at the job word and sweeps.
 * Writers: the owner of the FILLING word; afterwards nobody until the slot is freed.
 * Progress: lock-free.
 * Crash: a submitter killed between two blocks leaves blocks tagged with a generation that its
 * recovery ends; the sweep takes them.
 */
#ifndef QB_SHM_BLOCK_H
#define QB_SHM_BLOCK_H

#include "shm/segment.h"

static inline uint64_t qb_block_tag(uint32_t job_idx, uint32_t gen)
{
	return 1ull << 63 | (uint64_t)(job_idx & 0xffffff) << 26 | (gen & QB_GEN_MASK);
}
static inline uint32_t qb_block_tag_job(uint64_t tag) { return (uint32_t)(tag >> 26) & 0xffffff; }
static inline uint32_t qb_block_tag_gen(uint64_t tag) { return (uint32_t)tag & QB_GEN_MASK; }

/*
 * Copy bytes into a fresh chain for (job_idx, gen); the caller owns that FILLING word.
 * QB_OK with *first (QB_NO_BLOCK for 0 bytes), or QB_FULL with nothing kept.
 */
int qb_block_store(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, const void *data, uint32_t bytes,
		   uint32_t *first);

/*
 * Copy a chain out; `bytes` as the job says. 0, or QB_ECORRUPT when the chain leaves the job or
 * ends early. Never reads outside the segment, whatever the chain says.
 */
int qb_block_load(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, uint32_t first, void *data, uint32_t bytes);

/* Free the chain of a generation that has ended. Stops at the first block that is no longer its own. */
void qb_block_free(const struct qb_seg *seg, uint32_t job_idx, uint32_t gen, uint32_t first);

/* Free every block whose generation has ended, and set missing hint bits. Returns the blocks freed. */
uint32_t qb_block_sweep(const struct qb_seg *seg);

#endif
