/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/rewind.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pg/conn.h"
#include "shm/event.h"
#include "shm/fault.h"
#include "shm/status.h"

/* Slots per question. */
#define ASK_MAX 4096u

struct rewind {
	const struct qb_seg *seg;
	PGconn *conn;
	int64_t run_no;
	struct qb_loss loss;
	uint8_t *stale;                 /* by slot: the server has not what the sync word says */
	uint64_t events_kept;
	struct qb_pg_array ids;
	uint32_t slot[ASK_MAX];
	uint32_t slots_count;
};

void qb_loss_read(const struct qb_seg *seg, struct qb_loss *out)
{
	const struct qb_loss_shm *l = &seg->hdr->loss[qb_load_acquire32(&seg->hdr->loss_idx) & 1];

	out->rewinds = qb_load_relaxed64(&l->rewinds);
	out->accepted = qb_load_relaxed64(&l->accepted);
	out->changes = qb_load_relaxed64(&l->changes);
	out->outcomes = qb_load_relaxed64(&l->outcomes);
	out->events = qb_load_relaxed64(&l->events);
	out->gone_batches = qb_load_relaxed64(&l->gone_batches);
	out->gone = qb_load_relaxed64(&l->gone);
}

/* Does the row that is there say what was acknowledged? Only the waiting and the ambiguous change their rows. */
static int is_as_acknowledged(uint64_t sync, int16_t state, int32_t attempt)
{
	switch (qb_sync_stage_of(sync)) {
	case QB_SYNC_RETRY:
		return state == QB_JOB_WAITING && (uint32_t)attempt == qb_sync_attempt(sync);
	case QB_SYNC_FINAL:
		return state == QB_JOB_AMBIGUOUS && (uint32_t)attempt == qb_sync_attempt(sync);
	default:
		return 1;
	}
}

static int judge_row(struct rewind *r, uint32_t slot_idx, const PGresult *res, int row)
{
	uint64_t sync = qb_load_relaxed64(&r->seg->jobs[slot_idx].sync);
	int has_job = !PQgetisnull(res, row, 0), has_outcome = !PQgetisnull(res, row, 2);
	int16_t state = 0;
	int32_t attempt = 0;

	if (has_job && (qb_pg_get_i16(res, row, 0, &state) || qb_pg_get_i32(res, row, 1, &attempt)))
		return QB_ECORRUPT;
	if (qb_sync_stage_of(sync) == QB_SYNC_ENDED) {
		r->stale[slot_idx] = !has_outcome;
		r->loss.outcomes += !has_outcome;
	} else if (!has_job && !has_outcome) {
		r->stale[slot_idx] = 1;
		r->loss.accepted++;
	} else if (has_job && !is_as_acknowledged(sync, state, attempt)) {
		r->stale[slot_idx] = 1;
		r->loss.changes++;
	}
	return 0;
}

static int ask(struct rewind *r, struct qb_err *err)
{
	static const char sql[] =
		"select j.state, j.attempt, o.state from unnest($2::bigint[]) with ordinality u(job_id, n)"
		" left join qbench.job j on j.run_no = $1 and j.job_id = u.job_id"
		" left join qbench.outcome o on o.run_no = $1 and o.job_id = u.job_id order by u.n";
	const Oid oids[] = { QB_PG_INT8, 0 };
	uint64_t run_be = htobe64((uint64_t)r->run_no);
	const char *values[2] = { (const char *)&run_be };
	int lengths[2] = { 8 }, formats[] = { 1, 1 };
	PGresult *res = NULL;

	if (r->slots_count == 0)
		return 0;
	if (qb_pg_array_finish(&r->ids, &values[1], &lengths[1]) < 0)
		return qb_err_set(err, QB_ETOOBIG, "too many jobs for one question");
	int rc = qb_pg_query(r->conn, sql, 2, oids, values, lengths, formats, 1, &res, err);

	if (rc == 0 && PQntuples(res) != (int)r->slots_count)
		rc = qb_err_set(err, QB_ECORRUPT, "%d answers for %u jobs", PQntuples(res), r->slots_count);
	for (uint32_t i = 0; rc == 0 && i < r->slots_count; i++) {
		if (judge_row(r, r->slot[i], res, (int)i) < 0)
			rc = qb_err_set(err, QB_ECORRUPT, "a row has other types than it should");
	}
	PQclear(res);
	qb_pg_array_reset(&r->ids);
	r->slots_count = 0;
	return rc;
}

