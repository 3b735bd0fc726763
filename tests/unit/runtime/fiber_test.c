/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fiber_test.c - start, leave, resume, end, recycle; limits; what a switch keeps
 */
#include <errno.h>
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/fiber.h"
#include "runtime/sanitizer.h"
#include "support/skip.h"

#define STACK_BYTES 65536u

/* each fiber is a thread to TSan, of which it can count some 8,000 */
#define N_MANY (CHI_TSAN ? 500u : 10000u)

static struct chi_fiber_pool *pool_of(uint32_t fibers_max, enum chi_fiber_guard guard)
{
	struct chi_fiber_opts opts = { .stack_bytes = STACK_BYTES, .fibers_max = fibers_max, .guard = guard };
	struct chi_fiber_pool *pool;

	assert_int_equal(chi_fiber_pool_create(&opts, &pool), 0);
	return pool;
}

static struct chi_fiber *fiber_of(struct chi_fiber_pool *pool)
{
	struct chi_fiber *fiber;

	assert_int_equal(chi_fiber_get(pool, &fiber), 0);
	return fiber;
}

struct job {
	struct chi_fiber *fiber;
	int n_leaves;
	int at;
	int errno_kept;
	double float_kept;
	int round_mode;
};

/* Its locals must survive each switch. */
static void count_up(void *arg)
{
	struct job *job = arg;
	volatile uint32_t pattern[64];

	for (uint32_t i = 0; i < 64; i++)
		pattern[i] = i ^ (uint32_t)(uintptr_t)job;
	for (int i = 0; i < job->n_leaves; i++) {
		job->at = i + 1;
		chi_fiber_leave(job->fiber);
	}
	for (uint32_t i = 0; i < 64; i++)
		if (pattern[i] != (i ^ (uint32_t)(uintptr_t)job))
			abort();
	job->at = -1;
}

static void fiber_runs_until_it_leaves_and_goes_on_where_it_was(void **state)
{
	struct chi_fiber_pool *pool = pool_of(4, CHI_FIBER_GUARD_AUTO);
	struct job job = { .fiber = fiber_of(pool), .n_leaves = 3 };

	(void)state;
	chi_fiber_start(job.fiber, count_up, &job);
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(job.at, i);
		assert_false(chi_fiber_ended(job.fiber));
		chi_fiber_resume(job.fiber);
	}
	assert_int_equal(job.at, -1);
	assert_true(chi_fiber_ended(job.fiber));
	chi_fiber_put(pool, job.fiber);
	chi_fiber_pool_destroy(pool);
}

struct deep {
	struct chi_fiber *fiber;
	bool had_room, has_room;
};

static void use_the_stack(void *arg)
{
	struct deep *deep = arg;
	volatile char used[3 * 4096];

	used[0] = used[sizeof(used) - 1] = 1;
	deep->has_room = chi_fiber_has_room(deep->fiber);
}

static void look_for_room(void *arg)
{
	struct deep *deep = arg;

	deep->had_room = chi_fiber_has_room(deep->fiber);
	use_the_stack(deep);
}

static bool has_room_after_12_kib(uint64_t more_bytes)
{
	struct chi_fiber_opts opts = { 64 * 1024, 1, CHI_FIBER_GUARD_AUTO, more_bytes };
	struct chi_fiber_pool *pool;
	struct deep deep;

	assert_int_equal(chi_fiber_pool_create(&opts, &pool), 0);
	deep.fiber = fiber_of(pool);
	chi_fiber_start(deep.fiber, look_for_room, &deep);
	assert_ptr_equal(chi_fiber_arg(deep.fiber), &deep);
	assert_int_equal(deep.had_room, more_bytes > 0);
	chi_fiber_put(pool, deep.fiber);
	chi_fiber_pool_destroy(pool);
	return deep.has_room;
}

static void a_stack_has_room_as_long_as_what_is_promised_is_free(void **state)
{
	(void)state;
	assert_false(has_room_after_12_kib(0));
	assert_false(has_room_after_12_kib(8 * 1024));
	assert_true(has_room_after_12_kib(32 * 1024));
}

