/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * container.c - the lanes of a container, and the default answers to what the runtime asks its module
 */
#include "runtime/container.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hshm/clock.h>
#include <hshm/heap.h>

#include "runtime/counter_page.h"
#include "runtime/log.h"
#include "runtime/pool_manager.h"
#include "runtime/runtime.h"
#include "runtime/work_orchestrator.h"
#include "task/error.h"

#define ESTIMATE_MAX_NS (100 * HSHM_NSEC_PER_SEC) /* a module may say anything; times are added to it and doubled */
#define LANES_MAX	4096u

/* ---- queues ---- */

int chi_container_make(struct chi_pool *pool, uint32_t id, struct chi_container **ret_container)
{
	struct chi_container *container = calloc(1, sizeof(*container));

	if (!container)
		return chi_error_set(-ENOMEM, "no memory for container %u of pool '%s'", id, pool->name);
	container->runtime = pool->runtime;
	container->pool = pool;
	container->id = id;
	container->asks_module = pool->module->table->monitor != NULL;
	*ret_container = container;
	return 0;
}

static void free_queue(struct chi_container *container, struct chi_local_queue *queue)
{
	for (uint32_t i = 0; i < queue->n_counted; i++)
		chi_counter_page_remove(container->runtime->counters, CHI_COUNTERS_LANES,
					queue->lane_memory[i].counter_row);
	free(queue->queue.lanes);
	hshm_heap_free(container->runtime->heap, queue->lane_memory);
	hshm_heap_free(container->runtime->heap, queue->memory);
	memset(queue, 0, sizeof(*queue));
}

void chi_container_free(struct chi_container *container)
{
	if (!container)
		return;
	for (uint32_t i = 0; i < CHI_QUEUES_MAX; i++)
		free_queue(container, &container->queues[i]);
	free(container);
}

/* Whoever may make pools must not take all the memory that tasks run in: lanes leave a quarter of it. */
static bool leaves_room_for_tasks(struct hshm_heap *heap, uint64_t bytes)
{
	struct hshm_heap_stats stats;

	hshm_heap_get_stats(heap, &stats);
	return stats.used_bytes + bytes <= stats.capacity_bytes / 4 * 3;
}

/* The bytes of the queue and its lanes, from the runtime's heap. It aligns to 64; queues want HSHM_FALSE_SHARING. */
static int alloc_queue(struct chi_container *container, struct chi_local_queue *queue, uint32_t n_lanes)
{
	struct chi_runtime *runtime = container->runtime;
	uint32_t depth = runtime->config.container_lane_depth;
	size_t bytes = hipc_multi_mpsc_queue_bytes(n_lanes, 1, depth, sizeof(struct chi_lane_header));
	uintptr_t aligned;
	void *block;

	if (!leaves_room_for_tasks(runtime->heap, bytes + n_lanes * sizeof(struct chi_lane)) ||
	    hshm_heap_alloc(runtime->heap, bytes + HSHM_FALSE_SHARING, &block))
		return -ENOMEM;
	queue->memory = block;
	aligned = ((uintptr_t)block + HSHM_FALSE_SHARING - 1) & ~(uintptr_t)(HSHM_FALSE_SHARING - 1);
	if (hshm_heap_alloc(runtime->heap, n_lanes * sizeof(struct chi_lane), &block))
		return -ENOMEM;
	queue->lane_memory = block;
	memset(queue->lane_memory, 0, n_lanes * sizeof(struct chi_lane));
	queue->queue.lanes = calloc(n_lanes, sizeof(struct chi_lane *));
	if (!queue->queue.lanes)
		return -ENOMEM;
	return hipc_multi_mpsc_queue_init((void *)aligned, n_lanes, 1, depth, sizeof(struct chi_lane_header),
					  &queue->queue.queue);
}

