/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clients.c - processes that submit the roots of the graph, and some of which are killed or stopped at any point
 *
 * A client is an actor with a session. Both are made and ended by the ipc manager's own functions, on the ipc thread; only the
 * socket between them is left out. It goes by the calls of chimaera/task.h, through a table like that of src/client.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"
#include "runtime/counter_page.h"
#include "runtime/fault.h"
#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/runtime.h"
#include "task/submitter.h"
#include "tests/model/graph.h"

#define ROOTS_MAX    NODES_MAX
#define LANES_MAX    4u
#define TASK_ROOM    (64u << 10)
#define LANE_FULL_US 3u

struct client {
	struct chi_client base; /* its first member */
	uint32_t index;
	struct sim_actor *actor;
	struct ipc_session *session;
	bool attached, killed, in_submit;
	uint64_t late_ns; /* how late it may come from a wait */
	bool finishes;	  /* has submitted all */
	bool leaves_lane; /* leaves while fire-and-forget tasks may still lie in its lanes */
	bool may_be_killed;
	struct chi_task_queue queue;
	struct chi_lane_bell bells[LANES_MAX * CHI_PRIOS];
	bool lane_open[LANES_MAX * CHI_PRIOS];
	uint32_t asked_lane, asked_prio;
	uint32_t lane; /* of the thread that it plays just now */
	uint32_t place;
	uint64_t used_to;
	struct sim_rng rng;
	uint32_t roots[ROOTS_MAX];
	uint32_t n_roots;
};

static struct client clients[CLIENTS_MAX];

static struct client *of(struct chi_client *client)
{
	return (struct client *)client;
}

/* ---- on the ipc thread ---- */

static void ipc_attach(void *arg)
{
	struct client *client = arg;
	struct chi_ipc_manager *ipc = sim_runtime->ipc;
	struct chi_session *session;

	sim_check(chi_ipc_session_open(ipc, &client->session) == 0, "no session");
	session = &client->session->base;
	session->pid = getpid();
	session->counters_offset = (uint32_t)sizeof(struct chi_client_counters) *
				   chi_counter_page_add_client(sim_runtime->counters, session, 0);
	sim_check(chi_fault_watch(session) == 0, "no watch");
	sim_check(hshm_segment_reserve(&session->segment, session->heap_offset, TASK_ROOM) == 0, "no memory");
	client->used_to = session->heap_offset;
	client->queue.queue = session->queue.queue;
	client->queue.bells = client->bells;
	client->attached = true;
}

static void ipc_open_lane(void *arg)
{
	struct client *client = arg;
	uint32_t index = client->asked_lane * CHI_PRIOS + client->asked_prio;
	struct chi_lane *lane;

	sim_check(chi_ipc_session_open_lane(sim_runtime->ipc, client->session, client->asked_lane, client->asked_prio,
					    &lane) == 0,
		  "no lane");
	client->bells[index] = (struct chi_lane_bell){ lane->ring, lane->armed, lane->eventfd };
	client->lane_open[index] = true;
}

static void ipc_hang_up(void *arg)
{
	struct client *client = arg;

	chi_ipc_session_end(sim_runtime->ipc, client->session);
}

/* ---- its table ---- */

static int client_alloc(struct chi_client *base, uint64_t size_bytes, void **ret_memory)
{
	struct client *client = of(base);
	struct chi_session *session = &client->session->base;

	*ret_memory = (char *)session->segment.map.base + client->used_to;
	client->used_to += (size_bytes + 63) / 64 * 64;
	sim_check(client->used_to <= session->heap_offset + TASK_ROOM, "no memory for a client's task");
	return 0;
}

static void client_free(struct chi_client *base, void *memory)
{
	(void)base;
	(void)memory;
}

static int client_alive(struct chi_client *base)
{
	(void)base;
	return 0;
}

static bool lane_is_open(void *arg)
{
	const struct client *client = arg;

	return client->lane_open[client->asked_lane * CHI_PRIOS + client->asked_prio];
}

