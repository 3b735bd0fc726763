/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker_lanes_test.c - how far a worker looks ahead in a client's lane: eight references at a time, in a deep one before
 * it has run out of those it saw, else not until then
 *
 * The worker is held while the lane fills. Each task notes how many the worker has seen behind it, and the case puts
 * more into the lane while one of them keeps the worker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <semaphore.h>
#include <string.h>

#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/stage.h"
#include "task/lane.h"

#define N_TASKS_MAX 64u
#define NEAR_AHEAD  8u /* a line of slots */
#define NO_TASK	    UINT32_MAX

static uint32_t n_ahead[N_TASKS_MAX]; /* what each found */
static hshm_au32 n_run;
static hshm_au32 stopper; /* the task that keeps the worker */
static sem_t stopped, go_on;

static void wait_for(sem_t *event)
{
	while (sem_wait(event) < 0)
		;
}

static int look(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	const struct chi_lane *lane = CHI_CUR_WORKER->turn;
	uint32_t n = hshm_load_relaxed(&n_run); /* relaxed: one worker */

	(void)container, (void)task, (void)context;
	n_ahead[n] = hipc_mpsc_n_ahead(&lane->consumer, &lane->ahead);
	/* release: pairs with the acquire in finish() */
	hshm_store_release(&n_run, n + 1);
	if (n == hshm_load_relaxed(&stopper)) {
		sem_post(&stopped);
		wait_for(&go_on);
	}
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "look", .id = 0, .task_size = sizeof(struct chi_task), .run = look },
};

static const struct chi_module module = {
	.size = sizeof(module),
	.method_stride = sizeof(methods[0]),
	.name = "look",
	.n_methods = sizeof(methods) / sizeof(methods[0]),
	.methods = methods,
	.create = stage_create_lanes,
};

/* ---- the stage ---- */

static struct chi_task *tasks[N_TASKS_MAX];
static uint32_t n_tasks;

static int start(void **state)
{
	(void)state;
	n_tasks = 0;
	memset(n_ahead, 0, sizeof(n_ahead));
	hshm_store_relaxed(&n_run, 0);
	hshm_store_relaxed(&stopper, NO_TASK);
	sem_init(&stopped, 0, 0);
	sem_init(&go_on, 0, 0);
	return stage_start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static void put(uint32_t n)
{
	for (; n; n--) {
		struct chi_task **task = &tasks[n_tasks++];

		assert_int_equal(chi_task_alloc(client, sizeof(**task), pool, CHI_QUERY_LOCAL_ID(0), 0, task), 0);
		assert_int_equal(chi_submit(client, *task), 0);
	}
}

static void finish(void)
{
	assert_int_equal(chi_wait_all((void **)tasks, n_tasks, TIME_MAX_NS), 0);
	assert_int_equal(hshm_load_acquire(&n_run), n_tasks);
	for (uint32_t i = 0; i < n_tasks; i++)
		chi_task_free(client, tasks[i]);
}

struct hold {
	struct chi_work work;
	sem_t held, release;
};

static void hold_worker(struct chi_worker *worker, struct chi_work *work)
{
	struct hold *hold = (struct hold *)work; /* its first member */

	(void)worker;
	sem_post(&hold->held);
	wait_for(&hold->release);
}

/* Put @n into the lane while the worker looks at none. */
static void put_at_once(uint32_t n)
{
	static struct hold hold;

	hold.work.fn = hold_worker;
	sem_init(&hold.held, 0, 0);
	sem_init(&hold.release, 0, 0);
	chi_worker_post(chi_work_orch_worker(runtime->orch, 0), &hold.work);
	wait_for(&hold.held);
	put(n);
	sem_post(&hold.release);
}

/* Keep the worker in the task that is its @n-th, counted from 0. */
static void stop_at(uint32_t n)
{
	hshm_store_relaxed(&stopper, n); /* relaxed: before the submit */
}

/* ---- the cases ---- */

static void a_deep_lane_is_seen_a_line_ahead(void **state)
{
	uint32_t n = 44;

	(void)state;
	put_at_once(n);
	finish();
	assert_int_equal(n_ahead[0], NEAR_AHEAD - 1); /* the first look does not know yet that it is deep */
	for (uint32_t i = 1; i < n; i++) {
		uint32_t n_left = n - 1 - i;

		assert_true(n_ahead[i] <= HIPC_MPSC_AHEAD);
		assert_true(n_ahead[i] >= (n_left < NEAR_AHEAD ? n_left : NEAR_AHEAD));
	}
}

static void in_a_shallow_lane_none_is_looked_for_before_those_seen_are_run(void **state)
{
	static const uint32_t expected[] = { 2, 1, 0, 2, 1, 0 };

	(void)state;
	stop_at(0);
	put_at_once(3);
	wait_for(&stopped);
	put(3);
	sem_post(&go_on);
	finish();
	assert_memory_equal(n_ahead, expected, sizeof(expected));
}

/* A client that has slowed down is not written in front of. */
static void a_lane_that_was_deep_is_not_looked_at_more_often_once_it_is_not(void **state)
{
	uint32_t n = 2 * NEAR_AHEAD + 3; /* the third look finds a few, and it is deep no more */

	(void)state;
	stop_at(NEAR_AHEAD + 2);
	put_at_once(n);
	wait_for(&stopped);
	put(4);
	sem_post(&go_on);
	finish();
	for (uint32_t i = NEAR_AHEAD + 2; i < n; i++)
		assert_int_equal(n_ahead[i], n - 1 - i);
	assert_int_equal(n_ahead[n], 3);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stage_stop)
	const struct CMUnitTest tests[] = {
		CASE(a_deep_lane_is_seen_a_line_ahead),
		CASE(in_a_shallow_lane_none_is_looked_for_before_those_seen_are_run),
		CASE(a_lane_that_was_deep_is_not_looked_at_more_often_once_it_is_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
