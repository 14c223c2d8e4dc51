/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of the syncer: src/sync/batch.c gathers, this applies what its columns say to the rows in the
 * ledger, loses an answer now and then, and decides the ambiguous ones. Transactions of workers that died in
 * their COMMIT land whenever it hurts most: after the decision about them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shm/job.h"
#include "tests/crash/world.h"

#define WRONG(w, id) ledger_wrong((w)->led, 10000 + __LINE__, (id))
/* Of each eight batches one is refused, and of another one the answer is lost. */
#define REFUSED(n) ((n) % 8 == 3)
#define UNANSWERED(n) ((n) % 8 == 6)

/*
 * In place of src/sync/resolve.c, which needs a connection: a job in doubt is not for the batch, world_decide()
 * finds it in the table.
 */
int qb_resolve_takes(struct qb_resolve *r, uint32_t slot_idx, uint64_t word)
{
	return qb_word_state(word) == QB_JOB_AMBIGUOUS &&
	       r->seg->jobs[slot_idx].effect_class == QB_EFFECT_TRANSACTIONAL;
}

void world_syncer_open(struct world *w, uint32_t seat)
{
	if (w->batch.source)
		qb_batch_close(&w->batch);
	if (qb_batch_open(&w->batch, &w->seg, seat) < 0)
		abort();
	w->resolve.seg = &w->seg;
	w->batch.resolve = &w->resolve;
}

void world_syncer_close(struct world *w)
{
	if (w->batch.source)
		qb_batch_close(&w->batch);
}

/* ---- columns in Postgres's binary format ---- */
struct column { const uint8_t *at; uint32_t left; };

static void begin_columns(const struct qb_batch *b, struct column *c)
{
	for (unsigned i = 0; i < QB_COL_COUNT; i++)
		c[i] = (struct column){ .at = b->col[i].data + QB_PG_ARRAY_HEADER_BYTES, .left = b->col[i].count };
}

/* Bytes of the next element, -1 for NULL, -2 at the end. */
static int32_t next_element(struct column *c, const uint8_t **data)
{
	uint32_t be;

	if (c->left == 0)
		return -2;
	memcpy(&be, c->at, sizeof(be));
	int32_t bytes = (int32_t)be32toh(be);

	*data = c->at + 4;
	c->at += 4 + (bytes > 0 ? bytes : 0);
	c->left--;
	return bytes;
}

