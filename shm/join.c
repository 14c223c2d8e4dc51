/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/join.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/atomic.h"
#include "shm/clock.h"
#include "shm/fault.h"

#define WAITS 1u
#define RELEASE 2u

static int is_over(const struct qb_job_shm *job, uint32_t gen)
{
	/* [join.R1] Sees: what was done before the end. Pairs with: [job.W5], [job.W8], [job.W13], [recovery.W1]. */
	uint64_t w = qb_load_acquire64(&job->word);

	return qb_word_gen(w) != gen || !qb_word_holds_key(w);
}

/* "Somebody waits", and the value that says so. */
static uint32_t announce(struct qb_job_shm *job)
{
	uint32_t v = qb_load_relaxed32(&job->joined);

	/*
	 * [join.W1] Publishes: somebody waits. Pairs with: [join.R2].
	 * Killed after: the bit stays, for one release to clear.
	 */
	while (!(v & WAITS))
		if (qb_cas_acq_rel32(&job->joined, &v, v | WAITS))
			v |= WAITS;
	/*
	 * [join.W2] Orders: the bit before the look at the word. Pairs with: [join.W3], a Dekker pair: who ends the job
	 * sees the bit, or who waits sees the end.
	 */
	qb_fence_seq_cst();
	QB_FAULT("join.wait.after-bit");
	return v;
}

/* Not FUTEX_PRIVATE: between processes. 1: the time was over. */
static int sleep_on(struct qb_job_shm *job, uint32_t expected, uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull) };

	/* The count is part of what the kernel compares: a release in between is seen, also when another waits again. */
	return syscall(SYS_futex, &job->joined.v, FUTEX_WAIT, expected, &t, NULL, 0) < 0 && errno == ETIMEDOUT;
}

enum qb_join_end qb_join_wait(const struct qb_seg *seg, uint32_t slot_idx, uint32_t gen, uint64_t timeout_ns)
{
	struct qb_job_shm *job = qb_seg_job(seg, slot_idx);
	uint64_t began = qb_mono_ns(), deadline = timeout_ns < UINT64_MAX - began ? began + timeout_ns : UINT64_MAX;
	int slept_out = 0;

	if (!job || is_over(job, gen))
		return QB_JOIN_ENDED;
	for (;;) {
		uint32_t v = announce(job);

		if (is_over(job, gen))
			return slept_out ? QB_JOIN_FOUND : QB_JOIN_ENDED;
		uint64_t now = qb_mono_ns();

		if (now >= deadline)
			return QB_JOIN_NOT_YET;
		uint64_t ns = deadline - now;
		int whole = ns >= QB_JOIN_LOOK_NS;

		slept_out = sleep_on(job, v, whole ? QB_JOIN_LOOK_NS : ns) && whole;
	}
}

static void wake_all(struct qb_job_shm *job)
{
	syscall(SYS_futex, &job->joined.v, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void qb_join_release(const struct qb_seg *seg, uint32_t slot_idx)
{
	struct qb_job_shm *job = qb_seg_job(seg, slot_idx);

	if (!job)
		return;
	/* [join.W3] Orders: the end of the job before the look at the bit. Pairs with: [join.W2]. */
	qb_fence_seq_cst();
	/* [join.R2] Sees: that somebody waits. Pairs with: [join.W1]. */
	uint32_t v = qb_load_relaxed32(&job->joined);

	while (v & WAITS) {
		/*
		 * [join.W4] Publishes: released. Pairs with: the kernel's comparison.
		 * Killed between this and the system call: qb_join_repair() wakes them.
		 */
		if (!qb_cas_acq_rel32(&job->joined, &v, v + 1))
			continue;
		QB_FAULT("join.release.after-count");
		wake_all(job);
		break;
	}
}

void qb_join_repair(const struct qb_seg *seg, uint32_t slot_idx)
{
	struct qb_job_shm *job = qb_seg_job(seg, slot_idx);

	if (!job)
		return;
	uint32_t v = qb_load_relaxed32(&job->joined);

	/* [join.W4] As above. The bit stays: the slot may have a job that lives, and whoever waits for it. */
	while (!qb_cas_acq_rel32(&job->joined, &v, v + RELEASE))
		;
	wake_all(job);
}
