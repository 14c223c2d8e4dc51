/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/syncer.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "pg/conn.h"
#include "pg/standby.h"
#include "shm/event.h"
#include "shm/fault.h"
#include "shm/hint.h"
#include "shm/job.h"
#include "shm/restore.h"
#include "shm/seat.h"
#include "shm/wait.h"
#include "sync/batch.h"
#include "sync/resolve.h"
#include "sync/retain.h"
#include "sync/rewind.h"
#include "sync/schema.h"
#include "sync/send.h"

#define CONNECT_NS (5 * QB_NS_PER_S)
#define BACKOFF_MIN_NS (10 * QB_NS_PER_MS)
#define BACKOFF_MAX_NS QB_NS_PER_S
/* Events alone are sent when there are many, or when the oldest has waited this long. */
#define EVENTS_MIN 256
#define EVENTS_DELAY_NS (50 * QB_NS_PER_MS)

struct qb_syncer {
	const struct qb_seg *seg;
	uint32_t seat;
	const char *conninfo;
	PGconn *conn;
	int64_t run_no, epoch, batch_no;
	struct qb_batch batch;
	struct qb_resolve resolve;
	struct qb_retain retain;
	struct qb_event_writer *log;
	struct qb_rng rng;
	uint64_t last_commit_ns;
	int doubt;                      /* rows of the next batch may be there already */
	uint64_t backoff_ns;            /* the next pause */
	unsigned refused;               /* batches that failed since the last commit */
	PQnoticeReceiver log_notice;
	int not_replicated;             /* the last commit did not wait for its synchronous standby server to the end */
	struct qb_loss lost;            /* what the server of this connection lacked */
};

int qb_syncer_open(const struct qb_seg *seg, uint32_t seat, const char *conninfo, struct qb_event_writer *log,
		   struct qb_syncer **out)
{
	struct qb_syncer *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->seg = seg;
	s->seat = seat;
	s->conninfo = conninfo;
	s->backoff_ns = BACKOFF_MIN_NS;
	if (qb_batch_open(&s->batch, seg, seat) < 0 || qb_resolve_open(&s->resolve, seg, seat, log) < 0 ||
	    qb_retain_open(&s->retain, seg) < 0) {
		qb_syncer_close(s);
		return -ENOMEM;
	}
	s->batch.resolve = &s->resolve;
	s->log = log;
	qb_rng_init(&s->rng, seg->cfg.seed + seat, "syncer backoff");
	*out = s;
	return 0;
}

static void disconnect(struct qb_syncer *s)
{
	PQfinish(s->conn);
	s->conn = NULL;
	qb_store_relaxed32(&s->seg->hdr->mark_connected, 0);
}

void qb_syncer_close(struct qb_syncer *s)
{
	if (!s)
		return;
	disconnect(s);
	qb_batch_close(&s->batch);
	qb_resolve_close(&s->resolve);
	qb_retain_close(&s->retain);
	free(s);
}

/*
 * The same cluster, and not what a failover left behind: a primary that came back has the older timeline, and whoever
 * wrote to it would write for nobody.
 */
static int check_server(struct qb_syncer *s, struct qb_err *err)
{
	struct qb_header_shm *h = s->seg->hdr;
	struct qb_pg_where where;
	int rc = qb_pg_where(s->conn, &where, err);

	if (rc < 0)
		return rc;
	if (h->cluster_id && where.system_id && where.system_id != h->cluster_id)
		return qb_err_set(err, QB_ECLUSTER, "this is another Postgres cluster: its system identifier is %llu, that of "
				  "the run is %llu; nothing is written to it", (unsigned long long)where.system_id,
				  (unsigned long long)h->cluster_id);
	if (where.timeline < qb_load_relaxed64(&h->mark_timeline))
		return qb_err_set(err, QB_ECLUSTER, "this server is on timeline %u and the run was on %llu already: it is one that "
				  "a failover left behind; nothing is written to it", where.timeline,
				  (unsigned long long)qb_load_relaxed64(&h->mark_timeline));
	qb_store_relaxed64(&h->mark_timeline, where.timeline);
	return 0;
}

/* The schema itself may be among what a failover lost. */
static int find_run(struct qb_syncer *s, struct qb_err *err)
{
	int rc = qb_schema_run(s->conn, s->seg->hdr->run_id, &s->run_no, err);

	if (rc == QB_EPG && strcmp(qb_pg_sqlstate(), "42P01") == 0 && qb_load_relaxed64(&s->seg->hdr->mark_batch) > 0) {
		qb_err_clear(err);
		rc = qb_schema_install(s->conn, err);
		if (rc == 0)
			rc = qb_schema_run(s->conn, s->seg->hdr->run_id, &s->run_no, err);
	}
	return rc;
}

