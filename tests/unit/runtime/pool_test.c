/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_test.c - pools and containers in a running runtime: made, found, flushed, ended; and the default answers
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <chimaera/chimaera.h>
#include <hshm/clock.h>
#include <chimaera/module.h>
#include <chimaera/runtime.h>

#include "runtime/container.h"
#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"

static struct chi_runtime *runtime;
static struct chi_client *client;

/* ---- a module inside this program ---- */

enum {
	METHOD_SLEEP,
	METHOD_DESTROY,
	METHOD_FLUSH,
	METHOD_CAST,
	METHOD_IDS,
	METHOD_CALLER,
	METHOD_CALLED,
	METHOD_SIBLING
};

struct hand_task {
	struct chi_task task;
	uint32_t pool_id;
	uint32_t reserved;
};

static hshm_au32 gate, n_inside, n_made, n_gone, n_reachable, wrong_monitor;

/* until the gate opens */
static int run_sleep(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	hshm_fetch_add_acq_rel(&n_inside, 1);
	while (!hshm_load_acquire(&gate))
		chi_yield();
	hshm_fetch_sub_acq_rel(&n_inside, 1);
	return 0;
}

static int run_destroy(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	return chi_pool_destroy(chi_context_client(context), ((struct hand_task *)task)->pool_id);
}

/* One that is called in place, while another child of the caller asks for a flush. */
static hshm_au32 called_is_inside, flush_begins, flush_is_over, flush_was_first;

static int run_called(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint64_t until_ns;

	(void)container;
	(void)task;
	(void)context;
	hshm_store_release(&called_is_inside, 1);
	while (!hshm_load_acquire(&flush_begins))
		;
	for (until_ns = hshm_deadline_ns(100 * HSHM_NSEC_PER_MSEC); hshm_clock_ns() < until_ns;)
		if (hshm_load_acquire(&flush_is_over))
			hshm_store_release(&flush_was_first, 1);
	return 0;
}

static int run_sibling(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	int ret;

	(void)container;
	(void)task;
	while (!hshm_load_acquire(&called_is_inside))
		chi_yield();
	hshm_store_release(&flush_begins, 1);
	ret = chi_flush(chi_context_client(context));
	hshm_store_release(&flush_is_over, 1);
	return ret;
}

static int run_caller(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_client *inner = chi_context_client(context);
	struct hand_task sibling, called;
	int ret;

	(void)task;
	chi_yield(); /* so that the lane, which is to be idle, is not in its turn */
	chi_task_init(&sibling.task, sizeof(sibling), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0),
		      METHOD_SIBLING);
	chi_task_init(&called.task, sizeof(called), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(1),
		      METHOD_CALLED);
	ret = chi_submit(inner, &sibling);
	if (ret < 0)
		return ret;
	ret = chi_call(inner, &called);
	return ret < 0 ? ret : chi_wait(&sibling, HSHM_FOREVER);
}

static int run_flush(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	return chi_flush(chi_context_client(context));
}

/* all containers of the pool named shall destroy the pool that this runs in */
static int run_cast(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct hand_task sub;

	chi_task_init(&sub.task, sizeof(sub), ((struct hand_task *)task)->pool_id, CHI_QUERY_GLOBAL_BCAST(),
		      METHOD_DESTROY);
	sub.pool_id = chi_container_pool_id(container);
	return chi_call(chi_context_client(context), &sub);
}

/* by level: the task, its subtask, the subtask's two subtasks */
static struct chi_task_id tree_ids[4];
static hshm_au32 n_trees; /* TSan does not see the order through the client's own mapping: this word is for it */

/* pool_id is the level here */
static int run_ids(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint32_t level = ((struct hand_task *)task)->pool_id;
	int ret = 0;

	(void)hshm_load_acquire(&n_trees);
	tree_ids[level] = task->id;
	for (uint32_t next = level + 1; ret == 0 && level < 2 && next < (level ? 4 : 2); next++) {
		struct hand_task sub;

		chi_task_init(&sub.task, sizeof(sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0),
			      METHOD_IDS);
		sub.pool_id = next;
		ret = chi_call(chi_context_client(context), &sub);
	}
	if (level == 0)
		hshm_fetch_add_acq_rel(&n_trees, 1);
	return ret;
}

