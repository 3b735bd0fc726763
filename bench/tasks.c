/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tasks.c - what a task costs: round trips, tasks per second, blocked tasks, and a runtime with nothing to do
 *
 * Client and runtime are two processes. But for the idle runtime there is one worker, pinned to the other CPU of the
 * ping-pong, so that the figures can be told in ping-pongs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <chimaera/task.h>

#include "bench.h"
#include "module/bench_module.h"

#define OUTSTANDING_MAX 64u
#define RATE_WINDOW	4096u
#define NEST_COUNT	64u
#define PERIODIC_TASKS	100u
#define IDLE_AIM_NS	10e6 /* in 10 s */

struct setup {
	struct bench_runtime runtime;
	struct chi_client
		*more[OUTSTANDING_MAX]; /* clients besides the first: task i is of client i, if there are so many */
	uint32_t n_more;
	struct chi_task *tasks[OUTSTANDING_MAX];
	uint32_t n_tasks;
	uint32_t next;
	int (*submit_all)(struct setup *setup);
};

static int tell(const char *what, int rc)
{
	fprintf(stderr, "chimaera-bench: %s: %s%s%s\n", what, strerror(-rc), *chi_error_text() ? ": " : "",
		chi_error_text());
	return rc;
}

static int setup_start(struct bench *bench, enum chi_wait_policy policy, struct setup *ret_setup)
{
	char config[128];

	*ret_setup = (struct setup){ 0 };
	snprintf(config, sizeof(config), "log_level: warn\nworkers:\n  count: 1\n  cpus: [%u]\n", bench->cpus[1]);
	return bench_runtime_start(bench->cpus, config, policy, &ret_setup->runtime);
}

static struct chi_client *client_of(const struct setup *setup, uint32_t task)
{
	return task > 0 && task <= setup->n_more ? setup->more[task - 1] : setup->runtime.client;
}

static int setup_add_client(struct setup *setup)
{
	struct chi_client_opts opts = CHI_CLIENT_OPTS(.wait_policy = CHI_WAIT_BUSY, .name = setup->runtime.name);
	int rc = chi_client_connect(&opts, &setup->more[setup->n_more]);

	if (rc < 0)
		return tell("another client", rc);
	setup->n_more++;
	return 0;
}

static int setup_add_task(struct setup *setup, uint32_t size_bytes, enum bench_method method)
{
	int rc = chi_task_alloc(client_of(setup, setup->n_tasks), size_bytes, setup->runtime.pool_id,
				CHI_QUERY_LOCAL_ID(0), method, &setup->tasks[setup->n_tasks]);

	if (rc < 0)
		return tell("a task", rc);
	setup->n_tasks++;
	return 0;
}

static void setup_stop(struct setup *setup)
{
	for (uint32_t i = 0; i < setup->n_tasks; i++)
		chi_task_free(client_of(setup, i), setup->tasks[i]);
	for (uint32_t i = 0; i < setup->n_more; i++)
		chi_client_disconnect(setup->more[i]);
	bench_runtime_stop(&setup->runtime);
}

/* All that a run submitted has run: by the worker's own count. */
static int setup_check(struct setup *setup, uint64_t n_expected)
{
	static struct chi_runtime_info info;
	uint64_t n_done = 0, n_failed = 0;
	int rc = chi_client_runtime_info(setup->runtime.client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	for (uint32_t i = 0; i < info.n_workers; i++) {
		n_done += hshm_load_relaxed(&info.workers[i].tasks); /* relaxed: our own copy */
		n_failed += hshm_load_relaxed(&info.workers[i].tasks_failed);
	}
	if (n_done >= n_expected && !n_failed)
		return 0;
	fprintf(stderr, "chimaera-bench: of %llu tasks the workers counted %llu, and %llu that failed\n",
		(unsigned long long)n_expected, (unsigned long long)n_done, (unsigned long long)n_failed);
	return -EBADMSG;
}

/* ---- round trips ---- */

static int call(void *arg)
{
	struct setup *setup = arg;

	return chi_call(setup->runtime.client, setup->tasks[0]);
}

static int call_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	int rc = bench_latency_run(call, arg, run_ns, ret_run);

	return rc < 0 ? tell("a call", rc) : 0;
}

