/* SPDX-License-Identifier: Apache-2.0 */
/* What the numbers mean, said in sentences that are made of them. */
#include "report/cachetable.h"
#include "report/keytable.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* Over all runs of a library. */
struct total {
	const char *lib;
	uint64_t acknowledged, kills, deaths, lost, duplicates, stranded;
	uint64_t gone, gone_batches;
	uint64_t ambiguous, repeated_effects, silent_effects;
	uint64_t in_doubt, in_doubt_done, in_doubt_undone;
	int reports, parks;
};

static struct total total_of(const struct qb_group *g)
{
	struct total t = { .lib = g->name };

	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_summary *s = g->runs[i]->summary;

		t.acknowledged += s->acknowledged;
		t.kills += s->kills + s->server_kills;
		t.deaths += s->deaths_unplanned;
		t.lost += s->lost;
		t.gone += s->failover_gone;
		t.gone_batches += s->failover_gone_batches;
		t.duplicates += s->duplicates;
		/* Where they come back by a time-out, whoever does not wait for it has found nothing wrong. */
		t.stranded += s->leased ? 0 : s->stranded;
		t.ambiguous += s->ambiguous;
		t.repeated_effects += s->repeated_effects;
		t.silent_effects += s->silent_effects;
		t.in_doubt += s->in_doubt;
		t.in_doubt_done += s->in_doubt_done;
		t.in_doubt_undone += s->in_doubt_undone;
		t.reports |= s->reports_ambiguity;
		t.parks |= s->parks;
	}
	return t;
}

static int is_clean(const struct total *t)
{
	return t->lost + t->duplicates + t->stranded + t->gone_batches == 0;
}

/* "a", "a and b", "a, b and c": call it with i = 0..n-1. */
static void join(struct qb_strbuf *out, size_t i, size_t n)
{
	if (i > 0)
		qb_strbuf_add(out, i + 1 == n ? " and " : ", ");
}

static void put_count(struct qb_strbuf *out, uint64_t n, const char *one, const char *many)
{
	qb_strbuf_printf(out, "%llu %s", (unsigned long long)n, n == 1 ? one : many);
}

/* "Through 5 kills, shm and pgtx lost none of their 1278 acknowledged jobs ..." */
static void put_clean(struct qb_strbuf *out, const struct total *totals, size_t count)
{
	uint64_t acknowledged = 0, kills = 0, deaths = 0;
	size_t n = 0, i = 0;

	for (size_t k = 0; k < count; k++) {
		if (!is_clean(&totals[k]))
			continue;
		n++;
		acknowledged += totals[k].acknowledged;
		kills += totals[k].kills;
		deaths += totals[k].deaths;
	}
	if (n == 0)
		return;
	if (kills + deaths) {
		qb_strbuf_add(out, "Through ");
		if (kills)
			put_count(out, kills, "kill", "kills");
		if (kills && deaths)
			qb_strbuf_add(out, " and ");
		if (deaths)
			put_count(out, deaths, "death that nobody planned",
				  "deaths that nobody planned");
		qb_strbuf_add(out, n > 1 ? " in all, " : ", ");
	}
	for (size_t k = 0; k < count; k++) {
		if (!is_clean(&totals[k]))
			continue;
		join(out, i++, n);
		qb_strbuf_add(out, totals[k].lib);
	}
	qb_strbuf_add(out, " lost none of ");
	put_count(out, acknowledged, "acknowledged job", "acknowledged jobs");
	qb_strbuf_add(out, " and completed none of them twice.");
}

static void put_faults(struct qb_strbuf *out, const struct total *t)
{
	size_t n = (t->lost > 0) + (t->duplicates > 0) + (t->stranded > 0) + (t->gone_batches > 0), i = 0;

	if (out->bytes)
		qb_strbuf_add(out, " ");
	qb_strbuf_printf(out, "Of %llu acknowledged jobs %s ", (unsigned long long)t->acknowledged,
			 t->lib);
	if (t->lost) {
		join(out, i++, n);
		qb_strbuf_printf(out, "lost %llu", (unsigned long long)t->lost);
	}
	if (t->gone_batches) {
		join(out, i++, n);
		qb_strbuf_printf(out, "lost the durable outcomes of at least %llu, for good, in a failover of Postgres",
				 (unsigned long long)t->gone);
	}
	if (t->duplicates) {
		join(out, i++, n);
		qb_strbuf_printf(out, "completed %llu more than once",
				 (unsigned long long)t->duplicates);
	}
	if (t->stranded) {
		join(out, i++, n);
		qb_strbuf_printf(out, "left %llu with a process that is dead",
				 (unsigned long long)t->stranded);
	}
	qb_strbuf_add(out, ".");
}

