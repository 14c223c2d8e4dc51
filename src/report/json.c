/* SPDX-License-Identifier: Apache-2.0 */
/* summary.json. Every key is described in doc/summary-json.md; a test compares the two. */
#include "report/keytable.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"

#define FORMAT_VERSION 1
/* Enough for a nanosecond in a week of milliseconds, without the noise of the last digits. */
#define PRECISION 15

static json_t *count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *ms(uint64_t ns)
{
	return ns == QB_BEYOND_WATCH ? json_null() : real((double)ns / 1e6);
}

/* Record texts are bytes; what is no UTF-8 must not make the whole file vanish. */
static char *clean_copy(const char *s)
{
	char *clean = qb_xstrdup(s);

	for (char *p = clean; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return clean;
}

static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char *clean;

	if (j)
		return j;
	clean = clean_copy(s);
	j = json_string(clean);
	free(clean);
	return j;
}

/* Takes the value. */
static void add(json_t *object, const char *key, json_t *value)
{
	char *clean;
	int rc;

	if (json_object_set(object, key, value) == 0) {
		json_decref(value);
		return;
	}
	/* A key of the record that is no UTF-8; a second refusal means no memory. */
	clean = clean_copy(key);
	rc = json_object_set_new(object, clean, value);
	free(clean);
	if (rc < 0) {
		qb_log(QB_LOG_ERROR, "out of memory");
		exit(1);
	}
}

/* JSON readers have 63 bits for a number; a seed has 64. */
static json_t *seed(const struct qb_meta *m)
{
	char buf[24];

	if (m->seed <= INT64_MAX)
		return count(m->seed);
	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)m->seed);
	return text(buf);
}

static json_t *percentiles_ms(const struct qb_percentiles *p)
{
	json_t *o = json_object();
	int any = p->count > 0;

	add(o, "count", count(p->count));
	add(o, "min", any ? ms(p->min_ns) : json_null());
	add(o, "p50", any ? ms(p->p50_ns) : json_null());
	add(o, "p90", any ? ms(p->p90_ns) : json_null());
	add(o, "p95", any ? ms(p->p95_ns) : json_null());
	add(o, "p99", any ? ms(p->p99_ns) : json_null());
	add(o, "p999", any ? ms(p->p999_ns) : json_null());
	add(o, "max", any ? ms(p->max_ns) : json_null());
	add(o, "mean", any ? real(p->mean_ns / 1e6) : json_null());
	return o;
}

static json_t *resume_ms(const struct qb_resume *r)
{
	int any = r->ns.count + r->censored > 0;
	json_t *o = json_object();

	add(o, "kills", count(r->kills));
	add(o, "count", count(r->ns.count));
	add(o, "censored", count(r->censored));
	add(o, "by_survivors", count(r->by_survivors));
	add(o, "median", any ? ms(r->median_ns) : json_null());
	add(o, "p95", any ? ms(r->p95_ns) : json_null());
	add(o, "max", any ? ms(r->max_ns) : json_null());
	add(o, "watch_ms", r->censored ? ms(r->watch_ns_max) : json_null());
	add(o, "watch_min_ms", r->censored ? ms(r->watch_ns_min) : json_null());
	return o;
}

