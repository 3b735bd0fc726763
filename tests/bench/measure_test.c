/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * measure_test.c - what bench/ makes of rounds: on a machine that moves as the cases below say
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"
#include "ratios.h"
#include "samples.h"

/* ---- the machine ---- */

static double (*placement)(unsigned look);
static unsigned n_looks;

double bench_placement_ns(struct bench *bench)
{
	(void)bench;
	return placement(n_looks++);
}

static double always_near(unsigned look)
{
	(void)look;
	return 100;
}

/* Each fifth look finds another: two rounds of five begin or end with it. */
static double away_at_each_fifth(unsigned look)
{
	return look % 5 == 4 ? 500 : 100;
}

/* Near for two rounds, then far for good. */
static double far_from_the_third(unsigned look)
{
	return look < 3 ? 100 : 500;
}

static double taken(unsigned look)
{
	(void)look;
	return 2 * BENCH_TAKEN_NS;
}

/* ---- sides ---- */

/* Values in turn, one a slice; as many samples as a slice may keep, and the last much higher. */
struct values {
	double at[4];
	unsigned n, next;
	unsigned n_samples;
	bool follows_placement;
};

static int slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct values *values = arg;
	double value = values->at[values->next++ % values->n];

	(void)slice_ns;
	/* between the looks n-1 and n */
	if (values->follows_placement)
		value = placement(n_looks ? n_looks - 1 : 0);
	for (unsigned i = 0; i < values->n_samples; i++)
		bench_sample(samples, value, 1);
	return 0;
}

static int fails(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	(void)arg, (void)slice_ns, (void)samples;
	return -EIO;
}

static int measure(const char *unit, struct values *ours, struct values *theirs, const char *their_unit,
		   struct bench_result *ret_result)
{
	struct bench bench = { .seconds = 0.05 };
	struct bench_side side = { .slice = slice, .arg = ours };
	struct bench_side reference = { .name = "theirs", .unit = their_unit, .slice = slice, .arg = theirs };

	n_looks = 0;
	*ret_result = (struct bench_result){ .unit = unit };
	return bench_measure_pair(&bench, &side, &reference, ret_result);
}

/* ---- pairs ---- */

static void ratio_is_the_median_of_the_rounds(void **state)
{
	/* one round in four is disturbed */
	struct values ours = { { 200, 200, 900, 200 }, 4, 0, 3 }, theirs = { { 100 }, 1, 0, 3 };
	struct bench_result result;

	(void)state;
	placement = always_near;
	assert_int_equal(measure("ns", &ours, &theirs, NULL, &result), 0);
	assert_float_equal(result.ratio, 2, 1e-9);
	assert_float_equal(result.spread, 0, 1e-9);
	assert_float_equal(result.run.p50, 200, 1e-9);
	assert_float_equal(result.run.max, 900, 1e-9);
	assert_float_equal(result.reference_run.p50, 100, 1e-9);
	assert_float_equal(result.pingpong_ns, 100, 1e-9);
	assert_string_equal(result.reference, "theirs");
	assert_int_equal(result.n_discarded, 0);
	assert_true(result.n_kept >= BENCH_RUNS_MIN);
	assert_int_equal(result.run.n, 3 * result.n_kept);
}

static void rounds_with_another_placement_at_the_end_are_thrown_away(void **state)
{
	struct values ours = { { 200 }, 1, 0, 1 }, theirs = { { 100 }, 1, 0, 1 };
	struct bench_result result;
	unsigned n_rounds;

	(void)state;
	placement = away_at_each_fifth;
	assert_int_equal(measure("ns", &ours, &theirs, NULL, &result), 0);
	n_rounds = n_looks - 1;
	assert_int_equal(result.n_kept + result.n_discarded, n_rounds);
	/* the looks 4, 9, 14 ...: each ends a round and begins one, but the last may only end one */
	assert_in_range(result.n_discarded, 2 * (n_looks / 5) - 1, 2 * (n_looks / 5));
	assert_float_equal(result.pingpong_ns, 100, 1e-9);
}

