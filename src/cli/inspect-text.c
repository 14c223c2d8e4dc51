/* SPDX-License-Identifier: Apache-2.0 */
/* qbench inspect for people. */
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/visible.h"
#include "cli/inspect.h"
#include "shm/event.h"
#include "shm/seat.h"
#include "sync/rewind.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* In UTC to the millisecond: "2025-11-24T04:21:00.123Z"; "-" for none. buf of 40 bytes. */
static const char *instant(char *buf, uint64_t wall_ns)
{
	int bytes;

	if (!wall_ns)
		return strcpy(buf, "-");
	bytes = qb_format_rfc3339(buf, wall_ns);
	if (bytes > 7)
		memcpy(buf + bytes - 7, "Z", 2);
	return buf;
}

/* Texts of a segment, and the path of it, are anybody's: none of them moves the cursor. */
static void put_visible(FILE *out, const char *before, const char *text, const char *behind)
{
	struct qb_strbuf sb = { 0 };

	qb_visible_add(&sb, text, strlen(text));
	fprintf(out, "%s%s%s", before, qb_strbuf_text(&sb), behind);
	qb_strbuf_free(&sb);
}

static void print_identity(const struct qb_inspect *in, FILE *out)
{
	const struct qb_header_shm *h = in->seg.hdr;
	uint64_t created = h->created_wall_ns;
	char size[24], age[24], when[40];
	static const char *const states[] = { "being created", "live", "closed in good order" };
	uint32_t state = qb_load_relaxed32(&h->state);

	put_visible(out, "Segment ", in->path, ": ");
	fprintf(out, "%s, layout %u.%u\n\n", qb_format_size(size, sizeof(size), in->seg.bytes),
		h->major, h->minor);
	put_visible(out, "  run            ", h->run_id[0] ? h->run_id : "(unnamed)", "\n");
	if (!in->meta_code) {
		put_visible(out, "  library        ", in->meta.lib, "\n");
		put_visible(out, "  scenario       ", in->meta.scenario, ", seed ");
		fprintf(out, "%llu\n", (unsigned long long)in->meta.seed);
		put_visible(out, "  settings       ack ", in->meta.ack, ", ambiguous ");
		put_visible(out, "", in->meta.ambiguous, ", backoff ");
		put_visible(out, "", in->meta.backoff, ", server ");
		put_visible(out, "", in->meta.server_version[0] ? in->meta.server_version : "none", "\n");
	}
	fprintf(out, "  workers        %u with %u slot%s, %u standby\n", in->seg.cfg.worker_count,
		in->seg.cfg.slots_per_worker, in->seg.cfg.slots_per_worker == 1 ? "" : "s",
		in->seg.cfg.standby_count);
	fprintf(out, "  created        %s", instant(when, created));
	if (created && created <= in->now_wall_ns)
		fprintf(out, ", %s ago", qb_format_duration(age, sizeof(age),
							    in->now_wall_ns - created));
	fprintf(out, "\n                 by process %u (%s), %s\n", h->creator_pid,
		qb_life_name(in->creator),
		in->same_boot > 0 ? "this boot" : in->same_boot == 0 ?
		"BEFORE THE LAST BOOT: evidence only, nobody can go on with it" :
		"no boot id: the processes below are judged as if of this boot");
	fprintf(out, "  state          %s, %u take-over%s\n",
		state < COUNT(states) ? states[state] : "?", qb_load_relaxed32(&h->takeovers),
		qb_load_relaxed32(&h->takeovers) == 1 ? "" : "s");
	if (in->owners_alive)
		fprintf(out, "  note           %u process%s at work: what follows is a blurred "
			"picture\n", in->owners_alive, in->owners_alive == 1 ? " is" : "es are");
}

