/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What went wrong when an address was last computed, for queues that do not keep it: a record beside the items, put and
 * removed as they are.  One writer at a time: the runner of the address.  Private to the cache.
 */
#ifndef QB_CACHE_FAILURE_H
#define QB_CACHE_FAILURE_H

#include "cache/storage.h"
#include "queue/address.h"

/* No item's directory begins with it. */
#define QB_FAILURE_DIR ".failed"

struct qb_failure {
	uint64_t run;                   /* whose: the job's id; 0: none on record */
	char message[QB_ADDRESS_MESSAGE_BYTES];
};

/* 0 with *f, or negative. */
int qb_failure_read(struct qb_store *s, const char *dir, const char *address, struct qb_failure *f, struct qb_err *err);
/* In place of the one before. 0 or negative. */
int qb_failure_write(struct qb_store *s, const char *dir, const char *address, const struct qb_failure *f, struct qb_err *err);
int qb_failure_clear(struct qb_store *s, const char *dir, const char *address, struct qb_err *err);

#endif
