/* SPDX-License-Identifier: Apache-2.0 */
/* qbench plan: the seeded job list of a scenario, or what it adds up to, without running it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "workload/plan.h"
#include "workload/scenario.h"

#define ROWS_MAX 60
#define BAR_COLUMNS 30

/* The jobs that are due in one row of the time table. */
struct row {
	uint64_t jobs, failing;
	uint64_t work_ms;               /* of those that do not fail, as in struct qb_plan_totals */
};

/* What a run can serve at a time. */
static uint64_t lanes(const struct qb_scenario *sc, const struct qb_opts *opts)
{
	return (sc->workers ? sc->workers : QB_SCENARIO_WORKERS_DEFAULT) * opts->run.slots;
}

static double utilisation(uint64_t work_ms, uint64_t span_ns, uint64_t lanes_count)
{
	return 100.0 * (double)work_ms * 1e6 / ((double)span_ns * (double)lanes_count);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_head(const struct qb_scenario *sc, const struct qb_plan_totals *t)
{
	char duration[24], size[24], start[24], end[24];
	uint64_t good = t->failing[QB_ERROR_CLASS_NONE];

	printf("Scenario %s: %s\n\n", sc->name, sc->summary);
	printf("  load        %s at %u/s, %u tenant%s, seed %llu\n",
	       qb_format_duration(duration, sizeof(duration), sc->duration_ns), sc->rate,
	       sc->tenants, sc->tenants == 1 ? "" : "s", (unsigned long long)sc->seed);
	if (sc->tenant_skew > 0)
		printf("  skew        %.0f %% of the jobs belong to tenant 0\n",
		       100 * sc->tenant_skew);
	if (sc->burst.end_ns)
		printf("  burst       x%g from %s to %s\n", sc->burst.multiplier,
		       qb_format_duration(start, sizeof(start), sc->burst.start_ns),
		       qb_format_duration(end, sizeof(end), sc->burst.end_ns));
	if (sc->faults.kills)
		printf("  kills       %u of %s, from %s to %s\n", sc->faults.kills,
		       qb_victim_name(sc->faults.victim),
		       qb_format_duration(start, sizeof(start), sc->faults.start_ns),
		       qb_format_duration(end, sizeof(end), sc->faults.end_ns));
	printf("  jobs        %llu, of which %llu fail and %llu succeed\n",
	       (unsigned long long)t->jobs, (unsigned long long)(t->jobs - good),
	       (unsigned long long)good);
	printf("  payloads    %s in all, %u bytes at most\n",
	       qb_format_size(size, sizeof(size), t->payload_bytes), t->payload_bytes_max);
}

static void print_work(const struct qb_scenario *sc, const struct qb_plan_totals *t,
		       const struct qb_opts *opts)
{
	uint32_t workers = sc->workers ? sc->workers : QB_SCENARIO_WORKERS_DEFAULT;

	printf("  work        %.1f s in all; jobs that fail do so at once\n",
	       (double)t->work_ms / 1e3);
	printf("  offered     %.0f %% of what %u worker%s with %llu slot%s can do\n",
	       utilisation(t->work_ms, sc->duration_ns, lanes(sc, opts)), workers,
	       workers == 1 ? "" : "s", (unsigned long long)opts->run.slots,
	       opts->run.slots == 1 ? "" : "s");
}

static void print_shares(const struct qb_scenario *sc, const struct qb_plan_totals *t)
{
	unsigned i;

	printf("\n  %-24s %9s  share\n", "kind (label)", "jobs");
	for (i = 0; i < sc->kinds_count; i++)
		printf("  %-24s %9llu  %5.1f %%\n", sc->kinds[i].name,
		       (unsigned long long)t->kinds[i], percent(t->kinds[i], t->jobs));
	printf("\n  %-24s %9s  share\n", "error class", "jobs");
	for (i = 0; i < QB_ERROR_CLASS_COUNT; i++) {
		if (t->failing[i] || i == QB_ERROR_CLASS_NONE)
			printf("  %-24s %9llu  %5.1f %%\n",
			       i ? qb_error_class_name(i) : "none",
			       (unsigned long long)t->failing[i], percent(t->failing[i], t->jobs));
	}
}

/* Whole seconds, as few that the table stays within a screen or two: 1, 2, 5, 10, 20, 50, ... */
static uint64_t row_span(uint64_t duration_ns)
{
	uint64_t span = QB_NS_PER_S;
	unsigned step;

	for (step = 0; duration_ns / span >= ROWS_MAX; step++)
		span = step % 3 == 1 ? span / 2 * 5 : span * 2;
	return span;
}

static void print_rows(const struct row *rows, uint64_t count, uint64_t span_ns, uint64_t end_ns,
		       uint64_t lanes_count)
{
	uint64_t i, most = 1;

	for (i = 0; i < count; i++)
		most = rows[i].jobs > most ? rows[i].jobs : most;
	printf("\n  %8s %9s %9s %9s %8s\n", "from", "jobs", "failing", "work s", "offered");
	for (i = 0; i < count; i++) {
		uint64_t left = end_ns - i * span_ns;
		int bar = (int)(rows[i].jobs * BAR_COLUMNS / most);

		printf("  %6llu s %9llu %9llu %9.1f %6.0f %%  %.*s\n",
		       (unsigned long long)(i * span_ns / QB_NS_PER_S),
		       (unsigned long long)rows[i].jobs, (unsigned long long)rows[i].failing,
		       (double)rows[i].work_ms / 1e3,
		       utilisation(rows[i].work_ms, left < span_ns ? left : span_ns, lanes_count),
		       bar, "##############################");
	}
}

static void print_times(const struct qb_scenario *sc, const struct qb_plan *plan,
			const struct qb_opts *opts)
{
	uint64_t span = row_span(sc->duration_ns), count = (sc->duration_ns + span - 1) / span;
	struct row *rows = qb_xcalloc(count, sizeof(*rows));
	size_t i;

	for (i = 0; i < plan->count; i++) {
		const struct qb_plan_job *job = &plan->jobs[i];
		uint64_t idx = job->at_ns / span;
		struct row *row = &rows[idx < count ? idx : count - 1];

		row->jobs++;
		if (job->error_class == QB_ERROR_CLASS_NONE)
			row->work_ms += job->work_ms;
		else
			row->failing++;
	}
	print_rows(rows, count, span, sc->duration_ns, lanes(sc, opts));
	free(rows);
}

static void print_keys(const struct qb_scenario *sc, const struct qb_plan_totals *t)
{
	static const char *const when[QB_KEY_PHASES] = {
		"nothing is queued yet, and no worker is there",
		"what was accepted is queued, and no worker is there",
		"a worker is running it; it does not end before all are answered",
		"all that was accepted is completed",
		"other keys: the worker that ran the job of the key was killed just now",
	};
	uint64_t each = (uint64_t)sc->keys.keys * sc->keys.processes;
	char watch[24];

	printf("Scenario %s: %s\n\n", sc->name, sc->summary);
	printf("  keys        %u, each asked for by %u process%s at once, in %u phases, one after the other\n",
	       sc->keys.keys, sc->keys.processes, sc->keys.processes == 1 ? "" : "es", QB_KEY_PHASES);
	for (unsigned i = 0; i < QB_KEY_PHASES; i++)
		printf("    %u %-9s %6llu requests: %s\n", i + 1, qb_key_phase_name(i), (unsigned long long)each, when[i]);
	printf("  kills       %u of worker at most, in the last phase, where %u more requests give the keys to be held\n",
	       sc->keys.keys, sc->keys.keys);
	printf("  watch       %s after the last of them at most\n",
	       qb_format_duration(watch, sizeof(watch), sc->keys.watch_ns));
	printf("  jobs        %llu requests in all, seed %llu; how many of them become jobs is the result\n",
	       (unsigned long long)t->jobs, (unsigned long long)sc->seed);
}

static void print_cache(const struct qb_scenario *sc, const struct qb_plan_totals *t)
{
	static const char *const what[QB_CACHE_PHASES] = {
		"each address as likely",
		"the k-th address as likely as 1 / k^skew",
		"those of the first phase, all of which were removed",
		"all callers ask for one address at once; its work fails",
		"the same addresses again, whose work succeeds now",
		"each address as likely; of some the worker is killed at work",
		"all callers ask for one address at once",
		"the same, and the worker is killed at work",
	};
	struct qb_cacheset set = qb_scenario_cacheset(sc);
	char deadline[24];

	printf("Scenario %s: %s\n\n", sc->name, sc->summary);
	printf("  callers     %u in %u process%s\n", set.callers, sc->cache.processes, sc->cache.processes == 1 ? "" : "es");
	for (int i = 0; i < QB_CACHE_PHASES; i++) {
		uint64_t requests = qb_cacheset_requests(&set, (enum qb_cache_phase)i);

		if (requests)
			printf("    %-15s %7llu requests for %6u addresses: %s\n", qb_cache_phase_name((enum qb_cache_phase)i),
			       (unsigned long long)requests, qb_cacheset_addresses(&set, (enum qb_cache_phase)i), what[i]);
	}
	printf("  kills       %u of worker at most\n", set.kills);
	printf("  deadline    %s for each wait on work\n", qb_format_duration(deadline, sizeof(deadline), sc->cache.deadline_ns));
	printf("  jobs        %llu requests in all, seed %llu; how many of them become jobs is the result\n",
	       (unsigned long long)t->jobs, (unsigned long long)sc->seed);
}

static int plan(struct qb_ctx *ctx, int argc, char **argv)
{
	struct qb_plan_totals totals;
	struct qb_plan list = { 0 };
	struct qb_scenario sc;
	struct qb_err err = { 0 };
	int ret;

	(void)argc;
	(void)argv;
	if (qb_scenario_load(ctx->opts.run.scenario, &sc, &err) ||
	    qb_scenario_override(&sc, &ctx->opts.run.change, &err) ||
	    qb_plan_build(&sc, &list, &err)) {
		qb_cli_fail(&err);
		return QB_EXIT_USAGE;
	}
	if (ctx->opts.jsonl) {
		ret = qb_plan_print_jsonl(&list, &sc, stdout);
		qb_plan_free(&list);
		if (!ret)
			return QB_EXIT_DONE;
		qb_err_errno(&err, -ret, "could not print the jobs");
		return qb_cli_fail(&err);
	}
	qb_plan_totals(&list, &totals);
	if (sc.shape == QB_SHAPE_KEYS || sc.shape == QB_SHAPE_CACHE) {
		(sc.shape == QB_SHAPE_KEYS ? print_keys : print_cache)(&sc, &totals);
		print_shares(&sc, &totals);
		qb_plan_free(&list);
		return QB_EXIT_DONE;
	}
	print_head(&sc, &totals);
	print_work(&sc, &totals, &ctx->opts);
	print_shares(&sc, &totals);
	print_times(&sc, &list, &ctx->opts);
	qb_plan_free(&list);
	return QB_EXIT_DONE;
}

const struct qb_cmd qb_cmd_plan = {
	.name = "plan",
	.summary = "the jobs of a scenario and what they add up to, without running them",
	.operands = "",
	.about = "The list is fixed by the seed: the same options give the same jobs, byte by "
		 "byte, with every library and on every machine. Times count from the start.",
	.bit = QB_CMD_PLAN,
	.run = plan,
};
