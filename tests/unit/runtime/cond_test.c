/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cond_test.c - whom a signal of chi_cond wakes, and what a timeout leaves behind (V1-V3 in cond.c)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#include "support/aborts.h"
#include "support/stage.h"

#define N_WAITERS 8u
#define SHORT_NS  (2 * HSHM_NSEC_PER_MSEC)
#define LATE_NS	  (700 * HSHM_NSEC_PER_MSEC) /* the test has to take the mutex before, on a busy machine, too */

enum { WAIT, SIGNAL, BROADCAST, HOLD, SIGNAL_ALONE };

struct cond_task {
	struct chi_task task;
	uint32_t number, reserved;
	uint64_t timeout_ns;
};

static struct chi_mutex mutex;
static struct chi_cond cond;
static uint32_t n_inside;	    /* under the mutex */
static uint32_t order[N_WAITERS];   /* under the mutex: who came back */
static hshm_au32 n_waiting, n_back; /* raised under the mutex */
static hshm_au32 n_not_alone, may_leave, n_holding;

static void enter(void)
{
	if (n_inside++)
		hshm_fetch_add_relaxed(&n_not_alone, 1); /* relaxed: looked at after the tasks' end */
}

static int wait_method(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct cond_task *self = (struct cond_task *)task;
	int ret;

	(void)container;
	(void)context;
	chi_mutex_lock(&mutex);
	enter();
	hshm_fetch_add_relaxed(&n_waiting, 1); /* relaxed: seen early, the waiter still has the mutex */
	n_inside--;
	ret = chi_cond_wait(&cond, &mutex, self->timeout_ns);
	enter();
	order[hshm_load_relaxed(&n_back)] = self->number;
	chi_yield();
	n_inside--;
	hshm_fetch_add_acq_rel(&n_back, 1); /* acq_rel: pairs with the acquire in stage_wait_until() */
	chi_mutex_unlock(&mutex);
	return ret;
}

static int signal_method(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	chi_mutex_lock(&mutex);
	enter();
	if (task->method_id == BROADCAST)
		chi_cond_broadcast(&cond);
	else
		chi_cond_signal(&cond);
	n_inside--;
	chi_mutex_unlock(&mutex);
	return 0;
}

/* Keep the mutex for at least timeout_ns, so that who has been woken has to wait for it; then signal. */
static int hold(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint64_t end_ns;

	(void)container;
	(void)context;
	chi_mutex_lock(&mutex);
	enter();
	end_ns = hshm_clock_ns() + ((struct cond_task *)task)->timeout_ns;
	hshm_store_relaxed(&n_holding, 1); /* relaxed: only when to go on */
	while (!hshm_load_relaxed(&may_leave) || hshm_clock_ns() < end_ns)
		chi_yield();
	chi_cond_signal(&cond);
	n_inside--;
	chi_mutex_unlock(&mutex);
	return 0;
}

/* A mistake: without the mutex. */
static int signal_alone(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	chi_mutex_lock(&mutex); /* when we have had it, the waiter has given it up */
	chi_mutex_unlock(&mutex);
	chi_cond_signal(&cond);
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "wait", .id = WAIT, .task_size = sizeof(struct cond_task), .run = wait_method },
	{ .name = "signal", .id = SIGNAL, .task_size = sizeof(struct cond_task), .run = signal_method },
	{ .name = "broadcast", .id = BROADCAST, .task_size = sizeof(struct cond_task), .run = signal_method },
	{ .name = "hold", .id = HOLD, .task_size = sizeof(struct cond_task), .run = hold },
	{ .name = "signal_alone", .id = SIGNAL_ALONE, .task_size = sizeof(struct cond_task), .run = signal_alone },
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "cond_test",
	.version = 1,
	.n_methods = 5,
	.methods = methods,
	.create = stage_create_lanes,
	.monitor = stage_lane_by_value,
};

static int start(const char *config)
{
	memset(&mutex, 0, sizeof(mutex));
	memset(&cond, 0, sizeof(cond));
	n_inside = 0;
	hshm_store_relaxed(&n_waiting, 0);
	hshm_store_relaxed(&n_back, 0);
	hshm_store_relaxed(&n_not_alone, 0);
	hshm_store_relaxed(&n_holding, 0);
	hshm_store_relaxed(&may_leave, 0);
	return stage_start(config, &module, 1);
}

static int start_three_workers(void **state)
{
	(void)state;
	return start("workers: { count: 3 }\nmemory: { private_mib: 256 }\n");
}

static int start_one_worker(void **state)
{
	(void)state;
	return start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n");
}

static struct cond_task *submit(uint32_t method, uint32_t number, uint64_t timeout_ns, uint32_t deadline_us)
{
	struct cond_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(number), method, &task), 0);
	task->number = number;
	task->timeout_ns = timeout_ns;
	task->task.deadline_us = deadline_us;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static struct cond_task *wait_as(uint32_t number, uint64_t timeout_ns)
{
	struct cond_task *task = submit(WAIT, number, timeout_ns, 0);

	stage_wait_until(&n_waiting, number + 1);
	return task;
}

static void finish(struct cond_task *task, int result)
{
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, result);
	chi_task_free(client, task);
}

