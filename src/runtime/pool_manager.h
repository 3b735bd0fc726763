/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_manager.h - pools, their containers and their two domain tables
 *
 * chi_pool_get() is on the path of every task and takes no lock: a slot's pointer, a count, a look at `closing`. A pool
 * is freed only after every worker has passed a point outside any task (the first round of
 * chi_work_orch_retire_lanes()).
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
#include "runtime/work_orchestrator.h"

#define CHI_POOL_SLOTS 4096u /* pool id = slot | reuse << 12; ids are never given twice in a runtime's life */

struct chi_runtime;
struct chi_pool_manager;
struct chi_run_context;
/* A worker's count in a pool, for the tasks of a turn (G3 in pool_entry.c). */
struct chi_pool_hold {
	struct chi_pool *pool; /* NULL: none is held */
	uint32_t n_more;       /* tasks let in besides the first */
	uint8_t flush_epoch;
};

enum chi_pool_state {
	CHI_POOL_MAKING = 0, /* has its name and slot; tasks do not reach it */
	CHI_POOL_READY,
	CHI_POOL_ENDING, /* its name is free again; tasks in flight end */
	CHI_POOL_LEFT,	 /* no task is in it, and nobody but its ender may look inside: it is taken apart and freed */
};

struct chi_pool {
	struct chi_runtime *runtime;
	uint32_t id;
	uint32_t n_containers;
	char name[CHI_NAME_MAX];
	const struct chi_loaded_module *module;
	struct chi_container **local_table; /* [local index] -> container here */
	uint32_t n_local;
	uint32_t *global_table;		     /* [global id] -> node; one node so far: all are 0, this one */
	struct chi_container **by_global_id; /* [global id] -> container here, or NULL */
	hshm_au32 closing;
	hshm_au32 flush_epoch;

	/* under the manager's lock, or its maker's or ender's alone */
	enum chi_pool_state state;
	uint32_t n_pins; /* flushes that look at it: not freed meanwhile */
	const struct chi_run_context *maker;
	struct chi_retirement retirement; /* prepared when it is made, so that its end cannot fail */

	/* on the path of every task: away from what is only read */
	hshm_au64 n_started HSHM_ALIGNED(HSHM_FALSE_SHARING);
	/* in flight, by the parity of flush_epoch at their start */
	hshm_au64 n_in_flight[2];
	/* periodic tasks between two starts | how often one went to rest or came back << 32 */
	hshm_au64 resting;
	hshm_au32 next_dynamic;
	/* of them, tasks that wait for a flush themselves (or whose subtask does) */
	hshm_au32 n_flush_callers[2];
	struct chi_estimate estimates[CHI_METHODS_MAX];
	/* of the counters of its methods, in each worker's set; 0: among the others */
	uint32_t counters_offsets[CHI_METHODS_MAX];
	uint32_t counter_row; /* of its own facts; 0: none */
	bool counted;	      /* it has its rows */
};

int chi_pool_manager_create(struct chi_runtime *runtime, struct chi_pool_manager **ret_manager);
/* All workers have ended. Calls no module code but through chi_module_put(). */
void chi_pool_manager_destroy(struct chi_pool_manager *manager);

/* A pool to run a task in: counted as in flight and as started. NULL: no such pool, or it is closing. Lock-free.
 * Workers. */
struct chi_pool *chi_pool_get(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch);
/* The same, only to look at it: kept from its end, but no task started. */
struct chi_pool *chi_pool_get_uncounted(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch);
void chi_pool_put(struct chi_pool *pool, uint8_t flush_epoch);
/* The same for a task that @caller calls, if it is of the caller's own pool: no count, as the caller's stands for it
 * (G4). */
bool chi_pool_get_by_caller(const struct chi_run_context *caller, uint32_t pool_id);
/* It outlasts its place. */
void chi_pool_get_again(struct chi_pool *pool, uint8_t flush_epoch);
/* By a count of its own, of which the task is the first. */
struct chi_pool *chi_pool_hold_anew(struct chi_pool_manager *manager, struct chi_pool_hold *hold, uint32_t pool_id);
/* As chi_pool_get() for a task of a lane's turn, by one count for those that end in their place: worker->hold (G3). Not
 * after `closing`, nor after a flip: a flush and an end wait for none that came later. */
