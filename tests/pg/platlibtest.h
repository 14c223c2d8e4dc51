/* SPDX-License-Identifier: Apache-2.0 */
/* The queue "platlib" in a small engine, with settings; what its test programs share. */
#ifndef QB_TESTS_PG_PLATLIBTEST_H
#define QB_TESTS_PG_PLATLIBTEST_H

#include <poll.h>

#include "queue/platlib-inside.h"
#include "queue/platlib.h"
#include "tests/pg/queuetest.h"

/* So short that a test does not wait for it. */
#define QUICK ":lease=200ms:sweep-interval=50ms:leader-timeout=80ms"
/* So long that nothing in a test comes from it. */
#define NEVER ":lease=1h:sweep-interval=1h:leader-timeout=1h:poll=1h"

static inline void plat_open(struct bench *b, const char *name, const char *options)
{
	struct qb_err err = { 0 };
	int idx = 0;

	while (strcmp(qb_queues[idx]->name, "platlib"))
		idx++;
	bench_open(b, idx, name);
	b->ops->close(b->driver);
	b->env.options = options;
	ck_ok(b->ops->setup(&b->env, &err), err);
	ck_ok(b->ops->open(&b->env, &b->driver, &err), err);
}

static inline int64_t count_rows(const struct bench *b, const char *text)
{
	return pgtest_i64(b->w.db, text);
}

#define ROWS "select count(*) from qbench_platlib.queue"
#define PERMITS "select count(*) from qbench_platlib.queue_permits"

/* As a worker does it: claim, or wait to be told. QB_OK, or QB_EMPTY after that long. */
static inline int get_within(struct bench *b, struct qb_queue *q, unsigned lane, struct qb_queue_job *job, uint64_t ns)
{
	uint64_t until = qb_now_ns() + ns;
	struct qb_err err = { 0 };

	while (claim(b, q, lane, job) == QB_EMPTY) {
		if (qb_now_ns() >= until)
			return QB_EMPTY;
		uint64_t next = qb_now_ns() + 20 * QB_NS_PER_MS;

		ck_ok(b->ops->wait(q, next < until ? next : until, 1, &err), err);
	}
	return QB_OK;
}

#define get(b, q, job) ck_assert_int_eq(get_within(b, q, 0, job, 20 * QB_NS_PER_S), QB_OK)
/* Long enough for a wrong one to find it. */
#define get_nothing(b, q, job) ck_assert_int_eq(get_within(b, q, 0, job, 200 * QB_NS_PER_MS), QB_EMPTY)

/* Nothing but the caller's word ends it: a child that waits for its SIGKILL. */
static inline void tell_and_wait(int fd)
{
	(void)!write(fd, "s", 1);
	for (;;)
		pause();
}

struct child {
	pid_t pid;
	int told;
};

/* 1 in the child, whose seat has its name as a worker's has. */
static inline int spawn(struct bench *b, struct child *c, int *tell, uint32_t seat)
{
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	c->pid = fork();
	ck_assert_int_ge(c->pid, 0);
	if (c->pid == 0) {
		uint32_t incarnation = qb_seat_incarnation(qb_load_acquire64(&b->w.seg.seats[seat].word));

		close(fd[0]);
		*tell = fd[1];
		ck_assert_int_eq(qb_seat_sit(&b->w.seg, seat, incarnation, (uint32_t)getpid(), qb_proc_start_ticks(getpid())), 0);
		return 1;
	}
	close(fd[1]);
	c->told = fd[0];
	return 0;
}

static inline void await_word(struct child *c)
{
	char word;

	ck_assert_int_eq(read(c->told, &word, 1), 1);
}

static inline void kill_child(struct bench *b, struct child *c)
{
	kill(c->pid, SIGKILL);
	ck_assert_int_eq(reap(c->pid, 10), 128 + SIGKILL);
	close(c->told);
	/* A statement that it had sent may still be under way. */
	ck_until(pgtest_i64(b->w.db, "select count(*) from pg_stat_activity where state = 'active' and application_name"
			    " like 'qbench%'") == 0, 10);
}

/* A child that has a job, started, with what `before` sets in it; killed by the caller. */
static inline void spawn_holder(struct bench *b, struct child *c, uint32_t seat)
{
	struct qb_queue_job job;
	int tell;

	if (!spawn(b, c, &tell, seat)) {
		await_word(c);
		return;
	}
	start(b, consumer_at(b, seat), 0, &job);
	tell_and_wait(tell);
}

static inline int enqueue_at(struct bench *b, uint64_t job_id, const char *address, uint16_t error_class)
{
	struct qb_submit what = { .job_id = job_id, .kind = 2, .max_attempts = 3, .error_class = error_class,
				  .payload = "p", .payload_bytes = 1 };
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };
	int rc = b->ops->enqueue_unique(b->driver, &what, address, &ticket, &err);

	ck_ok(rc, err);
	return rc;
}

#endif
