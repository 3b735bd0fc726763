/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * process_client.c - what chimaera/task.h asks of a client: memory, lanes, is the runtime there
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "client/process_client.h"
#include "task/error.h"
#include "task/segment_layout.h"

/* Fire-and-forget tasks looked at for each one submitted: more than one, so that the list shrinks. */
#define GIVEN_LOOKS 4u
/* While a lane stays full, the runtime's life is looked at once in so many tries: it is a system call. */
#define FULL_TRIES_PER_LOOK 64u
#define DRAIN_SLEEP_US	    10u

static struct process_client *of(struct chi_client *client)
{
	return (struct process_client *)client;
}

static int forked(void)
{
	return chi_error_set(-ENOTCONN, "this process was forked from the client's: it must connect by itself");
}

static int gone(struct process_client *client)
{
	/* relaxed: a flag that carries nothing; it is only ever set */
	hshm_store_relaxed(&client->dead, 1);
	return chi_error_set(-EOWNERDEAD, "the runtime (pid %d) is gone", client->welcome.runtime_pid);
}

static int client_alive(struct chi_client *base)
{
	struct process_client *client = of(base);

	if (!chi_fork_guard_is_owner(&client->guard))
		return forked();
	/* relaxed: as in gone() */
	if (hshm_load_relaxed(&client->dead) || !chi_connection_alive(&client->connection))
		return gone(client);
	return 0;
}

static int client_usable(const struct chi_client *base)
{
	const struct process_client *client = (const struct process_client *)base; /* its first member */

	return chi_fork_guard_is_owner(&client->guard) ? 0 : forked();
}

/* ---- memory ---- */

static int client_alloc(struct chi_client *base, uint64_t size_bytes, void **ret_memory)
{
	struct process_client *client = of(base);
	uint32_t n_freed = 0;
	int rc;

	if (!chi_fork_guard_is_owner(&client->guard))
		return forked();
	rc = hshm_heap_alloc(client->heap, size_bytes, ret_memory);
	if (rc == -ENOMEM) {
		for (uint32_t i = 0; i < client->n_lanes_all; i++)
			n_freed += chi_given_sweep_all(&client->lanes[i].given, client->heap);
		if (n_freed)
			rc = hshm_heap_alloc(client->heap, size_bytes, ret_memory);
	}
	if (rc == -ENOMEM)
		return chi_error_set(rc, "no %llu bytes left in this client's memory (cap %llu MiB, or the machine's)",
				     (unsigned long long)size_bytes,
				     (unsigned long long)(client->segment.map.size_bytes >> 20));
	if (rc < 0)
		return chi_error_set(rc, "cannot allocate %llu bytes", (unsigned long long)size_bytes);
	return 0;
}

static void client_free(struct chi_client *base, void *memory)
{
	struct process_client *client = of(base);

	/* a child has neither the memory nor a right to the heap's bookkeeping, which a thread may have held at the fork */
	if (chi_fork_guard_is_owner(&client->guard))
		hshm_heap_free(client->heap, memory);
}

static int client_locate(struct chi_client *base, const void *memory, uint64_t size_bytes, struct hipc_ptr *ret_ptr)
{
	struct process_client *client = of(base);
	const struct hipc_mapping *map = &client->segment.map;
	struct hipc_ptr ptr;

	if (!chi_fork_guard_is_owner(&client->guard))
		return forked();
	ptr = hipc_ptr_of(map, memory);
	if (hipc_ptr_is_null(ptr) || hipc_ptr_offset(ptr) < client->heap_offset ||
	    size_bytes > map->size_bytes - hipc_ptr_offset(ptr))
		return chi_error_set(-EFAULT, "%p, %llu bytes: not memory from chi_alloc() of this client", memory,
				     (unsigned long long)size_bytes);
	*ret_ptr = ptr;
	return 0;
}

/* ---- lanes ---- */

/* The lane of the calling thread: its own while there are not more threads than lanes. */
static uint32_t lane_of_thread(const struct process_client *client)
{
	return HSHM_THREAD_MODEL->index() % client->welcome.n_lanes;
}

