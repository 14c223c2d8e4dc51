/* SPDX-License-Identifier: Apache-2.0 */
/* To whom a server's directory belongs, and the end of what runs in it. Not for other rooms. */
#ifndef QB_PG_OWNER_H
#define QB_PG_OWNER_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define QB_PG_DIR_PREFIX "qbench-pg-"
#define QB_PG_OWNER_FILE "owner"

/*
 * Lives in: the file "owner" of the directory, one line, written whole or not at all.
 * A pid means something on one host, in one pid name space, until the next boot; all three are
 * kept, so that a directory on a shared file system or in a shared /tmp is not judged by strangers.
 */
struct qb_pg_owner {
	pid_t pid;
	uint64_t start_ticks;
	uint64_t boot_id;
	uint64_t pid_ns;        /* inode of the pid name space */
	char host[65];
};

enum qb_pg_verdict {
	QB_PG_OWNER_UNKNOWN,
	QB_PG_OWNER_ALIVE,
	QB_PG_OWNER_DEAD,
};

/* Sign a new directory with the identity of this process. 0, or negative and err. */
int qb_pg_owner_write(const char *dir, struct qb_err *err);

/* 0; -ENOENT when the directory is not signed; QB_ECORRUPT; or -errno. */
int qb_pg_owner_read(int dirfd, struct qb_pg_owner *owner);

/* Dead only when that is certain; a zombie is dead. */
enum qb_pg_verdict qb_pg_owner_judge(const struct qb_pg_owner *owner);

/*
 * End all server processes whose working directory is dir or dir/data, remove the System V segment
 * of a postmaster that could not do so itself, and remove the tree.
 * 0 (also when there is no dir), QB_ETIMEOUT when a process does not die, or -errno.
 */
int qb_pg_remove_dir(const char *dir);

#endif
