/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DatabaseQueueMonitorTask and DatabaseQueueSweeperTask.  The monitor is memory of one process; who sweeps without
 * one takes every permit away, those of live jobs included.
 */
#include "queue/platlib-inside.h"

#include <stdlib.h>
#include <string.h>

#include "pg/conn.h"
#include "queue/args.h"
#include "shm/status.h"

/* The permits that rows of the queue hold. The age is told by the server, whose clock wrote the time. */
static const char permits_sql[] =
	"select p.id, greatest(0, (extract(epoch from clock_timestamp() - p.created_at) * 1000000)::bigint)"
	" from qbench_platlib.queue q join qbench_platlib.queue_permits p on p.id = q.permit"
	" where q.name = 'benchmark' and q.permit <> 0";

static const char drop_permit_sql[] = "delete from qbench_platlib.queue_permits where id = $1::bigint";
static const char free_row_sql[] =
	"with freed as (update qbench_platlib.queue set permit = 0, updated_at = now() where permit = $1::bigint returning 1)"
	" select pg_notify('" QB_PLATLIB_MESSAGES "', $2)";

static struct qb_platlib_beat *find(const struct qb_platlib_monitor *m, uint64_t permit)
{
	for (size_t i = 0; i < m->count; i++)
		if (m->beats[i].permit == permit)
			return &m->beats[i];
	return NULL;
}

void qb_platlib_monitor_beat(struct qb_platlib_monitor *m, uint64_t permit, uint64_t now_ns)
{
	struct qb_platlib_beat *b = find(m, permit);

	if (!b) {
		if (m->count == m->cap) {
			m->cap = m->cap ? 2 * m->cap : 64;
			m->beats = qb_xrealloc(m->beats, m->cap * sizeof(*m->beats));
		}
		b = &m->beats[m->count++];
		b->permit = permit;
	}
	b->at_ns = now_ns;
}

int qb_platlib_monitor_start(struct qb_platlib_monitor *m, PGconn *conn, struct qb_err *err)
{
	PGresult *res = NULL;
	int rc = qb_pg_query(conn, permits_sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);
	uint64_t now = qb_now_ns();

	*m = (struct qb_platlib_monitor){ .forget_ns = now + qb_platlib_fixed.forget_ns };
	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t permit;

		if (qb_pg_get_i64(res, i, 0, &permit))
			rc = qb_err_set(err, QB_ECORRUPT, "a permit is no bigint");
		else
			qb_platlib_monitor_beat(m, (uint64_t)permit, now);
	}
	PQclear(res);
	if (rc < 0)
		return rc;
	m->started_ns = qb_now_ns();
	m->running = 1;
	return 0;
}

void qb_platlib_monitor_stop(struct qb_platlib_monitor *m)
{
	free(m->beats);
	*m = (struct qb_platlib_monitor){ 0 };
}

void qb_platlib_monitor_forget(struct qb_platlib_monitor *m, uint64_t now_ns, uint64_t sweep_age_ns)
{
	size_t kept = 0;

	if (now_ns < m->forget_ns)
		return;
	m->forget_ns = now_ns + qb_platlib_fixed.forget_ns;
	for (size_t i = 0; i < m->count; i++)
		if (now_ns - m->beats[i].at_ns < sweep_age_ns)
			m->beats[kept++] = m->beats[i];
	m->count = kept;
}

int qb_platlib_monitor_check(const struct qb_platlib_monitor *m, uint64_t permit, uint64_t age_ns, uint64_t now_ns,
			     uint64_t sweep_for_ns)
{
	const struct qb_platlib_beat *b;

	if (!m || !m->running)
		return 0;
	b = find(m, permit);
	return (b && now_ns - b->at_ns < sweep_for_ns) || age_ns < sweep_for_ns || now_ns - m->started_ns < sweep_for_ns;
}

/* QueuePermitDelete: the permit goes, its row is unclaimed again, and whoever waits is told. */
static int take_away(PGconn *conn, int64_t permit, struct qb_err *err)
{
	struct qb_sql_args a = { .n = 0 };
	char note[QB_PLATLIB_NOTE_BYTES];

	qb_arg_i64(&a, permit);
	int rc = qb_pg_query(conn, drop_permit_sql, a.n, NULL, a.values, a.lengths, a.formats, 1, NULL, err);

	qb_arg_text(&a, qb_platlib_note_ready(note, 1));
	return rc < 0 ? rc : qb_pg_query(conn, free_row_sql, a.n, NULL, a.values, a.lengths, a.formats, 1, NULL, err);
}

int qb_platlib_sweep(PGconn *conn, const struct qb_platlib_monitor *m, uint64_t sweep_for_ns, struct qb_err *err)
{
	PGresult *res = NULL;
	int taken = 0, rc = qb_pg_exec(conn, "begin", err);

	if (rc == 0)
		rc = qb_pg_query(conn, permits_sql, 0, NULL, NULL, NULL, NULL, 1, &res, err);
	for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
		int64_t permit, age_us;

		if (qb_pg_get_i64(res, i, 0, &permit) || qb_pg_get_i64(res, i, 1, &age_us)) {
			rc = qb_err_set(err, QB_ECORRUPT, "a permit has other types than it should");
		} else if (!qb_platlib_monitor_check(m, (uint64_t)permit, (uint64_t)age_us * QB_NS_PER_US, qb_now_ns(),
						     sweep_for_ns)) {
			rc = take_away(conn, permit, err);
			taken++;
		}
	}
	PQclear(res);
	int ended = qb_pg_exec(conn, rc == 0 ? "commit" : "rollback", rc == 0 ? err : NULL);

	return rc < 0 ? rc : ended < 0 ? ended : taken;
}