/* Every slot whose present job was acknowledged in some way. */
static int compare_jobs(struct rewind *r, struct qb_err *err)
{
	uint32_t end = qb_load_acquire32(&r->seg->hdr->high_water);

	for (uint32_t i = 0; i < end && i < r->seg->cfg.job_count; i++) {
		const struct qb_job_shm *job = &r->seg->jobs[i];
		/* [rewind.R1] Sees: the job as its last step left it. Pairs with: [job.W2], [job.W5], [job.W8]. */
		uint64_t word = qb_load_acquire64(&job->word), sync = qb_load_acquire64(&job->sync);

		/* SYNCED: on its way out, nothing of it is kept. */
		if (qb_sync_gen(sync) != qb_word_gen(word) || qb_sync_stage_of(sync) == QB_SYNC_NONE ||
		    qb_word_state(word) == QB_JOB_SYNCED)
			continue;
		qb_pg_array_add_i64(&r->ids, (int64_t)job->job_id);
		r->slot[r->slots_count++] = i;
		int rc = r->slots_count == ASK_MAX ? ask(r, err) : 0;

		if (rc < 0)
			return rc;
	}
	return ask(r, err);
}

static struct qb_event_ring_shm *ring_of(const struct rewind *r, uint32_t seat)
{
	return qb_seg_event_ring(r->seg, seat);
}

/* Those that were committed and are still in the rings: kept for a standby server. */
static int compare_events(struct rewind *r, struct qb_err *err)
{
	static const char sql[] =
		"select count(*) from unnest($2::smallint[], $3::bigint[], $4::bigint[]) u(seat, behind, upto)"
		" join qbench.event e on e.run_no = $1 and e.seat = u.seat and e.seq > u.behind and e.seq <= u.upto";
	const Oid oids[] = { QB_PG_INT8, 0, 0, 0 };
	uint64_t run_be = htobe64((uint64_t)r->run_no);
	const char *values[4] = { (const char *)&run_be };
	int lengths[4] = { 8 }, formats[] = { 1, 1, 1, 1 }, rc = 0;
	struct qb_pg_array col[3];
	PGresult *res = NULL;
	int64_t there = 0;

	qb_pg_array_init(&col[0], QB_PG_INT2);
	qb_pg_array_init(&col[1], QB_PG_INT8);
	qb_pg_array_init(&col[2], QB_PG_INT8);
	for (uint32_t seat = 1; seat < r->seg->cfg.seat_count; seat++) {
		uint64_t next = qb_load_relaxed64(&ring_of(r, seat)->reader[QB_READER_SYNC].next);
		uint64_t known = qb_load_relaxed64(&ring_of(r, seat)->reader[QB_READER_SYNC].known);

		if (known <= next)
			continue;
		qb_pg_array_add_i16(&col[0], (int16_t)seat);
		qb_pg_array_add_i64(&col[1], (int64_t)next);
		qb_pg_array_add_i64(&col[2], (int64_t)known);
		r->events_kept += known - next;
	}
	for (unsigned i = 0; i < 3; i++)
		rc |= qb_pg_array_finish(&col[i], &values[i + 1], &lengths[i + 1]);
	if (rc < 0)
		rc = qb_err_set(err, QB_ETOOBIG, "too many seats for one question");
	if (rc == 0)
		rc = qb_pg_query(r->conn, sql, 4, oids, values, lengths, formats, 1, &res, err);
	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &there) != 0)
		rc = qb_err_set(err, QB_ECORRUPT, "a count is no number");
	r->loss.events = r->events_kept > (uint64_t)there ? r->events_kept - (uint64_t)there : 0;
	PQclear(res);
	for (unsigned i = 0; i < 3; i++)
		qb_pg_array_free(&col[i]);
	return rc;
}

/* What was let go and is not there is lost for good. Of the outcomes it can be told how many. */
static int count_gone(struct rewind *r, uint64_t batch, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8 };
	uint64_t run_be = htobe64((uint64_t)r->run_no), released = qb_load_relaxed64(&r->seg->hdr->mark_released);
	uint64_t known = qb_load_relaxed64(&r->seg->hdr->mark_final);
	const char *values[] = { (const char *)&run_be };
	const int lengths[] = { 8 }, formats[] = { 1 };
	PGresult *res = NULL;
	int64_t there = 0;

	if (batch >= released)
		return 0;
	int rc = qb_pg_query(r->conn, "select count(*) from qbench.outcome where run_no = $1", 1, oids, values, lengths,
			     formats, 1, &res, err);

	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &there) != 0)
		rc = qb_err_set(err, QB_ECORRUPT, "a count is no number");
	PQclear(res);
	r->loss.gone_batches = released - batch;
	if (known > (uint64_t)there + r->loss.outcomes)
		r->loss.gone = known - (uint64_t)there - r->loss.outcomes;
	return rc;
}

/*
 * Both at once for every reader: the sums, and which failover they are of. Once for each, also after a kill: 0 when a
 * syncer that was killed behind this has counted it.
 */
