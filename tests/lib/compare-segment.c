/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does what a surviving segment says agree with what Postgres holds of its run, job by job?
 *
 *	compare-segment SEGMENT CONNINFO
 *
 * For a segment whose processes are all dead.  Written from the rules of doc/sync.md, not from the
 * syncer: what the segment calls durable is there; what Postgres calls live is in the segment; no
 * job is both live and final; outcomes are those of the words.  Prints a line for each disagreement,
 * then the jobs by state, "ready=3 claimed=1 ... live=7 outcomes=40".  Exit status 1 when there is one.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "pg/conn.h"
#include "shm/crc.h"
#include "shm/job.h"

struct row {
	int there;
	int16_t state, failures;
	int32_t attempt;
	uint32_t payload_bytes, payload_crc;
};

struct table {
	struct row *rows;       /* by job id */
	int64_t id_max;
	int count;
};

static int disagreements;

static __attribute__((format(printf, 2, 3))) void disagree(uint64_t job_id, const char *fmt, ...)
{
	va_list ap;

	disagreements++;
	printf("job %llu: ", (unsigned long long)job_id);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static __attribute__((noreturn)) void give_up(const struct qb_err *err)
{
	fprintf(stderr, "compare-segment: %s\n", err->text);
	exit(2);
}

static void read_table(PGconn *conn, const char *text, const char *run_id, struct table *t)
{
	const char *values[] = { run_id };
	const Oid oids[] = { QB_PG_TEXT };
	struct qb_err err = { 0 };
	PGresult *res;

	memset(t, 0, sizeof(*t));
	if (qb_pg_query(conn, text, 1, oids, values, NULL, NULL, 1, &res, &err) < 0)
		give_up(&err);
	t->count = PQntuples(res);
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < t->count; i++) {
			const void *payload;
			struct row *r;
			size_t bytes;
			int64_t id;

			if (qb_pg_get_i64(res, i, 0, &id) || id <= 0) {
				qb_err_set(&err, -1, "a row without a job id");
				give_up(&err);
			}
			if (pass == 0) {
				t->id_max = id > t->id_max ? id : t->id_max;
				continue;
			}
			r = &t->rows[id];
			r->there++;
			qb_pg_get_i16(res, i, 1, &r->state);
			qb_pg_get_i32(res, i, 2, &r->attempt);
			qb_pg_get_i16(res, i, 3, &r->failures);
			if (qb_pg_get_bytea(res, i, 4, &payload, &bytes) == 0) {
				r->payload_bytes = (uint32_t)bytes;
				r->payload_crc = qb_crc32c(0, payload, bytes);
			}
		}
		if (pass == 0)
			t->rows = qb_xcalloc((size_t)t->id_max + 1, sizeof(*t->rows));
	}
	PQclear(res);
}

static const struct row *find(const struct table *t, uint64_t job_id)
{
	static const struct row none;

	return job_id <= (uint64_t)t->id_max ? &t->rows[job_id] : &none;
}

static void check_live(const struct qb_job_shm *job, uint64_t w, const struct row *live, const struct row *final)
{
	uint64_t s = job->sync.v;
	uint32_t stage = qb_sync_gen(s) == qb_word_gen(w) ? qb_sync_stage_of(s) : QB_SYNC_NONE;
	uint32_t state = qb_word_state(w);

	if (final->there)
		disagree(job->job_id, "is %s in the segment and has an outcome", qb_job_state_name(state));
	if (stage >= QB_SYNC_ACCEPTED && !live->there)
		disagree(job->job_id, "is %s, called durable, and has no row", qb_job_state_name(state));
	if (!live->there)
		return;
	if (live->payload_bytes != job->payload_bytes || live->payload_crc != job->payload_crc)
		disagree(job->job_id, "another payload in its row");
	if (state == QB_JOB_WAITING && stage == QB_SYNC_RETRY && qb_sync_attempt(s) == qb_word_attempt(w) &&
	    (live->state != QB_JOB_WAITING || live->attempt != (int32_t)qb_word_attempt(w) ||
	     live->failures != (int16_t)qb_word_failures(w)))
		disagree(job->job_id, "waits, called durable, and its row says otherwise");
	if (state == QB_JOB_AMBIGUOUS && stage == QB_SYNC_FINAL && live->state != QB_JOB_AMBIGUOUS)
		disagree(job->job_id, "is ambiguous, called durable, and its row says otherwise");
}

