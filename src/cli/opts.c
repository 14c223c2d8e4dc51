/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/opts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "pg/conn.h"
#include "queue/queue.h"
#include "run/run.h"
#include "shm/layout.h"
#include "workload/scenario.h"

#define WORDS_MAX 64

#define SETS(member) \
	.off = offsetof(struct qb_opts, member), .bytes = sizeof(((struct qb_opts *)0)->member)
#define HOUR_NS (3600 * QB_NS_PER_S)
#define DAY_NS (24 * HOUR_NS)

#define RUNS QB_CMD_RUN
#define PLANS (QB_CMD_RUN | QB_CMD_PLAN)
#define STARTS (QB_CMD_RUN | QB_CMD_DEMO)
#define TESTS QB_CMD_SELFTEST
#define ENDS (STARTS | QB_CMD_RECOVER)
#define SERVER_VARIABLES { "QBENCH_POSTGRES_URL", "QB_POSTGRES_URL" }

const char *const qb_group_titles[QB_GROUP_COUNT] = {
	[QB_GROUP_WHAT] = "What to run",
	[QB_GROUP_CRASH] = "Crash injection",
	[QB_GROUP_DURABILITY] = "Durability and retries",
	[QB_GROUP_POSTGRES] = "Postgres",
	[QB_GROUP_OUTPUT] = "Output",
	[QB_GROUP_COMMON] = "Common",
};

static const char *const *library_names(void)
{
	static const char *names[WORDS_MAX];
	size_t i;

	for (i = 0; qb_queues[i] && i < WORDS_MAX - 1; i++)
		names[i] = qb_queues[i]->name;
	names[i] = NULL;
	return names;
}

static const char *const *result_formats(void)
{
	static const char *const names[] = { "text", "md", "json", NULL };

	return names;
}

static const char *const *inspect_formats(void)
{
	static const char *const names[] = { "text", "json", NULL };

	return names;
}

static const struct qb_opt_choice victims[] = {
	{ "worker", QB_VICTIM_WORKER },
	{ "pool", QB_VICTIM_POOL },
	{ "parent", QB_VICTIM_PARENT },
	{ "syncer", QB_VICTIM_SYNCER },
	{ "stop", QB_VICTIM_STOP },
	{ "postgres", QB_VICTIM_POSTGRES },
	{ "any", QB_VICTIM_ANY },
	{ NULL, 0 },
};

static const struct qb_opt_choice ack_modes[] = {
	{ "durable", QB_ACK_DURABLE },
	{ "shm", QB_ACK_SHM },
	{ NULL, 0 },
};

static const struct qb_opt_choice ambiguous_jobs[] = {
	{ "retry", QB_EFFECT_IDEMPOTENT },
	{ "park", QB_EFFECT_OPAQUE },
	{ "resolve", QB_EFFECT_TRANSACTIONAL },
	{ NULL, 0 },
};

static const struct qb_opt_choice effects_at[] = {
	{ "segment", QB_EFFECTS_IN_SEGMENT },
	{ "postgres", QB_EFFECTS_IN_POSTGRES },
	{ NULL, 0 },
};

static const struct qb_opt_choice backoffs[] = {
	{ "none", QB_BACKOFF_IMMEDIATE },
	{ "pow4", QB_BACKOFF_POW4 },
	{ NULL, 0 },
};

