/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * books.c - what may become of a task, of a wait, of a lane's order; and whether all went as it may
 */
#include <errno.h>
#include <stdio.h>

#include "runtime/container.h"
#include "runtime/pool_manager.h"
#include "runtime/worker.h"
#include "tests/model/graph.h"

static struct sim_graph *const g = &sim_graph;

/* ---- ends of tasks ---- */

bool sim_has_above(const struct sim_node *node, bool (*is)(const struct sim_node *node))
{
	for (;; node = &g->nodes[node->parent]) {
		if (is(node))
			return true;
		if (node->parent < 0 || node->flags & CHI_TASK_FIRE_AND_FORGET)
			return false;
	}
}

bool sim_is_cancelled(const struct sim_node *node)
{
	return node->cancelled;
}

bool sim_is_cancelled_for_sure(const struct sim_node *node)
{
	return node->cancel_is_over;
}

bool sim_has_deadline(const struct sim_node *node)
{
	return node->deadline_us != 0;
}

static bool is_given_away(const struct sim_node *node)
{
	return node->flags & CHI_TASK_FIRE_AND_FORGET;
}

bool sim_needs_client(const struct sim_node *node)
{
	return !sim_has_above(node, is_given_away);
}

bool sim_may_lose_client(const struct sim_node *node)
{
	return sim_needs_client(node) && sim_client_was_killed(node->client);
}

bool sim_lost_client(const struct sim_node *node)
{
	return sim_needs_client(node) && sim_session_has_ended(node->client);
}

bool sim_may_not_start(const struct sim_node *node)
{
	return sim_has_above(node, sim_is_cancelled) || sim_has_above(node, sim_has_deadline) || sim_is_passing(node) ||
	       sim_may_lose_client(node) || g->few_fibers;
}

