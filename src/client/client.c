/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.c - attach to a runtime, look at it, attach to its successor, detach
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
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

#define CONNECT_RETRY_US 1000u			    /* while the runtime's backlog is full */
#define DRAIN_NS	 HSHM_NSEC_PER_SEC	    /* at disconnect, for the runtime to take what was submitted */
#define EXIT_NS		 (100 * HSHM_NSEC_PER_MSEC) /* from a dying process's hang-up to its end, at most */
/* Between two tries to attach: doubled each time, the second half of it random. */
#define RETRY_FIRST_NS	 (2 * HSHM_NSEC_PER_MSEC)
#define RETRY_LONGEST_NS (500 * HSHM_NSEC_PER_MSEC)
#define ONCE_NS		 0 /* as a deadline: one try, which has all the time that an answer may take */

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

/* ---- life ---- */

static int client_create(const struct chi_client_opts *opts, struct process_client **ret_client)
{
	struct process_client *client = calloc(1, sizeof(*client));
	const char *name = opts->name ? opts->name : getenv("CHIMAERA_NAME");

	if (!client)
		return chi_error_set(-ENOMEM, "no memory for a client");
	client->base.magic = CHI_CLIENT_MAGIC;
	client->base.wait_policy = opts->wait_policy;
	client->base.spin_ns = opts->spin_ns;
	client->base.ops = &chi_process_client_ops;
	client->connect_timeout_ns = opts->connect_timeout_ns;
	client->name = name ? strdup(name) : NULL;
	pthread_mutex_init(&client->reconnecting, NULL);
	pthread_mutex_init(&client->lock, NULL);
	pthread_mutex_init(&client->event_lock, NULL);
	client->event_epoll = -1;
	if ((name && !client->name) || chi_fork_guard_init(&client->guard) < 0) {
		process_client_destroy(client);
		return chi_error_set(-ENOMEM, "no memory for a client");
	}
	*ret_client = client;
	return 0;
}

int chi_client_open_socket(int socket, const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	struct chi_attachment *attachment;
	struct process_client *client;
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
	rc = chi_attachment_open(socket, pidfd, read.connect_timeout_ns, hshm_deadline_ns(read.connect_timeout_ns),
				 &attachment);
	if (rc < 0)
		return rc;
	rc = client_create(&read, &client);
	if (rc < 0) {
		chi_attachment_destroy(attachment);
		return rc;
	}
	process_client_attach(client, attachment);
	*ret_client = &client->base;
	return 0;
}

/* One try: from here on the client uses another attachment. */
static int attach_once(struct process_client *client, uint64_t deadline_ns)
{
	struct chi_attachment *attachment;
	struct chi_socket_path where;
	int socket = -1, pidfd, rc;

	rc = chi_socket_path(client->name, CHI_SOCKET_FIND, &where);
	if (rc < 0)
		return rc;
	rc = connect_path(where.path, deadline_ns, &socket);
	if (rc < 0)
		return rc;
	if (open_peer_pidfd(socket, &pidfd) < 0) {
		close(socket);
		return connect_error(ECONNREFUSED, where.path);
	}
	rc = chi_attachment_open(socket, pidfd, client->connect_timeout_ns, deadline_ns, &attachment);
	if (rc < 0)
		return rc;
	rc = process_client_replace(client, attachment, deadline_ns);
	if (rc < 0)
		chi_attachment_destroy(attachment);
	/* a runtime that dies while we come to it is as good as one that was not there */
	return rc == -EOWNERDEAD ? -ECONNREFUSED : rc;
}

/* ---- trying again ---- */

/* It is not there, is about to be, or is about to go: worth another try. */
static bool may_come(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ESHUTDOWN || error == -ETIMEDOUT ||
	       error == -EUSERS;
}

/* Somewhere in the second half of the delay: clients that lost the same runtime shall not come back in step. */
static uint64_t with_jitter(uint64_t delay_ns)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = hshm_clock_ns();
	return delay_ns / 2 + random % (delay_ns / 2 + 1);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t deadline_of(uint64_t timeout_ns)
{
	return timeout_ns ? hshm_deadline_ns(timeout_ns) : ONCE_NS;
}

/* Try until @deadline_ns, at least once. */
static int attach_by(struct process_client *client, uint64_t deadline_ns)
{
	uint64_t delay_ns = RETRY_FIRST_NS;

	for (;;) {
		uint64_t try_ns = hshm_deadline_ns(client->connect_timeout_ns), now_ns, sleep_ns;
		int rc;

		if (deadline_ns != ONCE_NS)
			try_ns = earlier(try_ns, deadline_ns);
		rc = attach_once(client, try_ns);
		now_ns = hshm_clock_ns();
		if (rc == 0 || !may_come(rc) || now_ns >= deadline_ns)
			return rc;
		sleep_ns = earlier(with_jitter(delay_ns), deadline_ns - now_ns);
		HSHM_THREAD_MODEL->sleep_for_us(sleep_ns / HSHM_NSEC_PER_USEC + 1);
		delay_ns = earlier(delay_ns * 2, RETRY_LONGEST_NS);
	}
}

