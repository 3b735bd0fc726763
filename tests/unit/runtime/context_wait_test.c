/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * context_wait_test.c - the waiting queue and the posts, step by step (W1-W3 in context_wait.c)
 *
 * The case is the worker: its struct is the case's own, and so are the clock it goes by, the completions and their posts. The
 * waiting tasks are fibers of this thread that call chi_worker_wait() and note what it said. The runtime behind it gives the
 * pool whose methods have the estimates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/worker.h"

#include <chimaera/chimaera.h>
#include <errno.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/module_manager.h"
#include "runtime/pool_manager.h"

#define N_WAITERS  3u
#define N_CHILDREN 4u
#define NOT_YET	   1234

/* Methods by their estimate, in ms. */
enum { IN_10_MS, IN_20_MS, IN_30_MS, NEVER };
#define MS HSHM_NSEC_PER_MSEC

static int never_run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)task;
	(void)context;
	return 0;
}

#define TIMED_METHOD(method, number, ms)                                                                \
	{                                                                                               \
		.name = method, .id = (number), .task_size = sizeof(struct chi_task), .run = never_run, \
		.estimate_ns = (ms)*MS                                                                  \
	}

static const struct chi_method methods[] = {
	TIMED_METHOD("in_10_ms", IN_10_MS, 10),
	TIMED_METHOD("in_20_ms", IN_20_MS, 20),
	TIMED_METHOD("in_30_ms", IN_30_MS, 30),
	{ .name = "never",
	  .id = NEVER,
	  .task_size = sizeof(struct chi_task),
	  .run = never_run,
	  .estimate_ns = UINT64_MAX },
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "context_wait_test",
	.version = 1,
	.n_methods = 4,
	.methods = methods,
};

/* One task that waits: for the children it is told. */
struct waiter {
	void *tasks[N_CHILDREN];
	uint32_t n_tasks;
	enum chi_wait_mode mode;
	uint64_t timeout_ns;
	int ret;			/* NOT_YET, while it waits */
	struct chi_run_context context; /* last: it ends in the copy of a task */
};

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;
static struct chi_pool its_own; /* the pool of those that wait: another than the children's */
static struct chi_worker worker;
static struct chi_worker_counters counters;
static struct waiter waiters[N_WAITERS];
static struct chi_task children[N_CHILDREN];

/* ---- the stage ---- */

static int start(const char *config)
{
	struct chi_pool_spec spec = { .module = "context_wait_test" };
	struct chi_fiber_opts opts = { .stack_bytes = 65536, .fibers_max = N_WAITERS };

	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0 ||
	    chi_module_register_builtin(runtime->modules, &module) < 0 ||
	    chi_runtime_client(runtime, NULL, &client) < 0 || chi_pool_create(client, &spec, &pool) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	memset(&worker, 0, sizeof(worker));
	memset(&counters, 0, sizeof(counters));
	memset(waiters, 0, sizeof(waiters));
	worker.runtime = runtime;
	worker.counters = &counters;
	hshm_min_heap_init(&worker.waiting);
	for (uint32_t i = 0; i < N_CHILDREN; i++) {
		chi_task_init(&children[i], sizeof(children[i]), pool, CHI_QUERY_LOCAL_ID(0), IN_10_MS);
		children[i].submitter = (uint64_t)(uintptr_t)&runtime->inner;
	}
	chi_cur_worker = &worker;
	return chi_fiber_pool_create(&opts, &worker.fibers);
}

static int start_posting(void **state)
{
	(void)state;
	return start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n");
}

static int start_unposted(void **state)
{
	(void)state;
	return start("workers: { count: 1, completion_posting: false }\nmemory: { private_mib: 256 }\n");
}

static int stop(void **state)
{
	(void)state;
	chi_fiber_pool_destroy(worker.fibers);
	hshm_min_heap_fini(&worker.waiting);
	chi_cur_worker = NULL;
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, HSHM_NSEC_PER_SEC, NULL);
}

static void wait_in_fiber(void *arg)
{
	struct waiter *waiter = arg;

	waiter->ret = chi_worker_wait(&worker, waiter->tasks, waiter->n_tasks, waiter->mode, waiter->timeout_ns);
}

