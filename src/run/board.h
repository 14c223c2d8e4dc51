/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The board of a run on a cache (base/cacheset.h): what its callers are to ask for now, and which work is held.
 *
 * Lives in: a file beside the segment, mapped shared; the queue under test never sees it.  The driver creates it, callers inherit
 * the mapping, workers map it by the path in QB_BOARD_ENV.
 * Writers: the driver; callers count themselves in words of their own.  Readers: everybody.
 * The driver sets one step after the other: to remove items; to take requests of a phase until there are none; or one round.
 * Work of an address that is held does not get past its beginning.
 * Crash: a killed worker leaves nothing here.  A caller is no victim; when one dies a step does not end, which the driver sees.
 */
#ifndef QB_RUN_BOARD_H
#define QB_RUN_BOARD_H

#include <stdint.h>

#include "base/cacheset.h"
#include "base/err.h"

#define QB_BOARD_ENV "QBENCH_INTERNAL_BOARD"
/* In the directory of the segment. */
#define QB_BOARD_NAME "board"

struct qb_board_shm;

struct qb_board {
	struct qb_board_shm *shm;       /* NULL: the run has none */
	size_t bytes;
	struct qb_cacheset set;
};

/* What holds for the whole run. */
struct qb_board_fixed {
	char items[512];                /* the store's directory */
	uint64_t deadline_ns, memory_bytes;
	int durable, stale_errors;
};

enum qb_step_kind {
	QB_STEP_UNCACHE,                /* the first caller of each process removes all items of the phase */
	QB_STEP_TAKE,                   /* requests of the phase, as they come */
	QB_STEP_ROUND,                  /* request round * callers + caller, all at one instant */
};

struct qb_step {
	uint32_t number;                /* 1, 2, ... */
	enum qb_step_kind kind;
	enum qb_cache_phase phase;
	uint32_t round;
};

/* The driver. 0, or negative with err and nothing left. */
int qb_board_create(struct qb_board *b, const char *path, const struct qb_cacheset *set, const struct qb_board_fixed *fixed,
		    struct qb_err *err);
/* A worker: by QB_BOARD_ENV, which may be unset. 0, or negative. */
int qb_board_attach(struct qb_board *b);
void qb_board_close(struct qb_board *b);
const struct qb_board_fixed *qb_board_fixed(const struct qb_board *b);

/* ---- driver ---- */

void qb_board_start(struct qb_board *b, const struct qb_step *s);
/* Callers that are done with the step. */
uint32_t qb_board_done(const struct qb_board *b);
/* Callers that have pushed in this round, or have got an answer without. */
uint32_t qb_board_pushed(const struct qb_board *b);
void qb_board_hold(struct qb_board *b, uint32_t address, int hold);
/* No more steps: they leave. */
void qb_board_end(struct qb_board *b);
/* Callers that are ready; or -1: one cannot be. */
int qb_board_ready(const struct qb_board *b);

/* ---- workers ---- */

/* Has work of that address to stay where it is? */
int qb_board_holds(const struct qb_board *b, uint32_t address);

/* ---- callers ---- */

void qb_board_report(struct qb_board *b, int ready);
/* Wait for the step after that number. 1 with *s; 0: there is none any more. */
int qb_board_next(const struct qb_board *b, uint32_t after, struct qb_step *s);
/* The next request of the phase, from 0; at or above its number: there is none. */
uint64_t qb_board_take(struct qb_board *b);
void qb_board_meet(struct qb_board *b, const struct qb_step *s);
/* Once in each round. */
void qb_board_has_pushed(struct qb_board *b);
void qb_board_answer(struct qb_board *b);
/* No more steps have been asked for. */
int qb_board_is_over(const struct qb_board *b);

#endif