/* In each group as the help shows it. */
const struct qb_opt qb_opt_table[] = {
	{ .name = "lib", .letter = 'l', .type = QB_OPT_LIBS, .group = QB_GROUP_WHAT,
	  .cmds = RUNS, .value = "NAME,...", SETS(run.libs), .words = library_names,
	  .preset = "shm,pgtx", .help = "libraries under test, one after the other; NAME:SETTING=VALUE sets what 'qbench "
		  "list' shows for it" },
	{ .name = "scenario", .letter = 's', .type = QB_OPT_SCENARIO, .group = QB_GROUP_WHAT,
	  .cmds = PLANS, .required = PLANS, .value = "NAME", SETS(run.scenario),
	  .words = qb_scenario_names, .otherwise = "required",
	  .help = "a built-in scenario (see 'qbench list'), or the path of a scenario file" },
	{ .name = "workers", .letter = 'w', .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT,
	  .cmds = PLANS, .value = "N", SETS(run.change.workers), .min = 1, .max = 200,
	  .change = QB_GIVEN_WORKERS, .help = "worker processes" },
	{ .name = "slots", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = PLANS,
	  .value = "N", SETS(run.slots), .min = 1, .max = 64, .preset = "1",
	  .help = "jobs that a worker process runs at a time" },
	{ .name = "standbys", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = RUNS,
	  .value = "N", SETS(run.standbys), .min = 0, .max = 16, .preset = "1",
	  .help = "workers forked ahead, asleep until one of the others dies" },
	{ .name = "duration", .letter = 'd', .type = QB_OPT_DURATION, .group = QB_GROUP_WHAT,
	  .cmds = PLANS, .value = "TIME", SETS(run.change.duration_ns), .min = QB_NS_PER_MS,
	  .max = DAY_NS, .change = QB_GIVEN_DURATION, .help = "how long jobs are enqueued" },
	{ .name = "rate", .letter = 'r', .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT,
	  .cmds = PLANS, .value = "N", SETS(run.change.rate), .min = 1, .max = 1000000,
	  .change = QB_GIVEN_RATE, .help = "jobs per second, outside of bursts" },
	{ .name = "tenants", .letter = 't', .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT,
	  .cmds = PLANS, .value = "N", SETS(run.change.tenants), .min = 1, .max = 1000000,
	  .change = QB_GIVEN_TENANTS, .help = "tenants that the jobs belong to" },
	{ .name = "seed", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = PLANS,
	  .value = "N", SETS(run.change.seed), .min = 0, .max = UINT64_MAX,
	  .change = QB_GIVEN_SEED, .help = "decides the jobs, the kills and the jitter" },
	{ .name = "seed", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = TESTS,
	  .value = "N", SETS(run.change.seed), .min = 0, .max = UINT64_MAX, .preset = "1",
	  .help = "of the first round; the others count on from it" },
	{ .name = "minutes", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = TESTS,
	  .value = "N", SETS(minutes), .min = 1, .max = 1440, .preset = "1",
	  .help = "how long to go on with new rounds" },
	{ .name = "rounds", .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT, .cmds = TESTS,
	  .value = "N", SETS(rounds), .min = 1, .max = 1000000, .otherwise = "the number that fits",
	  .help = "so many rounds, however long they take" },
	{ .name = "runs", .letter = 'n', .type = QB_OPT_COUNT, .group = QB_GROUP_WHAT,
	  .cmds = RUNS, .value = "N", SETS(run.runs), .min = 1, .max = 100, .preset = "1",
	  .help = "repetitions with each library" },

	{ .name = "kills", .letter = 'k', .type = QB_OPT_COUNT, .group = QB_GROUP_CRASH,
	  .cmds = PLANS, .value = "N", SETS(run.change.kills), .min = 0, .max = 10000,
	  .change = QB_GIVEN_KILLS, .help = "SIGKILLs, at seeded instants" },
	{ .name = "victim", .type = QB_OPT_CHOICE, .group = QB_GROUP_CRASH, .cmds = PLANS,
	  .value = "ROLE", SETS(run.change.victim), .choices = victims,
	  .change = QB_GIVEN_VICTIM, .help = "who is killed; pool is all workers at once, stop stops a worker for a while, any is "
		  "drawn for each kill" },

	{ .name = "lease", .type = QB_OPT_DURATION, .group = QB_GROUP_CRASH, .cmds = RUNS,
	  .value = "TIME", SETS(run.lease_ns), .min = 0, .max = DAY_NS, .preset = "0s",
	  .help = "how long a silent worker is believed to be alive, the same for each library that goes by time; "
		  "longer than the longest job; 0s: as each is shipped" },

	{ .name = "observe", .type = QB_OPT_DURATION, .group = QB_GROUP_CRASH, .cmds = RUNS,
	  .value = "TIME", SETS(run.observe_ns), .min = 0, .max = DAY_NS, .preset = "60s",
	  .help = "how long to watch, when all else is done, for jobs that a library gives back by a time-out only" },
	{ .name = "observe", .type = QB_OPT_DURATION, .group = QB_GROUP_CRASH, .cmds = QB_CMD_DEMO,
	  .value = "TIME", SETS(run.observe_ns), .min = 0, .max = DAY_NS, .preset = "5s",
	  .help = "how long to watch, when all else is done, for jobs that a library gives back by a time-out only" },

	{ .name = "ack", .type = QB_OPT_CHOICE, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "MODE", SETS(run.ack), .choices = ack_modes, .preset = "durable",
	  .help = "shm: an enqueue is acknowledged when its job is committed in Postgres, or "
		  "already when it is in shared memory" },
	{ .name = "replicas", .type = QB_OPT_COUNT, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "N", SETS(run.replicas), .min = 0, .max = 16, .preset = "0",
	  .help = "shm: standby servers that must have a commit before its jobs leave the segment; what a "
		  "failover loses is then sent again" },
	{ .name = "ambiguous", .type = QB_OPT_CHOICE, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "WHAT", SETS(run.ambiguous), .choices = ambiguous_jobs, .preset = "retry",
	  .help = "shm: what becomes of a job whose worker died while it ran it" },
	{ .name = "effects", .type = QB_OPT_CHOICE, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "WHERE", SETS(run.effects), .choices = effects_at, .preset = "segment",
	  .help = "where the side effect of a job is made: a word in shared memory, or a row in Postgres" },
	{ .name = "backoff", .type = QB_OPT_CHOICE, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "POLICY", SETS(run.backoff), .choices = backoffs, .preset = "none",
	  .help = "wait before attempt n + 1 of a failed job: none, or n^4 seconds" },
	{ .name = "jitter", .type = QB_OPT_PERCENT, .group = QB_GROUP_DURABILITY, .cmds = RUNS,
	  .value = "PERCENT", SETS(run.jitter_permille), .min = 0, .max = 500, .preset = "0",
	  .help = "spread that wait at random by so much up and down" },
	{ .name = "drain", .type = QB_OPT_DURATION, .group = QB_GROUP_DURABILITY,
	  .cmds = RUNS | QB_CMD_RECOVER, .value = "TIME", SETS(run.drain_ns), .min = 0,
	  .max = DAY_NS, .preset = "60s",
	  .help = "longest wait for the queue to empty after the last enqueue" },

	{ .name = "postgres-url", .type = QB_OPT_CONNINFO, .group = QB_GROUP_POSTGRES,
	  .cmds = STARTS | TESTS, .value = "URL", SETS(run.postgres_url), .env = SERVER_VARIABLES,
	  .otherwise = "a private server, removed at the end",
	  .help = "server to use, as a URL or \"keyword=value ...\"; its schema qbench is ours" },
	{ .name = "postgres-url", .type = QB_OPT_CONNINFO, .group = QB_GROUP_POSTGRES,
	  .cmds = QB_CMD_RECOVER, .required = QB_CMD_RECOVER, .value = "URL",
	  SETS(run.postgres_url), .env = SERVER_VARIABLES, .otherwise = "required",
	  .help = "the server of the run; a private one is gone, and then 'qbench inspect' tells "
		  "what there is" },
	{ .name = "from-postgres", .type = QB_OPT_TEXT, .group = QB_GROUP_POSTGRES,
	  .cmds = QB_CMD_RECOVER, .value = "RUN", SETS(from_postgres),
	  .otherwise = "the segment that is named",
	  .help = "the segment is lost with its host: make a new one from what that database has of the run" },
	{ .name = "poll", .type = QB_OPT_DURATION, .group = QB_GROUP_POSTGRES, .cmds = STARTS,
	  .value = "TIME", SETS(run.poll_ns), .min = QB_NS_PER_MS, .max = 60 * QB_NS_PER_S,
	  .preset = "1s", .help = "pgtx: how often a worker looks without a notification" },

	{ .name = "results-dir", .type = QB_OPT_TEXT, .group = QB_GROUP_OUTPUT,
	  .cmds = ENDS | QB_CMD_REPORT, .value = "DIR", SETS(run.results_dir),
	  .preset = "./results", .help = "where each run has a directory of its own" },
	{ .name = "results-dir", .type = QB_OPT_TEXT, .group = QB_GROUP_OUTPUT, .cmds = TESTS,
	  .value = "DIR", SETS(results_dir), .otherwise = "a temporary one, removed when all is well",
	  .help = "where each round has a directory of its own" },
	{ .name = "segment-dir", .type = QB_OPT_TEXT, .group = QB_GROUP_OUTPUT, .cmds = ENDS | TESTS,
	  .value = "DIR", SETS(run.segment_dir), .preset = "/dev/shm",
	  .help = "where the shared memory lies; on a tmpfs, or it measures a disk" },
	{ .name = "keep-segment", .type = QB_OPT_FLAG, .group = QB_GROUP_OUTPUT, .cmds = ENDS,
	  SETS(run.keep_segment), .help = "leave it there at the end, for 'qbench inspect'" },
	{ .name = "format", .type = QB_OPT_WORDS, .group = QB_GROUP_OUTPUT,
	  .cmds = STARTS | QB_CMD_REPORT, .value = "FORMAT,...", SETS(run.format),
	  .words = result_formats, .preset = "text", .help = "how results are printed" },
	{ .name = "format", .type = QB_OPT_WORD, .group = QB_GROUP_OUTPUT,
	  .cmds = QB_CMD_INSPECT | TESTS, .value = "FORMAT", SETS(run.format),
	  .words = inspect_formats, .preset = "text", .help = "how it is printed" },
	{ .name = "out", .letter = 'o', .type = QB_OPT_TEXT, .group = QB_GROUP_OUTPUT,
	  .cmds = QB_CMD_REPORT, .value = "FILE", SETS(out), .otherwise = "standard output",
	  .help = "write the report there" },
	{ .name = "jsonl", .type = QB_OPT_FLAG, .group = QB_GROUP_OUTPUT, .cmds = QB_CMD_PLAN,
	  SETS(jsonl), .help = "the jobs themselves, one JSON object per line" },
	{ .name = "jobs", .type = QB_OPT_FLAG, .group = QB_GROUP_OUTPUT, .cmds = QB_CMD_INSPECT,
	  SETS(jobs), .help = "list every job, not only those that somebody holds" },

	{ .name = "quiet", .letter = 'q', .type = QB_OPT_FLAG, .group = QB_GROUP_COMMON,
	  .cmds = QB_CMD_ALL, SETS(run.quiet), .help = "nothing on stderr but errors" },
	{ .name = "verbose", .letter = 'v', .type = QB_OPT_FLAG, .group = QB_GROUP_COMMON,
	  .cmds = QB_CMD_ALL, SETS(run.verbose), .help = "say more on stderr" },
	{ .name = "show-settings", .type = QB_OPT_FLAG, .group = QB_GROUP_COMMON,
	  .cmds = STARTS | TESTS | QB_CMD_PLAN, SETS(show_settings),
	  .help = "print the settings and where each comes from, and do nothing" },
	{ .name = "help", .letter = 'h', .type = QB_OPT_FLAG, .group = QB_GROUP_COMMON,
	  .cmds = QB_CMD_ALL, SETS(help), .help = "show this help" },
	{ .name = "version", .letter = 'V', .type = QB_OPT_FLAG, .group = QB_GROUP_COMMON,
	  .cmds = QB_CMD_DEMO, SETS(version),
	  .help = "show the version and what it was built with" },

	{ .name = "list-options", .type = QB_OPT_FLAG, .group = QB_GROUP_HIDDEN,
	  .cmds = QB_CMD_ALL, SETS(list_options), .help = "" },
	{ .name = "list-values", .type = QB_OPT_TEXT, .group = QB_GROUP_HIDDEN,
	  .cmds = QB_CMD_ALL, .value = "OPTION", SETS(list_values), .help = "" },
	{ .name = "list-commands", .type = QB_OPT_FLAG, .group = QB_GROUP_HIDDEN,
	  .cmds = QB_CMD_DEMO, SETS(list_commands), .help = "" },
	{ .name = NULL },
};