static int client_submit(struct chi_client *base, struct chi_task *task, enum chi_submit_next next)
{
	struct client *client = of(base);
	uint32_t ref = hipc_ref_of(&client->session->base.segment.map, task);
	uint32_t prio = task->flags & CHI_TASK_HIGH_LATENCY ? CHI_PRIO_HIGH_LATENCY : CHI_PRIO_LOW_LATENCY;
	int ret;

	client->asked_lane = client->lane;
	client->asked_prio = prio;
	if (!lane_is_open(client)) {
		sim_ipc_do(ipc_open_lane, client);
		(void)sim_block(lane_is_open, client, HSHM_FOREVER);
	}
	client->in_submit = true;
	ret = next == CHI_NEXT_SUBMIT ? chi_task_queue_push(&client->queue, client->lane, prio, ref)
				      : chi_task_queue_enqueue(&client->queue, client->lane, prio, ref);
	client->in_submit = next == CHI_NEXT_SUBMIT;
	return ret;
}

static void client_ring(struct chi_client *base)
{
	struct client *client = of(base);

	hshm_fence_seq_cst();
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++)
		if (client->lane_open[client->lane * CHI_PRIOS + prio])
			chi_task_queue_ring(&client->queue, client->lane, prio);
	client->in_submit = false;
}

static struct chi_parking_place client_park(struct chi_client *base)
{
	struct client *client = of(base);
	const struct hipc_mapping *map = &client->session->base.segment.map;
	uint64_t offset = chi_client_park_offset(client->lane);

	return (struct chi_parking_place){
		.word = (hshm_au32 *)((char *)map->base + offset),
		.ref = (uint32_t)(offset / sizeof(hshm_au32)),
		.n_sleeps = chi_client_sleeps_of(map),
	};
}

static const struct chi_client_ops ops = {
	.alloc = client_alloc,
	.free = client_free,
	.submit = client_submit,
	.ring = client_ring,
	.alive = client_alive,
	.park = client_park,
};

/* ---- what it does ---- */

static bool is_waited_for(uint32_t root)
{
	const struct sim_node *node = &sim_graph.nodes[root];

	return node->submitted && !node->refused && !(node->flags & CHI_TASK_FIRE_AND_FORGET);
}

static struct chi_task *prepare(struct client *client, uint32_t root)
{
	struct sim_node *node = &sim_graph.nodes[root];
	struct sim_task *task;

	sim_check(chi_alloc(&client->base, sizeof(*task), &task) == 0, "no memory");
	if (!sim_node_fill(root, task))
		task->task.pool_id = 4000; /* nobody's */
	node->client_lane = client->lane * CHI_PRIOS + !!(node->flags & CHI_TASK_HIGH_LATENCY);
	node->client_place = ++client->place;
	return &task->task;
}

static void cancel_endless(const struct client *client)
{
	for (uint32_t i = 0; i < client->n_roots; i++) {
		const struct sim_node *node = &sim_graph.nodes[client->roots[i]];

		/* a submit makes it uncancelled: not those that stand behind in a submit of many */
		if (node->n_runs != UINT32_MAX || !is_waited_for(client->roots[i]) || node->cancelled ||
		    !node->task->task.submitter)
			continue;
		if (sim_is_done(&node->task->task)) /* before anybody asked for it? */
			sim_node_done(client->roots[i]);
		else
			sim_node_cancel(client->roots[i]);
	}
}

/* Its lane is full, perhaps for as long as a periodic task of its has the only context that it may have. */
static void wait_for_room(struct client *client)
{
	sim_count(client_lanes_full);
	if (sim_one_in(&client->rng, 8))
		cancel_endless(client);
	(void)sim_block(NULL, NULL, sim_now_ns() + LANE_FULL_US * HSHM_NSEC_PER_USEC);
}

static void submit_one(struct client *client, uint32_t root)
{
	struct chi_task *task = prepare(client, root);
	int ret;

	sim_event("client %lld submits task %lld", client->index, root);
	sim_graph.nodes[root].submitted = true;
	while ((ret = chi_submit(&client->base, task)) == -EAGAIN)
		wait_for_room(client);
	sim_check(ret == 0, "a client's submit: %d", ret);
}

