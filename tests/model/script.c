/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * script.c - random task graphs; the module whose one method does what its node says; and whether all goes as it may
 *
 * A graph has no cycle of its own: locks are taken in ascending order, who holds one waits only for calm children, flags are
 * set by calm tasks that stand right behind who awaits them, passing pools are ended only by tasks that no task of such a pool
 * waits for. So whoever is stuck has been forgotten by the runtime.
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

#define DEPTH_MAX 4u

struct sim_graph sim_graph;

static struct sim_graph *const g = &sim_graph;

/* ---- making ---- */

static void add_op(struct sim_node *node, enum sim_op_kind kind, uint32_t a, uint32_t b, uint32_t c)
{
	if (node->n_ops < OPS_MAX)
		node->ops[node->n_ops++] = (struct sim_op){ (uint8_t)kind, (uint8_t)a, (uint8_t)b, c };
}

static uint32_t some_timeout(void)
{
	return sim_choose(&g->rng, 0, 1, 100, 1000, 5000, 50000, 1000000);
}

/* Where it goes. */
static void aim(struct sim_node *node, bool passing_allowed)
{
	static const uint32_t kinds[] = { CHI_DOMAIN_LOCAL_ID, CHI_DOMAIN_GLOBAL_ID, CHI_DOMAIN_LOCAL_HASH,
					  CHI_DOMAIN_GLOBAL_HASH, CHI_DOMAIN_DYNAMIC };
	uint32_t n_containers;

	node->pool = sim_below(&g->rng, g->n_pools);
	if (passing_allowed && g->has_passing && sim_one_in(&g->rng, 4))
		node->pool = POOLS_MAX + sim_below(&g->rng, PASSING_MAX);
	n_containers = node->pool < POOLS_MAX ? g->n_containers[node->pool] : g->passing_containers;
	node->container = sim_below(&g->rng, n_containers);
	node->query = chi_query(kinds[sim_below(&g->rng, 5)], node->container);
	node->queue = sim_one_in(&g->rng, 4);
	node->lane = sim_below(&g->rng, g->n_lanes);
}

static uint32_t new_node(int32_t parent, uint32_t client, bool passing_allowed)
{
	uint32_t index = g->n_nodes++;
	struct sim_node *node = &g->nodes[index];

	memset(node, 0, sizeof(*node));
	node->parent = parent;
	node->client = client;
	node->result = (int32_t)sim_below(&g->rng, 8) - 2; /* -1, -2 are errors of the script's */
	aim(node, passing_allowed);
	if (sim_one_in(&g->rng, 5))
		node->flags |= CHI_TASK_HIGH_LATENCY;
	return index;
}

static uint32_t some_lock(void)
{
	return sim_below(&g->rng, MUTEXES + RWLOCKS);
}

/* Ops that never wait for what might not come. */
static void add_calm_op(struct sim_node *node)
{
	switch (sim_below(&g->rng, 4)) {
	case 0:
		add_op(node, OP_ARENA, 0, 0, 0);
		break;
	case 1:
		add_op(node, OP_MOVE_LANE, 0, 0, 0);
		break;
	default:
		add_op(node, OP_YIELD, 0, 0, 0);
	}
}

static uint32_t add_child(uint32_t parent, bool passing_allowed)
{
	struct sim_node *node = &g->nodes[parent];
	uint32_t child = new_node((int32_t)parent, node->client, passing_allowed);

	node->children[node->n_children] = child;
	return node->n_children++;
}

static bool has_room(const struct sim_node *node, uint32_t n)
{
	return node->n_children + n <= CHILDREN_MAX && g->n_nodes + n < NODES_MAX && node->n_ops + 2 * n + 1 < OPS_MAX;
}

static void make_ops(uint32_t index, uint32_t depth, bool below_passing);

static bool is_passing(const struct sim_node *node)
{
	return node->pool >= POOLS_MAX;
}

static void add_subtask(uint32_t index, uint32_t depth, bool below_passing)
{
	struct sim_node *node = &g->nodes[index];
	uint32_t child = add_child(index, true);
	struct sim_node *made = &g->nodes[node->children[child]];
	uint32_t place = sim_below(&g->rng, PLACES);

	if (sim_one_in(&g->rng, 8)) {
		made->flags |= CHI_TASK_FIRE_AND_FORGET;
		place = IN_HEAP;
	} else if (sim_one_in(&g->rng, 10)) {
		made->query = CHI_QUERY_GLOBAL_BCAST();
	}
	if (sim_one_in(&g->rng, 8))
		made->deadline_us = sim_choose(&g->rng, 1, 10, 100, 1000);
	add_op(node, OP_SUBMIT, child, place, 0);
	make_ops(node->children[child], depth + 1, below_passing || is_passing(made));
}

