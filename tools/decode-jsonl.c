/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The original benchmark's JSONL: its kinds with exactly its fields, and kinds of our own for what
 * it does not know.  Keys inside "fields" are in byte order, as Go's encoder sorts them.
 *
 * A job is one line "job_enqueued" at the time of its submission, so that it stands before the
 * job's start whatever the acknowledgement took; it is printed only if the acknowledgement came.
 */
#include "tools/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "record/format.h"
#include "record/jobmap.h"
#include "record/merge.h"
#include "shm/segment.h"
#include "shm/status.h"

#define NAMES_MAX 256                   /* kind and error_class of an event are bytes */
#define TENANTS_READY_MAX 65536         /* tenants whose id is made ready beforehand */

struct ack {
	uint64_t t_ns;                  /* of the acknowledgement, 0 = none */
	uint64_t call_ns;               /* from the call to it; ACK_PRINTED when the line is out */
};
#define ACK_PRINTED UINT64_MAX

struct counts {
	uint64_t enqueued, completed, failed, enqueue_failed;
	uint64_t discarded, requeued, ambiguous, fenced, killed;
};

struct jsonl {
	const struct qb_trace *t;
	struct qb_out *out;
	struct qb_stamp stamp;
	struct qb_text head;            /* {"run_id":"...","timestamp":" */
	struct qb_text job;             /* "job_id":"<library>: */
	struct qb_text kinds[NAMES_MAX];        /* quoted */
	struct qb_text classes[NAMES_MAX];      /* quoted */
	struct qb_text errors[NAMES_MAX];       /* quoted messages */
	struct qb_text *tenants;        /* quoted */
	uint32_t tenants_count;
	struct qb_jobmap map;
	struct ack *acks;               /* by slot of map */
	size_t acks_bytes;
	struct counts counts;
};

/* ---- pieces of a line ---- */

static inline char *put_job(const struct jsonl *j, char *p, const struct qb_event_shm *ev)
{
	p = qb_put_text(p, &j->job);
	p = qb_put_u64(p, ev->job_id);
	*p++ = '"';
	return p;
}

static inline char *put_kind(const struct jsonl *j, char *p, const struct qb_event_shm *ev)
{
	QB_PUT(p, ",\"kind\":");
	return qb_put_text(p, &j->kinds[ev->kind]);
}

static inline char *put_tenant(const struct jsonl *j, char *p, uint32_t tenant)
{
	char id[QB_META_TENANT_BYTES];

	QB_PUT(p, ",\"tenant_id\":");
	if (tenant < j->tenants_count)
		return qb_put_text(p, &j->tenants[tenant]);
	qb_meta_tenant_id(&j->t->meta, tenant, id);
	return qb_put_json(p, id, sizeof(id));
}

static inline char *put_wall(const struct jsonl *j, char *p, uint64_t t_ns)
{
	return qb_put_u64(p, qb_trace_wall_ns(j->t, t_ns));
}

/* Up to and with the timestamp; the caller goes on with ","kind":"... */
static inline char *begin(struct jsonl *j, uint64_t t_ns)
{
	char *p = qb_out_line(j->out);

	p = qb_put_text(p, &j->head);
	return qb_put_stamp(p, &j->stamp, qb_trace_wall_ns(j->t, t_ns));
}

static inline void end(struct jsonl *j, char *p)
{
	QB_PUT(p, "}}\n");
	qb_out_end(j->out, p);
}

static char *begin_kind(struct jsonl *j, uint64_t t_ns, const char *kind)
{
	char *p = begin(j, t_ns);

	QB_PUT(p, "\",\"kind\":");
	p = qb_put_json(p, kind, 64);
	QB_PUT(p, ",\"fields\":{");
	return p;
}

/* ---- the original's kinds ---- */