/* A NULL, and the end of a column, which may only be reached in all of a group at once, is `none`. */
static int64_t next_number(struct column *c, int64_t none)
{
	const uint8_t *p;
	int32_t bytes = next_element(c, &p);
	uint64_t v = 0;

	if (bytes < 0)
		return none;
	for (int32_t i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return bytes == 2 ? (int16_t)v : bytes == 4 ? (int32_t)v : (int64_t)v;
}

static struct ledger_job *job_of(struct world *w, int64_t id)
{
	if (id > 0 && (uint64_t)id < w->led->job_count)
		return &w->led->job[id];
	WRONG(w, (uint64_t)id);
	return NULL;
}

/* ---- tables ---- */
static void insert_live(struct world *w, struct column *c)
{
	while (c[QB_COL_INS_ID].left) {
		uint64_t id = (uint64_t)next_number(&c[QB_COL_INS_ID], 0);
		int64_t state = next_number(&c[QB_COL_INS_STATE], -1);
		const uint8_t *p = NULL;
		int32_t bytes;

		next_number(&c[QB_COL_INS_DUE], 0);
		next_number(&c[QB_COL_INS_TENANT], 0);
		int64_t max = next_number(&c[QB_COL_INS_MAX], -1), effect = next_number(&c[QB_COL_INS_EFFECT], -1);
		struct ledger_job *l = job_of(w, (int64_t)id);

		bytes = next_element(&c[QB_COL_INS_PAYLOAD], &p);
		if (!l)
			return;
		if (max != PLAN_MAX_ATTEMPTS || effect != (int64_t)plan_class(w->led, id) ||
		    (state != QB_JOB_READY && state != QB_JOB_WAITING && state != QB_JOB_AMBIGUOUS) ||
		    bytes != (int32_t)plan_payload_bytes(id) || ledger_get(&l->stored))
			WRONG(w, id);
		for (int32_t i = 0; i < bytes; i++)
			if (p[i] != plan_payload_byte(id, (uint32_t)i)) {
				WRONG(w, id);
				break;
			}
		ledger_set(&l->live, 1);
	}
}

static void update_live(struct world *w, struct column *c)
{
	while (c[QB_COL_UPD_ID].left) {
		int64_t id = next_number(&c[QB_COL_UPD_ID], 0), state = next_number(&c[QB_COL_UPD_STATE], -1);
		struct ledger_job *l = job_of(w, id);

		/* A row that is not there would be updated in vain. */
		if (l && (!ledger_get(&l->live) || (state != QB_JOB_WAITING && state != QB_JOB_AMBIGUOUS)))
			WRONG(w, (uint64_t)id);
	}
}

/* A row is there or not; a second one for the same job must say the same. */
static void insert_outcome(struct world *w, struct column *c)
{
	uint64_t id = (uint64_t)next_number(&c[QB_COL_OUT_ID], 0);
	uint32_t state = (uint32_t)next_number(&c[QB_COL_OUT_STATE], 0);
	uint32_t attempt = (uint32_t)next_number(&c[QB_COL_OUT_ATTEMPT], 0);
	uint32_t failures = (uint32_t)next_number(&c[QB_COL_OUT_FAILURES], 0);
	struct ledger_job *l = job_of(w, (int64_t)id);
	const uint8_t *p = NULL;
	int32_t bytes = next_element(&c[QB_COL_OUT_RESULT], &p);
	int32_t want = state == QB_JOB_DONE ? (int32_t)plan_result_bytes(id, attempt) : 0;

	if (!l)
		return;
	if (bytes != (want ? want : -1))
		WRONG(w, id);
	for (int32_t i = 0; i < bytes; i++)
		if (p[i] != plan_result_byte(id, attempt, (uint32_t)i)) {
			WRONG(w, id);
			break;
		}
	if (ledger_get(&l->stored)) {
		if (ledger_get(&l->stored) != state + 1 || ledger_get(&l->stored_attempt) != attempt ||
		    ledger_get(&l->stored_failures) != failures)
			WRONG(w, id);
		return;
	}
	ledger_set(&l->stored_attempt, attempt);
	ledger_set(&l->stored_failures, failures);
	__atomic_store_n(&l->stored, state + 1, __ATOMIC_RELEASE);
	/* The row alone must tell the truth, from the moment of the commit. */
	if (oracle_row(&w->oracle, id) < 0)
		WRONG(w, id);
}

/* Each record once, in order, without a gap, and whole. */
static void insert_events(struct world *w, struct column *c)
{
	while (c[QB_COL_EV_SEAT].left) {
		uint64_t seat = (uint64_t)next_number(&c[QB_COL_EV_SEAT], 0) % LEDGER_SEATS;
		uint64_t seq = (uint64_t)next_number(&c[QB_COL_EV_SEQ], 0), *last = &w->led->event_seq[seat];
		uint32_t type = (uint32_t)next_number(&c[QB_COL_EV_TYPE], 0);
		uint64_t id = (uint64_t)next_number(&c[QB_COL_EV_JOB], 0);
		uint64_t arg0 = (uint64_t)next_number(&c[QB_COL_EV_ARG0], 0);
		uint64_t arg1 = (uint64_t)next_number(&c[QB_COL_EV_ARG1], 0);

		if (*last != 0 && seq > *last + 1)
			WRONG(w, id);
		if (seq > *last)
			__atomic_store_n(last, seq, __ATOMIC_RELAXED);
		if (type >= QB_EV_TYPE_COUNT || (!w->led->engine_events && arg1 != plan_event_mark(id, arg0)))
			WRONG(w, id);
	}
}

static void apply(struct world *w)
{
	struct column c[QB_COL_COUNT];

	begin_columns(&w->batch, c);
	insert_live(w, c);
	update_live(w, c);
	while (c[QB_COL_OUT_ID].left)
		insert_outcome(w, c);
	insert_events(w, c);
}

/* ---- transactions of the workers ---- */
void world_land(struct world *w, uint32_t seat)
{
	uint64_t sent = __atomic_exchange_n(&w->led->tx_sent[seat], 0, __ATOMIC_ACQ_REL);

	if (sent)
		ledger_tx_commit(&w->led->job[sent >> 8], (uint32_t)sent & 0xff);
}

/* ---- the doubts ---- */
static void resolve(struct world *w, uint32_t slot_idx, uint64_t word, uint32_t to, uint64_t id)
{
	uint32_t attempt = qb_word_attempt(word), bytes = to == QB_JOB_DONE ? plan_result_bytes(id, attempt) : 0;
	uint8_t result[PLAN_RESULT_MAX];

	for (uint32_t i = 0; i < bytes; i++)
		result[i] = plan_result_byte(id, attempt, i);
	/* QB_FULL: the results before this one are not durable yet; it is still ambiguous at the next look. */
	int rc = qb_job_resolve(&w->seg, w->batch.own_seat, slot_idx, word, to, result, bytes);

	if (rc < 0)
		WRONG(w, id);
	w->resolved += rc == 0;
}

/* First the fence, which waits for a running commit and shuts out a later one; then the look. */
static void ask(struct world *w, uint32_t slot_idx, uint64_t word, uint64_t id)
{
	uint32_t attempt = qb_word_attempt(word);
	struct ledger_job *l = &w->led->job[id];

	QB_WORLD_POINT();
	uint64_t row = ledger_tx_fence(l, attempt + 1);

	QB_WORLD_POINT();
	resolve(w, slot_idx, word, row >> (32 + attempt) & 1 ? QB_JOB_DONE : QB_JOB_READY, id);
}

static unsigned decide(struct world *w, uint32_t slot_idx)
{
	struct qb_job_shm *job = &w->seg.jobs[slot_idx];
	uint64_t word = qb_load_acquire64(&job->word), sync = qb_load_acquire64(&job->sync);

	if (qb_word_state(word) != QB_JOB_AMBIGUOUS)
		return 0;
	uint64_t id = job->job_id, before = w->resolved;
	struct ledger_job *l = job_of(w, (int64_t)id);
	int is_known = qb_sync_gen(sync) == qb_word_gen(word) && qb_sync_stage_of(sync) == QB_SYNC_FINAL &&
		       qb_sync_attempt(sync) == qb_word_attempt(word);

	if (!l)
		return 0;
	if (plan_class(w->led, id) == PLAN_TRANSACTIONAL) {
		ask(w, slot_idx, word, id);
	} else if (is_known) {
		/* A person looks at it, in the database, and gives it up. */
		w->oracle.ambiguous++;
		w->oracle.ambiguous_without_effect += !(ledger_effects(l) >> qb_word_attempt(word) & 1);
		resolve(w, slot_idx, word, QB_JOB_DEAD, id);
	}
	return w->resolved != before;
}

unsigned world_decide(struct world *w)
{
	uint32_t end = qb_load_acquire32(&w->seg.hdr->high_water);
	unsigned decided = 0;

	/* Plainly read, so that looking costs no switch: who is looked for stays until it is resolved. */
	for (uint32_t i = 0; i < end && i < w->seg.cfg.job_count; i++)
		if (qb_word_state(__atomic_load_n(&w->seg.jobs[i].word.v, __ATOMIC_RELAXED)) == QB_JOB_AMBIGUOUS)
			decided += decide(w, i);
	for (uint32_t seat = 1; seat < w->seg.cfg.seat_count && seat < LEDGER_SEATS; seat++)
		if (__atomic_load_n(&w->led->tx_sent[seat], __ATOMIC_RELAXED))
			world_land(w, seat);
	return decided;
}

unsigned world_sync(struct world *w)
{
	struct qb_batch *b = &w->batch;

	if (qb_batch_gather(b) == 0)
		return world_decide(w);
	uint64_t n = __atomic_fetch_add(&w->led->batches, 1, __ATOMIC_RELAXED);
	unsigned jobs = b->jobs_count;

	w->synced_jobs += jobs;
	QB_WORLD_POINT();
	if (!REFUSED(n))
		apply(w);
	QB_WORLD_POINT();
	if (REFUSED(n) || UNANSWERED(n))
		qb_batch_undo(b);
	else
		qb_batch_done(b);
	return jobs + world_decide(w);
}