/* One that awaits a flag, and right behind it one that sets it. */
static void add_pair(uint32_t index)
{
	struct sim_node *node = &g->nodes[index];
	uint32_t flag = g->n_flags++, waits = add_child(index, false), sets = add_child(index, false);

	g->nodes[node->children[waits]].calm = g->nodes[node->children[sets]].calm = true;
	add_op(&g->nodes[node->children[waits]], OP_AWAIT_FLAG, flag, 0, 0);
	add_calm_op(&g->nodes[node->children[sets]]);
	add_op(&g->nodes[node->children[sets]], OP_SET_FLAG, flag, 0, 0);
	add_op(node, OP_SUBMIT, waits, sim_below(&g->rng, PLACES), 0);
	add_op(node, OP_SUBMIT, sets, sim_below(&g->rng, PLACES), 0);
}

static void add_locked(uint32_t index)
{
	struct sim_node *node = &g->nodes[index];
	uint32_t inside = sim_below(&g->rng, INSIDE_KINDS), lock = some_lock();
	uint32_t detail = some_timeout();

	if (inside == INSIDE_CHILD) {
		if (!has_room(node, 1) || node->flags & CHI_TASK_PERIODIC ||
		    node->query.kind == CHI_DOMAIN_GLOBAL_BCAST) {
			inside = INSIDE_YIELD;
		} else {
			detail = add_child(index, false);
			add_calm_op(&g->nodes[node->children[detail]]);
		}
	} else if (inside >= INSIDE_COND_WAIT) {
		lock = sim_below(&g->rng, MUTEXES);
	}
	add_op(node, OP_LOCKED, lock, inside, detail);
}

/* Is it run once, by one? Only such tasks have subtasks: each stands in the table once. */
static bool runs_once(const struct sim_node *node)
{
	return !(node->flags & CHI_TASK_PERIODIC) && node->query.kind != CHI_DOMAIN_GLOBAL_BCAST;
}

static void add_some_op(uint32_t index, uint32_t depth, bool below_passing)
{
	struct sim_node *node = &g->nodes[index];
	bool may_submit = runs_once(node) && depth < DEPTH_MAX;

	if (may_submit && has_room(node, 1) && sim_below(&g->rng, 16) < g->subtasks_of_16) {
		add_subtask(index, depth, below_passing);
		return;
	}
	if (node->calm && may_submit && !g->few_fibers && g->n_flags < FLAGS_MAX && has_room(node, 2) &&
	    sim_below(&g->rng, 16) < g->pairs_of_16) {
		add_pair(index);
		return;
	}
	switch (sim_below(&g->rng, 11)) {
	case 0:
	case 1:
		if (runs_once(node))
			add_op(node, OP_WAIT_ALL + sim_below(&g->rng, 3), node->n_children, 0,
			       sim_one_in(&g->rng, 2) ? UINT32_MAX : some_timeout());
		break;
	case 2:
		if (node->n_children)
			add_op(node, OP_CANCEL, sim_below(&g->rng, node->n_children), 0, 0);
		break;
	case 3:
	case 4:
		add_locked(index);
		break;
	case 5:
		add_op(node, OP_TRY_LOCK, some_lock(), 0, 0);
		break;
	case 6:
		add_op(node, OP_LOOK, 0, 0, 0);
		break;
	case 7:
		if (g->has_passing && runs_once(node) && !below_passing)
			add_op(node, sim_one_in(&g->rng, 2) ? OP_END_POOL : OP_MAKE_POOL,
			       sim_below(&g->rng, PASSING_MAX), sim_one_in(&g->rng, 5), 0);
		else if (g->has_flush && runs_once(node) && sim_one_in(&g->rng, 2))
			add_op(node, OP_FLUSH, 0, 0, 0);
		break;
	default:
		add_calm_op(node);
	}
}

static void make_ops(uint32_t index, uint32_t depth, bool below_passing)
{
	uint32_t n = sim_below(&g->rng, g->n_ops_max > depth ? g->n_ops_max - depth : 1);

	while (n--)
		add_some_op(index, depth, below_passing);
}

