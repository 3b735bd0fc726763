/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core_test.c - the core end to end, through the public calls alone, in an embedded runtime
 *
 * Every case runs four times: completion posting on and off, running in place on and off.
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
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../modules/probe.h"

#define N_WORKERS    3
#define N_CONTAINERS 4

struct fixture {
	struct chi_runtime *runtime;
	struct chi_client *client;
	uint32_t pool;
};

static bool posting, in_place;

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct chi_pool_spec spec = { .module = "probe", .n_containers = N_CONTAINERS };
	char config[512];

	snprintf(config, sizeof(config),
		 "workers: { count: %d, completion_posting: %s, run_in_place: %s }\n"
		 "memory: { private_mib: 512, lane_depth: 64 }\n"
		 "clients: { memory_mib: 256, lane_depth: 256, contexts: 512 }\n",
		 N_WORKERS, posting ? "true" : "false", in_place ? "true" : "false");
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = config);
	struct chi_client_opts client_opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID);

	if (!f || chi_runtime_start(&opts, &f->runtime) < 0 ||
	    chi_runtime_client(f->runtime, &client_opts, &f->client) < 0 ||
	    chi_pool_create(f->client, &spec, &f->pool) < 0) {
		print_error("setup: %s\n", chi_error_text());
		return -1;
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	uint64_t n_given_up = 0;
	int ret;

	chi_client_disconnect(f->client);
	ret = chi_runtime_stop(f->runtime, 5 * HSHM_NSEC_PER_SEC, &n_given_up);
	free(f);
	if (n_given_up)
		print_error("%llu tasks had not ended\n", (unsigned long long)n_given_up);
	return ret;
}

static struct probe_task *new_task(struct fixture *f, uint32_t method, struct chi_domain_query query)
{
	struct probe_task *task;

	assert_int_equal(chi_task_alloc(f->client, sizeof(*task), f->pool, query, method, &task), 0);
	return task;
}

static struct probe_task *call(struct fixture *f, uint32_t method, struct chi_domain_query query, uint64_t in,
			       uint64_t count, int expected)
{
	struct probe_task *task = new_task(f, method, query);

	task->in = in;
	task->count = count;
	assert_int_equal(chi_call(f->client, task), expected);
	return task;
}

static uint64_t call_out(struct fixture *f, uint32_t method, struct chi_domain_query query, uint64_t in, uint64_t count)
{
	struct probe_task *task = call(f, method, query, in, count, 0);
	uint64_t out = task->out;

	chi_task_free(f->client, task);
	return out;
}

static struct chi_worker_counters sum_counters(struct fixture *f)
{
	struct chi_worker_counters sum = { 0 };
	struct chi_runtime_info *info = malloc(sizeof(*info));

	assert_int_equal(chi_client_runtime_info(f->client, info), 0);
	assert_int_equal(info->n_workers, N_WORKERS);
	for (uint32_t i = 0; i < info->n_workers; i++) {
#define CHI_FACT(name, type, unit, text)
#define CHI_COUNTER(name, kind, unit, text) hshm_count_add(&sum.name, hshm_load_relaxed(&info->workers[i].name));
#include <chimaera/counters/worker.def>
#undef CHI_FACT
#undef CHI_COUNTER
	}
	free(info);
	return sum;
}

static void a_task_runs_and_answers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call_out(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(0), 41, 0), 42);
}

static void each_query_reaches_its_container(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task;

	for (uint32_t i = 0; i < N_CONTAINERS; i++) {
		const struct chi_domain_query queries[] = { CHI_QUERY_LOCAL_ID(i), CHI_QUERY_GLOBAL_ID(i),
							    CHI_QUERY_LOCAL_HASH(i + 7 * N_CONTAINERS),
							    CHI_QUERY_GLOBAL_HASH(i + 9 * N_CONTAINERS) };

		for (size_t q = 0; q < sizeof(queries) / sizeof(queries[0]); q++) {
			task = call(f, PROBE_ADD, queries[q], 0, 0, 0);
			assert_int_equal(task->out2, i);
			chi_task_free(f->client, task);
		}
	}
	task = call(f, PROBE_ADD, CHI_QUERY_DYNAMIC(), 0, 0, 0);
	assert_true(task->out2 < N_CONTAINERS);
	chi_task_free(f->client, task);
	chi_task_free(f->client, call(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(N_CONTAINERS), 0, 0, -ENOENT));
	chi_task_free(f->client, call(f, PROBE_ADD, CHI_QUERY_GLOBAL_ID(N_CONTAINERS), 0, 0, -ENOENT));
}

