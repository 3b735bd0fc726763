/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.c - attach to a runtime, look at it, detach
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <hshm/clock.h>
#include <hshm/thread_model.h>

#include "client/client.h"
#include "client/process_client.h"
#include "task/counters_layout.h"
#include "task/error.h"
#include "task/segment_layout.h"
#include "task/socket_path.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5; the C library's headers may be older */
#endif

#define CONNECT_RETRY_US 1000u		   /* while the runtime's backlog is full */
#define DRAIN_NS	 HSHM_NSEC_PER_SEC /* at disconnect, for the runtime to take what was submitted */
#define LANES_MAX	 65536u
#define CLIENT_BYTES_MAX ((UINT64_C(1) << 32) * HIPC_REF_UNIT) /* what a reference can name */

/* ---- the socket ---- */

static int connect_error(int error, const char *path)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return chi_error_set(-ENOENT, "no runtime at %s", path);
	case EACCES:
	case EPERM:
		return chi_error_set(-EACCES, "%s: not for this user", path);
	case ECONNREFUSED:
		return chi_error_set(-ECONNREFUSED, "the runtime of %s is gone", path);
	case EPROTOTYPE:
		return chi_error_set(-EPROTO, "%s is another program's socket", path);
	default:
		return chi_error_set(-error, "%s: %s", path, strerror(error));
	}
}

static int connect_path(const char *path, uint64_t deadline_ns, int *ret_socket)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return chi_error_set(errno == ENOBUFS || errno == ENOMEM ? -ENOMEM : -EMFILE, "socket: %s",
				     strerror(errno));
	memcpy(address.sun_path, path, strlen(path) + 1);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN) {
			rc = connect_error(errno, path);
			goto fail;
		}
		/* the backlog is full: others are connecting */
		if (hshm_clock_ns() >= deadline_ns) {
			rc = chi_error_set(-ETIMEDOUT, "the runtime of %s accepts nobody", path);
			goto fail;
		}
		HSHM_THREAD_MODEL->sleep_for_us(CONNECT_RETRY_US);
	}
	*ret_socket = fd;
	return 0;

fail:
	close(fd);
	return rc;
}

/* A descriptor that tells the end of the process which made the other end; -1 when there is none to be had. Returns 0,
 * -ESRCH: it has ended already, and only a forked child of it holds the socket. */
static int open_peer_pidfd(int socket, int *ret_pidfd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);
	struct pollfd ended = { .fd = -1, .events = POLLIN };

	*ret_pidfd = -1;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.pid <= 0 || peer.pid == getpid())
		return 0;
	length = sizeof(ended.fd);
	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &ended.fd, &length) < 0) {
		ended.fd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
		if (ended.fd < 0)
			return errno == ESRCH ? -ESRCH : 0;
	}
	if (poll(&ended, 1, 0) == 1) {
		close(ended.fd);
		return -ESRCH;
	}
	*ret_pidfd = ended.fd;
	return 0;
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

static int check_main(const struct process_client *client)
{
	const struct chi_main_header *header = client->main.map.base;

	/* acquire: pairs with the release by which the runtime stores it last; the other fields are valid then */
	if (hshm_load_acquire(&header->layout_version) != CHI_LAYOUT_VERSION || header->magic != CHI_MAIN_MAGIC ||
	    header->generation != client->welcome.generation)
		return chi_error_set(-EPROTO, "the main segment is not the runtime's");
	return 0;
}

/* @fds: given in any case */
static int map_segments(struct process_client *client, const int fds[CHI_WELCOME_FDS])
{
	const struct chi_welcome *welcome = &client->welcome;
	int rc;

	client->counters_fd = fds[2];
	rc = hshm_segment_open(fds[0], welcome->main_bytes, welcome->main_segment_id, HSHM_SEGMENT_READ_ONLY,
			       &client->main);
	if (rc < 0) {
		close(fds[0]);
		close(fds[1]);
		return chi_error_set(rc, "cannot map the main segment: %s", strerror(-rc));
	}
	rc = hshm_segment_open(fds[1], welcome->client_bytes, welcome->client_segment_id, HSHM_SEGMENT_READ_WRITE,
			       &client->segment);
	if (rc < 0) {
		close(fds[1]);
		return chi_error_set(rc, "cannot map the client's segment: %s", strerror(-rc));
	}
	return check_main(client);
}

static int shake_hands(struct process_client *client, uint64_t deadline_ns)
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
	rc = chi_connection_send(&client->connection, &hello, sizeof(hello), deadline_ns);
	if (rc == 0 || rc == -EPIPE)
		rc = chi_connection_receive(&client->connection, CHI_MESSAGE_WELCOME, &answer, fds, CHI_WELCOME_FDS,
					    deadline_ns);
	if (rc == -EPIPE)
		return chi_error_set(-ECONNREFUSED, "the runtime hung up");
	if (rc == -ETIMEDOUT)
		return chi_error_set(-ETIMEDOUT, "the runtime did not answer in time");
	if (rc)
		return rc;

	client->welcome = answer.welcome;
	rc = check_welcome(&client->welcome);
	if (rc < 0) {
		for (int i = 0; i < CHI_WELCOME_FDS; i++)
			close(fds[i]);
		return rc;
	}
	return map_segments(client, fds);
}

