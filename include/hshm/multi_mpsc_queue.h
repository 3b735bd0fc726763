/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hshm/multi_mpsc_queue.h - lanes x priorities of mpsc queues, each lane with its own user header
 *
 * A description, like struct hipc_mpsc_queue: it trusts the numbers given to it, never the bytes.
 * Lanes stand lane by lane, within a lane priority by priority; priority 0 is the most urgent.
 */
#ifndef HSHM_MULTI_MPSC_QUEUE_H
#define HSHM_MULTI_MPSC_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include <hshm/cdefs.h>
#include <hshm/mpsc_queue.h>

HSHM_BEGIN_DECLS

#define HIPC_MULTI_MPSC_PRIOS_MAX 8u
#define HIPC_MULTI_MPSC_LANES_MAX (1u << 20)

struct hipc_multi_mpsc_queue {
	void *memory;
	size_t lane_stride_bytes; /* from one lane to the next, with all its priorities */
	uint32_t n_lanes;
	uint32_t n_prios;
	uint32_t depth;	       /* slots of each */
	uint32_t header_bytes; /* of each */
};

/** hipc_multi_mpsc_queue_bytes - memory needed; 0 when a number is not allowed. Threads: any. */
HSHM_API size_t hipc_multi_mpsc_queue_bytes(uint32_t n_lanes, uint32_t n_prios, uint32_t depth, uint32_t header_bytes);

/**
 * hipc_multi_mpsc_queue_init - write empty queues into memory, and describe them
 * @memory:    lent until nobody uses the queue; aligned to 128
 * @ret_queue: out; nothing to release
 *
 * Threads: one, before anyone attaches. May switch the fiber: no.
 * Returns: 0, -EINVAL.
 */
HSHM_API HSHM_NODISCARD int hipc_multi_mpsc_queue_init(void *memory, uint32_t n_lanes, uint32_t n_prios, uint32_t depth,
						       uint32_t header_bytes, struct hipc_multi_mpsc_queue *ret_queue);

/** hipc_multi_mpsc_queue_attach - describe queues that somebody else has written; as hipc_multi_mpsc_queue_init().
 * Threads: any. */
HSHM_API HSHM_NODISCARD int hipc_multi_mpsc_queue_attach(void *memory, uint32_t n_lanes, uint32_t n_prios,
							 uint32_t depth, uint32_t header_bytes,
							 struct hipc_multi_mpsc_queue *ret_queue);

/**
 * hipc_multi_mpsc_queue_lane - describe one of its mpsc queues
 * @lane, @prio: in range; asserted
 *
 * Threads: any. May switch the fiber: no.
 */
HSHM_API struct hipc_mpsc_queue hipc_multi_mpsc_queue_lane(const struct hipc_multi_mpsc_queue *queue, uint32_t lane,
							   uint32_t prio);

/** hipc_multi_mpsc_queue_at - where one of them begins, with its tail. Not checked. Threads: any. */
static inline void *hipc_multi_mpsc_queue_at(const struct hipc_multi_mpsc_queue *queue, uint32_t lane, uint32_t prio)
{
	return (char *)queue->memory + lane * queue->lane_stride_bytes +
	       prio * (queue->lane_stride_bytes / queue->n_prios);
}

/** hipc_multi_mpsc_queue_header - where the user's header of one of them lies. Not checked. Threads: any. */
static inline void *hipc_multi_mpsc_queue_header(const struct hipc_multi_mpsc_queue *queue, uint32_t lane,
						 uint32_t prio)
{
	/* behind the tail, as hipc_mpsc_queue_attach() has it */
	return (char *)hipc_multi_mpsc_queue_at(queue, lane, prio) + HSHM_FALSE_SHARING;
}

HSHM_END_DECLS
#endif
