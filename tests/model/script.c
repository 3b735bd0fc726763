/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * script.c - the modules, with and without a monitor, whose one method does what its node says
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <chimaera/admin.h>

#include "runtime/context_wait.h"
#include "runtime/pool_manager.h"
#include "runtime/work_orchestrator.h"
#include "runtime/worker.h"
#include "tests/model/graph.h"

#define FLAG_LOOK_NS 100000u

static struct sim_graph *const g = &sim_graph;

/* ---- a node's task ---- */

void sim_node_cancel(uint32_t index)
{
	struct sim_node *node = &g->nodes[index];

	sim_count(cancels);
	sim_event("task %lld is cancelled", index);
	node->cancelled = true;
	chi_cancel(node->task);
	node->cancel_is_over = true;
}

bool sim_node_fill(uint32_t index, struct sim_task *task)
{
	struct sim_node *node = &g->nodes[index];
	uint32_t pool_id = sim_is_passing(node) ? g->passing_ids[node->pool - POOLS_MAX] : g->pool_ids[node->pool];

	chi_task_init(&task->task, sizeof(*task), pool_id, node->query, 0);
	task->task.flags = node->flags;
	task->task.period_ns = node->period_ns;
	task->task.deadline_us = node->deadline_us;
	task->node = index;
	node->task = task;
	node->pool_id = pool_id;
	if (pool_id == 0)
		sim_count(no_such_pool);
	return pool_id != 0;
}

/* ---- the method ---- */

struct frame {
	uint32_t index;
	struct sim_node *node;
	struct chi_run_context *context;
	struct chi_client *client;
	struct chi_worker *worker;
	struct sim_task tasks[CHILDREN_MAX];
	struct chi_task *waited[CHILDREN_MAX];
	bool must_wait[CHILDREN_MAX], in_heap[CHILDREN_MAX];
};

static struct sim_node *child_of(const struct frame *frame, uint32_t i)
{
	return &g->nodes[frame->node->children[i]];
}

static bool is_open(const struct frame *frame, uint32_t i)
{
	const struct sim_node *child = child_of(frame, i);

	return child->submitted && !child->refused && !(child->flags & CHI_TASK_FIRE_AND_FORGET);
}

static void check_worker(const struct frame *frame)
{
	sim_check(CHI_CUR_WORKER == frame->worker && frame->worker->current == frame->context,
		  "task %u goes on where it was not", frame->index);
}

static struct sim_task *place_for(struct frame *frame, uint32_t i, enum sim_place place)
{
	struct sim_task *task = NULL;

	switch (place) {
	case IN_FRAME:
		frame->must_wait[i] = true;
		return &frame->tasks[i];
	case IN_ARENA:
		sim_count(arena_pieces);
		sim_check(chi_task_arena_alloc(frame->context, sizeof(*task), &task) == 0, "no memory in the arena");
		return task;
	default:
		sim_check(chi_alloc(frame->client, sizeof(*task), &task) == 0, "no memory in the heap");
		frame->in_heap[i] = frame->must_wait[i] = true;
		return task;
	}
}

/* 0, or why it was refused. */
static int call(struct frame *frame, struct chi_task *task)
{
	struct sim_wait wait = {
		.tasks = &task, .n_tasks = 1, .polls = !g->posting, .until_ns = HSHM_FOREVER, .who = frame->index
	};
	int ret;

	sim_wait_begins(&wait);
	ret = chi_call(frame->client, task);
	sim_wait_ends(&wait);
	if (!sim_is_done(task))
		return ret;
	sim_count(calls);
	sim_check(ret == task->result, "task %u: a call ends with %d", frame->index, ret);
	return 0;
}

static void submit(struct frame *frame, uint32_t i, enum sim_place place, enum sim_op_kind kind)
{
	struct sim_node *child = child_of(frame, i);
	struct sim_task *task = place_for(frame, i, place);
	bool detached = child->flags & CHI_TASK_FIRE_AND_FORGET;
	int ret = -ENOENT;

	sim_event("task %lld submits task %lld", frame->index, frame->node->children[i]);
	child->submitted = true;
	sim_count(subtasks);
	sim_count_add(detached, detached);
	if (sim_node_fill(frame->node->children[i], task))
		ret = kind == OP_CALL ? call(frame, &task->task) : chi_submit(frame->client, &task->task);
	check_worker(frame);
	if (detached && ret == 0)
		frame->in_heap[i] = frame->must_wait[i] = false; /* given */
	if (ret == 0)
		return;
	child->refused = true;
	frame->must_wait[i] = false;
	sim_check(sim_is_passing(child) && ret == -ENOENT, "task %u is refused: %d", frame->node->children[i], ret);
	if (frame->in_heap[i])
		chi_free(frame->client, task);
	frame->in_heap[i] = false;
}

