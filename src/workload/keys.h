/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of what a scenario file may say. Parser, printer, range checks and the hints in
 * messages all go by it. Private to workload/.
 */
#ifndef QB_WORKLOAD_KEYS_H
#define QB_WORKLOAD_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "workload/scenario.h"

enum qb_section {
	QB_SECTION_SCENARIO,
	QB_SECTION_BURST,
	QB_SECTION_ERRORS,
	QB_SECTION_FAULTS,
	QB_SECTION_KEYS,
	QB_SECTION_CACHE,
	QB_SECTION_PROCESSES,
	QB_SECTION_RETRIES,
	QB_SECTION_KIND,                /* one for each kind; the others at most once */
	QB_SECTION_COUNT,
};

enum qb_key_type {
	QB_KEY_TEXT,                    /* char array of .bytes */
	QB_KEY_U32,
	QB_KEY_U64,                     /* any value */
	QB_KEY_DOUBLE,
	QB_KEY_DURATION,                /* uint64_t ns */
	QB_KEY_RANGE,                   /* uint32_t min, max side by side: "5..30", "7" is both */
	QB_KEY_VICTIM,
	QB_KEY_LIST,                    /* struct qb_scenario_list: "1, 2, 4"; min and max are of each number */
};

enum qb_required {
	QB_OPTIONAL,
	QB_REQUIRED,
	QB_REQUIRED_OF_LOAD,            /* and it means nothing in another shape: must not be there */
	QB_NOT_OF_CACHE,                /* optional, and must not be there in that shape */
};

struct qb_key {
	enum qb_section section;
	const char *name;
	enum qb_key_type type;
	size_t off;                     /* in struct qb_scenario, or in struct qb_scenario_kind */
	size_t bytes;                   /* of a text, with its NUL */
	double min, max;                /* of numbers and (in ns) durations, both inclusive */
	int required;                   /* enum qb_required, wherever its section is present */
};

/* "burst", "kind"; the array ends with a NULL after QB_SECTION_COUNT names. */
extern const char *const qb_section_names[];
/* Grouped by section; ends with a NULL name. */
extern const struct qb_key qb_scenario_keys[];

/* The value of a key: inside kinds[kind] for those of a kind, kind is ignored for others. */
const void *qb_key_value(const struct qb_key *key, const struct qb_scenario *sc, uint32_t kind);

/* Has the scenario a use for that key, or for that section? */
int qb_key_applies(const struct qb_key *key, const struct qb_scenario *sc);
int qb_section_applies(enum qb_section section, const struct qb_scenario *sc);
/* Of the section that makes the scenario what it is; that of a load is "scenario". */
const char *qb_shape_section(const struct qb_scenario *sc);

/* Which key a complaint is about, so that a parser can point at its line. NULL: about none. */
struct qb_blame {
	const struct qb_key *key;
	uint32_t kind;
	int whole;                      /* not the key itself but the section that it is in */
};

/* qb_scenario_check() that says whom it blames. */
int qb_scenario_check_blame(const struct qb_scenario *sc, struct qb_blame *blame,
			    struct qb_err *err);

/* 0, or QB_EUSAGE and err: "rate: 0 is out of range (1 to 1000000)". */
int qb_key_check_range(const struct qb_key *key, const void *value, struct qb_err *err);
/* That error, for a number that is too large to be stored at all. Returns QB_EUSAGE. */
int qb_key_out_of_range(const struct qb_key *key, const char *value, struct qb_err *err);

/* Shortest text that parses to the same value. Returns buf. */
const char *qb_format_exact_duration(char *buf, size_t cap, uint64_t ns);
const char *qb_format_exact_double(char *buf, size_t cap, double value);

#endif
