/* SPDX-License-Identifier: Apache-2.0 */
/* summary.json. Every key is described in doc/summary-json.md; a test compares the two. */
#include "report/cachetable.h"
#include "report/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "report/keytable.h"

#define FORMAT_VERSION 1
/* Enough for a nanosecond in a week of milliseconds, without the noise of the last digits. */
#define PRECISION 15

json_t *qb_json_count(uint64_t n)
{
	return json_integer((json_int_t)n);
}

json_t *qb_json_real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

json_t *qb_json_ms(uint64_t ns)
{
	return ns == QB_BEYOND_WATCH ? json_null() : qb_json_real((double)ns / 1e6);
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
void qb_json_add(json_t *object, const char *key, json_t *value)
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
		return qb_json_count(m->seed);
	snprintf(buf, sizeof(buf), "%llu", (unsigned long long)m->seed);
	return text(buf);
}

json_t *qb_json_percentiles(const struct qb_percentiles *p)
{
	json_t *o = json_object();
	int any = p->count > 0;

	qb_json_add(o, "count", qb_json_count(p->count));
	qb_json_add(o, "min", any ? qb_json_ms(p->min_ns) : json_null());
	qb_json_add(o, "p50", any ? qb_json_ms(p->p50_ns) : json_null());
	qb_json_add(o, "p90", any ? qb_json_ms(p->p90_ns) : json_null());
	qb_json_add(o, "p95", any ? qb_json_ms(p->p95_ns) : json_null());
	qb_json_add(o, "p99", any ? qb_json_ms(p->p99_ns) : json_null());
	qb_json_add(o, "p999", any ? qb_json_ms(p->p999_ns) : json_null());
	qb_json_add(o, "max", any ? qb_json_ms(p->max_ns) : json_null());
	qb_json_add(o, "mean", any ? qb_json_real(p->mean_ns / 1e6) : json_null());
	return o;
}

static json_t *resume_ms(const struct qb_resume *r)
{
	int any = r->ns.count + r->censored > 0;
	json_t *o = json_object();

	qb_json_add(o, "kills", qb_json_count(r->kills));
	qb_json_add(o, "count", qb_json_count(r->ns.count));
	qb_json_add(o, "censored", qb_json_count(r->censored));
	qb_json_add(o, "by_survivors", qb_json_count(r->by_survivors));
	qb_json_add(o, "median", any ? qb_json_ms(r->median_ns) : json_null());
	qb_json_add(o, "p95", any ? qb_json_ms(r->p95_ns) : json_null());
	qb_json_add(o, "max", any ? qb_json_ms(r->max_ns) : json_null());
	qb_json_add(o, "watch_ms", r->censored ? qb_json_ms(r->watch_ns_max) : json_null());
	qb_json_add(o, "watch_min_ms", r->censored ? qb_json_ms(r->watch_ns_min) : json_null());
	return o;
}

static void add_counts(json_t *o, const struct qb_summary *s)
{
	qb_json_add(o, "planned", qb_json_count(s->planned));
	qb_json_add(o, "submitted", qb_json_count(s->submitted));
	qb_json_add(o, "acknowledged", qb_json_count(s->acknowledged));
	qb_json_add(o, "enqueue_failed", qb_json_count(s->enqueue_failed));
	qb_json_add(o, "refused", qb_json_count(s->refused));
	qb_json_add(o, "unacknowledged", qb_json_count(s->unacknowledged));
	qb_json_add(o, "unacknowledged_known", qb_json_count(s->unacknowledged_known));
	qb_json_add(o, "completed", qb_json_count(s->completed));
	qb_json_add(o, "completions", qb_json_count(s->completions));
	qb_json_add(o, "failed", qb_json_count(s->failed_attempts));
	qb_json_add(o, "discarded", qb_json_count(s->discarded));
	qb_json_add(o, "starts", qb_json_count(s->starts));
	qb_json_add(o, "duplicates", qb_json_count(s->duplicates));
	qb_json_add(o, "repeated_starts", qb_json_count(s->repeated_starts));
	qb_json_add(o, "repeated_effects", qb_json_count(s->repeated_effects));
	qb_json_add(o, "silent_effects", qb_json_count(s->silent_effects));
	qb_json_add(o, "ambiguous", qb_json_count(s->ambiguous));
	qb_json_add(o, "ambiguous_attempts", qb_json_count(s->ambiguous_attempts));
	qb_json_add(o, "ambiguous_parked", qb_json_count(s->ambiguous_parked));
	qb_json_add(o, "ambiguous_gone", qb_json_count(s->ambiguous_gone));
	qb_json_add(o, "in_doubt", qb_json_count(s->in_doubt));
	qb_json_add(o, "in_doubt_done", qb_json_count(s->in_doubt_done));
	qb_json_add(o, "in_doubt_undone", qb_json_count(s->in_doubt_undone));
	qb_json_add(o, "abandoned", qb_json_count(s->abandoned));
	qb_json_add(o, "unfinished", qb_json_count(s->unfinished));
	qb_json_add(o, "requeued", qb_json_count(s->requeued));
	qb_json_add(o, "fenced", qb_json_count(s->fenced));
	qb_json_add(o, "queued", qb_json_count(s->queued));
	qb_json_add(o, "waiting", qb_json_count(s->waiting));
	qb_json_add(o, "held", qb_json_count(s->held));
	qb_json_add(o, "unknown_end", qb_json_count(s->unknown_end));
	qb_json_add(o, "lost", qb_json_count(s->lost));
	qb_json_add(o, "stranded", qb_json_count(s->stranded));
	qb_json_add(o, "results_lost", qb_json_count(s->results_lost));
	qb_json_add(o, "results_lost_alive", qb_json_count(s->results_lost_alive));
	qb_json_add(o, "duplicates_unrecorded", qb_json_count(s->duplicates_unrecorded));
	qb_json_add(o, "given_up", qb_json_count(s->given_up));
}

