/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The description of a run: what was asked, of whom, where.
 *
 * Lives in: the first block of the record and, as the same bytes, in the segment, so that either
 * can be read alone.  Written once, before the first event.  Unknown keys are skipped; a string
 * that is longer than its array below is corrupt.
 */
#ifndef QB_RECORD_META_H
#define QB_RECORD_META_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define QB_META_KINDS_MAX 8
#define QB_META_ERROR_CLASSES_MAX 8
#define QB_META_SETTINGS_MAX 96
#define QB_META_TENANTS_MAX 1000000     /* that can be listed */
#define QB_META_TENANT_BYTES 37         /* a UUID as text, with its NUL */

struct qb_meta_setting {
	char key[32];
	char value[96];
};

struct qb_meta {
	/* Of the bytes that were read; packing writes those of this build. */
	uint32_t format, layout_major, layout_minor;

	char run_id[96];                /* <lib>-<scenario>-<unix seconds> */
	char lib[96];                   /* with its settings: "river:fetch-cooldown=2ms" */
	char scenario[64];
	uint64_t duration_ns;
	uint32_t rate;                  /* per second */
	uint32_t tenants;
	double tenant_skew;
	uint64_t seed;
	uint32_t workers;
	uint32_t slots;                 /* concurrent jobs of a worker */
	uint64_t backlog;               /* jobs 1..this were put in before the first worker was there; 0: none */
	uint64_t burst_start_ns, burst_end_ns;          /* after the start; 0, 0: none */
	char variant[32];               /* which of several runs of one library this is: "4 processes"; "": the only one */
	char ack[16];                   /* "durable", "shm" */
	char ambiguous[16];             /* "retry", "park" */
	char backoff[16];               /* "immediate", "pow4" */
	char qbench_version[64];
	char server_version[96];        /* "" when there is no server */
	char host[96];
	uint64_t started_wall_ns;

	uint32_t kinds_count;
	char kinds[QB_META_KINDS_MAX][32];              /* by the kind of an event */
	uint32_t error_classes_count;
	char error_classes[QB_META_ERROR_CLASSES_MAX][32]; /* by error_class; [0] is "" */

	/* Whatever else a report should show beside the result. */
	uint32_t settings_count;
	struct qb_meta_setting settings[QB_META_SETTINGS_MAX];

	/* May be NULL, or shorter than tenants: see qb_meta_tenant_id(). malloc'ed. */
	uint32_t tenant_ids_count;
	char (*tenant_ids)[QB_META_TENANT_BYTES];
};

/* Appends the packed bytes; the same description gives the same bytes. */
void qb_meta_pack(const struct qb_meta *m, struct qb_strbuf *out);

/*
 * Checked. 0 (free with qb_meta_free); QB_ECORRUPT; QB_EVERSION: a newer format or another
 * layout of the events; QB_EENDIAN. m holds nothing to free after an error.
 */
int qb_meta_unpack(struct qb_meta *m, const void *data, size_t bytes);

/*
 * The tenant's UUID: the listed one, or else one made from the run id and the index, always the
 * same. A run with a million tenants need not list them.
 */
void qb_meta_tenant_id(const struct qb_meta *m, uint32_t tenant, char out[QB_META_TENANT_BYTES]);

/* Adds to settings; 0, or QB_ETOOBIG when the list is full or a text is too long. */
int qb_meta_setting(struct qb_meta *m, const char *key, const char *value);

void qb_meta_free(struct qb_meta *m);           /* m is empty afterwards */

#endif