static void job_enqueued(struct jsonl *j, uint64_t t_ns, uint64_t submitted_ns, struct ack *ack,
			 const struct qb_event_shm *ev)
{
	char *p = begin(j, t_ns);

	QB_PUT(p, "\",\"kind\":\"job_enqueued\",\"fields\":{\"enqueue_call_ms\":");
	p = qb_put_u64(p, ack->call_ns / QB_NS_PER_MS);
	QB_PUT(p, ",\"enqueued_at_ns\":");
	p = put_wall(j, p, ack->t_ns);
	*p++ = ',';
	p = put_job(j, p, ev);
	p = put_kind(j, p, ev);
	QB_PUT(p, ",\"submitted_at_ns\":");
	p = put_wall(j, p, submitted_ns);
	p = put_tenant(j, p, ev->tenant);
	end(j, p);
	ack->call_ns = ACK_PRINTED;
	j->counts.enqueued++;
}

static struct ack *ack_of(struct jsonl *j, const struct qb_event_shm *ev)
{
	struct ack *ack = &j->acks[qb_jobmap_slot(&j->map, ev->job_id)];

	return ack->t_ns != 0 && ack->call_ns != ACK_PRINTED ? ack : NULL;
}

/* The submission is lost, only its acknowledgement is known: the line comes late, but comes. */
static void job_enqueued_late(struct jsonl *j, uint64_t t_ns, const struct qb_event_shm *ev)
{
	struct ack *ack = ack_of(j, ev);

	if (ack)
		job_enqueued(j, t_ns, ack->t_ns - ack->call_ns, ack, ev);
}

static void job_submitted(struct jsonl *j, const struct qb_trace_event *e)
{
	struct ack *ack = ack_of(j, &e->ev);

	if (ack)
		job_enqueued(j, e->t_ns, e->t_ns, ack, &e->ev);
}

static void job_started(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p;

	job_enqueued_late(j, e->t_ns, &e->ev);
	p = begin(j, e->t_ns);
	QB_PUT(p, "\",\"kind\":\"job_started\",\"fields\":{\"attempt\":");
	p = qb_put_u64(p, e->ev.attempt);
	*p++ = ',';
	p = put_job(j, p, &e->ev);
	p = put_kind(j, p, &e->ev);
	QB_PUT(p, ",\"started_at_ns\":");
	p = put_wall(j, p, e->t_ns);
	p = put_tenant(j, p, e->ev.tenant);
	end(j, p);
}

static void job_completed(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p = begin(j, e->t_ns);

	QB_PUT(p, "\",\"kind\":\"job_completed\",\"fields\":{\"attempt\":");
	p = qb_put_u64(p, e->ev.attempt);
	QB_PUT(p, ",\"completed_at_ns\":");
	p = put_wall(j, p, e->t_ns);
	QB_PUT(p, ",\"duration_ms\":");
	p = qb_put_u64(p, e->ev.arg0 / QB_NS_PER_MS);
	if (e->ev.arg1 & 1)
		QB_PUT(p, ",\"found_after_kill\":true");
	*p++ = ',';
	p = put_job(j, p, &e->ev);
	p = put_kind(j, p, &e->ev);
	p = put_tenant(j, p, e->ev.tenant);
	end(j, p);
	j->counts.completed++;
}

static void job_failed(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p = begin(j, e->t_ns);

	QB_PUT(p, "\",\"kind\":\"job_failed\",\"fields\":{\"attempt\":");
	p = qb_put_u64(p, e->ev.attempt);
	QB_PUT(p, ",\"completed_at_ns\":");
	p = put_wall(j, p, e->t_ns);
	QB_PUT(p, ",\"duration_ms\":");
	p = qb_put_u64(p, e->ev.arg0 / QB_NS_PER_MS);
	QB_PUT(p, ",\"error_class\":");
	p = qb_put_text(p, &j->classes[e->ev.error_class]);
	QB_PUT(p, ",\"error_message\":");
	p = qb_put_text(p, &j->errors[e->ev.error_class]);
	*p++ = ',';
	p = put_job(j, p, &e->ev);
	p = put_kind(j, p, &e->ev);
	p = put_tenant(j, p, e->ev.tenant);
	end(j, p);
	j->counts.failed++;
}

