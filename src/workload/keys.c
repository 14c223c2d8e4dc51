/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "shm/status.h"

#define IN(member) offsetof(struct qb_scenario, member)
#define IN_KIND(member) offsetof(struct qb_scenario_kind, member)
#define DAY_NS (24.0 * 3600 * 1e9)

const char *const qb_section_names[] = {
	"scenario", "burst", "errors", "faults", "keys", "cache", "processes", "retries", "kind", NULL,
};

#define ERROR_KEY(name_, class_) \
	{ QB_SECTION_ERRORS, name_, QB_KEY_DOUBLE, IN(error_probability[class_]), 0, 0, 1, 0 }

const struct qb_key qb_scenario_keys[] = {
	{ QB_SECTION_SCENARIO, "name", QB_KEY_TEXT, IN(name),
	  sizeof(((struct qb_scenario *)0)->name), 0, 0, 0 },
	{ QB_SECTION_SCENARIO, "summary", QB_KEY_TEXT, IN(summary),
	  sizeof(((struct qb_scenario *)0)->summary), 0, 0, 0 },
	{ QB_SECTION_SCENARIO, "duration", QB_KEY_DURATION, IN(duration_ns), 0, 1e6, DAY_NS,
	  QB_REQUIRED_OF_LOAD },
	{ QB_SECTION_SCENARIO, "rate", QB_KEY_U32, IN(rate), 0, 1, 1000000, QB_REQUIRED_OF_LOAD },
	{ QB_SECTION_SCENARIO, "tenants", QB_KEY_U32, IN(tenants), 0, 1, 1000000, QB_NOT_OF_CACHE },
	{ QB_SECTION_SCENARIO, "tenant_skew", QB_KEY_DOUBLE, IN(tenant_skew), 0, 0, 1, QB_NOT_OF_CACHE },
	{ QB_SECTION_SCENARIO, "seed", QB_KEY_U64, IN(seed), 0, 0, 0, 0 },
	{ QB_SECTION_SCENARIO, "workers", QB_KEY_U32, IN(workers), 0, 0, 1024, 0 },

	{ QB_SECTION_BURST, "multiplier", QB_KEY_DOUBLE, IN(burst.multiplier), 0, 0, 1000, 1 },
	{ QB_SECTION_BURST, "start", QB_KEY_DURATION, IN(burst.start_ns), 0, 0, DAY_NS, 1 },
	{ QB_SECTION_BURST, "end", QB_KEY_DURATION, IN(burst.end_ns), 0, 0, DAY_NS, 1 },

	ERROR_KEY("rate_limit", QB_ERROR_CLASS_RATE_LIMIT),
	ERROR_KEY("transient", QB_ERROR_CLASS_TRANSIENT),
	ERROR_KEY("permanent", QB_ERROR_CLASS_PERMANENT),

	{ QB_SECTION_FAULTS, "kills", QB_KEY_U32, IN(faults.kills), 0, 1, 10000, 1 },
	{ QB_SECTION_FAULTS, "victim", QB_KEY_VICTIM, IN(faults.victim), 0, 0, 0, 0 },
	{ QB_SECTION_FAULTS, "start", QB_KEY_DURATION, IN(faults.start_ns), 0, 0, DAY_NS, 1 },
	{ QB_SECTION_FAULTS, "end", QB_KEY_DURATION, IN(faults.end_ns), 0, 0, DAY_NS, 1 },

	{ QB_SECTION_KEYS, "keys", QB_KEY_U32, IN(keys.keys), 0, 1, 4000, 1 },
	{ QB_SECTION_KEYS, "processes", QB_KEY_U32, IN(keys.processes), 0, 1, 64, 1 },
	{ QB_SECTION_KEYS, "watch", QB_KEY_DURATION, IN(keys.watch_ns), 0, 1e8, DAY_NS, 0 },

	{ QB_SECTION_CACHE, "addresses", QB_KEY_U32, IN(cache.addresses), 0, 0, 100000, 0 },
	{ QB_SECTION_CACHE, "requests", QB_KEY_U32, IN(cache.requests), 0, 0, 1000000, 0 },
	{ QB_SECTION_CACHE, "skew", QB_KEY_DOUBLE, IN(cache.skew), 0, 0.01, 5, 0 },
	{ QB_SECTION_CACHE, "failing", QB_KEY_U32, IN(cache.failing), 0, 0, 1000, 0 },
	{ QB_SECTION_CACHE, "rounds", QB_KEY_U32, IN(cache.rounds), 0, 0, 100000, 0 },
	{ QB_SECTION_CACHE, "kills", QB_KEY_U32, IN(cache.kills), 0, 0, 1000, 0 },
	{ QB_SECTION_CACHE, "processes", QB_KEY_U32, IN(cache.processes), 0, 1, 64, 1 },
	{ QB_SECTION_CACHE, "callers", QB_KEY_U32, IN(cache.callers), 0, 1, 64, 1 },
	{ QB_SECTION_CACHE, "deadline", QB_KEY_DURATION, IN(cache.deadline_ns), 0, 1e8, DAY_NS, 0 },
	{ QB_SECTION_CACHE, "memory", QB_KEY_U64, IN(cache.memory_bytes), 0, 0, 0, 0 },
	{ QB_SECTION_CACHE, "durable", QB_KEY_U32, IN(cache.durable), 0, 0, 1, 0 },
	{ QB_SECTION_CACHE, "stale_errors", QB_KEY_U32, IN(cache.stale_errors), 0, 0, 1, 0 },

	{ QB_SECTION_PROCESSES, "counts", QB_KEY_LIST, IN(processes.counts), 0, 1, 200, 1 },
	{ QB_SECTION_PROCESSES, "slots", QB_KEY_U32, IN(processes.slots), 0, 0, 64, 0 },
	{ QB_SECTION_PROCESSES, "backlog", QB_KEY_U32, IN(processes.backlog), 0, 1, 100000, 1 },

	{ QB_SECTION_RETRIES, "jitter", QB_KEY_LIST, IN(retries.jitter), 0, 0, 50, 1 },

	{ QB_SECTION_KIND, "weight", QB_KEY_DOUBLE, IN_KIND(weight), 0, 0, 1e6, 0 },
	/* An hour of work, and the 64 KiB that a payload may have. */
	{ QB_SECTION_KIND, "work_ms", QB_KEY_RANGE, IN_KIND(work_ms_min), 0, 0, 3600000, 0 },
	{ QB_SECTION_KIND, "payload_bytes", QB_KEY_RANGE, IN_KIND(payload_bytes_min), 0, 0, 65536,
	  0 },
	{ .name = NULL },
};

