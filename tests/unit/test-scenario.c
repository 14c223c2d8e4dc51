/* SPDX-License-Identifier: Apache-2.0 */
/* Scenario files: what is read, what is refused and with which words, what is printed back. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "shm/status.h"
#include "workload/scenario.h"

static struct qb_scenario sc;
static struct qb_err err;

static void set_up(void)
{
	memset(&sc, 0xa5, sizeof(sc));
	qb_err_clear(&err);
}

static int parse(const char *text)
{
	return qb_scenario_parse("dir/mine.ini", text, strlen(text), &sc, &err);
}

#define HEAD "[scenario]\nduration = 4s\nrate = 9\n"      /* lines 1 to 3 */
#define KIND "[kind a]\n"

START_TEST(shortest_file_gets_defaults)
{
	ck_assert_msg(!parse(HEAD KIND), "%s", err.text);
	ck_assert_str_eq(sc.name, "mine");
	ck_assert_str_eq(sc.summary, "");
	ck_assert_uint_eq(sc.duration_ns, 4 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.rate, 9);
	ck_assert_uint_eq(sc.tenants, 1);
	ck_assert_uint_eq(sc.seed, 1);
	ck_assert_uint_eq(sc.workers, 0);
	ck_assert(sc.tenant_skew == 0 && sc.burst.multiplier == 1);
	ck_assert_uint_eq(sc.kinds_count, 1);
	ck_assert_str_eq(sc.kinds[0].name, "a");
	ck_assert(sc.kinds[0].weight == 1);
	ck_assert_uint_eq(sc.kinds[0].work_ms_max, 0);
	ck_assert_uint_eq(sc.faults.kills, 0);
}
END_TEST

START_TEST(every_key_is_read)
{
	static const char text[] =
		"\xEF\xBB\xBF# comment\r\n"
		"  [scenario] ; indented, and with a comment\r\n"
		"name = other-name\r\n"
		"summary = what = it: is\r\n"
		"duration = 1m30s\r\nrate=7\r\n  tenants : 3\r\ntenant_skew = 0.25\r\n"
		"seed = 18446744073709551615\r\nworkers = 12 ; inline\r\n"
		"[burst]\r\nmultiplier = 2.5\r\nstart = 500ms\r\nend = 1.5s\r\n"
		"[errors]\r\nrate_limit = 0.1\r\ntransient = 0.2\r\npermanent = 1\r\n"
		"[faults]\r\nkills = 4\r\nvictim = syncer\r\nstart = 0\r\nend = 90s\r\n"
		"[kind a]\r\nweight = 0.5\r\nwork_ms = 5..30\r\npayload_bytes = 65536\r\n"
		"[ kind  b ]\r\nwork_ms = 8";

	ck_assert_msg(!parse(text), "%s", err.text);
	ck_assert_str_eq(sc.name, "other-name");
	ck_assert_str_eq(sc.summary, "what = it: is");
	ck_assert_uint_eq(sc.duration_ns, 90 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.rate, 7);
	ck_assert_uint_eq(sc.tenants, 3);
	ck_assert(sc.tenant_skew == 0.25);
	ck_assert_uint_eq(sc.seed, UINT64_MAX);
	ck_assert_uint_eq(sc.workers, 12);
	ck_assert(sc.burst.multiplier == 2.5);
	ck_assert_uint_eq(sc.burst.start_ns, 500 * QB_NS_PER_MS);
	ck_assert_uint_eq(sc.burst.end_ns, 1500 * QB_NS_PER_MS);
	ck_assert(sc.error_probability[QB_ERROR_CLASS_RATE_LIMIT] == 0.1);
	ck_assert(sc.error_probability[QB_ERROR_CLASS_TRANSIENT] == 0.2);
	ck_assert(sc.error_probability[QB_ERROR_CLASS_PERMANENT] == 1);
	ck_assert_uint_eq(sc.faults.kills, 4);
	ck_assert_uint_eq(sc.faults.victim, QB_VICTIM_SYNCER);
	ck_assert_uint_eq(sc.faults.end_ns, 90 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.kinds_count, 2);
	ck_assert(sc.kinds[0].weight == 0.5);
	ck_assert_uint_eq(sc.kinds[0].work_ms_min, 5);
	ck_assert_uint_eq(sc.kinds[0].work_ms_max, 30);
	ck_assert_uint_eq(sc.kinds[0].payload_bytes_min, 65536);
	ck_assert_uint_eq(sc.kinds[0].payload_bytes_max, 65536);
	ck_assert_str_eq(sc.kinds[1].name, "b");
	ck_assert_uint_eq(sc.kinds[1].work_ms_min, 8);
}
END_TEST

