/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scheduling_test.c - what the configuration and the kind of a lane promise about when and where tasks run
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
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../modules/probe.h"

#define N_CONTAINERS 4

static struct chi_runtime *runtime;
static struct chi_client *client;
static uint32_t pool;

static uint32_t contexts_max = 4096;

static void start(const char *workers)
{
	struct chi_client_opts client_opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID);
	struct chi_pool_spec spec = { .module = "probe", .n_containers = N_CONTAINERS };
	char config[512];

	snprintf(config, sizeof(config),
		 "workers: { %s }\nmemory: { private_mib: 512 }\n"
		 "clients: { memory_mib: 64, lane_depth: 1024, contexts: %u }\n",
		 workers, contexts_max);
	if (chi_runtime_start(&CHI_RUNTIME_OPTS(.config_text = config), &runtime) < 0 ||
	    chi_runtime_client(runtime, &client_opts, &client) < 0 || chi_pool_create(client, &spec, &pool) < 0)
		fail_msg("%s: %s", workers, chi_error_text());
}

static void stop(void)
{
	chi_client_disconnect(client);
	assert_int_equal(chi_runtime_stop(runtime, 5 * HSHM_NSEC_PER_SEC, NULL), 0);
}

static struct probe_task *new_task(struct chi_client *of, uint32_t method, uint64_t in)
{
	struct probe_task *task;

	if (chi_task_alloc(of, sizeof(*task), pool, CHI_QUERY_LOCAL_ID(0), method, &task))
		abort();
	task->in = in;
	return task;
}

static struct chi_worker_counters counters_of_worker_0(void)
{
	struct chi_worker_counters counters;
	struct chi_runtime_info *info = malloc(sizeof(*info));

	assert_non_null(info);
	assert_int_equal(chi_client_runtime_info(client, info), 0);
	counters = info->workers[0];
	free(info);
	return counters;
}

/* ---- latency ---- */

#define N_BUSY_TASKS 300
#define BUSY_NS	     20000

static hshm_au32 busy_enough, busy_started;

/* keeps low-latency tasks in flight: the oldest that ends is submitted anew */
static void *keep_busy(void *arg)
{
	struct probe_task *tasks[N_BUSY_TASKS];
	struct chi_client *mine;

	(void)arg;
	if (chi_runtime_client(runtime, &CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_HYBRID), &mine))
		abort();
	for (uint32_t i = 0; i < N_BUSY_TASKS; i++) {
		tasks[i] = new_task(mine, PROBE_SPIN, BUSY_NS);
		if (chi_submit(mine, tasks[i]))
			abort();
	}
	hshm_fetch_add_acq_rel(&busy_started, 1);
	for (uint32_t i = 0; !hshm_load_acquire(&busy_enough); i = (i + 1) % N_BUSY_TASKS) {
		if (chi_wait(tasks[i], 10 * HSHM_NSEC_PER_SEC))
			abort();
		chi_task_free(mine, tasks[i]);
		tasks[i] = new_task(mine, PROBE_SPIN, BUSY_NS);
		if (chi_submit(mine, tasks[i]))
			abort();
	}
	for (uint32_t i = 0; i < N_BUSY_TASKS; i++) {
		if (chi_wait(tasks[i], 10 * HSHM_NSEC_PER_SEC))
			abort();
		chi_task_free(mine, tasks[i]);
	}
	chi_client_disconnect(mine);
	return NULL;
}

#define N_BETWEEN_MAX 5000u /* a few turns of each lane */
#define ROUNDS_MAX    4u

static uint64_t n_run_by_worker_0(void)
{
	struct chi_worker_counters counters = counters_of_worker_0();

	return hshm_load_relaxed(&counters.tasks); /* relaxed: a copy */
}

/* How many tasks the worker ran from its submit to its answer. */
static uint64_t n_run_during_a_high_latency_task(void)
{
	struct probe_task *task = new_task(client, PROBE_ADD, 41);
	uint64_t before = n_run_by_worker_0();

	task->task.flags = CHI_TASK_HIGH_LATENCY;
	assert_int_equal(chi_submit(client, task), 0);
	/* starved, it would take as long as the others are busy; it is not ours to free then */
	if (chi_wait(task, 2 * HSHM_NSEC_PER_SEC) < 0)
		return UINT64_MAX;
	assert_int_equal(task->out, 42);
	chi_task_free(client, task);
	return n_run_by_worker_0() - before;
}

/* Now and then the others have no processor, and nothing in their lanes. Or we have none, and see the answer late. */
static void high_latency_tasks_are_never_starved(void **state)
{
	pthread_t threads[2];
	uint32_t round = 0;

	(void)state;
	start("count: 1");
	hshm_store_relaxed(&busy_enough, 0);
	hshm_store_relaxed(&busy_started, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_busy, NULL), 0);
	while (hshm_load_acquire(&busy_started) != 2)
		usleep(1000);
	while (round < ROUNDS_MAX && n_run_during_a_high_latency_task() > N_BETWEEN_MAX)
		round++;
	hshm_store_release(&busy_enough, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_true(round < ROUNDS_MAX);
	stop();
}

