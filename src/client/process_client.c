/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_client.c - what chimaera/task.h asks of a client: memory, lanes, is the runtime there
 */
#include <errno.h>
#include <stdlib.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "client/process_client.h"
#include "task/error.h"
#include "task/segment_layout.h"
#include "task/submit_order.h"
#include "task/tsan.h"

/* Fire-and-forget tasks looked at for each one submitted: more than one, so that the list shrinks. */
#define GIVEN_LOOKS 4u
/* While a lane stays full, the runtime's life is looked at once in so many tries: it is a system call. */
#define FULL_TRIES_PER_LOOK 64u

static struct process_client *of(struct chi_client *client)
{
	return (struct process_client *)client;
}

int process_client_forked(void)
{
	return chi_error_set(-ENOTCONN, "this process was forked from the client's: it must connect by itself");
}

static int client_alive(struct chi_client *base)
{
	struct process_client *client = of(base);

	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	return chi_attachment_alive(process_client_now(client));
}

/* P1 */
static int former_runtime_gone(void)
{
	return chi_error_set(-EOWNERDEAD, "this memory is of a runtime that is gone: allocate anew");
}

static int client_serves(struct chi_client *base, void *const *tasks, uint32_t n_tasks, uint64_t now_ns)
{
	struct process_client *client = of(base);
	struct chi_attachment *now = process_client_now(client);
	bool ours = false;

	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	for (uint32_t i = 0; i < n_tasks; i++) {
		if (chi_task_done(tasks[i]))
			continue;
		if (!chi_attachment_has(now, tasks[i]))
			return former_runtime_gone();
		ours = true;
	}
	return ours ? chi_attachment_alive_lately(now, now_ns) : 0;
}

static int client_usable(const struct chi_client *base)
{
	const struct process_client *client = (const struct process_client *)base; /* its first member */

	return chi_fork_guard_is_owner(&client->guard) ? 0 : process_client_forked();
}

/* ---- memory ---- */

static int client_alloc(struct chi_client *base, uint64_t size_bytes, void **ret_memory)
{
	struct process_client *client = of(base);
	struct chi_attachment *now = process_client_now(client);
	int rc;

	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	/* what a runtime that hung up may still write to is not handed out again */
	if (chi_attachment_is_dead(now))
		return chi_attachment_gone(now);
	rc = hshm_heap_alloc(now->heap, size_bytes, ret_memory);
	if (rc == -ENOMEM && chi_attachment_sweep_given(now))
		rc = hshm_heap_alloc(now->heap, size_bytes, ret_memory);
	if (rc == -ENOMEM)
		return chi_error_set(rc, "no %llu bytes left in this client's memory (cap %llu MiB, or the machine's)",
				     (unsigned long long)size_bytes,
				     (unsigned long long)(now->segment.map.size_bytes >> 20));
	if (rc < 0)
		return chi_error_set(rc, "cannot allocate %llu bytes", (unsigned long long)size_bytes);
	return 0;
}

/* Under the lock. NULL: none of them. */
static struct chi_attachment *find_former(const struct process_client *client, const void *memory)
{
	struct chi_attachment *at = client->former;

	while (at && !chi_attachment_has(at, memory))
		at = at->older;
	return at;
}

static void client_free(struct chi_client *base, void *memory)
{
	struct process_client *client = of(base);
	struct chi_attachment *at = process_client_now(client);

	/* a child has neither the memory nor a right to the heap's bookkeeping, which a thread may have held at the
	 * fork */
	if (!chi_fork_guard_is_owner(&client->guard))
		return;
	if (chi_attachment_has(at, memory)) {
		hshm_heap_free(at->heap, memory);
		return;
	}
	pthread_mutex_lock(&client->lock);
	at = find_former(client, memory);
	/* nobody's: the heap's assertion says so */
	hshm_heap_free(at ? at->heap : process_client_now(client)->heap, memory);
	pthread_mutex_unlock(&client->lock);
}

static bool is_former(struct process_client *client, const void *memory)
{
	bool found;

	pthread_mutex_lock(&client->lock);
	found = find_former(client, memory) != NULL;
	pthread_mutex_unlock(&client->lock);
	return found;
}

