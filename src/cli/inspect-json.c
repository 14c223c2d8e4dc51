/* SPDX-License-Identifier: Apache-2.0 */
/* qbench inspect for programs, as in qbench(1). A change of meaning is a new format_version. */
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "cli/inspect.h"
#include "shm/event.h"
#include "shm/seat.h"
#include "sync/rewind.h"

#define FORMAT_VERSION 1

/* jansson refuses what is not UTF-8, and a segment may hold anything. */
static json_t *text(const char *bytes, size_t max)
{
	char clean[256];
	size_t i, n = strnlen(bytes, max);

	if (n >= sizeof(clean))
		n = sizeof(clean) - 1;
	for (i = 0; i < n; i++)
		clean[i] = bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : '?';
	return json_stringn(clean, n);
}

/* jansson's integers are signed; what does not fit can only be damage, and becomes the limit. */
static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static void set_number(json_t *to, const char *key, uint64_t value)
{
	json_object_set_new(to, key, number(value));
}

static void set_text(json_t *to, const char *key, const char *value)
{
	json_object_set_new(to, key, text(value, strlen(value)));
}

static json_t *identity(const struct qb_inspect *in)
{
	const struct qb_header_shm *h = in->seg.hdr;
	static const char *const states[] = { "creating", "live", "closed" };
	uint32_t state = qb_load_relaxed32(&h->state);
	json_t *to = json_object();

	set_text(to, "path", in->path);
	set_number(to, "bytes", in->seg.bytes);
	set_number(to, "layout_major", h->major);
	set_number(to, "layout_minor", h->minor);
	json_object_set_new(to, "run_id", text(h->run_id, sizeof(h->run_id)));
	set_text(to, "library", in->meta_code ? "" : in->meta.lib);
	set_text(to, "scenario", in->meta_code ? "" : in->meta.scenario);
	json_object_set_new(to, "queue", text(in->seg.cfg.queue, sizeof(in->seg.cfg.queue)));
	set_number(to, "created_wall_ns", h->created_wall_ns);
	set_text(to, "boot", in->same_boot > 0 ? "same" : in->same_boot ? "unknown" : "other");
	set_number(to, "creator_pid", h->creator_pid);
	set_text(to, "creator", qb_life_name(in->creator));
	set_text(to, "state", state < 3 ? states[state] : "?");
	set_number(to, "takeovers", qb_load_relaxed32(&h->takeovers));
	return to;
}

static json_t *states(const struct qb_inspect *in)
{
	json_t *to = json_object();
	uint32_t i;

	for (i = 0; i < QB_JOB_STATE_COUNT; i++)
		set_number(to, qb_job_state_name(i), in->check.by_state[i]);
	return to;
}

static json_t *standings(const struct qb_inspect *in)
{
	json_t *to = json_object();
	int i;

	for (i = QB_STANDING_OTHER + 1; i < QB_STANDING_COUNT; i++)
		set_number(to, qb_standing_name((enum qb_standing)i), in->standing[i]);
	set_number(to, "ambiguous", (uint64_t)in->standing[QB_STANDING_UNDECIDED] +
		   in->standing[QB_STANDING_PARKED]);
	set_number(to, "ambiguous_with_effect", in->effects_seen);
	return to;
}

static json_t *jobs(const struct qb_inspect *in)
{
	json_t *list = json_array();
	char hex[24], kind[32];
	uint32_t i;

	for (i = 0; i < in->jobs_count; i++) {
		const struct qb_inspect_job *job = &in->jobs[i];
		json_t *to = json_object();

		set_number(to, "job_id", job->job_id);
		set_number(to, "slot", job->slot_idx);
		set_text(to, "state", qb_job_state_name(qb_word_state(job->word)));
		set_text(to, "standing", qb_standing_name(job->standing));
		set_number(to, "attempt", qb_word_attempt(job->word));
		set_number(to, "failures", qb_word_failures(job->word));
		set_number(to, "seat", qb_word_seat(job->word));
		snprintf(hex, sizeof(hex), "%016llx", (unsigned long long)job->word);
		set_text(to, "token", hex);
		set_text(to, "kind", qb_inspect_kind(in, job->kind, kind, sizeof(kind)));
		set_number(to, "tenant", job->tenant);
		set_number(to, "payload_bytes", job->payload_bytes);
		set_text(to, "effect_class", job->effect_class == QB_EFFECT_OPAQUE ? "opaque" :
			 "idempotent");
		set_number(to, "effects", job->effects);
		set_number(to, "submitted_wall_ns", job->submitted_wall_ns);
		json_object_set_new(to, "started_wall_ns", job->started_wall_ns ?
				    number(job->started_wall_ns) : json_null());
		json_array_append_new(list, to);
	}
	return list;
}

static json_t *processes(const struct qb_inspect *in)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < in->owners_count; i++) {
		const struct qb_inspect_owner *o = &in->owners[i];
		json_t *to = json_object();

		set_number(to, "seat", o->seat);
		set_text(to, "role", qb_role_name(o->role));
		set_number(to, "incarnation", o->incarnation);
		set_number(to, "pid", o->pid);
		set_text(to, "life", qb_life_name(o->life));
		json_object_set_new(to, "recovering", json_boolean(o->recovering));
		set_number(to, "claimed", o->claimed);
		set_number(to, "started", o->started);
		set_number(to, "ready_wall_ns", o->ready_wall_ns);
		set_number(to, "last_event_wall_ns", o->last_wall_ns);
		set_text(to, "last_event", o->last_wall_ns ? qb_event_type_name(o->last_type) : "");
		set_number(to, "last_event_job_id", o->last_job_id);
		json_array_append_new(list, to);
	}
	return list;
}