static void print_states(const struct qb_inspect *in, FILE *out)
{
	static const struct {
		uint32_t state;
		const char *text;
	} states[] = {
		{ QB_JOB_FILLING, "being submitted, not accepted yet" },
		{ QB_JOB_READY, "accepted, wait for a worker" },
		{ QB_JOB_CLAIMED, "taken by a worker, not started" },
		{ QB_JOB_STARTED, "user code may have run" },
		{ QB_JOB_WAITING, "failed, wait for their next attempt" },
		{ QB_JOB_DONE, "completed, not durable yet" },
		{ QB_JOB_FAILED, "failed for good, not durable yet" },
		{ QB_JOB_SYNCED, "durable, slot about to be freed" },
		{ QB_JOB_AMBIGUOUS, "started, worker dead, parked for a person to decide" },
		{ QB_JOB_DEAD, "given up: claimed too often without an end" },
	};
	const struct qb_check *c = &in->check;
	uint32_t used = 0;
	size_t i;

	for (i = 0; i < COUNT(states); i++)
		used += c->by_state[states[i].state];
	fprintf(out, "\nJobs: %u of %u slots in use\n", used, in->seg.cfg.job_count);
	for (i = 0; i < COUNT(states); i++) {
		if (c->by_state[states[i].state])
			fprintf(out, "  %-10s %8u  %s\n", qb_job_state_name(states[i].state),
				c->by_state[states[i].state], states[i].text);
	}
	if (c->bad_words)
		fprintf(out, "  %-10s %8u  words that make no sense\n", "damaged", c->bad_words);
	if (c->effects_repeated)
		fprintf(out, "  %llu job%s had an effect more than once (see 'decode-events' for "
			"the history)\n", (unsigned long long)c->effects_repeated,
			c->effects_repeated == 1 ? "" : "s");
}

static void print_standing(const struct qb_inspect *in, FILE *out)
{
	const uint32_t *n = in->standing;

	if (n[QB_STANDING_RUNNING])
		fprintf(out, "  %u held by living processes\n", n[QB_STANDING_RUNNING]);
	if (n[QB_STANDING_UNCLEAR])
		fprintf(out, "  %u held by processes that cannot be judged from here\n",
			n[QB_STANDING_UNCLEAR]);
	if (n[QB_STANDING_NOT_STARTED])
		fprintf(out, "  %u claimed by dead processes and never started: safe to run\n",
			n[QB_STANDING_NOT_STARTED]);
	if (n[QB_STANDING_UNDECIDED] + n[QB_STANDING_PARKED])
		fprintf(out, "  %u AMBIGUOUS: started by dead processes, no outcome; the effect of "
			"%u has happened\n",
			n[QB_STANDING_UNDECIDED] + n[QB_STANDING_PARKED], in->effects_seen);
	if (n[QB_STANDING_IN_DOUBT])
		fprintf(out, "  %u in doubt: started by dead processes, no outcome; Postgres knows whether the "
			"effect has happened\n", n[QB_STANDING_IN_DOUBT]);
}

static const struct qb_inspect_owner *owner_of(const struct qb_inspect *in, uint32_t seat)
{
	uint32_t i;

	for (i = 0; i < in->owners_count; i++) {
		if (in->owners[i].seat == seat)
			return &in->owners[i];
	}
	return NULL;
}

/*
 * Who the seat in a job's word is. Only while the job is held is it the process that sits there
 * now: otherwise the seat is evidence of who had it last, and may have another process since.
 */
static const char *holder(const struct qb_inspect *in, uint64_t word, char *buf, size_t cap)
{
	uint32_t seat = qb_word_seat(word), state = qb_word_state(word);
	const struct qb_inspect_owner *owner = owner_of(in, seat);

	if (!seat)
		snprintf(buf, cap, "-");
	else if (state != QB_JOB_CLAIMED && state != QB_JOB_STARTED && state != QB_JOB_FILLING)
		snprintf(buf, cap, "%u, then", seat);
	else if (owner && owner->pid)
		snprintf(buf, cap, "%u:%u (%s)", seat, owner->pid, qb_life_name(owner->life));
	else
		snprintf(buf, cap, "%u (%s)", seat, owner ? "no pid" : "seat free");
	return buf;
}

/* The time alone when it was on the day on which the segment was made: it is in the head. */
static const char *instant_short(const struct qb_inspect *in, char *buf, uint64_t wall_ns)
{
	char created[40];

	instant(buf, wall_ns);
	instant(created, in->seg.hdr->created_wall_ns);
	if (wall_ns && !strncmp(buf, created, 11))
		memmove(buf, buf + 11, strlen(buf + 11) + 1);
	return buf;
}

