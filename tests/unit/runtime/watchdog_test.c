/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watchdog_test.c - when a worker counts as hanging: looks at times of the test's own
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include "runtime/watchdog.h"

#include <chimaera/chimaera.h>
#include <errno.h>
#include <hshm/clock.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/thread_stack.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define MS HSHM_NSEC_PER_MSEC

static struct chi_runtime *runtime;
static struct chi_client *client;
static struct chi_watchdog *watchdog;
static hshm_au32 gate;
static uint64_t now_ns;

/* Not a method: a work in the inbox holds the worker in its own loop as well as a module's monitor() does. */
static void hold(struct chi_worker *worker, struct chi_work *work)
{
	(void)worker, (void)work;
	while (!hshm_load_acquire(&gate))
		usleep(200);
}

static struct chi_work held = { .fn = hold };

static uint64_t n_hangs(void)
{
	return hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, 0)->counters->hangs);
}

static bool is_awake(void)
{
	return !hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, 0)->doorbell.sleeping);
}

/* One worker that stays where it is, and the first look at it. */
static int start(void **state)
{
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = "log_level: error\nworkers: { count: 1 }\n"
								       "memory: { private_mib: 256 }\n"
								       "watchdog: { hang_ms: 0 }\n");

	(void)state;
	if (chi_runtime_start(&opts, &runtime) < 0 || chi_runtime_client(runtime, NULL, &client) < 0)
		return -1;
	runtime->config.hang_ns = 1000 * MS;
	if (chi_watchdog_create(runtime, &watchdog) < 0)
		return -1;
	hshm_store_relaxed(&gate, 0);
	chi_worker_post(chi_work_orch_worker(runtime->orch, 0), &held);
	while (!is_awake())
		usleep(200);
	usleep(20000); /* from awake to its inbox; too early, the looks begin once more */
	now_ns = hshm_clock_ns();
	(void)chi_watchdog_look(watchdog, now_ns);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	hshm_store_release(&gate, 1);
	chi_watchdog_destroy(watchdog);
	chi_client_disconnect(client);
	return chi_runtime_stop(runtime, HSHM_NSEC_PER_SEC, NULL);
}

static uint64_t look_after(uint64_t ms)
{
	now_ns += ms * MS;
	return chi_watchdog_look(watchdog, now_ns) - now_ns;
}

/* Until hang_ms have passed in looks of a period each. */
static void the_same_for_hang_ms_is_a_hang_and_counted_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(look_after(250), 250 * MS);
	assert_int_equal(n_hangs(), 0);
	look_after(250);
	assert_int_equal(n_hangs(), 1);
	for (int i = 0; i < 8; i++)
		look_after(250);
	assert_int_equal(n_hangs(), 1);
}

/* The whole process was stopped: the worker had no more time than the watchdog. */
static void a_late_look_is_no_hang(void **state)
{
	(void)state;
	look_after(3600 * 1000);
	assert_int_equal(n_hangs(), 0);
	look_after(250);
	assert_int_equal(n_hangs(), 0);
	look_after(250);
	assert_int_equal(n_hangs(), 1);
}

static void a_worker_that_sleeps_does_not_hang_and_is_looked_at_less_often(void **state)
{
	(void)state;
	hshm_store_release(&gate, 1);
	while (is_awake())
		usleep(200);
	for (int i = 0; i < 8; i++)
		assert_int_equal(look_after(1000), 1000 * MS);
	assert_int_equal(n_hangs(), 0);
}

/* ---- the stack of a thread ---- */

static void a_thread_that_does_not_answer_holds_nobody_up(void **state)
{
	struct chi_stack stack;

	(void)state;
	/* without handle_faults there is no handler, and the worker blocks the signal */
	assert_int_equal(chi_stack_ask(chi_work_orch_worker(runtime->orch, 0)->tid), 0);
	assert_int_equal(chi_stack_ask(chi_work_orch_worker(runtime->orch, 0)->tid), -EBUSY);
	assert_false(chi_stack_take(&stack));
	chi_stack_withdraw();
	assert_int_equal(chi_stack_ask(chi_work_orch_worker(runtime->orch, 0)->tid), 0);
	chi_stack_withdraw();
}

static void a_late_signal_is_ours_and_writes_nothing(void **state)
{
	siginfo_t info = { .si_code = SI_USER };
	struct chi_stack stack;

	(void)state;
	assert_false(chi_stack_on_signal(&info, NULL));
	info.si_code = SI_QUEUE; /* anybody's */
	assert_false(chi_stack_on_signal(&info, NULL));
	assert_false(chi_stack_take(&stack));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_same_for_hang_ms_is_a_hang_and_counted_once, start, stop),
		cmocka_unit_test_setup_teardown(a_late_look_is_no_hang, start, stop),
		cmocka_unit_test_setup_teardown(a_worker_that_sleeps_does_not_hang_and_is_looked_at_less_often, start,
						stop),
		cmocka_unit_test_setup_teardown(a_thread_that_does_not_answer_holds_nobody_up, start, stop),
		cmocka_unit_test(a_late_signal_is_ours_and_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
