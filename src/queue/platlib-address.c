/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: recorded failures, and PollAddress with its tick and its misses. */
#include "queue/platlib.h"

#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "queue/platlib-inside.h"
#include "shm/status.h"

#define CONNECT_NS (10 * QB_NS_PER_S)

struct qb_platlib_poller {
	PGconn *conn, *listener;
	int owns_conn;
	int by_tick;
	uint64_t misses;
};

static int ask(PGconn *conn, const char *sql, const char *one, const char *two, PGresult **res, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };

	qb_arg_text(&a, one);
	if (two)
		qb_arg_text(&a, two);
	return qb_pg_query(conn, sql, a.n, NULL, a.values, a.lengths, a.formats, 1, res, err);
}

void qb_platlib_failure_write(struct qb_strbuf *out, int64_t code, const char *message)
{
	qb_strbuf_add(out, "{");
	if (code)
		qb_strbuf_printf(out, "\"code\":%lld,", (long long)code);
	qb_strbuf_add(out, "\"message\":");
	qb_platlib_json_string(out, message);
	qb_strbuf_add(out, "}");
}

int qb_platlib_record_failure(PGconn *conn, const char *address, int64_t code, const char *message, struct qb_err *err)
{
	struct qb_strbuf json = { 0 };
	int rc = ask(conn, "delete from qbench_platlib.queue_failure where address = $1", address, NULL, NULL, err);

	if (rc < 0 || !message)
		return rc;
	qb_platlib_failure_write(&json, code, message);
	rc = ask(conn, "insert into qbench_platlib.queue_failure (address, error) values ($1, $2)", address, json.data, NULL,
		 err);
	qb_strbuf_free(&json);
	return rc;
}

int qb_platlib_address_in_queue(PGconn *conn, const char *address, struct qb_err *err)
{
	PGresult *res = NULL;
	int64_t n = 0;
	int rc = ask(conn, "select count(*) from qbench_platlib.queue where address = $1", address, NULL, &res, err);

	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &n))
		rc = qb_err_set(err, QB_ECORRUPT, "a count of rows is no bigint");
	PQclear(res);
	return rc < 0 ? rc : n > 0;
}

/* Somebody else's text may be no such JSON: it is the message, then, as in the adapter. */
static void read_failure(const char *text, size_t bytes, struct qb_platlib_failure *f)
{
	const char *message;
	uint64_t code = 0;
	size_t n;

	*f = (struct qb_platlib_failure){ 0 };
	if (qb_platlib_json_find(text, bytes, "message", &message, &n) < 0 || n == 0) {
		message = text;
		n = bytes;
	}
	qb_platlib_json_text(message, n, f->message, sizeof(f->message));
	if (qb_platlib_json_u64(text, bytes, "code", &code) == 0)
		f->code = (int64_t)code;
}

int qb_platlib_recorded_failure(PGconn *conn, const char *address, struct qb_platlib_failure *failure, struct qb_err *err)
{
	PGresult *res = NULL;
	const char *text;
	size_t bytes;
	int failed = 0, rc = ask(conn, "select error from qbench_platlib.queue_failure where address = $1 limit 1", address, NULL,
				 &res, err);

	if (rc == 0 && PQntuples(res) > 0 && qb_pg_get_text(res, 0, 0, &text, &bytes) == 0) {
		failed = 1;
		if (failure)
			read_failure(text, bytes, failure);
	}
	PQclear(res);
	return rc < 0 ? rc : failed;
}

int qb_platlib_address_state(PGconn *conn, const char *address, struct qb_platlib_failure *failure, struct qb_err *err)
{
	int rc = qb_platlib_recorded_failure(conn, address, failure, err);

	if (rc != 0)
		return rc < 0 ? rc : QB_PLATLIB_FAILED;
	rc = qb_platlib_address_in_queue(conn, address, err);
	return rc < 0 ? rc : rc ? QB_PLATLIB_PENDING : QB_PLATLIB_DONE;
}

