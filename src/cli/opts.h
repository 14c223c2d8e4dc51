/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one option table. By it go the parser, --help, the echo of the settings in every result,
 * completion, and the test that the manual leaves none out.
 *
 * Values come from, in rising order: the default in the table, the environment where an option
 * names a variable, the command line, where the last one counts. Defaults and variables are read
 * by the same code as the command line, so they obey the same ranges.
 */
#ifndef QB_CLI_OPTS_H
#define QB_CLI_OPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "run/run.h"

/* What the command line says. Strings belong to argv, the environment or the table. */
struct qb_opts {
	struct qb_run_config run;
	const char *out;                /* report: where to */
	uint64_t jsonl;                 /* plan: the list itself */
	uint64_t jobs;                  /* inspect: every job */
	uint64_t minutes, rounds;       /* selftest; rounds 0: as many as fit */
	const char *results_dir;        /* selftest: NULL is a temporary one */
	const char *from_postgres;      /* recover: a run instead of a segment */
	/* Common. */
	uint64_t help, version, show_settings, list_options, list_commands;
	const char *list_values;
	uint64_t given;                 /* bit per index in qb_opt_table: on the command line */
	uint64_t from_env;              /* the same: in the environment */
};

enum qb_opt_type {
	QB_OPT_FLAG,                    /* uint64_t: 1 when it is there */
	QB_OPT_COUNT,                   /* uint64_t */
	QB_OPT_DURATION,                /* uint64_t, ns */
	QB_OPT_PERCENT,                 /* uint64_t, per mille: "2.5" and "2.5%" are 25 */
	QB_OPT_TEXT,                    /* const char *, not empty */
	QB_OPT_CHOICE,                  /* uint32_t or uint64_t: the value of the word */
	QB_OPT_WORD,                    /* const char *: one of the words */
	QB_OPT_WORDS,                   /* const char *: some of the words, by commas, each once */
	QB_OPT_LIBS,                    /* the same, each with settings behind colons: see queue/options.h */
	QB_OPT_SCENARIO,                /* const char *: one of the words, or a path */
	QB_OPT_CONNINFO,                /* const char *, never shown as it is */
};

enum qb_opt_group {
	QB_GROUP_WHAT,
	QB_GROUP_CRASH,
	QB_GROUP_DURABILITY,
	QB_GROUP_POSTGRES,
	QB_GROUP_OUTPUT,
	QB_GROUP_COMMON,
	QB_GROUP_COUNT,
	QB_GROUP_HIDDEN = QB_GROUP_COUNT,       /* for scripts; in no help */
};

struct qb_opt_choice {
	const char *name;               /* NULL ends the array */
	uint64_t value;
};

struct qb_opt {
	const char *name;               /* without dashes */
	char letter;                    /* 0: none */
	enum qb_opt_type type;
	enum qb_opt_group group;
	unsigned cmds;                  /* who takes it: set of enum qb_cmd_bit */
	unsigned required;              /* who cannot do without: the same */
	const char *value;              /* its name in the help, or NULL for a flag */
	size_t off, bytes;              /* in struct qb_opts */
	uint64_t min, max;              /* COUNT, DURATION (ns), PERCENT (per mille); inclusive */
	const char *preset;             /* default as one would write it; NULL: none */
	const char *otherwise;          /* in the help: what holds when it is not given */
	unsigned change;                /* enum qb_scenario_given: otherwise the scenario decides */
	const struct qb_opt_choice *choices;            /* CHOICE */
	const char *const *(*words)(void);              /* WORD, WORDS, SCENARIO */
	const char *env[2];             /* variables; the first that is set and not empty counts */
	const char *help;
};

/* Ends with a NULL name. At most 64: struct qb_opts has a bit for each. */
extern const struct qb_opt qb_opt_table[];
extern const char *const qb_group_titles[QB_GROUP_COUNT];

struct qb_cmd;

/* That option of that command (NULL: of any), or NULL. */
const struct qb_opt *qb_opt_find(const struct qb_cmd *cmd, const char *name, size_t bytes);
const struct qb_opt *qb_opt_find_letter(const struct qb_cmd *cmd, char letter);

/* "-w/--workers": as messages name it. buf of at least 48 bytes; returns buf. */
const char *qb_opt_spelling(const struct qb_opt *opt, char *buf, size_t cap);
/* The words that it takes, NULL at the end; NULL when it takes others. Until the next call. */
const char *const *qb_opt_words(const struct qb_opt *opt);
/* A number of its type as one would write it. buf of at least 32 bytes; returns buf. */
const char *qb_opt_number(const struct qb_opt *opt, uint64_t value, char *buf, size_t cap);

/*
 * Read argv[1..argc-1] for cmd. Options and operands may be mixed; "--" ends the options. Long ones
 * take one or two dashes. The operands are moved to argv[1..]; returns how many they are.
 * QB_EUSAGE and err otherwise. Stops at --help without looking further.
 * Options that cmd does not take have their defaults too: opts->run is complete for every command.
 */
int qb_opts_parse(const struct qb_cmd *cmd, int argc, char **argv, struct qb_opts *opts,
		  struct qb_err *err);

/* Was that option on the command line? */
int qb_opts_given(const struct qb_opts *opts, const char *name);

enum qb_origin { QB_ORIGIN_DEFAULT, QB_ORIGIN_ENVIRONMENT, QB_ORIGIN_GIVEN, QB_ORIGIN_SCENARIO };
const char *qb_origin_name(enum qb_origin origin);

/*
 * Each setting that cmd takes (not the common ones), in the order of the table: name without
 * dashes, the value as one would write it ("" when there is none, or the scenario decides), and
 * where it comes from. A password in a connection string is left out.
 */
typedef void (*qb_setting_fn)(void *ctx, const char *name, const char *value,
			      enum qb_origin origin);
void qb_opts_each(const struct qb_cmd *cmd, const struct qb_opts *opts, qb_setting_fn fn,
		  void *ctx);

#endif
