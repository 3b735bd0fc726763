/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_end.c - a pool ends: no task gets in, those in it leave, then it is taken apart
 *
 * No task is missed on its way in: G1 and G2 in pool_entry.c.
 */
#include <errno.h>

#include "runtime/log.h"
#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"
#include "task/error.h"

/* Take the name away and let no more tasks in; the rest is the caller's. */
static int begin_end(struct chi_pool_manager *manager, uint32_t pool_id, bool only_idle, struct chi_pool **ret_pool)
{
	struct chi_pool *pool;
	int error = 0;

	if (pool_id == CHI_ADMIN_POOL_ID)
		return chi_error_set(-EPERM, "admin cannot be destroyed");
	pthread_mutex_lock(&manager->lock);
	pool = manager->slots[pool_id % CHI_POOL_SLOTS].pool;
	if (!pool || pool->id != pool_id || pool->state != CHI_POOL_READY) {
		error = chi_error_set(-ENOENT, "no pool %u", pool_id);
	} else if (chi_pool_asked_from(pool)) {
		error = chi_error_set(-EBUSY, "pool '%s' cannot be destroyed by a task of its own", pool->name);
	} else if (only_idle && chi_pool_n_present(pool) > 0) {
		error = chi_error_set(-EBUSY, "pool '%s' has tasks in flight", pool->name);
	} else {
		pool->state = CHI_POOL_ENDING;
		/* relaxed: the fence below orders it before the look at the counts (G1) */
		hshm_store_relaxed(&pool->closing, 1);
	}
	pthread_mutex_unlock(&manager->lock);
	*ret_pool = pool;
	return error;
}

/* No task is in it any more and no flush looks at it; from here on none will. */
static bool try_leave(struct chi_pool_manager *manager, struct chi_pool *pool)
{
	bool left;

	if (chi_pool_n_present(pool))
		return false;
	pthread_mutex_lock(&manager->lock);
	left = pool->n_pins == 0;
	if (left)
		/* under the lock of the look at the pins: a flush finds the one or the other */
		pool->state = CHI_POOL_LEFT;
	pthread_mutex_unlock(&manager->lock);
	return left;
}

static int end_pool(struct chi_pool_manager *manager, uint32_t pool_id, bool only_idle)
{
	struct chi_work_orch *orch = manager->runtime->orch;
	uint64_t delay_ns = CHI_POOL_WAIT_FIRST_NS;
	struct chi_pool *pool = NULL;
	int error = begin_end(manager, pool_id, only_idle, &pool);

	if (error)
		return error;
	hshm_fence_seq_cst(); /* G1: pairs with the seq_cst count and look in chi_pool_get_uncounted() */
	for (uint32_t i = 0; i < chi_work_orch_n_workers(orch); i++)
		chi_worker_ask_expire(chi_work_orch_worker(orch, i));
	while (!try_leave(manager, pool))
		chi_pool_wait_a_little(&delay_ns);
	/* relaxed: a getter that still sees the pool finds it closing (G1, G2) */
	hshm_store_relaxed(&manager->slots[pool_id % CHI_POOL_SLOTS].ready, NULL);
	chi_pool_take_apart(manager, pool, pool->n_local);
	chi_pool_release_slot(manager, pool);
	chi_module_put(manager->runtime->modules, pool->module);
	if (!only_idle) /* not at stop */
		chi_pool_log_life(pool, "destroyed");
	chi_pool_free(pool);
	return 0;
}

int chi_pool_end(struct chi_pool_manager *manager, uint32_t pool_id)
{
	return end_pool(manager, pool_id, false);
}

int chi_pool_end_idle(struct chi_pool_manager *manager, uint32_t pool_id)
{
	return end_pool(manager, pool_id, true);
}
