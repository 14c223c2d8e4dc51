/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes, rounding and the asserts that pin a layout. */
#ifndef QB_SHM_ALIGN_H
#define QB_SHM_ALIGN_H

#include <stddef.h>
#include <stdint.h>

/* Ours, not a library's: it is part of the layout. Two 64-byte lines, because adjacent lines are prefetched in pairs. */
#define QB_CACHELINE 128u
#define QB_PAGE_BYTES 4096u

#define QB_ALIGNED(n) __attribute__((aligned(n)))
#define QB_ROUND_UP(x, to) (((x) + (to) - 1) / (to) * (to))
#define QB_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define QB_ASSERT_SIZE(type, bytes) \
	_Static_assert(sizeof(struct type) == (bytes), "size of " #type)
#define QB_ASSERT_OFF(type, field, off) \
	_Static_assert(offsetof(struct type, field) == (off), "offset of " #type "." #field)

static inline int qb_is_pow2(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

#endif
