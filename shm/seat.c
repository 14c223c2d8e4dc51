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

void qb_seat_name(const struct qb_seg *seg, uint32_t seat, uint32_t pid, uint64_t start_ticks)
{
	struct qb_seat_shm *s = &seg->seats[seat];

	qb_store_relaxed64(&s->start_ticks, start_ticks);
	/* [seat.W2] Publishes: start_ticks, with the pid that it belongs to. Pairs with: the reader of pid. */
	qb_store_release32(&s->pid, pid);
}

int qb_seat_sit(const struct qb_seg *seg, uint32_t seat, uint32_t incarnation, uint32_t pid, uint64_t start_ticks)
{
	struct qb_seat_shm *s = qb_seg_seat(seg, seat);

	if (!s)
		return QB_EFENCED;
	/* [seat.R2] Sees: a seat that is somebody else's by now; it must not get my name. Pairs with: [seat.W5]. */
	uint64_t w = qb_load_acquire64(&s->word);

	if (qb_seat_state_of(w) != QB_SEAT_TAKEN || qb_seat_incarnation(w) != incarnation)
		return QB_EFENCED;
	qb_seat_name(seg, seat, pid, start_ticks);
	/*
	 * [seat.R1] Orders: my pid before my look at the word. Pairs with: [seat.W3] (word, then pid):
	 * either I see "recovering" and leave, or the recoverer sees my pid and confirms my death.
	 */
	qb_fence_seq_cst();
	w = qb_load_acquire64(&s->word);
	if (qb_seat_state_of(w) != QB_SEAT_TAKEN || qb_seat_incarnation(w) != incarnation)
		return QB_EFENCED;
	return 0;
}

int qb_seat_set_role(const struct qb_seg *seg, uint32_t seat, uint32_t role)
{
	qb_au64 *word = &seg->seats[seat].word;
	/* [seat.R4] Sees: who took it. Pairs with: [seat.W1]. */
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
		 * [seat.W3] Publishes: "recovering", before the pid is read. Pairs with: [seat.R1].
		 * Killed before this: the next recoverer starts over.
		 */
		if (qb_cas_acq_rel64(word, &w, qb_seat_word(qb_seat_incarnation(w), qb_seat_role(w),
							    QB_SEAT_RECOVERING)))
			break;
	}
	QB_FAULT("seat.recover.after-cas");
	qb_fence_seq_cst();
	return qb_seat_state_of(w) == QB_SEAT_FREE ? QB_EFENCED : 0;
}

void qb_seat_free(const struct qb_seg *seg, uint32_t seat)
{
	struct qb_seat_shm *s = &seg->seats[seat];
	/* [seat.R4] As above. */
	uint64_t w = qb_load_acquire64(&s->word);

	if (qb_seat_state_of(w) == QB_SEAT_FREE)
		return;
	qb_store_relaxed32(&s->pid, 0);
	qb_store_relaxed64(&s->start_ticks, 0);
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
