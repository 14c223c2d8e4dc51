/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "river": River's protocol on River's tables, as its Go client speaks it.  A worker process is one River
 * client: it fetches into its slots at most once per cooldown, hands results to a completer in the
 * background, and stands for election as the leader that rescues, schedules and cleans.
 *
 * When a worker is killed, the jobs that it ran, and those whose results it had not yet written, stay
 * "running" until a leader finds them older than the lease.
 */
#include "queue/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "pg/conn.h"
#include "queue/river-tables.h"
#include "queue/river-worker.h"
#include "sync/schema.h"

enum option { OPT_FETCH_COOLDOWN, OPT_FETCH_POLL_INTERVAL, OPT_COMPLETER, OPT_FENCE, OPT_LEASE, OPT_ELECT,
	      OPT_RESCUE };

static const char *const completer_choices[] = { "batch", "sync", NULL };
static const char *const fence_choices[] = { "library", "fixed", NULL };
static const char *const elect_choices[] = { "on", "off", NULL };
static const char *const rescue_choices[] = { "fixed", "library", NULL };

const struct qb_queue_option qb_river_option_table[] = {
	[OPT_FETCH_COOLDOWN] = { .name = "fetch-cooldown", .type = QB_QUEUE_DURATION, .min = RIVER_FETCH_COOLDOWN_MIN_NS,
		.max = 3600 * QB_NS_PER_S, .preset = RIVER_FETCH_COOLDOWN,
		.help = "least time between two fetches of a worker, and between two notifications of an enqueuer" },
	[OPT_FETCH_POLL_INTERVAL] = { .name = "fetch-poll-interval", .type = QB_QUEUE_DURATION,
		.min = RIVER_FETCH_POLL_INTERVAL_MIN_NS, .max = 3600 * QB_NS_PER_S, .preset = RIVER_FETCH_POLL_INTERVAL,
		.help = "a worker fetches this often without being told; up to a tenth is added at random" },
	[OPT_COMPLETER] = { .name = "completer", .type = QB_QUEUE_CHOICE, .choices = completer_choices, .preset = "batch",
		.help = "write results in batches of up to 250 ms, or each before its slot is free" },
	[OPT_FENCE] = { .name = "fence", .type = QB_QUEUE_CHOICE, .choices = fence_choices, .preset = "library",
		.help = "a result counts when the job is running, as in River; or only from the attempt that has it" },
	[OPT_LEASE] = { .name = QB_QUEUE_LEASE_OPTION, .type = QB_QUEUE_DURATION, .min = QB_NS_PER_MS,
		.max = 24 * 3600 * QB_NS_PER_S, .preset = "1h",
		.help = "a leader rescues a job that has been running for this long" },
	[OPT_ELECT] = { .name = "elect", .type = QB_QUEUE_CHOICE, .choices = elect_choices, .preset = "on",
		.help = "off: no worker stands for election, and nobody rescues, schedules or cleans" },
	[OPT_RESCUE] = { .name = "rescue", .type = QB_QUEUE_CHOICE, .choices = rescue_choices, .preset = "fixed",
		.help = "a rescue leaves alone what has ended meanwhile; or overwrites it, as River did until its issue 1302" },
	{ .name = NULL },
};

/* All producers of a process are one client and share it; a worker has one of its own (see river-worker.c). */
static struct qb_river_limiter driver_limiter = QB_RIVER_LIMITER_INIT;

int qb_river_options_read(const char *text, struct qb_river_options *out, struct qb_err *err)
{
	uint64_t v[QB_QUEUE_OPTIONS_MAX];
	int rc = qb_queue_options_parse(&qb_queue_river, text, v, err);

	if (rc < 0)
		return rc;
	*out = (struct qb_river_options){
		.fetch_cooldown_ns = v[OPT_FETCH_COOLDOWN],
		.fetch_poll_interval_ns = v[OPT_FETCH_POLL_INTERVAL],
		.completer = (enum qb_river_completer_kind)v[OPT_COMPLETER],
		.fence = (enum qb_river_fence)v[OPT_FENCE],
		.lease_ns = v[OPT_LEASE],
		.elect = (enum qb_river_elect)v[OPT_ELECT],
		.rescue = (enum qb_river_rescue)v[OPT_RESCUE],
	};
	if (out->fetch_poll_interval_ns < out->fetch_cooldown_ns)
		return qb_err_set(err, QB_EUSAGE, "river: fetch-poll-interval is shorter than fetch-cooldown");
	return 0;
}

