/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * attachment.c - shake hands with a runtime, open lanes, find its end, let go
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "client/attachment.h"
#include "task/counters_layout.h"
#include "task/error.h"
#include "task/segment_layout.h"

#define LANES_MAX	 65536u
#define CLIENT_BYTES_MAX ((UINT64_C(1) << 32) * HIPC_REF_UNIT) /* what a reference can name */
#define DRAIN_SLEEP_US	 10u

/* ---- does it live ---- */

int chi_attachment_gone(struct chi_attachment *attachment)
{
	/* relaxed: see chi_attachment_is_dead() */
	hshm_store_relaxed(&attachment->dead, 1);
	return chi_error_set(-EOWNERDEAD, "the runtime (pid %d) is gone", attachment->welcome.runtime_pid);
}

int chi_attachment_alive(struct chi_attachment *attachment)
{
	if (chi_attachment_is_dead(attachment) || !chi_connection_alive(&attachment->connection))
		return chi_attachment_gone(attachment);
	return 0;
}

int chi_attachment_alive_lately(struct chi_attachment *attachment, uint64_t now_ns)
{
	/* relaxed, both: several threads may look at once, that costs a system call */
	if (now_ns - hshm_load_relaxed(&attachment->looked_ns) < ATTACHMENT_LOOK_NS)
		return chi_attachment_is_dead(attachment) ? chi_attachment_gone(attachment) : 0;
	hshm_store_relaxed(&attachment->looked_ns, now_ns);
	return chi_attachment_alive(attachment);
}

bool chi_attachment_has(const struct chi_attachment *attachment, const void *memory)
{
	struct hipc_ptr ptr = hipc_ptr_of(&attachment->segment.map, memory);

	return !hipc_ptr_is_null(ptr) && hipc_ptr_offset(ptr) >= attachment->heap_offset;
}

/* ---- the handshake ---- */

static int check_welcome(const struct chi_welcome *welcome)
{
	uint64_t heap;

	if (welcome->layout_version != CHI_LAYOUT_VERSION)
		return chi_error_set(-EPROTO, "layout version %u of the runtime, %u of this library",
				     welcome->layout_version, CHI_LAYOUT_VERSION);
	if (welcome->abi_version != CHI_ABI_VERSION)
		return chi_error_set(-EPROTO, "ABI version %u of the runtime, %u of this library", welcome->abi_version,
				     CHI_ABI_VERSION);
	if (welcome->n_lanes == 0 || welcome->n_lanes > LANES_MAX || welcome->n_workers > CHI_WORKERS_MAX)
		return chi_error_set(-EPROTO, "the runtime offers %u lanes, %u workers", welcome->n_lanes,
				     welcome->n_workers);
	/* 0 also when lane_depth is no power of two, or out of range */
	heap = chi_client_heap_offset(welcome->n_lanes, welcome->lane_depth);
	if (heap == 0 || heap >= welcome->client_bytes || welcome->client_bytes > CLIENT_BYTES_MAX)
		return chi_error_set(-EPROTO, "the runtime offers %u lanes of %u in %llu bytes", welcome->n_lanes,
				     welcome->lane_depth, (unsigned long long)welcome->client_bytes);
	if (welcome->main_bytes < chi_main_armed_offset(1))
		return chi_error_set(-EPROTO, "the runtime's segment has only %llu bytes",
				     (unsigned long long)welcome->main_bytes);
	return 0;
}

static int check_main(const struct chi_attachment *attachment)
{
	const struct chi_main_header *header = attachment->main.map.base;

	/* acquire: pairs with the release by which the runtime stores it last; the other fields are valid then */
	if (hshm_load_acquire(&header->layout_version) != CHI_LAYOUT_VERSION || header->magic != CHI_MAIN_MAGIC ||
	    header->generation != attachment->welcome.generation)
		return chi_error_set(-EPROTO, "the main segment is not the runtime's");
	return 0;
}

