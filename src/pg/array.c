/* SPDX-License-Identifier: Apache-2.0 */
#include "pg/array.h"

#include <stdlib.h>

#include "base/strbuf.h"
#include "shm/status.h"

#define FIRST_CAP_BYTES 4096u

void qb_pg_array_init(struct qb_pg_array *a, uint32_t elem_oid)
{
	memset(a, 0, sizeof(*a));
	a->elem_oid = elem_oid;
	a->cap_bytes = FIRST_CAP_BYTES;
	a->data = qb_xmalloc(a->cap_bytes);
	qb_pg_array_reset(a);
}

void qb_pg_array_free(struct qb_pg_array *a)
{
	free(a->data);
	memset(a, 0, sizeof(*a));
}

int qb_pg_array_grow(struct qb_pg_array *a, size_t bytes)
{
	size_t want_bytes;
	size_t cap_bytes = a->cap_bytes;

	if (bytes > QB_PG_ARRAY_MAX_BYTES - a->bytes) {
		a->too_big = true;
		return QB_ETOOBIG;
	}
	want_bytes = a->bytes + bytes;
	while (cap_bytes < want_bytes)
		cap_bytes *= 2;
	a->data = qb_xrealloc(a->data, cap_bytes);
	a->cap_bytes = cap_bytes;
	return 0;
}

int qb_pg_array_finish(struct qb_pg_array *a, const char **value, int *bytes)
{
	*value = (const char *)a->data;
	*bytes = 0;
	if (a->too_big)
		return QB_ETOOBIG;
	/* The empty array has no dimension at all: that is the form the server itself writes. */
	qb_pg_array_put_u32(a->data, a->count ? 1 : 0);
	qb_pg_array_put_u32(a->data + 4, a->has_null);
	qb_pg_array_put_u32(a->data + 8, a->elem_oid);
	qb_pg_array_put_u32(a->data + 12, a->count);
	qb_pg_array_put_u32(a->data + 16, 1);
	*bytes = a->count ? (int)a->bytes : 12;
	return 0;
}
