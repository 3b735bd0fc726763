/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clock.c - CLOCK_MONOTONIC as one number
 */
#include <time.h>

#include <hshm/clock.h>

uint64_t hshm_clock_ns(void)
{
	struct timespec now;

	/* cannot fail: the clock exists on every Linux and the pointer is good */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * HSHM_NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

uint64_t hshm_deadline_ns(uint64_t timeout_ns)
{
	uint64_t deadline;

	if (timeout_ns == HSHM_FOREVER || __builtin_add_overflow(hshm_clock_ns(), timeout_ns, &deadline))
		return HSHM_FOREVER;
	return deadline;
}
