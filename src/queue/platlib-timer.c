/* SPDX-License-Identifier: Apache-2.0 */
#include "queue/platlib-timer.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "shm/seat.h"

/* Between two handles of one process. */
static struct {
	pid_t pid;
	struct qb_platlib_timers timers;
} kept;

static uint64_t pending(const struct qb_seg *seg, uint32_t seat)
{
	uint64_t set = qb_load_relaxed64(&seg->seats[seat].counter[QB_COUNT_TIMERS_SET]);
	uint64_t over = qb_load_relaxed64(&seg->seats[seat].counter[QB_COUNT_TIMERS_OVER]);

	return set > over ? set - over : 0;
}

void qb_platlib_timers_open(struct qb_platlib_timers *t, const struct qb_seg *seg, uint32_t seat)
{
	*t = (struct qb_platlib_timers){ .seg = seg, .seat = seat };
	if (kept.pid == getpid() && kept.timers.seg == seg && kept.timers.seat == seat) {
		*t = kept.timers;
		kept.pid = 0;
	}
	/* What a dead process of this seat had is over. */
	qb_count(seg, seat, QB_COUNT_TIMERS_OVER, pending(seg, seat) - t->count);
}

void qb_platlib_timers_close(struct qb_platlib_timers *t)
{
	/* One worker sits in a process; in a test several do, and the last one's are kept. */
	if (kept.pid == getpid()) {
		for (size_t i = 0; i < kept.timers.count; i++)
			qb_strbuf_free(&kept.timers.timer[i].item);
		free(kept.timers.timer);
	}
	kept.pid = getpid();
	kept.timers = *t;
	*t = (struct qb_platlib_timers){ 0 };
}

void qb_platlib_timers_add(struct qb_platlib_timers *t, uint64_t due_ns, int64_t type, struct qb_strbuf *item)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 16;
		t->timer = qb_xrealloc(t->timer, t->cap * sizeof(*t->timer));
	}
	t->timer[t->count++] = (struct qb_platlib_timer){ .due_ns = due_ns, .type = type, .item = *item };
	*item = (struct qb_strbuf){ 0 };
	qb_count(t->seg, t->seat, QB_COUNT_TIMERS_SET, 1);
}

uint64_t qb_platlib_timers_next_ns(const struct qb_platlib_timers *t)
{
	uint64_t next = 0;

	for (size_t i = 0; i < t->count; i++)
		if (!next || t->timer[i].due_ns < next)
			next = t->timer[i].due_ns;
	return next;
}

int qb_platlib_timers_fire(struct qb_platlib_timers *t, PGconn *conn, const struct qb_platlib_settings *s,
			   struct qb_err *err)
{
	uint64_t now = t->count ? qb_now_ns() : 0;

	for (size_t i = 0; i < t->count;) {
		struct qb_platlib_timer *due = &t->timer[i];

		if (due->due_ns > now) {
			i++;
			continue;
		}
		int rc = qb_platlib_push(conn, s, NULL, due->type, &due->item, NULL, err);

		qb_strbuf_free(&due->item);
		*due = t->timer[--t->count];
		qb_count(t->seg, t->seat, QB_COUNT_TIMERS_OVER, 1);
		if (rc < 0 && PQstatus(conn) != CONNECTION_OK)
			return rc;
		if (rc < 0)
			qb_log(QB_LOG_WARNING, "platlib: a retry could not be pushed and is lost");
	}
	return 0;
}

uint64_t qb_platlib_timers_count(const struct qb_seg *seg)
{
	uint64_t n = 0;

	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++) {
		uint64_t ticks = 0;
		uint32_t pid = qb_seat_who(seg, seat, &ticks);

		/* Those of the dead are gone with them. Without a name it is an engine within one process. */
		if (qb_seat_state_of(qb_load_acquire64(&seg->seats[seat].word)) == QB_SEAT_TAKEN &&
		    (pid == 0 || qb_proc_start_ticks((pid_t)pid) == ticks))
			n += pending(seg, seat);
	}
	return n;
}
