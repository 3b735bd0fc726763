/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane_take.c - standing in for a worker that hangs in a method: its lanes go to others, those of ended clients away
 *
 * The lists of lanes are the worker's own. But while it is in a method it touches none of them: `running` is set, and
 * the loop does not run. Another thread may stand in for it then, and it waits at the method's end until that is over:
 *
 *   worker   running = NULL; compiler barrier; if taking: wait for the lock    (each end of a method, each switch out)
 *   taker    lock; taking = 1; membarrier(); if running: move or drop lanes, as the owner would; taking = 0; unlock
 *
 * T1  membarrier() is a full barrier in every thread, so either the taker sees that the worker is out of the method, or
 *     the worker sees `taking` (Dekker, with all of its price on the taker's side). That it is in another method by
 *     then is as good.
 * T2  What the worker did to its lists it did before it set `running` (release), which the taker saw (acquire); what
 *     the taker did is before `taking` = 0 (release), or the lock's end, one of which the worker sees.
 * T3  A method calls nothing that touches lists of lanes, run list, woken list, hot list or the reading end of active
 *     queues: it lists lanes and posts works, as any thread does.
 * T4  The lane whose turn it is stays: the worker goes on with its batch. So do lanes that are parked, as their place
 *     in a lot names the worker; a lane that is not in a turn has started all tasks that were taken from it, so V1 of
 *     lane_move.c holds.
 * T5  A lane that is being retired is not moved after round one (R2): this worker passes round one outside of the
 *     method, or has it passed by who stands in, and the next who does sees `retired` by the lock.
 * T6  The same for `retires`: its parts of retirements are taken out and done by the worker in its loop, or for it.
 *
 * Checked by verify/lane_take.pml, verify/lane_retire.pml.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

int chi_lane_take_init(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}

static bool may_go(const struct chi_worker *worker, const struct chi_lane *lane)
{
	/* relaxed: T5. A lane that is on its way to us is not ours yet. */
	return lane != worker->turn && !lane->parked && !hshm_load_relaxed(&lane->retired) &&
	       chi_lane_worker(lane) == worker->id;
}

/* Found under the list's lock; they stay after it, as only the worker takes a lane out for good. */
static uint32_t choose(struct chi_worker *worker, struct chi_lane **lanes, uint32_t n_max)
{
	uint32_t n = 0;

	pthread_mutex_lock(&worker->lanes_lock);
	for (uint32_t i = 0; i < worker->n_lanes && n < n_max; i++)
		if (may_go(worker, worker->lanes[i]))
			lanes[n++] = worker->lanes[i];
	pthread_mutex_unlock(&worker->lanes_lock);
	return n;
}

static bool can_take(struct chi_worker *worker)
{
	/* relaxed: as in chi_work_orch_next_awake() */
	return !hshm_load_relaxed(&worker->hangs) && !chi_worker_has_ended(worker);
}

/* Ends where a worker cannot list one more: it is out of memory, or of room in its epoll set. */
static uint32_t move(struct chi_worker *worker, struct chi_lane **lanes, uint32_t n_max)
{
	struct chi_work_orch *orch = worker->runtime->orch;
	uint32_t n = choose(worker, lanes, n_max), n_moved = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t to = chi_work_orch_next_awake(orch, lanes[i]->header->priority, worker->id + 1 + i);

		if (to == worker->id || !can_take(chi_work_orch_worker(orch, to)))
			continue;
		if (!chi_worker_hand_lane(worker, lanes[i], to))
			break;
		n_moved++;
	}
	return n_moved;
}

/* Returns whether the worker is in a method, and stays out of its lists until leave(). */
static bool enter(struct chi_worker *worker)
{
	pthread_mutex_lock(&worker->taking_lock);
	hshm_store_relaxed(&worker->taking, 1); /* relaxed: the barrier orders it */
	/* T1. acquire: T2; pairs with the release in set_running() */
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0 &&
	       hshm_load_acquire(&worker->running);
}

static void leave(struct chi_worker *worker)
{
	hshm_store_release(&worker->taking, 0); /* release: T2; pairs with the acquire in set_running() */
	pthread_mutex_unlock(&worker->taking_lock);
}

uint32_t chi_worker_take_lanes(struct chi_worker *worker, uint32_t n_max)
{
	struct chi_lane **lanes;
	uint32_t n = 0;

	if (!hshm_load_relaxed(&worker->running)) /* relaxed: T1 looks again */
		return 0;
	lanes = calloc(n_max, sizeof(struct chi_lane *));
	if (!lanes)
		return 0;
	if (enter(worker))
		n = move(worker, lanes, n_max);
	leave(worker);
	free(lanes);
	return n;
}

/* A part that was done may have brought the next round. */
static uint32_t retire(struct chi_worker *worker)
{
	struct chi_work *work, *next, *stay = NULL;
	uint32_t n_stay = 0;

	while ((work = chi_worker_take_retires(worker))) {
		for (; work; work = next) {
			next = work->next;
			if (chi_work_orch_may_retire_for(worker, work)) {
				work->fn(worker, work);
				continue;
			}
			work->next = stay;
			stay = work;
			n_stay++;
		}
	}
	for (; stay; stay = next) {
		next = stay->next;
		chi_worker_put_back_retire(worker, stay);
	}
	return n_stay;
}

uint32_t chi_worker_retire_for(struct chi_worker *worker)
{
	uint32_t n_stay = 0;

	/* relaxed, both: what is missed is found at the next look */
	if (!hshm_load_relaxed(&worker->retires) || !hshm_load_relaxed(&worker->running))
		return 0;
	if (enter(worker))
		n_stay = retire(worker);
	leave(worker);
	return n_stay;
}

void chi_worker_await_taker(struct chi_worker *worker)
{
	pthread_mutex_lock(&worker->taking_lock);
	pthread_mutex_unlock(&worker->taking_lock);
}
