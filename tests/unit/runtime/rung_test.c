/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rung_test.c - a client that rings is heard by a worker that is never without work
 *
 * One worker. A task of the first client lets others go first, again and again, until a task of the second client tells
 * it that it may end. That one comes by a lane that the worker has armed: it must look whether it was rung.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <hshm/atomic.h>
#include <semaphore.h>

#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/stage.h"
#include "task/lane.h"

#define HEARD_MAX_NS (5 * HSHM_NSEC_PER_SEC)

enum method { GO_ON, LET_GO };

static hshm_au32 goes_on;
static sem_t begun;

static int go_on(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task;
	sem_post(&begun);
	while (hshm_load_relaxed(&goes_on) && !chi_cancelled(context)) /* relaxed: nothing but the word */
		chi_yield();
	return 0;
}

static int let_go(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container, (void)task, (void)context;
	hshm_store_relaxed(&goes_on, 0);
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "go_on", .id = GO_ON, .task_size = sizeof(struct chi_task), .run = go_on },
	{ .name = "let_go", .id = LET_GO, .task_size = sizeof(struct chi_task), .run = let_go },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "rung",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = stage_create_lanes,
};

static int start(void **state)
{
	(void)state;
	sem_init(&begun, 0, 0);
	return stage_start("workers: { count: 1, spin_us: 0 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static struct chi_task *make_task(struct chi_client *of, enum method method)
{
	struct chi_task *task;

	assert_int_equal(chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	return task;
}

static struct chi_worker *the_worker(void)
{
	return chi_work_orch_worker(runtime->orch, 0);
}

static uint32_t count_armed(void)
{
	struct chi_worker *worker = the_worker();
	uint32_t n = 0;

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		n += worker->lanes[i]->session && hshm_load_relaxed(worker->lanes[i]->armed);
	pthread_mutex_unlock(&worker->lanes_lock);
	return n;
}

static void wait_until_armed(uint32_t n)
{
	while (count_armed() < n)
		HSHM_THREAD_MODEL->sleep_for_us(100);
}

/* Its lane is there, and armed, as is that of the first client. */
static struct chi_client *connect_second(void)
{
	struct chi_client *second;
	struct chi_task *task;

	assert_int_equal(chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &second), 0);
	task = make_task(second, LET_GO);
	assert_int_equal(chi_submit(second, task), 0);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	chi_task_free(second, task);
	wait_until_armed(2);
	return second;
}

static void a_busy_worker_hears_who_rings(void **state)
{
	struct chi_client *second = connect_second();
	struct chi_task *first_task = make_task(client, GO_ON), *second_task = make_task(second, LET_GO);
	int heard;

	(void)state;
	hshm_store_relaxed(&goes_on, 1);
	assert_int_equal(chi_submit(client, first_task), 0);
	while (sem_wait(&begun) < 0)
		;
	assert_int_equal(chi_submit(second, second_task), 0);
	heard = chi_wait(second_task, HEARD_MAX_NS);
	hshm_store_relaxed(&goes_on, 0);
	assert_int_equal(chi_wait(first_task, TIME_MAX_NS), 0);
	assert_int_equal(heard, 0);
	chi_task_free(client, first_task);
	chi_task_free(second, second_task);
	chi_client_disconnect(second);
}

/* Else it would look for ever at what nobody can ring. */
static void lanes_of_a_client_that_is_gone_do_not_count(void **state)
{
	struct chi_client *second = connect_second();
	uint64_t deadline_ns = hshm_deadline_ns(HEARD_MAX_NS);

	(void)state;
	assert_int_equal(hshm_load_relaxed(&the_worker()->n_client_lanes), 2);
	chi_client_disconnect(second);
	while (hshm_load_relaxed(&the_worker()->n_client_lanes) != 1) {
		assert_true(hshm_clock_ns() < deadline_ns);
		HSHM_THREAD_MODEL->sleep_for_us(100);
	}
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stage_stop)
	const struct CMUnitTest tests[] = {
		CASE(a_busy_worker_hears_who_rings),
		CASE(lanes_of_a_client_that_is_gone_do_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