/*
 * Waits for a statement of a dead predecessor that still runs; one that comes later finds another epoch. Compared
 * first: a claim of an earlier connection of our own, held up on its way, must not shut us out. Above every epoch that
 * there was, also where a failover lost the last ones. A segment that was taken for lost, and rebuilt, is of an earlier
 * life of the run and gets none.
 */
static int take_epoch(struct qb_syncer *s, struct qb_err *err)
{
	const Oid oids[] = { QB_PG_INT8, QB_PG_INT8, QB_PG_INT8 };
	uint64_t mark = qb_load_relaxed64(&s->seg->hdr->mark_epoch);
	uint64_t arg_be[] = { htobe64((uint64_t)s->run_no), 0, htobe64(mark) };
	const char *values[] = { (const char *)&arg_be[0], (const char *)&arg_be[1], (const char *)&arg_be[2] };
	const int lengths[] = { 8, 8, 8 }, formats[] = { 1, 1, 1 };
	PGresult *res = NULL;
	int64_t seen = 0;
	int rc = qb_schema_run_attend(s->conn, s->run_no, 0, NULL, err);

	if (rc == 0)
		return qb_err_set(err, QB_EPG, "the run is being rebuilt from Postgres elsewhere");
	if (rc > 0)
		rc = qb_pg_query(s->conn, "select epoch from qbench.run where run_no = $1", 1, oids, values, lengths, formats,
				 1, &res, err);
	if (rc == 0 && qb_pg_get_i64(res, 0, 0, &seen) != 0)
		rc = qb_err_set(err, QB_EPG, "the row of this run is gone");
	PQclear(res);
	if (rc < 0)
		return rc;
	if (qb_life_of((uint64_t)seen) > qb_life_of(mark))
		return qb_err_set(err, QB_EFENCED, "this run was rebuilt from Postgres: what it does now happens elsewhere, and its "
				  "segment here (life %u of it) is evidence", qb_life_of(mark));
	arg_be[1] = htobe64((uint64_t)seen);
	rc = qb_pg_query(s->conn, "update qbench.run set epoch = greatest(epoch, $3) + 1 where run_no = $1 and epoch = $2"
			 " returning epoch, batch", 3, oids, values, lengths, formats, 1, &res, err);
	if (rc == 0 && (qb_pg_get_i64(res, 0, 0, &s->epoch) != 0 || qb_pg_get_i64(res, 0, 1, &s->batch_no) != 0))
		rc = qb_err_set(err, QB_EPG, "somebody else took the epoch of this run at the same time");
	PQclear(res);
	return rc;
}

/* The tables may be of an older version: the run is one of an older qbench, or a failover lost what changed them. */
static int prepare(struct qb_syncer *s, struct qb_err *err)
{
	int rc = qb_batch_prepare(s->conn, err);

	if (rc == QB_EPG && strcmp(qb_pg_sqlstate(), "42703") == 0) {
		qb_err_clear(err);
		rc = qb_schema_install(s->conn, err);
		if (rc == 0)
			rc = qb_batch_prepare(s->conn, err);
	}
	return rc < 0 ? rc : qb_resolve_prepare(s->conn, err);
}

/* A commit whose wait for a synchronous standby server was called off is answered as one that was not. */
static void on_notice(void *opaque, const PGresult *res)
{
	struct qb_syncer *s = opaque;
	const char *from = PQresultErrorField(res, PG_DIAG_SOURCE_FUNCTION);

	/* By the place that it comes from: the text is in the server's language. */
	if (from && strcmp(from, "SyncRepWaitForLSN") == 0)
		s->not_replicated = 1;
	s->log_notice(NULL, res);
}

int qb_syncer_connect(struct qb_syncer *s, struct qb_err *err)
{
	struct qb_header_shm *h = s->seg->hdr;
	int rc;

	disconnect(s);
	rc = qb_pg_connect(s->conninfo, "qbench syncer", CONNECT_NS, &s->conn, err);
	if (rc < 0)
		return rc;
	s->log_notice = PQsetNoticeReceiver(s->conn, on_notice, s);
	memset(&s->lost, 0, sizeof(s->lost));
	qb_store_relaxed32(&s->seg->seats[s->seat].backend_pid, (uint32_t)PQbackendPID(s->conn));
	rc = check_server(s, err);
	if (rc == 0)
		rc = find_run(s, err);
	if (rc == 0)
		rc = take_epoch(s, err);
	if (rc == 0)
		rc = prepare(s, err);
	if (rc == 0 && (uint64_t)s->batch_no < qb_load_relaxed64(&h->mark_batch))
		rc = qb_rewind(s->seg, s->conn, s->run_no, (uint64_t)s->batch_no, &s->lost, err);
	if (rc < 0) {
		disconnect(s);
		return qb_err_context(err, "syncer");
	}
	qb_store_relaxed64(&h->mark_epoch, (uint64_t)s->epoch);
	qb_store_relaxed64(&h->mark_batch, (uint64_t)s->batch_no);
	qb_store_relaxed32(&h->mark_connected, 1);
	/* Whatever the last connection left open: words, not memory, say what is durable. */
	qb_job_rescan(s->seg);
	qb_retain_forget(&s->retain);
	qb_batch_events_again(&s->batch);
	s->doubt = 1;
	return 0;
}

