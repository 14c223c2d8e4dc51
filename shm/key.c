/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/key.h"

#include <string.h>

#include "shm/fault.h"
#include "shm/seat.h"

/* ---- packed words ---- */

/* Of a cell and of pending: used:1 | 0:17 | gen:26 | job:20. */
static uint64_t entry_of(uint32_t slot_idx, uint32_t gen)
{
	return 1ull << 63 | (uint64_t)(gen & QB_GEN_MASK) << 20 | (slot_idx & (QB_JOB_MAX - 1));
}
static uint32_t entry_slot(uint64_t e) { return (uint32_t)e & (QB_JOB_MAX - 1); }
static uint32_t entry_gen(uint64_t e) { return (uint32_t)(e >> 20) & QB_GEN_MASK; }

/*
 * Who has the key of a job that asks: its own gen:26, the holder's slot:20 + 1 at 17, the low 17 bits of the holder's gen.
 * The other 9 are in the word that refuses: so the two together are exact, and late hands find another gen here.
 */
#define HOLDER_GEN_BITS 17u

static uint64_t holder_none(uint32_t own_gen)
{
	return (uint64_t)own_gen << 38;
}
static uint64_t holder_word(uint32_t own_gen, uint64_t entry)
{
	return holder_none(own_gen) | (uint64_t)(entry_slot(entry) + 1) << HOLDER_GEN_BITS |
	       (entry_gen(entry) & ((1u << HOLDER_GEN_BITS) - 1));
}

/* The same job, one step further in FILLING. */
static uint64_t filling_word(uint64_t w, enum qb_filling to, uint32_t holder_gen)
{
	return qb_word(qb_word_gen(w), holder_gen >> HOLDER_GEN_BITS, qb_word_seat(w), to, QB_JOB_FILLING);
}
static int asks(uint64_t w)
{
	return qb_word_state(w) == QB_JOB_FILLING && qb_word_failures(w) == QB_FILLING_ASKS;
}

/* ---- the index ---- */

static uint32_t bucket_of(const struct qb_seg *seg, const struct qb_key *key)
{
	return (uint32_t)(key->lo & (seg->sec[QB_SEC_KEYS].count - 1));
}

/*
 * The key of that slot, and the word at a moment before and at one after: when both are of one generation that has
 * left the submitter's hands, it is its key.
 */
static uint64_t read_key(const struct qb_job_shm *job, struct qb_key *key, uint64_t *before)
{
	/*
	 * [key.R1] Sees: the key that was written before the word asked. Pairs with: [key.W1].
	 * [key.R2] Sees: a key of a later generation only together with a later word, below. Pairs with: [job.W14].
	 */
	*before = qb_load_acquire64(&job->word);
	key->hi = qb_load_acquire64(&job->key_hi);
	key->lo = qb_load_acquire64(&job->key_lo);
	return qb_load_acquire64(&job->word);
}

enum seen {
	SEEN_OTHER,     /* a job that lives or asks: stays */
	SEEN_HOLDER,    /* a job that lives, with this key */
	SEEN_OVER,      /* of no use to anybody, now and for ever */
};

static enum seen look(const struct qb_seg *seg, uint64_t entry, const struct qb_key *key)
{
	const struct qb_job_shm *job = qb_seg_job(seg, entry_slot(entry));
	struct qb_key its;
	uint64_t w;

	if (entry == 0 || !job)
		return SEEN_OVER;
	uint32_t gen_after = qb_word_gen(read_key(job, &its, &w));

	if (qb_word_gen(w) != entry_gen(entry) || gen_after != entry_gen(entry))
		return SEEN_OVER;
	if (qb_word_holds_key(w))
		return its.hi == key->hi && its.lo == key->lo ? SEEN_HOLDER : SEEN_OTHER;
	/* It has been put here and is about to be accepted: it must not lose its place. */
	if (qb_word_state(w) == QB_JOB_FILLING && qb_word_failures(w) <= QB_FILLING_ASKS)
		return SEEN_OTHER;
	return SEEN_OVER;
}