/* QB_KEY_RANGE relies on it. */
_Static_assert(IN_KIND(work_ms_max) == IN_KIND(work_ms_min) + sizeof(uint32_t), "range");
_Static_assert(IN_KIND(payload_bytes_max) == IN_KIND(payload_bytes_min) + sizeof(uint32_t),
	       "range");

const void *qb_key_value(const struct qb_key *key, const struct qb_scenario *sc, uint32_t kind)
{
	const void *base = key->section == QB_SECTION_KIND ? (const void *)&sc->kinds[kind] : sc;

	return (const char *)base + key->off;
}

int qb_section_applies(enum qb_section section, const struct qb_scenario *sc)
{
	switch (section) {
	case QB_SECTION_BURST:
	case QB_SECTION_ERRORS:
	case QB_SECTION_FAULTS:
	case QB_SECTION_PROCESSES:
	case QB_SECTION_RETRIES:
		return sc->shape == QB_SHAPE_LOAD;
	case QB_SECTION_KEYS:
		return sc->shape == QB_SHAPE_KEYS;
	case QB_SECTION_CACHE:
		return sc->shape == QB_SHAPE_CACHE;
	default:
		return 1;
	}
}

int qb_key_applies(const struct qb_key *key, const struct qb_scenario *sc)
{
	if (!qb_section_applies(key->section, sc))
		return 0;
	/* It spreads requests over addresses. */
	if (key->off == IN(cache.skew) && key->section == QB_SECTION_CACHE)
		return sc->cache.addresses > 0;
	return (key->required != QB_REQUIRED_OF_LOAD || sc->shape == QB_SHAPE_LOAD) &&
	       (key->required != QB_NOT_OF_CACHE || sc->shape != QB_SHAPE_CACHE);
}

