/* SPDX-License-Identifier: Apache-2.0 */
/* qbench COMMAND [OPTION]...: find the command, read its options, call it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "cli/cmd.h"
#include "run/floor.h"
#include "run/run.h"
#include "shm/fault.h"
#include "shm/status.h"

#define COMMANDS_MAX 16

/* As the help shows them. */
const struct qb_cmd *const qb_cmds[] = {
	&qb_cmd_demo, &qb_cmd_run, &qb_cmd_report, &qb_cmd_list, &qb_cmd_plan, &qb_cmd_inspect,
	&qb_cmd_recover, &qb_cmd_selftest, NULL,
};

const struct qb_cmd *qb_cmd_find(const char *name)
{
	size_t i;

	for (i = 0; qb_cmds[i]; i++) {
		if (!strcmp(qb_cmds[i]->name, name))
			return qb_cmds[i];
	}
	return NULL;
}

int qb_cli_status(int code)
{
	switch (code) {
	case 0:
		return QB_EXIT_DONE;
	case QB_EUSAGE:
	case QB_EPARSE:
		return QB_EXIT_USAGE;
	case QB_EVERIFY:
		return QB_EXIT_VERIFY;
	case QB_EINTR:
		return QB_EXIT_INTERRUPTED;
	default:
		return QB_EXIT_ERROR;
	}
}

int qb_cli_fail(const struct qb_err *err)
{
	qb_log(QB_LOG_ERROR, "%s", err->text);
	return qb_cli_status(err->code);
}

int qb_cli_usage(const struct qb_cmd *cmd, const struct qb_err *err)
{
	const char *name = cmd && cmd->bit != QB_CMD_DEMO ? cmd->name : NULL;

	qb_log(QB_LOG_ERROR, "%s", err->text);
	fprintf(stderr, "Try 'qbench %s%s--help' for more information.\n", name ? name : "",
		name ? " " : "");
	return QB_EXIT_USAGE;
}

int qb_cli_flush(int status)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	qb_log(QB_LOG_ERROR, "could not write to standard output: %s",
	       errno ? qb_strerror(-errno) : "unknown error");
	return QB_EXIT_ERROR;
}

static int unknown_command(const char *name)
{
	const char *names[COMMANDS_MAX] = { "help" }, *near;
	struct qb_err err = { 0 };
	size_t i;

	for (i = 0; qb_cmds[i] && i < COMMANDS_MAX - 2; i++)
		names[i + 1] = qb_cmds[i]->name;
	near = qb_nearest(name, names);
	qb_err_set(&err, QB_EUSAGE, "unknown command \"%.100s\"%s%s%s", name,
		   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return qb_cli_usage(NULL, &err);
}

/* qbench help [COMMAND] */
static int help_command(int argc, char **argv)
{
	const struct qb_cmd *cmd = argc > 2 ? qb_cmd_find(argv[2]) : &qb_cmd_demo;

	if (argc > 2 && !cmd)
		return unknown_command(argv[2]);
	qb_help_command(cmd, stdout);
	return QB_EXIT_DONE;
}

static void print_setting(void *ctx, const char *name, const char *value, enum qb_origin origin)
{
	(void)ctx;
	printf("%s=%s\t(%s)\n", name, value, qb_origin_name(origin));
}

/* What an option asked for that is no work of the command: 1 when that was all, *status then. */
static int answer(const struct qb_cmd *cmd, int named, const struct qb_opts *opts, int *status)
{
	struct qb_err err = { 0 };
	size_t i;

	*status = QB_EXIT_DONE;
	if (opts->help)
		qb_help_command(cmd, stdout);
	else if (opts->version)
		qb_print_version(stdout);
	else if (opts->list_options)
		qb_help_list_options(named ? cmd : NULL, stdout);
	else if (opts->list_values && qb_help_list_values(named ? cmd : NULL, opts->list_values,
							  stdout, &err))
		*status = qb_cli_usage(cmd, &err);
	else if (opts->list_commands)
		for (i = 0; qb_cmds[i]; i++)
			printf("%s\n", qb_cmds[i]->name);
	else if (opts->show_settings)
		qb_opts_each(cmd, opts, print_setting, NULL);
	else
		return opts->list_values != NULL;
	return 1;
}

static int check_operands(const struct qb_cmd *cmd, int argc, char **argv, struct qb_err *err)
{
	if (argc < cmd->operands_min)
		return qb_err_set(err, QB_EUSAGE, "an operand is missing: qbench %s [OPTION]... %s",
				  cmd->name, cmd->operands);
	if (argc <= cmd->operands_max)
		return 0;
	if (qb_cmd_find(argv[0]) && cmd->bit == QB_CMD_DEMO)
		return qb_err_set(err, QB_EUSAGE, "the command comes first: qbench %s [OPTION]...",
				  argv[0]);
	return qb_err_set(err, QB_EUSAGE, "\"%.100s\" is one operand too many: qbench %s "
			  "[OPTION]...%s%s", argv[cmd->operands_max], cmd->name,
			  *cmd->operands ? " " : "", cmd->operands);
}

/* A fault that no process can meet would be a test that tests nothing. */
static int check_fault_env(void)
{
#ifdef QB_FAULT_POINTS
	const char *name;

	if (qb_fault_check_env() < 0) {
		qb_log(QB_LOG_ERROR, "QBENCH_FAULT=%.100s: it is NAME[:NTH[:kill|stop|exit]], and NAME is one of:",
		       getenv("QBENCH_FAULT"));
		for (unsigned i = 0; (name = qb_fault_name(i)) != NULL; i++)
			fprintf(stderr, "  %s\n", name);
		return QB_EPARSE;
	}
#endif
	return 0;
}

static int run_command(const struct qb_cmd *cmd, int named, int argc, char **argv)
{
	struct qb_ctx ctx = { .cmd = cmd };
	struct qb_err err = { 0 };
	int operands_count, status;

	operands_count = qb_opts_parse(cmd, argc, argv, &ctx.opts, &err);
	if (operands_count < 0)
		return qb_cli_usage(cmd, &err);
	if (answer(cmd, named, &ctx.opts, &status))
		return status;
	if (check_operands(cmd, operands_count, argv + 1, &err))
		return qb_cli_usage(cmd, &err);
	if (ctx.opts.run.quiet)
		qb_log_set_level(QB_LOG_ERROR);
	else if (ctx.opts.run.verbose)
		qb_log_set_level(QB_LOG_DEBUG);
	if (check_fault_env() < 0)
		return QB_EXIT_USAGE;
	return cmd->run(&ctx, operands_count, argv + 1);
}

int main(int argc, char **argv)
{
	const struct qb_cmd *cmd = &qb_cmd_demo;

	/* How the driver starts the parent of the processes under test; not for people. */
	if (argc == 3 && !strcmp(argv[1], "--mode=parent"))
		return qb_parent_main(argv[2]);
	if (argc == 2 && !strcmp(argv[1], QB_FLOOR_MODE))
		return qb_floor_speak();
	if (argc < 2 || argv[1][0] == '-')
		return qb_cli_flush(run_command(cmd, 0, argc, argv));
	if (!strcmp(argv[1], "help"))
		return qb_cli_flush(help_command(argc, argv));
	cmd = qb_cmd_find(argv[1]);
	if (!cmd)
		return unknown_command(argv[1]);
	return qb_cli_flush(run_command(cmd, 1, argc - 1, argv + 1));
}
