/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stats/tally.h"

#define SLACK_NS 50000

/* One key of one phase. */
struct one_key {
	uint64_t first_ns, last_ns, accepted, executions, finished;
};

static uint64_t setting(const struct qb_meta *m, const char *key)
{
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, key) == 0)
			return strtoull(m->settings[i].value, NULL, 10);
	return 0;
}

/* As the description says, if it is true of the jobs that were planned. */
static struct qb_keyset set_of(const struct qb_tally *t)
{
	const struct qb_meta *m = &t->in->trace->meta;
	uint64_t keys = setting(m, "keys"), processes = setting(m, "key processes");
	struct qb_keyset set = { .keys = (uint32_t)keys, .processes = (uint32_t)processes };

	if (keys == 0 || processes == 0 || keys > QB_TALLY_JOBS_MAX || processes > QB_TALLY_JOBS_MAX / keys ||
	    qb_keyset_jobs(&set) > QB_TALLY_JOBS_MAX || (t->in->ends && qb_keyset_jobs(&set) != t->jobs_count))
		return (struct qb_keyset){ 0 };
	return set;
}

static uint64_t completions_of(const struct qb_tally *t, uint32_t job)
{
	uint64_t n = 0;

	for (uint32_t i = t->jobs[job].first; i != QB_NO_IDX; i = t->tries[i].next)
		n += t->tries[i].outcome == QB_TRY_COMPLETED;
	return n;
}

static uint64_t executions_of(const struct qb_tally *t, uint32_t job)
{
	const struct qb_job_end *end = qb_tally_end(t, job);

	return end ? end->effects : completions_of(t, job);
}

static void add_request(const struct qb_tally *t, uint32_t job, struct qb_key_row *row, struct one_key *one,
			struct qb_key_table *out)
{
	const struct qb_tally_job *j = &t->jobs[job];
	uint64_t executions = executions_of(t, job);

	if (!(j->flags & QB_TJOB_SUBMITTED))
		return;
	row->requests++;
	if (one->first_ns == 0 || j->submitted_ns < one->first_ns)
		one->first_ns = j->submitted_ns;
	if (j->submitted_ns > one->last_ns)
		one->last_ns = j->submitted_ns;
	/* A process that got two answers would show in the sum. */
	row->accepted += (j->flags & QB_TJOB_ACKED) != 0;
	row->refused += (j->flags & QB_TJOB_DUPLICATE) != 0;
	row->errors += (j->flags & QB_TJOB_REFUSED) != 0;
	row->unanswered += !(j->flags & (QB_TJOB_ACKED | QB_TJOB_DUPLICATE | QB_TJOB_REFUSED));
	one->accepted += (j->flags & QB_TJOB_ACKED) != 0;
	one->executions += executions;
	one->finished += completions_of(t, job) > 0;
	out->refused_and_run += (j->flags & QB_TJOB_DUPLICATE) && (executions || j->first != QB_NO_IDX);
}

static void median_and_max(uint64_t *values, uint64_t n, uint64_t *median, uint64_t *max)
{
	struct qb_percentiles p;

	qb_percentiles_of(values, n, &p);
	*median = p.p50_ns;
	*max = p.max_ns;
}

/* spread: room for one number of each key. */
static void add_up_row(const struct qb_tally *t, unsigned phase, struct qb_key_table *out, uint64_t *spread)
{
	struct qb_key_row *row = &out->row[phase];
	uint64_t n = 0;

	for (uint32_t key = 0; key < out->set.keys; key++) {
		struct one_key one = { 0 };

		for (uint32_t p = 0; p < out->set.processes; p++) {
			uint64_t id = qb_keyset_id(&out->set, phase, key, p);

			if (id <= t->jobs_count)
				add_request(t, (uint32_t)(id - 1), row, &one, out);
		}
		row->accepted_keys += one.accepted > 0;
		row->accepted_max = one.accepted > row->accepted_max ? one.accepted : row->accepted_max;
		row->executions += one.executions;
		row->executed_keys += one.executions > 0;
		row->executed_max = one.executions > row->executed_max ? one.executions : row->executed_max;
		row->unfinished_keys += one.accepted > 0 && one.executions == 0 && one.finished < one.accepted;
		if (one.last_ns)
			spread[n++] = one.last_ns - one.first_ns;
	}
	median_and_max(spread, n, &row->spread_ns_median, &row->spread_ns_max);
}

/* When the worker that ran the job was killed by plan, and when the job began again: 0 for never. */
static uint64_t killed_at(const struct qb_tally *t, uint32_t job, uint64_t *again_ns)
{
	uint64_t killed_ns = 0;

	*again_ns = 0;
	for (uint32_t i = t->jobs[job].first; i != QB_NO_IDX; i = t->tries[i].next) {
		const struct qb_try *a = &t->tries[i];

		if (killed_ns && a->start_ns > killed_ns) {
			*again_ns = a->start_ns;
			return killed_ns;
		}
		if (!killed_ns && a->outcome == QB_TRY_OPEN && a->proc != QB_NO_IDX)
			killed_ns = t->procs[a->proc].killed_ns;
	}
	return killed_ns;
}

/* Of the jobs of a key that were accepted before the phase "completed": the first start, and how long it ran. */
struct key_life { uint64_t from_ns, to_ns; };   /* QB_NEVER_NS: not begun; not ended */

static const struct qb_tally_job *request_of(const struct qb_tally *t, const struct qb_keyset *set, unsigned phase,
					     uint32_t key, uint32_t p)
{
	uint64_t id = qb_keyset_id(set, phase, key, p);

	return id <= t->jobs_count ? &t->jobs[id - 1] : NULL;
}

