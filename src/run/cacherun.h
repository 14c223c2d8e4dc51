/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a run on a cache; see cacherun.c. */
#ifndef QB_RUN_CACHERUN_H
#define QB_RUN_CACHERUN_H

#include "run/driver.h"

/* The board, and the directory of items, before any process of the run is there. 0, or negative with err. */
int qb_cache_run_prepare(struct qb_driver *d, struct qb_err *err);
/*
 * Instead of a load. *all_ended: all phases are over. 0, or negative: QB_EINTR, QB_ETIMEOUT when nothing happens any more,
 * QB_ECHILD.
 */
int qb_cache_run(struct qb_driver *d, int *all_ended, struct qb_err *err);
/* Zeros are fine. */
void qb_cache_run_clear(struct qb_driver *d, int keep);

#endif
