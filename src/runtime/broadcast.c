/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broadcast.c - CHI_DOMAIN_GLOBAL_BCAST: a copy of the task for each container, the results folded into one
 *
 * The parts run like any task. They are started and folded in the order of the containers' ids by one worker, the one
 * that started the broadcast: a part that has ended is posted to its inbox, so nothing here needs a lock. The last fold
 * completes the origin, which never runs itself. Declared buffers are not copied: all parts see the same memory.
 *
 * B1  A part is a run context until it is folded, and each stands under the cap of the client whose task the origin is:
 *     one in the place of the origin, each further one counted. At the cap the others wait for one to be folded.
 * B2  The oldest part that is not folded needs nothing but its container to end. So a broadcast gets on at any cap.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "runtime/count.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/worker.h"

struct part {
	struct chi_parked parked; /* waits for room in its container's lane */
	struct chi_run_context *context;
	struct part *next; /* the next container's */
	bool ended;
};

struct chi_broadcast {
	struct chi_run_context *origin;
	struct chi_worker *worker;    /* who starts and folds */
	struct part *oldest, *newest; /* started, not folded */
	uint32_t n_started;
	uint32_t n_unfolded;
	uint32_t n_counted; /* under the client's cap, besides the origin */
	int result;	    /* the first that failed */
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
	struct chi_parked woken = part->parked;
	struct chi_lane *lane;
	int ret = woken.lot ? chi_worker_route_woken(worker, part->context, &lane)
			    : chi_worker_route(worker, part->context, &lane);

	/* by our copy: the part may have ended, and all others too: nothing here is ours any more */
	chi_parking_pass_on(&woken, lane);
	if (ret == 0)
		return;
	part->parked.work.fn = part_has_room;
	part->parked.worker = worker;
	chi_parking_at_lane(&part->parked, lane);
}

/* Its memory follows the copy of the task. */
static uint64_t part_offset(const struct chi_method *method)
{
	uint64_t unit = _Alignof(struct part);

	return (method->task_size + unit - 1) / unit * unit;
}

static int make_part(struct chi_broadcast *broadcast, struct chi_container *container, struct part **ret_part)
{
	struct chi_run_context *origin = broadcast->origin, *context;
	const struct chi_method *method = origin->method;
	int ret = chi_context_alloc(origin->pool->runtime, (uint32_t)(part_offset(method) + sizeof(struct part)),
				    &context);

	if (ret < 0)
		return ret;
	context->task = (struct chi_task *)context->copy;
	memcpy(context->task, origin->task, method->task_size);
	/* the answers of those before may be folded in already */
	memset(context->copy + method->out_offset, 0, method->out_size);
	context->task->flags &= (uint16_t)~CHI_TASK_FIRE_AND_FORGET;
	context->task->query = CHI_QUERY_GLOBAL_ID(container->id);
	memcpy(&context->asked, context->task, sizeof(context->asked));
	context->pool = origin->pool;
	context->method = method;
	context->container = container;
	context->session = origin->session; /* the origin's reference stands for the parts */
	context->client_ref = origin->client_ref;
	context->io_bytes = origin->io_bytes;
	context->deadline_ns = origin->deadline_ns;
	context->root = origin->root;
	context->broadcast = broadcast;
	chi_count_started(broadcast->worker, context);
	/* relaxed: a number */
	context->task->id.number = 1 + hshm_fetch_add_relaxed(&origin->root->n_numbered, 1);
	chi_context_count_load(context);
	*ret_part = (struct part *)(context->copy + part_offset(method));
	**ret_part = (struct part){ .context = context };
	return 0;
}

/* B1; subtasks do not count, so those of a module are as free as any. */
static bool take_place(struct chi_broadcast *broadcast)
{
	const struct chi_run_context *origin = broadcast->origin;

	if (!origin->client_ref || broadcast->n_unfolded <= broadcast->n_counted)
		return true;
	if (!chi_session_try_context(origin->session))
		return false;
	broadcast->n_counted++;
	return true;
}

static int start_next_part(struct chi_broadcast *broadcast)
{
	struct chi_container *container = broadcast->origin->pool->local_table[broadcast->n_started];
	struct part *part;
	int ret = make_part(broadcast, container, &part);

	if (ret < 0)
		return ret;
	if (broadcast->newest)
		broadcast->newest->next = part;
	else
		broadcast->oldest = part;
	broadcast->newest = part;
	broadcast->n_started++;
	broadcast->n_unfolded++;
	route_part(broadcast->worker, part);
	return 0;
}

/* As many as may be. Without memory even for one the containers that are left are not asked. */
static void start_parts(struct chi_broadcast *broadcast)
{
	uint32_t n_parts = broadcast->origin->pool->n_local;
	int ret = 0;

	while (ret == 0 && broadcast->n_started < n_parts && take_place(broadcast))
		ret = start_next_part(broadcast);
	if (ret < 0 && broadcast->n_unfolded == 0) {
		broadcast->n_started = n_parts;
		if (broadcast->result == 0)
			broadcast->result = ret;
	}
}

static void finish(struct chi_broadcast *broadcast)
{
	struct chi_run_context *origin = broadcast->origin;
	struct chi_worker *worker = broadcast->worker;
	int result = broadcast->result;

	while (broadcast->n_counted--)
		chi_session_put_context(origin->session);
	hshm_heap_free(worker->runtime->heap, broadcast);
	chi_context_complete(worker, origin, result);
}

static void fold_oldest(struct chi_broadcast *broadcast)
{
	struct chi_run_context *origin = broadcast->origin;
	struct part *part = broadcast->oldest;
	int result = part->context->result;

	if (result < 0 && broadcast->result == 0)
		broadcast->result = result;
	if (result >= 0 && origin->method->fold)
		origin->method->fold(origin->task, part->context->task);
	broadcast->oldest = part->next;
	if (!broadcast->oldest)
		broadcast->newest = NULL;
	broadcast->n_unfolded--;
	chi_context_free(part->context);
}

static void part_ended(struct chi_worker *worker, struct chi_work *work)
{
	struct chi_run_context *context =
		(struct chi_run_context *)((char *)work - offsetof(struct chi_run_context, work));
	struct chi_broadcast *broadcast = context->broadcast;

	(void)worker;
	((struct part *)(context->copy + part_offset(context->method)))->ended = true;
	while (broadcast->oldest && broadcast->oldest->ended)
		fold_oldest(broadcast);
	start_parts(broadcast);
	if (broadcast->n_unfolded == 0)
		finish(broadcast);
}

int chi_broadcast_start(struct chi_worker *worker, struct chi_run_context *origin)
{
	struct chi_broadcast *broadcast;
	void *memory;
	int ret;

	if (origin->pool->n_local == 0)
		return -ENOENT;
	chi_context_keep(worker, origin);
	ret = hshm_heap_alloc(worker->runtime->heap, sizeof(*broadcast), &memory);
	if (ret < 0)
		return ret;
	/* the answer starts from zero, whatever the submitter left there: parts are folded into it */
	memset((char *)origin->task + origin->method->out_offset, 0, origin->method->out_size);
	broadcast = memory;
	*broadcast = (struct chi_broadcast){ .origin = origin, .worker = worker };
	start_parts(broadcast);
	if (broadcast->n_unfolded == 0)
		finish(broadcast); /* not even one part could be made */
	return 0;
}

void chi_broadcast_part_done(struct chi_run_context *part)
{
	part->work.fn = part_ended;
	chi_worker_post(part->broadcast->worker, &part->work);
}