int chi_client_connect(const struct chi_client_opts *opts, struct chi_client **ret_client)
{
	struct process_client *client;
	struct chi_client_opts read;
	int rc;

	rc = chi_client_opts_read(opts, &read);
	if (rc < 0)
		return rc;
	rc = client_create(&read, &client);
	if (rc < 0)
		return rc;
	client->named = true;
	rc = attach_by(client, deadline_of(read.start_timeout_ns));
	if (rc < 0) {
		process_client_destroy(client);
		return rc;
	}
	*ret_client = &client->base;
	return 0;
}

static int reconnect(struct process_client *client, uint64_t deadline_ns)
{
	if (chi_attachment_alive(process_client_now(client)) == 0)
		return 0; /* another thread has been here before us */
	process_client_release_former(client);
	return attach_by(client, deadline_ns);
}

int chi_client_reconnect(struct chi_client *base, uint64_t timeout_ns)
{
	struct process_client *client = (struct process_client *)base;
	uint64_t deadline_ns = deadline_of(timeout_ns);
	int rc;

	if (base->ops != &chi_process_client_ops)
		return chi_error_set(-ENOTSUP, "what a method gets is no connection");
	if (!chi_fork_guard_is_owner(&client->guard))
		return process_client_forked();
	if (!client->named)
		return chi_error_set(-ENOTSUP,
				     "a client of this process's own runtime: chi_runtime_client() makes another");
	while (pthread_mutex_trylock(&client->reconnecting)) {
		if (hshm_clock_ns() >= deadline_ns)
			return chi_error_set(-ETIMEDOUT, "another thread is at it, and has found no runtime yet");
		HSHM_THREAD_MODEL->sleep_for_us(RETRY_FIRST_NS / HSHM_NSEC_PER_USEC);
	}
	rc = reconnect(client, deadline_ns);
	pthread_mutex_unlock(&client->reconnecting);
	return rc;
}

void chi_client_disconnect(struct chi_client *base)
{
	struct process_client *client = (struct process_client *)base;

	/* what methods get is no connection, it cannot be ended */
	if (!base || base->ops != &chi_process_client_ops)
		return;
	if (chi_fork_guard_is_owner(&client->guard))
		chi_attachment_drain(process_client_now(client), DRAIN_NS);
	process_client_destroy(client);
}

int chi_client_alive(struct chi_client *client)
{
	return client->ops->alive(client);
}

/* Read, not mapped: should somebody have cut the file, that is an error and no SIGBUS. The kernel copies whole words,
 * so each counter is right. */
static int read_workers(int fd, uint32_t n_workers, struct chi_worker_counters *ret_workers)
{
	size_t bytes = n_workers * sizeof(*ret_workers);
	ssize_t n = pread(fd, ret_workers, bytes, CHI_COUNTERS_WORKERS_OFFSET);

	if (n == (ssize_t)bytes)
		return 0;
	return chi_error_set(n < 0 ? -errno : -EPROTO, "cannot read the runtime's counters: %s",
			     n < 0 ? strerror(errno) : "somebody has cut the file");
}

static bool process_lives(const struct chi_attachment *attachment)
{
	if (attachment->connection.pidfd < 0)
		return attachment->welcome.runtime_pid == getpid();
	return chi_connection_process_lives(&attachment->connection, EXIT_NS);
}

int chi_client_runtime_end(struct chi_client *base, uint64_t *ret_n_given_up)
{
	struct process_client *client = (struct process_client *)base;
	const struct chi_main_header *header;
	struct chi_attachment *now;
	uint64_t n_given_up;

	if (base->ops != &chi_process_client_ops || !chi_fork_guard_is_owner(&client->guard))
		return chi_error_set(-ENOTCONN, "not a client of this process");
	now = process_client_now(client);
	if (chi_attachment_alive(now) == 0)
		return -EAGAIN;
	header = now->main.map.base;
	n_given_up = hshm_load_relaxed(&header->n_given_up); /* relaxed: stored before the hang-up that we have seen */
	if (n_given_up == CHI_NOT_ENDED && process_lives(now))
		return chi_error_set(-ECONNRESET,
				     "the runtime (pid %d) lives: it ended this client's session, and its log says why",
				     (int)now->welcome.runtime_pid);
	if (n_given_up == CHI_NOT_ENDED)
		return chi_error_set(-EOWNERDEAD, "the runtime (pid %d) died before it had stopped",
				     (int)now->welcome.runtime_pid);
	*ret_n_given_up = n_given_up;
	return 0;
}

int chi_client_runtime_info(struct chi_client *base, struct chi_runtime_info *ret_info)
{
	struct process_client *client = (struct process_client *)base;
	const struct chi_main_header *header;
	const struct chi_attachment *now;

	if (base->ops != &chi_process_client_ops || !chi_fork_guard_is_owner(&client->guard))
		return chi_error_set(-ENOTCONN, "not a client of this process");
	now = process_client_now(client);
	header = now->main.map.base;
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->pid = now->welcome.runtime_pid;
	ret_info->n_workers = now->welcome.n_workers;
	ret_info->generation = now->welcome.generation;
	ret_info->started_ns = header->started_ns;
	return read_workers(now->counters_fd, ret_info->n_workers, ret_info->workers);
}