static void last_fiber_put_is_the_first_taken(void **state)
{
	struct chi_fiber_pool *pool = pool_of(8, CHI_FIBER_GUARD_AUTO);
	struct chi_fiber *first = fiber_of(pool), *second = fiber_of(pool);

	(void)state;
	chi_fiber_put(pool, first);
	chi_fiber_put(pool, second);
	assert_ptr_equal(fiber_of(pool), second);
	assert_ptr_equal(fiber_of(pool), first);
	chi_fiber_pool_destroy(pool);
}

static void recycled_fiber_runs_a_new_function_a_million_times_on_one_stack(void **state)
{
	struct chi_fiber_pool *pool = pool_of(1, CHI_FIBER_GUARD_AUTO);
	struct chi_fiber_stats stats;

	(void)state;
	for (int i = 0; i < (CHI_TSAN || CHI_ASAN ? 100000 : 1000000); i++) {
		struct job job = { .fiber = fiber_of(pool), .n_leaves = i & 1 };

		chi_fiber_start(job.fiber, count_up, &job);
		if (i & 1)
			chi_fiber_resume(job.fiber);
		assert_true(chi_fiber_ended(job.fiber));
		assert_int_equal(job.at, -1);
		chi_fiber_put(pool, job.fiber);
	}
	chi_fiber_pool_get_stats(pool, &stats);
	assert_int_equal(stats.n_made, 1);
	assert_int_equal(stats.n_idle, 1);
	chi_fiber_pool_destroy(pool);
}

static void many_at_once(enum chi_fiber_guard guard)
{
	struct chi_fiber_pool *pool = pool_of(N_MANY, guard);
	struct job *jobs = calloc(N_MANY, sizeof(*jobs));
	struct chi_fiber_stats stats;
	struct chi_fiber *one_more;

	assert_non_null(jobs);
	for (uint32_t i = 0; i < N_MANY; i++) {
		jobs[i].fiber = fiber_of(pool);
		jobs[i].n_leaves = 2;
		chi_fiber_start(jobs[i].fiber, count_up, &jobs[i]);
	}
	assert_int_equal(chi_fiber_get(pool, &one_more), -EAGAIN);
	for (uint32_t i = N_MANY; i-- > 0;)
		chi_fiber_resume(jobs[i].fiber);
	for (uint32_t i = 0; i < N_MANY; i++) {
		assert_int_equal(jobs[i].at, 2);
		chi_fiber_resume(jobs[i].fiber);
		assert_int_equal(jobs[i].at, -1);
		chi_fiber_put(pool, jobs[i].fiber);
	}
	chi_fiber_pool_get_stats(pool, &stats);
	assert_int_equal(stats.n_made, N_MANY);
	assert_int_equal(stats.n_idle, N_MANY);
	free(jobs);
	chi_fiber_pool_destroy(pool);
}

static void ten_thousand_fibers_are_blocked_at_once(void **state)
{
	(void)state;
	many_at_once(CHI_FIBER_GUARD_AUTO);
}

static void ten_thousand_fibers_are_blocked_at_once_with_mprotect_guards(void **state)
{
	(void)state;
	many_at_once(CHI_FIBER_GUARD_MPROTECT);
}

static void get_past_fibers_max_returns_eagain_until_one_is_put_back(void **state)
{
	struct chi_fiber_pool *pool = pool_of(3, CHI_FIBER_GUARD_AUTO);
	struct chi_fiber *fibers[3], *one_more;
	struct chi_fiber_stats stats;

	(void)state;
	for (int i = 0; i < 3; i++)
		fibers[i] = fiber_of(pool);
	assert_int_equal(chi_fiber_get(pool, &one_more), -EAGAIN);
	chi_fiber_pool_get_stats(pool, &stats);
	assert_int_equal(stats.n_made, 3);
	chi_fiber_put(pool, fibers[1]);
	assert_ptr_equal(fiber_of(pool), fibers[1]);
	chi_fiber_pool_destroy(pool);
}