static int make_one(struct chi_container *container, const void *params, uint64_t params_size)
{
	struct chi_pool_spec spec = { .module = "hand", .name = params };
	uint32_t pool_id;
	int ret;

	hshm_fetch_add_relaxed(&n_made, 1);
	if (!params_size)
		return 0;
	ret = chi_pool_create(chi_container_client(container), &spec, &pool_id);
	return ret < 0 ? ret : 0;
}

static void end_one(struct chi_container *container)
{
	if (container->pool->state != CHI_POOL_LEFT)
		hshm_fetch_add_relaxed(&n_reachable, 1);
	hshm_fetch_add_relaxed(&n_gone, 1);
}

static int hand_monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	(void)container;
	if (!hshm_load_relaxed(&wrong_monitor) || mode != CHI_MONITOR_LOCAL_SCHEDULE)
		return -ENOTSUP;
	monitor->lane_id = 1000;
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "sleep", .id = METHOD_SLEEP, .task_size = sizeof(struct hand_task), .run = run_sleep },
	{ .name = "destroy", .id = METHOD_DESTROY, .task_size = sizeof(struct hand_task), .run = run_destroy },
	{ .name = "flush", .id = METHOD_FLUSH, .task_size = sizeof(struct hand_task), .run = run_flush },
	{ .name = "caller", .id = METHOD_CALLER, .task_size = sizeof(struct hand_task), .run = run_caller },
	{ .name = "called", .id = METHOD_CALLED, .task_size = sizeof(struct hand_task), .run = run_called },
	{ .name = "sibling", .id = METHOD_SIBLING, .task_size = sizeof(struct hand_task), .run = run_sibling },
	{ .name = "cast", .id = METHOD_CAST, .task_size = sizeof(struct hand_task), .run = run_cast },
	{ .name = "ids", .id = METHOD_IDS, .task_size = sizeof(struct hand_task), .run = run_ids },
};

static const struct chi_module hand = {
	.size = sizeof(hand),
	.method_stride = sizeof(methods[0]),
	.name = "hand",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = make_one,
	.destroy = end_one,
	.monitor = hand_monitor,
};

/* ---- */

static int set_up(void **state)
{
	(void)state;
	hshm_store_relaxed(&gate, 0);
	hshm_store_relaxed(&n_inside, 0);
	hshm_store_relaxed(&n_made, 0);
	hshm_store_relaxed(&n_gone, 0);
	hshm_store_relaxed(&n_reachable, 0);
	hshm_store_relaxed(&wrong_monitor, 0);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = "workers: { count: 2 }\nlog_level: warn\n"
							       "clients: { memory_mib: 64 }\n"
							       "memory: { private_mib: 512 }\n"),
			      &runtime))
		return -1;
	return chi_module_register_builtin(runtime->modules, &hand) || chi_runtime_client(runtime, NULL, &client);
}

static int tear_down(void **state)
{
	(void)state;
	hshm_store_release(&gate, 1);
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, 0, NULL);
}

static uint32_t make(const char *name, uint32_t n_containers)
{
	uint32_t pool_id = 0;
	int ret = chi_pool_create(
		client, &(struct chi_pool_spec){ .module = "hand", .name = name, .n_containers = n_containers },
		&pool_id);

	if (ret != 1)
		fail_msg("%s: %d: %s", name, ret, chi_error_text());
	return pool_id;
}

static struct hand_task *submit(uint32_t pool_id, uint32_t method_id)
{
	struct hand_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), method_id, &task), 0);
	task->pool_id = pool_id;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static int finish(struct hand_task *task)
{
	int ret = chi_wait(task, 10 * HSHM_NSEC_PER_SEC);

	assert_int_equal(ret, 0);
	ret = task->task.result;
	chi_task_free(client, task);
	return ret;
}

static void until_inside(uint32_t n)
{
	while (hshm_load_acquire(&n_inside) != n)
		usleep(100);
}

static uint32_t n_pools(void)
{
	return (uint32_t)chi_pool_list(client, NULL, 0);
}

/* ---- making ---- */

