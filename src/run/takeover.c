/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deciding the jobs of the dead, with their events; and taking over a segment whose parent is gone.
 */
#include "run/takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "run/parent.h"
#include "run/process.h"
#include "shm/job.h"
#include "shm/seat.h"
#include "shm/wait.h"

/* A process in uninterruptible sleep does not die; its jobs stay held and are reported. */
#define KILL_NS (5 * QB_NS_PER_S)

int qb_parent_lock(const struct qb_seg *seg)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	if (fcntl(seg->fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? QB_EBUSY : -errno;
}

/* Records that one step of the parent may need. */
#define ROOM 8
#define ROOM_WAIT_NS (2 * QB_NS_PER_S)

void qb_await_room(struct qb_event_writer *log)
{
	static int hopeless;
	uint64_t until_ns;

	if (qb_event_room(log) >= ROOM) {
		hopeless = 0;
		return;
	}
	/* Once is enough: while a reader stands still (Postgres is away), the dead must be seen to all the same. */
	if (hopeless)
		return;
	until_ns = qb_now_ns() + ROOM_WAIT_NS;
	while (qb_event_room(log) < ROOM && !hopeless) {
		qb_wake_seat(log->seg, qb_load_relaxed32(&log->seg->hdr->syncer_seat));
		qb_wake_seat(log->seg, qb_load_relaxed32(&log->seg->hdr->submitter_seat));
		qb_sleep_ns(QB_NS_PER_MS / 2);
		hopeless = qb_now_ns() > until_ns;
	}
}

static struct qb_event_shm *job_event(struct qb_event_writer *log, uint32_t slot_idx, uint64_t word, uint16_t type)
{
	struct qb_event_shm *e = qb_event_begin_job(log, slot_idx, word, type);

	if (e)
		e->arg0 = word;
	return e;
}

/* An outcome that the dead one stored and had no time to log. */
static void supply_event(struct qb_event_writer *log, const struct qb_seg *seg, uint32_t slot_idx, uint64_t word)
{
	const struct qb_job_shm *job = &seg->jobs[slot_idx];
	uint32_t attempt = qb_word_attempt(word), state = qb_word_state(word);
	uint16_t type = state == QB_JOB_DONE ? QB_EV_JOB_COMPLETED : QB_EV_JOB_FAILED;
	struct qb_event_shm *e;

	if (qb_event_logged(seg, qb_word_seat(word), type, job->job_id, attempt))
		return;
	e = job_event(log, slot_idx, word, type);
	if (!e)
		return;
	e->arg0 = 0;
	e->arg1 = state == QB_JOB_DONE ? 1 : state == QB_JOB_WAITING ? qb_load_relaxed64(&job->due_ns) : 0;
	qb_event_commit(log, e);
	if (state == QB_JOB_FAILED && (e = job_event(log, slot_idx, word, QB_EV_JOB_DISCARDED)))
		qb_event_commit(log, e);
}

struct verdict_ctx {
	const struct qb_seg *seg;
	struct qb_event_writer *log;
	uint32_t own_seat;
	uint32_t put_back;
};

static void on_verdict(void *opaque, enum qb_verdict verdict, uint32_t slot_idx, uint64_t before)
{
	struct verdict_ctx *c = opaque;
	struct qb_event_shm *e;

	/* A pool of many slots leaves more verdicts than a ring holds, and each must be on record. */
	qb_await_room(c->log);
	switch (verdict) {
	case QB_VERDICT_RETRIED:
	case QB_VERDICT_PARKED:
	case QB_VERDICT_IN_DOUBT:
		e = job_event(c->log, slot_idx, before, QB_EV_JOB_AMBIGUOUS);
		if (e) {
			e->arg1 = verdict == QB_VERDICT_PARKED ? 1 : verdict == QB_VERDICT_IN_DOUBT ? 2 : 0;
			qb_event_commit(c->log, e);
		}
		qb_count(c->seg, c->own_seat, QB_COUNT_AMBIGUOUS, 1);
		if (verdict != QB_VERDICT_RETRIED)
			return;
		break;
	case QB_VERDICT_NEVER_STARTED:
		break;
	case QB_VERDICT_GIVEN_UP:
		/* It may have been started: then it is ambiguous as well as given up. */
		if (qb_word_state(before) == QB_JOB_STARTED &&
		    (e = job_event(c->log, slot_idx, before, QB_EV_JOB_AMBIGUOUS)))
			qb_event_commit(c->log, e);
		if ((e = job_event(c->log, slot_idx, before, QB_EV_JOB_DISCARDED)))
			qb_event_commit(c->log, e);
		return;
	case QB_VERDICT_FINISHED:
		supply_event(c->log, c->seg, slot_idx, before);
		return;
	default:
		return;
	}
	c->put_back++;
	qb_count(c->seg, c->own_seat, QB_COUNT_REQUEUED, 1);
	e = job_event(c->log, slot_idx, before, QB_EV_JOB_REQUEUED);
	if (e)
		qb_event_commit(c->log, e);
}

void qb_decide_seat(struct qb_recovery *r, struct qb_event_writer *log, uint32_t own_seat, uint32_t seat,
		    uint64_t noticed_ns)
{
	struct verdict_ctx c = { .seg = r->seg, .log = log, .own_seat = own_seat };
	uint32_t role = qb_seat_role(qb_load_acquire64(&r->seg->seats[seat].word));

	if (qb_recover_seat(r, seat, on_verdict, &c) < 0)
		return;
	qb_await_room(log);
	qb_count(r->seg, own_seat, QB_COUNT_RECOVERED, 1);
	qb_process_note(log, QB_EV_RECOVERED, role, seat, qb_now_ns() - noticed_ns, c.put_back);
	if (r->ring_full) {
		qb_log(QB_LOG_WARNING, "%u ready jobs found no room in the inbox and are offered again", r->ring_full);
		r->ring_full = 0;
	}
}

int qb_seat_lives(const struct qb_seg *seg, uint32_t seat)
{
	uint64_t ticks;
	pid_t pid = (pid_t)qb_seat_who(seg, seat, &ticks);
	int fd = pid > 0 ? qb_pidfd_open(pid, ticks) : -ESRCH;

	if (fd < 0)
		return fd != -ESRCH;    /* not to be judged: let it live */
	int dead = qb_pidfd_wait(fd, 0) == 1;

	close(fd);
	return !dead;
}

/* Of another parent's making: worth killing. A driver or tool is judged by whether it lives. */
static int is_subordinate(uint32_t role)
{
	return role != QB_ROLE_DRIVER && role != QB_ROLE_TOOL;
}

static int prove_dead(const struct qb_seg *seg, uint32_t seat, struct qb_err *err)
{
	uint32_t role = qb_seat_role(qb_load_acquire64(&seg->seats[seat].word));
	uint64_t ticks;

	if (!is_subordinate(role)) {
		/* One that is about to sit down finds the door shut; or it has, and lives. */
		qb_seat_close(seg, seat);
		return qb_seat_lives(seg, seat) ? QB_EBUSY : 0;
	}
	if (qb_seat_begin_recovery(seg, seat) < 0)
		return 0;
	pid_t pid = (pid_t)qb_seat_who(seg, seat, &ticks);

	if (pid == 0)
		return 0;
	if (qb_proc_kill_confirm(pid, ticks, KILL_NS) < 0)
		return qb_err_set(err, QB_EBUSY, "%s with process id %d in seat %u cannot be killed: its jobs stay held",
				  qb_role_name(role), (int)pid, seat);
	return 0;
}

int qb_take_parent_seat(struct qb_recovery *r)
{
	const struct qb_seg *seg = r->seg;
	int seat = qb_seat_take(seg, QB_ROLE_PARENT);

	for (uint32_t old = 1; seat < 0 && old < seg->cfg.seat_count; old++) {
		uint64_t w = qb_load_acquire64(&seg->seats[old].word);
		struct qb_err err = { 0 };

		/* A child of such a parent may live on until its jobs are decided; a parent has none. */
		if (qb_seat_state_of(w) == QB_SEAT_FREE || qb_seat_role(w) != QB_ROLE_PARENT ||
		    prove_dead(seg, old, &err) < 0 || qb_recover_seat(r, old, NULL, NULL) < 0)
			continue;
		seat = qb_seat_take(seg, QB_ROLE_PARENT);
	}
	return seat;
}

int qb_take_over(struct qb_recovery *r, struct qb_event_writer *log, uint32_t own_seat, struct qb_err *err)
{
	const struct qb_seg *seg = r->seg;
	uint64_t began_ns = qb_now_ns();
	uint32_t old_parent = qb_load_relaxed32(&seg->hdr->parent_seat);
	int dead = 0, rc = 0;

	/* The old parent first: it must start nobody new. */
	if (qb_seg_seat(seg, old_parent) && old_parent != own_seat &&
	    qb_seat_role(qb_load_acquire64(&seg->seats[old_parent].word)) == QB_ROLE_PARENT)
		rc = prove_dead(seg, old_parent, err);
	qb_store_relaxed32(&seg->hdr->parent_seat, own_seat);
	for (uint32_t seat = 1; seat < seg->cfg.seat_count && rc != QB_EBUSY; seat++) {
		uint64_t w = qb_load_acquire64(&seg->seats[seat].word);

		if (seat == own_seat || qb_seat_state_of(w) == QB_SEAT_FREE)
			continue;
		struct qb_err this_err;

		qb_err_clear(&this_err);
		int one = prove_dead(seg, seat, &this_err);

		if (one == QB_EBUSY) {
			if (is_subordinate(qb_seat_role(w)))
				qb_log(QB_LOG_ERROR, "%s", this_err.text);
			continue;
		}
		uint32_t pid = qb_seat_who(seg, seat, NULL);

		if (pid)
			qb_process_note(log, QB_EV_PROCESS_DIED, qb_seat_role(w), seat, pid, 0);
		qb_decide_seat(r, log, own_seat, seat, began_ns);
		dead++;
	}
	if (rc == QB_EBUSY)
		return rc;
	if (dead)
		qb_process_note(log, QB_EV_TAKEN_OVER, QB_ROLE_PARENT, own_seat, qb_now_ns() - began_ns, (uint64_t)dead);
	return dead;
}
