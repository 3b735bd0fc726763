/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_test.c - the calls on tasks, through a client whose every answer the case decides
 */
#include "task_test.h"

#define POOL   9u
#define METHOD 5u

struct wide_task {
	struct chi_task task;
	uint64_t in, out;
	struct chi_buffer buffer;
};

static struct fake_client fake;

static int set_up(void **state)
{
	(void)state;
	fake_init(&fake, CHI_WAIT_SLEEP);
	return 0;
}

static struct wide_task *new_task(void)
{
	struct wide_task *task = NULL;

	assert_int_equal(chi_task_alloc(&fake.client, sizeof(*task), POOL, CHI_QUERY_GLOBAL_HASH(77), METHOD, &task),
			 0);
	return task;
}

static void complete(struct wide_task *task, int result)
{
	task->task.result = result;
	/* release: the result before the word */
	hshm_store_release(&task->task.completion, CHI_COMPLETION_DONE);
}

static void init_fills_the_header_and_zeroes_the_rest(void **state)
{
	struct {
		struct wide_task task;
		unsigned char after;
	} memory;

	(void)state;
	memset(&memory, 0xff, sizeof(memory));
	chi_task_init(&memory.task.task, sizeof(memory.task), POOL, CHI_QUERY_LOCAL_ID(3), METHOD);
	assert_int_equal(memory.task.task.version, CHI_TASK_VERSION);
	assert_int_equal(memory.task.task.flags, 0);
	assert_int_equal(memory.task.task.size_bytes, sizeof(memory.task));
	assert_int_equal(memory.task.task.pool_id, POOL);
	assert_int_equal(memory.task.task.method_id, METHOD);
	assert_int_equal(memory.task.task.query.kind, CHI_DOMAIN_LOCAL_ID);
	assert_int_equal(memory.task.task.query.value, 3);
	assert_int_equal(memory.task.task.submitter, 0);
	assert_false(chi_task_done(&memory.task));
	assert_int_equal(memory.task.in, 0);
	assert_int_equal(memory.task.out, 0);
	assert_true(hipc_ptr_is_null(memory.task.buffer.ptr));
	assert_int_equal(memory.after, 0xff);
}

static void alloc_gives_a_zeroed_task(void **state)
{
	struct wide_task *task = new_task(), expected;

	(void)state;
	chi_task_init(&expected.task, sizeof(expected), POOL, CHI_QUERY_GLOBAL_HASH(77), METHOD);
	assert_memory_equal(task, &expected, sizeof(expected));
	assert_int_equal(chi_task_free(&fake.client, task), 0);
	assert_int_equal(fake.n_blocks, 0);
}

static void alloc_of_a_size_that_no_task_has_returns_einval(void **state)
{
	static const uint32_t sizes[] = { 0, sizeof(struct chi_task) - 1, CHI_TASK_SIZE_MAX + 1, UINT32_MAX };
	void *task = &fake;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(sizes); i++)
		assert_int_equal(chi_task_alloc(&fake.client, sizes[i], POOL, CHI_QUERY_LOCAL_ID(0), 0, &task),
				 -EINVAL);
	assert_ptr_equal(task, &fake);
	assert_int_equal(fake.n_blocks, 0);
	assert_int_equal(chi_task_alloc(&fake.client, CHI_TASK_SIZE_MAX, POOL, CHI_QUERY_LOCAL_ID(0), 0, &task), 0);
	chi_task_free(&fake.client, task);
	assert_int_equal(chi_task_alloc(&fake.client, sizeof(struct chi_task), POOL, CHI_QUERY_LOCAL_ID(0), 0, &task),
			 0);
	chi_task_free(&fake.client, task);
}

static void alloc_passes_on_what_the_client_says(void **state)
{
	void *task = &fake;

	(void)state;
	fake.alloc_error = -ENOMEM;
	assert_int_equal(chi_task_alloc(&fake.client, sizeof(struct chi_task), POOL, CHI_QUERY_LOCAL_ID(0), 0, &task),
			 -ENOMEM);
	assert_int_equal(chi_alloc(&fake.client, 100, &task), -ENOMEM);
	assert_ptr_equal(task, &fake);
}

static void free_of_a_task_in_flight_returns_ebusy(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	assert_int_equal(chi_submit(&fake.client, task), 0);
	assert_int_equal(chi_task_free(&fake.client, task), -EBUSY);
	assert_int_equal(fake.n_blocks, 1);
	complete(task, 0);
	assert_int_equal(chi_task_free(&fake.client, task), 0);
	assert_int_equal(fake.n_blocks, 0);
}

static void free_of_null_does_nothing(void **state)
{
	(void)state;
	fake.usable_error = -ENOTCONN;
	assert_int_equal(chi_task_free(&fake.client, NULL), 0);
	chi_free(&fake.client, NULL);
	assert_int_equal(fake.n_blocks, 0);
}