static void print_job(const struct qb_inspect *in, const struct qb_inspect_job *job, FILE *out)
{
	static const char *const verdicts[QB_STANDING_COUNT] = {
		[QB_STANDING_OTHER] = "",
		[QB_STANDING_RUNNING] = "running",
		[QB_STANDING_UNCLEAR] = "unclear",
		[QB_STANDING_NOT_STARTED] = "never started",
		[QB_STANDING_UNDECIDED] = "ambiguous",
		[QB_STANDING_PARKED] = "ambiguous, parked",
		[QB_STANDING_IN_DOUBT] = "in doubt",
	};
	char who[48], when[40], kind[32];

	if (qb_word_state(job->word) == QB_JOB_FILLING) {
		fprintf(out, "  %8s %6u %-9s %3s %s\n", "-", job->slot_idx, "filling", "-",
			holder(in, job->word, who, sizeof(who)));
		return;
	}
	fprintf(out, "  %8llu %6u %-9s %3u %-18s %-13s %4u  %-17s ",
		(unsigned long long)job->job_id, job->slot_idx,
		qb_job_state_name(qb_word_state(job->word)), qb_word_attempt(job->word),
		holder(in, job->word, who, sizeof(who)),
		instant_short(in, when, job->started_wall_ns), job->effects,
		verdicts[job->standing]);
	put_visible(out, "", qb_inspect_kind(in, job->kind, kind, sizeof(kind)), "\n");
}

static void print_jobs(const struct qb_inspect *in, FILE *out)
{
	uint32_t i;

	if (!in->jobs_count)
		return;
	fprintf(out, "\n  %8s %6s %-9s %3s %-18s %-13s %4s  %-17s %s\n", "job", "slot", "state",
		"try", "seat:pid", "started", "eff.", "verdict", "kind");
	for (i = 0; i < in->jobs_count; i++)
		print_job(in, &in->jobs[i], out);
}

static void print_owners(const struct qb_inspect *in, FILE *out)
{
	char when[40];
	uint32_t i;

	fprintf(out, "\nProcesses: %u of %u seats taken, %u alive\n", in->owners_count,
		in->seg.cfg.seat_count - 1, in->owners_alive);
	if (in->owners_count)
		fprintf(out, "  %4s %-9s %8s %-10s %7s %7s  %s\n", "seat", "role", "pid", "",
			"claimed", "started", "last record");
	for (i = 0; i < in->owners_count; i++) {
		const struct qb_inspect_owner *o = &in->owners[i];

		fprintf(out, "  %4u %-9s %8u %-10s %7u %7u  ", o->seat, qb_role_name(o->role),
			o->pid, o->recovering ? "recovering" : o->pid ? qb_life_name(o->life) :
			"unborn", o->claimed, o->started);
		if (!o->last_wall_ns)
			fputs("none\n", out);
		else if (o->last_job_id)
			fprintf(out, "%s %s, job %llu\n", instant(when, o->last_wall_ns),
				qb_event_type_name(o->last_type),
				(unsigned long long)o->last_job_id);
		else
			fprintf(out, "%s %s\n", instant(when, o->last_wall_ns),
				qb_event_type_name(o->last_type));
	}
}

