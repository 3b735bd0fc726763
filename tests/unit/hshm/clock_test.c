/* SPDX-License-Identifier: BSD-3-Clause */
#include "hshm_test.h"

#include <time.h>

#include <hshm/clock.h>

static void clock_is_monotonic_and_counts_nanoseconds(void **state)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	uint64_t before = hshm_clock_ns();

	(void)state;
	nanosleep(&nap, NULL);
	assert_in_range(hshm_clock_ns() - before, 2000000, HSHM_NSEC_PER_SEC * 10);
}

static void deadline_lies_ahead_by_the_timeout(void **state)
{
	uint64_t before = hshm_clock_ns();
	uint64_t deadline = hshm_deadline_ns(HSHM_NSEC_PER_SEC);

	(void)state;
	assert_in_range(deadline, before + HSHM_NSEC_PER_SEC, hshm_clock_ns() + HSHM_NSEC_PER_SEC);
}

static void deadline_beyond_the_numbers_is_forever(void **state)
{
	(void)state;
	assert_true(hshm_deadline_ns(HSHM_FOREVER) == HSHM_FOREVER);
	assert_true(hshm_deadline_ns(HSHM_FOREVER - 1) == HSHM_FOREVER);
	assert_true(hshm_deadline_ns(0) != HSHM_FOREVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clock_is_monotonic_and_counts_nanoseconds),
		cmocka_unit_test(deadline_lies_ahead_by_the_timeout),
		cmocka_unit_test(deadline_beyond_the_numbers_is_forever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
