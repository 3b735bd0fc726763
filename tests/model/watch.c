/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch.c - looks on at seams between the runtime's files, by the linker's --wrap
 *
 * O1  A lane orders starts: of two tasks of a lane, the one whose enqueue had ended before that of the other began starts first.
 *     A task that is run in place counts as enqueued when its route began. In place it is run only where the configuration
 *     allows it.
 * O2  A task is started by the worker that its lane is assigned to.
 * O3  What waited for room in a lane is not run in place, but by a turn: it has room to pass on first.
 * F1  A task that is run in the context of one before (chi_context_alike()) finds nothing of that one's in it.
 * H1  After each change of a waiting queue it is a heap.
 * Q1  When it is quiet no worker has work: in its lanes, active queues, lists, inbox; nor does anyone stand in a parking lot
 *     beside room.
 * E1  At the end nothing is left: in heaps, queues, lists, fibers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <hshm/heap.h>
#include <hshm/min_heap.h>

#include "runtime/config.h"
#include "runtime/container.h"
#include "runtime/session.h"
#include "runtime/stack_slab.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "tests/model/graph.h"
#include "tests/model/sim.h"

#define ENTRIES_MAX 1024

struct chi_runtime *sim_runtime;

/* ---- O1, O2 ---- */

struct entry {
	const struct chi_lane *lane;
	uint32_t ref; /* 0: free */
	uint64_t began, ended;
};

static struct {
	struct entry entries[ENTRIES_MAX];
	uint32_t n_entries; /* used so far */
	/* found no room, and not routed again yet, unless it has ended; one at most of a place in memory */
	struct refused {
		uint32_t ref;
		struct chi_task_id id;
	} refused[ENTRIES_MAX];
	uint32_t n_refused;
	uint64_t now;
} order;

static struct entry *new_entry(void)
{
	for (uint32_t i = 0; i < order.n_entries; i++)
		if (!order.entries[i].ref)
			return &order.entries[i];
	sim_check(order.n_entries < ENTRIES_MAX, "too many tasks in lanes");
	return &order.entries[order.n_entries++];
}

static struct entry *find_entry(const struct chi_lane *lane, uint32_t ref)
{
	for (uint32_t i = 0; i < order.n_entries; i++)
		if (order.entries[i].ref == ref && order.entries[i].lane == lane)
			return &order.entries[i];
	return NULL;
}

static void check_first(const struct chi_lane *lane, uint64_t began)
{
	for (uint32_t i = 0; i < order.n_entries; i++)
		sim_check(!order.entries[i].ref || order.entries[i].lane != lane || order.entries[i].ended >= began,
			  "order: a task starts before one that was enqueued in its lane before it");
}

static struct entry *enqueue_begins(const struct chi_lane *lane, uint32_t ref)
{
	struct entry *entry = new_entry();

	*entry = (struct entry){ lane, ref, ++order.now, UINT64_MAX };
	return entry;
}

static bool take_refused(uint32_t ref, struct chi_task_id *ret_id)
{
	for (uint32_t i = 0; i < order.n_refused; i++) {
		if (order.refused[i].ref != ref)
			continue;
		*ret_id = order.refused[i].id;
		order.refused[i] = order.refused[--order.n_refused];
		return true;
	}
	return false;
}

static void note_refused(uint32_t ref)
{
	const struct chi_run_context *context = hipc_ref_translate(&sim_runtime->private_mem.map, ref,
								   sizeof(*context));
	struct chi_task_id before;

	take_refused(ref, &before);
	sim_check(order.n_refused < ENTRIES_MAX, "too many tasks found no room");
	order.refused[order.n_refused++] = (struct refused){ ref, context->task->id };
}

/* Is it routed again, as it found no room? */
static bool was_refused(const struct chi_run_context *context)
{
	struct chi_task_id id;

	return take_refused(chi_context_ref(sim_runtime, context), &id) && id.root == context->task->id.root &&
	       id.number == context->task->id.number;
}

