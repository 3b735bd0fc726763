/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocked.c - tasks that wait for subtasks: what a wait costs, by the clock of the method that waits
 */
#include "setup.h"

#include <errno.h>

struct blocked {
	struct bench_runtime_spec runtime;
	enum bench_method method;
	uint64_t count, window;
	uint64_t n_done; /* subtasks of a call */
	const char *params;
	const char *aim;
	double ns_max;
};

struct blocked_run {
	struct setup setup;
	const struct blocked *how;
	uint64_t n_calls, n_done;
};

/* One sample a call: the time of a subtask, among so many. */
static int call_once(struct blocked_run *run, struct bench_samples *samples)
{
	struct bench_task *task = (struct bench_task *)run->setup.tasks[0];
	int rc = chi_call(run->setup.runtime.client, task);

	if (rc < 0)
		return tell("a task that waits", rc);
	run->n_calls++;
	run->n_done += task->n_done;
	bench_sample(samples, (double)task->took_ns / (double)run->how->n_done, run->how->n_done);
	return 0;
}

static int blocked_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	uint64_t end_ns = bench_now_ns() + slice_ns;
	int rc;

	do
		rc = call_once(arg, samples);
	while (!rc && bench_now_ns() < end_ns);
	setup_settle();
	return rc;
}

static int measure(struct bench *bench, struct blocked_run *run, struct bench_result *ret_result)
{
	struct bench_side side = { .slice = blocked_slice, .arg = run };
	struct bench_task *task = (struct bench_task *)run->setup.tasks[0];
	int rc;

	task->count = run->how->count;
	task->window = run->how->window;
	rc = bench_measure_against(bench, &side, "pingpong", ret_result);
	if (!rc && run->n_done != run->n_calls * run->how->n_done)
		rc = tell("subtasks are missing", -EBADMSG);
	if (!rc)
		rc = setup_check(&run->setup, run->n_done);
	return rc;
}

static int blocked(struct bench *bench, struct bench_result *ret_result)
{
	const struct blocked *how = bench->current->arg;
	struct blocked_run run = { .how = how };
	int rc = setup_start(bench, &how->runtime, &run.setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	rc = setup_add_task(&run.setup, sizeof(struct bench_task), CHI_QUERY_LOCAL_ID(0), how->method);
	if (!rc)
		rc = measure(bench, &run, ret_result);
	ret_result->aim = how->aim;
	ret_result->aim_met = ret_result->run.p50 < how->ns_max;
	setup_stop(&run.setup);
	return rc;
}

static const struct blocked one = {
	.method = BENCH_NEST,
	.count = 256,
	.n_done = 256,
	.params = "\"subtasks\":1,\"what\":\"submit, block, run it, resume\"",
	.aim = "< 60 ns",
	.ns_max = 60,
};
static const struct blocked parallel = {
	.method = BENCH_PARALLEL,
	.count = 256,
	.window = 64,
	.n_done = 256,
	.params = "\"subtasks\":64,\"what\":\"of 64, each\"",
};
static const struct blocked deep = {
	.method = BENCH_DEEP,
	.count = 8,
	.window = 32,
	.n_done = 256,
	.params = "\"deep\":8,\"what\":\"of 8 levels, each\"",
};
static const struct blocked spawn = {
	.runtime = { .kind = BENCH_EMBEDDED, .settings = { "workers.lane_batch=1024" } },
	.method = BENCH_PARALLEL,
	.count = 1024000,
	.window = 1024,
	.n_done = 1024000,
	.params = "\"tasks\":1024000,\"window\":1024,\"embedded\":true",
};

const struct bench_case bench_blocked_cases[] = {
	{ "wait-1", "a parent that waits for a subtask of its own worker", blocked, .arg = &one },
	{ "wait-64", "a parent that waits for 64 subtasks in parallel: each", blocked, .arg = &parallel },
	{ "wait-deep-8", "a task that waits for a task that waits, 8 deep: each", blocked, .arg = &deep },
	{ "spawn-1m", "spawn and wait, embedded: each of 1,024,000 empty tasks", blocked, .arg = &spawn },
	{ NULL, NULL, NULL },
};
