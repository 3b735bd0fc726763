/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * route_test.c - from a domain query to a container, and on to a lane: each kind of query, answers of monitor() that name what is
 * not there, a full lane, in place or not
 *
 * The cases run on worker 0's thread, outside its loop's turns: what they put into its lanes stays there until they are over.
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
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "runtime/container.h"
#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define N_CONTAINERS 4u
#define LANE_DEPTH   4u

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool_id;

/* ---- a module that answers what the case wants ---- */

static struct {
	int error; /* -ENOTSUP: the default */
	enum chi_monitor_mode mode;
	struct chi_monitor answer;
} oracle;

static int monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *ret_monitor)
{
	(void)container;
	if (mode != oracle.mode)
		return -ENOTSUP;
	if (oracle.error == 0) {
		ret_monitor->queue_id = oracle.answer.queue_id;
		ret_monitor->lane_id = oracle.answer.lane_id;
		ret_monitor->query = oracle.answer.query;
	}
	return oracle.error;
}

static int create(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)params, (void)params_size;
	return chi_container_create_local_queue(container, 0, 1, 0);
}

static int nothing(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "nothing", .id = 0, .task_size = sizeof(struct chi_task), .run = nothing },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "oracle",
	.n_methods = 1,
	.methods = methods,
	.create = create,
	.monitor = monitor,
};

/* ---- on the worker's thread ---- */

struct errand {
	struct chi_work work;
	void (*fn)(struct chi_worker *worker, struct chi_pool *pool);
	sem_t done;
};

static void run_errand(struct chi_worker *worker, struct chi_work *work)
{
	struct errand *errand = (struct errand *)work; /* its first member */
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(runtime->pools, pool_id, &epoch);

	errand->fn(worker, pool);
	chi_pool_put(pool, epoch);
	sem_post(&errand->done);
}

static void on_worker_0(void (*fn)(struct chi_worker *worker, struct chi_pool *pool))
{
	struct errand errand = { .work.fn = run_errand, .fn = fn };

	sem_init(&errand.done, 0, 0);
	chi_worker_post(chi_work_orch_worker(runtime->orch, 0), &errand.work);
	while (sem_wait(&errand.done) < 0)
		;
	sem_destroy(&errand.done);
	assert_int_equal(chi_flush(client), 0); /* what it has put into lanes is over */
}

static int start(const char *workers)
{
	struct chi_pool_spec spec = { .module = "oracle", .n_containers = N_CONTAINERS };
	char config[200];

	memset(&oracle, 0, sizeof(oracle));
	snprintf(config, sizeof(config),
		 "workers: { %s }\nlanes: { policy: round_robin }\nmemory: { private_mib: 256, lane_depth: %u }\n",
		 workers, LANE_DEPTH);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0 ||
	    chi_module_register_builtin(runtime->modules, &module) < 0 ||
	    chi_runtime_client(runtime, NULL, &client) < 0 || chi_pool_create(client, &spec, &pool_id) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

static int start_two(void **state)
{
	(void)state;
	return start("count: 2");
}

static int start_two_not_in_place(void **state)
{
	(void)state;
	return start("count: 2, run_in_place: false");
}

static int stop(void **state)
{
	(void)state;
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, 5 * HSHM_NSEC_PER_SEC, NULL);
}

/* ---- queries ---- */

static int resolve(struct chi_worker *worker, struct chi_pool *pool, struct chi_domain_query query,
		   struct chi_container **ret_container)
{
	struct chi_task task;

	chi_task_init(&task, sizeof(task), pool_id, query, 0);
	return chi_worker_resolve_query(worker, pool, &task, ret_container);
}

static void expect_container(struct chi_worker *worker, struct chi_pool *pool, struct chi_domain_query query,
			     uint32_t id)
{
	struct chi_container *container = NULL;

	assert_int_equal(resolve(worker, pool, query, &container), 0);
	assert_int_equal(container->id, id);
}

static void expect_error(struct chi_worker *worker, struct chi_pool *pool, struct chi_domain_query query, int error)
{
	struct chi_container *container = NULL;

	assert_int_equal(resolve(worker, pool, query, &container), error);
	assert_null(container);
}

static void resolve_all_kinds(struct chi_worker *worker, struct chi_pool *pool)
{
	for (uint32_t i = 0; i < N_CONTAINERS; i++) {
		expect_container(worker, pool, CHI_QUERY_LOCAL_ID(i), i);
		expect_container(worker, pool, CHI_QUERY_GLOBAL_ID(i), i);
		expect_container(worker, pool, CHI_QUERY_LOCAL_HASH(i + 7 * N_CONTAINERS), i);
		expect_container(worker, pool, CHI_QUERY_GLOBAL_HASH(i + 7 * N_CONTAINERS), i);
	}
	expect_error(worker, pool, CHI_QUERY_LOCAL_ID(N_CONTAINERS), -ENOENT);
	expect_error(worker, pool, CHI_QUERY_GLOBAL_ID(N_CONTAINERS), -ENOENT);
	expect_error(worker, pool, CHI_QUERY_LOCAL_ID(UINT64_MAX), -ENOENT);
	expect_error(worker, pool, CHI_QUERY_GLOBAL_BCAST(), -EINVAL);
	expect_error(worker, pool, (struct chi_domain_query){ .kind = 99 }, -EINVAL);
}

