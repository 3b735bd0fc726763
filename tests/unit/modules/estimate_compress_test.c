/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * estimate_compress_test.c - the estimate that nobody gave: learned from runs of `compress`, right within a factor of two
 *
 * One pool learns; what a size takes is measured in another, which has estimates of its own. They take turns, so that a
 * machine that is busy with something else slows both alike.
 */
/* first: modules_test.h names a variable as they name parameters */
#include "runtime/count.h"
#include "runtime/estimate.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "runtime/work_orchestrator.h"

#include "modules_test.h"
#include "support/skip.h"

#define KIB	   UINT64_C(1024)
#define MIB	   (1024 * KIB)
#define LARGEST	   (4 * MIB)
#define N_LEARN	   60
#define N_RUNS	   10 /* of each size that is measured, N_LEARN / N_RUNS others in between */
#define N_TRIES	   5
#define BUSY_SHARE 20 /* of a try, if the workers wait longer than that for a processor: its times say little */

/* none of them is learned */
static const uint64_t held_out[] = { 100 * KIB, 300 * KIB, 900 * KIB, 1700 * KIB, 3300 * KIB };
#define N_HELD_OUT (sizeof(held_out) / sizeof(held_out[0]))

static uint32_t pool, measured_pool;
static unsigned char *in, *out;

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
	in = lend(LARGEST);
	out = lend(chi_compress_bound_bytes(LARGEST));
	fill(in, LARGEST, 4711, 0);
	return 0;
}

static int tear_down(void **state)
{
	chi_free(client, in);
	chi_free(client, out);
	return stop_runtime(state);
}

static void run_in(uint32_t in_pool, uint64_t in_bytes)
{
	uint64_t room = chi_compress_bound_bytes(in_bytes), out_bytes;

	assert_int_equal(chi_compress(client, in_pool, in, in_bytes, out, room, 3, &out_bytes), 0);
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

/* What the method has taken so far in the other pool, on all workers. */
static uint64_t time_of_method_ns(void)
{
	uint64_t ns = 0;
	uint8_t epoch;
	struct chi_pool *measured = chi_pool_get(runtime->pools, measured_pool, &epoch);

	assert_non_null(measured);
	for (uint32_t i = 0; i < chi_work_orch_n_workers(runtime->orch); i++) {
		const struct chi_worker *worker = chi_work_orch_worker(runtime->orch, i);
		uint32_t offset = measured->counters_offsets[CHI_COMPRESS_COMPRESS];

		ns += hshm_load_relaxed(&chi_method_counters_at(worker, offset)->time_ns); /* relaxed: a figure */
	}
	chi_pool_put(measured, epoch);
	return ns;
}

/* One run like those that are learned: alone, by whom the wait has woken. */
static uint64_t measured_ns(uint64_t in_bytes)
{
	uint64_t before_ns = time_of_method_ns();

	run_in(measured_pool, in_bytes);
	return time_of_method_ns() - before_ns;
}

/* @mean_ns: out; the mean is what is learned, too: on a busy machine a few runs take much longer than the others */
static void learn_and_measure(uint64_t *seed, uint64_t mean_ns[N_HELD_OUT])
{
	memset(mean_ns, 0, N_HELD_OUT * sizeof(mean_ns[0]));
	for (int n = 0; n < N_RUNS; n++) {
		for (int i = 0; i < N_LEARN / N_RUNS; i++) {
			uint64_t size = 64 * KIB + next_random(seed) % (LARGEST - 64 * KIB);

			/* as many small ones as large ones */
			run_in(pool, i % 2 ? size : 64 * KIB + size / 8);
		}
		for (size_t i = 0; i < N_HELD_OUT; i++)
			mean_ns[i] += measured_ns(held_out[i]) / N_RUNS;
	}
}

static bool estimates_are_within_factor_two(const uint64_t mean_ns[N_HELD_OUT])
{
	bool all = true;

	for (size_t i = 0; i < N_HELD_OUT; i++) {
		uint64_t estimated_ns = estimate_ns(held_out[i]);
		bool within = estimated_ns <= 2 * mean_ns[i] && 2 * estimated_ns >= mean_ns[i];

		print_message("%5ju KiB: estimated %8.3f ms, measured %8.3f ms: %.2f%s\n",
			      (uintmax_t)(held_out[i] / KIB), (double)estimated_ns / 1e6, (double)mean_ns[i] / 1e6,
			      (double)estimated_ns / (double)mean_ns[i], within ? "" : "  NOT within a factor of two");
		all = all && within;
	}
	return all;
}

/* All workers: what they waited for a processor. */
static uint64_t waited_ns(void)
{
	uint64_t ns = 0;

	for (uint32_t i = 0; i < chi_work_orch_n_workers(runtime->orch); i++) {
		unsigned long long of_one = 0;
		char path[64];
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat",
			 (int)chi_work_orch_worker(runtime->orch, i)->tid);
		file = fopen(path, "re");
		if (file && fscanf(file, "%*u %llu", &of_one) == 1)
			ns += of_one;
		if (file)
			fclose(file);
	}
	return ns;
}

static void the_learned_estimate_comes_within_a_factor_of_two(void **state)
{
	uint64_t mean_ns[N_HELD_OUT];
	uint64_t seed = 20240229;
	bool good = false, judged = false;

	(void)state;
	assert_int_equal(estimate_ns(MIB),
			 CHI_ESTIMATE_UNKNOWN_NS); /* nobody has said anything, and nothing is learned */
	/* a busy machine may still hit the one and not the other: the whole measurement again */
	for (int t = 0; t < N_TRIES && !good; t++) {
		uint64_t begin_ns = hshm_clock_ns(), before_ns = waited_ns();

		learn_and_measure(&seed, mean_ns);
		good = estimates_are_within_factor_two(mean_ns);
		judged |= (waited_ns() - before_ns) * BUSY_SHARE < hshm_clock_ns() - begin_ns;
	}
	if (!good && !judged)
		skip_because("the machine is too busy to measure: the workers waited for a processor in each try");
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
