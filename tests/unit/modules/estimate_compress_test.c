/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate_compress_test.c - the estimate that nobody gave: learned from runs of `compress`, right within a factor of two
 *
 * One pool learns; what a size takes is measured in another, which has estimates of its own. They take turns, so that a
 * machine that is busy with something else slows both alike.
 */
/* first: modules_test.h names a variable as they name parameters */
#include "runtime/estimate.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"

#include "modules_test.h"

#define KIB	  UINT64_C(1024)
#define MIB	  (1024 * KIB)
#define LARGEST	  (4 * MIB)
#define N_LEARN	  60
#define N_RUNS	  5 /* of each size that is measured, N_LEARN / N_RUNS others in between */
#define N_TRIES	  5
#define BATCH_MAX 16

/* none of them is learned */
static const uint64_t held_out[] = { 100 * KIB, 300 * KIB, 900 * KIB, 1700 * KIB, 3300 * KIB };
#define N_HELD_OUT (sizeof(held_out) / sizeof(held_out[0]))

static uint32_t pool, measured_pool;
static unsigned char *in, *out;
static uint64_t out_max;

static int set_up(void **state)
{
	struct chi_pool_spec spec = { .module = CHI_COMPRESS_MODULE, .name = "measured" };
	int rc = start_runtime(state);

	if (!rc && (chi_compress_open(client, 1, &pool) < 0 || chi_pool_create(client, &spec, &measured_pool) < 0)) {
		fprintf(stderr, "compress: %s\n", chi_error_text());
		return -1;
	}
	if (rc)
		return rc;
	out_max = 2 * chi_compress_bound_bytes(LARGEST) + MIB;
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
	uint64_t room = chi_compress_bound_bytes(in_bytes), out_bytes;

	assert_int_equal(chi_compress(client, pool, in, in_bytes, out, room, 3, &out_bytes), 0);
}

/* What monitor(EST_LOAD) answers: the same question that chi_wait() asks in a method. */
static uint64_t estimate_ns(uint64_t in_bytes)
{
	struct chi_compress_task task;
	struct chi_monitor monitor = { .task = &task.task };
	uint8_t epoch;
	struct chi_pool *compress = chi_pool_get(runtime->pools, pool, &epoch);

	assert_non_null(compress);
	assert_int_equal(chi_compress_init(client, &task, pool, CHI_QUERY_LOCAL_ID(0), in, in_bytes, out,
					   chi_compress_bound_bytes(in_bytes), 3, 0),
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

/* One task among many of its size, so that the ways to the worker and back do not count: on a busy machine they are long. */
static uint64_t measured_ns(uint64_t in_bytes)
{
	uint32_t n = in_bytes * BATCH_MAX < LARGEST * 2 ? BATCH_MAX : (uint32_t)(LARGEST * 2 / in_bytes);
	uint64_t room = (chi_compress_bound_bytes(in_bytes) + 63) & ~UINT64_C(63), begin_ns, ns;
	struct chi_compress_task *tasks[BATCH_MAX];

	assert_true(n * room <= out_max);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(chi_compress_alloc(client, measured_pool, CHI_QUERY_LOCAL_ID(0), in, in_bytes,
						    out + i * room, room, 3, 0, &tasks[i]),
				 0);
	}
	begin_ns = hshm_clock_ns();
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	assert_int_equal(chi_wait_all((void **)tasks, n, HSHM_FOREVER), 0);
	ns = (hshm_clock_ns() - begin_ns) / n;
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(tasks[i]->task.result, 0);
		chi_task_free(client, tasks[i]);
	}
	return ns;
}

static void learn_and_measure(uint64_t *seed, uint64_t ns[N_HELD_OUT][N_RUNS])
{
	for (int n = 0; n < N_RUNS; n++) {
		for (int i = 0; i < N_LEARN / N_RUNS; i++) {
			uint64_t size = 64 * KIB + next_random(seed) % (LARGEST - 64 * KIB);

			/* as many small ones as large ones */
			run(i % 2 ? size : 64 * KIB + size / 8);
		}
		for (size_t i = 0; i < N_HELD_OUT; i++)
			ns[i][n] = measured_ns(held_out[i]);
	}
}

static bool estimates_are_within_factor_two(uint64_t ns[N_HELD_OUT][N_RUNS])
{
	bool all = true;

	for (size_t i = 0; i < N_HELD_OUT; i++) {
		uint64_t estimated_ns = estimate_ns(held_out[i]), median_ns;
		bool within;

		qsort(ns[i], N_RUNS, sizeof(ns[i][0]), compare);
		median_ns = ns[i][N_RUNS / 2];
		within = estimated_ns <= 2 * median_ns && 2 * estimated_ns >= median_ns;
		print_message("%5ju KiB: estimated %8.3f ms, measured %8.3f ms: %.2f%s\n",
			      (uintmax_t)(held_out[i] / KIB), (double)estimated_ns / 1e6, (double)median_ns / 1e6,
			      (double)estimated_ns / (double)median_ns, within ? "" : "  NOT within a factor of two");
		all = all && within;
	}
	return all;
}

static void the_learned_estimate_comes_within_a_factor_of_two(void **state)
{
	uint64_t ns[N_HELD_OUT][N_RUNS];
	uint64_t seed = 20240229;
	bool good = false;

	(void)state;
	assert_int_equal(estimate_ns(MIB),
			 CHI_ESTIMATE_UNKNOWN_NS); /* nobody has said anything, and nothing is learned */
	/* a busy machine may still hit the one and not the other: the whole measurement again */
	for (int t = 0; t < N_TRIES && !good; t++) {
		learn_and_measure(&seed, ns);
		good = estimates_are_within_factor_two(ns);
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