static void note_done(struct frame *frame, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (is_open(frame, i) && sim_is_done(&child_of(frame, i)->task->task))
			sim_node_done(frame->node->children[i]);
}

static uint64_t end_of_wait(const struct frame *frame, uint64_t timeout_ns)
{
	uint64_t deadline_ns = chi_context_deadline_ns(frame->context), end_ns = HSHM_FOREVER;

	if (timeout_ns != HSHM_FOREVER)
		end_ns = sim_now_ns() + timeout_ns < deadline_ns ? sim_now_ns() + timeout_ns : deadline_ns;
	return end_ns;
}

static void wait_for(struct frame *frame, struct chi_task **tasks, uint32_t n, enum sim_op_kind kind,
		     uint64_t timeout_ns)
{
	uint64_t end_ns = end_of_wait(frame, timeout_ns);
	struct sim_wait wait = { .tasks = tasks,
				 .n_tasks = n,
				 .any = kind == OP_WAIT_ANY,
				 .polls = !g->posting,
				 .until_ns = end_ns == HSHM_FOREVER ? HSHM_FOREVER : end_ns + SIM_LATE_NS,
				 .who = frame->index };
	int ret;

	if (n == 0)
		return;
	sim_wait_begins(&wait);
	if (kind == OP_WAIT_ANY)
		ret = chi_wait_any((void **)tasks, n, timeout_ns);
	else
		ret = n == 1 ? chi_wait(tasks[0], timeout_ns) : chi_wait_all((void **)tasks, n, timeout_ns);
	sim_wait_ends(&wait);
	check_worker(frame);
	if (kind == OP_WAIT_ANY)
		sim_count(waits_any);
	else
		sim_count(waits_all);
	if (ret == -ETIMEDOUT)
		sim_check(end_ns <= sim_now_ns(), "task %u: a timeout before its time", frame->index);
	else if (kind == OP_WAIT_ANY)
		sim_check(ret >= 0 && sim_is_done(tasks[ret]), "task %u waits for any: %d", frame->index, ret);
	else
		sim_check(ret == 0 && sim_is_satisfied(&wait), "task %u waits for all: %d", frame->index, ret);
}

static uint32_t open_tasks(struct frame *frame, struct chi_task **tasks, bool only_bound)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < frame->node->n_children; i++)
		if (is_open(frame, i) && (!only_bound || frame->must_wait[i]))
			tasks[n++] = &child_of(frame, i)->task->task;
	return n;
}

static void do_wait(struct frame *frame, const struct sim_op *op)
{
	uint64_t timeout_ns = op->c == UINT32_MAX ? HSHM_FOREVER : op->c;
	struct chi_task *tasks[CHILDREN_MAX];
	uint32_t n = open_tasks(frame, tasks, false);

	if (op->kind == OP_WAIT_ONE && n > 1) {
		tasks[0] = tasks[op->a % n];
		n = 1;
	}
	wait_for(frame, tasks, n, op->kind, timeout_ns);
	note_done(frame, frame->node->n_children);
}

/* ---- locks ---- */

static void took(uint32_t lock, bool shared)
{
	if (shared)
		g->n_readers[lock]++;
	else
		g->n_writers[lock]++;
	sim_check(g->n_writers[lock] + (g->n_writers[lock] && g->n_readers[lock]) <= 1,
		  "lock %u is held by %u writers and %u readers", lock, g->n_writers[lock], g->n_readers[lock]);
}

static void left(uint32_t lock, bool shared)
{
	if (shared)
		g->n_readers[lock]--;
	else
		g->n_writers[lock]--;
}

