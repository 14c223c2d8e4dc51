/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that go by time: under which settings each one faced the kills, what it had not given back when the watch
 * ended, and what it lost with a worker's memory.  All of it comes from the settings in the record and the numbers, and
 * nothing from a library's name.
 */
#include "report/model.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

/* Of which the driver has written that nobody gives back what the dead held. */
#define PUBLISHED_TRACK "published adapter"

/* "river" of "river:fetch-cooldown=2ms" is in front of its settings' names. */
void qb_queue_setting(const struct qb_group *g, const char *name, char value[QB_SETTING_BYTES])
{
	char key[QB_SETTING_BYTES];

	snprintf(key, sizeof(key), "%.*s %.40s", (int)strcspn(g->lib, ":") % 40, g->lib, name);
	qb_setting(g->runs[0]->meta, key, value);
}

int qb_is_queue_setting(const struct qb_section *s, const char *key, size_t group)
{
	for (size_t i = 0; i < s->groups_count; i++) {
		const char *lib = s->groups[i].lib;
		size_t n = strcspn(lib, ":");

		if (strncmp(key, lib, n) == 0 && key[n] == ' ')
			return strncmp(s->groups[group].lib, lib, n) == 0 && strcspn(s->groups[group].lib, ":") == n ? 1 : -1;
	}
	return 0;
}

static int is_leased(const struct qb_group *g)
{
	for (size_t i = 0; i < g->runs_count; i++)
		if (g->runs[i]->summary->leased)
			return 1;
	return 0;
}

static int has_kills(const struct qb_group *g)
{
	for (size_t i = 0; i < g->runs_count; i++)
		if (g->runs[i]->summary->kills + g->runs[i]->summary->deaths_unplanned)
			return 1;
	return 0;
}

int qb_put_track(struct qb_strbuf *out, const struct qb_group *g, int lease)
{
	char value[QB_SETTING_BYTES];

	if (!is_leased(g)) {
		qb_strbuf_add(out, lease ? "-" : "no lease");
		return 0;
	}
	qb_setting(g->runs[0]->meta, "track", value);
	if (lease && strcmp(value, PUBLISHED_TRACK) == 0)
		strcpy(value, "ever");
	else if (lease)
		qb_queue_setting(g, "lease", value);
	qb_strbuf_printf(out, "%.40s", value);
	return has_kills(g);
}

/* In the hands of the dead at the end, and how long the last of those kills had been watched. */
static uint64_t not_back(const struct qb_group *g, uint64_t *watch_ns)
{
	uint64_t n = 0;

	*watch_ns = 0;
	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_summary *s = g->runs[i]->summary;

		n += s->leased ? s->stranded : 0;
		for (unsigned c = 0; c < QB_RESUME_CLASS_COUNT; c++)
			if (s->leased && s->resume[c].censored && s->resume[c].watch_ns_max > *watch_ns)
				*watch_ns = s->resume[c].watch_ns_max;
	}
	return n;
}

/* "Not waited for: river had not given back 4 jobs of dead workers when ...; it believes a silent worker for 1h ..." */
static void put_not_back(struct qb_strbuf *out, const struct qb_group *g)
{
	uint64_t watch_ns, lease_ns, n = not_back(g, &watch_ns);
	char lease[QB_SETTING_BYTES], track[QB_SETTING_BYTES], buf[32];

	if (n == 0)
		return;
	qb_setting(g->runs[0]->meta, "track", track);
	qb_queue_setting(g, "lease", lease);
	qb_strbuf_printf(out, " Not waited for: %s had not given back %llu job%s of dead workers when the watch ended", g->lib,
			 (unsigned long long)n, n == 1 ? "" : "s");
	if (watch_ns)
		qb_strbuf_printf(out, ", %s after the first of those kills", qb_format_duration(buf, sizeof(buf), watch_ns));
	if (strcmp(track, PUBLISHED_TRACK) == 0)
		qb_strbuf_printf(out, "; nobody in it ever does (%s)", track);
	else if (qb_parse_duration(lease, &lease_ns) == 0)
		qb_strbuf_printf(out, lease_ns > watch_ns ? "; it believes a silent worker for %s (%s)" :
				 ", although it believes a silent worker for no more than %s (%s)", lease, track);
	qb_strbuf_add(out, ".");
}

/* "river had not recorded 7 results yet (the oldest was 212 ms old) when the worker that had them was killed: ..." */
static void put_lost_results(struct qb_strbuf *out, const struct qb_group *g)
{
	uint64_t lost = 0, alive = 0, age_ns = 0, duplicates = 0, given_up = 0;
	char buf[32];

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_summary *s = g->runs[i]->summary;

		lost += s->results_lost;
		alive += s->results_lost_alive;
		duplicates += s->duplicates_unrecorded;
		given_up += s->given_up;
		age_ns = s->result_age_ns_max > age_ns ? s->result_age_ns_max : age_ns;
	}
	if (lost > alive) {
		qb_strbuf_printf(out, " %s had not recorded %llu result%s yet (the oldest was %s old) when the worker that had "
				 "them was killed", g->lib, (unsigned long long)(lost - alive), lost - alive == 1 ? "" : "s",
				 qb_format_duration(buf, sizeof(buf), age_ns));
		if (duplicates)
			qb_strbuf_printf(out, ": %llu job%s completed a second time for that", (unsigned long long)duplicates,
					 duplicates == 1 ? "" : "s");
		qb_strbuf_add(out, ".");
	}
	if (alive)
		qb_strbuf_printf(out, " %s lost %llu result%s of workers that lived on.", g->lib, (unsigned long long)alive,
				 alive == 1 ? "" : "s");
	if (given_up)
		qb_strbuf_printf(out, " %s discarded %llu job%s whose last attempt did not fail but died with its worker.", g->lib,
				 (unsigned long long)given_up, given_up == 1 ? "" : "s");
}

/* What has a due time behind the end, and what nobody came for. */
static void put_unfinished(struct qb_strbuf *out, const struct qb_group *g)
{
	uint64_t waiting = 0, queued = 0, held = 0;

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_summary *s = g->runs[i]->summary;

		waiting += s->waiting;
		queued += s->queued;
		held += s->held - s->stranded;
	}
	if (waiting)
		qb_strbuf_printf(out, " Not waited for: %llu job%s of %s that %s to be tried again later.",
				 (unsigned long long)waiting, waiting == 1 ? "" : "s", g->lib, waiting == 1 ? "was" : "were");
	/* It lives, and has nothing in hand any more: its connection, or the server, was lost in between. */
	if (held)
		qb_strbuf_printf(out, " %llu job%s of %s %s still held for workers that live.", (unsigned long long)held,
				 held == 1 ? "" : "s", g->lib, held == 1 ? "was" : "were");
	if (queued)
		qb_strbuf_printf(out, " %llu job%s of %s %s still queued at the end.", (unsigned long long)queued,
				 queued == 1 ? "" : "s", g->lib, queued == 1 ? "was" : "were");
}

void qb_put_time_outs(struct qb_strbuf *out, const struct qb_section *s)
{
	for (size_t i = 0; i < s->groups_count; i++) {
		put_lost_results(out, &s->groups[i]);
		put_not_back(out, &s->groups[i]);
		put_unfinished(out, &s->groups[i]);
	}
}
