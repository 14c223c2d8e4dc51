/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Temporaries. Their writer holds a lock on the open file: it is gone when the last descriptor is, so with the process,
 * and no number of a process has to be believed.
 */
#include "cache/storage-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "shm/fault.h"

/* 0, or -errno: -EAGAIN, -EACCES: somebody has it. */
static int lock(int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	while (fcntl(fd, F_OFD_SETLK, &l) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int qb_temp_alive(int fd)
{
	struct flock l = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	/* Who cannot ask does not say that somebody is dead. */
	return fcntl(fd, F_OFD_GETLK, &l) != 0 || l.l_type != F_UNLCK;
}

/* Does that name still stand for the open file? */
static int is_named(int dir, const char *name, int fd)
{
	struct stat a, b;

	return fstat(fd, &a) == 0 && fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int draw_name(struct qb_temp *t)
{
	uint64_t n;

	while (getrandom(&n, sizeof(n), 0) != sizeof(n))
		if (errno != EINTR)
			return -errno;
	snprintf(t->name, sizeof(t->name), STORE_TEMP "%016" PRIx64, n);
	return 0;
}

/* 0, 1: another name is needed, or -errno. */
static int try_to_make(int dir, struct qb_temp *t)
{
	int rc = draw_name(t);

	if (rc < 0)
		return rc;
	t->fd = openat(dir, t->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (t->fd < 0)
		return errno == EEXIST || errno == EINTR ? 1 : -errno;
	QB_FAULT("store.put.after-create");
	rc = lock(t->fd);
	/* Whoever swept took it for a dead one's: it had no lock yet. Both look at it after locking, so one of the two gives way. */
	if (rc == 0 && is_named(dir, t->name, t->fd)) {
		QB_FAULT("store.put.after-lock");
		return 0;
	}
	qb_temp_drop(dir, t);
	return rc == 0 || rc == -EAGAIN || rc == -EACCES ? 1 : rc;
}

int qb_temp_make(int dir, struct qb_temp *t)
{
	int rc = 1;

	for (unsigned i = 0; rc == 1 && i < STORE_TRIES; i++)
		rc = try_to_make(dir, t);
	return rc == 1 ? -EEXIST : rc;
}

void qb_temp_drop(int dir, struct qb_temp *t)
{
	unlinkat(dir, t->name, 0);
	close(t->fd);
	t->fd = -1;
}

int qb_temp_sweep(int dir, const char *name)
{
	int fd = qb_open_below(dir, name, O_RDWR), swept = 0;
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lock(fd) == 0 && is_named(dir, name, fd))
		swept = unlinkat(dir, name, 0) == 0;
	close(fd);
	if (swept)
		QB_FAULT("store.sweep.after-unlink");
	return swept;
}

void qb_growing_name(const char *address, char out[STORE_NAME_MAX + 16])
{
	snprintf(out, STORE_NAME_MAX + 16, STORE_GROWING "%.*s", STORE_NAME_MAX, address);
}
