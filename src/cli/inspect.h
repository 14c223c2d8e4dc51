/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a segment says of itself, gathered from a snapshot; nothing in it is believed unchecked.
 * Private to cli/: cmd-inspect.c fills it, one printer each for people and programs.
 */
#ifndef QB_CLI_INSPECT_H
#define QB_CLI_INSPECT_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/strbuf.h"
#include "record/meta.h"
#include "shm/check.h"
#include "shm/segment.h"

/* As far as can be told from here: another pid name space looks like death. */
enum qb_life { QB_LIFE_DEAD, QB_LIFE_ALIVE, QB_LIFE_UNKNOWN };

/* What is known of a job that a process holds or held. */
enum qb_standing {
	QB_STANDING_OTHER,              /* nobody holds it: its state says all */
	QB_STANDING_RUNNING,            /* its holder lives */
	QB_STANDING_UNCLEAR,            /* whether its holder lives cannot be told from here */
	QB_STANDING_NOT_STARTED,        /* claimed by one that is dead: no user code ran */
	QB_STANDING_UNDECIDED,          /* started by one that is dead, no outcome, not recovered */
	QB_STANDING_PARKED,             /* the same, after recovery: for a person to decide */
	QB_STANDING_IN_DOUBT,           /* the same, for Postgres to say: transactional */
	QB_STANDING_COUNT,
};

struct qb_inspect_owner {
	uint32_t seat, role, incarnation;
	uint32_t recovering;            /* its death is confirmed, its jobs are being decided */
	uint32_t pid;                   /* 0: was about to be forked */
	enum qb_life life;
	uint32_t claimed, started;      /* jobs that it holds */
	uint64_t ready_wall_ns;         /* 0: never said so */
	uint64_t last_wall_ns;          /* newest record of its ring, 0: none */
	uint32_t last_type;             /* enum qb_event_type */
	uint64_t last_job_id;
};

struct qb_inspect_job {
	uint32_t slot_idx;
	uint64_t word;                  /* also the fence token of its attempt */
	uint64_t job_id;
	enum qb_standing standing;
	uint64_t started_wall_ns;       /* of this attempt, by its record; 0: none there any more */
	uint64_t submitted_wall_ns;
	uint32_t effects;               /* how often its effect happened */
	uint32_t tenant, payload_bytes;
	uint16_t kind, error_class, effect_class;
};

struct qb_inspect {
	const char *path;
	struct qb_seg seg;              /* a snapshot */
	struct qb_meta meta;
	int meta_code;                  /* 0: meta is filled; QB_EMPTY: none; negative: damaged */
	int same_boot;                  /* 1, 0, or -1: the segment does not say */
	enum qb_life creator;
	uint64_t now_wall_ns;
	struct qb_check check;
	int findings_count;             /* of the check, and a damaged description */
	struct qb_strbuf findings;      /* one a line */
	struct qb_inspect_owner *owners;
	uint32_t owners_count, owners_alive;
	struct qb_inspect_job *jobs;    /* by slot; those held or parked, or all but the free */
	uint32_t jobs_count;
	uint32_t standing[QB_STANDING_COUNT];
	uint64_t events_waited;
	uint32_t effects_seen;          /* of those UNDECIDED or PARKED: its effect has happened */
};

/* "dead", "alive", "unknown". */
const char *qb_life_name(enum qb_life life);
/* "not_started", ...: for programs. */
const char *qb_standing_name(enum qb_standing standing);

/*
 * Snapshot and gather. all_jobs: also those that nobody holds. A live segment that seems damaged is
 * looked at again: it was moving. 0; negative as qb_seg_snapshot() gives it, or -ENOMEM.
 */
int qb_inspect_open(struct qb_inspect *in, const char *path, int all_jobs);
/* The second half of it: gather from in->seg, all else being zero. 0 or -ENOMEM. */
int qb_inspect_gather(struct qb_inspect *in, int all_jobs);
void qb_inspect_close(struct qb_inspect *in);

/* What its reader should do about a code of qb_inspect_open(): err says it in a sentence. */
void qb_inspect_refusal(const char *path, int code, struct qb_err *err);

/* The kind's name by the description, or its number. buf of at least 32 bytes; returns buf. */
const char *qb_inspect_kind(const struct qb_inspect *in, uint32_t kind, char *buf, size_t cap);

void qb_inspect_print_text(const struct qb_inspect *in, FILE *out);
/* 0 or -EIO. */
int qb_inspect_print_json(const struct qb_inspect *in, FILE *out);

#endif