static void enqueue_failed(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p = begin(j, e->t_ns);
	uint64_t code = e->ev.arg0;

	QB_PUT(p, "\",\"kind\":\"job_failed\",\"fields\":{\"error_message\":");
	p = qb_put_json(p, code == 0 ? "refused: one with that key is there" :
			qb_strerror(code < 1u << 20 ? -(int)code : QB_ECORRUPT), 128);
	p = put_kind(j, p, &e->ev);
	QB_PUT(p, ",\"stage\":\"enqueue\"");
	p = put_tenant(j, p, e->ev.tenant);
	end(j, p);
	j->counts.enqueue_failed++;
}

/* What the original calls goroutines are processes here; there is no heap to speak of. */
static void resource_sample(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p = begin_kind(j, e->t_ns, "resource_sample");

	p = qb_put_field(p, "completed", j->counts.completed);
	p = qb_put_field(p, "enqueued", j->counts.enqueued);
	p = qb_put_field(p, "failed", j->counts.failed);
	p = qb_put_field(p, "goroutines", e->ev.arg1);
	p = qb_put_field(p, "heap_bytes", 0);
	p = qb_put_field(p, "rss_bytes", e->ev.arg0);
	end(j, p);
}

static void run_start(struct jsonl *j, uint64_t t_ns)
{
	const struct qb_meta *m = &j->t->meta;
	char *p = begin(j, t_ns);

	QB_PUT(p, "\",\"kind\":\"run_start\",\"fields\":{\"duration_sec\":");
	p = qb_put_double(p, (double)m->duration_ns / 1e9);
	p = qb_put_field(p, "enqueue_rate", m->rate);
	p = qb_put_string_field(p, "library", m->lib);
	p = qb_put_string_field(p, "scenario", m->scenario);
	p = qb_put_field(p, "seed", m->seed);
	QB_PUT(p, ",\"tenant_skew\":");
	p = qb_put_double(p, m->tenant_skew);
	p = qb_put_field(p, "tenants", m->tenants);
	end(j, p);
}

static void run_end(struct jsonl *j, uint64_t t_ns)
{
	const struct qb_trace_damage *d = &j->t->damage;
	const struct counts *c = &j->counts;
	char *p = begin_kind(j, t_ns, "run_end");

	p = qb_put_field(p, "ambiguous", c->ambiguous);
	p = qb_put_field(p, "completed", c->completed);
	p = qb_put_field(p, "discarded", c->discarded);
	p = qb_put_field(p, "dropped", j->t->dropped_count);
	if (j->t->ended)
		QB_PUT(p, ",\"ended\":true");
	else
		QB_PUT(p, ",\"ended\":false");
	p = qb_put_field(p, "enqueue_failed", c->enqueue_failed);
	p = qb_put_field(p, "enqueued", c->enqueued);
	p = qb_put_field(p, "failed", c->failed);
	p = qb_put_field(p, "fenced", c->fenced);
	p = qb_put_field(p, "killed", c->killed);
	p = qb_put_field(p, "missing", d->missing_count);
	p = qb_put_field(p, "requeued", c->requeued);
	p = qb_put_field(p, "torn_bytes", d->tail_bytes + d->skipped_bytes);
	end(j, p);
}

/* ---- our own kinds ---- */

