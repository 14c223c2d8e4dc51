/* SPDX-License-Identifier: Apache-2.0 */
#include "run/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/proc.h"
#include "base/strbuf.h"
#include "run/process.h"
#include "shm/seat.h"

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void qb_faults_plan(struct qb_faults *f, const struct qb_scenario *sc)
{
	struct qb_rng when;
	uint64_t window = sc->faults.end_ns - sc->faults.start_ns;

	f->victim = sc->faults.victim;
	f->count = sc->faults.kills;
	f->done = 0;
	f->at_ns = qb_xcalloc(f->count + 1, sizeof(*f->at_ns));
	f->killed = qb_xcalloc(f->seg->cfg.seat_count, sizeof(*f->killed));
	qb_rng_init(&when, sc->seed, "kill instants");
	qb_rng_init(&f->rng, sc->seed, "kill victims");
	for (size_t i = 0; i < f->count; i++)
		f->at_ns[i] = sc->faults.start_ns + (window ? qb_rng_below(&when, window) : 0);
	qsort(f->at_ns, f->count, sizeof(*f->at_ns), ascending);
}

void qb_faults_free(struct qb_faults *f)
{
	free(f->at_ns);
	free(f->killed);
	f->at_ns = NULL;
	f->killed = NULL;
}

uint64_t qb_faults_next_ns(const struct qb_faults *f)
{
	return f->done < f->count ? f->at_ns[f->done] : UINT64_MAX;
}

static uint32_t victim_role(uint32_t victim)
{
	switch (victim) {
	case QB_VICTIM_PARENT:
		return QB_ROLE_PARENT;
	case QB_VICTIM_SYNCER:
		return QB_ROLE_SYNCER;
	default:
		return QB_ROLE_WORKER;
	}
}

/* Seats of that role whose process serves. Returns how many. */
static uint32_t find_victims(const struct qb_faults *f, uint32_t role, uint32_t *seats)
{
	const struct qb_seg *seg = f->seg;
	uint32_t n = 0;

	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		const struct qb_seat_shm *s = &seg->seats[seat];
		uint64_t w = qb_load_acquire64(&s->word);

		if (qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == role &&
		    f->killed[seat] != qb_seat_incarnation(w) &&
		    qb_load_acquire64(&s->ready_raw) != 0 && qb_seat_who(seg, seat, NULL) != 0)
			seats[n++] = seat;
	}
	return n;
}

static int kill_seat(struct qb_faults *f, uint32_t seat, uint32_t role)
{
	const struct qb_seat_shm *s = &f->seg->seats[seat];
	/* Read before the kill: right after it a successor may sit there, who is to be killed as well one day. */
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&s->word));
	uint64_t ticks;
	pid_t pid = (pid_t)qb_seat_who(f->seg, seat, &ticks);
	int fd = pid > 1 ? qb_pidfd_open(pid, ticks) : -1;

	if (fd < 0)
		return 0;
	/* A dead one that nobody has reaped yet is no victim. */
	if (qb_pidfd_wait(fd, 0) != 0) {
		close(fd);
		return 0;
	}
	qb_process_note(f->log, QB_EV_PROCESS_KILLED, role, seat, (uint64_t)pid, f->done + 1);
	int rc = qb_pidfd_signal(fd, SIGKILL);

	f->killed[seat] = incarnation;
	close(fd);
	return rc == 0;
}

static unsigned kill_now(struct qb_faults *f)
{
	uint32_t role = victim_role(f->victim), seats[QB_SEAT_MAX];
	uint32_t n = find_victims(f, role, seats);
	unsigned killed = 0;

	if (n == 0)
		return 0;
	if (f->victim != QB_VICTIM_POOL)
		return (unsigned)kill_seat(f, seats[qb_rng_below(&f->rng, n)], role);
	for (uint32_t i = 0; i < n; i++)
		killed += (unsigned)kill_seat(f, seats[i], role);
	return killed;
}

unsigned qb_faults_poll(struct qb_faults *f, uint64_t elapsed_ns)
{
	unsigned killed = 0;

	while (qb_faults_next_ns(f) <= elapsed_ns) {
		unsigned n = kill_now(f);

		if (n == 0)
			break;
		if (elapsed_ns - f->at_ns[f->done] > f->late_ns_max)
			f->late_ns_max = elapsed_ns - f->at_ns[f->done];
		f->done++;
		killed += n;
		/* One kill of the parent or the pool at a time: the driver has to see to its successor first. */
		if (f->victim == QB_VICTIM_PARENT)
			break;
	}
	return killed;
}