static void enqueue_ended(struct entry *entry, const struct entry *begun, int ret)
{
	if (ret < 0)
		note_refused(begun->ref);
	/* it may have started already, and its place be another's */
	if (entry->ref != begun->ref || entry->began != begun->began)
		return;
	entry->ended = ++order.now;
	if (ret < 0)
		entry->ref = 0;
}

int __real_chi_lane_enqueue(struct chi_lane *lane, struct chi_active_queue *active_queues, uint32_t ref);
int __wrap_chi_lane_enqueue(struct chi_lane *lane, struct chi_active_queue *active_queues, uint32_t ref);
int __wrap_chi_lane_enqueue(struct chi_lane *lane, struct chi_active_queue *active_queues, uint32_t ref)
{
	struct entry *entry = enqueue_begins(lane, ref), begun = *entry;
	int ret = __real_chi_lane_enqueue(lane, active_queues, ref);

	enqueue_ended(entry, &begun, ret);
	return ret;
}

int __real_chi_worker_enqueue_own(struct chi_worker *worker, struct chi_lane *lane, uint32_t ref);
int __wrap_chi_worker_enqueue_own(struct chi_worker *worker, struct chi_lane *lane, uint32_t ref);
int __wrap_chi_worker_enqueue_own(struct chi_worker *worker, struct chi_lane *lane, uint32_t ref)
{
	struct entry *entry = enqueue_begins(lane, ref), begun = *entry;
	int ret = __real_chi_worker_enqueue_own(worker, lane, ref);

	enqueue_ended(entry, &begun, ret);
	sim_count_add(lanes_woken_by_own, ret == 0);
	return ret;
}

/* F1. Returns whether it follows: who it follows was routed, and not itself in a try that found no room. */
static bool check_follows(const struct chi_run_context *context, bool refused_before)
{
	const struct chi_task *task = context->task;
	const struct chi_run_context *parent = context->parent;

	if (refused_before || !context->by_default)
		return false;
	sim_check(context->pool->id == task->pool_id && context->method->id == task->method_id &&
			  (!context->container || context->container->pool == context->pool),
		  "a task is run in the context of another pool's, or method's");
	sim_check(context->root == (parent && !parent->works_for_pool ? parent->root : context),
		  "a task is run in the tree of another");
	sim_check(!context->n_numbered.v && !context->not_asked.v, "a task believes what was found out about another");
	sim_check(!context->deadline_ns || task->deadline_us || (parent && parent->deadline_ns),
		  "a task has the deadline of another");
	sim_check(context->state == CHI_CONTEXT_QUEUED && !context->started_ns && !context->below && !context->arena,
		  "a task has begun before it is routed");
	sim_check(context->client_ref ? context->is_held && context->in_place : context->is_held <= context->in_place,
		  "a task counts for itself before it is routed");
	return true;
}

int __real_chi_worker_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);
int __wrap_chi_worker_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane);
int __wrap_chi_worker_route(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	*sim_actor_note() = ++order.now;
	sim_count_add(followed_submit, check_follows(context, was_refused(context)));
	return __real_chi_worker_route(worker, context, ret_lane);
}

int __real_chi_worker_route_woken(struct chi_worker *worker, struct chi_run_context *context,
				  struct chi_lane **ret_lane);
int __wrap_chi_worker_route_woken(struct chi_worker *worker, struct chi_run_context *context,
				  struct chi_lane **ret_lane);
int __wrap_chi_worker_route_woken(struct chi_worker *worker, struct chi_run_context *context,
				  struct chi_lane **ret_lane)
{
	const hshm_au64 *n_in_place = &worker->counters->tasks_in_place;
	uint64_t before = hshm_load_relaxed(n_in_place); /* relaxed: this worker writes it */
	int ret;

