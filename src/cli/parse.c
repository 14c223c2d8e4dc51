/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a command line by the option table. */
#include "cli/opts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "base/num.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "queue/queue.h"
#include "shm/status.h"

#define NAMES_MAX 64
/* Of a value that is quoted in a message. */
#define QUOTE_MAX 120

struct parse {
	const struct qb_cmd *cmd;
	struct qb_opts *opts;
	struct qb_err *err;
	const char *source;             /* the variable that it comes from, or NULL */
};

static int __attribute__((format(printf, 3, 4)))
bad_value(struct parse *p, const struct qb_opt *opt, const char *fmt, ...)
{
	char spelling[64], text[sizeof(p->err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	qb_opt_spelling(opt, spelling, sizeof(spelling));
	if (p->source)
		return qb_err_set(p->err, QB_EUSAGE, "%s (%s): %s", p->source, spelling, text);
	return qb_err_set(p->err, QB_EUSAGE, "%s: %s", spelling, text);
}

/* what: "is out of range", "is not a whole number". */
static int bad_number(struct parse *p, const struct qb_opt *opt, const char *text, const char *what)
{
	char min[32], max[32];

	qb_opt_number(opt, opt->min, min, sizeof(min));
	qb_opt_number(opt, opt->max, max, sizeof(max));
	return bad_value(p, opt, "\"%.*s\" %s (%s to %s)", QUOTE_MAX, text, what, min, max);
}

/* Digits, perhaps below zero: then it is a number, if not one that we take. */
static int is_integer(const char *text)
{
	text += *text == '-';
	return *text && !text[strspn(text, "0123456789")];
}

/* 0, QB_EPARSE, or QB_ETOOBIG for a number that is out of every range. */
static int read_percent(const char *text, uint64_t *permille)
{
	size_t bytes = strlen(text);
	char *copy = qb_xstrdup(text);
	double percent;
	int ret;

	if (bytes && copy[bytes - 1] == '%')
		copy[bytes - 1] = '\0';
	ret = qb_parse_double(copy, &percent);
	free(copy);
	if (ret)
		return QB_EPARSE;
	if (percent < 0 || percent > 1e6)
		return QB_ETOOBIG;
	*permille = (uint64_t)(percent * 10 + 0.5);
	/* "0.01" would become 0 behind the user's back. */
	return *permille - percent * 10 < 1e-6 && percent * 10 - *permille < 1e-6 ? 0 : QB_EPARSE;
}

/* As read_percent(). */
static int read_duration(const char *text, uint64_t *ns)
{
	char *one;
	int ret;

	if (!qb_parse_duration(text, ns))
		return 0;
	if (*text == '-')
		return qb_parse_duration(text + 1, ns) ? QB_EPARSE : QB_ETOOBIG;
	/* Too many digits in front of something that is a unit. */
	one = qb_xasprintf("1%s", text + strspn(text, "0123456789"));
	ret = strlen(text) > strlen(one) && !qb_parse_duration(one, ns);
	free(one);
	return ret ? QB_ETOOBIG : QB_EPARSE;
}

static int read_number(struct parse *p, const struct qb_opt *opt, const char *text, uint64_t *value)
{
	const char *wanted = "is not a whole number";
	int ret;

	if (opt->type == QB_OPT_DURATION) {
		wanted = "is not a time with its unit, like 30s, 1m30s or 250ms";
		ret = read_duration(text, value);
	} else if (opt->type == QB_OPT_PERCENT) {
		wanted = "is not a percentage, like 10 or 2.5";
		ret = read_percent(text, value);
	} else {
		ret = qb_parse_u64(text, value);
		if (ret && is_integer(text))
			ret = QB_ETOOBIG;
	}
	if (ret == QB_ETOOBIG || (!ret && (*value < opt->min || *value > opt->max)))
		return bad_number(p, opt, text, "is out of range");
	return ret ? bad_number(p, opt, text, wanted) : 0;
}

static int has_word(const char *const *words, const char *word)
{
	for (; *words; words++) {
		if (!strcmp(*words, word))
			return 1;
	}
	return 0;
}

static int unknown_word(struct parse *p, const struct qb_opt *opt, const char *word)
{
	const char *const *words = qb_opt_words(opt), *near = qb_nearest(word, words);
	struct qb_strbuf list = { 0 };
	int ret;

	for (; *words; words++)
		qb_strbuf_printf(&list, "%s%s", list.bytes ? ", " : "", *words);
	ret = bad_value(p, opt, "\"%.*s\" is not one of %s%s%s%s", QUOTE_MAX, word,
			qb_strbuf_text(&list), near ? "; did you mean \"" : "", near ? near : "",
			near ? "\"?" : "");
	qb_strbuf_free(&list);
	return ret;
}

static int read_choice(struct parse *p, const struct qb_opt *opt, const char *text, uint64_t *value)
{
	const struct qb_opt_choice *choice;

	for (choice = opt->choices; choice->name; choice++) {
		if (!strcmp(choice->name, text)) {
			*value = choice->value;
			return 0;
		}
	}
	return unknown_word(p, opt, text);
}

/* A library, and behind colons settings of its own. */
static int check_lib(struct parse *p, const struct qb_opt *opt, const char *text)
{
	struct qb_queue_spec spec;
	struct qb_err err = { 0 };
	char name[QB_QUEUE_LABEL_BYTES];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, ":"), text);
	if (!has_word(qb_opt_words(opt), name))
		return unknown_word(p, opt, name);
	return qb_queue_spec_parse(text, &spec, &err) < 0 ? bad_value(p, opt, "%s", err.text) : 0;
}

