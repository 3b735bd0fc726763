/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * balancer_test.c - the balancer helps when the busy lanes stand on one worker, and leaves an even load alone
 *
 * A task sleeps on its worker's thread: two workers do twice as much, whatever else wants the CPUs. Prints tasks per second
 * without and with it, in turns, median and spread of N_RUNS. CHI_STRESS_SECONDS (3) is shared by all runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>
#include <hshm/thread_model.h>
#include <stdio.h>
#include <stdlib.h>

#include "../modules/probe.h"
#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define N_RUNS	   5u
#define N_LANES	   16u
#define N_AT_ONCE  64u
#define TASK_NS	   (100 * HSHM_NSEC_PER_USEC)
#define BALANCE_MS 50
#define N_TRIES	   5

static uint64_t run_ns;

static struct chi_lane *lane_of(struct chi_runtime *runtime, uint32_t pool_id, uint32_t lane_id)
{
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(runtime->pools, pool_id, &epoch);
	struct chi_lane *lane = chi_container_lane(pool->local_table[0], 0, lane_id);

	chi_pool_put(pool, epoch);
	return lane;
}

static void place_lane(struct chi_runtime *runtime, struct chi_lane *lane, uint32_t worker)
{
	assert_int_equal(chi_work_orch_remap_lane(runtime->orch, lane, worker), 0);
	while (chi_lane_worker(lane) != worker)
		HSHM_THREAD_MODEL->sleep_for_us(50);
}

static uint64_t n_moved(struct chi_runtime *runtime)
{
	return hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, 0)->counters->lanes_moved) +
	       hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, 1)->counters->lanes_moved);
}

/* Tasks per second with all lanes on worker 0 at the start, or half of them on each; and how many lanes were moved. */
static double one_run(bool balanced, bool skewed, uint64_t *ret_n_moved)
{
	unsigned char n_lanes = N_LANES;
	struct chi_pool_spec spec = { .module = "probe", .params = &n_lanes, .params_size = 1 };
	struct probe_task *tasks[N_AT_ONCE];
	uint64_t begin_ns, end_ns, n_tasks = 0, n_placed;
	struct chi_runtime *runtime;
	struct chi_client *client;
	char config[160];
	uint32_t pool;

	snprintf(config, sizeof(config),
		 "log_level: warn\nworkers: { count: 2 }\nlanes: { balance_ms: %d }\nmemory: { private_mib: 256 }\n",
		 balanced ? BALANCE_MS : 0);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0 ||
	    chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &client) < 0 ||
	    chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s", chi_error_text());
	for (uint32_t i = 0; i < N_LANES; i++)
		place_lane(runtime, lane_of(runtime, pool, i), skewed ? 0 : i % 2);
	n_placed = n_moved(runtime);
	for (uint32_t i = 0; i < N_AT_ONCE; i++) {
		assert_int_equal(chi_task_alloc(client, sizeof(struct probe_task), pool, CHI_QUERY_LOCAL_HASH(i),
						PROBE_OCCUPY, &tasks[i]),
				 0);
		tasks[i]->in = TASK_NS;
	}
	begin_ns = hshm_clock_ns();
	do {
		for (uint32_t i = 0; i < N_AT_ONCE; i++)
			assert_int_equal(chi_submit(client, tasks[i]), 0);
		assert_int_equal(chi_wait_all((void **)tasks, N_AT_ONCE, HSHM_FOREVER), 0);
		n_tasks += N_AT_ONCE;
		end_ns = hshm_clock_ns();
	} while (end_ns - begin_ns < run_ns || (balanced && skewed && n_moved(runtime) == n_placed));
	*ret_n_moved = n_moved(runtime) - n_placed;
	for (uint32_t i = 0; i < N_AT_ONCE; i++)
		chi_task_free(client, tasks[i]);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 10 * HSHM_NSEC_PER_SEC, NULL), 0);
	return (double)n_tasks * 1e9 / (double)(end_ns - begin_ns);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double print_rates(const char *name, double *rates)
{
	double median;

	qsort(rates, N_RUNS, sizeof(*rates), compare);
	median = rates[N_RUNS / 2];
	print_message("%-22s %8.0f tasks/s, spread %4.1f %%\n", name, median,
		      100 * (rates[N_RUNS - 1] - rates[0]) / median);
	return median;
}

static void measure(bool skewed, double *ret_off, double *ret_on, uint64_t *ret_n_moved)
{
	double off[N_RUNS], on[N_RUNS];
	uint64_t n;

	*ret_n_moved = 0;
	for (uint32_t i = 0; i < N_RUNS; i++) {
		off[i] = one_run(false, skewed, &n);
		assert_int_equal(n, 0);
		on[i] = one_run(true, skewed, &n);
		*ret_n_moved += n;
	}
	*ret_off = print_rates(skewed ? "skewed, off" : "even, off", off);
	*ret_on = print_rates(skewed ? "skewed, balanced" : "even, balanced", on);
	print_message("%ju lanes moved in %u runs\n", (uintmax_t)*ret_n_moved, N_RUNS);
}

static void a_skewed_load_is_spread(void **state)
{
	double off, on;
	uint64_t n;

	(void)state;
	measure(true, &off, &on, &n);
	assert_true(n >= N_RUNS);
}

static void an_even_load_is_not_hurt(void **state)
{
	double off, on;
	uint64_t n;

	(void)state;
	/* the figures say how much; this must hold on a busy machine, too, in one of a few tries */
	for (int i = 0; i < N_TRIES; i++) {
		measure(false, &off, &on, &n);
		if (on > off / 2)
			return;
	}
	fail_msg("less than half in each of %d tries", N_TRIES);
}

int main(void)
{
	const char *seconds = getenv("CHI_STRESS_SECONDS");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_skewed_load_is_spread),
		cmocka_unit_test(an_even_load_is_not_hurt),
	};

	run_ns = (uint64_t)((seconds && atof(seconds) > 0 ? atof(seconds) : 3) * 1e9) / (4 * N_RUNS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
