/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/cachetable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "record/format.h"
#include "stats/tally.h"

#define NO_ADDRESS UINT32_MAX

/* What is on record of one request. */
struct request {
	uint64_t answered_ns, took_ns;
	uint64_t packed;                /* qb_cache_answer_unpack() */
	uint64_t failed_run;
	uint32_t address;               /* NO_ADDRESS: nothing names it */
	uint32_t answers;
};

/* What the runner said of one attempt. */
struct work {
	uint64_t done_ns;               /* 0: nothing on record */
	enum qb_cache_work what;
};

/* A run of the work, in the row of the request that pushed it. */
struct execution {
	uint32_t address;               /* of those of the phase */
	uint64_t start_ns, put_ns;      /* 0: not known; nothing put */
	uint64_t killed_ns;             /* 0: no kill ended it */
};

/* One address of a phase. */
struct one {
	uint64_t asked, items;          /* requests, and those of them that got the item */
	uint64_t executions, interrupted, puts;
	uint64_t put_ns, last_ns;       /* the first put, the last answer */
};

struct build {
	const struct qb_tally *t;
	struct qb_cache_table *out;
	struct request *requests;       /* by job */
	struct work *works;             /* by attempt */
	struct execution *executions;
	uint64_t executions_count;
	struct one *ones;               /* of the present phase */
	uint64_t *samples;              /* room for one of each request and attempt */
};

static const char *setting(const struct qb_meta *m, const char *key)
{
	for (uint32_t i = 0; i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, key) == 0)
			return m->settings[i].value;
	return "0";
}

static uint32_t number(const struct qb_meta *m, const char *key)
{
	uint64_t n = strtoull(setting(m, key), NULL, 10);

	return n > QB_TALLY_JOBS_MAX ? QB_TALLY_JOBS_MAX + 1 : (uint32_t)n;
}

static int is_small(const struct qb_cacheset *s)
{
	const uint32_t each[] = { s->callers, s->addresses, s->requests, s->failing, s->rounds, s->kills };

	for (unsigned i = 0; i < sizeof(each) / sizeof(each[0]); i++)
		if (each[i] > QB_TALLY_JOBS_MAX)
			return 0;
	return 1;
}

/* As the description says, if it is true of the jobs that were planned. */
static void find_set(const struct qb_tally *t, struct qb_cache_table *out)
{
	const struct qb_meta *m = &t->in->trace->meta;
	uint64_t processes = number(m, "cache processes"), callers = processes * number(m, "cache callers");
	struct qb_cacheset set = {
		.callers = callers > QB_TALLY_JOBS_MAX ? 0 : (uint32_t)callers, .addresses = number(m, "cache addresses"),
		.requests = number(m, "cache requests"), .failing = number(m, "cache failing"),
		.rounds = number(m, "cache rounds"), .kills = number(m, "cache kills"),
	};

	if (set.callers == 0 || !is_small(&set) || qb_cacheset_jobs(&set) == 0 || qb_cacheset_jobs(&set) > QB_TALLY_JOBS_MAX ||
	    qb_cacheset_jobs(&set) != t->jobs_count)
		return;
	out->set = set;
	out->processes = (uint32_t)processes;
	out->stale_errors = strcmp(setting(m, "cache stale_errors"), "0") != 0;
	out->faithful = strcmp(setting(m, "cache faithful"), "0") != 0;
	if (qb_parse_duration(setting(m, "cache deadline"), &out->deadline_ns) != 0)
		out->deadline_ns = 0;
}

/* ---- what is on record ---- */

static void on_answer(struct request *r, const struct qb_trace_event *e)
{
	r->answers++;
	r->answered_ns = e->t_ns;
	r->took_ns = e->ev.arg0;
	r->packed = e->ev.arg1;
	r->failed_run = e->ev.token;
}

/* The attempt that the runner speaks of: the newest of that number on its seat that had begun. */
static void on_work(struct build *b, uint32_t job, const struct qb_trace_event *e)
{
	const struct qb_tally *t = b->t;

	for (uint32_t i = t->jobs[job].last; i != QB_NO_IDX; i = t->tries[i].prev) {
		const struct qb_try *a = &t->tries[i];

		if (a->attempt != e->ev.attempt || a->start_ns > e->t_ns ||
		    (a->proc != QB_NO_IDX && t->procs[a->proc].seat != e->ev.seat))
			continue;
		b->works[i] = (struct work){ .done_ns = e->t_ns ? e->t_ns : 1, .what = (enum qb_cache_work)e->ev.arg0 };
		return;
	}
}

