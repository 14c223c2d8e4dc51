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

static void print_rebuilt(const struct qb_recover_result *r)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < QB_RESTORED_COUNT; i++)
		all += r->restored[i];
	printf("segment    lost; rebuilt from Postgres (life %u of the run)\n", r->life);
	printf("finished   %llu jobs before, as far as Postgres knows\n", (unsigned long long)r->finished_before);
	printf("restored   %llu jobs: %llu may run a second time, %llu wait for their time, %llu are to be decided by "
	       "Postgres, %llu parked (ambiguous: nobody knows whether they ran)\n", (unsigned long long)all,
	       (unsigned long long)r->restored[QB_RESTORED_AGAIN], (unsigned long long)r->restored[QB_RESTORED_WAITING],
	       (unsigned long long)r->restored[QB_RESTORED_IN_DOUBT], (unsigned long long)r->restored[QB_RESTORED_PARKED]);
}

static void print_result(const struct qb_recover_result *r, int is_rebuilt)
{
	const char *path = r->segment_path;

	printf("run        %s (%s)\n", r->run_id, r->queue);
	if (is_rebuilt)
		print_rebuilt(r);
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

/* Neither a segment nor a run: say what there is to choose from. */
static int nothing_named(struct qb_ctx *ctx)
{
	struct qb_strbuf list = { 0 };
	struct qb_err err = { 0 };
	int rc = qb_unfinished_runs(&ctx->opts.run, &list, &err);

	if (rc < 0)
		qb_err_set(&err, QB_EUSAGE, "recover needs a SEGMENT, or --from-postgres=RUN");
	else if (list.bytes)
		qb_err_set(&err, QB_EUSAGE, "recover needs a SEGMENT, or --from-postgres=RUN with one of the runs that are unfinished "
			   "in that database: %.800s", list.data);
	else
		qb_err_set(&err, QB_EUSAGE, "recover needs a SEGMENT; no run is unfinished in that database");
	qb_strbuf_free(&list);
	return qb_cli_usage(ctx->cmd, &err);
}

static int recover(struct qb_ctx *ctx, int argc, char **argv)
{
	const char *run_id = ctx->opts.from_postgres;
	struct qb_recover_result result;
	struct qb_err err = { 0 };

	if (!ctx->opts.run.postgres_url) {
		qb_err_set(&err, QB_EUSAGE, "recover needs the Postgres of the run: give --postgres-url or set QBENCH_POSTGRES_URL "
			   "(the server of a run without it was private and is gone; 'qbench inspect' shows what the segment holds)");
		return qb_cli_usage(ctx->cmd, &err);
	}
	if (argc && run_id) {
		qb_err_set(&err, QB_EUSAGE, "--from-postgres: the run has a segment, or it is lost: name one of the two");
		return qb_cli_usage(ctx->cmd, &err);
	}
	if (!argc && !run_id)
		return nothing_named(ctx);
	qb_catch_interrupts();
	int rc = run_id ? qb_recover_from_postgres(run_id, &ctx->opts.run, &result, &err) :
		qb_recover(argv[0], &ctx->opts.run, &result, &err);

	if (rc < 0)
		return qb_cli_fail(&err);
	print_result(&result, run_id != NULL);
	return result.drained ? QB_EXIT_DONE : QB_EXIT_ERROR;
}

const struct qb_cmd qb_cmd_recover = {
	.name = "recover",
	.summary = "finish what survived in a segment whose processes are all dead",
	.operands = "[SEGMENT]",
	.about = "Proves that every process of the run is dead (killing what is not), decides the jobs that "
		 "they held, runs what is to be run, and makes the outcomes durable in the Postgres of the run. "
		 "The segment is removed when nothing in it is needed any more. With --from-postgres the segment is lost "
		 "with its host, or is of another boot: a new one is made from what Postgres has of the run. Every job "
		 "whose acceptance was durable is there; one that had not ended, or whose end was not durable yet, may run a "
		 "second time, or is parked when it must not.",
	.bit = QB_CMD_RECOVER,
	.operands_min = 0,
	.operands_max = 1,
	.run = recover,
};
