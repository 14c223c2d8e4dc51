/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "shm/status.h"

/* The second half of the original's seed. */
#define SEED_MASK 0xDEADBEEFu

/* What building needs beside the scenario. */
struct builder {
	const struct qb_scenario *sc;
	struct qb_pcg pcg;
	double weights;                 /* sum over the kinds */
	struct qb_plan *plan;
	size_t cap;
};

/*
 * When tick i is due by the ideal clock, i / rate. The original's ticker has a period of whole
 * nanoseconds, a little less than that, but it reads its clock a moment later: at 30/s its tick 900
 * is due 300 ns before 30 s and is always read after. So its windows are decided by the ideal time
 * (and there are rate x duration - 1 ticks), its intended instants by the period.
 */
static uint64_t ideal_ns(const struct qb_scenario *sc, uint64_t tick)
{
	return (uint64_t)((unsigned __int128)tick * QB_NS_PER_S / sc->rate);
}

static int in_burst(const struct qb_scenario *sc, uint64_t elapsed_ns)
{
	return elapsed_ns >= sc->burst.start_ns && elapsed_ns < sc->burst.end_ns;
}

/* First tick that is due at or after t, by the ideal clock. */
static uint64_t tick_at(const struct qb_scenario *sc, uint64_t t_ns)
{
	unsigned __int128 product = (unsigned __int128)t_ns * sc->rate;

	return (uint64_t)((product + QB_NS_PER_S - 1) / QB_NS_PER_S);
}

/* How many jobs the plan can have at most: exact unless the multiplier is a fraction. */
static uint64_t jobs_bound(const struct qb_scenario *sc)
{
	uint64_t end = tick_at(sc, sc->duration_ns);            /* ticks 1 to end - 1 */
	uint64_t from = tick_at(sc, sc->burst.start_ns), to = tick_at(sc, sc->burst.end_ns);
	uint64_t per_tick = (uint64_t)sc->burst.multiplier;
	uint64_t ticks = end > 1 ? end - 1 : 0, burst = 0;

	if ((double)per_tick < sc->burst.multiplier)
		per_tick++;
	if (from < 1)
		from = 1;
	if (to > end)
		to = end;
	if (to > from)
		burst = to - from;
	return ticks - burst + burst * per_tick;
}

static uint32_t draw_tenant(struct builder *b)
{
	const struct qb_scenario *sc = b->sc;
	uint32_t first = 0;

	if (sc->tenant_skew > 0) {
		if (qb_pcg_unit(&b->pcg) < sc->tenant_skew)
			return 0;
		if (sc->tenants > 1)
			first = 1;
	}
	return first + (uint32_t)qb_pcg_below(&b->pcg, sc->tenants - first);
}

static uint32_t draw_kind(struct builder *b)
{
	double drawn = qb_pcg_unit(&b->pcg) * b->weights, sum = 0;
	uint32_t i;

	for (i = 0; i < b->sc->kinds_count; i++) {
		sum += b->sc->kinds[i].weight;
		if (drawn < sum)
			return i;
	}
	/* Rounding can leave the last sum below the product. */
	return b->sc->kinds_count - 1;
}

/* Both ends inclusive; where there is nothing to choose, nothing is drawn. */
static uint32_t draw_between(struct builder *b, uint32_t min, uint32_t max)
{
	if (min == max)
		return min;
	return min + (uint32_t)qb_pcg_below(&b->pcg, (uint64_t)max - min + 1);
}

static uint16_t draw_error(struct builder *b)
{
	uint16_t class;

	for (class = QB_ERROR_CLASS_NONE + 1; class < QB_ERROR_CLASS_COUNT; class++) {
		double probability = b->sc->error_probability[class];

		if (probability > 0 && qb_pcg_unit(&b->pcg) < probability)
			return class;
	}
	return QB_ERROR_CLASS_NONE;
}

/* The order of the draws is the original's, and all that makes the lists equal. */
static void draw_job(struct builder *b, uint64_t at_ns, struct qb_plan_job *job)
{
	const struct qb_scenario_kind *kind;

	job->at_ns = at_ns;
	job->tenant = draw_tenant(b);
	job->kind = (uint16_t)draw_kind(b);
	/* Drawn again: see plan.h. */
	kind = &b->sc->kinds[draw_kind(b)];
	job->work_ms = draw_between(b, kind->work_ms_min, kind->work_ms_max);
	job->payload_bytes = draw_between(b, kind->payload_bytes_min, kind->payload_bytes_max);
	job->payload = b->pcg;
	/* One output for each byte, because 256 is a power of two. */
	qb_pcg_advance(&b->pcg, job->payload_bytes);
	job->error_class = draw_error(b);
}