static void dynamic_spreads_over_containers(void **state)
{
	struct fixture *f = *state;
	uint32_t n_of[N_CONTAINERS] = { 0 };

	for (int i = 0; i < 64; i++) {
		struct probe_task *task = call(f, PROBE_ADD, CHI_QUERY_DYNAMIC(), 0, 0, 0);

		n_of[task->out2]++;
		chi_task_free(f->client, task);
	}
	for (int i = 0; i < N_CONTAINERS; i++)
		assert_true(n_of[i] > 0);
}

static void broadcast_reaches_all_and_folds(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = call(f, PROBE_SUM, CHI_QUERY_GLOBAL_BCAST(), 0, 0, 0);

	assert_int_equal(task->out, 0 + 1 + 2 + 3);
	assert_int_equal(task->out2, N_CONTAINERS);
	chi_task_free(f->client, task);
	/* one of the parts fails: its error is the result */
	chi_task_free(f->client, call(f, PROBE_SUM, CHI_QUERY_GLOBAL_BCAST(), 3, 0, -EDOM));
}

static void a_task_waits_for_subtasks(void **state)
{
	struct fixture *f = *state;
	struct chi_worker_counters before = sum_counters(f), after;

	assert_int_equal(call_out(f, PROBE_NEST, CHI_QUERY_LOCAL_ID(1), 2, 100), 100);
	/* Those may all be done before they are waited for, on another worker. Of these one is in the task's own lane. */
	assert_int_equal(call_out(f, PROBE_FAN, CHI_QUERY_LOCAL_ID(1), 0, N_CONTAINERS),
			 N_CONTAINERS * (N_CONTAINERS + 1) / 2);
	after = sum_counters(f);
	assert_true(hshm_load_relaxed(&after.waits) > hshm_load_relaxed(&before.waits));
	if (!posting)
		assert_int_equal(hshm_load_relaxed(&after.resumes_posted), 0);
	assert_true(hshm_load_relaxed(&after.resumes_posted) + hshm_load_relaxed(&after.resumes_heap) >
		    hshm_load_relaxed(&before.resumes_posted) + hshm_load_relaxed(&before.resumes_heap));
}

static void wait_all_and_any_over_many_children(void **state)
{
	struct fixture *f = *state;

	for (uint64_t n = 1; n <= 64; n *= 4) {
		assert_int_equal(call_out(f, PROBE_FAN, CHI_QUERY_LOCAL_ID(0), 0, n), n * (n + 1) / 2);
		assert_int_equal(call_out(f, PROBE_FAN, CHI_QUERY_LOCAL_ID(3), 1, n), n * (n + 1) / 2);
	}
}

static void waits_nest_deep(void **state)
{
	assert_int_equal(call_out(*state, PROBE_DEEP, CHI_QUERY_LOCAL_ID(0), 0, 200), 200);
}

static void a_wait_times_out_and_the_task_goes_on(void **state)
{
	struct fixture *f = *state;

	assert_true(call_out(f, PROBE_TIMEOUT, CHI_QUERY_LOCAL_ID(2), HSHM_NSEC_PER_MSEC, 0) >= 1);
}

