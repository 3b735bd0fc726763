/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tests/support/random.h - seeded numbers, the same on each machine
 */
#ifndef TESTS_SUPPORT_RANDOM_H
#define TESTS_SUPPORT_RANDOM_H

#include <stdint.h>

/* The next of the sequence that @state began; any seed will do. Source: Steele, Lea, Flood, "Fast splittable pseudorandom
 * number generators" (2014), with Vigna's constants. */
static inline uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

#endif
