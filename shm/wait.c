/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Not FUTEX_PRIVATE: the word is shared between processes that map it at different addresses. */
static void futex_wait(qb_au32 *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(timeout_ns / 1000000000ull),
		.tv_nsec = (long)(timeout_ns % 1000000000ull),
	};

	syscall(SYS_futex, &word->v, FUTEX_WAIT, expected, &t, NULL, 0);
}

static void futex_wake(qb_au32 *word)
{
	syscall(SYS_futex, &word->v, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static qb_au64 *sleeper_word(const struct qb_seg *seg, uint32_t seat)
{
	return &seg->hdr->sleepers[seat / 64];
}

void qb_park_prepare(const struct qb_seg *seg, uint32_t seat, int takes_jobs)
{
	/* Relaxed: the fence below orders it before the caller's second look. */
	qb_store_relaxed32(&seg->seats[seat].asleep, 1);
	/* [wait.W6] Publishes: a worker that can be chosen. Pairs with: [wait.R3]. Killed after: recovery clears it. */
	if (takes_jobs)
		qb_or_seq_cst64(sleeper_word(seg, seat), 1ull << (seat % 64));
	/*
	 * [wait.W1] Orders: "I sleep" before the sleeper's second look for work (store then load).
	 * Pairs with: [wait.W2] in the waker (work stored, then sleepers loaded): a Dekker pair, one sees the other.
	 * Killed before this: nobody sleeps.
	 */
	qb_fence_seq_cst();
}

static void awake(const struct qb_seg *seg, uint32_t seat)
{
	uint64_t bit = 1ull << (seat % 64);

	qb_store_relaxed32(&seg->seats[seat].asleep, 0);
	/* [wait.W7] Publishes: no longer to be chosen. Pairs with: [wait.R3], which has cleared it if it chose this seat. */
	if (qb_load_relaxed64(sleeper_word(seg, seat)) & bit)
		qb_and_seq_cst64(sleeper_word(seg, seat), ~bit);
}

void qb_park(const struct qb_seg *seg, uint32_t seat, uint64_t timeout_ns)
{
	futex_wait(&seg->seats[seat].asleep, 1, timeout_ns);
	awake(seg, seat);
}

void qb_park_cancel(const struct qb_seg *seg, uint32_t seat)
{
	/*
	 * [wait.R2] Sees: that somebody's wake-up was spent on this process, which found work without it.
	 * Pairs with: [wait.W3]. It is passed on, or another job would wait until a sleeper's time-out.
	 */
	int spent = qb_xchg_acq_rel32(&seg->seats[seat].asleep, 0) == 0;

	awake(seg, seat);
	if (spent)
		qb_wake_worker(seg);
}

/* 1 when this call is the one that woke it. */
static int wake(struct qb_seat_shm *s)
{
	/*
	 * [wait.W3] Publishes: what the waker stored before, to the sleeper that finds 0.
	 * Pairs with: the kernel's futex comparison.
	 * Killed between this and the system call: the sleeper's time-out ends its sleep.
	 */
	if (qb_xchg_acq_rel32(&s->asleep, 0) != 1)
		return 0;
	futex_wake(&s->asleep);
	return 1;
}

int qb_wake_seat(const struct qb_seg *seg, uint32_t seat)
{
	struct qb_seat_shm *s = qb_seg_seat(seg, seat);

	if (!s)
		return 0;
	/* [wait.W2] Orders: the caller's news before the look at the sleeper. Pairs with: [wait.W1]. */
	qb_fence_seq_cst();
	return qb_load_relaxed32(&s->asleep) == 1 && wake(s);
}

int qb_wake_worker(const struct qb_seg *seg)
{
	qb_fence_seq_cst();     /* [wait.W2] */
	for (uint32_t i = 0; i * 64 < seg->cfg.seat_count; i++) {
		uint64_t bits = qb_load_relaxed64(&seg->hdr->sleepers[i]);

		while (bits) {
			uint64_t bit = bits & -bits;
			uint32_t seat = i * 64 + (uint32_t)__builtin_ctzll(bits);

			bits &= ~bit;
			/* [wait.R3] Sees: that this waker, and no other, has this sleeper. Pairs with: [wait.W6], [wait.W7]. */
			if (!(qb_and_seq_cst64(&seg->hdr->sleepers[i], ~bit) & bit))
				continue;       /* another waker took it */
			/* One that is awake already looks for work anyhow, maybe for another's wake-up: go on. */
			if (seat > 0 && seat < seg->cfg.seat_count && wake(&seg->seats[seat]))
				return 1;
		}
	}
	return 0;
}

void qb_wake_all(const struct qb_seg *seg)
{
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++)
		qb_wake_seat(seg, seat);
}

void qb_raise_stop(const struct qb_seg *seg, uint32_t to)
{
	qb_au32 *stop = &seg->hdr->stop;
	uint32_t old = qb_load_relaxed32(stop);

	/* [wait.W5] Publishes: how far the end has come. Pairs with: every loop's look at stop. */
	while (old < to && !qb_cas_acq_rel32(stop, &old, to))
		;
	qb_wake_all(seg);
	/* Standbys sleep on another word; they look at stop when they wake. */
	for (uint32_t seat = 1; seat < seg->cfg.seat_count; seat++)
		if (qb_seat_role(qb_load_relaxed64(&seg->seats[seat].word)) == QB_ROLE_STANDBY)
			futex_wake(&seg->seats[seat].go);
}

int qb_wait_go(const struct qb_seg *seg, uint32_t seat, uint64_t timeout_ns)
{
	struct qb_seat_shm *s = &seg->seats[seat];

	/* [wait.R1] Sees: what the parent wrote before it gave the go. Pairs with: [wait.W4]. */
	if (qb_load_acquire32(&s->go))
		return 1;
	futex_wait(&s->go, 0, timeout_ns);
	return qb_load_acquire32(&s->go) != 0;
}

void qb_give_go(const struct qb_seg *seg, uint32_t seat)
{
	/*
	 * [wait.W4] Publishes: the seat's new role. Pairs with: [wait.R1].
	 * Killed before the wake: the standby's time-out ends its sleep.
	 */
	qb_store_release32(&seg->seats[seat].go, 1);
	futex_wake(&seg->seats[seat].go);
}
