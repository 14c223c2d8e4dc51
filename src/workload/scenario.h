/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scenario: what is asked of a queue, and what is done to its processes meanwhile.
 *
 * Written as an INI file with the sections [scenario], [burst], [errors], [faults], [processes],
 * [retries] and one [kind NAME] for each kind of job; a section of its own, [keys] or [cache], gives it
 * another shape than a load. Those in src/workload/scenarios/ are built in; a file of the user's
 * own is as good. Plain values: copy with "=", nothing to free.
 */
#ifndef QB_WORKLOAD_SCENARIO_H
#define QB_WORKLOAD_SCENARIO_H

#include <stdint.h>
#include <stdio.h>

#include "base/cacheset.h"
#include "base/err.h"
#include "base/keyset.h"

#define QB_SCENARIO_KINDS_MAX 8
#define QB_SCENARIO_WORKERS_DEFAULT 10

/* The kind of failure that a job carries in itself. In the order in which they are drawn. */
enum qb_error_class {
	QB_ERROR_CLASS_NONE,
	QB_ERROR_CLASS_RATE_LIMIT,
	QB_ERROR_CLASS_TRANSIENT,
	QB_ERROR_CLASS_PERMANENT,       /* not retried */
	QB_ERROR_CLASS_COUNT,
};

enum qb_victim {
	QB_VICTIM_NONE,
	QB_VICTIM_WORKER,               /* one worker, drawn at each kill */
	QB_VICTIM_POOL,                 /* all workers at once */
	QB_VICTIM_PARENT,
	QB_VICTIM_SYNCER,
	QB_VICTIM_STOP,                 /* one worker: SIGSTOP, and SIGCONT later */
	QB_VICTIM_POSTGRES,             /* the postmaster of the private server */
	QB_VICTIM_ANY,                  /* drawn for each kill from all of them */
	QB_VICTIM_COUNT,
};

struct qb_scenario_kind {
	char name[32];
	double weight;                  /* relative to the sum of all */
	uint32_t work_ms_min, work_ms_max;              /* both inclusive */
	uint32_t payload_bytes_min, payload_bytes_max;  /* both inclusive */
};

/* The rate is multiplied while start <= elapsed < end. No burst: end_ns 0, multiplier 1. */
struct qb_scenario_burst {
	double multiplier;
	uint64_t start_ns, end_ns;
};

/* No faults: kills 0. The instants are drawn inside [start, end). */
struct qb_scenario_faults {
	uint32_t kills;
	uint32_t victim;                /* enum qb_victim */
	uint64_t start_ns, end_ns;
};

/* What drives it. The section that belongs to a shape says which it is. */
enum qb_shape {
	QB_SHAPE_LOAD,                  /* jobs in open loop, at a rate, for a duration */
	QB_SHAPE_KEYS,                  /* the same keys asked for by several processes: no rate, no duration */
	QB_SHAPE_CACHE,                 /* a cache asked by several processes, phase by phase: no rate, no duration */
	QB_SHAPE_COUNT,
};

/* QB_SHAPE_KEYS: see base/keyset.h. */
struct qb_scenario_keys {
	uint32_t keys, processes;
	uint64_t watch_ns;              /* after the last kill: how long what the dead held is waited for, at most */
};

/* QB_SHAPE_CACHE: see base/cacheset.h. At least one of addresses and rounds. */
struct qb_scenario_cache {
	uint32_t addresses, requests;   /* N and M of its phases; 0: without those */
	double skew;                    /* of the phase skewed: exponent of Zipf's law, > 0 */
	uint32_t failing;               /* addresses whose work fails at first */
	uint32_t rounds;                /* of the phase together */
	uint32_t kills;                 /* workers killed at work; when addresses is 0 a round each */
	uint32_t processes, callers;    /* callers: of each process, a thread each */
	uint64_t deadline_ns;           /* of each wait on work */
	uint64_t memory_bytes;          /* of each process's memory layer; 0: none */
	uint32_t durable;               /* 1: fsync of items */
	uint32_t stale_errors;          /* 1: a recorded failure is returned whenever it was recorded, as by rscache */
};

/* Numbers that a scenario goes through, one run of each library for each. */
#define QB_SCENARIO_LIST_MAX 8
struct qb_scenario_list {
	uint32_t count;                 /* 0: none */
	uint32_t values[QB_SCENARIO_LIST_MAX];
};

/*
 * Several processes on one queue: for each count of them a backlog is put in before the first one is there, and when
 * it is done the jobs of the plan come at the scenario's rate. No such thing: counts.count 0.
 */