static inline struct chi_pool *chi_pool_hold(struct chi_pool_manager *manager, struct chi_pool_hold *hold,
					     uint32_t pool_id)
{
	struct chi_pool *pool = hold->pool;

	/* relaxed, both: seen late, it is one that came before */
	if (!pool || pool->id != pool_id || (hshm_load_relaxed(&pool->flush_epoch) & 1) != hold->flush_epoch ||
	    hshm_load_relaxed(&pool->closing))
		return chi_pool_hold_anew(manager, hold, pool_id);
	hold->n_more++;
	return pool;
}
/* The hold ends. Its count is from here on that of the task which it let in last; or it is given up, if there is
 * one. */
void chi_pool_hand_over(struct chi_pool_hold *hold);
void chi_pool_let_go(struct chi_pool_hold *hold);
/* A periodic task goes to rest until its next start: a flush does not wait for it, the pool's end does. The count taken
 * by chi_pool_get() is given up, and taken anew before it starts again or is completed. Lock-free. Workers. */
void chi_pool_rest(struct chi_pool *pool, uint8_t flush_epoch);
void chi_pool_resume(struct chi_pool *pool, uint8_t *ret_flush_epoch);

/* The method of a pool's module, or NULL. */
static inline const struct chi_method *chi_pool_method(const struct chi_pool *pool, uint32_t method_id)
{
	return method_id < CHI_METHODS_MAX ? pool->module->methods[method_id] : NULL;
}

/* The container a query names, both tables considered; not for BCAST, nor for DYNAMIC (resolved before). -ENOENT: no
 * such container; -EHOSTUNREACH: it is on another node; -EINVAL: kind. Lock-free. */
int chi_pool_resolve(struct chi_pool *pool, const struct chi_domain_query *query, struct chi_container **ret_container);

/* The rest runs in an admin fiber (chi_pool_make() of @fixed_id at start, before workers). */

/* As chi_pool_create() says. @fixed_id: 0, or the id (and slot) it shall have. */
int chi_pool_make(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, bool open_existing,
		  uint32_t fixed_id, uint32_t *ret_pool_id, bool *ret_created);
/* For the containers, while the pool is made: room for so many lanes more in its retirement, before a worker gets the
 * first; and each that a worker has got. Taking them back cannot fail then. -ENOMEM. */
int chi_pool_reserve_lanes(struct chi_pool *pool, uint32_t n_lanes);
void chi_pool_note_lane(struct chi_pool *pool, struct chi_lane *lane);
/* As chi_pool_destroy() says. */
int chi_pool_end(struct chi_pool_manager *manager, uint32_t pool_id);
/* Threads: any. */
uint32_t chi_pool_list_all(struct chi_pool_manager *manager, struct chi_pool_info *ret_pools, uint32_t n_max);
/* Every task that had entered a pool (but admin) before has ended, but those that wait for a flush themselves, and
 * periodic ones that rest (again). -EBUSY: asked inside a broadcast; -ENOMEM. */
int chi_pool_flush_all(struct chi_pool_manager *manager);
/* Tasks in flight in all pools, those at rest included. 0 only if no task is left anywhere: also none that another
 * started while we looked. From outside, new ones may come all the same. Threads: any. */
uint64_t chi_pool_count_in_flight(struct chi_pool_manager *manager);

/* At the runtime's stop, once its tasks have ended and while workers still run: end all pools but admin, so that
 * modules destroy what they have. Blocks the thread, which is no worker. Returns 0, or -ETIMEDOUT: a destroy() has not
 * returned by
 * @deadline_ns, the log says whose. */
int chi_pool_end_all(struct chi_pool_manager *manager, uint64_t deadline_ns);

/* While it is locked, no pool is freed and no module unloaded that a task is in. For a few instructions. Threads:
 * any. */
void chi_pool_manager_lock(struct chi_pool_manager *manager);
void chi_pool_manager_unlock(struct chi_pool_manager *manager);

#endif
