/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line and the environment. First byte: the command; then lines, each an argument, or after
 * a byte 1 and a number the value of that variable. What is taken is within the range of its option,
 * and said again it means the same; what is refused has one reason; a password is never shown.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "base/strbuf.h"
#include "cli/cmd.h"
#include "pg/conn.h"
#include "shm/status.h"
#include "tests/fuzz/fuzz.h"

const char fuzz_name[] = "args";
const size_t fuzz_bytes_max = 4096;
const uint64_t fuzz_runs = 100000;

#define ARGS_MAX 24
#define VARIABLES_MAX 8

/* The commands, without what they do. */
const struct qb_cmd qb_cmd_demo = { .name = "demo", .operands = "", .bit = QB_CMD_DEMO };
const struct qb_cmd qb_cmd_run = { .name = "run", .operands = "", .bit = QB_CMD_RUN };
const struct qb_cmd qb_cmd_report = { .name = "report", .operands = "", .bit = QB_CMD_REPORT };
const struct qb_cmd qb_cmd_list = { .name = "list", .operands = "", .bit = QB_CMD_LIST };
const struct qb_cmd qb_cmd_plan = { .name = "plan", .operands = "", .bit = QB_CMD_PLAN };
const struct qb_cmd qb_cmd_inspect = { .name = "inspect", .operands = "", .bit = QB_CMD_INSPECT };
const struct qb_cmd qb_cmd_recover = { .name = "recover", .operands = "", .bit = QB_CMD_RECOVER };
const struct qb_cmd qb_cmd_selftest = { .name = "selftest", .operands = "", .bit = QB_CMD_SELFTEST };
const struct qb_cmd *const qb_cmds[] = {
	&qb_cmd_demo, &qb_cmd_run, &qb_cmd_report, &qb_cmd_list, &qb_cmd_plan, &qb_cmd_inspect,
	&qb_cmd_recover, &qb_cmd_selftest, NULL,
};
#define COMMANDS 8

static const char secret[] = "hunter2secret";
static const char *variables[VARIABLES_MAX];
static size_t variables_count;

/* What an option was set to, as one would say it. */
struct said {
	struct qb_strbuf args;          /* "--name=value", each with a NUL behind it */
	struct qb_strbuf list;          /* "name=value", one a line */
};

/* Is the secret in there as a password only? Then nobody may read it. */
static int hides_secret(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL), *o;
	int hidden = 0, shown = 0;

	for (o = options; o && o->keyword; o++) {
		if (o->val && strstr(o->val, secret)) {
			hidden |= !strcmp(o->keyword, "password");
			shown |= strcmp(o->keyword, "password") != 0;
		}
	}
	PQconninfoFree(options);
	return hidden && !shown;
}

static void note(void *ctx, const char *name, const char *value, enum qb_origin origin)
{
	struct said *said = ctx;
	const struct qb_opt *opt = qb_opt_find(NULL, name, strlen(name));

	FUZZ_MUST(opt && value && *qb_origin_name(origin));
	if (opt->type == QB_OPT_CONNINFO || origin == QB_ORIGIN_DEFAULT || origin == QB_ORIGIN_SCENARIO)
		return;
	qb_strbuf_printf(&said->list, "%s=%s\n", name, value);
	if (!opt->value)
		qb_strbuf_printf(&said->args, "--%s", name);
	else
		qb_strbuf_printf(&said->args, "--%s=%s", name, value);
	qb_strbuf_add_bytes(&said->args, "", 1);
}

static void check_ranges(const struct qb_cmd *cmd, const struct qb_opts *opts)
{
	for (const struct qb_opt *opt = qb_opt_table; opt->name; opt++) {
		uint64_t set = opts->given | opts->from_env, value = 0;

		if (!(opt->cmds & cmd->bit) || !(set >> (opt - qb_opt_table) & 1))
			continue;
		if (opt->type != QB_OPT_COUNT && opt->type != QB_OPT_DURATION && opt->type != QB_OPT_PERCENT)
			continue;
		memcpy(&value, (const char *)opts + opt->off, opt->bytes);
		FUZZ_MUST(value >= opt->min && value <= opt->max);
	}
}

static void hide_variables(void)
{
	for (size_t i = 0; i < variables_count; i++)
		unsetenv(variables[i]);
}

/* Once more, by what --show-settings says: a script may do so. */
static void say_again(const struct qb_cmd *cmd, const struct said *said)
{
	char *argv[64] = { (char *)(uintptr_t)"qbench" }, *at = said->args.data;
	struct said again = { { 0 }, { 0 } };
	struct qb_opts opts;
	struct qb_err err = { 0 };
	int argc = 1;

	hide_variables();
	for (; at && at < said->args.data + said->args.bytes && argc < 63; at += strlen(at) + 1)
		argv[argc++] = at;
	int rc = qb_opts_parse(cmd, argc, argv, &opts, &err);

	/* What was required came from a variable or is a connection string, and is not said here. */
	if (rc < 0) {
		FUZZ_MUST(strstr(err.text, "is required"));
		return;
	}
	qb_opts_each(cmd, &opts, note, &again);
	FUZZ_MUST(!strcmp(qb_strbuf_text(&said->list), qb_strbuf_text(&again.list)));
	qb_strbuf_free(&again.args);
	qb_strbuf_free(&again.list);
}