#define KEYS "[keys]\nkeys = 7\nprocesses = 3\n"

START_TEST(keys_give_a_scenario_another_shape)
{
	ck_assert_msg(!parse("[scenario]\nseed = 9\n" KEYS "watch = 2s\n" KIND), "%s", err.text);
	ck_assert_uint_eq(sc.shape, QB_SHAPE_KEYS);
	ck_assert_uint_eq(sc.keys.keys, 7);
	ck_assert_uint_eq(sc.keys.processes, 3);
	ck_assert_uint_eq(sc.keys.watch_ns, 2 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.duration_ns, 0);
	struct qb_keyset set = qb_scenario_keyset(&sc);

	ck_assert_uint_eq(qb_keyset_jobs(&set), 5 * 7 * 3 + 7);
	ck_assert_msg(!parse(HEAD KIND), "%s", err.text);
	ck_assert_uint_eq(sc.shape, QB_SHAPE_LOAD);
	set = qb_scenario_keyset(&sc);
	ck_assert_uint_eq(set.keys, 0);
}
END_TEST

#define CACHE "[cache]\nprocesses = 2\ncallers = 3\n"

START_TEST(cache_gives_a_scenario_another_shape)
{
	ck_assert_msg(!parse("[scenario]\n" CACHE "addresses = 5\nrequests = 70\nskew = 0.5\nfailing = 2\nrounds = 4\n"
			     "kills = 1\ndeadline = 3s\nmemory = 65536\ndurable = 1\nstale_errors = 1\n" KIND), "%s", err.text);
	ck_assert_uint_eq(sc.shape, QB_SHAPE_CACHE);
	ck_assert(sc.cache.processes == 2 && sc.cache.callers == 3);
	ck_assert(sc.cache.skew == 0.5);
	ck_assert_uint_eq(sc.cache.deadline_ns, 3 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.cache.memory_bytes, 65536);
	ck_assert(sc.cache.durable == 1 && sc.cache.stale_errors == 1);
	ck_assert_uint_eq(sc.tenants, 1);
	struct qb_cacheset set = qb_scenario_cacheset(&sc);

	ck_assert_uint_eq(set.callers, 6);
	ck_assert_uint_eq(qb_cacheset_jobs(&set), 4 * 70 + 2 * 2 * 6 + 4 * 6);
	ck_assert_msg(!parse("[scenario]\n" CACHE "rounds = 4\nkills = 9\n" KIND), "%s", err.text);
	ck_assert(sc.cache.skew == 1.1);
	ck_assert_uint_eq(sc.cache.deadline_ns, 10 * QB_NS_PER_S);
	set = qb_scenario_cacheset(&sc);
	ck_assert_uint_eq(qb_cacheset_jobs(&set), (4 + 9) * 6);
	ck_assert_msg(!parse(HEAD KIND), "%s", err.text);
	set = qb_scenario_cacheset(&sc);
	ck_assert_uint_eq(qb_cacheset_jobs(&set), 0);
}
END_TEST

#define BURST(lines) HEAD KIND "[burst]\n" lines
#define FAULTS(lines) HEAD KIND "[faults]\n" lines
#define LONG_40 "0123456789012345678901234567890123456789"