static int roundtrip(struct bench *bench, enum chi_wait_policy policy, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, policy, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, call_run, &setup, true, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int roundtrip_busy(struct bench *bench, struct bench_result *ret_result)
{
	int rc = roundtrip(bench, CHI_WAIT_BUSY, ret_result);

	ret_result->params = "\"wait\":\"busy\"";
	ret_result->aim = "<= 2 ping-pongs";
	ret_result->aim_met = ret_result->ratio <= 2.0;
	return rc;
}

static int roundtrip_sleep(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"wait\":\"sleep\"";
	return roundtrip(bench, CHI_WAIT_SLEEP, ret_result);
}

static int roundtrip_hybrid(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"wait\":\"hybrid\"";
	return roundtrip(bench, CHI_WAIT_HYBRID, ret_result);
}

/* ---- tasks per second ---- */

static int submit(struct setup *setup, uint32_t task)
{
	int rc;

	while ((rc = chi_submit(client_of(setup, task), setup->tasks[task])) == -EAGAIN)
		;
	return rc;
}

/* Wait for the oldest, hand it in again. */
static int pipeline(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i++) {
		uint32_t task = setup->next;

		if (++setup->next == setup->n_tasks)
			setup->next = 0;
		rc = chi_wait(setup->tasks[task], HSHM_FOREVER);
		if (!rc)
			rc = setup->tasks[task]->result;
		if (!rc)
			rc = submit(setup, task);
	}
	return rc;
}

static int pipeline_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct setup *setup = arg;
	int rc = 0, drained;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = submit(setup, i);
	setup->next = 0;
	if (!rc)
		rc = bench_rate_run(pipeline, setup, RATE_WINDOW, run_ns, ret_run);
	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++) {
		drained = chi_wait(setup->tasks[i], HSHM_FOREVER);
		rc = drained ? drained : setup->tasks[i]->result;
	}
	return rc < 0 ? tell("a task of the pipeline", rc) : 0;
}

static int throughput(struct bench *bench, uint32_t n_outstanding, uint32_t n_clients, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_BUSY, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "tasks/s";
	for (uint32_t i = 1; i < n_clients && !rc; i++)
		rc = setup_add_client(&setup);
	for (uint32_t i = 0; i < n_outstanding && !rc; i++)
		rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, pipeline_run, &setup, false, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int tasks_1(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"outstanding\":1";
	return throughput(bench, 1, 1, ret_result);
}

static int tasks_64(struct bench *bench, struct bench_result *ret_result)
{
	int rc = throughput(bench, OUTSTANDING_MAX, 1, ret_result);

	ret_result->params = "\"outstanding\":64";
	ret_result->aim = ">= 5 M tasks/s";
	ret_result->aim_met = ret_result->run.p50 >= 5e6;
	return rc;
}

/* All 64 in, then all 64 done: one by one, or by one call. */
static int submit_each(struct setup *setup)
{
	int rc = 0;

	for (uint32_t i = 0; i < setup->n_tasks && !rc; i++)
		rc = submit(setup, i);
	return rc;
}

static int submit_together(struct setup *setup)
{
	uint32_t n = 0;
	int rc = 0;

	while (n < setup->n_tasks && (rc >= 0 || rc == -EAGAIN)) {
		rc = chi_submit_many(setup->runtime.client, (void *const *)setup->tasks + n, setup->n_tasks - n);
		n += rc > 0 ? (uint32_t)rc : 0;
	}
	return rc < 0 ? rc : 0;
}

static int burst(void *arg, uint32_t n)
{
	struct setup *setup = arg;
	int rc = 0;

	for (uint32_t i = 0; i < n && !rc; i += setup->n_tasks) {
		rc = setup->submit_all(setup);
		if (!rc)
			rc = chi_wait_all((void *const *)setup->tasks, setup->n_tasks, HSHM_FOREVER);
	}
	return rc;
}

static int burst_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	int rc = bench_rate_run(burst, arg, RATE_WINDOW, run_ns, ret_run);

	return rc < 0 ? tell("a burst", rc) : 0;
}

