/* SPDX-License-Identifier: Apache-2.0 */
/* Get and its kin, and the runner's side. doc/cache.md has the argument for the order of the steps. */
#include "cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "cache/failure.h"
#include "shm/fault.h"
#include "shm/status.h"

#define FULL_PAUSE_NS QB_NS_PER_MS
/* rscache looks this often for the item of a run that is over. */
#define LOOK_NS (200 * QB_NS_PER_MS)
/* An item above this does not go into memory as one piece. */
#define ITEM_MAX ((size_t)1 << 30)

struct qb_cache {
	struct qb_cache_config cfg;
	const struct qb_address_ops *addressed;
	int faithful;
};

int qb_cache_open(const struct qb_cache_config *cfg, struct qb_cache **out, struct qb_err *err)
{
	const struct qb_address_ops *a = cfg->ops->addressed;

	if (!a)
		return qb_err_set(err, QB_EUSAGE, "%s takes no work by address, which a cache needs", cfg->ops->name);
	struct qb_cache *c = qb_xcalloc(1, sizeof(*c));

	c->cfg = *cfg;
	c->addressed = a;
	c->faithful = a->is_faithful && a->is_faithful(cfg->q);
	*out = c;
	return 0;
}

void qb_cache_close(struct qb_cache *c)
{
	free(c);
}

/* ---- one Get ---- */

struct get {
	struct qb_cache *c;
	const struct qb_cache_spec *spec;
	struct qb_cache_return *ret;
	uint64_t deadline_ns;
	uint64_t known_failure;         /* whose failure was on record before the first push; 0: none */
	struct qb_address_run run;
};

static int fault_of(struct get *g, enum qb_cache_fault fault, const char *message)
{
	g->ret->fault = fault;
	snprintf(g->ret->message, sizeof(g->ret->message), "%.255s", message);
	return 1;
}

static void remember(struct get *g, uint64_t removals)
{
	const struct qb_cache_spec *spec = g->spec;

	if (g->c->cfg.memory && spec->in_memory)
		qb_cache_memory_put(g->c->cfg.memory, spec->dir, spec->address, removals, qb_now_ns(), g->ret->data, &g->ret->info);
}

static int from_memory(struct get *g)
{
	const struct qb_cache_spec *spec = g->spec;

	if (!g->c->cfg.memory || !spec->in_memory)
		return 0;
	g->ret->from_memory = qb_cache_memory_get(g->c->cfg.memory, spec->dir, spec->address, qb_now_ns(), &g->ret->data,
						  &g->ret->info);
	return g->ret->from_memory;
}

/* 1: it is in *ret; 0: it is not there, or not complete; negative. */
static int from_store(struct get *g, struct qb_err *err)
{
	struct qb_store *s = g->c->cfg.store;
	uint64_t removals = g->c->cfg.memory ? qb_cache_memory_removals(g->c->cfg.memory) : 0;
	struct qb_store_info info;
	size_t bytes;
	int rc = qb_store_check(s, g->spec->dir, g->spec->address, &info, err);

	if (rc <= 0 || !info.complete)
		return rc < 0 ? rc : 0;
	/* It may be removed in between. */
	rc = qb_store_get_bytes(s, g->spec->dir, g->spec->address, ITEM_MAX, &g->ret->data, &bytes, &g->ret->info, err);
	if (rc == 1)
		remember(g, removals);
	return rc;
}

/* What the store says of a failure; only for queues that keep none themselves. */
static int read_failure(struct get *g, struct qb_failure *f, struct qb_err *err)
{
	*f = (struct qb_failure){ .run = 0 };
	if (g->c->addressed->keeps_failures)
		return 0;
	return qb_failure_read(g->c->cfg.store, g->spec->dir, g->spec->address, f, err);
}

static int failed(struct get *g, uint64_t run, const char *message)
{
	g->ret->failed_run = run;
	return fault_of(g, QB_CACHE_FAILURE, message);
}

