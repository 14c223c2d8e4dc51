/* SPDX-License-Identifier: Apache-2.0 */
#include "report/keytable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

int qb_section_has_keys(const struct qb_section *s)
{
	for (size_t g = 0; g < s->groups_count; g++)
		for (size_t i = 0; i < s->groups[g].runs_count; i++)
			if (s->groups[g].runs[i]->summary->keys.set.keys)
				return 1;
	return 0;
}

/* ---- several runs as one ---- */

static void grow(uint64_t *to, uint64_t value)
{
	*to = value > *to ? value : *to;
}

static void add_row(struct qb_key_row *to, const struct qb_key_row *r)
{
	to->requests += r->requests;
	to->accepted += r->accepted;
	to->refused += r->refused;
	to->errors += r->errors;
	to->unanswered += r->unanswered;
	to->accepted_keys += r->accepted_keys;
	to->executions += r->executions;
	to->executed_keys += r->executed_keys;
	to->unfinished_keys += r->unfinished_keys;
	grow(&to->accepted_max, r->accepted_max);
	grow(&to->executed_max, r->executed_max);
	grow(&to->spread_ns_max, r->spread_ns_max);
}

static void add_holders(struct qb_key_table *to, const struct qb_key_table *t)
{
	to->holders += t->holders;
	to->killed += t->killed;
	to->again += t->again;
	to->holder_executions += t->holder_executions;
	to->blocked += t->blocked;
	to->overlapped += t->overlapped;
	to->refused_and_run += t->refused_and_run;
	grow(&to->again_ns_max, t->again_ns_max);
	grow(&to->watch_ns_max, t->watch_ns_max);
	if (t->watch_ns_min && (to->watch_ns_min == 0 || t->watch_ns_min < to->watch_ns_min))
		to->watch_ns_min = t->watch_ns_min;
}

/* row QB_KEY_PHASES: the times until the holders ran again. */
static uint64_t median_of(const struct qb_group *g, unsigned row)
{
	double *values = qb_xcalloc(g->runs_count, sizeof(*values));
	uint64_t median = 0;
	size_t n = 0;

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_key_table *t = &g->runs[i]->summary->keys;

		if (t->set.keys && (row < QB_KEY_PHASES || t->again))
			values[n++] = (double)(row < QB_KEY_PHASES ? t->row[row].spread_ns_median : t->again_ns_median);
	}
	if (n)
		median = (uint64_t)qb_over_runs(values, n).median;
	free(values);
	return median;
}

void qb_key_total(const struct qb_group *g, struct qb_key_table *out)
{
	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_key_table *t = &g->runs[i]->summary->keys;

		if (t->set.keys == 0)
			continue;
		out->set.keys += t->set.keys;
		if (t->set.processes > out->set.processes)
			out->set.processes = t->set.processes;
		for (unsigned row = 0; row < QB_KEY_PHASES; row++)
			add_row(&out->row[row], &t->row[row]);
		add_holders(out, t);
	}
	for (unsigned row = 0; row < QB_KEY_PHASES; row++)
		out->row[row].spread_ns_median = median_of(g, row);
	out->again_ns_median = median_of(g, QB_KEY_PHASES);
}

/* ---- the table ---- */

const char *qb_key_heading(unsigned column)
{
	static const char *const headings[QB_KEY_COLUMNS] = {
		"asked for", "requests", "accepted", "refused", "errors", "executed", "keys run", "most/key", "sent in",
	};

	return column < QB_KEY_COLUMNS ? headings[column] : "";
}

void qb_key_cell(const struct qb_key_table *t, unsigned row, unsigned column, char cell[QB_CELL_BYTES])
{
	static const char *const labels[QB_KEY_PHASES] = {
		"while nothing is queued", "while queued", "while running", "after completion", "after its worker's kill",
	};
	const struct qb_key_row *r = &t->row[row];
	const uint64_t numbers[] = { r->requests, r->accepted, r->refused, r->errors + r->unanswered, r->executions,
				     r->executed_keys, r->accepted_max };
	char buf[32];

	if (column == 0)
		snprintf(cell, QB_CELL_BYTES, "%s", labels[row]);
	else if (column < QB_KEY_COLUMNS - 1)
		snprintf(cell, QB_CELL_BYTES, "%llu", (unsigned long long)numbers[column - 1]);
	else
		snprintf(cell, QB_CELL_BYTES, "%s", qb_format_duration(buf, sizeof(buf), r->spread_ns_median));
}

