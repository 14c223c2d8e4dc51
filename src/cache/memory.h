/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items in the memory of one process, in front of a store: bounded, the least recently used go first.
 *
 * Lives in: process memory.  Any thread; a mutex, held for a lookup or a copy.  Crash: gone with the process; nothing is lost.
 * Other processes' puts and removals are not seen: an item may be older than the store's for as long as ttl_ns, as in
 * rscache's memory cache.  An item that was put is found at once, there only later.
 */
#ifndef QB_CACHE_MEMORY_H
#define QB_CACHE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "cache/storage.h"

struct qb_cache_memory;

struct qb_cache_memory_config {
	uint64_t bytes_max;             /* of all items */
	uint64_t item_bytes_max;        /* larger ones are not kept; 0: bytes_max / 8 */
	uint64_t ttl_ns;                /* 0: as long as there is room */
};

struct qb_cache_memory *qb_cache_memory_new(const struct qb_cache_memory_config *cfg);
void qb_cache_memory_free(struct qb_cache_memory *m);

/* 1: a copy of it, malloc'ed (data NULL: not copied), and *info; 0. now_ns: CLOCK_MONOTONIC. */
int qb_cache_memory_get(struct qb_cache_memory *m, const char *dir, const char *address, uint64_t now_ns, void **data,
			struct qb_store_info *info);
/*
 * A copy is kept, if it fits; what makes room for it goes. Not kept when anything was removed since `removals` was read, which
 * was before the item was read: it may be what was removed.
 */
void qb_cache_memory_put(struct qb_cache_memory *m, const char *dir, const char *address, uint64_t removals, uint64_t now_ns,
			 const void *data, const struct qb_store_info *info);
/* How often something was removed, found or not. */
uint64_t qb_cache_memory_removals(struct qb_cache_memory *m);
/* 1: it was there. */
int qb_cache_memory_remove(struct qb_cache_memory *m, const char *dir, const char *address);

struct qb_cache_memory_counts { uint64_t items, bytes, hits, misses, evicted, expired; };
void qb_cache_memory_counts(struct qb_cache_memory *m, struct qb_cache_memory_counts *out);

#endif