static void rounds_of_the_rarer_placement_are_thrown_away(void **state)
{
	struct values ours = { .n = 1, .n_samples = 1, .follows_placement = true }, theirs = { { 100 }, 1, 0, 1 };
	struct bench_result result;

	(void)state;
	placement = far_from_the_third;
	assert_int_equal(measure("ns", &ours, &theirs, NULL, &result), 0);
	assert_int_equal(result.n_discarded, 3); /* two near, and the one in which it changed */
	assert_float_equal(result.run.min, 500, 1e-9);
	assert_float_equal(result.ratio, 5, 1e-9);
	assert_float_equal(result.pingpong_ns, 500, 1e-9);
}

static void machine_that_is_not_ours_gives_no_figure(void **state)
{
	struct values ours = { { 200 }, 1, 0, 1 }, theirs = { { 100 }, 1, 0, 1 };
	struct bench_result result;

	(void)state;
	placement = taken;
	assert_int_equal(measure("ns", &ours, &theirs, NULL, &result), -EAGAIN);
}

static void rates_are_compared_with_rates_and_with_latencies(void **state)
{
	struct values ours = { { 4e6 }, 1, 0, 1 }, rate = { { 2e6 }, 1, 0, 1 }, latency = { { 500 }, 1, 0, 1 };
	struct bench_result result;

	(void)state;
	placement = always_near;
	assert_int_equal(measure("tasks/s", &ours, &rate, NULL, &result), 0);
	assert_float_equal(result.ratio, 2, 1e-9);
	assert_int_equal(measure("tasks/s", &ours, &latency, "ns", &result), 0);
	assert_float_equal(result.ratio, 2, 1e-9); /* two in 500 ns */
}

static void many_samples_of_a_slice_lose_no_extreme(void **state)
{
	struct bench_samples all = { 0 }, one;
	struct bench_run run;

	(void)state;
	assert_int_equal(bench_samples_init(&one, 1 << 18), 0);
	for (unsigned i = 0; i < 1 << 18; i++)
		bench_sample(&one, i == 77 ? 1 : i == 78 ? 1e9 : 100, 1);
	assert_int_equal(bench_samples_append(&all, &one), 0);
	bench_samples_fold(&all, false, &run);
	assert_int_equal(run.n, 1 << 18);
	assert_float_equal(run.min, 1, 1e-9);
	assert_float_equal(run.max, 1e9, 1e-9);
	assert_float_equal(run.p999, 100, 1e-9);
	assert_true(all.singles.n < 1 << 15);
	bench_samples_fini(&all);
	bench_samples_fini(&one);
}

static void bad_end_of_a_rate_is_the_low_one(void **state)
{
	struct bench_samples samples;
	struct bench_run run;

	(void)state;
	assert_int_equal(bench_samples_init(&samples, 1000), 0);
	for (unsigned i = 1; i <= 1000; i++)
		bench_sample(&samples, i, 1);
	bench_samples_fold(&samples, true, &run);
	assert_in_range((uint64_t)run.p99, 10, 11);
	assert_in_range((uint64_t)run.p999, 1, 2);
	bench_samples_fold(&samples, false, &run);
	assert_in_range((uint64_t)run.p99, 990, 991);
	assert_in_range((uint64_t)run.p999, 999, 1000);
	bench_samples_fini(&samples);
}

static void side_that_fails_ends_it(void **state)
{
	struct values theirs = { { 100 }, 1, 0, 1 };
	struct bench bench = { .seconds = 0.05 };
	struct bench_side side = { .slice = fails }, reference = { .name = "theirs", .slice = slice, .arg = &theirs };
	struct bench_result result = { .unit = "ns" };

	(void)state;
	placement = always_near;
	assert_int_equal(bench_measure_pair(&bench, &side, &reference, &result), -EIO);
}

/* ---- ratios ---- */

static struct bench_result figure(const char *unit, double ratio, double pingpong_ns)
{
	return (struct bench_result){
		.unit = unit, .ratio = ratio, .spread = 0.1, .reference = "pingpong", .pingpong_ns = pingpong_ns
	};
}

