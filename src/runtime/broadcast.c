/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broadcast.c - CHI_DOMAIN_GLOBAL_BCAST: a copy of the task for each container, the results folded into one
 *
 * The parts run like any task. The last to end folds all, in the order of the containers' ids, and completes the origin,
 * which never runs itself. Declared buffers are not copied: all parts see the same memory.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/worker.h"

struct part {
	struct chi_parked parked; /* waits for room in its container's lane */
	struct chi_run_context *context;
};

struct chi_broadcast {
	struct chi_run_context *origin;
	hshm_au32 n_left;
	uint32_t n_parts;
	struct part parts[];
};

struct chi_run_context *chi_broadcast_origin(const struct chi_run_context *part)
{
	return part->broadcast->origin;
}

static void route_part(struct chi_worker *worker, struct part *part);

static void part_has_room(struct chi_worker *worker, struct chi_work *work)
{
	route_part(worker, (struct part *)((char *)work - offsetof(struct part, parked.work)));
}

static void route_part(struct chi_worker *worker, struct part *part)
{
	struct chi_lane *full;

	if (chi_worker_route(worker, part->context, &full) == 0)
		return; /* it may have ended, and all others too: nothing here is ours any more */
	part->parked.work.fn = part_has_room;
	part->parked.worker = worker;
	hshm_count_add(&worker->counters->parks, 1);
	chi_parking_enter(&full->parking, &part->parked);
	if (!hipc_mpsc_is_full(&full->ring))
		chi_parking_wake(&full->parking);
}

static int make_part(struct chi_broadcast *broadcast, struct chi_container *container, struct part *part)
{
	struct chi_run_context *origin = broadcast->origin, *context;
	uint32_t size_bytes = origin->task->size_bytes;
	int ret = chi_context_alloc(origin->pool->runtime, size_bytes, &context);

	if (ret < 0)
		return ret;
	context->task = (struct chi_task *)context->copy;
	memcpy(context->task, origin->task, size_bytes);
	context->task->flags &= (uint16_t)~CHI_TASK_FIRE_AND_FORGET;
	context->task->query = CHI_QUERY_GLOBAL_ID(container->id);
	context->pool = origin->pool;
	context->method = origin->method;
	context->container = container;
	context->session = origin->session; /* the origin's count stands for the parts */
	context->client_ref = origin->client_ref;
	context->io_bytes = origin->io_bytes;
	context->numbers = origin->numbers;
	context->broadcast = broadcast;
	/* relaxed: a number; and a load figure */
	context->task->id.number = 1 + hshm_fetch_add_relaxed(origin->numbers, 1);
	hshm_fetch_add_relaxed(&container->n_outstanding, 1);
	part->context = context;
	return 0;
}

static void unmake_parts(struct chi_broadcast *broadcast, uint32_t n_made)
{
	for (uint32_t i = 0; i < n_made; i++) {
		struct chi_run_context *context = broadcast->parts[i].context;

		hshm_fetch_sub_relaxed(&context->container->n_outstanding, 1); /* relaxed: a load figure */
		chi_context_free(context);
	}
}

int chi_broadcast_start(struct chi_worker *worker, struct chi_run_context *origin)
{
	struct chi_pool *pool = origin->pool;
	struct chi_broadcast *broadcast;
	uint32_t n_parts = pool->n_local;
	void *memory;
	int ret;

	if (n_parts == 0)
		return -ENOENT;
	ret = hshm_heap_alloc(worker->runtime->heap, sizeof(*broadcast) + n_parts * sizeof(struct part), &memory);
	if (ret < 0)
		return ret;
	/* the answer starts from zero, whatever the submitter left there: parts are folded into it */
	memset((char *)origin->task + origin->method->out_offset, 0, origin->method->out_size);
	broadcast = memory;
	broadcast->origin = origin;
	broadcast->n_parts = n_parts;
	for (uint32_t i = 0; i < n_parts; i++) {
		ret = make_part(broadcast, pool->local_table[i], &broadcast->parts[i]);
		if (ret < 0) {
			unmake_parts(broadcast, i);
			hshm_heap_free(worker->runtime->heap, broadcast);
			return ret;
		}
	}
	/* relaxed: the lanes' enqueues publish it. One more than the parts, so that they cannot all end while we walk. */
	hshm_store_relaxed(&broadcast->n_left, n_parts + 1);
	for (uint32_t i = 0; i < n_parts; i++)
		route_part(worker, &broadcast->parts[i]);
	chi_broadcast_part_done(worker, broadcast->parts[0].context);
	return 0;
}

static int fold_results(struct chi_broadcast *broadcast)
{
	struct chi_run_context *origin = broadcast->origin;
	int result = 0;

	for (uint32_t i = 0; i < broadcast->n_parts; i++) {
		struct chi_run_context *part = broadcast->parts[i].context;

		if (part->result < 0 && result >= 0)
			result = part->result;
		if (part->result >= 0 && origin->method->fold)
			origin->method->fold(origin->task, part->task);
	}
	return result;
}

void chi_broadcast_part_done(struct chi_worker *worker, struct chi_run_context *part)
{
	struct chi_broadcast *broadcast = part->broadcast;
	struct chi_run_context *origin = broadcast->origin;
	int result;

	/* acq_rel: each part's outputs before the last one's fold */
	if (hshm_fetch_sub_acq_rel(&broadcast->n_left, 1) != 1)
		return;
	result = fold_results(broadcast);
	for (uint32_t i = 0; i < broadcast->n_parts; i++)
		chi_context_free(broadcast->parts[i].context);
	hshm_heap_free(worker->runtime->heap, broadcast);
	chi_context_complete(worker, origin, result);
}
