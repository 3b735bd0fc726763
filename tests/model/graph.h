/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * graph.h - the plain model: a table of tasks, what each shall do, and what became of it
 */
#ifndef TESTS_MODEL_GRAPH_H
#define TESTS_MODEL_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include <chimaera/module.h>

#include "tests/model/sim.h"

#define NODES_MAX    96u
#define OPS_MAX	     12u
#define CHILDREN_MAX 6u
#define CLIENTS_MAX  3u
#define POOLS_MAX    2u /* that are there all the time */
#define PASSING_MAX  2u /* that come and go */
#define MUTEXES	     3u
#define RWLOCKS	     2u
#define FLAGS_MAX    8u

/* Who sleeps so long past the end of its wait has been forgotten. Time passes between a look at the clock and the sleep. */
#define SIM_LATE_NS (10 * HSHM_NSEC_PER_MSEC)

enum sim_op_kind {
	OP_SUBMIT,   /* a: child, b: where its task lies */
	OP_CALL,     /* the same, and wait for it */
	OP_WAIT_ALL, /* of those submitted so far; b: timeout, ns */
	OP_WAIT_ANY,
	OP_WAIT_ONE, /* a: child */
	OP_CANCEL,   /* a: child */
	OP_YIELD,
	OP_ARENA,
	OP_LOCKED, /* a: lock, b: enum sim_inside; c: another lock, child or timeout */
	OP_TRY_LOCK,
	OP_AWAIT_FLAG, /* a: flag; until it is set, without a timeout */
	OP_SET_FLAG,
	OP_MOVE_LANE,
	OP_MAKE_POOL, /* a: which; b: its create() fails */
	OP_END_POOL,
	OP_FLUSH,
	OP_LOOK, /* shall it end early? Then it does */
};

enum sim_inside {
	INSIDE_NOTHING,
	INSIDE_YIELD,
	INSIDE_CHILD,
	INSIDE_SECOND_LOCK,
	INSIDE_COND_WAIT,
	INSIDE_SIGNAL,
	INSIDE_BROADCAST,
	INSIDE_KINDS
};

enum sim_place { IN_FRAME, IN_ARENA, IN_HEAP, PLACES };

struct sim_op {
	uint8_t kind, a, b;
	uint32_t c;
};

/* What goes through the lanes. */
struct sim_task {
	struct chi_task task;
	uint32_t node;
	uint32_t answer; /* how many containers have run it */
};

struct sim_node {
	/* what it shall do */
	int32_t parent; /* -1: a client's */
	uint32_t client;
	uint32_t pool; /* POOLS_MAX and more: passing ones */
	struct chi_domain_query query;
	uint32_t container;   /* of the query; where there is no such pool at that time: none */
	uint32_t queue, lane; /* in a plain pool only the queue is known beforehand */
	uint16_t flags;
	uint64_t period_ns;
	uint32_t deadline_us;
	uint32_t n_runs; /* periodic: after so many it fails */
	int32_t result;
	bool calm; /* it and all below it need nothing that might not come */
	struct sim_op ops[OPS_MAX];
	uint32_t n_ops;
	uint32_t children[CHILDREN_MAX];
	uint32_t n_children;

	/* what became of it */
	struct sim_task *task; /* as its submitter has it */
	uint32_t pool_id;
	uint32_t client_lane, client_place;
	bool submitted, refused;	/* the submit said no */
	bool cancelled, cancel_is_over; /* chi_cancel() was called; has returned */
	bool must_end_early;		/* before its last start it had been asked to */
	uint32_t n_flushing, n_flushed; /* flushes that it, or one below it, waits for; has ever waited for */
	bool in_lane_order;		/* its first start has come out of its lane */
	bool seen_done;
	uint32_t n_starts, n_ends; /* of its method */
	uint32_t ran_in;	   /* of a broadcast: a bit for each container */
	uint32_t n_inside;	   /* at the moment: more than one only of a broadcast */
	int32_t returned;
	uint64_t due_ns;
};

/* Somebody waits: for the quiet moments. */
struct sim_wait {
	struct sim_wait *next;
	struct chi_task *const *tasks;
	uint32_t n_tasks;
	bool any;
	bool polls; /* it finds out by looking */
	uint64_t until_ns;
	uint32_t who;
};

