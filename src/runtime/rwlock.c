/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rwlock.c - chi_rwlock and chi_mutex: block the task, not the worker; hand over in the order of asking
 *
 * A mutex is a lock that only writers ask for. One word, and a list:
 *
 *   word   newest:32 | LINE | WRITER | readers:30
 *          newest   the last who asked and has to wait, as a reference; below it the others, a stack through `next`
 *          LINE     the fifo is not empty
 *          WRITER   held by a writer, or by who is handing over
 *          readers  how many hold it together
 *   fifo   those taken off the stack, oldest first; only who hands over touches it
 *
 *                             free           held
 *   a reader asks             readers = 1    readers + 1, if no WRITER and nobody waits; else push
 *   a writer asks             WRITER         push
 *   one of several leaves                    readers - 1
 *   the last leaves                          free, if nobody waits; else WRITER, and hand over
 *
 * L1  Who comes while somebody waits, waits behind him: neither readers nor writers are starved.
 * L2  Who waits pushes himself by a compare-and-swap on a word that is not free: some holder will leave and find him.
 * L3  With waiters the word is never free: the last holder makes itself the writer (one step) and hands over. If the
 *     fifo is empty it takes the whole stack, turned round. The oldest gets the lock: one writer, or all readers before
 *     the next.
 * L4  WRITER keeps all others out, so one at a time hands over.
 *
 * Checked by verify/rwlock.pml.
 */
#include "runtime/rwlock.h"

#include <assert.h>

#include "runtime/worker.h"

#define READER	     UINT64_C(1)
#define READERS_MASK ((UINT64_C(1) << 30) - 1)
#define WRITER	     (UINT64_C(1) << 30)
#define LINE	     (UINT64_C(1) << 31)
#define HELD_MASK    (LINE | WRITER | READERS_MASK)
#define NEWEST_SHIFT 32

static struct chi_run_context *newest_of(uint64_t word)
{
	return hipc_ref_translate(&CHI_CUR_WORKER->runtime->private_mem.map, (uint32_t)(word >> NEWEST_SHIFT),
				  sizeof(struct chi_run_context));
}

static bool somebody_waits(uint64_t word)
{
	return (word & LINE) || word >> NEWEST_SHIFT;
}

static bool can_enter(uint64_t word, bool shared)
{
	return word == 0 || (shared && !(word & WRITER) && !somebody_waits(word)); /* L1 */
}

/* ---- asking ---- */

static bool try_lock(struct chi_rwlock *lock, bool shared)
{
	uint64_t seen = hshm_load_relaxed(&lock->word); /* relaxed: the CAS checks it */

	while (can_enter(seen, shared))
		/* acquire: what the holders before did; pairs with the releases in unlock() and hand_over() */
		if (hshm_cas_acquire(&lock->word, &seen, shared ? seen + READER : WRITER))
			return true;
	return false;
}

/* L2. False: there is no need to. Else who hands over to the context posts its work. */
static bool stand_in_line(struct chi_rwlock *lock, struct chi_run_context *context, bool shared)
{
	uint64_t ref = chi_context_ref(CHI_CUR_WORKER->runtime, context);
	uint64_t seen = hshm_load_relaxed(&lock->word); /* relaxed: the CAS checks it */

	context->lock_shared = shared;
	do {
		if (can_enter(seen, shared))
			return false;
		context->next = newest_of(seen);
		/* release: the context's fields before who hands over finds it; pairs with the acquire in
		 * take_stack() */
	} while (!hshm_cas_release(&lock->word, &seen, (seen & HELD_MASK) | ref << NEWEST_SHIFT));
	return true;
}

static void lock_as(struct chi_rwlock *lock, bool shared)
{
	struct chi_run_context *context = CHI_CUR_WORKER->current;

	while (!try_lock(lock, shared)) {
		if (!stand_in_line(lock, context, shared))
			continue;
		/* The hand-over is a post to our inbox: its release and our drain's acquire carry what the holders
		 * before did. */
		chi_context_block(context);
		return;
	}
}

