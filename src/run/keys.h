/* SPDX-License-Identifier: Apache-2.0 */
/* The phases of a run on unique keys (base/keyset.h); part of the driver. */
#ifndef QB_RUN_KEYS_H
#define QB_RUN_KEYS_H

#include "run/driver.h"

/*
 * From an empty queue to the end of the watch. The parent is there, the gate is closed. *all_ended: every job that
 * was accepted has ended. 0; QB_EINTR; QB_ETIMEOUT: no job of a key was started, or no answer came; QB_ECHILD.
 * The producers are gone afterwards.
 */
int qb_run_keys(struct qb_driver *d, int *all_ended, struct qb_err *err);

#endif