static void all_left_in_order(uint32_t n)
{
	stage_wait_until(&n_back, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(hshm_load_relaxed(&n_not_alone), 0);
	/* the last task may still be in its unlock, but nobody asks any more: taking the mutex waits for that */
	finish(submit(SIGNAL, 0, 0, 0), 0);
	assert_null(cond.first);
	assert_null(cond.last);
}

static void each_signal_wakes_who_waits_longest(void **state)
{
	struct cond_task *tasks[N_WAITERS];

	(void)state;
	for (uint32_t i = 0; i < N_WAITERS; i++)
		tasks[i] = wait_as(i, i % 2 ? HSHM_FOREVER : TIME_MAX_NS);
	for (uint32_t i = 0; i < N_WAITERS; i++) {
		finish(submit(SIGNAL, i + 1, 0, 0), 0);
		finish(tasks[i], 0);
		assert_int_equal(hshm_load_acquire(&n_back), i + 1);
	}
	all_left_in_order(N_WAITERS);
}

static void a_broadcast_wakes_all_one_after_the_other(void **state)
{
	struct cond_task *tasks[N_WAITERS];

	(void)state;
	for (uint32_t i = 0; i < N_WAITERS; i++)
		tasks[i] = wait_as(i, i % 2 ? HSHM_FOREVER : TIME_MAX_NS);
	finish(submit(BROADCAST, 0, 0, 0), 0);
	for (uint32_t i = 0; i < N_WAITERS; i++)
		finish(tasks[i], 0);
	all_left_in_order(N_WAITERS);
}

static void a_signal_with_nobody_waiting_is_gone(void **state)
{
	(void)state;
	finish(submit(SIGNAL, 0, 0, 0), 0);
	finish(wait_as(0, SHORT_NS), -ETIMEDOUT);
	all_left_in_order(1);
}

/* Who left by its timeout stood in the middle, first and last in the list: the others are as they were. */
static void who_is_out_of_time_takes_no_signal(void **state)
{
	struct cond_task *tasks[5];

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		tasks[i] = wait_as(i, i % 2 ? TIME_MAX_NS : SHORT_NS);
	for (uint32_t i = 0; i < 5; i += 2)
		finish(tasks[i], -ETIMEDOUT);
	finish(submit(SIGNAL, 0, 0, 0), 0);
	finish(tasks[1], 0);
	assert_int_equal(hshm_load_acquire(&n_back), 4);
	finish(submit(SIGNAL, 0, 0, 0), 0);
	finish(tasks[3], 0);
	assert_int_equal(hshm_load_relaxed(&n_not_alone), 0);
}

/* Its time is over while somebody holds the mutex; the signal that comes then is for the next one. */
static void a_signal_passes_who_is_out_of_time_and_waits_for_the_mutex(void **state)
{
	struct cond_task *late, *next, *holder;

	(void)state;
	late = wait_as(0, LATE_NS);
	next = wait_as(1, TIME_MAX_NS);
	holder = submit(HOLD, 2, 0, 0);
	stage_wait_until(&n_holding, 1);
	/* it has left its wait, and stands in the mutex's line: the word is more than held */
	for (uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS; hshm_load_relaxed(&mutex.lock.word) >> 32 == 0;) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
	hshm_store_relaxed(&may_leave, 1);
	finish(late, -ETIMEDOUT);
	finish(next, 0);
	finish(holder, 0);
	all_left_in_order(2);
}

/* Signalled in time, but the mutex comes after it: that is no timeout. */
static void who_was_signalled_in_time_does_not_time_out(void **state)
{
	struct cond_task *waiter, *first, *second;

	(void)state;
	waiter = wait_as(0, LATE_NS);
	first = submit(HOLD, 1, 0, 0);
	stage_wait_until(&n_holding, 1);
	second = submit(HOLD, 2, LATE_NS, 0); /* behind the first in the mutex's line */
	while (hshm_load_relaxed(&mutex.lock.word) >> 32 == 0)
		chi_yield();
	hshm_store_relaxed(&may_leave, 1);
	finish(waiter, 0);
	finish(first, 0);
	finish(second, 0);
	all_left_in_order(1);
}

static void the_tasks_deadline_ends_the_wait(void **state)
{
	uint64_t begin_ns = hshm_clock_ns();

	(void)state;
	finish(submit(WAIT, 0, CHI_UNTIL_DEADLINE, 200000), -ETIMEDOUT);
	assert_true(hshm_clock_ns() - begin_ns >= 200 * HSHM_NSEC_PER_MSEC);
}

static void signal_without_the_mutex(void *arg)
{
	(void)arg;
	if (start_one_worker(NULL) == 0) {
		(void)wait_as(0, HSHM_FOREVER);
		(void)!chi_wait(submit(SIGNAL_ALONE, 1, 0, 0), TIME_MAX_NS);
	}
}

static void to_signal_without_the_mutex_aborts(void **state)
{
	(void)state;
	assert_true(aborts(signal_without_the_mutex, NULL));
}

int main(void)
{
#define CASE_ON(function, workers) cmocka_unit_test_setup_teardown(function, start_##workers, stage_stop)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_signal_without_the_mutex_aborts),
		CASE_ON(each_signal_wakes_who_waits_longest, three_workers),
		CASE_ON(each_signal_wakes_who_waits_longest, one_worker),
		CASE_ON(a_broadcast_wakes_all_one_after_the_other, three_workers),
		CASE_ON(a_broadcast_wakes_all_one_after_the_other, one_worker),
		CASE_ON(a_signal_with_nobody_waiting_is_gone, one_worker),
		CASE_ON(who_is_out_of_time_takes_no_signal, three_workers),
		CASE_ON(a_signal_passes_who_is_out_of_time_and_waits_for_the_mutex, three_workers),
		CASE_ON(who_was_signalled_in_time_does_not_time_out, three_workers),
		CASE_ON(the_tasks_deadline_ends_the_wait, one_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