/* All requests of a key are for the same job, and come when the phase before is over: at no time that is known. */
static void draw_keys(struct builder *b)
{
	struct qb_keyset set = qb_scenario_keyset(b->sc);
	struct qb_plan_job *jobs = b->plan->jobs, job;

	for (uint32_t i = 0; i < 2 * set.keys; i++) {
		int held = i >= set.keys;
		uint32_t key = held ? i - set.keys : i;

		draw_job(b, 0, &job);
		for (unsigned phase = held ? QB_KEY_KILLED : QB_KEY_RACE; phase < (held ? QB_KEY_PHASES : QB_KEY_KILLED);
		     phase++)
			for (uint32_t p = 0; p < set.processes; p++)
				jobs[qb_keyset_id(&set, phase, key, p) - 1] = job;
		if (held)
			jobs[qb_keyset_id(&set, QB_KEY_HOLDER, key, 0) - 1] = job;
	}
	b->plan->count = qb_keyset_jobs(&set);
}

/* The first k of cumulative[] that is above u, of n. */
static uint32_t pick(const double *cumulative, uint32_t n, double u)
{
	uint32_t low = 0, high = n - 1;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (cumulative[mid] > u)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Which of the n addresses of a phase its requests are for, in order: those of `first` follow each other. */
static void draw_addresses(struct builder *b, enum qb_cache_phase phase, const struct qb_cacheset *set, struct qb_plan_job *jobs)
{
	uint32_t n = qb_cacheset_addresses(set, phase), first = qb_cacheset_first_address(set, phase);
	uint64_t requests = qb_cacheset_requests(set, phase);
	double sum = 0, *cumulative = qb_xcalloc(n, sizeof(*cumulative));

	for (uint32_t k = 0; k < n; k++)
		cumulative[k] = sum += phase == QB_CACHE_SKEWED ? pow(k + 1.0, -b->sc->cache.skew) : 1;
	for (uint64_t i = 0; i < requests; i++) {
		if (qb_cache_in_rounds(phase))
			jobs[i].tenant = first + (uint32_t)(i / set->callers);
		else
			jobs[i].tenant = first + pick(cumulative, n, qb_pcg_unit(&b->pcg) * sum);
	}
	/* Each whose worker is to be killed is asked for. */
	for (uint32_t k = 0; phase == QB_CACHE_KILLED && k < set->kills; k++)
		jobs[requests / set->kills * k].tenant = first + k;
	free(cumulative);
}

/* Any request may be the one that executes; when it comes is not known. */
static void draw_cache(struct builder *b)
{
	struct qb_cacheset set = qb_scenario_cacheset(b->sc);

	for (int phase = 0; phase < QB_CACHE_PHASES; phase++) {
		struct qb_plan_job *jobs = &b->plan->jobs[b->plan->count];
		uint64_t n = qb_cacheset_requests(&set, (enum qb_cache_phase)phase);

		for (uint64_t i = 0; i < n; i++) {
			draw_job(b, 0, &jobs[i]);
			jobs[i].error_class = phase == QB_CACHE_FAILING ? QB_ERROR_CLASS_PERMANENT : QB_ERROR_CLASS_NONE;
		}
		if (n)
			draw_addresses(b, (enum qb_cache_phase)phase, &set, jobs);
		b->plan->count += n;
	}
}

static int build_tick(struct builder *b, uint64_t tick)
{
	const struct qb_scenario *sc = b->sc;
	double multiplier = in_burst(sc, ideal_ns(sc, tick)) ? sc->burst.multiplier : 1;
	uint64_t jobs = (uint64_t)multiplier, period_ns = QB_NS_PER_S / sc->rate;
	double fraction = multiplier - (double)jobs;

	if (fraction > 0 && qb_pcg_unit(&b->pcg) < fraction)
		jobs++;
	if (jobs > b->cap - b->plan->count)
		return QB_ECORRUPT;
	while (jobs--)
		draw_job(b, tick * period_ns, &b->plan->jobs[b->plan->count++]);
	return 0;
}

int qb_plan_build(const struct qb_scenario *sc, struct qb_plan *plan, struct qb_err *err)
{
	struct builder b = { .sc = sc, .plan = plan };
	struct qb_cacheset cache;
	struct qb_keyset set;
	uint64_t tick, bound;
	uint32_t i;
	int ret;

	*plan = (struct qb_plan){ 0 };
	ret = qb_scenario_check(sc, err);
	if (ret)
		return ret;
	set = qb_scenario_keyset(sc);
	cache = qb_scenario_cacheset(sc);
	bound = sc->shape == QB_SHAPE_KEYS ? qb_keyset_jobs(&set) : sc->shape == QB_SHAPE_CACHE ? qb_cacheset_jobs(&cache) :
		jobs_bound(sc) + sc->backlog;
	if (bound > QB_PLAN_JOBS_MAX)
		return qb_err_set(err, QB_EUSAGE,
				  "scenario %s asks for %llu jobs, more than the %u that a plan "
				  "can hold; choose a lower rate or a shorter duration", sc->name,
				  (unsigned long long)bound, QB_PLAN_JOBS_MAX);
	b.cap = (size_t)bound;
	plan->jobs = malloc((b.cap ? b.cap : 1) * sizeof(*plan->jobs));
	if (!plan->jobs)
		return qb_err_errno(err, ENOMEM, "could not plan %llu jobs",
				    (unsigned long long)bound);
	for (i = 0; i < sc->kinds_count; i++)
		b.weights += sc->kinds[i].weight;
	qb_pcg_init(&b.pcg, sc->seed, sc->seed ^ SEED_MASK);

	if (sc->shape == QB_SHAPE_KEYS) {
		draw_keys(&b);
		return 0;
	}
	if (sc->shape == QB_SHAPE_CACHE) {
		draw_cache(&b);
		return 0;
	}
	for (i = 0; i < sc->backlog; i++)
		draw_job(&b, 0, &plan->jobs[plan->count++]);
	for (tick = 1; ideal_ns(sc, tick) < sc->duration_ns; tick++) {
		if (build_tick(&b, tick)) {
			qb_plan_free(plan);
			return qb_err_set(err, QB_ECORRUPT,
					  "scenario %s has more jobs than were counted: a bug",
					  sc->name);
		}
	}
	return 0;
}

void qb_plan_free(struct qb_plan *plan)
{
	free(plan->jobs);
	*plan = (struct qb_plan){ 0 };
}

void qb_plan_payload(const struct qb_plan *plan, size_t idx, uint8_t *buf)
{
	struct qb_pcg pcg = plan->jobs[idx].payload;
	uint32_t i, bytes = plan->jobs[idx].payload_bytes;

	for (i = 0; i < bytes; i++)
		buf[i] = (uint8_t)qb_pcg_below(&pcg, 256);
}

int qb_plan_payload_sha256(const struct qb_plan *plan, size_t idx, char hex[QB_PLAN_SHA256_HEX])
{
	uint8_t *payload = qb_xmalloc(plan->jobs[idx].payload_bytes);
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned bytes = 0, i;
	int ok;

	qb_plan_payload(plan, idx, payload);
	ok = EVP_Digest(payload, plan->jobs[idx].payload_bytes, digest, &bytes, EVP_sha256(),
			NULL);
	free(payload);
	if (!ok || bytes * 2 + 1 != QB_PLAN_SHA256_HEX)
		return -ENOMEM;
	for (i = 0; i < bytes; i++) {
		hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	hex[2 * bytes] = '\0';
	return 0;
}

void qb_plan_totals(const struct qb_plan *plan, struct qb_plan_totals *totals)
{
	size_t i;

	*totals = (struct qb_plan_totals){ .jobs = plan->count };
	for (i = 0; i < plan->count; i++) {
		const struct qb_plan_job *job = &plan->jobs[i];

		totals->failing[job->error_class]++;
		totals->kinds[job->kind]++;
		if (job->error_class == QB_ERROR_CLASS_NONE)
			totals->work_ms += job->work_ms;
		totals->payload_bytes += job->payload_bytes;
		if (job->payload_bytes > totals->payload_bytes_max)
			totals->payload_bytes_max = job->payload_bytes;
	}
}

/* Where there is no time there is a place. */
static void print_place(const struct qb_scenario *sc, const struct qb_plan_job *job, size_t idx, FILE *out)
{
	struct qb_keyset set = qb_scenario_keyset(sc);
	struct qb_key_place at;
	char key[QB_KEY_TEXT_BYTES];

	if (qb_keyset_place(&set, idx + 1, &at) == 0)
		fprintf(out, ",\"phase\":\"%s\",\"process\":%u,\"key\":\"%s\"", qb_key_phase_name(at.phase), at.process,
			qb_keyset_text(&at, key));

	struct qb_cacheset cache = qb_scenario_cacheset(sc);
	struct qb_cache_place request;
	char address[QB_CACHE_ADDRESS_BYTES];

	if (cache.callers && qb_cacheset_place(&cache, idx + 1, &request) == 0)
		fprintf(out, ",\"phase\":\"%s\",\"request\":%u,\"address\":\"%s\"", qb_cache_phase_name(request.phase),
			request.request, qb_cacheset_text(job->tenant, address));
}

int qb_plan_print_jsonl(const struct qb_plan *plan, const struct qb_scenario *sc, FILE *out)
{
	char sha256[QB_PLAN_SHA256_HEX];
	size_t i;

	errno = 0;
	for (i = 0; i < plan->count && !ferror(out); i++) {
		const struct qb_plan_job *job = &plan->jobs[i];
		int ret = qb_plan_payload_sha256(plan, i, sha256);

		if (ret)
			return ret;
		/* Names are letters, digits, '_' and '-' (checked): nothing to escape. */
		fprintf(out, "{\"job\":%zu,\"at_ns\":%llu,\"tenant\":%u,\"kind\":\"%s\","
			"\"work_ms\":%u,\"payload_bytes\":%u,\"payload_sha256\":\"%s\","
			"\"error_class\":\"%s\"", i, (unsigned long long)job->at_ns, job->tenant,
			sc->kinds[job->kind].name, job->work_ms, job->payload_bytes, sha256,
			qb_error_class_name(job->error_class));
		print_place(sc, job, i, out);
		fputs("}\n", out);
	}
	if (fflush(out) || ferror(out))
		return errno ? -errno : -EIO;
	return 0;
}
