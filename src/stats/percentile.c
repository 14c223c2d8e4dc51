/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "stats/percentile.h"
#include "stats/summary.h"

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t qb_rank(uint64_t count, unsigned permille)
{
	/* ceil(p * n) - 1 without rounding errors: 0.95 * 20 must not become 19.000000000000004. */
	uint64_t rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;

	return rank ? rank - 1 : 0;
}

void qb_percentiles_of(uint64_t *samples_ns, uint64_t count, struct qb_percentiles *out)
{
	double sum = 0;

	memset(out, 0, sizeof(*out));
	if (count == 0)
		return;
	qsort(samples_ns, count, sizeof(*samples_ns), by_value);
	for (uint64_t i = 0; i < count; i++)
		sum += (double)samples_ns[i];
	out->count = count;
	out->min_ns = samples_ns[0];
	out->p50_ns = samples_ns[qb_rank(count, 500)];
	out->p90_ns = samples_ns[qb_rank(count, 900)];
	out->p95_ns = samples_ns[qb_rank(count, 950)];
	out->p99_ns = samples_ns[qb_rank(count, 990)];
	out->p999_ns = samples_ns[qb_rank(count, 999)];
	out->max_ns = samples_ns[count - 1];
	out->mean_ns = sum / (double)count;
}
