/* SPDX-License-Identifier: Apache-2.0 */
/* What a run is, for its record: whoever reads that needs nothing else. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/host.h"
#include "run/driver.h"
#include "run/server.h"

/*
 * Under which conditions a queue that goes by time faces the kills: as it is shipped, with the lease that all are given or
 * one of its own, or in the adapter that was published, which has none.
 */
static void describe_track(struct qb_driver *d, const uint64_t *values)
{
	const struct qb_queue_option *o = d->ops->options;
	char track[96] = "shipped defaults", adapter[32] = "", text[64];
	uint64_t presets[QB_QUEUE_OPTIONS_MAX];

	if (qb_queue_options_parse(d->ops, "", presets, NULL) < 0)
		return;
	for (size_t i = 0; o[i].name; i++) {
		if (values[i] == presets[i])
			continue;
		qb_queue_option_text(&o[i], values[i], text, sizeof(text));
		if (strcmp(o[i].name, QB_QUEUE_ADAPTER_OPTION) == 0)
			snprintf(adapter, sizeof(adapter), "%.30s", text);
		if (strcmp(o[i].name, QB_QUEUE_LEASE_OPTION) == 0)
			snprintf(track, sizeof(track), "%s lease %.30s", d->cfg->lease_ns ? "matched" : "own", text);
	}
	if (strcmp(adapter, QB_QUEUE_ADAPTER_PUBLISHED) == 0)
		strcpy(track, "published adapter");
	else if (adapter[0])
		snprintf(track + strlen(track), sizeof(track) - strlen(track), ", %s adapter", adapter);
	qb_meta_setting(&d->result->meta, "track", track);
}

/* Every setting of the queue, also those that are as they are shipped. */
static void describe_queue(struct qb_driver *d)
{
	const struct qb_queue_option *o = d->ops->options;
	uint64_t values[QB_QUEUE_OPTIONS_MAX];

	if (!o || qb_queue_options_parse(d->ops, d->spec.options, values, NULL) < 0)
		return;
	for (size_t i = 0; o[i].name; i++) {
		char key[32], value[96];

		snprintf(key, sizeof(key), "%s %s", d->ops->name, o[i].name);
		qb_meta_setting(&d->result->meta, key, qb_queue_option_text(&o[i], values[i], value, sizeof(value)));
	}
	if (d->ops->flags & QB_QUEUE_LEASED)
		describe_track(d, values);
}

static void setting_u(struct qb_meta *m, const char *key, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	qb_meta_setting(m, key, text);
}

/* A matter of the library's adapter: only "fixed" has none. */
int qb_run_is_faithful(const struct qb_driver *d)
{
	const struct qb_queue_option *o = d->ops->options;
	uint64_t values[QB_QUEUE_OPTIONS_MAX];
	char text[64];

	if (!d->ops->addressed->is_faithful || !o || qb_queue_options_parse(d->ops, d->spec.options, values, NULL) < 0)
		return 0;
	for (size_t i = 0; o[i].name; i++)
		if (strcmp(o[i].name, QB_QUEUE_ADAPTER_OPTION) == 0)
			return strcmp(qb_queue_option_text(&o[i], values[i], text, sizeof(text)), QB_QUEUE_ADAPTER_FIXED) != 0;
	return 0;
}

static void describe_cache(struct qb_driver *d)
{
	const struct qb_scenario_cache *c = &d->sc->cache;
	struct qb_meta *m = &d->result->meta;
	char text[32];

	setting_u(m, "cache addresses", c->addresses);
	setting_u(m, "cache requests", c->requests);
	snprintf(text, sizeof(text), "%g", c->skew);
	qb_meta_setting(m, "cache skew", text);
	setting_u(m, "cache failing", c->failing);
	setting_u(m, "cache rounds", c->rounds);
	setting_u(m, "cache kills", c->kills);
	setting_u(m, "cache processes", c->processes);
	setting_u(m, "cache callers", c->callers);
	snprintf(text, sizeof(text), "%llums", (unsigned long long)(c->deadline_ns / QB_NS_PER_MS));
	qb_meta_setting(m, "cache deadline", text);
	setting_u(m, "cache memory", c->memory_bytes);
	setting_u(m, "cache durable", c->durable);
	setting_u(m, "cache stale_errors", c->stale_errors);
	setting_u(m, "cache faithful", (uint64_t)qb_run_is_faithful(d));
}