static void note(struct qb_syncer *s, uint16_t type, uint64_t job_id, uint64_t arg0, uint64_t arg1)
{
	struct qb_event_shm *e = qb_event_begin(s->log);

	if (!e)
		return;
	e->job_id = job_id;
	e->token = 0;
	e->arg0 = arg0;
	e->arg1 = arg1;
	e->slot_idx = s->seat;
	e->tenant = 0;
	e->type = type;
	e->kind = QB_ROLE_SYNCER;
	e->error_class = 0;
	e->attempt = 0;
	qb_event_commit(s->log, e);
}

static int send_batch(struct qb_syncer *s, struct qb_err *err)
{
	s->not_replicated = 0;
	int rc = qb_batch_send(s->conn, &s->batch, s->run_no, s->epoch, s->batch_no, &s->doubt, err);

	if (rc == 0 && s->not_replicated)
		rc = qb_err_set(err, QB_EPG, "the wait for the synchronous standby server was called off: the batch is "
				"committed here and not acknowledged");
	return rc;
}

int qb_syncer_step(struct qb_syncer *s, int all, struct qb_err *err)
{
	struct qb_header_shm *h = s->seg->hdr;
	/* First those in doubt that an earlier gathering met: what becomes of them goes into this batch. */
	int rc = qb_resolve_step(&s->resolve, s->conn, s->run_no, s->epoch, err);
	uint64_t now = qb_now_ns();

	if (rc >= 0) {
		int freed = qb_retain_poll(&s->retain, &s->batch, s->conn, err);

		rc = freed < 0 ? freed : rc;
	}
	if (rc < 0) {
		disconnect(s);
		return rc;
	}
	if (!qb_batch_wanted(&s->batch, all || now - s->last_commit_ns >= EVENTS_DELAY_NS ? 1 : EVENTS_MIN))
		return rc;
	s->batch.again = s->doubt;
	uint32_t rows = qb_batch_gather(&s->batch);

	if (rows == 0)
		return rc > 0 || qb_resolve_is_due(&s->resolve);
	QB_FAULT("syncer.step.before-commit");
	rc = send_batch(s, err);
	if (rc < 0) {
		qb_batch_undo(&s->batch);
		disconnect(s);
		return rc;
	}
	QB_FAULT("syncer.step.after-commit");
	s->batch_no++;
	s->last_commit_ns = qb_now_ns();
	/* Before anything that it allows: a server that lacks this batch is met as one behind it, whatever is freed now. */
	qb_store_relaxed64(&h->mark_batch, (uint64_t)s->batch_no);
	if (!s->batch.keeps)
		qb_store_relaxed64(&h->mark_released, (uint64_t)s->batch_no);
	/* A batch that left nothing behind held all that there was from before the connection. */
	if (!s->batch.is_cut)
		s->doubt = 0;
	uint32_t accepted = qb_batch_done(&s->batch);

	if (s->batch.keeps)
		qb_retain_add(&s->retain, &s->batch, (uint64_t)s->batch_no);
	qb_add_relaxed64(&h->mark_accepted, accepted);
	qb_add_relaxed64(&h->mark_events, s->batch.events_new);
	qb_store_relaxed64(&h->mark_commit_wall_ns, qb_wall_ns());
	qb_count(s->seg, s->seat, QB_COUNT_COMMITS, 1);
	qb_count(s->seg, s->seat, QB_COUNT_SYNC_ROWS, rows);
	note(s, QB_EV_SYNC_COMMITTED, (uint64_t)s->batch_no, rows, s->last_commit_ns - now);
	qb_wake_seat(s->seg, qb_load_relaxed32(&h->submitter_seat));
	return (int)rows;
}

int qb_syncer_is_clean(struct qb_syncer *s)
{
	return !qb_batch_wanted(&s->batch, 1) && s->resolve.pending_count == 0;
}

/* An idle connection says nothing; that it was closed shows on the socket. */
static int is_closed(struct qb_syncer *s)
{
	struct pollfd p = { .fd = PQsocket(s->conn), .events = POLLIN };

	return p.fd < 0 || (poll(&p, 1, 0) > 0 && (!PQconsumeInput(s->conn) || PQstatus(s->conn) != CONNECTION_OK));
}

