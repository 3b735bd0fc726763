/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking.c - waiting for room in a full lane, or under a cap, without polling
 *
 *   who waits    push itself on the lot; seq_cst fence; look again: room? exchange the lot to empty, post all found
 *   who frees    make room; seq_cst fence; lot not empty? exchange it to empty, post all found
 *
 * P1  Either the one who waits sees the room, or the one who frees sees him (the two fences; Dekker).
 * P2  An exchange takes each entry once, so each is posted once for each time it parked.
 * P3  Everyone posted tries again, and parks again if others were quicker.
 *
 * Checked by verify/parking.pml.
 */
#include <stddef.h>

#include "runtime/worker.h"

void chi_parking_enter(hshm_aptr *lot, struct chi_parked *parked)
{
	void *head = hshm_load_relaxed(lot); /* relaxed: the CAS checks it */

	do
		parked->next = head;
	/* release: `next` before the entry is found; pairs with the acquire in chi_parking_wake() */
	while (!hshm_cas_release(lot, &head, parked));
	/* P1: pairs with the fence in chi_parking_check() */
	hshm_fence_seq_cst();
}

void chi_parking_wake(hshm_aptr *lot)
{
	/* acquire: pairs with the release in chi_parking_enter() */
	struct chi_parked *parked = hshm_exchange_acquire(lot, NULL);

	while (parked) {
		struct chi_parked *next = parked->next; /* once posted it may park again */

		chi_worker_post(parked->worker, &parked->work);
		parked = next;
	}
}

bool chi_parking_check(hshm_aptr *lot)
{
	/* P1: pairs with the fence in chi_parking_enter() */
	hshm_fence_seq_cst();
	/* relaxed: ordered by the fence; the exchange takes them */
	if (!hshm_load_relaxed(lot))
		return false;
	chi_parking_wake(lot);
	return true;
}

struct parked_context {
	struct chi_parked parked;
	struct chi_run_context *context;
};

static void parked_context_wakes(struct chi_worker *worker, struct chi_work *work)
{
	struct parked_context *entry =
		(struct parked_context *)((char *)work - offsetof(struct parked_context, parked.work));

	chi_worker_make_ready(worker, entry->context);
}

void chi_parking_block(struct chi_worker *worker, struct chi_lane *full)
{
	struct parked_context entry = { .parked = { .work.fn = parked_context_wakes, .worker = worker },
					.context = worker->current };

	hshm_count_add(&worker->counters->parks, 1);
	chi_parking_enter(&full->parking, &entry.parked);
	if (!hipc_mpsc_is_full(&full->ring))
		chi_parking_wake(&full->parking);
	chi_context_block(entry.context); /* woken through our own inbox, so never before it has blocked */
}
