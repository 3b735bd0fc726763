/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutex_test.c - who gets a chi_mutex next: the order of asking, whichever worker the tasks are on
 *
 * The tasks are of a module of the case's own, so that it says who asks when, and who leaves when.
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

#define N_ASKERS 24u

enum { HOLD, TRY };

struct mutex_task {
	struct chi_task task;
	uint32_t number, n_tries; /* HOLD: who it is; TRY: how often */
	uint32_t n_got, reserved;
};

static struct chi_mutex mutex;
static hshm_au32 n_may_leave;	   /* number i may unlock once this is above i */
static uint32_t order[N_ASKERS];   /* under the mutex */
static uint32_t n_inside, n_order; /* under the mutex */
static hshm_au32 n_not_alone;
/* Counted by those who left, for the case to see what they did: the tasks themselves TSan sees in two mappings. */
static hshm_au32 n_left;

static int hold(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint32_t number = ((struct mutex_task *)task)->number;

	(void)container;
	(void)context;
	chi_mutex_lock(&mutex);
	if (n_inside++)
		hshm_fetch_add_relaxed(&n_not_alone, 1); /* relaxed: looked at after the task's end */
	order[n_order++] = number;
	/* relaxed: only when to go on */
	while (hshm_load_relaxed(&n_may_leave) <= number)
		chi_yield();
	n_inside--;
	chi_mutex_unlock(&mutex);
	/* acq_rel: all of the above, of all of them; pairs with the acquire in is_free_and_was_held_in_order() */
	hshm_fetch_add_acq_rel(&n_left, 1);
	return 0;
}

static int try(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct mutex_task *self = (struct mutex_task *)task;

	(void)container;
	(void)context;
	for (uint32_t i = 0; i < self->n_tries; i++) {
		if (chi_mutex_trylock(&mutex)) {
			self->n_got++;
			chi_mutex_unlock(&mutex);
		}
		if (i % 8 == 0)
			chi_yield();
	}
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "hold", .id = HOLD, .task_size = sizeof(struct mutex_task), .run = hold },
	{ .name = "try",
	  .id = TRY,
	  .task_size = sizeof(struct mutex_task),
	  .run = try,
	  .out_offset = offsetof(struct mutex_task, n_got),
	  .out_size = sizeof(uint32_t) },
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "mutex_test",
	.version = 1,
	.n_methods = 2,
	.methods = methods,
	.create = stage_create_lanes,
	.monitor = stage_lane_by_value,
};

static int start(const char *config)
{
	memset(&mutex, 0, sizeof(mutex));
	memset(order, 0xff, sizeof(order));
	n_inside = n_order = 0;
	hshm_store_relaxed(&n_may_leave, 0);
	hshm_store_relaxed(&n_not_alone, 0);
	hshm_store_relaxed(&n_left, 0);
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

static struct mutex_task *submit(uint32_t method, uint32_t number, uint32_t n_tries)
{
	struct mutex_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(number), method, &task), 0);
	task->number = number;
	task->n_tries = n_tries;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

/* Submit a task and wait until it holds the mutex or stands in the line: each of them changes the word. */
static struct mutex_task *ask(uint32_t number)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;
	uint64_t before = hshm_load_relaxed(&mutex.lock.word);
	struct mutex_task *task = submit(HOLD, number, 0);

	while (hshm_load_relaxed(&mutex.lock.word) == before) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
	return task;
}

static void finish(struct mutex_task *task)
{
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, 0);
	chi_task_free(client, task);
}

static void is_free_and_was_held_in_order(uint32_t n)
{
	/* acquire: pairs with the add in hold() */
	assert_int_equal(hshm_load_acquire(&n_left), n);
	assert_int_equal(n_order, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(hshm_load_relaxed(&n_not_alone), 0);
	assert_true(hshm_load_relaxed(&mutex.lock.word) == 0);
	assert_null(mutex.lock.fifo);
}

static void the_order_of_asking_is_the_order_of_getting(void **state)
{
	struct mutex_task *tasks[N_ASKERS];

	(void)state;
	for (uint32_t i = 0; i < N_ASKERS; i++)
		tasks[i] = ask(i);
	hshm_store_relaxed(&n_may_leave, N_ASKERS);
	for (uint32_t i = 0; i < N_ASKERS; i++)
		finish(tasks[i]);
	is_free_and_was_held_in_order(N_ASKERS);
}

/* Some ask while the line of those before them is already taken off the word: they come after all of them. */
static void who_asks_later_comes_after_those_in_line(void **state)
{
	struct mutex_task *tasks[9];

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		tasks[i] = ask(i);
	for (uint32_t i = 4; i < 9; i++) {
		hshm_store_relaxed(&n_may_leave, i - 3);
		finish(tasks[i - 4]);
		/* the next one holds it now, with a line behind */
		tasks[i] = ask(i);
	}
	hshm_store_relaxed(&n_may_leave, 9);
	for (uint32_t i = 5; i < 9; i++)
		finish(tasks[i]);
	is_free_and_was_held_in_order(9);
}

/* M2: between two holders nobody gets in. */
static void handing_over_never_frees_it(void **state)
{
	struct mutex_task *tasks[N_ASKERS], *tries[3];
	uint32_t n_got = 0;

	(void)state;
	for (uint32_t i = 0; i < N_ASKERS; i++)
		tasks[i] = ask(i);
	for (uint32_t i = 0; i < 3; i++)
		tries[i] = submit(TRY, i, 4000);
	/* all but the last leave while the others try */
	for (uint32_t i = 1; i < N_ASKERS; i++) {
		hshm_store_relaxed(&n_may_leave, i);
		finish(tasks[i - 1]);
	}
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(chi_wait(tries[i], TIME_MAX_NS), 0);
		n_got += tries[i]->n_got;
		chi_task_free(client, tries[i]);
	}
	assert_int_equal(n_got, 0);
	hshm_store_relaxed(&n_may_leave, N_ASKERS);
	finish(tasks[N_ASKERS - 1]);
	is_free_and_was_held_in_order(N_ASKERS);
}

static void trylock_gets_a_free_one(void **state)
{
	struct mutex_task *task = submit(TRY, 0, 10);

	(void)state;
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->n_got, 10);
	chi_task_free(client, task);
	is_free_and_was_held_in_order(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_order_of_asking_is_the_order_of_getting, start_three_workers,
						stage_stop),
		cmocka_unit_test_setup_teardown(the_order_of_asking_is_the_order_of_getting, start_one_worker,
						stage_stop),
		cmocka_unit_test_setup_teardown(who_asks_later_comes_after_those_in_line, start_three_workers,
						stage_stop),
		cmocka_unit_test_setup_teardown(who_asks_later_comes_after_those_in_line, start_one_worker, stage_stop),
		cmocka_unit_test_setup_teardown(handing_over_never_frees_it, start_three_workers, stage_stop),
		cmocka_unit_test_setup_teardown(trylock_gets_a_free_one, start_one_worker, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