static void add_counts(json_t *o, const struct qb_summary *s)
{
	add(o, "planned", count(s->planned));
	add(o, "submitted", count(s->submitted));
	add(o, "acknowledged", count(s->acknowledged));
	add(o, "enqueue_failed", count(s->enqueue_failed));
	add(o, "refused", count(s->refused));
	add(o, "unacknowledged", count(s->unacknowledged));
	add(o, "unacknowledged_known", count(s->unacknowledged_known));
	add(o, "completed", count(s->completed));
	add(o, "completions", count(s->completions));
	add(o, "failed", count(s->failed_attempts));
	add(o, "discarded", count(s->discarded));
	add(o, "starts", count(s->starts));
	add(o, "duplicates", count(s->duplicates));
	add(o, "repeated_starts", count(s->repeated_starts));
	add(o, "repeated_effects", count(s->repeated_effects));
	add(o, "silent_effects", count(s->silent_effects));
	add(o, "ambiguous", count(s->ambiguous));
	add(o, "ambiguous_attempts", count(s->ambiguous_attempts));
	add(o, "ambiguous_parked", count(s->ambiguous_parked));
	add(o, "ambiguous_gone", count(s->ambiguous_gone));
	add(o, "in_doubt", count(s->in_doubt));
	add(o, "in_doubt_done", count(s->in_doubt_done));
	add(o, "in_doubt_undone", count(s->in_doubt_undone));
	add(o, "abandoned", count(s->abandoned));
	add(o, "unfinished", count(s->unfinished));
	add(o, "requeued", count(s->requeued));
	add(o, "fenced", count(s->fenced));
	add(o, "queued", count(s->queued));
	add(o, "waiting", count(s->waiting));
	add(o, "held", count(s->held));
	add(o, "unknown_end", count(s->unknown_end));
	add(o, "lost", count(s->lost));
	add(o, "stranded", count(s->stranded));
	add(o, "results_lost", count(s->results_lost));
	add(o, "results_lost_alive", count(s->results_lost_alive));
	add(o, "duplicates_unrecorded", count(s->duplicates_unrecorded));
	add(o, "given_up", count(s->given_up));
}

static void add_faults(json_t *o, const struct qb_summary *s)
{
	static const struct { unsigned role; const char *key; } roles[] = {
		{ QB_ROLE_PARENT, "parent" }, { QB_ROLE_SYNCER, "syncer" },
		{ QB_ROLE_WORKER, "worker" }, { QB_ROLE_STANDBY, "standby" },
	};
	json_t *by = json_object();

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		add(by, roles[i].key, count(s->kills_by_role[roles[i].role]));
	add(o, "kills", count(s->kills));
	add(o, "kills_by_role", by);
	add(o, "stops", count(s->stops));
	add(o, "server_kills", count(s->server_kills));
	add(o, "deaths_unplanned", count(s->deaths_unplanned));
	add(o, "takeovers", count(s->takeovers));
	add(o, "failovers_behind", count(s->failovers_behind));
	add(o, "failover_resent", count(s->failover_resent));
	add(o, "failover_gone", count(s->failover_gone));
}

static void add_times(json_t *o, const struct qb_summary *s)
{
	json_t *classes = json_object();

	for (unsigned i = 0; i < QB_RESUME_CLASS_COUNT; i++)
		add(classes, qb_resume_class_name(i), resume_ms(&s->resume[i]));
	add(o, "time_to_resume_ms", classes);
	add(o, "commits_resume_ms", resume_ms(&s->sync_resume));
	add(o, "spawn_ms", percentiles_ms(&s->spawn));
	add(o, "verdict_ms", percentiles_ms(&s->verdict));
	add(o, "death_to_verdict_ms", percentiles_ms(&s->death_verdict));
	add(o, "parent_death_to_pickup_ms", percentiles_ms(&s->death_pickup));
	add(o, "pickup_ms", percentiles_ms(&s->pickup));
	add(o, "pickup_from_submit_ms", percentiles_ms(&s->pickup_submit));
	add(o, "enqueue_call_ms", percentiles_ms(&s->enqueue_call));
	add(o, "work_ms", percentiles_ms(&s->work));
	add(o, "end_to_end_ms", percentiles_ms(&s->end_to_end));
	add(o, "commit_ms", percentiles_ms(&s->commit));
	add(o, "result_age_max_ms", s->results_lost > s->results_lost_alive ? ms(s->result_age_ns_max) : json_null());
	add(o, "elapsed_s", real((double)s->elapsed_ns / 1e9));
	add(o, "throughput_per_s", real(s->throughput_per_s));
}