static void a_pool_is_made_once_and_opened_after(void **state)
{
	struct chi_pool_info infos[4];
	uint32_t first = make("a", 3), second = 0;

	(void)state;
	assert_int_equal(hshm_load_relaxed(&n_made), 3);
	assert_int_equal(chi_pool_create(client, &(struct chi_pool_spec){ .module = "hand", .name = "a" }, &second), 0);
	assert_int_equal(first, second);
	assert_int_equal(hshm_load_relaxed(&n_made), 3);
	assert_int_equal(chi_pool_list(client, infos, 4), 2);
	assert_string_equal(infos[0].name, "admin");
	assert_string_equal(infos[1].name, "a");
	assert_string_equal(infos[1].module, "hand");
	assert_int_equal(infos[1].n_containers, 3);
	assert_int_equal(infos[1].pool_id, first);
	assert_int_equal(chi_pool_list(client, infos, 1), 2);
	assert_int_equal(chi_pool_create(client,
					 &(struct chi_pool_spec){ .module = "hand", .name = "a", .exclusive = true },
					 &second),
			 -EEXIST);
	assert_int_equal(
		chi_pool_create(client, &(struct chi_pool_spec){ .module = "create_fails", .name = "a" }, &second),
		-EEXIST);
	assert_non_null(strstr(chi_error_text(), "of module 'hand'"));
}

static void what_cannot_be_made_says_why(void **state)
{
	static const struct {
		struct chi_pool_spec spec;
		int error;
		const char *why;
	} wrong[] = {
		{ { .module = "nowhere" }, -ENOENT, "chimaera_nowhere.so" },
		{ { .module = "../x" }, -EINVAL, "no name of a module" },
		{ { .module = "bad_abi" }, -ELIBBAD, "built for module ABI 9999" },
		{ { .module = "hand", .name = "a b" }, -EINVAL, "no spaces" },
		{ { .module = "hand", .n_containers = 1025 }, -EINVAL, "allowed 1..1024" },
		{ { .module = "hand", .interface_hash = 7 }, -EPROTO, "interface" },
		{ { .module = NULL }, -EINVAL, "needs a module" },
		{ { .module = "hand", .params_size = 3 }, -EINVAL, "need a place" },
	};
	uint32_t pool_id = 77;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int ret = chi_pool_create(client, &wrong[i].spec, &pool_id);

		if (ret != wrong[i].error || !strstr(chi_error_text(), wrong[i].why))
			fail_msg("%zu: %d: %s", i, ret, chi_error_text());
	}
	assert_int_equal(pool_id, 77);
	assert_int_equal(n_pools(), 1);
}

static int alive_in(uint32_t pool_id)
{
	struct chi_task *task;
	int ret;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), 0, &task), 0);
	ret = chi_call(client, task);
	chi_task_free(client, task);
	return ret;
}

static void a_create_that_fails_leaves_nothing(void **state)
{
	struct {
		uint32_t container;
		int32_t error;
	} params = { 2, -EXDEV };
	struct chi_pool_spec spec = { .module = "create_fails",
				      .name = "fails",
				      .n_containers = 4,
				      .params = &params,
				      .params_size = sizeof(params),
				      .interface_hash = 0xc0ffee };
	uint32_t pool_id = 0, other = 0;
	char path[1024];

	(void)state;
	snprintf(path, sizeof(path), "%s/tests/modules/chimaera_create_fails.so", getenv("CHI_TEST_BUILD_DIR"));
	assert_int_equal(chi_pool_create(client, &spec, &pool_id), -EXDEV);
	assert_non_null(strstr(chi_error_text(), "create() of module 'create_fails' failed for container 2"));
	assert_int_equal(n_pools(), 1);
	assert_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD));

	/* again, and this time a pool that stays keeps the module's count of live containers */
	assert_int_equal(chi_pool_create(client, &(struct chi_pool_spec){ .module = "create_fails" }, &pool_id), 1);
	assert_int_equal(chi_pool_create(client, &spec, &other), -EXDEV);
	assert_int_equal(alive_in(pool_id), 1);
	params.container = 99;
	assert_int_equal(chi_pool_create(client, &spec, &other), 1);
	assert_int_equal(alive_in(pool_id), 5);
	assert_int_equal(chi_pool_destroy(client, other), 0);
	assert_int_equal(alive_in(pool_id), 1);
	assert_int_equal(chi_pool_destroy(client, pool_id), 0);
	assert_null(dlopen(path, RTLD_NOW | RTLD_NOLOAD));
}