static void make_root(uint32_t client)
{
	uint32_t index = new_node(-1, client, true);
	struct sim_node *node = &g->nodes[index];

	if (sim_one_in(&g->rng, 8)) {
		node->flags |= CHI_TASK_PERIODIC;
		node->period_ns = sim_choose(&g->rng, 1000, 20000, 300000);
		node->n_runs = sim_one_in(&g->rng, 2) ? 1 + sim_below(&g->rng, 5)
						      : UINT32_MAX; /* until it is cancelled */
	} else if (sim_one_in(&g->rng, 8)) {
		node->query = CHI_QUERY_GLOBAL_BCAST();
	} else if (sim_one_in(&g->rng, 8)) {
		node->flags |= CHI_TASK_FIRE_AND_FORGET;
	}
	if (sim_one_in(&g->rng, 6))
		node->deadline_us = sim_choose(&g->rng, 1, 10, 100, 1000);
	/* nothing above it or in it is cancelled or late, and its pool stays: then what it starts will run */
	node->calm = !node->deadline_us && !sim_one_in(&g->rng, 3) && !is_passing(node);
	make_ops(index, 0, is_passing(node));
}

void sim_graph_make(uint64_t seed, bool few_fibers, bool posting)
{
	uint32_t n_wanted;

	memset(g, 0, offsetof(struct sim_graph, nodes));
	memset((char *)g + offsetof(struct sim_graph, n_nodes), 0, sizeof(*g) - offsetof(struct sim_graph, n_nodes));
	g->rng.state = seed;
	g->few_fibers = few_fibers;
	g->posting = posting;
	g->n_clients = 1 + sim_below(&g->rng, CLIENTS_MAX);
	g->n_pools = 1 + sim_below(&g->rng, POOLS_MAX);
	for (uint32_t i = 0; i < POOLS_MAX; i++)
		g->n_containers[i] = 1 + sim_below(&g->rng, 3);
	g->passing_containers = 1 + sim_below(&g->rng, 2);
	g->n_lanes = sim_choose(&g->rng, 1, 1, 2, 3);
	g->n_ops_max = sim_choose(&g->rng, 3, OPS_MAX, OPS_MAX);
	g->subtasks_of_16 = sim_choose(&g->rng, 2, 4, 4, 8);
	g->pairs_of_16 = sim_choose(&g->rng, 1, 1, 6);
	g->has_passing = sim_one_in(&g->rng, 3);
	g->has_flush = !g->has_passing && sim_one_in(&g->rng, 3);
	n_wanted = 5 + sim_below(&g->rng, 50);
	while (g->n_nodes < n_wanted)
		make_root(sim_below(&g->rng, g->n_clients));
}

/* ---- the books ---- */

static bool has_above(const struct sim_node *node, bool (*is)(const struct sim_node *node))
{
	for (;; node = &g->nodes[node->parent]) {
		if (is(node))
			return true;
		if (node->parent < 0 || node->flags & CHI_TASK_FIRE_AND_FORGET)
			return false;
	}
}

static bool is_cancelled(const struct sim_node *node)
{
	return node->cancelled;
}

static bool is_cancelled_for_sure(const struct sim_node *node)
{
	return node->cancel_is_over;
}

static bool has_deadline(const struct sim_node *node)
{
	return node->deadline_us != 0;
}

static bool may_end_with(const struct sim_node *node, int32_t result)
{
	switch (result) {
	case -ECANCELED:
		/* a part of a broadcast that looks at its deadline says the same */
		return has_above(node, is_cancelled) || sim_client_was_killed(node->client) || is_passing(node) ||
		       (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST && node->n_starts && has_above(node, has_deadline));
	case -ETIMEDOUT:
		return has_above(node, has_deadline);
	case -EAGAIN:
		return g->few_fibers;
	case -ENOENT:
		return is_passing(node);
	default:
		return false;
	}
}

static void count_end(const struct sim_node *node, int32_t result)
{
	if (node->n_starts)
		return;
	switch (result) {
	case -ECANCELED:
		sim_count(cancelled_before_start);
		break;
	case -ETIMEDOUT:
		sim_count(ended_by_deadline);
		break;
	case -EAGAIN:
		sim_count(no_fiber);
		break;
	case -ENOENT:
		sim_count(no_such_pool);
		break;
	default:
		break;
	}
}

static void check_below(uint32_t index)
{
	const struct sim_node *node = &g->nodes[index];

	sim_check(node->n_inside == 0, "task %u is done, and its method, or one below it, has not returned", index);
	for (uint32_t i = 0; i < node->n_children; i++)
		if (!(g->nodes[node->children[i]].flags & CHI_TASK_FIRE_AND_FORGET))
			check_below(node->children[i]);
}

