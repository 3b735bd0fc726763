/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_turns_test.c - the lanes of a container have turns, through rings, and belong to several workers: each routes to
 * lanes that others empty
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "support/stage.h"

#define N_TASKS	 64u
#define N_ROUNDS 50u

static int leaf(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "leaf", .id = 0, .task_size = sizeof(struct chi_task), .run = leaf },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "turns",
	.n_methods = 1,
	.methods = methods,
	.create = stage_create_lanes,
};

static int start(void **state)
{
	(void)state;
	return stage_start("workers: { count: 3, run_in_place: false }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static void run_all(struct chi_task *tasks[N_TASKS])
{
	for (uint32_t i = 0; i < N_TASKS; i++)
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	assert_int_equal(chi_wait_all((void *const *)tasks, N_TASKS, TIME_MAX_NS), 0);
	for (uint32_t i = 0; i < N_TASKS; i++)
		assert_int_equal(tasks[i]->result, 0);
}

static void each_worker_fills_the_lanes_of_others(void **state)
{
	struct chi_task *tasks[N_TASKS];

	(void)state;
	for (uint32_t i = 0; i < N_TASKS; i++)
		assert_int_equal(chi_task_alloc(client, sizeof(*tasks[i]), pool, CHI_QUERY_LOCAL_ID(0), 0, &tasks[i]),
				 0);
	for (uint32_t round = 0; round < N_ROUNDS; round++)
		run_all(tasks);
	for (uint32_t i = 0; i < N_TASKS; i++)
		chi_task_free(client, tasks[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_worker_fills_the_lanes_of_others, start, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
