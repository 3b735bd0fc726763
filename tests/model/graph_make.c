/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * graph_make.c - random task graphs
 *
 * A graph has no cycle of its own: locks are taken in ascending order, who holds one waits only for calm children, flags are
 * set by calm tasks that stand right behind who awaits them, passing pools are ended only by tasks that no task of such a pool
 * waits for. So whoever is stuck has been forgotten by the runtime.
 */
#include <stddef.h>
#include <string.h>

#include "tests/model/graph.h"

#define DEPTH_MAX 4u

struct sim_graph sim_graph;

static struct sim_graph *const g = &sim_graph;

static void add_op(struct sim_node *node, enum sim_op_kind kind, uint32_t a, uint32_t b, uint32_t c)
{
	if (node->n_ops < OPS_MAX)
		node->ops[node->n_ops++] = (struct sim_op){ (uint8_t)kind, (uint8_t)a, (uint8_t)b, c };
}

static uint32_t some_timeout(void)
{
	return sim_choose(&g->rng, 0, 1, 100, 1000, 5000, 50000, 1000000);
}

static uint32_t containers_of(uint32_t pool)
{
	return pool < POOLS_MAX ? g->n_containers[pool] : g->passing_containers;
}

/* In a plain pool nobody but the runtime would know where CHI_DOMAIN_DYNAMIC leads. */
static struct chi_domain_query some_query(uint32_t pool)
{
	static const uint32_t kinds[] = { CHI_DOMAIN_LOCAL_ID, CHI_DOMAIN_GLOBAL_ID, CHI_DOMAIN_LOCAL_HASH,
					  CHI_DOMAIN_GLOBAL_HASH, CHI_DOMAIN_DYNAMIC };
	uint32_t container = sim_below(&g->rng, containers_of(pool));

	return chi_query(kinds[sim_below(&g->rng, g->plain[pool] ? 4 : 5)], container);
}

/* One by which those that ask for the same go to the same lane. */
static struct chi_domain_query usual_query(uint32_t pool)
{
	struct chi_domain_query query = some_query(pool);

	if (g->n_lanes > 1)
		query.kind = CHI_DOMAIN_LOCAL_HASH;
	return query;
}

/* Where it goes. */
static void aim(struct sim_node *node, bool passing_allowed)
{
	node->pool = sim_below(&g->rng, g->n_pools);
	if (passing_allowed && g->has_passing && sim_one_in(&g->rng, 4))
		node->pool = POOLS_MAX + sim_below(&g->rng, PASSING_MAX);
	node->query = sim_is_plain(node) && !sim_one_in(&g->rng, 6) ? g->usual[node->pool] : some_query(node->pool);
	node->container = (uint32_t)node->query.value;
	node->queue = sim_one_in(&g->rng, sim_is_plain(node) ? 12 : 4);
	node->lane = sim_below(&g->rng, g->n_lanes);
	if (sim_is_plain(node) ? node->queue : sim_one_in(&g->rng, 5))
		node->flags |= CHI_TASK_HIGH_LATENCY;
}

/* NULL: it is the first of its parent's, or its client's. */
static const struct sim_node *sibling_before(const struct sim_node *node)
{
	for (const struct sim_node *other = node; other-- > g->nodes;)
		if (other->parent == node->parent && other->client == node->client)
			return other;
	return NULL;
}

/* Mostly as the one before it, in a plain pool, so that it can follow that. */
static void aim_among_others(struct sim_node *node, bool passing_allowed)
{
	const struct sim_node *like = sibling_before(node);

	aim(node, passing_allowed);
	if (!like || !sim_is_plain(like) || like->query.kind == CHI_DOMAIN_GLOBAL_BCAST ||
	    (sim_is_passing(like) && !passing_allowed) || sim_one_in(&g->rng, 3))
		return;
	node->pool = like->pool;
	node->query = like->query;
	node->container = like->container;
	node->queue = like->queue;
	node->flags = like->flags & CHI_TASK_HIGH_LATENCY;
}

static uint32_t new_node(int32_t parent, uint32_t client, bool passing_allowed)
{
	uint32_t index = g->n_nodes++;
	struct sim_node *node = &g->nodes[index];

	memset(node, 0, sizeof(*node));
	node->parent = parent;
	node->client = client;
	node->result = (int32_t)sim_below(&g->rng, 8) - 2; /* -1, -2 are errors of the script's */
	aim_among_others(node, passing_allowed);
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
	add_op(node, !(made->flags & CHI_TASK_FIRE_AND_FORGET) && sim_one_in(&g->rng, 3) ? OP_CALL : OP_SUBMIT, child,
	       place, 0);
	make_ops(node->children[child], depth + 1, below_passing || sim_is_passing(made));
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

static void add_wait(struct sim_node *node)
{
	enum sim_op_kind kind = OP_WAIT_ALL + sim_below(&g->rng, 3);

	add_op(node, kind, node->n_children, 0, sim_one_in(&g->rng, 2) ? UINT32_MAX : some_timeout());
}

static void add_pool_op(struct sim_node *node)
{
	enum sim_op_kind kind = sim_one_in(&g->rng, 2) ? OP_END_POOL : OP_MAKE_POOL;
	uint32_t which = sim_below(&g->rng, PASSING_MAX);

	add_op(node, kind, which, sim_one_in(&g->rng, 5), 0);
}

static void add_some_op(uint32_t index, uint32_t depth, bool below_passing)
{
	struct sim_node *node = &g->nodes[index];
	bool may_submit = sim_runs_once(node) && depth < DEPTH_MAX;

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
		if (sim_runs_once(node))
			add_wait(node);
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
		if (g->has_passing && sim_runs_once(node) && !below_passing)
			add_pool_op(node);
		else if (g->has_flush && sim_runs_once(node) && sim_one_in(&g->rng, 2))
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
	node->calm = !node->deadline_us && !sim_one_in(&g->rng, 3) && !sim_is_passing(node);
	make_ops(index, 0, sim_is_passing(node));
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
	for (uint32_t i = 0; i < POOLS_MAX + PASSING_MAX; i++) {
		g->plain[i] = sim_one_in(&g->rng, 2);
		g->usual[i] = usual_query(i);
	}
	g->n_ops_max = sim_choose(&g->rng, 3, OPS_MAX, OPS_MAX);
	g->subtasks_of_16 = sim_choose(&g->rng, 2, 4, 4, 8);
	g->pairs_of_16 = sim_choose(&g->rng, 1, 1, 6);
	g->has_passing = sim_one_in(&g->rng, 3);
	g->rest_fails = sim_one_in(&g->rng, 6);
	g->has_flush = !g->has_passing && sim_one_in(&g->rng, 3);
	n_wanted = 5 + sim_below(&g->rng, 50);
	while (g->n_nodes < n_wanted)
		make_root(sim_below(&g->rng, g->n_clients));
}