static void put_doubt(struct qb_strbuf *out, const struct total *t)
{
	if (t->in_doubt) {
		qb_strbuf_printf(out, "%s asked Postgres about ", t->lib);
		put_count(out, t->in_doubt, "attempt", "attempts");
		qb_strbuf_printf(out, ", of which %llu turned out done and %llu not, and left ",
				 (unsigned long long)t->in_doubt_done, (unsigned long long)t->in_doubt_undone);
	} else {
		qb_strbuf_printf(out, "%s left ", t->lib);
	}
	if (t->ambiguous == 0) {
		qb_strbuf_add(out, "no job in doubt");
	} else {
		put_count(out, t->ambiguous, "job", "jobs");
		qb_strbuf_add(out, " in doubt");
		if (t->reports)
			qb_strbuf_printf(out, " and named %s%s", t->ambiguous == 1 ? "it" : "each",
					 t->parks ? ", to be decided by a person" : "");
		else
			qb_strbuf_add(out, " without a word");
	}
	if (t->repeated_effects) {
		qb_strbuf_printf(out, ", and the effect of %llu happened twice",
				 (unsigned long long)t->repeated_effects);
		if (t->reports && t->silent_effects)
			qb_strbuf_printf(out, " (%llu without a warning)",
					 (unsigned long long)t->silent_effects);
	}
}

/* What was started when its process died, and nobody knows whether it was done. */
static void put_doubts(struct qb_strbuf *out, const struct total *totals, size_t count)
{
	uint64_t any = 0;

	for (size_t i = 0; i < count; i++)
		any += totals[i].ambiguous + totals[i].repeated_effects + totals[i].in_doubt;
	if (!any)
		return;
	qb_strbuf_add(out, " Done or not? ");
	for (size_t i = 0; i < count; i++) {
		qb_strbuf_add(out, i ? "; " : "");
		put_doubt(out, &totals[i]);
	}
	qb_strbuf_add(out, ".");
}

/* A failover of Postgres that lost what had been acknowledged. */
static void put_failovers(struct qb_strbuf *out, const struct qb_report_entry *e)
{
	const struct qb_summary *s = e->summary;

	if (!s->failover_resent)
		return;
	qb_strbuf_add(out, " ");
	put_count(out, s->failover_resent, "durable acknowledgement of", "durable acknowledgements of");
	qb_strbuf_printf(out, " %s %s lost by %s of Postgres and sent again", s->run_id, s->failover_resent == 1 ? "was" : "were",
			 s->failovers_behind == 1 ? "the failover" : "failovers");
	qb_strbuf_add(out, ".");
}

static int by_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* As in the table: the median over the runs. 0 when no run has a sample of the class. */
static int median_of(const struct qb_group *g, unsigned cls, uint64_t *ns, uint64_t *watch_ns)
{
	uint64_t *medians = qb_xcalloc(g->runs_count, sizeof(*medians));
	size_t n = 0;

	*watch_ns = UINT64_MAX;
	for (size_t i = 0; i < g->runs_count; i++) {
		const struct qb_resume *r = &g->runs[i]->summary->resume[cls];

		if (r->censored && r->watch_ns_min < *watch_ns)
			*watch_ns = r->watch_ns_min;
		if (r->ns.count + r->censored)
			medians[n++] = r->median_ns;
	}
	qsort(medians, n, sizeof(*medians), by_ns);
	if (n)
		*ns = medians[n / 2];
	free(medians);
	return n > 0;
}

/* How long a job waited that somebody had in hand; else one that waited for its first start. */
static void put_times(struct qb_strbuf *out, const struct qb_section *s)
{
	static const struct { unsigned cls; const char *text; } classes[] = {
		{ QB_RESUME_IN_FLIGHT_FIRST, "A job that was in hand at the kill ran again" },
		{ QB_RESUME_NEVER_STARTED, "A job that was queued at the kill was picked up" },
	};
	uint64_t ns, watch_ns, least = UINT64_MAX, most = 0;
	size_t c = 0, n = 0, i = 0, leased = 0, compared = 0;

	for (; c < 2 && n == 0; c++)
		for (size_t g = 0; g < s->groups_count; g++)
			n += (size_t)median_of(&s->groups[g], classes[c].cls, &ns, &watch_ns);
	if (n == 0)
		return;
	c--;
	qb_strbuf_printf(out, " %s ", classes[c].text);
	for (size_t g = 0; g < s->groups_count; g++) {
		char buf[32];

		if (!median_of(&s->groups[g], classes[c].cls, &ns, &watch_ns))
			continue;
		join(out, i++, n);
		if (ns == QB_BEYOND_WATCH)
			qb_strbuf_printf(out, "not within the %s of the watch on %s",
					 qb_format_duration(buf, sizeof(buf), watch_ns),
					 s->groups[g].name);
		else
			qb_strbuf_printf(out, "after %s on %s",
					 qb_format_duration(buf, sizeof(buf), ns),
					 s->groups[g].name);
		/* How long a lease is says nothing about how fast anybody is. */
		if (s->groups[g].runs[0]->summary->leased) {
			leased++;
			continue;
		}
		compared++;
		least = ns < least ? ns : least;
		most = ns > most ? ns : most;
	}
	qb_strbuf_add(out, n > 1 ? " (medians)" : " (median)");
	if (compared > 1 && most != QB_BEYOND_WATCH && least > 0 && most / least >= 2)
		qb_strbuf_printf(out, ", up to %.0f times as long%s", (double)most / (double)least,
				 leased ? " where no lease decides" : "");
	qb_strbuf_add(out, leased ? "; a lease is a setting, and no speed." : ".");
}