static int bursts(struct bench *bench, int (*submit_all)(struct setup *setup), struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_BUSY, &setup);

	if (rc < 0)
		return rc;
	setup.submit_all = submit_all;
	ret_result->unit = "tasks/s";
	for (uint32_t i = 0; i < OUTSTANDING_MAX && !rc; i++)
		rc = setup_add_task(&setup, sizeof(struct chi_task), BENCH_NOOP);
	if (!rc)
		rc = bench_measure(bench, burst_run, &setup, false, ret_result);
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

static int burst_loop(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"burst\":64,\"submit\":\"one by one\"";
	return bursts(bench, submit_each, ret_result);
}

static int burst_many(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"burst\":64,\"submit\":\"chi_submit_many\"";
	return bursts(bench, submit_together, ret_result);
}

/* The same load from 64 clients, a task each: four times as many lanes as a worker keeps hot. */
static int clients_64(struct bench *bench, struct bench_result *ret_result)
{
	ret_result->params = "\"outstanding\":64,\"clients\":64";
	return throughput(bench, OUTSTANDING_MAX, OUTSTANDING_MAX, ret_result);
}

/* ---- blocked tasks ---- */

static int nest_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	int rc = bench_latency_run(call, arg, run_ns, ret_run);

	if (rc < 0)
		return tell("a task that waits", rc);
	/* of each blocked wait, not of the whole task */
	ret_run->n *= NEST_COUNT;
	ret_run->min /= NEST_COUNT;
	ret_run->p50 /= NEST_COUNT;
	ret_run->p99 /= NEST_COUNT;
	ret_run->max /= NEST_COUNT;
	return 0;
}

static int blocked(struct bench *bench, struct bench_result *ret_result)
{
	struct setup setup;
	struct bench_task *task;
	int rc = setup_start(bench, CHI_WAIT_BUSY, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = "\"what\":\"submit, block, run the subtask, resume\"";
	rc = setup_add_task(&setup, sizeof(*task), BENCH_NEST);
	if (!rc) {
		task = (struct bench_task *)setup.tasks[0];
		task->count = NEST_COUNT;
		rc = bench_measure(bench, nest_run, &setup, true, ret_result);
		if (!rc && task->n_done != NEST_COUNT)
			rc = tell("subtasks are missing", -EBADMSG);
	}
	if (!rc)
		rc = setup_check(&setup, ret_result->run.n);
	setup_stop(&setup);
	return rc;
}

/* ---- periodic tasks ---- */

static void sleep_seconds(double seconds)
{
	struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* All of them tick for a while; how late they were is their container's to say. */
static int periodic_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	struct setup *setup = arg;
	struct chi_client *client = setup->runtime.client;
	struct chi_task *ticks[PERIODIC_TASKS];
	struct bench_lateness *answer;
	int rc = 0;

	for (uint32_t i = 0; i < PERIODIC_TASKS && !rc; i++) {
		rc = chi_task_alloc(client, sizeof(*ticks[i]), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0),
				    BENCH_TICK, &ticks[i]);
		if (rc < 0)
			break;
		ticks[i]->flags = CHI_TASK_PERIODIC;
		ticks[i]->period_ns = HSHM_NSEC_PER_MSEC;
		rc = chi_submit(client, ticks[i]);
	}
	if (rc < 0)
		return tell("a periodic task", rc); /* the others end with the client */
	sleep_seconds((double)run_ns / 1e9);
	for (uint32_t i = 0; i < PERIODIC_TASKS; i++)
		chi_cancel(ticks[i]);
	for (uint32_t i = 0; i < PERIODIC_TASKS && !rc; i++) {
		rc = chi_wait(ticks[i], 5 * HSHM_NSEC_PER_SEC);
		if (!rc)
			rc = chi_task_free(client, ticks[i]);
	}
	if (!rc)
		rc = chi_task_alloc(client, sizeof(*answer), setup->runtime.pool_id, CHI_QUERY_LOCAL_ID(0),
				    BENCH_LATENESS, &answer);
	if (rc < 0)
		return tell("the end of periodic tasks", rc);
	rc = chi_call(client, answer);
	*ret_run = (struct bench_run){ answer->n, (double)answer->min, (double)answer->p50, (double)answer->p99,
				       (double)answer->max };
	chi_task_free(client, answer);
	return rc < 0 ? tell("how late they were", rc) : 0;
}

