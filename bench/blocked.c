/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocked.c - tasks that wait for subtasks: what a wait costs, by the clock of the method that waits
 *
 * The client sleeps meanwhile: on the other thread of a core it would slow the worker down.
 */
#include "setup.h"

#include <errno.h>

struct blocked {
	struct bench_runtime_spec runtime;
	enum bench_method method;
	uint64_t count, window;
	uint64_t n_done;    /* subtasks of a call */
	uint32_t n_parents; /* at once, one in each container; 0: one */
	const char *params;
	const char *aim;
	double ns_max;
};

struct blocked_run {
	struct setup setup;
	const struct blocked *how;
	uint64_t n_done, n_expected;
};

/* One sample: the time of a subtask, among all of all parents. */
static int call_once(struct blocked_run *run, struct bench_samples *samples)
{
	uint64_t begin_ns = UINT64_MAX, end_ns = 0, n = run->how->n_done * run->setup.n_tasks;
	int rc = 0;

	for (uint32_t i = 0; i < run->setup.n_tasks && !rc; i++)
		rc = setup_submit(&run->setup, i);
	for (uint32_t i = 0; i < run->setup.n_tasks && !rc; i++) {
		const struct bench_task *task = (const struct bench_task *)run->setup.tasks[i];

		rc = setup_wait(&run->setup, i);
		begin_ns = task->begin_ns < begin_ns ? task->begin_ns : begin_ns;
		end_ns = task->end_ns > end_ns ? task->end_ns : end_ns;
		run->n_done += task->n_done;
	}
	run->n_expected += n;
	bench_sample(samples, (double)(end_ns - begin_ns) / (double)n, n);
	return rc < 0 ? tell("a task that waits", rc) : 0;
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

static int add_parents(struct blocked_run *run)
{
	uint32_t n_parents = run->how->n_parents ? run->how->n_parents : 1;
	int rc = 0;

	for (uint32_t i = 0; i < n_parents && !rc; i++) {
		rc = setup_add_task(&run->setup, sizeof(struct bench_task), CHI_QUERY_LOCAL_ID(i), run->how->method);
		if (rc)
			break;
		((struct bench_task *)run->setup.tasks[i])->count = run->how->count;
		((struct bench_task *)run->setup.tasks[i])->window = run->how->window;
	}
	return rc;
}

static int blocked(struct bench *bench, struct bench_result *ret_result)
{
	const struct blocked *how = bench->current->arg;
	struct blocked_run run = { .how = how };
	struct bench_side side = { .slice = blocked_slice, .arg = &run };
	int rc = setup_start(bench, &how->runtime, &run.setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	rc = add_parents(&run);
	if (!rc)
		rc = bench_measure_against(bench, &side, "pingpong", ret_result);
	if (!rc && run.n_done != run.n_expected)
		rc = tell("subtasks are missing", -EBADMSG);
	if (!rc)
		rc = setup_check(&run.setup, run.n_done);
	ret_result->aim = how->aim;
	ret_result->aim_met = ret_result->run.p50 < how->ns_max;
	setup_stop(&run.setup);
	return rc;
}

static const struct blocked called = {
	.runtime = { .policy = CHI_WAIT_SLEEP },
	.method = BENCH_NEST,
	.count = 256,
	.n_done = 256,
	.params = "\"subtasks\":1,\"what\":\"chi_call(): in place, but for one in 65\"",
	.aim = "< 60 ns",
	.ns_max = 60,
};
static const struct blocked one = {
	.runtime = { .policy = CHI_WAIT_SLEEP },
	.method = BENCH_BLOCK,
	.count = 256,
	.n_done = 256,
	.params = "\"subtasks\":1,\"what\":\"submit, block, run it, resume\"",
	.aim = "< 60 ns",
	.ns_max = 60,
};
static const struct blocked parallel = {
	.runtime = { .policy = CHI_WAIT_SLEEP },
	.method = BENCH_PARALLEL,
	.count = 256,
	.window = 64,
	.n_done = 256,
	.params = "\"subtasks\":64,\"what\":\"of 64, each\"",
};
static const struct blocked deep = {
	.runtime = { .policy = CHI_WAIT_SLEEP },
	.method = BENCH_DEEP,
	.count = 8,
	.window = 32,
	.n_done = 256,
	.params = "\"deep\":8,\"what\":\"of 8 levels, each\"",
};
static const struct blocked spawn = {
	.runtime = { .kind = BENCH_EMBEDDED, .policy = CHI_WAIT_SLEEP },
	.method = BENCH_PARALLEL,
	.count = 1024000,
	.window = 1024,
	.n_done = 1024000,
	.params = "\"tasks\":1024000,\"window\":1024,\"workers\":1,\"embedded\":true",
};
static const struct blocked spawn_2 = {
	.runtime = { .kind = BENCH_EMBEDDED,
		     .policy = CHI_WAIT_SLEEP,
		     .n_workers = 2,
		     .n_containers = 2,
		     .n_lanes = 1 },
	.method = BENCH_PARALLEL,
	.count = 512000,
	.window = 1024,
	.n_done = 512000,
	.n_parents = 2,
	.params = "\"tasks\":1024000,\"window\":1024,\"workers\":2,\"embedded\":true",
};

const struct bench_case bench_blocked_cases[] = {
	{ "call-1", "a parent that calls a subtask of its own worker: in place", blocked, .arg = &called },
	{ "wait-1", "a parent that waits for a subtask of its own worker", blocked, .arg = &one },
	{ "wait-64", "a parent that waits for 64 subtasks in parallel: each", blocked, .arg = &parallel },
	{ "call-deep-8", "a task that calls a task that calls, 8 deep: each", blocked, .arg = &deep },
	{ "spawn-1m", "spawn and wait, embedded: each of 1,024,000 empty tasks", blocked, .arg = &spawn },
	{ "spawn-1m-2", "half of them on each of two workers", blocked, .arg = &spawn_2 },
	{ NULL, NULL, NULL },
};
