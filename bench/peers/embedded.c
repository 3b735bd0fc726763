/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * embedded.c - a runtime inside this process as a scheduler: this thread, which waits, and a worker
 *
 * Nested: by chi_call(), as the others' tasks wait for what they have just started. A million by a task: then this
 * thread waits only, and the worker does all. By this thread: 64 of them outstanding.
 */
#include "ours.h"

#include <errno.h>
#include <stdlib.h>

#include "pipeline.h"

#define AT_ONCE	    1024u
#define OUTSTANDING 64u

static int start_runtime(const unsigned cpus[2], struct setup **ret_setup)
{
	static const struct bench_runtime_spec spec = {
		.kind = BENCH_EMBEDDED,
		.policy = CHI_WAIT_HYBRID,
		.settings = { "workers.lane_batch=1024" },
	};
	struct bench bench = { .cpus = { cpus[0], cpus[1] } };
	struct setup *setup = malloc(sizeof(*setup));
	int rc = setup ? setup_start(&bench, &spec, setup) : -ENOMEM;

	*ret_setup = setup;
	return rc;
}

static int start(const unsigned cpus[2], void **ret_own)
{
	struct setup *setup;
	int rc = start_runtime(cpus, &setup);

	if (!rc)
		rc = setup_add_task(setup, sizeof(struct bench_task), CHI_QUERY_LOCAL_ID(0), BENCH_PARALLEL);
	if (!rc)
		rc = setup_add_task(setup, sizeof(struct bench_task), CHI_QUERY_LOCAL_ID(0), BENCH_NEST);
	*ret_own = setup;
	return rc;
}

static int start_tasks(const unsigned cpus[2], void **ret_own)
{
	struct setup *setup;
	int rc = start_runtime(cpus, &setup);

	if (!rc)
		rc = setup_add_noops(setup, OUTSTANDING);
	*ret_own = setup;
	return rc;
}

static int call(struct setup *setup, uint32_t i, uint32_t n)
{
	struct bench_task *task = (struct bench_task *)setup->tasks[i];
	int rc;

	task->count = n;
	task->window = AT_ONCE;
	rc = chi_call(setup->runtime.client, task);
	if (rc < 0)
		return tell("a task that waits", rc);
	return task->n_done == n ? 0 : -EBADMSG;
}

static int spawn(void *own, uint32_t n)
{
	return call(own, 0, n);
}

static int nested(void *own, uint32_t n)
{
	return call(own, 1, n);
}

static void stop(void *own)
{
	setup_stop(own);
	free(own);
}

/* All of them are done when it returns, as with the others. */
static int spawn_by_thread(void *own, uint32_t n)
{
	struct setup *setup = own;
	int rc = pipeline_fill(setup);

	if (!rc)
		rc = pipeline_run(setup, n - setup->n_tasks);
	if (!rc)
		rc = pipeline_drain(setup);
	return rc ? tell("one of a million tasks", rc) : 0;
}

const struct bench_scheduler ours_by_task = { "ours", "a runtime in this process", false, start, spawn, nested, stop };

const struct bench_scheduler ours_by_thread = { .name = "ours",
						.help = "a runtime in this process",
						.start = start_tasks,
						.spawn = spawn_by_thread,
						.stop = stop };
