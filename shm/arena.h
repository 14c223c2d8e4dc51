/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Result arenas: each seat writes its results into memory of its own.
 *
 * Lives in: the segment, one byte ring per seat.  An entry carries the token (job word) of the
 * attempt that wrote it; it is needed as long as its job is at that attempt and not yet synced.
 * Writers: the owner of the seat.  Readers: the syncer, through the job word, which names the seat.
 * Progress: wait-free; QB_FULL while older results wait for the syncer.
 * Crash: a half-written entry lies behind head and is overwritten by the next owner of the seat; a
 * whole entry whose DONE was never stored is dropped, because its job has moved on.
 */
#ifndef QB_SHM_ARENA_H
#define QB_SHM_ARENA_H

#include "shm/segment.h"

/*
 * Write a result for the attempt `token` (the STARTED word), at most QB_RESULT_BYTES_MAX and a
 * quarter of the arena. QB_OK with *pos; QB_FULL; QB_ETOOBIG; QB_ECORRUPT when the arena makes no
 * sense. Zero bytes need no entry.
 */
int qb_arena_write(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t token, const void *data,
		   uint32_t bytes, uint64_t *pos);

/*
 * The result of a DONE or FAILED word. Returns a pointer into the segment, valid until the word
 * leaves that state, or NULL when it is missing or damaged (checked: place, token, length, CRC).
 */
const uint8_t *qb_arena_read(const struct qb_seg *seg, const struct qb_job_shm *job, uint32_t slot_idx, uint64_t word,
			     uint32_t *bytes);

#endif
