/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_end_all.c - at the runtime's stop all pools but admin end, on a worker
 */
#include <errno.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "runtime/count.h"
#include "runtime/log.h"
#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"
#include "task/error.h"

#define END_ALL_CHECK_US 50
#define END_ALL_TRIES	 8u

static int end_all_run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_pool_manager *manager = context->pool->runtime->pools;
	struct chi_pool_end_all *end = &manager->end_all;

	(void)container;
	(void)task;
	for (uint32_t i = CHI_POOL_FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++) {
		uint32_t pool_id = 0;

		chi_pool_manager_lock(manager);
		if (manager->slots[i].pool)
			pool_id = manager->slots[i].pool->id;
		chi_pool_manager_unlock(manager);
		hshm_store_relaxed(&end->pool_id, pool_id); /* relaxed: a number to look at */
		if (pool_id && chi_pool_end_idle(manager, pool_id) < 0)
			chi_log_debug("at stop: %s", chi_error_text());
	}
	return 0;
}

static const struct chi_method end_all_method = {
	.name = "end_all",
	.id = CHI_METHODS_MAX - 1,
	.task_size = sizeof(struct chi_task),
	.run = end_all_run,
};

static void end_all_start(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_pool_end_all *end = (struct chi_pool_end_all *)work;
	struct chi_run_context *context = end->context;
	struct chi_pool *admin;
	uint8_t epoch;

	admin = chi_pool_get(worker->runtime->pools, CHI_ADMIN_POOL_ID, &epoch);
	if (!admin || (!context && chi_context_alloc(worker->runtime, 0, &context))) {
		if (admin)
			chi_pool_put(admin, epoch);
		/* release: nothing of `end` is touched after it; pairs with the acquire in end_all_on() */
		hshm_store_release(&end->failed, 1);
		return;
	}
	end->context = NULL;
	context->task = &end->task;
	context->pool = admin;
	context->flush_epoch = epoch;
	context->method = &end_all_method;
	context->container = admin->local_table[0];
	chi_count_started(worker, context);
	context->root = context;
	chi_context_start(worker, context);
}

static void log_destroy_that_hangs(struct chi_pool_manager *manager, const struct chi_pool_end_all *end)
{
	uint32_t pool_id = hshm_load_relaxed(&end->pool_id); /* relaxed: a number to look at */
	const struct chi_pool *pool;

	chi_pool_manager_lock(manager);
	pool = manager->slots[pool_id % CHI_POOL_SLOTS].pool;
	if (pool && pool->id == pool_id)
		chi_log_error("stop: pool '%s' does not end: destroy() of module '%s' has not returned", pool->name,
			      pool->module->name);
	chi_pool_manager_unlock(manager);
}

/* Returns 0, -ETIMEDOUT, or what the worker lacked: memory for a context, a stack. */
static int end_all_on(struct chi_pool_manager *manager, uint32_t worker_id, uint64_t deadline_ns)
{
	struct chi_pool_end_all *end = &manager->end_all;

	end->work.fn = end_all_start;
	/* relaxed: the post publishes it */
	hshm_store_relaxed(&end->failed, 0);
	chi_task_init(&end->task, sizeof(end->task), CHI_ADMIN_POOL_ID, CHI_QUERY_LOCAL_ID(0), end_all_method.id);
	chi_worker_post(chi_work_orch_worker(manager->runtime->orch, worker_id), &end->work);
	/* acquire: pairs with the release in end_all_start() */
	while (!chi_task_done(&end->task) && !hshm_load_acquire(&end->failed)) {
		if (hshm_clock_ns() >= deadline_ns) {
			log_destroy_that_hangs(manager, end);
			return -ETIMEDOUT;
		}
		HSHM_THREAD_MODEL->sleep_for_us(END_ALL_CHECK_US);
	}
	/* relaxed: the loop's acquire has seen it, or else the task's end */
	return hshm_load_relaxed(&end->failed) ? -ENOMEM : end->task.result;
}

int chi_pool_end_all(struct chi_pool_manager *manager, uint64_t deadline_ns)
{
	uint32_t n_workers = chi_work_orch_n_workers(manager->runtime->orch);
	int ret = -ENOMEM;

	/* one of them has a stack left from an earlier task, or there is memory again */
	for (uint32_t i = 0; ret < 0 && ret != -ETIMEDOUT && i < n_workers + END_ALL_TRIES; i++)
		ret = end_all_on(manager, i % n_workers, deadline_ns);
	if (ret < 0 && ret != -ETIMEDOUT)
		chi_log_warn("no memory to end the pools in order: their modules' destroy() is not called");
	return ret == -ETIMEDOUT ? ret : 0;
}
