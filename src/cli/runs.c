/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/runs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cli/interrupt.h"
#include "queue/queue.h"
#include "report/report.h"
#include "run/run.h"
#include "shm/status.h"

#define LIBS_MAX 16
#define OPTIONS_MAX 64
/* Of a private server, beside those of the workers: driver, enqueuers, syncer, set-up, the user's psql. */
#define SPARE_CONNECTIONS 30

/* One of several runs of a library that a scenario asks for. */
struct variant {
	char text[32];
	struct qb_scenario sc;
	uint64_t slots, backoff, jitter_permille;
};

struct runs {
	struct qb_ctx *ctx;
	struct qb_run_config *cfg;
	struct qb_scenario sc;
	char *libs_text, *libs_preset;
	struct qb_queue_spec libs[LIBS_MAX];
	size_t libs_count;
	struct qb_server *server;
	struct qb_run_result *results;
	struct qb_report_entry *entries;
	size_t count;                   /* results that are there */
	size_t max;                     /* that there can be */
	struct qb_meta_setting settings[OPTIONS_MAX];
	size_t settings_count;
	int status;
};

static void raise_status(struct runs *r, int status)
{
	if (status > r->status)
		r->status = status;
}

/* A worker at a long job must not be taken for dead. */
static int set_lease(const struct runs *r, struct qb_queue_spec *spec, struct qb_err *err)
{
	static const struct qb_queue_option as_time = { .type = QB_QUEUE_DURATION };
	uint64_t longest_ns = 0;
	char text[32];

	if (r->cfg->lease_ns == 0)
		return 0;
	for (uint32_t i = 0; i < r->sc.kinds_count; i++)
		if (r->sc.kinds[i].work_ms_max * QB_NS_PER_MS > longest_ns)
			longest_ns = r->sc.kinds[i].work_ms_max * QB_NS_PER_MS;
	if (r->cfg->lease_ns <= longest_ns)
		return qb_err_set(err, QB_EUSAGE, "--lease must be longer than the longest job of the scenario, which takes %.1f s",
				  (double)longest_ns / 1e9);
	qb_queue_option_text(&as_time, r->cfg->lease_ns, text, sizeof(text));
	return qb_queue_spec_set(spec, QB_QUEUE_LEASE_OPTION, text, err);
}

/* Nobody named libraries: then all that fill a cache, for a scenario on one. */
static int choose_libs(struct runs *r, struct qb_err *err)
{
	struct qb_strbuf names = { 0 };

	if (r->sc.shape != QB_SHAPE_CACHE || qb_opts_given(&r->ctx->opts, "lib"))
		return 0;
	for (size_t i = 0; qb_queues[i]; i++)
		if (qb_queues[i]->addressed)
			qb_strbuf_printf(&names, "%s%s", names.bytes ? "," : "", qb_queues[i]->name);
	if (!names.bytes)
		return qb_err_set(err, QB_EUSAGE, "scenario %s fills a cache, and no library here does", r->sc.name);
	r->libs_preset = names.data;
	r->cfg->libs = r->libs_preset;
	return 0;
}

