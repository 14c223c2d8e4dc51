/* SPDX-License-Identifier: Apache-2.0 */
/* After the drain: what the queue says of each job, how often its effect happened, and whether it adds up. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "pg/conn.h"
#include "record/ends.h"
#include "record/load.h"
#include "run/driver.h"
#include "run/server.h"
#include "shm/job.h"
#include "sync/effect.h"
#include "sync/rewind.h"
#include "sync/schema.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

struct collect {
	struct qb_job_end *jobs;
	uint64_t count;
	uint64_t strangers;     /* jobs that the queue knows and the plan does not */
	uint64_t strange_effects;       /* the same of the ledger */
};

/* A job may be told twice, from the segment and from Postgres, when it was freed in between: the final word wins. */
static int is_final(unsigned outcome)
{
	return outcome == QB_OUTCOME_COMPLETED || outcome == QB_OUTCOME_DISCARDED;
}

static void on_outcome(void *opaque, uint64_t job_id, enum qb_outcome outcome, uint32_t attempt)
{
	struct collect *c = opaque;

	if (job_id == 0 || job_id > c->count) {
		c->strangers++;
		return;
	}
	struct qb_job_end *e = &c->jobs[job_id - 1];

	if (e->outcome != QB_OUTCOME_NONE && is_final(e->outcome))
		return;
	e->outcome = (uint8_t)outcome;
	e->attempt = attempt;
}

static int ask_queue(struct qb_driver *d, struct collect *c, struct qb_err *err)
{
	struct qb_feeder *f = &d->feeder;
	int rc = 0;

	if (!f->q)
		rc = f->ops->open(&f->env, &f->q, err);
	if (rc == 0)
		rc = f->ops->outcomes(f->q, on_outcome, c, err);
	if (rc < 0)
		return qb_err_context(err, "could not ask the queue what became of the jobs");
	if (c->strangers)
		qb_log(QB_LOG_WARNING, "the queue holds %llu jobs that are not of this run",
		       (unsigned long long)c->strangers);
	return 0;
}

static void on_effects(void *opaque, uint64_t job_id, uint64_t effects)
{
	struct collect *c = opaque;

	if (job_id == 0 || job_id > c->count)
		c->strange_effects++;
	else
		c->jobs[job_id - 1].effects = effects < UINT32_MAX ? (uint32_t)effects : UINT32_MAX;
}

/* The ground truth: words that nobody can lose while the host lives, or rows that Postgres has committed. */
static int count_effects(struct qb_driver *d, struct collect *c, struct qb_err *err)
{
	PGconn *conn;
	int rc;

	if (!d->seg.cfg.ledger) {
		for (uint64_t i = 0; i < c->count; i++)
			c->jobs[i].effects = qb_effect_count(&d->seg, i + 1);
		return 0;
	}
	rc = qb_pg_connect(qb_server_conninfo(d->server), "qbench driver", CONNECT_NS, &conn, err);
	if (rc == 0) {
		rc = qb_effect_counts(conn, d->seg.hdr->run_id, on_effects, c, err);
		PQfinish(conn);
	}
	if (rc == 0 && c->strange_effects)
		rc = qb_err_set(err, QB_EVERIFY, "the ledger has effects of %llu jobs that are not of this run",
				(unsigned long long)c->strange_effects);
	return rc;
}

static int close_record(struct qb_driver *d, const struct qb_ends *ends, struct qb_err *err)
{
	uint64_t dropped = 0;
	struct qb_loss loss;

	for (uint32_t seat = 1; seat < d->seg.cfg.seat_count; seat++)
		dropped += qb_load_relaxed64(&qb_seg_event_ring(&d->seg, seat)->dropped);
	qb_loss_read(&d->seg, &loss);
	const struct qb_record_counter counters[] = {
		{ "end_mono_ns", ends->watch_end_ns },
		{ "dropped", dropped },
		{ "enqueued", d->feeder.acknowledged },
		{ "interrupted", (uint64_t)d->result->interrupted },
		{ "kill_late_ns_max", d->faults.late_ns_max },
		{ "failovers_behind", loss.rewinds },
		{ "failover_jobs_resent", loss.accepted },
		{ "failover_changes_resent", loss.changes },
		{ "failover_outcomes_resent", loss.outcomes },
		{ "failover_events_resent", loss.events },
		{ "failover_batches_gone", loss.gone_batches },
		{ "failover_outcomes_gone", loss.gone },
	};
	int rc = qb_recorder_poll(&d->recorder, err);

	if (rc == 0)
		rc = qb_record_ends(d->recorder.w, ends, err);
	int closed = qb_recorder_close(&d->recorder, counters, QB_ARRAY_COUNT(counters), rc == 0 ? err : NULL);

	return rc < 0 ? rc : closed;
}