/* job_discarded, job_fenced, job_requeued, job_ambiguous */
static void job_other(struct jsonl *j, const struct qb_trace_event *e)
{
	const struct qb_event_shm *ev = &e->ev;
	char *p = begin_kind(j, e->t_ns, qb_event_type_name(ev->type));
	int evidence = ev->type == QB_EV_JOB_REQUEUED || ev->type == QB_EV_JOB_AMBIGUOUS;

	p = qb_put_field(p, "attempt", ev->attempt);
	if (ev->type == QB_EV_JOB_DISCARDED) {
		QB_PUT(p, ",\"error_class\":");
		p = qb_put_text(p, &j->classes[ev->error_class]);
		j->counts.discarded++;
	}
	if (ev->type == QB_EV_JOB_FENCED) {
		p = qb_put_string_field(p, "found_state", qb_job_state_name(qb_word_state(ev->arg0)));
		j->counts.fenced++;
	}
	*p++ = ',';
	p = put_job(j, p, ev);
	p = put_kind(j, p, ev);
	if (ev->type == QB_EV_JOB_AMBIGUOUS) {
		if (ev->arg1 == 1)
			QB_PUT(p, ",\"parked\":true");
		else if (ev->arg1 == 2)
			QB_PUT(p, ",\"parked\":false,\"in_doubt\":true");
		else
			QB_PUT(p, ",\"parked\":false");
		j->counts.ambiguous++;
	}
	if (evidence) {
		p = qb_put_field(p, "previous_seat", qb_word_seat(ev->arg0));
		p = qb_put_string_field(p, "previous_state",
					qb_job_state_name(qb_word_state(ev->arg0)));
	}
	j->counts.requeued += ev->type == QB_EV_JOB_REQUEUED;
	p = qb_put_field(p, "seat", ev->seat);
	p = put_tenant(j, p, ev->tenant);
	end(j, p);
}

/* worker_spawned, _ready, _killed, _died, _stopped, of any role */
static void process(struct jsonl *j, const struct qb_trace_event *e)
{
	const struct qb_event_shm *ev = &e->ev;
	char *p = begin_kind(j, e->t_ns, qb_event_type_name(ev->type));
	int status = (int)ev->arg1;

	if (ev->type == QB_EV_PROCESS_DIED && WIFEXITED(status))
		p = qb_put_field(p, "exit_status", (uint64_t)WEXITSTATUS(status));
	if (ev->type == QB_EV_PROCESS_SPAWNED)
		p = qb_put_field(p, "incarnation", ev->arg1);
	if (ev->type == QB_EV_PROCESS_KILLED) {
		p = qb_put_field(p, "kill", ev->arg1);
		j->counts.killed++;
	}
	if (ev->type != QB_EV_PROCESS_STOPPED)
		p = qb_put_field(p, "pid", ev->arg0);
	p = qb_put_string_field(p, "role", qb_role_name(ev->kind));
	p = qb_put_field(p, "seat", ev->slot_idx);
	if (ev->type == QB_EV_PROCESS_DIED && WIFSIGNALED(status))
		p = qb_put_field(p, "signal", (uint64_t)WTERMSIG(status));
	end(j, p);
}

static void cache_request(struct jsonl *j, const struct qb_trace_event *e)
{
	struct qb_cache_answer a = qb_cache_answer_unpack(e->ev.arg1);
	char *p = begin_kind(j, e->t_ns, "cache_request");

	p = qb_put_field(p, "address", e->ev.slot_idx);
	p = qb_put_field(p, "caller", e->ev.tenant);
	p = qb_put_field(p, "failed_run", e->ev.token);
	p = qb_put_string_field(p, "fault", qb_decode_cache_fault(a.fault));
	QB_PUT(p, ",\"from_memory\":");
	if (a.from_memory)
		QB_PUT(p, "true");
	else
		QB_PUT(p, "false");
	QB_PUT(p, ",\"latency_ms\":");
	p = qb_put_double(p, (double)e->ev.arg0 / 1e6);
	p = qb_put_field(p, "pushes", a.pushes);
	p = qb_put_field(p, "request", e->ev.job_id);
	p = qb_put_field(p, "ticks", a.ticks);
	p = qb_put_string_field(p, "way", qb_decode_cache_way(a.way));
	end(j, p);
}

static void cache_work(struct jsonl *j, const struct qb_trace_event *e)
{
	char *p = begin_kind(j, e->t_ns, "cache_work");

	p = qb_put_field(p, "address", e->ev.slot_idx);
	p = qb_put_field(p, "attempt", e->ev.attempt);
	QB_PUT(p, ",\"put_ms\":");
	p = qb_put_double(p, (double)e->ev.arg1 / 1e6);
	p = qb_put_field(p, "request", e->ev.job_id);
	p = qb_put_field(p, "seat", e->ev.seat);
	p = qb_put_string_field(p, "what", qb_decode_cache_work(e->ev.arg0));
	end(j, p);
}