static int split_libs(struct runs *r, struct qb_err *err)
{
	char *save = NULL;

	r->libs_text = qb_xstrdup(r->cfg->libs);
	for (char *name = strtok_r(r->libs_text, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (r->libs_count == LIBS_MAX)
			return qb_err_set(err, QB_EUSAGE, "at most %d libraries in one invocation", LIBS_MAX);
		if (qb_queue_spec_parse(name, &r->libs[r->libs_count], err) < 0)
			return QB_EUSAGE;
		if (set_lease(r, &r->libs[r->libs_count], err) < 0)
			return QB_EUSAGE;
		const struct qb_queue_ops *ops = r->libs[r->libs_count].ops;

		if (r->sc.shape == QB_SHAPE_KEYS && !ops->enqueue_unique)
			return qb_err_set(err, QB_EUSAGE, "scenario %s enqueues jobs with unique keys, and %s takes none; "
					  "'qbench list' says which library does", r->sc.name, ops->name);
		if (r->sc.shape == QB_SHAPE_CACHE && !ops->addressed)
			return qb_err_set(err, QB_EUSAGE, "scenario %s fills a cache, and %s takes no work by address; "
					  "'qbench list' says which library does", r->sc.name, ops->name);
		if (r->sc.faults.kills && r->sc.faults.victim == QB_VICTIM_SYNCER &&
		    !(ops->flags & QB_QUEUE_NEEDS_SYNCER))
			return qb_err_set(err, QB_EUSAGE, "--victim=syncer: %s has no syncer; choose --lib=shm", name);
		if (r->sc.faults.kills && r->sc.faults.victim == QB_VICTIM_POSTGRES && r->cfg->postgres_url)
			return qb_err_set(err, QB_EUSAGE, "--victim=postgres: only a private server is killed; leave "
					  "--postgres-url away");
		r->libs_count++;
	}
	return 0;
}

/* A job can be asked about in Postgres only if its effect is there. */
static int place_effects(struct runs *r, struct qb_err *err)
{
	if (r->cfg->ambiguous != QB_EFFECT_TRANSACTIONAL)
		return 0;
	if (qb_opts_given(&r->ctx->opts, "effects") && r->cfg->effects != QB_EFFECTS_IN_POSTGRES)
		return qb_err_set(err, QB_EUSAGE, "--ambiguous=resolve needs --effects=postgres: Postgres can say what "
				  "became of a job only if its effect is there");
	r->cfg->effects = QB_EFFECTS_IN_POSTGRES;
	return 0;
}

/* What decides a result goes into its record; where it is shown does not. */
static void add_setting(void *opaque, const char *name, const char *value, enum qb_origin origin)
{
	struct runs *r = opaque;

	if (r->settings_count == OPTIONS_MAX || !*value)
		return;
	struct qb_meta_setting *s = &r->settings[r->settings_count++];

	(void)origin;
	snprintf(s->key, sizeof(s->key), "%s", name);
	snprintf(s->value, sizeof(s->value), "%s", value);
}

/* 0 behind the last one of that library. */
static int make_variant(const struct runs *r, const struct qb_queue_spec *lib, size_t i, struct variant *v)
{
	const struct qb_scenario *sc = &r->sc;
	const struct qb_opts *opts = &r->ctx->opts;
	int jitters = sc->retries.jitter.count && !qb_opts_given(opts, "jitter") && !qb_opts_given(opts, "backoff");

	*v = (struct variant){ .sc = *sc, .slots = r->cfg->slots, .backoff = r->cfg->backoff,
			       .jitter_permille = r->cfg->jitter_permille };
	if (sc->processes.counts.count) {
		if (i >= sc->processes.counts.count)
			return 0;
		v->sc.workers = sc->processes.counts.values[i];
		v->sc.backlog = v->sc.workers * sc->processes.backlog;
		if (sc->processes.slots && !qb_opts_given(opts, "slots"))
			v->slots = sc->processes.slots;
		snprintf(v->text, sizeof(v->text), "%u process%s", v->sc.workers, v->sc.workers == 1 ? "" : "es");
		return 1;
	}
	/* What the queue decides by itself no setting of ours changes. */
	if (!jitters || lib->ops->flags & QB_QUEUE_OWN_RETRIES)
		return i == 0;
	if (i >= sc->retries.jitter.count)
		return 0;
	v->backoff = QB_BACKOFF_POW4;
	v->jitter_permille = 10ull * sc->retries.jitter.values[i];
	snprintf(v->text, sizeof(v->text), "jitter %u %%", sc->retries.jitter.values[i]);
	return 1;
}

/* What the record says of a setting that the scenario decides. */
static void replace_setting(struct runs *r, const char *name, const char *value)
{
	for (size_t i = 0; i < r->settings_count; i++)
		if (strcmp(r->settings[i].key, name) == 0)
			snprintf(r->settings[i].value, sizeof(r->settings[i].value), "%s", value);
}

static void apply_variant(struct runs *r, const struct variant *v)
{
	char text[32];

	r->cfg->variant = v->text;
	r->cfg->slots = v->slots;
	r->cfg->backoff = v->backoff;
	r->cfg->jitter_permille = v->jitter_permille;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)v->slots);
	replace_setting(r, "slots", text);
	replace_setting(r, "backoff", v->backoff == QB_BACKOFF_POW4 ? "pow4" : "none");
	snprintf(text, sizeof(text), "%.4g", (double)v->jitter_permille / 10);
	replace_setting(r, "jitter", text);
}

