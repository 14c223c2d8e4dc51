/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-only consistency check of a whole segment: what survived, and whether it makes sense.
 *
 * Lives in: a snapshot (exact) or a live segment (blurred: findings are then only hints).
 * Trusts nothing: every index and length from the segment is checked before it is followed.
 */
#ifndef QB_SHM_CHECK_H
#define QB_SHM_CHECK_H

#include "shm/segment.h"

struct qb_check {
	uint32_t by_state[QB_JOB_STATE_COUNT];  /* jobs, free ones below high_water only */
	uint32_t bad_words;             /* state or seat out of range */
	uint32_t ready_without_entry;   /* ready jobs in neither ring */
	uint32_t bad_payloads;          /* chain or CRC wrong in a job that is past FILLING */
	uint32_t bad_results;           /* DONE whose result is missing or damaged */
	uint32_t blocks_used, blocks_leaked;
	uint32_t held_by_nobody;        /* claimed or started by a seat that is free */
	uint64_t ring_depth[QB_RING_COUNT];
	uint32_t ring_stale;            /* entries whose job is not ready */
	uint32_t ring_broken;           /* 1: head, tail and laps contradict each other */
	uint64_t events;                /* whole records that are still in the rings */
	uint64_t events_unread[QB_READER_COUNT];
	uint64_t events_dropped;
	uint32_t dirty;                 /* jobs with news that is not durable */
	uint64_t effects_repeated;      /* effect words above 1 */
};

/* Called with a line of text for each finding; may be NULL. */
typedef void (*qb_finding_fn)(void *ctx, const char *text);

/*
 * Fills `out`; returns the number of findings: things that recovery would not repair (bad word, bad
 * payload, bad result, broken ring). -ENOMEM. What a kill leaves for recovery is counted and no finding.
 */
int qb_check_segment(const struct qb_seg *seg, struct qb_check *out, qb_finding_fn fn, void *ctx);

#endif