static void read_events(struct build *b)
{
	const struct qb_trace *trace = b->t->in->trace;

	for (uint64_t i = 0; i < b->t->jobs_count; i++)
		b->requests[i].address = NO_ADDRESS;
	for (size_t i = 0; i < trace->events_count; i++) {
		const struct qb_trace_event *e = &trace->events[i];
		struct request *r;

		if (e->ev.job_id == 0 || e->ev.job_id > b->t->jobs_count)
			continue;
		r = &b->requests[e->ev.job_id - 1];
		switch (e->ev.type) {
		case QB_EV_CACHE_REQUEST:
			r->address = e->ev.slot_idx;
			on_answer(r, e);
			break;
		case QB_EV_CACHE_WORK:
			r->address = e->ev.slot_idx;
			on_work(b, (uint32_t)(e->ev.job_id - 1), e);
			break;
		case QB_EV_JOB_SUBMITTED:
		case QB_EV_JOB_STARTED:
			r->address = e->ev.tenant;
			break;
		default:
			break;
		}
	}
}

/* ---- requests ---- */

/* When a run that failed was over: as late as the record allows. 0: it does not say. */
static uint64_t over_at(const struct build *b, uint64_t run)
{
	const struct qb_tally *t = b->t;
	uint64_t over_ns = 0;

	if (run == 0 || run > t->jobs_count)
		return 0;
	for (uint32_t i = t->jobs[run - 1].first; i != QB_NO_IDX; i = t->tries[i].next) {
		if (b->works[i].done_ns > over_ns && b->works[i].what == QB_CACHE_FAILED)
			over_ns = b->works[i].done_ns;
		if (t->tries[i].end_ns > over_ns && t->tries[i].outcome == QB_TRY_FAILED)
			over_ns = t->tries[i].end_ns;
	}
	return t->jobs[run - 1].discarded_ns > over_ns ? t->jobs[run - 1].discarded_ns : over_ns;
}

static int is_stale(const struct build *b, const struct request *r)
{
	uint64_t over_ns = over_at(b, r->failed_run);

	return over_ns && r->took_ns < r->answered_ns && over_ns < r->answered_ns - r->took_ns;
}

/* A second answer to one request counts again: the sum shows it. What cannot be an answer does not count. */
static void add_answer(const struct build *b, const struct request *r, struct qb_cache_row *row)
{
	struct qb_cache_answer a = qb_cache_answer_unpack(r->packed);
	int waited = a.way == QB_CACHE_JOINED || a.way == QB_CACHE_EXECUTED, ok = a.fault == QB_CACHE_OK;

	row->unanswered += r->answers == 0;
	if (r->answers == 0 || a.way >= QB_CACHE_WAYS || a.fault >= QB_CACHE_FAULTS)
		return;
	row->faults[a.fault] += r->answers;
	row->hits += ok && a.way == QB_CACHE_HIT ? r->answers : 0;
	row->joined += ok && a.way == QB_CACHE_JOINED ? r->answers : 0;
	row->executed += ok && a.way == QB_CACHE_EXECUTED ? r->answers : 0;
	row->failed += ok ? 0 : r->answers;
	row->accepted += a.way == QB_CACHE_EXECUTED;
	row->from_memory += ok && a.way == QB_CACHE_HIT && a.from_memory;
	row->stale += a.fault == QB_CACHE_FAILURE && is_stale(b, r);
	row->pushed_again += a.pushes > 1;
	row->waits += waited;
	row->ticks += waited && a.ticks > 0;
}

static struct one *one_of(const struct build *b, enum qb_cache_phase phase, const struct request *r)
{
	uint32_t first = qb_cacheset_first_address(&b->out->set, phase);

	if (r->address == NO_ADDRESS || r->address < first || r->address - first >= qb_cacheset_addresses(&b->out->set, phase))
		return NULL;
	return &b->ones[r->address - first];
}

/* The times of all requests with this way; QB_CACHE_WAYS: of those that failed. */
static void times_of(const struct build *b, uint64_t first, uint64_t n, unsigned way, struct qb_percentiles *out)
{
	uint64_t count = 0;

	for (uint64_t i = first; i < first + n; i++) {
		const struct request *r = &b->requests[i];
		struct qb_cache_answer a = qb_cache_answer_unpack(r->packed);

		if (r->answers && (a.fault == QB_CACHE_OK ? a.way == way : way == QB_CACHE_WAYS))
			b->samples[count++] = r->took_ns;
	}
	qb_percentiles_of(b->samples, count, out);
}

