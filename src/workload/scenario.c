/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/scenario.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/num.h"
#include "base/strbuf.h"
#include "base/visible.h"
#include "shm/status.h"
#include "workload/builtin.h"
#include "workload/ini.h"
#include "workload/keys.h"

#define FILE_MAX_BYTES (1u << 20)
#define NAMES_MAX 64
#define WATCH_NS (5 * QB_NS_PER_S)
#define SKEW 1.1
#define DEADLINE_NS (10 * QB_NS_PER_S)
#define CALLERS_MAX 256u

static const struct {
	const char *name, *target;
} aliases[] = {
	{ "steady", "steady_over" },
};

#define ALIASES_COUNT (sizeof(aliases) / sizeof(aliases[0]))

static const char *const error_class_names[QB_ERROR_CLASS_COUNT] = {
	"", "rate_limit", "transient", "permanent",
};

static const char *const victim_names[QB_VICTIM_COUNT + 1] = {
	"none", "worker", "pool", "parent", "syncer", "stop", "postgres", "any", NULL,
};

const char *qb_error_class_name(unsigned error_class)
{
	return error_class < QB_ERROR_CLASS_COUNT ? error_class_names[error_class] : "unknown";
}

const char *qb_victim_name(unsigned victim)
{
	return victim < QB_VICTIM_COUNT ? victim_names[victim] : "unknown";
}

