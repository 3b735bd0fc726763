/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutex_test.c - chi_mutex between tasks of several workers: what one holder wrote, the next one reads
 *
 * A container with many lanes, so that its tasks run on all workers. What the mutex guards is no atomic: TSan and the sum see
 * a hand-over that carries no order, or two holders.
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

#include "../modules/probe.h"

#define N_LANES	 16
#define N_TASKS	 48
#define N_LOCKED 200
#define N_ROUNDS 6

static struct probe_task *new_task(struct chi_client *client, uint32_t pool, uint32_t method, uint64_t hash)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(hash), method, &task), 0);
	return task;
}

/* Few at a time: then the mutex is free now and then, and not only handed over. */
static void lock_from_all_workers(struct chi_client *client, uint32_t pool, uint32_t n_at_once)
{
	for (uint32_t done = 0; done < N_TASKS; done += n_at_once) {
		struct probe_task *tasks[N_TASKS];

		for (uint32_t i = 0; i < n_at_once; i++) {
			tasks[i] = new_task(client, pool, PROBE_LOCKED, done + i);
			tasks[i]->count = N_LOCKED;
			assert_int_equal(chi_submit(client, tasks[i]), 0);
		}
		assert_int_equal(chi_wait_all((void **)tasks, n_at_once, HSHM_FOREVER), 0);
		for (uint32_t i = 0; i < n_at_once; i++) {
			assert_int_equal(tasks[i]->task.result, 0);
			chi_task_free(client, tasks[i]);
		}
	}
}

static void holders_on_several_workers_follow_each_other(void **state)
{
	struct chi_runtime_opts opts =
		CHI_RUNTIME_OPTS(.config_text = "workers: { count: 3 }\nmemory: { private_mib: 256 }\n");
	const unsigned char n_lanes = N_LANES;
	struct chi_pool_spec spec = { .module = "probe", .params = &n_lanes, .params_size = 1 };
	static const uint32_t at_once[] = { N_TASKS, 2, 3 };
	struct chi_runtime *runtime;
	struct chi_client *client;
	struct probe_task *counts;
	uint32_t pool;

	(void)state;
	assert_int_equal(chi_runtime_start(&opts, &runtime), 0);
	assert_int_equal(chi_runtime_client(runtime, NULL, &client), 0);
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	for (int round = 0; round < N_ROUNDS; round++)
		lock_from_all_workers(client, pool, at_once[round % 3]);
	counts = new_task(client, pool, PROBE_COUNTS, 0);
	counts->in = 1;
	assert_int_equal(chi_call(client, counts), 0);
	assert_int_equal(counts->out, N_ROUNDS * N_TASKS * N_LOCKED);
	chi_task_free(client, counts);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holders_on_several_workers_follow_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
