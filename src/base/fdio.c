/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "shm/status.h"

int qb_write_full(int fd, const void *data, size_t bytes)
{
	const char *p = data;

	while (bytes) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

ssize_t qb_pread_full(int fd, void *data, size_t bytes, off_t off)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = pread(fd, (char *)data + done, bytes - done, off + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Reads until the end: what lies in /proc has no size, and a file can grow meanwhile. */
static int read_all(int fd, size_t max_bytes, char **data, size_t *bytes)
{
	size_t cap = 4096, used = 0;
	char *buf = qb_xmalloc(cap);

	for (;;) {
		ssize_t n;

		if (used + 1 >= cap) {
			cap *= 2;
			buf = qb_xrealloc(buf, cap);
		}
		n = read(fd, buf + used, cap - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int ret = -errno;

			free(buf);
			return ret;
		}
		if (!n)
			break;
		used += (size_t)n;
		if (used > max_bytes) {
			free(buf);
			return QB_ETOOBIG;
		}
	}
	buf[used] = '\0';
	*data = buf;
	*bytes = used;
	return 0;
}

int qb_read_file(const char *path, size_t max_bytes, char **data, size_t *bytes, struct qb_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0)
		return qb_err_errno(err, errno, "could not open %s", path);
	ret = read_all(fd, max_bytes, data, bytes);
	close(fd);
	if (ret == QB_ETOOBIG)
		return qb_err_set(err, ret, "could not read %s: it is larger than %zu bytes", path,
				  max_bytes);
	if (ret)
		return qb_err_errno(err, -ret, "could not read %s", path);
	return 0;
}

/* One level; a directory that is there already is as good. 0 or -errno. */
static int make_dir(const char *path, mode_t mode)
{
	struct stat st;
	int ret;

	if (!mkdir(path, mode))
		return 0;
	/* Whatever the reason: a parent that is read-only answers EROFS or EACCES before EEXIST. */
	ret = -errno;
	if (stat(path, &st))
		return ret;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int qb_mkdir_p(const char *path, mode_t mode, struct qb_err *err)
{
	char *copy, *p;
	int ret = 0;

	if (!*path)
		return qb_err_set(err, -ENOENT, "could not create a directory: its name is empty");
	copy = qb_xstrdup(path);
	for (p = copy + 1; !ret; p++) {
		char c = *p;

		if (c != '/' && c)
			continue;
		*p = '\0';
		ret = make_dir(copy, mode);
		if (ret)
			qb_err_errno(err, -ret, "could not create directory %s", copy);
		*p = c;
		if (!c)
			break;
	}
	free(copy);
	return ret;
}

int qb_dir_is_own(const char *path, struct qb_err *err)
{
	struct stat st;

	if (lstat(path, &st))
		return qb_err_errno(err, errno, "could not look at %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return qb_err_set(err, QB_EOWNER, "%s is a link, or belongs to somebody else: nothing is written there", path);
	return 0;
}

/* The rename is on disk only when its directory is. */
static int sync_parent(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir;
	int fd, ret = 0;

	if (!slash)
		dir = qb_xstrdup(".");
	else if (slash == path)
		dir = qb_xstrdup("/");
	else
		dir = qb_xasprintf("%.*s", (int)(slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return -errno;
	/* EINVAL: a file system that cannot sync directories; it orders renames by itself. */
	if (fsync(fd) && errno != EINVAL)
		ret = -errno;
	close(fd);
	return ret;
}

int qb_replace_file(const char *path, const void *data, size_t bytes, mode_t mode,
		    struct qb_err *err)
{
	char *tmp = qb_xasprintf("%s.tmp", path);
	int fd, ret;

	/* Left behind by a kill, or a link put in the way: neither may be written through. */
	if (unlink(tmp) && errno != ENOENT) {
		ret = qb_err_errno(err, errno, "could not remove the old %s", tmp);
		goto out;
	}
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0) {
		ret = qb_err_errno(err, errno, "could not create %s", tmp);
		goto out;
	}
	ret = qb_write_full(fd, data, bytes);
	if (!ret && fsync(fd))
		ret = -errno;
	if (close(fd) && !ret)
		ret = -errno;
	if (ret) {
		qb_err_errno(err, -ret, "could not write %s", tmp);
		goto out_unlink;
	}
	if (rename(tmp, path)) {
		ret = qb_err_errno(err, errno, "could not rename %s to %s", tmp, path);
		goto out_unlink;
	}
	ret = sync_parent(path);
	if (ret)
		qb_err_errno(err, -ret, "could not sync the directory of %s", path);
	goto out;
out_unlink:
	unlink(tmp);
out:
	free(tmp);
	return ret;
}
