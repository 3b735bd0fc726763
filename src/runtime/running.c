/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * running.c - what a worker that does not come back is in, seen from another thread
 *
 * The worker may come back at any time. Under the pool manager's lock the pool of a task that runs stays, and its
 * module: if it still runs after we have read what it is, we may look. A run context lies in a heap that is mapped for
 * as long as the runtime lives, so reading one that has ended is reading rubbish, no more; the second look throws it
 * away. The task of a subtask may lie anywhere in its submitter's memory, and nothing keeps that: it is not looked at.
 */
#include "runtime/running.h"

#include <stdio.h>

#include "runtime/pool_manager.h"
#include "runtime/worker.h"

/* Is it in the same run of that context still? What was read before is then of that run. */
static bool goes_on(const struct chi_worker *worker, const struct chi_run_context *context, uint64_t beats)
{
	hshm_fence_acquire(); /* the fields before the second look */
	/* relaxed, both: ordered by the fence */
	return hshm_load_relaxed(&worker->running) == context && hshm_load_relaxed(&worker->beats) == beats;
}

static const struct chi_task *own_copy(const struct chi_run_context *context)
{
	return (const struct chi_task *)(const void *)context->copy;
}

bool chi_running_look(const struct chi_worker *worker, struct chi_running *ret_running)
{
	struct chi_pool_manager *pools = worker->runtime->pools;
	uint64_t beats = hshm_load_relaxed(&worker->beats); /* relaxed: compared below, no more */
	const struct chi_run_context *context, *root;
	const struct chi_method *method;
	const struct chi_pool *pool;
	bool found = false;

	chi_pool_manager_lock(pools);
	/* acquire: pairs with the release in set_running() */
	context = hshm_load_acquire(&worker->running);
	if (!context)
		goto unlock;
	pool = context->pool;
	method = context->method;
	root = context->root;
	if (!goes_on(worker, context, beats))
		goto unlock;
	snprintf(ret_running->pool, sizeof(ret_running->pool), "%s", pool->name);
	snprintf(ret_running->module, sizeof(ret_running->module), "%s", pool->module->name);
	snprintf(ret_running->method, sizeof(ret_running->method), "%s", method->name);
	ret_running->is_subtask = !context->client_ref;
	ret_running->root = root->client_ref ? own_copy(root)->id.root : 0;
	found = goes_on(worker, context, beats);
unlock:
	chi_pool_manager_unlock(pools);
	return found;
}
