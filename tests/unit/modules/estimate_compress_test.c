/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate_compress_test.c - the estimate that nobody gave: learned from runs of `compress`, right within a factor of two
 */
/* first: modules_test.h names a variable as they name parameters */
#include "runtime/estimate.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"

#include "modules_test.h"

#define KIB	UINT64_C(1024)
#define MIB	(1024 * KIB)
#define LARGEST (4 * MIB)
#define N_LEARN 60
#define N_RUNS	5
#define N_TRIES 5

/* none of them is learned from */
static const uint64_t held_out[] = { 100 * KIB, 300 * KIB, 900 * KIB, 1700 * KIB, 3300 * KIB };
#define N_HELD_OUT (sizeof(held_out) / sizeof(held_out[0]))

static uint32_t pool;
static unsigned char *in, *out;
static uint64_t out_max;

static int set_up(void **state)
{
	int rc = start_runtime(state);

	if (!rc && chi_compress_open(client, 1, &pool) < 0) {
		fprintf(stderr, "compress: %s\n", chi_error_text());
		return -1;
	}
	if (rc)
		return rc;
	out_max = chi_compress_bound_bytes(LARGEST);
	in = lend(LARGEST);
	out = lend(out_max);
	fill(in, LARGEST, 4711, 0);
	return 0;
}

static int tear_down(void **state)
{
	chi_free(client, in);
	chi_free(client, out);
	return stop_runtime(state);
}

static void run(uint64_t in_bytes)
{
	uint64_t out_bytes;

	assert_int_equal(
		chi_compress(client, pool, in, in_bytes, out, chi_compress_bound_bytes(in_bytes), 3, &out_bytes), 0);
}

/* What monitor(EST_LOAD) answers: the same question that chi_wait() asks in a method. */
static uint64_t estimate_ns(uint64_t in_bytes)
{
	struct chi_compress_task task;
	struct chi_monitor monitor = { .task = &task.task };
	uint8_t epoch;
	struct chi_pool *compress = chi_pool_get(runtime->pools, pool, &epoch);

	assert_non_null(compress);
	assert_int_equal(chi_compress_task_init(client, &task, pool, CHI_QUERY_LOCAL_ID(0), in, in_bytes, out,
						chi_compress_bound_bytes(in_bytes), 3),
			 0);
	assert_int_equal(chi_container_monitor(compress->local_table[0], CHI_MONITOR_EST_LOAD, &monitor), 0);
	chi_pool_put(compress, epoch);
	return monitor.estimate_ns;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t median_ns(uint64_t in_bytes)
{
	uint64_t ns[N_RUNS];

	for (int i = 0; i < N_RUNS; i++) {
		uint64_t begin_ns = hshm_clock_ns();

		run(in_bytes);
		ns[i] = hshm_clock_ns() - begin_ns;
	}
	qsort(ns, N_RUNS, sizeof(ns[0]), compare);
	return ns[N_RUNS / 2];
}

static bool estimates_are_within_factor_two(void)
{
	bool all = true;

	for (size_t i = 0; i < N_HELD_OUT; i++) {
		/* asked first: what is measured is learned too */
		uint64_t estimated_ns = estimate_ns(held_out[i]);
		uint64_t measured_ns = median_ns(held_out[i]);
		bool within = estimated_ns <= 2 * measured_ns && 2 * estimated_ns >= measured_ns;

		print_message("%5ju KiB: estimated %8.3f ms, measured %8.3f ms: %.2f%s\n",
			      (uintmax_t)(held_out[i] / KIB), (double)estimated_ns / 1e6, (double)measured_ns / 1e6,
			      (double)estimated_ns / (double)measured_ns, within ? "" : "  NOT within a factor of two");
		all = all && within;
	}
	return all;
}

static void the_learned_estimate_comes_within_a_factor_of_two(void **state)
{
	uint64_t seed = 20240229;
	bool good = false;

	(void)state;
	assert_int_equal(estimate_ns(MIB),
			 CHI_ESTIMATE_UNKNOWN_NS); /* nobody has said anything, and nothing is learned */
	/* the machine may be busy with something else at any moment: the whole measurement again */
	for (int t = 0; t < N_TRIES && !good; t++) {
		for (int i = 0; i < N_LEARN; i++) {
			uint64_t size = 64 * KIB + next_random(&seed) % (LARGEST - 64 * KIB);

			/* as many small ones as large ones */
			run(i % 2 ? size : 64 * KIB + size / 8);
		}
		good = estimates_are_within_factor_two();
	}
	assert_true(good);
}

/* Larger takes longer: the slope is learned, not only a mean. */
static void a_larger_task_is_estimated_longer(void **state)
{
	(void)state;
	for (size_t i = 1; i < N_HELD_OUT; i++)
		assert_true(estimate_ns(held_out[i]) > estimate_ns(held_out[i - 1]));
	assert_true(estimate_ns(held_out[N_HELD_OUT - 1]) > 8 * estimate_ns(held_out[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_learned_estimate_comes_within_a_factor_of_two),
		cmocka_unit_test(a_larger_task_is_estimated_longer),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