/* What a pass over the cells of a bucket has met. */
struct pass {
	uint64_t holder;        /* entry of a job that had the key, 0 = none */
	int has_own;            /* `own` has its entry */
	uint32_t place;         /* a cell that may be overwritten, or QB_KEY_CELLS */
	uint64_t old;           /* what is in it */
};

static struct pass pass_over(const struct qb_seg *seg, const struct qb_key_bucket_shm *bucket, const struct qb_key *key,
			     uint64_t own)
{
	struct pass p = { .place = QB_KEY_CELLS };

	for (uint32_t i = 0; i < QB_KEY_CELLS; i++) {
		/* [key.R3] Sees: the entry of each job that was accepted before. Pairs with: [key.W3]. */
		uint64_t entry = qb_load_acquire64(&bucket->cell[i]);

		if (own && entry == own) {
			p.has_own = 1;
			continue;
		}
		switch (look(seg, entry, key)) {
		case SEEN_HOLDER:
			p.holder = entry;
			return p;
		case SEEN_OVER:
			if (p.place == QB_KEY_CELLS) {
				p.place = i;
				p.old = entry;
			}
			break;
		default:
			break;
		}
	}
	return p;
}

static struct qb_key_holder holder_of(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen)
{
	struct qb_key_holder h = { .slot_idx = slot_idx, .gen = gen };
	const struct qb_job_shm *job = qb_seg_job(seg, slot_idx);

	if (!job)
		return h;
	/* [key.R2] As above: of a later generation only together with a later word. */
	uint64_t id = qb_load_acquire64((const qb_au64 *)(const void *)&job->job_id);

	if (qb_word_gen(qb_load_acquire64(&job->word)) == gen)
		h.job_id = id;
	return h;
}

/* ---- admission ---- */

static void withdraw(struct qb_key_bucket_shm *bucket, uint64_t pending)
{
	/*
	 * [key.W5] Publishes: this admission is decided, the bucket is open for the next. Pairs with: [key.R4].
	 * Killed before this: the next who comes here finds the word decided, and does it.
	 */
	qb_cas_acq_rel64(&bucket->pending, &pending, 0);
	QB_FAULT("key.help.after-withdrawn");
}

/* The admission that was found pending in that bucket is decided when this returns, and is not pending any more. */
static void help(const struct qb_seg *seg, uint32_t bucket_idx, uint64_t pending)
{
	struct qb_key_bucket_shm *bucket = &seg->keys[bucket_idx];
	struct qb_job_shm *job = qb_seg_job(seg, entry_slot(pending));
	uint32_t gen = entry_gen(pending);
	struct qb_key key;
	uint64_t w;

	while (job) {
		/* Of this generation, of this bucket (it may be that of 2^26 generations ago), and undecided. */
		if (read_key(job, &key, &w) != w || qb_word_gen(w) != gen || !asks(w) || bucket_of(seg, &key) != bucket_idx)
			break;
		struct pass p = pass_over(seg, bucket, &key, pending);

		if (p.holder) {
			uint64_t none = holder_none(gen);

			/*
			 * [key.W2] Publishes: who has the key, before the word that refuses. Pairs with: [key.R5].
			 * All who help find the same one: nobody else can be admitted with this key meanwhile.
			 */
			qb_cas_acq_rel64(&job->holder, &none, holder_word(gen, p.holder));
			QB_FAULT("key.help.after-holder");
			/* [key.W4] Decides: refused. Pairs with: [key.R5]. Killed before: the next helper decides. */
			qb_cas_acq_rel64(&job->word, &w, filling_word(w, QB_FILLING_DUPLICATE, entry_gen(p.holder)));
			QB_FAULT("key.help.after-refused");
			break;
		}
		if (!p.has_own && p.place == QB_KEY_CELLS) {
			/* [key.W4] Decides: refused, for want of room. */
			qb_cas_acq_rel64(&job->word, &w, filling_word(w, QB_FILLING_NO_ROOM, 0));
			QB_FAULT("key.help.after-no-room");
			break;
		}
		/*
		 * [key.W3] Publishes: where this job is found, before it is accepted. Pairs with: [key.R3].
		 * Killed after this: an entry that counts when the job is accepted, and is free when it is not.
		 */
		if (!p.has_own && !qb_cas_acq_rel64(&bucket->cell[p.place], &p.old, pending))
			continue;
		QB_FAULT("key.help.after-placed");
		/*
		 * [key.W4] Decides: accepted. As [job.W2], on behalf of the submitter, who offers it; when it is dead its
		 * recovery does. Pairs with: [key.R5], [job.R1].
		 */
		qb_cas_acq_rel64(&job->word, &w, qb_word(gen, 0, 0, 0, QB_JOB_READY));
		QB_FAULT("key.help.after-accepted");
		break;
	}
	withdraw(bucket, pending);
}

