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
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/ipc_manager.h"
#include "runtime/thread_stack.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "support/rest.h"
#include "support/skip.h"

#define MS	    HSHM_NSEC_PER_MSEC
#define SOON_NS	    (20 * HSHM_NSEC_PER_SEC)
#define WORKERS_MAX 6u
#define LOGGED	    4u /* a second */

/* Not a method: a work in the inbox holds the worker in its own loop as well as a module's monitor() does. */
struct held {
	struct chi_work work;
	hshm_au32 is_there, is_deaf, gate;
};

static struct chi_runtime *runtime;
static struct chi_client *client;
static struct chi_watchdog *watchdog;
static struct held held[WORKERS_MAX];
static uint32_t n_workers;
static uint64_t now_ns;
static char log_path[256], log_text[65536];

static void hear(bool hears)
{
	sigset_t urgent;

	sigemptyset(&urgent);
	sigaddset(&urgent, CHI_STACK_SIGNAL);
	pthread_sigmask(hears ? SIG_UNBLOCK : SIG_BLOCK, &urgent, NULL);
}

static void hold(struct chi_worker *worker, struct chi_work *work)
{
	struct held *self = (struct held *)(void *)work;
	bool is_deaf = hshm_load_relaxed(&self->is_deaf) != 0;

	(void)worker;
	if (is_deaf)
		hear(false);
	hshm_store_release(&self->is_there, 1);
	while (!hshm_load_acquire(&self->gate)) {
		if (is_deaf && !hshm_load_acquire(&self->is_deaf)) {
			is_deaf = false;
			hear(true);
		}
		usleep(200);
	}
	hshm_store_release(&self->is_there, 0);
}

static struct chi_worker *worker_of(uint32_t i)
{
	return chi_work_orch_worker(runtime->orch, i);
}

static uint64_t n_hangs(void)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < n_workers; i++)
		n += hshm_load_relaxed(&worker_of(i)->counters->hangs);
	return n;
}

/* ---- the log ---- */

static uint32_t n_in_log(const char *text)
{
	FILE *file = fopen(log_path, "re");
	size_t n_bytes = file ? fread(log_text, 1, sizeof(log_text) - 1, file) : 0;
	uint32_t n = 0;

	if (file)
		fclose(file);
	log_text[n_bytes] = '\0';
	for (const char *at = log_text; (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* ---- begin and end ---- */

static int start_runtime(uint32_t n, bool handle_faults)
{
	char config[1024];
	struct chi_runtime_opts opts = CHI_RUNTIME_OPTS(.config_text = config, .handle_faults = handle_faults);

	snprintf(log_path, sizeof(log_path), "%s/watchdog.log", getenv("XDG_RUNTIME_DIR"));
	unlink(log_path);
	snprintf(config, sizeof(config),
		 "log_level: warn\nlog_file: %s\nworkers: { count: %u }\nmemory: { private_mib: 256 }\n"
		 "watchdog: { hang_ms: 0 }\n",
		 log_path, n);
	n_workers = n;
	if (chi_runtime_start(&opts, &runtime) < 0 || chi_runtime_client(runtime, NULL, &client) < 0) {
		print_error("%s\n", chi_error_text());
		return -1;
	}
	runtime->config.hang_ns = 1000 * MS;
	return chi_watchdog_create(runtime, &watchdog);
}

/* A worker stays where it is, once it is there. */
static void hold_worker(uint32_t i, bool is_deaf)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	held[i] = (struct held){ .work.fn = hold };
	hshm_store_relaxed(&held[i].is_deaf, is_deaf);
	chi_worker_post(worker_of(i), &held[i].work);
	while (!hshm_load_acquire(&held[i].is_there)) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(200);
	}
}

/* The looks come faster than a worker goes on: one that is awake would hang. */
static void await_rest(uint32_t i)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	while (!worker_rests(worker_of(i))) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(200);
	}
}

static void let_go(uint32_t i)
{
	hshm_store_release(&held[i].gate, 1);
	await_rest(i);
}

static void look_first(void)
{
	now_ns = hshm_clock_ns();
	(void)chi_watchdog_look(watchdog, now_ns);
}

