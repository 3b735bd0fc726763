/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_containers.c - a pool's containers: its tables of them, which one a query names, their create() and destroy()
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/context_wait.h"
#include "runtime/pool_internal.h"
#include "runtime/runtime.h"
#include "runtime/worker.h"
#include "task/error.h"

#define THIS_NODE 0u /* the only one so far */

int chi_pool_make_tables(struct chi_pool *pool)
{
	pool->local_table = calloc(pool->n_containers, sizeof(*pool->local_table));
	pool->global_table = calloc(pool->n_containers, sizeof(*pool->global_table));
	pool->by_global_id = calloc(pool->n_containers, sizeof(*pool->by_global_id));
	if (!pool->local_table || !pool->global_table || !pool->by_global_id)
		return chi_error_set(-ENOMEM, "no memory for pool '%s'", pool->name);
	return 0;
}

/* First which node has it, then what it is there: the two tables of a pool. */
static int resolve_global(struct chi_pool *pool, uint64_t global_id, struct chi_container **ret_container)
{
	if (global_id >= pool->n_containers)
		return -ENOENT;
	if (pool->global_table[global_id] != THIS_NODE)
		return -EHOSTUNREACH; /* nodes do not talk to each other yet */
	if (!pool->by_global_id[global_id])
		return -ENOENT;
	*ret_container = pool->by_global_id[global_id];
	return 0;
}

int chi_pool_resolve(struct chi_pool *pool, const struct chi_domain_query *query, struct chi_container **ret_container)
{
	struct chi_container *container = NULL;

	switch (query->kind) {
	case CHI_DOMAIN_LOCAL_ID:
		if (query->value < pool->n_local)
			container = pool->local_table[query->value];
		break;
	case CHI_DOMAIN_LOCAL_HASH:
		if (pool->n_local)
			container = pool->local_table[query->value % pool->n_local];
		break;
	case CHI_DOMAIN_GLOBAL_ID:
		return resolve_global(pool, query->value, ret_container);
	case CHI_DOMAIN_GLOBAL_HASH:
		return resolve_global(pool, query->value % pool->n_containers, ret_container);
	default:
		return -EINVAL;
	}
	if (!container)
		return -ENOENT;
	*ret_container = container;
	return 0;
}

/* ---- lanes ---- */

int chi_pool_reserve_lanes(struct chi_pool *pool, uint32_t n_lanes)
{
	struct chi_retirement *retirement = &pool->retirement;
	struct chi_lane **lanes = realloc(retirement->lanes, (retirement->n_lanes + n_lanes) * sizeof(*lanes));

	if (!lanes)
		return -ENOMEM;
	retirement->lanes = lanes;
	return 0;
}

void chi_pool_note_lane(struct chi_pool *pool, struct chi_lane *lane)
{
	pool->retirement.lanes[pool->retirement.n_lanes++] = lane;
}

/* ---- create() and destroy() ---- */

/* Around create() and destroy(), which run in the task of who asked: what they submit is not his (submit.c). */
static void works_for_pool(bool does)
{
	if (CHI_CUR_WORKER && CHI_CUR_WORKER->current)
		CHI_CUR_WORKER->current->works_for_pool = does;
}

int chi_pool_make_container(struct chi_pool *pool, const struct chi_pool_spec *spec, uint32_t id, bool *ret_created)
{
	const struct chi_module *module = pool->module->table;
	struct chi_container *container;
	int error = chi_container_make(pool, id, &container);

	if (error)
		return error;
	pool->local_table[id] = container;
	pool->by_global_id[id] = container;
	pool->n_local = id + 1;
	container->creating = true;
	works_for_pool(true);
	if (module->create)
		error = module->create(container, spec->params, spec->params_size);
	works_for_pool(false);
	*ret_created = error >= 0;
	if (error < 0)
		chi_error_set(error, "create() of module '%s' failed for container %u: %s", pool->module->name, id,
			      strerror(-error));
	else
		error = chi_container_ready(container);
	container->creating = false;
	return error;
}

static void event_done(void *arg)
{
	chi_context_event_set(arg);
}

void chi_pool_take_apart(struct chi_pool_manager *manager, struct chi_pool *pool, uint32_t n_created)
{
	const struct chi_module *module = pool->module->table;
	struct chi_context_event event;

	chi_context_event_init(&event);
	pool->retirement.done = event_done;
	pool->retirement.arg = &event;
	chi_work_orch_retire_lanes(manager->runtime->orch, &pool->retirement);
	chi_context_event_wait(&event);
	works_for_pool(true);
	for (uint32_t i = 0; module->destroy && i < n_created; i++)
		module->destroy(pool->local_table[i]);
	works_for_pool(false);
}
