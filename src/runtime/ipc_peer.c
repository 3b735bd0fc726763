/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipc_peer.c - connections: those that have not said hello yet, and the end of any
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/fault.h"
#include "runtime/ipc_internal.h"

/* ---- descriptors in the epoll set ---- */

int chi_ipc_watch(struct chi_ipc_manager *ipc, int fd, uint32_t events, struct ipc_source *source)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(ipc->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void chi_ipc_unwatch(struct chi_ipc_manager *ipc, int fd)
{
	if (fd >= 0)
		epoll_ctl(ipc->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- peers ---- */

struct ipc_peer *chi_ipc_peer_make(int socket, bool local)
{
	struct ipc_peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	peer->socket_source = (struct ipc_source){ IPC_SOURCE_SOCKET, peer };
	peer->pidfd_source = (struct ipc_source){ IPC_SOURCE_PIDFD, peer };
	peer->socket = socket;
	peer->pidfd = -1;
	peer->local = local;
	return peer;
}

void chi_ipc_greeter_add(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	peer->next = NULL;
	peer->prev = ipc->last_greeter;
	if (ipc->last_greeter)
		ipc->last_greeter->next = peer;
	else
		ipc->first_greeter = peer;
	ipc->last_greeter = peer;
	ipc->n_greeters++;
}

void chi_ipc_greeter_remove(struct chi_ipc_manager *ipc, struct ipc_peer *peer)
{
	*(peer->prev ? &peer->prev->next : &ipc->first_greeter) = peer->next;
	*(peer->next ? &peer->next->prev : &ipc->last_greeter) = peer->prev;
	ipc->n_greeters--;
}

static void log_detached(struct chi_ipc_manager *ipc, const struct ipc_session *session, const char *why)
{
	if (!chi_log_allowed(&ipc->session_limit, CHI_IPC_SESSIONS_LOGGED))
		return;
	chi_log_info("client %u detached (pid %d): %s; %u of its tasks still run", session->base.client_id,
		     (int)session->base.pid, chi_fault_hit(&session->base) ? "it broke its own memory" : why,
		     chi_session_n_contexts(&session->base));
}

void chi_ipc_peer_end(struct chi_ipc_manager *ipc, struct ipc_peer *peer, const char *why)
{
	if (peer->gone)
		return;
	peer->gone = true;
	chi_ipc_unwatch(ipc, peer->socket);
	chi_ipc_unwatch(ipc, peer->pidfd);
	if (peer->pidfd >= 0)
		close(peer->pidfd);
	if (peer->session) {
		log_detached(ipc, peer->session, why);
		chi_ipc_session_end(ipc, peer->session);
	} else {
		chi_ipc_greeter_remove(ipc, peer);
		shutdown(peer->socket, SHUT_RDWR);
		chi_fd_closer_close(ipc->closer, peer->socket);
	}
	peer->next = ipc->dead;
	ipc->dead = peer;
}

void chi_ipc_free_dead(struct chi_ipc_manager *ipc)
{
	while (ipc->dead) {
		struct ipc_peer *peer = ipc->dead;

		ipc->dead = peer->next;
		free(peer);
	}
}
