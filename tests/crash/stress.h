/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the stress test share: the actors and the judge, and the processes under fire. */
#ifndef QB_TESTS_CRASH_STRESS_H
#define QB_TESTS_CRASH_STRESS_H

#include "tests/crash/world.h"

#define STRESS_JOBS (1u << 20)
#define NS_PER_MS 1000000ull
#define WORKERS_MAX 4u

enum { SUBMITTER, SYNCER, FIRST_WORKER };

/* What parents tell the root, beside the ledger. */
struct shared {
	uint32_t bad;
	uint32_t recovering;            /* a parent is at it: killed now, it is killed in a recovery */
	uint64_t from;                  /* jobs before it have come to their end */
	char why[240];
};

extern struct world w;
extern struct shared *shared;
extern unsigned workers;

uint64_t below(uint64_t n);
void nap(uint64_t ns);
void blame(const char *why);            /* the first one stays */
int stopping(const struct world *me);
uint32_t role_of(unsigned which);
void play(unsigned which, struct world *me, uint32_t seat);

void begin(uint64_t seed);
/* Everything that is there must come to its end by itself, once left() says so of the submitter. 0 or -1. */
int drain(int (*left)(void));
int end(const char *what, int bad, uint64_t began_ns);

/* Real processes, killed until there were so many kills or the time is over. */
void test_processes(uint64_t kills, uint64_t until_ns, uint64_t seed);

#endif
