/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * task_queue.h - a simple wrapper around hipc_multi_mpsc_queue: lanes of tasks that wake their worker
 *
 * The same struct for process queues (client -> runtime, references to tasks in the client's segment) and for container
 * queues (worker -> worker, references to run contexts in the runtime's private segment).
 */
#ifndef TASK_TASK_QUEUE_H
#define TASK_TASK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include <hshm/doorbell.h>
#include <hshm/mpsc_queue.h>
#include <hshm/multi_mpsc_queue.h>

#include "task/segment_layout.h"

struct chi_lane;

/* What a client's producer needs of a lane: its ring, and what wakes its worker. */
struct chi_lane_bell {
	struct hipc_mpsc_queue ring;
	const hshm_au32 *armed; /* in the main segment, read-only here */
	int fd;			/* the lane's eventfd; -1: not opened yet */
};

struct chi_task_queue {
	struct hipc_multi_mpsc_queue queue;
	struct chi_lane_bell *bells; /* producer of a process queue: [lane * CHI_PRIOS + prio]; else NULL */
	struct chi_lane **lanes;     /* in the runtime: [lane * n_prios + prio], NULL where not opened; else NULL */
};

/**
 * chi_task_queue_enqueue - publish a reference in a lane of a process queue, and see that its worker will look
 *
 * Rings the lane's eventfd when the lane is armed. Lanes of containers: chi_lane_enqueue().
 * Threads: any. May switch the fiber: no.
 * Returns: 0, or -EAGAIN (full, nothing changed).
 */
int chi_task_queue_enqueue(struct chi_task_queue *queue, uint32_t lane, uint32_t prio, uint32_t ref);

/* The two halves of it, so that many pushes share one look: publish; and, behind
 * hshm_fence_seq_cst(), ring the lane's eventfd when it is armed. */
int chi_task_queue_push(struct chi_task_queue *queue, uint32_t lane, uint32_t prio, uint32_t ref);
void chi_task_queue_ring(const struct chi_task_queue *queue, uint32_t lane, uint32_t prio);

/* Does something wait in this lane of a process queue whose worker was asleep and is not up yet? A hint. */
bool chi_task_queue_is_waking(const struct chi_task_queue *queue, uint32_t lane, uint32_t prio);

/**
 * chi_task_queue_dequeue - take the oldest reference of a lane
 *
 * Its slot goes back to the producers some time later: with others, once a line of them was taken, or by
 * chi_task_queue_release(), which belongs at the end of a turn.
 * Threads: the lane's worker. May switch the fiber: no. Returns: the reference, or 0: empty.
 */
uint32_t chi_task_queue_dequeue(struct chi_lane *lane);

/* chi_task_queue_dequeue_ahead - the same for one of those in lane->ahead, of which there is one. */
uint32_t chi_task_queue_dequeue_ahead(struct chi_lane *lane);

/* chi_task_queue_release - all slots that were taken are the producers' again. Threads: the lane's worker. */
void chi_task_queue_release(struct chi_lane *lane);

#endif
