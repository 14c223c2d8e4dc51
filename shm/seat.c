/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/seat.h"

#include "shm/fault.h"

int qb_seat_take(const struct qb_seg *seg, uint32_t role)
{
	for (uint32_t i = 1; i < seg->cfg.seat_count; i++) {
		struct qb_seat_shm *s = &seg->seats[i];
		/* [seat.R3] Sees: the end of the recovery of the last one who sat here. Pairs with: [seat.W5]. */
		uint64_t w = qb_load_acquire64(&s->word);

		if (qb_seat_state_of(w) != QB_SEAT_FREE)
			continue;
		/* A free seat is written by nobody else: only the taker below may go on. */
		/*
		 * [seat.W1] Publishes: "taken". Pairs with: [seat.R4].
		 * Killed before this: free. After: taken without a pid, recovered as such.
		 */
		if (!qb_cas_acq_rel64(&s->word, &w,
				      qb_seat_word(qb_seat_incarnation(w) + 1, role, QB_SEAT_TAKEN)))
			continue;
		QB_FAULT("seat.take.after-cas");
		return (int)i;
	}
	return QB_ENOSEAT;
}

/* Of two incarnations of a seat; they wrap. */
static int is_older(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* Since when that process lives. It is stored before its name, and never over a younger one's. */
static int write_birth(struct qb_seat_shm *s, uint32_t incarnation, uint64_t start_ticks)
{
	uint64_t mine = qb_seat_birth(incarnation, start_ticks);
	/* [seat.R2] Sees: the birth of another incarnation; one that is not older stays. Pairs with: [seat.W6]. */
	uint64_t b = qb_load_acquire64(&s->birth);

	for (;;) {
		int32_t behind = (int32_t)((incarnation - (uint32_t)(b >> 40)) << 8);

		/* The same incarnation is the same process: its parent was faster. */
		if (behind <= 0)
			return behind == 0 ? 0 : QB_EFENCED;
		/* [seat.W6] Publishes: nothing by itself, see [seat.W2]. Killed after this: no name, nobody reads it. */
		if (qb_cas_acq_rel64(&s->birth, &b, mine))
			return 0;
	}
}

static int write_name(struct qb_seat_shm *s, uint32_t incarnation, uint32_t pid, uint64_t start_ticks)
{
	uint64_t mine = qb_seat_name_of(incarnation, pid);

	if (write_birth(s, incarnation, start_ticks) < 0)
		return QB_EFENCED;
	/* [seat.R1] Sees: a name of this incarnation (the same, or "closed") or a younger one. Pairs with: [seat.W2], [seat.W7]. */
	uint64_t n = qb_load_acquire64(&s->name);

	while (n != mine) {
		if (!is_older(qb_seat_incarnation(n), incarnation))
			return QB_EFENCED;
		/*
		 * [seat.W2] Publishes: the name, with its birth. Pairs with: [seat.R5].
		 * Killed before this: nobody has sat down. After: somebody has, whose death is waited for.
		 */
		if (qb_cas_acq_rel64(&s->name, &n, mine))
			break;
	}
	QB_FAULT("seat.name.after-cas");
	return 0;
}

int qb_seat_name(const struct qb_seg *seg, uint32_t seat, uint32_t pid, uint64_t start_ticks)
{
	struct qb_seat_shm *s = &seg->seats[seat];
	/* [seat.R4] Sees: who took it. Pairs with: [seat.W1]. */
	uint64_t w = qb_load_acquire64(&s->word);

	return qb_seat_state_of(w) == QB_SEAT_TAKEN ? write_name(s, qb_seat_incarnation(w), pid, start_ticks) : QB_EFENCED;
}

int qb_seat_sit(const struct qb_seg *seg, uint32_t seat, uint32_t incarnation, uint32_t pid, uint64_t start_ticks)
{
	struct qb_seat_shm *s = qb_seg_seat(seg, seat);

	/* Once its name is there, whoever recovers the seat kills it first: it needs no second look at the word. */
	return s ? write_name(s, incarnation, pid, start_ticks) : QB_EFENCED;
}

uint32_t qb_seat_who(const struct qb_seg *seg, uint32_t seat, uint64_t *start_ticks)
{
	const struct qb_seat_shm *s = &seg->seats[seat];
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(&s->word);
	/* [seat.R5] Sees: the name, and with it the birth. Pairs with: [seat.W2]. */
	uint64_t n = qb_load_acquire64(&s->name);
	/* Relaxed: ordered by the name; of a younger one if the seat has gone on, and then its name is not asked for. */
	uint64_t b = qb_load_relaxed64(&s->birth);

	if (qb_seat_state_of(w) == QB_SEAT_FREE || qb_seat_incarnation(n) != qb_seat_incarnation(w) ||
	    b >> 40 != (qb_seat_incarnation(n) & 0xffffff))
		return 0;
	if (start_ticks)
		*start_ticks = b & 0xffffffffffull;
	return (uint32_t)n;
}

static void close_name(struct qb_seat_shm *s, uint32_t incarnation)
{
	/* [seat.R5] As above. */
	uint64_t n = qb_load_acquire64(&s->name);

	while (is_older(qb_seat_incarnation(n), incarnation)) {
		/*
		 * [seat.W7] Publishes: nobody has sat down and nobody will. Pairs with: [seat.R1].
		 * Killed before this: the next recoverer closes it.
		 */
		if (qb_cas_acq_rel64(&s->name, &n, qb_seat_name_of(incarnation, 0)))
			break;
	}
	QB_FAULT("seat.close.after-cas");
}

void qb_seat_close(const struct qb_seg *seg, uint32_t seat)
{
	struct qb_seat_shm *s = &seg->seats[seat];
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(&s->word);

	if (qb_seat_state_of(w) != QB_SEAT_FREE)
		close_name(s, qb_seat_incarnation(w));
}

int qb_seat_set_role(const struct qb_seg *seg, uint32_t seat, uint32_t role)
{
	qb_au64 *word = &seg->seats[seat].word;
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(word);

	while (qb_seat_state_of(w) == QB_SEAT_TAKEN) {
		/* [seat.W4] Publishes: the role; the go word does the rest. Pairs with: [wait.R1]. */
		if (qb_cas_acq_rel64(word, &w, qb_seat_word(qb_seat_incarnation(w), role, QB_SEAT_TAKEN)))
			return 0;
	}
	return QB_EFENCED;
}

int qb_seat_begin_recovery(const struct qb_seg *seg, uint32_t seat)
{
	if (!qb_seg_seat(seg, seat))
		return QB_EFENCED;
	qb_au64 *word = &seg->seats[seat].word;
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(word);

	while (qb_seat_state_of(w) == QB_SEAT_TAKEN) {
		/*
		 * [seat.W3] Publishes: "recovering": nobody gives it another role or takes it. Pairs with: [seat.R3], [seat.R4].
		 * Killed before this: the next recoverer starts over.
		 */
		if (qb_cas_acq_rel64(word, &w, qb_seat_word(qb_seat_incarnation(w), qb_seat_role(w),
							    QB_SEAT_RECOVERING)))
			break;
	}
	QB_FAULT("seat.recover.after-cas");
	if (qb_seat_state_of(w) == QB_SEAT_FREE)
		return QB_EFENCED;
	close_name(&seg->seats[seat], qb_seat_incarnation(w));
	return 0;
}

void qb_seat_free(const struct qb_seg *seg, uint32_t seat)
{
	struct qb_seat_shm *s = &seg->seats[seat];
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(&s->word);

	if (qb_seat_state_of(w) == QB_SEAT_FREE)
		return;
	/* The name stays, of an incarnation that is over. Relaxed: seen with the free seat. */
	qb_store_relaxed64(&s->ready_raw, 0);
	qb_store_relaxed64(&s->ending, 0);
	qb_store_relaxed32(&s->backend_pid, 0);
	qb_store_relaxed32(&s->asleep, 0);
	qb_store_relaxed32(&s->go, 0);
	/*
	 * [seat.W5] Publishes: an empty seat, after the end of its recovery. Pairs with: [seat.R3], [event.R3].
	 * Killed before this: recovering; the next recoverer starts over.
	 */
	qb_cas_acq_rel64(&s->word, &w, qb_seat_word(qb_seat_incarnation(w), QB_ROLE_NONE, QB_SEAT_FREE));
	QB_FAULT("seat.free.after-cas");
}

uint64_t qb_count_sum(const struct qb_seg *seg, enum qb_seat_counter which)
{
	uint64_t sum = 0;

	for (uint32_t i = 1; i < seg->cfg.seat_count; i++)
		sum += qb_load_relaxed64(&seg->seats[i].counter[which]);
	return sum;
}
