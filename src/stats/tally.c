/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the events; then what only the queue knows is added to the attempts. */
#include "stats/tally.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record/format.h"
#include "shm/status.h"

static uint32_t add_try(struct qb_tally *t, uint32_t job, uint16_t attempt, uint32_t proc)
{
	struct qb_tally_job *j = &t->jobs[job];
	uint32_t idx = t->tries_count++;        /* there is room for one per event and per job */
	struct qb_try *a = &t->tries[idx];

	memset(a, 0, sizeof(*a));
	a->job = job;
	a->attempt = attempt;
	a->proc = proc;
	a->prev = j->last;
	a->next = QB_NO_IDX;
	if (j->last == QB_NO_IDX)
		j->first = idx;
	else
		t->tries[j->last].next = idx;
	j->last = idx;
	return idx;
}

/* The newest attempt of that number by that process; with any_proc by whomever. QB_NO_IDX. */
static uint32_t find_try(const struct qb_tally *t, uint32_t job, uint16_t attempt, uint32_t proc,
			 int any_proc)
{
	uint32_t idx = t->jobs[job].last;

	while (idx != QB_NO_IDX) {
		const struct qb_try *a = &t->tries[idx];

		if (a->attempt == attempt && (any_proc || a->proc == proc))
			break;
		idx = a->prev;
	}
	return idx;
}

/* Was this record written by a process that runs jobs, about its own attempt? */
static int by_worker(const struct qb_tally *t, const struct qb_event_shm *ev)
{
	uint32_t role = t->in->trace->seat_role[ev->seat];
	uint32_t idx = t->current[ev->seat];

	if (idx != QB_NO_IDX)
		role = t->procs[idx].role;
	return role == QB_ROLE_WORKER || role == QB_ROLE_STANDBY || role == QB_ROLE_NONE;
}

static void on_started(struct qb_tally *t, uint32_t job, const struct qb_trace_event *e)
{
	uint32_t proc = qb_tally_worker(t, e->ev.seat, e->t_ns);
	uint32_t idx = add_try(t, job, e->ev.attempt, proc);

	t->tries[idx].start_ns = e->t_ns;
	t->tries[idx].flags = QB_TRY_LOGGED | QB_TRY_STARTED;
	t->tries[idx].found = e->ev.arg1 < QB_FOUND_COUNT ? (uint32_t)e->ev.arg1 : QB_FOUND_UNTOLD;
	t->tries[idx].failures = t->in->reports_ambiguity ? qb_word_failures(e->ev.token) : 0;
	if (e->ev.error_class)
		t->jobs[job].flags |= QB_TJOB_FAILS;
}

static void end_try(struct qb_try *a, enum qb_try_outcome outcome, uint64_t t_ns, int told)
{
	/* Refused without a start on record, it was refused at its start and never began. */
	if (outcome != QB_TRY_FENCED)
		a->flags |= QB_TRY_STARTED;
	if (a->outcome == QB_TRY_OPEN) {
		a->outcome = (uint8_t)outcome;
		a->end_ns = t_ns;
		if (told)
			a->flags |= QB_TRY_TOLD;
	} else if (a->outcome != outcome) {
		a->flags |= QB_TRY_TWO_ENDS;
	} else if ((a->flags & QB_TRY_TOLD) && !told) {
		/* The worker's own record of the same end: it knows the time better. */
		a->end_ns = t_ns;
		a->flags &= (uint8_t)~QB_TRY_TOLD;
	}
}

static void on_end(struct qb_tally *t, uint32_t job, const struct qb_trace_event *e,
		   enum qb_try_outcome outcome)
{
	const struct qb_event_shm *ev = &e->ev;
	int told = !by_worker(t, ev) || (outcome == QB_TRY_COMPLETED && (ev->arg1 & 1));
	uint32_t idx, proc = QB_NO_IDX;

	if (told) {
		idx = find_try(t, job, ev->attempt, 0, 1);
	} else {
		proc = qb_tally_worker(t, ev->seat, e->t_ns);
		idx = find_try(t, job, ev->attempt, proc, 0);
		if (idx == QB_NO_IDX) {
			idx = find_try(t, job, ev->attempt, QB_NO_IDX, 0);
			if (idx != QB_NO_IDX)
				t->tries[idx].proc = proc;
		}
	}
	if (idx == QB_NO_IDX)
		idx = add_try(t, job, ev->attempt, proc);
	if (outcome == QB_TRY_FAILED && !told)
		t->tries[idx].due_ns = ev->arg1;
	end_try(&t->tries[idx], outcome, e->t_ns, told);
}

