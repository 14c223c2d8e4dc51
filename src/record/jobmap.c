/* SPDX-License-Identifier: Apache-2.0 */
#include "record/jobmap.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/strbuf.h"

void qb_jobmap_init(struct qb_jobmap *m, uint64_t id_max, size_t jobs_max)
{
	*m = (struct qb_jobmap){ 0 };
	if (id_max <= 2 * (uint64_t)jobs_max + 1024) {
		m->slots_count = (size_t)id_max + 1;
		return;
	}
	m->slots_count = 64;
	while (m->slots_count < 2 * jobs_max)
		m->slots_count *= 2;
	m->keys = qb_xcalloc(m->slots_count, sizeof(*m->keys));
	/* So that nobody can write a record whose ids all collide. */
	m->salt = qb_now_ns() ^ (uint64_t)(uintptr_t)m->keys;
}

size_t qb_jobmap_slot_hashed(struct qb_jobmap *m, uint64_t job_id)
{
	uint64_t h = (job_id ^ m->salt) * 0x9e3779b97f4a7c15ull;
	size_t mask = m->slots_count - 1;

	h = (h ^ h >> 32) * 0xd6e8feb86659fd93ull;
	/* Ends: at most half of the slots are ever taken. */
	for (size_t i = (size_t)(h >> 32) & mask;; i = (i + 1) & mask) {
		if (m->keys[i] == job_id)
			return i;
		if (m->keys[i] == 0) {
			m->keys[i] = job_id;
			return i;
		}
	}
}

void qb_jobmap_free(struct qb_jobmap *m)
{
	free(m->keys);
	*m = (struct qb_jobmap){ 0 };
}