static bool may_end_with(const struct sim_node *node, int32_t result)
{
	switch (result) {
	case -ECANCELED:
		/* a part of a broadcast that looks at its deadline says the same */
		return sim_has_above(node, sim_is_cancelled) || sim_is_passing(node) || sim_may_lose_client(node) ||
		       (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST && node->n_starts &&
			sim_has_above(node, sim_has_deadline));
	case -ETIMEDOUT:
		return sim_has_above(node, sim_has_deadline);
	case -EAGAIN:
		return g->few_fibers;
	case -ENOENT:
		return sim_is_passing(node);
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

static bool has_run_everywhere(const struct sim_node *node)
{
	uint32_t n = sim_is_passing(node) ? g->passing_containers : g->n_containers[node->pool];

	return node->ran_in == (1u << n) - 1;
}

static bool is_result_of_broadcast(const struct sim_node *node, int32_t result)
{
	if (result >= 0)
		return result == 0 && node->returned >= 0 && has_run_everywhere(node);
	return node->returned < 0 && (result == node->returned || result == node->result);
}

/* Of a task that has run. A periodic one goes on after a 0, unless it is asked to end in between, or there is no memory
 * for its rest. */
static bool is_result(const struct sim_node *node, int32_t result)
{
	if (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST)
		return is_result_of_broadcast(node, result);
	if (node->flags & CHI_TASK_PERIODIC && result == 0 && !sim_is_cancelled(node) && !sim_is_passing(node) &&
	    !g->rest_fails)
		return false;
	return result == node->returned;
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
	sim_check((node->n_starts && is_result(node, result)) ||
			  (!(node->n_starts && sim_runs_once(node)) && may_end_with(node, result)),
		  "task %u ended with %d, for no reason: it ran %u times and returned %d", index, result,
		  node->n_starts, node->returned);
	if (node->query.kind == CHI_DOMAIN_GLOBAL_BCAST && node->n_starts && result >= 0)
		sim_check(node->task->answer == node->n_ends,
			  "broadcast %u: %u containers ran it, %u are in the answer", index, node->n_ends,
			  node->task->answer);
}

bool sim_no_memory_to_rest(void)
{
	if (!g->rest_fails || !sim_one_in(&g->rng, 8))
		return false;
	sim_count(no_memory_to_rest);
	return true;
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

bool sim_is_satisfied(const struct sim_wait *wait)
{
	for (uint32_t i = 0; i < wait->n_tasks; i++) {
		if (sim_is_done(wait->tasks[i]) == wait->any)
			return wait->any;
	}
	return !wait->any;
}

void sim_books_quiet(void)
{
	for (const struct sim_wait *wait = g->waits; wait; wait = wait->next) {
		sim_check(wait->polls || !sim_is_satisfied(wait), "lost wait: what %u waits for is done, and it sleeps",
			  wait->who);
		sim_check(wait->until_ns >= sim_now_ns(), "lost timeout: %u should have gone on long ago", wait->who);
	}
}

/* ---- order, from a client's lane to the container's ---- */

/* The runtime chooses, and another one each time. */
static bool goes_by_turns(const struct sim_node *node)
{
	return sim_is_plain(node) && g->n_lanes > 1 && !sim_is_by_hash(node);
}

/* In a plain pool: the only one, or the same for the same hash, which names the container, too. */
static bool goes_into_the_same_lane(const struct sim_node *a, const struct sim_node *b)
{
	return a->queue == b->queue && !goes_by_turns(a) && !goes_by_turns(b) &&
	       (sim_is_plain(a) || a->lane == b->lane);
}

static bool goes_the_same_way(const struct sim_node *a, const struct sim_node *b)
{
	return a->client == b->client && a->client_lane == b->client_lane && a->pool == b->pool &&
	       a->container == b->container && goes_into_the_same_lane(a, b) &&
	       a->query.kind != CHI_DOMAIN_GLOBAL_BCAST;
}

static bool is_its_lane(const struct sim_node *node, const struct chi_run_context *context, const struct chi_lane *lane)
{
	struct chi_container *container = context->container;
	uint32_t lane_id = node->lane;

	if (goes_by_turns(node))
		return lane >= chi_container_lane(container, node->queue, 0) &&
		       lane < chi_container_lane(container, node->queue, g->n_lanes);
	if (sim_is_plain(node))
		lane_id = chi_container_lane_by_hash(container, node->queue, node->query.value);
	return lane == chi_container_lane(container, node->queue, lane_id);
}

void sim_graph_starts(const struct chi_run_context *context, const struct chi_lane *lane)
{
	struct sim_node *node;
	uint32_t index;

	if (context->pool->module->table != &sim_modules[0] && context->pool->module->table != &sim_modules[1])
		return;
	index = ((const struct sim_task *)context->task)->node;
	node = &g->nodes[index];
	sim_check(is_its_lane(node, context, lane), "task %u is not started from its lane", index);
	/* not of a broadcast: the other parts would find it here */
	node->must_end_early = node->query.kind != CHI_DOMAIN_GLOBAL_BCAST &&
			       (sim_has_above(node, sim_is_cancelled_for_sure) || sim_lost_client(node));
	if (!context->client_ref || node->in_lane_order)
		return;
	node->in_lane_order = true;
	if (sim_is_passing(node) || node->query.kind == CHI_DOMAIN_GLOBAL_BCAST)
		return;
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sim_node *other = &g->nodes[i];

		if (other->parent < 0 && other->submitted && goes_the_same_way(other, node) &&
		    other->client_place < node->client_place && !other->in_lane_order)
			sim_check(sim_is_done(&other->task->task),
				  "order: task %u of a client starts before task %u, which it submitted before", index,
				  i);
	}
}

/* ---- the end ---- */

/* What was handed in has run, wherever it should; or there is a cause. What lay in the lanes of who has gone is dropped. */
static void check_ran(uint32_t index)
{
	const struct sim_node *node = &g->nodes[index];
	bool broadcast = node->query.kind == CHI_DOMAIN_GLOBAL_BCAST;

	if (!node->submitted || node->refused || sim_may_not_start(node))
		return;
	if (!node->n_starts) {
		sim_check(node->parent < 0 && sim_client_leaves_tasks(node->client), "lost: task %u has never run",
			  index);
		sim_count(left_in_lanes);
		return;
	}
	sim_check(!broadcast || has_run_everywhere(node), "lost: broadcast %u has run in containers %#x only", index,
		  node->ran_in);
}

void sim_graph_check_end(void)
{
	sim_check(!g->waits, "left: a wait");
	for (uint32_t i = 0; i < g->n_nodes; i++) {
		const struct sim_node *node = &g->nodes[i];

		sim_check(node->n_inside == 0 && node->n_starts == node->n_ends, "left: task %u has not returned", i);
		sim_check(node->submitted || !node->n_starts, "task %u ran, and nobody submitted it", i);
		check_ran(i);
	}
	for (uint32_t i = 0; i < MUTEXES + RWLOCKS; i++)
		sim_check(!sim_is_held(i), "left: lock %u is held", i);
	for (uint32_t i = 0; i < MUTEXES; i++)
		sim_check(!g->mutexes[i].lock.word.v && !g->conds[i].first, "left: a waiter of mutex %u", i);
}

void sim_books_describe(void)
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