/* Or a client that asks for what cannot be made, again and again, would use up all ids. */
static void a_create_that_fails_uses_no_id_up(void **state)
{
	uint32_t first = make("a", 1), pool_id;

	(void)state;
	assert_int_equal(chi_pool_destroy(client, first), 0);
	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++)
		assert_int_equal(chi_pool_create(client, &(struct chi_pool_spec){ .module = "not_there" }, &pool_id),
				 -ENOENT);
	/* round all slots and back: the ids that follow are the next ones */
	for (uint32_t i = 0; i < CHI_POOL_SLOTS - 1; i++) {
		pool_id = make("a", 1);
		if (pool_id % CHI_POOL_SLOTS == first % CHI_POOL_SLOTS)
			break;
		assert_int_equal(chi_pool_destroy(client, pool_id), 0);
	}
	assert_int_equal(pool_id, first + CHI_POOL_SLOTS);
	assert_int_equal(chi_pool_destroy(client, pool_id), 0);
}

static void pools_leave_memory_for_tasks(void **state)
{
	struct hshm_heap_stats stats;
	char name[16];
	uint32_t pool_id;
	int ret = 1;

	(void)state;
	for (uint32_t i = 0; ret == 1; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		ret = chi_pool_create(client,
				      &(struct chi_pool_spec){
					      .module = "hand", .name = name, .n_containers = CHI_POOL_CONTAINERS_MAX },
				      &pool_id);
	}
	assert_int_equal(ret, -ENOMEM);
	hshm_heap_get_stats(runtime->heap, &stats);
	assert_true(stats.used_bytes <= stats.capacity_bytes / 4 * 3);
	assert_true(stats.used_bytes > stats.capacity_bytes / 4);
}

static void a_create_may_make_another_pool_but_not_its_own(void **state)
{
	uint32_t pool_id = 0;

	(void)state;
	assert_int_equal(
		chi_pool_create(client,
				&(struct chi_pool_spec){
					.module = "hand", .name = "outer", .params = "inner", .params_size = 6 },
				&pool_id),
		1);
	assert_int_equal(n_pools(), 3);
	assert_int_equal(chi_pool_create(client,
					 &(struct chi_pool_spec){
						 .module = "hand", .name = "self", .params = "self", .params_size = 5 },
					 &pool_id),
			 -EBUSY);
	assert_int_equal(n_pools(), 3);
}

static void *make_same(void *arg)
{
	struct chi_client *mine;
	uint32_t pool_id = 0;

	(void)arg;
	if (chi_runtime_client(runtime, NULL, &mine) ||
	    chi_pool_create(mine, &(struct chi_pool_spec){ .module = "hand", .name = "same" }, &pool_id) < 0)
		pool_id = 0;
	chi_client_disconnect(mine);
	return (void *)(uintptr_t)pool_id;
}

static void many_who_ask_at_once_get_one_pool(void **state)
{
	pthread_t threads[6];
	void *ids[6];

	(void)state;
	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], NULL, make_same, NULL);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], &ids[i]);
	for (int i = 0; i < 6; i++) {
		assert_non_null(ids[i]);
		assert_ptr_equal(ids[i], ids[0]);
	}
	assert_int_equal(hshm_load_relaxed(&n_made), 1);
}

/* ---- ending ---- */

static void *destroy_it(void *arg)
{
	struct chi_client *mine;
	int ret = chi_runtime_client(runtime, NULL, &mine);

	if (!ret)
		ret = chi_pool_destroy(mine, (uint32_t)(uintptr_t)arg);
	chi_client_disconnect(mine);
	return (void *)(intptr_t)ret;
}

static void tasks_in_flight_end_before_their_pool(void **state)
{
	uint32_t pool_id = make("a", 2), again;
	struct hand_task *task = submit(pool_id, METHOD_SLEEP);
	pthread_t thread;
	void *ret;

	(void)state;
	until_inside(1);
	pthread_create(&thread, NULL, destroy_it, (void *)(uintptr_t)pool_id);
	while (n_pools() != 1)
		usleep(1000);
	/* closing: no more tasks, the name is free, nothing was destroyed */
	assert_int_equal(finish(submit(pool_id, METHOD_SLEEP)), -ENOENT);
	assert_int_equal(chi_pool_destroy(client, pool_id), -ENOENT);
	again = make("a", 1);
	assert_int_not_equal(again, pool_id);
	assert_int_equal(hshm_load_relaxed(&n_gone), 0);
	hshm_store_release(&gate, 1);
	assert_int_equal(finish(task), 0);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, 0);
	assert_int_equal(hshm_load_relaxed(&n_gone), 2);
}

static void a_pool_taken_apart_is_out_of_reach_of_a_flush(void **state)
{
	uint32_t pool_id = make("a", 3);

	(void)state;
	assert_int_equal(chi_pool_destroy(client, pool_id), 0);
	assert_int_equal(hshm_load_relaxed(&n_gone), 3);
	assert_int_equal(hshm_load_relaxed(&n_reachable), 0);
}

