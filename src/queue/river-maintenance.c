/* SPDX-License-Identifier: Apache-2.0 */
/* When the services of the leader run, and the connections that they run on. */
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/args.h"
#include "queue/river-leader.h"
#include "shm/status.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define REINDEX_TIMEOUT_MS 60000                /* ReindexerTimeoutDefault */
#define BREAKER_TIMEOUTS 3
#define BREAKER_WINDOW_NS (600 * QB_NS_PER_S)

/* Of a service, for as long as the process lives (ReducedBatchSizeBreaker). */
struct breaker {
	uint32_t batch;
	unsigned timeouts;                      /* in a row */
	uint64_t first_ns;                      /* of them */
};

/* One term of the maintainer. */
struct term {
	struct qb_river_hand hand;
	struct breaker *breakers;               /* of each service */
	uint64_t next_ns[RIVER_SERVICES];       /* CLOCK_MONOTONIC */
	uint64_t *periodic_ns;                  /* CLOCK_REALTIME; of each periodic job */
};

bool qb_river_leads(struct qb_river_leader *l, uint64_t term)
{
	bool leads;

	pthread_mutex_lock(&l->lock);
	leads = !l->stop_maintainer && l->term == term && qb_now_ns() < l->trusted_until_ns;
	pthread_mutex_unlock(&l->lock);
	return leads;
}

bool qb_river_sleep_until(struct qb_river_hand *h, uint64_t deadline_ns)
{
	struct qb_river_leader *l = h->l;
	struct timespec at = { .tv_sec = (time_t)(deadline_ns / QB_NS_PER_S),
			       .tv_nsec = (long)(deadline_ns % QB_NS_PER_S) };

	pthread_mutex_lock(&l->lock);
	while (!l->stop_maintainer && l->term == h->term && l->trusted_until_ns && qb_now_ns() < deadline_ns)
		pthread_cond_timedwait(&l->changed, &l->lock, &at);
	pthread_mutex_unlock(&l->lock);
	return qb_river_leads(l, h->term);
}

int qb_river_hand_open(struct qb_river_hand *h, const char *application_name, unsigned timeout_ms,
		       struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	int rc = qb_pg_connect(h->l->c->conninfo, application_name, CONNECT_NS, &h->conn, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&h->l->lock);
	h->l->busy_fd[h->idx] = PQsocket(h->conn);
	pthread_mutex_unlock(&h->l->lock);
	/* It may have ended while there was nothing to cut. */
	if (!qb_river_leads(h->l, h->term))
		return qb_err_set(err, QB_EINTR, "another client leads");
	qb_arg_i32(&a, (int32_t)timeout_ms);
	return qb_river_hand_query(h, "select set_config('statement_timeout', ($1::int)::text, false)", &a, NULL, err);
}

void qb_river_hand_close(struct qb_river_hand *h)
{
	pthread_mutex_lock(&h->l->lock);
	h->l->busy_fd[h->idx] = -1;
	pthread_mutex_unlock(&h->l->lock);
	PQfinish(h->conn);
	h->conn = NULL;
}

int qb_river_hand_query(struct qb_river_hand *h, const char *sql, const struct qb_sql_args *a, PGresult **out,
			struct qb_err *err)
{
	char *text = qb_river_sql(h->l->c->schema, sql);
	int rc = qb_pg_query(h->conn, text, a->n, NULL, a->values, a->lengths, a->formats, 1, out, err);

	free(text);
	return rc;
}

/* A server that is overloaded is likely to stay so: after three time-outs in a row the batches stay small. */
static void count_timeout(struct term *t, enum qb_river_service service, int rc)
{
	struct qb_river_leader *l = t->hand.l;
	struct breaker *b = &t->breakers[service];
	uint64_t now = qb_now_ns();

	if (rc == 0)
		b->timeouts = 0;
	if (rc == 0 || strcmp(qb_pg_sqlstate(), "57014") != 0)
		return;
	if (b->timeouts == 0 || now - b->first_ns > BREAKER_WINDOW_NS) {
		b->first_ns = now;
		b->timeouts = 0;
	}
	if (++b->timeouts < BREAKER_TIMEOUTS)
		return;
	b->batch = l->u.batch_reduced;
	pthread_mutex_lock(&l->lock);
	l->status.reduced[service] = true;
	pthread_mutex_unlock(&l->lock);
}

