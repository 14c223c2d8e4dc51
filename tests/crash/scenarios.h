/* SPDX-License-Identifier: Apache-2.0 */
/* What is single-stepped: one scenario per kind of thing that a process does. */
#ifndef QB_TESTS_CRASH_SCENARIOS_H
#define QB_TESTS_CRASH_SCENARIOS_H

#include "tests/crash/world.h"

#define SCENARIO_JOBS 48

struct scenario {
	const char *name;
	void (*prepare)(void);          /* in the parent, everybody alive */
	void (*run)(void);              /* in the child, stepped */
};

extern struct world live;
extern const struct scenario scenarios[];
extern const unsigned scenarios_count;

/* A driver, a worker and a syncer take their seats in a fresh segment. */
void scenario_sit(void);

/* Recover every seat. */
void scenario_take_over(void);
void scenario_nothing(void);

#endif
