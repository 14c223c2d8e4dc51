/* SPDX-License-Identifier: Apache-2.0 */
/* The way from the root to an item's directory: one name at a time, no links, nothing by a path. */
#include "cache/storage-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shm/fault.h"
#include "shm/status.h"

#define GONE 2                          /* somebody removed the directory that we stood in, empty */

static const char *wrong_with(const char *name, size_t bytes)
{
	if (bytes == 0)
		return "is empty";
	if (bytes > STORE_NAME_MAX)
		return "is longer than 240 bytes";
	if ((bytes == 1 && name[0] == '.') || (bytes == 2 && name[0] == '.' && name[1] == '.'))
		return "is . or ..";
	if (bytes >= sizeof(STORE_OURS) - 1 && strncmp(name, STORE_OURS, sizeof(STORE_OURS) - 1) == 0)
		return "begins with " STORE_OURS ", as the store's own files do";
	return NULL;
}

int qb_place_check(const char *dir, const char *address, struct qb_err *err)
{
	unsigned depth = 0;
	const char *why;

	if (strchr(address, '/'))
		return qb_err_set(err, QB_EUSAGE, "an address must not have a slash: %.200s", address);
	why = wrong_with(address, strlen(address));
	if (why)
		return qb_err_set(err, QB_EUSAGE, "an address %s: %.200s", why, address);
	if (*dir == '/')
		return qb_err_set(err, QB_EUSAGE, "the directory of an item must be relative: %.200s", dir);
	for (const char *name = dir; *dir && name; depth++) {
		const char *slash = strchr(name, '/');

		why = wrong_with(name, slash ? (size_t)(slash - name) : strlen(name));
		if (why)
			return qb_err_set(err, QB_EUSAGE, "a name in the directory of an item %s: %.200s", why, dir);
		name = slash ? slash + 1 : NULL;
	}
	if (depth > STORE_DEPTH)
		return qb_err_set(err, QB_EUSAGE, "the directory of an item is deeper than %d names: %.200s", STORE_DEPTH, dir);
	return 0;
}

int qb_place_dir(const struct qb_place *p)
{
	return p->fd[p->depth];
}

void qb_place_close(struct qb_place *p)
{
	while (p->depth > 0)
		close(p->fd[p->depth--]);
}

int qb_place_fail(const struct qb_place *p, int errnum, const char *doing, struct qb_err *err)
{
	return qb_err_errno(err, errnum, "could not %s %.200s%s%.240s in %.300s", doing, p->dir, *p->dir ? "/" : "", p->address,
			    p->s->root);
}

int qb_open_below(int at, const char *name, int flags)
{
	int fd;

	do {
		fd = openat(at, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int qb_place_step(int at, const char *name)
{
	return qb_open_below(at, name, O_RDONLY | O_DIRECTORY);
}

/* The fd, or -errno; -ENOENT also when the directory above is no longer there. */
static int step_or_make(int at, const char *name)
{
	int fd = qb_place_step(at, name);

	if (fd != -ENOENT)
		return fd;
	if (mkdirat(at, name, 0700) == 0)
		QB_FAULT("store.put.after-mkdir");
	else if (errno != EEXIST)
		return -errno;
	return qb_place_step(at, name);
}

static int descend(struct qb_place *p, int create)
{
	for (const char *name = p->dir; *p->dir && name;) {
		const char *slash = strchr(name, '/');
		size_t bytes = slash ? (size_t)(slash - name) : strlen(name);
		char *copy = p->name[p->depth + 1];

		memcpy(copy, name, bytes);
		copy[bytes] = 0;
		int fd = create ? step_or_make(qb_place_dir(p), copy) : qb_place_step(qb_place_dir(p), copy);

		if (fd == -ENOENT)
			return create ? GONE : 0;
		if (fd < 0) {
			/* Made and not opened; one that was there before is not empty, or nobody's loss. */
			if (create)
				unlinkat(qb_place_dir(p), copy, AT_REMOVEDIR);
			return fd;
		}
		p->fd[++p->depth] = fd;
		name = slash ? slash + 1 : NULL;
	}
	return 1;
}

int qb_place_open(struct qb_store *s, const char *dir, const char *address, int create, struct qb_place *p, struct qb_err *err)
{
	int rc = qb_place_check(dir, address, err);

	if (rc < 0)
		return rc;
	p->s = s;
	p->dir = dir;
	p->address = address;
	p->fd[0] = s->fd;
	for (unsigned i = 0; i < STORE_TRIES; i++) {
		p->depth = 0;
		rc = descend(p, create);
		if (rc == 1)
			return 1;
		if (create && rc != GONE)
			qb_place_prune(p);
		qb_place_close(p);
		if (rc != GONE)
			break;
	}
	if (rc == 0)
		return 0;
	if (rc == -ENOTDIR || rc == -ELOOP)
		return qb_err_set(err, rc, "could not reach %.200s/%.240s in %.300s: a name on the way is a link, or an item", dir, address,
				  s->root);
	return qb_place_fail(p, rc == GONE ? ENOENT : -rc, "reach", err);
}

static int sync_dir(int fd)
{
	while (fsync(fd) != 0) {
		/* EINVAL: a file system that cannot sync directories; it orders renames by itself. */
		if (errno == EINVAL)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* All of them: who made one may not have asked for durability, and a directory is on disk only when the one above is. */
int qb_place_sync(const struct qb_place *p)
{
	int rc = 0;

	for (unsigned i = p->depth + 1; i-- > 0 && rc == 0;)
		rc = sync_dir(p->fd[i]);
	return rc;
}

void qb_place_prune(const struct qb_place *p)
{
	for (unsigned i = p->depth; i > 0 && unlinkat(p->fd[i - 1], p->name[i], AT_REMOVEDIR) == 0; i--)
		QB_FAULT("store.remove.after-rmdir");
}
