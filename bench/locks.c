/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * locks.c - a chi_mutex that goes from task to task
 */
#include "setup.h"

#include <errno.h>

#define HOLDS	    1000u
#define HOLDERS_MAX 8u

struct locks {
	struct bench_runtime_spec runtime;
	uint32_t n_tasks;
	const char *params;
};

struct locks_run {
	struct setup setup;
	const struct locks *how;
	uint64_t n_held; /* counted by the module, under the lock */
	uint64_t n_expected;
	uint32_t workers[HOLDERS_MAX];
};

/* All of them, from the first's begin to the last's end. */
static int hold_together(struct locks_run *run, uint64_t *ret_took_ns)
{
	uint64_t begin_ns = UINT64_MAX, end_ns = 0;
	int rc = 0;

	for (uint32_t i = 0; i < run->how->n_tasks && !rc; i++)
		rc = setup_submit(&run->setup, i);
	for (uint32_t i = 0; i < run->how->n_tasks && rc >= 0; i++) {
		struct bench_lock *task = (struct bench_lock *)run->setup.tasks[i];

		rc = setup_wait(&run->setup, i);
		run->workers[i] = (uint32_t)rc;
		begin_ns = task->begin_ns < begin_ns ? task->begin_ns : begin_ns;
		end_ns = task->end_ns > end_ns ? task->end_ns : end_ns;
		run->n_held = task->n_held > run->n_held ? task->n_held : run->n_held;
	}
	*ret_took_ns = end_ns - begin_ns;
	run->n_expected += HOLDS * run->how->n_tasks;
	return rc < 0 ? tell("a task that locks", rc) : 0;
}

static int locks_slice(void *arg, uint64_t slice_ns, struct bench_samples *samples)
{
	struct locks_run *run = arg;
	uint64_t end_ns = bench_now_ns() + slice_ns, took_ns, n = HOLDS * run->how->n_tasks;
	int rc;

	do {
		rc = hold_together(run, &took_ns);
		bench_sample(samples, (double)took_ns / (double)n, n);
	} while (!rc && bench_now_ns() < end_ns);
	setup_settle();
	return rc;
}

static int check(const struct locks_run *run)
{
	uint32_t n_others = 0;

	for (uint32_t i = 1; i < run->how->n_tasks; i++)
		n_others += run->workers[i] != run->workers[0];
	if (run->n_held != run->n_expected)
		return tell("the lock was held by two at once", -EBADMSG);
	if ((n_others > 0) != (run->how->runtime.n_workers > 1))
		return tell("the tasks are not on the workers they should be on", -EBADMSG);
	return 0;
}

static int locks(struct bench *bench, struct bench_result *ret_result)
{
	const struct locks *how = bench->current->arg;
	uint32_t n_containers = how->runtime.n_containers ? how->runtime.n_containers : 1;
	struct locks_run run = { .how = how };
	struct bench_side side = { .slice = locks_slice, .arg = &run };
	int rc = setup_start(bench, &how->runtime, &run.setup);

	if (rc < 0)
		return rc;
	ret_result->unit = "ns";
	ret_result->params = how->params;
	for (uint32_t i = 0; i < how->n_tasks && !rc; i++) {
		rc = setup_add_task(&run.setup, sizeof(struct bench_lock), CHI_QUERY_LOCAL_ID(i % n_containers),
				    BENCH_LOCK);
		if (rc)
			break;
		((struct bench_lock *)run.setup.tasks[i])->n_tasks = how->n_tasks;
		((struct bench_lock *)run.setup.tasks[i])->count = HOLDS;
	}
	if (!rc)
		rc = bench_measure_against(bench, &side, "pingpong", ret_result);
	if (!rc)
		rc = check(&run);
	setup_stop(&run.setup);
	return rc;
}

static const struct locks two = { .runtime = { .policy = CHI_WAIT_SLEEP },
				  .n_tasks = 2,
				  .params = "\"tasks\":2,\"workers\":1" };
static const struct locks eight = { .runtime = { .policy = CHI_WAIT_SLEEP },
				    .n_tasks = 8,
				    .params = "\"tasks\":8,\"workers\":1" };
static const struct locks apart = {
	.runtime = { .policy = CHI_WAIT_SLEEP, /* the second worker is on our CPU */
		     .n_workers = 2,
		     .n_containers = 2,
		     .n_lanes = 1 },
	.n_tasks = 2,
	.params = "\"tasks\":2,\"workers\":2",
};

const struct bench_case bench_locks_cases[] = {
	{ "lock-handed-over", "a chi_mutex from one task to the other, same worker: each hold", locks, .arg = &two },
	{ "lock-8-tasks", "eight tasks that want it", locks, true, &eight },
	{ "lock-between-workers", "from a task of one worker to one of the other's", locks, .arg = &apart },
	{ NULL, NULL, NULL },
};