static int ask_for_lane(struct process_client *client, uint32_t lane, uint32_t prio, struct chi_lane_bell *ret_bell)
{
	struct chi_lane_open request = { .type = CHI_MESSAGE_LANE_OPEN, .lane = lane, .prio = prio };
	uint64_t deadline_ns = hshm_deadline_ns(client->timeout_ns);
	union chi_message answer;
	uint64_t armed;
	int fd, rc;

	rc = chi_connection_send(&client->connection, &request, sizeof(request), deadline_ns);
	while (rc == 0) {
		rc = chi_connection_receive(&client->connection, CHI_MESSAGE_LANE_OPENED, &answer, &fd, 1, deadline_ns);
		if (rc < 0 || (answer.lane_opened.lane == lane && answer.lane_opened.prio == prio))
			break;
		close(fd); /* the late answer to a question we gave up on */
	}
	if (rc == -EPIPE)
		return gone(client);
	if (rc == -ETIMEDOUT)
		return chi_error_set(-EAGAIN, "the runtime (pid %d) does not answer", client->welcome.runtime_pid);
	if (rc)
		return rc;

	armed = chi_main_armed_offset(answer.lane_opened.armed_index);
	if (armed > client->main.map.size_bytes - HSHM_FALSE_SHARING) {
		close(fd);
		return chi_error_set(-EPROTO, "the runtime named a word outside its segment");
	}
	ret_bell->armed = (const hshm_au32 *)((const char *)client->main.map.base + armed);
	ret_bell->fd = fd;
	return 0;
}

static int open_lane(struct process_client *client, uint32_t lane, uint32_t prio)
{
	uint32_t index = lane * CHI_PRIOS + prio;
	int rc = 0;

	pthread_mutex_lock(&client->lane_lock);
	/* relaxed: the lock orders it; it is set under the lock only */
	if (!hshm_load_relaxed(&client->lanes[index].opened)) {
		rc = ask_for_lane(client, lane, prio, &client->queue.bells[index]);
		if (rc == 0) {
			/* release: pairs with the acquire in client_submit(); the bell is complete */
			hshm_store_release(&client->lanes[index].opened, 1);
		}
	}
	pthread_mutex_unlock(&client->lane_lock);
	return rc;
}

/* Full: is anybody taking from it? */
static int lane_full(struct process_client *client)
{
	/* relaxed: a counter that only spreads out system calls */
	if (hshm_fetch_add_relaxed(&client->n_full, 1) % FULL_TRIES_PER_LOOK == 0) {
		int rc = client_alive(&client->base);

		if (rc < 0)
			return rc;
	}
	return -EAGAIN;
}

static int client_submit(struct chi_client *base, struct chi_task *task, bool more)
{
	struct process_client *client = of(base);
	const struct hipc_mapping *map = &client->segment.map;
	struct chi_given *given = NULL;
	uint32_t ref, lane, prio;
	struct client_lane *mine;
	int rc;

	if (!chi_fork_guard_is_owner(&client->guard))
		return forked();
	ref = hipc_ref_of(map, task);
	if (ref < client->heap_offset / HIPC_REF_UNIT || !hipc_ref_translate(map, ref, sizeof(*task)) ||
	    !hipc_ref_translate(map, ref, task->size_bytes))
		return chi_error_set(-EINVAL, "%p is no task of this client: it must come from chi_task_alloc()",
				     (void *)task);
	/* relaxed: as in gone(); without it a client would go on filling lanes that nobody empties */
	if (hshm_load_relaxed(&client->dead))
		return gone(client);

	lane = lane_of_thread(client);
	prio = task->flags & CHI_TASK_HIGH_LATENCY ? CHI_PRIO_HIGH_LATENCY : CHI_PRIO_LOW_LATENCY;
	mine = &client->lanes[lane * CHI_PRIOS + prio];
	/* acquire: pairs with the release in open_lane() */
	if (!hshm_load_acquire(&mine->opened)) {
		rc = open_lane(client, lane, prio);
		if (rc < 0)
			return rc;
	}
	if (task->flags & CHI_TASK_FIRE_AND_FORGET) {
		given = malloc(sizeof(*given));
		if (!given)
			return chi_error_set(-EAGAIN, "no memory to remember a fire-and-forget task");
		given->task = task;
	}

	rc = more ? chi_task_queue_push(&client->queue, lane, prio, ref)
		  : chi_task_queue_enqueue(&client->queue, lane, prio, ref);
	if (rc < 0) {
		free(given);
		return rc == -EAGAIN ? lane_full(client) : rc;
	}
	if (given) {
		chi_given_add(&mine->given, given);
		chi_given_sweep(&mine->given, client->heap, GIVEN_LOOKS);
	}
	return 0;
}

static void client_ring(struct chi_client *base)
{
	struct process_client *client = of(base);
	uint32_t lane = lane_of_thread(client);

	hshm_fence_seq_cst(); /* all the pushes before, the looks at `armed` after: see chi_task_queue_ring() */
	for (uint32_t prio = 0; prio < CHI_PRIOS; prio++) {
		/* acquire: as in client_submit() */
		if (hshm_load_acquire(&client->lanes[lane * CHI_PRIOS + prio].opened))
			chi_task_queue_ring(&client->queue, lane, prio);
	}
}

