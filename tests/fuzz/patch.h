/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs that say what to change in a valid segment, instead of being one: a few bytes that hit the
 * structures, and only what was changed need be put back.
 *
 * A change: three bytes offset, one byte count - 1 (low three bits), the bytes.
 */
#ifndef QB_TESTS_FUZZ_PATCH_H
#define QB_TESTS_FUZZ_PATCH_H

#include <string.h>

#include "tests/fuzz/fuzz.h"

#define PATCHES_MAX 32

struct patch {
	uint32_t off, bytes;
	uint8_t to[8];
};

/* The next of them; 0 at the end. */
static inline int patch_next(struct fuzz_reader *r, size_t bytes, struct patch *p)
{
	if (r->end - r->at < 5)
		return 0;
	p->off = (uint32_t)(fuzz_number(r, 3) % bytes);
	p->bytes = (fuzz_u8(r) & 7) + 1u;
	if (p->bytes > bytes - p->off)
		p->bytes = (uint32_t)(bytes - p->off);
	for (uint32_t i = 0; i < p->bytes; i++)
		p->to[i] = fuzz_u8(r);
	return 1;
}

static inline void patch_put(uint8_t **at, uint64_t off, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < 3; i++)
		*(*at)++ = (uint8_t)(off >> (8 * i));
	*(*at)++ = (uint8_t)(bytes - 1);
	for (unsigned i = 0; i < bytes; i++)
		*(*at)++ = (uint8_t)(value >> (8 * i));
}

/* Seeds: for each way to look at it, odd numbers in each field that says where or how much. */
void patch_seeds(const uint8_t *segment, size_t bytes, unsigned ways);

#endif