void qb_describe_run(struct qb_driver *d, unsigned max_attempts)
{
	struct qb_meta *m = &d->result->meta;
	const struct qb_scenario *sc = d->sc;
	char text[96];

	snprintf(m->lib, sizeof(m->lib), "%s", d->spec.label);
	memcpy(m->scenario, sc->name, sizeof(sc->name) < sizeof(m->scenario) ? sizeof(sc->name) : sizeof(m->scenario));
	m->duration_ns = sc->duration_ns;
	m->rate = sc->rate;
	m->tenants = sc->tenants;
	m->tenant_skew = sc->tenant_skew;
	m->seed = sc->seed;
	m->workers = sc->workers ? sc->workers : QB_SCENARIO_WORKERS_DEFAULT;
	m->slots = (uint32_t)d->cfg->slots;
	m->backlog = sc->backlog;
	if (sc->burst.end_ns > sc->burst.start_ns) {
		m->burst_start_ns = sc->burst.start_ns;
		m->burst_end_ns = sc->burst.end_ns;
	}
	snprintf(m->variant, sizeof(m->variant), "%s", d->cfg->variant ? d->cfg->variant : "");
	strcpy(m->ack, d->ops->flags & QB_QUEUE_IN_SEGMENT && d->cfg->ack == QB_ACK_SHM ? "shm" : "durable");
	strcpy(m->ambiguous, !(d->ops->flags & QB_QUEUE_IN_SEGMENT) ? "retry" :
	       d->cfg->ambiguous == QB_EFFECT_OPAQUE ? "park" :
	       d->cfg->ambiguous == QB_EFFECT_TRANSACTIONAL ? "resolve" : "retry");
	strcpy(m->backoff, d->cfg->backoff == QB_BACKOFF_POW4 ? "pow4" : "immediate");
	snprintf(m->qbench_version, sizeof(m->qbench_version), "%s", PACKAGE_VERSION);
	snprintf(m->server_version, sizeof(m->server_version), "%s", qb_server_version(d->server));
	struct utsname host;

	if (uname(&host) == 0)
		snprintf(m->host, sizeof(m->host), "%.60s %.30s", host.sysname, host.release);
	m->kinds_count = sc->kinds_count < QB_META_KINDS_MAX ? sc->kinds_count : QB_META_KINDS_MAX;
	for (uint32_t i = 0; i < m->kinds_count; i++)
		snprintf(m->kinds[i], sizeof(m->kinds[i]), "%s", sc->kinds[i].name);
	m->error_classes_count = QB_ERROR_CLASS_COUNT;
	for (unsigned i = 0; i < QB_ERROR_CLASS_COUNT; i++)
		snprintf(m->error_classes[i], sizeof(m->error_classes[i]), "%s", qb_error_class_name(i));
	int on_keys = sc->shape == QB_SHAPE_KEYS;

	int on_cache = sc->shape == QB_SHAPE_CACHE;

	snprintf(text, sizeof(text), "%u", on_keys ? sc->keys.keys : on_cache ? sc->cache.kills : sc->faults.kills);
	qb_meta_setting(m, "kills planned", text);
	qb_meta_setting(m, "victim planned", qb_victim_name(on_keys || (on_cache && sc->cache.kills) ? QB_VICTIM_WORKER : sc->faults.victim));
	if (on_keys) {
		snprintf(text, sizeof(text), "%u", sc->keys.keys);
		qb_meta_setting(m, "keys", text);
		snprintf(text, sizeof(text), "%u", sc->keys.processes);
		qb_meta_setting(m, "key processes", text);
		snprintf(text, sizeof(text), "%llums", (unsigned long long)(sc->keys.watch_ns / QB_NS_PER_MS));
		qb_meta_setting(m, "key watch", text);
	}
	if (sc->shape == QB_SHAPE_CACHE)
		describe_cache(d);
	snprintf(text, sizeof(text), "%u", max_attempts);
	qb_meta_setting(m, "max_attempts", text);
	qb_meta_setting(m, "server", qb_server_is_private(d->server) ? "private" : "given");
	snprintf(text, sizeof(text), "%zu", d->plan.count);
	qb_meta_setting(m, "planned", text);
	struct qb_host facts;
	char key[32], value[96];

	qb_host_read(&facts);
	for (unsigned i = 0; qb_host_fact(&facts, i, key, sizeof(key), value, sizeof(value)); i++)
		qb_meta_setting(m, key, value);
	for (size_t i = 0; i < d->cfg->settings_count; i++)
		qb_meta_setting(m, d->cfg->settings[i].key, d->cfg->settings[i].value);
	describe_queue(d);
}
