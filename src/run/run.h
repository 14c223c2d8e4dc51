/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: one library under one scenario, from an empty queue to a verified result.
 *
 * The driver (this process) makes the segment, starts the parent, enqueues in open loop, injects the
 * faults, records, drains and verifies.  It is never a victim.  Everything that it started is gone
 * when qb_run_one() returns, also after an error or an interrupt.
 */
#ifndef QB_RUN_RUN_H
#define QB_RUN_RUN_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/outcome.h"
#include "base/strbuf.h"
#include "record/dbload.h"
#include "record/meta.h"
#include "shm/layout.h"
#include "shm/restore.h"
#include "stats/summary.h"
#include "workload/scenario.h"

/* Where the side effect of a job is made. */
enum qb_effects_at {
	QB_EFFECTS_IN_SEGMENT = 0,      /* an effect word in shared memory */
	QB_EFFECTS_IN_POSTGRES = 1,     /* a row of qbench.ledger */
};

/* What the command line says; cli/opts.c fills it, its defaults are there. */
struct qb_run_config {
	const char *libs;               /* "shm,pgtx", "river:fetch-cooldown=2ms": see queue/options.h */
	const char *scenario;           /* name or path */
	const char *postgres_url;       /* NULL: a private server */
	const char *results_dir;
	const char *segment_dir;
	const char *format;             /* "text", "json", "md"; comma list */
	struct qb_scenario_change change; /* --duration, --rate, --tenants, --seed, --workers, --kills, --victim */
	uint64_t runs;                  /* repetitions of each library, 1..100 */
	uint64_t slots;                 /* concurrent jobs of a worker process, 1..64 */
	uint64_t standbys;              /* forked ahead, asleep, 0..16 */
	uint64_t ack;                   /* enum qb_ack_mode */
	uint64_t replicas;              /* standby servers that must have a commit before its jobs leave the segment */
	uint64_t ambiguous;             /* enum qb_effect_class */
	uint64_t effects;               /* enum qb_effects_at */
	uint64_t lease_ns;              /* for queues that have such a setting; 0: as they are shipped */
	uint64_t backoff;               /* enum qb_backoff */
	uint64_t jitter_permille;       /* 0..500 */
	uint64_t poll_ns;               /* pgtx: how often a worker looks without a notification */
	uint64_t drain_ns;              /* longest wait for the queue to empty after the last enqueue */
	uint64_t observe_ns;            /* then, for jobs that only a time-out of the queue brings back */
	uint64_t keep_segment;          /* 1: do not remove the segment at the end */
	uint64_t quiet, verbose;
	int counts_statements;          /* have a private server count statements, where it can */
	const char *variant;            /* which of several runs of a library this is, for the record; NULL: the only one */
	int messages_fd;                /* where the processes of the run say what they have to say; 0: stderr */
	const struct qb_meta_setting *settings; /* all of the above as the user would write them, for the record */
	size_t settings_count;
};

/* Private server or --postgres-url, opened once for several runs. */
struct qb_server;
/* connections: how many the run may need of a private server. */
int qb_server_open(const struct qb_run_config *cfg, uint64_t connections, struct qb_server **out, struct qb_err *err);
const char *qb_server_conninfo(const struct qb_server *s);
const char *qb_server_version(const struct qb_server *s);      /* "15.18" */
int qb_server_is_private(const struct qb_server *s);
/* A private server is stopped and removed, its log copied to log_copy unless NULL. */
void qb_server_close(struct qb_server *s, const char *log_copy);

/* What one run left. */
struct qb_run_result {
	struct qb_summary summary;
	struct qb_meta meta;
	char dir[512];                  /* results/<run_id> */
	char segment_path[512];         /* "" when it was removed */
	int started;                    /* it came as far as its first job */
	int interrupted;                /* partial results were written */
	struct qb_db_load load;         /* what it cost its database */
};

/* Set by the signal handlers of SIGINT and SIGTERM, looked at everywhere. */
extern volatile sig_atomic_t qb_interrupted;

/* 0; QB_EVERIFY (result filled, an identity is broken); QB_EINTR (result partial); or another negative code. */
int qb_run_one(const struct qb_run_config *cfg, const struct qb_scenario *scenario, const char *lib,
	       unsigned run_no, struct qb_server *server, struct qb_run_result *result, struct qb_err *err);

/* Segments in there whose driver is dead; the path of one of them. */
unsigned qb_leftover_segments(const char *segment_dir, char *first, size_t cap);

/* What qb_recover() found and did. */
struct qb_recover_result {
	char run_id[96], queue[16];
	uint64_t by_state_before[QB_JOB_STATE_COUNT];   /* jobs in the segment, by their words */
	uint64_t by_outcome[QB_OUTCOME_COUNT];          /* of the run, at the end */
	uint64_t requeued, ambiguous, completed;        /* put back, reported ambiguous, finished now */
	char record[512];               /* events that were still in the segment, and those of the recovery */
	unsigned life;                  /* of the run: how often its segment was rebuilt from Postgres */
	uint64_t finished_before;       /* outcomes that were durable when it was rebuilt */
	uint64_t restored[QB_RESTORED_COUNT];           /* jobs that were not */
	char segment_path[512];
	int drained;                    /* nothing is left to run */
	int removed;                    /* the segment was not needed any more */
};

/*
 * Finish what a run left when all its processes died: a new parent takes the segment over, its
 * workers run what is to be run, a syncer makes it durable in the Postgres of the run.
 * 0; QB_EBUSY when the run lives; QB_EOTHERBOOT when the machine was booted since (evidence
 * only: inspect it); the other codes of qb_seg_attach(); QB_EPG, QB_EINTR ...
 */
int qb_recover(const char *segment_path, const struct qb_run_config *cfg, struct qb_recover_result *result,
	       struct qb_err *err);

/*
 * The same for a run whose segment is lost, or is of another boot: a new one is made from what Postgres has, and
 * driven to its end.
 * 0; QB_EUSAGE: no such run is unfinished there, or its segment survives in cfg->segment_dir; QB_EBUSY: a syncer of
 * the run is connected; QB_EVERIFY: at the end a job is missing; and as qb_recover().
 */
int qb_recover_from_postgres(const char *run_id, const struct qb_run_config *cfg, struct qb_recover_result *result,
			     struct qb_err *err);

/* The unfinished runs of cfg->postgres_url, in one line; "" when there are none. 0 or negative with err. */
int qb_unfinished_runs(const struct qb_run_config *cfg, struct qb_strbuf *out, struct qb_err *err);

/* The process that the driver starts with "qbench --mode=parent SEGMENT": returns its exit status. */
int qb_parent_main(const char *segment_path);

#endif