void chi_mutex_ask_for(struct chi_mutex *mutex, struct chi_run_context *context)
{
	bool stands = stand_in_line(&mutex->lock, context, false);

	assert(stands && "chi_cond_signal(), but nobody holds the mutex");
	(void)stands;
}

/* ---- leaving ---- */

/* The whole stack, turned round: oldest first. */
static struct chi_run_context *take_stack(struct chi_rwlock *lock)
{
	struct chi_run_context *at, *oldest = NULL;
	uint64_t seen = hshm_load_relaxed(&lock->word); /* relaxed: the CAS checks it */

	/* acquire: pairs with the release in stand_in_line() */
	while (!hshm_cas_acquire(&lock->word, &seen, seen & HELD_MASK))
		;
	at = newest_of(seen);
	while (at) {
		struct chi_run_context *before = at->next;

		at->next = oldest;
		oldest = at;
		at = before;
	}
	return oldest;
}

/* The heirs (L3), a list through `next`; and what they and the line behind them make of the word. */
static struct chi_run_context *take_heirs(struct chi_rwlock *lock, uint64_t *ret_holds)
{
	struct chi_run_context *first = lock->fifo ? lock->fifo : take_stack(lock), *last = first;
	uint64_t n_readers = first->lock_shared;

	while (last->lock_shared && last->next && last->next->lock_shared) {
		last = last->next;
		n_readers++;
	}
	lock->fifo = last->next;
	last->next = NULL;
	*ret_holds = (lock->fifo ? LINE : 0) | (n_readers ? n_readers : WRITER);
	return first;
}

/* As the writer, with somebody waiting. */
static void hand_over(struct chi_rwlock *lock)
{
	uint64_t holds, seen;
	struct chi_run_context *heir = take_heirs(lock, &holds);

	seen = hshm_load_relaxed(&lock->word); /* relaxed: the CAS checks it */
	/* release: what we did and the fifo, for readers that enter beside the heirs; pairs with the acquire in
	 * try_lock() */
	while (!hshm_cas_release(&lock->word, &seen, (seen & ~HELD_MASK) | holds))
		;
	while (heir) {
		struct chi_run_context *next = heir->next; /* the heir's own again once posted */

		chi_worker_post(heir->worker, &heir->work);
		heir = next;
	}
}

static uint64_t when_one_has_left(uint64_t word)
{
	assert(word && "an unlock, but nobody holds the lock");
	if ((word & READERS_MASK) > 1)
		return word - READER;
	return somebody_waits(word) ? (word & ~READERS_MASK) | WRITER : 0; /* L3 */
}

static void unlock(struct chi_rwlock *lock)
{
	uint64_t seen = hshm_load_relaxed(&lock->word), after; /* relaxed: the CAS checks it */

	do {
		after = when_one_has_left(seen);
		/* release: what we did, for the next holder; acquire: what the other readers did, for whom we hand over
		 * to, and the fifo */
	} while (!hshm_cas_acq_rel(&lock->word, &seen, after));
	if (after & WRITER)
		hand_over(lock);
}

/* ---- the calls ---- */

void chi_rwlock_read_lock(struct chi_rwlock *lock)
{
	lock_as(lock, true);
}

bool chi_rwlock_try_read_lock(struct chi_rwlock *lock)
{
	return try_lock(lock, true);
}

void chi_rwlock_write_lock(struct chi_rwlock *lock)
{
	lock_as(lock, false);
}

bool chi_rwlock_try_write_lock(struct chi_rwlock *lock)
{
	return try_lock(lock, false);
}

void chi_rwlock_unlock(struct chi_rwlock *lock)
{
	unlock(lock);
}

void chi_mutex_lock(struct chi_mutex *mutex)
{
	lock_as(&mutex->lock, false);
}

bool chi_mutex_trylock(struct chi_mutex *mutex)
{
	return try_lock(&mutex->lock, false);
}

void chi_mutex_unlock(struct chi_mutex *mutex)
{
	unlock(&mutex->lock);
}