/* A verdict of recovery; told again after a kill inside recovery, it changes nothing. */
static void on_verdict(struct qb_tally *t, uint32_t job, const struct qb_trace_event *e)
{
	const struct qb_event_shm *ev = &e->ev;
	uint32_t idx = find_try(t, job, ev->attempt, 0, 1);
	struct qb_try *a;

	if (idx == QB_NO_IDX) {
		uint32_t seat = qb_word_seat(ev->arg0);

		/* Killed between the step and its record: the word says who it was. */
		idx = add_try(t, job, ev->attempt, ev->arg0 ? t->current[seat] : QB_NO_IDX);
	}
	a = &t->tries[idx];
	if (ev->type == QB_EV_JOB_REQUEUED) {
		a->flags |= QB_TRY_REQUEUED;
		return;
	}
	a->flags |= QB_TRY_REPORTED | QB_TRY_STARTED;
	if (ev->arg1 == 1)
		a->flags |= QB_TRY_PARKED;
	else if (ev->arg1 == 2)
		a->flags |= QB_TRY_IN_DOUBT;
}

static void on_submitted(struct qb_tally_job *j, const struct qb_trace_event *e)
{
	if (j->flags & QB_TJOB_SUBMITTED)
		return;
	j->flags |= QB_TJOB_SUBMITTED;
	j->submitted_ns = e->t_ns;
	j->intended_ns = e->ev.arg0;
}

static int on_job(struct qb_tally *t, const struct qb_trace_event *e, struct qb_err *err)
{
	uint64_t id = e->ev.job_id;
	struct qb_tally_job *j;
	uint32_t job;

	if (id == 0 || id > t->jobs_count)
		return qb_err_set(err, QB_ECORRUPT, "a record names job %llu; jobs 1 to %llu were "
				  "planned", (unsigned long long)id,
				  (unsigned long long)t->jobs_count);
	job = (uint32_t)(id - 1);
	j = &t->jobs[job];
	switch (e->ev.type) {
	case QB_EV_JOB_SUBMITTED:
		on_submitted(j, e);
		break;
	case QB_EV_JOB_ENQUEUED:
		j->flags |= QB_TJOB_ACKED;
		j->answered_ns = e->t_ns;
		break;
	case QB_EV_ENQUEUE_FAILED:
		j->flags |= e->ev.arg0 ? QB_TJOB_REFUSED : QB_TJOB_DUPLICATE;
		j->answered_ns = e->t_ns;
		break;
	case QB_EV_JOB_STARTED:
		on_started(t, job, e);
		break;
	case QB_EV_JOB_COMPLETED:
		on_end(t, job, e, QB_TRY_COMPLETED);
		break;
	case QB_EV_JOB_FAILED:
		on_end(t, job, e, QB_TRY_FAILED);
		break;
	case QB_EV_JOB_FENCED:
		t->fenced++;
		on_end(t, job, e, QB_TRY_FENCED);
		break;
	case QB_EV_JOB_DISCARDED:
		j->flags |= QB_TJOB_DISCARDED;
		if (!j->discarded_ns)
			j->discarded_ns = e->t_ns;
		break;
	case QB_EV_JOB_REQUEUED:
	case QB_EV_JOB_AMBIGUOUS:
		on_verdict(t, job, e);
		break;
	}
	return 0;
}

static int on_event(struct qb_tally *t, const struct qb_trace_event *e, struct qb_err *err)
{
	uint32_t type = e->ev.type;

	if (e->ev.seat > QB_SEAT_MAX)
		return qb_err_set(err, QB_ECORRUPT, "a record was written by seat %u", e->ev.seat);
	if (type >= QB_EV_JOB_SUBMITTED && type <= QB_EV_JOB_AMBIGUOUS)
		return on_job(t, e, err);
	if ((type >= QB_EV_PROCESS_SPAWNED && type <= QB_EV_PROCESS_DIED) ||
	    type == QB_EV_PROCESS_STOPPED || type == QB_EV_TAKEN_OVER)
		return qb_tally_process(t, e, err);
	if (type == QB_EV_VERDICT) {
		t->stops += e->ev.arg0 == QB_FAULT_STOPPED;
		t->server_kills += e->ev.arg0 == QB_FAULT_SERVER_KILLED;
	}
	if (type == QB_EV_SYNC_COMMITTED) {
		t->commits++;
		t->commit_rows += e->ev.arg0;
	}
	return 0;
}