_Static_assert(sizeof(qb_opt_table) / sizeof(qb_opt_table[0]) <= 65, "a bit for each option");

const struct qb_opt *qb_opt_find(const struct qb_cmd *cmd, const char *name, size_t bytes)
{
	const struct qb_opt *opt;

	for (opt = qb_opt_table; opt->name; opt++) {
		if ((!cmd || opt->cmds & cmd->bit) && strlen(opt->name) == bytes &&
		    !memcmp(opt->name, name, bytes))
			return opt;
	}
	return NULL;
}

const struct qb_opt *qb_opt_find_letter(const struct qb_cmd *cmd, char letter)
{
	const struct qb_opt *opt;

	for (opt = qb_opt_table; opt->name; opt++) {
		if (opt->letter && opt->letter == letter && opt->cmds & cmd->bit)
			return opt;
	}
	return NULL;
}

const char *qb_opt_spelling(const struct qb_opt *opt, char *buf, size_t cap)
{
	if (opt->letter)
		snprintf(buf, cap, "-%c/--%s", opt->letter, opt->name);
	else
		snprintf(buf, cap, "--%s", opt->name);
	return buf;
}

const char *const *qb_opt_words(const struct qb_opt *opt)
{
	static const char *names[WORDS_MAX];
	size_t i;

	if (opt->words)
		return opt->words();
	if (!opt->choices)
		return NULL;
	for (i = 0; opt->choices[i].name && i < WORDS_MAX - 1; i++)
		names[i] = opt->choices[i].name;
	names[i] = NULL;
	return names;
}