/* Kinds whose fields are just members of the event. Names in byte order. */
enum member { NO_MEMBER, ARG0, ARG1, JOB_ID, SLOT_IDX };

static const struct plain {
	uint16_t type;
	struct { const char *name; enum member member; } fields[4];
} plain[] = {
	{ QB_EV_RECOVERED,
	  { { "jobs_put_back", ARG1 }, { "seat", SLOT_IDX }, { "took_ns", ARG0 } } },
	{ QB_EV_TAKEN_OVER, { { "processes_dead", ARG1 }, { "took_ns", ARG0 } } },
	{ QB_EV_SYNC_COMMITTED, { { "batch", JOB_ID }, { "commit_ns", ARG1 }, { "rows", ARG0 } } },
	{ QB_EV_SYNC_LOST, { { "tries", ARG0 } } },
	{ QB_EV_SYNC_BACK, { { "away_ns", ARG0 }, { "gone", JOB_ID }, { "resent", ARG1 } } },
	{ QB_EV_VERDICT, { { "arg0", ARG0 }, { "arg1", ARG1 }, { "kill", JOB_ID } } },
};

static uint64_t member_of(const struct qb_event_shm *ev, enum member member)
{
	switch (member) {
	case ARG0: return ev->arg0;
	case ARG1: return ev->arg1;
	case JOB_ID: return ev->job_id;
	case SLOT_IDX: return ev->slot_idx;
	case NO_MEMBER: break;
	}
	return 0;
}

/* Types from the future are not in the table and leave no line. */
static void plain_event(struct jsonl *j, const struct qb_trace_event *e)
{
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (plain[i].type != e->ev.type)
			continue;
		char *p = begin_kind(j, e->t_ns, qb_event_type_name(e->ev.type));

		for (size_t k = 0; k < 4 && plain[i].fields[k].name; k++)
			p = qb_put_field(p, plain[i].fields[k].name,
					 member_of(&e->ev, plain[i].fields[k].member));
		end(j, p);
	}
}

/* ---- the run ---- */

static void event(struct jsonl *j, const struct qb_trace_event *e)
{
	switch (e->ev.type) {
	case QB_EV_JOB_SUBMITTED:
		job_submitted(j, e);
		break;
	case QB_EV_JOB_ENQUEUED:
		job_enqueued_late(j, e->t_ns, &e->ev);
		break;
	case QB_EV_ENQUEUE_FAILED:
		enqueue_failed(j, e);
		break;
	case QB_EV_JOB_STARTED:
		job_started(j, e);
		break;
	case QB_EV_JOB_COMPLETED:
		job_completed(j, e);
		break;
	case QB_EV_JOB_FAILED:
		job_failed(j, e);
		break;
	case QB_EV_JOB_DISCARDED:
	case QB_EV_JOB_FENCED:
	case QB_EV_JOB_REQUEUED:
	case QB_EV_JOB_AMBIGUOUS:
		job_other(j, e);
		break;
	case QB_EV_PROCESS_SPAWNED:
	case QB_EV_PROCESS_READY:
	case QB_EV_PROCESS_KILLED:
	case QB_EV_PROCESS_DIED:
	case QB_EV_PROCESS_STOPPED:
		process(j, e);
		break;
	case QB_EV_RESOURCE_SAMPLE:
		resource_sample(j, e);
		break;
	case QB_EV_CACHE_REQUEST:
		cache_request(j, e);
		break;
	case QB_EV_CACHE_WORK:
		cache_work(j, e);
		break;
	default:
		plain_event(j, e);
	}
}

/* An event about a job names one; without, it cannot be printed as the format wants it. */
static int printable(const struct qb_event_shm *ev)
{
	return ev->type > QB_EV_JOB_AMBIGUOUS || ev->type == QB_EV_ENQUEUE_FAILED ||
	       ev->job_id != 0;
}

