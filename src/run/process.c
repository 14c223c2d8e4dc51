/* SPDX-License-Identifier: Apache-2.0 */
#include "run/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "shm/fault.h"
#include "shm/seat.h"
#include "sync/syncer.h"

static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Everything that this process will touch in the hot path; other seats' rings and arenas it never does. */
static void populate(const struct qb_process *p)
{
	const struct qb_seg *seg = p->seg;

	/*
	 * Not the payload blocks, which these only read: a first read maps 16 pages at once, and 4000 pages
	 * more to let go of make the kernel report a killed process five to ten times later.
	 */
	qb_seg_populate(seg, seg->base, seg->sec[QB_SEC_BLOCKS].off);
	qb_seg_populate(seg, qb_seg_arena(seg, p->seat), seg->sec[QB_SEC_ARENAS].stride);
	qb_seg_populate(seg, qb_seg_event_ring(seg, p->seat), seg->sec[QB_SEC_EVENTS].stride);
	qb_seg_populate(seg, seg->effects, seg->sec[QB_SEC_EFFECTS].bytes);
}

void qb_process_arm_faults(uint32_t role)
{
#ifdef QB_FAULT_POINTS
	const char *wanted = getenv("QBENCH_FAULT_ROLE");

	if (strcmp(wanted ? wanted : "worker", qb_role_name(role)) == 0)
		qb_fault_arm_from_env();
#else
	(void)role;
#endif
}

int qb_process_begin(struct qb_process *p)
{
	char name[48];

	if (qb_proc_die_with(p->parent, SIGKILL) < 0)
		return QB_EFENCED;
	if (qb_seat_sit(p->seg, p->seat, p->incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())) < 0)
		return QB_EFENCED;
	/* The parent's descriptors (epoll, pidfds, its lock on the segment) are not ours; the mapping stays. */
	close_range(3, ~0u, 0);
	reset_signals();
	/* The default slack of 50 us would be the largest part of a short wait. */
	prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
	snprintf(name, sizeof(name), "qbench %s %u", qb_role_name(p->role), p->seat);
	qb_log_set_name(name);
	qb_process_arm_faults(p->role);
	populate(p);
	/* The syncer never waits for a reader: it is one. */
	qb_event_open(&p->log, p->seg, p->seat,
		      p->role == QB_ROLE_SYNCER ? QB_OVERFLOW_DROP : p->seg->cfg.event_overflow);
	return 0;
}

void qb_process_note(struct qb_event_writer *log, uint16_t type, uint32_t role, uint32_t seat, uint64_t arg0,
		     uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin(log);

	if (!e)
		return;
	e->job_id = 0;
	e->token = 0;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = seat;
	e->tenant = 0;
	e->type = type;
	e->kind = (uint8_t)role;
	e->error_class = 0;
	e->attempt = 0;
	qb_event_commit(log, e);
}

void qb_process_ready(struct qb_process *p, uint32_t role)
{
	qb_store_release64(&p->seg->seats[p->seat].ready_raw, qb_stamp());
	qb_process_note(&p->log, QB_EV_PROCESS_READY, role, p->seat, (uint64_t)getpid(), 0);
}

int qb_syncer_process_main(struct qb_process *p)
{
	struct qb_syncer *s;

	if (qb_syncer_open(p->seg, p->seat, p->conninfo, &p->log, &s) < 0) {
		qb_log(QB_LOG_ERROR, "out of memory");
		return 1;
	}
	qb_process_ready(p, QB_ROLE_SYNCER);
	int rc = qb_syncer_main(s);

	qb_syncer_close(s);
	qb_process_note(&p->log, QB_EV_PROCESS_STOPPED, QB_ROLE_SYNCER, p->seat, (uint64_t)getpid(), 0);
	return rc < 0 ? 2 : 0;
}