/* @fds: given in any case */
static int map_segments(struct chi_attachment *attachment, const int fds[CHI_WELCOME_FDS])
{
	const struct chi_welcome *welcome = &attachment->welcome;
	int rc;

	attachment->counters_fd = fds[2];
	rc = hshm_segment_open(fds[0], welcome->main_bytes, welcome->main_segment_id, HSHM_SEGMENT_READ_ONLY,
			       &attachment->main);
	if (rc < 0) {
		close(fds[0]);
		close(fds[1]);
		return chi_error_set(rc, "cannot map the main segment: %s", strerror(-rc));
	}
	rc = hshm_segment_open(fds[1], welcome->client_bytes, welcome->client_segment_id, HSHM_SEGMENT_READ_WRITE,
			       &attachment->segment);
	if (rc < 0) {
		close(fds[1]);
		return chi_error_set(rc, "cannot map the client's segment: %s", strerror(-rc));
	}
	return check_main(attachment);
}

static int shake_hands(struct chi_attachment *attachment, uint64_t deadline_ns)
{
	struct chi_hello hello = {
		.type = CHI_MESSAGE_HELLO,
		.magic = CHI_HELLO_MAGIC,
		.layout_version = CHI_LAYOUT_VERSION,
		.abi_version = CHI_ABI_VERSION,
	};
	union chi_message answer;
	int fds[CHI_WELCOME_FDS], rc;

	/* hung up already? Then the reason is still there to be read */
	rc = chi_connection_send(&attachment->connection, &hello, sizeof(hello), deadline_ns);
	if (rc == 0 || rc == -EPIPE)
		rc = chi_connection_receive(&attachment->connection, CHI_MESSAGE_WELCOME, 0, &answer, fds,
					    CHI_WELCOME_FDS, deadline_ns);
	if (rc == -EPIPE)
		return chi_error_set(-ECONNREFUSED, "the runtime hung up");
	if (rc == -ETIMEDOUT)
		return chi_error_set(-ETIMEDOUT, "the runtime did not answer in time");
	if (rc)
		return rc;

	attachment->welcome = answer.welcome;
	rc = check_welcome(&attachment->welcome);
	if (rc < 0) {
		for (int i = 0; i < CHI_WELCOME_FDS; i++)
			close(fds[i]);
		return rc;
	}
	return map_segments(attachment, fds);
}

/* ---- lanes ---- */

static int init_lanes(struct chi_attachment *attachment)
{
	const struct chi_welcome *welcome = &attachment->welcome;
	uint32_t n = welcome->n_lanes * CHI_PRIOS;
	int rc;

	rc = hipc_multi_mpsc_queue_attach(
		(char *)attachment->segment.map.base + chi_client_queue_offset(welcome->n_lanes), welcome->n_lanes,
		CHI_PRIOS, welcome->lane_depth, sizeof(struct chi_lane_header), &attachment->queue.queue);
	if (rc < 0)
		return chi_error_set(-EPROTO, "the runtime's numbers make no queue");
	attachment->queue.bells = calloc(n, sizeof(*attachment->queue.bells));
	attachment->lanes = aligned_alloc(_Alignof(struct client_lane), n * sizeof(*attachment->lanes));
	if (!attachment->queue.bells || !attachment->lanes)
		return chi_error_set(-ENOMEM, "no memory for %u lanes", n);
	for (uint32_t i = 0; i < n; i++) {
		attachment->queue.bells[i].fd = -1;
		attachment->lanes[i] = (struct client_lane){ .opened = { 0 } };
		chi_given_init(&attachment->lanes[i].given);
	}
	attachment->n_lanes_all = n;
	return 0;
}

/* Under the lane lock. 0 is no request's. */
static uint32_t next_serial(struct chi_attachment *attachment)
{
	if (++attachment->last_serial == 0)
		attachment->last_serial = 1;
	return attachment->last_serial;
}

/* Send a request, receive its answer of the type @type and the descriptor that comes with it. */
static int ask(struct chi_attachment *attachment, const void *request, uint32_t size_bytes, uint32_t serial,
	       uint32_t type, uint64_t deadline_ns, union chi_message *ret_answer, int *ret_fd)
{
	int rc = chi_connection_send(&attachment->connection, request, size_bytes, deadline_ns);

	if (rc == 0)
		rc = chi_connection_receive(&attachment->connection, type, serial, ret_answer, ret_fd, 1, deadline_ns);
	if (rc == -EPIPE)
		return chi_attachment_gone(attachment);
	if (rc == -ETIMEDOUT)
		return chi_error_set(-ETIMEDOUT, "the runtime (pid %d) does not answer",
				     attachment->welcome.runtime_pid);
	return rc;
}

