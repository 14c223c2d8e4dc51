/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chrome's trace event format: a track for each seat, a slice for each attempt at a job.
 *
 * Slices of one track must nest, and the jobs of a worker with several slots overlap: each slot
 * gets a track of its own, the lowest free one, as the worker itself does not number them.  A slice
 * is printed when it ends, so the file is in order of ends; viewers sort by themselves.
 */
#include "tools/decode.h"

#include <stdlib.h>

#include "base/strbuf.h"
#include "record/format.h"
#include "shm/segment.h"

#define LANES_MAX 1024          /* slices open at once in one seat; a damaged record has more */

struct slice {
	uint64_t job_id;        /* 0: the lane is free */
	uint64_t t_ns;
	uint32_t tenant;
	uint16_t attempt;
	uint8_t kind;
};

struct seat {
	struct slice *lanes;
	uint32_t lanes_count, open_count;
	uint32_t named_count;   /* lanes whose track has its name already */
	uint64_t last_ns;       /* of the seat's own events */
	uint64_t killed_ns;     /* 0: not since it was spawned */
	uint64_t answered_ns;   /* of a caller: its last request was over */
};

struct chrome {
	const struct qb_trace *t;
	struct qb_out *out;
	uint64_t base_ns;
	int first;
	struct seat seats[QB_SEAT_MAX + 1];
};

/* ---- pieces ---- */

static uint32_t track(uint32_t seat, uint32_t lane)
{
	return seat + lane * (QB_SEAT_MAX + 1);
}

/* Microseconds, as the format wants them, with the nanoseconds behind the point. */
static char *put_us(char *p, uint64_t ns)
{
	uint32_t rest = (uint32_t)(ns % 1000);

	p = qb_put_u64(p, ns / 1000);
	*p++ = '.';
	*p++ = (char)('0' + rest / 100);
	*p++ = (char)('0' + rest / 10 % 10);
	*p++ = (char)('0' + rest % 10);
	return p;
}

static char *begin(struct chrome *c, char phase)
{
	char *p = qb_out_line(c->out);

	if (!c->first)
		QB_PUT(p, ",\n");
	c->first = 0;
	QB_PUT(p, "{\"ph\":\"");
	*p++ = phase;
	QB_PUT(p, "\",\"pid\":1,\"tid\":");
	return p;
}

static void end(struct chrome *c, char *p)
{
	QB_PUT(p, "}}");
	qb_out_end(c->out, p);
}

static const char *role_of(const struct chrome *c, uint32_t seat)
{
	uint32_t role = c->t->seat_role[seat];

	return role == QB_ROLE_NONE ? "seat" : qb_role_name(role);
}

