/* SPDX-License-Identifier: Apache-2.0 */
/* qbench recover: finish what a run left when all its processes died. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/outcome.h"
#include "cli/cmd.h"
#include "cli/interrupt.h"
#include "run/run.h"
#include "shm/segment.h"
#include "shm/status.h"

static void print_result(const char *path, const struct qb_recover_result *r)
{
	printf("run        %s (%s)\n", r->run_id, r->queue);
	printf("found      ");
	int first = 1;

	for (uint32_t state = 0; state < QB_JOB_STATE_COUNT; state++) {
		if (r->by_state_before[state] == 0)
			continue;
		printf("%s%llu %s", first ? "" : ", ", (unsigned long long)r->by_state_before[state],
		       qb_job_state_name(state));
		first = 0;
	}
	printf("%s\n", first ? "no unfinished jobs" : "");
	printf("recovered  %llu put back, of which %llu had been started (ambiguous); %llu completed now\n",
	       (unsigned long long)r->requeued, (unsigned long long)r->ambiguous, (unsigned long long)r->completed);
	printf("now        ");
	first = 1;
	for (unsigned o = 1; o < QB_OUTCOME_COUNT; o++) {
		if (r->by_outcome[o] == 0)
			continue;
		printf("%s%llu %s", first ? "" : ", ", (unsigned long long)r->by_outcome[o], qb_outcome_name(o));
		first = 0;
	}
	printf("%s\n", first ? "nothing on record" : "");
	printf("events     %s\n", r->record);
	if (r->removed)
		printf("segment    removed: everything in it is durable\n");
	else
		printf("segment    %s stays%s\n", path,
		       !r->drained ? ": not everything was finished" :
		       r->by_outcome[QB_OUTCOME_AMBIGUOUS] ? ": it holds ambiguous jobs for somebody to decide" : "");
}

static int recover(struct qb_ctx *ctx, int argc, char **argv)
{
	struct qb_recover_result result;
	struct qb_err err = { 0 };

	(void)argc;
	if (!ctx->opts.run.postgres_url) {
		qb_err_set(&err, QB_EUSAGE, "recover needs the Postgres of the run: give --postgres-url or set QBENCH_POSTGRES_URL "
			   "(the server of a run without it was private and is gone; 'qbench inspect' shows what the segment holds)");
		return qb_cli_usage(ctx->cmd, &err);
	}
	qb_catch_interrupts();
	int rc = qb_recover(argv[0], &ctx->opts.run, &result, &err);

	if (rc < 0)
		return qb_cli_fail(&err);
	print_result(argv[0], &result);
	return result.drained ? QB_EXIT_DONE : QB_EXIT_ERROR;
}

const struct qb_cmd qb_cmd_recover = {
	.name = "recover",
	.summary = "finish what survived in a segment whose processes are all dead",
	.operands = "SEGMENT",
	.about = "Proves that every process of the run is dead (killing what is not), decides the jobs that "
		 "they held, runs what is to be run, and makes the outcomes durable in the Postgres of the run. "
		 "The segment is removed when nothing in it is needed any more.",
	.bit = QB_CMD_RECOVER,
	.operands_min = 1,
	.operands_max = 1,
	.run = recover,
};