static void show(const struct qb_cmd *cmd, const struct qb_opts *opts)
{
	struct said said = { { 0 }, { 0 } };

	check_ranges(cmd, opts);
	if (opts->run.postgres_url) {
		char *text = qb_pg_describe(opts->run.postgres_url);

		if (hides_secret(opts->run.postgres_url))
			FUZZ_MUST(!strstr(text, secret));
		free(text);
	}
	qb_opts_each(cmd, opts, note, &said);
	if (!opts->help && !opts->version && !opts->list_options && !opts->list_commands && !opts->list_values)
		say_again(cmd, &said);
	qb_strbuf_free(&said.args);
	qb_strbuf_free(&said.list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static char lines[ARGS_MAX][512];
	struct fuzz_reader r = { data, data + bytes };
	char *argv[ARGS_MAX + 2] = { (char *)(uintptr_t)"qbench" };
	struct qb_opts opts;
	struct qb_err err = { 0 };
	int argc = 1, rc, hides = 0;

	if (!variables_count)
		fuzz_seeds();
	const struct qb_cmd *cmd = qb_cmds[fuzz_u8(&r) % COMMANDS];

	hide_variables();
	while (r.at < r.end && argc <= ARGS_MAX) {
		char *line = lines[argc - 1];

		if (*r.at == 1) {
			r.at++;
			const char *name = variables[fuzz_u8(&r) % variables_count];

			fuzz_text(&r, '\n', line, sizeof(lines[0]));
			/* The C library keeps the name and text of every variable that ever was: no fuzz of long ones. */
			if (strlen(line) < 64)
				setenv(name, line, 1);
			continue;
		}
		fuzz_text(&r, '\n', line, sizeof(lines[0]));
		/* A connection string that is refused is refused without being shown. */
		hides |= !strncmp(line, "--postgres-url=", 15);
		argv[argc++] = line;
	}
	hides &= argc == 2;
	rc = qb_opts_parse(cmd, argc, argv, &opts, &err);
	if (rc < 0) {
		FUZZ_MUST(rc == QB_EUSAGE && err.code == rc && err.text[0]);
		FUZZ_MUST(memchr(err.text, 0, sizeof(err.text)));
		FUZZ_MUST(!hides || !strstr(err.text, secret));
	} else {
		FUZZ_MUST(rc < argc);
		show(cmd, &opts);
	}
	hide_variables();
	return 0;
}

static void seed(unsigned cmd, const char *text)
{
	char bytes[512];
	int n = snprintf(bytes, sizeof(bytes), "%c%s", (int)cmd, text);

	fuzz_seed(bytes, (size_t)n);
}

static void collect_variables(void)
{
	for (const struct qb_opt *opt = qb_opt_table; opt->name; opt++)
		for (size_t i = 0; i < 2 && opt->env[i]; i++) {
			size_t k = 0;

			while (k < variables_count && strcmp(variables[k], opt->env[i]) != 0)
				k++;
			if (k == variables_count && k < VARIABLES_MAX)
				variables[variables_count++] = opt->env[i];
		}
}

void fuzz_seeds(void)
{
	if (variables_count)
		return;
	collect_variables();
	/* Each option of the table, with its default and with something that it does not take. */
	for (const struct qb_opt *opt = qb_opt_table; opt->name; opt++) {
		unsigned cmd = 0;
		char text[128];

		while (cmd < COMMANDS && !(opt->cmds & qb_cmds[cmd]->bit))
			cmd++;
		if (cmd == COMMANDS)
			continue;
		snprintf(text, sizeof(text), opt->value ? "--%s=%s\n-s\nsteady" : "--%s\n%s", opt->name,
			 opt->preset ? opt->preset : "7");
		seed(cmd, text);
		snprintf(text, sizeof(text), "--%s\n-1\n--", opt->name);
		seed(cmd, text);
	}
	seed(1, "-s\nsteady\n--duration=1m30.5s\n--rate=99999999999999999999\n-w4\n-qv\n--jitter=2.5%");
	seed(1, "--postgres-url=postgresql://u:hunter2secret@h:5432/d?application_name=x\n-s=steady");
	seed(1, "--postgres-url=host=h password='hunter2secret' dbname=d\n-s=steady");
	seed(0, "\001" "0postgresql://u:hunter2secret@h/d\n\001" "1host=h password=hunter2secret");
	seed(6, "--postgres-url=postgresql://u:hunter2secret@[::1]:5432,h2/d\n/dev/shm/x/segment");
	seed(4, "--\n-s\n--seed=18446744073709551615\n-=\n---\n--=\n-\n");
}
