/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-dimensional arrays in Postgres's binary format, built in place for "unnest($1, $2, ...)".
 *
 * Lives in: process memory.  Writers and readers: one thread.  Progress: never blocks.
 *
 * This is the syncer's inner loop: one call per column and row.  The buffer grows to the largest
 * batch seen and is then reused, so in a steady state nothing is allocated.  The element type is
 * not compared in every call: the server refuses an array whose elements have the wrong size.
 *
 *	struct qb_pg_array ids;
 *
 *	qb_pg_array_init(&ids, QB_PG_INT8);
 *	for each batch:
 *		qb_pg_array_reset(&ids);
 *		qb_pg_array_add_i64(&ids, 42);
 *		qb_pg_array_finish(&ids, &values[0], &lengths[0]);
 *	qb_pg_array_free(&ids);
 */
#ifndef QB_PG_ARRAY_H
#define QB_PG_ARRAY_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Object ids of built-in types: fixed in pg_type.dat since the types exist. */
enum qb_pg_type {
	QB_PG_BOOL = 16,
	QB_PG_BYTEA = 17,
	QB_PG_INT8 = 20,
	QB_PG_INT2 = 21,
	QB_PG_INT4 = 23,
	QB_PG_TEXT = 25,
	QB_PG_TIMESTAMPTZ = 1184,
	QB_PG_INT2_ARRAY = 1005,
	QB_PG_INT4_ARRAY = 1007,
	QB_PG_TEXT_ARRAY = 1009,
	QB_PG_INT8_ARRAY = 1016,
	QB_PG_BYTEA_ARRAY = 1001,
	QB_PG_TIMESTAMPTZ_ARRAY = 1185,
};

/* Dimensions, has-null flag, element type, length, lower bound: five 32-bit words. */
#define QB_PG_ARRAY_HEADER_BYTES 20
/* What Postgres can take as one value (its MaxAllocSize). */
#define QB_PG_ARRAY_MAX_BYTES 0x3fffffffu

/* Postgres counts microseconds from 2000-01-01T00:00:00Z; this is that instant in Unix time. */
#define QB_PG_EPOCH_US 946684800000000ll

struct qb_pg_array {
	unsigned char *data;    /* header and elements */
	size_t bytes;           /* used, header included */
	size_t cap_bytes;
	uint32_t elem_oid;
	uint32_t count;         /* elements, NULLs included */
	bool has_null;
	bool too_big;           /* beyond QB_PG_ARRAY_MAX_BYTES: an element was left out */
};

/* Start an empty array of that element type (enum qb_pg_type, or any other type's oid). */
void qb_pg_array_init(struct qb_pg_array *a, uint32_t elem_oid);
void qb_pg_array_free(struct qb_pg_array *a);

/* Make room for that many more bytes: 0, or QB_ETOOBIG (remembered until the next reset). */
int qb_pg_array_grow(struct qb_pg_array *a, size_t bytes);

/*
 * Write the header.  *value and *bytes are what PQexecParams wants (format 1); they are valid until
 * the next add, reset or free.  0, or QB_ETOOBIG when an element was left out.
 */
int qb_pg_array_finish(struct qb_pg_array *a, const char **value, int *bytes);

/* Empty again; keeps the memory. */
static inline void qb_pg_array_reset(struct qb_pg_array *a)
{
	a->bytes = QB_PG_ARRAY_HEADER_BYTES;
	a->count = 0;
	a->has_null = false;
	a->too_big = false;
}

/* Space for the next element, its length word included; NULL when it is too big. */
static inline unsigned char *qb_pg_array_element(struct qb_pg_array *a, size_t bytes)
{
	unsigned char *p;

	if (__builtin_expect(a->cap_bytes - a->bytes < bytes, 0) &&
	    qb_pg_array_grow(a, bytes) < 0)
		return NULL;
	p = a->data + a->bytes;
	a->bytes += bytes;
	a->count++;
	return p;
}

static inline void qb_pg_array_put_u32(unsigned char *p, uint32_t value)
{
	value = htobe32(value);
	memcpy(p, &value, sizeof(value));
}

static inline void qb_pg_array_add_i16(struct qb_pg_array *a, int16_t value)
{
	unsigned char *p = qb_pg_array_element(a, 4 + 2);
	uint16_t be = htobe16((uint16_t)value);

	if (!p)
		return;
	qb_pg_array_put_u32(p, 2);
	memcpy(p + 4, &be, sizeof(be));
}

static inline void qb_pg_array_add_i32(struct qb_pg_array *a, int32_t value)
{
	unsigned char *p = qb_pg_array_element(a, 4 + 4);

	if (!p)
		return;
	qb_pg_array_put_u32(p, 4);
	qb_pg_array_put_u32(p + 4, (uint32_t)value);
}

static inline void qb_pg_array_add_i64(struct qb_pg_array *a, int64_t value)
{
	unsigned char *p = qb_pg_array_element(a, 4 + 8);
	uint64_t be = htobe64((uint64_t)value);

	if (!p)
		return;
	qb_pg_array_put_u32(p, 8);
	memcpy(p + 4, &be, sizeof(be));
}

/* Unix time in ns; Postgres keeps whole microseconds, the rest is cut off. */
static inline void qb_pg_array_add_timestamptz(struct qb_pg_array *a, uint64_t unix_ns)
{
	qb_pg_array_add_i64(a, (int64_t)(unix_ns / 1000) - QB_PG_EPOCH_US);
}

static inline void qb_pg_array_add_bytea(struct qb_pg_array *a, const void *data, size_t bytes)
{
	unsigned char *p;

	if (__builtin_expect(bytes > QB_PG_ARRAY_MAX_BYTES, 0)) {
		a->too_big = true;      /* 4 + bytes must not wrap around */
		return;
	}
	p = qb_pg_array_element(a, 4 + bytes);
	if (!p)
		return;
	qb_pg_array_put_u32(p, (uint32_t)bytes);
	if (bytes)
		memcpy(p + 4, data, bytes);
}

/* UTF-8 without NUL bytes, or the server refuses the whole statement. */
static inline void qb_pg_array_add_text(struct qb_pg_array *a, const char *text, size_t bytes)
{
	qb_pg_array_add_bytea(a, text, bytes);
}

static inline void qb_pg_array_add_null(struct qb_pg_array *a)
{
	unsigned char *p = qb_pg_array_element(a, 4);

	if (!p)
		return;
	qb_pg_array_put_u32(p, UINT32_MAX);     /* length -1 */
	a->has_null = true;
}

#endif