static void init_lane(struct chi_container *container, uint32_t queue_id, uint32_t lane_id)
{
	struct chi_local_queue *queue = &container->queues[queue_id];
	struct chi_lane *lane = &queue->lane_memory[lane_id];

	lane->ring = hipc_multi_mpsc_queue_lane(&queue->queue.queue, lane_id, 0);
	lane->header = lane->ring.header;
	lane->header->pool_id = container->pool->id;
	lane->header->container_id = container->id;
	lane->header->queue_id = (uint16_t)queue_id;
	lane->header->priority = queue->flags & CHI_QUEUE_HIGH_LATENCY ? CHI_PRIO_HIGH_LATENCY : CHI_PRIO_LOW_LATENCY;
	lane->header->lane_id = lane_id;
	lane->container = container;
	lane->eventfd = -1;
	hipc_mpsc_consumer_init(&lane->consumer, &lane->ring);
	queue->queue.lanes[lane_id] = lane;
}

/* Each lane goes to a worker of its own. Those that were scheduled before a failure stay in the queue: only the pool's
 * undo can take them out of the workers' reach. */
static int schedule_lanes(struct chi_container *container, struct chi_local_queue *queue, uint32_t n_lanes)
{
	for (uint32_t i = 0; i < n_lanes; i++) {
		int error;

		queue->n_counted = i + 1;
		error = chi_work_orch_schedule_lane(container->runtime->orch, queue->queue.lanes[i]);
		if (error)
			return error;
		chi_pool_note_lane(container->pool, queue->queue.lanes[i]);
		queue->n_lanes = i + 1;
	}
	return 0;
}

static int make_queue(struct chi_container *container, uint32_t queue_id, uint32_t n_lanes, uint32_t flags)
{
	struct chi_local_queue *queue = &container->queues[queue_id];
	int error;

	queue->flags = flags;
	error = chi_pool_reserve_lanes(container->pool, n_lanes);
	if (!error)
		error = alloc_queue(container, queue, n_lanes);
	if (error) {
		free_queue(container, queue);
		return error;
	}
	for (uint32_t i = 0; i < n_lanes; i++)
		init_lane(container, queue_id, i);
	return schedule_lanes(container, queue, n_lanes);
}

int chi_container_create_local_queue(struct chi_container *container, uint32_t queue_id, uint32_t n_lanes,
				     uint32_t flags)
{
	int error;

	if (!container->creating)
		return chi_error_set(-EINVAL, "pool '%s': queues are made inside create() only", container->pool->name);
	if (queue_id >= CHI_QUEUES_MAX || n_lanes == 0 || n_lanes > LANES_MAX || (flags & ~CHI_QUEUE_HIGH_LATENCY))
		return chi_error_set(-EINVAL,
				     "pool '%s': queue %u (allowed 0..%u), %u lanes (allowed 1..%u), flags 0x%x",
				     container->pool->name, queue_id, CHI_QUEUES_MAX - 1, n_lanes, LANES_MAX, flags);
	if (container->queues[queue_id].memory)
		return chi_error_set(-EEXIST, "pool '%s': queue %u is there already", container->pool->name, queue_id);
	error = make_queue(container, queue_id, n_lanes, flags);
	if (error) {
		container->error = error;
		return chi_error_set(error, "pool '%s': no memory for queue %u with %u lanes", container->pool->name,
				     queue_id, n_lanes);
	}
	return 0;
}

static bool has_queues(const struct chi_container *container)
{
	for (uint32_t i = 0; i < CHI_QUEUES_MAX; i++) {
		if (container->queues[i].memory)
			return true;
	}
	return false;
}

/* The first queue of that kind, or the first of all if there is none. */
static struct chi_local_queue *first_queue(struct chi_container *container, uint32_t kind)
{
	struct chi_local_queue *first = NULL;

	for (uint32_t i = 0; i < CHI_QUEUES_MAX; i++) {
		struct chi_local_queue *queue = &container->queues[i];

		if (!queue->n_lanes)
			continue;
		if ((queue->flags & CHI_QUEUE_HIGH_LATENCY) == kind)
			return queue;
		if (!first)
			first = queue;
	}
	return first;
}

int chi_container_ready(struct chi_container *container)
{
	int error = container->error;

	if (!error && !has_queues(container)) {
		error = chi_container_create_local_queue(container, 0, 1, 0);
		if (!error)
			error = chi_container_create_local_queue(container, 1, 1, CHI_QUEUE_HIGH_LATENCY);
	}
	container->default_queues[false] = first_queue(container, 0);
	container->default_queues[true] = first_queue(container, CHI_QUEUE_HIGH_LATENCY);
	return error;
}

/* ---- what a module may ask ---- */

