/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of a crash test do: submit, work, sync, recover, on the real shm/ code, and
 * tell the ledger.  The same functions run in stepped children, in killed children, in the
 * coroutines of the schedule explorer and in the processes and threads of the stress test.
 */
#ifndef QB_TESTS_CRASH_WORLD_H
#define QB_TESTS_CRASH_WORLD_H

#include "shm/event.h"
#include "shm/job.h"
#include "shm/recovery.h"
#include "shm/segment.h"
#include "sync/batch.h"
#include "tests/crash/ledger.h"
#include "tests/crash/oracle.h"

/* The schedule explorer switches here as well as at each atomic access. */
#ifndef QB_WORLD_POINT
#define QB_WORLD_POINT() ((void)0)
#endif

#define WORLD_SEATS 8u
#define WORLD_DUE_NEVER (UINT64_MAX - 9)        /* only a promotion with this "now" reaches it */

struct world {
	struct qb_seg seg;
	struct ledger *led;
	struct qb_recovery rec;
	struct oracle oracle;
	void (*idle)(void);             /* while somebody else has to go on first */
	void (*work)(uint64_t id);      /* how long the job takes */
	struct qb_batch batch;          /* of whoever plays the syncer in this process */
	struct qb_resolve resolve;      /* only as the batch's idea of who takes the doubts */
	uint64_t synced_jobs, recovered_seats, resolved;
};

void world_config(struct qb_config_shm *cfg);

/* Segment and ledger in memory that children share. Aborts when there is none. */
void world_create(struct world *w, const struct qb_config_shm *cfg, uint64_t ledger_jobs);
void world_destroy(struct world *w);

/* Put rings, arenas and event rings of a fresh segment that far ahead, so that a scenario crosses their ends. */
void world_advance(struct world *w, uint64_t ring_pos, uint64_t arena_pos, uint64_t event_pos);

/* The handle of a copy of the segment's bytes, with its ledger; `rec` keeps its scratch map. */
void world_rebase(const struct world *from, uint8_t *base, struct ledger *led, struct world *to);

/* Take a seat and sit down. The seat, or 0 when the house is full. */
uint32_t world_sit(struct world *w, uint32_t role, uint32_t pid);

/* QB_OK (the promise is in the ledger), QB_FULL, or negative. */
int world_submit(struct world *w, uint32_t seat, uint64_t id);

/* The same with a key > 0; those with the same last decimal share a bucket. QB_DUPLICATE as well. */
int world_submit_key(struct world *w, uint32_t seat, uint64_t id, uint64_t key);
static inline struct qb_key world_key(uint64_t key) { return (struct qb_key){ .hi = key, .lo = key % 10 }; }

/* That seat's process dies when it has announced it. */
void world_leave_asking(struct world *w, uint32_t seat, uint64_t id, uint64_t key);

/* Claim one job and do what its plan says. 1, or 0 when there was none. */
int world_work(struct world *w, uint32_t seat, struct qb_event_writer *log);

/* Begin as the syncer of that seat, with what a dead one has left. */
void world_syncer_open(struct world *w, uint32_t seat);
void world_syncer_close(struct world *w);

/*
 * One pass of the syncer: a batch of src/sync/batch.c, applied to the rows in the ledger, and the ambiguous jobs decided.
 * Returns the jobs it looked at.
 */
unsigned world_sync(struct world *w);

/* The second half of it. */
unsigned world_decide(struct world *w);

/* What the worker of that seat sent last arrives now, or has arrived. */
void world_land(struct world *w, uint32_t seat);

/* The effect of that attempt happens, in the way of the job's class. */
void world_effect(struct world *w, uint32_t seat, uint64_t id, uint32_t attempt);

/* Decide the jobs of a dead seat and tell the ledger what was reported. 0, or QB_EFENCED: nobody sat there. */
int world_recover(struct world *w, uint32_t seat);

/* Recover every seat that is not free, as a new parent does. */
void world_take_over(struct world *w);

/*
 * The verdict over a segment in which everybody is dead: take over, judge, let survivors finish
 * everything, judge again.  0, or -1 with w->oracle.why.
 */
int world_verdict(struct world *w);

#endif