struct sim_graph {
	struct sim_rng rng;
	struct sim_node nodes[NODES_MAX];
	uint32_t n_nodes;
	uint32_t n_clients;
	uint32_t n_pools;
	uint32_t n_containers[POOLS_MAX];
	uint32_t n_lanes;
	bool plain[POOLS_MAX + PASSING_MAX]; /* of a module without a monitor */
	/* of a plain pool: so do most tasks ask, and follow each other */
	struct chi_domain_query usual[POOLS_MAX + PASSING_MAX];
	uint32_t pool_ids[POOLS_MAX];
	uint32_t passing_ids[PASSING_MAX]; /* 0: none */
	uint32_t passing_containers;
	uint32_t n_ops_max, subtasks_of_16, pairs_of_16; /* how the graph is made */
	bool has_passing, has_flush, few_fibers, posting, rest_fails;
	struct sim_wait *waits;
	/* locks, and the model's own books of them */
	struct chi_mutex mutexes[MUTEXES];
	struct chi_cond conds[MUTEXES];
	struct chi_rwlock rwlocks[RWLOCKS];
	uint32_t n_readers[MUTEXES + RWLOCKS], n_writers[MUTEXES + RWLOCKS];
	struct chi_mutex flag_mutex;
	struct chi_cond flag_cond;
	bool flags[FLAGS_MAX];
	uint32_t n_flags;
};

extern struct sim_graph sim_graph;
extern const struct chi_module sim_modules[2]; /* [plain] */

struct sim_pool_params {
	uint32_t n_lanes;
	uint32_t fails; /* create() of the last container */
};

static inline bool sim_is_passing(const struct sim_node *node)
{
	return node->pool >= POOLS_MAX;
}

static inline bool sim_is_plain(const struct sim_node *node)
{
	return sim_graph.plain[node->pool];
}

static inline bool sim_is_by_hash(const struct sim_node *node)
{
	return node->query.kind == CHI_DOMAIN_LOCAL_HASH || node->query.kind == CHI_DOMAIN_GLOBAL_HASH;
}

/* Is it run once, by one? Only such tasks have subtasks: each stands in the table once. */
static inline bool sim_runs_once(const struct sim_node *node)
{
	return !(node->flags & CHI_TASK_PERIODIC) && node->query.kind != CHI_DOMAIN_GLOBAL_BCAST;
}

/* Not chi_task_done(): that has a point. */
static inline bool sim_is_done(const struct chi_task *task)
{
	return task->completion.v == CHI_COMPLETION_DONE;
}

static inline bool sim_is_held(uint32_t lock)
{
	return sim_graph.n_readers[lock] || sim_graph.n_writers[lock];
}

/* graph_make.c */
void sim_graph_make(uint64_t seed, bool few_fibers, bool posting);

/* books.c */
/* Is it so of the task or of one above it? */
bool sim_has_above(const struct sim_node *node, bool (*is)(const struct sim_node *node));
bool sim_is_cancelled(const struct sim_node *node);
bool sim_is_cancelled_for_sure(const struct sim_node *node);
bool sim_has_deadline(const struct sim_node *node);
/* Neither it nor one above it was given away: it ends early when its client is gone. */
bool sim_needs_client(const struct sim_node *node);
bool sim_may_lose_client(const struct sim_node *node); /* that was killed */
bool sim_lost_client(const struct sim_node *node);     /* and the runtime knows */
/* Is there a cause for the runtime to end it before it starts? */
bool sim_may_not_start(const struct sim_node *node);
/* Its submitter sees it done: is its result what it may be, has all below it ended? */
void sim_node_done(uint32_t node);
void sim_wait_begins(struct sim_wait *wait);
void sim_wait_ends(struct sim_wait *wait);
bool sim_is_satisfied(const struct sim_wait *wait);
/* A periodic task is put to rest: now and then, in some graphs, there is no memory for it. */
bool sim_no_memory_to_rest(void);
/* A task of a lane is about to start (watch.c). */
struct chi_run_context;
struct chi_lane;
void sim_graph_starts(const struct chi_run_context *context, const struct chi_lane *lane);
void sim_graph_check_end(void);

/* script.c */
/* The task for a node, ready to be submitted; false: there is no such pool. */
bool sim_node_fill(uint32_t node, struct sim_task *task);
void sim_node_cancel(uint32_t node);

/* clients.c */
void sim_clients_start(uint64_t seed, bool strike);
/* Until all have ended and their sessions are gone. */
void sim_clients_finish(void);
bool sim_client_was_killed(uint32_t client);
bool sim_client_may_be_killed(uint32_t client);
/* One of its tasks is under way. */
bool sim_session_has_ended(uint32_t client);
/* It was killed, or has gone before the runtime had taken all out of its lanes. */
bool sim_client_leaves_tasks(uint32_t client);

#endif
