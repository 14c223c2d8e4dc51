/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record/format.h"
#include "stats/tally.h"

/* What is on record of one request, and of the run that it pushed. */
struct ask {
	uint64_t answered_ns, took_ns;  /* 0: no answer */
	uint64_t failed_run;
	struct qb_cache_answer answer;
	uint32_t address;               /* + 1; 0: not on record */
	uint32_t found;                 /* runs that found the item */
	uint64_t put_ns, failed_ns;     /* when its first put was done, its failure recorded; 0: never */
};

/* One address of one phase. */
struct spot {
	uint64_t executions, interrupted, asked, put_ns, last_ns, killed_ns, again_ns;
};

struct builder {
	const struct qb_tally *t;
	struct qb_cache_table *out;
	struct ask *ask;                /* by job id - 1 */
	struct spot *spot;              /* by address of the phase */
	uint64_t *times[QB_CACHE_WAYS + 3];     /* of one phase: by way, faults, released, and of addresses */
};

enum { FAULT = QB_CACHE_WAYS, RELEASED, OF_SPOTS };

static uint64_t setting(const struct qb_meta *m, const char *key)
{
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, key) == 0)
			return strtoull(m->settings[i].value, NULL, 10);
	return 0;
}

static uint32_t setting32(const struct qb_meta *m, const char *key)
{
	uint64_t v = setting(m, key);

	return v > QB_TALLY_JOBS_MAX ? QB_TALLY_JOBS_MAX : (uint32_t)v;
}

/* As the description says, if it is true of the jobs that were planned. */
static int read_set(const struct qb_tally *t, struct qb_cache_table *out)
{
	const struct qb_meta *m = &t->in->trace->meta;
	uint64_t callers = (uint64_t)setting32(m, "cache processes") * setting32(m, "cache callers");
	struct qb_cacheset set = {
		.callers = callers > 65536 ? 0 : (uint32_t)callers, .addresses = setting32(m, "cache addresses"),
		.requests = setting32(m, "cache requests"), .failing = setting32(m, "cache failing"),
		.rounds = setting32(m, "cache rounds"), .kills = setting32(m, "cache kills"),
	};
	uint64_t jobs = qb_cacheset_jobs(&set);

	if (set.callers == 0 || jobs == 0 || jobs > QB_TALLY_JOBS_MAX || (t->in->ends && jobs != t->jobs_count))
		return 0;
	out->set = set;
	out->processes = setting32(m, "cache processes");
	out->deadline_ns = setting(m, "cache deadline") * 1000000;
	out->stale_errors = setting(m, "cache stale_errors") != 0;
	out->faithful = setting(m, "cache faithful") != 0;
	return 1;
}

/* ---- one pass over the record ---- */

static void see(struct ask *a, const struct qb_trace_event *e)
{
	switch (e->ev.type) {
	case QB_EV_CACHE_REQUEST:
		a->answered_ns = e->t_ns;
		a->took_ns = e->ev.arg0;
		a->failed_run = e->ev.token;
		a->answer = qb_cache_answer_unpack(e->ev.arg1);
		a->address = e->ev.slot_idx + 1;
		break;
	case QB_EV_CACHE_WORK:
		a->found += e->ev.arg0 == QB_CACHE_FOUND;
		if (e->ev.arg0 == QB_CACHE_PUT && a->put_ns == 0)
			a->put_ns = e->t_ns;
		if (e->ev.arg0 == QB_CACHE_FAILED)
			a->failed_ns = e->t_ns;
		break;
	case QB_EV_JOB_STARTED:
		a->address = e->ev.tenant + 1;
		break;
	default:
		break;
	}
}

static void read_events(struct builder *b, uint64_t jobs)
{
	const struct qb_trace *trace = b->t->in->trace;

	for (size_t i = 0; i < trace->events_count; i++) {
		uint64_t id = trace->events[i].ev.job_id;

		if (id > 0 && id <= jobs)
			see(&b->ask[id - 1], &trace->events[i]);
	}
}

/* ---- a phase ---- */

static struct spot *spot_of(struct builder *b, enum qb_cache_phase phase, const struct ask *a)
{
	uint32_t first = qb_cacheset_first_address(&b->out->set, phase), n = qb_cacheset_addresses(&b->out->set, phase);

	if (a->address == 0 || a->address - 1 < first || a->address - 1 - first >= n)
		return NULL;
	return &b->spot[a->address - 1 - first];
}