/* Pools choose the container by the hash itself: mixed, so that the lane does not hang on the same bits
 * (splitmix64). */
static uint32_t mixed_below(uint64_t hash, uint32_t n)
{
	hash = (hash ^ (hash >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	hash = (hash ^ (hash >> 27)) * UINT64_C(0x94d049bb133111eb);
	hash ^= hash >> 31;
	return (uint32_t)(((hash >> 32) * n) >> 32);
}

uint32_t chi_container_lane_by_hash(const struct chi_container *container, uint32_t queue_id, uint64_t hash)
{
	return queue_id < CHI_QUEUES_MAX ? mixed_below(hash, container->queues[queue_id].n_lanes) : 0;
}

void chi_container_set_state(struct chi_container *container, void *state)
{
	container->state = state;
}

void *chi_container_state(const struct chi_container *container)
{
	return container->state;
}

uint32_t chi_container_id(const struct chi_container *container)
{
	return container->id;
}

uint32_t chi_container_pool_id(const struct chi_container *container)
{
	return container->pool->id;
}

uint32_t chi_container_count(const struct chi_container *container)
{
	return container->pool->n_containers;
}

struct chi_client *chi_container_client(const struct chi_container *container)
{
	return &container->runtime->inner;
}

void chi_module_log(const struct chi_container *container, enum chi_log_level level, const char *format, ...)
{
	char text[768];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	chi_log(level, "%s: %s", container->pool->name, text);
}

/* ---- what the runtime asks ---- */

/* Both at once, before they are used: among 100,000 lanes each comes from memory. */
static void prefetch_lane(const struct chi_local_queue *queue, size_t lane_id)
{
	hshm_prefetch_write(&queue->lane_memory[lane_id]);
	__builtin_prefetch(hipc_multi_mpsc_queue_header(&queue->queue.queue, lane_id, 0));
}

/* Where tasks go through rings: the lines that they need of the lanes that come next. Returns the lane. */
static __attribute__((noinline)) struct chi_lane *prefetch_rings(const struct chi_local_queue *queue, size_t lane_id)
{
	if (lane_id + 2 < queue->n_lanes) {
		chi_lane_prefetch(&queue->lane_memory[lane_id + 2]);
		hshm_prefetch_write(hipc_multi_mpsc_queue_at(&queue->queue.queue, lane_id + 2, 0));
		hipc_mpsc_prefetch_tail(&queue->lane_memory[lane_id + 1].ring);
	}
	return &queue->lane_memory[lane_id];
}

/* It is known which come next. Where the turns begin anew two go without. */
struct chi_lane *chi_container_next_lane(struct chi_container *container, struct chi_local_queue *queue)
{
	/* relaxed: any order of turns is as good */
	size_t lane_id = hshm_fetch_add_relaxed(&queue->next_lane, 1) % queue->n_lanes;

	if (lane_id + 2 < queue->n_lanes)
		prefetch_lane(queue, lane_id + 2);
	if (!container->runtime->config.run_in_place)
		return prefetch_rings(queue, lane_id);
	return &queue->lane_memory[lane_id];
}

struct chi_lane *chi_container_fixed_lane(struct chi_local_queue *queue, const struct chi_domain_query *query)
{
	uint32_t lane_id;

	if (queue->n_lanes == 1)
		return queue->lane_memory;
	lane_id = mixed_below(query->value, queue->n_lanes);
	prefetch_lane(queue, lane_id);
	return &queue->lane_memory[lane_id];
}

static void name_default_lane(struct chi_container *container, struct chi_monitor *monitor)
{
	const struct chi_domain_query *query = &monitor->task->query;
	struct chi_local_queue *queue = chi_container_default_queue(container, monitor->task->flags);
	struct chi_lane *lane = chi_container_has_turns(queue, query) ? chi_container_next_lane(container, queue)
								      : chi_container_fixed_lane(queue, query);

	monitor->queue_id = (uint32_t)(queue - container->queues);
	monitor->lane_id = (uint32_t)(lane - queue->lane_memory);
}

/* The container with the fewest tasks; among equals each in its turn. */
static struct chi_domain_query least_loaded(struct chi_pool *pool)
{
	/* relaxed: turns and loads are hints; any mixture of them names a container that is there */
	uint32_t first = hshm_fetch_add_relaxed(&pool->next_dynamic, 1);
	uint64_t least = UINT64_MAX;
	uint32_t best = 0;

	for (uint32_t i = 0; i < pool->n_local; i++) {
		struct chi_container *container = pool->local_table[(first + i) % pool->n_local];
		uint64_t load = hshm_load_relaxed(&container->n_outstanding);

		if (load < least) {
			least = load;
			best = container->id;
		}
	}
	return CHI_QUERY_GLOBAL_ID(best);
}

static uint64_t io_bytes(const struct chi_method *method, const struct chi_task *task)
{
	const struct chi_buffer *buffers = (const void *)((const char *)task + method->buffers_offset);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < method->n_buffers; i++) {
		if (!hipc_ptr_is_null(buffers[i].ptr) && __builtin_add_overflow(sum, buffers[i].size_bytes, &sum))
			return UINT64_MAX;
	}
	return sum;
}

static uint64_t default_estimate(struct chi_pool *pool, const struct chi_task *task)
{
	const struct chi_method *method = chi_pool_method(pool, task->method_id);

	if (!method)
		return CHI_ESTIMATE_UNKNOWN_NS;
	if (method->estimate_ns)
		return method->estimate_ns;
	return chi_estimate_ns(&pool->estimates[task->method_id], io_bytes(method, task));
}

static void fill_default(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	switch (mode) {
	case CHI_MONITOR_LOCAL_SCHEDULE:
		name_default_lane(container, monitor);
		break;
	case CHI_MONITOR_GLOBAL_SCHEDULE:
		monitor->query = least_loaded(container->pool);
		break;
	case CHI_MONITOR_EST_LOAD:
		monitor->estimate_ns = default_estimate(container->pool, monitor->task);
		break;
	}
}

static bool answer_is_allowed(struct chi_container *container, enum chi_monitor_mode mode,
			      const struct chi_monitor *monitor)
{
	struct chi_container *there;

	switch (mode) {
	case CHI_MONITOR_LOCAL_SCHEDULE:
		return monitor->queue_id < CHI_QUEUES_MAX &&
		       monitor->lane_id < container->queues[monitor->queue_id].n_lanes;
	case CHI_MONITOR_GLOBAL_SCHEDULE:
		return monitor->query.kind != CHI_DOMAIN_DYNAMIC && monitor->query.kind != CHI_DOMAIN_GLOBAL_BCAST &&
		       chi_pool_resolve(container->pool, &monitor->query, &there) == 0;
	case CHI_MONITOR_EST_LOAD:
		return true;
	}
	return false;
}

static int wrong_answer(struct chi_container *container, enum chi_monitor_mode mode, const struct chi_monitor *monitor)
{
	/* relaxed: who finds it 0 first does the talking */
	if (hshm_fetch_add_relaxed(&container->complained, 1) == 0) {
		if (mode == CHI_MONITOR_LOCAL_SCHEDULE)
			chi_log_error("%s: monitor() of module '%s' named queue %u, lane %u for method %u: not there",
				      container->pool->name, container->pool->module->name, monitor->queue_id,
				      monitor->lane_id, monitor->task->method_id);
		else
			chi_log_error("%s: monitor() of module '%s' named query %u:%llu for method %u: not there",
				      container->pool->name, container->pool->module->name, monitor->query.kind,
				      (unsigned long long)monitor->query.value, monitor->task->method_id);
	}
	return -EINVAL;
}

static int ask_monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	const struct chi_module *module = container->pool->module->table;
	struct chi_monitor answer;
	int error;

	fill_default(container, mode, monitor);
	if (!module->monitor)
		return 0;
	answer = *monitor;
	error = module->monitor(container, mode, &answer);
	if (error == -ENOTSUP)
		return 0;
	if (error < 0)
		return error;
	answer.task = monitor->task;
	if (!answer_is_allowed(container, mode, &answer))
		return wrong_answer(container, mode, &answer);
	*monitor = answer;
	return 0;
}

int chi_container_monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	int error = ask_monitor(container, mode, monitor);

	if (monitor->estimate_ns > ESTIMATE_MAX_NS)
		monitor->estimate_ns = ESTIMATE_MAX_NS;
	return error;
}