static enum bench_verdict verdict(const struct bench_ratios *ratios, const char *name, struct bench_result result)
{
	char text[256];

	return bench_ratios_check(ratios, name, &result, text, sizeof(text));
}

static void put(struct bench_ratios *ratios, const char *name, struct bench_result result)
{
	assert_int_equal(bench_ratios_put(ratios, name, &result), 0);
}

static void ratio_is_worse_beyond_the_recorded_spread_only(void **state)
{
	struct bench_ratios *ratios;

	(void)state;
	assert_int_equal(bench_ratios_load("no-such-file", true, &ratios), 0);
	put(ratios, "trip", figure("ns", 2.0, 100));
	put(ratios, "rate", figure("tasks/s", 2.0, 100));
	assert_int_equal(bench_ratios_save(ratios, "ratios.txt"), 0);
	bench_ratios_free(ratios);

	assert_int_equal(bench_ratios_load("ratios.txt", false, &ratios), 0);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 2.19, 100)), BENCH_HOLDS);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 2.21, 100)), BENCH_WORSE);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 0.1, 100)), BENCH_HOLDS);
	assert_int_equal(verdict(ratios, "rate", figure("tasks/s", 1.83, 100)), BENCH_HOLDS);
	assert_int_equal(verdict(ratios, "rate", figure("tasks/s", 1.81, 100)), BENCH_WORSE);
	assert_int_equal(verdict(ratios, "rate", figure("tasks/s", 9, 100)), BENCH_HOLDS);
	/* of the other placement, or another case, nothing is known */
	assert_int_equal(verdict(ratios, "trip", figure("ns", 9, 500)), BENCH_NO_RECORD);
	assert_int_equal(verdict(ratios, "else", figure("ns", 9, 100)), BENCH_NO_RECORD);
	bench_ratios_free(ratios);
	assert_int_equal(unlink("ratios.txt"), 0);
}

static void recording_one_placement_leaves_the_other(void **state)
{
	struct bench_ratios *ratios;

	(void)state;
	assert_int_equal(bench_ratios_load("no-such-file", true, &ratios), 0);
	put(ratios, "trip", figure("ns", 2.0, 100));
	put(ratios, "trip", figure("ns", 1.0, 500));
	assert_int_equal(bench_ratios_save(ratios, "ratios.txt"), 0);
	/* the median of three passes, and their spread, which is wider than each one's */
	put(ratios, "trip", figure("ns", 4.0, 100));
	put(ratios, "trip", figure("ns", 3.0, 100));
	put(ratios, "trip", figure("ns", 5.0, 100));
	assert_int_equal(bench_ratios_save(ratios, "ratios.txt"), 0);
	bench_ratios_free(ratios);

	assert_int_equal(bench_ratios_load("ratios.txt", false, &ratios), 0);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 5.9, 100)), BENCH_HOLDS);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 6.1, 100)), BENCH_WORSE);
	assert_int_equal(verdict(ratios, "trip", figure("ns", 1.2, 500)), BENCH_WORSE);
	bench_ratios_free(ratios);
	assert_int_equal(unlink("ratios.txt"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ratio_is_the_median_of_the_rounds),
		cmocka_unit_test(rounds_with_another_placement_at_the_end_are_thrown_away),
		cmocka_unit_test(rounds_of_the_rarer_placement_are_thrown_away),
		cmocka_unit_test(machine_that_is_not_ours_gives_no_figure),
		cmocka_unit_test(rates_are_compared_with_rates_and_with_latencies),
		cmocka_unit_test(many_samples_of_a_slice_lose_no_extreme),
		cmocka_unit_test(bad_end_of_a_rate_is_the_low_one),
		cmocka_unit_test(side_that_fails_ends_it),
		cmocka_unit_test(ratio_is_worse_beyond_the_recorded_spread_only),
		cmocka_unit_test(recording_one_placement_leaves_the_other),
	};

	/* a directory of its own: run_case.sh */
	return chdir(getenv("TMPDIR")) ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