static void add_faults(json_t *o, const struct qb_summary *s)
{
	static const struct { unsigned role; const char *key; } roles[] = {
		{ QB_ROLE_PARENT, "parent" }, { QB_ROLE_SYNCER, "syncer" },
		{ QB_ROLE_WORKER, "worker" }, { QB_ROLE_STANDBY, "standby" },
	};
	json_t *by = json_object();

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		qb_json_add(by, roles[i].key, qb_json_count(s->kills_by_role[roles[i].role]));
	qb_json_add(o, "kills", qb_json_count(s->kills));
	qb_json_add(o, "kills_by_role", by);
	qb_json_add(o, "stops", qb_json_count(s->stops));
	qb_json_add(o, "server_kills", qb_json_count(s->server_kills));
	qb_json_add(o, "deaths_unplanned", qb_json_count(s->deaths_unplanned));
	qb_json_add(o, "takeovers", qb_json_count(s->takeovers));
	qb_json_add(o, "failovers_behind", qb_json_count(s->failovers_behind));
	qb_json_add(o, "failover_resent", qb_json_count(s->failover_resent));
	qb_json_add(o, "failover_gone", qb_json_count(s->failover_gone));
}

static void add_times(json_t *o, const struct qb_summary *s)
{
	json_t *classes = json_object();

	for (unsigned i = 0; i < QB_RESUME_CLASS_COUNT; i++)
		qb_json_add(classes, qb_resume_class_name(i), resume_ms(&s->resume[i]));
	qb_json_add(o, "time_to_resume_ms", classes);
	qb_json_add(o, "commits_resume_ms", resume_ms(&s->sync_resume));
	qb_json_add(o, "spawn_ms", qb_json_percentiles(&s->spawn));
	qb_json_add(o, "verdict_ms", qb_json_percentiles(&s->verdict));
	qb_json_add(o, "death_to_verdict_ms", qb_json_percentiles(&s->death_verdict));
	qb_json_add(o, "parent_death_to_pickup_ms", qb_json_percentiles(&s->death_pickup));
	qb_json_add(o, "pickup_ms", qb_json_percentiles(&s->pickup));
	qb_json_add(o, "pickup_from_submit_ms", qb_json_percentiles(&s->pickup_submit));
	qb_json_add(o, "enqueue_call_ms", qb_json_percentiles(&s->enqueue_call));
	qb_json_add(o, "work_ms", qb_json_percentiles(&s->work));
	qb_json_add(o, "end_to_end_ms", qb_json_percentiles(&s->end_to_end));
	qb_json_add(o, "commit_ms", qb_json_percentiles(&s->commit));
	qb_json_add(o, "result_age_max_ms", s->results_lost > s->results_lost_alive ? qb_json_ms(s->result_age_ns_max) : json_null());
	qb_json_add(o, "elapsed_s", qb_json_real((double)s->elapsed_ns / 1e9));
	qb_json_add(o, "throughput_per_s", qb_json_real(s->throughput_per_s));
}

static json_t *identities(const struct qb_summary *s)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->identities_count; i++) {
		const struct qb_identity *id = &s->identity[i];
		json_t *o = json_object();

		qb_json_add(o, "name", text(id->name));
		qb_json_add(o, "left", json_integer(id->left));
		qb_json_add(o, "right", json_integer(id->right));
		qb_json_add(o, "holds", json_boolean(id->holds));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *settings(const struct qb_meta *m)
{
	json_t *o = json_object(), *others = json_object();
	struct qb_host host;

	qb_json_add(o, "duration_s", qb_json_real((double)m->duration_ns / 1e9));
	qb_json_add(o, "rate_per_s", qb_json_count(m->rate));
	qb_json_add(o, "tenants", qb_json_count(m->tenants));
	qb_json_add(o, "tenant_skew", qb_json_real(m->tenant_skew));
	qb_json_add(o, "workers", qb_json_count(m->workers));
	qb_json_add(o, "slots", qb_json_count(m->slots));
	qb_json_add(o, "ack", text(m->ack));
	qb_json_add(o, "ambiguous_jobs", text(m->ambiguous));
	qb_json_add(o, "backoff", text(m->backoff));
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (!qb_host_take(&host, m->settings[i].key, m->settings[i].value))
			qb_json_add(others, m->settings[i].key, text(m->settings[i].value));
	qb_json_add(o, "others", others);
	return o;
}

static json_t *known(uint64_t n)
{
	return n == QB_NOT_KNOWN ? json_null() : qb_json_count(n);
}

static json_t *per_job(uint64_t n, uint64_t jobs)
{
	return n == QB_NOT_KNOWN || jobs == 0 ? json_null() : qb_json_real((double)n / (double)jobs);
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
		qb_json_add(o, fields[i].key, known(value));
		qb_json_add(each, fields[i].key, per_job(value, s->completed));
	}
	qb_json_add(o, "transactions", known(qb_db_load_transactions(&e->load)));
	qb_json_add(each, "transactions", per_job(qb_db_load_transactions(&e->load), s->completed));
	qb_json_add(o, "per_completed_job", each);
	qb_json_add(o, "other_sessions", known(e->load.strangers));
	qb_json_add(o, "counters_delayed", e->load.delayed == QB_NOT_KNOWN ? json_null() : json_boolean(e->load.delayed != 0));
	qb_json_add(o, "syncer_commits", qb_json_count(s->commits));
	qb_json_add(o, "syncer_rows", qb_json_count(s->commit_rows));
	return o;
}