void sim_node_done(uint32_t index)
{
	struct sim_node *node = &g->nodes[index];
	int32_t result = node->task->task.result;

	if (node->seen_done)
		return;
	node->seen_done = true;
	sim_event("task %lld is seen done, with %lld", index, result);
	count_end(node, result);
	check_below(index);
	if (node->n_starts && runs_once(node))
		sim_check(result == node->returned, "task %u returned %d, and its submitter sees %d", index,
			  node->returned, result);
	else
		sim_check(may_end_with(node, result) ||
				  (node->n_starts && (result == node->returned || result == node->result ||
						      (result == 0 && node->query.kind == CHI_DOMAIN_GLOBAL_BCAST))),
			  "task %u ended with %d, for no reason (it ran %u times)", index, result, node->n_starts);
	if (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST && node->n_starts && result >= 0)
		sim_check(node->task->answer == node->n_ends,
			  "broadcast %u: %u containers ran it, %u are in the answer", index, node->n_ends,
			  node->task->answer);
}

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
	uint32_t pool_id = is_passing(node) ? g->passing_ids[node->pool - POOLS_MAX] : g->pool_ids[node->pool];

	chi_task_init(&task->task, sizeof(*task), pool_id, node->query, 0);
	task->task.flags = node->flags;
	task->task.period_ns = node->period_ns;
	task->task.deadline_us = node->deadline_us;
	task->node = index;
	node->task = task;
	if (pool_id == 0)
		sim_count(no_such_pool);
	return pool_id != 0;
}

/* ---- waits ---- */

void sim_wait_begins(struct sim_wait *wait)
{
	wait->next = g->waits;
	g->waits = wait;
}

void sim_wait_ends(struct sim_wait *wait)
{
	struct sim_wait **at = &g->waits;

	while (*at != wait)
		at = &(*at)->next;
	*at = wait->next;
}

/* Not chi_task_done(): that has a point. */
static bool is_done(const struct chi_task *task)
{
	return task->completion.v == CHI_COMPLETION_DONE;
}

static bool is_satisfied(const struct sim_wait *wait)
{
	for (uint32_t i = 0; i < wait->n_tasks; i++) {
		if (is_done(wait->tasks[i]) == wait->any)
			return wait->any;
	}
	return !wait->any;
}

void sim_script_quiet(void)
{
	for (const struct sim_wait *wait = g->waits; wait; wait = wait->next) {
		sim_check(wait->polls || !is_satisfied(wait), "lost wait: what %u waits for is done, and it sleeps",
			  wait->who);
		sim_check(wait->until_ns >= sim_now_ns(), "lost timeout: %u should have gone on long ago", wait->who);
	}
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

static void submit(struct frame *frame, uint32_t i, enum sim_place place)
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
		ret = chi_submit(frame->client, task);
	check_worker(frame);
	if (detached && ret == 0)
		frame->in_heap[i] = frame->must_wait[i] = false; /* given */
	if (ret == 0)
		return;
	child->refused = true;
	frame->must_wait[i] = false;
	sim_check(is_passing(child) && ret == -ENOENT, "task %u is refused: %d", frame->node->children[i], ret);
	if (frame->in_heap[i])
		chi_free(frame->client, task);
	frame->in_heap[i] = false;
}