/* ---- sentences ---- */

static void put_ns(struct qb_strbuf *out, uint64_t ns)
{
	char buf[32];

	qb_strbuf_add(out, qb_format_duration(buf, sizeof(buf), ns));
}

void qb_key_holders(const struct qb_key_table *t, struct qb_strbuf *out)
{
	qb_strbuf_printf(out, "Of %llu jobs that had a key of the last row before, %llu were running when their worker was "
			 "killed", (unsigned long long)t->holders, (unsigned long long)t->killed);
	if (t->killed) {
		qb_strbuf_printf(out, "; %llu of these began again", (unsigned long long)t->again);
		if (t->again) {
			qb_strbuf_add(out, ", ");
			put_ns(out, t->again_ns_median);
			qb_strbuf_add(out, " later (median; the longest ");
			put_ns(out, t->again_ns_max);
			qb_strbuf_add(out, ")");
		}
		if (t->again < t->killed) {
			qb_strbuf_printf(out, "; %llu had not when the watch ended, > ",
					 (unsigned long long)(t->killed - t->again));
			put_ns(out, t->watch_ns_min);
			qb_strbuf_add(out, " after the kill");
		}
	}
	qb_strbuf_printf(out, ". They were executed %llu times in all.", (unsigned long long)t->holder_executions);
}

/* What a phase lets through: none, one at most of each key, or more. */
static void put_leak(struct qb_strbuf *out, const char *when, const struct qb_key_row *r)
{
	qb_strbuf_printf(out, "; %s up to %llu requests for one key are accepted (%llu of %llu in all)", when,
			 (unsigned long long)r->accepted_max, (unsigned long long)r->accepted, (unsigned long long)r->requests);
}

static void put_scope(struct qb_strbuf *out, const struct qb_key_table *t)
{
	const struct qb_key_row *race = &t->row[QB_KEY_RACE], *queued = &t->row[QB_KEY_QUEUED];
	const struct qb_key_row *running = &t->row[QB_KEY_RUNNING];
	int in_race = race->accepted_max == 1, in_queue = queued->accepted == 0, at_work = running->accepted == 0;

	if (race->accepted == 0) {
		qb_strbuf_add(out, "nothing was accepted");
		return;
	}
	if (in_race && in_queue && at_work)
		qb_strbuf_add(out, "one job per key while queued and running");
	else if (in_race && in_queue)
		qb_strbuf_add(out, "one job per key while queued, but not while running");
	else if (in_race && at_work)
		qb_strbuf_add(out, "one job per key while running, but not while queued");
	else if (in_race)
		qb_strbuf_add(out, "one job per key only of requests that come together");
	else if (in_queue || at_work)
		qb_strbuf_printf(out, "no second job of a key that is %s, but several of requests that come together",
				 in_queue && at_work ? "queued or running" : in_queue ? "queued" : "running");
	else
		qb_strbuf_add(out, "no guarantee");
	if (!in_race)
		put_leak(out, "of requests at the same time", race);
	if (!in_queue)
		put_leak(out, "while queued", queued);
	if (!at_work)
		put_leak(out, "while running", running);
}

static void put_after(struct qb_strbuf *out, const struct qb_key_table *t)
{
	const struct qb_key_row *done = &t->row[QB_KEY_DONE];

	if (done->requests == 0)
		return;
	if (done->accepted == 0)
		qb_strbuf_add(out, "; after completion the key is still refused");
	else if (done->accepted_max > 1)
		put_leak(out, "after completion", done);
	else if (done->accepted_keys == t->set.keys)
		qb_strbuf_add(out, "; after completion the key is free");
	else
		qb_strbuf_printf(out, "; after completion %llu of %u keys are free", (unsigned long long)done->accepted_keys,
				 t->set.keys);
}

