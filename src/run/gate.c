/* SPDX-License-Identifier: Apache-2.0 */
#include "run/gate.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "run/meeting.h"
#include "shm/status.h"

#define MAGIC 0x51424741u
#define LOOK_NS (100 * QB_NS_PER_MS)

struct qb_gate_shm {
	uint32_t magic, keys, processes, pad;
	qb_au32 is_open;                /* futex */
	qb_au32 round;                  /* futex; published last */
	qb_au32 ended;
	qb_au32 ready, broken;
	qb_au32 phase, key;             /* of the round */
	qb_au32 answered;               /* in the round */
	struct qb_meeting meeting;
	/* followed by 2K words, by qb_keyset_index(): the phase + 1 up to which jobs of that key may end */
	qb_au32 may_end[];
};

static size_t bytes_of(const struct qb_keyset *set)
{
	return sizeof(struct qb_gate_shm) + 2 * (size_t)set->keys * sizeof(qb_au32);
}

int qb_gate_create(struct qb_gate *g, const char *path, const struct qb_keyset *set, struct qb_err *err)
{
	void *at;
	int rc = qb_shared_create(path, bytes_of(set), &at, err);

	*g = (struct qb_gate){ .set = *set };
	if (rc < 0)
		return rc;
	g->shm = at;
	g->bytes = bytes_of(set);
	g->shm->magic = MAGIC;
	g->shm->keys = set->keys;
	g->shm->processes = set->processes;
	return 0;
}

int qb_gate_attach(struct qb_gate *g)
{
	const char *path = getenv(QB_GATE_ENV);
	void *at;

	*g = (struct qb_gate){ .shm = NULL };
	if (!path || !*path)
		return 0;
	int rc = qb_shared_attach(path, sizeof(struct qb_gate_shm), &at, &g->bytes);

	if (rc < 0)
		return rc;
	g->shm = at;
	g->set = (struct qb_keyset){ .keys = g->shm->keys, .processes = g->shm->processes };
	if (g->shm->magic == MAGIC && g->bytes >= bytes_of(&g->set))
		return 0;
	qb_gate_close(g);
	return QB_EMAGIC;
}

void qb_gate_close(struct qb_gate *g)
{
	if (g->shm)
		munmap(g->shm, g->bytes);
	*g = (struct qb_gate){ .shm = NULL };
}

void qb_gate_open_queue(struct qb_gate *g)
{
	qb_store_release32(&g->shm->is_open, 1);
	qb_futex_wake_all(&g->shm->is_open);
}

int qb_gate_is_open(const struct qb_gate *g, uint64_t timeout_ns)
{
	if (!g->shm || qb_load_acquire32(&g->shm->is_open))
		return 1;
	if (timeout_ns)
		qb_futex_sleep(&g->shm->is_open, 0, timeout_ns);
	return qb_load_acquire32(&g->shm->is_open) != 0;
}

void qb_gate_let_end(struct qb_gate *g, enum qb_key_phase phase, uint32_t key)
{
	struct qb_key_place at = { .phase = phase, .key = key };

	qb_store_release32(&g->shm->may_end[qb_keyset_index(&g->set, &at)], (uint32_t)phase + 1);
}

int qb_gate_holds(const struct qb_gate *g, uint64_t job_id)
{
	struct qb_key_place at;

	if (!g->shm || qb_keyset_place(&g->set, job_id, &at) < 0)
		return 0;
	/* What was accepted before any worker was there, or is a holder, waits for the phase that needs it running. */
	uint32_t phase = at.phase < QB_KEY_RUNNING ? QB_KEY_RUNNING : at.phase > QB_KEY_KILLED ? QB_KEY_KILLED : at.phase;

	return qb_load_acquire32(&g->shm->may_end[qb_keyset_index(&g->set, &at)]) <= phase;
}

void qb_gate_start_round(struct qb_gate *g, const struct qb_gate_round *r)
{
	qb_store_relaxed32(&g->shm->phase, r->phase);
	qb_store_relaxed32(&g->shm->key, r->key);
	qb_meeting_prepare(&g->shm->meeting);
	qb_store_relaxed32(&g->shm->answered, 0);
	qb_store_release32(&g->shm->round, r->number);
	qb_futex_wake_all(&g->shm->round);
}

uint32_t qb_gate_answered(const struct qb_gate *g)
{
	return qb_load_acquire32(&g->shm->answered);
}

void qb_gate_end_rounds(struct qb_gate *g)
{
	qb_store_release32(&g->shm->ended, 1);
	qb_futex_wake_all(&g->shm->round);
	qb_futex_wake_all(&g->shm->meeting.fire_round);
}

void qb_gate_report(struct qb_gate *g, int ready)
{
	qb_add_acq_rel32(ready ? &g->shm->ready : &g->shm->broken, 1);
}

int qb_gate_ready(const struct qb_gate *g)
{
	return qb_load_acquire32(&g->shm->broken) ? -1 : (int)qb_load_acquire32(&g->shm->ready);
}

int qb_gate_next_round(const struct qb_gate *g, uint32_t after, struct qb_gate_round *r)
{
	uint32_t now;

	while ((now = qb_load_acquire32(&g->shm->round)) == after && !qb_load_acquire32(&g->shm->ended))
		qb_futex_sleep(&g->shm->round, after, LOOK_NS);
	*r = (struct qb_gate_round){
		.number = now, .phase = (enum qb_key_phase)qb_load_relaxed32(&g->shm->phase),
		.key = qb_load_relaxed32(&g->shm->key),
	};
	return now != after;
}

void qb_gate_meet(struct qb_gate *g, const struct qb_gate_round *r)
{
	qb_meeting_meet(&g->shm->meeting, r->number, g->set.processes, &g->shm->ended);
}

void qb_gate_answer(struct qb_gate *g)
{
	qb_add_acq_rel32(&g->shm->answered, 1);
}
