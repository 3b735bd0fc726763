/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_accept.c - the named socket, and who comes in by it or from this process
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <hshm/clock.h>

#include "runtime/ipc_internal.h"
#include "runtime/ipc_manager.h"
#include "runtime/runtime.h"
#include "task/error.h"

#define ACCEPTS_PER_EVENT 16
#define GREETERS_MAX	  256u
#define GREETING_NS	  (3 * HSHM_NSEC_PER_SEC) /* from accept to hello */

/* ---- the named socket ---- */

int chi_ipc_listen(struct chi_ipc_manager *ipc)
{
	struct chi_ipc_socket made;
	gid_t group;
	int rc;

	rc = chi_ipc_group(ipc->runtime->config.group, &group);
	if (rc < 0)
		return rc;
	rc = chi_ipc_socket_open(ipc->runtime->config.name, group, &made);
	if (rc < 0)
		return rc;
	ipc->listener = made;
	return 0;
}

int chi_ipc_let_in(struct chi_ipc_manager *ipc)
{
	if (ipc->listener.fd >= 0 && chi_ipc_watch(ipc, ipc->listener.fd, EPOLLIN, &ipc->listen_source) < 0)
		return chi_error_set(-ENOMEM, "epoll: %s", strerror(errno));
	return 0;
}

const struct chi_ipc_socket *chi_ipc_listener(const struct chi_ipc_manager *ipc)
{
	return ipc->listener.fd >= 0 ? &ipc->listener : NULL;
}

void chi_ipc_stop_accepting(struct chi_ipc_manager *ipc)
{
	if (ipc->listener.fd < 0)
		return;
	chi_ipc_unwatch(ipc, ipc->listener.fd);
	/* who was not yet accepted may have sent something, too */
	chi_fd_closer_close(ipc->closer, ipc->listener.fd);
	ipc->listener.fd = -1;
}

/* ---- new peers ---- */

/* @peer: given; its credentials are filled in. On failure it is refused, and freed. */
static void greet(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	int rc = 0;

	if (!peer->local) {
		if (!chi_ipc_may_attach(peer->socket, &peer->who, ipc->listener.group)) {
			chi_ipc_refuse(ipc, peer, -EACCES, "user %u may not use the runtime of user %u",
				       (unsigned int)peer->who.uid, (unsigned int)geteuid());
			goto fail;
		}
		if (ipc->n_greeters >= GREETERS_MAX) {
			chi_ipc_refuse(ipc, peer, -EUSERS, "%u are connecting already", ipc->n_greeters);
			goto fail;
		}
		rc = chi_ipc_pidfd(peer->socket, peer->who.pid, &peer->pidfd);
		if (rc < 0 && rc != -ENOTSUP) {
			chi_ipc_refuse(ipc, peer, rc, "no descriptor for your process: %s", strerror(-rc));
			goto fail;
		}
		if (rc == -ENOTSUP)
			peer->pidfd = -1;
	}
	if (chi_ipc_watch(ipc, peer->socket, EPOLLIN | EPOLLRDHUP, &peer->socket_source) < 0 ||
	    (peer->pidfd >= 0 && chi_ipc_watch(ipc, peer->pidfd, EPOLLIN, &peer->pidfd_source) < 0)) {
		chi_ipc_refuse(ipc, peer, -ENOMEM, "no room in the epoll set");
		goto fail;
	}
	peer->deadline_ns = hshm_deadline_ns(GREETING_NS);
	chi_ipc_greeter_add(ipc, peer);
	return;

fail:
	chi_ipc_unwatch(ipc, peer->socket);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
	shutdown(peer->socket, SHUT_RDWR);
	chi_fd_closer_close(ipc->closer, peer->socket);
	free(peer);
}

static void pause_listening(struct chi_ipc_manager *ipc)
{
	chi_ipc_unwatch(ipc, ipc->listener.fd);
	ipc->listen_pause_ns = hshm_deadline_ns(CHI_IPC_LISTEN_PAUSE_NS);
	if (chi_log_allowed(&ipc->refusal_limit, CHI_IPC_REFUSALS_LOGGED))
		chi_log_warn("cannot accept a client: %s", strerror(errno));
}

void chi_ipc_on_listener(struct chi_ipc_manager *ipc)
{
	for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
		int fd = accept4(ipc->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct ipc_peer *peer;

		if (fd < 0) {
			/* the connection stays in the backlog: without the pause epoll would show it again at once */
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				pause_listening(ipc);
			return;
		}
		peer = chi_ipc_peer_make(fd, false);
		if (!peer || chi_ipc_credentials(fd, &peer->who) < 0) {
			chi_ipc_send_refusal(fd, 0, -ENOMEM, "no memory for a connection");
			free(peer);
			shutdown(fd, SHUT_RDWR);
			chi_fd_closer_close(ipc->closer, fd);
			return;
		}
		chi_ipc_refuse_fds(fd);
		greet(ipc, peer);
	}
}

/* ---- from this process ---- */

int chi_ipc_connect_local(struct chi_ipc_manager *ipc, int *ret_socket)
{
	struct ipc_peer *peer;
	int ends[2];

	/* acquire: see chi_ipc_let_nobody_in() */
	if (hshm_load_acquire(&ipc->stopping))
		return chi_error_set(-ESHUTDOWN, "the runtime is stopping");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0)
		return chi_error_set(errno == ENOMEM || errno == ENOBUFS ? -ENOMEM : -EMFILE, "socketpair: %s",
				     strerror(errno));
	peer = chi_ipc_peer_make(ends[0], true);
	if (!peer) {
		close(ends[0]);
		close(ends[1]);
		return chi_error_set(-ENOMEM, "no memory for a connection");
	}
	peer->who = (struct chi_ipc_credentials){ getpid(), geteuid(), getegid() };
	pthread_mutex_lock(&ipc->lock);
	peer->next = ipc->pending;
	ipc->pending = peer;
	pthread_mutex_unlock(&ipc->lock);
	chi_ipc_wake(ipc);
	*ret_socket = ends[1];
	return 0;
}

void chi_ipc_adopt_local(struct chi_ipc_manager *ipc)
{
	struct ipc_peer *peer;

	pthread_mutex_lock(&ipc->lock);
	peer = ipc->pending;
	ipc->pending = NULL;
	pthread_mutex_unlock(&ipc->lock);
	while (peer) {
		struct ipc_peer *next = peer->next;

		greet(ipc, peer);
		peer = next;
	}
}
