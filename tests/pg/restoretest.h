/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host is lost: a new segment out of what Postgres has, by way of real syncers and a real server.
 * "Lost" is: the segment is not looked at any more, and the connection of its syncer is gone.
 */
#ifndef QB_TESTS_PG_RESTORETEST_H
#define QB_TESTS_PG_RESTORETEST_H

#include "sync/restore.h"
#include "tests/pg/synctest.h"

static const volatile int never;

/* A world with a description, which is what a run has that was begun by a driver. */
static inline void open_described(struct world *w, const char *name, const struct qb_config_shm *cfg)
{
	struct qb_err err = { 0 };

	world_open_cfg(w, HERE, name, cfg);
	sql_number(w, "with u as (update qbench.run set meta = 'about it' where run_id = $1 returning 1) select count(*) from u", 0);
	qb_event_open(&w->log, &w->seg, w->syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w->seg, w->syncer, w->conninfo, &w->log, &w->s), 0);
	ck_ok(qb_syncer_connect(w->s, &err), err);
}

/* Its syncer's connection goes, as with its process. */
static inline void lose(struct world *w)
{
	qb_syncer_close(w->s);
	w->s = NULL;
}

/* ---- as recover does it ---- */

static inline void sized(const struct qb_restore *r, struct qb_config_shm *cfg)
{
	qb_config_default(cfg);
	for (cfg->job_count = 64; cfg->job_count < r->jobs;)
		cfg->job_count *= 2;
	cfg->ring_count = 2 * cfg->job_count;
	cfg->block_count = (uint32_t)r->payload_blocks + 64;
	cfg->seat_count = 16;
	cfg->arena_bytes = 1 << 20;
	cfg->effect_count = 10000;
	cfg->readers = 1u << QB_READER_SYNC;
	cfg->max_claims = 3 + r->life * QB_LIFE_ATTEMPTS;
}

static inline int begin(struct qb_restore *r, const char *run_id, struct qb_err *err)
{
	struct qb_config_shm usual;
	int rc = qb_restore_open(r, HERE, run_id, err);

	qb_config_default(&usual);
	return rc < 0 ? rc : qb_restore_take(r, usual.block_bytes - (uint32_t)sizeof(struct qb_block_shm), err);
}

static inline int rebuild(struct qb_restore *r, const char *run_id, struct qb_seg *seg, struct qb_err *err)
{
	struct qb_config_shm cfg;
	int rc = begin(r, run_id, err);

	if (rc < 0)
		return rc;
	sized(r, &cfg);
	ck_assert_int_eq(qb_seg_create_anonymous(&cfg, seg), 0);
	rc = qb_restore_load(r, seg, &never, err);
	if (rc == 0)
		qb_restore_publish(r, seg);
	return rc;
}

/* The world goes on in a new segment, with seats and a syncer of its own. */
static inline void rebuild_world(struct world *w, struct qb_restore *r)
{
	struct qb_err err = { 0 };

	qb_seg_detach(&w->seg);
	ck_ok(rebuild(r, w->run_id, &w->seg, &err), err);
	snprintf(w->seg.hdr->run_id, sizeof(w->seg.hdr->run_id), "%s", w->run_id);
	qb_restore_close(r);
	w->driver = sit(&w->seg, QB_ROLE_DRIVER);
	w->worker = sit(&w->seg, QB_ROLE_WORKER);
	w->syncer = sit(&w->seg, QB_ROLE_SYNCER);
	qb_event_open(&w->worker_log, &w->seg, w->worker, QB_OVERFLOW_WAIT);
	qb_event_open(&w->log, &w->seg, w->syncer, QB_OVERFLOW_DROP);
	ck_assert_int_eq(qb_syncer_open(&w->seg, w->syncer, w->conninfo, &w->log, &w->s), 0);
	ck_ok(qb_syncer_connect(w->s, &err), err);
}

static inline const struct qb_job_shm *find(const struct qb_seg *seg, uint64_t job_id)
{
	const struct qb_job_shm *found = NULL;

	for (uint32_t i = 0; i < seg->cfg.job_count; i++) {
		const struct qb_job_shm *job = &seg->jobs[i];

		if (job->job_id != job_id || qb_word_state(job->word.v) == QB_JOB_FREE)
			continue;
		ck_assert_msg(!found, "job %llu is there twice", (unsigned long long)job_id);
		found = job;
	}
	return found;
}

static inline uint32_t state_in(const struct qb_seg *seg, uint64_t job_id)
{
	const struct qb_job_shm *job = find(seg, job_id);

	return job ? qb_word_state(job->word.v) : QB_JOB_FREE;
}

static inline uint32_t attempt_in(const struct qb_seg *seg, uint64_t job_id)
{
	const struct qb_job_shm *job = find(seg, job_id);

	ck_assert_msg(job, "job %llu is not there", (unsigned long long)job_id);
	return qb_word_attempt(job->word.v);
}

#endif
