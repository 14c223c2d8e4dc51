/* SPDX-License-Identifier: Apache-2.0 */
/* Records of a cache made by hand: who asked when, who worked, who was killed. */
#ifndef QB_TESTS_CACHETEST_H
#define QB_TESTS_CACHETEST_H

#include "trace-builder.h"

#include "record/format.h"

/* Two processes of a caller each. Jobs: uniform 1-4, skewed 5-8, uncached 9-12, failing 13-14, after 15-16, killed 17-20,
 * together 21-22. Addresses: 0-1 uniform and uncached, 2-3 skewed, 4 failing and after, 5-6 killed, 7 together. */
static const struct qb_cacheset mixed = {
	.callers = 2, .addresses = 2, .requests = 4, .failing = 1, .rounds = 1, .kills = 1,
};
static struct builder b;

/* A request, from its call to its answer. */
struct get {
	uint64_t from_ms, to_ms;
	unsigned id, address, way, fault, ticks, pushes, run, in_memory;
};

static inline void begin_set(const struct qb_cacheset *set)
{
	const struct { const char *key; unsigned value; } settings[] = {
		{ "cache addresses", set->addresses }, { "cache requests", set->requests }, { "cache failing", set->failing },
		{ "cache rounds", set->rounds }, { "cache kills", set->kills }, { "cache processes", set->callers },
		{ "cache callers", 1 }, { "cache faithful", 0 }, { "cache stale_errors", 0 },
	};
	char value[32];

	builder_init(&b, (unsigned)qb_cacheset_jobs(set));
	for (unsigned i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		snprintf(value, sizeof(value), "%u", settings[i].value);
		qb_meta_setting(&b.trace.meta, settings[i].key, value);
	}
	qb_meta_setting(&b.trace.meta, "cache deadline", "10000ms");
	b.trace.ended = 1;
	start_processes(&b, 3);
}

static inline void change_setting(const char *key, const char *value)
{
	struct qb_meta *m = &b.trace.meta;

	for (uint32_t i = 0; i < m->settings_count; i++)
		if (strcmp(m->settings[i].key, key) == 0)
			snprintf(m->settings[i].value, sizeof(m->settings[i].value), "%s", value);
}

/* The answer, and what the caller notes of its push. */
static inline void get(struct get g)
{
	struct qb_cache_answer a = {
		.way = (uint8_t)g.way, .fault = (uint8_t)g.fault, .from_memory = (uint8_t)g.in_memory, .ticks = (uint16_t)g.ticks,
		.pushes = (uint16_t)(g.pushes ? g.pushes : g.way != QB_CACHE_HIT),
	};
	struct qb_event_shm *ev;

	if (g.way != QB_CACHE_HIT) {
		job_event(&b, g.from_ms, QB_EV_JOB_SUBMITTED, DRIVER, g.id, 0, ZERO_NS + g.from_ms * MS, 100);
		b.events[b.trace.events_count - 1].ev.tenant = g.address;
	}
	ev = event(&b, g.to_ms, QB_EV_CACHE_REQUEST, DRIVER);
	ev->job_id = g.id;
	ev->slot_idx = g.address;
	ev->tenant = g.id % 2;
	ev->token = g.run;
	ev->arg0 = (g.to_ms - g.from_ms) * MS;
	ev->arg1 = qb_cache_answer_pack(&a);
	if (g.way == QB_CACHE_EXECUTED)
		job_event(&b, g.to_ms, QB_EV_JOB_ENQUEUED, DRIVER, g.id, 0, ZERO_NS + g.from_ms * MS, 0);
	else if (g.way == QB_CACHE_JOINED)
		job_event(&b, g.to_ms, QB_EV_ENQUEUE_FAILED, DRIVER, g.id, 0, 0, 0);
}

static inline void begun(uint64_t t_ms, unsigned seat, unsigned id, unsigned address, unsigned attempt)
{
	started(&b, t_ms, seat, id, attempt);
	b.events[b.trace.events_count - 1].ev.tenant = address;
}