static void left(struct waiter *waiter)
{
	worker.current = NULL;
	if (!chi_fiber_ended(waiter->context.fiber))
		return;
	chi_fiber_put(worker.fibers, waiter->context.fiber);
	assert_null(waiter->context.wait);
}

/* Let waiter @i wait for the first @n_tasks children. */
static struct waiter *wait_for(uint32_t i, uint32_t n_tasks, enum chi_wait_mode mode, uint64_t timeout_ns)
{
	struct waiter *waiter = &waiters[i];

	for (uint32_t k = 0; k < n_tasks; k++)
		if (!waiter->tasks[k])
			waiter->tasks[k] = &children[k];
	waiter->n_tasks = n_tasks;
	waiter->mode = mode;
	waiter->timeout_ns = timeout_ns;
	waiter->ret = NOT_YET;
	waiter->context.worker = &worker;
	waiter->context.pool = &its_own;
	worker.now_ns = hshm_clock_ns();
	waiter->context.counts_as_load = true; /* in a container that is not there */
	assert_int_equal(chi_fiber_get(worker.fibers, &waiter->context.fiber), 0);
	worker.current = &waiter->context;
	chi_fiber_start(waiter->context.fiber, wait_in_fiber, waiter);
	left(waiter);
	return waiter;
}

/* Run those that were made ready; returns how many. */
static uint32_t run_ready(void)
{
	struct chi_run_context *context = worker.ready.first;
	uint32_t n = 0;

	worker.ready.first = worker.ready.last = NULL;
	for (; context; n++) {
		struct chi_run_context *next = context->next;
		struct waiter *waiter = (struct waiter *)((char *)context - offsetof(struct waiter, context));

		worker.current = context;
		chi_fiber_resume(context->fiber);
		left(waiter);
		context = next;
	}
	return n;
}

/* Complete a child; returns the waiter that its completion has to tell, or NULL. */
static struct chi_run_context *complete(uint32_t i)
{
	uint64_t before = hshm_exchange_acq_rel(&children[i].completion, CHI_COMPLETION_DONE);

	return before == CHI_COMPLETION_PENDING ? NULL : (struct chi_run_context *)(uintptr_t)before;
}

static void complete_and_post(uint32_t i)
{
	struct chi_run_context *context = complete(i);

	assert_non_null(context);
	chi_wait_posted(&worker, context);
}

static uint64_t key_of(const struct waiter *waiter)
{
	assert_true(waiter->context.heap_node.place > 0);
	return worker.waiting.entries[waiter->context.heap_node.place - 1].key;
}

/* The heap's check, when it is that late. */
static bool check_at(uint64_t now_ns)
{
	bool made_ready;

	worker.now_ns = now_ns;
	made_ready = chi_worker_check_waiting(&worker);
	assert_true(hshm_min_heap_check(&worker.waiting));
	return made_ready;
}

static void is_blocked(const struct waiter *waiter)
{
	assert_int_equal(waiter->ret, NOT_YET);
	assert_true(waiter->context.blocked);
	assert_true(waiter->context.heap_node.place > 0);
}

static void has_returned(const struct waiter *waiter, int ret)
{
	assert_int_equal(waiter->ret, ret);
	assert_false(waiter->context.blocked);
	assert_int_equal(waiter->context.heap_node.place, 0);
}

static void nobody_is_registered(void)
{
	for (uint32_t i = 0; i < N_CHILDREN; i++) {
		uint64_t word = hshm_load_relaxed(&children[i].completion);

		assert_true(word == CHI_COMPLETION_PENDING || word == CHI_COMPLETION_DONE);
	}
}

static uint64_t count(const hshm_au64 *counter)
{
	return hshm_load_relaxed(counter);
}

/* ---- the heap ---- */