/* ---- life ---- */

/* @socket, @pidfd: given in any case */
static int client_create(int socket, int pidfd, const struct chi_client_opts *opts, uint64_t deadline_ns,
			 struct chi_client **ret_client)
{
	struct process_client *client = calloc(1, sizeof(*client));
	int rc;

	if (!client) {
		close(socket);
		if (pidfd >= 0)
			close(pidfd);
		return chi_error_set(-ENOMEM, "no memory for a client");
	}
	client->base.magic = CHI_CLIENT_MAGIC;
	client->base.wait_policy = opts->wait_policy;
	client->base.ops = &chi_process_client_ops;
	client->connection = (struct chi_connection){ .socket = socket, .pidfd = pidfd };
	client->timeout_ns = opts->connect_timeout_ns;
	client->counters_fd = -1;
	pthread_mutex_init(&client->lane_lock, NULL);

	rc = chi_fork_guard_init(&client->guard);
	if (rc < 0) {
		chi_error_set(rc, "no memory for a client");
		goto fail;
	}
	rc = shake_hands(client, deadline_ns);
	if (rc < 0)
		goto fail;
	rc = process_client_init_lanes(client);
	if (rc < 0)
		goto fail;
	client->heap_offset = chi_client_heap_offset(client->welcome.n_lanes, client->welcome.lane_depth);
	rc = hshm_heap_create(&client->segment, client->heap_offset,
			      client->segment.map.size_bytes - client->heap_offset, &client->heap);
	if (rc < 0) {
		chi_error_set(rc, "no memory for the client's heap");
		goto fail;
	}
	*ret_client = &client->base;
	return 0;

fail:
	process_client_destroy(client);
	return rc;
}

int chi_client_open_socket(int socket, const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	struct chi_client_opts read;
	int pidfd = -1;
	int rc = chi_client_opts_read(opts, &read);

	if (rc == 0 && fcntl(socket, F_SETFL, O_NONBLOCK) < 0)
		rc = chi_error_set(-EINVAL, "socket %d: %s", socket, strerror(errno));
	if (rc == 0 && open_peer_pidfd(socket, &pidfd) < 0)
		rc = chi_error_set(-ECONNREFUSED, "the runtime's process is gone");
	if (rc < 0) {
		close(socket);
		return rc;
	}
	return client_create(socket, pidfd, &read, hshm_deadline_ns(read.connect_timeout_ns), ret_client);
}

int chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	struct chi_client_opts read;
	struct chi_socket_path where;
	uint64_t deadline_ns;
	int socket = -1, pidfd, rc;

	rc = chi_client_opts_read(opts, &read);
	if (rc < 0)
		return rc;
	deadline_ns = hshm_deadline_ns(read.connect_timeout_ns);
	rc = chi_socket_path(read.name, CHI_SOCKET_FIND, &where);
	if (rc < 0)
		return rc;
	rc = connect_path(where.path, deadline_ns, &socket);
	if (rc < 0)
		return rc;
	if (open_peer_pidfd(socket, &pidfd) < 0) {
		close(socket);
		return connect_error(ECONNREFUSED, where.path);
	}
	return client_create(socket, pidfd, &read, deadline_ns, ret_client);
}

void chi_client_disconnect(struct chi_client *base)
{
	struct process_client *client = (struct process_client *)base;

	/* what methods get is no connection, it cannot be ended */
	if (!base || base->ops != &chi_process_client_ops)
		return;
	if (chi_fork_guard_is_owner(&client->guard))
		process_client_drain(client, DRAIN_NS);
	process_client_destroy(client);
}

int chi_client_alive(struct chi_client *client)
{
	return client->ops->alive(client);
}

/* Read, not mapped: should somebody have cut the file, that is an error and no SIGBUS. The kernel copies whole words, so each
 * counter is right. */
static int read_workers(int fd, uint32_t n_workers, struct chi_worker_counters *ret_workers)
{
	size_t bytes = n_workers * sizeof(*ret_workers);
	ssize_t n = pread(fd, ret_workers, bytes, CHI_COUNTERS_WORKERS_OFFSET);

	if (n == (ssize_t)bytes)
		return 0;
	return chi_error_set(n < 0 ? -errno : -EPROTO, "cannot read the runtime's counters: %s",
			     n < 0 ? strerror(errno) : "somebody has cut the file");
}

int chi_client_runtime_info(struct chi_client *base, struct chi_runtime_info *ret_info)
{
	struct process_client *client = (struct process_client *)base;
	const struct chi_main_header *header;

	if (base->ops != &chi_process_client_ops || !chi_fork_guard_is_owner(&client->guard))
		return chi_error_set(-ENOTCONN, "not a client of this process");
	header = client->main.map.base;
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->pid = client->welcome.runtime_pid;
	ret_info->n_workers = client->welcome.n_workers;
	ret_info->generation = client->welcome.generation;
	ret_info->started_ns = header->started_ns;
	return read_workers(client->counters_fd, ret_info->n_workers, ret_info->workers);
}
