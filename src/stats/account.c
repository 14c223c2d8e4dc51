/* SPDX-License-Identifier: Apache-2.0 */
/* The accounts: how many jobs and attempts came to what, and the identities between the numbers. */
#include <stdio.h>
#include <string.h>

#include "stats/tally.h"

/* Sums that only identities need. */
struct sums {
	uint64_t extra_completions;     /* beyond the first of each job */
	uint64_t unstarted;             /* completions without a start on record */
	uint64_t two_ends;              /* attempts with two different outcomes */
	uint64_t undone;                /* finished, and yet the queue would run it again */
	uint64_t repeated_results;      /* completions whose job was begun again */
	uint64_t effects_short;         /* completions that no effect covers */
	uint64_t effects_over;          /* effects that no attempt can have had */
	uint64_t reported;              /* attempts reported as ambiguous */
	uint64_t fenced;                /* attempts that began and were refused in the end */
	uint64_t excused_repeats;       /* jobs that may have had their effect twice */
	uint64_t killed, killed_dead;
};

/* What the attempts of one job come to. */
struct job_sum {
	uint64_t completions, done_ns;
	uint64_t possible;              /* attempts that may have had the effect */
	uint64_t lost_results, lost_with_worker;
	int ambiguous, reported, excused, open;
};

static void add_up_lost_result(const struct qb_tally *t, const struct qb_try *a, struct job_sum *j, struct qb_summary *out)
{
	const struct qb_proc *p = qb_try_is_dead(t, a) ? &t->procs[a->proc] : NULL;
	uint32_t next;

	if (!qb_try_lost_its_result(t, a, &next))
		return;
	out->results_lost++;
	j->lost_results++;
	if (!p || (next != QB_NO_IDX && t->tries[next].start_ns < qb_proc_death_ns(p))) {
		out->results_lost_alive++;
		return;
	}
	j->lost_with_worker++;
	uint64_t age_ns = qb_proc_death_ns(p) > a->end_ns ? qb_proc_death_ns(p) - a->end_ns : 0;

	if (age_ns > out->result_age_ns_max)
		out->result_age_ns_max = age_ns;
}

static void add_up_try(const struct qb_tally *t, const struct qb_try *a, struct job_sum *j,
		       struct qb_summary *out, struct sums *s)
{
	int superseded = qb_try_next_start(t, a->next) != QB_NO_IDX;
	int in_doubt = (a->flags & QB_TRY_IN_DOUBT) != 0, undone = qb_try_is_undone(t, a);
	/* What was found out is not ambiguous any more, and excuses nothing. */
	int reported = (a->flags & QB_TRY_REPORTED) && !(in_doubt && (undone || a->outcome == QB_TRY_COMPLETED));

	out->requeued += (a->flags & QB_TRY_REQUEUED) != 0;
	s->reported += reported;
	s->two_ends += (a->flags & QB_TRY_TWO_ENDS) != 0;
	j->reported |= reported;
	if (!(a->flags & QB_TRY_STARTED))
		return;
	out->starts++;
	out->in_doubt += in_doubt;
	j->possible += a->outcome != QB_TRY_FAILED && !undone;
	switch (a->outcome) {
	case QB_TRY_COMPLETED:
		out->completions++;
		out->in_doubt_done += in_doubt;
		j->completions++;
		s->unstarted += !(a->flags & QB_TRY_LOGGED);
		add_up_lost_result(t, a, j, out);
		if (a->end_ns && (!j->done_ns || a->end_ns < j->done_ns))
			j->done_ns = a->end_ns;
		return;
	case QB_TRY_FAILED:
		out->failed_attempts++;
		return;
	case QB_TRY_FENCED:
		s->fenced++;
		j->excused = 1;
		return;
	default:
		break;
	}
	j->open = 1;
	if (undone) {
		out->in_doubt_undone++;
	} else if (qb_try_is_ambiguous(t, a)) {
		out->ambiguous_attempts++;
		j->ambiguous = j->excused = 1;
	} else if (superseded) {
		out->abandoned++;
		j->excused = 1;
	} else {
		out->unfinished++;
	}
}

