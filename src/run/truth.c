/* SPDX-License-Identifier: Apache-2.0 */
#include "run/truth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "shm/layout.h"
#include "shm/status.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

/* What is known of a job, from both sides. */
struct job {
	uint32_t effects;
	uint8_t outcome, live;          /* enum qb_job_state in that table; 0: no row */
	unsigned acknowledged : 1, completed : 1, discarded : 1, ambiguous : 1, submitted : 1;
	uint32_t proc;                  /* who started it last; 0: nobody */
};

/* One process in a seat, as far as it was seen at work. */
struct proc {
	unsigned died : 1, stopped : 1; /* stopped: it left in order, and said so */
};

struct look {
	struct job *jobs;               /* by id */
	struct proc *procs;             /* from 1 on */
	uint32_t procs_count;
	uint32_t sits[QB_SEAT_MAX + 1]; /* who sits there now; 0: nobody that was seen at work */
	uint64_t count;
	int drained;
	enum qb_truth_effects effects;
	struct qb_truth *out;
};

static const char outcome_sql[] = "select job_id, state::bigint from qbench.outcome join qbench.run using (run_no)"
				  " where run_id = $1";
static const char job_sql[] = "select job_id, state::bigint from qbench.job join qbench.run using (run_no)"
			      " where run_id = $1";
static const char ledger_sql[] = "select job_id, count(*) from qbench.ledger join qbench.run using (run_no)"
				 " where run_id = $1 group by job_id";

static void find_fault(struct look *l, uint64_t *count, uint64_t id, const char *what)
{
	if (!l->out->first[0])
		snprintf(l->out->first, sizeof(l->out->first), "job %llu: %s", (unsigned long long)id, what);
	++*count;
}

static void note_process(struct look *l, const struct qb_event_shm *ev)
{
	uint32_t who = ev->slot_idx <= QB_SEAT_MAX ? l->sits[ev->slot_idx] : 0;

	if (who && ev->type == QB_EV_PROCESS_STOPPED)
		l->procs[who].stopped = 1;
	if (!who || ev->type != QB_EV_PROCESS_DIED)
		return;
	l->procs[who].died = 1;
	l->sits[ev->slot_idx] = 0;
}

static void note(struct look *l, const struct qb_event_shm *ev)
{
	struct job *j = &l->jobs[ev->job_id];

	switch (ev->type) {
	case QB_EV_JOB_SUBMITTED:
		j->submitted = 1;
		break;
	case QB_EV_JOB_ENQUEUED:
		j->acknowledged = 1;
		break;
	case QB_EV_JOB_STARTED:
		if (!l->sits[ev->seat])
			l->sits[ev->seat] = ++l->procs_count;
		j->proc = l->sits[ev->seat];
		break;
	case QB_EV_JOB_COMPLETED:
		j->completed = 1;
		break;
	case QB_EV_JOB_DISCARDED:
		j->discarded = 1;
		break;
	case QB_EV_JOB_AMBIGUOUS:
		j->ambiguous = 1;
		break;
	}
}

/* Rows of a job and a number, each job once. */
static int read_rows(struct look *l, PGconn *conn, const char *sql, const char *run_id,
		     void (*row)(struct look *l, uint64_t id, uint64_t value), struct qb_err *err)
{
	const Oid oids[] = { QB_PG_TEXT };
	const char *values[] = { run_id };
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, sql, 1, oids, values, NULL, NULL, 1, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t id = 0, value = 0;

		if (qb_pg_get_i64(res, i, 0, &id) || qb_pg_get_i64(res, i, 1, &value))
			rc = qb_err_set(err, QB_ECORRUPT, "a row of schema \"qbench\" has other types than it should");
		else if (id < 1 || (uint64_t)id > l->count)
			find_fault(l, &l->out->wrong, (uint64_t)id, "Postgres has it, and nobody submitted it");
		else
			row(l, (uint64_t)id, (uint64_t)value);
	}
	PQclear(res);
	return rc;
}

static void outcome_row(struct look *l, uint64_t id, uint64_t state)
{
	l->jobs[id].outcome = (uint8_t)state;
	l->out->outcomes++;
}

static void job_row(struct look *l, uint64_t id, uint64_t state)
{
	/* Free is 0 in both; a row means that it is there. */
	l->jobs[id].live = (uint8_t)state;
}

static void ledger_row(struct look *l, uint64_t id, uint64_t effects)
{
	l->jobs[id].effects = (uint32_t)effects;
	l->out->effects += effects;
}

/*
 * A worker that is killed between a step and its record leaves the step alone, and when the syncer is quick the
 * slot is free before recovery could supply the record. Whoever lived, or left in order, wrote it.
 */
