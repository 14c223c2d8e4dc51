/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outside world of the crash tests: what was promised to the submitter, which effects really
 * happened, what recovery reported, and what the "database" holds.
 *
 * Lives in: shared memory of its own, beside the segment; no process of the engine reads it.
 * Writers: every actor, with atomic operations on single words, so that a kill never leaves half of one.
 * What a job is to do is a pure function of its id, so that the oracle can compute it again.
 */
#ifndef QB_TESTS_CRASH_LEDGER_H
#define QB_TESTS_CRASH_LEDGER_H

#include <stdint.h>

/* One bit per attempt; attempts are counted from 1 and stay below 32 in these tests. */
struct ledger_job {
	uint32_t submitted;             /* submit was called */
	uint32_t accepted;              /* ... and returned: a promise */
	uint32_t effect_mask;           /* attempts in which its effect happened */
	uint32_t twice_mask;            /* ... and happened once more */
	uint32_t completed_mask;        /* attempts whose completion was acknowledged */
	uint32_t failed_mask;           /* attempts whose failure was acknowledged */
	uint32_t ambiguous_mask;        /* attempts that recovery reported as possibly run */
	uint32_t never_mask;            /* attempts that recovery declared never started */
	uint32_t stored;                /* the database: 1 + state of the word that was final, 0 = no row */
	uint32_t stored_attempt;
	uint32_t stored_failures;
	uint32_t live;                  /* the database has a row of its acceptance */
	uint64_t tx;                    /* its row there: effects:32 (per attempt) | fence:16 | done:16 (attempt) */
};

#define LEDGER_SEATS 64u

struct ledger {
	uint32_t running;               /* a stepped child has reached its scenario */
	uint32_t done;                  /* ... and its end */
	uint32_t wrong;                 /* a check inside an actor failed: line number */
	uint32_t only_class;            /* the seed's choice for all jobs: 1 opaque, 2 idempotent, 3 transactional, 0 by id */
	uint32_t engine_events;         /* events are the engine's own, without the mark of these tests */
	uint64_t wrong_job;
	uint64_t next_id;               /* the submitter's cursor */
	uint64_t last_id;               /* it stops behind this one */
	uint64_t batches;               /* that the syncers sent */
	uint64_t event_seq[LEDGER_SEATS]; /* the database: the last event of each seat */
	uint64_t tx_sent[LEDGER_SEATS]; /* job:56 | attempt:8, a COMMIT of that seat's worker that is on its way */
	uint64_t job_count;             /* entries below */
	struct ledger_job job[];        /* by id */
};

static inline void ledger_or(uint32_t *word, uint32_t bits)
{
	__atomic_fetch_or(word, bits, __ATOMIC_RELAXED);
}

static inline uint32_t ledger_get(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void ledger_set(uint32_t *word, uint32_t v)
{
	__atomic_store_n(word, v, __ATOMIC_RELAXED);
}

/* The first thing that went wrong; later ones follow from it. */
static inline void ledger_wrong(struct ledger *led, int line, uint64_t id)
{
	uint32_t none = 0;

	if (__atomic_compare_exchange_n(&led->wrong, &none, (uint32_t)line, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		__atomic_store_n(&led->wrong_job, id, __ATOMIC_RELAXED);
}

/* ---- the row of a transactional job: each a single step, as a transaction is ---- */

/* The effect and its done-mark. 0: refused, the fence has moved on. Once more the same transaction: nothing. */
static inline int ledger_tx_commit(struct ledger_job *l, uint32_t attempt)
{
	uint64_t v = __atomic_load_n(&l->tx, __ATOMIC_ACQUIRE), effect = 1ull << (32 + (attempt & 31));

	while (!(v & effect)) {
		if (attempt < (v >> 16 & 0xffff))
			return 0;
		if (__atomic_compare_exchange_n(&l->tx, &v, (v & ~0xffffull) | effect | attempt, 0, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			break;
	}
	return 1;
}

/* No attempt below that one commits any more. The row as it is then. */
static inline uint64_t ledger_tx_fence(struct ledger_job *l, uint32_t attempt)
{
	uint64_t v = __atomic_load_n(&l->tx, __ATOMIC_ACQUIRE);

	while ((v >> 16 & 0xffff) < attempt) {
		uint64_t moved = (v & ~0xffff0000ull) | (uint64_t)attempt << 16;

		if (__atomic_compare_exchange_n(&l->tx, &v, moved, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return moved;
	}
	return v;
}

/* Attempts in which the effect happened, whatever the class. */
static inline uint32_t ledger_effects(const struct ledger_job *l)
{
	return ledger_get(&l->effect_mask) | (uint32_t)(__atomic_load_n(&l->tx, __ATOMIC_ACQUIRE) >> 32);
}

/* ---- what a job is to do, by its id ---- */
#define PLAN_PAYLOAD_MAX 700u
#define PLAN_RESULT_MAX 120u
#define PLAN_MAX_ATTEMPTS 3u

static inline uint32_t plan_payload_bytes(uint64_t id)
{
	return id % 3 == 0 ? 0 : (uint32_t)(id * 37 % 330);
}

static inline uint8_t plan_payload_byte(uint64_t id, uint32_t i)
{
	return (uint8_t)(id * 13 + i * 7 + (i >> 8) + 1);
}

enum plan_class { PLAN_IDEMPOTENT = 0, PLAN_OPAQUE = 1, PLAN_TRANSACTIONAL = 2 };

static inline enum plan_class plan_class(const struct ledger *led, uint64_t id)
{
	switch (led->only_class) {
	case 1: return PLAN_OPAQUE;
	case 2: return PLAN_IDEMPOTENT;
	case 3: return PLAN_TRANSACTIONAL;
	default: return id & 1 ? PLAN_OPAQUE : id & 2 ? PLAN_TRANSACTIONAL : PLAN_IDEMPOTENT;
	}
}

/* Attempts that fail before one succeeds; PLAN_MAX_ATTEMPTS = it never does. */
static inline uint32_t plan_failures(uint64_t id)
{
	return id % 13 == 5 ? PLAN_MAX_ATTEMPTS : id % 5 == 4 ? 1 : 0;
}

static inline int plan_is_permanent(uint64_t id)
{
	return id % 17 == 9;
}

static inline int plan_releases(uint64_t id, uint32_t attempt)
{
	return id % 6 == 1 && attempt == 1;
}

static inline uint32_t plan_result_bytes(uint64_t id, uint32_t attempt)
{
	return id % 7 == 3 ? 0 : (uint32_t)((id * 11 + attempt * 29) % PLAN_RESULT_MAX);
}

static inline uint8_t plan_result_byte(uint64_t id, uint32_t attempt, uint32_t i)
{
	return (uint8_t)(id * 5 + attempt * 31 + i * 3 + 9);
}

/* What a record of these tests carries in arg1, so that a torn one shows. */
static inline uint64_t plan_event_mark(uint64_t id, uint64_t arg0)
{
	uint64_t z = id * 0x9e3779b97f4a7c15ull ^ arg0 * 0xbf58476d1ce4e5b9ull;

	return z ^ z >> 29;
}

#endif
