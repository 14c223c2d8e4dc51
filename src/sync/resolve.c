/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/resolve.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pg/conn.h"
#include "shm/fault.h"
#include "shm/job.h"
#include "shm/seat.h"

/* A dead worker's transaction ends in milliseconds or not for long: batches wait for it no longer than this. */
#define BEGIN_SQL "begin isolation level read committed; set local lock_timeout = 100"
#define HELD_UP_NS (100 * QB_NS_PER_MS)
/* Arena or event ring are full: the next batch makes room. */
#define NO_ROOM_NS (2 * QB_NS_PER_MS)
/* Records of the syncer itself, and the one that a step may need beyond its own. */
#define ROOM_SPARE 8
/* A reader that stands still (the driver is gone) must not keep jobs in doubt: then events are dropped, and counted. */
#define CRAMPED_MAX_NS (QB_NS_PER_S / 2)
#define SAY_SO_NS (5 * QB_NS_PER_S)

/*
 * In order of the key, so that two of these cannot wait for each other.  A row that is there is returned as its
 * last transaction left it; done_attempt cannot change any more when this has committed.
 */
static const char fence_sql[] =
	"insert into qbench.effect as e (run_no, job_id, fence)"
	" select $1, u.job_id, u.attempt from unnest($3::bigint[], $4::int[]) u(job_id, attempt)"
	" where exists (select from qbench.run r where r.run_no = $1 and r.epoch = $2) order by u.job_id"
	" on conflict (run_no, job_id) do update set fence = greatest(e.fence, excluded.fence)"
	" returning job_id, done_attempt, result";

int qb_resolve_open(struct qb_resolve *r, const struct qb_seg *seg, uint32_t seat, struct qb_event_writer *log)
{
	memset(r, 0, sizeof(*r));
	r->seg = seg;
	r->seat = seat;
	r->log = log;
	r->limit = QB_RESOLVE_MAX;
	r->pending = calloc((seg->cfg.job_count + 63) / 64, sizeof(*r->pending));
	qb_pg_array_init(&r->ids, QB_PG_INT8);
	qb_pg_array_init(&r->attempts, QB_PG_INT4);
	return r->pending ? 0 : -ENOMEM;
}

void qb_resolve_close(struct qb_resolve *r)
{
	free(r->pending);
	qb_pg_array_free(&r->ids);
	qb_pg_array_free(&r->attempts);
	memset(r, 0, sizeof(*r));
}

int qb_resolve_prepare(PGconn *conn, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT8_ARRAY, QB_PG_INT4_ARRAY };

	return qb_pg_prepare(conn, "fence", fence_sql, 4, oids, err);
}

static int is_in_doubt(const struct qb_seg *seg, uint32_t slot_idx, uint64_t word)
{
	return qb_word_state(word) == QB_JOB_AMBIGUOUS && seg->jobs[slot_idx].effect_class == QB_EFFECT_TRANSACTIONAL;
}

int qb_resolve_takes(struct qb_resolve *r, uint32_t slot_idx, uint64_t word)
{
	uint64_t bit = 1ull << (slot_idx % 64);

	if (!is_in_doubt(r->seg, slot_idx, word))
		return 0;
	r->pending_count += !(r->pending[slot_idx / 64] & bit);
	r->pending[slot_idx / 64] |= bit;
	return 1;
}

static void forget(struct qb_resolve *r, uint32_t slot_idx)
{
	r->pending[slot_idx / 64] &= ~(1ull << (slot_idx % 64));
	r->pending_count--;
}

int qb_resolve_is_due(const struct qb_resolve *r)
{
	return r->pending_count > 0 && qb_now_ns() >= r->due_ns;
}

/* How many may be asked about without losing an event of theirs. */
static uint32_t room(struct qb_resolve *r)
{
	uint64_t events = qb_event_room(r->log), now = qb_now_ns();

	if (events > ROOM_SPARE) {
		r->cramped_ns = 0;
		return events - ROOM_SPARE < r->limit ? (uint32_t)(events - ROOM_SPARE) : r->limit;
	}
	if (r->cramped_ns == 0)
		r->cramped_ns = now;
	return now - r->cramped_ns < CRAMPED_MAX_NS ? 0 : r->limit;
}

static int by_job_id(const void *a, const void *b)
{
	uint64_t x = ((const struct qb_resolve_job *)a)->job_id, y = ((const struct qb_resolve_job *)b)->job_id;

	return (x > y) - (x < y);
}