/* The runs of the job that this request pushed. */
static void add_runs(struct builder *b, uint32_t job, const struct ask *a, struct spot *spot, struct qb_cache_row *row)
{
	const struct qb_tally *t = b->t;
	uint64_t begun = 0, interrupted = 0;

	if (job >= t->jobs_count)
		return;
	for (uint32_t i = t->jobs[job].first; i != QB_NO_IDX; i = t->tries[i].next) {
		const struct qb_try *try = &t->tries[i];

		if (!(try->flags & QB_TRY_STARTED))
			continue;
		begun++;
		if (spot->killed_ns && !spot->again_ns && try->start_ns > spot->killed_ns)
			spot->again_ns = try->start_ns;
		if (try->outcome == QB_TRY_OPEN && qb_try_is_dead(t, try)) {
			interrupted++;
			if (!spot->killed_ns)
				spot->killed_ns = qb_proc_death_ns(&t->procs[try->proc]);
		}
	}
	uint64_t found = a->found < begun ? a->found : begun;

	row->found += found;
	spot->executions += begun - found;
	/* One that was killed when it had found the item was no execution. */
	spot->interrupted += interrupted < begun - found ? interrupted : begun - found;
	row->puts += a->put_ns != 0;
	if (a->put_ns && (spot->put_ns == 0 || a->put_ns < spot->put_ns))
		spot->put_ns = a->put_ns;
	b->out->refused_and_run += begun && (t->jobs[job].flags & QB_TJOB_DUPLICATE) && !(t->jobs[job].flags & QB_TJOB_ACKED);
}

/* Had the run that failed ended before the request was made? */
static int is_stale(const struct builder *b, const struct ask *a)
{
	uint64_t asked_ns = a->answered_ns - a->took_ns;

	if (a->failed_run == 0 || a->failed_run > qb_cacheset_jobs(&b->out->set))
		return 0;
	const struct ask *run = &b->ask[a->failed_run - 1];

	return run->failed_ns != 0 && run->failed_ns < asked_ns;
}

static void add_answer(struct builder *b, const struct ask *a, struct spot *spot, struct qb_cache_row *row,
		       uint64_t counts[OF_SPOTS])
{
	unsigned way = a->answer.way < QB_CACHE_WAYS ? a->answer.way : QB_CACHE_HIT;
	unsigned fault = a->answer.fault < QB_CACHE_FAULTS ? a->answer.fault : QB_CACHE_ERROR;

	row->faults[fault]++;
	if (fault == QB_CACHE_OK) {
		*(way == QB_CACHE_HIT ? &row->hits : way == QB_CACHE_JOINED ? &row->joined : &row->executed) += 1;
		row->from_memory += way == QB_CACHE_HIT && a->answer.from_memory;
		b->times[way][counts[way]++] = a->took_ns;
	} else {
		row->failed++;
		b->times[FAULT][counts[FAULT]++] = a->took_ns;
	}
	row->stale += fault == QB_CACHE_FAILURE && is_stale(b, a);
	row->pushed_again += a->answer.pushes > 1;
	row->waits += a->answer.pushes > 0;
	row->ticks += a->answer.ticks > 0;
	if (!spot)
		return;
	spot->asked++;
	if (fault == QB_CACHE_OK && a->answered_ns > spot->last_ns)
		spot->last_ns = a->answered_ns;
}

static void add_spots(struct builder *b, enum qb_cache_phase phase, struct qb_cache_row *row)
{
	uint32_t n = qb_cacheset_addresses(&b->out->set, phase);
	uint64_t *times = b->times[OF_SPOTS], releases = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct spot *s = &b->spot[i];
		uint64_t whole = s->executions - s->interrupted;

		row->addresses += s->asked > 0;
		row->executions += s->executions;
		row->interrupted += s->interrupted;
		/* A failure is not kept: whoever comes later may try again. */
		row->leaks += phase != QB_CACHE_FAILING && whole > 1 ? whole - 1 : 0;
		row->executions_max = s->executions > row->executions_max ? s->executions : row->executions_max;
		row->kills += s->killed_ns != 0;
		if (!qb_cache_in_rounds(phase) || s->asked == 0)
			continue;
		row->rounds++;
		row->rounds_exact += s->executions == 1 && s->interrupted == 0;
		if (s->put_ns && s->last_ns)
			times[releases++] = s->last_ns > s->put_ns ? s->last_ns - s->put_ns : 0;
	}
	qb_percentiles_of(times, releases, &row->release);
	for (uint32_t i = 0; i < n; i++)
		if (b->spot[i].killed_ns && b->spot[i].again_ns)
			times[row->again++] = b->spot[i].again_ns - b->spot[i].killed_ns;
	qb_percentiles_of(times, row->again, &row->again_ns);
}

