/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_move.c - a lane goes to another worker while tasks flow
 *
 *   who asks   move_to = worker + 1; it was 0: post move_work to the owner's inbox
 *   owner      between two turns: not the owner any more? pass the post on. Parked? when it comes out of its lot
 *              target = exchange(move_to, 0)
 *              the lane into the new worker's list and epoll set; out of our own lists
 *              word = {generation + 1, queued, new worker}; the lane into the new worker's active queue; ring
 *
 * V1  Only the owner moves a lane, or who stands in for it while it is in a method (lane_take.c); never during its
 *     turn: all tasks taken from it have started, so those that the new owner takes start later.
 * V2  The word says `queued`, and the listing follows: a producer that sees the new word need not list the lane, and
 *     one that saw the old word lists it where it was: a stray, passed on. Its mark fails by the generation.
 * V3  A client's lane is handed over disarmed, and the new owner looks at it before it arms it.
 * V4  The node is posted once at a time: by whoever raised move_to from 0. A lane is retired only when none is under
 *     way (chi_worker_drop_lane()), and a retired lane is not moved.
 * V5  Everything marked (owner) goes with the lane: written before the word and the listing (release), read after
 *     them (acquire).
 *
 * Checked by verify/lane_move.pml.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "runtime/log.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define REFUSALS_LOGGED 4u /* a second */

static void hand_over(struct chi_worker *worker, struct chi_lane *lane, uint32_t to)
{
	struct chi_active_queue *all = chi_work_orch_active_queues(worker->runtime->orch);
	struct chi_active_queue *its = &all[to * CHI_PRIOS + lane->header->priority];
	/* relaxed: producers only ever set `queued` of the generation they saw */
	uint64_t word = hshm_load_relaxed(&lane->header->activation);

	word = (word & ~(CHI_ACTIVATION_QUEUED | CHI_ACTIVATION_WORKER_MASK)) + CHI_ACTIVATION_GENERATION;
	/* release: V5; pairs with the acquire in chi_lane_worker() */
	hshm_store_release(&lane->header->activation, word | CHI_ACTIVATION_QUEUED | to);
	chi_active_queue_push(its, lane);
	hshm_doorbell_ring(its->doorbell);
}

bool chi_worker_hand_lane(struct chi_worker *worker, struct chi_lane *lane, uint32_t to)
{
	uint32_t place = lane->list_place; /* ours: what leaves our list does so by our hand alone */
	int ret;

	assert(to != worker->id); /* it would stand in our list twice, and know one of its places */
	ret = chi_worker_add_lane(chi_work_orch_worker(worker->runtime->orch, to), lane);

	if (ret < 0) {
		if (chi_log_allowed(&worker->runtime->log_limits.lane_stays, REFUSALS_LOGGED))
			chi_log_warn("a lane stays at worker %u, as worker %u cannot take it: %s", worker->id, to,
				     strerror(-ret));
		return false;
	}
	chi_worker_take_out_lane(worker, lane);
	chi_worker_forget_lane(worker, lane, place);
	if (lane->session)
		hshm_store_relaxed(lane->armed, 0); /* V3. Relaxed: a client that still sees 1 rings in vain */
	hshm_count_add(&worker->counters->lanes_moved, 1);
	hand_over(worker, lane, to);
	return true;
}

void chi_worker_move_lane(struct chi_worker *worker, struct chi_lane *lane)
{
	/* acq_rel: the request; and from here on the node may be posted again (V4), so our looks at it come before */
	uint32_t to = hshm_exchange_acq_rel(&lane->move_to, 0) - 1;

	/* relaxed: set before the round of retirement that this worker has passed, or not to be reckoned with yet */
	if (!hshm_load_relaxed(&lane->retired) && to != worker->id)
		(void)chi_worker_hand_lane(worker, lane, to);
}

static void move_posted(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_lane *lane = (struct chi_lane *)((char *)work - offsetof(struct chi_lane, move_work));

	if (chi_lane_worker(lane) != worker->id)
		chi_worker_post(chi_work_orch_worker(worker->runtime->orch, chi_lane_worker(lane)), work);
	else if (lane->parked)
		lane->moves_unparked = true;
	else
		chi_worker_move_lane(worker, lane);
}

int chi_work_orch_remap_lane(struct chi_work_orch *orch, struct chi_lane *lane, uint32_t worker_id)
{
	if (!chi_work_orch_serves(orch, worker_id, (enum chi_prio)lane->header->priority))
		return -EINVAL;
	/* acq_rel: the node is ours once its last use is over; the request before the post */
	if (hshm_exchange_acq_rel(&lane->move_to, worker_id + 1) == 0) {
		lane->move_work.fn = move_posted;
		chi_worker_post(chi_work_orch_worker(orch, chi_lane_worker(lane)), &lane->move_work);
	}
	return 0;
}