static void name_track(struct chrome *c, uint32_t seat, uint32_t lane)
{
	const char *name = role_of(c, seat);
	uint32_t role = c->t->seat_role[seat];
	char *p = begin(c, 'M');

	p = qb_put_u64(p, track(seat, lane));
	QB_PUT(p, ",\"name\":\"thread_name\",\"args\":{\"name\":\"");
	p = (char *)memcpy(p, name, strlen(name)) + strlen(name);
	/* There is one driver, parent, syncer at a time, and many of the rest. */
	if (role != QB_ROLE_DRIVER && role != QB_ROLE_PARENT && role != QB_ROLE_SYNCER) {
		*p++ = ' ';
		p = qb_put_u64(p, seat);
	}
	if (lane > 0) {
		QB_PUT(p, " slot ");
		p = qb_put_u64(p, lane + 1);
	}
	*p++ = '"';
	end(c, p);

	p = begin(c, 'M');
	p = qb_put_u64(p, track(seat, lane));
	QB_PUT(p, ",\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":");
	p = qb_put_u64(p, seat * LANES_MAX + lane);
	end(c, p);
}

/* ---- slices ---- */

static void close_slice(struct chrome *c, uint32_t seat_idx, uint32_t lane, uint64_t end_ns,
			const char *outcome)
{
	struct seat *seat = &c->seats[seat_idx];
	struct slice *s = &seat->lanes[lane];
	char kind[64], *p;

	for (; seat->named_count <= lane; seat->named_count++)
		name_track(c, seat_idx, seat->named_count);
	qb_decode_kind(c->t, s->kind, kind, sizeof(kind));
	p = begin(c, 'X');
	p = qb_put_u64(p, track(seat_idx, lane));
	QB_PUT(p, ",\"ts\":");
	p = put_us(p, s->t_ns - c->base_ns);
	QB_PUT(p, ",\"dur\":");
	p = put_us(p, end_ns > s->t_ns ? end_ns - s->t_ns : 0);
	QB_PUT(p, ",\"cat\":\"job\",\"name\":");
	p = qb_put_json(p, kind, sizeof(kind));
	QB_PUT(p, ",\"args\":{");
	p = qb_put_field(p, "attempt", s->attempt);
	p = qb_put_field(p, "job", s->job_id);
	p = qb_put_string_field(p, "outcome", outcome);
	p = qb_put_field(p, "tenant", s->tenant);
	end(c, p);
	s->job_id = 0;
	seat->open_count--;
}

static uint32_t free_lane(struct chrome *c, uint32_t seat_idx, uint64_t t_ns)
{
	struct seat *seat = &c->seats[seat_idx];
	uint32_t lane = 0;

	while (lane < seat->lanes_count && seat->lanes[lane].job_id != 0)
		lane++;
	if (lane == LANES_MAX) {
		close_slice(c, seat_idx, 0, t_ns, "unknown");
		return 0;
	}
	if (lane == seat->lanes_count) {
		uint32_t count = seat->lanes_count ? 2 * seat->lanes_count : 4;

		seat->lanes = qb_xrealloc(seat->lanes, count * sizeof(*seat->lanes));
		memset(seat->lanes + seat->lanes_count, 0,
		       (count - seat->lanes_count) * sizeof(*seat->lanes));
		seat->lanes_count = count;
	}
	return lane;
}

static void job_started(struct chrome *c, const struct qb_trace_event *e)
{
	struct seat *seat = &c->seats[e->ev.seat];
	uint32_t lane = free_lane(c, e->ev.seat, e->t_ns);

	seat->lanes[lane] = (struct slice){ e->ev.job_id, e->t_ns, e->ev.tenant, e->ev.attempt,
					    e->ev.kind };
	seat->open_count++;
}

/* 1 when the worker's own slice was closed by it. */
static int job_ended(struct chrome *c, const struct qb_trace_event *e, const char *outcome)
{
	struct seat *seat = &c->seats[e->ev.seat];

	for (uint32_t i = 0; seat->open_count > 0 && i < seat->lanes_count; i++) {
		if (seat->lanes[i].job_id != e->ev.job_id ||
		    seat->lanes[i].attempt != e->ev.attempt)
			continue;
		close_slice(c, e->ev.seat, i, e->t_ns, outcome);
		return 1;
	}
	return 0;
}

/*
 * What the process of a seat was at when it ended. It ended at its kill, if that was announced, but
 * not before the last thing that it wrote; else when its death was noticed.
 */
static void process_ended(struct chrome *c, uint32_t seat_idx, uint64_t noticed_ns,
			  const char *outcome)
{
	struct seat *seat = &c->seats[seat_idx];
	uint64_t end_ns = noticed_ns;

	if (seat->killed_ns != 0)
		end_ns = seat->killed_ns > seat->last_ns ? seat->killed_ns : seat->last_ns;
	for (uint32_t i = 0; seat->open_count > 0 && i < seat->lanes_count; i++) {
		if (seat->lanes[i].job_id != 0)
			close_slice(c, seat_idx, i, end_ns, outcome);
	}
	seat->killed_ns = 0;
}

/* A request to a cache, from the call to the answer; one caller has one at a time, so they follow one another. */
static void cache_request(struct chrome *c, const struct qb_trace_event *e)
{
	struct qb_cache_answer a = qb_cache_answer_unpack(e->ev.arg1);
	struct seat *seat = &c->seats[e->ev.seat];
	uint64_t from_ns = e->ev.arg0 < e->t_ns ? e->t_ns - e->ev.arg0 : 0;
	char *p;

	if (from_ns < c->base_ns)
		from_ns = c->base_ns;
	if (from_ns < seat->answered_ns)
		from_ns = seat->answered_ns;
	seat->answered_ns = e->t_ns;
	p = begin(c, 'X');
	p = qb_put_u64(p, track(e->ev.seat, 0));
	QB_PUT(p, ",\"ts\":");
	p = put_us(p, from_ns - c->base_ns);
	QB_PUT(p, ",\"dur\":");
	p = put_us(p, e->t_ns > from_ns ? e->t_ns - from_ns : 0);
	QB_PUT(p, ",\"cat\":\"cache\",\"name\":");
	p = qb_put_json(p, qb_decode_cache_way(a.way), 32);
	QB_PUT(p, ",\"args\":{");
	p = qb_put_field(p, "address", e->ev.slot_idx);
	p = qb_put_string_field(p, "fault", qb_decode_cache_fault(a.fault));
	p = qb_put_field(p, "pushes", a.pushes);
	p = qb_put_field(p, "request", e->ev.job_id);
	p = qb_put_field(p, "ticks", a.ticks);
	end(c, p);
}

/* ---- instants ---- */

/* scope: 't' the track, 'p' all tracks */
static char *instant(struct chrome *c, const struct qb_trace_event *e, uint32_t seat, char scope,
		     const char *category, const char *name)
{
	char *p = begin(c, 'i');

	p = qb_put_u64(p, track(seat, 0));
	QB_PUT(p, ",\"ts\":");
	p = put_us(p, e->t_ns - c->base_ns);
	QB_PUT(p, ",\"s\":\"");
	*p++ = scope;
	QB_PUT(p, "\",\"cat\":");
	p = qb_put_json(p, category, 32);
	QB_PUT(p, ",\"name\":");
	p = qb_put_json(p, name, 64);
	QB_PUT(p, ",\"args\":{");
	return p;
}

static void job_instant(struct chrome *c, const struct qb_trace_event *e)
{
	char *p = instant(c, e, e->ev.seat, 't', "job", qb_event_type_name(e->ev.type));

	p = qb_put_field(p, "attempt", e->ev.attempt);
	p = qb_put_field(p, "job", e->ev.job_id);
	if (e->ev.type == QB_EV_JOB_REQUEUED || e->ev.type == QB_EV_JOB_AMBIGUOUS)
		p = qb_put_field(p, "previous_seat", qb_word_seat(e->ev.arg0));
	if (e->ev.type == QB_EV_JOB_COMPLETED)
		p = qb_put_field(p, "found_after_kill", e->ev.arg1 & 1);
	end(c, p);
}

static void process_event(struct chrome *c, const struct qb_trace_event *e)
{
	uint32_t seat_idx = e->ev.slot_idx;
	const char *name = "spawned";
	char *p;

	if (seat_idx == 0 || seat_idx > QB_SEAT_MAX)
		return;
	switch (e->ev.type) {
	case QB_EV_PROCESS_SPAWNED:
		process_ended(c, seat_idx, e->t_ns, "process gone");
		break;
	case QB_EV_PROCESS_READY:
		name = "ready";
		break;
	case QB_EV_PROCESS_KILLED:
		name = "killed";
		c->seats[seat_idx].killed_ns = e->t_ns;
		break;
	case QB_EV_PROCESS_DIED:
		name = "died";
		process_ended(c, seat_idx, e->t_ns,
			      c->seats[seat_idx].killed_ns ? "killed" : "died");
		break;
	case QB_EV_PROCESS_STOPPED:
		name = "stopped";
		process_ended(c, seat_idx, e->t_ns, "stopped");
		break;
	}
	p = instant(c, e, seat_idx, 't', "process", name);
	if (e->ev.type != QB_EV_PROCESS_STOPPED)
		p = qb_put_field(p, "pid", e->ev.arg0);
	p = qb_put_string_field(p, "role", qb_role_name(e->ev.kind));
	if (e->ev.type == QB_EV_PROCESS_KILLED)
		p = qb_put_field(p, "kill", e->ev.arg1);
	if (e->ev.type == QB_EV_PROCESS_DIED)
		p = qb_put_field(p, "wait_status", e->ev.arg1);
	end(c, p);
}

static void other_event(struct chrome *c, const struct qb_trace_event *e)
{
	const struct qb_event_shm *ev = &e->ev;
	const char *name = qb_event_type_name(ev->type);
	char *p;

	switch (ev->type) {
	case QB_EV_RECOVERED:
		if (ev->slot_idx >= 1 && ev->slot_idx <= QB_SEAT_MAX)
			process_ended(c, ev->slot_idx, e->t_ns,
				      c->seats[ev->slot_idx].killed_ns ? "killed" : "died");
		p = instant(c, e, ev->seat, 't', "recovery", name);
		p = qb_put_field(p, "seat", ev->slot_idx);
		p = qb_put_field(p, "jobs_put_back", ev->arg1);
		p = qb_put_field(p, "took_ns", ev->arg0);
		break;
	case QB_EV_TAKEN_OVER:
		p = instant(c, e, ev->seat, 'p', "recovery", name);
		p = qb_put_field(p, "took_ns", ev->arg0);
		p = qb_put_field(p, "processes_dead", ev->arg1);
		break;
	case QB_EV_SYNC_COMMITTED:
		p = instant(c, e, ev->seat, 't', "sync", name);
		p = qb_put_field(p, "batch", ev->job_id);
		p = qb_put_field(p, "rows", ev->arg0);
		p = qb_put_field(p, "commit_ns", ev->arg1);
		break;
	case QB_EV_SYNC_LOST:
	case QB_EV_SYNC_BACK:
		p = instant(c, e, ev->seat, 't', "sync", name);
		p = qb_put_field(p, ev->type == QB_EV_SYNC_LOST ? "tries" : "away_ns", ev->arg0);
		if (ev->type == QB_EV_SYNC_BACK)
			p = qb_put_field(p, "resent", ev->arg1);
		break;
	case QB_EV_VERDICT:
		p = instant(c, e, ev->seat, 't', "verdict", name);
		p = qb_put_field(p, "kill", ev->job_id);
		break;
	case QB_EV_CACHE_WORK:
		p = instant(c, e, ev->seat, 't', "cache", qb_decode_cache_work(ev->arg0));
		p = qb_put_field(p, "address", ev->slot_idx);
		p = qb_put_field(p, "put_ns", ev->arg1);
		p = qb_put_field(p, "request", ev->job_id);
		break;
	default:
		return;
	}
	end(c, p);
}

static void event(struct chrome *c, const struct qb_trace_event *e)
{
	switch (e->ev.type) {
	case QB_EV_JOB_SUBMITTED:
	case QB_EV_JOB_ENQUEUED:
		break;          /* a point for each job would bury what is to be seen */
	case QB_EV_JOB_STARTED:
		if (e->ev.job_id != 0)
			job_started(c, e);
		break;
	case QB_EV_JOB_COMPLETED:
		if (!job_ended(c, e, "completed"))
			job_instant(c, e);
		break;
	case QB_EV_JOB_FAILED:
		if (!job_ended(c, e, "failed"))
			job_instant(c, e);
		break;
	case QB_EV_JOB_FENCED:
		job_ended(c, e, "fenced");
		job_instant(c, e);
		break;
	case QB_EV_ENQUEUE_FAILED:
	case QB_EV_JOB_DISCARDED:
	case QB_EV_JOB_REQUEUED:
	case QB_EV_JOB_AMBIGUOUS:
		job_instant(c, e);
		break;
	case QB_EV_PROCESS_SPAWNED:
	case QB_EV_PROCESS_READY:
	case QB_EV_PROCESS_KILLED:
	case QB_EV_PROCESS_DIED:
	case QB_EV_PROCESS_STOPPED:
		process_event(c, e);
		break;
	case QB_EV_CACHE_REQUEST:
		cache_request(c, e);
		break;
	default:
		other_event(c, e);
	}
	c->seats[e->ev.seat].last_ns = e->t_ns;
}

static void head(struct chrome *c)
{
	const struct qb_meta *m = &c->t->meta;
	char *p = qb_out_line(c->out);

	QB_PUT(p, "{\"displayTimeUnit\":\"ms\",\"otherData\":{");
	p = qb_put_string_field(p, "run_id", m->run_id);
	p = qb_put_string_field(p, "library", m->lib);
	p = qb_put_string_field(p, "scenario", m->scenario);
	p = qb_put_string_field(p, "host", m->host);
	QB_PUT(p, "},\"traceEvents\":[\n");
	qb_out_end(c->out, p);

	p = begin(c, 'M');
	QB_PUT(p, "0,\"name\":\"process_name\",\"args\":{");
	p = qb_put_string_field(p, "name", m->run_id);
	end(c, p);
	/* Also those that wrote nothing themselves but were killed, or died. */
	for (uint32_t seat = 1; seat <= QB_SEAT_MAX; seat++) {
		if (c->t->seat_last_seq[seat] == 0 && c->t->seat_role[seat] == QB_ROLE_NONE)
			continue;
		name_track(c, seat, 0);
		c->seats[seat].named_count = 1;
	}
}

void qb_decode_chrome(const struct qb_trace *t, struct qb_out *out)
{
	struct chrome *c = qb_xcalloc(1, sizeof(*c));
	uint64_t last_ns = t->events[t->events_count - 1].t_ns;
	char *p;

	c->t = t;
	c->out = out;
	c->base_ns = t->events[0].t_ns;
	c->first = 1;
	head(c);
	for (size_t i = 0; i < t->events_count && !out->failed; i++)
		event(c, &t->events[i]);
	for (uint32_t seat = 1; seat <= QB_SEAT_MAX; seat++) {
		process_ended(c, seat, last_ns, c->seats[seat].killed_ns ? "killed" : "unfinished");
		free(c->seats[seat].lanes);
	}
	p = qb_out_line(out);
	QB_PUT(p, "\n]}\n");
	qb_out_end(out, p);
	free(c);
}
