/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_arena_test.c - chi_task_arena_alloc(): whose memory it is, for how long, how much
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/stage.h"

#define CAP_KIB 256u

enum method { FILL, CAP, LEAVE, CHILD };

struct arena_task {
	struct chi_task task;
	unsigned char *memory; /* CHILD: of its parent's arena */
};

static hshm_au32 n_runs, child_runs, child_may_end;
static hshm_au32 created_with, destroyed_with; /* what the calls in create() and destroy() said, and 1000 */

/* Pieces of all sizes, each with a pattern of its own, looked at when all are there. */
static int fill(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	enum { N_PIECES = 200 };
	unsigned char *pieces[N_PIECES];

	(void)container;
	(void)task;
	for (uint32_t i = 0; i < N_PIECES; i++) {
		uint32_t size = i == 100 ? 100000 : 1 + i * 7 % 600;

		if (chi_task_arena_alloc(context, size, &pieces[i]) < 0)
			return -EBADMSG;
		if ((uintptr_t)pieces[i] % 16)
			return -EFAULT;
		memset(pieces[i], (int)i, size);
		if (i % 50 == 0)
			chi_yield();
	}
	for (uint32_t i = 0; i < N_PIECES; i++) {
		uint32_t size = i == 100 ? 100000 : 1 + i * 7 % 600;

		for (uint32_t k = 0; k < size; k++)
			if (pieces[i][k] != (unsigned char)i)
				return -EILSEQ;
	}
	hshm_fetch_add_relaxed(&n_runs, 1); /* relaxed: a count */
	return 0;
}

static int cap(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	void *memory;

	(void)container;
	(void)task;
	if (chi_task_arena_alloc(context, 0, &memory) != -EINVAL ||
	    chi_task_arena_alloc(context, CAP_KIB * 1024 + 1, &memory) != -ENOMEM ||
	    chi_task_arena_alloc(context, UINT64_MAX, &memory) != -ENOMEM)
		return -EBADMSG;
	for (uint32_t i = 0; i < CAP_KIB; i++)
		if (chi_task_arena_alloc(context, 1024, &memory) < 0)
			return -EBADMSG;
	return chi_task_arena_alloc(context, 1, &memory) == -ENOMEM ? 0 : -EBADMSG;
}

/* Its subtask and what that writes to lie in the arena; it does not wait for it. */
static int leave(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct arena_task *sub;

	(void)task;
	if (chi_task_arena_alloc(context, sizeof(*sub), &sub) < 0)
		return -EBADMSG;
	chi_task_init(&sub->task, sizeof(*sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0), CHILD);
	if (chi_task_arena_alloc(context, 50000, &sub->memory) < 0)
		return -EBADMSG;
	return chi_submit(chi_context_client(context), sub);
}

static int child(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	hshm_store_relaxed(&child_runs, 1); /* relaxed, here and below: only when to go on */
	while (!hshm_load_relaxed(&child_may_end))
		chi_yield();
	memset(((struct arena_task *)task)->memory, 'x', 50000);
	return 0;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	void *memory;

	(void)container;
	(void)params;
	(void)params_size;
	hshm_store_relaxed(&created_with, 1000u + (uint32_t)chi_task_arena_alloc(NULL, 10000, &memory));
	return 0;
}

static void destroy(struct chi_container *container)
{
	void *memory;

	(void)container;
	hshm_store_relaxed(&destroyed_with, 1000u + (uint32_t)chi_task_arena_alloc(NULL, 10000, &memory));
}

#define ARENA_METHOD(number, function)                                                                       \
	{                                                                                                    \
		.name = #function, .id = (number), .task_size = sizeof(struct arena_task), .run = (function) \
	}

static const struct chi_method methods[] = {
	ARENA_METHOD(FILL, fill),
	ARENA_METHOD(CAP, cap),
	ARENA_METHOD(LEAVE, leave),
	ARENA_METHOD(CHILD, child),
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "task_arena_test",
	.version = 1,
	.n_methods = 4,
	.methods = methods,
	.create = create,
	.destroy = destroy,
};

static int start(void **state)
{
	char config[128];

	(void)state;
	snprintf(config, sizeof(config), "workers: { count: 2 }\nmemory: { private_mib: 256, task_arena_kib: %u }\n",
		 CAP_KIB);
	hshm_store_relaxed(&n_runs, 0);
	hshm_store_relaxed(&child_runs, 0);
	hshm_store_relaxed(&child_may_end, 0);
	return stage_start(config, &module, 1);
}

static uint64_t used_bytes(void)
{
	struct hshm_heap_stats stats;

	hshm_heap_get_stats(runtime->module_heap, &stats);
	return stats.used_bytes;
}

static struct arena_task *submit(enum method method, uint64_t period_ns)
{
	struct arena_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	task->task.flags = period_ns ? CHI_TASK_PERIODIC : 0;
	task->task.period_ns = period_ns;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void finish(struct arena_task *task)
{
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, 0);
	chi_task_free(client, task);
}

static void pieces_are_apart_and_end_with_the_task(void **state)
{
	uint64_t before = used_bytes();

	(void)state;
	finish(submit(FILL, 0));
	assert_int_equal(used_bytes(), before);
}

static void a_task_has_no_more_than_its_cap(void **state)
{
	uint64_t before = used_bytes();

	(void)state;
	finish(submit(CAP, 0));
	assert_int_equal(used_bytes(), before);
}

static void the_memory_stays_until_the_subtasks_have_ended(void **state)
{
	uint64_t before = used_bytes();
	struct arena_task *task = submit(LEAVE, 0);

	(void)state;
	stage_wait_until(&child_runs, 1);
	assert_int_equal(chi_wait(task, 2 * HSHM_NSEC_PER_MSEC), -ETIMEDOUT);
	assert_true(used_bytes() >= before + 50000);
	hshm_store_relaxed(&child_may_end, 1);
	finish(task);
	assert_int_equal(used_bytes(), before);
}

static void each_run_of_a_periodic_task_begins_anew(void **state)
{
	uint64_t before = used_bytes();
	struct arena_task *task = submit(FILL, HSHM_NSEC_PER_MSEC);

	(void)state;
	/* more than the cap in all */
	stage_wait_until(&n_runs, 20);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_true(task->task.result == 0 || task->task.result == -ECANCELED);
	chi_task_free(client, task);
	assert_int_equal(used_bytes(), before);
}

static void create_and_destroy_have_that_of_their_task(void **state)
{
	struct chi_pool_spec spec = { .module = "task_arena_test", .name = "another" };
	uint64_t before = used_bytes();
	uint32_t another;

	(void)state;
	assert_int_equal(chi_pool_create(client, &spec, &another), 1);
	assert_int_equal(hshm_load_relaxed(&created_with), 1000);
	assert_int_equal(chi_pool_destroy(client, another), 0);
	assert_int_equal(hshm_load_relaxed(&destroyed_with), 1000);
	assert_int_equal(used_bytes(), before);
}

static void outside_a_task_there_is_none(void **state)
{
	void *memory;

	(void)state;
	assert_int_equal(chi_task_arena_alloc(NULL, 1, &memory), -EPERM);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stage_stop)
	const struct CMUnitTest tests[] = {
		CASE(pieces_are_apart_and_end_with_the_task),	      CASE(a_task_has_no_more_than_its_cap),
		CASE(the_memory_stays_until_the_subtasks_have_ended), CASE(each_run_of_a_periodic_task_begins_anew),
		CASE(create_and_destroy_have_that_of_their_task),     CASE(outside_a_task_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