static int check_words(struct parse *p, const struct qb_opt *opt, const char *text)
{
	const char *seen[NAMES_MAX + 1] = { NULL };
	char *copy = qb_xstrdup(text), *rest = copy, *word;
	size_t n = 0;
	int ret = 0;

	while (!ret && (word = strsep(&rest, ","))) {
		if (opt->type == QB_OPT_LIBS)
			ret = check_lib(p, opt, word);
		else if (!has_word(qb_opt_words(opt), word))
			ret = unknown_word(p, opt, word);
		if (ret)
			break;
		if (has_word(seen, word))
			ret = bad_value(p, opt, "\"%s\" is named twice", word);
		else if (n < NAMES_MAX)
			seen[n++] = word;
	}
	free(copy);
	return ret;
}

/* Only the name; what a file holds is for whoever loads it. */
static int check_scenario(struct parse *p, const struct qb_opt *opt, const char *text)
{
	size_t bytes = strlen(text);
	const char *near;

	if (strchr(text, '/') || (bytes > 4 && !strcmp(text + bytes - 4, ".ini")) ||
	    has_word(opt->words(), text))
		return 0;
	near = qb_nearest(text, opt->words());
	if (near)
		return bad_value(p, opt, "there is no scenario \"%.*s\"; did you mean \"%s\"?",
				 QUOTE_MAX, text, near);
	return bad_value(p, opt, "there is no scenario \"%.*s\"; 'qbench list' names them, a file "
			 "is given by its path (./NAME.ini)", QUOTE_MAX, text);
}

/* libpq's own judgement, now and not minutes later. The text is never quoted: passwords. */
static int check_conninfo(struct parse *p, const struct qb_opt *opt, const char *text)
{
	PQconninfoOption *parsed;
	char *why = NULL;
	int ret = 0;

	parsed = PQconninfoParse(text, &why);
	if (!parsed)
		ret = bad_value(p, opt, "not a connection string that libpq can read (like "
				"postgresql://user@host:5432/database, or \"host=/run/postgresql "
				"dbname=test\")");
	PQconninfoFree(parsed);
	PQfreemem(why);
	return ret;
}

/* Read text by the option's type and store it; a text must live as long as opts. */
static int store(struct parse *p, const struct qb_opt *opt, const char *text)
{
	void *at = (char *)p->opts + opt->off;
	uint64_t number = 1;
	int ret = 0, is_text = 0;

	if (opt->value && !*text)
		return bad_value(p, opt, "the value is empty");
	switch (opt->type) {
	case QB_OPT_FLAG:
		break;
	case QB_OPT_COUNT:
	case QB_OPT_DURATION:
	case QB_OPT_PERCENT:
		ret = read_number(p, opt, text, &number);
		break;
	case QB_OPT_CHOICE:
		ret = read_choice(p, opt, text, &number);
		break;
	case QB_OPT_WORD:
		ret = has_word(qb_opt_words(opt), text) ? 0 : unknown_word(p, opt, text);
		is_text = 1;
		break;
	case QB_OPT_WORDS:
	case QB_OPT_LIBS:
		ret = check_words(p, opt, text);
		is_text = 1;
		break;
	case QB_OPT_SCENARIO:
		ret = check_scenario(p, opt, text);
		is_text = 1;
		break;
	case QB_OPT_CONNINFO:
		ret = check_conninfo(p, opt, text);
		is_text = 1;
		break;
	case QB_OPT_TEXT:
		is_text = 1;
		break;
	}
	if (ret)
		return ret;
	if (is_text)
		memcpy(at, &text, sizeof(text));
	else if (opt->bytes == sizeof(uint32_t))
		*(uint32_t *)at = (uint32_t)number;
	else
		memcpy(at, &number, sizeof(number));
	return 0;
}