static int ask_for_lane(struct chi_attachment *attachment, uint32_t lane, uint32_t prio, struct chi_lane_bell *ret_bell)
{
	struct chi_lane_open request = { CHI_MESSAGE_LANE_OPEN, next_serial(attachment), lane, prio };
	union chi_message answer;
	uint64_t armed;
	int fd, rc;

	rc = ask(attachment, &request, sizeof(request), request.serial, CHI_MESSAGE_LANE_OPENED,
		 hshm_deadline_ns(attachment->timeout_ns), &answer, &fd);
	if (rc)
		return rc;
	armed = chi_main_armed_offset(answer.lane_opened.armed_index);
	if (armed > attachment->main.map.size_bytes - HSHM_FALSE_SHARING) {
		close(fd);
		return chi_error_set(-EPROTO, "the runtime named a word outside its segment");
	}
	ret_bell->ring = hipc_multi_mpsc_queue_lane(&attachment->queue.queue, lane, prio);
	ret_bell->armed = (const hshm_au32 *)((const char *)attachment->main.map.base + armed);
	ret_bell->fd = fd;
	return 0;
}

int chi_attachment_open_lane(struct chi_attachment *attachment, uint32_t lane, uint32_t prio)
{
	uint32_t index = lane * CHI_PRIOS + prio;
	int rc = 0;

	pthread_mutex_lock(&attachment->lane_lock);
	/* relaxed: the lock orders it; it is set under the lock only */
	if (!hshm_load_relaxed(&attachment->lanes[index].opened)) {
		rc = ask_for_lane(attachment, lane, prio, &attachment->queue.bells[index]);
		if (rc == 0) {
			/* release: pairs with the acquire in push(); the bell is complete */
			hshm_store_release(&attachment->lanes[index].opened, 1);
		}
	}
	pthread_mutex_unlock(&attachment->lane_lock);
	return rc;
}

static int ask_for_events(struct chi_attachment *attachment, uint64_t deadline_ns, int *ret_socket)
{
	struct chi_events_open request = { CHI_MESSAGE_EVENTS_OPEN, next_serial(attachment) };
	union chi_message answer;

	return ask(attachment, &request, sizeof(request), request.serial, CHI_MESSAGE_EVENTS_OPENED, deadline_ns,
		   &answer, ret_socket);
}

int chi_attachment_open_events(struct chi_attachment *attachment, uint64_t deadline_ns)
{
	int rc = 0, fd;

	pthread_mutex_lock(&attachment->lane_lock);
	/* it changes under both locks, so either is enough to read it */
	if (attachment->events.socket < 0) {
		rc = ask_for_events(attachment, deadline_ns, &fd);
		if (rc == 0) {
			pthread_mutex_lock(&attachment->events.lock);
			attachment->events.socket = fd;
			pthread_mutex_unlock(&attachment->events.lock);
		}
	}
	pthread_mutex_unlock(&attachment->lane_lock);
	return rc;
}

/* ---- the tasks in it ---- */

uint32_t chi_attachment_sweep_given(struct chi_attachment *attachment)
{
	uint32_t n_freed = 0;

	for (uint32_t i = 0; i < attachment->n_lanes_all; i++)
		n_freed += chi_given_sweep_all(&attachment->lanes[i].given, attachment->heap);
	return n_freed;
}