static int periodic(struct bench *bench, struct bench_result *ret_result)
{
	struct setup setup;
	int rc = setup_start(bench, CHI_WAIT_SLEEP, &setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = "\"tasks\":100,\"period_ns\":1000000,\"what\":\"from when a run is due to its method\"";
	rc = bench_measure(bench, periodic_run, &setup, true, ret_result);
	setup_stop(&setup);
	return rc;
}

/* ---- nothing to do ---- */

/* The task that holds is blocked now, and nothing resumes it. */
static int idle_check(struct chi_client *client)
{
	static struct chi_runtime_info info;
	uint64_t n_waits = 0;
	int rc = chi_client_runtime_info(client, &info);

	if (rc < 0)
		return tell("the counters", rc);
	for (uint32_t i = 0; i < info.n_workers; i++)
		n_waits += hshm_load_relaxed(&info.workers[i].waits); /* relaxed: our own copy */
	if (n_waits && info.n_workers == 4)
		return 0;
	fprintf(stderr, "chimaera-bench: %u workers, %llu tasks blocked\n", info.n_workers,
		(unsigned long long)n_waits);
	return -EBADMSG;
}

/* at the end the task that holds is given up, which is no error here */
static const char idle_config[] = "log_level: error\nstop_timeout_ms: 50\nworkers:\n  count: 4\n";

static int idle(struct bench *bench, struct bench_result *ret_result)
{
	struct bench_runtime runtime;
	struct chi_task *task;
	double seconds = bench->idle_seconds, used;
	int rc = bench_runtime_start(bench->cpus, idle_config, CHI_WAIT_SLEEP, &runtime);

	if (rc < 0)
		return rc;
	rc = chi_task_alloc(runtime.client, sizeof(*task), runtime.pool_id, CHI_QUERY_LOCAL_ID(0), BENCH_HOLD, &task);
	if (!rc)
		rc = chi_submit(runtime.client, task);
	if (rc < 0) {
		tell("a task that blocks", rc);
	} else {
		sleep_seconds(0.2); /* it has settled */
		used = (double)bench_runtime_cpu_ns(&runtime);
		sleep_seconds(seconds);
		used = ((double)bench_runtime_cpu_ns(&runtime) - used) * 10 / seconds;
		rc = chi_task_done(task) ? tell("the blocked task has ended", -EBADMSG) : idle_check(runtime.client);
		ret_result->unit = "ns";
		ret_result->params = "\"workers\":4,\"of_seconds\":10,\"clients\":1,\"blocked_tasks\":1";
		ret_result->run = (struct bench_run){ 1, used, used, used, used };
		ret_result->n_kept = 1;
		ret_result->aim = "< 10 ms of CPU in 10 s";
		ret_result->aim_met = used < IDLE_AIM_NS;
	}
	bench_runtime_stop(&runtime);
	return rc;
}

const struct bench_case bench_task_cases[] = {
	{ "roundtrip-busy", "one task to a method that does nothing and back, waiting by spinning", roundtrip_busy },
	{ "roundtrip-hybrid", "waiting by spinning a little, then sleeping until woken", roundtrip_hybrid },
	{ "roundtrip-sleep", "waiting by looking every 10 us: the default", roundtrip_sleep },
	{ "tasks-1", "tasks per second, one at a time", tasks_1 },
	{ "tasks-64", "tasks per second, 64 outstanding", tasks_64 },
	{ "burst-64", "tasks per second, 64 submitted one by one, then waited for", burst_loop },
	{ "burst-64-many", "the same, each 64 by one chi_submit_many()", burst_many },
	{ "clients-64", "tasks per second, 64 clients with one outstanding each", clients_64 },
	{ "blocked", "a subtask that its parent waits for, blocked", blocked },
	{ "periodic-100", "how late the runs of 100 periodic tasks start, each 1,000 times a second", periodic },
	{ "idle", "CPU time of a runtime with 4 workers, a client and a blocked task", idle },
	{ NULL, NULL, NULL },
};