static void the_heap_is_ordered_by_when_the_task_may_be_done(void **state)
{
	static const uint32_t order[] = { IN_20_MS, IN_10_MS, IN_30_MS };
	uint64_t before = hshm_clock_ns();
	uint32_t first = 0;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		waiters[i].tasks[0] = &children[i];
		children[i].method_id = order[i];
		is_blocked(wait_for(i, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER));
		if (key_of(&waiters[i]) < key_of(&waiters[first]))
			first = i; /* the second, if it came within 10 ms */
	}
	assert_ptr_equal(hshm_min_heap_min(&worker.waiting)->node, &waiters[first].context.heap_node);
	for (uint32_t i = 0; i < 3; i++)
		assert_in_range(key_of(&waiters[i]), before + (order[i] + 1) * 10 * MS,
				hshm_clock_ns() + (order[i] + 1) * 10 * MS);
	assert_int_equal(count(&counters.waits), 3);
}

static void all_takes_the_longest_estimate_and_any_the_shortest(void **state)
{
	uint64_t before = hshm_clock_ns();

	(void)state;
	children[0].method_id = IN_20_MS;
	children[1].method_id = IN_30_MS;
	wait_for(0, 2, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	assert_in_range(key_of(&waiters[0]), before + 30 * MS, hshm_clock_ns() + 30 * MS);
	before = hshm_clock_ns();
	waiters[1].tasks[0] = &children[2];
	waiters[1].tasks[1] = &children[3];
	children[2].method_id = IN_20_MS;
	children[3].method_id = IN_30_MS;
	wait_for(1, 2, CHI_WAIT_FOR_ANY, HSHM_FOREVER);
	assert_in_range(key_of(&waiters[1]), before + 20 * MS, hshm_clock_ns() + 20 * MS);
}

static void who_is_not_due_stays_where_he_is(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	uint64_t key = key_of(waiter);

	(void)state;
	assert_false(check_at(key - 1));
	assert_int_equal(key_of(waiter), key);
	is_blocked(waiter);
}

static void who_is_overdue_goes_back_under_twice_the_delay(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);

	(void)state;
	for (uint64_t delay_ns = 20 * MS; delay_ns <= 640 * MS; delay_ns *= 2) {
		uint64_t now_ns = key_of(waiter) + 5;

		assert_false(check_at(now_ns));
		assert_int_equal(key_of(waiter), now_ns + delay_ns);
	}
	is_blocked(waiter);
}

static void an_estimate_beyond_reason_is_taken_for_100_s(void **state)
{
	uint64_t now_ns = hshm_clock_ns();
	struct waiter *waiter;

	(void)state;
	children[0].method_id = NEVER;
	waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	assert_in_range(key_of(waiter), now_ns + 100000 * MS, hshm_clock_ns() + 100000 * MS);
	now_ns = key_of(waiter);
	assert_false(check_at(now_ns));
	assert_int_equal(key_of(waiter), now_ns + 200000 * MS);
}

static void without_posts_the_delay_is_a_millisecond_at_most(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	uint64_t now_ns = key_of(waiter);

	(void)state;
	for (int i = 0; i < 3; i++, now_ns += MS) {
		assert_false(check_at(now_ns));
		assert_int_equal(key_of(waiter), now_ns + MS);
	}
	/* and nobody is registered anywhere */
	nobody_is_registered();
	assert_null(complete(0));
	assert_true(check_at(now_ns));
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
	assert_int_equal(count(&counters.resumes_heap), 1);
	assert_int_equal(count(&counters.resumes_posted), 0);
}

static void the_check_finds_who_is_complete_before_he_is_due(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);

	(void)state;
	complete(0);
	assert_true(check_at(key_of(waiter) - 5 * MS));
	assert_int_equal(waiter->context.heap_node.place, 0);
	/* it left by the heap, so it waits for the post that is on its way (W3) */
	assert_int_equal(run_ready(), 1);
	assert_int_equal(waiter->ret, NOT_YET);
	chi_wait_posted(&worker, &waiter->context);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
	assert_int_equal(count(&counters.resumes_heap), 1);
}

/* ---- posts ---- */

static void a_post_makes_ready_and_empties_the_heap(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);

	(void)state;
	complete_and_post(0);
	assert_int_equal(worker.waiting.n_entries, 0);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
	assert_int_equal(count(&counters.resumes_posted), 1);
	assert_int_equal(count(&counters.resumes_heap), 0);
}