static int publish(const struct rewind *r)
{
	struct qb_header_shm *h = r->seg->hdr;
	uint32_t idx = qb_load_relaxed32(&h->loss_idx);
	const struct qb_loss_shm *old = &h->loss[idx & 1];
	struct qb_loss_shm *l = &h->loss[(idx + 1) & 1];
	uint64_t epoch = qb_load_relaxed64(&h->mark_epoch);

	if (qb_load_relaxed64(&old->rewinds) > 0 && qb_load_relaxed64(&old->epoch) == epoch)
		return 0;
	qb_store_relaxed64(&l->epoch, epoch);
	qb_store_relaxed64(&l->rewinds, qb_load_relaxed64(&old->rewinds) + 1);
	qb_store_relaxed64(&l->accepted, qb_load_relaxed64(&old->accepted) + r->loss.accepted);
	qb_store_relaxed64(&l->changes, qb_load_relaxed64(&old->changes) + r->loss.changes);
	qb_store_relaxed64(&l->outcomes, qb_load_relaxed64(&old->outcomes) + r->loss.outcomes);
	qb_store_relaxed64(&l->events, qb_load_relaxed64(&old->events) + r->loss.events);
	qb_store_relaxed64(&l->gone_batches, qb_load_relaxed64(&old->gone_batches) + r->loss.gone_batches);
	qb_store_relaxed64(&l->gone, qb_load_relaxed64(&old->gone) + r->loss.gone);
	/* [rewind.W1] Publishes: the sums. Pairs with: the acquire of loss_idx. Killed before this: counted again, the same. */
	qb_store_release32(&h->loss_idx, idx + 1);
	return 1;
}

static void lower(qb_au64 *mark, uint64_t by)
{
	uint64_t old = qb_load_relaxed64(mark);

	qb_store_relaxed64(mark, old > by ? old - by : 0);
}

/* Back to what is certain. Each step may be the last: the next syncer meets the same server, and does it again. */
static void forget(const struct rewind *r, uint64_t batch)
{
	struct qb_header_shm *h = r->seg->hdr;

	for (uint32_t i = 0; i < r->seg->cfg.job_count; i++) {
		struct qb_job_shm *job = &r->seg->jobs[i];
		uint64_t sync = qb_load_relaxed64(&job->sync);

		if (!r->stale[i])
			continue;
		/* First, so that a kill leaves the marks too low, never too high: they say "at least". */
		lower(&h->mark_accepted, 1);
		lower(&h->mark_final, qb_sync_stage_of(sync) == QB_SYNC_ENDED);
		/* [rewind.W2] Publishes: nothing of it is certain. Pairs with: [job.R9]. Killed before: looked up again. */
		qb_store_release64(&job->sync, qb_sync(qb_sync_gen(sync), QB_SYNC_NONE, 0));
		QB_FAULT("rewind.forget.after-sync");
	}
	lower(&h->mark_final, r->loss.gone);
	lower(&h->mark_events, r->events_kept);
	for (uint32_t seat = 1; seat < r->seg->cfg.seat_count; seat++)
		qb_store_relaxed64(&ring_of(r, seat)->reader[QB_READER_SYNC].known, 0);
	if (qb_load_relaxed64(&h->mark_released) > batch)
		qb_store_relaxed64(&h->mark_released, batch);
	QB_FAULT("rewind.forget.before-mark");
	qb_store_relaxed64(&h->mark_batch, batch);
}

static void say(const struct qb_loss *l)
{
	if (qb_loss_resent(l) || !l->gone_batches)
		qb_log(QB_LOG_WARNING, "the server that took over is behind: %llu durable acknowledgements were lost by the "
		       "failover and are sent again (%llu jobs, %llu changes, %llu outcomes, %llu events)",
		       (unsigned long long)qb_loss_resent(l), (unsigned long long)l->accepted,
		       (unsigned long long)l->changes, (unsigned long long)l->outcomes, (unsigned long long)l->events);
	if (l->gone_batches)
		qb_log(QB_LOG_ERROR, "LOST: of %llu batches that the server does not have, the segment had let the finished jobs go: "
		       "the outcomes of at least %llu jobs are lost for good; with --replicas=N they stay until N standby "
		       "servers have them", (unsigned long long)l->gone_batches, (unsigned long long)l->gone);
}

int qb_rewind(const struct qb_seg *seg, PGconn *conn, int64_t run_no, uint64_t batch, struct qb_loss *now,
	      struct qb_err *err)
{
	struct rewind *r = calloc(1, sizeof(*r));
	int rc = 0;

	memset(now, 0, sizeof(*now));
	if (r)
		r->stale = calloc(seg->cfg.job_count, 1);
	if (!r || !r->stale) {
		free(r);
		return qb_err_set(err, -ENOMEM, "out of memory");
	}
	r->seg = seg;
	r->conn = conn;
	r->run_no = run_no;
	qb_pg_array_init(&r->ids, QB_PG_INT8);
	rc = compare_jobs(r, err);
	if (rc == 0)
		rc = compare_events(r, err);
	if (rc == 0)
		rc = count_gone(r, batch, err);
	if (rc < 0) {
		qb_err_context(err, "could not find out what the server lacks");
	} else {
		QB_FAULT("rewind.compare.after");
		int counted = publish(r);

		QB_FAULT("rewind.publish.after");
		forget(r, batch);
		if (counted) {
			*now = r->loss;
			now->rewinds = 1;
			say(now);
		}
	}
	qb_pg_array_free(&r->ids);
	free(r->stale);
	free(r);
	return rc;
}
