/* SPDX-License-Identifier: Apache-2.0 */
/* Removing, moving, copying. */
#include "cache/storage-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cache/storage-put.h"
#include "shm/fault.h"
#include "shm/status.h"

/* 1: one that somebody was at is out of sight; it comes back when it is complete, as a put that came later. */
static int remove_growing(const struct qb_place *p)
{
	char name[STORE_NAME_MAX + 16];
	struct stat st;
	int fd, growing, there = qb_place_look(p, &fd, &st, &growing) == 1;

	if (there)
		close(fd);
	if (!there || !growing)
		return 0;
	qb_growing_name(p->address, name);
	return unlinkat(qb_place_dir(p), name, 0) == 0;
}

/* 1: there is a regular file; 0; negative errno. */
static int is_item(const struct qb_place *p, struct stat *st)
{
	if (fstatat(qb_place_dir(p), p->address, st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISREG(st->st_mode) ? 1 : S_ISDIR(st->st_mode) ? 0 : -EINVAL;
}

int qb_store_remove(struct qb_store *s, const char *dir, const char *address, struct qb_err *err)
{
	struct qb_place p;
	struct stat st;
	int rc = qb_place_open(s, dir, address, 0, &p, err);

	if (rc <= 0)
		return rc;
	rc = is_item(&p, &st);
	if (rc == 1 && unlinkat(qb_place_dir(&p), address, 0) != 0)
		rc = errno == ENOENT ? 0 : -errno;
	else if (rc == 1)
		QB_FAULT("store.remove.after-unlink");
	if (rc == 0)
		rc = remove_growing(&p);
	if (rc == 1 && s->cfg.durable) {
		int synced = qb_place_sync(&p);

		rc = synced < 0 ? synced : 1;
	}
	if (rc < 0)
		qb_place_fail(&p, -rc, "remove", err);
	qb_place_prune(&p);
	qb_place_close(&p);
	return rc;
}

/* ---- copies ---- */

struct from {
	struct qb_store_reader *r;
	uint64_t bytes;
};

static int pass_on(void *ctx, struct qb_store_sink *sink, struct qb_err *err)
{
	struct from *f = ctx;
	char buf[65536];
	ssize_t n;

	while ((n = qb_store_read(f->r, buf, sizeof(buf), err)) > 0) {
		int rc = sink->write(sink, buf, (size_t)n, err);

		if (rc < 0)
			return rc;
	}
	return (int)n;
}

static int is_busy(const char *address, struct qb_err *err)
{
	return qb_err_set(err, QB_EBUSY, "%.240s is still being written", address);
}

/* keep_time: the copy is as old as what it was made of. */
static int copy(struct qb_store *s, const char *dir, const char *address, struct qb_store *to, const char *to_dir,
		const char *to_address, int keep_time, struct qb_err *err)
{
	struct from f = { 0 };
	struct qb_store_info info;
	int rc = qb_store_get(s, dir, address, &f.r, &info, err);

	if (rc <= 0)
		return rc;
	if (info.complete) {
		const struct qb_put put = {
			.resolver = pass_on, .ctx = &f, .chunked = info.chunked, .hidden = 1, .mtime_ns = keep_time ? info.mtime_ns : 0,
		};

		rc = qb_store_put_as(to, to_dir, to_address, &put, err);
	} else {
		rc = is_busy(address, err);
	}
	qb_store_reader_close(f.r);
	return rc < 0 ? rc : 1;
}

int qb_store_copy(struct qb_store *s, const char *dir, const char *address, struct qb_store *to, const char *to_dir,
		  const char *to_address, struct qb_err *err)
{
	int rc = qb_place_check(to_dir, to_address, err);

	return rc < 0 ? rc : copy(s, dir, address, to, to_dir, to_address, 0, err);
}

/* To another file system: what was copied is removed, unless it is another item by now. */
static int move_across(struct qb_place *from, const struct stat *moved, struct qb_store *to, const char *to_dir, const char *to_address,
		       struct qb_err *err)
{
	struct stat st;
	int rc = copy(from->s, from->dir, from->address, to, to_dir, to_address, 1, err);

	if (rc <= 0)
		return rc;
	QB_FAULT("store.move.after-copy");
	if (is_item(from, &st) == 1 && st.st_ino == moved->st_ino && st.st_ctim.tv_sec == moved->st_ctim.tv_sec &&
	    st.st_ctim.tv_nsec == moved->st_ctim.tv_nsec && unlinkat(qb_place_dir(from), from->address, 0) != 0 && errno != ENOENT)
		return qb_place_fail(from, errno, "remove, after it was copied elsewhere,", err);
	return 1;
}

/* What was put without durability is moved into a store that promises it. */
static int sync_item(const struct qb_place *p)
{
	int fd = qb_open_below(qb_place_dir(p), p->address, O_RDONLY), rc = 0;

	if (fd < 0)
		return fd;
	while (fsync(fd) != 0 && rc == 0)
		rc = errno == EINTR ? 0 : -errno;
	close(fd);
	return rc;
}

/* 1; 0: the target's directory was removed under our hands, or the item itself; -EXDEV; negative errno. */
static int rename_item(struct qb_place *from, struct qb_place *target)
{
	int durable = from->s->cfg.durable || target->s->cfg.durable;
	int rc = target->s->cfg.durable ? sync_item(from) : 0;

	if (rc == 0 && renameat(qb_place_dir(from), from->address, qb_place_dir(target), target->address) != 0)
		rc = -errno;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	QB_FAULT("store.move.after-rename");
	/* The new name first: in between a power cut may leave both, and never none. */
	if (durable && ((rc = qb_place_sync(target)) < 0 || (rc = qb_place_sync(from)) < 0))
		return rc;
	return 1;
}

static int move(struct qb_place *from, struct qb_store *to, const char *to_dir, const char *to_address, struct qb_err *err)
{
	struct qb_place target;
	struct stat st;
	int rc = 0;

	for (unsigned i = 0; i < STORE_TRIES; i++) {
		int fd, growing;

		rc = is_item(from, &st);
		if (rc < 0)
			return qb_place_fail(from, -rc, "move", err);
		if (rc == 0) {
			rc = qb_place_look(from, &fd, &st, &growing);
			if (rc == 1)
				close(fd);
			return rc == 1 && growing ? is_busy(from->address, err) : 0;
		}
		rc = qb_place_open(to, to_dir, to_address, 1, &target, err);
		if (rc < 0)
			return rc;
		rc = rename_item(from, &target);
		if (rc < 0 && rc != -EXDEV)
			qb_place_fail(&target, -rc, "move another item to", err);
		if (rc != 1)
			qb_place_prune(&target);
		qb_place_close(&target);
		if (rc != 0)
			break;
	}
	return rc == -EXDEV ? move_across(from, &st, to, to_dir, to_address, err) : rc;
}

int qb_store_move(struct qb_store *s, const char *dir, const char *address, struct qb_store *to, const char *to_dir,
		  const char *to_address, struct qb_err *err)
{
	struct qb_place from;
	int rc = qb_place_check(to_dir, to_address, err);

	if (rc == 0)
		rc = qb_place_open(s, dir, address, 0, &from, err);
	if (rc <= 0)
		return rc;
	rc = move(&from, to, to_dir, to_address, err);
	qb_place_prune(&from);
	qb_place_close(&from);
	return rc;
}