static const struct bad {
	const char *text;
	const char *says;       /* the message begins with "dir/mine.ini" and this */
} bad_files[] = {
	/* Structure. */
	{ "rate = 9\n" HEAD KIND,
	  ":1: \"rate\" stands before the first section; begin with [scenario]" },
	{ "# only\n\n[scenari]\n", ":3: unknown section \"scenari\"; did you mean \"scenario\"?" },
	{ HEAD "[qqq]\n", ":4: unknown section \"qqq\"; there is scenario, burst, errors," },
	{ HEAD "[burst\n", ":4: a section stands alone on its line, like [burst]" },
	{ HEAD "[burst] x = 1\n", ":4: a section stands alone on its line" },
	{ HEAD "[burst two]\n", ":4: section [burst] takes no name" },
	{ HEAD "[scenario]\n", ":4: section [scenario] is there already, on line 1" },
	{ HEAD "nonsense\n" KIND, ":4: neither [section] nor \"name = value\"" },
	{ HEAD "nonsense\n" KIND "foo = 1\n", ":4: neither [section] nor \"name = value\"" },
	{ HEAD "rate = 8\n" KIND, ":4: rate was given already, on line 3" },
	{ HEAD KIND "weight = 1\nweight = 2\n", ":6: weight was given already, on line 5" },
	{ "[scenario]\nrate = 9\n" KIND, ":1: section [scenario] must say duration" },
	{ KIND, ": section [scenario] must say duration" },
	{ HEAD, ": no kind of job; a scenario has 1 to 8 sections like [kind entity_update]" },
	{ HEAD "summary = a\x1b[31mb\n", ":4: control character 0x1b; is this a text file?" },
	{ HEAD "summary = " LONG_40 LONG_40 LONG_40 LONG_40 "\n",
	  ":4: summary has more than 159 characters" },
	{ HEAD "summary = " LONG_40 LONG_40 LONG_40 LONG_40 LONG_40 LONG_40 "\n",
	  ":4: the line is longer than " },
	/* Names. */
	{ HEAD "tennants = 4\n", ":4: unknown key \"tennants\"; did you mean \"tenants\"?" },
	{ HEAD "= 4\n", ":4: unknown key \"\"; there is name, summary, duration, rate," },
	{ HEAD "multiplier = 4\n",
	  ":4: \"multiplier\" belongs into section [burst], not into [scenario]" },
	{ HEAD KIND "wieght = 4\n", ":5: unknown key \"wieght\"; did you mean \"weight\"?" },
	{ HEAD "name = a/b\n" KIND, ":4: \"a/b\" cannot name a scenario" },
	{ HEAD "[kind]\n", ":4: a [kind] section needs a name, like [kind entity_update]" },
	{ HEAD KIND "[kind a b]\n", ":5: \"a b\" cannot name a kind" },
	{ HEAD KIND "weight = 1\n\n[kind a]\nweight = 1\n", ":7: [kind a] is there twice" },
	{ HEAD "[kind " LONG_40 "]\n", ":4: the name of a kind has at most 31 characters" },
	{ HEAD "[kind a]\n[kind b]\n[kind c]\n[kind d]\n[kind e]\n[kind f]\n[kind g]\n[kind h]\n"
	  "[kind i]\n", ":12: more than 8 kinds of jobs" },
	/* Values. */
	{ "[scenario]\nrate = 9\nduration = 30\n",
	  ":3: duration: \"30\" is not a duration with its unit" },
	{ "[scenario]\nrate = 9\nduration = 0\n", ":3: duration: 0s is out of range (1ms to 24h)" },
	{ "[scenario]\nrate = 9\nduration = 25h\n",
	  ":3: duration: 25h is out of range (1ms to 24h)" },
	{ "[scenario]\nrate = 0\n", ":2: rate: 0 is out of range (1 to 1000000)" },
	{ "[scenario]\nrate = -5\n", ":2: rate: \"-5\" is not a whole number" },
	{ "[scenario]\nrate =\n", ":2: rate: \"\" is not a whole number" },
	{ "[scenario]\nrate = 4294967297\n", ":2: rate: 4294967297 is out of range" },
	{ "[scenario]\nrate = 99999999999999999999\n",
	  ":2: rate: 99999999999999999999 is out of range (1 to" },
	{ HEAD "tenants = 0\n", ":4: tenants: 0 is out of range (1 to 1000000)" },
	{ HEAD "tenant_skew = 1.5\n", ":4: tenant_skew: 1.5 is out of range (0 to 1)" },
	{ HEAD "tenant_skew = nan\n", ":4: tenant_skew: \"nan\" is not a number" },
	{ HEAD "seed = 18446744073709551616\n",
	  ":4: seed: \"18446744073709551616\" is not a whole" },
	{ HEAD "workers = 1025\n", ":4: workers: 1025 is out of range (0 to 1024)" },
	{ BURST("multiplier = 1001\n"), ":6: multiplier: 1001 is out of range (0 to 1000)" },
	{ BURST("multiplier = 2\nstart = 3s\nend = 3s\n"),
	  ":8: the burst must end after it starts (start 3s, end 3s)" },
	{ BURST("multiplier = 2\nstart = 3s\n"), ":5: section [burst] must say end" },
	{ HEAD "[errors]\ntransient = 1.01\n", ":5: transient: 1.01 is out of range (0 to 1)" },
	{ FAULTS("kills = 0\n"), ":6: kills: 0 is out of range (1 to 10000)" },
	{ FAULTS("kills = 1\nvictim = wroker\n"),
	  ":7: victim: \"wroker\" is not a victim (worker, pool, "
	  "parent, syncer, stop, postgres or any); did you mean \"worker\"?" },
	{ FAULTS("kills = 1\nvictim = none\n"), ":7: victim: \"none\" is not a victim" },
	{ FAULTS("kills = 1\nvictim = pool\nstart = 1s\nend = 5s\n"),
	  ":9: the fault window ends at 5s, behind the duration of 4s" },
	{ FAULTS("kills = 1\nstart = 2s\nend = 1s\n"),
	  ":8: the fault window must end after it starts" },
	{ FAULTS("kills = 1\nvictim = pool\nend = 1s\n"), ":5: section [faults] must say start" },
	{ HEAD KIND "weight = 0\n[kind b]\nweight = 0\n",
	  ":6: the weights of all kinds add up to 0" },
	/* Lists. */
	{ HEAD KIND "[processes]\ncounts = 1, 2\n", ":5: section [processes] must say backlog" },
	{ HEAD KIND "[processes]\nbacklog = 9\ncounts = 1,,2\n", ":7: counts: \"1,,2\" is not one to eight whole numbers" },
	{ HEAD KIND "[processes]\nbacklog = 9\ncounts = 1,\n", ":7: counts: \"1,\" is not one to eight whole numbers" },
	{ HEAD KIND "[processes]\nbacklog = 9\ncounts =\n", ":7: counts: \"\" is not one to eight whole numbers" },
	{ HEAD KIND "[processes]\ncounts = 1,2,3,4,5,6,7,8,9\n", ":6: counts: \"1,2,3,4,5,6,7,8,9\" is not one to eight" },
	{ HEAD KIND "[processes]\ncounts = 1, 0\n", ":6: counts: 0 is out of range (1 to 200)" },
	{ HEAD KIND "[processes]\ncounts = 4, 4\n", ":6: counts: 4 is there twice" },
	{ HEAD KIND "[retries]\njitter = 0, 51\n", ":6: jitter: 51 is out of range (0 to 50)" },
	{ HEAD KIND "weight = -1\n", ":5: weight: -1 is out of range (0 to 1000000)" },
	{ HEAD KIND "work_ms = 9..8\n", ":5: work_ms: 9..8 begins above its end" },
	{ HEAD KIND "work_ms = 1..3600001\n",
	  ":5: work_ms: 3600001 is out of range (0 to 3600000)" },
	{ HEAD KIND "work_ms = 1..2..3\n", ":5: work_ms: \"1..2..3\" is not a number or a range" },
	{ HEAD KIND "work_ms = 1..4294967297\n",
	  ":5: work_ms: 1..4294967297 is out of range (0 to 3600000)" },
	{ HEAD KIND "work_ms = ..3\n", ":5: work_ms: \"..3\" is not a number or a range" },
	/* Keys: no rate, no other faults than their own. */
	{ HEAD KEYS KIND, ":2: duration: a scenario with [keys] has none, one phase follows the other" },
	{ "[scenario]\n" KEYS KIND "[burst]\nmultiplier = 2\nstart = 0\nend = 1s\n",
	  ":6: section [burst] does not go together with [keys]" },
	{ "[scenario]\n" KEYS KIND "[faults]\nkills = 2\nvictim = pool\nstart = 0\nend = 1s\n",
	  ":6: section [faults] does not go together with [keys]" },
	{ "[scenario]\n[keys]\nkeys = 7\n" KIND, ":2: section [keys] must say processes" },
	{ "[scenario]\n[keys]\nkeys = 0\n", ":3: keys: 0 is out of range (1 to 4000)" },
	{ "[scenario]\n[keys]\nprocesses = 65\n", ":3: processes: 65 is out of range (1 to 64)" },
	{ "[scenario]\n" KEYS "watch = 1ms\n" KIND, ":5: watch: 1ms is out of range (100ms to 24h)" },
	{ "[scenario]\nkeys = 3\n", ":2: \"keys\" belongs into section [keys], not into [scenario]" },
	/* A cache. */
	{ HEAD CACHE "rounds = 1\n" KIND, ":2: duration: a scenario with [cache] has none, one phase follows the other" },
	{ "[scenario]\ntenants = 1\n" CACHE "rounds = 1\n" KIND,
	  ":2: tenants: a scenario with [cache] has none, its jobs belong to addresses" },
	{ "[scenario]\n" KEYS CACHE "rounds = 1\n" KIND, ":2: section [keys] does not go together with [cache]" },
	{ "[scenario]\n" CACHE KIND, ":2: [cache] asks for nothing; say addresses and requests, or rounds" },
	{ "[scenario]\n" CACHE "addresses = 9\n" KIND, ":2: requests: at least as many as addresses (9)" },
	{ "[scenario]\n" CACHE "requests = 9\nrounds = 1\n" KIND, ":5: requests: at least as many as addresses (0)" },
	{ "[scenario]\n" CACHE "rounds = 1\nskew = 1\n" KIND, ":6: skew: means nothing without addresses" },
	{ "[scenario]\n" CACHE "skew = 0\n" KIND, ":5: skew: 0 is out of range (0.01 to 5)" },
	{ "[scenario]\n" CACHE "addresses = 3\nrequests = 9\nkills = 4\n" KIND,
	  ":7: kills: at most one for each of the 3 addresses" },
	{ "[scenario]\n[cache]\nrounds = 1\nprocesses = 9\ncallers = 60\n" KIND,
	  ":5: 9 processes of 60 callers are more than 256 callers" },
	{ "[scenario]\n[cache]\nadresses = 1\n", ":3: unknown key \"adresses\"; did you mean \"addresses\"?" },
	{ HEAD KIND "payload_bytes = 65537\n",
	  ":5: payload_bytes: 65537 is out of range (0 to 65536)" },
};

