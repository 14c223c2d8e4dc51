/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/pcg.h"

/* The 128-bit linear congruential generator below the output function. */
#define MULTIPLIER u128(0x2360ED051FC65DA4u, 0x4385DF649FCCF645u)
#define INCREMENT u128(0x5851F42D4C957F2Du, 0x14057B7EF767814Fu)
#define DXSM_MULTIPLIER 0xDA942042E4DD58B5u

static unsigned __int128 u128(uint64_t hi, uint64_t lo)
{
	return (unsigned __int128)hi << 64 | lo;
}

static void set_state(struct qb_pcg *pcg, unsigned __int128 state)
{
	pcg->hi = (uint64_t)(state >> 64);
	pcg->lo = (uint64_t)state;
}

void qb_pcg_init(struct qb_pcg *pcg, uint64_t seed_hi, uint64_t seed_lo)
{
	pcg->hi = seed_hi;
	pcg->lo = seed_lo;
}

uint64_t qb_pcg_next(struct qb_pcg *pcg)
{
	uint64_t hi;

	set_state(pcg, u128(pcg->hi, pcg->lo) * MULTIPLIER + INCREMENT);

	/* "Double xorshift multiply" of the new state. */
	hi = pcg->hi;
	hi ^= hi >> 32;
	hi *= DXSM_MULTIPLIER;
	hi ^= hi >> 48;
	hi *= pcg->lo | 1;
	return hi;
}

double qb_pcg_unit(struct qb_pcg *pcg)
{
	return (double)(qb_pcg_next(pcg) & ((1ull << 53) - 1)) * 0x1p-53;
}

uint64_t qb_pcg_below(struct qb_pcg *pcg, uint64_t bound)
{
	unsigned __int128 product;

	if (!(bound & (bound - 1)))
		return qb_pcg_next(pcg) & (bound - 1);

	product = (unsigned __int128)qb_pcg_next(pcg) * bound;
	if ((uint64_t)product < bound) {
		/* 2^64 mod bound: the low halves that would make small results too likely. */
		uint64_t threshold = -bound % bound;

		while ((uint64_t)product < threshold)
			product = (unsigned __int128)qb_pcg_next(pcg) * bound;
	}
	return (uint64_t)(product >> 64);
}

void qb_pcg_advance(struct qb_pcg *pcg, uint64_t count)
{
	/* x -> mul * x + add, squared for each bit of count: the composition of that many steps. */
	unsigned __int128 mul = MULTIPLIER, add = INCREMENT;
	unsigned __int128 state = u128(pcg->hi, pcg->lo);

	for (; count; count >>= 1) {
		if (count & 1)
			state = state * mul + add;
		add *= mul + 1;
		mul *= mul;
	}
	set_state(pcg, state);
}
