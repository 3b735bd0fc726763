/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rwlock_test.c - who gets a chi_rwlock next: the order of asking, readers together (L1-L4 in rwlock.c)
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
#include <string.h>

#include "support/aborts.h"
#include "support/stage.h"

#define N_ASKERS_MAX 16u

enum { READ, WRITE, TRY };

struct lock_task {
	struct chi_task task;
	uint32_t number, reserved;
	uint32_t got_read, got_write; /* TRY */
};

static struct chi_rwlock lock;
static hshm_au32 may_leave[N_ASKERS_MAX];
static hshm_au32 is_inside[N_ASKERS_MAX];
static hshm_au32 n_readers, n_writers; /* inside */
static hshm_au32 n_not_alone;
static hshm_au32 n_left;

static int hold(struct lock_task *self, bool shared)
{
	if (shared)
		chi_rwlock_read_lock(&lock);
	else
		chi_rwlock_write_lock(&lock);
	/* relaxed, here and below: counts, and when to go on */
	hshm_fetch_add_relaxed(shared ? &n_readers : &n_writers, 1);
	if (hshm_load_relaxed(&n_writers) > 1 || (hshm_load_relaxed(&n_writers) && hshm_load_relaxed(&n_readers)))
		hshm_fetch_add_relaxed(&n_not_alone, 1);
	hshm_store_relaxed(&is_inside[self->number], 1);
	while (!hshm_load_relaxed(&may_leave[self->number]))
		chi_yield();
	hshm_store_relaxed(&is_inside[self->number], 0);
	hshm_fetch_sub_relaxed(shared ? &n_readers : &n_writers, 1);
	chi_rwlock_unlock(&lock);
	/* acq_rel: pairs with the acquire in is_free() */
	hshm_fetch_add_acq_rel(&n_left, 1);
	return 0;
}

static int read_method(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	return hold((struct lock_task *)task, true);
}

static int write_method(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	return hold((struct lock_task *)task, false);
}

static int try_method(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct lock_task *self = (struct lock_task *)task;

	(void)container;
	(void)context;
	self->got_read = chi_rwlock_try_read_lock(&lock);
	if (self->got_read)
		chi_rwlock_unlock(&lock);
	self->got_write = chi_rwlock_try_write_lock(&lock);
	if (self->got_write)
		chi_rwlock_unlock(&lock);
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "read", .id = READ, .task_size = sizeof(struct lock_task), .run = read_method },
	{ .name = "write", .id = WRITE, .task_size = sizeof(struct lock_task), .run = write_method },
	{ .name = "try",
	  .id = TRY,
	  .task_size = sizeof(struct lock_task),
	  .run = try_method,
	  .out_offset = offsetof(struct lock_task, got_read),
	  .out_size = 2 * sizeof(uint32_t) },
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "rwlock_test",
	.version = 1,
	.n_methods = 3,
	.methods = methods,
	.create = stage_create_lanes,
	.monitor = stage_lane_by_value,
};

static int start(const char *config)
{
	memset(&lock, 0, sizeof(lock));
	memset(may_leave, 0, sizeof(may_leave));
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

static struct lock_task *submit(uint32_t method, uint32_t number)
{
	struct lock_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_HASH(number), method, &task), 0);
	task->number = number;
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

/* Submit a task and wait until it holds the lock or stands in the line: each of them changes the word. */
static struct lock_task *ask(uint32_t method, uint32_t number)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS, before = hshm_load_relaxed(&lock.word);
	struct lock_task *task = submit(method, number);

	while (hshm_load_relaxed(&lock.word) == before) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
	return task;
}

static void wait_until_inside(uint32_t number)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;

	while (!hshm_load_relaxed(&is_inside[number])) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
}

static void leave(struct lock_task *task)
{
	hshm_store_relaxed(&may_leave[task->number], 1);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, 0);
	chi_task_free(client, task);
}

static void nobody_else_is_inside(uint32_t n)
{
	assert_int_equal(hshm_load_relaxed(&n_readers) + hshm_load_relaxed(&n_writers), n);
}

static void is_free(uint32_t n)
{
	/* acquire: pairs with the add in hold() */
	assert_int_equal(hshm_load_acquire(&n_left), n);
	assert_int_equal(hshm_load_relaxed(&n_not_alone), 0);
	assert_true(hshm_load_relaxed(&lock.word) == 0);
	assert_null(lock.fifo);
}