void qb_let_rows_go(struct qb_driver *d)
{
	struct qb_err err = { 0 };
	PGconn *conn;

	if (!(d->ops->flags & QB_QUEUE_IN_SEGMENT) && !d->seg.cfg.ledger)
		return;
	int rc = qb_pg_connect(qb_server_conninfo(d->server), "qbench driver", CONNECT_NS, &conn, &err);

	if (rc == 0) {
		rc = qb_schema_run_ended(conn, d->seg.hdr->run_id, &err);
		PQfinish(conn);
	}
	if (rc < 0)
		qb_log(QB_LOG_WARNING, "the rows of this run stay in schema \"qbench\": %s", err.text);
}

int qb_verify(struct qb_driver *d, struct qb_err *err)
{
	struct collect c = { .count = d->plan.count };
	struct qb_trace trace;
	char path[640];
	int rc;

	c.jobs = qb_xcalloc(c.count + 1, sizeof(*c.jobs));
	struct qb_ends ends = {
		.jobs_count = c.count,
		.effects_count = d->seg.cfg.effect_count,
		/* While the processes leave nothing is watched: they take no job any more. */
		.watch_end_ns = d->watched_ns ? d->watched_ns : qb_now_ns(),
		.reports_ambiguity = (d->ops->flags & QB_QUEUE_IN_SEGMENT) != 0,
		.parks = (d->ops->flags & QB_QUEUE_IN_SEGMENT) && d->cfg->ambiguous == QB_EFFECT_OPAQUE,
		.resolves = (d->ops->flags & QB_QUEUE_IN_SEGMENT) && d->cfg->ambiguous == QB_EFFECT_TRANSACTIONAL,
		.load = d->result->load,
		.leased = (d->ops->flags & QB_QUEUE_LEASED) != 0,
		.may_lose = (d->ops->flags & QB_QUEUE_MAY_LOSE) != 0,
		.forgets = (d->ops->flags & QB_QUEUE_FORGETS) != 0,
		.jobs = c.jobs,
	};

	rc = ask_queue(d, &c, err);
	if (rc < 0)
		goto out;
	for (uint64_t i = 0; i < c.count; i++)
		c.jobs[i].job_id = i + 1;
	rc = count_effects(d, &c, err);
	if (rc < 0)
		goto out;
	rc = close_record(d, &ends, err);
	if (rc < 0) {
		qb_err_context(err, "could not finish the record");
		goto out;
	}
	snprintf(path, sizeof(path), "%s/events.qbr", d->result->dir);
	rc = qb_trace_load(path, &trace, err);
	if (rc < 0)
		goto out;
	struct qb_summary_input in = {
		.trace = &trace,
		.ends = c.jobs,
		.jobs_count = c.count,
		.effects_count = ends.effects_count,
		.watch_end_ns = ends.watch_end_ns,
		.reports_ambiguity = (int)ends.reports_ambiguity,
		.parks = (int)ends.parks,
		.resolves = (int)ends.resolves,
		.leased = (int)ends.leased,
		.may_lose = (int)ends.may_lose,
		.forgets = (int)ends.forgets,
	};

	rc = qb_summarize(&in, &d->result->summary, err);
	qb_trace_free(&trace);
	if (rc == 0 && !d->result->summary.verified && !d->result->interrupted)
		rc = qb_err_set(err, QB_EVERIFY, "the run does not add up; see the identities in summary.json");
	if (rc == 0 && !d->result->interrupted)
		qb_let_rows_go(d);
out:
	free(c.jobs);
	return rc;
}