static void submit_many(struct client *client, const uint32_t *roots, uint32_t n)
{
	void *tasks[4];
	uint32_t n_taken = 0;

	for (uint32_t i = 0; i < n; i++) {
		tasks[i] = prepare(client, roots[i]);
		sim_event("client %lld submits task %lld, with others", client->index, roots[i]);
		sim_graph.nodes[roots[i]].submitted = true;
	}
	while (n_taken < n) {
		int ret = chi_submit_many(&client->base, tasks + n_taken, n - n_taken);

		if (ret == -EAGAIN) {
			wait_for_room(client);
			continue;
		}
		sim_check(ret > 0, "a client's submit of many: %d", ret);
		n_taken += (uint32_t)ret;
	}
}

static void wait_for(struct client *client, struct chi_task **tasks, uint32_t n, bool any, uint64_t timeout_ns)
{
	uint64_t end_ns = timeout_ns == HSHM_FOREVER ? HSHM_FOREVER : sim_now_ns() + timeout_ns;
	struct sim_wait wait = { .tasks = tasks,
				 .n_tasks = n,
				 .any = any,
				 .polls = client->base.wait_policy != CHI_WAIT_HYBRID,
				 .until_ns = timeout_ns == HSHM_FOREVER ? HSHM_FOREVER : end_ns + client->late_ns,
				 .who = client->index };
	int ret;

	sim_wait_begins(&wait);
	ret = any ? chi_wait_any((void **)tasks, n, timeout_ns) : chi_wait_all((void **)tasks, n, timeout_ns);
	sim_wait_ends(&wait);
	if (ret == -ETIMEDOUT)
		sim_check(end_ns <= sim_now_ns(), "client %u: a timeout before its time", client->index);
	else
		sim_check(ret >= 0 && sim_is_satisfied(&wait), "client %u waits: %d", client->index, ret);
}

static void note_done(struct client *client)
{
	for (uint32_t i = 0; i < client->n_roots; i++)
		if (is_waited_for(client->roots[i]) && chi_task_done(sim_graph.nodes[client->roots[i]].task))
			sim_node_done(client->roots[i]);
}

static void do_something(struct client *client)
{
	uint32_t root = client->roots[sim_below(&client->rng, client->n_roots)];
	struct chi_task *task = (struct chi_task *)sim_graph.nodes[root].task; /* NULL: not submitted yet */
	bool any;

	switch (sim_below(&client->rng, 5)) {
	case 0:
		(void)sim_block(NULL, NULL, sim_now_ns() + sim_below(&client->rng, 50000));
		break;
	case 1:
		any = sim_one_in(&client->rng, 2);
		if (is_waited_for(root))
			wait_for(client, &task, 1, any, sim_below(&client->rng, 100000));
		note_done(client);
		break;
	case 2:
		if (is_waited_for(root) && !sim_graph.nodes[root].seen_done && !sim_graph.nodes[root].calm)
			sim_node_cancel(root);
		break;
	case 3:
		client->lane = sim_below(&client->rng, sim_runtime->config.client_lanes);
		break;
	default:
		break;
	}
}

static void finish(struct client *client)
{
	cancel_endless(client);
	for (uint32_t i = 0; i < client->n_roots; i++) {
		struct sim_node *node = &sim_graph.nodes[client->roots[i]];
		struct chi_task *task = (struct chi_task *)node->task;

		if (!is_waited_for(client->roots[i]))
			continue;
		wait_for(client, &task, 1, false, HSHM_FOREVER);
		sim_node_done(client->roots[i]);
	}
}

/* None of its tasks lies in a lane any more. */
static bool all_have_left_lanes(void *arg)
{
	const struct client *client = arg;

	for (uint32_t i = 0; i < client->n_roots; i++)
		if (!sim_graph.nodes[client->roots[i]].n_starts &&
		    !sim_may_not_start(&sim_graph.nodes[client->roots[i]]))
			return false;
	return true;
}

static bool is_attached(void *arg)
{
	return ((struct client *)arg)->attached;
}