static void client_wait_times_out_and_the_memory_stays_lent(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_GATE_WAIT, CHI_QUERY_LOCAL_ID(0));

	assert_int_equal(chi_submit(f->client, task), 0);
	assert_int_equal(chi_wait(task, HSHM_NSEC_PER_MSEC), -ETIMEDOUT);
	assert_int_equal(chi_task_free(f->client, task), -EBUSY);
	assert_int_equal(chi_submit(f->client, task), -EBUSY);
	chi_task_free(f->client, call(f, PROBE_GATE_OPEN, CHI_QUERY_LOCAL_ID(0), 1, 0, 0));
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	assert_int_equal(task->task.result, 0);
	assert_int_equal(chi_task_free(f->client, task), 0);
}

/* Its method returns at once, but the task ends when its child has. */
static void a_task_ends_after_its_children(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_LEAVE, CHI_QUERY_LOCAL_ID(1));

	for (int round = 0; round < 5; round++) {
		chi_task_free(f->client, call(f, PROBE_GATE_OPEN, CHI_QUERY_LOCAL_ID(1), 0, 0, 0));
		assert_int_equal(chi_submit(f->client, task), 0);
		assert_int_equal(chi_wait(task, 2 * HSHM_NSEC_PER_MSEC), -ETIMEDOUT);
		chi_task_free(f->client, call(f, PROBE_GATE_OPEN, CHI_QUERY_LOCAL_ID(1), 1, 0, 0));
		assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
		assert_int_equal(task->task.result, 0);
	}
	chi_task_free(f->client, task);
}

static void cancel_ends_a_running_task(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_GATE_WAIT, CHI_QUERY_LOCAL_ID(1));

	assert_int_equal(chi_submit(f->client, task), 0);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	assert_int_equal(task->task.result, -ECANCELED);
	chi_task_free(f->client, task);
}

/* Its method has returned; it ends when its child does, which yields until it is asked to end. */
static void cancel_and_deadline_reach_a_subtask(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_LEAVE, CHI_QUERY_LOCAL_ID(1));

	assert_int_equal(chi_submit(f->client, task), 0);
	assert_int_equal(chi_wait(task, 2 * HSHM_NSEC_PER_MSEC), -ETIMEDOUT);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, 20 * HSHM_NSEC_PER_SEC), 0);
	task->task.deadline_us = 3000;
	assert_int_equal(chi_submit(f->client, task), 0);
	assert_int_equal(chi_wait(task, 20 * HSHM_NSEC_PER_SEC), 0);
	chi_task_free(f->client, task);
}

static void a_task_past_its_deadline_is_not_started(void **state)
{
	struct fixture *f = *state;
	struct probe_task *first = new_task(f, PROBE_HOLD, CHI_QUERY_LOCAL_ID(1));
	struct probe_task *task = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(1));
	hshm_au32 *held;

	/* one lane, one worker */
	assert_int_equal(chi_alloc(f->client, sizeof(*held), &held), 0);
	hshm_store_relaxed(held, 0);
	assert_int_equal(chi_buffer_set(f->client, &first->buffers[0], held, sizeof(*held), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(f->client, first), 0);
	while (!hshm_load_acquire(held)) /* acquire: pairs with the release in the method */
		chi_yield();
	task->task.deadline_us = 1;
	assert_int_equal(chi_submit(f->client, task), 0);
	assert_int_equal(chi_wait(task, HSHM_NSEC_PER_MSEC), -ETIMEDOUT);
	hshm_store_release(held, 0); /* release: pairs with the acquire in the method */
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	assert_int_equal(task->task.result, -ETIMEDOUT);
	assert_int_equal(chi_wait(first, HSHM_FOREVER), 0);
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(1), 0, 0), 0);
	task->task.deadline_us = 0;
	assert_int_equal(chi_call(f->client, task), 0);
	chi_task_free(f->client, task);
	chi_task_free(f->client, first);
	chi_free(f->client, held);
}

