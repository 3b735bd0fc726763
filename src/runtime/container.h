/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * container.h - one share of a pool: its lanes, and the questions the runtime asks its module
 */
#ifndef RUNTIME_CONTAINER_H
#define RUNTIME_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/module.h>

#include "task/lane.h"
#include "task/task_queue.h"

struct chi_pool;
struct chi_runtime;

struct chi_local_queue {
	uint32_t n_lanes;   /* 0: not created */
	uint32_t n_counted; /* of its lanes, those that have their row of counters */
	uint32_t flags;
	void *memory;		      /* the queue's bytes, in the runtime's private segment */
	struct chi_lane *lane_memory; /* all lanes, likewise: active queues hold references to them */
	struct chi_task_queue queue;  /* one priority: a container's priorities are queues of their own */
	hshm_au32 next_lane;	      /* round-robin default */
};

struct chi_container {
	struct chi_runtime *runtime;
	struct chi_pool *pool;
	uint32_t id; /* global */
	void *state;
	bool creating;				   /* inside the module's create(): queues may be made */
	bool asks_module;			   /* which has a monitor(); else the default answers are given */
	struct chi_local_queue *default_queues[2]; /* [is the task of high latency?] */
	int error;				   /* a queue that could not be made, whatever create() says about it */
	hshm_au32 complained;			   /* a wrong answer of monitor() was logged */
	hshm_au64 n_outstanding; /* tasks in its lanes, and blocked ones; not while it is alone in its pool */
	struct chi_local_queue queues[CHI_QUEUES_MAX];
};

int chi_container_make(struct chi_pool *pool, uint32_t id, struct chi_container **ret_container);
/* Default queues, if the module made none; what went wrong with those it made. */
int chi_container_ready(struct chi_container *container);
/* Its lanes are out of every worker's reach already. Accepts NULL. */
void chi_container_free(struct chi_container *container);

/* Fill in the default answer, then let the module change it; checks the answer (lane exists, query allowed): -EINVAL,
 * logged once. Workers, outside fibers or in. */
int chi_container_monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor);

/* The default answer to CHI_MONITOR_LOCAL_SCHEDULE, which every task asks: first the queue, then the lane in it. */
static inline struct chi_local_queue *chi_container_default_queue(const struct chi_container *container,
								  uint16_t task_flags)
{
	return container->default_queues[(task_flags & CHI_TASK_HIGH_LATENCY) != 0];
}

/* Its lanes have turns. If not, all who ask for the same go to the same one. */
static inline bool chi_container_has_turns(const struct chi_local_queue *queue, const struct chi_domain_query *query)
{
	return queue->n_lanes > 1 && query->kind != CHI_DOMAIN_LOCAL_HASH && query->kind != CHI_DOMAIN_GLOBAL_HASH;
}

struct chi_lane *chi_container_next_lane(struct chi_container *container, struct chi_local_queue *queue);
struct chi_lane *chi_container_fixed_lane(struct chi_local_queue *queue, const struct chi_domain_query *query);

static inline struct chi_lane *chi_container_lane(struct chi_container *container, uint32_t queue_id, uint32_t lane_id)
{
	return &container->queues[queue_id].lane_memory[lane_id];
}

#endif
