/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "shm/crc.h"

#define CHAINS 1024u
/* Of an item beside its bytes, as far as the bound is concerned. */
#define ITEM_OVERHEAD sizeof(struct item)

struct item {
	struct item *next;              /* in its chain */
	struct item *newer, *older;
	uint64_t since_ns;
	struct qb_store_info info;
	char *data;
	char *name;                     /* "dir/address" */
};

struct qb_cache_memory {
	pthread_mutex_t lock;
	struct qb_cache_memory_config cfg;
	struct qb_cache_memory_counts counts;
	uint64_t removals;
	struct item *newest, *oldest;
	struct item *chain[CHAINS];
};

struct qb_cache_memory *qb_cache_memory_new(const struct qb_cache_memory_config *cfg)
{
	struct qb_cache_memory *m = qb_xcalloc(1, sizeof(*m));

	pthread_mutex_init(&m->lock, NULL);
	m->cfg = *cfg;
	if (m->cfg.item_bytes_max == 0)
		m->cfg.item_bytes_max = m->cfg.bytes_max / 8;
	return m;
}

static struct item **chain_of(struct qb_cache_memory *m, const char *name)
{
	return &m->chain[qb_crc32c(0, name, strlen(name)) % CHAINS];
}

/* Where the pointer to it is, which is NULL when it is not there. */
static struct item **find(struct qb_cache_memory *m, const char *name)
{
	struct item **at = chain_of(m, name);

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void unlink_age(struct qb_cache_memory *m, struct item *it)
{
	*(it->newer ? &it->newer->older : &m->newest) = it->older;
	*(it->older ? &it->older->newer : &m->oldest) = it->newer;
}

static void make_newest(struct qb_cache_memory *m, struct item *it)
{
	it->newer = NULL;
	it->older = m->newest;
	*(m->newest ? &m->newest->newer : &m->oldest) = it;
	m->newest = it;
}

static void free_item(struct item *it)
{
	free(it->data);
	free(it->name);
	free(it);
}

static void drop(struct qb_cache_memory *m, struct item **at)
{
	struct item *it = *at;

	*at = it->next;
	unlink_age(m, it);
	m->counts.items--;
	m->counts.bytes -= it->info.bytes + ITEM_OVERHEAD;
	free_item(it);
}

void qb_cache_memory_free(struct qb_cache_memory *m)
{
	if (!m)
		return;
	while (m->oldest)
		drop(m, find(m, m->oldest->name));
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static void *copy_of(const void *data, size_t bytes)
{
	void *copy = qb_xmalloc(bytes + 1);

	if (bytes)
		memcpy(copy, data, bytes);
	return copy;
}

int qb_cache_memory_get(struct qb_cache_memory *m, const char *dir, const char *address, uint64_t now_ns, void **data,
			struct qb_store_info *info)
{
	char *name = qb_xasprintf("%s/%s", dir, address);

	pthread_mutex_lock(&m->lock);
	struct item **at = find(m, name), *it = *at;

	if (it && m->cfg.ttl_ns && now_ns - it->since_ns >= m->cfg.ttl_ns) {
		drop(m, at);
		m->counts.expired++;
		it = NULL;
	}
	*(it ? &m->counts.hits : &m->counts.misses) += 1;
	if (it) {
		unlink_age(m, it);
		make_newest(m, it);
		*info = it->info;
		if (data)
			*data = copy_of(it->data, it->info.bytes);
	}
	pthread_mutex_unlock(&m->lock);
	free(name);
	return it != NULL;
}

uint64_t qb_cache_memory_removals(struct qb_cache_memory *m)
{
	pthread_mutex_lock(&m->lock);
	uint64_t removals = m->removals;

	pthread_mutex_unlock(&m->lock);
	return removals;
}

void qb_cache_memory_put(struct qb_cache_memory *m, const char *dir, const char *address, uint64_t removals, uint64_t now_ns,
			 const void *data, const struct qb_store_info *info)
{
	if (info->bytes > m->cfg.item_bytes_max || info->bytes + ITEM_OVERHEAD > m->cfg.bytes_max)
		return;
	struct item *it = qb_xcalloc(1, sizeof(*it));

	*it = (struct item){ .since_ns = now_ns, .info = *info, .data = copy_of(data, info->bytes),
			     .name = qb_xasprintf("%s/%s", dir, address) };
	pthread_mutex_lock(&m->lock);
	if (m->removals != removals) {
		pthread_mutex_unlock(&m->lock);
		free_item(it);
		return;
	}
	struct item **at = find(m, it->name);

	if (*at)
		drop(m, at);
	while (m->counts.bytes + info->bytes + ITEM_OVERHEAD > m->cfg.bytes_max) {
		drop(m, find(m, m->oldest->name));
		m->counts.evicted++;
	}
	at = chain_of(m, it->name);
	it->next = *at;
	*at = it;
	make_newest(m, it);
	m->counts.items++;
	m->counts.bytes += info->bytes + ITEM_OVERHEAD;
	pthread_mutex_unlock(&m->lock);
}

int qb_cache_memory_remove(struct qb_cache_memory *m, const char *dir, const char *address)
{
	char *name = qb_xasprintf("%s/%s", dir, address);

	pthread_mutex_lock(&m->lock);
	struct item **at = find(m, name);
	int was = *at != NULL;

	m->removals++;
	if (was)
		drop(m, at);
	pthread_mutex_unlock(&m->lock);
	free(name);
	return was;
}

void qb_cache_memory_counts(struct qb_cache_memory *m, struct qb_cache_memory_counts *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->counts;
	pthread_mutex_unlock(&m->lock);
}