/* The attempt that the queue means, or the newest that could have ended so. QB_NO_IDX. */
static uint32_t told_try(const struct qb_tally *t, uint32_t job, uint32_t attempt)
{
	uint32_t idx = t->jobs[job].last;

	if (attempt)
		return find_try(t, job, (uint16_t)attempt, 0, 1);
	while (idx != QB_NO_IDX && t->tries[idx].outcome != QB_TRY_OPEN)
		idx = t->tries[idx].prev;
	return idx;
}

static int is_completed(const struct qb_tally *t, uint32_t job)
{
	uint32_t idx = t->jobs[job].first;

	while (idx != QB_NO_IDX && t->tries[idx].outcome != QB_TRY_COMPLETED)
		idx = t->tries[idx].next;
	return idx != QB_NO_IDX;
}

/*
 * A process can be killed between a step and its record. What the queue says of the job at the
 * end shows that step; when it happened is known only as "before the death".
 */
static void ask_queue(struct qb_tally *t, uint32_t job, const struct qb_job_end *end)
{
	uint32_t idx = told_try(t, job, end->attempt);
	struct qb_try *a = idx == QB_NO_IDX ? NULL : &t->tries[idx];
	uint64_t before = a && qb_try_is_dead(t, a) ? qb_proc_death_ns(&t->procs[a->proc]) - 1 : 0;

	switch (end->outcome) {
	case QB_OUTCOME_COMPLETED:
		/*
		 * Of an attempt without an outcome: this is it. Else a completion must come from
		 * somewhere, unless another attempt has one on record.
		 */
		if (a && a->outcome == QB_TRY_OPEN) {
			if (end->attempt || !is_completed(t, job))
				end_try(a, QB_TRY_COMPLETED, before, 1);
		} else if (!is_completed(t, job)) {
			idx = add_try(t, job, (uint16_t)end->attempt, QB_NO_IDX);
			end_try(&t->tries[idx], QB_TRY_COMPLETED, 0, 1);
		}
		break;
	case QB_OUTCOME_WAITING:
	case QB_OUTCOME_DISCARDED:
		/*
		 * A job that was reported as ambiguous and then given up did not fail by itself, and neither did one
		 * that a time-out took away from the dead.
		 */
		if (a && end->attempt && a->outcome == QB_TRY_OPEN && !(t->in->leased && qb_try_is_dead(t, a)) &&
		    (a->flags & QB_TRY_STARTED) && !(a->flags & QB_TRY_REPORTED))
			end_try(a, QB_TRY_FAILED, before, 1);
		break;
	default:
		break;
	}
}

int qb_try_lost_its_result(const struct qb_tally *t, const struct qb_try *a, uint32_t *next)
{
	const struct qb_job_end *end = qb_tally_end(t, a->job);

	*next = QB_NO_IDX;
	if (a->outcome != QB_TRY_COMPLETED || (a->flags & QB_TRY_TOLD) || a->end_ns == 0)
		return 0;
	/* One that had begun already says nothing: two had it at a time. */
	for (uint32_t i = qb_try_next_start(t, a->next); i != QB_NO_IDX; i = qb_try_next_start(t, t->tries[i].next))
		if (t->tries[i].start_ns > a->end_ns) {
			*next = i;
			return 1;
		}
	return qb_tally_is_loose(t) && end && a->end_ns <= t->in->watch_end_ns &&
	       (end->outcome == QB_OUTCOME_QUEUED || end->outcome == QB_OUTCOME_WAITING ||
		end->outcome == QB_OUTCOME_HELD || end->outcome == QB_OUTCOME_DISCARDED);
}

/*
 * A process can also be killed between a failure and its record, when the job is ready again at once: nothing
 * in the segment says then who it was. The next start does: its word has one failure more.
 */
