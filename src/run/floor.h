/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor under the times of a death: what the same machine needs, at the same time and under the same load,
 * for a death and a birth without an engine.  A process of its own kills an idle child and waits for its pidfd,
 * and starts this program anew until its first output, again and again.
 *
 * Lives in: a child of the caller, and a page or two that it shares with it.
 * Crash: the child dies with its maker, its children with it.
 */
#ifndef QB_RUN_FLOOR_H
#define QB_RUN_FLOOR_H

#include "base/err.h"
#include "stats/death.h"

struct qb_floor;

/* 0, or negative with err. */
int qb_floor_start(struct qb_floor **out, struct qb_err *err);
/* Ends it and appends what it measured: SIGKILL -> pidfd readable; fork -> exec -> the program speaks. Frees f. */
void qb_floor_stop(struct qb_floor *f, struct qb_samples *death, struct qb_samples *birth);

/* What the program does for that: main() calls it. Returns the exit status. */
int qb_floor_speak(void);
#define QB_FLOOR_MODE "--mode=floor"

#endif
