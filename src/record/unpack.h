/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading msgpack that nobody vouches for.
 *
 * A cursor over bytes in memory: no tree, no allocation, no recursion.  A length or count is
 * compared with the bytes that are left before anything is done with it.  msgpack-c is used for
 * writing; its unpacker allocates by the counts that it reads.
 *
 * All return 0, or QB_ECORRUPT: the next object is of another type, out of range, or cut off; the
 * cursor is then anywhere and the input is to be given up.
 */
#ifndef QB_RECORD_UNPACK_H
#define QB_RECORD_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#define QB_UNPACK_DEPTH_MAX 16

struct qb_unpack {
	const uint8_t *at, *end;
};

static inline void qb_unpack_init(struct qb_unpack *u, const void *data, size_t bytes)
{
	u->at = data;
	u->end = u->at + bytes;
}

int qb_unpack_map(struct qb_unpack *u, uint32_t *pairs_count);
int qb_unpack_array(struct qb_unpack *u, uint32_t *count);
int qb_unpack_u64(struct qb_unpack *u, uint64_t *out);  /* any encoding of an integer >= 0 */
int qb_unpack_u32(struct qb_unpack *u, uint32_t *out);
int qb_unpack_double(struct qb_unpack *u, double *out); /* finite; an integer is taken too */
/* Points into the input; no NUL behind it. */
int qb_unpack_str(struct qb_unpack *u, const char **text, uint32_t *bytes);
int qb_unpack_bin(struct qb_unpack *u, const uint8_t **data, uint32_t *bytes);
/* Copies with a NUL; a string that does not fit, or holds a NUL, is corrupt. */
int qb_unpack_text(struct qb_unpack *u, char *out, size_t cap);
/* One object with all in it, nested at most QB_UNPACK_DEPTH_MAX deep. */
int qb_unpack_skip(struct qb_unpack *u);

#endif
