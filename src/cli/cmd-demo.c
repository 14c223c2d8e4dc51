/* SPDX-License-Identifier: Apache-2.0 */
/* qbench without a command: what a crash costs, in under a minute. */
#include "base/clock.h"
#include "base/strbuf.h"
#include "cli/cmd.h"
#include "cli/runs.h"
#include "queue/queue.h"

/* A retry can wait for longer than a demonstration may take: it is counted as waiting then. */
#define DRAIN_NS (5 * QB_NS_PER_S)

static int demo(struct qb_ctx *ctx, int argc, char **argv)
{
	struct qb_run_config *cfg = &ctx->opts.run;
	struct qb_strbuf libs = { 0 };

	(void)argc;
	(void)argv;
	for (size_t i = 0; qb_queues[i]; i++)
		qb_strbuf_printf(&libs, "%s%s", i ? "," : "", qb_queues[i]->name);
	cfg->libs = qb_strbuf_text(&libs);
	cfg->scenario = "crash_recovery";
	cfg->drain_ns = DRAIN_NS;
	int status = qb_cli_runs(ctx);

	qb_strbuf_free(&libs);
	return status;
}

const struct qb_cmd qb_cmd_demo = {
	.name = "demo",
	.summary = "without a command: kill workers under load, for our engine and for the queues that it is compared with",
	.operands = "",
	.bit = QB_CMD_DEMO,
	.run = demo,
};
