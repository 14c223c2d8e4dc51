/* SPDX-License-Identifier: Apache-2.0 */
/* qbench selftest: storms of kills on this machine, and what became of the jobs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "cli/interrupt.h"
#include "run/storm.h"
#include "shm/status.h"
#include "stats/summary.h"

#define ROUND_NS (10 * QB_NS_PER_S)
/* One that would end long after the time is not begun. */
#define ROUND_MIN_NS (4 * QB_NS_PER_S)
#define VERDICT_GOAL_NS (10 * QB_NS_PER_MS)
#define PICKUP_GOAL_NS (250 * QB_NS_PER_MS)

struct selftest {
	struct qb_opts *opts;
	struct qb_run_config cfg;
	struct qb_server *server;
	struct qb_storm_totals totals;
	char dir[512];
	int is_temporary;               /* the directory is ours to remove */
	uint64_t began_ns, took_ns;
};

static int make_dir(struct selftest *t, struct qb_err *err)
{
	const char *tmp = getenv("TMPDIR");
	char path[600];
	int rc = 0;

	if (t->opts->results_dir) {
		snprintf(t->dir, sizeof(t->dir), "%s", t->opts->results_dir);
		rc = qb_mkdir_p(t->dir, 0755, err);
		if (rc < 0)
			return qb_err_context(err, "--results-dir");
	} else {
		snprintf(t->dir, sizeof(t->dir), "%s/qbench-selftest-XXXXXX", tmp && *tmp ? tmp : "/tmp");
		if (!mkdtemp(t->dir))
			return qb_err_errno(err, errno, "could not create %s", t->dir);
		t->is_temporary = 1;
	}
	t->cfg.results_dir = t->dir;
	snprintf(path, sizeof(path), "%s/messages", t->dir);
	t->cfg.messages_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (t->cfg.messages_fd < 0)
		return qb_err_errno(err, errno, "could not write %s", path);
	return 0;
}

static void leave_dir(struct selftest *t, int all_is_well)
{
	char path[600];

	if (t->cfg.messages_fd > 0)
		close(t->cfg.messages_fd);
	if (!t->dir[0] || !all_is_well)
		return;
	snprintf(path, sizeof(path), "%s/messages", t->dir);
	unlink(path);
	if (t->is_temporary)
		rmdir(t->dir);
}

static int goes_on(const struct selftest *t, uint64_t round)
{
	uint64_t end_ns = t->began_ns + t->opts->minutes * 60 * QB_NS_PER_S;

	if (t->opts->rounds)
		return round < t->opts->rounds;
	return round == 0 || qb_now_ns() + ROUND_MIN_NS <= end_ns;
}

static int all_rounds(struct selftest *t, struct qb_err *err)
{
	uint64_t round = 0;
	int rc = 0;

	for (; rc == 0 && goes_on(t, round) && t->totals.broken_rounds == 0; round++) {
		struct qb_storm storm;

		rc = qb_storm_plan(&t->cfg, t->opts->run.change.seed + round, ROUND_NS, &storm, err);
		if (rc < 0)
			break;
		if (t->opts->run.verbose)
			fprintf(stderr, "round %llu: %s\n", (unsigned long long)round + 1, storm.text);
		storm.cfg.runs = t->opts->rounds ? t->opts->rounds : t->opts->minutes * 60 * QB_NS_PER_S / ROUND_NS;
		rc = qb_storm_run(&storm, (unsigned)round, t->server, &t->totals, err);
	}
	return rc;
}

/* ---- what it says ---- */

/* A goal that the bare floor misses as well says something of the machine's load. */
static void put_times(const char *label, struct qb_samples *s, uint64_t goal_ns, const struct qb_samples *floor)
{
	struct qb_percentiles under = { 0 };
	struct qb_percentiles p;
	char p50[32], p99[32], max[32], goal[32] = "";

	qb_percentiles_of(s->ns, s->count, &p);
	if (floor)
		qb_percentiles_of(floor->ns, floor->count, &under);
	if (goal_ns)
		snprintf(goal, sizeof(goal), "%s", p.p99_ns < goal_ns ? "met" :
			 under.p99_ns < goal_ns ? "MISSED" : "missed, by the floor too");
	printf("  %-38s %9s %9s %9s  %6llu  %s\n", label, p.count ? qb_format_duration(p50, sizeof(p50), p.p50_ns) : "-",
	       p.count ? qb_format_duration(p99, sizeof(p99), p.p99_ns) : "-",
	       p.count ? qb_format_duration(max, sizeof(max), p.max_ns) : "-", (unsigned long long)p.count, goal);
}

