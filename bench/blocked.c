/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocked.c - tasks that wait for tasks
 */
#include "setup.h"

#include <errno.h>

#define NEST_COUNT 64u

static int nest_run(void *arg, uint64_t run_ns, struct bench_run *ret_run)
{
	int rc = setup_call_run(arg, run_ns, ret_run);

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

const struct bench_case bench_blocked_cases[] = {
	{ "blocked", "a subtask that its parent waits for, blocked", blocked },
	{ NULL, NULL, NULL },
};
