/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * submit_order_test.c - how many tasks a thread has submitted after one of its own
 */
#include "task_test.h"

#include "task/submit_order.h"

static void submit(struct chi_task *task)
{
	chi_submit_order_note(task);
	chi_submit_order_count();
}

static void each_counts_those_after_it(void **state)
{
	struct chi_task tasks[3] = { 0 };

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		submit(&tasks[i]);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(chi_submit_order_n_behind(&tasks[i]), 2 - i);
	submit(&tasks[0]); /* handed in again */
	assert_int_equal(chi_submit_order_n_behind(&tasks[0]), 0);
	assert_int_equal(chi_submit_order_n_behind(&tasks[1]), 2);
}

static void what_was_refused_does_not_count(void **state)
{
	struct chi_task first = { 0 }, refused = { 0 };

	(void)state;
	submit(&first);
	for (uint32_t i = 0; i < 3; i++)
		chi_submit_order_note(&refused);
	assert_int_equal(chi_submit_order_n_behind(&first), 0);
	submit(&refused);
	assert_int_equal(chi_submit_order_n_behind(&first), 1);
	assert_int_equal(chi_submit_order_n_behind(&refused), 0);
}

static void one_that_was_never_submitted_has_none(void **state)
{
	struct chi_task first = { 0 }, never = { 0 };

	(void)state;
	submit(&first);
	assert_int_equal(chi_submit_order_n_behind(&never), 0);
}

struct other_thread {
	const struct chi_task *task; /* of the first thread */
	uint32_t n_at_first, n_later, n_behind_own;
};

static void *other_thread(void *arg)
{
	struct other_thread *other = arg;
	struct chi_task own[3] = { 0 };

	other->n_at_first = chi_submit_order_n_behind(other->task);
	for (uint32_t i = 0; i < 3; i++)
		submit(&own[i]);
	other->n_later = chi_submit_order_n_behind(other->task);
	other->n_behind_own = chi_submit_order_n_behind(&own[0]);
	return NULL;
}

static void those_of_another_thread_have_none(void **state)
{
	struct chi_task task = { 0 };
	struct other_thread other = { .task = &task };
	pthread_t thread;

	(void)state;
	submit(&task);
	assert_int_equal(pthread_create(&thread, NULL, other_thread, &other), 0);
	pthread_join(thread, NULL);
	assert_int_equal(other.n_at_first, 0);
	assert_int_equal(other.n_later, 0);
	assert_int_equal(other.n_behind_own, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_counts_those_after_it),
		cmocka_unit_test(what_was_refused_does_not_count),
		cmocka_unit_test(one_that_was_never_submitted_has_none),
		cmocka_unit_test(those_of_another_thread_have_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