void chi_attachment_drop_given(struct chi_attachment *attachment)
{
	for (uint32_t i = 0; i < attachment->n_lanes_all; i++)
		chi_given_drop_all(&attachment->lanes[i].given, attachment->heap);
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

static bool lanes_are_empty(const struct chi_attachment *attachment)
{
	for (uint32_t i = 0; i < attachment->n_lanes_all; i++) {
		struct hipc_mpsc_queue ring = hipc_multi_mpsc_queue_lane(&attachment->queue.queue, i / CHI_PRIOS,
									 i % CHI_PRIOS);

		/* acquire: as in push() */
		if (hshm_load_acquire(&attachment->lanes[i].opened) && !lane_is_empty(&ring))
			return false;
	}
	return true;
}

void chi_attachment_drain(struct chi_attachment *attachment, uint64_t timeout_ns)
{
	uint64_t deadline_ns = hshm_deadline_ns(timeout_ns);

	while (!lanes_are_empty(attachment) && chi_attachment_alive(attachment) == 0 && hshm_clock_ns() < deadline_ns)
		HSHM_THREAD_MODEL->sleep_for_us(DRAIN_SLEEP_US);
}

/* ---- a forked child's copies ---- */

static struct chi_marked_fd mark(int fd)
{
	struct stat file;

	if (fstat(fd, &file) < 0)
		return (struct chi_marked_fd){ .fd = -1 };
	return (struct chi_marked_fd){ fd, file.st_dev, file.st_ino };
}

static void mark_fds(struct chi_attachment *attachment)
{
	const int fds[CHI_MARKED_FDS] = { attachment->connection.socket, attachment->main.fd, attachment->segment.fd,
					  attachment->counters_fd };

	for (int i = 0; i < CHI_MARKED_FDS; i++)
		attachment->marked[i] = mark(fds[i]);
}

/* ---- life ---- */

int chi_attachment_open(int socket, int pidfd, uint64_t timeout_ns, uint64_t deadline_ns,
			struct chi_attachment **ret_attachment)
{
	struct chi_attachment *attachment = calloc(1, sizeof(*attachment));
	int rc;

	if (!attachment) {
		close(socket);
		if (pidfd >= 0)
			close(pidfd);
		return chi_error_set(-ENOMEM, "no memory for a client");
	}
	attachment->connection = (struct chi_connection){ .socket = socket, .pidfd = pidfd };
	attachment->timeout_ns = timeout_ns;
	attachment->counters_fd = -1;
	chi_events_init(&attachment->events, &attachment->segment.map);
	pthread_mutex_init(&attachment->lane_lock, NULL);

	rc = shake_hands(attachment, deadline_ns);
	if (rc < 0)
		goto fail;
	rc = init_lanes(attachment);
	if (rc < 0)
		goto fail;
	attachment->heap_offset = chi_client_heap_offset(attachment->welcome.n_lanes, attachment->welcome.lane_depth);
	rc = hshm_heap_create(&attachment->segment, attachment->heap_offset,
			      attachment->segment.map.size_bytes - attachment->heap_offset, &attachment->heap);
	if (rc < 0) {
		chi_error_set(rc, "no memory for the client's heap");
		goto fail;
	}
	mark_fds(attachment);
	*ret_attachment = attachment;
	return 0;

fail:
	chi_attachment_destroy(attachment);
	return rc;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_copy(const struct chi_marked_fd *marked)
{
	struct stat now;

	if (marked->fd >= 0 && fstat(marked->fd, &now) == 0 && now.st_dev == marked->device &&
	    now.st_ino == marked->inode)
		close(marked->fd);
}

/* The mappings are not there, other things may be in their place; the locks may be held by threads that are not there
 * either. A little memory is lost. */
void chi_attachment_abandon(struct chi_attachment *attachment)
{
	for (int i = 0; i < CHI_MARKED_FDS; i++)
		close_copy(&attachment->marked[i]);
	free(attachment);
}

void chi_attachment_destroy(struct chi_attachment *attachment)
{
	if (!attachment)
		return;
	/* shutdown: a forked child may hold a copy of the socket, and the runtime shall see the end all the same */
	if (attachment->connection.socket >= 0)
		shutdown(attachment->connection.socket, SHUT_RDWR);
	close_fd(attachment->connection.socket);
	close_fd(attachment->connection.pidfd);
	for (uint32_t i = 0; i < attachment->n_lanes_all; i++) {
		close_fd(attachment->queue.bells[i].fd);
		chi_given_fini(&attachment->lanes[i].given);
	}
	free(attachment->queue.bells);
	free(attachment->lanes);
	hshm_heap_destroy(attachment->heap);
	hshm_segment_close(&attachment->segment);
	hshm_segment_close(&attachment->main);
	close_fd(attachment->counters_fd);
	close_fd(attachment->events.socket);
	chi_events_fini(&attachment->events);
	pthread_mutex_destroy(&attachment->lane_lock);
	free(attachment);
}