static void put_after_kill(struct qb_strbuf *out, const struct qb_key_table *t)
{
	const struct qb_key_row *r = &t->row[QB_KEY_KILLED];

	if (t->killed == 0)
		return;
	qb_strbuf_add(out, "; after a kill of its worker ");
	if (t->overlapped == 0 && t->blocked == 0) {
		qb_strbuf_add(out, "the key is refused, and its job runs again ");
		put_ns(out, t->again_ns_median);
		qb_strbuf_add(out, " later");
		return;
	}
	if (t->blocked) {
		qb_strbuf_printf(out, "%llu of %llu keys are still refused, and their jobs have not run again, > ",
				 (unsigned long long)t->blocked, (unsigned long long)t->killed);
		put_ns(out, t->watch_ns_min);
		qb_strbuf_add(out, " later");
	}
	if (t->overlapped)
		qb_strbuf_printf(out, "%s%llu of %llu keys get a second job before the first has run again, at most %llu each",
				 t->blocked ? ", and " : "", (unsigned long long)t->overlapped, (unsigned long long)t->killed,
				 (unsigned long long)r->accepted_max);
}

void qb_key_guarantee(const struct qb_key_table *t, struct qb_strbuf *out)
{
	uint64_t most = 0;

	put_scope(out, t);
	put_after(out, t);
	put_after_kill(out, t);
	for (unsigned i = 0; i < QB_KEY_PHASES; i++)
		if (t->row[i].executed_max > t->row[i].accepted_max)
			grow(&most, t->row[i].executed_max);
	if (most)
		qb_strbuf_printf(out, "; jobs of one key were executed up to %llu times, more often than accepted",
				 (unsigned long long)most);
	qb_strbuf_add(out, ".");
}

/* ---- summary.json ---- */

static void add(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value);
}

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *ms(uint64_t ns, int known)
{
	return known ? json_real((double)ns / 1e6) : json_null();
}

static json_t *row_json(const struct qb_key_row *r, unsigned phase)
{
	json_t *o = json_object();

	add(o, "phase", json_string(qb_key_phase_name(phase)));
	add(o, "requests", count(r->requests));
	add(o, "accepted", count(r->accepted));
	add(o, "refused", count(r->refused));
	add(o, "errors", count(r->errors));
	add(o, "unanswered", count(r->unanswered));
	add(o, "accepted_keys", count(r->accepted_keys));
	add(o, "accepted_per_key_max", count(r->accepted_max));
	add(o, "executions", count(r->executions));
	add(o, "executed_keys", count(r->executed_keys));
	add(o, "executions_per_key_max", count(r->executed_max));
	add(o, "unfinished_keys", count(r->unfinished_keys));
	add(o, "spread_ms_median", ms(r->spread_ns_median, r->requests > 0));
	add(o, "spread_ms_max", ms(r->spread_ns_max, r->requests > 0));
	return o;
}

static json_t *holders_json(const struct qb_key_table *t)
{
	json_t *o = json_object();
	int left = t->again < t->killed;

	add(o, "jobs", count(t->holders));
	add(o, "killed", count(t->killed));
	add(o, "again", count(t->again));
	add(o, "executions", count(t->holder_executions));
	add(o, "blocked_keys", count(t->blocked));
	add(o, "overlapped_keys", count(t->overlapped));
	add(o, "again_ms_median", ms(t->again_ns_median, t->again > 0));
	add(o, "again_ms_max", ms(t->again_ns_max, t->again > 0 && !left));
	add(o, "watch_ms", ms(t->watch_ns_max, left));
	add(o, "watch_min_ms", ms(t->watch_ns_min, left));
	return o;
}

json_t *qb_key_json(const struct qb_key_table *t)
{
	struct qb_strbuf sentence = { 0 };
	json_t *o, *rows;

	if (t->set.keys == 0)
		return json_null();
	o = json_object();
	rows = json_array();
	for (unsigned i = 0; i < QB_KEY_PHASES; i++)
		json_array_append_new(rows, row_json(&t->row[i], i));
	qb_key_guarantee(t, &sentence);
	add(o, "keys", count(t->set.keys));
	add(o, "processes", count(t->set.processes));
	add(o, "phases", rows);
	add(o, "holders", holders_json(t));
	add(o, "refused_and_run", count(t->refused_and_run));
	add(o, "guarantee", json_string(qb_strbuf_text(&sentence)));
	qb_strbuf_free(&sentence);
	return o;
}