int qb_platlib_poller_open(const char *conninfo, PGconn *conn, struct qb_platlib_poller **out, struct qb_err *err)
{
	struct qb_platlib_poller *p = qb_xcalloc(1, sizeof(*p));
	int rc = 0;

	p->conn = conn;
	p->owns_conn = !conn;
	if (!conn)
		rc = qb_pg_connect(conninfo, "qbench poller", CONNECT_NS, &p->conn, err);
	if (rc == 0)
		rc = qb_pg_connect(conninfo, "qbench listener", CONNECT_NS, &p->listener, err);
	if (rc == 0)
		rc = qb_pg_listen(p->listener, QB_PLATLIB_MESSAGES, err);
	if (rc < 0) {
		qb_platlib_poller_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

void qb_platlib_poller_close(struct qb_platlib_poller *p)
{
	if (!p)
		return;
	if (p->owns_conn)
		PQfinish(p->conn);
	PQfinish(p->listener);
	free(p);
}

uint64_t qb_platlib_poller_misses(const struct qb_platlib_poller *p)
{
	return p->misses;
}

PGconn *qb_platlib_poller_listener(const struct qb_platlib_poller *p)
{
	return p->listener;
}

int qb_platlib_poller_by_tick(const struct qb_platlib_poller *p)
{
	return p->by_tick;
}

int qb_platlib_poller_drain(struct qb_platlib_poller *p, struct qb_err *err)
{
	return qb_platlib_take_notes(p->listener, NULL, NULL, err);
}

struct awaited { const char *address; int seen; };

static void on_note(void *opaque, const struct qb_platlib_note *note)
{
	struct awaited *a = opaque;

	a->seen |= note->type == QB_PLATLIB_WORK_COMPLETE && strcmp(note->address, a->address) == 0;
}

/* How one PollAddress goes. */
struct poll {
	const char *address;
	uint64_t deadline_ns;
	int64_t run;                    /* "fixed": id of the row; 0: the address */
};

/* 1: notified; 0: the tick, or the deadline; negative. */
static int wait_for_note(struct qb_platlib_poller *p, const struct poll *how, struct qb_err *err)
{
	uint64_t tick_ns = qb_now_ns() + qb_platlib_fixed.address_tick_ns;
	uint64_t until = tick_ns < how->deadline_ns ? tick_ns : how->deadline_ns;
	struct awaited a = { .address = how->address };
	/* What came before the subscription has found nobody. */
	int rc = qb_platlib_take_notes(p->listener, how->run ? on_note : NULL, &a, err);

	while (rc == 0 && !a.seen && qb_now_ns() < until) {
		rc = qb_platlib_await(p->listener, -1, until, err);
		if (rc == 0)
			rc = qb_platlib_take_notes(p->listener, on_note, &a, err);
	}
	return rc < 0 ? rc : a.seen;
}

/* Row and failure as of one moment: behind the row there is what its end has recorded, or a later one. */
static int look_for_run(struct qb_platlib_poller *p, const struct poll *how, struct qb_platlib_failure *failure,
			struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	int state = QB_PLATLIB_DONE;
	PGresult *res = NULL;
	bool is_there = false;
	const char *text;
	size_t bytes;

	qb_arg_text(&a, how->address);
	qb_arg_i64(&a, how->run);
	int rc = qb_pg_query(p->conn, "select exists (select from qbench_platlib.queue where id = $2::bigint),"
			     " (select error from qbench_platlib.queue_failure where address = $1::text and run >= $2::bigint"
			     " order by run desc limit 1)", a.n, NULL, a.values, a.lengths, a.formats, 1, &res, err);

	if (rc < 0)
		return rc;
	if (qb_pg_get_bool(res, 0, 0, &is_there))
		state = qb_err_set(err, QB_ECORRUPT, "whether a row is there is no boolean");
	else if (is_there)
		state = QB_PLATLIB_PENDING;
	else if (qb_pg_get_text(res, 0, 1, &text, &bytes) == 0) {
		state = QB_PLATLIB_FAILED;
		if (failure)
			read_failure(text, bytes, failure);
	}
	PQclear(res);
	return state;
}

static int poll_address(struct qb_platlib_poller *p, const struct poll *how, struct qb_platlib_failure *failure, struct qb_err *err)
{
	p->by_tick = 0;
	for (;;) {
		int state = how->run ? look_for_run(p, how, failure, err) :
			qb_platlib_address_state(p->conn, how->address, failure, err);

		if (state != QB_PLATLIB_PENDING) {
			p->misses += state == QB_PLATLIB_DONE && p->by_tick;
			return state;
		}
		qb_platlib_at(QB_PLATLIB_AFTER_ADDRESS_LOOK);
		int rc = wait_for_note(p, how, err);

		if (rc < 0)
			return rc;
		p->by_tick = !rc;
		if (rc == 0 && qb_now_ns() >= how->deadline_ns)
			return QB_PLATLIB_NOT_YET;
	}
}

int qb_platlib_poll_address(struct qb_platlib_poller *p, const char *address, uint64_t deadline_ns,
			    struct qb_platlib_failure *failure, struct qb_err *err)
{
	struct poll how = { .address = address, .deadline_ns = deadline_ns };

	return poll_address(p, &how, failure, err);
}

int qb_platlib_poll_run(struct qb_platlib_poller *p, const char *address, int64_t run, uint64_t deadline_ns,
			struct qb_platlib_failure *failure, struct qb_err *err)
{
	struct poll how = { .address = address, .deadline_ns = deadline_ns, .run = run };
	/* From here on: before the first look. What is older says nothing of this run's end. */
	int rc = qb_platlib_poller_drain(p, err);

	return rc < 0 ? rc : poll_address(p, &how, failure, err);
}