static json_t *identities(const struct qb_summary *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->identities_count; i++) {
		const struct qb_identity *id = &s->identity[i];
		json_t *o = json_object();

		add(o, "name", text(id->name));
		add(o, "left", json_integer(id->left));
		add(o, "right", json_integer(id->right));
		add(o, "holds", json_boolean(id->holds));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *settings(const struct qb_meta *m)
{
	json_t *o = json_object(), *others = json_object();
	struct qb_host host;

	add(o, "duration_s", real((double)m->duration_ns / 1e9));
	add(o, "rate_per_s", count(m->rate));
	add(o, "tenants", count(m->tenants));
	add(o, "tenant_skew", real(m->tenant_skew));
	add(o, "workers", count(m->workers));
	add(o, "slots", count(m->slots));
	add(o, "ack", text(m->ack));
	add(o, "ambiguous_jobs", text(m->ambiguous));
	add(o, "backoff", text(m->backoff));
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (!qb_host_take(&host, m->settings[i].key, m->settings[i].value))
			add(others, m->settings[i].key, text(m->settings[i].value));
	add(o, "others", others);
	return o;
}

static json_t *known(uint64_t n)
{
	return n == QB_NOT_KNOWN ? json_null() : count(n);
}

static json_t *per_job(uint64_t n, uint64_t jobs)
{
	return n == QB_NOT_KNOWN || jobs == 0 ? json_null() : real((double)n / (double)jobs);
}

static json_t *database(const struct qb_report_entry *e)
{
	static const struct { const char *key; size_t off; } fields[] = {
#define FIELD(name) { #name, offsetof(struct qb_db_load, name) }
		FIELD(commits), FIELD(rollbacks), FIELD(inserted), FIELD(updated), FIELD(deleted), FIELD(dead_left),
		FIELD(vacuums), FIELD(wal_bytes), FIELD(statements),
#undef FIELD
	};
	const struct qb_summary *s = e->summary;
	json_t *o = json_object(), *each = json_object();

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint64_t value;

		memcpy(&value, (const char *)&e->load + fields[i].off, sizeof(value));
		add(o, fields[i].key, known(value));
		add(each, fields[i].key, per_job(value, s->completed));
	}
	add(o, "transactions", known(qb_db_load_transactions(&e->load)));
	add(each, "transactions", per_job(qb_db_load_transactions(&e->load), s->completed));
	add(o, "per_completed_job", each);
	add(o, "other_sessions", known(e->load.strangers));
	add(o, "counters_delayed", e->load.delayed == QB_NOT_KNOWN ? json_null() : json_boolean(e->load.delayed != 0));
	add(o, "syncer_commits", count(s->commits));
	add(o, "syncer_rows", count(s->commit_rows));
	return o;
}

static json_t *one_run(const struct qb_report_entry *e)
{
	const struct qb_summary *s = e->summary;
	json_t *o = json_object(), *versions = json_object();

	add(o, "run_id", text(s->run_id));
	add(o, "seed", seed(e->meta));
	add(o, "directory", text(e->dir ? e->dir : ""));
	add(o, "verified", json_boolean(s->verified));
	add(o, "interrupted", json_boolean(e->interrupted));
	add_counts(o, s);
	add_faults(o, s);
	add_times(o, s);
	add(o, "unique_keys", qb_key_json(&s->keys));
	add(o, "database", database(e));
	add(o, "events", count(s->events));
	add(o, "events_dropped", count(s->events_dropped));
	add(o, "reports_ambiguity", json_boolean(s->reports_ambiguity));
	add(o, "leased", json_boolean(s->leased));
	add(o, "may_lose", json_boolean(s->may_lose));
	add(o, "identities", identities(s));
	add(o, "settings", settings(e->meta));
	add(versions, "qbench", text(e->meta->qbench_version));
	add(versions, "server", text(e->meta->server_version));
	add(o, "versions", versions);
	add(o, "started_unix_s", real((double)e->meta->started_wall_ns / 1e9));
	return o;
}