/* Every start but the first needs a failure of the attempt before to be explained. */
static int has_repeated_start(const struct qb_tally *t, uint32_t job)
{
	uint32_t before = QB_NO_IDX, idx = t->jobs[job].first;

	for (; idx != QB_NO_IDX; idx = t->tries[idx].next) {
		if (!(t->tries[idx].flags & QB_TRY_STARTED))
			continue;
		if (before != QB_NO_IDX && t->tries[before].outcome != QB_TRY_FAILED)
			return 1;
		before = idx;
	}
	return 0;
}

/* Nobody alive has it: the last start of the job was a dead process's, or none is on record. */
static int is_stranded(const struct qb_tally *t, uint32_t job, const struct qb_job_end *end)
{
	uint32_t idx = t->jobs[job].last;

	while (idx != QB_NO_IDX && !(t->tries[idx].flags & QB_TRY_STARTED))
		idx = t->tries[idx].prev;
	if (idx != QB_NO_IDX && t->tries[idx].outcome == QB_TRY_OPEN &&
	    (!end->attempt || t->tries[idx].attempt == end->attempt))
		return qb_try_is_dead(t, &t->tries[idx]);
	/*
	 * Claimed, not started. Between the two lies a moment, so that a claim which is seen at the
	 * end of a run with deaths is one of the dead.
	 */
	return t->kills_count > 0;
}

static void add_up_effects(const struct qb_tally *t, uint32_t job, const struct job_sum *j,
			   const struct qb_job_end *end, struct qb_summary *out, struct sums *s)
{
	uint64_t words = t->in->effects_count ? t->in->effects_count : t->jobs_count;

	s->excused_repeats += j->excused;
	if (!end || job >= words)
		return;
	if (end->effects > 1) {
		out->repeated_effects++;
		out->silent_effects += !(t->in->reports_ambiguity && j->reported);
	}
	if (end->effects < j->completions)
		s->effects_short += j->completions - end->effects;
	if (end->effects > j->possible)
		s->effects_over += end->effects - j->possible;
}

/* Where an unfinished job is. Returns whether anybody knows it. */
static int add_up_unfinished(const struct qb_tally *t, uint32_t job, const struct job_sum *j,
			     const struct qb_job_end *end, struct qb_summary *out)
{
	int acked = (t->jobs[job].flags & QB_TJOB_ACKED) != 0;

	if (!end) {
		out->unknown_end += acked;
		return 0;
	}
	switch (end->outcome) {
	case QB_OUTCOME_QUEUED:
		out->queued++;
		return 1;
	case QB_OUTCOME_WAITING:
		out->waiting++;
		return 1;
	case QB_OUTCOME_HELD:
		out->held++;
		out->stranded += is_stranded(t, job, end);
		return 1;
	case QB_OUTCOME_AMBIGUOUS:
		out->ambiguous_parked++;
		return 1;
	default:
		break;
	}
	/*
	 * A queue that deletes what is done: the worker died, or lost the server, after the effect (or in a job that has
	 * none, because it fails), and the row is gone. Most likely it had committed; nobody can tell.
	 */
	if (j->open && qb_job_is_gone(t, job, end)) {
		out->ambiguous_gone++;
		return 1;
	}
	out->lost += acked;
	return 0;
}

/* The last start of the job died with its process. */
static int is_last_ambiguous(const struct qb_tally *t, uint32_t job)
{
	uint32_t idx = t->jobs[job].last;

	while (idx != QB_NO_IDX && !(t->tries[idx].flags & QB_TRY_STARTED))
		idx = t->tries[idx].prev;
	return idx != QB_NO_IDX && qb_try_is_ambiguous(t, &t->tries[idx]);
}

static void add_up_job(const struct qb_tally *t, uint32_t job, struct qb_summary *out,
		       struct sums *s)
{
	const struct qb_tally_job *tj = &t->jobs[job];
	const struct qb_job_end *end = qb_tally_end(t, job);
	struct job_sum j = { 0 };
	uint32_t outcome = end ? end->outcome : QB_OUTCOME_NONE;
	int known = 1, again;
	uint64_t done_ns;

