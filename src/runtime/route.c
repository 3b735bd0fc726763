/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * route.c - from a task's domain query to a container, and from there to a lane
 */
#include <errno.h>

#include "runtime/container.h"
#include "runtime/fault.h"
#include "runtime/fiber.h"
#include "runtime/log.h"
#include "runtime/pool_manager.h"
#include "runtime/session.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"

#define REFUSALS_LOGGED_PER_SECOND 5

/* The module says where a CHI_DOMAIN_DYNAMIC task goes; any container of the pool can be asked: it knows the module. */
static int resolve_dynamic(struct chi_pool *pool, const struct chi_task *task, struct chi_domain_query *ret_query)
{
	struct chi_monitor monitor = { .task = task };
	int ret;

	if (pool->n_local == 0)
		return -ENOENT;
	ret = chi_container_monitor(pool->local_table[0], CHI_MONITOR_GLOBAL_SCHEDULE, &monitor);
	if (ret == 0)
		*ret_query = monitor.query;
	return ret;
}

int chi_worker_resolve_query(struct chi_worker *worker, struct chi_pool *pool, const struct chi_task *task,
			     struct chi_container **ret_container)
{
	struct chi_domain_query query = task->query;

	(void)worker; /* one node so far: every container is here */
	if (query.kind == CHI_DOMAIN_DYNAMIC) {
		int ret = resolve_dynamic(pool, task, &query);

		if (ret < 0)
			return ret;
	}
	return chi_pool_resolve(pool, &query, ret_container);
}

enum route_from {
	FROM_LOOP,
	FROM_TURN,    /* what is to run in place does so on the fiber of the turn (F3 in turn.c) */
	FROM_CALL,    /* it does so on the caller's, above that one's frames (F4) */
	FROM_PARKING, /* none does: who was woken for room would pass it on too late (P4 in parking.c) */
};

/* F4. The lane is looked at, as always, outside of any method (T3 in lane_take.c): on success no task is the current
 * one. */
static bool can_be_called(struct chi_worker *worker, struct chi_lane *lane)
{
	struct chi_run_context *caller = worker->current;

	if (worker->n_calls >= worker->runtime->config.lane_batch ||
	    worker->now_ns - worker->turn_ns >= CHI_WORKER_TURN_NS || !chi_fiber_has_room(caller->fiber))
		return false;
	chi_context_set_running(worker, NULL);
	chi_fault_current = caller; /* its stack is in use still */
	if (chi_lane_is_idle(lane, worker->id)) {
		worker->n_calls++;
		return true;
	}
	chi_context_set_running(worker, caller);
	return false;
}

/* May the task run right here, without the hop through the lane? The lane is ours and empty: the order is the same. */
static bool can_run_in_place(struct chi_worker *worker, struct chi_lane *lane, enum route_from from)
{
	if (!worker->runtime->config.run_in_place || from == FROM_PARKING)
		return false;
	if (from == FROM_CALL)
		return can_be_called(worker, lane);
	return !worker->current && (from == FROM_TURN || !worker->runner) && chi_lane_is_idle(lane, worker->id);
}

/* What a client could repeat is limited; the method that asks for a subtask is not named, its log is its own. */
static void log_no_container(const struct chi_run_context *context, int error)
{
	const struct chi_domain_query *query = &context->task->query;
	const struct chi_session *session = context->client_ref ? context->session : NULL;
	struct chi_log_limit *limit = &context->pool->runtime->log_limits.no_container;

	if (error != -ENOENT || !chi_log_allowed(limit, REFUSALS_LOGGED_PER_SECOND))
		return;
	chi_log_warn(
		"%s %u (pid %d): task refused: pool '%s' has no container for query %u, value %llu (%u containers, "
		"method "
		"'%s')",
		session ? "client" : "subtask of client", context->session ? context->session->client_id : 0,
		context->session ? (int)context->session->pid : 0, context->pool->name, query->kind,
		(unsigned long long)query->value, context->pool->n_containers, context->method->name);
}

static int run_here(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane *lane)
{
	hshm_count_add(&worker->counters->tasks_in_place, 1);
	hshm_count_add(&lane->n_in_place, 1);
	chi_lane_note_task(worker, lane, context);
	return CHI_ROUTED_HERE;
}

/* Are container and lane those that pool and query name by default, so that who asks alike may follow
 * (chi_context_alike())? Not with a module that has a say where tasks go; nor for a periodic task, which has more
 * runs. */
static bool goes_by_default(const struct chi_run_context *context)
{
	const struct chi_task *task = context->task;

	return !(task->flags & CHI_TASK_PERIODIC) && task->query.kind != CHI_DOMAIN_DYNAMIC &&
	       !context->container->asks_module;
}