static inline void worked(uint64_t t_ms, unsigned seat, unsigned id, unsigned address, unsigned attempt, enum qb_cache_work what)
{
	job_event(&b, t_ms, QB_EV_CACHE_WORK, seat, id, attempt, what, MS);
	b.events[b.trace.events_count - 1].ev.slot_idx = address;
}

/* Of W(1): begun, put a millisecond before the end. */
static inline void made(uint64_t from_ms, uint64_t to_ms, unsigned id, unsigned address, unsigned attempt)
{
	begun(from_ms, W(1), id, address, attempt);
	worked(to_ms - 1, W(1), id, address, attempt, QB_CACHE_PUT);
	completed(&b, to_ms, W(1), id, attempt);
}

/* One that pushes and is answered at to_ms, one that joins it, and two hits of 1 ms. */
static inline void fill(uint64_t t_ms, unsigned first_id, unsigned address)
{
	get((struct get){ .from_ms = t_ms, .to_ms = t_ms + 20, .id = first_id, .address = address, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = t_ms + 2, .to_ms = t_ms + 22, .id = first_id + 1, .address = address, .way = QB_CACHE_JOINED,
			  .ticks = 1 });
	made(t_ms + 5, t_ms + 19, first_id, address, 1);
	get((struct get){ .from_ms = t_ms + 30, .to_ms = t_ms + 31, .id = first_id + 2, .address = address });
	get((struct get){ .from_ms = t_ms + 32, .to_ms = t_ms + 33, .id = first_id + 3, .address = address, .in_memory = 1 });
}

/* Both wait for the run of 13, which fails; afterwards the run of 15 does not. */
static inline void fail_and_succeed(void)
{
	get((struct get){ .from_ms = 400, .to_ms = 420, .id = 13, .address = 4, .way = QB_CACHE_EXECUTED,
			  .fault = QB_CACHE_FAILURE, .run = 13 });
	get((struct get){ .from_ms = 401, .to_ms = 421, .id = 14, .address = 4, .way = QB_CACHE_JOINED,
			  .fault = QB_CACHE_FAILURE, .run = 13 });
	begun(405, W(1), 13, 4, 1);
	worked(415, W(1), 13, 4, 1, QB_CACHE_FAILED);
	failed(&b, 418, W(1), 13, 1);
	job_event(&b, 418, QB_EV_JOB_DISCARDED, W(1), 13, 1, 0, 0);
	end(&b, 13, QB_OUTCOME_DISCARDED, 1, 0);
	get((struct get){ .from_ms = 450, .to_ms = 462, .id = 15, .address = 4, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 450, .to_ms = 464, .id = 16, .address = 4, .way = QB_CACHE_JOINED });
	made(452, 461, 15, 4, 1);
}

/* The worker of 17 is killed at 510, another begins it again at 514; all of it is answered. */
static inline void kill_and_go_on(void)
{
	get((struct get){ .from_ms = 500, .to_ms = 530, .id = 17, .address = 5, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 501, .to_ms = 531, .id = 18, .address = 5, .way = QB_CACHE_JOINED });
	begun(505, W(2), 17, 5, 1);
	kill_worker(&b, 510, W(2), 1);
	ambiguous(&b, 511, W(2), 17, 1, 0);
	made(514, 528, 17, 5, 2);
	get((struct get){ .from_ms = 540, .to_ms = 560, .id = 19, .address = 6, .way = QB_CACHE_EXECUTED });
	made(545, 558, 19, 6, 1);
	get((struct get){ .from_ms = 570, .to_ms = 571, .id = 20, .address = 6 });
}

static inline void meet(void)
{
	get((struct get){ .from_ms = 600, .to_ms = 621, .id = 21, .address = 7, .way = QB_CACHE_EXECUTED });
	get((struct get){ .from_ms = 600, .to_ms = 624, .id = 22, .address = 7, .way = QB_CACHE_JOINED });
	made(605, 620, 21, 7, 1);
}

static inline void all_well(void)
{
	fill(100, 1, 0);
	fill(200, 5, 2);
	fill(300, 9, 1);
	fail_and_succeed();
	kill_and_go_on();
	meet();
}

#endif