static void note_done(struct frame *frame, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (is_open(frame, i) && is_done(&child_of(frame, i)->task->task))
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
				 /* a check that comes late by a look at the clock is none too late */
				 .until_ns = end_ns == HSHM_FOREVER ? HSHM_FOREVER : end_ns + HSHM_NSEC_PER_SEC,
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
		sim_check(ret >= 0 && is_done(tasks[ret]), "task %u waits for any: %d", frame->index, ret);
	else
		sim_check(ret == 0 && is_satisfied(&wait), "task %u waits for all: %d", frame->index, ret);
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

static bool is_held(uint32_t lock)
{
	return g->n_readers[lock] || g->n_writers[lock];
}

static void lock(uint32_t lock, bool shared)
{
	if (is_held(lock))
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

	submit(frame, i, IN_FRAME);
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

static void await_flag(uint32_t flag)
{
	chi_mutex_lock(&g->flag_mutex);
	while (!g->flags[flag]) {
		int ret = chi_cond_wait(&g->flag_cond, &g->flag_mutex, HSHM_FOREVER);

		sim_check(ret == 0, "a wait for a signal, without a timeout: %d", ret);
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
	uint32_t n_workers = chi_work_orch_n_workers(orch);
	struct chi_worker *worker = chi_work_orch_worker(orch, sim_below(&g->rng, n_workers));

	pthread_mutex_lock(&worker->lanes_lock);
	if (worker->n_lanes)
		(void)chi_work_orch_remap_lane(orch, worker->lanes[sim_below(&g->rng, worker->n_lanes)],
					       sim_below(&g->rng, n_workers));
	pthread_mutex_unlock(&worker->lanes_lock);
}

static void make_pool(struct frame *frame, uint32_t passing, bool fails)
{
	struct sim_pool_params params = { g->n_lanes, fails };
	struct chi_pool_spec spec = { .module = "sim",
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
		if (g->nodes[i].submitted && is_passing(&g->nodes[i]) && g->nodes[i].task && g->nodes[i].n_inside)
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
		submit(frame, op->a, op->b);
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
		await_flag(op->a);
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

static bool shall_end(const struct frame *frame)
{
	const struct sim_node *node = frame->node;
	bool must = has_above(node, is_cancelled_for_sure), shall = chi_cancelled(frame->context);

	sim_check(!shall || has_above(node, is_cancelled) || has_above(node, has_deadline),
		  "task %u shall end early, and nobody asked for it", frame->index);
	sim_check(shall || !must, "lost cancel: task %u does not learn of it", frame->index);
	return shall;
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

	(void)container;
	sim_check(mine->node < g->n_nodes && frame.node->submitted, "a task that nobody submitted runs");
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

const struct chi_module sim_module = {
	.size = sizeof(struct chi_module),
	.method_stride = sizeof(struct chi_method),
	.name = "sim",
	.version = 1,
	.n_methods = 1,
	.methods = methods,
	.create = create,
	.destroy = destroy,
	.monitor = monitor,
};

/* ---- order, from a client's lane to the container's ---- */

static bool goes_the_same_way(const struct sim_node *a, const struct sim_node *b)
{
	return a->client == b->client && a->client_lane == b->client_lane && a->pool == b->pool &&
	       a->container == b->container && a->queue == b->queue && a->lane == b->lane &&
	       a->query.kind != CHI_DOMAIN_GLOBAL_BCAST;
}

void sim_graph_starts(const struct chi_run_context *context, const struct chi_lane *lane)
{
	struct sim_node *node;
	uint32_t index;

	(void)lane;
	if (context->pool->module->table != &sim_module)
		return;
	index = ((const struct sim_task *)context->task)->node;
	node = &g->nodes[index];
	/* not of a broadcast: the other parts would find it here */
	node->must_end_early = node->query.kind != CHI_DOMAIN_GLOBAL_BCAST && has_above(node, is_cancelled_for_sure);
	if (!context->client_ref || node->in_lane_order)
		return;
	node->in_lane_order = true;
	if (is_passing(node) || node->query.kind == CHI_DOMAIN_GLOBAL_BCAST)
		return;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sim_node *other = &g->nodes[i];

		if (other->parent < 0 && other->submitted && goes_the_same_way(other, node) &&
		    other->client_place < node->client_place && !other->in_lane_order)
			sim_check(is_done(&other->task->task),
				  "order: task %u of a client starts before task %u, which it submitted before", index,
				  i);
	}
}

/* ---- the end ---- */

void sim_graph_check_end(void)
{
	sim_check(!g->waits, "left: a wait");
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sim_node *node = &g->nodes[i];

		sim_check(node->n_inside == 0 && node->n_starts == node->n_ends, "left: task %u has not returned", i);
		sim_check(node->submitted || !node->n_starts, "task %u ran, and nobody submitted it", i);
	}
	for (uint32_t i = 0; i < MUTEXES + RWLOCKS; i++)
		sim_check(!is_held(i), "left: lock %u is held", i);
	for (uint32_t i = 0; i < MUTEXES; i++)
		sim_check(!g->mutexes[i].lock.word.v && !g->conds[i].first, "left: a waiter of mutex %u", i);
}

void sim_script_describe(void)
{
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sim_node *node = &g->nodes[i];

		if (node->submitted && !node->refused && !node->seen_done)
			printf("  task %u (of %s %d, pool %u, container %u, queue %u, lane %u, flags %#x, ops %u): %s\n",
			       i, node->parent < 0 ? "client" : "task",
			       node->parent < 0 ? (int)node->client : node->parent, node->pool, node->container,
			       node->queue, node->lane, node->flags, node->n_ops,
			       node->n_inside	? "runs"
			       : node->n_starts ? "has returned"
						: "has not started");
	}
}
