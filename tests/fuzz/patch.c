/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/patch.h"

#include "shm/segment.h"

static const uint64_t odd[] = { 0, 1, UINT32_MAX, 1ull << 63, UINT64_MAX, 0x1000000, 4095, 64 };

static void one(unsigned way, uint64_t off, uint64_t value, unsigned bytes)
{
	uint8_t seed[16], *at = seed;

	*at++ = (uint8_t)way;
	patch_put(&at, off, value, bytes);
	fuzz_seed(seed, (size_t)(at - seed));
}

static void field(unsigned ways, uint64_t off, unsigned bytes)
{
	static unsigned turn;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		one(turn++ % ways, off, odd[i], bytes);
}

/* The first used one of each kind, and the header. */
void patch_seeds(const uint8_t *segment, size_t bytes, unsigned ways)
{
	const struct qb_header_shm *h = (const struct qb_header_shm *)segment;
	const struct qb_section_shm *sec = h->section;
	const uint64_t job = sec[QB_SEC_JOBS].off + 2 * sec[QB_SEC_JOBS].stride;
	const uint64_t seat = sec[QB_SEC_SEATS].off + 3 * sec[QB_SEC_SEATS].stride;
	const uint64_t ring = sec[QB_SEC_RINGS].off, block = sec[QB_SEC_BLOCKS].off;
	const uint64_t arena = sec[QB_SEC_ARENAS].off + 3 * sec[QB_SEC_ARENAS].stride;
	const uint64_t events = sec[QB_SEC_EVENTS].off + 3 * sec[QB_SEC_EVENTS].stride;
	const uint64_t record = events + sizeof(struct qb_event_ring_shm);

	for (unsigned way = 0; way < ways; way++)
		one(way, bytes - 1, 0, 1);
	for (uint64_t off = 0; off < offsetof(struct qb_header_shm, clock_first); off += 8)
		field(ways, off, 8);
	for (uint64_t off = offsetof(struct qb_header_shm, clock_first); off < sizeof(*h); off += 64)
		field(ways, off, 8);
	field(ways, offsetof(struct qb_header_shm, high_water), 4);
	for (uint64_t off = 0; off < 96; off += off == 40 || off >= 56 ? 4 : 8)
		field(ways, job + off, off == 40 || off >= 56 ? 4 : 8);
	for (uint64_t off = 0; off < 40; off += 8)
		field(ways, seat + off, 8);
	field(ways, ring, 8);
	field(ways, ring + offsetof(struct qb_ring_shm, tail), 8);
	field(ways, ring + sizeof(struct qb_ring_shm), 8);
	field(ways, block, 8);
	field(ways, block + 8, 4);
	field(ways, arena, 8);
	for (uint64_t off = 0; off < sizeof(struct qb_arena_entry_shm); off += 4)
		field(ways, arena + sizeof(struct qb_arena_shm) + off, 4);
	field(ways, events, 8);
	field(ways, events + 128, 8);
	for (uint64_t off = 0; off < sizeof(struct qb_event_shm); off += 8)
		field(ways, record + off, 8);
	field(ways, sec[QB_SEC_META].off, 4);
}
