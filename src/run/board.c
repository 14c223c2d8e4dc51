/* SPDX-License-Identifier: Apache-2.0 */
#include "run/board.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "run/meeting.h"
#include "shm/status.h"

#define MAGIC 0x5142424fu
#define LOOK_NS (100 * QB_NS_PER_MS)

struct qb_board_shm {
	uint32_t magic, addresses;
	struct qb_cacheset set;
	struct qb_board_fixed fixed;
	qb_au32 step;                   /* futex; published last */
	qb_au32 ended;
	qb_au32 ready, broken;
	qb_au32 kind, phase, round;     /* of the step */
	qb_au32 pushed, done;           /* in the step */
	qb_au64 next;                   /* request */
	struct qb_meeting meeting;
	qb_au32 held[];                 /* by address */
};

static size_t bytes_of(uint32_t addresses)
{
	return sizeof(struct qb_board_shm) + addresses * sizeof(qb_au32);
}

int qb_board_create(struct qb_board *b, const char *path, const struct qb_cacheset *set, const struct qb_board_fixed *fixed,
		    struct qb_err *err)
{
	uint32_t addresses = qb_cacheset_all_addresses(set);
	void *at;
	int rc = qb_shared_create(path, bytes_of(addresses), &at, err);

	*b = (struct qb_board){ .set = *set };
	if (rc < 0)
		return rc;
	b->shm = at;
	b->bytes = bytes_of(addresses);
	b->shm->addresses = addresses;
	b->shm->set = *set;
	b->shm->fixed = *fixed;
	b->shm->magic = MAGIC;
	return 0;
}

int qb_board_attach(struct qb_board *b)
{
	const char *path = getenv(QB_BOARD_ENV);
	void *at;

	*b = (struct qb_board){ .shm = NULL };
	if (!path || !*path)
		return 0;
	int rc = qb_shared_attach(path, sizeof(struct qb_board_shm), &at, &b->bytes);

	if (rc < 0)
		return rc;
	b->shm = at;
	b->set = b->shm->set;
	if (b->shm->magic == MAGIC && b->bytes >= bytes_of(b->shm->addresses))
		return 0;
	qb_board_close(b);
	return QB_EMAGIC;
}

void qb_board_close(struct qb_board *b)
{
	if (b->shm)
		munmap(b->shm, b->bytes);
	*b = (struct qb_board){ .shm = NULL };
}

const struct qb_board_fixed *qb_board_fixed(const struct qb_board *b)
{
	return &b->shm->fixed;
}

/* ---- driver ---- */

void qb_board_start(struct qb_board *b, const struct qb_step *s)
{
	struct qb_board_shm *m = b->shm;

	qb_store_relaxed32(&m->kind, s->kind);
	qb_store_relaxed32(&m->phase, s->phase);
	qb_store_relaxed32(&m->round, s->round);
	qb_store_relaxed32(&m->pushed, 0);
	qb_store_relaxed32(&m->done, 0);
	qb_store_relaxed64(&m->next, 0);
	qb_meeting_prepare(&m->meeting);
	qb_store_release32(&m->step, s->number);
	qb_futex_wake_all(&m->step);
}

uint32_t qb_board_done(const struct qb_board *b)
{
	return qb_load_acquire32(&b->shm->done);
}

uint32_t qb_board_pushed(const struct qb_board *b)
{
	return qb_load_acquire32(&b->shm->pushed);
}

void qb_board_hold(struct qb_board *b, uint32_t address, int hold)
{
	qb_store_release32(&b->shm->held[address], hold != 0);
}

void qb_board_end(struct qb_board *b)
{
	qb_store_release32(&b->shm->ended, 1);
	qb_futex_wake_all(&b->shm->step);
	qb_futex_wake_all(&b->shm->meeting.fire_round);
}

int qb_board_ready(const struct qb_board *b)
{
	return qb_load_acquire32(&b->shm->broken) ? -1 : (int)qb_load_acquire32(&b->shm->ready);
}

/* ---- workers ---- */

int qb_board_holds(const struct qb_board *b, uint32_t address)
{
	return b->shm && address < b->shm->addresses && qb_load_acquire32(&b->shm->held[address]);
}

/* ---- callers ---- */

void qb_board_report(struct qb_board *b, int ready)
{
	qb_add_acq_rel32(ready ? &b->shm->ready : &b->shm->broken, 1);
}

int qb_board_is_over(const struct qb_board *b)
{
	return qb_load_acquire32(&b->shm->ended) != 0;
}

int qb_board_next(const struct qb_board *b, uint32_t after, struct qb_step *s)
{
	struct qb_board_shm *m = b->shm;
	uint32_t now;

	while ((now = qb_load_acquire32(&m->step)) == after && !qb_board_is_over(b))
		qb_futex_sleep(&m->step, after, LOOK_NS);
	*s = (struct qb_step){
		.number = now, .kind = (enum qb_step_kind)qb_load_relaxed32(&m->kind),
		.phase = (enum qb_cache_phase)qb_load_relaxed32(&m->phase), .round = qb_load_relaxed32(&m->round),
	};
	return now != after;
}

uint64_t qb_board_take(struct qb_board *b)
{
	return qb_add_relaxed64(&b->shm->next, 1);
}

void qb_board_meet(struct qb_board *b, const struct qb_step *s)
{
	qb_meeting_meet(&b->shm->meeting, s->number, b->set.callers, &b->shm->ended);
}

void qb_board_has_pushed(struct qb_board *b)
{
	qb_add_acq_rel32(&b->shm->pushed, 1);
}

void qb_board_answer(struct qb_board *b)
{
	qb_add_acq_rel32(&b->shm->done, 1);
}