#define CONNECT_NS RIVER_HOT_OPERATION_TIMEOUT_NS

struct qb_queue {
	struct qb_queue_env env;
	struct qb_river_worker *worker;         /* consumer */
	PGconn *conn;                           /* producer */
	struct qb_river_inserter *inserter;
	struct qb_river_waiter *waiter;         /* producer that has waited for a run */
	struct qb_strbuf args;
	char *census_sql, *outcomes_sql;
};

/* Ours are those that carry a job_id: the queue may have others' jobs, too. */
static const char census_sql[] =
	"select count(*) filter (where state in ('available', 'scheduled') and scheduled_at <= now() or state = 'pending'),"
	" count(*) filter (where state in ('available', 'scheduled') and scheduled_at > now() or state = 'retryable'),"
	" count(*) filter (where state = 'running'), count(*) filter (where state = 'completed'),"
	" count(*) filter (where state in ('discarded', 'cancelled'))"
	" from $S.river_job where queue = '" RIVER_QUEUE "' and kind = '" RIVER_KIND "'";

static const char outcomes_sql[] =
	"select (args->>'job_id')::bigint, state::text, attempt, scheduled_at > now()"
	" from $S.river_job where queue = '" RIVER_QUEUE "' and kind = '" RIVER_KIND "' and args ? 'job_id'";

static int river_setup(const struct qb_queue_env *env, struct qb_err *err)
{
	struct qb_river_options opt;
	PGconn *conn;
	int rc = qb_river_options_read(env->options, &opt, err);

	if (rc == 0)
		rc = qb_pg_connect(env->conninfo, "qbench setup", CONNECT_NS, &conn, err);
	if (rc < 0)
		return rc;
	rc = qb_river_schema_setup(conn, qb_river_schema(), err);
	/* The ledger is in the other schema, and its rows are of a run. */
	if (rc == 0 && env->seg->cfg.ledger) {
		rc = qb_schema_install(conn, err);
		if (rc == 0)
			rc = qb_schema_run_begin(conn, env->seg->hdr->run_id, NULL, 0, err);
		if (rc == 0)
			rc = qb_schema_prune(conn, env->seg->hdr->run_id, err);
	}
	PQfinish(conn);
	/* Another run is another client, which has not notified anybody yet. */
	pthread_mutex_lock(&driver_limiter.lock);
	driver_limiter.count = 0;
	driver_limiter.wait_ns = opt.fetch_cooldown_ns;
	pthread_mutex_unlock(&driver_limiter.lock);
	return rc < 0 ? qb_err_context(err, "could not create the tables of river") : 0;
}

static void river_close(struct qb_queue *q)
{
	qb_river_worker_close(q->worker);
	qb_river_waiter_close(q->waiter);
	qb_river_inserter_close(q->inserter);
	PQfinish(q->conn);
	qb_strbuf_free(&q->args);
	free(q->census_sql);
	free(q->outcomes_sql);
	free(q);
}

static int open_producer(struct qb_queue *q, const struct qb_river_options *opt, struct qb_err *err)
{
	pthread_mutex_lock(&driver_limiter.lock);
	driver_limiter.wait_ns = opt->fetch_cooldown_ns;
	pthread_mutex_unlock(&driver_limiter.lock);
	int rc = qb_pg_connect(q->env.conninfo, "qbench driver", CONNECT_NS, &q->conn, err);

	q->census_sql = qb_river_sql(qb_river_schema(), census_sql);
	q->outcomes_sql = qb_river_sql(qb_river_schema(), outcomes_sql);
	return rc < 0 ? rc : qb_river_inserter_open(q->conn, qb_river_schema(), &driver_limiter, &q->inserter, err);
}

static int river_open(const struct qb_queue_env *env, struct qb_queue **out, struct qb_err *err)
{
	struct qb_queue *q = qb_xcalloc(1, sizeof(*q));
	struct qb_river_options opt;
	int rc = qb_river_options_read(env->options, &opt, err);

	q->env = *env;
	if (rc == 0)
		rc = env->role == QB_ROLE_WORKER ? qb_river_worker_open(env, &opt, &q->worker, err) : open_producer(q, &opt, err);
	if (rc < 0) {
		river_close(q);
		return qb_err_context(err, "river");
	}
	*out = q;
	return 0;
}