static int client_locate(struct chi_client *base, const void *memory, uint64_t size_bytes, struct hipc_ptr *ret_ptr)
{
	struct process_client *client = of(base);
	struct chi_attachment *now = process_client_now(client);
	struct hipc_ptr ptr;

	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	ptr = hipc_ptr_of(&now->segment.map, memory);
	if (!chi_attachment_has(now, memory) || size_bytes > now->segment.map.size_bytes - hipc_ptr_offset(ptr)) {
		if (is_former(client, memory))
			return former_runtime_gone();
		return chi_error_set(-EFAULT, "%p, %llu bytes: not memory from chi_alloc() of this client", memory,
				     (unsigned long long)size_bytes);
	}
	*ret_ptr = ptr;
	return 0;
}

/* ---- lanes ---- */

/* The lane of the calling thread: its own while there are not more threads than lanes. */
static uint32_t lane_of_thread(const struct chi_attachment *attachment)
{
	uint32_t index = HSHM_THREAD_MODEL->index(), n_lanes = attachment->welcome.n_lanes;

	return index < n_lanes ? index : index % n_lanes;
}

/* Full: is anybody taking from it? */
static int lane_full(struct chi_attachment *attachment)
{
	/* relaxed: a counter that only spreads out system calls */
	if (hshm_fetch_add_relaxed(&attachment->n_full, 1) % FULL_TRIES_PER_LOOK == 0) {
		int rc = chi_attachment_alive(attachment);

		if (rc < 0)
			return rc;
	}
	return -EAGAIN;
}

int process_client_not_ours(struct process_client *client, const void *task)
{
	if (is_former(client, task))
		return former_runtime_gone();
	return chi_error_set(-EINVAL, "%p is no task of this client: it must come from chi_task_alloc()", task);
}

static int push(struct chi_attachment *now, struct chi_task *task, uint32_t ref, enum chi_submit_next next)
{
	uint32_t lane = lane_of_thread(now);
	uint32_t prio = task->flags & CHI_TASK_HIGH_LATENCY ? CHI_PRIO_HIGH_LATENCY : CHI_PRIO_LOW_LATENCY;
	struct client_lane *mine = &now->lanes[lane * CHI_PRIOS + prio];
	struct chi_given *given = NULL;
	int rc;

	/* acquire: pairs with the release in chi_attachment_open_lane() */
	if (!hshm_load_acquire(&mine->opened)) {
		rc = chi_attachment_open_lane(now, lane, prio);
		if (rc < 0)
			return rc == -ETIMEDOUT ? -EAGAIN : rc;
	}
	if (task->flags & CHI_TASK_FIRE_AND_FORGET) {
		given = malloc(sizeof(*given));
		if (!given)
			return chi_error_set(-EAGAIN, "no memory to remember a fire-and-forget task");
		given->task = task;
	}

	chi_submit_order_note(task);
	chi_tsan_submitted(task);
	rc = next == CHI_NEXT_SUBMIT ? chi_task_queue_push(&now->queue, lane, prio, ref)
				     : chi_task_queue_enqueue(&now->queue, lane, prio, ref);
	if (rc < 0) {
		free(given);
		return rc == -EAGAIN ? lane_full(now) : rc;
	}
	chi_submit_order_count();
	if (given) {
		chi_given_add(&mine->given, given);
		chi_given_sweep(&mine->given, now->heap, GIVEN_LOOKS);
	}
	return 0;
}

/* 0: it lies elsewhere, or ends there. */
static uint32_t ref_of_ours(const struct chi_attachment *now, const struct chi_task *task)
{
	uint64_t begin = (uint64_t)hipc_ref_of(&now->segment.map, task) * HIPC_REF_UNIT;
	uint64_t room = now->segment.map.size_bytes - begin;

	if (begin < now->heap_offset || room < sizeof(*task) || room < task->size_bytes)
		return 0;
	return (uint32_t)(begin / HIPC_REF_UNIT);
}

static int client_submit(struct chi_client *base, struct chi_task *task, enum chi_submit_next next)
{
	struct process_client *client = of(base);
	struct chi_attachment *now = process_client_now(client);
	uint32_t ref;

	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	ref = ref_of_ours(now, task);
	if (!ref)
		return process_client_not_ours(client, task);
	/* without it a client would go on filling lanes that nobody empties */
	if (chi_attachment_is_dead(now))
		return chi_attachment_gone(now);
	return push(now, task, ref, next);
}

