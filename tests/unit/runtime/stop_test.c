/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stop_test.c - a stop ends in time, whatever methods do, and says what it left behind
 */
#include <errno.h>
#include <fcntl.h>
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
#include <chimaera/module.h>
#include <chimaera/runtime.h>

#include "runtime/ipc_manager.h"
#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"

#define STOP_NS (50 * HSHM_NSEC_PER_MSEC)
#define NAME	"stop-test"
#define SOON_NS (10 * HSHM_NSEC_PER_SEC) /* a stop takes 1 s more than its deadline; a busy machine longer */
#define CONFIG                                                                                          \
	"workers: { count: 2, lane_batch: 1 }\nlog_level: warn\nclients: { memory_mib: 4, lanes: 4 }\n" \
	"memory: { private_mib: 256 }\n"

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;

/* ---- a module that does not let go ---- */

enum { METHOD_HOLD, METHOD_WAIT, METHOD_NOTHING, METHOD_CALL, METHOD_CALL_TWICE, METHOD_WAIT_LATER };

static hshm_au32 let_go, n_held, hold_destroy, n_later;

/* Neither returns nor waits. */
static int run_hold(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	hshm_fetch_add_acq_rel(&n_held, 1);
	while (!hshm_load_acquire(&let_go))
		usleep(1000);
	return 0;
}

/* Leaves its worker, and is not woken. */
static int run_wait(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	hshm_fetch_add_acq_rel(&n_held, 1);
	while (!hshm_load_acquire(&let_go))
		chi_yield();
	return 0;
}

static int run_nothing(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	return 0;
}

/* Waits, but for the first time. */
static int run_wait_later(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	return hshm_fetch_add_acq_rel(&n_later, 1) == 0 ? 0 : run_wait(container, task, context);
}

static int call(struct chi_container *container, struct chi_run_context *context, uint32_t method_id)
{
	struct chi_task sub;

	chi_task_init(&sub, sizeof(sub), chi_container_pool_id(container), CHI_QUERY_LOCAL_ID(0), method_id);
	return chi_call(chi_context_client(context), &sub);
}

static int run_call(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)task;
	return call(container, context, METHOD_WAIT);
}

static int run_call_twice(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)task;
	return call(container, context, METHOD_WAIT_LATER) < 0 ? -EIO : call(container, context, METHOD_WAIT_LATER);
}

static int make_one(struct chi_container *container, const void *params, uint64_t params_size)
{
	(void)params, (void)params_size;
	return chi_container_create_local_queue(container, 0, 1, 0);
}

static void end_one(struct chi_container *container)
{
	(void)container;
	while (hshm_load_acquire(&hold_destroy) && !hshm_load_acquire(&let_go)) {
		if (hshm_load_acquire(&hold_destroy) == 1)
			usleep(1000);
		else
			chi_yield();
	}
}

static const struct chi_method methods[] = {
	{ .name = "hold", .id = METHOD_HOLD, .task_size = sizeof(struct chi_task), .run = run_hold },
	{ .name = "wait", .id = METHOD_WAIT, .task_size = sizeof(struct chi_task), .run = run_wait },
	{ .name = "nothing", .id = METHOD_NOTHING, .task_size = sizeof(struct chi_task), .run = run_nothing },
	{ .name = "call", .id = METHOD_CALL, .task_size = sizeof(struct chi_task), .run = run_call },
	{ .name = "call_twice", .id = METHOD_CALL_TWICE, .task_size = sizeof(struct chi_task), .run = run_call_twice },
	{ .name = "wait_later", .id = METHOD_WAIT_LATER, .task_size = sizeof(struct chi_task), .run = run_wait_later },
};

static const struct chi_module holder = {
	.size = sizeof(holder),
	.method_stride = sizeof(methods[0]),
	.name = "holder",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = make_one,
	.destroy = end_one,
};

/* ---- stage ---- */