static void destroy_takes_fibers_that_never_ended(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct chi_fiber_pool *pool = pool_of(64, CHI_FIBER_GUARD_AUTO);
		struct job jobs[64];

		for (int j = 0; j < 64; j++) {
			jobs[j] = (struct job){ .fiber = fiber_of(pool), .n_leaves = 1 };
			chi_fiber_start(jobs[j].fiber, count_up, &jobs[j]);
		}
		chi_fiber_pool_destroy(pool);
	}
	chi_fiber_pool_destroy(NULL);
}

/* ---- what a switch keeps ---- */

static void keep_things(void *arg)
{
	struct job *job = arg;
	volatile double third = 1.0 / (3 + job->n_leaves);

	fesetround(job->round_mode);
	errno = job->n_leaves;
	chi_fiber_leave(job->fiber);
	job->errno_kept = errno;
	job->round_mode = fegetround();
	job->float_kept = third;
}

static void errno_floats_and_rounding_mode_are_each_fibers_own(void **state)
{
	struct chi_fiber_pool *pool = pool_of(2, CHI_FIBER_GUARD_AUTO);
	struct job up = { .fiber = fiber_of(pool), .n_leaves = 5, .round_mode = FE_UPWARD };
	struct job down = { .fiber = fiber_of(pool), .n_leaves = 7, .round_mode = FE_DOWNWARD };

	(void)state;
	chi_fiber_start(up.fiber, keep_things, &up);
	assert_int_equal(fegetround(), FE_TONEAREST);
	chi_fiber_start(down.fiber, keep_things, &down);
	errno = 99;
	chi_fiber_resume(up.fiber);
	chi_fiber_resume(down.fiber);
	assert_int_equal(up.errno_kept, 5);
	assert_int_equal(down.errno_kept, 7);
	assert_int_equal(up.round_mode, FE_UPWARD);
	assert_int_equal(down.round_mode, FE_DOWNWARD);
	assert_int_equal(fegetround(), FE_TONEAREST);
	assert_true(up.float_kept == 1.0 / 8 && down.float_kept == 1.0 / 10);
	chi_fiber_pool_destroy(pool);
}

/* ---- stacks and guards ---- */

static void look_at_stack(void *arg)
{
	struct job *job = arg;
	const void *low, *high;
	char here;

	chi_fiber_stack(job->fiber, &low, &high);
	job->at = (const void *)&here >= low && (const void *)&here < high;
	/* with fake stacks a local lies elsewhere */
	if (CHI_ASAN)
		job->at = __builtin_frame_address(0) >= low && __builtin_frame_address(0) < high;
}

static void stack_bounds_hold_the_running_fiber_and_the_guard_lies_below(void **state)
{
	struct chi_fiber_pool *pool = pool_of(2, CHI_FIBER_GUARD_AUTO);
	struct job job = { .fiber = fiber_of(pool) };
	const void *low, *high;

	(void)state;
	chi_fiber_start(job.fiber, look_at_stack, &job);
	assert_int_equal(job.at, 1);
	chi_fiber_stack(job.fiber, &low, &high);
	assert_int_equal((const char *)high - (const char *)low, STACK_BYTES);
	assert_true(chi_fiber_in_guard(job.fiber, (const char *)low - 1));
	assert_true(chi_fiber_in_guard(job.fiber, (const char *)low - 4096));
	assert_false(chi_fiber_in_guard(job.fiber, low));
	assert_false(chi_fiber_in_guard(job.fiber, (const char *)low - (1 << 20)));
	assert_false(chi_fiber_in_guard(job.fiber, high));
	assert_false(chi_fiber_in_guard(job.fiber, NULL));
	chi_fiber_pool_destroy(pool);
}

