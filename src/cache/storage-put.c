/* SPDX-License-Identifier: Apache-2.0 */
/* Putting: a temporary beside the item, locked while it is written, and one rename. */
#include "cache/storage-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strbuf.h"
#include "cache/storage-put.h"
#include "shm/fault.h"
#include "shm/status.h"

struct sink {
	struct qb_store_sink base;      /* first: what the resolver has */
	const struct qb_place *place;
	int fd;
	int rc;                         /* the first failure: a resolver that overlooks it does not make the item whole */
	struct qb_err err;
	uint64_t bytes;
	char *chunk;                    /* NULL: not in chunks */
	size_t used, cap;
};

static int sink_fail(struct sink *k, int rc, struct qb_err *err)
{
	if (k->rc == 0) {
		k->rc = rc;
		qb_place_fail(k->place, -rc, "write", &k->err);
	}
	if (err)
		*err = k->err;
	return k->rc;
}

static int write_plain(struct qb_store_sink *sink, const void *data, size_t bytes, struct qb_err *err)
{
	struct sink *k = (struct sink *)sink;
	int rc = k->rc ? k->rc : qb_write_full(k->fd, data, bytes);

	if (rc < 0)
		return sink_fail(k, rc, err);
	k->bytes += bytes;
	QB_FAULT("store.put.after-write");
	return 0;
}

static int write_chunk(struct sink *k)
{
	int rc = k->used ? qb_write_full(k->fd, k->chunk, k->used) : 0;

	if (rc == 0 && k->used)
		QB_FAULT("store.chunked.after-chunk");
	k->used = 0;
	return rc;
}

/* Readers get whole chunks, whatever pieces the resolver writes. */
static int write_chunked(struct qb_store_sink *sink, const void *data, size_t bytes, struct qb_err *err)
{
	struct sink *k = (struct sink *)sink;
	const char *from = data;
	int rc = k->rc;

	k->bytes += bytes;
	while (bytes > 0 && rc == 0) {
		size_t n = bytes < k->cap - k->used ? bytes : k->cap - k->used;

		memcpy(k->chunk + k->used, from, n);
		k->used += n;
		from += n;
		bytes -= n;
		if (k->used == k->cap)
			rc = write_chunk(k);
	}
	return rc < 0 ? sink_fail(k, rc, err) : 0;
}

/* The temporary's second name, under which it is found while it grows. Without one it is found when it is complete. */
static void publish(const struct qb_place *p, const struct qb_temp *t)
{
	char name[STORE_NAME_MAX + 16];
	int dir = qb_place_dir(p);

	qb_growing_name(p->address, name);
	if (linkat(dir, t->name, dir, name, 0) != 0 &&
	    (errno != EEXIST || !qb_temp_sweep(dir, name) || linkat(dir, t->name, dir, name, 0) != 0))
		return;
	QB_FAULT("store.chunked.after-link");
}

/* Only what is ours. Should it become another's meanwhile, then that one is not seen before it is complete, no more. */
static void unpublish(const struct qb_place *p, const struct qb_temp *t)
{
	char name[STORE_NAME_MAX + 16];
	struct stat a, b;
	int dir = qb_place_dir(p);

	qb_growing_name(p->address, name);
	if (fstat(t->fd, &a) != 0 || fstatat(dir, name, &b, AT_SYMLINK_NOFOLLOW) != 0 || a.st_ino != b.st_ino)
		return;
	if (unlinkat(dir, name, 0) == 0)
		QB_FAULT("store.chunked.after-unlink");
}

static int resolve(const struct qb_place *p, const struct qb_temp *t, const struct qb_put *put, struct qb_err *err)
{
	struct sink k = { .base = { write_plain }, .place = p, .fd = t->fd };

	if (put->chunked) {
		k.base.write = write_chunked;
		k.cap = p->s->cfg.chunk_bytes;
		k.chunk = qb_xmalloc(k.cap);
	}
	int rc = put->resolver(put->ctx, &k.base, err);

	if (rc >= 0 && k.rc == 0 && k.chunk && (rc = write_chunk(&k)) < 0)
		rc = sink_fail(&k, rc, err);
	free(k.chunk);
	if (k.rc < 0) {
		if (err)
			*err = k.err;
		return k.rc;
	}
	if (rc < 0)
		return rc;
	if (put->bytes && put->bytes != k.bytes)
		return qb_err_set(err, QB_EVERIFY, "%llu bytes of %.240s were announced, and %llu came",
				  (unsigned long long)put->bytes, p->address, (unsigned long long)k.bytes);
	return 0;
}