static void lock(uint32_t lock, bool shared)
{
	if (sim_is_held(lock))
		sim_count(lock_hand_overs);
	if (lock < MUTEXES)
		chi_mutex_lock(&g->mutexes[lock]);
	else if (shared)
		chi_rwlock_read_lock(&g->rwlocks[lock - MUTEXES]);
	else
		chi_rwlock_write_lock(&g->rwlocks[lock - MUTEXES]);
	took(lock, shared);
}

static bool try_lock(uint32_t lock, bool shared)
{
	bool got;

	if (lock < MUTEXES)
		got = chi_mutex_trylock(&g->mutexes[lock]);
	else if (shared)
		got = chi_rwlock_try_read_lock(&g->rwlocks[lock - MUTEXES]);
	else
		got = chi_rwlock_try_write_lock(&g->rwlocks[lock - MUTEXES]);
	if (got)
		took(lock, shared);
	return got;
}

static void unlock(uint32_t lock, bool shared)
{
	left(lock, shared);
	if (lock < MUTEXES)
		chi_mutex_unlock(&g->mutexes[lock]);
	else
		chi_rwlock_unlock(&g->rwlocks[lock - MUTEXES]);
}

static void wait_for_signal(struct frame *frame, uint32_t lock, uint64_t timeout_ns)
{
	uint64_t end_ns = end_of_wait(frame, timeout_ns);
	int ret;

	left(lock, false);
	ret = chi_cond_wait(&g->conds[lock], &g->mutexes[lock], timeout_ns);
	took(lock, false);
	if (ret == 0) {
		sim_count(cond_signals);
		return;
	}
	sim_check(ret == -ETIMEDOUT && end_ns <= sim_now_ns(), "task %u waits for a signal: %d", frame->index, ret);
	sim_count(cond_timeouts);
}

static void wait_for_calm_child(struct frame *frame, uint32_t i)
{
	struct chi_task *task;

	submit(frame, i, IN_FRAME, OP_SUBMIT);
	task = &child_of(frame, i)->task->task;
	wait_for(frame, &task, 1, OP_WAIT_ALL, HSHM_FOREVER);
	note_done(frame, i + 1);
}

static void do_locked(struct frame *frame, const struct sim_op *op)
{
	bool shared = op->a >= MUTEXES && (op->c & 1);
	uint32_t second;

	lock(op->a, shared);
	check_worker(frame);
	switch ((enum sim_inside)op->b) {
	case INSIDE_YIELD:
		chi_yield();
		break;
	case INSIDE_CHILD:
		wait_for_calm_child(frame, op->c);
		break;
	case INSIDE_SECOND_LOCK:
		second = op->a + 1; /* ascending */
		if (second < MUTEXES + RWLOCKS) {
			lock(second, false);
			chi_yield();
			unlock(second, false);
		}
		break;
	case INSIDE_COND_WAIT:
		wait_for_signal(frame, op->a, op->c);
		break;
	case INSIDE_SIGNAL:
		chi_cond_signal(&g->conds[op->a]);
		break;
	case INSIDE_BROADCAST:
		chi_cond_broadcast(&g->conds[op->a]);
		break;
	default:
		break;
	}
	check_worker(frame);
	unlock(op->a, shared);
}

static bool shall_end(const struct frame *frame)
{
	const struct sim_node *node = frame->node;
	bool lost_client = sim_lost_client(node);
	bool must = lost_client || sim_has_above(node, sim_is_cancelled_for_sure),
	     shall = chi_cancelled(frame->context);

	sim_count_add(told_of_a_death, lost_client);
	sim_check(!shall || sim_has_above(node, sim_is_cancelled) || sim_has_above(node, sim_has_deadline) ||
			  sim_may_lose_client(node),
		  "task %u shall end early, and nobody asked for it", frame->index);
	sim_check(shall || !must, "lost cancel: task %u does not learn of it", frame->index);
	return shall;
}

/* If the client dies, who should set the flag may end without it: a module that awaits one has to look. */
static void await_flag(struct frame *frame, uint32_t flag)
{
	bool looks = sim_needs_client(frame->node) && sim_client_may_be_killed(frame->node->client);

	chi_mutex_lock(&g->flag_mutex);
	while (!g->flags[flag]) {
		int ret = chi_cond_wait(&g->flag_cond, &g->flag_mutex, looks ? FLAG_LOOK_NS : HSHM_FOREVER);

		sim_check(ret == 0 || (looks && ret == -ETIMEDOUT), "a wait for a signal: %d", ret);
		if (ret < 0 && shall_end(frame))
			break;
	}
	chi_mutex_unlock(&g->flag_mutex);
}

