/* SPDX-License-Identifier: Apache-2.0 */
/* qbench run: libraries under a scenario. */
#include "cli/cmd.h"
#include "cli/runs.h"

static int run(struct qb_ctx *ctx, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return qb_cli_runs(ctx);
}

const struct qb_cmd qb_cmd_run = {
	.name = "run",
	.summary = "run a scenario with one or more libraries, kill what the plan says, verify",
	.operands = "",
	.about = "Each run leaves its record (events.qbr) and its numbers (summary.json) in a directory of its own "
		 "under --results-dir. Without --postgres-url a private server is started in a temporary directory and "
		 "removed at the end.",
	.bit = QB_CMD_RUN,
	.run = run,
};