static void add_requests(struct build *b, enum qb_cache_phase phase, uint64_t first, uint64_t n)
{
	struct qb_cache_row *row = &b->out->row[phase];

	row->requests = n;
	for (uint64_t i = first; i < first + n; i++) {
		const struct request *r = &b->requests[i];
		const struct qb_tally_job *j = &b->t->jobs[i];
		struct one *one = one_of(b, phase, r);

		add_answer(b, r, row);
		b->out->refused_and_run += (j->flags & QB_TJOB_DUPLICATE) && j->first != QB_NO_IDX;
		if (!one || (r->answers == 0 && !(j->flags & QB_TJOB_SUBMITTED)))
			continue;
		one->asked++;
		one->items += r->answers && qb_cache_answer_unpack(r->packed).fault == QB_CACHE_OK;
		if (r->answers && r->answered_ns > one->last_ns)
			one->last_ns = r->answered_ns;
	}
	for (unsigned way = 0; way < QB_CACHE_WAYS; way++)
		times_of(b, first, n, way, &row->way[way]);
	times_of(b, first, n, QB_CACHE_WAYS, &row->fault);
}

/* ---- executions ---- */

static int by_address(const void *a, const void *b)
{
	const struct execution *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

static void add_execution(struct build *b, struct qb_cache_row *row, struct one *one, uint32_t idx)
{
	const struct qb_tally *t = b->t;
	const struct qb_try *a = &t->tries[idx];
	const struct work *w = &b->works[idx];
	struct execution *e;

	if (!(a->flags & QB_TRY_STARTED))
		return;
	if (w->done_ns && w->what == QB_CACHE_FOUND) {
		row->found++;
		return;
	}
	e = &b->executions[b->executions_count++];
	*e = (struct execution){ .address = (uint32_t)(one - b->ones), .start_ns = a->start_ns };
	if (w->done_ns && w->what == QB_CACHE_PUT) {
		e->put_ns = w->done_ns;
		one->puts++;
		if (one->put_ns == 0 || w->done_ns < one->put_ns)
			one->put_ns = w->done_ns;
	}
	if (a->outcome == QB_TRY_OPEN && qb_try_is_dead(t, a)) {
		e->killed_ns = qb_proc_death_ns(&t->procs[a->proc]);
		one->interrupted++;
	}
	one->executions++;
}

static void add_executions(struct build *b, enum qb_cache_phase phase, uint64_t first, uint64_t n)
{
	b->executions_count = 0;
	for (uint64_t i = first; i < first + n; i++) {
		struct one *one = one_of(b, phase, &b->requests[i]);

		for (uint32_t k = one ? b->t->jobs[i].first : QB_NO_IDX; k != QB_NO_IDX; k = b->t->tries[k].next)
			add_execution(b, &b->out->row[phase], one, k);
	}
	qsort(b->executions, b->executions_count, sizeof(*b->executions), by_address);
}

/* From each kill to when that address was executed again. */
static void add_kills(struct build *b, struct qb_cache_row *row)
{
	for (uint64_t i = 0; i < b->executions_count; i++) {
		const struct execution *e = &b->executions[i];

		if (e->killed_ns == 0)
			continue;
		row->kills++;
		uint64_t k = i + 1;

		/* Sorted: those of the address are behind it. */
		while (k < b->executions_count && b->executions[k].address == e->address &&
		       b->executions[k].start_ns <= e->killed_ns)
			k++;
		if (k < b->executions_count && b->executions[k].address == e->address)
			b->samples[row->again++] = b->executions[k].start_ns - e->killed_ns;
	}
	qb_percentiles_of(b->samples, row->again, &row->again_ns);
}

static void add_addresses(struct build *b, enum qb_cache_phase phase)
{
	struct qb_cache_row *row = &b->out->row[phase];
	uint32_t n = qb_cacheset_addresses(&b->out->set, phase);

	for (uint32_t i = 0; i < n; i++) {
		const struct one *one = &b->ones[i];
		uint64_t whole = one->executions - one->interrupted;

		row->addresses += one->asked > 0;
		row->executions += one->executions;
		row->interrupted += one->interrupted;
		row->puts += one->puts;
		/* A failure leaves nothing: whoever comes behind it may try again. */
		row->leaks += phase != QB_CACHE_FAILING && whole > 1 ? whole - 1 : 0;
		row->unmade += one->items > 0 && one->executions == 0;
		if (one->executions > row->executions_max)
			row->executions_max = one->executions;
		if (!qb_cache_in_rounds(phase))
			continue;
		row->rounds += one->asked > 0;
		/* A kill between the put and the end of the job leaves a run that only finds the item. */
		row->rounds_exact += one->asked > 0 && (whole == 1 || (whole == 0 && one->puts == 1));
	}
}

/* ---- rounds ---- */

static uint64_t since(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? to_ns - from_ns : 0;
}

static void add_releases(struct build *b, enum qb_cache_phase phase, uint64_t first, uint64_t n)
{
	struct qb_cache_row *row = &b->out->row[phase];
	uint32_t addresses = qb_cacheset_addresses(&b->out->set, phase);
	uint64_t count = 0;

	for (uint32_t i = 0; i < addresses; i++)
		if (b->ones[i].put_ns && b->ones[i].last_ns)
			b->samples[count++] = since(b->ones[i].put_ns, b->ones[i].last_ns);
	qb_percentiles_of(b->samples, count, &row->release);
	count = 0;
	for (uint64_t i = first; i < first + n; i++) {
		const struct request *r = &b->requests[i];
		struct qb_cache_answer a = qb_cache_answer_unpack(r->packed);
		const struct one *one = one_of(b, phase, r);

		if (one && one->put_ns && r->answers && a.fault == QB_CACHE_OK && a.way != QB_CACHE_HIT)
			b->samples[count++] = since(one->put_ns, r->answered_ns);
	}
	qb_percentiles_of(b->samples, count, &row->released);
}

static void add_phase(struct build *b, enum qb_cache_phase phase)
{
	uint64_t first = qb_cacheset_first_id(&b->out->set, phase) - 1, n = qb_cacheset_requests(&b->out->set, phase);

	if (n == 0)
		return;
	memset(b->ones, 0, qb_cacheset_addresses(&b->out->set, phase) * sizeof(*b->ones));
	add_requests(b, phase, first, n);
	add_executions(b, phase, first, n);
	add_kills(b, &b->out->row[phase]);
	add_addresses(b, phase);
	if (qb_cache_in_rounds(phase))
		add_releases(b, phase, first, n);
}

void qb_cache_row_add(struct qb_cache_row *to, const struct qb_cache_row *r)
{
	to->requests += r->requests;
	to->hits += r->hits;
	to->joined += r->joined;
	to->executed += r->executed;
	to->failed += r->failed;
	to->unanswered += r->unanswered;
	to->from_memory += r->from_memory;
	for (unsigned i = 0; i < QB_CACHE_FAULTS; i++)
		to->faults[i] += r->faults[i];
	to->stale += r->stale;
	to->accepted += r->accepted;
	to->addresses += r->addresses;
	to->unmade += r->unmade;
	to->executions += r->executions;
	to->interrupted += r->interrupted;
	to->found += r->found;
	to->puts += r->puts;
	to->leaks += r->leaks;
	if (r->executions_max > to->executions_max)
		to->executions_max = r->executions_max;
	to->pushed_again += r->pushed_again;
	to->waits += r->waits;
	to->ticks += r->ticks;
	to->rounds += r->rounds;
	to->rounds_exact += r->rounds_exact;
	to->kills += r->kills;
	to->again += r->again;
}

int qb_cache_table_build(const struct qb_tally *t, struct qb_summary *out)
{
	struct build b = { .t = t, .out = &out->cache };
	int rc = -ENOMEM;

	find_set(t, b.out);
	if (b.out->set.callers == 0)
		return 0;
	b.requests = calloc(t->jobs_count, sizeof(*b.requests));
	b.works = calloc(t->tries_count + 1u, sizeof(*b.works));
	b.executions = malloc((t->tries_count + 1u) * sizeof(*b.executions));
	b.ones = malloc((qb_cacheset_all_addresses(&b.out->set) + 1u) * sizeof(*b.ones));
	b.samples = malloc((t->jobs_count + t->tries_count + 1) * sizeof(*b.samples));
	if (b.requests && b.works && b.executions && b.ones && b.samples) {
		read_events(&b);
		for (int p = 0; p < QB_CACHE_PHASES; p++) {
			add_phase(&b, (enum qb_cache_phase)p);
			qb_cache_row_add(&b.out->total, &b.out->row[p]);
		}
		rc = 0;
	}
	free(b.requests);
	free(b.works);
	free(b.executions);
	free(b.ones);
	free(b.samples);
	return rc;
}
