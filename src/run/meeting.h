/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How processes and threads of a run meet: on futexes of a file that they share, and at one instant.
 *
 * Lives in: whatever shared mapping the caller has.  Nobody who meets is a victim: when one dies the others would wait, which
 * the driver sees; `ended` lets them go.
 */
#ifndef QB_RUN_MEETING_H
#define QB_RUN_MEETING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/atomic.h"

/* Sleep while *word is what was expected, at most timeout_ns; may return early. Not FUTEX_PRIVATE. */
void qb_futex_sleep(qb_au32 *word, uint32_t expected, uint64_t timeout_ns);
void qb_futex_wake_all(qb_au32 *word);

/*
 * A file of that many bytes, zeros, its space really there, for nobody else to open; mapped. 0, or negative with err, and then
 * no file is left.
 */
int qb_shared_create(const char *path, size_t bytes, void **at, struct qb_err *err);
/* All of it as it is there. 0; QB_ETOOSHORT below least bytes; -errno. */
int qb_shared_attach(const char *path, size_t least, void **at, size_t *bytes);

struct qb_meeting {
	qb_au32 arrived;
	qb_au32 fire_round;             /* futex: the round whose fire_ns is set */
	qb_au64 fire_ns;
};

/* Wait until `count` have arrived at that round (1, 2, ...), then until the instant that the last has set; or until *ended. */
void qb_meeting_meet(struct qb_meeting *m, uint32_t round, uint32_t count, const qb_au32 *ended);
/* Before a round is announced. */
void qb_meeting_prepare(struct qb_meeting *m);

#endif
