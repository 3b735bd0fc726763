/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * children_test.c - a parent ends after its children, be it that they end on its worker or on another, before it joins
 * them or after (C5 in run_context.c)
 *
 * Two workers. The query says the lane, and so the worker. What has ended elsewhere is seen in the parent's n_children,
 * below 0 until it joins and above from then on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <unistd.h>

#include "runtime/container.h"
#include "runtime/run_context.h"
#include "support/stage.h"
#include "task/lane.h"

#define ENDED_MAX_NS (5 * HSHM_NSEC_PER_SEC)
#define CHILDREN_MAX 4u

enum method { CHILD, LATE_CHILD, PARENT };

struct parent_task {
	struct chi_task task;
	uint32_t n_here_before, n_there_before, n_here_after, n_there_after;
};

static hshm_au32 n_ended;

static int32_t n_children_of(const struct chi_run_context *parent)
{
	/* acquire: what the others did that have ended */
	return (int32_t)hshm_load_acquire(&parent->n_children);
}

static int child(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	hshm_fetch_add_relaxed(&n_ended, 1); /* relaxed: read once all are done */
	return 0;
}

static int late_child(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	while (n_children_of(context->parent) <= 0)
		chi_yield();
	return child(container, task, context);
}

static uint32_t lane_here(struct chi_container *container, const struct chi_run_context *context, bool here)
{
	uint32_t i = 0;

	while (i < STAGE_LANES &&
	       (chi_lane_worker(chi_container_lane(container, 0, i)) == chi_context_worker(context)) != here)
		i++;
	return i; /* STAGE_LANES: there is none */
}

struct children {
	struct chi_task tasks[CHILDREN_MAX];
	uint32_t n;
};

static int submit(struct chi_container *container, struct chi_run_context *context, struct children *children,
		  bool here, enum method method, uint32_t n)
{
	uint32_t lane = lane_here(container, context, here);
	int ret = lane < STAGE_LANES ? 0 : -ENOENT;

	for (; n && ret == 0; n--) {
		struct chi_task *task = &children->tasks[children->n++];

		chi_task_init(task, sizeof(*task), chi_container_pool_id(container), CHI_QUERY_LOCAL_HASH(lane),
			      method);
		ret = chi_submit(chi_context_client(context), task);
	}
	return ret;
}

static int parent(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	const struct parent_task *self = (const struct parent_task *)task;
	struct children *children;
	int ret = chi_task_arena_alloc(context, sizeof(*children), &children);

	if (ret < 0)
		return ret;
	children->n = 0;
	ret = submit(container, context, children, true, CHILD, self->n_here_before);
	for (uint32_t i = 0; i < self->n_here_before && ret == 0; i++)
		ret = chi_wait(&children->tasks[i], HSHM_FOREVER);
	if (ret == 0)
		ret = submit(container, context, children, false, CHILD, self->n_there_before);
	while (ret == 0 && n_children_of(context) != -(int32_t)self->n_there_before)
		chi_yield();
	if (ret == 0)
		ret = submit(container, context, children, true, CHILD, self->n_here_after);
	if (ret == 0)
		ret = submit(container, context, children, false, LATE_CHILD, self->n_there_after);
	return ret;
}

static const struct chi_method methods[] = {
	{ .name = "child", .id = CHILD, .task_size = sizeof(struct chi_task), .run = child },
	{ .name = "late_child", .id = LATE_CHILD, .task_size = sizeof(struct chi_task), .run = late_child },
	{ .name = "parent", .id = PARENT, .task_size = sizeof(struct parent_task), .run = parent },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "children",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = stage_create_lanes,
	.monitor = stage_lane_by_value,
};

static int start(void **state)
{
	(void)state;
	hshm_store_relaxed(&n_ended, 0); /* relaxed: before there is anybody */
	return stage_start("workers: { count: 2 }\nlanes: { balance_ms: 0 }\nmemory: { private_mib: 256 }\n", &module,
			   1);
}

static void run(uint32_t n_here_before, uint32_t n_there_before, uint32_t n_here_after, uint32_t n_there_after)
{
	struct parent_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(0), PARENT, &task), 0);
	task->n_here_before = n_here_before;
	task->n_there_before = n_there_before;
	task->n_here_after = n_here_after;
	task->n_there_after = n_there_after;
	assert_int_equal(chi_submit(client, task), 0);
	if (chi_wait(task, ENDED_MAX_NS) < 0) {
		print_error("the parent does not end: %u of its children have\n", hshm_load_relaxed(&n_ended));
		_exit(1); /* nor would the runtime */
	}
	assert_int_equal(task->task.result, 0);
	assert_int_equal(hshm_load_relaxed(&n_ended), n_here_before + n_there_before + n_here_after + n_there_after);
	chi_task_free(client, task);
}

static void those_that_ended_here_before(void **state)
{
	(void)state;
	run(2, 0, 0, 0);
}

static void those_that_ended_elsewhere_before(void **state)
{
	(void)state;
	run(0, 2, 0, 0);
}

static void those_that_end_here_after(void **state)
{
	(void)state;
	run(0, 0, 2, 0);
}

static void those_that_end_elsewhere_after(void **state)
{
	(void)state;
	run(0, 0, 0, 2);
}

static void one_of_each(void **state)
{
	(void)state;
	run(1, 1, 1, 1);
}

static void the_last_ends_here(void **state)
{
	(void)state;
	run(1, 1, 1, 0);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stage_stop)
	const struct CMUnitTest tests[] = {
		CASE(those_that_ended_here_before),
		CASE(those_that_ended_elsewhere_before),
		CASE(those_that_end_here_after),
		CASE(those_that_end_elsewhere_after),
		CASE(one_of_each),
		CASE(the_last_ends_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
