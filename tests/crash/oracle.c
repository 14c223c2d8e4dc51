/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/oracle.h"

#include <stdio.h>
#include <string.h>

/* The states once more, by number. */
enum {
	FREE, FILLING, READY, CLAIMED, STARTED, DONE, FAILED, AMBIGUOUS, SYNCED, WAITING, DEAD, STATES
};
/* The sections once more, by number. */
enum {
	SEATS, JOBS, FREE_MAP, DIRTY_MAP, WAIT_MAP, RINGS, BLOCK_MAP, BLOCKS, ARENAS, EVENTS, EFFECTS, META, KEYS
};

#define BAD(...)                                                   \
	do {                                                       \
		snprintf(o->why, sizeof(o->why), __VA_ARGS__);     \
		return -1;                                         \
	} while (0)
#define ULL(x) ((unsigned long long)(x))

static uint64_t get64(const uint8_t *p)
{
	return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static uint32_t get32(const uint8_t *p)
{
	return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

struct section { uint64_t off, bytes, stride, count; };

static struct section section_of(const struct oracle *o, unsigned kind)
{
	struct section s;

	memcpy(&s, o->base + ORACLE_HEADER_SECTIONS + kind * sizeof(s), sizeof(s));
	return s;
}

static const uint8_t *element(const struct oracle *o, unsigned kind, uint64_t i)
{
	struct section s = section_of(o, kind);

	return o->base + s.off + i * s.stride;
}

static int bit(const struct oracle *o, unsigned kind, uint64_t i)
{
	return (int)(get64(element(o, kind, i / 64)) >> (i % 64) & 1);
}

/* Bit by bit, the polynomial itself: slow and different from the engine's. */
static uint32_t crc_of(const uint8_t *p, uint32_t bytes)
{
	uint32_t crc = 0xffffffffu;

	for (uint32_t i = 0; i < bytes; i++) {
		crc ^= p[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	}
	return ~crc;
}

static unsigned bits_in(uint32_t v)
{
	return (unsigned)__builtin_popcount(v);
}

/* Attempts 1..n as a mask. */
static uint32_t upto(uint32_t n)
{
	return n >= 31 ? 0xfffffffeu : (1u << (n + 1)) - 2;
}

/* The job as its word tells it, or as the database has it. */
struct tale {
	uint64_t id;
	uint32_t state, attempt, failures, seat, gen;
};

/* Its effect happens once, and then it is done: nothing is guessed. */
static int judge_transaction(struct oracle *o, const struct tale *t, uint32_t effects, uint32_t now)
{
	int may_have = t->state == STARTED || t->state == AMBIGUOUS || t->state == DONE || t->state == SYNCED;

	if (bits_in(effects) > 1)
		BAD("job %llu: transactional, with effects in attempts %x: doubled", ULL(t->id), effects);
	if (effects & ~(may_have ? now : 0))
		BAD("job %llu in state %u at attempt %u: its effect was in attempts %x and it is not done", ULL(t->id), t->state,
		    t->attempt, effects);
	return 0;
}

/* ---- is what happened allowed, given the state that the job is in? ---- */
static int judge(struct oracle *o, const struct tale *t, const struct ledger_job *l)
{
	uint32_t effects = ledger_effects(l), reported = ledger_get(&l->ambiguous_mask);
	uint32_t completed = ledger_get(&l->completed_mask), failed = ledger_get(&l->failed_mask);
	uint32_t now = t->attempt < 32 ? 1u << t->attempt : 0;
	enum plan_class class = plan_class(o->led, t->id);
	int opaque = class == PLAN_OPAQUE;

	if (ledger_get(&l->twice_mask))
		BAD("job %llu: attempts %x had their effect twice", ULL(t->id), ledger_get(&l->twice_mask));
	if (effects & ledger_get(&l->never_mask))
		BAD("job %llu: attempts %x were called never started and had their effect", ULL(t->id),
		    effects & ledger_get(&l->never_mask));
	if (effects & ~upto(t->attempt))
		BAD("job %llu: an effect of attempt mask %x, but the word is at attempt %u", ULL(t->id), effects,
		    t->attempt);
	/* Attempts that are over: each effect among them is a counted failure or was reported. */
	int has_outcome = t->state == DONE || t->state == SYNCED || t->state == STARTED;
	uint32_t over = has_outcome || t->state == CLAIMED ? upto(t->attempt - 1) : upto(t->attempt);

	if (bits_in(effects & ~reported & over) > t->failures)
		BAD("job %llu in state %u: effects in attempts %x, %u failures, reported %x: silent duplicate", ULL(t->id),
		    t->state, effects, t->failures, reported);
	if (completed && !((t->state == DONE || t->state == SYNCED) && completed == now))
		BAD("job %llu: completion of attempts %x was acknowledged, state is %u at attempt %u", ULL(t->id),
		    completed, t->state, t->attempt);
	if (bits_in(failed) > t->failures)
		BAD("job %llu: %u failures were acknowledged, the word counts %u", ULL(t->id), bits_in(failed),
		    t->failures);
	if (t->state == DONE && !(effects & now))
		BAD("job %llu: done at attempt %u without its effect", ULL(t->id), t->attempt);
	if (t->state == AMBIGUOUS && (class == PLAN_IDEMPOTENT || !(reported & now)))
		BAD("job %llu: ambiguous, but %s", ULL(t->id),
		    class == PLAN_IDEMPOTENT ? "it may be run again" : "never reported");
	if (class == PLAN_TRANSACTIONAL && judge_transaction(o, t, effects, now) < 0)
		return -1;
	if (opaque && (reported & ~now))
		BAD("job %llu: opaque and run again after attempt mask %x was reported", ULL(t->id), reported & ~now);
	/* Or a person gave it up. */
	if (t->state == DEAD && t->attempt < o->max_claims && !(opaque && (reported & now)))
		BAD("job %llu: given up at attempt %u of %u", ULL(t->id), t->attempt, o->max_claims);
	if (t->state == FAILED && !plan_is_permanent(t->id) && t->failures < PLAN_MAX_ATTEMPTS)
		BAD("job %llu: failed for good after %u failures", ULL(t->id), t->failures);
	if (t->failures > (plan_is_permanent(t->id) ? 1 : plan_failures(t->id)))
		BAD("job %llu: %u failures, more than it can have", ULL(t->id), t->failures);
	return 0;
}

/* ---- payload, result ---- */
static int check_payload(struct oracle *o, uint64_t slot, const uint8_t *job, const struct tale *t, uint64_t *blocks)
{
	struct section s = section_of(o, BLOCKS);
	uint32_t bytes = get32(job + 56), idx = get32(job + 64), done = 0;
	uint32_t room = (uint32_t)s.stride - ORACLE_BLOCK_HEAD;
	uint64_t tag = 1ull << 63 | slot << 26 | t->gen;
	uint8_t all[PLAN_PAYLOAD_MAX];

	if (bytes != plan_payload_bytes(t->id))
		BAD("job %llu: %u payload bytes instead of %u", ULL(t->id), bytes, plan_payload_bytes(t->id));
	for (; done < bytes; done += room) {
		if (idx >= s.count)
			BAD("job %llu: payload chain leaves the table", ULL(t->id));
		const uint8_t *b = element(o, BLOCKS, idx);

		if (get64(b) != tag)
			BAD("job %llu: block %u has tag %llx", ULL(t->id), idx, ULL(get64(b)));
		memcpy(all + done, b + ORACLE_BLOCK_HEAD, bytes - done < room ? bytes - done : room);
		idx = get32(b + 8);
		++*blocks;
	}
	for (uint32_t i = 0; i < bytes; i++)
		if (all[i] != plan_payload_byte(t->id, i))
			BAD("job %llu: payload byte %u is torn", ULL(t->id), i);
	if (crc_of(all, bytes) != get32(job + 60))
		BAD("job %llu: payload check sum", ULL(t->id));
	return 0;
}

static int check_result(struct oracle *o, uint64_t slot, const uint8_t *job, const struct tale *t)
{
	struct section s = section_of(o, ARENAS);
	uint32_t bytes = get32(job + 68), want = plan_result_bytes(t->id, t->attempt);
	uint64_t pos = get64(job + 72), size = 1;

	while (size * 2 <= s.stride - 128)
		size *= 2;
	if (bytes != want)
		BAD("job %llu: result of %u bytes instead of %u", ULL(t->id), bytes, want);
	if (bytes == 0)
		return 0;
	if (t->seat == 0 || t->seat >= s.count)
		BAD("job %llu: result of seat %u", ULL(t->id), t->seat);
	const uint8_t *entry = element(o, ARENAS, t->seat) + 128 + (pos & (size - 1));

	if (get64(entry) >> 22 != ((uint64_t)t->gen << 16 | t->attempt) || get32(entry + 8) != slot ||
	    get32(entry + 12) != bytes)
		BAD("job %llu: its place in the arena holds somebody else's result", ULL(t->id));
	for (uint32_t i = 0; i < bytes; i++)
		if (entry[ORACLE_ENTRY_HEAD + i] != plan_result_byte(t->id, t->attempt, i))
			BAD("job %llu: result byte %u is wrong", ULL(t->id), i);
	if (crc_of(entry + ORACLE_ENTRY_HEAD, bytes) != get32(job + 80))
		BAD("job %llu: result check sum", ULL(t->id));
	return 0;
}

/* ---- the slots ---- */
static int in_ring(const struct oracle *o, uint64_t slot, uint32_t gen)
{
	for (unsigned r = 0; r < 2; r++) {
		const uint8_t *ring = element(o, RINGS, r);
		uint64_t head = get64(ring), tail = get64(ring + 128);
		uint64_t count = 2 * section_of(o, JOBS).count;

		/* One beyond tail: its pusher may have died before it moved it. */
		for (uint64_t p = head; p <= tail && p < head + count; p++) {
			uint64_t s = get64(ring + 256 + (p & (count - 1)) * 8);

			if ((s >> 39 & 1) && (s & 0xfffff) == slot && (s >> 20 & 0x7ffff) == (gen & 0x7ffff) &&
			    s >> 40 == (p / count & 0xffffff))
				return 1;
		}
	}
	return 0;
}

/* Hint bits that must be there when nobody is at work any more. */
static int check_hints(struct oracle *o, uint64_t slot, const uint8_t *job, const struct tale *t)
{
	uint64_t sync = get64(job + 8);
	uint32_t stage = sync >> 38 == t->gen ? (uint32_t)sync & 0x3f : 0;
	int news = t->state == DONE || t->state == FAILED || t->state == DEAD || t->state == SYNCED || stage == 0 ||
		   (t->state == AMBIGUOUS && stage != 3) ||
		   (t->state == WAITING && (stage != 2 || (uint32_t)(sync >> 6 & 0xffff) != t->attempt));

	if (t->state == READY && !in_ring(o, slot, t->gen))
		BAD("job %llu: ready and in no ring: nobody will find it", ULL(t->id));
	if (t->state == WAITING && !bit(o, WAIT_MAP, slot))
		BAD("job %llu: waiting without its bit: nobody will promote it", ULL(t->id));
	if (t->state == WAITING && get64(o->base + 1408) > get64(job + 24))
		BAD("job %llu: due at %llu, next look at %llu", ULL(t->id), ULL(get64(job + 24)),
		    ULL(get64(o->base + 1408)));
	if (news && !bit(o, DIRTY_MAP, slot))
		BAD("job %llu in state %u: news that the syncer is not told of", ULL(t->id), t->state);
	return 0;
}

static int may_run(uint32_t state)
{
	return state == READY || state == CLAIMED || state == STARTED || state == WAITING || state == AMBIGUOUS;
}

/* A key is that of one job that lives, which can be found by it. */
static int check_key(struct oracle *o, uint64_t slot, const uint8_t *job, const struct tale *t)
{
	uint64_t hi = get64(job + 88), lo = get64(job + 96), entry = 1ull << 63 | (uint64_t)t->gen << 20 | slot;
	int found = 0;

	if ((hi == 0 && lo == 0) || !may_run(t->state))
		return 0;
	for (uint64_t i = 0; i < slot; i++) {
		const uint8_t *other = element(o, JOBS, i);

		if (may_run((uint32_t)get64(other) & 0x3f) && get64(other + 88) == hi && get64(other + 96) == lo)
			BAD("jobs %llu and %llu live and have one key: doubled", ULL(get64(other + 16)), ULL(t->id));
	}
	const uint8_t *bucket = element(o, KEYS, lo & (section_of(o, KEYS).count - 1));

	for (unsigned i = 1; i < 16; i++)
		found |= get64(bucket + i * 8) == entry;
	if (!found)
		BAD("job %llu lives and cannot be found by its key", ULL(t->id));
	return 0;
}

static int check_slot(struct oracle *o, uint64_t slot, uint64_t *blocks, uint8_t *seen)
{
	const uint8_t *job = element(o, JOBS, slot);
	uint64_t w = get64(job);
	struct tale t = { .state = (uint32_t)w & 0x3f, .failures = (uint32_t)(w >> 6) & 0xf,
			  .seat = (uint32_t)(w >> 10) & 0xfff, .attempt = (uint32_t)(w >> 22) & 0xffff,
			  .gen = (uint32_t)(w >> 38) };
	int held = t.state == FILLING || t.state == CLAIMED || t.state == STARTED;

	if (t.state >= STATES)
		BAD("slot %llu: word %llx", ULL(slot), ULL(w));
	if (slot >= get32(o->base + ORACLE_HIGH_WATER) && w != 0)
		BAD("slot %llu is used, above the high-water mark", ULL(slot));
	uint64_t sync = get64(job + 8);

	if (held && !(o->live_seats >> t.seat & 1))
		BAD("slot %llu: still in state %u, held by the dead seat %u", ULL(slot), t.state, t.seat);
	if (t.state == FREE && !o->live_seats && !bit(o, FREE_MAP, slot))
		BAD("slot %llu is free without its bit: lost for ever", ULL(slot));
	if (t.state == FREE || t.state == FILLING)
		return 0;
	t.id = get64(job + 16);
	if (t.id == 0 || t.id >= o->led->job_count || !ledger_get(&o->led->job[t.id].submitted))
		BAD("slot %llu holds job %llu, which nobody submitted", ULL(slot), ULL(t.id));
	const struct ledger_job *l = &o->led->job[t.id];

	if (seen[t.id]++)
		BAD("job %llu is in two slots", ULL(t.id));
	if (judge(o, &t, l) < 0)
		return -1;
	if (sync >> 38 == t.gen && (sync & 0x3f) != 0 && !ledger_get(&l->live) && !ledger_get(&l->stored))
		BAD("job %llu: noted as durable, and the database does not have it", ULL(t.id));
	if (o->live_seats)
		return 0;
	if (t.state == AMBIGUOUS) {
		o->ambiguous++;
		o->ambiguous_without_effect += !(ledger_effects(l) >> t.attempt & 1);
	}
	if (check_payload(o, slot, job, &t, blocks) < 0 || check_key(o, slot, job, &t) < 0)
		return -1;
	if (t.state == DONE && check_result(o, slot, job, &t) < 0)
		return -1;
	return check_hints(o, slot, job, &t);
}

/* Each block is free with its bit, or belongs to a chain that was counted. */
static int check_blocks(struct oracle *o, uint64_t in_chains)
{
	struct section s = section_of(o, BLOCKS);
	uint64_t used = 0;

	for (uint64_t i = 0; i < s.count; i++) {
		if (get64(element(o, BLOCKS, i)) != 0)
			used++;
		else if (!bit(o, BLOCK_MAP, i))
			BAD("block %llu is free without its bit: lost for ever", ULL(i));
	}
	if (used != in_chains)
		BAD("%llu blocks are in use, the jobs have %llu: leaked", ULL(used), ULL(in_chains));
	return 0;
}

static int check_events(struct oracle *o)
{
	struct section s = section_of(o, EVENTS);
	uint64_t count = 1;

	while (count * 2 * 64 <= s.stride - ORACLE_EVENT_RING_HEAD)
		count *= 2;
	for (uint64_t seat = 1; seat < s.count; seat++) {
		const uint8_t *ring = element(o, EVENTS, seat);
		uint64_t tail = get64(ring), last = 0;

		for (uint64_t i = 0; i < count; i++) {
			const uint8_t *e = ring + ORACLE_EVENT_RING_HEAD + i * 64;
			uint64_t seq = get64(e);

			if (seq == 0)
				continue;
			if (((seq - 1) & (count - 1)) != i)
				BAD("seat %llu: record %llu has sequence %llu", ULL(seat), ULL(i), ULL(seq));
			if (seq > last)
				last = seq;
			if (!o->led->engine_events && (get64(e + 24) != get64(e + 32) ||
						       get64(e + 40) != plan_event_mark(get64(e + 16), get64(e + 32))))
				BAD("seat %llu: record with sequence %llu is torn", ULL(seat), ULL(seq));
		}
		/* The tail word may be one behind; never more, and never ahead of what is written. */
		if (last > tail + 1)
			BAD("seat %llu: records up to %llu, tail at %llu", ULL(seat), ULL(last), ULL(tail));
		if (tail > last && tail - last > 0 && last != 0)
			BAD("seat %llu: tail at %llu, records only up to %llu", ULL(seat), ULL(tail), ULL(last));
	}
	return 0;
}

int oracle_row(struct oracle *o, uint64_t id)
{
	const struct ledger_job *l = &o->led->job[id];
	struct tale t = { .id = id, .state = ledger_get(&l->stored) - 1, .attempt = ledger_get(&l->stored_attempt),
			  .failures = ledger_get(&l->stored_failures) };

	if (t.state != DONE && t.state != FAILED && t.state != DEAD)
		BAD("job %llu: the database has it in state %u", ULL(id), t.state);
	return judge(o, &t, l);
}

int oracle_seat_is_clear(struct oracle *o, uint32_t seat)
{
	struct section jobs = section_of(o, JOBS);

	for (uint64_t i = 0; i < jobs.count; i++) {
		uint64_t w = get64(element(o, JOBS, i));
		uint32_t state = (uint32_t)w & 0x3f;

		if (((uint32_t)(w >> 10) & 0xfff) == seat && (state == FILLING || state == CLAIMED || state == STARTED))
			BAD("slot %llu: still in state %u, held by the dead seat %u", ULL(i), state, seat);
	}
	return 0;
}

static int in_segment(const struct oracle *o, uint64_t id)
{
	struct section jobs = section_of(o, JOBS);

	for (uint64_t i = 0; i < jobs.count; i++)
		if (get64(element(o, JOBS, i) + 16) == id && (get64(element(o, JOBS, i)) & 0x3f) > FILLING)
			return 1;
	return 0;
}

int oracle_nothing_lost(struct oracle *o, uint64_t *from)
{
	uint64_t next = __atomic_load_n(&o->led->next_id, __ATOMIC_ACQUIRE);

	for (uint64_t id = *from, moving = 1; id + 1 < next && id < o->led->job_count; id++) {
		const struct ledger_job *l = &o->led->job[id];
		int promised = ledger_get(&l->accepted) != 0, ended = ledger_get(&l->stored) != 0;

		/* Not promised although the submitter went on: it was killed in between, both is right. */
		moving = moving && (ended || !promised);
		if (moving)
			*from = id + 1;
		if (!promised || ended || in_segment(o, id))
			continue;
		/* It may have come to its end between the two looks. */
		if (!__atomic_load_n(&l->stored, __ATOMIC_ACQUIRE))
			BAD("job %llu was accepted and is nowhere: lost", ULL(id));
	}
	return 0;
}

int oracle_check(struct oracle *o)
{
	static uint8_t seen[1 << 22];
	struct section jobs = section_of(o, JOBS);
	uint64_t blocks = 0, last = o->led->last_id;

	o->why[0] = 0;
	o->images++;
	if (o->led->wrong)
		BAD("an actor's own check failed: line %u, job %llu", o->led->wrong, ULL(o->led->wrong_job));
	memset(seen, 0, o->led->job_count < sizeof(seen) ? o->led->job_count : sizeof(seen));
	for (uint64_t i = 0; i < jobs.count; i++)
		if (check_slot(o, i, &blocks, seen) < 0)
			return -1;
	for (uint64_t id = 1; id <= last && id < o->led->job_count; id++) {
		const struct ledger_job *l = &o->led->job[id];

		if (ledger_get(&l->stored) && oracle_row(o, id) < 0)
			return -1;
		if (ledger_get(&l->accepted) && !seen[id] && !ledger_get(&l->stored))
			BAD("job %llu was accepted and is nowhere: lost", ULL(id));
	}
	if (o->live_seats)
		return 0;
	if (check_blocks(o, blocks) < 0)
		return -1;
	return check_events(o);
}

int oracle_final(struct oracle *o)
{
	struct section jobs = section_of(o, JOBS);

	if (oracle_check(o) < 0)
		return -1;
	for (uint64_t i = 0; i < jobs.count; i++)
		if ((get64(element(o, JOBS, i)) & 0x3f) != FREE)
			BAD("slot %llu is still in state %llu at the end: stuck", ULL(i),
			    ULL(get64(element(o, JOBS, i)) & 0x3f));
	for (uint64_t id = 1; id <= o->led->last_id && id < o->led->job_count; id++)
		if (ledger_get(&o->led->job[id].accepted) && !ledger_get(&o->led->job[id].stored))
			BAD("job %llu was accepted and never stored: lost", ULL(id));
	return 0;
}
