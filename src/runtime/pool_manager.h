/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_manager.h - pools, their containers and their two domain tables
 *
 * chi_pool_get() is on the path of every task and takes no lock: a slot's pointer, a count, a look at `closing`. A pool is
 * freed only after every worker has passed a point outside any task (chi_work_orch_quiesce()).
 */
#ifndef RUNTIME_POOL_MANAGER_H
#define RUNTIME_POOL_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/admin.h>
#include <chimaera/module.h>

#include "runtime/container.h"
#include "runtime/estimate.h"
#include "runtime/module_manager.h"

#define CHI_POOL_SLOTS 4096u /* pool id = slot | reuse << 12; ids are never given twice in a runtime's life */

struct chi_runtime;
struct chi_pool_manager;

struct chi_pool {
	struct chi_runtime *runtime;
	uint32_t id;
	uint32_t n_containers;
	char name[CHI_NAME_MAX];
	const struct chi_loaded_module *module;
	struct chi_container **local_table;  /* [local index] -> container here */
	uint32_t n_local;
	uint32_t *global_table;		     /* [global id] -> node; one node so far: all 0 */
	struct chi_container **by_global_id; /* [global id] -> container here, or NULL */
	hshm_au32 closing;
	hshm_au64 n_started;
	/* in flight, by the parity of flush_epoch at their start */
	hshm_au64 n_in_flight[2];
	hshm_au32 flush_epoch;
	hshm_au32 next_dynamic;
	struct chi_estimate estimates[CHI_METHODS_MAX];
};

int chi_pool_manager_create(struct chi_runtime *runtime, struct chi_pool_manager **ret_manager);
/* All workers have ended. Calls no module code but through chi_module_put(). */
void chi_pool_manager_destroy(struct chi_pool_manager *manager);

/* A pool to run a task in: counted as in flight. NULL: no such pool, or it is closing. Lock-free. Workers. */
struct chi_pool *chi_pool_get(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch);
void chi_pool_put(struct chi_pool *pool, uint8_t flush_epoch);

/* The method of a pool's module, or NULL. */
static inline const struct chi_method *chi_pool_method(const struct chi_pool *pool, uint32_t method_id)
{
	return method_id < CHI_METHODS_MAX ? pool->module->methods[method_id] : NULL;
}

/* The container a query names, both tables considered; not for BCAST, nor for DYNAMIC (resolved before). -ENOENT: no such
 * container; -EINVAL: kind. Lock-free. */
int chi_pool_resolve(struct chi_pool *pool, const struct chi_domain_query *query, struct chi_container **ret_container);

/* The rest runs in an admin fiber (or at start, before workers). */
int chi_pool_make(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, bool open_existing,
		  uint32_t fixed_id, uint32_t *ret_pool_id, bool *ret_created);
int chi_pool_end(struct chi_pool_manager *manager, uint32_t pool_id);
uint32_t chi_pool_list_all(struct chi_pool_manager *manager, struct chi_pool_info *ret_pools, uint32_t n_max);
/* Every task started before, in any pool but admin's, has ended. In a fiber. */
int chi_pool_flush_all(struct chi_pool_manager *manager);
/* Tasks in flight in all pools; logs each pool and method when @log. */
uint64_t chi_pool_count_in_flight(struct chi_pool_manager *manager, bool log);

#endif