/* From the put of its round to the answer of each that waited for it. */
static void add_released(struct builder *b, enum qb_cache_phase phase, struct qb_cache_row *row)
{
	uint64_t first = qb_cacheset_first_id(&b->out->set, phase), n = qb_cacheset_requests(&b->out->set, phase), count = 0;

	for (uint64_t i = 0; qb_cache_in_rounds(phase) && i < n; i++) {
		const struct ask *a = &b->ask[first - 1 + i];
		const struct spot *s = a->answered_ns ? spot_of(b, phase, a) : NULL;

		if (s && s->put_ns && a->answer.fault == QB_CACHE_OK && a->answer.way != QB_CACHE_HIT)
			b->times[RELEASED][count++] = a->answered_ns > s->put_ns ? a->answered_ns - s->put_ns : 0;
	}
	qb_percentiles_of(b->times[RELEASED], count, &row->released);
}

static void add_up_phase(struct builder *b, enum qb_cache_phase phase)
{
	struct qb_cache_row *row = &b->out->row[phase];
	uint64_t first = qb_cacheset_first_id(&b->out->set, phase), counts[OF_SPOTS] = { 0 };

	row->requests = qb_cacheset_requests(&b->out->set, phase);
	memset(b->spot, 0, qb_cacheset_addresses(&b->out->set, phase) * sizeof(*b->spot));
	for (uint64_t i = 0; i < row->requests; i++) {
		uint64_t job = first - 1 + i;
		const struct ask *a = &b->ask[job];
		struct spot *spot = spot_of(b, phase, a);

		if (spot)
			add_runs(b, (uint32_t)job, a, spot, row);
		if (a->answered_ns)
			add_answer(b, a, spot, row, counts);
		else
			row->unanswered++;
	}
	for (unsigned way = 0; way < QB_CACHE_WAYS; way++)
		qb_percentiles_of(b->times[way], counts[way], &row->way[way]);
	qb_percentiles_of(b->times[FAULT], counts[FAULT], &row->fault);
	add_spots(b, phase, row);
	add_released(b, phase, row);
}

void qb_cache_row_add(struct qb_cache_row *sum, const struct qb_cache_row *r)
{
	const struct { uint64_t *to; uint64_t n; } counts[] = {
		{ &sum->requests, r->requests }, { &sum->hits, r->hits }, { &sum->joined, r->joined },
		{ &sum->executed, r->executed }, { &sum->failed, r->failed }, { &sum->unanswered, r->unanswered },
		{ &sum->from_memory, r->from_memory }, { &sum->stale, r->stale }, { &sum->addresses, r->addresses },
		{ &sum->executions, r->executions }, { &sum->interrupted, r->interrupted }, { &sum->found, r->found },
		{ &sum->puts, r->puts }, { &sum->leaks, r->leaks }, { &sum->pushed_again, r->pushed_again },
		{ &sum->waits, r->waits }, { &sum->ticks, r->ticks }, { &sum->rounds, r->rounds },
		{ &sum->rounds_exact, r->rounds_exact }, { &sum->kills, r->kills }, { &sum->again, r->again },
	};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		*counts[i].to += counts[i].n;
	for (unsigned f = 0; f < QB_CACHE_FAULTS; f++)
		sum->faults[f] += r->faults[f];
	if (r->executions_max > sum->executions_max)
		sum->executions_max = r->executions_max;
}

int qb_cache_table_build(const struct qb_tally *t, struct qb_summary *out)
{
	struct builder b = { .t = t, .out = &out->cache };
	size_t requests = 1, addresses = 1;
	int rc = 0;

	if (!read_set(t, b.out))
		return 0;
	for (int p = 0; p < QB_CACHE_PHASES; p++) {
		size_t n = qb_cacheset_requests(&b.out->set, (enum qb_cache_phase)p);
		size_t a = qb_cacheset_addresses(&b.out->set, (enum qb_cache_phase)p);

		requests = n > requests ? n : requests;
		addresses = a > addresses ? a : addresses;
	}
	uint64_t jobs = qb_cacheset_jobs(&b.out->set);

	b.ask = calloc(jobs, sizeof(*b.ask));
	b.spot = calloc(addresses, sizeof(*b.spot));
	for (unsigned i = 0; i <= OF_SPOTS; i++)
		b.times[i] = malloc((i == OF_SPOTS ? addresses : requests) * sizeof(uint64_t));
	if (!b.ask || !b.spot)
		rc = -ENOMEM;
	for (unsigned i = 0; i <= OF_SPOTS; i++)
		rc = b.times[i] ? rc : -ENOMEM;
	if (rc == 0)
		read_events(&b, jobs);
	for (int p = 0; rc == 0 && p < QB_CACHE_PHASES; p++) {
		add_up_phase(&b, (enum qb_cache_phase)p);
		qb_cache_row_add(&b.out->total, &b.out->row[p]);
	}
	free(b.ask);
	free(b.spot);
	for (unsigned i = 0; i <= OF_SPOTS; i++)
		free(b.times[i]);
	return rc;
}