	for (uint32_t i = tj->first; i != QB_NO_IDX; i = t->tries[i].next)
		add_up_try(t, &t->tries[i], &j, out, s);
	out->submitted += (tj->flags & QB_TJOB_SUBMITTED) != 0;
	out->acknowledged += (tj->flags & QB_TJOB_ACKED) != 0;
	out->enqueue_failed += (tj->flags & QB_TJOB_REFUSED) != 0;
	out->refused += (tj->flags & QB_TJOB_DUPLICATE) != 0;
	out->unacknowledged += (tj->flags & ~QB_TJOB_DISCARDED) == QB_TJOB_SUBMITTED;
	out->duplicates += j.completions > 1;
	s->extra_completions += j.completions > 1 ? j.completions - 1 : 0;
	out->duplicates_unrecorded += j.completions > 1 && j.lost_with_worker >= j.completions - 1;
	out->ambiguous += j.ambiguous;
	/* Two at a time, or twice in a row: that is what a time-out, or a result in memory, can lead to. */
	j.excused |= qb_tally_is_loose(t) && (j.completions > 1 || j.lost_results);
	out->repeated_starts += has_repeated_start(t, job);
	add_up_effects(t, job, &j, end, out, s);

	/* What ended after the watch may have been asked about before it ended. */
	again = outcome == QB_OUTCOME_QUEUED || outcome == QB_OUTCOME_WAITING ||
		outcome == QB_OUTCOME_AMBIGUOUS;
	done_ns = j.completions ? j.done_ns : tj->discarded_ns;
	if (j.completions) {
		out->completed++;
		s->undone += (again && done_ns <= t->in->watch_end_ns) ||
			     outcome == QB_OUTCOME_DISCARDED;
		s->repeated_results += j.lost_results;
	} else if ((tj->flags & QB_TJOB_DISCARDED) || outcome == QB_OUTCOME_DISCARDED) {
		out->discarded++;
		out->given_up += is_last_ambiguous(t, job);
		s->undone += again && done_ns <= t->in->watch_end_ns;
	} else {
		known = add_up_unfinished(t, job, &j, end, out);
	}
	out->unacknowledged_known += known && !(tj->flags & QB_TJOB_ACKED);
}

static void add_up_processes(const struct qb_tally *t, struct qb_summary *out, struct sums *s)
{
	for (uint32_t i = 0; i < t->procs_count; i++) {
		s->killed += t->procs[i].killed_ns != 0;
		s->killed_dead += t->procs[i].killed_ns && t->procs[i].died_ns;
	}
	for (uint32_t i = 0; i < t->kills_count; i++) {
		const struct qb_kill *k = &t->kills[i];

		if (k->planned) {
			out->kills++;
			out->kills_by_role[k->role & 7]++;
		} else {
			out->deaths_unplanned++;
		}
	}
	out->fenced = t->fenced;
	out->takeovers = t->takeovers;
	out->stops = t->stops;
	out->server_kills = t->server_kills;
	out->commits = t->commits;
	out->commit_rows = t->commit_rows;
}

static void identity(struct qb_summary *out, const char *name, uint64_t left, uint64_t right,
		     int holds)
{
	struct qb_identity *id;

	if (out->identities_count == QB_IDENTITIES_MAX)
		return;
	id = &out->identity[out->identities_count++];
	snprintf(id->name, sizeof(id->name), "%s", name);
	id->left = (int64_t)left;
	id->right = (int64_t)right;
	id->holds = holds;
}

static void equal(struct qb_summary *out, const char *name, uint64_t left, uint64_t right)
{
	identity(out, name, left, right, left == right);
}

/* What the syncer counted; 0 where there was none. */
static uint64_t counter_of(const struct qb_trace *trace, const char *name)
{
	uint64_t value = 0;

	return qb_trace_counter(trace, name, &value) == 0 ? value : 0;
}

