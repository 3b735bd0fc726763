/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_entry.c - a task's way into a pool and out of it, at rest and back
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
#include "runtime/pool_internal.h"
#include "runtime/run_context.h"

#define RESTED_OR_RESUMED (UINT64_C(1) << 32) /* in chi_pool.resting */

struct chi_pool *chi_pool_get_uncounted(struct chi_pool_manager *manager, uint32_t pool_id, uint8_t *ret_flush_epoch)
{
	/* acquire: pairs with the release in chi_pool_publish(): the pool is complete. It is not freed under us: G2 */
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
	/* release: what the task did happens before the end of who sees the count fall; pairs with
	 * chi_pool_n_in_flight() */
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

	/* A part of a broadcast is not counted itself. relaxed: seen late, it is a task that came before. */
	if (pool->id != pool_id || caller->broadcast || chi_context_has_children(caller) ||
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

uint64_t chi_pool_n_in_flight(const struct chi_pool *pool, uint32_t parity)
{
	/* acquire: pairs with the release in chi_pool_put() */
	return hshm_load_acquire(&pool->n_in_flight[parity]);
}

void chi_pool_rest(struct chi_pool *pool, uint8_t flush_epoch)
{
	/* First here, then not there: who sees the count fall below sees this (release, there; pairs with
	 * chi_pool_n_in_flight()). */
	hshm_fetch_add_relaxed(&pool->resting, RESTED_OR_RESUMED + 1);
	chi_pool_put(pool, flush_epoch);
}

void chi_pool_resume(struct chi_pool *pool, uint8_t *ret_flush_epoch)
{
	/* relaxed: as in chi_pool_get_uncounted() */
	uint8_t epoch = hshm_load_relaxed(&pool->flush_epoch) & 1;

	/* First there, then not here: who sees it gone from here sees the count (release; pairs with
	 * chi_pool_n_present()). */
	hshm_fetch_add_relaxed(&pool->n_in_flight[epoch], 1);
	hshm_fetch_add_acq_rel(&pool->resting, RESTED_OR_RESUMED - 1);
	*ret_flush_epoch = epoch;
}

/* One that moves from the one to the other while we look could be missed: look again, for as long as one has moved. */
uint64_t chi_pool_n_present(const struct chi_pool *pool)
{
	/* acquire, all: the looks are made in this order; and pairs with the releases in chi_pool_resume(),
	 * chi_pool_put() */
	uint64_t before, n, resting = hshm_load_acquire(&pool->resting);

	do {
		before = resting;
		n = chi_pool_n_in_flight(pool, 0) + chi_pool_n_in_flight(pool, 1);
		resting = hshm_load_acquire(&pool->resting);
	} while (resting != before);
	return n + (uint32_t)resting;
}