/* All of them stay where they are, and the first look at them. */
static int start_held(uint32_t n, bool handle_faults)
{
	if (start_runtime(n, handle_faults) < 0)
		return -1;
	for (uint32_t i = 0; i < n; i++)
		hold_worker(i, false);
	look_first();
	return 0;
}

static int start(void **state)
{
	(void)state;
	return start_held(1, false);
}

static int stop(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < n_workers; i++)
		hshm_store_release(&held[i].gate, 1);
	chi_watchdog_destroy(watchdog);
	watchdog = NULL;
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
	let_go(0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(look_after(1000), 1000 * MS);
	assert_int_equal(n_hangs(), 0);
}

static int start_many(void **state)
{
	(void)state;
	return start_held(WORKERS_MAX, false);
}

static void look_until_found(uint32_t n)
{
	for (int i = 0; i < 4; i++)
		look_after(250);
	assert_int_equal(n_hangs(), n);
}

/* Those of which nothing was told do not come back in the log either. */
static void of_many_hangs_at_once_some_are_told_and_all_counted(void **state)
{
	(void)state;
	look_until_found(WORKERS_MAX);
	assert_int_equal(n_in_log("has not come back for"), LOGGED);
	for (uint32_t i = 0; i < WORKERS_MAX; i++)
		let_go(i);
	look_after(250);
	assert_int_equal(n_in_log("came back after"), LOGGED);
	assert_int_equal(n_hangs(), WORKERS_MAX);
}

/* ---- workers that have ended ---- */

static void say_ended(uint32_t i, bool has_ended)
{
	hshm_store_release(&worker_of(i)->ended, has_ended);
}

static void a_worker_that_has_ended_does_not_hang(void **state)
{
	(void)state;
	say_ended(0, true);
	for (int i = 0; i < 8; i++)
		look_after(250);
	assert_int_equal(n_hangs(), 0);
	say_ended(0, false);
}

static uint32_t n_lanes_of(uint32_t i)
{
	uint32_t n;

	pthread_mutex_lock(&worker_of(i)->lanes_lock);
	n = worker_of(i)->n_lanes;
	pthread_mutex_unlock(&worker_of(i)->lanes_lock);
	return n;
}

static int start_two_hold_one(void **state)
{
	(void)state;
	if (start_runtime(2, false) < 0)
		return -1;
	hold_worker(0, false);
	await_rest(1);
	look_first();
	return 0;
}

static void lanes_go_to_no_worker_that_has_ended(void **state)
{
	static char method;
	uint32_t n_before = n_lanes_of(0), n_other = n_lanes_of(1), n_moved;

	(void)state;
	if (chi_lane_take_init() < 0)
		skip_because("no membarrier()");
	assert_true(n_before > 0);
	look_until_found(1);
	/* it touches no list of lanes where we hold it: as good as in a method */
	hshm_store_release(&worker_of(0)->running, &method);
	say_ended(1, true);
	assert_int_equal(chi_worker_take_lanes(worker_of(0), 100), 0);
	assert_int_equal(n_lanes_of(0), n_before);
	say_ended(1, false);
	n_moved = chi_worker_take_lanes(worker_of(0), 100);
	hshm_store_release(&worker_of(0)->running, NULL);
	assert_true(n_moved > 0);
	assert_int_equal(n_lanes_of(0), n_before - n_moved);
	assert_int_equal(n_lanes_of(1), n_other + n_moved);
}

/* ---- clients that end while a worker hangs ---- */

#define N_CLIENTS 8u
#define N_KINDS	  4u /* of reasons why a lane stays */

static struct chi_client *ended[N_CLIENTS];
static char method; /* as good as one: where we hold the worker it touches no list of lanes */

/* Half of the clients have their lane at the worker that is held. */
static int start_with_clients(void **state)
{
	(void)state;
	if (start_runtime(2, false) < 0)
		return -1;
	for (uint32_t i = 0; i < N_CLIENTS; i++)
		if (chi_runtime_client(runtime, NULL, &ended[i]) < 0 || chi_flush(ended[i]) < 0)
			return -1;
	hold_worker(0, false);
	await_rest(1);
	look_first();
	look_until_found(1);
	return 0;
}

