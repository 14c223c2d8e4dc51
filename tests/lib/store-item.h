/* SPDX-License-Identifier: Apache-2.0 */
/* Items that say what they should be: from the number in the first 8 bytes follow the length and all other bytes. */
#ifndef QB_TESTS_LIB_STORE_ITEM_H
#define QB_TESTS_LIB_STORE_ITEM_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/storage.h"

#define ITEM_MAX 20008u

static inline size_t item_bytes(uint64_t number)
{
	return 8 + (size_t)(number * 0x9E3779B97F4A7C15u >> 40) % (ITEM_MAX - 8);
}

static inline size_t item_make(uint64_t number, uint8_t buf[ITEM_MAX])
{
	uint64_t x = number;
	size_t bytes = item_bytes(number);

	memcpy(buf, &number, 8);
	for (size_t i = 8; i < bytes; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		buf[i] = (uint8_t)(x >> 56);
	}
	return bytes;
}

/* Its number, or 0 when it is not whole. */
static inline uint64_t item_number(const void *data, size_t bytes)
{
	static _Thread_local uint8_t want[ITEM_MAX];
	uint64_t number = 0;

	if (bytes < 8)
		return 0;
	memcpy(&number, data, 8);
	return item_make(number, want) == bytes && memcmp(want, data, bytes) == 0 ? number : 0;
}

struct item_source {
	uint64_t number;
	size_t step;            /* bytes a write */
	int fails_at_end;       /* what the resolver returns instead of 0 */
};

/* A resolver. */
static inline int item_write(void *ctx, struct qb_store_sink *sink, struct qb_err *err)
{
	const struct item_source *src = ctx;
	uint8_t buf[ITEM_MAX];
	size_t bytes = item_make(src->number, buf), step = src->step ? src->step : bytes;

	for (size_t at = 0; at < bytes; at += step) {
		int rc = sink->write(sink, buf + at, bytes - at < step ? bytes - at : step, err);

		if (rc < 0)
			return rc;
	}
	if (src->fails_at_end)
		return qb_err_set(err, src->fails_at_end, "the work has failed");
	return 0;
}

/* The number of what is there under a name: 0 none, UINT64_MAX not whole or not readable. */
static inline uint64_t item_there(struct qb_store *s, const char *dir, const char *address)
{
	size_t bytes = 0;
	void *data = NULL;
	int rc = qb_store_get_bytes(s, dir, address, ITEM_MAX * 2, &data, &bytes, NULL, NULL);

	if (rc == 0)
		return 0;
	uint64_t number = rc == 1 ? item_number(data, bytes) : 0;

	if (rc == 1)
		free(data);
	return number ? number : UINT64_MAX;
}

#endif
