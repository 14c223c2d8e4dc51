/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A put with all that it can be told; the public ones and copies are made of it.
 *
 * Lives in: process memory.  Any thread.  Progress: may block on the file system.  Crash: as qb_store_put().
 */
#ifndef QB_CACHE_STORAGE_PUT_H
#define QB_CACHE_STORAGE_PUT_H

#include "cache/storage.h"

struct qb_put {
	qb_store_resolver resolver;
	void *ctx;
	int chunked;
	int hidden;                     /* in chunks, but not to be found before it is complete */
	uint64_t bytes;                 /* that have to come; 0: as many as come */
	uint64_t mtime_ns;              /* 0: now */
};

int qb_store_put_as(struct qb_store *s, const char *dir, const char *address, const struct qb_put *put, struct qb_err *err);

#endif
