/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job list of a scenario, fixed by its seed before anything runs.
 *
 * It is the original benchmark's list job by job: its generator, its draws in its order, its count
 * (rate x duration - 1, because its ticker sends nothing at 0 and stops at the duration). Two of
 * its peculiarities are kept on purpose: the kind is drawn twice, so that the label of a job says
 * nothing about its duration and size; and a job that fails carries its failure in itself.
 *
 * Time is open-loop: at_ns is when a job ought to be enqueued, whatever the queue is doing then.
 * A job takes 40 bytes; its payload is not stored but drawn again from the state kept with it.
 */
#ifndef QB_WORKLOAD_PLAN_H
#define QB_WORKLOAD_PLAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "workload/pcg.h"
#include "workload/scenario.h"

#define QB_PLAN_JOBS_MAX 10000000u
#define QB_PLAN_SHA256_HEX 65           /* bytes of a hex digest with its NUL */

struct qb_plan_job {
	uint64_t at_ns;                 /* intended, from the start */
	struct qb_pcg payload;          /* generator just before the first byte of the payload */
	uint32_t tenant;                /* index */
	uint16_t kind;                  /* index into the scenario's kinds: the label */
	uint16_t error_class;           /* enum qb_error_class */
	uint32_t work_ms;
	uint32_t payload_bytes;
};

struct qb_plan {
	size_t count;
	struct qb_plan_job *jobs;       /* in order of at_ns */
};

/* What a plan adds up to. */
struct qb_plan_totals {
	uint64_t jobs;
	uint64_t failing[QB_ERROR_CLASS_COUNT];         /* [NONE]: those that do not fail */
	uint64_t kinds[QB_SCENARIO_KINDS_MAX];          /* by label */
	uint64_t work_ms;               /* of those that do not fail: the others fail at once */
	uint64_t payload_bytes;
	uint32_t payload_bytes_max;
};

/* 0; QB_EUSAGE (too many jobs, or sc is not valid) or -ENOMEM. Freed by qb_plan_free. */
int qb_plan_build(const struct qb_scenario *sc, struct qb_plan *plan, struct qb_err *err);
void qb_plan_free(struct qb_plan *plan);

/* Draw the payload of job idx into buf, which has room for its payload_bytes. */
void qb_plan_payload(const struct qb_plan *plan, size_t idx, uint8_t *buf);

/* SHA-256 of that payload in hex. 0, or -ENOMEM. */
int qb_plan_payload_sha256(const struct qb_plan *plan, size_t idx, char hex[QB_PLAN_SHA256_HEX]);

void qb_plan_totals(const struct qb_plan *plan, struct qb_plan_totals *totals);

/*
 * One JSON object per job and line: job (0-based), at_ns, tenant, kind, work_ms, payload_bytes,
 * payload_sha256, error_class ("" if none); of a scenario with [keys] phase, process and key as well. 0, or -errno of the stream, which is flushed.
 */
int qb_plan_print_jsonl(const struct qb_plan *plan, const struct qb_scenario *sc, FILE *out);

#endif
