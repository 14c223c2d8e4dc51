/* SPDX-License-Identifier: Apache-2.0 */
/* The runs of one invocation: every library, as often as asked, on one server; then the report. */
#ifndef QB_CLI_RUNS_H
#define QB_CLI_RUNS_H

#include "cli/cmd.h"

/* For `run` and for the demo. Returns the exit status. */
int qb_cli_runs(struct qb_ctx *ctx);

#endif