static void each_kind_of_query_finds_its_container(void **state)
{
	(void)state;
	on_worker_0(resolve_all_kinds);
}

static void resolve_dynamic(struct chi_worker *worker, struct chi_pool *pool)
{
	struct chi_container *container = NULL;

	oracle.mode = CHI_MONITOR_GLOBAL_SCHEDULE;
	oracle.answer.query = CHI_QUERY_GLOBAL_ID(2);
	expect_container(worker, pool, CHI_QUERY_DYNAMIC(), 2);
	oracle.answer.query = CHI_QUERY_LOCAL_HASH(3 + N_CONTAINERS);
	expect_container(worker, pool, CHI_QUERY_DYNAMIC(), 3);
	oracle.answer.query = CHI_QUERY_GLOBAL_ID(N_CONTAINERS);
	expect_error(worker, pool, CHI_QUERY_DYNAMIC(), -EINVAL);
	oracle.answer.query = CHI_QUERY_DYNAMIC();
	expect_error(worker, pool, CHI_QUERY_DYNAMIC(), -EINVAL);
	oracle.answer.query = CHI_QUERY_GLOBAL_BCAST();
	expect_error(worker, pool, CHI_QUERY_DYNAMIC(), -EINVAL);
	oracle.error = -EDOM;
	expect_error(worker, pool, CHI_QUERY_DYNAMIC(), -EDOM);
	oracle.error = -ENOTSUP; /* the default: the one with the fewest tasks */
	for (uint32_t i = 0; i < N_CONTAINERS; i++)
		hshm_store_relaxed(&pool->local_table[i]->n_outstanding, i == 1 ? 0 : 5);
	assert_int_equal(resolve(worker, pool, CHI_QUERY_DYNAMIC(), &container), 0);
	assert_int_equal(container->id, 1);
	for (uint32_t i = 0; i < N_CONTAINERS; i++)
		hshm_store_relaxed(&pool->local_table[i]->n_outstanding, 0);
}

static void a_dynamic_query_goes_where_the_module_says_if_that_is_there(void **state)
{
	(void)state;
	on_worker_0(resolve_dynamic);
}

/* ---- lanes ---- */

/* As a method's detached subtask would come: its memory is freed when it has ended. */
static struct chi_run_context *new_context(struct chi_worker *worker, struct chi_domain_query query)
{
	struct chi_run_context *context;
	struct chi_task *task;
	uint8_t epoch;
	struct chi_pool *pool = chi_pool_get(runtime->pools, pool_id, &epoch);

	assert_int_equal(chi_task_alloc(&runtime->inner, sizeof(*task), pool_id, query, 0, &task), 0);
	task->flags = CHI_TASK_FIRE_AND_FORGET;
	assert_int_equal(chi_context_alloc(runtime, 0, &context), 0);
	context->task = task;
	context->pool = pool;
	context->flush_epoch = epoch;
	context->method = chi_pool_method(pool, 0);
	context->worker = worker;
	return context;
}

static uint64_t n_failed(const struct chi_worker *worker)
{
	return hshm_load_relaxed(&worker->counters->tasks_failed);
}

static uint64_t n_in_place(const struct chi_worker *worker)
{
	return hshm_load_relaxed(&worker->counters->tasks_in_place);
}

/* A container whose lane is, or is not, the worker's. */
static uint32_t container_at(struct chi_pool *pool, const struct chi_worker *worker, bool own)
{
	for (uint32_t i = 0; i < N_CONTAINERS; i++)
		if ((chi_lane_worker(chi_container_lane(pool->local_table[i], 0, 0)) == worker->id) == own)
			return i;
	fail_msg("no such container");
	return 0;
}