static void ids_are_never_given_twice(void **state)
{
	uint32_t first = make("a", 1), again = 0;

	(void)state;
	assert_int_equal(chi_pool_destroy(client, first), 0);
	/* once round all slots */
	for (uint32_t i = 0; i < CHI_POOL_SLOTS - 2; i++) {
		again = make("a", 1);
		assert_int_not_equal(again, first);
		assert_int_equal(chi_pool_destroy(client, again), 0);
	}
	assert_int_equal(again % CHI_POOL_SLOTS, first % CHI_POOL_SLOTS);
	assert_int_equal(finish(submit(first, METHOD_SLEEP)), -ENOENT);
	assert_int_equal(finish(submit(again, METHOD_SLEEP)), -ENOENT);
	assert_int_equal(hshm_load_relaxed(&n_gone), CHI_POOL_SLOTS - 1);
}

static void who_may_not_destroy_is_told(void **state)
{
	uint32_t pool_id = make("a", 1), other = make("b", 1);
	struct hand_task *task;

	(void)state;
	assert_int_equal(chi_pool_destroy(client, CHI_ADMIN_POOL_ID), -EPERM);
	assert_int_equal(chi_pool_destroy(client, 0), -ENOENT);
	assert_int_equal(chi_pool_destroy(client, pool_id + CHI_POOL_SLOTS), -ENOENT);
	/* by a task of its own it would wait for itself */
	assert_int_equal(finish(submit(pool_id, METHOD_DESTROY)), -EBUSY);
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), METHOD_DESTROY, &task),
			 0);
	task->pool_id = other;
	assert_int_equal(chi_submit(client, task), 0);
	assert_int_equal(finish(task), 0);
	assert_int_equal(n_pools(), 2);
}

static void a_part_of_a_broadcast_cannot_destroy_the_pool_that_waits_for_it(void **state)
{
	uint32_t pool_id = make("a", 1), other = make("b", 3);
	struct hand_task *task;

	(void)state;
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), METHOD_CAST, &task), 0);
	task->pool_id = other;
	assert_int_equal(chi_submit(client, task), 0);
	assert_int_equal(finish(task), -EBUSY);
	assert_int_equal(n_pools(), 3);
}

static void at_stop_modules_destroy_what_they_have(void **state)
{
	(void)state;
	make("a", 3);
	make("b", 2);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
	assert_int_equal(hshm_load_relaxed(&n_gone), 5);
	assert_int_equal(set_up(NULL), 0);
}

/* ---- flush ---- */

/* one task: chi_flush() would send two */
static int flush_once(struct chi_client *mine)
{
	struct chi_admin_simple_task *task;
	int ret = chi_task_alloc(mine, sizeof(*task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), CHI_ADMIN_FLUSH, &task);

	if (!ret)
		ret = chi_call(mine, task);
	chi_task_free(mine, task);
	return ret;
}

static void *flush_it(void *arg)
{
	struct chi_client *mine;
	int ret = chi_runtime_client(runtime, NULL, &mine);

	if (!ret)
		ret = flush_once(mine);
	hshm_store_release((hshm_au32 *)arg, 1);
	chi_client_disconnect(mine);
	return (void *)(intptr_t)ret;
}

static void a_flush_waits_for_what_was_there(void **state)
{
	uint32_t pool_id = make("a", 1);
	struct hand_task *task = submit(pool_id, METHOD_SLEEP);
	hshm_au32 done = { 0 };
	pthread_t thread;
	void *ret;

	(void)state;
	until_inside(1);
	pthread_create(&thread, NULL, flush_it, &done);
	usleep(100000);
	assert_int_equal(hshm_load_acquire(&done), 0);
	hshm_store_release(&gate, 1);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, 0);
	/* no waiting was left to do */
	assert_true(chi_task_done(task));
	finish(task);
	assert_int_equal(chi_flush(client), 0);
}

static struct chi_pool *pool_of(uint32_t pool_id)
{
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(runtime->pools, pool_id, &epoch);

	assert_non_null(pool);
	chi_pool_put(pool, epoch);
	return pool;
}

static uint32_t worker_of(struct chi_container *container)
{
	return chi_lane_worker(chi_container_lane(container, 0, 0));
}