	sim_check(was_refused(context), "a task that found room is taken for one that did not");
	*sim_actor_note() = ++order.now;
	ret = __real_chi_worker_route_woken(worker, context, ret_lane);
	sim_check(hshm_load_relaxed(n_in_place) == before, "a task that waited for room runs with what it owes");
	return ret;
}

int __real_chi_worker_route_in_turn(struct chi_worker *worker, struct chi_run_context *context,
				    struct chi_lane **ret_lane);
int __wrap_chi_worker_route_in_turn(struct chi_worker *worker, struct chi_run_context *context,
				    struct chi_lane **ret_lane);
int __wrap_chi_worker_route_in_turn(struct chi_worker *worker, struct chi_run_context *context,
				    struct chi_lane **ret_lane)
{
	bool follows = check_follows(context, was_refused(context));
	int ret;

	*sim_actor_note() = ++order.now;
	ret = __real_chi_worker_route_in_turn(worker, context, ret_lane);
	sim_count_add(followed_client, follows && ret == CHI_ROUTED_HERE);
	return ret;
}

int __real_chi_worker_route_call(struct chi_worker *worker, struct chi_run_context *context,
				 struct chi_lane **ret_lane);
int __wrap_chi_worker_route_call(struct chi_worker *worker, struct chi_run_context *context,
				 struct chi_lane **ret_lane);
int __wrap_chi_worker_route_call(struct chi_worker *worker, struct chi_run_context *context, struct chi_lane **ret_lane)
{
	uint32_t n_calls = worker->n_calls;
	bool follows = check_follows(context, was_refused(context));
	int ret;

	*sim_actor_note() = ++order.now;
	ret = __real_chi_worker_route_call(worker, context, ret_lane);
	sim_count_add(calls_in_place, worker->n_calls > n_calls);
	sim_count_add(followed_call, follows && worker->n_calls > n_calls);
	return ret;
}

void __real_chi_lane_note_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context);
void __wrap_chi_lane_note_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context);
void __wrap_chi_lane_note_task(struct chi_worker *worker, struct chi_lane *lane, const struct chi_run_context *context)
{
	struct entry *entry = find_entry(lane, chi_context_ref(worker->runtime, context));

	sim_check(chi_activation_worker(lane->header->activation.v) == worker->id,
		  "a task is started by worker %u, and its lane is assigned to another", worker->id);
	if (entry) {
		entry->ref = 0;
		check_first(lane, entry->began);
	} else {
		sim_check(worker->runtime->config.run_in_place, "a task is run in place, where that is switched off");
		sim_count(run_in_place);
		check_first(lane, *sim_actor_note());
	}
	sim_graph_starts(context, lane);
	__real_chi_lane_note_task(worker, lane, context);
}

/* What parks at a full lane does not come by here. */
void __real_chi_parking_enter(struct chi_parking_lot *lot, struct chi_parked *parked);
void __wrap_chi_parking_enter(struct chi_parking_lot *lot, struct chi_parked *parked);
void __wrap_chi_parking_enter(struct chi_parking_lot *lot, struct chi_parked *parked)
{
	sim_count(caps_parked);
	__real_chi_parking_enter(lot, parked);
}

/* ---- H1 ---- */

int __real_hshm_min_heap_insert(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key);
int __wrap_hshm_min_heap_insert(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key);
int __wrap_hshm_min_heap_insert(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key)
{
	const struct chi_run_context *context =
		(const struct chi_run_context *)((char *)node - offsetof(struct chi_run_context, heap_node));
	int ret;

	if (context->state == CHI_CONTEXT_ENDED && sim_no_memory_to_rest())
		return -ENOMEM;
	ret = __real_hshm_min_heap_insert(heap, node, key);
	sim_check(hshm_min_heap_check(heap), "the waiting queue is no heap after an insert");
	return ret;
}

