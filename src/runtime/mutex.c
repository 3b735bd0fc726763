/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutex.c - chi_mutex: blocks the task, not the worker; hands over in the order of asking
 *
 *   word   NULL: free; HELD: held, nobody waits; else held, and the address of the last who asked (a stack through
 *          waiting_next)
 *   fifo   the holder's: those taken off the stack, oldest first
 *
 * M1  Only the holder takes waiters off the word, all at once, and turns them round: the order of asking.
 * M2  Handing over leaves the word as it is: never free in between.
 * M3  Free is reached only from HELD by compare-and-swap: a waiter that pushed itself meanwhile is not lost.
 *
 * Checked by verify/mutex.pml.
 */
#include "runtime/worker.h"

#define HELD ((void *)1)

static struct chi_run_context *current_context(void)
{
	return CHI_CUR_WORKER->current;
}

bool chi_mutex_trylock(struct chi_mutex *mutex)
{
	void *expected = NULL;

	/* acquire: pairs with the release in chi_mutex_unlock() */
	return hshm_cas_acquire(&mutex->word, &expected, HELD);
}

void chi_mutex_lock(struct chi_mutex *mutex)
{
	struct chi_run_context *context = current_context();
	void *seen = hshm_load_relaxed(&mutex->word); /* relaxed: the CAS checks it */

	for (;;) {
		if (seen == NULL) {
			/* acquire: what the last holder did */
			if (hshm_cas_acquire(&mutex->word, &seen, HELD))
				return;
			continue;
		}
		context->next = seen == HELD ? NULL : seen;
		/* release: `next` before the holder finds us; pairs with the acquire in take_waiters() */
		if (hshm_cas_release(&mutex->word, &seen, context))
			break;
	}
	/* The hand-over is a post to our inbox: its release and our drain's acquire carry what the last holder did. */
	chi_context_block(context);
}

/* The whole stack, turned round. */
static struct chi_run_context *take_waiters(struct chi_mutex *mutex)
{
	/* acquire: pairs with the release in chi_mutex_lock(); M1 */
	struct chi_run_context *newest = hshm_exchange_acquire(&mutex->word, HELD);
	struct chi_run_context *oldest = NULL;

	while (newest) {
		struct chi_run_context *before = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = before;
	}
	return oldest;
}

void chi_mutex_unlock(struct chi_mutex *mutex)
{
	struct chi_run_context *heir = mutex->fifo;
	void *expected = HELD;

	if (!heir) {
		/* release: what we did; pairs with the acquire of the next holder (M3) */
		if (hshm_cas_release(&mutex->word, &expected, NULL))
			return;
		heir = take_waiters(mutex);
	}
	mutex->fifo = heir->next;
	chi_worker_post(heir->worker, &heir->work); /* M2 */
}