int qb_victim_parse(const char *text, uint32_t *victim, struct qb_err *err)
{
	const char *near;
	uint32_t i;

	for (i = QB_VICTIM_NONE + 1; i < QB_VICTIM_COUNT; i++) {
		if (!strcmp(text, victim_names[i])) {
			*victim = i;
			return 0;
		}
	}
	near = qb_nearest(text, victim_names + 1);
	return qb_err_set(err, QB_EUSAGE,
			  "\"%s\" is not a victim (worker, pool, parent, syncer, stop, postgres or any)%s%s%s", text,
			  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

const char *const *qb_scenario_names(void)
{
	static const char *names[NAMES_MAX];
	size_t n = 0, i;

	for (i = 0; qb_builtins[i].name && n < NAMES_MAX - 1; i++)
		names[n++] = qb_builtins[i].name;
	for (i = 0; i < ALIASES_COUNT && n < NAMES_MAX - 1; i++)
		names[n++] = aliases[i].name;
	names[n] = NULL;
	return names;
}

const char *qb_scenario_alias(const char *name)
{
	size_t i;

	for (i = 0; i < ALIASES_COUNT; i++) {
		if (!strcmp(aliases[i].name, name))
			return aliases[i].target;
	}
	return NULL;
}

/* ./dir/mine.ini -> mine. One that cannot be a name is left for the check to refuse. */
static void default_name(const char *file, char *name, size_t cap)
{
	const char *slash = strrchr(file, '/');
	size_t bytes;

	file = slash ? slash + 1 : file;
	bytes = strlen(file);
	if (bytes > 4 && !strcmp(file + bytes - 4, ".ini"))
		bytes -= 4;
	if (bytes >= cap)
		bytes = cap - 1;
	memcpy(name, file, bytes);
	name[bytes] = '\0';
}

int qb_scenario_parse(const char *file, const char *text, size_t bytes, struct qb_scenario *sc,
		      struct qb_err *err)
{
	struct qb_scenario read = { .tenants = 1, .seed = 1, .burst = { .multiplier = 1 },
				    .keys = { .watch_ns = WATCH_NS },
				    .cache = { .skew = SKEW, .deadline_ns = DEADLINE_NS } };
	int ret;

	default_name(file, read.name, sizeof(read.name));
	ret = qb_ini_read(file, text, bytes, &read, err);
	if (!ret)
		*sc = read;
	return ret;
}

static int load_builtin(const char *name, struct qb_scenario *sc, struct qb_err *err)
{
	const char *target = qb_scenario_alias(name), *near;
	char *file;
	size_t i;
	int ret;

	if (!target)
		target = name;
	for (i = 0; qb_builtins[i].name; i++) {
		if (strcmp(qb_builtins[i].name, target))
			continue;
		file = qb_xasprintf("%s.ini", name);
		ret = qb_scenario_parse(file, qb_builtins[i].text, strlen(qb_builtins[i].text), sc,
					err);
		free(file);
		return ret ? qb_err_context(err, "built-in scenario") : 0;
	}
	near = qb_nearest(name, qb_scenario_names());
	if (near)
		return qb_err_set(err, QB_EUSAGE, "no scenario \"%s\"; did you mean \"%s\"?", name,
				  near);
	return qb_err_set(err, QB_EUSAGE,
			  "no scenario \"%s\"; 'qbench list' names them, a file is given by its "
			  "path (./%s.ini)", name, name);
}

int qb_scenario_load(const char *name_or_path, struct qb_scenario *sc, struct qb_err *err)
{
	size_t length = strlen(name_or_path), bytes;
	int is_path = strchr(name_or_path, '/') ||
		      (length >= 4 && !strcmp(name_or_path + length - 4, ".ini"));
	char *text;
	int ret;

	if (!is_path)
		return load_builtin(name_or_path, sc, err);
	ret = qb_read_file(name_or_path, FILE_MAX_BYTES, &text, &bytes, err);
	if (ret)
		return qb_err_context(err, "could not load the scenario");
	ret = qb_scenario_parse(name_or_path, text, bytes, sc, err);
	free(text);
	return ret;
}

/* Letters, digits, '_' and '-': the name becomes part of file names, records and JSON unquoted. */
static int is_name(const char *text)
{
	return *text && *text != '-' &&
	       !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789_-")];
}

/* What reads back as it was written. */
static int is_line(const char *text)
{
	size_t i, n, length = strlen(text);

	for (i = 0; i < length; i += n) {
		n = qb_visible_length(text + i, length - i);
		if (!n)
			return 0;
	}
	return !length || (*text != ' ' && *text != ';' && text[length - 1] != ' ' &&
			   !strstr(text, " ;"));
}

static const struct qb_key *find_key(enum qb_section section, const char *name)
{
	const struct qb_key *key;

	for (key = qb_scenario_keys; key->name; key++) {
		if (key->section == section && !strcmp(key->name, name))
			return key;
	}
	abort();        /* a name that is written in this file and not in the table */
}

static int has_burst(const struct qb_scenario *sc)
{
	return sc->burst.start_ns || sc->burst.end_ns || sc->burst.multiplier != 1;
}

static int has_errors(const struct qb_scenario *sc)
{
	return sc->error_probability[QB_ERROR_CLASS_RATE_LIMIT] > 0 ||
	       sc->error_probability[QB_ERROR_CLASS_TRANSIENT] > 0 ||
	       sc->error_probability[QB_ERROR_CLASS_PERMANENT] > 0;
}

static int has_faults(const struct qb_scenario *sc)
{
	return sc->faults.kills || sc->faults.start_ns || sc->faults.end_ns;
}

struct qb_keyset qb_scenario_keyset(const struct qb_scenario *sc)
{
	if (sc->shape != QB_SHAPE_KEYS)
		return (struct qb_keyset){ 0 };
	return (struct qb_keyset){ .keys = sc->keys.keys, .processes = sc->keys.processes };
}

struct qb_cacheset qb_scenario_cacheset(const struct qb_scenario *sc)
{
	const struct qb_scenario_cache *c = &sc->cache;

	if (sc->shape != QB_SHAPE_CACHE)
		return (struct qb_cacheset){ 0 };
	return (struct qb_cacheset){
		.callers = c->processes * c->callers, .addresses = c->addresses, .requests = c->requests, .failing = c->failing,
		.rounds = c->rounds, .kills = c->kills,
	};
}

static int has_processes(const struct qb_scenario *sc)
{
	return sc->processes.counts.count || sc->processes.slots || sc->processes.backlog;
}

static int section_present(const struct qb_scenario *sc, enum qb_section section)
{
	if (!qb_section_applies(section, sc))
		return 0;
	if (section == QB_SECTION_BURST)
		return has_burst(sc);
	if (section == QB_SECTION_PROCESSES)
		return has_processes(sc);
	if (section == QB_SECTION_RETRIES)
		return sc->retries.jitter.count > 0;
	return section != QB_SECTION_FAULTS || has_faults(sc);
}

static int check_ranges(const struct qb_scenario *sc, struct qb_blame *blame, struct qb_err *err)
{
	const struct qb_key *key;

	for (key = qb_scenario_keys; key->name; key++) {
		uint32_t i, n = key->section == QB_SECTION_KIND ? sc->kinds_count : 1;

		if (!section_present(sc, key->section) || !qb_key_applies(key, sc))
			continue;
		for (i = 0; i < n; i++) {
			*blame = (struct qb_blame){ .key = key, .kind = i };
			if (qb_key_check_range(key, qb_key_value(key, sc, i), err))
				return QB_EUSAGE;
		}
	}
	return 0;
}

static int check_kinds(const struct qb_scenario *sc, struct qb_blame *blame, struct qb_err *err)
{
	double sum = 0;
	uint32_t i, j;

	*blame = (struct qb_blame){ 0 };
	if (!sc->kinds_count || sc->kinds_count > QB_SCENARIO_KINDS_MAX)
		return qb_err_set(err, QB_EUSAGE,
				  "no kind of job; a scenario has 1 to %d sections like "
				  "[kind entity_update]", QB_SCENARIO_KINDS_MAX);
	for (i = 0; i < sc->kinds_count; i++) {
		*blame = (struct qb_blame){
			.key = find_key(QB_SECTION_KIND, "weight"), .kind = i, .whole = 1,
		};
		if (!is_name(sc->kinds[i].name))
			return qb_err_set(err, QB_EUSAGE,
					  "\"%s\" cannot name a kind (letters, digits, '_', '-')",
					  sc->kinds[i].name);
		for (j = 0; j < i; j++) {
			if (!strcmp(sc->kinds[i].name, sc->kinds[j].name))
				return qb_err_set(err, QB_EUSAGE, "[kind %s] is there twice",
						  sc->kinds[i].name);
		}
		sum += sc->kinds[i].weight;
	}
	if (!(sum > 0))
		return qb_err_set(err, QB_EUSAGE, "the weights of all kinds add up to 0");
	return 0;
}

static int check_window(const struct qb_scenario *sc, enum qb_section section, uint64_t start_ns,
			uint64_t end_ns, struct qb_blame *blame, struct qb_err *err)
{
	char start[32], end[32], duration[32];

	qb_format_exact_duration(start, sizeof(start), start_ns);
	qb_format_exact_duration(end, sizeof(end), end_ns);
	qb_format_exact_duration(duration, sizeof(duration), sc->duration_ns);
	*blame = (struct qb_blame){ .key = find_key(section, "end") };
	if (start_ns >= end_ns)
		return qb_err_set(err, QB_EUSAGE,
				  "the %s must end after it starts (start %s, end %s)",
				  section == QB_SECTION_BURST ? "burst" : "fault window", start,
				  end);
	/* A burst behind the end is what the original does too when its duration is cut. */
	if (section == QB_SECTION_FAULTS && end_ns > sc->duration_ns)
		return qb_err_set(err, QB_EUSAGE,
				  "the fault window ends at %s, behind the duration of %s", end,
				  duration);
	return 0;
}

static int check_keys(const struct qb_scenario *sc, struct qb_blame *blame, struct qb_err *err)
{
	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_KEYS, "keys"), .whole = 1 };
	if (has_burst(sc) || has_errors(sc) || has_faults(sc))
		return qb_err_set(err, QB_EUSAGE, "[keys] does not go together with [burst], [errors] and [faults]");
	return 0;
}

