/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of one run, shared by driver.c (the phases), tend.c (the processes) and verify.c (the end). */
#ifndef QB_RUN_DRIVER_H
#define QB_RUN_DRIVER_H

#include <stdint.h>
#include <sys/types.h>

#include "pg/stats.h"
#include "queue/queue.h"
#include "run/board.h"
#include "run/faults.h"
#include "run/feeder.h"
#include "run/gate.h"
#include "run/progress.h"
#include "run/recorder.h"
#include "run/run.h"
#include "shm/event.h"
#include "shm/segment.h"
#include "stats/summary.h"
#include "workload/plan.h"

struct qb_driver {
	const struct qb_run_config *cfg;
	const struct qb_scenario *sc;
	struct qb_queue_spec spec;
	const struct qb_queue_ops *ops; /* of the spec */
	struct qb_server *server;
	struct qb_run_result *result;

	struct qb_plan plan;
	struct qb_seg seg;
	char segment_dir[480];          /* the directory that holds only this segment */
	char segment_path[512];
	char gate_path[512];            /* "": no gate */
	struct qb_gate gate;
	char board_path[512];           /* "": no cache */
	char items_path[512];           /* the store's directory; "": none */
	struct qb_board board;
	uint32_t seat;
	struct qb_event_writer log;
	struct qb_queue_env env;
	struct qb_feeder feeder;
	struct qb_recorder recorder;
	struct qb_faults faults;
	struct qb_progress progress;

	pid_t parent_pid;               /* 0 = none */
	int parent_fd;                  /* its pidfd */
	unsigned parent_deaths;         /* not by the fault plan, one after the other */
	int stopping;                   /* qb_tend_stop() has begun */
	int in_a_hurry;                 /* interrupted, or waited long enough already: the end is not waited for as long */
	uint64_t start_ns;
	uint64_t watched_ns;            /* when the watch ended, 0 = not in order */
	uint64_t sampled_ns;
	uint64_t census_count;          /* how often the queue was asked how many are left */
	struct qb_pg_stats stats_before;
	int has_stats_before;
};

/* tend.c: the parent and the orphans */

/* Start a parent. 0 or negative with err. */
int qb_tend_start(struct qb_driver *d, struct qb_err *err);
/* Until every worker is ready, or the deadline. 0; QB_ETIMEOUT; QB_EINTR; QB_ECHILD. */
int qb_tend_wait_ready(struct qb_driver *d, struct qb_err *err);
/* Has the present parent taken over what there was, so that seats taken now are nobody's to clear? */
int qb_tend_parent_is_ready(const struct qb_driver *d);
/* Notice a dead parent and start its successor; collect orphans. 0, or QB_ECHILD when parents keep dying. */
int qb_tend_poll(struct qb_driver *d, struct qb_err *err);
/* The orderly end; whoever does not leave in time is killed. 0, or QB_ECHILD when force was needed. */
int qb_tend_stop(struct qb_driver *d, struct qb_err *err);
/* Nobody of this run lives afterwards. */
void qb_tend_kill_all(struct qb_driver *d);

/* describe.c: fills d->result->meta from the configuration, the scenario, the queue and the host. */
void qb_describe_run(struct qb_driver *d, unsigned max_attempts);
/* describe.c: has the cache on this queue the library's weaknesses? */
int qb_run_is_faithful(const struct qb_driver *d);

/* driver.c: everything that is due now; 0 or negative. And a nap until something else can be. */
int qb_drive_duties(struct qb_driver *d, const char *phase, struct qb_err *err);
void qb_drive_nap(struct qb_driver *d);
/* Both, one after the other. 0; QB_EINTR; or another negative code. */
int qb_drive_step(struct qb_driver *d, const char *phase, struct qb_err *err);
/* drain.c: 1 by the queue's own word; 0 as well when it cannot be asked now. */
int qb_drive_is_drained(struct qb_driver *d);
/*
 * drain.c: wait until the queue is empty, at most cfg->drain_ns; where only time-outs of the queue can bring back what is
 * left, cfg->observe_ns from the last thing that happened. Used by recover.c as well. *drained says whether it is empty.
 * 0 or negative.
 */
int qb_drive_drain(struct qb_driver *d, int *drained, struct qb_err *err);

/* recover-pg.c: what of a segment's configuration its description does not say yet, for the one that replaces it. */
void qb_rebuild_note(struct qb_meta *m, const struct qb_config_shm *cfg);
/*
 * recover-pg.c: begin the run's next life and make d->seg, at d->segment_path, out of what Postgres has. 0, or
 * negative with err, and then no segment is left.
 */
int qb_rebuild_segment(struct qb_driver *d, const char *run_id, struct qb_recover_result *result, struct qb_err *err);

/*
 * load.c: read the server's counters before the first session of the run, and after its last, for d->result->load.
 * The end closes the driver's own handles of the queue. What cannot be read is not known; nothing fails.
 */
void qb_load_begin(struct qb_driver *d);
void qb_load_end(struct qb_driver *d);

/* verify.c: ask the queue, sum up, check. 0; QB_EVERIFY; or another negative code. */
int qb_verify(struct qb_driver *d, struct qb_err *err);
/* verify.c: nobody needs the run's rows in Postgres any more; the next run removes them. */
void qb_let_rows_go(struct qb_driver *d);

#endif