static int set_up(void **state)
{
	struct chi_pool_spec spec = { .module = "holder", .name = "held" };

	(void)state;
	hshm_store_relaxed(&let_go, 0);
	hshm_store_relaxed(&n_held, 0);
	hshm_store_relaxed(&hold_destroy, 0);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.listen = true, .name = NAME, .config_text = CONFIG), &runtime) < 0 ||
	    chi_module_register_builtin(runtime->modules, &holder) || chi_runtime_client(runtime, NULL, &client) < 0 ||
	    chi_pool_create(client, &spec, &pool) != 1) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	return 0;
}

/* The runtime has been stopped. */
static int tear_down(void **state)
{
	(void)state;
	hshm_store_release(&let_go, 1);
	chi_client_disconnect(client);
	return 0;
}

static struct chi_task *submit(uint32_t method_id)
{
	struct chi_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method_id, &task), 0);
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void until_held(uint32_t n)
{
	while (hshm_load_acquire(&n_held) < n)
		usleep(100);
}

/* ---- stop, and what the log says ---- */

static char log_text[16384];
static uint64_t n_given_up, took_ns;

static int stop(void)
{
	char path[] = "/tmp/chi-stop.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC), saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), ret;
	ssize_t n;

	assert_true(fd >= 0 && saved >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	took_ns = hshm_clock_ns();
	ret = chi_runtime_stop(runtime, STOP_NS, &n_given_up);
	took_ns = hshm_clock_ns() - took_ns;
	dup2(saved, STDERR_FILENO);
	n = pread(fd, log_text, sizeof(log_text) - 1, 0);
	log_text[n > 0 ? n : 0] = '\0';
	close(fd);
	close(saved);
	unlink(path);
	return ret;
}

static void said(const char *part)
{
	const char *at = strstr(log_text, part);

	if (!at || strstr(at + 1, part))
		fail_msg("'%s' %s: %s", part, at ? "is there twice" : "is not there", log_text);
}

/* ---- cases ---- */

static void a_method_that_never_returns_does_not_hold_up_the_stop(void **state)
{
	struct chi_worker *workers[2] = { chi_work_orch_worker(runtime->orch, 0),
					  chi_work_orch_worker(runtime->orch, 1) };
	struct chi_task *task = submit(METHOD_HOLD);

	(void)state;
	until_held(1);
	assert_int_equal(stop(), -EBUSY);
	assert_true(took_ns < SOON_NS);
	assert_int_equal(n_given_up, 1);
	said("is stuck in pool 'held' (module 'holder'), method 'hold': its thread");
	said("stop: 1 tasks have not ended in time");
	/* its client is told, though the process lives */
	assert_int_equal(chi_wait(task, SOON_NS), -EOWNERDEAD);
	assert_int_equal(chi_client_alive(client), -EOWNERDEAD);
	/* the name is free */
	chi_client_disconnect(client);
	assert_int_equal(set_up(NULL), 0);
	assert_int_equal(chi_runtime_stop(runtime, 0, NULL), 0);
	/* the method returns after all: its worker ends, and finds all it needs */
	hshm_store_release(&let_go, 1);
	while (!chi_worker_has_ended(workers[0]) || !chi_worker_has_ended(workers[1]))
		usleep(1000);
	chi_client_disconnect(client);
}

static void tasks_given_up_are_told_by_pool_module_and_method(void **state)
{
	struct chi_pool_spec spec = { .module = "holder", .name = "other" };

	(void)state;
	submit(METHOD_WAIT);
	submit(METHOD_WAIT);
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	submit(METHOD_WAIT);
	until_held(3);
	assert_int_equal(stop(), -ETIMEDOUT);
	assert_int_equal(n_given_up, 3);
	said("given up in pool 'held' (module 'holder'), method 'wait': 2 that had begun, 0 that had not");
	said("given up in pool 'other' (module 'holder'), method 'wait': 1 that had begun, 0 that had not");
}

/* They share a stack: the lane of the second pool is on the worker of the client's. */
static void who_called_a_task_that_is_given_up_is_told_too(void **state)
{
	struct chi_pool_spec spec = { .module = "holder", .name = "other" };

	(void)state;
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	submit(METHOD_CALL);
	until_held(1);
	assert_int_equal(stop(), -ETIMEDOUT);
	assert_int_equal(n_given_up, 2);
	said("given up in pool 'other' (module 'holder'), method 'wait': 1 that had begun, 0 that had not");
	said("given up in pool 'other' (module 'holder'), method 'call': 1 that had begun, 0 that had not");
}

/* One call in an iteration: the second, which asks for the same as the first, waits in its lane and has a stack of its
 * own. */
static void who_called_a_task_that_waited_in_its_lane_is_told_once(void **state)
{
	struct chi_pool_spec spec = { .module = "holder", .name = "other" };

	(void)state;
	hshm_store_relaxed(&n_later, 0);
	assert_int_equal(chi_pool_create(client, &spec, &pool), 1);
	submit(METHOD_CALL_TWICE);
	until_held(1);
	assert_int_equal(stop(), -ETIMEDOUT);
	assert_int_equal(n_given_up, 2);
	said("given up in pool 'other' (module 'holder'), method 'call_twice': 1 that had begun, 0 that had not");
}

static void *let_go_when_stopping(void *arg)
{
	(void)arg;
	while (!hshm_load_acquire(&runtime->draining))
		usleep(1000);
	usleep(2 * STOP_NS / 1000);
	hshm_store_release(&let_go, 1);
	return NULL;
}

static uint64_t in_flight(void)
{
	struct chi_pool_info pools[4];
	uint32_t n = chi_pool_list_all(runtime->pools, pools, 4);

	for (uint32_t i = 0; i < n && i < 4; i++) {
		if (pools[i].pool_id == pool)
			return pools[i].n_in_flight;
	}
	return 0;
}

/* Lanes go to the two workers in turn: ours and the container's are not on the same one. What ours takes waits behind the task
 * that holds the other. */
static void tasks_that_had_not_begun_are_told_too(void **state)
{
	pthread_t letter;

	(void)state;
	submit(METHOD_HOLD);
	until_held(1);
	for (int i = 0; i < 3; i++)
		submit(METHOD_NOTHING);
	while (in_flight() < 4)
		usleep(1000);
	assert_int_equal(pthread_create(&letter, NULL, let_go_when_stopping, NULL), 0);
	assert_int_equal(stop(), -ETIMEDOUT);
	pthread_join(letter, NULL);
	assert_int_equal(n_given_up, 4);
	said("given up in pool 'held' (module 'holder'), method 'nothing': 0 that had begun, 3 that had not");
}

static void a_destroy_that_never_returns_does_not_hold_up_the_stop(void **state)
{
	(void)state;
	hshm_store_release(&hold_destroy, 1);
	assert_int_equal(stop(), -EBUSY);
	assert_true(took_ns < SOON_NS);
	assert_int_equal(n_given_up, 1);
	said("pool 'held' does not end: destroy() of module 'holder' has not returned");
	said("is stuck in pool 'admin' (module 'admin'), method 'end_all'");
}

static void a_destroy_that_waits_for_ever_does_not_hold_up_the_stop(void **state)
{
	(void)state;
	hshm_store_release(&hold_destroy, 2);
	assert_int_equal(stop(), -ETIMEDOUT);
	assert_int_equal(n_given_up, 1);
	said("pool 'held' does not end: destroy() of module 'holder' has not returned");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_method_that_never_returns_does_not_hold_up_the_stop, set_up),
		CASE(tasks_given_up_are_told_by_pool_module_and_method),
		CASE(who_called_a_task_that_is_given_up_is_told_too),
		CASE(who_called_a_task_that_waited_in_its_lane_is_told_once),
		CASE(tasks_that_had_not_begun_are_told_too),
		CASE(a_destroy_that_never_returns_does_not_hold_up_the_stop),
		CASE(a_destroy_that_waits_for_ever_does_not_hold_up_the_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
