/* SPDX-License-Identifier: Apache-2.0 */
/* "cache" of summary.json. */
#include "report/cachetable.h"
#include "report/json.h"

/* Counts by their names, those of a phase and of the total. */
static void add_counts(json_t *o, const struct qb_cache_row *r)
{
	const struct { const char *name; uint64_t n; } counts[] = {
		{ "requests", r->requests }, { "hits", r->hits }, { "joined", r->joined }, { "executed", r->executed },
		{ "failed", r->failed }, { "unanswered", r->unanswered }, { "from_memory", r->from_memory },
		{ "failures", r->faults[QB_CACHE_FAILURE] }, { "stale", r->stale }, { "not_found", r->faults[QB_CACHE_NOT_FOUND] },
		{ "deadline", r->faults[QB_CACHE_DEADLINE] }, { "errors", r->faults[QB_CACHE_ERROR] },
		{ "damaged", r->faults[QB_CACHE_DAMAGED] }, { "accepted", r->accepted }, { "addresses", r->addresses },
		{ "unmade", r->unmade }, { "executions", r->executions },
		{ "interrupted", r->interrupted }, { "found", r->found }, { "puts", r->puts }, { "leaks", r->leaks },
		{ "executions_per_address_max", r->executions_max }, { "pushed_again", r->pushed_again }, { "waits", r->waits },
		{ "ticks", r->ticks }, { "rounds", r->rounds }, { "rounds_exact", r->rounds_exact }, { "kills", r->kills },
		{ "again", r->again },
	};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		qb_json_add(o, counts[i].name, qb_json_count(counts[i].n));
}

static json_t *phase_json(const struct qb_cache_row *r, enum qb_cache_phase phase)
{
	json_t *o = json_object();

	qb_json_add(o, "phase", json_string(qb_cache_phase_name(phase)));
	add_counts(o, r);
	qb_json_add(o, "hit_ms", qb_json_percentiles(&r->way[QB_CACHE_HIT]));
	qb_json_add(o, "joined_ms", qb_json_percentiles(&r->way[QB_CACHE_JOINED]));
	qb_json_add(o, "executed_ms", qb_json_percentiles(&r->way[QB_CACHE_EXECUTED]));
	qb_json_add(o, "failed_ms", qb_json_percentiles(&r->fault));
	qb_json_add(o, "release_ms", qb_json_percentiles(&r->release));
	qb_json_add(o, "released_ms", qb_json_percentiles(&r->released));
	qb_json_add(o, "again_ms", qb_json_percentiles(&r->again_ns));
	return o;
}

json_t *qb_cache_json(const struct qb_cache_table *t)
{
	json_t *o, *phases, *total;

	if (t->set.callers == 0)
		return json_null();
	o = json_object();
	phases = json_array();
	total = json_object();
	for (unsigned i = 0; i < QB_CACHE_PHASES; i++)
		if (t->row[i].requests)
			json_array_append_new(phases, phase_json(&t->row[i], (enum qb_cache_phase)i));
	add_counts(total, &t->total);
	qb_json_add(o, "callers", qb_json_count(t->set.callers));
	qb_json_add(o, "processes", qb_json_count(t->processes));
	qb_json_add(o, "deadline_ms", qb_json_ms(t->deadline_ns));
	qb_json_add(o, "faithful", json_boolean(t->faithful));
	qb_json_add(o, "stale_errors", json_boolean(t->stale_errors));
	qb_json_add(o, "refused_and_run", qb_json_count(t->refused_and_run));
	qb_json_add(o, "phases", phases);
	qb_json_add(o, "total", total);
	return o;
}
