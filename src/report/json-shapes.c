/* SPDX-License-Identifier: Apache-2.0 */
/* What summary.json says of backlogs, retries and shares. */
#include "report/json.h"

#include <math.h>

static json_t *numbers(const uint32_t *list, uint32_t n)
{
	json_t *a = json_array();

	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(a, json_integer(list[i]));
	return a;
}

json_t *qb_json_backlog(const struct qb_backlog *b)
{
	uint32_t n = b->samples_count < QB_BACKLOG_SAMPLES ? b->samples_count : QB_BACKLOG_SAMPLES;
	json_t *o = json_object(), *burst;

	qb_json_add(o, "most", qb_json_count(b->max));
	qb_json_add(o, "most_at_s", qb_json_real((double)b->max_at_ns / 1e9));
	qb_json_add(o, "step_ms", qb_json_ms(b->step_ns));
	qb_json_add(o, "samples", numbers(b->samples, n));
	if (!b->has_burst) {
		qb_json_add(o, "burst", json_null());
		return o;
	}
	burst = json_object();
	qb_json_add(burst, "from_s", qb_json_real((double)b->burst_start_ns / 1e9));
	qb_json_add(burst, "to_s", qb_json_real((double)b->burst_end_ns / 1e9));
	qb_json_add(burst, "usual", qb_json_count(b->before));
	qb_json_add(burst, "at_end", qb_json_count(b->at_end));
	qb_json_add(burst, "drain_ms", qb_json_ms(b->drain_ns));
	qb_json_add(burst, "pickup_before_ms", qb_json_percentiles(&b->pickup_before));
	qb_json_add(burst, "pickup_during_ms", qb_json_percentiles(&b->pickup_during));
	qb_json_add(burst, "pickup_after_ms", qb_json_percentiles(&b->pickup_after));
	qb_json_add(o, "burst", burst);
	return o;
}

static json_t *retry_round(const struct qb_retry_round *r)
{
	uint32_t n = r->bins_count < QB_RETRY_BINS ? r->bins_count : QB_RETRY_BINS;
	json_t *o = json_object(), *h = json_object();

	qb_json_add(o, "count", qb_json_count(r->count));
	qb_json_add(o, "policy_ms", qb_json_percentiles(&r->policy));
	qb_json_add(o, "spacing_ms", qb_json_percentiles(&r->spacing));
	qb_json_add(o, "late_ms", qb_json_percentiles(&r->late));
	qb_json_add(o, "most_within_100_ms", qb_json_count(r->most_in_window));
	qb_json_add(o, "most_due_within_100_ms", qb_json_count(r->most_due_in_window));
	qb_json_add(h, "from_ms", qb_json_ms(r->from_ns));
	qb_json_add(h, "width_ms", qb_json_ms(r->width_ns));
	qb_json_add(h, "policy", numbers(r->policy_bins, n));
	qb_json_add(h, "spacing", numbers(r->spacing_bins, n));
	qb_json_add(o, "histogram", h);
	return o;
}

json_t *qb_json_retries(const struct qb_retries *r)
{
	json_t *o = json_object(), *rounds = json_array();

	qb_json_add(o, "count", qb_json_count(r->count));
	qb_json_add(o, "early", qb_json_count(r->early));
	qb_json_add(o, "missing", qb_json_count(r->missing));
	qb_json_add(o, "late_ms", qb_json_percentiles(&r->late));
	qb_json_add(o, "most_within_100_ms", qb_json_count(r->most_in_window));
	qb_json_add(o, "most_due_within_100_ms", qb_json_count(r->most_due_in_window));
	for (uint32_t i = 0; i < r->rounds_count && i < QB_RETRY_ROUNDS; i++)
		json_array_append_new(rounds, retry_round(&r->rounds[i]));
	qb_json_add(o, "after_failure", rounds);
	return o;
}

json_t *qb_json_share(const struct qb_share *s, double scaling)
{
	int any = s->window_ns > 0;
	json_t *o;

	if (!s->processes)
		return json_null();
	o = json_object();
	qb_json_add(o, "processes", qb_json_count(s->processes));
	qb_json_add(o, "served", qb_json_count(s->served));
	qb_json_add(o, "window_ms", qb_json_ms(s->window_ns));
	qb_json_add(o, "jobs", qb_json_count(s->jobs));
	qb_json_add(o, "throughput_per_s", any ? qb_json_real(s->throughput_per_s) : json_null());
	qb_json_add(o, "scaling", qb_json_real(scaling));
	qb_json_add(o, "least", any ? qb_json_count(s->least) : json_null());
	qb_json_add(o, "most", any ? qb_json_count(s->most) : json_null());
	qb_json_add(o, "fairness", any && s->fairness > 0 ? qb_json_real(s->fairness) : json_null());
	qb_json_add(o, "woken", qb_json_count(s->woken));
	qb_json_add(o, "by_time", qb_json_count(s->polled));
	qb_json_add(o, "busy", qb_json_count(s->busy));
	qb_json_add(o, "untold", qb_json_count(s->untold));
	qb_json_add(o, "pickup_ms", qb_json_percentiles(&s->pickup));
	return o;
}