START_TEST(bad_file_is_refused_with_line_and_hint)
{
	const struct bad *bad = &bad_files[_i];
	struct qb_scenario before = sc;

	ck_assert_int_eq(parse(bad->text), QB_EPARSE);
	ck_assert_int_eq(err.code, QB_EPARSE);
	ck_assert_msg(!strncmp(err.text, "dir/mine.ini", 12) &&
		      !strncmp(err.text + 12, bad->says, strlen(bad->says)),
		      "wanted \"...%s\"\n   got \"%s\"", bad->says, err.text);
	/* Nothing half-read comes out. */
	ck_assert_mem_eq(&sc, &before, sizeof(sc));
}
END_TEST

START_TEST(nul_byte_is_refused)
{
	static const char text[] = HEAD "summary = a\0b\n" KIND;

	ck_assert_int_eq(qb_scenario_parse("x.ini", text, sizeof(text) - 1, &sc, &err), QB_EPARSE);
	ck_assert_str_eq(err.text, "x.ini:4: control character 0x00; is this a text file?");
}
END_TEST

START_TEST(every_prefix_of_a_file_is_read_or_refused)
{
	char *text = NULL;
	size_t bytes = 0, n;
	FILE *out = open_memstream(&text, &bytes);

	ck_assert_int_eq(qb_scenario_load("crash_recovery", &sc, &err), 0);
	ck_assert_int_eq(qb_scenario_print(&sc, out), 0);
	fclose(out);
	for (n = 0; n <= bytes; n++) {
		/* A copy of exactly that size: a sanitizer then sees a read behind it. */
		char *cut = malloc(n ? n : 1);
		int ret;

		memcpy(cut, text, n);
		qb_err_clear(&err);
		ret = qb_scenario_parse("cut.ini", cut, n, &sc, &err);
		ck_assert(ret ? ret == QB_EPARSE && *err.text : !qb_scenario_check(&sc, &err));
		free(cut);
	}
	free(text);
}
END_TEST

