/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qb_remove_tree(). Nothing here goes by a path below the top: each step is an openat() of one name
 * that refuses links and mount points, so nobody who may write into the tree can lead us out of it.
 */
#include "base/fdio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef SYS_openat2
#include <linux/openat2.h>
#endif

#include "base/strbuf.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
/* How often a directory is read again because somebody else still puts files into it. */
#define REREADS_MAX 16

/* One directory on the way down; only the deepest is open, so depth costs memory and no fds. */
struct level {
	dev_t dev;
	ino_t ino;
	unsigned rereads;
	char *name;             /* in the directory above */
};

struct walk {
	struct level *levels;
	size_t count, cap;
	int fd;                 /* the deepest directory */
};

static int open_child(int fd, const char *name)
{
#ifdef SYS_openat2
	struct open_how how = {
		.flags = DIR_FLAGS,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int child = (int)syscall(SYS_openat2, fd, name, &how, sizeof(how));

	/* EPERM is how sandboxes answer calls that they do not know. */
	if (child >= 0 || (errno != ENOSYS && errno != EPERM))
		return child < 0 ? -errno : child;
#endif
	fd = openat(fd, name, DIR_FLAGS);
	return fd < 0 ? -errno : fd;
}

static int push(struct walk *w, int fd, const char *name)
{
	struct level *level;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	/* A second guard for kernels without openat2; it misses bind mounts of the same device. */
	if (w->count && st.st_dev != w->levels[0].dev)
		return -EXDEV;
	if (w->count == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 32;
		w->levels = qb_xrealloc(w->levels, w->cap * sizeof(*w->levels));
	}
	level = &w->levels[w->count++];
	*level = (struct level){ .dev = st.st_dev, .ino = st.st_ino, .name = qb_xstrdup(name) };
	if (w->fd >= 0)
		close(w->fd);
	w->fd = fd;
	return 0;
}

/* Back to the directory above, and remove the one that was left. */
static int pop(struct walk *w)
{
	struct level *left = &w->levels[w->count - 1], *above = left - 1;
	int fd = openat(w->fd, "..", DIR_FLAGS);
	struct stat st;
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		ret = -errno;
	/* Moved while we were inside: ".." now is a place that nobody asked us to touch. */
	else if (st.st_dev != above->dev || st.st_ino != above->ino)
		ret = -ESTALE;
	if (ret) {
		close(fd);
		return ret;
	}
	close(w->fd);
	w->fd = fd;
	if (unlinkat(fd, left->name, AT_REMOVEDIR) && errno != ENOENT) {
		/* Filled again behind our back: go in once more, but not for ever. */
		if ((errno != ENOTEMPTY && errno != EEXIST) || ++above->rereads > REREADS_MAX)
			return -errno;
	}
	free(left->name);
	w->count--;
	return 0;
}

/*
 * Remove the files of the deepest directory. 0 when it is empty, 1 when it holds a directory, whose
 * name is left in child, or -errno.
 */
static int remove_files(int dirfd, char child[NAME_MAX + 1])
{
	/* Through "." and not dup(): the position in the directory must start anew each time. */
	int fd = openat(dirfd, ".", DIR_FLAGS);
	struct dirent *entry;
	int ret = 0;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		ret = -errno;
		close(fd);
		return ret;
	}
	while (errno = 0, entry = readdir(dir)) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		/* Trying is the only test that cannot be outdated: d_type may be, or be missing. */
		if (!unlinkat(dirfd, entry->d_name, 0) || errno == ENOENT)
			continue;
		if (errno == EISDIR || (errno == EPERM && entry->d_type == DT_DIR)) {
			strcpy(child, entry->d_name);
			ret = 1;
			break;
		}
		ret = -errno;
		break;
	}
	if (!entry && errno)
		ret = -errno;
	closedir(dir);
	return ret;
}

/* Empty the tree below w->levels[0]. */
static int remove_below(struct walk *w)
{
	char child[NAME_MAX + 1];
	int ret;

	for (;;) {
		ret = remove_files(w->fd, child);
		if (ret < 0)
			return ret;
		if (ret == 1) {
			int fd = open_child(w->fd, child);

			/* Gone, or replaced by a file, since it was seen: look again. */
			if ((fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) &&
			    ++w->levels[w->count - 1].rereads <= REREADS_MAX)
				continue;
			if (fd < 0)
				return fd;
			ret = push(w, fd, child);
			if (ret) {
				close(fd);
				return ret;
			}
			continue;
		}
		if (w->count == 1)
			return 0;
		ret = pop(w);
		if (ret)
			return ret;
	}
}

static int remove_top(const char *path, const char *name, int parent)
{
	struct walk w = { .fd = -1 };
	int fd, ret;

	/* The top itself may be a mount point: that is where its owner told us to work. */
	fd = openat(parent, name, DIR_FLAGS);
	if (fd < 0)
		return -errno;
	ret = push(&w, fd, path);
	if (ret)
		close(fd);
	while (!ret) {
		ret = remove_below(&w);
		if (ret || !unlinkat(parent, name, AT_REMOVEDIR) || errno == ENOENT)
			break;
		if (errno != ENOTEMPTY || ++w.levels[0].rereads > REREADS_MAX)
			ret = -errno;
	}
	if (w.fd >= 0)
		close(w.fd);
	while (w.count)
		free(w.levels[--w.count].name);
	free(w.levels);
	return ret;
}

int qb_remove_tree(const char *path)
{
	size_t bytes = strlen(path);
	char *copy, *slash;
	const char *name;
	int parent, ret;

	/* "link/" would follow the link although O_NOFOLLOW is set. */
	while (bytes && path[bytes - 1] == '/')
		bytes--;
	if (!bytes)
		return *path ? -EINVAL : -ENOENT;
	copy = qb_xstrdup(path);
	copy[bytes] = '\0';
	slash = strrchr(copy, '/');
	name = slash ? slash + 1 : copy;
	/* rmdir refuses these, but only after everything in them is gone. */
	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		free(copy);
		return -EINVAL;
	}
	if (slash)
		*slash = '\0';
	parent = open(!slash ? "." : slash == copy ? "/" : copy,
		      O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = parent < 0 ? -errno : remove_top(path, name, parent);
	if (parent >= 0)
		close(parent);
	free(copy);
	return ret;
}
