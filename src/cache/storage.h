/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items in files: the contract of rsstorage's file server, and what that lacks.
 *
 * Lives in: a directory of its own. An item has a name of two parts: dir ("" or relative, "a/b") and address; neither may
 * lead out of it.  An item is one file. One that is put in chunks is found under a second name while it grows.
 * Writers and readers: any process and thread; a handle may be shared.
 * Progress: may block on the file system.
 * Crash: a put is a temporary file and one rename: killed at any step it leaves the old item or the new one, whole.
 * Temporaries of the dead are swept by the next qb_store_open().  doc/storage.md has the steps and what each leaves.
 * Durability: with `durable` an item is on disk, under its name, when put returns; otherwise a power cut may take it.
 */
#ifndef QB_CACHE_STORAGE_H
#define QB_CACHE_STORAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct qb_store;

struct qb_store_config {
	int durable;                    /* fsync of file and directory */
	uint32_t chunk_bytes;           /* of put_chunked; 0: 64 KiB */
	uint64_t chunk_wait_ns;         /* how long a reader waits for the next chunk; 0: 5 s, as the library */
};

struct qb_store_info {
	uint64_t bytes;
	uint64_t mtime_ns;              /* CLOCK_REALTIME */
	int chunked;
	int complete;                   /* of one in chunks; 1 for others */
};

/* Makes root (0700) if there is none, and sweeps. 0 or negative. */
int qb_store_open(const char *root, const struct qb_store_config *cfg, struct qb_store **out, struct qb_err *err);
void qb_store_close(struct qb_store *s);
const char *qb_store_root(const struct qb_store *s);

/* 1 with *info (may be NULL); 0: there is none; negative. An item in chunks that is not complete is there (info says so). */
int qb_store_check(struct qb_store *s, const char *dir, const char *address, struct qb_store_info *info, struct qb_err *err);

/* Writes an item: calls qb_store_sink's write as often as it likes. 0, or negative with err set: nothing is stored. */
struct qb_store_sink { int (*write)(struct qb_store_sink *sink, const void *data, size_t bytes, struct qb_err *err); };
typedef int (*qb_store_resolver)(void *ctx, struct qb_store_sink *sink, struct qb_err *err);

/* 0: it is there, in place of the one before. Negative: as before. -ENOSPC, -EDQUOT as they come. */
int qb_store_put(struct qb_store *s, const char *dir, const char *address, qb_store_resolver resolver, void *ctx, struct qb_err *err);
int qb_store_put_bytes(struct qb_store *s, const char *dir, const char *address, const void *data, size_t bytes, struct qb_err *err);
/*
 * Can be read while it grows, when there was none before; the item before stays until it is complete. Then as put, in one
 * rename. bytes: of the whole, QB_EVERIFY when others came; 0 when unknown.
 */
int qb_store_put_chunked(struct qb_store *s, const char *dir, const char *address, uint64_t bytes, qb_store_resolver resolver,
			 void *ctx, struct qb_err *err);

/* A reader sees the item that was there when it was opened, whatever becomes of the name. 1; 0: there is none; negative. */
struct qb_store_reader;
int qb_store_get(struct qb_store *s, const char *dir, const char *address, struct qb_store_reader **out, struct qb_store_info *info,
		 struct qb_err *err);
/* Bytes, 0 at the end, or negative: QB_ETIMEOUT when the next chunk does not come, -EPIPE when its writer gave up or died. */
ssize_t qb_store_read(struct qb_store_reader *r, void *data, size_t cap, struct qb_err *err);
void qb_store_reader_close(struct qb_store_reader *r);
/* All of it, malloc'ed. 1; 0: there is none; negative (QB_ETOOBIG above max). */
int qb_store_get_bytes(struct qb_store *s, const char *dir, const char *address, size_t max, void **data, size_t *bytes,
		       struct qb_store_info *info, struct qb_err *err);

/* 1: removed; 0: there was none; negative. */
int qb_store_remove(struct qb_store *s, const char *dir, const char *address, struct qb_err *err);
/*
 * To another name, of the same store or another one. 1; 0: there is none; negative (QB_EBUSY: it still grows). Copy is atomic as
 * put is; so is move, but that between file systems a kill may leave the item under both names.
 */
int qb_store_move(struct qb_store *s, const char *dir, const char *address, struct qb_store *to, const char *to_dir,
		  const char *to_address, struct qb_err *err);
int qb_store_copy(struct qb_store *s, const char *dir, const char *address, struct qb_store *to, const char *to_dir,
		  const char *to_address, struct qb_err *err);
/* Each item once, in order of their names; fn returns 0 to go on. 0, fn's value, or negative. */
typedef int (*qb_store_each)(void *ctx, const char *dir, const char *address, const struct qb_store_info *info);
int qb_store_enumerate(struct qb_store *s, qb_store_each fn, void *ctx, struct qb_err *err);

struct qb_store_usage { uint64_t items, bytes, free_bytes, total_bytes; };  /* the last two of the file system */
int qb_store_usage(struct qb_store *s, struct qb_store_usage *out, struct qb_err *err);
/* As the library's Flush: makes what another host wrote visible (NFS). 0 or negative. */
int qb_store_flush(struct qb_store *s, const char *dir, const char *address, struct qb_err *err);

/* How many temporaries of the dead the open has removed. */
uint32_t qb_store_swept(const struct qb_store *s);

#endif