/* Of the run that needs the most. */
static uint64_t connections(const struct runs *r)
{
	uint64_t workers = r->sc.workers ? r->sc.workers : QB_SCENARIO_WORKERS_DEFAULT;
	uint64_t slots = r->cfg->slots > r->sc.processes.slots ? r->cfg->slots : r->sc.processes.slots;
	/* A slot's, one to listen, one for what goes on beside the jobs. */
	uint64_t each = slots + 2;

	for (uint32_t i = 0; i < r->sc.processes.counts.count; i++)
		if (r->sc.processes.counts.values[i] > workers)
			workers = r->sc.processes.counts.values[i];

	/* Twice: the connections of killed workers take a moment to go. */
	return 2 * (workers + r->cfg->standbys) * each + qb_scenario_keyset(&r->sc).processes +
	       3 * qb_scenario_cacheset(&r->sc).callers + SPARE_CONNECTIONS;
}

static void fill_report(const struct runs *r, const struct qb_report_entry *entries, size_t count,
			struct qb_report *report)
{
	memset(report, 0, sizeof(*report));
	qb_host_read(&report->host);
	report->qbench_version = PACKAGE_VERSION;
	report->entries = entries;
	report->entries_count = count;
	report->colour = 0;
	(void)r;
}

/* A run came to its end, or as far as it could: keep its numbers and write them. */
static void keep_result(struct runs *r, size_t idx)
{
	struct qb_run_result *result = &r->results[idx];
	struct qb_report report;
	struct qb_err err = { 0 };
	char path[640];

	r->entries[idx] = (struct qb_report_entry){
		.summary = &result->summary, .meta = &result->meta, .dir = result->dir,
		.load = result->load, .interrupted = result->interrupted,
	};
	r->count = idx + 1;
	snprintf(path, sizeof(path), "%s/summary.json", result->dir);
	fill_report(r, &r->entries[idx], 1, &report);
	if (qb_report_write(&report, qb_renderer_find("json", NULL), path, &err) < 0)
		raise_status(r, qb_cli_fail(&err));
	if (result->segment_path[0])
		qb_log(QB_LOG_INFO, "the segment stays in %s: see 'qbench inspect'", result->segment_path);
}

/* 0 to go on with the next run. */
static int one_run(struct runs *r, const char *lib, const struct variant *v, unsigned run_no)
{
	struct qb_run_result *result = &r->results[r->count];
	struct qb_err err = { 0 };
	int rc = qb_run_one(r->cfg, &v->sc, lib, run_no, r->server, result, &err);
	int has_numbers = result->summary.run_id[0] != 0;

	if (rc < 0 && rc != QB_EINTR)
		qb_log(QB_LOG_ERROR, "%s", err.text);
	if (has_numbers)
		keep_result(r, r->count);
	else
		qb_meta_free(&result->meta);
	if (rc == 0)
		return 0;
	raise_status(r, rc == QB_EINTR ? QB_EXIT_INTERRUPTED : rc == QB_EVERIFY ? QB_EXIT_VERIFY :
			result->started || r->count ? QB_EXIT_ERROR : QB_EXIT_USAGE);
	return rc == QB_EVERIFY ? 0 : rc;
}

