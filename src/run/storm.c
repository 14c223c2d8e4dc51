/* SPDX-License-Identifier: Apache-2.0 */
#include "run/storm.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "record/load.h"
#include "run/floor.h"
#include "run/truth.h"
#include "shm/status.h"
#include "stats/summary.h"

#define KILLS_PER_S 50
#define MARGIN_NS (300 * QB_NS_PER_MS)

/* So that a few rounds in a row have everything in them. */
static void choose_settings(struct qb_storm *s, struct qb_scenario_change *change)
{
	static const uint64_t slots[] = { 1, 4, 2, 8, 3 };
	static const uint64_t classes[] = {
		QB_EFFECT_IDEMPOTENT, QB_EFFECT_OPAQUE, QB_EFFECT_TRANSACTIONAL, QB_EFFECT_TRANSACTIONAL,
	};
	uint64_t n = s->seed;
	struct qb_run_config *c = &s->cfg;

	/* The textbook queue has no classes. */
	s->lib = n % 4 == 3 ? "pgtx" : "shm";
	c->slots = slots[n % 5];
	c->ambiguous = classes[n % 4];
	c->ack = (n / 2) % 2 ? QB_ACK_SHM : QB_ACK_DURABLE;
	/* As a row no process of ours can damage it; as a word it needs no connection, and the engine is on its own. */
	c->effects = (n % 4 == 0 && (n / 4) % 2 == 1) || (n % 4 == 1 && (n / 4) % 2 == 0) ? QB_EFFECTS_IN_SEGMENT :
											     QB_EFFECTS_IN_POSTGRES;
	c->standbys = n % 3;
	change->workers = 4 + n % 5;
	change->rate = n % 4 == 3 ? 60 : 60 * (c->slots < 4 ? c->slots : 4);
	change->given |= QB_GIVEN_WORKERS | QB_GIVEN_RATE;
}

int qb_storm_plan(const struct qb_run_config *base, uint64_t seed, uint64_t duration_ns, struct qb_storm *s,
		  struct qb_err *err)
{
	struct qb_scenario_change change = { .given = QB_GIVEN_SEED | QB_GIVEN_DURATION | QB_GIVEN_KILLS };

	memset(s, 0, sizeof(*s));
	s->seed = seed;
	s->cfg = *base;
	change.seed = seed;
	change.duration_ns = duration_ns;
	change.kills = KILLS_PER_S * (duration_ns - 2 * MARGIN_NS) / QB_NS_PER_S;
	choose_settings(s, &change);
	int rc = qb_scenario_load("storm", &s->sc, err);

	s->sc.faults.start_ns = MARGIN_NS;
	s->sc.faults.end_ns = duration_ns - MARGIN_NS;
	s->sc.duration_ns = duration_ns;
	if (rc == 0)
		rc = qb_scenario_override(&s->sc, &change, err);
	snprintf(s->text, sizeof(s->text), "%s, %u workers of %llu, %s, acknowledged %s, effects in %s", s->lib,
		 s->sc.workers, (unsigned long long)s->cfg.slots,
		 s->cfg.ambiguous == QB_EFFECT_OPAQUE ? "ambiguous jobs parked" :
		 s->cfg.ambiguous == QB_EFFECT_TRANSACTIONAL ? "transactional jobs" : "ambiguous jobs run again",
		 s->cfg.ack == QB_ACK_SHM ? "in shared memory" : "when durable",
		 s->cfg.effects == QB_EFFECTS_IN_POSTGRES ? "Postgres" : "the segment");
	return rc;
}

/* Every process counts; a parent that never said "ready" died while it took over. */
static void count_kills(const struct qb_trace *trace, struct qb_storm_totals *t)
{
	for (size_t i = 0; i < trace->events_count; i++) {
		const struct qb_event_shm *ev = &trace->events[i].ev;
		int in_recovery = 1;

		if (ev->type != QB_EV_PROCESS_KILLED)
			continue;
		t->kills++;
		t->kills_by_role[ev->kind & 7]++;
		if (ev->kind != QB_ROLE_PARENT)
			continue;
		for (size_t k = 0; k < i && in_recovery; k++) {
			const struct qb_event_shm *old = &trace->events[k].ev;

			in_recovery = old->type != QB_EV_PROCESS_READY || old->kind != QB_ROLE_PARENT ||
				      old->arg0 != ev->arg0;
		}
		t->kills_in_recovery += (uint64_t)in_recovery;
	}
}

/* The first identity that does not hold, in words. */
static uint64_t broken_identities(const struct qb_summary *s, char *first, size_t cap)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < s->identities_count; i++) {
		const struct qb_identity *id = &s->identity[i];

		if (!id->holds && n++ == 0)
			snprintf(first, cap, "%s: %lld and not %lld", id->name, (long long)id->left, (long long)id->right);
	}
	return n + s->stranded;
}