static void end_clients(void)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	for (uint32_t i = 0; i < N_CLIENTS; i++)
		chi_client_disconnect(ended[i]);
	/* relaxed: whoever looks at it takes it */
	while (!hshm_load_relaxed(&worker_of(0)->retires)) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(200);
	}
}

static void retire_until_left(uint32_t n_clients)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);
	uint32_t n;

	while ((n = chi_ipc_n_sessions(runtime->ipc)) != n_clients) {
		assert_true(n > n_clients && hshm_clock_ns() < deadline_ns);
		chi_watchdog_retire(watchdog);
		usleep(200);
	}
}

/* One of each client. */
static uint32_t client_lanes_of(uint32_t i, struct chi_lane **lanes, uint32_t n_max)
{
	uint32_t n = 0;

	pthread_mutex_lock(&worker_of(i)->lanes_lock);
	for (uint32_t k = 0; k < worker_of(i)->n_lanes && n < n_max; k++)
		if (worker_of(i)->lanes[k]->session && worker_of(i)->lanes[k]->own.priority == CHI_PRIO_LOW_LATENCY)
			lanes[n++] = worker_of(i)->lanes[k];
	pthread_mutex_unlock(&worker_of(i)->lanes_lock);
	return n;
}

static void skip_without_membarrier(void)
{
	if (chi_lane_take_init() < 0)
		skip_because("no membarrier()");
}

static void ended_clients_do_not_wait_for_a_worker_that_hangs_in_a_method(void **state)
{
	struct chi_lane *lanes[N_CLIENTS];

	(void)state;
	skip_without_membarrier();
	assert_int_equal(client_lanes_of(0, lanes, N_CLIENTS), N_CLIENTS / 2);
	hshm_store_release(&worker_of(0)->running, &method);
	end_clients();
	retire_until_left(1);
	assert_int_equal(client_lanes_of(0, lanes, N_CLIENTS), 0);
	assert_int_equal(chi_worker_retire_for(worker_of(0)), 0);
	look_after(250);
	assert_int_equal(n_in_log("clients that ended wait"), 0);
	hshm_store_release(&worker_of(0)->running, NULL);
}

static void nobody_stands_in_for_a_worker_outside_its_methods(void **state)
{
	(void)state;
	skip_without_membarrier();
	end_clients();
	for (int i = 0; i < 10; i++) {
		look_after(250);
		assert_non_null(hshm_load_relaxed(&worker_of(0)->retires));
	}
	assert_int_equal(n_in_log("all clients that end wait for worker 0"), 1);
	let_go(0);
	retire_until_left(1);
}

static void set_reason(struct chi_lane *lane, uint32_t kind, bool set)
{
	static struct chi_run_context stalled;

	if (kind == 0)
		worker_of(0)->turn = set ? lane : NULL;
	else if (kind == 1)
		lane->parked = set;
	else if (kind == 2)
		lane->stalled = set ? &stalled : NULL;
	else
		hshm_store_release(&lane->move_to, set);
}

/* The others may have gone before the last of them was heard. */
static void await_staying(uint32_t n_clients)
{
	uint64_t deadline_ns = hshm_deadline_ns(SOON_NS);

	while (chi_worker_retire_for(worker_of(0)) != n_clients) {
		assert_true(hshm_clock_ns() < deadline_ns);
		usleep(200);
	}
}

/* In its turn; parked; with a task that waits for room; about to be moved. */
static void clients_whose_lane_the_worker_holds_wait_and_no_others(void **state)
{
	struct chi_lane *lanes[N_KINDS];

	(void)state;
	skip_without_membarrier();
	assert_int_equal(client_lanes_of(0, lanes, N_KINDS), N_KINDS);
	for (uint32_t kind = 0; kind < N_KINDS; kind++)
		set_reason(lanes[kind], kind, true);
	hshm_store_release(&worker_of(0)->running, &method);
	end_clients();
	retire_until_left(1 + N_KINDS);
	await_staying(N_KINDS);
	look_after(250);
	look_after(250);
	assert_int_equal(n_in_log("4 clients that ended wait for worker 0"), 1);
	for (uint32_t kind = 0; kind < N_KINDS; kind++) {
		assert_int_equal(chi_worker_retire_for(worker_of(0)), N_KINDS - kind);
		set_reason(lanes[kind], kind, false);
		look_after(250); /* what had to stay is tried again at a look */
		retire_until_left(N_KINDS - kind);
	}
	hshm_store_release(&worker_of(0)->running, NULL);
}