static void put_broken(struct qb_strbuf *out, const struct qb_report_entry *e)
{
	const struct qb_summary *s = e->summary;
	unsigned n = 0;

	if (e->interrupted)
		qb_strbuf_printf(out, " Run %s was cut short: its numbers are of a part.",
				 s->run_id);
	for (unsigned i = 0; i < s->identities_count; i++) {
		const struct qb_identity *id = &s->identity[i];

		if (id->holds)
			continue;
		if (n++ == 0)
			qb_strbuf_printf(out, " The account of %s does not add up: ", s->run_id);
		qb_strbuf_printf(out, "%s\"%s\" (%lld against %lld)", n > 1 ? ", " : "", id->name,
				 (long long)id->left, (long long)id->right);
	}
	qb_strbuf_add(out, n ? "." : "");
}

void qb_findings(const struct qb_section *s, struct qb_strbuf *out)
{
	struct total *totals = qb_xcalloc(s->groups_count, sizeof(*totals));
	struct qb_strbuf text = { 0 };

	for (size_t i = 0; i < s->groups_count; i++)
		totals[i] = total_of(&s->groups[i]);
	put_clean(&text, totals, s->groups_count);
	for (size_t i = 0; i < s->groups_count; i++)
		if (!is_clean(&totals[i]))
			put_faults(&text, &totals[i]);
	put_doubts(&text, totals, s->groups_count);
	put_times(&text, s);
	qb_put_time_outs(&text, s);
	for (size_t i = 0; i < s->groups_count; i++)
		for (size_t r = 0; r < s->groups[i].runs_count; r++) {
			put_failovers(&text, s->groups[i].runs[r]);
			put_broken(&text, s->groups[i].runs[r]);
		}
	qb_strbuf_add(out, qb_strbuf_text(&text));
	qb_strbuf_free(&text);
	free(totals);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

void qb_section_settings(const struct qb_section *s, struct qb_strbuf *out)
{
	const struct qb_meta *m = s->groups[0].runs[0]->meta;
	char buf[32];

	qb_format_duration(buf, sizeof(buf), m->duration_ns);
	if (qb_section_has_keys(s)) {
		char keys[QB_SETTING_BYTES], processes[QB_SETTING_BYTES];

		qb_setting(m, "keys", keys);
		qb_setting(m, "key processes", processes);
		qb_strbuf_printf(out, "%s keys, %s processes that enqueue, seed %llu, %u worker%s", keys, processes,
				 (unsigned long long)m->seed, m->workers, plural(m->workers));
	} else if (qb_section_has_cache(s)) {
		char callers[QB_SETTING_BYTES], processes[QB_SETTING_BYTES];

		qb_setting(m, "cache callers", callers);
		qb_setting(m, "cache processes", processes);
		qb_strbuf_printf(out, "%s processes of %s callers each, seed %llu, %u worker%s", processes, callers,
				 (unsigned long long)m->seed, m->workers, plural(m->workers));
	} else {
		qb_strbuf_printf(out, "%s at %u job%s/s, %u tenant%s, seed %llu, ", buf, m->rate, plural(m->rate), m->tenants,
				 plural(m->tenants), (unsigned long long)m->seed);
		if (s->lib && m->workers)
			qb_strbuf_printf(out, "after a backlog of %llu jobs for each process",
					 (unsigned long long)m->backlog / m->workers);
		else
			qb_strbuf_printf(out, "%u worker%s", m->workers, plural(m->workers));
	}
	if (m->slots > 1)
		qb_strbuf_printf(out, " with %u slots each", m->slots);
	qb_strbuf_printf(out, "; acknowledged when %s, ambiguous jobs: %s, retries: %s",
			 strcmp(m->ack, "shm") == 0 ? "in shared memory" : m->ack, m->ambiguous,
			 m->backoff);
}

void qb_section_versions(const struct qb_report *r, const struct qb_section *s,
			 struct qb_strbuf *out)
{
	const struct qb_meta *m = s->groups[0].runs[0]->meta;
	const char *version = m->qbench_version[0] ? m->qbench_version : r->qbench_version;
	char line[256];

	qb_strbuf_printf(out, "qbench %s", version ? version : "");
	if (m->server_version[0])
		qb_strbuf_printf(out, ", Postgres %s", m->server_version);
	qb_host_line(&r->host, line, sizeof(line));
	if (line[0])
		qb_strbuf_printf(out, " on %s", line);
}
