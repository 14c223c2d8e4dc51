/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of the interoperation test: the queue "river" through its vtable, as a run uses it, and
 * what people do to a River database from outside (cancel, pause).
 *
 *	river-peer CONNINFO COMMAND [ARG]...
 *
 * Prints JSON, a line each, with the names that tests/interop/river prints; the schema is $QB_RIVER_SCHEMA.
 *
 *	setup                           the tables: made, emptied or accepted
 *	enqueue COUNT FIRST WORK_MS [ERROR [MAX_ATTEMPTS]]      jobs FIRST, FIRST + 1 ...
 *	once KEY JOB                    by enqueue_unique
 *	insert ARGS [SETTING=VALUE]...  one row of any kind: kind, queue, by-args, by-queue, exclude-kind, by-period (s),
 *					fields (a,b.c: those marked unique), states (a mask), after (ms), max-attempts
 *	work COUNT SECONDS LANES [OPTIONS]      until COUNT jobs have ended (0: until SIGTERM)
 *	cancel ID, retry ID, pause QUEUE, resume QUEUE, resign WHO_ASKS
 *	listen                          what is notified in the schema, a line each, until SIGTERM
 *	sql TEXT                        rows one a line, columns separated by "|"
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "pg/conn.h"
#include "queue/river-control.h"
#include "queue/river-tables.h"
#include "queue/river-unique.h"
#include "shm/clock.h"
#include "shm/seat.h"
#include "workload/scenario.h"

#define CONNECT_NS (10 * QB_NS_PER_S)
#define LANES_MAX 64

static const char *conninfo;

static void fail(const char *what, const struct qb_err *err)
{
	fprintf(stderr, "river-peer %s: %s\n", what, err ? err->text : "wrong arguments");
	exit(err ? 1 : 2);
}

static void must(int rc, const char *what, const struct qb_err *err)
{
	if (rc < 0)
		fail(what, err);
}

/* A run of one process: the queue wants its settings and a seat, no more. */
static void sit_down(struct qb_queue_env *env, uint32_t role, unsigned lanes, const char *options)
{
	static struct qb_seg seg;
	struct qb_config_shm cfg;
	struct qb_err err = { 0 };
	int seat;

	qb_config_default(&cfg);
	cfg.job_count = 64;
	cfg.ring_count = 128;
	cfg.block_count = 256;
	cfg.seat_count = 8;
	cfg.arena_bytes = 1 << 16;
	cfg.slots_per_worker = lanes;
	cfg.seed = qb_wall_ns();
	snprintf(cfg.queue, sizeof(cfg.queue), "river");
	if (qb_seg_create_anonymous(&cfg, &seg) < 0 || (seat = qb_seat_take(&seg, role)) < 0) {
		qb_err_set(&err, -1, "no segment");
		fail("seat", &err);
	}
	*env = (struct qb_queue_env){
		.seg = &seg, .seat = (uint32_t)seat, .role = role, .conninfo = conninfo, .poll_ns = QB_NS_PER_S,
		.options = options,
	};
}

static PGconn *connect_db(void)
{
	struct qb_err err = { 0 };
	PGconn *conn;

	must(qb_pg_connect(conninfo, "river-peer", CONNECT_NS, &conn, &err), "connect", &err);
	return conn;
}

/* ---- producers ---- */

static void setup(void)
{
	struct qb_queue_env env;
	struct qb_err err = { 0 };

	sit_down(&env, QB_ROLE_DRIVER, 1, NULL);
	must(qb_queue_find("river")->setup(&env, &err), "setup", &err);
	puts("{\"event\":\"ready\"}");
}

static struct qb_queue *open_driver(const struct qb_queue_ops *ops)
{
	struct qb_queue_env env;
	struct qb_err err = { 0 };
	struct qb_queue *q;

	sit_down(&env, QB_ROLE_DRIVER, 1, NULL);
	must(ops->open(&env, &q, &err), "open", &err);
	return q;
}

static uint16_t error_class(const char *name)
{
	for (uint16_t i = 1; name && i < QB_ERROR_CLASS_COUNT; i++)
		if (strcmp(name, qb_error_class_name(i)) == 0)
			return i;
	return QB_ERROR_CLASS_NONE;
}

