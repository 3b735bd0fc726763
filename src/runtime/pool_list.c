/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_list.c - looking: which pools there are, and whether a task is left in any
 */
#include <string.h>

#include "runtime/pool_internal.h"

static struct chi_pool_info describe_pool(const struct chi_pool *pool)
{
	struct chi_pool_info info = {
		.pool_id = pool->id,
		.n_containers = pool->n_containers,
		.n_tasks = hshm_load_relaxed(&pool->n_started), /* relaxed: a figure to look at */
		.n_in_flight = chi_pool_n_present(pool),
	};

	strcpy(info.name, pool->name);
	strcpy(info.module, pool->module->name);
	return info;
}

static bool describe_slot(struct chi_pool_manager *manager, uint32_t index, struct chi_pool_info *ret_info)
{
	const struct chi_pool *pool;
	bool ready;

	/* relaxed: most slots are empty, and the lock decides. Who asks for a pool that is there knows of it by what
	 * happened before. */
	if (!hshm_load_relaxed(&manager->slots[index].ready))
		return false;
	pthread_mutex_lock(&manager->lock);
	pool = manager->slots[index].pool;
	ready = pool && pool->state == CHI_POOL_READY;
	if (ready)
		*ret_info = describe_pool(pool);
	pthread_mutex_unlock(&manager->lock);
	return ready;
}

uint32_t chi_pool_list_all(struct chi_pool_manager *manager, struct chi_pool_info *ret_pools, uint32_t n_max)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++) {
		struct chi_pool_info info;

		if (!describe_slot(manager, i, &info))
			continue;
		if (n < n_max) /* a client's memory: aligned as it likes, and a page of it may take long to come */
			memcpy(&ret_pools[n], &info, sizeof(info));
		n++;
	}
	return n;
}

/* Under the lock. Tasks started over the runtime's life. */
static uint64_t sum_started(const struct chi_pool_manager *manager)
{
	uint64_t n = manager->n_started_in_ended;

	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++) {
		/* acquire: the counts in flight that are looked at next are no older */
		if (manager->slots[i].pool)
			n += hshm_load_acquire(&manager->slots[i].pool->n_started);
	}
	return n;
}

/* Under the lock. */
static uint64_t sum_present(const struct chi_pool_manager *manager)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++) {
		const struct chi_pool *pool = manager->slots[i].pool;

		if (pool && pool->state != CHI_POOL_MAKING)
			n += chi_pool_n_present(pool);
	}
	return n;
}

/* Pools are looked at one after the other, and a task of one that is looked at later may start one in a pool that was
 * found empty, and end before we come to it. Its end publishes that start (release in chi_pool_put(), acquire in
 * chi_pool_n_in_flight()): then the sum of the starts has moved, and the 0 does not count. */
uint64_t chi_pool_count_in_flight(struct chi_pool_manager *manager)
{
	uint64_t n, n_started;

	pthread_mutex_lock(&manager->lock);
	do {
		n_started = sum_started(manager);
		n = sum_present(manager);
	} while (n == 0 && sum_started(manager) != n_started);
	pthread_mutex_unlock(&manager->lock);
	return n;
}