/*
 * Everybody on the host may read a command line, and a connection string may hold a password: it moves
 * to memory of our own.  From here on; the moment before is why the manual names the environment.
 */
static const char *hide(char *text)
{
	static char *kept;
	char *at;

	free(kept);
	kept = qb_xstrdup(text);
	for (at = text; *at; at++)
		*at = '*';
	return kept;
}

static int store_given(struct parse *p, const struct qb_opt *opt, const char *text)
{
	/* What is given comes from argv, which is ours to write to. */
	int ret = store(p, opt, opt->type == QB_OPT_CONNINFO ? hide((char *)(uintptr_t)text) : text);

	if (ret)
		return ret;
	p->opts->given |= 1ull << (opt - qb_opt_table);
	p->opts->run.change.given |= opt->change;
	return 0;
}

static int store_defaults(struct parse *p)
{
	const struct qb_opt *opt;
	int own, ret = 0;

	/* Twice, because a name may stand in the table once for each command: its own last. */
	for (own = 0; own < 2 && !ret; own++) {
		for (opt = qb_opt_table; opt->name && !ret; opt++) {
			if (opt->preset && ((opt->cmds & p->cmd->bit) != 0) == own)
				ret = store(p, opt, opt->preset);
		}
	}
	return ret;
}

static int store_environment(struct parse *p)
{
	const struct qb_opt *opt;
	size_t i;
	int ret;

	for (opt = qb_opt_table; opt->name; opt++) {
		if (!(opt->cmds & p->cmd->bit) || p->opts->given >> (opt - qb_opt_table) & 1)
			continue;
		for (i = 0; i < 2 && opt->env[i]; i++) {
			const char *text = getenv(opt->env[i]);

			if (!text || !*text)
				continue;
			p->source = opt->env[i];
			ret = store(p, opt, text);
			p->source = NULL;
			if (ret)
				return ret;
			p->opts->from_env |= 1ull << (opt - qb_opt_table);
			break;
		}
	}
	return 0;
}

/* The option that a mistyped name may mean: the only one that begins so, or the nearest. */
static const char *suggest(const struct qb_cmd *cmd, const char *name)
{
	const char *names[NAMES_MAX + 1], *longer = NULL;
	const struct qb_opt *opt;
	size_t n = 0, longer_count = 0;

	for (opt = qb_opt_table; opt->name && n < NAMES_MAX; opt++) {
		if (!(opt->cmds & cmd->bit) || opt->group == QB_GROUP_HIDDEN)
			continue;
		names[n++] = opt->name;
		if (!strncmp(opt->name, name, strlen(name))) {
			longer = opt->name;
			longer_count++;
		}
	}
	names[n] = NULL;
	return longer_count == 1 && strlen(name) > 1 ? longer : qb_nearest(name, names);
}

/* Of some command: by its whole name, or by its letter. */
static const struct qb_opt *find_elsewhere(const char *name, size_t bytes)
{
	const struct qb_opt *opt;

	if (bytes != 1)
		return qb_opt_find(NULL, name, bytes);
	for (opt = qb_opt_table; opt->name; opt++) {
		if (opt->letter == *name)
			return opt;
	}
	return NULL;
}

static int unknown_option(struct parse *p, const char *arg)
{
	size_t dashes = strspn(arg, "-"), bytes = strcspn(arg + dashes, "="), i;
	const struct qb_opt *elsewhere = find_elsewhere(arg + dashes, bytes);
	char *name = qb_xasprintf("%.*s", (int)bytes, arg + dashes);
	const char *near = suggest(p->cmd, name);

	free(name);
	bytes += dashes;
	if (bytes > QUOTE_MAX)
		bytes = QUOTE_MAX;
	if (elsewhere && elsewhere->group != QB_GROUP_HIDDEN) {
		for (i = 0; qb_cmds[i] && !(elsewhere->cmds & qb_cmds[i]->bit); i++)
			;
		return qb_err_set(p->err, QB_EUSAGE, "option \"%.*s\" belongs to 'qbench %s'",
				  (int)bytes, arg, qb_cmds[i]->name);
	}
	return qb_err_set(p->err, QB_EUSAGE, "unknown option \"%.*s\"%s%s%s", (int)bytes, arg,
			  near ? "; did you mean \"--" : "", near ? near : "", near ? "\"?" : "");
}

