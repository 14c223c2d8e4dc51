/* SPDX-License-Identifier: Apache-2.0 */
/* What a run costs its database: the server's counters before its first session and after its last. */
#include <string.h>

#include "run/driver.h"
#include "run/enqueuers.h"
#include "run/server.h"

void qb_load_begin(struct qb_driver *d)
{
	d->has_stats_before = qb_server_stats(d->server, &d->stats_before) == 0;
}

/* A vacuum may have removed more than the run has left. */
static uint64_t distance(int64_t before, int64_t after)
{
	return after > before ? (uint64_t)(after - before) : 0;
}

static uint64_t without(uint64_t count, uint64_t others)
{
	return count > others ? count - others : 0;
}

static void measure(struct qb_db_load *l, const struct qb_pg_stats *a, const struct qb_pg_stats *b, uint64_t censuses)
{
	uint64_t own = distance(a->own_count, b->own_count);

	if (b->wal_bytes >= a->wal_bytes)
		l->wal_bytes = distance(a->wal_bytes, b->wal_bytes);
	if (strcmp(a->life, b->life) != 0)
		return;
	/* Ours are the readings, and the questions how many jobs are left. */
	l->commits = without(distance(a->commits_count, b->commits_count), own + censuses);
	l->rollbacks = distance(a->rollbacks_count, b->rollbacks_count);
	l->inserted = distance(a->inserted_count, b->inserted_count);
	l->updated = distance(a->updated_count, b->updated_count);
	l->deleted = distance(a->deleted_count, b->deleted_count);
	l->dead_left = distance(a->dead_count, b->dead_count);
	l->vacuums = distance(a->vacuums_count, b->vacuums_count);
	if (a->statements_count >= 0 && b->statements_count >= 0)
		l->statements = without(distance(a->statements_count, b->statements_count), own + censuses);
	l->strangers = (uint64_t)(a->strangers_count > b->strangers_count ? a->strangers_count : b->strangers_count);
	l->delayed = (uint64_t)(a->delayed || b->delayed);
}

void qb_load_end(struct qb_driver *d)
{
	struct qb_pg_stats after;
	int asks_server = !(d->ops->flags & QB_QUEUE_IN_SEGMENT);

	qb_enqueuers_stop(d->feeder.enqueuers);
	d->feeder.enqueuers = NULL;
	if (d->feeder.q)
		d->ops->close(d->feeder.q);
	d->feeder.q = NULL;
	if (d->has_stats_before && qb_server_stats(d->server, &after) == 0)
		measure(&d->result->load, &d->stats_before, &after, asks_server ? d->census_count : 0);
}