/* The caller is not waited for, as it waits for who asks for the flush; the one it calls is. */
static void a_flush_waits_for_what_its_askers_parent_calls(void **state)
{
	struct chi_pool *pool = pool_of(make("a", 2));
	struct chi_pool *admin = pool_of(CHI_ADMIN_POOL_ID);
	uint32_t asks = worker_of(admin->local_table[0]);
	struct hand_task *task;

	(void)state;
	/* the flush is not to stand behind the called one */
	assert_int_equal(
		chi_work_orch_remap_lane(runtime->orch, chi_container_lane(pool->local_table[1], 0, 0), 1 - asks), 0);
	while (worker_of(pool->local_table[1]) == asks)
		usleep(1000);
	assert_int_equal(chi_work_orch_remap_lane(runtime->orch, chi_container_lane(pool->local_table[0], 0, 0), asks),
			 0);
	while (worker_of(pool->local_table[0]) != asks)
		usleep(1000);
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool->id, CHI_QUERY_LOCAL_ID(1), METHOD_CALLER, &task),
			 0);
	assert_int_equal(chi_call(client, task), 0);
	assert_int_equal(hshm_load_relaxed(&flush_was_first), 0);
	chi_task_free(client, task);
}

static void a_flush_does_not_wait_for_what_rests_but_the_end_does(void **state)
{
	struct chi_pool *pool = pool_of(make("a", 1));
	struct chi_pool_info infos[2];
	pthread_t thread;
	uint8_t epoch;
	void *ret;

	(void)state;
	assert_ptr_equal(chi_pool_get(runtime->pools, pool->id, &epoch), pool);
	chi_pool_rest(pool, epoch);
	assert_int_equal(flush_once(client), 0);
	/* in the epoch of now: that flush has flipped it */
	chi_pool_resume(pool, &epoch);
	assert_int_equal(epoch, hshm_load_relaxed(&pool->flush_epoch) & 1);
	assert_int_equal(hshm_load_relaxed(&pool->n_in_flight[epoch]), 1);
	chi_pool_rest(pool, epoch);
	while (chi_pool_count_in_flight(runtime->pools) != 1)
		usleep(100); /* the flush's own task leaves its count a moment after its answer */
	assert_int_equal(chi_pool_list(client, infos, 2), 2);
	assert_int_equal(infos[1].n_in_flight, 1);
	pthread_create(&thread, NULL, destroy_it, (void *)(uintptr_t)pool->id);
	while (n_pools() != 1)
		usleep(1000);
	usleep(50000);
	assert_int_equal(hshm_load_relaxed(&n_gone), 0);
	chi_pool_resume(pool, &epoch);
	chi_pool_put(pool, epoch);
	pthread_join(thread, &ret);
	assert_int_equal((intptr_t)ret, 0);
	assert_int_equal(hshm_load_relaxed(&n_gone), 1);
}

static void a_flush_in_a_method_does_not_wait_for_itself(void **state)
{
	uint32_t a = make("a", 1), b = make("b", 1);
	struct hand_task *tasks[6];

	(void)state;
	/* several at once: each waits for the others but for those that wait too */
	for (int i = 0; i < 6; i++)
		tasks[i] = submit(i % 2 ? a : b, METHOD_FLUSH);
	for (int i = 0; i < 6; i++)
		assert_int_equal(finish(tasks[i]), 0);
	assert_int_equal(chi_flush(client), 0);
	assert_int_equal(runtime->stop_requested.v, 0);
}

/* ---- containers ---- */

static void a_look_at_a_pool_is_no_task(void **state)
{
	uint32_t pool_id = make("a", 1);
	struct chi_pool_info infos[2];
	struct chi_pool *pool;
	uint8_t epoch;

	(void)state;
	pool = chi_pool_get_uncounted(runtime->pools, pool_id, &epoch);
	assert_non_null(pool);
	assert_int_equal(chi_pool_list(client, infos, 2), 2);
	assert_int_equal(infos[1].n_in_flight, 1);
	assert_int_equal(infos[1].n_tasks, 0);
	chi_pool_put(pool, epoch);
	hshm_store_release(&gate, 1);
	assert_int_equal(finish(submit(pool_id, METHOD_SLEEP)), 0);
	assert_int_equal(chi_pool_list(client, infos, 2), 2);
	assert_int_equal(infos[1].n_tasks, 1);
}

