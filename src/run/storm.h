/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storms: short runs of the scenario "storm", each with other settings, under as many kills of every role as the
 * machine can do; after each its identities, and what Postgres holds, are looked at.
 *
 * A round is decided by its seed alone: the round n of a self-test with seed S is the first of one with S + n - 1.
 */
#ifndef QB_RUN_STORM_H
#define QB_RUN_STORM_H

#include "run/run.h"
#include "stats/death.h"

/* What all rounds add up to. Zeros at the start; free with qb_storm_free(). */
struct qb_storm_totals {
	uint64_t rounds, broken_rounds;
	uint64_t kills, kills_by_role[8];       /* processes; enum qb_role */
	uint64_t kills_in_recovery;             /* of parents that had not taken over yet */
	uint64_t stops, server_kills, takeovers;
	uint64_t fault_ns;                      /* how long kills were dealt, all rounds together */
	uint64_t jobs, completed, discarded;    /* acknowledged, and what became of them */
	uint64_t outcomes, effects;             /* rows in Postgres */
	uint64_t ambiguous, parked, repeated;   /* jobs; repeated: effects of jobs that were reported */
	uint64_t lost, silent, wrong;           /* must be 0 */
	struct qb_death_times times;            /* where a worker needs no connection */
	struct qb_death_times times_connected;  /* where its effects are rows in Postgres */
	struct qb_samples floor_death, floor_birth;
	char first[256];                        /* the first that is wrong, in words; "" */
	uint64_t first_seed;                    /* its round */
	char first_dir[512], first_segment[512];        /* what it left */
};

/* One round. */
struct qb_storm {
	uint64_t seed;
	const char *lib;
	struct qb_scenario sc;
	struct qb_run_config cfg;
	char text[120];                 /* its settings in words */
};

/* The most connections that a round may need of a private server. */
#define QB_STORM_CONNECTIONS 260

/* base: the directories, the server, messages_fd. 0, or QB_EUSAGE. */
int qb_storm_plan(const struct qb_run_config *base, uint64_t seed, uint64_t duration_ns, struct qb_storm *s,
		  struct qb_err *err);

/*
 * Run it, look at it, add it to the totals; remove what it left when nothing is wrong.
 * 0, also when something was wrong (totals->broken_rounds tells); QB_EINTR: what there is was added; or the codes of
 * qb_run_one() for what is no verdict, and what it left stays.
 */
int qb_storm_run(const struct qb_storm *s, unsigned round, struct qb_server *server, struct qb_storm_totals *totals,
		 struct qb_err *err);

void qb_storm_free(struct qb_storm_totals *totals);

#endif