static void wait_any_of_a_client_finds_the_one_that_is_done(void **state)
{
	struct fixture *f = *state;
	struct probe_task *blocked = new_task(f, PROBE_GATE_WAIT, CHI_QUERY_LOCAL_ID(0));
	struct probe_task *quick = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(1));
	void *tasks[] = { blocked, quick };

	assert_int_equal(chi_submit(f->client, blocked), 0);
	assert_int_equal(chi_submit(f->client, quick), 0);
	assert_int_equal(chi_wait_any(tasks, 2, HSHM_FOREVER), 1);
	chi_cancel(blocked);
	assert_int_equal(chi_wait_all(tasks, 2, HSHM_FOREVER), 0);
	chi_task_free(f->client, blocked);
	chi_task_free(f->client, quick);
}

static void a_mutex_keeps_others_out_across_yields(void **state)
{
	struct fixture *f = *state;
	struct probe_task *tasks[16];

	for (int i = 0; i < 16; i++) {
		tasks[i] = new_task(f, PROBE_LOCKED, CHI_QUERY_LOCAL_ID(0));
		tasks[i]->count = 50;
		assert_int_equal(chi_submit(f->client, tasks[i]), 0);
	}
	assert_int_equal(chi_wait_all((void **)tasks, 16, HSHM_FOREVER), 0);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(tasks[i]->task.result, 0);
		chi_task_free(f->client, tasks[i]);
	}
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(0), 1, 0), 16 * 50);
}

static void a_full_container_lane_blocks_the_task_that_submits(void **state)
{
	struct fixture *f = *state;

	/* lanes of 64 slots */
	assert_int_equal(call_out(f, PROBE_FLOOD, CHI_QUERY_LOCAL_ID(0), 1, 5000), 5000);
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(1), 0, 0), 5000);
}

static void a_full_client_lane_says_eagain_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 4096 };
	struct probe_task **tasks = calloc(MANY, sizeof(*tasks));
	uint32_t n_full = 0;

	for (int i = 0; i < MANY; i++) {
		int ret;

		tasks[i] = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(2));
		while ((ret = chi_submit(f->client, tasks[i])) == -EAGAIN)
			n_full++;
		assert_int_equal(ret, 0);
	}
	assert_int_equal(chi_wait_all((void **)tasks, MANY, HSHM_FOREVER), 0);
	for (int i = 0; i < MANY; i++)
		chi_task_free(f->client, tasks[i]);
	free(tasks);
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(2), 0, 0), MANY);
	print_message("the lane was full %u times\n", n_full);
}

/* More blocked tasks than the client may have run contexts (512): its lane waits, and nothing is lost. */
static void the_cap_on_run_contexts_holds_the_lane_back(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 700 };
	struct probe_task *tasks[MANY];

	for (int i = 0; i < MANY; i++) {
		tasks[i] = new_task(f, PROBE_GATE_WAIT, CHI_QUERY_LOCAL_ID(3));
		while (chi_submit(f->client, tasks[i]) == -EAGAIN)
			;
		/* the gate is opened by one of the first, so that the cap cannot lock itself up */
		if (i == 10)
			chi_task_free(f->client, call(f, PROBE_GATE_OPEN, CHI_QUERY_LOCAL_ID(3), 0, 0, 0));
		if (i == 500) {
			struct probe_task *opener = new_task(f, PROBE_GATE_OPEN, CHI_QUERY_LOCAL_ID(3));

			opener->in = 1;
			opener->task.flags = CHI_TASK_FIRE_AND_FORGET;
			while (chi_submit(f->client, opener) == -EAGAIN)
				;
		}
	}
	assert_int_equal(chi_wait_all((void **)tasks, MANY, HSHM_FOREVER), 0);
	for (int i = 0; i < MANY; i++)
		chi_task_free(f->client, tasks[i]);
}

static void a_lane_starts_its_tasks_in_order(void **state)
{
	struct fixture *f = *state;
	enum { MANY = 1000 };
	struct probe_task **tasks = calloc(MANY, sizeof(*tasks));

	for (uint64_t i = 0; i < MANY; i++) {
		tasks[i] = new_task(f, PROBE_ORDER, CHI_QUERY_LOCAL_ID(0));
		tasks[i]->in = i;
		tasks[i]->count = i % 3 == 0;
		while (chi_submit(f->client, tasks[i]) == -EAGAIN)
			;
	}
	assert_int_equal(chi_wait_all((void **)tasks, MANY, HSHM_FOREVER), 0);
	for (int i = 0; i < MANY; i++)
		chi_task_free(f->client, tasks[i]);
	free(tasks);
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(0), 2, 0), 0);
}

