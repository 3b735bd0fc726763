/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * periodic_test.c - when the runs of a periodic task are due, which are left out, and their deadlines
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

#include "support/stage.h"

#define N_RUNS	    12u
#define LONG_RUN    4u
#define PERIOD_NS   (5 * HSHM_NSEC_PER_MSEC)
#define DEADLINE_NS (150 * HSHM_NSEC_PER_MSEC)

enum method { TICK, SPIN };

struct tick_task {
	struct chi_task task;
	uint64_t spin_ns; /* TICK: of its run LONG_RUN */
};

struct run {
	uint64_t due_ns, start_ns, end_ns, deadline_ns;
	bool cancelled; /* at its end */
};

/* Written by the one run at a time, read once n_runs says so. */
static struct run runs[N_RUNS];
static hshm_au32 n_runs;
static uint64_t submitted_ns;

static void spin_for(uint64_t ns)
{
	for (uint64_t end_ns = hshm_clock_ns() + ns; hshm_clock_ns() < end_ns;)
		hshm_cpu_relax();
}

static int tick(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	uint32_t n = hshm_load_relaxed(&n_runs);
	struct run run = { .due_ns = chi_context_due_ns(context),
			   .start_ns = hshm_clock_ns(),
			   .deadline_ns = chi_context_deadline_ns(context) };

	(void)container;
	if (n == LONG_RUN)
		spin_for(((struct tick_task *)task)->spin_ns);
	if (n >= N_RUNS)
		return 0;
	run.cancelled = chi_cancelled(context);
	run.end_ns = hshm_clock_ns();
	runs[n] = run;
	hshm_store_release(&n_runs, n + 1); /* release: pairs with the acquire in wait_for_runs() */
	return 0;
}

static int spin(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	(void)container;
	(void)context;
	spin_for(((struct tick_task *)task)->spin_ns);
	return 0;
}

static const struct chi_method methods[] = {
	{ .name = "tick", .id = TICK, .task_size = sizeof(struct tick_task), .run = tick },
	{ .name = "spin", .id = SPIN, .task_size = sizeof(struct tick_task), .run = spin },
};

static const struct chi_module module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "periodic_test",
	.version = 1,
	.n_methods = 2,
	.methods = methods,
};

static int start(void **state)
{
	(void)state;
	hshm_store_relaxed(&n_runs, 0);
	return stage_start("workers: { count: 1 }\nmemory: { private_mib: 256 }\n", &module, 1);
}

static struct tick_task *submit(enum method method, uint32_t deadline_us, uint64_t spin_ns)
{
	struct tick_task *task;

	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task), 0);
	task->task.deadline_us = deadline_us;
	task->spin_ns = spin_ns;
	if (method == TICK) {
		task->task.flags = CHI_TASK_PERIODIC;
		task->task.period_ns = PERIOD_NS;
	}
	submitted_ns = hshm_clock_ns();
	assert_int_equal(chi_submit(client, task), 0);
	return task;
}

static void wait_for_runs(uint32_t n)
{
	uint64_t end_ns = hshm_clock_ns() + TIME_MAX_NS;

	/* acquire: pairs with the release in tick() */
	while (hshm_load_acquire(&n_runs) < n) {
		assert_true(hshm_clock_ns() < end_ns);
		chi_yield();
	}
}

static void end(struct tick_task *task)
{
	chi_cancel(task);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	chi_task_free(client, task);
}

static uint64_t n_missed(void)
{
	static struct chi_runtime_info info;

	assert_int_equal(chi_client_runtime_info(client, &info), 0);
	return hshm_load_relaxed(&info.workers[0].periodic_missed);
}

/* Each run but the first is due a whole number of periods after the one before; returns how many were left out. */
static uint64_t check_grid(void)
{
	uint64_t n_left_out = 0;

	assert_int_equal(runs[0].due_ns, 0);
	for (uint32_t i = 1; i < N_RUNS; i++) {
		assert_true(runs[i].start_ns >= runs[i].due_ns);
		/* what is due before the end of the run before it is left out, not made up for */
		assert_true(runs[i].due_ns >= runs[i - 1].end_ns);
		if (i == 1)
			continue;
		assert_int_equal((runs[i].due_ns - runs[i - 1].due_ns) % PERIOD_NS, 0);
		n_left_out += (runs[i].due_ns - runs[i - 1].due_ns) / PERIOD_NS - 1;
	}
	/* the first was due when it started: before its method looked at the clock, and behind the submit */
	assert_in_range((runs[0].start_ns + 1000 * PERIOD_NS - runs[1].due_ns) % PERIOD_NS, 0,
			runs[0].start_ns - submitted_ns);
	return n_left_out;
}

static void runs_are_due_at_the_first_start_and_whole_periods_after_it(void **state)
{
	struct tick_task *task = submit(TICK, 0, 0);

	(void)state;
	wait_for_runs(N_RUNS);
	end(task);
	check_grid();
}

static void missed_runs_are_left_out_and_counted(void **state)
{
	struct tick_task *task = submit(TICK, 0, 11 * PERIOD_NS / 2);

	(void)state;
	wait_for_runs(N_RUNS);
	end(task);
	assert_true(runs[LONG_RUN + 1].due_ns >= runs[LONG_RUN].due_ns + 6 * PERIOD_NS);
	assert_true(check_grid() >= 5);
	assert_true(n_missed() >= 5);
}

static void each_run_has_the_deadline_anew(void **state)
{
	struct tick_task *task = submit(TICK, DEADLINE_NS / HSHM_NSEC_PER_USEC, DEADLINE_NS + PERIOD_NS);

	(void)state;
	wait_for_runs(LONG_RUN + 2); /* one that took longer went on: it did not fail */
	for (uint32_t i = 1; i < LONG_RUN + 2; i++) {
		assert_int_equal(runs[i].deadline_ns, runs[i].due_ns + DEADLINE_NS);
		assert_int_equal(runs[i].cancelled, runs[i].end_ns > runs[i].deadline_ns);
	}
	assert_true(runs[LONG_RUN].cancelled);
	end(task);
}

static void a_run_that_cannot_start_by_its_deadline_is_a_failure(void **state)
{
	struct tick_task *task = submit(TICK, DEADLINE_NS / HSHM_NSEC_PER_USEC, 0), *other;

	(void)state;
	wait_for_runs(2);
	/* the only worker is kept for longer than a period and the deadline */
	other = submit(SPIN, 0, DEADLINE_NS + 3 * PERIOD_NS);
	assert_int_equal(chi_wait(task, TIME_MAX_NS), 0);
	assert_int_equal(task->task.result, -ETIMEDOUT);
	assert_int_equal(chi_wait(other, TIME_MAX_NS), 0);
	chi_task_free(client, other);
	chi_task_free(client, task);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stage_stop)
	const struct CMUnitTest tests[] = {
		CASE(runs_are_due_at_the_first_start_and_whole_periods_after_it),
		CASE(missed_runs_are_left_out_and_counted),
		CASE(each_run_has_the_deadline_anew),
		CASE(a_run_that_cannot_start_by_its_deadline_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