static void set_flag(uint32_t flag)
{
	chi_mutex_lock(&g->flag_mutex);
	g->flags[flag] = true;
	chi_cond_broadcast(&g->flag_cond);
	chi_mutex_unlock(&g->flag_mutex);
}

/* ---- lanes and pools ---- */

static void move_some_lane(struct chi_worker *mine)
{
	struct chi_work_orch *orch = mine->runtime->orch;
	uint32_t n_workers = chi_work_orch_n_workers(orch), to = sim_below(&g->rng, n_workers);
	struct chi_worker *worker = chi_work_orch_worker(orch, sim_below(&g->rng, n_workers));

	pthread_mutex_lock(&worker->lanes_lock);
	if (worker->n_lanes)
		(void)chi_work_orch_remap_lane(orch, worker->lanes[sim_below(&g->rng, worker->n_lanes)], to);
	pthread_mutex_unlock(&worker->lanes_lock);
}

static void make_pool(struct frame *frame, uint32_t passing, bool fails)
{
	struct sim_pool_params params = { g->n_lanes, fails };
	struct chi_pool_spec spec = { .module = sim_modules[g->plain[POOLS_MAX + passing]].name,
				      .name = passing ? "passing-1" : "passing-0",
				      .n_containers = g->passing_containers,
				      .params = &params,
				      .params_size = sizeof(params) };
	uint32_t id;
	int ret = chi_pool_create(frame->client, &spec, &id);

	if (ret >= 0) {
		sim_event("pool %lld is made or opened: id %lld", passing, id);
		g->passing_ids[passing] = id;
		sim_count_add(pools_made, ret == 1);
		return;
	}
	/* its maker may be ended before; or somebody else's create() failed while we waited for it */
	sim_check(ret == -EIO || (ret == -EAGAIN && g->few_fibers) || ret == -ECANCELED || ret == -ETIMEDOUT,
		  "pool %u cannot be made: %d (%s)", passing, ret, chi_error_text());
	sim_count(pools_refused);
}

static uint64_t in_pool(uint32_t id)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].submitted && sim_is_passing(&g->nodes[i]) && g->nodes[i].task && g->nodes[i].n_inside)
			n += g->passing_ids[g->nodes[i].pool - POOLS_MAX] == id;
	return n;
}

static void end_pool(struct frame *frame, uint32_t passing)
{
	uint32_t id = g->passing_ids[passing];
	uint64_t n_in = in_pool(id);
	int ret;

	if (!id)
		return;
	ret = chi_pool_destroy(frame->client, id);
	sim_event("pool %lld, id %lld, is ended: %lld", passing, id, ret);
	if (ret == 0) {
		sim_count(pools_ended);
		sim_count_add(pools_ended_in_flight, n_in != 0);
		if (g->passing_ids[passing] == id)
			g->passing_ids[passing] = 0;
		return;
	}
	sim_check(ret == -ENOENT || (ret == -EAGAIN && g->few_fibers) || ret == -ECANCELED || ret == -ETIMEDOUT,
		  "pool %u cannot be ended: %d", passing, ret);
}

static void add_flushing(struct sim_node *node, uint32_t n)
{
	for (;; node = &g->nodes[node->parent]) {
		node->n_flushing += n;
		node->n_flushed++;
		if (node->parent < 0 || node->flags & CHI_TASK_FIRE_AND_FORGET)
			return;
	}
}

/* What runs now, waits for no flush meanwhile, and is not above who flushes, has ended after it. */
static void flush(struct frame *frame)
{
	bool runs[NODES_MAX];
	uint32_t n_ends[NODES_MAX], n_flushed[NODES_MAX];
	int ret;

	add_flushing(frame->node, 1);
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		runs[i] = g->nodes[i].n_inside && !g->nodes[i].n_flushing;
		n_ends[i] = g->nodes[i].n_ends;
		n_flushed[i] = g->nodes[i].n_flushed;
	}
	ret = chi_flush(frame->client);
	sim_check(ret == 0 || ret == -ECANCELED || ret == -ETIMEDOUT || (ret == -EAGAIN && g->few_fibers),
		  "a flush: %d", ret);
	for (uint32_t i = 0; ret == 0 && i < g->n_nodes; i++)
		sim_check(!runs[i] || g->nodes[i].n_ends > n_ends[i] || g->nodes[i].n_flushed != n_flushed[i],
			  "a flush is over, and task %u, which ran before it, is not", i);
	add_flushing(frame->node, (uint32_t)-1);
	sim_count(flushes);
}