static void find_failure(struct qb_tally *t, uint32_t job)
{
	uint32_t idx = t->jobs[job].first;

	for (; idx != QB_NO_IDX; idx = t->tries[idx].next) {
		struct qb_try *a = &t->tries[idx];
		uint32_t next = qb_try_next_start(t, a->next);

		if (next != QB_NO_IDX && a->outcome == QB_TRY_OPEN && (a->flags & QB_TRY_LOGGED) &&
		    !(a->flags & QB_TRY_REPORTED) && qb_try_is_dead(t, a) &&
		    t->tries[next].failures == a->failures + 1)
			end_try(a, QB_TRY_FAILED, qb_proc_death_ns(&t->procs[a->proc]) - 1, 1);
	}
}

static int ask_queue_all(struct qb_tally *t, struct qb_err *err)
{
	const struct qb_job_end *ends = t->in->ends;

	for (uint32_t i = 0; ends && i < t->jobs_count; i++) {
		if ((ends[i].job_id != i + 1ull && ends[i].job_id != 0) ||
		    ends[i].outcome >= QB_OUTCOME_COUNT)
			return qb_err_set(err, QB_ECORRUPT, "what the queue said of job %u is "
					  "damaged: job %llu, outcome %u", i + 1,
					  (unsigned long long)ends[i].job_id, ends[i].outcome);
		ask_queue(t, i, &ends[i]);
	}
	return 0;
}

static int reserve(struct qb_tally *t, struct qb_err *err)
{
	const struct qb_trace *trace = t->in->trace;
	uint64_t tries = t->jobs_count, procs = QB_SEAT_MAX + 1;

	for (size_t i = 0; i < trace->events_count; i++) {
		uint32_t type = trace->events[i].ev.type;

		tries += type >= QB_EV_JOB_STARTED && type <= QB_EV_JOB_AMBIGUOUS;
		procs += type >= QB_EV_PROCESS_SPAWNED && type <= QB_EV_PROCESS_STOPPED;
	}
	if (tries >= QB_NO_IDX || procs >= QB_NO_IDX)
		return qb_err_set(err, QB_ETOOBIG, "could not add up the run: %zu events are too "
				  "many", trace->events_count);
	t->tries_max = (uint32_t)tries;
	t->procs_max = (uint32_t)procs;
	t->jobs = calloc(t->jobs_count + 1, sizeof(*t->jobs));
	t->tries = malloc((tries + 1) * sizeof(*t->tries));
	t->procs = malloc(procs * sizeof(*t->procs));
	t->kills = malloc(procs * sizeof(*t->kills));
	t->kill_place = malloc(procs * sizeof(*t->kill_place));
	if (!t->jobs || !t->tries || !t->procs || !t->kills || !t->kill_place)
		return qb_err_errno(err, ENOMEM, "could not add up the run");
	for (uint64_t i = 0; i < t->jobs_count; i++)
		t->jobs[i].first = t->jobs[i].last = QB_NO_IDX;
	for (uint32_t i = 0; i <= QB_SEAT_MAX; i++)
		t->current[i] = QB_NO_IDX;
	t->parent = QB_NO_IDX;
	return 0;
}

int qb_tally_build(struct qb_tally *t, const struct qb_summary_input *in, struct qb_err *err)
{
	int rc;

	memset(t, 0, sizeof(*t));
	t->in = in;
	t->jobs_count = in->jobs_count;
	if (t->jobs_count > QB_TALLY_JOBS_MAX)
		return qb_err_set(err, QB_ETOOBIG, "could not add up the run: %llu jobs are more "
				  "than %u", (unsigned long long)t->jobs_count, QB_TALLY_JOBS_MAX);
	rc = reserve(t, err);
	for (size_t i = 0; rc == 0 && i < in->trace->events_count; i++)
		rc = on_event(t, &in->trace->events[i], err);
	if (rc == 0) {
		qb_tally_deaths(t);
		rc = ask_queue_all(t, err);
		for (uint32_t i = 0; rc == 0 && t->in->reports_ambiguity && i < t->jobs_count; i++)
			find_failure(t, i);
	}
	return rc;
}

void qb_tally_free(struct qb_tally *t)
{
	free(t->jobs);
	free(t->tries);
	free(t->procs);
	free(t->kills);
	free(t->kill_place);
	memset(t, 0, sizeof(*t));
}