static int sync_file(int fd)
{
	while (fsync(fd) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* What a close would say (NFS writes only then), without letting go of the lock. */
static int close_copy(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	return close(copy) != 0 && errno != EINTR ? -errno : 0;
}

/* All that the new inode needs before its name: a name that comes first can outlive its data in a power cut. */
static int finish_file(const struct qb_place *p, const struct qb_temp *t, const struct qb_put *put)
{
	int rc;

	if (put->mtime_ns) {
		struct timespec times[2] = { { 0, UTIME_OMIT }, { (time_t)(put->mtime_ns / QB_NS_PER_S), (long)(put->mtime_ns % QB_NS_PER_S) } };

		if (futimens(t->fd, times) != 0)
			return -errno;
	}
	if (put->chunked) {
		if (fchmod(t->fd, 0600 | STORE_COMPLETE) != 0)
			return -errno;
		QB_FAULT("store.chunked.after-complete");
	}
	rc = p->s->cfg.durable ? sync_file(t->fd) : close_copy(t->fd);
	if (rc == 0)
		QB_FAULT("store.put.after-data");
	return rc;
}

static int give_up(struct qb_place *p, struct qb_temp *t, const struct qb_put *put)
{
	if (put->chunked)
		unpublish(p, t);
	qb_temp_drop(qb_place_dir(p), t);
	qb_place_prune(p);
	qb_place_close(p);
	return -1;
}

/* A place, with a temporary in its directory: that is then not empty, and stays. */
static int begin(struct qb_store *s, const char *dir, const char *address, struct qb_place *p, struct qb_temp *t, struct qb_err *err)
{
	int rc = -ENOENT;

	for (unsigned i = 0; rc == -ENOENT && i < STORE_TRIES; i++) {
		int opened = qb_place_open(s, dir, address, 1, p, err);

		if (opened < 0)
			return opened;
		rc = qb_temp_make(qb_place_dir(p), t);
		if (rc == 0)
			return 0;
		qb_place_prune(p);
		qb_place_close(p);
	}
	return qb_place_fail(p, -rc, "make a temporary file for", err);
}

int qb_store_put_as(struct qb_store *s, const char *dir, const char *address, const struct qb_put *put, struct qb_err *err)
{
	struct qb_place p;
	struct qb_temp t;
	int rc = begin(s, dir, address, &p, &t, err);

	if (rc < 0)
		return rc;
	if (put->chunked && !put->hidden)
		publish(&p, &t);
	rc = resolve(&p, &t, put, err);
	if (rc < 0) {
		give_up(&p, &t, put);
		return rc;
	}
	rc = finish_file(&p, &t, put);
	if (rc < 0)
		qb_place_fail(&p, -rc, s->cfg.durable ? "bring to disk" : "write", err);
	else if (renameat(qb_place_dir(&p), t.name, qb_place_dir(&p), address) != 0)
		rc = qb_place_fail(&p, errno, "rename a temporary file to", err);
	if (rc < 0) {
		give_up(&p, &t, put);
		return rc;
	}
	QB_FAULT("store.put.after-rename");
	if (put->chunked)
		unpublish(&p, &t);
	if (s->cfg.durable && (rc = qb_place_sync(&p)) < 0)
		qb_place_fail(&p, -rc, "bring to disk the new name of", err);
	else if (s->cfg.durable)
		QB_FAULT("store.put.after-dirs");
	close(t.fd);
	qb_place_close(&p);
	return rc;
}

int qb_store_put(struct qb_store *s, const char *dir, const char *address, qb_store_resolver resolver, void *ctx, struct qb_err *err)
{
	const struct qb_put put = { .resolver = resolver, .ctx = ctx };

	return qb_store_put_as(s, dir, address, &put, err);
}

int qb_store_put_chunked(struct qb_store *s, const char *dir, const char *address, uint64_t bytes, qb_store_resolver resolver,
			 void *ctx, struct qb_err *err)
{
	const struct qb_put put = { .resolver = resolver, .ctx = ctx, .chunked = 1, .bytes = bytes };

	return qb_store_put_as(s, dir, address, &put, err);
}

struct given { const void *data; size_t bytes; };

static int give(void *ctx, struct qb_store_sink *sink, struct qb_err *err)
{
	const struct given *g = ctx;

	return sink->write(sink, g->data, g->bytes, err);
}

int qb_store_put_bytes(struct qb_store *s, const char *dir, const char *address, const void *data, size_t bytes, struct qb_err *err)
{
	struct given g = { data, bytes };

	return qb_store_put(s, dir, address, give, &g, err);
}
