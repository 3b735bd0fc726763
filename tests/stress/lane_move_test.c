/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_move_test.c - lanes change their workers at random, by their owners and while those are in a method, while clients, methods, parking, ending clients and ending pools go
 * on: each task runs once, and those of a lane start in the order of their submission
 *
 * CHI_STRESS_SECONDS (3); CHI_STRESS_SEED repeats a run's choices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#include <chimaera/chimaera.h>
#include <chimaera/runtime.h>
#include <errno.h>
#include <hshm/thread_model.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "../modules/probe.h"
#include "runtime/runtime.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define N_WORKERS   3u
#define N_ORDERED   3u /* threads, each with a container and a client of its own */
#define N_AT_ONCE   48u
#define WAIT_NS	    (60 * HSHM_NSEC_PER_SEC)
#define N_CASES	    2u
#define N_CHURN_MAX 32u

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;
static uint64_t seed, case_ns, end_ns;
static hshm_au32 n_wrong;
static hshm_au64 n_added;
static hshm_au64 n_taken; /* the taker's */

/* relaxed: seen soon is enough. Without a lane taken it goes on: on a busy machine the taker may come late; ctest ends it. */
static bool goes_on(void)
{
	return (hshm_clock_ns() < end_ns || !hshm_load_relaxed(&n_taken)) && !hshm_load_relaxed(&n_wrong);
}

static void wrong(const char *what, int ret)
{
	fprintf(stderr, "%s: %d: %s\n", what, ret, chi_error_text());
	hshm_fetch_add_relaxed(&n_wrong, 1); /* relaxed: read again after the join */
}

static struct chi_client *new_client(void)
{
	struct chi_client *mine;

	if (chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &mine) < 0)
		abort();
	return mine;
}

static struct probe_task *new_task(struct chi_client *of, uint64_t container, uint32_t method)
{
	struct probe_task *task;

	if (chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(container), method, &task) < 0)
		abort();
	return task;
}

static int submit(struct chi_client *of, struct probe_task *task)
{
	int ret;

	while ((ret = chi_submit(of, task)) == -EAGAIN)
		chi_yield();
	return ret;
}

/* Keeps many tasks with rising numbers under way through one client lane and one container lane. */
static void *ordered_thread(void *arg)
{
	uint64_t container = (uint64_t)(uintptr_t)arg, next = 0;
	struct probe_task *tasks[N_AT_ONCE];
	struct chi_client *mine = new_client();

	for (uint32_t i = 0; i < N_AT_ONCE; i++)
		tasks[i] = new_task(mine, container, PROBE_ORDER);
	for (uint32_t i = 0; goes_on() || next % N_AT_ONCE; i = (i + 1) % N_AT_ONCE) {
		int ret = next >= N_AT_ONCE ? chi_wait(tasks[i], WAIT_NS) : 0;

		if (ret == 0) {
			tasks[i]->in = next++;
			tasks[i]->count = next % 64 == 0;
			ret = submit(mine, tasks[i]);
		}
		if (ret < 0) {
			wrong("ordered", ret);
			return NULL;
		}
	}
	if (next && chi_wait_all((void **)tasks, N_AT_ONCE, WAIT_NS) < 0)
		wrong("ordered, at the end", -1);
	for (uint32_t i = 0; i < N_AT_ONCE; i++)
		chi_task_free(mine, tasks[i]);
	chi_client_disconnect(mine);
	return NULL;
}

/* Methods that submit from workers to a container's lane, full at times. */
static void *flood_thread(void *arg)
{
	struct chi_client *mine = new_client();
	uint64_t container = N_ORDERED;

	(void)arg;
	while (goes_on()) {
		struct probe_task *task = new_task(mine, container, PROBE_FLOOD);
		int ret;

		task->in = N_ORDERED;
		task->count = 40;
		ret = submit(mine, task);
		if (ret == 0)
			ret = chi_wait(task, WAIT_NS);
		if (ret < 0 || task->task.result < 0) {
			wrong("flood", ret);
			return NULL;
		}
		hshm_fetch_add_relaxed(&n_added, 40);
		chi_task_free(mine, task);
	}
	chi_client_disconnect(mine);
	return NULL;
}

/* Clients and pools that come and go, with tasks on their way. */
static void *churn_thread(void *arg)
{
	struct chi_pool_spec spec = { .module = "probe", .name = "churn", .n_containers = 2 };

	(void)arg;
	while (goes_on()) {
		struct chi_client *mine = new_client();
		uint32_t mine_pool;

		if (chi_pool_create(mine, &spec, &mine_pool) < 0) {
			wrong("churn", -1);
			return NULL;
		}
		for (uint32_t i = 0; i < N_CHURN_MAX; i++) {
			struct probe_task *task = new_task(mine, i % N_ORDERED, PROBE_NEST);

			task->count = 1;
			if (submit(mine, task) < 0)
				wrong("churn, submit", -1);
		}
		if (chi_pool_destroy(mine, mine_pool) < 0)
			wrong("churn, destroy", -1);
		chi_client_disconnect(mine); /* with what is not done yet */
	}
	return NULL;
}

