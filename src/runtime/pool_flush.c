/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_flush.c - wait until every task that was in a pool has left it
 */
#include <errno.h>
#include <stdlib.h>

#include "runtime/pool_internal.h"
#include "runtime/run_context.h"
#include "task/error.h"

static struct chi_flush_caller *find_caller(struct chi_pool_manager *manager, const struct chi_run_context *context)
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
	struct chi_flush_caller *caller = find_caller(manager, context);

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
	manager->callers[manager->n_callers++] = (struct chi_flush_caller){ context, 1 };
	/* relaxed: under the lock */
	hshm_fetch_add_relaxed(&context->pool->n_flush_callers[context->flush_epoch], 1);
	return 0;
}

/* Under the lock; up to, not including @end. */
static void remove_callers(struct chi_pool_manager *manager, const struct chi_run_context *end)
{
	for (const struct chi_run_context *c = chi_pool_asker()->parent; c != end; c = c->parent) {
		struct chi_flush_caller *caller = find_caller(manager, c);

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
	for (const struct chi_run_context *c = chi_pool_asker()->parent; c && !error; c = c->parent) {
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
	others = chi_pool_n_in_flight(pool, parity) > hshm_load_relaxed(&pool->n_flush_callers[parity]);
	pthread_mutex_unlock(&manager->lock);
	return others;
}

static void wait_parity(struct chi_pool_manager *manager, const struct chi_pool *pool, uint32_t parity)
{
	uint64_t delay_ns = CHI_POOL_WAIT_FIRST_NS;

	while (others_in_flight(manager, pool, parity))
		chi_pool_wait_a_little(&delay_ns);
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
	for (uint32_t i = CHI_POOL_FIRST_FREE_SLOT; i < CHI_POOL_SLOTS; i++) {
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
