/* SPDX-License-Identifier: Apache-2.0 */
/* Looking and reading. A reader has the file open: what becomes of its name is nothing to it. */
#include "cache/storage-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/strbuf.h"
#include "shm/status.h"

#define LOOK_NS (2 * QB_NS_PER_MS)      /* between two looks for the next chunk, at first */
#define LOOK_MAX_NS (50 * QB_NS_PER_MS)

struct qb_store_reader {
	int fd;
	int growing;
	uint64_t wait_ns;
	char *name;
};

void qb_store_info_of(const struct stat *st, int growing, struct qb_store_info *info)
{
	*info = (struct qb_store_info){
		.bytes = (uint64_t)st->st_size,
		.mtime_ns = (uint64_t)st->st_mtim.tv_sec * QB_NS_PER_S + (uint64_t)st->st_mtim.tv_nsec,
		.chunked = growing || (st->st_mode & STORE_COMPLETE),
		.complete = !growing,
	};
}

/* The fd of a regular file; -ENOENT for none and for a directory; -errno. */
static int open_file(int dir, const char *name, struct stat *st)
{
	int fd = qb_open_below(dir, name, O_RDONLY);

	if (fd < 0)
		return fd;
	int rc = fstat(fd, st) != 0 ? -errno : S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? -ENOENT : -EINVAL;

	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* One that grows, and somebody is at it. */
static int open_growing(const struct qb_place *p, struct stat *st)
{
	char name[STORE_NAME_MAX + 16];

	qb_growing_name(p->address, name);
	int fd = open_file(qb_place_dir(p), name, st);

	if (fd < 0)
		return fd;
	/* Complete: it is the item by now, or was. */
	if (!(st->st_mode & STORE_COMPLETE) && qb_temp_alive(fd))
		return fd;
	close(fd);
	return -ENOENT;
}

int qb_place_look(const struct qb_place *p, int *fd, struct stat *st, int *growing)
{
	/* The item once more behind the growing one, which may have become it between the two looks. */
	for (unsigned look = 0; look < 3; look++) {
		*growing = look == 1;
		*fd = *growing ? open_growing(p, st) : open_file(qb_place_dir(p), p->address, st);
		if (*fd >= 0)
			return 1;
		if (*fd != -ENOENT)
			return *fd;
	}
	return 0;
}

/* 1 with a descriptor, 0, negative. */
static int find(struct qb_store *s, const char *dir, const char *address, int *fd, struct stat *st, int *growing, struct qb_err *err)
{
	struct qb_place p;
	int rc = qb_place_open(s, dir, address, 0, &p, err);

	if (rc <= 0)
		return rc;
	rc = qb_place_look(&p, fd, st, growing);
	if (rc == -ELOOP || rc == -EINVAL)
		rc = qb_err_set(err, rc, "%.240s in %.300s/%.200s is not a regular file: it is not followed", address, s->root, dir);
	else if (rc < 0)
		rc = qb_place_fail(&p, -rc, "open", err);
	qb_place_close(&p);
	return rc;
}

int qb_store_check(struct qb_store *s, const char *dir, const char *address, struct qb_store_info *info, struct qb_err *err)
{
	struct stat st;
	int fd, growing, rc = find(s, dir, address, &fd, &st, &growing, err);

	if (rc <= 0)
		return rc;
	if (info)
		qb_store_info_of(&st, growing, info);
	close(fd);
	return 1;
}

int qb_store_get(struct qb_store *s, const char *dir, const char *address, struct qb_store_reader **out, struct qb_store_info *info,
		 struct qb_err *err)
{
	struct stat st;
	int fd, growing, rc = find(s, dir, address, &fd, &st, &growing, err);

	if (rc <= 0)
		return rc;
	if (info)
		qb_store_info_of(&st, growing, info);
	*out = qb_xmalloc(sizeof(**out));
	**out = (struct qb_store_reader){
		.fd = fd, .growing = growing, .wait_ns = s->cfg.chunk_wait_ns, .name = qb_xstrdup(address),
	};
	return 1;
}

static ssize_t read_some(int fd, void *data, size_t cap)
{
	ssize_t n;

	do {
		n = read(fd, data, cap);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Is all of it there? 1, 0, or -EPIPE: it never will be. */
static int is_complete(int fd)
{
	struct stat st;
	/* Asked first: who completes an item lets go of it afterwards. */
	int alive = qb_temp_alive(fd);

	if (fstat(fd, &st) != 0)
		return -errno;
	return st.st_mode & STORE_COMPLETE ? 1 : alive ? 0 : -EPIPE;
}

/* At the end of what is there: the next chunk, or the end of all. */
static ssize_t read_next_chunk(struct qb_store_reader *r, void *data, size_t cap, struct qb_err *err)
{
	uint64_t until_ns = qb_now_ns() + r->wait_ns, nap_ns = LOOK_NS;

	for (;;) {
		/* Before the read: what was written before it was complete is found by that read. */
		int complete = is_complete(r->fd);
		ssize_t n = read_some(r->fd, data, cap);

		if (n != 0)
			return n;
		if (complete == 1) {
			r->growing = 0;
			return 0;
		}
		if (complete < 0)
			return qb_err_set(err, complete, "%.240s is not complete, and who wrote it has given up or died", r->name);
		if (qb_now_ns() >= until_ns)
			return qb_err_set(err, QB_ETIMEOUT, "the next chunk of %.240s has not come in %llu ms", r->name,
					  (unsigned long long)(r->wait_ns / QB_NS_PER_MS));
		qb_sleep_ns(nap_ns);
		nap_ns = nap_ns * 2 < LOOK_MAX_NS ? nap_ns * 2 : LOOK_MAX_NS;
	}
}

ssize_t qb_store_read(struct qb_store_reader *r, void *data, size_t cap, struct qb_err *err)
{
	if (cap == 0)
		return 0;
	ssize_t n = read_some(r->fd, data, cap);

	if (n == 0 && r->growing) {
		struct qb_err own = { 0 };

		n = read_next_chunk(r, data, cap, &own);
		if (own.code) {
			if (err)
				*err = own;
			return n;
		}
	}
	return n < 0 ? qb_err_errno(err, (int)-n, "could not read %.240s", r->name) : n;
}

void qb_store_reader_close(struct qb_store_reader *r)
{
	if (!r)
		return;
	close(r->fd);
	free(r->name);
	free(r);
}

/* Grows by what comes: the size of one that is not complete says little. */
static int read_all(struct qb_store_reader *r, size_t max, size_t expected, void **data, size_t *bytes, struct qb_err *err)
{
	size_t cap = (expected < max ? expected : max) + 1, used = 0;
	char *buf = qb_xmalloc(cap);

	for (;;) {
		ssize_t n = qb_store_read(r, buf + used, cap - used, err);

		if (n < 0) {
			free(buf);
			return (int)n;
		}
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max) {
			free(buf);
			return qb_err_set(err, QB_ETOOBIG, "%.240s is larger than %zu bytes", r->name, max);
		}
		if (used == cap) {
			cap = cap < max / 2 ? cap * 2 : max + 1;
			buf = qb_xrealloc(buf, cap);
		}
	}
	*data = buf;
	*bytes = used;
	return 1;
}

int qb_store_get_bytes(struct qb_store *s, const char *dir, const char *address, size_t max, void **data, size_t *bytes,
		       struct qb_store_info *info, struct qb_err *err)
{
	struct qb_store_reader *r;
	struct qb_store_info own;
	int rc = qb_store_get(s, dir, address, &r, &own, err);

	if (rc <= 0)
		return rc;
	if (max > SIZE_MAX / 4)
		max = SIZE_MAX / 4;
	rc = own.complete && own.bytes > max ? qb_err_set(err, QB_ETOOBIG, "%.240s is larger than %zu bytes", address, max) :
					       read_all(r, max, (size_t)own.bytes, data, bytes, err);
	/* It was still growing when it was opened, and now all of it has been read. */
	if (rc == 1 && !own.complete) {
		own.complete = 1;
		own.bytes = *bytes;
	}
	if (info && rc == 1)
		*info = own;
	qb_store_reader_close(r);
	return rc;
}