static json_t *one_run(const struct qb_section *section, const struct qb_report_entry *e)
{
	const struct qb_summary *s = e->summary;
	json_t *o = json_object(), *versions = json_object();

	qb_json_add(o, "run_id", text(s->run_id));
	qb_json_add(o, "seed", seed(e->meta));
	qb_json_add(o, "directory", text(e->dir ? e->dir : ""));
	qb_json_add(o, "verified", json_boolean(s->verified));
	qb_json_add(o, "interrupted", json_boolean(e->interrupted));
	add_counts(o, s);
	add_faults(o, s);
	add_times(o, s);
	qb_json_add(o, "unique_keys", qb_key_json(&s->keys));
	qb_json_add(o, "cache", qb_cache_json(&s->cache));
	qb_json_add(o, "database", database(e));
	qb_json_add(o, "backlog", qb_json_backlog(&s->backlog));
	qb_json_add(o, "retries", qb_json_retries(&s->retries));
	qb_json_add(o, "share", qb_json_share(&s->share, qb_value(QB_VALUE_SCALING, section, e)));
	qb_json_add(o, "events", qb_json_count(s->events));
	qb_json_add(o, "events_dropped", qb_json_count(s->events_dropped));
	qb_json_add(o, "reports_ambiguity", json_boolean(s->reports_ambiguity));
	qb_json_add(o, "leased", json_boolean(s->leased));
	qb_json_add(o, "may_lose", json_boolean(s->may_lose));
	qb_json_add(o, "identities", identities(s));
	qb_json_add(o, "settings", settings(e->meta));
	qb_json_add(versions, "qbench", text(e->meta->qbench_version));
	qb_json_add(versions, "server", text(e->meta->server_version));
	qb_json_add(o, "versions", versions);
	qb_json_add(o, "started_unix_s", qb_json_real((double)e->meta->started_wall_ns / 1e9));
	return o;
}

/* Median and range over the runs of a library. */
static void add_over_runs(json_t *o, const char *key, double *values, size_t n)
{
	json_t *range = json_object();
	struct qb_over_runs r = { 0, 0, 0 };

	if (n)
		r = qb_over_runs(values, n);
	qb_json_add(range, "median", n ? qb_json_real(r.median) : json_null());
	qb_json_add(range, "min", n ? qb_json_real(r.min) : json_null());
	qb_json_add(range, "max", n ? qb_json_real(r.max) : json_null());
	qb_json_add(o, key, range);
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
			json_array_append_new(runs, one_run(s, group->runs[i]));
		qb_json_add(o, "library", text(group->lib));
		qb_json_add(o, "scenario", text(s->scenario));
		qb_json_add(o, "variant", text(group->variant));
		qb_json_add(o, "runs", runs);
		qb_json_add(o, "over_runs", over_runs(group));
		json_array_append_new(list, o);
	}
}

static json_t *host(const struct qb_host *h)
{
	json_t *o = json_object();

	qb_json_add(o, "name", text(h->name));
	qb_json_add(o, "cpu", text(h->cpu));
	qb_json_add(o, "cores", qb_json_count(h->cores));
	qb_json_add(o, "cores_online", qb_json_count(h->cores_online));
	qb_json_add(o, "memory_bytes", qb_json_count(h->memory_bytes));
	qb_json_add(o, "kernel", text(h->kernel));
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
	qb_json_add(root, "format_version", qb_json_count(FORMAT_VERSION));
	qb_json_add(root, "qbench_version", text(r->qbench_version ? r->qbench_version : ""));
	qb_json_add(root, "host", host(&r->host));
	if (r->entries_count) {
		const struct qb_report_entry *e = &r->entries[0];

		qb_json_add(root, "scenario", text(e->summary->scenario));
		qb_json_add(root, "seed", seed(e->meta));
		qb_json_add(root, "settings", settings(e->meta));
	}
	for (size_t i = 0; i < m.sections_count; i++)
		add_libraries(list, &m.sections[i]);
	qb_json_add(root, "libraries", list);
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