/* CLOCK_MONOTONIC for an instant of CLOCK_REALTIME that is near. */
static uint64_t monotonic_of(uint64_t wall_ns)
{
	uint64_t wall = qb_wall_ns(), now = qb_now_ns();

	if (wall_ns == UINT64_MAX)
		return UINT64_MAX;
	return wall_ns > wall ? now + (wall_ns - wall) : now;
}

static int run_periodic(struct term *t, struct qb_err *err)
{
	uint64_t soonest_ns = UINT64_MAX;
	int rc = qb_river_periodic_run(&t->hand, t->periodic_ns, &soonest_ns, err);

	t->next_ns[RIVER_PERIODIC_ENQUEUER] = monotonic_of(soonest_ns);
	return rc;
}

static int run_service(struct term *t, enum qb_river_service service, struct qb_err *err)
{
	struct qb_river_hand *h = &t->hand;

	switch (service) {
	case RIVER_SCHEDULER:
		return qb_river_schedule_jobs(h, err);
	case RIVER_RESCUER:
		return qb_river_rescue_jobs(h, err);
	case RIVER_JOB_CLEANER:
		return qb_river_clean_jobs(h, err);
	case RIVER_QUEUE_CLEANER:
		return qb_river_clean_queues(h, err);
	case RIVER_PERIODIC_ENQUEUER:
		return run_periodic(t, err);
	default:
		return 0;
	}
}

/* As a ticker: rounds that the last one took too long for are left out. */
static uint64_t next_tick(uint64_t last_ns, uint64_t period_ns)
{
	uint64_t now = qb_now_ns(), next = last_ns + period_ns;

	return next > now ? next : now + period_ns - (now - last_ns) % period_ns;
}

static void run_due(struct term *t, enum qb_river_service service)
{
	struct qb_river_hand *h = &t->hand;
	const struct qb_river_upkeep *u = &h->l->u;
	const uint64_t period_ns[RIVER_SERVICES] = {
		[RIVER_SCHEDULER] = u->schedule_ns, [RIVER_RESCUER] = u->rescue_ns, [RIVER_JOB_CLEANER] = u->clean_ns,
		[RIVER_QUEUE_CLEANER] = u->clean_queues_ns,
	};
	struct qb_err err = { 0 };
	uint64_t at_ns = t->next_ns[service];
	int rc = 0;

	h->batch = t->breakers[service].batch;
	if (!h->conn)
		rc = qb_river_hand_open(h, "qbench maintenance", u->timeout_ms, &err);
	if (rc == 0)
		rc = run_service(t, service, &err);
	if (service != RIVER_PERIODIC_ENQUEUER)
		t->next_ns[service] = next_tick(at_ns, period_ns[service]);
	else if (rc < 0)
		t->next_ns[service] = qb_now_ns() + u->backoff_ns;
	count_timeout(t, service, rc);
	if (rc < 0) {
		/* Cancelled, because the term is over: no fault. */
		if (qb_river_leads(h->l, h->term))
			qb_river_note_error(h->l, &err);
		if (!h->conn || PQstatus(h->conn) != CONNECTION_OK)
			qb_river_hand_close(h);
		else if (PQtransactionStatus(h->conn) != PQTRANS_IDLE)
			qb_pg_exec(h->conn, "rollback", NULL);
		return;
	}
	pthread_mutex_lock(&h->l->lock);
	h->l->status.rounds[service]++;
	pthread_mutex_unlock(&h->l->lock);
}