const char *qb_shape_section(const struct qb_scenario *sc)
{
	return qb_section_names[sc->shape == QB_SHAPE_KEYS ? QB_SECTION_KEYS :
				sc->shape == QB_SHAPE_CACHE ? QB_SECTION_CACHE : QB_SECTION_SCENARIO];
}

int qb_key_out_of_range(const struct qb_key *key, const char *value, struct qb_err *err)
{
	char min[32], max[32];

	if (key->type == QB_KEY_DURATION) {
		qb_format_exact_duration(min, sizeof(min), (uint64_t)key->min);
		qb_format_exact_duration(max, sizeof(max), (uint64_t)key->max);
	} else {
		snprintf(min, sizeof(min), "%.12g", key->min);
		snprintf(max, sizeof(max), "%.12g", key->max);
	}
	return qb_err_set(err, QB_EUSAGE, "%s: %s is out of range (%s to %s)", key->name, value,
			  min, max);
}

int qb_key_check_range(const struct qb_key *key, const void *value, struct qb_err *err)
{
	const struct qb_scenario_list *list = value;
	const uint32_t *u32 = value;
	char text[32];
	double number;

	switch (key->type) {
	case QB_KEY_U32:
		if (*u32 >= key->min && *u32 <= key->max)
			return 0;
		snprintf(text, sizeof(text), "%u", *u32);
		return qb_key_out_of_range(key, text, err);
	case QB_KEY_RANGE:
		if (u32[0] > u32[1])
			return qb_err_set(err, QB_EUSAGE, "%s: %u..%u begins above its end",
					  key->name, u32[0], u32[1]);
		if (u32[0] >= key->min && u32[1] <= key->max)
			return 0;
		snprintf(text, sizeof(text), "%u", u32[0] < key->min ? u32[0] : u32[1]);
		return qb_key_out_of_range(key, text, err);
	case QB_KEY_DOUBLE:
		number = *(const double *)value;
		/* Not the other way round: a NaN must fail. */
		if (number >= key->min && number <= key->max)
			return 0;
		qb_format_exact_double(text, sizeof(text), number);
		return qb_key_out_of_range(key, text, err);
	case QB_KEY_DURATION:
		number = (double)*(const uint64_t *)value;
		if (number >= key->min && number <= key->max)
			return 0;
		qb_format_exact_duration(text, sizeof(text), *(const uint64_t *)value);
		return qb_key_out_of_range(key, text, err);
	case QB_KEY_LIST:
		for (uint32_t i = 0; i < list->count; i++) {
			snprintf(text, sizeof(text), "%u", list->values[i]);
			if (list->values[i] < key->min || list->values[i] > key->max)
				return qb_key_out_of_range(key, text, err);
			for (uint32_t k = 0; k < i; k++)
				if (list->values[k] == list->values[i])
					return qb_err_set(err, QB_EUSAGE, "%s: %s is there twice", key->name, text);
		}
		return 0;
	case QB_KEY_TEXT:
	case QB_KEY_U64:
	case QB_KEY_VICTIM:
		return 0;
	}
	return 0;
}

const char *qb_format_exact_duration(char *buf, size_t cap, uint64_t ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "h", 3600 * QB_NS_PER_S },
		{ "m", 60 * QB_NS_PER_S },
		{ "s", QB_NS_PER_S },
		{ "ms", QB_NS_PER_MS },
		{ "us", QB_NS_PER_US },
		{ "ns", 1 },
	};
	unsigned i = 0;

	/* "90s" and not "1m30s": one unit, the largest that divides. 0 reads best in seconds. */
	if (!ns)
		i = 2;
	while (ns % units[i].ns)
		i++;
	snprintf(buf, cap, "%llu%s", (unsigned long long)(ns / units[i].ns), units[i].name);
	return buf;
}

const char *qb_format_exact_double(char *buf, size_t cap, double value)
{
	int digits;

	for (digits = 6; digits <= 17; digits++) {
		snprintf(buf, cap, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	return buf;
}
