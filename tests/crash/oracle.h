/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The judge: is what stands in the segment right, given what really happened?
 *
 * Shares no code with the engine: no header of shm/, bits and offsets written down here a second
 * time, a CRC of its own.  World.c holds the static asserts that keep the two descriptions equal.
 */
#ifndef QB_TESTS_CRASH_ORACLE_H
#define QB_TESTS_CRASH_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "tests/crash/ledger.h"

#define ORACLE_HEADER_SECTIONS 384u
#define ORACLE_HIGH_WATER 1280u
#define ORACLE_JOB_BYTES 128u
#define ORACLE_BLOCK_HEAD 16u
#define ORACLE_ENTRY_HEAD 24u
#define ORACLE_EVENT_RING_HEAD 384u

struct oracle {
	const uint8_t *base;            /* a segment; not necessarily aligned to anything but 8 */
	const struct ledger *led;
	uint64_t live_seats;            /* bit set: these may hold jobs; 0: everybody is dead and recovered */
	uint32_t max_claims;
	char why[200];                  /* what is wrong, "" = nothing */
	/* counted over all checks */
	uint64_t images, ambiguous, ambiguous_without_effect;
};

/* After every dead seat was recovered. 0, or -1 with `why`. */
int oracle_check(struct oracle *o);

/* After survivors finished and stored everything. 0, or -1 with `why`. */
int oracle_final(struct oracle *o);

/* While others go on working: nothing is held by that seat, whose process is dead and decided. 0 or -1. */
int oracle_seat_is_clear(struct oracle *o, uint32_t seat);

/*
 * While others go on working: each promised job from *from on is in the segment or in the database.
 * Moves *from over those that have come to their end. 0 or -1.
 */
int oracle_nothing_lost(struct oracle *o, uint64_t *from);

/* One job that the database has: its row against what happened. 0 or -1. */
int oracle_row(struct oracle *o, uint64_t id);

#endif