static int cut_short(const struct look *l, const struct job *j)
{
	const struct proc *p = &l->procs[j->proc];

	return j->proc && p->died && !p->stopped;
}

static void judge_outcome(struct look *l, uint64_t id, const struct job *j)
{
	uint64_t *wrong = &l->out->wrong;
	int done = j->outcome == QB_JOB_DONE;

	if (!j->submitted)
		find_fault(l, wrong, id, "it has an outcome and was never submitted");
	else if (j->live)
		find_fault(l, wrong, id, "it has an outcome and is live");
	else if (done && !j->proc)
		find_fault(l, wrong, id, "it is done and was never started");
	else if (done && !j->completed && !cut_short(l, j))
		find_fault(l, wrong, id, "it is done, and no completion is on record");
	else if (!done && j->completed)
		find_fault(l, wrong, id, "it was completed, and Postgres says that it failed");
	else if (!done && !j->discarded && !cut_short(l, j))
		find_fault(l, wrong, id, "it failed for good, and no record says so");
}

static void judge_live(struct look *l, uint64_t id, const struct job *j)
{
	uint64_t *wrong = &l->out->wrong;

	if (j->live == QB_JOB_AMBIGUOUS && !j->ambiguous)
		find_fault(l, wrong, id, "it is ambiguous, and nobody reported that");
	else if (j->live != QB_JOB_AMBIGUOUS && l->drained)
		find_fault(l, wrong, id, "everything was finished, and it is live");
	else if (j->completed || j->discarded)
		find_fault(l, wrong, id, "it came to its end, and is live");
}

static void judge(struct look *l, uint64_t id)
{
	const struct job *j = &l->jobs[id];

	if (j->outcome)
		judge_outcome(l, id, j);
	else if (j->live)
		judge_live(l, id, j);
	else if (j->acknowledged)
		find_fault(l, &l->out->lost, id, "it was acknowledged, and Postgres has never heard of it");
	else if (j->completed || j->discarded)
		find_fault(l, &l->out->wrong, id, "it came to its end, and Postgres does not know");
	if (l->effects == QB_TRUTH_NOT_HERE)
		return;
	if (j->effects > 1 && (!j->ambiguous || l->effects == QB_TRUTH_EXACT))
		find_fault(l, &l->out->silent, id, l->effects == QB_TRUTH_EXACT ? "its transaction was committed twice" :
			   "its effect happened more than once, and nobody reported a doubt");
	if (j->outcome == QB_JOB_DONE && j->effects == 0)
		find_fault(l, &l->out->wrong, id, "it is done, and its effect never happened");
}

static int ask(struct look *l, const char *conninfo, const char *run_id, struct qb_err *err)
{
	PGconn *conn = NULL;
	int rc = qb_pg_connect(conninfo, "qbench selftest", CONNECT_NS, &conn, err);

	if (rc < 0)
		return rc;
	rc = read_rows(l, conn, outcome_sql, run_id, outcome_row, err);
	if (rc == 0)
		rc = read_rows(l, conn, job_sql, run_id, job_row, err);
	if (rc == 0 && l->effects != QB_TRUTH_NOT_HERE)
		rc = read_rows(l, conn, ledger_sql, run_id, ledger_row, err);
	PQfinish(conn);
	return rc;
}

int qb_truth_of_run(const char *conninfo, const struct qb_trace *trace, int drained,
		    enum qb_truth_effects effects, struct qb_truth *out, struct qb_err *err)
{
	struct look l = { .count = trace->job_id_max, .drained = drained, .effects = effects, .out = out };

	memset(out, 0, sizeof(*out));
	l.jobs = calloc(l.count + 1, sizeof(*l.jobs));
	/* At most one for each event. */
	l.procs = calloc(trace->events_count + 1, sizeof(*l.procs));
	if (!l.jobs || !l.procs) {
		free(l.jobs);
		free(l.procs);
		return qb_err_errno(err, ENOMEM, "could not compare the run with Postgres");
	}
	for (size_t i = 0; i < trace->events_count; i++)
		if (qb_event_is_job(&trace->events[i].ev))
			note(&l, &trace->events[i].ev);
		else
			note_process(&l, &trace->events[i].ev);
	int rc = ask(&l, conninfo, trace->meta.run_id, err);

	for (uint64_t id = 1; rc == 0 && id <= l.count; id++)
		judge(&l, id);
	free(l.jobs);
	free(l.procs);
	return rc < 0 ? qb_err_context(err, "could not compare the run with Postgres") : 0;
}
