/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_make.c - a pool is made, or the one of its name opened; and freed
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/counter_page.h"
#include "runtime/log.h"
#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "task/error.h"

#define LOGGED_A_SECOND 10u

static void take_counter_rows(struct chi_pool *pool)
{
	struct chi_counter_page *page = pool->runtime->counters;

	pool->counter_row = chi_counter_page_add_pool(page, pool);
	for (uint32_t id = 0; id < CHI_METHODS_MAX; id++) {
		const struct chi_method *method = chi_pool_method(pool, id);

		if (method)
			pool->counters_offsets[id] = chi_counter_page_add_method(page, pool, method) *
						     (uint32_t)sizeof(struct chi_method_counters);
	}
	pool->counted = true;
}

static void give_counter_rows(struct chi_pool *pool)
{
	struct chi_counter_page *page = pool->runtime->counters;

	if (!pool->counted)
		return;
	chi_counter_page_remove(page, CHI_COUNTERS_POOLS, pool->counter_row);
	for (uint32_t id = 0; id < CHI_METHODS_MAX; id++)
		chi_counter_page_remove(page, CHI_COUNTERS_METHODS,
					pool->counters_offsets[id] / (uint32_t)sizeof(struct chi_method_counters));
}

void chi_pool_free(struct chi_pool *pool)
{
	give_counter_rows(pool);
	for (uint32_t i = 0; i < pool->n_local; i++)
		chi_container_free(pool->local_table[i]);
	chi_work_orch_retire_fini(&pool->retirement);
	free(pool->retirement.lanes);
	free(pool->local_table);
	free(pool->global_table);
	free(pool->by_global_id);
	free(pool);
}

static struct chi_pool *alloc_pool(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, const char *name)
{
	struct chi_pool *pool = aligned_alloc(HSHM_FALSE_SHARING, sizeof(*pool));

	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pool->runtime = manager->runtime;
	pool->n_containers = spec->n_containers ? spec->n_containers : 1;
	pool->maker = chi_pool_asker();
	strcpy(pool->name, name);
	return pool;
}

static int check_spec(const struct chi_pool_spec *spec, const char *name)
{
	size_t size = strnlen(name, CHI_NAME_MAX);

	if (size == 0 || size == CHI_NAME_MAX)
		return chi_error_set(-EINVAL, "the name of a pool has 1 to %u characters", CHI_NAME_MAX - 1);
	for (size_t i = 0; i < size; i++) {
		if (name[i] <= ' ' || name[i] > '~')
			return chi_error_set(-EINVAL, "the name of a pool has printable characters and no spaces");
	}
	if (spec->n_containers > CHI_POOL_CONTAINERS_MAX)
		return chi_error_set(-EINVAL, "pool '%s': %u containers (allowed 1..%u)", name, spec->n_containers,
				     CHI_POOL_CONTAINERS_MAX);
	return 0;
}

/* -ELIBBAD was logged with the module's file (module_manager.c). */
static void log_not_made(const struct chi_pool *pool, int error)
{
	if (error != -ELIBBAD && chi_log_allowed(&pool->runtime->log_limits.pool_not_made, LOGGED_A_SECOND))
		chi_log_warn("pool '%s' is not made: %s", pool->name, chi_error_text());
}

static int build(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, struct chi_pool *pool)
{
	bool at_start = !chi_pool_asker();
	uint32_t n_created = 0;
	int error;

	error = chi_module_get(manager->runtime->modules, spec->module, &pool->module);
	if (error)
		return error;
	if (spec->interface_hash && spec->interface_hash != pool->module->table->interface_hash)
		return chi_error_set(-EPROTO, "module '%s' has interface %016llx, asked for is %016llx", spec->module,
				     (unsigned long long)pool->module->table->interface_hash,
				     (unsigned long long)spec->interface_hash);
	error = chi_pool_make_tables(pool);
	if (error)
		return error;
	take_counter_rows(pool);
	if (chi_work_orch_retire_prepare(manager->runtime->orch, &pool->retirement))
		return chi_error_set(-ENOMEM, "no memory for pool '%s'", pool->name);
	for (uint32_t id = 0; !error && id < pool->n_containers; id++) {
		bool created = false;

		error = chi_pool_make_container(pool, spec, id, &created);
		n_created += created;
	}
	if (error < 0 && !at_start) {
		char why[256];

		/* the undo switches the fiber, and others use the thread's text meanwhile */
		snprintf(why, sizeof(why), "%s", chi_error_text());
		chi_pool_take_apart(manager, pool, n_created);
		chi_error_set(error, "%s", why);
	}
	return error;
}

int chi_pool_make(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, bool open_existing,
		  uint32_t fixed_id, uint32_t *ret_pool_id, bool *ret_created)
{
	const char *name = spec->name && *spec->name ? spec->name : spec->module;
	struct chi_pool *pool;
	int ret = check_spec(spec, name);

	if (!ret && fixed_id != CHI_ADMIN_POOL_ID && strcmp(spec->module, "admin") == 0 && strcmp(name, "admin") != 0)
		ret = chi_error_set(-EPERM, "there is one pool of module 'admin' only: pool 1");
	if (ret)
		return ret;
	pool = alloc_pool(manager, spec, name);
	if (!pool)
		return chi_error_set(-ENOMEM, "no memory for pool '%s'", name);
	ret = chi_pool_reserve(manager, spec, pool, open_existing, fixed_id, ret_pool_id);
	if (ret != 1) {
		if (ret == 0)
			*ret_created = false;
		free(pool);
		return ret;
	}
	ret = build(manager, spec, pool);
	if (ret) {
		log_not_made(pool, ret);
		chi_pool_release_slot(manager, pool);
		if (pool->module)
			chi_module_put(manager->runtime->modules, pool->module);
		chi_pool_free(pool);
		return ret;
	}
	*ret_pool_id = pool->id;
	*ret_created = true;
	chi_pool_log_life(pool, "made"); /* once published, it may end at any time */
	chi_pool_publish(manager, pool);
	return 0;
}
