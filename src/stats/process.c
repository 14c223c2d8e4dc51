/* SPDX-License-Identifier: Apache-2.0 */
/* Which process sat where and when, and what each of them died of. */
#include <stdlib.h>
#include <string.h>

#include "shm/status.h"
#include "stats/tally.h"

static uint32_t add_proc(struct qb_tally *t, uint32_t seat, uint32_t pid, uint32_t role,
			 uint64_t t_ns)
{
	uint32_t idx = t->procs_count++;        /* there is room for one per event and seat */
	struct qb_proc *p = &t->procs[idx];

	memset(p, 0, sizeof(*p));
	p->seat = seat;
	p->pid = pid;
	p->role = role;
	p->born_ns = t_ns;
	p->group = QB_NO_IDX;
	p->before = t->current[seat];
	p->spawner = t->parent;
	if (p->before != QB_NO_IDX) {
		struct qb_proc *old = &t->procs[p->before];

		/* A seat is given on after its recovery only: whoever sat there is dead. */
		if (!old->died_ns && !old->stopped)
			old->died_ns = t_ns;
	}
	if (role == QB_ROLE_PARENT)
		t->parent = idx;
	t->current[seat] = idx;
	return idx;
}

uint32_t qb_tally_worker(struct qb_tally *t, uint32_t seat, uint64_t t_ns)
{
	if (t->current[seat] == QB_NO_IDX)
		add_proc(t, seat, 0, QB_ROLE_WORKER, t_ns);
	return t->current[seat];
}

/* The incarnation of that seat with that pid, the newest first; QB_NO_IDX. */
static uint32_t find_proc(const struct qb_tally *t, uint32_t seat, uint32_t pid)
{
	uint32_t idx = t->current[seat];

	while (idx != QB_NO_IDX && t->procs[idx].pid != pid)
		idx = t->procs[idx].before;
	return idx;
}

/* For records that open an incarnation: the one that is sitting there if it is the same process. */
static struct qb_proc *sitting(struct qb_tally *t, uint32_t seat, uint32_t pid, uint32_t role,
			       uint64_t t_ns)
{
	uint32_t idx = t->current[seat];

	if (idx != QB_NO_IDX && !t->procs[idx].died_ns) {
		struct qb_proc *p = &t->procs[idx];

		if (p->pid == 0)
			p->pid = pid;
		if (p->pid == pid)
			return p;
	}
	return &t->procs[add_proc(t, seat, pid, role, t_ns)];
}

/* For records that close one: the one that is meant, made up when nothing else names it. */
static struct qb_proc *meant(struct qb_tally *t, uint32_t seat, uint32_t pid, uint32_t role,
			     uint64_t t_ns)
{
	uint32_t idx = find_proc(t, seat, pid);

	return idx == QB_NO_IDX ? sitting(t, seat, pid, role, t_ns) : &t->procs[idx];
}

static void on_killed(struct qb_tally *t, struct qb_proc *p, const struct qb_trace_event *e)
{
	struct qb_kill *k = t->kills_count ? &t->kills[t->kills_count - 1] : NULL;

	if (p->killed_ns)
		return;
	/* A standby that had its go and no time to say so was killed as the worker that it was. */
	if (p->role == QB_ROLE_STANDBY && e->ev.kind == QB_ROLE_WORKER)
		p->role = QB_ROLE_WORKER;
	/* A pool kill is several records of one number. */
	if (!k || k->number != e->ev.arg1) {
		k = &t->kills[t->kills_count++];
		memset(k, 0, sizeof(*k));
		k->t_ns = e->t_ns;
		k->number = e->ev.arg1;
		k->role = p->role;
		k->planned = 1;
	}
	p->killed_ns = e->t_ns;
	p->group = (uint32_t)(k - t->kills);
}

static void on_taken_over(struct qb_tally *t, const struct qb_trace_event *e)
{
	uint32_t idx = t->current[e->ev.seat];

	t->takeovers++;
	if (idx == QB_NO_IDX || t->procs[idx].role != QB_ROLE_PARENT)
		return;
	/* The segment has one parent at a time: the one before is proved dead. */
	idx = t->procs[idx].spawner;
	if (idx != QB_NO_IDX && !t->procs[idx].died_ns && !t->procs[idx].stopped)
		t->procs[idx].died_ns = e->t_ns;
}

static void on_ready(struct qb_proc *p, const struct qb_trace_event *e)
{
	/* A standby is ready twice; it serves from the second time on. */
	if (p->role == QB_ROLE_STANDBY && e->ev.kind == QB_ROLE_WORKER) {
		p->role = QB_ROLE_WORKER;
		p->serve_ns = 0;
	}
	if (e->ev.kind == p->role && !p->serve_ns)
		p->serve_ns = e->t_ns;
}

