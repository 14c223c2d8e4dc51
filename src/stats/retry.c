/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/retry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stats/summary.h"
#include "stats/tally.h"

#define EARLY_NS 1000000ull
/* Of a bin, at least. */
#define STEP_NS 1000000ull

struct retry {
	uint64_t failed_ns, due_ns, start_ns;
	uint32_t round;                 /* 0: after the first failure */
};

struct retries {
	struct retry *list;
	uint64_t *samples, *starts, *dues;
	size_t count;
};

static void add(struct retries *r, const struct qb_try *failed, const struct qb_try *next, uint32_t failures)
{
	uint32_t round = failures - 1 < QB_RETRY_ROUNDS ? failures - 1 : QB_RETRY_ROUNDS - 1;

	r->list[r->count++] = (struct retry){ failed->end_ns, failed->due_ns, next->start_ns, round };
}

static void collect(const struct qb_tally *t, struct retries *r, struct qb_retries *out)
{
	for (uint64_t i = 0; i < t->jobs_count; i++) {
		uint32_t failures = 0;

		for (uint32_t k = t->jobs[i].first; k != QB_NO_IDX; k = t->tries[k].next) {
			const struct qb_try *a = &t->tries[k];
			uint32_t next = qb_try_next_start(t, a->next);

			if (a->outcome != QB_TRY_FAILED)
				continue;
			failures++;
			/* Without a time of either it says nothing; without a due time it was the last. */
			if (!a->due_ns || !a->end_ns || (a->flags & QB_TRY_TOLD))
				continue;
			if (next != QB_NO_IDX)
				add(r, a, &t->tries[next], failures);
			else if (a->due_ns < t->in->watch_end_ns)
				out->missing++;
		}
	}
}

static uint64_t since(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? to_ns - from_ns : 0;
}

static int by_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t most_within(uint64_t *times, size_t count)
{
	size_t first = 0, most = 0;

	qsort(times, count, sizeof(*times), by_ns);
	for (size_t i = 0; i < count; i++) {
		while (times[i] - times[first] >= QB_RETRY_WINDOW_NS)
			first++;
		most = i - first + 1 > most ? i - first + 1 : most;
	}
	return most;
}

/* The smallest of 1, 2, 5, 10, 20 ... ms with which the range needs no more than the bins there are. */
static void choose_bins(struct qb_retry_round *o)
{
	static const uint64_t steps[] = { 1, 2, 5 };
	uint64_t min = o->policy.min_ns < o->spacing.min_ns ? o->policy.min_ns : o->spacing.min_ns;
	uint64_t max = o->policy.max_ns > o->spacing.max_ns ? o->policy.max_ns : o->spacing.max_ns;
	uint64_t decade = STEP_NS, width = decade;

	for (unsigned i = 0; max / width - min / width >= QB_RETRY_BINS && decade < UINT64_MAX / 100; i++) {
		if (i == 3) {
			i = 0;
			decade *= 10;
		}
		width = decade * steps[i];
	}
	o->width_ns = width;
	o->from_ns = min / width * width;
	o->bins_count = (uint32_t)(max / width - min / width + 1);
	o->bins_count = o->bins_count < QB_RETRY_BINS ? o->bins_count : QB_RETRY_BINS;
}

static void put_in_bin(const struct qb_retry_round *o, uint32_t *bins, uint64_t ns)
{
	uint64_t idx = (ns - o->from_ns) / o->width_ns;

	bins[idx < o->bins_count ? idx : o->bins_count - 1]++;
}

enum what { POLICY, SPACING, LATE };

static uint64_t value_of(const struct retry *y, enum what what)
{
	if (what == LATE)
		return since(y->due_ns, y->start_ns);
	return since(y->failed_ns, what == POLICY ? y->due_ns : y->start_ns);
}

/* Those of one round, or of all. */
static void percentiles(struct retries *r, uint32_t round, int all, enum what what, struct qb_percentiles *out)
{
	size_t n = 0;

	for (size_t i = 0; i < r->count; i++)
		if (all || r->list[i].round == round)
			r->samples[n++] = value_of(&r->list[i], what);
	qb_percentiles_of(r->samples, n, out);
}

/* How many of a round (or of all) fall together. */
static void windows(struct retries *r, uint32_t round, int all, uint64_t *begun, uint64_t *due)
{
	size_t n = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (!all && r->list[i].round != round)
			continue;
		r->starts[n] = r->list[i].start_ns;
		r->dues[n++] = r->list[i].due_ns;
	}
	*begun = most_within(r->starts, n);
	*due = most_within(r->dues, n);
}

static void fill_round(struct retries *r, uint32_t round, struct qb_retry_round *o)
{
	percentiles(r, round, 0, POLICY, &o->policy);
	percentiles(r, round, 0, SPACING, &o->spacing);
	percentiles(r, round, 0, LATE, &o->late);
	o->count = o->spacing.count;
	if (!o->count)
		return;
	windows(r, round, 0, &o->most_in_window, &o->most_due_in_window);
	choose_bins(o);
	for (size_t i = 0; i < r->count; i++) {
		if (r->list[i].round != round)
			continue;
		put_in_bin(o, o->policy_bins, value_of(&r->list[i], POLICY));
		put_in_bin(o, o->spacing_bins, value_of(&r->list[i], SPACING));
	}
}

static void measure(struct retries *r, struct qb_retries *out)
{
	for (size_t i = 0; i < r->count; i++)
		out->early += r->list[i].start_ns + EARLY_NS < r->list[i].due_ns;
	out->count = r->count;
	percentiles(r, 0, 1, LATE, &out->late);
	windows(r, 0, 1, &out->most_in_window, &out->most_due_in_window);
	for (uint32_t n = 0; n < QB_RETRY_ROUNDS; n++) {
		fill_round(r, n, &out->rounds[n]);
		if (out->rounds[n].count)
			out->rounds_count = n + 1;
	}
}

int qb_retries_of(const struct qb_tally *t, struct qb_retries *out)
{
	size_t max = t->tries_count + 1u;
	struct retries r = {
		.list = malloc(max * sizeof(struct retry)),
		.samples = malloc(3 * max * sizeof(uint64_t)),
	};

	memset(out, 0, sizeof(*out));
	if (r.list && r.samples) {
		r.starts = r.samples + max;
		r.dues = r.starts + max;
		collect(t, &r, out);
		measure(&r, out);
	}
	int rc = r.list && r.samples ? 0 : -ENOMEM;

	free(r.list);
	free(r.samples);
	return rc;
}