/* q->args is written. states: in which the key of a row is taken. */
static int insert(struct qb_queue *q, const struct qb_submit *job, const uint8_t *unique_key, int states,
		  struct qb_queue_ticket *ticket, struct qb_err *err)
{
	struct qb_river_row row = {
		.args = q->args.data, .max_attempts = job->max_attempts, .unique_key = unique_key, .unique_states = states,
	};
	int rc = qb_river_insert(q->inserter, &row, 1, err);

	*ticket = (struct qb_queue_ticket){ .a = job->job_id, .b = (uint64_t)row.id };
	return rc < 0 ? rc : row.duplicate ? QB_DUPLICATE : QB_OK;
}

static int river_enqueue(struct qb_queue *q, const struct qb_submit *job, struct qb_queue_ticket *ticket,
			 struct qb_err *err)
{
	qb_strbuf_clear(&q->args);
	qb_river_args_write(&q->args, job, NULL);
	return insert(q, job, NULL, 0, ticket, err);
}

/* ByArgs, with the key as the only argument that is marked unique. */
static int insert_unique(struct qb_queue *q, const struct qb_submit *job, const char *key, int states,
			 struct qb_queue_ticket *ticket, struct qb_err *err)
{
	static const char *const fields[] = { "key" };
	struct qb_river_unique u = {
		.kind = RIVER_KIND, .by_args = true, .fields = fields, .fields_count = 1,
	};
	uint8_t hash[32];

	qb_strbuf_clear(&q->args);
	qb_river_args_write(&q->args, job, key);
	u.args = q->args.data;
	int rc = qb_river_unique_key(&u, hash, err);

	return rc < 0 ? rc : insert(q, job, hash, states, ticket, err);
}

static int river_enqueue_unique(struct qb_queue *q, const struct qb_submit *job, const char *key,
				struct qb_queue_ticket *ticket, struct qb_err *err)
{
	return insert_unique(q, job, key, RIVER_UNIQUE_STATES, ticket, err);
}

/* The insert had committed when enqueue() returned. */
static int river_acknowledged(struct qb_queue *q, const struct qb_queue_ticket *ticket)
{
	(void)q;
	(void)ticket;
	return 1;
}

static int river_claim(struct qb_queue *q, unsigned lane, struct qb_queue_job *job, struct qb_err *err)
{
	return qb_river_worker_claim(q->worker, lane, job, err);
}

static int river_start(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	return qb_river_worker_start(q->worker, job, err);
}

static int river_effect(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			struct qb_err *err)
{
	(void)result;
	(void)bytes;
	return qb_river_worker_effect(q->worker, job, err);
}

static int river_complete(struct qb_queue *q, struct qb_queue_job *job, const void *result, uint32_t bytes,
			  struct qb_err *err)
{
	(void)result;           /* River keeps one only where a job records an output */
	(void)bytes;
	return qb_river_worker_complete(q->worker, job, err);
}

static int river_fail(struct qb_queue *q, struct qb_queue_job *job, int permanent, uint64_t *due_ns, int *final,
		      struct qb_err *err)
{
	return qb_river_worker_fail(q->worker, job, permanent, due_ns, final, err);
}

static int river_release(struct qb_queue *q, struct qb_queue_job *job, struct qb_err *err)
{
	return qb_river_worker_release(q->worker, job, err);
}

static int river_wait(struct qb_queue *q, uint64_t deadline_ns, int takes_jobs, struct qb_err *err)
{
	return qb_river_worker_wait(q->worker, deadline_ns, takes_jobs, err);
}

static int river_woken(struct qb_queue *q)
{
	return qb_river_worker_woken(q->worker);
}

static int river_census(struct qb_queue *q, struct qb_queue_census *out, struct qb_err *err)
{
	static const enum qb_outcome where[] = { QB_OUTCOME_QUEUED, QB_OUTCOME_WAITING, QB_OUTCOME_HELD,
						 QB_OUTCOME_COMPLETED, QB_OUTCOME_DISCARDED };
	PGresult *res = NULL;
	int rc = qb_pg_query(q->conn, q->census_sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);

	*out = (struct qb_queue_census){ 0 };
	for (int i = 0; rc == 0 && i < 5; i++) {
		int64_t n = 0;

		if (qb_pg_get_i64(res, 0, i, &n))
			rc = qb_err_set(err, QB_ECORRUPT, "the census has other types than it should");
		out->by_outcome[where[i]] = (uint64_t)n;
	}
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not count the jobs of river") : 0;
}