struct qb_scenario_processes {
	struct qb_scenario_list counts;
	uint32_t slots;                 /* of each process; 0: as the command line says */
	uint32_t backlog;               /* jobs for each process */
};

/* Retries after n^4 s, spread by each of these percentages up and down. No such thing: jitter.count 0. */
struct qb_scenario_retries {
	struct qb_scenario_list jitter;
};

struct qb_scenario {
	char name[64];                  /* as it was asked for: an alias keeps its own */
	char summary[160];
	uint32_t shape;                 /* enum qb_shape */
	uint64_t duration_ns;
	uint32_t rate;                  /* ticks per second */
	uint32_t tenants;
	double tenant_skew;             /* share of tenant 0; 0 is uniform over all */
	uint64_t seed;
	uint32_t workers;               /* suggested; 0: QB_SCENARIO_WORKERS_DEFAULT */
	struct qb_scenario_burst burst;
	double error_probability[QB_ERROR_CLASS_COUNT];         /* [NONE] unused, 0 */
	uint32_t kinds_count;
	struct qb_scenario_kind kinds[QB_SCENARIO_KINDS_MAX];
	struct qb_scenario_faults faults;
	struct qb_scenario_keys keys;
	struct qb_scenario_cache cache;
	struct qb_scenario_processes processes;
	struct qb_scenario_retries retries;
	uint32_t backlog;               /* of one run: jobs that the plan puts at its beginning; not in a file */
};

/* "" for none, "rate_limit", "transient", "permanent". */
const char *qb_error_class_name(unsigned error_class);
/* "none", "worker", "pool", "parent", "syncer", "stop", "postgres", "any". */
const char *qb_victim_name(unsigned victim);
/* 0, or QB_EUSAGE and err with the list and the nearest match. "none" is not accepted. */
int qb_victim_parse(const char *text, uint32_t *victim, struct qb_err *err);

/* The set of keys; zeros for another shape. */
struct qb_keyset qb_scenario_keyset(const struct qb_scenario *sc);
/* The set of requests on a cache; zeros for another shape. */
struct qb_cacheset qb_scenario_cacheset(const struct qb_scenario *sc);

/*
 * The built-in scenario of that name or alias; or, when the text holds a '/' or ends in ".ini",
 * that file. 0, QB_EUSAGE for an unknown name, QB_EPARSE for a bad file (err: "FILE:LINE: what,
 * hint"), or the error of reading it.
 */
int qb_scenario_load(const char *name_or_path, struct qb_scenario *sc, struct qb_err *err);

/* From memory. file is for messages only, and its last part without suffix is the default name. */
int qb_scenario_parse(const char *file, const char *text, size_t bytes, struct qb_scenario *sc,
		      struct qb_err *err);

/* Names of all built-in scenarios and aliases, NULL at the end. Static storage. */
const char *const *qb_scenario_names(void);
/* What an alias stands for ("steady": "steady_over"), or NULL when name is none. */
const char *qb_scenario_alias(const char *name);

/* 0, or QB_EUSAGE: some value is out of its range, or two do not go together. */
int qb_scenario_check(const struct qb_scenario *sc, struct qb_err *err);

/* What the command line changes; only the members named in given are looked at. */
enum qb_scenario_given {
	QB_GIVEN_DURATION = 1 << 0,
	QB_GIVEN_RATE = 1 << 1,
	QB_GIVEN_TENANTS = 1 << 2,
	QB_GIVEN_SEED = 1 << 3,
	QB_GIVEN_WORKERS = 1 << 4,
	QB_GIVEN_KILLS = 1 << 5,
	QB_GIVEN_VICTIM = 1 << 6,
};

struct qb_scenario_change {
	unsigned given;                 /* enum qb_scenario_given, or-ed */
	uint64_t duration_ns;
	uint64_t rate;
	uint64_t tenants;
	uint64_t seed;
	uint64_t workers;
	uint64_t kills;
	uint32_t victim;                /* enum qb_victim */
};

/*
 * Apply and check again; on failure (QB_EUSAGE) sc is as before.
 *
 * The burst stays where the file puts it, as in the original; a fault window that a shorter
 * duration cuts ends with the duration. Kills asked of a scenario without faults fall into its
 * burst, or into the middle half of its duration, and hit workers unless a victim is given.
 */
int qb_scenario_override(struct qb_scenario *sc, const struct qb_scenario_change *change,
			 struct qb_err *err);

/* As an INI file that reads back as the same values. 0, or -EIO and the like when out is broken. */
int qb_scenario_print(const struct qb_scenario *sc, FILE *out);

#endif