static void use_arena(struct chi_run_context *context)
{
	uint32_t size = 1 + sim_below(&g->rng, 3000);
	unsigned char *memory;

	sim_check(chi_task_arena_alloc(context, size, &memory) == 0, "no memory in the arena");
	memset(memory, 0xa5, size);
	sim_count(arena_pieces);
}

/* ---- a run ---- */

static void do_op(struct frame *frame, const struct sim_op *op)
{
	switch ((enum sim_op_kind)op->kind) {
	case OP_SUBMIT:
	case OP_CALL:
		submit(frame, op->a, op->b, op->kind);
		note_done(frame, op->a + 1);
		break;
	case OP_WAIT_ALL:
	case OP_WAIT_ANY:
	case OP_WAIT_ONE:
		do_wait(frame, op);
		break;
	case OP_CANCEL:
		if (is_open(frame, op->a) && !child_of(frame, op->a)->seen_done && !child_of(frame, op->a)->calm)
			sim_node_cancel(frame->node->children[op->a]);
		break;
	case OP_YIELD:
		sim_count(yields);
		chi_yield();
		break;
	case OP_ARENA:
		use_arena(frame->context);
		break;
	case OP_LOCKED:
		do_locked(frame, op);
		break;
	case OP_TRY_LOCK:
		if (try_lock(op->a, false))
			unlock(op->a, false);
		break;
	case OP_AWAIT_FLAG:
		await_flag(frame, op->a);
		break;
	case OP_SET_FLAG:
		set_flag(op->a);
		break;
	case OP_MOVE_LANE:
		move_some_lane(frame->worker);
		break;
	case OP_MAKE_POOL:
		make_pool(frame, op->a, op->b);
		break;
	case OP_END_POOL:
		end_pool(frame, op->a);
		break;
	case OP_FLUSH:
		flush(frame);
		break;
	case OP_LOOK:
		break;
	}
	check_worker(frame);
}

/* Returns the method's result. */
static int run_ops(struct frame *frame)
{
	struct sim_node *node = frame->node;

	for (uint32_t i = 0; i < node->n_ops; i++) {
		if (node->ops[i].kind == OP_LOOK && shall_end(frame))
			return -ECANCELED;
		do_op(frame, &node->ops[i]);
	}
	if (node->flags & CHI_TASK_PERIODIC)
		return node->n_starts < node->n_runs ? 0 : -EIO;
	return node->result;
}

/* What lies in the frame, and what is to be freed, is waited for; the rest the runtime waits for. */
static void leave_frame(struct frame *frame)
{
	struct chi_task *tasks[CHILDREN_MAX];

	wait_for(frame, tasks, open_tasks(frame, tasks, true), OP_WAIT_ALL, HSHM_FOREVER);
	note_done(frame, frame->node->n_children);
	for (uint32_t i = 0; i < frame->node->n_children; i++)
		if (frame->in_heap[i])
			chi_free(frame->client, child_of(frame, i)->task);
}

static void check_container(struct sim_node *node, uint32_t index, const struct chi_container *container)
{
	uint32_t id = chi_container_id(container);

	sim_check(chi_container_pool_id(container) == node->pool_id, "task %u runs in pool %u, not in pool %u", index,
		  chi_container_pool_id(container), node->pool_id);
	if (node->query.kind != CHI_DOMAIN_GLOBAL_BCAST) {
		sim_check(id == node->container, "task %u runs in container %u, not in %u", index, id, node->container);
		return;
	}
	sim_check(!(node->ran_in & 1u << id), "broadcast %u runs twice in container %u", index, id);
	node->ran_in |= 1u << id;
}