/* Sleeps until somebody says that there is news. */
static void nap(struct qb_syncer *s, uint64_t timeout_ns)
{
	qb_park_prepare(s->seg, s->seat, 0);
	if (qb_batch_wanted(&s->batch, EVENTS_MIN) || qb_load_relaxed32(&s->seg->hdr->stop) >= QB_STOP_NOW)
		qb_park_cancel(s->seg, s->seat);
	else
		qb_park(s->seg, s->seat, timeout_ns);
}

/* Not on the futex: news cannot be sent now, so it must not wake us. */
static void back_off(struct qb_syncer *s)
{
	qb_sleep_ns(s->backoff_ns / 2 + qb_rng_below(&s->rng, s->backoff_ns));
	s->backoff_ns = s->backoff_ns * 2 < BACKOFF_MAX_NS ? s->backoff_ns * 2 : BACKOFF_MAX_NS;
}

/* 0 connected; QB_EPG when told to leave before that; QB_EFENCED: the run is somebody else's now, and all is told to leave. */
static int reconnect(struct qb_syncer *s)
{
	uint64_t since = qb_now_ns(), tries = 0;
	struct qb_err err;
	int said = 0, rc;

	/* A server that takes connections and refuses every batch is not asked without a pause either. */
	if (s->refused > 1)
		back_off(s);
	for (;;) {
		qb_err_clear(&err);
		rc = qb_syncer_connect(s, &err);
		if (rc == 0)
			break;
		if (rc == QB_EFENCED) {
			qb_log(QB_LOG_ERROR, "%s", err.text);
			qb_raise_stop(s->seg, QB_STOP_NOW);
			return rc;
		}
		if (qb_load_relaxed32(&s->seg->hdr->stop) >= QB_STOP_NOW)
			return QB_EPG;
		note(s, QB_EV_SYNC_LOST, 0, ++tries, 0);
		/* The wrong cluster is worth a word of its own, also after others. */
		qb_log(rc == said ? QB_LOG_DEBUG : rc == QB_ECLUSTER ? QB_LOG_ERROR : QB_LOG_WARNING, "%s; trying again",
		       err.text);
		said = rc;
		back_off(s);
	}
	if (s->refused <= 1)
		s->backoff_ns = BACKOFF_MIN_NS;
	if (tries || s->lost.rewinds)
		note(s, QB_EV_SYNC_BACK, s->lost.gone, qb_now_ns() - since, qb_loss_resent(&s->lost));
	return 0;
}

/* A batch failed. 0: connect and try again; negative: leave. */
static int refused(struct qb_syncer *s, int rc, const struct qb_err *err)
{
	note(s, QB_EV_SYNC_LOST, 0, s->refused++, 0);
	/* Whoever took the epoch is the syncer now; taking it back would be a war between the two. */
	if (rc == QB_EFENCED) {
		qb_log(QB_LOG_ERROR, "%s; leaving", err->text);
		return rc;
	}
	if (qb_load_relaxed32(&s->seg->hdr->stop) >= QB_STOP_NOW)
		return QB_EPG;
	qb_log(s->refused == 1 ? QB_LOG_WARNING : QB_LOG_DEBUG, "%s; connecting again", err->text);
	return 0;
}

int qb_syncer_main(struct qb_syncer *s)
{
	struct qb_header_shm *h = s->seg->hdr;
	struct qb_err err;

	qb_store_relaxed32(&h->syncer_seat, s->seat);
	for (;;) {
		uint32_t stop = qb_load_relaxed32(&h->stop);

		int rc = s->conn ? 0 : reconnect(s);

		if (rc < 0)
			return rc;
		qb_err_clear(&err);
		rc = qb_syncer_step(s, stop >= QB_STOP_FINISH, &err);

		/* A failover is met when it happens, not with the next news. */
		if (rc == 0 && is_closed(s)) {
			rc = qb_err_set(&err, QB_EPG, "syncer: the server closed the connection");
			disconnect(s);
		}
		if (rc < 0) {
			rc = refused(s, rc, &err);
			if (rc < 0)
				return rc;
			continue;
		}
		if (rc > 0) {
			s->refused = 0;
			continue;
		}
		int waits = qb_retain_waits(&s->retain);

		if (stop >= QB_STOP_NOW && s->resolve.pending_count)
			return QB_EPG;
		/* What came before the stop is durable: the step found nothing more. */
		if (stop >= QB_STOP_NOW || (stop >= QB_STOP_FINISH && !waits && s->resolve.pending_count == 0))
			return 0;
		nap(s, waits ? QB_RETAIN_POLL_NS : EVENTS_DELAY_NS);
	}
}
