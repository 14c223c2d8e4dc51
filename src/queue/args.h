/* SPDX-License-Identifier: Apache-2.0 */
/* Binary parameters of one prepared statement, on the stack. Private to this room. */
#ifndef QB_QUEUE_ARGS_H
#define QB_QUEUE_ARGS_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define QB_SQL_ARGS_MAX 16

struct qb_sql_args {
	uint64_t buf[QB_SQL_ARGS_MAX];
	const char *values[QB_SQL_ARGS_MAX];
	int lengths[QB_SQL_ARGS_MAX], formats[QB_SQL_ARGS_MAX], n;
};

static inline void qb_arg_i64(struct qb_sql_args *a, int64_t v)
{
	uint64_t be = htobe64((uint64_t)v);

	memcpy(&a->buf[a->n], &be, 8);
	a->values[a->n] = (const char *)&a->buf[a->n];
	a->lengths[a->n] = 8;
	a->formats[a->n++] = 1;
}

static inline void qb_arg_i32(struct qb_sql_args *a, int32_t v)
{
	uint32_t be = htobe32((uint32_t)v);

	memcpy(&a->buf[a->n], &be, 4);
	a->values[a->n] = (const char *)&a->buf[a->n];
	a->lengths[a->n] = 4;
	a->formats[a->n++] = 1;
}

/* bytea. The bytes must live until the statement was sent. */
static inline void qb_arg_bytes(struct qb_sql_args *a, const void *data, uint32_t bytes)
{
	a->values[a->n] = bytes ? data : "";
	a->lengths[a->n] = (int)bytes;
	a->formats[a->n++] = 1;
}

/* Text, jsonb as text, any type by its text form. The string must live until the statement was sent. NULL is NULL. */
static inline void qb_arg_text(struct qb_sql_args *a, const char *text)
{
	a->values[a->n] = text;
	a->lengths[a->n] = 0;
	a->formats[a->n++] = 0;
}

#endif
