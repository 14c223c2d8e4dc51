/* SPDX-License-Identifier: Apache-2.0 */
/* River's queue in a small engine (queuetest.h): settings, workers, and a look at its tables. */
#ifndef QB_TESTS_PG_RIVERBENCH_H
#define QB_TESTS_PG_RIVERBENCH_H

#include "queue/river-worker.h"
#include "tests/pg/queuetest.h"

/* Nothing is fetched but by the first look and by what the case does. */
#define ONCE "fetch-cooldown=1h:fetch-poll-interval=1h"
/* Whatever is there is found soon. */
#define SOON "fetch-cooldown=1ms:fetch-poll-interval=10ms"

#define JOBS "qbench_river.river_job"

/* With that many slots per worker; options may be NULL. */
static inline void river_open(struct bench *b, const char *name, const char *options, unsigned slots)
{
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	char run[64];

	world_config(&cfg);
	cfg.slots_per_worker = slots;
	memset(b, 0, sizeof(*b));
	b->ops = &qb_queue_river;
	snprintf(run, sizeof(run), "river-%s", name);
	world_open_cfg(&b->w, HERE, run, &cfg);
	/* Whatever a case before left there. */
	pgtest_exec(b->w.db, "drop schema if exists qbench_river cascade");
	b->env = (struct qb_queue_env){
		.seg = &b->w.seg, .seat = b->w.driver, .role = QB_ROLE_DRIVER, .conninfo = HERE, .options = options,
	};
	ck_ok(b->ops->setup(&b->env, &err), err);
	ck_ok(b->ops->open(&b->env, &b->driver, &err), err);
}

static inline struct qb_river_worker *river_worker(struct bench *b)
{
	struct qb_queue_env env = b->env;
	struct qb_river_options opt;
	struct qb_river_worker *w;
	struct qb_err err = { 0 };

	env.role = QB_ROLE_WORKER;
	env.seat = b->w.worker;
	ck_ok(qb_river_options_read(env.options, &opt, &err), err);
	ck_ok(qb_river_worker_open(&env, &opt, &w, &err), err);
	return w;
}

/* As a worker's loop does it, for at most that long: QB_OK or QB_EMPTY. */
static inline int river_claim(struct qb_river_worker *w, unsigned lane, struct qb_queue_job *job, uint64_t ns)
{
	uint64_t end = qb_now_ns() + ns;
	struct qb_err err = { 0 };
	int rc;

	while ((rc = qb_river_worker_claim(w, lane, job, &err)) == QB_EMPTY && qb_now_ns() < end)
		ck_ok(qb_river_worker_wait(w, end, 1, &err), err);
	ck_ok(rc, err);
	return rc;
}

static inline void river_start(struct qb_river_worker *w, unsigned lane, struct qb_queue_job *job)
{
	struct qb_err err = { 0 };

	ck_assert_int_eq(river_claim(w, lane, job, 20 * QB_NS_PER_S), QB_OK);
	ck_ok(qb_river_worker_start(w, job, &err), err);
}

static inline int river_complete(struct qb_river_worker *w, struct qb_queue_job *job)
{
	struct qb_err err = { 0 };
	int rc = qb_river_worker_complete(w, job, &err);

	ck_assert_msg(rc == 0 || rc == QB_EFENCED, "%s", err.text);
	return rc;
}

/* How many rows are so. */
static inline int64_t rows(struct bench *b, const char *condition)
{
	char *text = qb_xasprintf("select count(*) from " JOBS " where %s", condition);
	int64_t n = pgtest_i64(b->w.db, text);

	free(text);
	return n;
}

/* A row as others may write it: the columns and their values, beside those that must be there. */
static inline void add_row(struct bench *b, uint64_t job_id, const char *columns, const char *values)
{
	char *text = qb_xasprintf("insert into " JOBS " (kind, args, max_attempts%s%s) values ('benchmark.job',"
				  " '{\"job_id\": %llu}', 3%s%s)", *columns ? ", " : "", columns,
				  (unsigned long long)job_id, *values ? ", " : "", values);

	pgtest_exec(b->w.db, text);
	free(text);
}

#endif