void __real_hshm_min_heap_remove(struct hshm_min_heap *heap, struct hshm_min_heap_node *node);
void __wrap_hshm_min_heap_remove(struct hshm_min_heap *heap, struct hshm_min_heap_node *node);
void __wrap_hshm_min_heap_remove(struct hshm_min_heap *heap, struct hshm_min_heap_node *node)
{
	__real_hshm_min_heap_remove(heap, node);
	sim_check(hshm_min_heap_check(heap), "the waiting queue is no heap after a remove");
}

void __real_hshm_min_heap_update(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key);
void __wrap_hshm_min_heap_update(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key);
void __wrap_hshm_min_heap_update(struct hshm_min_heap *heap, struct hshm_min_heap_node *node, uint64_t key)
{
	__real_hshm_min_heap_update(heap, node, key);
	sim_check(hshm_min_heap_check(heap), "the waiting queue is no heap after an update");
}

/* ---- Q1 ---- */

static void check_lane_is_quiet(const struct chi_worker *worker, const struct chi_lane *lane)
{
	const struct chi_parking_lot *lot = &lane->parking;
	uint32_t id = chi_activation_worker(lane->header->activation.v);

	sim_check(!lane->move_to.v || lane->parked, "lost: a request to move a lane of worker %u", id);
	if (lane->session && lane->session->ended.v)
		return;
	sim_check(hipc_mpsc_peek(&lane->consumer) == 0 || lane->parked,
		  "lost wake-up: worker %u sleeps, with tasks in a %s lane", worker->id,
		  lane->session ? "client's" : "container's");
	sim_check(lot->n_parked.v == 0 || hipc_mpsc_is_full(&lane->ring),
		  "lost wake-up: somebody is parked at a lane that has room");
}

void sim_watch_quiet(void)
{
	uint32_t n_workers = sim_runtime && sim_runtime->orch ? chi_work_orch_n_workers(sim_runtime->orch) : 0;

	for (uint32_t i = 0; i < n_workers; i++) {
		struct chi_worker *worker = chi_work_orch_worker(sim_runtime->orch, i);
		uint32_t n_client_lanes = 0;

		if (worker->ended.v || !worker->doorbell.sleeping.v)
			continue;
		for (uint32_t prio = 0; prio < CHI_PRIOS; prio++)
			sim_check(!worker->run_list[prio].first && !worker->woken[prio].first &&
					  !hipc_mpsc_peek(&worker->active[prio].consumer),
				  "lost wake-up: worker %u sleeps, with a lane to be run", i);
		sim_check(!worker->inbox.v, "lost wake-up: worker %u sleeps, with something in its inbox", i);
		sim_check(!worker->ready.first, "worker %u sleeps, with tasks that are ready", i);
		sim_check(!worker->sweep.v && !worker->expire.v && !worker->stop.v,
			  "lost wake-up: worker %u sleeps, and was asked for something", i);
		sim_check(worker->n_hot == 0, "worker %u sleeps, with a lane that is not armed", i);
		for (uint32_t k = 0; k < worker->n_lanes; k++) {
			check_lane_is_quiet(worker, worker->lanes[k]);
			sim_check(worker->lanes[k]->list_place == k + 1,
				  "worker %u sleeps, with a lane that stands elsewhere in its list than it says", i);
			n_client_lanes += worker->lanes[k]->session != NULL;
		}
		sim_check(worker->n_client_lanes.v == n_client_lanes, "worker %u has counted its lanes wrongly", i);
	}
}

/* ---- E1 ---- */

static void count_worker(const struct chi_worker *worker)
{
	const struct chi_worker_counters *counters = worker->counters;

	sim_count_add(lanes_moved, counters->lanes_moved.v);
	sim_count_add(strays, counters->strays.v);
	sim_count_add(duplicates, counters->duplicates.v);
	sim_count_add(sweeps, counters->sweeps.v);
	sim_count_add(full_lanes_parked, counters->parks.v);
	sim_count_add(timeouts, counters->timeouts.v);
	sim_count_add(resumes_by_post, counters->resumes_posted.v);
	sim_count_add(resumes_by_heap, counters->resumes_heap.v);
}

