/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_manager.c - making, finding, flushing and ending pools
 *
 * The lock guards slots, names and states and is held for a few instructions only: never while a module's code runs,
 * never across a switch of the fiber. So a create() may make pools of its own, and pools may end while others are made.
 *
 * A task's way in against a pool's end:
 *
 *   chi_pool_get_uncounted()   count up; closing (seq_cst, both)? count down, none
 *   chi_pool_end()             closing = 1; seq_cst fence; wait until the counts are 0
 *
 * G1  Either the getter sees `closing`, or the ender sees the count (Dekker). After the counts were seen 0 no task is
 *     in the pool, and none gets in.
 * G2  A getter may still hold the pool's address without a count, between its load of the slot and its count. It is a
 *     worker outside any switch: once each worker has passed its inbox (the first round of the retirement, which comes
 *     after the slot is cleared), nobody has the address.
 * G3  The tasks of a turn that end in their place, one after the other, are let in by one count, the worker's hold. One
 *     that outlasts its place (goes to a lane, waits, submits) has the count from then on, and the next task begins a
 *     hold anew. So a count stands for one task at any time, and there is none for a pool whose tasks have all left
 *     their turns: a method that waits for another pool's end does not wait for its own worker.
 * G4  A task that another calls in place in its own pool (F4 in turn.c) is counted by that one, which ends later, until
 *     it outlasts its place: then in the same epoch. A flush leaves out the counts of those who wait for who asked for
 *     it. If it is the task itself that asks, it has a count of its own by then; and a caller that has other children
 *     does not count for it, as one of them may ask meanwhile.
 *
 * G1 and G2 are checked by verify/pool_end.pml, with rest, resume and flush; G3 and G4 by model_simulate.
 */
#include "runtime/pool_manager.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "runtime/context_wait.h"
#include "runtime/count.h"
#include "runtime/counter_page.h"
#include "runtime/early_end.h"
#include "runtime/log.h"
#include "runtime/runtime.h"
#include "runtime/session.h"
#include "runtime/worker.h"
#include "task/error.h"

#define SLOT_BITS	 12u
#define REUSE_MAX	 ((1u << (32 - SLOT_BITS)) - 1)
#define FIRST_FREE_SLOT	 (CHI_ADMIN_POOL_ID + 1) /* slot 0: id 0 is nobody's; slot 1: admin */
#define WAIT_FIRST_NS	 (20 * HSHM_NSEC_PER_USEC)
#define WAIT_LONGEST_NS	 (5 * HSHM_NSEC_PER_MSEC)
#define END_ALL_CHECK_US 50
#define END_ALL_TRIES	 8u
#define LOGGED_A_SECOND	 10u
#define THIS_NODE	 0u /* the only one so far */

#define RESTED_OR_RESUMED (UINT64_C(1) << 32) /* in chi_pool.resting */

_Static_assert(CHI_POOL_SLOTS == 1u << SLOT_BITS, "an id is slot | reuse << SLOT_BITS");

struct slot {
	hshm_aptr ready;       /* what tasks find; NULL: nothing */
	struct chi_pool *pool; /* in any state; under the lock */
	uint32_t reuse;	       /* under the lock */
};

/* A task, of any pool, that a flush must not wait for. */
struct flush_caller {
	const struct chi_run_context *context;
	uint32_t n_flushes;
};

/* At stop: a task of admin's that nobody submitted: it comes to a worker as a work. */
struct end_all {
	struct chi_work work;
	struct chi_run_context *context; /* made ahead: a stop may come because there is no memory left */
	struct chi_task task;
	hshm_au32 pool_id; /* the one that it ends just now */
	hshm_au32 failed;
};

struct chi_pool_manager {
	struct chi_runtime *runtime;
	pthread_mutex_t lock;
	struct slot slots[CHI_POOL_SLOTS];
	uint32_t next_slot;
	uint64_t n_started_in_ended;  /* by pools that are gone; under the lock */
	struct flush_caller *callers; /* under the lock */
	uint32_t n_callers;
	uint32_t callers_allocated;
	struct chi_mutex flush_turn; /* one flush at a time flips epochs */
	struct end_all end_all;
};

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
	manager->next_slot = FIRST_FREE_SLOT;
	/* an id of the runtime before this one, which a client still has, shall find nothing here */
	for (uint32_t i = FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++)
		manager->slots[i].reuse = (uint32_t)(runtime->generation >> 32) & (REUSE_MAX >> 1);
	pthread_mutex_init(&manager->lock, NULL);
	*ret_manager = manager;
	return 0;
}

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

