/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/estimate.h"

static uint64_t seed;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* in [-1, 1] */
static double noise(void)
{
	return (double)(int64_t)next() / 9.3e18;
}

static void within_factor_two(const struct chi_estimate *estimate, uint64_t bytes, double truth)
{
	double ns = (double)chi_estimate_ns(estimate, bytes);

	if (ns < truth / 2 || ns > truth * 2)
		fail_msg("%llu bytes: estimated %.0f ns, truth %.0f ns", (unsigned long long)bytes, ns, truth);
}

static void nothing_learned_gives_the_constant(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	assert_int_equal(chi_estimate_ns(&estimate, 0), CHI_ESTIMATE_UNKNOWN_NS);
	assert_int_equal(chi_estimate_ns(&estimate, UINT64_MAX), CHI_ESTIMATE_UNKNOWN_NS);
}

static void noisy_line_comes_within_factor_two(void **state)
{
	static const struct {
		double base, per_byte;
	} lines[] = { { 500, 0.05 }, { 20000, 3 }, { 100, 12 }, { 1000000, 0.001 } };

	(void)state;
	for (size_t l = 0; l < sizeof(lines) / sizeof(lines[0]); l++) {
		struct chi_estimate estimate = { 0 };

		seed = 4711 + l;
		for (int i = 0; i < 400; i++) {
			uint64_t bytes = UINT64_C(1) << (10 + next() % 15);
			double ns = (lines[l].base + lines[l].per_byte * (double)bytes) * (1 + 0.4 * noise());

			if (i % 20 == 7)
				ns *= 100; /* preempted */
			chi_estimate_learn(&estimate, bytes, (uint64_t)ns);
		}
		for (uint64_t bytes = 1024; bytes <= 32u << 20; bytes *= 4)
			within_factor_two(&estimate, bytes, lines[l].base + lines[l].per_byte * (double)bytes);
	}
}

static void constant_time_is_found_whatever_the_bytes(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	seed = 99;
	for (int i = 0; i < 200; i++)
		chi_estimate_learn(&estimate, next() % (1 << 20), 7000);
	within_factor_two(&estimate, 0, 7000);
	within_factor_two(&estimate, 1 << 20, 7000);
}

static void equal_sizes_give_their_mean(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	for (int i = 0; i < 200; i++)
		chi_estimate_learn(&estimate, 65536, i % 2 ? 900 : 1100);
	assert_in_range(chi_estimate_ns(&estimate, 65536), 900, 1100);
	within_factor_two(&estimate, 65536 * 4, 1000);
}

static void no_bytes_at_all_give_the_mean(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++)
		chi_estimate_learn(&estimate, 0, 250);
	assert_in_range(chi_estimate_ns(&estimate, 0), 249, 251);
}

static void time_that_falls_with_bytes_is_never_negative(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	for (int i = 0; i < 200; i++) {
		uint64_t mib = (uint64_t)(i % 8);

		chi_estimate_learn(&estimate, mib << 20, 9000 - 1000 * mib);
	}
	for (uint64_t mib = 0; mib < 1u << 20; mib = mib * 2 + 1)
		assert_in_range(chi_estimate_ns(&estimate, mib << 20), 1000, 9000);
}

static void a_changed_world_is_followed(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	for (int i = 0; i < 200; i++)
		chi_estimate_learn(&estimate, 4096, 1000);
	for (int i = 0; i < 300; i++)
		chi_estimate_learn(&estimate, 4096, 5000000);
	within_factor_two(&estimate, 4096, 5000000);
}

static void extreme_samples_stay_finite(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	chi_estimate_learn(&estimate, UINT64_MAX, UINT64_MAX);
	chi_estimate_learn(&estimate, 0, 0);
	chi_estimate_learn(&estimate, UINT64_MAX, 0);
	chi_estimate_learn(&estimate, 1, UINT64_MAX);
	assert_in_range(chi_estimate_ns(&estimate, UINT64_MAX), 1, UINT64_C(1000000000000000000));
	assert_in_range(chi_estimate_ns(&estimate, 0), 1, UINT64_C(1000000000000000000));
}

static void a_busy_estimate_skips_the_sample(void **state)
{
	struct chi_estimate estimate = { 0 };

	(void)state;
	chi_estimate_learn(&estimate, 0, 1000);
	hshm_store_relaxed(&estimate.busy, 1);
	chi_estimate_learn(&estimate, 0, 900000);
	assert_int_equal(chi_estimate_ns(&estimate, 0), 1000);
	hshm_store_relaxed(&estimate.busy, 0);
	chi_estimate_learn(&estimate, 0, 900000);
	assert_true(chi_estimate_ns(&estimate, 0) > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_learned_gives_the_constant),
		cmocka_unit_test(noisy_line_comes_within_factor_two),
		cmocka_unit_test(constant_time_is_found_whatever_the_bytes),
		cmocka_unit_test(equal_sizes_give_their_mean),
		cmocka_unit_test(no_bytes_at_all_give_the_mean),
		cmocka_unit_test(time_that_falls_with_bytes_is_never_negative),
		cmocka_unit_test(a_changed_world_is_followed),
		cmocka_unit_test(extreme_samples_stay_finite),
		cmocka_unit_test(a_busy_estimate_skips_the_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
