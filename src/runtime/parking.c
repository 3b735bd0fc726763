/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * parking.c - waiting for room in a full lane, or under a cap, without polling, and in the order of asking
 *
 *   who waits    count himself; push himself on the lot's stack; seq_cst fence; look again: room? wake one
 *   who frees    make room for n; seq_cst fence; anybody counted? wake n
 *   wake n       room += n; it was 0: hold the lot:
 *                  take the stack, append it to the fifo, oldest first; post as many of the fifo as there is room for;
 *                  room -= what was handed out or not wanted; not 0: again
 *
 * P1  Either the one who waits sees the room, or the one who frees sees him counted (the two fences; Dekker).
 * P2  One at a time holds the lot. Who finds it held leaves his room in the word and goes on: the holder's next round
 *     hands it out, and takes the stack after it has seen that word. So nobody waits for a holder that was preempted.
 * P3  An exchange takes each entry once, so each is posted once for each time it parked.
 * P4  Room for n wakes n, no more. So whoever is woken and does not use the room (it took another lane, ended, was
 *     retired) passes it on; whoever finds it gone parks again, and looks again (P1).
 *
 * Checked by verify/parking.pml.
 */
#include <errno.h>
#include <stddef.h>

#include "runtime/worker.h"

void chi_parking_enter(struct chi_parking_lot *lot, struct chi_parked *parked)
{
	void *newest = hshm_load_relaxed(&lot->newest); /* relaxed: the CAS checks it */

	parked->lot = lot;
	/* relaxed: the release below keeps it before the push: who is found is counted */
	hshm_fetch_add_relaxed(&lot->n_parked, 1);
	do
		parked->next = newest;
	/* release: the entry before it is found; pairs with the acquire in take_newcomers() */
	while (!hshm_cas_release(&lot->newest, &newest, parked));
	/* P1: pairs with the fence in chi_parking_check() */
	hshm_fence_seq_cst();
}

/* The stack, turned round, to the end of the fifo. */
static void take_newcomers(struct chi_parking_lot *lot)
{
	/* acquire: pairs with the release in chi_parking_enter() */
	struct chi_parked *newest = hshm_exchange_acquire(&lot->newest, NULL);
	struct chi_parked *first = NULL, *last = newest;

	if (!newest)
		return;
	while (newest) {
		struct chi_parked *before = newest->next;

		newest->next = first;
		first = newest;
		newest = before;
	}
	if (lot->oldest)
		lot->last->next = first;
	else
		lot->oldest = first;
	lot->last = last;
}

static void post_oldest(struct chi_parking_lot *lot, uint64_t n_room)
{
	for (; lot->oldest && n_room; n_room--) {
		struct chi_parked *parked = lot->oldest;

		lot->oldest = parked->next;
		/* relaxed: it says whether a wake is worth while, and the entries that are left keep it above 0 */
		hshm_fetch_sub_relaxed(&lot->n_parked, 1);
		chi_worker_post(parked->worker, &parked->work); /* it may be gone, or park again */
	}
}

void chi_parking_wake(struct chi_parking_lot *lot, uint32_t n_room)
{
	uint64_t todo = n_room;

	/* acq_rel: release what we know of the lot to the holder; acquire the fifo from the last one (P2) */
	if (hshm_fetch_add_acq_rel(&lot->room, todo) != 0)
		return;
	while (todo) {
		take_newcomers(lot);
		post_oldest(lot, todo);
		/* acq_rel: as above; who has left his room is seen with all that was pushed before */
		todo = hshm_fetch_sub_acq_rel(&lot->room, todo) - todo;
	}
}

bool chi_parking_check(struct chi_parking_lot *lot, uint32_t n_room)
{
	/* P1: pairs with the fence in chi_parking_enter() */
	hshm_fence_seq_cst();
	/* relaxed: ordered by the fence */
	if (!hshm_load_relaxed(&lot->n_parked))
		return false;
	chi_parking_wake(lot, n_room);
	return true;
}

void chi_parking_at_lane(struct chi_parked *parked, struct chi_lane *full)
{
	hshm_count_add(&parked->worker->counters->parks, 1);
	chi_parking_enter(&full->parking, parked);
	/* from here on only our own inbox brings it back: it is not gone before we are out of here */
	if (!hipc_mpsc_is_full(&full->ring))
		chi_parking_wake(&full->parking, 1);
}

void chi_parking_pass_on(struct chi_parked *parked, const struct chi_lane *took)
{
	struct chi_parking_lot *lot = parked->lot;

	parked->lot = NULL;
	/* the lot is there: lanes go only after all workers have passed a look at their inboxes */
	if (lot && (!took || lot != &took->parking))
		chi_parking_wake(lot, 1);
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

static void park_and_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane *full)
{
	struct parked_context entry = { .parked = { .work.fn = parked_context_wakes, .worker = worker },
					.context = worker->current };
	struct chi_lane *lane = full;
	int ret;

	do {
		chi_parking_at_lane(&entry.parked, lane);
		chi_context_block(entry.context); /* woken through our own inbox, so never before it has blocked */
		ret = chi_worker_route_woken(worker, context, &lane);
		chi_parking_pass_on(&entry.parked, lane);
	} while (ret == -EAGAIN);
}

void chi_parking_route(struct chi_worker *worker, struct chi_run_context *context, bool is_call)
{
	struct chi_lane *lane;
	int ret = is_call ? chi_worker_route_call(worker, context, &lane) : chi_worker_route(worker, context, &lane);

	if (ret == -EAGAIN)
		park_and_route(worker, context, lane);
}
