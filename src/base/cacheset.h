/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the requests of a scenario on a cache are numbered, which phases there are, and what can become of a request.
 *
 * A request is a job id of its own, whether its work is pushed or not: a record tells by the id alone which phase and
 * which request an execution goes back to.  Ids go up over the phases, 1 first.  The address of a request is the tenant of
 * its job in the plan.
 *
 * In a phase of rounds all callers ask for one address at one instant: request = round * callers + caller.  In the
 * others each caller takes the next request when it has got its last.
 */
#ifndef QB_BASE_CACHESET_H
#define QB_BASE_CACHESET_H

#include <stdint.h>
#include <stdio.h>

enum qb_cache_phase {
	QB_CACHE_UNIFORM,               /* M requests on N addresses, each as likely */
	QB_CACHE_SKEWED,                /* M on N others, the k-th as likely as 1 / k^skew */
	QB_CACHE_UNCACHED,              /* M on those of the first phase, all of which were removed */
	QB_CACHE_FAILING,               /* rounds on others, whose work fails */
	QB_CACHE_AFTER,                 /* rounds on the same, whose work succeeds now */
	QB_CACHE_KILLED,                /* M on N others; of some of them the worker is killed the first time */
	QB_CACHE_TOGETHER,              /* rounds on others */
	QB_CACHE_KILLED_TOGETHER,       /* rounds on others; of each the worker is killed the first time */
	QB_CACHE_PHASES,
};

enum qb_cache_way {
	QB_CACHE_HIT,                   /* no access to the queue */
	QB_CACHE_JOINED,                /* the push was refused: somebody else's run */
	QB_CACHE_EXECUTED,              /* the push was accepted: an own run */
	QB_CACHE_WAYS,
};

enum qb_cache_fault {
	QB_CACHE_OK,
	QB_CACHE_FAILURE,               /* what the runner has recorded */
	QB_CACHE_NOT_FOUND,             /* the run is over, and there is no item */
	QB_CACHE_DEADLINE,              /* the wait on work was not over in time */
	QB_CACHE_ERROR,                 /* of the queue or the store */
	QB_CACHE_DAMAGED,               /* what came is not what was put */
	QB_CACHE_FAULTS,
};

/* What a runner did. */
enum qb_cache_work {
	QB_CACHE_PUT,                   /* the item; its execution */
	QB_CACHE_FOUND,                 /* nothing: the item was there already */
	QB_CACHE_FAILED,                /* recorded a failure; an execution */
};

struct qb_cacheset {
	uint32_t callers;               /* of all processes; 0: not such a scenario */
	uint32_t addresses, requests;   /* N and M; 0: without the phases of them */
	uint32_t failing;               /* addresses of the phases failing and after */
	uint32_t rounds;                /* of together */
	uint32_t kills;                 /* of killed when N > 0, else rounds of killed together */
};

struct qb_cache_place {
	enum qb_cache_phase phase;
	uint32_t request;               /* in its phase, from 0 */
};

#define QB_CACHE_ADDRESS_BYTES 16

static inline int qb_cache_in_rounds(enum qb_cache_phase phase)
{
	return phase == QB_CACHE_FAILING || phase == QB_CACHE_AFTER || phase >= QB_CACHE_TOGETHER;
}

/* How many addresses a phase has; 0: the scenario has no such phase. */
static inline uint32_t qb_cacheset_addresses(const struct qb_cacheset *s, enum qb_cache_phase phase)
{
	switch (phase) {
	case QB_CACHE_UNIFORM:
	case QB_CACHE_SKEWED:
	case QB_CACHE_UNCACHED:
		return s->addresses;
	case QB_CACHE_FAILING:
	case QB_CACHE_AFTER:
		return s->failing;
	case QB_CACHE_KILLED:
		return s->kills ? s->addresses : 0;
	case QB_CACHE_TOGETHER:
		return s->rounds;
	case QB_CACHE_KILLED_TOGETHER:
		return s->addresses ? 0 : s->kills;
	default:
		return 0;
	}
}

static inline uint64_t qb_cacheset_requests(const struct qb_cacheset *s, enum qb_cache_phase phase)
{
	uint64_t n = qb_cacheset_addresses(s, phase);

	return n == 0 ? 0 : qb_cache_in_rounds(phase) ? n * s->callers : s->requests;
}

/* The first address of a phase; those of uncached and of after are another's. */
static inline uint32_t qb_cacheset_first_address(const struct qb_cacheset *s, enum qb_cache_phase phase)
{
	uint32_t first = 0;

	if (phase == QB_CACHE_UNCACHED)
		phase = QB_CACHE_UNIFORM;
	if (phase == QB_CACHE_AFTER)
		phase = QB_CACHE_FAILING;
	for (int p = 0; p < (int)phase; p++)
		if (p != QB_CACHE_UNCACHED && p != QB_CACHE_AFTER)
			first += qb_cacheset_addresses(s, (enum qb_cache_phase)p);
	return first;
}

/* All different addresses. */
static inline uint32_t qb_cacheset_all_addresses(const struct qb_cacheset *s)
{
	return qb_cacheset_first_address(s, QB_CACHE_PHASES);
}

static inline uint64_t qb_cacheset_first_id(const struct qb_cacheset *s, enum qb_cache_phase phase)
{
	uint64_t id = 1;

	for (int p = 0; p < (int)phase; p++)
		id += qb_cacheset_requests(s, (enum qb_cache_phase)p);
	return id;
}

static inline uint64_t qb_cacheset_jobs(const struct qb_cacheset *s)
{
	return qb_cacheset_first_id(s, QB_CACHE_PHASES) - 1;
}

/* 0, or -1: no id of this set. */
static inline int qb_cacheset_place(const struct qb_cacheset *s, uint64_t job_id, struct qb_cache_place *place)
{
	uint64_t i = job_id - 1;

	if (job_id == 0)
		return -1;
	for (int p = 0; p < QB_CACHE_PHASES; p++) {
		uint64_t n = qb_cacheset_requests(s, (enum qb_cache_phase)p);

		if (i < n) {
			*place = (struct qb_cache_place){ (enum qb_cache_phase)p, (uint32_t)i };
			return 0;
		}
		i -= n;
	}
	return -1;
}

/* Is the worker killed that runs this address first? The first `kills` of killed, each of killed together. */
static inline int qb_cacheset_is_victim(const struct qb_cacheset *s, uint32_t address)
{
	enum qb_cache_phase phase = s->addresses ? QB_CACHE_KILLED : QB_CACHE_KILLED_TOGETHER;
	uint32_t first = qb_cacheset_first_address(s, phase), n = qb_cacheset_addresses(s, phase);

	return address >= first && address - first < (n < s->kills ? n : s->kills);
}

/* As the queue and the store get it. Returns buf. */
static inline const char *qb_cacheset_text(uint32_t address, char buf[QB_CACHE_ADDRESS_BYTES])
{
	snprintf(buf, QB_CACHE_ADDRESS_BYTES, "item-%07u", address % 10000000);
	return buf;
}

static inline const char *qb_cache_phase_name(enum qb_cache_phase phase)
{
	static const char *const names[] = {
		"uniform", "skewed", "uncached", "failing", "after_failure", "killed", "together", "killed_together",
	};

	return (unsigned)phase < QB_CACHE_PHASES ? names[phase] : "?";
}

#endif
