/* SPDX-License-Identifier: Apache-2.0 */
#include "run/faults.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/proc.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "run/process.h"
#include "run/server.h"
#include "shm/seat.h"

#define HOLD_MIN_NS (20 * QB_NS_PER_MS)
#define HOLD_MAX_NS (400 * QB_NS_PER_MS)
/* A server is up for a while between two kills, or nothing would become durable. */
#define SERVER_GAP_NS (1500 * QB_NS_PER_MS)
/* A successor of the parent is taking over within so much. */
#define RECOVERY_NS (30 * QB_NS_PER_MS)
/* What a drawn kill waits for its victim. */
#define PATIENCE_NS (500 * QB_NS_PER_MS)

/* ---- the plan ---- */

static int by_time(const void *a, const void *b)
{
	const struct qb_fault *x = a, *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return (x->was > y->was) - (x->was < y->was);
}

static void sort(struct qb_faults *f)
{
	for (size_t i = 0; i < f->count; i++)
		f->fault[i].was = (uint32_t)i;
	qsort(f->fault, f->count, sizeof(*f->fault), by_time);
}

/* In per cent, of those that are no second parent. */
static uint32_t draw_victim(struct qb_faults *f, struct qb_rng *roles, uint64_t at_ns, uint64_t *server_ns)
{
	uint64_t p = qb_rng_below(roles, 100);

	if (p < 24)
		return QB_VICTIM_PARENT;
	if (p < 32)
		return f->has_syncer ? QB_VICTIM_SYNCER : QB_VICTIM_WORKER;
	if (p < 34)
		return QB_VICTIM_POOL;
	if (p < 46)
		return QB_VICTIM_STOP;
	if (p < 54 && f->server && qb_server_is_private(f->server) && at_ns >= *server_ns) {
		*server_ns = at_ns + SERVER_GAP_NS;
		return QB_VICTIM_POSTGRES;
	}
	return QB_VICTIM_WORKER;
}

static void draw_victims(struct qb_faults *f, const struct qb_scenario *sc)
{
	uint64_t server_ns = 0;
	struct qb_rng roles;

	qb_rng_init(&roles, sc->seed, "kill roles");
	for (size_t i = 0; i < f->count; i++) {
		struct qb_fault *k = &f->fault[i], *before = i ? k - 1 : NULL;

		if (before && before->victim == QB_VICTIM_PARENT && !before->early && qb_rng_below(&roles, 3) == 0) {
			uint64_t at_ns = before->at_ns + qb_rng_below(&roles, RECOVERY_NS);

			k->victim = QB_VICTIM_PARENT;
			k->early = 1;
			k->at_ns = at_ns < sc->faults.end_ns ? at_ns : before->at_ns;
		} else {
			k->victim = draw_victim(f, &roles, k->at_ns, &server_ns);
		}
	}
	sort(f);
}

void qb_faults_plan(struct qb_faults *f, const struct qb_scenario *sc)
{
	struct qb_rng when, hold;
	uint64_t window = sc->faults.end_ns - sc->faults.start_ns;

	f->count = sc->faults.kills;
	f->done = f->first = 0;
	f->fault = qb_xcalloc(f->count + 1, sizeof(*f->fault));
	f->stopped = qb_xcalloc(f->count + 1, sizeof(*f->stopped));
	f->killed = qb_xcalloc(f->seg->cfg.seat_count, sizeof(*f->killed));
	qb_rng_init(&when, sc->seed, "kill instants");
	qb_rng_init(&hold, sc->seed, "stop times");
	qb_rng_init(&f->rng, sc->seed, "kill victims");
	for (size_t i = 0; i < f->count; i++) {
		f->fault[i].at_ns = sc->faults.start_ns + (window ? qb_rng_below(&when, window) : 0);
		f->fault[i].hold_ns = HOLD_MIN_NS + qb_rng_below(&hold, HOLD_MAX_NS - HOLD_MIN_NS);
		f->fault[i].victim = sc->faults.victim;
	}
	sort(f);
	f->any = sc->faults.victim == QB_VICTIM_ANY;
	if (f->any)
		draw_victims(f, sc);
}