/* ---- the stack of a thread ---- */

static int start_two_one_deaf(void **state)
{
	(void)state;
	if (start_runtime(2, true) < 0)
		return -1;
	hold_worker(0, true);
	hold_worker(1, false);
	look_first();
	return 0;
}

static bool place_is_free(void)
{
	int rc = chi_stack_ask((pid_t)syscall(SYS_gettid));

	if (rc == 0)
		chi_stack_withdraw();
	return rc == 0;
}

/* ThreadSanitizer holds a signal back until the thread calls into its library. */
static bool signals_are_held_back(void)
{
	const char *sanitize = getenv("CHI_TEST_SANITIZE");

	return sanitize && strstr(sanitize, "thread");
}

static void a_worker_that_comes_back_withdraws_no_other_question(void **state)
{
	(void)state;
	if (signals_are_held_back())
		skip_because("ThreadSanitizer holds signals back");
	look_until_found(2); /* the first one is asked, and hears nothing */
	assert_false(place_is_free());
	let_go(1);
	look_after(5);
	assert_int_equal(n_in_log("watchdog: worker 1 came back after"), 1);
	assert_false(place_is_free());
	hshm_store_release(&held[0].is_deaf, 0);
	/* less than the second for which it is waited for, by the test's clock */
	for (int i = 0; i < 100 && !n_in_log("watchdog: worker 0 has not come back"); i++) {
		usleep(10000);
		look_after(5);
	}
	assert_int_equal(n_in_log("from no method that it stays in (a module's monitor()?), its stack:"), 1);
	assert_true(n_in_log("watchdog: worker 0: #0 ") == 1);
	assert_true(place_is_free());
}

static void a_question_ends_with_its_watchdog(void **state)
{
	(void)state;
	look_until_found(2);
	assert_false(place_is_free());
	chi_watchdog_destroy(watchdog);
	watchdog = NULL;
	assert_true(place_is_free());
}

static void a_question_without_an_answer_ends_after_a_second(void **state)
{
	(void)state;
	look_until_found(2);
	look_after(999);
	assert_int_equal(n_in_log("watchdog: worker 0 has not come back"), 0);
	assert_false(place_is_free());
	look_after(1);
	assert_int_equal(n_in_log("watchdog: worker 0 has not come back"), 1);
	assert_true(n_in_log("; its thread did not answer, so no stack") >= 1);
	assert_true(place_is_free());
}

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
		cmocka_unit_test_setup_teardown(of_many_hangs_at_once_some_are_told_and_all_counted, start_many, stop),
		cmocka_unit_test_setup_teardown(ended_clients_do_not_wait_for_a_worker_that_hangs_in_a_method,
						start_with_clients, stop),
		cmocka_unit_test_setup_teardown(nobody_stands_in_for_a_worker_outside_its_methods, start_with_clients,
						stop),
		cmocka_unit_test_setup_teardown(clients_whose_lane_the_worker_holds_wait_and_no_others,
						start_with_clients, stop),
		cmocka_unit_test_setup_teardown(a_worker_that_has_ended_does_not_hang, start, stop),
		cmocka_unit_test_setup_teardown(lanes_go_to_no_worker_that_has_ended, start_two_hold_one, stop),
		cmocka_unit_test_setup_teardown(a_worker_that_comes_back_withdraws_no_other_question,
						start_two_one_deaf, stop),
		cmocka_unit_test_setup_teardown(a_question_ends_with_its_watchdog, start_two_one_deaf, stop),
		cmocka_unit_test_setup_teardown(a_question_without_an_answer_ends_after_a_second, start_two_one_deaf,
						stop),
		cmocka_unit_test_setup_teardown(a_thread_that_does_not_answer_holds_nobody_up, start, stop),
		cmocka_unit_test(a_late_signal_is_ours_and_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