static void make_texts(struct jsonl *j)
{
	const struct qb_meta *m = &j->t->meta;
	char text[64], message[96];

	j->head = qb_text_in_string("{\"run_id\":", m->run_id, "\",\"timestamp\":\"");
	j->job = qb_text_in_string("\"job_id\":", m->lib, ":");
	for (unsigned i = 0; i < NAMES_MAX; i++) {
		qb_decode_kind(j->t, i, text, sizeof(text));
		j->kinds[i] = qb_text_make(text, 1);
		qb_decode_error_class(j->t, i, text, sizeof(text));
		j->classes[i] = qb_text_make(text, 1);
		snprintf(message, sizeof(message), "simulated %s", *text ? text : "failure");
		j->errors[i] = qb_text_make(message, 1);
	}
	j->tenants_count = m->tenants < TENANTS_READY_MAX ? m->tenants : TENANTS_READY_MAX;
	j->tenants = qb_xcalloc(j->tenants_count, sizeof(*j->tenants));
	for (uint32_t i = 0; i < j->tenants_count; i++) {
		qb_meta_tenant_id(m, i, text);
		j->tenants[i] = qb_text_make(text, 1);
	}
}

static void free_texts(struct jsonl *j)
{
	free(j->head.data);
	free(j->job.data);
	for (unsigned i = 0; i < NAMES_MAX; i++) {
		free(j->kinds[i].data);
		free(j->classes[i].data);
		free(j->errors[i].data);
	}
	for (uint32_t i = 0; i < j->tenants_count; i++)
		free(j->tenants[i].data);
	free(j->tenants);
}

static int collect_acks(struct jsonl *j)
{
	const struct qb_trace *t = j->t;

	qb_jobmap_init(&j->map, t->job_id_max, t->events_count);
	j->acks_bytes = j->map.slots_count * sizeof(*j->acks);
	j->acks = qb_big_alloc(j->acks_bytes);
	if (!j->acks)
		return -1;
	for (size_t i = 0; i < t->events_count; i++) {
		const struct qb_trace_event *e = &t->events[i];
		struct ack *ack;

		if (e->ev.type != QB_EV_JOB_ENQUEUED || e->ev.job_id == 0)
			continue;
		ack = &j->acks[qb_jobmap_slot(&j->map, e->ev.job_id)];
		if (ack->t_ns != 0)
			continue;
		ack->t_ns = e->t_ns ? e->t_ns : 1;
		ack->call_ns = e->ev.arg1 < ack->t_ns ? e->ev.arg1 : ack->t_ns;
	}
	return 0;
}

/* The run began when it says so, or with its first event if that was earlier. */
static uint64_t start_ns(const struct qb_trace *t)
{
	uint64_t first_ns = t->events[0].t_ns, wall_ns = qb_trace_wall_ns(t, first_ns);

	if (t->meta.started_wall_ns == 0 || t->meta.started_wall_ns >= wall_ns ||
	    wall_ns - t->meta.started_wall_ns > first_ns)
		return first_ns;
	return first_ns - (wall_ns - t->meta.started_wall_ns);
}

/* It ended when it says so, but not before its last event, nor absurdly late. */
static uint64_t end_ns(const struct qb_trace *t)
{
	uint64_t last_ns = t->events[t->events_count - 1].t_ns, said_ns;

	if (qb_trace_counter(t, "end_mono_ns", &said_ns) == 0 && said_ns > last_ns &&
	    said_ns - last_ns < 3600 * QB_NS_PER_S)
		return said_ns;
	return last_ns;
}

int qb_decode_jsonl(const struct qb_trace *t, struct qb_out *out)
{
	struct jsonl j = { .t = t, .out = out };
	int rc;

	make_texts(&j);
	rc = collect_acks(&j);
	if (rc == 0) {
		run_start(&j, start_ns(t));
		for (size_t i = 0; i < t->events_count && !out->failed; i++) {
			if (printable(&t->events[i].ev))
				event(&j, &t->events[i]);
		}
		run_end(&j, end_ns(t));
	}
	qb_big_free(j.acks, j.acks_bytes);
	qb_jobmap_free(&j.map);
	free_texts(&j);
	return rc;
}