static void add_summary(const struct qb_summary *s, struct qb_storm_totals *t)
{
	t->stops += s->stops;
	t->server_kills += s->server_kills;
	t->takeovers += s->takeovers;
	t->jobs += s->acknowledged;
	t->completed += s->completed;
	t->discarded += s->discarded;
	t->ambiguous += s->ambiguous;
	t->parked += s->ambiguous_parked;
	t->repeated += s->repeated_effects;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Look at a run that came to its end, or was interrupted. */
static int judge(const struct qb_storm *s, const struct qb_run_result *r, struct qb_server *server,
		 struct qb_storm_totals *t, struct qb_err *err)
{
	const struct qb_summary *sum = &r->summary;
	struct qb_truth truth = { 0 };
	struct qb_trace trace;
	char path[640], first[160] = "";
	int drained = !r->interrupted && sum->queued + sum->waiting + sum->held == 0;
	int is_shm = strcmp(s->lib, "shm") == 0, exact = s->cfg.ambiguous == QB_EFFECT_TRANSACTIONAL;
	enum qb_truth_effects effects = exact ? QB_TRUTH_EXACT :
					s->cfg.effects == QB_EFFECTS_IN_POSTGRES ? QB_TRUTH_ROWS : QB_TRUTH_NOT_HERE;

	snprintf(path, sizeof(path), "%s/events.qbr", r->dir);
	int rc = qb_trace_load(path, &trace, err);

	if (rc < 0)
		return rc;
	count_kills(&trace, t);
	/* The textbook queue has no process that decides; and its rows are what its summary was made of. */
	if (is_shm)
		rc = qb_death_times_add(effects == QB_TRUTH_NOT_HERE ? &t->times : &t->times_connected, &trace);
	if (rc == 0 && is_shm)
		rc = qb_truth_of_run(qb_server_conninfo(server), &trace, drained, effects, &truth, err);
	qb_trace_free(&trace);
	if (rc < 0)
		return rc;
	add_summary(sum, t);
	uint64_t broken = r->interrupted ? 0 : broken_identities(sum, first, sizeof(first));
	uint64_t lost = larger(sum->lost, truth.lost);
	/* Where the effect is in the transaction of the job, a second one cannot be, said or unsaid. */
	uint64_t silent = is_shm ? larger(sum->silent_effects, truth.silent) :
			  effects != QB_TRUTH_NOT_HERE ? sum->repeated_effects : 0;
	uint64_t wrong = broken + truth.wrong;

	t->outcomes += truth.outcomes;
	t->effects += truth.effects;
	t->lost += lost;
	t->silent += silent;
	t->wrong += wrong;
	if (lost + silent + wrong == 0)
		return 0;
	if (t->broken_rounds++ == 0) {
		snprintf(t->first, sizeof(t->first), "%s", truth.first[0] ? truth.first : first[0] ? first :
			 lost ? "an acknowledged job is lost" : "an effect happened twice without a word");
		snprintf(t->first_dir, sizeof(t->first_dir), "%s", r->dir);
		snprintf(t->first_segment, sizeof(t->first_segment), "%s", r->segment_path);
		t->first_seed = s->seed;
	}
	return 1;
}

/* The record, the segment, and the directories that hold nothing else. */
static void remove_files(const struct qb_run_result *r)
{
	char path[640];

	snprintf(path, sizeof(path), "%s/events.qbr", r->dir);
	unlink(path);
	rmdir(r->dir);
	if (!r->segment_path[0])
		return;
	unlink(r->segment_path);
	snprintf(path, sizeof(path), "%s", r->segment_path);
	rmdir(dirname(path));
}

int qb_storm_run(const struct qb_storm *s, unsigned round, struct qb_server *server, struct qb_storm_totals *t,
		 struct qb_err *err)
{
	struct qb_run_result result;
	struct qb_floor *floor = NULL;
	int rc = qb_floor_start(&floor, err);

	if (rc < 0)
		return rc;
	rc = qb_run_one(&s->cfg, &s->sc, s->lib, round, server, &result, err);
	qb_floor_stop(floor, &t->floor_death, &t->floor_birth);
	int has_numbers = result.summary.run_id[0] != 0;

	if (has_numbers && (rc == 0 || rc == QB_EVERIFY || rc == QB_EINTR)) {
		struct qb_err why = { 0 };
		int verdict = judge(s, &result, server, t, &why);

		t->rounds++;
		t->fault_ns += s->sc.faults.end_ns - s->sc.faults.start_ns;
		if (verdict < 0) {
			*err = why;
			rc = verdict;
		} else {
			rc = rc == QB_EINTR ? rc : 0;
		}
		if (verdict == 0)
			remove_files(&result);
	}
	qb_meta_free(&result.meta);
	return rc;
}

void qb_storm_free(struct qb_storm_totals *t)
{
	qb_death_times_free(&t->times);
	qb_death_times_free(&t->times_connected);
	free(t->floor_death.ns);
	free(t->floor_birth.ns);
	memset(t, 0, sizeof(*t));
}