static void wrong_answers(struct chi_worker *worker, struct chi_pool *pool)
{
	static const struct chi_monitor answers[] = { { .queue_id = 1 },
						      { .queue_id = CHI_QUEUES_MAX },
						      { .queue_id = UINT32_MAX },
						      { .lane_id = 1 },
						      { .lane_id = UINT32_MAX } };
	struct chi_lane *lane = chi_container_lane(pool->local_table[0], 0, 0);

	oracle.mode = CHI_MONITOR_LOCAL_SCHEDULE;
	for (size_t i = 0; i <= sizeof(answers) / sizeof(answers[0]); i++) {
		uint64_t before = n_failed(worker);

		if (i < sizeof(answers) / sizeof(answers[0]))
			oracle.answer = answers[i];
		else
			oracle.error = -EDOM;
		/* completed with an error: no lane has it, the context is gone */
		assert_int_equal(chi_worker_route(worker, new_context(worker, CHI_QUERY_LOCAL_ID(0)), &lane), 0);
		assert_null(lane);
		assert_int_equal(n_failed(worker), before + 1);
	}
	oracle.error = -ENOTSUP;
}

static void an_answer_that_names_no_lane_fails_the_task(void **state)
{
	(void)state;
	on_worker_0(wrong_answers);
}

static void unknown_container(struct chi_worker *worker, struct chi_pool *pool)
{
	uint64_t before = n_failed(worker);
	struct chi_lane *lane;

	(void)pool;
	assert_int_equal(chi_worker_route(worker, new_context(worker, CHI_QUERY_LOCAL_ID(N_CONTAINERS)), &lane), 0);
	assert_null(lane);
	assert_int_equal(n_failed(worker), before + 1);
}

static void a_query_that_names_no_container_fails_the_task(void **state)
{
	(void)state;
	on_worker_0(unknown_container);
}

static void fill_a_lane(struct chi_worker *worker, struct chi_pool *pool)
{
	uint32_t own = container_at(pool, worker, true);
	struct chi_container *container = pool->local_table[own];
	struct chi_lane *lane = NULL, *its = chi_container_lane(container, 0, 0);
	struct chi_run_context *context;

	for (uint32_t i = 0; i < LANE_DEPTH; i++) {
		assert_int_equal(chi_worker_route(worker, new_context(worker, CHI_QUERY_LOCAL_ID(own)), &lane), 0);
		assert_ptr_equal(lane, its);
	}
	context = new_context(worker, CHI_QUERY_LOCAL_ID(own));
	for (uint32_t tries = 0; tries < 3; tries++) {
		lane = NULL;
		assert_int_equal(chi_worker_route(worker, context, &lane), -EAGAIN);
		assert_ptr_equal(lane, its);
		/* still ours; and counted once as the container's */
		assert_int_equal(context->state, CHI_CONTEXT_QUEUED);
		assert_int_equal(hshm_load_relaxed(&container->n_outstanding), LANE_DEPTH + 1);
	}
	chi_context_complete(worker, context, -ECANCELED);
	assert_int_equal(hshm_load_relaxed(&container->n_outstanding), LANE_DEPTH);
}

static void a_full_lane_leaves_the_context_to_the_caller(void **state)
{
	(void)state;
	on_worker_0(fill_a_lane);
}

static void expect_in_place(struct chi_worker *worker, uint32_t container, bool in_place)
{
	uint64_t before = n_in_place(worker);
	struct chi_lane *lane;

	assert_int_equal(chi_worker_route(worker, new_context(worker, CHI_QUERY_LOCAL_ID(container)), &lane), 0);
	assert_int_equal(n_in_place(worker), before + in_place);
	assert_int_equal(lane == NULL, in_place);
}

static void in_place_or_not(struct chi_worker *worker, struct chi_pool *pool)
{
	struct chi_run_context running = { 0 };
	uint32_t own = container_at(pool, worker, true);

	expect_in_place(worker, container_at(pool, worker, false), false);
	expect_in_place(worker, own, true);
	/* a task is running: its subtask does not start on top of it */
	worker->current = &running;
	expect_in_place(worker, own, false);
	worker->current = NULL;
	expect_in_place(worker, own, false); /* behind the one that waits in the lane now */
}

static void a_task_starts_at_once_in_an_empty_lane_of_our_own_only(void **state)
{
	(void)state;
	on_worker_0(in_place_or_not);
}

static void never_in_place(struct chi_worker *worker, struct chi_pool *pool)
{
	expect_in_place(worker, container_at(pool, worker, true), false);
}

static void in_place_can_be_switched_off(void **state)
{
	(void)state;
	on_worker_0(never_in_place);
}

int main(void)
{
#define CASE(name, start) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		CASE(each_kind_of_query_finds_its_container, start_two),
		CASE(a_dynamic_query_goes_where_the_module_says_if_that_is_there, start_two),
		CASE(an_answer_that_names_no_lane_fails_the_task, start_two),
		CASE(a_query_that_names_no_container_fails_the_task, start_two),
		CASE(a_full_lane_leaves_the_context_to_the_caller, start_two_not_in_place),
		CASE(a_task_starts_at_once_in_an_empty_lane_of_our_own_only, start_two),
		CASE(in_place_can_be_switched_off, start_two_not_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