void qb_faults_free(struct qb_faults *f)
{
	if (f->stopped)
		qb_faults_go_on(f);
	free(f->fault);
	free(f->stopped);
	free(f->killed);
	f->fault = NULL;
	f->stopped = NULL;
	f->killed = NULL;
}

uint64_t qb_faults_next_ns(const struct qb_faults *f)
{
	uint64_t next = f->first < f->count ? f->fault[f->first].at_ns : UINT64_MAX;

	for (size_t i = 0; i < f->stopped_count; i++)
		if (f->stopped[i].go_on_ns < next)
			next = f->stopped[i].go_on_ns;
	return next;
}

/* ---- processes ---- */

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

static int is_stopped(const struct qb_faults *f, uint32_t seat, uint32_t pid)
{
	for (size_t i = 0; i < f->stopped_count; i++)
		if (f->stopped[i].seat == seat && f->stopped[i].pid == pid)
			return 1;
	return 0;
}

/* Seats of that role whose process serves. Returns how many. */
static uint32_t find_seats(const struct qb_faults *f, uint32_t role, int early, uint32_t *seats)
{
	const struct qb_seg *seg = f->seg;
	uint32_t n = 0;

	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		const struct qb_seat_shm *s = &seg->seats[seat];
		uint64_t w = qb_load_acquire64(&s->word);

		if (qb_seat_state_of(w) == QB_SEAT_TAKEN && qb_seat_role(w) == role &&
		    f->killed[seat] != qb_seat_incarnation(w) &&
		    (early || qb_load_acquire64(&s->ready_raw) != 0) && qb_seat_who(seg, seat, NULL) != 0)
			seats[n++] = seat;
	}
	return n;
}

static uint32_t find_victims(const struct qb_faults *f, const struct qb_fault *k, uint32_t *seats)
{
	if (f->any && k->victim == QB_VICTIM_PARENT && !k->early && find_seats(f, QB_ROLE_WORKER, 0, seats) == 0)
		return 0;
	return find_seats(f, victim_role(k->victim), (int)k->early, seats);
}

/* A pidfd of the process in that seat, or -1 when it is dead: one that nobody has reaped yet is no victim. */
static int open_seat(const struct qb_faults *f, uint32_t seat, pid_t *pid)
{
	uint64_t ticks;

	*pid = (pid_t)qb_seat_who(f->seg, seat, &ticks);
	int fd = *pid > 1 ? qb_pidfd_open(*pid, ticks) : -1;

	if (fd >= 0 && qb_pidfd_wait(fd, 0) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int kill_seat(struct qb_faults *f, uint32_t seat, uint32_t role)
{
	const struct qb_seat_shm *s = &f->seg->seats[seat];
	/* Read before the kill: right after it a successor may sit there, who is to be killed as well one day. */
	uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&s->word));
	pid_t pid;
	int fd = open_seat(f, seat, &pid);

	if (fd < 0)
		return 0;
	qb_process_note(f->log, QB_EV_PROCESS_KILLED, role, seat, (uint64_t)pid, f->done + 1);
	int rc = qb_pidfd_signal(fd, SIGKILL);

	f->killed[seat] = incarnation;
	if (role == QB_ROLE_PARENT)
		f->parent = pid;
	close(fd);
	return rc == 0;
}

int qb_faults_kill_now(struct qb_faults *f, uint32_t seat, uint32_t role)
{
	int killed = kill_seat(f, seat, role);

	f->done += (size_t)killed;
	return killed;
}

static void note_act(struct qb_faults *f, enum qb_fault_act act, uint64_t number, uint32_t seat, uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin(f->log);

	if (!e)
		return;
	e->job_id = number;
	e->token = 0;
	e->arg0 = act;
	e->arg1 = arg1;
	e->slot_idx = seat;
	e->tenant = 0;
	e->type = QB_EV_VERDICT;
	e->kind = 0;
	e->error_class = 0;
	e->attempt = 0;
	qb_event_commit(f->log, e);
}