static int check_cache(const struct qb_scenario *sc, struct qb_blame *blame, struct qb_err *err)
{
	const struct qb_scenario_cache *c = &sc->cache;

	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_CACHE, "addresses"), .whole = 1 };
	if (has_burst(sc) || has_errors(sc) || has_faults(sc))
		return qb_err_set(err, QB_EUSAGE, "[cache] does not go together with [burst], [errors] and [faults]");
	if (!c->addresses && !c->rounds && !c->failing)
		return qb_err_set(err, QB_EUSAGE, "[cache] asks for nothing; say addresses and requests, or rounds");
	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_CACHE, "requests") };
	if (c->requests < c->addresses || (c->requests && !c->addresses))
		return qb_err_set(err, QB_EUSAGE, "requests: at least as many as addresses (%u), and none without", c->addresses);
	blame->key = find_key(QB_SECTION_CACHE, "kills");
	if (c->addresses && c->kills > c->addresses)
		return qb_err_set(err, QB_EUSAGE, "kills: at most one for each of the %u addresses", c->addresses);
	blame->key = find_key(QB_SECTION_CACHE, "callers");
	if (c->processes * c->callers > CALLERS_MAX)
		return qb_err_set(err, QB_EUSAGE, "%u processes of %u callers are more than %u callers", c->processes, c->callers,
				  CALLERS_MAX);
	return 0;
}

