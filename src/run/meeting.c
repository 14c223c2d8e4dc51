/* SPDX-License-Identifier: Apache-2.0 */
#include "run/meeting.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "shm/status.h"

/* From the arrival of the last: long enough that the others, woken by it, are back on a core. */
#define AIM_NS (200 * QB_NS_PER_US)
#define LOOK_NS (100 * QB_NS_PER_MS)

void qb_futex_sleep(qb_au32 *word, uint32_t expected, uint64_t timeout_ns)
{
	struct timespec t = { .tv_sec = (time_t)(timeout_ns / QB_NS_PER_S), .tv_nsec = (long)(timeout_ns % QB_NS_PER_S) };

	syscall(SYS_futex, &word->v, FUTEX_WAIT, expected, &t, NULL, 0);
}

void qb_futex_wake_all(qb_au32 *word)
{
	syscall(SYS_futex, &word->v, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int map(int fd, size_t bytes, void **at)
{
	*at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *at == MAP_FAILED ? -errno : 0;
}

int qb_shared_create(const char *path, size_t bytes, void **at, struct qb_err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? errno : 0;

	/* Its space is really there, as that of the segment. */
	if (rc == 0)
		rc = posix_fallocate(fd, 0, (off_t)bytes);
	if (rc == 0)
		rc = -map(fd, bytes, at);
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		return 0;
	if (fd >= 0)
		unlink(path);
	return qb_err_errno(err, rc, "could not create %s", path);
}

int qb_shared_attach(const char *path, size_t least, void **at, size_t *bytes)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), rc = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (st.st_size < (off_t)least)
		rc = QB_ETOOSHORT;
	else
		rc = map(fd, (size_t)st.st_size, at);
	close(fd);
	*bytes = rc < 0 ? 0 : (size_t)st.st_size;
	return rc;
}

void qb_meeting_prepare(struct qb_meeting *m)
{
	qb_store_relaxed32(&m->arrived, 0);
}

void qb_meeting_meet(struct qb_meeting *m, uint32_t round, uint32_t count, const qb_au32 *ended)
{
	uint32_t before;

	if (qb_add_acq_rel32(&m->arrived, 1) + 1 == count) {
		qb_store_relaxed64(&m->fire_ns, qb_now_ns() + AIM_NS);
		qb_store_release32(&m->fire_round, round);
		qb_futex_wake_all(&m->fire_round);
	}
	while ((before = qb_load_acquire32(&m->fire_round)) != round && !qb_load_acquire32(ended))
		qb_futex_sleep(&m->fire_round, before, LOOK_NS);
	if (before == round)
		qb_sleep_until_ns(qb_load_relaxed64(&m->fire_ns));
}