static enum qb_outcome outcome_of(const char *state, size_t bytes, bool later)
{
	static const enum qb_outcome by_state[RIVER_STATES] = {
		[RIVER_AVAILABLE] = QB_OUTCOME_QUEUED, [RIVER_CANCELLED] = QB_OUTCOME_DISCARDED,
		[RIVER_COMPLETED] = QB_OUTCOME_COMPLETED, [RIVER_DISCARDED] = QB_OUTCOME_DISCARDED,
		[RIVER_PENDING] = QB_OUTCOME_QUEUED, [RIVER_RETRYABLE] = QB_OUTCOME_WAITING,
		[RIVER_RUNNING] = QB_OUTCOME_HELD, [RIVER_SCHEDULED] = QB_OUTCOME_QUEUED,
	};

	for (enum qb_river_state i = 0; i < RIVER_STATES; i++) {
		const char *name = qb_river_state_name(i);

		if (strlen(name) == bytes && memcmp(name, state, bytes) == 0)
			return later && (i == RIVER_AVAILABLE || i == RIVER_SCHEDULED) ? QB_OUTCOME_WAITING : by_state[i];
	}
	return QB_OUTCOME_NONE;
}

static int river_outcomes(struct qb_queue *q, qb_outcome_fn fn, void *ctx, struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = qb_pg_query(q->conn, q->outcomes_sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);

	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t id;
		int16_t attempt;
		const char *state;
		size_t bytes;
		bool later;

		if (qb_pg_get_i64(res, i, 0, &id) || qb_pg_get_text(res, i, 1, &state, &bytes) ||
		    qb_pg_get_i16(res, i, 2, &attempt) || qb_pg_get_bool(res, i, 3, &later))
			rc = qb_err_set(err, QB_ECORRUPT, "a job row has other values than it should");
		else
			fn(ctx, (uint64_t)id, outcome_of(state, bytes, later), (uint32_t)attempt);
	}
	PQclear(res);
	return rc < 0 ? qb_err_context(err, "could not read the jobs of river") : 0;
}

/* ---- addressed work: what an application builds on River, see river-address.c ---- */

static int river_push(struct qb_queue *q, const struct qb_submit *job, const char *address, struct qb_queue_ticket *ticket,
		      struct qb_address_run *run, struct qb_err *err)
{
	int rc = insert_unique(q, job, address, RIVER_ADDRESS_STATES, ticket, err);

	*run = (struct qb_address_run){ .a = ticket->b, .b = job->job_id };
	return rc;
}

static int river_await(struct qb_queue *q, const char *address, const struct qb_address_run *run, uint64_t deadline_ns,
		       struct qb_address_end *end, struct qb_err *err)
{
	int rc = 0;

	if (!q->waiter)
		rc = qb_river_waiter_open(q->conn, q->env.conninfo, qb_river_schema(), &q->waiter, err);
	if (rc == 0)
		rc = qb_river_wait_for_end(q->waiter, (int64_t)run->a, deadline_ns, end, err);
	return rc < 0 ? qb_err_context(err, "could not wait for the run of %s", address) : 0;
}

static int river_record(struct qb_queue *q, const struct qb_queue_job *job, const char *address, const char *message,
			struct qb_err *err)
{
	(void)address;
	(void)message;          /* the cache keeps it; River has it in the row's errors */
	return qb_river_worker_tell(q->worker, job, err);
}

static const struct qb_address_ops addressed = { .push = river_push, .await = river_await, .record = river_record };

const struct qb_queue_ops qb_queue_river = {
	.abi = QB_QUEUE_ABI,
	.name = "river",
	.summary = "River's protocol on River's tables: fetch at most once per cooldown, results in batches, rescue by a leader",
	.flags = QB_QUEUE_ENQUEUE_WAITS | QB_QUEUE_OWN_RETRIES | QB_QUEUE_LEASED,
	.options = qb_river_option_table,
	.setup = river_setup,
	.open = river_open,
	.close = river_close,
	.enqueue = river_enqueue,
	.enqueue_unique = river_enqueue_unique,
	.acknowledged = river_acknowledged,
	.claim = river_claim,
	.start = river_start,
	.effect = river_effect,
	.complete = river_complete,
	.fail = river_fail,
	.release = river_release,
	.wait = river_wait,
	.woken = river_woken,
	.census = river_census,
	.outcomes = river_outcomes,
	.addressed = &addressed,
};
