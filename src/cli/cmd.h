/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: one file and one const struct qb_cmd each. main.c finds the command, reads its options
 * by the table in opts.c, and calls run() with what is left: the operands.
 *
 * stdout is the result, stderr everything else. A command returns the exit status of the program.
 */
#ifndef QB_CLI_CMD_H
#define QB_CLI_CMD_H

#include <stdio.h>

#include "base/err.h"
#include "cli/opts.h"

enum qb_exit {
	QB_EXIT_DONE = 0,
	QB_EXIT_USAGE = 1,              /* also: could not start */
	QB_EXIT_ERROR = 2,              /* something failed on the way; what there is was written */
	QB_EXIT_VERIFY = 3,             /* a job lost or done twice; a broken identity, segment */
	QB_EXIT_INTERRUPTED = 130,
};

/* Who takes an option: a set of these stands beside each in the table. */
enum qb_cmd_bit {
	QB_CMD_DEMO = 1 << 0,           /* "qbench" without a command */
	QB_CMD_RUN = 1 << 1,
	QB_CMD_REPORT = 1 << 2,
	QB_CMD_LIST = 1 << 3,
	QB_CMD_PLAN = 1 << 4,
	QB_CMD_INSPECT = 1 << 5,
	QB_CMD_RECOVER = 1 << 6,
	QB_CMD_SELFTEST = 1 << 7,
};
#define QB_CMD_ALL ((1 << 8) - 1)

struct qb_cmd;

struct qb_ctx {
	const struct qb_cmd *cmd;
	struct qb_opts opts;
};

struct qb_cmd {
	const char *name;
	const char *summary;            /* half a line, for the list of commands */
	const char *operands;           /* behind [OPTION]... in the usage line; "" for none */
	const char *about;              /* a paragraph for --help, or NULL */
	unsigned bit;                   /* enum qb_cmd_bit */
	int operands_min, operands_max;
	int (*run)(struct qb_ctx *ctx, int argc, char **argv);  /* argv: operands only */
};

extern const struct qb_cmd qb_cmd_demo, qb_cmd_run, qb_cmd_report, qb_cmd_list, qb_cmd_plan;
extern const struct qb_cmd qb_cmd_inspect, qb_cmd_recover, qb_cmd_selftest;

/* main.c: all of them in the order of the help, NULL at the end; and one by name, or NULL. */
extern const struct qb_cmd *const qb_cmds[];
const struct qb_cmd *qb_cmd_find(const char *name);

/* Print err->text as one line to stderr; the exit status for its code. */
int qb_cli_fail(const struct qb_err *err);
/* The same for what the user asked wrongly, and where to read on. Always QB_EXIT_USAGE. */
int qb_cli_usage(const struct qb_cmd *cmd, const struct qb_err *err);
/* QB_EXIT_DONE for 0, else what design says of that negative code. */
int qb_cli_status(int code);
/* Flush stdout: status, or QB_EXIT_ERROR and a message when it could not be written. */
int qb_cli_flush(int status);

/* help.c */
void qb_help_program(FILE *out);
void qb_help_command(const struct qb_cmd *cmd, FILE *out);
/* The options of that command (NULL: of all), for completion: "--name", "--name=" with a value. */
void qb_help_list_options(const struct qb_cmd *cmd, FILE *out);
/* What an option may be set to, one per line. 0, or QB_EUSAGE when there is no such option. */
int qb_help_list_values(const struct qb_cmd *cmd, const char *name, FILE *out, struct qb_err *err);

/* version.c: what this program was made of. */
void qb_print_version(FILE *out);

#endif