/* Until the word has left ASKS; the word then. */
static uint64_t be_decided(const struct qb_seg *seg, uint32_t slot_idx, uint64_t asking, const struct qb_key *key)
{
	uint32_t idx = bucket_of(seg, key);
	struct qb_key_bucket_shm *bucket = &seg->keys[idx];
	uint64_t own = entry_of(slot_idx, qb_word_gen(asking)), w;

	/* [key.R5] Sees: the decision, whoever made it, and the holder. Pairs with: [key.W4], [key.W2]. */
	while ((w = qb_load_acquire64(&seg->jobs[slot_idx].word)) == asking) {
		/* [key.R4] Sees: the admission under way, its key and what was admitted before. Pairs with: [key.W6], [key.W5]. */
		uint64_t pending = qb_load_acquire64(&bucket->pending);

		/*
		 * [key.W6] Publishes: this job asks here; nobody else is admitted in this bucket until it is decided.
		 * Pairs with: [key.R4]. Killed before this: never accepted. After: accepted or not, as the word says.
		 */
		if (pending == 0 && qb_cas_acq_rel64(&bucket->pending, &pending, own))
			pending = own;
		QB_FAULT("key.submit.after-announced");
		if (pending != 0)
			help(seg, idx, pending);
	}
	return w;
}

static int refused(const struct qb_seg *seg, uint32_t seat, uint32_t slot_idx, uint64_t w, struct qb_key_holder *holder)
{
	struct qb_job_shm *job = &seg->jobs[slot_idx];
	int is_duplicate = qb_word_failures(w) == QB_FILLING_DUPLICATE;

	/* Relaxed: published by the word that refuses, [key.W4]. */
	uint64_t h = qb_load_relaxed64(&job->holder);

	qb_job_give_back(seg, slot_idx, w, job->block_first);
	QB_FAULT("key.submit.after-given-back");
	if (!is_duplicate) {
		qb_count(seg, seat, QB_COUNT_SUBMIT_FULL, 1);
		return QB_FULL;
	}
	*holder = holder_of(seg, ((uint32_t)(h >> HOLDER_GEN_BITS) & 0x1fffff) - 1,
			    qb_word_attempt(w) << HOLDER_GEN_BITS | ((uint32_t)h & ((1u << HOLDER_GEN_BITS) - 1)));
	return QB_DUPLICATE;
}

int qb_job_submit_unique(const struct qb_seg *seg, uint32_t seat, const struct qb_submit *what, struct qb_held *ref,
			 struct qb_key_holder *holder)
{
	struct qb_held filling;

	if (what->key.hi == 0 && what->key.lo == 0)
		return QB_EUSAGE;
	/* Spares the slot and the payload; who is not found here may still be refused below. */
	if (qb_key_find(seg, &what->key, holder) == QB_OK)
		return QB_DUPLICATE;
	int rc = qb_job_fill(seg, seat, what, &filling);