/* "90s" and not "1m30s": one unit, the largest that divides. */
static void format_duration(uint64_t ns, char *buf, size_t cap)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "h", HOUR_NS },
		{ "m", 60 * QB_NS_PER_S },
		{ "s", QB_NS_PER_S },
		{ "ms", QB_NS_PER_MS },
		{ "us", QB_NS_PER_US },
		{ "ns", 1 },
	};
	/* 0 reads best in seconds. */
	size_t i = ns ? 0 : 2;

	while (ns % units[i].ns)
		i++;
	snprintf(buf, cap, "%llu%s", (unsigned long long)(ns / units[i].ns), units[i].name);
}

const char *qb_opt_number(const struct qb_opt *opt, uint64_t value, char *buf, size_t cap)
{
	if (opt->type == QB_OPT_DURATION)
		format_duration(value, buf, cap);
	else if (opt->type == QB_OPT_PERCENT && value % 10)
		snprintf(buf, cap, "%u.%u", (unsigned)(value / 10), (unsigned)(value % 10));
	else if (opt->type == QB_OPT_PERCENT)
		snprintf(buf, cap, "%u", (unsigned)(value / 10));
	else
		snprintf(buf, cap, "%llu", (unsigned long long)value);
	return buf;
}

static uint64_t bit_of(const struct qb_opt *opt)
{
	return 1ull << (opt - qb_opt_table);
}

