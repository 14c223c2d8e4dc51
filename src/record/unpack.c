/* SPDX-License-Identifier: Apache-2.0 */
#include "record/unpack.h"

#include <math.h>
#include <string.h>

#include "shm/status.h"

static size_t left(const struct qb_unpack *u)
{
	return (size_t)(u->end - u->at);
}

/* n <= 8 bytes, most significant first, as everything in msgpack. */
static int take_be(struct qb_unpack *u, unsigned n, uint64_t *out)
{
	uint64_t v = 0;

	if (left(u) < n)
		return QB_ECORRUPT;
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | *u->at++;
	*out = v;
	return 0;
}

static int take_tag(struct qb_unpack *u, uint8_t *tag)
{
	if (left(u) < 1)
		return QB_ECORRUPT;
	*tag = *u->at++;
	return 0;
}

/* A container cannot have more members than bytes are left: each takes at least one. */
static int take_count(struct qb_unpack *u, unsigned size_bytes, unsigned each, uint32_t *count)
{
	uint64_t n;

	if (take_be(u, size_bytes, &n) < 0 || n * each > left(u))
		return QB_ECORRUPT;
	*count = (uint32_t)n;
	return 0;
}

static int check_count(const struct qb_unpack *u, uint32_t n, unsigned each)
{
	return (uint64_t)n * each > left(u) ? QB_ECORRUPT : 0;
}

int qb_unpack_map(struct qb_unpack *u, uint32_t *pairs_count)
{
	uint8_t tag;

	if (take_tag(u, &tag) < 0)
		return QB_ECORRUPT;
	if (tag >= 0x80 && tag <= 0x8f) {
		*pairs_count = tag & 0x0f;
		return check_count(u, *pairs_count, 2);
	}
	if (tag == 0xde || tag == 0xdf)
		return take_count(u, tag == 0xde ? 2 : 4, 2, pairs_count);
	return QB_ECORRUPT;
}

int qb_unpack_array(struct qb_unpack *u, uint32_t *count)
{
	uint8_t tag;

	if (take_tag(u, &tag) < 0)
		return QB_ECORRUPT;
	if (tag >= 0x90 && tag <= 0x9f) {
		*count = tag & 0x0f;
		return check_count(u, *count, 1);
	}
	if (tag == 0xdc || tag == 0xdd)
		return take_count(u, tag == 0xdc ? 2 : 4, 1, count);
	return QB_ECORRUPT;
}

int qb_unpack_u64(struct qb_unpack *u, uint64_t *out)
{
	uint8_t tag;
	uint64_t v;

	if (take_tag(u, &tag) < 0)
		return QB_ECORRUPT;
	if (tag < 0x80) {
		*out = tag;
		return 0;
	}
	if (tag >= 0xcc && tag <= 0xcf)
		return take_be(u, 1u << (tag - 0xcc), out);
	if (tag < 0xd0 || tag > 0xd3)
		return QB_ECORRUPT;
	/* The signed forms: a writer in another language may use them for small numbers. */
	unsigned bytes = 1u << (tag - 0xd0);

	if (take_be(u, bytes, &v) < 0 || v >> (8 * bytes - 1))
		return QB_ECORRUPT;
	*out = v;
	return 0;
}

int qb_unpack_u32(struct qb_unpack *u, uint32_t *out)
{
	uint64_t v;

	if (qb_unpack_u64(u, &v) < 0 || v > UINT32_MAX)
		return QB_ECORRUPT;
	*out = (uint32_t)v;
	return 0;
}

int qb_unpack_double(struct qb_unpack *u, double *out)
{
	uint64_t bits;

	if (left(u) < 1)
		return QB_ECORRUPT;
	if (*u->at == 0xcb) {
		u->at++;
		if (take_be(u, 8, &bits) < 0)
			return QB_ECORRUPT;
		memcpy(out, &bits, sizeof(*out));
	} else if (*u->at == 0xca) {
		uint32_t half;
		float f;

		u->at++;
		if (take_be(u, 4, &bits) < 0)
			return QB_ECORRUPT;
		half = (uint32_t)bits;
		memcpy(&f, &half, sizeof(f));
		*out = (double)f;
	} else {
		if (qb_unpack_u64(u, &bits) < 0)
			return QB_ECORRUPT;
		*out = (double)bits;
	}
	return isfinite(*out) ? 0 : QB_ECORRUPT;
}

static int take_bytes(struct qb_unpack *u, unsigned size_bytes, const uint8_t **data,
		      uint32_t *bytes)
{
	if (take_count(u, size_bytes, 1, bytes) < 0)
		return QB_ECORRUPT;
	*data = u->at;
	u->at += *bytes;
	return 0;
}