static int stop_seat(struct qb_faults *f, uint32_t seat, uint64_t go_on_ns)
{
	pid_t pid;
	int fd = open_seat(f, seat, &pid);

	if (fd < 0)
		return 0;
	if (is_stopped(f, seat, (uint32_t)pid)) {
		close(fd);
		return 0;
	}
	note_act(f, QB_FAULT_STOPPED, f->done + 1, seat, (uint64_t)pid);
	if (qb_pidfd_signal(fd, SIGSTOP) < 0) {
		close(fd);
		return 0;
	}
	f->stopped[f->stopped_count++] = (struct qb_stopped){
		.pidfd = fd, .seat = seat, .pid = (uint32_t)pid, .go_on_ns = go_on_ns, .number = f->done + 1,
	};
	f->stops++;
	return 1;
}

/* Those whose time has come. One that was killed meanwhile is gone, and nobody else is hit in its place. */
static void go_on(struct qb_faults *f, uint64_t elapsed_ns)
{
	for (size_t i = 0; i < f->stopped_count;) {
		struct qb_stopped *s = &f->stopped[i];

		if (s->go_on_ns > elapsed_ns) {
			i++;
			continue;
		}
		qb_pidfd_signal(s->pidfd, SIGCONT);
		note_act(f, QB_FAULT_WENT_ON, s->number, s->seat, s->pid);
		close(s->pidfd);
		*s = f->stopped[--f->stopped_count];
	}
}

void qb_faults_go_on(struct qb_faults *f)
{
	go_on(f, UINT64_MAX);
}

/* ---- the server ---- */

static int kill_server(struct qb_faults *f)
{
	if (!f->server || qb_server_is_away(f->server) || f->server_down_ns)
		return 0;
	f->server_number = f->done + 1;
	note_act(f, QB_FAULT_SERVER_KILLED, f->server_number, 0, (uint64_t)qb_server_pid(f->server));
	if (qb_server_kill(f->server) < 0)
		return 0;
	f->server_down_ns = qb_now_ns();
	f->server_kills++;
	return 1;
}

static void look_for_server(struct qb_faults *f)
{
	if (!f->server_down_ns || qb_server_is_away(f->server))
		return;
	note_act(f, QB_FAULT_SERVER_BACK, f->server_number, 0, qb_now_ns() - f->server_down_ns);
	f->server_down_ns = 0;
}

/* ---- doing it ---- */

static unsigned strike(struct qb_faults *f, const struct qb_fault *k, uint64_t elapsed_ns)
{
	uint32_t role = victim_role(k->victim), seats[QB_SEAT_MAX];
	unsigned struck = 0;

	if (k->victim == QB_VICTIM_POSTGRES)
		return (unsigned)kill_server(f);
	uint32_t n = find_victims(f, k, seats);

	if (n == 0)
		return 0;
	if (k->victim == QB_VICTIM_STOP)
		return (unsigned)stop_seat(f, seats[qb_rng_below(&f->rng, n)], elapsed_ns + k->hold_ns);
	if (k->victim != QB_VICTIM_POOL)
		return (unsigned)kill_seat(f, seats[qb_rng_below(&f->rng, n)], role);
	for (uint32_t i = 0; i < n; i++)
		struck += (unsigned)kill_seat(f, seats[i], role);
	return struck;
}

/* Workers that cannot come up (the server is away) shall not spare their parents; others shall not wait for ever. */
static void lose_patience(struct qb_fault *k)
{
	if (k->victim == QB_VICTIM_PARENT)
		k->early = 1;
	else
		k->victim = QB_VICTIM_WORKER;
}

unsigned qb_faults_poll(struct qb_faults *f, uint64_t elapsed_ns)
{
	unsigned struck = 0;

	go_on(f, elapsed_ns);
	look_for_server(f);
	for (size_t i = f->first; i < f->count && f->fault[i].at_ns <= elapsed_ns; i++) {
		struct qb_fault *k = &f->fault[i];

		if (f->any && elapsed_ns - k->at_ns > PATIENCE_NS)
			lose_patience(k);
		unsigned n = k->done ? 0 : strike(f, k, elapsed_ns);

		if (n == 0)
			continue;
		if (elapsed_ns - k->at_ns > f->late_ns_max)
			f->late_ns_max = elapsed_ns - k->at_ns;
		k->done = 1;
		f->done++;
		struck += n;
	}
	while (f->first < f->count && f->fault[f->first].done)
		f->first++;
	return struck;
}