static json_t *rings(const struct qb_inspect *in)
{
	const struct qb_check *c = &in->check;
	json_t *to = json_object();

	set_number(to, "normal", c->ring_depth[QB_RING_NORMAL]);
	set_number(to, "urgent", c->ring_depth[QB_RING_URGENT]);
	set_number(to, "stale", c->ring_stale);
	json_object_set_new(to, "broken", json_boolean(c->ring_broken));
	set_number(to, "ready_without_entry", c->ready_without_entry);
	set_number(to, "held_by_nobody", c->held_by_nobody);
	set_number(to, "blocks", in->seg.cfg.block_count);
	set_number(to, "blocks_used", c->blocks_used);
	set_number(to, "blocks_leaked", c->blocks_leaked);
	set_number(to, "events", c->events);
	set_number(to, "events_unread_syncer", c->events_unread[QB_READER_SYNC]);
	set_number(to, "events_unread_record", c->events_unread[QB_READER_RECORD]);
	set_number(to, "events_dropped", c->events_dropped);
	set_number(to, "events_waited", in->events_waited);
	return to;
}

static json_t *marks(const struct qb_inspect *in)
{
	const struct qb_header_shm *h = in->seg.hdr;
	json_t *to = json_object();
	struct qb_loss loss;

	qb_loss_read(&in->seg, &loss);
	set_number(to, "kept", qb_load_relaxed32(&h->mark_kept));
	set_number(to, "released", qb_load_relaxed64(&h->mark_released));
	set_number(to, "timeline", qb_load_relaxed64(&h->mark_timeline));
	set_number(to, "failovers_behind", loss.rewinds);
	set_number(to, "failover_jobs_resent", loss.accepted);
	set_number(to, "failover_changes_resent", loss.changes);
	set_number(to, "failover_outcomes_resent", loss.outcomes);
	set_number(to, "failover_events_resent", loss.events);
	set_number(to, "failover_outcomes_gone", loss.gone);
	set_number(to, "accepted", qb_load_relaxed64(&h->mark_accepted));
	set_number(to, "final", qb_load_relaxed64(&h->mark_final));
	set_number(to, "events", qb_load_relaxed64(&h->mark_events));
	set_number(to, "batch", qb_load_relaxed64(&h->mark_batch));
	set_number(to, "epoch", qb_load_relaxed64(&h->mark_epoch));
	set_number(to, "commit_wall_ns", qb_load_relaxed64(&h->mark_commit_wall_ns));
	json_object_set_new(to, "connected", json_boolean(qb_load_relaxed32(&h->mark_connected)));
	set_number(to, "not_durable", in->check.dirty);
	return to;
}

static json_t *counters(const struct qb_inspect *in)
{
	static const char *const names[QB_SEAT_COUNTER_COUNT] = {
		[QB_COUNT_SUBMITTED] = "submitted", [QB_COUNT_SUBMIT_FULL] = "submit_full",
		[QB_COUNT_CLAIMED] = "claimed", [QB_COUNT_CLAIM_EMPTY] = "claim_empty",
		[QB_COUNT_STARTED] = "started", [QB_COUNT_COMPLETED] = "completed",
		[QB_COUNT_FAILED] = "failed", [QB_COUNT_FENCED] = "fenced",
		[QB_COUNT_REQUEUED] = "requeued", [QB_COUNT_AMBIGUOUS] = "ambiguous",
		[QB_COUNT_RECOVERED] = "recovered", [QB_COUNT_COMMITS] = "commits",
		[QB_COUNT_SYNC_ROWS] = "sync_rows", [QB_COUNT_RESULT_WAIT] = "result_wait",
		[QB_COUNT_TIMERS_SET] = "timers_set", [QB_COUNT_TIMERS_OVER] = "timers_over",
	};
	json_t *to = json_object();
	int i;

	for (i = 0; i < QB_SEAT_COUNTER_COUNT; i++)
		set_number(to, names[i], qb_count_sum(&in->seg, (enum qb_seat_counter)i));
	return to;
}

static json_t *findings(const struct qb_inspect *in)
{
	const char *line = qb_strbuf_text(&in->findings);
	json_t *list = json_array();

	for (; *line; line += strcspn(line, "\n") + 1)
		json_array_append_new(list, text(line, strcspn(line, "\n")));
	return list;
}

int qb_inspect_print_json(const struct qb_inspect *in, FILE *out)
{
	json_t *root = json_object();
	int ret;

	set_number(root, "format_version", FORMAT_VERSION);
	set_text(root, "qbench_version", PACKAGE_VERSION);
	json_object_set_new(root, "segment", identity(in));
	set_number(root, "job_slots", in->seg.cfg.job_count);
	json_object_set_new(root, "jobs_by_state", states(in));
	json_object_set_new(root, "held", standings(in));
	set_number(root, "effects_repeated", in->check.effects_repeated);
	json_object_set_new(root, "jobs", jobs(in));
	json_object_set_new(root, "processes", processes(in));
	json_object_set_new(root, "rings", rings(in));
	json_object_set_new(root, "durable", marks(in));
	json_object_set_new(root, "counters", counters(in));
	json_object_set_new(root, "findings", findings(in));
	ret = json_dumpf(root, out, JSON_INDENT(2));
	json_decref(root);
	if (ret || fputc('\n', out) == EOF)
		return -EIO;
	return 0;
}