int qb_unpack_str(struct qb_unpack *u, const char **text, uint32_t *bytes)
{
	const uint8_t *data;
	uint8_t tag;
	int rc;

	if (take_tag(u, &tag) < 0)
		return QB_ECORRUPT;
	if (tag >= 0xa0 && tag <= 0xbf) {
		*bytes = tag & 0x1f;
		if (check_count(u, *bytes, 1) < 0)
			return QB_ECORRUPT;
		*text = (const char *)u->at;
		u->at += *bytes;
		return 0;
	}
	if (tag < 0xd9 || tag > 0xdb)
		return QB_ECORRUPT;
	rc = take_bytes(u, 1u << (tag - 0xd9), &data, bytes);
	if (rc == 0)
		*text = (const char *)data;
	return rc;
}

int qb_unpack_bin(struct qb_unpack *u, const uint8_t **data, uint32_t *bytes)
{
	uint8_t tag;

	if (take_tag(u, &tag) < 0 || tag < 0xc4 || tag > 0xc6)
		return QB_ECORRUPT;
	return take_bytes(u, 1u << (tag - 0xc4), data, bytes);
}

int qb_unpack_text(struct qb_unpack *u, char *out, size_t cap)
{
	const char *text;
	uint32_t bytes;

	if (qb_unpack_str(u, &text, &bytes) < 0 || bytes >= cap || memchr(text, 0, bytes))
		return QB_ECORRUPT;
	memcpy(out, text, bytes);
	out[bytes] = '\0';
	return 0;
}

static int advance(struct qb_unpack *u, size_t bytes)
{
	if (left(u) < bytes)
		return QB_ECORRUPT;
	u->at += bytes;
	return 0;
}

/* What follows the tag of an object that holds no others: a length of *size_bytes, fixed bytes. */
static int scalar_shape(uint8_t tag, unsigned *size_bytes, unsigned *fixed_bytes)
{
	static const uint8_t fixed[] = { [0xca - 0xc0] = 4, [0xcb - 0xc0] = 8, [0xcc - 0xc0] = 1,
		[0xcd - 0xc0] = 2, [0xce - 0xc0] = 4, [0xcf - 0xc0] = 8, [0xd0 - 0xc0] = 1,
		[0xd1 - 0xc0] = 2, [0xd2 - 0xc0] = 4, [0xd3 - 0xc0] = 8, [0xd4 - 0xc0] = 2,
		[0xd5 - 0xc0] = 3, [0xd6 - 0xc0] = 5, [0xd7 - 0xc0] = 9, [0xd8 - 0xc0] = 17 };

	*size_bytes = 0;
	*fixed_bytes = 0;
	if (tag < 0x80 || tag >= 0xe0)
		return 0;
	if (tag >= 0xa0 && tag <= 0xbf) {
		*fixed_bytes = tag & 0x1f;
		return 0;
	}
	if (tag == 0xc1)
		return QB_ECORRUPT;
	if (tag >= 0xc4 && tag <= 0xc9) {
		*size_bytes = 1u << ((tag - 0xc4) % 3);
		*fixed_bytes = tag >= 0xc7;     /* the type byte of an extension */
	} else if (tag >= 0xd9) {
		*size_bytes = 1u << (tag - 0xd9);
	} else {
		*fixed_bytes = fixed[tag - 0xc0];
	}
	return 0;
}

static int skip_scalar(struct qb_unpack *u)
{
	unsigned size_bytes, fixed_bytes;
	uint64_t bytes = 0;
	uint8_t tag;

	if (take_tag(u, &tag) < 0 || scalar_shape(tag, &size_bytes, &fixed_bytes) < 0)
		return QB_ECORRUPT;
	if (size_bytes && take_be(u, size_bytes, &bytes) < 0)
		return QB_ECORRUPT;
	return advance(u, (size_t)bytes + fixed_bytes);
}

int qb_unpack_skip(struct qb_unpack *u)
{
	uint64_t todo[QB_UNPACK_DEPTH_MAX];     /* members still to come, by level */
	unsigned depth = 0;

	todo[0] = 1;
	for (;;) {
		uint32_t n = 0;

		while (todo[depth] == 0) {
			if (depth-- == 0)
				return 0;
		}
		todo[depth]--;
		if (left(u) < 1)
			return QB_ECORRUPT;

		uint8_t tag = *u->at;
		int is_map = (tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf;
		int is_array = (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd;
		int rc = is_map ? qb_unpack_map(u, &n) :
			 is_array ? qb_unpack_array(u, &n) : skip_scalar(u);

		if (rc < 0)
			return rc;
		if (n == 0)
			continue;
		if (++depth == QB_UNPACK_DEPTH_MAX)
			return QB_ECORRUPT;
		todo[depth] = is_map ? 2 * (uint64_t)n : n;
	}
}
