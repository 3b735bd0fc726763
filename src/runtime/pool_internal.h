/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_internal.h - the pool manager's own structures, and what its files share
 *
 *   pool_manager.c     the table: slots, ids and names
 *   pool_entry.c       a task's way in and out, at rest and back: on the path of every task
 *   pool_containers.c  a pool's containers, which one a query names
 *   pool_make.c        making and freeing
 *   pool_end.c         ending one; pool_end_all.c: all, at the runtime's stop
 *   pool_flush.c       waiting until those in it have left
 *   pool_list.c        looking: which there are, how many tasks are in them
 *   pool_asker.c       the task that asks for one of these
 *
 * The lock guards slots, names and states and is held for a few instructions only: never while a module's code runs,
 * never across a switch of the fiber. So a create() may make pools of its own, and pools may end while others are made.
 */
#ifndef RUNTIME_POOL_INTERNAL_H
#define RUNTIME_POOL_INTERNAL_H

#include <pthread.h>

#include <hshm/clock.h>

#include "runtime/pool_manager.h"
#include "task/work.h"

#define CHI_POOL_FIRST_FREE_SLOT (CHI_ADMIN_POOL_ID + 1) /* slot 0: id 0 is nobody's; slot 1: admin */
#define CHI_POOL_WAIT_FIRST_NS	 (20 * HSHM_NSEC_PER_USEC)

struct chi_pool_slot {
	hshm_aptr ready;       /* what tasks find; NULL: nothing */
	struct chi_pool *pool; /* in any state; under the lock */
	uint32_t reuse;	       /* under the lock */
};

/* A task, of any pool, that a flush must not wait for. */
struct chi_flush_caller {
	const struct chi_run_context *context;
	uint32_t n_flushes;
};

/* At stop: a task of admin's that nobody submitted: it comes to a worker as a work. */
struct chi_pool_end_all {
	struct chi_work work;
	struct chi_run_context *context; /* made ahead: a stop may come because there is no memory left */
	struct chi_task task;
	hshm_au32 pool_id; /* the one that it ends just now */
	hshm_au32 failed;
};

struct chi_pool_manager {
	struct chi_runtime *runtime;
	pthread_mutex_t lock;
	struct chi_pool_slot slots[CHI_POOL_SLOTS];
	uint32_t next_slot;
	uint64_t n_started_in_ended;	  /* by pools that are gone; under the lock */
	struct chi_flush_caller *callers; /* under the lock */
	uint32_t n_callers;
	uint32_t callers_allocated;
	struct chi_mutex flush_turn; /* one flush at a time flips epochs */
	struct chi_pool_end_all end_all;
};

/* ---- pool_manager.c ---- */

/* Reserve name and slot for a new pool (1), or open the one of that name (0). */
int chi_pool_reserve(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, struct chi_pool *pool,
		     bool open_existing, uint32_t fixed_id, uint32_t *ret_pool_id);
void chi_pool_publish(struct chi_pool_manager *manager, struct chi_pool *pool);
void chi_pool_release_slot(struct chi_pool_manager *manager, const struct chi_pool *pool);

/* ---- pool_entry.c ---- */

/* Of the tasks that entered in that parity of the flush epoch. */
uint64_t chi_pool_n_in_flight(const struct chi_pool *pool, uint32_t parity);
/* Tasks in the pool, at rest or in flight. */
uint64_t chi_pool_n_present(const struct chi_pool *pool);

/* ---- pool_containers.c ---- */

int chi_pool_make_tables(struct chi_pool *pool);
/* @ret_created: the module's create() succeeded, so its destroy() is owed */
int chi_pool_make_container(struct chi_pool *pool, const struct chi_pool_spec *spec, uint32_t id, bool *ret_created);
/* Nobody finds the pool any more. Its lanes leave the workers, then the module may take it apart. */
void chi_pool_take_apart(struct chi_pool_manager *manager, struct chi_pool *pool, uint32_t n_created);

/* ---- pool_make.c ---- */

void chi_pool_free(struct chi_pool *pool);

/* ---- pool_end.c ---- */

/* As chi_pool_end(), if no task is in it: -EBUSY. */
int chi_pool_end_idle(struct chi_pool_manager *manager, uint32_t pool_id);

/* ---- pool_asker.c ---- */

/* The task that runs here; NULL at start. */
const struct chi_run_context *chi_pool_asker(void);
/* Does the task here, or one that waits for it, run in that pool? Is it that one? */
bool chi_pool_asked_from(const struct chi_pool *pool);
bool chi_pool_asked_by(const struct chi_run_context *context);
/* In a fiber; each time a little longer. */
void chi_pool_wait_a_little(uint64_t *delay_ns);
/* A client can repeat it. At the runtime's start nobody asks, and what is made is told there (compose.c). */
void chi_pool_log_life(const struct chi_pool *pool, const char *what);

#endif
