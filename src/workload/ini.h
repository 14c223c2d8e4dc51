/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario files: text to values. Private to workload/; the way in is qb_scenario_parse(). */
#ifndef QB_WORKLOAD_INI_H
#define QB_WORKLOAD_INI_H

#include <stddef.h>

#include "base/err.h"
#include "workload/scenario.h"

/*
 * Read what text says into *sc, which holds the defaults, and check the whole. 0, or QB_EPARSE and
 * err "FILE:LINE: what is wrong; what would be right".
 */
int qb_ini_read(const char *file, const char *text, size_t bytes, struct qb_scenario *sc,
		struct qb_err *err);

#endif
