/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * locks_test.c - chi_rwlock and chi_cond between tasks of several workers (chi_mutex has a test of its own)
 *
 * A container with many lanes, so that its tasks run on all workers. What the locks guard is no atomic: TSan and the sums see a
 * hand-over that carries no order, or two holders; a wake-up that gets lost never ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdlib.h>

#include "support/stage.h"

#define N_TASKS	   24u
#define N_TIMES	   300u
#define N_ROUNDS   4u
#define N_SLOTS	   3u
#define TIMEOUT_NS (20 * HSHM_NSEC_PER_USEC)

enum { READ_AND_WRITE, PRODUCE, CONSUME };

struct locks_task {
	struct chi_task task;
	uint64_t seed;
	uint64_t n_timeouts;
};

static uint64_t next_random(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* ---- chi_rwlock ---- */

static struct chi_rwlock rwlock;
static uint64_t left, right; /* under it: always the same */

static void write_both(void)
{
	uint64_t was = left;

	left = was + 1;
	if (was % 4 == 0)
		chi_yield();
	right = was + 1;
}

static int read_and_write(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint64_t random = ((struct locks_task *)task)->seed;
	int ret = 0;

	(void)container;
	(void)context;
	for (uint32_t i = 0; i < N_TIMES; i++) {
		bool writes = i % 4 == 0;

		if (writes)
			chi_rwlock_write_lock(&rwlock);
		else if (!chi_rwlock_try_read_lock(&rwlock))
			chi_rwlock_read_lock(&rwlock);
		if (left != right)
			ret = -EBADMSG;
		if (writes)
			write_both();
		else if (next_random(&random) % 4 == 0)
			chi_yield();
		if (left != right)
			ret = -EBADMSG;
		chi_rwlock_unlock(&rwlock);
		if (next_random(&random) % 8 == 0)
			chi_yield();
	}
	return ret;
}

/* ---- chi_cond: a buffer of few slots ---- */

static struct chi_mutex mutex;
static struct chi_cond not_full, not_empty;
static uint64_t slots[N_SLOTS], n_in, n_out, sum_in, sum_out; /* under the mutex */

static bool has_room(void)
{
	return n_in - n_out < N_SLOTS;
}

static bool has_items(void)
{
	return n_in != n_out;
}

static void wait_for(struct chi_cond *cond, bool (*condition)(void), struct locks_task *self, uint64_t *random)
{
	while (!condition()) {
		/* some for ever: a signal that goes to nobody, or to one whose time is over, hangs them */
		uint64_t timeout_ns = next_random(random) % 2 ? HSHM_FOREVER : next_random(random) % TIMEOUT_NS;
		int ret = chi_cond_wait(cond, &mutex, timeout_ns);

		self->n_timeouts += ret == -ETIMEDOUT;
	}
}

static int produce(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct locks_task *self = (struct locks_task *)task;
	uint64_t random = self->seed;

	(void)container;
	(void)context;
	for (uint32_t i = 0; i < N_TIMES; i++) {
		chi_mutex_lock(&mutex);
		wait_for(&not_full, has_room, self, &random);
		slots[n_in++ % N_SLOTS] = random;
		sum_in += random;
		chi_cond_signal(&not_empty);
		chi_mutex_unlock(&mutex);
	}
	return 0;
}

static int consume(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct locks_task *self = (struct locks_task *)task;
	uint64_t random = self->seed;

	(void)container;
	(void)context;
	for (uint32_t i = 0; i < N_TIMES; i++) {
		chi_mutex_lock(&mutex);
		wait_for(&not_empty, has_items, self, &random);
		sum_out += slots[n_out++ % N_SLOTS];
		if (next_random(&random) % 16 == 0)
			chi_cond_broadcast(&not_full);
		else
			chi_cond_signal(&not_full);
		chi_mutex_unlock(&mutex);
	}
	return 0;
}

#define LOCKS_METHOD(number, function)                                                                        \
	{                                                                                                     \
		.name = #function, .id = (number), .task_size = sizeof(struct locks_task), .run = (function), \
		.out_offset = offsetof(struct locks_task, n_timeouts), .out_size = sizeof(uint64_t),          \
	}

static const struct chi_method methods[] = {
	LOCKS_METHOD(READ_AND_WRITE, read_and_write),
	LOCKS_METHOD(PRODUCE, produce),
	LOCKS_METHOD(CONSUME, consume),
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "locks_test",
	.version = 1,
	.n_methods = 3,
	.methods = methods,
	.create = stage_create_lanes,
};

static int start(void **state)
{
	(void)state;
	return stage_start("workers: { count: 3 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

/* The first half of them does the one, the others the other. */
static uint64_t run_tasks(uint32_t first_method, uint32_t second_method, uint64_t seed)
{
	struct locks_task *tasks[N_TASKS];
	uint64_t n_timeouts = 0;

	for (uint32_t i = 0; i < N_TASKS; i++) {
		assert_int_equal(chi_task_alloc(client, sizeof(*tasks[i]), pool, CHI_QUERY_LOCAL_HASH(i),
						i < N_TASKS / 2 ? first_method : second_method, &tasks[i]),
				 0);
		tasks[i]->seed = seed * N_TASKS + i + 1;
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	}
	assert_int_equal(chi_wait_all((void **)tasks, N_TASKS, 100 * HSHM_NSEC_PER_SEC), 0);
	for (uint32_t i = 0; i < N_TASKS; i++) {
		assert_int_equal(tasks[i]->task.result, 0);
		n_timeouts += tasks[i]->n_timeouts;
		chi_task_free(client, tasks[i]);
	}
	return n_timeouts;
}

static void readers_and_writers_follow_each_other(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < N_ROUNDS; round++)
		run_tasks(READ_AND_WRITE, READ_AND_WRITE, round);
	assert_true(hshm_load_acquire(&rwlock.word) == 0); /* acquire: pairs with the last unlock */
	assert_int_equal(left, N_ROUNDS * N_TASKS * (N_TIMES / 4));
	assert_int_equal(right, left);
}

static void a_buffer_loses_nothing_and_nobody_sleeps_on(void **state)
{
	uint64_t n_timeouts = 0;

	(void)state;
	for (uint32_t round = 0; round < N_ROUNDS; round++)
		n_timeouts += run_tasks(PRODUCE, CONSUME, round);
	assert_true(hshm_load_acquire(&mutex.lock.word) == 0); /* acquire: pairs with the last unlock */
	assert_int_equal(n_in, N_ROUNDS * N_TASKS / 2 * N_TIMES);
	assert_int_equal(n_out, n_in);
	assert_true(sum_in == sum_out);
	assert_true(n_timeouts > 0);
	print_message("%ju waits timed out\n", (uintmax_t)n_timeouts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(readers_and_writers_follow_each_other, start, stage_stop),
		cmocka_unit_test_setup_teardown(a_buffer_loses_nothing_and_nobody_sleeps_on, start, stage_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