static void free_pool(struct chi_pool *pool)
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
		free_pool(pool);
	}
	if (manager->end_all.context)
		hshm_heap_free(manager->runtime->heap, manager->end_all.context);
	free(manager->callers);
	pthread_mutex_destroy(&manager->lock);
	free(manager);
}

/* ---- on the path of every task ---- */

struct chi_pool *chi_pool_get_uncounted(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch)
{
	/* acquire: pairs with the release in publish(): the pool is complete. It is not freed under us: G2 */
	struct chi_pool *pool = hshm_load_acquire(&manager->slots[pool_id % CHI_POOL_SLOTS].ready);
	uint8_t epoch;

	if (!pool || pool->id != pool_id)
		return NULL;
	/* relaxed: a getter that a flip of the epoch overtakes counts in the old one; the next flush waits for that,
	 * too */
	epoch = hshm_load_relaxed(&pool->flush_epoch) & 1;
	/* seq_cst, both: the count before the look at `closing` (G1); cheaper than a fence between them */
	hshm_fetch_add_seq_cst(&pool->n_in_flight[epoch], 1);
	if (hshm_load_seq_cst(&pool->closing)) {
		chi_pool_put(pool, epoch);
		return NULL;
	}
	*ret_flush_epoch = epoch;
	return pool;
}

struct chi_pool *chi_pool_get(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch)
{
	struct chi_pool *pool = chi_pool_get_uncounted(manager, pool_id, ret_flush_epoch);

	/* relaxed: the task's own end publishes it, and whatever it starts comes after (chi_pool_count_in_flight()) */
	if (pool)
		hshm_fetch_add_relaxed(&pool->n_started, 1);
	return pool;
}

void chi_pool_put(struct chi_pool *pool, uint8_t flush_epoch)
{
	/* release: what the task did happens before the end of who sees the count fall; pairs with in_flight() */
	hshm_fetch_sub_release(&pool->n_in_flight[flush_epoch], 1);
}

struct chi_pool *chi_pool_hold_anew(struct chi_pool_manager *manager, struct chi_pool_hold *hold, uint32_t pool_id)
{
	chi_pool_let_go(hold);
	hold->pool = chi_pool_get(manager, pool_id, &hold->flush_epoch);
	return hold->pool;
}

void chi_pool_hand_over(struct chi_pool_hold *hold)
{
	if (hold->n_more) /* relaxed: as in chi_pool_get() */
		hshm_fetch_add_relaxed(&hold->pool->n_started, hold->n_more);
	*hold = (struct chi_pool_hold){ 0 };
}

void chi_pool_let_go(struct chi_pool_hold *hold)
{
	struct chi_pool *pool = hold->pool;
	uint8_t flush_epoch = hold->flush_epoch;

	if (!pool)
		return;
	chi_pool_hand_over(hold);
	chi_pool_put(pool, flush_epoch);
}

bool chi_pool_get_by_caller(const struct chi_run_context *caller, uint32_t pool_id)
{
	struct chi_pool *pool = caller->pool;

	/* A part of a broadcast is not counted itself. relaxed, both: seen late, it is a task that came before; and the
	 * caller's children are raised by this thread. */
	if (pool->id != pool_id || caller->broadcast || hshm_load_relaxed(&caller->n_children) ||
	    hshm_load_relaxed(&pool->closing))
		return false;
	hshm_fetch_add_relaxed(&pool->n_started, 1); /* relaxed: as in chi_pool_get() */
	return true;
}

void chi_pool_get_again(struct chi_pool *pool, uint8_t flush_epoch)
{
	/* relaxed: the caller's count is there, and falls later on this thread (G4) */
	hshm_fetch_add_relaxed(&pool->n_in_flight[flush_epoch], 1);
}

static uint64_t in_flight(const struct chi_pool *pool, uint32_t parity)
{
	/* acquire: pairs with the release in chi_pool_put() */
	return hshm_load_acquire(&pool->n_in_flight[parity]);
}

