/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the blocks of a record, whole ones only, in the order of the file.
 *
 * Nothing in the file is trusted: a block is given out when its check sum is right.  At one that is
 * not, the reader looks for the next place where one begins; what it passed over is counted, apart
 * for the middle and for the tail.  The file is read with pread(), never mapped: cutting it
 * meanwhile is a torn tail and not a SIGBUS.  Memory: one block, at most 16 MiB.
 */
#ifndef QB_RECORD_READER_H
#define QB_RECORD_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct qb_record_reader;

struct qb_record_block {
	uint32_t type;          /* enum qb_record_type, or one from the future */
	const uint8_t *body;    /* until the next call */
	size_t bytes;
	uint64_t off;           /* of its frame in the file */
};

/* Final once qb_record_next() has returned 0. */
struct qb_record_damage {
	uint32_t skipped_count;         /* damaged places with good blocks behind them */
	uint64_t skipped_bytes;
	uint64_t skipped_off;           /* the first of them */
	uint64_t tail_bytes;            /* after the last good block */
	uint64_t tail_off;
};

/*
 * 0; -errno; QB_EMAGIC when it is no regular file, or neither begins with a block nor holds the
 * beginning of one in its first MiB.
 */
int qb_record_open(const char *path, struct qb_record_reader **out, struct qb_err *err);

/* 1 and *b; 0 at the end; -errno when the file could not be read. */
int qb_record_next(struct qb_record_reader *r, struct qb_record_block *b, struct qb_err *err);

const struct qb_record_damage *qb_record_damage(const struct qb_record_reader *r);
uint64_t qb_record_file_bytes(const struct qb_record_reader *r);

void qb_record_reader_close(struct qb_record_reader *r);        /* NULL is fine */

#endif
