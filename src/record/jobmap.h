/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a job id to a place in arrays of the caller's.
 *
 * Ids of our own runs are 1, 2, 3 ...: the id is the place.  Ids that are far apart (a river row
 * id, a damaged record) go through a hash table.  The caller knows beforehand how many can come.
 */
#ifndef QB_RECORD_JOBMAP_H
#define QB_RECORD_JOBMAP_H

#include <stddef.h>
#include <stdint.h>

struct qb_jobmap {
	size_t slots_count;     /* size of the arrays that go with it */
	uint64_t *keys;         /* NULL: the id is the slot */
	uint64_t salt;
};

/* For ids up to id_max of which at most jobs_max are different. */
void qb_jobmap_init(struct qb_jobmap *m, uint64_t id_max, size_t jobs_max);
void qb_jobmap_free(struct qb_jobmap *m);

/* job_id > 0 */
size_t qb_jobmap_slot_hashed(struct qb_jobmap *m, uint64_t job_id);

static inline size_t qb_jobmap_slot(struct qb_jobmap *m, uint64_t job_id)
{
	return m->keys ? qb_jobmap_slot_hashed(m, job_id) : (size_t)job_id;
}

#endif