int qb_tally_process(struct qb_tally *t, const struct qb_trace_event *e, struct qb_err *err)
{
	uint32_t seat = e->ev.slot_idx, pid = (uint32_t)e->ev.arg0, role = e->ev.kind;
	struct qb_proc *p;

	if (e->ev.type == QB_EV_TAKEN_OVER) {
		on_taken_over(t, e);
		return 0;
	}
	if (seat == 0 || seat > QB_SEAT_MAX || role == QB_ROLE_NONE || role >= QB_ROLE_COUNT)
		return qb_err_set(err, QB_ECORRUPT, "a record of the processes names seat %u and "
				  "role %u", seat, role);
	switch (e->ev.type) {
	case QB_EV_PROCESS_SPAWNED:
		p = sitting(t, seat, pid, role, e->t_ns);
		if (role != QB_ROLE_PARENT && t->current[e->ev.seat] != QB_NO_IDX)
			p->spawner = t->current[e->ev.seat];
		break;
	case QB_EV_PROCESS_READY:
		on_ready(sitting(t, seat, pid, role, e->t_ns), e);
		break;
	case QB_EV_PROCESS_KILLED:
		on_killed(t, meant(t, seat, pid, role, e->t_ns), e);
		break;
	case QB_EV_PROCESS_DIED:
		p = meant(t, seat, pid, role, e->t_ns);
		if (!p->died_ns)
			p->died_ns = e->t_ns;
		break;
	case QB_EV_PROCESS_STOPPED:
		/* arg0 is not promised to be the pid: it is whoever sits there and says so. */
		if (t->current[seat] != QB_NO_IDX)
			t->procs[t->current[seat]].stopped = 1;
		break;
	}
	return 0;
}

static int is_victim_role(uint32_t role)
{
	return role == QB_ROLE_PARENT || role == QB_ROLE_SYNCER || role == QB_ROLE_WORKER ||
	       role == QB_ROLE_STANDBY;
}

/* A death that nobody planned is a kill of its own; the final tidying up is none. */
static void unplanned(struct qb_tally *t, struct qb_proc *p)
{
	struct qb_kill *k;

	if (!p->dead || p->group != QB_NO_IDX || !is_victim_role(p->role) ||
	    qb_proc_death_ns(p) > t->in->watch_end_ns)
		return;
	p->group = t->kills_count++;
	k = &t->kills[p->group];
	memset(k, 0, sizeof(*k));
	k->t_ns = qb_proc_death_ns(p);
	k->role = p->role;
}

/* The children of a parent die with it: they are victims of what it died of. */
static void inherit(struct qb_tally *t, struct qb_proc *p)
{
	const struct qb_proc *parent;

	if (p->role == QB_ROLE_PARENT || p->group != QB_NO_IDX || p->spawner == QB_NO_IDX ||
	    (p->stopped && !p->dead))
		return;
	parent = &t->procs[p->spawner];
	if (!parent->dead || parent->group == QB_NO_IDX ||
	    (p->died_ns && p->died_ns < qb_proc_death_ns(parent)))
		return;
	p->dead = 1;
	p->group = parent->group;
	if (!p->died_ns)
		p->died_ns = qb_proc_death_ns(parent);
}

static int by_time(const void *a, const void *b)
{
	const struct qb_kill *x = a, *y = b;

	if (x->t_ns != y->t_ns)
		return x->t_ns < y->t_ns ? -1 : 1;
	return (x->was > y->was) - (x->was < y->was);
}

static void sort_kills(struct qb_tally *t)
{
	for (uint32_t i = 0; i < t->kills_count; i++)
		t->kills[i].was = i;
	qsort(t->kills, t->kills_count, sizeof(*t->kills), by_time);
	for (uint32_t i = 0; i < t->kills_count; i++)
		t->kill_place[t->kills[i].was] = i;
	for (uint32_t i = 0; i < t->procs_count; i++) {
		struct qb_proc *p = &t->procs[i];

		if (p->group == QB_NO_IDX)
			continue;
		p->group = t->kill_place[p->group];
		t->kills[p->group].victims++;
		t->kills[p->group].workers += p->role == QB_ROLE_WORKER;
		t->kills[p->group].syncers += p->role == QB_ROLE_SYNCER;
	}
}

void qb_tally_deaths(struct qb_tally *t)
{
	for (uint32_t i = 0; i < t->procs_count; i++) {
		struct qb_proc *p = &t->procs[i];

		p->dead = is_victim_role(p->role) && (p->killed_ns || (p->died_ns && !p->stopped));
		if (p->role == QB_ROLE_PARENT)
			unplanned(t, p);
	}
	for (uint32_t i = 0; i < t->procs_count; i++) {
		inherit(t, &t->procs[i]);
		unplanned(t, &t->procs[i]);
	}
	sort_kills(t);
}