void __real_chi_worker_fini(struct chi_worker *worker);
void __wrap_chi_worker_fini(struct chi_worker *worker);
void __wrap_chi_worker_fini(struct chi_worker *worker)
{
	struct chi_fiber_stats fibers;

	count_worker(worker);
	chi_fiber_pool_get_stats(worker->fibers, &fibers);
	sim_check(fibers.n_idle == fibers.n_made, "left: %u fibers of worker %u", fibers.n_made - fibers.n_idle,
		  worker->id);
	sim_check(worker->waiting.n_entries == 0, "left: %u entries in the waiting queue of worker %u",
		  worker->waiting.n_entries, worker->id);
	sim_check(!worker->ready.first && !worker->inbox.v && !worker->current, "left: tasks in the lists of worker %u",
		  worker->id);
	for (uint32_t i = 0; i < worker->n_lanes; i++)
		sim_check(worker->lanes[i]->container && worker->lanes[i]->header->pool_id == CHI_ADMIN_POOL_ID,
			  "left: a lane of a pool or client that is gone, at worker %u", worker->id);
	for (uint32_t i = 0; i < order.n_entries; i++)
		sim_check(!order.entries[i].ref, "left: a task in a lane");
	__real_chi_worker_fini(worker);
}

void __real_hshm_heap_destroy(struct hshm_heap *heap);
void __wrap_hshm_heap_destroy(struct hshm_heap *heap);
void __wrap_hshm_heap_destroy(struct hshm_heap *heap)
{
	struct hshm_heap_stats stats;

	if (heap) {
		hshm_heap_get_stats(heap, &stats);
		sim_check(stats.n_blocks == 0, "leak: %llu blocks, %llu bytes of the %s heap",
			  (unsigned long long)stats.n_blocks, (unsigned long long)stats.used_bytes,
			  heap == sim_runtime->heap ? "runtime's" : "modules'");
	}
	__real_hshm_heap_destroy(heap);
}

/* ---- dear system calls, kept from seed to seed ---- */

#define SLABS_MAX 64

static struct {
	void *base;
	uint32_t n_stacks;
	uint64_t stack_bytes;
} slabs[SLABS_MAX];

int __real_chi_stack_slab_map(const struct chi_stack_layout *layout, uint32_t n_stacks, void **ret_base);
int __wrap_chi_stack_slab_map(const struct chi_stack_layout *layout, uint32_t n_stacks, void **ret_base);
int __wrap_chi_stack_slab_map(const struct chi_stack_layout *layout, uint32_t n_stacks, void **ret_base)
{
	for (uint32_t i = 0; i < SLABS_MAX; i++) {
		if (!slabs[i].base || slabs[i].n_stacks != n_stacks || slabs[i].stack_bytes != layout->stack_bytes)
			continue;
		*ret_base = slabs[i].base;
		slabs[i].base = NULL;
		return 0;
	}
	return __real_chi_stack_slab_map(layout, n_stacks, ret_base);
}

void __real_chi_stack_slab_unmap(const struct chi_stack_layout *layout, uint32_t n_stacks, void *base);
void __wrap_chi_stack_slab_unmap(const struct chi_stack_layout *layout, uint32_t n_stacks, void *base);
void __wrap_chi_stack_slab_unmap(const struct chi_stack_layout *layout, uint32_t n_stacks, void *base)
{
	for (uint32_t i = 0; i < SLABS_MAX; i++) {
		if (slabs[i].base)
			continue;
		slabs[i].base = base;
		slabs[i].n_stacks = n_stacks;
		slabs[i].stack_bytes = layout->stack_bytes;
		return;
	}
	__real_chi_stack_slab_unmap(layout, n_stacks, base);
}

void sim_watch_open(void)
{
	order.n_entries = order.n_refused = 0;
	order.now = 0;
}
