/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cond.c - chi_cond: wait for a condition that a chi_mutex guards
 *
 * The list of waiters is guarded by that mutex, which who signals holds, too. A signal does not wake its waiter but
 * puts it in the mutex's line: it wakes when it has the mutex, once, in the order of waiting.
 *
 * V1  A waiter is listed before it unlocks the mutex: whoever changes the condition under the mutex afterwards finds
 *     it.
 * V2  `claimed` goes from 0 to 1 once: by the signal, or by the waiter's own worker when the time is over. Who did it
 *     makes the waiter ready, the other leaves it alone.
 * V3  A waiter lies in its own frame and leaves it holding the mutex and not listed: who finds it in the list may touch
 *     it. Signalled, it comes back with the mutex; out of time, it locks the mutex and takes itself off the list.
 *
 * Checked by verify/cond.pml.
 */
#include <errno.h>

#include "runtime/context_wait.h"
#include "runtime/rwlock.h"
#include "runtime/worker.h"

struct waiter {
	struct waiter *prev, *next;
	struct chi_run_context *context;
	struct chi_mutex *mutex;
	hshm_au32 claimed;
	bool listed;
};

static void list(struct chi_cond *cond, struct waiter *waiter)
{
	struct waiter *last = cond->last;

	waiter->prev = last;
	if (last)
		last->next = waiter;
	else
		cond->first = waiter;
	cond->last = waiter;
	waiter->listed = true;
}

static void unlist(struct chi_cond *cond, struct waiter *waiter)
{
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		cond->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		cond->last = waiter->prev;
	waiter->listed = false;
}

int chi_cond_wait(struct chi_cond *cond, struct chi_mutex *mutex, uint64_t timeout_ns)
{
	struct waiter self = { .context = CHI_CUR_WORKER->current, .mutex = mutex };
	int ret;

	list(cond, &self); /* V1 */
	chi_mutex_unlock(mutex);
	ret = chi_context_block_for(timeout_ns, &self.claimed);
	if (ret < 0) {
		chi_mutex_lock(mutex);
		if (self.listed)
			unlist(cond, &self); /* V3 */
	}
	return ret;
}

/* Returns whether there was a waiter that had time left. */
static bool wake_first(struct chi_cond *cond)
{
	struct waiter *waiter;

	while ((waiter = cond->first)) {
		unlist(cond, waiter);
		if (chi_claim(&waiter->claimed)) { /* V2 */
			chi_mutex_ask_for(waiter->mutex, waiter->context);
			return true;
		}
	}
	return false;
}

void chi_cond_signal(struct chi_cond *cond)
{
	(void)wake_first(cond);
}

void chi_cond_broadcast(struct chi_cond *cond)
{
	while (wake_first(cond))
		;
}