START_TEST(every_builtin_loads_and_round_trips)
{
	const char *const *names = qb_scenario_names();
	size_t i;

	for (i = 0; names[i]; i++) {
		struct qb_scenario again;
		char *text = NULL;
		size_t bytes = 0;
		FILE *out = open_memstream(&text, &bytes);

		memset(&sc, 0, sizeof(sc));
		memset(&again, 0, sizeof(again));
		ck_assert_msg(!qb_scenario_load(names[i], &sc, &err), "%s", err.text);
		ck_assert_str_eq(sc.name, names[i]);
		ck_assert_str_ne(sc.summary, "");
		ck_assert_int_eq(qb_scenario_print(&sc, out), 0);
		fclose(out);
		ck_assert_msg(!qb_scenario_parse("again.ini", text, bytes, &again, &err), "%s\n%s",
			      err.text, text);
		ck_assert_mem_eq(&sc, &again, sizeof(sc));
		free(text);
	}
	ck_assert_uint_eq(i, 18);
}
END_TEST

START_TEST(awkward_values_round_trip)
{
	struct qb_scenario again;
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	memset(&again, 0, sizeof(again));
	memset(&sc, 0, sizeof(sc));
	ck_assert_int_eq(qb_scenario_load("crash_recovery", &sc, &err), 0);
	sc.tenant_skew = 0.1 + 0.2;
	sc.kinds[0].weight = 1.0 / 3;
	sc.burst.multiplier = 0;
	sc.burst.start_ns = 0;
	sc.duration_ns = 12345678901;
	sc.faults.start_ns = 1;
	sc.error_probability[QB_ERROR_CLASS_PERMANENT] = 1e-17;
	sc.seed = UINT64_MAX;
	ck_assert_int_eq(qb_scenario_print(&sc, out), 0);
	fclose(out);
	ck_assert_msg(!qb_scenario_parse("x.ini", text, bytes, &again, &err), "%s\n%s", err.text,
		      text);
	ck_assert_mem_eq(&sc, &again, sizeof(sc));
	free(text);
}
END_TEST

