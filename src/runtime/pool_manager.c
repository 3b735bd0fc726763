/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_manager.c - the table of pools: slots, ids and names
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"
#include "task/error.h"

#define SLOT_BITS 12u
#define REUSE_MAX ((1u << (32 - SLOT_BITS)) - 1)

_Static_assert(CHI_POOL_SLOTS == 1u << SLOT_BITS, "an id is slot | reuse << SLOT_BITS");

void chi_pool_manager_lock(struct chi_pool_manager *manager)
{
	pthread_mutex_lock(&manager->lock);
}

void chi_pool_manager_unlock(struct chi_pool_manager *manager)
{
	pthread_mutex_unlock(&manager->lock);
}

int chi_pool_manager_create(struct chi_runtime *runtime, struct chi_pool_manager **ret_manager)
{
	struct chi_pool_manager *manager = calloc(1, sizeof(*manager));

	if (!manager)
		return chi_error_set(-ENOMEM, "no memory for the pool manager");
	if (chi_context_alloc(runtime, 0, &manager->end_all.context) < 0) {
		free(manager);
		return chi_error_set(-ENOMEM, "no memory for the pool manager");
	}
	manager->runtime = runtime;
	manager->next_slot = CHI_POOL_FIRST_FREE_SLOT;
	/* an id of the runtime before this one, which a client still has, shall find nothing here */
	for (uint32_t i = CHI_POOL_FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++)
		manager->slots[i].reuse = (uint32_t)(runtime->generation >> 32) & (REUSE_MAX >> 1);
	pthread_mutex_init(&manager->lock, NULL);
	*ret_manager = manager;
	return 0;
}

void chi_pool_manager_destroy(struct chi_pool_manager *manager)
{
	if (!manager)
		return;
	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++) {
		struct chi_pool *pool = manager->slots[i].pool;

		if (!pool)
			continue;
		if (pool->module)
			chi_module_put(manager->runtime->modules, pool->module);
		chi_pool_free(pool);
	}
	if (manager->end_all.context)
		hshm_heap_free(manager->runtime->heap, manager->end_all.context);
	free(manager->callers);
	pthread_mutex_destroy(&manager->lock);
	free(manager);
}

static struct chi_pool *find_name(struct chi_pool_manager *manager, const char *name)
{
	for (uint32_t i = 0; i < CHI_POOL_SLOTS; i++) {
		struct chi_pool *pool = manager->slots[i].pool;

		if (pool && pool->state < CHI_POOL_ENDING && strcmp(pool->name, name) == 0)
			return pool;
	}
	return NULL;
}

/* Round and round, so that an id's slot rests as long as possible. */
static struct chi_pool_slot *find_free_slot(struct chi_pool_manager *manager, uint32_t *ret_index)
{
	for (uint32_t n = CHI_POOL_FIRST_FREE_SLOT; n < CHI_POOL_SLOTS; n++) {
		uint32_t index = manager->next_slot;
		struct chi_pool_slot *slot = &manager->slots[index];

		manager->next_slot = index + 1 < CHI_POOL_SLOTS ? index + 1 : CHI_POOL_FIRST_FREE_SLOT;
		if (!slot->pool && slot->reuse < REUSE_MAX) {
			*ret_index = index;
			return slot;
		}
	}
	return NULL;
}

static int check_existing(const struct chi_pool *pool, const struct chi_pool_spec *spec, bool open_existing,
			  uint32_t *ret_pool_id)
{
	uint64_t hash = pool->module->table->interface_hash;

	if (!open_existing)
		return chi_error_set(-EEXIST, "pool '%s' is there already", pool->name);
	if (strcmp(pool->module->name, spec->module) != 0)
		return chi_error_set(-EEXIST, "pool '%s' is there already, of module '%s'", pool->name,
				     pool->module->name);
	if (spec->interface_hash && spec->interface_hash != hash)
		return chi_error_set(-EPROTO, "pool '%s': module '%s' has interface %016llx, asked for is %016llx",
				     pool->name, pool->module->name, (unsigned long long)hash,
				     (unsigned long long)spec->interface_hash);
	*ret_pool_id = pool->id;
	return 0;
}

int chi_pool_reserve(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, struct chi_pool *pool,
		     bool open_existing, uint32_t fixed_id, uint32_t *ret_pool_id)
{
	uint64_t delay_ns = CHI_POOL_WAIT_FIRST_NS;

	for (;;) {
		struct chi_pool *there;
		uint32_t index = fixed_id;
		struct chi_pool_slot *slot;
		int ret = 1;

		pthread_mutex_lock(&manager->lock);
		there = find_name(manager, pool->name);
		if (there && there->state == CHI_POOL_READY) {
			ret = check_existing(there, spec, open_existing, ret_pool_id);
		} else if (there && chi_pool_asked_by(there->maker)) {
			ret = chi_error_set(-EBUSY, "pool '%s' is asked for by its own create()", pool->name);
		} else if (!there) {
			slot = fixed_id ? &manager->slots[fixed_id] : find_free_slot(manager, &index);
			if (slot) {
				pool->id = index | slot->reuse << SLOT_BITS;
				slot->pool = pool;
				there = pool;
			} else {
				ret = chi_error_set(-ENOSPC, "there are %u pools already", CHI_POOL_SLOTS);
			}
		}
		pthread_mutex_unlock(&manager->lock);
		if (!there || there == pool || ret != 1)
			return ret;
		/* somebody makes it just now: see what becomes of it */
		chi_pool_wait_a_little(&delay_ns);
	}
}

void chi_pool_release_slot(struct chi_pool_manager *manager, const struct chi_pool *pool)
{
	struct chi_pool_slot *slot = &manager->slots[pool->id % CHI_POOL_SLOTS];

	pthread_mutex_lock(&manager->lock);
	slot->pool = NULL;
	if (pool->n_local) /* a create() was called, and knows the id */
		slot->reuse++;
	manager->n_started_in_ended += hshm_load_relaxed(&pool->n_started); /* relaxed: nobody starts any more */
	pthread_mutex_unlock(&manager->lock);
}

void chi_pool_publish(struct chi_pool_manager *manager, struct chi_pool *pool)
{
	pthread_mutex_lock(&manager->lock);
	pool->state = CHI_POOL_READY;
	pool->maker = NULL;
	/* release: the whole pool before its address; pairs with the acquire in chi_pool_get_uncounted() */
	hshm_store_release(&manager->slots[pool->id % CHI_POOL_SLOTS].ready, pool);
	pthread_mutex_unlock(&manager->lock);
}
