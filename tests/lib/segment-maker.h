/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A segment as the dead leave it, for the tests of those who read one. It is consistent and holds 15
 * jobs, at least one in every state, by number:
 *	1 ready               2 ready, without a ring entry      3 claimed by a dead worker
 *	4 started by it, idempotent, no effect yet
 *	5 started by it, opaque, its effect has happened
 *	6 waiting             7 done, with a result              8 failed
 *	9 ambiguous, parked  10 filling                         11 synced
 *	12 dead              15 done, its effect twice
 *	13 claimed a second time and 14 started, by the wish's process or by another dead one
 */
#ifndef QB_TESTS_SEGMENT_MAKER_H
#define QB_TESTS_SEGMENT_MAKER_H

#include "shm/segment.h"

struct qb_segment_wish {
	uint32_t pid;           /* who holds 13 and 14; 0: a dead process */
	int reused;             /* not that one, but one that is dead and whose number it has now */
	const char *name;       /* what everything in the description is called; NULL: usual names */
};

/*
 * In that file, which must not exist, or in memory (NULL). Forks and kills what it needs; ends the
 * program when it cannot. wish may be NULL. Detach it; one at a time.
 */
struct qb_seg *qb_segment_make(const char *path, const struct qb_segment_wish *wish);

#endif