static void client_ring(struct chi_client *base)
{
	struct chi_attachment *now = process_client_now(of(base));
	uint32_t lane = lane_of_thread(now);

	hshm_fence_seq_cst(); /* all the pushes before, the looks at `armed` after: see chi_task_queue_ring() */
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++) {
		/* acquire: as in push() */
		if (hshm_load_acquire(&now->lanes[lane * CHI_PRIOS + prio].opened))
			chi_task_queue_ring(&now->queue, lane, prio);
	}
}

/* Threads that share a lane share its word: a wake-up for one wakes all, and each looks at its own task. A task of a
 * former attachment is woken by nobody; its waiter finds that out at its next look. */
static struct chi_parking_place client_park(struct chi_client *base)
{
	struct chi_attachment *now = process_client_now(of(base));
	uint64_t offset = chi_client_park_offset(lane_of_thread(now));

	return (struct chi_parking_place){
		.word = (hshm_au32 *)((char *)now->segment.map.base + offset),
		.ref = (uint32_t)(offset / sizeof(hshm_au32)),
		.n_sleeps = chi_client_sleeps_of(&now->segment.map),
	};
}

static bool client_is_waking(struct chi_client *base)
{
	struct chi_attachment *now = process_client_now(of(base));
	uint32_t lane = lane_of_thread(now);

	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++) {
		/* acquire: as in push() */
		if (hshm_load_acquire(&now->lanes[lane * CHI_PRIOS + prio].opened) &&
		    chi_task_queue_is_waking(&now->queue, lane, prio))
			return true;
	}
	return false;
}

const struct chi_client_ops chi_process_client_ops = {
	.alloc = client_alloc,
	.free = client_free,
	.locate = client_locate,
	.usable = client_usable,
	.submit = client_submit,
	.ring = client_ring,
	.alive = client_alive,
	.serves = client_serves,
	.park = client_park,
	.is_waking = client_is_waking,
};

/* ---- life ---- */

void process_client_attach(struct process_client *client, struct chi_attachment *attachment)
{
	/* relaxed: only this thread changes it */
	struct chi_attachment *before = hshm_load_relaxed(&client->now);

	pthread_mutex_lock(&client->lock);
	if (before) {
		before->older = client->former;
		client->former = before;
	}
	pthread_mutex_unlock(&client->lock);
	/* release: P2. Behind the list: whoever finds memory not to be this one's finds it there. */
	hshm_store_release(&client->now, attachment);
}

static bool has_blocks(struct chi_attachment *attachment)
{
	struct hshm_heap_stats stats;

	chi_attachment_drop_given(attachment);
	hshm_heap_get_stats(attachment->heap, &stats);
	return stats.n_blocks > 0;
}

static struct chi_attachment *take_unneeded(struct process_client *client)
{
	struct chi_attachment **link = &client->former->older, *unneeded = NULL;

	while (*link) {
		struct chi_attachment *at = *link;

		if (has_blocks(at)) {
			link = &at->older;
			continue;
		}
		*link = at->older;
		at->older = unneeded;
		unneeded = at;
	}
	return unneeded;
}

void process_client_release_former(struct process_client *client)
{
	struct chi_attachment *unneeded, *older;

	pthread_mutex_lock(&client->lock);
	unneeded = client->former ? take_unneeded(client) : NULL;
	pthread_mutex_unlock(&client->lock);
	for (; unneeded; unneeded = older) {
		older = unneeded->older;
		chi_attachment_destroy(unneeded);
	}
}

void process_client_destroy(struct process_client *client)
{
	bool owner;
	struct chi_attachment *at, *older;

	if (!client)
		return;
	owner = !client->guard.word || chi_fork_guard_is_owner(&client->guard);
	at = process_client_now(client);
	/* in a child of a fork in the middle of a reconnect it may be in the list already */
	if (at && at != client->former)
		at->older = client->former;
	for (; at; at = older) {
		older = at->older;
		if (owner)
			chi_attachment_destroy(at);
		else
			chi_attachment_abandon(at);
	}
	if (owner) {
		/* not in a child: there the numbers may be its own by now (attachment.h) */
		process_client_close_events(client);
		pthread_mutex_destroy(&client->event_lock);
		pthread_mutex_destroy(&client->reconnecting);
		pthread_mutex_destroy(&client->lock);
	}
	chi_fork_guard_fini(&client->guard);
	client->base.magic = 0;
	free(client->name);
	free(client);
}