START_TEST(alias_keeps_the_name_given)
{
	struct qb_scenario other;

	ck_assert_int_eq(qb_scenario_load("steady", &sc, &err), 0);
	ck_assert_int_eq(qb_scenario_load("steady_over", &other, &err), 0);
	ck_assert_str_eq(sc.name, "steady");
	ck_assert_uint_eq(sc.seed, other.seed);
	ck_assert_str_eq(qb_scenario_alias("steady"), "steady_over");
	ck_assert_ptr_null(qb_scenario_alias("steady_over"));
}
END_TEST

START_TEST(unknown_name_gets_a_hint)
{
	ck_assert_int_eq(qb_scenario_load("crash_recvery", &sc, &err), QB_EUSAGE);
	ck_assert_str_eq(err.text,
			 "no scenario \"crash_recvery\"; did you mean \"crash_recovery\"?");
	ck_assert_int_eq(qb_scenario_load("zzz", &sc, &err), QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "'qbench list'"));
	ck_assert_ptr_nonnull(strstr(err.text, "./zzz.ini"));
}
END_TEST

START_TEST(paths_are_read_as_files)
{
	char path[] = "/tmp/qb-test-scenario-XXXXXX.ini";
	int fd = mkstemps(path, 4);
	FILE *out = fdopen(fd, "w");

	fputs("[scenario]\nname = mine\nduration = 4s\nrate = 9\n[kind a]\nwork_ms = x\n", out);
	fclose(out);
	ck_assert_int_eq(qb_scenario_load(path, &sc, &err), QB_EPARSE);
	ck_assert_int_eq(strncmp(err.text, path, strlen(path)), 0);
	ck_assert_ptr_nonnull(strstr(err.text, ":6: work_ms"));
	ck_assert_int_eq(truncate(path, 55), 0);
	ck_assert_msg(!qb_scenario_load(path, &sc, &err), "%s", err.text);
	ck_assert_str_eq(sc.name, "mine");
	unlink(path);
	ck_assert_int_eq(qb_scenario_load(path, &sc, &err), -ENOENT);
	ck_assert_int_eq(qb_scenario_load("no-such-file.ini", &sc, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "no-such-file.ini"));
}
END_TEST