/* How many pages of the stack are there? Of a fresh one only the top, also once it was prefetched. */
static void stack_pages_come_when_they_are_touched(void **state)
{
	struct chi_fiber_pool *pool = pool_of(64, CHI_FIBER_GUARD_AUTO);
	unsigned char present[STACK_BYTES / 4096];
	struct chi_fiber *fiber = NULL;
	const void *low, *high;
	unsigned n = 0;

	(void)state;
	if (sysconf(_SC_PAGESIZE) != 4096)
		skip_because("pages are not of 4 KiB");
	for (int i = 0; i < 40; i++) {
		chi_fiber_pool_prefetch(pool);
		fiber = fiber_of(pool);
		chi_fiber_prefetch(fiber);
	}
	chi_fiber_stack(fiber, &low, &high);
	assert_int_equal(mincore((void *)(uintptr_t)low, STACK_BYTES, present), 0);
	for (size_t i = 0; i < sizeof(present); i++)
		n += present[i] & 1;
	assert_in_range(n, 0, 1);
	chi_fiber_pool_destroy(pool);
}

static void pool_with_impossible_options_is_refused(void **state)
{
	struct chi_fiber_opts opts = { .stack_bytes = 0, .fibers_max = 1 };
	struct chi_fiber_pool *pool = NULL;

	(void)state;
	assert_int_equal(chi_fiber_pool_create(&opts, &pool), -EINVAL);
	opts.stack_bytes = UINT64_MAX / 2;
	assert_int_equal(chi_fiber_pool_create(&opts, &pool), -EINVAL);
	assert_null(pool);
}

/* Use up the process's mappings, in a child; then ask for stacks. Its stderr comes back. */
static int past_the_kernels_limit(char *ret_text, size_t text_max)
{
	struct chi_fiber_pool *pool = pool_of(1000000, CHI_FIBER_GUARD_MPROTECT);
	struct chi_fiber *fiber;
	int pipes[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int rc = 0;

		dup2(pipes[1], STDERR_FILENO);
		close(pipes[0]);
		while (!rc)
			rc = chi_fiber_get(pool, &fiber);
		/* again: no second line in the log; and memory can still be mapped */
		if (rc != -EAGAIN || chi_fiber_get(pool, &fiber) != -EAGAIN)
			_exit(1);
		if (mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			_exit(2);
		_exit(0);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], ret_text + n, text_max - 1 - n)) > 0)
		n += (size_t)got;
	ret_text[n] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	chi_fiber_pool_destroy(pool);
	return status;
}

static void mprotect_guards_past_the_kernels_limit_return_eagain_and_name_the_sysctl_once(void **state)
{
	char text[4096];
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	long n_max = 0;
	char *found;

	(void)state;
#if CHI_VALGRIND
	if (RUNNING_ON_VALGRIND)
		skip_because("valgrind can count fewer mappings than the kernel");
#endif
	if (CHI_TSAN || CHI_ASAN)
		skip_because("a sanitizer's own mappings run out too");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%ld", &n_max), 1);
	fclose(file);
	if (n_max > 200000)
		skip_because("vm.max_map_count is %ld: too many to use up", n_max);
	assert_int_equal(past_the_kernels_limit(text, sizeof(text)), 0);
	found = strstr(text, "vm.max_map_count");
	assert_non_null(found);
	assert_non_null(strstr(text, "fibers.max"));
	assert_null(strchr(strchr(text, '\n') + 1, '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fiber_runs_until_it_leaves_and_goes_on_where_it_was),
		cmocka_unit_test(a_stack_has_room_as_long_as_what_is_promised_is_free),
		cmocka_unit_test(last_fiber_put_is_the_first_taken),
		cmocka_unit_test(recycled_fiber_runs_a_new_function_a_million_times_on_one_stack),
		cmocka_unit_test(ten_thousand_fibers_are_blocked_at_once),
		cmocka_unit_test(ten_thousand_fibers_are_blocked_at_once_with_mprotect_guards),
		cmocka_unit_test(get_past_fibers_max_returns_eagain_until_one_is_put_back),
		cmocka_unit_test(destroy_takes_fibers_that_never_ended),
		cmocka_unit_test(errno_floats_and_rounding_mode_are_each_fibers_own),
		cmocka_unit_test(stack_bounds_hold_the_running_fiber_and_the_guard_lies_below),
		cmocka_unit_test(stack_pages_come_when_they_are_touched),
		cmocka_unit_test(pool_with_impossible_options_is_refused),
		cmocka_unit_test(mprotect_guards_past_the_kernels_limit_return_eagain_and_name_the_sysctl_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