/* The next ones, from where the last statement stopped; those that somebody has resolved are forgotten. */
static void choose(struct qb_resolve *r, uint32_t max)
{
	uint32_t count = r->seg->cfg.job_count, slot = r->next_slot;

	r->jobs_count = 0;
	r->first_slot = slot;
	for (uint32_t seen = 0; seen < count && r->jobs_count < max; seen++, slot++) {
		if (slot >= count)
			slot = 0;
		if (slot % 64 == 0 && r->pending[slot / 64] == 0) {
			seen += 63;
			slot += 63;
			continue;
		}
		if (!(r->pending[slot / 64] >> (slot % 64) & 1))
			continue;
		/* [resolve.R1] Sees: the verdict, and the job's fields. Pairs with: [recovery.W1]. */
		uint64_t word = qb_load_acquire64(&r->seg->jobs[slot].word);

		if (!is_in_doubt(r->seg, slot, word)) {
			forget(r, slot);
			continue;
		}
		r->jobs[r->jobs_count++] = (struct qb_resolve_job){
			.job_id = r->seg->jobs[slot].job_id, .word = word, .slot_idx = slot,
		};
	}
	r->next_slot = slot;
	qsort(r->jobs, r->jobs_count, sizeof(*r->jobs), by_job_id);
}

static int run_fence(struct qb_resolve *r, PGconn *conn, int64_t run_no, int64_t epoch, PGresult **res,
		     struct qb_err *err)
{
	uint64_t head[2] = { htobe64((uint64_t)run_no), htobe64((uint64_t)epoch) };
	const char *values[4] = { (const char *)&head[0], (const char *)&head[1] };
	int lengths[4] = { 8, 8 };
	const int formats[4] = { 1, 1, 1, 1 };

	qb_pg_array_reset(&r->ids);
	qb_pg_array_reset(&r->attempts);
	for (uint32_t i = 0; i < r->jobs_count; i++) {
		qb_pg_array_add_i64(&r->ids, (int64_t)r->jobs[i].job_id);
		qb_pg_array_add_i32(&r->attempts, (int32_t)qb_word_attempt(r->jobs[i].word));
	}
	if (qb_pg_array_finish(&r->ids, &values[2], &lengths[2]) < 0 ||
	    qb_pg_array_finish(&r->attempts, &values[3], &lengths[3]) < 0)
		return qb_err_set(err, QB_ETOOBIG, "a fence does not fit into one statement");
	int rc = qb_pg_exec(conn, BEGIN_SQL, err);

	QB_FAULT("resolve.step.before-fence");
	if (rc == 0)
		rc = qb_pg_exec_prepared(conn, "fence", 4, values, lengths, formats, 1, res, err);
	QB_FAULT("resolve.step.before-commit");
	if (rc == 0)
		rc = qb_pg_exec(conn, "commit", err);
	QB_FAULT("resolve.step.after-commit");
	return rc;
}

/* A transaction on one of the keys is still running: look for it by halves, and go on behind it. */
static int be_held_up(struct qb_resolve *r, PGconn *conn, struct qb_err *err)
{
	uint64_t now = qb_now_ns();

	if (r->jobs_count > 1) {
		r->limit = r->jobs_count / 2;
		r->next_slot = r->first_slot;
	}
	r->due_ns = now + HELD_UP_NS;
	if (r->held_up_ns == 0)
		r->held_up_ns = now;
	if (now - r->held_up_ns > SAY_SO_NS) {
		qb_log(QB_LOG_WARNING, "%u jobs stay in doubt as long as the transaction of a dead worker runs: see "
		       "pg_stat_activity", r->pending_count);
		r->held_up_ns = now;
	}
	qb_err_clear(err);
	return qb_pg_exec(conn, "rollback", err);
}

/* 1 with *res; 0 when a transaction still runs; negative. */
static int fence(struct qb_resolve *r, PGconn *conn, int64_t run_no, int64_t epoch, PGresult **res,
		 struct qb_err *err)
{
	int rc = run_fence(r, conn, run_no, epoch, res, err);

	if (rc == QB_EPG && strcmp(qb_pg_sqlstate(), "55P03") == 0)
		return be_held_up(r, conn, err);
	if (rc < 0)
		return rc;
	if (PQntuples(*res) != (int)r->jobs_count)
		return qb_err_set(err, QB_EFENCED, "another syncer has taken over this run");
	r->limit = r->limit * 2 < QB_RESOLVE_MAX ? r->limit * 2 : QB_RESOLVE_MAX;
	r->held_up_ns = 0;
	return 1;
}