/* 0: pushed or joined; 1: it is over; negative. */
static int push(struct get *g, struct qb_err *err)
{
	const struct qb_cache_config *cfg = &g->c->cfg;
	int rc;

	for (;;) {
		struct qb_queue_ticket ticket = { 0 };

		if (cfg->pushing)
			cfg->pushing(cfg->ctx);
		rc = g->c->addressed->push(cfg->q, g->spec->work, g->spec->address, &ticket, &g->run, err);
		if (rc < 0)
			return rc;
		if (rc != QB_FULL) {
			g->ret->pushes++;
			g->ret->way = rc == QB_OK ? QB_CACHE_EXECUTED : QB_CACHE_JOINED;
			if (cfg->pushed)
				cfg->pushed(cfg->ctx, rc, &ticket);
			return 0;
		}
		if (qb_now_ns() >= g->deadline_ns)
			return fault_of(g, QB_CACHE_DEADLINE, "the queue had no room for the work in time");
		qb_sleep_ns(FULL_PAUSE_NS);
	}
}

/* The trap, on a queue that keeps no failures: what is on record is told, whosever it is, as PollAddress does. */
static int told_a_stale_one(struct get *g, struct qb_err *err)
{
	struct qb_failure f;
	int rc;

	if (!g->c->cfg.stale_errors)
		return 0;
	rc = read_failure(g, &f, err);
	return rc < 0 ? rc : f.run ? failed(g, f.run, f.message) : 0;
}

/* 0: the run has ended; 1: it is over; negative. */
static int await(struct get *g, struct qb_err *err)
{
	struct qb_address_end end;
	int rc = g->c->addressed->await(g->c->cfg.q, g->spec->address, &g->run, g->deadline_ns, &end, err);

	if (rc < 0)
		return rc;
	g->ret->ticks += end.by_tick != 0;
	if (end.state == QB_ADDRESS_FAILED)
		return failed(g, end.failed_run, end.message);
	return end.state == QB_ADDRESS_NOT_YET ? fault_of(g, QB_CACHE_DEADLINE, "the work was not done in time") : 0;
}

/* rscache: the item may become visible late. 1 in any case, or negative. */
static int look_until_visible(struct get *g, struct qb_err *err)
{
	const struct qb_cache_spec *spec = g->spec;
	uint64_t until = qb_now_ns() + g->c->cfg.visible_ns;
	char text[QB_ADDRESS_MESSAGE_BYTES];
	int rc = from_store(g, err);

	if (rc == 0) {
		qb_store_flush(g->c->cfg.store, spec->dir, spec->address, NULL);
		rc = from_store(g, err);
	}
	while (rc == 0 && qb_now_ns() < until && qb_now_ns() < g->deadline_ns) {
		qb_sleep_ns(LOOK_NS);
		rc = from_store(g, err);
	}
	if (rc != 0)
		return rc;
	snprintf(text, sizeof(text), "reported address %s complete, but item was not found in cache", spec->address);
	return fault_of(g, QB_CACHE_NOT_FOUND, text);
}

/*
 * The run is over. A failure on record is this Get's if it was not there before its first push, or is that of the run that it
 * waited for: runs of an address do not overlap, and record theirs before they end. 1: it is over; 0: push again; negative.
 */
static int look_after(struct get *g, struct qb_err *err)
{
	struct qb_failure f;
	int rc;

	if (g->c->faithful)
		return look_until_visible(g, err);
	rc = from_store(g, err);
	if (rc != 0)
		return rc;
	rc = read_failure(g, &f, err);
	if (rc < 0)
		return rc;
	if (f.run && (f.run != g->known_failure || f.run == g->run.job_id))
		return failed(g, f.run, f.message);
	if (g->ret->way == QB_CACHE_EXECUTED)
		return fault_of(g, QB_CACHE_NOT_FOUND, "the work is done, and the item is not there");
	if (qb_now_ns() >= g->deadline_ns)
		return fault_of(g, QB_CACHE_DEADLINE, "the work that was joined left nothing, and there is no time for more");
	return 0;
}

static int fill(struct get *g, struct qb_err *err)
{
	struct qb_failure f;
	int rc = read_failure(g, &f, err);

	g->known_failure = f.run;
	while (rc == 0) {
		rc = push(g, err);
		if (rc == 0)
			rc = told_a_stale_one(g, err);
		if (rc == 0)
			rc = await(g, err);
		if (rc == 0)
			rc = look_after(g, err);
	}
	return rc;
}

static int check_spec(const struct qb_cache_spec *spec, struct qb_err *err)
{
	size_t n = strlen(QB_FAILURE_DIR);

	if (strlen(spec->address) >= QB_ADDRESS_BYTES)
		return qb_err_set(err, QB_EUSAGE, "an address has at most %d bytes: %.60s", QB_ADDRESS_BYTES - 1, spec->address);
	if (strncmp(spec->dir, QB_FAILURE_DIR, n) == 0 && (spec->dir[n] == '\0' || spec->dir[n] == '/'))
		return qb_err_set(err, QB_EUSAGE, "the directory " QB_FAILURE_DIR " is the cache's own");
	return 0;
}

