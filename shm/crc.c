/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/crc.h"

#include <string.h>

/*
 * Eight tables of 256, for eight bytes a step.  The CRC is linear, so an entry is the XOR of the
 * entries of its bits: only those 64 are written out (by running the polynomial 0x82f63b78 over
 * 1 << bit, then over eight more zero bits for each further table), the compiler makes the rest.
 */
#define BIT(n, bit, entry) (((n) >> (bit) & 1) * (entry))
#define BITS(n, b0, b1, b2, b3, b4, b5, b6, b7)                                                 \
	(BIT(n, 0, b0) ^ BIT(n, 1, b1) ^ BIT(n, 2, b2) ^ BIT(n, 3, b3) ^ BIT(n, 4, b4) ^        \
	 BIT(n, 5, b5) ^ BIT(n, 6, b6) ^ BIT(n, 7, b7))
#define T0(n) BITS(n, 0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu, \
		   0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u)
#define T1(n) BITS(n, 0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u, \
		   0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u)
#define T2(n) BITS(n, 0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u, \
		   0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u)
#define T3(n) BITS(n, 0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u, \
		   0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu)
#define T4(n) BITS(n, 0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u, \
		   0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu)
#define T5(n) BITS(n, 0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu, \
		   0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u)
#define T6(n) BITS(n, 0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u, \
		   0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u)
#define T7(n) BITS(n, 0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau, \
		   0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u)

#define ROW4(T, n) T(n), T((n) + 1), T((n) + 2), T((n) + 3)
#define ROW16(T, n) ROW4(T, n), ROW4(T, (n) + 4), ROW4(T, (n) + 8), ROW4(T, (n) + 12)
#define ROW64(T, n) ROW16(T, n), ROW16(T, (n) + 16), ROW16(T, (n) + 32), ROW16(T, (n) + 48)
#define TABLE(T) { ROW64(T, 0u), ROW64(T, 64u), ROW64(T, 128u), ROW64(T, 192u) }

static const uint32_t table[8][256] = {
	TABLE(T0), TABLE(T1), TABLE(T2), TABLE(T3), TABLE(T4), TABLE(T5), TABLE(T6), TABLE(T7),
};

/* Byte by byte assembled, so that it is right on either byte order; compilers make it one load. */
static uint32_t load_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t qb_crc32c_table(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *p = data;

	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, p += 8) {
		uint32_t lo = load_le32(p) ^ crc, hi = load_le32(p + 4);

		crc = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^ table[5][lo >> 16 & 255] ^
		      table[4][lo >> 24] ^ table[3][hi & 255] ^ table[2][hi >> 8 & 255] ^
		      table[1][hi >> 16 & 255] ^ table[0][hi >> 24];
	}
	for (; bytes > 0; bytes--, p++)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *p = data;
	uint64_t c = ~crc;

	for (; bytes >= 8; bytes -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		c = __builtin_ia32_crc32di(c, word);
	}
	for (; bytes > 0; bytes--, p++)
		c = __builtin_ia32_crc32qi((uint32_t)c, *p);
	return ~(uint32_t)c;
}
#endif

uint32_t qb_crc32c(uint32_t crc, const void *data, size_t bytes)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, data, bytes);
#endif
	return qb_crc32c_table(crc, data, bytes);
}
