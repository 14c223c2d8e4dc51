/* SPDX-License-Identifier: Apache-2.0 */
/* All of a store: the sweep of what the dead left, the list of items, and what they amount to. */
#include "cache/storage-parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "shm/fault.h"

/* A directory to read from its beginning; fd stays the caller's. NULL and errno. */
static DIR *open_list(int fd)
{
	int own = qb_place_step(fd, ".");
	DIR *d = own < 0 ? NULL : fdopendir(own);

	if (own < 0)
		errno = -own;
	else if (!d)
		close(own);
	return d;
}

static int begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* One that a put could have made; . and .. are none. */
static int is_name(const char *name)
{
	return qb_place_check("", name, NULL) == 0;
}

/* ---- the sweep ---- */

static void sweep_below(struct qb_store *s, int fd, unsigned depth)
{
	DIR *d = open_list(fd);
	struct dirent *e;

	while (d && (e = readdir(d)) != NULL) {
		if (begins(e->d_name, STORE_TEMP) || begins(e->d_name, STORE_GROWING)) {
			s->swept += (uint32_t)qb_temp_sweep(fd, e->d_name);
			continue;
		}
		if ((e->d_type != DT_DIR && e->d_type != DT_UNKNOWN) || !is_name(e->d_name) || depth == STORE_DEPTH)
			continue;
		int below = qb_place_step(fd, e->d_name);

		if (below < 0)
			continue;
		sweep_below(s, below, depth + 1);
		close(below);
		/* Made for an item that did not come; refused if there is anything in it. */
		if (unlinkat(fd, e->d_name, AT_REMOVEDIR) == 0)
			QB_FAULT("store.sweep.after-rmdir");
	}
	if (d)
		closedir(d);
}

/* What it cannot look at belongs to somebody else: that is not this opening's failure. */
void qb_store_sweep(struct qb_store *s)
{
	sweep_below(s, s->fd, 0);
}

/* ---- the list ---- */

struct item {
	char *dir, *address;
	struct qb_store_info info;
};

struct list {
	struct qb_store *s;
	struct item *items;
	size_t count, cap;
};

static void list_add(struct list *l, const char *dir, const char *address, const struct stat *st, int growing)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->items = qb_xrealloc(l->items, l->cap * sizeof(*l->items));
	}
	struct item *it = &l->items[l->count++];

	it->dir = qb_xstrdup(dir);
	it->address = qb_xstrdup(address);
	qb_store_info_of(st, growing, &it->info);
}

/* One name in a directory: an item, one that grows, or none of both. 0 or -errno. */
static int list_entry(struct list *l, int fd, const char *dir, const char *name)
{
	int is_growing = begins(name, STORE_GROWING);
	const char *address = is_growing ? name + sizeof(STORE_GROWING) - 1 : name;
	struct stat st;

	if (!is_growing) {
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return errno == ENOENT ? 0 : -errno;
		if (S_ISREG(st.st_mode))
			list_add(l, dir, name, &st, 0);
		return 0;
	}
	struct qb_place p = { .s = l->s, .dir = dir, .address = address, .fd = { fd } };
	int item, growing;

	if (!is_name(address) || qb_place_look(&p, &item, &st, &growing) != 1)
		return 0;
	if (growing)
		list_add(l, dir, address, &st, 1);
	close(item);
	return 0;
}

static int list_below(struct list *l, int fd, const char *dir, unsigned depth)
{
	DIR *d = open_list(fd);
	struct dirent *e = NULL;
	int rc = d ? 0 : -errno;

	while (rc == 0 && (errno = 0, e = readdir(d)) != NULL) {
		if (!is_name(e->d_name) && !begins(e->d_name, STORE_GROWING))
			continue;
		int below = e->d_type == DT_DIR || e->d_type == DT_UNKNOWN ? qb_place_step(fd, e->d_name) : -ENOTDIR;

		if (below == -ENOTDIR || below == -ELOOP) {
			rc = list_entry(l, fd, dir, e->d_name);
		} else if (below < 0) {
			rc = below == -ENOENT ? 0 : below;
		} else if (depth < STORE_DEPTH) {
			char *path = qb_xasprintf("%s%s%s", dir, *dir ? "/" : "", e->d_name);

			rc = list_below(l, below, path, depth + 1);
			free(path);
			close(below);
		} else {
			close(below);
		}
	}
	if (d && rc == 0 && !e && errno)
		rc = -errno;
	if (d)
		closedir(d);
	return rc;
}

/* By directory, then address; of two with one name the complete one first. */
static int compare(const void *x, const void *y)
{
	const struct item *a = x, *b = y;
	int c = strcmp(a->dir, b->dir);

	if (c == 0)
		c = strcmp(a->address, b->address);
	return c ? c : b->info.complete - a->info.complete;
}

static int same_name(const struct item *a, const struct item *b)
{
	return strcmp(a->dir, b->dir) == 0 && strcmp(a->address, b->address) == 0;
}

int qb_store_enumerate(struct qb_store *s, qb_store_each fn, void *ctx, struct qb_err *err)
{
	struct list l = { .s = s };
	int rc = list_below(&l, s->fd, "", 0);

	if (rc < 0)
		qb_err_errno(err, -rc, "could not read the directories of %.300s", s->root);
	if (l.count > 1)
		qsort(l.items, l.count, sizeof(*l.items), compare);
	for (size_t i = 0; i < l.count && rc == 0; i++)
		if (i == 0 || !same_name(&l.items[i - 1], &l.items[i]))
			rc = fn(ctx, l.items[i].dir, l.items[i].address, &l.items[i].info);
	for (size_t i = 0; i < l.count; i++) {
		free(l.items[i].dir);
		free(l.items[i].address);
	}
	free(l.items);
	return rc;
}

static int add_up(void *ctx, const char *dir, const char *address, const struct qb_store_info *info)
{
	struct qb_store_usage *u = ctx;

	(void)dir;
	(void)address;
	u->items++;
	u->bytes += info->bytes;
	return 0;
}

int qb_store_usage(struct qb_store *s, struct qb_store_usage *out, struct qb_err *err)
{
	struct statvfs fs;

	*out = (struct qb_store_usage){ 0 };
	if (fstatvfs(s->fd, &fs) != 0)
		return qb_err_errno(err, errno, "could not ask for the room on the file system of %.300s", s->root);
	out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	out->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	return qb_store_enumerate(s, add_up, out, err);
}