/* Median and range over the runs of a library. */
static void add_over_runs(json_t *o, const char *key, double *values, size_t n)
{
	json_t *range = json_object();
	struct qb_over_runs r = { 0, 0, 0 };

	if (n)
		r = qb_over_runs(values, n);
	add(range, "median", n ? real(r.median) : json_null());
	add(range, "min", n ? real(r.min) : json_null());
	add(range, "max", n ? real(r.max) : json_null());
	add(o, key, range);
}

static json_t *over_runs(const struct qb_group *g)
{
	static const struct { const char *key; size_t off; } pickups[] = {
		{ "pickup_p50_ms", offsetof(struct qb_percentiles, p50_ns) },
		{ "pickup_p95_ms", offsetof(struct qb_percentiles, p95_ns) },
		{ "pickup_p99_ms", offsetof(struct qb_percentiles, p99_ns) },
	};
	double *values = qb_xcalloc(g->runs_count, sizeof(*values));
	json_t *o = json_object();

	for (size_t i = 0; i < g->runs_count; i++)
		values[i] = g->runs[i]->summary->throughput_per_s;
	add_over_runs(o, "throughput_per_s", values, g->runs_count);
	for (size_t k = 0; k < sizeof(pickups) / sizeof(pickups[0]); k++) {
		size_t n = 0;

		for (size_t i = 0; i < g->runs_count; i++) {
			const struct qb_percentiles *p = &g->runs[i]->summary->pickup;
			uint64_t ns;

			memcpy(&ns, (const char *)p + pickups[k].off, sizeof(ns));
			if (p->count)
				values[n++] = (double)ns / 1e6;
		}
		add_over_runs(o, pickups[k].key, values, n);
	}
	free(values);
	return o;
}

static void add_libraries(json_t *list, const struct qb_section *s)
{
	for (size_t g = 0; g < s->groups_count; g++) {
		const struct qb_group *group = &s->groups[g];
		json_t *o = json_object(), *runs = json_array();

		for (size_t i = 0; i < group->runs_count; i++)
			json_array_append_new(runs, one_run(group->runs[i]));
		add(o, "library", text(group->lib));
		add(o, "scenario", text(s->scenario));
		add(o, "runs", runs);
		add(o, "over_runs", over_runs(group));
		json_array_append_new(list, o);
	}
}

static json_t *host(const struct qb_host *h)
{
	json_t *o = json_object();

	add(o, "name", text(h->name));
	add(o, "cpu", text(h->cpu));
	add(o, "cores", count(h->cores));
	add(o, "cores_online", count(h->cores_online));
	add(o, "memory_bytes", count(h->memory_bytes));
	add(o, "kernel", text(h->kernel));
	return o;
}

/* The one control character that jansson leaves as it is. */
static void put_dump(struct qb_strbuf *out, const char *dump)
{
	const char *del;

	for (; (del = strchr(dump, 0x7f)); dump = del + 1) {
		qb_strbuf_add_bytes(out, dump, (size_t)(del - dump));
		qb_strbuf_add(out, "\\u007f");
	}
	qb_strbuf_add(out, dump);
}

void qb_report_json(const struct qb_report *r, struct qb_strbuf *out)
{
	json_t *root = json_object(), *list = json_array();
	struct qb_model m;
	char *dump;

	qb_model_build(&m, r);
	add(root, "format_version", count(FORMAT_VERSION));
	add(root, "qbench_version", text(r->qbench_version ? r->qbench_version : ""));
	add(root, "host", host(&r->host));
	if (r->entries_count) {
		const struct qb_report_entry *e = &r->entries[0];

		add(root, "scenario", text(e->summary->scenario));
		add(root, "seed", seed(e->meta));
		add(root, "settings", settings(e->meta));
	}
	for (size_t i = 0; i < m.sections_count; i++)
		add_libraries(list, &m.sections[i]);
	add(root, "libraries", list);
	dump = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII |
			  JSON_REAL_PRECISION(PRECISION));
	if (!dump) {
		qb_log(QB_LOG_ERROR, "out of memory");
		exit(1);
	}
	put_dump(out, dump);
	qb_strbuf_add(out, "\n");
	free(dump);
	json_decref(root);
	qb_model_free(&m);
}