/*
 * The value of an option whose name ended without one: the next argument, unless that is an option
 * itself. "-5" is a value, if a bad one.
 */
static const char *next_value(struct parse *p, const struct qb_opt *opt, int argc, char **argv,
			      int *i)
{
	const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;

	if (next && (next[0] != '-' || !next[1] || strchr("0123456789.", next[1]))) {
		(*i)++;
		return next;
	}
	bad_value(p, opt, "the value is missing (%s)", opt->value);
	return NULL;
}

/* "--name", "--name=value", "-name ...": 1 when that is what it was, 0, or negative. */
static int parse_long(struct parse *p, int argc, char **argv, int *i)
{
	const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
	size_t bytes = strcspn(name, "=");
	const struct qb_opt *opt = qb_opt_find(p->cmd, name, bytes);
	const char *value = name[bytes] ? name + bytes + 1 : NULL;

	if (!opt)
		return 0;
	if (!opt->value && value)
		return bad_value(p, opt, "takes no value");
	if (opt->value && !value)
		value = next_value(p, opt, argc, argv, i);
	if (opt->value && !value)
		return QB_EUSAGE;
	return store_given(p, opt, value) ? QB_EUSAGE : 1;
}

/* "-w4", "-w 4", "-w=4", "-qv". */
static int parse_letters(struct parse *p, int argc, char **argv, int *i)
{
	const char *arg = argv[*i], *at;

	/* "-rte=5" is a long name with an error in it rather than -r with the value "te=5". */
	if (arg[2] && !strchr("=0123456789", arg[2]) && strlen(arg) > 3) {
		char *name = qb_xasprintf("%.*s", (int)strcspn(arg + 1, "="), arg + 1);
		int looks_long = suggest(p->cmd, name) != NULL;

		free(name);
		if (looks_long)
			return unknown_option(p, arg);
	}
	for (at = arg + 1; *at; at++) {
		const struct qb_opt *opt = qb_opt_find_letter(p->cmd, *at);
		const char *value = at + 1;

		if (!opt)
			return unknown_option(p, arg);
		if (!opt->value) {
			if (store_given(p, opt, NULL))
				return QB_EUSAGE;
			continue;
		}
		value += *value == '=';
		if (!at[1])
			value = next_value(p, opt, argc, argv, i);
		if (!value)
			return QB_EUSAGE;
		return store_given(p, opt, value);
	}
	return 0;
}

static int check_required(struct parse *p)
{
	const struct qb_opt *opt;
	uint64_t set = p->opts->given | p->opts->from_env;

	for (opt = qb_opt_table; opt->name; opt++) {
		if (opt->required & p->cmd->bit && !(set >> (opt - qb_opt_table) & 1))
			return bad_value(p, opt, "is required (%s): %s", opt->value, opt->help);
	}
	if (p->opts->run.quiet && p->opts->run.verbose)
		return qb_err_set(p->err, QB_EUSAGE,
				  "-q/--quiet and -v/--verbose exclude each other");
	return 0;
}

/* Ends the work of a command before it begins: then nothing else need be right. */
static int only_asks(const struct qb_opts *opts)
{
	return opts->help || opts->version || opts->list_options || opts->list_commands ||
	       opts->list_values;
}

int qb_opts_parse(const struct qb_cmd *cmd, int argc, char **argv, struct qb_opts *opts,
		  struct qb_err *err)
{
	struct parse p = { .cmd = cmd, .opts = opts, .err = err };
	int i, ret, operands_count = 0, only_operands = 0;

	*opts = (struct qb_opts){ 0 };
	ret = store_defaults(&p);
	/* A bad variable must not keep anybody from the help. */
	for (i = 1; i < argc && !ret && !only_asks(opts); i++) {
		char *arg = argv[i];

		if (only_operands || arg[0] != '-' || !arg[1]) {
			argv[1 + operands_count++] = arg;
			continue;
		}
		if (!strcmp(arg, "--")) {
			only_operands = 1;
			continue;
		}
		ret = parse_long(&p, argc, argv, &i);
		if (ret > 0)
			ret = 0;
		else if (!ret && arg[1] == '-')
			ret = unknown_option(&p, arg);
		else if (!ret)
			ret = parse_letters(&p, argc, argv, &i);
	}
	if (ret || only_asks(opts))
		return ret;
	ret = store_environment(&p);
	if (!ret)
		ret = check_required(&p);
	return ret ? ret : operands_count;
}
