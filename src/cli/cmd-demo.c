/* SPDX-License-Identifier: Apache-2.0 */
/* qbench without a command: what a crash costs, in under a minute. */
#include "cli/cmd.h"
#include "cli/runs.h"

static int demo(struct qb_ctx *ctx, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	ctx->opts.run.scenario = "crash_recovery";
	return qb_cli_runs(ctx);
}

const struct qb_cmd qb_cmd_demo = {
	.name = "demo",
	.summary = "without a command: kill workers under load, for our engine and for the textbook queue",
	.operands = "",
	.bit = QB_CMD_DEMO,
	.run = demo,
};
