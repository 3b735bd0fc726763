/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm_stress.h - how long and with which seed the stress tests of the floor run
 *
 * CHI_STRESS_SECONDS extends each case (1.2 s when it is not set), CHI_STRESS_SEED repeats one.
 */
#ifndef HSHM_STRESS_H
#define HSHM_STRESS_H

#include "unit/hshm/hshm_test.h"

#include <stdio.h>

#include <hshm/clock.h>

__attribute__((unused)) static uint64_t stress_end_ns(void)
{
	const char *seconds = getenv("CHI_STRESS_SECONDS");

	return hshm_deadline_ns(seconds && atof(seconds) > 0 ? (uint64_t)(atof(seconds) * 1e9)
							     : 1200 * HSHM_NSEC_PER_MSEC);
}

__attribute__((unused)) static uint64_t stress_seed(void)
{
	const char *given = getenv("CHI_STRESS_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : hshm_clock_ns();

	printf("CHI_STRESS_SEED=%#llx\n", (unsigned long long)seed);
	fflush(stdout);
	return seed | 1; /* the generator needs one bit at least */
}

#endif