static void all_needs_every_post(void **state)
{
	struct waiter *waiter = wait_for(0, 3, CHI_WAIT_FOR_ALL, HSHM_FOREVER);

	(void)state;
	complete_and_post(2);
	complete_and_post(0);
	assert_int_equal(run_ready(), 0);
	is_blocked(waiter);
	complete_and_post(1);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
}

static void any_needs_one_and_takes_the_other_words_back(void **state)
{
	struct waiter *waiter = wait_for(0, 3, CHI_WAIT_FOR_ANY, HSHM_FOREVER);

	(void)state;
	complete_and_post(1);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
	nobody_is_registered();
	assert_int_equal(hshm_load_relaxed(&children[0].completion), CHI_COMPLETION_PENDING);
}

static void any_collects_a_post_that_is_on_its_way(void **state)
{
	struct waiter *waiter = wait_for(0, 3, CHI_WAIT_FOR_ANY, HSHM_FOREVER);
	struct chi_run_context *late;

	(void)state;
	late = complete(2); /* between its exchange and its post */
	complete_and_post(1);
	assert_int_equal(run_ready(), 1);
	assert_int_equal(waiter->ret, NOT_YET);
	assert_ptr_equal(late, &waiter->context);
	chi_wait_posted(&worker, late);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
	nobody_is_registered();
}

/* A task of a client is never given an address: the heap finds it. */
static void what_cannot_post_is_found_by_the_heap(void **state)
{
	struct waiter *waiter;

	(void)state;
	children[1].submitter = (uint64_t)(uintptr_t)client;
	waiter = wait_for(0, 2, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	assert_int_equal(hshm_load_relaxed(&children[1].completion), CHI_COMPLETION_PENDING);
	/* all posts are in: it looks, and blocks again */
	complete_and_post(0);
	assert_int_equal(run_ready(), 1);
	is_blocked(waiter);
	assert_null(complete(1));
	assert_true(check_at(key_of(waiter)));
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
}

/* ---- timeouts ---- */

static void a_timeout_stands_before_the_estimate(void **state)
{
	uint64_t before = hshm_clock_ns();
	struct waiter *waiter = wait_for(0, 2, CHI_WAIT_FOR_ALL, 4 * MS);
	uint64_t end_ns = key_of(waiter);

	(void)state;
	assert_in_range(end_ns, before + 4 * MS, hshm_clock_ns() + 4 * MS);
	complete_and_post(0);
	assert_false(check_at(end_ns - 1));
	is_blocked(waiter);
	assert_true(check_at(end_ns));
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, -ETIMEDOUT);
	nobody_is_registered();
	assert_int_equal(count(&counters.timeouts), 1);
}

static void nobody_is_put_back_past_the_timeout(void **state)
{
	uint64_t before = hshm_clock_ns();
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, 15 * MS);
	uint64_t due_ns = key_of(waiter);

	(void)state;
	assert_in_range(due_ns, before + 10 * MS, hshm_clock_ns() + 10 * MS);
	assert_false(check_at(due_ns));
	assert_in_range(key_of(waiter), before + 15 * MS, hshm_clock_ns() + 15 * MS);
	assert_true(check_at(key_of(waiter)));
	run_ready();
	has_returned(waiter, -ETIMEDOUT);
}

static void a_timeout_of_nothing_ends_at_the_first_check(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ANY, 0);

	(void)state;
	assert_true(check_at(hshm_clock_ns()));
	run_ready();
	has_returned(waiter, -ETIMEDOUT);
	nobody_is_registered();
}

static void who_is_done_when_the_time_is_over_is_done(void **state)
{
	struct waiter *waiter = wait_for(0, 1, CHI_WAIT_FOR_ALL, MS);
	struct chi_run_context *told;

	(void)state;
	assert_true(check_at(key_of(waiter)));
	told = complete(0); /* it was made ready by the timeout, but has not gone on yet */
	chi_wait_posted(&worker, told);
	assert_int_equal(run_ready(), 1);
	has_returned(waiter, 0);
}