void chi_pool_rest(struct chi_pool *pool, uint8_t flush_epoch)
{
	/* First here, then not there: who sees the count fall below sees this (release, there; pairs with
	 * in_flight()). */
	hshm_fetch_add_relaxed(&pool->resting, RESTED_OR_RESUMED + 1);
	chi_pool_put(pool, flush_epoch);
}

void chi_pool_resume(struct chi_pool *pool, uint8_t *ret_flush_epoch)
{
	/* relaxed: as in chi_pool_get_uncounted() */
	uint8_t epoch = hshm_load_relaxed(&pool->flush_epoch) & 1;

	/* First there, then not here: who sees it gone from here sees the count (release; pairs with n_present()). */
	hshm_fetch_add_relaxed(&pool->n_in_flight[epoch], 1);
	hshm_fetch_add_acq_rel(&pool->resting, RESTED_OR_RESUMED - 1);
	*ret_flush_epoch = epoch;
}

/* Tasks in the pool, at rest or in flight. One that moves from the one to the other while we look could be missed: look
 * again, for as long as one has moved. */
static uint64_t n_present(const struct chi_pool *pool)
{
	/* acquire, all: the looks are made in this order; and pairs with the releases in chi_pool_resume(),
	 * chi_pool_put() */
	uint64_t before, n, resting = hshm_load_acquire(&pool->resting);

	do {
		before = resting;
		n = in_flight(pool, 0) + in_flight(pool, 1);
		resting = hshm_load_acquire(&pool->resting);
	} while (resting != before);
	return n + (uint32_t)resting;
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

/* ---- waiting, in a fiber ---- */

static void wait_a_little(uint64_t *delay_ns)
{
	chi_context_sleep(*delay_ns);
	if (*delay_ns < WAIT_LONGEST_NS)
		*delay_ns *= 2;
}

/* The task that runs here; NULL at start. */
static const struct chi_run_context *current_context(void)
{
	return CHI_CUR_WORKER ? CHI_CUR_WORKER->current : NULL;
}

/* Does the task here, or one that waits for it, run in that pool? */
static bool called_from_pool(const struct chi_pool *pool)
{
	for (const struct chi_run_context *c = current_context(); c; c = chi_context_above(c)) {
		if (c->pool == pool)
			return true;
	}
	return false;
}

static bool called_from_context(const struct chi_run_context *context)
{
	for (const struct chi_run_context *c = current_context(); c; c = chi_context_above(c)) {
		if (c == context)
			return true;
	}
	return false;
}

/* A client can repeat it. At the runtime's start nobody asks, and what is made is told there (compose.c). */
static void log_life(const struct chi_pool *pool, const char *what)
{
	const struct chi_run_context *context = current_context();

	if (!context || !chi_log_allowed(&pool->runtime->log_limits.pool_life, LOGGED_A_SECOND))
		return;
	if (context->session)
		chi_log_info("pool '%s' %s: id %u, asked by client %u, pid %d", pool->name, what, pool->id,
			     context->session->client_id, (int)context->session->pid);
	else
		chi_log_info("pool '%s' %s: id %u, asked by a task of the runtime", pool->name, what, pool->id);
}

/* -ELIBBAD was logged with the module's file (module_manager.c). */
static void log_not_made(const struct chi_pool *pool, int error)
{
	if (error != -ELIBBAD && chi_log_allowed(&pool->runtime->log_limits.pool_not_made, LOGGED_A_SECOND))
		chi_log_warn("pool '%s' is not made: %s", pool->name, chi_error_text());
}

/* ---- making ---- */

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
static struct slot *find_free_slot(struct chi_pool_manager *manager, uint32_t *ret_index)
{
	for (uint32_t n = FIRST_FREE_SLOT; n < CHI_POOL_SLOTS; n++) {
		uint32_t index = manager->next_slot;
		struct slot *slot = &manager->slots[index];

		manager->next_slot = index + 1 < CHI_POOL_SLOTS ? index + 1 : FIRST_FREE_SLOT;
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

/* Reserve name and slot for a new pool (1), or open the one of that name (0). */
static int reserve(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, struct chi_pool *pool,
		   bool open_existing, uint32_t fixed_id, uint32_t *ret_pool_id)
{
	uint64_t delay_ns = WAIT_FIRST_NS;

	for (;;) {
		struct chi_pool *there;
		uint32_t index = fixed_id;
		struct slot *slot;
		int ret = 1;

		pthread_mutex_lock(&manager->lock);
		there = find_name(manager, pool->name);
		if (there && there->state == CHI_POOL_READY) {
			ret = check_existing(there, spec, open_existing, ret_pool_id);
		} else if (there && called_from_context(there->maker)) {
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
		wait_a_little(&delay_ns);
	}
}

static void release_slot(struct chi_pool_manager *manager, const struct chi_pool *pool)
{
	struct slot *slot = &manager->slots[pool->id % CHI_POOL_SLOTS];

	pthread_mutex_lock(&manager->lock);
	slot->pool = NULL;
	if (pool->n_local) /* a create() was called, and knows the id */
		slot->reuse++;
	manager->n_started_in_ended += hshm_load_relaxed(&pool->n_started); /* relaxed: nobody starts any more */
	pthread_mutex_unlock(&manager->lock);
}

static int make_tables(struct chi_pool *pool)
{
	pool->local_table = calloc(pool->n_containers, sizeof(*pool->local_table));
	pool->global_table = calloc(pool->n_containers, sizeof(*pool->global_table));
	pool->by_global_id = calloc(pool->n_containers, sizeof(*pool->by_global_id));
	if (!pool->local_table || !pool->global_table || !pool->by_global_id)
		return chi_error_set(-ENOMEM, "no memory for pool '%s'", pool->name);
	return 0;
}

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

/* Around create() and destroy(), which run in the task of who asked: what they submit is not his (submit.c). */
static void works_for_pool(bool does)
{
	if (CHI_CUR_WORKER && CHI_CUR_WORKER->current)
		CHI_CUR_WORKER->current->works_for_pool = does;
}

/* @ret_created: the module's create() succeeded, so its destroy() is owed */
static int make_container(struct chi_pool *pool, const struct chi_pool_spec *spec, uint32_t id, bool *ret_created)
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

/* Nobody finds the pool any more. Its lanes leave the workers, then the module may take it apart. */
static void take_apart(struct chi_pool_manager *manager, struct chi_pool *pool, uint32_t n_created)
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

static void publish(struct chi_pool_manager *manager, struct chi_pool *pool)
{
	pthread_mutex_lock(&manager->lock);
	pool->state = CHI_POOL_READY;
	pool->maker = NULL;
	/* release: the whole pool before its address; pairs with the acquire in chi_pool_get_uncounted() */
	hshm_store_release(&manager->slots[pool->id % CHI_POOL_SLOTS].ready, pool);
	pthread_mutex_unlock(&manager->lock);
}

static int build(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, struct chi_pool *pool)
{
	bool at_start = !current_context();
	uint32_t n_created = 0;
	int error;

	error = chi_module_get(manager->runtime->modules, spec->module, &pool->module);
	if (error)
		return error;
	if (spec->interface_hash && spec->interface_hash != pool->module->table->interface_hash)
		return chi_error_set(-EPROTO, "module '%s' has interface %016llx, asked for is %016llx", spec->module,
				     (unsigned long long)pool->module->table->interface_hash,
				     (unsigned long long)spec->interface_hash);
	error = make_tables(pool);
	if (error)
		return error;
	take_counter_rows(pool);
	if (chi_work_orch_retire_prepare(manager->runtime->orch, &pool->retirement))
		return chi_error_set(-ENOMEM, "no memory for pool '%s'", pool->name);
	for (uint32_t id = 0; !error && id < pool->n_containers; id++) {
		bool created = false;

		error = make_container(pool, spec, id, &created);
		n_created += created;
	}
	if (error < 0 && !at_start) {
		char why[256];

		/* the undo switches the fiber, and others use the thread's text meanwhile */
		snprintf(why, sizeof(why), "%s", chi_error_text());
		take_apart(manager, pool, n_created);
		chi_error_set(error, "%s", why);
	}
	return error;
}

static struct chi_pool *alloc_pool(struct chi_pool_manager *manager, const struct chi_pool_spec *spec, const char *name)
{
	struct chi_pool *pool = aligned_alloc(HSHM_FALSE_SHARING, sizeof(*pool));

	if (!pool)
		return NULL;
	memset(pool, 0, sizeof(*pool));
	pool->runtime = manager->runtime;
	pool->n_containers = spec->n_containers ? spec->n_containers : 1;
	pool->maker = current_context();
	strcpy(pool->name, name);
	return pool;
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
	ret = reserve(manager, spec, pool, open_existing, fixed_id, ret_pool_id);
	if (ret != 1) {
		if (ret == 0)
			*ret_created = false;
		free(pool);
		return ret;
	}
	ret = build(manager, spec, pool);
	if (ret) {
		log_not_made(pool, ret);
		release_slot(manager, pool);
		if (pool->module)
			chi_module_put(manager->runtime->modules, pool->module);
		free_pool(pool);
		return ret;
	}
	*ret_pool_id = pool->id;
	*ret_created = true;
	log_life(pool, "made"); /* once published, it may end at any time */
	publish(manager, pool);
	return 0;
}

/* ---- ending ---- */

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
	} else if (called_from_pool(pool)) {
		error = chi_error_set(-EBUSY, "pool '%s' cannot be destroyed by a task of its own", pool->name);
	} else if (only_idle && n_present(pool) > 0) {
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

	if (n_present(pool))
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
	uint64_t delay_ns = WAIT_FIRST_NS;
	struct chi_pool *pool = NULL;
	int error = begin_end(manager, pool_id, only_idle, &pool);

	if (error)
		return error;
	hshm_fence_seq_cst(); /* G1: pairs with the seq_cst count and look in chi_pool_get_uncounted() */
	for (uint32_t i = 0; i < chi_work_orch_n_workers(orch); i++)
		chi_worker_ask_expire(chi_work_orch_worker(orch, i));
	while (!try_leave(manager, pool))
		wait_a_little(&delay_ns);
	/* relaxed: a getter that still sees the pool finds it closing (G1, G2) */
	hshm_store_relaxed(&manager->slots[pool_id % CHI_POOL_SLOTS].ready, NULL);
	take_apart(manager, pool, pool->n_local);
	release_slot(manager, pool);
	chi_module_put(manager->runtime->modules, pool->module);
	if (!only_idle) /* not at stop */
		log_life(pool, "destroyed");
	free_pool(pool);
	return 0;
}

int chi_pool_end(struct chi_pool_manager *manager, uint32_t pool_id)
{
	return end_pool(manager, pool_id, false);
}

/* ---- ending all, at the runtime's stop ---- */

static int end_all_run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct chi_pool_manager *manager = context->pool->runtime->pools;
	struct end_all *end = &manager->end_all;

	(void)container;
	(void)task;
	for (uint32_t i = FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++) {
		uint32_t pool_id = 0;

		chi_pool_manager_lock(manager);
		if (manager->slots[i].pool)
			pool_id = manager->slots[i].pool->id;
		chi_pool_manager_unlock(manager);
		hshm_store_relaxed(&end->pool_id, pool_id); /* relaxed: a number to look at */
		if (pool_id && end_pool(manager, pool_id, true) < 0)
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
	struct end_all *end = (struct end_all *)work;
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

static void log_destroy_that_hangs(struct chi_pool_manager *manager, const struct end_all *end)
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
	struct end_all *end = &manager->end_all;

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

/* ---- flush ---- */

static struct flush_caller *find_caller(struct chi_pool_manager *manager, const struct chi_run_context *context)
{
	for (uint32_t i = 0; i < manager->n_callers; i++) {
		if (manager->callers[i].context == context)
			return &manager->callers[i];
	}
	return NULL;
}

/* Under the lock. */
static int add_caller(struct chi_pool_manager *manager, const struct chi_run_context *context)
{
	struct flush_caller *caller = find_caller(manager, context);

	if (caller) {
		caller->n_flushes++;
		return 0;
	}
	if (manager->n_callers == manager->callers_allocated) {
		uint32_t n = manager->callers_allocated ? manager->callers_allocated * 2 : 16;

		caller = realloc(manager->callers, n * sizeof(*caller));
		if (!caller)
			return chi_error_set(-ENOMEM, "no memory for a flush");
		manager->callers = caller;
		manager->callers_allocated = n;
	}
	manager->callers[manager->n_callers++] = (struct flush_caller){ context, 1 };
	/* relaxed: under the lock */
	hshm_fetch_add_relaxed(&context->pool->n_flush_callers[context->flush_epoch], 1);
	return 0;
}

/* Under the lock; up to, not including @end. */
static void remove_callers(struct chi_pool_manager *manager, const struct chi_run_context *end)
{
	for (const struct chi_run_context *c = current_context()->parent; c != end; c = c->parent) {
		struct flush_caller *caller = find_caller(manager, c);

		if (--caller->n_flushes)
			continue;
		/* relaxed: under the lock */
		hshm_fetch_sub_relaxed(&c->pool->n_flush_callers[c->flush_epoch], 1);
		*caller = manager->callers[--manager->n_callers];
	}
}

/* Who waits for this flush would keep it waiting for ever: they and those who wait for them are not counted. */
static int enter_flush(struct chi_pool_manager *manager)
{
	int error = 0;

	pthread_mutex_lock(&manager->lock);
	for (const struct chi_run_context *c = current_context()->parent; c && !error; c = c->parent) {
		/* the part of a broadcast has no count of its own, and its origin waits for all parts */
		if (c->broadcast)
			error = chi_error_set(-EBUSY, "a flush inside a broadcast would wait for itself");
		else
			error = add_caller(manager, c);
		if (error)
			remove_callers(manager, c);
	}
	pthread_mutex_unlock(&manager->lock);
	return error;
}

static void leave_flush(struct chi_pool_manager *manager)
{
	pthread_mutex_lock(&manager->lock);
	remove_callers(manager, NULL);
	pthread_mutex_unlock(&manager->lock);
}

/* Callers come and go under the lock, and are in flight all the time between: so what is more than they are others. */
static bool others_in_flight(struct chi_pool_manager *manager, const struct chi_pool *pool, uint32_t parity)
{
	bool others;

	pthread_mutex_lock(&manager->lock);
	/* relaxed: under the lock */
	others = in_flight(pool, parity) > hshm_load_relaxed(&pool->n_flush_callers[parity]);
	pthread_mutex_unlock(&manager->lock);
	return others;
}

static void wait_parity(struct chi_pool_manager *manager, const struct chi_pool *pool, uint32_t parity)
{
	uint64_t delay_ns = WAIT_FIRST_NS;

	while (others_in_flight(manager, pool, parity))
		wait_a_little(&delay_ns);
}

/* What is in the other parity is left over from the flush before (its callers, or who was overtaken by its flip); what
 * is in this one came since. New tasks go to the parity that is not waited for, so both waits come to an end. */
static void flush_pool(struct chi_pool_manager *manager, struct chi_pool *pool)
{
	uint32_t parity = hshm_load_relaxed(&pool->flush_epoch) &
			  1; /* relaxed: only the flush whose turn it is writes it */

	wait_parity(manager, pool, parity ^ 1);
	/* relaxed: whoever entered before this flush was asked for had read the old one */
	hshm_store_relaxed(&pool->flush_epoch, parity ^ 1);
	wait_parity(manager, pool, parity);
}

int chi_pool_flush_all(struct chi_pool_manager *manager)
{
	int error = enter_flush(manager);

	if (error)
		return error;
	chi_mutex_lock(&manager->flush_turn);
	for (uint32_t i = FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++) {
		struct chi_pool *pool;

		pthread_mutex_lock(&manager->lock);
		pool = manager->slots[i].pool;
		if (pool && (pool->state == CHI_POOL_MAKING || pool->state == CHI_POOL_LEFT))
			pool = NULL;
		if (pool)
			pool->n_pins++;
		pthread_mutex_unlock(&manager->lock);
		if (!pool)
			continue;
		flush_pool(manager, pool);
		pthread_mutex_lock(&manager->lock);
		pool->n_pins--;
		pthread_mutex_unlock(&manager->lock);
	}
	chi_mutex_unlock(&manager->flush_turn);
	leave_flush(manager);
	return 0;
}

/* ---- looking ---- */

static struct chi_pool_info describe_pool(const struct chi_pool *pool)
{
	struct chi_pool_info info = {
		.pool_id = pool->id,
		.n_containers = pool->n_containers,
		.n_tasks = hshm_load_relaxed(&pool->n_started), /* relaxed: a figure to look at */
		.n_in_flight = n_present(pool),
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
			n += n_present(pool);
	}
	return n;
}

/* Pools are looked at one after the other, and a task of one that is looked at later may start one in a pool that was
 * found empty, and end before we come to it. Its end publishes that start (release in chi_pool_put(), acquire in
 * in_flight()): then the sum of the starts has moved, and the 0 does not count. */
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