static void put_count(const char *label, uint64_t n, const char *more)
{
	printf("  %-38s %9llu%s%s\n", label, (unsigned long long)n, *more ? "  " : "", more);
}

static double kills_per_s(const struct qb_storm_totals *s)
{
	return s->fault_ns ? (double)s->kills * 1e9 / (double)s->fault_ns : 0;
}

static void print_text(struct selftest *t)
{
	struct qb_storm_totals *s = &t->totals;
	char more[160], took[32];

	printf("qbench selftest: %llu round%s in %s, the first with seed %llu\n\n", (unsigned long long)s->rounds,
	       s->rounds == 1 ? "" : "s", qb_format_duration(took, sizeof(took), t->took_ns),
	       (unsigned long long)t->opts->run.change.seed);
	snprintf(more, sizeof(more), "%.0f a second: %llu workers, %llu parents, %llu syncers", kills_per_s(s),
		 (unsigned long long)s->kills_by_role[QB_ROLE_WORKER],
		 (unsigned long long)s->kills_by_role[QB_ROLE_PARENT],
		 (unsigned long long)s->kills_by_role[QB_ROLE_SYNCER]);
	put_count("processes killed", s->kills, more);
	put_count("  of them while they took over", s->kills_in_recovery, "");
	put_count("workers stopped for a while", s->stops, "");
	put_count("kills of the Postgres server", s->server_kills, t->cfg.postgres_url ? "it is not ours to kill" : "");
	put_count("jobs acknowledged", s->jobs, "");
	put_count("  completed", s->completed, "");
	put_count("  failed for good", s->discarded, "");
	put_count("outcomes in Postgres (shm)", s->outcomes, "");
	put_count("effects in Postgres (shm)", s->effects, "");
	snprintf(more, sizeof(more), "%llu of them parked, %llu had their effect twice", (unsigned long long)s->parked,
		 (unsigned long long)s->repeated);
	put_count("ambiguous, and reported as such", s->ambiguous, more);
	puts("");
	put_count("lost", s->lost, "");
	put_count("silent duplicates", s->silent, "");
	put_count("wrong verdicts", s->wrong, "");
	printf("\n  %-38s %9s %9s %9s  %6s  %s\n", "", "p50", "p99", "max", "times", "goal");
	put_times("worker's death to verdict (< 10 ms)", &s->times.verdict, VERDICT_GOAL_NS, &s->floor_death);
	put_times("  workers with a connection", &s->times_connected.verdict, 0, NULL);
	put_times("  floor: death of an idle process", &s->floor_death, 0, NULL);
	put_times("parent's death to pick-up (< 250 ms)", &s->times.pickup, PICKUP_GOAL_NS, &s->floor_birth);
	put_times("  workers with a connection", &s->times_connected.pickup, 0, NULL);
	put_times("  floor: fork, exec, a first byte", &s->floor_birth, 0, NULL);
}

static void json_times(const char *key, struct qb_samples *s, const char *end)
{
	struct qb_percentiles p;

	qb_percentiles_of(s->ns, s->count, &p);
	printf("    \"%s\": {\"count\": %llu, \"p50\": %.6f, \"p99\": %.6f, \"max\": %.6f}%s\n", key,
	       (unsigned long long)p.count, (double)p.p50_ns / 1e6, (double)p.p99_ns / 1e6, (double)p.max_ns / 1e6, end);
}