static void a_tree_of_tasks_has_one_root_and_numbers_from_1(void **state)
{
	uint32_t pool_id = make("a", 1);
	uint64_t last_root = 0;

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct hand_task *task;

		assert_int_equal(
			chi_task_alloc(client, sizeof(*task), pool_id, CHI_QUERY_LOCAL_ID(0), METHOD_IDS, &task), 0);
		task->pool_id = 0;
		assert_int_equal(chi_submit(client, task), 0);
		assert_int_equal(finish(task), 0);
		assert_int_equal(hshm_load_acquire(&n_trees), round + 1);
		for (uint32_t i = 0; i < 4; i++) {
			assert_int_equal(tree_ids[i].root, tree_ids[0].root);
			assert_int_equal(tree_ids[i].number, i);
		}
		assert_int_not_equal(tree_ids[0].root, last_root);
		last_root = tree_ids[0].root;
		hshm_fetch_add_acq_rel(&n_trees, 0); /* and back */
	}
}

static void queries_name_their_containers(void **state)
{
	struct chi_pool *pool = pool_of(make("a", 3));
	const struct {
		struct chi_domain_query query;
		int id;
	} cases[] = {
		{ CHI_QUERY_LOCAL_ID(2), 2 },
		{ CHI_QUERY_LOCAL_ID(3), -ENOENT },
		{ CHI_QUERY_GLOBAL_ID(1), 1 },
		{ CHI_QUERY_GLOBAL_ID(UINT64_MAX), -ENOENT },
		{ CHI_QUERY_LOCAL_HASH(7), 1 },
		{ CHI_QUERY_GLOBAL_HASH(8), 2 },
		{ CHI_QUERY_GLOBAL_BCAST(), -EINVAL },
		{ CHI_QUERY_DYNAMIC(), -EINVAL },
		{ { 99, 0, 0 }, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct chi_container *container = NULL;
		int ret = chi_pool_resolve(pool, &cases[i].query, &container);

		assert_int_equal(ret ? ret : (int)container->id, cases[i].id);
	}
}

static int resolve(struct chi_pool *pool, struct chi_domain_query query, struct chi_container **ret_container)
{
	return chi_pool_resolve(pool, &query, ret_container);
}

static void a_container_of_another_node_is_out_of_reach(void **state)
{
	struct chi_pool *pool = pool_of(make("a", 3));
	struct chi_container *container = NULL;

	(void)state;
	pool->global_table[1] = 1;
	assert_int_equal(resolve(pool, CHI_QUERY_GLOBAL_ID(1), &container), -EHOSTUNREACH);
	assert_int_equal(resolve(pool, CHI_QUERY_GLOBAL_HASH(4), &container), -EHOSTUNREACH);
	assert_null(container);
	assert_int_equal(resolve(pool, CHI_QUERY_GLOBAL_ID(2), &container), 0);
	assert_int_equal(container->id, 2);
	/* the one of that number here is another matter */
	assert_int_equal(resolve(pool, CHI_QUERY_LOCAL_ID(1), &container), 0);
	assert_int_equal(container->id, 1);
	pool->global_table[1] = 0;
}

static void default_lanes_go_by_latency_and_hash(void **state)
{
	uint32_t pool_id = 0, counts[4] = { 0 }, turns[4] = { 0 };
	struct chi_task task = { .query = CHI_QUERY_GLOBAL_HASH(0) };
	struct chi_monitor monitor = { .task = &task };
	struct chi_container *container;

	(void)state;
	assert_int_equal(chi_pool_create(client, &(struct chi_pool_spec){ .module = "create_fails" }, &pool_id), 1);
	container = pool_of(pool_id)->local_table[0];
	/* one container of four would see each fourth value: its lanes must still share them evenly */
	for (uint64_t i = 0; i < 4000; i++) {
		task.query.value = i * 4;
		assert_int_equal(chi_container_monitor(container, CHI_MONITOR_LOCAL_SCHEDULE, &monitor), 0);
		assert_int_equal(monitor.queue_id, 0);
		assert_int_equal(monitor.lane_id, chi_container_lane_by_hash(container, 0, i * 4));
		counts[monitor.lane_id]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(counts[i], 800, 1200);
	task.query = CHI_QUERY_LOCAL_ID(0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(chi_container_monitor(container, CHI_MONITOR_LOCAL_SCHEDULE, &monitor), 0);
		turns[monitor.lane_id]++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(turns[i], 2);

	container = pool_of(make("a", 1))->local_table[0];
	assert_int_equal(chi_container_monitor(container, CHI_MONITOR_LOCAL_SCHEDULE, &monitor), 0);
	assert_int_equal(monitor.queue_id, 0);
	task.flags = CHI_TASK_HIGH_LATENCY;
	assert_int_equal(chi_container_monitor(container, CHI_MONITOR_LOCAL_SCHEDULE, &monitor), 0);
	assert_int_equal(monitor.queue_id, 1);
}

static void dynamic_tasks_go_to_the_least_loaded(void **state)
{
	struct chi_pool *pool = pool_of(make("a", 4));
	struct chi_task task = { .query = CHI_QUERY_DYNAMIC() };
	struct chi_monitor monitor = { .task = &task };
	uint32_t turns[4] = { 0 };

	(void)state;
	for (int i = 0; i < 8; i++) {
		assert_int_equal(chi_container_monitor(pool->local_table[0], CHI_MONITOR_GLOBAL_SCHEDULE, &monitor), 0);
		assert_int_equal(monitor.query.kind, CHI_DOMAIN_GLOBAL_ID);
		turns[monitor.query.value]++;
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(turns[i], 2);
	for (int i = 0; i < 4; i++)
		hshm_store_relaxed(&pool->local_table[i]->n_outstanding, i == 2 ? 1 : 5);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(chi_container_monitor(pool->local_table[0], CHI_MONITOR_GLOBAL_SCHEDULE, &monitor), 0);
		assert_int_equal(monitor.query.value, 2);
	}
	for (int i = 0; i < 4; i++)
		hshm_store_relaxed(&pool->local_table[i]->n_outstanding, 0);
}

static void a_wrong_answer_of_a_module_fails_the_task(void **state)
{
	uint32_t pool_id = make("a", 1);

	(void)state;
	hshm_store_relaxed(&wrong_monitor, 1);
	hshm_store_release(&gate, 1);
	assert_int_equal(finish(submit(pool_id, METHOD_SLEEP)), -EINVAL);
	hshm_store_relaxed(&wrong_monitor, 0);
	assert_int_equal(finish(submit(pool_id, METHOD_SLEEP)), 0);
}

static void queues_are_made_inside_create_only(void **state)
{
	struct chi_container *container = pool_of(make("a", 1))->local_table[0];

	(void)state;
	assert_int_equal(chi_container_create_local_queue(container, 3, 1, 0), -EINVAL);
	container->creating = true;
	assert_int_equal(chi_container_create_local_queue(container, CHI_QUEUES_MAX, 1, 0), -EINVAL);
	assert_int_equal(chi_container_create_local_queue(container, 3, 0, 0), -EINVAL);
	assert_int_equal(chi_container_create_local_queue(container, 3, 4097, 0), -EINVAL);
	assert_int_equal(chi_container_create_local_queue(container, 3, 1, 2), -EINVAL);
	assert_int_equal(chi_container_create_local_queue(container, 0, 1, 0), -EEXIST);
	container->creating = false;
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(a_pool_is_made_once_and_opened_after),
		CASE(what_cannot_be_made_says_why),
		CASE(a_create_that_fails_leaves_nothing),
		CASE(a_create_that_fails_uses_no_id_up),
		CASE(pools_leave_memory_for_tasks),
		CASE(a_create_may_make_another_pool_but_not_its_own),
		CASE(many_who_ask_at_once_get_one_pool),
		CASE(tasks_in_flight_end_before_their_pool),
		CASE(a_pool_taken_apart_is_out_of_reach_of_a_flush),
		CASE(ids_are_never_given_twice),
		CASE(who_may_not_destroy_is_told),
		CASE(a_part_of_a_broadcast_cannot_destroy_the_pool_that_waits_for_it),
		CASE(at_stop_modules_destroy_what_they_have),
		CASE(a_flush_waits_for_what_was_there),
		CASE(a_flush_waits_for_what_its_askers_parent_calls),
		CASE(a_flush_does_not_wait_for_what_rests_but_the_end_does),
		CASE(a_flush_in_a_method_does_not_wait_for_itself),
		CASE(a_look_at_a_pool_is_no_task),
		CASE(a_tree_of_tasks_has_one_root_and_numbers_from_1),
		CASE(queries_name_their_containers),
		CASE(a_container_of_another_node_is_out_of_reach),
		CASE(default_lanes_go_by_latency_and_hash),
		CASE(dynamic_tasks_go_to_the_least_loaded),
		CASE(a_wrong_answer_of_a_module_fails_the_task),
		CASE(queues_are_made_inside_create_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