static void note(struct qb_resolve *r, const struct qb_resolve_job *j, uint16_t type, uint64_t arg0, uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin_job(r->log, j->slot_idx, j->word, type);

	if (!e)
		return;
	e->arg0 = arg0;
	e->arg1 = arg1;
	qb_event_commit(r->log, e);
}

/* It happened, and was not told. Killed after the word changed: recovery of this seat tells it. */
static int found_done(struct qb_resolve *r, const struct qb_resolve_job *j, const void *result, size_t bytes)
{
	int rc = qb_job_resolve(r->seg, r->seat, j->slot_idx, j->word, QB_JOB_DONE, result,
				bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX);

	if (rc == QB_ETOOBIG || rc == QB_ECORRUPT) {
		qb_log(QB_LOG_ERROR, "job %llu was done, but its result of %zu bytes is lost: %s",
		       (unsigned long long)j->job_id, bytes, qb_strerror(rc));
		rc = qb_job_resolve(r->seg, r->seat, j->slot_idx, j->word, QB_JOB_DONE, NULL, 0);
	}
	QB_FAULT("resolve.done.after-word");
	if (rc < 0 || rc == QB_FULL)
		return rc;
	qb_count(r->seg, r->seat, QB_COUNT_COMPLETED, 1);
	note(r, j, QB_EV_JOB_COMPLETED, 0, 1);
	return 0;
}

/* It did not happen, and cannot any more. Told first, as recovery does: told twice is harmless. */
static int found_undone(struct qb_resolve *r, const struct qb_resolve_job *j)
{
	int given_up = qb_word_attempt(j->word) >= r->seg->cfg.max_claims;

	note(r, j, given_up ? QB_EV_JOB_DISCARDED : QB_EV_JOB_REQUEUED, j->word, 0);
	QB_FAULT("resolve.undone.after-event");
	int rc = qb_job_resolve(r->seg, r->seat, j->slot_idx, j->word, QB_JOB_READY, NULL, 0);

	QB_FAULT("resolve.undone.after-word");
	if (rc == 0 && !given_up)
		qb_count(r->seg, r->seat, QB_COUNT_REQUEUED, 1);
	return rc;
}

/* What Postgres says of one job. 0; QB_FULL: no room for the result now; or negative. */
static int apply_row(struct qb_resolve *r, const PGresult *res, int row, struct qb_err *err)
{
	int64_t job_id;
	int32_t done_attempt;
	const void *result = NULL;
	size_t bytes = 0;
	int done, has_result;

	if (qb_pg_get_i64(res, row, 0, &job_id) || (done = qb_pg_get_i32(res, row, 1, &done_attempt)) < 0 ||
	    (has_result = qb_pg_get_bytea(res, row, 2, &result, &bytes)) < 0)
		return qb_err_set(err, QB_ECORRUPT, "a row of qbench.effect has other types than it should");
	struct qb_resolve_job key = { .job_id = (uint64_t)job_id };
	const struct qb_resolve_job *j = bsearch(&key, r->jobs, r->jobs_count, sizeof(*r->jobs), by_job_id);

	if (!j)
		return qb_err_set(err, QB_ECORRUPT, "qbench.effect answered about job %lld, which nobody asked about",
				  (long long)job_id);
	int rc = done == QB_PG_NULL ? found_undone(r, j) : found_done(r, j, result, has_result == 0 ? bytes : 0);

	if (rc != QB_FULL)
		forget(r, j->slot_idx);
	/* Somebody else was faster; with the same answer, because there is only one. */
	return rc == QB_EFENCED ? 0 : rc;
}

int qb_resolve_step(struct qb_resolve *r, PGconn *conn, int64_t run_no, int64_t epoch, struct qb_err *err)
{
	PGresult *res = NULL;
	int resolved = 0;

	if (!qb_resolve_is_due(r))
		return 0;
	choose(r, room(r));
	if (r->jobs_count == 0) {
		r->due_ns = qb_now_ns() + NO_ROOM_NS;
		return 0;
	}
	int rc = fence(r, conn, run_no, epoch, &res, err);

	for (int row = 0; rc > 0 && row < (int)r->jobs_count; row++) {
		int one = apply_row(r, res, row, err);

		if (one == QB_FULL) {
			r->due_ns = qb_now_ns() + NO_ROOM_NS;
			break;
		}
		if (one < 0)
			rc = one;
		else
			resolved++;
	}
	PQclear(res);
	return rc < 0 ? rc : resolved;
}