int qb_scenario_check_blame(const struct qb_scenario *sc, struct qb_blame *blame,
			    struct qb_err *err)
{
	int ret;

	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_SCENARIO, "name") };
	if (!is_name(sc->name))
		return qb_err_set(err, QB_EUSAGE,
				  "\"%s\" cannot name a scenario (letters, digits, '_' and '-'); "
				  "rename the file or say name = ... in [scenario]", sc->name);
	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_SCENARIO, "summary") };
	if (!is_line(sc->summary))
		return qb_err_set(err, QB_EUSAGE,
				  "summary: one line of UTF-8, without control characters and \" ;\"");
	if (sc->shape >= QB_SHAPE_COUNT)
		return qb_err_set(err, QB_EUSAGE, "a scenario of no known shape");
	ret = check_kinds(sc, blame, err);
	if (!ret)
		ret = check_ranges(sc, blame, err);
	if (!ret && sc->shape == QB_SHAPE_KEYS)
		return check_keys(sc, blame, err);
	if (!ret && sc->shape == QB_SHAPE_CACHE)
		return check_cache(sc, blame, err);
	if (!ret && has_burst(sc))
		ret = check_window(sc, QB_SECTION_BURST, sc->burst.start_ns, sc->burst.end_ns,
				   blame, err);
	if (!ret && has_faults(sc))
		ret = check_window(sc, QB_SECTION_FAULTS, sc->faults.start_ns,
				   sc->faults.end_ns, blame, err);
	if (ret || !has_faults(sc))
		return ret;
	*blame = (struct qb_blame){ .key = find_key(QB_SECTION_FAULTS, "victim") };
	if (sc->faults.victim == QB_VICTIM_NONE || sc->faults.victim >= QB_VICTIM_COUNT)
		return qb_err_set(err, QB_EUSAGE, "kills need a victim");
	return 0;
}

int qb_scenario_check(const struct qb_scenario *sc, struct qb_err *err)
{
	struct qb_blame blame;

	return qb_scenario_check_blame(sc, &blame, err);
}

