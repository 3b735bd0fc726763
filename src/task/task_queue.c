/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_queue.c - lanes of tasks that wake their worker
 *
 * Activation of container lanes. The word: generation:47 | queued:1 | worker:16. `queued` clear stands for "the lane's
 * size was 0". A lane that got work is put into its worker's active queue, unless it is there:
 *
 *   enqueue   push to the ring; seq_cst fence; a = load(word)
 *             if !a.queued: push the lane to a.worker's active queue; cas(word, a, {a.generation, queued})
 *             fence; if the worker sleeps: ring its doorbell
 *   worker    takes the lane; found in_run_list: a duplicate, dropped; runs a batch
 *             empty: store(word, {generation + 1, idle}); seq_cst fence; look again; work came: keep the lane
 *
 * I1  Push first, mark second: a producer stopped between the two leaves a lane that is listed twice, never one that is
 *     marked and not listed. Listing twice is harmless: the worker tells a duplicate by in_run_list, its own memory.
 * I2  The CAS fails when the worker went through idle since the load (generation): a mark from before would claim that
 *     the lane is listed when it is not.
 * I3  Either the producer sees `queued` clear after its push, or the worker's second look sees the push: the two fences
 *     (Dekker).
 * I4  The doorbell test stands outside the `if`: the one who found `queued` set may be the only one awake, when the
 *     other producer stopped between its push to the active queue and its own ring.
 * I5  The worker that finds its lane idle lists it by itself, and marks it by a store: as if it had pushed it and taken
 *     it out at once. No fence, as its own idle word comes before; and no room of the active queue, so that lanes that
 *     are filled by their worker alone are never swept (chi_worker_enqueue_own()).
 *
 * Checked by verify/container_lane.pml. Client lanes (process queues): verify/client_lane.pml.
 */
#include "task/task_queue.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "task/lane.h"

int chi_task_queue_push(struct chi_task_queue *queue, uint32_t lane, uint32_t prio, uint32_t ref)
{
	return hipc_mpsc_enqueue(&queue->bells[lane * queue->queue.n_prios + prio].ring, ref);
}

void chi_task_queue_ring(const struct chi_task_queue *queue, uint32_t lane, uint32_t prio)
{
	const struct chi_lane_bell *bell = &queue->bells[lane * queue->queue.n_prios + prio];

	/* relaxed: the caller's fence orders it behind the pushes (Dekker with the worker's store of `armed`, fence,
	 * second look at the ring) */
	if (hshm_load_relaxed(bell->armed)) {
		/* fails only when the counter is full: then the lane has been rung often enough */
		(void)eventfd_write(bell->fd, 1);
	}
}

bool chi_task_queue_is_waking(const struct chi_task_queue *queue, uint32_t lane, uint32_t prio)
{
	const struct chi_lane_bell *bell = &queue->bells[lane * queue->queue.n_prios + prio];

	/* relaxed: a hint. The worker takes `armed` back before it looks at the ring. */
	return hshm_load_relaxed(bell->armed) && hipc_mpsc_waits(&bell->ring);
}

int chi_task_queue_enqueue(struct chi_task_queue *queue, uint32_t lane, uint32_t prio, uint32_t ref)
{
	int ret = chi_task_queue_push(queue, lane, prio, ref);

	if (ret == 0) {
		hshm_fence_after_rmw(); /* the push before, whose last is a CAS; the look at `armed` after */
		chi_task_queue_ring(queue, lane, prio);
	}
	return ret;
}

#if CHIMAERA_RUNTIME

#define SLOTS_RELEASED_AT_ONCE (64 / sizeof(hshm_au64)) /* a line of them */

static void release_line(struct chi_lane *lane)
{
	if (hipc_mpsc_n_unreleased(&lane->consumer) == SLOTS_RELEASED_AT_ONCE)
		hipc_mpsc_release(&lane->consumer);
}

uint32_t chi_task_queue_dequeue(struct chi_lane *lane)
{
	uint32_t ref;

	release_line(lane);
	ref = hipc_mpsc_take(&lane->consumer);
	if (ref)
		hshm_count_add(&lane->header->n_taken, 1);
	return ref;
}

uint32_t chi_task_queue_dequeue_ahead(struct chi_lane *lane)
{
	release_line(lane);
	hshm_count_add(&lane->header->n_taken, 1);
	return hipc_mpsc_take_ahead(&lane->consumer, &lane->ahead);
}

void chi_task_queue_release(struct chi_lane *lane)
{
	hipc_mpsc_release(&lane->consumer);
}

void chi_active_queue_push(struct chi_active_queue *queue, struct chi_lane *lane)
{
	if (hipc_mpsc_enqueue(&queue->ring, hipc_ref_of(queue->arena, lane)) == 0)
		return;
	/* Full: the worker shall look at all its lanes. Release: pairs with the exchange in the worker's sweep; the
	 * work that we announce was pushed before. */
	hshm_store_release(queue->sweep, 1);
}

struct chi_lane *chi_active_queue_pop(struct chi_active_queue *queue)
{
	return hipc_ref_translate(queue->arena, hipc_mpsc_dequeue(&queue->consumer), sizeof(struct chi_lane));
}

int chi_lane_enqueue(struct chi_lane *lane, struct chi_active_queue *active_queues, uint32_t ref)
{
	int ret = hipc_mpsc_enqueue(&lane->ring, ref);

	if (ret == 0)
		chi_lane_activate(lane, active_queues);
	return ret;
}

void chi_lane_activate(struct chi_lane *lane, struct chi_active_queue *active_queues)
{
	struct chi_active_queue *active;
	uint64_t word;

	/* I3: pairs with the fence in chi_lane_deactivate(); the push ended with a CAS */
	hshm_fence_after_rmw();
	/* relaxed: ordered by the fence; what it says is only where to post */
	word = hshm_load_relaxed(&lane->header->activation);
	active = &active_queues[chi_activation_worker(word) * CHI_PRIOS + lane->header->priority];
	if (!(word & CHI_ACTIVATION_QUEUED)) {
		chi_active_queue_push(active, lane); /* I1 */
		/* release: the listing before the mark (I1), for whoever finds the mark; failing means that the worker
		 * moved on (I2) */
		hshm_cas_release(&lane->header->activation, &word, word | CHI_ACTIVATION_QUEUED);
	}
	/* I4. The last that we wrote was a CAS, of the push or of the mark. If another's mark was found, his push to
	 * the active queue came before it, and our look at `sleeping` comes after: on x86-64, loads are in order. */
	hshm_doorbell_ring_after_rmw(active->doorbell);
}

bool chi_lane_deactivate(struct chi_lane *lane)
{
	/* relaxed: producers only ever set `queued` of the generation they saw */
	uint64_t word = hshm_load_relaxed(&lane->header->activation);

	/* I2. Relaxed: the fence below orders it; producers take nothing from it but where to post. */
	hshm_store_relaxed(&lane->header->activation, (word & ~CHI_ACTIVATION_QUEUED) + CHI_ACTIVATION_GENERATION);
	/* I3: pairs with the fence in chi_lane_activate() */
	hshm_fence_seq_cst();
	return hipc_mpsc_peek(&lane->consumer) != 0;
}

#endif
