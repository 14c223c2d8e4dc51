/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of a run on unique keys (base/keyset.h): what keeps its phases apart without a clock.
 *
 * Lives in: a file beside the segment, mapped shared; the queue under test never sees it.  The driver creates it,
 * producers inherit the mapping, workers map it by the path in QB_GATE_ENV.
 * Writers: the driver; the producers report in words of their own.  Readers: everybody.
 * Workers open the queue when the gate is open, so that before there is nobody who could take a job.  A job does
 * not get past its beginning (no effect, no end) before the driver lets its key end.
 * Producers ask in rounds, one key each: all wait until the last has arrived, and fire at one instant.
 * Crash: a killed worker leaves nothing here.  A producer is no victim; when one dies a round does not end, which the
 * driver sees.  The file goes with the directory of the segment; a killed driver leaves both.
 */
#ifndef QB_RUN_GATE_H
#define QB_RUN_GATE_H

#include <stdint.h>

#include "base/err.h"
#include "base/keyset.h"

#define QB_GATE_ENV "QBENCH_INTERNAL_GATE"
/* In the directory of the segment. */
#define QB_GATE_NAME "gate"

struct qb_gate_shm;

struct qb_gate {
	struct qb_gate_shm *shm;        /* NULL: the run has none, and nobody is held back */
	size_t bytes;
	struct qb_keyset set;
};

/* One round: every producer asks for that key of that phase; of QB_KEY_HOLDER the first alone. */
struct qb_gate_round {
	uint32_t number;                /* 1, 2, ... */
	enum qb_key_phase phase;
	uint32_t key;
};

/* The driver. 0, or negative with err and nothing left. */
int qb_gate_create(struct qb_gate *g, const char *path, const struct qb_keyset *set, struct qb_err *err);
/* A worker: by QB_GATE_ENV, which may be unset. 0, or -errno. */
int qb_gate_attach(struct qb_gate *g);
void qb_gate_close(struct qb_gate *g);

/* ---- workers ---- */

void qb_gate_open_queue(struct qb_gate *g);
/* 1 when it is open; waits for that at most timeout_ns. */
int qb_gate_is_open(const struct qb_gate *g, uint64_t timeout_ns);

/* Jobs of that key may end, those of this phase and before. */
void qb_gate_let_end(struct qb_gate *g, enum qb_key_phase phase, uint32_t key);
/* Has that job to stay where it is? */
int qb_gate_holds(const struct qb_gate *g, uint64_t job_id);

/* ---- producers ---- */

void qb_gate_start_round(struct qb_gate *g, const struct qb_gate_round *r);
/* How many have been answered in the present round. */
uint32_t qb_gate_answered(const struct qb_gate *g);
/* No more rounds: they leave. */
void qb_gate_end_rounds(struct qb_gate *g);

/* A producer reports that it is ready, or that it cannot be. */
void qb_gate_report(struct qb_gate *g, int ready);
/* Producers that are ready; or -1: one cannot be. */
int qb_gate_ready(const struct qb_gate *g);
/* Wait for the round after that number. 1 with *r; 0: there is none any more. */
int qb_gate_next_round(const struct qb_gate *g, uint32_t after, struct qb_gate_round *r);
/* Wait until all have arrived at that round, then until the instant of firing. */
void qb_gate_meet(struct qb_gate *g, const struct qb_gate_round *r);
void qb_gate_answer(struct qb_gate *g);

#endif