static void check_final(const struct qb_job_shm *job, uint64_t w, const struct row *live, const struct row *final)
{
	uint32_t state = qb_word_state(w);

	if (state == QB_JOB_SYNCED && (!final->there || live->there))
		disagree(job->job_id, "is synced without an outcome, or with a live row");
	if (final->there && state != QB_JOB_SYNCED && final->state != (int16_t)state)
		disagree(job->job_id, "is %s in the segment, and its outcome is %d", qb_job_state_name(state), final->state);
	if (final->there && final->attempt != (int32_t)qb_word_attempt(w))
		disagree(job->job_id, "ended with attempt %u in the segment and %d in Postgres", qb_word_attempt(w),
			 final->attempt);
}

static void compare(const struct qb_seg *seg, struct table *live, const struct table *outcomes)
{
	unsigned by_state[QB_JOB_STATE_COUNT] = { 0 };

	for (int64_t id = 1; id <= live->id_max; id++)
		if (live->rows[id].there && find(outcomes, (uint64_t)id)->there)
			disagree((uint64_t)id, "is live and final in Postgres");
	for (uint32_t i = 0; i < seg->cfg.job_count; i++) {
		const struct qb_job_shm *job = &seg->jobs[i];
		uint64_t w = job->word.v;
		uint32_t state = qb_word_state(w);

		if (state == QB_JOB_FREE || state >= QB_JOB_STATE_COUNT)
			continue;
		by_state[state]++;
		if (state == QB_JOB_FILLING)
			continue;
		const struct row *l = find(live, job->job_id), *f = find(outcomes, job->job_id);

		if (state == QB_JOB_DONE || state == QB_JOB_FAILED || state == QB_JOB_DEAD || state == QB_JOB_SYNCED)
			check_final(job, w, l, f);
		else
			check_live(job, w, l, f);
		if (l->there)
			live->rows[job->job_id].there = -1;
	}
	for (int64_t id = 1; id <= live->id_max; id++)
		if (live->rows[id].there > 0)
			disagree((uint64_t)id, "is live in Postgres, and not in the segment");
	for (unsigned s = 1; s < QB_JOB_STATE_COUNT; s++)
		printf("%s=%u ", qb_job_state_name(s), by_state[s]);
	printf("live=%d outcomes=%d\n", live->count, outcomes->count);
}

int main(int argc, char **argv)
{
	struct table live, outcomes;
	struct qb_err err = { 0 };
	struct qb_seg seg;
	PGconn *conn;

	if (argc != 3) {
		fputs("usage: compare-segment SEGMENT CONNINFO\n", stderr);
		return 2;
	}
	int rc = qb_seg_snapshot(argv[1], &seg);

	if (rc < 0) {
		qb_err_set(&err, rc, "%s: %s", argv[1], qb_strerror(rc));
		give_up(&err);
	}
	if (qb_pg_connect(argv[2], "test", 10 * QB_NS_PER_S, &conn, &err) < 0)
		give_up(&err);
	read_table(conn, "select job_id, state, attempt, failures, payload from qbench.job join qbench.run using (run_no)"
		   " where run_id = $1", seg.hdr->run_id, &live);
	read_table(conn, "select job_id, state, attempt, failures, null::bytea from qbench.outcome"
		   " join qbench.run using (run_no) where run_id = $1", seg.hdr->run_id, &outcomes);
	compare(&seg, &live, &outcomes);
	PQfinish(conn);
	qb_seg_detach(&seg);
	free(live.rows);
	free(outcomes.rows);
	return disagreements != 0;
}