static struct key_life life_of(const struct qb_tally *t, const struct qb_keyset *set, uint32_t key)
{
	struct key_life life = { QB_NEVER_NS, QB_NEVER_NS };

	for (uint32_t n = 0; n < QB_KEY_DONE * set->processes; n++) {
		const struct qb_tally_job *j = request_of(t, set, n / set->processes, key, n % set->processes);

		for (uint32_t i = j ? j->first : QB_NO_IDX; i != QB_NO_IDX; i = t->tries[i].next) {
			const struct qb_try *a = &t->tries[i];

			if (a->start_ns && a->start_ns < life.from_ns)
				life = (struct key_life){ a->start_ns, a->end_ns ? a->end_ns : QB_NEVER_NS };
		}
	}
	return life;
}

/* Stamps of two processors; what must be apart here is further apart. */
static int before(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns + SLACK_NS;
}

/* Was one of those jobs under way then? */
static int was_running(const struct qb_tally *t, const struct qb_keyset *set, uint32_t key, uint64_t at_ns)
{
	for (uint32_t n = 0; n < QB_KEY_DONE * set->processes; n++) {
		const struct qb_tally_job *j = request_of(t, set, n / set->processes, key, n % set->processes);

		for (uint32_t i = j ? j->first : QB_NO_IDX; i != QB_NO_IDX; i = t->tries[i].next) {
			const struct qb_try *a = &t->tries[i];

			if (a->start_ns && a->start_ns < at_ns && (a->end_ns == 0 || !before(a->end_ns, at_ns)))
				return 1;
		}
	}
	return 0;
}

/* Was the key, from the request to its answer, what the phase says of it? Of one that never had a job nothing is said. */
static int is_in_phase(const struct qb_tally *t, const struct qb_keyset *set, unsigned phase, uint32_t key, uint32_t p,
		       const struct key_life *life)
{
	const struct qb_tally_job *j = request_of(t, set, phase, key, p);
	uint64_t holder = qb_keyset_id(set, QB_KEY_HOLDER, key, 0), again_ns, killed_ns;

	if (!j || !(j->flags & QB_TJOB_SUBMITTED) || !j->answered_ns)
		return 1;
	if (phase == QB_KEY_KILLED) {
		killed_ns = holder <= t->jobs_count ? killed_at(t, (uint32_t)(holder - 1), &again_ns) : 0;
		return killed_ns == 0 || before(killed_ns, j->submitted_ns);
	}
	if (life->from_ns == QB_NEVER_NS)
		return 1;
	if (phase < QB_KEY_RUNNING)
		return before(j->answered_ns, life->from_ns);
	if (phase == QB_KEY_RUNNING)
		return before(life->from_ns, j->submitted_ns) &&
		       (life->to_ns == QB_NEVER_NS || before(j->answered_ns, life->to_ns));
	return !was_running(t, set, key, j->submitted_ns);
}

static void check_phases(const struct qb_tally *t, struct qb_key_table *out)
{
	for (uint32_t key = 0; key < out->set.keys; key++) {
		struct key_life life = life_of(t, &out->set, key);

		for (unsigned phase = QB_KEY_RACE; phase < QB_KEY_PHASES; phase++)
			for (uint32_t p = 0; p < out->set.processes; p++)
				out->out_of_phase += !is_in_phase(t, &out->set, phase, key, p, &life);
	}
}

static uint64_t accepted_of(const struct qb_tally *t, const struct qb_keyset *set, uint32_t key)
{
	uint64_t n = 0;

	for (uint32_t p = 0; p < set->processes; p++) {
		uint64_t id = qb_keyset_id(set, QB_KEY_KILLED, key, p);

		n += id <= t->jobs_count && (t->jobs[id - 1].flags & QB_TJOB_ACKED);
	}
	return n;
}

static void add_up_holders(const struct qb_tally *t, struct qb_key_table *out, uint64_t *times)
{
	uint64_t end_ns = t->in->watch_end_ns, n = 0;

	for (uint32_t key = 0; key < out->set.keys; key++) {
		uint64_t id = qb_keyset_id(&out->set, QB_KEY_HOLDER, key, 0), again_ns;

		if (id > t->jobs_count || !(t->jobs[id - 1].flags & QB_TJOB_ACKED))
			continue;
		uint64_t killed_ns = killed_at(t, (uint32_t)(id - 1), &again_ns);
		uint64_t accepted = accepted_of(t, &out->set, key);

		out->holders++;
		out->holder_executions += executions_of(t, (uint32_t)(id - 1));
		if (!killed_ns)
			continue;
		out->killed++;
		out->overlapped += accepted > 0;
		if (again_ns) {
			times[n++] = again_ns - killed_ns;
			continue;
		}
		uint64_t watch_ns = end_ns > killed_ns ? end_ns - killed_ns : 0;

		out->blocked += accepted == 0;
		if (watch_ns > out->watch_ns_max)
			out->watch_ns_max = watch_ns;
		if (out->watch_ns_min == 0 || watch_ns < out->watch_ns_min)
			out->watch_ns_min = watch_ns;
	}
	out->again = n;
	median_and_max(times, n, &out->again_ns_median, &out->again_ns_max);
}

int qb_key_table_build(const struct qb_tally *t, struct qb_summary *out)
{
	struct qb_key_table *table = &out->keys;

	table->set = set_of(t);
	if (table->set.keys == 0)
		return 0;
	uint64_t *room = malloc(table->set.keys * sizeof(*room));

	if (!room)
		return -ENOMEM;
	for (unsigned phase = 0; phase < QB_KEY_PHASES; phase++)
		add_up_row(t, phase, table, room);
	add_up_holders(t, table, room);
	check_phases(t, table);
	free(room);
	return 0;
}