/* key NULL: by enqueue(). */
static void enqueue(struct qb_submit job, unsigned count, const char *key)
{
	static const char payload[] = "what it works on: <&> \xff";
	const struct qb_queue_ops *ops = qb_queue_find("river");
	struct qb_queue *q = open_driver(ops);
	struct qb_queue_ticket ticket;
	struct qb_err err = { 0 };

	job.payload = payload;
	job.payload_bytes = sizeof(payload) - 1;
	job.tenant = 4;
	job.kind = 2;
	for (unsigned i = 0; i < count; i++, job.job_id++) {
		job.submitted_raw = qb_stamp();
		int rc = key ? ops->enqueue_unique(q, &job, key, &ticket, &err) : ops->enqueue(q, &job, &ticket, &err);

		must(rc, "enqueue", &err);
		printf("{\"event\":\"inserted\",\"job\":%llu,\"duplicate\":%s}\n", (unsigned long long)job.job_id,
		       rc == QB_DUPLICATE ? "true" : "false");
	}
	ops->close(q);
}

struct setting { const char *name, *value; };

static const char *setting(const struct setting *s, const char *name, const char *otherwise)
{
	for (; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return s->value;
	return otherwise;
}

static uint64_t number(const struct setting *s, const char *name, uint64_t otherwise)
{
	const char *text = setting(s, name, NULL);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static size_t split(char *list, const char **out, size_t max)
{
	size_t n = 0;

	for (char *item = strtok(list, ","); item && n < max; item = strtok(NULL, ","))
		out[n++] = item;
	return n;
}

static void print_key(const uint8_t *key)
{
	for (int i = 0; key && i < 32; i++)
		printf("%02x", key[i]);
}

static void insert(const char *args, const struct setting *s)
{
	struct qb_river_limiter limiter = QB_RIVER_LIMITER_INIT;
	struct qb_river_inserter *in;
	struct qb_err err = { 0 };
	const char *fields[16], *list = setting(s, "fields", NULL);
	uint8_t key[32];
	PGconn *conn = connect_db();
	uint64_t now = qb_wall_ns(), after = number(s, "after", 0);
	struct qb_river_row row = {
		.args = args, .kind = setting(s, "kind", RIVER_KIND), .queue = setting(s, "queue", RIVER_QUEUE),
		.max_attempts = (int)number(s, "max-attempts", 25), .unique_states = (int)number(s, "states", RIVER_UNIQUE_STATES),
		.scheduled_wall_ns = after ? now + after * QB_NS_PER_MS : 0,
	};
	struct qb_river_unique u = {
		.kind = row.kind, .exclude_kind = number(s, "exclude-kind", 0), .by_args = number(s, "by-args", 0), .args = args,
		.by_period_ns = number(s, "by-period", 0) * QB_NS_PER_S,
		.at_wall_ns = row.scheduled_wall_ns ? row.scheduled_wall_ns : now,
		.by_queue = number(s, "by-queue", 0), .queue = row.queue,
	};

	if (list) {
		u.fields = fields;
		u.fields_count = split(strdup(list), fields, 16);
	}
	if (u.by_args || u.by_queue || u.by_period_ns) {
		must(qb_river_unique_key(&u, key, &err), "unique key", &err);
		row.unique_key = key;
	}
	limiter.wait_ns = 100 * QB_NS_PER_MS;
	must(qb_river_inserter_open(conn, qb_river_schema(), &limiter, &in, &err), "insert", &err);
	must(qb_river_insert(in, &row, 1, &err), "insert", &err);
	printf("{\"event\":\"inserted\",\"id\":%lld,\"duplicate\":%s,\"unique_key\":\"", (long long)row.id,
	       row.duplicate ? "true" : "false");
	print_key(row.unique_key);
	puts("\"}");
	qb_river_inserter_close(in);
	PQfinish(conn);
}

static volatile sig_atomic_t told_to_go;

static void on_term(int sig)
{
	(void)sig;
	told_to_go = 1;
}

/* ---- consumer ---- */

struct lane {
	int busy;
	uint64_t end_ns;
	struct qb_queue_job job;
};

static struct {
	const struct qb_queue_ops *ops;
	struct qb_queue *q;
	struct lane lane[LANES_MAX];
	unsigned lanes, busy, ended;
} w;

static void say(const char *event, const struct qb_queue_job *job, const char *how)
{
	printf("{\"event\":\"%s\",\"job\":%llu,\"attempt\":%u,\"failures\":%u,\"payload_bytes\":%u,\"how\":\"%s\"}\n", event,
	       (unsigned long long)job->job_id, job->attempt, job->failures, job->payload_bytes, how);
	fflush(stdout);
}

static void end_lane(struct lane *l)
{
	struct qb_err err = { 0 };
	uint64_t due = 0;
	int final = 0, rc;

	if (l->job.error_class)
		rc = w.ops->fail(w.q, &l->job, l->job.error_class == QB_ERROR_CLASS_PERMANENT, &due, &final, &err);
	else
		rc = w.ops->complete(w.q, &l->job, NULL, 0, &err);
	must(rc == QB_EFENCED ? 0 : rc, "end", &err);
	say("ended", &l->job, rc == QB_EFENCED ? "refused" : !l->job.error_class ? "completed" : final ? "failed" : "retry");
	l->busy = 0;
	w.busy--;
	w.ended++;
}

static void begin_lane(struct lane *l)
{
	struct qb_err err = { 0 };
	int rc = w.ops->start(w.q, &l->job, &err);

	must(rc == QB_EFENCED ? 0 : rc, "start", &err);
	if (rc == QB_EFENCED) {
		say("ended", &l->job, "not begun");
		w.ended++;
		return;
	}
	say("started", &l->job, "");
	l->end_ns = qb_now_ns() + (l->job.error_class ? 0 : l->job.work_us * QB_NS_PER_US);
	l->busy = 1;
	w.busy++;
}

/* *next_ns: earlier when a job ends before. */
static void serve(uint64_t *next_ns)
{
	struct qb_err err = { 0 };
	int empty = 0;

	for (unsigned i = 0; i < w.lanes; i++) {
		struct lane *l = &w.lane[i];

		if (l->busy && l->end_ns <= qb_now_ns())
			end_lane(l);
		if (!l->busy && !empty) {
			int rc = w.ops->claim(w.q, i, &l->job, &err);

			must(rc, "claim", &err);
			empty = rc == QB_EMPTY;
			if (!empty)
				begin_lane(l);
		}
		if (l->busy && l->end_ns < *next_ns)
			*next_ns = l->end_ns;
	}
}

static void work(unsigned count, unsigned seconds, unsigned lanes, const char *options)
{
	struct qb_queue_env env;
	struct qb_err err = { 0 };
	uint64_t over = qb_now_ns() + seconds * QB_NS_PER_S;

	signal(SIGTERM, on_term);
	w.lanes = lanes;
	w.ops = qb_queue_find("river");
	sit_down(&env, QB_ROLE_WORKER, lanes, options);
	must(w.ops->open(&env, &w.q, &err), "open", &err);
	puts("{\"event\":\"ready\"}");
	fflush(stdout);
	while (!told_to_go && (count == 0 || w.ended < count) && qb_now_ns() < over) {
		/* Short, so that SIGTERM is seen. */
		uint64_t next = qb_now_ns() + 50 * QB_NS_PER_MS;

		serve(&next);
		if (count == 0 || w.ended < count)
			must(w.ops->wait(w.q, next, w.busy < w.lanes, &err), "wait", &err);
	}
	/* What is still running has its time to end. */
	while (w.busy) {
		for (unsigned i = 0; i < w.lanes; i++)
			if (w.lane[i].busy && w.lane[i].end_ns <= qb_now_ns())
				end_lane(&w.lane[i]);
		qb_sleep_ns(QB_NS_PER_MS);
	}
	w.ops->close(w.q);
	puts("{\"event\":\"stopped\"}");
}

/* ---- control ---- */

static void control(const char *what, const char *arg)
{
	char state[QB_RIVER_STATE_BYTES] = "";
	const char *schema = qb_river_schema();
	PGconn *conn = connect_db();
	struct qb_err err = { 0 };
	int rc = 0;

	if (strcmp(what, "cancel") == 0)
		rc = qb_river_job_cancel(conn, schema, atoll(arg), state, &err);
	else if (strcmp(what, "retry") == 0)
		rc = qb_river_job_retry(conn, schema, atoll(arg), state, &err);
	else if (strcmp(what, "pause") == 0)
		rc = qb_river_queue_pause(conn, schema, arg, &err);
	else if (strcmp(what, "resign") == 0)
		rc = qb_river_request_resign(conn, schema, arg, &err);
	else
		rc = qb_river_queue_resume(conn, schema, arg, &err);
	must(rc, what, &err);
	printf("{\"event\":\"%s\",\"state\":\"%s\"}\n", what, state);
	PQfinish(conn);
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
	(void)ctx;
	printf("%s %s\n", channel, payload);
	fflush(stdout);
}

static void listen_to_all(void)
{
	static const char *const topics[] = { "insert", "control", "leadership" };
	PGconn *conn = connect_db();
	struct qb_err err = { 0 };
	char channel[128];

	signal(SIGTERM, on_term);
	for (unsigned i = 0; i < 3; i++)
		must(qb_pg_listen(conn, qb_river_channel(qb_river_schema(), topics[i], channel, sizeof(channel)), &err), "listen",
		     &err);
	puts("{\"event\":\"ready\"}");
	fflush(stdout);
	while (!told_to_go)
		must(qb_river_wait(conn, qb_now_ns() + 50 * QB_NS_PER_MS, -1, on_notify, NULL, &err), "listen", &err);
	PQfinish(conn);
}

static void run_sql(const char *text)
{
	PGconn *conn = connect_db();
	struct qb_err err = { 0 };
	PGresult *res;

	must(qb_pg_query(conn, text, 0, NULL, NULL, NULL, NULL, 0, &res, &err), "sql", &err);
	for (int row = 0; row < PQntuples(res); row++) {
		for (int col = 0; col < PQnfields(res); col++)
			printf("%s%s", col ? "|" : "", PQgetvalue(res, row, col));
		putchar('\n');
	}
	PQclear(res);
	PQfinish(conn);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";
	struct setting s[16] = { { NULL, NULL } };

	conninfo = argc > 2 ? argv[1] : NULL;
	if (strcmp(what, "setup") == 0 && argc == 3) {
		setup();
	} else if (strcmp(what, "enqueue") == 0 && argc >= 6) {
		enqueue((struct qb_submit){
			.job_id = strtoull(argv[4], NULL, 10), .work_us = (uint32_t)atoi(argv[5]) * 1000,
			.error_class = error_class(argc > 6 ? argv[6] : NULL),
			.max_attempts = (uint16_t)(argc > 7 ? atoi(argv[7]) : 3),
		}, (unsigned)atoi(argv[3]), NULL);
	} else if (strcmp(what, "once") == 0 && argc == 5) {
		enqueue((struct qb_submit){ .job_id = strtoull(argv[4], NULL, 10), .max_attempts = 3 }, 1, argv[3]);
	} else if (strcmp(what, "insert") == 0 && argc >= 4 && argc < 19) {
		for (int i = 4; i < argc; i++) {
			char *value = strchr(argv[i], '=');

			if (!value)
				fail(argv[i], NULL);
			*value = '\0';
			s[i - 4] = (struct setting){ argv[i], value + 1 };
		}
		insert(argv[3], s);
	} else if (strcmp(what, "work") == 0 && argc >= 6 && atoi(argv[5]) > 0 && atoi(argv[5]) <= LANES_MAX) {
		work((unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5]), argc > 6 ? argv[6] : NULL);
	} else if (argc == 4 && (!strcmp(what, "cancel") || !strcmp(what, "retry") || !strcmp(what, "pause") ||
				 !strcmp(what, "resume") || !strcmp(what, "resign"))) {
		control(what, argv[3]);
	} else if (strcmp(what, "listen") == 0 && argc == 3) {
		listen_to_all();
	} else if (strcmp(what, "sql") == 0 && argc == 4) {
		run_sql(argv[3]);
	} else {
		fail("CONNINFO COMMAND [ARG]...", NULL);
	}
	return 0;
}
