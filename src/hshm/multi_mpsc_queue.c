/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * multi_mpsc_queue.c - lanes x priorities of mpsc queues, side by side in one piece of memory
 */
#include <errno.h>

#include <hshm/multi_mpsc_queue.h>

#include "hshm_internal.h"

size_t hipc_multi_mpsc_queue_bytes(uint32_t n_lanes, uint32_t n_prios, uint32_t depth, uint32_t header_bytes)
{
	if (n_lanes == 0 || n_lanes > HIPC_MULTI_MPSC_LANES_MAX || n_prios == 0 || n_prios > HIPC_MULTI_MPSC_PRIOS_MAX)
		return 0;
	/* at most 2^20 * 2^3 * (2^32 + 2^23 + some): no overflow in 64 bits */
	return (size_t)n_lanes * n_prios * hipc_mpsc_queue_bytes(depth, header_bytes);
}

int hipc_multi_mpsc_queue_attach(void *memory, uint32_t n_lanes, uint32_t n_prios, uint32_t depth,
				 uint32_t header_bytes, struct hipc_multi_mpsc_queue *ret_queue)
{
	if (!memory || (uintptr_t)memory % HSHM_FALSE_SHARING != 0 ||
	    hipc_multi_mpsc_queue_bytes(n_lanes, n_prios, depth, header_bytes) == 0)
		return -EINVAL;
	*ret_queue = (struct hipc_multi_mpsc_queue){
		.memory = memory,
		.lane_stride_bytes = n_prios * hipc_mpsc_queue_bytes(depth, header_bytes),
		.n_lanes = n_lanes,
		.n_prios = n_prios,
		.depth = depth,
		.header_bytes = header_bytes,
	};
	return 0;
}

int hipc_multi_mpsc_queue_init(void *memory, uint32_t n_lanes, uint32_t n_prios, uint32_t depth, uint32_t header_bytes,
			       struct hipc_multi_mpsc_queue *ret_queue)
{
	struct hipc_multi_mpsc_queue queue;
	int rc = hipc_multi_mpsc_queue_attach(memory, n_lanes, n_prios, depth, header_bytes, &queue);

	if (rc < 0)
		return rc;
	for (uint32_t lane = 0; lane < n_lanes; lane++) {
		for (uint32_t prio = 0; prio < n_prios; prio++) {
			struct hipc_mpsc_queue ring;

			rc = hipc_mpsc_queue_init(hipc_multi_mpsc_queue_at(&queue, lane, prio), depth, header_bytes,
						  &ring);
			if (rc < 0)
				return rc;
		}
	}
	*ret_queue = queue;
	return 0;
}

struct hipc_mpsc_queue hipc_multi_mpsc_queue_lane(const struct hipc_multi_mpsc_queue *queue, uint32_t lane,
						  uint32_t prio)
{
	struct hipc_mpsc_queue ring;

	hshm_assert(lane < queue->n_lanes && prio < queue->n_prios);
	hshm_assert(hipc_mpsc_queue_attach(hipc_multi_mpsc_queue_at(queue, lane, prio), queue->depth,
					   queue->header_bytes, &ring) == 0);
	return ring;
}
