/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iteration_test.c - how many lanes have their turn in one iteration of a worker's loop: until a batch was taken
 *
 * A task submits others, each into another lane, and lets them go first twice: when it is back for the second time a
 * whole iteration has passed at least, and not two.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <hshm/atomic.h>

#include "support/stage.h"

#define N_SUBTASKS 15u
#define BATCH	   4u

enum method { LEAF, SPREAD };

struct spread_task {
	struct chi_task task;
	uint32_t n_run, reserved; /* out */
};

static uint32_t n_leaves; /* the one worker's */

static int leaf(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	n_leaves++;
	return 0;
}

static int spread(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct spread_task *self = (struct spread_task *)task;
	struct chi_task subs[N_SUBTASKS];
	void *waits[N_SUBTASKS];

	n_leaves = 0;
	for (uint32_t i = 0; i < N_SUBTASKS; i++) {
		int ret;

		waits[i] = &subs[i];
		chi_task_init(&subs[i], sizeof(subs[i]), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0), LEAF);
		ret = chi_submit(chi_context_client(context), &subs[i]);
		if (ret < 0)
			return ret;
	}
	chi_yield();
	chi_yield();
	self->n_run = n_leaves;
	return chi_wait_all(waits, N_SUBTASKS, HSHM_FOREVER);
}

static const struct chi_method methods[] = {
	{ .name = "leaf", .id = LEAF, .task_size = sizeof(struct chi_task), .run = leaf },
	{ .name = "spread",
	  .id = SPREAD,
	  .task_size = sizeof(struct spread_task),
	  .run = spread,
	  .out_offset = offsetof(struct spread_task, n_run),
	  .out_size = sizeof(uint32_t) },
};

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)params, (void)params_size;
	return chi_container_create_local_queue(container, 0, N_SUBTASKS + 1, 0);
}

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "spread",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
};

static int start(void **state)
{
	(void)state;
	return stage_start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static int start_small_batch(void **state)
{
	(void)state;
	return stage_start("workers: { count: 1, lane_batch: 4 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static uint32_t run_spread(void)
{
	struct spread_task *task;
	uint32_t n_run;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), SPREAD, &task), 0);
	assert_int_equal(chi_submit(client, task), 0);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	n_run = task->n_run;
	chi_task_free(client, task);
	return n_run;
}

static void lanes_with_a_task_each_have_their_turns_in_one_iteration(void **state)
{
	(void)state;
	assert_int_equal(run_spread(), N_SUBTASKS);
}

static void no_more_than_a_batch_is_taken(void **state)
{
	uint32_t n_run;

	(void)state;
	n_run = run_spread();
	/* when it came by a lane that was rung, that turn was of the iteration before */
	assert_in_range(n_run, BATCH, 2 * BATCH - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lanes_with_a_task_each_have_their_turns_in_one_iteration, start,
						stage_stop),
		cmocka_unit_test_setup_teardown(no_more_than_a_batch_is_taken, start_small_batch, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
