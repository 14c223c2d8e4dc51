/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the requests of a scenario on unique keys are numbered.
 *
 * P processes ask for the same K keys in each of five phases.  A request is a job id of its own, whether it is
 * accepted or not: so a record tells by the id alone which phase, key and process an execution goes back to.  The
 * last phase has keys of its own, because those of the phases before it may be taken for good by then; each is given
 * to one job first, the holder, whose worker is killed.
 *
 * Ids: 1 .. 5PK are the requests, by phase, then key, then process; 5PK + 1 .. 5PK + K the holders by key.
 */
#ifndef QB_BASE_KEYSET_H
#define QB_BASE_KEYSET_H

#include <stdint.h>
#include <stdio.h>

enum qb_key_phase {
	QB_KEY_RACE,                    /* nothing is queued */
	QB_KEY_QUEUED,
	QB_KEY_RUNNING,
	QB_KEY_DONE,
	QB_KEY_KILLED,                  /* the worker that ran the holder */
	QB_KEY_PHASES,
	QB_KEY_HOLDER = QB_KEY_PHASES,  /* no phase: the holder's own request */
};

struct qb_keyset {
	uint32_t keys, processes;       /* K and P; 0: not such a scenario */
};

/* Of a request or a holder. */
struct qb_key_place {
	enum qb_key_phase phase;
	uint32_t key;                   /* 0 .. K - 1 */
	uint32_t process;               /* 0 .. P - 1 */
};

#define QB_KEY_TEXT_BYTES 16

static inline uint64_t qb_keyset_requests(const struct qb_keyset *k)
{
	return (uint64_t)QB_KEY_PHASES * k->keys * k->processes;
}

static inline uint64_t qb_keyset_jobs(const struct qb_keyset *k)
{
	return qb_keyset_requests(k) + k->keys;
}

/* process is ignored for a holder. */
static inline uint64_t qb_keyset_id(const struct qb_keyset *k, enum qb_key_phase phase, uint32_t key, uint32_t process)
{
	if (phase == QB_KEY_HOLDER)
		return qb_keyset_requests(k) + key + 1;
	return ((uint64_t)phase * k->keys + key) * k->processes + process + 1;
}

/* 0, or -1: no id of this set. */
static inline int qb_keyset_place(const struct qb_keyset *k, uint64_t job_id, struct qb_key_place *place)
{
	uint64_t requests = qb_keyset_requests(k), i = job_id - 1;

	if (job_id == 0 || job_id > qb_keyset_jobs(k))
		return -1;
	if (i >= requests)
		*place = (struct qb_key_place){ QB_KEY_HOLDER, (uint32_t)(i - requests), 0 };
	else
		*place = (struct qb_key_place){ (enum qb_key_phase)(i / k->processes / k->keys),
						(uint32_t)(i / k->processes % k->keys), (uint32_t)(i % k->processes) };
	return 0;
}

/* Which of 2K different keys it is: those of the last phase come behind the others. */
static inline uint32_t qb_keyset_index(const struct qb_keyset *k, const struct qb_key_place *place)
{
	return place->phase >= QB_KEY_KILLED ? k->keys + place->key : place->key;
}

/* The key as the queue gets it. Returns buf. */
static inline const char *qb_keyset_text(const struct qb_key_place *place, char buf[QB_KEY_TEXT_BYTES])
{
	snprintf(buf, QB_KEY_TEXT_BYTES, "%s-%05u", place->phase >= QB_KEY_KILLED ? "held" : "key", place->key % 100000);
	return buf;
}

static inline const char *qb_key_phase_name(enum qb_key_phase phase)
{
	static const char *const names[] = { "race", "queued", "running", "completed", "killed", "holder" };

	return (unsigned)phase <= QB_KEY_HOLDER ? names[phase] : "?";
}

#endif
