/* SPDX-License-Identifier: Apache-2.0 */
#include "run/cachework.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "cache/cache.h"
#include "run/board.h"
#include "shm/crc.h"
#include "shm/fault.h"
#include "shm/status.h"

#define ITEM_MAGIC 0x71626974u

struct item_head {
	uint32_t magic, address;
	uint64_t run;                   /* the job's id */
	uint32_t bytes;                 /* of all of it */
	uint32_t crc;                   /* CRC-32C of what follows */
};

struct qb_cachework {
	struct qb_board board;
	struct qb_store *store;
	struct qb_cache *cache;         /* NULL: the queue is closed */
	uint8_t *item;
	size_t item_cap;
	unsigned complaints;            /* a full disk is told of once, and then in detail only */
};

/* A job's address, as queue and store know it. */
struct named { char text[QB_CACHE_ADDRESS_BYTES]; struct qb_cache_spec spec; };

static const struct qb_cache_spec *name(struct named *n, const struct qb_queue_job *job)
{
	n->spec = (struct qb_cache_spec){ .dir = "", .address = qb_cacheset_text(job->tenant, n->text) };
	return &n->spec;
}

int qb_cachework_open(struct qb_cachework **out, struct qb_err *err)
{
	struct qb_cachework *w = qb_xcalloc(1, sizeof(*w));
	int rc = qb_board_attach(&w->board);

	*out = NULL;
	if (rc < 0)
		qb_err_set(err, rc, "could not read the board of the run: %s", qb_strerror(rc));
	if (rc < 0 || !w->board.shm) {
		free(w);
		return rc;
	}
	const struct qb_board_fixed *fixed = qb_board_fixed(&w->board);
	struct qb_store_config cfg = { .durable = fixed->durable };

	rc = qb_store_open(fixed->items, &cfg, &w->store, err);
	if (rc < 0) {
		qb_cachework_close(w);
		return rc;
	}
	*out = w;
	return 0;
}

void qb_cachework_close(struct qb_cachework *w)
{
	if (!w)
		return;
	qb_cache_close(w->cache);
	if (w->store)
		qb_store_close(w->store);
	qb_board_close(&w->board);
	free(w->item);
	free(w);
}

int qb_cachework_on(struct qb_cachework *w, const struct qb_queue_ops *ops, struct qb_queue *q, struct qb_err *err)
{
	struct qb_cache_config cfg = { .store = w->store, .ops = ops, .q = q };

	qb_cache_close(w->cache);
	w->cache = NULL;
	return q ? qb_cache_open(&cfg, &w->cache, err) : 0;
}

int qb_cachework_holds(const struct qb_cachework *w, const struct qb_queue_job *job)
{
	return w && qb_board_holds(&w->board, job->tenant);
}

static void note(struct qb_event_writer *log, const struct qb_queue_job *job, enum qb_cache_work what, uint64_t put_ns)
{
	struct qb_event_shm *e = qb_event_begin(log);

	if (!e)
		return;
	e->job_id = job->job_id;
	e->token = job->token;
	e->arg0 = what;
	e->arg1 = put_ns;
	e->slot_idx = job->tenant;
	e->tenant = job->tenant;
	e->type = QB_EV_CACHE_WORK;
	e->kind = (uint8_t)job->kind;
	e->error_class = (uint8_t)job->error_class;
	e->attempt = job->attempt;
	qb_event_commit(log, e);
}

static void complain(struct qb_cachework *w, const struct qb_queue_job *job, const struct qb_err *err)
{
	qb_log(w->complaints++ ? QB_LOG_DEBUG : QB_LOG_WARNING, "job %llu: %s", (unsigned long long)job->job_id, err->text);
}

int qb_cachework_found(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err)
{
	struct named n;
	int rc = qb_cache_runner_found(w->cache, job, name(&n, job), err);

	if (rc == 1)
		note(log, job, QB_CACHE_FOUND, 0);
	if (rc >= 0 || rc == QB_EPG)
		return rc;
	/* A store that cannot be looked at is no broken queue; what it is worth is seen at the put. */
	complain(w, job, err);
	return 0;
}

/* The rest of an item follows from its head. */
static void fill(uint8_t *p, size_t bytes, uint64_t x)
{
	for (size_t i = 0; i < bytes; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)x;
	}
}

static size_t make_item(struct qb_cachework *w, const struct qb_queue_job *job)
{
	struct item_head head = { .magic = ITEM_MAGIC, .address = job->tenant, .run = job->job_id };
	size_t bytes = job->payload_bytes > sizeof(head) ? job->payload_bytes : sizeof(head);

	if (bytes > w->item_cap) {
		free(w->item);
		w->item = qb_xmalloc(bytes);
		w->item_cap = bytes;
	}
	fill(w->item + sizeof(head), bytes - sizeof(head), job->job_id << 20 ^ job->tenant ^ 0x9e3779b97f4a7c15u);
	head.bytes = (uint32_t)bytes;
	head.crc = qb_crc32c(0, w->item + sizeof(head), bytes - sizeof(head));
	memcpy(w->item, &head, sizeof(head));
	return bytes;
}

int qb_cache_item_is_good(const void *data, size_t bytes, uint32_t address)
{
	struct item_head head;

	if (bytes < sizeof(head))
		return 0;
	memcpy(&head, data, sizeof(head));
	return head.magic == ITEM_MAGIC && head.address == address && head.bytes == bytes &&
	       head.crc == qb_crc32c(0, (const uint8_t *)data + sizeof(head), bytes - sizeof(head));
}

int qb_cachework_put(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err)
{
	struct named n;
	size_t bytes = make_item(w, job);
	uint64_t before = qb_now_ns();
	int rc = qb_cache_runner_put(w->cache, job, name(&n, job), w->item, bytes, err);

	QB_FAULT("worker.cache.after-put");
	if (rc == 0)
		note(log, job, QB_CACHE_PUT, qb_now_ns() - before);
	if (rc == 0 || rc == QB_EPG)
		return rc;
	complain(w, job, err);
	return 1;
}

int qb_cachework_fail(struct qb_cachework *w, struct qb_event_writer *log, const struct qb_queue_job *job, struct qb_err *err)
{
	char why[64];
	struct named n;

	snprintf(why, sizeof(why), "the work of request %llu failed", (unsigned long long)job->job_id);
	int rc = qb_cache_runner_fail(w->cache, job, name(&n, job), why, err);

	QB_FAULT("worker.cache.after-failure");
	if (rc == QB_EPG)
		return rc;
	/* Where the failure cannot be stored either, those who wait find neither. */
	if (rc < 0)
		complain(w, job, err);
	note(log, job, QB_CACHE_FAILED, 0);
	return 0;
}