static void fire_and_forget_runs_and_gives_its_memory_back(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 1000; i++) {
		struct probe_task *task = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(1));

		task->task.flags = CHI_TASK_FIRE_AND_FORGET;
		while (chi_submit(f->client, task) == -EAGAIN)
			;
	}
	chi_task_free(f->client, call(f, PROBE_DETACH, CHI_QUERY_LOCAL_ID(1), 0, 500, 0));
	assert_int_equal(chi_flush(f->client), 0);
	assert_int_equal(call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(1), 0, 0), 1500);
}

static void a_periodic_task_runs_again_until_cancelled(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(0));
	uint64_t n = 0;

	task->task.flags = CHI_TASK_PERIODIC;
	task->task.period_ns = HSHM_NSEC_PER_MSEC;
	assert_int_equal(chi_submit(f->client, task), 0);
	while (n < 5)
		n = call_out(f, PROBE_COUNTS, CHI_QUERY_LOCAL_ID(0), 0, 0);
	assert_false(chi_task_done(task));
	chi_cancel(task);
	assert_int_equal(chi_wait(task, HSHM_FOREVER), 0);
	chi_task_free(f->client, task);
}

static void high_latency_tasks_run_too(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 100; i++) {
		struct probe_task *task = new_task(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(0));

		task->task.flags = i % 2 ? CHI_TASK_HIGH_LATENCY : 0;
		assert_int_equal(chi_call(f->client, task), 0);
		chi_task_free(f->client, task);
	}
}