static void a_second_submit_in_flight_returns_ebusy(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	assert_int_equal(chi_submit(&fake.client, task), 0);
	assert_int_equal(chi_submit(&fake.client, task), -EBUSY);
	assert_int_equal(fake.n_submitted, 1);
	complete(task, -EIO);
	/* done, it may go again, and is pending again */
	chi_cancel(task);
	assert_int_equal(chi_submit(&fake.client, task), 0);
	assert_int_equal(fake.n_submitted, 2);
	assert_false(chi_task_done(task));
	assert_int_equal(hshm_load_relaxed(&task->task.cancel), 0);
	complete(task, 0);
	chi_task_free(&fake.client, task);
}

static void submit_says_whose_the_task_is(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	assert_int_equal(chi_submit(&fake.client, task), 0);
	assert_ptr_equal(fake.last, task);
	assert_ptr_equal(chi_task_submitter(&task->task), &fake.client);
	complete(task, 0);
	chi_task_free(&fake.client, task);
}

static void a_submit_that_fails_leaves_the_task_the_callers(void **state)
{
	static const int errors[] = { -EAGAIN, -EOWNERDEAD, -EINVAL };
	struct wide_task *task = new_task();

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		fake.submit_error = errors[i];
		assert_int_equal(chi_submit(&fake.client, task), errors[i]);
		assert_null(chi_task_submitter(&task->task));
		assert_int_equal(chi_wait(task, 0), -EINVAL);
	}
	assert_int_equal(chi_task_free(&fake.client, task), 0);
}

static void an_unusable_client_touches_no_task(void **state)
{
	/* in a forked child the task's memory is not even mapped */
	void *unmapped = (void *)(uintptr_t)64;

	(void)state;
	fake.usable_error = -ENOTCONN;
	assert_int_equal(chi_submit(&fake.client, unmapped), -ENOTCONN);
	assert_int_equal(chi_task_free(&fake.client, unmapped), -ENOTCONN);
	assert_int_equal(fake.n_submitted, 0);
}

static void cancel_sets_the_word_and_nothing_else(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	assert_int_equal(chi_submit(&fake.client, task), 0);
	chi_cancel(task);
	assert_int_equal(hshm_load_relaxed(&task->task.cancel), 1);
	assert_false(chi_task_done(task));
	assert_int_equal(chi_task_free(&fake.client, task), -EBUSY);
	complete(task, -ECANCELED);
	chi_task_free(&fake.client, task);
}

static void a_buffer_needs_known_flags(void **state)
{
	static const uint32_t wrong[] = { 0, 4, CHI_BUFFER_IN | 8, UINT32_MAX };
	struct chi_buffer buffer = { .size_bytes = 1 };

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(wrong); i++)
		assert_int_equal(chi_buffer_set(&fake.client, &buffer, fake.arena, 8, wrong[i]), -EINVAL);
	assert_int_equal(buffer.size_bytes, 1);
	for (uint32_t flags = CHI_BUFFER_IN; flags <= (CHI_BUFFER_IN | CHI_BUFFER_OUT); flags++) {
		memset(&buffer, 0xff, sizeof(buffer));
		assert_int_equal(chi_buffer_set(&fake.client, &buffer, fake.arena + 16, 8, flags), 0);
		assert_int_equal(buffer.flags, flags);
		assert_int_equal(buffer.size_bytes, 8);
		assert_int_equal(buffer.reserved, 0);
		assert_int_equal(hipc_ptr_segment(buffer.ptr), 7);
		assert_int_equal(hipc_ptr_offset(buffer.ptr), 16);
	}
}

static void a_buffer_outside_the_clients_memory_returns_efault(void **state)
{
	struct chi_buffer buffer = { .size_bytes = 1 };

	(void)state;
	assert_int_equal(chi_buffer_set(&fake.client, &buffer, &buffer, 8, CHI_BUFFER_IN), -EFAULT);
	assert_int_equal(chi_buffer_set(&fake.client, &buffer, fake.arena, sizeof(fake.arena) + 1, CHI_BUFFER_IN),
			 -EFAULT);
	assert_int_equal(buffer.size_bytes, 1);
	assert_int_equal(chi_buffer_set(&fake.client, &buffer, fake.arena, sizeof(fake.arena), CHI_BUFFER_IN), 0);
}

static void many_are_submitted_in_order_and_rung_once(void **state)
{
	void *tasks[3] = { new_task(), new_task(), new_task() };

	(void)state;
	assert_int_equal(chi_submit_many(&fake.client, tasks, 3), 3);
	assert_int_equal(fake.n_submitted, 3);
	assert_ptr_equal(fake.last, tasks[2]);
	assert_int_equal(fake.n_rings, 1);
	assert_int_equal(fake.n_unrung, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chi_task_free(&fake.client, tasks[i]), -EBUSY);
		complete(tasks[i], 0);
		assert_int_equal(chi_task_free(&fake.client, tasks[i]), 0);
	}
}