static void account_jobs(const struct qb_tally *t, struct qb_summary *o, const struct sums *s)
{
	equal(o, o->refused ? "submitted = acknowledged + enqueue_failed + refused + unacknowledged" :
	      "submitted = acknowledged + enqueue_failed + unacknowledged", o->submitted,
	      o->acknowledged + o->enqueue_failed + o->refused + o->unacknowledged);
	equal(o, o->unacknowledged_known || o->ambiguous_gone || o->unknown_end ?
	      "acknowledged + unacknowledged_known = completed + discarded + ambiguous_parked + "
	      "queued + ... + lost" :
	      "acknowledged = completed + discarded + ambiguous_parked + queued + waiting + held + "
	      "lost",
	      o->acknowledged + o->unacknowledged_known,
	      o->completed + o->discarded + o->ambiguous_parked + o->ambiguous_gone + o->queued +
	      o->waiting + o->held + o->unknown_end + o->lost);
	equal(o, "completions = completed + extra completions", o->completions,
	      o->completed + s->extra_completions);
	equal(o, o->in_doubt_undone ?
	      "starts = completions + failed + fenced + ambiguous + abandoned + unfinished + undone "
	      "attempts" :
	      "starts = completions + failed + fenced + ambiguous + abandoned + unfinished "
	      "attempts", o->starts, o->completions + o->failed_attempts + s->fenced +
	      o->ambiguous_attempts + o->abandoned + o->unfinished + o->in_doubt_undone);
	equal(o, "completions without a start on record = 0", s->unstarted, 0);
	equal(o, "attempts with two different outcomes = 0", s->two_ends, 0);
	if (!qb_tally_is_loose(t))
		equal(o, "finished jobs that the queue would run again = 0", s->undone, 0);
	/* A failover of Postgres may bring back what had been finished; that is counted on its own. */
	if (!qb_tally_is_loose(t) && counter_of(t->in->trace, "failovers_behind") == 0)
		equal(o, "completions whose job was begun again = 0", s->repeated_results, 0);
	equal(o, "jobs whose end nobody asked the queue for = 0",
	      t->in->ends ? 0 : t->jobs_count, 0);
}

static void account_effects(const struct qb_tally *t, struct qb_summary *o, const struct sums *s)
{
	uint64_t may = s->excused_repeats;

	equal(o, "completions without an effect = 0", s->effects_short, 0);
	equal(o, "effects beyond the attempts that can have had one = 0", s->effects_over, 0);
	identity(o, qb_tally_is_loose(t) ?
		 "repeated_effects <= jobs with an ambiguous, fenced, abandoned or repeated attempt" :
		 "repeated_effects <= jobs with an ambiguous, fenced or abandoned attempt",
		 o->repeated_effects, may, o->repeated_effects <= may);
	if (t->in->reports_ambiguity) {
		equal(o, "silent_effects = 0", o->silent_effects, 0);
		equal(o, "ambiguous attempts on record = reported", o->ambiguous_attempts,
		      s->reported);
	}
	if (t->in->resolves) {
		equal(o, "attempts in doubt = found done + found not done", o->in_doubt,
		      o->in_doubt_done + o->in_doubt_undone);
		equal(o, "ambiguous attempts = 0 (Postgres was asked)", o->ambiguous_attempts, 0);
		equal(o, "repeated_effects = 0 (effect and mark are one transaction)",
		      o->repeated_effects, 0);
	}
	if (t->in->parks)
		equal(o, "repeated_effects = 0 (ambiguous jobs are parked)", o->repeated_effects,
		      0);
}

/* Of a run on unique keys: what must be true whatever the queue promises. */
static void account_keys(const struct qb_trace *trace, struct qb_summary *o)
{
	const struct qb_key_table *k = &o->keys;
	uint64_t each = (uint64_t)k->set.keys * k->set.processes, answers = 0, requests = 0, fewest = each;
	uint64_t accepted = 0, worked = 0;

	if (k->set.keys == 0)
		return;
	for (unsigned i = 0; i < QB_KEY_PHASES; i++) {
		const struct qb_key_row *r = &k->row[i];

		requests += r->requests;
		answers += r->accepted + r->refused + r->errors + r->unanswered;
		fewest = r->requests < fewest ? r->requests : fewest;
		accepted += r->accepted_keys;
		worked += r->executed_keys + r->unfinished_keys;
	}
	equal(o, "requests on keys = accepted + refused + errors + unanswered", requests, answers);
	/* A run that was cut off has not asked for all. */
	if (trace->ended && !counter_of(trace, "interrupted"))
		equal(o, "requests of each phase = keys x processes", fewest, each);
	identity(o, "keys accepted <= keys executed + keys not finished", accepted, worked, accepted <= worked);
	equal(o, "requests made while their key was not as the phase says = 0", k->out_of_phase, 0);
	equal(o, "requests refused for their key and yet run = 0", k->refused_and_run, 0);
}