static void begin_run(struct sim_node *node, uint32_t index, struct chi_run_context *context)
{
	uint64_t due_ns = chi_context_due_ns(context);

	sim_event("task %lld starts on worker %lld", index, chi_context_worker(context));
	sim_check(!node->must_end_early, "lost cancel: task %u starts all the same", index);
	node->n_starts++;
	node->n_inside++;
	sim_count(tasks_run);
	if (node->flags & CHI_TASK_PERIODIC) {
		sim_count(periodic_runs);
		sim_check(node->n_inside == 1, "periodic task %u runs twice at a time", index);
		sim_check(due_ns <= sim_now_ns() && (node->n_starts == 1 || due_ns > node->due_ns),
			  "periodic task %u runs before it is due, or again for the same time", index);
		node->due_ns = due_ns;
	} else if (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST) {
		sim_count(broadcasts);
	} else {
		sim_check(node->n_starts == 1, "task %u is started %u times", index, node->n_starts);
	}
}

static int run(struct chi_container *container, struct chi_task *task, struct chi_run_context *context)
{
	struct sim_task *mine = (struct sim_task *)task;
	struct frame frame = { .index = mine->node,
			       .node = &g->nodes[mine->node],
			       .context = context,
			       .client = chi_context_client(context),
			       .worker = CHI_CUR_WORKER };
	int result;

	sim_check(mine->node < g->n_nodes && frame.node->submitted, "a task that nobody submitted runs");
	check_container(frame.node, mine->node, container);
	begin_run(frame.node, mine->node, context);
	result = run_ops(&frame);
	leave_frame(&frame);
	mine->answer = 1;
	if (frame.node->query.kind != CHI_DOMAIN_GLOBAL_BCAST || frame.node->returned >= 0)
		frame.node->returned = result;
	frame.node->n_inside--;
	frame.node->n_ends++;
	sim_event("task %lld returns %lld", mine->node, result);
	return result;
}

/* ---- the module ---- */

static int create(struct chi_container *container, const void *bytes, uint64_t size)
{
	const struct sim_pool_params *params = bytes;
	int ret;

	if (size != sizeof(*params))
		return -EINVAL;
	if (CHI_CUR_WORKER && sim_one_in(&g->rng, 2))
		chi_yield();
	ret = chi_container_create_local_queue(container, 0, params->n_lanes, 0);
	if (ret == 0)
		ret = chi_container_create_local_queue(container, 1, params->n_lanes, CHI_QUEUE_HIGH_LATENCY);
	if (ret == 0 && params->fails && chi_container_id(container) + 1 == chi_container_count(container))
		return -EIO;
	return ret;
}

static void destroy(struct chi_container *container)
{
	(void)container;
	if (sim_one_in(&g->rng, 2))
		chi_yield();
}

static int monitor(struct chi_container *container, enum chi_monitor_mode mode, struct chi_monitor *monitor)
{
	const struct sim_node *node = &g->nodes[((const struct sim_task *)monitor->task)->node];

	(void)container;
	switch (mode) {
	case CHI_MONITOR_LOCAL_SCHEDULE:
		monitor->queue_id = node->queue;
		monitor->lane_id = node->lane;
		return 0;
	case CHI_MONITOR_GLOBAL_SCHEDULE:
		monitor->query = CHI_QUERY_GLOBAL_ID(node->container);
		return 0;
	case CHI_MONITOR_EST_LOAD:
		monitor->estimate_ns = 100u << (node->lane * 3 + node->queue * 2);
		return sim_one_in(&g->rng, 2) ? 0 : -ENOTSUP;
	}
	return -ENOTSUP;
}

static void fold(struct chi_task *into, const struct chi_task *from)
{
	((struct sim_task *)into)->answer += ((const struct sim_task *)from)->answer;
}

static const struct chi_method methods[] = {
	{ .name = "run",
	  .task_size = sizeof(struct sim_task),
	  .run = run,
	  .out_offset = offsetof(struct sim_task, answer),
	  .out_size = sizeof(uint32_t),
	  .fold = fold },
};

const struct chi_module sim_modules[2] = {
	{ .size = sizeof(struct chi_module),
	  .method_stride = sizeof(struct chi_method),
	  .name = "sim",
	  .version = 1,
	  .n_methods = 1,
	  .methods = methods,
	  .create = create,
	  .destroy = destroy,
	  .monitor = monitor },
	{ .size = sizeof(struct chi_module),
	  .method_stride = sizeof(struct chi_method),
	  .name = "plain",
	  .version = 1,
	  .n_methods = 1,
	  .methods = methods,
	  .create = create,
	  .destroy = destroy },
};
