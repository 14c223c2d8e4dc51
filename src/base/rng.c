/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

/* splitmix64: turns any seed, also 0 or 1, into well mixed state. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9E3779B97F4A7C15u;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, unsigned k)
{
	return x << k | x >> (64 - k);
}

void qb_rng_init(struct qb_rng *rng, uint64_t seed, const char *purpose)
{
	uint64_t hash = 0xCBF29CE484222325u;    /* FNV-1a of the purpose */
	uint64_t state = seed;
	unsigned i;

	for (; *purpose; purpose++)
		hash = (hash ^ (unsigned char)*purpose) * 0x100000001B3u;
	/* The seed is mixed before the purpose joins: near seeds must not meet under near names. */
	state = splitmix(&state) ^ hash;
	for (i = 0; i < 4; i++)
		rng->s[i] = splitmix(&state);
}

uint64_t qb_rng_next(struct qb_rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

uint64_t qb_rng_below(struct qb_rng *rng, uint64_t bound)
{
	unsigned __int128 product = (unsigned __int128)qb_rng_next(rng) * bound;

	/* Lemire: the few low halves below 2^64 mod bound would make small results too likely. */
	if ((uint64_t)product < bound) {
		uint64_t threshold = -bound % bound;

		while ((uint64_t)product < threshold)
			product = (unsigned __int128)qb_rng_next(rng) * bound;
	}
	return (uint64_t)(product >> 64);
}

double qb_rng_unit(struct qb_rng *rng)
{
	return (double)(qb_rng_next(rng) >> 11) * 0x1p-53;
}