/* River starts its services one behind the other, in random order, each after a pause of its own. */
static void stagger(struct term *t)
{
	enum qb_river_service order[RIVER_SERVICES];
	uint64_t at_ns = qb_now_ns();

	for (unsigned i = 0; i < RIVER_SERVICES; i++) {
		unsigned j = (unsigned)qb_rng_below(&t->hand.rng, i + 1);

		order[i] = order[j];
		order[j] = (enum qb_river_service)i;
	}
	for (unsigned i = 0; i < RIVER_SERVICES; i++) {
		at_ns += qb_river_between(&t->hand.rng, 0, t->hand.l->u.stagger_ns);
		t->next_ns[order[i]] = at_ns;
	}
}

/* Until the term ends: at each multiple of the period. One that was missed by a long run is not made up for. */
static void *reindexer_main(void *hand)
{
	struct qb_river_hand *h = hand;
	uint64_t period_ns = h->l->u.reindex_ns, at_ns = qb_wall_ns();

	for (;;) {
		struct qb_err err = { 0 };

		at_ns = at_ns - at_ns % period_ns + period_ns;
		if (!qb_river_sleep_until(h, monotonic_of(at_ns)))
			return NULL;
		int rc = qb_river_hand_open(h, "qbench reindexer", REINDEX_TIMEOUT_MS, &err);

		if (rc == 0)
			rc = qb_river_reindex(h, &err);
		qb_river_hand_close(h);
		if (rc < 0 && qb_river_leads(h->l, h->term))
			qb_river_note_error(h->l, &err);
		pthread_mutex_lock(&h->l->lock);
		h->l->status.rounds[RIVER_REINDEXER]++;
		pthread_mutex_unlock(&h->l->lock);
		if (qb_wall_ns() > at_ns + period_ns)
			at_ns = qb_wall_ns();
	}
}

static enum qb_river_service soonest(const struct term *t)
{
	enum qb_river_service best = RIVER_SCHEDULER;

	for (unsigned i = 0; i < RIVER_REINDEXER; i++)
		if (t->next_ns[i] < t->next_ns[best])
			best = (enum qb_river_service)i;
	return best;
}

static void work_term(struct qb_river_leader *l, uint64_t number, struct breaker *breakers)
{
	struct term t = { .hand = { .l = l, .term = number, .idx = 0 }, .breakers = breakers };
	struct qb_river_hand reindexer = { .l = l, .term = number, .idx = 1 };
	struct qb_err err = { 0 };
	pthread_t thread;
	int rc;

	qb_rng_init(&t.hand.rng, l->c->seed + number, "river maintenance");
	t.periodic_ns = qb_xcalloc(l->u.periodic_count + 1, sizeof(*t.periodic_ns));
	stagger(&t);
	rc = pthread_create(&thread, NULL, reindexer_main, &reindexer);
	if (rc) {
		qb_err_errno(&err, rc, "could not start the thread of the reindexer");
		qb_river_note_error(l, &err);
	}
	for (;;) {
		enum qb_river_service next = soonest(&t);

		if (!qb_river_sleep_until(&t.hand, t.next_ns[next]))
			break;
		run_due(&t, next);
	}
	if (rc == 0)
		pthread_join(thread, NULL);
	qb_river_hand_close(&t.hand);
	free(t.periodic_ns);
}

void *qb_river_maintainer_main(void *leader)
{
	struct qb_river_leader *l = leader;
	struct breaker breakers[RIVER_SERVICES] = { 0 };
	uint64_t done = 0;

	for (unsigned i = 0; i < RIVER_SERVICES; i++)
		breakers[i].batch = l->u.batch;
	for (;;) {
		pthread_mutex_lock(&l->lock);
		while (!l->stop_maintainer && (l->term == done || !l->trusted_until_ns))
			pthread_cond_wait(&l->changed, &l->lock);
		bool stop = l->stop_maintainer;

		done = l->term;
		pthread_mutex_unlock(&l->lock);
		if (stop)
			return NULL;
		work_term(l, done, breakers);
	}
}