static void print_health(const struct qb_inspect *in, FILE *out)
{
	struct qb_loss loss;
	const struct qb_check *c = &in->check;
	const struct qb_header_shm *h = in->seg.hdr;
	char when[40];

	fprintf(out, "\nRings\n");
	fprintf(out, "  inbox          %llu entries, %llu urgent ones before them; %u stale\n",
		(unsigned long long)c->ring_depth[QB_RING_NORMAL],
		(unsigned long long)c->ring_depth[QB_RING_URGENT], c->ring_stale);
	fprintf(out, "  without entry  %u ready job%s, which recovery will offer again\n",
		c->ready_without_entry, c->ready_without_entry == 1 ? "" : "s");
	fprintf(out, "  payload blocks %u of %u used, %u of them garbage\n", c->blocks_used,
		in->seg.cfg.block_count, c->blocks_leaked);
	fprintf(out, "  events         %llu there, unread by the syncer %llu, by the record %llu; "
		"%llu dropped, %llu waits\n", (unsigned long long)c->events,
		(unsigned long long)c->events_unread[QB_READER_SYNC],
		(unsigned long long)c->events_unread[QB_READER_RECORD],
		(unsigned long long)c->events_dropped, (unsigned long long)in->events_waited);

	fprintf(out, "\nDurable in Postgres\n");
	fprintf(out, "  jobs           %llu accepted, %llu with their outcome; %u in the segment "
		"have news\n", (unsigned long long)qb_load_relaxed64(&h->mark_accepted),
		(unsigned long long)qb_load_relaxed64(&h->mark_final), c->dirty);
	fprintf(out, "  events         %llu\n",
		(unsigned long long)qb_load_relaxed64(&h->mark_events));
	fprintf(out, "  last batch     %llu (epoch %llu), committed %s; syncer %sconnected\n",
		(unsigned long long)qb_load_relaxed64(&h->mark_batch),
		(unsigned long long)qb_load_relaxed64(&h->mark_epoch),
		instant(when, qb_load_relaxed64(&h->mark_commit_wall_ns)),
		qb_load_relaxed32(&h->mark_connected) ? "" : "not ");
	if (h->config.replicas)
		fprintf(out, "  standby        %u finished jobs are kept until %u servers have them; batch %llu and before are let go\n",
			qb_load_relaxed32(&h->mark_kept), h->config.replicas,
			(unsigned long long)qb_load_relaxed64(&h->mark_released));
	qb_loss_read(&in->seg, &loss);
	if (loss.rewinds)
		fprintf(out, "  failovers      %llu to a server that was behind: %llu jobs, %llu changes, %llu outcomes and %llu events "
			"sent again, %llu outcomes gone\n", (unsigned long long)loss.rewinds, (unsigned long long)loss.accepted,
			(unsigned long long)loss.changes, (unsigned long long)loss.outcomes, (unsigned long long)loss.events,
			(unsigned long long)loss.gone);
}

static void print_counters(const struct qb_inspect *in, FILE *out)
{
	static const struct {
		enum qb_seat_counter which;
		const char *name;
	} counters[] = {
		{ QB_COUNT_SUBMITTED, "submitted" }, { QB_COUNT_CLAIMED, "claimed" },
		{ QB_COUNT_STARTED, "started" }, { QB_COUNT_COMPLETED, "completed" },
		{ QB_COUNT_FAILED, "failed" }, { QB_COUNT_FENCED, "fenced" },
		{ QB_COUNT_REQUEUED, "requeued" }, { QB_COUNT_AMBIGUOUS, "ambiguous" },
		{ QB_COUNT_RECOVERED, "recovered" }, { QB_COUNT_COMMITS, "commits" },
	};
	size_t i;

	fprintf(out, "\nCounted by the processes\n ");
	for (i = 0; i < COUNT(counters); i++)
		fprintf(out, "%s %s %llu", i == 0 ? "" : i == 5 ? ",\n " : ",", counters[i].name,
			(unsigned long long)qb_count_sum(&in->seg, counters[i].which));
	fputc('\n', out);
}

static void print_findings(const struct qb_inspect *in, FILE *out)
{
	const char *line = qb_strbuf_text(&in->findings);

	if (!in->findings_count) {
		fprintf(out, "\nConsistent: every word, payload, result and ring makes sense.\n");
	} else {
		fprintf(out, "\n%d finding%s that no recovery repairs:\n", in->findings_count,
			in->findings_count == 1 ? "" : "s");
		for (; *line; line += strcspn(line, "\n") + 1)
			fprintf(out, "  %.*s\n", (int)strcspn(line, "\n"), line);
		if (in->owners_alive)
			fputs("Processes are at work on it: look again when they are gone.\n",
			      out);
	}
	if (!in->owners_alive && !in->findings_count && in->same_boot &&
	    in->standing[QB_STANDING_NOT_STARTED] + in->standing[QB_STANDING_UNDECIDED] +
	    in->standing[QB_STANDING_IN_DOUBT])
		put_visible(out, "Nobody is at work on it: 'qbench recover ", in->path,
			    "' decides the jobs that the dead held.\n");
	if (in->same_boot == 0)
		fputs("Evidence, not truth: what is written above and is not in Postgres happened all the same, but nobody "
		      "goes on from here.\n'qbench recover --from-postgres=RUN' goes on from what Postgres has.\n", out);
}

void qb_inspect_print_text(const struct qb_inspect *in, FILE *out)
{
	print_identity(in, out);
	print_states(in, out);
	print_standing(in, out);
	print_jobs(in, out);
	print_owners(in, out);
	print_health(in, out);
	print_counters(in, out);
	print_findings(in, out);
}