static void buffers_are_read_and_written(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task = new_task(f, PROBE_COPY, CHI_QUERY_LOCAL_ID(0));
	char *from, *to;

	assert_int_equal(chi_alloc(f->client, 100000, &from), 0);
	assert_int_equal(chi_alloc(f->client, 100000, &to), 0);
	memset(from, 'x', 100000);
	memset(to, 0, 100000);
	assert_int_equal(chi_buffer_set(f->client, &task->buffers[0], from, 100000, CHI_BUFFER_IN), 0);
	assert_int_equal(chi_buffer_set(f->client, &task->buffers[1], to, 100000, CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_call(f->client, task), 0);
	assert_memory_equal(from, to, 100000);
	chi_free(f->client, from);
	chi_free(f->client, to);
	chi_task_free(f->client, task);
}

static void bad_tasks_get_their_errno(void **state)
{
	struct fixture *f = *state;
	struct probe_task *task;
	char stack_memory[64];

	task = call(f, 200, CHI_QUERY_LOCAL_ID(0), 0, 0, -ENOSYS);
	task->task.pool_id = 4711;
	assert_int_equal(chi_call(f->client, task), -ENOENT);
	task->task.pool_id = f->pool;
	task->task.method_id = PROBE_ADD;
	task->task.size_bytes -= 8;
	assert_int_equal(chi_call(f->client, task), -EMSGSIZE);
	task->task.size_bytes += 8;
	task->task.query.kind = 77;
	assert_int_equal(chi_call(f->client, task), -EINVAL);
	task->task.query = CHI_QUERY_LOCAL_ID(0);
	task->task.version = 9;
	assert_int_equal(chi_call(f->client, task), -EPROTO);
	task->task.version = CHI_TASK_VERSION;
	task->task.flags = 0x8000;
	assert_int_equal(chi_call(f->client, task), -EINVAL);
	task->task.flags = 0;
	task->buffers[0].ptr.word = UINT64_C(0xffff00007fff0000); /* a plain address: never from a client */
	task->buffers[0].size_bytes = 8;
	assert_int_equal(chi_call(f->client, task), -EFAULT);
	task->buffers[0].size_bytes = 0;
	task->buffers[0].ptr.word = 0;
	assert_int_equal(chi_call(f->client, task), 0);
	assert_int_equal(chi_buffer_set(f->client, &task->buffers[0], stack_memory, 8, CHI_BUFFER_IN), -EFAULT);
	chi_task_free(f->client, task);
	chi_task_free(f->client, call(f, PROBE_FAIL, CHI_QUERY_LOCAL_ID(0), ENOTTY, 0, -ENOTTY));
}

static void bad_pools_get_their_errno(void **state)
{
	struct fixture *f = *state;
	struct chi_pool_spec spec = { .module = "no_such_module", .name = "x" };
	uint32_t id;

	assert_int_equal(chi_pool_create(f->client, &spec, &id), -ENOENT);
	spec.module = "probe";
	spec.name = "probe";
	spec.exclusive = true;
	assert_int_equal(chi_pool_create(f->client, &spec, &id), -EEXIST);
	spec.exclusive = false;
	assert_int_equal(chi_pool_create(f->client, &spec, &id), 0);
	assert_int_equal(id, f->pool);
	assert_int_equal(chi_pool_destroy(f->client, CHI_ADMIN_POOL_ID), -EPERM);
	assert_int_equal(chi_pool_destroy(f->client, 4711), -ENOENT);
}

static void a_destroyed_pool_ends_its_tasks_first(void **state)
{
	struct fixture *f = *state;
	struct chi_pool_info pools[8];

	for (int round = 0; round < 20; round++) {
		struct chi_pool_spec spec = { .module = "probe", .name = "short_lived", .n_containers = 2 };
		struct chi_task *tasks[32];
		uint32_t id;

		assert_int_equal(chi_pool_create(f->client, &spec, &id), 1);
		for (int i = 0; i < 32; i++) {
			assert_int_equal(chi_task_alloc(f->client, sizeof(struct chi_task), id, CHI_QUERY_LOCAL_HASH(i),
							PROBE_NOOP, &tasks[i]),
					 0);
			assert_int_equal(chi_submit(f->client, tasks[i]), 0);
		}
		assert_int_equal(chi_pool_destroy(f->client, id), 0);
		assert_int_equal(chi_wait_all((void **)tasks, 32, HSHM_FOREVER), 0);
		for (int i = 0; i < 32; i++) {
			assert_int_equal(tasks[i]->result, 0);
			chi_task_free(f->client, tasks[i]);
		}
	}
	assert_int_equal(chi_pool_list(f->client, pools, 8), 2);
}

struct thread_arg {
	struct fixture *f;
	int n_wrong;
};

static void *submit_and_check(void *opaque)
{
	struct thread_arg *arg = opaque;

	for (uint64_t i = 0; i < 2000; i++) {
		struct probe_task *task;

		if (chi_task_alloc(arg->f->client, sizeof(*task), arg->f->pool, CHI_QUERY_LOCAL_HASH(i),
				   i % 10 ? PROBE_ADD : PROBE_NEST, &task) < 0) {
			arg->n_wrong++;
			continue;
		}
		task->in = i;
		if (chi_call(arg->f->client, task) != 0 || task->out != (i % 10 ? i + 1 : 1))
			arg->n_wrong++;
		chi_task_free(arg->f->client, task);
	}
	return NULL;
}

static void many_threads_share_a_client(void **state)
{
	struct thread_arg args[6];
	pthread_t threads[6];

	for (int i = 0; i < 6; i++) {
		args[i] = (struct thread_arg){ *state, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, submit_and_check, &args[i]), 0);
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(args[i].n_wrong, 0);
	}
}

static void two_runtimes_live_in_one_process(void **state)
{
	struct fixture *f = *state;
	void *other;

	assert_int_equal(setup(&other), 0);
	assert_int_equal(call_out(other, PROBE_ADD, CHI_QUERY_LOCAL_ID(0), 1, 0), 2);
	assert_int_equal(call_out(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(0), 2, 0), 3);
	assert_int_equal(teardown(&other), 0);
	assert_int_equal(call_out(f, PROBE_ADD, CHI_QUERY_LOCAL_ID(0), 3, 0), 4);
}

