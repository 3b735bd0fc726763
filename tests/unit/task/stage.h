/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage.h - a container queue with its lanes and the active queues of two workers, of whom there is no thread
 */
#ifndef TASK_TEST_STAGE_H
#define TASK_TEST_STAGE_H

#include "task_test.h"

#include <hshm/segment.h>
#include <poll.h>

#include "task/lane.h"
#include "task/task_queue.h"

#define N_LANES	     4u
#define N_WORKERS    2u
#define LANE_DEPTH   8u
#define ACTIVE_DEPTH 2u

struct stage {
	struct hshm_segment arena;
	size_t used;
	struct chi_lane *lanes[N_LANES];
	struct chi_task_queue queue;
	struct chi_active_queue active[N_WORKERS * CHI_PRIOS];
	struct hshm_doorbell bells[N_WORKERS];
	hshm_au32 sweeps[N_WORKERS];
};

static inline void *stage_carve(struct stage *stage, size_t bytes)
{
	void *memory = (char *)stage->arena.map.base + stage->used;

	stage->used += (bytes + 127) / 128 * 128;
	return memory;
}

static inline void stage_make_lane(struct stage *stage, uint32_t i)
{
	struct chi_lane *lane = stage_carve(stage, sizeof(*lane));

	lane->ring = hipc_multi_mpsc_queue_lane(&stage->queue.queue, i, 0);
	lane->header = lane->ring.header;
	lane->header->lane_id = i;
	lane->eventfd = -1;
	hipc_mpsc_consumer_init(&lane->consumer, &lane->ring);
	stage->lanes[i] = lane;
}

static inline int stage_set_up(void **state)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	void *memory;

	assert_non_null(stage);
	stage->used = 4096; /* reference 0 means none */
	assert_int_equal(hshm_segment_create_private(1u << 20, 2, &stage->arena), 0);
	memory = stage_carve(stage,
			     hipc_multi_mpsc_queue_bytes(N_LANES, 1, LANE_DEPTH, sizeof(struct chi_lane_header)));
	assert_int_equal(hipc_multi_mpsc_queue_init(memory, N_LANES, 1, LANE_DEPTH, sizeof(struct chi_lane_header),
						    &stage->queue.queue),
			 0);
	stage->queue.lanes = stage->lanes;
	for (uint32_t i = 0; i < N_LANES; i++)
		stage_make_lane(stage, i);
	for (uint32_t i = 0; i < N_WORKERS; i++)
		assert_int_equal(hshm_doorbell_init(&stage->bells[i]), 0);
	for (uint32_t i = 0; i < N_WORKERS * CHI_PRIOS; i++) {
		struct chi_active_queue *active = &stage->active[i];

		memory = stage_carve(stage, hipc_mpsc_queue_bytes(ACTIVE_DEPTH, 0));
		assert_int_equal(hipc_mpsc_queue_init(memory, ACTIVE_DEPTH, 0, &active->ring), 0);
		hipc_mpsc_consumer_init(&active->consumer, &active->ring);
		active->arena = &stage->arena.map;
		active->doorbell = &stage->bells[i / CHI_PRIOS];
		active->sweep = &stage->sweeps[i / CHI_PRIOS];
	}
	*state = stage;
	return 0;
}

static inline int stage_tear_down(void **state)
{
	struct stage *stage = *state;

	for (uint32_t i = 0; i < N_WORKERS; i++)
		hshm_doorbell_fini(&stage->bells[i]);
	hshm_segment_close(&stage->arena);
	free(stage);
	return 0;
}

static inline int stage_enqueue(struct stage *stage, uint32_t lane, uint32_t ref)
{
	return chi_lane_enqueue(stage->lanes[lane], stage->active, ref);
}

static inline struct chi_active_queue *active_of(struct stage *stage, uint32_t worker, enum chi_prio prio)
{
	return &stage->active[worker * CHI_PRIOS + (uint32_t)prio];
}

static inline uint64_t activation_of(const struct chi_lane *lane)
{
	return hshm_load_relaxed(&lane->header->activation);
}

static inline bool is_queued(const struct chi_lane *lane)
{
	return activation_of(lane) & CHI_ACTIVATION_QUEUED;
}

static inline uint64_t generation_of(const struct chi_lane *lane)
{
	return activation_of(lane) / CHI_ACTIVATION_GENERATION;
}

/* As a turn of one does it. */
static inline uint32_t stage_dequeue(struct stage *stage, uint32_t lane)
{
	uint32_t ref = chi_task_queue_dequeue(stage->queue.lanes[lane]);

	chi_task_queue_release(stage->queue.lanes[lane]);
	return ref;
}

static inline bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

#endif