static void load(const char *name)
{
	ck_assert_msg(!qb_scenario_load(name, &sc, &err), "%s", err.text);
}

static int change(struct qb_scenario_change wanted)
{
	return qb_scenario_override(&sc, &wanted, &err);
}

START_TEST(override_changes_only_what_is_given)
{
	struct qb_scenario before;

	load("burst");
	before = sc;
	ck_assert_int_eq(change((struct qb_scenario_change){ .duration_ns = 5, .rate = 7 }), 0);
	ck_assert_mem_eq(&sc, &before, sizeof(sc));
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_DURATION | QB_GIVEN_RATE | QB_GIVEN_TENANTS | QB_GIVEN_SEED |
			 QB_GIVEN_WORKERS,
		.duration_ns = 3 * QB_NS_PER_S, .rate = 20, .tenants = 2, .seed = 0,
		.workers = 3 }), 0);
	ck_assert_uint_eq(sc.duration_ns, 3 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.rate, 20);
	ck_assert_uint_eq(sc.tenants, 2);
	ck_assert_uint_eq(sc.seed, 0);
	ck_assert_uint_eq(sc.workers, 3);
	/* The spike stays where it is, here behind the end. */
	ck_assert_uint_eq(sc.burst.start_ns, 5 * QB_NS_PER_S);
}
END_TEST

START_TEST(override_out_of_range_changes_nothing)
{
	struct qb_scenario before;

	load("burst");
	before = sc;
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_RATE }), QB_EUSAGE);
	ck_assert_str_eq(err.text, "rate: 0 is out of range (1 to 1000000)");
	/* 2^32 + 1 must not become 1. */
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_TENANTS, .tenants = (1ull << 32) + 1 }), QB_EUSAGE);
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_KILLS, .kills = (1ull << 32) + 1 }), QB_EUSAGE);
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_DURATION, .duration_ns = UINT64_MAX }), QB_EUSAGE);
	ck_assert_mem_eq(&sc, &before, sizeof(sc));
}
END_TEST

START_TEST(override_of_kills_places_them)
{
	load("burst");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_KILLS | QB_GIVEN_DURATION, .kills = 2,
		.duration_ns = 8 * QB_NS_PER_S }), 0);
	ck_assert_uint_eq(sc.faults.victim, QB_VICTIM_WORKER);
	ck_assert_uint_eq(sc.faults.start_ns, 5 * QB_NS_PER_S);
	ck_assert_uint_eq(sc.faults.end_ns, 8 * QB_NS_PER_S);

	load("steady");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_KILLS | QB_GIVEN_VICTIM, .kills = 1,
		.victim = QB_VICTIM_POOL }), 0);
	ck_assert_uint_eq(sc.faults.victim, QB_VICTIM_POOL);
	ck_assert_uint_eq(sc.faults.start_ns, 2500 * QB_NS_PER_MS);
	ck_assert_uint_eq(sc.faults.end_ns, 7500 * QB_NS_PER_MS);

	load("crash_recovery");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_KILLS, .kills = 50 }), 0);
	ck_assert_uint_eq(sc.faults.kills, 50);
	ck_assert_uint_eq(sc.faults.start_ns, 2 * QB_NS_PER_S);
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_KILLS }), 0);
	ck_assert_uint_eq(sc.faults.end_ns, 0);
	ck_assert_uint_eq(sc.faults.victim, QB_VICTIM_NONE);
}
END_TEST

START_TEST(override_refuses_faults_that_cannot_happen)
{
	load("crash_recovery");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_DURATION, .duration_ns = QB_NS_PER_S }), QB_EUSAGE);
	ck_assert_str_eq(err.text, "the kills of scenario crash_recovery begin at 2s, behind the "
			 "duration of 1s; choose a longer duration or no kills");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_DURATION, .duration_ns = 5 * QB_NS_PER_S }), 0);
	ck_assert_uint_eq(sc.faults.end_ns, 5 * QB_NS_PER_S);

	load("steady");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_VICTIM, .victim = QB_VICTIM_POOL }), QB_EUSAGE);
	ck_assert_ptr_nonnull(strstr(err.text, "--kills=N"));
}
END_TEST