static void the_tasks_own_deadline_is_a_timeout(void **state)
{
	struct waiter *waiter = &waiters[0];

	(void)state;
	waiter->context.deadline_ns = hshm_clock_ns() + 3 * MS;
	wait_for(0, 1, CHI_WAIT_FOR_ALL, CHI_UNTIL_DEADLINE);
	assert_int_equal(key_of(waiter), waiter->context.deadline_ns);
	assert_true(check_at(waiter->context.deadline_ns));
	run_ready();
	has_returned(waiter, -ETIMEDOUT);

	wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	assert_true(key_of(waiter) > waiter->context.deadline_ns);
}

/* ---- the array ---- */

static void a_task_that_another_waits_for_is_refused(void **state)
{
	struct waiter *other;

	(void)state;
	waiters[0].tasks[0] = &children[1];
	other = wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER);
	/* its own words are given back: those before and after it in the array */
	has_returned(wait_for(1, 3, CHI_WAIT_FOR_ALL, HSHM_FOREVER), -EBUSY);
	assert_int_equal(hshm_load_relaxed(&children[0].completion), CHI_COMPLETION_PENDING);
	assert_int_equal(hshm_load_relaxed(&children[2].completion), CHI_COMPLETION_PENDING);
	is_blocked(other);
	complete_and_post(1);
	run_ready();
	has_returned(other, 0);
}

static void a_task_may_stand_twice_in_the_array(void **state)
{
	static const enum chi_wait_mode modes[] = { CHI_WAIT_FOR_ALL, CHI_WAIT_FOR_ANY };

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct waiter *waiter = &waiters[i];

		hshm_store_relaxed(&children[0].completion, CHI_COMPLETION_PENDING);
		waiter->tasks[0] = waiter->tasks[1] = &children[0];
		is_blocked(wait_for(i, 2, modes[i], HSHM_FOREVER));
		complete_and_post(0);
		assert_int_equal(run_ready(), 1);
		has_returned(waiter, 0);
	}
}

static void who_is_done_already_is_not_waited_for(void **state)
{
	(void)state;
	complete(0);
	has_returned(wait_for(0, 1, CHI_WAIT_FOR_ALL, HSHM_FOREVER), 0);
	has_returned(wait_for(1, 2, CHI_WAIT_FOR_ANY, HSHM_FOREVER), 0);
	nobody_is_registered();
	assert_int_equal(count(&counters.waits), 0);
}

int main(void)
{
#define POSTING(function)  cmocka_unit_test_setup_teardown(function, start_posting, stop)
#define UNPOSTED(function) cmocka_unit_test_setup_teardown(function, start_unposted, stop)
	const struct CMUnitTest tests[] = {
		POSTING(the_heap_is_ordered_by_when_the_task_may_be_done),
		UNPOSTED(the_heap_is_ordered_by_when_the_task_may_be_done),
		POSTING(all_takes_the_longest_estimate_and_any_the_shortest),
		POSTING(who_is_not_due_stays_where_he_is),
		POSTING(who_is_overdue_goes_back_under_twice_the_delay),
		POSTING(an_estimate_beyond_reason_is_taken_for_100_s),
		UNPOSTED(without_posts_the_delay_is_a_millisecond_at_most),
		POSTING(the_check_finds_who_is_complete_before_he_is_due),
		POSTING(a_post_makes_ready_and_empties_the_heap),
		POSTING(all_needs_every_post),
		POSTING(any_needs_one_and_takes_the_other_words_back),
		POSTING(any_collects_a_post_that_is_on_its_way),
		POSTING(what_cannot_post_is_found_by_the_heap),
		POSTING(a_timeout_stands_before_the_estimate),
		POSTING(nobody_is_put_back_past_the_timeout),
		POSTING(a_timeout_of_nothing_ends_at_the_first_check),
		UNPOSTED(a_timeout_of_nothing_ends_at_the_first_check),
		POSTING(who_is_done_when_the_time_is_over_is_done),
		POSTING(the_tasks_own_deadline_is_a_timeout),
		UNPOSTED(the_tasks_own_deadline_is_a_timeout),
		POSTING(a_task_that_another_waits_for_is_refused),
		POSTING(a_task_may_stand_twice_in_the_array),
		POSTING(who_is_done_already_is_not_waited_for),
		UNPOSTED(who_is_done_already_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