/* ---- broadcast ---- */

static void a_broadcast_submitted_twice_folds_to_the_same(void **state)
{
	struct probe_task *task;

	(void)state;
	start("count: 2");
	assert_int_equal(chi_task_alloc(client, sizeof(*task), pool, CHI_QUERY_GLOBAL_BCAST(), PROBE_SUM, &task), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(chi_call(client, task), 0);
		assert_int_equal(task->out, 0 + 1 + 2 + 3);
		assert_int_equal(task->out2, N_CONTAINERS);
	}
	chi_task_free(client, task);
	stop();
}

/* A task for one container, by another client: the first one may be at its cap. */
static uint64_t ask(struct chi_client *other, uint32_t container, enum probe_method method, uint64_t in)
{
	struct probe_task *task;
	uint64_t out;

	assert_int_equal(chi_task_alloc(other, sizeof(*task), pool, CHI_QUERY_GLOBAL_ID(container), method, &task), 0);
	task->in = in;
	assert_int_equal(chi_call(other, task), 0);
	out = task->out;
	chi_task_free(other, task);
	return out;
}

static bool is_at_gate(struct chi_client *other, uint32_t container)
{
	return ask(other, container, PROBE_COUNTS, 3) == 1;
}

static void open_gate(struct chi_client *other, uint32_t container)
{
	ask(other, container, PROBE_GATE_OPEN, 1);
}

static void parts_of_a_broadcast_stand_under_the_cap_on_run_contexts(void **state)
{
	struct chi_client *other;
	struct probe_task *task;

	(void)state;
	contexts_max = 3;
	start("count: 2");
	assert_int_equal(chi_runtime_client(runtime, NULL, &other), 0);
	/* it has asked nothing yet: the run context of what the first client asked may still be counted */
	task = new_task(other, PROBE_GATE_WAIT, 0);
	task->task.query = CHI_QUERY_GLOBAL_BCAST();
	assert_int_equal(chi_submit(other, task), 0);
	for (uint32_t i = 0; i < 3; i++)
		while (!is_at_gate(client, i))
			;
	/* a lane is in order: had the fourth part been sent, it would have begun before our question */
	for (int i = 0; i < 100; i++)
		assert_false(is_at_gate(client, 3));
	open_gate(client, 1); /* not the oldest: it is folded after part 0 */
	for (int i = 0; i < 100; i++)
		assert_false(is_at_gate(client, 3));
	open_gate(client, 0);
	while (!is_at_gate(client, 3))
		;
	open_gate(client, 2);
	open_gate(client, 3);
	assert_int_equal(chi_wait(task, 10 * HSHM_NSEC_PER_SEC), 0);
	assert_int_equal(task->task.result, 0);
	chi_task_free(other, task);
	chi_client_disconnect(other);
	stop();
	contexts_max = 4096;
}

static void broadcasts_get_on_at_any_cap(void **state)
{
	struct probe_task *tasks[64];

	(void)state;
	for (contexts_max = 1; contexts_max <= 8; contexts_max++) {
		start("count: 2");
		for (uint32_t i = 0; i < 64; i++) {
			tasks[i] = new_task(client, PROBE_SUM, i % 8 == 7 ? 3 : 0);
			tasks[i]->task.query = CHI_QUERY_GLOBAL_BCAST();
			assert_int_equal(chi_submit(client, tasks[i]), 0);
		}
		for (uint32_t i = 0; i < 64; i++) {
			bool fails = i % 8 == 7; /* in container 2: the others are asked and folded all the same */

			assert_int_equal(chi_wait(tasks[i], 10 * HSHM_NSEC_PER_SEC), 0);
			assert_int_equal(tasks[i]->task.result, fails ? -EDOM : 0);
			assert_int_equal(tasks[i]->out, fails ? 0 + 1 + 3 : 0 + 1 + 2 + 3);
			assert_int_equal(tasks[i]->out2, fails ? N_CONTAINERS - 1 : N_CONTAINERS);
			chi_task_free(client, tasks[i]);
		}
		stop();
	}
	contexts_max = 4096;
}

/* ---- what the configuration says of workers ---- */

/* A line of /proc/self/task/<of the thread of that name>/status. */
static void thread_status(const char *thread, const char *key, char *ret_value, size_t size)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	assert_non_null(dir);
	*ret_value = '\0';
	while ((entry = readdir(dir))) {
		char path[300], line[256], name[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		while (fgets(line, sizeof(line), file)) {
			char *value = strchr(line, ':');

			line[strcspn(line, "\n")] = '\0';
			if (!value)
				continue;
			*value++ = '\0';
			value += strspn(value, " \t");
			if (strcmp(line, "Name") == 0)
				snprintf(name, sizeof(name), "%s", value);
			else if (strcmp(name, thread) == 0 && strcmp(line, key) == 0)
				snprintf(ret_value, size, "%s", value);
		}
		fclose(file);
	}
	closedir(dir);
}