static int print_report(struct runs *r)
{
	char *text = qb_xstrdup(r->cfg->format), *save = NULL;
	struct qb_strbuf out = { 0 };
	struct qb_report report;

	fill_report(r, r->entries, r->count, &report);
	for (char *name = strtok_r(text, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		const struct qb_renderer *renderer = qb_renderer_find(name, NULL);

		if (renderer)
			renderer->render(&report, &out);
	}
	size_t written = fwrite(qb_strbuf_text(&out), 1, out.bytes, stdout);
	int rc = written == out.bytes ? 0 : -EIO;

	qb_strbuf_free(&out);
	free(text);
	return rc;
}

static void open_server(struct runs *r, struct qb_err *err)
{
	r->cfg->counts_statements = r->sc.processes.counts.count > 0;
	if (!r->cfg->postgres_url)
		qb_log(QB_LOG_INFO, "starting a private Postgres");
	int rc = qb_server_open(r->cfg, connections(r), &r->server, err);

	if (rc == QB_EINTR)
		raise_status(r, QB_EXIT_INTERRUPTED);
	else if (rc < 0) {
		qb_cli_fail(err);
		raise_status(r, QB_EXIT_USAGE);
	}
}

/* They take memory, and may be all that is left of somebody's crash. */
static void mention_leftovers(const struct runs *r)
{
	char first[512];
	unsigned count = qb_leftover_segments(r->cfg->segment_dir, first, sizeof(first));

	if (count)
		qb_log(QB_LOG_INFO, "%u segment%s of runs that were killed in %s, for example %s: look with 'qbench inspect', "
		       "finish with 'qbench recover', or remove the directory", count, count == 1 ? "" : "s",
		       r->cfg->segment_dir, first);
}

static void all_runs(struct runs *r)
{
	struct variant v;

	for (size_t lib = 0; lib < r->libs_count; lib++)
		for (size_t i = 0; make_variant(r, &r->libs[lib], i, &v); i++) {
			struct qb_run_config before = *r->cfg;

			apply_variant(r, &v);
			for (unsigned n = 0; n < r->cfg->runs; n++)
				if (one_run(r, r->libs[lib].label, &v, n) != 0)
					return;
			/* The next one is made from what was asked. */
			*r->cfg = before;
		}
}

/* --observe is the same question, and stronger than the scenario's own answer. */
static int watch_keys(struct runs *r, struct qb_err *err)
{
	if (r->sc.shape != QB_SHAPE_KEYS || !qb_opts_given(&r->ctx->opts, "observe"))
		return 0;
	r->sc.keys.watch_ns = r->cfg->observe_ns > QB_NS_PER_S / 10 ? r->cfg->observe_ns : QB_NS_PER_S / 10;
	return qb_scenario_check(&r->sc, err);
}

int qb_cli_runs(struct qb_ctx *ctx)
{
	struct runs r = { .ctx = ctx, .cfg = &ctx->opts.run };
	struct qb_err err = { 0 };

	if (qb_scenario_load(r.cfg->scenario, &r.sc, &err) < 0 ||
	    qb_scenario_override(&r.sc, &r.cfg->change, &err) < 0 || watch_keys(&r, &err) < 0 || choose_libs(&r, &err) < 0 ||
	    split_libs(&r, &err) < 0 || place_effects(&r, &err) < 0) {
		free(r.libs_text);
		free(r.libs_preset);
		return qb_cli_usage(ctx->cmd, &err);
	}
	qb_opts_each(ctx->cmd, &ctx->opts, add_setting, &r);
	r.cfg->settings = r.settings;
	r.cfg->settings_count = r.settings_count;
	r.max = r.libs_count * r.cfg->runs * QB_SCENARIO_LIST_MAX;
	r.results = qb_xcalloc(r.max, sizeof(*r.results));
	r.entries = qb_xcalloc(r.max, sizeof(*r.entries));
	qb_catch_interrupts();
	mention_leftovers(&r);
	open_server(&r, &err);
	if (r.server)
		all_runs(&r);
	char log_copy[640] = "";

	if (r.count)
		snprintf(log_copy, sizeof(log_copy), "%s/server.log", r.results[r.count - 1].dir);
	qb_server_close(r.server, log_copy[0] ? log_copy : NULL);
	if (r.count && print_report(&r) < 0)
		raise_status(&r, QB_EXIT_ERROR);
	for (size_t i = 0; i < r.count; i++)
		qb_meta_free(&r.results[i].meta);
	free(r.entries);
	free(r.results);
	free(r.libs_text);
	free(r.libs_preset);
	return qb_cli_flush(r.status);
}