static void print_json(struct selftest *t)
{
	struct qb_storm_totals *s = &t->totals;
	const struct {
		const char *key;
		uint64_t value;
	} counts[] = {
		{ "format_version", 1 },
		{ "seed", t->opts->run.change.seed },
		{ "rounds", s->rounds },
		{ "broken_rounds", s->broken_rounds },
		{ "kills", s->kills },
		{ "worker_kills", s->kills_by_role[QB_ROLE_WORKER] },
		{ "parent_kills", s->kills_by_role[QB_ROLE_PARENT] },
		{ "syncer_kills", s->kills_by_role[QB_ROLE_SYNCER] },
		{ "kills_in_recovery", s->kills_in_recovery },
		{ "takeovers", s->takeovers },
		{ "stops", s->stops },
		{ "server_kills", s->server_kills },
		{ "acknowledged", s->jobs },
		{ "completed", s->completed },
		{ "discarded", s->discarded },
		{ "outcomes", s->outcomes },
		{ "effects", s->effects },
		{ "ambiguous", s->ambiguous },
		{ "ambiguous_parked", s->parked },
		{ "repeated_effects", s->repeated },
		{ "lost", s->lost },
		{ "silent", s->silent },
		{ "wrong", s->wrong },
	};

	puts("{");
	for (size_t i = 0; i < QB_ARRAY_COUNT(counts); i++)
		printf("  \"%s\": %llu,\n", counts[i].key, (unsigned long long)counts[i].value);
	printf("  \"took_s\": %.3f,\n  \"kills_per_s\": %.3f,\n  \"times_ms\": {\n", (double)t->took_ns / 1e9, kills_per_s(s));
	json_times("death_to_verdict", &s->times.verdict, ",");
	json_times("parent_death_to_pickup", &s->times.pickup, ",");
	json_times("death_to_verdict_connected", &s->times_connected.verdict, ",");
	json_times("parent_death_to_pickup_connected", &s->times_connected.pickup, ",");
	json_times("floor_death", &s->floor_death, ",");
	json_times("floor_birth", &s->floor_birth, "");
	puts("  }\n}");
}

static void say_what_is_wrong(const struct selftest *t)
{
	const struct qb_storm_totals *s = &t->totals;

	qb_log(QB_LOG_ERROR, "round with seed %llu: %s", (unsigned long long)s->first_seed, s->first);
	qb_log(QB_LOG_ERROR, "its record is in %s, its segment %s; again: qbench selftest --seed=%llu --rounds=1", s->first_dir,
	       s->first_segment, (unsigned long long)s->first_seed);
}

static int selftest(struct qb_ctx *ctx, int argc, char **argv)
{
	struct selftest t = { .opts = &ctx->opts, .cfg = ctx->opts.run };
	struct qb_err err = { 0 };
	enum qb_log_level level = qb_log_get_level();

	(void)argc;
	(void)argv;
	qb_catch_interrupts();
	int rc = make_dir(&t, &err);

	if (rc == 0)
		rc = qb_server_open(&t.cfg, QB_STORM_CONNECTIONS, &t.server, &err);
	int begun = rc == 0;

	t.began_ns = qb_now_ns();
	/* What is said of the faults of a storm is no news. */
	if (!t.opts->run.verbose)
		qb_log_set_level(QB_LOG_ERROR);
	if (rc == 0)
		rc = all_rounds(&t, &err);
	qb_log_set_level(level);
	t.took_ns = qb_now_ns() - t.began_ns;
	int status = rc == QB_EINTR ? QB_EXIT_INTERRUPTED : rc < 0 ? (begun ? QB_EXIT_ERROR : QB_EXIT_USAGE) :
		     t.totals.broken_rounds ? QB_EXIT_VERIFY : QB_EXIT_DONE;
	char log_copy[600] = "";

	if (status == QB_EXIT_VERIFY || status == QB_EXIT_ERROR)
		snprintf(log_copy, sizeof(log_copy), "%s/server.log", t.dir);
	qb_server_close(t.server, log_copy[0] ? log_copy : NULL);
	if (rc < 0 && rc != QB_EINTR)
		qb_log(QB_LOG_ERROR, "%s", err.text);
	if (begun && strcmp(t.cfg.format, "json") == 0)
		print_json(&t);
	else if (begun)
		print_text(&t);
	if (t.totals.broken_rounds)
		say_what_is_wrong(&t);
	else if (status == QB_EXIT_ERROR)
		qb_log(QB_LOG_INFO, "what there is lies in %s", t.dir);
	leave_dir(&t, status == QB_EXIT_DONE || status == QB_EXIT_INTERRUPTED || status == QB_EXIT_USAGE);
	qb_storm_free(&t.totals);
	return qb_cli_flush(status);
}

const struct qb_cmd qb_cmd_selftest = {
	.name = "selftest",
	.summary = "storms of kills on this machine: is anything lost, doubled or guessed?",
	.operands = "",
	.about = "Short runs, each with other settings, in which workers, parents, syncers and the private Postgres server "
		 "are killed as fast as the machine allows, and some workers are stopped for a while. After each run its "
		 "identities must hold, and what Postgres has must be what was promised. Exit status 0 says that nothing "
		 "was lost, doubled in silence or judged wrongly.",
	.bit = QB_CMD_SELFTEST,
	.run = selftest,
};