/* As the balancer does: a lane found in its worker's list, under that list's lock. */
static void *mover_thread(void *arg)
{
	unsigned int random = (unsigned int)seed;

	(void)arg;
	while (goes_on()) {
		struct chi_worker *from = chi_work_orch_worker(runtime->orch, (uint32_t)rand_r(&random) % N_WORKERS);

		pthread_mutex_lock(&from->lanes_lock);
		if (from->n_lanes &&
		    chi_work_orch_remap_lane(runtime->orch, from->lanes[(uint32_t)rand_r(&random) % from->n_lanes],
					     (uint32_t)rand_r(&random) % N_WORKERS) < 0)
			wrong("mover", -1);
		pthread_mutex_unlock(&from->lanes_lock);
		if (rand_r(&random) % 16 == 0)
			HSHM_THREAD_MODEL->sleep_for_us(50);
	}
	return NULL;
}

/* As the watchdog does with a worker that hangs: here with any that is in a method just now. */
static void *taker_thread(void *arg)
{
	unsigned int random = (unsigned int)seed + 1;

	(void)arg;
	while (goes_on()) {
		struct chi_worker *from = chi_work_orch_worker(runtime->orch, (uint32_t)rand_r(&random) % N_WORKERS);

		hshm_fetch_add_relaxed(&n_taken, chi_worker_take_lanes(from, (uint32_t)rand_r(&random) % 8 + 1));
		(void)chi_worker_retire_for(chi_work_orch_worker(runtime->orch, (uint32_t)rand_r(&random) % N_WORKERS));
		if (rand_r(&random) % 16 == 0)
			HSHM_THREAD_MODEL->sleep_for_us(50);
	}
	return NULL;
}

static uint64_t ask(uint64_t container, uint64_t what)
{
	struct probe_task *task = new_task(client, container, PROBE_COUNTS);
	uint64_t out;

	task->in = what;
	assert_int_equal(chi_call(client, task), 0);
	out = task->out;
	chi_task_free(client, task);
	return out;
}

static void move_at_random(bool in_place)
{
	unsigned char n_lanes = 1;
	struct chi_pool_spec spec = {
		.module = "probe", .n_containers = N_ORDERED + 1, .params = &n_lanes, .params_size = 1
	};
	pthread_t threads[N_ORDERED + 4];
	uint64_t n_moved = 0, n_parks = 0, n_given_up = 0;
	char config[512];

	/* small lanes, so that some are full; short active queues, so that some are swept */
	snprintf(config, sizeof(config),
		 "workers: { count: %u, run_in_place: %s, active_depth: 2, hot_lanes: 2 }\n"
		 "memory: { private_mib: 512, lane_depth: 16 }\n"
		 "clients: { memory_mib: 64, lane_depth: 64, contexts: 40 }\n",
		 N_WORKERS, in_place ? "true" : "false");
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0)
		fail_msg("%s", chi_error_text());
	client = new_client();
	if (chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s", chi_error_text());
	assert_int_equal(chi_lane_take_init(), 0);
	hshm_store_relaxed(&n_taken, 0);
	hshm_store_relaxed(&n_added, 0);
	end_ns = hshm_clock_ns() + case_ns;
	for (uint32_t i = 0; i < N_ORDERED; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ordered_thread, (void *)(uintptr_t)i), 0);
	assert_int_equal(pthread_create(&threads[N_ORDERED], NULL, flood_thread, NULL), 0);
	assert_int_equal(pthread_create(&threads[N_ORDERED + 1], NULL, churn_thread, NULL), 0);
	assert_int_equal(pthread_create(&threads[N_ORDERED + 2], NULL, mover_thread, NULL), 0);
	assert_int_equal(pthread_create(&threads[N_ORDERED + 3], NULL, taker_thread, NULL), 0);
	for (uint32_t i = 0; i < N_ORDERED + 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(hshm_load_relaxed(&n_wrong), 0);
	assert_int_equal(chi_flush(client), 0);
	for (uint32_t i = 0; i < N_ORDERED; i++)
		assert_int_equal(ask(i, 2), 0);
	assert_int_equal(ask(N_ORDERED, 0), hshm_load_relaxed(&n_added));
	for (uint32_t i = 0; i < N_WORKERS; i++) {
		n_moved += hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, i)->counters->lanes_moved);
		n_parks += hshm_load_relaxed(&chi_work_orch_worker(runtime->orch, i)->counters->parks);
	}
	print_message("%ju moves, %ju of them taken, %ju parks\n", (uintmax_t)n_moved,
		      (uintmax_t)hshm_load_relaxed(&n_taken), (uintmax_t)n_parks);
	assert_true(n_moved > hshm_load_relaxed(&n_taken) && n_parks > 0);
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, WAIT_NS, &n_given_up), 0);
	assert_int_equal(n_given_up, 0);
}

static void lanes_move_while_tasks_run_in_place(void **state)
{
	(void)state;
	move_at_random(true);
}

static void lanes_move_while_tasks_go_through_them(void **state)
{
	(void)state;
	move_at_random(false);
}

int main(void)
{
	const char *seconds = getenv("CHI_STRESS_SECONDS"), *given = getenv("CHI_STRESS_SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lanes_move_while_tasks_run_in_place),
		cmocka_unit_test(lanes_move_while_tasks_go_through_them),
	};

	case_ns = (uint64_t)((seconds && atof(seconds) > 0 ? atof(seconds) : 3) * 1e9) / N_CASES;
	seed = given ? strtoull(given, NULL, 0) : hshm_clock_ns();
	print_message("CHI_STRESS_SEED=%ju\n", (uintmax_t)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