static int give_up(void)
{
	struct fixture *f;
	struct probe_task *task, *after;
	void *state;
	uint64_t n_given_up = 0;

	if (setup(&state) < 0)
		return 1;
	f = state;
	if (chi_task_alloc(f->client, sizeof(*task), f->pool, CHI_QUERY_LOCAL_ID(0), PROBE_GATE_WAIT, &task) < 0 ||
	    chi_submit(f->client, task) < 0)
		return 2;
	/* behind the other in the same lane: when it is done, the other has started */
	if (chi_task_alloc(f->client, sizeof(*after), f->pool, CHI_QUERY_LOCAL_ID(0), PROBE_ADD, &after) < 0 ||
	    chi_call(f->client, after) < 0)
		return 3;
	if (chi_client_runtime_end(f->client, &n_given_up) != -EAGAIN)
		return 6;
	if (chi_runtime_stop(f->runtime, 50 * HSHM_NSEC_PER_MSEC, &n_given_up) != -ETIMEDOUT || n_given_up != 1)
		return 4;
	n_given_up = 0;
	if (chi_client_runtime_end(f->client, &n_given_up) != 0 || n_given_up != 1)
		return 7;
	if (chi_wait(task, HSHM_FOREVER) != -EOWNERDEAD)
		return 5;
	chi_client_disconnect(f->client);
	return 0;
}

/* In a process of its own: the memory of a method that is given up is not freed by anyone. */
static void a_stop_gives_up_on_tasks_that_do_not_end(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(give_up());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void set_mode(int mode)
{
	posting = mode & 1;
	in_place = mode & 2;
	print_message("completion posting %s, run in place %s\n", posting ? "on" : "off", in_place ? "on" : "off");
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_task_runs_and_answers),
		CASE(each_query_reaches_its_container),
		CASE(dynamic_spreads_over_containers),
		CASE(broadcast_reaches_all_and_folds),
		CASE(a_task_waits_for_subtasks),
		CASE(wait_all_and_any_over_many_children),
		CASE(waits_nest_deep),
		CASE(a_wait_times_out_and_the_task_goes_on),
		CASE(client_wait_times_out_and_the_memory_stays_lent),
		CASE(a_task_ends_after_its_children),
		CASE(cancel_ends_a_running_task),
		CASE(cancel_and_deadline_reach_a_subtask),
		CASE(a_task_past_its_deadline_is_not_started),
		CASE(wait_any_of_a_client_finds_the_one_that_is_done),
		CASE(a_mutex_keeps_others_out_across_yields),
		CASE(a_full_container_lane_blocks_the_task_that_submits),
		CASE(a_full_client_lane_says_eagain_and_loses_nothing),
		CASE(the_cap_on_run_contexts_holds_the_lane_back),
		CASE(a_lane_starts_its_tasks_in_order),
		CASE(fire_and_forget_runs_and_gives_its_memory_back),
		CASE(a_periodic_task_runs_again_until_cancelled),
		CASE(high_latency_tasks_run_too),
		CASE(buffers_are_read_and_written),
		CASE(bad_tasks_get_their_errno),
		CASE(bad_pools_get_their_errno),
		CASE(a_destroyed_pool_ends_its_tasks_first),
		CASE(many_threads_share_a_client),
		CASE(two_runtimes_live_in_one_process),
	};
	/* before there has been a second thread: a child of a fork beside one may find locks of ASan's taken for ever */
	const struct CMUnitTest forking_tests[] = {
		cmocka_unit_test(a_stop_gives_up_on_tasks_that_do_not_end),
	};
	int n_failed = 0;

	for (int mode = 0; mode < 4; mode++) {
		set_mode(mode);
		n_failed += cmocka_run_group_tests(forking_tests, NULL, NULL);
	}
	for (int mode = 0; mode < 4; mode++) {
		set_mode(mode);
		n_failed += cmocka_run_group_tests(tests, NULL, NULL);
	}
	return n_failed;
}