/* Of a run on a cache. What a library's own weakness is, is told by the table, and breaks no account. */
static void account_cache(const struct qb_tally *t, struct qb_summary *o)
{
	const struct qb_cache_table *c = &o->cache;
	const struct qb_trace *trace = t->in->trace;
	char name[sizeof(o->identity[0].name)];

	if (c->set.callers == 0)
		return;
	for (int p = 0; p <= QB_CACHE_PHASES; p++) {
		const struct qb_cache_row *r = p < QB_CACHE_PHASES ? &c->row[p] : &c->total;
		uint64_t failed = 0;

		for (unsigned i = QB_CACHE_OK + 1; i < QB_CACHE_FAULTS; i++)
			failed += r->faults[i];
		if (r->requests == 0)
			continue;
		snprintf(name, sizeof(name), "%s requests = hits + joined + executed + failed + unanswered",
			 p < QB_CACHE_PHASES ? qb_cache_phase_name((enum qb_cache_phase)p) : "all");
		equal(o, name, r->requests, r->hits + r->joined + r->executed + failed + r->unanswered);
	}
	/* A run that was cut off has not asked for all, and has not waited for each promise. */
	if (trace->ended && !counter_of(trace, "interrupted")) {
		equal(o, "requests that nobody answered = 0", c->total.unanswered, 0);
		equal(o, "requests whose push was accepted = jobs acknowledged", c->total.accepted, o->acknowledged);
	}
	equal(o, "requests refused for their address and yet run = 0", c->refused_and_run, 0);
	equal(o, "addresses whose item came and that nobody executed = 0", c->total.unmade, 0);
	equal(o, "items that were not what was put = 0", c->total.faults[QB_CACHE_DAMAGED], 0);
	if (t->in->reports_ambiguity && !c->faithful) {
		equal(o, "executions beyond one for each address and those that a kill ended = 0", c->total.leaks, 0);
		equal(o, "failures of a run that was over before the request = 0", c->stale_errors ? 0 : c->total.stale, 0);
	}
}

static void account_failovers(const struct qb_trace *trace, struct qb_summary *out)
{
	out->failovers_behind = counter_of(trace, "failovers_behind");
	out->failover_resent = counter_of(trace, "failover_jobs_resent") + counter_of(trace, "failover_changes_resent") +
			       counter_of(trace, "failover_outcomes_resent") + counter_of(trace, "failover_events_resent");
	out->failover_gone_batches = counter_of(trace, "failover_batches_gone");
	out->failover_gone = counter_of(trace, "failover_outcomes_gone");
	if (out->failovers_behind)
		equal(out, "batches lost by a failover with nothing kept of them = 0", out->failover_gone_batches, 0);
}

void qb_account(const struct qb_tally *t, struct qb_summary *out)
{
	const struct qb_trace *trace = t->in->trace;
	struct sums s = { 0 };

	for (uint32_t i = 0; i < t->jobs_count; i++)
		add_up_job(t, i, out, &s);
	add_up_processes(t, out, &s);
	out->planned = t->jobs_count;
	out->events = trace->events_count;
	out->events_dropped = trace->dropped_count + trace->damage.missing_count;

	account_jobs(t, out, &s);
	account_effects(t, out, &s);
	account_failovers(trace, out);
	account_keys(trace, out);
	account_cache(t, out);
	equal(out, "processes killed by plan = their deaths on record", s.killed, s.killed_dead);
	equal(out, "events dropped or missing = 0", out->events_dropped, 0);
	equal(out, "damaged places in the record = 0", trace->damage.skipped_count +
	      trace->damage.bad_count + (trace->damage.tail_bytes > 0), 0);
	identity(out, "clock readings to convert stamps by >= 2", trace->clock_rough ? 1 : 2, 2,
		 !trace->clock_rough);

	out->verified = (out->lost == 0 || out->may_lose) && (out->stranded == 0 || out->leased);
	for (unsigned i = 0; i < out->identities_count; i++)
		out->verified &= out->identity[i].holds;
}