START_TEST(override_refuses_what_keys_do_not_have)
{
	struct qb_scenario before;

	load("idempotent_enqueue");
	before = sc;
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_RATE, .rate = 5 }), QB_EUSAGE);
	ck_assert_str_eq(err.text, "scenario idempotent_enqueue has no rate: its phases follow each other");
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_DURATION, .duration_ns = QB_NS_PER_S }), QB_EUSAGE);
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_KILLS, .kills = 3 }), QB_EUSAGE);
	ck_assert_mem_eq(&sc, &before, sizeof(sc));
	ck_assert_int_eq(change((struct qb_scenario_change){
		.given = QB_GIVEN_SEED | QB_GIVEN_WORKERS | QB_GIVEN_KILLS, .seed = 8, .workers = 2 }), 0);
	ck_assert_uint_eq(sc.seed, 8);
	ck_assert_uint_eq(sc.workers, 2);
}
END_TEST

START_TEST(override_of_kills_is_the_caches_own)
{
	load("cache_dedup");
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_KILLS, .kills = 7 }), 0);
	ck_assert_uint_eq(sc.cache.kills, 7);
	ck_assert_uint_eq(sc.faults.kills, 0);
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_KILLS, .kills = 51 }), QB_EUSAGE);
	ck_assert_str_eq(err.text, "kills: at most one for each of the 50 addresses");
	ck_assert_int_eq(change((struct qb_scenario_change){ .given = QB_GIVEN_VICTIM, .victim = QB_VICTIM_POOL }), QB_EUSAGE);
	ck_assert_str_eq(err.text, "scenario cache_dedup has no choice of victims: its phases follow each other");
}
END_TEST

START_TEST(check_refuses_what_a_file_cannot_say)
{
	load("steady");
	strcpy(sc.summary, "a\nb");
	ck_assert_int_eq(qb_scenario_check(&sc, &err), QB_EUSAGE);
	strcpy(sc.summary, "a ; b");
	ck_assert_int_eq(qb_scenario_check(&sc, &err), QB_EUSAGE);
	strcpy(sc.summary, "a; b");
	ck_assert_int_eq(qb_scenario_check(&sc, &err), 0);
	strcpy(sc.kinds[1].name, "a\"b");
	ck_assert_int_eq(qb_scenario_check(&sc, &err), QB_EUSAGE);
	load("steady");
	sc.tenant_skew = NAN;
	ck_assert_int_eq(qb_scenario_check(&sc, &err), QB_EUSAGE);
	load("steady");
	sc.kinds_count = QB_SCENARIO_KINDS_MAX + 1;
	ck_assert_int_eq(qb_scenario_check(&sc, &err), QB_EUSAGE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scenario");
	TCase *tc = tcase_create("scenario");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, set_up, NULL);
	tcase_add_test(tc, shortest_file_gets_defaults);
	tcase_add_test(tc, every_key_is_read);
	tcase_add_test(tc, keys_give_a_scenario_another_shape);
	tcase_add_test(tc, cache_gives_a_scenario_another_shape);
	tcase_add_loop_test(tc, bad_file_is_refused_with_line_and_hint, 0,
			    (int)(sizeof(bad_files) / sizeof(bad_files[0])));
	tcase_add_test(tc, nul_byte_is_refused);
	tcase_add_test(tc, every_prefix_of_a_file_is_read_or_refused);
	tcase_add_test(tc, every_builtin_loads_and_round_trips);
	tcase_add_test(tc, awkward_values_round_trip);
	tcase_add_test(tc, alias_keeps_the_name_given);
	tcase_add_test(tc, unknown_name_gets_a_hint);
	tcase_add_test(tc, paths_are_read_as_files);
	tcase_add_test(tc, override_changes_only_what_is_given);
	tcase_add_test(tc, override_out_of_range_changes_nothing);
	tcase_add_test(tc, override_of_kills_places_them);
	tcase_add_test(tc, override_refuses_faults_that_cannot_happen);
	tcase_add_test(tc, override_refuses_what_keys_do_not_have);
	tcase_add_test(tc, override_of_kills_is_the_caches_own);
	tcase_add_test(tc, check_refuses_what_a_file_cannot_say);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