	if (rc != QB_OK)
		return rc;
	uint32_t idx = filling.slot_idx, gen = qb_word_gen(filling.word);
	struct qb_job_shm *job = &seg->jobs[idx];
	uint64_t asking = filling_word(filling.word, QB_FILLING_ASKS, 0);

	/* Relaxed: before the word that asks; whoever writes it compares, and comes after that word. */
	qb_store_relaxed64(&job->holder, holder_none(gen));
	/*
	 * [key.W1] Publishes: descriptor, payload and key, to whoever helps. Pairs with: [key.R1].
	 * From here on the slot is in everybody's hands. Killed after this: as in FILLING, recovery frees the slot.
	 */
	if (!qb_cas_acq_rel64(&job->word, &filling.word, asking))
		return QB_EFENCED;
	QB_FAULT("key.submit.after-asking");
	uint64_t w = be_decided(seg, idx, asking, &what->key);

	/* Only we end a generation that was refused; one that was accepted may be over by now. */
	if (qb_word_gen(w) == gen && qb_word_state(w) == QB_JOB_FILLING)
		return refused(seg, seat, idx, w, holder);
	*ref = (struct qb_held){ .slot_idx = idx, .word = qb_word(gen, 0, 0, 0, QB_JOB_READY) };
	qb_job_accepted(seg, seat, idx, ref->word);
	return QB_OK;
}

/* ---- looking ---- */

int qb_key_find(const struct qb_seg *seg, const struct qb_key *key, struct qb_key_holder *holder)
{
	struct pass p = pass_over(seg, &seg->keys[bucket_of(seg, key)], key, 0);

	if (!p.holder)
		return QB_EMPTY;
	*holder = holder_of(seg, entry_slot(p.holder), entry_gen(p.holder));
	return QB_OK;
}

int qb_key_is_held(const struct qb_seg *seg, const struct qb_key_holder *holder)
{
	const struct qb_job_shm *job = qb_seg_job(seg, holder->slot_idx);
	/* [key.R6] Sees: what the holder did before it ended. Pairs with: [job.W5], [job.W8]. */
	uint64_t w = job ? qb_load_acquire64(&job->word) : 0;

	return job && qb_word_gen(w) == holder->gen && qb_word_holds_key(w);
}

static int has_key(const struct qb_seg *seg, uint32_t slot_idx, uint64_t *w, struct qb_key *key)
{
	uint64_t after = read_key(&seg->jobs[slot_idx], key, w);

	return qb_word_holds_key(*w) && qb_word_gen(after) == qb_word_gen(*w) && (key->hi || key->lo);
}

int qb_key_rebuild(const struct qb_seg *seg)
{
	/* Relaxed, and the plain zeroes: nobody else is at work. */
	uint32_t end = qb_load_relaxed32(&seg->hdr->high_water);
	int rc = QB_OK;

	memset(seg->keys, 0, seg->sec[QB_SEC_KEYS].bytes);
	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		struct qb_key key;
		uint64_t w;

		if (!has_key(seg, i, &w, &key))
			continue;
		struct qb_key_bucket_shm *bucket = &seg->keys[bucket_of(seg, &key)];
		uint32_t k = 0;

		while (k < QB_KEY_CELLS && qb_load_relaxed64(&bucket->cell[k]) != 0)
			k++;
		if (k < QB_KEY_CELLS)
			qb_store_relaxed64(&bucket->cell[k], entry_of(i, qb_word_gen(w)));
		else
			rc = QB_FULL;
	}
	return rc;
}

uint32_t qb_key_missing(const struct qb_seg *seg)
{
	uint32_t end = qb_load_relaxed32(&seg->hdr->high_water), missing = 0;

	for (uint32_t i = 0; i < end && i < seg->cfg.job_count; i++) {
		struct qb_key key;
		uint64_t w;

		if (has_key(seg, i, &w, &key) &&
		    !pass_over(seg, &seg->keys[bucket_of(seg, &key)], &key, entry_of(i, qb_word_gen(w))).has_own)
			missing++;
	}
	return missing;
}
