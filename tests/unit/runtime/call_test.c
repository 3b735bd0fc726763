/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * call_test.c - a task that another calls may be run in the memory of the one before, if that asked for the same: which
 * one never is, and what it does not take over
 *
 * All on one worker, whose newest memory is what the case left there: a caller that yields until it is let on has the
 * case's other tasks run before its call.
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

#define LEAF_CONTAINER 3u /* the others have one each, too */

enum method { LEAF, CALL, CALL_LATER, CANCEL };

struct call_task {
	struct chi_task task;
	struct chi_buffer buffer;
};

static hshm_au32 n_leaves, n_waiting, may_call, was_cancelled;
static hshm_aptr leaf_buffer; /* of the newest leaf */
static hshm_au32 called_result;

static void init(struct call_task *task, uint32_t its_pool, enum method method, uint32_t container)
{
	chi_task_init(&task->task, sizeof(*task), its_pool, CHI_QUERY_LOCAL_ID(container), method);
}

static int leaf(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct call_task *self = (struct call_task *)task;

	(void)container;
	/* relaxed: the count publishes it */
	hshm_store_relaxed(&leaf_buffer, chi_context_buffer(context, &self->buffer));
	/* release: pairs with the acquire in stage_wait_until() */
	hshm_fetch_add_release(&n_leaves, 1);
	return 0;
}

static int call_leaf(struct chi_container *container, struct chi_run_context *context, void *memory)
{
	struct call_task sub;

	init(&sub, chi_container_pool_id(container), LEAF, LEAF_CONTAINER);
	sub.buffer = (struct chi_buffer){ .ptr = hipc_ptr_local(memory), .size_bytes = 1, .flags = CHI_BUFFER_IN };
	return chi_call(chi_context_client(context), &sub);
}

static int call(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	return call_leaf(container, context, task);
}

/* However often it is told to end. */
static int call_later(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	hshm_fetch_add_release(&n_waiting, 1); /* release: as in leaf() */
	while (!hshm_load_acquire(&may_call))
		chi_yield();
	/* relaxed: the task's end publishes it */
	hshm_store_relaxed(&called_result, (uint32_t)call_leaf(container, context, task));
	return 0;
}

static int cancel(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct call_task sub;
	int ret;

	(void)task;
	init(&sub, chi_container_pool_id(container), CALL_LATER, 2);
	ret = chi_submit(chi_context_client(context), &sub);
	if (ret < 0)
		return ret;
	while (!hshm_load_acquire(&n_waiting))
		chi_yield();
	chi_cancel(&sub.task);
	hshm_store_release(&was_cancelled, 1); /* release: as in leaf() */
	return chi_wait(&sub, HSHM_FOREVER);
}

#define CALL_METHOD(number, text, fn)                                                               \
	{                                                                                           \
		.name = (text), .id = (number), .task_size = sizeof(struct call_task), .run = (fn), \
		.buffers_offset = offsetof(struct call_task, buffer), .n_buffers = 1,               \
	}

static const struct chi_method methods[] = {
	CALL_METHOD(LEAF, "leaf", leaf),
	CALL_METHOD(CALL, "call", call),
	CALL_METHOD(CALL_LATER, "call_later", call_later),
	CALL_METHOD(CANCEL, "cancel", cancel),
};

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)params, (void)params_size;
	return chi_container_create_local_queue(container, 0, 1, 0);
}

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "call",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = create,
};

/* ---- the stage ---- */

static int start(void **state)
{
	(void)state;
	hshm_store_relaxed(&n_leaves, 0);
	hshm_store_relaxed(&n_waiting, 0);
	hshm_store_relaxed(&may_call, 0);
	hshm_store_relaxed(&was_cancelled, 0);
	return stage_start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", &module, 4);
}

static struct call_task *submit(enum method method, uint32_t container)
{
	struct call_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), method, &task), 0);
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void finish(struct call_task *task)
{
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	chi_task_free(client, task);
}

/* ---- the cases ---- */

/* The memory of a client's task says whose it was: its buffers would be looked for, and its end told, over there. */
static void one_that_is_called_does_not_follow_a_clients_task(void **state)
{
	struct call_task *caller, *same;

	(void)state;
	caller = submit(CALL_LATER, 0);
	stage_wait_until(&n_waiting, 1);
	same = submit(LEAF, LEAF_CONTAINER);
	assert_int_equal(chi_wait(same, TIME_MAX_NS), 0);
	hshm_store_release(&may_call, 1);
	stage_wait_until(&n_leaves, 2);
	assert_non_null(hshm_load_relaxed(&leaf_buffer));
	finish(caller);
	assert_int_equal(hshm_load_relaxed(&called_result), 0);
	chi_task_free(client, same);
}

/* What the one before found out about those above it holds for its own caller. */
static void one_that_is_called_is_asked_to_end_if_its_own_caller_is(void **state)
{
	struct call_task *root;

	(void)state;
	root = submit(CANCEL, 0);
	stage_wait_until(&was_cancelled, 1);
	finish(submit(CALL, 1));
	assert_int_equal(hshm_load_relaxed(&n_leaves), 1);
	hshm_store_release(&may_call, 1);
	finish(root);
	assert_int_equal((int)hshm_load_relaxed(&called_result), -ECANCELED);
	assert_int_equal(hshm_load_relaxed(&n_leaves), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_is_called_does_not_follow_a_clients_task, start, stage_stop),
		cmocka_unit_test_setup_teardown(one_that_is_called_is_asked_to_end_if_its_own_caller_is, start,
						stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