static void workers_run_on_the_cpus_configured(void **state)
{
	char cpus[64];
	cpu_set_t set;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	if (!CPU_ISSET(0, &set) || !CPU_ISSET(1, &set))
		skip();
	start("count: 2, cpus: [1, 0]");
	thread_status("chi-worker-0", "Cpus_allowed_list", cpus, sizeof(cpus));
	assert_string_equal(cpus, "1");
	thread_status("chi-worker-1", "Cpus_allowed_list", cpus, sizeof(cpus));
	assert_string_equal(cpus, "0");
	stop();
}

#define N_QUEUED 256

/* How many turns N_QUEUED tasks take that stand in the lane when the worker comes to it. */
static uint64_t turns_for_queued(const char *workers)
{
	struct probe_task *tasks[N_QUEUED], *first;
	hshm_au32 *begun; /* and cleared: it may end */
	uint64_t n_turns;

	start(workers);
	first = new_task(client, PROBE_HOLD, 0);
	assert_int_equal(chi_alloc(client, sizeof(*begun), &begun), 0);
	hshm_store_relaxed(begun, 0);
	assert_int_equal(chi_buffer_set(client, &first->buffers[0], begun, sizeof(*begun), CHI_BUFFER_OUT), 0);
	assert_int_equal(chi_submit(client, first), 0);
	while (!hshm_load_acquire(begun))
		usleep(100);
	n_turns = counters_of_worker_0().turns.v;
	for (uint32_t i = 0; i < N_QUEUED; i++) {
		tasks[i] = new_task(client, PROBE_ADD, i);
		assert_int_equal(chi_submit(client, tasks[i]), 0);
	}
	hshm_store_release(begun, 0);
	assert_int_equal(chi_wait_all((void *const *)tasks, N_QUEUED, 10 * HSHM_NSEC_PER_SEC), 0);
	n_turns = counters_of_worker_0().turns.v - n_turns;
	for (uint32_t i = 0; i < N_QUEUED; i++)
		chi_task_free(client, tasks[i]);
	assert_int_equal(chi_wait(first, 10 * HSHM_NSEC_PER_SEC), 0);
	chi_task_free(client, first);
	chi_free(client, begun);
	stop();
	return n_turns;
}

static void a_turn_takes_no_more_than_the_batch(void **state)
{
	(void)state;
	/* each task stands in two lanes, its client's and its container's */
	assert_true(turns_for_queued("count: 1, run_in_place: false, lane_batch: 1") >= 2 * N_QUEUED);
	assert_in_range(turns_for_queued("count: 1, run_in_place: false, lane_batch: 64"), 2 * N_QUEUED / 64,
			N_QUEUED / 2);
}

#define PERIOD_NS (100 * HSHM_NSEC_PER_MSEC)

static void a_worker_sleeps_until_the_first_task_in_its_heap_is_due(void **state)
{
	struct chi_worker_counters before, after;
	uint64_t begin_ns, took_ns, n_periods;
	struct probe_task *task;

	(void)state;
	start("count: 1, completion_posting: false");
	task = new_task(client, PROBE_ADD, 0);
	task->task.flags = CHI_TASK_PERIODIC;
	task->task.period_ns = PERIOD_NS;
	assert_int_equal(chi_submit(client, task), 0);
	while (counters_of_worker_0().tasks.v < 2) /* the pool's making, and a run */
		usleep(1000);
	begin_ns = hshm_clock_ns();
	before = counters_of_worker_0();
	do {
		usleep(10000);
		after = counters_of_worker_0();
	} while (after.tasks.v - before.tasks.v < 5); /* ctest ends it */
	took_ns = hshm_clock_ns() - begin_ns;
	n_periods = took_ns / PERIOD_NS + 1;
	/* it woke for each start, and to look for a cancel (CHI_CANCEL_LOOK_NS), and hardly for anything else */
	assert_in_range(after.tasks.v - before.tasks.v, 5, n_periods + 1);
	assert_in_range(after.sleeps.v - before.sleeps.v, 3, 5 * n_periods);
	assert_true(after.busy_ns.v - before.busy_ns.v < took_ns / 2);
	chi_cancel(task);
	assert_int_equal(chi_wait(task, 10 * HSHM_NSEC_PER_SEC), 0);
	chi_task_free(client, task);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(high_latency_tasks_are_never_starved),
		cmocka_unit_test(a_broadcast_submitted_twice_folds_to_the_same),
		cmocka_unit_test(parts_of_a_broadcast_stand_under_the_cap_on_run_contexts),
		cmocka_unit_test(broadcasts_get_on_at_any_cap),
		cmocka_unit_test(workers_run_on_the_cpus_configured),
		cmocka_unit_test(a_turn_takes_no_more_than_the_batch),
		cmocka_unit_test(a_worker_sleeps_until_the_first_task_in_its_heap_is_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
