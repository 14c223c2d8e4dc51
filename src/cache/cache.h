/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file cache whose misses are filled by queued work: rscache's Get, Check, Head and Uncache.
 *
 * Get: the item if it is there (hit); else push work for its address. Accepted: this request executed it; refused: somebody
 * else is at it, joined. Wait for that run, return the item. Each address is computed once however many ask.
 * Lives in: process memory, over a store and a queue that the caller opened.  One thread per handle; the store and the
 * memory layer may be shared.
 * Crash: the cache keeps nothing of its own. What a kill of a runner means is the queue's rule (queue/address.h) and the
 * store's; a kill of who asks leaves a run that ends without it.
 * doc/cache.md has the steps, and what of rscache is followed and what is not.
 */
#ifndef QB_CACHE_CACHE_H
#define QB_CACHE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/cacheset.h"
#include "base/err.h"
#include "cache/memory.h"
#include "cache/storage.h"
#include "queue/address.h"
#include "queue/queue.h"

/* 0 is "none" for each time. */
struct qb_cache_config {
	struct qb_store *store;
	const struct qb_queue_ops *ops; /* with .addressed */
	struct qb_queue *q;
	struct qb_cache_memory *memory; /* NULL: none */
	uint64_t deadline_ns;           /* of the wait on work. rscache has none: there it waits for as long as the row exists */
	uint64_t visible_ns;            /* rscache's Timeout: how long a faithful Get looks for the item after the run, every 200 ms */
	int stale_errors;               /* the trap: a recorded failure is returned whenever it was recorded */
	/* Called before and after each push, also of runs that are pushed again; rc and ticket are push's. NULL: not. */
	void (*pushing)(void *ctx);
	void (*pushed)(void *ctx, int rc, const struct qb_queue_ticket *ticket);
	void *ctx;
};

struct qb_cache_spec {
	const char *dir, *address;      /* of the item; the address is the queue's, too */
	const struct qb_submit *work;   /* pushed when it is missing; not needed by check, head, uncache */
	int in_memory;                  /* may be kept in memory, rscache's CacheInMemory */
};

struct qb_cache_return {
	enum qb_cache_way way;
	enum qb_cache_fault fault;
	int from_memory;
	uint32_t ticks;                 /* waits that a tick ended, and no notification */
	uint32_t pushes;                /* more than 1: the run that was joined was over and had left nothing */
	uint64_t failed_run;            /* of FAILURE: whose */
	struct qb_store_info info;      /* with QB_CACHE_OK */
	void *data;                     /* with QB_CACHE_OK: the item, malloc'ed; caller: free */
	char message[QB_ADDRESS_MESSAGE_BYTES];         /* without */
};

struct qb_cache;
/* 0 or negative. */
int qb_cache_open(const struct qb_cache_config *cfg, struct qb_cache **out, struct qb_err *err);
void qb_cache_close(struct qb_cache *c);

/* Always 0 with *ret, whose fault says how it went; negative only for a spec that cannot be. At most one of its pushes is accepted. */
int qb_cache_get(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_cache_return *ret, struct qb_err *err);
/* Is it there, in full? 1, 0, negative. */
int qb_cache_check(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_err *err);
/* Size and time. 1, 0, negative. */
int qb_cache_head(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_store_info *info, struct qb_err *err);
/* Out of memory and store. 1: it was there; 0; negative. */
int qb_cache_uncache(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_err *err);

/* ---- the runner: between start() and complete() or fail() of the job; q is the worker's own ---- */

/*
 * Is there nothing to do, because the item has come since the push? 1: complete() has to follow. 0 always where the cache is
 * faithful: rscache does not look.
 */
int qb_cache_runner_found(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, struct qb_err *err);
/* The item, and the end of the failure on record. 0 or negative. complete() has to follow. */
int qb_cache_runner_put(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, const void *data,
			size_t bytes, struct qb_err *err);
/* What all who wait are told. 0 or negative. A final fail() has to follow. */
int qb_cache_runner_fail(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, const char *message,
			 struct qb_err *err);

#endif