/* What does not fit becomes the largest value, which no range admits. */
static uint32_t saturate(uint64_t value)
{
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Where kills go that the file did not plan. */
static void place_faults(struct qb_scenario *sc)
{
	sc->faults.start_ns = sc->duration_ns / 4;
	sc->faults.end_ns = sc->duration_ns - sc->duration_ns / 4;
	if (has_burst(sc) && sc->burst.start_ns < sc->duration_ns) {
		sc->faults.start_ns = sc->burst.start_ns;
		sc->faults.end_ns = sc->burst.end_ns;
	}
}

static int change_faults(struct qb_scenario *sc, const struct qb_scenario_change *change,
			 struct qb_err *err)
{
	if (change->given & QB_GIVEN_KILLS) {
		int planned = has_faults(sc);

		sc->faults.kills = saturate(change->kills);
		if (!sc->faults.kills)
			sc->faults = (struct qb_scenario_faults){ 0 };
		else if (!planned)
			place_faults(sc);
		if (sc->faults.kills && sc->faults.victim == QB_VICTIM_NONE)
			sc->faults.victim = QB_VICTIM_WORKER;
	}
	if (change->given & QB_GIVEN_VICTIM) {
		if (!has_faults(sc))
			return qb_err_set(err, QB_EUSAGE,
					  "a victim without kills: scenario %s kills nobody; say "
					  "how often (--kills=N)", sc->name);
		sc->faults.victim = change->victim;
	}
	if (has_faults(sc) && sc->faults.start_ns >= sc->duration_ns) {
		char start[32], duration[32];

		qb_format_exact_duration(start, sizeof(start), sc->faults.start_ns);
		qb_format_exact_duration(duration, sizeof(duration), sc->duration_ns);
		return qb_err_set(err, QB_EUSAGE,
				  "the kills of scenario %s begin at %s, behind the duration of "
				  "%s; choose a longer duration or no kills", sc->name, start,
				  duration);
	}
	if (sc->faults.end_ns > sc->duration_ns)
		sc->faults.end_ns = sc->duration_ns;
	return 0;
}

static int check_change(const struct qb_scenario *sc, const struct qb_scenario_change *change, struct qb_err *err)
{
	static const struct { unsigned given; const char *what; } of_load[] = {
		{ QB_GIVEN_DURATION, "duration" }, { QB_GIVEN_RATE, "rate" }, { QB_GIVEN_TENANTS, "number of tenants" },
		{ QB_GIVEN_KILLS, "choice of kills" }, { QB_GIVEN_VICTIM, "choice of victims" },
	};

	for (size_t i = 0; sc->shape != QB_SHAPE_LOAD && i < sizeof(of_load) / sizeof(of_load[0]); i++)
		/* No kills beside its own is what it has; those of a cache are its own. */
		if (change->given & of_load[i].given &&
		    (of_load[i].given != QB_GIVEN_KILLS || (change->kills && sc->shape != QB_SHAPE_CACHE)))
			return qb_err_set(err, QB_EUSAGE, "scenario %s has no %s: its phases follow each other",
					  sc->name, of_load[i].what);
	return 0;
}

int qb_scenario_override(struct qb_scenario *sc, const struct qb_scenario_change *change,
			 struct qb_err *err)
{
	struct qb_scenario changed = *sc;
	int ret = check_change(sc, change, err);

	if (ret)
		return ret;

	if (change->given & QB_GIVEN_DURATION)
		changed.duration_ns = change->duration_ns;
	if (change->given & QB_GIVEN_RATE)
		changed.rate = saturate(change->rate);
	if (change->given & QB_GIVEN_TENANTS)
		changed.tenants = saturate(change->tenants);
	if (change->given & QB_GIVEN_SEED)
		changed.seed = change->seed;
	if (change->given & QB_GIVEN_WORKERS)
		changed.workers = saturate(change->workers);
	/* So many, and no other number of them. */
	if ((change->given & QB_GIVEN_WORKERS) && changed.processes.counts.count)
		changed.processes.counts = (struct qb_scenario_list){ 1, { changed.workers } };
	if (changed.shape == QB_SHAPE_CACHE && change->given & QB_GIVEN_KILLS)
		changed.cache.kills = saturate(change->kills);
	if (changed.shape == QB_SHAPE_LOAD)
		ret = change_faults(&changed, change, err);
	if (!ret)
		ret = qb_scenario_check(&changed, err);
	if (!ret)
		*sc = changed;
	return ret;
}

static void print_key(const struct qb_key *key, const void *value, FILE *out)
{
	const struct qb_scenario_list *list = value;
	const uint32_t *u32 = value;
	char text[32];

	fprintf(out, "%s = ", key->name);
	switch (key->type) {
	case QB_KEY_TEXT:
		fputs(value, out);
		break;
	case QB_KEY_U32:
		fprintf(out, "%u", *u32);
		break;
	case QB_KEY_U64:
		fprintf(out, "%llu", (unsigned long long)*(const uint64_t *)value);
		break;
	case QB_KEY_DOUBLE:
		fputs(qb_format_exact_double(text, sizeof(text), *(const double *)value), out);
		break;
	case QB_KEY_DURATION:
		fputs(qb_format_exact_duration(text, sizeof(text), *(const uint64_t *)value), out);
		break;
	case QB_KEY_RANGE:
		if (u32[0] == u32[1])
			fprintf(out, "%u", u32[0]);
		else
			fprintf(out, "%u..%u", u32[0], u32[1]);
		break;
	case QB_KEY_VICTIM:
		fputs(qb_victim_name(*u32), out);
		break;
	case QB_KEY_LIST:
		for (uint32_t i = 0; i < list->count; i++)
			fprintf(out, "%s%u", i ? ", " : "", list->values[i]);
		break;
	}
	fputc('\n', out);
}

static void print_section(const struct qb_scenario *sc, enum qb_section section, uint32_t kind,
			  FILE *out)
{
	const struct qb_key *key;

	if (section == QB_SECTION_KIND)
		fprintf(out, "\n[kind %s]\n", sc->kinds[kind].name);
	else
		fprintf(out, "%s[%s]\n", section ? "\n" : "", qb_section_names[section]);
	for (key = qb_scenario_keys; key->name; key++) {
		if (key->section == section && qb_key_applies(key, sc))
			print_key(key, qb_key_value(key, sc, kind), out);
	}
}

int qb_scenario_print(const struct qb_scenario *sc, FILE *out)
{
	uint32_t i;

	print_section(sc, QB_SECTION_SCENARIO, 0, out);
	if (has_burst(sc))
		print_section(sc, QB_SECTION_BURST, 0, out);
	if (has_errors(sc))
		print_section(sc, QB_SECTION_ERRORS, 0, out);
	if (has_faults(sc))
		print_section(sc, QB_SECTION_FAULTS, 0, out);
	if (sc->shape == QB_SHAPE_KEYS)
		print_section(sc, QB_SECTION_KEYS, 0, out);
	if (sc->shape == QB_SHAPE_CACHE)
		print_section(sc, QB_SECTION_CACHE, 0, out);
	if (has_processes(sc))
		print_section(sc, QB_SECTION_PROCESSES, 0, out);
	if (sc->retries.jitter.count)
		print_section(sc, QB_SECTION_RETRIES, 0, out);
	for (i = 0; i < sc->kinds_count; i++)
		print_section(sc, QB_SECTION_KIND, i, out);
	errno = 0;
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}