/* Threads that share a lane share its word: a wake-up for one wakes all, and each looks at its own task. */
static hshm_au32 *client_park(struct chi_client *base, uint32_t *ret_ref)
{
	struct process_client *client = of(base);
	uint64_t offset = chi_client_park_offset(lane_of_thread(client));

	*ret_ref = (uint32_t)(offset / sizeof(hshm_au32));
	return (hshm_au32 *)((char *)client->segment.map.base + offset);
}

const struct chi_client_ops chi_process_client_ops = {
	.alloc = client_alloc,
	.free = client_free,
	.locate = client_locate,
	.usable = client_usable,
	.submit = client_submit,
	.ring = client_ring,
	.alive = client_alive,
	.park = client_park,
};

/* ---- life ---- */

int process_client_init_lanes(struct process_client *client)
{
	const struct chi_welcome *welcome = &client->welcome;
	uint32_t n = welcome->n_lanes * CHI_PRIOS;
	int rc;

	rc = hipc_multi_mpsc_queue_attach((char *)client->segment.map.base + chi_client_queue_offset(welcome->n_lanes),
					  welcome->n_lanes, CHI_PRIOS, welcome->lane_depth,
					  sizeof(struct chi_lane_header), &client->queue.queue);
	if (rc < 0)
		return chi_error_set(-EPROTO, "the runtime's numbers make no queue");
	client->queue.bells = calloc(n, sizeof(*client->queue.bells));
	client->lanes = aligned_alloc(_Alignof(struct client_lane), n * sizeof(*client->lanes));
	if (!client->queue.bells || !client->lanes)
		return chi_error_set(-ENOMEM, "no memory for %u lanes", n);
	for (uint32_t i = 0; i < n; i++) {
		client->queue.bells[i].fd = -1;
		client->lanes[i] = (struct client_lane){ .opened = { 0 } };
		chi_given_init(&client->lanes[i].given);
	}
	client->n_lanes_all = n;
	return 0;
}

/* A slot that holds a reference has not been taken yet. Relaxed: only whether, not what. */
static bool lane_is_empty(const struct hipc_mpsc_queue *ring)
{
	for (uint64_t i = 0; i < UINT64_C(1) << ring->depth_shift; i++) {
		if ((uint32_t)hshm_load_relaxed(&ring->slots[i]))
			return false;
	}
	return true;
}

static bool lanes_are_empty(const struct process_client *client)
{
	for (uint32_t i = 0; i < client->n_lanes_all; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&client->queue.queue, i / CHI_PRIOS,
									 i % CHI_PRIOS);

		/* acquire: as in client_submit() */
		if (hshm_load_acquire(&client->lanes[i].opened) && !lane_is_empty(&ring))
			return false;
	}
	return true;
}

void process_client_drain(struct process_client *client, uint64_t timeout_ns)
{
	uint64_t deadline_ns = hshm_deadline_ns(timeout_ns);

	while (!lanes_are_empty(client) && client_alive(&client->base) == 0 && hshm_clock_ns() < deadline_ns)
		HSHM_THREAD_MODEL->sleep_for_us(DRAIN_SLEEP_US);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* In a child: its copies of the descriptors, and nothing else. The mappings are not there, other things may be in their
 * place; the locks may be held by threads that are not there either. A little memory is lost. */
static void abandon(struct process_client *client)
{
	for (uint32_t i = 0; i < client->n_lanes_all; i++)
		close_fd(client->queue.bells[i].fd);
	if (client->main.map.base)
		close_fd(client->main.fd);
	if (client->segment.map.base)
		close_fd(client->segment.fd);
	close_fd(client->counters_fd);
	close_fd(client->connection.pidfd);
	close_fd(client->connection.socket);
	chi_fork_guard_fini(&client->guard);
	free(client);
}

void process_client_destroy(struct process_client *client)
{
	if (!client)
		return;
	if (client->guard.word && !chi_fork_guard_is_owner(&client->guard)) {
		abandon(client);
		return;
	}
	/* shutdown: a forked child may hold a copy of the socket, and the runtime shall see the end all the same */
	if (client->connection.socket >= 0)
		shutdown(client->connection.socket, SHUT_RDWR);
	close_fd(client->connection.socket);
	close_fd(client->connection.pidfd);
	for (uint32_t i = 0; i < client->n_lanes_all; i++) {
		close_fd(client->queue.bells[i].fd);
		chi_given_fini(&client->lanes[i].given);
	}
	free(client->queue.bells);
	free(client->lanes);
	hshm_heap_destroy(client->heap);
	hshm_segment_close(&client->segment);
	hshm_segment_close(&client->main);
	close_fd(client->counters_fd);
	pthread_mutex_destroy(&client->lane_lock);
	chi_fork_guard_fini(&client->guard);
	client->base.magic = 0;
	free(client);
}