int qb_opts_given(const struct qb_opts *opts, const char *name)
{
	const struct qb_opt *opt;

	for (opt = qb_opt_table; opt->name; opt++) {
		if (!strcmp(opt->name, name) && opts->given & bit_of(opt))
			return 1;
	}
	return 0;
}

const char *qb_origin_name(enum qb_origin origin)
{
	switch (origin) {
	case QB_ORIGIN_DEFAULT: return "default";
	case QB_ORIGIN_ENVIRONMENT: return "environment";
	case QB_ORIGIN_GIVEN: return "command line";
	case QB_ORIGIN_SCENARIO: return "scenario";
	}
	return "?";
}

/* The value that is set, as one would write it; malloc'ed. */
static char *value_text(const struct qb_opt *opt, const struct qb_opts *opts)
{
	const void *at = (const char *)opts + opt->off;
	const char *text = NULL;
	uint64_t number = 0;
	char buf[32];
	size_t i;

	switch (opt->type) {
	case QB_OPT_FLAG:
	case QB_OPT_COUNT:
	case QB_OPT_DURATION:
	case QB_OPT_PERCENT:
		memcpy(&number, at, sizeof(number));
		return qb_xstrdup(qb_opt_number(opt, number, buf, sizeof(buf)));
	case QB_OPT_CHOICE:
		if (opt->bytes == sizeof(uint32_t))
			number = *(const uint32_t *)at;
		else
			memcpy(&number, at, sizeof(number));
		for (i = 0; opt->choices[i].name; i++) {
			if (opt->choices[i].value == number)
				text = opt->choices[i].name;
		}
		return qb_xstrdup(text ? text : "");
	case QB_OPT_CONNINFO:
		memcpy(&text, at, sizeof(text));
		return text ? qb_pg_describe(text) : qb_xstrdup("");
	case QB_OPT_TEXT:
	case QB_OPT_WORD:
	case QB_OPT_WORDS:
	case QB_OPT_LIBS:
	case QB_OPT_SCENARIO:
		memcpy(&text, at, sizeof(text));
		return qb_xstrdup(text ? text : "");
	}
	return qb_xstrdup("");
}

void qb_opts_each(const struct qb_cmd *cmd, const struct qb_opts *opts, qb_setting_fn fn, void *ctx)
{
	const struct qb_opt *opt;

	for (opt = qb_opt_table; opt->name; opt++) {
		enum qb_origin origin = QB_ORIGIN_DEFAULT;
		char *text;

		if (!(opt->cmds & cmd->bit) || opt->group >= QB_GROUP_COMMON)
			continue;
		if (opts->given & bit_of(opt))
			origin = QB_ORIGIN_GIVEN;
		else if (opts->from_env & bit_of(opt))
			origin = QB_ORIGIN_ENVIRONMENT;
		else if (opt->change)
			origin = QB_ORIGIN_SCENARIO;
		text = origin == QB_ORIGIN_SCENARIO ? qb_xstrdup("") : value_text(opt, opts);
		fn(ctx, opt->name, text, origin);
		free(text);
	}
}