static void readers_hold_it_together(void **state)
{
	struct lock_task *tasks[6];

	(void)state;
	for (uint32_t i = 0; i < 6; i++)
		tasks[i] = ask(READ, i);
	for (uint32_t i = 0; i < 6; i++)
		wait_until_inside(i);
	for (uint32_t i = 0; i < 6; i++)
		leave(tasks[5 - i]);
	is_free(6);
}

/* R0 R1 hold it; W2 R3 R4 W5 R6 wait. */
static void the_order_of_asking_is_the_order_of_getting(void **state)
{
	static const uint32_t kinds[] = { READ, READ, WRITE, READ, READ, WRITE, READ };
	struct lock_task *tasks[7];

	(void)state;
	for (uint32_t i = 0; i < 7; i++)
		tasks[i] = ask(kinds[i], i);
	wait_until_inside(0);
	wait_until_inside(1);
	nobody_else_is_inside(2);
	leave(tasks[1]);
	nobody_else_is_inside(1);
	leave(tasks[0]);
	wait_until_inside(2);
	nobody_else_is_inside(1);
	leave(tasks[2]);
	wait_until_inside(3);
	wait_until_inside(4);
	nobody_else_is_inside(2);
	leave(tasks[3]);
	leave(tasks[4]);
	wait_until_inside(5);
	nobody_else_is_inside(1);
	leave(tasks[5]);
	wait_until_inside(6);
	leave(tasks[6]);
	is_free(7);
}

/* The line was taken off the word; who asks now stands behind it, even if readers hold the lock. */
static void who_asks_later_comes_after_those_in_line(void **state)
{
	struct lock_task *tasks[6];

	(void)state;
	tasks[0] = ask(WRITE, 0);
	tasks[1] = ask(READ, 1);
	tasks[2] = ask(WRITE, 2);
	leave(tasks[0]);
	wait_until_inside(1);
	tasks[3] = ask(READ, 3);
	nobody_else_is_inside(1);
	leave(tasks[1]);
	wait_until_inside(2);
	nobody_else_is_inside(1);
	tasks[4] = ask(READ, 4);
	leave(tasks[2]);
	wait_until_inside(3);
	wait_until_inside(4);
	leave(tasks[3]);
	leave(tasks[4]);
	is_free(5);
}

static void expect_try(uint32_t number, bool read, bool write)
{
	struct lock_task *task = submit(TRY, number);

	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->got_read, read);
	assert_int_equal(task->got_write, write);
	chi_task_free(client, task);
}

static void trying_passes_nobody_who_waits(void **state)
{
	struct lock_task *reader, *writer;

	(void)state;
	expect_try(0, true, true);
	reader = ask(READ, 0);
	expect_try(1, true, false);
	writer = ask(WRITE, 1);
	expect_try(2, false, false);
	leave(reader);
	wait_until_inside(1);
	expect_try(2, false, false);
	leave(writer);
	is_free(2);
	expect_try(0, true, true);
}

static void unlock_free_ones(void *rwlock_or_mutex)
{
	if (rwlock_or_mutex)
		chi_rwlock_unlock(rwlock_or_mutex);
	else
		chi_mutex_unlock(&(struct chi_mutex){ 0 });
}

static void to_unlock_what_nobody_holds_aborts(void **state)
{
	struct chi_rwlock free_one = { 0 };

	(void)state;
	assert_true(aborts(unlock_free_ones, &free_one));
	assert_true(aborts(unlock_free_ones, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_unlock_what_nobody_holds_aborts),
		cmocka_unit_test_setup_teardown(readers_hold_it_together, start_three_workers, stage_stop),
		cmocka_unit_test_setup_teardown(readers_hold_it_together, start_one_worker, stage_stop),
		cmocka_unit_test_setup_teardown(the_order_of_asking_is_the_order_of_getting, start_three_workers,
						stage_stop),
		cmocka_unit_test_setup_teardown(the_order_of_asking_is_the_order_of_getting, start_one_worker,
						stage_stop),
		cmocka_unit_test_setup_teardown(who_asks_later_comes_after_those_in_line, start_three_workers,
						stage_stop),
		cmocka_unit_test_setup_teardown(who_asks_later_comes_after_those_in_line, start_one_worker, stage_stop),
		cmocka_unit_test_setup_teardown(trying_passes_nobody_who_waits, start_three_workers, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