int qb_cache_get(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_cache_return *ret, struct qb_err *err)
{
	uint64_t patience = c->cfg.deadline_ns;
	struct get g = { .c = c, .spec = spec, .ret = ret };
	struct qb_err why = { 0 };
	int rc = check_spec(spec, err);

	memset(ret, 0, sizeof(*ret));
	if (rc < 0)
		return rc;
	g.deadline_ns = patience ? qb_now_ns() + patience : UINT64_MAX;
	if (from_memory(&g))
		return 0;
	rc = from_store(&g, &why);
	/* rscache takes an item that cannot be looked at for one that is missing. */
	if (rc == 0 || (rc < 0 && c->faithful))
		rc = fill(&g, &why);
	if (rc < 0) {
		free(ret->data);
		ret->data = NULL;
		fault_of(&g, QB_CACHE_ERROR, why.text);
	}
	return 0;
}

/* ---- its kin ---- */

int qb_cache_head(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_store_info *info, struct qb_err *err)
{
	int rc = check_spec(spec, err);

	if (rc < 0)
		return rc;
	if (c->cfg.memory && spec->in_memory && qb_cache_memory_get(c->cfg.memory, spec->dir, spec->address, qb_now_ns(), NULL, info))
		return 1;
	rc = qb_store_check(c->cfg.store, spec->dir, spec->address, info, err);
	return rc == 1 ? info->complete : rc;
}

int qb_cache_check(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_err *err)
{
	struct qb_store_info info;

	return qb_cache_head(c, spec, &info, err);
}

int qb_cache_uncache(struct qb_cache *c, const struct qb_cache_spec *spec, struct qb_err *err)
{
	int rc = check_spec(spec, err), was = 0;

	if (rc < 0)
		return rc;
	rc = qb_store_remove(c->cfg.store, spec->dir, spec->address, err);
	/* Behind the store: what a Get has read before does not come into memory any more. */
	if (c->cfg.memory)
		was = qb_cache_memory_remove(c->cfg.memory, spec->dir, spec->address);
	return rc < 0 ? rc : rc | was;
}

/* ---- the runner ---- */

/* The last step before the end of the job: what else the queue has to know. */
static int tell(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, const char *message,
		struct qb_err *err)
{
	return c->addressed->record ? c->addressed->record(c->cfg.q, job, spec->address, message, err) : 0;
}

int qb_cache_runner_found(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, struct qb_err *err)
{
	struct qb_store_info info;
	int rc;

	if (c->faithful)
		return 0;
	rc = qb_store_check(c->cfg.store, spec->dir, spec->address, &info, err);
	if (rc <= 0 || !info.complete)
		return rc < 0 ? rc : 0;
	/* The run that put it may have been killed before it did this. */
	if (!c->addressed->keeps_failures)
		rc = qb_failure_clear(c->cfg.store, spec->dir, spec->address, err);
	if (rc >= 0)
		rc = tell(c, job, spec, NULL, err);
	return rc < 0 ? rc : 1;
}

int qb_cache_runner_put(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, const void *data,
			size_t bytes, struct qb_err *err)
{
	int rc = qb_store_put_bytes(c->cfg.store, spec->dir, spec->address, data, bytes, err);

	QB_FAULT("cache.runner.after-put");
	if (rc == 0 && !c->addressed->keeps_failures)
		rc = qb_failure_clear(c->cfg.store, spec->dir, spec->address, err);
	return rc < 0 ? rc : tell(c, job, spec, NULL, err);
}

int qb_cache_runner_fail(struct qb_cache *c, const struct qb_queue_job *job, const struct qb_cache_spec *spec, const char *message,
			 struct qb_err *err)
{
	struct qb_failure f = { .run = job->job_id };
	int rc = 0;

	snprintf(f.message, sizeof(f.message), "%s", message);
	if (!c->addressed->keeps_failures)
		rc = qb_failure_write(c->cfg.store, spec->dir, spec->address, &f, err);
	QB_FAULT("cache.runner.after-failure");
	return rc < 0 ? rc : tell(c, job, spec, f.message, err);
}