static void client_main(void *arg)
{
	struct client *client = arg;
	uint32_t i = 0;

	sim_ipc_do(ipc_attach, client);
	(void)sim_block(is_attached, client, HSHM_FOREVER);
	while (i < client->n_roots) {
		uint32_t n = sim_one_in(&client->rng, 4) ? 1 + sim_below(&client->rng, 4) : 1;

		n = n < client->n_roots - i ? n : client->n_roots - i;
		if (n == 1)
			submit_one(client, client->roots[i]);
		else
			submit_many(client, &client->roots[i], n);
		i += n;
		for (uint32_t k = sim_below(&client->rng, 3); k > 0; k--)
			do_something(client);
	}
	client->finishes = true;
	finish(client);
	sim_strike_after(client->actor, 0, NULL, NULL);
	client->leaves_lane = sim_one_in(&client->rng, 2);
	if (!client->leaves_lane)
		(void)sim_block(all_have_left_lanes, client, HSHM_FOREVER);
	sim_ipc_do(ipc_hang_up, client);
}

/* ---- its end ---- */

static void forget_waits(const struct client *client)
{
	struct sim_wait **at = &sim_graph.waits;

	while (*at) {
		const char *wait = (const char *)*at;
		/* those in frames of the dead actor's stack */
		if (sim_is_on_stack(client->actor, wait))
			*at = (*at)->next;
		else
			at = &(*at)->next;
	}
}

static void killed(void *arg)
{
	struct client *client = arg;

	sim_event("client %lld is killed", client->index);
	client->killed = true;
	sim_count(clients_killed);
	sim_count_add(killed_in_submit, client->in_submit);
	sim_count_add(killed_in_finish, client->finishes);
	for (uint32_t i = 0; i < client->n_roots; i++) {
		const struct sim_node *node = &sim_graph.nodes[client->roots[i]];

		if (node->submitted && node->task->task.completion.v != CHI_COMPLETION_DONE) {
			sim_count(killed_in_flight);
			break;
		}
	}
	forget_waits(client);
	sim_ipc_do(ipc_hang_up, client); /* behind its attach, if that is not over */
}

bool sim_client_was_killed(uint32_t client)
{
	return clients[client].killed;
}

bool sim_client_leaves_tasks(uint32_t client)
{
	return clients[client].killed || clients[client].leaves_lane;
}

bool sim_client_may_be_killed(uint32_t client)
{
	return clients[client].may_be_killed;
}

bool sim_session_has_ended(uint32_t client)
{
	return clients[client].session->base.ended.v;
}

/* ---- all of them ---- */

static void start(struct client *client, uint64_t seed, uint32_t index)
{
	memset(client, 0, sizeof(*client));
	client->base = (struct chi_client){ .magic = CHI_CLIENT_MAGIC, .ops = &ops };
	client->index = index;
	client->rng.state = seed + index;
	client->late_ns = SIM_LATE_NS;
	client->base.wait_policy = sim_choose(&client->rng, CHI_WAIT_SLEEP, CHI_WAIT_HYBRID, CHI_WAIT_HYBRID);
	client->base.spin_ns = sim_choose(&client->rng, 0, 500, 5000);
	for (uint32_t i = 0; i < sim_graph.n_nodes; i++)
		if (sim_graph.nodes[i].parent < 0 && sim_graph.nodes[i].client == index)
			client->roots[client->n_roots++] = i;
	sim_count(clients);
	client->actor = sim_spawn("client", client_main, client);
}

void sim_clients_start(uint64_t seed, bool strike)
{
	for (uint32_t i = 0; i < sim_graph.n_clients; i++) {
		struct client *client = &clients[i];
		uint32_t n_preemptions;
		bool stops;

		start(client, seed, i);
		if (!strike || !sim_one_in(&client->rng, 2))
			continue;
		n_preemptions = 1 + sim_below(&client->rng, sim_choose(&client->rng, 60, 60, 600, 2000));
		stops = sim_one_in(&client->rng, 3);
		client->may_be_killed = !stops;
		if (stops) /* anywhere, so in a wait, too */
			client->late_ns = HSHM_NSEC_PER_SEC;
		sim_strike_after(client->actor, n_preemptions, stops ? NULL : killed, client);
	}
}

static bool all_are_gone(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < sim_graph.n_clients; i++)
		if (!sim_has_ended(clients[i].actor))
			return false;
	return sim_ipc_is_idle() && sim_runtime->ipc->n_sessions.v == 0;
}

void sim_clients_finish(void)
{
	(void)sim_block(all_are_gone, NULL, HSHM_FOREVER);
}