static void many_stop_at_the_first_that_finds_no_room(void **state)
{
	void *tasks[3] = { new_task(), new_task(), new_task() };

	(void)state;
	fake.n_room = 2;
	assert_int_equal(chi_submit_many(&fake.client, tasks, 3), 2);
	assert_int_equal(fake.n_unrung, 0);
	assert_int_equal(chi_submit_many(&fake.client, tasks + 2, 1), -EAGAIN);
	/* the third is still the caller's */
	assert_int_equal(chi_task_free(&fake.client, tasks[2]), 0);
	for (int i = 0; i < 2; i++) {
		complete(tasks[i], 0);
		assert_int_equal(chi_task_free(&fake.client, tasks[i]), 0);
	}
}

static void many_stop_at_a_task_that_is_in_flight(void **state)
{
	struct wide_task *task = new_task();
	void *twice[2] = { task, task };

	(void)state;
	assert_int_equal(chi_submit_many(&fake.client, twice, 2), 1);
	assert_int_equal(fake.n_submitted, 1);
	assert_int_equal(chi_submit_many(&fake.client, twice, 2), -EBUSY);
	complete(task, 0);
	assert_int_equal(chi_task_free(&fake.client, task), 0);
}

static void many_of_none_are_none(void **state)
{
	(void)state;
	assert_int_equal(chi_submit_many(&fake.client, NULL, 0), 0);
	assert_int_equal(fake.n_rings, 0);
	fake.usable_error = -ENOTCONN;
	assert_int_equal(chi_submit_many(&fake.client, NULL, 0), -ENOTCONN);
}

static void call_returns_the_tasks_result(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	fake.done_at_once = true;
	assert_int_equal(chi_call(&fake.client, task), 17);
	assert_int_equal(chi_task_free(&fake.client, task), 0);
}

static void call_tries_again_while_the_lane_is_full(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	fake.done_at_once = true;
	fake.n_full = 100;
	assert_int_equal(chi_call(&fake.client, task), 17);
	assert_int_equal(fake.n_submitted, 1);
	assert_int_equal(fake.n_alive, 100);
	chi_task_free(&fake.client, task);
}

static void call_ends_when_the_lane_is_full_and_nobody_empties_it(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	fake.n_full = UINT32_MAX;
	fake.alive_error = -EOWNERDEAD;
	assert_int_equal(chi_call(&fake.client, task), -EOWNERDEAD);
	assert_int_equal(chi_task_free(&fake.client, task), 0);
}

static void call_passes_on_what_submit_says(void **state)
{
	struct wide_task *task = new_task();

	(void)state;
	fake.submit_error = -ESHUTDOWN;
	assert_int_equal(chi_call(&fake.client, task), -ESHUTDOWN);
	chi_task_free(&fake.client, task);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(init_fills_the_header_and_zeroes_the_rest, set_up),
		cmocka_unit_test_setup(alloc_gives_a_zeroed_task, set_up),
		cmocka_unit_test_setup(alloc_of_a_size_that_no_task_has_returns_einval, set_up),
		cmocka_unit_test_setup(alloc_passes_on_what_the_client_says, set_up),
		cmocka_unit_test_setup(free_of_a_task_in_flight_returns_ebusy, set_up),
		cmocka_unit_test_setup(free_of_null_does_nothing, set_up),
		cmocka_unit_test_setup(a_second_submit_in_flight_returns_ebusy, set_up),
		cmocka_unit_test_setup(submit_says_whose_the_task_is, set_up),
		cmocka_unit_test_setup(a_submit_that_fails_leaves_the_task_the_callers, set_up),
		cmocka_unit_test_setup(an_unusable_client_touches_no_task, set_up),
		cmocka_unit_test_setup(cancel_sets_the_word_and_nothing_else, set_up),
		cmocka_unit_test_setup(a_buffer_needs_known_flags, set_up),
		cmocka_unit_test_setup(a_buffer_outside_the_clients_memory_returns_efault, set_up),
		cmocka_unit_test_setup(many_are_submitted_in_order_and_rung_once, set_up),
		cmocka_unit_test_setup(many_stop_at_the_first_that_finds_no_room, set_up),
		cmocka_unit_test_setup(many_stop_at_a_task_that_is_in_flight, set_up),
		cmocka_unit_test_setup(many_of_none_are_none, set_up),
		cmocka_unit_test_setup(call_returns_the_tasks_result, set_up),
		cmocka_unit_test_setup(call_tries_again_while_the_lane_is_full, set_up),
		cmocka_unit_test_setup(call_ends_when_the_lane_is_full_and_nobody_empties_it, set_up),
		cmocka_unit_test_setup(call_passes_on_what_submit_says, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