/* 0 or -EAGAIN. */
static int put_into_lane(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane *lane)
{
	chi_context_keep(worker, context);
	chi_context_count_load(context);
	if (!worker->current && chi_lane_is_idle(lane, worker->id))
		return chi_worker_enqueue_own(worker, lane, chi_context_ref(worker->runtime, context));
	return chi_lane_enqueue(lane, chi_work_orch_active_queues(worker->runtime->orch),
				chi_context_ref(worker->runtime, context));
}

/* NULL: it was completed. */
static struct chi_lane *ask_module(struct chi_worker *worker, struct chi_run_context *context)
{
	struct chi_monitor monitor = { .task = context->task };
	int ret = chi_container_monitor(context->container, CHI_MONITOR_LOCAL_SCHEDULE, &monitor);

	if (ret == 0)
		return chi_container_lane(context->container, monitor.queue_id, monitor.lane_id);
	chi_context_complete(worker, context, ret);
	return NULL;
}

static struct chi_lane *fix_lane(struct chi_run_context *context, struct chi_local_queue *queue)
{
	struct chi_lane *lane = chi_container_fixed_lane(queue, &context->asked.query);

	if (context->by_default)
		context->lane = lane;
	return lane;
}

static struct chi_lane *choose_lane(struct chi_run_context *context)
{
	const struct chi_asked *asked = &context->asked;
	struct chi_local_queue *queue = chi_container_default_queue(context->container, asked->flags);

	return chi_container_has_turns(queue, &asked->query) ? chi_container_next_lane(context->container, queue)
							     : fix_lane(context, queue);
}

/* NULL: it was completed, or is a broadcast that has begun. */
static __attribute__((noinline)) struct chi_lane *find_lane(struct chi_worker *worker, struct chi_run_context *context)
{
	int ret = 0;

	if (context->task->query.kind == CHI_DOMAIN_GLOBAL_BCAST && !context->broadcast) {
		ret = chi_broadcast_start(worker, context);
		if (ret < 0)
			chi_context_complete(worker, context, ret);
		return NULL;
	}
	if (!context->container)
		ret = chi_worker_resolve_query(worker, context->pool, context->task, &context->container);
	if (ret < 0) {
		log_no_container(context, ret);
		chi_context_complete(worker, context, ret);
		return NULL;
	}
	context->by_default = goes_by_default(context);
	return context->container->asks_module ? ask_module(worker, context) : choose_lane(context);
}

/* The short way for one that goes by default: as one before it did that asked alike, or itself in a try that found no
 * room. The container may be that one's still, so it is looked up anew, for the most common queries here: by what was
 * asked, which does not change between two tries. One was found then, so the pool has some. */
static struct chi_lane *default_lane(struct chi_worker *worker, struct chi_run_context *context)
{
	const struct chi_domain_query *query = &context->asked.query;
	const struct chi_pool *pool = context->pool;

	if (query->kind == CHI_DOMAIN_LOCAL_HASH) {
		context->container = pool->local_table[query->value % pool->n_local];
	} else if (query->kind == CHI_DOMAIN_LOCAL_ID && query->value < pool->n_local) {
		context->container = pool->local_table[query->value];
	} else {
		if (!context->counts_as_load) /* else it has been found for this one */
			context->container = NULL;
		return find_lane(worker, context);
	}
	return choose_lane(context);
}

static inline int route(struct chi_worker *worker, struct chi_run_context *context, enum route_from from,
			struct chi_lane **ret_lane)
{
	struct chi_lane *lane = context->lane;

	if (!lane)
		lane = context->by_default ? default_lane(worker, context) : find_lane(worker, context);
	*ret_lane = NULL;
	if (!lane)
		return 0;
	if (can_run_in_place(worker, lane, from))
		return run_here(worker, context, lane);
	*ret_lane = lane;
	return put_into_lane(worker, context, lane);
}

int chi_worker_route_in_turn(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	return route(worker, context, FROM_TURN, ret_lane);
}

int chi_worker_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	int ret = route(worker, context, FROM_LOOP, ret_lane);

	if (ret != CHI_ROUTED_HERE)
		return ret;
	chi_context_start(worker, context);
	return 0;
}

int chi_worker_route_woken(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	return route(worker, context, FROM_PARKING, ret_lane);
}

int chi_worker_route_call(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	struct chi_run_context *caller = worker->current;
	int ret = route(worker, context, FROM_CALL, ret_lane);

	if (ret != CHI_ROUTED_HERE)
		return ret;
	chi_context_call(worker, caller, context);
	return 0;
}
