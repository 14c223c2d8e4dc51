/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole reads and writes, directories, atomic replacement. */
#ifndef QB_BASE_FDIO_H
#define QB_BASE_FDIO_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

int qb_write_full(int fd, const void *data, size_t bytes);                      /* 0 or -errno */
ssize_t qb_pread_full(int fd, void *data, size_t bytes, off_t off);             /* bytes read (short at EOF) or -errno */
/* Whole file into malloc'ed memory with a NUL behind it; *bytes without the NUL. 0, or negative and err. */
int qb_read_file(const char *path, size_t max_bytes, char **data, size_t *bytes, struct qb_err *err);
/* A directory of this user's and not a link to one: what somebody else put there is not written into. 0 or negative. */
int qb_dir_is_own(const char *path, struct qb_err *err);
int qb_mkdir_p(const char *path, mode_t mode, struct qb_err *err);
/* Remove a directory and all below it, never following a link or leaving its file system. 0 or -errno. */
int qb_remove_tree(const char *path);
/* Write to path.tmp, fsync, rename. */
int qb_replace_file(const char *path, const void *data, size_t bytes, mode_t mode, struct qb_err *err);

#endif
