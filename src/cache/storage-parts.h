/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the store share: the way to a directory without following links, and temporaries that say by a lock
 * whether their writer lives.
 *
 * Lives in: process memory.  A place and a temporary belong to one call of one thread; a store is not written after its opening.
 * Crash: doc/storage.md, step by step.
 */
#ifndef QB_CACHE_STORAGE_PARTS_H
#define QB_CACHE_STORAGE_PARTS_H

#include <sys/stat.h>

#include "cache/storage.h"

#define STORE_DEPTH 16                  /* directories below the root */
#define STORE_NAME_MAX 240              /* bytes of one name: with the longest prefix it still is a file name */
#define STORE_OURS ".qb-"               /* no item's name and no directory's begins with it */
#define STORE_TEMP ".qb-put."
#define STORE_GROWING ".qb-growing."
#define STORE_TRIES 1000                /* how often an empty directory may be removed under our hands */
#define STORE_COMPLETE S_IXUSR          /* in the mode of an item that grew: nothing more is coming */

struct qb_store {
	char *root;
	int fd;
	struct qb_store_config cfg;
	uint32_t swept;
};

/* The directory of an item, and all above it. fd[0] is the store's. */
struct qb_place {
	struct qb_store *s;
	const char *dir, *address;
	unsigned depth;
	int fd[STORE_DEPTH + 1];
	char name[STORE_DEPTH + 1][STORE_NAME_MAX + 1]; /* of fd[i] in fd[i - 1] */
};

/* 0, or QB_EUSAGE: the rules of doc/storage.md. */
int qb_place_check(const char *dir, const char *address, struct qb_err *err);
/* 1; 0: a directory of it is missing (never with create); negative. Close it only after 1. */
int qb_place_open(struct qb_store *s, const char *dir, const char *address, int create, struct qb_place *p, struct qb_err *err);
void qb_place_close(struct qb_place *p);
int qb_place_dir(const struct qb_place *p);
/* Each directory of it, the innermost first. 0 or -errno. */
int qb_place_sync(const struct qb_place *p);
/* Removes the directories that are empty now. */
void qb_place_prune(const struct qb_place *p);
int qb_place_fail(const struct qb_place *p, int errnum, const char *doing, struct qb_err *err);
/* What is there under one name of a directory, not following a link, not waiting (it may be a pipe): the fd or -errno. */
int qb_open_below(int at, const char *name, int flags);
/* The same for a directory. */
int qb_place_step(int at, const char *name);

struct qb_temp {
	int fd;
	char name[32];
};

/* A new empty one, locked. 0 or -errno (-ENOENT: the directory has been removed). */
int qb_temp_make(int dir, struct qb_temp *t);
void qb_temp_drop(int dir, struct qb_temp *t);
/* Does somebody who lives write this file? */
int qb_temp_alive(int fd);
/* Removes it if nobody writes it. 1: it is gone. */
int qb_temp_sweep(int dir, const char *name);
/* Under which name others find a file that grows. */
void qb_growing_name(const char *address, char out[STORE_NAME_MAX + 16]);

/* The item, or the one that is growing: 1 with an open fd; 0: there is none; negative errno. */
int qb_place_look(const struct qb_place *p, int *fd, struct stat *st, int *growing);
void qb_store_info_of(const struct stat *st, int growing, struct qb_store_info *info);

void qb_store_sweep(struct qb_store *s);

#endif
